//! Pages whose checksum is right and whose content is not: no read and no change panics.

use super::{Random, Runs, SHAPES, SIZES, Shape, page};
use crate::page::{
    Child, Kind, PageId,
    branch::{Branch, BranchMut, Search},
    leaf::{Leaf, LeafBytes, LeafMut, Lookup},
    seal, verify,
};

/// Damages a page, mostly where the layout is, and repairs its checksum.
fn damage(random: &mut Random, page: &mut [u8]) {
    for _ in 0..=random.below(5) {
        let end = [32, 32, 96, 400, page.len()][random.below(5)];
        // The header's first fields are what `expect` compares; damage begins behind them.
        let at = 20 + random.below(end - 20);
        page[at] = match random.below(4) {
            0 => 0,
            1 => 0xFF,
            2 => page[at] ^ 1 << random.below(8),
            _ => random.next() as u8,
        };
    }
    seal(page, 1);
    verify(page, PageId(7), 1).unwrap();
}

fn full_leaf(random: &mut Random, shape: Shape, page_bytes: usize, runs: &mut Runs) -> Vec<u8> {
    let mut bytes = page(page_bytes, Kind::Leaf);
    let mut leaf = LeafMut::new(&mut bytes).unwrap();
    for _ in 0..150 {
        let key = shape.key(random, page_bytes);
        let value = Shape::value(random, page_bytes, key.len());
        let found = leaf.as_leaf().search(&key, &|run| runs.get(run)).unwrap();
        if let Err(i) = found {
            let value = runs.value(page_bytes, key.len(), &value);
            leaf.insert(i, runs.key(page_bytes, &key), value).unwrap();
        }
    }
    bytes
}

fn read_leaf(leaf: Leaf<'_>, runs: &Runs, keys: &[Vec<u8>]) {
    let resolve = |run| runs.get(run);
    for key in keys {
        let _ = leaf.find(key, &resolve);
        if let Ok(Ok(i) | Err(i)) = leaf.search(key, &resolve) {
            assert!(i <= leaf.len());
        }
    }
    for i in 0..leaf.len().min(60) {
        let _ = leaf.entry(i);
    }
    assert!(leaf.used_bytes() + leaf.free_bytes() > 0);
}

/// What a get does to a page whose header it believes but for kind, level and table.
fn get(page: &[u8], runs: &Runs, keys: &[Vec<u8>]) {
    let resolve = |run| runs.get(run);
    for key in keys {
        if let Ok(search) = Search::begin(page, key) {
            search.prefetch_heads();
            let _ = search.child(key, &resolve);
        }
        if let Ok(lookup) = Lookup::begin(LeafBytes::whole(page), key) {
            lookup.prefetch();
            let _ = lookup.entry(key, &resolve);
        }
    }
}

fn change_leaf(random: &mut Random, bytes: &mut [u8], runs: &mut Runs, key: &[u8]) {
    let page_bytes = bytes.len();
    let copy = bytes.to_vec();
    let Ok(mut leaf) = LeafMut::new(bytes) else {
        return;
    };
    for _ in 0..4 {
        let len = leaf.as_leaf().len();
        let i = random.below(len + 1);
        let value = Shape::value(random, page_bytes, key.len());
        let value = runs.value(page_bytes, key.len(), &value);
        let new_key = runs.key(page_bytes, key);
        let outcome = match random.below(6) {
            0 => leaf.insert(i, new_key, value).map(drop),
            1 if i < len => leaf.replace_value(i, value).map(drop),
            2 if i < len => leaf.remove(i),
            3 => leaf.remove_range(i / 2..i),
            4 => leaf.as_leaf().split_point(i, new_key, value).map(drop),
            _ => Leaf::new(&copy).and_then(|source| match source.len() {
                0 => Ok(()),
                len => leaf.push_from(source, random.below(len)).map(drop),
            }),
        };
        // What follows an error is undone with the transaction.
        if outcome.is_err() {
            return;
        }
        // Whatever a change leaves behind is again only a damaged page at worst.
        let now = leaf.as_leaf();
        read_leaf(now, runs, &[key.to_vec()]);
    }
}

#[test]
fn a_damaged_leaf_never_panics() {
    let mut random = Random(8);
    for (page_bytes, rounds) in SIZES.into_iter().zip([600, 200, 100, 60]) {
        for shape in SHAPES {
            let mut runs = Runs::default();
            let whole = full_leaf(&mut random, shape, page_bytes, &mut runs);
            for _ in 0..rounds {
                let mut bytes = whole.clone();
                damage(&mut random, &mut bytes);
                let keys: Vec<_> = (0..4).map(|_| shape.key(&mut random, page_bytes)).collect();
                get(&bytes, &runs, &keys);
                if let Ok(leaf) = Leaf::new(&bytes) {
                    read_leaf(leaf, &runs, &keys);
                }
                change_leaf(&mut random, &mut bytes, &mut runs, &keys[0]);
            }
        }
    }
}

fn full_branch(random: &mut Random, shape: Shape, page_bytes: usize, runs: &mut Runs) -> Vec<u8> {
    let mut bytes = page(page_bytes, Kind::Branch);
    let mut branch = BranchMut::new(&mut bytes).unwrap();
    let mut separators: Vec<_> = (0..150).map(|_| shape.key(random, page_bytes)).collect();
    separators.sort();
    separators.dedup();
    for separator in separators {
        let child = Child { page: PageId(random.next() as u32), birth: 1 };
        branch.push(runs.key(page_bytes, &separator), child).unwrap();
    }
    bytes
}

fn read_branch(branch: Branch<'_>, runs: &Runs, keys: &[Vec<u8>]) {
    let resolve = |run| runs.get(run);
    for key in keys {
        if let Ok(i) = branch.child_index(key, &resolve) {
            assert!(i < branch.len());
        }
    }
    for i in 0..branch.len().min(60) {
        let _ = branch.child(i);
        let mut whole = Vec::new();
        let _ = branch.separator(i).map(|separator| separator.append_to(&mut whole, &resolve));
    }
    assert!(branch.used_bytes() + branch.free_bytes() > 0);
}

fn change_branch(random: &mut Random, bytes: &mut [u8], runs: &mut Runs, key: &[u8]) {
    let page_bytes = bytes.len();
    let copy = bytes.to_vec();
    let Ok(mut branch) = BranchMut::new(bytes) else {
        return;
    };
    for _ in 0..4 {
        let len = branch.as_branch().len();
        let i = if len == 0 { 0 } else { 1 + random.below(len) };
        let child = Child { page: PageId(3), birth: 1 };
        let separator = runs.key(page_bytes, key);
        let outcome = match random.below(6) {
            0 => branch.insert(i, separator, child).map(drop),
            2 if len > 0 => branch.remove(random.below(len)),
            3 if len > 0 => branch.set_child(i - 1, child),
            4 if i > 0 => branch.as_branch().split_point(i, separator).map(drop),
            _ => Branch::new(&copy).and_then(|source| match source.len() {
                2.. if len > 0 => branch.push_from(source, 1).map(drop),
                _ => Ok(()),
            }),
        };
        if outcome.is_err() {
            return;
        }
        read_branch(branch.as_branch(), runs, &[key.to_vec()]);
    }
}

#[test]
fn a_damaged_branch_never_panics() {
    let mut random = Random(9);
    for (page_bytes, rounds) in SIZES.into_iter().zip([600, 200, 100, 60]) {
        for shape in SHAPES {
            let mut runs = Runs::default();
            let whole = full_branch(&mut random, shape, page_bytes, &mut runs);
            for _ in 0..rounds {
                let mut bytes = whole.clone();
                damage(&mut random, &mut bytes);
                let keys: Vec<_> = (0..4).map(|_| shape.key(&mut random, page_bytes)).collect();
                get(&bytes, &runs, &keys);
                if let Ok(branch) = Branch::new(&bytes) {
                    read_branch(branch, &runs, &keys);
                }
                change_branch(&mut random, &mut bytes, &mut runs, &keys[0]);
            }
        }
    }
}

#[test]
fn arbitrary_bytes_never_panic() {
    let mut random = Random(10);
    let mut runs = Runs::default();
    for _ in 0..2000 {
        let mut bytes = random.bytes(4096);
        bytes[20] = 1 + random.below(2) as u8;
        bytes[23] = random.below(2) as u8;
        bytes[27] = random.below(16) as u8;
        let keys = [random.bytes(9), Vec::new()];
        get(&bytes, &runs, &keys);
        if let Ok(leaf) = Leaf::new(&bytes) {
            read_leaf(leaf, &runs, &keys);
        }
        if let Ok(branch) = Branch::new(&bytes) {
            read_branch(branch, &runs, &keys);
        }
        change_leaf(&mut random, &mut bytes.clone(), &mut runs, &keys[0]);
        change_branch(&mut random, &mut bytes, &mut runs, &keys[0]);
    }
}

#[test]
fn an_index_that_is_not_there_is_an_error() {
    let mut random = Random(11);
    let mut runs = Runs::default();
    let mut bytes = full_leaf(&mut random, Shape::Random, 4096, &mut runs);
    let mut leaf = LeafMut::new(&mut bytes).unwrap();
    let len = leaf.as_leaf().len();
    let (key, value) = (super::NewKey::Inline(b"k"), super::NewValue::Inline(b"v"));
    assert!(leaf.as_leaf().entry(len).is_err());
    assert!(leaf.as_leaf().split_point(len + 1, key, value).is_err());
    assert!(leaf.remove(len).is_err() && leaf.remove_range(0..len + 1).is_err());
    assert!(leaf.insert(len + 1, key, value).is_err() && leaf.replace_value(len, value).is_err());
    let mut bytes = full_branch(&mut random, Shape::Random, 4096, &mut runs);
    let mut branch = BranchMut::new(&mut bytes).unwrap();
    let (len, child) = (branch.as_branch().len(), Child { page: PageId(3), birth: 1 });
    assert!(branch.as_branch().child(len).is_err() && branch.as_branch().separator(len).is_err());
    assert!(branch.as_branch().split_point(len + 1, key).is_err());
    assert!(branch.remove(len).is_err() && branch.set_child(len, child).is_err());
    assert!(branch.insert(len + 1, key, child).is_err());
}
