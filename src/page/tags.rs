//! Tags: one byte of hash for each key of a leaf, so that a point get compares one key, not
//! several.
//! Owns: the hash, which is part of the file format, and the scan.

use super::lanes::{TAGS_AT_ONCE, equal_bits};

/// An odd number without pattern (the golden ratio's bits).
const MULTIPLIER: u64 = 0x9E37_79B9_7F4A_7C15;
/// How many tags a scan compares at once, without a branch: the tags are the first bytes that a get
/// waits for, and a branch on them that is mispredicted keeps the CPU from going on to the next get
/// meanwhile.
const GROUP: usize = TAGS_AT_ONCE;

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

/// The indexes at which a page's tags equal one.
pub struct Matches<'p> {
    /// The tags that were not compared yet, and what follows them.
    groups: &'p [[u8; GROUP]],
    /// How many tags there are from the first of the last group on that was compared.
    left: usize,
    tag: u8,
    /// The index of the first tag of that group.
    base: usize,
    /// One bit for each match left in it.
    hits: u64,
}

impl<'p> Matches<'p> {
    /// The matches of `tag` among the `count` tags at `start`.
    #[inline]
    pub fn new(page: &'p [u8], start: usize, count: usize, tag: u8) -> Matches<'p> {
        let groups = page.get(start..).unwrap_or(&[]).as_chunks().0;
        let mut matches = Matches { groups, left: count, tag, base: 0, hits: 0 };
        matches.compare();
        matches
    }

    /// Compares the next group. The bytes behind the last tag belong to other arrays: their bits
    /// are cut off.
    #[inline]
    fn compare(&mut self) {
        let Some((group, rest)) = self.groups.split_first() else {
            self.left = 0;
            return;
        };
        self.groups = rest;
        let in_use = u64::MAX.checked_shr(GROUP.saturating_sub(self.left) as u32);
        self.hits = equal_bits(group, self.tag) & in_use.unwrap_or(0);
    }
}

impl Iterator for Matches<'_> {
    type Item = usize;

    #[inline]
    fn next(&mut self) -> Option<usize> {
        while self.hits == 0 {
            if self.left <= GROUP {
                return None;
            }
            self.left -= GROUP;
            self.base += GROUP;
            self.compare();
        }
        let i = self.base + self.hits.trailing_zeros() as usize;
        self.hits &= self.hits - 1;
        Some(i)
    }
}
