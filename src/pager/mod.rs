//! Pages by number, whether they lie in a frame or in the map.
//! Owns: the traits [`Pages`] (what a tree reads through) and [`PagesMut`] (what it changes through).
//! Keeps I1: a page is changed only by the request that made it.

pub mod alloc;
pub mod checkpoint;
pub mod frames;
pub mod slots;

use crate::{
    error::Result,
    page::{Child, Kind, PageId, Run},
};

/// The id of a table: the number that every page of its tree carries.
pub type TableId = u32;

/// Read access to the pages of one snapshot, or of the writer's own unpublished tree.
pub trait Pages {
    /// The bytes of a page, verified: its checksum on first touch, and on every call that it is the
    /// page meant (birth), at the level and of the table meant. A mismatch is `Error::Corrupt`.
    fn page(&self, child: Child, table: TableId, level: u8) -> Result<&[u8]>;
    /// The content of an overflow run, whole, without its header.
    fn run(&self, run: Run, table: TableId) -> Result<&[u8]>;
    /// Starts to fetch the head of a page into the CPU's cache; a hint that may do nothing.
    fn prefetch(&self, page: PageId);
    /// The size of every page, in bytes.
    fn page_bytes(&self) -> usize;
}

/// Write access for one request on the writer thread.
pub trait PagesMut: Pages {
    /// A fresh page: zeroed, its header's id, birth, table, kind and level filled in.
    fn alloc(&mut self, table: TableId, kind: Kind, level: u8) -> Result<Child>;
    /// The page itself if this request made it, else a copy under a new number (header updated), the
    /// old one retired. Afterwards [`page_mut`](Self::page_mut) may change it.
    fn make_mut(&mut self, child: Child, table: TableId, level: u8) -> Result<Child>;
    /// The bytes of a page that this request made.
    fn page_mut(&mut self, child: Child) -> Result<&mut [u8]>;
    /// Gives up a page: at once if this request made it, else retired by the birth/end rule.
    fn free(&mut self, child: Child) -> Result<()>;
    /// Writes `content` to a fresh overflow run.
    fn alloc_run(&mut self, table: TableId, content: &[u8]) -> Result<Run>;
    /// Gives up a run, like [`free`](Self::free).
    fn free_run(&mut self, run: Run) -> Result<()>;
}
