//! The eleven anomaly scripts, for optimistic transactions and for closures: none of them happens.
//!
//! x is 10 and y is 20. Optimistic transactions are interleaved by hand. Of closures one is on the
//! writer thread; in its middle others are handed in, and snapshots read on other threads.
//! The names are those of Adya's thesis and of Hermitage; the last one is from Fekete, O'Neil and
//! O'Neil, "A read-only transaction anomaly under snapshot isolation" (2004).

use recto::{Commit, Error, Result, Store, Table, Transaction, WriteTx};
use std::thread;

const NUMBERS: Table<u64, i64> = Table::new("numbers");
const X: u64 = 1;
const Y: u64 = 2;

fn store(x: i64, y: i64) -> Store {
    let store = Store::in_memory().unwrap();
    store.write(|tx| tx.table(&NUMBERS)?.extend([(X, x), (Y, y)])).unwrap();
    store
}

/// What a snapshot shows that is taken now, on another thread.
fn shown(store: &Store) -> (i64, i64) {
    let read = || {
        let snap = store.snapshot();
        let numbers = snap.table(&NUMBERS).unwrap();
        (numbers.get(X).unwrap().unwrap(), numbers.get(Y).unwrap().unwrap())
    };
    thread::scope(|scope| scope.spawn(read).join().unwrap())
}

mod optimistic {
    use super::*;

    fn get(tx: &mut Transaction, key: u64) -> i64 {
        tx.table(&NUMBERS).unwrap().get(key).unwrap().unwrap()
    }

    fn put(tx: &mut Transaction, key: u64, value: i64) {
        tx.table(&NUMBERS).unwrap().insert(key, value).unwrap();
    }

    /// How many entries there are behind y.
    fn count(tx: &mut Transaction) -> usize {
        tx.table(&NUMBERS).unwrap().range(3..).unwrap().count()
    }

    fn commits(tx: Transaction) {
        tx.commit().unwrap();
    }

    fn conflicts(tx: Transaction) {
        assert!(matches!(tx.commit(), Err(Error::Conflict)));
    }

    #[test]
    fn g0_dirty_writes() {
        let store = store(10, 20);
        let (mut one, mut two) = (store.begin(), store.begin());
        put(&mut one, X, 11);
        put(&mut two, X, 12);
        put(&mut one, Y, 21);
        commits(one);
        assert_eq!(shown(&store), (11, 21));
        put(&mut two, Y, 22);
        commits(two);
        assert_eq!(shown(&store), (12, 22));
    }

    #[test]
    fn g1a_aborted_reads() {
        let store = store(10, 20);
        let (mut one, mut two) = (store.begin(), store.begin());
        put(&mut one, X, 101);
        assert_eq!(get(&mut two, X), 10);
        drop(one);
        assert_eq!(get(&mut two, X), 10);
        put(&mut two, Y, 21);
        commits(two);
        assert_eq!(shown(&store), (10, 21));
    }

    #[test]
    fn g1b_intermediate_reads() {
        let store = store(10, 20);
        let (mut one, mut two) = (store.begin(), store.begin());
        put(&mut one, X, 101);
        assert_eq!(get(&mut two, X), 10);
        put(&mut one, X, 11);
        commits(one);
        assert_eq!(get(&mut two, X), 10);
        put(&mut two, Y, 21);
        conflicts(two);
        assert_eq!(shown(&store), (11, 20));
    }

    #[test]
    fn g1c_circular_information_flow() {
        let store = store(10, 20);
        let (mut one, mut two) = (store.begin(), store.begin());
        put(&mut one, X, 11);
        put(&mut two, Y, 22);
        assert_eq!((get(&mut one, Y), get(&mut two, X)), (20, 10));
        commits(one);
        conflicts(two);
        assert_eq!(shown(&store), (11, 20));
    }

    #[test]
    fn otv_observed_transaction_vanishes() {
        let store = store(10, 20);
        let (mut one, mut two) = (store.begin(), store.begin());
        put(&mut one, X, 11);
        put(&mut one, Y, 19);
        put(&mut two, X, 12);
        commits(one);
        let mut three = store.begin();
        assert_eq!(get(&mut three, X), 11);
        put(&mut two, Y, 18);
        assert_eq!(get(&mut three, Y), 19);
        commits(two);
        assert_eq!((get(&mut three, X), get(&mut three, Y)), (11, 19));
        commits(three);
        assert_eq!(shown(&store), (12, 18));
    }

    #[test]
    fn pmp_predicate_many_preceders() {
        let store = store(10, 20);
        let (mut one, mut two) = (store.begin(), store.begin());
        assert_eq!(count(&mut one), 0);
        put(&mut two, 3, 30);
        commits(two);
        assert_eq!(count(&mut one), 0);
        put(&mut one, X, 11);
        conflicts(one);
    }

    #[test]
    fn p4_lost_update() {
        let store = store(10, 20);
        let (mut one, mut two) = (store.begin(), store.begin());
        for tx in [&mut one, &mut two] {
            let x = get(tx, X);
            put(tx, X, x + 1);
        }
        commits(one);
        conflicts(two);
        assert_eq!(shown(&store), (11, 20));
    }

    #[test]
    fn g_single_read_skew() {
        let store = store(10, 20);
        let (mut one, mut two) = (store.begin(), store.begin());
        assert_eq!(get(&mut one, X), 10);
        put(&mut two, X, 12);
        put(&mut two, Y, 18);
        commits(two);
        assert_eq!(get(&mut one, Y), 20);
        put(&mut one, 3, 30);
        conflicts(one);
    }

    #[test]
    fn g2_item_write_skew() {
        let store = store(10, 20);
        let (mut one, mut two) = (store.begin(), store.begin());
        for tx in [&mut one, &mut two] {
            assert_eq!((get(tx, X), get(tx, Y)), (10, 20));
        }
        put(&mut one, X, 11);
        put(&mut two, Y, 21);
        commits(one);
        conflicts(two);
        assert_eq!(shown(&store), (11, 20));
    }

    #[test]
    fn g2_anti_dependency_cycles() {
        let store = store(10, 20);
        let (mut one, mut two) = (store.begin(), store.begin());
        assert_eq!((count(&mut one), count(&mut two)), (0, 0));
        put(&mut one, 3, 30);
        put(&mut two, 4, 42);
        commits(one);
        conflicts(two);
    }

    #[test]
    fn fekete_read_only_anomaly() {
        // A withdrawal that would overdraw both accounts costs a fee of 1.
        let store = store(0, 0);
        let mut withdrawal = store.begin();
        assert_eq!(get(&mut withdrawal, X) + get(&mut withdrawal, Y), 0);
        let mut deposit = store.begin();
        let savings = get(&mut deposit, Y);
        put(&mut deposit, Y, savings + 20);
        commits(deposit);
        let mut report = store.begin();
        assert_eq!((get(&mut report, X), get(&mut report, Y)), (0, 20));
        commits(report);
        put(&mut withdrawal, X, -11);
        conflicts(withdrawal);
        assert_eq!(shown(&store), (0, 20));
    }
}

mod closures {
    use super::*;

    fn get(tx: &mut WriteTx<'_>, key: u64) -> i64 {
        tx.table(&NUMBERS).unwrap().get(key).unwrap().unwrap()
    }

    fn put(tx: &mut WriteTx<'_>, key: u64, value: i64) {
        tx.table(&NUMBERS).unwrap().insert(key, value).unwrap();
    }

    fn count(tx: &mut WriteTx<'_>) -> usize {
        tx.table(&NUMBERS).unwrap().range(3..).unwrap().count()
    }

    /// Hands another closure in, in the middle of one: it must wait.
    fn hand_in<T: Send + 'static>(
        store: &Store,
        closure: impl FnOnce(&mut WriteTx<'_>) -> T + Send + 'static,
    ) -> Commit<T> {
        store.submit_with(move |tx| Ok(closure(tx))).unwrap()
    }

    #[test]
    fn g0_dirty_writes() {
        let store = store(10, 20);
        let second = store.write(|tx| {
            put(tx, X, 11);
            let second = hand_in(&store, |tx| {
                put(tx, X, 12);
                put(tx, Y, 22);
            });
            put(tx, Y, 21);
            Ok(second)
        });
        second.unwrap().wait().unwrap();
        assert_eq!(shown(&store), (12, 22));
    }

    #[test]
    fn g1a_aborted_reads() {
        let store = store(10, 20);
        let undone: Result<()> = store.write(|tx| {
            put(tx, X, 101);
            assert_eq!(shown(&store), (10, 20));
            Err(Error::Closed)
        });
        assert!(matches!(undone, Err(Error::Closed)));
        assert_eq!(shown(&store), (10, 20));
    }

    #[test]
    fn g1b_intermediate_reads() {
        let store = store(10, 20);
        let written = store.write(|tx| {
            put(tx, X, 101);
            assert_eq!(shown(&store), (10, 20));
            let second = hand_in(&store, |tx| get(tx, X));
            put(tx, X, 11);
            Ok(second)
        });
        assert_eq!(written.unwrap().wait().unwrap(), 11);
        assert_eq!(shown(&store), (11, 20));
    }

    #[test]
    fn g1c_circular_information_flow() {
        let store = store(10, 20);
        let seen = store.write(|tx| {
            put(tx, X, 11);
            let second = hand_in(&store, |tx| {
                put(tx, Y, 22);
                get(tx, X)
            });
            Ok((get(tx, Y), second))
        });
        let (y, second) = seen.unwrap();
        assert_eq!((y, second.wait().unwrap()), (20, 11));
    }

    #[test]
    fn otv_observed_transaction_vanishes() {
        let store = store(10, 20);
        let second = store.write(|tx| {
            put(tx, X, 11);
            let second = hand_in(&store, |tx| {
                put(tx, X, 12);
                put(tx, Y, 18);
            });
            assert_eq!(shown(&store), (10, 20));
            put(tx, Y, 19);
            Ok(second)
        });
        let second = second.unwrap();
        let between = shown(&store);
        assert!([(11, 19), (12, 18)].contains(&between), "{between:?}");
        second.wait().unwrap();
        assert_eq!(shown(&store), (12, 18));
    }

    #[test]
    fn pmp_predicate_many_preceders() {
        let store = store(10, 20);
        let counts = store.write(|tx| {
            let before = count(tx);
            let second = hand_in(&store, |tx| put(tx, 3, 30));
            assert_eq!(shown(&store), (10, 20));
            Ok((before, count(tx), second))
        });
        let (before, after, second) = counts.unwrap();
        second.wait().unwrap();
        assert_eq!((before, after), (0, 0));
    }

    #[test]
    fn p4_lost_update() {
        let store = store(10, 20);
        let second = store.write(|tx| {
            let x = get(tx, X);
            let second = hand_in(&store, |tx| {
                let x = get(tx, X);
                put(tx, X, x + 1);
            });
            put(tx, X, x + 1);
            Ok(second)
        });
        second.unwrap().wait().unwrap();
        assert_eq!(shown(&store), (12, 20));
    }

    #[test]
    fn g_single_read_skew() {
        let store = store(10, 20);
        let seen = store.write(|tx| {
            let x = get(tx, X);
            let second = hand_in(&store, |tx| {
                put(tx, X, 12);
                put(tx, Y, 18);
            });
            assert_eq!(shown(&store), (10, 20));
            Ok((x, get(tx, Y), second))
        });
        let (x, y, second) = seen.unwrap();
        second.wait().unwrap();
        assert_eq!((x, y), (10, 20));
        assert_eq!(shown(&store), (12, 18));
    }

    #[test]
    fn g2_item_write_skew() {
        let store = store(10, 20);
        let seen = store.write(|tx| {
            let seen = (get(tx, X), get(tx, Y));
            let second = hand_in(&store, |tx| {
                let seen = (get(tx, X), get(tx, Y));
                put(tx, Y, 21);
                seen
            });
            put(tx, X, 11);
            Ok((seen, second))
        });
        let (first, second) = seen.unwrap();
        assert_eq!((first, second.wait().unwrap()), ((10, 20), (11, 20)));
    }

    #[test]
    fn g2_anti_dependency_cycles() {
        let store = store(10, 20);
        let counts = store.write(|tx| {
            let before = count(tx);
            let second = hand_in(&store, |tx| {
                let before = count(tx);
                put(tx, 4, 42);
                before
            });
            put(tx, 3, 30);
            Ok((before, second))
        });
        let (first, second) = counts.unwrap();
        assert_eq!((first, second.wait().unwrap()), (0, 1));
    }

    #[test]
    fn fekete_read_only_anomaly() {
        let store = store(0, 0);
        let (deposit, report) = store
            .write(|tx| {
                assert_eq!(get(tx, X) + get(tx, Y), 0);
                let deposit = hand_in(&store, |tx| {
                    let savings = get(tx, Y);
                    put(tx, Y, savings + 20);
                });
                // Whoever reports now sees neither: the deposit waits for the withdrawal.
                let report = shown(&store);
                put(tx, X, -11);
                Ok((deposit, report))
            })
            .unwrap();
        deposit.wait().unwrap();
        assert_eq!(report, (0, 0));
        assert_eq!(shown(&store), (-11, 20));
    }
}
