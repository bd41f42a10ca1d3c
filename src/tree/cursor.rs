//! Ranges, walked from both ends.
//! An edge keeps its leaf and an index, so that an entry costs a look at its cell; the path is
//! touched only from leaf to leaf. An open end is looked up when it is first asked for.

use std::ops::Bound;

use super::{
    Path, Toward, Tree,
    remove_range::{index_from, index_to, is_empty_span, toward_from, toward_to},
    resolver,
};
use crate::{
    error::Result,
    page::{Child, branch::Branch, leaf::Leaf},
    pager::Pages,
};

/// A key and its value, borrowed from the pages.
pub type Entry<'p> = (&'p [u8], &'p [u8]);

/// The entries of a range in key order; from both ends, until they meet.
pub struct Range<'p, P> {
    pages: &'p P,
    tree: Tree,
    /// Between entries: the next one forward. None: at the first entry, not looked up yet.
    front: Option<Edge<'p>>,
    /// Between entries: the next one backward is before it. None: behind the last, not looked up.
    back: Option<Edge<'p>>,
    is_done: bool,
}

/// A position between two entries of a leaf.
#[derive(Clone)]
struct Edge<'p> {
    leaf: Leaf<'p>,
    index: usize,
    len: usize,
    path: Path,
}

impl<P> Clone for Range<'_, P> {
    fn clone(&self) -> Self {
        Range { front: self.front.clone(), back: self.back.clone(), ..*self }
    }
}

impl Tree {
    /// The entries between two bounds, borrowed from the pages. Bounds in the wrong order give none.
    ///
    /// Cost: a descent for each end that is bound or asked for; then a cell an entry.
    ///
    /// # Errors
    /// [`Error::Corrupt`](crate::Error::Corrupt) if a page on the way is damaged; later ones come out of the iterator, which
    /// ends with them.
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
            edge.index = index_to(pages, self, edge.leaf, to)?;
            range.back = Some(edge);
        }
        Ok(range)
    }
}

impl<'p, P: Pages> Range<'p, P> {
    /// The edge before the first entry of the leaf that `toward` names.
    fn edge(&self, toward: Toward<'_>) -> Result<Edge<'p>> {
        let mut path = Path::new();
        self.tree.descend(self.pages, toward, &mut path)?;
        let leaf = self.leaf(path.leaf())?;
        let len = leaf.len();
        Ok(Edge { leaf, index: 0, len, path })
    }

    fn leaf(&self, child: Child) -> Result<Leaf<'p>> {
        Leaf::new(self.pages.page(child, self.tree.table, 0)?)
    }

    /// Whether both edges are in one leaf.
    fn is_met(&self) -> bool {
        match (&self.front, &self.back) {
            (Some(front), Some(back)) => front.path.leaf() == back.path.leaf(),
            _ => false,
        }
    }

    fn entry(&self, leaf: Leaf<'p>, index: usize) -> Result<Entry<'p>> {
        let (key, value) = leaf.entry(index)?;
        let resolve = resolver(self.pages, self.tree.table);
        Ok((key.resolve(&resolve)?, value.resolve(&resolve)?))
    }

    fn forward(&mut self) -> Result<Option<Entry<'p>>> {
        if self.is_done {
            return Ok(None);
        }
        if self.front.is_none() {
            self.front = Some(self.edge(Toward::First)?);
        }
        loop {
            let is_met = self.is_met();
            let back_index = self.back.as_ref().map_or(0, |back| back.index);
            let Some(front) = &mut self.front else {
                return Ok(None);
            };
            let end = if is_met { back_index } else { front.len };
            if front.index < end {
                let (leaf, index) = (front.leaf, front.index);
                front.index += 1;
                return self.entry(leaf, index).map(Some);
            }
            if is_met || !self.tree.step(self.pages, &mut front.path, Way::Right)? {
                self.is_done = true;
                return Ok(None);
            }
            let child = front.path.leaf();
            front.leaf = Leaf::new(self.pages.page(child, self.tree.table, 0)?)?;
            (front.index, front.len) = (0, front.leaf.len());
        }
    }

    fn backward(&mut self) -> Result<Option<Entry<'p>>> {
        if self.is_done {
            return Ok(None);
        }
        if self.back.is_none() {
            let mut edge = self.edge(Toward::Last)?;
            edge.index = edge.len;
            self.back = Some(edge);
        }
        loop {
            let is_met = self.is_met();
            let front_index = self.front.as_ref().map_or(0, |front| front.index);
            let Some(back) = &mut self.back else {
                return Ok(None);
            };
            let start = if is_met { front_index } else { 0 };
            if back.index > start {
                back.index -= 1;
                let (leaf, index) = (back.leaf, back.index);
                return self.entry(leaf, index).map(Some);
            }
            if is_met || !self.tree.step(self.pages, &mut back.path, Way::Left)? {
                self.is_done = true;
                return Ok(None);
            }
            let child = back.path.leaf();
            back.leaf = Leaf::new(self.pages.page(child, self.tree.table, 0)?)?;
            back.len = back.leaf.len();
            back.index = back.len;
        }
    }

    /// Ends the walk with an error, so that a loop over a damaged tree ends too.
    fn end_on_error<T>(&mut self, result: Result<Option<T>>) -> Option<Result<T>> {
        self.is_done |= result.is_err();
        result.transpose()
    }
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
            let (index, beyond) = match way {
                Way::Left if step.index > 0 => (step.index - 1, step.index.checked_sub(2)),
                Way::Right if step.index + 1 < branch.len() => {
                    (step.index + 1, Some(step.index + 2).filter(|next| *next < branch.len()))
                }
                _ => continue,
            };
            step.index = index;
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
