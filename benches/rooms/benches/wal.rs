//! The log in memory: a record appended, records replayed.

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use recto::internals::{
    publish::Version,
    storage::{Storage, memory::MemoryStorage},
    sync::{Arc, PlainArc, erased},
    wal::{Log, Op, Ops, ReplayStart, replay},
};
use rooms::{TABLE, key, value};
use std::hint::black_box;

const STORE_ID: u64 = 7;
const SEGMENT_BYTES: u64 = 4 << 20;
const RECORDS: u64 = 10_000;

/// A log that has just begun, and where.
fn begin() -> (Arc<dyn Storage>, Log) {
    let storage: Arc<dyn Storage> = erased(PlainArc::new(MemoryStorage::new()));
    let log = Log::create(storage.clone(), STORE_ID, SEGMENT_BYTES, Version(1), 0, &[]);
    (storage, log.expect("a log"))
}

/// The insertion of entry `i`, as a record holds it.
fn insertion(i: u64) -> Vec<u8> {
    let mut ops = Vec::new();
    Op::Insert { table: TABLE, key: &key(i), value: &value(i) }.encode(&mut ops);
    ops
}

fn log(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("wal");
    let (_storage, mut log) = begin();
    let (ops, mut last) = (insertion(0), Version(0));
    group.bench_function("append of one insertion, segments recycled", |bench| {
        bench.iter(|| {
            let version = Version(last.0 + 1);
            let position = log.append(version, version, last, &ops).expect("room in memory");
            last = version;
            if version.0.is_multiple_of(RECORDS) {
                log.release(position).expect("a release");
            }
        });
    });
    let (storage, mut log) = begin();
    let version = Version(0);
    let start = ReplayStart { position: log.position(), version, synced: version };
    for i in 1..=RECORDS {
        let version = Version(i);
        log.append(version, version, Version(0), &insertion(i)).expect("room in memory");
    }
    group.throughput(Throughput::Elements(RECORDS));
    group.bench_function("replay of 10,000 insertions, each a record", |bench| {
        bench.iter(|| {
            let end = replay(&*storage, STORE_ID, start, &mut |_, _, ops| {
                Ops::new(ops).try_for_each(|op| op.map(|op| _ = black_box(op)))
            });
            assert_eq!(end.expect("a whole log").records, RECORDS);
        });
    });
    group.finish();
}

criterion_group!(name = benches; config = rooms::criterion(); targets = log);
criterion_main!(benches);
