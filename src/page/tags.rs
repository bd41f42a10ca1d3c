//! Tags: one byte of hash for each key of a leaf, so that a point get compares one key, not
//! several.
//! Owns: the hash, which is part of the file format, and the scan.

/// An odd number without pattern (the golden ratio's bits).
const MULTIPLIER: u64 = 0x9E37_79B9_7F4A_7C15;
/// How many tags a scan compares at once.
const GROUP: usize = 16;

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
    /// The tags, and what follows them up to a multiple of the group.
    groups: &'p [[u8; GROUP]],
    count: usize,
    tag: u8,
    /// The index of the first tag of `groups`.
    base: usize,
    /// One byte of 0x80 for each match left in the group before `base`.
    hits: u128,
}

impl<'p> Matches<'p> {
    /// The matches of `tag` among the `count` tags at `start`.
    #[inline]
    pub fn new(page: &'p [u8], start: usize, count: usize, tag: u8) -> Matches<'p> {
        // The bytes behind the last tag belong to other arrays; `next` cuts their matches off.
        let end = start + count.next_multiple_of(GROUP);
        let (groups, _) = page.get(start..end).unwrap_or(&[]).as_chunks();
        let (base, hits) = (0, 0);
        Matches { groups, count, tag, base, hits }
    }
}

impl Iterator for Matches<'_> {
    type Item = usize;

    #[inline]
    fn next(&mut self) -> Option<usize> {
        while self.hits == 0 {
            let (group, rest) = self.groups.split_first()?;
            self.groups = rest;
            self.base += GROUP;
            // Compiled to one vector comparison; most groups hold no match.
            let equal = group.iter().map(|&tag| u8::from(tag == self.tag));
            if equal.fold(0, |any, equal| any | equal) != 0 {
                self.hits = hits(*group, self.tag);
            }
        }
        let i = self.base - GROUP + self.hits.trailing_zeros() as usize / 8;
        self.hits &= self.hits - 1;
        (i < self.count).then_some(i)
    }
}

/// 0x80 in the bytes where `group` equals `tag`: exact, with no carry from byte to byte.
fn hits(group: [u8; GROUP], tag: u8) -> u128 {
    const LOW: u128 = u128::from_le_bytes([0x7F; GROUP]);
    let zero_where_equal = u128::from_le_bytes(group) ^ u128::from_le_bytes([tag; GROUP]);
    !(((zero_where_equal & LOW) + LOW) | zero_where_equal | LOW)
}
