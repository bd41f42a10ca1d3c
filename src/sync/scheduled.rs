//! The same names under shuttle, which runs one thread at a time, switches at each of these calls,
//! and chooses who is next.
//! Absent on purpose: real time. [`now`] tells one that moves by a little with each look, and by
//! the whole limit when a wait with a limit gives up; so a run depends on its schedule alone.

use super::lock;
pub use super::pointer_modeled::{Guard, Pointer};
pub use shuttle::{
    sync::{Arc, atomic},
    thread_local,
};
/// shuttle does not model how these are made; who loses the race to make one waits for nobody.
pub use std::sync::OnceLock;
use std::{
    cell::Cell,
    ops::{Deref, DerefMut},
    sync::{LazyLock, LockResult, PoisonError, TryLockError, TryLockResult},
    time::{Duration, Instant},
};

/// Limits from here on are taken for none: a run in which everything is late shows little.
const FOREVER: Duration = Duration::from_secs(3600);
/// What each look at the clock takes.
const LOOK: Duration = Duration::from_micros(1);

static BEGAN: LazyLock<Instant> = LazyLock::new(Instant::now);

std::thread_local! {
    // shuttle runs all threads of one test on one real thread, so this is the test's own.
    static PASSED: Cell<Duration> = const { Cell::new(Duration::ZERO) };
}

/// The present moment, by a clock that no machine's load moves.
pub fn now() -> Instant {
    pass(LOOK);
    *BEGAN + PASSED.get()
}

fn pass(time: Duration) {
    PASSED.set(PASSED.get().saturating_add(time.min(FOREVER)));
}

/// shuttle's lock, whose guard knows its lock: a wait with a limit can be made of it.
#[derive(Default)]
pub struct Mutex<T>(shuttle::sync::Mutex<T>);

/// The guard of [`Mutex`].
pub struct MutexGuard<'a, T> {
    guard: shuttle::sync::MutexGuard<'a, T>,
    mutex: &'a Mutex<T>,
}

impl<T> Mutex<T> {
    /// A lock over `value`.
    pub fn new(value: T) -> Mutex<T> {
        Mutex(shuttle::sync::Mutex::new(value))
    }

    /// Locks; whether a thread panicked meanwhile is nobody's concern, as with [`super::lock`].
    pub fn lock(&self) -> LockResult<MutexGuard<'_, T>> {
        let guard = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        Ok(MutexGuard { guard, mutex: self })
    }

    /// Locks if nobody holds it.
    pub fn try_lock(&self) -> TryLockResult<MutexGuard<'_, T>> {
        match self.0.try_lock() {
            Ok(guard) => Ok(MutexGuard { guard, mutex: self }),
            Err(TryLockError::Poisoned(poisoned)) => {
                Ok(MutexGuard { guard: poisoned.into_inner(), mutex: self })
            }
            Err(TryLockError::WouldBlock) => Err(TryLockError::WouldBlock),
        }
    }
}

impl<T> Deref for MutexGuard<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.guard
    }
}

impl<T> DerefMut for MutexGuard<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        &mut self.guard
    }
}

/// shuttle's condition variable, with limits that can pass.
#[derive(Default)]
pub struct Condvar(shuttle::sync::Condvar);

/// Whether a limit has passed.
pub struct WaitTimeoutResult(bool);

impl WaitTimeoutResult {
    /// Whether it has.
    pub fn timed_out(&self) -> bool {
        self.0
    }
}

impl Condvar {
    /// One that nobody waits for.
    pub fn new() -> Condvar {
        Condvar::default()
    }

    /// Waits for a notification.
    pub fn wait<'a, T>(&self, guard: MutexGuard<'a, T>) -> LockResult<MutexGuard<'a, T>> {
        let MutexGuard { guard, mutex } = guard;
        let guard = self.0.wait(guard).unwrap_or_else(PoisonError::into_inner);
        Ok(MutexGuard { guard, mutex })
    }

    /// Lets everyone else go first, then says that the time is up.
    pub fn wait_timeout<'a, T>(
        &self,
        guard: MutexGuard<'a, T>,
        timeout: Duration,
    ) -> LockResult<(MutexGuard<'a, T>, WaitTimeoutResult)> {
        if timeout >= FOREVER {
            return Ok((super::wait(self, guard), WaitTimeoutResult(false)));
        }
        let mutex = guard.mutex;
        drop(guard);
        thread::sleep(timeout);
        Ok((lock(mutex), WaitTimeoutResult(true)))
    }

    /// Wakes one.
    pub fn notify_one(&self) {
        self.0.notify_one();
    }

    /// Wakes all.
    pub fn notify_all(&self) {
        self.0.notify_all();
    }
}

/// Threads. A wait with a limit is a chance for others to run.
pub mod thread {
    use super::{Duration, FOREVER, pass};
    pub use shuttle::thread::{JoinHandle, Thread, current, park, yield_now};
    pub use std::thread::panicking;

    /// Starts a thread under a name.
    pub fn spawn<T, F>(name: &str, run: F) -> std::io::Result<JoinHandle<T>>
    where
        F: FnOnce() -> T + Send + 'static,
        T: Send + 'static,
    {
        shuttle::thread::Builder::new().name(name.to_owned()).spawn(run)
    }

    /// Lets others run, and time pass.
    pub fn sleep(time: Duration) {
        yield_now();
        pass(time);
    }

    /// Lets others run, and time pass, unless there is no end to it.
    pub fn park_timeout(timeout: Duration) {
        if timeout >= FOREVER { park() } else { sleep(timeout) }
    }
}
