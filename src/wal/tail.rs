//! The tail of the log: the segment being written, and what the writer and the syncing threads
//! agree on about it, under one small mutex.
//! Owns: [`Syncer`], the spare segments, the poison.
//! - An append writes under the mutex; a sync seals the tail under it, then syncs outside. So
//!   a record is either covered by a sync or begins in a sector that the sync does not write.
//! - Whoever sees a sync fail sets the poison; no sync is tried after it, and one that was under
//!   way meanwhile reports nothing (I10).

use super::{
    Position,
    record::{ALIGN_BYTES, COMMITS, HEADER_BYTES, NewRecord},
    segment::{self, FIRST_RECORD, SECTOR_BYTES},
};
use crate::{
    error::{Error, Resource, Result},
    options::LOG_PREFIX,
    publish::Version,
    seeded::{Bug, Seeded},
    storage::{Storage, StorageFile},
    sync::{Arc, Mutex, lock},
};

/// A segment's file.
pub struct Segment {
    /// Its name in the directory.
    pub name: String,
    /// The file.
    pub file: Arc<dyn StorageFile>,
}

impl Segment {
    /// Makes a segment, zeroed, of which nothing is durable yet.
    pub fn create(storage: &dyn Storage, number: u64, segment_bytes: u64) -> Result<Segment> {
        let name = format!("{LOG_PREFIX}{number}");
        let file = storage.create(&name)?;
        if let Err(error) = segment::zero(&*file, segment_bytes) {
            // On a full disk the part that was made must not keep its space. If it cannot be
            // removed, it goes when the next log finds it without a header.
            let _ = storage.remove(&name);
            return Err(error);
        }
        Ok(Segment { name, file })
    }
}

/// The number in a segment's name that none of `names` has reached.
pub fn free_number(names: &[String]) -> u64 {
    // Numbers beyond 32 bits are not ours.
    let number = |name: &String| name.strip_prefix(LOG_PREFIX)?.parse::<u32>().ok();
    let greatest = names.iter().filter_map(number).max();
    greatest.map_or(0, |number| u64::from(number) + 1)
}

/// The most bytes of a record's body: it shares a segment with the header's sector and the one
/// kept for the end.
pub fn body_bytes_max(segment_bytes: u64) -> usize {
    (segment_bytes - FIRST_RECORD - SECTOR_BYTES) as usize - HEADER_BYTES
}

/// The end of what has been appended.
struct Place {
    file: Arc<dyn StorageFile>,
    position: Position,
    /// A sync began, so the next record goes to a fresh sector.
    sealed: bool,
}

/// The state under the mutex.
pub struct Tail {
    place: Place,
    appended: Version,
    synced: Version,
    poisoned: bool,
    spares: Vec<Segment>,
    /// The device had no room for another segment when one was made last.
    full: bool,
    seeded: Seeded,
    /// The number in the next new segment's name.
    number: u64,
}

impl Tail {
    /// The position after the last record.
    pub fn position(&self) -> Position {
        self.place.position
    }

    /// The last version known synced.
    pub fn synced(&self) -> Version {
        self.synced
    }

    /// Where the next record begins.
    fn next_offset(&self) -> u64 {
        let sealed = self.place.sealed && !self.seeded.has(Bug::SealSkipped);
        let align = if sealed { SECTOR_BYTES } else { ALIGN_BYTES };
        self.place.position.offset.next_multiple_of(align)
    }

    /// Whether the log comes to its end before long: neither a spare segment is there nor room for
    /// one, and three quarters of this one may be what the next group brings.
    pub fn is_cornered(&self, segment_bytes: u64) -> bool {
        self.full
            && self.spares.is_empty()
            && self.place.position.offset > segment_bytes / 4 - SECTOR_BYTES
    }

    /// Whether a body of `len` bytes fits, also if the tail is sealed meanwhile, and an end still
    /// fits behind it.
    pub fn has_room(&self, len: usize, segment_bytes: u64) -> bool {
        let offset = self.place.position.offset.next_multiple_of(SECTOR_BYTES);
        self.seeded.has(Bug::RecordSpansSegments)
            || offset + (HEADER_BYTES + len) as u64 <= segment_bytes - SECTOR_BYTES
    }

    /// Seals the tail, so that what `new` will be as its next record is settled: the record, and
    /// the chain value after it.
    pub fn seal_for<'a>(
        &mut self,
        new: NewRecord<'a>,
        scratch: &mut Vec<u8>,
    ) -> Result<(NewRecord<'a>, u32)> {
        if self.poisoned {
            return Err(Error::Poisoned);
        }
        self.place.sealed = true;
        let new = NewRecord { synced: self.synced, ..new };
        let Position { life, chain, .. } = self.place.position;
        let chain = new.encode(life, self.next_offset(), chain, scratch);
        Ok((new, chain))
    }

    /// Writes one record at the tail.
    pub fn append(&mut self, new: NewRecord<'_>, scratch: &mut Vec<u8>) -> Result<Position> {
        if self.poisoned {
            return Err(Error::Poisoned);
        }
        let offset = self.next_offset();
        let Position { life, chain, .. } = self.place.position;
        let chain = new.encode(life, offset, chain, scratch);
        if let Err(error) = self.place.file.write_at(scratch, offset) {
            self.give_up(offset, &error);
            return Err(error);
        }
        self.place.position = Position { life, offset: offset + scratch.len() as u64, chain };
        self.place.sealed = false;
        if new.kind == COMMITS {
            self.appended = new.last;
        }
        Ok(self.place.position)
    }

    /// Makes sure that a recovery does not find the record of a failed append at `offset`, whatever
    /// of it reached the disk: its group is told that it failed.
    fn give_up(&mut self, offset: u64, error: &Error) {
        self.place.sealed = true;
        if self.seeded.has(Bug::FailedAppendLeft) {
            return;
        }
        // No record that was synced shares the sector: this one was to go there.
        let wiped = self.place.file.write_at(&[0; HEADER_BYTES], offset);
        // Where space ran out for both writes, nothing whole was written that could be found.
        let full = |e: &Error| matches!(e, Error::Full { what: Resource::Disk });
        if wiped.as_ref().is_err_and(full) && full(error) {
            return;
        }
        if wiped.and_then(|()| self.place.file.sync()).is_err() {
            self.poisoned = true;
        }
    }
}

struct Shared {
    storage: Arc<dyn Storage>,
    segment_bytes: u64,
    seeded: Seeded,
    tail: Mutex<Tail>,
    /// Held during a sync that answers commits, and the judgement of it: the operating system
    /// reports a failed write-back to one caller alone, and the other must not answer before that
    /// one has poisoned the log.
    syncing: Mutex<()>,
}

/// The syncing end of the log, for the log thread and for checkpoints.
#[derive(Clone)]
pub struct Syncer {
    shared: Arc<Shared>,
}

impl Syncer {
    /// The syncer of a log that begins in `segment`.
    pub fn new(
        storage: Arc<dyn Storage>,
        segment_bytes: u64,
        segment: &Segment,
        position: Position,
        appended: Version,
        number: u64,
    ) -> Syncer {
        let place = Place::begin(segment, position);
        let (poisoned, spares, seeded) = (false, Vec::new(), storage.seeded());
        let full = false;
        let tail =
            Tail { place, appended, synced: appended, poisoned, spares, full, seeded, number };
        let (tail, syncing) = (Mutex::new(tail), Mutex::new(()));
        Syncer { shared: Arc::new(Shared { storage, segment_bytes, seeded, tail, syncing }) }
    }

    /// Makes every record appended before this call durable; returns the last version of them, or
    /// a later one. The version is that of the log: one that a checkpoint committed without the
    /// log does not show here.
    ///
    /// Cost: one sync, none if there is nothing to sync.
    ///
    /// # Errors
    /// Any error poisons the log; after that [`Error::Poisoned`].
    pub fn sync(&self) -> Result<Version> {
        self.sync_and_tell().map(|(synced, _)| synced)
    }

    /// As [`sync`](Self::sync); also whether the device was asked, which it is not where another
    /// call has synced all there is.
    pub fn sync_and_tell(&self) -> Result<(Version, bool)> {
        let _one_at_a_time = lock(&self.shared.syncing);
        let (file, target) = self.with(|tail| {
            if tail.poisoned {
                return Err(Error::Poisoned);
            }
            if tail.synced >= tail.appended {
                return Ok((None, tail.synced));
            }
            tail.place.sealed = true;
            Ok((Some(Arc::clone(&tail.place.file)), tail.appended))
        })?;
        if let Some(file) = file {
            if self.seeded().has(Bug::LogUnsynced) {
                self.with(|tail| tail.synced = target);
                return Ok((target, false));
            }
            self.sync_file(&*file)?;
            self.with(|tail| tail.synced = tail.synced.max(target));
            return Ok((target, true));
        }
        Ok((target, false))
    }

    /// The directory that the log lives in.
    pub fn storage(&self) -> &Arc<dyn Storage> {
        &self.shared.storage
    }

    /// The bug that the store has.
    pub fn seeded(&self) -> Seeded {
        self.shared.seeded
    }

    /// The last version known durable.
    pub fn synced(&self) -> Version {
        self.with(|tail| tail.synced)
    }

    /// Whether a failure has left the log unusable until the store is reopened.
    pub fn is_poisoned(&self) -> bool {
        self.with(|tail| tail.poisoned)
    }

    /// Makes a spare segment if there is none, so that the next rotation neither waits for one nor
    /// finds the disk full. With one spare at hand a log always gets on: a checkpoint frees the
    /// segment before.
    pub fn prepare(&self) -> Result<()> {
        if self.with(|tail| tail.poisoned || !tail.spares.is_empty()) {
            return Ok(());
        }
        let segment = self.make()?;
        self.give_spare(segment);
        Ok(())
    }

    /// Makes a segment, durable, without a header.
    pub fn make(&self) -> Result<Segment> {
        let number = self.with(|tail| {
            tail.number += 1;
            tail.number - 1
        });
        let storage = &*self.shared.storage;
        let made = Segment::create(storage, number, self.shared.segment_bytes);
        let full = matches!(made, Err(Error::Full { what: Resource::Disk }));
        self.with(|tail| tail.full = full);
        let segment = made?;
        self.sync_file(&*segment.file)?;
        if !self.seeded().has(Bug::SegmentNameUnsynced) {
            self.poison_on_error(storage.sync_dir())?;
        }
        Ok(segment)
    }

    /// Makes a file of the log durable.
    pub fn sync_file(&self, file: &dyn StorageFile) -> Result<()> {
        if self.is_poisoned() {
            return Err(Error::Poisoned);
        }
        let mut synced = file.sync();
        if synced.is_err() && self.seeded().has(Bug::FailedSyncRetried) {
            synced = file.sync();
        }
        self.poison_on_error(synced)?;
        // Another thread's sync may have failed and taken the error with it: the operating system
        // reports a failed write-back once.
        if self.is_poisoned() { Err(Error::Poisoned) } else { Ok(()) }
    }

    fn poison_on_error(&self, synced: Result<()>) -> Result<()> {
        if synced.is_err() && !self.seeded().has(Bug::FailedSyncForgotten) {
            self.with(|tail| tail.poisoned = true);
        }
        synced
    }

    /// Goes on in `segment`; the one before, with all that was appended, has been synced.
    pub fn switch(&self, segment: &Segment, position: Position) {
        self.with(|tail| {
            tail.synced = tail.appended;
            tail.place = Place::begin(segment, position);
        });
    }

    /// Takes a spare segment, if there is one.
    pub fn take_spare(&self) -> Option<Segment> {
        self.with(|tail| tail.spares.pop())
    }

    /// Keeps a segment for recycling.
    pub fn give_spare(&self, segment: Segment) {
        self.with(|tail| tail.spares.push(segment));
    }

    /// Keeps a segment of this log, unless there are `keep` spares already: then it is removed.
    pub fn recycle(&self, segment: Segment, keep: usize) -> Result<()> {
        if self.with(|tail| tail.spares.len()) < keep {
            self.give_spare(segment);
            return Ok(());
        }
        self.shared.storage.remove(&segment.name)
    }

    /// The same for a file that was there before this log, if it has the right length.
    pub fn recycle_inherited(&self, name: String, keep: usize) -> Result<()> {
        let file = self.shared.storage.open(&name)?;
        if file.len()? == self.shared.segment_bytes {
            return self.recycle(Segment { name, file }, keep);
        }
        self.shared.storage.remove(&name)
    }

    /// Runs `f` under the mutex. A panic under it is a bug of ours that poisons nothing: every
    /// field is whole between two statements.
    pub fn with<R>(&self, f: impl FnOnce(&mut Tail) -> R) -> R {
        match self.shared.tail.lock() {
            Ok(mut tail) => f(&mut tail),
            Err(poisoned) => f(&mut poisoned.into_inner()),
        }
    }
}

impl Place {
    fn begin(segment: &Segment, position: Position) -> Place {
        Place { file: Arc::clone(&segment.file), position, sealed: true }
    }
}
