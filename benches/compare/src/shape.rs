//! redb's published benchmark: a bulk load, then writes of several kinds, reads, removals and a
//! compaction, each peer going through the whole sequence by itself, the peers in turn.
//!
//! The sequence stays whole for each peer, because what a peer puts off (compactions in the
//! background) is then paid by its own next steps, as in the original.

use crate::{
    clock::{Probe, Took, time},
    entries::{Keys, NEW, Random},
    peers::{self, Mode, Peer},
    rows::{By, Figures, Question, Run, count},
    sizes,
};
use std::{fmt::Write as _, hint::black_box, path::Path, thread, time::Duration};

/// How much of each there is.
struct Amounts {
    entries: u64,
    individual: u64,
    batches: u64,
    unsynced: u64,
    reads: u64,
    ranges: u64,
    threaded: u64,
    sorted: u64,
}

/// A batch's inserts.
const BATCH: u64 = 1000;
/// A range's entries.
const RANGE: usize = 10;
const THREADS: [u64; 4] = [4, 8, 16, 32];

/// What one step of one peer did.
struct Step {
    title: String,
    terms: &'static str,
    count: u64,
    took: Took,
    sum: Option<u64>,
    put_bytes: Option<f64>,
    slowest_sync: Duration,
}

/// What one peer did in one round.
#[derive(Default)]
struct Sequence {
    steps: Vec<Step>,
    /// Files before the removal, behind it, and compacted.
    sizes: [u64; 3],
}

/// Runs it, if it is wanted: `entries` entries, everything else in proportion.
pub fn run(run: &Run<'_>, entries: u64, rounds: usize) {
    let title = format!("redb's benchmark, {} of {}", count(entries), run.data);
    if !run.wants(&title) {
        return;
    }
    let share = |of: u64| (entries / of).max(1);
    let amounts = Amounts {
        entries,
        individual: share(5000),
        batches: share(50_000),
        unsynced: share(100),
        reads: share(5),
        ranges: share(10),
        threaded: entries,
        sorted: share(5),
    };
    let mut all: Vec<Vec<Sequence>> = run.names.iter().map(|_| Vec::new()).collect();
    let mut random = Random::new(entries);
    for round in 0..rounds {
        let mut order: Vec<usize> = (0..run.names.len()).collect();
        random.shuffle(&mut order);
        for peer in order {
            all[peer].push(sequence(run, run.names[peer], &amounts, round as u64));
        }
    }
    report(run, &title, &amounts, &all);
}

fn sequence(run: &Run<'_>, name: &str, amounts: &Amounts, round: u64) -> Sequence {
    let dir = run.dir();
    let mut probe = Probe::new(run.root).expect("a probe of the disk");
    let mut sequence = Sequence::default();
    sequence.writes(run, name, dir.path(), amounts, &mut probe);
    let peer = peers::open(name, dir.path(), Mode::Durable);
    black_box(peer.scan());
    let held = amounts.entries + amounts.individual + amounts.batches * BATCH + amounts.unsynced;
    sequence.reads(run, &*peer, amounts, held, round);
    peer.close();
    sequence.removals(run, name, dir.path(), amounts, held);
    let dir = run.dir();
    let (data, numbers) = (run.data, run.data.sorted(amounts.sorted));
    let title = format!("{} sorted inserts into an empty store", count(amounts.sorted));
    let peer = peers::open(name, dir.path(), Mode::Durable);
    sequence.write(title, (amounts.sorted, Some(data.mean_bytes())), None, peer, |peer| {
        peer.sorted(&mut numbers.iter().map(|&i| data.entry(i)));
    });
    sequence
}

impl Sequence {
    /// A step that writes; the close is timed apart.
    fn write(
        &mut self,
        title: String,
        (count, put_bytes): (u64, Option<f64>),
        probe: Option<&mut Probe>,
        peer: Box<dyn Peer>,
        work: impl FnOnce(&dyn Peer),
    ) {
        let mut probe = probe;
        let mut look = || probe.as_mut().map_or(Duration::ZERO, |probe| probe.sync().unwrap());
        let before = look();
        let ((), took) = time(|| work(&*peer));
        let ((), closing) = time(|| peer.close());
        let slowest_sync = before.max(look());
        let with_close = took + closing;
        for (took, terms, title) in [
            (took, "clock: commits, no close", title.clone()),
            (with_close, "clock: commits and close", format!("{title}, close in the clock")),
        ] {
            let sum = None;
            self.steps.push(Step { title, terms, count, took, sum, put_bytes, slowest_sync });
        }
    }

    fn writes(&mut self, run: &Run<'_>, name: &str, dir: &Path, of: &Amounts, probe: &mut Probe) {
        let data = run.data;
        let put_bytes = Some(data.mean_bytes());
        // Read through before each step, for the original keeps one handle and its cache.
        let open = |mode| {
            let peer = peers::open(name, dir, mode);
            black_box(peer.scan());
            peer
        };
        let title = format!("bulk load of {}, one transaction, durable", count(of.entries));
        self.write(title, (of.entries, put_bytes), None, open(Mode::Durable), |peer| {
            peer.bulk(&mut (0..of.entries).map(|i| data.entry(i)));
        });
        let mut first = NEW;
        let mut next = |count: u64| {
            first += count;
            first - count..first
        };
        let (numbers, count) = (next(of.individual), of.individual);
        let title = format!("{count} durable one-key transactions, 1 client");
        self.write(title, (count, put_bytes), Some(probe), open(Mode::Durable), |peer| {
            numbers.for_each(|i| peer.put(&data.key(i), &data.value(i)));
        });
        let numbers = next(of.batches * BATCH);
        let title = format!("{} durable batches of {BATCH}", of.batches);
        self.write(
            title,
            (of.batches * BATCH, put_bytes),
            Some(probe),
            open(Mode::Durable),
            |peer| {
                for start in numbers.step_by(BATCH as usize) {
                    peer.batch(&mut (start..start + BATCH).map(|i| data.entry(i)));
                }
            },
        );
        let (numbers, count) = (next(of.unsynced), of.unsynced);
        let title = format!("{count} one-key transactions without sync, 1 client");
        self.write(title, (count, put_bytes), None, open(Mode::NoSync), |peer| {
            numbers.for_each(|i| peer.put(&data.key(i), &data.value(i)));
        });
    }

    /// A step that reads.
    fn read(&mut self, title: String, terms: &'static str, count: u64, work: impl FnOnce() -> u64) {
        let (sum, took) = time(|| black_box(work()));
        let (sum, put_bytes, slowest_sync) = (Some(sum), None, Duration::ZERO);
        self.steps.push(Step { title, terms, count, took, sum, put_bytes, slowest_sync });
    }

    fn reads(&mut self, run: &Run<'_>, peer: &dyn Peer, of: &Amounts, held: u64, round: u64) {
        let one = "1 thread; clock: calls";
        self.read("len".into(), one, 1, || peer.len());
        let found = self.steps.last().and_then(|step| step.sum);
        assert_eq!(found, Some(held), "every entry is there");
        let mut random = Random::new(round + 1);
        let mut keys = |count: u64| random.keys(run.data, count as usize, of.entries);
        let asked = keys(of.reads);
        let asked = asked.slices();
        let title = format!("{} random reads, snapshot held", count(of.reads));
        self.read(title, one, of.reads, || peer.gets(&asked));
        let asked = keys(of.ranges);
        let asked = asked.slices();
        let title = format!("{} ranges of {RANGE} from a random key", count(of.ranges));
        self.read(title, one, of.ranges, || peer.ranges(&asked, RANGE));
        for threads in THREADS {
            let each = (of.threaded / threads).max(1);
            let asked: Vec<Keys> = (0..threads).map(|_| keys(each)).collect();
            let asked: Vec<Vec<&[u8]>> = asked.iter().map(Keys::slices).collect();
            let title = format!("{} random reads by {threads} threads", count(each * threads));
            let terms = "a snapshot a thread; clock: reads, threads' start";
            self.read(title, terms, each * threads, || {
                thread::scope(|scope| {
                    let running = asked.iter().map(|keys| scope.spawn(|| peer.gets(keys)));
                    let running: Vec<_> = running.collect();
                    let sums = running.into_iter().map(|thread| thread.join().unwrap());
                    sums.fold(0, u64::wrapping_add)
                })
            });
        }
    }

    fn removals(&mut self, run: &Run<'_>, name: &str, dir: &Path, of: &Amounts, held: u64) {
        let data = run.data;
        let before = peers::file_bytes(dir);
        let removed = of.entries.div_ceil(2);
        let title =
            format!("{} removals in random order, one transaction, durable", count(removed));
        let peer = peers::open(name, dir, Mode::Durable);
        black_box(peer.scan());
        self.write(title, (removed, None), None, peer, |peer| {
            peer.remove(&mut (0..of.entries).step_by(2).map(|i| data.key(i)));
        });
        let uncompacted = peers::file_bytes(dir);
        let peer = peers::open(name, dir, Mode::Durable);
        assert_eq!(peer.len(), held - removed, "{name} removes what it is told to");
        let ((), took) = time(|| peer.compact());
        let (sum, put_bytes, slowest_sync) = (None, None, Duration::ZERO);
        let terms = "clock: compaction and close";
        let title = "compaction".into();
        self.steps.push(Step { title, terms, count: 1, took, sum, put_bytes, slowest_sync });
        self.sizes = [before, uncompacted, peers::file_bytes(dir)];
        let left = peers::open(name, dir, Mode::Durable).len();
        assert_eq!(left, held - removed, "{name} keeps what is left");
    }
}

fn report(run: &Run<'_>, title: &str, of: &Amounts, all: &[Vec<Sequence>]) {
    let names: Vec<String> = run.names.iter().map(|name| (*name).to_owned()).collect();
    let mut table = format!("{title}: totals, medians of {} rounds\n\n| |", all[0].len());
    names.iter().for_each(|name| write!(table, " {name} |").expect("a string takes text"));
    let columns = "---|".repeat(names.len() + 1);
    write!(table, "\n|{columns}\n").expect("a string takes text");
    for step in 0..all[0][0].steps.len() {
        let Step { title: what, terms, count, put_bytes, .. } = &all[0][0].steps[step];
        let mut figures = Figures::new(names.clone());
        for round in 0..all[0].len() {
            let steps: Vec<&Step> = all.iter().map(|peer| &peer[round].steps[step]).collect();
            let is_same = steps.iter().all(|step| step.sum == steps[0].sum);
            assert!(is_same, "{what}: the peers read different things");
            let slowest = steps.iter().map(|step| step.slowest_sync).max().unwrap_or_default();
            let turns: Vec<_> = steps.iter().map(|step| (step.count, step.took)).collect();
            figures.round(By::Wall, &turns, slowest);
        }
        let question = Question::new(format!("{title}: {what}"), *terms, By::Wall);
        figures.report(&Question { put_bytes: *put_bytes, ..question }, run.report);
        write!(table, "| {what} |").expect("a string takes text");
        for peer in 0..names.len() {
            let total = figures.middle(peer).map(|each| each * *count as f64 / 1e6);
            let total = total.map_or("noisy".into(), |total| format!("{total:.1} ms"));
            write!(table, " {total} |").expect("a string takes text");
        }
        table.push('\n');
    }
    let written = of.individual + of.batches * BATCH + of.unsynced;
    let later = || NEW..NEW + written;
    let live = run.data.bytes_of((0..of.entries).chain(later()));
    let left = run.data.bytes_of((1..of.entries).step_by(2).chain(later()));
    let states = ["before removals", "after removals", "compacted"];
    for (state, (what, live)) in states.into_iter().zip([live, left, left]).enumerate() {
        // The last round's: sizes hardly differ between rounds.
        let last = all.iter().map(|peer| peer.last().map_or(0, |last| last.sizes[state]));
        let sizes: Vec<u64> = last.collect();
        sizes::lines(run, &format!("{title}: size of all files, {what}"), &sizes, live);
        write!(table, "| size of all files, {what} |").expect("a string takes text");
        for size in sizes {
            write!(table, " {:.0} MB |", size as f64 / 1e6).expect("a string takes text");
        }
        table.push('\n');
    }
    run.report.table(table);
}
