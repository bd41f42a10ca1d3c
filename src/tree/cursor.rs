//! Ranges, walked from both ends.
//! An edge keeps what is left of its leaf, so that an entry costs a look at its cell; the way
//! there is touched only from leaf to leaf. An open end is looked up when it is first asked for.
//! Edges are small, for a range is handed on a few times before its first entry is read.

mod cut;

use std::ops::Bound;

use super::{
    LEVELS_MAX, Path, Step, Toward, Trail, Tree,
    remove_range::{index_from, index_to, is_empty_span, toward_from, toward_to},
    resolver,
};
use crate::{
    error::Result,
    page::{
        Child, PageId,
        branch::Branch,
        cells::{AHEAD, CellEntry, Cells},
        leaf::Leaf,
    },
    pager::{LINE_BYTES, Pages, prefetch_at},
};

/// A key and its value, borrowed from the pages.
pub type Entry<'p> = (&'p [u8], &'p [u8]);

/// The entries of a range in key order; from both ends, until they meet.
pub struct Range<'p, P> {
    pages: &'p P,
    tree: Tree,
    /// Where the next entry forward is.
    front: Edge<'p>,
    /// Where the entries end.
    back: Edge<'p>,
    /// Both edges are in one leaf: what is left of it is in the front.
    is_met: bool,
    /// Nothing is left on either side.
    is_done: bool,
}

/// A leaf, and the entries of it that are still to come from this side.
#[derive(Clone)]
struct Edge<'p> {
    cells: Cells<'p>,
    /// How many entries the leaf has.
    count: usize,
    way: Way,
    /// False: the end of the tree on this side, not looked up yet.
    is_found: bool,
}

/// The way to a leaf: which child was taken at each level. The pages are not kept, but for the last
/// one, which names the neighbours: the others are asked for once in hundreds of leaves, and are
/// found again from the root.
#[derive(Clone)]
struct Way {
    /// By level; those of leaves, and above the root, are zero.
    low: [u16; LOW_LEVELS],
    /// Those of the levels above.
    high: Option<Box<[u16; LEVELS_MAX]>>,
    /// The branch at level 1.
    parent: Child,
}

/// How many levels' indexes an edge keeps in itself: more than nearly all trees have, but those of
/// tests.
const LOW_LEVELS: usize = if cfg!(test) { 2 } else { 8 };

impl Way {
    fn index(&self, level: u8) -> usize {
        let level = usize::from(level);
        let index = match (self.low.get(level), &self.high) {
            (Some(index), _) => *index,
            (None, Some(high)) => high[level],
            (None, None) => 0,
        };
        usize::from(index)
    }

    /// Whether this leads to the same leaf, of the same tree.
    fn is(&self, other: &Way) -> bool {
        self.low == other.low && self.high == other.high
    }
}

impl Trail for Way {
    #[inline]
    fn note(&mut self, level: u8, child: Child, index: usize) {
        let index = Step::new(child, index).index;
        match self.low.get_mut(usize::from(level)) {
            Some(low) => *low = index,
            None => self.high.get_or_insert_default()[usize::from(level)] = index,
        }
        if level == 1 {
            self.parent = child;
        }
    }
}

impl Edge<'static> {
    const NOT_FOUND: Edge<'static> = Edge {
        cells: Cells::NONE,
        count: 0,
        way: Way { low: [0; LOW_LEVELS], high: None, parent: Child { page: PageId(0), birth: 0 } },
        is_found: false,
    };
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
    #[inline]
    pub fn range<'p, P: Pages>(
        &self,
        pages: &'p P,
        from: Bound<&[u8]>,
        to: Bound<&[u8]>,
    ) -> Result<Range<'p, P>> {
        let mut range = Range {
            pages,
            tree: *self,
            front: Edge::NOT_FOUND,
            back: Edge::NOT_FOUND,
            is_met: false,
            is_done: false,
        };
        range.find(from, to)?;
        Ok(range)
    }
}

impl<'p, P: Pages> Range<'p, P> {
    /// Looks up the ends that are bound.
    fn find(&mut self, from: Bound<&[u8]>, to: Bound<&[u8]>) -> Result<()> {
        let (pages, tree) = (self.pages, self.tree);
        let Some(root) = tree.root.filter(|_| !is_empty_span(from, to)) else {
            self.is_done = true;
            return Ok(());
        };
        if !matches!(from, Bound::Unbounded) {
            let leaf = tree.find_edge(pages, root, toward_from(from), &mut self.front)?;
            self.front.cells.skip(index_from(pages, &tree, leaf, from)?);
            self.front.cells.prefetch_first();
            if self.front.cells.left() < AHEAD + AHEAD / 2 {
                tree.prefetch_neighbour(pages, &self.front, Side::Right)?;
            }
        }
        if !matches!(to, Bound::Unbounded) {
            let leaf = tree.find_edge(pages, root, toward_to(to), &mut self.back)?;
            self.back.cells.truncate(index_to(pages, &tree, leaf, to)?);
        }
        self.meet();
        Ok(())
    }

    /// Notes whether both edges are in one leaf; called when one of them has come to another.
    fn meet(&mut self) {
        let (front, back) = (&mut self.front, &self.back);
        if front.is_found && back.is_found && front.way.is(&back.way) {
            // What the front has left ends with the leaf; what the back has, begins with it.
            let taken = front.count.saturating_sub(front.cells.left());
            front.cells.truncate(back.cells.left().saturating_sub(taken));
            self.is_met = true;
        }
    }

    /// The next entry from the front, whatever it takes.
    #[cold]
    #[inline(never)]
    fn forward(&mut self) -> Option<Result<Entry<'p>>> {
        self.walk(Side::Right, |range| range.front.cells.take_first())
    }

    /// The next entry from the back, whatever it takes.
    #[cold]
    #[inline(never)]
    fn backward(&mut self) -> Option<Result<Entry<'p>>> {
        self.walk(Side::Left, |range| range.last_edge().cells.take_last())
    }

    /// The edge from which entries come backward.
    #[inline]
    fn last_edge(&mut self) -> &mut Edge<'p> {
        if self.is_met { &mut self.front } else { &mut self.back }
    }

    /// What `take` takes, once an edge has come to a leaf that has something for it.
    fn walk(
        &mut self,
        side: Side,
        take: impl Fn(&mut Self) -> Option<Result<CellEntry<'p>>>,
    ) -> Option<Result<Entry<'p>>> {
        loop {
            let taken = match take(self) {
                Some(entry) => entry.and_then(|entry| resolve(self.pages, &self.tree, entry)),
                None => match self.next_leaf(side) {
                    Ok(true) => continue,
                    Ok(false) => return None,
                    Err(error) => Err(error),
                },
            };
            if taken.is_err() {
                // So that a loop over a damaged tree ends too.
                self.end();
            }
            return Some(taken);
        }
    }

    /// Takes the edge that goes to this side, at the end of its leaf, to the next one, or to its
    /// first. False: there is nothing more.
    fn next_leaf(&mut self, side: Side) -> Result<bool> {
        let Some(root) = self.tree.root.filter(|_| !self.is_done && !self.is_met) else {
            self.end();
            return Ok(false);
        };
        let (edge, first) = match side {
            Side::Right => (&mut self.front, Toward::First),
            Side::Left => (&mut self.back, Toward::Last),
        };
        if !edge.is_found {
            self.tree.find_edge(self.pages, root, first, edge)?;
        } else if !self.tree.step(self.pages, edge, side)? {
            self.end();
            return Ok(false);
        }
        self.meet();
        match side {
            Side::Right => self.front.cells.prefetch_first(),
            Side::Left => self.last_edge().cells.prefetch_last(),
        }
        Ok(true)
    }

    /// Nothing more comes, from either side.
    fn end(&mut self) {
        (self.front.cells, self.back.cells) = (Cells::NONE, Cells::NONE);
        self.is_done = true;
    }
}

/// An entry, with what of it lies in runs.
fn resolve<'p, P: Pages>(
    pages: &'p P,
    tree: &Tree,
    (key, value): CellEntry<'p>,
) -> Result<Entry<'p>> {
    let resolve = resolver(pages, tree.table);
    Ok((key.resolve(&resolve)?, value.resolve(&resolve)?))
}

impl<'p, P: Pages> Iterator for Range<'p, P> {
    type Item = Result<Entry<'p>>;

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        match self.front.cells.take_first_short() {
            Some(entry) => Some(Ok(entry)),
            None => self.forward(),
        }
    }
}

impl<P: Pages> DoubleEndedIterator for Range<'_, P> {
    #[inline]
    fn next_back(&mut self) -> Option<Self::Item> {
        match self.last_edge().cells.take_last_short() {
            Some(entry) => Some(Ok(entry)),
            None => self.backward(),
        }
    }
}

impl<P: Pages> std::iter::FusedIterator for Range<'_, P> {}

/// How many lines behind the first of a leaf a search in it reads, where entries are of usual size:
/// they are fetched at once.
const HEAD_LINES: usize = 5;

/// Which neighbour.
#[derive(Clone, Copy)]
enum Side {
    Left,
    Right,
}

impl Side {
    /// The index of the neighbour of child `at` of `len`, if there is one.
    fn of(self, at: usize, len: usize) -> Option<usize> {
        match self {
            Side::Left => at.checked_sub(1),
            Side::Right => Some(at + 1),
        }
        .filter(|&next| next < len)
    }

    /// Where a descent to the leaf that comes next begins.
    fn toward(self) -> Toward<'static> {
        match self {
            Side::Left => Toward::Last,
            Side::Right => Toward::First,
        }
    }
}

impl Tree {
    /// Places an edge at the leaf that `toward` names, all of whose entries are left.
    fn find_edge<'p, P: Pages>(
        &self,
        pages: &'p P,
        root: Child,
        toward: Toward<'_>,
        edge: &mut Edge<'p>,
    ) -> Result<Leaf<'p>> {
        let child = self.descend_from(pages, toward, &mut edge.way, root, self.level)?;
        edge.is_found = true;
        self.enter(pages, child, edge)
    }

    /// Places an edge, whose way is right already, at its leaf.
    fn enter<'p, P: Pages>(
        &self,
        pages: &'p P,
        child: Child,
        edge: &mut Edge<'p>,
    ) -> Result<Leaf<'p>> {
        let bytes = pages.leaf_bytes(child, self.table)?;
        for line in 1..=HEAD_LINES {
            prefetch_at(bytes.page, line * LINE_BYTES);
        }
        let leaf = Leaf::of(bytes)?;
        (edge.cells, edge.count) = (leaf.cells()?, leaf.len());
        Ok(leaf)
    }

    /// Starts to fetch the neighbouring leaf, if it has the same parent.
    fn prefetch_neighbour<P: Pages>(&self, pages: &P, edge: &Edge<'_>, side: Side) -> Result<()> {
        if self.level == 0 {
            return Ok(());
        }
        let branch = Branch::new(pages.page(edge.way.parent, self.table, 1)?)?;
        if let Some(next) = side.of(edge.way.index(1), branch.len()) {
            pages.prefetch(branch.child(next)?.page);
        }
        Ok(())
    }

    /// Moves an edge to the neighbouring leaf. False: there is none.
    fn step<'p, P: Pages>(&self, pages: &'p P, edge: &mut Edge<'p>, side: Side) -> Result<bool> {
        if self.level == 0 {
            return Ok(false);
        }
        let branch = Branch::new(pages.page(edge.way.parent, self.table, 1)?)?;
        let Some(next) = side.of(edge.way.index(1), branch.len()) else {
            return self.step_above(pages, edge, side);
        };
        edge.way.note(1, edge.way.parent, next);
        // The leaf after this one comes into the cache while this one is read.
        if let Some(beyond) = side.of(next, branch.len()) {
            pages.prefetch(branch.child(beyond)?.page);
        }
        self.enter(pages, branch.child(next)?, edge)?;
        Ok(true)
    }

    /// Moves an edge to the neighbouring leaf, which has another parent. False: there is none.
    fn step_above<'p, P: Pages>(
        &self,
        pages: &'p P,
        edge: &mut Edge<'p>,
        side: Side,
    ) -> Result<bool> {
        let mut path = Path::new();
        let mut at = self.root;
        for level in (2..=self.level).rev() {
            let Some(child) = at else { break };
            let (branch, index) =
                (Branch::new(pages.page(child, self.table, level)?)?, edge.way.index(level));
            path.note(level, child, index);
            at = Some(branch.child(index)?);
        }
        for level in 2..=self.level {
            let Step { child, .. } = path.steps[usize::from(level)];
            let branch = Branch::new(pages.page(child, self.table, level)?)?;
            if let Some(next) = side.of(edge.way.index(level), branch.len()) {
                edge.way.note(level, child, next);
                let (below, toward) = (branch.child(next)?, side.toward());
                let leaf = self.descend_from(pages, toward, &mut edge.way, below, level - 1)?;
                self.enter(pages, leaf, edge)?;
                return Ok(true);
            }
        }
        Ok(false)
    }
}

impl<P> std::fmt::Debug for Range<'_, P> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Range").field("is_done", &self.is_done).finish_non_exhaustive()
    }
}
