//! fjall, with a block cache that everything fits into.

use super::{Entries, Held, Keys, Mode, Peer, Session, WRITE_MEMORY_BYTES, word};
use crate::entries::{self, Data};
use fjall::{
    CompressionType, Database, Keyspace, KeyspaceCreateOptions, KvSeparationOptions, PersistMode,
    Readable,
};
use std::path::Path;

/// A fjall database with one keyspace.
pub struct Fjall {
    db: Database,
    entries: Keyspace,
    mode: Mode,
}

impl Fjall {
    /// Opens one; with values apart from keys if they are large, as its documentation advises.
    pub fn open(dir: &Path, mode: Mode, is_large: bool) -> Fjall {
        let db = Database::builder(dir)
            .cache_size(4 << 30)
            .journal_compression(CompressionType::None)
            .open()
            .expect("fjall opens");
        // Uncompressed, as the others are: random values would not shrink anyway. No key that is
        // asked for is absent, and fjall's documentation advises to say so.
        let apart = || KvSeparationOptions::default().compression(CompressionType::None);
        let options = || {
            KeyspaceCreateOptions::default()
                .data_block_compression_policy(fjall::config::CompressionPolicy::disabled())
                .expect_point_read_hits(true)
                .max_memtable_size(WRITE_MEMORY_BYTES / 2)
                .with_kv_separation(is_large.then(apart))
        };
        let entries = db.keyspace("entries", options).expect("fjall opens a keyspace");
        Fjall { db, entries, mode }
    }

    fn persist(&self) {
        if self.mode == Mode::Durable {
            self.db.persist(PersistMode::SyncData).expect("fjall syncs");
        }
    }
}

fn ahead(entries: &mut dyn Iterator<Item = fjall::Guard>) -> u64 {
    entries.fold(0, |sum, entry| {
        let (key, value) = entry.into_inner().unwrap();
        sum.wrapping_add(word(&key)).wrapping_add(word(&value))
    })
}

impl Peer for Fjall {
    fn gets(&self, keys: &[&[u8]]) -> u64 {
        let snapshot = self.db.snapshot();
        let get = |key: &&[u8]| snapshot.get(&self.entries, key).unwrap().map_or(0, |v| word(&v));
        keys.iter().map(get).fold(0, u64::wrapping_add)
    }

    fn gets_dependent(&self, data: Data, start: u64, count: usize, of: u64) -> u64 {
        let snapshot = self.db.snapshot();
        (0..count as u64).fold(start, |i, step| {
            let found = snapshot.get(&self.entries, data.key(i)).unwrap();
            found.map_or(0, |value| entries::next(&value, step, of))
        })
    }

    fn gets_each(&self, keys: &[&[u8]]) -> u64 {
        let get = |key: &&[u8]| self.entries.get(key).unwrap().map_or(0, |value| word(&value));
        keys.iter().map(get).fold(0, u64::wrapping_add)
    }

    fn ranges(&self, keys: &[&[u8]], count: usize) -> u64 {
        let snapshot = self.db.snapshot();
        let range = |key: &&[u8]| ahead(&mut snapshot.range(&self.entries, *key..).take(count));
        keys.iter().map(range).fold(0, u64::wrapping_add)
    }

    fn scan(&self) -> u64 {
        ahead(&mut self.db.snapshot().iter(&self.entries))
    }

    fn put(&self, key: &[u8], value: &[u8]) {
        self.entries.insert(key, value).expect("fjall inserts");
        self.persist();
    }

    fn batch(&self, entries: &mut Entries<'_>) {
        let mut batch = self.db.batch();
        for (key, value) in entries {
            batch.insert(&self.entries, &key[..], &value[..]);
        }
        batch.commit().expect("fjall commits");
        self.persist();
    }

    fn sorted(&self, entries: &mut Entries<'_>) {
        let mut ingestion = self.entries.start_ingestion().expect("fjall begins to ingest");
        for (key, value) in entries {
            ingestion.write(&key[..], &value[..]).expect("fjall ingests");
        }
        ingestion.finish().expect("fjall ingests");
    }

    fn remove(&self, keys: &mut Keys<'_>) {
        let mut batch = self.db.batch();
        for key in keys {
            batch.remove(&self.entries, &key[..]);
        }
        batch.commit().expect("fjall commits");
        self.persist();
    }

    fn len(&self) -> u64 {
        self.entries.len().expect("fjall counts") as u64
    }

    fn hold(&self) -> Box<dyn Held + '_> {
        Box::new(self.db.snapshot())
    }

    fn checkpoint(&self) {
        self.entries.rotate_memtable_and_wait().expect("fjall flushes");
    }

    fn session(&self) -> Box<dyn Session + '_> {
        Box::new(self)
    }

    fn compact(self: Box<Self>) {
        self.checkpoint();
        self.entries.major_compact().expect("fjall compacts");
        self.close();
    }

    fn close(self: Box<Self>) {
        self.db.persist(PersistMode::SyncAll).expect("fjall syncs");
    }
}

impl Session for &Fjall {
    fn get(&mut self, key: &[u8]) -> u64 {
        self.entries.get(key).unwrap().map_or(0, |value| word(&value))
    }

    fn put(&mut self, key: &[u8], value: &[u8]) {
        Peer::put(*self, key, value);
    }

    fn range(&mut self, from: &[u8], len: usize) -> u64 {
        ahead(&mut self.entries.range(from..).take(len))
    }
}
