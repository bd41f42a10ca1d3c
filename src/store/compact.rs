//! Making the page file smaller while readers and writers go on.
//! Owns: [`Budget`], [`Compacted`], and how far a pass has come.
//!
//! A pass looks through a snapshot, on the caller's thread, for what lies near the end of the file,
//! and has the writer move it to free pages nearer the start, a few at a time. Then a checkpoint
//! lets the old copies go, and the end of the file is cut off.

use super::Store;
use crate::{
    error::Result,
    page::PageId,
    pager::TableId,
    sync::{Mutex, lock},
    tree::relocate::{Spot, Survey},
    txn::{snapshot::Snapshot, writer::Writer},
};

/// How many pages are looked at for one that may be moved.
const LOOKS: usize = 16;

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
    /// About so many pages may be copied, and sixteen times as many looked at.
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
    /// Passes in a row that moved nothing and cut off no more than the file may have grown by.
    idle_passes: u32,
}

#[derive(Default)]
enum Stage {
    #[default]
    Idle,
    Moving(Pass),
    Settling {
        has_moved: bool,
        /// There was no checkpoint since the pass.
        is_fresh: bool,
    },
}

/// One pass over all tables.
struct Pass {
    fence: PageId,
    /// Where the next step looks: tables before this one are done.
    table: TableId,
    key: Vec<u8>,
    has_moved: bool,
}

impl Store {
    /// Takes one step towards a smaller page file: moves pages from its end to free ones nearer its
    /// start, or lets what was moved go, or cuts the end off. Call it until
    /// [`is_done`](Compacted::is_done), as fast or slowly as suits: readers and writers go on, and
    /// commits wait for a step no longer than for a transaction that changes as many pages.
    ///
    /// Contents and version stay as they are. Old copies go when the snapshots that see them are
    /// dropped. A pass reads every page once.
    ///
    /// # Errors
    /// [`Error::Full`](crate::Error::Full) if the device or the dirty pages are;
    /// [`Error::Corrupt`](crate::Error::Corrupt) if a page is damaged;
    /// [`Error::Io`](crate::Error::Io). Nothing is lost by any of them, and the next step goes on.
    pub fn compact(&self, budget: Budget) -> Result<Compacted> {
        self.not_on_own_thread()?;
        let mut progress = lock(&self.shared.compaction.progress);
        let Progress { stage, idle_passes } = &mut *progress;
        let mut done = Compacted::default();
        if matches!(stage, Stage::Idle) {
            *stage = match self.inspect(|writer| Ok(writer.begin_pass()))? {
                Some(fence) => {
                    Stage::Moving(Pass { fence, table: 0, key: Vec::new(), has_moved: false })
                }
                None => Stage::Settling { has_moved: false, is_fresh: false },
            };
        }
        match stage {
            Stage::Idle => {}
            Stage::Moving(pass) => {
                if self.move_some(pass, budget, &mut done)? {
                    *stage = Stage::Settling { has_moved: pass.has_moved, is_fresh: true };
                }
            }
            Stage::Settling { has_moved, is_fresh } => {
                // Also if nothing was moved: the catalog and the list of free space lie where there
                // was room, and are written anew where there is room now, below the fence.
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
                    return Ok(done);
                }
                let is_idle = !*has_moved && !is_shorter;
                *idle_passes = if is_idle { *idle_passes + 1 } else { 0 };
                // A checkpoint may let the file grow a little, to be cut off again and again.
                done.is_done = !*has_moved && (done.bytes_freed == 0 || *idle_passes > 1);
                if done.is_done {
                    *idle_passes = 0;
                }
                *stage = Stage::Idle;
            }
        }
        Ok(done)
    }

    /// One step of a pass. True: it has come to its end.
    fn move_some(&self, pass: &mut Pass, budget: Budget, done: &mut Compacted) -> Result<bool> {
        let pages_max = budget.pages.max(1);
        let (spots, next) = survey(&self.snapshot(), pass, pages_max)?;
        let fence = pass.fence;
        let (spots, step) = self.inspect(move |writer| {
            let step = writer.move_spots(fence, &spots, pages_max)?;
            Ok((spots, step))
        })?;
        done.pages_moved = step.pages;
        pass.has_moved |= step.pages > 0;
        match spots.into_iter().nth(step.spots) {
            Some((table, spot)) => (pass.table, pass.key) = (table, spot.key),
            None => match next {
                Some((table, key)) => (pass.table, pass.key) = (table, key),
                None => return Ok(true),
            },
        }
        Ok(step.is_stuck)
    }
}

type Spots = Vec<(TableId, Spot)>;

/// A table, and a key in it.
type Place = (TableId, Vec<u8>);

/// What the next step moves, and where the one after it looks.
fn survey(snapshot: &Snapshot, pass: &Pass, pages_max: usize) -> Result<(Spots, Option<Place>)> {
    let mut survey = Survey {
        pager: snapshot.pages()?,
        fence: pass.fence,
        pages_left: pages_max.saturating_mul(LOOKS),
        spots_left: pages_max,
    };
    let mut spots = Spots::new();
    for (entry, tree) in snapshot.catalog.iter().filter(|(entry, _)| entry.id >= pass.table) {
        let from = if entry.id == pass.table { &pass.key[..] } else { &[] };
        let found = survey.look(tree, from)?;
        spots.extend(found.spots.into_iter().map(|spot| (entry.id, spot)));
        if let Some(next) = found.next {
            return Ok((spots, Some((entry.id, next))));
        }
    }
    Ok((spots, None))
}
