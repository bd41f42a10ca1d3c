//! A leaf that is being filled in key order, and laid out once it is full: its arrays are written
//! at their places, where pushing each entry into the page would move them for every one.
//! Owns: [`Filling`]. Absent on purpose: the order of keys, which the tree checks.

use super::{
    CELLS_START, COUNT, GARBAGE_BYTES, HEADER_BYTES, PREFIX_LEN,
    cell::{Cell, NewKey, NewValue, PREFIX_MAX, PartKey},
    damaged,
    heads::{common_len, head},
    leaf::{ARRAYS, Leaf, OFFSETS, TAGS},
    set_field,
    tags::tag,
};
use crate::error::Result;

/// The entries of a leaf to be.
pub struct Filling {
    /// As long as a page; the cells lie where they will in it.
    cells: Vec<u8>,
    start: usize,
    offsets: Vec<u16>,
    tags: Vec<u8>,
}

impl Filling {
    /// A leaf of `page_bytes` without entries.
    pub fn new(page_bytes: usize) -> Filling {
        let (offsets, tags) = (Vec::new(), Vec::new());
        Filling { cells: vec![0; page_bytes], start: page_bytes, offsets, tags }
    }

    /// Whether there is no entry.
    pub fn is_empty(&self) -> bool {
        self.tags.is_empty()
    }

    /// The bytes that are left, about.
    #[inline]
    pub fn free_bytes(&self) -> usize {
        self.start.saturating_sub(ARRAYS.end(self.offsets.len()))
    }

    /// The bytes that an entry takes, about.
    pub fn entry_bytes(key: NewKey<'_>, value: NewValue<'_>) -> usize {
        ARRAYS.entry_bytes() + Cell::new_len(PartKey::new(key), value)
    }

    /// Puts an entry behind the last. False, and nothing changed: it does not fit.
    #[inline]
    pub fn push(&mut self, key: NewKey<'_>, value: NewValue<'_>) -> bool {
        let (NewKey::Inline(whole) | NewKey::Run(_, whole)) = key;
        let key = PartKey::new(key);
        let Some(cell) = self.open(Cell::new_len(key, value)) else {
            return false;
        };
        Cell::write(cell, key, value);
        self.tags.push(tag(whole));
        true
    }

    /// Puts all entries of `leaf` behind the last.
    ///
    /// # Errors
    /// [`Error::Corrupt`](crate::Error::Corrupt) if the leaf is damaged.
    pub fn push_all(&mut self, leaf: Leaf<'_>) -> Result<()> {
        for i in 0..leaf.len() {
            if !self.push_from(leaf, i)? {
                return Err(leaf.damaged("its cells overlap"));
            }
        }
        Ok(())
    }

    /// Puts entry `i` of `leaf` behind the last. False, and nothing changed: it does not fit.
    ///
    /// # Errors
    /// [`Error::Corrupt`](crate::Error::Corrupt) if the leaf is damaged.
    pub fn push_from(&mut self, leaf: Leaf<'_>, i: usize) -> Result<bool> {
        let bytes = leaf.cell_bytes(i)?;
        let Some(cell) = self.open(bytes.len()) else {
            return Ok(false);
        };
        cell.copy_from_slice(bytes);
        self.tags.push(leaf.tag(i));
        Ok(true)
    }

    /// Removes all entries.
    pub fn clear(&mut self) {
        self.start = self.cells.len();
        self.offsets.clear();
        self.tags.clear();
    }

    /// Room for a cell of `len` bytes behind the last, and its offset noted; none if there is none.
    #[inline]
    fn open(&mut self, len: usize) -> Option<&mut [u8]> {
        let end = self.start;
        if ARRAYS.end(self.offsets.len() + 1) + len > end {
            return None;
        }
        self.start = end - len;
        self.offsets.push(self.start as u16);
        Some(&mut self.cells[self.start..end])
    }

    /// Writes all entries to `page`, in the place of what is in it, and is empty again. Of the
    /// page's header number, birth, table, kind and level stay.
    ///
    /// # Errors
    /// [`Error::Corrupt`](crate::Error::Corrupt) if an entry that [`push_all`](Self::push_all) took
    /// was damaged.
    pub fn lay_out(&mut self, page: &mut [u8]) -> Result<()> {
        let count = self.offsets.len();
        page[self.start..].copy_from_slice(&self.cells[self.start..]);
        page[HEADER_BYTES..self.start].fill(0);
        set_field(page, COUNT, count);
        set_field(page, CELLS_START, self.start);
        set_field(page, GARBAGE_BYTES, 0);
        // What first and last begin with in common, all between them do.
        let prefix_len = match (self.offsets.first(), self.offsets.last()) {
            (Some(&first), Some(&last)) => {
                let (first, last) = (self.key_start(first, page)?, self.key_start(last, page)?);
                common_len(first, last).min(PREFIX_MAX)
            }
            _ => 0,
        };
        set_field(page, PREFIX_LEN, prefix_len);
        let at = ARRAYS.start(TAGS, count);
        page[at..at + count].copy_from_slice(&self.tags);
        let at = ARRAYS.start(OFFSETS, count);
        let (places, _) = page[at..].as_chunks_mut();
        for (place, offset) in places.iter_mut().zip(&self.offsets) {
            *place = offset.to_le_bytes();
        }
        for (i, &offset) in self.offsets.iter().enumerate() {
            let rest = self.key_start(offset, page)?.get(prefix_len..);
            let rest = rest.ok_or_else(|| damaged(page, "a key lacks the prefix"))?;
            ARRAYS.set_head(page, count, i, head(rest));
        }
        ARRAYS.fill_up(page, count);
        self.clear();
        Ok(())
    }

    /// What the cell at `offset` has of its key; `page` is named if it is damaged.
    #[inline]
    fn key_start(&self, offset: u16, page: &[u8]) -> Result<&[u8]> {
        let at = usize::from(offset);
        if let Some((key, _)) = Cell::read_short(&self.cells, at) {
            return Ok(key);
        }
        let cell = Cell::read(&self.cells, at);
        cell.map(|cell| cell.key.start)
            .ok_or_else(|| damaged(page, "a cell exceeds the page or is none"))
    }
}
