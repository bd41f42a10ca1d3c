//! A delta over a leaf equals the leaf that it stands for.

use super::{
    Random, Runs, SHAPES, SIZES, Shape,
    leaf::{Entries, check, probe, used_bytes},
    page,
};
use crate::page::{
    Kind,
    cell::{Cell, NewKey, NewValue, PartKey},
    delta::{self, Change, Size},
    leaf::{Leaf, LeafBytes, LeafMut},
};
use std::ops::Range;

/// A leaf, and a delta over it once there is one.
struct Pair {
    base: Vec<u8>,
    delta: Option<Vec<u8>>,
}

impl Pair {
    fn bytes(&self) -> LeafBytes<'_> {
        match &self.delta {
            Some(page) => LeafBytes { page, base: &self.base },
            None => LeafBytes::whole(&self.base),
        }
    }

    fn leaf(&self) -> Leaf<'_> {
        Leaf::of(self.bytes()).unwrap()
    }

    /// A delta of the entries `part`.
    fn part(&self, size: Size, part: Range<usize>) -> Vec<u8> {
        let mut delta = vec![0x5A; size.bytes(self.base.len())];
        delta::begin_part(&mut delta, self.bytes(), part).unwrap();
        delta
    }

    /// The delta, with room for a change; none if there is none.
    /// One that it copies is of the size asked for, else it is at least of that size.
    fn for_change(&mut self, change: Change, copies: bool) -> Option<LeafMut<'_>> {
        let size = delta::size_for(self.leaf(), change).unwrap()?;
        if self.delta.is_none() {
            let mut delta = vec![0x5A; size.bytes(self.base.len())];
            delta::begin(&mut delta, &self.base).unwrap();
            assert_eq!(delta::base(&delta), crate::page::child(&self.base));
            self.delta = Some(delta);
        } else if copies || size.bytes(self.base.len()) > self.bytes().page.len() {
            let mut delta = vec![0x5A; size.bytes(self.base.len())];
            delta::resize(&mut delta, self.bytes()).unwrap();
            self.delta = Some(delta);
        }
        Some(LeafMut::over(self.delta.as_mut()?, &self.base).unwrap())
    }

    fn fold(&self) -> Vec<u8> {
        let mut page = vec![0x5A; self.base.len()];
        delta::fold(self.bytes(), &mut page).unwrap();
        page
    }
}

fn cell_bytes(key: NewKey<'_>, value: NewValue<'_>) -> usize {
    Cell::new_len(PartKey::new(key), value)
}

fn filled(
    shape: Shape,
    page_bytes: usize,
    random: &mut Random,
    runs: &mut Runs,
) -> (Pair, Entries) {
    let mut base = page(page_bytes, Kind::Leaf);
    let (mut leaf, mut entries) = (LeafMut::new(&mut base).unwrap(), Entries::new());
    for _ in 0..random.below(300) {
        let key = shape.key(random, page_bytes);
        let value = Shape::value(random, page_bytes, key.len());
        let Err(i) = entries.binary_search_by(|(other, _)| other.cmp(&key)) else { continue };
        let (new_key, new_value) =
            (runs.key(page_bytes, &key), runs.value(page_bytes, key.len(), &value));
        if leaf.insert(i, new_key, new_value).unwrap() {
            entries.insert(i, (key, value));
        }
    }
    (Pair { base, delta: None }, entries)
}

/// Cuts a leaf in two deltas, each with room for an entry.
fn check_parts(pair: &Pair, runs: &Runs, entries: &Entries, left: usize, new: [usize; 2]) {
    let Some(sizes) = delta::sizes_for_parts(pair.leaf(), left, new).unwrap() else { return };
    for (size, part) in sizes.into_iter().zip([0..left, left..entries.len()]) {
        let delta = pair.part(size, part.clone());
        let half = Pair { base: pair.base.clone(), delta: Some(delta) };
        let expected = entries[part].to_vec();
        check(half.leaf(), runs, &expected);
        half.leaf().check_cells().unwrap();
        let folded = half.fold();
        let folded = Leaf::new(&folded).unwrap();
        folded.check_cells().unwrap();
        check(folded, runs, &expected);
        assert_eq!(half.leaf().used_bytes(), folded.used_bytes());
    }
}

fn run(page_bytes: usize, shape: Shape, seed: u64) -> usize {
    let (mut random, mut runs) = (Random(seed), Runs::default());
    let (mut pair, mut entries) = filled(shape, page_bytes, &mut random, &mut runs);
    let mut changes = 0;
    for _ in 0..60 {
        let key = shape.key(&mut random, page_bytes);
        let value = Shape::value(&mut random, page_bytes, key.len());
        let found = entries.binary_search_by(|(other, _)| other.cmp(&key));
        let copies = random.below(3) == 0;
        let some = random.below(entries.len().max(1));
        match (random.below(4), found) {
            (0 | 1, Err(i)) => {
                let (new_key, new_value) =
                    (runs.key(page_bytes, &key), runs.value(page_bytes, key.len(), &value));
                let cell = cell_bytes(new_key, new_value);
                check_parts(&pair, &runs, &entries, i, [cell, 0]);
                if let Some(mut leaf) = pair.for_change(Change { cell, gone: None }, copies) {
                    assert!(leaf.insert(i, new_key, new_value).unwrap());
                    entries.insert(i, (key, value));
                    changes += 1;
                }
            }
            (2, _) if !entries.is_empty() => {
                let key = entries[some].0.clone();
                let value = Shape::value(&mut random, page_bytes, key.len());
                let (new_key, new_value) =
                    (runs.key(page_bytes, &key), runs.value(page_bytes, key.len(), &value));
                let cell = cell_bytes(new_key, new_value);
                if let Some(mut leaf) = pair.for_change(Change { cell, gone: Some(some) }, copies) {
                    assert!(leaf.replace_value(some, new_value).unwrap());
                    entries[some].1 = value;
                    changes += 1;
                }
            }
            (3, _) if entries.len() > 1 => {
                if let Some(mut leaf) =
                    pair.for_change(Change { cell: 0, gone: Some(some) }, copies)
                {
                    leaf.remove(some).unwrap();
                    entries.remove(some);
                    changes += 1;
                }
            }
            _ => {}
        }
        let leaf = pair.leaf();
        leaf.check_cells().unwrap();
        check(leaf, &runs, &entries);
        probe(pair.bytes(), &runs, &entries, &shape.key(&mut random, page_bytes));
        assert_eq!(leaf.used_bytes(), used_bytes(page_bytes, &entries));
        assert_eq!(leaf.used_bytes() + leaf.free_bytes(), page_bytes);
        if pair.delta.is_some() {
            let folded = pair.fold();
            Leaf::new(&folded).unwrap().check_cells().unwrap();
            check(Leaf::new(&folded).unwrap(), &runs, &entries);
        }
    }
    changes
}

#[test]
fn a_delta_equals_the_leaf_that_it_stands_for() {
    let mut changes = 0;
    for page_bytes in SIZES {
        for shape in SHAPES {
            changes += (1..12).map(|seed| run(page_bytes, shape, seed)).sum::<usize>();
        }
    }
    assert!(changes > 5000, "{changes}");
}

#[test]
fn a_delta_without_its_base_is_no_leaf() {
    let (mut random, mut runs) = (Random(5), Runs::default());
    let (mut pair, entries) = filled(Shape::Integers, 32768, &mut random, &mut runs);
    assert!(entries.len() > 1);
    pair.for_change(Change { cell: 0, gone: Some(0) }, false).unwrap().remove(0).unwrap();
    let bytes = LeafBytes::whole(pair.bytes().page);
    let wrong = Leaf::of(bytes).and_then(|leaf| leaf.entry(0).map(|_| ()));
    assert!(matches!(wrong, Err(crate::error::Error::Corrupt { .. })));
}
