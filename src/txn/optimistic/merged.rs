//! A range of a transaction: the snapshot's entries with what was written laid over them.
//! Owns: [`Merged`], which also notes how far it was read.
//! A key that the transaction has written itself shows nothing of the snapshot; so what was read
//! ends before it and begins anew behind it.

use super::{
    Change,
    reads::{Reads, Seen},
};
use crate::{
    error::Result,
    tree::cursor::{self, Entry},
    txn::snapshot::View,
};
use std::{
    cell::RefCell,
    cmp::Ordering,
    collections::btree_map,
    iter::Flatten,
    ops::Bound::{self, Excluded, Included, Unbounded},
    option,
};

/// The snapshot's entries; of a table that is not there, none.
type Old<'r> = Flatten<option::IntoIter<cursor::Range<'r, View>>>;
/// What was written.
type New<'r> = btree_map::Range<'r, Box<[u8]>, Change>;

/// Entries in key order, from both ends, until they meet.
pub struct Merged<'r> {
    old: Ends<Old<'r>>,
    new: Ends<New<'r>>,
    front: Extent<'r>,
    back: Extent<'r>,
    /// Nothing is left, so that all between `front` and `back` was read.
    is_exhausted: bool,
    /// It has met an error, and ends.
    is_broken: bool,
    reads: &'r RefCell<Reads>,
    seen: Seen,
    /// None: there is nothing that could be read.
    ticket: Option<u64>,
}

/// What one end has read since it was last noted.
struct Extent<'r> {
    /// Where that begins.
    start: Start<'r>,
    /// The last key that was handed out.
    last: Option<&'r [u8]>,
}

/// Where reading begins, seen from one end.
enum Start<'r> {
    /// At the bound of the range.
    Bound(Bound<Box<[u8]>>),
    /// Behind a key that the transaction has written itself.
    Written(&'r [u8]),
}

impl<'r> Merged<'r> {
    /// The range between two bounds that holds `old` in the snapshot, and `new` on top of it.
    pub(super) fn new(
        old: Option<cursor::Range<'r, View>>,
        new: New<'r>,
        reads: &'r RefCell<Reads>,
        (from, to): (Bound<&[u8]>, Bound<&[u8]>),
        seen: Seen,
    ) -> Merged<'r> {
        let ticket = Some(reads.borrow_mut().open(from, to, seen));
        let (front, back) = (Extent::starting(from), Extent::starting(to));
        let (old, new) = (Ends::new(old.into_iter().flatten()), Ends::new(new));
        let (is_exhausted, is_broken) = (false, false);
        Merged { old, new, front, back, is_exhausted, is_broken, reads, seen, ticket }
    }

    /// A range whose bounds are in the wrong order.
    pub(super) fn empty(reads: &'r RefCell<Reads>) -> Merged<'r> {
        let (front, back) = (Extent::starting(Unbounded), Extent::starting(Unbounded));
        let (old, new) = (Ends::new(None.into_iter().flatten()), Ends::new(New::default()));
        let (is_exhausted, is_broken, seen) = (true, true, Seen::Presence);
        Merged { old, new, front, back, is_exhausted, is_broken, reads, seen, ticket: None }
    }

    fn advance(&mut self, end: End) -> Option<Result<Entry<'r>>> {
        while !self.is_broken {
            let order = match (self.old.peek(end), self.new.peek(end)) {
                (None, None) => {
                    self.is_exhausted = true;
                    return None;
                }
                (Some(Ok((old, _))), Some((new, _))) if end == End::Front => (*old).cmp(new),
                (Some(Ok((old, _))), Some((new, _))) => (***new).cmp(old),
                (Some(_), _) => Ordering::Less,
                (None, Some(_)) => Ordering::Greater,
            };
            if order == Ordering::Less {
                return self.take_old(end);
            }
            let (key, change) = self.new.take(end)?;
            if order == Ordering::Equal {
                self.old.take(end);
                self.note(end, Excluded(key));
                self.extent(end).start = Start::Written(key);
            } else if change.value.is_some() {
                self.extent(end).last = Some(key);
            }
            if let Some(value) = &change.value {
                return Some(Ok((key, value)));
            }
        }
        None
    }

    /// The snapshot's next entry.
    fn take_old(&mut self, end: End) -> Option<Result<Entry<'r>>> {
        let entry = self.old.take(end)?;
        match &entry {
            Ok((key, _)) => self.extent(end).last = Some(key),
            Err(_) => self.is_broken = true,
        }
        Some(entry)
    }

    fn extent(&mut self, end: End) -> &mut Extent<'r> {
        match end {
            End::Front => &mut self.front,
            End::Back => &mut self.back,
        }
    }

    /// Notes all from the start of an end up to `as_far`.
    fn note(&mut self, end: End, as_far: Bound<&[u8]>) {
        let (reads, seen) = (self.reads, self.seen);
        let mut reads = reads.borrow_mut();
        let extent = self.extent(end);
        extent.last = None;
        let start = extent.start.bound();
        match end {
            End::Front => reads.note_span(start, as_far, seen),
            End::Back => reads.note_span(as_far, start, seen),
        }
    }
}

impl Drop for Merged<'_> {
    fn drop(&mut self) {
        let Some(ticket) = self.ticket else { return };
        if self.is_exhausted {
            let (from, to) = (self.front.start.bound(), self.back.start.bound());
            self.reads.borrow_mut().note_span(from, to, self.seen);
        } else {
            for end in [End::Front, End::Back] {
                if let Some(last) = self.extent(end).last {
                    self.note(end, Included(last));
                }
            }
        }
        self.reads.borrow_mut().close(ticket);
    }
}

impl<'r> Extent<'r> {
    fn starting(bound: Bound<&[u8]>) -> Extent<'r> {
        Extent { start: Start::Bound(bound.map(Box::from)), last: None }
    }
}

impl Start<'_> {
    fn bound(&self) -> Bound<&[u8]> {
        match self {
            Start::Bound(bound) => bound.as_ref().map(|key| &**key),
            Start::Written(key) => Excluded(key),
        }
    }
}

impl<'r> Iterator for Merged<'r> {
    type Item = Result<Entry<'r>>;

    fn next(&mut self) -> Option<Self::Item> {
        self.advance(End::Front)
    }
}

impl DoubleEndedIterator for Merged<'_> {
    fn next_back(&mut self) -> Option<Self::Item> {
        self.advance(End::Back)
    }
}

/// Which end of a range.
#[derive(Clone, Copy, PartialEq, Eq)]
enum End {
    Front,
    Back,
}

/// An iterator that can be looked into at both ends.
struct Ends<I: DoubleEndedIterator> {
    rest: I,
    front: Option<I::Item>,
    back: Option<I::Item>,
}

impl<I: DoubleEndedIterator> Ends<I> {
    fn new(rest: I) -> Ends<I> {
        Ends { rest, front: None, back: None }
    }

    fn peek(&mut self, end: End) -> Option<&I::Item> {
        let Ends { rest, front, back } = self;
        match end {
            End::Front => {
                *front = front.take().or_else(|| rest.next()).or_else(|| back.take());
                front.as_ref()
            }
            End::Back => {
                *back = back.take().or_else(|| rest.next_back()).or_else(|| front.take());
                back.as_ref()
            }
        }
    }

    fn take(&mut self, end: End) -> Option<I::Item> {
        match end {
            End::Front => self.front.take(),
            End::Back => self.back.take(),
        }
    }
}
