//! Who still reads what has been replaced: the list of such versions, and how long they may.
//! Owns: [`Readers`], which is the writer's, and [`ReaderReport`].
//! A snapshot is a count of the version that it shows, and takes part in no list; so what is known
//! of readers is known of versions. Time runs from when a version was replaced: before that,
//! whoever holds it costs nothing. Keeps I4: a version that is to be let go of is marked where its
//! readers look anyway; what readers find as the newest never is.
//! Absent on purpose: freeing. What was lent stays valid; pages go when the last holder does.

use super::{
    snapshot::View,
    writer::{Engine, Writer},
};
use crate::{
    event::Event,
    pager::write::WritePager,
    publish::{Generation, Lease, Leased, Version},
    sync::Arc,
};
use std::{panic::Location, time::Duration};

/// How soon the writer looks again at a version whose successor is not published yet.
const LOOK_AGAIN: Duration = Duration::from_millis(1);

/// A version that was replaced and is still held: see [`Store::readers`](crate::Store::readers).
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ReaderReport {
    /// The version that its holders read.
    pub version: u64,
    /// How long ago it was replaced.
    pub age: Duration,
    /// Bytes of pages in the page file that are kept for it and for older ones, and for no newer.
    pub retained_bytes: u64,
    /// Whether its holders were told to let go of it.
    pub is_evicted: bool,
    /// Where the first of its snapshots was taken; known where debug assertions are on.
    pub taken_at: Option<&'static Location<'static>>,
}

/// The versions that are held, oldest first; the newest one is last, held by the store itself.
#[derive(Default)]
pub struct Readers {
    held: Vec<Held>,
}

struct Held {
    version: Version,
    generation: Generation,
    lease: Arc<Lease>,
    /// When it was replaced in the writer's eyes; none of the newest. While readers still find it
    /// newest, when that was last seen.
    replaced: Option<Duration>,
    is_warned: bool,
}

impl Readers {
    /// Notes that `view` replaces what was the newest.
    pub fn note(&mut self, view: &View, now: Duration) {
        if let Some(last) = self.held.last_mut() {
            last.replaced.get_or_insert(now);
        }
        if let Some(lease) = view.lease() {
            let (version, generation) = (view.version, view.generation);
            let lease = Arc::clone(lease);
            self.held.push(Held { version, generation, lease, replaced: None, is_warned: false });
        }
    }

    /// Forgets those that have gone; of those before the one that readers find, warns of those past
    /// half of the time-out, and evicts those past it. `limit` is the time-out, and the generation
    /// that readers find. What is to be reported of it.
    fn sweep(&mut self, now: Duration, limit: Option<(Duration, Generation)>) -> Vec<Event> {
        self.held.retain(|held| !held.lease.is_released());
        let mut events = Vec::new();
        let Some((timeout, published)) = limit else { return events };
        for held in &mut self.held {
            let Some(replaced) = &mut held.replaced else { continue };
            if held.generation >= published {
                // What was to replace it waits for a sync, or has failed: it is all there is to
                // read.
                *replaced = now;
                continue;
            }
            let (version, age) = (held.version.0, now.saturating_sub(*replaced));
            if age >= timeout / 2 && !held.is_warned {
                held.is_warned = true;
                let taken_at = held.lease.taken_at();
                events.push(Event::SlowReader { version, age, taken_at });
            }
            if age >= timeout && !held.lease.is_evicted() {
                held.lease.evict();
                events.push(Event::SnapshotEvicted { version, age });
            }
        }
        events
    }

    /// How long until there is something to warn of or to evict.
    fn next_due(
        &self,
        now: Duration,
        timeout: Duration,
        published: Generation,
    ) -> Option<Duration> {
        let due = self.held.iter().filter_map(|held| {
            let after = if held.is_warned { timeout } else { timeout / 2 };
            let left = held.replaced?.checked_add(after)?.saturating_sub(now);
            let least = if held.generation >= published { LOOK_AGAIN } else { Duration::ZERO };
            (!held.lease.is_evicted()).then_some(left.max(least))
        });
        due.min()
    }

    fn report(
        &self,
        now: Duration,
        published: Generation,
        pages: &WritePager,
    ) -> Vec<ReaderReport> {
        let retained = pages.retained_bytes();
        let before = self.held.iter().filter(|held| held.generation < published);
        let reports = before.filter_map(|held| {
            let of = |pin: &&(Generation, u64)| pin.0 == held.generation;
            Some(ReaderReport {
                version: held.version.0,
                age: now.saturating_sub(held.replaced?),
                retained_bytes: retained.iter().filter(of).map(|pin| pin.1).sum(),
                is_evicted: held.lease.is_evicted(),
                taken_at: held.lease.taken_at(),
            })
        });
        reports.collect()
    }
}

impl Writer {
    /// Looks after readers of versions that were replaced, if there are any.
    pub(super) fn watch_readers(&mut self) {
        if self.readers.held.len() > 1 {
            let Engine { options, published, .. } = &*self.engine;
            let limit = options.reader_timeout;
            let limit = limit.map(|timeout| (timeout, Generation(published.word())));
            let events = self.readers.sweep(options.clock.now(), limit);
            for event in events {
                self.engine.options.events.report(|| event);
            }
        }
    }

    /// How long the writer may sleep before readers are to be looked after.
    pub(super) fn next_watch(&self) -> Option<Duration> {
        let options = &self.engine.options;
        let timeout = options.reader_timeout.filter(|_| self.readers.held.len() > 1)?;
        let published = Generation(self.engine.published.word());
        self.readers.next_due(options.clock.now(), timeout, published)
    }

    /// The versions that were replaced and are still held, oldest first.
    pub fn reader_reports(&mut self) -> Vec<ReaderReport> {
        // Pages of those that have gone are no longer retained.
        self.state.pages.reclaim();
        self.watch_readers();
        let Engine { options, published, .. } = &*self.engine;
        let published = Generation(published.word());
        self.readers.report(options.clock.now(), published, &self.state.pages)
    }
}
