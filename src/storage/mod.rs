//! Where the bytes live: a directory of files, behind one door, so that the same pager and log run
//! over real files, over memory and over a simulated disk.
//! Owns: the traits [`Storage`] and [`StorageFile`].
//! Absent on purpose: retries, checksums, knowledge of pages or records.

pub mod blank;
pub mod file;
mod lock;
pub mod map;
pub mod memory;
#[cfg(not(loom))]
pub mod origin;
pub mod prefixed;
#[cfg(feature = "simulation")]
pub mod sim;

use crate::{
    error::{Error, Result},
    options::NAMELESS_FILE,
    seeded::Seeded,
    sync::Arc,
};
use std::{io::ErrorKind, time::Duration};

/// Models never fork.
#[cfg(loom)]
pub mod origin {
    /// This process.
    pub struct Origin;

    impl Origin {
        /// This process.
        pub fn here() -> Origin {
            Origin
        }

        /// Always.
        pub fn is_here(&self) -> bool {
            true
        }
    }
}

/// A flat directory of files. Names carry no path separators. Every change of the directory is
/// durable only after [`sync_dir`](Storage::sync_dir).
pub trait Storage: Send + Sync + 'static {
    /// Opens an existing file; an error of kind `NotFound` if there is none.
    fn open(&self, name: &str) -> Result<Arc<dyn StorageFile>>;
    /// Creates a file that must not exist yet, empty, readable by its owner alone.
    fn create(&self, name: &str) -> Result<Arc<dyn StorageFile>>;
    /// Renames `from` to `to`, replacing it.
    fn rename(&self, from: &str, to: &str) -> Result<()>;
    /// Removes a file.
    fn remove(&self, name: &str) -> Result<()>;
    /// The names of all files, sorted.
    fn list(&self) -> Result<Vec<String>>;
    /// Makes creations, renames and removals durable; the first call also the directory's own
    /// entry.
    fn sync_dir(&self) -> Result<()>;
    /// The bug that a store over this storage has.
    fn seeded(&self) -> Seeded {
        Seeded::default()
    }
}

/// One open file. All calls take `&self`; overlapping writes are the caller's to avoid.
#[allow(clippy::len_without_is_empty, reason = "nobody asks whether a file is empty")]
pub trait StorageFile: Send + Sync + 'static {
    /// Fills `bytes` from `offset`; an error of kind `UnexpectedEof` if the file ends before.
    fn read_at(&self, bytes: &mut [u8], offset: u64) -> Result<()>;
    /// Writes all of `bytes` at `offset`, within the allocated length.
    fn write_at(&self, bytes: &[u8], offset: u64) -> Result<()>;
    /// Grows the file to at least `len` bytes, zeroed, with its space reserved on the device.
    fn allocate(&self, len: u64) -> Result<()>;
    /// Cuts the file to `len` bytes.
    fn truncate(&self, len: u64) -> Result<()>;
    /// The file's length in bytes.
    fn len(&self) -> Result<u64>;
    /// Has what was written to `len` bytes at `offset` begin its way to the device. A hint, which
    /// waits for nothing and promises nothing: only a sync does, and it alone tells what failed.
    fn start_writing(&self, _offset: u64, _len: u64) {}
    /// Waits until the device has taken what [`start_writing`](Self::start_writing) began there. It
    /// is no more durable than before, but who syncs another file does not wait behind it.
    ///
    /// # Errors
    /// To be taken as a failed sync: what failed may be kept from the sync that follows.
    fn await_writing(&self, _offset: u64, _len: u64) -> Result<()> {
        Ok(())
    }
    /// Makes everything written before this call durable, and the length with it.
    fn sync(&self) -> Result<()>;
    /// Takes the advisory lock of this file, waiting up to `timeout`; it goes when the file is
    /// dropped. `Error::Locked` with the owner's pid where it is known.
    fn lock(&self, mode: LockMode, timeout: Duration) -> Result<()>;
    /// Whether the name that it was opened by still leads to this very file.
    fn keeps_name(&self) -> Result<bool>;
    /// A read-only map of the file that follows its growth, where the storage has one.
    fn map(&self) -> Option<Arc<map::Map>>;
    /// The bug that a store over this file has.
    fn seeded(&self) -> Seeded {
        Seeded::default()
    }
}

/// A new file that has lost its name already: it goes when it is dropped, however the process ends.
/// One thread at a time may ask for one.
///
/// # Errors
/// The storage's own; a file under a temporary name may then be left, for the next call or opening
/// to remove.
pub fn nameless(storage: &dyn Storage) -> Result<Arc<dyn StorageFile>> {
    let file = match storage.create(NAMELESS_FILE) {
        Err(Error::Io(io)) if io.source.kind() == ErrorKind::AlreadyExists => {
            storage.remove(NAMELESS_FILE)?;
            storage.create(NAMELESS_FILE)
        }
        created => created,
    }?;
    storage.remove(NAMELESS_FILE)?;
    Ok(file)
}

/// How a file is locked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LockMode {
    /// One owner: reads and writes.
    Exclusive,
    /// Any number of readers, no writer.
    Shared,
}

#[cfg(all(test, not(loom)))]
mod tests;
