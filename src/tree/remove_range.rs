//! Removal of a whole range: subtrees inside it are given up without a look at their order; only
//! the pages at its two edges are changed.

use std::ops::Bound;

use super::{Path, Toward, Tree, resolver};
use crate::{
    error::Result,
    page::{Child, branch::Branch, leaf::Leaf},
    pager::{Pages, PagesMut},
    tree::{
        insert::{branch_mut, leaf_mut},
        remove::drop_child,
    },
};

/// A range of keys.
#[derive(Clone, Copy)]
struct Span<'k> {
    from: Bound<&'k [u8]>,
    to: Bound<&'k [u8]>,
}

/// What is left of a subtree.
enum Left {
    /// All: nothing was in the range.
    All,
    /// Something, in this page.
    Some(Child),
    /// Nothing; its pages are given up.
    Nothing,
}

/// Whether no key can lie between two bounds.
pub(crate) fn is_empty_span(from: Bound<&[u8]>, to: Bound<&[u8]>) -> bool {
    match (from, to) {
        (Bound::Unbounded, _) | (_, Bound::Unbounded) => false,
        (Bound::Included(from), Bound::Included(to)) => from > to,
        (
            Bound::Included(from) | Bound::Excluded(from),
            Bound::Included(to) | Bound::Excluded(to),
        ) => from >= to,
    }
}

/// Where a descent to the first key of a range goes.
pub(crate) fn toward_from(from: Bound<&[u8]>) -> Toward<'_> {
    match from {
        Bound::Unbounded => Toward::First,
        Bound::Included(key) | Bound::Excluded(key) => Toward::Key(key),
    }
}

/// Where a descent to the last key of a range goes.
pub(crate) fn toward_to(to: Bound<&[u8]>) -> Toward<'_> {
    match to {
        Bound::Unbounded => Toward::Last,
        Bound::Included(key) | Bound::Excluded(key) => Toward::Key(key),
    }
}

/// The index of the first entry of a leaf that is not before `from`.
pub(crate) fn index_from<'p, P: Pages>(
    pages: &'p P,
    tree: &Tree,
    leaf: Leaf<'p>,
    from: Bound<&[u8]>,
) -> Result<usize> {
    Ok(match from {
        Bound::Unbounded => 0,
        Bound::Included(key) => match leaf.search(key, &resolver(pages, tree.table))? {
            Ok(index) | Err(index) => index,
        },
        Bound::Excluded(key) => match leaf.search(key, &resolver(pages, tree.table))? {
            Ok(index) => index + 1,
            Err(index) => index,
        },
    })
}

/// The index behind the last entry of a leaf that is not behind `to`.
pub(crate) fn index_to<'p, P: Pages>(
    pages: &'p P,
    tree: &Tree,
    leaf: Leaf<'p>,
    to: Bound<&[u8]>,
) -> Result<usize> {
    Ok(match to {
        Bound::Unbounded => leaf.len(),
        Bound::Included(key) => index_from(pages, tree, leaf, Bound::Excluded(key))?,
        Bound::Excluded(key) => index_from(pages, tree, leaf, Bound::Included(key))?,
    })
}

impl Tree {
    /// Removes all entries between two bounds: how many there were. Bounds in the wrong order
    /// remove nothing.
    ///
    /// Cost: every page of the range is looked at once, to count and to find its runs; only those
    /// at the edges are copied.
    ///
    /// # Errors
    /// As [`remove`](Tree::remove).
    pub fn remove_range<P: PagesMut>(
        &mut self,
        pages: &mut P,
        from: Bound<&[u8]>,
        to: Bound<&[u8]>,
    ) -> Result<u64> {
        let Some(root) = self.root else {
            return Ok(0);
        };
        if is_empty_span(from, to) {
            return Ok(0);
        }
        let mut removed = 0;
        match self.prune(pages, root, self.level, Span { from, to }, &mut removed)? {
            Left::All => return Ok(0),
            Left::Some(root) => self.root = Some(root),
            Left::Nothing => *self = Tree::empty(self.table),
        }
        self.len = if self.root.is_some() { self.len.saturating_sub(removed) } else { 0 };
        // The pages on both sides of the cut may be nearly empty now, at every level.
        let mut path = Path::new();
        for edge in [toward_from(from), toward_to(to)] {
            if self.descend(pages, edge, &mut path)? {
                self.mend(pages, &mut path, true)?;
            }
        }
        Ok(removed)
    }

    /// Removes what lies in `span` from the subtree of `child`.
    fn prune<P: PagesMut>(
        &self,
        pages: &mut P,
        child: Child,
        level: u8,
        span: Span<'_>,
        removed: &mut u64,
    ) -> Result<Left> {
        if let (Bound::Unbounded, Bound::Unbounded) = (span.from, span.to) {
            *removed += self.free_subtree(pages, child, level)?;
            return Ok(Left::Nothing);
        }
        if level == 0 {
            return self.prune_leaf(pages, child, span, removed);
        }
        let (first, last) = self.children_in(pages, child, level, span)?;
        let mut kept = child;
        let mut is_changed = false;
        // From the end, so that the indexes before stay what they are.
        for i in (first..=last).rev() {
            let inner = Span {
                from: if i == first { span.from } else { Bound::Unbounded },
                to: if i == last { span.to } else { Bound::Unbounded },
            };
            let below = Branch::new(pages.page(kept, self.table, level)?)?.child(i)?;
            let left = self.prune(pages, below, level - 1, inner, removed)?;
            if let Left::All = left {
                continue;
            }
            kept = pages.make_mut(kept, self.table, level)?;
            is_changed = true;
            match left {
                Left::Some(below) => branch_mut(pages, kept)?.set_child(i, below)?,
                _ => drop_child(pages, kept, i)?,
            }
        }
        if Branch::new(pages.page(kept, self.table, level)?)?.is_empty() {
            pages.free(kept)?;
            return Ok(Left::Nothing);
        }
        Ok(if is_changed { Left::Some(kept) } else { Left::All })
    }

    /// The first and the last child of a branch that may hold keys of `span`.
    fn children_in<P: Pages>(
        &self,
        pages: &P,
        child: Child,
        level: u8,
        span: Span<'_>,
    ) -> Result<(usize, usize)> {
        let branch = Branch::new(pages.page(child, self.table, level)?)?;
        let resolve = resolver(pages, self.table);
        let index = |toward| match toward {
            Toward::First => Ok(0),
            Toward::Key(key) => branch.child_index(key, &resolve),
            Toward::Last => Ok(branch.len().saturating_sub(1)),
        };
        Ok((index(toward_from(span.from))?, index(toward_to(span.to))?))
    }

    fn prune_leaf<P: PagesMut>(
        &self,
        pages: &mut P,
        child: Child,
        span: Span<'_>,
        removed: &mut u64,
    ) -> Result<Left> {
        let leaf = pages.leaf(child, self.table)?;
        let first = index_from(&*pages, self, leaf, span.from)?;
        let behind = index_to(&*pages, self, leaf, span.to)?;
        let is_whole = behind - first.min(behind) == leaf.len();
        if first >= behind {
            return Ok(Left::All);
        }
        self.free_runs(pages, child, first..behind)?;
        *removed += (behind - first) as u64;
        if is_whole {
            pages.free(child)?;
            return Ok(Left::Nothing);
        }
        let owned = pages.make_mut(child, self.table, 0)?;
        leaf_mut(pages, owned)?.remove_range(first..behind)?;
        Ok(Left::Some(owned))
    }
}
