//! What can still be read of a damaged store is copied into a new one.
//! Owns: [`salvage`] and [`SalvageReport`]. Its room `source` reads pages that nothing vouches for.
//! Keeps I9. Absent on purpose: repair in place; the source is never written.
//!
//! Each tree is walked from its root as far as its branches are whole. What lies under a damaged
//! branch is found by a look at every page of the file: leaves of the same table that were not
//! reached and are not free. Where more than one tells of a key's place the newest birth wins, also
//! if it tells that there is no such key. The log is replayed behind that as far as it is whole.

mod source;
#[cfg(test)]
mod tests;

use crate::{
    error::{Error, Result},
    page::{
        Child, PageId,
        branch::{Branch, Separator},
        cell::{CellKey, CellValue},
        leaf::Leaf,
        meta::Meta,
    },
    pager::TableId,
    publish::Version,
    storage::{Storage, file::FileStorage},
    store::Store,
    sync::{Arc, PlainArc},
    tree::{LEVELS_MAX, Tree},
    txn::{
        catalog::{Catalog, TableTypes},
        checkpoint::position,
    },
    wal::{Op, Ops, ReplayStart, replay},
};
use source::{Beside, Found, Source, Survey};
use std::{
    collections::{BTreeMap, BTreeSet},
    ops::Bound,
    path::Path,
};

/// How many bytes go to the target at a time.
const CHUNK_BYTES: usize = 4 << 20;
/// How many problems are told in words; all are counted.
const PROBLEMS_MAX: usize = 100;

/// What [`salvage`] found.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct SalvageReport {
    /// Tables in the new store.
    pub tables: u64,
    /// Tables whose names and types are lost: they are named `table-` and their number, and hold
    /// encoded keys and values.
    pub nameless_tables: u64,
    /// Entries copied from pages, before the log.
    pub entries: u64,
    /// Entries of whole leaves whose key or value lies in a damaged run.
    pub lost_entries: u64,
    /// Pages of the file that were looked at.
    pub pages: u64,
    /// Pages that are neither whole nor known to be free.
    pub damaged_pages: u64,
    /// Branches and leaves that a tree names and that could not be read: what they held is in the
    /// new store as far as it was found elsewhere.
    pub broken_links: u64,
    /// Leaves that no whole branch leads to.
    pub stray_leaves: u64,
    /// Records of the log that were replayed.
    pub log_records: u64,
    /// The first problems, in the order in which they were met.
    pub problems: Vec<Error>,
}

impl SalvageReport {
    /// Whether nothing was lost: no damage was met.
    pub fn is_whole(&self) -> bool {
        self.problems.is_empty()
    }

    fn note(&mut self, problem: Error) {
        if self.problems.len() < PROBLEMS_MAX {
            self.problems.push(problem);
        }
    }
}

/// Copies what can be read of the store in the directory `source` into `target`, which must be
/// empty, and reports what could not. The source is not changed. `prefix` is what the names of its
/// files begin with: nothing, or what [`Event::SetAside`](crate::Event::SetAside) told.
///
/// Cost: two passes over the page file, one over the log; memory for a few bytes a page.
///
/// ```
/// use recto::{Store, Table};
/// # fn main() -> recto::Result<()> {
/// # let dir = tempfile::tempdir().unwrap();
/// # let path = dir.path();
/// const AGES: Table<&str, u64> = Table::new("ages");
/// let store = Store::open(path)?;
/// store.write(|tx| tx.table(&AGES)?.insert("ada", 36))?;
/// store.close()?;
/// let copy = Store::in_memory()?;
/// let report = recto::salvage(path, "", &copy)?;
/// assert!(report.is_whole() && report.entries == 1);
/// assert_eq!(copy.get(&AGES, "ada")?, Some(36));
/// # Ok(()) }
/// ```
///
/// # Errors
/// [`Error::Invalid`] if `target` holds tables; [`Error::Corrupt`] if nothing in the file can be
/// recognized; [`Error::Locked`] if the source is open; those of the target's writes.
pub fn salvage(source: impl AsRef<Path>, prefix: &str, target: &Store) -> Result<SalvageReport> {
    let files: Arc<dyn Storage> = Arc::new(FileStorage::existing(source.as_ref())?);
    from_storage(&Beside::new(files, prefix), target)
}

/// As [`salvage`], from any storage.
fn from_storage(files: &Beside, target: &Store) -> Result<SalvageReport> {
    if !target.tables()?.is_empty() {
        return Err(Error::invalid("what is salvaged goes to an empty store"));
    }
    let source = Source::open(files)?;
    let survey = source.survey()?;
    let report = SalvageReport {
        pages: u64::from(source.pages),
        damaged_pages: survey.damaged.len() as u64,
        ..SalvageReport::default()
    };
    let named = source.meta.as_ref().map_or(Ok(Some(Catalog::new())), |meta| source.catalog(meta));
    let out = Out { target, name: String::new(), types: None, entries: Vec::new(), bytes: 0 };
    let reached = BTreeSet::new();
    let mut work = Salvage { source: &source, survey: &survey, report, out, reached };
    for page in survey.damaged.iter().take(PROBLEMS_MAX) {
        work.report.note(Error::corrupt_page(page.0, "it is neither whole nor free"));
    }
    let current = match named {
        Ok(catalog) if source.meta.is_some() => catalog,
        Ok(_) => None,
        Err(error) => {
            work.report.note(error);
            None
        }
    };
    let mut names = BTreeMap::new();
    for table in work.tables(current.as_ref()) {
        work.table(&table)?;
        names.insert(table.tree.table, (table.name, table.types));
    }
    if let Some(meta) = &source.meta {
        work.log(files, meta, &mut names)?;
    }
    work.report.tables = target.tables()?.len() as u64;
    Ok(work.report)
}

/// A table to be copied.
struct Wanted {
    name: String,
    types: TableTypes,
    tree: Tree,
    /// Whether `tree` is what the newest meta page means.
    is_current: bool,
}

/// Keys from the first up to and without the second.
type Hole = (Option<Vec<u8>>, Option<Vec<u8>>);

struct Salvage<'s> {
    source: &'s Source,
    survey: &'s Survey,
    report: SalvageReport,
    out: Out<'s>,
    /// Pages that a tree led to: none is read twice, so that crafted files end.
    reached: BTreeSet<u32>,
}

impl Salvage<'_> {
    /// The tables of the newest catalog; if that is lost those of the newest one that is left in
    /// the file, and whatever leaves belong to.
    fn tables(&mut self, current: Option<&Catalog>) -> Vec<Wanted> {
        let old = if current.is_none() { self.source.old_catalog(self.survey) } else { None };
        let is_current = current.is_some();
        let mut tables = Vec::new();
        for (entry, tree) in current.or(old.as_ref()).into_iter().flat_map(Catalog::iter) {
            let (name, types) = (entry.name.to_string(), (*entry.types).clone());
            tables.push(Wanted { name, types, tree: *tree, is_current });
        }
        if !is_current {
            let known: BTreeSet<TableId> = tables.iter().map(|table| table.tree.table).collect();
            let found: BTreeSet<TableId> =
                self.survey.leaves.iter().map(|leaf| leaf.table).collect();
            for id in found.difference(&known) {
                let unknown = || "unknown".into();
                let types =
                    TableTypes { key: 0, value: 0, key_name: unknown(), value_name: unknown() };
                let tree = Tree { table: *id, root: None, level: 0, len: 0 };
                tables.push(Wanted { name: format!("table-{id}"), types, tree, is_current });
                self.report.nameless_tables += 1;
            }
        }
        tables
    }

    fn table(&mut self, table: &Wanted) -> Result<()> {
        self.out.begin(&table.name, &table.types)?;
        let before = self.report.entries;
        let mut holes = Vec::new();
        match table.tree.root {
            Some(root) if table.is_current => {
                self.walk(root, table.tree, table.tree.level, (None, None), &mut holes)?;
            }
            None if table.is_current => {}
            // What the tree is like is not known: everything of the table is looked for.
            _ => holes.push((None, None)),
        }
        if !holes.is_empty() {
            self.strays(table.tree.table, &holes)?;
        }
        let (found, told) = (self.report.entries - before, table.tree.len);
        if table.is_current && found != told {
            let name = &table.name;
            let reason = format!("table \"{name}\" had {told} entries, {found} were found");
            self.report.note(Error::corrupt(crate::options::PAGE_FILE, reason));
        }
        self.out.flush()
    }

    /// Copies what is below `child`; what cannot be read becomes a hole.
    fn walk(
        &mut self,
        child: Child,
        tree: Tree,
        level: u8,
        (low, high): Hole,
        holes: &mut Vec<Hole>,
    ) -> Result<()> {
        let read = if usize::from(level) < LEVELS_MAX && self.reached.insert(child.page.0) {
            self.source.tree_page(child, tree.table, level)
        } else {
            Err(Error::corrupt_page(child.page.0, "it is named twice, or at an impossible level"))
        };
        let parts = read.and_then(|bytes| {
            if level == 0 {
                return Ok((bytes, Vec::new()));
            }
            let branch = Branch::new(&bytes)?;
            let children = (0..branch.len()).map(|i| {
                let from = if i == 0 { None } else { Some(self.separator(branch, i, tree)?) };
                Ok((from, branch.child(i)?))
            });
            let children = children.collect::<Result<Vec<_>>>()?;
            Ok((bytes, children))
        });
        let (bytes, children) = match parts {
            Ok(parts) => parts,
            Err(error) => {
                self.report.broken_links += 1;
                self.report.note(error);
                holes.push((low, high));
                return Ok(());
            }
        };
        if level == 0 {
            return self.leaf(&bytes, tree.table, |_| true);
        }
        for (i, (from, below)) in children.iter().enumerate() {
            let to = children.get(i + 1).map_or_else(|| high.clone(), |(next, _)| next.clone());
            let from = from.clone().or_else(|| low.clone());
            self.walk(*below, tree, level - 1, (from, to), holes)?;
        }
        Ok(())
    }

    fn separator(&self, branch: Branch<'_>, i: usize, tree: Tree) -> Result<Vec<u8>> {
        match branch.separator(i)? {
            Separator::Inline { prefix, suffix } => Ok([prefix, suffix].concat()),
            Separator::Run(run) => self.source.run(run, tree.table),
        }
    }

    /// Copies the entries of a leaf whose keys are `wanted`.
    fn leaf(&mut self, bytes: &[u8], table: TableId, wanted: impl Fn(&[u8]) -> bool) -> Result<()> {
        let leaf = match Leaf::new(bytes) {
            Ok(leaf) => leaf,
            Err(error) => {
                self.report.note(error);
                return Ok(());
            }
        };
        for i in 0..leaf.len() {
            match self.entry(leaf, i, table) {
                Ok((key, value)) if wanted(&key) => {
                    self.report.entries += 1;
                    self.out.push(key, value)?;
                }
                Ok(_) => {}
                Err(error) => {
                    self.report.lost_entries += 1;
                    self.report.note(error);
                }
            }
        }
        Ok(())
    }

    fn key(&self, leaf: Leaf<'_>, i: usize, table: TableId) -> Result<Vec<u8>> {
        match leaf.key(i)? {
            CellKey::Inline(key) => Ok(key.to_vec()),
            CellKey::Run(run) => self.source.run(run, table),
        }
    }

    fn entry(&self, leaf: Leaf<'_>, i: usize, table: TableId) -> Result<(Vec<u8>, Vec<u8>)> {
        let value = match leaf.entry(i)?.1 {
            CellValue::Inline(value) => value.to_vec(),
            CellValue::Run(run) => self.source.run(run, table)?,
        };
        Ok((self.key(leaf, i, table)?, value))
    }

    /// Fills `holes` from leaves that nothing leads to, the newest first: each settles the keys
    /// between its first and its last, also those that it does not hold.
    fn strays(&mut self, table: TableId, holes: &[Hole]) -> Result<()> {
        let is_stray = |leaf: &&Found| leaf.table == table && !self.reached.contains(&leaf.page.0);
        let mut strays: Vec<Found> = self.survey.leaves.iter().filter(is_stray).copied().collect();
        strays.sort_by_key(|leaf| std::cmp::Reverse(leaf.birth));
        let mut settled = Settled::default();
        for stray in strays {
            // Read a moment ago; whatever it says now is checked again.
            let Ok(bytes) = self.source.page(stray.page) else { continue };
            let Ok(leaf) = Leaf::new(&bytes) else { continue };
            let Some(last) = leaf.len().checked_sub(1) else { continue };
            let ends = (self.key(leaf, 0, table), self.key(leaf, last, table));
            let (Ok(first), Ok(last)) = ends else { continue };
            self.report.stray_leaves += 1;
            self.leaf(&bytes, table, |key| is_in(holes, key) && !settled.holds(key))?;
            settled.add(first, last);
        }
        Ok(())
    }

    /// Replays the log onto what was copied, as far as it is whole.
    fn log(&mut self, files: &Beside, meta: &Meta, names: &mut Names) -> Result<()> {
        let (position, version) = (position(meta.log), meta.version);
        let start = ReplayStart { position, version, synced: version };
        let (target, mut records, mut failed) = (self.out.target, 0, None);
        let replayed = replay(files, meta.store_id, start, &mut |_: Version, _, ops| {
            let applied = Ops::new(ops).try_for_each(|op| apply(target, op?, names));
            match applied {
                Err(Error::Corrupt(_)) | Ok(()) => {}
                Err(ref error) => failed = Some(error.clone()),
            }
            records += u64::from(applied.is_ok());
            applied
        });
        self.report.log_records = records;
        match (failed, replayed) {
            (Some(error), _) => return Err(error),
            (None, Err(error)) => self.report.note(error),
            (None, Ok(_)) => {}
        }
        Ok(())
    }
}

/// The tables' names and types by their numbers.
type Names = BTreeMap<TableId, (String, TableTypes)>;

/// One operation of the log, in a transaction of its own.
fn apply(target: &Store, op: Op<'_>, names: &mut Names) -> Result<()> {
    let unknown = || Error::corrupt("log", "an operation on a table that is not there");
    let existing = |names: &Names, id| names.get(&id).cloned().ok_or_else(unknown);
    match op {
        Op::CreateTable { id, name, types } => {
            let types = TableTypes::decode("log", types)?;
            target.write(|tx| tx.raw_table(name, &types).map(drop))?;
            names.insert(id, (name.to_owned(), types));
            Ok(())
        }
        Op::DropTable { id } => {
            let (name, _) = names.remove(&id).ok_or_else(unknown)?;
            target.drop_table(&name).map(drop)
        }
        Op::RenameTable { id, name } => {
            let (old, types) = existing(names, id)?;
            target.rename_table(&old, name)?;
            names.insert(id, (name.to_owned(), types));
            Ok(())
        }
        Op::Insert { table, key, value } => {
            let (name, types) = existing(names, table)?;
            target.write(|tx| tx.raw_table(&name, &types)?.insert(key, value).map(drop))
        }
        Op::Remove { table, key } => {
            let (name, types) = existing(names, table)?;
            target.write(|tx| tx.raw_table(&name, &types)?.remove(key).map(drop))
        }
        Op::RemoveRange { table, from, to } => {
            let (name, types) = existing(names, table)?;
            target.write(|tx| tx.raw_table(&name, &types)?.remove_range(from, to).map(drop))
        }
    }
}

fn is_in(holes: &[Hole], key: &[u8]) -> bool {
    holes.iter().any(|(low, high)| {
        low.as_ref().is_none_or(|low| key >= low.as_slice())
            && high.as_ref().is_none_or(|high| key < high.as_slice())
    })
}

/// Ranges of keys about which a newer leaf has told, both ends included; none touches another.
#[derive(Default)]
struct Settled(BTreeMap<Vec<u8>, Vec<u8>>);

impl Settled {
    fn holds(&self, key: &[u8]) -> bool {
        let before = self.0.range::<[u8], _>((Bound::Unbounded, Bound::Included(key))).next_back();
        before.is_some_and(|(_, last)| key <= last.as_slice())
    }

    fn add(&mut self, mut first: Vec<u8>, mut last: Vec<u8>) {
        // A damaged leaf may have its ends in the wrong order: it settles nothing.
        if first > last {
            return;
        }
        while let Some((start, end)) = self.0.range(..=last.clone()).next_back() {
            if *end < first {
                break;
            }
            let start = start.clone();
            let end = self.0.remove(&start).unwrap_or_default();
            first = first.min(start);
            last = last.max(end);
        }
        self.0.insert(first, last);
    }
}

/// Entries on their way to one table of the target.
struct Out<'s> {
    target: &'s Store,
    name: String,
    types: Option<PlainArc<TableTypes>>,
    entries: Vec<(Vec<u8>, Vec<u8>)>,
    bytes: usize,
}

impl Out<'_> {
    /// Makes the table, so that an empty one comes along.
    fn begin(&mut self, name: &str, types: &TableTypes) -> Result<()> {
        name.clone_into(&mut self.name);
        self.types = Some(PlainArc::new(types.clone()));
        self.target.write(|tx| tx.raw_table(name, types).map(drop))
    }

    fn push(&mut self, key: Vec<u8>, value: Vec<u8>) -> Result<()> {
        self.bytes += key.len() + value.len();
        self.entries.push((key, value));
        if self.bytes < CHUNK_BYTES { Ok(()) } else { self.flush() }
    }

    fn flush(&mut self) -> Result<()> {
        let (entries, name) = (std::mem::take(&mut self.entries), &self.name);
        self.bytes = 0;
        let Some(types) = &self.types else { return Ok(()) };
        self.target.write(|tx| tx.raw_table(name, types)?.extend(entries).map(drop))
    }
}

/// Whether `page` is one of the meta pages.
fn is_meta(page: PageId) -> bool {
    page.0 < crate::page::meta::META_PAGES
}
