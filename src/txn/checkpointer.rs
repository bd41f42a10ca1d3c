//! The checkpoint thread: it takes one cut at a time from the writer and brings it to the disk.
//! Owns: [`Checkpointer`], the place where the two meet. Absent on purpose: what a cut holds, and
//! what follows from its end; the writer decides both (`checkpoint`). Loom runs it without a store.

use crate::sync::{Condvar, Mutex, lock, wait};
use std::panic::{AssertUnwindSafe, catch_unwind};

enum State<J, O> {
    Idle,
    Given(Box<J>),
    Running,
    Finished(Box<J>, O),
    Ended,
}

/// Where the writer leaves a cut, as a job `J`, and finds what became of it, an outcome `O`.
pub struct Checkpointer<J, O> {
    state: Mutex<State<J, O>>,
    changed: Condvar,
}

impl<J, O> Default for Checkpointer<J, O> {
    fn default() -> Checkpointer<J, O> {
        Checkpointer { state: Mutex::new(State::Idle), changed: Condvar::new() }
    }
}

impl<J, O> Checkpointer<J, O> {
    /// Gives the thread a cut. There is none on its way (else this is our own bug).
    pub fn start(&self, job: Box<J>) {
        let mut state = lock(&self.state);
        assert!(matches!(*state, State::Idle), "one checkpoint at a time");
        *state = State::Given(job);
        self.changed.notify_all();
    }

    /// Whether a checkpoint is on its way, finished or not.
    pub fn is_busy(&self) -> bool {
        matches!(*lock(&self.state), State::Given(_) | State::Running | State::Finished(..))
    }

    /// What became of the last cut, if it has ended and nobody has asked yet.
    pub fn take_finished(&self) -> Option<(Box<J>, O)> {
        take(&mut lock(&self.state))
    }

    /// Waits for the checkpoint on its way, if there is one.
    pub fn wait_finished(&self) -> Option<(Box<J>, O)> {
        let mut state = lock(&self.state);
        while matches!(*state, State::Given(_) | State::Running) {
            state = wait(&self.changed, state);
        }
        take(&mut state)
    }

    /// Ends the thread; a cut that it has not begun is never written.
    pub fn end(&self) {
        *lock(&self.state) = State::Ended;
        self.changed.notify_all();
    }

    /// The thread. `carry_out` does a job; `panicked` is what became of it if that panics; `rest`
    /// is done behind each job before the writer can see its end, of which `nudge` tells it.
    pub fn run(
        &self,
        carry_out: impl Fn(&J) -> O,
        panicked: impl Fn() -> O,
        rest: impl Fn(),
        nudge: impl Fn(),
    ) {
        loop {
            let mut state = lock(&self.state);
            let job = loop {
                match std::mem::replace(&mut *state, State::Running) {
                    State::Given(job) => break job,
                    State::Ended => return,
                    other => *state = other,
                }
                state = wait(&self.changed, state);
            };
            drop(state);
            let outcome = catch_unwind(AssertUnwindSafe(|| carry_out(&job)));
            let outcome = outcome.unwrap_or_else(|_| panicked());
            rest();
            let mut state = lock(&self.state);
            if matches!(*state, State::Ended) {
                return;
            }
            *state = State::Finished(job, outcome);
            self.changed.notify_all();
            drop(state);
            nudge();
        }
    }
}

fn take<J, O>(state: &mut State<J, O>) -> Option<(Box<J>, O)> {
    match std::mem::replace(state, State::Idle) {
        State::Finished(job, outcome) => Some((job, outcome)),
        other => {
            *state = other;
            None
        }
    }
}
