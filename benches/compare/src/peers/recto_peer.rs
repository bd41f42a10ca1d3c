//! recto itself.

use super::{Entries, Held, Keys, Mode, Peer, Session, WRITE_MEMORY_BYTES, word};
use crate::entries::{self, Data, Key, Value};
use rayon::iter::ParallelIterator;
use recto::{
    Batch, Budget, Durability, Options, Reader, Snapshot, Stats, Store, Table, TableRef,
    TableTypes, WriteTx,
};
use std::path::Path;

const ENTRIES: Table<&[u8], &[u8]> = Table::new("entries");

/// The name of a store with pages of the usual size, or of that of a store that is there.
pub const RECTO: &str = "recto";
/// The names of those whose pages have a size that was asked for.
const SIZED: [(&str, usize); 4] = [
    ("recto 4 KiB", 4 << 10),
    ("recto 8 KiB", 8 << 10),
    ("recto 16 KiB", 16 << 10),
    ("recto 32 KiB", 32 << 10),
];

/// Whether a store of this name is one of ours.
pub fn is_ours(name: &str) -> bool {
    name == RECTO || SIZED.iter().any(|(sized, _)| *sized == name)
}

/// The name of a store with pages of so many bytes, given as a word.
pub fn sized(page_bytes: &str) -> Option<&'static str> {
    let page_bytes: usize = page_bytes.parse().ok()?;
    SIZED.iter().find(|(_, bytes)| *bytes == page_bytes).map(|(name, _)| *name)
}

/// A store of ours.
pub struct Recto {
    store: Store,
}

impl Recto {
    /// Opens one, under one of its names.
    pub fn open(name: &str, dir: &Path, mode: Mode) -> Recto {
        Recto::open_with(name, dir, mode, |options| options)
    }

    /// As [`open`](Recto::open), with other options than the usual ones.
    pub fn open_with(
        name: &str,
        dir: &Path,
        mode: Mode,
        change: impl FnOnce(Options) -> Options,
    ) -> Recto {
        Recto { store: change(options(name, mode)).open(dir).expect("recto opens") }
    }

    /// The newest state.
    pub fn snapshot(&self) -> Snapshot {
        self.store.snapshot()
    }

    /// Waits until everything that was answered is on the device.
    pub fn sync(&self) {
        self.store.sync().expect("recto syncs");
    }

    /// Changes entries in one batch without waiting for it to be synced: each key is inserted or
    /// its value replaced; the first of each triple is a key that goes.
    pub fn change(&self, changes: impl Iterator<Item = (Option<Key>, Key, Value)>) {
        let mut batch = Batch::new();
        for (old, key, value) in changes {
            if let Some(old) = old {
                batch.remove(&ENTRIES, &old);
            }
            batch.insert(&ENTRIES, &key, &value);
        }
        self.store.submit(batch).expect("recto takes a batch").wait().expect("recto commits");
    }

    /// As `gets_each`, by the call for one get.
    pub fn gets_by_store(&self, keys: &[&[u8]]) -> u64 {
        let get = |key: &&[u8]| self.store.get(&ENTRIES, key).unwrap().map_or(0, |v| word(&v));
        keys.iter().map(get).fold(0, u64::wrapping_add)
    }

    /// As `scan`, by the threads of the pool that it is called in.
    pub fn scan_in_pool(&self) -> u64 {
        let snapshot = self.store.snapshot();
        let entries = snapshot.table(&ENTRIES).unwrap().par_iter().unwrap();
        let words = entries.map(|entry| {
            let (key, value) = entry.unwrap();
            word(key).wrapping_add(word(value))
        });
        words.reduce(|| 0, u64::wrapping_add)
    }

    /// Inserts entries one by one in one closure.
    pub fn insert_each(&self, entries: &mut Entries<'_>) {
        let insert = |tx: &mut WriteTx<'_>| {
            let mut table = tx.table(&ENTRIES)?;
            for (key, value) in entries {
                table.insert(&key, &value)?;
            }
            Ok(())
        };
        self.store.write(insert).expect("recto inserts");
    }

    /// Inserts entries by the bulk path.
    pub fn extend(&self, entries: &[(Key, Value)]) {
        let entries = entries.iter().map(|(key, value)| (&key[..], &value[..]));
        self.store.write(|tx| tx.table(&ENTRIES)?.extend(entries)).expect("recto extends");
    }

    /// Inserts one entry as a batch and does not wait.
    pub fn submit(&self, key: &[u8], value: &[u8]) -> recto::Commit {
        let mut batch = Batch::new();
        batch.insert(&ENTRIES, key, value);
        self.store.submit(batch).expect("recto takes a batch")
    }
}

fn options(name: &str, mode: Mode) -> Options {
    let durability = match mode {
        Mode::Durable => Durability::Sync,
        Mode::NoSync => Durability::None,
    };
    let options = Options::new().durability(durability).dirty_bytes(WRITE_MEMORY_BYTES);
    let sized = SIZED.iter().find(|(sized, _)| *sized == name);
    sized.map_or(options.clone(), |(_, page_bytes)| options.page_bytes(*page_bytes))
}

impl Peer for Recto {
    fn gets(&self, keys: &[&[u8]]) -> u64 {
        let snapshot = self.store.snapshot();
        let table = snapshot.table(&ENTRIES).unwrap();
        let get = |key: &&[u8]| table.get(key).unwrap().map_or(0, word);
        keys.iter().map(get).fold(0, u64::wrapping_add)
    }

    fn gets_dependent(&self, data: Data, start: u64, count: usize, of: u64) -> u64 {
        let snapshot = self.store.snapshot();
        let table = snapshot.table(&ENTRIES).unwrap();
        (0..count as u64).fold(start, |i, step| {
            let found = table.get(&data.key(i)).unwrap();
            entries::next(found.unwrap_or_default(), step, of)
        })
    }

    fn gets_each(&self, keys: &[&[u8]]) -> u64 {
        let mut reader = self.store.reader();
        let mut get = |key: &&[u8]| {
            let table = reader.snapshot().table(&ENTRIES).unwrap();
            table.get(key).unwrap().map_or(0, word)
        };
        keys.iter().map(&mut get).fold(0, u64::wrapping_add)
    }

    fn get_many(&self, keys: &[&[u8]], group: usize) -> u64 {
        let snapshot = self.store.snapshot();
        let table = snapshot.table(&ENTRIES).unwrap();
        let mut sum = 0_u64;
        for keys in keys.chunks(group) {
            let values = table.get_many(keys.iter().copied()).unwrap();
            sum = values.iter().flatten().map(|value| word(value)).fold(sum, u64::wrapping_add);
        }
        sum
    }

    fn scan(&self) -> u64 {
        scan(&self.store.snapshot())
    }

    fn ranges(&self, keys: &[&[u8]], count: usize) -> u64 {
        let snapshot = self.store.snapshot();
        let table = snapshot.table(&ENTRIES).unwrap();
        keys.iter().map(|key| ahead(&table, key, count)).fold(0, u64::wrapping_add)
    }

    fn put(&self, key: &[u8], value: &[u8]) {
        self.store.write(|tx| tx.table(&ENTRIES)?.insert(key, value)).expect("recto inserts");
    }

    fn batch(&self, entries: &mut Entries<'_>) {
        let mut batch = Batch::new();
        for (key, value) in entries {
            batch.insert(&ENTRIES, &key, &value);
        }
        self.store.submit(batch).expect("recto takes a batch").wait().expect("recto commits");
    }

    fn bulk(&self, entries: &mut Entries<'_>) {
        let types = TableTypes::of::<&[u8], &[u8]>();
        let extend = |tx: &mut WriteTx<'_>| tx.raw_table(ENTRIES.name(), &types)?.extend(entries);
        self.store.write(extend).expect("recto extends");
    }

    fn remove(&self, keys: &mut Keys<'_>) {
        let mut batch = Batch::new();
        for key in keys {
            batch.remove(&ENTRIES, &key);
        }
        self.store.submit(batch).expect("recto takes a batch").wait().expect("recto commits");
    }

    fn len(&self) -> u64 {
        self.store.snapshot().table(&ENTRIES).unwrap().len().unwrap()
    }

    fn hold(&self) -> Box<dyn Held + '_> {
        Box::new(self.store.snapshot())
    }

    fn stats(&self) -> Option<Stats> {
        Some(self.store.stats())
    }

    fn checkpoint(&self) {
        self.store.checkpoint().expect("recto checkpoints");
    }

    fn session(&self) -> Box<dyn Session + '_> {
        Box::new(Handle { store: &self.store, reader: self.store.reader() })
    }

    fn compact(self: Box<Self>) {
        while !self.store.compact(Budget::pages(1000)).expect("recto compacts").is_done {}
        self.close();
    }

    fn close(self: Box<Self>) {
        self.store.close().expect("recto closes");
    }
}

/// Reads every entry of a snapshot in order, as [`Peer::scan`] does.
pub fn scan(snapshot: &Snapshot) -> u64 {
    let entries = snapshot.table(&ENTRIES).unwrap().iter().unwrap();
    entries.fold(0, |sum, entry| {
        let (key, value) = entry.unwrap();
        sum.wrapping_add(word(key)).wrapping_add(word(value))
    })
}

fn ahead(table: &TableRef<'_, &[u8], &[u8]>, from: &[u8], count: usize) -> u64 {
    table.range(from..).unwrap().take(count).fold(0, |sum, entry| {
        let (key, value) = entry.unwrap();
        sum.wrapping_add(word(key)).wrapping_add(word(value))
    })
}

/// One thread's reader, and the store to write to.
struct Handle<'s> {
    store: &'s Store,
    reader: Reader,
}

impl Session for Handle<'_> {
    fn get(&mut self, key: &[u8]) -> u64 {
        let table = self.reader.snapshot().table(&ENTRIES).unwrap();
        table.get(key).unwrap().map_or(0, word)
    }

    fn put(&mut self, key: &[u8], value: &[u8]) {
        self.store.write(|tx| tx.table(&ENTRIES)?.insert(key, value)).expect("recto inserts");
    }

    fn range(&mut self, from: &[u8], len: usize) -> u64 {
        ahead(&self.reader.snapshot().table(&ENTRIES).unwrap(), from, len)
    }
}
