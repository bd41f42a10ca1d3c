//! What the benches of all rooms stand on: entries, pages in memory, and how long to measure.
//!
//! `cargo bench` here asks of each room what its own work costs, with nothing above it and no disk
//! below it, so that a regression shows where it is: a minute for all. A room alone:
//! `cargo bench --bench tree`. What users see is measured beside the peers, in `benches/compare`.

use criterion::Criterion;
use recto::internals::{
    frames::Frames,
    pager::{Pager, alloc::FreeSpace, write::WritePager},
    publish::{Generation, Version},
    storage::{Storage, memory::MemoryStorage},
    sync::Arc,
};
use std::time::Duration;

/// The size of a page, in bytes: the one of a store whose options say nothing.
pub const PAGE_BYTES: usize = 4096;
/// The table that all pages are of.
pub const TABLE: u32 = 1;

/// Measures for a second, which shows 5 %.
pub fn criterion() -> Criterion {
    Criterion::default()
        .sample_size(30)
        .warm_up_time(Duration::from_millis(300))
        .measurement_time(Duration::from_secs(1))
}

/// A word without pattern for each number (splitmix64); no two numbers have the same.
pub fn mix(number: u64) -> u64 {
    let mut word = number.wrapping_mul(0x9E37_79B9_7F4A_7C15);
    word = (word ^ (word >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    word = (word ^ (word >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    word ^ (word >> 31)
}

/// Key number `i`: 24 bytes at random, as in data set A of the comparison.
pub fn key(i: u64) -> [u8; 24] {
    let mut key = [0; 24];
    let (words, _) = key.as_chunks_mut();
    (0..).zip(words).for_each(|(part, word)| *word = mix(i * 3 + part).to_be_bytes());
    key
}

/// Value number `i`: 150 bytes.
pub fn value(i: u64) -> [u8; 150] {
    [mix(i) as u8; 150]
}

/// Entries `numbers`, in the order of their keys.
pub fn sorted(numbers: impl Iterator<Item = u64>) -> Vec<([u8; 24], [u8; 150])> {
    let mut entries: Vec<_> = numbers.map(|i| (key(i), value(i))).collect();
    entries.sort_unstable();
    entries
}

/// The writer's pages over a file in memory that nobody reads beside it: what is given up comes
/// back with the next commit.
pub struct Workshop {
    /// The pages.
    pub pages: WritePager,
    version: u64,
}

impl Workshop {
    /// An empty page file.
    pub fn new() -> Workshop {
        let file = MemoryStorage::new().create("pages").expect("a file");
        let (frames, arena) = Frames::new(PAGE_BYTES, 0);
        let pager = Arc::new(Pager::new(file, None, frames, PAGE_BYTES, 7, 0));
        let pages = WritePager::new(pager, arena, FreeSpace::new(2)).expect("a pager");
        Workshop { pages, version: 0 }
    }

    /// Runs `work` as a transaction of its own, in a group of its own.
    pub fn commit<T>(&mut self, work: impl FnOnce(&mut WritePager) -> T) -> T {
        self.version += 1;
        self.pages.begin_group(Version(self.version - 1), Generation(self.version));
        self.pages.begin_request(Version(self.version));
        let done = work(&mut self.pages);
        self.pages.end_request().expect("all is in its place");
        self.pages.commit_group();
        self.pages.reclaim();
        done
    }

    /// Runs `work` as a transaction that is undone.
    pub fn undo<T>(&mut self, work: impl FnOnce(&mut WritePager) -> T) -> T {
        self.pages.begin_group(Version(self.version), Generation(self.version + 1));
        let before = self.pages.begin_request(Version(self.version + 1));
        let done = work(&mut self.pages);
        self.pages.undo(&before);
        self.pages.commit_group();
        done
    }
}

impl Default for Workshop {
    fn default() -> Workshop {
        Workshop::new()
    }
}
