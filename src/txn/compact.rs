//! The writer's part of a compaction: pages moved from the file's tail, and the tail cut off.
//! Owns: [`Step`] and [`Tail`]. Keeps I1, I2 and I3.
//!
//! A step moves copies of pages and publishes the same version again, as a generation of its own.
//! It changes no content, so it is not logged: a recovery replays operations over the tree that the
//! meta page names, whose pages stay until another checkpoint is durable, and forgets the moves.
//! The file is cut only behind what both meta pages count, and only what the reclaim rule gave
//! back: no snapshot reaches it.

use super::writer::Writer;
use crate::{
    error::Result,
    page::PageId,
    pager::{Pages, TableId},
    tree::relocate::Spot,
};

/// A pass that would move the end of the file by less than this is not worth its copies.
const GAIN_PAGES_MIN: u32 = 16;

/// How much shorter a file of so many pages in use must become.
fn worthwhile(used: u32) -> u32 {
    (used / 64).max(GAIN_PAGES_MIN)
}

/// What a step did.
#[derive(Clone, Copy, Debug, Default)]
pub struct Step {
    /// How many of the spots were looked at.
    pub spots: usize,
    /// Pages and runs copied.
    pub pages: u64,
    /// There was no room below the fence: pages given up must come back first.
    pub is_stuck: bool,
}

/// How the file's end was found, and what was done about it.
#[derive(Clone, Copy, Debug, Default)]
pub struct Tail {
    /// Bytes cut off.
    pub bytes_cut: u64,
    /// More was cut off than the checkpoint before can have added to the end.
    pub is_shorter: bool,
    /// A checkpoint would let pages at the end go.
    pub needs_checkpoint: bool,
    /// Pages given up that readers, or a checkpoint on its way, still hold.
    pub pages_held: u64,
}

impl Writer {
    /// Begins a pass, which ends with [`settle_tail`](Self::settle_tail), if one is worth it: the
    /// page at or behind which everything is to be moved.
    pub fn begin_pass(&mut self) -> Option<PageId> {
        self.state.pages.set_fence(None);
        self.state.pages.reclaim();
        let layout = self.state.pages.layout();
        // Room for the copies of branches, which come back only with a checkpoint.
        let fence = layout.used + layout.used / 32 + GAIN_PAGES_MIN;
        if layout.used_end <= fence + worthwhile(layout.used) {
            return None;
        }
        self.state.pages.set_fence(Some(PageId(fence)));
        Some(PageId(fence))
    }

    /// Moves what lies behind `fence` at `spots`, until `pages_max` pages were copied.
    ///
    /// # Errors
    /// [`Error::Full`](crate::Error::Full) if too much is dirty; [`Error::Corrupt`](crate::Error).
    /// Nothing was moved then.
    pub fn move_spots(
        &mut self,
        fence: PageId,
        spots: &[(TableId, Spot)],
        pages_max: usize,
    ) -> Result<Step> {
        self.make_room()?;
        let generation = self.next_generation();
        let start = self.state.begin_group(generation);
        self.state.pages.begin_move(self.state.version);
        let moved = self.move_all(fence, spots, pages_max);
        let step = match moved {
            Ok(step) => step,
            Err(error) => {
                self.state.undo(start);
                self.state.pages.commit_group();
                self.settle_undone();
                return Err(error);
            }
        };
        self.state.pages.commit_group();
        if step.pages > 0 {
            self.republish(generation);
        }
        Ok(step)
    }

    fn move_all(
        &mut self,
        fence: PageId,
        spots: &[(TableId, Spot)],
        pages_max: usize,
    ) -> Result<Step> {
        let mut step = Step::default();
        let dirty_bytes_max = self.engine.options.dirty_bytes;
        for (table, spot) in spots {
            let is_full = self.state.pages.dirty_bytes() >= dirty_bytes_max;
            if self.state.pages.made_pages() >= pages_max || is_full {
                break;
            }
            if !self.state.relocate(*table, spot, fence)? {
                step.is_stuck = true;
                break;
            }
            step.spots += 1;
        }
        step.pages = self.state.pages.made_pages() as u64;
        Ok(step)
    }

    /// Looks at the end of the file, and cuts it if it can be.
    ///
    /// # Errors
    /// [`Error::Io`](crate::Error::Io) if the file cannot be cut; nothing is lost by that.
    pub fn settle_tail(&mut self) -> Result<Tail> {
        self.settle_checkpoint();
        // What was retired waits for the snapshot that is published until another one is.
        self.engine.pipeline.wait_idle()?;
        self.state.pages.reclaim();
        self.state.pages.trim();
        self.state.pages.trim();
        let layout = self.state.pages.layout();
        let named = self.durable.meta.page_count;
        let mut tail = Tail::default();
        if layout.used_end + worthwhile(layout.used) < named {
            tail.needs_checkpoint = true;
            return Ok(tail);
        }
        // A checkpoint on its way may write what it has pinned.
        if !self.engine.checkpointer.is_busy() {
            let growth = self.state.pages.growth_pages();
            let cut = self.state.pages.truncate(named)?;
            tail.is_shorter = cut > growth;
            tail.bytes_cut = u64::from(cut) * self.state.pages.page_bytes() as u64;
        }
        tail.pages_held = self.state.pages.waiting_pages();
        self.gauge();
        Ok(tail)
    }
}
