//! A thread's own snapshot, renewed by one word.
//! Owns: [`Reader`]. Keeps I4.

use super::Store;
use crate::{
    publish::Seen,
    sync::PlainArc,
    txn::{snapshot::Snapshot, writer::Engine},
};
use std::{fmt, panic::Location};

/// A thread's own way to read: it keeps a snapshot, and renews it when one shared word has changed.
///
/// What it pins while it is idle is bounded by the reclaim rule: the pages that its version sees.
/// Past [`Options::reader_timeout`](crate::Options::reader_timeout) what was taken from it is
/// evicted; asked again, it shows the newest version.
pub struct Reader {
    snapshot: Snapshot,
    seen: Seen,
    engine: PlainArc<Engine>,
}

impl Store {
    /// A reader for one thread: it keeps a snapshot and renews it only when a commit came. The way
    /// to read in a hot loop and still see new commits.
    #[track_caller]
    pub fn reader(&self) -> Reader {
        let (root, seen) = self.shared.engine.published.pin_to_keep();
        root.note_taken(Location::caller());
        Reader { snapshot: Snapshot::new(root), seen, engine: self.shared.engine.clone() }
    }
}

impl Reader {
    /// The newest version: never behind a commit that was answered before this call, nor behind
    /// what any snapshot, reader or closure of [`Store::read`] has shown before it. (What a
    /// closure that writes sees may not be published yet; it is once [`Store::write`] answers.)
    ///
    /// Cost: one load if nothing was committed since the last call.
    #[inline]
    #[track_caller]
    pub fn snapshot(&mut self) -> &Snapshot {
        if self.engine.published.must_renew(&mut self.seen) {
            // The word first, then the pointer: the snapshot is then at least as new as the word.
            let root = self.engine.published.pin();
            root.note_taken(Location::caller());
            self.snapshot = Snapshot::new(root);
        }
        &self.snapshot
    }
}

impl fmt::Debug for Reader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reader").field("version", &self.snapshot.version()).finish_non_exhaustive()
    }
}
