//! A device without room: removals, checkpoints, closing and opening go on, on what was kept for
//! them; everything else answers `Full` and loses nothing; with room again all of it works.
//! Over the simulated disk, whose files together may have so many bytes and no more.

use recto::{
    Batch, Budget, Durability, Error, Options, Resource, Result, Store, Table, View,
    simulation::SimDisk,
};
use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

const ROWS: Table<u64, &[u8]> = Table::new("rows");
type Model = BTreeMap<u64, Vec<u8>>;

fn options() -> Options {
    Options::new().page_bytes(4096).dirty_bytes(256 << 10).log_segment_bytes(64 << 10)
}

fn value(key: u64, len: usize) -> Vec<u8> {
    (0..len).map(|i| (key as usize * 31 + i) as u8).collect()
}

fn is_full<T>(outcome: &Result<T>) -> bool {
    matches!(outcome, Err(Error::Full { .. }))
}

fn expect(view: &View, model: &Model, told: &str) {
    let table = view.table(&ROWS).unwrap();
    let found: Model = table
        .range(..)
        .unwrap()
        .map(|entry| entry.map(|(key, value)| (key, value.to_vec())).unwrap())
        .collect();
    assert!(found == *model, "{told}: {} rows in place of {}", found.len(), model.len());
}

/// Waits for what is kept for a full disk and made in the background.
fn await_second_segment(disk: &SimDisk) {
    before_long("a second segment", || {
        let operations = (0..disk.operations()).filter_map(|index| disk.describe(index));
        let made = operations.filter(|operation| operation.starts_with("create log-")).count();
        if made > 1 { Ok(()) } else { Err(Error::Full { what: Resource::Disk }) }
    });
}

/// A store on a disk that is filled until it refuses three insertions in a row.
fn filled(disk: &SimDisk, room: u64, value_bytes: usize) -> (Store, Model) {
    let store = options().open_simulated(disk).unwrap();
    let mut model = Model::new();
    let (mut key, mut refused) = (0, 0);
    store.write(|tx| tx.table(&ROWS)?.insert(u64::MAX, &[1; 9])).unwrap();
    model.insert(u64::MAX, vec![1; 9]);
    store.checkpoint().unwrap();
    await_second_segment(disk);
    disk.limit(Some(disk.used_bytes() + room));
    while refused < 3 {
        // Scattered, so that the tree grows everywhere.
        let place = (key * 7919) % 100_003;
        let outcome = store.write(|tx| tx.table(&ROWS)?.insert(place, &value(key, value_bytes)));
        match outcome {
            Ok(_) => {
                model.insert(place, value(key, value_bytes));
                refused = 0;
            }
            outcome => {
                assert!(is_full(&outcome), "{outcome:?}");
                refused += 1;
            }
        }
        key += 1;
    }
    (store, model)
}

/// Runs `work` until it no longer answers `Full`: a checkpoint that the store takes on its own
/// gives room back in a moment.
fn before_long<T>(told: &str, mut work: impl FnMut() -> Result<T>) -> T {
    let began = Instant::now();
    loop {
        match work() {
            Ok(done) => return done,
            Err(Error::Full { .. }) if began.elapsed() < Duration::from_secs(20) => {
                std::thread::sleep(Duration::from_millis(1));
            }
            Err(error) => panic!("{told}: {error}"),
        }
    }
}

#[test]
fn removals_checkpoints_closing_and_opening_work_on_a_full_disk() {
    for (room, value_bytes) in [(0, 100), (100 << 10, 100), (1 << 20, 1000), (2 << 20, 9000)] {
        let disk = SimDisk::new();
        let (store, mut model) = filled(&disk, room, value_bytes);
        expect(&store.snapshot(), &model, "full");
        let keys: Vec<u64> = model.keys().copied().collect();
        for (nth, key) in keys.iter().enumerate().filter(|(nth, _)| nth % 3 == 0) {
            let removed = if nth % 2 == 0 {
                store.write(|tx| tx.table(&ROWS)?.remove(*key))
            } else {
                let mut batch = Batch::new();
                batch.remove(&ROWS, *key);
                store.submit(batch).and_then(recto::Commit::wait).map(|_| true)
            };
            assert!(removed.unwrap_or_else(|e| panic!("removal {nth} on a full disk: {e}")));
            model.remove(key);
        }
        store.checkpoint().unwrap_or_else(|e| panic!("a checkpoint on a full disk: {e}"));
        expect(&store.snapshot(), &model, "removed");
        let closed = store.close().unwrap();
        assert_eq!(closed.version, store.stats().version, "all of it");
        drop(store);
        let store = options().open_simulated(&disk).unwrap_or_else(|e| panic!("opening: {e}"));
        expect(&store.snapshot(), &model, "opened");
        // What is removed leaves room, in a store that holds more than is kept for removals.
        if room > 1 << 20 {
            let left: Vec<u64> = model.keys().copied().collect();
            let mut removed = left[..left.len() * 3 / 4].iter();
            while is_full(&store.write(|tx| tx.table(&ROWS)?.insert(5, &[7; 50]))) {
                let key = removed.next().expect("an insertion into freed room");
                store.write(|tx| tx.table(&ROWS)?.remove(*key)).unwrap();
                model.remove(key);
            }
            model.insert(5, vec![7; 50]);
        }
        disk.limit(None);
        for key in 0..300u64 {
            store.write(|tx| tx.table(&ROWS)?.insert(key, &value(key, value_bytes))).unwrap();
            model.insert(key, value(key, value_bytes));
        }
        store.close().unwrap();
        drop(store);
        let store = options().open_simulated(&disk).unwrap();
        expect(&store.snapshot(), &model, "with room again");
        store.check().unwrap();
    }
}

#[test]
fn what_a_crash_leaves_on_a_full_disk_opens_there() {
    for room in [0, 60 << 10, 300 << 10, 1 << 20] {
        let disk = SimDisk::new();
        let (store, mut model) = filled(&disk, room, 700);
        let keys: Vec<u64> = model.keys().copied().collect();
        for key in keys.iter().take(40) {
            store.write(|tx| tx.table(&ROWS)?.remove(*key)).unwrap();
            model.remove(key);
        }
        let cut = disk.cut(disk.operations());
        for (told, left) in [
            ("killed", cut.taken_over()),
            ("all of it", cut.everything().disk()),
            ("what was synced", cut.nothing().disk()),
        ] {
            // A growth that the power took with it left its room to others.
            left.limit(Some(left.used_bytes()));
            let store = options().open_simulated(&left);
            let store = store.unwrap_or_else(|e| panic!("room {room}, {told}: {e}"));
            expect(&store.snapshot(), &model, told);
            let mut rest = model.clone();
            for key in keys[40..].iter().take(40) {
                store
                    .write(|tx| tx.table(&ROWS)?.remove(*key))
                    .unwrap_or_else(|e| panic!("room {room}, {told}: {e}"));
                rest.remove(key);
            }
            store.close().unwrap();
            drop(store);
            let store = options().open_simulated(&left).unwrap();
            expect(&store.snapshot(), &rest, told);
            store.check().unwrap();
        }
    }
}

/// Whatever the store was about: also between a rotation of the log and the checkpoint behind it,
/// when both segments are needed and there is no room for a third.
#[test]
fn a_kill_at_any_moment_on_a_full_disk_leaves_what_opens_there() {
    let disk = SimDisk::new();
    let store = options().open_simulated(&disk).unwrap();
    store.write(|tx| tx.table(&ROWS)?.insert(0, &[1; 9])).unwrap();
    store.checkpoint().unwrap();
    await_second_segment(&disk);
    let (capacity, began) = (disk.used_bytes() + (100 << 10), disk.operations());
    disk.limit(Some(capacity));
    for round in 0..500 {
        // Few rows, again and again: the log turns round, while there is no room for a third
        // segment.
        before_long("a row rewritten", || {
            store.write(|tx| tx.table(&ROWS)?.insert(round % 20, &value(round, 1000)).map(drop))
        });
        disk.mark(round);
    }
    let (mut second_lives, mut images) = (0, 0);
    for at in (began..=disk.operations()).step_by(3) {
        let cut = disk.cut(at);
        let left = cut.taken_over();
        left.limit(Some(capacity));
        let acknowledged = cut.marks().next_back();
        let before = left.operations();
        let store = options().open_simulated(&left);
        let store = store.unwrap_or_else(|e| panic!("killed after operation {at}: {e}"));
        expect_rounds(&store.snapshot(), acknowledged, at);
        let ended = store.close();
        assert!(ended.is_ok(), "closing after operation {at}: {ended:?}");
        drop(store);
        // Now and then the power goes while that opening is at it.
        if at % 5 == 0 {
            second_lives += 1;
            for cut in left.cuts().skip(before).step_by(4) {
                for image in cut.new_images(at as u64).take(4) {
                    images += 1;
                    let store = options().open_simulated(&image.disk());
                    let store = store.unwrap_or_else(|e| panic!("operation {at}, {image}: {e}"));
                    expect_rounds(&store.snapshot(), acknowledged, at);
                }
            }
        }
    }
    assert!(second_lives > 50 && images > 500, "{second_lives} second lives, {images} images");
}

/// The rows as some round left them, no earlier one than the one `acknowledged`.
fn expect_rounds(view: &View, acknowledged: Option<u64>, at: usize) {
    // The first commit is no round.
    let rounds = view.version() - 1;
    assert!(Some(rounds) >= acknowledged.map(|last| last + 1), "operation {at}: {rounds} rounds");
    let mut model = Model::from([(0, vec![1; 9])]);
    model.extend((0..rounds).map(|round| (round % 20, value(round, 1000))));
    expect(view, &model, "some round");
}

#[test]
fn rows_are_rewritten_on_a_full_disk_for_as_long_as_one_likes() {
    let disk = SimDisk::new();
    let (store, mut model) = filled(&disk, 2 << 20, 300);
    let keys: Vec<u64> = model.keys().copied().collect();
    let (gone, kept) = keys.split_at(keys.len() / 2);
    for key in gone {
        store.write(|tx| tx.table(&ROWS)?.remove(*key)).unwrap();
        model.remove(key);
    }
    store.checkpoint().unwrap();
    for round in 0..2000u64 {
        let key = kept[round as usize % kept.len()];
        before_long("a row rewritten", || {
            store.write_with(Durability::None, |tx| {
                tx.table(&ROWS)?.insert(key, &value(round, 300)).map(drop)
            })
        });
        model.insert(key, value(round, 300));
    }
    expect(&store.snapshot(), &model, "rewritten");
    store.close().unwrap();
    drop(store);
    expect(&options().open_simulated(&disk).unwrap().snapshot(), &model, "opened");
}

/// Where the file cannot grow, what is free is room enough.
#[test]
fn leaves_are_put_together_on_a_full_disk() {
    let disk = SimDisk::new();
    let (store, mut model) = filled(&disk, 4 << 20, 300);
    let keys: Vec<u64> = model.keys().copied().collect();
    for key in keys.iter().step_by(2) {
        store.write(|tx| tx.table(&ROWS)?.remove(*key)).unwrap();
        model.remove(key);
    }
    store.checkpoint().unwrap();
    // What removals gave back goes to another.
    disk.limit(Some(disk.used_bytes()));
    let (before, mut saved) = (disk.used_bytes(), 0);
    loop {
        let step = store.compact(Budget::pages(40)).unwrap_or_else(|e| panic!("{saved}: {e}"));
        saved += step.leaves_saved;
        if step.is_done {
            break;
        }
    }
    let after = disk.used_bytes();
    println!("{before} to {after} bytes, {saved} leaves saved");
    assert!(saved > 50 && after * 3 < before * 2, "{before} to {after}, {saved} leaves saved");
    expect(&store.snapshot(), &model, "compacted");
    store.check().unwrap();
    store.write(|tx| tx.table(&ROWS)?.insert(1, &value(1, 300))).unwrap();
    model.insert(1, value(1, 300));
    store.close().unwrap();
    drop(store);
    expect(&options().open_simulated(&disk).unwrap().snapshot(), &model, "opened");
}

#[test]
fn removals_go_on_where_there_was_never_room_for_a_second_segment() {
    let disk = SimDisk::new();
    let options = || options().log_segment_bytes(1 << 20);
    let store = options().open_simulated(&disk).unwrap();
    disk.limit(Some(disk.used_bytes() + (900 << 10)));
    let (mut model, mut refused) = (Model::new(), 0);
    while refused < 3 {
        let key = model.len() as u64;
        let outcome = store.write(|tx| tx.table(&ROWS)?.insert(key, &value(key, 3000)));
        match outcome {
            Ok(_) => _ = model.insert(key, value(key, 3000)),
            outcome => {
                assert!(is_full(&outcome), "{outcome:?}");
                refused += 1;
            }
        }
    }
    // More than the segment holds.
    let rows = model.len() as u64;
    let (mut logged_bytes, mut round) = (0, 0);
    while logged_bytes < 1_100_000 {
        let key = round % rows;
        let removed = store.write(|tx| tx.table(&ROWS)?.remove(key));
        let removed = removed.unwrap_or_else(|e| panic!("round {round}, {logged_bytes}: {e}"));
        assert_eq!(removed, model.remove(&key).is_some());
        logged_bytes += 512;
        let outcome = store.write(|tx| tx.table(&ROWS)?.insert(key, &value(round, 3000)));
        if outcome.is_ok() {
            model.insert(key, value(round, 3000));
            logged_bytes += 3000;
        } else {
            assert!(is_full(&outcome), "{outcome:?}");
        }
        round += 1;
    }
    expect(&store.snapshot(), &model, "rewritten");
    let killed = disk.cut(disk.operations()).nothing().disk();
    expect(&options().open_simulated(&killed).unwrap().snapshot(), &model, "cut");
    store.close().unwrap();
    drop(store);
    let store = options().open_simulated(&disk).unwrap();
    expect(&store.snapshot(), &model, "opened");
    store.check().unwrap();
}

#[test]
fn openings_that_fail_leave_no_segments_behind() {
    let disk = SimDisk::new();
    let store = options().open_simulated(&disk).unwrap();
    store.write(|tx| tx.table(&ROWS)?.insert(1, &[1; 100])).unwrap();
    store.close().unwrap();
    drop(store);
    let bytes = disk.used_bytes();
    for _ in 0..20 {
        // Another segment length: none of the files that are there will do.
        disk.limit(Some(disk.used_bytes()));
        let opened = options().log_segment_bytes(1 << 20).open_simulated(&disk);
        assert!(matches!(opened, Err(Error::Full { what: Resource::Disk })), "{:?}", opened.err());
        assert_eq!(disk.used_bytes(), bytes);
    }
    disk.limit(None);
    for _ in 0..20 {
        options().open_simulated(&disk).unwrap().close().unwrap();
        assert!(disk.used_bytes() <= bytes + (64 << 10), "{} bytes", disk.used_bytes());
    }
}

#[test]
fn a_small_store_is_restored_to_a_device_with_little_room() {
    let (disk, copy, target) = (SimDisk::new(), SimDisk::new(), SimDisk::new());
    let store = options().open_simulated(&disk).unwrap();
    store.write(|tx| tx.table(&ROWS)?.insert(1, &[1; 100])).unwrap();
    let before = store.snapshot();
    store.backup_simulated(&copy).unwrap();
    let copy = options().open_simulated(&copy).unwrap();
    store.write(|tx| tx.table(&ROWS)?.insert(2, &[2; 100])).unwrap();
    store.snapshot().increment_simulated(&before, &disk, "increment").unwrap();
    target.limit(Some(4 << 20));
    let restored = copy.restore_simulated(&[(&disk, "increment")], &target, None);
    assert_eq!(restored.unwrap(), store.snapshot().version());
    let restored = options().open_simulated(&target).unwrap();
    assert_eq!(restored.get(&ROWS, 2).unwrap().unwrap(), [2; 100]);
}

/// Each row changed stands, as a small delta in memory, on a page that the next checkpoint frees,
/// so its list of free space is longer than what is kept for removals: counted in advance, or a
/// full device would take no checkpoint any more.
#[test]
fn a_checkpoint_that_frees_very_many_pages_fits_on_a_full_disk() {
    // Four rows to a leaf.
    const LEAVES: u64 = 41_000;
    let disk = SimDisk::new();
    let options = || {
        let options = Options::new().page_bytes(4096).durability(Durability::None);
        options.dirty_bytes(256 << 20).cache_bytes(1 << 30).log_segment_bytes(16 << 20)
    };
    let store = options().open_simulated(&disk).unwrap();
    store
        .write(|tx| tx.table(&ROWS)?.extend((0..4 * LEAVES).map(|key| (key, &[7; 900][..]))))
        .unwrap();
    store.checkpoint().unwrap();
    await_second_segment(&disk);
    let mut changed = 0;
    for leaf in 0..LEAVES {
        if leaf == LEAVES * 9 / 10 {
            disk.limit(Some(disk.used_bytes()));
        }
        let outcome = store.write(|tx| tx.table(&ROWS)?.insert(leaf * 4, &[9; 60]));
        match outcome {
            Ok(_) => changed += 1,
            outcome => {
                assert!(is_full(&outcome), "{outcome:?}");
                break;
            }
        }
    }
    let version = store.stats().version;
    before_long("a checkpoint", || store.checkpoint());
    assert!(changed >= LEAVES * 9 / 10 && store.stats().durable_version >= version);
    store.close().unwrap();
    drop(store);
    let store = options().open_simulated(&disk).unwrap();
    let snapshot = store.snapshot();
    let table = snapshot.table(&ROWS).unwrap();
    for (key, entry) in (0..).zip(table.range(..).unwrap()) {
        let small = key % 4 == 0 && key / 4 < changed;
        assert_eq!(entry.unwrap(), (key, if small { &[9; 60][..] } else { &[7; 900][..] }));
    }
}
