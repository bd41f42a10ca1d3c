//! A leaf holds what a sorted vector of entries holds.

use super::{Random, Runs, SHAPES, SIZES, Shape, page};
use crate::page::{
    HEADER_BYTES, Kind,
    cell::{RUN_KEY_START_BYTES, key_inline_max, value_inline_max},
    filling::Filling,
    leaf::{ARRAYS, CellKey, CellValue, Leaf, LeafBytes, LeafMut, Lookup},
};

pub(super) type Entries = Vec<(Vec<u8>, Vec<u8>)>;

/// What the layout says that an entry takes, computed anew.
fn cell_bytes(page_bytes: usize, key: usize, value: usize) -> usize {
    let part = |len: usize, max: usize, kept: usize| match len {
        len if len > max => 12 + kept,
        len if len >= 253 => len + 2,
        len => len,
    };
    let value_max = value_inline_max(page_bytes, key);
    2 + part(key, key_inline_max(page_bytes), RUN_KEY_START_BYTES) + part(value, value_max, 0)
}

pub(super) fn used_bytes(page_bytes: usize, entries: &Entries) -> usize {
    let cells = entries.iter().map(|(key, value)| cell_bytes(page_bytes, key.len(), value.len()));
    HEADER_BYTES + 7 * entries.len().next_multiple_of(8) + cells.sum::<usize>()
}

fn content(leaf: Leaf<'_>, runs: &Runs, i: usize) -> (Vec<u8>, Vec<u8>) {
    let (key, value) = leaf.entry(i).unwrap();
    let key = match key {
        CellKey::Inline(bytes) => bytes.to_vec(),
        CellKey::Run(run) => runs.get(run).unwrap().to_vec(),
    };
    let value = match value {
        CellValue::Inline(bytes) => bytes.to_vec(),
        CellValue::Run(run) => runs.get(run).unwrap().to_vec(),
    };
    (key, value)
}

pub(super) fn check(leaf: Leaf<'_>, runs: &Runs, entries: &Entries) {
    assert_eq!(leaf.len(), entries.len());
    let resolve = |run| runs.get(run);
    for (i, entry) in entries.iter().enumerate() {
        assert_eq!(&content(leaf, runs, i), entry);
        assert_eq!(leaf.find(&entry.0, &resolve).unwrap(), Some(i));
        assert_eq!(leaf.search(&entry.0, &resolve).unwrap(), Ok(i));
    }
}

/// A search for any key answers as a search in the vector does.
pub(super) fn probe(bytes: LeafBytes<'_>, runs: &Runs, entries: &Entries, key: &[u8]) {
    let leaf = Leaf::of(bytes).unwrap();
    let resolve = |run| runs.get(run);
    let expected = entries.binary_search_by(|(other, _)| other.as_slice().cmp(key));
    assert_eq!(leaf.search(key, &resolve).unwrap(), expected);
    assert_eq!(leaf.find(key, &resolve).unwrap(), expected.ok());
    let found = Lookup::begin(bytes, key).unwrap().entry(key, &resolve).unwrap();
    let value = found.map(|(_, value)| value.resolve(&resolve).unwrap());
    assert_eq!(value, expected.ok().map(|i| entries[i].1.as_slice()));
}

/// Splits a full leaf around one more entry; both halves hold what they should.
fn check_split(page_bytes: usize, leaf: Leaf<'_>, runs: &mut Runs, entries: &Entries, i: usize) {
    let (key, value) = &entries[i];
    let new_key = runs.key(page_bytes, key);
    let new_value = runs.value(page_bytes, key.len(), value);
    let cut = leaf.split_point(i, new_key, new_value).unwrap();
    assert!((1..entries.len()).contains(&cut));
    for half in [0..cut, cut..entries.len()] {
        let mut page = page(page_bytes, Kind::Leaf);
        let mut target = LeafMut::new(&mut page).unwrap();
        for at in half.clone() {
            let fits = match at.cmp(&i) {
                std::cmp::Ordering::Less => target.push_from(leaf, at),
                std::cmp::Ordering::Equal => target.push(new_key, new_value),
                std::cmp::Ordering::Greater => target.push_from(leaf, at - 1),
            };
            assert!(fits.unwrap());
        }
        check(target.as_leaf(), runs, &entries[half].to_vec());
    }
}

fn run(page_bytes: usize, shape: Shape, seed: u64, steps: usize) {
    let mut random = Random(seed);
    let (mut runs, mut entries) = (Runs::default(), Entries::new());
    let mut bytes = page(page_bytes, Kind::Leaf);
    let mut leaf = LeafMut::new(&mut bytes).unwrap();
    for step in 0..steps {
        let key = shape.key(&mut random, page_bytes);
        let value = Shape::value(&mut random, page_bytes, key.len());
        probe(LeafBytes::whole(leaf.as_leaf().page), &runs, &entries, &key);
        let found = entries.binary_search_by(|(other, _)| other.cmp(&key));
        let mut after = entries.clone();
        match (random.below(10), found) {
            (0..=5, Err(i)) => {
                after.insert(i, (key.clone(), value.clone()));
                let new_key = runs.key(page_bytes, &key);
                let new_value = runs.value(page_bytes, key.len(), &value);
                let fits = leaf.insert(i, new_key, new_value).unwrap();
                assert_eq!(fits, used_bytes(page_bytes, &after) <= page_bytes);
                if fits {
                    entries = after;
                } else {
                    check_split(page_bytes, leaf.as_leaf(), &mut runs, &after, i);
                }
            }
            (6 | 7, _) if !entries.is_empty() => {
                let i = random.below(entries.len());
                let key_len = entries[i].0.len();
                let value = Shape::value(&mut random, page_bytes, key_len);
                after[i].1.clone_from(&value);
                let new_value = runs.value(page_bytes, key_len, &value);
                let fits = leaf.replace_value(i, new_value).unwrap();
                assert_eq!(fits, used_bytes(page_bytes, &after) <= page_bytes);
                entries = if fits { after } else { entries };
            }
            (8, _) if !entries.is_empty() => {
                let i = random.below(entries.len());
                leaf.remove(i).unwrap();
                entries.remove(i);
            }
            (9, _) if random.below(8) == 0 => {
                let from = random.below(entries.len() + 1);
                let to = from + random.below(entries.len() - from + 1);
                leaf.remove_range(from..to).unwrap();
                entries.drain(from..to);
            }
            _ => {}
        }
        assert_eq!(leaf.as_leaf().used_bytes(), used_bytes(page_bytes, &entries));
        if step % 8 == 0 {
            check(leaf.as_leaf(), &runs, &entries);
        }
    }
    check(leaf.as_leaf(), &runs, &entries);
}

#[test]
fn a_leaf_equals_a_sorted_vector() {
    for page_bytes in SIZES {
        for (seed, shape) in SHAPES.into_iter().enumerate() {
            run(page_bytes, shape, seed as u64 + 1, 1200);
        }
    }
}

/// All bytes of a leaf that mean something: header, arrays, cells.
fn parts(page: &[u8]) -> Vec<&[u8]> {
    let count = Leaf::new(page).unwrap().len();
    let array = |i: usize| &page[ARRAYS.start(i, count)..][..count * ARRAYS.widths[i]];
    let spare_heads = &page[ARRAYS.start(2, count)..ARRAYS.end(count)];
    let cells = &page[crate::page::field(page, crate::page::CELLS_START)..];
    vec![&page[..HEADER_BYTES], array(0), array(1), array(2), spare_heads, cells]
}

#[test]
fn a_leaf_laid_out_at_once_is_the_one_that_was_pushed() {
    for (page_bytes, (seed, shape)) in
        SIZES.into_iter().flat_map(|bytes| SHAPES.into_iter().enumerate().map(move |s| (bytes, s)))
    {
        let (mut random, mut runs) = (Random(seed as u64 + 77), Runs::default());
        let mut filling = Filling::new(page_bytes);
        for _ in 0..20 {
            let many = 1 + random.below(600);
            let mut keys: Vec<_> = (0..many).map(|_| shape.key(&mut random, page_bytes)).collect();
            keys.sort();
            keys.dedup();
            let mut bytes = page(page_bytes, Kind::Leaf);
            let mut leaf = LeafMut::new(&mut bytes).unwrap();
            for key in &keys {
                let value = Shape::value(&mut random, page_bytes, key.len());
                let value = runs.value(page_bytes, key.len(), &value);
                let key = runs.key(page_bytes, key);
                let fits = leaf.push(key, value).unwrap();
                assert_eq!(filling.push(key, value), fits);
                if !fits {
                    break;
                }
            }
            // What was in the page before does not matter.
            let mut laid_out = bytes.clone();
            laid_out[HEADER_BYTES..].fill(0x5A);
            filling.lay_out(&mut laid_out).unwrap();
            assert!(filling.is_empty());
            assert!(parts(&laid_out) == parts(&bytes), "{page_bytes} {shape:?}");
            filling.push_all(Leaf::new(&bytes).unwrap()).unwrap();
            filling.lay_out(&mut laid_out).unwrap();
            assert!(parts(&laid_out) == parts(&bytes), "{page_bytes} {shape:?}");
        }
    }
}

#[test]
fn a_leaf_filled_in_order_skips_the_true_prefix() {
    let mut bytes = page(4096, Kind::Leaf);
    let mut leaf = LeafMut::new(&mut bytes).unwrap();
    for i in 0..40u16 {
        let key = [b"shared/".as_slice(), &i.to_be_bytes()].concat();
        assert!(leaf.push(super::NewKey::Inline(&key), super::NewValue::Inline(b"v")).unwrap());
    }
    assert_eq!(crate::page::field(&bytes, crate::page::PREFIX_LEN), b"shared/\0".len());
}

#[test]
fn an_entry_at_the_limits_takes_at_most_half_a_leaf() {
    for page_bytes in SIZES {
        assert!(key_inline_max(page_bytes) >= 1024);
        assert_eq!(value_inline_max(page_bytes, 24), page_bytes / 4);
        for key_len in [0, 1024, key_inline_max(page_bytes), key_inline_max(page_bytes) + 1] {
            let value_len = value_inline_max(page_bytes, key_len);
            let entry = 7 + cell_bytes(page_bytes, key_len, value_len);
            assert!(2 * entry <= page_bytes - HEADER_BYTES - 2 * 7 * 7, "{page_bytes} {key_len}");
        }
    }
}
