//! A disk whose power can be cut after any operation, and whose operations can be made to fail.
//! Owns: [`SimDisk`]; [`Cut`], the moment; [`Image`], one of the things it can leave; [`Fault`].
//! Absent on purpose: a map, so pages are read into frames; time; reordering of what is seen while
//! the power is on: a running process always reads what it wrote.

mod content;
mod cut;
mod fault;
mod image;
mod operation;

pub use cut::{Cut, Cuts};
pub use fault::{Failure, Fault};
pub use image::{Image, Images};

use super::{
    LockMode, Storage, StorageFile,
    lock::{Advisory, Hold},
    map::Map,
};
use crate::{
    error::{Error, Result},
    seeded::{Bug, Seeded},
    sync::{Arc, Mutex, MutexGuard, PlainArc, erased, lock, thread},
};
use content::Content;
use cut::Pending;
use fault::{Deed, Faults};
use operation::{Inode, Operation, State};
use std::{collections::BTreeMap, io, time::Duration};

/// A directory of files on a simulated disk. Clones are the same disk.
///
/// Every operation is recorded and has an index. A run is looked at afterwards:
/// [`cuts`](Self::cuts) gives every moment at which the power could have gone, [`Cut::images`] what
/// it could have left, and [`Image::disk`] a disk to open a store on.
#[derive(Clone, Default)]
pub struct SimDisk {
    disk: PlainArc<Mutex<Disk>>,
}

#[derive(Default)]
struct Disk {
    /// What a process sees.
    live: State,
    /// What was durable before the first recorded operation.
    base: State,
    /// What another process had left in the page cache when this disk was made.
    carried: Vec<Pending>,
    /// Those of the process before come first.
    operations: Vec<PlainArc<Operation>>,
    /// Each with the number of operations before it.
    marks: Vec<(usize, u64)>,
    locks: BTreeMap<Inode, Arc<Advisory>>,
    last_inode: Inode,
    faults: Faults,
    /// How many bytes all files together may have.
    capacity: Option<u64>,
    seeded: Seeded,
    sync_pause: Duration,
}

impl SimDisk {
    /// An empty disk.
    pub fn new() -> SimDisk {
        SimDisk::default()
    }

    fn with(state: State) -> SimDisk {
        let disk = Disk {
            last_inode: state.last_inode(),
            base: state.clone(),
            live: state,
            ..Disk::default()
        };
        SimDisk { disk: PlainArc::new(Mutex::new(disk)) }
    }

    /// What the next process finds that takes over after a kill: it sees everything, of which only
    /// `base` is surely on the device.
    fn taken_over(base: State, live: State, carried: Vec<Pending>) -> SimDisk {
        let operations =
            carried.iter().map(|pending| PlainArc::clone(&pending.operation)).collect();
        let last_inode = live.last_inode();
        let disk = Disk { live, base, carried, operations, last_inode, ..Disk::default() };
        SimDisk { disk: PlainArc::new(Mutex::new(disk)) }
    }

    /// Lets every sync of a file take so long before it has an effect, as devices do: other threads
    /// write meanwhile.
    pub fn pause_syncs(&self, pause: Duration) {
        self.lock().sync_pause = pause;
    }

    /// Gives the stores that are opened on this disk from now on a bug.
    pub fn seed(&self, bug: Bug) {
        self.lock().seeded = Seeded::with(bug);
    }

    /// Flips one bit of a file, as a device does that forgets; whether there is such a byte.
    pub fn rot(&self, name: &str, offset: u64, bit: u8) -> bool {
        let mut disk = self.lock();
        let Some(inode) = disk.live.find(name) else { return false };
        let flip = |state: &mut State| {
            let mut byte = [0];
            let holds = state.file(inode).is_some_and(|content| content.holds(offset, 1));
            if holds {
                state.change(inode, |content| {
                    content.read(&mut byte, offset);
                    content.write(&[byte[0] ^ 1 << (bit % 8)], offset);
                });
            }
            holds
        };
        flip(&mut disk.base);
        flip(&mut disk.live)
    }

    fn lock(&self) -> MutexGuard<'_, Disk> {
        lock(&self.disk)
    }

    /// Records that something happened in the world outside: a commit was acknowledged, say. A cut
    /// tells which marks came before it.
    pub fn mark(&self, value: u64) {
        let mut disk = self.lock();
        let at = disk.operations.len();
        disk.marks.push((at, value));
    }

    /// How many operations have been recorded: reads and marks are none; failed ones are.
    pub fn operations(&self) -> usize {
        self.lock().operations.len()
    }

    /// What the operation of this index was, in words; `None` if there is none.
    pub fn describe(&self, index: usize) -> Option<String> {
        let disk = self.lock();
        disk.operations.get(index).map(ToString::to_string)
    }

    /// Every power cut there could have been, in order, of what has been recorded until now.
    pub fn cuts(&self) -> Cuts {
        let disk = self.lock();
        let (base, marks) = (disk.base.clone(), disk.marks.as_slice().into());
        Cuts::new(base, disk.carried.clone(), disk.operations.clone(), marks)
    }

    /// The power cut after the first `at` operations, those of a process before included.
    ///
    /// # Panics
    /// If there were not so many.
    pub fn cut(&self, at: usize) -> Cut {
        let carried = self.lock().carried.len();
        let cut = at.checked_sub(carried).and_then(|at| self.cuts().nth(at));
        cut.expect("a cut lies within the record")
    }

    /// Makes everything durable and forgets the record, marks included: what follows starts here.
    pub fn settle(&self) {
        let mut disk = self.lock();
        disk.base = disk.live.clone();
        disk.base.forget_nameless();
        disk.carried.clear();
        disk.operations.clear();
        disk.marks.clear();
    }

    /// Sets a fault, beside those that are set.
    pub fn fail(&self, fault: Fault) {
        self.lock().faults.set(fault);
    }

    /// Takes all faults back: there is space again, the device answers again.
    pub fn heal(&self) {
        self.lock().faults.clear();
    }

    /// From now on all files together may have `capacity` bytes: what would grow them beyond, and
    /// the creation of any file once there is no room, fails with ENOSPC. Writes within a file's
    /// length always have their space, as where it was reserved.
    pub fn limit(&self, capacity: Option<u64>) {
        self.lock().capacity = capacity;
    }

    /// The length of all files together, in bytes.
    pub fn used_bytes(&self) -> u64 {
        self.lock().live.bytes()
    }

    /// How many operations have been made to fail.
    pub fn fired(&self) -> u64 {
        self.lock().faults.fired()
    }

    fn share(&self, disk: &mut Disk, inode: Inode, name: &str) -> Arc<dyn StorageFile> {
        let advisory = disk.locks.entry(inode).or_default();
        erased(PlainArc::new(OpenFile {
            disk: self.clone(),
            inode,
            name: name.to_owned(),
            hold: Hold::new(Arc::clone(advisory)),
        }))
    }
}

impl Disk {
    /// Does the operation and records it, unless a fault says otherwise.
    fn perform(&mut self, deed: Deed, name: &str, operation: Operation) -> Result<()> {
        let full = self.lacks_room_for(&operation).then_some(Failure::NoSpace);
        let Some(failure) = self.faults.strike(deed).or(full) else {
            self.record(operation);
            return Ok(());
        };
        let verb = deed.verb();
        self.record(match operation {
            Operation::Write { inode, offset, bytes }
                if matches!(failure, Failure::ShortWrite | Failure::Interrupted) =>
            {
                let bytes = bytes[..bytes.len() / 2].into();
                Operation::Write { inode, offset, bytes }
            }
            whole @ Operation::Write { .. } if failure == Failure::Late => whole,
            Operation::Sync { inode } => Operation::FailedSync { inode },
            _ => Operation::Failed { verb },
        });
        Err(injected(verb, name, failure))
    }

    fn lacks_room_for(&self, operation: &Operation) -> bool {
        let Some(capacity) = self.capacity else { return false };
        let more = match operation {
            Operation::Create { .. } => 1,
            Operation::Grow { from, to, .. } => to - from,
            _ => return false,
        };
        self.live.bytes() + more > capacity
    }

    fn record(&mut self, operation: Operation) {
        self.live.apply(&operation);
        self.operations.push(PlainArc::new(operation));
    }

    fn find(&self, deed: Deed, name: &str) -> Result<Inode> {
        let absent = || failed(deed.verb(), name, io::ErrorKind::NotFound);
        self.live.find(name).ok_or_else(absent)
    }
}

fn failed(op: &'static str, name: &str, kind: io::ErrorKind) -> Error {
    Error::io(op, name, kind.into())
}

fn injected(op: &'static str, name: &str, failure: Failure) -> Error {
    let source = io::Error::new(failure.kind(), "the simulated disk was told to fail");
    Error::io(op, name, source)
}

impl Storage for SimDisk {
    fn open(&self, name: &str) -> Result<Arc<dyn StorageFile>> {
        let mut disk = self.lock();
        match disk.live.find(name) {
            Some(inode) => Ok(self.share(&mut disk, inode, name)),
            None => Err(failed("open", name, io::ErrorKind::NotFound)),
        }
    }

    fn create(&self, name: &str) -> Result<Arc<dyn StorageFile>> {
        let mut disk = self.lock();
        if disk.live.find(name).is_some() {
            return Err(failed("create", name, io::ErrorKind::AlreadyExists));
        }
        let inode = disk.last_inode + 1;
        let operation = Operation::Create { name: name.into(), inode };
        disk.perform(Deed::Create, name, operation)?;
        disk.last_inode = inode;
        Ok(self.share(&mut disk, inode, name))
    }

    fn rename(&self, from: &str, to: &str) -> Result<()> {
        let mut disk = self.lock();
        let inode = disk.find(Deed::Rename, from)?;
        let operation = Operation::Rename { from: from.into(), to: to.into(), inode };
        disk.perform(Deed::Rename, from, operation)
    }

    fn remove(&self, name: &str) -> Result<()> {
        let mut disk = self.lock();
        disk.find(Deed::Remove, name)?;
        let operation = Operation::Remove { name: name.into() };
        disk.perform(Deed::Remove, name, operation)
    }

    fn list(&self) -> Result<Vec<String>> {
        let disk = self.lock();
        Ok(disk.live.names().map(ToString::to_string).collect())
    }

    fn sync_dir(&self) -> Result<()> {
        let mut disk = self.lock();
        disk.perform(Deed::SyncDir, ".", Operation::SyncDir)
    }

    fn seeded(&self) -> Seeded {
        self.lock().seeded
    }
}

struct OpenFile {
    disk: SimDisk,
    inode: Inode,
    name: String,
    hold: Hold,
}

impl OpenFile {
    fn content<'disk>(&self, disk: &'disk Disk) -> &'disk Content {
        // Files that lost their name are kept while the disk is, for those who have them open.
        disk.live.file(self.inode).expect("an open file exists")
    }
}

impl StorageFile for OpenFile {
    fn read_at(&self, bytes: &mut [u8], offset: u64) -> Result<()> {
        let mut disk = self.disk.lock();
        if let Some(failure) = disk.faults.strike(Deed::Read) {
            return Err(injected("read", &self.name, failure));
        }
        let content = self.content(&disk);
        if !content.holds(offset, bytes.len()) {
            return Err(failed("read", &self.name, io::ErrorKind::UnexpectedEof));
        }
        content.read(bytes, offset);
        Ok(())
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> Result<()> {
        let mut disk = self.disk.lock();
        let content = self.content(&disk);
        assert!(
            content.holds(offset, bytes.len()),
            "write of {} bytes at {offset} of {} beyond its {} bytes: allocate first",
            bytes.len(),
            self.name,
            content.len(),
        );
        if bytes.is_empty() {
            return Ok(());
        }
        let operation = Operation::Write { inode: self.inode, offset, bytes: bytes.into() };
        disk.perform(Deed::Write, &self.name, operation)
    }

    fn allocate(&self, len: u64) -> Result<()> {
        let mut disk = self.disk.lock();
        let from = self.content(&disk).len();
        if len <= from {
            return Ok(());
        }
        let (inode, to) = (self.inode, len);
        disk.perform(Deed::Grow, &self.name, Operation::Grow { inode, from, to })
    }

    fn truncate(&self, len: u64) -> Result<()> {
        let mut disk = self.disk.lock();
        if len >= self.content(&disk).len() {
            return Ok(());
        }
        let inode = self.inode;
        disk.perform(Deed::Truncate, &self.name, Operation::Truncate { inode, len })
    }

    fn len(&self) -> Result<u64> {
        Ok(self.content(&self.disk.lock()).len())
    }

    fn sync(&self) -> Result<()> {
        let inode = self.inode;
        let pause = self.disk.lock().sync_pause;
        if !pause.is_zero() {
            thread::sleep(pause);
        }
        let mut disk = self.disk.lock();
        disk.perform(Deed::Sync, &self.name, Operation::Sync { inode })
    }

    fn await_writing(&self, _: u64, _: u64) -> Result<()> {
        let mut disk = self.disk.lock();
        let Some(failure) = disk.faults.strike(Deed::AwaitWriting) else { return Ok(()) };
        disk.record(Operation::FailedSync { inode: self.inode });
        Err(injected(Deed::AwaitWriting.verb(), &self.name, failure))
    }

    fn lock(&self, mode: LockMode, timeout: Duration) -> Result<()> {
        self.hold.take(mode, timeout)
    }

    fn keeps_name(&self) -> Result<bool> {
        Ok(self.disk.lock().live.find(&self.name) == Some(self.inode))
    }

    fn map(&self) -> Option<Arc<Map>> {
        None
    }

    fn seeded(&self) -> Seeded {
        self.disk.lock().seeded
    }
}

#[cfg(test)]
mod tests;
