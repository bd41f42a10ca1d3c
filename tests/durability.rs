//! What each level of durability promises, told by counts: how far answers are ahead of the device.

use recto::{
    Batch, Durability, Error, Options, Result, Store, Table,
    simulation::{Failure, Fault, SimDisk},
};
use std::{
    sync::atomic::{AtomicBool, Ordering::SeqCst},
    thread,
    time::{Duration, Instant},
};

const ROWS: Table<u64, u64> = Table::new("rows");

fn opened(durability: Durability) -> (tempfile::TempDir, Store) {
    let dir = tempfile::tempdir().unwrap();
    let store = Options::new().durability(durability).open(dir.path()).unwrap();
    (dir, store)
}

fn batch(key: u64) -> Batch {
    let mut batch = Batch::new();
    batch.insert(&ROWS, key, key);
    batch
}

/// Commits from four threads; after each answer `check` is given its version and what is durable.
fn commit_from_four_threads(store: &Store, commits: u64, check: impl Fn(u64, u64) + Sync) {
    thread::scope(|scope| {
        for thread in 0..4 {
            let check = &check;
            scope.spawn(move || {
                for number in 0..commits {
                    let commit = store.submit(batch(thread * commits + number)).unwrap();
                    let version = commit.wait().unwrap();
                    check(version, store.stats().durable_version);
                }
            });
        }
    });
}

#[test]
fn sync_answers_after_the_device_and_shows_nothing_before() {
    let (_dir, store) = opened(Durability::Sync);
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            while !done.load(SeqCst) {
                let seen = store.snapshot().version();
                let durable = store.stats().durable_version;
                assert!(seen <= durable, "version {seen} is seen, {durable} is durable");
            }
        });
        commit_from_four_threads(&store, 200, |version, durable| {
            assert!(version <= durable, "answered {version} when {durable} was durable");
        });
        done.store(true, SeqCst);
    });
    assert!(store.stats().log_syncs > 0);
}

#[test]
fn every_100_commits_is_never_more_than_100_ahead() {
    let (_dir, store) = opened(Durability::EveryCommits(100));
    commit_from_four_threads(&store, 1000, |version, durable| {
        assert!(version <= durable + 100, "answered {version} when {durable} was durable");
    });
    let syncs = store.stats().log_syncs;
    println!("EveryCommits(100): {syncs} syncs for 4000 commits");
    assert!(syncs >= 39, "{syncs} syncs cannot cover 4000 commits");
    // One for 50 at most, and those that a slow device makes wait.
    assert!(syncs <= 160, "{syncs} syncs for 4000 commits");
}

#[test]
fn an_interval_makes_commits_durable_by_itself() -> Result<()> {
    let (_dir, store) = opened(Durability::Interval(Duration::from_millis(40)));
    for key in 1..=5 {
        let began = Instant::now();
        let commit = store.submit(batch(key))?;
        assert_eq!(commit.visible().wait()?, key);
        assert_eq!(commit.durable().wait()?, key);
        let waited = began.elapsed();
        assert!(waited < Duration::from_secs(30), "durable after {waited:?}");
    }
    let before = store.stats().log_syncs;
    let commits: Vec<_> = (0..500).map(|key| store.submit(batch(key))).collect::<Result<_>>()?;
    for commit in &commits {
        commit.durable().wait()?;
    }
    let syncs = store.stats().log_syncs - before;
    assert!((1..250).contains(&syncs), "{syncs} syncs for 500 commits at once");
    Ok(())
}

#[test]
fn an_interval_is_kept_under_load_though_nobody_asks() {
    let (_dir, store) = opened(Durability::Interval(Duration::from_millis(10)));
    for _ in 0..10 {
        commit_from_four_threads(&store, 2000, |_, _| {});
        let began = Instant::now();
        while store.stats().durable_version < store.snapshot().version() {
            assert!(began.elapsed() < Duration::from_secs(30), "it is not synced any more");
            thread::sleep(Duration::from_millis(1));
        }
    }
}

#[test]
fn none_waits_for_a_sync_or_a_checkpoint() -> Result<()> {
    let (_dir, store) = opened(Durability::None);
    for key in 0..100 {
        store.submit(batch(key))?.wait()?;
    }
    assert_eq!((store.stats().log_syncs, store.stats().durable_version), (0, 0));
    store.sync()?;
    assert_eq!(store.stats().durable_version, 100);
    store.submit(batch(100))?.wait()?;
    store.checkpoint()?;
    assert_eq!(store.stats().durable_version, 101);
    Ok(())
}

#[test]
fn a_commit_may_ask_for_more_or_less_than_its_store() -> Result<()> {
    let (_dir, store) = opened(Durability::None);
    store.submit(batch(1))?.wait()?;
    // One that is durable makes everything before it durable.
    store.submit(batch(2).durability(Durability::Sync))?.wait()?;
    assert_eq!(store.stats().durable_version, 2);
    store.write(|tx| tx.table(&ROWS)?.insert(3, 3))?;
    assert_eq!(store.stats().durable_version, 2);
    store.write_with(Durability::Sync, |tx| tx.table(&ROWS)?.insert(4, 4))?;
    assert_eq!(store.stats().durable_version, 4);
    let (_dir, store) = opened(Durability::Sync);
    let syncs = store.stats().log_syncs;
    store.write_with(Durability::None, |tx| tx.table(&ROWS)?.insert(1, 1))?;
    store.submit(batch(2).durability(Durability::None))?.wait()?;
    assert_eq!((store.stats().log_syncs, store.stats().durable_version), (syncs, 0));
    Ok(())
}

/// A transaction that changes nothing takes a version and is as durable as any other.
#[test]
fn an_empty_commit_takes_a_version() -> Result<()> {
    let (dir, store) = opened(Durability::Sync);
    store.write(|_| Ok(()))?;
    assert_eq!(store.submit(Batch::new())?.wait()?, 2);
    assert_eq!(store.stats().durable_version, 2);
    drop(store);
    assert_eq!(Store::open(dir.path())?.snapshot().version(), 2);
    Ok(())
}

/// It took no version; what it tells of is the version that it read.
#[test]
fn a_transaction_that_only_read_is_as_durable_as_what_it_read() {
    let (_dir, store) = opened(Durability::None);
    let durable = || store.stats().durable_version;
    store.submit(batch(1)).unwrap().wait().unwrap();
    let commit = store.begin().submit().unwrap();
    assert_eq!(commit.visible().wait().unwrap(), 1);
    assert!(commit.durable().get().is_none_or(|_| durable() == 1), "durable before its time");
    assert_eq!(commit.durable().wait().unwrap(), 1);
    assert_eq!(durable(), 1);
    assert_eq!(commit.wait().unwrap(), 1);
    store.submit(batch(2)).unwrap().wait().unwrap();
    assert_eq!(store.begin().durability(Durability::Sync).commit().unwrap(), 2);
    assert_eq!(durable(), 2);
    // Nobody waits for these, and nothing is kept for them.
    store.submit(batch(3)).unwrap().wait().unwrap();
    for _ in 0..5000 {
        drop(store.begin().submit().unwrap());
    }
    let before = store.begin();
    store.close().unwrap();
    assert_eq!(before.submit().unwrap().durable().wait().unwrap(), 3);
}

#[test]
fn a_transaction_that_only_read_hears_that_the_sync_failed() {
    let disk = SimDisk::new();
    let store = Options::new().durability(Durability::None).open_simulated(&disk).unwrap();
    store.submit(batch(1)).unwrap().wait().unwrap();
    let (first, second, third) = (store.begin(), store.begin(), store.begin());
    disk.fail(Fault { failure: Failure::Sync, nth: 0, sticky: true });
    assert!(matches!(first.durability(Durability::Sync).commit(), Err(Error::Io(_))));
    let commit = second.submit().unwrap();
    assert_eq!(commit.visible().wait().unwrap(), 1);
    commit.durable().wait().unwrap_err();
    store.close().unwrap_err();
    third.durability(Durability::Sync).commit().unwrap_err();
}

#[test]
fn a_checkpoint_that_fails_while_it_waits_for_the_device_poisons_and_loses_nothing() {
    const LONG: Table<u64, &[u8]> = Table::new("long");
    const ROWS: u64 = 2500;
    let mut failures = 0;
    for nth in 0.. {
        let disk = SimDisk::new();
        let store = Options::new().open_simulated(&disk).unwrap();
        // Several of the pieces in which a checkpoint writes adjoining pages; in batches that the
        // log can hold.
        for first in (0..ROWS).step_by(50) {
            let mut batch = Batch::new();
            (first..first + 50).for_each(|key| _ = batch.insert(&LONG, key, &[key as u8; 3000]));
            store.submit(batch).unwrap().wait().unwrap();
        }
        disk.fail(Fault { failure: Failure::Sync, nth, sticky: false });
        let checkpoint = store.checkpoint();
        if checkpoint.is_ok() {
            // All passed, or it hit the making of a spare segment of the log, which may fail.
            if disk.fired() == 0 {
                break;
            }
            continue;
        }
        assert!(matches!(checkpoint, Err(Error::Io(_))), "{checkpoint:?}");
        failures += 1;
        let mut late = Batch::new();
        late.insert(&LONG, 1000, &[1; 10]);
        let refused = store.submit(late).and_then(recto::Commit::wait);
        assert!(matches!(refused, Err(Error::Poisoned)), "{refused:?}");
        drop(store);
        let cut = disk.cut(disk.operations());
        for image in [cut.everything(), cut.nothing()] {
            let store = Options::new().open_simulated(&image.disk()).unwrap();
            let snapshot = store.snapshot();
            let table = snapshot.table(&LONG).unwrap();
            for key in 0..ROWS {
                assert_eq!(table.get(key).unwrap(), Some(&[key as u8; 3000][..]), "key {key}");
            }
        }
    }
    // The log, the pages and each meta page are synced; the others were waits amid the pages.
    assert!(failures > 4 + 1, "{failures} places");
}
