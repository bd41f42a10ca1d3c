//! Ranges, walked from both ends.
//! An edge keeps its leaf and an index, so that an entry costs a look at its cell; the path is
//! touched only from leaf to leaf. An open end is looked up when it is first asked for.

use std::ops::Bound;

use super::{
    Path, Step, Toward, Tree,
    remove_range::{index_from, index_to, is_empty_span, toward_from, toward_to},
    resolver,
};
use crate::{
    error::Result,
    page::{
        branch::Branch,
        leaf::{CellKey, CellValue, Leaf},
    },
    pager::Pages,
};

/// A key and its value, borrowed from the pages.
pub type Entry<'p> = (&'p [u8], &'p [u8]);

/// The entries of a range in key order; from both ends, until they meet.
pub struct Range<'p, P> {
    pages: &'p P,
    tree: Tree,
    /// Where the next entry forward is. None: the first of the tree, not looked up yet.
    front: Option<Edge<'p>>,
    /// Where the entries end. None: with the last of the tree, not looked up yet.
    back: Option<Edge<'p>>,
    /// Both edges are in one leaf: what is left is between the front's `index` and `end`.
    is_met: bool,
    is_done: bool,
}

/// A leaf, and the entries of it that are still to come from this side.
#[derive(Clone)]
struct Edge<'p> {
    leaf: Leaf<'p>,
    index: usize,
    end: usize,
    path: Path,
}

impl<P> Clone for Range<'_, P> {
    fn clone(&self) -> Self {
        Range { front: self.front.clone(), back: self.back.clone(), ..*self }
    }
}

impl Tree {
    /// The entries between two bounds, borrowed from the pages. Bounds in the wrong order give
    /// none.
    ///
    /// Cost: a descent for each end that is bound or asked for; then a cell an entry.
    ///
    /// # Errors
    /// [`Error::Corrupt`](crate::Error::Corrupt) if a page on the way is damaged; later
    /// ones come out of the iterator, which ends with them.
    pub fn range<'p, P: Pages>(
        &self,
        pages: &'p P,
        from: Bound<&[u8]>,
        to: Bound<&[u8]>,
    ) -> Result<Range<'p, P>> {
        let mut range = Range {
            pages,
            tree: *self,
            front: None,
            back: None,
            is_met: false,
            is_done: self.root.is_none() || is_empty_span(from, to),
        };
        if range.is_done {
            return Ok(range);
        }
        if !matches!(from, Bound::Unbounded) {
            let mut edge = range.edge(toward_from(from))?;
            edge.index = index_from(pages, self, edge.leaf, from)?;
            range.front = Some(edge);
        }
        if !matches!(to, Bound::Unbounded) {
            let mut edge = range.edge(toward_to(to))?;
            edge.end = index_to(pages, self, edge.leaf, to)?;
            range.back = Some(edge);
        }
        range.meet();
        Ok(range)
    }
}

impl<'p, P: Pages> Range<'p, P> {
    /// All of the leaf that `toward` names.
    fn edge(&self, toward: Toward<'_>) -> Result<Edge<'p>> {
        let mut path = Path::new();
        self.tree.descend(self.pages, toward, &mut path)?;
        let leaf = Leaf::new(self.pages.page(path.leaf(), self.tree.table, 0)?)?;
        Ok(Edge { leaf, index: 0, end: leaf.len(), path })
    }

    /// Notes whether both edges are in one leaf; called when one of them has come to another.
    fn meet(&mut self) {
        if let (Some(front), Some(back)) = (&mut self.front, &self.back)
            && front.path.leaf() == back.path.leaf()
        {
            front.end = back.end;
            self.is_met = true;
        }
    }

    #[inline]
    fn forward(&mut self) -> Result<Option<Entry<'p>>> {
        loop {
            if let Some(front) = &mut self.front
                && front.index < front.end
                && !self.is_done
            {
                let index = front.index;
                front.index += 1;
                return entry(self.pages, &self.tree, front.leaf, index).map(Some);
            }
            if !self.next_leaf(Way::Right)? {
                return Ok(None);
            }
        }
    }

    fn backward(&mut self) -> Result<Option<Entry<'p>>> {
        loop {
            let edge = if self.is_met { &mut self.front } else { &mut self.back };
            if let Some(edge) = edge
                && edge.index < edge.end
                && !self.is_done
            {
                edge.end -= 1;
                return entry(self.pages, &self.tree, edge.leaf, edge.end).map(Some);
            }
            if !self.next_leaf(Way::Left)? {
                return Ok(None);
            }
        }
    }

    /// Takes the edge that goes `way`, at the end of its leaf, to the next one, or to its first.
    /// False: there is nothing more.
    fn next_leaf(&mut self, way: Way) -> Result<bool> {
        if self.is_done || self.is_met {
            self.is_done = true;
            return Ok(false);
        }
        let (edge, first) = match way {
            Way::Right => (&mut self.front, Toward::First),
            Way::Left => (&mut self.back, Toward::Last),
        };
        if let Some(edge) = edge {
            if !self.tree.step(self.pages, &mut edge.path, way)? {
                self.is_done = true;
                return Ok(false);
            }
            edge.leaf = Leaf::new(self.pages.page(edge.path.leaf(), self.tree.table, 0)?)?;
            (edge.index, edge.end) = (0, edge.leaf.len());
        } else {
            let edge = Some(self.edge(first)?);
            match way {
                Way::Right => self.front = edge,
                Way::Left => self.back = edge,
            }
        }
        self.meet();
        Ok(true)
    }

    /// Ends the walk with an error, so that a loop over a damaged tree ends too.
    fn end_on_error<T>(&mut self, result: Result<Option<T>>) -> Option<Result<T>> {
        self.is_done |= result.is_err();
        result.transpose()
    }
}

/// Entry `index` of a leaf.
#[inline]
fn entry<'p, P: Pages>(
    pages: &'p P,
    tree: &Tree,
    leaf: Leaf<'p>,
    index: usize,
) -> Result<Entry<'p>> {
    let (key, value) = leaf.entry(index)?;
    if let (CellKey::Inline(key), CellValue::Inline(value)) = (key, value) {
        return Ok((key, value));
    }
    let resolve = resolver(pages, tree.table);
    Ok((key.resolve(&resolve)?, value.resolve(&resolve)?))
}

impl<'p, P: Pages> Iterator for Range<'p, P> {
    type Item = Result<Entry<'p>>;

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        let result = self.forward();
        self.end_on_error(result)
    }
}

impl<P: Pages> DoubleEndedIterator for Range<'_, P> {
    #[inline]
    fn next_back(&mut self) -> Option<Self::Item> {
        let result = self.backward();
        self.end_on_error(result)
    }
}

impl<P: Pages> std::iter::FusedIterator for Range<'_, P> {}

/// Which neighbour.
#[derive(Clone, Copy)]
enum Way {
    Left,
    Right,
}

impl Tree {
    /// Moves a path to the neighbouring leaf. False: there is none.
    fn step<P: Pages>(&self, pages: &P, path: &mut Path, way: Way) -> Result<bool> {
        for level in 1..=self.level {
            let step = &mut path.steps[usize::from(level)];
            let branch = Branch::new(pages.page(step.child, self.table, level)?)?;
            let at = step.index();
            let (index, beyond) = match way {
                Way::Left if at > 0 => (at - 1, at.checked_sub(2)),
                Way::Right if at + 1 < branch.len() => {
                    (at + 1, Some(at + 2).filter(|next| *next < branch.len()))
                }
                _ => continue,
            };
            *step = Step::new(step.child, index);
            let child = branch.child(index)?;
            // The leaf after this one comes into the cache while this one is read.
            if let (1, Some(beyond)) = (level, beyond) {
                pages.prefetch(branch.child(beyond)?.page);
            }
            let toward = match way {
                Way::Left => Toward::Last,
                Way::Right => Toward::First,
            };
            self.descend_from(pages, toward, path, child, level - 1)?;
            return Ok(true);
        }
        Ok(false)
    }
}

impl<P> std::fmt::Debug for Range<'_, P> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Range").field("is_done", &self.is_done).finish_non_exhaustive()
    }
}
