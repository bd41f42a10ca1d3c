//! The front door: open, read, write, close.
//! Owns: [`Store`]. Its rooms: `opening` copes with damage, `submit` hands work to the writer,
//! `transaction` lets a caller's thread work ahead of it, `reader` is a thread's own snapshot,
//! `running` has the threads. Absent on purpose: anything that a room below could do.

mod backup;
mod opening;
mod reader;
mod running;
mod submit;
mod transaction;

#[cfg(feature = "internals")]
pub use opening::prove;
pub use reader::Reader;
pub use submit::TrySubmitError;
pub use transaction::Transaction;

#[cfg(feature = "simulation")]
use crate::storage::sim::SimDisk;
use crate::{
    error::{Error, Result},
    options::{Durability, Options},
    publish::{Bell, Generation},
    stats::{self, Stats},
    storage::{Storage, file::FileStorage, memory::MemoryStorage},
    sync::Arc,
    table::{Table, key::Key, value::Value},
    txn::{
        answer::{Home, Promise, Promised, promise},
        queue::{Requests, queue},
        recover::{self, Opened},
        request::{Control, Request},
        snapshot::{Snapshot, View},
        writer::{Engine, Writer},
    },
};
use running::Running;
use std::{fmt, path::Path};

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
        let opened = opening::open(storage, &options, &bell)?;
        let Opened { mut state, log, durable, replayed } = opened;
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

impl fmt::Debug for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Store").field("version", &self.snapshot().version()).finish_non_exhaustive()
    }
}
