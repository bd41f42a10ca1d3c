//! LMDB, through heed. Durable with the default flags; `NO_SYNC` for the rows that do not sync.

use super::{Entries, Held, Keys, Mode, Peer, Session, word};
use crate::entries::{self, Data};
use heed::{
    CompactionOption, Database, Env, EnvFlags, EnvOpenOptions, PutFlags, RoTxn, WithTls,
    types::Bytes,
};
use std::{fs, ops::Bound, path::Path};

/// An LMDB environment with one database.
pub struct Lmdb {
    env: Env<WithTls>,
    db: Database<Bytes, Bytes>,
}

impl Lmdb {
    /// Opens one.
    pub fn open(dir: &Path, mode: Mode, has_write_map: bool) -> Lmdb {
        let mut options = EnvOpenOptions::new();
        options.map_size(64 << 30).max_dbs(1).max_readers(200);
        if mode == Mode::NoSync {
            let map = if has_write_map { EnvFlags::WRITE_MAP } else { EnvFlags::empty() };
            // SAFETY: the flags endanger the data in a crash of the machine, not this process.
            unsafe { options.flags(EnvFlags::NO_SYNC | map) };
        }
        // SAFETY: the directory is ours, and nobody else opens it.
        let env = unsafe { options.open(dir) }.expect("lmdb opens");
        let mut tx = env.write_txn().unwrap();
        let db = env.create_database(&mut tx, Some("entries")).unwrap();
        tx.commit().unwrap();
        Lmdb { env, db }
    }

    fn ahead(&self, tx: &RoTxn<'_>, from: &[u8], count: usize) -> u64 {
        let range = (Bound::Included(from), Bound::Unbounded);
        self.db.range(tx, &range).unwrap().take(count).fold(0, |sum, entry| {
            let (key, value) = entry.unwrap();
            sum.wrapping_add(word(key)).wrapping_add(word(value))
        })
    }
}

impl Peer for Lmdb {
    fn gets(&self, keys: &[&[u8]]) -> u64 {
        let tx = self.env.read_txn().unwrap();
        let get = |key: &&[u8]| self.db.get(&tx, key).unwrap().map_or(0, word);
        keys.iter().map(get).fold(0, u64::wrapping_add)
    }

    fn gets_dependent(&self, data: Data, start: u64, count: usize, of: u64) -> u64 {
        let tx = self.env.read_txn().unwrap();
        (0..count as u64).fold(start, |i, step| {
            let found = self.db.get(&tx, &data.key(i)).unwrap();
            entries::next(found.unwrap_or_default(), step, of)
        })
    }

    fn gets_each(&self, keys: &[&[u8]]) -> u64 {
        let get = |key: &&[u8]| {
            let tx = self.env.read_txn().unwrap();
            self.db.get(&tx, key).unwrap().map_or(0, word)
        };
        keys.iter().map(get).fold(0, u64::wrapping_add)
    }

    fn ranges(&self, keys: &[&[u8]], count: usize) -> u64 {
        let tx = self.env.read_txn().unwrap();
        keys.iter().map(|key| self.ahead(&tx, key, count)).fold(0, u64::wrapping_add)
    }

    fn scan(&self) -> u64 {
        let tx = self.env.read_txn().unwrap();
        self.db.iter(&tx).unwrap().fold(0, |sum, entry| {
            let (key, value) = entry.unwrap();
            sum.wrapping_add(word(key)).wrapping_add(word(value))
        })
    }

    fn put(&self, key: &[u8], value: &[u8]) {
        let mut tx = self.env.write_txn().unwrap();
        self.db.put(&mut tx, key, value).unwrap();
        tx.commit().expect("lmdb commits");
    }

    fn batch(&self, entries: &mut Entries<'_>) {
        let mut tx = self.env.write_txn().unwrap();
        for (key, value) in entries {
            self.db.put(&mut tx, &key, &value).unwrap();
        }
        tx.commit().expect("lmdb commits");
    }

    fn sorted(&self, entries: &mut Entries<'_>) {
        let mut tx = self.env.write_txn().unwrap();
        for (key, value) in entries {
            self.db.put_with_flags(&mut tx, PutFlags::APPEND, &key, &value).unwrap();
        }
        tx.commit().expect("lmdb commits");
    }

    fn remove(&self, keys: &mut Keys<'_>) {
        let mut tx = self.env.write_txn().unwrap();
        for key in keys {
            self.db.delete(&mut tx, &key).unwrap();
        }
        tx.commit().expect("lmdb commits");
    }

    fn len(&self) -> u64 {
        self.db.len(&self.env.read_txn().unwrap()).unwrap()
    }

    fn hold(&self) -> Box<dyn Held + '_> {
        Box::new(self.env.read_txn().unwrap())
    }

    fn checkpoint(&self) {
        self.env.force_sync().expect("lmdb syncs");
    }

    fn session(&self) -> Box<dyn Session + '_> {
        Box::new(self)
    }

    /// LMDB makes a file no smaller: its own way is a compacted copy in the file's place.
    fn compact(self: Box<Self>) {
        let dir = self.env.path().to_owned();
        let (copy, file) = (dir.join("copy"), dir.join("data.mdb"));
        let copied = self.env.copy_to_path(&copy, CompactionOption::Enabled);
        copied.expect("lmdb copies").sync_all().expect("the copy is synced");
        self.close();
        fs::rename(copy, file).expect("the copy takes the file's place");
    }

    fn close(self: Box<Self>) {
        self.env.force_sync().expect("lmdb syncs");
        self.env.prepare_for_closing().wait();
    }
}

impl Session for &Lmdb {
    fn get(&mut self, key: &[u8]) -> u64 {
        let tx = self.env.read_txn().unwrap();
        self.db.get(&tx, key).unwrap().map_or(0, word)
    }

    fn put(&mut self, key: &[u8], value: &[u8]) {
        Peer::put(*self, key, value);
    }

    fn range(&mut self, from: &[u8], len: usize) -> u64 {
        self.ahead(&self.env.read_txn().unwrap(), from, len)
    }
}
