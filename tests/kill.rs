//! A process that is killed at any instruction loses nothing that it was told, and leaves no
//! halves.
//!
//! The child is this very test binary, asked by an environment variable to commit in a loop from
//! eight threads; it hands each acknowledgement through a pipe before the thread's next commit. The
//! parent kills it, opens the store, and compares. `RECTO_KILLS` asks for more than 200 kills.

use recto::{Batch, Durability, Options, Result, Store, Table};
use std::{
    env,
    io::{BufRead, BufReader, Write},
    path::Path,
    process::{Child, Command, Stdio},
    sync::mpsc,
    thread,
    time::{Duration, Instant},
};

/// How many commits each thread has made, kept in two tables: they must never differ.
const LEFT: Table<u64, u64> = Table::new("left");
const RIGHT: Table<u64, u64> = Table::new("right");
/// The last commits of each thread, by thread and number.
const RECENT: Table<(u64, u64), &[u8]> = Table::new("recent");

const THREADS: u64 = 8;
const KEPT: u64 = 20;
const DIRECTORY: &str = "RECTO_TEST_KILL_DIRECTORY";
const LEVEL: &str = "RECTO_TEST_KILL_LEVEL";

#[test]
fn nothing_acknowledged_is_lost_in_200_kills() {
    let kills = env::var("RECTO_KILLS").map_or(200, |kills| kills.parse().unwrap());
    let dir = tempfile::tempdir().unwrap();
    let mut seed = 0x9e37_79b9_7f4a_7c15;
    let (mut acknowledged, mut total) = ([0; THREADS as usize], 0);
    let mut interrupted_openings = 0;
    for kill in 0..kills {
        let level = random(&mut seed) % 4;
        if random(&mut seed).is_multiple_of(2) {
            // A recovery that is itself cut short, or little more than that.
            let patience = Duration::from_micros(random(&mut seed) % 20_000);
            total += run_and_kill(dir.path(), level, false, patience, &mut acknowledged);
            interrupted_openings += 1;
        }
        let patience = Duration::from_micros(random(&mut seed) % 100_000);
        total += run_and_kill(dir.path(), level, true, patience, &mut acknowledged);
        let store = options().open(dir.path()).unwrap_or_else(|e| panic!("kill {kill}: {e}"));
        verify(&store, &acknowledged).unwrap_or_else(|e| panic!("kill {kill}: {e}"));
        store.close().unwrap();
    }
    assert!(total > kills, "only {total} commits were acknowledged in {kills} kills");
    println!(
        "{kills} kills and {interrupted_openings} early ones: {total} commits acknowledged, 0 lost"
    );
}

/// Lets a child commit for a while, counted from its start or from when it has opened the store,
/// and kills it; notes what it was told, and returns how many answers that were.
fn run_and_kill(
    dir: &Path,
    level: u64,
    from_opened: bool,
    patience: Duration,
    acknowledged: &mut [u64],
) -> u64 {
    let mut child = spawn(dir, level);
    let output = BufReader::new(child.stdout.take().unwrap());
    let (opened, is_open) = mpsc::channel();
    let told = thread::spawn(move || {
        let mut told = Vec::new();
        for line in output.split(b'\n') {
            let line = String::from_utf8(line.unwrap()).unwrap();
            if line == "open" {
                // The other end may have stopped listening.
                let _ = opened.send(());
            }
            // The last line may be cut short by the kill: it counts only with its end mark.
            if let Some(ack) = line.strip_prefix("ack ").and_then(|ack| ack.strip_suffix(" .")) {
                let (thread, number) = ack.split_once(' ').unwrap();
                told.push((thread.parse::<usize>().unwrap(), number.parse::<u64>().unwrap()));
            }
        }
        told
    });
    if from_opened {
        is_open.recv_timeout(Duration::from_secs(60)).expect("the child opens the store");
    }
    thread::sleep(patience);
    child.kill().unwrap();
    let status = child.wait().unwrap();
    assert_eq!(status.code(), None, "the child ended by itself: {status}");
    let told = told.join().unwrap();
    for &(thread, number) in &told {
        acknowledged[thread] = acknowledged[thread].max(number);
    }
    told.len() as u64
}

fn spawn(dir: &Path, level: u64) -> Child {
    Command::new(env::current_exe().unwrap())
        .args(["--exact", "child_that_commits_until_it_is_killed", "--nocapture"])
        .env(DIRECTORY, dir)
        .env(LEVEL, level.to_string())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap()
}

/// Small limits, so that checkpoints, rotations and recycled segments are part of every life.
fn options() -> Options {
    Options::new().dirty_bytes(256 << 10).log_segment_bytes(16 << 10)
}

/// What must hold however the process ended: every commit is one version, so that the counts of all
/// threads are together the version; and each commit is whole.
fn verify(store: &Store, acknowledged: &[u64]) -> Result<()> {
    let snap = store.snapshot();
    let (left, right, recent) = (snap.table(&LEFT)?, snap.table(&RIGHT)?, snap.table(&RECENT)?);
    let mut sum = 0;
    for (thread, &told) in (0..).zip(acknowledged) {
        let count = left.get(thread)?.unwrap_or(0);
        assert_eq!(count, right.get(thread)?.unwrap_or(0), "half a commit of thread {thread}");
        assert!(count >= told, "thread {thread} was told of commit {told}, found is {count}");
        let kept: Vec<_> = recent.prefix((thread,))?.collect::<Result<_>>()?;
        assert_eq!(kept.len() as u64, count.min(KEPT), "half a commit of thread {thread}");
        for (((_, number), value), expected) in kept.iter().rev().zip((1..=count).rev()) {
            assert_eq!(*number, expected, "a hole in the commits of thread {thread}");
            assert_eq!(*value, payload(thread, *number), "commit {number} of thread {thread}");
        }
        sum += count;
    }
    assert_eq!(snap.version(), sum, "versions are not the count of commits");
    store.check()?;
    Ok(())
}

/// Of a size between nothing and an overflow run, told by the commit alone.
fn payload(thread: u64, number: u64) -> Vec<u8> {
    let len =
        if (thread + number).is_multiple_of(16) { 3000 } else { (thread * 37 + number * 11) % 400 };
    vec![(thread + number) as u8; len as usize]
}

fn random(seed: &mut u64) -> u64 {
    *seed ^= *seed << 13;
    *seed ^= *seed >> 7;
    *seed ^= *seed << 17;
    *seed
}

#[test]
fn child_that_commits_until_it_is_killed() {
    let Ok(dir) = env::var(DIRECTORY) else { return };
    let level = match env::var(LEVEL).unwrap().as_str() {
        "0" => Durability::Sync,
        "1" => Durability::EveryCommits(100),
        "2" => Durability::Interval(Duration::from_millis(10)),
        _ => Durability::None,
    };
    let store = options().durability(level).open(dir).unwrap();
    std::io::stdout().write_all(b"\nopen\n").unwrap();
    let until = Instant::now() + Duration::from_secs(60);
    thread::scope(|scope| {
        for thread in 0..THREADS {
            let store = &store;
            scope.spawn(move || commit_until(until, store, thread).unwrap());
        }
    });
}

/// Commits of one thread: by closures if its number is even, by batches if it is odd.
fn commit_until(until: Instant, store: &Store, thread: u64) -> Result<()> {
    let mut number = store.get(&LEFT, thread)?.unwrap_or(0);
    while Instant::now() < until {
        number += 1;
        if thread.is_multiple_of(2) {
            store.write(|tx| {
                tx.table(&LEFT)?.insert(thread, number)?;
                let mut recent = tx.table(&RECENT)?;
                recent.insert((thread, number), &payload(thread, number))?;
                recent.remove((thread, number.saturating_sub(KEPT)))?;
                tx.table(&RIGHT)?.insert(thread, number)
            })?;
        } else {
            let mut batch = Batch::new();
            let old = number.saturating_sub(KEPT);
            batch.insert(&LEFT, thread, number);
            batch.insert(&RECENT, (thread, number), &payload(thread, number));
            batch.remove_range(&RECENT, (thread, 0)..=(thread, old));
            batch.insert(&RIGHT, thread, number);
            store.submit(batch)?.wait()?;
        }
        let line = format!("ack {thread} {number} .\n");
        let mut out = std::io::stdout().lock();
        out.write_all(line.as_bytes()).and_then(|()| out.flush()).unwrap();
    }
    Ok(())
}
