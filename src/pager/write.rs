//! Changing pages: copies, births, deaths, and what a request or a group takes back when it fails.
//! Owns: [`WritePager`], the writer's side of the pager. Keeps I1 and I2.
//!
//! A page is changed in place only by the request that made it, which its birth version tells: a
//! request works under the version that it will take. What a request gives up is retired with the
//! generation being applied; what it made and gave up itself is free at once.

use super::{
    CachedPage, Pager, Pages, PagesMut, Reads, TableId,
    alloc::FreeSpace,
    frames::{FrameId, FrameWriter},
    slots::Slot,
    tenants::{Tenancy, Tenant, Tenants, VACANT},
};
use crate::{
    behind::Behind,
    error::{Error, Result},
    page::{
        self, Child, Kind, PageId, Run,
        delta::Change,
        leaf::{LeafBytes, LeafMut},
        overflow,
    },
    publish::{Generation, Lease, Version},
    reclaim::{Mark as RetireMark, Reclaimer},
    sync::Arc,
};
use std::collections::{HashMap, HashSet, VecDeque};

mod bases;
mod cached;
mod reserve;
mod space;
mod spill;
mod tail;

use bases::Bases;
pub use reserve::Draw;
use reserve::Reserve;
use spill::Pieces;

/// A page number that waits for the readers that may see it, with the pages behind it in a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Extent {
    /// The first page.
    pub first: PageId,
    /// How many pages.
    pub pages: u32,
}

/// A dirty page as a checkpoint takes it.
#[derive(Clone, Copy, Debug)]
pub struct DirtyPage {
    /// The page, or a run's first.
    pub page: PageId,
    /// How many pages.
    pub pages: u32,
    /// Where its bytes are.
    pub frame: FrameId,
    /// The version that made it.
    pub birth: Version,
}

/// Where a request began, to go back to.
#[derive(Clone, Copy, Debug, Default)]
pub struct Savepoint {
    made: usize,
    unsettled: usize,
    pages: RetireMark,
    frames: RetireMark,
    bases: usize,
}

/// The writer's side of the pager.
pub struct WritePager {
    pager: Arc<Pager>,
    arena: FrameWriter,
    space: FreeSpace,
    tenants: Tenants,
    dirty_bytes: u64,
    /// What a checkpoint writes of what is dirty: of a delta the page that it stands for.
    due_pages: u64,
    bases: Bases,
    waiting_pages: Reclaimer<Extent>,
    /// Bases whose last delta a checkpoint wrote: they wait for snapshots alone, for the durable
    /// checkpoint names the page that was written.
    waiting_bases: Reclaimer<Extent>,
    waiting_frames: Reclaimer<FrameId>,
    /// Pages made by the group being applied, some of them given up again or used twice.
    made: Vec<PageId>,
    /// Frames whose page the group being applied gave up, and what they were before.
    unsettled: Vec<(FrameId, Tenancy)>,
    /// Frames of clean pages, oldest first, some of them given up since.
    cached: VecDeque<CachedPage>,
    version: Version,
    generation: Generation,
    /// The version before the group in progress: no snapshot shows a later one.
    base: Version,
    file_pages: u32,
    reserve: Reserve,
    /// Pages of the request in progress that were written to their places already, with the
    /// number of pages behind each.
    spilled: HashMap<PageId, u32>,
    /// The request in progress may write its pages early, once this many pages are dirty.
    spill_pages: u64,
    /// It makes no more deltas from here on: they are not spilled. Never raised by a spill.
    delta_pages: u64,
    /// How many pages its group had made at its last spill, or when it began.
    spilled_to: usize,
    /// What spills wrote since it was last asked, in bytes.
    spilled_bytes: u64,
    /// Pages that came into frames since but were made before: read back, or folded of deltas.
    unspilled: Vec<PageId>,
    /// What writes the spilled pages of the request in progress, once there are any.
    behind: Option<Behind<Pieces>>,
    /// Where the request in progress began.
    request: Savepoint,
    freed_pages: Vec<Extent>,
    freed_frames: Vec<FrameId>,
    /// The pages that the request in progress made, if it moves pages under the version of the
    /// requests before it: then a page's birth does not tell.
    moved: Option<HashSet<PageId>>,
}

impl WritePager {
    /// The write side of `pager`, whose free space is `space`.
    pub fn new(pager: Arc<Pager>, arena: FrameWriter, space: FreeSpace) -> Result<WritePager> {
        let file_pages = u32::try_from(pager.file_bytes()? / pager.page_bytes() as u64);
        Ok(WritePager {
            pager,
            arena,
            tenants: Tenants::default(),
            dirty_bytes: 0,
            due_pages: 0,
            bases: Bases::default(),
            waiting_pages: Reclaimer::default(),
            waiting_bases: Reclaimer::default(),
            waiting_frames: Reclaimer::default(),
            made: Vec::new(),
            unsettled: Vec::new(),
            cached: VecDeque::new(),
            version: Version(0),
            generation: Generation(0),
            base: Version(0),
            file_pages: file_pages.unwrap_or(u32::MAX),
            reserve: Reserve::default(),
            spilled: HashMap::new(),
            spill_pages: u64::MAX,
            delta_pages: u64::MAX,
            spilled_to: 0,
            spilled_bytes: 0,
            unspilled: Vec::new(),
            behind: None,
            request: Savepoint::default(),
            freed_pages: Vec::new(),
            freed_frames: Vec::new(),
            moved: None,
            space,
        })
    }

    /// Never asks the device for more room: new pages stay in frames, for a store that is only
    /// read.
    pub fn never_grow(&mut self) {
        self.file_pages = u32::MAX;
    }

    /// The shared side.
    pub fn pager(&self) -> &Arc<Pager> {
        &self.pager
    }

    /// Bytes in memory of pages changed since the last checkpoint and still alive.
    pub fn dirty_bytes(&self) -> u64 {
        self.dirty_bytes
    }

    /// Bytes that a checkpoint would write of them: up to eight times as many, for of a delta it
    /// writes the page.
    pub fn due_bytes(&self) -> u64 {
        self.due_pages * self.page_bytes() as u64
    }

    /// [`dirty_bytes`](Self::dirty_bytes) in pages, rounded up.
    fn dirty_pages(&self) -> u64 {
        self.dirty_bytes.div_ceil(self.page_bytes() as u64)
    }

    fn count_dirty(&mut self, frame: FrameId, pages: u32) {
        self.dirty_bytes += self.weight(frame, pages);
        self.due_pages += u64::from(pages);
    }

    fn uncount_dirty(&mut self, frame: FrameId, pages: u32) {
        self.dirty_bytes -= self.weight(frame, pages);
        self.due_pages -= u64::from(pages);
    }

    /// The bytes of a frame of `pages` pages, or of a delta.
    fn weight(&self, frame: FrameId, pages: u32) -> u64 {
        frame.place().0.bytes(pages, self.page_bytes()) as u64
    }

    /// Bytes of all frames in use, the retired ones that readers keep included.
    pub fn frame_bytes(&self) -> u64 {
        self.pager.frames.written_bytes() as u64 + self.pager.frames.filled_bytes() as u64
    }

    /// How many snapshots were alive when last reclaimed, the published one included.
    pub fn snapshots(&self) -> usize {
        self.waiting_frames.pins().count()
    }

    /// Registers a live snapshot, which sees pages and frames.
    pub fn pin(&mut self, version: Version, generation: Generation, lease: &Arc<Lease>) {
        self.waiting_pages.pin(version, generation, lease.clone());
        self.waiting_bases.pin(version, generation, lease.clone());
        self.waiting_frames.pin(version, generation, lease.clone());
    }

    /// Registers a durable checkpoint, which names page numbers alone.
    pub fn pin_pages(&mut self, version: Version, generation: Generation, lease: Arc<Lease>) {
        self.waiting_pages.pin(version, generation, lease);
    }

    /// Bytes in the page file that wait for each pin, by its generation.
    pub fn retained_bytes(&self) -> Vec<(Generation, u64)> {
        let page_bytes = self.page_bytes() as u64;
        let bytes = |extent: &Extent| u64::from(extent.pages) * page_bytes;
        self.waiting_pages.weigh(bytes).chain(self.waiting_bases.weigh(bytes)).collect()
    }

    /// Takes back what no reader can see any more.
    pub fn reclaim(&mut self) {
        let mut pages = std::mem::take(&mut self.freed_pages);
        self.waiting_pages.take(&mut pages);
        self.waiting_bases.take(&mut pages);
        for extent in pages.drain(..) {
            self.space.give(extent.first, extent.pages);
        }
        self.freed_pages = pages;
        let mut frames = std::mem::take(&mut self.freed_frames);
        self.waiting_frames.take(&mut frames);
        for frame in frames.drain(..) {
            self.vacate(frame);
        }
        self.freed_frames = frames;
    }

    /// Starts a group behind version `base`: everything given up from now on ends with
    /// `generation`.
    pub fn begin_group(&mut self, base: Version, generation: Generation) {
        debug_assert!(self.made.is_empty() && self.unsettled.is_empty());
        self.base = base;
        self.generation = generation;
        self.size_reserve();
    }

    /// Starts a request under the version that it will take if it succeeds.
    pub fn begin_request(&mut self, version: Version) -> Savepoint {
        self.arena.share();
        self.version = version;
        self.spill_pages = u64::MAX;
        self.delta_pages = u64::MAX;
        self.spilled_to = self.made.len();
        self.unspilled.clear();
        self.request = self.savepoint();
        self.request
    }

    /// Ends a request that is kept. What earlier requests of its group made and it gave up is free
    /// at once: a group that rewrites the same rows many times would otherwise need room for them
    /// all.
    ///
    /// # Errors
    /// What came of writing pages early; the request is to be undone then.
    pub fn end_request(&mut self) -> Result<()> {
        self.settle_spilled()?;
        let point = self.request;
        let mut pages = std::mem::take(&mut self.freed_pages);
        self.waiting_pages.take_unseen(point.pages, self.base, &mut pages);
        for extent in pages.drain(..) {
            self.space.give(extent.first, extent.pages);
        }
        self.freed_pages = pages;
        let mut frames = std::mem::take(&mut self.freed_frames);
        self.waiting_frames.take_unseen(point.frames, self.base, &mut frames);
        for frame in frames.drain(..) {
            self.vacate(frame);
        }
        self.freed_frames = frames;
        let tenants = &self.tenants;
        let is_gone =
            |(frame, _): &mut (FrameId, Tenancy)| tenants[*frame].state == Tenancy::Vacant;
        self.unsettled.extract_if(point.unsettled.., is_gone).for_each(drop);
        Ok(())
    }

    /// A point of the group in progress to go back to.
    pub fn savepoint(&self) -> Savepoint {
        Savepoint {
            made: self.made.len(),
            unsettled: self.unsettled.len(),
            pages: self.waiting_pages.mark(),
            frames: self.waiting_frames.mark(),
            bases: self.bases.mark(),
        }
    }

    /// Undoes everything since `point`: pages made are free again, retirements are taken back.
    pub fn undo(&mut self, point: &Savepoint) {
        // First: pages that are still on their way would overwrite whoever gets their numbers.
        self.behind = None;
        self.waiting_pages.undo(point.pages);
        self.waiting_frames.undo(point.frames);
        self.bases.undo(point.bases);
        for index in point.unsettled..self.unsettled.len() {
            let (frame, before) = self.unsettled[index];
            let tenant = &mut self.tenants[frame];
            tenant.state = before;
            let pages = tenant.pages;
            match before {
                Tenancy::Dirty => self.count_dirty(frame, pages),
                _ => self.pager.count_cached(pages),
            }
        }
        self.unsettled.truncate(point.unsettled);
        for index in point.made..self.made.len() {
            let page = self.made[index];
            // Neither: given up by the request itself already, or listed a second time.
            if let Some(frame) = self.dirty_frame(page) {
                let pages = self.tenants[frame].pages;
                self.discard(frame);
                self.space.give(page, pages);
            } else if let Some(pages) = self.spilled.remove(&page) {
                self.space.give(page, pages);
            }
        }
        self.made.truncate(point.made);
    }

    /// Ends a group that is logged: its pages turn shared and its retirements wait for readers.
    pub fn commit_group(&mut self) {
        self.arena.share();
        self.made.clear();
        self.unsettled.clear();
        self.moved = None;
        self.spilled.clear();
        self.spill_pages = u64::MAX;
        self.delta_pages = u64::MAX;
        self.waiting_pages.commit();
        self.waiting_frames.commit();
        self.bases.commit();
    }

    /// The live dirty pages, ascending by page.
    pub fn dirty(&self) -> Vec<DirtyPage> {
        let dirty = self.tenants.iter().filter(|(_, t)| t.state == Tenancy::Dirty);
        let mut pages: Vec<DirtyPage> = dirty
            .map(|(frame, t)| DirtyPage { page: t.page, pages: t.pages, frame, birth: t.birth })
            .collect();
        pages.sort_unstable_by_key(|dirty| dirty.page);
        pages
    }

    /// After a checkpoint is durable: its pages that are still alive and still in their frames turn
    /// clean, and their frames wait for the readers pinned before `generation`. A group in progress
    /// that is undone later does not take this back.
    pub fn mark_clean(&mut self, written: &[DirtyPage], generation: Generation) {
        let released = self.bases.released();
        for dirty in written {
            let tenant = self.tenants[dirty.frame];
            let same = tenant.page == dirty.page && tenant.birth == dirty.birth;
            if tenant.state != Tenancy::Dirty || !same {
                continue;
            }
            self.uncount_dirty(dirty.frame, tenant.pages);
            if dirty.frame.is_delta() {
                // Release (in `set`), as below.
                self.pager.slots.set(dirty.page.0, self.written_delta(dirty.page));
                self.tenants[dirty.frame].state = Tenancy::Retired;
                self.waiting_frames.retire_now(dirty.frame, tenant.birth, generation);
                self.release_base_now(dirty.frame, generation, &released);
            } else if self.pager.is_mapped(dirty.page, dirty.pages) {
                // Release (in `set`): whoever sees the page clean sees the file's bytes, synced.
                self.pager.slots.set(dirty.page.0, Slot::Clean);
                self.tenants[dirty.frame].state = Tenancy::Retired;
                self.waiting_frames.retire_now(dirty.frame, tenant.birth, generation);
            } else {
                let DirtyPage { page, pages, frame, .. } = *dirty;
                self.tenants[frame].state = Tenancy::Cached;
                self.pager.count_cached(pages);
                self.cached.push_back(CachedPage { page, pages, frame });
            }
        }
    }

    fn place(&mut self, pages: u32) -> Result<(Child, FrameId)> {
        if self.dirty_pages() >= self.spill_pages {
            self.spill()?;
        }
        let frame = self.arena.alloc(pages)?;
        Ok((self.place_in(frame, pages)?, frame))
    }

    /// A fresh page, or run, in a fresh frame.
    fn place_in(&mut self, frame: FrameId, pages: u32) -> Result<Child> {
        let first = match self.take_pages(pages) {
            Ok(first) => first,
            Err(e) => {
                self.arena.reuse(frame);
                return Err(e);
            }
        };
        self.settle(first, pages, frame);
        self.made.push(first);
        if let Some(moved) = &mut self.moved {
            moved.insert(first);
        }
        Ok(Child { page: first, birth: self.version.0 as u32 })
    }

    /// Puts a page of the request in progress into a frame.
    fn settle(&mut self, page: PageId, pages: u32, frame: FrameId) {
        let birth = self.version;
        self.tenants.set(frame, Tenant { page, pages, birth, state: Tenancy::Dirty });
        self.count_dirty(frame, pages);
        self.pager.slots.set(page.0, Slot::Frame(frame));
    }

    fn dirty_frame(&self, page: PageId) -> Option<FrameId> {
        let Slot::Frame(frame) = self.pager.slots.load(page.0) else {
            return None;
        };
        let tenant = self.tenants.get(frame)?;
        (tenant.state == Tenancy::Dirty && tenant.page == page).then_some(frame)
    }

    /// Empties a frame that only the request in progress could see.
    fn discard(&mut self, frame: FrameId) {
        self.uncount_dirty(frame, self.tenants[frame].pages);
        self.vacate(frame);
    }

    fn vacate(&mut self, frame: FrameId) {
        self.tenants.set(frame, VACANT);
        self.arena.reuse(frame);
    }

    /// Whether the request in progress, whose version a page claims, has made it.
    fn is_ours(&self, page: PageId) -> bool {
        if let Some(moved) = &self.moved {
            return moved.contains(&page);
        }
        self.dirty_frame(page).is_some() || self.spilled.contains_key(&page)
    }

    /// Whether no page of this birth can be another request's.
    fn is_too_late(&self, birth: Version) -> bool {
        if self.moved.is_some() { birth > self.version } else { birth >= self.version }
    }

    /// Gives up the `pages` pages from `first` on, made by version `birth`.
    fn give_up(&mut self, first: PageId, pages: u32, birth: Version) -> Result<()> {
        let is_ours = birth == self.version && self.is_ours(first);
        if self.is_too_late(birth) && !is_ours {
            return Err(born_too_late(first));
        }
        if is_ours {
            match self.dirty_frame(first) {
                Some(frame) => {
                    if frame.is_delta() {
                        self.release_base(frame)?;
                    }
                    self.discard(frame);
                }
                None => _ = self.spilled.remove(&first),
            }
            self.space.give(first, pages);
            return Ok(());
        }
        self.waiting_pages.retire(Extent { first, pages }, birth, self.generation);
        let Slot::Frame(frame) = self.pager.slots.load(first.0) else { return Ok(()) };
        let Some(tenant) = self.tenants.get(frame).copied().filter(|t| t.page == first) else {
            return Ok(());
        };
        match tenant.state {
            Tenancy::Dirty => self.uncount_dirty(frame, tenant.pages),
            Tenancy::Cached => self.pager.uncount_cached(tenant.pages),
            // A frame that a reader filled just now: `take_cached` finds that its page is gone.
            Tenancy::Vacant | Tenancy::Retired => return Ok(()),
        }
        self.tenants[frame].state = Tenancy::Retired;
        self.unsettled.push((frame, tenant.state));
        // A clean page was seen by snapshots older than any that could see it dirty.
        let seen_from = if tenant.state == Tenancy::Dirty { birth } else { Version(0) };
        self.waiting_frames.retire(frame, seen_from, self.generation);
        if frame.is_delta() { self.release_base(frame) } else { Ok(()) }
    }
}

/// A page that claims to be as new as a request that has not made it.
#[cold]
fn born_too_late(page: PageId) -> Error {
    Error::corrupt_page(page.0, "it claims to be of a version that is yet to come")
}

impl Pages for WritePager {
    fn page(&self, child: Child, table: TableId, level: u8) -> Result<&[u8]> {
        self.await_spilled(child.page)?;
        self.pager.page_for(child, table, level, Reads::Writer)
    }

    fn leaf_bytes(&self, child: Child, table: TableId) -> Result<LeafBytes<'_>> {
        self.await_spilled(child.page)?;
        self.pager.leaf_elsewhere(child, table, Reads::Writer)
    }

    fn run(&self, run: Run, table: TableId) -> Result<&[u8]> {
        self.await_spilled(run.first.page)?;
        self.pager.run_for(run, table, Reads::Writer)
    }

    fn prefetch(&self, page: PageId) {
        self.pager.prefetch(page);
    }

    fn base_of(&self, page: PageId) -> Option<PageId> {
        self.pager.base_of(page)
    }

    fn prefetch_heads(&self, page: PageId) {
        self.pager.prefetch_heads(page);
    }

    fn page_bytes(&self) -> usize {
        self.pager.page_bytes()
    }
}

impl PagesMut for WritePager {
    fn alloc(&mut self, table: TableId, kind: Kind, level: u8) -> Result<Child> {
        let (child, frame) = self.place(1)?;
        page::init(self.arena.bytes_mut(frame), child.page, self.version, table, kind, level);
        Ok(child)
    }

    fn make_mut(&mut self, child: Child, table: TableId, level: u8) -> Result<Child> {
        let delta = self.dirty_frame(child.page).filter(|frame| frame.is_delta());
        let birth = match delta {
            Some(_) => page::birth(self.leaf_bytes(child, table)?.page),
            None => page::birth(self.page(child, table, level)?),
        };
        if birth == self.version && self.is_ours(child.page) {
            if let Some(delta) = delta {
                self.fold_own(child.page, table, delta)?;
            }
            return Ok(child);
        }
        if self.is_too_late(birth) {
            return Err(born_too_late(child.page));
        }
        let (copy, frame) = self.place(1)?;
        if delta.is_some() {
            self.fold_into(frame, child.page, table)?;
        } else {
            let old = self.pager.page_for(child, table, level, Reads::Writer)?;
            self.arena.bytes_mut(frame).copy_from_slice(old);
        }
        page::set_identity(self.arena.bytes_mut(frame), copy.page, self.version);
        self.give_up(child.page, 1, birth)?;
        Ok(copy)
    }

    fn make_delta(
        &mut self,
        child: Child,
        table: TableId,
        change: Change,
    ) -> Result<Option<Child>> {
        self.change_as_delta(child, table, change)
    }

    fn split_as_deltas(
        &mut self,
        child: Child,
        table: TableId,
        left: usize,
        new: [usize; 2],
    ) -> Result<Option<[Child; 2]>> {
        self.split_into_deltas(child, table, left, new)
    }

    fn delta_mut(&mut self, child: Child) -> Result<LeafMut<'_>> {
        self.change_delta(child)
    }

    fn page_mut(&mut self, child: Child) -> Result<&mut [u8]> {
        let frame = match self.dirty_frame(child.page) {
            Some(frame) if frame.is_delta() => return Err(born_too_late(child.page)),
            Some(frame) => frame,
            None => self.unspill(child.page)?,
        };
        Ok(self.arena.bytes_mut(frame))
    }

    fn free(&mut self, child: Child) -> Result<()> {
        self.await_spilled(child.page)?;
        let birth = self.pager.page_birth(child)?;
        self.give_up(child.page, 1, birth)
    }

    fn alloc_run(&mut self, table: TableId, content: &[u8]) -> Result<Run> {
        let len = content.len() as u32;
        let sized = Run { first: Child { page: PageId(0), birth: 0 }, len };
        let (first, frame) = self.place(sized.pages(self.page_bytes()))?;
        let bytes = self.arena.bytes_mut(frame);
        overflow::write(bytes, first.page, self.version, table, content);
        Ok(Run { first, len })
    }

    fn free_run(&mut self, run: Run) -> Result<()> {
        self.await_spilled(run.first.page)?;
        let birth = self.pager.run_birth(run)?;
        self.give_up(run.first.page, run.pages(self.page_bytes()), birth)
    }
}
