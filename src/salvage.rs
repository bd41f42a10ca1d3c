//! What can still be read of a damaged store is copied into a new one.
//! Owns: [`salvage`] and [`SalvageReport`]. Its room `source` reads pages that nothing vouches for,
//! `replayed` has what the log adds. Keeps I9. Absent on purpose: repair in place; the source is
//! never written.
//!
//! Each tree is walked from its root as far as its branches are whole. What lies under a damaged
//! branch is found by a look at every page of the file: leaves of the same table that were not
//! reached and are not free. If catalog and free space are whole those are the very leaves that the
//! branch named. If not, pages that were given up may be among them: where more than one tells of a
//! key's place the newest birth wins, also if it tells that there is no such key, and every entry
//! found so is counted as uncertain. The log is replayed behind that as far as it is whole.

mod replayed;
mod source;
#[cfg(test)]
mod tests;

use crate::{
    error::{Error, Result},
    options::PAGE_FILE,
    page::{
        Child, PageId,
        branch::{Branch, Separator},
        cell::{CellKey, CellValue},
        leaf::Leaf,
    },
    pager::TableId,
    storage::{Storage, file::FileStorage},
    store::Store,
    sync::{Arc, PlainArc, erased},
    tree::{LEVELS_MAX, Tree},
    txn::catalog::{Catalog, TableTypes},
};
use replayed::Names;
use source::{Beside, Found, PageSet, Source, Survey};
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
    /// Those of them that may be of an older version, or have been removed since: found in leaves
    /// of which nothing that is whole tells whether they are in use, or out of their place.
    pub uncertain_entries: u64,
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
    /// The first hundred problems, in the order in which they were met; also those that cost
    /// nothing.
    pub problems: Vec<Error>,
    /// Something is lost, or may be.
    has_lost: bool,
}

impl SalvageReport {
    /// Whether the new store holds what the damaged one held, all of it and nothing else: each
    /// table has as many entries as its catalog says, every one of them is of the newest version,
    /// and the log was whole. Damage that cost nothing may have been met.
    pub fn is_whole(&self) -> bool {
        !self.has_lost && self.uncertain_entries == 0
    }

    /// Notes what was met.
    fn note(&mut self, problem: Error) {
        if self.problems.len() < PROBLEMS_MAX {
            self.problems.push(problem);
        }
    }

    /// Notes what cost something, or may have.
    fn lose(&mut self, problem: Error) {
        self.has_lost = true;
        self.note(problem);
    }
}

/// Copies what can be read of the store in the directory `source` into `target`, which must be
/// empty, and reports what could not. The source is not changed. `prefix` is what the names of its
/// files begin with: nothing, or what [`Event::SetAside`](crate::Event::SetAside) told.
///
/// Nothing is invented: what is copied stood in the store, under a checksum that holds. What may be
/// out of date is counted as uncertain.
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
    let files: Arc<dyn Storage> = erased(PlainArc::new(FileStorage::existing(source.as_ref())?));
    from_storage(&Beside::new(files, prefix), target)
}

/// As [`salvage`], from any storage.
fn from_storage(files: &Beside, target: &Store) -> Result<SalvageReport> {
    if !target.tables()?.is_empty() {
        return Err(Error::invalid("what is salvaged goes to an empty store"));
    }
    let source = Source::open(files)?;
    let survey = source.survey();
    let report = SalvageReport {
        pages: u64::from(source.pages),
        damaged_pages: survey.damaged_pages,
        ..SalvageReport::default()
    };
    let out = Out { target, name: String::new(), types: None, entries: Vec::new(), bytes: 0 };
    let (reached, unmeant) = (PageSet::new(source.pages), PageSet::new(source.pages));
    let mut work = Salvage { source: &source, survey: &survey, report, out, reached, unmeant };
    let current = work.current_catalog();
    let mut names = Names::new();
    for table in work.tables(current.as_ref()) {
        work.table(&table)?;
        names.insert(table.tree.table, (table.name, table.types));
    }
    if let Some(meta) = &source.meta {
        work.log(files, meta, names)?;
    }
    work.report.tables = target.tables()?.len() as u64;
    Ok(work.report)
}

/// The types of a table of which they are lost.
fn unknown_types() -> TableTypes {
    let unknown = || "unknown".into();
    TableTypes { key: 0, value: 0, key_name: unknown(), value_name: unknown() }
}

/// `wanted`, or what is like it, if `is_taken` knows that name already.
fn free_name(wanted: &str, is_taken: impl Fn(&str) -> bool) -> String {
    let mut name = wanted.to_owned();
    while is_taken(&name) {
        name.push('+');
    }
    name
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
    reached: PageSet,
    /// Those of them that are not what the tree means.
    unmeant: PageSet,
}

impl Salvage<'_> {
    /// The catalog of the newest version; none if it is lost. Notes what cannot be relied on.
    fn current_catalog(&mut self) -> Option<Catalog> {
        let Some(meta) = &self.source.meta else {
            let reason = "no meta page is whole: which version was the newest is not known, nor \
                          where its log begins, which is not replayed";
            self.report.lose(Error::corrupt(PAGE_FILE, reason));
            return None;
        };
        if self.source.pages < meta.page_count {
            let (found, told) = (self.source.pages, meta.page_count);
            let reason = format!("it has {found} whole pages, its meta page says {told}");
            self.report.note(Error::corrupt(PAGE_FILE, reason));
        }
        if let Some(error) = &self.survey.free_space_error {
            self.report.note(error.clone());
        }
        match self.source.catalog(meta) {
            Ok(catalog) => Some(catalog),
            Err(error) => {
                self.report.lose(error);
                None
            }
        }
    }

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
        // Beside a catalog that is whole there are none, unless it is wrong; and where free space
        // is not known, those of tables that were dropped.
        if !is_current || self.survey.knows_free {
            let known: BTreeSet<TableId> = tables.iter().map(|table| table.tree.table).collect();
            let found: BTreeSet<TableId> =
                self.survey.leaves.iter().map(|leaf| leaf.table).collect();
            for id in found.difference(&known) {
                let is_taken = |name: &str| tables.iter().any(|table| table.name == name);
                let name = free_name(&format!("table-{id}"), is_taken);
                let reason = format!("no catalog names table {id}, of which there are leaves");
                self.report.lose(Error::corrupt(PAGE_FILE, reason));
                let tree = Tree { table: *id, root: None, level: 0, len: 0 };
                tables.push(Wanted { name, types: unknown_types(), tree, is_current: false });
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
            self.report.lose(Error::corrupt(PAGE_FILE, reason));
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
        let (bytes, children) = match self.tree_page(child, tree, level) {
            Ok(parts) => parts,
            Err(error) => {
                self.report.broken_links += 1;
                self.report.note(error);
                holes.push((low, high));
                return Ok(());
            }
        };
        if level == 0 {
            let place = [(low, high)];
            return self.leaf(&bytes, tree.table, |_| true, |key| is_in(&place, key));
        }
        for (i, (from, below)) in children.iter().enumerate() {
            let to = children.get(i + 1).map_or_else(|| high.clone(), |(next, _)| next.clone());
            let from = from.clone().or_else(|| low.clone());
            self.walk(*below, tree, level - 1, (from, to), holes)?;
        }
        Ok(())
    }

    /// The page that a tree means and, of a branch, its separators and children.
    fn tree_page(&mut self, child: Child, tree: Tree, level: u8) -> Result<(Vec<u8>, Children)> {
        if usize::from(level) >= LEVELS_MAX || !self.reached.insert(child.page) {
            let reason = "it is named twice, or at an impossible level";
            return Err(Error::corrupt_page(child.page.0, reason));
        }
        let bytes = match self.source.tree_page(child, tree.table, level) {
            Ok(bytes) => bytes,
            Err(error) => {
                self.unmeant.insert(child.page);
                return Err(error);
            }
        };
        let mut children = Vec::new();
        if level > 0 {
            let branch = Branch::new(&bytes)?;
            if branch.is_empty() {
                return Err(Error::corrupt_page(child.page.0, "a branch without children"));
            }
            for i in 0..branch.len() {
                let from = if i == 0 { None } else { Some(self.separator(branch, i, tree)?) };
                children.push((from, branch.child(i)?));
            }
        }
        Ok((bytes, children))
    }

    fn separator(&self, branch: Branch<'_>, i: usize, tree: Tree) -> Result<Vec<u8>> {
        match branch.separator(i)? {
            Separator::Inline { prefix, suffix } => Ok([prefix, suffix].concat()),
            Separator::Run(run) => self.source.run(run, tree.table),
        }
    }

    /// Copies the entries of a leaf whose keys are `wanted`; they are certain where they are `sure`
    /// and in order.
    fn leaf(
        &mut self,
        bytes: &[u8],
        table: TableId,
        wanted: impl Fn(&[u8]) -> bool,
        sure: impl Fn(&[u8]) -> bool,
    ) -> Result<()> {
        let leaf = match Leaf::new(bytes) {
            Ok(leaf) => leaf,
            Err(error) => {
                self.report.lose(error);
                return Ok(());
            }
        };
        let mut last: Option<Vec<u8>> = None;
        for i in 0..leaf.len() {
            match self.entry(leaf, i, table) {
                Ok((key, value, run)) if wanted(&key) => {
                    let is_in_order = last.as_ref().is_none_or(|last| *last < key);
                    // Two entries never share a run: one of them means another.
                    let is_own = run.is_none_or(|first| self.reached.insert(first));
                    let is_sure = is_in_order && is_own && sure(&key);
                    self.report.entries += 1;
                    self.report.uncertain_entries += u64::from(!is_sure);
                    last = Some(key.clone());
                    self.out.push(key, value)?;
                }
                Ok(_) => {}
                Err(error) => {
                    self.report.lost_entries += 1;
                    self.report.lose(error);
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

    /// An entry, and the page at which its value begins if that lies in a run.
    fn entry(&self, leaf: Leaf<'_>, i: usize, table: TableId) -> Result<Entry> {
        let (value, run) = match leaf.entry(i)?.1 {
            CellValue::Inline(value) => (value.to_vec(), None),
            CellValue::Run(run) => (self.source.run(run, table)?, Some(run.first.page)),
        };
        Ok((self.key(leaf, i, table)?, value, run))
    }

    /// Fills `holes` from leaves that nothing leads to, the newest first: each settles the keys
    /// between its first and its last, also those that it does not hold.
    fn strays(&mut self, table: TableId, holes: &[Hole]) -> Result<()> {
        let is_stray = |leaf: &&Found| {
            let is_meant = self.reached.contains(leaf.page) && !self.unmeant.contains(leaf.page);
            leaf.table == table && !is_meant
        };
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
            // A leaf that is not free is in use, unless its place in the tree has another now.
            let is_sure = self.survey.knows_free && !self.unmeant.contains(stray.page);
            let wanted = |key: &[u8]| is_in(holes, key) && !settled.holds(key);
            self.leaf(&bytes, table, wanted, |_| is_sure)?;
            settled.add(first, last);
        }
        Ok(())
    }
}

/// A key, its value, and where the run of the value begins.
type Entry = (Vec<u8>, Vec<u8>, Option<PageId>);

/// A branch's children, each with where its keys begin.
type Children = Vec<(Option<Vec<u8>>, Child)>;

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
