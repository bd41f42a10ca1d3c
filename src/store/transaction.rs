//! Optimistic transactions, from the caller's side.
//! Owns: [`Transaction`], and how often and after what pauses a conflict is tried again.

use super::{Store, submit::promised};
use crate::{
    error::{Error, Result},
    options::Durability,
    sync::thread,
    table::{Table, key::Key, value::Value, write::TableMut},
    txn::{
        answer::{Commit, promise},
        optimistic::Buffered,
        request::{BatchAck, Request},
    },
};
use std::{
    fmt,
    hash::{BuildHasher, RandomState},
    time::Duration,
};

/// How often [`Store::transact`] tries before it gives up.
const ATTEMPTS_MAX: u32 = 1000;
/// The first pause after a conflict, which doubles with each of the next ones.
const PAUSE: Duration = Duration::from_micros(20);
/// How often it doubles: to about 10 ms.
const DOUBLINGS_MAX: u32 = 9;

/// An optimistic transaction: it reads one snapshot and its own writes, on the thread that has it,
/// and keeps its writes to itself until it is committed. The commit is refused with
/// [`Error::Conflict`] if anything that it read has changed meanwhile; so those that are committed
/// are serializable, in the order of their versions.
///
/// What counts as read is what its answers depend on: values that were got; whether a key is there,
/// which is all that [`contains`], and the answers of [`insert`], [`insert_if_absent`] and
/// [`remove`] tell; ranges as far as they were walked at each end; lengths. What others did to
/// other keys never conflicts, however near they are. Of a table that is not there all of this
/// reads as of an empty one; it is made by the commit if something was written to it.
///
/// Reads and writes may take 1 GiB of keys and values in all. Dropping it forgets it. Like a
/// snapshot it keeps the pages that its version sees; it also keeps the store open.
///
/// ```
/// use recto::{Error, Store, Table};
/// # fn main() -> recto::Result<()> {
/// const AGES: Table<&str, u64> = Table::new("ages");
/// let store = Store::in_memory()?;
/// let (mut one, mut other) = (store.begin(), store.begin());
/// let age = one.table(&AGES)?.get("ada")?.unwrap_or(35);
/// one.table(&AGES)?.insert("ada", age + 1)?;
/// let age = other.table(&AGES)?.get("ada")?.unwrap_or(35);
/// other.table(&AGES)?.insert("ada", age + 10)?;
/// assert_eq!(one.commit()?, 1);
/// assert!(matches!(other.commit(), Err(Error::Conflict)));
/// # Ok(()) }
/// ```
///
/// [`contains`]: TableMut::contains
/// [`insert`]: TableMut::insert
/// [`insert_if_absent`]: TableMut::insert_if_absent
/// [`remove`]: TableMut::remove
#[must_use = "a transaction does nothing unless it is committed"]
pub struct Transaction {
    store: Store,
    buffered: Buffered,
    durability: Option<Durability>,
}

impl Store {
    /// Begins an optimistic transaction over the newest version. Cost: that of a snapshot.
    ///
    /// The writer thread has no part in it until it is committed. Of a closed store every call of
    /// it answers [`Error::Closed`].
    #[track_caller]
    pub fn begin(&self) -> Transaction {
        let buffered = Buffered::new(self.snapshot().into_root());
        Transaction { store: self.clone(), buffered, durability: None }
    }

    /// Runs `run` in an optimistic transaction and commits it; after a conflict it is run again, in
    /// a new one. So it must be fit to be run several times, and have no effect beside its
    /// transaction. An error or a panic in it forgets the transaction.
    ///
    /// Between attempts it pauses, at random, for up to 20 us at first and up to 10 ms in the end.
    ///
    /// # Errors
    /// The closure's own; [`Error::Conflict`] after 1,000 attempts; as
    /// [`commit`](Transaction::commit).
    pub fn transact<T>(&self, run: impl FnMut(&mut Transaction) -> Result<T>) -> Result<T> {
        self.try_transact(run)
    }

    /// As [`transact`](Self::transact), with any error type.
    pub fn try_transact<T, E: From<Error>>(
        &self,
        mut run: impl FnMut(&mut Transaction) -> Result<T, E>,
    ) -> Result<T, E> {
        let mut attempt = 0;
        loop {
            let mut tx = self.begin();
            let value = run(&mut tx)?;
            attempt += 1;
            match tx.commit() {
                Ok(_) => return Ok(value),
                Err(Error::Conflict) if attempt < ATTEMPTS_MAX => thread::sleep(pause(attempt)),
                Err(error) => return Err(E::from(error)),
            }
        }
    }
}

/// A pause after that many conflicts: random, so that two who met do not meet again.
fn pause(conflicts: u32) -> Duration {
    let longest = PAUSE * (1 << (conflicts - 1).min(DOUBLINGS_MAX));
    // Every `RandomState` hashes under keys of its own.
    let dice = RandomState::new().hash_one(conflicts);
    longest * (dice as u32 >> 16) / (1 << 16)
}

impl Transaction {
    /// The version that it reads.
    pub fn version(&self) -> u64 {
        self.buffered.base().version()
    }

    /// A table, to read and change it within this transaction.
    ///
    /// # Errors
    /// [`Error::TypeMismatch`] if it was created with other types; [`Error::TooLarge`] if its name
    /// is too long; [`Error::Closed`].
    pub fn table<K: Key, V: Value>(
        &mut self,
        table: &Table<K, V>,
    ) -> Result<TableMut<'_, K, V, Buffered>> {
        TableMut::open(&mut self.buffered, table)
    }

    /// When its commit is answered; without it, as the store's options say.
    pub fn durability(mut self, durability: Durability) -> Transaction {
        self.durability = Some(durability);
        self
    }

    /// Commits: the version that it took. One that has written nothing is as of the version that it
    /// read, and takes none; it is answered when that version is as safe as its durability says.
    ///
    /// # Errors
    /// [`Error::Conflict`] if something that it read has changed: nothing is done, and a new
    /// transaction will see it. [`Error::TooLarge`] if it has read and written more than 1 GiB.
    /// [`Error::Reentrant`] inside of a [`write`](Store::write); [`Error::Closed`];
    /// [`Error::Poisoned`]; [`Error::Full`].
    pub fn commit(self) -> Result<u64> {
        self.store.not_on_own_thread()?;
        let (store, request, commit) = self.into_request()?;
        if let Some(request) = request {
            store.hand_in(request)?;
        }
        commit.wait()
    }

    /// Hands it over to be committed without waiting for that; waits while the queue is full.
    ///
    /// # Errors
    /// As [`commit`](Self::commit), but that a conflict comes with the [`Commit`]; on the store's
    /// own threads [`Error::Full`] in place of waiting.
    pub fn submit(self) -> Result<Commit> {
        let (store, request, commit) = self.into_request()?;
        if let Some(request) = request {
            store.send(request)?;
        }
        Ok(commit)
    }

    /// Hands it over as soon as there is room, without blocking a thread. Dropped before it is
    /// ready, the future has handed nothing over.
    ///
    /// # Errors
    /// As [`submit`](Self::submit).
    pub async fn submit_async(self) -> Result<Commit> {
        let (store, request, commit) = self.into_request()?;
        if let Some(request) = request {
            let sent = store.shared.requests.send_async(request).await;
            sent.map_err(|refused| store.refusal(&refused))?;
        }
        Ok(commit)
    }

    /// What the writer gets; nothing if there is nothing to write, which is answered at once.
    fn into_request(self) -> Result<(Store, Option<Request>, Commit)> {
        let Transaction { store, buffered, durability } = self;
        buffered.sendable()?;
        let durability = durability.unwrap_or(store.shared.engine.options.durability);
        let (promise, commit) = promise(&store.shared.home, promised(durability));
        if buffered.is_read_only() {
            // It stands in the order of commits where its snapshot does: nothing can conflict.
            // But what it read may be further from the device than it is to be.
            let version = buffered.base().version;
            let ack = Box::new(BatchAck { promise, version: version.0 });
            // In a forked process nobody can answer: dropped, it says so itself.
            if store.shared.home.is_here() {
                let needs_sync = durability == Durability::Sync;
                store.shared.engine.pipeline.answer_for(version, ack, needs_sync);
            }
            return Ok((store, None, commit));
        }
        let buffered = Box::new(buffered);
        Ok((store, Some(Request::Optimistic { buffered, promise, durability }), commit))
    }
}

impl fmt::Debug for Transaction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Transaction").field("buffered", &self.buffered).finish_non_exhaustive()
    }
}
