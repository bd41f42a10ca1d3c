//! The published pointer: publish, pin, and what a pin leaves behind. Knows no page.
//! Owns: [`Published`] (what readers load), [`Pin`] (the last thing that a snapshot's root drops),
//! [`Lease`] (the flag it leaves) and [`Bell`] (how the writer hears of it).
//! Keeps I4 and I5: pinning takes no lock; a pin is the `Arc`, and dropping the last one sets a
//! flag.
//! Absent on purpose: any poll of a reference count. Its load is relaxed, so it orders nothing.
//!
//! # Orderings
//! - `publish` announces itself in the word, stores the pointer, then the word (Release); a reader
//!   loads the word (Acquire), then the pointer. So whoever has seen a word finds the pointer at
//!   least as new; and whoever has seen a pointer finds its announcement, if not its word, and does
//!   not keep what was published before.
//! - `Pin::drop` sets its lease's flag (Release); `Lease::is_released` reads it (Acquire). The last
//!   drop of an `Arc` comes after every access through any of its clones, so all of a snapshot's
//!   page reads are ordered before the reuse that the flag permits.
//! - Only then does it ring the bell. One word carries both "something was released" and "the
//!   writer waits", changed by read-modify-write on both sides, so neither can miss the other.

use std::panic::Location;

use crate::sync::{
    Arc, Guard, OnceLock, Pointer, Twin,
    atomic::{
        AtomicBool, AtomicU8, AtomicU64,
        Ordering::{AcqRel, Acquire, Relaxed, Release},
    },
    is_planted,
};

/// The count of commits; every request that answers Ok takes one, gapless.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Version(pub u64);

/// The count of publications; reserved in order by the writer when it starts to apply.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Generation(pub u64);

/// What readers see: one pointer, replaced whole, and a word that tells when to look again.
pub struct Published<T> {
    pointer: Pointer<T>,
    /// Twice the word of what is published; one less while that is being published.
    twice: AtomicU64,
}

/// What a reader keeps beside its pin: what the word was before it pinned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seen(u64);

/// The greatest word.
pub const LAST_WORD: u64 = u64::MAX / 2;

impl<T> Published<T> {
    /// Publishes the first value, under the word `word`.
    pub fn new(first: Arc<T>, word: u64) -> Published<T> {
        let (pointer, twice) = (Pointer::new(first), AtomicU64::new(2 * word));
        Published { pointer, twice }
    }

    /// Replaces the published value; `word` is greater than any before and less than [`LAST_WORD`].
    /// Values are published by one thread at a time, in their order; an answer that promises
    /// visibility is given after this returns. What stands for a closed store is the exception: it
    /// is published last, under [`LAST_WORD`], by however many threads.
    pub fn publish(&self, next: Arc<T>, word: u64) {
        debug_assert!(word > 0 && word <= LAST_WORD, "0 is the first value's word");
        if !is_planted(Twin::NotAnnounced) {
            // Relaxed: the pointer's store, a Release, comes behind it.
            self.twice.store(2 * word - 1, Relaxed);
        }
        self.pointer.store(next);
        // Release, after the pointer: pairs with the Acquires below; a reader that has seen the
        // new word finds the new pointer, or a newer one.
        self.twice.store(2 * word, Release);
    }

    /// An owned pin of the published value: it lives until dropped.
    pub fn pin(&self) -> Arc<T> {
        self.pointer.load_full()
    }

    /// A short pin of the published value, for one call; cheaper than [`pin`](Self::pin).
    #[inline]
    pub fn guard(&self) -> Guard<T> {
        self.pointer.guard()
    }

    /// The word of a published value no newer than what [`pin`](Self::pin) answers next.
    #[inline]
    pub fn word(&self) -> u64 {
        // Acquire: pairs with the Release in `publish`.
        self.twice.load(Acquire) / 2
    }

    /// A pin to keep, and what tells when it has to be renewed.
    pub fn pin_to_keep(&self) -> (Arc<T>, Seen) {
        let mut seen = Seen::NOTHING;
        self.must_renew(&mut seen);
        (self.pin(), seen)
    }

    /// Whether a pin taken when this was last asked may be behind what another thread, or another
    /// pin of this one, has seen; then pin again.
    #[inline]
    pub fn must_renew(&self, seen: &mut Seen) -> bool {
        // Acquire: pairs with the Release in `publish`.
        let now = self.twice.load(Acquire);
        if now == seen.0 {
            return false;
        }
        // While something is being published a pin may be of it or of what was before: the next
        // call is to look again.
        let is_announced = now % 2 == 1 && !is_planted(Twin::AnnouncementKept);
        *seen = if is_announced { Seen::NOTHING } else { Seen(now) };
        true
    }
}

impl Seen {
    /// Equal to nothing that is ever stored.
    const NOTHING: Seen = Seen(u64::MAX);
}

const _: () = assert!(2 * LAST_WORD < Seen::NOTHING.0);

/// The flag that a [`Pin`] leaves behind for whoever reclaims.
pub struct Lease {
    released: AtomicBool,
    /// Its holders are to let go. It orders nothing.
    evicted: AtomicBool,
    taken_at: OnceLock<&'static Location<'static>>,
}

impl Lease {
    /// Tells the pin's holders to let go. It frees nothing.
    pub fn evict(&self) {
        // Relaxed: a holder that sees it late has only read for longer.
        self.evicted.store(true, Relaxed);
    }

    /// Whether they were told.
    #[inline]
    pub fn is_evicted(&self) -> bool {
        self.evicted.load(Relaxed)
    }

    /// The pin has gone, or a planted bug has it gone.
    pub(crate) fn release(&self) {
        // Release: pairs with the Acquire in `is_released`; every page read through the pin is
        // ordered before the reuse of what it held.
        self.released.store(true, Release);
    }

    /// Notes where the pin is first taken. With debug assertions alone: it costs a look each time.
    pub fn note_taken(&self, at: &'static Location<'static>) {
        if cfg!(debug_assertions) {
            let _ = self.taken_at.get_or_init(|| at);
        }
    }

    /// Where it was first taken, if that was noted.
    pub fn taken_at(&self) -> Option<&'static Location<'static>> {
        self.taken_at.get().copied()
    }
}

/// What a reclaimer asks of a lease. [`Lease`] is the only one that is right; models put wrong ones
/// in its place to show that they would be caught.
pub trait Leased {
    /// Whether the pin is gone. If so, all that its holders did comes before this call.
    fn is_released(&self) -> bool;
}

impl Leased for Lease {
    #[inline]
    fn is_released(&self) -> bool {
        // Acquire: pairs with the Release in `Lease::release`.
        self.released.load(Acquire) || is_planted(Twin::PinsIgnored)
    }
}

/// One pin. A snapshot's root owns one; the writer owns others for checkpoints. Dropping it sets
/// the lease's flag and rings the bell, and nothing else: no lock, no unmapping, no wait.
pub struct Pin {
    lease: Arc<Lease>,
    bell: Arc<Bell>,
}

impl Pin {
    /// A pin, and the lease that tells when it has gone.
    pub fn new(bell: &Arc<Bell>) -> (Pin, Arc<Lease>) {
        let (released, evicted) = (AtomicBool::new(false), AtomicBool::new(false));
        let lease = Arc::new(Lease { released, evicted, taken_at: OnceLock::new() });
        let pin = Pin { lease: Arc::clone(&lease), bell: Arc::clone(bell) };
        (pin, lease)
    }

    /// What it leaves behind.
    #[inline]
    pub fn lease(&self) -> &Arc<Lease> {
        &self.lease
    }
}

impl Drop for Pin {
    fn drop(&mut self) {
        self.lease.release();
        // After the flag: a writer that is woken by the bell must find it.
        self.bell.ring();
    }
}

const QUIET: u8 = 0;
const RUNG: u8 = 1;
const AWAITED: u8 = 2;

/// How the writer hears that a pin has gone. It is nudged only while it waits, so that dropping a
/// snapshot costs no system call while the writer is busy.
pub struct Bell {
    state: AtomicU8,
    nudge: Box<dyn Fn() + Send + Sync>,
}

impl Bell {
    /// A bell that calls `nudge` when it is rung while the writer waits. `nudge` runs wherever a
    /// snapshot is dropped: it must not block, nor panic.
    pub fn new(nudge: impl Fn() + Send + Sync + 'static) -> Bell {
        Bell { state: AtomicU8::new(QUIET), nudge: Box::new(nudge) }
    }

    /// Tells the writer that there is something to reclaim. Whatever it is told of comes before.
    pub fn ring(&self) {
        // Release: the lease's flag comes before; pairs with the Acquires in `take` and `listen`.
        // Acquire: a nudge is given after the writer's announcement that it waits.
        if self.state.swap(RUNG, AcqRel) == AWAITED {
            (self.nudge)();
        }
    }

    /// Whether it was rung since the last call. The writer then reads the leases.
    pub fn take(&self) -> bool {
        self.state.swap(QUIET, AcqRel) == RUNG
    }

    /// Announces that the writer is about to wait, and may: true. False if it was rung since the
    /// last [`take`](Self::take); then there may be something to reclaim, and no nudge will come
    /// for it.
    pub fn listen(&self) -> bool {
        // AcqRel on one word: either this sees the ring, or the ring sees the announcement.
        self.state.compare_exchange(QUIET, AWAITED, AcqRel, Acquire) != Err(RUNG)
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use crate::sync::atomic::{AtomicUsize, Ordering::Relaxed};

    #[test]
    fn a_lease_is_released_by_the_last_clone_alone() {
        let (pin, lease) = Pin::new(&Arc::new(Bell::new(|| ())));
        let published = Published::new(Arc::new(pin), 1);
        let (owned, guard) = (published.pin(), published.guard());
        let other = Arc::clone(&owned);
        published.publish(Arc::new(Pin::new(&Arc::new(Bell::new(|| ()))).0), 2);
        assert_eq!(published.word(), 2);
        drop(owned);
        drop(guard);
        assert!(!lease.is_released());
        drop(other);
        assert!(lease.is_released());
    }

    #[test]
    fn a_bell_nudges_only_who_waits_and_forgets_no_ring() {
        let nudges = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&nudges);
        let bell = Arc::new(Bell::new(move || {
            count.fetch_add(1, Relaxed);
        }));
        let drop_one = || drop(Pin::new(&bell));
        assert!(!bell.take());
        drop_one();
        assert_eq!(nudges.load(Relaxed), 0);
        assert!(!bell.listen());
        assert!(bell.take());
        assert!(bell.listen());
        assert!(bell.listen());
        drop_one();
        drop_one();
        assert_eq!(nudges.load(Relaxed), 1);
        assert!(bell.take());
        assert!(!bell.take());
    }
}
