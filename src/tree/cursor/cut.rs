//! Ranges cut into pieces of like size, for threads that read side by side.
//! The tree is taken for the interval from 0 to 1, in which all children of a branch have the same
//! share: no page is counted, only the branches on three paths are looked at. A cut lies between
//! two leaves.
#![allow(
    clippy::cast_precision_loss,
    clippy::cast_sign_loss,
    reason = "shares are guesses, and an index is held to its branch"
)]

use super::{Edge, Range, Side, Way};
use crate::{
    error::Result,
    page::branch::Branch,
    pager::Pages,
    tree::{Toward, Trail, Tree},
};
use std::cmp::Ordering;

/// Where a leaf begins in the tree, and how far it reaches.
struct Share {
    begin: f64,
    width: f64,
}

impl<P: Pages> Range<'_, P> {
    /// Cuts what is left of the range into at most `pieces` of like size, in key order; fewer where
    /// there are fewer leaves. The first and the last may be empty.
    ///
    /// Cost: a few descents for each piece; no entry is read.
    ///
    /// # Errors
    /// [`Error::Corrupt`](crate::Error::Corrupt) if a page on the way is damaged.
    pub fn split(self, pieces: usize) -> Result<Vec<Self>> {
        let mut split = Vec::new();
        self.split_into(pieces, &mut split)?;
        Ok(split)
    }

    fn split_into(self, pieces: usize, split: &mut Vec<Self>) -> Result<()> {
        let left_pieces = pieces / 2;
        let cut = if pieces > 1 { self.cut(left_pieces as f64 / pieces as f64)? } else { None };
        if let Some((left, right)) = cut {
            left.split_into(left_pieces, split)?;
            return right.split_into(pieces - left_pieces, split);
        }
        split.push(self);
        Ok(())
    }

    /// Two ranges in the place of this one, the left one with about this part of it; none if it
    /// lies in one leaf.
    pub(crate) fn cut(&self, part: f64) -> Result<Option<(Self, Self)>> {
        if self.is_done || self.is_met {
            return Ok(None);
        }
        let (pages, tree) = (self.pages, &self.tree);
        let (front, back) =
            (self.found(&self.front, Toward::First)?, self.found(&self.back, Toward::Last)?);
        if !tree.is_before(&front.way, &back.way) {
            return Ok(None);
        }
        let (begin, end) = (tree.share(pages, &front.way)?, tree.share(pages, &back.way)?);
        let place = begin.begin + (end.begin + end.width - begin.begin) * part;
        let mut first = front.clone();
        tree.enter_at(pages, place, &mut first)?;
        // Both sides get one leaf at least.
        if !tree.is_before(&front.way, &first.way) {
            first = front;
            if !tree.step(pages, &mut first, Side::Right)? {
                return Ok(None);
            }
        }
        let mut last = first.clone();
        if tree.is_before(&back.way, &first.way) || !tree.step(pages, &mut last, Side::Left)? {
            return Ok(None);
        }
        let (mut left, mut right) = (self.clone(), self.clone());
        (left.back, right.front) = (last, first);
        left.meet();
        right.meet();
        Ok(Some((left, right)))
    }
}

impl<'p, P: Pages> Range<'p, P> {
    /// The edge; one that is open, at the leaf that `toward` names.
    fn found(&self, edge: &Edge<'p>, toward: Toward<'_>) -> Result<Edge<'p>> {
        let mut edge = edge.clone();
        if let Some(root) = self.tree.root.filter(|_| !edge.is_found) {
            self.tree.find_edge(self.pages, root, toward, &mut edge)?;
        }
        Ok(edge)
    }
}

impl Tree {
    /// Whether the leaf of a way comes before that of another.
    fn is_before(&self, way: &Way, other: &Way) -> bool {
        (1..=self.level)
            .rev()
            .map(|level| way.index(level).cmp(&other.index(level)))
            .find(|order| order.is_ne())
            .is_some_and(Ordering::is_lt)
    }

    /// The leaf's share of the tree.
    fn share<P: Pages>(&self, pages: &P, way: &Way) -> Result<Share> {
        let mut share = Share { begin: 0.0, width: 1.0 };
        let mut at = self.root;
        for level in (1..=self.level).rev() {
            let Some(child) = at else { break };
            let branch = Branch::new(pages.page(child, self.table, level)?)?;
            share.width /= branch.len() as f64;
            share.begin += share.width * way.index(level) as f64;
            at = Some(branch.child(way.index(level))?);
        }
        Ok(share)
    }

    /// Places an edge at the leaf that holds this place of the tree.
    fn enter_at<'p, P: Pages>(
        &self,
        pages: &'p P,
        mut place: f64,
        edge: &mut Edge<'p>,
    ) -> Result<()> {
        let Some(mut child) = self.root else { return Ok(()) };
        for level in (1..=self.level).rev() {
            let branch = Branch::new(pages.page(child, self.table, level)?)?;
            place *= branch.len() as f64;
            let index = (place as usize).min(branch.len().saturating_sub(1));
            edge.way.note(level, child, index);
            child = branch.child(index)?;
            place -= index as f64;
        }
        self.enter(pages, child, edge).map(drop)
    }
}
