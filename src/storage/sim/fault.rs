//! Which operations fail, and how.
//! Owns: [`Fault`], [`Failure`], [`Faults`].

use std::io::ErrorKind;

/// A failure to come: of the `nth` operation, counted from zero and from when the fault was set,
/// among those that `failure` can hit. So a test that counts `nth` up until nothing
/// [fired](super::SimDisk::fired) has tried every place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fault {
    /// What goes wrong.
    pub failure: Failure,
    /// Which of the operations that it can hit.
    pub nth: u64,
    /// Whether every later one fails, too.
    pub sticky: bool,
}

/// What goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failure {
    /// EIO of any operation that changes or syncs; nothing is done.
    Io,
    /// ENOSPC of a write, a growth or a creation; nothing is done.
    NoSpace,
    /// ENOSPC of a write after its first half has been written.
    ShortWrite,
    /// EINTR of a write after its first half has been written.
    Interrupted,
    /// EIO of a write that was done whole.
    Late,
    /// EIO of a sync of a file or of the directory, or of a wait for the device. What it was to
    /// sync may be on the disk or not, and a later sync that succeeds does not change that.
    Sync,
    /// EIO of a read.
    Read,
}

/// What is about to be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Deed {
    Read,
    Write,
    Grow,
    Truncate,
    Create,
    Rename,
    Remove,
    Sync,
    SyncDir,
    AwaitWriting,
}

impl Deed {
    /// The verb that errors carry.
    pub fn verb(self) -> &'static str {
        match self {
            Deed::Read => "read",
            Deed::Write => "write",
            Deed::Grow => "allocate",
            Deed::Truncate => "truncate",
            Deed::Create => "create",
            Deed::Rename => "rename",
            Deed::Remove => "remove",
            Deed::Sync | Deed::SyncDir | Deed::AwaitWriting => "sync",
        }
    }
}

impl Failure {
    fn can_hit(self, deed: Deed) -> bool {
        match self {
            Failure::Io => deed != Deed::Read,
            Failure::NoSpace => matches!(deed, Deed::Write | Deed::Grow | Deed::Create),
            Failure::ShortWrite | Failure::Interrupted | Failure::Late => deed == Deed::Write,
            Failure::Sync => {
                matches!(deed, Deed::Sync | Deed::SyncDir | Deed::AwaitWriting)
            }
            Failure::Read => deed == Deed::Read,
        }
    }

    /// What the operating system says of it.
    pub fn kind(self) -> ErrorKind {
        match self {
            Failure::Io | Failure::Late | Failure::Sync | Failure::Read => ErrorKind::Other,
            Failure::Interrupted => ErrorKind::Interrupted,
            Failure::NoSpace | Failure::ShortWrite => ErrorKind::StorageFull,
        }
    }
}

/// The faults that are set.
#[derive(Default)]
pub struct Faults {
    set: Vec<Counted>,
    fired: u64,
}

struct Counted {
    fault: Fault,
    passed: u64,
}

impl Faults {
    pub fn set(&mut self, fault: Fault) {
        self.set.push(Counted { fault, passed: 0 });
    }

    pub fn clear(&mut self) {
        self.set.clear();
    }

    pub fn fired(&self) -> u64 {
        self.fired
    }

    /// Counts `deed` and says how it fails, if it does. The fault that was set first wins; the
    /// others count all the same.
    pub fn strike(&mut self, deed: Deed) -> Option<Failure> {
        let mut struck = None;
        for Counted { fault, passed } in &mut self.set {
            if !fault.failure.can_hit(deed) {
                continue;
            }
            if *passed == fault.nth || (fault.sticky && *passed > fault.nth) {
                struck = struck.or(Some(fault.failure));
            }
            *passed += 1;
        }
        self.fired += u64::from(struck.is_some());
        struck
    }
}
