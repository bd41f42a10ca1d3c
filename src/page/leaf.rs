//! Leaves: entries in key order.

use std::ops::Range;

pub use super::cell::{CellKey, CellValue, NewKey, NewValue, Resolve};
use crate::error::Result;

/// A leaf to read.
#[derive(Clone, Copy)]
pub struct Leaf<'p> {
    page: &'p [u8],
}

/// A leaf to change.
pub struct LeafMut<'p> {
    page: &'p mut [u8],
}

impl<'p> Leaf<'p> {
    /// The leaf in `page`; only the header is looked at.
    pub fn new(page: &'p [u8]) -> Result<Leaf<'p>> {
        Ok(Leaf { page })
    }
    /// The number of entries.
    pub fn len(self) -> usize {
        unimplemented!()
    }
    /// Whether there is no entry.
    pub fn is_empty(self) -> bool {
        unimplemented!()
    }
    /// The index of `key`, for a point get; touches only the cells of keys of the same tag.
    pub fn find(self, key: &[u8], resolve: &impl Resolve<'p>) -> Result<Option<usize>> {
        unimplemented!()
    }
    /// The index of `key`, or where it would be inserted; like `slice::binary_search`.
    pub fn search(self, key: &[u8], resolve: &impl Resolve<'p>) -> Result<Result<usize, usize>> {
        unimplemented!()
    }
    /// The key of entry `i`.
    pub fn key(self, i: usize) -> Result<CellKey<'p>> {
        unimplemented!()
    }
    /// The value of entry `i`.
    pub fn value(self, i: usize) -> Result<CellValue<'p>> {
        unimplemented!()
    }
    /// Entry `i`.
    pub fn entry(self, i: usize) -> Result<(CellKey<'p>, CellValue<'p>)> {
        unimplemented!()
    }
    /// What entry `i` takes of the page, its slot included, in bytes.
    pub fn entry_bytes(self, i: usize) -> Result<usize> {
        unimplemented!()
    }
    /// The bytes in use: header, slots, live cells. Two leaves of together at most
    /// `page_bytes - 16` used bytes fit into one.
    pub fn used_bytes(self) -> usize {
        unimplemented!()
    }
    /// The bytes not in use, dead cells included.
    pub fn free_bytes(self) -> usize {
        unimplemented!()
    }
    /// Where to split so that the entries, with (`key`, `value`) inserted at `at`, fit two pages of
    /// about the same fill: the number of entries, the new one counted, that go left (1..=len).
    pub fn split_point(self, at: usize, key: NewKey<'_>, value: NewValue<'_>) -> Result<usize> {
        unimplemented!()
    }
}

impl<'p> LeafMut<'p> {
    /// The leaf in `page`; only the header is looked at.
    pub fn new(page: &'p mut [u8]) -> Result<LeafMut<'p>> {
        Ok(LeafMut { page })
    }
    /// The leaf, to read.
    pub fn as_leaf(&self) -> Leaf<'_> {
        Leaf { page: self.page }
    }
    /// Inserts an entry at `i`. False, and nothing changed: it does not fit.
    pub fn insert(&mut self, i: usize, key: NewKey<'_>, value: NewValue<'_>) -> Result<bool> {
        unimplemented!()
    }
    /// Replaces the value of entry `i`. False, and nothing changed: it does not fit.
    pub fn replace_value(&mut self, i: usize, value: NewValue<'_>) -> Result<bool> {
        unimplemented!()
    }
    /// Removes entry `i`.
    pub fn remove(&mut self, i: usize) -> Result<()> {
        unimplemented!()
    }
    /// Removes the entries `range`.
    pub fn remove_range(&mut self, range: Range<usize>) -> Result<()> {
        unimplemented!()
    }
    /// Removes all entries.
    pub fn clear(&mut self) {
        unimplemented!()
    }
    /// Inserts an entry behind the last.
    pub fn push(&mut self, key: NewKey<'_>, value: NewValue<'_>) -> Result<bool> {
        unimplemented!()
    }
    /// Inserts entry `i` of `source` behind the last.
    pub fn push_from(&mut self, source: Leaf<'_>, i: usize) -> Result<bool> {
        unimplemented!()
    }
}
