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
    /// Syncs of the log; `log_syncs / commits` is what a commit costs the device.
    pub log_syncs: u64,
    /// Bytes of operations appended to the log.
    pub log_bytes_written: u64,
    /// Bytes of log that a recovery would read now.
    pub log_bytes: u64,
    /// Checkpoints that became durable.
    pub checkpoints: u64,
    /// Checkpoints that failed and were abandoned.
    pub checkpoint_failures: u64,
    /// Bytes of pages that checkpoints wrote.
    pub page_bytes_written: u64,
    /// Bytes of pages changed since the last checkpoint.
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
        log_bytes_written: read(&m.log_bytes),
        log_bytes: read(&gauges.log_bytes),
        checkpoints: read(&m.checkpoints),
        checkpoint_failures: read(&m.checkpoint_failures),
        page_bytes_written: read(&m.page_bytes_written),
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
