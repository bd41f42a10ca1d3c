//! Pages of a request in progress that are written to their places before it commits, so that it
//! may be larger than memory.
//! Owns: what is spilled when, and [`Piece`]s on their way to the file. They are sealed here, and a
//! thread of the request's own writes them while more pages are made. Nothing looks at the file
//! before they have arrived: not this request, which waits for them, and nobody else, for only
//! the meta page that commits the request will name them. So they are settled when it ends.

use super::{WritePager, born_too_late};
use crate::{
    behind::Behind,
    error::Result,
    page::{self, PageId},
    pager::{
        Pages,
        checkpoint::{WRITE_BYTES, append_sealed, pieces},
        frames::FrameId,
        slots::Slot,
        tenants::Tenant,
        write::DirtyPage,
    },
    storage::StorageFile,
};

/// How many sets of pieces may be on their way: one that is being written, and one behind it.
const SETS_MAX: usize = 2;

/// Sealed pieces on their way to the page file, [`WRITE_BYTES`] of them.
#[derive(Default)]
pub struct Pieces {
    sealed: Vec<u8>,
    /// Where each begins in the file, and where it ends in `sealed`.
    places: Vec<(u64, usize)>,
    /// The part of the file that the device may begin to write behind them, an offset and a length.
    starting: Option<(u64, u64)>,
}

impl Pieces {
    fn write(&self, file: &dyn StorageFile) -> Result<()> {
        let mut start = 0;
        for &(offset, end) in &self.places {
            file.write_at(&self.sealed[start..end], offset)?;
            start = end;
        }
        if let Some((offset, len)) = self.starting {
            file.start_writing(offset, len);
        }
        Ok(())
    }

    fn clear(&mut self) {
        self.sealed.clear();
        self.places.clear();
        self.starting = None;
    }
}

impl WritePager {
    /// Lets the request in progress write its own pages to their places once `pages` are dirty. It
    /// must then be committed by a checkpoint, for the log no longer holds it.
    pub fn allow_spill(&mut self, pages: u64) {
        self.spill_pages = pages;
        self.delta_pages = pages;
    }

    /// Takes [`allow_spill`](Self::allow_spill) back.
    pub fn forbid_spill(&mut self) {
        self.spill_pages = u64::MAX;
        self.delta_pages = u64::MAX;
    }

    /// Whether pages of the request in progress lie in their places already, or are on their way.
    pub fn has_spilled(&self) -> bool {
        !self.spilled.is_empty()
    }

    /// The bytes that were written to the page file early since this was last asked.
    pub fn take_spilled_bytes(&mut self) -> u64 {
        std::mem::take(&mut self.spilled_bytes)
    }

    /// Writes the leaves and runs of the request in progress to their places, without a sync: only
    /// the meta page that commits the request will name them.
    pub(super) fn spill(&mut self) -> Result<()> {
        let mut out: Vec<DirtyPage> = Vec::new();
        // A spill leaves no leaf dirty but deltas: only these can be whole. New branches are
        // written too, unfinished, so that they leave no gaps between the leaves: what is written
        // in one long piece is read through few translations.
        for &page in self.made[self.spilled_to..].iter().chain(&self.unspilled) {
            // Deltas stay: none is made once so much is dirty.
            let Some(frame) = self.dirty_frame(page).filter(|frame| !frame.is_delta()) else {
                continue;
            };
            let Tenant { page, pages, birth, .. } = self.tenants[frame];
            if birth == self.version {
                out.push(DirtyPage { page, pages, frame, birth });
            }
        }
        out.sort_unstable_by_key(|dirty| dirty.page);
        out.dedup_by_key(|dirty| dirty.page);
        self.send_out(&out)?;
        let pages: u64 = out.iter().map(|dirty| u64::from(dirty.pages)).sum();
        self.spilled_bytes += pages * self.page_bytes() as u64;
        // But they stay: every further insertion comes through them.
        out.retain(|dirty| page::level(self.pager.frames.bytes(dirty.frame)) == 0);
        for dirty in &out {
            self.discard(dirty.frame);
            self.pager.slots.set(dirty.page.0, Slot::Cold);
            self.spilled.insert(dirty.page, dirty.pages);
        }
        self.spilled_to = self.made.len();
        self.unspilled.clear();
        // Where the branches alone fill the room, each page would bring the next spill.
        self.spill_pages = self.spill_pages.max(self.dirty_pages() + self.spill_pages / 4);
        Ok(())
    }

    /// Seals ascending pages and sends them on their way.
    fn send_out(&mut self, pages: &[DirtyPage]) -> Result<()> {
        let (Some(first), Some(last)) = (pages.first(), pages.last()) else { return Ok(()) };
        let mut set = self.empty_set()?;
        for piece in pieces(&self.pager, pages) {
            let pages: u32 = piece.iter().map(|dirty| dirty.pages).sum();
            let len = pages as usize * self.page_bytes();
            if !set.places.is_empty() && set.sealed.len() + len > WRITE_BYTES as usize {
                self.send(set)?;
                set = self.empty_set()?;
            }
            let offset = append_sealed(&self.pager, piece, &mut set.sealed)?;
            set.places.push((offset, set.sealed.len()));
        }
        // The device writes while more is made, not only once all of it is to be synced.
        let offset = first.page.offset(self.page_bytes());
        let end = PageId(last.page.0 + last.pages).offset(self.page_bytes());
        set.starting = Some((offset, end - offset));
        self.send(set)
    }

    fn empty_set(&self) -> Result<Pieces> {
        match &self.behind {
            Some(behind) if behind.jobs() >= SETS_MAX => {
                let mut set = behind.take()?.unwrap_or_default();
                set.clear();
                Ok(set)
            }
            _ => Ok(Pieces::default()),
        }
    }

    fn send(&mut self, set: Pieces) -> Result<()> {
        if self.behind.is_none() {
            let file = self.pager.file.clone();
            let write = move |set: &mut Pieces| set.write(&*file);
            // Without a thread it is written here.
            self.behind = Behind::start("recto-spill", write).ok();
        }
        // A run of pages may be long: there is one such set at a time.
        let is_long = set.sealed.len() > WRITE_BYTES as usize;
        match &self.behind {
            Some(behind) if !is_long => behind.give(set),
            _ => {
                self.arrive()?;
                set.write(&*self.pager.file)?;
            }
        }
        Ok(())
    }

    /// Waits until all that was spilled is in the file.
    ///
    /// # Errors
    /// Those of the writing, to all that is asked of the request from then on.
    fn arrive(&self) -> Result<()> {
        self.behind.as_ref().map_or(Ok(()), Behind::finish)
    }

    /// Waits for what may lie in the file alone, before it is looked at.
    #[inline]
    pub(super) fn await_spilled(&self, page: PageId) -> Result<()> {
        match self.behind {
            Some(_) if !matches!(self.pager.slots.load(page.0), Slot::Frame(_)) => self.arrive(),
            _ => Ok(()),
        }
    }

    /// Ends the writing of what was spilled, once all of it is in the file.
    pub(super) fn settle_spilled(&mut self) -> Result<()> {
        self.arrive()?;
        self.behind = None;
        Ok(())
    }

    /// Brings a page that the request in progress spilled back into a frame.
    pub(super) fn unspill(&mut self, page: PageId) -> Result<FrameId> {
        let Some(&pages) = self.spilled.get(&page) else {
            return Err(born_too_late(page));
        };
        self.arrive()?;
        let frame = self.arena.alloc(pages)?;
        let bytes = self.arena.bytes_mut(frame);
        if let Err(e) = self.pager.file.read_at(bytes, page.offset(self.pager.page_bytes())) {
            self.arena.reuse(frame);
            return Err(e);
        }
        self.spilled.remove(&page);
        self.unspilled.push(page);
        self.settle(page, pages, frame);
        Ok(frame)
    }
}

#[cfg(all(test, not(loom), not(shuttle)))]
mod tests;
