//! SQLite, as a table without row ids, in WAL mode, with a cache that everything fits into.

use super::{Entries, Keys, Mode, Peer, Session, word};
use crate::entries::{self, Key, Value};
use rusqlite::{Connection, OptionalExtension};
use std::{
    path::{Path, PathBuf},
    sync::{Mutex, MutexGuard},
    time::Duration,
};

const GET: &str = "SELECT value FROM entries WHERE key = ?1";
const RANGE: &str = "SELECT key, value FROM entries WHERE key >= ?1 ORDER BY key LIMIT ?2";
const PUT: &str = "INSERT OR REPLACE INTO entries (key, value) VALUES (?1, ?2)";
const REMOVE: &str = "DELETE FROM entries WHERE key = ?1";

/// An SQLite database; each session has a connection of its own.
pub struct Sqlite {
    file: PathBuf,
    mode: Mode,
    connection: Mutex<Connection>,
}

impl Sqlite {
    /// Opens one.
    pub fn open(dir: &Path, mode: Mode) -> Sqlite {
        let file = dir.join("sqlite");
        let connection = connect(&file, mode);
        connection
            .execute_batch(
                "CREATE TABLE IF NOT EXISTS entries (key BLOB PRIMARY KEY, value BLOB) \
                 WITHOUT ROWID",
            )
            .expect("sqlite makes a table");
        Sqlite { file, mode, connection: Mutex::new(connection) }
    }

    fn own(&self) -> MutexGuard<'_, Connection> {
        self.connection.lock().unwrap()
    }
}

fn connect(file: &Path, mode: Mode) -> Connection {
    let connection = Connection::open(file).expect("sqlite opens");
    connection.busy_timeout(Duration::from_secs(60)).unwrap();
    let synchronous = if mode == Mode::Durable { "FULL" } else { "OFF" };
    let settings = format!(
        "PRAGMA journal_mode = WAL; PRAGMA synchronous = {synchronous}; \
         PRAGMA cache_size = -4000000; PRAGMA mmap_size = 17179869184;"
    );
    connection.execute_batch(&settings).expect("sqlite is set up");
    connection
}

fn get(connection: &Connection, key: &Key) -> Option<Value> {
    let mut statement = connection.prepare_cached(GET).unwrap();
    statement.query_row([&key[..]], |row| row.get(0)).optional().unwrap()
}

fn ahead(connection: &Connection, from: &[u8], count: i64) -> u64 {
    let mut statement = connection.prepare_cached(RANGE).unwrap();
    let mut rows = statement.query((from, count)).unwrap();
    let mut sum = 0_u64;
    while let Some(row) = rows.next().unwrap() {
        let (key, value) = (row.get_ref(0).unwrap(), row.get_ref(1).unwrap());
        sum = sum.wrapping_add(word(key.as_blob().unwrap()));
        sum = sum.wrapping_add(word(value.as_blob().unwrap()));
    }
    sum
}

fn put(connection: &Connection, key: &Key, value: &Value) {
    let mut statement = connection.prepare_cached(PUT).unwrap();
    statement.execute((&key[..], &value[..])).expect("sqlite inserts");
}

impl Peer for Sqlite {
    fn gets(&self, keys: &[Key]) -> u64 {
        let mut connection = self.own();
        let tx = connection.transaction().unwrap();
        keys.iter().map(|key| get(&tx, key).map_or(0, |v| word(&v))).fold(0, u64::wrapping_add)
    }

    fn gets_dependent(&self, start: u64, count: usize, of: u64) -> u64 {
        let mut connection = self.own();
        let tx = connection.transaction().unwrap();
        (0..count as u64).fold(start, |i, step| {
            get(&tx, &entries::key(i)).map_or(0, |value| entries::next(&value, step, of))
        })
    }

    fn gets_each(&self, keys: &[Key]) -> u64 {
        let connection = self.own();
        let get = |key: &Key| get(&connection, key).map_or(0, |value| word(&value));
        keys.iter().map(get).fold(0, u64::wrapping_add)
    }

    fn ranges(&self, keys: &[Key], count: usize) -> u64 {
        let mut connection = self.own();
        let tx = connection.transaction().unwrap();
        let range = |key: &Key| ahead(&tx, key, count as i64);
        keys.iter().map(range).fold(0, u64::wrapping_add)
    }

    fn scan(&self) -> u64 {
        ahead(&self.own(), &[], i64::MAX)
    }

    fn put(&self, key: &Key, value: &Value) {
        put(&self.own(), key, value);
    }

    fn batch(&self, entries: &mut Entries<'_>) {
        let mut connection = self.own();
        let tx = connection.transaction().unwrap();
        for (key, value) in entries {
            put(&tx, &key, &value);
        }
        tx.commit().expect("sqlite commits");
    }

    fn remove(&self, keys: &mut Keys<'_>) {
        let mut connection = self.own();
        let tx = connection.transaction().unwrap();
        for key in keys {
            tx.prepare_cached(REMOVE).unwrap().execute([&key[..]]).expect("sqlite deletes");
        }
        tx.commit().expect("sqlite commits");
    }

    fn session(&self) -> Box<dyn Session + '_> {
        Box::new(connect(&self.file, self.mode))
    }

    fn close(self: Box<Self>) {
        let connection = self.connection.into_inner().unwrap();
        connection.execute_batch("PRAGMA wal_checkpoint(TRUNCATE)").expect("sqlite checkpoints");
        connection.close().expect("sqlite closes");
    }
}

impl Session for Connection {
    fn get(&mut self, key: &Key) -> u64 {
        get(self, key).map_or(0, |value| word(&value))
    }

    fn put(&mut self, key: &Key, value: &Value) {
        put(self, key, value);
    }
}
