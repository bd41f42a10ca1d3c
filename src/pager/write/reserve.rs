//! Room that is kept for the day when the device is full: page numbers at the end of the file,
//! their space taken already, which only removals and checkpoints may use, and the last of it only
//! checkpoints. protocol.md section 3.
//! Owns: [`Reserve`], [`Draw`], the growth of the page file, and who may take what.
//!
//! It lies behind the last page ever given out, so that a checkpoint finds adjoining pages there
//! for its lists. Once it was drawn on and the device gives no more, the free pages stand in for
//! it: as many as it lacks are kept from everybody else.

use super::WritePager;
use crate::{
    error::{Error, Resource, Result},
    page::PageId,
    pager::Pages,
};

/// What removals copy before a checkpoint gives back what they freed: a few dozen paths from a root
/// to a leaf.
const REMOVAL_PAGES: u32 = 64;

/// What a checkpoint needs beside the list of free space: the catalog, mostly of one page.
const CHECKPOINT_PAGES: u32 = 8;

/// The page file grows by an eighth, within these limits, so that it is grown a bounded number of
/// times.
const STEP_PAGES_MIN: u32 = 64;
const STEP_PAGES_MAX: u32 = 1 << 14;

/// Who may draw on the reserve.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Draw {
    /// Whatever adds to the store: nothing of it.
    #[default]
    Nothing,
    /// Removals: all but what the next checkpoint needs.
    Removal,
    /// Checkpoints, which give back what removals free: all of it.
    Checkpoint,
}

/// How much is kept, and for whom.
#[derive(Clone, Copy, Debug, Default)]
pub struct Reserve {
    /// The pages of the list of free space at its longest.
    list_pages: u32,
    /// Who is at work.
    draw: Draw,
    /// The device refused to give more in the group in progress: it is not asked again for each
    /// page.
    was_refused: bool,
    /// Something wanted room on the device and got none.
    is_short: bool,
}

impl Reserve {
    /// How many pages are kept from who draws so much.
    fn kept_from(self, draw: Draw) -> u32 {
        match draw {
            Draw::Nothing => self.list_pages + CHECKPOINT_PAGES + REMOVAL_PAGES,
            Draw::Removal => self.list_pages + CHECKPOINT_PAGES,
            Draw::Checkpoint => 0,
        }
    }
}

impl WritePager {
    /// Runs `work`, which removes.
    pub fn with_reserve<T>(&mut self, work: impl FnOnce(&mut WritePager) -> T) -> T {
        let before = std::mem::replace(&mut self.reserve.draw, Draw::Removal);
        let done = work(self);
        self.reserve.draw = before;
        done
    }

    /// What follows may draw on the reserve like this, until the next group begins.
    pub fn draw_on_reserve(&mut self, draw: Draw) {
        self.reserve.draw = draw;
    }

    /// Whether something found the device full since this was asked last.
    pub fn take_shortage(&mut self) -> bool {
        std::mem::take(&mut self.reserve.is_short)
    }

    /// Sizes the reserve for a group that begins.
    pub(super) fn size_reserve(&mut self) {
        let waiting = self.waiting_pages.len() + self.waiting_bases.len() + self.bases.len() + 2;
        let list_bytes = self.space.encoded_bytes_max(waiting);
        self.reserve.list_pages = list_bytes.div_ceil(self.page_bytes()) as u32;
        self.reserve.was_refused = false;
        self.reserve.draw = Draw::Nothing;
    }

    /// The reserve as it is kept when the file is cut.
    pub(super) fn reserve_pages(&self) -> u32 {
        self.reserve.kept_from(Draw::Nothing)
    }

    /// Keeps the reserve from who takes `pages` pages, by growing the file if need be; whether
    /// the pages may be taken at the end of the file.
    ///
    /// Cost: two comparisons, unless the file must grow.
    ///
    /// # Errors
    /// [`Error::Full`] if the device has no room and only the reserve is left.
    #[inline]
    pub(super) fn keep_reserve(&mut self, pages: u32) -> Result<bool> {
        let tail = self.file_pages.saturating_sub(self.space.end());
        let whole = self.reserve_pages().saturating_add(pages);
        if tail >= whole { Ok(true) } else { self.refill_reserve(pages, tail) }
    }

    #[cold]
    fn refill_reserve(&mut self, pages: u32, tail: u32) -> Result<bool> {
        let whole = self.reserve_pages().saturating_add(pages);
        let Some(end) = self.space.end().checked_add(whole) else {
            // Page numbers run out, not the device: who finds none free is told.
            return Ok(true);
        };
        if !self.reserve.was_refused {
            match self.grow_file(end) {
                Ok(()) => return Ok(true),
                Err(Error::Full { what: Resource::Disk }) => self.reserve.was_refused = true,
                Err(error) => return Err(error),
            }
        }
        let draw = self.reserve.draw;
        // A checkpoint is to give back what is freed by who draws.
        self.reserve.is_short |= draw != Draw::Nothing;
        let wanted = self.reserve.kept_from(draw).saturating_add(pages);
        match draw {
            Draw::Checkpoint => Ok(true),
            _ if tail >= wanted => Ok(true),
            // Free pages stand in for the reserve.
            _ if self.space.pages() >= wanted => Ok(false),
            _ => Err(self.short()),
        }
    }

    /// Notes that the device is full, and says so.
    pub(super) fn short(&mut self) -> Error {
        self.reserve.is_short = true;
        Error::Full { what: Resource::Disk }
    }

    /// How many pages the file grows by.
    pub(super) fn step_pages(&self) -> u32 {
        (self.file_pages / 8).clamp(STEP_PAGES_MIN, STEP_PAGES_MAX)
    }

    /// Grows the file to at least `end` pages; where the device cannot give more, just that.
    fn grow_file(&mut self, end: u32) -> Result<()> {
        let target = self.file_pages.saturating_add(self.step_pages()).max(end);
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
