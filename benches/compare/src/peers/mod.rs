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

use crate::entries::{Key, Value};
use std::{fs, path::Path};

pub use canopy_peer::Canopy;
pub use fjall_peer::Fjall;
pub use heed_peer::Lmdb;
pub use recto_peer::Recto;
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
    fn gets(&self, keys: &[Key]) -> u64;
    /// Gets `count` entries of `entries`, each asked for by the one before.
    fn gets_dependent(&self, start: u64, count: usize, entries: u64) -> u64;
    /// Gets each key in a transaction of its own, the cheapest way that sees new commits.
    fn gets_each(&self, keys: &[Key]) -> u64;
    /// Gets keys in groups of `group` under one snapshot; a loop of gets where there is no call for
    /// it.
    fn get_many(&self, keys: &[Key], group: usize) -> u64 {
        let _ = group;
        self.gets(keys)
    }
    /// Reads `len` entries from each key on; the sum of what keys and values begin with.
    fn ranges(&self, keys: &[Key], len: usize) -> u64;
    /// Reads every entry in order; the sum of what keys and values begin with.
    fn scan(&self) -> u64;
    /// Inserts one entry in a transaction of its own.
    fn put(&self, key: &Key, value: &Value);
    /// Inserts entries in one transaction, in the order given, by the way that suits the peer best.
    fn batch(&self, entries: &mut Entries<'_>);
    /// Removes entries in one transaction, in the order given.
    fn remove(&self, keys: &mut Keys<'_>);
    /// What one thread of several works through.
    fn session(&self) -> Box<dyn Session + '_>;
    /// Writes everything to its place and lets go of the store.
    fn close(self: Box<Self>);
}

/// One thread's way into a peer: each call sees what was committed before it.
pub trait Session {
    /// Gets one key; what its value begins with.
    fn get(&mut self, key: &Key) -> u64;
    /// Inserts one entry in a transaction of its own.
    fn put(&mut self, key: &Key, value: &Value);
}

/// The names of the peers, the one that others are compared with first.
pub const NAMES: &[&str] = &[
    "recto",
    "lmdb",
    "redb",
    "fjall",
    "canopydb",
    #[cfg(feature = "rocksdb")]
    "rocksdb",
    #[cfg(feature = "sqlite")]
    "sqlite",
];

/// Opens a peer in `dir`, which is made if need be.
pub fn open(name: &str, dir: &Path, mode: Mode) -> Box<dyn Peer> {
    fs::create_dir_all(dir).expect("a directory for the peer");
    match name {
        "recto" => Box::new(Recto::open(dir, mode)),
        "lmdb" => Box::new(Lmdb::open(dir, mode)),
        "redb" => Box::new(Redb::open(dir, mode)),
        "fjall" => Box::new(Fjall::open(dir, mode)),
        "canopydb" => Box::new(Canopy::open(dir, mode)),
        #[cfg(feature = "rocksdb")]
        "rocksdb" => Box::new(Rocks::open(dir, mode)),
        #[cfg(feature = "sqlite")]
        "sqlite" => Box::new(Sqlite::open(dir, mode)),
        _ => panic!("no peer is called {name}"),
    }
}

/// The bytes of every file below `dir`.
pub fn file_bytes(dir: &Path) -> u64 {
    let files = fs::read_dir(dir).expect("a directory that was just written").flatten();
    files
        .map(|file| {
            file.metadata()
                .map_or(0, |m| if m.is_dir() { file_bytes(&file.path()) } else { m.len() })
        })
        .sum()
}

/// What is added up of a value, so that it must be looked at.
#[inline]
pub fn word(bytes: &[u8]) -> u64 {
    bytes.first_chunk().map_or(0, |word| u64::from_le_bytes(*word))
}
