//! Latency under mixed load: each read and each commit in an HDR histogram, while nothing else goes
//! on, while checkpoints run, and while a reader holds an old state.
//!
//! What waits for its turn behind a slow operation has waited since it was due, and a checkpoint
//! that ran at any time between due and ended was met. The rounds' histograms are merged; a
//! quantile stands only where enough lies beyond it.

use crate::{
    clock::Probe,
    entries::{Data, Random},
    peers::{Mode, Peer},
    report::Line,
    rows::{NOISY, Run, count, nanoseconds},
};
use hdrhistogram::Histogram;
use std::{
    hint::black_box,
    sync::atomic::{AtomicBool, Ordering::Relaxed},
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
/// A quantile is shown if about so many operations took longer.
const BEYOND: f64 = 10.0;
/// Its only call that writes everything to its place is one for its tests, and polls with sleeps of
/// 10 ms: it takes no part where checkpoints are asked for.
const WITHOUT_CHECKPOINTS: &str = "fjall";

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

/// An operation, or a checkpoint: from when it was due, or began, until it ended.
type Span = (Instant, Instant);

/// What a phase measured, or several of one kind.
struct Phase {
    reads: Histogram<u64>,
    commits: Histogram<u64>,
    checkpoints: usize,
}

impl Phase {
    fn none() -> Phase {
        Phase { reads: histogram(), commits: histogram(), checkpoints: 0 }
    }

    fn add(&mut self, other: &Phase) {
        for (all, more) in [(&mut self.reads, &other.reads), (&mut self.commits, &other.commits)] {
            all.add(more).expect("the bounds are the same");
        }
        self.checkpoints += other.checkpoints;
    }
}

/// A load: how commits are answered, and how many come.
struct Load {
    mode: Mode,
    name: &'static str,
    commit_interval: Duration,
    data: Data,
    entries: u64,
    length: Duration,
    /// How many times as long the phase is in which few of the operations count: one commit of ten
    /// or so meets a checkpoint, and a p99.9 takes 10,000 of them in all rounds.
    longer: u32,
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
            length: Duration::from_millis(if run.is_quick { 600 } else { 6000 }),
            longer: if mode == Mode::Durable { 8 } else { 2 },
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
    let mut phases: Vec<[Phase; ALL.len()]> =
        names.iter().map(|_| ALL.map(|_| Phase::none())).collect();
    let mut random = Random::new(11);
    let mut probe = Probe::new(run.root).expect("a probe of the disk");
    let mut dropped = 0;
    for round in 0..rounds {
        let pairs = (0..names.len()).flat_map(|peer| (0..ALL.len()).map(move |kind| (peer, kind)));
        let takes_part = |&(peer, kind): &(usize, usize)| ALL[kind].0.asks(names[peer]);
        let mut order: Vec<_> = pairs.filter(takes_part).collect();
        random.shuffle(&mut order);
        let mut slowest_sync = probe.sync().unwrap();
        let mut done = Vec::new();
        for (peer, kind) in order {
            let phase = load.phase(names[peer], &*stores[peer].1, ALL[kind].0, round as u64);
            done.push((peer, kind, phase));
            slowest_sync = slowest_sync.max(probe.sync().unwrap());
        }
        // Commits that need no sync go on beside a slow disk.
        if load.mode == Mode::Durable && slowest_sync > NOISY {
            dropped += 1;
            continue;
        }
        for (peer, kind, phase) in done {
            phases[peer][kind].add(&phase);
        }
    }
    for (of, histogram) in [
        ("reads", (|phase| &phase.reads) as fn(&Phase) -> &Histogram<u64>),
        ("commits", |phase| &phase.commits),
    ] {
        for (kind, (_, beside)) in ALL.iter().enumerate() {
            let title = format!("{}: {of}, {beside}", title(load));
            row(run, load, &title, names, &phases, kind, histogram);
            if dropped > 0 {
                let is_void = if dropped * 3 > rounds { "; the row is void" } else { "" };
                let figure =
                    format!("{dropped} of {rounds} rounds dropped, syncs over 1 ms{is_void}");
                run.report.remark(&title, "all", figure);
            }
        }
    }
}

/// The lines of one row, one for each peer.
fn row(
    run: &Run<'_>,
    load: &Load,
    title: &str,
    names: &[&str],
    phases: &[[Phase; ALL.len()]],
    kind: usize,
    histogram: fn(&Phase) -> &Histogram<u64>,
) {
    let tail = |peer: usize, kind: usize| quantile(histogram(&phases[peer][kind]), 0.999);
    let base = names.iter().position(|name| *name == "lmdb").and_then(|peer| tail(peer, kind));
    for (peer, name) in names.iter().enumerate() {
        if !ALL[kind].0.asks(name) {
            continue;
        }
        let phase = &phases[peer][kind];
        let seen = histogram(phase);
        if seen.is_empty() {
            run.report.remark(title, name, "no round counts, or no operation met it".into());
            continue;
        }
        let against = match (tail(peer, kind), tail(peer, 0)) {
            (Some(tail), Some(quiet)) if kind > 0 => {
                format!("; p99.9 is {:.2}x of quiet", tail / quiet)
            }
            _ => String::new(),
        };
        let [p50, p99, p999] = [0.5, 0.99, 0.999].map(|of| shown(seen, of));
        let max = nanoseconds(seen.max() as f64);
        run.report.line(Line {
            title: title.into(),
            terms: format!(
                "{}; 1 committer at {:.0}/s, 1 reader at 20,000/s; clock: each operation, one \
                 that is late from when it was due; ratio of p99.9",
                load.name,
                1.0 / load.commit_interval.as_secs_f64(),
            ),
            who: (*name).into(),
            figure: format!(
                "p50 {p50}, p99 {p99}, p99.9 {p999}, max {max}{against} ({} seen, {} checkpoints)",
                seen.len(),
                phase.checkpoints
            ),
            cpu: String::new(),
            written: String::new(),
            ratio: base.zip(tail(peer, kind)).map(|(base, tail)| base / tail),
        });
    }
}

/// A quantile, if enough was seen for it.
fn quantile(seen: &Histogram<u64>, of: f64) -> Option<f64> {
    let is_enough = seen.len() as f64 * (1.0 - of) >= BEYOND - 1e-6;
    is_enough.then(|| seen.value_at_quantile(of) as f64)
}

/// The same, readable.
fn shown(seen: &Histogram<u64>, of: f64) -> String {
    quantile(seen, of).map_or(format!("({} seen, too few)", seen.len()), nanoseconds)
}

/// Whether one of some spans, in order and apart, has a moment in common with a span.
fn meets(spans: &[Span], (began, ended): Span) -> bool {
    let at = spans.partition_point(|span| span.1 < began);
    spans.get(at).is_some_and(|span| span.0 <= ended)
}

impl Beside {
    /// Whether a peer takes part.
    fn asks(self, name: &str) -> bool {
        self != Beside::Checkpoints || name != WITHOUT_CHECKPOINTS
    }
}

/// Up to a minute, in nanoseconds, to three digits.
fn histogram() -> Histogram<u64> {
    Histogram::new_with_bounds(1, 60_000_000_000, 3).expect("the bounds are in order")
}

impl Load {
    /// One peer for one phase.
    fn phase(&self, name: &str, peer: &dyn Peer, beside: Beside, round: u64) -> Phase {
        // What earlier phases left behind is none of this one's.
        peer.checkpoint();
        let held = (beside == Beside::LongReader).then(|| peer.hold());
        let is_over = &AtomicBool::new(false);
        let length = self.length * if beside == Beside::Checkpoints { self.longer } else { 1 };
        let (reads, commits, checkpoints) = thread::scope(|scope| {
            let reads = scope.spawn(|| self.read(peer, is_over, round));
            let commits = scope.spawn(|| self.commit(peer, is_over, round));
            let has_checkpoints = beside != Beside::Nothing && name != WITHOUT_CHECKPOINTS;
            let checkpoints = has_checkpoints.then(|| scope.spawn(|| checkpoints(peer, is_over)));
            thread::sleep(length);
            is_over.store(true, Relaxed);
            let checkpoints = checkpoints.map(|thread| thread.join().unwrap());
            (reads.join().unwrap(), commits.join().unwrap(), checkpoints.unwrap_or_default())
        });
        drop(held);
        // Only what met a checkpoint counts where checkpoints are what is asked about.
        let counts = |span: &Span| beside != Beside::Checkpoints || meets(&checkpoints, *span);
        let mut phase = Phase { checkpoints: checkpoints.len(), ..Phase::none() };
        for (spans, histogram) in [(reads, &mut phase.reads), (commits, &mut phase.commits)] {
            for (began, ended) in spans.into_iter().filter(counts) {
                histogram.saturating_record((ended - began).as_nanos() as u64);
            }
        }
        phase
    }

    fn read(&self, peer: &dyn Peer, is_over: &AtomicBool, round: u64) -> Vec<Span> {
        let (mut session, mut random) = (peer.session(), Random::new(round * 2 + 1));
        let (mut reads, mut turns) = (Vec::new(), Turns::new(BURST_INTERVAL));
        while !is_over.load(Relaxed) {
            for _ in 0..BURST {
                let key = self.data.key(random.below(self.entries));
                let began = turns.began();
                assert_ne!(black_box(session.get(&key)), 0, "an entry is lost");
                reads.push((began, Instant::now()));
            }
            turns.wait();
        }
        reads
    }

    fn commit(&self, peer: &dyn Peer, is_over: &AtomicBool, round: u64) -> Vec<Span> {
        let (mut session, mut random) = (peer.session(), Random::new(round * 2));
        let (mut commits, mut turns) = (Vec::new(), Turns::new(self.commit_interval));
        while !is_over.load(Relaxed) {
            let i = random.below(self.entries);
            let (key, value) = (self.data.key(i), self.data.value(i ^ 1));
            let began = turns.began();
            session.put(&key, &value);
            commits.push((began, Instant::now()));
            turns.wait();
        }
        commits
    }
}

/// One checkpoint after the other, until the phase is over.
fn checkpoints(peer: &dyn Peer, is_over: &AtomicBool) -> Vec<Span> {
    let mut checkpoints = Vec::new();
    while !is_over.load(Relaxed) {
        thread::sleep(PAUSE);
        let began = Instant::now();
        peer.checkpoint();
        checkpoints.push((began, Instant::now()));
    }
    checkpoints
}

/// When the next operation, or burst of them, is due.
struct Turns {
    interval: Duration,
    due: Instant,
    is_late: bool,
}

impl Turns {
    /// The first is due now.
    fn new(interval: Duration) -> Turns {
        Turns { interval, due: Instant::now(), is_late: false }
    }

    /// From when on an operation counts. What waits for its turn behind a slow one has waited
    /// already; that a sleep ends late is nobody's fault.
    fn began(&self) -> Instant {
        if self.is_late { self.due } else { Instant::now() }
    }

    /// Waits until the next is due, unless it is already.
    fn wait(&mut self) {
        self.due += self.interval;
        let now = Instant::now();
        self.is_late = now > self.due;
        if !self.is_late {
            thread::sleep(self.due - now);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_operation_meets_a_checkpoint_that_ran_at_any_time_of_it() {
        let start = Instant::now();
        let span = |from, to| (start + Duration::from_secs(from), start + Duration::from_secs(to));
        let checkpoints = [span(10, 20), span(30, 40)];
        for (from, to, is_met) in [
            (1, 9, false),
            (1, 11, true),
            (12, 13, true),
            // Due while one ran, begun after it; and one that lasted longer.
            (19, 25, true),
            (21, 29, false),
            (21, 50, true),
            (41, 50, false),
        ] {
            assert_eq!(meets(&checkpoints, span(from, to)), is_met, "{from} to {to}");
        }
        assert!(!meets(&[], span(1, 2)));
    }

    #[test]
    fn what_is_late_counts_from_when_it_was_due() {
        let mut turns = Turns::new(Duration::from_millis(1));
        let due = turns.due + turns.interval;
        thread::sleep(Duration::from_millis(5));
        turns.wait();
        assert_eq!(turns.began(), due);
    }

    #[test]
    fn a_quantile_beyond_which_too_little_lies_is_not_shown() {
        let mut seen = histogram();
        seen.record_n(1000, 9_999).unwrap();
        assert_eq!((quantile(&seen, 0.99), quantile(&seen, 0.999)), (Some(1000.0), None));
        assert_eq!(shown(&seen, 0.999), "(9999 seen, too few)");
        seen.record(1000).unwrap();
        assert_eq!(quantile(&seen, 0.999), Some(1000.0));
    }
}
