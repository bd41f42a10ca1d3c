//! A recovery needs no more memory, and no more room on the device, than the store did that it
//! replays: a cache that was enough then is enough, and so is the file.

use recto::{Durability, Options, Store, Table, simulation::SimDisk};
use std::{fs, path::Path};
use tempfile::TempDir;

const ROWS: Table<u64, &[u8]> = Table::new("rows");
const COUNT: u64 = 20_000;

/// No map and a small cache, but room for a long log.
fn unmapped() -> Options {
    Options::new()
        .memory_map(false)
        .cache_bytes(1 << 20)
        .dirty_bytes(1 << 30)
        .log_segment_bytes(64 << 20)
        .durability(Durability::None)
}

/// Many times what the cache holds, in the page file.
fn load(store: &Store) {
    for chunk in (0..COUNT).step_by(1000) {
        let insert = |key| (key, [7; 400]);
        let entries: Vec<_> = (chunk..chunk + 1000).map(insert).collect();
        let entries = entries.iter().map(|(key, value)| (*key, &value[..]));
        store.write(|tx| tx.table(&ROWS)?.extend(entries)).unwrap();
    }
    store.checkpoint().unwrap();
}

/// What a process that is killed now leaves.
fn left_by_a_kill(dir: &Path) -> TempDir {
    let copy = tempfile::tempdir().unwrap();
    for file in fs::read_dir(dir).unwrap() {
        let file = file.unwrap();
        fs::copy(file.path(), copy.path().join(file.file_name())).unwrap();
    }
    copy
}

fn expect_same(dir: &Path, options: &Options, store: &Store) {
    let copy = left_by_a_kill(dir);
    let again = options.clone().open(copy.path()).unwrap();
    assert_eq!(again.snapshot().version(), store.snapshot().version());
    again.close().unwrap();
    // A scan keeps what it has lent, which a small cache does not hold: it reads through the map.
    drop(again);
    let again = Options::new().open(copy.path()).unwrap();
    let (found, count) = (again.snapshot(), store.snapshot().table(&ROWS).unwrap().len().unwrap());
    let rows = found.table(&ROWS).unwrap();
    assert_eq!(rows.len().unwrap(), count);
    for row in rows.iter().unwrap() {
        let (key, value) = row.unwrap();
        assert_eq!(store.get(&ROWS, key).unwrap().as_deref(), Some(value), "row {key}");
    }
}

fn loaded_and_opened(dir: &Path) -> Store {
    let store = unmapped().open(dir).unwrap();
    load(&store);
    store.close().unwrap();
    drop(store);
    unmapped().open(dir).unwrap()
}

#[test]
fn scattered_writes_are_replayed_through_a_small_cache() {
    let dir = tempfile::tempdir().unwrap();
    let store = loaded_and_opened(dir.path());
    for i in 0..COUNT {
        store.write(|tx| tx.table(&ROWS)?.insert(i * 7919 % COUNT, &[8; 20])).unwrap();
    }
    expect_same(dir.path(), &unmapped(), &store);
}

#[test]
fn removals_of_ranges_are_replayed_through_a_small_cache() {
    let dir = tempfile::tempdir().unwrap();
    let store = loaded_and_opened(dir.path());
    for i in 0..COUNT / 10 {
        store.write(|tx| tx.table(&ROWS)?.remove_range(i * 10..=i * 10)).unwrap();
    }
    expect_same(dir.path(), &unmapped(), &store);
}

#[test]
fn removals_of_large_values_are_replayed_without_a_map() {
    const VALUES: u64 = 100;
    let options = Options::new().memory_map(false).durability(Durability::None);
    let dir = tempfile::tempdir().unwrap();
    let store = options.clone().open(dir.path()).unwrap();
    for key in 0..VALUES {
        store.write(|tx| tx.table(&ROWS)?.insert(key, &vec![key as u8; 1 << 20])).unwrap();
    }
    store.checkpoint().unwrap();
    for key in 0..VALUES {
        store.write(|tx| tx.table(&ROWS)?.remove(key)).unwrap();
    }
    expect_same(dir.path(), &options, &store);
}

#[test]
fn a_long_log_is_replayed_on_a_device_that_has_no_more_room() {
    let options = || {
        Options::new()
            .page_bytes(4096)
            .dirty_bytes(1 << 30)
            .log_segment_bytes(64 << 20)
            .durability(Durability::None)
    };
    let disk = SimDisk::new();
    let store = options().open_simulated(&disk).unwrap();
    load(&store);
    let mut segments = 0;
    while segments < 2 {
        // The second one is made in the background.
        std::thread::yield_now();
        let operations = (0..disk.operations()).filter_map(|index| disk.describe(index));
        segments = operations.filter(|operation| operation.starts_with("create log-")).count();
    }
    for i in 0..300_000_u64 {
        let value = [(i >> 8) as u8; 20];
        store.write(|tx| tx.table(&ROWS)?.insert(i * 7919 % COUNT, &value)).unwrap();
    }
    let left = disk.cut(disk.operations()).taken_over();
    left.limit(Some(left.used_bytes()));
    let again = options().open_simulated(&left).unwrap();
    assert_eq!(again.snapshot().version(), store.snapshot().version());
    again.check().unwrap();
}
