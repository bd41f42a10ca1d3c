//! What a snapshot costs that is held while everything is replaced again and again: in a process of
//! its own, with and without the snapshot.

use super::words;
use crate::{
    child,
    entries::{Data, NEW, Random},
    peers::{self, Mode, Peer, Recto},
    rows::{Run, count},
};
use recto::Stats;
use std::path::Path;

/// Entries of the store.
const ENTRIES: u64 = 10_000;
const UPDATES: u64 = 1_000_000;
/// Updates in a commit.
const BATCH: u64 = 100;
/// What one checkpoint may hold: less than the data, or it alone would be what is measured.
const DIRTY_BYTES: u64 = 1 << 20;

/// Runs the row, if it is wanted, for one of our names.
pub fn run(run: &Run<'_>, name: &str) {
    let entries = format!("{} of {}", count(ENTRIES), run.data);
    let title = format!("snapshot held through {} updates of {entries}", count(UPDATES));
    if !run.wants(&title) {
        return;
    }
    for (word, what) in [("with", "held"), ("without", "without it")] {
        let (dir, updates) = (run.dir(), UPDATES.to_string());
        let mut words = words("held", name, dir.path(), &updates, run.data);
        words.push(word);
        let found = child::figures(&words);
        let [live, pages, log, at_first, memory] = found[..] else { panic!("five figures") };
        let bound = live + DIRTY_BYTES as f64;
        let ratios = [pages, memory, pages + memory].map(|bytes| format!("{:.2}x", bytes / bound));
        let [file_ratio, memory_ratio, both_ratio] = ratios;
        let all = [live, DIRTY_BYTES as f64, pages, log, at_first, memory];
        let [live, one, pages, log, at_first, memory] =
            all.map(|bytes| format!("{:.1} MB", bytes / 1e6));
        let figure = format!(
            "at most: page file {pages}, RssAnon {memory} ({at_first} before the updates), other \
             files {log}; of live pages ({live}) and one checkpoint ({one}) together: page file \
             {file_ratio}, RssAnon {memory_ratio}, both {both_ratio}"
        );
        run.report.remark(&title, &format!("{name}, {what}"), figure);
    }
}

/// The child: prints the bytes of live pages, the most that the page file and the other files came
/// to, and the memory of no file, before the updates and at most.
pub fn child(name: &str, dir: &Path, updates: u64, data: Data, is_held: bool) {
    let before = child::anonymous_bytes();
    let recto =
        Recto::open_with(name, dir, Mode::NoSync, |options| options.dirty_bytes(DIRTY_BYTES));
    recto.bulk(&mut (0..ENTRIES).map(|i| data.entry(i)));
    recto.checkpoint();
    // Gauges are those of the last group but one when a commit is answered.
    (0..2).for_each(|_| recto.change([(None, data.key(0), data.value(0))].into_iter()));
    let stats = || recto.stats().expect("recto counts");
    let bytes = |pages: u64, stats: &Stats| pages * stats.page_bytes as u64;
    let at_first = stats();
    let live = bytes(at_first.file_pages - at_first.free_pages - at_first.waiting_pages, &at_first);
    let held = is_held.then(|| recto.snapshot());
    let sum = held.as_ref().map(peers::scan);
    let memory = || child::anonymous_bytes().saturating_sub(before);
    let (memory_first, mut pages_most, mut log_most, mut memory_most) = (memory(), 0, 0, 0);
    let mut random = Random::new(updates);
    for first in (0..updates).step_by(BATCH as usize) {
        let numbers = NEW + first..NEW + first + BATCH;
        let mut key = || data.key(random.below(ENTRIES));
        recto.change(numbers.map(|number| (None, key(), data.value(number))));
        let now = stats();
        let pages = bytes(now.file_pages, &now);
        pages_most = pages.max(pages_most);
        log_most = peers::file_bytes(dir).saturating_sub(pages).max(log_most);
        memory_most = memory().max(memory_most);
    }
    assert!(stats().checkpoints > at_first.checkpoints + 10, "checkpoints went on");
    assert_eq!(held.as_ref().map(peers::scan), sum, "the snapshot has changed");
    println!("{live} {pages_most} {log_most} {memory_first} {memory_most}");
    drop(held);
    Box::new(recto).close();
}
