//! The one door to threads, locks, atomics, the published pointer and the queue's channel.
//! Owns: [`Pointer`], and which implementation stands behind every name: std, arc-swap and flume in
//! production, loom's types and stand-ins of the same meaning under `--cfg loom`.
//! Keeps I7: no other file names `std::sync`, `std::thread`, arc_swap, flume or loom.
//! Absent on purpose: poisoning of locks. A panic in a user's closure is caught where it is run, and
//! nothing of ours panics while it holds a lock over half-changed data; so [`lock`] goes on.

#[cfg(not(loom))]
pub use production::*;

/// Locks `mutex`, also if a thread panicked while it held it.
pub fn lock<T: ?Sized>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
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
    let (guard, result) = condvar
        .wait_timeout(guard, timeout)
        .unwrap_or_else(PoisonError::into_inner);
    (guard, result.timed_out())
}

use std::{sync::PoisonError, time::Duration};

#[cfg(not(loom))]
mod production {
    pub use std::sync::{
        Arc, Condvar, LazyLock, Mutex, MutexGuard, Once, OnceLock, RwLock, Weak, atomic,
    };

    /// Threads, with a name for each.
    pub mod thread {
        pub use std::thread::{
            JoinHandle, Result, Thread, ThreadId, available_parallelism, current, panicking, park,
            park_timeout, scope, sleep, yield_now,
        };

        /// Starts a thread under a name that debuggers and panics show.
        pub fn spawn<T, F>(name: &str, run: F) -> std::io::Result<JoinHandle<T>>
        where
            F: FnOnce() -> T + Send + 'static,
            T: Send + 'static,
        {
            std::thread::Builder::new().name(name.to_owned()).spawn(run)
        }
    }

    /// A bounded queue of many senders and one receiver. Messages that are queued when the receiver
    /// is dropped stay alive until the last sender is dropped, too: whoever ends must drain first.
    pub mod channel {
        pub use flume::{
            Receiver, RecvError, RecvTimeoutError, SendError, SendTimeoutError, Sender,
            TryRecvError, TrySendError, bounded,
        };
    }

    /// A variable of its own in every thread.
    pub use std::thread_local;

    /// A hint to the CPU that this is a loop that waits for another thread.
    pub use std::hint::spin_loop;

    /// A shared pointer that readers load without a lock while one thread replaces it.
    ///
    /// Orderings: a store is a release, a load an acquire; what was written before a `store` is seen
    /// by whoever loads that pointer. A load after a store it happens after never sees an older one.
    pub struct Pointer<T>(arc_swap::ArcSwap<T>);

    impl<T> Pointer<T> {
        /// A pointer to `first`.
        pub fn new(first: Arc<T>) -> Pointer<T> {
            Pointer(arc_swap::ArcSwap::new(first))
        }

        /// An owned reference to what is pointed to now. Wait-free for the reader.
        pub fn load_full(&self) -> Arc<T> {
            self.0.load_full()
        }

        /// A short loan of what is pointed to now, cheaper than a count. A thread should hold few of
        /// these, and not for long: from the ninth on each costs what [`load_full`](Self::load_full)
        /// does.
        #[inline]
        pub fn guard(&self) -> Guard<T> {
            Guard(self.0.load())
        }

        /// Replaces the pointer and drops its own reference to what it pointed to before.
        pub fn store(&self, next: Arc<T>) {
            self.0.store(next);
        }
    }

    /// The loan of [`Pointer::guard`].
    pub struct Guard<T>(arc_swap::Guard<Arc<T>>);

    impl<T> Guard<T> {
        /// An owned reference out of the loan.
        pub fn into_full(self) -> Arc<T> {
            arc_swap::Guard::into_inner(self.0)
        }
    }

    impl<T> std::ops::Deref for Guard<T> {
        type Target = Arc<T>;

        #[inline]
        fn deref(&self) -> &Arc<T> {
            &self.0
        }
    }
}
