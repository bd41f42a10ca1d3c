//! Power cuts and failures while an increment is written and while a store is restored.
//! Owns: what both may leave behind: nothing under the name that was asked for, or all of it.

use super::{
    dice::Dice,
    model::{Model, Op},
    oracle::options,
    space::{DEAL, KINDS, copy_on, emptied, filled, is_typed, large, store_is_poisoned},
};
use recto::{
    Error, Result, Snapshot, Store,
    simulation::{Failure, Fault, SimDisk},
};
use std::{
    collections::HashSet,
    io::ErrorKind,
    sync::atomic::{AtomicU64, Ordering::Relaxed},
    thread,
};

const NAME: &str = "increment";

/// A store of three versions, a copy of the first one, and the increments between them.
struct Family {
    /// The source's disk.
    disk: SimDisk,
    store: Store,
    held: Vec<Snapshot>,
    models: Vec<Model>,
    /// A disk with a copy of the first version.
    copy: SimDisk,
}

impl Family {
    fn new(seed: u64) -> Family {
        let (disk, copy, mut dice) = (SimDisk::new(), SimDisk::new(), Dice::new(seed));
        let (store, model) = filled(&disk, &mut dice);
        store.backup_simulated(&copy).expect("the disks are well");
        let (mut held, mut models) = (vec![store.snapshot()], vec![model]);
        for _ in 0..2 {
            let mut ops: Vec<Op> = (0..30).map(|_| DEAL.insert(&mut dice)).collect();
            ops.extend([large(&mut dice), emptied(&mut dice), DEAL.insert(&mut dice)]);
            let mut model = models.last().expect("one is there").clone();
            for op in &ops {
                op.on_model(&mut model);
            }
            let written = store.write(|tx| ops.iter().try_for_each(|op| op.on_tx(tx).map(drop)));
            written.expect("the disk is well");
            held.push(store.snapshot());
            models.push(model);
        }
        Family { disk, store, held, models, copy }
    }

    fn increment(&self, from: usize, to: usize, disk: &SimDisk, name: &str) -> Result<()> {
        self.held[to].increment_simulated(&self.held[from], disk, name).map(drop)
    }

    /// Both increments on a disk of their own.
    fn increments(&self) -> SimDisk {
        let disk = SimDisk::new();
        for (number, name) in ["first", "second"].into_iter().enumerate() {
            self.increment(number, number + 1, &disk, name).expect("the disks are well");
        }
        disk
    }

    /// Whether there is an increment on `disk`; then it is whole, and leads where it should.
    fn increment_on(&self, disk: &SimDisk) -> bool {
        let base = options().create(false).open_simulated(&self.copy).expect("a copy");
        let to = SimDisk::new();
        let restored = base.restore_simulated(&[(disk, NAME)], &to, None);
        base.close().expect("the disk is well");
        match restored {
            Ok(version) => {
                assert_eq!(version, self.held[1].version());
                assert!(copy_on(&to, version, &self.models[1]));
                true
            }
            Err(Error::Io(absent)) if absent.source.kind() == ErrorKind::NotFound => false,
            Err(error) => panic!("half an increment has its name: {error}"),
        }
    }

    /// The source is whole: this is its newest version.
    fn source_is_whole(&self, disk: &SimDisk) {
        assert!(copy_on(disk, self.held[2].version(), &self.models[2]));
    }
}

/// Cuts the power while an increment is written, beside its store and elsewhere, at every
/// operation; how many images.
pub fn cut_increment(seed: u64) -> usize {
    let mut dice = Dice::new(seed);
    let family = Family::new(seed);
    let mut seen = HashSet::new();
    let elsewhere = SimDisk::new();
    family.disk.settle();
    for (to, is_beside) in [(&elsewhere, false), (&family.disk, true)] {
        let begin = to.operations();
        family.increment(0, 1, to, NAME).expect("the disks are well");
        let end = to.operations();
        assert!(end >= begin + 4, "written, synced, named, and the name synced");
        for cut in to.cuts().filter(|cut| cut.at() >= begin) {
            for image in cut.new_images(dice.next()).take(24) {
                if seen.insert(image.hash()) {
                    let left = image.disk();
                    let is_there = family.increment_on(&left);
                    assert!(is_there || cut.at() < end, "an increment that was told of is lost");
                    if is_beside {
                        family.source_is_whole(&left);
                        assert_eq!(family.increment_on(&left), is_there, "opening took it away");
                    }
                }
            }
        }
    }
    family.source_is_whole(&family.disk.cut(family.disk.operations()).everything().disk());
    seen.len()
}

/// Cuts the power of the disk that is restored to, at every operation; how many images.
pub fn cut_restore(seed: u64) -> usize {
    let mut dice = Dice::new(seed);
    let family = Family::new(seed);
    let files = family.increments();
    let links = [(&files, "second"), (&files, "first")];
    let base = options().create(false).open_simulated(&family.copy).expect("a copy");
    let (version, model) = (family.held[2].version(), &family.models[2]);
    let to = SimDisk::new();
    assert_eq!(base.restore_simulated(&links, &to, Some(version)).expect("all is well"), version);
    let end = to.operations();
    let mut seen = HashSet::new();
    for cut in to.cuts() {
        for image in cut.new_images(dice.next()).take(8) {
            if !seen.insert(image.hash()) {
                continue;
            }
            let left = image.disk();
            let is_there = copy_on(&left, version, model);
            assert!(is_there || cut.at() < end, "a restored store that was told of is lost");
            // What is in the way of nobody: it is tried again in the same place.
            if !is_there && seen.len().is_multiple_of(7) {
                base.restore_simulated(&links, &left, Some(version)).expect("nothing is there");
                assert!(copy_on(&left, version, model));
            }
        }
    }
    base.check().expect("the base is as it was");
    seen.len()
}

/// Every operation and read of an increment failing, on either disk.
pub fn fail_increment() {
    let mut struck = 0;
    for (failure, sticky) in KINDS.into_iter().flat_map(|kind| [(kind, false), (kind, true)]) {
        for on_source in [false, true] {
            for nth in 0.. {
                let family = Family::new(3);
                let to = SimDisk::new();
                let failing = if on_source { &family.disk } else { &to };
                let before = failing.fired();
                failing.fail(Fault { failure, nth, sticky });
                let written = family.increment(0, 1, &to, NAME);
                let fired = failing.fired() > before;
                failing.heal();
                if let Err(error) = written {
                    assert!(fired && is_typed(&error), "{failure:?} at {nth}: {error:?}");
                    // The name may have been given before the directory's sync failed.
                    if !family.increment_on(&to) {
                        family.increment(0, 1, &to, NAME).expect("the disks are well again");
                    }
                }
                assert!(family.increment_on(&to), "{failure:?} at {nth}");
                family.store.check().expect("the source is as it was");
                if !fired {
                    break;
                }
                struck += 1;
            }
        }
    }
    println!("increment: {struck} failures injected");
    assert!(struck > 30);
}

/// Every operation and read of a restore failing: of the base, of an increment, of the target.
pub fn fail_restore() {
    let struck = AtomicU64::new(0);
    // Much of it is waiting for space that does not come.
    thread::scope(|scope| {
        for failure in KINDS {
            for sticky in [false, true] {
                let struck = &struck;
                scope.spawn(move || struck.fetch_add(fail_restore_by(failure, sticky), Relaxed));
            }
        }
    });
    let struck = struck.into_inner();
    println!("restore: {struck} failures injected");
    assert!(struck > 100);
}

fn fail_restore_by(failure: Failure, sticky: bool) -> u64 {
    let family = Family::new(4);
    let (version, model) = (family.held[2].version(), &family.models[2]);
    let mut struck = 0;
    // What is only read is read once: for good or not makes no difference.
    for place in if sticky { 2..3 } else { 0..3 } {
        let files = family.increments();
        let links = [(&files, "first"), (&files, "second")];
        for nth in 0.. {
            // Opened anew, so that each page is read.
            let base = options().create(false).open_simulated(&family.copy).expect("a copy");
            let to = SimDisk::new();
            let failing = [&family.copy, &files, &to][place];
            let before = failing.fired();
            failing.fail(Fault { failure, nth, sticky });
            let restored = base.restore_simulated(&links, &to, Some(version));
            let fired = failing.fired() > before;
            failing.heal();
            match restored {
                Ok(restored) => assert_eq!(restored, version),
                Err(error) => {
                    assert!(fired && is_typed(&error), "{failure:?} at {nth}: {error:?}");
                    if !copy_on(&to, version, model) {
                        let again = base.restore_simulated(&links, &to, Some(version));
                        again.expect("the disks are well again");
                    }
                }
            }
            assert!(copy_on(&to, version, model), "{failure:?} at {nth}");
            assert!(!store_is_poisoned(&base), "a restore writes nothing to its base");
            base.close().expect("the disk is well");
            drop(base);
            assert!(copy_on(&family.copy, family.held[0].version(), &family.models[0]));
            if !fired {
                break;
            }
            struck += 1;
        }
    }
    struck
}
