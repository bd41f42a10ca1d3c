//! Readers of every kind against writers and checkpoints: each sees one version, whole.

use super::{
    Place,
    dice::{Dice, asked_for},
};
use recto::{Durability, Options, Result, Store, Table, View, simulation::SimDisk};
use std::{
    sync::atomic::{AtomicBool, AtomicU64, Ordering},
    thread,
    time::Duration,
};

/// The version that the store is at, as its own transactions count it.
const AT: Table<bool, u64> = Table::new("at");
/// What is moved from one to another; the sum stays.
const COUNTS: Table<u64, u64> = Table::new("counts");
/// The version that wrote it, and then only bytes that follow from that.
const PADS: Table<u64, &[u8]> = Table::new("pads");

const KEYS: u64 = 300;
const EACH: u64 = 1000;

fn pad(version: u64, len: usize) -> Vec<u8> {
    let mut pad = version.to_le_bytes().to_vec();
    pad.resize(8 + len, version as u8);
    pad
}

fn write(store: &Store, dice: &mut Dice, durability: Durability) -> Result<()> {
    store.write_with(durability, |tx| {
        let version = tx.table(&AT)?.get(true)?.unwrap_or(0) + 1;
        tx.table(&AT)?.insert(true, version)?;
        for _ in 0..3 {
            let (from, to) = (dice.next() % KEYS, dice.next() % KEYS);
            let mut counts = tx.table(&COUNTS)?;
            let held = counts.get(from)?.unwrap_or(0);
            let moved = dice.next() % (held + 1);
            counts.insert(from, held - moved)?;
            let held = counts.get(to)?.unwrap_or(0);
            counts.insert(to, held + moved)?;
        }
        let len = [10, 500, 1500, 9000][dice.below(4)];
        tx.table(&PADS)?.insert(dice.next() % 40, &pad(version, dice.below(len)))?;
        if dice.once_in(5) {
            tx.table(&PADS)?.remove(dice.next() % 40)?;
        }
        Ok(())
    })
}

fn read(view: &View) -> Result<u64> {
    let version = view.version();
    assert_eq!(view.table(&AT)?.get(true)?, Some(version), "one version");
    let mut sum = 0;
    for entry in view.table(&COUNTS)?.iter()? {
        sum += entry?.1;
    }
    assert_eq!(sum, KEYS * EACH, "counts at version {version}");
    for entry in view.table(&PADS)?.iter()?.rev() {
        let (key, bytes) = entry?;
        let (by, rest) = bytes.split_first_chunk::<8>().expect("a pad");
        let by = u64::from_le_bytes(*by);
        let whole = rest.iter().all(|byte| *byte == by as u8);
        assert!(by <= version && whole, "pad {key} of {by} at version {version}");
    }
    Ok(version)
}

fn race(place: &Place) {
    let options =
        Options::new().page_bytes(4096).dirty_bytes(256 << 10).log_segment_bytes(32 << 10);
    let store = place.open(options).expect("a new store");
    let first = store.write(|tx| {
        tx.table(&AT)?.insert(true, 1)?;
        tx.table(&COUNTS)?.extend((0..KEYS).map(|key| (key, EACH)))
    });
    first.expect("the first commit");
    let (is_over, reads) = (AtomicBool::new(false), AtomicU64::new(0));
    let (store, is_over, reads) = (&store, &is_over, &reads);
    thread::scope(|scope| {
        for seed in 0..2 {
            scope.spawn(move || {
                let mut dice = Dice::new(seed);
                while !is_over.load(Ordering::Relaxed) {
                    let relaxed = dice.once_in(2);
                    let durability = if relaxed { Durability::None } else { Durability::Sync };
                    write(store, &mut dice, durability).expect("a commit");
                }
            });
        }
        scope.spawn(move || {
            while !is_over.load(Ordering::Relaxed) {
                store.checkpoint().expect("a checkpoint");
                thread::sleep(Duration::from_millis(2));
            }
        });
        for kind in 0..3 {
            scope.spawn(move || {
                let (mut reader, mut last, mut old) = (store.reader(), 0, store.snapshot());
                while !is_over.load(Ordering::Relaxed) {
                    let version = match kind {
                        0 => read(reader.snapshot()),
                        1 => store.read(read),
                        _ => read(&store.snapshot()),
                    };
                    let version = version.expect("a version that can be read");
                    assert!(version >= last, "version {version} behind {last}");
                    last = version;
                    read(&old).expect("an old version that can be read");
                    if reads.fetch_add(1, Ordering::Relaxed) % 7 == 0 {
                        old = store.snapshot();
                    }
                }
            });
        }
        let seconds = asked_for("RECTO_READERS_SECONDS").unwrap_or(2);
        thread::sleep(Duration::from_secs(seconds));
        is_over.store(true, Ordering::Relaxed);
    });
    let version = store.snapshot().version();
    println!("{} reads of {version} versions", reads.load(Ordering::Relaxed));
    assert_eq!(store.close().expect("closed").version, version);
}

#[test]
fn readers_of_a_simulated_disk_see_one_version() {
    race(&Place::Simulated(SimDisk::new()));
}

#[test]
fn readers_of_memory_see_one_version() {
    race(&Place::Memory);
}

#[test]
fn readers_of_a_mapped_file_see_one_version() {
    race(&Place::Files { dir: tempfile::tempdir().unwrap(), memory_map: true });
}

#[test]
fn readers_of_a_file_without_a_map_see_one_version() {
    race(&Place::Files { dir: tempfile::tempdir().unwrap(), memory_map: false });
}
