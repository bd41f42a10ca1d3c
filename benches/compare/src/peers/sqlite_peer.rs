//! SQLite, as a table without row ids, in WAL mode, with a cache that everything fits into.

use super::{Entries, Held, Keys, Mode, Peer, Session, word};
use crate::entries::{self, Data};
use rusqlite::Connection;
use std::{
    path::{Path, PathBuf},
    sync::{Mutex, MutexGuard},
    time::Duration,
};

const GET: &str = "SELECT value FROM entries WHERE key = ?1";
const RANGE: &str = "SELECT key, value FROM entries WHERE key >= ?1 ORDER BY key LIMIT ?2";
const PUT: &str = "INSERT OR REPLACE INTO entries (key, value) VALUES (?1, ?2)";
const REMOVE: &str = "DELETE FROM entries WHERE key = ?1";

/// An SQLite database. Writes go through one connection, as SQLite has one writer; a session has a
/// connection of its own, and so has each thread that reads at a time.
pub struct Sqlite {
    file: PathBuf,
    mode: Mode,
    connection: Mutex<Connection>,
    idle: Mutex<Vec<Connection>>,
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
        Sqlite { file, mode, connection: Mutex::new(connection), idle: Mutex::default() }
    }

    /// Reads through a connection that nobody else uses, in one transaction if that is asked for.
    fn read(&self, is_one: bool, read: impl FnOnce(&Connection) -> u64) -> u64 {
        let idle = self.idle.lock().unwrap().pop();
        let mut connection = idle.unwrap_or_else(|| connect(&self.file, self.mode));
        let sum = if is_one { read(&connection.transaction().unwrap()) } else { read(&connection) };
        self.idle.lock().unwrap().push(connection);
        sum
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

/// What `read` makes of a key's value, which is lent.
fn get(connection: &Connection, key: &[u8], read: impl FnOnce(&[u8]) -> u64) -> u64 {
    let mut statement = connection.prepare_cached(GET).unwrap();
    let mut rows = statement.query([key]).unwrap();
    let row = rows.next().unwrap();
    row.map_or(0, |row| read(row.get_ref(0).unwrap().as_blob().unwrap()))
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

fn put(connection: &Connection, key: &[u8], value: &[u8]) {
    let mut statement = connection.prepare_cached(PUT).unwrap();
    statement.execute((key, value)).expect("sqlite inserts");
}

impl Peer for Sqlite {
    fn gets(&self, keys: &[&[u8]]) -> u64 {
        self.read(true, |tx| keys.iter().map(|key| get(tx, key, word)).fold(0, u64::wrapping_add))
    }

    fn gets_dependent(&self, data: Data, start: u64, count: usize, of: u64) -> u64 {
        self.read(true, |tx| {
            (0..count as u64).fold(start, |i, step| {
                get(tx, &data.key(i), |value| entries::next(value, step, of))
            })
        })
    }

    fn gets_each(&self, keys: &[&[u8]]) -> u64 {
        self.read(false, |connection| {
            keys.iter().map(|key| get(connection, key, word)).fold(0, u64::wrapping_add)
        })
    }

    fn ranges(&self, keys: &[&[u8]], count: usize) -> u64 {
        self.read(true, |tx| {
            keys.iter().map(|key| ahead(tx, key, count as i64)).fold(0, u64::wrapping_add)
        })
    }

    fn scan(&self) -> u64 {
        self.read(true, |tx| ahead(tx, &[], i64::MAX))
    }

    fn put(&self, key: &[u8], value: &[u8]) {
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

    fn len(&self) -> u64 {
        let count = "SELECT count(*) FROM entries";
        let count = self.own().query_row(count, [], |row| row.get::<_, i64>(0));
        count.expect("sqlite counts") as u64
    }

    fn hold(&self) -> Box<dyn Held + '_> {
        let connection = connect(&self.file, self.mode);
        // A snapshot is taken by the first read.
        connection.execute_batch("BEGIN").expect("sqlite begins");
        ahead(&connection, &[], 1);
        Box::new(connection)
    }

    /// As far as readers let it.
    fn checkpoint(&self) {
        let connection = connect(&self.file, self.mode);
        connection.execute_batch("PRAGMA wal_checkpoint(PASSIVE)").expect("sqlite checkpoints");
    }

    fn session(&self) -> Box<dyn Session + '_> {
        Box::new(connect(&self.file, self.mode))
    }

    fn compact(self: Box<Self>) {
        self.own().execute_batch("VACUUM").expect("sqlite compacts");
        self.close();
    }

    fn close(self: Box<Self>) {
        drop(self.idle);
        let connection = self.connection.into_inner().unwrap();
        connection.execute_batch("PRAGMA wal_checkpoint(TRUNCATE)").expect("sqlite checkpoints");
        connection.close().expect("sqlite closes");
    }
}

impl Session for Connection {
    fn get(&mut self, key: &[u8]) -> u64 {
        get(self, key, word)
    }

    fn put(&mut self, key: &[u8], value: &[u8]) {
        put(self, key, value);
    }

    fn range(&mut self, from: &[u8], len: usize) -> u64 {
        ahead(self, from, len as i64)
    }
}
