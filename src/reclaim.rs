//! The birth/end rule: when a thing that was given up may be used again. Knows no page.
//! Owns: [`Reclaimer`]: the live pins in order, and what waits for them.
//! Keeps I1 together with I5: a thing born at version b and given up while generation e was applied
//! comes back when no pin has `pin.version >= b && pin.generation < e`, and not before.
//! Absent on purpose: who pins, what a thing is, and any clock.
//!
//! # How it is found without looking at everything
//! Pins are in the order of their generations, and versions grow with them. So of the pins made
//! before the end, the last one has the greatest version: if it does not block the thing, none
//! does. A thing therefore hangs on one pin, the last made before its end; when that goes, it is
//! freed or passed to the live pin before, whose version alone decides. A pin kept for hours holds
//! what was passed to it and is not looked at again; a thing that it cannot see never waits for it.
//!
//! What is passed on is kept sorted by birth, in a logarithmic number of chunks, so that a thousand
//! snapshots dropped newest first pass chunks to one another, not things.

use crate::{
    publish::{Generation, Lease, Leased, Version},
    sync::Arc,
};
use std::mem;

/// What was given up and waits for readers. Owned by the writer.
pub struct Reclaimer<T, L = Lease> {
    /// Ascending in generation and in version.
    pins: Vec<Pinned<T, L>>,
    /// Retired by requests that may yet be undone: [`Reclaimer::commit`] hangs them on pins.
    pending: Vec<(Retired<T>, Generation)>,
    /// No pin blocks these.
    free: Vec<T>,
    /// The greatest end committed: no later pin may come before it.
    end_max: Generation,
}

struct Retired<T> {
    birth: Version,
    thing: T,
}

struct Pinned<T, L> {
    version: Version,
    generation: Generation,
    lease: Arc<L>,
    /// Seen released, and about to be forgotten.
    gone: bool,
    /// Hung here when retired, in no order.
    fresh: Vec<Retired<T>>,
    /// Passed here when a later pin went. Each ascending in birth, each more than twice as long as
    /// the next.
    passed: Vec<Vec<Retired<T>>>,
}

/// A point in a request to which [`Reclaimer::undo`] returns.
#[derive(Clone, Copy, Debug, Default)]
pub struct Mark(usize);

/// A live pin, for reports.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PinReport {
    /// The version that its holder reads.
    pub version: Version,
    /// The publication it pins.
    pub generation: Generation,
    /// How many things wait for it now. They may wait for earlier pins, too.
    pub retained: usize,
}

impl<T, L> Default for Reclaimer<T, L> {
    fn default() -> Reclaimer<T, L> {
        let (pins, pending, free) = (Vec::new(), Vec::new(), Vec::new());
        Reclaimer { pins, pending, free, end_max: Generation(0) }
    }
}

impl<T, L: Leased> Reclaimer<T, L> {
    /// Takes note of a pin: a generation applied and about to be published, or the cut of a
    /// checkpoint. It counts until `lease` is released. Made before anything is retired at a later
    /// generation; a generation that failed before it could be pinned is never pinned.
    ///
    /// # Panics
    /// If pins do not come in order: what the new one needs may have been freed.
    pub fn pin(&mut self, version: Version, generation: Generation, lease: Arc<L>) {
        if let Some(last) = self.pins.last() {
            assert!(last.generation <= generation, "pins come in the order of their generations");
            assert!(last.version <= version, "versions grow with generations");
        }
        assert!(self.end_max <= generation, "what this pin needs may have been freed");
        let (fresh, passed) = (Vec::new(), Vec::new());
        self.pins.push(Pinned { version, generation, lease, gone: false, fresh, passed });
    }

    /// Gives up `thing`, made by version `birth`, while generation `end` is applied. It waits at
    /// least until [`commit`](Self::commit).
    pub fn retire(&mut self, thing: T, birth: Version, end: Generation) {
        self.pending.push((Retired { birth, thing }, end));
    }

    /// The point to which [`undo`](Self::undo) returns.
    pub fn mark(&self) -> Mark {
        Mark(self.pending.len())
    }

    /// Takes back what was retired since `mark`; it is alive again. Nothing may have been committed
    /// in between.
    pub fn undo(&mut self, mark: Mark) {
        assert!(mark.0 <= self.pending.len(), "undone after it was committed");
        self.pending.truncate(mark.0);
    }

    /// Moves to `out` what was retired since `mark` and made after version `base`, the newest that
    /// was ever pinned: nobody has seen it, and nobody will. Undoing never asks for it back.
    pub fn take_unseen(&mut self, mark: Mark, base: Version, out: &mut Vec<T>) {
        assert!(self.pins.last().is_none_or(|pin| pin.version <= base), "a pin may see these");
        let unseen = |(retired, _): &mut (Retired<T>, Generation)| retired.birth > base;
        out.extend(self.pending.extract_if(mark.0.., unseen).map(|(retired, _)| retired.thing));
    }

    /// What was retired so far can no longer be undone: each thing hangs on the pin that blocks it,
    /// or is free. Cost: `O(1)` a thing, plus the number of pins no older than its end.
    pub fn commit(&mut self) {
        let mut pending = mem::take(&mut self.pending);
        for (retired, end) in pending.drain(..) {
            self.hang(retired, end);
        }
        self.pending = pending;
    }

    /// Gives up `thing` like [`retire`](Self::retire), but beyond the reach of
    /// [`undo`](Self::undo), whatever request is in progress.
    pub fn retire_now(&mut self, thing: T, birth: Version, end: Generation) {
        self.hang(Retired { birth, thing }, end);
    }

    fn hang(&mut self, retired: Retired<T>, end: Generation) {
        self.end_max = self.end_max.max(end);
        let last = self.pins.iter_mut().rev().find(|pin| pin.generation < end);
        match last {
            Some(pin) if pin.version >= retired.birth => {
                pin.fresh.push(retired);
            }
            _ => self.free.push(retired.thing),
        }
    }

    /// How many things are retired and not yet taken. Cost: a look at each pin.
    #[allow(clippy::len_without_is_empty, reason = "how many is asked, whether any is not")]
    pub fn len(&self) -> usize {
        let hung =
            |pin: &Pinned<T, L>| pin.fresh.len() + pin.passed.iter().map(Vec::len).sum::<usize>();
        self.pins.iter().map(hung).sum::<usize>() + self.pending.len() + self.free.len()
    }

    /// Everything retired and not yet taken, in no order, also what may still be undone.
    pub fn iter(&self) -> impl Iterator<Item = &T> + '_ {
        let hung =
            self.pins.iter().flat_map(|pin| pin.fresh.iter().chain(pin.passed.iter().flatten()));
        let pending = self.pending.iter().map(|(retired, _)| &retired.thing);
        hung.map(|retired| &retired.thing).chain(pending).chain(&self.free)
    }

    /// Reads the leases, forgets the pins that have gone, and moves what has become free to `out`.
    /// Cost: one load a live pin, and for a pin that has gone what it held, once.
    pub fn take(&mut self, out: &mut Vec<T>) {
        // Newest first: what one passes down is passed on at once if the next has gone, too.
        for index in (0..self.pins.len()).rev() {
            let pin = &mut self.pins[index];
            // Acquire, in `is_released`: the readers' last page access is ordered before the reuse.
            pin.gone = pin.lease.is_released();
            if pin.gone {
                self.release(index);
            }
        }
        self.pins.retain(|pin| !pin.gone);
        out.append(&mut self.free);
    }

    /// Frees what the pin at `index` held, or passes it to the pin before.
    fn release(&mut self, index: usize) {
        let (head, tail) = self.pins.split_at_mut(index);
        let (mut fresh, passed) = (mem::take(&mut tail[0].fresh), mem::take(&mut tail[0].passed));
        let Some(before) = head.last_mut() else {
            self.free.extend(fresh.into_iter().map(|r| r.thing));
            self.free.extend(passed.into_iter().flatten().map(|r| r.thing));
            return;
        };
        // The pin before was made before these things' ends, since this one was: only birth
        // decides.
        let hidden = |r: &mut Retired<T>| r.birth > before.version;
        self.free.extend(fresh.extract_if(.., hidden).map(|r| r.thing));
        fresh.sort_unstable_by_key(|r| r.birth);
        before.receive(fresh);
        for mut chunk in passed {
            let keep = chunk.partition_point(|r| r.birth <= before.version);
            self.free.extend(chunk.drain(keep..).map(|r| r.thing));
            before.receive(chunk);
        }
    }

    /// What waits for each pin, weighed, oldest pin first. Cost: a look at everything that waits.
    pub fn weigh(&self, weight: impl Fn(&T) -> u64) -> impl Iterator<Item = (Generation, u64)> {
        self.pins.iter().map(move |pin| {
            let hung = pin.fresh.iter().chain(pin.passed.iter().flatten());
            (pin.generation, hung.map(|retired| weight(&retired.thing)).sum())
        })
    }

    /// The pins not yet seen released, oldest first.
    pub fn pins(&self) -> impl Iterator<Item = PinReport> + '_ {
        self.pins.iter().map(|pin| PinReport {
            version: pin.version,
            generation: pin.generation,
            retained: pin.fresh.len() + pin.passed.iter().map(Vec::len).sum::<usize>(),
        })
    }
}

impl<T, L> Pinned<T, L> {
    /// Takes over a chunk that ascends in birth. Merging equals keeps the number of chunks
    /// logarithmic, and a thing is merged a logarithmic number of times.
    fn receive(&mut self, mut chunk: Vec<Retired<T>>) {
        if chunk.is_empty() {
            return;
        }
        while let Some(last) = self.passed.pop_if(|last| last.len() <= 2 * chunk.len()) {
            chunk.extend(last);
            // A stable sort finds the two ascending runs and merges them in linear time.
            chunk.sort_by_key(|r| r.birth);
        }
        self.passed.push(chunk);
    }
}

#[cfg(all(test, not(loom)))]
mod tests;
