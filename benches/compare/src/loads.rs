//! Bulk loads: each in a process of its own, that its memory can be told from the others'.
//!
//! They take turns in an order drawn anew for each round. Before each, everything written so far is
//! on the device, so that none pays for what another left; the disk is looked at before and after.

use crate::{
    child,
    clock::{self, Probe, Took, median, time},
    entries::{Data, Key, Random, Value},
    peers::{self, Mode, Peer, Recto},
    report::{Line, written},
    rows::{NOISY, REST, Run, count, nanoseconds},
};
use std::{
    fs,
    path::Path,
    sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    thread,
    time::Duration,
};

/// The ways of recto to take entries in random order: the bulk path, `insert` in a closure, and one
/// `Batch`. A peer has one way, `insert`.
const OUR_WAYS: [&str; 3] = ["extend", "insert", "batch"];

/// Entries of a transaction where there are many.
const CHUNK: u64 = 1000;

/// How often a disk that is slow is left alone before a round.
const RESTS: usize = 10;

/// The child: loads `count` entries into `dir` and prints what it took. The last word of `way` is
/// how, what is before it the peer.
pub fn run_child(way: &str, dir: &Path, count: u64, data: Data) {
    clock::watch(dir).expect("the directory is there");
    let (ended, peak) = (AtomicBool::new(false), AtomicU64::new(0));
    let took = thread::scope(|scope| {
        scope.spawn(|| {
            while !ended.load(Relaxed) {
                peak.fetch_max(child::anonymous_bytes(), Relaxed);
                thread::sleep(Duration::from_millis(5));
            }
        });
        // Also if the load panics: the scope waits for the other thread.
        let _ended = OnDrop(|| ended.store(true, Relaxed));
        load(way, dir, count, data)
    });
    let (wall, cpu) = (took.wall.as_secs_f64(), took.process.as_secs_f64());
    let (peak, files) = (peak.load(Relaxed), peers::file_bytes(dir));
    println!("{wall} {cpu} {peak} {files} {} {}", took.written, took.on_device);
}

/// Calls what it holds when it goes.
struct OnDrop<F: Fn()>(F);

impl<F: Fn()> Drop for OnDrop<F> {
    fn drop(&mut self) {
        (self.0)();
    }
}

/// Loads, closes, and tells how long both took.
fn load(way: &str, dir: &Path, count: u64, data: Data) -> Took {
    let (name, how) = way.rsplit_once(' ').expect("a peer and a way");
    let mut entries = (0..count).map(|i| data.entry(i));
    if !peers::is_ours(name) || how == "sorted" {
        let sorted = if how == "sorted" { data.sorted(count) } else { Vec::new() };
        let load = || {
            let peer = peers::open(name, dir, Mode::Durable);
            match how {
                "sorted" => peer.sorted(&mut sorted.iter().map(|&i| data.entry(i))),
                _ => peer.bulk(&mut entries),
            }
            peer.close();
        };
        return time(load).1;
    }
    let slices: Vec<(Key, Value)> =
        if how == "slices" { entries.by_ref().collect() } else { Vec::new() };
    // As a service fills a store in time: only the end is waited for.
    let mode = if how == "chunks" { Mode::NoSync } else { Mode::Durable };
    let load = || {
        let recto = Recto::open(name, dir, mode);
        match how {
            "slices" => recto.extend(&slices),
            "extend" => recto.bulk(&mut entries),
            "insert" => recto.insert_each(&mut entries),
            "chunks" => {
                for _ in 0..count.div_ceil(CHUNK) {
                    recto.insert_each(&mut entries.by_ref().take(CHUNK as usize));
                }
            }
            "batch" => recto.batch(&mut entries),
            _ => panic!("{how} is no way to load"),
        }
        Box::new(recto).close();
    };
    time(load).1
}

/// What a child found.
pub struct Loaded {
    wall: f64,
    cpu: f64,
    peak: f64,
    files: f64,
    written: f64,
    on_device: f64,
    /// Whether the disk was slow before or after the round: what it took counts for nobody then,
    /// what it left in memory and in files does.
    is_noisy: bool,
}

/// Loads in a child.
pub fn spawn(way: &str, dir: &Path, count: u64, data: Data) -> Loaded {
    std::fs::create_dir_all(dir).expect("a directory for the load");
    let dir = dir.to_str().expect("a path in letters");
    let found = child::figures(&["load", way, dir, &count.to_string(), data.name()]);
    let [wall, cpu, peak, files, written, on_device] = found[..] else { panic!("six figures") };
    Loaded { wall, cpu, peak, files, written, on_device, is_noisy: false }
}

/// Both rows: random order, and sorted.
pub fn run(run: &Run<'_>, entries: u64, rounds: usize) {
    let title = format!("bulk load, {} of {}", count(entries), run.data);
    let random = format!("{title}, random order, one transaction");
    if run.wants(&random) {
        let mut ways = Vec::new();
        for name in &run.names {
            if peers::is_ours(name) {
                ways.extend(OUR_WAYS.map(|how| format!("{name} {how}")));
            } else {
                ways.push(format!("{name} insert"));
            }
        }
        row(run, &random, entries, rounds, &ways);
    }
    let sorted = format!("{title}, sorted");
    if run.wants(&sorted) {
        let ways: Vec<String> = run.names.iter().map(|name| format!("{name} sorted")).collect();
        row(run, &sorted, entries, rounds, &ways);
    }
}

fn row(run: &Run<'_>, title: &str, entries: u64, rounds: usize, ways: &[String]) {
    let mut loads: Vec<Vec<Loaded>> = ways.iter().map(|_| Vec::new()).collect();
    let mut random = Random::new(title.len() as u64);
    let mut probe = Probe::new(run.root).expect("a probe of the disk");
    let (mut dropped, mut probes) = (0, Vec::new());
    for round in 0..rounds {
        let mut order: Vec<usize> = (0..ways.len()).collect();
        random.shuffle(&mut order);
        let mut slowest_sync = written_out(&mut probe);
        for _ in 0..RESTS {
            if slowest_sync > NOISY {
                thread::sleep(REST);
                slowest_sync = probe.sync().unwrap();
            }
        }
        let mut done = Vec::new();
        for i in order {
            let way = &ways[i];
            let is_peer = way.strip_suffix(" insert").is_some_and(|name| !peers::is_ours(name));
            if is_peer && round + 1 == rounds && entries == run.entries {
                // What is read later is filled this way, too.
                let (dir, note) = run.loaded(None, way, entries);
                done.push((i, spawn(way, &dir, entries, run.data)));
                fs::write(note, []).expect("a note that the store is whole");
            } else {
                let dir = run.dir();
                done.push((i, spawn(way, dir.path(), entries, run.data)));
            }
            slowest_sync = slowest_sync.max(written_out(&mut probe));
        }
        probes.push(slowest_sync.as_secs_f64() * 1e9);
        let is_noisy = slowest_sync > NOISY;
        dropped += usize::from(is_noisy);
        for (i, load) in done {
            loads[i].push(Loaded { is_noisy, ..load });
        }
    }
    report(run, title, entries, ways, &loads);
    if dropped > 0 {
        let is_void = if dropped * 3 > rounds { "; the row is void" } else { "" };
        let figure = format!("{dropped} of {rounds} rounds dropped, syncs over 1 ms{is_void}");
        run.report.remark(title, "all", figure);
    }
    let probe = median(probes).unwrap_or_default();
    run.report.remark(title, "probe: one fdatasync", nanoseconds(probe));
}

/// Waits until the device has all that was written; how long a sync takes then.
fn written_out(probe: &mut Probe) -> Duration {
    rustix::fs::sync();
    probe.sync().unwrap()
}

/// The lines of a row, one for each way.
fn report(run: &Run<'_>, title: &str, entries: u64, ways: &[String], loads: &[Vec<Loaded>]) {
    let all = |loads: &[Loaded], of: fn(&Loaded) -> f64| {
        median(loads.iter().map(of).collect()).unwrap_or_default()
    };
    let middle = |loads: &[Loaded], of: fn(&Loaded) -> f64| {
        median(loads.iter().filter(|load| !load.is_noisy).map(of).collect())
    };
    let base = ways.iter().position(|way| way.starts_with("lmdb"));
    let base = base.and_then(|i| middle(&loads[i], |load| load.wall));
    for (way, loads) in ways.iter().zip(loads) {
        let each = |of| middle(loads, of).unwrap_or_default() / entries as f64;
        let peak = all(loads, |load| load.peak) / 1e6;
        let files = all(loads, |load| load.files);
        let space = format!(
            "peak RssAnon {peak:.0} MB; files {:.0} MB, {:.0} B an entry",
            files / 1e6,
            files / entries as f64,
        );
        let Some(wall) = middle(loads, |load| load.wall) else {
            run.report.remark(title, way, format!("every round was noisy; {space}"));
            continue;
        };
        let figure =
            format!("{} each, {wall:.2} s; {space}", nanoseconds(each(|load| load.wall) * 1e9));
        run.report.line(Line {
            title: title.into(),
            terms: "durable; 1 client; clock: open to close".into(),
            who: way.clone(),
            figure,
            cpu: nanoseconds(each(|load| load.cpu) * 1e9),
            written: written(
                each(|load| load.written),
                Some(run.data.mean_bytes()),
                each(|load| load.on_device),
            ),
            ratio: base.map(|base| base / wall),
        });
    }
}
