//! Tags: one byte of hash for each key of a leaf, so that a point get compares one key, not
//! several.
//! Owns: the hash, which is part of the file format, and the scan.

/// An odd number without pattern (the golden ratio's bits).
const MULTIPLIER: u64 = 0x9E37_79B9_7F4A_7C15;
/// How many tags a scan compares at once.
const GROUP: usize = 32;

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
    hits: u32,
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
        let in_use = u32::MAX.checked_shr(GROUP.saturating_sub(self.left) as u32);
        self.hits = equal(group, self.tag) & in_use.unwrap_or(0);
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

/// One bit for each of `group` that equals `tag`.
///
/// All of a group at once, without a branch: the tags are the first bytes that a get waits for, and
/// a branch on them that is mispredicted keeps the CPU from going on to the next get meanwhile.
#[inline]
fn equal(group: &[u8; GROUP], tag: u8) -> u32 {
    const LOW: u64 = u64::from_le_bytes([0x7F; 8]);
    /// Brings the lowest bit of each byte together in the highest one.
    const GATHER: u64 = 0x0102_0408_1020_4080;
    let (words, _) = group.as_chunks::<8>();
    words.iter().enumerate().fold(0, |hits, (i, &word)| {
        let zero_where_equal = u64::from_le_bytes(word) ^ u64::from_le_bytes([tag; 8]);
        // 0x80 in the bytes that are zero: exact, with no carry from byte to byte.
        let found = !(((zero_where_equal & LOW) + LOW) | zero_where_equal | LOW);
        hits | ((found >> 7).wrapping_mul(GATHER) >> 56 << (8 * i)) as u32
    })
}
