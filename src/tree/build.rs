//! A tree built bottom-up from sorted entries: every page is filled before the next one is begun,
//! and none is looked at again. Memory: one open page a level, which the pager may spill.

use super::{
    LEVELS_MAX, Path, Step, Tree, check_limits,
    insert::{Moving, branch_mut, leaf_mut, must_fit, separate},
    new_key, new_value,
};
use crate::{
    error::{Error, Result},
    page::{Child, Kind, cell::NewKey},
    pager::{PagesMut, TableId},
};

/// A tree under construction. Step `l` of the path is the open page of level `l`.
struct Builder {
    tree: Tree,
    open: Path,
    /// The last key.
    last: Vec<u8>,
}

impl Tree {
    /// Builds a tree from entries in strictly ascending key order.
    ///
    /// # Errors
    /// [`Error::Invalid`] if a key is not greater than the one before it; else as
    /// [`insert`](Tree::insert), and whatever the iterator gives.
    pub fn build<P, K, V, I>(table: TableId, pages: &mut P, sorted: I) -> Result<Tree>
    where
        P: PagesMut,
        K: AsRef<[u8]>,
        V: AsRef<[u8]>,
        I: IntoIterator<Item = Result<(K, V)>>,
    {
        let mut builder = Builder { tree: Tree::empty(table), open: Path::new(), last: Vec::new() };
        for entry in sorted {
            let (key, value) = entry?;
            builder.push(pages, key.as_ref(), value.as_ref())?;
        }
        Ok(builder.tree)
    }
}

impl Builder {
    fn push<P: PagesMut>(&mut self, pages: &mut P, key: &[u8], value: &[u8]) -> Result<()> {
        check_limits(key, value)?;
        let table = self.tree.table;
        if self.tree.len > 0 && self.last.as_slice() >= key {
            return Err(Error::invalid("entries to build a table from are not in key order"));
        }
        let cell = new_key(pages, table, key)?;
        let value = new_value(pages, table, key.len(), value)?;
        if self.tree.root.is_none() {
            let leaf = pages.alloc(table, Kind::Leaf, 0)?;
            self.tree.root = Some(leaf);
            self.open.steps[0].child = leaf;
        }
        let leaf = self.open.leaf();
        if !leaf_mut(pages, leaf)?.push(cell, value)? {
            let separator = separate(leaf, &self.last, key)?;
            let separator = Moving::between(pages, &self.tree, separator)?;
            let next = pages.alloc(table, Kind::Leaf, 0)?;
            must_fit(leaf_mut(pages, next)?.push(cell, value)?, next)?;
            self.open.steps[0].child = next;
            self.push_child(pages, next, &separator)?;
        }
        self.tree.len += 1;
        self.last.clear();
        self.last.extend_from_slice(key);
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
