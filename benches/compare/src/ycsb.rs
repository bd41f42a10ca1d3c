//! The core workloads of YCSB (Cooper et al., 2010), A to F, over entries of the data set in place
//! of records of ten fields.

use crate::{
    clock::{Probe, Took, time},
    entries::{Data, NEW, Random, Zipf},
    peers::{Mode, Peer, Session},
    rows::{By, Contestant, Question, Run, count},
};
use std::{
    hint::black_box,
    sync::atomic::{AtomicU64, Ordering::Relaxed},
    thread,
};

/// The longest scan of workload E.
const SCAN_MAX: u64 = 100;

/// What of a hundred operations a workload does; the rest is reads.
struct Workload {
    name: &'static str,
    updates: u64,
    inserts: u64,
    scans: u64,
    /// Reads with a write of the same key behind them.
    changes: u64,
    /// Whether what came last is asked for most.
    is_latest: bool,
}

const NONE: Workload =
    Workload { name: "", updates: 0, inserts: 0, scans: 0, changes: 0, is_latest: false };
const ALL: [Workload; 6] = [
    Workload { name: "A, 50 % reads, 50 % updates", updates: 50, ..NONE },
    Workload { name: "B, 95 % reads, 5 % updates", updates: 5, ..NONE },
    Workload { name: "C, reads", ..NONE },
    Workload {
        name: "D, 95 % reads of the latest, 5 % inserts",
        inserts: 5,
        is_latest: true,
        ..NONE
    },
    Workload { name: "E, 95 % scans of 1 to 100, 5 % inserts", inserts: 5, scans: 95, ..NONE },
    Workload { name: "F, 50 % reads, 50 % read and written", changes: 50, ..NONE },
];

/// What all threads of a round share.
struct Shared<'s> {
    workload: &'s Workload,
    data: Data,
    zipf: Zipf,
    entries: u64,
    /// How many entries each thread has inserted: thread t of n inserts the numbers t, t + n, ..
    /// above [`NEW`].
    inserted: Vec<AtomicU64>,
}

/// Runs all rows that are wanted.
pub fn run(run: &Run<'_>) {
    let entries = run.entries.min(if run.is_quick { 100_000 } else { 1_000_000 });
    let threads: &[u64] = if run.is_quick { &[2] } else { &[1, 2, 8] };
    let modes = [(Mode::NoSync, "not durable", 200_000), (Mode::Durable, "durable", 10_000)];
    let mut zipf = None;
    for workload in &ALL {
        for (mode, durability, operations) in &modes[..if run.is_quick { 1 } else { 2 }] {
            for &threads in threads {
                let size = count(entries);
                let title = format!("YCSB {}, {size} of {}", workload.name, run.data);
                let title = format!("{title}, {durability}, {threads} threads");
                if !run.wants(&title) {
                    continue;
                }
                let zipf = *zipf.get_or_insert_with(|| Zipf::new(entries));
                let terms = format!(
                    "{durability}; {threads} threads; Zipf 0.99 scrambled; clock: operations, close"
                );
                let question = Question::new(title, terms, By::Rate);
                let operations = operations / if workload.scans > 0 { 10 } else { 1 };
                let operations = run.operations(operations) / threads * threads;
                row(run, &question, workload, *mode, zipf, entries, threads, operations);
            }
        }
    }
}

#[expect(clippy::too_many_arguments, reason = "a row is what all of these make of it")]
fn row(
    run: &Run<'_>,
    question: &Question,
    workload: &Workload,
    mode: Mode,
    zipf: Zipf,
    entries: u64,
    threads: u64,
    operations: u64,
) {
    let data = run.data;
    let cases = run.names.iter().map(|&name| {
        Contestant::own(name, move |round| {
            let inserted = (0..threads).map(|_| AtomicU64::new(0)).collect();
            let shared = Shared { workload, data, zipf, entries, inserted };
            let (_dir, peer) = run.filled(name, entries, mode);
            let took = shared.all(peer, threads, operations / threads, round as u64);
            (operations, took)
        })
    });
    let mut probe = (mode == Mode::Durable).then(|| Probe::new(run.root).expect("a probe"));
    run.row_probed(question, run.few_rounds(), cases.collect(), probe.as_mut());
}

impl Shared<'_> {
    /// All threads' operations, and the close.
    fn all(&self, peer: Box<dyn Peer>, threads: u64, each: u64, round: u64) -> Took {
        let ((), took) = time(|| {
            thread::scope(|scope| {
                for number in 0..threads {
                    let (peer, seed) = (&*peer, round * 1000 + number);
                    scope.spawn(move || {
                        let (mut session, mut random) = (peer.session(), Random::new(seed));
                        for _ in 0..each {
                            self.operation(&mut *session, number as usize, &mut random);
                        }
                    });
                }
            });
            peer.close();
        });
        took
    }

    fn operation(&self, session: &mut dyn Session, thread: usize, random: &mut Random) {
        let Workload { updates, inserts, scans, changes, .. } = *self.workload;
        let turn = random.below(100);
        if turn < inserts {
            let threads = self.inserted.len() as u64;
            let mine = &self.inserted[thread];
            let i = NEW + mine.load(Relaxed) * threads + thread as u64;
            session.put(&self.data.key(i), &self.data.value(i));
            mine.fetch_add(1, Relaxed);
            return;
        }
        let key = self.data.key(self.number(random));
        if turn < inserts + scans {
            black_box(session.range(&key, (1 + random.below(SCAN_MAX)) as usize));
            return;
        }
        let is_change = turn >= 100 - changes;
        if turn >= inserts + scans + updates {
            assert_ne!(black_box(session.get(&key)), 0, "an entry is lost");
        }
        if is_change || turn < inserts + scans + updates {
            session.put(&key, &self.data.value(random.below(NEW)));
        }
    }

    /// The number of the entry that is asked for.
    fn number(&self, random: &mut Random) -> u64 {
        if !self.workload.is_latest {
            return self.zipf.scrambled(random);
        }
        // All threads' entries up to what the slowest has inserted are there for certain.
        let threads = self.inserted.len() as u64;
        let least = self.inserted.iter().map(|count| count.load(Relaxed)).min().unwrap_or(0);
        let (inserted, back) = (least * threads, self.zipf.rank(random));
        if back < inserted {
            NEW + (inserted - 1 - back)
        } else {
            // The loaded ones came in the order of their numbers.
            self.entries - 1 - (back - inserted).min(self.entries - 1)
        }
    }
}
