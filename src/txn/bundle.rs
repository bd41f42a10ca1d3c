//! Short batches that come one behind the other in a group, applied as one request to the pages.
//! Owns: [`Bundle`]. Keeps: each batch takes a version of its own, and its error undoes it alone.
//!
//! A page is changed in place only by the request that made it. Were each batch of a group such a
//! request, each would copy the way from the root to its leaf again, the group's former copy of the
//! same pages becoming garbage. Nobody sees the versions amid a group, so the batches share pages,
//! under the version of the first of them, and one savepoint. When one of them fails, which takes a
//! full device, damage, or a table of other types, all are undone and applied again, one by one.

use super::{
    answer::Promise,
    batch::Batch,
    request::{BatchAck, RefusedAck},
    write::Savepoint,
    writer::{Gathered, Writer},
};
use crate::{error::Result, options::Durability, pager::write::Draw, publish::Version};

/// Longer ones touch so many pages that they share few.
const BATCH_BYTES_MAX: usize = 16 << 10;

/// Batches that were applied together, in order, and are not answered yet.
#[derive(Default)]
pub struct Bundle {
    /// Where the first of them began.
    start: Option<Savepoint>,
    batches: Vec<(Batch, Promise<u64>)>,
}

impl Writer {
    /// Applies a batch, with those before it if it is short.
    pub(super) fn apply_batch(
        &mut self,
        batch: Batch,
        promise: Promise<u64>,
        gathered: &mut Gathered,
    ) {
        if self.is_led || batch.bytes() > BATCH_BYTES_MAX {
            self.end_bundle(gathered);
            return self.apply_alone(&batch, promise, gathered);
        }
        let bundle = &mut gathered.bundle;
        match bundle.start {
            Some(_) => self.state.join_request(),
            None => bundle.start = Some(self.state.begin_request()),
        }
        // Told at once, for it is what the others are waited for.
        let durability = batch.durability_or(self.engine.options.durability);
        gathered.needs_sync |= durability == Durability::Sync;
        let applied = self.apply_writes(&batch).and_then(|()| self.state.finish_joined(1));
        gathered.bundle.batches.push((batch, promise));
        if applied.is_err() {
            self.apply_each_alone(gathered);
        }
    }

    /// Ends the bundle in progress, if there is one: its batches are kept.
    pub(super) fn end_bundle(&mut self, gathered: &mut Gathered) {
        if gathered.bundle.start.is_none() {
            return;
        }
        if self.state.finish_pages().is_err() {
            return self.apply_each_alone(gathered);
        }
        gathered.bundle.start = None;
        let mut batches = std::mem::take(&mut gathered.bundle.batches);
        let before = self.state.version.0 - batches.len() as u64;
        for (version, (batch, promise)) in (before + 1..).zip(batches.drain(..)) {
            let durability = batch.durability_or(self.engine.options.durability);
            let ack = Box::new(BatchAck { promise, version });
            self.keep(ack, Version(version), durability, gathered);
        }
        // Its memory serves the next.
        gathered.bundle.batches = batches;
    }

    /// Undoes the bundle in progress, one of whose batches failed, and applies each by itself.
    fn apply_each_alone(&mut self, gathered: &mut Gathered) {
        let Some(start) = gathered.bundle.start.take() else { return };
        self.state.undo(start);
        for (batch, promise) in std::mem::take(&mut gathered.bundle.batches) {
            self.apply_alone(&batch, promise, gathered);
        }
    }

    fn apply_alone(&mut self, batch: &Batch, promise: Promise<u64>, gathered: &mut Gathered) {
        let start = self.state.begin_request();
        match self.apply_writes(batch).and_then(|()| self.state.finish_request(1)) {
            Ok(()) => {
                let version = self.state.version;
                let durability = batch.durability_or(self.engine.options.durability);
                let ack = Box::new(BatchAck { promise, version: version.0 });
                self.keep(ack, version, durability, gathered);
            }
            Err(error) => {
                self.undo(start);
                gathered.undone.push(Box::new(RefusedAck { promise, error }));
            }
        }
    }

    fn apply_writes(&mut self, batch: &Batch) -> Result<()> {
        self.state.pages.draw_on_reserve(batch.draw());
        let applied = batch.apply(&mut *self.state);
        self.state.pages.draw_on_reserve(Draw::Nothing);
        applied
    }
}
