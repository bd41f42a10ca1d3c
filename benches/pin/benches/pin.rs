//! What it costs a reader to get in, beside arc-swap's bare loads: `cargo bench` in this folder.
//!
//! Of one thread, and of 50 at once. What is told is a thread's own time on a core for one
//! operation: where there are fewer cores than threads their waiting for one is not a cost of the
//! operation. Nothing is committed meanwhile. Results are kept in `results.md`.

use arc_swap::ArcSwap;
use criterion::{Criterion, criterion_group, criterion_main};
use recto::{Store, Table};
use rustix::time::{ClockId, clock_gettime};
use std::{
    hint::black_box,
    sync::{Arc, Barrier},
    thread,
    time::Duration,
};

const ROWS: Table<u64, u64> = Table::new("rows");
/// At least so many operations of each thread at a time, or the first had ended before the last
/// began.
const OPERATIONS_MIN: u64 = 20_000;

/// The time that this thread has had a core.
fn own_time() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}

/// The mean of the threads' own times for so many of the operations that `make` makes for each.
fn time<O: FnMut()>(threads: usize, operations: u64, make: impl Fn() -> O + Sync) -> Duration {
    let count = operations.max(OPERATIONS_MIN);
    let start = Barrier::new(threads);
    let spent: Duration = thread::scope(|scope| {
        let running: Vec<_> = (0..threads)
            .map(|_| {
                scope.spawn(|| {
                    let mut operation = make();
                    operation();
                    start.wait();
                    let began = own_time();
                    for _ in 0..count {
                        operation();
                    }
                    own_time() - began
                })
            })
            .collect();
        running.into_iter().map(|thread| thread.join().expect("an operation")).sum()
    });
    spent.div_f64(threads as f64).mul_f64(operations as f64 / count as f64)
}

fn pins(criterion: &mut Criterion) {
    let store = Store::in_memory().expect("a store");
    store.write(|tx| tx.table(&ROWS)?.insert(1, 1)).expect("a commit");
    let bare = ArcSwap::new(Arc::new(1_u64));
    for threads in [1, 50] {
        let mut group = criterion.benchmark_group(format!("pin, {threads} threads"));
        group.sample_size(20).warm_up_time(Duration::from_millis(500));
        group.measurement_time(Duration::from_secs(3));
        group.bench_function("reader.snapshot, unchanged", |bench| {
            bench.iter_custom(|operations| {
                time(threads, operations, || {
                    let mut reader = store.reader();
                    move || {
                        black_box(reader.snapshot());
                    }
                })
            });
        });
        group.bench_function("store.read", |bench| {
            bench.iter_custom(|operations| {
                time(threads, operations, || {
                    || {
                        store.read(|view| {
                            black_box(view);
                        });
                    }
                })
            });
        });
        group.bench_function("store.snapshot and drop", |bench| {
            bench.iter_custom(|operations| {
                time(threads, operations, || || drop(black_box(store.snapshot())))
            });
        });
        group.bench_function("arc-swap load and drop", |bench| {
            bench.iter_custom(|operations| {
                time(threads, operations, || || drop(black_box(bare.load())))
            });
        });
        group.bench_function("arc-swap load_full and drop", |bench| {
            bench.iter_custom(|operations| {
                time(threads, operations, || || drop(black_box(bare.load_full())))
            });
        });
        group.finish();
    }
}

criterion_group!(benches, pins);
criterion_main!(benches);
