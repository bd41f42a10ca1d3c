//! What is going on when the power goes.
//! Owns: the workloads; each fills a disk's record and says what the store held at each version.

use super::{
    deal::Deal,
    dice::Dice,
    model::{Model, Op},
    oracle::{History, Ledger, options},
};
use recto::{Durability, Store, simulation::SimDisk};
use std::{ops::Bound, thread};

/// Runs on a new disk.
pub type Workload = fn(&Run<'_>, &mut Dice);

/// One run of a workload.
pub struct Run<'r> {
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
    workload(&Run { store: &store, ledger: &ledger }, dice);
    ledger.settle(&store, |store| store.close().map(drop));
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

/// Checkpoints while commits go on, and the log goes from segment to segment.
pub fn checkpoints(run: &Run<'_>, dice: &mut Dice) {
    let deal = Deal { tables: 2, keys: 100, value_bytes_max: 1500 };
    thread::scope(|scope| {
        for _ in 0..2 {
            let mut dice = Dice::new(dice.next());
            scope.spawn(move || {
                for _ in 0..20 {
                    run.ledger.commit(run.store, blind(deal, &mut dice, 4), safety(&mut dice));
                }
            });
        }
        scope.spawn(move || {
            for _ in 0..3 {
                run.ledger.settle(run.store, Store::checkpoint);
                thread::yield_now();
            }
        });
    });
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
