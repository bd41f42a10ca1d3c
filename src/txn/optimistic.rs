//! Optimistic transactions: reads of a snapshot, and writes that wait for the commit.
//! Owns: [`Buffered`], what such a transaction has read and written, and how the writer judges it.
//! The rule (protocol, section 5): what was read must read the same in the writer's own tree,
//! groups that are not published included. The snapshot is owned until that has been found out, or
//! numbers of pages would mean other pages by then.
//! Absent on purpose: a thread, and any lock. Whoever has the transaction owns all of it.

mod merged;
mod reads;

pub use merged::Merged;

use super::{
    catalog::Catalog,
    raw::{Asked, AskedFor, Entry, ReadRaw, WriteRaw},
    snapshot::View,
    write::{WriteState, table_name},
};
use crate::{
    error::{Error, Limit, Result},
    options::{BATCH_BYTES_MAX, KEY_BYTES_MAX, VALUE_BYTES_MAX},
    pager::write::Draw,
    pager::write::WritePager,
    sync::{Arc, Twin, is_planted},
    tree::{Tree, build::Fill, remove_range::is_empty_span},
};
use reads::{Reads, Seen};
use std::{cell::RefCell, collections::BTreeMap, ops::Bound};

/// The snapshot that a transaction reads, what it has read there, and what it has written.
pub struct Buffered {
    base: Arc<View>,
    tables: Vec<TableBuffer>,
    /// Keys and values written, in bytes.
    bytes: usize,
}

/// One table of the transaction.
struct TableBuffer {
    table: AskedFor,
    /// Where it is in the snapshot; none if it is not there, which reads as empty.
    index: Option<usize>,
    changes: Changes,
    /// Entries more than the snapshot has.
    grown: i64,
    reads: RefCell<Reads>,
}

type Changes = BTreeMap<Box<[u8]>, Change>;

/// What the transaction wrote to one key.
struct Change {
    /// None: it is removed.
    value: Option<Vec<u8>>,
    /// Whether the snapshot has the key.
    was_there: bool,
}

impl Buffered {
    /// A transaction that has read and written nothing, over `base`.
    pub fn new(base: Arc<View>) -> Buffered {
        Buffered { base, tables: Vec::new(), bytes: 0 }
    }

    /// The snapshot that it reads.
    pub fn base(&self) -> &View {
        &self.base
    }

    /// Whether nothing would change by it.
    pub fn is_read_only(&self) -> bool {
        self.tables.iter().all(|table| table.changes.is_empty())
    }

    /// Whether it can be handed to the writer.
    ///
    /// # Errors
    /// [`Error::Closed`], [`Error::TooLarge`].
    pub fn sendable(&self) -> Result<()> {
        self.base.pages()?;
        if is_planted(Twin::SnapshotLetGo)
            && let Some(lease) = self.base.lease()
        {
            lease.release();
        }
        self.room_for(0)
    }

    /// Judges it by `catalog`, which is to be the writer's own, unpublished groups included. The
    /// snapshot is let go of after that.
    ///
    /// # Errors
    /// [`Error::Conflict`] if what it read has changed.
    pub fn judge(&self, catalog: &Catalog, pages: &WritePager) -> Result<()> {
        for table in &self.tables {
            if self.has_changed(table, catalog, pages)? {
                return Err(Error::Conflict);
            }
        }
        Ok(())
    }

    /// Applies it, judged.
    ///
    /// # Errors
    /// What that meets, for the request to undo.
    pub fn apply(&self, state: &mut WriteState) -> Result<()> {
        self.tables.iter().try_for_each(|table| table.apply(state))
    }

    /// Whether anything that was read of `table` reads otherwise in `catalog`.
    fn has_changed(
        &self,
        table: &TableBuffer,
        catalog: &Catalog,
        pages: &WritePager,
    ) -> Result<bool> {
        let now = match table.table.asked().find(catalog) {
            Ok(index) => index.map(|index| *catalog.tree(index)),
            // Of this name there is a table of other types now: not the one that was read.
            Err(Error::TypeMismatch(_)) => return Ok(true),
            Err(error) => return Err(error),
        };
        // A table that is not there reads as an empty one; that it comes or goes changes nothing
        // for whom its entries did not matter.
        let old = table.index.map_or(Tree::empty(0), |index| *self.base.catalog.tree(index));
        let new = now.unwrap_or(Tree::empty(0));
        let reads = table.reads.borrow();
        if reads.is_len_read() && old.len != new.len {
            return Ok(true);
        }
        for (key, seen) in reads.keys() {
            if Tree::differs_at(&old, &new, pages, key, seen == Seen::Value)? {
                return Ok(true);
            }
        }
        for (from, to, seen) in reads.spans() {
            let whole = seen == Seen::Value;
            if Tree::differs_between(&old, &new, pages, from, to, whole)? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// The value that the snapshot has.
    fn base_get(&self, table: &TableBuffer, key: &[u8]) -> Result<Option<&[u8]>> {
        match table.index {
            Some(index) => ReadRaw::get(&*self.base, index, key),
            None => Ok(None),
        }
    }

    /// Whether the snapshot has `key`; noted as read.
    fn base_has(&self, table: &TableBuffer, key: &[u8]) -> Result<bool> {
        let is_there = self.base_get(table, key)?.is_some();
        table.reads.borrow_mut().note_key(key, Seen::Presence);
        Ok(is_there)
    }

    /// The entries of a range, of which `seen` is told to whoever asked.
    fn walk(
        &self,
        table: usize,
        from: Bound<&[u8]>,
        to: Bound<&[u8]>,
        seen: Seen,
    ) -> Result<Merged<'_>> {
        let TableBuffer { index, changes, reads, .. } = &self.tables[table];
        self.room_for(0)?;
        self.base.pages()?;
        if is_empty_span(from, to) {
            return Ok(Merged::empty(reads));
        }
        let old = index.map(|index| ReadRaw::range(&*self.base, index, from, to)).transpose()?;
        let changes = changes.range::<[u8], _>((from, to));
        Ok(Merged::new(old, changes, reads, (from, to), seen))
    }

    /// Writes to one key; whether it was there before.
    fn put(&mut self, table: usize, key: &[u8], value: Option<&[u8]>) -> Result<bool> {
        Limit::Key.check(key.len(), KEY_BYTES_MAX)?;
        let value_len = value.map_or(0, <[u8]>::len);
        Limit::Value.check(value_len, VALUE_BYTES_MAX)?;
        self.room_for(key.len() + value_len)?;
        let there = self.tables[table].changes.get(key).map(|change| change.value.is_some());
        let was_there = match there {
            Some(there) => there,
            None => self.base_has(&self.tables[table], key)?,
        };
        let TableBuffer { changes, grown, .. } = &mut self.tables[table];
        let (before, after) = (i64::from(was_there), i64::from(value.is_some()));
        *grown += after - before;
        let new = value.map(<[u8]>::to_vec);
        if let Some(change) = changes.get_mut(key) {
            self.bytes -= change.value.as_ref().map_or(0, Vec::len);
            self.bytes += value_len;
            change.value = new;
            if change.value.is_none() && !change.was_there {
                self.bytes -= key.len();
                changes.remove(key);
            }
        } else if was_there || new.is_some() {
            self.bytes += key.len() + value_len;
            changes.insert(key.into(), Change { value: new, was_there });
        }
        Ok(was_there)
    }

    /// An error if `more` bytes and what it has read and written exceed what a transaction may.
    fn room_for(&self, more: usize) -> Result<()> {
        let read: usize = self.tables.iter().map(|table| table.reads.borrow().bytes()).sum();
        Limit::Batch.check(self.bytes + read + more, BATCH_BYTES_MAX)
    }
}

impl TableBuffer {
    /// Applies what was written, in key order. A table that was only read is not made.
    fn apply(&self, state: &mut WriteState) -> Result<()> {
        if self.changes.is_empty() {
            return Ok(());
        }
        let table = state.open(self.table.asked())?;
        let mut changes = self.changes.iter();
        if let (Some((key, change)), 1) = (changes.next(), self.changes.len()) {
            return match &change.value {
                Some(value) => state.insert(table, key, value).map(drop),
                None => state.remove(table, key).map(drop),
            };
        }
        let only_removes = self.changes.values().all(|change| change.value.is_none());
        let draw = if only_removes { Draw::Removal } else { Draw::Nothing };
        let changes = self.changes.iter().map(|(key, change)| Ok((key, change.value.as_ref())));
        state.pages.draw_on_reserve(draw);
        let merged = state.merge(table, changes);
        state.pages.draw_on_reserve(Draw::Nothing);
        merged.map(drop)
    }
}

impl ReadRaw for Buffered {
    type Range<'r> = Merged<'r>;

    fn len(&self, table: usize) -> Result<u64> {
        let pages = self.base.pages();
        let table = &self.tables[table];
        pages?;
        table.reads.borrow_mut().note_len();
        let old = table.index.map_or(0, |index| self.base.catalog.tree(index).len);
        Ok(old.saturating_add_signed(table.grown))
    }

    fn get(&self, table: usize, key: &[u8]) -> Result<Option<&[u8]>> {
        let table = &self.tables[table];
        if let Some(change) = table.changes.get(key) {
            self.base.pages()?;
            return Ok(change.value.as_deref());
        }
        self.room_for(key.len())?;
        let value = self.base_get(table, key)?;
        table.reads.borrow_mut().note_key(key, Seen::Value);
        Ok(value)
    }

    fn contains(&self, table: usize, key: &[u8]) -> Result<bool> {
        let table = &self.tables[table];
        if let Some(change) = table.changes.get(key) {
            self.base.pages()?;
            return Ok(change.value.is_some());
        }
        self.room_for(key.len())?;
        self.base_has(table, key)
    }

    fn get_many(&self, table: usize, keys: &[&[u8]]) -> Result<Vec<Option<&[u8]>>> {
        let TableBuffer { index, changes, reads, .. } = &self.tables[table];
        self.room_for(keys.iter().map(|key| key.len()).sum())?;
        let mut values = match index {
            Some(index) => self.base.get_many(*index, keys)?,
            None => vec![None; keys.len()],
        };
        for (key, value) in keys.iter().zip(&mut values) {
            match changes.get(*key) {
                Some(change) => *value = change.value.as_deref(),
                None => reads.borrow_mut().note_key(key, Seen::Value),
            }
        }
        Ok(values)
    }

    fn first(&self, table: usize) -> Result<Option<Entry<'_>>> {
        self.range(table, Bound::Unbounded, Bound::Unbounded)?.next().transpose()
    }

    fn last(&self, table: usize) -> Result<Option<Entry<'_>>> {
        self.range(table, Bound::Unbounded, Bound::Unbounded)?.next_back().transpose()
    }

    fn range(&self, table: usize, from: Bound<&[u8]>, to: Bound<&[u8]>) -> Result<Merged<'_>> {
        self.walk(table, from, to, Seen::Value)
    }
}

impl WriteRaw for Buffered {
    fn open(&mut self, asked: Asked<'_>) -> Result<usize> {
        self.base.pages()?;
        let index = asked.find(&self.base.catalog)?;
        if let Some(found) = self.tables.iter().position(|table| table.table.is(asked)) {
            return Ok(found);
        }
        table_name(asked.name)?;
        if let Some(other) = self.tables.iter().find(|table| table.table.has_name_of(asked)) {
            // Neither is in the snapshot; the one that was asked for first counts.
            return Err(other.table.mismatch(asked));
        }
        self.tables.push(TableBuffer {
            table: AskedFor::new(asked, asked.name.to_owned().into()),
            index,
            changes: Changes::new(),
            grown: 0,
            reads: RefCell::default(),
        });
        Ok(self.tables.len() - 1)
    }

    fn insert(&mut self, table: usize, key: &[u8], value: &[u8]) -> Result<bool> {
        Ok(!self.put(table, key, Some(value))?)
    }

    fn remove(&mut self, table: usize, key: &[u8]) -> Result<bool> {
        self.put(table, key, None)
    }

    fn remove_range(&mut self, table: usize, from: Bound<&[u8]>, to: Bound<&[u8]>) -> Result<u64> {
        let entries = self.walk(table, from, to, Seen::Presence)?;
        let keys = entries.map(|entry| entry.map(|(key, _)| key.to_vec()));
        let keys = keys.collect::<Result<Vec<_>>>()?;
        for key in &keys {
            self.put(table, key, None)?;
        }
        Ok(keys.len() as u64)
    }

    fn merge<K: AsRef<[u8]>, V: AsRef<[u8]>>(
        &mut self,
        table: usize,
        sorted: impl Iterator<Item = Result<(K, Option<V>)>>,
    ) -> Result<u64> {
        let mut new = 0;
        for change in sorted {
            let (key, value) = change?;
            let value = value.as_ref().map(AsRef::as_ref);
            let was_there = self.put(table, key.as_ref(), value)?;
            new += u64::from(value.is_some() && !was_there);
        }
        Ok(new)
    }

    fn load<K: AsRef<[u8]>, V: AsRef<[u8]>>(
        &mut self,
        table: usize,
        sorted: impl Iterator<Item = Result<(K, V)>>,
        _: Fill,
    ) -> Result<u64> {
        self.merge(table, sorted.map(|entry| entry.map(|(key, value)| (key, Some(value)))))
    }
}

impl std::fmt::Debug for Buffered {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let changes: usize = self.tables.iter().map(|table| table.changes.len()).sum();
        f.debug_struct("Buffered")
            .field("base", &self.base)
            .field("changes", &changes)
            .field("bytes", &self.bytes)
            .finish_non_exhaustive()
    }
}
