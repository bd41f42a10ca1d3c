//! Bulk loads: each in a process of its own, that its memory can be told from the others'.

use crate::{
    clock::{median, time},
    entries::{key, value},
    peers::{self, Mode, Peer, Recto},
    rows::nanoseconds,
};
use std::{
    env,
    path::Path,
    process::Command,
    sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    thread,
    time::Duration,
};

/// How each peer is loaded; the first word is the peer.
pub const WAYS: [&str; 5] =
    ["recto extend", "recto insert", "recto batch", "lmdb insert", "redb insert"];

/// The child: loads `count` entries into `dir` and prints what it took.
pub fn child(way: &str, dir: &Path, count: u64) {
    let (ended, peak) = (AtomicBool::new(false), AtomicU64::new(0));
    let ((), took) = thread::scope(|scope| {
        scope.spawn(|| {
            while !ended.load(Relaxed) {
                peak.fetch_max(anonymous_bytes(), Relaxed);
                thread::sleep(Duration::from_millis(5));
            }
        });
        let took = load(way, dir, count);
        ended.store(true, Relaxed);
        took
    });
    let (wall, cpu) = (took.wall.as_secs_f64(), took.process.as_secs_f64());
    println!("{wall} {cpu} {} {}", peak.load(Relaxed), peers::file_bytes(dir));
}

/// Loads, closes, and tells how long both took.
fn load(way: &str, dir: &Path, count: u64) -> ((), crate::clock::Took) {
    let mut entries = (0..count).map(|i| (key(i), value(i)));
    let Some(way) = way.strip_prefix("recto ") else {
        let name = way.split(' ').next().unwrap_or(way);
        return time(|| {
            let peer = peers::open(name, dir, Mode::Durable);
            peer.batch(&mut entries);
            peer.close();
        });
    };
    if way == "slices" {
        let entries: Vec<_> = entries.collect();
        return time(|| {
            let recto = Recto::open(dir, Mode::Durable);
            recto.extend(&entries);
            Box::new(recto).close();
        });
    }
    time(|| {
        let recto = Recto::open(dir, Mode::Durable);
        match way {
            "extend" => recto.extend_arrays(&mut entries),
            "insert" => recto.insert_each(&mut entries),
            _ => recto.batch(&mut entries),
        }
        Box::new(recto).close();
    })
}

/// What of this process is in memory and of no file.
fn anonymous_bytes() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:"));
    let kilobytes = line.and_then(|line| line.trim().strip_suffix(" kB"));
    kilobytes.and_then(|number| number.trim().parse::<u64>().ok()).unwrap_or(0) * 1024
}

/// What a child found.
pub struct Loaded {
    wall: f64,
    cpu: f64,
    peak: u64,
    files: u64,
}

/// Loads in a child.
pub fn spawn(way: &str, dir: &Path, count: u64) -> Loaded {
    std::fs::create_dir_all(dir).expect("a directory for the load");
    let program = env::current_exe().expect("this program");
    let mut child = Command::new(program);
    let output = child.arg("load").arg(way).arg(dir).arg(count.to_string()).output();
    let output = output.expect("the child starts");
    assert!(output.status.success(), "{way}: {}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let mut words = text.split_whitespace();
    let mut next = || words.next().expect("four figures");
    let (wall, cpu) = (next().parse().unwrap(), next().parse().unwrap());
    Loaded { wall, cpu, peak: next().parse().unwrap(), files: next().parse().unwrap() }
}

/// The row: every way, in turn.
pub fn run(root: &Path, count: u64, rounds: usize, ways: &[&str]) {
    let mut loads: Vec<Vec<Loaded>> = ways.iter().map(|_| Vec::new()).collect();
    for _ in 0..rounds {
        for (way, loads) in ways.iter().zip(&mut loads) {
            let dir = tempfile::tempdir_in(root).expect("a directory");
            loads.push(spawn(way, dir.path(), count));
        }
    }
    let middle = |loads: &[Loaded], of: fn(&Loaded) -> f64| {
        median(loads.iter().map(of).collect()).unwrap_or_default()
    };
    let base = ways.iter().position(|way| way.starts_with("lmdb"));
    let base = base.map(|i| middle(&loads[i], |load| load.wall));
    let size = format!("{} M in one transaction, per entry", count as f64 / 1e6);
    for (way, loads) in ways.iter().zip(&loads) {
        let each = |of| nanoseconds(middle(loads, of) * 1e9 / count as f64);
        let ratio = middle(loads, |load| load.wall);
        let ratio = base.map_or(String::new(), |base| format!("{:.2}x", base / ratio));
        let peak = middle(loads, |load| load.peak as f64) / 1e6;
        let files = middle(loads, |load| load.files as f64) / 1e6;
        let per_entry = files * 1e6 / count as f64;
        println!(
            "| bulk load, {size} | {way} | {}; peak RssAnon {peak:.0} MB; files {files:.0} MB, \
             {per_entry:.0} B an entry | {} | {ratio} |",
            each(|load| load.wall),
            each(|load| load.cpu),
        );
    }
}
