//! Reads take no lock and wait for nobody.

use recto::{Durability, Options, Result, Store, Table};
use std::{
    sync::{Barrier, mpsc},
    thread,
    time::Duration,
};

const NUMBERS: Table<u64, &[u8]> = Table::new("numbers");
/// Only a test that fails waits for so long.
const PATIENCE: Duration = Duration::from_secs(60);

fn filled(options: Options) -> (tempfile::TempDir, Store) {
    let dir = tempfile::tempdir().unwrap();
    let store = options.open(dir.path()).unwrap();
    let entries = (0..5000).map(|key| (key, &b"a value of some bytes"[..]));
    store.write(|tx| tx.table(&NUMBERS)?.extend(entries)).unwrap();
    (dir, store)
}

/// Every way to read a store, once.
fn read_all_ways(store: &Store, reader: &mut recto::Reader, key: u64) -> Result<()> {
    let expected = Some(&b"a value of some bytes"[..]);
    assert_eq!(store.get(&NUMBERS, key)?.as_deref(), expected);
    assert!(store.read(|view| Ok::<_, recto::Error>(view.table(&NUMBERS)?.get(key)? == expected))?);
    let snap = store.snapshot();
    let numbers = snap.table(&NUMBERS)?;
    assert_eq!(numbers.get_many([key, key + 5000])?, [expected, None]);
    assert_eq!(numbers.range(key..)?.next().transpose()?.map(|(found, _)| found), Some(key));
    assert_eq!(numbers.len()?, 5000);
    assert_eq!(reader.snapshot().table(&NUMBERS)?.get(key)?, expected);
    assert!(store.stats().queue_capacity > 0);
    Ok(())
}

#[test]
fn reads_complete_while_a_closure_waits_on_a_barrier() {
    // With the map and without: there readers fill frames themselves.
    for options in [Options::new(), Options::new().memory_map(false)] {
        let (_dir, store) = filled(options);
        store.checkpoint().unwrap();
        let (release, held) = mpsc::channel::<()>();
        let (entered, inside) = mpsc::channel();
        thread::scope(|scope| {
            let store = &store;
            let writer = scope.spawn(move || {
                store.write(move |tx| {
                    tx.table(&NUMBERS)?.clear()?;
                    entered.send(()).unwrap();
                    Ok(held.recv_timeout(PATIENCE).is_ok())
                })
            });
            inside.recv_timeout(PATIENCE).unwrap();
            thread::scope(|scope| {
                for thread in 0..4 {
                    scope.spawn(move || {
                        let mut reader = store.reader();
                        for round in 0..2500 {
                            read_all_ways(store, &mut reader, (round * 4 + thread) % 5000).unwrap();
                        }
                    });
                }
            });
            release.send(()).unwrap();
            assert!(writer.join().unwrap().unwrap(), "reads ended only after the closure");
        });
        assert_eq!(store.snapshot().table(&NUMBERS).unwrap().len().unwrap(), 0);
    }
}

#[test]
fn reads_complete_while_128_threads_read_and_one_writes() {
    let (_dir, store) = filled(Options::new().durability(Durability::None));
    let start = Barrier::new(129);
    let reads: u64 = thread::scope(|scope| {
        let readers: Vec<_> = (0..128)
            .map(|thread| {
                let (store, start) = (&store, &start);
                scope.spawn(move || {
                    let mut reader = store.reader();
                    start.wait();
                    (0..50)
                        .map(|round| {
                            let key = (thread * 50 + round) % 5000;
                            read_all_ways(store, &mut reader, key).map(|()| 1)
                        })
                        .sum::<Result<u64>>()
                })
            })
            .collect();
        start.wait();
        for key in 0..200 {
            store.write(|tx| tx.table(&NUMBERS)?.insert(key, b"a value of some bytes")).unwrap();
        }
        readers.into_iter().map(|reader| reader.join().unwrap().unwrap()).sum()
    });
    assert_eq!(reads, 128 * 50);
    store.write(|_| Ok(())).unwrap();
    store.checkpoint().unwrap();
    assert_eq!(store.stats().snapshots, 0, "a pin was left behind");
}

#[test]
fn a_reader_is_never_behind_an_answered_commit() {
    let (_dir, store) = filled(Options::new().durability(Durability::None));
    let mut reader = store.reader();
    for key in 5000..6000_u64 {
        store.write(|tx| tx.table(&NUMBERS)?.insert(key, &key.to_be_bytes())).unwrap();
        let snap = reader.snapshot();
        assert_eq!(snap.version(), key - 5000 + 2);
        let found = snap.table(&NUMBERS).unwrap().get(key).unwrap();
        assert_eq!(found, Some(&key.to_be_bytes()[..]));
    }
}

#[test]
fn a_snapshot_outlives_its_store() {
    let (_dir, store) = filled(Options::new());
    let snap = store.snapshot();
    let moved = thread::spawn(move || {
        drop(store);
        let numbers = snap.table(&NUMBERS).unwrap();
        let all = numbers.iter().unwrap().map(|entry| entry.unwrap().0);
        assert!(all.eq(0..5000));
        snap.clone()
    });
    let snap = moved.join().unwrap();
    assert_eq!(snap.table(&NUMBERS).unwrap().len().unwrap(), 5000);
}
