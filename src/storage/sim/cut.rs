//! A power cut: what was surely on the disk, and what may or may not have been.
//! Owns: [`Cut`], [`Cuts`].
//!
//! The rules. A sync of a file makes its writes and its length durable, not its name; a sync of the
//! directory makes all names durable. Anything else is pending: it may be on the disk without what
//! came before it. A failed sync leaves its writes in limbo: no later sync makes them durable, only
//! writing the same bytes again does.

use super::{
    SimDisk,
    image::{Image, Images},
    operation::{Inode, Operation, State},
};
use crate::sync::PlainArc;
use std::ops::Range;

/// The disk at the moment the power goes: after operations `0..at`, before operation `at`.
#[derive(Clone)]
pub struct Cut {
    pub(super) at: usize,
    /// What is on the disk whatever happens.
    pub(super) durable: State,
    /// What may be on the disk, in the order it was asked for.
    pub(super) pending: Vec<Pending>,
    /// How many of the marks were made before.
    marks: usize,
    all_marks: PlainArc<[(usize, u64)]>,
    /// Whether a mark was made since the cut before.
    marked: bool,
}

/// One operation that is not durable.
#[derive(Clone)]
pub struct Pending {
    pub index: usize,
    pub operation: PlainArc<Operation>,
    /// After a failed sync: the bytes that this write may still have put on the disk.
    pub limbo: Option<Vec<Range<u64>>>,
}

impl Cut {
    /// Before the first operation.
    fn first(base: State, carried: Vec<Pending>, all_marks: PlainArc<[(usize, u64)]>) -> Cut {
        let at = carried.len();
        let marks = all_marks.partition_point(|(mark, _)| *mark <= at);
        Cut { at, durable: base, pending: carried, marks, all_marks, marked: true }
    }

    /// How many operations were done before the cut.
    pub fn at(&self) -> usize {
        self.at
    }

    /// The values of the marks made before the cut, in order.
    pub fn marks(&self) -> impl DoubleEndedIterator<Item = u64> + '_ {
        self.all_marks[..self.marks].iter().map(|(_, value)| *value)
    }

    /// How many operations are not durable.
    pub fn pending(&self) -> usize {
        self.pending.len()
    }

    /// Every image that this cut can leave, without repetition: all subsets of at most 8 pending
    /// operations, else all, none, each alone, all but each and 64 random ones; then pending writes
    /// and growths torn, among all, none and some of the others. `seed` chooses where not all are
    /// tried.
    pub fn images(&self, seed: u64) -> Images {
        Images::new(self, seed, None)
    }

    /// Those of [`images`](Self::images) that no cut before could leave, so far as the operations
    /// tell: the ones that show the last operation. All of them after a sync or a mark, because
    /// then more is to be expected of the same image.
    pub fn new_images(&self, seed: u64) -> Images {
        let newest = self.pending.last();
        let newest = newest.filter(|pending| !self.marked && pending.index + 1 == self.at);
        Images::new(self, seed, newest.map(|_| self.pending.len() - 1))
    }

    /// The image with everything pending on it: what a process finds that takes over after a kill.
    pub fn everything(&self) -> Image {
        Image::subset(self, |_| true)
    }

    /// The image with nothing pending on it.
    pub fn nothing(&self) -> Image {
        Image::subset(self, |_| false)
    }

    /// The disk as a process finds it that takes over after a kill: it sees everything, and what
    /// was pending is pending still.
    pub fn taken_over(&self) -> SimDisk {
        let live = Image::subset(self, |_| true).into_state();
        let mut carried = self.pending.clone();
        for (index, pending) in carried.iter_mut().enumerate() {
            pending.index = index;
        }
        SimDisk::taken_over(self.durable.clone(), live, carried)
    }

    fn step(&mut self, operation: &PlainArc<Operation>) {
        self.marked = false;
        match &**operation {
            Operation::Sync { inode } => self.sync(*inode),
            Operation::SyncDir => self.sync_dir(),
            Operation::FailedSync { inode } => self.doubt(*inode),
            Operation::Failed { .. } => {}
            pending => {
                if let Operation::Create { inode, .. } = pending {
                    // Its bytes can be synced before its name is.
                    self.durable.add(*inode);
                }
                self.pending.push(Pending {
                    index: self.at,
                    operation: PlainArc::clone(operation),
                    limbo: None,
                });
            }
        }
        self.at += 1;
        while self.marks < self.all_marks.len() && self.all_marks[self.marks].0 <= self.at {
            self.marks += 1;
            self.marked = true;
        }
    }

    fn sync(&mut self, inode: Inode) {
        let mut still: Vec<Pending> = Vec::with_capacity(self.pending.len());
        for pending in self.pending.drain(..) {
            if pending.operation.inode() != Some(inode) || pending.limbo.is_some() {
                still.push(pending);
                continue;
            }
            self.durable.apply(&pending.operation);
            // Written again: what an earlier write may have left there no longer matters.
            for earlier in &mut still {
                if earlier.operation.inode() == Some(inode) {
                    earlier.settle(&pending.operation.range());
                }
            }
        }
        still.retain(|pending| pending.limbo.as_ref().is_none_or(|ranges| !ranges.is_empty()));
        self.pending = still;
    }

    fn sync_dir(&mut self) {
        for pending in &self.pending {
            if pending.operation.changes_directory() {
                self.durable.apply(&pending.operation);
            }
        }
        self.durable.forget_nameless();
        let durable = &self.durable;
        self.pending.retain(|pending| {
            let inode = pending.operation.inode();
            inode.is_some_and(|inode| durable.file(inode).is_some())
        });
    }

    fn doubt(&mut self, inode: Inode) {
        for pending in &mut self.pending {
            // Lengths are kept in the file system's own journal; a later sync does include them.
            if let Operation::Write { inode: of, .. } = &*pending.operation
                && *of == inode
                && pending.limbo.is_none()
            {
                pending.limbo = Some(vec![pending.operation.range()]);
            }
        }
    }
}

impl Pending {
    /// Takes `decided` out of what this write, in limbo, may still have left on the disk.
    fn settle(&mut self, decided: &Range<u64>) {
        let Some(ranges) = &mut self.limbo else {
            return;
        };
        *ranges = ranges
            .iter()
            .flat_map(|range| {
                let before = range.start..range.end.min(decided.start);
                let after = range.start.max(decided.end)..range.end;
                [before, after]
            })
            .filter(|range| !range.is_empty())
            .collect();
    }
}

/// Every cut of one run, from before its first operation to after its last.
pub struct Cuts {
    operations: Vec<PlainArc<Operation>>,
    next: Option<Cut>,
}

impl Cuts {
    pub(super) fn new(
        base: State,
        carried: Vec<Pending>,
        operations: Vec<PlainArc<Operation>>,
        marks: PlainArc<[(usize, u64)]>,
    ) -> Cuts {
        let next = Some(Cut::first(base, carried, marks));
        Cuts { operations, next }
    }
}

impl Iterator for Cuts {
    type Item = Cut;

    fn next(&mut self) -> Option<Cut> {
        let cut = self.next.take()?;
        if let Some(operation) = self.operations.get(cut.at) {
            let mut after = cut.clone();
            after.step(operation);
            self.next = Some(after);
        }
        Some(cut)
    }

    /// Goes to a later cut without handing out those between.
    fn nth(&mut self, n: usize) -> Option<Cut> {
        let mut cut = self.next.take()?;
        for _ in 0..n {
            let operation = self.operations.get(cut.at)?;
            cut.step(operation);
        }
        self.next = Some(cut);
        self.next()
    }
}
