//! The front door: open, read, write, close.
//! Owns: [`Store`]. Its rooms: `opening` copes with damage, `submit` hands work to the writer,
//! `transaction` lets a caller's thread work ahead of it, `reader` is a thread's own snapshot,
//! `running` has the threads. Absent on purpose: anything that a room below could do.

mod backup;
mod compact;
pub mod increment;
mod opening;
mod reader;
mod readers;
pub mod restore;
mod running;
mod submit;
#[cfg(all(test, not(loom)))]
mod tests;
mod transaction;

pub use compact::{Budget, Compacted};
#[cfg(feature = "internals")]
pub use opening::prove;
pub use reader::Reader;
pub use submit::TrySubmitError;
pub use transaction::Transaction;

#[cfg(feature = "simulation")]
use crate::storage::sim::SimDisk;
use crate::{
    error::{Error, Result},
    event::Event,
    options::{Durability, Options},
    publish::{Bell, Generation},
    stats::{self, Stats},
    storage::{Storage, file::FileStorage, memory::MemoryStorage},
    sync::{Arc, PlainArc, erased},
    table::{Table, key::Key, value::Value},
    txn::{
        answer::{Commit, Home, Promise, Promised, promise},
        queue::{Requests, queue},
        recover::{self, Opened},
        request::{Control, Request},
        seat::Seat,
        snapshot::{Snapshot, View},
        writer::{Engine, Writer},
    },
};
use compact::Compaction;
use running::Running;
use std::{fmt, panic::Location, path::Path};

/// An open store. A clone is another handle to it; handles may be used from any thread.
///
/// When the last handle goes, what was accepted is still committed, and the store is closed as by
/// [`close`](Store::close). Snapshots live on, and keep the store's files locked while they do.
///
/// A process that was forked off has no part in it: its calls that write or wait answer
/// [`Error::Closed`], and its drops touch nothing. It must not read either, because the pages that
/// its snapshots see are used again. It keeps the lock until it ends or becomes another program.
#[derive(Clone)]
pub struct Store {
    shared: Arc<Shared>,
}

struct Shared {
    engine: PlainArc<Engine>,
    requests: Requests<Request>,
    home: Home,
    running: Arc<Running>,
    seat: Arc<Seat<Writer>>,
    compaction: Compaction,
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

impl Options {
    /// Opens the store in the directory `path`, which is created if it is absent.
    ///
    /// Cost: independent of the size of the store, plus the replay of the log after a crash; with
    /// [`map_prefault`](Self::map_prefault), or [`check_on_open`](Self::check_on_open), all of it
    /// is read.
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
        let storage: Arc<dyn Storage> = erased(PlainArc::new(made?));
        match self.clone().open_storage(&storage) {
            Err(Error::Locked { pid }) if self.memory_if_locked => {
                let events = self.events.clone();
                let store = self.open_in_memory()?;
                events.report(|| Event::OpenedInMemory { owner: pid });
                Ok(store)
            }
            opened => opened,
        }
    }

    /// Opens an empty store that lives in memory alone.
    ///
    /// # Errors
    /// [`Error::Invalid`] for options that cannot be.
    pub fn open_in_memory(self) -> Result<Store> {
        let options = Options { cache_bytes: u64::MAX, durability: Durability::None, ..self };
        let storage: Arc<dyn Storage> = erased(PlainArc::new(MemoryStorage::new()));
        options.open_storage(&storage)
    }

    /// Opens the store on a simulated disk.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    #[cfg(feature = "simulation")]
    pub fn open_simulated(self, disk: &SimDisk) -> Result<Store> {
        let storage: Arc<dyn Storage> = erased(PlainArc::new(disk.clone()));
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

/// A store whose threads have not been started: what is handed in waits for them. For models, where
/// each step that two threads take at once costs executions.
#[cfg(feature = "internals")]
pub struct Stopped {
    /// The store.
    pub store: Store,
    writer: Option<Writer>,
}

#[cfg(feature = "internals")]
impl Stopped {
    /// Opens the store.
    ///
    /// # Errors
    /// As [`Options::open`].
    pub fn open(options: Options, storage: &Arc<dyn Storage>) -> Result<Stopped> {
        options.validate()?;
        let (store, writer) = Store::prepare(storage, options)?;
        Ok(Stopped { store, writer })
    }

    /// Asks for a checkpoint; whose end the answer tells.
    ///
    /// # Errors
    /// As of [`Store::checkpoint`].
    pub fn ask_for_checkpoint(&self) -> Result<Commit<()>> {
        self.store.ask(Control::Checkpoint)
    }

    /// Starts the threads.
    ///
    /// # Errors
    /// If they cannot be started.
    pub fn start(self) -> Result<Store> {
        let Stopped { store, writer } = self;
        writer.map_or(Ok(()), |writer| store.shared.spawn(writer))?;
        Ok(store)
    }
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
        let (store, writer) = Store::prepare(storage, options)?;
        if let Some(writer) = writer {
            store.shared.spawn(writer)?;
        }
        Ok(store)
    }

    /// The store without its threads, and what its writer thread will work at; none if the store is
    /// only read.
    fn prepare(storage: &Arc<dyn Storage>, options: Options) -> Result<(Store, Option<Writer>)> {
        let home = Home::default();
        let (requests, inbox) = queue(options.queue_capacity, &home);
        let nudger = requests.nudger();
        let bell = Arc::new(Bell::new(move || nudger.nudge()));
        if options.read_only {
            let mut state = recover::open_read_only(storage, &options, &bell)?;
            drop(inbox);
            let first = state.view(Generation(1), &bell);
            let durable = state.version;
            let engine = Engine::new(first, &home, durable, options, bell);
            engine.gauge(&state.pages, 0);
            let running = Arc::new(Running::new(true));
            let shared = Shared {
                engine: PlainArc::new(engine),
                requests,
                home,
                running,
                seat: Arc::new(Seat::vacant()),
                compaction: Compaction::default(),
            };
            return Ok((Store { shared: Arc::new(shared) }, None));
        }
        let opened = opening::open(storage, &options, &bell)?;
        let Opened { mut state, log, durable, replayed } = opened;
        let generation = Generation(1);
        let first = state.view(generation, &bell);
        let engine = Engine::new(first, &home, durable.meta.version, options, bell);
        let engine = PlainArc::new(engine);
        let syncing = PlainArc::downgrade(&engine);
        home.on_sync_wanted(move || {
            if let Some(engine) = syncing.upgrade() {
                engine.pipeline.want_sync();
            }
        });
        let mut writer = Writer::new(engine.clone(), inbox, state, log, durable, generation);
        writer.settle_recovery(replayed.records)?;
        writer.gauge();
        let (running, seat) = (Arc::new(Running::new(false)), Arc::new(Seat::vacant()));
        let compaction = Compaction::default();
        let shared = Shared { engine, requests, home, running, seat, compaction };
        Ok((Store { shared: Arc::new(shared) }, Some(writer)))
    }

    /// The newest version, for as long as it is held.
    ///
    /// Cost: one atomic read-modify-write, no lock, no system call. Of a closed store: a snapshot
    /// whose calls answer [`Error::Closed`].
    #[track_caller]
    pub fn snapshot(&self) -> Snapshot {
        let root = self.shared.engine.published.pin();
        root.note_taken(Location::caller());
        Snapshot::new(root)
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

    fn control(&self, control: fn(Promise<()>) -> Control) -> Result<()> {
        self.not_on_own_thread()?;
        self.ask(control)?.wait()
    }

    fn ask(&self, control: fn(Promise<()>) -> Control) -> Result<Commit<()>> {
        let (promise, commit) = promise(&self.shared.home, Promised::Durable);
        self.send(Request::Control(control(promise)))?;
        Ok(commit)
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

impl fmt::Debug for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Store").field("version", &self.snapshot().version()).finish_non_exhaustive()
    }
}
