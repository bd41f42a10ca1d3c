//! The bytes of a batch. Owns: [`Bytes`], which grow at their end. Many are kept in huge pages, for
//! in key order they are read from anywhere; and as what is not touched costs nothing, all that a
//! batch may take is mapped at once, and nothing moves any more.

use crate::{options::BATCH_BYTES_MAX, storage::blank::Blank};
use std::ops::Deref;

/// From here on they are many.
const LARGE_BYTES: usize = if cfg!(test) { 1024 } else { 8 << 20 };

/// Bytes that grow at their end.
pub enum Bytes {
    /// Few, or many where nothing can be mapped.
    Few(Vec<u8>),
    /// Many.
    Many(Box<Mapped>),
}

/// The first `len` bytes of a room.
pub struct Mapped {
    room: Blank,
    len: usize,
}

impl Bytes {
    /// Appends bytes; the sum stays within what a batch may take.
    pub fn append(&mut self, bytes: &[u8]) {
        match self {
            Bytes::Few(few) => {
                let was_few = few.len() < LARGE_BYTES;
                few.extend_from_slice(bytes);
                if was_few && few.len() >= LARGE_BYTES {
                    self.make_room();
                }
            }
            Bytes::Many(many) => {
                many.room[many.len..many.len + bytes.len()].copy_from_slice(bytes);
                many.len += bytes.len();
            }
        }
    }

    #[cold]
    fn make_room(&mut self) {
        let Some(mut room) = Blank::new(BATCH_BYTES_MAX) else { return };
        let len = self.len();
        room[..len].copy_from_slice(self);
        *self = Bytes::Many(Box::new(Mapped { room, len }));
    }
}

impl Default for Bytes {
    fn default() -> Bytes {
        Bytes::Few(Vec::new())
    }
}

impl Deref for Bytes {
    type Target = [u8];

    #[inline]
    fn deref(&self) -> &[u8] {
        match self {
            Bytes::Few(few) => few,
            Bytes::Many(many) => &many.room[..many.len],
        }
    }
}

impl Clone for Bytes {
    fn clone(&self) -> Bytes {
        let mut clone = Bytes::default();
        clone.append(self);
        clone
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn few_or_many_they_are_what_was_appended() {
        for piece in [0, 1, 7, 500, 5000] {
            let (mut bytes, mut expected) = (Bytes::default(), Vec::new());
            for n in 0..2000 / piece.max(1) + 3 {
                let appended = vec![n as u8; piece];
                bytes.append(&appended);
                expected.extend_from_slice(&appended);
                assert_eq!(*bytes, *expected);
            }
            assert_eq!(matches!(bytes, Bytes::Many(_)), expected.len() >= LARGE_BYTES);
            assert_eq!(*bytes.clone(), *expected);
        }
    }
}
