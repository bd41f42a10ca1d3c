//! Scans by all cores give what one gives. With the feature `rayon`.

#![cfg(feature = "rayon")]

use rayon::iter::{IntoParallelIterator, ParallelIterator};
use recto::{
    Error, Options, Result, Store, Table,
    internals::{
        storage::{Storage, memory::MemoryStorage},
        store::open_storage,
    },
};
use std::{
    sync::{Arc, mpsc},
    thread,
    time::Duration,
};

const NUMBERS: Table<u64, u64> = Table::new("numbers");
const NAMES: Table<&str, &[u8]> = Table::new("names");

/// Short values, and long ones in runs.
fn value(i: u32) -> Vec<u8> {
    vec![i as u8; if i.is_multiple_of(17) { 9000 } else { 50 }]
}

#[test]
fn a_parallel_scan_has_the_entries_of_a_serial_one_in_order() -> Result<()> {
    for entries in [0, 1, 20, 1000, 100_000_u64] {
        let store = Store::in_memory()?;
        store.write(|tx| tx.table(&NUMBERS)?.extend((0..entries).map(|i| (i * 3, i))))?;
        let snapshot = store.snapshot();
        let numbers = snapshot.table(&NUMBERS)?;
        let all = numbers.iter()?.collect::<Result<Vec<_>>>()?;
        assert_eq!(numbers.par_iter()?.collect::<Result<Vec<_>>>()?, all);
        let sum = numbers.par_iter()?.try_fold(|| 0, |sum, entry| entry.map(|e| sum + e.1));
        let sum: u64 = sum.try_reduce(|| 0, |one, other| Ok(one + other))?;
        assert_eq!(sum, (0..entries).sum());
        let (from, to) = (entries, 2 * entries);
        let some = numbers.range(from..to)?.into_par_iter().collect::<Result<Vec<_>>>()?;
        assert_eq!(some, numbers.range(from..to)?.collect::<Result<Vec<_>>>()?);
        // What the front has given already does not come again.
        let mut rest = numbers.iter()?;
        let taken = rest.by_ref().take(entries as usize / 2).count();
        assert_eq!(rest.into_par_iter().count(), entries as usize - taken);
    }
    Ok(())
}

#[test]
fn text_and_runs_come_borrowed_from_the_snapshot() -> Result<()> {
    let store = Store::in_memory()?;
    let names: Vec<String> =
        (0..3000).map(|i| format!("name {i:05} {}", "x".repeat(i % 300))).collect();
    store.write(|tx| {
        let mut table = tx.table(&NAMES)?;
        (0..).zip(&names).try_for_each(|(i, name)| table.insert(name, &value(i)).map(drop))
    })?;
    let mut reader = store.reader();
    let table = reader.snapshot().table(&NAMES)?;
    let found: Vec<(&str, &[u8])> = table.par_iter()?.collect::<Result<_>>()?;
    assert!(found.iter().map(|(name, _)| name).eq(&names));
    assert!((0..).zip(&found).all(|(i, (_, found))| **found == value(i)));
    let pieces = table.prefix("name 01")?.split(4)?;
    assert_eq!((pieces.len(), pieces.into_iter().flatten().count()), (4, 1000));
    Ok(())
}

#[test]
fn a_damaged_page_surfaces() -> Result<()> {
    const PAGE_BYTES: usize = 4096;
    let storage: Arc<dyn Storage> = Arc::new(MemoryStorage::new());
    let options = || Options::new().page_bytes(PAGE_BYTES);
    let store = open_storage(options(), &storage)?;
    store.write(|tx| tx.table(&NUMBERS)?.extend((0..50_000).map(|i| (i, i))))?;
    store.close()?;
    drop(store);
    let file = storage.open("pages")?;
    let pages = file.len()? / PAGE_BYTES as u64;
    let mut found = 0;
    for page in (2..pages).step_by(7) {
        let at = page * PAGE_BYTES as u64 + 2000;
        let mut byte = [0];
        file.read_at(&mut byte, at)?;
        file.write_at(&[!byte[0]], at)?;
        // A damaged catalog is the opening's to find.
        if let Ok(store) = open_storage(options(), &storage) {
            let snapshot = store.snapshot();
            let numbers = snapshot.table(&NUMBERS)?;
            let alone = numbers.iter()?.collect::<Result<Vec<_>>>();
            let shared = numbers.par_iter()?.collect::<Result<Vec<_>>>();
            assert_eq!(alone.is_err(), shared.is_err(), "page {page}");
            found += usize::from(matches!(shared, Err(Error::Corrupt(_))));
        }
        file.write_at(&byte, at)?;
    }
    assert!(found > 10, "{found} of {pages} pages");
    Ok(())
}

/// What is done in the writer's seat waits for no thread of the pool: all of them may wait for it.
#[test]
fn a_pool_whose_threads_all_load_comes_to_an_end() {
    const LOADS: u64 = 16;
    const EACH: u64 = 40_000;
    let (ended, end) = mpsc::channel();
    thread::spawn(move || {
        let store = Store::in_memory().unwrap();
        (0..LOADS).into_par_iter().for_each(|load| {
            // In no order, each key once.
            let entries = (0..EACH).map(|i| (load * EACH + i * 7919 % EACH, i));
            store.write(|tx| tx.table(&NUMBERS)?.extend(entries)).unwrap();
        });
        ended.send(store.snapshot().table(&NUMBERS).unwrap().len().unwrap()).unwrap();
    });
    let entries = end.recv_timeout(Duration::from_secs(120)).expect("the pool waits for itself");
    assert_eq!(entries, LOADS * EACH);
}
