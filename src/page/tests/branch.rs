//! A branch leads every key to the child that a sorted vector of separators leads it to.

use super::{Random, Runs, SHAPES, SIZES, Shape, page};
use crate::page::{
    Child, HEADER_BYTES, Kind, PageId,
    branch::{Branch, BranchMut, Search, Separator, shortest_separator},
    cell::{NewKey, PREFIX_MAX, RUN_KEY_START_BYTES, key_inline_max},
};

/// Separators (the first empty) and children.
type Entries = Vec<(Vec<u8>, Child)>;

fn common_len(a: &[u8], b: &[u8]) -> usize {
    a.iter().zip(b).take_while(|(a, b)| a == b).count()
}

/// What the layout says that the entries take with the longest prefix, computed anew.
fn least_used_bytes(page_bytes: usize, entries: &Entries) -> usize {
    let start = |key: &[u8]| {
        let len =
            if key.len() > key_inline_max(page_bytes) { RUN_KEY_START_BYTES } else { key.len() };
        key[..len].to_vec()
    };
    let keys: Vec<_> = entries.iter().skip(1).map(|(key, _)| key).collect();
    let prefix = match (keys.first(), keys.last()) {
        (Some(first), Some(last)) => common_len(&start(first), &start(last)),
        _ => 0,
    };
    let prefix = prefix.min(PREFIX_MAX);
    let cell = |key: &Vec<u8>| match key.len() {
        len if len > key_inline_max(page_bytes) => 1 + 12 + RUN_KEY_START_BYTES,
        len if len - prefix >= 253 => 3 + len - prefix,
        len => 1 + len - prefix,
    };
    let cells: usize = keys.into_iter().map(cell).sum();
    // Header and samples, one of 16, fill lines.
    let start = (HEADER_BYTES + 4 * entries.len().div_ceil(16)).next_multiple_of(64);
    start + 14 * entries.len().next_multiple_of(8) + prefix + cells
}

fn check(branch: Branch<'_>, runs: &Runs, entries: &Entries) {
    assert_eq!(branch.len(), entries.len());
    for (i, (separator, child)) in entries.iter().enumerate() {
        assert_eq!(branch.child(i).unwrap(), *child);
        let mut whole = Vec::new();
        branch.separator(i).unwrap().append_to(&mut whole, &|run| runs.get(run)).unwrap();
        assert_eq!(&whole, separator);
        if i > 0 {
            probe(branch, runs, entries, separator);
        }
    }
}

fn probe(branch: Branch<'_>, runs: &Runs, entries: &Entries, key: &[u8]) {
    let expected = entries.iter().skip(1).filter(|(separator, _)| separator.as_slice() <= key);
    let (resolve, expected) = (|run| runs.get(run), expected.count());
    assert_eq!(branch.child_index(key, &resolve).unwrap(), expected);
    let child = Search::begin(branch.page, key).unwrap().child(key, &resolve).unwrap();
    assert_eq!(child, branch.child(expected).unwrap());
}

fn check_split(page_bytes: usize, source: Branch<'_>, runs: &mut Runs, after: &Entries, i: usize) {
    let (separator, child) = &after[i];
    let new = runs.key(page_bytes, separator);
    let cut = source.split_point(i, new).unwrap();
    assert!((1..after.len()).contains(&cut));
    for half in [0..cut, cut..after.len()] {
        let mut page = page(page_bytes, Kind::Branch);
        let mut target = BranchMut::new(&mut page).unwrap();
        for at in half.clone() {
            let fits = match at.cmp(&i) {
                std::cmp::Ordering::Less => target.push_from(source, at),
                std::cmp::Ordering::Equal => target.push(new, *child),
                std::cmp::Ordering::Greater => target.push_from(source, at - 1),
            };
            assert!(fits.unwrap());
        }
        let mut expected = after[half].to_vec();
        expected[0].0.clear();
        check(target.as_branch(), runs, &expected);
    }
}

fn run(page_bytes: usize, shape: Shape, seed: u64, steps: usize) {
    let mut random = Random(seed);
    let mut runs = Runs::default();
    let child = |random: &mut Random| Child {
        page: PageId(random.next() as u32),
        birth: random.next() as u32,
    };
    let mut entries: Entries = vec![(Vec::new(), child(&mut random))];
    let mut bytes = page(page_bytes, Kind::Branch);
    let mut branch = BranchMut::new(&mut bytes).unwrap();
    assert!(branch.push(NewKey::Inline(b"not kept"), entries[0].1).unwrap());
    for step in 0..steps {
        let key = shape.key(&mut random, page_bytes);
        probe(branch.as_branch(), &runs, &entries, &key);
        let other = child(&mut random);
        let i = 1 + entries[1..].partition_point(|(separator, _)| *separator < key);
        let absent = entries.get(i).is_none_or(|(separator, _)| *separator != key);
        let mut after = entries.clone();
        match random.below(16) {
            0..=10 if absent && !key.is_empty() => {
                after.insert(i, (key.clone(), other));
                let fits = branch.insert(i, runs.key(page_bytes, &key), other).unwrap();
                assert_eq!(fits, least_used_bytes(page_bytes, &after) <= page_bytes);
                if fits {
                    entries = after;
                } else {
                    check_split(page_bytes, branch.as_branch(), &mut runs, &after, i);
                }
            }
            11 => {
                let at = random.below(entries.len());
                branch.set_child(at, other).unwrap();
                entries[at].1 = other;
            }
            12 | 13 if entries.len() > 1 => {
                let at = random.below(entries.len());
                branch.remove(at).unwrap();
                entries.remove(at);
                entries[0].0.clear();
            }
            _ => {}
        }
        let view = branch.as_branch();
        assert_eq!(view.used_bytes() + view.free_bytes(), page_bytes);
        assert!(view.used_bytes() >= HEADER_BYTES + 14 * entries.len());
        if step % 8 == 0 {
            check(view, &runs, &entries);
        }
    }
    check(branch.as_branch(), &runs, &entries);
}

#[test]
fn a_branch_equals_a_sorted_vector() {
    for page_bytes in SIZES {
        for (seed, shape) in SHAPES.into_iter().enumerate() {
            run(page_bytes, shape, seed as u64 + 77, 900);
        }
    }
}

#[test]
fn three_separators_of_the_greatest_length_fit() {
    for page_bytes in SIZES {
        let mut bytes = page(page_bytes, Kind::Branch);
        let mut branch = BranchMut::new(&mut bytes).unwrap();
        let child = Child { page: PageId(5), birth: 6 };
        for first in 0..4 {
            let separator = vec![first; key_inline_max(page_bytes)];
            assert!(branch.push(NewKey::Inline(&separator), child).unwrap());
        }
        let last = branch.as_branch().separator(3).unwrap();
        let Separator::Inline { prefix, suffix } = last else { panic!("a run") };
        assert_eq!([prefix, suffix].concat(), vec![3; key_inline_max(page_bytes)]);
    }
}

#[test]
fn removing_the_last_child_leaves_an_empty_page() {
    let mut bytes = page(4096, Kind::Branch);
    let empty = bytes.clone();
    let mut branch = BranchMut::new(&mut bytes).unwrap();
    let child = Child { page: PageId(5), birth: 6 };
    assert!(branch.push(NewKey::Inline(b""), child).unwrap());
    assert!(branch.push(NewKey::Inline(b"m"), child).unwrap());
    branch.remove(0).unwrap();
    assert_eq!(branch.as_branch().child_index(b"a", &|_| Ok(&[] as &[u8])).unwrap(), 0);
    branch.remove(0).unwrap();
    assert!(branch.as_branch().is_empty());
    assert_eq!(bytes, empty);
}

#[test]
fn a_shortest_separator_separates_and_no_shorter_one_does() {
    let mut random = Random(5);
    for _ in 0..20_000 {
        let shape = SHAPES[random.below(5)];
        let (a, b) = (shape.key(&mut random, 4096), shape.key(&mut random, 4096));
        if a < b {
            let separator = shortest_separator(&a, &b);
            assert!(a.as_slice() < separator && separator <= b.as_slice());
            let shorter = &separator[..separator.len() - 1];
            assert!(b.starts_with(separator) && shorter <= a.as_slice());
        }
    }
}
