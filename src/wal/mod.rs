//! The write-ahead log.

pub mod op;
pub mod record;
pub mod replay;
pub mod segment;

pub use op::{Op, Ops};
pub use replay::{ReplayEnd, ReplayStart, replay};

use crate::{
    error::{Error, Result},
    publish::Version,
    storage::Storage,
    sync::{Arc, Mutex},
};

/// A place in the log: the end of a record, or of a segment's header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Position {
    /// The life of the segment; 0 says that there is no log at all ([`Position::NONE`]).
    pub life: u64,
    /// Where in the segment the record before ends, in bytes.
    pub offset: u64,
    /// The checksum of the record before, which the next one continues.
    pub chain: u32,
}

impl Position {
    /// No log: nothing follows the checkpoint, and no segment has to be there.
    pub const NONE: Position = Position { life: 0, offset: 0, chain: 0 };
}

/// The writer's end of the log.
pub struct Log {
    position: Position,
    tail: Arc<Mutex<Version>>,
}

/// The syncing end of the log, for the log thread and for checkpoints.
#[derive(Clone)]
pub struct Syncer {
    tail: Arc<Mutex<Version>>,
}

impl Log {
    /// Begins a log with a segment of its own, durable when this returns, never one that was read:
    /// its first record will be `next`, continuing `chain`.
    pub fn create(
        _storage: Arc<dyn Storage>,
        _store_id: u64,
        _segment_bytes: u64,
        _next: Version,
        chain: u32,
    ) -> Result<Log> {
        let tail = Arc::new(Mutex::new(Version(0)));
        Ok(Log { position: Position { chain, ..Position::NONE }, tail })
    }
    /// Appends one record, not yet synced, and returns the position after it.
    pub fn append(
        &mut self,
        _first: Version,
        _last: Version,
        _synced: Version,
        _ops: &[u8],
    ) -> Result<Position> {
        Err(Error::Closed)
    }
    /// The most bytes of operations that one record holds.
    pub fn record_bytes_max(&self) -> usize {
        0
    }
    /// A handle that syncs.
    pub fn syncer(&self) -> Syncer {
        Syncer { tail: Arc::clone(&self.tail) }
    }
    /// Lets go of the segments wholly before `before`, which a durable checkpoint names.
    pub fn release(&mut self, _before: Position) -> Result<()> {
        Err(Error::Closed)
    }
    /// The bytes of log that a recovery would read.
    pub fn bytes(&self) -> u64 {
        0
    }
    /// The position after the last record.
    pub fn position(&self) -> Position {
        self.position
    }
    /// Whether a failure has left the log unusable until the store is reopened.
    pub fn is_poisoned(&self) -> bool {
        false
    }
}

impl Syncer {
    /// Makes every record appended before this call durable; returns the last version of them.
    pub fn sync(&self) -> Result<Version> {
        let _ = &self.tail;
        Err(Error::Closed)
    }
    /// The last version known durable.
    pub fn synced(&self) -> Version {
        Version(0)
    }
    /// Makes a spare segment if there is none, so that the next rotation need not wait or fail.
    pub fn prepare(&self) -> Result<()> {
        Err(Error::Closed)
    }
}
