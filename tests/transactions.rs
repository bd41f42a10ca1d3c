//! Optimistic transactions: what they read, what they write, and when they conflict.

#[path = "transactions/model.rs"]
mod model;

use recto::{Durability, Error, Options, Result, Store, Table, Transaction};
use std::{
    ops::Bound,
    sync::{
        Barrier,
        atomic::{AtomicBool, AtomicU64, Ordering::SeqCst},
    },
    thread,
};

const NUMBERS: Table<u64, u64> = Table::new("numbers");
const NAMES: Table<&str, u64> = Table::new("names");
const WORDS: Table<&str, &str> = Table::new("words");

fn in_memory() -> Store {
    Store::in_memory().unwrap()
}

/// A store whose table holds the even numbers below `2 * count`, each its own value.
fn even(count: u64) -> Store {
    let store = in_memory();
    store.write(|tx| tx.table(&NUMBERS)?.extend((0..count).map(|n| (2 * n, 2 * n)))).unwrap();
    store
}

fn put(store: &Store, key: u64, value: u64) {
    store.write(|tx| tx.table(&NUMBERS)?.insert(key, value)).unwrap();
}

fn cut(store: &Store, key: u64) {
    store.write(|tx| tx.table(&NUMBERS)?.remove(key)).unwrap();
}

/// Whether a transaction that does `read`, while another commits `meanwhile`, can commit a write
/// elsewhere.
fn commits(
    store: &Store,
    read: impl FnOnce(&mut Transaction) -> Result<()>,
    meanwhile: impl FnOnce(&Store),
) -> bool {
    let mut tx = store.begin();
    read(&mut tx).unwrap();
    tx.table(&NAMES).unwrap().insert("done", 1).unwrap();
    meanwhile(store);
    match tx.commit() {
        Ok(version) => {
            assert_eq!(store.snapshot().version(), version);
            true
        }
        Err(Error::Conflict) => false,
        Err(error) => panic!("{error}"),
    }
}

#[test]
fn a_transaction_sees_its_snapshot_and_its_own_writes_and_nobody_else_does() {
    let store = even(3);
    let mut tx = store.begin();
    put(&store, 5, 5);
    let mut numbers = tx.table(&NUMBERS).unwrap();
    assert_eq!(numbers.get(5).unwrap(), None);
    assert!(numbers.insert(3, 33).unwrap());
    assert!(!numbers.insert(4, 44).unwrap());
    assert!(!numbers.insert_if_absent(3, 0).unwrap());
    assert!(numbers.remove(0).unwrap());
    assert!(!numbers.remove(0).unwrap());
    assert!(!numbers.contains(0).unwrap());
    numbers.update(2, |old| old.map(|n| n + 20)).unwrap();
    assert_eq!(numbers.len().unwrap(), 3);
    assert_eq!(numbers.get_many([2, 0, 3, 5]).unwrap(), [Some(22), None, Some(33), None]);
    assert_eq!(numbers.first().unwrap(), Some((2, 22)));
    assert_eq!(numbers.last().unwrap(), Some((4, 44)));
    assert_eq!(numbers.remove_range(3..).unwrap(), 2);
    assert_eq!(numbers.pop_first().unwrap(), Some((2, 22)));
    assert!(numbers.is_empty().unwrap());
    assert_eq!(store.snapshot().table(&NUMBERS).unwrap().len().unwrap(), 4);
    drop(tx);
    assert_eq!(store.snapshot().version(), 2);
}

#[test]
fn a_commit_takes_one_version_and_one_that_wrote_nothing_takes_none() {
    let store = even(3);
    let mut tx = store.begin();
    assert_eq!(tx.table(&NUMBERS).unwrap().get(2).unwrap(), Some(2));
    assert!(!tx.table(&NAMES).unwrap().remove("nobody").unwrap());
    put(&store, 2, 9);
    assert_eq!(tx.commit().unwrap(), 1);
    assert_eq!(store.snapshot().version(), 2);
    assert_eq!(store.tables().unwrap(), ["numbers"]);
    let mut tx = store.begin();
    tx.table(&NAMES).unwrap().insert("ada", 1).unwrap();
    assert_eq!(tx.commit().unwrap(), 3);
    assert_eq!(store.get(&NAMES, "ada").unwrap(), Some(1));
}

#[test]
fn keys_conflict_if_they_changed_and_their_neighbours_never_do() {
    let get = |tx: &mut Transaction| tx.table(&NUMBERS)?.get(2).map(drop);
    let miss = |tx: &mut Transaction| tx.table(&NUMBERS)?.get(3).map(drop);
    assert!(!commits(&even(9), get, |store| put(store, 2, 7)));
    assert!(!commits(&even(9), get, |store| cut(store, 2)));
    assert!(!commits(&even(9), miss, |store| put(store, 3, 7)));
    assert!(commits(&even(9), get, |store| put(store, 3, 7)));
    assert!(commits(&even(9), miss, |store| put(store, 2, 7)));
    // Changed, and changed back.
    let there_and_back = |store: &Store| {
        cut(store, 2);
        put(store, 2, 2);
    };
    assert!(commits(&even(9), get, there_and_back));
    let many = |tx: &mut Transaction| tx.table(&NUMBERS)?.get_many([2, 3]).map(drop);
    assert!(!commits(&even(9), many, |store| put(store, 3, 7)));
    assert!(commits(&even(9), many, |store| put(store, 4, 7)));
}

#[test]
fn whether_a_key_is_there_is_all_that_some_answers_tell() {
    type Read = fn(&mut Transaction) -> Result<()>;
    let reads: [Read; 4] = [
        |tx| tx.table(&NUMBERS)?.contains(2).map(drop),
        |tx| tx.table(&NUMBERS)?.insert(2, 5).map(drop),
        |tx| tx.table(&NUMBERS)?.insert_if_absent(2, 5).map(drop),
        |tx| tx.table(&NUMBERS)?.remove(2).map(drop),
    ];
    for read in reads {
        assert!(commits(&even(9), read, |store| put(store, 2, 7)));
        assert!(!commits(&even(9), read, |store| cut(store, 2)));
        let mut without = even(9);
        cut(&without, 2);
        assert!(!commits(&without, read, |store| put(store, 2, 7)));
        without = even(9);
        cut(&without, 2);
        assert!(commits(&without, read, |store| put(store, 3, 7)));
    }
}

#[test]
fn ranges_conflict_as_far_as_they_were_walked_at_each_end() {
    let walk = |tx: &mut Transaction| {
        let numbers = tx.table(&NUMBERS)?;
        let mut range = numbers.range(10..=100)?;
        let front: Vec<_> = range.by_ref().take(3).map(|entry| entry.unwrap().0).collect();
        assert_eq!(front, [10, 12, 14]);
        assert_eq!(range.next_back().unwrap()?.0, 100);
        Ok(())
    };
    for inside in [10, 11, 13, 14, 100] {
        assert!(!commits(&even(999), walk, |store| put(store, inside, 7)), "{inside}");
    }
    for outside in [8, 9, 15, 16, 50, 98, 99, 101, 102] {
        assert!(commits(&even(999), walk, |store| put(store, outside, 7)), "{outside}");
    }
    let all = |tx: &mut Transaction| {
        tx.table(&NUMBERS)?.range(10..=100)?.for_each(drop);
        Ok(())
    };
    for inside in [10, 11, 55, 99, 100] {
        assert!(!commits(&even(999), all, |store| put(store, inside, 7)), "{inside}");
        assert!(commits(&even(999), all, |store| put(store, inside + 95, 7)));
    }
    let opened = |tx: &mut Transaction| tx.table(&NUMBERS)?.iter().map(drop);
    assert!(commits(&even(9), opened, |store| put(store, 2, 7)));
    // One that is never dropped counts as read to its ends.
    let leaked = |tx: &mut Transaction| tx.table(&NUMBERS)?.range(4..9).map(std::mem::forget);
    assert!(!commits(&even(9), leaked, |store| put(store, 5, 7)));
    assert!(commits(&even(9), leaked, |store| put(store, 9, 7)));
    let ends = (Bound::Included(9), Bound::Excluded(4));
    let backwards = |tx: &mut Transaction| tx.table(&NUMBERS)?.range(ends).map(std::mem::forget);
    assert!(commits(&even(9), backwards, |store| put(store, 5, 7)));
}

/// Of trees of many leaves, and with changes that move leaves about.
#[test]
fn a_range_conflicts_if_and_only_if_something_in_it_differs() {
    let store = even(20_000);
    let (mut seed, mut conflicts) = (42_u64, 0);
    let mut dice = |below: u64| {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (seed >> 33) % below
    };
    for round in 0..600 {
        let from = dice(40_000);
        let to = from + dice(if round % 2 == 0 { 200 } else { 20_000 });
        let before = store.snapshot();
        let walk = |tx: &mut Transaction| {
            tx.table(&NUMBERS)?.range(from..to)?.for_each(drop);
            Ok(())
        };
        let (at, many) = (dice(40_000), dice(300));
        let is_committed = commits(&store, walk, |store| {
            let change = store.write(|tx| {
                let mut numbers = tx.table(&NUMBERS)?;
                match round % 3 {
                    0 => numbers.remove_range(at..at + many).map(drop),
                    1 => numbers.extend((at..at + many).map(|n| (n, round))).map(drop),
                    _ => numbers.insert(at, round).map(drop),
                }
            });
            change.unwrap();
        });
        let entries = |snap: &recto::Snapshot| {
            let range = snap.table(&NUMBERS).unwrap().range(from..to).unwrap();
            range.map(Result::unwrap).collect::<Vec<_>>()
        };
        assert_eq!(is_committed, entries(&before) == entries(&store.snapshot()), "{from}..{to}");
        conflicts += u64::from(!is_committed);
    }
    assert!((50..550).contains(&conflicts), "{conflicts} conflicts");
}

#[test]
fn what_a_transaction_wrote_itself_hides_what_others_put_there() {
    let walk = |tx: &mut Transaction| {
        let mut numbers = tx.table(&NUMBERS)?;
        numbers.insert(4, 44)?;
        numbers.remove(8)?;
        let all: Vec<_> = numbers.iter()?.map(|entry| entry.unwrap().0).collect();
        assert_eq!(all, [0, 2, 4, 6, 10]);
        numbers.iter()?.rev().for_each(drop);
        Ok(())
    };
    assert!(commits(&even(6), walk, |store| put(store, 4, 7)));
    assert!(commits(&even(6), walk, |store| put(store, 8, 7)));
    assert!(!commits(&even(6), walk, |store| cut(store, 8)));
    assert!(!commits(&even(6), walk, |store| put(store, 6, 7)));
    assert!(!commits(&even(6), walk, |store| put(store, 9, 7)));
}

#[test]
fn the_first_the_last_and_the_length_conflict_when_they_change() {
    let first = |tx: &mut Transaction| tx.table(&NUMBERS)?.first().map(drop);
    let last = |tx: &mut Transaction| tx.table(&NUMBERS)?.last().map(drop);
    let len = |tx: &mut Transaction| tx.table(&NUMBERS)?.len().map(drop);
    let odd = |store: &Store| put(store, 5, 5);
    assert!(commits(&even(9), first, odd) && commits(&even(9), last, odd));
    assert!(!commits(&even(9), len, odd));
    assert!(!commits(&even(9), first, |store| cut(store, 0)));
    assert!(!commits(&even(9), last, |store| put(store, 99, 1)));
    let swapped = |store: &Store| {
        cut(store, 4);
        put(store, 5, 5);
    };
    assert!(commits(&even(9), len, swapped));
}

#[test]
fn a_table_that_is_not_there_reads_as_an_empty_one() {
    let miss = |tx: &mut Transaction| tx.table(&NUMBERS)?.get(1).map(drop);
    let all = |tx: &mut Transaction| tx.table(&NUMBERS)?.iter()?.next().transpose().map(drop);
    let len = |tx: &mut Transaction| tx.table(&NUMBERS)?.len().map(drop);
    assert!(commits(&in_memory(), miss, |store| put(store, 2, 2)));
    assert!(!commits(&in_memory(), miss, |store| put(store, 1, 1)));
    assert!(!commits(&in_memory(), all, |store| put(store, 2, 2)));
    assert!(!commits(&in_memory(), len, |store| put(store, 2, 2)));
    // Dropped, and made anew.
    let again = |store: &Store| {
        store.drop_table("numbers").unwrap();
        put(store, 2, 2);
    };
    let there = |tx: &mut Transaction| tx.table(&NUMBERS)?.get(2).map(drop);
    assert!(commits(&even(9), there, again));
    let gone = |store: &Store| assert!(store.drop_table("numbers").unwrap());
    assert!(!commits(&even(9), there, gone));
    assert!(commits(&even(9), miss, gone));
    let other: Table<u64, &str> = Table::new("numbers");
    let of_other_types = |store: &Store| {
        store.write(|tx| tx.table(&other)?.insert(7, "seven")).unwrap();
    };
    assert!(!commits(&in_memory(), miss, of_other_types));
    let mut tx = in_memory().begin();
    tx.table(&NUMBERS).unwrap();
    assert!(matches!(tx.table(&other), Err(Error::TypeMismatch(_))));
}

#[test]
fn writers_of_different_keys_of_one_leaf_never_conflict() {
    const THREADS: u64 = 8;
    const ROUNDS: u64 = 500;
    let store = in_memory();
    let filled = store.write(|tx| tx.table(&NUMBERS)?.extend((0..THREADS).map(|n| (n, 0))));
    filled.unwrap();
    let conflicts = AtomicU64::new(0);
    thread::scope(|scope| {
        for key in 0..THREADS {
            let (store, conflicts) = (&store, &conflicts);
            scope.spawn(move || {
                for round in 0..ROUNDS {
                    let mut tx = store.begin();
                    let mut numbers = tx.table(&NUMBERS).unwrap();
                    assert_eq!(numbers.get(key).unwrap(), Some(round));
                    numbers.insert(key, round + 1).unwrap();
                    match tx.commit() {
                        Ok(_) => {}
                        Err(Error::Conflict) => drop(conflicts.fetch_add(1, SeqCst)),
                        Err(error) => panic!("{error}"),
                    }
                }
            });
        }
    });
    println!("{} conflicts in {} commits", conflicts.load(SeqCst), THREADS * ROUNDS);
    assert_eq!(conflicts.load(SeqCst), 0);
    assert_eq!(store.snapshot().version(), 1 + THREADS * ROUNDS);
}

#[test]
fn no_increment_is_lost_between_transactions() {
    const THREADS: u64 = 8;
    const INCREMENTS: u64 = 250;
    let store = in_memory();
    let attempts = AtomicU64::new(0);
    thread::scope(|scope| {
        for _ in 0..THREADS {
            scope.spawn(|| {
                for _ in 0..INCREMENTS {
                    let increment = |tx: &mut Transaction| {
                        attempts.fetch_add(1, SeqCst);
                        tx.table(&NUMBERS)?.update(0, |old| Some(old.unwrap_or(0) + 1))
                    };
                    store.transact(increment).unwrap();
                }
            });
        }
    });
    println!("{} attempts for {} increments", attempts.load(SeqCst), THREADS * INCREMENTS);
    assert_eq!(store.get(&NUMBERS, 0).unwrap(), Some(THREADS * INCREMENTS));
    assert_eq!(store.snapshot().version(), THREADS * INCREMENTS);
}

/// Of two doctors on call at least one must stay; each looks at both and goes if it may.
#[test]
fn write_skew_between_transactions_cannot_leave_nobody_on_call() {
    const ROUNDS: u64 = 10_000;
    let store = in_memory();
    let (start, end) = (Barrier::new(2), Barrier::new(2));
    let (went, conflicts) = (AtomicU64::new(0), AtomicU64::new(0));
    let doctor = |name: &'static str, other: &'static str| {
        for round in 0..ROUNDS {
            if start.wait().is_leader() {
                store.write(|tx| tx.table(&NAMES)?.extend([("ada", 1), ("bob", 1)])).unwrap();
            }
            end.wait();
            let mut tx = store.begin();
            let mut on_call = tx.table(&NAMES).unwrap();
            let may_go = on_call.get(other).unwrap() == Some(1);
            if round % 2 == 0 {
                // Both have looked before either goes. In the other rounds as it comes.
                end.wait();
            }
            if may_go {
                on_call.insert(name, 0).unwrap();
                match tx.commit() {
                    Ok(_) => drop(went.fetch_add(1, SeqCst)),
                    Err(Error::Conflict) => drop(conflicts.fetch_add(1, SeqCst)),
                    Err(error) => panic!("{error}"),
                }
            }
            if end.wait().is_leader() {
                let snap = store.snapshot();
                let on_call = snap.table(&NAMES).unwrap();
                let left =
                    on_call.get("ada").unwrap().unwrap() + on_call.get("bob").unwrap().unwrap();
                assert!(left >= 1, "nobody is on call");
            }
        }
    };
    thread::scope(|scope| {
        scope.spawn(|| doctor("ada", "bob"));
        scope.spawn(|| doctor("bob", "ada"));
    });
    println!("{ROUNDS} rounds: {} went, {} conflicts", went.load(SeqCst), conflicts.load(SeqCst));
    assert_eq!(went.load(SeqCst), ROUNDS);
    assert!(conflicts.load(SeqCst) >= ROUNDS / 2, "two who met both went");
}

#[test]
fn a_closed_store_a_full_transaction_and_the_stores_own_thread_get_their_answers() {
    let store = even(3);
    let mut tx = store.begin();
    tx.table(&NUMBERS).unwrap().insert(1, 1).unwrap();
    let tx = std::sync::Mutex::new(Some(tx));
    store
        .write(|_| {
            let tx = tx.lock().unwrap().take().unwrap();
            assert!(matches!(tx.commit(), Err(Error::Reentrant)));
            let nested = store.transact(|tx| tx.table(&NUMBERS)?.insert(1, 1));
            assert!(matches!(nested, Err(Error::Reentrant)));
            Ok(())
        })
        .unwrap();
    let mut tx = store.begin();
    let mut numbers = tx.table(&NUMBERS).unwrap();
    assert_eq!(numbers.get(2).unwrap(), Some(2));
    numbers.insert(2, 3).unwrap();
    store.close().unwrap();
    assert_eq!(numbers.get(2).unwrap(), Some(3));
    assert!(matches!(tx.commit(), Err(Error::Closed)));
    let mut tx = store.begin();
    assert!(matches!(tx.table(&NUMBERS), Err(Error::Closed)));
    assert!(matches!(tx.commit(), Err(Error::Closed)));
    let long = "k".repeat(65_537);
    let store = in_memory();
    let mut tx = store.begin();
    let refused = tx.table(&NAMES).unwrap().insert(&long, 1);
    assert!(matches!(refused, Err(Error::TooLarge { len: 65_537, .. })));
    let name = "n".repeat(256);
    assert!(matches!(tx.table(&Table::<u8, u8>::named(name)), Err(Error::TooLarge { .. })));
}

/// More than the log takes: the commit is a checkpoint of its own.
#[test]
fn a_transaction_larger_than_a_log_segment_commits_whole() {
    let dir = tempfile::tempdir().unwrap();
    let options = Options::new().log_segment_bytes(64 * 1024).dirty_bytes(512 * 1024);
    let store = options.clone().open(dir.path()).unwrap();
    let mut tx = store.begin();
    let text = "x".repeat(500);
    let mut words = tx.table(&WORDS).unwrap();
    for n in 0..4000 {
        words.insert(&format!("{n:05}"), &text).unwrap();
    }
    assert_eq!(tx.durability(Durability::Sync).commit().unwrap(), 1);
    let mut tx = store.begin();
    let mut words = tx.table(&WORDS).unwrap();
    assert_eq!(words.remove_range("00100"..).unwrap(), 3900);
    assert_eq!(words.len().unwrap(), 100);
    tx.submit().unwrap().wait().unwrap();
    store.check().unwrap();
    drop(store);
    let store = options.open(dir.path()).unwrap();
    assert_eq!(store.snapshot().table(&WORDS).unwrap().len().unwrap(), 100);
}

#[test]
fn many_threads_over_few_keys_keep_a_sum() {
    let store = in_memory();
    store.write(|tx| tx.table(&NUMBERS)?.extend((0..10).map(|n| (n, 100)))).unwrap();
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        let movers: Vec<_> = (1..5_u64)
            .map(|mover| {
                let store = &store;
                scope.spawn(move || {
                    for round in 0..400 {
                        let (from, to) = ((round * mover) % 10, (round + mover * 3) % 10);
                        let moved = store.transact(|tx| {
                            let mut numbers = tx.table(&NUMBERS)?;
                            let money = numbers.get(from)?.unwrap_or(0).min(7);
                            numbers
                                .update(from, |old| old.map(|n| n - money).filter(|n| *n > 0))?;
                            numbers.update(to, |old| Some(old.unwrap_or(0) + money))
                        });
                        moved.unwrap();
                    }
                })
            })
            .collect();
        let reader = scope.spawn(|| {
            while !done.load(SeqCst) {
                let mut tx = store.begin();
                let numbers = tx.table(&NUMBERS).unwrap();
                let sum: u64 = numbers.iter().unwrap().map(|entry| entry.unwrap().1).sum();
                assert_eq!(sum, 1000);
            }
        });
        for mover in movers {
            mover.join().unwrap();
        }
        done.store(true, SeqCst);
        reader.join().unwrap();
    });
    store.check().unwrap();
}
