//! Tables as ordered bytes, by their names: for tools that meet tables whose types they do not
//! know. Owns: [`RawTable`] and [`RawTableMut`]. Absent on purpose: any check that bytes are an
//! encoding of the table's types; typed readers find that out, as `Error::Corrupt`.

use super::{extend::Extend, key::Key, value::Value};
use crate::{
    error::Result,
    publish::Version,
    tree::{check::TreeReport, cursor},
    txn::{
        catalog::{TableTypes, name_hash},
        raw::{ReadRaw, WriteRaw},
        snapshot::View,
        write::{WriteState, WriteTx},
    },
};
use std::{fmt, ops::Bound};

pub use super::escape::Ordered;
/// What a table's tree consists of.
pub use crate::tree::check::TreeReport as TableReport;

/// The entries of a range as encoded keys and values, from both ends.
pub type RawRange<'s> = cursor::Range<'s, View>;

impl View {
    /// A table by its name, as ordered bytes; none if it is not there.
    ///
    /// # Errors
    /// [`Error::Closed`](crate::Error::Closed) behind a store that is closed.
    pub fn raw_table(&self, name: &str) -> Result<Option<RawTable<'_>>> {
        self.pages()?;
        let index = self.catalog.find_name(name);
        Ok(index.map(|index| RawTable { view: self, index }))
    }
}

/// A table of one snapshot, as encoded keys and values.
#[derive(Clone, Copy)]
pub struct RawTable<'s> {
    view: &'s View,
    index: usize,
}

impl<'s> RawTable<'s> {
    /// The types that it was created with.
    pub fn types(&self) -> &'s TableTypes {
        &self.view.catalog.entry(self.index).types
    }

    /// The number of entries. Cost: none.
    pub fn len(&self) -> u64 {
        self.view.catalog.tree(self.index).len
    }

    /// Whether there is no entry.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The value of an encoded key.
    ///
    /// # Errors
    /// [`Error::Corrupt`](crate::Error::Corrupt), as of all calls that read pages.
    pub fn get(&self, key: &[u8]) -> Result<Option<&'s [u8]>> {
        ReadRaw::get(self.view, self.index, key)
    }

    /// The entries between two bounds.
    pub fn range(&self, from: Bound<&[u8]>, to: Bound<&[u8]>) -> Result<RawRange<'s>> {
        ReadRaw::range(self.view, self.index, from, to)
    }

    /// What the table's tree consists of. Cost: a visit to every page.
    pub fn report(&self) -> Result<TreeReport> {
        let newest = Version(self.view.version());
        self.view.catalog.tree(self.index).check(self.view.pages()?, newest, &mut |_, _| Ok(()))
    }
}

impl fmt::Debug for RawTable<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RawTable").field("types", self.types()).finish_non_exhaustive()
    }
}

impl WriteTx<'_> {
    /// A table by its name, as ordered bytes; created with `types` if it is not there.
    ///
    /// # Errors
    /// [`Error::TypeMismatch`](crate::Error::TypeMismatch) if it was created with other types.
    pub fn raw_table(&mut self, name: &str, types: &TableTypes) -> Result<RawTableMut<'_>> {
        let state = self.state_mut();
        let index = state.open_table(name_hash(name.as_bytes()), name, types)?;
        Ok(RawTableMut { state, index })
    }
}

/// A table within a transaction, as encoded keys and values.
pub struct RawTableMut<'t> {
    state: &'t mut WriteState,
    index: usize,
}

impl RawTableMut<'_> {
    /// The value of an encoded key.
    ///
    /// # Errors
    /// As of all calls here: [`Error::TooLarge`](crate::Error::TooLarge),
    /// [`Error::Full`](crate::Error::Full), [`Error::Corrupt`](crate::Error::Corrupt).
    pub fn get(&self, key: &[u8]) -> Result<Option<&[u8]>> {
        self.state.get(self.index, key)
    }

    /// Inserts or replaces; whether the key was new.
    pub fn insert(&mut self, key: &[u8], value: &[u8]) -> Result<bool> {
        self.state.insert(self.index, key, value)
    }

    /// Removes; whether the key was there.
    pub fn remove(&mut self, key: &[u8]) -> Result<bool> {
        self.state.remove(self.index, key)
    }

    /// Removes the entries between two bounds; how many there were.
    pub fn remove_range(&mut self, from: Bound<&[u8]>, to: Bound<&[u8]>) -> Result<u64> {
        WriteRaw::remove_range(self.state, self.index, from, to)
    }

    /// Inserts or replaces many entries, in any order, the last of equal keys; how many were new.
    pub fn extend<K, V>(&mut self, entries: impl IntoIterator<Item = (K, V)>) -> Result<u64>
    where
        K: AsRef<[u8]>,
        V: AsRef<[u8]>,
    {
        let mut extend = Extend::new(self.state, self.index)?;
        for (key, value) in entries {
            extend.push(key.as_ref(), value.as_ref())?;
        }
        extend.finish()
    }
}

impl fmt::Debug for RawTableMut<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RawTableMut").field("index", &self.index).finish_non_exhaustive()
    }
}

impl TableTypes {
    /// The types of `Table<K, V>`.
    pub fn of<K: Key, V: Value>() -> TableTypes {
        super::types::<K, V>()
    }
}
