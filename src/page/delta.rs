//! Deltas: a leaf in memory that names what it shares with the page it was made from.
//! Owns: their layout. A delta is a part of a page: header and arrays as of any leaf, all entries
//! in them; then the cells that it brings; at its end what it stands on. A cell of the base is
//! named by its offset there, marked with [`IN_BASE`]. So a small change of a leaf copies its
//! arrays and no cell, and every search is as of a page.
//! Keeps: a delta always fits into a page when it is folded ([`size_for`] sees to it), so folding
//! changes nothing but bytes. No delta is ever written to a file.
//! Absent on purpose: how long the base stays (`pager`).
//!
//! Source of the idea: the delta pages of the Bw-tree (Levandoski, Lomet, Sengupta, ICDE 2013), of
//! which this keeps one, with a search of its own, in place of a chain.

use super::{
    CELLS_START, COUNT, Child, GARBAGE_BYTES, HEADER_BYTES, PREFIX_LEN, PageId,
    cell::PREFIX_MAX,
    child, damaged, field,
    heads::{common_len, head},
    leaf::{ARRAYS, Leaf, LeafBytes, LeafMut, OFFSETS},
    set_field, wide_field,
};
use crate::{
    error::Result,
    options::{PAGE_BYTES_MAX, PAGE_BYTES_MIN},
};
use std::ops::Range;

/// Marks the offset of a cell in the base: more than any offset in a page.
pub const IN_BASE: usize = 1 << 15;
const _: () = assert!(PAGE_BYTES_MAX <= IN_BASE);

/// What stands at a delta's end: number and birth of the base, the bytes of its cells in use.
const TRAILER_BYTES: usize = 12;

/// How long a delta is: an eighth of a page, or a quarter. What takes more is copied whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Size(u8);

/// How many sizes there are.
pub const SIZES: usize = 2;
/// The smaller size is the page's length shifted by so much.
const SHIFT: usize = 3;
const _: () = assert!(PAGE_BYTES_MIN >> SHIFT >= 2 * HEADER_BYTES + TRAILER_BYTES);

impl Size {
    /// All of them, ascending.
    pub const ALL: [Size; SIZES] = [Size(0), Size(1)];

    /// Which of [`ALL`](Self::ALL) it is.
    #[inline]
    pub fn index(self) -> usize {
        usize::from(self.0)
    }

    /// The length of a delta over a page of `page_bytes`.
    #[inline]
    pub fn bytes(self, page_bytes: usize) -> usize {
        page_bytes >> (SHIFT - self.index())
    }

    /// The least in which so many bytes of arrays and cells find room.
    fn of(bytes: usize, page_bytes: usize) -> Option<Size> {
        Size::ALL.into_iter().find(|size| bytes + TRAILER_BYTES <= size.bytes(page_bytes))
    }
}

/// What a change puts into a leaf.
#[derive(Clone, Copy, Debug)]
pub struct Change {
    /// The bytes of the new cell; 0 for a removal.
    pub cell: usize,
    /// The entry that it replaces or removes; none for a new one.
    pub gone: Option<usize>,
}

/// The least size of a delta that is `leaf`, or stands on it, in which there is room for a change;
/// none if there is no such, or it would no longer fit into a page.
///
/// # Errors
/// [`Error::Corrupt`](crate::Error::Corrupt) if the leaf is damaged.
pub fn size_for(leaf: Leaf<'_>, change: Change) -> Result<Option<Size>> {
    let mut own = if leaf.base.is_empty() { 0 } else { leaf.own_bytes() };
    // What is there is copied before it is changed.
    let before = ARRAYS.end(leaf.len()) + own;
    let mut cells = leaf.used_bytes() - ARRAYS.end(leaf.len());
    let mut count = leaf.len() + 1;
    if let Some(gone) = change.gone {
        let len = leaf.cell(gone)?.len;
        count = leaf.len();
        cells = cells.saturating_sub(len);
        if !leaf.base.is_empty() && leaf.offset(gone)? < IN_BASE {
            own = own.saturating_sub(len);
        }
    }
    let page_bytes = leaf.page_bytes();
    if ARRAYS.end(count) + cells + change.cell > page_bytes {
        return Ok(None);
    }
    Ok(Size::of(before.max(ARRAYS.end(count) + own + change.cell), page_bytes))
}

/// Makes `delta` stand for the leaf in `page`, and on it.
///
/// # Errors
/// [`Error::Corrupt`](crate::Error::Corrupt) if the leaf is damaged.
pub fn begin(delta: &mut [u8], page: &[u8]) -> Result<()> {
    let leaf = Leaf::new(page)?;
    let count = leaf.len();
    let cells = leaf.used_bytes() - ARRAYS.end(count);
    let end = ARRAYS.end(count);
    // What was there when room was asked for may have been read from disk again since.
    if end + TRAILER_BYTES > delta.len() {
        return Err(leaf.damaged("its entries exceed the delta"));
    }
    delta[..end].copy_from_slice(&page[..end]);
    delta[end..].fill(0);
    let start = ARRAYS.start(OFFSETS, count);
    for offset in delta[start..start + 2 * count].as_chunks_mut().0 {
        *offset = (u16::from_le_bytes(*offset) | IN_BASE as u16).to_le_bytes();
    }
    let at = delta.len() - TRAILER_BYTES;
    set_field(delta, CELLS_START, at);
    set_field(delta, GARBAGE_BYTES, 0);
    set_base(delta, child(page));
    set_base_bytes(delta, cells);
    Ok(())
}

/// The least sizes of two deltas, of the first `left` entries of a leaf and of the others, in which
/// there is room for a new entry on each side, of which the cells take `new` bytes; none if one has
/// none.
///
/// # Errors
/// [`Error::Corrupt`](crate::Error::Corrupt) if the leaf is damaged.
pub fn sizes_for_parts(leaf: Leaf<'_>, left: usize, new: [usize; 2]) -> Result<Option<[Size; 2]>> {
    let mut sizes = Some([Size::ALL[0]; 2]);
    for (side, part) in [0..left, left..leaf.len()].into_iter().enumerate() {
        let mut taken = ARRAYS.end(part.len() + 1) + new[side];
        if !leaf.base.is_empty() {
            for i in part {
                taken += if leaf.offset(i)? < IN_BASE { leaf.cell(i)?.len } else { 0 };
            }
        }
        match (&mut sizes, Size::of(taken, leaf.page_bytes())) {
            (Some(sizes), Some(size)) => sizes[side] = size,
            _ => sizes = None,
        }
    }
    Ok(sizes)
}

/// Makes `delta` stand for the entries `part` of a leaf: over the page, or over what a delta stands
/// on.
///
/// # Errors
/// [`Error::Corrupt`](crate::Error::Corrupt) if the leaf is damaged.
pub fn begin_part(delta: &mut [u8], bytes: LeafBytes<'_>, part: Range<usize>) -> Result<()> {
    let leaf = Leaf::of(bytes)?;
    let (count, old_count) = (part.len(), leaf.len());
    let base = if leaf.base.is_empty() { child(leaf.page) } else { base(leaf.page) };
    delta[..HEADER_BYTES].copy_from_slice(&leaf.page[..HEADER_BYTES]);
    let end = ARRAYS.end(count);
    let mut at = delta.len() - TRAILER_BYTES;
    delta[HEADER_BYTES..at].fill(0);
    for (which, width) in ARRAYS.widths.into_iter().enumerate() {
        let (from, to) = (ARRAYS.start(which, old_count), ARRAYS.start(which, count));
        let from = &leaf.page[from + width * part.start..from + width * part.end];
        delta[to..to + from.len()].copy_from_slice(from);
    }
    ARRAYS.fill_up(delta, count);
    let mut base_bytes = 0;
    for (to, i) in part.clone().enumerate() {
        let (offset, cell) = (leaf.offset(i)?, leaf.cell_bytes(i)?);
        let offset = if offset >= IN_BASE || leaf.base.is_empty() {
            base_bytes += cell.len();
            offset | IN_BASE
        } else {
            at = match at.checked_sub(cell.len()) {
                Some(at) if at >= end => at,
                _ => return Err(leaf.damaged("its cells take more room than a delta has")),
            };
            delta[at..at + cell.len()].copy_from_slice(cell);
            at
        };
        let place = ARRAYS.start(OFFSETS, count) + 2 * to;
        delta[place..place + 2].copy_from_slice(&(offset as u16).to_le_bytes());
    }
    set_field(delta, COUNT, count);
    set_field(delta, CELLS_START, at);
    set_field(delta, GARBAGE_BYTES, 0);
    set_base(delta, base);
    set_base_bytes(delta, base_bytes);
    lengthen_prefix(delta, leaf, part)
}

/// Makes `delta` stand for what another delta, of another length, stands for.
///
/// # Errors
/// [`Error::Corrupt`](crate::Error::Corrupt) if that one is damaged.
pub fn resize(delta: &mut [u8], bytes: LeafBytes<'_>) -> Result<()> {
    let leaf = Leaf::over(bytes)?;
    let (end, start) = (ARRAYS.end(leaf.len()), ARRAYS.start(OFFSETS, leaf.len()));
    let mut at = delta.len() - TRAILER_BYTES;
    if end > at {
        return Err(leaf.damaged("its entries exceed the delta"));
    }
    delta[..end].copy_from_slice(&bytes.page[..end]);
    delta[at..].copy_from_slice(&bytes.page[bytes.page.len() - TRAILER_BYTES..]);
    for i in 0..leaf.len() {
        if leaf.offset(i)? >= IN_BASE {
            continue;
        }
        let cell = leaf.cell_bytes(i)?;
        at = match at.checked_sub(cell.len()) {
            Some(at) if at >= end => at,
            _ => return Err(leaf.damaged("its cells take more room than a delta has")),
        };
        delta[at..at + cell.len()].copy_from_slice(cell);
        delta[start + 2 * i..start + 2 * i + 2].copy_from_slice(&(at as u16).to_le_bytes());
    }
    delta[end..at].fill(0);
    set_field(delta, CELLS_START, at);
    set_field(delta, GARBAGE_BYTES, 0);
    Ok(())
}

/// Sets the prefix to what the entries `part` of `leaf`, which are those of `delta`, have in
/// common.
fn lengthen_prefix(delta: &mut [u8], leaf: Leaf<'_>, part: Range<usize>) -> Result<()> {
    let Some(last) = part.end.checked_sub(1).filter(|last| part.contains(last)) else {
        return Ok(());
    };
    let start = |i: usize| leaf.cell(i).map(|cell| cell.key.start);
    let len = common_len(start(part.start)?, start(last)?).min(PREFIX_MAX);
    if len <= field(delta, PREFIX_LEN) {
        return Ok(());
    }
    set_field(delta, PREFIX_LEN, len);
    let count = part.len();
    for (to, i) in part.enumerate() {
        let rest = start(i)?.get(len..).ok_or_else(|| leaf.damaged("a key lacks the prefix"))?;
        ARRAYS.set_head(delta, count, to, head(rest));
    }
    Ok(())
}

/// What a delta stands on.
pub fn base(delta: &[u8]) -> Child {
    let at = delta.len() - TRAILER_BYTES;
    let (page, birth) = (wide_field(delta, at..at + 4), wide_field(delta, at + 4..at + 8));
    Child { page: PageId(page), birth }
}

/// Where the cells of a leaf end.
pub(super) fn cells_end(page: &[u8], base: &[u8]) -> usize {
    page.len() - if base.is_empty() { 0 } else { TRAILER_BYTES }
}

fn base_bytes_at(delta: &[u8]) -> Range<usize> {
    let end = delta.len() - TRAILER_BYTES + 8;
    end..end + 2
}

fn set_base(delta: &mut [u8], base: Child) {
    let at = delta.len() - TRAILER_BYTES;
    delta[at..at + 4].copy_from_slice(&base.page.0.to_le_bytes());
    delta[at + 4..at + 8].copy_from_slice(&base.birth.to_le_bytes());
}

fn set_base_bytes(delta: &mut [u8], bytes: usize) {
    set_field(delta, base_bytes_at(delta), bytes);
}

/// Writes a delta to `page`, as the page that it stands for. The cells of the base stay where they
/// are there, those given up among them, unless that leaves too little room.
///
/// # Errors
/// [`Error::Corrupt`](crate::Error::Corrupt) if the delta or its base is damaged.
pub fn fold(bytes: LeafBytes<'_>, page: &mut [u8]) -> Result<()> {
    let leaf = Leaf::over(bytes)?;
    let end = ARRAYS.end(leaf.len());
    let base_start = field(bytes.base, CELLS_START);
    if end > page.len() || base_start > page.len() || bytes.base.len() != page.len() {
        return Err(leaf.damaged("its entries exceed the page"));
    }
    page[..end].copy_from_slice(&bytes.page[..end]);
    let keeps_places = end + leaf.own_bytes() <= base_start;
    let (mut at, mut garbage) = (page.len(), 0);
    if keeps_places {
        at = base_start;
        page[at..].copy_from_slice(&bytes.base[at..]);
        garbage = (page.len() - at).saturating_sub(leaf.base_bytes());
    }
    let start = ARRAYS.start(OFFSETS, leaf.len());
    for i in 0..leaf.len() {
        let mut offset = leaf.offset(i)?;
        if keeps_places && offset >= IN_BASE {
            offset -= IN_BASE;
        } else {
            let cell = leaf.cell_bytes(i)?;
            at = match at.checked_sub(cell.len()) {
                Some(at) if at >= end => at,
                _ => return Err(leaf.damaged("its cells take more room than a page has")),
            };
            page[at..at + cell.len()].copy_from_slice(cell);
            offset = at;
        }
        page[start + 2 * i..start + 2 * i + 2].copy_from_slice(&(offset as u16).to_le_bytes());
    }
    page[end..at].fill(0);
    set_field(page, CELLS_START, at);
    set_field(page, GARBAGE_BYTES, garbage);
    Ok(())
}

impl<'p> Leaf<'p> {
    /// The leaf in a delta over `bytes.base`.
    ///
    /// # Errors
    /// [`Error::Corrupt`](crate::Error::Corrupt) if it is none.
    pub(super) fn over(bytes: LeafBytes<'p>) -> Result<Leaf<'p>> {
        let LeafBytes { page, base } = bytes;
        let count = field(page, COUNT);
        let start = field(page, CELLS_START);
        if ARRAYS.end(count) > start || start > cells_end(page, base) {
            return Err(damaged(page, "its entries exceed the delta"));
        }
        Ok(Leaf { page, base, count })
    }

    /// The bytes of the cells in use that a delta brings.
    pub(super) fn own_bytes(self) -> usize {
        let all = cells_end(self.page, self.base).saturating_sub(field(self.page, CELLS_START));
        all.saturating_sub(field(self.page, GARBAGE_BYTES))
    }

    /// The bytes of the cells in use of a delta's base.
    pub(super) fn base_bytes(self) -> usize {
        field(self.page, base_bytes_at(self.page))
    }

    /// As [`check_cells`](Self::check_cells), of a delta.
    pub(super) fn check_delta_cells(self, cells: Vec<(usize, usize)>) -> Result<()> {
        let (own, base): (Vec<_>, Vec<_>) = cells.into_iter().partition(|&(at, _)| at < IN_BASE);
        if base.iter().map(|(_, len)| len).sum::<usize>() != self.base_bytes() {
            return Err(self.damaged("it uses more or less of its base than it says"));
        }
        super::check_cells(self.page, cells_end(self.page, self.base), own)
    }
}

impl<'p> LeafMut<'p> {
    /// The leaf in a delta, to change: as a page, within what [`size_for`] allows.
    ///
    /// # Errors
    /// [`Error::Corrupt`](crate::Error::Corrupt) if it is none.
    pub fn over(page: &'p mut [u8], base: &'p [u8]) -> Result<LeafMut<'p>> {
        Leaf::over(LeafBytes { page, base })?;
        Ok(LeafMut { page, base })
    }

    /// Gives up a cell of `len` bytes in the base.
    pub(super) fn drop_in_base(&mut self, len: usize) {
        let bytes = self.as_leaf().base_bytes().saturating_sub(len);
        set_base_bytes(self.page, bytes);
    }
}
