//! One transaction of any size runs in bounded memory: peak anonymous memory of a child process.
//!
//! `RECTO_BULK_ENTRIES` asks for more entries, `RECTO_BULK_DIRTY_BYTES` for another room for dirty
//! pages; the long run is 5000000 entries with 268435456 bytes, in a release build.

#![cfg(target_os = "linux")]

use recto::{Durability, Options, Result, Store, Table, simulation::SimDisk};
use std::{
    env, fs,
    process::Command,
    sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst},
    thread,
    time::{Duration, Instant},
};

const ROWS: Table<u64, [u8; VALUE_BYTES]> = Table::new("rows");
const DIRECTORY: &str = "RECTO_TEST_BULK_DIRECTORY";
const WAY: &str = "RECTO_TEST_BULK_WAY";
const VALUE_BYTES: usize = 200;
/// The room in which `extend` gathers entries to sort them.
const SORT_BYTES: u64 = 32 << 20;

fn entries(way: &str) -> u64 {
    let default = if way == "extend" { 500_000 } else { 150_000 };
    env::var("RECTO_BULK_ENTRIES").map_or(default, |entries| entries.parse().unwrap())
}

fn dirty_bytes() -> u64 {
    env::var("RECTO_BULK_DIRTY_BYTES").map_or(4 << 20, |bytes| bytes.parse().unwrap())
}

/// Runs the child, and returns its peak of anonymous memory.
fn peak_of(way: &str) -> u64 {
    let dir = tempfile::tempdir().unwrap();
    let output = Command::new(env::current_exe().unwrap())
        .args(["--exact", "child_that_loads", "--nocapture"])
        .env(DIRECTORY, dir.path())
        .env(WAY, way)
        .output()
        .unwrap();
    let printed = String::from_utf8_lossy(&output.stdout);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{printed}{errors}");
    let line = printed.lines().find(|line| line.starts_with("peak ")).expect("a figure");
    println!("{line}");
    let store = Store::open(dir.path()).unwrap();
    let rows = store.snapshot();
    let rows = rows.table(&ROWS).unwrap();
    assert_eq!(rows.len().unwrap(), entries(way));
    assert_eq!(store.snapshot().version(), 1, "one transaction");
    for (number, entry) in (0..).zip(rows.iter().unwrap()) {
        assert_eq!(entry.unwrap(), (number, value(number)));
    }
    store.check().unwrap();
    line.split(' ').nth(1).unwrap().parse().unwrap()
}

/// When the branches alone fill the room for dirty pages, a spill must not write all of them again.
#[test]
fn spills_write_each_page_a_few_times_only() -> Result<()> {
    const ENTRIES: u64 = 150_000;
    let disk = SimDisk::new();
    let store = Options::new().dirty_bytes(256 << 10).open_simulated(&disk)?;
    store.write(|tx| tx.table(&ROWS)?.extend((0..ENTRIES).map(|i| (i, value(i)))))?;
    let (operations, pages) = (disk.operations(), ENTRIES as usize * VALUE_BYTES / 4096);
    println!("{operations} operations for at least {pages} pages");
    assert!(operations < pages, "{operations} operations for at least {pages} pages");
    store.check().map(drop)
}

#[test]
fn a_large_extend_runs_in_bounded_memory() {
    let peak = peak_of("extend");
    let (loaded, allowed) = (entries("extend") * (VALUE_BYTES as u64 + 8), allowed("extend"));
    assert!(loaded > allowed, "the load of {loaded} bytes proves nothing");
    assert!(peak <= allowed, "{peak} bytes at the peak, of {allowed}");
}

#[test]
fn many_inserts_in_one_transaction_run_in_bounded_memory() {
    let peak = peak_of("insert");
    let (loaded, allowed) = (entries("insert") * (VALUE_BYTES as u64 + 8), allowed("insert"));
    assert!(loaded > allowed, "the load of {loaded} bytes proves nothing");
    assert!(peak <= allowed, "{peak} bytes at the peak, of {allowed}");
}

/// Dirty pages, what is gathered, and as much again as room to grow and for the process itself.
fn allowed(way: &str) -> u64 {
    let gathered = if way == "extend" { SORT_BYTES } else { 0 };
    gathered + 2 * dirty_bytes() + (16 << 20)
}

fn value(number: u64) -> [u8; VALUE_BYTES] {
    let mut value = [number as u8; VALUE_BYTES];
    value[..8].copy_from_slice(&number.to_le_bytes());
    value
}

#[test]
fn child_that_loads() -> Result<()> {
    let (Ok(dir), Ok(way)) = (env::var(DIRECTORY), env::var(WAY)) else { return Ok(()) };
    let (peak, done) = (AtomicU64::new(0), AtomicBool::new(false));
    let count = entries(&way);
    // In no order: a stride that has no divisor in common with the count.
    let stride = (count / 2..count).find(|stride| greatest_divisor(*stride, count) == 1).unwrap();
    let numbers = (0..count).map(|n| n * stride % count);
    let options = Options::new().dirty_bytes(dirty_bytes()).sort_bytes(SORT_BYTES);
    let options = options.durability(Durability::None);
    let store = options.open(dir)?;
    let began = Instant::now();
    thread::scope(|scope| {
        scope.spawn(|| {
            while !done.load(SeqCst) {
                peak.fetch_max(status_bytes("RssAnon:"), SeqCst);
                thread::sleep(Duration::from_millis(2));
            }
        });
        let loaded = store.write(|tx| {
            let mut rows = tx.table(&ROWS)?;
            if way == "extend" {
                return rows.extend(numbers.map(|number| (number, value(number))));
            }
            let mut new = 0;
            for number in numbers {
                new += u64::from(rows.insert(number, value(number))?);
            }
            Ok(new)
        });
        done.store(true, SeqCst);
        assert_eq!(loaded.unwrap(), count);
    });
    println!(
        "\npeak {} bytes anonymous for {count} entries by {way} in {:?}; {} bytes of file mapped",
        peak.into_inner(),
        began.elapsed(),
        status_bytes("RssFile:")
    );
    store.close().map(drop)
}

fn greatest_divisor(a: u64, b: u64) -> u64 {
    if b == 0 { a } else { greatest_divisor(b, a % b) }
}

/// A line of this process's status, in bytes.
fn status_bytes(line: &str) -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|found| found.strip_prefix(line)).unwrap();
    line.trim().strip_suffix(" kB").unwrap().parse::<u64>().unwrap() * 1024
}
