//! The gate of the request queue: who may still come in, and how the writer sleeps until someone
//! does.
//! Owns: [`Gate`], one word that holds the closed bit, the number of sends in flight, the number of
//! sends that are over, and whether the writer sleeps or was nudged.
//! Keeps I11, its part of it: the writer ends only when nobody can put a request into the queue any
//! more.
//! Absent on purpose: a lock. A reader's drop nudges the writer through here (protocol.md section
//! 1), and it may neither block nor wait; an atomic step and an unpark are all it does.
//!
//! # Orderings
//!
//! Every step is a read-modify-write of the one word, so all of them stand in one order, and there
//! is no pair of words to be read in the wrong order. A send pushes its request and then *leaves*,
//! a Release; the writer reads the word (Acquire), finds the queue empty, and falls asleep by a
//! compare-and-swap of that very word. A send that left before that reading was seen in the queue;
//! one that left after it changed the word, and the writer looks again; one that comes later finds
//! the sleeping bit and wakes it. Nothing lies between the sleeping bit and the parking, so a
//! wake-up can never hit another wait.

use std::time::Instant;

use super::patience::Patience;
use crate::sync::{
    OnceLock, Twin,
    atomic::{
        AtomicU64,
        Ordering::{AcqRel, Acquire, Relaxed},
    },
    is_planted, now,
    thread::{self, Thread},
};

/// No send may come in any more.
const CLOSED: u64 = 1;
/// The writer is parked, or just about to be.
const SLEEPING: u64 = 1 << 1;
/// Somebody wants the writer to look around, though there may be no request.
const NUDGED: u64 = 1 << 2;
/// One send in flight; the count takes bits 8 to 31.
const IN_FLIGHT_ONE: u64 = 1 << 8;
/// All bits of the count of sends in flight.
const IN_FLIGHT: u64 = 0xFFFF_FF00;
/// One send that is over; the count takes bits 32 to 63 and wraps out at the top.
const OVER_ONE: u64 = 1 << 32;

/// What the word said at one moment; compared with the word when the writer falls asleep.
#[derive(Clone, Copy)]
pub struct Glimpse(u64);

impl Glimpse {
    /// Nobody is inside and nobody can come in: what is queued now is all that there will ever be.
    pub fn is_final(self) -> bool {
        self.0 & CLOSED != 0 && (self.0 & IN_FLIGHT == 0 || is_planted(Twin::FlightIgnored))
    }

    /// How many sends are in flight.
    #[cfg(test)]
    pub fn in_flight_len(self) -> usize {
        (self.0 & IN_FLIGHT) as usize / IN_FLIGHT_ONE as usize
    }

    /// Somebody nudged the writer since it last looked.
    pub fn is_nudged(self) -> bool {
        self.0 & NUDGED != 0
    }
}

/// The gate: see the head of this file. The default one is open, with nobody inside.
#[derive(Default)]
pub struct Gate {
    word: AtomicU64,
    sleeper: OnceLock<Thread>,
    patience: Patience,
}

/// A send in flight. Dropping it is the leaving, also when the send unwinds.
pub struct Passage<'g>(&'g Gate);

impl Gate {
    /// Counts a send as being in flight, unless the gate is closed.
    pub fn enter(&self) -> Option<Passage<'_>> {
        // Added before the bit is looked at: a writer that sees nobody inside after the bit was set
        // knows that whoever comes later sees the bit. Acquire pairs with the `close` that it may
        // see.
        let before = self.word.fetch_add(IN_FLIGHT_ONE, AcqRel);
        // Also when closed: the writer may have glimpsed this visit, and waits for its end.
        let passage = Passage(self);
        (before & CLOSED == 0).then_some(passage)
    }

    /// Closes the gate for good. Sends in flight go on. True for the first who closes.
    pub fn close(&self) -> bool {
        let before = self.word.fetch_or(CLOSED, AcqRel);
        self.wake_after(before);
        before & CLOSED == 0
    }

    /// Whether the gate is closed. Whoever does not enter knows no more than how it was.
    pub fn is_closed(&self) -> bool {
        self.word.load(Acquire) & CLOSED != 0
    }

    /// Wakes the writer, or makes its next look say that it was nudged. Never blocks.
    pub fn nudge(&self) {
        // Release: pairs with the Acquire in `calm`; what was done before the nudge is seen by the
        // writer.
        let before = self.word.fetch_or(NUDGED, AcqRel);
        self.wake_after(before);
    }

    /// Takes a nudge back: it has been seen. What was done before any nudge so far is visible
    /// after.
    pub fn calm(&self) {
        self.word.fetch_and(!NUDGED, AcqRel);
    }

    /// Looks at the word. What left before is in the queue for whoever looked.
    pub fn glimpse(&self) -> Glimpse {
        // Acquire: pairs with the Release of a leaving; its push is seen.
        Glimpse(self.word.load(Acquire))
    }

    /// Sleeps until something happens, unless it has happened since `seen`; at the latest until
    /// `deadline`. May return for no reason. Only one thread, always the same, sleeps here.
    pub fn sleep(&self, seen: Glimpse, deadline: Option<Instant>) {
        let me = self.sleeper.get_or_init(thread::current);
        debug_assert!(me.id() == thread::current().id(), "two threads sleep at one gate");
        if self.patience.look(|| self.word.load(Relaxed) != seen.0) {
            return;
        }
        // Relaxed on failure: the caller looks again, by an Acquire.
        if self.word.compare_exchange(seen.0, seen.0 | SLEEPING, AcqRel, Relaxed).is_err() {
            return;
        }
        while self.word.load(Acquire) & SLEEPING != 0 {
            match deadline.map(|at| at.saturating_duration_since(now())) {
                None => thread::park(),
                Some(left) if left.is_zero() => {
                    self.word.fetch_and(!SLEEPING, AcqRel);
                }
                Some(left) => thread::park_timeout(left),
            }
        }
    }

    /// Wakes the writer if `before` says that it sleeps. Whoever takes the bit away wakes it: one
    /// of many.
    fn wake_after(&self, before: u64) {
        if before & SLEEPING == 0 || self.word.fetch_and(!SLEEPING, AcqRel) & SLEEPING == 0 {
            return;
        }
        if let Some(sleeper) = self.sleeper.get() {
            sleeper.unpark();
        }
    }
}

impl Drop for Passage<'_> {
    fn drop(&mut self) {
        // One step for both counts. Release: pairs with `glimpse`; the request is in the queue
        // before.
        let before = self.0.word.fetch_add(OVER_ONE.wrapping_sub(IN_FLIGHT_ONE), AcqRel);
        if !is_planted(Twin::SleeperForgotten) {
            self.0.wake_after(before);
        }
    }
}
