//! A disk for the log's tests: it remembers what is durable and what is not, fails on demand, and
//! can be cut off from power.

use crate::{
    error::{Error, Result},
    storage::{LockMode, Storage, StorageFile, map::Map},
    sync::{Arc, Mutex},
};
use std::{collections::BTreeMap, io, time::Duration};

const SECTOR: usize = 512;

/// A generator of pseudo-random numbers (splitmix64), so that a failure can be repeated.
pub struct Dice(pub u64);

impl Dice {
    pub fn roll(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub fn below(&mut self, bound: u64) -> u64 {
        self.roll() % bound
    }

    pub fn one_in(&mut self, count: u64) -> bool {
        self.below(count) == 0
    }
}

/// What was asked of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    Write { file: String, offset: u64, len: usize },
    Sync { file: String },
    SyncDir,
}

#[derive(Clone, Default)]
struct Content {
    durable: Vec<u8>,
    current: Vec<u8>,
    /// Writes since the last sync.
    pending: Vec<(usize, Vec<u8>)>,
    /// How many writes have left `pending`.
    done: usize,
    entry_durable: bool,
}

/// The fault that strikes next.
#[derive(Clone, Copy, Debug)]
pub enum Fault {
    /// A write leaves this many bytes behind and fails.
    Write { kept: usize, kind: io::ErrorKind },
    /// A sync fails.
    Sync,
}

#[derive(Default)]
struct State {
    files: BTreeMap<String, Content>,
    events: Vec<Event>,
    /// The fault, and how many operations of its kind still succeed.
    fault: Option<(usize, Fault)>,
    /// The fault of the operation right after that.
    second_fault: Option<Fault>,
    longest_read: usize,
    /// Files removed since the directory was synced: a power cut may bring them back.
    removed: BTreeMap<String, Content>,
    /// What happens while the next sync is under way.
    during_sync: Option<Hook>,
}

type Hook = Box<dyn FnOnce() + Send>;

#[derive(Clone, Default)]
pub struct Disk {
    state: Arc<Mutex<State>>,
}

struct File {
    name: String,
    disk: Disk,
}

impl Disk {
    fn with<R>(&self, f: impl FnOnce(&mut State) -> R) -> R {
        f(&mut self.state.lock().unwrap())
    }

    pub fn storage(&self) -> Arc<dyn Storage> {
        Arc::new(self.clone())
    }

    /// A disk of files that are durable as they are.
    pub fn of(files: BTreeMap<String, Vec<u8>>) -> Disk {
        let disk = Disk::default();
        for (name, bytes) in files {
            disk.put(&name, bytes);
        }
        disk
    }

    /// The content of all files.
    pub fn files(&self) -> BTreeMap<String, Vec<u8>> {
        self.with(|state| {
            let files = state.files.iter();
            files.map(|(name, file)| (name.clone(), file.current.clone())).collect()
        })
    }

    pub fn put(&self, name: &str, bytes: Vec<u8>) {
        let content = Content {
            durable: bytes.clone(),
            current: bytes,
            pending: Vec::new(),
            done: 0,
            entry_durable: true,
        };
        self.with(|state| state.files.insert(name.to_owned(), content));
    }

    pub fn take_events(&self) -> Vec<Event> {
        self.with(|state| std::mem::take(&mut state.events))
    }

    pub fn longest_read(&self) -> usize {
        self.with(|state| state.longest_read)
    }

    /// Lets `fault` strike after `count` more operations of its kind.
    pub fn fail_after(&self, count: usize, fault: Fault) {
        self.with(|state| state.fault = Some((count, fault)));
    }

    /// Lets `fault` strike the operation after the one that the first fault strikes.
    pub fn then_fail(&self, fault: Fault) {
        self.with(|state| state.second_fault = Some(fault));
    }

    /// Whether the fault is still to come; it is withdrawn.
    pub fn withdraw_fault(&self) -> bool {
        self.with(|state| state.fault.take().is_some())
    }

    /// Runs `hook` while the next sync is under way.
    pub fn during_sync(&self, hook: impl FnOnce() + Send + 'static) {
        self.with(|state| state.during_sync = Some(Box::new(hook)));
    }

    /// What a power cut could leave: of each sector any state since the last sync, or garbage if it
    /// was written since; entries and growth that were not synced, or not.
    pub fn cut(&self, dice: &mut Dice) -> Disk {
        // Some cuts lose nearly all, some nearly nothing.
        let luck = [0, 30, 70, 95, 100][dice.below(5) as usize];
        let garbage = dice.one_in(3);
        let mut files = BTreeMap::new();
        self.with(|state| {
            for (name, file) in state.removed.iter().chain(&state.files) {
                if file.entry_durable || dice.below(100) < luck {
                    files.insert(name.clone(), file.cut(dice, luck, garbage));
                }
            }
        });
        Disk::of(files)
    }
}

impl Content {
    fn cut(&self, dice: &mut Dice, luck: u64, garbage: bool) -> Vec<u8> {
        let mut bytes = self.durable.clone();
        if self.current.len() > bytes.len() && dice.below(100) < luck {
            bytes.resize(self.current.len(), 0);
        }
        for sector in 0..bytes.len().div_ceil(SECTOR) {
            let range = sector * SECTOR..bytes.len().min((sector + 1) * SECTOR);
            let touches =
                |(at, new): &&(usize, Vec<u8>)| *at < range.end && at + new.len() > range.start;
            let writes: Vec<_> = self.pending.iter().filter(touches).collect();
            if writes.is_empty() {
                continue;
            }
            let all = dice.below(100) < luck;
            let count =
                if all { writes.len() } else { dice.below(writes.len() as u64 + 1) as usize };
            for (at, new) in &writes[..count] {
                let (from, to) = (range.start.max(*at), range.end.min(at + new.len()));
                bytes[from..to].copy_from_slice(&new[from - at..to - at]);
            }
            if garbage && !all && dice.one_in(4) {
                bytes[range.clone()].fill_with(|| dice.roll() as u8);
            }
        }
        bytes
    }
}

fn missing(op: &'static str, name: &str) -> Error {
    Error::io(op, name, io::ErrorKind::NotFound.into())
}

impl Storage for Disk {
    fn open(&self, name: &str) -> Result<Arc<dyn StorageFile>> {
        let there = self.with(|state| state.files.contains_key(name));
        let file = File { name: name.to_owned(), disk: self.clone() };
        there.then(|| Arc::new(file) as Arc<dyn StorageFile>).ok_or_else(|| missing("open", name))
    }

    fn create(&self, name: &str) -> Result<Arc<dyn StorageFile>> {
        self.with(|state| {
            assert!(!state.files.contains_key(name), "{name} exists");
            state.files.insert(name.to_owned(), Content::default());
        });
        self.open(name)
    }

    fn rename(&self, from: &str, _to: &str) -> Result<()> {
        Err(missing("rename", from))
    }

    fn remove(&self, name: &str) -> Result<()> {
        self.with(|state| {
            let gone = state.files.remove(name).ok_or_else(|| missing("remove", name))?;
            state.removed.insert(name.to_owned(), gone);
            Ok(())
        })
    }

    fn list(&self) -> Result<Vec<String>> {
        Ok(self.with(|state| state.files.keys().cloned().collect()))
    }

    fn sync_dir(&self) -> Result<()> {
        self.with(|state| {
            state.events.push(Event::SyncDir);
            state.removed.clear();
            state.files.values_mut().for_each(|file| file.entry_durable = true);
        });
        Ok(())
    }
}

impl File {
    fn with<R>(&self, f: impl FnOnce(&mut Content) -> R) -> Result<R> {
        let found = self.disk.with(|state| state.files.get_mut(&self.name).map(f));
        found.ok_or_else(|| missing("use", &self.name))
    }

    /// Whether the fault strikes this operation.
    fn strikes(&self, sync: bool) -> Option<Fault> {
        self.disk.with(|state| {
            let (count, fault) = state.fault.as_mut()?;
            if sync != matches!(fault, Fault::Sync) {
                return None;
            }
            if *count > 0 {
                *count -= 1;
                return None;
            }
            let struck = state.fault.take().map(|(_, fault)| fault);
            state.fault = state.second_fault.take().map(|fault| (0, fault));
            struck
        })
    }
}

impl StorageFile for File {
    fn read_at(&self, bytes: &mut [u8], offset: u64) -> Result<()> {
        self.disk.with(|state| state.longest_read = state.longest_read.max(bytes.len()));
        self.with(|file| {
            let offset = offset as usize;
            match file.current.get(offset..offset + bytes.len()) {
                Some(there) => {
                    bytes.copy_from_slice(there);
                    Ok(())
                }
                None => Err(Error::io("read", &self.name, io::ErrorKind::UnexpectedEof.into())),
            }
        })?
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> Result<()> {
        let strike = self.strikes(false);
        let kept = match strike {
            Some(Fault::Write { kept, .. }) => &bytes[..kept.min(bytes.len())],
            _ => bytes,
        };
        self.with(|file| {
            let at = offset as usize;
            assert!(at + bytes.len() <= file.current.len(), "written beyond the allocated length");
            file.current[at..at + kept.len()].copy_from_slice(kept);
            file.pending.push((at, kept.to_vec()));
        })?;
        let (file, len) = (self.name.clone(), kept.len());
        self.disk.with(|state| state.events.push(Event::Write { file, offset, len }));
        match strike {
            Some(Fault::Write { kind, .. }) => Err(Error::io("write", &self.name, kind.into())),
            _ => Ok(()),
        }
    }

    fn allocate(&self, len: u64) -> Result<()> {
        self.with(|file| file.current.resize(file.current.len().max(len as usize), 0))
    }

    fn truncate(&self, len: u64) -> Result<()> {
        self.with(|file| file.current.truncate(len as usize))
    }

    fn len(&self) -> Result<u64> {
        self.with(|file| file.current.len() as u64)
    }

    fn sync(&self) -> Result<()> {
        if self.strikes(true).is_some() {
            return Err(Error::io("sync", &self.name, io::Error::other("injected")));
        }
        let (upto, len) = self.with(|file| (file.done + file.pending.len(), file.current.len()))?;
        if let Some(hook) = self.disk.with(|state| state.during_sync.take()) {
            hook();
        }
        // Only what was written before the sync began is durable for certain.
        self.with(|file| {
            file.durable.resize(len.max(file.durable.len()), 0);
            // A sync within this one may have been there before.
            let count = upto.saturating_sub(file.done);
            file.done += count;
            for (at, bytes) in file.pending.drain(..count) {
                file.durable[at..at + bytes.len()].copy_from_slice(&bytes);
            }
        })?;
        let file = self.name.clone();
        self.disk.with(|state| state.events.push(Event::Sync { file }));
        Ok(())
    }

    fn lock(&self, _mode: LockMode, _timeout: Duration) -> Result<()> {
        Ok(())
    }

    fn is_named(&self, name: &str) -> Result<bool> {
        Ok(self.name == name)
    }

    fn map(&self) -> Option<Arc<Map>> {
        None
    }
}
