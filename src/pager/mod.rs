//! Pages by number, whether they lie in a frame or in the map.
//! Owns: the traits [`Pages`] (what a tree reads through) and [`PagesMut`] (what it changes through),
//! and [`Pager`], which all snapshots of a store share.
//! Keeps I4 (reading makes no system call beyond page faults of the map) and I9.

pub mod alloc;
pub mod checkpoint;
pub mod frames;
pub mod slots;
pub mod write;

use crate::{
    error::{Error, Resource, Result},
    page::{self, Child, HEADER_BYTES, Kind, PageId, Run, overflow},
    storage::{StorageFile, map::Map},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};
use frames::{FrameId, Frames};
use slots::{Slot, Slots};
use std::collections::VecDeque;

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

/// What all snapshots and the writer share: the page file, its map, the slots and the frames. It
/// lives as long as the last snapshot, so nothing borrowed from it can go away before.
pub struct Pager {
    file: Arc<dyn StorageFile>,
    map: Option<Arc<Map>>,
    slots: Slots,
    frames: Arc<Frames>,
    page_bytes: usize,
    seed: u32,
    /// Frames of clean pages in the order they were filled, for storages without a map.
    cached: Mutex<VecDeque<CachedPage>>,
    cached_bytes: AtomicU64,
    cache_bytes: u64,
    /// Raised by a reader that finds the cache nearly full; the writer evicts.
    pressed: AtomicBool,
}

impl Pager {
    /// The pager of `file`, read through `map` where there is one. `cache_bytes` bounds the clean
    /// pages in frames.
    pub fn new(
        file: Arc<dyn StorageFile>,
        map: Option<Arc<Map>>,
        frames: Arc<Frames>,
        page_bytes: usize,
        seed: u32,
        cache_bytes: u64,
    ) -> Pager {
        Pager {
            file,
            map,
            slots: Slots::new(),
            frames,
            page_bytes,
            seed,
            cached: Mutex::new(VecDeque::new()),
            cached_bytes: AtomicU64::new(0),
            cache_bytes,
            pressed: AtomicBool::new(false),
        }
    }

    /// The page file's length, in bytes.
    pub fn file_bytes(&self) -> Result<u64> {
        self.file.len()
    }

    /// Whether pages are read from a map.
    pub fn has_map(&self) -> bool {
        self.map.is_some()
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

    /// The bytes of a page or run of `len` bytes, wherever they are; verified on first touch.
    #[inline]
    fn bytes(&self, page: PageId, len: usize) -> Result<&[u8]> {
        match self.slots.load(page.0) {
            Slot::Clean => {
                let bytes =
                    self.map.as_ref().and_then(|map| map.bytes(page.offset(self.page_bytes), len));
                bytes.ok_or_else(|| Error::corrupt_page(page.0, "lies beyond the end of the file"))
            }
            Slot::Frame(frame) => {
                let bytes = self.frames.bytes(frame);
                bytes.get(..len).ok_or_else(|| wrong_length(page, len, bytes.len()))
            }
            Slot::Cold => self.touch(page, len),
        }
    }

    #[cold]
    fn touch(&self, page: PageId, len: usize) -> Result<&[u8]> {
        let offset = page.offset(self.page_bytes);
        if let Some(bytes) = self.map.as_ref().and_then(|map| map.bytes(offset, len)) {
            page::verify(bytes, page, self.seed)?;
            // Losing the race is as good: another reader verified the same bytes.
            let _ = self.slots.fill(page.0, Slot::Clean);
            return Ok(bytes);
        }
        let pages = len.div_ceil(self.page_bytes);
        let room = (pages * self.page_bytes) as u64;
        if offset + len as u64 > self.file.len()? {
            return Err(Error::corrupt_page(page.0, "lies beyond the end of the file"));
        }
        let cached = self.cached_bytes.load(Ordering::Relaxed) + room;
        if cached > self.cache_bytes / 4 * 3 {
            self.pressed.store(true, Ordering::Relaxed);
        }
        if cached > self.cache_bytes {
            return Err(Error::Full { what: Resource::CacheBytes });
        }
        let frame = self.frames.fill(pages as u32, |bytes| {
            self.file.read_at(&mut bytes[..len], offset)?;
            page::verify(&bytes[..len], page, self.seed)
        })?;
        match self.slots.fill(page.0, Slot::Frame(frame)) {
            Ok(()) => {
                self.adopt(page, pages as u32, frame);
                Ok(&self.frames.bytes(frame)[..len])
            }
            Err(winner) => {
                self.frames.unfill(frame);
                let Slot::Frame(frame) = winner else {
                    return Err(Error::corrupt_page(page.0, "changed while it was read"));
                };
                let bytes = self.frames.bytes(frame);
                bytes.get(..len).ok_or_else(|| wrong_length(page, len, bytes.len()))
            }
        }
    }

    /// Notes that the frame of a clean page may be evicted.
    fn adopt(&self, page: PageId, pages: u32, frame: FrameId) {
        let bytes = u64::from(pages) * self.page_bytes as u64;
        self.cached_bytes.fetch_add(bytes, Ordering::Relaxed);
        self.cached.lock().push_back(CachedPage { page, pages, frame });
    }

    fn next_cached(&self) -> Option<CachedPage> {
        let cached = self.cached.lock().pop_front()?;
        let bytes = u64::from(cached.pages) * self.page_bytes as u64;
        self.cached_bytes.fetch_sub(bytes, Ordering::Relaxed);
        Some(cached)
    }

    /// A page whose table and level the caller does not know; its birth is still checked.
    fn any_page(&self, child: Child) -> Result<&[u8]> {
        let bytes = self.bytes(child.page, self.page_bytes)?;
        if page::birth(bytes) as u32 != child.birth {
            return Err(not_meant(child, bytes));
        }
        Ok(bytes)
    }
}

impl Pages for Pager {
    #[inline]
    fn page(&self, child: Child, table: TableId, level: u8) -> Result<&[u8]> {
        let bytes = self.bytes(child.page, self.page_bytes)?;
        let meant = page::birth(bytes) as u32 == child.birth
            && page::table(bytes) == table
            && page::level(bytes) == level
            && page::is_tree(bytes);
        if meant { Ok(bytes) } else { Err(not_meant(child, bytes)) }
    }

    fn run(&self, run: Run, table: TableId) -> Result<&[u8]> {
        let bytes = self.bytes(run.first.page, HEADER_BYTES + run.len as usize)?;
        if page::birth(bytes) as u32 != run.first.birth || page::table(bytes) != table {
            return Err(not_meant(run.first, bytes));
        }
        overflow::content(bytes, run)
    }

    fn prefetch(&self, _page: PageId) {}

    fn page_bytes(&self) -> usize {
        self.page_bytes
    }
}

#[cold]
fn not_meant(child: Child, bytes: &[u8]) -> Error {
    let (birth, table, level) = (page::birth(bytes), page::table(bytes), page::level(bytes));
    let reason = format!(
        "made by version {birth} for table {table} at level {level}, but its parent means the one \
         made by version {} (low 32 bits)",
        child.birth
    );
    Error::corrupt_page(child.page.0, reason)
}

#[cold]
fn wrong_length(page: PageId, asked: usize, found: usize) -> Error {
    Error::corrupt_page(page.0, format!("{asked} bytes asked of a page or run of {found} bytes"))
}
