//! The front door: open, read, write, close.
//! Owns: [`Store`], [`Reader`], and the store's three threads. Absent on purpose: anything that a
//! room below could do.

#[cfg(feature = "simulation")]
use crate::storage::sim::SimDisk;
use crate::{
    error::{Error, Resource, Result},
    options::{Durability, Options},
    publish::{Bell, Generation},
    stats::{self, Stats},
    storage::{Storage, file::FileStorage, memory::MemoryStorage},
    sync::{
        Arc, Condvar, Mutex, lock,
        thread::{self, JoinHandle},
        wait_timeout,
    },
    table::{Table, key::Key, value::Value},
    txn::{
        answer::{Commit, Home, Promised, promise},
        batch::Batch,
        metrics::add,
        queue::{Nudger, Refused, Requests, Work, owned, queue, run_borrowed},
        recover::{self, Opened},
        request::{Control, Request, StoreBench},
        snapshot::{Snapshot, View},
        write::WriteTx,
        writer::{Engine, Writer},
    },
};
use std::{
    fmt,
    panic::{AssertUnwindSafe, catch_unwind},
    path::Path,
    time::{Duration, Instant},
};

/// An open store. A clone is another handle to it; handles may be used from any thread.
///
/// When the last handle goes, what was accepted is still committed, and the store is closed as by
/// [`close`](Store::close). Snapshots live on, and keep the store's files locked while they do.
#[derive(Clone)]
pub struct Store {
    shared: Arc<Shared>,
}

struct Shared {
    engine: Arc<Engine>,
    requests: Requests<Request>,
    home: Home,
    running: Arc<Running>,
}

/// The threads, and whether the writer still runs.
struct Running {
    threads: Mutex<Vec<JoinHandle<()>>>,
    ended: Mutex<bool>,
    changed: Condvar,
}

impl Running {
    fn new(ended: bool) -> Running {
        let (threads, ended) = (Mutex::new(Vec::new()), Mutex::new(ended));
        Running { threads, ended, changed: Condvar::new() }
    }
}

/// What [`Store::close`] found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Closed {
    /// The last version, durable.
    pub version: u64,
    /// Snapshots that live on. They can be read, and hold the lock until they are dropped.
    pub snapshots: usize,
}

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

impl Options {
    /// Opens the store in the directory `path`, which is created if it is absent.
    ///
    /// Cost: independent of the size of the store, plus the replay of the log after a crash.
    ///
    /// # Errors
    /// [`Error::Locked`] after `lock_timeout`; [`Error::Corrupt`] if recovery cannot trust what it
    /// finds; [`Error::Invalid`] for options that cannot be or do not fit the store; [`Error::Io`].
    /// Nothing in the directory is lost.
    pub fn open(self, path: impl AsRef<Path>) -> Result<Store> {
        self.validate()?;
        let path = path.as_ref();
        let made = if self.create && !self.read_only {
            FileStorage::new(path)
        } else {
            FileStorage::existing(path)
        };
        let storage: Arc<dyn Storage> = Arc::new(made?);
        match self.clone().open_storage(&storage) {
            Err(Error::Locked { .. }) if self.memory_if_locked => self.open_in_memory(),
            opened => opened,
        }
    }

    /// Opens an empty store that lives in memory alone.
    ///
    /// # Errors
    /// [`Error::Invalid`] for options that cannot be.
    pub fn open_in_memory(self) -> Result<Store> {
        let options = Options { cache_bytes: u64::MAX, durability: Durability::None, ..self };
        let storage: Arc<dyn Storage> = Arc::new(MemoryStorage::new());
        options.open_storage(&storage)
    }

    /// Opens the store on a simulated disk.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    #[cfg(feature = "simulation")]
    pub fn open_simulated(self, disk: &SimDisk) -> Result<Store> {
        let storage: Arc<dyn Storage> = Arc::new(disk.clone());
        self.open_storage(&storage)
    }

    /// Opens the store in `storage`.
    pub(crate) fn open_storage(self, storage: &Arc<dyn Storage>) -> Result<Store> {
        self.validate()?;
        Store::start(storage, self)
    }
}

/// Opens the store in any storage, for fuzz targets: over memory a damaged file costs nothing.
///
/// # Errors
/// As [`Options::open`].
#[cfg(feature = "internals")]
pub fn open_storage(options: Options, storage: &Arc<dyn Storage>) -> Result<Store> {
    options.open_storage(storage)
}

impl Store {
    /// Opens the store in the directory `path` with the default [`Options`], creating it if absent.
    ///
    /// # Errors
    /// As [`Options::open`].
    pub fn open(path: impl AsRef<Path>) -> Result<Store> {
        Options::new().open(path)
    }

    /// Opens an empty store that lives in memory alone.
    ///
    /// # Errors
    /// If the store's threads cannot be started.
    pub fn in_memory() -> Result<Store> {
        Options::new().open_in_memory()
    }

    fn start(storage: &Arc<dyn Storage>, options: Options) -> Result<Store> {
        let home = Home::default();
        let (requests, inbox) = queue(options.queue_capacity, &home);
        // The writer takes leases between groups anyway: a dropped snapshot need not wake it.
        let bell = Arc::new(Bell::new(|| {}));
        if options.read_only {
            let mut state = recover::open_read_only(storage, &options, &bell)?;
            drop(inbox);
            let first = state.view(Generation(1), &bell);
            let durable = state.version;
            let engine = Engine::new(first, &home, durable, options, bell);
            engine.gauge(&state.pages, 0);
            let running = Arc::new(Running::new(true));
            let shared = Shared { engine: Arc::new(engine), requests, home, running };
            return Ok(Store { shared: Arc::new(shared) });
        }
        let Opened { mut state, log, durable, replayed } = recover::open(storage, &options, &bell)?;
        let generation = Generation(1);
        let first = state.view(generation, &bell);
        let engine = Engine::new(first, &home, durable.meta.version, options, bell);
        let engine = Arc::new(engine);
        let syncing = Arc::downgrade(&engine);
        home.on_sync_wanted(move || {
            if let Some(engine) = syncing.upgrade() {
                engine.pipeline.want_sync();
            }
        });
        let mut writer = Writer::new(engine.clone(), inbox, state, log, durable, generation);
        writer.settle_recovery(replayed.records)?;
        writer.gauge();
        let running = Arc::new(Running::new(false));
        let shared = Shared { engine, requests, home, running };
        shared.spawn(writer)?;
        Ok(Store { shared: Arc::new(shared) })
    }

    /// The newest version, for as long as it is held.
    ///
    /// Cost: one atomic read-modify-write, no lock, no system call. Of a closed store: a snapshot
    /// whose calls answer [`Error::Closed`].
    pub fn snapshot(&self) -> Snapshot {
        Snapshot::new(self.shared.engine.published.pin())
    }

    /// Reads the newest version within a closure: cheaper than [`snapshot`](Self::snapshot) by the
    /// count of one reference.
    pub fn read<T>(&self, read: impl FnOnce(&View) -> T) -> T {
        read(&self.shared.engine.published.guard())
    }

    /// The value of one key in the newest version, owned.
    ///
    /// # Errors
    /// [`Error::TypeMismatch`], [`Error::Corrupt`], [`Error::Closed`].
    pub fn get<K: Key, V: Value>(
        &self,
        table: &Table<K, V>,
        key: K::Item<'_>,
    ) -> Result<Option<V::Owned>> {
        self.read(|view| Ok(view.table(table)?.get(key)?.map(V::to_owned)))
    }

    /// A reader for one thread: it keeps a snapshot and renews it only when a commit came. The way
    /// to read in a hot loop and still see new commits.
    pub fn reader(&self) -> Reader {
        let word = self.shared.engine.published.word();
        Reader { snapshot: self.snapshot(), word, engine: self.shared.engine.clone() }
    }

    /// Runs `write` on the writer thread as one transaction, and waits until it is as safe as the
    /// store's [`Durability`] says. It may borrow from the caller. An error or a panic undoes all
    /// of it, and nothing else.
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
        let send = |work: Work<StoreBench>| self.send(Request::Closure { work, durability });
        run_borrowed(&self.shared.home, promised(durability), send, write)
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

    fn send(&self, request: Request) -> Result<()> {
        let sent = self.shared.requests.send(request);
        sent.map_err(|refused| self.refusal(&refused))
    }

    fn refusal(&self, refused: &Refused<Request>) -> Error {
        match refused {
            Refused::Full(_) | Refused::Timeout(_) => Error::Full { what: Resource::Queue },
            Refused::Closed(_) if self.shared.engine.options.read_only => {
                Error::invalid("the store was opened to be read only")
            }
            Refused::Closed(_) if self.shared.home.is_poisoned() => Error::Poisoned,
            Refused::Closed(_) => Error::Closed,
        }
    }

    /// The tables' names, in order.
    pub fn tables(&self) -> Result<Vec<String>> {
        self.read(View::tables)
    }

    /// Gives a table another name. False if there is none of the name `from`.
    ///
    /// # Errors
    /// [`Error::Invalid`] if there is a table named `to`, and as [`write`](Self::write).
    pub fn rename_table(&self, from: &str, to: &str) -> Result<bool> {
        self.write(|tx| tx.rename_table(from, to))
    }

    /// Removes a table with everything in it. False if there is none of this name.
    ///
    /// # Errors
    /// As [`write`](Self::write).
    pub fn drop_table(&self, name: &str) -> Result<bool> {
        self.write(|tx| tx.drop_table(name))
    }

    /// Makes every commit that was answered durable.
    ///
    /// # Errors
    /// [`Error::Io`] if the sync fails: the store is poisoned then.
    pub fn sync(&self) -> Result<()> {
        self.control(Control::Sync)
    }

    /// Writes everything committed to the page file, so that the log is empty.
    ///
    /// # Errors
    /// [`Error::Full`] if the device is full: nothing is lost, the log holds it; [`Error::Io`].
    pub fn checkpoint(&self) -> Result<()> {
        self.control(Control::Checkpoint)
    }

    fn control(&self, control: fn(crate::txn::answer::Promise<()>) -> Control) -> Result<()> {
        self.not_on_own_thread()?;
        let (promise, commit) = promise(&self.shared.home, Promised::Durable);
        self.send(Request::Control(control(promise)))?;
        commit.wait()
    }

    /// Looks at the writer's state between two groups.
    pub(crate) fn inspect<T: Send + 'static>(
        &self,
        inspect: impl FnOnce(&mut Writer) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        self.not_on_own_thread()?;
        let (promise, commit) = promise(&self.shared.home, Promised::Visible);
        let look = Box::new(move |writer: &mut Writer| match inspect(writer) {
            Ok(seen) => promise.visible(0, seen),
            Err(error) => promise.fail(error),
        });
        self.send(Request::Control(Control::Inspect(look)))?;
        commit.wait()
    }

    fn not_on_own_thread(&self) -> Result<()> {
        if self.shared.home.is_own_thread() { Err(Error::Reentrant) } else { Ok(()) }
    }

    /// What the store has done and holds. Cost: a few hundred loads, no lock.
    pub fn stats(&self) -> Stats {
        let Shared { engine, requests, .. } = &*self.shared;
        stats::collect(engine, requests.depth(), requests.capacity())
    }

    /// The options that the store was opened with.
    pub fn options(&self) -> &Options {
        &self.shared.engine.options
    }

    /// Closes the store: nothing is accepted any more, what was accepted is committed and answered,
    /// and a last checkpoint empties the log. Other handles answer [`Error::Closed`] from then on.
    /// Closing again is fine.
    ///
    /// # Errors
    /// [`Error::Full`] if that takes longer than `close_timeout`; it goes on in the background. The
    /// error of a sync that failed. [`Error::Reentrant`] inside of a transaction.
    pub fn close(&self) -> Result<Closed> {
        self.not_on_own_thread()?;
        self.shared.close()
    }
}

fn promised(durability: Durability) -> Promised {
    if durability == Durability::Sync { Promised::Durable } else { Promised::Visible }
}

impl Shared {
    fn spawn(&self, mut writer: Writer) -> Result<()> {
        let Shared { engine, home, running, requests } = self;
        let (pager, syncer) = writer.shared_parts();
        let nudger: Nudger = requests.nudger();
        let pressed = nudger.clone();
        pager.on_pressure(move || pressed.nudge());
        let log_thread = {
            let (engine, home, syncer) = (engine.clone(), home.clone(), syncer.clone());
            move || {
                home.enter_own_thread();
                while catch_unwind(AssertUnwindSafe(|| engine.pipeline.run(&syncer))).is_err() {
                    engine.pipeline.drop_in_hand(&Error::own_panic("the log thread"));
                }
            }
        };
        let checkpoint_thread = {
            let (engine, home) = (engine.clone(), home.clone());
            move || {
                home.enter_own_thread();
                let nudge = || nudger.nudge();
                engine.checkpointer.run(&pager, &syncer, &engine.metrics, nudge);
            }
        };
        let writer_thread = {
            let (engine, home, running) = (engine.clone(), home.clone(), running.clone());
            move || {
                home.enter_own_thread();
                run_guarded(&mut writer, &engine);
                drop(writer);
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

    fn close(&self) -> Result<Closed> {
        self.requests.close();
        let timeout = self.engine.options.close_timeout;
        let began = Instant::now();
        let mut ended = lock(&self.running.ended);
        while !*ended {
            let Some(left) = timeout.checked_sub(began.elapsed()) else {
                return Err(Error::Full { what: Resource::Queue });
            };
            (ended, _) = wait_timeout(&self.running.changed, ended, left);
        }
        drop(ended);
        for thread in std::mem::take(&mut *lock(&self.running.threads)) {
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
fn run_guarded(writer: &mut Writer, engine: &Engine) {
    while catch_unwind(AssertUnwindSafe(|| writer.run())).is_err() {
        engine.pipeline.set_poison(&Error::own_panic("the writer thread"));
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        if self.home.is_own_thread() {
            self.requests.close();
        } else {
            // Nobody is left to tell; what was answered as durable is.
            let _ = self.close();
        }
    }
}

impl fmt::Debug for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Store").field("version", &self.snapshot().version()).finish_non_exhaustive()
    }
}

/// A thread's own way to read: it keeps a snapshot, and renews it when one shared word has changed.
///
/// What it pins while it is idle is bounded by the reclaim rule: the pages that its version sees.
pub struct Reader {
    snapshot: Snapshot,
    word: u64,
    engine: Arc<Engine>,
}

impl Reader {
    /// The newest version: never behind a commit that was answered before this call.
    ///
    /// Cost: one load if nothing was committed since the last call.
    #[inline]
    pub fn snapshot(&mut self) -> &Snapshot {
        let word = self.engine.published.word();
        if word != self.word {
            // The word first, then the pointer: the snapshot is then at least as new as the word.
            self.word = word;
            self.snapshot = Snapshot::new(self.engine.published.pin());
        }
        &self.snapshot
    }
}

impl fmt::Debug for Reader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reader").field("version", &self.snapshot.version()).finish_non_exhaustive()
    }
}
