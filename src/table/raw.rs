//! Tables whose types are known by their names alone: how a store is looked into, dumped and loaded
//! without the program that made it.
//! Owns: [`RawTable`] and [`WriteTx::raw_table`]. Keys and values are bytes as they are stored; bytes
//! as a type are themselves, so the typed handles do the rest.

use super::{
    key::Key,
    read::TableRef,
    types,
    value::Value,
    write::TableMut,
};
use crate::{
    error::Result,
    tree::check::TreeReport,
    txn::{
        catalog::{TableTypes, name_hash},
        snapshot::View,
        write::WriteTx,
    },
};
use std::{fmt, ops::Deref};

/// Reads the parts of an encoded key, for programs that know types by name.
#[doc(hidden)]
pub use super::escape::Ordered;

/// A table of one snapshot as it is stored: reads as a table of bytes, and tells its types.
///
/// ```
/// use recto::{Store, Table};
/// # fn main() -> recto::Result<()> {
/// const AGES: Table<&str, u64> = Table::new("ages");
/// let store = Store::in_memory()?;
/// store.write(|tx| tx.table(&AGES)?.insert("ada", 36))?;
/// let snap = store.snapshot();
/// let ages = snap.raw_table("ages")?.unwrap();
/// assert_eq!(ages.types().to_string(), "&str -> u64");
/// assert_eq!(ages.get(b"ada")?, Some(&36u64.to_le_bytes()[..]));
/// # Ok(()) }
/// ```
pub struct RawTable<'s> {
    view: &'s View,
    index: usize,
    table: TableRef<'s, &'static [u8], &'static [u8]>,
}

impl<'s> RawTable<'s> {
    /// The types that it was created with.
    pub fn types(&self) -> &'s TableTypes {
        &self.view.catalog.entry(self.index).types
    }

    /// How it lies in pages.
    ///
    /// Cost: one look at each of its pages.
    ///
    /// # Errors
    /// [`Error::Corrupt`](crate::Error::Corrupt) if the table is damaged.
    pub fn report(&self) -> Result<TreeReport> {
        self.view.catalog.tree(self.index).check(self.view.pages()?, &mut |_, _| Ok(()))
    }
}

impl<'s> Deref for RawTable<'s> {
    type Target = TableRef<'s, &'static [u8], &'static [u8]>;

    fn deref(&self) -> &Self::Target {
        &self.table
    }
}

impl fmt::Debug for RawTable<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RawTable({})", self.types())
    }
}

impl View {
    /// The table `name` as it is stored, whatever its types; none if it is not there.
    pub fn raw_table(&self, name: &str) -> Result<Option<RawTable<'_>>> {
        self.pages()?;
        let index = self.catalog.find(name_hash(name.as_bytes()), name);
        Ok(index.map(|index| RawTable { view: self, index, table: TableRef::new(self, Some(index)) }))
    }
}

impl WriteTx<'_> {
    /// Opens the table `name` to read and change it as it is stored; created with the types `types`
    /// if it is not there. Bytes that are no encoding of these types are accepted, and damage to
    /// whoever reads them by type.
    ///
    /// # Errors
    /// As [`table`](Self::table).
    pub fn raw_table(
        &mut self,
        name: &str,
        types: &TableTypes,
    ) -> Result<TableMut<'_, &'static [u8], &'static [u8]>> {
        let state = self.state_mut();
        let index = state.open_table(name_hash(name.as_bytes()), name, types)?;
        Ok(TableMut::at(state, index))
    }
}

impl TableTypes {
    /// The types of a `Table<K, V>`.
    pub fn of<K: Key, V: Value>() -> TableTypes {
        types::<K, V>()
    }
}
