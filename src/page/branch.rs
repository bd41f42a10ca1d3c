//! Branches: separators and children.

pub use super::cell::{NewKey, Resolve};
use super::{Child, Run};
use crate::error::Result;

/// A branch to read. Child `i` holds the keys `k` with `separator(i) <= k < separator(i + 1)`; the
/// separator of child 0 is empty and means minus infinity.
#[derive(Clone, Copy)]
pub struct Branch<'p> {
    page: &'p [u8],
}

/// A branch to change.
pub struct BranchMut<'p> {
    page: &'p mut [u8],
}

/// A separator as a branch holds it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Separator<'p> {
    /// The page's common prefix, and the rest.
    Inline {
        /// What all inline separators of the page begin with (empty for child 0).
        prefix: &'p [u8],
        /// What follows.
        suffix: &'p [u8],
    },
    /// Where the whole separator is.
    Run(Run),
}

impl<'p> Separator<'p> {
    /// Appends the whole separator to `out`.
    pub fn append_to(self, out: &mut Vec<u8>, resolve: &impl Resolve<'p>) -> Result<()> {
        unimplemented!()
    }
}

/// The shortest `s` with `left < s <= right`: a prefix of `right`. Expects `left < right`.
pub fn shortest_separator<'k>(left: &[u8], right: &'k [u8]) -> &'k [u8] {
    unimplemented!()
}

impl<'p> Branch<'p> {
    /// The branch in `page`; only the header is looked at.
    pub fn new(page: &'p [u8]) -> Result<Branch<'p>> {
        unimplemented!()
    }
    /// The number of children.
    pub fn len(self) -> usize {
        unimplemented!()
    }
    /// Whether there is no child.
    pub fn is_empty(self) -> bool {
        unimplemented!()
    }
    /// The index of the child whose keys `key` is among; an error if there is no child.
    pub fn child_index(self, key: &[u8], resolve: &impl Resolve<'p>) -> Result<usize> {
        unimplemented!()
    }
    /// Child `i`.
    pub fn child(self, i: usize) -> Result<Child> {
        unimplemented!()
    }
    /// The separator of child `i`.
    pub fn separator(self, i: usize) -> Result<Separator<'p>> {
        unimplemented!()
    }
    /// The bytes in use.
    pub fn used_bytes(self) -> usize {
        unimplemented!()
    }
    /// The bytes not in use, dead cells included.
    pub fn free_bytes(self) -> usize {
        unimplemented!()
    }
    /// Where to split so that the children, with one more inserted at `at` behind `separator`, fit two
    /// pages of about the same fill: the number of children, the new one counted, that go left
    /// (1..=len). The separator of the first one right moves up into the parent.
    pub fn split_point(self, at: usize, separator: NewKey<'_>) -> Result<usize> {
        unimplemented!()
    }
}

impl<'p> BranchMut<'p> {
    /// The branch in `page`; only the header is looked at.
    pub fn new(page: &'p mut [u8]) -> Result<BranchMut<'p>> {
        unimplemented!()
    }
    /// The branch, to read.
    pub fn as_branch(&self) -> Branch<'_> {
        unimplemented!()
    }
    /// Inserts a child at `i`. At 0 only into an empty page, and then the separator is not kept; a run
    /// given there stays the caller's. False, and nothing changed: it does not fit.
    pub fn insert(&mut self, i: usize, separator: NewKey<'_>, child: Child) -> Result<bool> {
        unimplemented!()
    }
    /// Removes child `i` and its separator. At 0, child 1 becomes child 0 and its separator is
    /// dropped too; a run in a dropped separator is the caller's to free.
    pub fn remove(&mut self, i: usize) -> Result<()> {
        unimplemented!()
    }
    /// Makes child `i` another one.
    pub fn set_child(&mut self, i: usize, child: Child) -> Result<()> {
        unimplemented!()
    }
    /// Replaces the separator of child `i`, which is not 0. False, and nothing changed: it does not fit.
    pub fn set_separator(&mut self, i: usize, separator: NewKey<'_>) -> Result<bool> {
        unimplemented!()
    }
    /// Removes all children.
    pub fn clear(&mut self) {
        unimplemented!()
    }
    /// Inserts a child behind the last; see [`insert`](Self::insert) for an empty page.
    pub fn push(&mut self, separator: NewKey<'_>, child: Child) -> Result<bool> {
        unimplemented!()
    }
    /// Inserts child `i` of `source`, with its separator, behind the last. Into an empty page the
    /// separator is not kept. Child 0 of `source` goes only into an empty page: elsewhere it needs the
    /// separator that the parent has, so use [`push`](Self::push).
    pub fn push_from(&mut self, source: Branch<'_>, i: usize) -> Result<bool> {
        unimplemented!()
    }
}
