//! What callers send to the writer, and how each is answered.
//! Owns: [`Request`], [`Control`] and the answers behind [`Acknowledge`].

use super::{
    answer::Promise,
    batch::Batch,
    optimistic::Buffered,
    pipeline::Acknowledge,
    work::{Bench, Work},
    write::WriteTx,
    writer::Writer,
};
use crate::{error::Error, options::Durability};

/// The store's closures work at a [`WriteTx`].
pub struct StoreBench;

impl Bench for StoreBench {
    type Tx<'w> = WriteTx<'w>;
}

/// One request. Dropped unanswered, it answers by itself (I11).
pub enum Request {
    /// A user's blind writes; answered with their version.
    Batch {
        /// The writes.
        batch: Batch,
        /// The answer.
        promise: Promise<u64>,
    },
    /// A closure.
    Closure {
        /// The closure and its answer.
        work: Work<StoreBench>,
        /// When it is answered.
        durability: Durability,
    },
    /// An optimistic transaction; answered with its version.
    Optimistic {
        /// What it read and wrote. It owns its snapshot until it is dropped.
        buffered: Box<Buffered>,
        /// The answer.
        promise: Promise<u64>,
        /// When it is answered.
        durability: Durability,
    },
    /// Something that takes no version and stands between groups.
    Control(Control),
}

/// A request that takes no version.
pub enum Control {
    /// Make durable what is committed.
    Sync(Promise<()>),
    /// Take a checkpoint.
    Checkpoint(Promise<()>),
    /// Look at the writer's state, between groups.
    Inspect(Box<dyn FnOnce(&mut Writer) + Send>),
}

impl Request {
    /// When a commit is answered; none of a control.
    pub fn durability(&self, usual: Durability) -> Option<Durability> {
        match self {
            Request::Batch { batch, .. } => Some(batch.durability_or(usual)),
            Request::Closure { durability, .. } | Request::Optimistic { durability, .. } => {
                Some(*durability)
            }
            Request::Control(_) => None,
        }
    }

    /// Answers with an error, nothing of it done.
    pub fn refuse(self, error: &Error) {
        match self {
            Request::Batch { promise, .. } | Request::Optimistic { promise, .. } => {
                promise.fail(error.clone());
            }
            Request::Closure { work, .. } => work.fail(error.clone()),
            Request::Control(Control::Sync(promise) | Control::Checkpoint(promise)) => {
                promise.fail(error.clone());
            }
            // It looks, and needs no more than the writer's word.
            Request::Control(Control::Inspect(_)) => {}
        }
    }
}

/// The answer to a batch that was applied.
pub struct BatchAck {
    /// Where the answer goes.
    pub promise: Promise<u64>,
    /// The version that the batch took.
    pub version: u64,
}

impl Acknowledge for BatchAck {
    fn visible(&mut self) {
        self.promise.visible(self.version, self.version);
    }

    fn durable(&mut self) {
        self.promise.durable();
    }

    fn done(self: Box<Self>) {
        self.promise.done(self.version, self.version);
    }

    fn fail(self: Box<Self>, error: &Error) {
        self.promise.fail(error.clone());
    }

    fn is_awaited(&self) -> bool {
        self.promise.is_awaited()
    }

    fn wants_sync(&self) -> bool {
        self.promise.wants_sync()
    }
}

/// The answer to a closure that was applied.
pub struct WorkAck {
    /// Where the answer goes; none once it is durable.
    pub work: Option<Work<StoreBench>>,
    /// The version that the closure took.
    pub version: u64,
}

impl Acknowledge for WorkAck {
    fn visible(&mut self) {
        if let Some(work) = &mut self.work {
            work.visible(self.version);
        }
    }

    fn durable(&mut self) {
        if let Some(work) = self.work.take() {
            work.durable();
        }
    }

    fn done(self: Box<Self>) {
        if let Some(work) = self.work {
            work.done(self.version);
        }
    }

    fn fail(self: Box<Self>, error: &Error) {
        if let Some(work) = self.work {
            work.fail(error.clone());
        }
    }

    fn is_awaited(&self) -> bool {
        self.work.as_ref().is_some_and(Work::is_awaited)
    }

    fn wants_sync(&self) -> bool {
        self.work.as_ref().is_some_and(Work::wants_sync)
    }
}

/// The answer to a closure that was undone. It waits for its group like the others: the error may
/// tell what a predecessor in the group wrote, which nobody may hear of that is not committed.
pub struct UndoneAck {
    /// Where the answer goes; none once it is given.
    pub work: Option<Work<StoreBench>>,
}

impl Acknowledge for UndoneAck {
    fn visible(&mut self) {
        if let Some(work) = self.work.take() {
            // The version is for those who got one: this caller gets the closure's own error.
            work.done(0);
        }
    }

    fn durable(&mut self) {}

    fn done(mut self: Box<Self>) {
        self.visible();
    }

    fn fail(self: Box<Self>, error: &Error) {
        if let Some(work) = self.work {
            work.fail(error.clone());
        }
    }

    fn is_awaited(&self) -> bool {
        false
    }

    fn wants_sync(&self) -> bool {
        false
    }
}

/// The answer to a batch or an optimistic transaction that was refused. It waits for its group, and
/// for those before it, because it may tell of what they did; and whoever tries again then begins
/// with what stood in its way.
pub struct RefusedAck {
    /// Where the answer goes.
    pub promise: Promise<u64>,
    /// Why.
    pub error: Error,
}

impl Acknowledge for RefusedAck {
    fn visible(&mut self) {
        self.promise.fail(self.error.clone());
    }

    fn durable(&mut self) {}

    fn done(mut self: Box<Self>) {
        self.visible();
    }

    fn fail(self: Box<Self>, error: &Error) {
        self.promise.fail(error.clone());
    }

    fn is_awaited(&self) -> bool {
        false
    }

    fn wants_sync(&self) -> bool {
        false
    }
}

/// The answer to a control.
pub struct ControlAck(pub Promise<()>);

impl Acknowledge for ControlAck {
    fn visible(&mut self) {}

    fn durable(&mut self) {
        // A control has no version of its own.
        self.0.visible(0, ());
        self.0.durable();
    }

    fn done(self: Box<Self>) {
        self.0.done(0, ());
    }

    fn fail(self: Box<Self>, error: &Error) {
        self.0.fail(error.clone());
    }

    fn is_awaited(&self) -> bool {
        true
    }

    fn wants_sync(&self) -> bool {
        true
    }
}
