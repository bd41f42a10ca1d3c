//! The copy-on-write B+tree of one table, over any [`Pages`].
//! Owns: [`Tree`], the way down ([`Path`], [`Place`]) and the point reads.
//! Keeps I1: a page is changed only behind [`PagesMut::make_mut`], and then named anew by its
//! parent.
//! Keeps I9: levels fall by one at each step ([`Pages::page`] checks it), so every descent ends.
//! Absent on purpose: undo. An error in the middle leaves tree and pages half changed; the
//! transaction above restores the root and gives back the pages.

pub mod build;
pub mod check;
pub mod copy;
pub mod cursor;
pub mod diff;
pub mod get_many;
pub mod insert;
pub mod merge;
pub mod relocate;
pub mod remove;
pub mod remove_range;
pub mod repack;

#[cfg(test)]
mod model_pages;
#[cfg(test)]
mod tests;

use crate::{
    error::{Error, Limit, Result},
    options::{KEY_BYTES_MAX, VALUE_BYTES_MAX},
    page::{
        Child, PageId, Run,
        branch::{Branch, Search},
        cell::{NewKey, NewValue, Resolve, key_inline_max, value_inline_max},
        delta::{self, Change},
        leaf::Lookup,
    },
    pager::{LINE_BYTES, Pages, PagesMut, TableId, prefetch_at},
};

/// The most levels that a tree may have; far more than any number of pages can fill, and the length
/// of every `Path`.
pub const LEVELS_MAX: usize = 32;

/// The root of one table's tree: a small value that a transaction copies and a snapshot keeps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tree {
    /// The table that every page of the tree names.
    pub table: TableId,
    /// The root page; none if the tree is empty.
    pub root: Option<Child>,
    /// The root's level; 0 is a leaf.
    pub level: u8,
    /// The number of entries.
    pub len: u64,
}

/// Where a descent is bound for.
#[derive(Clone, Copy)]
pub(crate) enum Toward<'k> {
    /// The first leaf.
    First,
    /// The leaf whose keys this key is among.
    Key(&'k [u8]),
    /// The last leaf.
    Last,
}

/// A page on the way down, and which of its children the way took.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Step {
    pub(crate) child: Child,
    /// 16 bits, as a page counts its children: paths are made and copied with every change.
    index: u16,
}

impl Step {
    pub(crate) fn new(child: Child, index: usize) -> Step {
        debug_assert!(u16::try_from(index).is_ok(), "child {index} of a page");
        let index = index as u16;
        Step { child, index }
    }

    pub(crate) fn index(self) -> usize {
        usize::from(self.index)
    }
}

/// The way from the root to a leaf, by level: step 0 is the leaf. Steps above the root's level mean
/// nothing. An array, so that changing a tree allocates nothing.
#[derive(Clone, Debug)]
pub(crate) struct Path {
    pub(crate) steps: [Step; LEVELS_MAX],
}

/// The index of a key in its leaf, or where it would be inserted. None: the tree is empty.
type Found = Option<std::result::Result<usize, usize>>;

/// Where a key is in a tree, or where it would be; good until the tree is next changed.
#[derive(Clone, Debug)]
pub struct Place {
    path: Path,
    at: Found,
}

impl Path {
    pub(crate) fn new() -> Path {
        let child = Child { page: PageId(0), birth: 0 };
        let steps = [Step::new(child, 0); LEVELS_MAX];
        Path { steps }
    }

    pub(crate) fn leaf(&self) -> Child {
        self.steps[0].child
    }
}

/// Where a descent notes its way.
pub(crate) trait Trail {
    /// It took child `index` of the branch `child` at `level`, or it ends at the leaf `child`.
    fn note(&mut self, level: u8, child: Child, index: usize);
}

impl Trail for Path {
    #[inline]
    fn note(&mut self, level: u8, child: Child, index: usize) {
        self.steps[usize::from(level)] = Step::new(child, index);
    }
}

impl Place {
    /// Whether the key is there.
    pub fn is_found(&self) -> bool {
        matches!(self.at, Some(Ok(_)))
    }
}

/// What finds the keys of `table` that lie in runs.
pub(crate) fn resolver<P: Pages>(pages: &P, table: TableId) -> impl Resolve<'_> + use<'_, P> {
    move |run: Run| pages.run(run, table)
}

impl Tree {
    /// A tree without entries.
    pub fn empty(table: TableId) -> Tree {
        Tree { table, root: None, level: 0, len: 0 }
    }

    /// The root, if there is one: for walks that go down by the tree's level.
    ///
    /// # Errors
    /// [`Error::Corrupt`] if no tree is so high.
    fn sound_root(&self) -> Result<Option<Child>> {
        match self.root {
            Some(root) if usize::from(self.level) >= LEVELS_MAX => {
                let reason = format!("a root at level {}", self.level);
                Err(Error::corrupt_page(root.page.0, reason))
            }
            root => Ok(root),
        }
    }

    /// The value of `key`, borrowed from the pages.
    ///
    /// Cost: one descent, a page each level; no allocation.
    ///
    /// # Errors
    /// [`Error::Corrupt`] if a page on the way is damaged.
    #[inline]
    pub fn get<'p, P: Pages>(&self, pages: &'p P, key: &[u8]) -> Result<Option<&'p [u8]>> {
        let Some(mut child) = self.root else {
            return Ok(None);
        };
        let resolve = resolver(pages, self.table);
        let mut level = self.level;
        while level > 0 {
            let bytes = pages.page(child, self.table, level)?;
            // The rest of the samples is on its way beside the header.
            prefetch_at(bytes, LINE_BYTES);
            child = Search::begin(bytes, key)?.child(key, &resolve)?;
            level -= 1;
        }
        let bytes = pages.leaf_bytes(child, self.table)?;
        // The lines of most cells' offsets are on their way beside that of the header and the tags.
        prefetch_at(bytes.page, LINE_BYTES);
        prefetch_at(bytes.page, 2 * LINE_BYTES);
        match Lookup::begin(bytes, key)?.entry(key, &resolve)? {
            Some((_, value)) => Ok(Some(value.resolve(&resolve)?)),
            None => Ok(None),
        }
    }

    /// The entry with the smallest key.
    #[allow(clippy::type_complexity, reason = "an entry is a pair of slices everywhere")]
    pub fn first<'p, P: Pages>(&self, pages: &'p P) -> Result<Option<(&'p [u8], &'p [u8])>> {
        let mut path = Path::new();
        if !self.descend(pages, Toward::First, &mut path)? {
            return Ok(None);
        }
        self.entry_at(pages, path.leaf(), 0).map(Some)
    }

    /// The entry with the greatest key.
    #[allow(clippy::type_complexity, reason = "an entry is a pair of slices everywhere")]
    pub fn last<'p, P: Pages>(&self, pages: &'p P) -> Result<Option<(&'p [u8], &'p [u8])>> {
        let mut path = Path::new();
        if !self.descend(pages, Toward::Last, &mut path)? {
            return Ok(None);
        }
        let leaf = pages.leaf(path.leaf(), self.table)?;
        // An empty leaf is damage; asking it for entry 0 says so.
        self.entry_at(pages, path.leaf(), leaf.len().saturating_sub(1)).map(Some)
    }

    /// Finds where `key` is or would be, so that it can be looked at and changed with one descent.
    pub fn locate<P: Pages>(&self, pages: &P, key: &[u8]) -> Result<Place> {
        let mut place = Place { path: Path::new(), at: None };
        place.at = self.find(pages, key, &mut place.path)?;
        Ok(place)
    }

    /// Writes the way to the leaf of `key` into `path`; gives the key's index there, or where it
    /// would be inserted. None: the tree is empty.
    fn find<P: Pages>(&self, pages: &P, key: &[u8], path: &mut Path) -> Result<Found> {
        if !self.descend(pages, Toward::Key(key), path)? {
            return Ok(None);
        }
        let leaf = pages.leaf(path.leaf(), self.table)?;
        Ok(Some(leaf.search(key, &resolver(pages, self.table))?))
    }

    /// The value at `place`, if its key was found there.
    pub fn value_at<'p, P: Pages>(&self, pages: &'p P, place: &Place) -> Result<Option<&'p [u8]>> {
        match place.at {
            Some(Ok(index)) => Ok(Some(self.entry_at(pages, place.path.leaf(), index)?.1)),
            _ => Ok(None),
        }
    }

    /// Entry `index` of a leaf.
    fn entry_at<'p, P: Pages>(
        &self,
        pages: &'p P,
        leaf: Child,
        index: usize,
    ) -> Result<(&'p [u8], &'p [u8])> {
        let page = pages.leaf(leaf, self.table)?;
        if index >= page.len() {
            return Err(Error::corrupt_page(leaf.page.0, "a leaf without entries in a tree"));
        }
        let (key, value) = page.entry(index)?;
        let resolve = resolver(pages, self.table);
        Ok((key.resolve(&resolve)?, value.resolve(&resolve)?))
    }

    /// Writes the way from the root to a leaf into `path`. False: there is no page.
    pub(crate) fn descend<P: Pages>(
        &self,
        pages: &P,
        toward: Toward<'_>,
        path: &mut Path,
    ) -> Result<bool> {
        let Some(root) = self.root else {
            return Ok(false);
        };
        self.descend_from(pages, toward, path, root, self.level)?;
        Ok(true)
    }

    /// Continues the way down from `child` at `level`; answers the leaf.
    pub(crate) fn descend_from<P: Pages>(
        &self,
        pages: &P,
        toward: Toward<'_>,
        trail: &mut impl Trail,
        mut child: Child,
        level: u8,
    ) -> Result<Child> {
        if usize::from(level) >= LEVELS_MAX {
            let reason = format!("a tree of {level} levels, of which {LEVELS_MAX} are allowed");
            return Err(Error::corrupt_page(child.page.0, reason));
        }
        let resolve = resolver(pages, self.table);
        for level in (1..=level).rev() {
            let branch = Branch::new(pages.page(child, self.table, level)?)?;
            let index = match toward {
                Toward::First => 0,
                Toward::Key(key) => branch.child_index(key, &resolve)?,
                Toward::Last => branch.len().saturating_sub(1),
            };
            trail.note(level, child, index);
            child = branch.child(index)?;
        }
        trail.note(0, child, 0);
        Ok(child)
    }

    /// Makes the page at `from` on the path, and all above it, pages of this request.
    ///
    /// Goes upwards and stops at the first page that was this request's already: whatever names a
    /// page of this request was changed to do so, hence is one too.
    pub(crate) fn own<P: PagesMut>(
        &mut self,
        pages: &mut P,
        path: &mut Path,
        from: u8,
    ) -> Result<()> {
        self.own_above(pages, path, from, None)
    }

    /// As [`own`](Self::own), of the pages above one that is this request's already; `below` is
    /// that one, if it has another name than before.
    fn own_above<P: PagesMut>(
        &mut self,
        pages: &mut P,
        path: &mut Path,
        from: u8,
        mut below: Option<Child>,
    ) -> Result<()> {
        for level in from..=self.level {
            let step = &mut path.steps[usize::from(level)];
            let owned = pages.make_mut(step.child, self.table, level)?;
            if let Some(child) = below {
                insert::branch_mut(pages, owned)?.set_child(step.index(), child)?;
            }
            if owned == step.child {
                return Ok(());
            }
            step.child = owned;
            below = Some(owned);
        }
        self.root = below;
        Ok(())
    }

    /// Makes the path's leaf a delta of this request that takes `change`, and all above it pages of
    /// this request. False, and nothing changed: it is to be changed as a whole.
    fn own_delta<P: PagesMut>(
        &mut self,
        pages: &mut P,
        path: &mut Path,
        change: Change,
    ) -> Result<bool> {
        let Some(owned) = pages.make_delta(path.leaf(), self.table, change)? else {
            return Ok(false);
        };
        if owned != path.leaf() {
            path.steps[0].child = owned;
            self.own_above(pages, path, 1, Some(owned))?;
        }
        Ok(true)
    }

    /// A copy of a leaf, as a page.
    fn copy_leaf<P: Pages>(&self, pages: &P, child: Child) -> Result<Vec<u8>> {
        let bytes = pages.leaf_bytes(child, self.table)?;
        if bytes.base.is_empty() {
            return Ok(bytes.page.to_vec());
        }
        let mut page = vec![0; pages.page_bytes()];
        delta::fold(bytes, &mut page)?;
        Ok(page)
    }
}

/// Refuses keys and values beyond the limits.
pub(crate) fn check_limits(key: &[u8], value: &[u8]) -> Result<()> {
    let over = |what, len, max| Err(Error::TooLarge { what, len, max });
    if key.len() > KEY_BYTES_MAX {
        return over(Limit::Key, key.len(), KEY_BYTES_MAX);
    }
    if value.len() > VALUE_BYTES_MAX {
        return over(Limit::Value, value.len(), VALUE_BYTES_MAX);
    }
    Ok(())
}

/// The key as a cell will hold it, in a fresh run if it is long.
pub(crate) fn new_key<'k, P: PagesMut>(
    pages: &mut P,
    table: TableId,
    key: &'k [u8],
) -> Result<NewKey<'k>> {
    if key.len() <= key_inline_max(pages.page_bytes()) {
        return Ok(NewKey::Inline(key));
    }
    Ok(NewKey::Run(pages.alloc_run(table, key)?, key))
}

/// The value as the cell of a key of `key_len` bytes will hold it, in a fresh run if it is long.
pub(crate) fn new_value<'v, P: PagesMut>(
    pages: &mut P,
    table: TableId,
    key_len: usize,
    value: &'v [u8],
) -> Result<NewValue<'v>> {
    if value.len() <= value_inline_max(pages.page_bytes(), key_len) {
        return Ok(NewValue::Inline(value));
    }
    Ok(NewValue::Run(pages.alloc_run(table, value)?))
}
