//! Latency under mixed load: each read and each commit in an HDR histogram, while nothing else goes
//! on, while checkpoints run, and while a reader holds an old state.

use crate::{
    clock::{Probe, median},
    entries::{Data, Random},
    peers::{Mode, Peer},
    report::Line,
    rows::{NOISY, Run, count, nanoseconds},
};
use hdrhistogram::Histogram;
use std::{
    hint::black_box,
    sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    thread,
    time::{Duration, Instant},
};

/// Those that take part beside ours.
const PEERS: [&str; 3] = ["lmdb", "redb", "fjall"];
/// What each store holds, unless fewer entries are asked for.
const ENTRIES: u64 = 1_000_000;
/// Between two checkpoints.
const PAUSE: Duration = Duration::from_millis(50);
/// Reads come in bursts, that the processors are not all taken by them.
const BURST: u64 = 20;
const BURST_INTERVAL: Duration = Duration::from_millis(1);

/// What goes on beside the load.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Beside {
    Nothing,
    Checkpoints,
    LongReader,
}

const ALL: [(Beside, &str); 3] = [
    (Beside::Nothing, "quiet"),
    (Beside::Checkpoints, "while a checkpoint runs"),
    (Beside::LongReader, "a reader held, checkpoints now and then"),
];

/// What a phase measured.
struct Phase {
    reads: Histogram<u64>,
    commits: Histogram<u64>,
    checkpoints: u64,
}

/// A load: how commits are answered, and how many come.
struct Load {
    mode: Mode,
    name: &'static str,
    commit_interval: Duration,
    data: Data,
    entries: u64,
    length: Duration,
}

/// Runs all rows that are wanted.
pub fn run(run: &Run<'_>) {
    let names = run.names_with(&PEERS);
    for (mode, name, commits) in
        [(Mode::Durable, "durable", 500), (Mode::NoSync, "not durable", 5000)]
    {
        let load = Load {
            mode,
            name,
            commit_interval: Duration::from_secs(1) / commits,
            data: run.data,
            entries: run.entries.min(if run.is_quick { ENTRIES / 10 } else { ENTRIES }),
            length: Duration::from_millis(if run.is_quick { 600 } else { 5000 }),
        };
        if run.wants(&title(&load)) && !names.is_empty() {
            rows(run, &load, &names);
        }
    }
}

fn title(load: &Load) -> String {
    format!("latency, {}, {} of {}", load.name, count(load.entries), load.data)
}

fn rows(run: &Run<'_>, load: &Load, names: &[&'static str]) {
    let stores: Vec<_> =
        names.iter().map(|&name| run.filled(name, load.entries, load.mode)).collect();
    let rounds = if run.is_quick { 1 } else { run.few_rounds() };
    let mut phases: Vec<Vec<Vec<Phase>>> =
        names.iter().map(|_| ALL.iter().map(|_| Vec::new()).collect()).collect();
    let mut random = Random::new(11);
    let mut probe = Probe::new(run.root).expect("a probe of the disk");
    let mut dropped = 0;
    for round in 0..rounds {
        let pairs = (0..names.len()).flat_map(|peer| (0..ALL.len()).map(move |kind| (peer, kind)));
        let mut order: Vec<_> = pairs.collect();
        random.shuffle(&mut order);
        let mut slowest_sync = probe.sync().unwrap();
        let mut done = Vec::new();
        for (peer, kind) in order {
            let phase = load.phase(&*stores[peer].1, ALL[kind].0, round as u64);
            done.push((peer, kind, phase));
            slowest_sync = slowest_sync.max(probe.sync().unwrap());
        }
        // Commits that need no sync go on beside a slow disk.
        if load.mode == Mode::Durable && slowest_sync > NOISY {
            dropped += 1;
            continue;
        }
        for (peer, kind, phase) in done {
            phases[peer][kind].push(phase);
        }
    }
    if dropped > 0 {
        let figure = format!("{dropped} of {rounds} rounds dropped, syncs over 1 ms");
        run.report.remark(&title(load), "all", figure);
    }
    for (of, histogram) in [
        ("reads", (|phase| &phase.reads) as fn(&Phase) -> &Histogram<u64>),
        ("commits", |phase| &phase.commits),
    ] {
        for (kind, (_, beside)) in ALL.iter().enumerate() {
            let title = format!("{}: {of}, {beside}", title(load));
            row(run, load, &title, names, &phases, kind, histogram);
        }
    }
}

/// The lines of one row, one for each peer.
fn row(
    run: &Run<'_>,
    load: &Load,
    title: &str,
    names: &[&str],
    phases: &[Vec<Vec<Phase>>],
    kind: usize,
    histogram: fn(&Phase) -> &Histogram<u64>,
) {
    let middle = |peer: usize, kind: usize, quantile: f64| {
        let phases = phases[peer][kind].iter().map(histogram);
        let seen = phases.filter(|histogram| !histogram.is_empty());
        median(seen.map(|histogram| histogram.value_at_quantile(quantile) as f64).collect())
    };
    let base = names.iter().position(|name| *name == "lmdb");
    let base = base.and_then(|peer| middle(peer, kind, 0.999));
    for (peer, name) in names.iter().enumerate() {
        let all = &phases[peer][kind];
        let Some(tail) = middle(peer, kind, 0.999) else {
            run.report.remark(title, name, "no round counts, or no operation met it".into());
            continue;
        };
        let [p50, p99] = [0.5, 0.99].map(|quantile| middle(peer, kind, quantile).unwrap_or(tail));
        let max = all.iter().map(|phase| histogram(phase).max()).max().unwrap_or_default();
        let seen: u64 = all.iter().map(|phase| histogram(phase).len()).sum();
        let checkpoints: u64 = all.iter().map(|phase| phase.checkpoints).sum();
        let against = match middle(peer, 0, 0.999) {
            Some(quiet) if kind > 0 => format!("; p99.9 is {:.2}x of quiet", tail / quiet),
            _ => String::new(),
        };
        let [p50, p99, p999, max] = [p50, p99, tail, max as f64].map(nanoseconds);
        run.report.line(Line {
            title: title.into(),
            terms: format!(
                "{}; 1 committer at {:.0}/s, 1 reader at 20,000/s; clock: each operation, a commit \
                 that is late from when it was due; ratio of p99.9",
                load.name,
                1.0 / load.commit_interval.as_secs_f64(),
            ),
            who: (*name).into(),
            figure: format!(
                "p50 {p50}, p99 {p99}, p99.9 {p999}, max {max}{against} ({seen} seen, \
                 {checkpoints} checkpoints)"
            ),
            cpu: String::new(),
            written: String::new(),
            ratio: base.map(|base| base / tail),
        });
    }
}

/// Up to a minute, in nanoseconds, to three digits.
fn histogram() -> Histogram<u64> {
    Histogram::new_with_bounds(1, 60_000_000_000, 3).expect("the bounds are in order")
}

impl Load {
    /// One peer for one phase.
    fn phase(&self, peer: &dyn Peer, beside: Beside, round: u64) -> Phase {
        // What earlier phases left behind is none of this one's.
        peer.checkpoint();
        let held = (beside == Beside::LongReader).then(|| peer.hold());
        let (is_over, is_running) = (AtomicBool::new(false), AtomicBool::new(false));
        let checkpoints = AtomicU64::new(0);
        // Only what met a checkpoint counts where checkpoints are what is asked about.
        let counts =
            |before: bool| beside != Beside::Checkpoints || before || is_running.load(Relaxed);
        let (is_over, is_running) = (&is_over, &is_running);
        let phase = thread::scope(|scope| {
            let reads = scope.spawn(|| self.read(peer, is_over, is_running, &counts, round));
            let commits = scope.spawn(|| self.commit(peer, is_over, is_running, &counts, round));
            if beside != Beside::Nothing {
                scope.spawn(|| {
                    while !is_over.load(Relaxed) {
                        thread::sleep(PAUSE);
                        is_running.store(true, Relaxed);
                        peer.checkpoint();
                        is_running.store(false, Relaxed);
                        checkpoints.fetch_add(1, Relaxed);
                    }
                });
            }
            thread::sleep(self.length);
            is_over.store(true, Relaxed);
            let (reads, commits) = (reads.join().unwrap(), commits.join().unwrap());
            Phase { reads, commits, checkpoints: 0 }
        });
        drop(held);
        Phase { checkpoints: checkpoints.into_inner(), ..phase }
    }

    fn read(
        &self,
        peer: &dyn Peer,
        is_over: &AtomicBool,
        is_running: &AtomicBool,
        counts: &dyn Fn(bool) -> bool,
        round: u64,
    ) -> Histogram<u64> {
        let (mut session, mut random) = (peer.session(), Random::new(round * 2 + 1));
        let mut reads = histogram();
        while !is_over.load(Relaxed) {
            for _ in 0..BURST {
                let key = self.data.key(random.below(self.entries));
                let (before, began) = (is_running.load(Relaxed), Instant::now());
                assert_ne!(black_box(session.get(&key)), 0, "an entry is lost");
                let took = began.elapsed();
                if counts(before) {
                    reads.saturating_record(took.as_nanos() as u64);
                }
            }
            thread::sleep(BURST_INTERVAL);
        }
        reads
    }

    fn commit(
        &self,
        peer: &dyn Peer,
        is_over: &AtomicBool,
        is_running: &AtomicBool,
        counts: &dyn Fn(bool) -> bool,
        round: u64,
    ) -> Histogram<u64> {
        let (mut session, mut random) = (peer.session(), Random::new(round * 2));
        let mut commits = histogram();
        let (mut due, mut is_late) = (Instant::now(), false);
        while !is_over.load(Relaxed) {
            let i = random.below(self.entries);
            let (key, value) = (self.data.key(i), self.data.value(i ^ 1));
            // What waits for its turn behind a slow commit has waited already; that a sleep ends
            // late is nobody's fault.
            let began = if is_late { due } else { Instant::now() };
            let before = is_running.load(Relaxed);
            session.put(&key, &value);
            let ended = Instant::now();
            if counts(before) {
                commits.saturating_record((ended - began).as_nanos() as u64);
            }
            due += self.commit_interval;
            is_late = ended > due;
            if !is_late {
                thread::sleep(due - ended);
            }
        }
        commits
    }
}
