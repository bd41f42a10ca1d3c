//! Handing in: closures and batches, waited for or not.
//! Owns: [`TrySubmitError`], and which error a request is refused with.

use super::{Shared, Store};
use crate::{
    error::{Error, Resource, Result},
    options::Durability,
    txn::{
        answer::{Commit, Promised, promise},
        batch::Batch,
        metrics::add,
        queue::{Refused, Requests},
        request::{Request, StoreBench},
        work::{Work, owned, run_borrowed},
        write::WriteTx,
    },
};
use std::{
    fmt,
    panic::{AssertUnwindSafe, catch_unwind},
    time::Duration,
};

/// A batch that was not accepted, and why.
#[derive(Debug)]
#[non_exhaustive]
pub enum TrySubmitError {
    /// The queue is full; the batch comes back.
    Full(Batch),
    /// The store is closed; the batch comes back.
    Closed(Batch),
    /// The batch holds an entry that cannot be.
    Invalid(Error),
}

impl From<TrySubmitError> for Error {
    fn from(refused: TrySubmitError) -> Error {
        match refused {
            TrySubmitError::Full(_) => Error::Full { what: Resource::Queue },
            TrySubmitError::Closed(_) => Error::Closed,
            TrySubmitError::Invalid(error) => error,
        }
    }
}

impl fmt::Display for TrySubmitError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            TrySubmitError::Full(batch) => {
                write!(f, "the queue of requests is full; a batch of {} writes", batch.len())
            }
            TrySubmitError::Closed(_) => Error::Closed.fmt(f),
            TrySubmitError::Invalid(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for TrySubmitError {}

impl Store {
    /// Runs `write` as one transaction, on the writer thread or, if that has nothing to do, on this
    /// one, and waits until it is as safe as the store's [`Durability`] says. It may borrow from
    /// the caller. An error or a panic undoes all of it, and nothing else. A task of a thread pool
    /// that is run inside of `write` is inside of the transaction, too.
    ///
    /// # Errors
    /// The closure's own; [`Error::Panicked`]; [`Error::Closed`]; [`Error::Poisoned`];
    /// [`Error::Full`]; [`Error::Reentrant`] inside of another transaction of this store.
    pub fn write<T: Send>(
        &self,
        write: impl FnOnce(&mut WriteTx<'_>) -> Result<T> + Send,
    ) -> Result<T> {
        self.try_write(write)
    }

    /// As [`write`](Self::write), with any error type.
    pub fn try_write<T: Send, E: From<Error> + Send>(
        &self,
        write: impl FnOnce(&mut WriteTx<'_>) -> Result<T, E> + Send,
    ) -> Result<T, E> {
        self.write_with(self.shared.engine.options.durability, write)
    }

    /// As [`try_write`](Self::try_write), with a durability of its own.
    pub fn write_with<T: Send, E: From<Error> + Send>(
        &self,
        durability: Durability,
        write: impl FnOnce(&mut WriteTx<'_>) -> Result<T, E> + Send,
    ) -> Result<T, E> {
        let hand_in = |work: Work<StoreBench>| self.hand_in(Request::Closure { work, durability });
        run_borrowed(&self.shared.home, promised(durability), hand_in, write)
    }

    /// Hands a closure over without waiting for it.
    ///
    /// # Errors
    /// [`Error::Closed`], [`Error::Poisoned`]; the closure's own come with the [`Commit`].
    pub fn submit_with<T: Send + 'static>(
        &self,
        write: impl FnOnce(&mut WriteTx<'_>) -> Result<T> + Send + 'static,
    ) -> Result<Commit<T>> {
        let durability = self.shared.engine.options.durability;
        let (work, commit) =
            owned::<StoreBench, _, _>(&self.shared.home, promised(durability), write);
        self.send(Request::Closure { work, durability })?;
        Ok(commit)
    }

    /// Hands a batch over; waits while the queue is full.
    ///
    /// # Errors
    /// The batch's own, such as a key that is too large; [`Error::Closed`]; [`Error::Poisoned`]; on
    /// the store's own threads [`Error::Full`] in place of waiting.
    pub fn submit(&self, mut batch: Batch) -> Result<Commit> {
        batch.seal()?;
        let (request, commit) = self.batch_request(batch);
        self.send(request)?;
        Ok(commit)
    }

    /// Hands a batch over if there is room.
    ///
    /// # Errors
    /// [`TrySubmitError::Full`] gives the batch back.
    pub fn try_submit(&self, batch: Batch) -> Result<Commit, TrySubmitError> {
        self.submit_by(batch, Requests::try_send)
    }

    /// Hands a batch over; waits for at most `timeout` while the queue is full.
    ///
    /// # Errors
    /// [`TrySubmitError::Full`] gives the batch back.
    #[expect(clippy::result_large_err, reason = "the batch comes back by value")]
    pub fn submit_timeout(
        &self,
        batch: Batch,
        timeout: Duration,
    ) -> Result<Commit, TrySubmitError> {
        self.submit_by(batch, |requests, request| requests.send_timeout(request, timeout))
    }

    /// Hands a batch over as soon as there is room, without blocking a thread. Dropped before it is
    /// ready, the future has handed nothing over.
    ///
    /// # Errors
    /// As [`submit`](Self::submit).
    pub async fn submit_async(&self, mut batch: Batch) -> Result<Commit> {
        batch.seal()?;
        let (request, commit) = self.batch_request(batch);
        let sent = self.shared.requests.send_async(request).await;
        sent.map_err(|refused| self.refusal(&refused))?;
        Ok(commit)
    }

    fn submit_by(
        &self,
        mut batch: Batch,
        send: impl FnOnce(&Requests<Request>, Request) -> Result<(), Refused<Request>>,
    ) -> Result<Commit, TrySubmitError> {
        batch.seal().map_err(TrySubmitError::Invalid)?;
        let (request, commit) = self.batch_request(batch);
        let Err(refused) = send(&self.shared.requests, request) else { return Ok(commit) };
        add(&self.shared.engine.metrics.dropped, 1);
        let is_closed = matches!(refused, Refused::Closed(_));
        let Request::Batch { batch, .. } = refused.into_request() else {
            unreachable!("a batch was sent");
        };
        Err(if is_closed { TrySubmitError::Closed(batch) } else { TrySubmitError::Full(batch) })
    }

    fn batch_request(&self, batch: Batch) -> (Request, Commit) {
        let durability = batch.durability_or(self.shared.engine.options.durability);
        let (promise, commit) = promise(&self.shared.home, promised(durability));
        (Request::Batch { batch, promise }, commit)
    }

    /// Hands a request in whose caller waits for the answer: it is served on the calling thread if
    /// the writer has nothing to do, and queued otherwise.
    pub(super) fn hand_in(&self, request: Request) -> Result<()> {
        self.lead(request).map_or(Ok(()), |request| self.send(request))
    }

    /// Serves a request as the writer, if nobody else is at it and nothing is queued; else gives it
    /// back.
    fn lead(&self, request: Request) -> Option<Request> {
        let Shared { engine, home, seat, .. } = &*self.shared;
        if !home.is_here() || home.is_own_thread() {
            return Some(request);
        }
        let is_synced = request.durability(engine.options.durability) == Some(Durability::Sync);
        if is_synced && seat.is_crowded() {
            return Some(request);
        }
        // Behind somebody who syncs in the seat one would wait too long for patience.
        let Some(mut seated) = seat.try_sit(!is_synced) else { return Some(request) };
        let Some(writer) = &mut *seated else { return Some(request) };
        let Some(_leading) = home.lead() else { return Some(request) };
        let led = catch_unwind(AssertUnwindSafe(|| writer.lead(request)));
        led.unwrap_or_else(|_| {
            engine.pipeline.set_poison(&Error::own_panic("a thread in the writer's seat"));
            None
        })
    }

    pub(super) fn send(&self, request: Request) -> Result<()> {
        let sent = self.shared.requests.send(request);
        sent.map_err(|refused| self.refusal(&refused))
    }

    pub(super) fn refusal(&self, refused: &Refused<Request>) -> Error {
        match refused {
            Refused::Full(_) | Refused::Timeout(_) => Error::Full { what: Resource::Queue },
            Refused::Closed(_) if self.shared.engine.options.read_only => {
                Error::invalid("the store was opened to be read only")
            }
            Refused::Closed(_) if self.shared.home.is_poisoned() => Error::Poisoned,
            Refused::Closed(_) => Error::Closed,
        }
    }
}

pub(super) fn promised(durability: Durability) -> Promised {
    if durability == Durability::Sync { Promised::Durable } else { Promised::Visible }
}
