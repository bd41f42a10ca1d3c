//! Who still reads what has been replaced: the list of such versions, and how long they may.
//! Owns: [`Readers`], which is the writer's, and [`ReaderReport`].
//! A snapshot is a count of the version that it shows, and takes part in no list; so what is known
//! of readers is known of versions. Time runs from when a version was replaced: before that,
//! whoever holds it costs nothing. Keeps I4: a version that is to be let go of is marked where its
//! readers look anyway.
//! Absent on purpose: freeing. What was lent stays valid; pages go when the last holder does.

use super::{snapshot::View, writer::Writer};
use crate::{
    event::Event,
    pager::write::WritePager,
    publish::{Generation, Lease, Leased, Version},
    sync::Arc,
};
use std::{panic::Location, time::Duration};

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
    /// When it was replaced; none of the newest.
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

    /// Forgets those that have gone, warns of those that are past half of `timeout`, and evicts
    /// those that are past it. What is to be reported of it.
    fn sweep(&mut self, now: Duration, timeout: Option<Duration>) -> Vec<Event> {
        self.held.retain(|held| !held.lease.is_released());
        let mut events = Vec::new();
        let Some(timeout) = timeout else { return events };
        for held in &mut self.held {
            let Some(replaced) = held.replaced else { continue };
            let (version, age) = (held.version.0, now.saturating_sub(replaced));
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
    fn next_due(&self, now: Duration, timeout: Duration) -> Option<Duration> {
        let due = self.held.iter().filter_map(|held| {
            let after = if held.is_warned { timeout } else { timeout / 2 };
            let at = held.replaced?.checked_add(after)?;
            (!held.lease.is_evicted()).then(|| at.saturating_sub(now))
        });
        due.min()
    }

    fn report(&self, now: Duration, pages: &WritePager) -> Vec<ReaderReport> {
        let retained = pages.retained_bytes();
        let reports = self.held.iter().filter_map(|held| {
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
            let options = &self.engine.options;
            let events = self.readers.sweep(options.clock.now(), options.reader_timeout);
            for event in events {
                self.engine.options.events.report(|| event);
            }
        }
    }

    /// How long the writer may sleep before readers are to be looked after.
    pub(super) fn next_watch(&self) -> Option<Duration> {
        let options = &self.engine.options;
        let timeout = options.reader_timeout.filter(|_| self.readers.held.len() > 1)?;
        self.readers.next_due(options.clock.now(), timeout)
    }

    /// The versions that were replaced and are still held, oldest first.
    pub fn reader_reports(&mut self) -> Vec<ReaderReport> {
        // Pages of those that have gone are no longer retained.
        self.state.pages.reclaim();
        self.watch_readers();
        self.readers.report(self.engine.options.clock.now(), &self.state.pages)
    }
}
