//! Power cuts after every operation, and every operation failing, on the simulated disk.
//!
//! `RECTO_CRASH_IMAGES` is how many images each workload opens (the long run: 1,000,000) and
//! `RECTO_CRASH_STORMS` how many runs of threads meet a failure, beginning at `RECTO_CRASH_SEED`.
//! Threads make runs differ: what a failure prints is the record.

#[path = "crash/deal.rs"]
mod deal;
#[path = "crash/dice.rs"]
mod dice;
#[path = "crash/faults.rs"]
mod faults;
#[path = "crash/model.rs"]
mod model;
#[path = "crash/oracle.rs"]
mod oracle;
#[path = "crash/space.rs"]
mod space;
#[path = "crash/storm.rs"]
mod storm;
#[path = "crash/watchdog.rs"]
mod watchdog;
#[path = "crash/workload.rs"]
mod workload;

use dice::{Dice, asked_for};
use model::Model;
use oracle::{Effort, Tally, check_cuts};
use recto::{
    Durability,
    simulation::{Failure, Fault, SimDisk},
};
use std::{thread, time::Instant};
use workload::Workload;

/// For each of six workloads.
const IMAGES: u64 = 17_000;

fn enumerate(name: &str, workload: Workload) {
    enumerate_with(name, workload, 64);
}

fn enumerate_with(name: &str, workload: Workload, images_per_cut: usize) {
    let wanted = asked_for("RECTO_CRASH_IMAGES").unwrap_or(IMAGES);
    let first = asked_for("RECTO_CRASH_SEED").unwrap_or(0);
    let effort = Effort { images_per_cut, deeper_once_in: 500 };
    let (mut tally, began) = (Tally::default(), Instant::now());
    for seed in first.. {
        let mut dice = Dice::new(seed);
        let disk = SimDisk::new();
        let history = workload::run(workload, &disk, &mut dice);
        check_cuts(&format!("{name}, seed {seed}"), &disk, &history, effort, &mut dice, &mut tally);
        if tally.images + tally.deep_images >= wanted {
            break;
        }
    }
    let Tally { images, deep_images, cuts, .. } = tally;
    let millis = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX).max(1);
    let rate = (images + deep_images) * 1000 / millis;
    println!("{name}: {images} images of {cuts} cuts, {deep_images} of cuts in recovery, {rate}/s");
}

#[test]
fn small_commits_in_groups_survive_any_power_cut() {
    enumerate("groups", workload::groups);
}

#[test]
fn large_values_survive_any_power_cut() {
    enumerate("large values", workload::large_values);
}

#[test]
fn transactions_that_spill_survive_any_power_cut() {
    // Much is read for each of them.
    enumerate_with("spills", workload::spills, 20);
}

#[test]
fn checkpoints_under_load_survive_any_power_cut() {
    enumerate("checkpoints", workload::checkpoints);
}

#[test]
fn growth_survives_any_power_cut() {
    enumerate("growth", workload::growth);
}

#[test]
fn compaction_survives_any_power_cut() {
    enumerate_with("compaction", space::compaction, 24);
    let (pages, bytes) = space::compacted();
    assert!(pages > 0 && bytes > 0, "{pages} pages moved, {bytes} bytes cut off");
    println!("compaction: {pages} pages moved, {bytes} bytes cut off");
}

#[test]
fn a_backup_is_there_whole_or_not_at_all() {
    let images = (0..6).map(space::cut_backup).sum::<usize>();
    println!("backup: {images} images");
}

#[test]
fn a_backup_fails_as_a_whole_and_succeeds_when_the_disks_are_well() {
    space::fail_backup();
}

#[test]
fn a_compaction_that_fails_loses_nothing() {
    space::fail_compaction();
}

#[test]
fn tables_survive_any_power_cut() {
    enumerate("tables", workload::tables);
}

/// Sweeps over all kinds of failures, each once and for good.
fn sweep(name: &str, base: impl Fn() -> (SimDisk, u64, Model) + Sync) {
    let kinds = [Failure::Io, Failure::NoSpace, Failure::ShortWrite, Failure::Sync, Failure::Read];
    thread::scope(|scope| {
        for failure in kinds {
            for sticky in [false, true] {
                let base = &base;
                scope.spawn(move || {
                    let swept = faults::sweep(base, failure, sticky);
                    println!("{name}, {failure:?}, sticky {sticky}: {swept:?}");
                });
            }
        }
    });
}

#[test]
fn a_store_that_is_made_survives_every_failure() {
    sweep("made", || (SimDisk::new(), 0, Model::new()));
}

#[test]
fn a_store_that_recovers_survives_every_failure() {
    let (disk, version, model) = workload::killed();
    let cut = disk.cut(disk.operations());
    sweep("recovered", || (cut.everything().disk(), version, model.clone()));
}

#[test]
fn a_close_on_a_full_disk_says_what_is_durable() {
    for values in 0..80 {
        let disk = SimDisk::new();
        let store = oracle::options().durability(Durability::None);
        let store = store.open_simulated(&disk).expect("a new store");
        for value in 0..values {
            let written =
                store.write(|tx| tx.table(&model::table(0))?.insert(&[value], &[1; 1500]));
            written.expect("there is space still");
        }
        disk.fail(Fault { failure: Failure::NoSpace, nth: 0, sticky: true });
        let closed = store.close().map(|closed| closed.version);
        drop(store);
        let left = disk.cut(disk.operations()).nothing().disk();
        let again = oracle::options().open_simulated(&left).expect("what is left opens");
        let version = again.snapshot().version();
        assert!(closed.is_err() || version == u64::from(values), "{closed:?}, {version} are left");
    }
}

#[test]
fn threads_on_a_failing_disk_lose_nothing_that_was_acknowledged() {
    let watchdog = watchdog::Watchdog::begin();
    let first = asked_for("RECTO_CRASH_SEED").unwrap_or(0);
    let storms = asked_for("RECTO_CRASH_STORMS").unwrap_or(150);
    let struck = (first..first + storms).filter(|seed| storm::storm(*seed, &watchdog)).count();
    println!("storms: {storms}, {struck} of them struck");
}
