//! Whatever comes, in whatever order: a table then holds what a sorted map holds.

use super::{Extend, gathered::Gathered, runs::Runs};
use crate::{
    error::{Error, Limit, Result},
    options::KEY_BYTES_MAX,
    storage::{Storage, memory::MemoryStorage},
    table::{
        Table,
        tests::model::{Bytes, Model},
    },
    txn::raw::WriteRaw,
};
use proptest::{collection::vec, prelude::*};

const BLOBS: Table<&[u8], &[u8]> = Table::new("blobs");
type Entries = Vec<(Vec<u8>, Vec<u8>)>;

/// A model over `storage`, that has `sort_bytes` for sorting, with `before` in its table.
fn model(storage: &MemoryStorage, sort_bytes: usize, before: &Entries) -> (Model, usize) {
    let mut model = Model { sorting: Some((storage.clone(), sort_bytes)), ..Model::default() };
    let table = model.open(BLOBS.asked()).unwrap();
    for (key, value) in before {
        model.insert(table, key, value).unwrap();
    }
    (model, table)
}

/// Extends both, and compares.
fn same(sort_bytes: usize, before: &Entries, entries: &Entries) {
    let storage = MemoryStorage::new();
    let (mut model, table) = model(&storage, sort_bytes, before);
    let mut expected: Bytes = before.iter().cloned().collect();
    let old_len = expected.len();
    expected.extend(entries.iter().cloned());
    let mut extend = Extend::new(&mut model, table).unwrap();
    for (key, value) in entries {
        extend.push(key, value).unwrap();
    }
    assert_eq!(extend.finish().unwrap(), (expected.len() - old_len) as u64);
    assert!(model.tables[table].2 == expected, "{} entries in {sort_bytes}", entries.len());
    assert!(storage.list().unwrap().is_empty(), "no file stays");
}

fn in_all_rooms(before: &Entries, entries: &Entries) {
    for sort_bytes in [4096, 20_000, 1 << 20] {
        same(sort_bytes, before, entries);
    }
}

/// Numbers in no order, none of them twice.
fn scattered(len: u32) -> impl Iterator<Item = u32> {
    (0..len).map(|n| n.wrapping_mul(0x9E37_79B1).rotate_left(7))
}

fn numbered(numbers: impl Iterator<Item = u32>, value_len: usize) -> Entries {
    let value = |i: usize, n: u32| {
        let mut value = vec![n as u8; value_len];
        value.extend_from_slice(&(i as u32).to_be_bytes());
        value
    };
    numbers.enumerate().map(|(i, n)| (n.to_be_bytes().to_vec(), value(i, n))).collect()
}

#[test]
fn nothing_and_one_entry_and_few_go_in() {
    for len in [0, 1, 2, 3] {
        in_all_rooms(&Entries::new(), &numbered(scattered(len), 10));
        in_all_rooms(&numbered(scattered(5), 3), &numbered(scattered(len), 10));
    }
}

#[test]
fn every_order_gives_the_same() {
    let before = numbered(scattered(300).map(|n| n ^ 1), 20);
    for entries in [
        numbered(0..3000, 50),
        numbered((0..3000).rev(), 50),
        numbered(scattered(3000), 50),
        // Ascending for a while, then in no order, then behind everything.
        numbered((0..500).chain(scattered(1000)).chain(u32::MAX - 500..u32::MAX), 50),
        // Ascending, time and again over the same keys.
        numbered((0..4).flat_map(|_| 0..700), 50),
    ] {
        in_all_rooms(&Entries::new(), &entries);
        in_all_rooms(&before, &entries);
    }
}

#[test]
fn of_equal_keys_the_last_counts_in_a_run_and_across_runs() {
    in_all_rooms(&Entries::new(), &numbered(scattered(4000).map(|n| n % 97), 30));
    in_all_rooms(&Entries::new(), &numbered((0..2000).map(|_| 5), 30));
    // Keys that their first eight bytes do not tell apart.
    let mut entries = numbered(scattered(2000).map(|n| n % 500), 30);
    for (key, _) in &mut entries {
        key.splice(0..0, *b"all alike");
    }
    in_all_rooms(&numbered(0..9, 1), &entries);
}

#[test]
fn long_keys_and_long_values_go_through_runs() {
    let mut entries = numbered(scattered(300), 0);
    for (i, (key, value)) in entries.iter_mut().enumerate() {
        match i % 5 {
            0 => key.resize(KEY_BYTES_MAX - i, 7),
            1 => value.resize(100_000 + i, i as u8),
            2 => value.resize([504, 505, 496, 1016][i % 4], i as u8),
            3 => value.clear(),
            _ => *key = key[..i % 4].to_vec(),
        }
    }
    in_all_rooms(&Entries::new(), &entries);
    in_all_rooms(&entries[100..200].to_vec(), &entries);
}

proptest! {
    #[test]
    fn a_table_extended_is_a_map_extended(
        before in vec((vec(0..4u8, 0..6), vec(any::<u8>(), 0..9)), 0..60),
        entries in vec((vec(0..4u8, 0..12), vec(any::<u8>(), 0..300)), 0..400),
        sort_bytes in 100usize..9000,
    ) {
        same(sort_bytes, &before, &entries);
    }
}

#[test]
fn what_is_too_large_is_refused() {
    let (mut model, table) = model(&MemoryStorage::new(), 4096, &Entries::new());
    let mut extend = Extend::new(&mut model, table).unwrap();
    let refused = extend.push(&vec![1; KEY_BYTES_MAX + 1], b"");
    assert!(matches!(refused, Err(Error::TooLarge { what: Limit::Key, .. })), "{refused:?}");
}

/// Some entries in two runs and a third part in memory.
fn in_runs(storage: &MemoryStorage) -> Result<(Runs, Gathered)> {
    let (mut runs, mut gathered) = (Runs::new(storage)?, Gathered::new(1 << 20)?);
    for seed in 0..3 {
        for (key, value) in numbered(scattered(200).map(|n| n ^ seed), 40) {
            assert!(gathered.push(&key, &value)?);
        }
        if seed < 2 {
            let bytes = gathered.bytes();
            runs.write(gathered.sort(), bytes)?;
            gathered.clear()?;
        }
    }
    Ok((runs, gathered))
}

#[test]
fn a_run_that_does_not_come_back_as_it_was_written_is_damage() {
    let storage = MemoryStorage::new();
    let (runs, mut gathered) = in_runs(&storage).unwrap();
    assert_eq!(runs.merge(gathered.sort()).unwrap().map(Result::unwrap).count(), 600);
    for at in [0, 700, 511, 9000] {
        let mut byte = [0];
        runs.file().read_at(&mut byte, at).unwrap();
        runs.file().write_at(&[byte[0] ^ 4], at).unwrap();
        let found = match runs.merge(gathered.sort()) {
            Ok(mut merged) => merged.find_map(Result::err),
            Err(error) => Some(error),
        };
        assert!(matches!(found, Some(Error::Corrupt(_))), "{found:?}");
        runs.file().write_at(&byte, at).unwrap();
    }
    runs.file().truncate(20_000).unwrap();
    let found = runs.merge(gathered.sort()).unwrap().find_map(Result::err);
    assert!(matches!(found, Some(Error::Io(_))), "{found:?}");
}
