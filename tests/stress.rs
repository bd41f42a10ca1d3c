//! What loom cannot hold: many readers, many snapshots, many versions pinned at once, over files
//! and over memory, with a watchdog that ends the process if nothing moves. `just asan`
//! runs the same under `AddressSanitizer`.

#[path = "crash/watchdog.rs"]
mod watchdog;

use recto::{Batch, Durability, Options, Result, Snapshot, Store, Table};
use std::{
    sync::{
        Mutex,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    thread,
};
use watchdog::Watchdog;

/// Every row holds the number of the round that wrote it last: a snapshot shows one round.
const ROWS: Table<u64, u64> = Table::new("rows");
const ROW_COUNT: u64 = 300;
const READERS: u64 = 128;
const OPERATIONS: u64 = 50;
const CHURNED: u64 = 1000;
const PINNED: u64 = 100;

/// `SplitMix64`.
struct Dice(u64);

impl Dice {
    fn below(&mut self, end: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        ((mixed ^ (mixed >> 29)) % end as u64) as usize
    }
}

/// A small limit of dirty bytes, so that checkpoints go on all the time.
fn options() -> Options {
    Options::new().durability(Durability::None).dirty_bytes(256 << 10)
}

/// Runs `test` over files and their map, over files without it, and over memory.
fn everywhere(test: impl Fn(&Store, &Watchdog) -> Result<()>) -> Result<()> {
    let watchdog = Watchdog::begin();
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    let stores = [
        ("mapped", options().open(at("mapped"))?),
        ("unmapped", options().memory_map(false).open(at("unmapped"))?),
        ("memory", options().open_in_memory()?),
    ];
    for (name, store) in stores {
        watchdog.touch(name);
        write_round(&store, 0)?;
        test(&store, &watchdog)?;
        store.check()?;
        store.close()?;
    }
    Ok(())
}

fn write_round(store: &Store, round: u64) -> Result<()> {
    let mut batch = Batch::new();
    for row in 0..ROW_COUNT {
        batch.insert(&ROWS, row, round);
    }
    store.submit(batch)?.wait()?;
    Ok(())
}

/// The round that a snapshot shows in each of its rows.
fn round_of(snapshot: &Snapshot) -> Result<u64> {
    let rows = snapshot.table(&ROWS)?;
    let round = rows.get(0)?.expect("a row");
    let mut seen = 0;
    for entry in rows.iter()? {
        let (row, value) = entry?;
        assert_eq!(value, round, "row {row} is of another round");
        seen += 1;
    }
    assert_eq!(seen, ROW_COUNT);
    Ok(round)
}

#[test]
fn many_readers_see_whole_rounds_that_never_go_back() -> Result<()> {
    everywhere(|store, watchdog| {
        let ended = AtomicBool::new(false);
        thread::scope(|scope| {
            let writing = scope.spawn(|| {
                let mut round = 0;
                // Relaxed: it only ends the loop.
                while !ended.load(Relaxed) {
                    round += 1;
                    write_round(store, round)?;
                }
                Ok::<_, recto::Error>(round)
            });
            let reading: Vec<_> = (0..READERS)
                .map(|number| scope.spawn(move || read(store, watchdog, number)))
                .collect();
            for reader in reading {
                reader.join().unwrap()?;
            }
            ended.store(true, Relaxed);
            assert!(writing.join().unwrap()? > 0, "nothing was written meanwhile");
            Ok(())
        })
    })
}

fn read(store: &Store, watchdog: &Watchdog, number: u64) -> Result<()> {
    let (mut dice, mut reader, mut last) = (Dice(number), store.reader(), 0);
    for _ in 0..OPERATIONS {
        let round = match dice.below(4) {
            0 => round_of(&store.snapshot())?,
            1 => round_of(reader.snapshot())?,
            2 => store.get(&ROWS, dice.below(ROW_COUNT as usize) as u64)?.expect("a row"),
            _ => round_of(&store.snapshot().clone())?,
        };
        assert!(round >= last, "round {round} after {last}");
        last = round;
        watchdog.touch("reading");
    }
    Ok(())
}

#[test]
fn a_thousand_snapshots_come_and_go() -> Result<()> {
    everywhere(|store, watchdog| {
        let (mut dice, mut held) = (Dice(1), Vec::new());
        for round in 1..=CHURNED {
            let mut batch = Batch::new();
            batch.insert(&ROWS, round % ROW_COUNT, 0);
            store.submit(batch)?.wait()?;
            held.push(store.snapshot());
            // Some stay for long, some go at once.
            while held.len() > 1 + dice.below(60) {
                drop(held.swap_remove(dice.below(held.len())));
            }
            watchdog.touch("churning");
        }
        for snapshot in &held {
            assert_eq!(round_of(snapshot)?, 0);
        }
        Ok(())
    })
}

#[test]
fn a_hundred_versions_stay_whole_while_they_are_dropped_in_any_order() -> Result<()> {
    everywhere(|store, watchdog| {
        let mut held = Vec::new();
        for round in 1..=PINNED {
            write_round(store, round)?;
            held.push((round, store.snapshot()));
            watchdog.touch("pinning");
        }
        let held = Mutex::new(held);
        thread::scope(|scope| {
            let dropping: Vec<_> = (0..4)
                .map(|number| {
                    let held = &held;
                    scope.spawn(move || {
                        let mut dice = Dice(number);
                        loop {
                            let mut left = held.lock().unwrap();
                            if left.is_empty() {
                                return Ok::<_, recto::Error>(());
                            }
                            let which = dice.below(left.len());
                            let (round, snapshot) = left.swap_remove(which);
                            drop(left);
                            assert_eq!(round_of(&snapshot)?, round);
                            watchdog.touch("dropping");
                        }
                    })
                })
                .collect();
            for round in PINNED + 1..2 * PINNED {
                write_round(store, round)?;
            }
            for thread in dropping {
                thread.join().unwrap()?;
            }
            Ok(())
        })
    })
}
