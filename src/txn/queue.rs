//! The queue of requests: many callers, one writer.
//! Owns: [`Requests`] (the callers' end) and [`Inbox`] (the writer's end).
//! Keeps I11: a request once accepted comes out of the inbox, or is dropped there, and a dropped
//! one answers itself. The inbox ends only when nobody can put anything into it any more.
//! Absent on purpose: what a request is. The queue is generic, so that loom runs it without a
//! store.

use std::{
    fmt,
    future::Future,
    pin::Pin,
    task::{Context, Poll},
    time::{Duration, Instant},
};

use super::{
    answer::{Home, quietly},
    gate::{Gate, Glimpse, Passage},
    line::Line,
};
use crate::{
    error::Result,
    sync::{
        Arc,
        channel::{self, Receiver, SendTimeoutError, Sender, TrySendError},
        now, thread,
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

#[cfg(test)]
pub(super) mod tests;
