//! The bytes of a simulated file, shared between images until they differ.
//! Owns: [`Content`] and its hash, which is kept up to date chunk by chunk: two contents of the
//! same bytes have the same hash, by whatever way they came about.

use crate::sync::PlainArc;

/// The unit that a disk writes whole or not at all.
pub const SECTOR_BYTES: u64 = 512;
/// What an image copies when it differs from another in one byte.
const CHUNK_BYTES: usize = 4096;

/// Odd constants without a pattern (the hexadecimal digits of pi).
const PI: [u64; 4] =
    [0x243F_6A88_85A3_08D3, 0x1319_8A2E_0370_7345, 0xA409_3822_299F_31D1, 0x082E_FA98_EC4E_6C89];

/// A file's bytes. A chunk of zeros is `None` and adds nothing to the sum, so growth costs no
/// memory.
#[derive(Clone, Default)]
pub struct Content {
    len: u64,
    chunks: Vec<Option<PlainArc<Chunk>>>,
    /// The sum of what each chunk at its place contributes.
    sum: u128,
}

#[derive(Clone)]
struct Chunk {
    bytes: [u8; CHUNK_BYTES],
    hash: u128,
}

impl Content {
    /// The length in bytes.
    pub fn len(&self) -> u64 {
        self.len
    }

    /// A hash of length and bytes.
    pub fn hash(&self) -> u128 {
        mix(self.sum, self.len)
    }

    /// Whether `len` bytes at `offset` lie within the length.
    pub fn holds(&self, offset: u64, len: usize) -> bool {
        let end = offset.checked_add(len as u64);
        end.is_some_and(|end| end <= self.len)
    }

    /// Fills `bytes` from `offset`; the caller has asked [`holds`](Self::holds).
    pub fn read(&self, bytes: &mut [u8], offset: u64) {
        for piece in pieces(offset, bytes.len()) {
            let to = &mut bytes[piece.done..piece.done + piece.len];
            match &self.chunks[piece.chunk] {
                Some(chunk) => {
                    to.copy_from_slice(&chunk.bytes[piece.within..piece.within + piece.len]);
                }
                None => to.fill(0),
            }
        }
    }

    /// Writes `bytes` at `offset`. What lies beyond the length is lost: a file whose growth did not
    /// reach the disk does not show what was written there.
    pub fn write(&mut self, bytes: &[u8], offset: u64) {
        let room = self.len.saturating_sub(offset).min(bytes.len() as u64);
        for piece in pieces(offset, room as usize) {
            let from = &bytes[piece.done..piece.done + piece.len];
            self.change(piece.chunk, |chunk| {
                chunk[piece.within..piece.within + piece.len].copy_from_slice(from);
            });
        }
    }

    /// Lengthens the content to at least `len` bytes with zeros.
    pub fn grow(&mut self, len: u64) {
        if len > self.len {
            self.len = len;
            let chunks = len.div_ceil(CHUNK_BYTES as u64);
            self.chunks.resize(chunks as usize, None);
        }
    }

    /// Cuts the content to at most `len` bytes.
    pub fn cut(&mut self, len: u64) {
        if len >= self.len {
            return;
        }
        let within = (len % CHUNK_BYTES as u64) as usize;
        let chunks = len.div_ceil(CHUNK_BYTES as u64) as usize;
        for index in chunks..self.chunks.len() {
            self.change(index, |chunk| chunk.fill(0));
        }
        if within > 0 {
            self.change(chunks - 1, |chunk| chunk[within..].fill(0));
        }
        self.chunks.truncate(chunks);
        self.len = len;
    }

    /// Changes one chunk, and the sum with it.
    fn change(&mut self, index: usize, change: impl FnOnce(&mut [u8; CHUNK_BYTES])) {
        let place = &mut self.chunks[index];
        if let Some(chunk) = place {
            self.sum = self.sum.wrapping_sub(mix(chunk.hash, index as u64));
        }
        let chunk = place.get_or_insert_with(|| {
            let bytes = [0; CHUNK_BYTES];
            PlainArc::new(Chunk { bytes, hash: 0 })
        });
        let changed = PlainArc::make_mut(chunk);
        change(&mut changed.bytes);
        if changed.bytes.iter().all(|byte| *byte == 0) {
            *place = None;
            return;
        }
        changed.hash = hash(&changed.bytes);
        self.sum = self.sum.wrapping_add(mix(changed.hash, index as u64));
    }
}

struct Piece {
    /// How many bytes came before.
    done: usize,
    chunk: usize,
    within: usize,
    len: usize,
}

/// Cuts `len` bytes at `offset` at the borders of chunks.
fn pieces(offset: u64, len: usize) -> impl Iterator<Item = Piece> {
    let mut done = 0;
    std::iter::from_fn(move || {
        if done == len {
            return None;
        }
        let place = offset + done as u64;
        let within = (place % CHUNK_BYTES as u64) as usize;
        let piece = Piece {
            done,
            chunk: (place / CHUNK_BYTES as u64) as usize,
            within,
            len: (CHUNK_BYTES - within).min(len - done),
        };
        done += piece.len;
        Some(piece)
    })
}

/// Both halves of the full product: a multiplication spreads every bit, as in wyhash.
fn fold(a: u64, b: u64) -> u64 {
    let product = u128::from(a) * u128::from(b);
    product as u64 ^ (product >> 64) as u64
}

/// A hash of `hash` at the place `salt`.
pub fn mix(hash: u128, salt: u64) -> u128 {
    let (low, high) = (hash as u64, (hash >> 64) as u64);
    let place = fold(salt ^ PI[0], PI[1]);
    let left = fold(low ^ place, high ^ PI[2]);
    let right = fold(high ^ place.rotate_left(32), low ^ PI[3]);
    u128::from(left) << 64 | u128::from(right)
}

/// A 128-bit hash of any bytes. Not against an adversary.
pub fn hash(bytes: &[u8]) -> u128 {
    let (words, rest) = bytes.as_chunks::<16>();
    let mut last = [0; 16];
    last[..rest.len()].copy_from_slice(rest);
    let (mut left, mut right) = (PI[0] ^ bytes.len() as u64, PI[1]);
    for word in words.iter().chain([&last]) {
        let word = u128::from_le_bytes(*word);
        let (low, high) = (word as u64, (word >> 64) as u64);
        left = fold(left ^ low, high ^ PI[2]);
        right = fold(right ^ high, low ^ PI[3]);
    }
    u128::from(left) << 64 | u128::from(right)
}
