//! The page file's tail: pages moved down from it, and the end cut off.
//! Keeps I1: a page that is moved is copied, and the old one retired like any that is replaced.

use super::{Savepoint, WritePager};
use crate::{error::Result, page::PageId, pager::Pages, publish::Version};
use std::collections::HashSet;

/// How the page file is filled, from its start to its end.
#[derive(Clone, Copy, Debug)]
pub struct Layout {
    /// Pages in use by the newest version.
    pub used: u32,
    /// Behind the last page in use by the newest version, or held by a delta of it.
    pub used_end: u32,
}

impl WritePager {
    /// Starts a request that changes no content and takes no version: it moves pages under
    /// `version`, that of the requests before it.
    pub fn begin_move(&mut self, version: Version) -> Savepoint {
        let point = self.begin_request(version);
        self.moved = Some(HashSet::new());
        point
    }

    /// How many pages the request in progress has made, runs counted once.
    pub fn made_pages(&self) -> usize {
        self.made.len()
    }

    /// Whether there is room below the fence for `pages` pages that adjoin, and `more` anywhere.
    pub fn fits_below(&mut self, pages: u32, more: u32) -> bool {
        self.space.pages_below() >= pages + more && self.space.fits_below(pages)
    }

    /// How many pages are free below the fence.
    pub fn pages_below(&self) -> u32 {
        self.space.pages_below()
    }

    /// How many pages there is room for: free ones below the fence, and with a ceiling those that
    /// the file may grow by up to there. Where it may not, free pages stand in for what the
    /// reserve lacks.
    pub fn room_pages(&self, ceiling: Option<PageId>) -> u32 {
        let (free, end) = (self.space.pages_below(), self.space.end());
        if let Some(ceiling) = ceiling {
            return free + ceiling.0.saturating_sub(end);
        }
        let tail = self.file_pages.saturating_sub(end);
        free.saturating_sub(self.reserve_pages().saturating_sub(tail))
    }

    /// From now on pages from `fence` on are given out only when there are no others; none lifts
    /// that.
    pub fn set_fence(&mut self, fence: Option<PageId>) {
        match fence {
            Some(fence) => self.space.set_fence(fence),
            None => self.space.lift_fence(),
        }
    }

    /// How the file is filled.
    pub fn layout(&self) -> Layout {
        let free = self.space_without_readers(&[]);
        let used = free.end() - free.pages();
        let bases_end = self.bases.extents().map(|base| base.first.0 + 1).max().unwrap_or(0);
        Layout { used, used_end: free.end().max(bases_end) }
    }

    /// Pages given up that readers and checkpoints still hold.
    pub fn waiting_pages(&self) -> u64 {
        let waiting: u64 = self.waiting_pages.iter().map(|extent| u64::from(extent.pages)).sum();
        waiting + (self.waiting_bases.len() + self.bases.len()) as u64
    }

    /// Forgets the free pages at the end of the file: the next page that needs a new number gets
    /// theirs.
    pub fn trim(&mut self) {
        self.space.gather();
        self.space.trim();
    }

    /// Cuts the file down to its end with the reserve behind it, and to no less than `named` pages,
    /// which the meta pages count. Gives the pages cut off. What is cut off is free: no snapshot
    /// can reach it, so nobody has a slice of the map there.
    pub fn truncate(&mut self, named: u32) -> Result<u32> {
        let target = self.space.end().saturating_add(self.reserve_pages()).max(named);
        let Some(cut) = self.file_pages.checked_sub(target).filter(|&cut| cut > 0) else {
            return Ok(0);
        };
        self.pager.file.truncate(PageId(target).offset(self.page_bytes()))?;
        self.file_pages = target;
        Ok(cut)
    }

    /// How many pages the file may grow by at once when it needs but a few.
    pub fn growth_pages(&self) -> u32 {
        self.reserve_pages() + self.step_pages()
    }
}
