//! Copies of a running store: equal to the version that they name, never in the place of another
//! store, and none where one was begun and not finished.

use recto::{Error, Options, Snapshot, Store, Table};
use std::{
    fs,
    io::ErrorKind,
    ops::Bound,
    path::Path,
    sync::atomic::{AtomicBool, Ordering},
    thread,
};

const NUMBERS: Table<u64, &[u8]> = Table::new("numbers");
const NAMES: Table<&str, u64> = Table::new("names");

type Rows = Vec<(String, Vec<u8>, Vec<u8>)>;

/// Everything in a snapshot.
fn rows(snapshot: &Snapshot) -> Rows {
    let mut rows = Vec::new();
    for name in snapshot.tables().unwrap() {
        let table = snapshot.raw_table(&name).unwrap().unwrap();
        for entry in table.range(Bound::Unbounded, Bound::Unbounded).unwrap() {
            let (key, value) = entry.unwrap();
            rows.push((name.clone(), key.to_vec(), value.to_vec()));
        }
    }
    rows
}

/// Inserts values of every size, some in runs, some keys in runs.
fn fill(store: &Store, from: u64, to: u64) {
    store
        .write(|tx| {
            for i in from..to {
                let len = if i % 50 == 0 { 20_000 } else { i % 300 } as usize;
                tx.table(&NUMBERS)?.insert(i, &vec![i as u8; len])?;
                let key = format!("{i:0width$}", width = if i % 97 == 0 { 3000 } else { 9 });
                tx.table(&NAMES)?.insert(&key, i)?;
            }
            Ok(())
        })
        .unwrap();
}

/// Opens a copy, proves it, and gives what it holds.
fn opened(dir: &Path, version: u64) -> Rows {
    let copy = Options::new().create(false).open(dir).unwrap();
    assert_eq!(copy.snapshot().version(), version);
    copy.check().unwrap();
    let rows = rows(&copy.snapshot());
    // It is a store like any other.
    fill(&copy, 1_000_000, 1_000_100);
    assert_eq!(copy.snapshot().version(), version + 1);
    copy.check().unwrap();
    copy.close().unwrap();
    rows
}

#[test]
fn a_copy_of_a_store_that_is_written_equals_its_version() {
    let dir = tempfile::tempdir().unwrap();
    for memory_map in [true, false] {
        let options = Options::new().memory_map(memory_map).dirty_bytes(1 << 20);
        let home = dir.path().join(format!("store-{memory_map}"));
        let store = options.open(&home).unwrap();
        fill(&store, 0, 5_000);
        store.checkpoint().unwrap();
        fill(&store, 100, 200);
        let stop = AtomicBool::new(false);
        thread::scope(|scope| {
            scope.spawn(|| {
                let mut at = 10_000;
                while !stop.load(Ordering::Relaxed) {
                    fill(&store, at, at + 20);
                    store.write(|tx| tx.table(&NUMBERS)?.remove(at % 5_000)).unwrap();
                    at += 20;
                }
            });
            for round in 0..3 {
                let to = dir.path().join(format!("copy-{memory_map}-{round}"));
                let held = store.snapshot();
                assert_eq!(held.backup(&to).unwrap(), held.version());
                assert_eq!(opened(&to, held.version()), rows(&held));
                let live = dir.path().join(format!("live-{memory_map}-{round}"));
                let version = store.backup(&live).unwrap();
                assert!(version >= held.version());
                opened(&live, version);
            }
            stop.store(true, Ordering::Relaxed);
        });
        store.check().unwrap();
    }
}

#[test]
fn a_copy_takes_the_place_of_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let (home, other) = (dir.path().join("store"), dir.path().join("other"));
    let store = Store::open(&home).unwrap();
    fill(&store, 0, 10);
    let refused = |to: &Path| match store.backup(to) {
        Err(Error::Io(io)) => assert_eq!(io.source.kind(), ErrorKind::AlreadyExists),
        outcome => panic!("{outcome:?}"),
    };
    refused(&home);
    let theirs = Store::open(&other).unwrap();
    fill(&theirs, 7, 8);
    refused(&other);
    theirs.close().unwrap();
    refused(&other);
    assert_eq!(Store::open(&other).unwrap().get(&NAMES, "000000007").unwrap(), Some(7));
    // What is left of a store whose page file is gone is not written over either.
    fs::create_dir(dir.path().join("remains")).unwrap();
    fs::write(dir.path().join("remains/log-1"), b"remains").unwrap();
    refused(&dir.path().join("remains"));
    // A file in the way, and what an attempt before left behind.
    fs::write(dir.path().join("file"), b"text").unwrap();
    assert!(store.backup(dir.path().join("file")).is_err());
    fs::create_dir(dir.path().join("again")).unwrap();
    fs::write(dir.path().join("again/tmp-pages"), vec![1; 1 << 20]).unwrap();
    let version = store.backup(dir.path().join("again")).unwrap();
    opened(&dir.path().join("again"), version);
}

#[test]
fn small_stores_and_stores_that_are_only_read_or_closed_are_copied() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    let memory = Store::in_memory().unwrap();
    assert_eq!(memory.backup(at("empty")).unwrap(), 0);
    opened(&at("empty"), 0);
    fill(&memory, 0, 300);
    assert_eq!(memory.backup(at("memory")).unwrap(), 1);
    assert_eq!(opened(&at("memory"), 1), rows(&memory.snapshot()));
    // A copy of a copy, which is only read, and one that outlives its store.
    let copied = Options::new().read_only(true).open(at("memory")).unwrap();
    assert_eq!(copied.backup(at("second")).unwrap(), copied.snapshot().version());
    let held = copied.snapshot();
    copied.close().unwrap();
    assert_eq!(held.backup(at("third")).unwrap(), held.version());
    assert_eq!(opened(&at("third"), held.version()), rows(&held));
    assert!(matches!(copied.backup(at("fourth")), Err(Error::Closed)));
    assert!(!at("fourth/pages").exists());
}

#[test]
fn a_copy_needs_no_room_in_the_cache() {
    let dir = tempfile::tempdir().unwrap();
    let (home, to) = (dir.path().join("store"), dir.path().join("copy"));
    let store = Store::open(&home).unwrap();
    fill(&store, 0, 5_000);
    let expected = rows(&store.snapshot());
    store.close().unwrap();
    drop(store);
    let tight = Options::new().memory_map(false).cache_bytes(256 << 10).open(&home).unwrap();
    assert_eq!(tight.backup(&to).unwrap(), 1);
    assert_eq!(opened(&to, 1), expected);
}

#[test]
fn damage_is_never_copied() {
    let dir = tempfile::tempdir().unwrap();
    let home = dir.path().join("store");
    let store = Store::open(&home).unwrap();
    fill(&store, 0, 2_000);
    store.close().unwrap();
    let mut bytes = fs::read(home.join("pages")).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 4;
    fs::write(home.join("pages"), bytes).unwrap();
    for memory_map in [true, false] {
        let to = dir.path().join(format!("copy-{memory_map}"));
        let store = Options::new().memory_map(memory_map).open(&home).unwrap();
        assert!(matches!(store.backup(&to), Err(Error::Corrupt(_))));
        assert!(!to.join("pages").exists());
    }
}
