//! A tree built bottom-up from sorted entries, or one that goes on growing behind its last entry:
//! every page is filled before the next one is begun, and none is looked at again.
//! Memory: one open page a level, which the pager may spill.

use super::{
    LEVELS_MAX, Path, Step, Toward, Tree, check_limits,
    insert::{Moving, branch_mut, must_fit, separate},
    new_key, new_value,
};
use crate::{
    error::{Error, Result},
    page::{
        Child, Kind,
        cell::{NewKey, NewValue},
        filling::Filling,
    },
    pager::PagesMut,
};

/// A tree under construction. Step `l` of the path is the open page of level `l` above the leaves.
struct Builder<'t> {
    tree: &'t mut Tree,
    open: Path,
    /// The open leaf.
    filling: Filling,
    /// Where it is, if it is one of the tree already.
    leaf: Option<Child>,
    /// What separates it from the leaf before it, if it has no place yet and is not the first.
    separator: Option<Moving>,
    /// The last key; nothing before the first.
    last: Vec<u8>,
    /// What is left free of each leaf.
    slack_bytes: usize,
}

impl Tree {
    /// Builds a tree from entries in strictly ascending key order.
    ///
    /// # Errors
    /// As [`append`](Tree::append).
    #[cfg(test)]
    pub fn build<P, K, V, I>(table: crate::pager::TableId, pages: &mut P, sorted: I) -> Result<Tree>
    where
        P: PagesMut,
        K: AsRef<[u8]>,
        V: AsRef<[u8]>,
        I: IntoIterator<Item = Result<(K, V)>>,
    {
        let mut tree = Tree::empty(table);
        tree.append(pages, sorted, Fill::Whole)?;
        Ok(tree)
    }

    /// Puts entries in strictly ascending key order behind the last one. Returns how many.
    ///
    /// Cost: the last leaf and the branches above it are copied once; then each page is written
    /// once, filled as `fill` says.
    ///
    /// # Errors
    /// [`Error::Invalid`] if a key is not greater than the one before it, the tree's last included;
    /// else as [`insert`](Tree::insert), and whatever the iterator gives.
    pub fn append<P, K, V, I>(&mut self, pages: &mut P, sorted: I, fill: Fill) -> Result<u64>
    where
        P: PagesMut,
        K: AsRef<[u8]>,
        V: AsRef<[u8]>,
        I: IntoIterator<Item = Result<(K, V)>>,
    {
        let old_len = self.len;
        let mut builder = Builder::behind(self, pages)?;
        if fill == Fill::WithSlack {
            builder.slack_bytes = pages.page_bytes() / SLACK_PART;
        }
        for entry in sorted {
            let (key, value) = entry?;
            builder.push(pages, key.as_ref(), value.as_ref())?;
        }
        builder.close_leaf(pages)?;
        Ok(self.len - old_len)
    }
}

/// How full leaves are built.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fill {
    /// As full as they get: for keys that came in order, whose next ones will come behind them.
    Whole,
    /// With room for one more entry like the last, if that takes less than a sixteenth: for keys
    /// that came in no order, among which the next ones will come. Each of them would split a whole
    /// leaf.
    WithSlack,
}

/// The part of a page that slack may take.
const SLACK_PART: usize = 16;

impl Builder<'_> {
    /// One whose open pages are the last ones of `tree`.
    fn behind<'t, P: PagesMut>(tree: &'t mut Tree, pages: &mut P) -> Result<Builder<'t>> {
        let (mut open, mut filling) = (Path::new(), Filling::new(pages.page_bytes()));
        let (mut leaf, mut last) = (None, Vec::new());
        if tree.descend(pages, Toward::Last, &mut open)? {
            tree.own(pages, &mut open, 0)?;
            leaf = Some(open.leaf());
            filling.push_all(pages.leaf(open.leaf(), tree.table)?)?;
            if let Some((key, _)) = tree.last(pages)? {
                last.extend_from_slice(key);
            }
        }
        Ok(Builder { tree, open, filling, leaf, separator: None, last, slack_bytes: 0 })
    }

    fn push<P: PagesMut>(&mut self, pages: &mut P, key: &[u8], value: &[u8]) -> Result<()> {
        check_limits(key, value)?;
        let table = self.tree.table;
        if self.tree.len > 0 && self.last.as_slice() >= key {
            return Err(Error::invalid("entries to build a table from are not in key order"));
        }
        let cell = new_key(pages, table, key)?;
        let value = new_value(pages, table, key.len(), value)?;
        if self.would_lose_slack(cell, value) || !self.filling.push(cell, value) {
            self.close_leaf(pages)?;
            let separator = separate(self.open.leaf(), &self.last, key)?;
            self.separator = Some(Moving::between(pages, self.tree, separator)?);
            must_fit(self.filling.push(cell, value), self.open.leaf())?;
        }
        self.tree.len += 1;
        self.last.clear();
        self.last.extend_from_slice(key);
        Ok(())
    }

    /// Whether the open leaf takes no further entry, for the next ones need its room.
    fn would_lose_slack(&self, key: NewKey<'_>, value: NewValue<'_>) -> bool {
        if self.slack_bytes == 0 || self.filling.is_empty() {
            return false;
        }
        let (free, entry) = (self.filling.free_bytes(), Filling::entry_bytes(key, value));
        free < self.slack_bytes || entry < self.slack_bytes && free < 2 * entry
    }

    /// Writes the open leaf, if it has an entry, and puts it behind its elder.
    fn close_leaf<P: PagesMut>(&mut self, pages: &mut P) -> Result<()> {
        if self.filling.is_empty() {
            return Ok(());
        }
        let place = self.leaf.take();
        let leaf = match place {
            Some(leaf) => leaf,
            None => pages.alloc(self.tree.table, Kind::Leaf, 0)?,
        };
        self.filling.lay_out(pages.page_mut(leaf)?)?;
        self.open.steps[0].child = leaf;
        if let Some(separator) = self.separator.take() {
            return self.push_child(pages, leaf, &separator);
        }
        if place.is_none() {
            self.tree.root = Some(leaf);
        }
        Ok(())
    }

    /// Puts a page of level 0 that follows the open one's elder behind it, and so on upwards.
    fn push_child<P: PagesMut>(
        &mut self,
        pages: &mut P,
        mut child: Child,
        separator: &Moving,
    ) -> Result<()> {
        for level in 1..=self.tree.level {
            let open = self.open.steps[usize::from(level)].child;
            if branch_mut(pages, open)?.push(separator.as_new(), child)? {
                return Ok(());
            }
            // The first child keeps no separator: it goes on upwards, as that of its branch.
            let next = pages.alloc(self.tree.table, Kind::Branch, level)?;
            must_fit(branch_mut(pages, next)?.push(NewKey::Inline(&[]), child)?, next)?;
            self.open.steps[usize::from(level)].child = next;
            child = next;
        }
        let level = self.tree.level + 1;
        if usize::from(level) >= LEVELS_MAX {
            let reason = format!("a tree that would grow to {} levels", level + 1);
            return Err(Error::corrupt_page(child.page.0, reason));
        }
        let root = pages.alloc(self.tree.table, Kind::Branch, level)?;
        let mut branch = branch_mut(pages, root)?;
        if let Some(first) = self.tree.root {
            must_fit(branch.push(NewKey::Inline(&[]), first)?, root)?;
        }
        must_fit(branch.push(separator.as_new(), child)?, root)?;
        self.open.steps[usize::from(level)] = Step::new(root, 0);
        (self.tree.root, self.tree.level) = (Some(root), level);
        Ok(())
    }
}
