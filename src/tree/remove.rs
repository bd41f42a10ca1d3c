//! Removal, and what keeps pages from staying nearly empty: a page below a third is merged with a
//! neighbour if both fit into one. Entries are not moved between pages for balance alone: it would
//! copy two pages to save none.

use super::{Path, Place, Tree, insert::Moving};
use crate::{
    error::Result,
    page::{
        Child, Run,
        branch::{Branch, BranchMut, Separator},
        cell::{CellKey, CellValue},
        delta::Change,
        leaf::Leaf,
    },
    pager::{Pages, PagesMut},
    tree::insert::{branch_mut, leaf_mut, must_fit},
};

/// What two pages must leave free together so that they may become one: the slots' rounding.
const MERGE_SLACK_BYTES: usize = 16;

impl Tree {
    /// Removes `key`. True: it was there.
    ///
    /// Cost: one descent; each page on the path is copied once a request.
    ///
    /// # Errors
    /// [`Error::Corrupt`](crate::Error::Corrupt) if a page on the way is damaged;
    /// [`Error::Full`](crate::Error::Full) if there is no page for a copy.
    pub fn remove<P: PagesMut>(&mut self, pages: &mut P, key: &[u8]) -> Result<bool> {
        let mut path = Path::new();
        let Some(Ok(index)) = self.find(pages, key, &mut path)? else {
            return Ok(false);
        };
        self.cut(pages, &mut path, index)?;
        Ok(true)
    }

    /// Removes the entry at `place`, if its key was found there.
    pub fn remove_at<P: PagesMut>(&mut self, pages: &mut P, mut place: Place) -> Result<bool> {
        let Some(Ok(index)) = place.at else {
            return Ok(false);
        };
        self.cut(pages, &mut place.path, index)?;
        Ok(true)
    }

    /// Removes entry `index` of the path's leaf. True: pages were merged, so the path is stale.
    pub(crate) fn cut<P: PagesMut>(
        &mut self,
        pages: &mut P,
        path: &mut Path,
        index: usize,
    ) -> Result<bool> {
        let is_last = pages.leaf(path.leaf(), self.table)?.len() == 1;
        let change = Change { cell: 0, gone: Some(index) };
        let mut leaf = if !is_last && self.own_delta(pages, path, change)? {
            pages.delta_mut(path.leaf())?
        } else {
            self.own(pages, path, 0)?;
            leaf_mut(pages, path.leaf())?
        };
        let runs = runs_of(leaf.as_leaf(), index)?;
        leaf.remove(index)?;
        for run in runs.into_iter().flatten() {
            pages.free_run(run)?;
        }
        self.len = self.len.saturating_sub(1);
        self.mend(pages, path, false)
    }

    /// Removes all entries and gives up all pages.
    pub fn clear<P: PagesMut>(&mut self, pages: &mut P) -> Result<()> {
        if let Some(root) = self.root {
            self.free_subtree(pages, root, self.level)?;
        }
        *self = Tree::empty(self.table);
        Ok(())
    }

    /// Merges the path's pages with neighbours where they are too empty, from the leaf up to the
    /// first page that stays (or all the way), then lowers the root. True: the path is stale.
    pub(crate) fn mend<P: PagesMut>(
        &mut self,
        pages: &mut P,
        path: &mut Path,
        all_the_way: bool,
    ) -> Result<bool> {
        let mut level = 0;
        let mut is_stale = false;
        while level < self.level {
            let did_merge = self.mend_page(pages, path, level)?;
            is_stale |= did_merge;
            if !did_merge && !all_the_way {
                return Ok(is_stale);
            }
            level += 1;
        }
        Ok(self.lower_root(pages)? || is_stale)
    }

    /// Drops a root that is empty, and puts the only child of a branch into its place.
    pub(crate) fn lower_root<P: PagesMut>(&mut self, pages: &mut P) -> Result<bool> {
        let mut did_lower = false;
        while let Some(root) = self.root {
            let lower = match self.level {
                0 if pages.leaf(root, self.table)?.is_empty() => None,
                0 => break,
                level => {
                    let branch = Branch::new(pages.page(root, self.table, level)?)?;
                    match branch.len() {
                        0 => None,
                        1 => Some(branch.child(0)?),
                        _ => break,
                    }
                }
            };
            pages.free(root)?;
            self.root = lower;
            self.level = if lower.is_some() { self.level - 1 } else { 0 };
            did_lower = true;
        }
        Ok(did_lower)
    }

    /// Drops the path's page at `level` if it is empty, or merges it with a neighbour if it is
    /// nearly so. True: its parent lost a child.
    fn mend_page<P: PagesMut>(
        &mut self,
        pages: &mut P,
        path: &mut Path,
        level: u8,
    ) -> Result<bool> {
        let child = path.steps[usize::from(level)].child;
        let (count, used_bytes) = fill_of(pages, self, child, level)?;
        if count > 0 && used_bytes >= pages.page_bytes() / 3 {
            return Ok(false);
        }
        let above = usize::from(level) + 1;
        if count == 0 {
            self.own(pages, path, level + 1)?;
            let parent = path.steps[above];
            drop_child(pages, parent.child, parent.index())?;
            pages.free(child)?;
            return Ok(true);
        }
        self.join_neighbour(pages, path, level)
    }

    /// Merges the path's page at `level`, which is not the root's, with the page behind or before
    /// it below the same branch, if both fit into one. True: they did.
    pub(crate) fn join_neighbour<P: PagesMut>(
        &mut self,
        pages: &mut P,
        path: &mut Path,
        level: u8,
    ) -> Result<bool> {
        let parent = path.steps[usize::from(level) + 1];
        let siblings = Branch::new(pages.page(parent.child, self.table, level + 1)?)?.len();
        if parent.index() + 1 < siblings && self.join(pages, path, level, parent.index())? {
            return Ok(true);
        }
        Ok(parent.index > 0 && self.join(pages, path, level, parent.index() - 1)?)
    }

    /// Merges the children `left` and `left + 1` of the path's branch above `level`, if both fit
    /// into one page. True: they did.
    fn join<P: PagesMut>(
        &mut self,
        pages: &mut P,
        path: &mut Path,
        level: u8,
        left: usize,
    ) -> Result<bool> {
        let above = usize::from(level) + 1;
        let parent = Branch::new(pages.page(path.steps[above].child, self.table, level + 1)?)?;
        let (kept, gone) = (parent.child(left)?, parent.child(left + 1)?);
        let separator = Moving::take(&*pages, self, parent, left + 1)?;
        if !self.fit_together(pages, level, kept, gone, &separator)? {
            return Ok(false);
        }
        self.own(pages, path, level + 1)?;
        let parent = path.steps[above].child;
        let owned = pages.make_mut(kept, self.table, level)?;
        if level == 0 {
            let source = self.copy_leaf(pages, gone)?;
            let source = Leaf::new(&source)?;
            let mut leaf = leaf_mut(pages, owned)?;
            for i in 0..source.len() {
                must_fit(leaf.push_from(source, i)?, owned)?;
            }
        } else {
            let source = pages.page(gone, self.table, level)?.to_vec();
            let mut branch = branch_mut(pages, owned)?;
            must_fit(append(&mut branch, Branch::new(&source)?, &separator)?, owned)?;
        }
        let mut branch = branch_mut(pages, parent)?;
        branch.set_child(left, owned)?;
        branch.remove(left + 1)?;
        if let (0, Some(run)) = (level, separator.run) {
            pages.free_run(run)?;
        }
        pages.free(gone)?;
        Ok(true)
    }

    /// Whether two neighbours fit into one page.
    fn fit_together<P: Pages>(
        &self,
        pages: &P,
        level: u8,
        left: Child,
        right: Child,
        separator: &Moving,
    ) -> Result<bool> {
        let bytes = |child| fill_of(pages, self, child, level).map(|fill| fill.1);
        let both = bytes(left)? + bytes(right)?;
        if both + MERGE_SLACK_BYTES > pages.page_bytes() {
            return Ok(false);
        }
        if level == 0 {
            return Ok(true);
        }
        // The common prefix can be shorter than either page's, so only trying tells; branches are
        // merged about a hundredth as often as leaves.
        let mut trial = pages.page(left, self.table, level)?.to_vec();
        let source = Branch::new(pages.page(right, self.table, level)?)?;
        append(&mut BranchMut::new(&mut trial)?, source, separator)
    }

    /// Gives up `child` and all below it, runs included: the number of entries that were there.
    pub(crate) fn free_subtree<P: PagesMut>(
        &self,
        pages: &mut P,
        child: Child,
        level: u8,
    ) -> Result<u64> {
        let (count, _) = fill_of(pages, self, child, level)?;
        let mut entries = 0;
        if level == 0 {
            self.free_runs(pages, child, 0..count)?;
            entries = count as u64;
        } else {
            for i in 0..count {
                let branch = Branch::new(pages.page(child, self.table, level)?)?;
                let (below, separator) = (branch.child(i)?, branch.separator(i)?);
                if let Separator::Run(run) = separator {
                    pages.free_run(run)?;
                }
                entries += self.free_subtree(pages, below, level - 1)?;
            }
        }
        pages.free(child)?;
        Ok(entries)
    }

    /// Gives up the runs of some entries of a leaf.
    pub(crate) fn free_runs<P: PagesMut>(
        &self,
        pages: &mut P,
        child: Child,
        entries: std::ops::Range<usize>,
    ) -> Result<()> {
        for i in entries {
            let leaf = pages.leaf(child, self.table)?;
            for run in runs_of(leaf, i)?.into_iter().flatten() {
                pages.free_run(run)?;
            }
        }
        Ok(())
    }
}

/// Pushes all children of `source` behind those of `branch`; `separator` becomes that of the first.
fn append(branch: &mut BranchMut<'_>, source: Branch<'_>, separator: &Moving) -> Result<bool> {
    for i in 0..source.len() {
        let fits = match i {
            0 => branch.push(separator.as_new(), source.child(0)?)?,
            i => branch.push_from(source, i)?,
        };
        if !fits {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Removes child `i` of a branch of this request, and gives up the runs of dropped separators.
pub(crate) fn drop_child<P: PagesMut>(pages: &mut P, parent: Child, i: usize) -> Result<()> {
    let mut branch = branch_mut(pages, parent)?;
    // Without child 0, child 1 is the first, and the first has no separator.
    let dropped = i.max(1);
    let run = match branch.as_branch() {
        whole if dropped < whole.len() => match whole.separator(dropped)? {
            Separator::Run(run) => Some(run),
            Separator::Inline { .. } => None,
        },
        _ => None,
    };
    branch.remove(i)?;
    if let Some(run) = run {
        pages.free_run(run)?;
    }
    Ok(())
}

/// The number of a page's entries or children, and the bytes in use.
fn fill_of<P: Pages>(pages: &P, tree: &Tree, child: Child, level: u8) -> Result<(usize, usize)> {
    if level == 0 {
        let leaf = pages.leaf(child, tree.table)?;
        return Ok((leaf.len(), leaf.used_bytes()));
    }
    let branch = Branch::new(pages.page(child, tree.table, level)?)?;
    Ok((branch.len(), branch.used_bytes()))
}

/// The runs that entry `i` of a leaf owns.
pub(crate) fn runs_of(leaf: Leaf<'_>, i: usize) -> Result<[Option<Run>; 2]> {
    let (key, value) = leaf.entry(i)?;
    let key = match key {
        CellKey::Run(run) => Some(run),
        CellKey::Inline(_) => None,
    };
    let value = match value {
        CellValue::Run(run) => Some(run),
        CellValue::Inline(_) => None,
    };
    Ok([key, value])
}
