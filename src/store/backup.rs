//! Copies of a running store.
//! Owns: what [`Store`] and [`Snapshot`] do to copy themselves. Absent on purpose: how a page file
//! is written (the room `txn`).

use super::Store;
#[cfg(feature = "simulation")]
use crate::storage::sim::SimDisk;
use crate::{
    error::Result,
    storage::{Storage, file::FileStorage},
    txn::{backup::back_up, snapshot::Snapshot},
};
use std::{path::Path, time::Duration};

/// How long a backup waits for another process that makes a store in the same directory.
const LOCK_TIMEOUT: Duration = Duration::from_secs(5);

impl Store {
    /// Copies the store to the directory `dir`, made if absent, while readers and writers go on;
    /// gives the version copied. The copy opens as a store of its own that equals this version.
    ///
    /// Everything visible is made durable first, so that a copy is never ahead of its store. The
    /// directory shows no store until the copy is whole and synced; a copy that failed can be tried
    /// again in the same place.
    ///
    /// Cost: each page in use is read and written once; memory for a bit a page.
    ///
    /// ```
    /// use recto::{Store, Table};
    /// # fn main() -> recto::Result<()> {
    /// # let dir = tempfile::tempdir().unwrap();
    /// const AGES: Table<&str, u64> = Table::new("ages");
    /// let store = Store::open(dir.path().join("store"))?;
    /// store.write(|tx| tx.table(&AGES)?.insert("ada", 36))?;
    /// let version = store.backup(dir.path().join("copy"))?;
    /// let copy = Store::open(dir.path().join("copy"))?;
    /// assert_eq!(copy.snapshot().version(), version);
    /// assert_eq!(copy.get(&AGES, "ada")?, Some(36));
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// [`Error::Io`](crate::Error::Io) of kind `AlreadyExists` if `dir` holds a store or a part of
    /// one; [`Error::Full`](crate::Error::Full) if the device is;
    /// [`Error::Corrupt`](crate::Error::Corrupt) if a page is damaged, for nothing unverified is
    /// copied. Of a poisoned store take [`Snapshot::backup`].
    pub fn backup(&self, dir: impl AsRef<Path>) -> Result<u64> {
        self.durable_snapshot()?.backup(dir)
    }

    /// As [`backup`](Self::backup), to a simulated disk.
    #[cfg(feature = "simulation")]
    pub fn backup_simulated(&self, disk: &SimDisk) -> Result<u64> {
        let snapshot = self.durable_snapshot()?;
        back_up(&snapshot, disk, LOCK_TIMEOUT)
    }

    /// The newest version, made durable.
    pub(super) fn durable_snapshot(&self) -> Result<Snapshot> {
        let snapshot = self.snapshot();
        if !self.options().read_only {
            self.sync()?;
        }
        Ok(snapshot)
    }
}

impl Snapshot {
    /// Copies this version to the directory `dir`, as [`Store::backup`] does, whether it is durable
    /// or not. It works for as long as the snapshot is held, also if the store was closed or
    /// poisoned since.
    ///
    /// # Errors
    /// As [`Store::backup`].
    pub fn backup(&self, dir: impl AsRef<Path>) -> Result<u64> {
        let target: &dyn Storage = &FileStorage::new(dir.as_ref())?;
        back_up(self, target, LOCK_TIMEOUT)
    }
}
