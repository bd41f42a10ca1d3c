//! Page numbers that are free, or will be: given out, given back, listed for the page file.

use super::{Extent, WritePager};
use crate::{
    error::Result,
    page::PageId,
    pager::{alloc::FreeList, slots::Slot},
};

impl WritePager {
    /// Free pages, those that wait for a reader or a checkpoint (a run counted once), and the
    /// file's length in pages.
    pub fn space_pages(&self) -> (u32, u64, u32) {
        let waiting = self.waiting_pages.len() + self.waiting_bases.len() + self.bases.len();
        (self.space.pages(), waiting as u64, self.space.end())
    }

    /// Appends the list of free space for the page file to remember: what is free now, what only
    /// readers and the checkpoint before this one hold back, for neither outlives the process, and
    /// `more`. Gives the end of the pages in use, behind which nothing is worth remembering.
    pub fn encode_free_space(&self, more: &[Extent], out: &mut Vec<u8>) -> u32 {
        let list = self.space_without_readers(more);
        list.encode(out);
        list.end()
    }

    /// The free space as it will be without readers, checkpoints, and `more`; trimmed.
    pub(super) fn space_without_readers(&self, more: &[Extent]) -> FreeList {
        let waiting = self.waiting_pages.iter().chain(self.waiting_bases.iter()).chain(more);
        let waiting = waiting.copied().chain(self.bases.extents());
        let mut list = self.space.list(waiting.map(|extent| (extent.first, extent.pages)));
        list.trim();
        list
    }

    /// The greatest length of that list with `more` further extents.
    pub fn free_space_bytes_max(&self, more: usize) -> usize {
        let bases = self.waiting_bases.len() + self.bases.len();
        let waiting = self.waiting_pages.iter().count() + bases;
        self.space.encoded_bytes_max(waiting + more)
    }

    /// Every page that is free, or that only readers and checkpoints hold back.
    pub fn free_extents(&self) -> Vec<Extent> {
        let mut space = self.space.clone();
        space.gather();
        let free = space.extents().map(|(first, pages)| Extent { first, pages });
        let waiting = self.waiting_pages.iter().chain(self.waiting_bases.iter()).copied();
        free.chain(waiting).chain(self.bases.extents()).collect()
    }

    /// The page file's length, in pages that were ever given out.
    pub fn end(&self) -> u32 {
        self.space.end()
    }

    /// Page numbers for something that is written beside the tree: the lists of a checkpoint.
    pub fn take_pages(&mut self, pages: u32) -> Result<PageId> {
        let may_end = self.keep_reserve(pages)?;
        let first = match self.space.take(pages) {
            Some(first) => first,
            None if may_end => self.take_at_end(pages)?,
            None => return Err(self.short()),
        };
        self.drop_cached(first);
        self.pager.slots.set(first.0, Slot::Cold);
        Ok(first)
    }

    /// Gives page numbers back that no snapshot and no meta page ever named.
    pub fn give_pages(&mut self, extent: Extent) {
        self.space.give(extent.first, extent.pages);
    }
}
