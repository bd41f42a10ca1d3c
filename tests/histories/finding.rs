//! What can be wrong with a history, by name.
//! Owns: [`Slip`], [`Finding`].

/// What a store did that it must not do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Slip {
    /// A snapshot showed what a key held before its version.
    StaleRead,
    /// A read showed what a key was given by a later version.
    FutureRead,
    /// A read showed what was written by a transaction that was undone.
    DirtyRead,
    /// A read showed what its writer had replaced itself.
    IntermediateRead,
    /// A read showed what nobody wrote.
    UnknownValue,
    /// A read showed what a power cut had taken.
    CameBack,
    /// A range showed a key that was not there, or did not show one that was.
    Phantom,
    /// A transaction did not see what it had written itself.
    OwnWriteUnseen,
    /// A count, or a word about whether a key was there, was not true.
    WrongOutcome,
    /// A commit replaced what it had read, which was not the newest.
    LostUpdate,
    /// A commit stands on something else that it had read, which was not the newest.
    WriteSkew,
    /// A session saw, or took, a version that was not behind its last one.
    SessionWentBack,
    /// A version was not behind one that was answered before the call.
    RealTime,
    /// A version was seen before its commit was called.
    SeenTooEarly,
    DuplicateVersion,
    MissingVersion,
    VersionOutOfPlace,
    /// A transaction was refused though nobody had written to what it read.
    SpuriousConflict,
    /// A commit that was acknowledged as durable is not there.
    LostAfterEnd,
    /// A version is there that nobody had asked for.
    GhostAfterEnd,
    /// A part of a commit is there.
    HalfAfterEnd,
    /// What is there is not what the version held.
    RecoveredOtherwise,
}

#[derive(Clone, Debug)]
pub struct Finding {
    pub slip: Slip,
    /// The number of the life.
    #[expect(dead_code, reason = "for whoever reads a failure")]
    pub life: usize,
    /// The stamp of the call, if it is of one transaction.
    #[expect(dead_code, reason = "for whoever reads a failure")]
    pub called: u64,
    #[expect(dead_code, reason = "for whoever reads a failure")]
    pub text: String,
}
