//! A closure on its way to the writer and back, which may borrow from its caller.
//! Owns: [`Work`], what it works at ([`Bench`]), and the one block that lets it borrow. One of the
//! rooms where `unsafe` is allowed.
//! Keeps I11, its part of it: a closure is run once or dropped, captures included, before its
//! caller is answered, and dropped work answers itself.
//! Absent on purpose: what carries it; the queue does, or its caller in the writer's seat.

use std::{
    any::Any,
    mem,
    panic::{AssertUnwindSafe, catch_unwind},
};

use super::answer::{Commit, Home, Promise, Promised, promise, quietly};
use crate::{
    error::{Error, Result},
    sync::{Arc, Mutex, lock},
};

/// What the writer's closures work at. The store's is its write transaction; a model's is smaller.
pub trait Bench: 'static {
    /// The transaction that a closure gets, for as long as it runs.
    type Tx<'w>;
}

/// What is to become of what a closure did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use = "what an undone closure did must be undone"]
pub enum Verdict {
    /// It returned Ok: it takes a version.
    Keep,
    /// It returned an error or panicked: all that it did is to be undone, it takes no version.
    Undo,
}

/// A closure on its way to the writer, and the answer on its way back.
///
/// The writer runs it once, then answers with [`done`](Self::done), [`visible`](Self::visible) and
/// [`durable`](Self::durable), or [`fail`](Self::fail); also if the verdict was to undo, for the
/// caller gets the closure's own error only with the answer. Dropped, it answers by itself.
pub struct Work<B: Bench> {
    /// Goes first, captures included: before any answer.
    job: Option<Job<B>>,
    settle: Option<Box<dyn Settle>>,
}

type Job<B> = Box<dyn Errand<B>>;

/// A closure of any lifetime that is run once.
trait Errand<B: Bench>: Send {
    fn run(self: Box<Self>, tx: &mut B::Tx<'_>) -> Verdict;
}

impl<B: Bench> Work<B> {
    /// Runs the closure. A panic in it is caught, and becomes the caller's answer.
    ///
    /// # Panics
    /// If run twice.
    pub fn run(&mut self, tx: &mut B::Tx<'_>) -> Verdict {
        self.job.take().expect("a closure is run once").run(tx)
    }

    /// The closure's work is visible as of `version`. (One that was undone gets its own error.)
    pub fn visible(&mut self, version: u64) {
        if let Some(settle) = self.settle_after_run() {
            settle.visible(version);
        }
    }

    /// What is visible already is synced to the device.
    pub fn durable(mut self) {
        if let Some(settle) = self.settle_after_run() {
            settle.durable();
        }
    }

    /// Visible and durable in one step.
    pub fn done(mut self, version: u64) {
        if self.settle_after_run().is_some()
            && let Some(settle) = self.settle.take()
        {
            settle.done(version);
        }
    }

    /// The store failed it, run or not, whatever the closure returned.
    pub fn fail(mut self, error: Error) {
        self.forgo();
        if let Some(settle) = self.settle.take() {
            settle.fail(error);
        }
    }

    /// Whether anybody may still ask for the answer.
    pub fn is_awaited(&self) -> bool {
        self.settle.as_ref().is_some_and(|settle| settle.is_awaited())
    }

    /// Whether the caller has asked for a sync that was not promised.
    pub fn wants_sync(&self) -> bool {
        self.settle.as_ref().is_some_and(|settle| settle.wants_sync())
    }

    /// The answering end, once the closure has been run. Answering one that was not is our own bug;
    /// then the caller is told no more than that nothing happened, when the work is dropped.
    fn settle_after_run(&mut self) -> Option<&mut (dyn Settle + 'static)> {
        debug_assert!(self.job.is_none(), "answered before it was run");
        if self.job.is_some() { None } else { self.settle.as_deref_mut() }
    }

    /// Drops the closure unrun.
    fn forgo(&mut self) {
        if let Some(job) = self.job.take() {
            quietly(|| drop(job));
        }
    }
}

impl<B: Bench> Drop for Work<B> {
    fn drop(&mut self) {
        self.forgo();
        // The promise in it answers if nobody has; a value that nobody waits for goes quietly.
        let settle = self.settle.take();
        quietly(|| drop(settle));
    }
}

/// The answering end of a [`Work`]. It holds nothing that is borrowed from the caller.
trait Settle: Send {
    fn visible(&mut self, version: u64);
    fn durable(&mut self);
    fn done(self: Box<Self>, version: u64);
    fn fail(self: Box<Self>, error: Error);
    fn is_awaited(&self) -> bool;
    fn wants_sync(&self) -> bool;
}

/// Where a closure leaves what it returned.
type Slot<T, E> = Arc<Mutex<Option<Outcome<T, E>>>>;

/// What became of a closure.
enum Outcome<T, E> {
    Returned(Result<T, E>),
    Panicked(Error),
}

impl<T, E: From<Error>> Outcome<T, E> {
    fn into_result(self) -> Result<T, E> {
        match self {
            Outcome::Returned(result) => result,
            Outcome::Panicked(error) => Err(E::from(error)),
        }
    }
}

/// A closure with the slot for its outcome.
struct Call<F, T, E> {
    closure: F,
    slot: Slot<T, E>,
}

impl<B, F, T, E> Errand<B> for Call<F, T, E>
where
    B: Bench,
    F: FnOnce(&mut B::Tx<'_>) -> Result<T, E> + Send,
    T: Send,
    E: Send,
{
    fn run(self: Box<Self>, tx: &mut B::Tx<'_>) -> Verdict {
        let Call { closure, slot } = *self;
        // Unwind safe: a closure that panicked is undone, and what it captured is its caller's to
        // judge.
        let outcome = match catch_unwind(AssertUnwindSafe(|| closure(tx))) {
            Ok(result) => Outcome::Returned(result),
            Err(payload) => Outcome::Panicked(panicked(payload)),
        };
        let verdict = match outcome {
            Outcome::Returned(Ok(_)) => Verdict::Keep,
            _ => Verdict::Undo,
        };
        *lock(&slot) = Some(outcome);
        verdict
    }
}

/// The error for a panic's payload, which goes quietly: it is the user's.
fn panicked(payload: Box<dyn Any + Send>) -> Error {
    let message = if let Some(text) = payload.downcast_ref::<&str>() {
        (*text).into()
    } else if let Some(text) = payload.downcast_ref::<String>() {
        text.as_str().into()
    } else {
        "a panic without a message".into()
    };
    quietly(|| drop(payload));
    Error::Panicked { message }
}

/// The answer to an owned closure: its value travels with it.
struct Owned<T> {
    promise: Promise<T>,
    slot: Slot<T, Error>,
}

impl<T> Owned<T> {
    fn outcome(&self) -> Result<T> {
        let outcome = lock(&self.slot).take();
        outcome.map_or(Err(Error::Closed), Outcome::into_result)
    }
}

impl<T: Send> Settle for Owned<T> {
    fn visible(&mut self, version: u64) {
        match self.outcome() {
            Ok(value) => self.promise.visible(version, value),
            Err(error) => self.promise.fail(error),
        }
    }

    fn durable(&mut self) {
        self.promise.durable();
    }

    fn done(self: Box<Self>, version: u64) {
        match self.outcome() {
            Ok(value) => self.promise.done(version, value),
            Err(error) => self.promise.fail(error),
        }
    }

    fn fail(self: Box<Self>, error: Error) {
        self.promise.fail(error);
        quietly(|| drop(self));
    }

    fn is_awaited(&self) -> bool {
        self.promise.is_awaited()
    }

    fn wants_sync(&self) -> bool {
        self.promise.wants_sync()
    }
}

/// The answer to a borrowing closure: a signal; the value waits in the caller's slot.
struct Borrowed(Promise<()>);

impl Settle for Borrowed {
    fn visible(&mut self, version: u64) {
        self.0.visible(version, ());
    }

    fn durable(&mut self) {
        self.0.durable();
    }

    fn done(self: Box<Self>, version: u64) {
        self.0.done(version, ());
    }

    fn fail(self: Box<Self>, error: Error) {
        self.0.fail(error);
    }

    fn is_awaited(&self) -> bool {
        self.0.is_awaited()
    }

    fn wants_sync(&self) -> bool {
        self.0.wants_sync()
    }
}

/// An owned closure as work for the writer, and the commit to wait for.
pub fn owned<B, F, T>(home: &Home, promised: Promised, closure: F) -> (Work<B>, Commit<T>)
where
    B: Bench,
    F: FnOnce(&mut B::Tx<'_>) -> Result<T> + Send + 'static,
    T: Send + 'static,
{
    let (promise, commit) = promise(home, promised);
    let slot: Slot<T, Error> = Arc::new(Mutex::new(None));
    let job: Job<B> = Box::new(Call { closure, slot: slot.clone() });
    (Work { job: Some(job), settle: Some(Box::new(Owned { promise, slot })) }, commit)
}

/// Runs `closure`, which may borrow from the caller, on the writer: `send` hands the work over, and
/// this call waits until the closure has been run or dropped and its group is as safe as
/// `promised`.
///
/// # Errors
/// The closure's own error; [`Error::Panicked`] if it panicked; what `send` answers; why the group
/// failed; [`Error::Closed`] if the work was dropped; [`Error::Reentrant`] on the store's own
/// threads.
pub fn run_borrowed<B, F, T, E, S>(
    home: &Home,
    promised: Promised,
    send: S,
    closure: F,
) -> Result<T, E>
where
    B: Bench,
    F: FnOnce(&mut B::Tx<'_>) -> Result<T, E> + Send,
    T: Send,
    E: From<Error> + Send,
    S: FnOnce(Work<B>) -> Result<()>,
{
    if home.is_own_thread() {
        return Err(E::from(Error::Reentrant));
    }
    let slot: Slot<T, E> = Arc::new(Mutex::new(None));
    let (promise, commit) = promise(home, promised);
    let job: Box<dyn Errand<B> + '_> = Box::new(Call { closure, slot: slot.clone() });
    // SAFETY: only the bound on the borrows inside the box is erased; its pointer and its table of
    // functions stay. Nothing of the box is touched after this call has ended: the box stands in a
    // `Work`, which runs or drops it, captures included, before it answers (`settle_after_run`,
    // `fail`), and which, dropped, drops the box before its promise; so any answer means that the
    // box is gone. From `send` on `stay` lets this frame go only after an answer, by a return as by
    // a panic. Work that is leaked is never answered, and this frame never left. The promise holds
    // nothing borrowed and lives in an Arc, so the answering itself may outlive the frame; the
    // outcome is in the slot, whose other owner went with the box.
    let job = unsafe { mem::transmute::<Box<dyn Errand<B> + '_>, Job<B>>(job) };
    let work = Work { job: Some(job), settle: Some(Box::new(Borrowed(promise))) };
    let stay = Stay(commit);
    let answer = send(work).and_then(|()| stay.0.wait_anywhere());
    drop(stay);
    let outcome = lock(&slot).take();
    match (answer, outcome) {
        (Ok(()), Some(outcome)) => outcome.into_result(),
        (Ok(()), None) => Err(E::from(Error::Closed)),
        (Err(error), _) => Err(E::from(error)),
    }
}

/// Keeps the caller of a borrowing closure in its place until there is an answer.
struct Stay(Commit<()>);

impl Drop for Stay {
    fn drop(&mut self) {
        self.0.stay();
    }
}

#[cfg(test)]
mod tests;
