//! The one door to threads, locks, atomics, time, the published pointer and the queue's channel.
//! Owns: which implementation stands behind every name, and the bugs that a test may plant.
//! In production these are std, arc-swap and flume; for loom and for shuttle their types, with
//! stand-ins of the same meaning for what neither can see into.
//! Keeps I7: no other room names `std::sync`, `std::thread`, `arc_swap`, flume, loom or shuttle.
//! Absent on purpose: poisoning of locks. A panic in a user's closure is caught where it is run,
//! and nothing of ours panics while it holds a lock over half-changed data; so [`lock`] goes on.

#[cfg(any(loom, shuttle))]
pub mod channel;
#[cfg(loom)]
mod modeled;
#[cfg(all(feature = "pointer-lock", not(any(loom, shuttle))))]
mod pointer_lock;
#[cfg(any(loom, shuttle))]
mod pointer_modeled;
#[cfg(not(any(feature = "pointer-lock", loom, shuttle)))]
mod pointer_swap;
#[cfg(not(any(loom, shuttle)))]
mod production;
#[cfg(shuttle)]
mod scheduled;

/// Counts what no model looks at and what may outlive one: the causes of errors.
pub use std::sync::Arc as PlainArc;

#[cfg(loom)]
pub use modeled::*;
#[cfg(not(any(loom, shuttle)))]
pub use production::*;
#[cfg(shuttle)]
pub use scheduled::*;
use std::{sync::PoisonError, time::Duration};

/// Locks `mutex`, also if a thread panicked while it held it.
pub fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Waits on `condvar`, giving up `guard` meanwhile; may wake without a reason, as ever.
pub fn wait<'a, T>(condvar: &Condvar, guard: MutexGuard<'a, T>) -> MutexGuard<'a, T> {
    condvar.wait(guard).unwrap_or_else(PoisonError::into_inner)
}

/// Waits on `condvar` for at most `timeout`; true if the time passed.
pub fn wait_timeout<'a, T>(
    condvar: &Condvar,
    guard: MutexGuard<'a, T>,
    timeout: Duration,
) -> (MutexGuard<'a, T>, bool) {
    let (guard, result) =
        condvar.wait_timeout(guard, timeout).unwrap_or_else(PoisonError::into_inner);
    (guard, result.timed_out())
}

/// A bug that a test under shuttle plants in the protocol, to show that its scenario finds it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Twin {
    /// A group is answered before it is published.
    AnsweredBeforePublished,
    /// What is given up is used again at once, whoever may still read it.
    PinsIgnored,
    /// The writer ends though a send is still in flight.
    FlightIgnored,
    /// Whoever leaves the gate does not wake the writer.
    SleeperForgotten,
    /// A group whose sync failed is published all the same.
    PublishedThoughUnsynced,
}

/// Whether `twin` is planted: never, but under shuttle.
#[cfg(not(shuttle))]
#[inline]
pub const fn is_planted(_: Twin) -> bool {
    false
}
