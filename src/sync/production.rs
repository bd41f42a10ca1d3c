//! The names as they are in production: std and flume. The published pointer is one of two: see
//! `pointer_swap` and `pointer_lock`.

#[cfg(feature = "pointer-lock")]
pub use super::pointer_lock::{Guard, Pointer};
#[cfg(not(feature = "pointer-lock"))]
pub use super::pointer_swap::{Guard, Pointer};
pub use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, atomic};

/// Threads, with a name for each.
pub mod thread {
    #[cfg(test)]
    pub use std::thread::panicking;
    pub use std::thread::{JoinHandle, Thread, current, park, park_timeout, sleep, yield_now};

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
    pub use flume::{Receiver, SendTimeoutError, Sender, TrySendError, bounded};
}

/// Values that each thread has its own of.
pub use std::thread_local;

/// The present moment.
#[inline]
pub fn now() -> std::time::Instant {
    std::time::Instant::now()
}
