//! The structural check: everything that a tree promises and a page's checksum cannot prove.

#[cfg(feature = "rayon")]
mod parallel;

use super::{Tree, insert::Moving, resolver};
use crate::{
    error::{Error, Result},
    page::{
        self, Child, PageId, Run,
        branch::{Branch, Separator},
        leaf::{Leaf, LeafBytes},
    },
    pager::Pages,
    publish::Version,
    tree::remove::runs_of,
};

/// What a tree consists of.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TreeReport {
    /// Levels: 0 for an empty tree, 1 for a single leaf.
    pub levels: u8,
    /// Leaf pages.
    pub leaves: u64,
    /// Branch pages.
    pub branches: u64,
    /// Overflow runs.
    pub runs: u64,
    /// Pages in overflow runs.
    pub run_pages: u64,
    /// Entries.
    pub entries: u64,
    /// The bytes in use in leaves and branches, their headers included.
    pub used_bytes: u64,
}

/// Called for each page or run: its first page and how many there are. An error ends the check; so
/// a visitor that keeps a set can refuse a page that is named twice.
pub type Visit<'v> = &'v mut dyn FnMut(PageId, u32) -> Result<()>;

struct Check<'p, 'v, P> {
    pages: &'p P,
    tree: Tree,
    visit: Visit<'v>,
    report: TreeReport,
    /// The last key seen.
    last: Option<&'p [u8]>,
    /// The subtrees that others check, if any do.
    #[cfg(feature = "rayon")]
    left: Option<parallel::Left<'v>>,
}

impl Tree {
    /// Checks order inside and between pages, separators, levels, births (no page is newer than
    /// what names it, and none than `newest`), cells, and the number of entries; resolves every
    /// run. The first damage is the error.
    ///
    /// # Errors
    /// [`Error::Corrupt`] naming the page; whatever `visit` gives.
    pub fn check<P: Pages>(
        &self,
        pages: &P,
        newest: Version,
        visit: Visit<'_>,
    ) -> Result<TreeReport> {
        let mut check = Check::new(pages, self, visit);
        check.all(newest)?;
        self.expect_len(check.report)
    }

    /// As [`check`](Tree::check), for whom one core is enough.
    #[cfg(not(feature = "rayon"))]
    pub fn check_by_all<P: Pages>(
        &self,
        pages: &P,
        newest: Version,
        _file_pages: u32,
        visit: Visit<'_>,
    ) -> Result<TreeReport> {
        self.check(pages, newest, visit)
    }

    /// Checks the number of entries against what was found.
    fn expect_len(&self, report: TreeReport) -> Result<TreeReport> {
        let found = report.entries;
        if found == self.len {
            return Ok(report);
        }
        let reason = format!("a table of {} entries in which {found} were found", self.len);
        Err(Error::corrupt_page(self.root.map_or(0, |root| root.page.0), reason))
    }
}

impl<'p, 'v, P: Pages> Check<'p, 'v, P> {
    fn new(pages: &'p P, tree: &Tree, visit: Visit<'v>) -> Check<'p, 'v, P> {
        Check {
            pages,
            tree: *tree,
            visit,
            report: TreeReport::default(),
            last: None,
            #[cfg(feature = "rayon")]
            left: None,
        }
    }

    /// Checks the tree from its root on.
    fn all(&mut self, newest: Version) -> Result<()> {
        let Some(root) = self.tree.sound_root()? else { return Ok(()) };
        let level = self.tree.level;
        self.report.levels = level + 1;
        self.page(root, level, newest, None, None)
    }

    /// Checks the page `child` and all below it, made by `newest` or before; its keys lie from
    /// `low` up to and without `high`.
    fn page(
        &mut self,
        child: Child,
        level: u8,
        newest: Version,
        low: Option<&[u8]>,
        high: Option<&[u8]>,
    ) -> Result<()> {
        #[cfg(feature = "rayon")]
        if let Some(left) = self.left.as_mut().filter(|left| left.level == level) {
            left.leave(child, newest, low, high);
            return Ok(());
        }
        (self.visit)(child.page, 1)?;
        let bytes = match level {
            0 => self.pages.leaf_bytes(child, self.tree.table)?,
            _ => LeafBytes::whole(self.pages.page(child, self.tree.table, level)?),
        };
        let birth = page::birth(bytes.page);
        if birth > newest {
            let (found, newest) = (birth.0, newest.0);
            let reason =
                format!("version {found} made it; it is newer than what names it, {newest}");
            return Err(Error::corrupt_page(child.page.0, reason));
        }
        if level == 0 {
            self.leaf(child, Leaf::of(bytes)?, low, high)
        } else {
            self.branch(child, Branch::new(bytes.page)?, level, low, high)
        }
    }

    fn branch(
        &mut self,
        child: Child,
        branch: Branch<'p>,
        level: u8,
        low: Option<&[u8]>,
        high: Option<&[u8]>,
    ) -> Result<()> {
        let damage = |reason| Err(Error::corrupt_page(child.page.0, reason));
        self.report.branches += 1;
        self.report.used_bytes += branch.used_bytes() as u64;
        if branch.is_empty() {
            return damage("a branch without children");
        }
        branch.check_cells()?;
        let birth = page::birth(self.pages.page(child, self.tree.table, level)?);
        let mut begin: Option<Moving> = None;
        for i in 0..branch.len() {
            let end = if i + 1 < branch.len() {
                let separator = branch.separator(i + 1)?;
                if let Separator::Run(run) = separator {
                    self.run(run)?;
                }
                Some(Moving::take(self.pages, &self.tree, branch, i + 1)?)
            } else {
                None
            };
            let from = begin.as_ref().map_or(low, |begin| Some(&begin.bytes));
            let to = end.as_ref().map_or(high, |end| Some(&end.bytes));
            if let (Some(from), Some(to)) = (from, to)
                && from >= to
            {
                return damage("separators out of order");
            }
            if let Some(begin) = &begin {
                // What readers use: samples and heads, beside the cells.
                let resolve = resolver(self.pages, self.tree.table);
                if branch.child_index(&begin.bytes, &resolve)? != i {
                    return damage("a separator that a search does not find");
                }
            }
            self.page(branch.child(i)?, level - 1, birth, from, to)?;
            begin = end;
        }
        Ok(())
    }

    fn leaf(
        &mut self,
        child: Child,
        leaf: Leaf<'p>,
        low: Option<&[u8]>,
        high: Option<&[u8]>,
    ) -> Result<()> {
        let damage = |reason| Err(Error::corrupt_page(child.page.0, reason));
        self.report.leaves += 1;
        self.report.used_bytes += leaf.used_bytes() as u64;
        if leaf.is_empty() {
            return damage("a leaf without entries");
        }
        leaf.check_cells()?;
        let resolve = resolver(self.pages, self.tree.table);
        for i in 0..leaf.len() {
            for run in runs_of(leaf, i)?.into_iter().flatten() {
                self.run(run)?;
            }
            let key = leaf.key(i)?.resolve(&resolve)?;
            // First: then a subtree's first key needs no other subtree's last one.
            if low.is_some_and(|low| key < low) || high.is_some_and(|high| key >= high) {
                return damage("a key outside of its page's separators");
            }
            if self.last.is_some_and(|last| last >= key) {
                return damage("keys out of order");
            }
            // What readers use: the arrays beside the cells.
            if leaf.find(key, &resolve)? != Some(i) || leaf.search(key, &resolve)? != Ok(i) {
                return damage("a key that a search does not find");
            }
            self.last = Some(key);
            self.report.entries += 1;
        }
        Ok(())
    }

    fn run(&mut self, run: Run) -> Result<()> {
        let pages = run.pages(self.pages.page_bytes());
        (self.visit)(run.first.page, pages)?;
        self.pages.run(run, self.tree.table)?;
        self.report.runs += 1;
        self.report.run_pages += u64::from(pages);
        Ok(())
    }
}
