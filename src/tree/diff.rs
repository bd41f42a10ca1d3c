//! What changed between two trees of one table: both are walked in key order, and a page that both
//! name (number and birth) is skipped with all below it. Cost grows with the change, not with the
//! data.
//!
//! A walk stands before an entry or before a subtree not yet entered. Of two different subtrees the
//! one that begins earlier is entered (the higher one, if both begin together), and one facing an
//! entry only if the entry may lie in it; so a subtree that both trees have is met by both walks at
//! once, except at its edges where separators moved.

use std::{cmp::Ordering, ops::Bound};

use super::{
    Path, Toward, Tree,
    cursor::Entry,
    remove_range::{index_from, is_empty_span},
    resolver,
};
use crate::{
    error::Result,
    page::{Child, branch::Branch, leaf::Leaf},
    pager::Pages,
};

/// One key whose value differs between two trees.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Change<'p> {
    /// The key.
    pub key: &'p [u8],
    /// Its value in the old tree; none: it was not there.
    pub old: Option<&'p [u8]>,
    /// Its value in the new tree; none: it is gone.
    pub new: Option<&'p [u8]>,
}

/// The changes between two trees, in key order.
pub struct Diff<'p, P> {
    old: Walk<'p, P>,
    new: Walk<'p, P>,
    is_done: bool,
}

/// A page that a walk is in, and the next of its children or entries.
struct Frame<'p> {
    node: Node<'p>,
    index: usize,
}

enum Node<'p> {
    Branch(Branch<'p>, u8),
    Leaf(Leaf<'p>),
}

/// A walk over a tree in key order that enters subtrees only when told to.
struct Walk<'p, P> {
    pages: &'p P,
    tree: Tree,
    /// The pages that the walk is in, the root first. Empty with `is_before_root` unset: the end.
    frames: Vec<Frame<'p>>,
    is_before_root: bool,
    /// Where the subtree ahead begins, once it was asked for.
    begin: Vec<u8>,
    is_begin_known: bool,
}

/// What lies ahead of a walk.
#[derive(Clone, Copy)]
enum Ahead<'p> {
    Subtree(Child, u8),
    Entry(Entry<'p>),
    End,
}

impl Tree {
    /// The keys whose values differ between `old` and `new`, two versions of one table's tree, each
    /// with the pages that it is read through.
    pub fn diff<'p, P: Pages>(
        old: &Tree,
        new: &Tree,
        old_pages: &'p P,
        new_pages: &'p P,
    ) -> Diff<'p, P> {
        Diff { old: Walk::new(*old, old_pages), new: Walk::new(*new, new_pages), is_done: false }
    }

    /// Whether any key between two bounds, or with `whole` any value, differs between `old` and
    /// `new`, be they trees of one table or not. Cost: two descents, and as of a diff what differs.
    pub fn differs_between<P: Pages>(
        old: &Tree,
        new: &Tree,
        pages: &P,
        from: Bound<&[u8]>,
        to: Bound<&[u8]>,
        whole: bool,
    ) -> Result<bool> {
        if (old.root, old.level) == (new.root, new.level) || is_empty_span(from, to) {
            return Ok(false);
        }
        let [old, new] = [Walk::starting(*old, pages, from)?, Walk::starting(*new, pages, from)?];
        let mut diff = Diff { old, new, is_done: false };
        while let Some(Change { old, new, .. }) = diff.advance(to)? {
            if whole || old.is_some() != new.is_some() {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Whether `key`, or with `whole` its value too, differs between `old` and `new`. Cost: two
    /// descents, and a look at the leaves only if they are not one.
    pub fn differs_at<P: Pages>(
        old: &Tree,
        new: &Tree,
        pages: &P,
        key: &[u8],
        whole: bool,
    ) -> Result<bool> {
        if (old.root, old.level) == (new.root, new.level) {
            return Ok(false);
        }
        let (mut before, mut after) = (Path::new(), Path::new());
        let toward = Toward::Key(key);
        if old.descend(pages, toward, &mut before)?
            && new.descend(pages, toward, &mut after)?
            && before.leaf() == after.leaf()
        {
            return Ok(false);
        }
        Ok(match (old.get(pages, key)?, new.get(pages, key)?) {
            (Some(old), Some(new)) => whole && !is_same(old, new),
            (old, new) => old.is_some() != new.is_some(),
        })
    }
}

impl<'p, P: Pages> Diff<'p, P> {
    /// The next change that is not behind `to`.
    fn advance(&mut self, to: Bound<&[u8]>) -> Result<Option<Change<'p>>> {
        loop {
            let (old, new) = (self.old.ahead()?, self.new.ahead()?);
            // Where both are behind the end, any change that comes is.
            if !matches!(to, Bound::Unbounded)
                && self.old.is_behind(old, to)?
                && self.new.is_behind(new, to)?
            {
                return Ok(None);
            }
            match (old, new) {
                (Ahead::End, Ahead::End) => return Ok(None),
                (Ahead::Subtree(old, a), Ahead::Subtree(new, b)) => {
                    if old == new && a == b {
                        self.old.skip();
                        self.new.skip();
                    } else {
                        self.enter_one(old, a, new, b)?;
                    }
                }
                (Ahead::Subtree(child, level), Ahead::Entry((key, value))) => {
                    if self.old.begins_behind(key)? {
                        self.new.skip();
                        return Ok(Some(Change::inserted(key, value)));
                    }
                    self.old.enter(child, level)?;
                }
                (Ahead::Entry((key, value)), Ahead::Subtree(child, level)) => {
                    if self.new.begins_behind(key)? {
                        self.old.skip();
                        return Ok(Some(Change::removed(key, value)));
                    }
                    self.new.enter(child, level)?;
                }
                (Ahead::Subtree(child, level), Ahead::End) => self.old.enter(child, level)?,
                (Ahead::End, Ahead::Subtree(child, level)) => self.new.enter(child, level)?,
                (Ahead::Entry((key, value)), Ahead::End) => {
                    self.old.skip();
                    return Ok(Some(Change::removed(key, value)));
                }
                (Ahead::End, Ahead::Entry((key, value))) => {
                    self.new.skip();
                    return Ok(Some(Change::inserted(key, value)));
                }
                (Ahead::Entry(old), Ahead::Entry(new)) => {
                    if let Some(change) = self.compare(old, new) {
                        return Ok(Some(change));
                    }
                }
            }
        }
    }

    /// Steps past the smaller of two entries, or past both: the change, if there is one.
    fn compare(&mut self, old: Entry<'p>, new: Entry<'p>) -> Option<Change<'p>> {
        match old.0.cmp(new.0) {
            Ordering::Less => {
                self.old.skip();
                Some(Change::removed(old.0, old.1))
            }
            Ordering::Greater => {
                self.new.skip();
                Some(Change::inserted(new.0, new.1))
            }
            Ordering::Equal => {
                self.old.skip();
                self.new.skip();
                (!is_same(old.1, new.1)).then_some(Change {
                    key: new.0,
                    old: Some(old.1),
                    new: Some(new.1),
                })
            }
        }
    }

    /// Enters the subtree that begins earlier, of two that differ; the higher one if both begin
    /// together, and both if they are of one height too.
    fn enter_one(&mut self, old: Child, a: u8, new: Child, b: u8) -> Result<()> {
        let order = self.old.begin()?.cmp(self.new.begin()?).then(b.cmp(&a));
        if order != Ordering::Greater {
            self.old.enter(old, a)?;
        }
        if order != Ordering::Less {
            self.new.enter(new, b)?;
        }
        Ok(())
    }
}

impl<'p, P: Pages> Iterator for Diff<'p, P> {
    type Item = Result<Change<'p>>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.is_done {
            return None;
        }
        let change = self.advance(Bound::Unbounded);
        self.is_done = !matches!(change, Ok(Some(_)));
        change.transpose()
    }
}

impl<'p> Change<'p> {
    fn inserted(key: &'p [u8], value: &'p [u8]) -> Change<'p> {
        Change { key, old: None, new: Some(value) }
    }

    fn removed(key: &'p [u8], value: &'p [u8]) -> Change<'p> {
        Change { key, old: Some(value), new: None }
    }
}

/// Whether two values are equal; known without a look at them if they are one run.
fn is_same(old: &[u8], new: &[u8]) -> bool {
    std::ptr::eq(old, new) || old == new
}

impl<'p, P: Pages> Walk<'p, P> {
    fn new(tree: Tree, pages: &'p P) -> Walk<'p, P> {
        Walk {
            pages,
            tree,
            frames: Vec::new(),
            is_before_root: tree.root.is_some(),
            begin: Vec::new(),
            is_begin_known: false,
        }
    }

    /// A walk that stands before the first entry that is not before `from`.
    fn starting(tree: Tree, pages: &'p P, from: Bound<&[u8]>) -> Result<Walk<'p, P>> {
        let mut walk = Walk::new(tree, pages);
        let (Bound::Included(key) | Bound::Excluded(key)) = from else {
            return Ok(walk);
        };
        while let (true, Ahead::Subtree(child, level)) = (walk.is_above_leaves(), walk.ahead()?) {
            walk.enter(child, level)?;
            if let Some(frame) = walk.frames.last_mut() {
                frame.index = match frame.node {
                    Node::Branch(branch, _) => {
                        branch.child_index(key, &resolver(pages, tree.table))?
                    }
                    Node::Leaf(leaf) => index_from(pages, &tree, leaf, from)?,
                };
            }
        }
        Ok(walk)
    }

    /// Whether the walk has not come to a leaf yet.
    fn is_above_leaves(&self) -> bool {
        !matches!(self.frames.last(), Some(Frame { node: Node::Leaf(_), .. }))
    }

    /// Whether nothing of what is ahead lies before the end `to`.
    fn is_behind(&mut self, ahead: Ahead<'p>, to: Bound<&[u8]>) -> Result<bool> {
        let key = match ahead {
            Ahead::End => return Ok(true),
            Ahead::Entry((key, _)) => key,
            Ahead::Subtree(..) => self.begin()?,
        };
        Ok(match to {
            Bound::Unbounded => false,
            Bound::Included(to) => key > to,
            Bound::Excluded(to) => key >= to,
        })
    }

    /// What comes next; leaves pages that are at their end.
    fn ahead(&mut self) -> Result<Ahead<'p>> {
        if let (true, Some(root)) = (self.is_before_root, self.tree.root) {
            return Ok(Ahead::Subtree(root, self.tree.level));
        }
        while let Some(frame) = self.frames.last() {
            match frame.node {
                Node::Branch(branch, level) if frame.index < branch.len() => {
                    return Ok(Ahead::Subtree(branch.child(frame.index)?, level - 1));
                }
                Node::Leaf(leaf) if frame.index < leaf.len() => {
                    let (key, value) = leaf.entry(frame.index)?;
                    let resolve = resolver(self.pages, self.tree.table);
                    return Ok(Ahead::Entry((key.resolve(&resolve)?, value.resolve(&resolve)?)));
                }
                _ => {
                    self.frames.pop();
                }
            }
        }
        Ok(Ahead::End)
    }

    /// Steps past what is ahead.
    fn skip(&mut self) {
        self.is_begin_known = false;
        if self.is_before_root {
            self.is_before_root = false;
        } else if let Some(frame) = self.frames.last_mut() {
            frame.index += 1;
        }
    }

    /// Enters the subtree ahead.
    fn enter(&mut self, child: Child, level: u8) -> Result<()> {
        let table = self.tree.table;
        let node = match level {
            0 => Node::Leaf(self.pages.leaf(child, table)?),
            _ => Node::Branch(Branch::new(self.pages.page(child, table, level)?)?, level),
        };
        self.skip();
        self.frames.push(Frame { node, index: 0 });
        Ok(())
    }

    /// Where the subtree ahead begins: no key in it is smaller. Empty: at the start of the tree.
    fn begin(&mut self) -> Result<&[u8]> {
        if !self.is_begin_known {
            self.begin.clear();
            self.is_begin_known = true;
            // A first child begins where its parent does. The pages above the one that the walk is
            // in have been stepped past: their subtree is the one before their index.
            let inner = self.frames.len().wrapping_sub(1);
            for (depth, frame) in self.frames.iter().enumerate().rev() {
                let index = if depth == inner { frame.index } else { frame.index - 1 };
                if let (Node::Branch(branch, _), true) = (&frame.node, index > 0) {
                    let resolve = resolver(self.pages, self.tree.table);
                    branch.separator(index)?.append_to(&mut self.begin, &resolve)?;
                    break;
                }
            }
        }
        Ok(&self.begin)
    }

    /// Whether the subtree ahead begins behind `key`, so that `key` cannot lie in it.
    fn begins_behind(&mut self, key: &[u8]) -> Result<bool> {
        Ok(self.begin()? > key)
    }
}

impl<P> std::fmt::Debug for Diff<'_, P> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Diff").field("is_done", &self.is_done).finish_non_exhaustive()
    }
}
