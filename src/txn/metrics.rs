//! What the store counts while it works.
//! Owns: [`Metrics`], counters that any thread may raise, and [`Histogram`]. Every counter stands
//! for itself and orders nothing, so all accesses are relaxed. In models nobody counts: each count
//! would be a step that costs them executions.

use crate::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

/// Four buckets to each power of two of nanoseconds, up to about an hour.
const BUCKETS: usize = if cfg!(loom) { 1 } else { 168 };

/// Durations in logarithmic buckets: each is known to within a quarter of its value.
pub struct Histogram {
    buckets: [AtomicU64; BUCKETS],
}

impl Default for Histogram {
    fn default() -> Histogram {
        Histogram { buckets: std::array::from_fn(|_| AtomicU64::new(0)) }
    }
}

impl Histogram {
    /// Counts one duration.
    pub fn record(&self, duration: Duration) {
        if cfg!(loom) {
            return;
        }
        let nanos = u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX).max(4);
        let power = nanos.ilog2();
        let quarter = (nanos >> (power - 2)) & 3;
        let bucket = ((power - 2) * 4) as usize + quarter as usize;
        self.buckets[bucket.min(BUCKETS - 1)].fetch_add(1, Relaxed);
    }

    /// The quantiles as they stand.
    pub fn summary(&self) -> Latency {
        let counts: Vec<u64> = self.buckets.iter().map(|bucket| bucket.load(Relaxed)).collect();
        let count: u64 = counts.iter().sum();
        let at = |thousandths: u64| {
            let wanted = (count * thousandths).div_ceil(1000).max(1);
            let mut seen = 0;
            let found = counts.iter().position(|n| {
                seen += n;
                seen >= wanted
            });
            found.map_or(Duration::ZERO, upper_bound)
        };
        Latency { count, p50: at(500), p99: at(990), p999: at(999), max: at(1000) }
    }
}

fn upper_bound(bucket: usize) -> Duration {
    let (power, quarter) = (bucket as u32 / 4 + 2, bucket as u64 % 4);
    Duration::from_nanos((quarter + 5) << (power - 2))
}

/// The quantiles of a latency, each an upper bound to within a quarter.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Latency {
    /// How many were measured.
    pub count: u64,
    /// The median.
    pub p50: Duration,
    /// 99 of 100 took no longer.
    pub p99: Duration,
    /// 999 of 1,000 took no longer.
    pub p999: Duration,
    /// None took longer.
    pub max: Duration,
}

/// The counters of one store.
#[derive(Default)]
pub struct Metrics {
    /// Requests that answered Ok.
    pub commits: AtomicU64,
    /// Requests that answered an error or panicked.
    pub failures: AtomicU64,
    /// Requests that were given back or timed out before they entered the queue.
    pub dropped: AtomicU64,
    /// Writes tried again after the device was full or a call was interrupted.
    pub retries: AtomicU64,
    /// Groups logged or committed by a checkpoint.
    pub groups: AtomicU64,
    /// The largest group, in requests.
    pub group_requests_max: AtomicU64,
    /// Syncs of the log.
    pub log_syncs: AtomicU64,
    /// Bytes of keys and values that commits brought.
    pub user_bytes_written: AtomicU64,
    /// Bytes of records appended to the log.
    pub log_bytes_written: AtomicU64,
    /// Checkpoints that became durable.
    pub checkpoints: AtomicU64,
    /// Checkpoints that failed and were abandoned.
    pub checkpoint_failures: AtomicU64,
    /// Bytes written to the page file, by checkpoints and by transactions that spill.
    pub page_bytes_written: AtomicU64,
    /// Syncs that checkpoints made.
    pub checkpoint_syncs: AtomicU64,
    /// From the start of a group to its answers.
    pub commit_latency: Histogram,
    /// Each sync of the log.
    pub sync_latency: Histogram,
    /// The writer's state.
    pub gauges: Gauges,
}

/// The writer's state as of its last group.
#[derive(Default)]
pub struct Gauges {
    /// Bytes of log that a recovery would read.
    pub log_bytes: AtomicU64,
    /// Bytes of pages changed since the last checkpoint.
    pub dirty_bytes: AtomicU64,
    /// Bytes of frames in use.
    pub frame_bytes: AtomicU64,
    /// Pages that may be given out.
    pub free_pages: AtomicU64,
    /// Pages that wait for a reader or a checkpoint.
    pub waiting_pages: AtomicU64,
    /// The page file's length, in pages.
    pub file_pages: AtomicU64,
    /// The size of a page, in bytes.
    pub page_bytes: AtomicU64,
    /// Snapshots alive beside the published one.
    pub snapshots: AtomicU64,
}

/// Sets a gauge.
pub fn set(gauge: &AtomicU64, to: u64) {
    if cfg!(not(loom)) {
        gauge.store(to, Relaxed);
    }
}

/// Raises a counter.
pub fn add(counter: &AtomicU64, by: u64) {
    if cfg!(not(loom)) {
        counter.fetch_add(by, Relaxed);
    }
}

/// Raises a maximum.
pub fn raise(counter: &AtomicU64, to: u64) {
    if cfg!(not(loom)) {
        counter.fetch_max(to, Relaxed);
    }
}

/// Reads a counter.
pub fn read(counter: &AtomicU64) -> u64 {
    counter.load(Relaxed)
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn a_quantile_is_an_upper_bound_within_a_quarter() {
        for nanos in [4u64, 5, 7, 8, 100, 999, 123_456, 7_000_000_000] {
            let histogram = Histogram::default();
            histogram.record(Duration::from_nanos(nanos));
            let found = histogram.summary().p999.as_nanos() as u64;
            assert!(found >= nanos && found <= nanos + nanos / 4 + 1, "{nanos} became {found}");
        }
        let histogram = Histogram::default();
        for nanos in 1..=1000u64 {
            histogram.record(Duration::from_nanos(nanos * 1000));
        }
        let summary = histogram.summary();
        assert_eq!(summary.count, 1000);
        assert!((500..=640).contains(&(summary.p50.as_nanos() / 1000)), "{:?}", summary.p50);
    }
}
