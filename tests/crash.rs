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
#[path = "crash/increments.rs"]
mod increments;
#[path = "crash/model.rs"]
mod model;
#[path = "crash/oracle.rs"]
mod oracle;
#[path = "crash/seeded.rs"]
mod seeded;
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
use recto::simulation::{Bug, Failure, SimDisk};
use std::{thread, time::Instant};
use workload::Workload;

/// For each of nine workloads.
const IMAGES: u64 = 13_000;

fn enumerate(name: &str, workload: Workload) {
    enumerate_with(name, workload, 64);
}

fn enumerate_with(name: &str, workload: Workload, images_per_cut: usize) {
    let wanted = asked_for("RECTO_CRASH_IMAGES").unwrap_or(IMAGES);
    let first = asked_for("RECTO_CRASH_SEED").unwrap_or(0);
    let effort = Effort {
        images_per_cut,
        deeper_once_in: 500,
        killed_once_in: 60,
        rotten_per_cut: 4,
        images: u64::MAX,
        bug: None,
    };
    let (mut tally, began) = (Tally::default(), Instant::now());
    for seed in first.. {
        let mut dice = Dice::new(seed);
        let disk = SimDisk::new();
        let history = workload::run(workload, &disk, &mut dice);
        check_cuts(&format!("{name}, seed {seed}"), &disk, &history, effort, &mut dice, &mut tally);
        if tally.all() >= wanted {
            break;
        }
    }
    let (rate_of, Tally { images, deep_images, rotten_images, cuts, .. }) = (tally.all(), tally);
    let millis = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX).max(1);
    let rate = rate_of * 1000 / millis;
    println!(
        "{name}: {images} images of {cuts} cuts, {deep_images} of cuts in recovery, \
         {rotten_images} rotten, {rate}/s"
    );
}

/// Every cut of a creation, after a kill at every operation of it; the power is cut again while the
/// next process opens what the first one left in the page cache.
#[test]
fn a_creation_that_was_killed_survives_any_power_cut() {
    let whole = Effort {
        images_per_cut: 1000,
        deeper_once_in: 10,
        killed_once_in: 1,
        rotten_per_cut: 20,
        images: u64::MAX,
        bug: None,
    };
    let mut tally = Tally::default();
    for seed in 0..4 {
        let (mut dice, disk) = (Dice::new(seed), SimDisk::new());
        let history = workload::run(workload::nothing, &disk, &mut dice);
        check_cuts("creation", &disk, &history, whole, &mut dice, &mut tally);
    }
    println!("creation: {} images, {} of cuts in recovery", tally.images, tally.deep_images);
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
fn checkpoints_that_fail_survive_any_power_cut() {
    enumerate("failing checkpoints", workload::failing_checkpoints);
}

#[test]
fn commits_that_fail_survive_any_power_cut() {
    enumerate("failing commits", workload::failing_commits);
}

#[test]
fn growth_survives_any_power_cut() {
    enumerate("growth", workload::growth);
}

#[test]
fn compaction_survives_any_power_cut() {
    enumerate_with("compaction", space::compaction, 24);
    let done @ [pages, leaves, bytes] = space::compacted();
    println!("compaction: {pages} pages copied, {leaves} leaves saved, {bytes} bytes cut off");
    assert!(done.iter().all(|count| *count > 0));
}

#[test]
fn a_backup_is_there_whole_or_not_at_all() {
    let images = (0..6).map(space::cut_backup).sum::<usize>();
    println!("backup: {images} images");
}

#[test]
fn an_increment_is_there_whole_or_not_at_all() {
    let images = (0..5).map(increments::cut_increment).sum::<usize>();
    println!("increment: {images} images");
}

#[test]
fn a_restore_is_there_whole_or_not_at_all() {
    let images = increments::cut_restore(0);
    println!("restore: {images} images");
}

#[test]
fn an_increment_fails_as_a_whole_and_succeeds_when_the_disks_are_well() {
    increments::fail_increment();
}

#[test]
fn a_restore_fails_as_a_whole_and_succeeds_when_the_disks_are_well() {
    increments::fail_restore();
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
    let kinds = [
        Failure::Io,
        Failure::NoSpace,
        Failure::ShortWrite,
        Failure::Interrupted,
        Failure::Late,
        Failure::Sync,
        Failure::Read,
    ];
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
    faults::close_on_a_full_disk(None);
}

/// The list is split in two, so that two cores are at it.
fn find_every(bugs: &[Bug]) {
    let first = asked_for("RECTO_CRASH_SEED").unwrap_or(0);
    let mut missed = Vec::new();
    for bug in bugs {
        let began = Instant::now();
        match seeded::find(*bug, first) {
            Ok(found) => println!("{bug:?}, {:?}: {found}", began.elapsed()),
            Err(why) => missed.push(format!("{bug:?}, {:?}: {why}", began.elapsed())),
        }
    }
    assert!(missed.is_empty(), "bugs that were not found: {missed:#?}");
}

#[test]
fn every_seeded_bug_of_the_first_half_is_found() {
    find_every(&Bug::ALL[..Bug::ALL.len() / 2]);
}

#[test]
fn every_seeded_bug_of_the_second_half_is_found() {
    find_every(&Bug::ALL[Bug::ALL.len() / 2..]);
}

#[test]
fn threads_on_a_failing_disk_lose_nothing_that_was_acknowledged() {
    let watchdog = watchdog::Watchdog::begin();
    let first = asked_for("RECTO_CRASH_SEED").unwrap_or(0);
    let storms = asked_for("RECTO_CRASH_STORMS").unwrap_or(150);
    let struck = (first..first + storms).filter(|seed| storm::storm(*seed, &watchdog)).count();
    println!("storms: {storms}, {struck} of them struck");
}
