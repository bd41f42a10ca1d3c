//! Every way there is to read a store, against the model.
//! Owns: [`compare`].

use super::{
    dice::Dice,
    model::{Model, Raw, Rows, Wrong, compare_scan, expect, same},
};
use recto::View;
use std::{
    ops::{Bound, RangeBounds},
    sync::Arc,
};

/// Compares everything, every way there is to read it.
pub fn compare(view: &View, model: &Model, dice: &mut Dice) -> Result<(), Wrong> {
    compare_scan(view, model)?;
    for (name, rows) in model {
        let table = view.table(&Raw::named(name.as_str()))?;
        let pair = |(key, value): (&'_ Vec<u8>, &'_ Arc<[u8]>)| (key.clone(), value.to_vec());
        expect(
            "first",
            &table.first()?.map(|(k, v)| (k.to_vec(), v.to_vec())),
            &rows.first_key_value().map(pair),
        )?;
        expect(
            "last",
            &table.last()?.map(|(k, v)| (k.to_vec(), v.to_vec())),
            &rows.last_key_value().map(pair),
        )?;
        let mut expected = rows.iter().map(|(key, value)| (&key[..], &value[..]));
        for entry in table.iter()?.rev() {
            same(name, Some(entry?), expected.next_back())?;
        }
        same(name, None, expected.next_back())?;
        let mut keys: Vec<Vec<u8>> = rows.keys().cloned().collect();
        for key in rows.keys().take(30) {
            keys.push([key.as_slice(), b"\0"].concat());
            keys.push(key[..key.len() / 2].to_vec());
        }
        for _ in 0..keys.len() {
            let (a, b) = (dice.below(keys.len()), dice.below(keys.len()));
            keys.swap(a, b);
        }
        let found = table.get_many(keys.iter().map(|key| &key[..]))?;
        for (key, found) in keys.iter().zip(found) {
            let expected = rows.get(key).map(|value| &value[..]);
            same(name, found.map(|v| (&key[..], v)), expected.map(|v| (&key[..], v)))?;
            expect("get", &table.get(key)?.map(<[u8]>::len), &expected.map(<[u8]>::len))?;
        }
        for _ in 0..8 {
            if !keys.is_empty() {
                compare_range(name, &table, rows, &keys, dice)?;
            }
        }
    }
    Ok(())
}

fn compare_range(
    name: &str,
    table: &recto::TableRef<'_, &'static [u8], &'static [u8]>,
    rows: &Rows,
    keys: &[Vec<u8>],
    dice: &mut Dice,
) -> Result<(), Wrong> {
    let (a, b) = (&keys[dice.below(keys.len())], &keys[dice.below(keys.len())]);
    let bound = |key, dice: &mut Dice| match dice.below(5) {
        0 => Bound::Unbounded,
        1 | 2 => Bound::Included(key),
        _ => Bound::Excluded(key),
    };
    let range = (bound(a, dice), bound(b, dice));
    let expected: Vec<(&[u8], &[u8])> = rows
        .iter()
        .filter(|(key, _)| range.contains(key))
        .map(|(key, value)| (&key[..], &value[..]))
        .collect();
    let mut expected = expected.into_iter();
    let lent = (range.0.map(|k| &k[..]), range.1.map(|k| &k[..]));
    let mut found = table.range(lent)?;
    loop {
        let (found, expected) = if dice.once_in(2) {
            (found.next().transpose()?, expected.next())
        } else {
            (found.next_back().transpose()?, expected.next_back())
        };
        same(name, found, expected)?;
        if found.is_none() {
            return Ok(());
        }
    }
}
