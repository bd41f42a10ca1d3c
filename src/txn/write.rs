//! What a transaction changes: tables by index, keys and values as bytes.
//! Owns: [`WriteState`], the writer's working copy of the store, and [`WriteTx`], a closure's view
//! of it. Keeps I2: there is one state, and it never leaves the seat.
//! Absent on purpose: types (the room `table`), logging and publishing (the room `writer`).

use super::{
    catalog::{Catalog, TableTypes},
    snapshot::View,
};
use crate::{
    error::{Error, Limit, Result},
    options::{KEY_BYTES_MAX, TABLE_NAME_BYTES_MAX, TABLES_MAX, VALUE_BYTES_MAX},
    page::PageId,
    pager::{
        Pages, TableId,
        write::{Savepoint as PageSavepoint, WritePager},
    },
    publish::{Bell, Generation, Pin, Version},
    seeded::Bug,
    storage::Storage,
    sync::Arc,
    tree::{
        Tree,
        build::Fill,
        cursor::Range,
        relocate::Spot,
        repack::{Repacked, Stretch},
    },
    wal::Op,
};
use std::ops::Bound;

/// The writer's working copy: the newest trees, the pages behind them, and the operations that the
/// log has not got yet.
pub struct WriteState {
    /// The pages.
    pub pages: WritePager,
    /// The tables.
    pub catalog: Catalog,
    /// The version of the last request that succeeded.
    pub version: Version,
    /// The id of the next table; ids are never used twice.
    pub next_table: TableId,
    limits: Limits,
    /// Where runs of entries may be written that exceed the room for sorting.
    storage: Option<Arc<dyn Storage>>,
    ops: Vec<u8>,
    /// What the group's requests brought, in bytes.
    user_bytes: u64,
    request_ops: usize,
    /// What was dirty when the request in progress began, in bytes.
    dirty_before: u64,
    /// How many versions the request in progress takes.
    request_versions: u64,
    /// A request of the group is past what the log takes: all of it commits by a checkpoint.
    large: bool,
    /// The first error that left the trees of the request in progress half changed.
    broken: Option<Error>,
}

/// From where on a transaction is large.
#[derive(Clone, Copy, Debug)]
#[allow(clippy::struct_field_names, reason = "all are bytes, and the unit stands last")]
pub struct Limits {
    /// The most operations that one request may bring to the log, in bytes.
    pub request_log_bytes: usize,
    /// The most that may be dirty before the request in progress writes pages early, in bytes.
    pub dirty_bytes: u64,
    /// The room in which entries are gathered to be sorted, in bytes.
    pub sort_bytes: usize,
}

/// Where a request began, to go back to.
pub struct Savepoint {
    pages: PageSavepoint,
    catalog: Catalog,
    next_table: TableId,
    version: Version,
    ops: usize,
    user_bytes: u64,
    large: bool,
}

impl WriteState {
    /// A working copy of the state that `pages` and `catalog` describe.
    pub fn new(
        pages: WritePager,
        catalog: Catalog,
        version: Version,
        next_table: TableId,
        limits: Limits,
    ) -> WriteState {
        let (ops, broken) = (Vec::new(), None);
        WriteState {
            pages,
            catalog,
            version,
            next_table,
            limits,
            storage: None,
            ops,
            user_bytes: 0,
            request_ops: 0,
            dirty_before: 0,
            request_versions: 1,
            large: false,
            broken,
        }
    }

    /// From now on runs of entries may be written to files of `storage`.
    pub fn sort_in(&mut self, storage: Arc<dyn Storage>) {
        self.storage = Some(storage);
    }

    /// The room in which entries are gathered to be sorted, in bytes.
    pub fn sort_bytes(&self) -> usize {
        self.limits.sort_bytes
    }

    /// Where sorted runs may be written that exceed it.
    pub fn sort_storage(&self) -> Option<Arc<dyn Storage>> {
        self.storage.clone()
    }

    /// This state as it is to be published as `generation`; pinned from this moment on.
    pub fn view(&mut self, generation: Generation, bell: &Arc<Bell>) -> Arc<View> {
        let (pin, lease) = Pin::new(bell);
        let version = self.version;
        self.pages.pin(version, generation, &lease);
        let (catalog, pager) = (self.catalog.clone(), Arc::clone(self.pages.pager()));
        Arc::new(View { version, generation, catalog, pager: Some(pager), pin: Some(pin) })
    }

    /// Starts a group.
    pub fn begin_group(&mut self, generation: Generation) -> Savepoint {
        self.ops.clear();
        self.user_bytes = 0;
        self.large = false;
        self.pages.begin_group(self.version, generation);
        self.savepoint()
    }

    /// Starts a request. It works under the next version, which it takes if it succeeds.
    pub fn begin_request(&mut self) -> Savepoint {
        self.pages.begin_request(Version(self.version.0 + 1));
        self.join_request();
        self.savepoint()
    }

    /// Starts a request that shares the pages of those before it, back to the last that
    /// [`begin_request`](Self::begin_request) started, and can only be undone with all of them. The
    /// pages keep the version of the first: nobody sees a version amid a group.
    pub fn join_request(&mut self) {
        self.request_ops = self.ops.len();
        self.dirty_before = self.pages.dirty_bytes();
        self.request_versions = 1;
        self.broken = None;
    }

    fn savepoint(&self) -> Savepoint {
        Savepoint {
            pages: self.pages.savepoint(),
            catalog: self.catalog.clone(),
            next_table: self.next_table,
            version: self.version,
            ops: self.ops.len(),
            user_bytes: self.user_bytes,
            large: self.large,
        }
    }

    /// Undoes everything since `point`.
    pub fn undo(&mut self, point: Savepoint) {
        self.pages.undo(&point.pages);
        self.catalog = point.catalog;
        self.next_table = point.next_table;
        self.version = point.version;
        self.user_bytes = point.user_bytes;
        if !self.pages.pager().seeded().has(Bug::UndoneIsLogged) {
            self.ops.truncate(point.ops);
        }
        self.large = point.large;
        self.broken = None;
    }

    /// Ends the request in progress, which takes `versions` versions.
    ///
    /// # Errors
    /// The error that left its trees half changed, also if the closure swallowed it; what came of
    /// writing its pages early.
    pub fn finish_request(&mut self, versions: u64) -> Result<()> {
        self.finish_joined(versions)?;
        self.finish_pages()
    }

    /// As [`finish_request`](Self::finish_request), of one that others may join.
    ///
    /// # Errors
    /// The error that left its trees half changed.
    pub fn finish_joined(&mut self, versions: u64) -> Result<()> {
        if let Some(broken) = self.broken.take() {
            return Err(broken);
        }
        self.version = Version(self.version.0 + versions);
        Ok(())
    }

    /// No further request joins those that share their pages, and they are kept.
    ///
    /// # Errors
    /// What came of writing pages early.
    pub fn finish_pages(&mut self) -> Result<()> {
        self.pages.end_request()
    }

    /// Has the request in progress take so many versions, because what it brings was as many
    /// commits elsewhere.
    pub fn take_versions(&mut self, versions: u64) {
        self.request_versions = versions;
    }

    /// How many versions the request in progress takes.
    pub fn request_versions(&self) -> u64 {
        self.request_versions
    }

    /// Whether the group must be committed by a checkpoint, for the log does not hold all of it.
    pub fn is_large(&self) -> bool {
        self.large
    }

    /// The group's operations, as the log takes them.
    pub fn ops(&self) -> &[u8] {
        &self.ops
    }

    /// The bytes of keys and values that the group brings: those inserted, and the keys and bounds
    /// of what is removed.
    pub fn user_bytes(&self) -> u64 {
        self.user_bytes
    }

    /// The index of a table, for the other calls; created if it is not there. An index holds until
    /// the next table is opened.
    pub fn open_table(&mut self, hash: u64, name: &str, types: &TableTypes) -> Result<usize> {
        self.usable()?;
        if let Some(index) = self.catalog.find(hash, name) {
            self.catalog.entry(index).expect_types(types)?;
            return Ok(index);
        }
        table_name(name)?;
        if self.catalog.len() >= TABLES_MAX {
            let (len, max) = (self.catalog.len() + 1, TABLES_MAX);
            return Err(Error::TooLarge { what: Limit::Tables, len, max });
        }
        let id = self.next_table;
        let mut bytes = Vec::new();
        types.encode(&mut bytes);
        self.apply_create(id, name, types.clone());
        self.log(&Op::CreateTable { id, name, types: &bytes });
        Ok(self.catalog.find(hash, name).expect("the table was just created"))
    }

    pub(super) fn apply_create(&mut self, id: TableId, name: &str, types: TableTypes) {
        self.next_table = id + 1;
        self.catalog.insert(name, id, types, Tree::empty(id));
    }

    /// Removes a table with everything in it. False if there is none of this name.
    pub fn drop_table(&mut self, name: &str) -> Result<bool> {
        self.usable()?;
        let Some(index) = self.catalog.find_name(name) else {
            return Ok(false);
        };
        let id = self.catalog.entry(index).id;
        self.shrink(index, Tree::clear)?;
        self.catalog.remove(index);
        self.log(&Op::DropTable { id });
        Ok(true)
    }

    /// Gives a table another name. False if there is none of the name `from`.
    ///
    /// # Errors
    /// `Error::Invalid` if there is a table named `to`.
    pub fn rename_table(&mut self, from: &str, to: &str) -> Result<bool> {
        self.usable()?;
        table_name(to)?;
        let Some(index) = self.catalog.find_name(from) else {
            return Ok(false);
        };
        if self.catalog.find_name(to).is_some() {
            return Err(Error::invalid(format!("there is a table named \"{to}\" already")));
        }
        let id = self.catalog.entry(index).id;
        self.catalog.rename(index, to);
        self.log(&Op::RenameTable { id, name: to });
        Ok(true)
    }

    /// The tree of the table at `index`.
    pub fn tree(&self, index: usize) -> &Tree {
        self.catalog.tree(index)
    }

    /// The value of `key`.
    pub fn get(&self, index: usize, key: &[u8]) -> Result<Option<&[u8]>> {
        self.usable()?;
        self.tree(index).get(&self.pages, key)
    }

    /// The number of entries.
    pub fn len(&self, index: usize) -> u64 {
        self.tree(index).len
    }

    /// The entries between two bounds, from both ends.
    pub fn range(
        &self,
        index: usize,
        from: Bound<&[u8]>,
        to: Bound<&[u8]>,
    ) -> Result<Range<'_, WritePager>> {
        self.usable()?;
        self.tree(index).range(&self.pages, from, to)
    }

    /// Inserts or replaces; whether the key was new.
    pub fn insert(&mut self, index: usize, key: &[u8], value: &[u8]) -> Result<bool> {
        self.usable()?;
        Limit::Key.check(key.len(), KEY_BYTES_MAX)?;
        Limit::Value.check(value.len(), VALUE_BYTES_MAX)?;
        let new = self.change(index, |tree, pages| tree.insert(pages, key, value))?;
        self.user_bytes += (key.len() + value.len()) as u64;
        let table = self.catalog.entry(index).id;
        self.log(&Op::Insert { table, key, value });
        Ok(new)
    }

    /// Removes; whether the key was there.
    pub fn remove(&mut self, index: usize, key: &[u8]) -> Result<bool> {
        self.usable()?;
        Limit::Key.check(key.len(), KEY_BYTES_MAX)?;
        let found = self.shrink(index, |tree, pages| tree.remove(pages, key))?;
        self.user_bytes += key.len() as u64;
        if found {
            let table = self.catalog.entry(index).id;
            self.log(&Op::Remove { table, key });
        }
        Ok(found)
    }

    /// Removes the entries between two bounds; how many there were.
    pub fn remove_range(
        &mut self,
        index: usize,
        from: Bound<&[u8]>,
        to: Bound<&[u8]>,
    ) -> Result<u64> {
        self.usable()?;
        let removed = self.shrink(index, |tree, pages| tree.remove_range(pages, from, to))?;
        self.user_bytes += bound_bytes(from) + bound_bytes(to);
        if removed > 0 {
            let table = self.catalog.entry(index).id;
            self.log(&Op::RemoveRange { table, from, to });
        }
        Ok(removed)
    }

    /// Applies changes in key order, leaf by leaf: a value inserts or replaces, none removes; of
    /// several changes of one key the last counts. Returns how many keys were new.
    pub fn merge<K: AsRef<[u8]>, V: AsRef<[u8]>>(
        &mut self,
        index: usize,
        sorted: impl Iterator<Item = Result<(K, Option<V>)>>,
    ) -> Result<u64> {
        self.bulk(index, self.limits.dirty_bytes / 2, |tree, pages, tap| {
            let tapped = sorted.inspect(|change| tap.note(change));
            tree.merge(pages, tapped)
        })
    }

    /// Inserts or replaces strictly ascending entries, as many as there are, in bounded memory.
    /// Those that all come behind the last entry fill new pages, one after the other; others go in
    /// leaf by leaf. Returns how many keys were new.
    pub fn load<K: AsRef<[u8]>, V: AsRef<[u8]>>(
        &mut self,
        index: usize,
        sorted: impl Iterator<Item = Result<(K, V)>>,
        fill: Fill,
    ) -> Result<u64> {
        self.usable()?;
        let mut sorted = sorted.peekable();
        let is_behind = match sorted.peek() {
            None => return Ok(0),
            Some(Err(_)) => false,
            Some(Ok((first, _))) => match self.tree(index).last(&self.pages)? {
                None => true,
                Some((last, _)) => last < first.as_ref(),
            },
        };
        if !is_behind {
            let changes = sorted.map(|entry| entry.map(|(key, value)| (key, Some(value))));
            return self.merge(index, changes);
        }
        // No page is looked at again, and what is this long is too long for the log: a few frames
        // that stay in the CPU's caches do.
        let room = (2 * self.limits.request_log_bytes as u64).min(self.limits.dirty_bytes / 2);
        self.bulk(index, room, |tree, pages, tap| {
            let tapped = sorted.inspect(|entry| {
                if let Ok((key, value)) = entry {
                    tap.insert(key.as_ref(), value.as_ref());
                }
            });
            tree.append(pages, tapped, fill)
        })
    }

    /// A change of unknown size: it may spill once it has made `room` bytes dirty, and is logged as
    /// long as it fits.
    fn bulk<T>(
        &mut self,
        index: usize,
        room: u64,
        change: impl FnOnce(&mut Tree, &mut WritePager, &mut LogTap<'_>) -> Result<T>,
    ) -> Result<T> {
        self.usable()?;
        let table = self.catalog.entry(index).id;
        let mut tree = *self.tree(index);
        let mut tap = LogTap {
            ops: &mut self.ops,
            user_bytes: &mut self.user_bytes,
            start: self.request_ops,
            limit: self.limits.request_log_bytes,
            table,
            full: self.large,
        };
        let room = room + self.dirty_before;
        self.pages.allow_spill(room / self.pages.page_bytes() as u64);
        let changed = change(&mut tree, &mut self.pages, &mut tap);
        self.large |= tap.full || self.pages.has_spilled();
        if self.large {
            self.ops.truncate(self.request_ops);
            self.allow_spill();
        } else {
            self.pages.forbid_spill();
        }
        self.catalog.set_tree(index, tree);
        changed.inspect_err(|e| self.broken = Some(e.clone()))
    }

    /// Moves what lies behind `fence` at a spot, if its table is still there. False: there is no
    /// room below the fence for the page and all above it.
    pub fn relocate(&mut self, table: TableId, spot: &Spot, fence: PageId) -> Result<bool> {
        let Some(index) = self.catalog.find_id(table) else { return Ok(true) };
        if self.pages.pages_below() <= u32::from(self.tree(index).level) {
            return Ok(false);
        }
        let moved = self
            .change(index, |tree, pages| tree.relocate(pages, spot, fence, WritePager::fits_below));
        moved.map(|()| true)
    }

    /// Writes the leaves of a stretch anew into fewer, `pages_max` full ones at most, if its table
    /// is still there. None: there is no room for one within `room_pages`.
    pub fn repack(
        &mut self,
        table: TableId,
        stretch: &Stretch,
        pages_max: usize,
        room_pages: usize,
    ) -> Result<Option<Repacked>> {
        let Some(index) = self.catalog.find_id(table) else { return Ok(Some(Repacked::default())) };
        // The branches above are copied too, and of each level one that is merged; and a last leaf.
        let others = 2 * usize::from(self.tree(index).level) + 1;
        let pages_max = pages_max.min(room_pages.saturating_sub(others));
        if pages_max == 0 {
            return Ok(None);
        }
        self.change(index, |tree, pages| tree.repack(pages, stretch, pages_max)).map(Some)
    }

    /// Changes one tree. An error may leave it half changed: only the end of the request mends
    /// that.
    pub(super) fn change<T>(
        &mut self,
        index: usize,
        change: impl FnOnce(&mut Tree, &mut WritePager) -> Result<T>,
    ) -> Result<T> {
        let mut tree = *self.tree(index);
        let changed = change(&mut tree, &mut self.pages);
        self.catalog.set_tree(index, tree);
        if let Err(e) = &changed {
            self.broken = Some(e.clone());
        }
        changed
    }

    /// A change that removes: on a full device it may use what is kept for it.
    pub(super) fn shrink<T>(
        &mut self,
        index: usize,
        change: impl FnOnce(&mut Tree, &mut WritePager) -> Result<T>,
    ) -> Result<T> {
        self.change(index, |tree, pages| pages.with_reserve(|pages| change(tree, pages)))
    }

    fn usable(&self) -> Result<()> {
        match &self.broken {
            None => Ok(()),
            Some(error) => Err(error.clone()),
        }
    }

    /// Notes an operation for the log; past the limits the request turns large.
    fn log(&mut self, op: &Op<'_>) {
        if self.large {
            return;
        }
        op.encode(&mut self.ops);
        let logged = self.ops.len() - self.request_ops;
        let dirty_bytes = self.pages.dirty_bytes();
        if logged > self.limits.request_log_bytes || dirty_bytes > self.limits.dirty_bytes {
            self.large = true;
            self.ops.truncate(self.request_ops);
            self.allow_spill();
        }
    }

    /// Lets a large request spill beyond all that may be dirty: a spilled page that is wanted again
    /// is read and verified. And beyond a quarter more than there is, or every page would be a
    /// spill of its own.
    fn allow_spill(&mut self) {
        let (most, dirty_bytes) = (self.limits.dirty_bytes, self.pages.dirty_bytes());
        let room = most.max(dirty_bytes + most / 4);
        self.pages.allow_spill(room / self.pages.page_bytes() as u64);
    }
}

/// Counts the changes of a bulk load, and copies them to the log's operations while they still fit.
struct LogTap<'o> {
    ops: &'o mut Vec<u8>,
    user_bytes: &'o mut u64,
    start: usize,
    limit: usize,
    table: TableId,
    full: bool,
}

impl LogTap<'_> {
    fn note<K: AsRef<[u8]>, V: AsRef<[u8]>>(&mut self, change: &Result<(K, Option<V>)>) {
        match change {
            Ok((key, Some(value))) => self.insert(key.as_ref(), value.as_ref()),
            Ok((key, None)) => {
                let key = key.as_ref();
                *self.user_bytes += key.len() as u64;
                self.push(&Op::Remove { table: self.table, key });
            }
            Err(_) => {}
        }
    }

    fn insert(&mut self, key: &[u8], value: &[u8]) {
        *self.user_bytes += (key.len() + value.len()) as u64;
        self.push(&Op::Insert { table: self.table, key, value });
    }

    fn push(&mut self, op: &Op<'_>) {
        if self.full {
            return;
        }
        op.encode(self.ops);
        if self.ops.len() - self.start > self.limit {
            self.full = true;
            self.ops.truncate(self.start);
        }
    }
}

fn bound_bytes(bound: Bound<&[u8]>) -> u64 {
    match bound {
        Bound::Included(key) | Bound::Excluded(key) => key.len() as u64,
        Bound::Unbounded => 0,
    }
}

/// Refuses a name that no table can have.
pub(super) fn table_name(name: &str) -> Result<()> {
    Limit::TableName.check(name.len(), TABLE_NAME_BYTES_MAX)?;
    if name.is_empty() { Err(Error::invalid("a table's name is empty")) } else { Ok(()) }
}

/// A transaction as the writer: reads see its own writes, and an error or a panic undoes it
/// alone. Its lifetime is invariant, so that the transactions of two stores cannot be swapped.
pub struct WriteTx<'w> {
    state: &'w mut WriteState,
}

impl<'w> WriteTx<'w> {
    pub(crate) fn new(state: &'w mut WriteState) -> WriteTx<'w> {
        WriteTx { state }
    }

    pub(crate) fn state_mut(&mut self) -> &mut WriteState {
        self.state
    }

    /// Removes a table with everything in it. False if there is none of this name.
    ///
    /// Cost: one visit to each page of the table.
    ///
    /// # Errors
    /// [`Error::Corrupt`] if a page of the table is damaged.
    pub fn drop_table(&mut self, name: &str) -> Result<bool> {
        self.state.drop_table(name)
    }

    /// Gives a table another name. False if there is none of the name `from`.
    ///
    /// # Errors
    /// [`Error::Invalid`] if there is a table named `to`; [`Error::TooLarge`] if the name is too
    /// long.
    pub fn rename_table(&mut self, from: &str, to: &str) -> Result<bool> {
        self.state.rename_table(from, to)
    }
}
