//! The memory of a store that is open and does nothing: in a process of its own.

use super::words;
use crate::{
    child, peers,
    peers::{Mode, Peer, Recto},
    reads,
    rows::{Run, count},
};
use std::{hint::black_box, path::Path, thread, time::Duration};

/// A file that is not large, to compare.
const FEW: u64 = 100_000;
/// How long nothing is done.
const IDLE: Duration = Duration::from_secs(10);

/// Runs the rows that are wanted, for one of our names.
pub fn run(run: &Run<'_>, name: &str, keep: Option<&Path>) {
    for entries in [FEW, run.entries] {
        let title = format!("memory of an open idle store, {} of {}", count(entries), run.data);
        if entries > run.entries || !run.wants(&title) {
            continue;
        }
        let dir = reads::store(run, keep, &format!("{name} extend"), entries);
        let gigabytes = peers::file_bytes(&dir) as f64 / 1e9;
        let count = entries.to_string();
        let found = child::figures(&words("idle", name, &dir, &count, run.data));
        let found: Vec<f64> = found.iter().map(|bytes| bytes / f64::from(1 << 20)).collect();
        let [opened, idle, read] = found[..] else { panic!("three figures") };
        let figure = format!(
            "RssAnon {opened:.2} MiB once open, {idle:.2} MiB after 10 s, {read:.2} MiB 10 s \
             behind a full scan; {gigabytes:.2} GB of files"
        );
        run.report.remark(&title, name, figure);
        if entries == run.entries {
            break;
        }
    }
}

/// The child: prints how much memory of no file came with opening, is there after a while, and
/// after a scan and another while.
pub fn child(name: &str, dir: &Path, entries: u64) {
    let before = child::anonymous_bytes();
    let now = || child::anonymous_bytes().saturating_sub(before);
    let recto = Recto::open(name, dir, Mode::Durable);
    let opened = now();
    thread::sleep(IDLE);
    let idle = now();
    assert_eq!(recto.len(), entries, "every entry is there");
    black_box(recto.scan());
    thread::sleep(IDLE);
    println!("{opened} {idle} {}", now());
    Box::new(recto).close();
}
