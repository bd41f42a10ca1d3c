//! A tree's pages, each once, with its place: for copies of a store, page by page.

use super::{Tree, remove::runs_of};
use crate::{
    error::Result,
    page::{
        Child, PageId, Run,
        branch::{Branch, Separator},
        leaf::Leaf,
    },
    pager::Pager,
};

/// Is given each page or run, in whole pages. An error ends the copy; so one that keeps a set can
/// refuse a page that is named twice, which also bounds the work on a crafted file.
pub type Sink<'s> = &'s mut dyn FnMut(PageId, &[u8]) -> Result<()>;

struct Copier<'p, 's> {
    pager: &'p Pager,
    tree: Tree,
    sink: Sink<'s>,
    /// Room for the page of each level on the way down, and for runs.
    spare: Vec<Vec<u8>>,
}

impl Tree {
    /// Hands every page of the tree to `sink`, verified and sealed, parents first. What it reads it
    /// does not keep.
    ///
    /// # Errors
    /// `Error::Corrupt` naming a damaged page; `Error::Io`; whatever `sink` gives.
    pub fn copy(&self, pager: &Pager, sink: Sink<'_>) -> Result<()> {
        let Some(root) = self.sound_root()? else { return Ok(()) };
        let mut copier = Copier { pager, tree: *self, sink, spare: Vec::new() };
        copier.page(root, self.level)
    }
}

impl Copier<'_, '_> {
    fn page(&mut self, child: Child, level: u8) -> Result<()> {
        let mut bytes = self.spare.pop().unwrap_or_default();
        self.pager.copy_page(child, self.tree.table, level, &mut bytes)?;
        (self.sink)(child.page, &bytes)?;
        if level == 0 {
            let leaf = Leaf::new(&bytes)?;
            for i in 0..leaf.len() {
                for run in runs_of(leaf, i)?.into_iter().flatten() {
                    self.run(run)?;
                }
            }
        } else {
            let branch = Branch::new(&bytes)?;
            for i in 0..branch.len() {
                if i > 0
                    && let Separator::Run(run) = branch.separator(i)?
                {
                    self.run(run)?;
                }
                self.page(branch.child(i)?, level - 1)?;
            }
        }
        self.spare.push(bytes);
        Ok(())
    }

    fn run(&mut self, run: Run) -> Result<()> {
        let mut bytes = self.spare.pop().unwrap_or_default();
        self.pager.copy_run(run, self.tree.table, &mut bytes)?;
        (self.sink)(run.first.page, &bytes)?;
        // A long value's room is not kept.
        if bytes.capacity() <= 1 << 20 {
            self.spare.push(bytes);
        }
        Ok(())
    }
}
