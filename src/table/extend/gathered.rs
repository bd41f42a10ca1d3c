//! Entries in memory, in the order in which they came, and what sorts them.
//! Owns: [`Gathered`] and [`Sorted`]. The bytes of entries grow from the room's start, what finds
//! them from its end; so its length is what both take, and nothing moves while it fills.

use super::{HEADER_BYTES, put_header, take_header};
use crate::{
    error::{Error, Resource, Result},
    pager::{LINE_BYTES, prefetch_at},
    storage::blank::Blank,
    txn::batch::head,
};

/// The room that is taken first, in bytes; it grows as it fills.
const FIRST_BYTES: usize = 64 << 10;
/// From here on it grows to the whole bound at once, for what is not touched costs nothing.
const LARGE_BYTES: usize = 2 << 20;
/// How many entries ahead of its turn one is fetched.
const AHEAD: usize = 12;
/// How many lines of an entry are fetched at most; the CPU follows up by itself.
const LINES_AHEAD_MAX: usize = 4;

/// What finds an entry: the first 8 bytes of its key as a number, by which most comparisons end,
/// and where it lies.
type Piece = [u8; 16];

fn piece(head: u64, at: usize) -> Piece {
    let mut piece = [0; 16];
    piece[..8].copy_from_slice(&head.to_ne_bytes());
    piece[8..].copy_from_slice(&(at as u64).to_ne_bytes());
    piece
}

#[inline]
fn parts(piece: &Piece) -> (u64, usize) {
    let ([head, at], _) = piece.as_chunks() else { return (0, 0) };
    (u64::from_ne_bytes(*head), u64::from_ne_bytes(*at) as usize)
}

/// Encoded entries, whole: a header, the key, the value.
pub struct Gathered {
    room: Blank,
    /// How long the room may become, unless a single entry is longer.
    bytes_max: usize,
    /// Where the entries end.
    end: usize,
    /// How many there are.
    count: usize,
    /// Where the last one is.
    last: usize,
    /// An entry came whose key is not greater than the one before it.
    is_mixed: bool,
}

impl Gathered {
    /// None yet, in a room of at most `bytes_max`.
    ///
    /// # Errors
    /// [`Error::Full`] if there is no memory, here and below.
    pub fn new(bytes_max: usize) -> Result<Gathered> {
        let room = blank(bytes_max.min(FIRST_BYTES))?;
        Ok(Gathered { room, bytes_max, end: 0, count: 0, last: 0, is_mixed: false })
    }

    /// Whether keys came in another order than ascending.
    pub fn is_mixed(&self) -> bool {
        self.is_mixed
    }

    /// How many bytes the entries take.
    pub fn bytes(&self) -> usize {
        self.end
    }

    /// Adds an entry. False: there is no room, and it is to be made by [`clear`](Self::clear); an
    /// only entry always has it.
    pub fn push(&mut self, key: &[u8], value: &[u8]) -> Result<bool> {
        let len = HEADER_BYTES + key.len() + value.len();
        if self.free_bytes() < len + size_of::<Piece>() && !self.grow(len)? {
            return Ok(false);
        }
        if self.count > 0 {
            self.is_mixed |= entry(&self.room, self.last).0 >= key;
        }
        let at = self.end;
        let (header, rest) = self.room[at..at + len].split_at_mut(HEADER_BYTES);
        put_header(header, key.len(), value.len());
        rest[..key.len()].copy_from_slice(key);
        rest[key.len()..].copy_from_slice(value);
        self.count += 1;
        let to = self.pieces_start();
        self.room[to..][..size_of::<Piece>()].copy_from_slice(&piece(head(key), at));
        (self.last, self.end) = (at, at + len);
        Ok(true)
    }

    fn pieces_start(&self) -> usize {
        self.room.len() - self.count * size_of::<Piece>()
    }

    fn free_bytes(&self) -> usize {
        self.pieces_start() - self.end
    }

    /// Makes room for one more entry of `len` bytes; false if that would exceed the bound.
    fn grow(&mut self, len: usize) -> Result<bool> {
        let pieces_bytes = self.count * size_of::<Piece>();
        let needed = self.end + pieces_bytes + len + size_of::<Piece>();
        let most = if self.count == 0 { self.bytes_max.max(needed) } else { self.bytes_max };
        if needed > most {
            return Ok(false);
        }
        let grown = if needed > LARGE_BYTES { most } else { most.min(4 * needed) };
        let mut room = blank(grown)?;
        room[..self.end].copy_from_slice(&self.room[..self.end]);
        room[grown - pieces_bytes..].copy_from_slice(&self.room[self.pieces_start()..]);
        self.room = room;
        Ok(true)
    }

    /// Sorts the entries; of equal keys the one that came last counts.
    pub fn sort(&mut self) -> Sorted<'_> {
        let (start, end, count) = (self.pieces_start(), self.end, self.count);
        let (bytes, pieces) = self.room.split_at_mut(start);
        let bytes = &bytes[..end];
        let (pieces, _) = pieces.as_chunks_mut();
        // The room was filled from its end.
        pieces.reverse();
        if self.is_mixed {
            pieces.sort_unstable_by(|a: &Piece, b: &Piece| {
                let ((a_head, a), (b_head, b)) = (parts(a), parts(b));
                let by_key = || entry(bytes, a).0.cmp(entry(bytes, b).0);
                a_head.cmp(&b_head).then_with(by_key).then(a.cmp(&b))
            });
        }
        let lines = (end / count.max(1) / LINE_BYTES + 1).min(LINES_AHEAD_MAX);
        let ahead = if self.is_mixed { lines } else { 0 };
        let mut sorted = Sorted { bytes, pieces, next: 0, lines_ahead: ahead };
        sorted.skip_replaced();
        sorted
    }

    /// Forgets all entries.
    pub fn clear(&mut self) -> Result<()> {
        if self.room.len() > self.bytes_max {
            self.room = blank(self.bytes_max.min(FIRST_BYTES))?;
        }
        (self.end, self.count, self.last, self.is_mixed) = (0, 0, 0, false);
        Ok(())
    }
}

fn blank(len: usize) -> Result<Blank> {
    Blank::new(len).ok_or(Error::Full { what: Resource::SortBytes })
}

/// Key and value of the entry at `at`.
#[inline]
fn entry(bytes: &[u8], at: usize) -> (&[u8], &[u8]) {
    let (key_len, value_len) = take_header(&bytes[at..]);
    let rest = &bytes[at + HEADER_BYTES..][..key_len + value_len];
    rest.split_at(key_len)
}

/// Gathered entries in strictly ascending key order.
pub struct Sorted<'g> {
    bytes: &'g [u8],
    pieces: &'g [Piece],
    /// The piece of the next entry; those before an equal key are skipped.
    next: usize,
    /// How many lines of an entry are fetched ahead of its turn: in key order they lie anywhere.
    lines_ahead: usize,
}

impl<'g> Sorted<'g> {
    /// The entry that comes next.
    #[inline]
    pub fn peek(&self) -> Option<(&'g [u8], &'g [u8])> {
        let (_, at) = parts(self.pieces.get(self.next)?);
        Some(entry(self.bytes, at))
    }

    /// Goes on while the next entry has the key of the one behind it.
    #[inline]
    fn skip_replaced(&mut self) {
        while let Some([one, other]) = self.pieces.get(self.next..self.next + 2) {
            let ((head, at), (other_head, other_at)) = (parts(one), parts(other));
            if head != other_head || entry(self.bytes, at).0 != entry(self.bytes, other_at).0 {
                break;
            }
            self.next += 1;
        }
    }
}

impl<'g> Iterator for Sorted<'g> {
    type Item = (&'g [u8], &'g [u8]);

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        let entry = self.peek()?;
        if self.lines_ahead > 0
            && let Some(ahead) = self.pieces.get(self.next + AHEAD)
        {
            let (_, at) = parts(ahead);
            for line in 0..self.lines_ahead {
                prefetch_at(self.bytes, at + line * LINE_BYTES);
            }
        }
        self.next += 1;
        self.skip_replaced();
        Some(entry)
    }
}
