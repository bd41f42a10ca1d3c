//! canopydb, with a page cache that everything fits into.

use super::{Entries, Held, Keys, Mode, Peer, Session, WRITE_MEMORY_BYTES, word};
use crate::entries::{self, Data};
use canopydb::{Database, DbOptions, EnvOptions, RangeIter, Tree, TreeOptions, WriteTransaction};
use std::path::Path;

const ENTRIES: &[u8] = b"entries";

/// A canopydb database with one tree.
pub struct Canopy {
    db: Database,
}

/// Random values would not shrink.
fn uncompressed() -> TreeOptions {
    let mut options = TreeOptions::default();
    options.compress_overflow_values = None;
    options
}

impl Canopy {
    /// Opens one.
    pub fn open(dir: &Path, mode: Mode) -> Canopy {
        let mut environment = EnvOptions::new(dir);
        environment.page_cache_size = 4 << 30;
        let mut options = DbOptions::new();
        options.default_commit_sync = mode == Mode::Durable;
        let memory_bytes = WRITE_MEMORY_BYTES as usize;
        options.write_txn_memory_limit = memory_bytes;
        options.checkpoint_target_size = memory_bytes / 2;
        (options.throttle_memory_limit, options.stall_memory_limit) = (memory_bytes, memory_bytes);
        let db = Database::with_options(environment, options).expect("canopydb opens");
        let canopy = Canopy { db };
        canopy.write(&mut |_| ());
        canopy
    }

    fn write(&self, change: &mut dyn FnMut(&mut Tree<'_>)) {
        let tx: WriteTransaction = self.db.begin_write().expect("canopydb begins");
        let mut tree =
            tx.get_or_create_tree_with(ENTRIES, uncompressed()).expect("canopydb opens a tree");
        change(&mut tree);
        drop(tree);
        tx.commit().expect("canopydb commits");
    }

    fn read<T>(&self, read: impl FnOnce(&Tree<'_>) -> T) -> T {
        let tx = self.db.begin_read().unwrap();
        read(&tx.get_tree(ENTRIES).unwrap().expect("the tree was made"))
    }
}

fn ahead(entries: RangeIter<'_>, count: usize) -> u64 {
    entries.take(count).fold(0, |sum, entry| {
        let (key, value) = entry.unwrap();
        sum.wrapping_add(word(&key)).wrapping_add(word(&value))
    })
}

impl Peer for Canopy {
    fn gets(&self, keys: &[&[u8]]) -> u64 {
        self.read(|tree| {
            let get = |key: &&[u8]| tree.get(key).unwrap().map_or(0, |value| word(&value));
            keys.iter().map(get).fold(0, u64::wrapping_add)
        })
    }

    fn gets_dependent(&self, data: Data, start: u64, count: usize, of: u64) -> u64 {
        self.read(|tree| {
            (0..count as u64).fold(start, |i, step| {
                let found = tree.get(&data.key(i)).unwrap();
                found.map_or(0, |value| entries::next(&value, step, of))
            })
        })
    }

    fn gets_each(&self, keys: &[&[u8]]) -> u64 {
        let get =
            |key: &&[u8]| self.read(|tree| tree.get(key).unwrap().map_or(0, |value| word(&value)));
        keys.iter().map(get).fold(0, u64::wrapping_add)
    }

    fn ranges(&self, keys: &[&[u8]], count: usize) -> u64 {
        self.read(|tree| {
            let range = |key: &&[u8]| ahead(tree.range(*key..).unwrap(), count);
            keys.iter().map(range).fold(0, u64::wrapping_add)
        })
    }

    fn scan(&self) -> u64 {
        self.read(|tree| ahead(tree.iter().unwrap(), usize::MAX))
    }

    fn put(&self, key: &[u8], value: &[u8]) {
        self.write(&mut |tree| tree.insert(key, value).expect("canopydb inserts"));
    }

    fn batch(&self, entries: &mut Entries<'_>) {
        self.write(&mut |tree| {
            for (key, value) in &mut *entries {
                tree.insert(&key, &value).expect("canopydb inserts");
            }
        });
    }

    fn remove(&self, keys: &mut Keys<'_>) {
        self.write(&mut |tree| {
            for key in &mut *keys {
                tree.delete(&key).expect("canopydb deletes");
            }
        });
    }

    fn len(&self) -> u64 {
        self.read(|tree| tree.len())
    }

    fn hold(&self) -> Box<dyn Held + '_> {
        Box::new(self.db.begin_read().unwrap())
    }

    fn checkpoint(&self) {
        self.db.checkpoint().expect("canopydb checkpoints");
    }

    fn session(&self) -> Box<dyn Session + '_> {
        Box::new(self)
    }

    fn compact(self: Box<Self>) {
        self.db.compact().expect("canopydb compacts");
        self.close();
    }

    fn close(self: Box<Self>) {
        self.db.checkpoint().expect("canopydb checkpoints");
        self.db.sync().expect("canopydb syncs");
    }
}

impl Session for &Canopy {
    fn get(&mut self, key: &[u8]) -> u64 {
        self.read(|tree| tree.get(key).unwrap().map_or(0, |value| word(&value)))
    }

    fn put(&mut self, key: &[u8], value: &[u8]) {
        Peer::put(*self, key, value);
    }

    fn range(&mut self, from: &[u8], len: usize) -> u64 {
        self.read(|tree| ahead(tree.range(from..).unwrap(), len))
    }
}
