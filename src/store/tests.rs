//! A store opened again behind a kill equals a model, whatever its log held.

use super::Store;
use crate::{
    options::{Durability, Options},
    table::Table,
    txn::{batch::Batch, write::WriteTx},
};
use std::{collections::BTreeMap, fs, path::Path};

type Model = BTreeMap<(usize, u64), Vec<u8>>;

const NAMES: [&str; 3] = ["one", "two", "three"];

fn table(which: usize) -> Table<u64, &'static [u8]> {
    Table::new(NAMES[which])
}

fn options() -> Options {
    Options::new().durability(Durability::None).log_segment_bytes(1 << 20)
}

/// What a process that is killed now leaves, opened.
fn opened_again(dir: &Path) -> (tempfile::TempDir, Store) {
    let copy = tempfile::tempdir().unwrap();
    for file in fs::read_dir(dir).unwrap() {
        let file = file.unwrap();
        fs::copy(file.path(), copy.path().join(file.file_name())).unwrap();
    }
    let store = options().open(copy.path()).unwrap();
    (copy, store)
}

fn expect(store: &Store, version: u64, model: &Model) {
    let snapshot = store.snapshot();
    assert_eq!(snapshot.version(), version);
    for which in 0..NAMES.len() {
        let entries = snapshot.table(&table(which)).unwrap().iter().unwrap();
        let found: Vec<(u64, Vec<u8>)> =
            entries.map(|entry| entry.map(|(k, v)| (k, v.to_vec())).unwrap()).collect();
        let expected = model.range((which, 0)..=(which, u64::MAX));
        let expected: Vec<(u64, Vec<u8>)> =
            expected.map(|(&(_, key), value)| (key, value.clone())).collect();
        assert!(found == expected, "table {which} at version {version}");
    }
    store.check().unwrap();
}

/// A commit drawn by `roll`, which gives a number below another; on the store and the model.
fn commit_one(store: &Store, model: &mut Model, version: u64, roll: &mut impl FnMut(u64) -> u64) {
    let (which, key) = (roll(3) as usize, roll(40));
    let value = vec![version as u8; roll(90) as usize];
    match roll(20) {
        // Writes to few keys, some of them twice in one commit.
        0..12 => {
            let mut batch = Batch::new();
            for key in [key, roll(40), key] {
                if roll(3) == 0 {
                    batch.remove(&table(which), key);
                    model.remove(&(which, key));
                } else {
                    batch.insert(&table(which), key, &value);
                    model.insert((which, key), value.clone());
                }
            }
            store.submit(batch).unwrap().wait().unwrap();
        }
        12..16 => {
            let insert = |tx: &mut WriteTx<'_>| tx.table(&table(which))?.insert(key, &value);
            store.write(insert).unwrap();
            model.insert((which, key), value);
        }
        16..18 => {
            let end = key + roll(12);
            let mut batch = Batch::new();
            batch.insert(&table(which), key + 1, &value);
            batch.remove_range(&table(which), key..end);
            batch.insert(&table(which), key, &value);
            store.submit(batch).unwrap().wait().unwrap();
            model.insert((which, key + 1), value.clone());
            model.retain(|&(t, k), _| t != which || !(key..end).contains(&k));
            model.insert((which, key), value);
        }
        18 => {
            let drop_and_insert = |tx: &mut WriteTx<'_>| {
                tx.table(&table(which))?.insert(key, &value)?;
                tx.drop_table(NAMES[which])?;
                tx.table(&table(which))?.insert(key + 1, &value)
            };
            store.write(drop_and_insert).unwrap();
            model.retain(|&(t, _), _| t != which);
            model.insert((which, key + 1), value);
        }
        _ => {
            let swap = |tx: &mut WriteTx<'_>| {
                for which in 0..2 {
                    tx.table(&table(which))?.insert(key, &value)?;
                }
                tx.rename_table("one", "aside")?;
                tx.rename_table("two", "one")?;
                tx.rename_table("aside", "two")
            };
            store.write(swap).unwrap();
            let both = std::mem::take(model).into_iter();
            *model = both.map(|((t, k), v)| (([1, 0, 2][t], k), v)).collect();
            model.insert((0, key), value.clone());
            model.insert((1, key), value);
        }
    }
}

#[test]
fn what_is_replayed_comes_in_the_order_of_the_log() {
    let mut seed = 11_u64;
    let mut roll = move |n: u64| {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (seed >> 33) % n
    };
    let dir = tempfile::tempdir().unwrap();
    let store = options().open(dir.path()).unwrap();
    let mut model = Model::new();
    for version in 1..=600 {
        commit_one(&store, &mut model, version, &mut roll);
        if version % 40 == 0 {
            let (_copy, again) = opened_again(dir.path());
            expect(&again, version, &model);
        }
        if version == 300 {
            store.checkpoint().unwrap();
        }
    }
    expect(&store, 600, &model);
}
