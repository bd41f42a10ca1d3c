//! Groups: one sync for many commits, a bounded queue before them, bounded room while they are
//! applied.

use recto::{
    Batch, Commit, Durability, Error, Options, Resource, Result, Store, Table, TrySubmitError,
};
use std::{
    collections::BTreeMap,
    sync::{
        Barrier,
        atomic::{AtomicBool, Ordering::SeqCst},
        mpsc,
    },
    thread,
    time::{Duration, Instant},
};

const ROWS: Table<u64, &[u8]> = Table::new("rows");
/// Only a test that fails waits for so long.
const PATIENCE: Duration = Duration::from_secs(60);

fn opened(options: Options) -> (tempfile::TempDir, Store) {
    let dir = tempfile::tempdir().unwrap();
    let store = options.open(dir.path()).unwrap();
    (dir, store)
}

fn batch(key: u64) -> Batch {
    let mut batch = Batch::new();
    batch.insert(&ROWS, key, &key.to_be_bytes());
    batch
}

/// Runs `during` while the writer thread is held inside of a closure, which takes version 1.
fn while_held<T>(store: &Store, during: impl FnOnce() -> T) -> T {
    let (release, held) = mpsc::channel::<()>();
    let (entered, inside) = mpsc::channel();
    thread::scope(|scope| {
        let writer = scope.spawn(move || {
            store.write(move |_| {
                entered.send(()).unwrap();
                Ok(held.recv_timeout(PATIENCE).is_ok())
            })
        });
        inside.recv_timeout(PATIENCE).unwrap();
        let result = during();
        release.send(()).unwrap();
        assert!(writer.join().unwrap().unwrap(), "the writer was not held long enough");
        result
    })
}

/// Waits until `is_so`; a test that waits in vain fails.
fn until(is_so: impl Fn() -> bool) {
    let began = Instant::now();
    while !is_so() {
        assert!(began.elapsed() < PATIENCE, "waited in vain");
        thread::yield_now();
    }
}

#[test]
fn a_group_that_rewrites_the_same_rows_needs_room_for_few_copies() -> Result<()> {
    const ROUNDS: u64 = 100;
    let (_dir, store) = opened(Options::new().durability(Durability::None));
    let rows = |round: u64| {
        let mut batch = Batch::new();
        for row in 0..500 {
            batch.insert(&ROWS, row, &[round as u8; 100]);
        }
        batch
    };
    store.submit(rows(0))?.wait()?;
    store.checkpoint()?;
    let live_pages = store.stats().file_pages;
    let commits = while_held(&store, || {
        (0..ROUNDS).map(|round| store.submit(rows(round))).collect::<Result<Vec<Commit>>>()
    })?;
    for commit in commits {
        commit.wait()?;
    }
    store.checkpoint()?;
    store.sync()?;
    let stats = store.stats();
    assert!(stats.group_requests_max >= ROUNDS, "a group of {}", stats.group_requests_max);
    assert!(
        stats.file_pages <= 5 * live_pages,
        "{ROUNDS} copies of {live_pages} pages in one group took {} pages",
        stats.file_pages
    );
    assert_eq!(store.get(&ROWS, 499)?, Some(vec![ROUNDS as u8 - 1; 100]));
    store.check()?;
    Ok(())
}

/// How many syncs of the log a commit costs when `writers` threads commit one row each, in a loop.
///
/// None on a device that syncs so fast that nobody comes while it does: there is nothing to share.
fn syncs_per_commit(writers: u64, commits: u64) -> Option<f64> {
    let (_dir, store) = opened(Options::new().durability(Durability::Sync));
    let start = Barrier::new(writers as usize);
    thread::scope(|scope| {
        for writer in 0..writers {
            let (store, start) = (&store, &start);
            scope.spawn(move || {
                start.wait();
                for number in 0..commits {
                    let key = writer * commits + number;
                    store.write(|tx| tx.table(&ROWS)?.insert(key, b"value")).unwrap();
                }
            });
        }
    });
    let stats = store.stats();
    assert_eq!(stats.commits, writers * commits);
    assert_eq!(stats.durable_version, writers * commits, "answered before it was durable");
    assert_eq!(store.snapshot().table(&ROWS).unwrap().len().unwrap(), writers * commits);
    let syncs = f64::from(u32::try_from(stats.log_syncs).unwrap());
    let share = syncs / f64::from(u32::try_from(writers * commits).unwrap());
    println!(
        "{writers} writers: {share:.4} syncs a commit, groups of up to {}, {} groups",
        stats.group_requests_max, stats.groups
    );
    (stats.sync_latency.p50 >= Duration::from_micros(50)).then_some(share)
}

#[test]
fn one_sync_is_enough_for_all_that_waited_together() {
    const WAITING: u64 = 50;
    let (_dir, store) = opened(Options::new());
    let before = store.stats();
    let commits: Vec<Commit> =
        while_held(&store, || (0..WAITING).map(|key| store.submit(batch(key)).unwrap()).collect());
    for commit in commits {
        commit.wait().unwrap();
    }
    let after = store.stats();
    assert_eq!(after.durable_version, WAITING + 1);
    let (groups, syncs) = (after.groups - before.groups, after.log_syncs - before.log_syncs);
    // The closure that held the writer was served on its caller's thread, alone; all others are one
    // group behind it, which may be there in time for its sync.
    assert_eq!(groups, 2, "groups of {WAITING} commits and one");
    assert!((1..=2).contains(&syncs), "{syncs} syncs of {WAITING} commits and one");
}

#[test]
fn twenty_writers_share_their_syncs() {
    let share = syncs_per_commit(20, 100);
    assert!(share.is_none_or(|share| share < 0.2), "{share:?} syncs a commit");
}

#[test]
fn fifty_writers_share_their_syncs() {
    // What else runs on the machine only keeps writers from coming together.
    let shares: Vec<_> = (0..3).map(|_| syncs_per_commit(50, 60)).collect();
    let is_shared = shares.iter().any(|share| share.is_none_or(|share| share <= 0.05));
    assert!(is_shared, "{shares:?} syncs a commit");
}

#[test]
fn a_full_queue_gives_the_batch_back_and_takes_it_later() {
    let (_dir, store) = opened(Options::new().queue_capacity(4));
    let (mut commits, refused) = while_held(&store, || {
        let commits: Vec<Commit> =
            (0..4).map(|key| store.try_submit(batch(key)).unwrap()).collect();
        let mut big = batch(100);
        big.remove(&ROWS, 0).insert(&ROWS, 101, b"more");
        let (len, bytes) = (big.len(), big.bytes());
        let Err(TrySubmitError::Full(big)) = store.try_submit(big) else {
            panic!("a queue of 4 took a fifth batch")
        };
        assert_eq!((big.len(), big.bytes()), (len, bytes), "another batch came back");
        let began = Instant::now();
        let patience = Duration::from_millis(150);
        let Err(TrySubmitError::Full(big)) = store.submit_timeout(big, patience) else {
            panic!("a queue of 4 took a fifth batch")
        };
        let waited = began.elapsed();
        assert!(waited >= patience && waited < PATIENCE, "waited for {waited:?}");
        assert_eq!((big.len(), big.bytes()), (len, bytes), "another batch came back");
        let stats = store.stats();
        assert_eq!((stats.queue_depth, stats.queue_capacity, stats.dropped), (4, 4, 2));
        (commits, big)
    });
    // The batch that came back is as good as new; with a time limit, too.
    commits.push(store.submit_timeout(refused, PATIENCE).unwrap());
    let versions: Vec<u64> = commits.into_iter().map(|commit| commit.wait().unwrap()).collect();
    assert_eq!(versions, [2, 3, 4, 5, 6]);
    assert_eq!(store.get(&ROWS, 101).unwrap().as_deref(), Some(&b"more"[..]));
    assert_eq!(store.get(&ROWS, 0).unwrap(), None);
    assert_eq!(store.snapshot().table(&ROWS).unwrap().len().unwrap(), 5);
    let full = Error::from(TrySubmitError::Full(batch(1)));
    assert!(matches!(full, Error::Full { what: Resource::Queue }), "{full}");
}

#[test]
fn the_queue_never_holds_more_than_its_capacity_and_loses_nothing() {
    const CAPACITY: usize = 8;
    let (_dir, store) =
        opened(Options::new().queue_capacity(CAPACITY).durability(Durability::None));
    let done = AtomicBool::new(false);
    let (accepted, deepest) = thread::scope(|scope| {
        let gauge = scope.spawn(|| {
            let mut deepest = 0;
            while !done.load(SeqCst) {
                deepest = deepest.max(store.stats().queue_depth);
            }
            deepest
        });
        let accepted = overload(&store);
        done.store(true, SeqCst);
        (accepted, gauge.join().unwrap())
    });
    assert!(deepest <= CAPACITY, "{deepest} requests in a queue of {CAPACITY}");
    assert_eq!(store.snapshot().table(&ROWS).unwrap().len().unwrap(), accepted);
    let stats = store.stats();
    println!("{accepted} accepted, {} given back, depth at most {deepest}", stats.dropped);
    // One more for the closure that held the writer.
    assert_eq!(stats.commits, accepted + 1);
    // One more for the batch that only asked whether the queue is full.
    assert_eq!(stats.dropped, 32 * 100 - accepted + 1);
}

/// Many threads submit as fast as they can, all of them first against a writer that stands still;
/// how many batches were accepted.
fn overload(store: &Store) -> u64 {
    thread::scope(|scope| {
        let submitters = while_held(store, || {
            let submitters: Vec<_> =
                (0..32).map(|thread| scope.spawn(move || submit_100(store, thread))).collect();
            until(|| store.stats().queue_depth == store.stats().queue_capacity);
            assert!(matches!(store.try_submit(Batch::new()), Err(TrySubmitError::Full(_))));
            submitters
        });
        // The batch refused above is not one of theirs.
        submitters.into_iter().map(|one| one.join().unwrap()).sum()
    })
}

/// Submits 100 batches in all three ways; how many were accepted, each of which must commit.
fn submit_100(store: &Store, thread: u64) -> u64 {
    let mut accepted = 0;
    for number in 0..100 {
        let batch = batch(thread * 100 + number);
        let commit = match number % 3 {
            0 => store.try_submit(batch),
            1 => store.submit_timeout(batch, Duration::from_micros(50)),
            _ => Ok(store.submit(batch).unwrap()),
        };
        match commit {
            Ok(commit) => {
                commit.wait().unwrap();
                accepted += 1;
            }
            Err(TrySubmitError::Full(_)) => {}
            Err(other) => panic!("{other}"),
        }
    }
    accepted
}

#[test]
fn commits_are_made_in_the_order_in_which_they_were_accepted() {
    let (_dir, store) = opened(Options::new().durability(Durability::None));
    let commits: Vec<Commit> = while_held(&store, || {
        (0..500).map(|number| store.submit(batch(number % 10)).unwrap()).collect()
    });
    let versions = commits.into_iter().map(|commit| commit.wait().unwrap());
    assert!(versions.eq(2..=501));
    assert!(store.stats().group_requests_max >= 500, "they were one group");
}

type Model = BTreeMap<u64, Vec<u8>>;

/// A batch of some kind, told by its number, and the rows behind it; none if it is refused.
fn mixed(number: u64, before: &Model) -> (Batch, Option<Model>) {
    /// The table has numbers for values.
    const WRONG: Table<u64, &[u8]> = Table::new("numbers");
    let (mut batch, mut rows) = (Batch::new(), before.clone());
    let key = number * 7919 % 300;
    let mut insert = |batch: &mut Batch, key: u64, len: u64| {
        let value = vec![number as u8; len as usize];
        batch.insert(&ROWS, key, &value);
        rows.insert(key, value);
    };
    match number % 10 {
        3 => {
            // Found when it is applied, behind a change.
            insert(&mut batch, key, 40);
            batch.insert(&WRONG, key, b"undone");
            return (batch, None);
        }
        5 => {
            batch.remove(&ROWS, key);
            rows.remove(&key);
        }
        7 => {
            batch.remove_range(&ROWS, key..key + 20);
            rows.retain(|row, _| !(key..key + 20).contains(row));
        }
        // Too long to share its pages.
        8 => (key..key + 50).for_each(|key| insert(&mut batch, key, 500)),
        _ => insert(&mut batch, key, number % 90),
    }
    (batch, Some(rows))
}

fn rows(store: &Store) -> Result<Model> {
    let snapshot = store.snapshot();
    let table = snapshot.table(&ROWS)?;
    table.iter()?.map(|row| row.map(|(key, value)| (key, value.to_vec()))).collect()
}

#[test]
fn of_batches_in_one_group_each_has_its_version_and_fails_by_itself() -> Result<()> {
    let (dir, store) = opened(Options::new());
    store.write(|tx| {
        tx.table(&Table::<u64, u64>::new("numbers"))?.insert(1, 1)?;
        (0..300).try_for_each(|key| tx.table(&ROWS)?.insert(key, &[1; 100]).map(drop))
    })?;
    let mut model = rows(&store)?;
    let mut version = store.snapshot().version();
    // Version by version, as a closure between the batches sees them.
    for size in [1, 2, 10, 400] {
        let (commits, seen) = while_held(&store, || {
            version += 1;
            let (mut commits, mut seen) = (Vec::new(), Vec::new());
            for number in 0..size {
                let (batch, after) = mixed(number, &model);
                version += u64::from(after.is_some());
                commits.push((store.submit(batch).unwrap(), after.is_some().then_some(version)));
                model = after.unwrap_or(model.clone());
                if number % 25 == 24 {
                    version += 1;
                    let look = store.submit_with(|tx| {
                        let table = tx.table(&ROWS)?;
                        let rows = table.iter()?;
                        rows.map(|row| row.map(|(key, value)| (key, value.to_vec()))).collect()
                    });
                    seen.push((look.unwrap(), model.clone()));
                }
            }
            (commits, seen)
        });
        for (commit, expected) in commits {
            match (commit.wait(), expected) {
                (Ok(version), Some(expected)) => assert_eq!(version, expected),
                (Err(Error::TypeMismatch(_)), None) => {}
                (answer, expected) => panic!("{answer:?}, not {expected:?}"),
            }
        }
        for (look, expected) in seen {
            let found: Model = look.wait()?;
            assert!(found == expected, "a closure sees what came before it");
        }
        assert_eq!(store.snapshot().version(), version);
        assert!(rows(&store)? == model);
        store.check()?;
    }
    assert!(store.stats().group_requests_max >= 400, "they were one group");
    drop(store);
    let killed = Options::new().open(dir.path())?;
    assert!(rows(&killed)? == model, "as the log has it");
    assert_eq!(killed.snapshot().version(), version);
    killed.check()?;
    Ok(())
}

#[test]
fn a_batch_waits_for_others_within_the_commit_delay() -> Result<()> {
    let delay = Duration::from_secs(3);
    let (_dir, store) = opened(Options::new().commit_delay(delay));
    let first = store.submit(batch(1))?;
    // The first is taken out of the queue, and its group waits.
    until(|| store.stats().queue_depth == 0);
    let second = store.submit(batch(2))?;
    first.wait()?;
    second.wait()?;
    assert_eq!(store.stats().group_requests_max, 2, "the delay was not kept");
    Ok(())
}

/// A checkpoint writes a page for each of the rows, the log the rows alone: so it is the log that
/// takes them, though in memory they are small.
#[test]
fn a_long_group_of_scattered_changes_goes_to_the_log() {
    let (_dir, store) = opened(Options::new().page_bytes(4096).log_segment_bytes(4 << 20));
    store.write(|tx| tx.table(&ROWS)?.extend((0..20_000).map(|key| (key, &[0; 300][..])))).unwrap();
    store.checkpoint().unwrap();
    let before = store.stats();
    store
        .write(|tx| {
            let mut rows = tx.table(&ROWS)?;
            // One of each leaf.
            (0..20_000).step_by(13).try_for_each(|key| rows.insert(key, &[1; 300]).map(drop))
        })
        .unwrap();
    let after = store.stats();
    let written = after.user_bytes_written - before.user_bytes_written;
    assert!(written > 1 << 18, "as long as a group must be to go to the page file: {written}");
    assert_eq!(after.page_bytes_written, before.page_bytes_written);
    assert_eq!(after.checkpoints, before.checkpoints);
}
