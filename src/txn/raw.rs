//! Tables as ordered bytes, whoever holds them: what typed handles and batches stand on.
//! Owns: [`ReadRaw`], [`WriteRaw`] and how a table is asked for ([`Asked`]).
//! Absent on purpose: types, but for the hashes that tell them apart.

use super::{
    catalog::{Catalog, TableTypes},
    snapshot::View,
    write::WriteState,
};
use crate::{
    error::{Error, Result, TypeMismatch},
    options::SORT_BYTES_DEFAULT,
    pager::write::WritePager,
    storage::Storage,
    sync::{Arc, PlainArc},
    tree::cursor::Range,
};
use std::{borrow::Cow, ops::Bound};

pub use crate::tree::{build::Fill, cursor::Entry};

/// A table as a caller names it.
#[derive(Clone, Copy)]
pub struct Asked<'n> {
    /// Its name.
    pub name: &'n str,
    /// The name's hash.
    pub hash: u64,
    /// The hash of the key type.
    pub key: u64,
    /// The hash of the value type.
    pub value: u64,
    /// Both with their names, which are put together only when they are needed.
    pub types: fn() -> TableTypes,
}

impl Asked<'_> {
    /// Where the table is in `catalog`; none if it is not there.
    ///
    /// # Errors
    /// [`Error::TypeMismatch`](crate::Error::TypeMismatch) if it has other types.
    #[inline]
    pub fn find(&self, catalog: &Catalog) -> Result<Option<usize>> {
        let Some(index) = catalog.find(self.hash, self.name) else {
            return Ok(None);
        };
        let entry = catalog.entry(index);
        if !entry.types.matches(self.key, self.value) {
            entry.expect_types(&(self.types)())?;
        }
        Ok(Some(index))
    }
}

/// A table as a caller named it, kept.
#[derive(Clone)]
pub struct AskedFor {
    name: Cow<'static, str>,
    hash: u64,
    key: u64,
    value: u64,
    types: fn() -> TableTypes,
}

impl AskedFor {
    /// The table `asked` for, whose name the caller knows as `name`.
    pub fn new(asked: Asked<'_>, name: Cow<'static, str>) -> AskedFor {
        let Asked { hash, key, value, types, .. } = asked;
        AskedFor { name, hash, key, value, types }
    }

    /// Whether it is the one `asked` for, types included.
    pub fn is(&self, asked: Asked<'_>) -> bool {
        (self.hash, self.key, self.value) == (asked.hash, asked.key, asked.value)
            && self.name == asked.name
    }

    /// Whether it has the name of the one `asked` for.
    pub fn has_name_of(&self, asked: Asked<'_>) -> bool {
        self.hash == asked.hash && self.name == asked.name
    }

    /// The error of who asks for it with other types.
    pub fn mismatch(&self, asked: Asked<'_>) -> Error {
        Error::TypeMismatch(PlainArc::new(TypeMismatch {
            table: self.name.clone().into_owned(),
            stored: (self.types)().to_string(),
            asked: (asked.types)().to_string(),
        }))
    }

    /// To ask for it again.
    pub fn asked(&self) -> Asked<'_> {
        let AskedFor { name, hash, key, value, types } = self;
        Asked { name, hash: *hash, key: *key, value: *value, types: *types }
    }
}

/// Reads of tables by their index. What is borrowed lives as long as the source is not changed.
pub trait ReadRaw {
    /// The entries of a range, from both ends.
    type Range<'r>: DoubleEndedIterator<Item = Result<Entry<'r>>>
    where
        Self: 'r;

    /// The number of entries.
    fn len(&self, table: usize) -> Result<u64>;
    /// The value of `key`.
    fn get(&self, table: usize, key: &[u8]) -> Result<Option<&[u8]>>;
    /// Whether there is an entry of `key`.
    fn contains(&self, table: usize, key: &[u8]) -> Result<bool> {
        Ok(self.get(table, key)?.is_some())
    }
    /// The values of `keys`, in their order.
    fn get_many(&self, table: usize, keys: &[&[u8]]) -> Result<Vec<Option<&[u8]>>>;
    /// The entry with the smallest key.
    fn first(&self, table: usize) -> Result<Option<Entry<'_>>>;
    /// The entry with the greatest key.
    fn last(&self, table: usize) -> Result<Option<Entry<'_>>>;
    /// The entries between two bounds; none if they are in the wrong order.
    fn range(&self, table: usize, from: Bound<&[u8]>, to: Bound<&[u8]>) -> Result<Self::Range<'_>>;
}

/// Changes of tables by their index.
pub trait WriteRaw: ReadRaw {
    /// The index of a table, which is created if it is not there. It holds until the next table is
    /// opened.
    fn open(&mut self, table: Asked<'_>) -> Result<usize>;
    /// Inserts or replaces; whether the key was new.
    fn insert(&mut self, table: usize, key: &[u8], value: &[u8]) -> Result<bool>;
    /// Removes; whether the key was there.
    fn remove(&mut self, table: usize, key: &[u8]) -> Result<bool>;
    /// Removes the entries between two bounds; how many there were.
    fn remove_range(&mut self, table: usize, from: Bound<&[u8]>, to: Bound<&[u8]>) -> Result<u64>;
    /// Applies changes in key order: a value inserts or replaces, none removes; of several changes
    /// of one key the last counts. How many keys were new.
    fn merge<K: AsRef<[u8]>, V: AsRef<[u8]>>(
        &mut self,
        table: usize,
        sorted: impl Iterator<Item = Result<(K, Option<V>)>>,
    ) -> Result<u64>;
    /// The room in which entries may be gathered to be sorted, in bytes.
    fn sort_bytes(&self) -> usize {
        SORT_BYTES_DEFAULT as usize
    }
    /// Where sorted runs may be written that exceed it; none where that bounds nothing.
    fn sort_storage(&self) -> Option<Arc<dyn Storage>> {
        None
    }
    /// Inserts or replaces strictly ascending entries, however many; how many keys were new.
    fn load<K: AsRef<[u8]>, V: AsRef<[u8]>>(
        &mut self,
        table: usize,
        sorted: impl Iterator<Item = Result<(K, V)>>,
        fill: Fill,
    ) -> Result<u64>;
}

impl ReadRaw for View {
    type Range<'r> = Range<'r, View>;

    #[inline]
    fn len(&self, table: usize) -> Result<u64> {
        self.pages()?;
        Ok(self.catalog.tree(table).len)
    }

    #[inline]
    fn get(&self, table: usize, key: &[u8]) -> Result<Option<&[u8]>> {
        self.catalog.tree(table).get(self.pages()?, key)
    }

    fn get_many(&self, table: usize, keys: &[&[u8]]) -> Result<Vec<Option<&[u8]>>> {
        self.catalog.tree(table).get_many(self.pages()?, keys)
    }

    fn first(&self, table: usize) -> Result<Option<Entry<'_>>> {
        self.catalog.tree(table).first(self.pages()?)
    }

    fn last(&self, table: usize) -> Result<Option<Entry<'_>>> {
        self.catalog.tree(table).last(self.pages()?)
    }

    #[inline]
    fn range(&self, table: usize, from: Bound<&[u8]>, to: Bound<&[u8]>) -> Result<Self::Range<'_>> {
        self.pages()?;
        self.catalog.tree(table).range(self, from, to)
    }
}

impl ReadRaw for WriteState {
    type Range<'r> = Range<'r, WritePager>;

    fn len(&self, table: usize) -> Result<u64> {
        Ok(WriteState::len(self, table))
    }

    fn get(&self, table: usize, key: &[u8]) -> Result<Option<&[u8]>> {
        WriteState::get(self, table, key)
    }

    fn get_many(&self, table: usize, keys: &[&[u8]]) -> Result<Vec<Option<&[u8]>>> {
        self.tree(table).get_many(&self.pages, keys)
    }

    fn first(&self, table: usize) -> Result<Option<Entry<'_>>> {
        self.tree(table).first(&self.pages)
    }

    fn last(&self, table: usize) -> Result<Option<Entry<'_>>> {
        self.tree(table).last(&self.pages)
    }

    fn range(&self, table: usize, from: Bound<&[u8]>, to: Bound<&[u8]>) -> Result<Self::Range<'_>> {
        WriteState::range(self, table, from, to)
    }
}

impl WriteRaw for WriteState {
    fn open(&mut self, table: Asked<'_>) -> Result<usize> {
        match table.find(&self.catalog)? {
            Some(index) => Ok(index),
            None => self.open_table(table.hash, table.name, &(table.types)()),
        }
    }

    fn insert(&mut self, table: usize, key: &[u8], value: &[u8]) -> Result<bool> {
        WriteState::insert(self, table, key, value)
    }

    fn remove(&mut self, table: usize, key: &[u8]) -> Result<bool> {
        WriteState::remove(self, table, key)
    }

    fn remove_range(&mut self, table: usize, from: Bound<&[u8]>, to: Bound<&[u8]>) -> Result<u64> {
        WriteState::remove_range(self, table, from, to)
    }

    fn merge<K: AsRef<[u8]>, V: AsRef<[u8]>>(
        &mut self,
        table: usize,
        sorted: impl Iterator<Item = Result<(K, Option<V>)>>,
    ) -> Result<u64> {
        WriteState::merge(self, table, sorted)
    }

    fn sort_bytes(&self) -> usize {
        WriteState::sort_bytes(self)
    }

    fn sort_storage(&self) -> Option<Arc<dyn Storage>> {
        WriteState::sort_storage(self)
    }

    fn load<K: AsRef<[u8]>, V: AsRef<[u8]>>(
        &mut self,
        table: usize,
        sorted: impl Iterator<Item = Result<(K, V)>>,
        fill: Fill,
    ) -> Result<u64> {
        WriteState::load(self, table, sorted, fill)
    }
}
