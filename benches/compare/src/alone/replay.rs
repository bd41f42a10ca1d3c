//! How fast the log of a process that was killed is replayed.

use super::words;
use crate::{
    child,
    clock::{Took, time},
    entries::{Data, NEW},
    peers::{Mode, Peer, Recto},
    rows::{By, Contestant, Question, Run, count},
    stores,
};
use recto::Options;
use std::{
    io::{BufRead, BufReader, stdin},
    path::Path,
};
use tempfile::TempDir;

/// Operations in the log.
const OPERATIONS: u64 = 1_000_000;
/// What the store held before, closed.
const PRELOADED: u64 = 200_000;
/// As much as all operations may make dirty, so that no checkpoint takes them out of the log.
const DIRTY_BYTES: u64 = 4 << 30;

fn roomy(options: Options) -> Options {
    options.dirty_bytes(DIRTY_BYTES)
}

/// Runs the rows that are wanted, for one of our names.
pub fn run(run: &Run<'_>, name: &'static str) {
    let operations = run.operations(OPERATIONS);
    let preloaded = run.entries.min(PRELOADED);
    for each in [1, 1000] {
        let commits =
            if each == 1 { "one-key commits".into() } else { format!("batches of {each}") };
        let inserts = format!("{} random inserts", count(operations));
        let into = count(preloaded);
        let title = format!("replay after a kill: {inserts} into {into}, {commits}, operations");
        if run.wants(&title) {
            row(run, name, title, operations, preloaded, each);
        }
    }
}

fn row(
    run: &Run<'_>,
    name: &'static str,
    title: String,
    operations: u64,
    preloaded: u64,
    each: u64,
) {
    let (killed, log_bytes) = killed(run, name, operations, preloaded, each);
    let figure = format!("{:.1} MB of log", log_bytes / 1e6);
    run.report.remark(&title, name, figure);
    let killed = killed.path();
    let ways = [(false, "open"), (true, "open, read_only: replay alone")];
    let cases = ways.map(|(is_read_only, what)| {
        Contestant::own(&format!("{name} {what}"), move |_| {
            let took = opened(run, name, killed, operations + preloaded, is_read_only);
            (operations, took)
        })
    });
    let terms = "1 thread; clock: the call, on a copy of the files that a killed process left; \
                 opening to write ends with a checkpoint of it all, on the device";
    run.row(&Question::new(title, terms, By::Rate), run.few_rounds(), cases.into());
}

/// Opens a copy of what was left, and looks whether everything is there.
fn opened(run: &Run<'_>, name: &str, killed: &Path, entries: u64, is_read_only: bool) -> Took {
    let dir = run.dir();
    stores::copy(killed, dir.path()).expect("a store is copied");
    let (recto, took) = time(|| {
        Recto::open_with(name, dir.path(), Mode::Durable, |o| roomy(o).read_only(is_read_only))
    });
    assert_eq!(recto.len(), entries, "what was answered is there");
    Box::new(recto).close();
    took
}

/// What a killed process left behind, and the bytes of its log.
fn killed(run: &Run<'_>, name: &str, operations: u64, preloaded: u64, each: u64) -> (TempDir, f64) {
    let (dir, each) = (run.filled_dir(name, preloaded), each.to_string());
    let operations = operations.to_string();
    let mut words = words("crash", name, dir.path(), &operations, run.data);
    words.push(&each);
    let mut child = child::running(&words);
    let mut said = String::new();
    let output = child.stdout.take().expect("the child's output");
    BufReader::new(output).read_line(&mut said).expect("the child's words");
    child.kill().expect("the child is killed");
    let status = child.wait().expect("the child ends");
    assert_eq!(status.code(), None, "the child ended by itself: {status}");
    (dir, said.trim().parse().expect("the bytes of the log"))
}

/// The child: commits, `each` at a time, syncs, prints the bytes of its log, and waits to be
/// killed.
pub fn child(name: &str, dir: &Path, operations: u64, data: Data, more: &[&str]) {
    let each: u64 = more[0].parse().expect("how many at a time");
    let recto = Recto::open_with(name, dir, Mode::NoSync, roomy);
    let all = NEW..NEW + operations;
    let before = recto.stats().expect("recto counts").checkpoints;
    if each == 1 {
        all.for_each(|i| recto.put(&data.key(i), &data.value(i)));
    } else {
        for first in all.clone().step_by(each as usize) {
            recto.batch(&mut (first..(first + each).min(all.end)).map(|i| data.entry(i)));
        }
    }
    recto.sync();
    let stats = recto.stats().expect("recto counts");
    assert_eq!(stats.checkpoints, before, "a checkpoint took operations out of the log");
    println!("{}", stats.log_bytes_written);
    // Nobody writes to it: the end comes by a signal.
    let _ = stdin().lines().next();
    panic!("the child was not killed");
}
