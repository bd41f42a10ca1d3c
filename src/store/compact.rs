//! Making the page file smaller while readers and writers go on.
//! Owns: [`Budget`], [`Compacted`], and how far a pass has come.
//!
//! First leaves are put together, then pages moved. A pass looks through a snapshot, on the
//! caller's thread, for neighbouring leaves that would fit into fewer, or for what lies near the
//! end of the file, and has the writer fill new leaves, or move it to free pages nearer the start,
//! a few at a time. Then a checkpoint lets the old copies go, and the end of the file is cut off.

use super::Store;
use crate::{
    error::Result,
    page::PageId,
    pager::TableId,
    sync::{Mutex, lock},
    tree::{
        Tree,
        relocate::{Found, Spot, Survey},
        repack::{Search, Stretch},
    },
    txn::{compact::Step, snapshot::Snapshot, writer::Writer},
};

/// How many pages are looked at for one that may be moved.
const LOOKS: usize = 16;

/// How many passes may put leaves together. Each has about as much room again as the ones before it
/// gave back, so a dozen do where nobody makes more work meanwhile.
const REPACKINGS_MAX: u32 = 64;

/// How much one step of a compaction may do.
///
/// ```
/// use recto::{Budget, Store, Table};
/// # fn main() -> recto::Result<()> {
/// # let dir = tempfile::tempdir().unwrap();
/// const ROWS: Table<u64, &[u8]> = Table::new("rows");
/// let store = Store::open(dir.path())?;
/// store.write(|tx| tx.table(&ROWS)?.extend((0..20_000).map(|i| (i, &[7; 100][..]))))?;
/// store.write(|tx| tx.table(&ROWS)?.remove_range(..19_000))?;
/// let before = store.stats().file_pages;
/// while !store.compact(Budget::pages(1000))?.is_done {}
/// assert!(store.stats().file_pages < before / 4);
/// # Ok(()) }
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Budget {
    pages: usize,
}

impl Budget {
    /// About so many pages may be copied, or sixteen to put leaves together, and sixteen times as
    /// many looked at, or those below a branch.
    pub const fn pages(pages: usize) -> Budget {
        Budget { pages }
    }
}

/// What a step of a compaction did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Compacted {
    /// Pages and overflow runs copied.
    pub pages_moved: u64,
    /// How many leaves fewer hold the same entries.
    pub leaves_saved: u64,
    /// How much shorter the page file is.
    pub bytes_freed: u64,
    /// Pages given up that snapshots, or a checkpoint on its way, still hold: the file can shrink
    /// further when those are gone.
    pub pages_held: u64,
    /// Another step now would do nothing.
    pub is_done: bool,
}

/// How far a compaction has come.
#[derive(Default)]
pub(super) struct Compaction {
    progress: Mutex<Progress>,
}

#[derive(Default)]
struct Progress {
    stage: Stage,
    repacking: Repacking,
    /// Passes in a row that moved nothing and cut off no more than the file may have grown by.
    idle_passes: u32,
}

#[derive(Default)]
enum Stage {
    #[default]
    Idle,
    /// Whether putting leaves together is worth it.
    Judging {
        cursor: Cursor,
        /// How many leaves fewer there would be of those looked at.
        savings: u32,
    },
    Repacking {
        /// Up to where the file may grow in this pass.
        ceiling: Option<PageId>,
        cursor: Cursor,
    },
    Moving {
        fence: PageId,
        cursor: Cursor,
    },
    Settling {
        has_copied: bool,
        /// There was no checkpoint since the pass.
        is_fresh: bool,
    },
}

/// How much is left to do of putting leaves together: it comes before all moves.
#[derive(Default)]
struct Repacking {
    /// How many leaves fewer there will be; none as long as that was not looked at.
    savings: Option<u32>,
    passes: u32,
    /// Where the next pass begins: what lies before is done.
    from: Place,
    /// Up to where the file may grow for it; none if the device refused.
    ceiling: Option<PageId>,
    is_over: bool,
}

/// How far a pass over all tables has come.
#[derive(Default)]
struct Cursor {
    /// Where the next step looks: tables before this one are done.
    table: TableId,
    key: Vec<u8>,
    has_copied: bool,
}

impl Cursor {
    /// Goes on behind what `step` did of `found`. False: the pass is over.
    fn advance<T>(
        &mut self,
        step: Step,
        found: Vec<(TableId, T)>,
        next: Option<Place>,
        key_of: impl Fn(T) -> Vec<u8>,
    ) -> bool {
        self.has_copied |= step.pages > 0;
        let left = found.into_iter().nth(step.spots).map(|(table, spot)| (table, key_of(spot)));
        let Some(place) = step.next.or(left).or(next) else { return false };
        (self.table, self.key) = place;
        !step.is_stuck
    }
}

impl Store {
    /// Takes one step towards a smaller page file: puts neighbouring leaves together that leave
    /// much room, or moves pages from the file's end to free ones nearer its start, or lets go what
    /// was copied, or cuts the end off. Call it until [`is_done`](Compacted::is_done), as fast or
    /// slowly as suits: readers and writers go on, and commits wait for a step no longer than for a
    /// transaction that changes as many pages.
    ///
    /// Contents and version stay as they are. Old copies go when the snapshots that see them are
    /// dropped. A pass reads every page once; the first ones put leaves together, where a page is
    /// saved for sixteen written at most, and let the file grow by a sixtieth meanwhile, if the
    /// device has room. Leaves are full then: who inserts in random order soon splits them again.
    ///
    /// # Errors
    /// [`Error::Full`](crate::Error::Full) if the device or the dirty pages are, or, without a map,
    /// the memory for clean pages; [`Error::Corrupt`](crate::Error::Corrupt) if a page is damaged;
    /// [`Error::Io`](crate::Error::Io). Nothing is lost by any of them, and the next step goes on.
    pub fn compact(&self, budget: Budget) -> Result<Compacted> {
        self.not_on_own_thread()?;
        let mut progress = lock(&self.shared.compaction.progress);
        let progress = &mut *progress;
        let pages_max = budget.pages.max(1);
        let mut done = Compacted::default();
        if matches!(progress.stage, Stage::Idle) {
            progress.stage = self.begin_pass(&mut progress.repacking)?;
        }
        match &mut progress.stage {
            Stage::Idle => {}
            Stage::Judging { cursor, savings } => {
                if !self.judge_some(cursor, pages_max, savings)? {
                    progress.repacking = self.weigh(*savings)?;
                    progress.stage = Stage::Idle;
                }
            }
            Stage::Repacking { ceiling, cursor } => {
                let repacking = &mut progress.repacking;
                if !self.repack_some(repacking, *ceiling, cursor, pages_max, &mut done)? {
                    progress.stage = if cursor.has_copied {
                        Stage::Settling { has_copied: true, is_fresh: true }
                    } else {
                        Stage::Idle
                    };
                }
            }
            Stage::Moving { fence, cursor } => {
                if !self.move_some(*fence, cursor, pages_max, &mut done)? {
                    let has_copied = cursor.has_copied;
                    progress.stage = Stage::Settling { has_copied, is_fresh: true };
                }
            }
            Stage::Settling { .. } => self.settle(progress, &mut done)?,
        }
        Ok(done)
    }

    /// Begins what comes next.
    fn begin_pass(&self, repacking: &mut Repacking) -> Result<Stage> {
        let mut cursor = Cursor::default();
        let Some(savings) = repacking.savings else {
            return Ok(Stage::Judging { cursor, savings: 0 });
        };
        if !repacking.is_over {
            repacking.passes += 1;
            (cursor.table, cursor.key) = std::mem::take(&mut repacking.from);
            let ceiling = repacking.ceiling;
            let ceiling = self.inspect(move |w| Ok(w.begin_repacking(savings, ceiling)))?;
            return Ok(Stage::Repacking { ceiling, cursor });
        }
        Ok(match self.inspect(|writer| Ok(writer.begin_pass()))? {
            Some(fence) => Stage::Moving { fence, cursor },
            None => Stage::Settling { has_copied: false, is_fresh: false },
        })
    }

    /// One step of a pass that only counts. False: it has come to its end.
    fn judge_some(&self, cursor: &mut Cursor, pages_max: usize, savings: &mut u32) -> Result<bool> {
        let (stretches, next) = search(&self.snapshot(), cursor, pages_max)?;
        *savings += stretches.iter().map(|(_, stretch)| stretch.savings() as u32).sum::<u32>();
        let step = Step { spots: stretches.len(), ..Step::default() };
        Ok(cursor.advance(step, stretches, next, |stretch| stretch.key))
    }

    /// Whether to save so many leaves is worth it.
    fn weigh(&self, savings: u32) -> Result<Repacking> {
        let (savings_min, ceiling) = self.inspect(|writer| Ok(writer.weigh_repacking()))?;
        let is_over = savings < savings_min;
        let (savings, ceiling) = (Some(savings), Some(ceiling));
        Ok(Repacking { savings, ceiling, is_over, ..Repacking::default() })
    }

    /// One step of a pass that puts leaves together. False: it has come to its end.
    fn repack_some(
        &self,
        repacking: &mut Repacking,
        ceiling: Option<PageId>,
        cursor: &mut Cursor,
        pages_max: usize,
        done: &mut Compacted,
    ) -> Result<bool> {
        let (stretches, next) = search(&self.snapshot(), cursor, pages_max)?;
        let (stretches, step) = self.inspect(move |writer| {
            let step = writer.repack(ceiling, &stretches, pages_max)?;
            Ok((stretches, step))
        })?;
        (done.pages_moved, done.leaves_saved) = (step.pages, step.saved);
        let saved = step.saved as u32;
        repacking.savings = repacking.savings.map(|savings| savings.saturating_sub(saved));
        // Without growth it may go on with what is free.
        let is_refused = step.was_refused && repacking.ceiling.take().is_some();
        let is_stuck = step.is_stuck;
        let goes_on = cursor.advance(step, stretches, next, |stretch| stretch.key);
        if !goes_on {
            repacking.from = (cursor.table, cursor.key.clone());
            // One that was not stuck came to the end of the tables.
            let has_more = is_stuck && (cursor.has_copied || is_refused);
            repacking.is_over = !has_more || repacking.passes >= REPACKINGS_MAX;
        }
        Ok(goes_on)
    }

    /// One step of a pass that moves pages. False: it has come to its end.
    fn move_some(
        &self,
        fence: PageId,
        cursor: &mut Cursor,
        pages_max: usize,
        done: &mut Compacted,
    ) -> Result<bool> {
        let (spots, next) = survey(&self.snapshot(), fence, cursor, pages_max)?;
        let (spots, step) = self.inspect(move |writer| {
            let step = writer.move_spots(fence, &spots, pages_max)?;
            Ok((spots, step))
        })?;
        done.pages_moved = step.pages;
        Ok(cursor.advance(step, spots, next, |spot| spot.key))
    }

    /// Lets go what a pass has copied, and cuts the end off.
    fn settle(&self, progress: &mut Progress, done: &mut Compacted) -> Result<()> {
        let Progress { stage, repacking, idle_passes } = progress;
        let Stage::Settling { has_copied, is_fresh } = stage else { return Ok(()) };
        // Also if nothing was moved: the catalog and the list of free space lie where there was
        // room, and are written anew where there is room now, below the fence.
        let mut is_shorter = false;
        let is_due = *is_fresh || {
            let tail = self.inspect(Writer::settle_tail)?;
            (done.bytes_freed, done.pages_held) = (tail.bytes_cut, tail.pages_held);
            is_shorter = tail.is_shorter;
            tail.needs_checkpoint
        };
        if is_due {
            self.checkpoint()?;
            *is_fresh = false;
            return Ok(());
        }
        let is_idle = !*has_copied && !is_shorter;
        *idle_passes = if is_idle { *idle_passes + 1 } else { 0 };
        // A checkpoint may let the file grow a little, to be cut off again and again.
        done.is_done = !*has_copied && (done.bytes_freed == 0 || *idle_passes > 1);
        if done.is_done {
            (*idle_passes, *repacking) = (0, Repacking::default());
        }
        *stage = Stage::Idle;
        Ok(())
    }
}

/// A table, and a key in it.
type Place = (TableId, Vec<u8>);

/// Where the next step looks, and what this one is to copy.
type Seen<T> = (Vec<(TableId, T)>, Option<Place>);

/// The leaves that the next step puts together.
fn search(snapshot: &Snapshot, cursor: &Cursor, pages_max: usize) -> Result<Seen<Stretch>> {
    let pages_left = pages_max.saturating_mul(LOOKS);
    let mut search = Search { pager: snapshot.pages()?, pages_left, copies_left: pages_max };
    look(snapshot, cursor, |tree, from| search.look(tree, from))
}

/// What the next step moves.
fn survey(
    snapshot: &Snapshot,
    fence: PageId,
    cursor: &Cursor,
    pages_max: usize,
) -> Result<Seen<Spot>> {
    let (pages_left, spots_left) = (pages_max.saturating_mul(LOOKS), pages_max);
    let mut survey = Survey { pager: snapshot.pages()?, fence, pages_left, spots_left };
    look(snapshot, cursor, |tree, from| survey.look(tree, from))
}

/// What the next step of a pass copies, and where the one after it looks. `look` is asked about one
/// tree after the other, until it does not see the end of one.
fn look<T>(
    snapshot: &Snapshot,
    cursor: &Cursor,
    mut look: impl FnMut(&Tree, &[u8]) -> Result<Found<T>>,
) -> Result<Seen<T>> {
    let mut all = Vec::new();
    for (entry, tree) in snapshot.catalog.iter().filter(|(entry, _)| entry.id >= cursor.table) {
        let from = if entry.id == cursor.table { &cursor.key[..] } else { &[] };
        let Found { found, next } = look(tree, from)?;
        all.extend(found.into_iter().map(|spot| (entry.id, spot)));
        if let Some(next) = next {
            return Ok((all, Some((entry.id, next))));
        }
    }
    Ok((all, None))
}
