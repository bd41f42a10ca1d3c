//! Closing: what was accepted is committed, what comes later is told so, nobody hangs or panics.

use recto::{Batch, Commit, Durability, Error, Options, Result, Store, Table, TrySubmitError};
use std::{
    env,
    process::Command,
    sync::{Barrier, mpsc},
    thread,
    time::{Duration, Instant},
};

const ROWS: Table<u64, u64> = Table::new("rows");
const DIRECTORY: &str = "RECTO_TEST_CLOSE_DIRECTORY";
/// Only a test that fails waits for so long.
const PATIENCE: Duration = Duration::from_secs(60);

fn batch(key: u64) -> Batch {
    let mut batch = Batch::new();
    batch.insert(&ROWS, key, key);
    batch
}

#[test]
fn everything_answers_closed_after_close() -> Result<()> {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path())?;
    let other = store.clone();
    store.submit(batch(1))?.wait()?;
    let mut reader = store.reader();
    let closed = store.close()?;
    assert_eq!(closed.version, 1);
    // Again, by another handle, and by many at once.
    assert_eq!(other.close()?.version, 1);
    thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| assert_eq!(other.close().unwrap().version, 1));
        }
    });
    let refusals = [
        other.write(|tx| tx.table(&ROWS)?.insert(2, 2).map(drop)),
        other.submit(batch(2)).map(drop),
        other.submit_with(|_| Ok(())).map(drop),
        other.sync(),
        other.checkpoint(),
        other.check().map(drop),
        other.get(&ROWS, 1).map(drop),
        other.tables().map(drop),
        other.rename_table("rows", "lines").map(drop),
        other.drop_table("rows").map(drop),
        other.snapshot().table(&ROWS).map(drop),
        other.read(|view| view.table(&ROWS).map(drop)),
        other.reader().snapshot().table(&ROWS).map(drop),
        reader.snapshot().table(&ROWS).map(drop),
    ];
    for (call, refusal) in refusals.iter().enumerate() {
        assert!(matches!(refusal, Err(Error::Closed)), "call {call}: {refusal:?}");
    }
    let Err(TrySubmitError::Closed(back)) = other.try_submit(batch(7)) else {
        panic!("a closed store took a batch")
    };
    assert_eq!(back.len(), 1);
    let Err(TrySubmitError::Closed(_)) = other.submit_timeout(back, PATIENCE) else {
        panic!("a closed store took a batch")
    };
    assert_eq!(other.stats().queue_depth, 0);
    drop((store, other, reader));
    assert_eq!(Store::open(dir.path())?.get(&ROWS, 1)?, Some(1));
    Ok(())
}

#[test]
fn dropping_the_last_handle_commits_what_was_accepted() -> Result<()> {
    for durability in [Durability::Sync, Durability::None] {
        let dir = tempfile::tempdir().unwrap();
        let store = Options::new().durability(durability).open(dir.path())?;
        let commits: Vec<Commit> =
            (0..500).map(|key| store.submit(batch(key))).collect::<Result<_>>()?;
        drop(store);
        for (version, commit) in (1..).zip(commits) {
            assert_eq!(commit.durable().wait()?, version);
            assert_eq!(commit.wait()?, version);
        }
        let again = Store::open(dir.path())?;
        assert_eq!(again.snapshot().table(&ROWS)?.len()?, 500);
        assert_eq!(again.snapshot().version(), 500);
    }
    Ok(())
}

/// Threads submit while the store is closed: each request is refused, or accepted and committed.
#[test]
fn close_against_submitters_answers_everyone_once() -> Result<()> {
    for round in 0..20 {
        let dir = tempfile::tempdir().unwrap();
        let options = Options::new().queue_capacity(4).durability(Durability::None);
        let store = options.open(dir.path())?;
        let start = Barrier::new(9);
        let accepted: u64 = thread::scope(|scope| {
            let submitters: Vec<_> = (0..8)
                .map(|thread| {
                    let (store, start) = (store.clone(), &start);
                    scope.spawn(move || {
                        start.wait();
                        submit_until_closed(&store, thread)
                    })
                })
                .collect();
            start.wait();
            thread::sleep(Duration::from_micros(round * 300));
            store.close().unwrap();
            submitters.into_iter().map(|one| one.join().unwrap()).sum()
        });
        drop(store);
        let again = Store::open(dir.path())?;
        assert_eq!(again.snapshot().table(&ROWS)?.len()?, accepted, "round {round}");
        assert_eq!(again.snapshot().version(), accepted, "round {round}");
    }
    Ok(())
}

/// How many of a thread's requests were accepted; each of them answered Ok.
fn submit_until_closed(store: &Store, thread: u64) -> u64 {
    let mut accepted = 0;
    loop {
        let key = thread * 1_000_000 + accepted;
        let answer = match accepted % 3 {
            0 => store.submit(batch(key)).map(|commit| commit.wait().unwrap()),
            1 => store.write(|tx| tx.table(&ROWS)?.insert(key, key).map(u64::from)),
            _ => match store.try_submit(batch(key)) {
                Ok(commit) => Ok(commit.wait().unwrap()),
                Err(TrySubmitError::Full(_)) => continue,
                Err(error) => Err(error.into()),
            },
        };
        match answer {
            Ok(_) => accepted += 1,
            Err(Error::Closed) => return accepted,
            Err(error) => panic!("{error}"),
        }
    }
}

#[test]
fn live_snapshots_read_on_and_keep_the_lock() -> Result<()> {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path())?;
    store.submit(batch(1))?.wait()?;
    let old = store.snapshot();
    store.submit(batch(2))?.wait()?;
    let new = store.snapshot();
    let closed = store.close()?;
    assert_eq!((closed.version, closed.snapshots), (2, 2));
    let quick = || Options::new().lock_timeout(Duration::from_millis(50));
    for _ in 0..2 {
        match quick().open(dir.path()) {
            Err(Error::Locked { pid }) => assert_eq!(pid, Some(std::process::id())),
            other => panic!("opened under a live snapshot: {other:?}"),
        }
    }
    assert_eq!(old.table(&ROWS)?.len()?, 1);
    assert_eq!(new.table(&ROWS)?.len()?, 2);
    drop(new);
    assert!(matches!(quick().open(dir.path()), Err(Error::Locked { .. })));
    // One who waits long enough gets it when the last snapshot goes, the closed handle or not.
    let path = dir.path().to_owned();
    let waiting = thread::spawn(move || Options::new().lock_timeout(PATIENCE).open(path));
    thread::sleep(Duration::from_millis(30));
    assert_eq!(old.table(&ROWS)?.get(1)?, Some(1));
    drop(old);
    let again = waiting.join().unwrap()?;
    assert_eq!(again.snapshot().table(&ROWS)?.len()?, 2);
    again.check()?;
    Ok(())
}

#[test]
fn a_close_that_takes_too_long_says_so_and_goes_on() -> Result<()> {
    let dir = tempfile::tempdir().unwrap();
    let patience = Duration::from_millis(100);
    let store = Options::new().close_timeout(patience).open(dir.path())?;
    let (release, held) = mpsc::channel::<()>();
    let holder = store.submit_with(move |tx| {
        tx.table(&ROWS)?.insert(1, 1)?;
        Ok(held.recv_timeout(PATIENCE).is_ok())
    })?;
    let began = Instant::now();
    let refused = store.close();
    let waited = began.elapsed();
    assert!(matches!(refused, Err(Error::Full { .. })), "{refused:?}");
    assert!(waited >= patience && waited < PATIENCE, "waited for {waited:?}");
    assert!(matches!(store.submit(batch(2)).map(drop), Err(Error::Closed)));
    release.send(()).unwrap();
    assert!(holder.wait()?, "what was accepted is committed");
    let began = Instant::now();
    while store.close().is_err() {
        assert!(began.elapsed() < PATIENCE);
    }
    assert_eq!(store.close()?.version, 1);
    assert_eq!(Store::open(dir.path())?.get(&ROWS, 1)?, Some(1));
    Ok(())
}

/// With requests in the queue and nothing synced.
#[test]
fn a_close_with_much_to_flush_flushes_it_within_its_time() -> Result<()> {
    const COMMITS: u64 = 20_000;
    let dir = tempfile::tempdir().unwrap();
    // The default `close_timeout`: a close that takes longer answers `Full`.
    let options = Options::new().durability(Durability::None).queue_capacity(512);
    let store = options.open(dir.path())?;
    for key in 0..COMMITS {
        // Keys far from each other, so that many pages are dirty.
        drop(store.submit(batch(key.wrapping_mul(0x9E37_79B9_7F4A_7C15)))?);
    }
    let (depth, durable) = (store.stats().queue_depth, store.stats().durable_version);
    let began = Instant::now();
    let closed = store.close()?;
    println!("{depth} queued, {} not durable: {:?}", COMMITS - durable, began.elapsed());
    assert!(durable < COMMITS, "nothing was left to flush");
    assert_eq!(closed.version, COMMITS);
    assert_eq!(store.close()?.version, COMMITS);
    assert_eq!(store.stats().durable_version, COMMITS);
    drop(store);
    let again = Store::open(dir.path())?;
    assert_eq!(again.snapshot().table(&ROWS)?.len()?, COMMITS);
    again.check()?;
    Ok(())
}

#[test]
fn a_store_dropped_on_its_own_thread_closes() -> Result<()> {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path())?;
    let (last, there) = mpsc::channel::<Store>();
    let commit = store.submit_with(move |tx| {
        tx.table(&ROWS)?.insert(1, 1)?;
        // The last handle goes here, on the writer thread.
        drop(there.recv_timeout(PATIENCE).unwrap());
        Ok(())
    })?;
    last.send(store).unwrap();
    commit.wait()?;
    let again = Options::new().lock_timeout(PATIENCE).open(dir.path())?;
    assert_eq!(again.get(&ROWS, 1)?, Some(1));
    Ok(())
}

/// The whole process ends with work in the queue: what was answered as durable is there, the rest
/// is there up to some commit, and none behind it.
#[test]
fn a_process_that_exits_with_work_queued_leaves_a_prefix() -> Result<()> {
    for way in ["return", "exit", "drop", "close"] {
        let dir = tempfile::tempdir().unwrap();
        let output = Command::new(env::current_exe().unwrap())
            .args(["--exact", "child_that_ends_with_work_queued", "--nocapture"])
            .env(DIRECTORY, dir.path())
            .env("RECTO_TEST_CLOSE_WAY", way)
            .output()
            .unwrap();
        assert!(output.status.success(), "{way}: {output:?}");
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(!errors.contains("panicked"), "{way}: {errors}");
        let store = Store::open(dir.path())?;
        let version = store.snapshot().version();
        assert!(version >= 5, "{way}: version {version}, but 5 was answered as durable");
        if ["drop", "close"].contains(&way) {
            assert_eq!(version, 1005, "{way}");
        }
        let snap = store.snapshot();
        let rows = snap.table(&ROWS)?;
        assert!(rows.iter()?.map(|entry| entry.unwrap().0).eq(0..version), "{way}: no prefix");
        store.check()?;
    }
    Ok(())
}

#[test]
fn child_that_ends_with_work_queued() -> Result<()> {
    let Ok(dir) = env::var(DIRECTORY) else { return Ok(()) };
    let store = Store::open(dir)?;
    for key in 0..5 {
        store.submit(batch(key))?.wait()?;
    }
    for key in 5..1005 {
        drop(store.submit(batch(key))?);
    }
    match env::var("RECTO_TEST_CLOSE_WAY").unwrap().as_str() {
        "exit" => std::process::exit(0),
        "close" => store.close().map(drop),
        "return" => {
            std::mem::forget(store);
            Ok(())
        }
        _ => Ok(()),
    }
}
