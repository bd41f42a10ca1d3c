//! The bytes of a page: header, kinds, checksum. Bytes only, no input or output.
//! Owns: [`PageId`], [`Child`], [`Run`], [`Kind`] and the header's layout.
//! Keeps I9 and I13: every access is checked against the page's own length.

pub mod branch;
pub mod cell;
pub mod leaf;
pub mod meta;
pub mod overflow;

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

impl Run {
    /// How many pages the run occupies: one header, then the content without gaps.
    pub fn pages(self, page_bytes: usize) -> u32 {
        (HEADER_BYTES + self.len as usize).div_ceil(page_bytes) as u32
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
