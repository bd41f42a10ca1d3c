//! The checkpoint thread: it takes one cut at a time from the writer and brings it to the disk.
//! Owns: [`Checkpointer`], the place where the two meet. Absent on purpose: what a cut holds, and
//! what follows from its end; the writer decides both.

use super::{metrics::Metrics, snapshot::View};
use crate::{
    error::Error,
    pager::{
        Pager, Pages,
        checkpoint::{Cut, Failure, write_cut},
        write::Extent,
    },
    publish::Pin,
    sync::{Arc, Condvar, Mutex, lock, wait},
    wal::Syncer,
};
use std::panic::{AssertUnwindSafe, catch_unwind};

/// One checkpoint on its way.
pub struct Job {
    /// What to write.
    pub cut: Cut,
    /// The snapshot it was taken from: its frames stay as long as this lives.
    pub root: Option<Arc<View>>,
    /// The pin of its page numbers, once it is durable.
    pub pin: Pin,
    /// The runs it writes beside the trees.
    pub extras: Vec<Extent>,
}

impl Job {
    /// Syncs the log through the cut, then writes it in its order.
    pub fn carry_out(&self, pager: &Arc<Pager>, syncer: &Syncer, m: &Metrics) -> Outcome {
        // The log first: a page must not be named before the commits that it holds are durable.
        syncer.sync().map_err(Failure::Poisoned)?;
        write_cut(pager, &self.cut)?;
        let pages: u64 = self.cut.pages.iter().map(|dirty| u64::from(dirty.pages)).sum();
        super::metrics::add(&m.page_bytes_written, pages * pager.page_bytes() as u64);
        Ok(())
    }
}

/// How a checkpoint ended.
pub type Outcome = Result<(), Failure>;

enum State {
    Idle,
    Given(Box<Job>),
    Running,
    Finished(Box<Job>, Outcome),
    Ended,
}

/// Where the writer leaves a cut and finds what became of it.
pub struct Checkpointer {
    state: Mutex<State>,
    changed: Condvar,
}

impl Default for Checkpointer {
    fn default() -> Checkpointer {
        Checkpointer { state: Mutex::new(State::Idle), changed: Condvar::new() }
    }
}

impl Checkpointer {
    /// Gives the thread a cut. There is none on its way (else this is our own bug).
    pub fn start(&self, job: Box<Job>) {
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
    pub fn take_finished(&self) -> Option<(Box<Job>, Outcome)> {
        take(&mut lock(&self.state))
    }

    /// Waits for the checkpoint on its way, if there is one.
    pub fn wait_finished(&self) -> Option<(Box<Job>, Outcome)> {
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

    /// The thread. `nudge` tells the writer that a checkpoint has ended.
    pub fn run(&self, pager: &Arc<Pager>, syncer: &Syncer, metrics: &Metrics, nudge: impl Fn()) {
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
            let carry_out = || job.carry_out(pager, syncer, metrics);
            let panicked = || Failure::Poisoned(Error::own_panic("the checkpoint thread"));
            let outcome = catch_unwind(AssertUnwindSafe(carry_out));
            let outcome = outcome.unwrap_or_else(|_| Err(panicked()));
            // A spare segment, made here so that no commit waits for its zeros; without one the
            // next rotation makes it, or reports why it cannot.
            let _ = syncer.prepare();
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

fn take(state: &mut State) -> Option<(Box<Job>, Outcome)> {
    match std::mem::replace(state, State::Idle) {
        State::Finished(job, outcome) => Some((job, outcome)),
        other => {
            *state = other;
            None
        }
    }
}
