//! A store whose content follows from its version, so that any snapshot can be told right or wrong
//! by looking at it alone.
//! Owns: [`Ledger`].

use recto::internals::storage::{Storage, memory::MemoryStorage};
use recto::{Batch, Durability, Error, Options, Result, Store, Table, View, WriteTx};
use std::{sync::Arc, time::Duration};

/// Every closure counts each of these up by one.
const ROUNDS: Table<u64, &[u8]> = Table::new("rounds");
/// Every batch writes one entry of its own.
const ENTRIES: Table<u64, u64> = Table::new("entries");
/// How many rounds are kept: enough for several pages.
const ROUNDS_LEN: u64 = 6;
/// The size of each: three to a page.
const ROUND_BYTES: usize = 1200;

/// More than shuttle's clock ever tells.
const NO_LIMIT: Duration = Duration::from_secs(1 << 40);

/// A store on which only the methods here write: version = rounds + entries, in every snapshot.
#[derive(Clone)]
pub struct Ledger {
    /// The store.
    pub store: Store,
}

impl Ledger {
    /// Small in everything, without a map.
    pub fn options() -> Options {
        let small = Options::new().log_segment_bytes(16 * 1024).dirty_bytes(256 * 1024);
        small.queue_capacity(2).memory_map(false).close_timeout(NO_LIMIT)
    }

    /// On a new disk in memory.
    pub fn new(options: Options) -> Ledger {
        Ledger::open(options, &Ledger::memory()).expect("a new store opens")
    }

    /// A disk in memory.
    pub fn memory() -> Arc<dyn Storage> {
        Arc::new(MemoryStorage::new())
    }

    /// On a disk that may hold a ledger.
    pub fn open(options: Options, storage: &Arc<dyn Storage>) -> Result<Ledger> {
        let store = recto::internals::store::open_storage(options, storage)?;
        Ok(Ledger { store })
    }

    /// Counts the rounds up by a closure; the version it saw before.
    pub fn round(&self) -> Result<u64> {
        self.store.write(count_up)
    }

    /// One entry, as a batch.
    pub fn entry(key: u64, durability: Durability) -> Batch {
        let mut batch = Batch::new();
        batch.insert(&ENTRIES, key, key + 1);
        batch.durability(durability)
    }

    /// Whether the entry is there.
    pub fn has_entry(view: &View, key: u64) -> bool {
        view.table(&ENTRIES).and_then(|entries| entries.get(key)).expect("a table") == Some(key + 1)
    }

    /// Looks at everything in `view`, which must be as its version says; the version.
    ///
    /// # Panics
    /// If it is not.
    pub fn look(view: &View) -> u64 {
        Ledger::try_look(view).unwrap_or_else(|error| match error {
            // Its text names checksums, which differ from store to store; a replay is to say the
            // same.
            Error::Corrupt(_) => panic!("wrong page: a damaged one"),
            error => panic!("wrong page: {error}"),
        })
    }

    /// The same, of a store that may be out of room for the pages that it reads.
    pub fn try_look(view: &View) -> Result<u64> {
        let (version, mut seen) = (view.version(), Vec::new());
        for entry in view.table(&ROUNDS)?.iter()? {
            let (key, value) = entry?;
            let round = u64::from_be_bytes(value[..8].try_into().expect("8 bytes"));
            assert_eq!(value.len(), ROUND_BYTES, "wrong page: a value of another length");
            assert_eq!(key, seen.len() as u64, "wrong page: a key out of its place");
            seen.push(round);
        }
        let round = seen.first().copied().unwrap_or(0);
        assert!(seen.iter().all(|one| *one == round), "wrong page: half of a commit in {seen:?}");
        let entries = view.table(&ENTRIES)?.len()?;
        assert_eq!(round + entries, version, "wrong page: not what version {version} wrote");
        Ok(version)
    }

    /// Closes and expects that it goes well.
    pub fn close(&self) {
        self.store.close().expect("a healthy store closes");
    }
}

fn count_up(tx: &mut WriteTx<'_>) -> Result<u64> {
    let mut rounds = tx.table(&ROUNDS)?;
    let before = rounds.get(0)?.map_or(0, |value| u64::from(value[7]));
    for key in 0..ROUNDS_LEN {
        let mut value = [before as u8; ROUND_BYTES];
        value[..8].copy_from_slice(&(before + 1).to_be_bytes());
        rounds.insert(key, &value[..])?;
    }
    Ok(before)
}
