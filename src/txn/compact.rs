//! The writer's part of a compaction: leaves put together, pages moved from the file's tail, and
//! the tail cut off.
//! Owns: [`Step`] and [`Tail`]. Keeps I1, I2 and I3.
//!
//! A step makes copies of pages and publishes the same version again, as a generation of its own.
//! It changes no content, so it is not logged: a recovery replays operations over the tree that the
//! meta page names, whose pages stay until another checkpoint is durable, and forgets the copies.
//! The file is cut only behind what both meta pages count, and only what the reclaim rule gave
//! back: no snapshot reaches it.

use super::writer::Writer;
use crate::{
    error::{Error, Resource, Result},
    page::PageId,
    pager::{Pages, TableId},
    tree::{relocate::Spot, repack::Stretch},
};

/// A pass that would move the end of the file by less than this is not worth its copies.
const GAIN_PAGES_MIN: u32 = 16;

/// How many leaves a step may fill at least, whatever its budget: fewer would save none where
/// each leaves little room.
const FILLED_MIN: usize = 16;

/// How much shorter a file of so many pages in use must become.
fn worthwhile(used: u32) -> u32 {
    (used / 64).max(GAIN_PAGES_MIN)
}

/// Behind the last of so many pages there is room for copies, which come back only with a
/// checkpoint.
fn with_room(used: u32) -> u32 {
    used + used / 64 + GAIN_PAGES_MIN
}

/// What a step did.
#[derive(Clone, Debug, Default)]
pub struct Step {
    /// How many of the spots, or stretches, were looked at.
    pub spots: usize,
    /// Pages and runs copied.
    pub pages: u64,
    /// Leaves that there are fewer.
    pub saved: u64,
    /// Where the next step goes on in the last of them, which it did not finish.
    pub next: Option<(TableId, Vec<u8>)>,
    /// There was no room for copies: pages given up must come back first.
    pub is_stuck: bool,
    /// The device has no room for the file to grow. Nothing was done.
    pub was_refused: bool,
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
    /// How many leaves must be saved by putting leaves together, and the page up to which the file
    /// may grow meanwhile.
    pub fn weigh_repacking(&self) -> (u32, PageId) {
        let layout = self.state.pages.layout();
        (worthwhile(layout.used), PageId(with_room(layout.used_end)))
    }

    /// Begins a pass that puts leaves together, of which there will be `savings` fewer. New ones go
    /// to where the file will end then, or before, so that they need not be moved; only where there
    /// is hardly any room they go anywhere, and behind its end up to `ceiling`, which is given back
    /// then.
    pub fn begin_repacking(&mut self, savings: u32, ceiling: Option<PageId>) -> Option<PageId> {
        self.state.pages.set_fence(None);
        self.state.pages.reclaim();
        let used = self.state.pages.layout().used;
        let fence = with_room(used.saturating_sub(savings));
        self.state.pages.set_fence(Some(PageId(fence)));
        if self.state.pages.pages_below() >= worthwhile(used) {
            return None;
        }
        self.state.pages.set_fence(None);
        ceiling
    }

    /// Begins a pass, which ends with [`settle_tail`](Self::settle_tail), if one is worth it: the
    /// page at or behind which everything is to be moved.
    pub fn begin_pass(&mut self) -> Option<PageId> {
        self.state.pages.set_fence(None);
        self.state.pages.reclaim();
        let layout = self.state.pages.layout();
        let fence = with_room(layout.used);
        if layout.used_end <= fence + worthwhile(layout.used) {
            return None;
        }
        self.state.pages.set_fence(Some(PageId(fence)));
        Some(PageId(fence))
    }

    /// Writes the leaves of `stretches` anew into fewer, until `pages_max` pages were copied. The
    /// file may grow up to `ceiling`, if there is one.
    ///
    /// # Errors
    /// [`Error::Full`] if too much is dirty; [`Error::Corrupt`](crate::Error). Nothing was changed
    /// then.
    pub fn repack(
        &mut self,
        ceiling: Option<PageId>,
        stretches: &[(TableId, Stretch)],
        pages_max: usize,
    ) -> Result<Step> {
        let done = self.copy(|writer| writer.repack_all(ceiling, stretches, pages_max));
        match done {
            Err(Error::Full { what: Resource::Disk }) => {
                Ok(Step { is_stuck: true, was_refused: true, ..Step::default() })
            }
            done => done,
        }
    }

    fn repack_all(
        &mut self,
        ceiling: Option<PageId>,
        stretches: &[(TableId, Stretch)],
        pages_max: usize,
    ) -> Result<Step> {
        let mut step = Step::default();
        for (table, stretch) in stretches {
            if step.next.is_some() || self.has_copied(pages_max) {
                break;
            }
            let most = pages_max.max(FILLED_MIN).saturating_sub(self.state.pages.made_pages());
            let room = self.state.pages.room_pages(ceiling) as usize;
            let Some(done) = self.state.repack(*table, stretch, most, room)? else {
                step.is_stuck = true;
                break;
            };
            step.saved += done.saved as u64;
            step.next = done.next.map(|key| (*table, key));
            step.spots += 1;
        }
        Ok(step)
    }

    /// Moves what lies behind `fence` at `spots`, until `pages_max` pages were copied.
    ///
    /// # Errors
    /// [`Error::Full`] if too much is dirty; [`Error::Corrupt`](crate::Error). Nothing was moved
    /// then.
    pub fn move_spots(
        &mut self,
        fence: PageId,
        spots: &[(TableId, Spot)],
        pages_max: usize,
    ) -> Result<Step> {
        self.copy(|writer| {
            let mut step = Step::default();
            for (table, spot) in spots {
                if writer.has_copied(pages_max) {
                    break;
                }
                if !writer.state.relocate(*table, spot, fence)? {
                    step.is_stuck = true;
                    break;
                }
                step.spots += 1;
            }
            Ok(step)
        })
    }

    /// Whether a step has copied its part, or as much as may be dirty.
    fn has_copied(&self, pages_max: usize) -> bool {
        let pages = &self.state.pages;
        pages.made_pages() >= pages_max || pages.dirty_bytes() >= self.engine.options.dirty_bytes
    }

    /// Does `work`, which copies pages and changes no content, and publishes what came of it; or
    /// undoes it.
    fn copy(&mut self, work: impl FnOnce(&mut Writer) -> Result<Step>) -> Result<Step> {
        self.make_room()?;
        let generation = self.next_generation();
        let start = self.state.begin_group(generation);
        self.state.pages.begin_move(self.state.version);
        match work(self) {
            Ok(mut step) => {
                step.pages = self.state.pages.made_pages() as u64;
                self.state.pages.commit_group();
                if step.pages > 0 {
                    self.republish(generation);
                }
                Ok(step)
            }
            Err(error) => {
                self.state.undo(start);
                self.state.pages.commit_group();
                self.settle_undone();
                Err(error)
            }
        }
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
