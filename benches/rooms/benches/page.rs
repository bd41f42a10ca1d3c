//! One page: finding, searching and inserting in a leaf, the way down at a branch.

use criterion::{BatchSize, Criterion, criterion_group, criterion_main};
use recto::{
    Result,
    internals::{
        page::{
            self, Child, Kind, PageId, Run,
            branch::{Branch, BranchMut, NewKey},
            leaf::{Leaf, LeafMut, NewValue},
        },
        publish::Version,
    },
};
use rooms::{PAGE_BYTES, TABLE, key, mix, sorted};
use std::hint::black_box;

/// Nothing here is long enough to lie in a run.
fn no_run<'p>(_: Run) -> Result<&'p [u8]> {
    unreachable!("no key is long")
}

fn page(kind: Kind, level: u8) -> Vec<u8> {
    let mut page = vec![0; PAGE_BYTES];
    page::init(&mut page, PageId(2), Version(1), TABLE, kind, level);
    page
}

/// A leaf of as many entries as it takes, at most `max`; and their numbers' end.
fn leaf(max: u64) -> (Vec<u8>, u64) {
    let mut bytes = page(Kind::Leaf, 0);
    let mut leaf = LeafMut::new(&mut bytes).expect("a leaf");
    for count in 0..max {
        let key = key(count);
        let Err(at) = leaf.as_leaf().search(&key, &no_run).expect("a search") else {
            unreachable!("keys differ");
        };
        let value = NewValue::Inline(&[7; 150]);
        if !leaf.insert(at, NewKey::Inline(&key), value).expect("an insertion") {
            return (bytes, count);
        }
    }
    (bytes, max)
}

/// A branch that is full.
fn branch() -> Vec<u8> {
    let mut bytes = page(Kind::Branch, 1);
    let mut branch = BranchMut::new(&mut bytes).expect("a branch");
    let separators = sorted(0..1000).into_iter().map(|(key, _)| key);
    for (child, separator) in (2..).zip(separators) {
        let child = Child { page: PageId(child), birth: 1 };
        if !branch.push(NewKey::Inline(&separator[..6]), child).expect("a child") {
            break;
        }
    }
    bytes
}

fn pages(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("page");
    let (bytes, count) = leaf(u64::MAX);
    let full = Leaf::new(&bytes).expect("a leaf");
    let mut number = 0;
    group.bench_function("leaf, find", |bench| {
        bench.iter(|| {
            number += 1;
            black_box(full.find(&key(mix(number) % count), &no_run))
        });
    });
    group.bench_function("leaf, search", |bench| {
        bench.iter(|| {
            number += 1;
            black_box(full.search(&key(mix(number)), &no_run))
        });
    });
    let (half, end) = leaf(count / 2);
    group.bench_function("leaf, search and insert", |bench| {
        bench.iter_batched_ref(
            || half.clone(),
            |bytes| {
                let (mut leaf, key) = (LeafMut::new(bytes)?, key(end));
                let at = leaf.as_leaf().search(&key, &no_run)?.unwrap_or_else(|at| at);
                leaf.insert(at, NewKey::Inline(&key), NewValue::Inline(&[7; 150]))
            },
            BatchSize::SmallInput,
        );
    });
    let bytes = branch();
    let branch = Branch::new(&bytes).expect("a branch");
    group.bench_function("branch, child_index", |bench| {
        bench.iter(|| {
            number += 1;
            black_box(branch.child_index(&key(number), &no_run))
        });
    });
    group.finish();
}

criterion_group!(name = benches; config = rooms::criterion(); targets = pages);
criterion_main!(benches);
