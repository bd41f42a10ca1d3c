//! What fails leaves no trace, and takes nobody with it.

use recto::{
    Batch, Commit, Durability, Error, Limit, Options, Result, Store, Table,
    simulation::{Failure, Fault, SimDisk},
};
use std::{
    sync::{Arc, Barrier, mpsc},
    thread,
    time::{Duration, Instant},
};

const ROWS: Table<u64, &[u8]> = Table::new("rows");
const OTHER: Table<&str, u64> = Table::new("other");
const GONE: Table<u64, u64> = Table::new("gone");
/// Only a test that fails waits for so long.
const PATIENCE: Duration = Duration::from_secs(60);

fn opened() -> (tempfile::TempDir, Store) {
    let dir = tempfile::tempdir().unwrap();
    let options = Options::new().dirty_bytes(256 << 10).log_segment_bytes(64 << 10);
    let store = options.durability(Durability::None).open(dir.path()).unwrap();
    (dir, store)
}

/// A version, the tables' names, the rows, the other entries.
type Contents = (u64, Vec<String>, Vec<(u64, Vec<u8>)>, Vec<(String, u64)>);

/// Everything that the store shows, in one value.
fn contents(store: &Store) -> Result<Contents> {
    let snap = store.snapshot();
    let rows = snap.table(&ROWS)?;
    let rows = rows.iter()?.map(|entry| entry.map(|(key, value)| (key, value.to_vec())));
    let other = snap.table(&OTHER)?;
    let other = other.iter()?.map(|entry| entry.map(|(key, value)| (key.to_owned(), value)));
    Ok((
        snap.version(),
        snap.tables()?,
        rows.collect::<Result<_>>()?,
        other.collect::<Result<_>>()?,
    ))
}

/// Everything a transaction can do, many times over.
fn change_everything(tx: &mut recto::WriteTx<'_>) -> Result<()> {
    let mut rows = tx.table(&ROWS)?;
    for key in 0..1000 {
        rows.insert(key * 3, &vec![7; (key % 700) as usize * 8])?;
    }
    rows.remove_range(100..200)?;
    rows.retain(|key, _| key % 2 == 0)?;
    rows.pop_first()?;
    rows.update(5, |_| Some(vec![1; 20_000]))?;
    tx.table(&OTHER)?.clear()?;
    tx.table(&GONE)?.insert(1, 1)?;
    tx.rename_table("other", "another")?;
    tx.drop_table("rows").map(drop)
}

fn filled() -> Result<(tempfile::TempDir, Store)> {
    let (dir, store) = opened();
    store.write(|tx| {
        let mut rows = tx.table(&ROWS)?;
        for key in 0..500 {
            rows.insert(key, &vec![3; (key % 20) as usize * 300])?;
        }
        tx.table(&OTHER)?.insert("one", 1)?;
        Ok(())
    })?;
    Ok((dir, store))
}

#[test]
fn an_error_leaves_no_trace() -> Result<()> {
    let (dir, store) = filled()?;
    let before = contents(&store)?;
    for _ in 0..20 {
        let refused = store.write(|tx| change_everything(tx).and(Err::<(), _>(Error::Conflict)));
        assert!(matches!(refused, Err(Error::Conflict)));
        assert!(contents(&store)? == before, "an undone transaction left something");
    }
    store.check()?;
    store.checkpoint()?;
    // None of the pages that were made is lost: the file has not grown for 20 times the data.
    let stats = store.stats();
    assert!(stats.file_pages < 2500, "{} pages of file", stats.file_pages);
    drop(store);
    let again = Store::open(dir.path())?;
    assert!(contents(&again)? == before, "it came back with the log");
    again.check()?;
    Ok(())
}

#[test]
fn a_panic_leaves_no_trace_and_tells_its_message() -> Result<()> {
    let (_dir, store) = filled()?;
    let before = contents(&store)?;
    let number = 17;
    let refused: Result<()> = store.write(|tx| {
        change_everything(tx)?;
        panic!("a message with number {number}")
    });
    let Err(Error::Panicked { message }) = refused else { panic!("{refused:?}") };
    assert_eq!(&*message, "a message with number 17");
    assert!(contents(&store)? == before, "a transaction that panicked left something");
    store.write(|tx| tx.table(&OTHER)?.insert("two", 2))?;
    assert_eq!(store.snapshot().version(), before.0 + 1);
    store.check()?;
    Ok(())
}

#[derive(Debug, PartialEq)]
enum OwnError {
    Store(String),
    Mine(u32),
}

impl From<Error> for OwnError {
    fn from(error: Error) -> OwnError {
        OwnError::Store(error.to_string())
    }
}

#[test]
fn an_error_of_the_callers_own_type_comes_back_as_it_was() -> Result<()> {
    let (_dir, store) = filled()?;
    let before = contents(&store)?;
    let refused = store.try_write(|tx| {
        tx.table(&OTHER)?.insert("two", 2)?;
        Err::<(), _>(OwnError::Mine(5))
    });
    assert_eq!(refused, Err(OwnError::Mine(5)));
    let refused: Result<(), OwnError> = store.try_write(|_| panic!("ouch"));
    assert_eq!(refused, Err(OwnError::Store("transaction panicked: ouch".into())));
    assert!(contents(&store)? == before);
    Ok(())
}

/// An error of one table call that the closure swallows: it decides, and nothing is half done.
#[test]
fn a_refused_entry_changes_nothing_even_if_the_closure_goes_on() -> Result<()> {
    let (_dir, store) = filled()?;
    store.write(|tx| {
        let mut other = tx.table(&OTHER)?;
        let long = "k".repeat(100_000);
        let refused = other.insert(&long, 1);
        assert!(
            matches!(refused, Err(Error::TooLarge { what: Limit::Key, len: 100_000, max: 65_536 })),
            "{refused:?}"
        );
        other.insert("two", 2)
    })?;
    assert_eq!(store.snapshot().table(&OTHER)?.len()?, 2);
    store.check()?;
    Ok(())
}

/// Fifty closures in one group, three of which fail: 47 versions, and every one of them whole.
#[test]
fn the_group_of_one_that_fails_commits() -> Result<()> {
    let (_dir, store) = filled()?;
    let (release, held) = mpsc::channel::<()>();
    let holder = store.submit_with(move |_| Ok(held.recv_timeout(PATIENCE).is_ok()))?;
    let commits: Vec<Commit<u64>> = (0..50)
        .map(|number: u64| {
            store.submit_with(move |tx| {
                let mut rows = tx.table(&ROWS)?;
                rows.insert(10_000 + number, &number.to_be_bytes())?;
                rows.insert(20_000 + number, &number.to_be_bytes())?;
                match number {
                    13 => panic!("unlucky"),
                    27 => Err(Error::Conflict),
                    31 => change_everything(tx).and(Err(Error::Closed)),
                    _ => Ok(number),
                }
            })
        })
        .collect::<Result<_>>()?;
    let began = Instant::now();
    while store.stats().queue_depth < 50 {
        assert!(began.elapsed() < PATIENCE);
        thread::yield_now();
    }
    let before = store.stats();
    release.send(()).unwrap();
    assert!(holder.wait()?);
    for (number, commit) in (0..).zip(commits) {
        match (number, commit.wait()) {
            (13, Err(Error::Panicked { .. }))
            | (27, Err(Error::Conflict))
            | (31, Err(Error::Closed)) => {}
            (_, Ok(answer)) if answer == number => {}
            (_, other) => panic!("closure {number} answered {other:?}"),
        }
    }
    let after = store.stats();
    assert!(after.group_requests_max >= 50, "they were one group");
    assert_eq!((after.commits - before.commits, after.failures - before.failures), (48, 3));
    let snap = store.snapshot();
    assert_eq!(snap.version(), 1 + 48, "failures take no version");
    let rows = snap.table(&ROWS)?;
    for number in 0..50 {
        let is_there = ![13, 27, 31].contains(&number);
        for key in [10_000 + number, 20_000 + number] {
            assert_eq!(rows.contains(key)?, is_there, "row {key}");
        }
    }
    assert_eq!(snap.tables()?, ["other", "rows"]);
    store.check()?;
    Ok(())
}

#[test]
fn a_batch_with_a_bad_entry_is_refused_whole() -> Result<()> {
    let (_dir, store) = filled()?;
    let before = contents(&store)?;
    let mut batch = Batch::new();
    batch.insert(&OTHER, "fine", 1).insert(&OTHER, &"k".repeat(65_537), 1).remove(&ROWS, 3);
    let refused = store.submit(batch).map(drop);
    assert!(
        matches!(refused, Err(Error::TooLarge { what: Limit::Key, len: 65_537, max: 65_536 })),
        "{refused:?}"
    );
    // A table of other types shows only when the writer gets there.
    let mistyped: Table<u64, u64> = Table::new("other");
    let mut batch = Batch::new();
    batch.insert(&ROWS, 9000, b"x").insert(&mistyped, 1, 1);
    let refused = store.submit(batch)?.wait();
    assert!(matches!(refused, Err(Error::TypeMismatch(_))), "{refused:?}");
    assert!(contents(&store)? == before, "a refused batch left something");
    store.check()?;
    Ok(())
}

/// A transaction too large for the log, whose pages were written early, and that then fails.
#[test]
fn a_large_transaction_that_fails_gives_its_room_back() -> Result<()> {
    let (dir, store) = filled()?;
    let before = contents(&store)?;
    let value = [9; 200];
    let mut file_pages = Vec::new();
    for round in 0..6_u64 {
        let refused: Result<()> = store.write(|tx| {
            let mut rows = tx.table(&ROWS)?;
            if round % 2 == 0 {
                rows.extend((0..20_000).map(|key| (key * 7919 % 100_003, &value[..])))?;
            } else {
                for key in 0..8_000 {
                    rows.insert(key * 7919 % 100_003, &value)?;
                }
            }
            if round % 3 == 0 { panic!("at the end") } else { Err(Error::Conflict) }
        });
        assert!(matches!(refused, Err(Error::Conflict | Error::Panicked { .. })), "{refused:?}");
        let found = contents(&store)?;
        assert_eq!(found.0, before.0 + round, "a failure took a version");
        assert!(found.2 == before.2, "round {round} left something");
        store.check()?;
        store.write(|tx| tx.table(&OTHER)?.insert("one", 1))?;
        store.checkpoint()?;
        file_pages.push(store.stats().file_pages);
    }
    println!("pages of file after each round: {file_pages:?}");
    assert!(file_pages[5] <= file_pages[1] * 3 / 2, "the file grows: {file_pages:?}");
    drop(store);
    let again = Store::open(dir.path())?;
    assert_eq!(contents(&again)?.2, before.2);
    again.check()?;
    Ok(())
}

/// An error that carries what its transaction read.
#[derive(Debug)]
enum Told {
    Read(Option<u64>),
    Store(#[expect(dead_code, reason = "for whoever reads a failure")] Error),
}

impl From<Error> for Told {
    fn from(error: Error) -> Told {
        Told::Store(error)
    }
}

/// Of other types than the table that the group makes.
const NEW: Table<u64, u64> = Table::new("new");
const NEW_OTHERWISE: Table<u64, &str> = Table::new("new");

/// Three whose errors depend on what a group did that is not decided yet: each gives its answer,
/// and whether that tells of the group.
fn spy(store: &Store, way: usize) -> (String, bool) {
    match way {
        0 => {
            let told =
                store.try_write(|tx| Err::<(), Told>(Told::Read(tx.table(&OTHER)?.get("ada")?)));
            let tells = matches!(told, Err(Told::Read(Some(2))));
            (format!("{told:?}"), tells)
        }
        1 => {
            let mut tx = store.begin();
            let told = tx.table(&OTHER).and_then(|mut other| {
                assert_eq!(other.get("ada")?, Some(1), "seen before it was decided");
                other.insert("bob", 1)
            });
            let told = told.and_then(|_| tx.commit());
            let tells = matches!(told, Err(Error::Conflict));
            (format!("{told:?}"), tells)
        }
        _ => {
            let mut batch = Batch::new();
            batch.insert(&NEW_OTHERWISE, 1, "one");
            let told = store.submit(batch).and_then(Commit::wait);
            let tells = matches!(told, Err(Error::TypeMismatch(_)));
            (format!("{told:?}"), tells)
        }
    }
}

/// What the spies are after.
fn secret(tx: &mut recto::WriteTx<'_>) -> Result<()> {
    tx.table(&OTHER)?.insert("ada", 2)?;
    tx.table(&NEW)?.insert(1, 1).map(drop)
}

#[test]
fn a_failed_group_tells_nobody_what_was_in_it() -> Result<()> {
    for way in 0..3 {
        let disk = SimDisk::new();
        let store = Options::new().open_simulated(&disk)?;
        store.write(|tx| tx.table(&OTHER)?.insert("ada", 1))?;
        let gate = Barrier::new(2);
        thread::scope(|scope| {
            // One group: held open until the other is queued behind its first request.
            let first = scope.spawn(|| {
                store.write(|tx| {
                    gate.wait();
                    gate.wait();
                    secret(tx)
                })
            });
            gate.wait();
            let spying = scope.spawn(|| spy(&store, way));
            while store.stats().queue_depth < 1 {
                thread::yield_now();
            }
            disk.fail(Fault { failure: Failure::Io, nth: 0, sticky: true });
            gate.wait();
            assert!(first.join().unwrap().is_err());
            let (told, tells) = spying.join().unwrap();
            assert!(!tells, "heard of what was never: {told}");
        });
        disk.heal();
        assert_eq!(store.get(&OTHER, "ada")?, Some(1));
    }
    Ok(())
}

/// The same behind a group that is logged and waits for its sync, which fails.
#[test]
fn a_group_that_is_not_synced_tells_nobody_what_is_in_it() -> Result<()> {
    for way in 0..3 {
        let disk = SimDisk::new();
        let store = Options::new().open_simulated(&disk)?;
        store.write(|tx| tx.table(&OTHER)?.insert("ada", 1))?;
        // Long enough for the others to be applied meanwhile. If it is not, they are refused.
        disk.pause_syncs(Duration::from_millis(200));
        disk.fail(Fault { failure: Failure::Sync, nth: 0, sticky: true });
        let commits = store.stats().commits;
        let gate = Arc::new(Barrier::new(2));
        let held = Arc::clone(&gate);
        let first = store.submit_with(move |tx| {
            held.wait();
            held.wait();
            secret(tx)
        })?;
        gate.wait();
        // A group of one request is synced by the writer itself, which applies nothing meanwhile.
        let second = store.submit_with(|tx| tx.table(&OTHER)?.insert("alan", 1))?;
        gate.wait();
        while store.stats().commits == commits {
            thread::yield_now();
        }
        let (told, tells) = spy(&store, way);
        assert!(first.wait().is_err() && second.wait().is_err(), "the sync failed");
        assert!(!tells, "heard of what was never: {told}");
        assert_eq!(store.get(&OTHER, "ada")?, Some(1));
    }
    Ok(())
}

#[test]
fn each_request_that_fails_is_counted_once() {
    let disk = SimDisk::new();
    let store = Options::new().page_bytes(4096).open_simulated(&disk).unwrap();
    store.write(|tx| tx.table(&OTHER)?.insert("one", 1)).unwrap();
    let (entered, gate) = (Arc::new(Barrier::new(2)), Arc::new(Barrier::new(2)));
    let (theirs, held) = (Arc::clone(&entered), Arc::clone(&gate));
    let first = store.submit_with(move |_| {
        theirs.wait();
        held.wait();
        Ok(())
    });
    entered.wait();
    let second = store.submit_with(|_| Err::<(), _>(Error::Conflict)).unwrap();
    let mut batch = Batch::new();
    batch.insert(&OTHER, "two", 2);
    let third = store.submit(batch).unwrap();
    disk.fail(Fault { failure: Failure::Io, nth: 0, sticky: true });
    gate.wait();
    assert!(first.unwrap().durable().wait().is_err());
    assert!(second.durable().wait().is_err());
    assert!(third.wait().is_err());
    assert_eq!(store.stats().failures, 3);
}
