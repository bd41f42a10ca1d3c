//! The queue of requests: many callers, one writer.
//! Owns: [`Requests`] (the callers' end), [`Inbox`] (the writer's end), [`Work`] (a closure on its
//! way to the writer and back), and the one block that lets such a closure borrow from its caller.
//! Keeps I11: a request once accepted comes out of the inbox, or is dropped there, and a dropped
//! one answers itself. The inbox ends only when nobody can put anything into it any more.
//! Absent on purpose: what a request is. The queue is generic, so that loom runs it without a
//! store.

use std::{
    any::Any,
    fmt,
    future::Future,
    mem,
    panic::{AssertUnwindSafe, catch_unwind},
    pin::Pin,
    task::{Context, Poll},
    time::{Duration, Instant},
};

use super::{
    answer::{Commit, Home, Promise, Promised, promise, quietly},
    gate::{Gate, Glimpse, Passage},
    line::Line,
};
use crate::{
    error::{Error, Result},
    sync::{
        Arc, Mutex,
        channel::{self, Receiver, SendTimeoutError, Sender, TrySendError},
        lock, now, thread,
    },
};

/// A queue for at most `capacity` requests (at least one) of the store that `home` is.
pub fn queue<R: Send>(capacity: usize, home: &Home) -> (Requests<R>, Inbox<R>) {
    let (sender, receiver) = channel::bounded(capacity.max(1));
    let shared = Arc::new(Shared {
        gate: Gate::default(),
        sender,
        capacity: capacity.max(1),
        home: home.clone(),
        line: Line::default(),
    });
    let inbox = Inbox { shared: shared.clone(), receiver };
    (Requests(Arc::new(Handle(shared))), inbox)
}

struct Shared<R> {
    gate: Gate,
    sender: Sender<R>,
    capacity: usize,
    home: Home,
    line: Line,
}

impl<R> Shared<R> {
    /// Counts a send as being in flight, unless the queue is closed, or another process's.
    fn enter(&self) -> Option<Passage<'_>> {
        if self.home.is_here() { self.gate.enter() } else { None }
    }

    fn close(&self) {
        self.gate.close();
        // Whoever stood in line before the bit was set is in the line now; whoever comes later sees
        // the bit when it tries, after it has joined.
        self.line.call_all();
    }
}

/// Why a request was not accepted; it comes back.
pub enum Refused<R> {
    /// The queue is full.
    Full(R),
    /// The store is closed.
    Closed(R),
    /// The time limit passed while the queue was full.
    Timeout(R),
}

impl<R> Refused<R> {
    /// The request itself.
    pub fn into_request(self) -> R {
        match self {
            Refused::Full(request) | Refused::Closed(request) | Refused::Timeout(request) => {
                request
            }
        }
    }
}

impl<R> fmt::Debug for Refused<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Refused::Full(_) => "Full",
            Refused::Closed(_) => "Closed",
            Refused::Timeout(_) => "Timeout",
        })
    }
}

/// The callers' end of the queue. When the last clone goes, the queue is closed.
pub struct Requests<R>(Arc<Handle<R>>);

struct Handle<R>(Arc<Shared<R>>);

impl<R> Drop for Handle<R> {
    fn drop(&mut self) {
        self.0.close();
    }
}

impl<R> Clone for Requests<R> {
    fn clone(&self) -> Requests<R> {
        Requests(self.0.clone())
    }
}

impl<R: Send> Requests<R> {
    /// Hands `request` over; waits while the queue is full. On the store's own threads it does not
    /// wait.
    pub fn send(&self, request: R) -> Result<(), Refused<R>> {
        let shared = self.shared();
        if shared.home.is_own_thread() {
            return self.try_send(request);
        }
        let Some(_passage) = shared.enter() else {
            return Err(Refused::Closed(request));
        };
        shared.sender.send(request).map_err(|back| Refused::Closed(back.0))
    }

    /// Hands `request` over if there is room.
    pub fn try_send(&self, request: R) -> Result<(), Refused<R>> {
        let shared = self.shared();
        let Some(_passage) = shared.enter() else {
            return Err(Refused::Closed(request));
        };
        shared.sender.try_send(request).map_err(|back| match back {
            TrySendError::Full(request) => Refused::Full(request),
            TrySendError::Disconnected(request) => Refused::Closed(request),
        })
    }

    /// Hands `request` over; waits while the queue is full, for at most `timeout`. On the store's
    /// own threads it does not wait.
    pub fn send_timeout(&self, request: R, timeout: Duration) -> Result<(), Refused<R>> {
        let shared = self.shared();
        if shared.home.is_own_thread() {
            return self.try_send(request);
        }
        // A limit beyond what the clock can tell is none.
        if now().checked_add(timeout).is_none() {
            return self.send(request);
        }
        let Some(_passage) = shared.enter() else {
            return Err(Refused::Closed(request));
        };
        shared.sender.send_timeout(request, timeout).map_err(|back| match back {
            SendTimeoutError::Timeout(request) => Refused::Timeout(request),
            SendTimeoutError::Disconnected(request) => Refused::Closed(request),
        })
    }

    /// Hands `request` over as soon as there is room, without blocking a thread; it is refused only
    /// because the queue is closed. A future that is dropped unfinished has not handed it over.
    pub fn send_async(&self, request: R) -> SendAsync<R> {
        SendAsync { requests: self.clone(), request: Some(request), place: None }
    }

    /// Closes the queue: nothing comes in any more; what is in flight or queued is still received.
    pub fn close(&self) {
        self.shared().close();
    }

    /// Requests queued now; those of callers who are blocked before a full queue are not counted.
    pub fn depth(&self) -> usize {
        self.shared().sender.len()
    }

    /// How many requests the queue holds at most.
    pub fn capacity(&self) -> usize {
        self.shared().capacity
    }

    /// Something that nudges the writer, and does not keep the queue open.
    pub fn nudger(&self) -> Nudger
    where
        R: 'static,
    {
        let shared = self.shared().clone();
        Nudger(Arc::new(Box::new(move || shared.gate.nudge())))
    }

    fn shared(&self) -> &Arc<Shared<R>> {
        &self.0.0
    }
}

/// Nudges the writer of one queue.
#[derive(Clone)]
pub struct Nudger(Arc<Box<dyn Fn() + Send + Sync>>);

impl Nudger {
    /// Wakes the writer without a request. Never blocks and takes no lock.
    pub fn nudge(&self) {
        (self.0)();
    }
}

/// What the writer received.
pub enum Received<R> {
    /// A request.
    Request(R),
    /// Somebody nudged.
    Nudged,
    /// The time passed.
    TimedOut,
    /// The queue is closed and empty and stays so.
    Ended,
}

/// What is there for the writer.
pub enum Next<R> {
    /// A request.
    Request(R),
    /// Somebody nudged.
    Nudged,
    /// The queue is closed and empty and stays so.
    Ended,
    /// Nothing. The writer may [`sleep`](Sleeper::sleep), unless something has happened since.
    Nothing(Glimpse),
}

/// Where the writer thread sleeps while it has the inbox not in its hands.
pub struct Sleeper<R>(Arc<Shared<R>>);

impl<R> Sleeper<R> {
    /// Sleeps until something happens, unless it has happened since `seen`; at the latest until
    /// `deadline`. May return for no reason. Always called by the one thread that also receives.
    pub fn sleep(&self, seen: Glimpse, deadline: Option<Instant>) {
        self.0.gate.sleep(seen, deadline);
    }
}

/// The writer's end of the queue. Dropping it closes the queue and drops what is in it, so that
/// everything accepted is answered also when the writer is lost.
pub struct Inbox<R> {
    shared: Arc<Shared<R>>,
    receiver: Receiver<R>,
}

impl<R> Inbox<R> {
    /// The next request, or a nudge; waits for one for at most `timeout`. Always called by one
    /// thread.
    pub fn recv(&mut self, timeout: Option<Duration>) -> Received<R> {
        // A time beyond what the clock can tell is none.
        let deadline = timeout.and_then(|timeout| now().checked_add(timeout));
        loop {
            match self.look() {
                Next::Request(request) => return Received::Request(request),
                Next::Nudged => return Received::Nudged,
                Next::Ended => return Received::Ended,
                Next::Nothing(_) if deadline.is_some_and(|at| at <= now()) => {
                    return Received::TimedOut;
                }
                Next::Nothing(seen) => self.shared.gate.sleep(seen, deadline),
            }
        }
    }

    /// The next request or nudge, if there is one.
    pub fn look(&mut self) -> Next<R> {
        let seen = self.shared.gate.glimpse();
        if seen.is_nudged() {
            self.shared.gate.calm();
            return Next::Nudged;
        }
        if let Some(request) = self.try_recv() {
            return Next::Request(request);
        }
        if seen.is_final() {
            return Next::Ended;
        }
        // Empty. Room enough for all who stand in line; one whose turn it was may have
        // forgotten it.
        self.shared.line.call_all();
        Next::Nothing(seen)
    }

    /// Whether nothing is queued and the queue is open, as far as the asking thread can know.
    pub fn is_idle(&self) -> bool {
        !self.shared.gate.is_closed() && self.receiver.is_empty()
    }

    /// Where the writer thread sleeps without this end in its hands.
    pub fn sleeper(&self) -> Sleeper<R> {
        Sleeper(self.shared.clone())
    }

    /// Makes the writer thread look around, as [`Nudger::nudge`] does.
    pub fn nudge(&self) {
        self.shared.gate.nudge();
    }

    /// The next request, if one is queued.
    pub fn try_recv(&mut self) -> Option<R> {
        // Never disconnected: this end holds a sender.
        let request = self.receiver.try_recv().ok()?;
        self.shared.line.call_next();
        Some(request)
    }
}

impl<R> Drop for Inbox<R> {
    fn drop(&mut self) {
        self.shared.close();
        loop {
            let seen = self.shared.gate.glimpse();
            match self.try_recv() {
                Some(request) => quietly(|| drop(request)),
                None if seen.is_final() => return,
                // A sender is between its two steps, and this may not be the writer's thread: no
                // sleep.
                None => thread::yield_now(),
            }
        }
    }
}

/// The future of [`Requests::send_async`].
#[must_use = "a future does nothing unless it is awaited"]
pub struct SendAsync<R> {
    requests: Requests<R>,
    request: Option<R>,
    place: Option<u64>,
}

// The request is moved out and in, never pinned.
impl<R> Unpin for SendAsync<R> {}

impl<R: Send> Future for SendAsync<R> {
    type Output = Result<(), Refused<R>>;

    /// # Panics
    /// If polled again after it was ready.
    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = &mut *self;
        // Twice: before standing in line, and once in it, for the room that was made in between.
        for is_in_line in [false, true] {
            if is_in_line {
                this.requests.shared().line.join(&mut this.place, cx.waker().clone());
            }
            let request = this.request.take().expect("a request is handed over once");
            match this.requests.try_send(request) {
                Err(Refused::Full(request)) => this.request = Some(request),
                done => {
                    this.leave();
                    return Poll::Ready(done);
                }
            }
        }
        Poll::Pending
    }
}

impl<R> SendAsync<R> {
    fn leave(&mut self) {
        if let Some(place) = self.place.take() {
            self.requests.0.0.line.leave(place);
        }
    }
}

impl<R> Drop for SendAsync<R> {
    fn drop(&mut self) {
        self.leave();
    }
}

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
