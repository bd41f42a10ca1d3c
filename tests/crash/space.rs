//! Power cuts and failures while a store is compacted or copied.
//! Owns: the workload [`compaction`], and what a copy may leave behind.

use super::{
    deal::Deal,
    dice::Dice,
    model::{Model, Op, compare_scan},
    oracle::{Ledger, options},
    workload::Run,
};
use recto::{
    Budget, Durability, Error, Result, Store,
    simulation::{Failure, Fault, SimDisk},
};
use std::{
    collections::HashSet,
    ops::Bound,
    sync::atomic::{AtomicU64, Ordering::Relaxed},
};

pub const DEAL: Deal = Deal { tables: 2, keys: 900, value_bytes_max: 900 };
pub const KINDS: [Failure; 5] =
    [Failure::Io, Failure::NoSpace, Failure::ShortWrite, Failure::Sync, Failure::Read];

/// What the workload did in all its runs.
static MOVED: AtomicU64 = AtomicU64::new(0);
static SAVED: AtomicU64 = AtomicU64::new(0);
static FREED: AtomicU64 = AtomicU64::new(0);

/// Pages copied, leaves saved and bytes cut off, so that nobody takes idle steps for a proof.
pub fn compacted() -> [u64; 3] {
    [&MOVED, &SAVED, &FREED].map(|count| count.load(Relaxed))
}

/// Steps of a compaction between commits that fill the store, empty it and change what is left.
pub fn compaction(run: &Run<'_>, dice: &mut Dice) {
    for _ in 0..3 {
        let mut ops: Vec<Op> = (0..150).map(|_| DEAL.insert(dice)).collect();
        ops.extend((0..4).map(|_| large(dice)));
        run.ledger.commit(run.store, ops, Durability::Sync);
        run.ledger.settle(run.store, Store::checkpoint);
        if dice.once_in(2) {
            thin(run.ledger, run.store);
        } else {
            run.ledger.commit(run.store, vec![emptied(dice)], Durability::Sync);
        }
        let held = dice.once_in(3).then(|| run.store.snapshot());
        for _ in 0..4 + dice.below(20) {
            let step = run.store.compact(Budget::pages(1 + dice.below(40)));
            let step = step.expect("the disk is well");
            MOVED.fetch_add(step.pages_moved, Relaxed);
            SAVED.fetch_add(step.leaves_saved, Relaxed);
            FREED.fetch_add(step.bytes_freed, Relaxed);
            if step.is_done {
                break;
            }
            if dice.once_in(3) {
                run.ledger.commit(run.store, vec![DEAL.insert(dice)], Durability::Sync);
            }
        }
        drop(held);
    }
}

/// A value in a run of pages.
pub fn large(dice: &mut Dice) -> Op {
    let len = 9_000 + dice.below(9_000);
    Op::Insert { table: 0, key: DEAL.key(dice), value: dice.bytes(len).into() }
}

pub fn emptied(dice: &mut Dice) -> Op {
    let from = Bound::Included(format!("k{}", dice.below(6)).into_bytes());
    Op::RemoveRange { table: 0, from, to: Bound::Unbounded }
}

/// Makes leaves that leave much room: their entries came in no order, and half of them went.
fn thin(ledger: &Ledger, store: &Store) {
    let key = |n: usize| format!("thin{:03}", n * 193 % 500).into_bytes();
    let value = |n: usize| vec![n as u8; 400].into();
    let inserts = (0..500).map(|n| Op::Insert { table: 0, key: key(n), value: value(n) });
    ledger.commit(store, inserts.collect(), Durability::Sync);
    let removals = (0..500).step_by(2).map(|n| Op::Remove { table: 0, key: key(n) });
    ledger.commit(store, removals.collect(), Durability::Sync);
}

/// A store with something in it, in its log and in its page file.
pub fn filled(disk: &SimDisk, dice: &mut Dice) -> (Store, Model) {
    filled_behind(disk, dice, |_, _| ())
}

/// The same, with something else in it before.
fn filled_behind(
    disk: &SimDisk,
    dice: &mut Dice,
    before: impl FnOnce(&Ledger, &Store),
) -> (Store, Model) {
    let store = options().open_simulated(disk).expect("a new store");
    let ledger = Ledger::new(disk);
    before(&ledger, &store);
    for _ in 0..3 {
        let mut ops: Vec<Op> = (0..120).map(|_| DEAL.insert(dice)).collect();
        ops.extend((0..3).map(|_| large(dice)));
        ledger.commit(&store, ops, Durability::Sync);
    }
    let ops = vec![emptied(dice)];
    ledger.commit(&store, ops, Durability::Sync);
    ledger.settle(&store, Store::checkpoint);
    // A little that only the log and frames have.
    let ops = (0..10).map(|_| DEAL.insert(dice)).collect();
    ledger.commit(&store, ops, Durability::Sync);
    (store, ledger.history(Model::new()).last().clone())
}

/// What is on a disk that a copy was made to: none, or all of it.
pub fn copy_on(disk: &SimDisk, version: u64, model: &Model) -> bool {
    let store = match options().create(false).open_simulated(disk) {
        Ok(store) => store,
        Err(Error::Io(absent)) if absent.source.kind() == std::io::ErrorKind::NotFound => {
            return false;
        }
        Err(error) => panic!("opening a copy: {error}"),
    };
    assert_eq!(store.snapshot().version(), version);
    assert!(compare_scan(&store.snapshot(), model).is_ok());
    store.check().expect("a copy is sound");
    true
}

/// Cuts the power of the disk that a copy is made to, at every operation; how many images.
pub fn cut_backup(seed: u64) -> usize {
    let mut dice = Dice::new(seed);
    let (disk, to) = (SimDisk::new(), SimDisk::new());
    let (store, model) = filled(&disk, &mut dice);
    let version = store.backup_simulated(&to).expect("both disks are well");
    let end = to.operations();
    let mut seen = HashSet::new();
    for cut in to.cuts() {
        for image in cut.new_images(dice.next()).take(40) {
            if seen.insert(image.hash()) {
                let is_there = copy_on(&image.disk(), version, &model);
                assert!(is_there || cut.at() < end, "a copy that was acknowledged is lost");
            }
        }
    }
    seen.len()
}

/// Every operation and read of a copy failing, on either disk.
pub fn fail_backup() {
    let mut struck = 0;
    for (failure, sticky) in KINDS.into_iter().flat_map(|kind| [(kind, false), (kind, true)]) {
        for on_source in [false, true] {
            let (disk, mut dice) = (SimDisk::new(), Dice::new(1));
            let (store, model) = filled(&disk, &mut dice);
            store.close().expect("the disk is well");
            drop(store);
            for nth in 0.. {
                // Opened anew, so that each page is read.
                let store = options().open_simulated(&disk).expect("the disk is well");
                let to = SimDisk::new();
                let failing = if on_source { &disk } else { &to };
                let before = failing.fired();
                failing.fail(Fault { failure, nth, sticky });
                let copied = store.backup_simulated(&to);
                let fired = failing.fired() > before;
                failing.heal();
                let version = store.snapshot().version();
                match copied {
                    Ok(copied) => assert_eq!(copied, version),
                    Err(error) => {
                        assert!(fired && is_typed(&error), "{failure:?} at {nth}: {error:?}");
                        // The name may have been given before the directory's sync failed.
                        if !copy_on(&to, version, &model) && !store_is_poisoned(&store) {
                            store.backup_simulated(&to).expect("the disks are well again");
                        }
                    }
                }
                if !store_is_poisoned(&store) {
                    assert!(copy_on(&to, version, &model));
                }
                if !fired {
                    break;
                }
                struck += 1;
            }
        }
    }
    println!("backup: {struck} failures injected");
}

/// Every operation and read of a compaction failing, of one that moves pages and one that puts
/// leaves together.
pub fn fail_compaction() {
    fail_compaction_of(filled);
    fail_compaction_of(|disk, dice| filled_behind(disk, dice, thin));
}

fn fail_compaction_of(filled: impl Fn(&SimDisk, &mut Dice) -> (Store, Model)) {
    let mut struck = 0;
    for (failure, sticky) in KINDS.into_iter().flat_map(|kind| [(kind, false), (kind, true)]) {
        for nth in 0.. {
            let (disk, mut dice) = (SimDisk::new(), Dice::new(2));
            let (store, model) = filled(&disk, &mut dice);
            disk.fail(Fault { failure, nth, sticky });
            let failed = compact(&store);
            let fired = disk.fired() > 0;
            disk.heal();
            let version = store.snapshot().version();
            if let Err(error) = failed {
                assert!(fired && is_typed(&error), "{failure:?} at {nth}: {error:?}");
            }
            if !store_is_poisoned(&store) {
                compact(&store).expect("the disk is well again");
                store.check().expect("nothing is lost");
            }
            let _ = store.close();
            drop(store);
            let store = options().open_simulated(&disk).expect("the disk is well again");
            assert_eq!(store.snapshot().version(), version);
            assert!(compare_scan(&store.snapshot(), &model).is_ok(), "{failure:?} at {nth}");
            store.check().expect("nothing is lost");
            if !fired {
                break;
            }
            struck += 1;
        }
    }
    println!("compaction: {struck} failures injected");
}

fn compact(store: &Store) -> Result<()> {
    while !store.compact(Budget::pages(9))?.is_done {}
    Ok(())
}

pub fn store_is_poisoned(store: &Store) -> bool {
    matches!(store.sync(), Err(Error::Poisoned))
}

pub fn is_typed(error: &Error) -> bool {
    matches!(error, Error::Io(_) | Error::Full { .. } | Error::Poisoned | Error::Closed)
}
