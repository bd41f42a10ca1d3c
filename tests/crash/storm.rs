//! Several threads commit and checkpoint while an operation fails somewhere: what was acknowledged
//! is there, what was refused is there whole or not at all, and the version counts what is there.
//! Owns: [`storm`].

use super::{dice::Dice, oracle::options, watchdog::Watchdog};
use recto::{
    Durability, Error, Store, Table,
    simulation::{Failure, Fault, Image, SimDisk},
};
use std::{collections::BTreeSet, sync::Mutex, thread};

const PARTS: Table<(u64, u64), &[u8]> = Table::new("parts");

/// Each commit is one thread's next number.
#[derive(Default)]
struct Seen {
    durable: BTreeSet<(u64, u64)>,
    /// Visible, and perhaps not durable.
    visible: BTreeSet<(u64, u64)>,
    /// Failed after a failed sync, perhaps: nobody knows.
    unknown: BTreeSet<(u64, u64)>,
}

fn commit(store: &Store, seen: &Mutex<Seen>, key: (u64, u64), dice: &mut Dice) {
    let durability = if dice.once_in(3) { Durability::None } else { Durability::Sync };
    let len = [20, 300, 2500][dice.below(3)];
    let value = dice.bytes(len);
    let written = store.write_with(durability, |tx| tx.table(&PARTS)?.insert(key, &value));
    let mut seen = seen.lock().unwrap();
    match written {
        Ok(new) => {
            assert!(new, "{key:?} was there already");
            let is_durable = durability == Durability::Sync;
            if is_durable { &mut seen.durable } else { &mut seen.visible }.insert(key);
        }
        Err(Error::Io(_) | Error::Full { .. } | Error::Poisoned) => _ = seen.unknown.insert(key),
        Err(error) => panic!("a commit: {error:?}"),
    }
}

fn judge(image: &Image, seen: &Seen) -> Result<(), String> {
    let store = options().open_simulated(&image.disk()).map_err(|e| format!("opening: {e}"))?;
    let snapshot = store.snapshot();
    let mut left = BTreeSet::new();
    for entry in snapshot.table(&PARTS).and_then(|table| table.iter()).map_err(|e| e.to_string())? {
        left.insert(entry.map_err(|e| e.to_string())?.0);
    }
    if snapshot.version() != left.len() as u64 {
        return Err(format!("{} parts at version {}", left.len(), snapshot.version()));
    }
    if let Some(lost) = seen.durable.difference(&left).next() {
        return Err(format!("{lost:?} was acknowledged, and is lost"));
    }
    let known = |key: &(u64, u64)| {
        seen.durable.contains(key) || seen.visible.contains(key) || seen.unknown.contains(key)
    };
    match left.iter().find(|key| !known(key)) {
        Some(ghost) => Err(format!("{ghost:?} was never written")),
        None => Ok(()),
    }
}

/// One run; whether the fault struck.
pub fn storm(seed: u64, watchdog: &Watchdog) -> bool {
    let mut dice = Dice::new(seed);
    let disk = SimDisk::new();
    let store = options().open_simulated(&disk).expect("a new store");
    let kinds = [Failure::Io, Failure::NoSpace, Failure::ShortWrite, Failure::Sync, Failure::Read];
    let fault = Fault {
        failure: kinds[dice.below(kinds.len())],
        nth: dice.below(60) as u64,
        sticky: dice.once_in(2),
    };
    let place = format!("seed {seed}, {fault:?}");
    watchdog.touch(&place);
    disk.fail(fault);
    let seen = Mutex::new(Seen::default());
    thread::scope(|scope| {
        for part in 0..3 {
            let mut dice = Dice::new(dice.next());
            let (store, seen) = (&store, &seen);
            scope.spawn(move || {
                for number in 0..15 {
                    commit(store, seen, (part, number), &mut dice);
                }
            });
        }
        let store = &store;
        scope.spawn(move || {
            for _ in 0..3 {
                let _ = store.checkpoint();
            }
        });
    });
    let mut seen = seen.into_inner().unwrap();
    let version = store.snapshot().version();
    if dice.once_in(2) {
        disk.heal();
    }
    let closed = store.close();
    drop(store);
    if let Ok(closed) = closed {
        assert_eq!(closed.version, version, "{place}");
        let visible = std::mem::take(&mut seen.visible);
        seen.durable.extend(visible);
    }
    let cut = disk.cut(disk.operations());
    let mut images = vec![cut.everything(), cut.nothing()];
    images.extend(cut.images(seed).step_by(7).take(5));
    for image in images {
        if let Err(wrong) = judge(&image, &seen) {
            for index in 0..disk.operations() {
                eprintln!("  {index}: {}", disk.describe(index).unwrap_or_default());
            }
            panic!("{place}, {closed:?}, {image}: {wrong}");
        }
    }
    disk.fired() > 0
}
