//! One word a page: cold, clean, or the number of the frame that holds it.
//! Owns: [`Slots`], a table that grows by chunks that never move, so that readers need no lock.
//! Keeps: the only change that readers make is from cold, by compare-and-swap.
//! Absent on purpose: what a frame is, and when a page may turn clean.

use super::frames::FrameId;
use crate::sync::{
    OnceLock,
    atomic::{
        AtomicU32,
        Ordering::{Acquire, Release},
    },
};

/// Where the bytes of a page are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Slot {
    /// In the page file; its checksum has not been verified since the store was opened.
    Cold,
    /// In the page file, verified.
    Clean,
    /// In a frame.
    Frame(FrameId),
}

const COLD: u32 = 0;
const CLEAN: u32 = 1;
const FIRST_FRAME: u32 = 2;

impl Slot {
    fn word(self) -> u32 {
        match self {
            Slot::Cold => COLD,
            Slot::Clean => CLEAN,
            Slot::Frame(FrameId(number)) => number + FIRST_FRAME,
        }
    }

    #[inline]
    fn of(word: u32) -> Slot {
        match word {
            COLD => Slot::Cold,
            CLEAN => Slot::Clean,
            _ => Slot::Frame(FrameId(word - FIRST_FRAME)),
        }
    }
}

/// The length of the first chunk; each further one is twice as long as the one before.
const FIRST_CHUNK_SLOTS: u64 = if cfg!(loom) { 2 } else { 1024 };
const FIRST_CHUNK: usize = FIRST_CHUNK_SLOTS.trailing_zeros() as usize;
/// With those before the first, which hold nothing, so that a lookup need not count without them.
const CHUNKS: usize = 33;
const _: () = assert!(FIRST_CHUNK_SLOTS.is_power_of_two());

/// The state word of every page. A chunk is made when one of its words first leaves cold, so that
/// opening a large store costs nothing here.
pub struct Slots {
    chunks: [OnceLock<Box<[AtomicU32]>>; CHUNKS],
}

/// The chunk of a page, and its place in it.
#[inline]
fn place(page: u32) -> (usize, usize) {
    let number = u64::from(page) + FIRST_CHUNK_SLOTS;
    let top = number.ilog2();
    // The number without its top bit.
    (top as usize, (number ^ 1 << top) as usize)
}

impl Default for Slots {
    fn default() -> Slots {
        Slots { chunks: std::array::from_fn(|_| OnceLock::new()) }
    }
}

impl Slots {
    /// The state of a page; cold if nobody has ever said otherwise.
    #[inline]
    pub fn load(&self, page: u32) -> Slot {
        let (chunk, index) = place(page);
        let Some(chunk) = self.chunks[chunk].get() else {
            return Slot::Cold;
        };
        // Acquire: pairs with the Release in `set` and `fill`; the frame's bytes were written
        // before.
        Slot::of(chunk[index].load(Acquire))
    }

    /// Changes the state of a page. The writer thread's alone.
    pub fn set(&self, page: u32, slot: Slot) {
        // Release: the frame's bytes come before; pairs with the Acquire in `load`.
        self.word(page).store(slot.word(), Release);
    }

    /// Changes the state of a page from cold, as a reader may that reaches it through a pinned
    /// tree; else answers the state that it has.
    pub fn fill(&self, page: u32, slot: Slot) -> Result<(), Slot> {
        // Release: the frame's bytes, filled by this reader, come before; pairs with the Acquire in
        // `load`. Acquire on failure: another reader's frame is about to be read.
        match self.word(page).compare_exchange(COLD, slot.word(), Release, Acquire) {
            Ok(_) => Ok(()),
            Err(word) => Err(Slot::of(word)),
        }
    }

    /// Makes room for the states of pages below `pages`, so that no later change of one allocates.
    pub fn grow(&self, pages: u32) {
        for chunk in FIRST_CHUNK..pages.checked_sub(1).map_or(0, |last| place(last).0 + 1) {
            self.chunk(chunk);
        }
    }

    fn word(&self, page: u32) -> &AtomicU32 {
        let (chunk, index) = place(page);
        &self.chunk(chunk)[index]
    }

    fn chunk(&self, chunk: usize) -> &[AtomicU32] {
        self.chunks[chunk]
            .get_or_init(|| (0..1u64 << chunk).map(|_| AtomicU32::new(COLD)).collect())
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn every_page_has_a_place_of_its_own() {
        let mut expected = (FIRST_CHUNK, 0);
        for page in 0..100_000 {
            assert_eq!(place(page), expected);
            expected.1 += 1;
            if expected.1 == 1 << expected.0 {
                expected = (expected.0 + 1, 0);
            }
        }
        let last = place(u32::MAX);
        assert_eq!(last, (CHUNKS - 1, FIRST_CHUNK_SLOTS as usize - 1));
    }

    #[test]
    fn states_are_kept_and_only_cold_is_filled() {
        let slots = Slots::default();
        assert_eq!(slots.load(u32::MAX), Slot::Cold);
        slots.grow(5000);
        for page in [0, 1023, 1024, 4999, 5000, 70_000] {
            assert_eq!(slots.load(page), Slot::Cold);
            let frame = Slot::Frame(FrameId(page));
            assert_eq!(slots.fill(page, frame), Ok(()));
            assert_eq!(slots.load(page), frame);
            assert_eq!(slots.fill(page, Slot::Clean), Err(frame));
            slots.set(page, Slot::Clean);
            assert_eq!(slots.load(page), Slot::Clean);
            assert_eq!(slots.fill(page, frame), Err(Slot::Clean));
            slots.set(page, Slot::Cold);
            assert_eq!(slots.load(page), Slot::Cold);
        }
        let last = Slot::Frame(FrameId(u32::MAX - FIRST_FRAME));
        slots.set(3, last);
        assert_eq!(slots.load(3), last);
    }
}
