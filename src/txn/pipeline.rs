//! From logged to answered: one sync for all groups that wait for it, publication in their order,
//! then the answers.
//! Owns: [`Pipeline`], where the writer hands over groups, and the log thread's loop. Keeps I10,
//! I11 and I12: published implies logged, answered as durable implies synced, answered implies
//! visible.
//!
//! Absent on purpose: what a root and the log are. Loom runs the pipeline without a store.
//!
//! The writer settles a group itself if no group before it waits and it needs no sync, or holds a
//! lone request: a hop to another thread costs more than the rest of such a commit, and there is
//! nothing to be applied meanwhile.

use super::{
    answer::Home,
    metrics::{Metrics, add},
};
use crate::{
    error::{Error, Result},
    event::{Event, Events},
    publish::{Generation, Published, Version},
    seeded::{Bug, Seeded},
    sync::{
        Arc, Condvar, Mutex, MutexGuard, OnceLock, Twin,
        atomic::{AtomicU64, Ordering},
        is_planted, lock, now, wait, wait_timeout,
    },
};
use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

/// One request's answers, to be given in this order: visible, durable. Given by whichever thread
/// gets there; dropping it unanswered answers an error.
pub trait Acknowledge: Send {
    /// The commit is published.
    fn visible(&mut self);
    /// The commit is on the device.
    fn durable(&mut self);
    /// Both in one step: whoever waits is woken once.
    fn done(self: Box<Self>);
    /// It never will be; or, after a failed sync, nobody knows until the store is reopened.
    fn fail(self: Box<Self>, error: &Error);
    /// Whether anybody may still ask for the answer. False lets go of it early, and nothing more.
    fn is_awaited(&self) -> bool;
    /// Whether the caller has asked for a sync that was not promised.
    fn wants_sync(&self) -> bool;
}

/// The answers of one group's requests.
pub type Acks = Vec<Box<dyn Acknowledge>>;

/// What one log record holds, on its way to its readers.
pub struct Group<V> {
    /// What is published, and as what; none if the group only asks for a sync.
    pub root: Option<(Arc<V>, Generation)>,
    /// The last version that must be logged for the group to count.
    pub last: Version,
    /// Whether it may be seen only after a sync.
    pub needs_sync: bool,
    /// A sync is wanted by then, though nobody waits for it.
    pub sync_by: Option<Instant>,
    /// When the first of its requests was taken up.
    pub began: Instant,
    /// Its requests' answers.
    pub acks: Acks,
}

struct State<V> {
    groups: VecDeque<Group<V>>,
    /// The log thread holds groups that are not published yet.
    in_hand: bool,
    /// Visible, and their durable answer still owed.
    unsynced: VecDeque<(Version, Acks)>,
    sync_by: Option<Instant>,
    /// The length of `unsynced` at which it is swept.
    prune_at: usize,
    ended: bool,
}

impl<V> Default for State<V> {
    fn default() -> State<V> {
        State {
            groups: VecDeque::new(),
            in_hand: false,
            unsynced: VecDeque::new(),
            sync_by: None,
            prune_at: 0,
            ended: false,
        }
    }
}

impl<V> State<V> {
    /// Forgets callers that have gone: they want nothing any more.
    fn prune(&mut self) {
        if self.unsynced.len() > self.prune_at.max(1024) {
            for (_, acks) in &mut self.unsynced {
                acks.retain(|ack| ack.is_awaited());
            }
            self.unsynced.retain(|(_, acks)| !acks.is_empty());
            self.prune_at = 2 * self.unsynced.len();
        }
    }
}

/// The way from the writer to the readers.
pub struct Pipeline<V> {
    state: Mutex<State<V>>,
    changed: Condvar,
    published: Arc<Published<V>>,
    metrics: Arc<Metrics>,
    poison: OnceLock<Error>,
    home: Home,
    events: Events,
    /// The last version known durable, by the log or by a checkpoint.
    durable: AtomicU64,
}

impl<V> Pipeline<V> {
    /// A pipeline that publishes to `published`, where everything up to `durable` is durable.
    pub fn new(
        published: Arc<Published<V>>,
        metrics: Arc<Metrics>,
        home: Home,
        events: Events,
        durable: Version,
    ) -> Pipeline<V> {
        Pipeline {
            state: Mutex::new(State::default()),
            changed: Condvar::new(),
            published,
            metrics,
            poison: OnceLock::new(),
            home,
            events,
            durable: AtomicU64::new(durable.0),
        }
    }

    /// The error that poisoned the store, if one did.
    pub fn poison(&self) -> Option<&Error> {
        self.poison.get()
    }

    /// Poisons the store for writing, for good.
    pub fn set_poison(&self, error: &Error) {
        let is_first = self.poison.set(error.clone()).is_ok();
        self.home.poison();
        let guard = lock(&self.state);
        self.changed.notify_all();
        drop(guard);
        if is_first {
            self.events.report(|| Event::Poisoned { error: error.clone() });
        }
    }

    /// After a panic in the log thread: the groups that it held went with it, and nobody waits for
    /// them any more.
    pub fn drop_in_hand(&self, error: &Error) {
        self.set_poison(error);
        lock(&self.state).in_hand = false;
        self.changed.notify_all();
    }

    /// The last version known durable.
    pub fn durable(&self) -> Version {
        // Acquire: pairs with the Release in `note_durable`; whoever sees the number sees the
        // answers' causes.
        Version(self.durable.load(Ordering::Acquire))
    }

    /// Hands over a group that is in the log. Groups come from the writer alone, in their order.
    pub fn hand_over(&self, group: Group<V>) {
        self.take_over(group, Some);
    }

    /// As [`hand_over`](Self::hand_over), of a group of one request behind which nothing waits: it
    /// is synced here, by `sync` as [`run`](Self::run) does, if no group before it is on its way.
    pub fn hand_over_lone(
        &self,
        group: Group<V>,
        seeded: Seeded,
        sync: impl Fn() -> Result<Version>,
    ) {
        self.take_over(group, |group| {
            // Only the writer hands over and waits for idleness, and it is here: nobody misses
            // `in_hand` meanwhile. The log thread may still do a sync that is due; the log has
            // them one after the other.
            self.settle(VecDeque::from([group]), seeded, &sync);
            None
        });
    }

    /// Takes a group over, of which `alone` is given one that needs a sync and is the first; it
    /// gives back what it leaves to the log thread.
    fn take_over(&self, mut group: Group<V>, alone: impl FnOnce(Group<V>) -> Option<Group<V>>) {
        let mut state = lock(&self.state);
        let mut first = state.groups.is_empty() && !state.in_hand;
        if is_planted(Twin::LoneOvertakes) {
            first = true;
        }
        if first && group.needs_sync && self.poison().is_none() {
            drop(state);
            let Some(left) = alone(group) else { return };
            group = left;
            state = lock(&self.state);
        }
        if group.needs_sync || !first || self.poison().is_some() {
            state.groups.push_back(group);
            self.changed.notify_all();
            return;
        }
        self.sync_until(&mut state, group.sync_by);
        drop(state);
        self.publish(&mut group);
        self.owe(vec![group]);
    }

    /// Answers for `version`, which is published already: that it is visible, and, when it is, that
    /// it is durable; `needs_sync` says that it is to be so soon. From any thread.
    pub fn answer_for(&self, version: Version, mut ack: Box<dyn Acknowledge>, needs_sync: bool) {
        ack.visible();
        let mut state = lock(&self.state);
        // Under the lock, as in `owe`.
        if version <= self.durable() {
            drop(state);
            return ack.durable();
        }
        // Whoever took what was left may have been here already.
        if state.ended || self.poison().is_some() {
            drop(state);
            return ack.fail(self.poison().unwrap_or(&Error::Closed));
        }
        if needs_sync {
            state.sync_by = Some(now());
            self.changed.notify_all();
        }
        state.unsynced.push_back((version, vec![ack]));
        state.prune();
    }

    /// Asks for a sync of what is visible and not durable, without waiting for it.
    pub fn want_sync(&self) {
        let mut state = lock(&self.state);
        state.sync_by = Some(now());
        self.changed.notify_all();
    }

    /// Whether every group handed over so far is published or failed.
    pub fn is_idle(&self) -> bool {
        let state = lock(&self.state);
        state.groups.is_empty() && !state.in_hand
    }

    /// Waits until every group handed over is published or failed.
    pub fn wait_idle(&self) -> Result<()> {
        let mut state = lock(&self.state);
        while !state.groups.is_empty() || state.in_hand {
            state = wait(&self.changed, state);
        }
        match self.poison() {
            None => Ok(()),
            Some(error) => Err(error.clone()),
        }
    }

    /// Everything up to `version` is durable: gives the answers that waited for it.
    pub fn note_durable(&self, version: Version) {
        // Release: pairs with the Acquire in `durable`. What is known already counts too: the log
        // does not know of a version that a checkpoint committed without it.
        let known = self.durable.fetch_max(version.0, Ordering::AcqRel);
        let version = version.max(Version(known));
        let mut settled = Vec::new();
        let mut state = lock(&self.state);
        while state.unsynced.front().is_some_and(|(last, _)| *last <= version) {
            settled.extend(state.unsynced.pop_front());
        }
        drop(state);
        for ack in settled.iter_mut().flat_map(|(_, acks)| acks) {
            ack.durable();
        }
    }

    /// Ends the log thread once nothing is left to do.
    pub fn end(&self) {
        lock(&self.state).ended = true;
        self.changed.notify_all();
    }

    /// The log thread: syncs by `sync`, which answers the last version that it covered, publishes,
    /// answers, until [`end`](Self::end).
    pub fn run(&self, seeded: Seeded, sync: impl Fn() -> Result<Version>) {
        while let Some(groups) = self.next_work() {
            self.settle(groups, seeded, &sync);
            let mut state = lock(&self.state);
            state.in_hand = false;
            self.changed.notify_all();
        }
        let leftover = std::mem::take(&mut lock(&self.state).unsynced);
        let error = self.poison().cloned().unwrap_or(Error::Closed);
        for ack in leftover.into_iter().flat_map(|(_, acks)| acks) {
            ack.fail(&error);
        }
    }

    /// The groups to settle; none of them if only a sync is due. `None` at the end.
    fn next_work(&self) -> Option<VecDeque<Group<V>>> {
        let mut state: MutexGuard<'_, State<V>> = lock(&self.state);
        loop {
            if !state.groups.is_empty() {
                state.in_hand = true;
                return Some(std::mem::take(&mut state.groups));
            }
            if self.poison().is_some() {
                // No sync is due any more, or this thread would try it for ever.
                state.sync_by = None;
                if !state.unsynced.is_empty() {
                    return Some(VecDeque::new());
                }
            }
            let due = state.sync_by.map(|by| by.saturating_duration_since(now()));
            match due {
                Some(Duration::ZERO) => return Some(VecDeque::new()),
                _ if state.ended => return None,
                Some(left) => (state, _) = wait_timeout(&self.changed, state, left),
                None => state = wait(&self.changed, state),
            }
        }
    }

    fn settle(
        &self,
        mut groups: VecDeque<Group<V>>,
        seeded: Seeded,
        sync: &impl Fn() -> Result<Version>,
    ) {
        if seeded.has(Bug::AnsweredBeforeSync) {
            for group in &mut groups {
                self.publish(group);
                group.acks.drain(..).for_each(|mut ack| ack.durable());
            }
        }
        let due = {
            let state = lock(&self.state);
            state.sync_by.is_some_and(|by| by <= now())
        };
        let mut settled = Vec::new();
        while self.poison().is_none() && groups.front().is_some_and(|group| !group.needs_sync) {
            let mut group = groups.pop_front().expect("just seen");
            self.publish(&mut group);
            settled.push(group);
        }
        self.owe(settled);
        if groups.is_empty() && !due && self.poison().is_none() {
            return;
        }
        match self.sync(seeded, sync) {
            Ok(version) => {
                // Told before these groups are seen, so that nobody sees what is not told durable.
                self.durable.fetch_max(version.0, Ordering::Release);
                let mut settled = Vec::new();
                for mut group in groups {
                    if group.last <= version {
                        if is_planted(Twin::AnsweredBeforePublished) {
                            std::mem::take(&mut group.acks).into_iter().for_each(Acknowledge::done);
                        }
                        self.show(&mut group);
                        for ack in group.acks {
                            ack.done();
                        }
                    } else {
                        self.publish(&mut group);
                        settled.push(group);
                    }
                }
                self.owe(settled);
                self.note_durable(version);
            }
            Err(error) => {
                if is_planted(Twin::PublishedThoughUnsynced) {
                    for group in &mut groups {
                        self.show(group);
                    }
                }
                self.fail_all(groups, &error);
            }
        }
    }

    /// One sync of the log for everything appended so far.
    fn sync(&self, seeded: Seeded, sync: &impl Fn() -> Result<Version>) -> Result<Version> {
        if let Some(error) = self.poison() {
            return Err(error.clone());
        }
        lock(&self.state).sync_by = None;
        let began = now();
        let synced = sync();
        self.metrics.sync_latency.record(now() - began);
        add(&self.metrics.log_syncs, 1);
        if let Err(error) = &synced
            && !seeded.has(Bug::FailedSyncForgotten)
        {
            // Never retried: a later sync can report success with the data lost (I10).
            self.set_poison(error);
        }
        synced
    }

    fn publish(&self, group: &mut Group<V>) {
        self.show(group);
        for ack in &mut group.acks {
            ack.visible();
        }
    }

    /// Publishes a group that is not answered yet.
    fn show(&self, group: &mut Group<V>) {
        if let Some((root, generation)) = group.root.take() {
            self.published.publish(root, generation.0);
        }
        // Counted before the answers, so that whoever has one finds it counted.
        if !group.acks.is_empty() {
            self.metrics.commit_latency.record(now() - group.began);
        }
    }

    /// Has the log thread sync by then at the latest. A deadline that it were not told of would
    /// keep later ones from it, too, for they are not earlier.
    fn sync_until(&self, state: &mut State<V>, by: Option<Instant>) {
        if by.is_some_and(|by| state.sync_by.is_none_or(|earlier| by < earlier)) {
            state.sync_by = by;
            self.changed.notify_all();
        }
    }

    /// Keeps the answers that are still owed once a group is published: those that say "durable".
    fn owe(&self, groups: Vec<Group<V>>) {
        let mut settled: Acks = Vec::new();
        let mut state = lock(&self.state);
        for group in groups {
            if is_planted(Twin::DeadlineUntold) && group.sync_by.is_some() {
                state.sync_by = state.sync_by.or(group.sync_by);
            }
            // Under the lock, so that a sync that ends now either is seen here or sees the entry.
            if group.last <= self.durable() {
                settled.extend(group.acks);
                continue;
            }
            self.sync_until(&mut state, group.sync_by);
            // Most callers want no more than visibility: a store that never syncs must not keep an
            // answer for each commit.
            let acks: Acks = group.acks.into_iter().filter(|ack| ack.is_awaited()).collect();
            if acks.iter().any(|ack| ack.wants_sync()) {
                state.sync_by = Some(now());
                self.changed.notify_all();
            }
            if !acks.is_empty() {
                state.unsynced.push_back((group.last, acks));
            }
        }
        state.prune();
        drop(state);
        for ack in &mut settled {
            ack.durable();
        }
    }

    fn fail_all(&self, groups: VecDeque<Group<V>>, error: &Error) {
        let unsynced = std::mem::take(&mut lock(&self.state).unsynced);
        let owed = unsynced.into_iter().flat_map(|(_, acks)| acks);
        for ack in owed.chain(groups.into_iter().flat_map(|group| group.acks)) {
            ack.fail(error);
        }
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use crate::txn::{
        answer::{Promised, promise},
        request::ControlAck,
        snapshot::View,
    };

    /// A pipeline where everything up to version 5 is durable, and an answer that is owed for it.
    fn owing(needs_sync: bool) -> (Pipeline<View>, crate::txn::answer::Commit<()>) {
        let home = Home::default();
        let first = Arc::new(View::closed(Version(0), Generation(0)));
        let published = Arc::new(Published::new(first, 0));
        let metrics = Arc::new(Metrics::default());
        let pipeline =
            Pipeline::new(published, metrics, home.clone(), Events::default(), Version(0));
        pipeline.note_durable(Version(5));
        let (promise, commit) = promise(&home, Promised::Durable);
        pipeline.hand_over(Group {
            root: None,
            last: Version(5),
            needs_sync,
            sync_by: None,
            began: now(),
            acks: vec![Box::new(ControlAck(promise))],
        });
        (pipeline, commit)
    }

    #[test]
    fn what_a_checkpoint_made_durable_before_it_was_owed_is_answered() {
        let (_pipeline, commit) = owing(false);
        assert!(matches!(commit.durable().get(), Some(Ok(_))));
    }

    #[test]
    fn a_sync_answers_for_versions_that_only_a_checkpoint_has() {
        let (pipeline, commit) = owing(true);
        let groups = pipeline.next_work().expect("a group waits");
        pipeline.owe(groups.into());
        // The log knows of version 4 alone.
        pipeline.note_durable(Version(4));
        assert!(matches!(commit.durable().get(), Some(Ok(_))));
    }
}
