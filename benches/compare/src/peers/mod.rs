//! The stores that are compared, each behind the calls that the rows need.

mod canopy_peer;
mod fjall_peer;
mod heed_peer;
mod recto_peer;
mod redb_peer;
#[cfg(feature = "rocksdb")]
mod rocks_peer;
#[cfg(feature = "sqlite")]
mod sqlite_peer;

use crate::entries::{Data, Key, Value};
use recto::Stats;
use std::{fs, os::unix::fs::MetadataExt, path::Path};

pub use canopy_peer::Canopy;
pub use fjall_peer::Fjall;
pub use heed_peer::Lmdb;
pub use recto_peer::{RECTO, Recto, is_ours, scan, sized};
pub use redb_peer::Redb;
#[cfg(feature = "rocksdb")]
pub use rocks_peer::Rocks;
#[cfg(feature = "sqlite")]
pub use sqlite_peer::Sqlite;

/// Entries on their way into a peer.
pub type Entries<'e> = dyn Iterator<Item = (Key, Value)> + Send + 'e;

/// Keys on their way out of a peer.
pub type Keys<'k> = dyn Iterator<Item = Key> + Send + 'k;

/// What commits promise.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// A commit is answered when it is on the device.
    Durable,
    /// A commit is answered when it is visible.
    NoSync,
}

/// One store.
pub trait Peer: Sync {
    /// Gets each key under one snapshot; the sum of what the values begin with.
    fn gets(&self, keys: &[&[u8]]) -> u64;
    /// Gets `count` entries of `entries`, each asked for by the one before.
    fn gets_dependent(&self, data: Data, start: u64, count: usize, entries: u64) -> u64;
    /// Gets each key in a transaction of its own, the cheapest way that sees new commits.
    fn gets_each(&self, keys: &[&[u8]]) -> u64;
    /// Gets keys in groups of `group` under one snapshot; a loop of gets where there is no call for
    /// it.
    fn get_many(&self, keys: &[&[u8]], group: usize) -> u64 {
        let _ = group;
        self.gets(keys)
    }
    /// Reads `len` entries from each key on; the sum of what keys and values begin with.
    fn ranges(&self, keys: &[&[u8]], len: usize) -> u64;
    /// Reads every entry in order; the sum of what keys and values begin with.
    fn scan(&self) -> u64;
    /// Inserts one entry in a transaction of its own.
    fn put(&self, key: &[u8], value: &[u8]);
    /// Inserts entries in one transaction, in the order given, by the way that suits the peer best.
    fn batch(&self, entries: &mut Entries<'_>);
    /// As [`batch`](Self::batch), for more entries than memory should hold at once.
    fn bulk(&self, entries: &mut Entries<'_>) {
        self.batch(entries);
    }
    /// As [`bulk`](Self::bulk), of entries in order into a store that holds none behind them.
    fn sorted(&self, entries: &mut Entries<'_>) {
        self.bulk(entries);
    }
    /// Removes entries in one transaction, in the order given.
    fn remove(&self, keys: &mut Keys<'_>);
    /// The number of entries.
    fn len(&self) -> u64;
    /// What keeps the state of now readable, until it is dropped.
    fn hold(&self) -> Box<dyn Held + '_>;
    /// What a store of ours counts; nobody else is asked.
    fn stats(&self) -> Option<Stats> {
        None
    }
    /// Has everything committed so far written to its place: the peer's name for it differs.
    fn checkpoint(&self);
    /// What one thread of several works through.
    fn session(&self) -> Box<dyn Session + '_>;
    /// Makes the files as small as the peer can, and closes.
    fn compact(self: Box<Self>);
    /// Writes everything to its place and lets go of the store.
    fn close(self: Box<Self>);
}

/// One thread's way into a peer: each call sees what was committed before it.
pub trait Session {
    /// Gets one key; what its value begins with.
    fn get(&mut self, key: &[u8]) -> u64;
    /// Inserts one entry in a transaction of its own.
    fn put(&mut self, key: &[u8], value: &[u8]);
    /// Reads `len` entries from a key on; the sum of what keys and values begin with.
    fn range(&mut self, from: &[u8], len: usize) -> u64;
}

/// A state that is held.
pub trait Held {}

impl<T> Held for T {}

/// The names of the peers, the one that others are compared with first.
pub const NAMES: &[&str] = &[
    RECTO,
    "lmdb",
    "redb",
    "fjall",
    "canopydb",
    #[cfg(feature = "rocksdb")]
    "rocksdb",
    #[cfg(feature = "sqlite")]
    "sqlite",
];

/// LMDB with `WRITE_MAP`, which its documentation advises where everything fits into memory: a
/// contestant in the rows without a sync, over files of [`files_of`] it.
pub const LMDB_WRITE_MAP: &str = "lmdb, write map";

/// Whose files a contestant opens.
pub fn files_of(name: &str) -> &str {
    if name == LMDB_WRITE_MAP { "lmdb" } else { name }
}

/// What each peer may hold of changed pages, or of entries not yet in their tables, before it holds
/// writers up; it begins to write them out at half of it.
pub const WRITE_MEMORY_BYTES: u64 = 256 << 20;

/// The unit in which a file's blocks are counted.
const BLOCK_BYTES: u64 = 512;

/// Opens a peer in `dir`, which is made if need be.
pub fn open(name: &str, dir: &Path, mode: Mode) -> Box<dyn Peer> {
    fs::create_dir_all(dir).expect("a directory for the peer");
    match name {
        name if is_ours(name) => Box::new(Recto::open(name, dir, mode)),
        "lmdb" => Box::new(Lmdb::open(dir, mode, false)),
        LMDB_WRITE_MAP => Box::new(Lmdb::open(dir, mode, true)),
        "redb" => Box::new(Redb::open(dir, mode)),
        "fjall" => Box::new(Fjall::open(dir, mode, false)),
        "canopydb" => Box::new(Canopy::open(dir, mode)),
        #[cfg(feature = "rocksdb")]
        "rocksdb" => Box::new(Rocks::open(dir, mode)),
        #[cfg(feature = "sqlite")]
        "sqlite" => Box::new(Sqlite::open(dir, mode)),
        _ => panic!("no peer is called {name}"),
    }
}

/// As [`open`], for large values, where that makes a difference to the peer.
pub fn open_large(name: &str, dir: &Path, mode: Mode) -> Box<dyn Peer> {
    if name == "fjall" { Box::new(Fjall::open(dir, mode, true)) } else { open(name, dir, mode) }
}

/// The bytes that every file below `dir` takes on the device: what is a hole takes none.
pub fn file_bytes(dir: &Path) -> u64 {
    let files = fs::read_dir(dir).expect("a directory that was just written").flatten();
    files
        .map(|file| {
            file.metadata().map_or(0, |m| {
                if m.is_dir() { file_bytes(&file.path()) } else { m.blocks() * BLOCK_BYTES }
            })
        })
        .sum()
}

/// What is added up of a value, so that it must be looked at: its first word, of a long one all.
#[inline]
pub fn word(bytes: &[u8]) -> u64 {
    if bytes.len() > LONG_BYTES {
        let words = bytes.as_chunks::<8>().0.iter().map(|word| u64::from_le_bytes(*word));
        return words.fold(0, u64::wrapping_add);
    }
    bytes.first_chunk().map_or(0, |word| u64::from_le_bytes(*word))
}

/// Longer than any value of the data sets.
const LONG_BYTES: usize = 4096;
