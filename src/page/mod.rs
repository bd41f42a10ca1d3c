//! The bytes of a page: header, kinds, checksum. Bytes only, no input or output.
//! Owns: [`PageId`], [`Child`], [`Run`], [`Kind`] and the header's layout.
//! Keeps I9 and I13: every access is checked against the page's own length.

pub mod arrays;
pub mod branch;
pub mod cell;
pub mod cells;
pub mod delta;
pub mod filling;
pub mod heads;
mod lanes;
pub mod leaf;
pub mod meta;
pub mod overflow;
pub mod split;
pub mod tags;

use std::ops::Range;

use crate::{
    error::{Error, Result},
    options::{PAGE_BYTES_MAX, PAGE_BYTES_MIN},
    publish::Version,
};

/// The number of a page: its place in the page file, for its whole life. Pages 0 and 1 are the meta
/// pages, so a tree's page is never 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PageId(pub u32);

impl PageId {
    /// The page's offset in the page file, in bytes.
    pub fn offset(self, page_bytes: usize) -> u64 {
        u64::from(self.0) * page_bytes as u64
    }
}

/// A page as its parent names it: the number, and the low 32 bits of the version that made it, so
/// that a page that is valid in itself but not the one meant is noticed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Child {
    /// Which page.
    pub page: PageId,
    /// The low 32 bits of its birth version.
    pub birth: u32,
}

/// A run of overflow pages as a cell names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Run {
    /// The first page and its birth.
    pub first: Child,
    /// The length of the content, in bytes, without the header.
    pub len: u32,
}

/// The length of a [`Run`] on disk.
pub const RUN_BYTES: usize = 12;

impl Run {
    /// How many pages the run occupies: one header, then the content without gaps.
    pub fn pages(self, page_bytes: usize) -> u32 {
        (HEADER_BYTES + self.len as usize).div_ceil(page_bytes) as u32
    }

    /// The run as cells and meta pages keep it.
    pub fn to_bytes(self) -> [u8; RUN_BYTES] {
        let mut bytes = [0; RUN_BYTES];
        bytes[..4].copy_from_slice(&self.first.page.0.to_le_bytes());
        bytes[4..8].copy_from_slice(&self.first.birth.to_le_bytes());
        bytes[8..].copy_from_slice(&self.len.to_le_bytes());
        bytes
    }

    /// The run that [`to_bytes`](Self::to_bytes) wrote; any bytes are some run.
    pub fn from_bytes(bytes: &[u8; RUN_BYTES]) -> Run {
        let word = |at: usize| {
            u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
        };
        let first = Child { page: PageId(word(0)), birth: word(4) };
        Run { first, len: word(8) }
    }
}

/// What a page holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Kind {
    /// Entries: keys with values. Level 0.
    Leaf = 1,
    /// Separators and children. Level 1 and up.
    Branch = 2,
    /// The first page of an overflow run.
    Overflow = 3,
}

/// The length of the header that every page but the meta pages begins with.
pub const HEADER_BYTES: usize = 32;

/// CRC-32C, seeded with [`meta::seed`], of everything behind it (of a run: header and content).
pub const CHECKSUM: Range<usize> = 0..4;
/// The page's own number.
pub const ID: Range<usize> = 4..8;
/// The version that made the page.
pub const BIRTH: Range<usize> = 8..16;
/// The id of the table whose tree the page belongs to.
pub const TABLE: Range<usize> = 16..20;
/// A [`Kind`].
pub const KIND: Range<usize> = 20..21;
/// The height above the leaves, which are 0.
pub const LEVEL: Range<usize> = 21..22;
/// Entries of a leaf, children of a branch.
pub const COUNT: Range<usize> = 22..24;
/// How many bytes the page's keys (a branch's separators) have in common at their start.
pub const PREFIX_LEN: Range<usize> = 24..26;
/// Where the cells begin; they grow downward from the page's end.
pub const CELLS_START: Range<usize> = 26..28;
/// How many bytes behind [`CELLS_START`] belong to no cell in use.
pub const GARBAGE_BYTES: Range<usize> = 28..30;
/// Where a branch's common prefix is kept. Zero in a leaf, whose first key shows it.
pub const PREFIX_START: Range<usize> = 30..32;
/// The length of a run's content, in the place of the two fields before.
pub const RUN_LEN: Range<usize> = 28..32;

const _: () = assert!(PREFIX_START.end == HEADER_BYTES && RUN_LEN.end == HEADER_BYTES);
const _: () = assert!(HEADER_BYTES.is_multiple_of(8) && BIRTH.start.is_multiple_of(8));
// Offsets in a page, and a cell area that ends where the page does, are written in 16 bits.
const _: () = assert!(PAGE_BYTES_MAX <= u16::MAX as usize);

/// The two bytes at `at`, an offset in a page; none beyond the end of `bytes`.
#[inline]
fn read_u16(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_le_bytes(*bytes.get(at..at + 2)?.first_chunk()?))
}

/// A 16-bit field of the header. Pages are at least [`PAGE_BYTES_MIN`] bytes: the pager's duty.
#[inline]
fn field(page: &[u8], field: Range<usize>) -> usize {
    usize::from(u16::from_le_bytes([page[field.start], page[field.start + 1]]))
}

/// Writes a 16-bit field of the header.
fn set_field(page: &mut [u8], field: Range<usize>, value: usize) {
    debug_assert!(u16::try_from(value).is_ok());
    page[field].copy_from_slice(&(value as u16).to_le_bytes());
}

/// A 32-bit field of the header.
#[inline]
fn wide_field(page: &[u8], field: Range<usize>) -> u32 {
    let at = field.start;
    u32::from_le_bytes([page[at], page[at + 1], page[at + 2], page[at + 3]])
}

/// The number that the page itself claims to have.
#[inline]
pub fn id(page: &[u8]) -> PageId {
    PageId(wide_field(page, ID))
}

/// The version that made the page.
#[inline]
pub fn birth(page: &[u8]) -> Version {
    let low = u64::from(wide_field(page, BIRTH.start..BIRTH.start + 4));
    let high = u64::from(wide_field(page, BIRTH.start + 4..BIRTH.end));
    Version(high << 32 | low)
}

/// The id of the table that the page belongs to.
#[inline]
pub fn table(page: &[u8]) -> u32 {
    wide_field(page, TABLE)
}

/// What the page holds; none if its kind is none of ours.
pub fn kind(page: &[u8]) -> Option<Kind> {
    [Kind::Leaf, Kind::Branch, Kind::Overflow]
        .into_iter()
        .find(|&kind| kind as u8 == page[KIND.start])
}

/// The page's height above the leaves.
#[inline]
pub fn level(page: &[u8]) -> u8 {
    page[LEVEL.start]
}

/// The page as its parent names it.
#[inline]
pub fn child(page: &[u8]) -> Child {
    Child { page: id(page), birth: birth(page).0 as u32 }
}

/// Makes `page` an empty page: the header given, the rest zero.
pub fn init(page: &mut [u8], id: PageId, birth: Version, table: u32, kind: Kind, level: u8) {
    debug_assert!((PAGE_BYTES_MIN..=PAGE_BYTES_MAX).contains(&page.len()));
    page.fill(0);
    init_header(page, id, birth, table, kind, level);
    let page_bytes = page.len();
    set_field(page, CELLS_START, page_bytes);
}

/// Writes the part of the header that pages and runs share.
fn init_header(page: &mut [u8], id: PageId, birth: Version, table: u32, kind: Kind, level: u8) {
    set_identity(page, id, birth);
    page[TABLE].copy_from_slice(&table.to_le_bytes());
    page[KIND.start] = kind as u8;
    page[LEVEL.start] = level;
}

/// Renames a copied page: what a copy does not share with the original.
pub fn set_identity(page: &mut [u8], id: PageId, birth: Version) {
    page[ID].copy_from_slice(&id.0.to_le_bytes());
    page[BIRTH].copy_from_slice(&birth.0.to_le_bytes());
}

/// Writes the checksum of a page that is going to disk; of a run, pass its header and content.
pub fn seal(page: &mut [u8], seed: u32) {
    let checksum = crc32c::crc32c_append(seed, &page[CHECKSUM.end..]);
    page[CHECKSUM].copy_from_slice(&checksum.to_le_bytes());
}

/// Checks the checksum and number of a page that came from disk; of a run, pass header and content.
///
/// # Errors
/// [`Error::Corrupt`], naming page `id`.
pub fn verify(page: &[u8], id: PageId, seed: u32) -> Result<()> {
    let found = wide_field(page, CHECKSUM);
    let expected = crc32c::crc32c_append(seed, &page[CHECKSUM.end..]);
    if found != expected {
        let reason = format!("checksum is {found:08x}, its bytes have {expected:08x}");
        return Err(Error::corrupt_page(id.0, reason));
    }
    let claimed = self::id(page);
    if claimed != id {
        let reason = format!("it says that it is page {}", claimed.0);
        return Err(Error::corrupt_page(id.0, reason));
    }
    Ok(())
}

/// Checks that a page is the one that its parent means, on every visit: number and birth, table,
/// level (one less than the parent's, which also ends cycles), and the kind that the level asks
/// for.
///
/// # Errors
/// [`Error::Corrupt`], naming the page meant.
#[inline]
pub fn expect(page: &[u8], meant: Child, table: u32, level: u8) -> Result<()> {
    let kind = if level == 0 { Kind::Leaf } else { Kind::Branch };
    // A field by itself costs a comparison with the page's length; those of a header do not.
    let same = page.first_chunk::<HEADER_BYTES>().is_some_and(|header| {
        child(header) == meant
            && self::table(header) == table
            && header[KIND.start] == kind as u8
            && self::level(header) == level
    });
    if same { Ok(()) } else { Err(unexpected(page, meant, table, kind, level)) }
}

/// Eight bytes of a header at `at`, a constant.
#[inline]
fn word(header: &[u8; HEADER_BYTES], at: usize) -> u64 {
    let mut word = [0; 8];
    word.copy_from_slice(&header[at..at + 8]);
    u64::from_le_bytes(word)
}

/// The error of [`expect`]: the first thing that differs.
#[cold]
#[inline(never)]
fn unexpected(page: &[u8], meant: Child, table: u32, kind: Kind, level: u8) -> Error {
    if page.len() < HEADER_BYTES {
        return Error::corrupt_page(meant.page.0, SHORT);
    }
    let found = child(page);
    let reason = if found.page != meant.page {
        format!("it says that it is page {}", found.page.0)
    } else if found.birth != meant.birth {
        let (found, meant) = (found.birth, meant.birth);
        format!("it was made by version {found}, its parent means version {meant} (low 32 bits)")
    } else if self::table(page) != table {
        let found = self::table(page);
        format!("it belongs to table {found}, its parent to table {table}")
    } else if self::level(page) != level {
        let found = self::level(page);
        format!("it is at level {found}, its parent expects level {level}")
    } else {
        let found = page[KIND.start];
        format!("its kind is {found}, expected {} ({kind:?})", kind as u8)
    };
    Error::corrupt_page(meant.page.0, reason)
}

/// Damage inside a page, which names itself.
#[cold]
#[inline(never)]
fn damaged(page: &[u8], reason: &str) -> Error {
    Error::corrupt_page(id(page).0, reason)
}

const SHORT: &str = "a page is shorter than any page";

/// The fields of a header that every search needs, read at once: each field by itself costs a
/// comparison with the page's length.
#[derive(Clone, Copy)]
struct Head {
    /// Entries or children.
    count: usize,
    prefix_len: usize,
    prefix_start: usize,
}

/// Checks that the page is of the kind, and that its arrays, which end where `arrays_end` says for
/// a count, end before its cells begin, which begin in the page.
#[allow(clippy::inline_always, reason = "a part of every descent")]
#[inline(always)]
fn check_header(page: &[u8], kind: Kind, arrays_end: impl Fn(usize) -> usize) -> Result<Head> {
    debug_assert!(page.len() <= PAGE_BYTES_MAX);
    if page.len() < PAGE_BYTES_MIN {
        return Err(Error::corrupt_page(0, SHORT));
    }
    let head = expected_header(page)?;
    if page[KIND.start] != kind as u8 {
        return Err(damaged(page, "its kind is not the one that its level asks for"));
    }
    let cells_start = field(page, CELLS_START);
    if arrays_end(head.count) > cells_start || cells_start > page.len() {
        return Err(damaged(page, "its entries exceed the page"));
    }
    Ok(head)
}

/// The header of a page that passed [`expect`], which only a search may believe: it checks what it
/// touches.
#[allow(clippy::inline_always, reason = "a part of every descent")]
#[inline(always)]
fn expected_header(page: &[u8]) -> Result<Head> {
    let Some(header) = page.first_chunk() else {
        return Err(Error::corrupt_page(0, SHORT));
    };
    let (place, room) = (word(header, TABLE.start), word(header, PREFIX_LEN.start));
    let two = |word: u64, field: &Range<usize>, start: usize| {
        usize::from((word >> (8 * (field.start - start))) as u16)
    };
    Ok(Head {
        count: two(place, &COUNT, TABLE.start),
        prefix_len: two(room, &PREFIX_LEN, PREFIX_LEN.start),
        prefix_start: two(room, &PREFIX_START, PREFIX_LEN.start),
    })
}

// The two words hold these fields.
const _: () = assert!(COUNT.end == TABLE.start + 8 && PREFIX_LEN.start == TABLE.start + 8);
const _: () = assert!(PREFIX_START.end == PREFIX_LEN.start + 8);

/// Checks that there is an entry or child `i` of `count`. An index from a search can be wrong: a
/// page in the map may have been read from disk again since, and be damaged now.
#[inline]
fn check_index(page: &[u8], i: usize, count: usize) -> Result<()> {
    if i < count {
        return Ok(());
    }
    Err(damaged(page, "it has fewer entries than a moment before"))
}

/// How many bytes behind the arrays, which end at `arrays_end`, belong to no cell in use.
fn free_bytes(page: &[u8], arrays_end: usize) -> usize {
    let gap = field(page, CELLS_START).saturating_sub(arrays_end);
    (gap + field(page, GARBAGE_BYTES)).min(page.len() - arrays_end)
}

/// Checks that `cells`, places and lengths, and the bytes that belong to none fill the page from
/// where its cells begin up to `end_of_cells`, and that no cell reaches into another.
fn check_cells(page: &[u8], end_of_cells: usize, mut cells: Vec<(usize, usize)>) -> Result<()> {
    let (start, garbage) = (field(page, CELLS_START), field(page, GARBAGE_BYTES));
    cells.sort_unstable();
    let mut end = start;
    for (at, len) in &cells {
        if *at < end {
            return Err(damaged(page, "its cells overlap"));
        }
        end = at + len;
    }
    let used: usize = cells.iter().map(|(_, len)| len).sum();
    if end > end_of_cells || start + used + garbage != end_of_cells {
        return Err(damaged(page, "its cells take more or less room than it says"));
    }
    Ok(())
}

/// Gives up the cell of `len` bytes at `at`.
fn drop_cell(page: &mut [u8], at: usize, len: usize) {
    if at == field(page, CELLS_START) {
        set_field(page, CELLS_START, at + len);
    } else {
        // A sum beyond the page can come only from a damaged one; compaction notices.
        let garbage = (field(page, GARBAGE_BYTES) + len).min(page.len());
        set_field(page, GARBAGE_BYTES, garbage);
    }
}

#[cfg(test)]
mod tests;
