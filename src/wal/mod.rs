//! The write-ahead log: one record for each group of commits, in zeroed segments of fixed size that
//! are recycled. protocol.md section 2, to the letter.
//!
//! Owns: [`Position`], the writer's end [`Log`], and the other threads' end [`Syncer`].
//! - What is appended is durable when a [`Syncer::sync`] that began after it has returned.
//! - A record that follows a sync begins in a fresh sector, so that tearing it tears nothing that
//!   was synced; unsynced records share sectors.
//! - A segment's last record, the *end*, names the next segment by its life. The next segment's
//!   header is durable before the end is written, and the end before anything in the next segment
//!   counts; so a segment that is lost as a whole is noticed.
//! - After a failed sync, in any thread, the log takes nothing any more (I10).
//!
//! Absent on purpose: grouping, publishing, answering (txn); when a segment may go (checkpoint);
//! a way to append to what was read (recovery writes elsewhere, then moves the meta page there).

pub mod op;
pub mod record;
pub mod replay;
pub mod segment;
mod tail;
#[cfg(all(test, not(loom)))]
mod tests;

pub use op::{Op, Ops};
pub use record::record_bytes;
pub use replay::{ReplayEnd, ReplayStart, replay};
pub use segment::expect_own;
pub use tail::Syncer;

use self::{
    record::{COMMITS, END_BODY_BYTES, NewRecord, SEGMENT_END},
    segment::{
        FIRST_RECORD, Found, SECTOR_BYTES, SEGMENT_BYTES_MAX, SEGMENT_BYTES_MIN, SegmentHeader,
    },
    tail::Segment,
};
use crate::{
    error::{Error, Limit, Result},
    publish::Version,
    seeded::Bug,
    storage::Storage,
    sync::Arc,
};
use std::collections::VecDeque;

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

/// How many bytes of a scratch buffer are kept for the next record.
const SCRATCH_BYTES_MAX: usize = 1 << 20;
/// The fewest spare segments that are kept for recycling.
const SPARES_MIN: usize = 2;

/// The writer's end of the log.
pub struct Log {
    syncer: Syncer,
    store_id: u64,
    segment_bytes: u64,
    /// The segments in use, oldest first, with their lives; the last one is written.
    live: VecDeque<(u64, Segment)>,
    /// What was in the directory before this log began. It may be all that a crash would leave, so
    /// it stays until a checkpoint has named a position of this log.
    inherited: Vec<String>,
    /// Where in the oldest segment the part begins that a recovery would read.
    released: u64,
    /// How many segments the release before let go: about as many are needed again.
    released_count: usize,
    /// No spare segment was made since the last one was taken, or since the log began.
    wants_spare: bool,
    scratch: Vec<u8>,
}

impl Log {
    /// Begins a log in a segment of its own, durable when this returns; never in one that was read,
    /// as those of the lives in `entered` were. A file that nobody needs any more is used again, so
    /// that a store opens on a full disk and failed openings leave nothing behind.
    /// Its first record will hold `next` or a later version, and continues `chain`. Nothing that
    /// is appended is found again before a meta page names a position of this log.
    ///
    /// # Errors
    /// [`Error::Invalid`] for a `segment_bytes` that is no multiple of 512 from 4 KiB to 1 GiB.
    pub fn create(
        storage: Arc<dyn Storage>,
        store_id: u64,
        segment_bytes: u64,
        next: Version,
        chain: u32,
        entered: &[u64],
    ) -> Result<Log> {
        let allowed = SEGMENT_BYTES_MIN..=SEGMENT_BYTES_MAX;
        if !allowed.contains(&segment_bytes) || !segment_bytes.is_multiple_of(SECTOR_BYTES) {
            return Err(Error::invalid(format!(
                "log segments of {segment_bytes} bytes: not a multiple of {SECTOR_BYTES} from \
                 {SEGMENT_BYTES_MIN} to {SEGMENT_BYTES_MAX}"
            )));
        }
        let mut inherited = segment::names(&*storage)?;
        let number = tail::free_number(&inherited);
        let spared: &[u64] =
            if storage.seeded().has(Bug::NeededSegmentReused) { &[] } else { entered };
        let segment = match Found::unneeded(&*storage, store_id, segment_bytes, spared)? {
            Some((name, file)) => Segment { name, file },
            None => Segment::create(&*storage, number, segment_bytes)?,
        };
        inherited.retain(|name| *name != segment.name);
        let life = segment::new_life(&*storage);
        let header = SegmentHeader { store_id, life, first: next, segment_bytes, chain, before: 0 };
        segment.file.write_at(&header.encode(), 0)?;
        segment.file.sync()?;
        if !storage.seeded().has(Bug::SegmentNameUnsynced) {
            storage.sync_dir()?;
        }
        let position = Position { life, offset: FIRST_RECORD, chain };
        let before = Version(next.0.saturating_sub(1));
        let syncer = Syncer::new(storage, segment_bytes, &segment, position, before, number + 1);
        Ok(Log {
            syncer,
            store_id,
            segment_bytes,
            live: VecDeque::from([(life, segment)]),
            inherited,
            released: FIRST_RECORD,
            released_count: 0,
            wants_spare: true,
            scratch: Vec::new(),
        })
    }

    /// Appends one record, not yet synced, and returns the position after it. `synced` is the last
    /// version that the caller knows synced; what the log knows itself is added.
    ///
    /// Cost: one copy and one write; at the end of a segment also three syncs.
    ///
    /// # Errors
    /// [`Error::TooLarge`] beyond [`record_bytes_max`](Log::record_bytes_max); [`Error::Full`] and
    /// [`Error::Io`] leave the log as it was, the next append writes over what was left, unless
    /// [`is_poisoned`](Log::is_poisoned) says otherwise; then [`Error::Poisoned`] for ever.
    pub fn append(
        &mut self,
        first: Version,
        last: Version,
        synced: Version,
        ops: &[u8],
    ) -> Result<Position> {
        assert!(first <= last && synced < first, "a record's versions are in order");
        let max = self.record_bytes_max();
        if ops.len() > max {
            return Err(Error::TooLarge { what: Limit::Batch, len: ops.len(), max });
        }
        if !self.syncer.with(|tail| tail.has_room(ops.len(), self.segment_bytes)) {
            self.rotate(first)?;
        }
        // Under the lock: a sync that begins now either covers this record or seals before it.
        let position = self.syncer.with(|tail| {
            let synced = synced.max(tail.synced());
            let new = NewRecord { kind: COMMITS, first, last, synced, body: ops };
            tail.append(new, &mut self.scratch)
        })?;
        self.scratch.shrink_to(SCRATCH_BYTES_MAX);
        Ok(position)
    }

    /// The most bytes of operations that one record holds.
    pub fn record_bytes_max(&self) -> usize {
        tail::body_bytes_max(self.segment_bytes)
    }

    /// Goes on in a fresh segment, whose first record will be `first`. An error leaves the log in
    /// the old one.
    fn rotate(&mut self, first: Version) -> Result<()> {
        if self.is_poisoned() {
            return Err(Error::Poisoned);
        }
        let segment = match self.syncer.take_spare() {
            Some(segment) => segment,
            None => self.syncer.make()?,
        };
        self.wants_spare = true;
        match self.rotate_into(&segment, first) {
            Ok(life) => {
                self.live.push_back((life, segment));
                Ok(())
            }
            Err(error) => {
                self.syncer.give_spare(segment);
                Err(error)
            }
        }
    }

    fn rotate_into(&mut self, segment: &Segment, first: Version) -> Result<u64> {
        let (store_id, segment_bytes) = (self.store_id, self.segment_bytes);
        let (seeded, life) = (self.syncer.seeded(), segment::new_life(&**self.syncer.storage()));
        let body: [u8; END_BODY_BYTES] = life.to_le_bytes();
        let synced = Version(0);
        let end = NewRecord { kind: SEGMENT_END, first, last: first, synced, body: &body };
        // The header continues the end, and is durable before the end is written: so a segment that
        // an end names is always there. What the end will be is settled by sealing first.
        let (end, chain) = self.syncer.with(|tail| tail.seal_for(end, &mut self.scratch))?;
        let header = SegmentHeader {
            store_id,
            life,
            first,
            segment_bytes,
            chain,
            before: self.position().life,
        };
        segment.file.write_at(&header.encode(), 0)?;
        if !seeded.has(Bug::SegmentHeaderUnsynced) {
            self.syncer.sync_file(&*segment.file)?;
        }
        let ended = self.syncer.with(|tail| tail.append(end, &mut self.scratch))?;
        assert!(ended.chain == chain, "the end is the record that the next header continues");
        if let Some((_, old)) = self.live.back()
            && !seeded.has(Bug::OldSegmentUnsynced)
        {
            self.syncer.sync_file(&*old.file)?;
        }
        let position = Position { life, offset: FIRST_RECORD, chain };
        self.syncer.switch(segment, position);
        Ok(life)
    }

    /// A handle that syncs, for other threads.
    pub fn syncer(&self) -> Syncer {
        self.syncer.clone()
    }

    /// Lets go of the segments wholly before `before`, a position of this log that both meta pages
    /// name by now, and of all that was there before this log. They are recycled or removed.
    pub fn release(&mut self, before: Position) -> Result<()> {
        let Some(count) = self.live.iter().position(|&(life, _)| life == before.life) else {
            return Ok(());
        };
        self.released = before.offset;
        let keep = SPARES_MIN.max(count).max(self.released_count);
        self.released_count = count;
        let mut outcome = Ok(());
        for (_, segment) in self.live.drain(..count) {
            outcome = outcome.and(self.syncer.recycle(segment, keep));
        }
        for name in std::mem::take(&mut self.inherited) {
            outcome = outcome.and(self.syncer.recycle_inherited(name, keep));
        }
        outcome
    }

    /// Whether somebody should [`prepare`](Syncer::prepare) a spare segment; asked once for each.
    pub fn take_wish(&mut self) -> bool {
        std::mem::take(&mut self.wants_spare)
    }

    /// Whether only a checkpoint keeps the log from coming to its end: the device is full, and the
    /// segments before this one are all that could be recycled.
    pub fn is_cornered(&self) -> bool {
        self.live.len() > 1 && self.syncer.with(|tail| tail.is_cornered(self.segment_bytes))
    }

    /// The bytes of log that a recovery would read.
    pub fn bytes(&self) -> u64 {
        let before = (self.live.len() as u64 - 1) * self.segment_bytes;
        before + self.position().offset - self.released
    }

    /// The position after the last record.
    pub fn position(&self) -> Position {
        self.syncer.with(|tail| tail.position())
    }

    /// Whether a failure has left the log unusable until the store is reopened.
    pub fn is_poisoned(&self) -> bool {
        self.syncer.is_poisoned()
    }
}
