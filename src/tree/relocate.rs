//! Pages and runs moved down from the file's tail: found on a snapshot, moved in the writer's tree.
//! Owns: [`Spot`], a page that is to be moved or names a run that is.
//! A spot is named by a key that leads to it, so that it still is when the tree has changed since:
//! what is found there is moved if it lies behind the fence, and left alone if not.
//! Keeps I1: a page is moved by a copy, like any page that is changed.

use super::{
    Path, Toward, Tree,
    insert::{branch_mut, leaf_mut},
    remove::runs_of,
};
use crate::{
    error::Result,
    page::{
        Child, PageId, Run,
        branch::{Branch, Separator},
        cell::NewValue,
        leaf::Leaf,
    },
    pager::{Pager, Pages, PagesMut},
};

/// The page at `level` on the way to `key`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Spot {
    /// The page's level.
    pub level: u8,
    /// Where its keys begin; empty: at the start of the tree.
    pub key: Vec<u8>,
}

/// What is looked for, and how far.
pub struct Survey<'p> {
    /// The pages, read past the cache.
    pub pager: &'p Pager,
    /// What lies at or behind this page is to be moved.
    pub fence: PageId,
    /// The most pages to look at.
    pub pages_left: usize,
    /// The most spots to find.
    pub spots_left: usize,
}

/// What was found.
#[derive(Debug)]
pub struct Found<T> {
    /// In the order of the keys.
    pub found: Vec<T>,
    /// Where the next look at the tree begins; none if this one saw its end.
    pub next: Option<Vec<u8>>,
}

impl<T> Default for Found<T> {
    fn default() -> Found<T> {
        Found { found: Vec::new(), next: None }
    }
}

impl Survey<'_> {
    /// Looks at the pages of `tree` from the one that holds `from` on.
    ///
    /// # Errors
    /// `Error::Corrupt`, `Error::Io`.
    pub fn look(&mut self, tree: &Tree, from: &[u8]) -> Result<Found<Spot>> {
        let mut found = Found::default();
        let Some(root) = tree.sound_root()? else { return Ok(found) };
        // The way down alone must not use up what may be looked at or found, or it would never end:
        // what cannot be moved is found again by every step that goes past it.
        self.pages_left += usize::from(tree.level) + 1;
        self.spots_left += usize::from(tree.level) + 1;
        self.page(tree, root, tree.level, &[], from, &mut found)?;
        Ok(found)
    }

    /// False: this is far enough.
    fn page(
        &mut self,
        tree: &Tree,
        child: Child,
        level: u8,
        low: &[u8],
        from: &[u8],
        found: &mut Found<Spot>,
    ) -> Result<bool> {
        if self.pages_left == 0 || self.spots_left == 0 {
            found.next = Some(low.to_vec());
            return Ok(false);
        }
        self.pages_left -= 1;
        let mut bytes = Vec::new();
        self.pager.copy_page(child, tree.table, level, &mut bytes)?;
        let stands_behind = self.pager.base_of(child.page).is_some_and(|base| base >= self.fence);
        if child.page >= self.fence || stands_behind || self.names_run(&bytes, level)? {
            self.spots_left -= 1;
            found.found.push(Spot { level, key: low.to_vec() });
        }
        if level == 0 {
            return Ok(true);
        }
        let branch = Branch::new(&bytes)?;
        let resolve = |run: Run| self.pager.run(run, tree.table);
        let first = if from > low { branch.child_index(from, &resolve)? } else { 0 };
        let mut begin = low.to_vec();
        for i in first..branch.len() {
            if i > 0 {
                begin.clear();
                branch
                    .separator(i)?
                    .append_to(&mut begin, &|run| self.pager.run(run, tree.table))?;
            }
            if !self.page(tree, branch.child(i)?, level - 1, &begin, from, found)? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Whether a page names a run that lies behind the fence.
    fn names_run(&self, bytes: &[u8], level: u8) -> Result<bool> {
        let is_behind = |run: &Run| is_behind(*run, self.fence, bytes.len());
        if level > 0 {
            let branch = Branch::new(bytes)?;
            for i in 1..branch.len() {
                if separator_run(branch, i)?.as_ref().is_some_and(is_behind) {
                    return Ok(true);
                }
            }
            return Ok(false);
        }
        let leaf = Leaf::new(bytes)?;
        for i in 0..leaf.len() {
            if runs_of(leaf, i)?.iter().flatten().any(is_behind) {
                return Ok(true);
            }
        }
        Ok(false)
    }
}

fn is_behind(run: Run, fence: PageId, page_bytes: usize) -> bool {
    run.first.page.0.saturating_add(run.pages(page_bytes)) > fence.0
}

fn separator_run(branch: Branch<'_>, i: usize) -> Result<Option<Run>> {
    Ok(match branch.separator(i)? {
        Separator::Run(run) => Some(run),
        Separator::Inline { .. } => None,
    })
}

impl Tree {
    /// Moves the page at `spot`, and the runs that it names, if they lie behind `fence` (of a
    /// delta, what it stands on) and `fits` says that there is room for so many adjoining pages
    /// below it, and so many more. Pages above the spot move along, each once a request.
    ///
    /// # Errors
    /// [`Error::Corrupt`]; [`Error::Full`]. The tree may be half changed then.
    pub fn relocate<P: PagesMut>(
        &mut self,
        pages: &mut P,
        spot: &Spot,
        fence: PageId,
        mut fits: impl FnMut(&mut P, u32, u32) -> bool,
    ) -> Result<()> {
        let level = spot.level;
        let mut path = Path::new();
        if level > self.level || !self.descend(pages, Toward::Key(&spot.key), &mut path)? {
            return Ok(());
        }
        let at = usize::from(level);
        let page = path.steps[at].child.page;
        let is_behind_fence = |page: PageId| page >= fence;
        if (is_behind_fence(page) || pages.base_of(page).is_some_and(is_behind_fence))
            && fits(pages, 1, 0)
        {
            self.own(pages, &mut path, level)?;
        }
        let page_bytes = pages.page_bytes();
        let above = u32::from(self.level - level) + 1;
        for named in self.runs_at(pages, path.steps[at].child, level)? {
            let size = named.run.pages(page_bytes);
            if !is_behind(named.run, fence, page_bytes) || !fits(pages, size, above) {
                continue;
            }
            // Before the pages above are copied, which may take what adjoins here: the run would go
            // behind the fence again, and the next pass would find it there.
            let content = pages.run(named.run, self.table)?.to_vec();
            let to = pages.alloc_run(self.table, &content)?;
            self.own(pages, &mut path, level)?;
            pages.free_run(named.run)?;
            let (page, i) = (path.steps[at].child, named.index);
            match named.part {
                Part::Value => _ = leaf_mut(pages, page)?.replace_value(i, NewValue::Run(to))?,
                Part::Key => leaf_mut(pages, page)?.move_key_run(i, to)?,
                Part::Separator => branch_mut(pages, page)?.move_separator_run(i, to)?,
            }
        }
        Ok(())
    }

    /// The runs that a page names.
    fn runs_at<P: PagesMut>(&self, pages: &P, child: Child, level: u8) -> Result<Vec<Named>> {
        let mut named = Vec::new();
        if level > 0 {
            let branch = Branch::new(pages.page(child, self.table, level)?)?;
            for index in 1..branch.len() {
                let run = separator_run(branch, index)?;
                named.extend(run.map(|run| Named { run, index, part: Part::Separator }));
            }
            return Ok(named);
        }
        let leaf = pages.leaf(child, self.table)?;
        for index in 0..leaf.len() {
            let [key, value] = runs_of(leaf, index)?;
            named.extend(key.map(|run| Named { run, index, part: Part::Key }));
            named.extend(value.map(|run| Named { run, index, part: Part::Value }));
        }
        Ok(named)
    }
}

/// A run, and what names it.
struct Named {
    run: Run,
    index: usize,
    part: Part,
}

enum Part {
    Key,
    Value,
    Separator,
}
