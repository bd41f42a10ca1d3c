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

struct Desk<J, O> {
    state: State<J, O>,
    /// What is done behind each job is wanted without one.
    is_rest_wanted: bool,
}

/// Where the writer leaves a cut, as a job `J`, and finds what became of it, an outcome `O`.
pub struct Checkpointer<J, O> {
    desk: Mutex<Desk<J, O>>,
    changed: Condvar,
}

impl<J, O> Default for Checkpointer<J, O> {
    fn default() -> Checkpointer<J, O> {
        let desk = Desk { state: State::Idle, is_rest_wanted: false };
        Checkpointer { desk: Mutex::new(desk), changed: Condvar::new() }
    }
}

impl<J, O> Checkpointer<J, O> {
    /// Gives the thread a cut. There is none on its way (else this is our own bug).
    pub fn start(&self, job: Box<J>) {
        let mut desk = lock(&self.desk);
        assert!(matches!(desk.state, State::Idle), "one checkpoint at a time");
        desk.state = State::Given(job);
        self.changed.notify_all();
    }

    /// Has the thread do soon what it does behind each job.
    pub fn want_rest(&self) {
        lock(&self.desk).is_rest_wanted = true;
        self.changed.notify_all();
    }

    /// Whether a checkpoint is on its way, finished or not.
    pub fn is_busy(&self) -> bool {
        matches!(lock(&self.desk).state, State::Given(_) | State::Running | State::Finished(..))
    }

    /// What became of the last cut, if it has ended and nobody has asked yet.
    pub fn take_finished(&self) -> Option<(Box<J>, O)> {
        take(&mut lock(&self.desk).state)
    }

    /// Waits for the checkpoint on its way, if there is one.
    pub fn wait_finished(&self) -> Option<(Box<J>, O)> {
        let mut desk = lock(&self.desk);
        while matches!(desk.state, State::Given(_) | State::Running) {
            desk = wait(&self.changed, desk);
        }
        take(&mut desk.state)
    }

    /// Ends the thread; a cut that it has not begun is never written.
    pub fn end(&self) {
        lock(&self.desk).state = State::Ended;
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
        // A panic in it must not end the thread, for whose jobs the writer waits.
        let rest = || _ = catch_unwind(AssertUnwindSafe(&rest));
        while let Some(job) = self.next(rest) {
            let outcome = catch_unwind(AssertUnwindSafe(|| carry_out(&job)));
            let outcome = outcome.unwrap_or_else(|_| panicked());
            rest();
            let mut desk = lock(&self.desk);
            if matches!(desk.state, State::Ended) {
                return;
            }
            desk.state = State::Finished(job, outcome);
            self.changed.notify_all();
            drop(desk);
            nudge();
        }
    }

    /// The next job; until it comes, `rest` is done whenever it is wanted. None at the end.
    fn next(&self, rest: impl Fn()) -> Option<Box<J>> {
        let mut desk = lock(&self.desk);
        loop {
            match std::mem::replace(&mut desk.state, State::Running) {
                State::Given(job) => {
                    desk.is_rest_wanted = false;
                    return Some(job);
                }
                State::Ended => return None,
                other => desk.state = other,
            }
            if std::mem::take(&mut desk.is_rest_wanted) {
                drop(desk);
                rest();
                desk = lock(&self.desk);
            } else {
                desk = wait(&self.changed, desk);
            }
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

#[cfg(all(test, not(loom), not(shuttle)))]
mod tests {
    use super::*;
    use crate::sync::{Arc, thread};

    #[test]
    fn a_panic_behind_a_job_leaves_the_thread_at_work() {
        let desk = Arc::new(Checkpointer::<u32, u32>::default());
        let theirs = Arc::clone(&desk);
        let run = move || theirs.run(|job| job + 1, || 0, || panic!("a bug of ours"), || {});
        let thread = thread::spawn("checkpoint-test", run).expect("a thread");
        desk.want_rest();
        for job in [1, 2] {
            desk.start(Box::new(job));
            assert_eq!(desk.wait_finished(), Some((Box::new(job), job + 1)));
        }
        desk.end();
        thread.join().expect("the thread outlives the panic");
    }
}
