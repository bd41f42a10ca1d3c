//! Waiting for a lock, and the lock of a file that no other process can see.
//! Owns: [`wait`], [`Advisory`], [`Hold`].
//! Absent on purpose: fairness; whoever asks first after the release has it, as with flock.

use super::LockMode;
use crate::{
    error::{Error, Result},
    sync::{Arc, Mutex, lock, now, thread},
};
use std::{process, time::Duration};

/// The first and the longest pause between two attempts.
const PAUSE_MIN: Duration = Duration::from_millis(1);
const PAUSE_MAX: Duration = Duration::from_millis(20);

/// Repeats `attempt` until it answers true or `timeout` has passed; at least once, and once more at
/// the very end. The answer is the last attempt's.
pub fn wait(timeout: Duration, mut attempt: impl FnMut() -> Result<bool>) -> Result<bool> {
    let started = now();
    let mut pause = PAUSE_MIN;
    loop {
        // Asked before the attempt, so that the last attempt comes after the time is up.
        let left = timeout.saturating_sub(now() - started);
        if attempt()? {
            return Ok(true);
        }
        if left.is_zero() {
            return Ok(false);
        }
        thread::sleep(pause.min(left));
        pause = (pause * 2).min(PAUSE_MAX);
    }
}

/// The advisory lock of one file inside this process.
#[derive(Default)]
pub struct Advisory {
    holders: Mutex<Holders>,
}

#[derive(Default)]
struct Holders {
    exclusive: bool,
    shared: usize,
}

/// One open file's part in an [`Advisory`]; dropping it lets go.
pub struct Hold {
    advisory: Arc<Advisory>,
    mode: Mutex<Option<LockMode>>,
}

impl Hold {
    /// Holds nothing yet.
    pub fn new(advisory: Arc<Advisory>) -> Hold {
        let mode = Mutex::new(None);
        Hold { advisory, mode }
    }

    /// Takes the lock, or changes its mode. As with flock a change lets go before it takes.
    pub fn take(&self, mode: LockMode, timeout: Duration) -> Result<()> {
        let taken = wait(timeout, || Ok(self.attempt(mode)))?;
        if taken {
            return Ok(());
        }
        // Nobody else can see this lock, so the holder is this very process.
        Err(Error::Locked { pid: Some(process::id()) })
    }

    fn attempt(&self, mode: LockMode) -> bool {
        let mut held = lock(&self.mode);
        let mut holders = lock(&self.advisory.holders);
        holders.leave(held.take());
        let free = match mode {
            LockMode::Exclusive => !holders.exclusive && holders.shared == 0,
            LockMode::Shared => !holders.exclusive,
        };
        if free {
            holders.enter(mode);
            *held = Some(mode);
        }
        free
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        let held = lock(&self.mode).take();
        lock(&self.advisory.holders).leave(held);
    }
}

impl Holders {
    fn enter(&mut self, mode: LockMode) {
        match mode {
            LockMode::Exclusive => self.exclusive = true,
            LockMode::Shared => self.shared += 1,
        }
    }

    fn leave(&mut self, mode: Option<LockMode>) {
        match mode {
            Some(LockMode::Exclusive) => self.exclusive = false,
            Some(LockMode::Shared) => self.shared -= 1,
            None => {}
        }
    }
}
