//! What readers hold: one version of everything.
//! Owns: [`Root`], what is published, and [`Snapshot`], a user's hold on it. Keeps I4 and I5: the pin
//! is the `Arc`, and nothing beside it.

use super::catalog::Catalog;
use crate::{
    pager::Pager,
    publish::{Generation, Pin, Version},
    sync::Arc,
};
use std::fmt;

/// One published version: the tables' roots, and what keeps their pages readable.
pub struct Root {
    /// The count of commits it shows.
    pub version: Version,
    /// The publication that brought it.
    pub generation: Generation,
    /// The tables.
    pub catalog: Catalog,
    /// The pages; dropped after the pin, so that the map outlives every look through it.
    pub pager: Arc<Pager>,
    /// What the reclaimer waits for.
    pub pin: Pin,
}

/// One version of the whole store, for as long as it is held: commits that come later do not show.
///
/// A clone is the same version. Holding one keeps the pages that it can see, and nothing else;
/// borrowed keys and values live as long as the snapshot they came from.
///
/// ```
/// use recto::{Store, Table};
/// # fn main() -> recto::Result<()> {
/// const AGES: Table<&str, u64> = Table::new("ages");
/// let store = Store::in_memory()?;
/// store.write(|tx| tx.table(&AGES)?.insert("ada", 36))?;
/// let before = store.snapshot();
/// store.write(|tx| tx.table(&AGES)?.insert("ada", 37))?;
/// assert_eq!(before.table(&AGES)?.get("ada")?, Some(36));
/// assert_eq!(store.snapshot().table(&AGES)?.get("ada")?, Some(37));
/// # Ok(()) }
/// ```
#[derive(Clone)]
pub struct Snapshot {
    root: Arc<Root>,
}

impl Snapshot {
    pub(crate) fn new(root: Arc<Root>) -> Snapshot {
        Snapshot { root }
    }

    /// The count of commits that this snapshot shows: gapless, and growing along each thread.
    pub fn version(&self) -> u64 {
        self.root.version.0
    }

    pub(crate) fn root(&self) -> &Root {
        &self.root
    }
}

impl fmt::Debug for Snapshot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Snapshot").field("version", &self.version()).finish_non_exhaustive()
    }
}
