//! The contract of typed tables, as users write it, over a store in memory.

use recto::{Batch, Durability, Error, Result, Snapshot, Store, Table};
use std::time::Duration;

const AGES: Table<&str, u64> = Table::new("ages");
const BLOBS: Table<&[u8], &[u8]> = Table::new("blobs");
const EDGES: Table<(u64, &str, u64), ()> = Table::new("edges");

#[test]
fn tables_work_as_the_contract_is_written() -> Result<()> {
    let store = Store::in_memory()?;
    let n = store.write(|tx| {
        let mut ages = tx.table(&AGES)?;
        assert!(ages.insert("ada", 36)?);
        assert!(!ages.insert_if_absent("ada", 37)?);
        ages.update("ada", |old| old.map(|n| n + 1))?;
        ages.extend([("x", 1), ("y", 2)])?;
        assert!(!ages.remove("bob")?);
        let old: Option<u64> = ages.get("ada")?;
        assert_eq!(old, Some(37));
        for entry in ages.range("a".."n")? {
            let (name, age) = entry?;
            assert_eq!((name, age), ("ada", 37));
        }
        ages.len()
    })?;
    assert_eq!(n, 3);

    let snap: Snapshot = store.snapshot();
    let ages = snap.table(&AGES)?;
    assert_eq!(ages.get("ada")?, Some(37));
    assert!(ages.contains("ada")? && ages.len()? == 3);
    assert_eq!((ages.first()?, ages.last()?), (Some(("ada", 37)), Some(("y", 2))));
    assert_eq!(ages.get_many(["ada", "bob"])?, [Some(37), None]);
    assert_eq!(ages.range(.."y")?.rev().map(|e| e.unwrap().0).collect::<Vec<_>>(), ["x", "ada"]);
    assert_eq!((ages.prefix("a")?.count(), ages.iter()?.count()), (1, 3));

    let mut reader = store.reader();
    assert_eq!(reader.snapshot().table(&AGES)?.get("ada")?, Some(37));
    let one: Option<u64> = store.get(&AGES, "ada")?;
    assert_eq!(one, Some(37));

    let mut batch = Batch::new();
    batch.insert(&AGES, "alan", 41).remove(&AGES, "bob").remove_range(&AGES, "x".."z");
    let commit = store.submit(batch.durability(Durability::Sync))?;
    let version: u64 = commit.wait()?;
    assert_eq!(version, 2);
    assert_eq!(store.snapshot().table(&AGES)?.len()?, 2);
    let mut batch = Batch::new();
    batch.insert(&EDGES, (1, "knows", 2), ()).insert(&BLOBS, b"a", b"b");
    store.submit_timeout(batch, Duration::from_secs(5))?.wait()?;
    let snap = store.snapshot();
    assert_eq!(snap.table(&EDGES)?.prefix((1, "knows"))?.count(), 1);
    assert_eq!(snap.table(&BLOBS)?.get(b"a")?, Some(b"b".as_slice()));
    Ok(())
}

#[test]
fn an_unknown_table_is_empty_and_wrong_types_are_refused() -> Result<()> {
    const MISSING: Table<&str, u64> = Table::new("missing");
    const AS_TEXT: Table<&str, &str> = Table::new("ages");
    let store = Store::in_memory()?;
    store.write(|tx| tx.table(&AGES)?.insert("ada", 36))?;
    let snap = store.snapshot();
    let missing = snap.table(&MISSING)?;
    assert_eq!((missing.get("a")?, missing.len()?, missing.first()?), (None, 0, None));
    assert_eq!(missing.get_many(["a", "b"])?, [None, None]);
    assert_eq!(missing.iter()?.count() + missing.prefix("a")?.count(), 0);
    let expected = "table \"ages\" holds &str -> u64, but was opened as &str -> &str";
    assert_eq!(snap.table(&AS_TEXT).unwrap_err().to_string(), expected);
    let error = store.write(|tx| tx.table(&AS_TEXT)?.insert("a", "b")).unwrap_err();
    assert_eq!(error.to_string(), expected);
    let mut batch = Batch::new();
    batch.insert(&AS_TEXT, "a", "b");
    let error = store.submit(batch)?.wait().unwrap_err();
    assert!(matches!(error, Error::TypeMismatch(_)));
    assert_eq!(store.snapshot().version(), 1);
    Ok(())
}

#[test]
fn present_but_empty_differs_from_absent() -> Result<()> {
    let store = Store::in_memory()?;
    store.write(|tx| tx.table(&BLOBS)?.insert(b"", b""))?;
    let snap = store.snapshot();
    assert_eq!(snap.table(&BLOBS)?.get(b"")?, Some(b"".as_slice()));
    assert_eq!(snap.table(&BLOBS)?.get(b"a")?, None);
    Ok(())
}

#[test]
fn bulk_changes_in_any_order_equal_single_ones() -> Result<()> {
    const NUMBERS: Table<u64, (u64, &str)> = Table::new("numbers");
    let store = Store::in_memory()?;
    // A full period of a generator: all of 16 bits, in no order.
    let keys = (0..=u64::from(u16::MAX)).map(|n| (n * 25_173 + 13_849) & 0xffff);
    for round in 0..3 {
        store.write(|tx| {
            let mut numbers = tx.table(&NUMBERS)?;
            let new = numbers.extend(keys.clone().map(|key| (key, (key + round, "text"))))?;
            assert_eq!(new, if round == 0 { 65_536 } else { 0 });
            Ok(())
        })?;
    }
    let removed = store.write(|tx| tx.table(&NUMBERS)?.retain(|key, _| key % 4 == 0))?;
    assert_eq!(removed, 65_536 / 4 * 3);
    let snap = store.snapshot();
    let numbers = snap.table(&NUMBERS)?;
    let expected = (0..65_536 / 4).map(|n| n * 4).map(|key| (key, (key + 2, "text")));
    assert!(numbers.iter()?.map(Result::unwrap).eq(expected.clone()));
    assert!(numbers.iter()?.rev().map(Result::unwrap).eq(expected.rev()));
    let values = numbers.get_many((0..1000).chain([70_000]))?;
    assert_eq!(values.iter().filter(|value| value.is_some()).count(), 250);
    Ok(())
}
