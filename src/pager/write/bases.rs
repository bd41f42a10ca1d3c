//! Leaves that are changed as deltas, and the pages that these stand on.
//! Owns: [`Bases`]. Keeps I1: the number of a base waits for the readers of every delta that stands
//! on it.
//!
//! A clean leaf of which a delta is made is not retired then, though no tree names it any more: it
//! is *held* by the delta, and by each delta that takes that one's place. When the last of them is
//! given up, is folded, or turns clean, the base is retired in the same generation as its frame. So
//! whoever can still see the frame keeps the base, too. To the list of free space it is a free
//! page: the tree that the list comes with names the page that the delta was folded into.

use super::{Extent, WritePager};
use crate::{
    error::Result,
    page::{
        self, Child, PageId,
        delta::{self, Change, Size},
        leaf::{Leaf, LeafBytes, LeafMut},
    },
    pager::{Reads, TableId, frames::FrameId, slots::Slot},
    publish::{Generation, Version},
    seeded::Bug,
};
use std::{
    collections::{HashMap, HashSet},
    hash::{BuildHasherDefault, Hasher},
};

/// Of a cache in place of a map, bases take one part of so many.
const CACHE_SHARE: u64 = 4;

/// The pages that deltas stand on.
#[derive(Default)]
pub(super) struct Bases {
    held: HashMap<PageId, Base, BuildHasherDefault<PageHasher>>,
    /// What the group in progress did, to be undone.
    log: Vec<(PageId, Version, Deed)>,
}

/// Spreads page numbers, which nobody chooses to collide.
#[derive(Default)]
struct PageHasher(u64);

impl Hasher for PageHasher {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.write_u32(u32::from(*byte));
        }
    }

    fn write_u32(&mut self, number: u32) {
        // The golden ratio: the low bits and the high ones, which the table uses, depend on all.
        let mixed = (self.0 ^ u64::from(number)).wrapping_mul(0x9E37_79B9_7F4A_7C15);
        self.0 = mixed ^ mixed >> 32;
    }
}

struct Base {
    birth: Version,
    /// How many deltas of the newest tree, or of checkpoints to come, stand on it.
    holders: u32,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Deed {
    Held,
    Released,
}

impl Bases {
    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.held.len()
    }

    /// All of them.
    pub(super) fn extents(&self) -> impl Iterator<Item = Extent> + '_ {
        self.held.keys().map(|&first| Extent { first, pages: 1 })
    }

    /// The point to which [`undo`](Self::undo) returns.
    pub(super) fn mark(&self) -> usize {
        self.log.len()
    }

    /// Takes back what was done since `mark`.
    pub(super) fn undo(&mut self, mark: usize) {
        while self.log.len() > mark
            && let Some((page, birth, deed)) = self.log.pop()
        {
            match deed {
                Deed::Held => _ = self.sub(page),
                Deed::Released => self.add(page, birth),
            }
        }
    }

    /// What was done so far stays.
    pub(super) fn commit(&mut self) {
        self.log.clear();
    }

    /// The bases that the group in progress released, and will hold again if it is undone.
    pub(super) fn released(&self) -> HashSet<PageId> {
        let released = self.log.iter().filter(|(_, _, deed)| *deed == Deed::Released);
        released.map(|&(page, ..)| page).collect()
    }

    fn hold(&mut self, page: PageId, birth: Version) {
        self.add(page, birth);
        self.log.push((page, birth, Deed::Held));
    }

    fn add(&mut self, page: PageId, birth: Version) {
        self.held.entry(page).or_insert(Base { birth, holders: 0 }).holders += 1;
    }

    /// One delta less; its birth if it was the last.
    fn sub(&mut self, page: PageId) -> Option<Version> {
        let base = self.held.get_mut(&page)?;
        base.holders -= 1;
        let birth = base.birth;
        if base.holders > 0 {
            return None;
        }
        self.held.remove(&page);
        Some(birth)
    }
}

/// A leaf that deltas are made of.
struct Source {
    birth: Version,
    /// Of a delta, what it stands on, and its birth.
    base: Option<(PageId, Version)>,
    /// The request in progress made it.
    is_ours: bool,
}

impl WritePager {
    /// Makes a leaf a delta; see [`PagesMut::make_delta`](crate::pager::PagesMut::make_delta).
    pub(super) fn change_as_delta(
        &mut self,
        child: Child,
        table: TableId,
        change: Change,
    ) -> Result<Option<Child>> {
        let Some(source) = self.source(child, table)? else { return Ok(None) };
        let bytes = self.source_bytes(child, table)?;
        let Some(size) = delta::size_for(Leaf::of(bytes)?, change)? else { return Ok(None) };
        let size_bytes = size.bytes(self.pager.page_bytes);
        if source.is_ours {
            if size_bytes > bytes.page.len() {
                self.enlarge_own(child, table, size)?;
            }
            return Ok(Some(child));
        }
        let (copy, frame) = self.place_delta(size)?;
        let bytes = self.pager.leaf_elsewhere(child, table, Reads::Writer)?;
        let out = self.arena.bytes_mut(frame);
        match source.base {
            None => delta::begin(out, bytes.page)?,
            Some(_) if bytes.page.len() == out.len() => out.copy_from_slice(bytes.page),
            Some(_) => delta::resize(out, bytes)?,
        }
        page::set_identity(out, copy.page, self.version);
        self.replace_by_deltas(child, &source, 1)?;
        Ok(Some(copy))
    }

    /// Splits a leaf; see
    /// [`PagesMut::split_as_deltas`](crate::pager::PagesMut::split_as_deltas).
    pub(super) fn split_into_deltas(
        &mut self,
        child: Child,
        table: TableId,
        left: usize,
        new: [usize; 2],
    ) -> Result<Option<[Child; 2]>> {
        let Some(source) = self.source(child, table)? else { return Ok(None) };
        let leaf = Leaf::of(self.source_bytes(child, table)?)?;
        let count = leaf.len();
        let Some(sizes) = delta::sizes_for_parts(leaf, left, new)? else { return Ok(None) };
        let mut parts = [child; 2];
        for ((made, part), size) in parts.iter_mut().zip([0..left, left..count]).zip(sizes) {
            let (copy, frame) = self.place_delta(size)?;
            let bytes = self.pager.leaf_elsewhere(child, table, Reads::Writer)?;
            let out = self.arena.bytes_mut(frame);
            delta::begin_part(out, bytes, part)?;
            page::set_identity(out, copy.page, self.version);
            *made = copy;
        }
        self.replace_by_deltas(child, &source, 2)?;
        Ok(Some(parts))
    }

    /// What a leaf is, if it may be changed as a delta.
    fn source(&self, child: Child, table: TableId) -> Result<Option<Source>> {
        // What is moved is written whole, and what outgrows memory must be spilled.
        if self.moved.is_some() || self.has_spilled() || self.dirty_pages() >= self.delta_pages {
            return Ok(None);
        }
        let bytes = self.source_bytes(child, table)?;
        let birth = page::birth(bytes.page);
        let base = (!bytes.base.is_empty())
            .then(|| (delta::base(bytes.page).page, page::birth(bytes.base)));
        if base.is_none() && !self.may_be_base(child.page) {
            return Ok(None);
        }
        let is_ours = birth == self.version && self.is_ours(child.page);
        if self.is_too_late(birth) && !is_ours {
            return Err(super::born_too_late(child.page));
        }
        Ok(Some(Source { birth, base, is_ours }))
    }

    /// A clean page in the map, or one of few: what the writer reads while a checkpoint holds its
    /// snapshot stays in the cache for clean pages, and with deltas alone the next checkpoint would
    /// come, and last, eight times as long.
    fn may_be_base(&self, page: PageId) -> bool {
        let in_cache = self.pager.cache_bytes / CACHE_SHARE / self.pager.page_bytes as u64;
        let has_room = || self.pager.is_mapped(page, 1) || (self.bases.len() as u64) < in_cache;
        self.dirty_frame(page).is_none() && has_room()
    }

    fn source_bytes(&self, child: Child, table: TableId) -> Result<LeafBytes<'_>> {
        self.pager.leaf_elsewhere(child, table, Reads::Writer)
    }

    fn place_delta(&mut self, size: Size) -> Result<(Child, FrameId)> {
        let frame = self.arena.alloc_delta(size)?;
        Ok((self.place_in(frame, 1)?, frame))
    }

    /// Puts a delta of the request in progress into a frame of another size.
    fn enlarge_own(&mut self, child: Child, table: TableId, size: Size) -> Result<()> {
        let Some(old) = self.dirty_frame(child.page) else {
            return Err(super::born_too_late(child.page));
        };
        let bytes = self.pager.leaf_elsewhere(child, table, Reads::Writer)?;
        let frame = self.arena.alloc_delta(size)?;
        if let Err(error) = delta::resize(self.arena.bytes_mut(frame), bytes) {
            self.arena.reuse(frame);
            return Err(error);
        }
        self.discard(old);
        self.settle(child.page, 1, frame);
        Ok(())
    }

    /// `deltas` fresh ones stand in the place of a leaf, on what it stood on, or on itself.
    fn replace_by_deltas(&mut self, child: Child, source: &Source, deltas: usize) -> Result<()> {
        let (base, birth) = source.base.unwrap_or((child.page, source.birth));
        for _ in 0..deltas {
            self.bases.hold(base, birth);
        }
        if source.base.is_some() || self.has_bug(Bug::BaseFreedEarly) {
            self.give_up(child.page, 1, source.birth)?;
        }
        Ok(())
    }

    /// A delta that the request in progress made.
    pub(super) fn change_delta(&mut self, child: Child) -> Result<LeafMut<'_>> {
        let frame = self.dirty_frame(child.page).filter(|frame| frame.is_delta());
        let Some(frame) = frame else { return Err(super::born_too_late(child.page)) };
        let base = delta::base(self.pager.frames.bytes(frame));
        let base = self.pager.page_bytes_of(base.page, Reads::Writer)?;
        LeafMut::over(self.arena.bytes_mut(frame), base)
    }

    /// Puts the page that a delta of the request in progress stands for into the delta's place.
    pub(super) fn fold_own(&mut self, page: PageId, table: TableId, delta: FrameId) -> Result<()> {
        let frame = self.arena.alloc(1)?;
        if let Err(error) = self.fold_into(frame, page, table) {
            self.arena.reuse(frame);
            return Err(error);
        }
        self.release_base(delta)?;
        self.discard(delta);
        self.settle(page, 1, frame);
        // Now it can be spilled, whenever it was made.
        self.unspilled.push(page);
        Ok(())
    }

    /// Folds the delta that `page` is into a fresh frame.
    pub(super) fn fold_into(&mut self, frame: FrameId, page: PageId, table: TableId) -> Result<()> {
        let Some(bytes) = self.pager.delta_of(page) else {
            return Err(super::born_too_late(page));
        };
        let base = self.pager.page_for(delta::base(bytes), table, 0, Reads::Writer)?;
        delta::fold(LeafBytes { page: bytes, base }, self.arena.bytes_mut(frame))
    }

    /// The delta in `frame` no longer holds its base: retired like its frame if it was the last.
    pub(super) fn release_base(&mut self, frame: FrameId) -> Result<()> {
        let base = delta::base(self.pager.frames.bytes(frame)).page;
        let Some(held) = self.bases.held.get(&base) else { return Ok(()) };
        self.bases.log.push((base, held.birth, Deed::Released));
        match self.bases.sub(base) {
            Some(birth) => self.give_up(base, 1, birth),
            None => Ok(()),
        }
    }

    /// As [`release_base`](Self::release_base), beyond the reach of an undo: the delta's page has
    /// turned clean. But a base that the group in progress `released` has another delta again if
    /// that is undone, so until then it is not given up for good.
    pub(super) fn release_base_now(
        &mut self,
        frame: FrameId,
        generation: Generation,
        released: &HashSet<PageId>,
    ) {
        let first = delta::base(self.pager.frames.bytes(frame)).page;
        if let Some(birth) = self.bases.sub(first) {
            let extent = Extent { first, pages: 1 };
            if released.contains(&first) {
                self.waiting_pages.retire(extent, birth, generation);
            } else {
                self.waiting_bases.retire_now(extent, birth, generation);
            }
        }
    }

    /// What a page turns to when the delta in its frame has been written as a page.
    pub(super) fn written_delta(&self, page: PageId) -> Slot {
        // Without a map it is read from the file when it is next wanted.
        if self.pager.is_mapped(page, 1) { Slot::Clean } else { Slot::Cold }
    }

    fn has_bug(&self, bug: Bug) -> bool {
        self.pager.seeded().has(bug)
    }
}

#[cfg(test)]
impl WritePager {
    /// The pages that deltas stand on.
    pub(crate) fn bases_now(&self) -> Vec<PageId> {
        self.bases.extents().map(|extent| extent.first).collect()
    }

    /// What is free at once.
    pub(crate) fn free_now(&self) -> Vec<(PageId, u32)> {
        let mut space = self.space.clone();
        space.gather();
        space.extents().collect()
    }
}
