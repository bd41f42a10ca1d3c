//! Figures for people: latencies gathered by many threads, and numbers that can be read.
//! Owns: [`Latencies`], [`Tally`], [`Random`] and the ways to print.

use comfy_table::{CellAlignment, Table, presets};
use hdrhistogram::Histogram;
use std::{
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

/// The longest latency told apart from longer ones: a minute, in nanoseconds.
const LATENCY_NANOS_MAX: u64 = 60_000_000_000;

/// A histogram of latencies, to three digits.
pub fn histogram() -> Histogram<u64> {
    // These bounds are constant and valid.
    Histogram::new_with_bounds(1, LATENCY_NANOS_MAX, 3).expect("bounds in order")
}

/// Latencies of one kind of operation, gathered by many threads.
pub struct Latencies {
    /// Since the last [`take`](Self::take).
    recent: Mutex<Histogram<u64>>,
}

impl Latencies {
    /// None yet.
    pub fn new() -> Latencies {
        Latencies { recent: Mutex::new(histogram()) }
    }

    /// What came since the last call; it is added to `all`.
    pub fn take(&self, all: &mut Histogram<u64>) -> Histogram<u64> {
        let recent = std::mem::replace(&mut *self.lock(), histogram());
        // Equal bounds: adding cannot fail.
        all.add(&recent).expect("histograms of equal bounds");
        recent
    }

    fn lock(&self) -> MutexGuard<'_, Histogram<u64>> {
        self.recent.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One thread's latencies on their way to the others': handed over now and then, so that threads
/// that read do not meet at a lock for every read.
pub struct Tally<'l> {
    to: &'l Latencies,
    own: Histogram<u64>,
    handed: Instant,
}

impl<'l> Tally<'l> {
    const INTERVAL: Duration = Duration::from_millis(20);

    /// A tally of its own for a thread.
    pub fn new(to: &'l Latencies) -> Tally<'l> {
        Tally { to, own: histogram(), handed: Instant::now() }
    }

    /// Counts an operation that began at `began` and ends now.
    pub fn record(&mut self, began: Instant) {
        let now = Instant::now();
        let nanos = u64::try_from((now - began).as_nanos()).unwrap_or(u64::MAX);
        self.own.saturating_record(nanos.max(1));
        if now - self.handed >= Tally::INTERVAL {
            self.hand_over();
            self.handed = now;
        }
    }

    fn hand_over(&mut self) {
        self.to.lock().add(&self.own).expect("histograms of equal bounds");
        self.own.reset();
    }
}

impl Drop for Tally<'_> {
    fn drop(&mut self) {
        self.hand_over();
    }
}

/// Numbers that look random and come again with the same seed (`SplitMix64`, Steele et al. 2014).
#[derive(Clone, Debug)]
pub struct Random(u64);

impl Random {
    /// The sequence that `seed` begins.
    pub fn new(seed: u64) -> Random {
        Random(seed)
    }

    /// The next 64 bits.
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number below `bound`, which is not 0.
    pub fn below(&mut self, bound: usize) -> usize {
        (self.next() % bound as u64) as usize
    }
}

/// A duration with three digits or so: `850 ns`, `12.3 us`, `4.56 ms`, `7.8 s`.
pub fn duration(nanos: u64) -> String {
    let wide = nanos as f64;
    match nanos {
        0..1_000 => format!("{nanos} ns"),
        1_000..1_000_000 => format!("{:.1} us", wide / 1e3),
        1_000_000..1_000_000_000 => format!("{:.2} ms", wide / 1e6),
        _ => format!("{:.2} s", wide / 1e9),
    }
}

/// A count with commas: `1,234,567`.
pub fn count(count: u64) -> String {
    let digits = count.to_string();
    let mut shown = String::new();
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            shown.push(',');
        }
        shown.push(digit);
    }
    shown
}

/// A rate per second, rounded.
pub fn rate(events: u64, over: Duration) -> u64 {
    (events as f64 / over.as_secs_f64().max(1e-9)) as u64
}

/// Bytes in the unit that suits them.
pub fn bytes(bytes: u64) -> String {
    let wide = bytes as f64;
    match bytes {
        0..1024 => format!("{bytes} B"),
        1024..1_048_576 => format!("{:.1} KiB", wide / 1024.0),
        1_048_576..1_073_741_824 => format!("{:.1} MiB", wide / 1_048_576.0),
        _ => format!("{:.2} GiB", wide / 1_073_741_824.0),
    }
}

/// An empty table.
pub fn table(header: &[&str]) -> Table {
    let mut table = Table::new();
    table.load_style(presets::ASCII_MARKDOWN).set_header(header.to_vec());
    table
}

/// Aligns a table whose first column is text and whose others are numbers.
pub fn align(table: &mut Table) {
    for column in table.column_iter_mut().skip(1) {
        column.set_cell_alignment(CellAlignment::Right);
    }
}

/// The median, 99, 99.9 of 100 and the longest of `histogram`.
pub fn quantiles(histogram: &Histogram<u64>) -> [String; 4] {
    let at = |quantile| duration(histogram.value_at_quantile(quantile));
    [at(0.5), at(0.99), at(0.999), duration(histogram.max())]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_printed_for_people() {
        assert_eq!(count(0), "0");
        assert_eq!(count(1_234_567), "1,234,567");
        assert_eq!(count(123_456), "123,456");
        assert_eq!(duration(999), "999 ns");
        assert_eq!(duration(12_345), "12.3 us");
        assert_eq!(duration(4_560_000), "4.56 ms");
        assert_eq!(bytes(3 << 20), "3.0 MiB");
        assert_eq!(rate(500, Duration::from_millis(500)), 1000);
    }

    #[test]
    fn what_a_thread_tallies_reaches_the_others() {
        let latencies = Latencies::new();
        let mut tally = Tally::new(&latencies);
        for _ in 0..1000 {
            tally.record(Instant::now());
        }
        drop(tally);
        let mut all = histogram();
        assert_eq!(latencies.take(&mut all).len(), 1000);
        assert_eq!(latencies.take(&mut all).len(), 0);
        assert_eq!(all.len(), 1000);
    }

    #[test]
    fn the_same_seed_gives_the_same_numbers() {
        let (mut a, mut b) = (Random::new(7), Random::new(7));
        assert!((0..100).all(|_| a.next() == b.next()));
        assert_ne!(Random::new(7).next(), Random::new(8).next());
        assert!((0..100).all(|_| a.below(3) < 3));
    }
}
