//! The log against a model: what was appended, as a list.

mod append;
mod cut;
mod damage;
mod disk;
mod hostile;

use self::disk::{Dice, Disk};
use super::{Log, Position, ReplayEnd, ReplayStart, Syncer, replay};
use crate::{error::Result, publish::Version};

const STORE_ID: u64 = 0x5eed;
const SEGMENT_BYTES: u64 = 4096;

/// A record as the model keeps it.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Entry {
    first: u64,
    last: u64,
    ops: Vec<u8>,
}

/// A log, its disk, and the model of both.
struct Bench {
    disk: Disk,
    log: Log,
    syncer: Syncer,
    start: ReplayStart,
    entries: Vec<Entry>,
}

impl Bench {
    fn new() -> Bench {
        Bench::on(Disk::default(), Version(1), 0, &[])
    }

    fn on(disk: Disk, next: Version, chain: u32, entered: &[u64]) -> Bench {
        let log =
            Log::create(disk.storage(), STORE_ID, SEGMENT_BYTES, next, chain, entered).unwrap();
        let (syncer, version) = (log.syncer(), Version(next.0 - 1));
        let start = ReplayStart { position: log.position(), version, synced: version };
        Bench { disk, log, syncer, start, entries: Vec::new() }
    }

    fn last(&self) -> u64 {
        self.entries.last().map_or(self.start.version.0, |entry| entry.last)
    }

    /// Appends `versions` versions with `len` bytes of operations; the model follows on success.
    fn try_append(&mut self, versions: u64, len: usize) -> Result<Position> {
        let (first, last) = (self.last() + 1, self.last() + versions);
        let mut dice = Dice(first ^ (len as u64) << 32);
        let ops: Vec<u8> = std::iter::repeat_with(|| dice.roll() as u8).take(len).collect();
        let position = self.log.append(Version(first), Version(last), Version(0), &ops)?;
        self.entries.push(Entry { first, last, ops });
        Ok(position)
    }

    fn append(&mut self, len: usize) -> Position {
        self.try_append(1, len).unwrap()
    }

    fn sync(&self) -> u64 {
        self.syncer.sync().unwrap().0
    }

    /// Replays what the disk holds and compares it with the model, all of it.
    fn check(&self) -> ReplayEnd {
        let (end, entries) = read(&self.disk, self.start).unwrap();
        assert_eq!(entries, self.entries);
        assert_eq!(end.last.0, self.last());
        assert!(!end.torn);
        // A rotation whose last sync failed has moved on, on disk alone.
        if !self.log.is_poisoned() {
            assert_eq!(end.position, self.log.position());
        }
        end
    }
}

/// Replays `disk` from `start`.
fn read(disk: &Disk, start: ReplayStart) -> Result<(ReplayEnd, Vec<Entry>)> {
    let mut entries = Vec::new();
    let end = replay(disk, STORE_ID, start, &mut |first, last, ops| {
        entries.push(Entry { first: first.0, last: last.0, ops: ops.to_vec() });
        Ok(())
    })?;
    Ok((end, entries))
}
