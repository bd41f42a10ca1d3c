//! Slow readers, from the outside.

use super::Store;
use crate::{error::Result, txn::readers::ReaderReport};

impl Store {
    /// The versions that were replaced by a later one and that somebody still holds, by a
    /// [`Snapshot`](crate::Snapshot), a [`Reader`](crate::Reader) that was not asked since, a
    /// [`Transaction`](crate::Transaction) or a backup; oldest first. Snapshots of one version are
    /// told as one: taking a snapshot is not recorded anywhere, which is what makes it cheap.
    ///
    /// Cost: a look at what waits for readers, on the writer thread, behind what it is doing. A
    /// store that is opened to be read only has none.
    ///
    /// ```
    /// # fn main() -> recto::Result<()> {
    /// let store = recto::Store::in_memory()?;
    /// let old = store.snapshot();
    /// store.write(|tx| tx.table(&recto::Table::<u8, u8>::new("t"))?.insert(1, 1))?;
    /// let readers = store.readers()?;
    /// assert_eq!(readers.len(), 1);
    /// assert_eq!(readers[0].version, old.version());
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// [`Error::Reentrant`](crate::Error::Reentrant) on the store's own threads;
    /// [`Error::Closed`](crate::Error::Closed); [`Error::Poisoned`](crate::Error::Poisoned).
    pub fn readers(&self) -> Result<Vec<ReaderReport>> {
        if self.options().read_only {
            return Ok(Vec::new());
        }
        self.inspect(|writer| Ok(writer.reader_reports()))
    }
}
