//! What a cell holds: keys and values, inline or as runs; and the limits that decide which.
//! Owns: [`CellKey`], [`CellValue`], [`NewKey`], [`NewValue`], [`Resolve`].

use std::cmp::Ordering;

use super::{HEADER_BYTES, RUN_BYTES, Run, read_u16};
use crate::{error::Result, options::PAGE_BYTES_MIN};

/// How many bytes of a key that lies in a run are kept in its cell.
pub const RUN_KEY_START_BYTES: usize = PREFIX_MAX + 4;
/// The longest prefix that a page makes use of; of a key in a run the four bytes behind it, its
/// head, are always known.
pub const PREFIX_MAX: usize = 256;
/// The most bytes that the lengths of a leaf's cell take: a byte and, for each long part, two more.
const LENGTHS_BYTES_MAX: usize = 6;
/// What the arrays of a leaf or branch may take at most, in spare elements and, where there are few
/// and large ones, samples: see [`arrays`](super::arrays).
const SPARE_BYTES_MAX: usize = 7 * 14 + 32;

// The code of a part: its length; or that a 16-bit length follows; or that it is a run.
const LONG: u8 = 253;
const RUN: u8 = 254;

/// The longest key that a cell holds whole: a quarter page. A longer one goes to a run.
pub const fn key_inline_max(page_bytes: usize) -> usize {
    page_bytes / 4
}

/// The longest value that the cell of a key of `key_len` bytes holds: a quarter page, less where
/// the key is long, so that an entry takes at most half a page and splitting in two always
/// succeeds.
pub const fn value_inline_max(page_bytes: usize, key_len: usize) -> usize {
    let key_bytes = if key_len > key_inline_max(page_bytes) {
        RUN_BYTES + RUN_KEY_START_BYTES
    } else {
        key_len
    };
    let entry_max = (page_bytes - HEADER_BYTES - SPARE_BYTES_MAX) / 2;
    let half = entry_max - super::leaf::ARRAYS.entry_bytes() - LENGTHS_BYTES_MAX - key_bytes;
    if half < page_bytes / 4 { half } else { page_bytes / 4 }
}

// A branch holds three separators, and splitting one in two always succeeds: a separator and its
// child take at most half of what is there.
const _: () = assert!(
    2 * (key_inline_max(PAGE_BYTES_MIN) + 3 + super::branch::ARRAYS.entry_bytes())
        <= PAGE_BYTES_MIN - HEADER_BYTES - SPARE_BYTES_MAX
);
const _: () = assert!(
    3 * (key_inline_max(PAGE_BYTES_MIN) + 3 + super::branch::ARRAYS.entry_bytes())
        <= PAGE_BYTES_MIN - HEADER_BYTES - SPARE_BYTES_MAX
);

/// Finds the whole content of a run; asked only when what a cell keeps does not decide.
pub trait Resolve<'p> {
    /// The run's content.
    fn resolve(&self, run: Run) -> Result<&'p [u8]>;
}

impl<'p, F: Fn(Run) -> Result<&'p [u8]>> Resolve<'p> for F {
    fn resolve(&self, run: Run) -> Result<&'p [u8]> {
        self(run)
    }
}

/// A key as a cell holds it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CellKey<'p> {
    /// The whole key.
    Inline(&'p [u8]),
    /// Where the whole key is.
    Run(Run),
}

impl<'p> CellKey<'p> {
    /// The whole key.
    pub fn resolve(self, resolve: &impl Resolve<'p>) -> Result<&'p [u8]> {
        match self {
            CellKey::Inline(bytes) => Ok(bytes),
            CellKey::Run(run) => resolve.resolve(run),
        }
    }
}

/// A value as a cell holds it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CellValue<'p> {
    /// The whole value.
    Inline(&'p [u8]),
    /// Where the whole value is.
    Run(Run),
}

impl<'p> CellValue<'p> {
    /// The whole value.
    pub fn resolve(self, resolve: &impl Resolve<'p>) -> Result<&'p [u8]> {
        match self {
            CellValue::Inline(bytes) => Ok(bytes),
            CellValue::Run(run) => resolve.resolve(run),
        }
    }
}

/// A key to be put into a page.
#[derive(Clone, Copy, Debug)]
pub enum NewKey<'a> {
    /// At most [`key_inline_max`] bytes.
    Inline(&'a [u8]),
    /// The run that holds the key, and the whole key (more than [`key_inline_max`] bytes).
    Run(Run, &'a [u8]),
}

/// A value to be put into a page.
#[derive(Clone, Copy, Debug)]
pub enum NewValue<'a> {
    /// At most [`value_inline_max`] bytes.
    Inline(&'a [u8]),
    /// The run that holds the value.
    Run(Run),
}

impl CellValue<'_> {
    /// The bytes of the value in its cell, without its length.
    pub fn bytes_in_cell(self) -> usize {
        match self {
            CellValue::Inline(bytes) => bytes.len(),
            CellValue::Run(_) => RUN_BYTES,
        }
    }
}

impl NewValue<'_> {
    /// How the value's length is coded.
    fn code(self) -> u8 {
        match self {
            NewValue::Inline(bytes) => code(bytes.len()),
            NewValue::Run(_) => RUN,
        }
    }

    /// The bytes of the value in a cell, without its length.
    fn len(self) -> usize {
        match self {
            NewValue::Inline(bytes) => bytes.len(),
            NewValue::Run(_) => RUN_BYTES,
        }
    }
}

/// A key as far as its cell has it: the whole key, or the run it is in and its start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PartKey<'p> {
    /// The whole key if `run` is none, else its first [`RUN_KEY_START_BYTES`].
    pub start: &'p [u8],
    /// Where the whole key is.
    pub run: Option<Run>,
}

impl<'p> PartKey<'p> {
    /// What a cell keeps of a new key.
    pub fn new(key: NewKey<'p>) -> PartKey<'p> {
        match key {
            NewKey::Inline(start) => PartKey { start, run: None },
            NewKey::Run(run, whole) => {
                debug_assert!(whole.len() == run.len as usize && whole.len() > RUN_KEY_START_BYTES);
                let start = &whole[..whole.len().min(RUN_KEY_START_BYTES)];
                PartKey { start, run: Some(run) }
            }
        }
    }

    /// Whether this is `key`; the run is asked only if length and start agree.
    #[inline]
    pub fn equals(self, key: &[u8], resolve: &impl Resolve<'p>) -> Result<bool> {
        match self.run {
            None => Ok(self.start == key),
            Some(run) if key.len() == run.len as usize && key.starts_with(self.start) => {
                Ok(resolve.resolve(run)? == key)
            }
            Some(_) => Ok(false),
        }
    }

    /// How this compares with `key`; the run is asked only if the start does not decide.
    #[inline]
    pub fn compare(self, key: &[u8], resolve: &impl Resolve<'p>) -> Result<Ordering> {
        match self.run {
            Some(run) if key.starts_with(self.start) => Ok(resolve.resolve(run)?.cmp(key)),
            // A shorter key that begins the start is smaller than it, and so than the whole key.
            _ => Ok(self.start.cmp(key)),
        }
    }

    /// The key as callers see it.
    pub fn cell_key(self) -> CellKey<'p> {
        match self.run {
            None => CellKey::Inline(self.start),
            Some(run) => CellKey::Run(run),
        }
    }

    fn code(self) -> u8 {
        if self.run.is_some() { RUN } else { code(self.start.len()) }
    }

    fn len(self) -> usize {
        self.start.len() + if self.run.is_some() { RUN_BYTES } else { 0 }
    }
}

/// Whether two keys are the same: as `==` says, but without a call where they are as long as most
/// are.
#[inline]
pub fn is_same(key: &[u8], other: &[u8]) -> bool {
    if key.len() != other.len() {
        return false;
    }
    match key.len() {
        8..=16 => have_same_ends::<8>(key, other),
        17..=32 => have_same_ends::<16>(key, other),
        _ => key == other,
    }
}

/// Whether the first `N` bytes are the same and the last `N` are.
#[inline]
fn have_same_ends<const N: usize>(key: &[u8], other: &[u8]) -> bool {
    key.first_chunk::<N>() == other.first_chunk() && key.last_chunk::<N>() == other.last_chunk()
}

/// The code of an inline part of `len` bytes.
fn code(len: usize) -> u8 {
    if len < usize::from(LONG) { len as u8 } else { LONG }
}

/// How many bytes of length follow the code.
fn extra_bytes(code: u8) -> usize {
    if code == LONG { 2 } else { 0 }
}

/// The length of the inline part whose code is `code`, and what follows the length.
#[inline]
fn take_len(code: u8, rest: &[u8]) -> Option<(usize, &[u8])> {
    match code {
        LONG => Some((usize::from(read_u16(rest, 0)?), rest.get(2..)?)),
        code => Some((usize::from(code), rest)),
    }
}

/// The run at the start of `rest`, and what follows it.
fn take_run(rest: &[u8]) -> Option<(Run, &[u8])> {
    let (run, rest) = rest.split_first_chunk()?;
    Some((Run::from_bytes(run), rest))
}

/// Fills `cell` from its start.
struct Writer<'a> {
    cell: &'a mut [u8],
    at: usize,
}

impl Writer<'_> {
    fn put(&mut self, bytes: &[u8]) {
        self.cell[self.at..self.at + bytes.len()].copy_from_slice(bytes);
        self.at += bytes.len();
    }

    fn put_value(&mut self, value: NewValue<'_>) {
        match value {
            NewValue::Inline(bytes) => self.put(bytes),
            NewValue::Run(run) => self.put(&run.to_bytes()),
        }
    }

    fn put_extra(&mut self, code: u8, len: usize) {
        if code == LONG {
            self.put(&(len as u16).to_le_bytes());
        }
    }
}

/// A leaf's cell: code of the key, code of the value, their lengths where long; key; value. A key
/// in a run is the run, then its start.
#[derive(Clone, Copy, Debug)]
pub struct Cell<'p> {
    /// The key.
    pub key: PartKey<'p>,
    /// The value.
    pub value: CellValue<'p>,
    /// The bytes of the whole cell.
    pub len: usize,
}

impl<'p> Cell<'p> {
    /// Key and value of the cell at `at` if both are short and inline, as nearly all are; none says
    /// only that [`read`](Self::read) has to look. Apart, because what searches read passes through
    /// registers (measured: 60 instructions of 340 a get).
    #[inline]
    pub fn read_short(page: &'p [u8], at: usize) -> Option<(&'p [u8], &'p [u8])> {
        let &[key_code, value_code] = page.get(at..at + 2)?.first_chunk()?;
        if key_code.max(value_code) >= LONG {
            return None;
        }
        let (key_len, start) = (usize::from(key_code), at + 2);
        // One comparison for both parts.
        let both = page.get(start..start + key_len + usize::from(value_code))?;
        both.split_at_checked(key_len)
    }

    /// The cell at `at`; none if it is not whole or not a cell.
    pub fn read(page: &'p [u8], at: usize) -> Option<Cell<'p>> {
        if let Some((start, value)) = Cell::read_short(page, at) {
            return Some(Cell {
                key: PartKey { start, run: None },
                value: CellValue::Inline(value),
                len: 2 + start.len() + value.len(),
            });
        }
        let bytes = page.get(at..)?;
        let (&[key_code, value_code], rest) = bytes.split_first_chunk()?;
        Cell::read_long(bytes.len(), key_code, value_code, rest)
    }

    /// A cell with a long part or a run; `available` bytes from its first one to the page's end.
    fn read_long(available: usize, key: u8, value: u8, rest: &'p [u8]) -> Option<Cell<'p>> {
        let (key_len, rest) = take_len(key, rest)?;
        let (value_len, rest) = take_len(value, rest)?;
        let (key, rest) = read_part_key(key, key_len, rest)?;
        let (value, rest) = match value {
            0..=LONG => {
                let (value, rest) = rest.split_at_checked(value_len)?;
                (CellValue::Inline(value), rest)
            }
            RUN => {
                let (run, rest) = take_run(rest)?;
                (CellValue::Run(run), rest)
            }
            _ => return None,
        };
        let len = available - rest.len();
        Some(Cell { key, value, len })
    }

    /// The bytes that [`write`](Self::write) fills.
    pub fn new_len(key: PartKey<'_>, value: NewValue<'_>) -> usize {
        let extra = extra_bytes(key.code()) + extra_bytes(value.code());
        2 + extra + key.len() + value.len()
    }

    /// Writes a cell to `cell`, which is as long as it.
    pub fn write(cell: &mut [u8], key: PartKey<'_>, value: NewValue<'_>) {
        let mut writer = Writer { cell, at: 0 };
        writer.put(&[key.code(), value.code()]);
        writer.put_extra(key.code(), key.len());
        writer.put_extra(value.code(), value.len());
        if let Some(run) = key.run {
            writer.put(&run.to_bytes());
        }
        writer.put(key.start);
        writer.put_value(value);
    }

    /// Writes `value` over the value of `cell`, of `old_len` bytes, where
    /// [`can_overwrite`](Self::can_overwrite) allowed it. The key stays; the cell may end earlier.
    pub fn overwrite(cell: &mut [u8], old_len: usize, value: NewValue<'_>) {
        let start = cell.len() - old_len;
        let lengths = 2 + extra_bytes(cell[0]);
        cell[1] = value.code();
        let mut lengths = Writer { cell, at: lengths };
        lengths.put_extra(value.code(), value.len());
        Writer { cell, at: start }.put_value(value);
    }

    /// Writes `run` over the run of the key of `cell`.
    pub fn overwrite_key_run(cell: &mut [u8], run: Run) {
        let at = 2 + extra_bytes(cell[1]);
        Writer { cell, at }.put(&run.to_bytes());
    }

    /// Whether `value` can be written over this cell's value, which stands at the cell's end: its
    /// length is coded alike, and not greater.
    pub fn can_overwrite(&self, value: NewValue<'_>) -> bool {
        match (self.value, value) {
            (CellValue::Run(_), NewValue::Run(_)) => true,
            (CellValue::Inline(old), NewValue::Inline(new)) => {
                new.len() <= old.len() && extra_bytes(code(old.len())) == extra_bytes(value.code())
            }
            _ => false,
        }
    }
}

/// A key of `len` bytes, or in a run if `code` says so, and what follows it.
fn read_part_key(code: u8, len: usize, rest: &[u8]) -> Option<(PartKey<'_>, &[u8])> {
    match code {
        0..=LONG => {
            let (start, rest) = rest.split_at_checked(len)?;
            Some((PartKey { start, run: None }, rest))
        }
        RUN => {
            let (run, rest) = take_run(rest)?;
            if run.len as usize <= RUN_KEY_START_BYTES {
                return None;
            }
            let (start, rest) = rest.split_at_checked(RUN_KEY_START_BYTES)?;
            Some((PartKey { start, run: Some(run) }, rest))
        }
        _ => None,
    }
}

/// Reads the cell of a branch at `at`: the separator behind the page's prefix (of one in a run: its
/// whole start), and the bytes of the cell. None if it is not whole or not a cell.
#[inline]
pub fn read_separator(page: &[u8], at: usize) -> Option<(PartKey<'_>, usize)> {
    let bytes = page.get(at..)?;
    let (&code, rest) = bytes.split_first()?;
    let (len, rest) = take_len(code, rest)?;
    let (key, rest) = read_part_key(code, len, rest)?;
    Some((key, bytes.len() - rest.len()))
}

/// What the cell of a branch at `at` keeps of its separator, if that is short and inline, as nearly
/// all are; none says only that [`read_separator`] has to look.
#[inline]
pub fn read_short_separator(page: &[u8], at: usize) -> Option<&[u8]> {
    let code = *page.get(at)?;
    if code >= LONG {
        return None;
    }
    page.get(at + 1..at + 1 + usize::from(code))
}

/// Writes `run` over the run of a branch's cell.
pub fn overwrite_separator_run(cell: &mut [u8], run: Run) {
    Writer { cell, at: 1 }.put(&run.to_bytes());
}

/// The bytes of a branch's cell that keeps `len` bytes of a separator, or a start and its run.
pub fn separator_len(len: usize, run: Option<Run>) -> usize {
    match run {
        None => 1 + extra_bytes(code(len)) + len,
        Some(_) => 1 + RUN_BYTES + len,
    }
}

/// Writes a branch's cell; what it keeps is `parts` behind each other.
pub fn write_separator(cell: &mut [u8], parts: [&[u8]; 2], run: Option<Run>) {
    let len = parts[0].len() + parts[1].len();
    let code = if run.is_some() { RUN } else { code(len) };
    let mut writer = Writer { cell, at: 0 };
    writer.put(&[code]);
    writer.put_extra(code, len);
    if let Some(run) = run {
        writer.put(&run.to_bytes());
    }
    for part in parts {
        writer.put(part);
    }
}
