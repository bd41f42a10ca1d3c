//! One segment on disk: a file of fixed size, zeroed before its first life, recycled after each.
//! Owns: the segment header's layout, the making of segments, the finding of them, and
//! [`Window`], which reads one piecewise.
//! File names mean nothing; headers do: a segment is known by its life, a random number that it
//! gets anew each time it is put to use. Keeps I9.

use crate::{
    error::{Error, Result},
    options::LOG_PREFIX,
    publish::Version,
    seeded::Bug,
    storage::{Storage, StorageFile},
    sync::Arc,
};
use std::{
    collections::hash_map::RandomState,
    hash::{BuildHasher, Hasher},
    ops::Range,
    time::SystemTime,
};

const MAGIC: Range<usize> = 0..8;
/// The CRC-32C of the header without these four bytes.
const CHECKSUM: Range<usize> = 8..12;
const FORMAT: Range<usize> = 12..16;
const STORE_ID: Range<usize> = 16..24;
const LIFE: Range<usize> = 24..32;
/// The first version that the segment may hold.
const FIRST: Range<usize> = 32..40;
/// The segment's length, so that a cut file is noticed.
const SEGMENT_BYTES: Range<usize> = 40..48;
/// The chain value that the segment continues.
const CHAIN: Range<usize> = 48..52;
/// Zeros.
const SPARE: Range<usize> = 52..56;
/// The life of the segment before, 0 if the log begins here.
const BEFORE: Range<usize> = 56..64;
const HEADER_BYTES: usize = 64;

const MAGIC_BYTES: [u8; 8] = *b"rectolog";
const FORMAT_NUMBER: u32 = 1;

/// The part of a device that a power cut leaves whole or not: what is written after a sync begins
/// in a fresh one, so that it cannot tear what was synced.
pub const SECTOR_BYTES: u64 = 512;
/// Where a segment's first record begins.
pub const FIRST_RECORD: u64 = SECTOR_BYTES;
/// The smallest segment.
pub const SEGMENT_BYTES_MIN: u64 = 4096;
/// The largest segment.
pub const SEGMENT_BYTES_MAX: u64 = 1 << 30;

const _: () = assert!(SPARE.end == BEFORE.start && BEFORE.end == HEADER_BYTES);
const _: () = assert!(HEADER_BYTES as u64 <= SECTOR_BYTES);

/// How much is zeroed or read ahead at once.
const CHUNK_BYTES: usize = 256 * 1024;

/// A segment's header, decoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SegmentHeader {
    /// The store that the segment belongs to.
    pub store_id: u64,
    /// The random number of this use of the segment; never 0.
    pub life: u64,
    /// The first version that the segment may hold.
    pub first: Version,
    /// The segment's length.
    pub segment_bytes: u64,
    /// The chain value that the first record continues.
    pub chain: u32,
    /// The life of the segment before, whose end names this one; 0 if the log begins here.
    pub before: u64,
}

impl SegmentHeader {
    /// The header's sector as it is written.
    pub fn encode(&self) -> [u8; SECTOR_BYTES as usize] {
        let mut bytes = [0; SECTOR_BYTES as usize];
        bytes[MAGIC].copy_from_slice(&MAGIC_BYTES);
        bytes[FORMAT].copy_from_slice(&FORMAT_NUMBER.to_le_bytes());
        bytes[STORE_ID].copy_from_slice(&self.store_id.to_le_bytes());
        bytes[LIFE].copy_from_slice(&self.life.to_le_bytes());
        bytes[FIRST].copy_from_slice(&self.first.0.to_le_bytes());
        bytes[SEGMENT_BYTES].copy_from_slice(&self.segment_bytes.to_le_bytes());
        bytes[CHAIN].copy_from_slice(&self.chain.to_le_bytes());
        bytes[BEFORE].copy_from_slice(&self.before.to_le_bytes());
        let checksum = checksum_of(&bytes[..HEADER_BYTES]);
        bytes[CHECKSUM].copy_from_slice(&checksum.to_le_bytes());
        bytes
    }

    fn decode(bytes: &[u8; HEADER_BYTES]) -> Option<SegmentHeader> {
        let valid = bytes[MAGIC] == MAGIC_BYTES
            && bytes[FORMAT] == FORMAT_NUMBER.to_le_bytes()
            && bytes[CHECKSUM] == checksum_of(bytes).to_le_bytes();
        let long = |at: Range<usize>| at.rev().fold(0, |n, i| n << 8 | u64::from(bytes[i]));
        valid.then(|| SegmentHeader {
            store_id: long(STORE_ID),
            life: long(LIFE),
            first: Version(long(FIRST)),
            segment_bytes: long(SEGMENT_BYTES),
            chain: long(CHAIN) as u32,
            before: long(BEFORE),
        })
    }

    /// The header that is one flipped bit away from `bytes`.
    fn repaired(mut bytes: [u8; HEADER_BYTES]) -> Option<SegmentHeader> {
        for bit in 0..HEADER_BYTES * 8 {
            bytes[bit / 8] ^= 1 << (bit % 8);
            if let Some(header) = SegmentHeader::decode(&bytes) {
                return Some(header);
            }
            bytes[bit / 8] ^= 1 << (bit % 8);
        }
        None
    }
}

fn checksum_of(header: &[u8]) -> u32 {
    crc32c::crc32c_append(crc32c::crc32c(&header[MAGIC]), &header[CHECKSUM.end..HEADER_BYTES])
}

/// A number that no segment had before, nor will have: what a recycled segment holds from its
/// former lives must not count.
fn random_life() -> u64 {
    // The standard library's hash keys are the only randomness at hand without a dependency. The
    // clock is mixed in for processes that were copied, keys included.
    let mut hasher = RandomState::new().build_hasher();
    let now = SystemTime::UNIX_EPOCH.elapsed().unwrap_or_default();
    hasher.write_u128(now.as_nanos());
    hasher.write_u32(std::process::id());
    hasher.finish().max(1)
}

/// The life of a segment that is put to use in `storage`.
pub fn new_life(storage: &dyn Storage) -> u64 {
    if storage.seeded().has(Bug::LifeReused) { 1 } else { random_life() }
}

/// Writes zeros over a new file's whole length. Reserved space alone would not do: the first write
/// to it changes the file's metadata, and the sync of each commit would pay for that.
pub fn zero(file: &dyn StorageFile, segment_bytes: u64) -> Result<()> {
    file.allocate(segment_bytes)?;
    let zeros = vec![0; CHUNK_BYTES.min(segment_bytes as usize)];
    let mut offset = 0;
    while offset < segment_bytes {
        let len = (segment_bytes - offset).min(zeros.len() as u64);
        file.write_at(&zeros[..len as usize], offset)?;
        offset += len;
    }
    Ok(())
}

/// A segment found in the directory.
pub struct Found {
    /// The file's name.
    pub name: String,
    /// Its header; as it must have been, if it is damaged.
    pub header: SegmentHeader,
    /// Whether one bit of the header is wrong.
    pub damaged: bool,
    /// The file's length, in bytes.
    pub file_bytes: u64,
}

impl Found {
    /// Every segment of `store_id` in the directory. Files of other stores and without a header
    /// (made, never used) are passed over.
    pub fn all(storage: &dyn Storage, store_id: u64) -> Result<Vec<Found>> {
        let mut found = Vec::new();
        for name in names(storage)? {
            let file = storage.open(&name)?;
            let file_bytes = file.len()?;
            if file_bytes < SECTOR_BYTES {
                continue;
            }
            let mut bytes = [0; HEADER_BYTES];
            file.read_at(&mut bytes, 0)?;
            let whole = SegmentHeader::decode(&bytes);
            let header = whole.or_else(|| SegmentHeader::repaired(bytes));
            if let Some(header) = header.filter(|header| header.store_id == store_id) {
                let damaged = whole.is_none();
                found.push(Found { name, header, damaged, file_bytes });
            }
        }
        Ok(found)
    }

    /// A file that may become the first segment of a new log: one of the right length that replay
    /// did not enter, `entered` being the lives that it did, or one that was made and never used.
    /// What such a file may hold is told apart by its life, like all that was recycled.
    pub fn unneeded(
        storage: &dyn Storage,
        store_id: u64,
        segment_bytes: u64,
        entered: &[u64],
    ) -> Result<Option<(String, Arc<dyn StorageFile>)>> {
        for name in names(storage)? {
            let file = storage.open(&name)?;
            if file.len()? != segment_bytes {
                continue;
            }
            let mut bytes = [0; HEADER_BYTES];
            file.read_at(&mut bytes, 0)?;
            let header = SegmentHeader::decode(&bytes);
            if header.is_none() && SegmentHeader::repaired(bytes).is_some() {
                // It is damaged: whoever looks for what was lost may want it.
                continue;
            }
            let Some(SegmentHeader { store_id: owner, life, .. }) = header else {
                // It was made, and its zeros may never have come to the device.
                zero(&*file, segment_bytes)?;
                return Ok(Some((name, file)));
            };
            if owner == store_id && !entered.contains(&life) {
                return Ok(Some((name, file)));
            }
        }
        Ok(None)
    }

    /// Opens the segment for reading, after checking that it is whole.
    pub fn open(&self, storage: &dyn Storage) -> Result<Window> {
        let bytes = self.header.segment_bytes;
        let reason = if self.damaged {
            "its header has a flipped bit".to_owned()
        } else if !(SEGMENT_BYTES_MIN..=SEGMENT_BYTES_MAX).contains(&bytes) {
            format!("its header claims {bytes} bytes")
        } else if self.file_bytes < bytes {
            format!("{} of {bytes} bytes are there", self.file_bytes)
        } else {
            return Ok(Window::new(storage.open(&self.name)?, bytes));
        };
        Err(Error::corrupt(&self.name, reason))
    }

    /// Opens what is there of the segment, whatever its state.
    pub fn open_remains(&self, storage: &dyn Storage) -> Result<Window> {
        Ok(Window::new(storage.open(&self.name)?, self.file_bytes))
    }
}

/// Refuses segments of another store: one of the two, log or page file, was put beside the other by
/// mistake, and what it says would be lost without a word.
///
/// # Errors
/// [`Error::Corrupt`] naming the first such file.
pub fn expect_own(storage: &dyn Storage, store_id: u64) -> Result<()> {
    for name in names(storage)? {
        let file = storage.open(&name)?;
        if file.len()? < SECTOR_BYTES {
            continue;
        }
        let mut bytes = [0; HEADER_BYTES];
        file.read_at(&mut bytes, 0)?;
        if SegmentHeader::decode(&bytes).is_some_and(|header| header.store_id != store_id) {
            return Err(Error::corrupt(&name, "it belongs to another store than the page file"));
        }
    }
    Ok(())
}

/// The names of all files that may be segments.
pub fn names(storage: &dyn Storage) -> Result<Vec<String>> {
    let mut names = storage.list()?;
    names.retain(|name| name.starts_with(LOG_PREFIX));
    Ok(names)
}

/// A segment's file, read through one buffer that is never longer than the file.
pub struct Window {
    file: Arc<dyn StorageFile>,
    end: u64,
    start: u64,
    bytes: Vec<u8>,
}

impl Window {
    fn new(file: Arc<dyn StorageFile>, end: u64) -> Window {
        Window { file, end, start: 0, bytes: Vec::new() }
    }

    /// The `len` bytes at `offset`; `None` if they do not lie within the segment.
    pub fn get(&mut self, offset: u64, len: usize) -> Result<Option<&[u8]>> {
        let Some(end) = offset.checked_add(len as u64).filter(|&end| end <= self.end) else {
            return Ok(None);
        };
        if offset < self.start || end > self.start + self.bytes.len() as u64 {
            let wanted = (len.max(CHUNK_BYTES) as u64).min(self.end - offset);
            // Cleared first: a failed read must not leave bytes that belong elsewhere.
            self.bytes.clear();
            let mut bytes = std::mem::take(&mut self.bytes);
            bytes.resize(wanted as usize, 0);
            self.file.read_at(&mut bytes, offset)?;
            (self.start, self.bytes) = (offset, bytes);
        }
        let from = (offset - self.start) as usize;
        Ok(Some(&self.bytes[from..from + len]))
    }

    /// From `offset` on as much as one read brings, at least `len` bytes; `None` if they do not
    /// lie within the segment.
    pub fn get_ahead(&mut self, offset: u64, len: usize) -> Result<Option<&[u8]>> {
        if self.get(offset, len)?.is_none() {
            return Ok(None);
        }
        let from = (offset - self.start) as usize;
        Ok(Some(&self.bytes[from..]))
    }
}
