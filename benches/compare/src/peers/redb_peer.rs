//! redb, with a cache that everything fits into.

use super::{Entries, Held, Keys, Mode, Peer, Session, word};
use crate::entries::{self, Data};
use redb::{
    Builder, Database, Durability, ReadableDatabase, ReadableTable, ReadableTableMetadata,
    TableDefinition,
};
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
        peer.write(Durability::Immediate, |_| ());
        peer
    }

    fn write(&self, durability: Durability, change: impl FnOnce(&mut Table<'_>)) {
        let mut tx = self.db.begin_write().unwrap();
        tx.set_durability(durability).unwrap();
        change(&mut tx.open_table(ENTRIES).unwrap());
        tx.commit().expect("redb commits");
    }

    fn durability(&self) -> Durability {
        match self.mode {
            Mode::Durable => Durability::Immediate,
            Mode::NoSync => Durability::None,
        }
    }
}

type Table<'t> = redb::Table<'t, &'static [u8], &'static [u8]>;
type ReadTable = redb::ReadOnlyTable<&'static [u8], &'static [u8]>;

fn ahead(table: &ReadTable, from: &[u8], count: usize) -> u64 {
    table.range(from..).unwrap().take(count).fold(0, |sum, entry| {
        let (key, value) = entry.unwrap();
        sum.wrapping_add(word(key.value())).wrapping_add(word(value.value()))
    })
}

impl Peer for Redb {
    fn gets(&self, keys: &[&[u8]]) -> u64 {
        let table = self.db.begin_read().unwrap().open_table(ENTRIES).unwrap();
        let get = |key: &&[u8]| table.get(*key).unwrap().map_or(0, |v| word(v.value()));
        keys.iter().map(get).fold(0, u64::wrapping_add)
    }

    fn gets_dependent(&self, data: Data, start: u64, count: usize, of: u64) -> u64 {
        let table = self.db.begin_read().unwrap().open_table(ENTRIES).unwrap();
        (0..count as u64).fold(start, |i, step| {
            let found = table.get(&data.key(i)[..]).unwrap();
            found.map_or(0, |value| entries::next(value.value(), step, of))
        })
    }

    fn gets_each(&self, keys: &[&[u8]]) -> u64 {
        let get = |key: &&[u8]| {
            let table = self.db.begin_read().unwrap().open_table(ENTRIES).unwrap();
            table.get(*key).unwrap().map_or(0, |value| word(value.value()))
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

    fn ranges(&self, keys: &[&[u8]], count: usize) -> u64 {
        let table = self.db.begin_read().unwrap().open_table(ENTRIES).unwrap();
        keys.iter().map(|key| ahead(&table, key, count)).fold(0, u64::wrapping_add)
    }

    fn put(&self, key: &[u8], value: &[u8]) {
        self.write(self.durability(), |table| _ = table.insert(key, value).unwrap());
    }

    fn batch(&self, entries: &mut Entries<'_>) {
        self.write(self.durability(), |table| {
            for (key, value) in entries {
                table.insert(&key[..], &value[..]).unwrap();
            }
        });
    }

    fn remove(&self, keys: &mut Keys<'_>) {
        self.write(self.durability(), |table| {
            for key in keys {
                table.remove(&key[..]).unwrap();
            }
        });
    }

    fn len(&self) -> u64 {
        self.db.begin_read().unwrap().open_table(ENTRIES).unwrap().len().unwrap()
    }

    fn hold(&self) -> Box<dyn Held + '_> {
        Box::new(self.db.begin_read().unwrap())
    }

    /// A durable commit is where what was committed before it becomes durable.
    fn checkpoint(&self) {
        self.write(Durability::Immediate, |_| ());
    }

    fn session(&self) -> Box<dyn Session + '_> {
        Box::new(self)
    }

    fn compact(mut self: Box<Self>) {
        self.db.compact().expect("redb compacts");
    }

    fn close(self: Box<Self>) {
        self.checkpoint();
    }
}

impl Session for &Redb {
    fn get(&mut self, key: &[u8]) -> u64 {
        let table = self.db.begin_read().unwrap().open_table(ENTRIES).unwrap();
        table.get(key).unwrap().map_or(0, |value| word(value.value()))
    }

    fn put(&mut self, key: &[u8], value: &[u8]) {
        Peer::put(*self, key, value);
    }

    fn range(&mut self, from: &[u8], len: usize) -> u64 {
        ahead(&self.db.begin_read().unwrap().open_table(ENTRIES).unwrap(), from, len)
    }
}
