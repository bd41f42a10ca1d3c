//! Bugs that can be switched on, one to a simulated disk, to see whether the crash tests find them:
//! each takes one clause of the protocol away, where that clause stands in the code.
//! Owns: [`Bug`], the kept list, and [`Seeded`], the switch. Without the feature `simulation` the
//! switch has no size and is off.

/// What can be wrong with a store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bug {
    /// A sync of the log that answers commits reaches no device.
    LogUnsynced,
    /// Groups are published and answered when they are logged, not when they are synced.
    AnsweredBeforeSync,
    /// A record that follows a sync shares a sector with what was synced.
    SealSkipped,
    /// A segment's header is not synced before the end of the one before names it.
    SegmentHeaderUnsynced,
    /// A segment is not synced before records of the next one are acknowledged.
    OldSegmentUnsynced,
    /// The directory is not synced after a segment was made.
    SegmentNameUnsynced,
    /// A record is written where it does not fit into its segment.
    RecordSpansSegments,
    /// Two lives of segments have the same number.
    LifeReused,
    /// The record of a failed append is left where a recovery finds it.
    FailedAppendLeft,
    /// A sync that failed is tried again, and the second answer believed.
    FailedSyncRetried,
    /// A sync that failed stops nothing but the group that waited for it.
    FailedSyncForgotten,
    /// Replay takes records whose body is torn.
    TornTailAccepted,
    /// Replay takes records that do not continue the chain.
    ChainUnchecked,
    /// Replay takes any later record as proof that the missing one was synced.
    LaterRecordIsDamage,
    /// Replay applies each record twice.
    ReplayedTwice,
    /// Replay does not go on to the next segment.
    ReplayStopsAtSegment,
    /// The log's segments go when a checkpoint begins.
    LogReleasedEarly,
    /// The segments found at opening go before a meta page names the new log.
    FoundLogReleasedEarly,
    /// A log begins in a segment that replay read, before a meta page names the new log.
    NeededSegmentReused,
    /// The new log is used before a meta page names it.
    NewLogUnnamed,
    /// What was replayed counts as durable where it was found: it is not written again.
    ReplayedNotWrittenAgain,
    /// The meta page that was found is not written again.
    MetaNotWrittenAgain,
    /// The name under which the page file was found is not synced before the log is made.
    FoundNameUnsynced,
    /// A checkpoint's meta page names the position of the log before.
    LogPositionStale,
    /// A checkpoint does not sync its pages before the meta page names them.
    PagesUnsynced,
    /// A checkpoint writes its meta pages before its pages.
    MetaBeforePages,
    /// A checkpoint does not sync its first meta page before it writes the second one.
    FirstMetaUnsynced,
    /// A checkpoint does not sync its meta pages at all.
    MetasUnsynced,
    /// A checkpoint leaves the former meta page in the second slot.
    OneMetaSlot,
    /// A checkpoint's cut lacks the pages of the newest version.
    CutLacksNewest,
    /// A checkpoint names the catalog of the one before.
    CatalogStale,
    /// The durable checkpoint holds no page numbers.
    DurablePinMissing,
    /// The catalog and the free list of the durable checkpoint are free when the next one begins.
    DurableRunsFreedEarly,
    /// The page that a delta stands on is given up when the delta is made.
    BaseFreedEarly,
    /// A failure after the first byte of a meta page is merely an abandoned checkpoint.
    FailedMetaForgotten,
    /// What a transaction that was undone did is logged.
    UndoneIsLogged,
    /// A page file is not synced before it gets its name.
    CreationUnsynced,
    /// The directory is not synced after the page file got its name.
    CreationNameUnsynced,
    /// A page file is made under its own name.
    CreatedInPlace,
    /// Closing says that there is no log, though the pages were not written.
    ClosedWithoutPages,
    /// Closing on a full disk does not sync the log instead.
    ClosedWithoutSync,
    /// A page's checksum is not looked at.
    ChecksumSkipped,
}

impl Bug {
    /// The kept list.
    #[cfg(feature = "simulation")]
    pub const ALL: [Bug; 42] = [
        Bug::LogUnsynced,
        Bug::AnsweredBeforeSync,
        Bug::SealSkipped,
        Bug::SegmentHeaderUnsynced,
        Bug::OldSegmentUnsynced,
        Bug::SegmentNameUnsynced,
        Bug::RecordSpansSegments,
        Bug::LifeReused,
        Bug::FailedAppendLeft,
        Bug::FailedSyncRetried,
        Bug::FailedSyncForgotten,
        Bug::TornTailAccepted,
        Bug::ChainUnchecked,
        Bug::LaterRecordIsDamage,
        Bug::ReplayedTwice,
        Bug::ReplayStopsAtSegment,
        Bug::LogReleasedEarly,
        Bug::FoundLogReleasedEarly,
        Bug::NeededSegmentReused,
        Bug::NewLogUnnamed,
        Bug::ReplayedNotWrittenAgain,
        Bug::MetaNotWrittenAgain,
        Bug::FoundNameUnsynced,
        Bug::LogPositionStale,
        Bug::PagesUnsynced,
        Bug::MetaBeforePages,
        Bug::FirstMetaUnsynced,
        Bug::MetasUnsynced,
        Bug::OneMetaSlot,
        Bug::CutLacksNewest,
        Bug::CatalogStale,
        Bug::DurablePinMissing,
        Bug::DurableRunsFreedEarly,
        Bug::BaseFreedEarly,
        Bug::FailedMetaForgotten,
        Bug::UndoneIsLogged,
        Bug::CreationUnsynced,
        Bug::CreationNameUnsynced,
        Bug::CreatedInPlace,
        Bug::ClosedWithoutPages,
        Bug::ClosedWithoutSync,
        Bug::ChecksumSkipped,
    ];
}

/// Which bug a store has; none, but on a simulated disk that was given one.
#[derive(Clone, Copy, Debug, Default)]
pub struct Seeded {
    #[cfg(feature = "simulation")]
    bug: Option<Bug>,
}

impl Seeded {
    /// With this bug.
    #[cfg(feature = "simulation")]
    pub fn with(bug: Bug) -> Seeded {
        Seeded { bug: Some(bug) }
    }

    /// Whether this bug is switched on.
    #[inline]
    #[cfg(feature = "simulation")]
    pub fn has(self, bug: Bug) -> bool {
        self.bug == Some(bug)
    }

    /// Whether this bug is switched on: never.
    #[inline]
    #[cfg(not(feature = "simulation"))]
    pub const fn has(self, _: Bug) -> bool {
        false
    }
}
