//! A tree of 100,000 entries in frames: reads, and changes as transactions of their own.

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use recto::internals::tree::{Tree, build::Fill};
use rooms::{TABLE, Workshop, key, mix, sorted, value};
use std::{
    hint::black_box,
    ops::Bound,
    time::{Duration, Instant},
};

const ENTRIES: u64 = 100_000;
/// How many entries a batch has.
const BATCH: u64 = 1000;

/// A tree, and where it lives.
fn grown() -> (Workshop, Tree) {
    let (mut workshop, mut tree) = (Workshop::new(), Tree::empty(TABLE));
    for batch in 0..ENTRIES / BATCH {
        let batch = sorted(batch * BATCH..(batch + 1) * BATCH).into_iter();
        let batch = batch.map(|(key, value)| Ok((key, Some(value))));
        workshop.commit(|pages| tree.merge(pages, batch)).expect("a merge");
    }
    (workshop, tree)
}

fn reads(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("tree");
    let (workshop, tree) = grown();
    let pages = workshop.pages.pager();
    let mut number = 0;
    let mut some_key = || {
        number += 1;
        key(mix(number) % ENTRIES)
    };
    group.bench_function("get", |bench| {
        bench.iter(|| black_box(tree.get(&**pages, &some_key())));
    });
    group.bench_function("range of 10", |bench| {
        bench.iter(|| {
            let from = some_key();
            let range = tree.range(&**pages, Bound::Included(&from), Bound::Unbounded);
            range.expect("a range").take(10).for_each(|entry| _ = black_box(entry));
        });
    });
    group.throughput(Throughput::Elements(100));
    group.bench_function("get_many of 100", |bench| {
        bench.iter(|| {
            let keys: Vec<_> = (0..100).map(|_| some_key()).collect();
            let keys: Vec<&[u8]> = keys.iter().map(|key| &key[..]).collect();
            black_box(tree.get_many(&**pages, &keys).map(|values| values.len()))
        });
    });
    group.finish();
}

fn changes(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("tree");
    let (mut workshop, mut tree) = grown();
    let mut number = ENTRIES;
    group.bench_function("insert and remove of one key, two transactions", |bench| {
        bench.iter(|| {
            number += 1;
            let (key, value) = (key(number), value(number));
            workshop.commit(|pages| tree.insert(pages, &key, &value)).expect("an insertion");
            workshop.commit(|pages| tree.remove(pages, &key)).expect("a removal")
        });
    });
    group.throughput(Throughput::Elements(BATCH));
    group.bench_function("merge of a sorted batch of 1000, all new, and its undoing", |bench| {
        bench.iter_batched(
            || {
                number += BATCH;
                sorted(number..number + BATCH)
            },
            |batch| {
                let batch = batch.into_iter().map(|(key, value)| Ok((key, Some(value))));
                let mut tree = tree;
                workshop.undo(|pages| tree.merge(pages, batch)).expect("a merge")
            },
            BatchSize::LargeInput,
        );
    });
    let entries = sorted(0..ENTRIES);
    group.throughput(Throughput::Elements(ENTRIES));
    group.sample_size(10);
    group.bench_function("build of 100,000 sorted entries", |bench| {
        bench.iter_custom(|rounds| {
            let mut spent = Duration::ZERO;
            for _ in 0..rounds {
                workshop.undo(|pages| {
                    let began = Instant::now();
                    let entries = entries.iter().copied().map(Ok);
                    let built = Tree::empty(TABLE).append(pages, entries, Fill::Whole);
                    spent += began.elapsed();
                    assert_eq!(built.expect("a tree"), ENTRIES);
                });
            }
            spent
        });
    });
    group.finish();
}

criterion_group!(name = benches; config = rooms::criterion(); targets = reads, changes);
criterion_main!(benches);
