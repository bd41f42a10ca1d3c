//! What a store tells about itself.
//! Owns: [`Stats`]. Absent on purpose: a registry of metrics; a feature may carry these numbers to
//! one.

use crate::{
    store::Closed,
    txn::{
        metrics::{Latency, read},
        writer::Engine,
    },
};

/// What a store has done since it was opened, and what it holds. Gauges of the writer's state are
/// as of its last group.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Stats {
    /// The version that a snapshot taken now shows.
    pub version: u64,
    /// The last version known durable.
    pub durable_version: u64,
    /// Requests in the queue.
    pub queue_depth: usize,
    /// Requests that the queue holds at most.
    pub queue_capacity: usize,
    /// Requests that answered Ok.
    pub commits: u64,
    /// Requests that answered an error.
    pub failures: u64,
    /// Batches given back because the queue was full or closed.
    pub dropped: u64,
    /// Writes tried again because the device was full.
    pub retries: u64,
    /// Groups committed; `commits / groups` is the mean group.
    pub groups: u64,
    /// The largest group, in requests.
    pub group_requests_max: u64,
    /// Syncs of the log that answer commits, or that were asked for. Those with which it goes on in
    /// another segment are not counted: up to four, about once in `log_segment_bytes`.
    pub log_syncs: u64,
    /// Bytes that committed requests put in: encoded keys and values of inserts, encoded keys and
    /// bounds of removals, those that met nothing included. Dropped and renamed tables count
    /// nothing.
    pub user_bytes_written: u64,
    /// Bytes of records of commits appended to the log, headers included. What a segment begins and
    /// ends with (about 600 bytes) is not counted, nor the zeros that it is filled with when it is
    /// made.
    pub log_bytes_written: u64,
    /// Bytes of log that a recovery would read now.
    pub log_bytes: u64,
    /// Checkpoints that became durable.
    pub checkpoints: u64,
    /// Checkpoints that failed and were abandoned.
    pub checkpoint_failures: u64,
    /// Bytes written to the page file: the pages of checkpoints that became durable, with the
    /// catalog, the list of free space and the meta pages, and those that large transactions wrote
    /// before they ended.
    pub page_bytes_written: u64,
    /// Syncs that durable checkpoints made: three of the page file, and one of the log if it held
    /// something that was not synced.
    pub checkpoint_syncs: u64,
    /// Bytes in memory of what changed since the last checkpoint: of a leaf that changed little an
    /// eighth or a quarter of its page, which the checkpoint writes whole.
    pub dirty_bytes: u64,
    /// Bytes of frames, those that only old snapshots keep included.
    pub frame_bytes: u64,
    /// Pages that may be given out.
    pub free_pages: u64,
    /// Pages that wait for a reader or a checkpoint.
    pub waiting_pages: u64,
    /// The page file's length, in pages.
    pub file_pages: u64,
    /// The size of a page, in bytes.
    pub page_bytes: usize,
    /// Snapshots alive, the newest one, which the store itself holds, not counted.
    pub snapshots: usize,
    /// From the first of a group to its answers.
    pub commit_latency: Latency,
    /// Each sync of the log.
    pub sync_latency: Latency,
}

impl Stats {
    /// What was done since `before`, earlier numbers of the same store: counters count from there;
    /// gauges, the largest group and latencies are those of `self`.
    #[must_use]
    pub fn since(&self, before: &Stats) -> Stats {
        let less = |later: u64, earlier: u64| later.saturating_sub(earlier);
        Stats {
            commits: less(self.commits, before.commits),
            failures: less(self.failures, before.failures),
            dropped: less(self.dropped, before.dropped),
            retries: less(self.retries, before.retries),
            groups: less(self.groups, before.groups),
            log_syncs: less(self.log_syncs, before.log_syncs),
            user_bytes_written: less(self.user_bytes_written, before.user_bytes_written),
            log_bytes_written: less(self.log_bytes_written, before.log_bytes_written),
            checkpoints: less(self.checkpoints, before.checkpoints),
            checkpoint_failures: less(self.checkpoint_failures, before.checkpoint_failures),
            page_bytes_written: less(self.page_bytes_written, before.page_bytes_written),
            checkpoint_syncs: less(self.checkpoint_syncs, before.checkpoint_syncs),
            ..self.clone()
        }
    }

    /// Bytes written to the log and the page file.
    pub fn bytes_written(&self) -> u64 {
        self.log_bytes_written + self.page_bytes_written
    }

    /// Write amplification: how many bytes were written to the log and the page file for each byte
    /// that commits put in, as a ratio; none before the first. What is dirty has been written to
    /// the log alone, so right behind a checkpoint it tells the most. A device writes more: whole
    /// sectors or blocks of its own.
    ///
    /// ```
    /// # use recto::{Store, Table};
    /// # const AGES: Table<&str, u64> = Table::new("ages");
    /// # fn main() -> recto::Result<()> {
    /// let store = Store::in_memory()?;
    /// assert_eq!(store.stats().write_amplification(), None);
    /// store.write(|tx| tx.table(&AGES)?.insert("ada", 36))?;
    /// store.checkpoint()?;
    /// // One page of 4 KiB for an entry of a few bytes, and what every checkpoint writes beside.
    /// assert!(store.stats().write_amplification() > Some(1000.0));
    /// # Ok(()) }
    /// ```
    pub fn write_amplification(&self) -> Option<f64> {
        ratio(self.bytes_written(), self.user_bytes_written)
    }

    /// Syncs of the log and the page file, as far as [`log_syncs`](Self::log_syncs) and
    /// [`checkpoint_syncs`](Self::checkpoint_syncs) count them.
    pub fn syncs(&self) -> u64 {
        self.log_syncs + self.checkpoint_syncs
    }

    /// [`syncs`](Self::syncs) for each commit; none before the first.
    pub fn syncs_per_commit(&self) -> Option<f64> {
        ratio(self.syncs(), self.commits)
    }

    /// Bytes written to the log and the page file for each commit; none before the first.
    pub fn bytes_per_commit(&self) -> Option<f64> {
        ratio(self.bytes_written(), self.commits)
    }
}

#[expect(clippy::cast_precision_loss, reason = "counts beyond 2^53 round")]
fn ratio(of: u64, to: u64) -> Option<f64> {
    (to > 0).then(|| of as f64 / to as f64)
}

/// Collects the numbers.
pub(crate) fn collect(engine: &Engine, queue_depth: usize, queue_capacity: usize) -> Stats {
    let (m, gauges) = (&engine.metrics, &engine.metrics.gauges);
    Stats {
        version: engine.published.guard().version(),
        durable_version: engine.pipeline.durable().0,
        queue_depth,
        queue_capacity,
        commits: read(&m.commits),
        failures: read(&m.failures),
        dropped: read(&m.dropped),
        retries: read(&m.retries),
        groups: read(&m.groups),
        group_requests_max: read(&m.group_requests_max),
        log_syncs: read(&m.log_syncs),
        user_bytes_written: read(&m.user_bytes_written),
        log_bytes_written: read(&m.log_bytes_written),
        log_bytes: read(&gauges.log_bytes),
        checkpoints: read(&m.checkpoints),
        checkpoint_failures: read(&m.checkpoint_failures),
        page_bytes_written: read(&m.page_bytes_written),
        checkpoint_syncs: read(&m.checkpoint_syncs),
        dirty_bytes: read(&gauges.dirty_bytes),
        frame_bytes: read(&gauges.frame_bytes),
        free_pages: read(&gauges.free_pages),
        waiting_pages: read(&gauges.waiting_pages),
        file_pages: read(&gauges.file_pages),
        page_bytes: read(&gauges.page_bytes) as usize,
        snapshots: read(&gauges.snapshots) as usize,
        commit_latency: m.commit_latency.summary(),
        sync_latency: m.sync_latency.summary(),
    }
}

/// What a close that has ended found.
pub(crate) fn closed(engine: &Engine) -> Closed {
    let version = engine.published.guard().version();
    Closed { version, snapshots: read(&engine.metrics.gauges.snapshots) as usize }
}
