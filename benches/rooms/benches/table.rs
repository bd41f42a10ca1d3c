//! Keys as bytes that order like them, there and back.

use criterion::{
    BenchmarkGroup, Criterion, criterion_group, criterion_main, measurement::WallTime,
};
use recto::{Key, internals::table::datum::Scratch};
use std::hint::black_box;

/// Encodes and decodes one key.
fn codec<K: Key>(group: &mut BenchmarkGroup<'_, WallTime>, name: &str, item: &K::Item<'_>) {
    let mut scratch = Scratch::new();
    group.bench_function(format!("{name}, encoded"), |bench| {
        bench.iter(|| {
            black_box(K::lend(black_box(item), &mut scratch));
        });
    });
    let bytes = K::lend(item, &mut scratch);
    group.bench_function(format!("{name}, decoded"), |bench| {
        bench.iter(|| black_box(K::decode(black_box(bytes)).is_ok()));
    });
}

fn keys(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("table");
    codec::<u64>(&mut group, "u64", &7);
    codec::<(u64, &str, u64)>(&mut group, "(u64, &str, u64)", &(7, "knows", 8));
    codec::<(Option<i64>, &[u8])>(&mut group, "(Option<i64>, &[u8]), escaped", &(None, b"a\0b"));
    group.finish();
}

criterion_group!(name = benches; config = rooms::criterion(); targets = keys);
criterion_main!(benches);
