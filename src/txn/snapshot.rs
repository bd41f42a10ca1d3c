//! What readers hold: one version of everything.
//! Owns: [`View`], what is published, and [`Snapshot`], a user's hold on it. Keeps I4 and I5: the
//! pin is the `Arc`, and nothing beside it.

use super::catalog::Catalog;
use crate::{
    error::{Error, Result},
    page::{Child, PageId, Run, leaf::LeafBytes},
    pager::{Pager, Pages, TableId},
    publish::{Generation, Lease, Pin, Version},
    sync::Arc,
};
use std::{fmt, ops::Deref, panic::Location};

/// One published version: the tables' roots, and what keeps their pages readable. What
/// [`Store::read`](crate::Store::read) lends and a [`Snapshot`] holds; both read through its
/// [`table`](View::table).
pub struct View {
    pub(crate) version: Version,
    /// The publication that brought it.
    pub(crate) generation: Generation,
    pub(crate) catalog: Catalog,
    /// None behind a store that is closed: then there is nothing to read.
    pub(crate) pager: Option<Arc<Pager>>,
    /// What the reclaimer waits for. Behind the pager, so that nothing of this view can touch a
    /// page once the pin has gone.
    pub(crate) pin: Option<Pin>,
}

impl View {
    /// The count of commits that this view shows: gapless, and growing along each thread.
    pub fn version(&self) -> u64 {
        self.version.0
    }

    /// The tables' names, in order.
    ///
    /// # Errors
    /// [`Error::Closed`] behind a store that is closed; [`Error::SnapshotEvicted`].
    pub fn tables(&self) -> Result<Vec<String>> {
        self.pages()?;
        let mut names: Vec<String> =
            self.catalog.iter().map(|(entry, _)| entry.name.to_string()).collect();
        names.sort_unstable();
        Ok(names)
    }

    /// What a closed store shows: its last version, of which nothing can be read.
    pub(crate) fn closed(version: Version, generation: Generation) -> View {
        View { version, generation, catalog: Catalog::new(), pager: None, pin: None }
    }

    /// The pages, for whoever reads a tree.
    #[inline]
    pub(crate) fn pages(&self) -> Result<&Pager> {
        match (&self.pager, &self.pin) {
            (Some(pager), Some(pin)) if !pin.lease().is_evicted() => Ok(pager),
            _ => Err(self.refusal()),
        }
    }

    /// Why nothing can be read.
    #[cold]
    fn refusal(&self) -> Error {
        match self.pager {
            Some(_) => Error::SnapshotEvicted { version: self.version.0 },
            None => Error::Closed,
        }
    }

    /// What tells whether anybody holds this view.
    pub(crate) fn lease(&self) -> Option<&Arc<Lease>> {
        self.pin.as_ref().map(Pin::lease)
    }

    /// Notes where somebody takes hold of it.
    pub(crate) fn note_taken(&self, at: &'static Location<'static>) {
        if let Some(lease) = self.lease() {
            lease.note_taken(at);
        }
    }
}

/// Read through a view, a walk ends at the page at which the view is evicted.
impl Pages for View {
    #[allow(clippy::inline_always, reason = "as of the pager")]
    #[inline(always)]
    fn page(&self, child: Child, table: TableId, level: u8) -> Result<&[u8]> {
        self.pages()?.page(child, table, level)
    }

    #[allow(clippy::inline_always, reason = "as of the pager")]
    #[inline(always)]
    fn leaf_bytes(&self, child: Child, table: TableId) -> Result<LeafBytes<'_>> {
        self.pages()?.leaf_bytes(child, table)
    }

    fn run(&self, run: Run, table: TableId) -> Result<&[u8]> {
        self.pages()?.run(run, table)
    }

    fn prefetch(&self, page: PageId) {
        if let Some(pager) = &self.pager {
            pager.prefetch(page);
        }
    }

    fn page_bytes(&self) -> usize {
        self.pager.as_ref().map_or(0, |pager| pager.page_bytes())
    }
}

impl fmt::Debug for View {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("View").field("version", &self.version.0).finish_non_exhaustive()
    }
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
    root: Arc<View>,
}

impl Snapshot {
    pub(crate) fn new(root: Arc<View>) -> Snapshot {
        Snapshot { root }
    }

    pub(crate) fn into_root(self) -> Arc<View> {
        self.root
    }
}

impl Deref for Snapshot {
    type Target = View;

    #[inline]
    fn deref(&self) -> &View {
        &self.root
    }
}

impl fmt::Debug for Snapshot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Snapshot").field("version", &self.version()).finish_non_exhaustive()
    }
}
