//! Sizes: all files of a store after loads in random order and sorted, after the removal of half,
//! and compacted, beside the bytes of the keys and values that live in it.

use crate::{
    peers::{self, Mode},
    report::Line,
    rows::{Run, count},
};

const STATES: [&str; 4] =
    ["loaded in random order", "half of it removed", "half removed, compacted", "loaded sorted"];

/// Runs all rows that are wanted.
pub fn run(run: &Run<'_>, entries: u64) {
    let size = format!("{} of {}", count(entries), run.data);
    let titles = STATES.map(|state| format!("size of all files, {size}, {state}"));
    if !titles.iter().any(|title| run.wants(title)) {
        return;
    }
    let live = run.data.bytes_of(0..entries);
    let left = run.data.bytes_of((1..entries).step_by(2));
    let found: Vec<[u64; 4]> = run.names.iter().map(|name| states(run, name, entries)).collect();
    for (state, title) in titles.iter().enumerate() {
        let live = if state == 1 || state == 2 { left } else { live };
        lines(run, title, &found.iter().map(|sizes| sizes[state]).collect::<Vec<_>>(), live);
    }
}

/// A line for each peer.
pub fn lines(run: &Run<'_>, title: &str, sizes: &[u64], live: u64) {
    let lmdb = run.names.iter().position(|name| *name == "lmdb").map(|peer| sizes[peer] as f64);
    for (name, &size) in run.names.iter().zip(sizes) {
        let (size, live) = (size as f64, live as f64);
        let (megabytes, of_live, beside) = (size / 1e6, size / live, live / 1e6);
        run.report.line(Line {
            title: title.into(),
            terms: "durable; blocks of every file, the store closed; loads: recto's by extend"
                .into(),
            who: (*name).into(),
            figure: format!("{megabytes:.1} MB, {of_live:.2}x the {beside:.1} MB that live"),
            cpu: String::new(),
            written: String::new(),
            ratio: lmdb.map(|lmdb| lmdb / size),
        });
    }
}

/// One peer's sizes in all states.
fn states(run: &Run<'_>, name: &str, entries: u64) -> [u64; 4] {
    let (dir, data) = (run.dir(), run.data);
    let open = || peers::open(name, dir.path(), Mode::Durable);
    let peer = open();
    peer.bulk(&mut (0..entries).map(|i| data.entry(i)));
    peer.close();
    let loaded = peers::file_bytes(dir.path());
    let peer = open();
    peer.remove(&mut (0..entries).step_by(2).map(|i| data.key(i)));
    assert_eq!(peer.len(), entries / 2, "{name} has half of it left");
    peer.close();
    let removed = peers::file_bytes(dir.path());
    open().compact();
    let compacted = peers::file_bytes(dir.path());
    assert_eq!(open().len(), entries / 2, "{name} has half of it left, compacted");
    let dir = run.dir();
    let sorted = data.sorted(entries);
    let peer = peers::open(name, dir.path(), Mode::Durable);
    peer.sorted(&mut sorted.iter().map(|&i| data.entry(i)));
    peer.close();
    [loaded, removed, compacted, peers::file_bytes(dir.path())]
}
