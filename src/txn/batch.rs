//! A user's blind writes, on their way to the writer.
//! Owns: [`Batch`]: what it holds, and how it is applied. Absent on purpose: types; the room `table`
//! adds the typed calls.

use super::{catalog::TableTypes, write::WriteState};
use crate::{
    error::{Error, Limit, Result},
    options::{BATCH_BYTES_MAX, Durability, KEY_BYTES_MAX, VALUE_BYTES_MAX},
};
use std::ops::{Bound, Range};

/// Writes that are applied together or not at all, without reading anything: owned, `Send`, and
/// handed over with [`Store::submit`](crate::Store::submit). Later writes of a key win over earlier
/// ones.
///
/// ```
/// use recto::{Batch, Store, Table};
/// # fn main() -> recto::Result<()> {
/// const AGES: Table<&str, u64> = Table::new("ages");
/// let store = Store::in_memory()?;
/// let mut batch = Batch::new();
/// batch.insert(&AGES, "alan", 41).insert(&AGES, "bob", 20).remove(&AGES, "bob");
/// let version: u64 = store.submit(batch)?.wait()?;
/// assert_eq!(version, store.snapshot().version());
/// assert_eq!(store.get(&AGES, "alan")?, Some(41));
/// # Ok(()) }
/// ```
#[derive(Clone, Debug, Default)]
pub struct Batch {
    tables: Vec<BatchTable>,
    writes: Vec<Write>,
    bytes: Vec<u8>,
    /// The first entry that cannot be; answered when the batch is submitted.
    error: Option<Error>,
    durability: Option<Durability>,
}

#[derive(Clone, Debug)]
struct BatchTable {
    hash: u64,
    name: Box<str>,
    types: TableTypes,
}

#[derive(Clone, Debug)]
struct Write {
    table: usize,
    change: Change,
}

#[derive(Clone, Debug)]
enum Change {
    Insert { key: Range<usize>, value: Range<usize> },
    Remove { key: Range<usize> },
    RemoveRange { from: Bound<Range<usize>>, to: Bound<Range<usize>> },
}

impl Batch {
    /// No writes yet.
    pub fn new() -> Batch {
        Batch::default()
    }

    /// When the commit is answered, in place of the store's own
    /// [`durability`](crate::Options::durability).
    #[must_use]
    pub fn durability(mut self, durability: Durability) -> Batch {
        self.durability = Some(durability);
        self
    }

    /// The number of writes.
    pub fn len(&self) -> usize {
        self.writes.len()
    }

    /// Whether there is no write.
    pub fn is_empty(&self) -> bool {
        self.writes.is_empty()
    }

    /// The bytes of all encoded keys and values.
    pub fn bytes(&self) -> usize {
        self.bytes.len()
    }

    pub(crate) fn durability_or(&self, default: Durability) -> Durability {
        self.durability.unwrap_or(default)
    }

    /// The batch's own error, once it is to be submitted.
    pub(crate) fn take_error(&mut self) -> Result<()> {
        self.error.take().map_or(Ok(()), Err)
    }

    /// The number of a table in this batch.
    pub(crate) fn table(&mut self, hash: u64, name: &str, types: impl Fn() -> TableTypes) -> usize {
        let known = self.tables.iter().position(|table| table.hash == hash && *table.name == *name);
        known.unwrap_or_else(|| {
            self.tables.push(BatchTable { hash, name: name.into(), types: types() });
            self.tables.len() - 1
        })
    }

    pub(crate) fn push_insert(
        &mut self,
        table: usize,
        key: impl FnOnce(&mut Vec<u8>),
        value: impl FnOnce(&mut Vec<u8>),
    ) {
        let key = self.encode(Limit::Key, KEY_BYTES_MAX, key);
        let value = self.encode(Limit::Value, VALUE_BYTES_MAX, value);
        self.push(table, Change::Insert { key, value });
    }

    pub(crate) fn push_remove(&mut self, table: usize, key: impl FnOnce(&mut Vec<u8>)) {
        let key = self.encode(Limit::Key, KEY_BYTES_MAX, key);
        self.push(table, Change::Remove { key });
    }

    pub(crate) fn push_remove_range(&mut self, table: usize, from: Bound<&[u8]>, to: Bound<&[u8]>) {
        let from = from
            .map(|key| self.encode(Limit::Key, KEY_BYTES_MAX, |out| out.extend_from_slice(key)));
        let to =
            to.map(|key| self.encode(Limit::Key, KEY_BYTES_MAX, |out| out.extend_from_slice(key)));
        self.push(table, Change::RemoveRange { from, to });
    }

    fn encode(
        &mut self,
        what: Limit,
        max: usize,
        encode: impl FnOnce(&mut Vec<u8>),
    ) -> Range<usize> {
        let start = self.bytes.len();
        encode(&mut self.bytes);
        let len = self.bytes.len() - start;
        if len > max {
            self.error.get_or_insert(Error::TooLarge { what, len, max });
            self.bytes.truncate(start);
        }
        start..self.bytes.len()
    }

    fn push(&mut self, table: usize, change: Change) {
        let (len, max) = (self.bytes.len(), BATCH_BYTES_MAX);
        if len > max {
            self.error.get_or_insert(Error::TooLarge { what: Limit::Batch, len, max });
        }
        self.writes.push(Write { table, change });
    }

    /// Applies the writes as one request. Between two removals of ranges they are sorted by table and
    /// key, the newest of a key last, so that each leaf is looked for and copied once.
    pub(crate) fn apply(&self, state: &mut WriteState) -> Result<()> {
        let is_barrier = |write: &Write| matches!(write.change, Change::RemoveRange { .. });
        let mut rest = &self.writes[..];
        while !rest.is_empty() {
            let end = rest.iter().position(is_barrier).unwrap_or(rest.len());
            self.apply_points(&rest[..end], state)?;
            if let Some(Write { table, change: Change::RemoveRange { from, to } }) = rest.get(end) {
                let index = self.open(*table, state)?;
                let bound = |at: &Bound<Range<usize>>| at.clone().map(|at| &self.bytes[at]);
                state.remove_range(index, bound(from), bound(to))?;
            }
            rest = rest.get(end + 1..).unwrap_or_default();
        }
        Ok(())
    }

    fn apply_points(&self, writes: &[Write], state: &mut WriteState) -> Result<()> {
        if let [only] = writes {
            let index = self.open(only.table, state)?;
            let (key, value) = self.point(only);
            return match value {
                Some(value) => state.insert(index, key, value).map(drop),
                None => state.remove(index, key).map(drop),
            };
        }
        let mut sorted: Vec<&Write> = writes.iter().collect();
        sorted.sort_by_key(|write| (write.table, self.point(write).0));
        for writes in sorted.chunk_by(|a, b| a.table == b.table) {
            let index = self.open(writes[0].table, state)?;
            state.merge(index, writes.iter().map(|write| Ok(self.point(write))))?;
        }
        Ok(())
    }

    fn point(&self, write: &Write) -> (&[u8], Option<&[u8]>) {
        match &write.change {
            Change::Insert { key, value } => {
                (&self.bytes[key.clone()], Some(&self.bytes[value.clone()]))
            }
            Change::Remove { key } => (&self.bytes[key.clone()], None),
            Change::RemoveRange { .. } => unreachable!("a barrier is no point"),
        }
    }

    fn open(&self, table: usize, state: &mut WriteState) -> Result<usize> {
        let BatchTable { hash, name, types } = &self.tables[table];
        state.open_table(*hash, name, types)
    }
}
