//! A commit's way through a whole store and back, without sync: queue, writer, tree, log, answer.

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use recto::{Batch, Durability, Options, Store, Table};
use rooms::{key, mix, value};

const ROWS: Table<&[u8], &[u8]> = Table::new("rows");
/// Keys come from so many.
const KEYS: u64 = 100_000;
/// How many are submitted before the first is waited for.
const IN_FLIGHT: u64 = 100;

fn submit(store: &Store, number: u64) -> recto::Commit {
    let mut batch = Batch::new();
    batch.insert(&ROWS, &key(mix(number) % KEYS), &value(number));
    store.submit(batch).expect("an open store")
}

fn commits(criterion: &mut Criterion) {
    let folder = tempfile::tempdir().expect("a folder");
    let options = || Options::new().durability(Durability::None);
    let stores = [
        ("in memory", options().open_in_memory().expect("a store")),
        ("in a directory", options().open(folder.path()).expect("a store")),
    ];
    for (place, store) in stores {
        let mut group = criterion.benchmark_group(format!("txn, {place}, no sync"));
        let mut number = 0;
        group.bench_function("one key, submitted and waited for", |bench| {
            bench.iter(|| {
                number += 1;
                submit(&store, number).wait().expect("a commit")
            });
        });
        group.throughput(Throughput::Elements(IN_FLIGHT));
        group.bench_function("one key each, 100 submitted, then waited for", |bench| {
            bench.iter(|| {
                number += IN_FLIGHT;
                let sent = (0..IN_FLIGHT).map(|i| submit(&store, number + i));
                for commit in sent.collect::<Vec<_>>() {
                    commit.wait().expect("a commit");
                }
            });
        });
        group.finish();
        store.close().expect("a last checkpoint");
    }
}

criterion_group!(name = benches; config = rooms::criterion(); targets = commits);
criterion_main!(benches);
