//! When the writer takes a checkpoint, what goes into it, and what follows from its end.
//! Owns: [`DurableMark`], what the newest durable meta page names. Keeps I3 and I10.

use super::{
    metrics::{self, Metrics},
    pipeline::Acknowledge,
    recover::renew_meta,
    request::Request,
    snapshot::View,
    writer::Writer,
};
use crate::{
    error::{Error, Resource, Result},
    event::Event,
    page::{
        PageId,
        meta::{LogPosition, Meta},
    },
    pager::{
        Pager, Pages,
        checkpoint::{CUT_SYNCS, Cut, Failure, write_cut, write_metas},
        write::{DirtyPage, Extent},
    },
    publish::{Generation, Lease, Pin},
    seeded::Bug,
    sync::{Arc, now},
    wal::{Position, Syncer},
};
use std::time::{Duration, Instant};

/// After a checkpoint that failed for want of space the next one waits this long, doubled each
/// time.
const BACKOFF_MIN: Duration = Duration::from_millis(50);
const BACKOFF_MAX: Duration = Duration::from_secs(5);

/// However many dirty pages are allowed, a recovery should not read more log than this.
const LOG_BYTES_MAX: u64 = 1 << 30;

/// What the newest durable meta page names, and how the last attempts to replace it went.
pub struct DurableMark {
    /// The meta page.
    pub meta: Meta,
    /// Its runs beside the trees: free again once no meta page names them.
    pub extras: Vec<Extent>,
    /// The runs of a checkpoint on its way.
    pub pending_extras: Vec<Extent>,
    /// Keeps the page numbers that it names from being used again.
    pub pin: Pin,
    /// Requests that wait for the next checkpoint to be durable.
    pub waiters: Vec<Box<dyn Acknowledge>>,
    /// After failures: when to try again, and the pause after that.
    pub retry: Option<(Instant, Duration)>,
    /// What the last attempt failed with.
    pub failure: Option<Error>,
    /// What the checkpoint that ended amid a group wrote.
    pub written: Vec<DirtyPage>,
    /// The device was found full: pages and segments that a checkpoint frees are wanted.
    pub is_room_wanted: bool,
}

/// One checkpoint on its way.
pub struct Job {
    /// What to write.
    pub cut: Cut,
    /// The snapshot it was taken from: its frames stay as long as this lives.
    pub root: Option<Arc<View>>,
    /// The pin of its page numbers, once it is durable.
    pub pin: Pin,
    /// The runs it writes beside the trees.
    pub extras: Vec<Extent>,
}

impl Job {
    /// Syncs the log through the cut, then writes it in its order.
    pub fn carry_out(&self, pager: &Arc<Pager>, syncer: &Syncer, m: &Metrics) -> Outcome {
        // The log first: a page must not be named before the commits that it holds are durable.
        let (_, is_log_synced) = syncer.sync_and_tell().map_err(Failure::Poisoned)?;
        write_cut(pager, &self.cut)?;
        metrics::add(&m.checkpoint_syncs, CUT_SYNCS + u64::from(is_log_synced));
        metrics::add(&m.page_bytes_written, self.cut.bytes(pager.page_bytes()));
        Ok(())
    }

    /// Maps in what has been written, if that is wanted: before the pages turn clean.
    pub fn map_ahead(&self, pager: &Pager) {
        pager.map_ahead(PageId(self.cut.meta.page_count));
    }
}

/// How a checkpoint ended.
pub type Outcome = Result<(), Failure>;

/// What the writer knows of the pages that no table names, at the moment of `view`.
pub struct Inventory {
    /// The version to check.
    pub view: Arc<View>,
    /// Free extents, waiting ones, and the runs that the meta page names.
    pub free: Vec<Extent>,
    /// The runs beside the trees.
    pub extras: Vec<Extent>,
    /// The page file's length, in pages.
    pub end: u32,
}

impl DurableMark {
    /// The mark of a store just opened.
    pub fn new(meta: Meta, extras: Vec<Extent>, pin: Pin) -> DurableMark {
        DurableMark {
            meta,
            extras,
            pending_extras: Vec::new(),
            pin,
            waiters: Vec::new(),
            retry: None,
            failure: None,
            written: Vec::new(),
            is_room_wanted: false,
        }
    }
}

/// A log position as the meta page keeps it.
pub fn log_position(position: Position) -> LogPosition {
    let Position { life, offset, chain } = position;
    LogPosition { life, offset, chain }
}

/// The log position that a meta page names.
pub fn position(kept: LogPosition) -> Position {
    let LogPosition { life, offset, chain } = kept;
    Position { life, offset, chain }
}

impl Writer {
    /// Waits until there is room for another group, by checkpoints if need be.
    ///
    /// # Errors
    /// `Error::Full` if dirty pages or the log are at their limit and checkpoints fail.
    pub(super) fn make_room(&mut self) -> Result<()> {
        loop {
            self.settle_checkpoint();
            if let Some(error) = self.engine.pipeline.poison() {
                return Err(error.clone());
            }
            let Some(lacking) = self.lacking() else { return Ok(()) };
            if self.engine.checkpointer.is_busy() {
                self.await_checkpoint();
                continue;
            }
            let waits = self.durable.retry.is_some_and(|(at, _)| now() < at);
            if waits || self.start_checkpoint().is_err() {
                return Err(Error::Full { what: lacking });
            }
        }
    }

    fn lacking(&self) -> Option<Resource> {
        if self.state.pages.dirty_bytes() >= self.engine.options.dirty_bytes {
            return Some(Resource::DirtyBytes);
        }
        let is_too_long = self.log.bytes() / 2 >= self.log_bytes_wanted();
        (is_too_long || self.log.is_cornered()).then_some(Resource::Log)
    }

    /// The log's length at which a checkpoint starts: as much as the dirty pages it stands for.
    fn log_bytes_wanted(&self) -> u64 {
        self.engine
            .options
            .dirty_bytes
            .max(4 * self.engine.options.log_segment_bytes)
            .min(LOG_BYTES_MAX)
    }

    /// Starts a checkpoint at half of the limits.
    pub(super) fn maybe_checkpoint(&mut self) {
        let waits = self.durable.retry.is_some_and(|(at, _)| now() < at);
        if self.wants_checkpoint() && !waits && !self.engine.checkpointer.is_busy() {
            // A failure is kept in `durable.failure` and tried again with backoff.
            let _ = self.start_checkpoint();
        }
    }

    /// How long the writer may sleep before it has something to do on its own: until a checkpoint
    /// that failed is tried again, as long as one is wanted.
    pub(super) fn next_wake(&self) -> Option<Duration> {
        let (at, _) = self.durable.retry?;
        let is_idle =
            !self.engine.checkpointer.is_busy() && self.engine.pipeline.poison().is_none();
        (is_idle && self.wants_checkpoint()).then(|| at.saturating_duration_since(now()))
    }

    fn wants_checkpoint(&self) -> bool {
        self.state.pages.dirty_bytes() >= self.engine.options.dirty_bytes / 2
            || self.log.bytes() >= self.log_bytes_wanted()
            || !self.durable.waiters.is_empty()
            || self.durable.is_room_wanted && self.state.version != self.durable.meta.version
    }

    /// Of a store that is poisoned: answers those who wait for what will not come.
    pub(super) fn give_up_waiting(&mut self, error: &Error) {
        self.answer_waiters(Err(error));
        if let Some(control) = self.deferred.take() {
            Request::Control(control).refuse(&Error::Poisoned);
        }
    }

    /// A checkpoint that holds everything up to now, answered when it is durable.
    pub(super) fn checkpoint_for(&mut self, ack: Box<dyn Acknowledge>) {
        // One that is on its way was cut before this request: another must follow.
        self.await_checkpoint();
        self.durable.retry = None;
        self.durable.waiters.push(ack);
        if let Err(error) = self.start_checkpoint() {
            self.answer_waiters(Err(&error));
        }
    }

    fn start_checkpoint(&mut self) -> Result<()> {
        // Nothing applied and unpublished: the cut is the published state, of which every page is
        // logged.
        self.engine.pipeline.wait_idle()?;
        let generation = self.generation;
        match self.cut() {
            Ok((job, lease)) => {
                if !self.has(Bug::DurablePinMissing) {
                    self.state.pages.pin_pages(self.state.version, generation, lease);
                }
                self.durable.pending_extras.clone_from(&job.extras);
                if self.has(Bug::LogReleasedEarly) {
                    self.log.release(position(job.cut.meta.log))?;
                }
                self.engine.checkpointer.start(Box::new(job));
                Ok(())
            }
            Err(error) => {
                self.note_failure(&error);
                Err(error)
            }
        }
    }

    /// Takes a cut of the state applied last.
    /// The lease is for [`WritePager::pin_pages`](crate::pager::write::WritePager::pin_pages).
    fn cut(&mut self) -> Result<(Job, Arc<Lease>)> {
        let (pin, lease) = Pin::new(&self.engine.bell);
        let (log, seeded) = (self.log.position(), self.syncer.seeded());
        let (cut, extras) = self.durable.cut(&mut self.state, log, seeded)?;
        self.durable.is_room_wanted = false;
        // The frames must stay until the cut is written: the published snapshot's pin holds them.
        let root = self.engine.published.pin();
        Ok((Job { cut, root: Some(root), pin, extras }, lease))
    }

    /// Takes note of a checkpoint that has ended, if one has.
    pub(super) fn settle_checkpoint(&mut self) {
        if let Some((job, outcome)) = self.engine.checkpointer.take_finished() {
            self.finish_checkpoint(*job, outcome);
        }
    }

    fn await_checkpoint(&mut self) {
        if let Some((job, outcome)) = self.engine.checkpointer.wait_finished() {
            self.finish_checkpoint(*job, outcome);
        }
    }

    fn finish_checkpoint(&mut self, job: Job, outcome: Outcome) {
        match outcome {
            Ok(()) => {
                let generation = self.next_generation();
                let written = self.advance(job);
                self.state.pages.mark_clean(&written, generation);
                self.republish(generation);
                self.answer_waiters(Ok(()));
            }
            Err(failure) => {
                self.abandon(job, &failure);
                self.answer_waiters(Err(failure.error()));
            }
        }
    }

    /// The durable mark moves: what only the former meta page named is free, the log behind it
    /// goes.
    fn advance(&mut self, job: Job) -> Vec<DirtyPage> {
        let Job { cut, root, pin, extras } = job;
        self.durable.pending_extras.clear();
        let former = std::mem::replace(&mut self.durable.extras, extras);
        for extent in former {
            self.state.pages.give_pages(extent);
        }
        self.durable.meta = cut.meta;
        self.durable.pin = pin;
        self.durable.retry = None;
        self.durable.failure = None;
        // Only now: the page numbers are held by the durable pin from here on.
        drop(root);
        metrics::add(&self.engine.metrics.checkpoints, 1);
        self.engine.pipeline.note_durable(self.durable.meta.version);
        let position = position(self.durable.meta.log);
        if let Err(error) = self.log.release(position) {
            // The segments stay until the next checkpoint or the next opening.
            self.durable.failure = Some(error);
        }
        cut.pages
    }

    fn abandon(&mut self, job: Job, failure: &Failure) {
        self.durable.pending_extras.clear();
        for extent in job.extras {
            self.state.pages.give_pages(extent);
        }
        match failure {
            Failure::Abandoned(error) => self.note_failure(error),
            Failure::Poisoned(error) => self.engine.pipeline.set_poison(error),
        }
    }

    fn note_failure(&mut self, error: &Error) {
        metrics::add(&self.engine.metrics.checkpoint_failures, 1);
        let pause = self.durable.retry.map_or(BACKOFF_MIN, |(_, pause)| pause);
        self.durable.retry = Some((now() + pause, (pause * 2).min(BACKOFF_MAX)));
        self.durable.failure = Some(error.clone());
        let failed = || Event::CheckpointFailed { error: error.clone(), retry_after: pause };
        self.engine.options.events.report(failed);
    }

    fn answer_waiters(&mut self, outcome: Result<(), &Error>) {
        for mut waiter in std::mem::take(&mut self.durable.waiters) {
            match outcome {
                Ok(()) => {
                    waiter.visible();
                    waiter.durable();
                }
                Err(error) => waiter.fail(error),
            }
        }
    }

    /// Commits the group just applied by a checkpoint, because the log does not hold it; nothing is
    /// applied after it until its meta pages are synced and it is published.
    ///
    /// # Errors
    /// The group is not committed and must be undone; or the store is poisoned.
    pub(super) fn commit_by_checkpoint(&mut self, generation: Generation) -> Result<()> {
        self.engine.pipeline.wait_idle()?;
        if let Some((job, outcome)) = self.engine.checkpointer.wait_finished() {
            // As `finish_checkpoint`, but the publication is left to this group: its generation is
            // reserved already.
            match outcome {
                Ok(()) => {
                    let written = self.advance(*job);
                    self.state.pages.mark_clean(&written, generation);
                    // Those that the group gave up are alive again if it is undone.
                    self.durable.written = written;
                    self.answer_waiters(Ok(()));
                }
                Err(failure) => {
                    self.abandon(*job, &failure);
                    self.answer_waiters(Err(failure.error()));
                    if let Failure::Poisoned(error) = failure {
                        return Err(error);
                    }
                }
            }
        }
        let (job, lease) = self.cut()?;
        let pager = Arc::clone(self.state.pages.pager());
        if let Err(failure) = job.carry_out(&pager, &self.syncer, &self.engine.metrics) {
            self.abandon(job, &failure);
            return Err(failure.error().clone());
        }
        self.durable.written.clear();
        self.state.pages.commit_group();
        self.state.pages.pin_pages(self.state.version, generation, lease);
        let root = self.root(generation);
        self.engine.published.publish(root, generation.0);
        job.map_ahead(&pager);
        let generation = self.next_generation();
        let written = self.advance(job);
        self.state.pages.mark_clean(&written, generation);
        self.republish(generation);
        Ok(())
    }

    /// After a group was undone amid which a checkpoint ended: pages that came back to life turn
    /// clean. Dirty they would be written again where the meta page names them.
    pub(super) fn settle_undone(&mut self) {
        let written = std::mem::take(&mut self.durable.written);
        if !written.is_empty() {
            let generation = self.next_generation();
            self.state.pages.mark_clean(&written, generation);
            self.republish(generation);
        }
    }

    /// Makes durable what recovery replayed, by a checkpoint that names the new log; nothing of it
    /// has been published. The writer has no other threads yet.
    ///
    /// # Errors
    /// The directory is as it was found, or holds the checkpoint; opening it again tells.
    pub fn settle_recovery(&mut self, records: u64) -> Result<()> {
        if self.has(Bug::NewLogUnnamed) {
            return Ok(());
        }
        if self.has(Bug::FoundLogReleasedEarly) {
            self.log.release(self.log.position())?;
        }
        if records == 0 || self.has(Bug::ReplayedNotWrittenAgain) {
            renew_meta(self.state.pages.pager(), &mut self.durable, &self.log)?;
            return self.log.release(self.log.position());
        }
        let (job, lease) = self.cut()?;
        let pager = Arc::clone(self.state.pages.pager());
        let outcome = job.carry_out(&pager, &self.syncer, &self.engine.metrics);
        outcome.map_err(|failure| failure.error().clone())?;
        job.map_ahead(&pager);
        self.state.pages.pin_pages(self.state.version, self.generation, lease);
        self.finish_checkpoint(job, Ok(()));
        Ok(())
    }

    /// The last act: everything handed over is settled, and a final checkpoint leaves no log
    /// behind.
    pub(super) fn close(&mut self) {
        let settled = self.engine.pipeline.wait_idle();
        self.await_checkpoint();
        if settled.is_ok() && self.engine.pipeline.poison().is_none() {
            match self.last_checkpoint() {
                Ok(()) => self.engine.pipeline.note_durable(self.state.version),
                Err(Failure::Poisoned(error)) => self.engine.pipeline.set_poison(&error),
                // The log still holds everything: the next opening replays it.
                Err(Failure::Abandoned(error)) => {
                    self.note_failure(&error);
                    if !self.has(Bug::ClosedWithoutSync) {
                        self.sync_log();
                    }
                }
            }
        }
        self.answer_waiters(Err(&Error::Closed));
        // The store lets go of the newest version first: who still holds that one counts, too.
        self.engine.publish_closed();
        self.state.pages.reclaim();
        let snapshots = self.state.pages.snapshots() as u64;
        metrics::set(&self.engine.metrics.gauges.snapshots, snapshots);
        self.engine.checkpointer.end();
        self.engine.pipeline.end();
    }

    /// The log holds everything, and the next opening replays it: if it is on the device, which
    /// relaxed commits have not waited for.
    fn sync_log(&self) {
        match self.syncer.sync() {
            Ok(version) => self.engine.pipeline.note_durable(version),
            Err(error) => self.engine.pipeline.set_poison(&error),
        }
    }

    /// Everything in the page file, and no log named: the next opening has nothing to read.
    fn last_checkpoint(&mut self) -> Result<(), Failure> {
        let pager = Arc::clone(self.state.pages.pager());
        let is_new = self.state.version != self.durable.meta.version;
        let is_new = is_new || self.state.pages.dirty_bytes() > 0;
        if is_new && !self.has(Bug::ClosedWithoutPages) {
            let (mut job, _lease) = self.cut().map_err(Failure::Abandoned)?;
            job.cut.meta.log = log_position(Position::NONE);
            return job.carry_out(&pager, &self.syncer, &self.engine.metrics);
        }
        let mut meta = self.durable.meta.clone();
        meta.log = log_position(Position::NONE);
        meta.sequence += 1;
        write_metas(&pager, &meta).map_err(Failure::Poisoned)
    }

    fn has(&self, bug: Bug) -> bool {
        self.syncer.seeded().has(bug)
    }

    /// What a check needs to know beside the newest version: all other pages.
    pub fn inventory(&mut self) -> Result<Inventory> {
        self.engine.pipeline.wait_idle()?;
        let view = self.engine.published.pin();
        let mut extras = self.durable.extras.clone();
        // A checkpoint on its way has taken pages for its own runs.
        extras.extend(&self.durable.pending_extras);
        let (free, end) = (self.state.pages.free_extents(), self.state.pages.end());
        Ok(Inventory { view, free, extras, end })
    }
}
