//! Snapshot isolation and serializable transactions, by counts that only hold if nothing slips.

use recto::{Batch, Options, Result, Snapshot, Store, Table};
use std::{
    collections::BTreeMap,
    sync::{
        Barrier, Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering::SeqCst},
    },
    thread,
};

const NUMBERS: Table<u64, u64> = Table::new("numbers");
const NAMES: Table<&str, u64> = Table::new("names");

fn on_files() -> (tempfile::TempDir, Store) {
    let dir = tempfile::tempdir().unwrap();
    // Little room, so that checkpoints run under the tests.
    let options = Options::new().dirty_bytes(256 << 10).log_segment_bytes(64 << 10);
    let store = options.durability(recto::Durability::None).open(dir.path()).unwrap();
    (dir, store)
}

fn next(seed: &mut u64) -> u64 {
    *seed ^= *seed << 13;
    *seed ^= *seed >> 7;
    *seed ^= *seed << 17;
    *seed
}

/// Money moves between accounts, and accounts come and go; the sum never changes, in no snapshot.
#[test]
fn readers_see_every_transfer_whole_or_not_at_all() {
    const ACCOUNTS: u64 = 500;
    const TRANSFERS: u64 = 1500;
    let (_dir, store) = on_files();
    let filled = store.write(|tx| tx.table(&NUMBERS)?.extend((0..ACCOUNTS).map(|a| (a, 100))));
    filled.unwrap();
    let done = AtomicBool::new(false);
    let seen = thread::scope(|scope| {
        let readers: Vec<_> =
            (0..3).map(|_| scope.spawn(|| read_sums(&store, &done, ACCOUNTS * 100))).collect();
        let writers: Vec<_> = (1..5)
            .map(|writer| {
                let store = &store;
                scope.spawn(move || {
                    let mut seed = writer * 7919;
                    for _ in 0..TRANSFERS {
                        transfer(store, next(&mut seed), next(&mut seed)).unwrap();
                    }
                })
            })
            .collect();
        for writer in writers {
            writer.join().unwrap();
        }
        done.store(true, SeqCst);
        readers.into_iter().map(|reader| reader.join().unwrap()).sum::<u64>()
    });
    assert!(seen >= 3, "{seen} snapshots were read");
    assert_eq!(store.snapshot().version(), 1 + 4 * TRANSFERS);
    store.check().unwrap();
}

/// Moves a part of one account to another; an account without money goes, and comes again.
fn transfer(store: &Store, from: u64, to: u64) -> Result<()> {
    store.write(|tx| {
        let mut accounts = tx.table(&NUMBERS)?;
        let (from, to) = (from % 500, to % 500);
        let moved = accounts.get(from)?.unwrap_or(0).min(40);
        accounts.update(from, |old| old.map(|old| old - moved).filter(|&left| left > 0))?;
        accounts.update(to, |old| Some(old.unwrap_or(0) + moved).filter(|&sum| sum > 0))
    })
}

/// Reads snapshots until told to end: each twice, and both times the same; how many they were.
fn read_sums(store: &Store, done: &AtomicBool, expected: u64) -> u64 {
    let (mut reader, mut rounds, mut version) = (store.reader(), 0, 0);
    while !done.load(SeqCst) {
        let is_renewed = rounds % 2 == 1;
        let snap = if is_renewed { reader.snapshot().clone() } else { store.snapshot() };
        assert!(snap.version() >= version, "versions went back");
        version = snap.version();
        let first = sum(&snap);
        assert_eq!(first.0, expected, "version {version} shows half a transfer");
        assert_eq!(sum(&snap), first, "a snapshot changed between two reads");
        assert_eq!(snap.table(&NUMBERS).unwrap().len().unwrap(), first.1, "a phantom");
        rounds += 1;
    }
    rounds
}

/// The sum of all accounts and their number.
fn sum(snap: &Snapshot) -> (u64, u64) {
    let accounts = snap.table(&NUMBERS).unwrap();
    let all = accounts.iter().unwrap().map(|entry| entry.unwrap().1);
    all.fold((0, 0), |(sum, count), money| (sum + money, count + 1))
}

#[test]
fn no_increment_is_lost() {
    const THREADS: u64 = 16;
    const INCREMENTS: u64 = 250;
    let (_dir, store) = on_files();
    thread::scope(|scope| {
        for _ in 0..THREADS {
            scope.spawn(|| {
                for _ in 0..INCREMENTS {
                    let increment = |old: Option<u64>| Some(old.unwrap_or(0) + 1);
                    store.write(|tx| tx.table(&NUMBERS)?.update(0, increment)).unwrap();
                }
            });
        }
    });
    assert_eq!(store.get(&NUMBERS, 0).unwrap(), Some(THREADS * INCREMENTS));
    assert_eq!(store.snapshot().version(), THREADS * INCREMENTS);
}

/// Of two doctors on call at least one must stay; each looks at both and goes if it may.
#[test]
fn write_skew_cannot_leave_nobody_on_call() {
    const ROUNDS: u64 = 10_000;
    let store = Store::in_memory().unwrap();
    let (start, end) = (Barrier::new(2), Barrier::new(2));
    let left = AtomicU64::new(0);
    let doctor = |name: &'static str, other: &'static str| {
        for _ in 0..ROUNDS {
            start.wait();
            let went = store.write(|tx| {
                let mut on_call = tx.table(&NAMES)?;
                let may_go = on_call.get(other)? == Some(1);
                if may_go {
                    on_call.insert(name, 0)?;
                }
                Ok(may_go)
            });
            left.fetch_add(u64::from(went.unwrap()), SeqCst);
            if end.wait().is_leader() {
                let both = store.write(|tx| {
                    let mut on_call = tx.table(&NAMES)?;
                    let both = [on_call.get("ada")?, on_call.get("bob")?];
                    on_call.extend([("ada", 1), ("bob", 1)])?;
                    Ok(both)
                });
                assert_ne!(both.unwrap(), [Some(0), Some(0)], "nobody is on call");
            }
        }
    };
    store.write(|tx| tx.table(&NAMES)?.extend([("ada", 1), ("bob", 1)])).unwrap();
    thread::scope(|scope| {
        scope.spawn(|| doctor("ada", "bob"));
        scope.spawn(|| doctor("bob", "ada"));
    });
    assert_eq!(left.into_inner(), ROUNDS, "one of the two goes each time");
}

#[test]
fn of_64_threads_that_insert_if_absent_one_wins() {
    let (_dir, store) = on_files();
    for round in 0..20 {
        let start = Barrier::new(64);
        let winners = Mutex::new(Vec::new());
        thread::scope(|scope| {
            for me in 0..64 {
                let (store, start, winners) = (&store, &start, &winners);
                scope.spawn(move || {
                    start.wait();
                    let won = store.write(|tx| tx.table(&NUMBERS)?.insert_if_absent(round, me));
                    if won.unwrap() {
                        winners.lock().unwrap().push(me);
                    }
                });
            }
        });
        let winners = winners.into_inner().unwrap();
        assert_eq!(winners.len(), 1, "winners of round {round}: {winners:?}");
        assert_eq!(store.get(&NUMBERS, round).unwrap(), Some(winners[0]));
    }
}

#[test]
fn a_transaction_reads_its_own_writes_and_nobody_else_does() {
    let (_dir, store) = on_files();
    store.write(|tx| tx.table(&NUMBERS)?.insert(1, 1)).unwrap();
    let before = store.snapshot();
    let inside = store.write(|tx| {
        let mut numbers = tx.table(&NUMBERS)?;
        numbers.insert(1, 2)?;
        numbers.insert(2, 2)?;
        let own: Vec<_> = numbers.iter()?.collect::<Result<_>>()?;
        assert_eq!(own, [(1, 2), (2, 2)]);
        numbers.remove(1)?;
        assert_eq!((numbers.get(1)?, numbers.len()?), (None, 1));
        tx.table(&NAMES)?.insert("new", 1)?;
        // What another thread would see now, of every way to read.
        let during = store.snapshot();
        assert_eq!(during.version(), 1);
        let others = (during.table(&NUMBERS)?.get(1)?, store.get(&NUMBERS, 2)?);
        assert_eq!(during.tables()?, ["numbers"]);
        store.reader().snapshot().table(&NUMBERS)?.get(2).map(|found| (others, found))
    });
    assert_eq!(inside.unwrap(), ((Some(1), None), None));
    assert_eq!(before.table(&NUMBERS).unwrap().get(1).unwrap(), Some(1));
    assert_eq!(store.get(&NUMBERS, 1).unwrap(), None);
    assert_eq!(store.get(&NUMBERS, 2).unwrap(), Some(2));
    assert_eq!(store.tables().unwrap(), ["names", "numbers"]);
}

/// Every commit leaves its mark; whoever sees version v sees the mark of the commit that was
/// answered v.
#[test]
fn versions_are_gapless_and_each_shows_the_commit_that_made_it() {
    const THREADS: u64 = 8;
    const COMMITS: u64 = 400;
    let (_dir, store) = on_files();
    let made = Mutex::new(BTreeMap::new());
    let seen = Mutex::new(BTreeMap::new());
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        let look = || {
            let mut last = 0;
            while !done.load(SeqCst) {
                let snap = store.snapshot();
                assert!(snap.version() >= last, "versions went back");
                last = snap.version();
                let mark = snap.table(&NUMBERS).unwrap().get(0).unwrap();
                let other = seen.lock().unwrap().insert(last, mark);
                assert!(other.is_none_or(|other| other == mark), "two faces of version {last}");
            }
        };
        scope.spawn(look);
        scope.spawn(look);
        let writers: Vec<_> = (0..THREADS)
            .map(|writer| {
                let (store, made) = (&store, &made);
                scope.spawn(move || {
                    let mut last = 0;
                    for number in 0..COMMITS {
                        let mark = writer * COMMITS + number + 1;
                        let version = submit_mark(store, mark);
                        assert!(version > last, "version {version} came after {last}");
                        assert!(store.snapshot().version() >= version, "answered, not visible");
                        last = version;
                        assert!(made.lock().unwrap().insert(version, mark).is_none());
                    }
                })
            })
            .collect();
        for writer in writers {
            writer.join().unwrap();
        }
        done.store(true, SeqCst);
    });
    let (made, seen) = (made.into_inner().unwrap(), seen.into_inner().unwrap());
    assert!(made.keys().copied().eq(1..=THREADS * COMMITS), "versions have gaps");
    for (version, mark) in seen {
        assert_eq!(mark, made.get(&version).copied(), "the mark of version {version}");
    }
}

fn submit_mark(store: &Store, mark: u64) -> u64 {
    let mut batch = Batch::new();
    batch.insert(&NUMBERS, 0, mark);
    store.submit(batch).unwrap().wait().unwrap()
}

#[test]
fn a_batch_shows_whole_or_not_at_all() {
    const KEYS: u64 = 300;
    let (_dir, store) = on_files();
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        let look = || {
            while !done.load(SeqCst) {
                let snap = store.snapshot();
                let table = snap.table(&NUMBERS).unwrap();
                let values: Vec<u64> = table.iter().unwrap().map(|e| e.unwrap().1).collect();
                let expected = if snap.version() == 0 { 0 } else { KEYS as usize };
                assert_eq!(values.len(), expected, "half a batch in version {}", snap.version());
                assert!(values.windows(2).all(|pair| pair[0] == pair[1]), "two batches in one");
            }
        };
        scope.spawn(look);
        scope.spawn(look);
        let writers: Vec<_> = (0..4)
            .map(|writer| {
                let store = &store;
                scope.spawn(move || {
                    for round in 0..100 {
                        let mut batch = Batch::new();
                        // In no order, and with a removal of all before it: later writes count.
                        batch.remove_range(&NUMBERS, ..);
                        for key in (0..KEYS).rev() {
                            batch.insert(&NUMBERS, key, 0);
                            batch.insert(&NUMBERS, key, writer * 1000 + round);
                        }
                        store.submit(batch).unwrap().wait().unwrap();
                    }
                })
            })
            .collect();
        for writer in writers {
            writer.join().unwrap();
        }
        done.store(true, SeqCst);
    });
    store.check().unwrap();
}
