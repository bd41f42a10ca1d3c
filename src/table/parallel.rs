//! Scans by all cores, through rayon.
//! Owns: [`ParRange`]. A range is cut between two leaves, wherever rayon wants another piece.

use super::{
    key::Key,
    read::{Range, TableRef},
    value::Value,
};
use crate::error::Result;
use rayon::iter::{
    IntoParallelIterator, ParallelIterator,
    plumbing::{Folder, UnindexedConsumer, UnindexedProducer, bridge_unindexed},
};
use std::fmt;

/// A range of entries for rayon's threads; of [`TableRef::par_iter`], or any [`Range`] by
/// `into_par_iter`.
///
/// What collects keeps the order of the keys. An error ends its piece, and others may be read on:
/// of several damaged pages any can be the error that `collect::<Result<_>>` gives.
pub struct ParRange<'s, K, V> {
    range: Range<'s, K, V>,
}

impl<'s, K: Key, V: Value> TableRef<'s, K, V> {
    /// All entries, read by rayon's threads. With the feature `rayon`.
    ///
    /// Cost: that of [`iter`](Self::iter), shared among the cores, and a few descents for each
    /// piece. As with all that borrows from it, the snapshot is held to the end, and with it the
    /// pages that it alone can see.
    ///
    /// ```
    /// use rayon::iter::ParallelIterator;
    /// use recto::{Store, Table};
    /// # fn main() -> recto::Result<()> {
    /// const AGES: Table<&str, u64> = Table::new("ages");
    /// let store = Store::in_memory()?;
    /// store.write(|tx| tx.table(&AGES)?.extend([("ada", 36), ("alan", 41), ("bob", 7)]))?;
    /// let snap = store.snapshot();
    /// let oldest = snap.table(&AGES)?.par_iter()?.try_reduce_with(|one, other| {
    ///     Ok(if one.1 < other.1 { other } else { one })
    /// });
    /// assert_eq!(oldest.transpose()?, Some(("alan", 41)));
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// As of [`iter`](Self::iter).
    pub fn par_iter(&self) -> Result<ParRange<'s, K, V>> {
        Ok(ParRange { range: self.iter()? })
    }
}

impl<'s, K: Key, V: Value> IntoParallelIterator for Range<'s, K, V>
where
    K::Item<'s>: Send,
    V::Item<'s>: Send,
{
    type Iter = ParRange<'s, K, V>;
    type Item = Result<(K::Item<'s>, V::Item<'s>)>;

    fn into_par_iter(self) -> ParRange<'s, K, V> {
        ParRange { range: self }
    }
}

impl<'s, K: Key, V: Value> ParallelIterator for ParRange<'s, K, V>
where
    K::Item<'s>: Send,
    V::Item<'s>: Send,
{
    type Item = Result<(K::Item<'s>, V::Item<'s>)>;

    fn drive_unindexed<C: UnindexedConsumer<Self::Item>>(self, consumer: C) -> C::Result {
        bridge_unindexed(Piece(self.range), consumer)
    }
}

/// What one thread reads, unless another wants a part of it.
struct Piece<'s, K, V>(Range<'s, K, V>);

impl<'s, K: Key, V: Value> UnindexedProducer for Piece<'s, K, V>
where
    K::Item<'s>: Send,
    V::Item<'s>: Send,
{
    type Item = Result<(K::Item<'s>, V::Item<'s>)>;

    fn split(self) -> (Self, Option<Self>) {
        match self.0.halves() {
            Ok(Some((left, right))) => (Piece(left), Some(Piece(right))),
            // Whoever reads the piece comes to the damaged page as well, and tells.
            Ok(None) | Err(_) => (self, None),
        }
    }

    fn fold_with<F: Folder<Self::Item>>(self, folder: F) -> F {
        folder.consume_iter(self.0)
    }
}

impl<K, V> fmt::Debug for ParRange<'_, K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ParRange").finish_non_exhaustive()
    }
}
