//! Room that is kept for the day when the device is full: page numbers at the end of the file,
//! their space taken already, which only removals and checkpoints may use. protocol.md section 3.
//! Owns: [`Reserve`], the growth of the page file, and who may take what.
//!
//! It lies behind the last page ever given out, so that a checkpoint finds adjoining pages there for
//! its lists. Once it was drawn on and the device gives no more, the free pages stand in for it: as
//! many as it lacks are kept from everybody else.

use super::WritePager;
use crate::{
    error::{Error, Resource, Result},
    page::PageId,
    pager::Pages,
};

/// What removals copy before a checkpoint gives back what they freed: a few dozen paths from a root
/// to a leaf.
const RESERVE_PAGES: u32 = 64;

/// The page file grows by an eighth, within these limits, so that it is grown a bounded number of
/// times.
const STEP_PAGES_MIN: u32 = 64;
const STEP_PAGES_MAX: u32 = 1 << 14;

/// How much is kept, and for whom.
#[derive(Clone, Copy, Debug, Default)]
pub struct Reserve {
    /// How many pages: those of [`RESERVE_PAGES`], and the list of free space at its longest.
    pages: u32,
    /// Whether what is being done may draw on it.
    is_open: bool,
    /// The device refused to give more in the group in progress: it is not asked again for each
    /// page.
    was_refused: bool,
    /// Something wanted room on the device and got none.
    is_short: bool,
}

impl WritePager {
    /// Runs `work`, which may draw on the reserve: it frees more than it takes, or is what gives
    /// freed pages back.
    pub fn with_reserve<T>(&mut self, work: impl FnOnce(&mut WritePager) -> T) -> T {
        let was_open = std::mem::replace(&mut self.reserve.is_open, true);
        let done = work(self);
        self.reserve.is_open = was_open;
        done
    }

    /// Opens the reserve to everything that follows, or closes it again.
    pub fn open_reserve(&mut self, is_open: bool) {
        self.reserve.is_open = is_open;
    }

    /// Whether something found the device full since this was asked last.
    pub fn take_shortage(&mut self) -> bool {
        std::mem::take(&mut self.reserve.is_short)
    }

    /// How many pages are kept, for a group that begins.
    pub(super) fn size_reserve(&mut self) {
        let waiting = self.waiting_pages.len() + 2;
        let list = self.space.encoded_bytes_max(waiting) / self.page_bytes();
        self.reserve.pages = RESERVE_PAGES + list as u32;
        self.reserve.was_refused = false;
        self.reserve.is_open = false;
    }

    /// The reserve as it is kept when the file is cut.
    pub(super) fn reserve_pages(&self) -> u32 {
        self.reserve.pages.max(RESERVE_PAGES)
    }

    /// Keeps the reserve from who takes `pages` pages, by growing the file if need be; whether
    /// the pages may be taken at the end of the file. What may draw on the reserve always may.
    ///
    /// Cost: two comparisons, unless the file must grow.
    ///
    /// # Errors
    /// [`Error::Full`] if the device has no room and only the reserve is left.
    #[inline]
    pub(super) fn keep_reserve(&mut self, pages: u32) -> Result<bool> {
        let tail = self.file_pages.saturating_sub(self.space.end());
        let kept = self.reserve.pages.saturating_add(pages);
        if tail >= kept { Ok(true) } else { self.refill_reserve(kept) }
    }

    #[cold]
    fn refill_reserve(&mut self, kept: u32) -> Result<bool> {
        let Some(wanted) = self.space.end().checked_add(kept) else {
            // Page numbers run out, not the device: who finds none free is told.
            return Ok(true);
        };
        if !self.reserve.was_refused {
            match self.grow_file(wanted) {
                Ok(()) => return Ok(true),
                Err(Error::Full { what: Resource::Disk }) => self.reserve.was_refused = true,
                Err(error) => return Err(error),
            }
        }
        if self.reserve.is_open {
            // A checkpoint is to give back what is freed with this.
            self.reserve.is_short = true;
            return Ok(true);
        }
        // Free pages stand in for the reserve.
        if self.space.pages() >= kept { Ok(false) } else { Err(self.short()) }
    }

    /// Notes that the device is full, and says so.
    pub(super) fn short(&mut self) -> Error {
        self.reserve.is_short = true;
        Error::Full { what: Resource::Disk }
    }

    /// Grows the file to at least `end` pages; where the device cannot give more, just that.
    fn grow_file(&mut self, end: u32) -> Result<()> {
        let step = (self.file_pages / 8).clamp(STEP_PAGES_MIN, STEP_PAGES_MAX);
        let target = self.file_pages.saturating_add(step).max(end);
        let grown = self.pager.grow_file(target).map(|()| target);
        self.file_pages = grown.or_else(|_| self.pager.grow_file(end).map(|()| end))?;
        Ok(())
    }

    /// Takes `pages` pages at the end of the file, which grows if need be.
    pub(super) fn take_at_end(&mut self, pages: u32) -> Result<PageId> {
        let end = self.space.end().checked_add(pages);
        let end = end.ok_or(Error::Full { what: Resource::Pages })?;
        if end > self.file_pages {
            self.grow_file(end).inspect_err(|_| self.reserve.is_short = true)?;
        }
        let first = self.space.take_at_end(pages).ok_or(Error::Full { what: Resource::Pages })?;
        self.pager.slots.grow(self.space.end());
        Ok(first)
    }
}
