//! Text and bytes as parts of a longer key, so that the bytes of the whole order like its parts.
//! Owns: the escapes, and [`Ordered`], the reader of an encoded key.
//!
//! A part ends with 0. In it 0 is written 1 1 and 1 is written 1 2, so no part holds a 0, none is
//! the beginning of another, and order is kept. The raw bytes of a part that had to be escaped are
//! put behind the whole encoding, to be lent from there: the first such part's at the very end, the
//! second's before it, so that one walk from the front finds them all. They never decide an order:
//! two keys that reach them are equal already.

use super::datum::Sink;

/// Ends a part.
const END: u8 = 0;
/// Comes before the escaped form of itself and of [`END`].
const ESCAPE: u8 = 1;

/// Appends `raw` escaped and ended; true if anything had to be escaped.
pub fn put<S: Sink>(raw: &[u8], out: &mut S) -> bool {
    let mut rest = raw;
    while let Some(at) = rest.iter().position(|&byte| byte <= ESCAPE) {
        out.put(&rest[..at]);
        out.put(&[ESCAPE, rest[at] + 1]);
        rest = &rest[at + 1..];
    }
    out.put(rest);
    out.put(&[END]);
    rest.len() < raw.len()
}

/// Whether `raw` has to be escaped.
pub fn is_needed(raw: &[u8]) -> bool {
    raw.iter().any(|&byte| byte <= ESCAPE)
}

/// An encoded key that is read from the front, the raw copies behind it from the end.
pub struct Ordered<'a> {
    rest: &'a [u8],
}

impl<'a> Ordered<'a> {
    /// The reader of `bytes`.
    #[inline]
    pub fn new(bytes: &'a [u8]) -> Ordered<'a> {
        Ordered { rest: bytes }
    }

    /// The next `N` bytes.
    #[inline]
    pub fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (head, rest) = self.rest.split_first_chunk::<N>()?;
        self.rest = rest;
        Some(*head)
    }

    /// The raw bytes of the next part.
    pub fn part(&mut self) -> Option<&'a [u8]> {
        let at = self.rest.iter().position(|&byte| byte <= ESCAPE)?;
        if self.rest[at] == END {
            let part = &self.rest[..at];
            self.rest = &self.rest[at + 1..];
            return Some(part);
        }
        self.escaped_part()
    }

    #[cold]
    fn escaped_part(&mut self) -> Option<&'a [u8]> {
        let end = self.rest.iter().position(|&byte| byte == END)?;
        let (part, behind) = (&self.rest[..end], &self.rest[end + 1..]);
        // Every escape has two bytes, and the first of them occurs there alone or doubled.
        let mut len = 0;
        let mut bytes = part.iter();
        while let Some(&byte) = bytes.next() {
            len += 1;
            if byte == ESCAPE && !matches!(bytes.next(), Some(1 | 2)) {
                return None;
            }
        }
        let (rest, raw) = behind.split_at_checked(behind.len().checked_sub(len)?)?;
        self.rest = rest;
        // One key has one encoding: a copy that differs is damage.
        is_escaped_form(part, raw).then_some(raw)
    }

    /// Whether everything has been read.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }
}

fn is_escaped_form(part: &[u8], raw: &[u8]) -> bool {
    let mut part = part.iter().copied();
    raw.iter().all(|&byte| match part.next() {
        Some(ESCAPE) => part.next() == byte.checked_add(1) && byte <= ESCAPE,
        next => next == Some(byte),
    }) && part.next().is_none()
}
