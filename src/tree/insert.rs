//! Insertion: the entry's leaf is changed in place, split where it is full.
//! Right sibling first: an insertion behind a page's last entry leaves the page as it is and begins
//! the next one, so that ascending keys fill their pages; before the first entry likewise.

use super::{Found, Path, Place, Toward, Tree, check_limits, new_key, new_value};
use crate::{
    error::{Error, Result},
    page::{
        Child, Kind, Run,
        branch::{Branch, BranchMut, Separator, shortest_separator},
        cell::{Cell, CellKey, CellValue, NewKey, NewValue, PartKey, key_inline_max},
        delta::Change,
        leaf::{Leaf, LeafMut},
    },
    pager::{Pages, PagesMut},
    tree::{LEVELS_MAX, resolver},
};

/// A leaf with as much room beside a new cell is not full: the rounding of its arrays.
const SLACK_BYTES: usize = 64;

/// A separator on its way from one branch to another: its bytes, and the run that they lie in if
/// they are long. Whoever holds it owns the run.
pub(crate) struct Moving {
    pub(crate) bytes: Vec<u8>,
    pub(crate) run: Option<Run>,
}

impl Moving {
    /// The separator of child `i` of `branch`.
    pub(crate) fn take<'p, P: Pages>(
        pages: &'p P,
        tree: &Tree,
        branch: Branch<'p>,
        i: usize,
    ) -> Result<Moving> {
        let separator = branch.separator(i)?;
        let run = match separator {
            Separator::Run(run) => Some(run),
            Separator::Inline { .. } => None,
        };
        let mut bytes = Vec::new();
        separator.append_to(&mut bytes, &resolver(pages, tree.table))?;
        Ok(Moving { bytes, run })
    }

    /// The shortest separator between two neighbouring keys, in a fresh run if it is long.
    pub(crate) fn between<P: PagesMut>(
        pages: &mut P,
        tree: &Tree,
        bytes: Vec<u8>,
    ) -> Result<Moving> {
        let run = if bytes.len() > key_inline_max(pages.page_bytes()) {
            Some(pages.alloc_run(tree.table, &bytes)?)
        } else {
            None
        };
        Ok(Moving { bytes, run })
    }

    /// The separator as a branch takes it.
    pub(crate) fn as_new(&self) -> NewKey<'_> {
        match self.run {
            Some(run) => NewKey::Run(run, &self.bytes),
            None => NewKey::Inline(&self.bytes),
        }
    }
}

/// What separates the neighbours `left` and `right`.
pub(crate) fn separate(page: Child, left: &[u8], right: &[u8]) -> Result<Vec<u8>> {
    if left >= right {
        return Err(Error::corrupt_page(page.page.0, "keys out of order"));
    }
    Ok(shortest_separator(left, right).to_vec())
}

pub(crate) fn leaf_mut<P: PagesMut>(pages: &mut P, child: Child) -> Result<LeafMut<'_>> {
    LeafMut::new(pages.page_mut(child)?)
}

pub(crate) fn branch_mut<P: PagesMut>(pages: &mut P, child: Child) -> Result<BranchMut<'_>> {
    BranchMut::new(pages.page_mut(child)?)
}

/// The index in a page of what would be its entry `i` were one more inserted at `at`; none for the
/// new one itself.
fn old_index(i: usize, at: usize) -> Option<usize> {
    match i {
        i if i < at => Some(i),
        i if i == at => None,
        i => Some(i - 1),
    }
}

/// `fits`, or damage: the page's own figures said that what was put in would fit.
pub(crate) fn must_fit(fits: bool, page: Child) -> Result<()> {
    if fits {
        return Ok(());
    }
    Err(Error::corrupt_page(page.page.0, "entries take more room than the page says"))
}

/// The whole key.
fn whole(key: NewKey<'_>) -> &[u8] {
    match key {
        NewKey::Inline(bytes) | NewKey::Run(_, bytes) => bytes,
    }
}

/// How many entries of a full leaf, with a new one at `at`, go left.
///
/// A key that counts on from the one before it ends the left page: the next ones will follow it
/// there, and then fill pages of their own. So many streams that ascend in one table, each in a
/// place of its own, fill their pages like one alone (over 90 % instead of 54 %).
fn cut_leaf(page: &[u8], at: usize, key: NewKey<'_>, value: NewValue<'_>) -> Result<usize> {
    let source = Leaf::new(page)?;
    if at == 0 {
        return Ok(1);
    }
    if at == source.len() {
        return Ok(at);
    }
    if follows(source.key(at - 1)?, key) {
        let mut trial = page.to_vec();
        let mut left = LeafMut::new(&mut trial)?;
        left.remove_range(at..source.len())?;
        if left.insert(at, key, value)? {
            return Ok(at + 1);
        }
    }
    source.split_point(at, key, value)
}

/// Whether `key` counts on from `before`.
fn follows(before: CellKey<'_>, key: NewKey<'_>) -> bool {
    matches!(before, CellKey::Inline(before) if counts_on(before, whole(key)))
}

/// Whether `key` is `before` plus one, both read as big-endian numbers.
fn counts_on(before: &[u8], key: &[u8]) -> bool {
    if before.len() != key.len() {
        return false;
    }
    let carried = before.iter().rev().take_while(|byte| **byte == u8::MAX).count();
    let Some(last) = before.len().checked_sub(carried + 1) else {
        return false;
    };
    key[..last] == before[..last]
        && key[last] == before[last] + 1
        && key[last + 1..].iter().all(|byte| *byte == 0)
}

impl Tree {
    /// Inserts `key` with `value`, replacing the value if the key is there. True: the key was new.
    ///
    /// Cost: one descent; each page on the path is copied once a request. Allocates only to split.
    ///
    /// # Errors
    /// [`Error::TooLarge`] for a key or value beyond the limits; [`Error::Full`] if there
    /// is no page; [`Error::Corrupt`] if a page on the way is damaged.
    pub fn insert<P: PagesMut>(&mut self, pages: &mut P, key: &[u8], value: &[u8]) -> Result<bool> {
        let mut path = Path::new();
        let at = self.find(pages, key, &mut path)?;
        Ok(self.put(pages, &mut path, at, key, value)?.was_new)
    }

    /// Inserts `key`, which [`locate`](Tree::locate) was asked for, at the place that it named.
    pub fn insert_at<P: PagesMut>(
        &mut self,
        pages: &mut P,
        mut place: Place,
        key: &[u8],
        value: &[u8],
    ) -> Result<bool> {
        Ok(self.put(pages, &mut place.path, place.at, key, value)?.was_new)
    }

    /// Inserts at `at` of the path's leaf.
    pub(crate) fn put<P: PagesMut>(
        &mut self,
        pages: &mut P,
        path: &mut Path,
        at: Found,
        key: &[u8],
        value: &[u8],
    ) -> Result<Put> {
        check_limits(key, value)?;
        let new = new_value(pages, self.table, key.len(), value)?;
        let was_new = !matches!(at, Some(Ok(_)));
        let did_split = match at {
            Some(Ok(index)) => self.replace(pages, path, index, key, new)?,
            Some(Err(index)) => {
                let cell = new_key(pages, self.table, key)?;
                self.len += 1;
                let change = Change { cell: Cell::new_len(PartKey::new(cell), new), gone: None };
                if self.own_delta(pages, path, change)? {
                    must_fit(pages.delta_mut(path.leaf())?.insert(index, cell, new)?, path.leaf())?;
                    false
                } else if self.split_as_deltas(pages, path, index, cell, new)? {
                    true
                } else {
                    self.own(pages, path, 0)?;
                    self.add(pages, path, index, cell, new)?
                }
            }
            None => {
                let cell = new_key(pages, self.table, key)?;
                let leaf = pages.alloc(self.table, Kind::Leaf, 0)?;
                must_fit(leaf_mut(pages, leaf)?.push(cell, new)?, leaf)?;
                (self.root, self.level, self.len) = (Some(leaf), 0, 1);
                self.descend(pages, Toward::First, path)?;
                false
            }
        };
        Ok(Put { was_new, did_split })
    }

    /// Gives entry `index` of the path's leaf another value. True: the leaf was split.
    fn replace<P: PagesMut>(
        &mut self,
        pages: &mut P,
        path: &mut Path,
        index: usize,
        key: &[u8],
        value: NewValue<'_>,
    ) -> Result<bool> {
        let key_cell = PartKey::new(match pages.leaf(path.leaf(), self.table)?.key(index)? {
            CellKey::Inline(_) => NewKey::Inline(key),
            CellKey::Run(run) => NewKey::Run(run, key),
        });
        let change = Change { cell: Cell::new_len(key_cell, value), gone: Some(index) };
        let is_delta = self.own_delta(pages, path, change)?;
        let mut leaf = if is_delta {
            pages.delta_mut(path.leaf())?
        } else {
            self.own(pages, path, 0)?;
            leaf_mut(pages, path.leaf())?
        };
        let (old_key, old_value) = leaf.as_leaf().entry(index)?;
        let old_key = match old_key {
            CellKey::Inline(_) => NewKey::Inline(key),
            CellKey::Run(run) => NewKey::Run(run, key),
        };
        let old_run = match old_value {
            CellValue::Inline(_) => None,
            CellValue::Run(run) => Some(run),
        };
        let fits = leaf.replace_value(index, value)?;
        if !fits {
            must_fit(!is_delta, path.leaf())?;
            leaf.remove(index)?;
        }
        if let Some(run) = old_run {
            pages.free_run(run)?;
        }
        if fits {
            return Ok(false);
        }
        self.add(pages, path, index, old_key, value)
    }

    /// Inserts an entry into the path's leaf, which is this request's own. True: it was split.
    fn add<P: PagesMut>(
        &mut self,
        pages: &mut P,
        path: &mut Path,
        at: usize,
        key: NewKey<'_>,
        value: NewValue<'_>,
    ) -> Result<bool> {
        if leaf_mut(pages, path.leaf())?.insert(at, key, value)? {
            return Ok(false);
        }
        let (right, separator) = self.split_leaf(pages, path.leaf(), at, key, value)?;
        self.add_child(pages, path, 1, right, separator)?;
        Ok(true)
    }

    /// Splits the path's leaf, which is full, into two deltas while inserting an entry at `at`.
    /// False, and nothing changed: it is to be split as a whole.
    fn split_as_deltas<P: PagesMut>(
        &mut self,
        pages: &mut P,
        path: &mut Path,
        at: usize,
        key: NewKey<'_>,
        value: NewValue<'_>,
    ) -> Result<bool> {
        let old = path.leaf();
        let cell = Cell::new_len(PartKey::new(key), value);
        let (cut, separator) = {
            let shared = &*pages;
            let leaf = shared.leaf(old, self.table)?;
            // At the edges pages are begun, and where keys count on they are filled.
            let is_apart = at == 0 || at == leaf.len() || leaf.free_bytes() >= cell + SLACK_BYTES;
            if is_apart || follows(leaf.key(at - 1)?, key) {
                return Ok(false);
            }
            let cut = leaf.split_point(at, key, value)?;
            let resolve = resolver(shared, self.table);
            let key_of = |i: usize| match old_index(i, at) {
                None => Ok(whole(key)),
                Some(i) => leaf.key(i)?.resolve(&resolve),
            };
            (cut, separate(old, key_of(cut - 1)?, key_of(cut)?)?)
        };
        let left_len = if at < cut { cut - 1 } else { cut };
        let new = if at < cut { [cell, 0] } else { [0, cell] };
        let Some([left, right]) = pages.split_as_deltas(old, self.table, left_len, new)? else {
            return Ok(false);
        };
        let (taker, index) = if at < cut { (left, at) } else { (right, at - left_len) };
        must_fit(pages.delta_mut(taker)?.insert(index, key, value)?, taker)?;
        path.steps[0].child = left;
        self.own_above(pages, path, 1, Some(left))?;
        let separator = Moving::between(pages, self, separator)?;
        self.add_child(pages, path, 1, right, separator)?;
        Ok(true)
    }

    /// Splits a leaf while inserting an entry at `at`: the new right sibling and its separator.
    fn split_leaf<P: PagesMut>(
        &mut self,
        pages: &mut P,
        left: Child,
        at: usize,
        key: NewKey<'_>,
        value: NewValue<'_>,
    ) -> Result<(Child, Moving)> {
        let page = pages.page(left, self.table, 0)?.to_vec();
        let source = Leaf::new(&page)?;
        let count = source.len() + 1;
        let cut = cut_leaf(&page, at, key, value)?;
        if cut == 0 || cut >= count {
            let reason = "a full leaf that cannot be split";
            return Err(Error::corrupt_page(left.page.0, reason));
        }
        let separator = {
            let shared = &*pages;
            let key_of = |i: usize| match old_index(i, at).map(|i| source.key(i)).transpose()? {
                None => Ok(whole(key)),
                Some(CellKey::Inline(bytes)) => Ok(bytes),
                Some(CellKey::Run(run)) => shared.run(run, self.table),
            };
            separate(left, key_of(cut - 1)?, key_of(cut)?)?
        };
        let separator = Moving::between(pages, self, separator)?;
        let right = pages.alloc(self.table, Kind::Leaf, 0)?;
        let mut fill = |page: Child, entries: std::ops::Range<usize>| {
            let mut leaf = leaf_mut(pages, page)?;
            leaf.clear();
            for i in entries {
                let fits = match old_index(i, at) {
                    Some(i) => leaf.push_from(source, i)?,
                    None => leaf.push(key, value)?,
                };
                must_fit(fits, page)?;
            }
            Ok::<(), Error>(())
        };
        fill(right, cut..count)?;
        if cut != at || at + 1 != count {
            fill(left, 0..cut)?;
        }
        Ok((right, separator))
    }

    /// Inserts `child` behind the path's child at `level`, splitting branches upwards as needed.
    /// The path's branches are this request's own; afterwards the path is stale.
    pub(crate) fn add_child<P: PagesMut>(
        &mut self,
        pages: &mut P,
        path: &Path,
        level: u8,
        mut child: Child,
        mut separator: Moving,
    ) -> Result<()> {
        for level in level..=self.level {
            let step = path.steps[usize::from(level)];
            let (branch, at) = (step.child, step.index() + 1);
            if branch_mut(pages, branch)?.insert(at, separator.as_new(), child)? {
                return Ok(());
            }
            (child, separator) = self.split_branch(pages, branch, level, at, child, separator)?;
        }
        self.raise_root(pages, child, &separator)
    }

    /// Puts a new root above the present one and `right`.
    fn raise_root<P: PagesMut>(
        &mut self,
        pages: &mut P,
        right: Child,
        separator: &Moving,
    ) -> Result<()> {
        let level = self.level + 1;
        if usize::from(level) >= LEVELS_MAX {
            let reason = format!("a tree that would grow to {} levels", level + 1);
            return Err(Error::corrupt_page(right.page.0, reason));
        }
        let root = pages.alloc(self.table, Kind::Branch, level)?;
        let mut branch = branch_mut(pages, root)?;
        if let Some(left) = self.root {
            must_fit(branch.push(NewKey::Inline(&[]), left)?, root)?;
        }
        must_fit(branch.push(separator.as_new(), right)?, root)?;
        (self.root, self.level) = (Some(root), level);
        Ok(())
    }

    /// Splits a branch while inserting a child at `at`: the new right sibling and its separator.
    fn split_branch<P: PagesMut>(
        &mut self,
        pages: &mut P,
        left: Child,
        level: u8,
        at: usize,
        child: Child,
        separator: Moving,
    ) -> Result<(Child, Moving)> {
        let source = pages.page(left, self.table, level)?.to_vec();
        let source = Branch::new(&source)?;
        let count = source.len() + 1;
        let cut = if at + 1 == count { at } else { source.split_point(at, separator.as_new())? };
        if cut == 0 || cut >= count {
            return Err(Error::corrupt_page(left.page.0, "a full branch that cannot be split"));
        }
        let right = pages.alloc(self.table, Kind::Branch, level)?;
        let mut fill = |page: Child, children: std::ops::Range<usize>| {
            let mut branch = branch_mut(pages, page)?;
            branch.clear();
            for i in children {
                let fits = match old_index(i, at) {
                    Some(i) => branch.push_from(source, i)?,
                    None => branch.push(separator.as_new(), child)?,
                };
                must_fit(fits, page)?;
            }
            Ok::<(), Error>(())
        };
        fill(right, cut..count)?;
        if cut != at || at + 1 != count {
            fill(left, 0..cut)?;
        }
        // The separator of the first child that went right is kept by no branch now: it moves up.
        let up = match old_index(cut, at) {
            None => separator,
            Some(i) => Moving::take(&*pages, self, source, i)?,
        };
        Ok((right, up))
    }
}

/// What an insertion did.
pub(crate) struct Put {
    pub(crate) was_new: bool,
    /// The leaf was split, so the path is stale.
    pub(crate) did_split: bool,
}
