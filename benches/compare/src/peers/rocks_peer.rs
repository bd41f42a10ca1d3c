//! RocksDB, with a block cache that everything fits into and bloom filters, uncompressed.

use super::{Entries, Held, Keys, Mode, Peer, Session, word};
use crate::entries::{self, Data};
use rocksdb::{
    BlockBasedOptions, Cache, DB, DBCompressionType, Direction, IteratorMode, Options, WriteBatch,
    WriteOptions,
};
use std::path::Path;

/// A RocksDB database.
pub struct Rocks {
    db: DB,
    mode: Mode,
}

impl Rocks {
    /// Opens one.
    pub fn open(dir: &Path, mode: Mode) -> Rocks {
        let mut blocks = BlockBasedOptions::default();
        blocks.set_block_cache(&Cache::new_lru_cache(4 << 30));
        blocks.set_bloom_filter(10.0, false);
        let mut options = Options::default();
        options.create_if_missing(true);
        options.set_block_based_table_factory(&blocks);
        options.set_compression_type(DBCompressionType::None);
        options.increase_parallelism(2);
        Rocks { db: DB::open(&options, dir).expect("rocksdb opens"), mode }
    }

    fn written(&self) -> WriteOptions {
        let mut options = WriteOptions::default();
        options.set_sync(self.mode == Mode::Durable);
        options
    }

    fn ahead(&self, mode: IteratorMode<'_>, count: usize) -> u64 {
        self.db.iterator(mode).take(count).fold(0, |sum, entry| {
            let (key, value) = entry.unwrap();
            sum.wrapping_add(word(&key)).wrapping_add(word(&value))
        })
    }
}

impl Peer for Rocks {
    fn gets(&self, keys: &[&[u8]]) -> u64 {
        let snapshot = self.db.snapshot();
        let get = |key: &&[u8]| snapshot.get_pinned(key).unwrap().map_or(0, |value| word(&value));
        keys.iter().map(get).fold(0, u64::wrapping_add)
    }

    fn gets_dependent(&self, data: Data, start: u64, count: usize, of: u64) -> u64 {
        let snapshot = self.db.snapshot();
        (0..count as u64).fold(start, |i, step| {
            let found = snapshot.get_pinned(data.key(i)).unwrap();
            found.map_or(0, |value| entries::next(&value, step, of))
        })
    }

    fn gets_each(&self, keys: &[&[u8]]) -> u64 {
        let get = |key: &&[u8]| self.db.get_pinned(key).unwrap().map_or(0, |value| word(&value));
        keys.iter().map(get).fold(0, u64::wrapping_add)
    }

    fn get_many(&self, keys: &[&[u8]], group: usize) -> u64 {
        let snapshot = self.db.snapshot();
        let groups = keys.chunks(group).flat_map(|keys| snapshot.multi_get(keys));
        groups.map(|value| value.unwrap().map_or(0, |v| word(&v))).fold(0, u64::wrapping_add)
    }

    fn ranges(&self, keys: &[&[u8]], count: usize) -> u64 {
        let range = |key: &&[u8]| self.ahead(IteratorMode::From(key, Direction::Forward), count);
        keys.iter().map(range).fold(0, u64::wrapping_add)
    }

    fn scan(&self) -> u64 {
        self.ahead(IteratorMode::Start, usize::MAX)
    }

    fn put(&self, key: &[u8], value: &[u8]) {
        self.db.put_opt(key, value, &self.written()).expect("rocksdb puts");
    }

    fn batch(&self, entries: &mut Entries<'_>) {
        let mut batch = WriteBatch::default();
        for (key, value) in entries {
            batch.put(key, value);
        }
        self.db.write_opt(batch, &self.written()).expect("rocksdb writes");
    }

    fn remove(&self, keys: &mut Keys<'_>) {
        let mut batch = WriteBatch::default();
        for key in keys {
            batch.delete(key);
        }
        self.db.write_opt(batch, &self.written()).expect("rocksdb writes");
    }

    /// RocksDB keeps no exact count: it is a scan.
    fn len(&self) -> u64 {
        self.db.iterator(IteratorMode::Start).count() as u64
    }

    fn hold(&self) -> Box<dyn Held + '_> {
        Box::new(self.db.snapshot())
    }

    fn checkpoint(&self) {
        self.db.flush().expect("rocksdb flushes");
    }

    fn session(&self) -> Box<dyn Session + '_> {
        Box::new(self)
    }

    fn compact(self: Box<Self>) {
        self.db.compact_range(None::<&[u8]>, None::<&[u8]>);
        self.close();
    }

    fn close(self: Box<Self>) {
        self.db.flush().expect("rocksdb flushes");
    }
}

impl Session for &Rocks {
    fn get(&mut self, key: &[u8]) -> u64 {
        self.db.get_pinned(key).unwrap().map_or(0, |value| word(&value))
    }

    fn put(&mut self, key: &[u8], value: &[u8]) {
        Peer::put(*self, key, value);
    }

    fn range(&mut self, from: &[u8], len: usize) -> u64 {
        self.ahead(IteratorMode::From(from, Direction::Forward), len)
    }
}
