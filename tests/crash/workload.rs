//! What is going on when the power goes.
//! Owns: the workloads; each fills a disk's record and says what the store held at each version.

use super::{
    deal::Deal,
    dice::Dice,
    model::{Model, Op},
    oracle::{History, Ledger, is_poisoned, options},
    watchdog::Watchdog,
};
use recto::{
    Durability, Error, Store,
    simulation::{Failure, Fault, SimDisk},
};
use std::{
    ops::Bound,
    thread,
    time::{Duration, Instant},
};

/// Long enough for other threads to write meanwhile.
const SYNC: Duration = Duration::from_micros(300);

/// Runs on a new disk.
pub type Workload = fn(&Run<'_>, &mut Dice);

/// One run of a workload.
pub struct Run<'r> {
    pub disk: &'r SimDisk,
    pub store: &'r Store,
    pub ledger: &'r Ledger,
}

/// Runs `workload` on `disk`; the creation of the store is part of what can be cut, every second
/// time.
pub fn run(workload: Workload, disk: &SimDisk, dice: &mut Dice) -> History {
    let store = options().open_simulated(disk).expect("a new store");
    if dice.once_in(2) {
        disk.settle();
    }
    let ledger = Ledger::new(disk);
    let watchdog = Watchdog::begin();
    watchdog.touch("a workload");
    if dice.once_in(2) {
        disk.pause_syncs(SYNC);
    }
    workload(&Run { disk, store: &store, ledger: &ledger }, dice);
    watchdog.touch("the close after a workload");
    if disk.fired() == 0 {
        ledger.settle(&store, |store| store.close().map(drop));
    }
    ledger.history(Model::new())
}

const SMALL: Deal = Deal { tables: 2, keys: 60, value_bytes_max: 200 };
const LARGE: Deal = Deal { tables: 2, keys: 9, value_bytes_max: 40_000 };

fn blind(deal: Deal, dice: &mut Dice, len: usize) -> Vec<Op> {
    (0..=dice.below(len)).map(|_| deal.blind(dice)).collect()
}

fn safety(dice: &mut Dice) -> Durability {
    if dice.once_in(3) { Durability::None } else { Durability::Sync }
}

/// A store that is made, and closed again.
pub fn nothing(_: &Run<'_>, _: &mut Dice) {}

/// Small commits in groups, from several threads.
pub fn groups(run: &Run<'_>, dice: &mut Dice) {
    thread::scope(|scope| {
        for _ in 0..3 {
            let mut dice = Dice::new(dice.next());
            scope.spawn(move || {
                for _ in 0..8 {
                    run.ledger.commit(run.store, blind(SMALL, &mut dice, 3), safety(&mut dice));
                }
            });
        }
    });
    run.ledger.settle(run.store, Store::sync);
}

/// Values in runs of pages, replaced and removed.
pub fn large_values(run: &Run<'_>, dice: &mut Dice) {
    for _ in 0..8 {
        let len = dice.below(LARGE.value_bytes_max);
        let (table, key) = (0, LARGE.key(dice));
        let mut ops = vec![Op::Insert { table, key, value: dice.bytes(len).into() }];
        ops.extend(blind(LARGE, dice, 2));
        run.ledger.commit(run.store, ops, safety(dice));
        if dice.once_in(4) {
            run.ledger.settle(run.store, Store::checkpoint);
        }
    }
}

/// Transactions that outgrow the log and the dirty pages: kept and undone.
pub fn spills(run: &Run<'_>, dice: &mut Dice) {
    let deal = Deal { tables: 2, keys: 700, value_bytes_max: 3000 };
    for _ in 0..3 {
        run.ledger.commit(run.store, blind(SMALL, dice, 3), safety(dice));
        let len = 150 + dice.below(250);
        let entries = (0..len)
            .map(|_| {
                let len = dice.below(1800);
                (deal.key(dice), dice.bytes(len).into())
            })
            .collect();
        let load = Op::Extend { table: 0, entries };
        let inserts = (0..len).map(|_| deal.insert(dice)).collect();
        let ops = if dice.once_in(2) { vec![load] } else { inserts };
        if dice.once_in(4) {
            Ledger::fail(run.store, &ops);
        } else {
            run.ledger.commit(run.store, ops, Durability::Sync);
        }
        run.ledger.commit(run.store, blind(SMALL, dice, 3), safety(dice));
    }
}

/// Transactions that are undone amid others of their group.
pub fn undone(run: &Run<'_>, dice: &mut Dice) {
    thread::scope(|scope| {
        for thread in 0..3 {
            let mut dice = Dice::new(dice.next());
            scope.spawn(move || {
                for _ in 0..8 {
                    let ops = blind(SMALL, &mut dice, 3);
                    if thread == 0 {
                        Ledger::fail(run.store, &ops);
                    } else {
                        run.ledger.commit(run.store, ops, safety(&mut dice));
                    }
                }
            });
        }
    });
}

/// Checkpoints while commits go on, and the log goes from segment to segment.
pub fn checkpoints(run: &Run<'_>, dice: &mut Dice) {
    let deal = Deal { tables: 2, keys: 100, value_bytes_max: 3000 };
    let begin = run.store.snapshot().version();
    thread::scope(|scope| {
        for _ in 0..2 {
            let mut dice = Dice::new(dice.next());
            scope.spawn(move || {
                for _ in 0..20 {
                    run.ledger.commit(run.store, blind(deal, &mut dice, 5), safety(&mut dice));
                }
            });
        }
        scope.spawn(move || {
            // Each with some log behind it.
            for part in 1..4 {
                let waits = Instant::now();
                // A bug that is seeded may end the commits before.
                let is_due = || run.store.snapshot().version() >= begin + part * 10;
                while !is_due() && waits.elapsed() < Duration::from_secs(3) {
                    thread::yield_now();
                }
                run.ledger.settle(run.store, Store::checkpoint);
            }
        });
    });
}

/// Checkpoints that fail at any write, which reached the disk all the same or not; work goes on
/// unless the store is poisoned.
pub fn failing_checkpoints(run: &Run<'_>, dice: &mut Dice) {
    let deal = Deal { tables: 2, keys: 100, value_bytes_max: 1500 };
    for _ in 0..6 {
        for _ in 0..3 {
            run.ledger.commit(run.store, blind(deal, dice, 4), safety(dice));
        }
        let failure = [Failure::Late, Failure::ShortWrite][dice.below(2)];
        run.disk.fail(Fault { failure, nth: dice.below(7) as u64, sticky: false });
        let version = run.store.snapshot().version();
        let outcome = run.store.checkpoint();
        run.disk.heal();
        match outcome {
            Ok(()) => run.ledger.settle(run.store, Store::sync),
            // From the first byte of a meta page on nothing more is taken.
            Err(Error::Io(_) | Error::Full { .. }) if is_poisoned(run.store) => return,
            Err(Error::Io(_) | Error::Full { .. }) => {}
            Err(error) => panic!("a checkpoint of version {version}: {error:?}"),
        }
    }
}

/// Commits of which one meets a failure; the store goes on as if it had not been there, or takes
/// nothing any more.
pub fn failing_commits(run: &Run<'_>, dice: &mut Dice) {
    let deal = Deal { tables: 2, keys: 100, value_bytes_max: 1500 };
    let failures =
        [Failure::Sync, Failure::Late, Failure::Io, Failure::Interrupted, Failure::NoSpace];
    for _ in 0..4 {
        let failure = failures[dice.below(failures.len())];
        run.disk.fail(Fault { failure, nth: dice.below(5) as u64, sticky: false });
        for _ in 0..5 {
            if !run.ledger.attempt(run.store, blind(deal, dice, 4)) {
                return;
            }
        }
        run.disk.heal();
    }
}

/// The file grows, is emptied and grows again.
pub fn growth(run: &Run<'_>, dice: &mut Dice) {
    let deal = Deal { tables: 1, keys: 900, value_bytes_max: 900 };
    for round in 0..4 {
        let ops = (0..60).map(|_| deal.insert(dice)).collect();
        run.ledger.commit(run.store, ops, Durability::Sync);
        if round % 2 == 1 {
            let (from, to) = (Bound::Included(b"k2".to_vec()), Bound::Unbounded);
            let ops = vec![Op::RemoveRange { table: 0, from, to }];
            run.ledger.commit(run.store, ops, safety(dice));
        }
        if dice.once_in(2) {
            run.ledger.settle(run.store, Store::checkpoint);
        }
    }
}

/// Tables come, go, and change their names.
pub fn tables(run: &Run<'_>, dice: &mut Dice) {
    for step in 0..14 {
        let table = dice.below(3);
        let ops = match dice.below(6) {
            0 => vec![Op::Drop { table }],
            2 => vec![Op::PopFirst { table }, Op::PopLast { table }],
            3 => vec![Op::Retain { table, of: 3 }],
            1 => vec![Op::Drop { table: 4 }, Op::Rename { from: table, to: 4 }],
            _ => (0..5).map(|_| SMALL.insert(dice)).collect(),
        };
        run.ledger.commit(run.store, ops, Durability::Sync);
        if step % 5 == 4 {
            run.ledger.settle(run.store, Store::checkpoint);
        }
    }
}

/// A disk on which a process was killed that had checkpointed and gone on; with its last version.
pub fn killed() -> (SimDisk, u64, Model) {
    let (disk, mut dice) = (SimDisk::new(), Dice::new(1));
    let store = options().open_simulated(&disk).expect("a new store");
    let ledger = Ledger::new(&disk);
    for step in 0..10 {
        ledger.commit(&store, blind(LARGE, &mut dice, 5), Durability::Sync);
        if step == 4 {
            ledger.settle(&store, Store::checkpoint);
        }
    }
    let left = disk.cut(disk.operations()).everything().disk();
    let history = ledger.history(Model::new());
    (left, history.len() as u64 - 1, history.last().clone())
}
