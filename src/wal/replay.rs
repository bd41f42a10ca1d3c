//! Replay: from a checkpoint's position to the end of the log, and the judgement of what ends it.
//! Owns: [`replay`]. Writes nothing, so a reader that may not write can use it too.
//!
//! The log ends where no valid record continues the chain. That is damage, not the end, if
//! - the meta page, or any record that this log wrote further on, knows the missing version as
//!   synced (an honest power cut leaves synced records whole), or
//! - one flipped bit is all that is wrong with what stands there, or
//! - the segment says that another follows, and that one is not there.
//!
//! Everything else is the torn tail: a record after the last sync, which nobody was promised.
//! A later record that does not know the missing one as synced proves nothing: under pipelining
//! a power cut may keep record N + 1 and lose N.
//!
//! Keeps I9: every segment is entered at most once, and versions only grow.

use super::{
    Position,
    record::{self, ALIGN_BYTES, COMMITS, END_BODY_BYTES, HEADER_BYTES, Header, SEGMENT_END},
    segment::{FIRST_RECORD, Found, SECTOR_BYTES, Window},
};
use crate::{
    error::{Error, Result},
    publish::Version,
    seeded::Bug,
    storage::Storage,
};

/// Where replay begins: what the meta page says.
#[derive(Clone, Copy, Debug)]
pub struct ReplayStart {
    /// The log's position at the checkpoint.
    pub position: Position,
    /// The checkpoint's version; the first record replayed begins with the next one.
    pub version: Version,
    /// The last version that the meta page knows synced; `version` if it names none beyond.
    pub synced: Version,
}

/// Where replay ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReplayEnd {
    /// The last version, that of the checkpoint if there was no record.
    pub last: Version,
    /// The position after the last record.
    pub position: Position,
    /// How many records were replayed.
    pub records: u64,
    /// The greatest version named as synced. What was replayed beyond it may stand in the page
    /// cache alone: it must be made durable by writing it again, elsewhere.
    pub synced: Version,
    /// Whether a record was seen behind the end that never became durable as a whole.
    pub torn: bool,
    /// The lives of the segments that were read, oldest first: the next recovery may need them.
    pub entered: Vec<u64>,
}

/// Takes the first version, the last version and the operations of one record.
pub type Visit<'v> = dyn FnMut(Version, Version, &[u8]) -> Result<()> + 'v;

/// Calls `visit` with the first version, the last version and the operations of each record from
/// `start` on. `Position::NONE` has nothing to replay.
///
/// Cost: one pass over the records, then one over the rest of the last segment, in memory for one
/// record (at least 256 KiB).
///
/// # Errors
/// [`Error::Corrupt`] if the log is damaged where it had been synced; what `visit` answers.
pub fn replay(
    storage: &dyn Storage,
    store_id: u64,
    start: ReplayStart,
    visit: &mut Visit<'_>,
) -> Result<ReplayEnd> {
    let ReplayStart { position, version, synced } = start;
    if position.life == 0 {
        return Ok(ReplayEnd {
            last: version,
            position,
            records: 0,
            synced,
            torn: false,
            entered: Vec::new(),
        });
    }
    let mut segments = Found::all(storage, store_id)?;
    let Some(segment) = take(&mut segments, position.life)? else {
        let reason =
            format!("segment {:016x}, which the meta page names, is missing", position.life);
        return Err(Error::corrupt("log", reason));
    };
    let mut walk = Walk::begin(storage, segments, segment, start)?;
    loop {
        match walk.record_here()? {
            Here::Commits(header, offset) => walk.visit(header, offset, visit)?,
            Here::End(_) if storage.seeded().has(Bug::ReplayStopsAtSegment) => return Ok(walk.end),
            Here::End(header) => walk.enter(header)?,
            Here::Damage(torn) => return walk.judge(torn),
        }
    }
}

/// Takes the segment of this life out of `segments`, so that none is entered twice.
fn take(segments: &mut Vec<Found>, life: u64) -> Result<Option<Found>> {
    let Some(i) = segments.iter().position(|segment| segment.header.life == life) else {
        return Ok(None);
    };
    let taken = segments.swap_remove(i);
    match segments.iter().find(|segment| segment.header.life == life) {
        Some(twin) => {
            let reason = format!("it is the same segment as {}", twin.name);
            Err(Error::corrupt(&taken.name, reason))
        }
        None => Ok(Some(taken)),
    }
}

/// What stands where the chain goes on.
enum Here {
    /// A whole record of commits; the offset is the record's.
    Commits(Header, u64),
    /// The end of this segment; the body is the next one's life.
    End(Header),
    /// No whole record; whether there is a header that continues the chain.
    Damage(bool),
}

/// A replay under way.
struct Walk<'s> {
    storage: &'s dyn Storage,
    /// The segments that have not been entered.
    segments: Vec<Found>,
    segment: Found,
    window: Window,
    /// The body that was read last, unmasked.
    body: Vec<u8>,
    end: ReplayEnd,
    /// The version that comes next.
    next: Version,
}

impl<'s> Walk<'s> {
    fn begin(
        storage: &'s dyn Storage,
        segments: Vec<Found>,
        segment: Found,
        start: ReplayStart,
    ) -> Result<Walk<'s>> {
        let ReplayStart { position, version, synced } = start;
        let header = segment.header;
        let window = segment.open(storage)?;
        let entered = vec![header.life];
        let end = ReplayEnd { last: version, position, records: 0, synced, torn: false, entered };
        let next = following(&segment, version)?;
        let fits = (FIRST_RECORD..=header.segment_bytes).contains(&position.offset);
        let continues = position.offset != FIRST_RECORD || position.chain == header.chain;
        let walk = Walk { storage, segments, segment, window, body: Vec::new(), end, next };
        if !fits || !continues || header.first > next {
            let (offset, first) = (position.offset, header.first.0);
            return Err(walk.corrupt(format!(
                "the meta page names offset {offset} before version {}, the segment begins with \
                 version {first}",
                next.0
            )));
        }
        Ok(walk)
    }

    /// The record that continues the chain: right behind the last one, or, if that was followed by
    /// a sync, at the next sector.
    fn record_here(&mut self) -> Result<Here> {
        let mut damage = false;
        for offset in self.places() {
            let Some(header) = self.header_at(offset)? else {
                continue;
            };
            let seeded = self.storage.seeded();
            if header.chain != self.end.position.chain && !seeded.has(Bug::ChainUnchecked) {
                continue;
            }
            if !self.read_body(&header, offset)? {
                return Err(self.misfit(&header, offset));
            }
            if !header.holds(&self.body) && !seeded.has(Bug::TornTailAccepted) {
                damage = true;
                continue;
            }
            if !self.fits(&header) {
                return Err(self.misfit(&header, offset));
            }
            return Ok(match header.kind {
                COMMITS => Here::Commits(header, offset),
                _ => Here::End(header),
            });
        }
        Ok(Here::Damage(damage))
    }

    /// Reads and unmasks what stands where the body of `header` must be, padding included; whether
    /// there is room for it in the segment.
    fn read_body(&mut self, header: &Header, offset: u64) -> Result<bool> {
        let (at, life) = (offset + HEADER_BYTES as u64, self.segment.header.life);
        self.body.clear();
        let Some(masked) = self.window.get(at, header.padded_bytes() as usize)? else {
            return Ok(false);
        };
        self.body.extend_from_slice(masked);
        record::mask(&mut self.body, life, at);
        Ok(true)
    }

    /// Where the next record may begin; the same place twice does no harm.
    fn places(&self) -> [u64; 2] {
        let offset = self.end.position.offset;
        [offset.next_multiple_of(ALIGN_BYTES), offset.next_multiple_of(SECTOR_BYTES)]
    }

    fn header_at(&mut self, offset: u64) -> Result<Option<Header>> {
        let life = self.segment.header.life;
        let bytes = self.window.get(offset, HEADER_BYTES)?;
        Ok(bytes.and_then(|bytes| Header::decode(bytes, life, offset)))
    }

    /// Whether a record that continues the chain says what this log would have written.
    fn fits(&self, header: &Header) -> bool {
        let Header { first, last, synced, body_bytes, kind, .. } = *header;
        let is_end = kind == SEGMENT_END && body_bytes as usize == END_BODY_BYTES;
        first == self.next && last >= first && synced < first && (kind == COMMITS || is_end)
    }

    fn misfit(&self, header: &Header, offset: u64) -> Error {
        let Header { first, last, synced, body_bytes, .. } = *header;
        self.corrupt(format!(
            "the record at offset {offset} holds versions {} to {} and {body_bytes} bytes, \
             knows {} as synced, and stands where version {} is due",
            first.0, last.0, synced.0, self.next.0
        ))
    }

    fn visit(&mut self, header: Header, offset: u64, visit: &mut Visit<'_>) -> Result<()> {
        let ops = &self.body[..header.body_bytes as usize];
        visit(header.first, header.last, ops)?;
        if self.storage.seeded().has(Bug::ReplayedTwice) {
            visit(header.first, header.last, ops)?;
        }
        self.next = following(&self.segment, header.last)?;
        self.end.last = header.last;
        self.end.records += 1;
        self.end.synced = self.end.synced.max(header.synced);
        self.end.position.offset = offset + HEADER_BYTES as u64 + header.padded_bytes();
        self.end.position.chain = header.checksum;
        Ok(())
    }

    /// Goes on to the segment that `end` names: its header was synced before `end` was written.
    fn enter(&mut self, end: Header) -> Result<()> {
        let life = u64::from_le_bytes(*self.body.first_chunk().unwrap_or(&[0; END_BODY_BYTES]));
        let Some(segment) = take(&mut self.segments, life)? else {
            return Err(self.corrupt(format!("segment {life:016x}, which follows, is missing")));
        };
        self.window = segment.open(self.storage)?;
        self.segment = segment;
        self.end.entered.push(life);
        let header = self.segment.header;
        let before = self.end.position.life;
        if header.first != self.next || header.chain != end.checksum || header.before != before {
            return Err(self.corrupt(format!(
                "it begins with version {} where {} is due, or follows another segment",
                header.first.0, self.next.0
            )));
        }
        // What stood in the segment before was synced before anything in this one counts, but only
        // records say so: the end itself is written before that sync.
        self.end.synced = self.end.synced.max(end.synced);
        self.end.position = Position { life, offset: FIRST_RECORD, chain: header.chain };
        Ok(())
    }

    /// The chain is broken here: the torn tail, or damage?
    fn judge(mut self, mut torn: bool) -> Result<ReplayEnd> {
        let due = self.next.0;
        if self.end.synced >= self.next {
            let synced = self.end.synced.0;
            return Err(self.corrupt(format!("version {due} is missing; {synced} was synced")));
        }
        for offset in self.places() {
            if self.is_one_bit_off(offset)? {
                let reason =
                    format!("the record of version {due} at offset {offset} has a flipped bit");
                return Err(self.corrupt(reason));
            }
        }
        let from = self.places()[0];
        let life = self.segment.header.life;
        let later = Later::find(&mut self.window, life, from, self.next)?;
        torn |= later.any;
        if later.any && self.storage.seeded().has(Bug::LaterRecordIsDamage) {
            return Err(self.corrupt("a record stands behind the end"));
        }
        if let Some((offset, synced)) = later.witness {
            return Err(self.corrupt(format!(
                "version {due} is missing, but the record at offset {offset} knows version {} as \
                 synced",
                synced.0
            )));
        }
        if let Some((name, offset)) = self.find_following(life)? {
            return Err(self.corrupt(format!(
                "version {due} or the end is missing, but the record at offset {offset} of \
                 {name} was written after all of it had been synced"
            )));
        }
        self.end.torn = torn;
        Ok(self.end)
    }

    /// A record in any segment that followed `life` in this log: the first of them was written
    /// after this segment had been synced to its end.
    fn find_following(&mut self, life: u64) -> Result<Option<(String, u64)>> {
        let mut lives = vec![life];
        while let Some(before) = lives.pop() {
            // Taken out, so that no segment is read twice. More than one may follow: a rotation
            // that failed leaves a header behind, but no records.
            for segment in self.segments.extract_if(.., |s| s.header.before == before) {
                let mut window = segment.open_remains(self.storage)?;
                let life = segment.header.life;
                let later = Later::find(&mut window, life, FIRST_RECORD, Version(0))?;
                if let Some((offset, _)) = later.witness {
                    return Ok(Some((segment.name, offset)));
                }
                lives.push(life);
            }
        }
        Ok(None)
    }

    /// Whether the next record stands at `offset` but for one flipped bit.
    fn is_one_bit_off(&mut self, offset: u64) -> Result<bool> {
        let (life, chain) = (self.segment.header.life, self.end.position.chain);
        let Some(bytes) = self.window.get(offset, HEADER_BYTES)? else {
            return Ok(false);
        };
        let whole = Header::decode(bytes, life, offset).filter(|header| header.chain == chain);
        let Some(header) = whole.or_else(|| Header::repaired(bytes, life, offset, chain)) else {
            return Ok(false);
        };
        if !self.read_body(&header, offset)? {
            return Ok(false);
        }
        Ok(match whole {
            Some(header) => header.holds_but_for_one_bit(&self.body),
            None => header.holds(&self.body),
        })
    }

    fn corrupt(&self, reason: impl Into<String>) -> Error {
        Error::corrupt(&self.segment.name, reason)
    }
}

/// The version after `last`.
fn following(segment: &Found, last: Version) -> Result<Version> {
    let next = last.0.checked_add(1).map(Version);
    next.ok_or_else(|| Error::corrupt(&segment.name, "the greatest version of all was reached"))
}

/// What stands behind a broken chain.
struct Later {
    /// Whether there is any record that this log wrote.
    any: bool,
    /// The offset of one that knows the missing version as synced, and what it knows.
    witness: Option<(u64, Version)>,
}

impl Later {
    /// Looks at every place where a record of `life` may begin. Headers prove themselves, so the
    /// length of the damage need not be known, and each place costs one short checksum at most.
    fn find(window: &mut Window, life: u64, from: u64, missing: Version) -> Result<Later> {
        let mut later = Later { any: false, witness: None };
        let mut at = from;
        while let Some(bytes) = window.get_ahead(at, HEADER_BYTES)? {
            let mut seen = 0;
            while let Some(place) = bytes.get(seen..seen + HEADER_BYTES) {
                let offset = at + seen as u64;
                if let Some(header) = Header::decode(place, life, offset) {
                    later.any = true;
                    if header.synced >= missing {
                        later.witness = Some((offset, header.synced));
                        return Ok(later);
                    }
                }
                seen += ALIGN_BYTES as usize;
            }
            at += seen as u64;
        }
        Ok(later)
    }
}
