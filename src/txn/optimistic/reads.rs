//! What a transaction has read of one table.
//! Owns: [`Reads`]. Values are not kept: the snapshot has them.

use std::{
    collections::BTreeMap,
    ops::Bound::{self, Excluded, Included, Unbounded},
};

/// How much of an entry was seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Seen {
    /// Whether there is one.
    Presence,
    /// The value too.
    Value,
}

/// The keys between two bounds.
struct Span {
    from: Bound<Box<[u8]>>,
    to: Bound<Box<[u8]>>,
    seen: Seen,
}

impl Span {
    fn new(from: Bound<&[u8]>, to: Bound<&[u8]>, seen: Seen) -> Span {
        Span { from: from.map(Box::from), to: to.map(Box::from), seen }
    }
}

/// Keys, ranges as far as they were consumed, and the length.
#[derive(Default)]
pub struct Reads {
    /// In order, so that those of one leaf are looked up one after the other.
    keys: BTreeMap<Box<[u8]>, Seen>,
    spans: Vec<Span>,
    /// Ranges still being read, each by its ticket: all of it until it is known how far.
    open: BTreeMap<u64, Span>,
    last_ticket: u64,
    len: bool,
    bytes: usize,
}

impl Reads {
    /// Notes that a key was looked up.
    pub fn note_key(&mut self, key: &[u8], seen: Seen) {
        if let Some(before) = self.keys.get_mut(key) {
            *before = seen.max(*before);
            return;
        }
        self.bytes += key.len();
        self.keys.insert(key.into(), seen);
    }

    /// Notes that the length was asked for.
    pub fn note_len(&mut self) {
        self.len = true;
    }

    /// Notes that a range begins to be read. It counts as a whole until it is
    /// [closed](Self::close), also if that never happens.
    pub fn open(&mut self, from: Bound<&[u8]>, to: Bound<&[u8]>, seen: Seen) -> u64 {
        self.last_ticket += 1;
        self.open.insert(self.last_ticket, Span::new(from, to, seen));
        self.last_ticket
    }

    /// The range of `ticket` is read no further; what of it was read is noted by then.
    pub fn close(&mut self, ticket: u64) {
        self.open.remove(&ticket);
    }

    /// Notes what was read of a range.
    pub fn note_span(&mut self, from: Bound<&[u8]>, to: Bound<&[u8]>, seen: Seen) {
        let len = |bound: Bound<&[u8]>| match bound {
            Included(key) | Excluded(key) => key.len(),
            Unbounded => 0,
        };
        self.bytes += len(from) + len(to);
        self.spans.push(Span::new(from, to, seen));
    }

    /// The keys that were looked up, in order.
    pub fn keys(&self) -> impl Iterator<Item = (&[u8], Seen)> {
        self.keys.iter().map(|(key, seen)| (&**key, *seen))
    }

    /// The ranges that were read.
    pub fn spans(&self) -> impl Iterator<Item = (Bound<&[u8]>, Bound<&[u8]>, Seen)> {
        let spans = self.spans.iter().chain(self.open.values());
        spans.map(|span| {
            let [from, to] = [&span.from, &span.to].map(|key| key.as_ref().map(|key| &**key));
            (from, to, span.seen)
        })
    }

    /// Whether the length was asked for.
    pub fn is_len_read(&self) -> bool {
        self.len
    }

    /// Bytes of the keys and bounds that are kept.
    pub fn bytes(&self) -> usize {
        self.bytes
    }
}
