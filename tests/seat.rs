//! A caller that waits for its commit, and finds the writer with nothing to do, does the work
//! itself. What that may not change: the order of its own requests, what a transaction may call,
//! and what is done when a snapshot goes.

use recto::{Batch, Durability, Error, Options, Result, Store, Table};
use std::{
    cell::RefCell,
    sync::mpsc,
    thread,
    time::{Duration, Instant},
};

const ROWS: Table<u64, u64> = Table::new("rows");
/// Only a test that fails waits for so long.
const PATIENCE: Duration = Duration::from_secs(60);

fn opened(durability: Durability) -> (tempfile::TempDir, Store) {
    let dir = tempfile::tempdir().unwrap();
    let store = Options::new().durability(durability).open(dir.path()).unwrap();
    (dir, store)
}

/// Waits until `is_so`; a test that waits in vain fails.
fn until(what: &str, is_so: impl Fn() -> bool) {
    let began = Instant::now();
    while !is_so() {
        assert!(began.elapsed() < PATIENCE, "waited in vain: {what}");
        thread::yield_now();
    }
}

fn count(store: &Store, key: u64) -> Result<thread::ThreadId> {
    store.write(|tx| {
        let mut rows = tx.table(&ROWS)?;
        let before = rows.get(key)?.unwrap_or_default();
        rows.insert(key, before + 1)?;
        Ok(thread::current().id())
    })
}

#[test]
fn a_lone_write_is_served_on_its_callers_thread() -> Result<()> {
    for durability in [Durability::Sync, Durability::None] {
        let (_dir, store) = opened(durability);
        let here = thread::current().id();
        until("led", || count(&store, 1).unwrap() == here);
        let counted = store.get(&ROWS, 1)?.unwrap();
        assert_eq!(store.snapshot().version(), counted, "{durability:?}");
        if durability == Durability::Sync {
            assert_eq!(store.stats().durable_version, counted);
        }
        store.check()?;
    }
    Ok(())
}

#[test]
fn a_write_comes_behind_what_its_thread_has_submitted() -> Result<()> {
    let (_dir, store) = opened(Durability::None);
    for round in 0..2000 {
        let mut batch = Batch::new();
        batch.insert(&ROWS, 1, round);
        let submitted = store.submit(batch)?;
        let seen = store.write(|tx| tx.table(&ROWS)?.get(1))?;
        assert_eq!(seen, Some(round));
        submitted.wait()?;
    }
    Ok(())
}

#[test]
fn many_who_write_lose_nothing() -> Result<()> {
    const THREADS: u64 = 6;
    const EACH: u64 = 400;
    for durability in [Durability::EveryCommits(64), Durability::None] {
        let (_dir, store) = opened(durability);
        thread::scope(|scope| {
            for _ in 0..THREADS {
                scope.spawn(|| {
                    for _ in 0..EACH {
                        count(&store, 1).unwrap();
                    }
                });
            }
        });
        assert_eq!(store.get(&ROWS, 1)?, Some(THREADS * EACH));
        assert_eq!(store.snapshot().version(), THREADS * EACH);
        assert_eq!(store.close()?.version, THREADS * EACH);
    }
    Ok(())
}

#[test]
fn a_transaction_on_its_callers_thread_may_not_wait_for_its_own_store() -> Result<()> {
    let ((_dir, store), (_other_dir, other)) = (opened(Durability::None), opened(Durability::None));
    let here = thread::current().id();
    until("led", || count(&store, 1).unwrap() == here);
    until("led", || count(&other, 1).unwrap() == here);
    let is_reentrant = |result: Result<()>| matches!(result, Err(Error::Reentrant));
    store.write(|_| {
        assert_eq!(thread::current().id(), here);
        assert!(is_reentrant(store.write(|_| Ok(()))));
        assert!(is_reentrant(store.sync()));
        assert!(is_reentrant(store.close().map(drop)));
        assert!(is_reentrant(store.submit(Batch::new())?.wait().map(drop)));
        // Through another store and back.
        other.write(|tx| {
            assert!(is_reentrant(store.write(|_| Ok(()))));
            tx.table(&ROWS)?.insert(2, 2)
        })?;
        assert!(is_reentrant(store.write(|_| Ok(()))), "still inside of the outer one");
        Ok(())
    })?;
    count(&store, 1)?;
    assert_eq!(other.get(&ROWS, 2)?, Some(2));
    Ok(())
}

#[test]
fn a_panic_on_its_callers_thread_undoes_the_transaction_alone() -> Result<()> {
    let (_dir, store) = opened(Durability::None);
    let here = thread::current().id();
    until("led", || count(&store, 1).unwrap() == here);
    let before = store.get(&ROWS, 1)?;
    let panicked = store.write::<()>(|tx| {
        tx.table(&ROWS)?.insert(1, 0)?;
        panic!("a bug of the user's");
    });
    assert!(matches!(panicked, Err(Error::Panicked { .. })), "{panicked:?}");
    assert_eq!(store.get(&ROWS, 1)?, before);
    // The thread has left: it may write, and wait, as ever.
    count(&store, 1)?;
    store.sync()?;
    store.close().map(drop)
}

#[test]
fn a_snapshot_that_goes_after_a_led_write_is_heard_of() {
    let (_dir, store) = opened(Durability::None);
    let here = thread::current().id();
    for _ in 0..20 {
        let snapshot = store.snapshot();
        until("led", || count(&store, 1).unwrap() == here);
        until("counted", || store.stats().snapshots > 0);
        drop(snapshot);
        // Nobody asks for anything: the writer thread is woken by the drop, or never.
        until("heard of", || store.stats().snapshots == 0);
    }
}

#[test]
fn a_closure_that_holds_the_seat_holds_up_other_writers_and_nobody_else() -> Result<()> {
    let (_dir, store) = opened(Durability::None);
    count(&store, 1)?;
    let (release, held) = mpsc::channel::<()>();
    let (entered, inside) = mpsc::channel();
    thread::scope(|scope| {
        let holding = {
            let store = &store;
            scope.spawn(move || {
                store.write(move |tx| {
                    entered.send(()).unwrap();
                    held.recv_timeout(PATIENCE).expect("released");
                    tx.table(&ROWS)?.insert(2, 1)
                })
            })
        };
        inside.recv_timeout(PATIENCE).unwrap();
        let waiting = scope.spawn(|| count(&store, 2));
        assert_eq!(store.get(&ROWS, 1).unwrap(), Some(1));
        assert_eq!(store.get(&ROWS, 2).unwrap(), None);
        release.send(()).unwrap();
        holding.join().unwrap().unwrap();
        waiting.join().unwrap().unwrap();
    });
    assert_eq!(store.get(&ROWS, 2)?, Some(2));
    Ok(())
}

thread_local! {
    /// Writes when its thread ends.
    static FLUSHED: RefCell<Option<Flush>> = const { RefCell::new(None) };
}

struct Flush(Store);

impl Drop for Flush {
    fn drop(&mut self) {
        count(&self.0, 7).unwrap();
    }
}

#[test]
fn a_thread_that_is_torn_down_still_writes() -> Result<()> {
    let (_dir, store) = opened(Durability::None);
    let theirs = store.clone();
    thread::spawn(move || {
        // Before the store's own variables of this thread, which therefore go first.
        FLUSHED.with_borrow_mut(|flushed| *flushed = Some(Flush(theirs.clone())));
        count(&theirs, 7).unwrap();
    })
    .join()
    .expect("it ends");
    assert_eq!(store.get(&ROWS, 7)?, Some(2));
    Ok(())
}

#[test]
fn every_n_commits_bounds_what_led_commits_can_lose() {
    let (_dir, store) = opened(Durability::EveryCommits(20));
    thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| {
                for _ in 0..400 {
                    count(&store, 1).unwrap();
                    // Seen first: what is durable only grows.
                    let seen = store.snapshot().version();
                    let stats = store.stats();
                    assert!(seen <= stats.durable_version + 20, "{seen} is seen: {stats:?}");
                }
            });
        }
    });
    assert!(store.stats().log_syncs >= 59, "{:?}", store.stats().log_syncs);
}
