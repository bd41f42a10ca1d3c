//! The crash tests prove their worth: each bug of the kept list, switched on, is found.
//! Owns: [`find`], and which workload finds which bug.

use super::{
    dice::Dice,
    faults,
    oracle::{Effort, Tally, check_cuts},
    workload::{self, Workload},
};
use recto::simulation::{Bug, SimDisk};
use std::{
    any::Any,
    panic::{AssertUnwindSafe, catch_unwind},
};

/// A bug that so many images do not show is not found.
const IMAGES: u64 = 200_000;

/// What finds a bug.
enum Probe {
    /// Power cuts in this workload.
    Cuts(&'static str, Workload),
    /// The same, and most of it after kills.
    Kills(&'static str, Workload),
    /// The same, and bits that rot.
    Rot(&'static str, Workload),
    /// The same, with every image of each cut.
    Widely(&'static str, Workload),
    /// A close on a full disk.
    FullClose,
}

fn probe(bug: Bug) -> Probe {
    match bug {
        Bug::LogUnsynced
        | Bug::AnsweredBeforeSync
        | Bug::SealSkipped
        | Bug::TornTailAccepted
        | Bug::ReplayedTwice
        | Bug::NewLogUnnamed
        | Bug::ReplayedNotWrittenAgain
        | Bug::CreationUnsynced
        | Bug::CreationNameUnsynced
        | Bug::CreatedInPlace
        | Bug::ChainUnchecked
        | Bug::LaterRecordIsDamage => Probe::Cuts("groups", workload::groups),
        Bug::ClosedWithoutPages | Bug::CatalogStale => Probe::Cuts("tables", workload::tables),
        Bug::RecordSpansSegments
        | Bug::SegmentHeaderUnsynced
        | Bug::OldSegmentUnsynced
        | Bug::SegmentNameUnsynced
        | Bug::LifeReused
        | Bug::ReplayStopsAtSegment
        | Bug::LogReleasedEarly
        | Bug::FoundLogReleasedEarly
        | Bug::NeededSegmentReused
        | Bug::LogPositionStale
        | Bug::PagesUnsynced
        | Bug::MetaBeforePages
        | Bug::MetasUnsynced
        | Bug::CutLacksNewest
        | Bug::DurablePinMissing
        | Bug::DurableRunsFreedEarly
        | Bug::BaseFreedEarly => Probe::Cuts("checkpoints", workload::checkpoints),
        Bug::MetaNotWrittenAgain => Probe::Kills("checkpoints", workload::checkpoints),
        Bug::FoundNameUnsynced => Probe::Kills("nothing", workload::nothing),
        Bug::UndoneIsLogged => Probe::Cuts("undone", workload::undone),
        Bug::OneMetaSlot | Bug::ChecksumSkipped => Probe::Rot("tables", workload::tables),
        Bug::FirstMetaUnsynced => Probe::Widely("nothing", workload::nothing),
        Bug::FailedAppendLeft | Bug::FailedSyncRetried | Bug::FailedSyncForgotten => {
            Probe::Cuts("failing commits", workload::failing_commits)
        }
        Bug::FailedMetaForgotten => {
            Probe::Cuts("failing checkpoints", workload::failing_checkpoints)
        }
        Bug::ClosedWithoutSync => Probe::FullClose,
    }
}

/// Looks for the bug; what showed it and after how many images or trials.
pub fn find(bug: Bug, first: u64) -> Result<String, String> {
    let usual = Effort {
        images_per_cut: 64,
        deeper_once_in: 100,
        killed_once_in: 100,
        rotten_per_cut: 0,
        images: IMAGES,
        bug: Some(bug),
    };
    match probe(bug) {
        Probe::Cuts(name, workload) => cuts(name, workload, usual, first),
        Probe::Kills(name, workload) => {
            let kills = Effort { images_per_cut: 2, killed_once_in: 1, ..usual };
            cuts(name, workload, kills, first)
        }
        Probe::Rot(name, workload) => {
            cuts(name, workload, Effort { images_per_cut: 1, rotten_per_cut: 200, ..usual }, first)
        }
        Probe::Widely(name, workload) => {
            cuts(name, workload, Effort { images_per_cut: 1000, ..usual }, first)
        }
        Probe::FullClose => {
            let wrong = caught(|| faults::close_on_a_full_disk(Some(bug)));
            Ok(format!("a close on a full disk: {}", wrong.ok_or("every close was right")?))
        }
    }
}

fn cuts(name: &str, workload: Workload, effort: Effort, first: u64) -> Result<String, String> {
    let mut tally = Tally::default();
    for seed in first.. {
        let run = || {
            let (mut dice, disk) = (Dice::new(seed), SimDisk::new());
            effort.bug.inspect(|bug| disk.seed(*bug));
            let history = workload::run(workload, &disk, &mut dice);
            let told = format!("seed {seed}");
            check_cuts(&told, &disk, &history, effort, &mut dice, &mut tally);
        };
        if let Some(wrong) = caught(run) {
            return Ok(format!("{name}, after {} images: {wrong}", tally.all()));
        }
        if tally.all() >= effort.images {
            break;
        }
    }
    Err(format!("{name}: none of {} images is wrong", tally.all()))
}

/// What `run` panics with.
fn caught(run: impl FnOnce()) -> Option<String> {
    let panic = catch_unwind(AssertUnwindSafe(run)).err()?;
    Some(message(&*panic))
}

fn message(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    let text = text.or_else(|| panic.downcast_ref::<&str>().copied());
    text.unwrap_or("a panic without words").to_owned()
}
