//! Typed handles and batches, run over the model and compared with maps of typed entries.

use super::model::Model;
use crate::{
    error::{Error, Limit, Result},
    options::{Durability, KEY_BYTES_MAX},
    table::{Table, write::TableMut},
    txn::batch::Batch,
};
use proptest::{collection::vec, prelude::*};
use std::collections::{BTreeMap, BTreeSet};

const AGES: Table<&str, u64> = Table::new("ages");
const BLOBS: Table<&[u8], &[u8]> = Table::new("blobs");
const EDGES: Table<(u64, &str, u64), ()> = Table::new("edges");

/// The entries of a table, each on its own.
fn all(store: &mut Model, table: &Table<&str, u64>) -> Vec<(String, u64)> {
    let table = TableMut::open(store, table).unwrap();
    let entries = table.iter().unwrap().map(|entry| entry.unwrap());
    entries.map(|(key, value)| (key.to_owned(), value)).collect()
}

#[test]
fn the_contract_holds_as_it_is_written() -> Result<()> {
    let mut store = Model::default();
    let mut ages = TableMut::open(&mut store, &AGES)?;
    assert!(ages.insert("ada", 36)?);
    assert!(!ages.insert_if_absent("ada", 37)?);
    ages.update("ada", |old| old.map(|n| n + 1))?;
    assert_eq!(ages.extend([("x", 1), ("y", 2)])?, 2);
    assert!(!ages.remove("bob")?);
    let old: Option<u64> = ages.get("ada")?;
    assert_eq!(old, Some(37));
    let mut names = Vec::new();
    for entry in ages.range("a".."n")? {
        let (name, age) = entry?;
        names.push((name, age));
    }
    assert_eq!(names, [("ada", 37)]);
    assert_eq!(ages.len()?, 3);
    assert!(ages.contains("x")? && !ages.is_empty()?);
    assert_eq!((ages.first()?, ages.last()?), (Some(("ada", 37)), Some(("y", 2))));
    assert_eq!(ages.get_many(["ada", "bob", "y"])?, [Some(37), None, Some(2)]);
    let back: Vec<_> = ages.range(.."y")?.rev().map(|entry| entry.unwrap().0).collect();
    assert_eq!(back, ["x", "ada"]);
    assert_eq!(ages.range("n".."a")?.count(), 0);
    assert_eq!(ages.prefix("a")?.count(), 1);
    assert_eq!(ages.pop_last()?, Some(("y".to_owned(), 2)));
    ages.update("ada", |_| None)?;
    ages.update("new", |old| Some(old.unwrap_or(5)))?;
    assert_eq!(ages.pop_first()?, Some(("new".to_owned(), 5)));
    ages.clear()?;
    assert_eq!((ages.len()?, ages.pop_first()?, ages.pop_last()?), (0, None, None));

    let mut blobs = TableMut::open(&mut store, &BLOBS)?;
    blobs.insert(b"key", b"value")?;
    blobs.update(b"key", |old| old.map(|old| [old, b"!"].concat()))?;
    assert_eq!(blobs.get(b"key")?, Some(b"value!".as_slice()));
    assert_eq!(blobs.prefix(b"k")?.count(), 1);

    let mut edges = TableMut::open(&mut store, &EDGES)?;
    edges.insert((1, "knows", 2), ())?;
    edges.insert((1, "knows", 3), ())?;
    edges.insert((1, "likes", 3), ())?;
    edges.insert((2, "knows", 1), ())?;
    assert_eq!(edges.range((1, "knows", 3)..)?.count(), 3);
    assert_eq!(edges.prefix((1, "knows"))?.count(), 2);
    assert_eq!(edges.prefix((1,))?.rev().count(), 3);
    assert_eq!(edges.remove_range((1, "", 0)..(2, "", 0))?, 3);
    assert_eq!(edges.first()?, Some(((2, "knows", 1), ())));

    let mut batch = Batch::new();
    batch.insert(&AGES, "alan", 41).remove(&AGES, "bob").remove_range(&AGES, "x".."z");
    batch.insert(&EDGES, (1, "knows", 2), ()).insert(&BLOBS, b"a", b"b");
    assert_eq!((batch.len(), batch.is_empty()), (5, false));
    let mut batch = batch.durability(Durability::None);
    assert_eq!(batch.durability_or(Durability::Sync), Durability::None);
    batch.seal()?;
    batch.apply(&mut store)?;
    assert_eq!(all(&mut store, &AGES), [("alan".to_owned(), 41)]);
    Ok(())
}

#[test]
fn what_a_batch_cannot_hold_is_answered_when_it_is_sealed() {
    let long = "k".repeat(KEY_BYTES_MAX + 1);
    let mut batch = Batch::new();
    batch.insert(&AGES, &long[1..], 1).remove(&AGES, &long).insert(&AGES, "a", 1);
    let error = batch.seal().unwrap_err();
    let Error::TooLarge { what: Limit::Key, len, max } = error else {
        panic!("{error}");
    };
    assert_eq!((len, max), (KEY_BYTES_MAX + 1, KEY_BYTES_MAX));
    let mut store = Model::default();
    let mut ages = TableMut::open(&mut store, &AGES).unwrap();
    assert!(matches!(ages.extend([(long.as_str(), 1)]), Err(Error::TooLarge { .. })));
}

#[test]
fn retain_and_extract_if_take_what_they_are_asked_for() -> Result<()> {
    let mut store = Model::default();
    let mut ages = TableMut::open(&mut store, &AGES)?;
    let names: Vec<_> = (0..100).map(|n| format!("{n:03}")).collect();
    ages.extend(names.iter().map(String::as_str).zip(0..))?;
    let mut shown = 0;
    let removed = ages.retain(|name, age| {
        assert_eq!(name.parse(), Ok(age));
        shown += 1;
        age % 3 == 0
    })?;
    assert_eq!((removed, shown, ages.len()?), (66, 100, 34));
    let taken: Result<Vec<_>> = ages.extract_if(|_, age| age % 2 == 0).take(5).collect();
    assert_eq!(taken?.last(), Some(&("024".to_owned(), 24)));
    assert_eq!(ages.len()?, 29);
    assert_eq!(ages.extract_if(|_, _| true).count(), 29);
    assert_eq!(ages.extract_if(|_, _| true).count(), 0);
    assert_eq!(ages.retain(|_, _| false)?, 0);
    Ok(())
}

#[test]
fn a_damaged_value_is_an_error_wherever_it_is_read() -> Result<()> {
    let mut store = Model::default();
    TableMut::open(&mut store, &AGES)?.clear()?;
    store.tables[0].2.insert(b"bad".to_vec(), b"short".to_vec());
    let mut ages = TableMut::open(&mut store, &AGES)?;
    let is_damage = |error: &Error| {
        let expected = "pages is damaged: a value of 5 bytes is not a u64";
        assert_eq!(error.to_string(), expected);
        true
    };
    assert!(ages.get("bad").is_err_and(|e| is_damage(&e)));
    assert!(ages.first().is_err_and(|e| is_damage(&e)));
    assert!(ages.get_many(["bad"]).is_err_and(|e| is_damage(&e)));
    assert!(ages.iter()?.next().unwrap().is_err_and(|e| is_damage(&e)));
    assert!(ages.pop_first().is_err_and(|e| is_damage(&e)));
    assert!(ages.retain(|_, _| true).is_err_and(|e| is_damage(&e)));
    assert!(ages.extract_if(|_, _| true).next().unwrap().is_err_and(|e| is_damage(&e)));
    assert!(ages.update("bad", |_| None).is_err_and(|e| is_damage(&e)));
    assert!(ages.contains("bad")? && ages.remove("bad")?);
    Ok(())
}

/// A write to one of two tables.
#[derive(Clone, Debug)]
enum Op {
    Insert(bool, String, u64),
    Remove(bool, String),
    RemoveRange(bool, String, String),
}

fn op() -> impl Strategy<Value = Op> {
    let key = || super::text();
    prop_oneof![
        6 => (any::<bool>(), key(), 0..9_u64).prop_map(|(t, k, v)| Op::Insert(t, k, v)),
        3 => (any::<bool>(), key()).prop_map(|(t, k)| Op::Remove(t, k)),
        1 => (any::<bool>(), key(), key()).prop_map(|(t, a, b)| Op::RemoveRange(t, a, b)),
    ]
}

proptest! {
    #[test]
    fn a_batch_does_what_its_writes_say_in_their_order(ops in vec(op(), 0..60)) {
        let tables = [Table::<&str, u64>::new("one"), Table::named("two")];
        let mut maps = [BTreeMap::new(), BTreeMap::new()];
        let (mut store, mut batch) = (Model::default(), Batch::new());
        for op in &ops {
            match op {
                Op::Insert(at, key, value) => {
                    maps[usize::from(*at)].insert(key.clone(), *value);
                    batch.insert(&tables[usize::from(*at)], key, *value);
                }
                Op::Remove(at, key) => {
                    maps[usize::from(*at)].remove(key);
                    batch.remove(&tables[usize::from(*at)], key);
                }
                Op::RemoveRange(at, from, to) => {
                    maps[usize::from(*at)].retain(|key, _| !(from..=to).contains(&key));
                    batch.remove_range(&tables[usize::from(*at)], from.as_str()..=to.as_str());
                }
            }
        }
        batch.seal().unwrap();
        batch.apply(&mut store).unwrap();
        for (table, map) in tables.iter().zip(maps) {
            prop_assert_eq!(all(&mut store, table), Vec::from_iter(map));
        }
    }

    #[test]
    fn extend_equals_inserting_each(
        before in vec((super::text(), any::<u64>()), 0..20),
        entries in vec((super::text(), any::<u64>()), 0..300),
    ) {
        let (mut store, mut map) = (Model::default(), BTreeMap::new());
        let mut ages = TableMut::open(&mut store, &AGES).unwrap();
        for part in [before, entries] {
            let len = map.len();
            map.extend(part.iter().cloned());
            let new = ages.extend(part.iter().map(|(key, value)| (key.as_str(), *value))).unwrap();
            prop_assert_eq!(new as usize, map.len() - len);
        }
        prop_assert_eq!(all(&mut store, &AGES), Vec::from_iter(map));
    }

    #[test]
    fn ranges_of_tuples_are_those_of_a_map(
        keys in vec((0..3_u64, super::text(), 0..3_u64), 0..40),
        from in (0..3_u64, super::text(), 0..3_u64), to in (0..3_u64, super::text(), 0..3_u64),
    ) {
        let mut store = Model::default();
        let mut edges = TableMut::open(&mut store, &EDGES).unwrap();
        edges.extend(keys.iter().map(|(a, b, c)| ((*a, b.as_str(), *c), ()))).unwrap();
        let (from, to) = ((from.0, from.1.as_str(), from.2), (to.0, to.1.as_str(), to.2));
        let expected = || {
            let keys = keys.iter().map(|(a, b, c)| (*a, b.as_str(), *c));
            keys.filter(|key| (from..=to).contains(key)).collect::<BTreeSet<_>>()
        };
        let found: Vec<_> = edges.range(from..=to).unwrap().map(|entry| entry.unwrap().0).collect();
        prop_assert_eq!(&found, &Vec::from_iter(expected()));
        let back = edges.range(from..=to).unwrap().rev().map(|entry| entry.unwrap().0);
        prop_assert_eq!(back.collect::<Vec<_>>(), expected().into_iter().rev().collect::<Vec<_>>());
        let count = found.len();
        let removed = edges.remove_range(from..=to).unwrap();
        prop_assert_eq!(removed as usize, count);
        prop_assert_eq!(edges.range(from..=to).unwrap().count(), 0);
    }
}
