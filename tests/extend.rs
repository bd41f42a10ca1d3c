//! Bulk loads that are sorted in runs in a file: a failure on the way is undone, and nothing stays.

use recto::{
    Batch, Error, Options, Resource, Result, Store, Table,
    simulation::{Failure, Fault, SimDisk},
};
use std::{
    collections::BTreeMap,
    panic::{AssertUnwindSafe, catch_unwind},
};

const ROWS: Table<u64, &[u8]> = Table::new("rows");

fn options() -> Options {
    Options::new().dirty_bytes(256 << 10).log_segment_bytes(64 << 10).sort_bytes(64 << 10)
}

/// Entries in no order, some keys more than once, some values in runs of pages.
fn entries(len: u64, salt: u8) -> Vec<(u64, Vec<u8>)> {
    let value = |n: u64| {
        let len = if n.is_multiple_of(50) { 9000 } else { n as usize % 300 };
        vec![n as u8 ^ salt; len]
    };
    (0..len).map(|n| (n.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 50, value(n))).collect()
}

fn extend(store: &Store, entries: &[(u64, Vec<u8>)]) -> Result<u64> {
    store.write(|tx| tx.table(&ROWS)?.extend(entries.iter().map(|(key, value)| (*key, &value[..]))))
}

fn found(store: &Store) -> BTreeMap<u64, Vec<u8>> {
    let snapshot = store.snapshot();
    let rows = snapshot.table(&ROWS).unwrap();
    let owned = |entry: Result<(u64, &[u8])>| entry.map(|(key, value)| (key, value.to_vec()));
    rows.iter().unwrap().map(|entry| owned(entry).unwrap()).collect()
}

#[test]
fn runs_in_a_file_go_in_as_one_and_no_file_stays() -> Result<()> {
    let dir = tempfile::tempdir().unwrap();
    for memory_map in [true, false] {
        let store = options().memory_map(memory_map).open(dir.path())?;
        for salt in 0..3 {
            let (entries, mut expected) = (entries(4000, salt), found(&store));
            let old_len = expected.len();
            expected.extend(entries.iter().cloned());
            assert_eq!(extend(&store, &entries)?, (expected.len() - old_len) as u64);
            assert!(found(&store) == expected);
            store.check()?;
        }
        let names = std::fs::read_dir(dir.path()).unwrap().map(|entry| entry.unwrap().file_name());
        let left = names.filter(|name| name.to_string_lossy().starts_with("tmp-")).count();
        assert_eq!(left, 0);
        store.close()?;
    }
    Ok(())
}

#[test]
fn what_was_just_spilled_is_read_back_by_its_own_transaction() -> Result<()> {
    let dir = tempfile::tempdir().unwrap();
    for memory_map in [true, false] {
        let store = options().memory_map(memory_map).open(dir.path())?;
        for salt in 0..10 {
            let value = [salt; 300];
            let read_back = store.write(|tx| {
                let mut rows = tx.table(&ROWS)?;
                rows.extend((0..4000).map(|n| (n, &value[..])))?;
                // The last ones first: they have been on their way for the shortest time.
                rows.iter()?.rev().map(|entry| entry.map(|(_, found)| found == value)).collect()
            });
            let read_back: Vec<bool> = read_back?;
            assert_eq!(read_back, vec![true; 4000]);
        }
        store.close()?;
    }
    Ok(())
}

#[test]
fn a_batch_of_many_inserts_is_a_map_extended() -> Result<()> {
    let store = options().open_simulated(&SimDisk::new())?;
    let mut expected = BTreeMap::new();
    // Into an empty table, among others and over them, and behind all of them.
    for (len, first) in [(63, 0), (64, 1 << 20), (1000, 0), (4000, 0), (300, 1 << 30)] {
        let mut batch = Batch::new();
        for (key, value) in entries(len, len as u8) {
            // Some keys twice, one behind the other in key order.
            let key = first + key / 2;
            batch.insert(&ROWS, key, &value[..]);
            expected.insert(key, value);
        }
        store.submit(batch)?.wait()?;
        assert!(found(&store) == expected, "{len} inserts");
        store.check()?;
    }
    store.close().map(drop)
}

#[test]
fn pages_are_as_full_as_after_a_load_in_order() -> Result<()> {
    let (mixed, ordered) = (SimDisk::new(), SimDisk::new());
    let mut entries: Vec<_> = entries(30_000, 1).into_iter().enumerate().collect();
    let mut bytes = Vec::new();
    for disk in [&mixed, &ordered] {
        let store = options().open_simulated(disk)?;
        store.write(|tx| {
            let numbered =
                entries.iter().map(|(i, (key, value))| (key << 20 | *i as u64, &value[..]));
            tx.table(&ROWS)?.extend(numbered)
        })?;
        store.close()?;
        bytes.push(disk.used_bytes());
        entries.sort_by_key(|(i, (key, _))| (*key, *i));
    }
    let (mixed, ordered) = (bytes[0], bytes[1]);
    assert!(mixed <= ordered + ordered / 50, "{mixed} bytes, {ordered} in order");
    Ok(())
}

/// Each operation of an extension fails in turn: it is undone, and the store goes on.
fn each_fails(failure: Failure, least: u64) {
    for nth in 0.. {
        let disk = SimDisk::new();
        // A tiny cache of clean pages is no matter: only the runs are read.
        let store = options().open_simulated(&disk).unwrap();
        let first = entries(1000, 3);
        extend(&store, &first).unwrap();
        store.checkpoint().unwrap();
        let before = found(&store);
        disk.fail(Fault { failure, nth, sticky: false });
        let second = entries(2500, 9);
        let outcome = extend(&store, &second);
        let has_fired = disk.fired() > 0;
        disk.heal();
        if !has_fired {
            outcome.unwrap();
            assert!(nth > least, "only {nth} operations could fail");
            return;
        }
        if matches!(store.checkpoint(), Err(Error::Poisoned)) {
            // What failed was a sync, or a write of a meta page.
            continue;
        }
        match outcome {
            // Behind the runs, where a failure is no caller's concern.
            Ok(_) => continue,
            Err(Error::Full { what }) => assert_eq!(what, Resource::Disk),
            Err(Error::Io(_)) => {}
            Err(error) => panic!("{failure:?} {nth}: {error}"),
        }
        assert!(found(&store) == before, "{failure:?} {nth}: undone");
        extend(&store, &second).unwrap_or_else(|e| panic!("{failure:?} {nth}: {e}"));
        store.check().unwrap();
        let after = found(&store);
        store.close().unwrap();
        drop(store);
        let store = options().open_simulated(&disk).unwrap();
        assert!(found(&store) == after);
    }
}

#[test]
fn a_full_disk_undoes_an_extension_and_loses_nothing() {
    each_fails(Failure::NoSpace, 20);
}

#[test]
fn a_run_that_cannot_be_read_undoes_an_extension() {
    each_fails(Failure::Read, 10);
}

#[test]
fn what_cannot_be_written_undoes_an_extension() {
    each_fails(Failure::ShortWrite, 20);
}

#[test]
fn a_device_without_room_for_the_runs_is_full_and_the_store_goes_on() {
    let disk = SimDisk::new();
    let store = options().open_simulated(&disk).unwrap();
    let first = entries(500, 3);
    extend(&store, &first).unwrap();
    store.checkpoint().unwrap();
    let before = found(&store);
    disk.limit(Some(disk.used_bytes() + (30 << 10)));
    let outcome = extend(&store, &entries(4000, 4));
    assert!(matches!(outcome, Err(Error::Full { what: Resource::Disk })), "{outcome:?}");
    assert!(found(&store) == before);
    disk.limit(None);
    extend(&store, &entries(4000, 4)).unwrap();
    store.check().unwrap();
}

#[test]
fn a_panic_or_an_error_amid_the_runs_leaves_nothing() -> Result<()> {
    let dir = tempfile::tempdir().unwrap();
    let store = options().open(dir.path())?;
    extend(&store, &entries(300, 3))?;
    let (before, many) = (found(&store), entries(4000, 8));
    for way in ["panic", "error"] {
        let outcome = catch_unwind(AssertUnwindSafe(|| {
            store.write(|tx| {
                let cut = many.iter().enumerate().map(|(i, (key, value))| {
                    assert!(i < 3000 || way == "error", "an iterator that panics");
                    (*key, &value[..])
                });
                tx.table(&ROWS)?.extend(cut)?;
                Err::<(), _>(Error::Conflict)
            })
        }));
        assert!(!matches!(outcome, Ok(Ok(()))));
        assert!(found(&store) == before);
        let names = std::fs::read_dir(dir.path()).unwrap().map(|entry| entry.unwrap().file_name());
        assert_eq!(names.filter(|n| n.to_string_lossy().starts_with("tmp-")).count(), 0);
    }
    extend(&store, &many)?;
    store.check().map(drop)
}
