//! What a review found by reading: hangs, leaks and spins that random operations do not meet.

use recto::{
    Batch, Durability, Error, Options, Store, Table,
    simulation::{Failure, Fault, SimDisk},
};
use std::{
    fs,
    sync::{Mutex, MutexGuard, PoisonError, mpsc},
    thread,
    time::Duration,
};

const ROWS: Table<u64, &[u8]> = Table::new("rows");
/// Only a test that fails waits for so long.
const PATIENCE: Duration = Duration::from_secs(10);

/// One at a time: some of them look at what all threads of the process do.
fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What `call` answers, within the time that a test has.
fn soon<T: Send + 'static>(call: impl FnOnce() -> T + Send + 'static) -> T {
    let (answer, answered) = mpsc::channel();
    thread::spawn(move || answer.send(call()));
    answered.recv_timeout(PATIENCE).expect("it hangs")
}

fn put(store: &Store, key: u64, value: &[u8]) -> recto::Result<bool> {
    store.write(|tx| tx.table(&ROWS)?.insert(key, value))
}

fn sticky(failure: Failure) -> Fault {
    Fault { failure, nth: 0, sticky: true }
}

/// The processor time that all threads called `name` have taken, in clock ticks (10 ms).
fn ticks(name: &str) -> u64 {
    let tasks = fs::read_dir("/proc/self/task").unwrap().map(|task| task.unwrap().path());
    tasks
        .filter(|task| {
            let comm = fs::read_to_string(task.join("comm")).unwrap_or_default();
            comm.trim_end() == name
        })
        .map(|task| {
            let stat = fs::read_to_string(task.join("stat")).unwrap_or_default();
            let fields: Vec<&str> = stat.rsplit(')').next().unwrap().split_whitespace().collect();
            let field = |i: usize| fields.get(i).map_or(0, |f| f.parse::<u64>().unwrap());
            field(11) + field(12)
        })
        .sum()
}

#[test]
fn a_store_poisoned_with_a_sync_due_can_be_closed() {
    let _alone = alone();
    let disk = SimDisk::new();
    let every = Durability::Interval(Duration::from_millis(200));
    let store = Options::new().durability(every).open_simulated(&disk).unwrap();
    put(&store, 1, b"one").unwrap();
    disk.fail(sticky(Failure::Sync));
    let checkpoint = store.clone();
    assert!(soon(move || checkpoint.checkpoint()).is_err());
    // Until the sync is due.
    thread::sleep(Duration::from_millis(300));
    assert!(soon(move || store.close()).is_err());
}

#[test]
fn a_checkpoint_that_is_overtaken_by_poison_is_answered() {
    let _alone = alone();
    let disk = SimDisk::new();
    let store = Options::new().durability(Durability::None).open_simulated(&disk).unwrap();
    for key in 0..5000 {
        put(&store, key, &[7; 900]).unwrap();
    }
    store.sync().unwrap();
    disk.fail(sticky(Failure::Sync));
    let (first, second) = (store.clone(), store.clone());
    let (checkpoint, answered) = mpsc::channel();
    thread::spawn(move || checkpoint.send(first.checkpoint()));
    let mut batch = Batch::new();
    batch.insert(&ROWS, 1, b"one");
    let batch = batch.durability(Durability::Sync);
    let _ = soon(move || second.submit(batch).and_then(recto::Commit::wait));
    assert!(answered.recv_timeout(PATIENCE).expect("it hangs").is_err());
    drop(store);
}

#[test]
fn opening_and_closing_leaves_no_more_and_more_log_behind() {
    let _alone = alone();
    let dir = tempfile::tempdir().unwrap();
    let options = Options::new().log_segment_bytes(64 * 1024);
    put(&options.clone().open(dir.path()).unwrap(), 1, b"one").unwrap();
    for _ in 0..12 {
        options.clone().open(dir.path()).unwrap().close().unwrap();
    }
    let files = fs::read_dir(dir.path()).unwrap().count();
    assert!(files <= 6, "{files} files");
}

#[test]
fn memory_does_not_grow_with_what_was_overwritten() {
    let _alone = alone();
    let dirty_bytes = 256 * 1024;
    let store = Options::new().dirty_bytes(dirty_bytes).open_in_memory().unwrap();
    for round in 0..300_u32 {
        let mut batch = Batch::new();
        for key in 0..200 {
            batch.insert(&ROWS, key, &[round as u8; 900]);
        }
        store.submit(batch).unwrap().wait().unwrap();
    }
    let held = store.stats().frame_bytes;
    assert!(held < 8 * dirty_bytes, "{held} bytes for 200 rows");
}

#[test]
fn an_idle_store_without_a_map_can_be_read_beyond_its_cache() {
    let _alone = alone();
    let dir = tempfile::tempdir().unwrap();
    let options = Options::new().memory_map(false).cache_bytes(1 << 20);
    {
        let store = options.clone().open(dir.path()).unwrap();
        for part in 0..10 {
            let mut batch = Batch::new();
            for key in part * 1000..(part + 1) * 1000 {
                batch.insert(&ROWS, key, &[7; 900]);
            }
            store.submit(batch).unwrap().wait().unwrap();
        }
        store.close().unwrap();
    }
    let store = options.open(dir.path()).unwrap();
    for key in 0..10_000 {
        let value = store.get(&ROWS, key).unwrap_or_else(|e| panic!("row {key}: {e}"));
        assert_eq!(value.map(|v| v.len()), Some(900));
    }
}

#[test]
fn a_writer_with_nothing_to_do_sleeps() {
    let _alone = alone();
    let disk = SimDisk::new();
    let store = Options::new().open_simulated(&disk).unwrap();
    put(&store, 1, b"one").unwrap();
    disk.fail(sticky(Failure::NoSpace));
    assert!(store.checkpoint().is_err());
    disk.heal();
    thread::sleep(Duration::from_millis(100));
    let before = ticks("recto-writer");
    thread::sleep(Duration::from_millis(600));
    let taken = ticks("recto-writer") - before;
    assert!(taken < 20, "the writer took {taken} ticks of 10 ms");
    put(&store, 2, b"two").unwrap();
}

#[test]
fn every_page_is_accounted_for_whatever_the_length_of_the_free_list() {
    let _alone = alone();
    let disk = SimDisk::new();
    let options = Options::new().durability(Durability::None).dirty_bytes(64 << 20);
    let open = || options.clone().open_simulated(&disk).unwrap();
    let store = open();
    store
        .write(|tx| tx.table(&ROWS)?.extend((0..24_000).map(|key| (key, &[7_u8; 900][..]))))
        .unwrap();
    store.close().unwrap();
    disk.settle();
    for step in 0..90 {
        let store = open();
        store.check().unwrap_or_else(|e| panic!("step {step}: {e}"));
        let removed = if step == 0 { 1950 } else { 2 };
        store
            .write(|tx| {
                let mut rows = tx.table(&ROWS)?;
                for at in 0..removed {
                    let base = if step == 0 { at * 8 } else { (1950 + step * 2 + at) * 8 };
                    for key in base..base + 4 {
                        rows.remove(key)?;
                    }
                }
                Ok(())
            })
            .unwrap();
        store.close().unwrap();
        disk.settle();
    }
}

#[test]
fn durations_and_sizes_without_an_end_are_allowed() {
    let _alone = alone();
    let disk = SimDisk::new();
    let store = Options::new().dirty_bytes(u64::MAX).open_simulated(&disk).unwrap();
    for durability in [Durability::Interval(Duration::MAX), Durability::EveryCommits(0)] {
        let mut batch = Batch::new();
        batch.insert(&ROWS, 1, b"one");
        store.submit(batch.durability(durability)).unwrap().wait().unwrap();
    }
    store.close().unwrap();
}

#[test]
fn segments_that_the_log_cannot_have_are_refused_before_anything_is_made() {
    let _alone = alone();
    let dir = tempfile::tempdir().unwrap();
    for bytes in [20_001, (1 << 30) + 512] {
        let opened = Options::new().log_segment_bytes(bytes).open(dir.path());
        assert!(matches!(opened, Err(Error::Invalid(_))));
    }
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
}

#[test]
fn eviction_leaves_pages_alone_whose_numbers_were_used_again() {
    let _alone = alone();
    let disk = SimDisk::new();
    let options = Options::new()
        .durability(Durability::None)
        .memory_map(false)
        .dirty_bytes(512 * 1024)
        .cache_bytes(1 << 20);
    let store = options.clone().open_simulated(&disk).unwrap();
    store
        .write(|tx| tx.table(&ROWS)?.extend((0..8000).map(|key| (key, &[7_u8; 900][..]))))
        .unwrap();
    store.close().unwrap();
    let store = options.clone().open_simulated(&disk).unwrap();
    for round in 0..20_000_u64 {
        let key = round.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 32;
        put(&store, key % 8000, &[round as u8; 900])
            .unwrap_or_else(|e| panic!("round {round}: {e}"));
    }
    store.close().unwrap();
    // A check is one snapshot, which keeps all that it has read.
    options.cache_bytes(64 << 20).open_simulated(&disk).unwrap().check().unwrap();
}

/// As the docs of `Options::cache_bytes` promise. In a cache no larger than the store the second
/// scan of a held snapshot found no room: what was evicted stayed for the snapshot, and was read
/// again.
#[test]
fn a_cache_half_as_large_again_as_the_store_holds_all_that_a_snapshot_reads() {
    let _alone = alone();
    let disk = SimDisk::new();
    let options = Options::new().memory_map(false);
    let store = options.clone().open_simulated(&disk).unwrap();
    let rows = 30_000;
    store.write(|tx| tx.table(&ROWS)?.extend((0..rows).map(|key| (key, &[7; 100][..])))).unwrap();
    let file_bytes = store.stats().file_pages * 4096;
    store.close().unwrap();
    drop(store);
    let store = options.cache_bytes(file_bytes * 3 / 2).open_simulated(&disk).unwrap();
    let snapshot = store.snapshot();
    let table = snapshot.table(&ROWS).unwrap();
    for _ in 0..5 {
        let read: recto::Result<Vec<_>> = table.range(..).unwrap().collect();
        assert_eq!(read.unwrap().len() as u64, rows);
        // The writer keeps house, and would evict.
        store.sync().unwrap();
    }
    store.check().unwrap();
}
