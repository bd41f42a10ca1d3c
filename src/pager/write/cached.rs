//! Clean pages in frames, for storages without a map: noted when a reader has filled one, evicted
//! when there are too many.
//! Keeps I1: a frame comes back when the readers pinned before its eviction are gone.

use super::WritePager;
use crate::{
    page::PageId,
    pager::{
        CachedPage, Pages,
        slots::Slot,
        tenants::{Tenancy, Tenant, Tenants},
    },
    publish::{Generation, Version},
};

impl WritePager {
    /// Takes note of the clean pages that readers brought into frames, for storages without a map.
    pub fn take_cached(&mut self) {
        while let Some(cached) = self.pager.next_filled() {
            let CachedPage { page, pages, frame } = cached;
            if self.pager.slots.load(page.0) == Slot::Frame(frame) {
                let birth = Version(0);
                self.tenants.set(frame, Tenant { page, pages, birth, state: Tenancy::Cached });
                self.cached.push_back(cached);
            } else {
                // The number was used again since, so nobody can see that page any more.
                self.pager.uncount_cached(pages);
                self.vacate(frame);
            }
        }
        // Those given up leave their entries behind; now and then they are swept out.
        let live = (self.pager.cached_bytes() / self.page_bytes() as u64) as usize;
        if self.cached.len() > 2 * live + 1024 {
            let tenants = &self.tenants;
            self.cached.retain(|cached| is_cached(tenants, *cached));
        }
    }

    /// Lets go of clean frames until at most `bytes` of them remain. They come back when the
    /// readers pinned before `generation` are gone.
    pub fn evict(&mut self, bytes: u64, generation: Generation) {
        while self.pager.cached_bytes() > bytes
            && let Some(cached) = self.cached.pop_front()
        {
            if is_cached(&self.tenants, cached) {
                let CachedPage { page, pages, frame } = cached;
                self.pager.uncount_cached(pages);
                if self.pager.slots.load(page.0) != Slot::Frame(frame) {
                    // A held snapshot read it when it had been given up, and the number was used
                    // again since: the slot is another page's, and nobody can see this one.
                    self.vacate(frame);
                    continue;
                }
                self.pager.slots.set(page.0, Slot::Cold);
                self.tenants[frame].state = Tenancy::Retired;
                // Birth 0: any snapshot may have looked at a clean page.
                self.waiting_frames.retire_now(frame, Version(0), generation);
            }
        }
    }

    /// Takes the frame back that a page left behind whose number is used again: it was read and
    /// given up before its frame was noted.
    pub(super) fn drop_cached(&mut self, page: PageId) {
        let Slot::Frame(frame) = self.pager.slots.load(page.0) else { return };
        self.take_cached();
        let Some(&Tenant { pages, .. }) = self
            .tenants
            .get(frame)
            .filter(|tenant| tenant.state == Tenancy::Cached && tenant.page == page)
        else {
            return;
        };
        self.pager.uncount_cached(pages);
        self.vacate(frame);
    }
}

fn is_cached(tenants: &Tenants, cached: CachedPage) -> bool {
    tenants
        .get(cached.frame)
        .is_some_and(|tenant| tenant.state == Tenancy::Cached && tenant.page == cached.page)
}
