//! The laws of pages, held against plain vectors, for every page size and shape of key.

mod branch;
mod damage;
mod delta;
mod leaf;
mod records;
mod search;

use super::{
    Child, PageId, Run,
    cell::{NewKey, NewValue, key_inline_max, value_inline_max},
};
use crate::{error::Result, publish::Version};

const SIZES: [usize; 4] = [4096, 8192, 16384, 32768];

/// Repeatable randomness (xorshift64*).
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_F491_4F6C_DD1D)
    }

    fn below(&mut self, end: usize) -> usize {
        (self.next() >> 16) as usize % end
    }

    fn bytes(&mut self, len: usize) -> Vec<u8> {
        (0..len).map(|_| self.next() as u8).collect()
    }
}

/// The shapes of keys; each stresses another part of the layout.
#[derive(Clone, Copy, Debug)]
enum Shape {
    Random,
    Integers,
    ZerosAndOnes,
    LongPrefix,
    NestedPrefixes,
    Maximal,
    Overflow,
    /// Long keys that share more than the start of a key in a run, among such keys.
    LongAndOverflow,
    Mixed,
}

const SHAPES: [Shape; 9] = [
    Shape::Random,
    Shape::Integers,
    Shape::ZerosAndOnes,
    Shape::LongPrefix,
    Shape::NestedPrefixes,
    Shape::Maximal,
    Shape::Overflow,
    Shape::LongAndOverflow,
    Shape::Mixed,
];

impl Shape {
    fn key(self, random: &mut Random, page_bytes: usize) -> Vec<u8> {
        let max = key_inline_max(page_bytes);
        match self {
            Shape::Random => {
                let len = random.below(24);
                random.bytes(len)
            }
            Shape::Integers => (random.next() >> 48).to_be_bytes().to_vec(),
            Shape::ZerosAndOnes => {
                let len = random.below(12);
                (0..len).map(|_| [0, 0xFF, 1][random.below(3)]).collect()
            }
            Shape::LongPrefix => {
                let mut key = vec![b'p'; 200];
                key.extend((random.next() as u16).to_be_bytes());
                key
            }
            Shape::NestedPrefixes => {
                let parts: [&[u8]; 4] = [b"https://www.example.org/", b"a/", b"\0\0\0\0\0", b"zz"];
                let len = random.below(9);
                (0..len).flat_map(|_| parts[random.below(4)].to_vec()).collect()
            }
            Shape::Maximal => {
                let mut key = vec![[0, 7, 0xFF][random.below(3)]; max - random.below(2)];
                let at = [0, 3, 40, max - 4][random.below(4)];
                key[at] = random.next() as u8;
                key
            }
            Shape::Overflow => {
                // Few starts, so that only the run tells many apart.
                let mut key = vec![[0, 7][random.below(2)]; max + 1 + random.below(3)];
                let at = [3, 259, 260, max][random.below(4)];
                key[at] = random.below(8) as u8;
                key
            }
            Shape::LongAndOverflow => {
                let mut key = vec![b'p'; 500];
                key.extend((random.next() as u16).to_be_bytes());
                let long = random.below(20) == 0;
                key.resize(if long { max + 9 } else { 502 }, 1);
                key
            }
            Shape::Mixed => SHAPES[random.below(8)].key(random, page_bytes),
        }
    }

    fn value(random: &mut Random, page_bytes: usize, key_len: usize) -> Vec<u8> {
        let max = value_inline_max(page_bytes, key_len);
        let len = match random.below(12) {
            0 => 0,
            1 => max,
            2 => max + 1 + random.below(1000),
            3 => 250 + random.below(8),
            4 => random.below(max + 1),
            _ => random.below(100),
        };
        random.bytes(len.max(1))
    }
}

/// Where the tests keep what does not go into a page.
#[derive(Default)]
struct Runs(Vec<Vec<u8>>);

impl Runs {
    fn add(&mut self, content: &[u8]) -> Run {
        self.0.push(content.to_vec());
        let page = PageId(self.0.len() as u32 + 1);
        let first = Child { page, birth: 9 };
        let len = content.len() as u32;
        Run { first, len }
    }

    fn get(&self, run: Run) -> Result<&[u8]> {
        let content = self.0.get((run.first.page.0 as usize).wrapping_sub(2));
        content.map(Vec::as_slice).ok_or(crate::error::Error::Closed)
    }

    fn key<'a>(&mut self, page_bytes: usize, key: &'a [u8]) -> NewKey<'a> {
        if key.len() > key_inline_max(page_bytes) {
            NewKey::Run(self.add(key), key)
        } else {
            NewKey::Inline(key)
        }
    }

    fn value<'a>(&mut self, page_bytes: usize, key_len: usize, value: &'a [u8]) -> NewValue<'a> {
        if value.len() > value_inline_max(page_bytes, key_len) {
            NewValue::Run(self.add(value))
        } else {
            NewValue::Inline(value)
        }
    }
}

/// An empty page.
fn page(page_bytes: usize, kind: super::Kind) -> Vec<u8> {
    let mut page = vec![0xAA; page_bytes];
    let level = u8::from(kind == super::Kind::Branch);
    super::init(&mut page, PageId(7), Version(1 << 40 | 5), 3, kind, level);
    page
}
