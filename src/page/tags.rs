//! Tags: one byte of hash for each key of a leaf, so that a point get compares one key, not
//! several.
//! Owns: the hash, which is part of the file format, and the comparison.

use super::lanes::equal_bits;

pub use super::lanes::TAGS_AT_ONCE;

/// An odd number without pattern (the golden ratio's bits).
const MULTIPLIER: u64 = 0x9E37_79B9_7F4A_7C15;

/// Multiplies to 128 bits and folds, so that every bit of the input reaches the top (as in wyhash).
#[inline]
fn fold(word: u64) -> u64 {
    let product = u128::from(word) * u128::from(MULTIPLIER);
    product as u64 ^ (product >> 64) as u64
}

/// The tag of a key.
#[inline]
pub fn tag(key: &[u8]) -> u8 {
    let mut hash = (key.len() as u64).wrapping_mul(MULTIPLIER);
    let (words, rest) = key.as_chunks();
    for &word in words {
        hash = fold(hash ^ u64::from_le_bytes(word));
    }
    if !rest.is_empty() {
        // The last eight bytes, some of them again, cost one load; shorter keys go byte by byte.
        let last = match key.last_chunk() {
            Some(&last) => u64::from_le_bytes(last),
            None => rest.iter().fold(0, |word, &byte| word << 8 | u64::from(byte)),
        };
        hash = fold(hash ^ last);
    }
    (hash >> 56) as u8
}

/// One bit for each of [`TAGS_AT_ONCE`] tags at `start`, the lowest for the first: whether it is
/// `tag`. The bytes behind the last tag belong to other arrays; their bits mean nothing.
///
/// All are compared without a branch: the tags are the first bytes that a get waits for, and a
/// branch on them that is mispredicted keeps the CPU from going on to the next get meanwhile.
#[inline]
pub fn matches(page: &[u8], start: usize, tag: u8) -> u64 {
    let tags = page.get(start..start + TAGS_AT_ONCE).and_then(<[u8]>::first_chunk);
    tags.map_or(0, |tags| equal_bits(tags, tag))
}
