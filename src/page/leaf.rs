//! Leaves: entries in key order, found by the hash of their key or by order.
//! Owns: [`Leaf`], [`Lookup`], [`LeafMut`] and the layout: header, one-byte tags, 16-bit cell
//! offsets, 32-bit heads (see [`heads`](super::heads)), free space, cells. Cells hold whole keys
//! and values, so that a scan lends them; the common prefix is skipped when comparing, and read
//! from the first key.
//! Keeps I9: a damaged page gives an error or a wrong entry, never a panic.
//! In memory a leaf may be a delta over another one (see [`delta`](super::delta)): then some of its
//! cells lie there.
//! Absent on purpose: what to do when a page is full; that is the tree's.

use std::{cmp::Ordering, ops::Range};

pub use super::cell::{CellKey, CellValue, NewKey, NewValue, Resolve};
use super::{
    CELLS_START, COUNT, GARBAGE_BYTES, HEADER_BYTES, Kind, PREFIX_LEN, Run,
    arrays::Arrays,
    cell::{Cell, PartKey, is_same},
    cells::Cells,
    check_header, check_index, damaged,
    delta::{IN_BASE, cells_end},
    drop_cell, expected_header, field, free_bytes,
    heads::{HEAD_BYTES, Heads, common_len, head},
    read_u16, set_field,
    split::balanced_cut,
    tags::{TAGS_AT_ONCE, matches, tag},
};
use crate::{
    error::{Error, Result},
    storage::map::{LINE_BYTES, prefetch_at},
};

pub(super) const TAGS: usize = 0;
pub(super) const OFFSETS: usize = 1;
const HEADS: usize = 2;
/// Tags, offsets, heads.
pub const ARRAYS: Arrays<3> =
    Arrays { widths: [1, 2, HEAD_BYTES], heads: HEADS, is_sampled: false };

/// The bytes of a leaf.
#[derive(Clone, Copy)]
pub struct LeafBytes<'p> {
    /// The page, or a delta.
    pub page: &'p [u8],
    /// The page that a delta stands on; empty of any other leaf.
    pub base: &'p [u8],
}

impl<'p> LeafBytes<'p> {
    /// Those of a page.
    #[inline]
    pub fn whole(page: &'p [u8]) -> LeafBytes<'p> {
        LeafBytes { page, base: &[] }
    }
}

/// A leaf to read.
#[derive(Clone, Copy)]
pub struct Leaf<'p> {
    pub(super) page: &'p [u8],
    pub(super) base: &'p [u8],
    pub(super) count: usize,
}

/// A lookup that has seen the header and the first tags.
#[derive(Clone, Copy)]
pub struct Lookup<'p> {
    leaf: Leaf<'p>,
    tag: u8,
    /// The first tags that equal it; see [`matches`].
    hits: u64,
}

impl<'p> Lookup<'p> {
    /// Begins the lookup of `key` in the leaf in a page that [`expect`](super::expect) has let
    /// pass: nobody asks whether its arrays end before its cells begin.
    #[allow(clippy::inline_always, reason = "as of a branch")]
    #[inline(always)]
    pub fn begin(bytes: LeafBytes<'p>, key: &[u8]) -> Result<Lookup<'p>> {
        let LeafBytes { page, base } = bytes;
        Ok(Leaf { page, base, count: expected_header(page)?.count }.lookup(key))
    }

    /// Starts to fetch the cell that is likely to be the key's.
    #[inline]
    pub fn prefetch(&self) {
        let i = self.hits.trailing_zeros() as usize;
        if i < self.leaf.count
            && let Ok(at) = self.leaf.place(i)
        {
            // The key, and where the value begins.
            let (bytes, at) = self.leaf.spot(at);
            prefetch_at(bytes, at);
            prefetch_at(bytes, at + LINE_BYTES);
        }
    }

    /// The index and the value of `key`, if it is there.
    #[allow(clippy::inline_always, reason = "as of a branch")]
    #[inline(always)]
    pub fn entry(
        self,
        key: &[u8],
        resolve: &impl Resolve<'p>,
    ) -> Result<Option<(usize, CellValue<'p>)>> {
        let Lookup { leaf, tag, mut hits } = self;
        let mut first = 0;
        loop {
            while hits != 0 {
                let i = first + hits.trailing_zeros() as usize;
                if i >= leaf.count {
                    return Ok(None);
                }
                match Cell::read_short(leaf.page, leaf.place(i)?) {
                    Some((other, value)) if is_same(other, key) => {
                        return Ok(Some((i, CellValue::Inline(value))));
                    }
                    Some(_) => {}
                    None => {
                        if let Some(value) = leaf.value_if(i, key, resolve)? {
                            return Ok(Some((i, value)));
                        }
                    }
                }
                hits &= hits - 1;
            }
            first += TAGS_AT_ONCE;
            if first >= leaf.count {
                return Ok(None);
            }
            hits = matches(leaf.page, ARRAYS.start(TAGS, leaf.count) + first, tag);
        }
    }
}

impl<'p> Leaf<'p> {
    /// The leaf in `page`; only the header is looked at.
    ///
    /// # Errors [`Error::Corrupt`](crate::Error::Corrupt), here and below, if the page is not what
    /// a leaf can be.
    #[allow(clippy::inline_always, reason = "as of a branch")]
    #[inline(always)]
    pub fn new(page: &'p [u8]) -> Result<Leaf<'p>> {
        let head = check_header(page, Kind::Leaf, |count| ARRAYS.end(count))?;
        Ok(Leaf { page, base: &[], count: head.count })
    }

    /// The leaf in a page, or in a delta over one.
    #[allow(clippy::inline_always, reason = "as of a branch")]
    #[inline(always)]
    pub fn of(bytes: LeafBytes<'p>) -> Result<Leaf<'p>> {
        if bytes.base.is_empty() { Leaf::new(bytes.page) } else { Leaf::over(bytes) }
    }

    /// The number of entries.
    #[inline]
    pub fn len(self) -> usize {
        self.count
    }

    /// Whether there is no entry.
    pub fn is_empty(self) -> bool {
        self.count == 0
    }

    /// The index of `key`, for a point get; touches only the cells of keys of the same tag.
    pub fn find(self, key: &[u8], resolve: &impl Resolve<'p>) -> Result<Option<usize>> {
        Ok(self.lookup(key).entry(key, resolve)?.map(|(i, _)| i))
    }

    /// Begins a lookup.
    #[allow(clippy::inline_always, reason = "as of a branch")]
    #[inline(always)]
    fn lookup(self, key: &[u8]) -> Lookup<'p> {
        let tag = tag(key);
        let hits = matches(self.page, ARRAYS.start(TAGS, self.count), tag);
        Lookup { leaf: self, tag, hits }
    }

    /// The value of entry `i`, which has a long part, if its key is `key`.
    // Apart, as `child_index_among_equal` of a branch.
    #[inline(never)]
    fn value_if(
        self,
        i: usize,
        key: &[u8],
        resolve: &impl Resolve<'p>,
    ) -> Result<Option<CellValue<'p>>> {
        let cell = self.cell(i)?;
        Ok(cell.key.equals(key, resolve)?.then_some(cell.value))
    }

    /// The index of `key`, or where it would be inserted; like `slice::binary_search`.
    #[inline]
    pub fn search(self, key: &[u8], resolve: &impl Resolve<'p>) -> Result<Result<usize, usize>> {
        if self.count == 0 {
            return Ok(Err(0));
        }
        let prefix = self.prefix()?;
        let Some(rest) = key.strip_prefix(prefix) else {
            return Ok(Err(if key < prefix { 0 } else { self.count }));
        };
        let heads = Heads::new(self.page, ARRAYS.start(HEADS, self.count), self.count);
        let head = head(rest);
        let mut from = heads.lower_bound(head);
        if heads.get(from) != head {
            return Ok(Err(from));
        }
        let mut to = heads.end_of_equal(from, head);
        while from < to {
            let middle = from.midpoint(to);
            match self.compare(middle, key, resolve)? {
                Ordering::Less => from = middle + 1,
                Ordering::Equal => return Ok(Ok(middle)),
                Ordering::Greater => to = middle,
            }
        }
        Ok(Err(from))
    }

    /// The key of entry `i`; an error, here and below, if there is no such entry.
    #[inline]
    pub fn key(self, i: usize) -> Result<CellKey<'p>> {
        Ok(self.entry(i)?.0)
    }

    /// Entry `i`.
    #[inline]
    pub fn entry(self, i: usize) -> Result<(CellKey<'p>, CellValue<'p>)> {
        match Cell::read_short(self.page, self.offset(i)?) {
            Some((key, value)) => Ok((CellKey::Inline(key), CellValue::Inline(value))),
            None => self.cell(i).map(|cell| (cell.key.cell_key(), cell.value)),
        }
    }

    /// All entries, to be taken one by one.
    ///
    /// # Errors
    /// [`Error::Corrupt`](crate::Error::Corrupt) if the page ends before their offsets do.
    #[inline]
    pub fn cells(self) -> Result<Cells<'p>> {
        let start = ARRAYS.start(OFFSETS, self.count);
        match self.page.get(start..start + 2 * self.count) {
            Some(offsets) => {
                let offsets = offsets.as_chunks().0;
                Ok(Cells::new([self.page, self.base], offsets, ARRAYS.end(self.count)))
            }
            None => Err(damaged(self.page, "its entries exceed the page")),
        }
    }

    /// The bytes in use: header, arrays, live cells. Two leaves fit into one if they use, together,
    /// at most [`HEADER_BYTES`] more than a page. Those of a delta are what it takes as a page.
    pub fn used_bytes(self) -> usize {
        self.page_bytes() - self.free_bytes()
    }

    /// The bytes not in use, dead cells included.
    pub fn free_bytes(self) -> usize {
        if self.base.is_empty() {
            return free_bytes(self.page, ARRAYS.end(self.count));
        }
        let used = ARRAYS.end(self.count) + self.own_bytes() + self.base_bytes();
        self.base.len().saturating_sub(used)
    }

    /// The length of a whole page.
    #[inline]
    pub(super) fn page_bytes(self) -> usize {
        if self.base.is_empty() { self.page.len() } else { self.base.len() }
    }

    /// Where to split so that the entries, with (`key`, `value`) inserted at `at`, fit two pages of
    /// about the same fill: the number of entries, the new one counted, that go left (1..=len).
    /// There always is one if each entry keeps to the limits of [`cell`](super::cell).
    pub fn split_point(self, at: usize, key: NewKey<'_>, value: NewValue<'_>) -> Result<usize> {
        let cells = (0..self.count).map(|i| Ok(self.cell(i)?.len));
        let mut cells = cells.collect::<Result<Vec<usize>>>()?;
        check_index(self.page, at, cells.len() + 1)?;
        cells.insert(at, Cell::new_len(PartKey::new(key), value));
        let entries: Vec<usize> = cells.iter().map(|len| len + ARRAYS.entry_bytes()).collect();
        let total: usize = cells.iter().sum();
        let cut = balanced_cut(&entries, |cut| {
            let left: usize = cells[..cut].iter().sum();
            ARRAYS.end(cut) + left <= self.page_bytes()
                && ARRAYS.end(cells.len() - cut) + total - left <= self.page_bytes()
        });
        cut.ok_or_else(|| damaged(self.page, "an entry exceeds half a page"))
    }

    /// Checks that its cells lie side by side and that what it says of their room is so.
    pub fn check_cells(self) -> Result<()> {
        let cells = (0..self.count).map(|i| Ok((self.offset(i)?, self.cell(i)?.len)));
        let cells = cells.collect::<Result<_>>()?;
        if self.base.is_empty() {
            return super::check_cells(self.page, self.page.len(), cells);
        }
        self.check_delta_cells(cells)
    }

    /// Where the cell of entry `i` is; with [`IN_BASE`] if that is in the base.
    #[inline]
    pub(super) fn offset(self, i: usize) -> Result<usize> {
        check_index(self.page, i, self.count)?;
        // A cell that is changed in place must not be header or arrays.
        match self.place(i)? {
            offset if offset >= ARRAYS.end(self.count) => Ok(offset),
            _ => Err(damaged(self.page, "a cell lies among the arrays")),
        }
    }

    /// The page that an offset is in, and the place there.
    #[inline]
    pub(super) fn spot(self, offset: usize) -> (&'p [u8], usize) {
        if offset < IN_BASE { (self.page, offset) } else { (self.base, offset - IN_BASE) }
    }

    /// Where the cell of entry `i` is said to be, for who only compares what is there.
    #[inline]
    fn place(self, i: usize) -> Result<usize> {
        match read_u16(self.page, ARRAYS.start(OFFSETS, self.count) + 2 * i) {
            Some(offset) => Ok(usize::from(offset)),
            None => Err(damaged(self.page, "its entries exceed the page")),
        }
    }

    /// How the key of entry `i` compares with `key`.
    #[inline]
    fn compare(self, i: usize, key: &[u8], resolve: &impl Resolve<'p>) -> Result<Ordering> {
        match Cell::read_short(self.page, self.offset(i)?) {
            Some((other, _)) => Ok(other.cmp(key)),
            None => self.cell(i)?.key.compare(key, resolve),
        }
    }

    /// The cell of entry `i`.
    pub(super) fn cell(self, i: usize) -> Result<Cell<'p>> {
        let (bytes, at) = self.spot(self.offset(i)?);
        match Cell::read(bytes, at) {
            Some(cell) => Ok(cell),
            None => Err(damaged(self.page, "a cell exceeds the page or is none")),
        }
    }

    /// The bytes of the cell of entry `i`.
    pub(super) fn cell_bytes(self, i: usize) -> Result<&'p [u8]> {
        let ((bytes, at), cell) = (self.spot(self.offset(i)?), self.cell(i)?);
        Ok(&bytes[at..at + cell.len])
    }

    /// Damage in this leaf.
    pub(crate) fn damaged(self, reason: &str) -> Error {
        damaged(self.page, reason)
    }

    /// What all keys begin with; the page is not empty.
    #[inline]
    fn prefix(self) -> Result<&'p [u8]> {
        let len = field(self.page, PREFIX_LEN);
        if len == 0 {
            return Ok(&[]);
        }
        let start = match Cell::read_short(self.page, self.offset(0)?) {
            Some((key, _)) => key,
            None => self.cell(0)?.key.start,
        };
        let prefix = start.get(..len);
        prefix.ok_or_else(|| damaged(self.page, "its first key is shorter than the prefix"))
    }

    /// The tag of entry `i`.
    pub(super) fn tag(self, i: usize) -> u8 {
        self.page[ARRAYS.start(TAGS, self.count) + i]
    }
}

/// A leaf to change. An error can leave a change half done: only what undoes the whole transaction
/// may follow.
pub struct LeafMut<'p> {
    pub(super) page: &'p mut [u8],
    /// As of [`LeafBytes`].
    pub(super) base: &'p [u8],
}

impl<'p> LeafMut<'p> {
    /// The leaf in `page`; only the header is looked at.
    pub fn new(page: &'p mut [u8]) -> Result<LeafMut<'p>> {
        Leaf::new(page)?;
        Ok(LeafMut { page, base: &[] })
    }

    /// The leaf, to read.
    #[inline]
    pub fn as_leaf(&self) -> Leaf<'_> {
        let count = field(self.page, COUNT);
        Leaf { page: self.page, base: self.base, count }
    }

    /// Inserts an entry at `i`. False, and nothing changed: it does not fit.
    pub fn insert(&mut self, i: usize, key: NewKey<'_>, value: NewValue<'_>) -> Result<bool> {
        let tag = match key {
            NewKey::Inline(whole) | NewKey::Run(_, whole) => tag(whole),
        };
        let key = PartKey::new(key);
        let len = Cell::new_len(key, value);
        self.insert_cell(i, tag, key.start, len, |cell| Cell::write(cell, key, value))
    }

    /// Replaces the value of entry `i`. False, and nothing changed: it does not fit.
    pub fn replace_value(&mut self, i: usize, value: NewValue<'_>) -> Result<bool> {
        let leaf = self.as_leaf();
        let (at, old) = (leaf.offset(i)?, leaf.cell(i)?);
        let new_len = Cell::new_len(old.key, value);
        let (old_len, value_len) = (old.len, old.value.bytes_in_cell());
        if at < IN_BASE && old.can_overwrite(value) {
            let spare = old_len - new_len;
            Cell::overwrite(&mut self.page[at..at + old_len], value_len, value);
            let garbage = (field(self.page, GARBAGE_BYTES) + spare).min(self.page.len());
            set_field(self.page, GARBAGE_BYTES, garbage);
            return Ok(true);
        }
        if leaf.free_bytes() + old_len < new_len {
            return Ok(false);
        }
        let mut cell = vec![0; new_len];
        Cell::write(&mut cell, old.key, value);
        self.drop(at, old_len);
        if self.gap_bytes() < new_len {
            self.compact(Some(i))?;
        }
        if self.gap_bytes() < new_len {
            return Err(damaged(self.page, "it has less room than it says"));
        }
        let at = field(self.page, CELLS_START) - new_len;
        self.page[at..at + new_len].copy_from_slice(&cell);
        set_field(self.page, CELLS_START, at);
        self.set_offset(i, at);
        Ok(true)
    }

    /// Says that the key of entry `i`, which lies in a run, now lies in `run`, which holds the
    /// same.
    pub fn move_key_run(&mut self, i: usize, run: Run) -> Result<()> {
        let leaf = self.as_leaf();
        let (at, cell) = (leaf.offset(i)?, leaf.cell(i)?);
        debug_assert!(at < IN_BASE, "only whole leaves name runs anew");
        if cell.key.run.is_none_or(|old| old.len != run.len) {
            return Err(damaged(self.page, "a key in a run was meant"));
        }
        let len = cell.len;
        Cell::overwrite_key_run(&mut self.page[at..at + len], run);
        Ok(())
    }

    /// Removes entry `i`.
    pub fn remove(&mut self, i: usize) -> Result<()> {
        self.remove_range(i..i + 1)
    }

    /// Removes the entries `range`.
    pub fn remove_range(&mut self, range: Range<usize>) -> Result<()> {
        let count = self.as_leaf().count;
        check_index(self.page, range.end, count + 1)?;
        check_index(self.page, range.start, range.end + 1)?;
        if range.len() == count {
            self.clear();
            return Ok(());
        }
        for i in range.clone() {
            let leaf = self.as_leaf();
            let (at, len) = (leaf.offset(i)?, leaf.cell(i)?.len);
            self.drop(at, len);
        }
        ARRAYS.close(self.page, count, range.start, range.end);
        set_field(self.page, COUNT, count - range.len());
        Ok(())
    }

    /// Gives up the cell of `len` bytes at `at`.
    fn drop(&mut self, at: usize, len: usize) {
        if at < IN_BASE { drop_cell(self.page, at, len) } else { self.drop_in_base(len) }
    }

    /// Removes all entries.
    pub fn clear(&mut self) {
        let page_bytes = self.page.len();
        self.page[HEADER_BYTES..].fill(0);
        set_field(self.page, COUNT, 0);
        set_field(self.page, PREFIX_LEN, 0);
        set_field(self.page, CELLS_START, page_bytes);
        set_field(self.page, GARBAGE_BYTES, 0);
    }

    /// Inserts an entry behind the last.
    pub fn push(&mut self, key: NewKey<'_>, value: NewValue<'_>) -> Result<bool> {
        self.insert(self.as_leaf().count, key, value)
    }

    /// Inserts entry `i` of `source` behind the last, at the cost of a copy of its bytes.
    pub fn push_from(&mut self, source: Leaf<'_>, i: usize) -> Result<bool> {
        let (start, bytes) = (source.cell(i)?.key.start, source.cell_bytes(i)?);
        let count = self.as_leaf().count;
        let copy = |to: &mut [u8]| to.copy_from_slice(bytes);
        self.insert_cell(count, source.tag(i), start, bytes.len(), copy)
    }

    /// Inserts a cell of `len` bytes, which `write` fills, at `i`; its key begins with `start`.
    fn insert_cell(
        &mut self,
        i: usize,
        tag: u8,
        start: &[u8],
        len: usize,
        write: impl FnOnce(&mut [u8]),
    ) -> Result<bool> {
        let count = self.as_leaf().count;
        check_index(self.page, i, count + 1)?;
        if !self.make_room(len)? {
            return Ok(false);
        }
        let prefix_len = self.shorten_prefix(start)?;
        let at = field(self.page, CELLS_START) - len;
        write(&mut self.page[at..at + len]);
        ARRAYS.open(self.page, count, i);
        set_field(self.page, COUNT, count + 1);
        set_field(self.page, CELLS_START, at);
        self.page[ARRAYS.start(TAGS, count + 1) + i] = tag;
        self.set_offset(i, at);
        self.set_head(i, head(&start[prefix_len..]));
        Ok(true)
    }

    /// Sees to it that one more entry, with a cell of `len` bytes, fits; false if it cannot.
    fn make_room(&mut self, len: usize) -> Result<bool> {
        let needed = ARRAYS.end(self.as_leaf().count + 1) + len;
        if needed <= field(self.page, CELLS_START) {
            return Ok(true);
        }
        if needed > field(self.page, CELLS_START) + field(self.page, GARBAGE_BYTES) {
            return Ok(false);
        }
        self.compact(None)?;
        if needed <= field(self.page, CELLS_START) {
            Ok(true)
        } else {
            Err(damaged(self.page, "it has less room than it says"))
        }
    }

    /// Moves the cells together, in key order; the cell of `gone` is given up already.
    fn compact(&mut self, gone: Option<usize>) -> Result<()> {
        let copy = self.page.to_vec();
        let old = Leaf { page: &copy, base: self.base, count: field(&copy, COUNT) };
        let mut at = cells_end(self.page, self.base);
        for i in (0..old.count).filter(|&i| Some(i) != gone) {
            let (from, len) = (old.offset(i)?, old.cell(i)?.len);
            if from >= IN_BASE {
                continue;
            }
            let fits = at.checked_sub(len).filter(|&at| at >= ARRAYS.end(old.count));
            at = fits.ok_or_else(|| damaged(&copy, "its cells overlap"))?;
            self.page[at..at + len].copy_from_slice(&copy[from..from + len]);
            self.set_offset(i, at);
        }
        set_field(self.page, CELLS_START, at);
        set_field(self.page, GARBAGE_BYTES, 0);
        Ok(())
    }

    /// Cuts the common prefix to what a key that begins with `start` shares; gives its length.
    fn shorten_prefix(&mut self, start: &[u8]) -> Result<usize> {
        let leaf = self.as_leaf();
        let (count, old_len) = (leaf.count, field(self.page, PREFIX_LEN));
        let len = if count == 0 {
            start.len().min(super::cell::PREFIX_MAX)
        } else {
            common_len(leaf.prefix()?, start)
        };
        if count == 0 || len < old_len {
            set_field(self.page, PREFIX_LEN, len);
            for i in 0..count {
                let head = self.as_leaf().cell(i)?.key.start.get(len..).map(head);
                let head = head.ok_or_else(|| damaged(self.page, "a key lacks the prefix"))?;
                self.set_head(i, head);
            }
        }
        Ok(len)
    }

    /// The bytes between arrays and cells.
    fn gap_bytes(&self) -> usize {
        field(self.page, CELLS_START).saturating_sub(ARRAYS.end(self.as_leaf().count))
    }

    fn set_offset(&mut self, i: usize, at: usize) {
        let start = ARRAYS.start(OFFSETS, self.as_leaf().count) + 2 * i;
        self.page[start..start + 2].copy_from_slice(&(at as u16).to_le_bytes());
    }

    fn set_head(&mut self, i: usize, head: u32) {
        let count = self.as_leaf().count;
        ARRAYS.set_head(self.page, count, i, head);
    }
}
