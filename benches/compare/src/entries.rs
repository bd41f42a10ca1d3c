//! Data set A: 24-byte random keys, 150-byte random values, each computed from its number, so that
//! no peer is measured while its keys are read from elsewhere.

/// The length of every key.
pub const KEY_BYTES: usize = 24;
/// The length of every value.
pub const VALUE_BYTES: usize = 150;

/// A key.
pub type Key = [u8; KEY_BYTES];
/// A value.
pub type Value = [u8; VALUE_BYTES];

/// A word without pattern for each number (splitmix64).
#[inline]
pub fn mix(number: u64) -> u64 {
    let mut word = number.wrapping_mul(0x9E37_79B9_7F4A_7C15).wrapping_add(0x1234_5678_9ABC_DEF1);
    word = (word ^ (word >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    word = (word ^ (word >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    word ^ (word >> 31)
}

/// Key number `i`.
#[inline]
pub fn key(i: u64) -> Key {
    let mut key = [0; KEY_BYTES];
    for (part, chunk) in (0..).zip(key.as_chunks_mut::<8>().0) {
        *chunk = mix(i * 4 + part).to_le_bytes();
    }
    key
}

/// Value number `i`.
#[inline]
pub fn value(i: u64) -> Value {
    let mut value = [0; VALUE_BYTES];
    for (part, chunk) in (0..).zip(value.chunks_mut(8)) {
        chunk.copy_from_slice(&mix((i << 8 | part) ^ (1 << 63)).to_le_bytes()[..chunk.len()]);
    }
    value
}

/// Which entry a dependent get asks for next, given what it has just read.
#[inline]
pub fn next(value: &[u8], step: u64, entries: u64) -> u64 {
    let word = value.first_chunk().map_or(0, |word| u64::from_le_bytes(*word));
    mix(word ^ step) % entries
}

/// A stream of random numbers.
pub struct Random(u64);

impl Random {
    /// The stream of a seed.
    pub fn new(seed: u64) -> Random {
        Random(mix(seed) << 20)
    }

    /// The next number below `end`.
    pub fn below(&mut self, end: u64) -> u64 {
        self.0 += 1;
        mix(self.0) % end
    }

    /// `count` keys among the first `entries`.
    pub fn keys(&mut self, count: usize, entries: u64) -> Vec<Key> {
        (0..count).map(|_| key(self.below(entries))).collect()
    }

    /// Changes the order of things.
    pub fn shuffle<T>(&mut self, things: &mut [T]) {
        for i in (1..things.len()).rev() {
            things.swap(i, self.below(i as u64 + 1) as usize);
        }
    }
}
