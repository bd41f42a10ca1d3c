//! The one door to threads, locks, atomics, the published pointer and the queue's channel.
//! Owns: which implementation stands behind every name. [`production`] is std, arc-swap and flume;
//! [`modeled`] is loom's types, with stand-ins of the same meaning for what loom cannot see into.
//! Keeps I7: no other room names `std::sync`, `std::thread`, `arc_swap`, flume or loom.
//! Absent on purpose: poisoning of locks. A panic in a user's closure is caught where it is run,
//! and nothing of ours panics while it holds a lock over half-changed data; so [`lock`] goes on.

#[cfg(loom)]
pub mod channel;
#[cfg(loom)]
mod modeled;
#[cfg(all(feature = "pointer-lock", not(loom)))]
mod pointer_lock;
#[cfg(loom)]
mod pointer_modeled;
#[cfg(not(any(feature = "pointer-lock", loom)))]
mod pointer_swap;
#[cfg(not(loom))]
mod production;

/// Counts what no model looks at and what may outlive one: the causes of errors.
pub use std::sync::Arc as PlainArc;

#[cfg(loom)]
pub use modeled::*;
#[cfg(not(loom))]
pub use production::*;
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
