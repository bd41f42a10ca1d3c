//! Pages by number, whether they lie in a frame or in the map.
//! Owns: the traits [`Pages`] (what a tree reads through) and [`PagesMut`] (what it changes
//! through), and [`Pager`], which all snapshots of a store share.
//! Keeps I4 (reading makes no system call beyond page faults of the map) and I9.

pub mod alloc;
pub mod checkpoint;
mod copy;
pub mod frames;
pub mod slots;
pub mod tenants;
pub mod write;

use crate::{
    error::{Error, Resource, Result},
    page::{
        self, Child, HEADER_BYTES, Kind, PageId, Run,
        delta::{self, Change},
        leaf::{Leaf, LeafBytes, LeafMut},
        meta, overflow,
    },
    publish::Version,
    seeded::{Bug, Seeded},
    storage::{StorageFile, map::Map},
    sync::{
        Arc, Mutex, OnceLock,
        atomic::{AtomicBool, AtomicU64, Ordering},
        lock, thread,
    },
};
use frames::{FrameId, Frames};
use slots::{Slot, Slots};
use std::{collections::VecDeque, time::Duration};

pub use crate::storage::map::{LINE_BYTES, prefetch, prefetch_all, prefetch_at};

/// The id of a table: the number that every page of its tree carries.
pub type TableId = u32;

/// Read access to the pages of one snapshot, or of the writer's own unpublished tree.
pub trait Pages {
    /// The bytes of a page, verified: its checksum on first touch, and on every call that it is the
    /// page meant (birth), at the level and of the table meant. A mismatch is `Error::Corrupt`.
    /// Leaves are asked for by [`leaf_bytes`](Self::leaf_bytes).
    fn page(&self, child: Child, table: TableId, level: u8) -> Result<&[u8]>;
    /// As [`page`](Self::page), the bytes of a leaf, which may be a delta over another page.
    fn leaf_bytes(&self, child: Child, table: TableId) -> Result<LeafBytes<'_>>;
    /// A leaf.
    #[allow(clippy::inline_always, reason = "a part of every descent")]
    #[inline(always)]
    fn leaf(&self, child: Child, table: TableId) -> Result<Leaf<'_>> {
        Leaf::of(self.leaf_bytes(child, table)?)
    }
    /// The content of an overflow run, whole, without its header.
    fn run(&self, run: Run, table: TableId) -> Result<&[u8]>;
    /// What a page stands on, if it is a delta at the moment.
    fn base_of(&self, _page: PageId) -> Option<PageId> {
        None
    }
    /// Starts to fetch the head of a page into the CPU's cache; a hint that may do nothing.
    fn prefetch(&self, page: PageId);
    /// Starts to fetch what a search for a place in a leaf reads beside its head; a hint.
    fn prefetch_heads(&self, _page: PageId) {}
    /// The size of every page, in bytes.
    fn page_bytes(&self) -> usize;
}

/// Write access for one request on the writer thread.
pub trait PagesMut: Pages {
    /// A fresh page: zeroed, its header's id, birth, table, kind and level filled in.
    fn alloc(&mut self, table: TableId, kind: Kind, level: u8) -> Result<Child>;
    /// The page itself if this request made it, else a copy under a new number (header updated),
    /// the old one retired. Afterwards [`page_mut`](Self::page_mut) may change it.
    fn make_mut(&mut self, child: Child, table: TableId, level: u8) -> Result<Child>;
    /// A delta of this request in the place of a leaf, the old one retired, that
    /// [`delta_mut`](Self::delta_mut) may give `change`. None, and nothing changed: the leaf is to
    /// be changed as a whole.
    fn make_delta(
        &mut self,
        _child: Child,
        _table: TableId,
        _change: Change,
    ) -> Result<Option<Child>> {
        Ok(None)
    }
    /// Two deltas of this request in the place of a leaf, the old one retired, of its first `left`
    /// entries and of the others, with room for a new entry each, of which the cells take `new`
    /// bytes. None, and nothing changed: the leaf is to be split as a whole.
    fn split_as_deltas(
        &mut self,
        _child: Child,
        _table: TableId,
        _left: usize,
        _new: [usize; 2],
    ) -> Result<Option<[Child; 2]>> {
        Ok(None)
    }
    /// A delta that this request made.
    fn delta_mut(&mut self, child: Child) -> Result<LeafMut<'_>>;
    /// The bytes of a page that this request made.
    fn page_mut(&mut self, child: Child) -> Result<&mut [u8]>;
    /// Gives up a page: at once if this request made it, else retired by the birth/end rule.
    fn free(&mut self, child: Child) -> Result<()>;
    /// Writes `content` to a fresh overflow run.
    fn alloc_run(&mut self, table: TableId, content: &[u8]) -> Result<Run>;
    /// Gives up a run, like [`free`](Self::free).
    fn free_run(&mut self, run: Run) -> Result<()>;
}

/// A clean page that was read into a frame because the storage has no map.
#[derive(Clone, Copy, Debug)]
pub struct CachedPage {
    /// The page, or a run's first.
    pub page: PageId,
    /// How many pages.
    pub pages: u32,
    /// Where its bytes are.
    pub frame: FrameId,
}

/// Who reads a page.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Reads {
    /// A snapshot's holder.
    Snapshot,
    /// The writer, who would wait for itself.
    Writer,
}

/// How long a reader lets the writer evict that it has just asked to.
const EVICTION_PAUSE: Duration = Duration::from_millis(1);
/// How often it does before it says that the cache is full.
const EVICTION_WAITS: u32 = 20;

/// What all snapshots and the writer share: the page file, its map, the slots and the frames. It
/// lives as long as the last snapshot, so nothing borrowed from it can go away before.
pub struct Pager {
    file: Arc<dyn StorageFile>,
    map: Option<Arc<Map>>,
    slots: Slots,
    frames: Arc<Frames>,
    page_bytes: usize,
    store_id: u64,
    seed: u32,
    seeded: Seeded,
    /// Frames of clean pages that readers filled and the writer has not noted yet.
    filled: Mutex<VecDeque<CachedPage>>,
    cached_bytes: AtomicU64,
    cache_bytes: u64,
    /// Raised by a reader that finds the cache nearly full; the writer evicts.
    pressed: AtomicBool,
    on_pressure: OnceLock<Box<dyn Fn() + Send + Sync>>,
}

impl Pager {
    /// The pager of `file`, read through `map` where there is one. `cache_bytes` bounds the clean
    /// pages in frames.
    pub fn new(
        file: Arc<dyn StorageFile>,
        map: Option<Arc<Map>>,
        frames: Arc<Frames>,
        page_bytes: usize,
        store_id: u64,
        cache_bytes: u64,
    ) -> Pager {
        let seeded = file.seeded();
        Pager {
            file,
            map,
            slots: Slots::default(),
            frames,
            page_bytes,
            store_id,
            seed: meta::seed(store_id),
            seeded,
            filled: Mutex::new(VecDeque::new()),
            cached_bytes: AtomicU64::new(0),
            cache_bytes,
            pressed: AtomicBool::new(false),
            on_pressure: OnceLock::new(),
        }
    }

    /// The bug that the store has.
    pub fn seeded(&self) -> Seeded {
        self.seeded
    }

    /// The number that the store was given when it was created.
    pub fn store_id(&self) -> u64 {
        self.store_id
    }

    /// The page file's length, in bytes.
    pub fn file_bytes(&self) -> Result<u64> {
        self.file.len()
    }

    /// Whether pages are read from a map.
    pub fn has_map(&self) -> bool {
        self.map.is_some()
    }

    /// Maps in what lies before `end` and was written since the last call, if that is wanted; see
    /// [`Map::map_ahead`].
    pub fn map_ahead(&self, end: PageId) {
        if let Some(map) = &self.map {
            map.map_ahead(end.offset(self.page_bytes));
        }
    }

    /// Bytes of clean pages in frames.
    pub fn cached_bytes(&self) -> u64 {
        self.cached_bytes.load(Ordering::Relaxed)
    }

    /// Whether a reader has asked for room in the cache since the last call.
    pub fn take_pressure(&self) -> bool {
        self.pressed.swap(false, Ordering::Relaxed)
    }

    fn grow_file(&self, pages: u32) -> Result<()> {
        self.file.allocate(PageId(pages).offset(self.page_bytes))
    }

    fn is_mapped(&self, page: PageId, pages: u32) -> bool {
        let offset = page.offset(self.page_bytes);
        let len = pages as usize * self.page_bytes;
        self.map.as_ref().is_some_and(|map| map.bytes(offset, len).is_some())
    }

    /// The bytes of `len` bytes from a page on, wherever they are; verified on first touch by
    /// `verify`.
    #[inline]
    fn bytes(
        &self,
        page: PageId,
        len: usize,
        by: Reads,
        verify: impl Fn(&[u8]) -> Result<()>,
    ) -> Result<&[u8]> {
        match self.slots.load(page.0) {
            Slot::Clean => self.mapped(page, len).ok_or_else(|| beyond(page)),
            Slot::Frame(frame) => self.framed(page, frame, len),
            Slot::Cold if self.seeded.has(Bug::ChecksumSkipped) => {
                self.touch(page, len, by, |_| Ok(()))
            }
            Slot::Cold => self.touch(page, len, by, verify),
        }
    }

    #[inline]
    fn mapped(&self, page: PageId, len: usize) -> Option<&[u8]> {
        self.map.as_ref()?.bytes(page.offset(self.page_bytes), len)
    }

    /// As [`mapped`](Self::mapped), a page.
    #[inline]
    fn piece(&self, page: PageId) -> Option<&[u8]> {
        self.map.as_ref()?.piece(page.0, self.page_bytes as u32)
    }

    #[inline]
    fn framed(&self, page: PageId, frame: FrameId, len: usize) -> Result<&[u8]> {
        let bytes = self.frames.bytes(frame);
        bytes.get(..len).ok_or_else(|| wrong_length(page, len, bytes.len()))
    }

    #[cold]
    fn touch(
        &self,
        page: PageId,
        len: usize,
        by: Reads,
        verify: impl Fn(&[u8]) -> Result<()>,
    ) -> Result<&[u8]> {
        if let Some(bytes) = self.mapped(page, len) {
            verify(bytes)?;
            // Losing the race is as good: another reader verified the same bytes.
            let _ = self.slots.fill(page.0, Slot::Clean);
            return Ok(bytes);
        }
        let offset = page.offset(self.page_bytes);
        if offset + len as u64 > self.file.len()? {
            return Err(beyond(page));
        }
        let pages = len.div_ceil(self.page_bytes);
        let cached = self.cached_bytes() + (pages * self.page_bytes) as u64;
        if cached > self.cache_bytes / 4 * 3 && !self.pressed.swap(true, Ordering::Relaxed) {
            // An idle writer would never look.
            if let Some(nudge) = self.on_pressure.get() {
                nudge();
            }
        }
        if cached > self.cache_bytes / 4 * 3 && by == Reads::Snapshot {
            // Readers fill frames faster than the writer wakes up, and would be told that the cache
            // is full.
            thread::sleep(EVICTION_PAUSE);
        }
        let mut waits = if by == Reads::Snapshot { EVICTION_WAITS } else { 0 };
        let filled = loop {
            let filled = self.frames.fill(pages as u32, |bytes| {
                self.file.read_at(&mut bytes[..len], offset)?;
                verify(&bytes[..len])
            });
            if waits == 0 || !matches!(filled, Err(Error::Full { what: Resource::CacheBytes })) {
                break filled?;
            }
            // What was evicted comes back when the writer next looks at its readers.
            waits -= 1;
            if let Some(nudge) = self.on_pressure.get() {
                nudge();
            }
            thread::sleep(EVICTION_PAUSE);
        };
        let frame = match self.slots.fill(page.0, Slot::Frame(filled.id())) {
            Ok(()) => {
                let frame = filled.keep();
                self.count_cached(pages as u32);
                lock(&self.filled).push_back(CachedPage { page, pages: pages as u32, frame });
                frame
            }
            Err(Slot::Frame(winner)) => winner,
            Err(_) => return Err(Error::corrupt_page(page.0, "changed while it was read")),
        };
        self.framed(page, frame, len)
    }

    /// A page that is in the map, and verified.
    #[inline]
    fn clean_page(&self, page: PageId) -> Option<&[u8]> {
        if self.slots.load(page.0) == Slot::Clean { self.piece(page) } else { None }
    }

    #[inline(never)]
    fn page_elsewhere(&self, page: PageId) -> Result<&[u8]> {
        self.page_bytes_of(page, Reads::Snapshot)
    }

    #[inline]
    fn page_bytes_of(&self, page: PageId, by: Reads) -> Result<&[u8]> {
        self.bytes(page, self.page_bytes, by, |bytes| page::verify(bytes, page, self.seed))
    }

    #[inline(never)]
    fn leaf_elsewhere(&self, child: Child, table: TableId, by: Reads) -> Result<LeafBytes<'_>> {
        let Some(page) = self.delta_of(child.page) else {
            return self.page_for(child, table, 0, by).map(LeafBytes::whole);
        };
        page::expect(page, child, table, 0)?;
        // It stays, unchanged, for as long as the delta's frame does.
        let base = self.page_for(delta::base(page), table, 0, by)?;
        Ok(LeafBytes { page, base })
    }

    /// The delta that a page is at the moment, if it is one.
    #[inline]
    fn delta_of(&self, page: PageId) -> Option<&[u8]> {
        match self.slots.load(page.0) {
            Slot::Frame(frame) if frame.is_delta() => Some(self.frames.bytes(frame)),
            _ => None,
        }
    }

    fn run_bytes_of(&self, run: Run, by: Reads) -> Result<&[u8]> {
        let len = HEADER_BYTES + run.len as usize;
        self.bytes(run.first.page, len, by, |bytes| overflow::verify_run(bytes, run, self.seed))
    }

    fn count_cached(&self, pages: u32) {
        let bytes = u64::from(pages) * self.page_bytes as u64;
        self.cached_bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    fn uncount_cached(&self, pages: u32) {
        let bytes = u64::from(pages) * self.page_bytes as u64;
        self.cached_bytes.fetch_sub(bytes, Ordering::Relaxed);
    }

    fn next_filled(&self) -> Option<CachedPage> {
        lock(&self.filled).pop_front()
    }

    /// Who is told when the cache of clean pages is nearly full. Set once.
    pub fn on_pressure(&self, nudge: impl Fn() + Send + Sync + 'static) {
        let _ = self.on_pressure.set(Box::new(nudge));
    }

    #[inline]
    fn page_for(&self, child: Child, table: TableId, level: u8, by: Reads) -> Result<&[u8]> {
        let bytes = self.page_bytes_of(child.page, by)?;
        page::expect(bytes, child, table, level)?;
        Ok(bytes)
    }

    #[inline]
    fn run_for(&self, run: Run, table: TableId, by: Reads) -> Result<&[u8]> {
        overflow::content(self.run_bytes_of(run, by)?, run, table)
    }

    /// The birth of a page of a tree, whose table and level the caller need not know.
    fn page_birth(&self, child: Child) -> Result<Version> {
        match self.delta_of(child.page) {
            Some(delta) => born(child, delta),
            None => born(child, self.page_bytes_of(child.page, Reads::Writer)?),
        }
    }

    /// The birth of a run.
    fn run_birth(&self, run: Run) -> Result<Version> {
        born(run.first, self.run_bytes_of(run, Reads::Writer)?)
    }
}

fn born(child: Child, bytes: &[u8]) -> Result<Version> {
    let birth = page::birth(bytes);
    if birth.0 as u32 == child.birth {
        return Ok(birth);
    }
    let (found, meant) = (birth.0 as u32, child.birth);
    let reason = format!("made by version {found}, its parent means {meant} (low 32 bits)");
    Err(Error::corrupt_page(child.page.0, reason))
}

impl Pages for Pager {
    #[allow(
        clippy::inline_always,
        reason = "a part of every descent: a call costs 40 instructions"
    )]
    #[inline(always)]
    fn page(&self, child: Child, table: TableId, level: u8) -> Result<&[u8]> {
        let bytes = match self.clean_page(child.page) {
            Some(bytes) => bytes,
            None => self.page_elsewhere(child.page)?,
        };
        page::expect(bytes, child, table, level)?;
        Ok(bytes)
    }

    #[allow(clippy::inline_always, reason = "as of a page")]
    #[inline(always)]
    fn leaf_bytes(&self, child: Child, table: TableId) -> Result<LeafBytes<'_>> {
        match self.clean_page(child.page) {
            Some(bytes) => {
                page::expect(bytes, child, table, 0)?;
                Ok(LeafBytes::whole(bytes))
            }
            None => self.leaf_elsewhere(child, table, Reads::Snapshot),
        }
    }

    fn run(&self, run: Run, table: TableId) -> Result<&[u8]> {
        self.run_for(run, table, Reads::Snapshot)
    }

    #[inline]
    fn prefetch(&self, page: PageId) {
        let bytes = match self.slots.load(page.0) {
            Slot::Frame(frame) => Some(self.frames.bytes(frame)),
            Slot::Clean | Slot::Cold => self.piece(page),
        };
        if let Some(bytes) = bytes {
            // The header with the first tags or heads; then mostly a leaf's offsets.
            prefetch(bytes);
            prefetch(&bytes[LINE_BYTES..]);
        }
    }

    fn base_of(&self, page: PageId) -> Option<PageId> {
        self.delta_of(page).map(|delta| delta::base(delta).page)
    }

    fn prefetch_heads(&self, page: PageId) {
        let bytes = match self.slots.load(page.0) {
            Slot::Frame(frame) => Some(self.frames.bytes(frame)),
            Slot::Clean | Slot::Cold => self.piece(page),
        };
        for line in 2..2 + HEADS_LINES {
            if let Some(bytes) = bytes {
                prefetch_at(bytes, line * LINE_BYTES);
            }
        }
    }

    fn page_bytes(&self) -> usize {
        self.page_bytes
    }
}

/// How many lines behind the first two hold the heads of a leaf of entries of usual size.
const HEADS_LINES: usize = 2;

#[cold]
fn beyond(page: PageId) -> Error {
    Error::corrupt_page(page.0, "lies beyond the end of the file")
}

#[cold]
fn wrong_length(page: PageId, asked: usize, found: usize) -> Error {
    Error::corrupt_page(page.0, format!("{asked} bytes asked of a page or run of {found} bytes"))
}
