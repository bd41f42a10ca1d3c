//! Entries of a leaf one after the other, from both ends.
//! Owns: [`Cells`]. What a scan pays for an entry is paid here: the next offset, the lengths at the
//! head of its cell, two slices.
//! Keeps I9: a damaged page gives an error or wrong entries, of which there are as many as it
//! counts.

use super::{
    cell::{Cell, CellKey, CellValue},
    damaged,
    delta::IN_BASE,
};
use crate::{
    error::Result,
    storage::map::{LINE_BYTES, prefetch_at},
};

/// How many cells ahead of the one that is taken are being fetched: a short range waits for the
/// first of them, and for all others at once.
pub const AHEAD: usize = 8;
/// How many lines of each: its key, and where its value begins.
const LINES_AHEAD: usize = 2;

/// What is left of a leaf's entries.
#[derive(Clone, Copy)]
pub struct Cells<'p> {
    page: &'p [u8],
    /// Where the cells are whose offsets have [`IN_BASE`].
    base: &'p [u8],
    /// Where the cells of the entries that are left begin, in key order.
    offsets: &'p [[u8; 2]],
    /// Where the leaf's arrays end: no cell begins before.
    first: usize,
}

/// A key and its value as a cell holds them.
pub type CellEntry<'p> = (CellKey<'p>, CellValue<'p>);

impl<'p> Cells<'p> {
    /// No entries.
    pub const NONE: Cells<'static> = Cells { page: &[], base: &[], offsets: &[], first: 0 };

    /// The entries at `offsets` of a page, whose arrays end at `first`, and of its base.
    #[inline]
    pub(super) fn new(
        [page, base]: [&'p [u8]; 2],
        offsets: &'p [[u8; 2]],
        first: usize,
    ) -> Cells<'p> {
        Cells { page, base, offsets, first }
    }

    /// How many are left.
    #[inline]
    pub fn left(&self) -> usize {
        self.offsets.len()
    }

    /// Leaves out the first `count`.
    #[inline]
    pub fn skip(&mut self, count: usize) {
        self.offsets = self.offsets.get(count..).unwrap_or(&[]);
    }

    /// Leaves out all behind the first `count`.
    #[inline]
    pub fn truncate(&mut self, count: usize) {
        self.offsets = self.offsets.get(..count).unwrap_or(self.offsets);
    }

    /// Starts to fetch the cells that [`take_first_short`](Self::take_first_short) takes first.
    #[inline]
    pub fn prefetch_first(&self) {
        for offset in self.offsets.iter().take(AHEAD) {
            self.prefetch(*offset);
        }
    }

    /// Starts to fetch the cells that [`take_last_short`](Self::take_last_short) takes first.
    #[inline]
    pub fn prefetch_last(&self) {
        for offset in self.offsets.iter().rev().take(AHEAD) {
            self.prefetch(*offset);
        }
    }

    #[inline]
    fn prefetch(&self, offset: [u8; 2]) {
        for line in 0..LINES_AHEAD {
            prefetch_at(self.page, usize::from(u16::from_le_bytes(offset)) + line * LINE_BYTES);
        }
    }

    /// Takes the first one if it is short and inline, as nearly all are; none says only that
    /// [`take_first`](Self::take_first) has to look. So that what inlines into a loop is small.
    #[inline]
    pub fn take_first_short(&mut self) -> Option<(&'p [u8], &'p [u8])> {
        let (offset, rest) = self.offsets.split_first()?;
        let entry = self.short(*offset)?;
        if let Some(ahead) = rest.get(AHEAD - 1) {
            self.prefetch(*ahead);
        }
        self.offsets = rest;
        Some(entry)
    }

    /// As [`take_first_short`](Self::take_first_short), the last one.
    #[inline]
    pub fn take_last_short(&mut self) -> Option<(&'p [u8], &'p [u8])> {
        let (offset, rest) = self.offsets.split_last()?;
        let entry = self.short(*offset)?;
        if let Some(ahead) = rest.len().checked_sub(AHEAD).and_then(|at| rest.get(at)) {
            self.prefetch(*ahead);
        }
        self.offsets = rest;
        Some(entry)
    }

    /// Takes the first one.
    pub fn take_first(&mut self) -> Option<Result<CellEntry<'p>>> {
        let (offset, rest) = self.offsets.split_first()?;
        self.offsets = rest;
        Some(self.entry(*offset))
    }

    /// Takes the last one.
    pub fn take_last(&mut self) -> Option<Result<CellEntry<'p>>> {
        let (offset, rest) = self.offsets.split_last()?;
        self.offsets = rest;
        Some(self.entry(*offset))
    }

    #[inline]
    fn short(&self, offset: [u8; 2]) -> Option<(&'p [u8], &'p [u8])> {
        let at = usize::from(u16::from_le_bytes(offset));
        if at < self.first {
            return None;
        }
        // Beyond any page where the cell lies in the base.
        match Cell::read_short(self.page, at) {
            None if at >= IN_BASE => Cell::read_short(self.base, at - IN_BASE),
            entry => entry,
        }
    }

    fn entry(&self, offset: [u8; 2]) -> Result<CellEntry<'p>> {
        let at = usize::from(u16::from_le_bytes(offset));
        if at < self.first {
            return Err(damaged(self.page, "a cell lies among the arrays"));
        }
        let cell = match at.checked_sub(IN_BASE) {
            Some(at) => Cell::read(self.base, at),
            None => Cell::read(self.page, at),
        };
        match cell {
            Some(cell) => Ok((cell.key.cell_key(), cell.value)),
            None => Err(damaged(self.page, "a cell exceeds the page or is none")),
        }
    }
}
