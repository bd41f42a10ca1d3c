//! What a checkpoint writes: the pages of 100,000 entries, sealed and put to places in memory.

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use recto::internals::{
    page::meta::{LogPosition, Meta},
    pager::checkpoint::{Cut, write_cut},
    publish::Version,
    tree::{Tree, build::Fill},
};
use rooms::{PAGE_BYTES, TABLE, Workshop, sorted};

fn checkpoints(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("pager");
    let mut workshop = Workshop::new();
    let entries = sorted(0..100_000).into_iter().map(Ok);
    workshop
        .commit(|pages| Tree::empty(TABLE).append(pages, entries, Fill::Whole))
        .expect("a tree");
    let pages = workshop.pages.dirty();
    let meta = Meta {
        page_bytes: PAGE_BYTES,
        store_id: workshop.pages.pager().store_id(),
        sequence: 1,
        version: Version(1),
        page_count: workshop.pages.end(),
        next_table: TABLE + 1,
        catalog: None,
        free_space: None,
        log: LogPosition::default(),
    };
    group.sample_size(10);
    group.throughput(Throughput::Bytes(workshop.pages.dirty_bytes()));
    let cut = Cut { pages, extras: Vec::new(), meta };
    let pager = workshop.pages.pager();
    group.bench_function(format!("cut of {} pages", cut.pages.len()), |bench| {
        bench.iter(|| write_cut(pager, &cut).expect("room in memory"));
    });
    group.finish();
}

criterion_group!(name = benches; config = rooms::criterion(); targets = checkpoints);
criterion_main!(benches);
