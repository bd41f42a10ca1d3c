//! The writer: takes requests, applies them in groups, logs each group, hands it on.
//! Owns: [`Writer`] and its loop. Keeps I2 and I11.
//!
//! A group is what was in the queue when the writer came to look. Each request is its own
//! savepoint, but short batches share one (the room `bundle`); the group is one log record. While
//! one group syncs, the next is applied. A request that outgrew the log ends its group, and the
//! group commits by a checkpoint (the room `checkpoint`).

use super::{
    answer::Home,
    bundle::Bundle,
    checkpoint::{DurableMark, Job, Outcome},
    checkpointer::Checkpointer,
    metrics::{self, Metrics},
    pipeline::{Acknowledge, Acks, Group, Pipeline},
    queue::{Inbox, Next, Received, Sleeper},
    readers::Readers,
    request::{BatchAck, Control, ControlAck, RefusedAck, Request, UndoneAck, WorkAck},
    seat::Seat,
    snapshot::View,
    work::Verdict,
    write::{Savepoint, WriteState, WriteTx},
};
use crate::{
    error::{Error, Resource, Result},
    event::Event,
    options::{Durability, Options},
    page::PageId,
    pager::{Pager, Pages, write::WritePager},
    publish::{Bell, Generation, LAST_WORD, Published, Version},
    sync::{Arc, PlainArc, Twin, is_planted, now, thread},
    wal::{Log, Syncer, record_bytes},
};
use std::time::{Duration, Instant};

/// A group is closed when it holds this many requests, so that answers are not put off for ever.
const GROUP_REQUESTS_MAX: usize = 4096;
/// A group that is to be synced may go to the page file in place of the log if fewer than this many
/// of its length fit into a segment: from 1 MiB on, by default.
const LONG_GROUPS_IN_SEGMENT: u64 = 16;
/// An alarm that is sooner than the one set by no more than this is the same.
const ALARM_SLACK: Duration = Duration::from_millis(1);
/// A full device is asked again after these pauses, before anything is given up.
const RETRY_PAUSES: [Duration; 3] =
    [Duration::from_millis(1), Duration::from_millis(10), Duration::from_millis(50)];

/// What the writer shares with every handle of the store.
pub struct Engine {
    /// What readers see.
    pub published: Arc<Published<View>>,
    /// Syncs, publishes, answers.
    pub pipeline: Pipeline<View>,
    /// Where cuts go.
    pub checkpointer: Checkpointer<Job, Outcome>,
    /// The counters.
    pub metrics: Arc<Metrics>,
    /// The options the store was opened with.
    pub options: Options,
    /// How the writer hears of dropped snapshots.
    pub bell: Arc<Bell>,
}

impl Engine {
    /// The engine of a store that shows `first`, where everything up to `durable` is durable.
    pub fn new(
        first: Arc<View>,
        home: &Home,
        durable: Version,
        options: Options,
        bell: Arc<Bell>,
    ) -> Engine {
        let word = first.generation.0;
        let published = Arc::new(Published::new(first, word));
        let metrics = Arc::new(Metrics::default());
        let (home, events) = (home.clone(), options.events.clone());
        let pipeline = Pipeline::new(published.clone(), metrics.clone(), home, events, durable);
        let checkpointer = Checkpointer::default();
        Engine { published, pipeline, checkpointer, metrics, options, bell }
    }

    /// Tells the gauges how things stand.
    pub fn gauge(&self, pages: &WritePager, log_bytes: u64) {
        let gauges = &self.metrics.gauges;
        let (free, waiting, end) = pages.space_pages();
        metrics::set(&gauges.log_bytes, log_bytes);
        metrics::set(&gauges.dirty_bytes, pages.dirty_bytes());
        metrics::set(&gauges.frame_bytes, pages.frame_bytes());
        metrics::set(&gauges.free_pages, u64::from(free));
        metrics::set(&gauges.waiting_pages, waiting);
        metrics::set(&gauges.file_pages, u64::from(end));
        metrics::set(&gauges.page_bytes, pages.page_bytes() as u64);
        metrics::set(&gauges.snapshots, pages.snapshots().saturating_sub(1) as u64);
    }
}

impl Engine {
    /// Lets go of the page file and its lock, but for the snapshots that live on.
    pub fn publish_closed(&self) {
        let version = self.published.pin().version;
        let closed = View::closed(version, Generation(LAST_WORD));
        self.published.publish(Arc::new(closed), LAST_WORD);
    }
}

/// What the writer works at.
pub struct Writer {
    pub(super) engine: PlainArc<Engine>,
    pub(super) inbox: Inbox<Request>,
    pub(super) state: Box<WriteState>,
    pub(super) log: Log,
    pub(super) syncer: Syncer,
    pub(super) durable: DurableMark,
    pub(super) generation: Generation,
    /// The last version that a sync is on its way for, or was asked for: the former because its
    /// group waits for it, the latter because half of what may be lost had come together.
    sync_promised: Version,
    sync_asked: Version,
    /// A control that ended the group in progress.
    pub(super) deferred: Option<Control>,
    /// Who holds versions that were replaced.
    pub(super) readers: Readers,
    /// The requests of the last group.
    group_requests: usize,
    /// When the writer thread wakes by itself.
    alarm: Option<Instant>,
    /// The memory of the last bundle, for the next.
    spare: Bundle,
    /// A caller serves its own request: it takes none of another's into its group.
    pub(super) is_led: bool,
    /// The page file was beyond `size_warning_bytes` when last looked at.
    is_large: bool,
}

/// What a group has gathered while it is applied.
pub(super) struct Gathered {
    start: Savepoint,
    began: Instant,
    acks: Acks,
    /// Answers to closures that were undone; they wait for the others.
    pub(super) undone: Acks,
    /// Batches that are applied together. Here, so that a panic drops them with all else that is
    /// not answered yet.
    pub(super) bundle: Bundle,
    requests: usize,
    pub(super) needs_sync: bool,
    sync_by: Option<Instant>,
    first: Version,
}

impl Writer {
    /// A writer over the state that recovery left.
    pub fn new(
        engine: PlainArc<Engine>,
        inbox: Inbox<Request>,
        state: Box<WriteState>,
        log: Log,
        durable: DurableMark,
        generation: Generation,
    ) -> Writer {
        let syncer = log.syncer();
        let mut readers = Readers::default();
        readers.note(&engine.published.guard(), engine.options.clock.now());
        Writer {
            engine,
            inbox,
            state,
            log,
            syncer,
            durable,
            generation,
            sync_promised: Version(0),
            sync_asked: Version(0),
            deferred: None,
            readers,
            group_requests: 1,
            alarm: None,
            spare: Bundle::default(),
            is_led: false,
            is_large: false,
        }
    }

    /// The writer thread: serves requests until the store is closed and the queue is empty, then
    /// closes. It is in its seat but while it sleeps.
    pub fn run(seat: &Seat<Writer>, sleeper: &Sleeper<Request>) {
        let mut seated = seat.sit();
        while let Some(writer) = &mut *seated {
            writer.settle_down();
            match writer.inbox.look() {
                Next::Request(request) => {
                    writer.serve(request);
                    seat.note_group(writer.group_requests);
                }
                Next::Nudged => {}
                Next::Ended => return writer.close(),
                Next::Nothing(seen) => {
                    let alarm = writer.alarm;
                    drop(seated);
                    sleeper.sleep(seen, alarm);
                    seated = seat.sit();
                }
            }
        }
    }

    /// Serves a request of the calling thread, which has the seat, if nothing is queued before it
    /// and no others are likely to join it in one sync; else gives it back.
    pub fn lead(&mut self, request: Request) -> Option<Request> {
        let Engine { options, pipeline, .. } = &*self.engine;
        let is_idle = self.inbox.is_idle() || is_planted(Twin::LeaderOvertakes);
        let is_synced = request.durability(options.durability) == Some(Durability::Sync);
        if !is_idle || !options.commit_delay.is_zero() || is_synced && !pipeline.is_idle() {
            return Some(request);
        }
        self.engine.bell.take();
        self.is_led = true;
        self.serve(request);
        self.is_led = false;
        let alarm = self.alarm;
        self.settle_down();
        match (self.alarm, alarm) {
            // What is told in time left differs by the time of the telling.
            (Some(at), Some(before)) if at + ALARM_SLACK >= before => self.alarm = alarm,
            // The writer thread sleeps for longer.
            (Some(_), _) => self.inbox.nudge(),
            (None, _) => {}
        }
        None
    }

    /// What is done between groups, until there is nothing more to do before the next request, the
    /// next nudge or the alarm.
    fn settle_down(&mut self) {
        loop {
            self.engine.bell.take();
            self.keep_house();
            if self.engine.bell.listen() {
                break;
            }
            // A snapshot was dropped since: there may be something to take back.
        }
        let wake = [self.next_wake(), self.next_watch()].into_iter().flatten().min();
        // A time beyond what the clock can tell never comes.
        self.alarm = wake.and_then(|wake| now().checked_add(wake));
    }

    fn serve(&mut self, request: Request) {
        if self.engine.pipeline.poison().is_some() {
            metrics::add(&self.engine.metrics.failures, 1);
            return request.refuse(&Error::Poisoned);
        }
        match request {
            Request::Control(control) => self.control(control),
            request => {
                self.group(request);
                if let Some(control) = self.deferred.take() {
                    self.control(control);
                }
            }
        }
    }

    fn control(&mut self, control: Control) {
        match control {
            Control::Sync(promise) => {
                let (root, last) = (None, self.state.version);
                let began = now();
                let (needs_sync, sync_by) = (true, None);
                let acks: Acks = vec![Box::new(ControlAck(promise))];
                self.engine.pipeline.hand_over(Group {
                    root,
                    last,
                    needs_sync,
                    sync_by,
                    began,
                    acks,
                });
            }
            Control::Checkpoint(promise) => self.checkpoint_for(Box::new(ControlAck(promise))),
            Control::Inspect(inspect) => inspect(self),
        }
    }

    /// Applies what is in the queue as one group, and commits it.
    fn group(&mut self, first: Request) {
        if let Err(error) = self.make_room() {
            metrics::add(&self.engine.metrics.failures, 1);
            return first.refuse(&error);
        }
        let generation = self.next_generation();
        let mut gathered = Gathered {
            start: self.state.begin_group(generation),
            began: now(),
            acks: Vec::new(),
            undone: Vec::new(),
            bundle: std::mem::take(&mut self.spare),
            requests: 0,
            needs_sync: false,
            sync_by: None,
            first: Version(self.state.version.0 + 1),
        };
        self.apply(first, &mut gathered);
        let log_bytes = self.log.record_bytes_max() / 2;
        while !self.is_led
            && gathered.requests < GROUP_REQUESTS_MAX
            && !self.state.is_large()
            && self.state.ops().len() < log_bytes
            && self.state.pages.dirty_bytes() < self.engine.options.dirty_bytes
            && self.deferred.is_none()
        {
            match self.next_request(&gathered) {
                Some(Request::Control(control)) => self.deferred = Some(control),
                Some(request) => self.apply(request, &mut gathered),
                None => break,
            }
        }
        self.end_bundle(&mut gathered);
        self.spare = std::mem::take(&mut gathered.bundle);
        self.group_requests = gathered.requests;
        self.durable.is_room_wanted |= self.state.pages.take_shortage();
        metrics::raise(&self.engine.metrics.group_requests_max, gathered.requests as u64);
        self.commit(gathered, generation);
    }

    /// The next request that is there already, or comes within the commit delay.
    fn next_request(&mut self, gathered: &Gathered) -> Option<Request> {
        if let Some(request) = self.inbox.try_recv() {
            return Some(request);
        }
        let delay = self.engine.options.commit_delay;
        let left = delay.checked_sub(now() - gathered.began).filter(|left| !left.is_zero())?;
        if !gathered.needs_sync {
            return None;
        }
        match self.inbox.recv(Some(left)) {
            Received::Request(request) => Some(request),
            _ => None,
        }
    }

    fn apply(&mut self, request: Request, gathered: &mut Gathered) {
        gathered.requests += 1;
        if !matches!(request, Request::Batch { .. }) {
            self.end_bundle(gathered);
        }
        match request {
            Request::Batch { batch, promise } => self.apply_batch(batch, promise, gathered),
            Request::Closure { mut work, durability } => {
                let point = self.state.begin_request();
                let verdict = work.run(&mut WriteTx::new(&mut self.state));
                if verdict == Verdict::Undo {
                    self.undo(point);
                    gathered.undone.push(Box::new(UndoneAck { work: Some(work) }));
                    return;
                }
                match self.state.finish_request(self.state.request_versions()) {
                    Ok(()) => {
                        let (work, version) = (Some(work), self.state.version);
                        let ack = WorkAck { work, version: version.0 };
                        self.keep(Box::new(ack), version, durability, gathered);
                    }
                    Err(error) => {
                        self.undo(point);
                        work.fail(error);
                    }
                }
            }
            Request::Optimistic { buffered, promise, durability } => {
                let point = self.state.begin_request();
                let judged = if is_planted(Twin::JudgedByPublished) {
                    let published = self.engine.published.pin();
                    buffered.judge(&published.catalog, &self.state.pages)
                } else {
                    buffered.judge(&self.state.catalog, &self.state.pages)
                };
                let committed = judged.and_then(|()| buffered.apply(&mut self.state));
                // Its snapshot may go: it has been judged.
                drop(buffered);
                match committed.and_then(|()| self.state.finish_request(1)) {
                    Ok(()) => {
                        let version = self.state.version;
                        let ack = BatchAck { promise, version: version.0 };
                        self.keep(Box::new(ack), version, durability, gathered);
                    }
                    Err(error) => {
                        self.undo(point);
                        gathered.undone.push(Box::new(RefusedAck { promise, error }));
                    }
                }
            }
            Request::Control(_) => unreachable!("controls end a group"),
        }
    }

    pub(super) fn undo(&mut self, point: Savepoint) {
        metrics::add(&self.engine.metrics.failures, 1);
        self.state.undo(point);
    }

    /// Notes that a request took `version`, and what it asks of its group.
    pub(super) fn keep(
        &mut self,
        ack: Box<dyn Acknowledge>,
        version: Version,
        durability: Durability,
        gathered: &mut Gathered,
    ) {
        gathered.acks.push(ack);
        let now = gathered.began;
        match durability {
            Durability::Sync => gathered.needs_sync = true,
            Durability::EveryCommits(n) => {
                // What is behind a group that waits for its sync is seen only after that.
                let durable = self.engine.pipeline.durable();
                let unsynced = version.0.saturating_sub(durable.max(self.sync_promised).0);
                if unsynced >= u64::from(n) {
                    gathered.needs_sync = true;
                } else if unsynced >= u64::from(n / 2) && durable >= self.sync_asked {
                    // Begun at half, in the background, so that a steady stream seldom waits for
                    // it.
                    self.sync_asked = version;
                    gathered.sync_by = Some(now);
                }
            }
            Durability::Interval(within) => {
                // A time beyond what the clock can tell never comes.
                if let Some(by) = now.checked_add(within / 2) {
                    gathered.sync_by = Some(gathered.sync_by.map_or(by, |earlier| earlier.min(by)));
                }
            }
            Durability::None => {}
        }
    }

    fn commit(&mut self, mut gathered: Gathered, generation: Generation) {
        if gathered.acks.is_empty() {
            // Every request was undone: nothing to log, and the generation is skipped. What it was
            // that the answers tell of may be in a group that nobody may hear of yet.
            self.state.pages.commit_group();
            let (root, last, began) = (None, self.state.version, gathered.began);
            let (needs_sync, sync_by, acks) = (false, None, gathered.undone);
            self.engine.pipeline.hand_over(Group { root, last, needs_sync, sync_by, began, acks });
            return;
        }
        let commits = gathered.acks.len() as u64;
        gathered.acks.append(&mut gathered.undone);
        if self.state.is_large() || gathered.needs_sync && self.is_mostly_pages() {
            return self.commit_large(gathered, generation, commits);
        }
        let logged = self.append(gathered.first);
        if let Err(error) = logged {
            let is_poisoned = self.log.is_poisoned();
            if matches!(error, Error::Full { what: Resource::Disk }) && !is_poisoned {
                // Where there is no room for another segment, and was none when the spare one was
                // to be made, no checkpoint helps the log: the group commits by one, as a large
                // transaction does.
                return self.commit_large(gathered, generation, commits);
            }
            if is_poisoned {
                self.engine.pipeline.set_poison(&error);
            }
            return self.fail(gathered, commits, &error);
        }
        if self.log.take_wish() {
            self.engine.checkpointer.want_rest();
        }
        self.count_commits(commits);
        let log_bytes = record_bytes(self.state.ops().len());
        metrics::add(&self.engine.metrics.log_bytes_written, log_bytes);
        self.state.pages.commit_group();
        let root = Some((self.root(generation), generation));
        if gathered.needs_sync {
            self.sync_promised = self.state.version;
        }
        let Gathered { began, acks, needs_sync, sync_by, requests, .. } = gathered;
        let last = self.state.version;
        let group = Group { root, last, needs_sync, sync_by, began, acks };
        // Of one request: the queue was empty when it had been applied. Led ones take no others.
        let is_alone = requests == 1 && (!self.is_led || self.inbox.is_idle());
        if is_alone && self.deferred.is_none() {
            let syncer = &self.syncer;
            self.engine.pipeline.hand_over_lone(group, syncer.seeded(), || syncer.sync());
        } else {
            self.engine.pipeline.hand_over(group);
        }
    }

    /// Whether the group is long, and nearly all that is dirty is its own: a checkpoint then writes
    /// little more than the log would have to, and nothing is written twice.
    fn is_mostly_pages(&self) -> bool {
        let ops_bytes = self.state.ops().len() as u64;
        let long = self.engine.options.log_segment_bytes / LONG_GROUPS_IN_SEGMENT;
        // After a checkpoint that failed the log is the better bet.
        let is_healthy = self.durable.retry.is_none();
        is_healthy && ops_bytes >= long && self.state.pages.due_bytes() <= 2 * ops_bytes
    }

    fn count_commits(&mut self, commits: u64) {
        metrics::add(&self.engine.metrics.groups, 1);
        metrics::add(&self.engine.metrics.commits, commits);
        metrics::add(&self.engine.metrics.user_bytes_written, self.state.user_bytes());
        self.count_spilled();
    }

    /// Counts what transactions wrote of their pages before they committed, or were undone.
    fn count_spilled(&mut self) {
        let bytes = self.state.pages.take_spilled_bytes();
        if bytes > 0 {
            metrics::add(&self.engine.metrics.page_bytes_written, bytes);
        }
    }

    fn commit_large(&mut self, gathered: Gathered, generation: Generation, commits: u64) {
        match self.commit_by_checkpoint(generation) {
            Ok(()) => {
                self.count_commits(commits);
                for mut ack in gathered.acks {
                    ack.visible();
                    ack.durable();
                }
            }
            Err(error) => self.fail(gathered, commits, &error),
        }
    }

    /// Undoes a whole group that could not be logged; nothing of it was ever seen.
    /// Those of its requests that failed by themselves were counted then.
    fn fail(&mut self, gathered: Gathered, commits: u64, error: &Error) {
        metrics::add(&self.engine.metrics.failures, commits);
        self.state.undo(gathered.start);
        self.state.pages.commit_group();
        self.settle_undone();
        // The sync that it asked for is asked for by nobody now.
        self.sync_asked = self.sync_asked.min(Version(gathered.first.0 - 1));
        for ack in gathered.acks {
            ack.fail(error);
        }
    }

    /// Appends the group's record; a full device is asked again a few times.
    fn append(&mut self, first: Version) -> Result<()> {
        let (last, synced) = (self.state.version, self.syncer.synced());
        let mut pauses = RETRY_PAUSES.iter();
        loop {
            let appended = self.log.append(first, last, synced, self.state.ops());
            match (appended, pauses.next()) {
                (Ok(_), _) => return Ok(()),
                (Err(Error::Full { what: Resource::Disk }), Some(&pause))
                    if !self.log.is_poisoned() =>
                {
                    metrics::add(&self.engine.metrics.retries, 1);
                    thread::sleep(pause);
                }
                (Err(error), _) => return Err(error),
            }
        }
    }

    pub(super) fn next_generation(&mut self) -> Generation {
        self.generation = Generation(self.generation.0 + 1);
        self.generation
    }

    /// The newest state, to be published as `generation`; pinned from this moment on.
    pub(super) fn root(&mut self, generation: Generation) -> Arc<View> {
        let root = self.state.view(generation, &self.engine.bell);
        self.readers.note(&root, self.engine.options.clock.now());
        root
    }

    /// What the store's other threads work with.
    pub fn shared_parts(&self) -> (Arc<Pager>, Syncer) {
        (Arc::clone(self.state.pages.pager()), self.syncer.clone())
    }

    /// Where its thread sleeps.
    pub fn sleeper(&self) -> Sleeper<Request> {
        self.inbox.sleeper()
    }

    /// Tells the gauges how things stand, and the listener if the file has become large.
    pub fn gauge(&mut self) {
        self.count_spilled();
        self.engine.gauge(&self.state.pages, self.log.bytes());
        let bytes = PageId(self.state.pages.end()).offset(self.state.pages.page_bytes());
        let threshold_bytes = self.engine.options.size_warning_bytes;
        let is_large = bytes > threshold_bytes;
        if is_large && !self.is_large {
            self.engine.options.events.report(|| Event::Large { bytes, threshold_bytes });
        }
        self.is_large = is_large;
    }

    /// Publishes the newest state once more, behind the groups that wait: frames and pages given up
    /// since then come back when the readers of earlier generations are gone.
    pub(super) fn republish(&mut self, generation: Generation) {
        let root = Some((self.root(generation), generation));
        let (last, began) = (self.state.version, now());
        let (needs_sync, sync_by, acks) = (false, None, Vec::new());
        self.engine.pipeline.hand_over(Group { root, last, needs_sync, sync_by, began, acks });
    }

    /// What is done between groups: checkpoints ended, readers gone, caches too full.
    fn keep_house(&mut self) {
        self.watch_readers();
        // Of a poisoned store too: whoever waits for this checkpoint is owed an answer (I11).
        self.settle_checkpoint();
        if let Some(error) = self.engine.pipeline.poison() {
            let error = error.clone();
            return self.give_up_waiting(&error);
        }
        self.state.pages.take_cached();
        self.state.pages.reclaim();
        let pager = Arc::clone(self.state.pages.pager());
        if pager.take_pressure() {
            let generation = self.next_generation();
            self.state.pages.evict(self.engine.options.cache_bytes / 2, generation);
            self.republish(generation);
            self.state.pages.reclaim();
        }
        self.maybe_checkpoint();
        self.gauge();
    }
}
