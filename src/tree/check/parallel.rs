//! The structural check by all cores. The top of the tree is checked as ever, what hangs below it
//! by rayon's threads, and what they found is put together in the order in which one thread would
//! have come to it: so the first damage is the same.

use super::{Check, TreeReport, Visit};
use crate::{
    error::{Error, Result},
    page::{Child, PageId, branch::Branch},
    pager::Pages,
    publish::Version,
    tree::{LEVELS_MAX, Tree},
};
use rayon::iter::{IntoParallelRefIterator, ParallelIterator};
use std::cell::RefCell;

/// So many subtrees are checked before what they found is put together: what they found is bounded
/// by that, and so is the work behind the first damage. All subtrees' bounds are kept meanwhile.
const AT_ONCE: usize = 64;
/// Of a root with fewer children the subtrees two levels below it are left to others.
const CHILDREN_MIN: usize = 32;

/// Where the walk over a tree's top stops, and what it came to.
pub(super) struct Left<'v> {
    /// The level of the subtrees that it leaves to others.
    pub(super) level: u8,
    met: &'v RefCell<Vec<Met>>,
}

/// What the walk over the top comes to, in order.
enum Met {
    /// A page or run of the top.
    Pages(PageId, u32),
    /// A subtree that it leaves to others.
    Subtree(Subtree),
}

/// A subtree, and what its parent says of it.
struct Subtree {
    root: Child,
    level: u8,
    newest: Version,
    low: Option<Vec<u8>>,
    high: Option<Vec<u8>>,
}

/// What a walk visited in order, counted, and ended with.
struct Found {
    visited: Vec<(PageId, u32)>,
    report: TreeReport,
    ended: Result<()>,
}

impl Left<'_> {
    /// Leaves a subtree to others.
    pub(super) fn leave(
        &mut self,
        root: Child,
        newest: Version,
        low: Option<&[u8]>,
        high: Option<&[u8]>,
    ) {
        let (low, high) = (low.map(<[u8]>::to_vec), high.map(<[u8]>::to_vec));
        let subtree = Subtree { root, level: self.level, newest, low, high };
        self.met.borrow_mut().push(Met::Subtree(subtree));
    }
}

impl Tree {
    /// As [`check`](Tree::check), by all of rayon's threads: with the same calls of `visit`, the
    /// same report and the same error. In a file of `file_pages` no walk visits more than so many.
    pub fn check_by_all<P: Pages + Sync>(
        &self,
        pages: &P,
        newest: Version,
        file_pages: u32,
        visit: Visit<'_>,
    ) -> Result<TreeReport> {
        let Some(level) = self.level_to_leave(pages) else {
            return self.check(pages, newest, visit);
        };
        let met = RefCell::new(Vec::new());
        let mut note = |page, pages| {
            met.borrow_mut().push(Met::Pages(page, pages));
            Ok(())
        };
        let mut top = Check::new(pages, self, &mut note);
        top.left = Some(Left { level, met: &met });
        let (ended, mut report) = (top.all(newest), top.report);
        for some in met.into_inner().chunks(AT_ONCE) {
            let found = some.par_iter().map(|met| met.found(pages, self, file_pages));
            for Found { visited, report: below, ended } in found.collect::<Vec<_>>() {
                visited.into_iter().try_for_each(|(page, pages)| visit(page, pages))?;
                ended?;
                report.add(&below);
            }
        }
        ended?;
        self.expect_len(report)
    }

    /// The level of the subtrees to leave to others; none if the tree has none, or its root cannot
    /// be read.
    fn level_to_leave<P: Pages>(&self, pages: &P) -> Option<u8> {
        let (root, level) = (self.root?, self.level);
        if level == 0 || usize::from(level) >= LEVELS_MAX {
            return None;
        }
        let children = Branch::new(pages.page(root, self.table, level).ok()?).ok()?.len();
        Some(level.saturating_sub(if children < CHILDREN_MIN { 2 } else { 1 }))
    }
}

impl Met {
    /// What is found there.
    fn found<P: Pages>(&self, pages: &P, tree: &Tree, file_pages: u32) -> Found {
        let Subtree { root, level, newest, low, high } = match self {
            Met::Subtree(subtree) => subtree,
            Met::Pages(page, pages) => {
                let visited = vec![(*page, *pages)];
                return Found { visited, report: TreeReport::default(), ended: Ok(()) };
            }
        };
        let (mut visited, mut left) = (Vec::new(), u64::from(file_pages));
        let mut note = |page: PageId, pages| {
            visited.push((page, pages));
            // Children that are named again and again: the caller's `visit` says so before this.
            let reason = "more pages are below it than the file has";
            let rest = left.checked_sub(u64::from(pages));
            left = rest.ok_or_else(|| Error::corrupt_page(root.page.0, reason))?;
            Ok(())
        };
        let mut check = Check::new(pages, tree, &mut note);
        let ended = check.page(*root, *level, *newest, low.as_deref(), high.as_deref());
        let report = check.report;
        Found { visited, report, ended }
    }
}

impl TreeReport {
    /// Adds what is below.
    fn add(&mut self, below: &TreeReport) {
        self.leaves += below.leaves;
        self.branches += below.branches;
        self.runs += below.runs;
        self.run_pages += below.run_pages;
        self.entries += below.entries;
        self.used_bytes += below.used_bytes;
    }
}
