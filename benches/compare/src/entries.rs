//! The data sets: keys and values, each computed from its number, so that no peer is measured while
//! its keys are read from elsewhere; and the streams of random numbers that choose among them.

use std::{fmt, ops::Deref};

/// Where the numbers of entries begin that no load holds.
pub const NEW: u64 = 1 << 27;

/// Bytes of bounded length, in place.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Bytes<const MAX: usize> {
    len: usize,
    bytes: [u8; MAX],
}

/// A key.
pub type Key = Bytes<88>;
/// A value.
pub type Value = Bytes<152>;

impl<const MAX: usize> Bytes<MAX> {
    #[inline]
    fn of_words(len: usize, word: impl Fn(u64) -> u64) -> Bytes<MAX> {
        let mut bytes = [0; MAX];
        for (part, chunk) in (0..).zip(bytes[..len].chunks_mut(8)) {
            chunk.copy_from_slice(&word(part).to_le_bytes()[..chunk.len()]);
        }
        Bytes { len, bytes }
    }

    #[inline]
    fn push(&mut self, part: &[u8]) {
        self.bytes[self.len..self.len + part.len()].copy_from_slice(part);
        self.len += part.len();
    }

    /// Adds the last `digits` digits of a number, in hexadecimal.
    #[inline]
    fn push_digits(&mut self, number: u64, digits: u32) {
        for digit in (0..digits).rev() {
            self.push(&[b"0123456789abcdef"[(number >> (digit * 4) & 15) as usize]]);
        }
    }
}

impl<const MAX: usize> Deref for Bytes<MAX> {
    type Target = [u8];

    #[inline]
    fn deref(&self) -> &[u8] {
        &self.bytes[..self.len]
    }
}

impl<const MAX: usize> AsRef<[u8]> for Bytes<MAX> {
    #[inline]
    fn as_ref(&self) -> &[u8] {
        self
    }
}

/// A set of entries; the numbers below [`NEW`] are for loads, those above it for what comes later.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Data {
    /// 24-byte random keys, 150-byte random values: redb's benchmark.
    A,
    /// 8-byte big-endian integers with gaps between them, values of 8 to 100 bytes.
    B,
    /// URL-like keys of 83 bytes with long nested shared prefixes, 100-byte values.
    C,
}

impl Data {
    /// The set of a name.
    pub fn named(name: &str) -> Option<Data> {
        match name {
            "a" => Some(Data::A),
            "b" => Some(Data::B),
            "c" => Some(Data::C),
            _ => None,
        }
    }

    /// The name of a set, as an argument has it.
    pub fn name(self) -> &'static str {
        match self {
            Data::A => "a",
            Data::B => "b",
            Data::C => "c",
        }
    }

    /// Key number `i`; no two numbers below `2 * NEW` have the same one, and their order is random.
    #[inline]
    pub fn key(self, i: u64) -> Key {
        match self {
            Data::A => Key::of_words(24, |part| mix(i * 4 + part)),
            Data::B => {
                let mut key = Key { len: 0, bytes: [0; _] };
                key.push(&scatter(i).to_be_bytes());
                key
            }
            Data::C => {
                let word = mix(i);
                let mut key = Key { len: 0, bytes: [0; _] };
                key.push(b"https://www.example-");
                key.push_digits(word & 31, 2);
                key.push(b".org/articles/by-category/");
                key.push_digits(word >> 5 & 63, 2);
                key.push(b"/volume-");
                key.push_digits(word >> 11 & 255, 3);
                key.push(b"/item-");
                key.push_digits(word, 16);
                key
            }
        }
    }

    /// Value number `i`.
    #[inline]
    pub fn value(self, i: u64) -> Value {
        let len = match self {
            Data::A => 150,
            Data::B => 8 + (mix(i) % 93) as usize,
            Data::C => 100,
        };
        Value::of_words(len, |part| mix((i << 8 | part) ^ (1 << 63)))
    }

    /// Entry number `i`.
    #[inline]
    pub fn entry(self, i: u64) -> (Key, Value) {
        (self.key(i), self.value(i))
    }

    /// The numbers below `count` in the order of their keys.
    pub fn sorted(self, count: u64) -> Vec<u64> {
        let mut numbers: Vec<u64> = (0..count).collect();
        numbers.sort_unstable_by(|&a, &b| self.key(a).as_ref().cmp(self.key(b).as_ref()));
        numbers
    }

    /// The bytes of the key and the value of an entry, on average.
    pub fn mean_bytes(self) -> f64 {
        const SOME: u64 = 10_000;
        self.bytes_of(0..SOME) as f64 / SOME as f64
    }

    /// The bytes of the keys and values of some entries.
    pub fn bytes_of(self, numbers: impl Iterator<Item = u64>) -> u64 {
        numbers.map(|i| (self.key(i).len() + self.value(i).len()) as u64).sum()
    }
}

impl fmt::Display for Data {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Data::A => "A",
            Data::B => "B",
            Data::C => "C",
        })
    }
}

/// A word without pattern for each number (splitmix64); no two numbers have the same.
#[inline]
pub fn mix(number: u64) -> u64 {
    let mut word = number.wrapping_mul(0x9E37_79B9_7F4A_7C15).wrapping_add(0x1234_5678_9ABC_DEF1);
    word = (word ^ (word >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    word = (word ^ (word >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    word ^ (word >> 31)
}

/// As [`mix`], among the numbers below `2 * NEW`: of 10 million, each 27th is taken on the average.
#[inline]
fn scatter(number: u64) -> u64 {
    const MASK: u64 = 2 * NEW - 1;
    let mut word = number.wrapping_mul(0x9E37_79B1) & MASK;
    word = (word ^ (word >> 14)).wrapping_mul(0x85EB_CA6B) & MASK;
    word = (word ^ (word >> 13)).wrapping_mul(0xC2B2_AE35) & MASK;
    word ^ (word >> 14)
}

/// Which entry a dependent get asks for next, given what it has just read.
#[inline]
pub fn next(value: &[u8], step: u64, entries: u64) -> u64 {
    let word = value.first_chunk().map_or(0, |word| u64::from_le_bytes(*word));
    mix(word ^ step) % entries
}

/// Keys one behind the other, as short as they are.
pub struct Keys {
    bytes: Vec<u8>,
    ends: Vec<usize>,
}

impl Keys {
    /// The keys of some numbers.
    pub fn of(data: Data, numbers: impl Iterator<Item = u64>) -> Keys {
        let mut keys = Keys { bytes: Vec::new(), ends: Vec::new() };
        for i in numbers {
            keys.bytes.extend_from_slice(&data.key(i));
            keys.ends.push(keys.bytes.len());
        }
        keys
    }

    /// Each of them.
    pub fn slices(&self) -> Vec<&[u8]> {
        let starts = [0].into_iter().chain(self.ends.iter().copied());
        starts.zip(&self.ends).map(|(start, &end)| &self.bytes[start..end]).collect()
    }
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

    /// The next number from 0 to 1, 1 excluded.
    pub fn unit(&mut self) -> f64 {
        self.below(1 << 53) as f64 / (1_u64 << 53) as f64
    }

    /// `count` keys among the first `entries`.
    pub fn keys(&mut self, data: Data, count: usize, entries: u64) -> Keys {
        Keys::of(data, (0..count).map(|_| self.below(entries)))
    }

    /// Changes the order of things.
    pub fn shuffle<T>(&mut self, things: &mut [T]) {
        for i in (1..things.len()).rev() {
            things.swap(i, self.below(i as u64 + 1) as usize);
        }
    }
}

/// A Zipf distribution as YCSB has it (Gray et al., Quickly generating billion-record synthetic
/// databases, 1994), with its usual skew of 0.99.
#[derive(Clone, Copy)]
pub struct Zipf {
    count: u64,
    zeta: f64,
    eta: f64,
}

const THETA: f64 = 0.99;

impl Zipf {
    /// The distribution over so many ranks. Cost: a sum over all of them.
    pub fn new(count: u64) -> Zipf {
        let sum = |count: u64| (1..=count).map(|rank| (rank as f64).powf(-THETA)).sum::<f64>();
        let zeta = sum(count);
        let eta = (1.0 - (2.0 / count as f64).powf(1.0 - THETA)) / (1.0 - sum(2) / zeta);
        Zipf { count, zeta, eta }
    }

    /// A rank: 0 comes most often.
    pub fn rank(&self, random: &mut Random) -> u64 {
        let unit = random.unit();
        let scaled = unit * self.zeta;
        if scaled < 1.0 {
            return 0;
        }
        if scaled < 1.0 + 0.5_f64.powf(THETA) {
            return 1;
        }
        let base = self.eta * unit - self.eta + 1.0;
        ((self.count as f64 * base.powf(1.0 / (1.0 - THETA))) as u64).min(self.count - 1)
    }

    /// A number below the count whose popularity has nothing to do with its neighbours'.
    pub fn scrambled(&self, random: &mut Random) -> u64 {
        mix(self.rank(random)) % self.count
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn keys_differ_and_sort_as_said() {
        for data in [Data::A, Data::B, Data::C] {
            let numbers = (0..50_000).chain(NEW..NEW + 50_000);
            let keys: HashSet<Vec<u8>> = numbers.map(|i| data.key(i).to_vec()).collect();
            assert_eq!(keys.len(), 100_000, "{data}");
            let sorted = data.sorted(50_000);
            assert!(sorted.is_sorted_by(|&a, &b| data.key(a)[..] < data.key(b)[..]), "{data}");
            assert_eq!(sorted.len(), 50_000);
        }
        assert_eq!((Data::C.key(7).len(), Data::B.key(7).len(), Data::A.key(7).len()), (83, 8, 24));
        let lens: HashSet<usize> = (0..10_000).map(|i| Data::B.value(i).len()).collect();
        assert_eq!((lens.iter().min(), lens.iter().max()), (Some(&8), Some(&100)));
    }

    #[test]
    fn packed_keys_are_the_keys() {
        let keys = Keys::of(Data::C, 3..6);
        let expected: Vec<Key> = (3..6).map(|i| Data::C.key(i)).collect();
        assert_eq!(keys.slices(), expected.iter().map(|key| &key[..]).collect::<Vec<_>>());
    }

    /// Rank r of n has the share (r + 1)^-theta / zeta(n).
    #[test]
    fn a_zipf_distribution_has_its_shares() {
        const DRAWS: usize = 1_000_000;
        let (zipf, mut random) = (Zipf::new(1000), Random::new(1));
        let mut seen = vec![0_u32; 1000];
        for _ in 0..DRAWS {
            seen[zipf.rank(&mut random) as usize] += 1;
        }
        let share = |ranks: &[u32]| f64::from(ranks.iter().sum::<u32>()) / DRAWS as f64;
        let zeta = |count: u32| (1..=count).map(|r| f64::from(r).powf(-THETA)).sum::<f64>();
        for first in [1, 2, 10, 100, 1000] {
            let (found, expected) = (share(&seen[..first]), zeta(first as u32) / zeta(1000));
            assert!((found - expected).abs() < 0.02, "{first}: {found} for {expected}");
        }
    }
}
