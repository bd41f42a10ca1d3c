//! The same names for models. loom cannot see into arc-swap and flume, so stand-ins take their
//! place, which allow everything that those allow, as far as loom can express it.

pub use super::pointer_modeled::{Guard, Pointer};
/// Chunks of tables: loom does not model how they are made.
pub use std::sync::OnceLock;

pub use loom::{
    sync::{Arc, Condvar, Mutex, MutexGuard, atomic},
    thread_local,
};

/// Memory whose accesses are checked for races.
pub mod cell {
    pub use loom::cell::{ConstPtr, MutPtr, UnsafeCell};
}

/// Threads. There is no time in a model: a wait with a limit is a chance for others to run.
pub mod thread {
    pub use loom::thread::{JoinHandle, Thread, current, park, yield_now};
    pub use std::thread::panicking;
    use std::time::Duration;

    /// Starts a thread under a name.
    pub fn spawn<T, F>(name: &str, run: F) -> std::io::Result<JoinHandle<T>>
    where
        F: FnOnce() -> T + Send + 'static,
        T: Send + 'static,
    {
        loom::thread::Builder::new().name(name.to_owned()).spawn(run)
    }

    /// Lets others run.
    pub fn sleep(_: Duration) {
        yield_now();
    }

    /// Lets others run.
    pub fn park_timeout(_: Duration) {
        yield_now();
    }
}

/// The present moment.
pub fn now() -> std::time::Instant {
    std::time::Instant::now()
}
