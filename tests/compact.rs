//! Page files that become smaller while they are read and written.

use recto::{Budget, Compacted, Durability, Event, Options, Snapshot, Store, Table};
use std::{
    fs,
    ops::Bound,
    path::Path,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
    thread,
};

const ROWS: Table<u64, &[u8]> = Table::new("rows");
const OTHER: Table<&str, u64> = Table::new("other");

type Rows = Vec<(String, Vec<u8>, Vec<u8>)>;

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

fn value(i: u64) -> Vec<u8> {
    let len = if i.is_multiple_of(40) { 9_000 + i % 5_000 } else { i % 400 };
    vec![i as u8; len as usize]
}

/// Long keys lie in runs, and so do separators between keys that are alike for long.
fn key(i: u64) -> String {
    if i.is_multiple_of(3) { format!("{}{i:06}", "k".repeat(2_500)) } else { format!("{i:06}") }
}

fn fill(store: &Store, from: u64, to: u64) {
    store
        .write(|tx| {
            for i in from..to {
                tx.table(&ROWS)?.insert(i, &value(i))?;
                if i.is_multiple_of(16) {
                    tx.table(&OTHER)?.insert(&key(i), i)?;
                }
            }
            Ok(())
        })
        .unwrap();
}

/// What stays behind the last page, for removals and checkpoints on a full device, and some pages.
const RESERVE_BYTES: u64 = (80 + 40) * 4096;

fn file_bytes(home: &Path) -> u64 {
    fs::metadata(home.join("pages")).unwrap().len()
}

/// Compacts to the end; the steps, and what they did together.
fn compact(store: &Store, budget: usize) -> (u64, Compacted) {
    let (mut steps, mut all) = (0, Compacted::default());
    loop {
        let step = store.compact(Budget::pages(budget)).unwrap();
        steps += 1;
        all.pages_moved += step.pages_moved;
        all.leaves_saved += step.leaves_saved;
        all.bytes_freed += step.bytes_freed;
        (all.pages_held, all.is_done) = (step.pages_held, step.is_done);
        if step.is_done {
            return (steps, all);
        }
        assert!(steps < 10_000, "it comes to no end");
    }
}

/// The bytes of the pages in use.
fn used_bytes(store: &Store) -> u64 {
    store.check().unwrap().used_pages * 4096
}

#[test]
fn an_emptied_store_shrinks_and_keeps_what_it_holds() {
    let dir = tempfile::tempdir().unwrap();
    for (memory_map, budget) in [(true, 40), (false, 1000), (true, 1)] {
        let home = dir.path().join(format!("{memory_map}-{budget}"));
        let options = Options::new().memory_map(memory_map).dirty_bytes(1 << 20);
        let store = options.clone().open(&home).unwrap();
        for at in 0..if budget == 1 { 4 } else { 20 } {
            fill(&store, at * 500, at * 500 + 500);
        }
        let kept: Table<u64, &[u8]> = Table::new("rows");
        store.write(|tx| tx.table(&kept)?.retain(|i, _| i % 7 == 3 || i % 280 == 0)).unwrap();
        store.write(|tx| tx.table(&OTHER)?.retain(|_, i| i % 96 == 0)).unwrap();
        store.checkpoint().unwrap();
        let (before, version) = (file_bytes(&home), store.snapshot().version());
        let expected = rows(&store.snapshot());
        let (steps, done) = compact(&store, budget);
        let after = file_bytes(&home);
        println!("map {memory_map}, budget {budget}: {before} to {after}, {steps} steps, {done:?}");
        assert_eq!(store.snapshot().version(), version, "a compaction is no commit");
        assert_eq!(rows(&store.snapshot()), expected);
        assert!(after * 3 < before * 2, "{before} to {after}");
        assert!(after <= used_bytes(&store) / 100 * 115 + RESERVE_BYTES, "{after}");
        assert_eq!(compact(&store, budget).1.pages_moved, 0, "it was done");
        fill(&store, 0, 300);
        store.check().unwrap();
        store.close().unwrap();
        drop(store);
        let store = options.open(&home).unwrap();
        store.check().unwrap();
        assert_eq!(store.snapshot().version(), version + 1);
    }
}

#[test]
fn a_store_shrinks_while_it_is_read_and_written() {
    let dir = tempfile::tempdir().unwrap();
    let home = dir.path().join("store");
    let store = Options::new().dirty_bytes(2 << 20).open(&home).unwrap();
    for at in 0..20 {
        fill(&store, at * 500, at * 500 + 500);
    }
    store.write(|tx| tx.table(&ROWS)?.retain(|i, _| i % 8 == 5)).unwrap();
    store.checkpoint().unwrap();
    let before = file_bytes(&home);
    let (stop, reads, commits) = (AtomicBool::new(false), AtomicU64::new(0), AtomicU64::new(0));
    thread::scope(|scope| {
        for seed in 0..2 {
            let (store, stop, reads) = (&store, &stop, &reads);
            scope.spawn(move || {
                let mut reader = store.reader();
                let mut i = seed;
                while !stop.load(Relaxed) {
                    i = (i * 5 + 1) % 1250;
                    let at = i * 8 + 5;
                    let snapshot = reader.snapshot();
                    let found = snapshot.table(&ROWS).unwrap().get(at).unwrap();
                    assert_eq!(found, Some(&value(at)[..]));
                    reads.fetch_add(1, Relaxed);
                }
            });
        }
        let (writer, stopped, commits) = (&store, &stop, &commits);
        scope.spawn(move || {
            let mut i = 0;
            while !stopped.load(Relaxed) {
                i += 1;
                let at = i * 8 % 800;
                writer.write(|tx| tx.table(&ROWS)?.insert(at, &value(at)).map(drop)).unwrap();
                commits.fetch_add(1, Relaxed);
            }
        });
        let (steps, done) = compact(&store, 100);
        stop.store(true, Relaxed);
        println!("{steps} steps, {done:?}");
    });
    let (reads, commits) = (reads.into_inner(), commits.into_inner());
    let (_, held) = compact(&store, 100);
    let after = file_bytes(&home);
    println!("{before} to {after} bytes, {reads} reads, {commits} commits, then {held:?}");
    assert!(after * 2 < before, "{before} to {after}");
    assert!(after <= used_bytes(&store) / 100 * 115 + RESERVE_BYTES, "{after}");
    let version = store.snapshot().version();
    assert_eq!(version, commits + 21);
    store.close().unwrap();
}

#[test]
fn what_a_snapshot_sees_is_not_cut_off() {
    let dir = tempfile::tempdir().unwrap();
    let home = dir.path().join("store");
    let store = Options::new().dirty_bytes(1 << 20).open(&home).unwrap();
    for at in 0..10 {
        fill(&store, at * 500, at * 500 + 500);
    }
    store.checkpoint().unwrap();
    let held = store.snapshot();
    let expected = rows(&held);
    store.write(|tx| tx.table(&ROWS)?.remove_range(100..)).unwrap();
    store.write(|tx| tx.drop_table("other")).unwrap();
    let before = file_bytes(&home);
    let (_, done) = compact(&store, 100);
    assert!(done.pages_held > 0, "{done:?}");
    assert_eq!(rows(&held), expected);
    drop(held);
    let (_, done) = compact(&store, 100);
    assert_eq!(done.pages_held, 0);
    let after = file_bytes(&home);
    assert!(after * 10 < before, "{before} to {after}");
    store.check().unwrap();
}

#[test]
fn a_file_that_becomes_large_is_reported_once_for_each_crossing() {
    let dir = tempfile::tempdir().unwrap();
    let told = Arc::new(Mutex::new(Vec::new()));
    let ours = Arc::clone(&told);
    let options = Options::new().size_warning_bytes(1 << 20).on_event(move |event| {
        if let Event::Large { bytes, threshold_bytes } = event {
            ours.lock().unwrap().push((*bytes, *threshold_bytes));
        }
    });
    let store = options.open(dir.path()).unwrap();
    for crossing in 1..=2 {
        for at in 0..8 {
            fill(&store, at * 500, at * 500 + 500);
        }
        store.checkpoint().unwrap();
        store.write(|tx| tx.table(&ROWS)?.clear()).unwrap();
        store.write(|tx| tx.drop_table("other")).unwrap();
        compact(&store, 1000);
        // Once the writer has looked at the file again.
        fill(&store, 0, 1);
        store.sync().unwrap();
        let told = told.lock().unwrap();
        assert_eq!(told.len(), crossing, "{told:?}");
        assert!(told.iter().all(|&(bytes, threshold)| bytes > threshold && threshold == 1 << 20));
    }
}

/// Snapshots hold what is free but for odd pages and short gaps, as they happen to lie: a run that
/// fits into a gap only as long as nothing else is put there, and a branch that names one.
#[test]
fn a_compaction_ends_whatever_snapshots_hold() {
    let mut dice = 1u64;
    let mut next = |below: u64| {
        dice = dice.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (dice >> 33) % below
    };
    let (mut most, mut ended) = (0, 0);
    for round in 0..300 {
        let store = Store::in_memory().unwrap();
        let count = 40 + next(300);
        let mut held = Vec::new();
        for _ in 0..2 + next(5) {
            let from = next(count);
            let to = from + 1 + next(count);
            let (long, key_len) = (next(4), [6, 6, 1_500, 9_000][next(4) as usize]);
            store
                .write(|tx| {
                    for i in from..to {
                        let len = if i % 4 < long { 4_200 + i * 37 % 18_000 } else { i % 300 };
                        tx.table(&ROWS)?.insert(i, &vec![i as u8; len as usize])?;
                        let key = format!("{}{i:06}", "k".repeat(key_len));
                        tx.table(&OTHER)?.insert(&key, i)?;
                    }
                    Ok(())
                })
                .unwrap();
            if next(2) == 0 {
                store.checkpoint().unwrap();
            }
            if next(2) == 0 {
                held.push(store.snapshot());
            }
            let (from, keep) = (next(count), 2 + next(9));
            store.write(|tx| tx.table(&ROWS)?.remove_range(from..)).unwrap();
            store.write(|tx| tx.table(&OTHER)?.retain(|_, i| i % keep == 0)).unwrap();
            if next(3) == 0 && !held.is_empty() {
                held.remove(next(held.len() as u64) as usize);
            }
        }
        let expected = rows(&store.snapshot());
        let budget = [1, 2, 3, 40][next(4) as usize];
        let mut steps = 0;
        while !store.compact(Budget::pages(budget)).unwrap().is_done {
            steps += 1;
            assert!(steps < 3_000, "round {round}, budget {budget}: it comes to no end");
        }
        most = most.max(steps);
        ended += 1;
        assert_eq!(rows(&store.snapshot()), expected);
        store.check().unwrap();
    }
    println!("{ended} compactions, at most {most} steps");
}

/// Entries in random order, and then without every second one: thin leaves that nothing merges.
fn thinned(store: &Store, count: u64) {
    let place = |i: u64| i.wrapping_mul(0x9E37_79B9_7F4A_7C15);
    for from in (0..count).step_by(1000) {
        store
            .write(|tx| {
                let mut rows = tx.table(&ROWS)?;
                let mut insert = |i| rows.insert(place(i), &[i as u8; 140]).map(drop);
                (from..from + 1000).try_for_each(&mut insert)
            })
            .unwrap();
    }
    store.write(|tx| tx.table(&ROWS)?.retain(|i, _| i % 2 == 0)).unwrap();
    store.checkpoint().unwrap();
}

/// The bytes of all keys and values.
fn live_bytes(rows: &Rows) -> u64 {
    rows.iter().map(|(_, key, value)| (key.len() + value.len()) as u64).sum()
}

#[test]
fn thin_leaves_are_put_together_and_a_compact_store_is_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    for (memory_map, budget) in [(true, 1), (false, 60), (true, 1000)] {
        let home = dir.path().join(format!("{memory_map}-{budget}"));
        let options = Options::new().memory_map(memory_map).dirty_bytes(1 << 20);
        let store = options.clone().open(&home).unwrap();
        thinned(&store, 20_000);
        let (before, version) = (file_bytes(&home), store.snapshot().version());
        let expected = rows(&store.snapshot());
        let live = live_bytes(&expected);
        let (steps, done) = compact(&store, budget);
        let after = file_bytes(&home);
        println!("{before} to {after} of {live}, budget {budget}, {steps} steps, {done:?}");
        assert!(after <= live / 100 * 115 + RESERVE_BYTES, "{after} of {live}");
        assert!(before * 2 > after * 3 && done.leaves_saved > 100);
        assert_eq!(store.snapshot().version(), version);
        assert_eq!(rows(&store.snapshot()), expected);
        store.check().unwrap();
        let again = compact(&store, budget).1;
        assert_eq!((again.pages_moved, again.bytes_freed), (0, 0), "it was done");
        store.close().unwrap();
        drop(store);
        let store = options.open(&home).unwrap();
        assert_eq!(rows(&store.snapshot()), expected);
        store.check().unwrap();
    }
}

#[test]
fn a_step_copies_no_more_than_its_budget_and_the_way_there() {
    let store = Store::in_memory().unwrap();
    thinned(&store, 20_000);
    let mut saved = 0;
    loop {
        let step = store.compact(Budget::pages(20)).unwrap();
        saved += step.leaves_saved;
        // A last leaf, three levels of branches, and as many that are merged.
        assert!(step.pages_moved <= 20 + 1 + 6, "{step:?}");
        if step.is_done {
            break;
        }
    }
    assert!(saved > 100, "{saved} leaves saved");
}

#[test]
fn a_snapshot_keeps_its_leaves_while_they_are_put_together() {
    let dir = tempfile::tempdir().unwrap();
    let home = dir.path().join("store");
    let store = Options::new().dirty_bytes(1 << 20).open(&home).unwrap();
    thinned(&store, 10_000);
    let held = store.snapshot();
    let expected = rows(&held);
    let before = file_bytes(&home);
    let (_, done) = compact(&store, 100);
    assert!(done.pages_held > 0, "{done:?}");
    assert!(file_bytes(&home) <= before / 100 * 104 + RESERVE_BYTES, "it may grow by a little");
    assert_eq!(rows(&held), expected);
    // What was written since is in the leaves that were put together.
    store.write(|tx| tx.table(&ROWS)?.retain(|i, _| i % 3 > 0)).unwrap();
    assert_eq!(rows(&held), expected);
    drop(held);
    compact(&store, 100);
    let live = live_bytes(&rows(&store.snapshot()));
    let after = file_bytes(&home);
    assert!(after <= live / 100 * 115 + RESERVE_BYTES, "{after} of {live}");
    store.check().unwrap();
}

#[test]
fn leaves_are_put_together_while_they_are_written() {
    let dir = tempfile::tempdir().unwrap();
    let options = Options::new().dirty_bytes(1 << 20).durability(Durability::None);
    let store = options.open(dir.path().join("store")).unwrap();
    thinned(&store, 20_000);
    let keys = |store: &Store| -> Vec<u64> {
        let snapshot = store.snapshot();
        let table = snapshot.table(&ROWS).unwrap();
        table.iter().unwrap().map(|entry| entry.unwrap().0).collect()
    };
    let expected = keys(&store);
    let stop = AtomicBool::new(false);
    let saved = thread::scope(|scope| {
        scope.spawn(|| {
            for at in (0..expected.len()).cycle().step_by(7) {
                if stop.load(Relaxed) {
                    break;
                }
                let key = expected[at];
                store.write(|tx| tx.table(&ROWS)?.remove(key)).unwrap();
                store.write(|tx| tx.table(&ROWS)?.insert(key, &[9; 141]).map(drop)).unwrap();
            }
        });
        let (_, done) = compact(&store, 40);
        stop.store(true, Relaxed);
        done.leaves_saved
    });
    assert!(saved > 100, "{saved} leaves saved");
    assert_eq!(keys(&store), expected);
    store.check().unwrap();
}
