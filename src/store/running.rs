//! The store's three threads: how they start, and how they end.
//! Owns: [`Running`], and what closing waits for. Keeps I11, its part of it: a panic of ours
//! poisons the store, and every request is still answered.

use super::{Closed, Shared};
use crate::{
    error::{Error, Resource, Result},
    pager::checkpoint::Failure,
    stats,
    sync::{
        Condvar, Mutex, lock, now,
        thread::{self, JoinHandle},
        wait_timeout,
    },
    txn::{
        queue::Nudger,
        writer::{Engine, Writer},
    },
};
use std::{
    mem,
    panic::{AssertUnwindSafe, catch_unwind},
};

/// The threads, and whether the writer still runs.
pub(super) struct Running {
    threads: Mutex<Vec<JoinHandle<()>>>,
    ended: Mutex<bool>,
    changed: Condvar,
}

impl Running {
    pub fn new(ended: bool) -> Running {
        let (threads, ended) = (Mutex::new(Vec::new()), Mutex::new(ended));
        Running { threads, ended, changed: Condvar::new() }
    }
}

impl Shared {
    /// Starts the threads; without them there is no writer.
    pub(super) fn spawn(&self, writer: Writer) -> Result<()> {
        let started = self.spawn_all(writer);
        if started.is_err() {
            drop(self.seat.clear());
        }
        started
    }

    fn spawn_all(&self, writer: Writer) -> Result<()> {
        let Shared { engine, home, running, requests, seat, .. } = self;
        let ((pager, syncer), sleeper) = (writer.shared_parts(), writer.sleeper());
        seat.fill(writer);
        let nudger: Nudger = requests.nudger();
        let pressed = nudger.clone();
        pager.on_pressure(move || pressed.nudge());
        let log_thread = {
            let (engine, home, syncer) = (engine.clone(), home.clone(), syncer.clone());
            move || {
                home.enter_own_thread();
                let run = || engine.pipeline.run(syncer.seeded(), || syncer.sync());
                while catch_unwind(AssertUnwindSafe(run)).is_err() {
                    engine.pipeline.drop_in_hand(&Error::own_panic("the log thread"));
                }
            }
        };
        let checkpoint_thread = {
            let (engine, home) = (engine.clone(), home.clone());
            move || {
                home.enter_own_thread();
                let panicked = || Error::own_panic("the checkpoint thread");
                engine.checkpointer.run(
                    |job| {
                        let outcome = job.carry_out(&pager, &syncer, &engine.metrics);
                        outcome.inspect(|()| job.map_ahead(&pager))
                    },
                    || Err(Failure::Poisoned(panicked())),
                    // A spare segment, made here so that no commit waits for its zeros; without one
                    // the next rotation makes it, or reports why it cannot.
                    || _ = syncer.prepare(),
                    || nudger.nudge(),
                );
            }
        };
        let writer_thread = {
            let (engine, home, running) = (engine.clone(), home.clone(), running.clone());
            let seat = seat.clone();
            move || {
                home.enter_own_thread();
                run_guarded(&engine, || Writer::run(&seat, &sleeper));
                drop(seat.clear());
                engine.publish_closed();
                *lock(&running.ended) = true;
                running.changed.notify_all();
            }
        };
        let mut threads = lock(&running.threads);
        let failed = |e| Error::io("start of a thread", "the store", e);
        threads.push(thread::spawn("recto-log", log_thread).map_err(failed)?);
        threads.push(thread::spawn("recto-checkpoint", checkpoint_thread).map_err(failed)?);
        threads.push(thread::spawn("recto-writer", writer_thread).map_err(failed)?);
        Ok(())
    }

    pub(super) fn close(&self) -> Result<Closed> {
        if !self.home.is_here() {
            return Err(Error::Closed);
        }
        self.requests.close();
        let timeout = self.engine.options.close_timeout;
        let began = now();
        let mut ended = lock(&self.running.ended);
        while !*ended {
            let Some(left) = timeout.checked_sub(now() - began) else {
                return Err(Error::Full { what: Resource::Queue });
            };
            (ended, _) = wait_timeout(&self.running.changed, ended, left);
        }
        drop(ended);
        for thread in mem::take(&mut *lock(&self.running.threads)) {
            // A thread of ours that panicked has poisoned the store, which is told below.
            let _ = thread.join();
        }
        if self.engine.options.read_only {
            self.engine.publish_closed();
        }
        match self.engine.pipeline.poison() {
            Some(error) => Err(error.clone()),
            None => Ok(stats::closed(&self.engine)),
        }
    }
}

/// The writer's outermost frame: a panic of ours poisons the store, and every request is still
/// answered.
fn run_guarded(engine: &Engine, run: impl Fn()) {
    while catch_unwind(AssertUnwindSafe(&run)).is_err() {
        engine.pipeline.set_poison(&Error::own_panic("the writer thread"));
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        if !self.home.is_here() {
            // A forked process: nothing of the store's ends here. These keep it from being dropped.
            // What a compaction in progress holds lives on with the engine.
            let Shared { engine, requests, running, home, seat, compaction: _ } = self;
            let of_threads = (requests.clone(), running.clone(), home.clone(), seat.clone());
            mem::forget((engine.clone(), of_threads));
        } else if self.home.is_own_thread() {
            self.requests.close();
        } else {
            // Nobody is left to tell; what was answered as durable is.
            let _ = self.close();
        }
    }
}
