//! Work that a thread of its own does behind whoever hands it over, job by job, in order.
//! Owns: [`Behind`], its thread and its queue, and how both end.
//! Absent on purpose: a pool. A thread is started for what takes long, and is joined where that
//! ends, however it ends: a pool's threads may all wait for the one who hands over.

use crate::{
    error::{Error, Result},
    sync::{
        Arc, Condvar, Mutex, MutexGuard, Twin, is_planted, lock,
        thread::{self, JoinHandle},
        wait,
    },
};
use std::{
    collections::VecDeque,
    panic::{AssertUnwindSafe, catch_unwind},
};

/// A thread, and the jobs that it was given and has not been asked for again.
pub struct Behind<J> {
    desk: Arc<Desk<J>>,
    thread: Option<JoinHandle<()>>,
}

/// Where the two meet.
struct Desk<J> {
    state: Mutex<State<J>>,
    changed: Condvar,
}

struct State<J> {
    given: VecDeque<J>,
    done: VecDeque<J>,
    is_busy: bool,
    /// The first job that failed: none is done behind it.
    error: Option<Error>,
    has_ended: bool,
}

impl<J: Send + 'static> Behind<J> {
    /// Starts a thread that does `work` with each job. What fails, or panics, is the answer to all
    /// that is asked from then on.
    ///
    /// # Errors
    /// [`Error::Io`] if there is no thread to be had.
    pub fn start(
        name: &str,
        work: impl FnMut(&mut J) -> Result<()> + Send + 'static,
    ) -> Result<Behind<J>> {
        let state = State {
            given: VecDeque::new(),
            done: VecDeque::new(),
            is_busy: false,
            error: None,
            has_ended: false,
        };
        let desk = Arc::new(Desk { state: Mutex::new(state), changed: Condvar::new() });
        let theirs = Arc::clone(&desk);
        let thread = thread::spawn(name, move || theirs.run(work));
        let thread = thread.map_err(|e| Error::io("start of a thread", "the store", e))?;
        Ok(Behind { desk, thread: Some(thread) })
    }

    /// How many jobs were given and not taken back.
    pub fn jobs(&self) -> usize {
        let state = lock(&self.desk.state);
        state.given.len() + state.done.len() + usize::from(state.is_busy)
    }

    /// Hands a job over. Waits for nothing: how many there are is for the caller to bound.
    pub fn give(&self, job: J) {
        lock(&self.desk.state).given.push_back(job);
        self.desk.changed.notify_all();
    }

    /// Takes the oldest job back, once it is done; none if there is no job.
    ///
    /// # Errors
    /// That of the first job that failed, here and below.
    pub fn take(&self) -> Result<Option<J>> {
        let done = self.desk.wait_until(|state| !state.done.is_empty())?.done.pop_front();
        Ok(done)
    }

    /// Waits until all jobs are done.
    pub fn finish(&self) -> Result<()> {
        self.desk.wait_until(|_| false).map(drop)
    }
}

impl<J> Drop for Behind<J> {
    /// Ends the thread, and waits for the job that it is at. Those it has not begun are dropped.
    fn drop(&mut self) {
        lock(&self.desk.state).has_ended = true;
        self.desk.changed.notify_all();
        // It catches what its work panics with.
        let _ = self.thread.take().map(JoinHandle::join);
    }
}

impl<J> Desk<J> {
    /// The state once it is as wanted, or nothing is left to be done.
    fn wait_until(
        &self,
        is_reached: impl Fn(&State<J>) -> bool,
    ) -> Result<MutexGuard<'_, State<J>>> {
        let mut state = lock(&self.state);
        loop {
            if let Some(error) = &state.error {
                return Err(error.clone());
            }
            let is_idle = !state.is_busy || is_planted(Twin::BusyForgotten);
            if is_reached(&state) || (state.given.is_empty() && is_idle) {
                return Ok(state);
            }
            state = wait(&self.changed, state);
        }
    }

    /// The thread.
    fn run(&self, mut work: impl FnMut(&mut J) -> Result<()>) {
        while let Some(mut job) = self.next() {
            let worked = catch_unwind(AssertUnwindSafe(|| work(&mut job)));
            let mut state = lock(&self.state);
            state.is_busy = false;
            state.done.push_back(job);
            state.error = worked.unwrap_or_else(|_| Err(panicked())).err();
            drop(state);
            self.changed.notify_all();
        }
    }

    /// The next job, once there is one; none at the end.
    fn next(&self) -> Option<J> {
        let mut state = lock(&self.state);
        loop {
            if state.has_ended || state.error.is_some() {
                return None;
            }
            if let Some(job) = state.given.pop_front() {
                state.is_busy = true;
                return Some(job);
            }
            state = wait(&self.changed, state);
        }
    }
}

fn panicked() -> Error {
    Error::Panicked { message: "at work on a thread of the store's own".into() }
}

#[cfg(all(test, not(loom), not(shuttle)))]
mod tests;
