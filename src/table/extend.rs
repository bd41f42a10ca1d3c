//! Many entries on their way into a table: collected, sorted, handed over in key order.
//! Owns: [`Run`]. Absent on purpose: files; a stretch that fills its room goes into the tree at
//! once.

use crate::{
    error::Result,
    pager::prefetch_all,
    txn::{batch::head, raw::WriteRaw},
};

/// The room for one stretch, in bytes of keys, values and what finds them. Each stretch of keys in
/// no order touches most of the tree, so few long ones are better than many short ones.
const RUN_BYTES: usize = if cfg!(test) { 4096 } else { 128 << 20 };

/// How many entries ahead of its turn one is fetched.
const AHEAD: usize = 12;

/// Encoded entries in the order in which they came.
#[derive(Default)]
pub struct Run {
    bytes: Vec<u8>,
    pieces: Vec<Piece>,
    /// An entry came whose key is not greater than the one before it.
    is_mixed: bool,
}

/// Where an entry lies: the key, then the value.
#[derive(Clone, Copy)]
struct Piece {
    /// The first 8 bytes of the key, big-endian: most comparisons end here.
    head: u64,
    at: usize,
    key_len: u32,
    value_len: u32,
}

impl Piece {
    fn key<'b>(&self, bytes: &'b [u8]) -> &'b [u8] {
        &bytes[self.at..][..self.key_len as usize]
    }

    fn entry<'b>(&self, bytes: &'b [u8]) -> &'b [u8] {
        &bytes[self.at..][..self.key_len as usize + self.value_len as usize]
    }

    fn value<'b>(&self, bytes: &'b [u8]) -> &'b [u8] {
        &bytes[self.at + self.key_len as usize..][..self.value_len as usize]
    }
}

impl Run {
    /// Whether the entry fits; the first one always does.
    pub fn has_room(&self, key: &[u8], value: &[u8]) -> bool {
        let pieces = (self.pieces.len() + 1) * size_of::<Piece>();
        let bytes = self.bytes.len() + key.len() + value.len();
        self.pieces.is_empty() || bytes + pieces <= RUN_BYTES
    }

    /// Adds an entry whose key and value are within their limits.
    pub fn push(&mut self, key: &[u8], value: &[u8]) {
        let last = self.pieces.last();
        self.is_mixed |= last.is_some_and(|last| last.key(&self.bytes) >= key);
        self.pieces.push(Piece {
            head: head(key),
            at: self.bytes.len(),
            key_len: key.len() as u32,
            value_len: value.len() as u32,
        });
        self.bytes.extend_from_slice(key);
        self.bytes.extend_from_slice(value);
    }

    /// Puts all entries into a table and is empty again; how many keys were new.
    pub fn drain_into<W: WriteRaw>(&mut self, to: &mut W, table: usize) -> Result<u64> {
        let bytes = self.bytes.as_slice();
        if self.is_mixed {
            // A stable sort: equal keys stay in the order in which they came, and the last counts.
            self.pieces.sort_by(|a, b| {
                let by_key = || a.key(bytes).cmp(b.key(bytes));
                a.head.cmp(&b.head).then_with(by_key)
            });
            // Kept is the last of equal keys: seen from behind, the first.
            self.pieces.reverse();
            self.pieces.dedup_by(|next, kept| {
                next.head == kept.head && next.key(bytes) == kept.key(bytes)
            });
            self.pieces.reverse();
        }
        let new = match self.pieces.as_slice() {
            [] => 0,
            [one] => u64::from(to.insert(table, one.key(bytes), one.value(bytes))?),
            many => {
                // In key order they lie anywhere in `bytes`: each is fetched ahead of its turn.
                let ahead = many[AHEAD.min(many.len())..].iter().map(Some);
                let ahead = ahead.chain(std::iter::repeat(None));
                let entries = many.iter().zip(ahead).map(|(piece, ahead)| {
                    if let Some(ahead) = ahead {
                        prefetch_all(ahead.entry(bytes));
                    }
                    Ok((piece.key(bytes), piece.value(bytes)))
                });
                to.load(table, entries)?
            }
        };
        *self = Run {
            bytes: std::mem::take(&mut self.bytes),
            pieces: std::mem::take(&mut self.pieces),
            is_mixed: false,
        };
        self.bytes.clear();
        self.pieces.clear();
        Ok(new)
    }
}
