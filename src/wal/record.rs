//! One record on disk: a header, then the operations of a group.
//! Owns: the header's layout, the chain of checksums, and the judgement of a single flipped bit.
//! The header's checksum is seeded with the segment's life and the record's offset, and covers the
//! checksum of the record before it (`CHAIN`), the versions, and the checksum of the body. So:
//! - what a recycled segment held, and what an earlier recovery dropped, never counts again;
//! - a header is proof by itself that this log wrote it there, which is how replay finds that a
//!   later record names damaged ones as synced without knowing how long the damage is.
//!
//! A record is padded to whole 8-byte words and masked: each word is mixed with one that depends on
//! life and offset. Else what a power cut leaves of a record could differ from the record in a
//! single bit (a lost sector held one byte of it, a 1; or a recycled segment held nearly the same
//! there), and would be taken for a flipped bit. Masked, it differs in about half of its bits.
//!
//! Keeps I9. Absent on purpose: where a record lies (segment, replay), what operations mean (op).

use super::segment::SEGMENT_BYTES_MAX;
use crate::publish::Version;
use std::ops::Range;

/// The header's checksum, and the value that the next record continues.
const CHECKSUM: Range<usize> = 0..4;
/// The checksum of the record before, or what the segment's header continues.
const CHAIN: Range<usize> = 4..8;
/// The CRC-32C of the body.
const BODY_CHECKSUM: Range<usize> = 8..12;
/// The wrapping sum of the body's little-endian 4-byte words. With the CRC alone, 1 of 32 torn
/// records of 16 MiB would look like a single flipped bit; with both, none does.
const BODY_SUM: Range<usize> = 12..16;
/// The body's length in bytes.
const BODY_BYTES: Range<usize> = 16..20;
/// What the body is: [`COMMITS`] or [`SEGMENT_END`].
const KIND: Range<usize> = 20..24;
/// The first version of the group; of an end: the first version of the next segment.
const FIRST: Range<usize> = 24..32;
/// The last version of the group; of an end: the first again.
const LAST: Range<usize> = 32..40;
/// The last version known synced when the record was written.
const SYNCED: Range<usize> = 40..48;

/// The length of a record's header.
pub const HEADER_BYTES: usize = 48;
/// The length of a record of `ops_bytes` of operations, as it is written.
pub fn record_bytes(ops_bytes: usize) -> u64 {
    ((HEADER_BYTES + ops_bytes) as u64).next_multiple_of(ALIGN_BYTES)
}

/// Records begin at multiples of this.
pub const ALIGN_BYTES: u64 = 8;
/// The body of an end: the life of the segment that follows.
pub const END_BODY_BYTES: usize = 8;

/// The body is the operations of a group.
pub const COMMITS: u32 = 1;
/// The segment ends here, synced before anything in the next one counts.
pub const SEGMENT_END: u32 = 2;

/// The word that holds the kind, as its upper half.
const KIND_WORD: usize = KIND.start - 4;

const _: () = assert!(KIND_WORD.is_multiple_of(ALIGN_BYTES as usize));
const _: () =
    assert!(SYNCED.end == HEADER_BYTES && (HEADER_BYTES as u64).is_multiple_of(ALIGN_BYTES));
const _: () = assert!(SEGMENT_BYTES_MAX <= u32::MAX as u64);

/// A record's header, decoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// The header's checksum: the chain value after this record.
    pub checksum: u32,
    /// The chain value before this record.
    pub chain: u32,
    /// The CRC-32C of the body.
    pub body_checksum: u32,
    /// The sum of the body's words.
    pub body_sum: u32,
    /// The body's length.
    pub body_bytes: u32,
    /// [`COMMITS`] or [`SEGMENT_END`].
    pub kind: u32,
    /// The first version.
    pub first: Version,
    /// The last version.
    pub last: Version,
    /// The last version known synced.
    pub synced: Version,
}

impl Header {
    /// Decodes a header that is valid at `offset` of the segment `life`; `None` if it is not.
    pub fn decode(bytes: &[u8], life: u64, offset: u64) -> Option<Header> {
        let mut bytes = *bytes.first_chunk::<HEADER_BYTES>()?;
        // Nearly every place that replay looks at fails here already.
        let kind_mask = mask_word(life, offset + KIND_WORD as u64);
        let kind = word(&bytes, KIND) ^ (kind_mask >> 32) as u32;
        if kind != COMMITS && kind != SEGMENT_END {
            return None;
        }
        mask(&mut bytes, life, offset);
        let bytes = &bytes;
        let checksum = word(bytes, CHECKSUM);
        if checksum != checksum_of(bytes, life, offset) {
            return None;
        }
        Some(Header {
            checksum,
            chain: word(bytes, CHAIN),
            body_checksum: word(bytes, BODY_CHECKSUM),
            body_sum: word(bytes, BODY_SUM),
            body_bytes: word(bytes, BODY_BYTES),
            kind,
            first: Version(long(bytes, FIRST)),
            last: Version(long(bytes, LAST)),
            synced: Version(long(bytes, SYNCED)),
        })
    }

    /// The header that is one flipped bit away from `bytes`, valid at `offset`, and continues
    /// `chain`.
    pub fn repaired(bytes: &[u8], life: u64, offset: u64, chain: u32) -> Option<Header> {
        let mut bytes = *bytes.first_chunk::<HEADER_BYTES>()?;
        for bit in 0..HEADER_BYTES * 8 {
            bytes[bit / 8] ^= 1 << (bit % 8);
            let header = Header::decode(&bytes, life, offset);
            if let Some(header) = header.filter(|header| header.chain == chain) {
                return Some(header);
            }
            bytes[bit / 8] ^= 1 << (bit % 8);
        }
        None
    }

    /// The length of the body with its padding, in bytes.
    pub fn padded_bytes(&self) -> u64 {
        u64::from(self.body_bytes).next_multiple_of(ALIGN_BYTES)
    }

    /// Whether `body`, padding included, is what was written under this header.
    pub fn holds(&self, body: &[u8]) -> bool {
        body.len() as u64 == self.padded_bytes()
            && self.body_checksum == crc32c::crc32c(body)
            && self.body_sum == sum_of(body)
    }

    /// Whether one flipped bit is all that is wrong with `body`, padding included.
    pub fn holds_but_for_one_bit(&self, body: &[u8]) -> bool {
        if body.len() as u64 != self.padded_bytes() {
            return false;
        }
        // A flipped bit changes the sum by a power of two: nearly every torn body ends here.
        let sum_change = sum_of(body).wrapping_sub(self.body_sum);
        if !sum_change.is_power_of_two() && !sum_change.wrapping_neg().is_power_of_two() {
            return false;
        }
        let wanted = crc32c::crc32c(body) ^ self.body_checksum;
        // What a flipped bit does to a CRC depends on its distance from the end alone.
        let mut change = 1u32;
        for distance in 0..body.len() * 8 {
            change = (change >> 1) ^ (CRC32C_POLYNOMIAL * (change & 1));
            if change == wanted {
                let bit = body.len() * 8 - 1 - distance;
                let (set, place) = (body[bit / 8] >> (bit % 8) & 1, 1u32 << (bit % 32));
                let expected = if set == 1 { place } else { place.wrapping_neg() };
                if sum_change == expected {
                    return true;
                }
            }
        }
        false
    }
}

/// The polynomial of CRC-32C, least significant bit first.
const CRC32C_POLYNOMIAL: u32 = 0x82f6_3b78;

/// What a record says about itself when it is written.
#[derive(Clone, Copy, Debug)]
pub struct NewRecord<'a> {
    /// [`COMMITS`] or [`SEGMENT_END`].
    pub kind: u32,
    /// The first version.
    pub first: Version,
    /// The last version.
    pub last: Version,
    /// The last version known synced.
    pub synced: Version,
    /// The body.
    pub body: &'a [u8],
}

impl NewRecord<'_> {
    /// Replaces `out` by the record as it is written at `offset` of the segment `life`, continuing
    /// `chain`; returns the chain value after it.
    pub fn encode(&self, life: u64, offset: u64, chain: u32, out: &mut Vec<u8>) -> u32 {
        out.clear();
        out.reserve(HEADER_BYTES + self.body.len() + ALIGN_BYTES as usize);
        out.resize(HEADER_BYTES, 0);
        out.extend_from_slice(self.body);
        out.resize(out.len().next_multiple_of(ALIGN_BYTES as usize), 0);
        let (header, body) = out.split_at_mut(HEADER_BYTES);
        header[CHAIN].copy_from_slice(&chain.to_le_bytes());
        header[BODY_CHECKSUM].copy_from_slice(&crc32c::crc32c(body).to_le_bytes());
        header[BODY_SUM].copy_from_slice(&sum_of(body).to_le_bytes());
        header[BODY_BYTES].copy_from_slice(&(self.body.len() as u32).to_le_bytes());
        header[KIND].copy_from_slice(&self.kind.to_le_bytes());
        header[FIRST].copy_from_slice(&self.first.0.to_le_bytes());
        header[LAST].copy_from_slice(&self.last.0.to_le_bytes());
        header[SYNCED].copy_from_slice(&self.synced.0.to_le_bytes());
        let checksum = checksum_of(header, life, offset);
        header[CHECKSUM].copy_from_slice(&checksum.to_le_bytes());
        mask(out, life, offset);
        checksum
    }
}

/// Masks or unmasks whole words that stand at `offset` of the segment `life`.
pub fn mask(words: &mut [u8], life: u64, offset: u64) {
    let (words, _) = words.as_chunks_mut::<8>();
    for (word, offset) in words.iter_mut().zip((offset..).step_by(8)) {
        *word = (u64::from_le_bytes(*word) ^ mask_word(life, offset)).to_le_bytes();
    }
}

/// The finalizer of splitmix64 (Steele, Lea, Flood, 2014) over a counter.
fn mask_word(life: u64, offset: u64) -> u64 {
    let x = life.wrapping_add(offset.wrapping_mul(0x9e37_79b9_7f4a_7c15));
    let x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

fn checksum_of(header: &[u8], life: u64, offset: u64) -> u32 {
    let seed = crc32c::crc32c(&life.to_le_bytes());
    let seed = crc32c::crc32c_append(seed, &offset.to_le_bytes());
    crc32c::crc32c_append(seed, &header[CHECKSUM.end..])
}

fn sum_of(body: &[u8]) -> u32 {
    let (words, _) = body.as_chunks::<4>();
    words.iter().fold(0, |sum: u32, word| sum.wrapping_add(u32::from_le_bytes(*word)))
}

fn word(bytes: &[u8; HEADER_BYTES], at: Range<usize>) -> u32 {
    at.rev().fold(0, |word, i| word << 8 | u32::from(bytes[i]))
}

fn long(bytes: &[u8; HEADER_BYTES], at: Range<usize>) -> u64 {
    at.rev().fold(0, |long, i| long << 8 | u64::from(bytes[i]))
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIFE: u64 = 1;
    const OFFSET: u64 = 512;

    fn record(body: &[u8]) -> Vec<u8> {
        let (kind, first, last, synced) = (COMMITS, Version(7), Version(9), Version(6));
        let mut out = Vec::new();
        NewRecord { kind, first, last, synced, body }.encode(LIFE, OFFSET, 3, &mut out);
        out
    }

    fn body(record: &[u8]) -> Vec<u8> {
        let mut body = record[HEADER_BYTES..].to_vec();
        mask(&mut body, LIFE, OFFSET + HEADER_BYTES as u64);
        body
    }

    #[test]
    fn a_header_counts_only_where_it_was_written() {
        let bytes = record(b"body");
        let header = Header::decode(&bytes, LIFE, OFFSET).unwrap();
        assert_eq!((header.first, header.last), (Version(7), Version(9)));
        assert!(header.chain == 3 && header.body_bytes == 4);
        assert!(header.holds(b"body\0\0\0\0") && body(&bytes) == b"body\0\0\0\0");
        assert!(!header.holds(b"body") && !header.holds(b"bodz\0\0\0\0"));
        assert_eq!(Header::decode(&bytes, LIFE + 1, OFFSET), None);
        assert_eq!(Header::decode(&bytes, LIFE, OFFSET + 8), None);
        assert_eq!(Header::decode(&bytes[..47], LIFE, OFFSET), None);
    }

    #[test]
    fn every_single_flipped_bit_is_recognised_and_no_pair_is() {
        let good = record(&(0..67u8).map(|i| i.wrapping_mul(37)).collect::<Vec<_>>());
        let header = Header::decode(&good, LIFE, OFFSET).unwrap();
        let repaired = |bytes: &[u8], chain| Header::repaired(bytes, LIFE, OFFSET, chain);
        assert!(header.holds(&body(&good)) && !header.holds_but_for_one_bit(&body(&good)));
        let (header_bits, bits) = (HEADER_BYTES * 8, good.len() * 8);
        for bit in 0..bits {
            let mut bad = good.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            if bit < header_bits {
                assert_eq!(Header::decode(&bad, LIFE, OFFSET), None);
                assert_eq!(repaired(&bad, 3), Some(header));
                assert_eq!(repaired(&bad, 4), None);
            } else {
                assert!(!header.holds(&body(&bad)) && header.holds_but_for_one_bit(&body(&bad)));
            }
            let other = (bit * 7 + 13) % bits;
            bad[other / 8] ^= 1 << (other % 8);
            if bit.max(other) < header_bits && bit != other {
                assert_eq!(repaired(&bad, 3), None);
            } else if bit.min(other) >= header_bits {
                assert!(!header.holds_but_for_one_bit(&body(&bad)));
            }
        }
    }
}
