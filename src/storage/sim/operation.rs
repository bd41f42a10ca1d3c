//! What was asked of the disk, and the state that it leads to.
//! Owns: [`Operation`], [`State`].

use super::content::{Content, hash, mix};
use crate::sync::PlainArc;
use std::{collections::BTreeMap, fmt, ops::Range};

/// The number of a file, whatever name it has.
pub type Inode = u64;

/// One operation as it was recorded; its place in the record is its index.
pub enum Operation {
    Create {
        name: PlainArc<str>,
        inode: Inode,
    },
    Rename {
        from: PlainArc<str>,
        to: PlainArc<str>,
        inode: Inode,
    },
    Remove {
        name: PlainArc<str>,
    },
    Write {
        inode: Inode,
        offset: u64,
        bytes: Box<[u8]>,
    },
    Grow {
        inode: Inode,
        from: u64,
        to: u64,
    },
    Truncate {
        inode: Inode,
        len: u64,
    },
    Sync {
        inode: Inode,
    },
    SyncDir,
    /// A sync that failed: what it was to make durable is lost or not, for good.
    FailedSync {
        inode: Inode,
    },
    /// Anything else that failed, and did nothing.
    Failed {
        verb: &'static str,
    },
}

impl Operation {
    /// The file whose bytes or length it changes.
    pub fn inode(&self) -> Option<Inode> {
        match self {
            Operation::Write { inode, .. }
            | Operation::Grow { inode, .. }
            | Operation::Truncate { inode, .. } => Some(*inode),
            _ => None,
        }
    }

    /// Whether it changes the directory.
    pub fn changes_directory(&self) -> bool {
        matches!(
            self,
            Operation::Create { .. } | Operation::Rename { .. } | Operation::Remove { .. }
        )
    }

    /// The bytes of its file that it decides, wherever they lie.
    pub fn range(&self) -> Range<u64> {
        match self {
            Operation::Write { offset, bytes, .. } => *offset..*offset + bytes.len() as u64,
            Operation::Truncate { len, .. } => *len..u64::MAX,
            _ => 0..0,
        }
    }
}

impl fmt::Display for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Operation::Create { name, inode } => write!(f, "create {name} as file {inode}"),
            Operation::Rename { from, to, inode } => {
                write!(f, "rename {from} to {to}, file {inode}")
            }
            Operation::Remove { name } => write!(f, "remove {name}"),
            Operation::Write { inode, offset, bytes } => {
                write!(f, "write {} bytes at {offset} of file {inode}", bytes.len())
            }
            Operation::Grow { inode, from, to } => {
                write!(f, "grow file {inode} from {from} to {to} bytes")
            }
            Operation::Truncate { inode, len } => write!(f, "cut file {inode} to {len} bytes"),
            Operation::Sync { inode } => write!(f, "sync file {inode}"),
            Operation::SyncDir => write!(f, "sync the directory"),
            Operation::FailedSync { inode } => write!(f, "failing sync of file {inode}"),
            Operation::Failed { verb } => write!(f, "failing {verb}"),
        }
    }
}

/// What is on a disk at one time. Cloning costs one count per file.
#[derive(Clone, Default)]
pub struct State {
    entries: BTreeMap<PlainArc<str>, Inode>,
    files: BTreeMap<Inode, PlainArc<Content>>,
}

impl State {
    pub fn find(&self, name: &str) -> Option<Inode> {
        self.entries.get(name).copied()
    }

    pub fn names(&self) -> impl Iterator<Item = &PlainArc<str>> {
        self.entries.keys()
    }

    pub fn file(&self, inode: Inode) -> Option<&Content> {
        self.files.get(&inode).map(|content| &**content)
    }

    /// The greatest number that a file has.
    /// The length of all files that have a name.
    pub fn bytes(&self) -> u64 {
        self.entries.values().filter_map(|&inode| self.file(inode)).map(Content::len).sum()
    }

    pub fn last_inode(&self) -> Inode {
        self.files.last_key_value().map_or(0, |(last, _)| *last)
    }

    /// Changes a file's content, if the file is still there.
    pub fn change(&mut self, inode: Inode, change: impl FnOnce(&mut Content)) {
        if let Some(content) = self.files.get_mut(&inode) {
            change(PlainArc::make_mut(content));
        }
    }

    /// Does what `operation` asks. Each stands for itself, so that any subset can be applied: a
    /// rename whose creation was lost still gives the file its new name.
    pub fn apply(&mut self, operation: &Operation) {
        match operation {
            Operation::Create { name, inode } => self.link(name, *inode),
            Operation::Rename { from, to, inode } => {
                self.entries.remove(from);
                self.link(to, *inode);
            }
            Operation::Remove { name } => {
                self.entries.remove(name);
            }
            Operation::Write { inode, offset, bytes } => {
                self.change(*inode, |content| content.write(bytes, *offset));
            }
            Operation::Grow { inode, to, .. } => self.change(*inode, |content| content.grow(*to)),
            Operation::Truncate { inode, len } => self.change(*inode, |content| content.cut(*len)),
            Operation::Sync { .. }
            | Operation::SyncDir
            | Operation::FailedSync { .. }
            | Operation::Failed { .. } => {}
        }
    }

    fn link(&mut self, name: &PlainArc<str>, inode: Inode) {
        self.entries.insert(PlainArc::clone(name), inode);
        self.add(inode);
    }

    /// Makes the file known, empty and without a name.
    pub fn add(&mut self, inode: Inode) {
        self.files.entry(inode).or_default();
    }

    /// Forgets the files that no entry names.
    pub fn forget_nameless(&mut self) {
        let entries = &self.entries;
        self.files.retain(|inode, _| entries.values().any(|named| named == inode));
    }

    /// A hash of what can be seen: names and contents, not the files' numbers.
    pub fn hash(&self) -> u128 {
        let mut sum = 0_u128;
        for (name, inode) in &self.entries {
            let content = self.files.get(inode).map_or(0, |content| content.hash());
            let entry = mix(hash(name.as_bytes()), content as u64);
            sum = sum.wrapping_add(mix(entry, (content >> 64) as u64));
        }
        sum
    }
}
