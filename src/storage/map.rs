//! The read-only memory map of a file that grows under it.
//! Owns: [`Map`]: one reservation of address space, and how much of it the file stands behind; and
//! the page by which a forked process knows that it is one.
//! Keeps I13: a slice covers what was asked for, never the map; the file is never written through
//! it.
//! Absent on purpose: a second reservation. Beyond the first, [`Map::bytes`] answers `None` and the
//! caller reads with [`read_at`](super::StorageFile::read_at).

use crate::sync::atomic::{AtomicU64, Ordering};
#[cfg(not(loom))]
use crate::sync::{Mutex, lock};
use memmap2::MmapMut;
#[cfg(not(loom))]
use memmap2::{Advice, MmapOptions, MmapRaw as Mapping};
#[cfg(target_os = "linux")]
use std::os::fd::AsRawFd;
use std::{fs::File, hint, io, slice};

#[cfg(loom)]
pub use modeled::Mapping;

/// The address space that is asked for first. Halved until the process's limits allow it.
const RESERVE_BYTES: u64 = 1 << 40;
/// A reservation below this is not worth its mapping.
#[cfg(not(loom))]
const RESERVE_BYTES_MIN: u64 = 1 << 20;

/// How much is mapped in at once ahead of its use: what else changes the process's mappings waits
/// meanwhile.
#[cfg(not(loom))]
const AHEAD_BYTES: u64 = 16 << 20;

/// A read-only shared mapping of a file, longer than the file, so that growth needs no second one.
///
/// The mapping keeps the descriptor's advisory lock alive: the kernel holds the open file until it
/// is unmapped.
pub struct Map {
    /// The reservation. Its address never changes while `self` lives.
    raw: Mapping,
    /// How many bytes from the start the file stands behind; never more than the reservation.
    valid_bytes: AtomicU64,
    /// How many bytes from the start were mapped in ahead of their use; none if nobody asks for it.
    #[cfg(not(loom))]
    ahead_bytes: Mutex<Option<u64>>,
}

impl Map {
    /// Maps `file`, whose length is `file_bytes`; `None` where no reservation is to be had.
    pub(super) fn new(file: &File, file_bytes: u64) -> Option<Map> {
        Map::reserve(file, file_bytes, RESERVE_BYTES)
    }

    /// Models map no files.
    #[cfg(loom)]
    fn reserve(_: &File, _: u64, _: u64) -> Option<Map> {
        None
    }

    #[cfg(not(loom))]
    fn reserve(file: &File, file_bytes: u64, most: u64) -> Option<Map> {
        // On 32 bits the space is too scarce to reserve; such processes read with pread.
        if cfg!(not(target_pointer_width = "64")) {
            return None;
        }
        let mut bytes = most;
        while bytes >= RESERVE_BYTES_MIN {
            let len = usize::try_from(bytes).ok()?;
            // Advice against read-ahead is left out: scans gain more from it than point gets lose.
            if let Ok(raw) = MmapOptions::new().len(len).map_raw_read_only(file) {
                let valid_bytes = AtomicU64::new(file_bytes.min(bytes));
                return Some(Map { raw, valid_bytes, ahead_bytes: Mutex::new(None) });
            }
            bytes /= 2;
        }
        None
    }

    /// The `len` bytes of the file at `offset`; `None` if they do not lie wholly in what is mapped.
    ///
    /// The caller keeps two promises, which the rooms above hold as I1: nobody writes these bytes
    /// while they are borrowed (a published page is not written until reclaimed), and nobody cuts
    /// the file below them (compaction truncates only what no map reader can touch).
    ///
    /// Cost: one load and two comparisons; no system call beyond a page fault.
    #[inline]
    pub fn bytes(&self, offset: u64, len: usize) -> Option<&[u8]> {
        let end = offset.checked_add(len as u64)?;
        // Acquire: pairs with the Release in `set_valid`; the file has grown before a byte of the
        // growth is touched here.
        if end > self.valid_bytes.load(Ordering::Acquire) {
            return None;
        }
        #[cfg(loom)]
        self.raw.touch(offset as usize, len);
        // SAFETY: `add` needs the result inside the mapping, and offset to fit `isize`: offset <=
        // end <= valid_bytes <= the mapping's length, which `set_valid` and `reserve` keep and
        // memmap2 bounds by isize::MAX.
        let start = unsafe { self.raw.as_ptr().add(offset as usize) };
        // SAFETY: non-null and aligned: inside a mapping, and u8 needs no alignment. Readable for
        // `len` bytes of one object: inside the mapping, as above. Initialized and backed: the
        // file's length reached valid_bytes before it was stored, and it is cut only after
        // valid_bytes has been lowered, below no borrowed byte (the caller's promise), so no access
        // lies beyond the file's end (which would be a signal). Not written while borrowed: I1, the
        // caller's promise; no write goes through the map, which is read-only. The lifetime is that
        // of `&self`, and `raw` unmaps only when dropped.
        Some(unsafe { slice::from_raw_parts(start, len) })
    }

    /// Piece `nth` of the file cut into pieces of `piece_bytes`, as [`bytes`](Self::bytes) lends
    /// them and under its caller's promises, for less: neither product nor sum can overflow.
    #[inline]
    pub fn piece(&self, nth: u32, piece_bytes: u32) -> Option<&[u8]> {
        let end = (u64::from(nth) + 1) * u64::from(piece_bytes);
        // Acquire: as in `bytes`.
        if end > self.valid_bytes.load(Ordering::Acquire) {
            return None;
        }
        let (offset, len) = ((end - u64::from(piece_bytes)) as usize, piece_bytes as usize);
        #[cfg(loom)]
        self.raw.touch(offset, len);
        // SAFETY: as in `bytes`: offset <= end <= valid_bytes.
        let start = unsafe { self.raw.as_ptr().add(offset) };
        // SAFETY: inside a mapping. Said, so that nobody asks whether the slice is none (measured:
        // 3 instructions of every page of a get).
        unsafe { hint::assert_unchecked(!start.is_null()) };
        // SAFETY: as in `bytes`.
        Some(unsafe { slice::from_raw_parts(start, len) })
    }

    /// How many bytes from the file's start can be borrowed.
    pub fn valid_bytes(&self) -> u64 {
        self.valid_bytes.load(Ordering::Acquire)
    }

    /// Says that the file is now `file_bytes` long: after it has grown, before it is cut.
    pub(super) fn set_valid(&self, file_bytes: u64) {
        let bytes = file_bytes.min(self.raw.len() as u64);
        #[cfg(not(loom))]
        if let Some(ahead) = &mut *lock(&self.ahead_bytes) {
            *ahead = bytes.min(*ahead);
        }
        // Release: pairs with the Acquire in `bytes` and `piece`.
        self.valid_bytes.store(bytes, Ordering::Release);
    }
}

#[cfg(not(loom))]
impl Map {
    /// Asks for huge pages behind all of it, also what the file has yet to grow to. A refusal is
    /// not told: then there are none.
    pub fn want_huge_pages(&self) {
        #[cfg(target_os = "linux")]
        let _ = self.raw.advise(Advice::HugePage);
    }

    /// From now on [`map_ahead`](Self::map_ahead) maps in.
    pub fn want_ahead(&self) {
        lock(&self.ahead_bytes).get_or_insert(0);
    }

    /// Maps in what of the file's first `end` bytes was not before, if that is wanted, and reads
    /// what of it the kernel does not have in memory. Only what has been written: to touch a hole
    /// fills it with small pages, and what is then written to it stays in them.
    pub fn map_ahead(&self, end: u64) {
        let end = end.min(self.valid_bytes());
        let from = match &mut *lock(&self.ahead_bytes) {
            Some(ahead) if *ahead < end => std::mem::replace(ahead, end),
            _ => return,
        };
        // Without the lock: where the file is cut meanwhile the kernel says so, and stops.
        for from in (from..end).step_by(AHEAD_BYTES as usize) {
            let len = AHEAD_BYTES.min(end - from);
            if self.map_piece(from as usize, len as usize).is_err() {
                return;
            }
        }
    }

    fn map_piece(&self, from: usize, len: usize) -> io::Result<()> {
        #[cfg(target_os = "linux")]
        if self.raw.advise_range(Advice::PopulateRead, from, len).is_ok() {
            return Ok(());
        }
        // An old kernel: at least it has them in memory before long.
        self.raw.advise_range(Advice::WillNeed, from, len)
    }
}

/// Models map no files ahead.
#[cfg(loom)]
impl Map {
    /// Does nothing.
    pub fn want_huge_pages(&self) {}

    /// Does nothing.
    pub fn want_ahead(&self) {}

    /// Does nothing.
    pub fn map_ahead(&self, _: u64) {}
}

/// The unit in which memory is fetched, in bytes.
pub const LINE_BYTES: usize = 64;

/// Starts to fetch the first line of `bytes` into the CPU's cache, and waits for nothing; where
/// there is no such instruction, reads it.
#[inline]
pub fn prefetch(bytes: &[u8]) {
    prefetch_at(bytes, 0);
}

/// As [`prefetch`], of the line at `at`, which may lie behind `bytes`: then nothing comes of it.
#[inline]
pub fn prefetch_at(bytes: &[u8], at: usize) {
    #[cfg(target_arch = "x86_64")]
    {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        // SAFETY: a prefetch of any address is allowed and accesses nothing.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(bytes.as_ptr().wrapping_add(at).cast()) };
    }
    #[cfg(not(target_arch = "x86_64"))]
    std::hint::black_box(bytes.get(at).copied());
}

/// As [`prefetch`], of all lines of something small; of something large the first ones, which the
/// CPU follows up by itself.
#[inline]
pub fn prefetch_all(bytes: &[u8]) {
    for line in bytes.chunks(LINE_BYTES).take(4) {
        prefetch(line);
    }
}

/// Has the kernel begin to write what is dirty of a part of `file`; see
/// [`start_writing`](super::StorageFile::start_writing). Here, because it needs a call that no safe
/// crate has.
#[cfg(target_os = "linux")]
pub(super) fn start_writing(file: &File, offset: u64, len: u64) {
    // What fails of the writing is kept for the next sync.
    let _ = write_back(file, offset, len, libc::SYNC_FILE_RANGE_WRITE);
}

/// Waits for what that began; see [`await_writing`](super::StorageFile::await_writing).
#[cfg(target_os = "linux")]
pub(super) fn await_writing(file: &File, offset: u64, len: u64) -> io::Result<()> {
    write_back(file, offset, len, libc::SYNC_FILE_RANGE_WAIT_BEFORE)
}

#[cfg(target_os = "linux")]
fn write_back(file: &File, offset: u64, len: u64, what: libc::c_uint) -> io::Result<()> {
    let (Ok(offset), Ok(len)) = (i64::try_from(offset), i64::try_from(len)) else { return Ok(()) };
    // SAFETY: the call has no duties: the descriptor is open while `file` is borrowed, and it
    // touches no memory of this process.
    match unsafe { libc::sync_file_range(file.as_raw_fd(), offset, len, what) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// As above, where there is no such call.
#[cfg(not(target_os = "linux"))]
pub(super) fn start_writing(_: &File, _: u64, _: u64) {}

/// As above, where there is no such call.
#[cfg(not(target_os = "linux"))]
pub(super) fn await_writing(_: &File, _: u64, _: u64) -> io::Result<()> {
    Ok(())
}

/// A page of memory that is zero in every process that is forked off; none where the kernel cannot.
#[cfg(target_os = "linux")]
#[cfg_attr(loom, allow(dead_code, reason = "models never fork"))]
pub(super) fn wiped_by_fork() -> Option<MmapMut> {
    use rustix::mm::{Advice, madvise};
    let mut page = MmapMut::map_anon(1).ok()?;
    // SAFETY: the range is a mapping of its own, private and anonymous, which lives on in `page`;
    // no reference into it is there now. In this process the advice changes nothing; in a forked
    // one the page stays mapped and readable, and is zero, which any byte may be.
    let advised = unsafe { madvise(page.as_mut_ptr().cast(), page.len(), Advice::LinuxWipeOnFork) };
    advised.ok()?;
    Some(page)
}

/// As above, where no kernel does it.
#[cfg(not(target_os = "linux"))]
pub(super) fn wiped_by_fork() -> Option<MmapMut> {
    None
}

#[cfg(loom)]
mod modeled {
    //! A map as models see it: memory in place of a file, that the model writes and cuts. Reading
    //! a page while it is written, or cut off, is a race that loom reports.

    use super::{AtomicU64, Map};
    use crate::sync::cell::UnsafeCell;
    use std::ptr::NonNull;

    /// The unit in which accesses are told apart: the smallest page.
    const PAGE_BYTES: usize = 4096;

    /// The memory.
    pub struct Mapping {
        start: NonNull<[u8]>,
        /// Whether the file stands behind each page.
        pages: Vec<UnsafeCell<bool>>,
    }

    // SAFETY: the memory is owned, and loom checks who accesses it from where, page by page.
    unsafe impl Send for Mapping {}
    // SAFETY: as above.
    unsafe impl Sync for Mapping {}

    impl Mapping {
        fn new(pages: usize) -> Mapping {
            let memory = vec![0; pages * PAGE_BYTES].into_boxed_slice();
            let start = NonNull::from(Box::leak(memory));
            Mapping { start, pages: (0..pages).map(|_| UnsafeCell::new(false)).collect() }
        }

        /// Its first byte.
        pub fn as_ptr(&self) -> *const u8 {
            self.start.as_ptr().cast()
        }

        /// Its length in bytes.
        pub fn len(&self) -> usize {
            self.start.len()
        }

        fn pages(&self, offset: usize, len: usize) -> &[UnsafeCell<bool>] {
            &self.pages[offset / PAGE_BYTES..(offset + len).div_ceil(PAGE_BYTES)]
        }

        /// A borrow of these bytes begins.
        pub fn touch(&self, offset: usize, len: usize) {
            for page in self.pages(offset, len) {
                // SAFETY: loom checks that nobody writes it meanwhile.
                let is_backed = page.with(|page| unsafe { *page });
                assert!(is_backed, "touched behind the file's end");
            }
        }

        fn set_backed(&self, offset: usize, len: usize, is_backed: bool) {
            for page in self.pages(offset, len) {
                // SAFETY: loom checks that the access is exclusive.
                page.with_mut(|page| unsafe { *page = is_backed });
            }
        }
    }

    impl Drop for Mapping {
        fn drop(&mut self) {
            // SAFETY: made by `Box::leak` in `new`, and freed only here.
            drop(unsafe { Box::from_raw(self.start.as_ptr()) });
        }
    }

    impl Map {
        /// A map of a file of no bytes yet, that may grow to so many pages.
        pub fn modeled(pages: usize) -> Map {
            Map { raw: Mapping::new(pages), valid_bytes: AtomicU64::new(0) }
        }

        /// The file has been written.
        pub fn written(&self, bytes: &[u8], offset: u64) {
            let offset = offset as usize;
            self.raw.set_backed(offset, bytes.len(), true);
            assert!(offset + bytes.len() <= self.raw.len(), "the model's map is too short");
            // SAFETY: in bounds, as asserted.
            let to = unsafe { self.raw.start.as_ptr().cast::<u8>().add(offset) };
            // SAFETY: exclusive, as loom has just checked; `bytes` is other memory.
            unsafe { to.copy_from_nonoverlapping(bytes.as_ptr(), bytes.len()) };
        }

        /// The file has grown to so many bytes, or is cut there once this returns.
        pub fn set_file_bytes(&self, bytes: u64) {
            let (from, to) = (self.valid_bytes() as usize, bytes as usize);
            if to >= from {
                self.raw.set_backed(from, to - from, true);
            }
            self.set_valid(bytes);
            if to < from {
                self.raw.set_backed(to, from - to, false);
            }
        }
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use std::os::unix::fs::FileExt;

    #[test]
    fn nothing_is_lent_beyond_the_file_or_the_reservation() {
        let file = tempfile::tempfile().unwrap();
        let map = Map::reserve(&file, 0, RESERVE_BYTES_MIN).unwrap();
        assert_eq!(map.bytes(0, 0), Some(&[][..]));
        assert_eq!(map.bytes(0, 1), None);
        file.set_len(RESERVE_BYTES_MIN + 8192).unwrap();
        assert_eq!(map.bytes(0, 1), None, "growth counts only once it is announced");
        map.set_valid(RESERVE_BYTES_MIN + 8192);
        assert_eq!(map.valid_bytes(), RESERVE_BYTES_MIN);
        file.write_all_at(b"end", RESERVE_BYTES_MIN - 3).unwrap();
        assert_eq!(map.bytes(RESERVE_BYTES_MIN - 3, 3), Some(&b"end"[..]));
        assert_eq!(map.bytes(RESERVE_BYTES_MIN - 3, 4), None);
        assert_eq!(map.bytes(RESERVE_BYTES_MIN, 1), None);
        assert_eq!(map.bytes(u64::MAX, 2), None);
        assert_eq!(map.bytes(1, usize::MAX), None);
        let last = (RESERVE_BYTES_MIN / 4096) as u32 - 1;
        assert_eq!(map.piece(last, 4096), map.bytes(RESERVE_BYTES_MIN - 4096, 4096));
        assert_eq!(map.piece(last, 4096).unwrap().len(), 4096);
        assert_eq!(map.piece(last + 1, 4096), None);
        assert_eq!(map.piece(u32::MAX, u32::MAX), None);
    }

    #[test]
    fn only_what_was_not_mapped_ahead_is_and_nothing_behind_the_file() {
        let file = tempfile::tempfile().unwrap();
        file.set_len(1 << 20).unwrap();
        let map = Map::reserve(&file, 1 << 20, RESERVE_BYTES_MIN).unwrap();
        let ahead = || *lock(&map.ahead_bytes);
        map.map_ahead(4096);
        assert_eq!(ahead(), None, "nobody asked for it");
        map.want_huge_pages();
        map.want_ahead();
        map.map_ahead(8192);
        map.want_ahead();
        assert_eq!(ahead(), Some(8192));
        map.map_ahead(4096);
        assert_eq!(ahead(), Some(8192));
        map.map_ahead(u64::MAX);
        assert_eq!(ahead(), Some(1 << 20));
        map.set_valid(12_288);
        file.set_len(12_288).unwrap();
        assert_eq!(ahead(), Some(12_288), "what was cut off is not there any more");
        // Behind the file's end the kernel refuses, and no signal comes.
        assert!(map.map_piece(0, 12_288).is_ok());
        map.set_valid(1 << 20);
        map.map_ahead(1 << 20);
        assert_eq!(map.bytes(0, 4096), Some(&[0; 4096][..]));
    }

    #[test]
    fn a_reservation_that_cannot_be_had_is_halved() {
        let file = tempfile::tempfile().unwrap();
        // More than the address space of any process.
        let map = Map::reserve(&file, 0, 1 << 62).unwrap();
        assert!((map.raw.len() as u64) < 1 << 62);
        assert!((map.raw.len() as u64) >= RESERVE_BYTES_MIN);
    }
}
