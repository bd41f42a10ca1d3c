//! redb, with a cache that everything fits into.

use super::{Entries, Keys, Mode, Peer, Session, word};
use crate::entries::{self, Key, Value};
use redb::{Builder, Database, Durability, ReadableDatabase, ReadableTable, TableDefinition};
use std::path::Path;

const ENTRIES: TableDefinition<'_, &[u8], &[u8]> = TableDefinition::new("entries");

/// A redb database with one table.
pub struct Redb {
    db: Database,
    mode: Mode,
}

impl Redb {
    /// Opens one.
    pub fn open(dir: &Path, mode: Mode) -> Redb {
        let db = Builder::new().set_cache_size(4 << 30).create(dir.join("redb")).unwrap();
        let peer = Redb { db, mode };
        peer.write(Durability::Immediate, &mut std::iter::empty());
        peer
    }

    fn write(&self, durability: Durability, entries: &mut Entries<'_>) {
        let mut tx = self.db.begin_write().unwrap();
        tx.set_durability(durability).unwrap();
        let mut table = tx.open_table(ENTRIES).unwrap();
        for (key, value) in entries {
            table.insert(key.as_slice(), value.as_slice()).unwrap();
        }
        drop(table);
        tx.commit().expect("redb commits");
    }

    fn durability(&self) -> Durability {
        match self.mode {
            Mode::Durable => Durability::Immediate,
            Mode::NoSync => Durability::None,
        }
    }
}

type Table = redb::ReadOnlyTable<&'static [u8], &'static [u8]>;

fn ahead(table: &Table, from: &Key, count: usize) -> u64 {
    table.range(from.as_slice()..).unwrap().take(count).fold(0, |sum, entry| {
        let (key, value) = entry.unwrap();
        sum.wrapping_add(word(key.value())).wrapping_add(word(value.value()))
    })
}

impl Peer for Redb {
    fn gets(&self, keys: &[Key]) -> u64 {
        let table = self.db.begin_read().unwrap().open_table(ENTRIES).unwrap();
        let get = |key: &Key| table.get(key.as_slice()).unwrap().map_or(0, |v| word(v.value()));
        keys.iter().map(get).fold(0, u64::wrapping_add)
    }

    fn gets_dependent(&self, start: u64, count: usize, of: u64) -> u64 {
        let table = self.db.begin_read().unwrap().open_table(ENTRIES).unwrap();
        (0..count as u64).fold(start, |i, step| {
            let found = table.get(entries::key(i).as_slice()).unwrap();
            found.map_or(0, |value| entries::next(value.value(), step, of))
        })
    }

    fn gets_each(&self, keys: &[Key]) -> u64 {
        let get = |key: &Key| {
            let table = self.db.begin_read().unwrap().open_table(ENTRIES).unwrap();
            table.get(key.as_slice()).unwrap().map_or(0, |value| word(value.value()))
        };
        keys.iter().map(get).fold(0, u64::wrapping_add)
    }

    fn scan(&self) -> u64 {
        let table = self.db.begin_read().unwrap().open_table(ENTRIES).unwrap();
        table.iter().unwrap().fold(0, |sum, entry| {
            let (key, value) = entry.unwrap();
            sum.wrapping_add(word(key.value())).wrapping_add(word(value.value()))
        })
    }

    fn ranges(&self, keys: &[Key], count: usize) -> u64 {
        let table = self.db.begin_read().unwrap().open_table(ENTRIES).unwrap();
        keys.iter().map(|key| ahead(&table, key, count)).fold(0, u64::wrapping_add)
    }

    fn put(&self, key: &Key, value: &Value) {
        self.write(self.durability(), &mut std::iter::once((*key, *value)));
    }

    fn batch(&self, entries: &mut Entries<'_>) {
        self.write(self.durability(), entries);
    }

    fn remove(&self, keys: &mut Keys<'_>) {
        let mut tx = self.db.begin_write().unwrap();
        tx.set_durability(self.durability()).unwrap();
        let mut table = tx.open_table(ENTRIES).unwrap();
        for key in keys {
            table.remove(key.as_slice()).unwrap();
        }
        drop(table);
        tx.commit().expect("redb commits");
    }

    fn session(&self) -> Box<dyn Session + '_> {
        Box::new(self)
    }

    fn close(self: Box<Self>) {
        self.write(Durability::Immediate, &mut std::iter::empty());
    }
}

impl Session for &Redb {
    fn get(&mut self, key: &Key) -> u64 {
        let table = self.db.begin_read().unwrap().open_table(ENTRIES).unwrap();
        table.get(key.as_slice()).unwrap().map_or(0, |value| word(value.value()))
    }

    fn put(&mut self, key: &Key, value: &Value) {
        Peer::put(*self, key, value);
    }
}
