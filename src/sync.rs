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
#[cfg(any(loom, shuttle))]
mod planted;
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

/// Counts what no model looks at, and what may outlive one: names, the causes of errors.
pub use std::sync::Arc as PlainArc;

#[cfg(loom)]
pub use modeled::*;
#[cfg(any(loom, shuttle))]
pub use planted::*;
#[cfg(not(any(loom, shuttle)))]
pub use production::*;
#[cfg(shuttle)]
pub use scheduled::*;
use std::{
    sync::{PoisonError, TryLockError},
    time::Duration,
};

/// Locks `mutex`, also if a thread panicked while it held it.
pub fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Locks `mutex` if nobody holds it.
pub fn try_lock<T>(mutex: &Mutex<T>) -> Option<MutexGuard<'_, T>> {
    match mutex.try_lock() {
        Ok(guard) => Some(guard),
        Err(TryLockError::Poisoned(poisoned)) => Some(poisoned.into_inner()),
        Err(TryLockError::WouldBlock) => None,
    }
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

/// What `of` counts, counted as [`Arc`] does: loom's makes no trait object of what it counts.
pub fn erased<T: ?Sized>(of: PlainArc<T>) -> Arc<T> {
    #[cfg(loom)]
    return Arc::from_std(of);
    #[cfg(not(loom))]
    of
}

/// A bug that a test under loom or shuttle plants in the protocol, to show that it is found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Twin {
    /// A group is answered before it is published.
    AnsweredBeforePublished,
    /// Whoever waits for the jobs of a thread forgets the one that it is at.
    BusyForgotten,
    /// The log thread is not told of a deadline that a group brings when it is published.
    DeadlineUntold,
    /// What is given up is used again at once, whoever may still read it.
    PinsIgnored,
    /// The writer ends though a send is still in flight.
    FlightIgnored,
    /// A lone group is settled by the writer though others are on their way before it.
    LoneOvertakes,
    /// A caller leads though requests are queued before its own.
    LeaderOvertakes,
    /// Whoever leaves the gate does not wake the writer.
    SleeperForgotten,
    /// A group whose sync failed is published all the same.
    PublishedThoughUnsynced,
    /// An optimistic transaction lets its snapshot go when it is handed over, not when it is
    /// judged.
    SnapshotLetGo,
    /// An optimistic transaction is judged by what is published, not by the writer's own state.
    JudgedByPublished,
    /// Publishing does not announce itself.
    NotAnnounced,
    /// A reader keeps the announcement of what is being published.
    AnnouncementKept,
}

/// Whether `twin` is planted: never, but under loom and shuttle.
#[cfg(not(any(loom, shuttle)))]
#[inline]
pub const fn is_planted(_: Twin) -> bool {
    false
}
