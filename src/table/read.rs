//! Reading a table, by its types.
//! Owns: [`TableRef`] and [`Range`].

#![allow(
    clippy::needless_pass_by_value,
    reason = "keys and values are handed in as a user writes them: small, and by value"
)]

use super::{
    Table,
    datum::Scratch,
    key::{Key, Prefix, prefix_end},
    value::Value,
};
use crate::{
    error::Result,
    txn::{
        raw::{Entry, ReadRaw},
        snapshot::View,
    },
};
use std::{
    fmt,
    iter::FusedIterator,
    marker::PhantomData,
    ops::{Bound, RangeBounds},
};

impl View {
    /// A table as this version shows it. One that is not there reads as empty.
    ///
    /// Cost: a binary search over the hashes of the names; no copy.
    ///
    /// # Errors
    /// [`Error::TypeMismatch`](crate::Error::TypeMismatch) if it was created with other types;
    /// [`Error::Closed`](crate::Error::Closed) behind a store that is closed.
    #[inline]
    pub fn table<K: Key, V: Value>(&self, table: &Table<K, V>) -> Result<TableRef<'_, K, V>> {
        self.pages()?;
        let index = table.asked().find(&self.catalog)?;
        Ok(TableRef::new(self, index))
    }
}

/// A table of one snapshot, to read. Keys and values are borrowed from the snapshot, for `'s`.
///
/// ```
/// use recto::{Store, Table};
/// # fn main() -> recto::Result<()> {
/// const AGES: Table<&str, u64> = Table::new("ages");
/// let store = Store::in_memory()?;
/// store.write(|tx| tx.table(&AGES)?.extend([("ada", 36), ("alan", 41), ("bob", 7)]))?;
/// let snap = store.snapshot();
/// let ages = snap.table(&AGES)?;
/// assert_eq!(ages.get("ada")?, Some(36));
/// assert_eq!(ages.get_many(["bob", "eve"])?, [Some(7), None]);
/// let names: Vec<_> = ages.prefix("a")?.map(|entry| entry.unwrap().0).collect();
/// assert_eq!(names, ["ada", "alan"]);
/// # Ok(()) }
/// ```
pub struct TableRef<'s, K, V, S = View> {
    source: &'s S,
    /// None: the table is not there.
    index: Option<usize>,
    types: PhantomData<fn() -> (K, V)>,
}

impl<'s, K: Key, V: Value, S: ReadRaw> TableRef<'s, K, V, S> {
    #[inline]
    pub(crate) fn new(source: &'s S, index: Option<usize>) -> TableRef<'s, K, V, S> {
        TableRef { source, index, types: PhantomData }
    }

    /// The number of entries. Cost: none, it is kept.
    pub fn len(&self) -> Result<u64> {
        self.index.map_or(Ok(0), |index| self.source.len(index))
    }

    /// Whether there is no entry.
    pub fn is_empty(&self) -> Result<bool> {
        Ok(self.len()? == 0)
    }

    /// The value of `key`, borrowed from the snapshot.
    ///
    /// Cost: one descent, a page each level; no lock, no system call, no copy.
    ///
    /// # Errors
    /// [`Error::Corrupt`](crate::Error::Corrupt) if a page on the way, or the value, is damaged.
    #[inline]
    pub fn get(&self, key: K::Item<'_>) -> Result<Option<V::Item<'s>>> {
        let Some(index) = self.index else {
            return Ok(None);
        };
        match self.source.get(index, K::lend(&key, &mut Scratch::new()))? {
            Some(value) => V::decode(value).map(Some),
            None => Ok(None),
        }
    }

    /// Whether there is an entry of `key`.
    pub fn contains(&self, key: K::Item<'_>) -> Result<bool> {
        let Some(index) = self.index else {
            return Ok(false);
        };
        self.source.contains(index, K::lend(&key, &mut Scratch::new()))
    }

    /// The values of `keys`, in their order. The lookups walk down the tree together, so that their
    /// waits for memory overlap: for many keys far cheaper than one [`get`](Self::get) after
    /// another.
    pub fn get_many<'q, I>(&self, keys: I) -> Result<Vec<Option<V::Item<'s>>>>
    where
        I: IntoIterator<Item = K::Item<'q>>,
    {
        let keys = keys.into_iter();
        let (mut bytes, mut ends) = (Vec::new(), Vec::with_capacity(keys.size_hint().0));
        let mut scratch = Scratch::new();
        for key in keys {
            bytes.extend_from_slice(K::lend(&key, &mut scratch));
            ends.push(bytes.len());
        }
        let Some(index) = self.index else {
            return Ok(ends.iter().map(|_| None).collect());
        };
        let mut start = 0;
        let slice = |end: usize| &bytes[std::mem::replace(&mut start, end)..end];
        let keys: Vec<&[u8]> = ends.into_iter().map(slice).collect();
        let values = self.source.get_many(index, &keys)?.into_iter();
        values.map(|value| value.map(V::decode).transpose()).collect()
    }

    /// The entry with the smallest key.
    pub fn first(&self) -> Result<Option<(K::Item<'s>, V::Item<'s>)>> {
        let Some(index) = self.index else {
            return Ok(None);
        };
        self.source.first(index)?.map(decode::<K, V>).transpose()
    }

    /// The entry with the greatest key.
    pub fn last(&self) -> Result<Option<(K::Item<'s>, V::Item<'s>)>> {
        let Some(index) = self.index else {
            return Ok(None);
        };
        self.source.last(index)?.map(decode::<K, V>).transpose()
    }

    /// The entries whose keys lie in `range`, in key order, from both ends. A range whose bounds
    /// are in the wrong order is empty.
    ///
    /// # Errors
    /// [`Error::Corrupt`](crate::Error::Corrupt) if a page on the way is damaged; later ones come
    /// out of the iterator.
    pub fn range<'q, R>(&self, range: R) -> Result<Range<'s, K, V, S>>
    where
        R: RangeBounds<K::Item<'q>>,
    {
        let (mut from, mut to) = (Scratch::new(), Scratch::new());
        let (from, to) = bounds::<K, _>(&range, &mut from, &mut to);
        self.raw_range(from, to)
    }

    /// The entries whose keys begin with `prefix`: text for `&str`, bytes for `&[u8]`, and the
    /// first parts of a tuple, as a tuple: `(1,)` or `(1, "knows")` for `(u64, &str, u64)`.
    pub fn prefix<'q>(&self, prefix: impl Prefix<'q, K>) -> Result<Range<'s, K, V, S>> {
        let mut from = Vec::new();
        prefix.put_prefix(&mut from);
        let mut end = from.clone();
        self.raw_range(Bound::Included(&from), prefix_end(&mut end))
    }

    /// All entries, in key order, from both ends.
    #[allow(clippy::iter_not_returning_iterator, reason = "it does, once the descent succeeds")]
    pub fn iter(&self) -> Result<Range<'s, K, V, S>> {
        self.raw_range(Bound::Unbounded, Bound::Unbounded)
    }

    fn raw_range(&self, from: Bound<&[u8]>, to: Bound<&[u8]>) -> Result<Range<'s, K, V, S>> {
        let raw = self.index.map(|index| self.source.range(index, from, to));
        Ok(Range { raw: raw.transpose()?, types: PhantomData })
    }
}

/// The encoded bounds of `range`.
pub(super) fn bounds<'b, 'q, K: Key, R: RangeBounds<K::Item<'q>>>(
    range: &'b R,
    from: &'b mut Scratch,
    to: &'b mut Scratch,
) -> (Bound<&'b [u8]>, Bound<&'b [u8]>)
where
    K::Item<'q>: 'b,
{
    let start = range.start_bound().map(|key| K::lend(key, from));
    (start, range.end_bound().map(|key| K::lend(key, to)))
}

/// The entry that raw bytes encode.
#[inline]
pub(super) fn decode<K: Key, V: Value>(
    (key, value): Entry<'_>,
) -> Result<(K::Item<'_>, V::Item<'_>)> {
    Ok((K::decode(key)?, V::decode(value)?))
}

// Not derived: a table can be copied and shown whatever its types are.
impl<K, V, S> Copy for TableRef<'_, K, V, S> {}

impl<K, V, S> Clone for TableRef<'_, K, V, S> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<K, V, S> fmt::Debug for TableRef<'_, K, V, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TableRef").finish_non_exhaustive()
    }
}

/// Entries of a table in key order; from both ends, until they meet.
pub struct Range<'s, K, V, S: ReadRaw + 's = View> {
    /// None: the table is not there.
    raw: Option<S::Range<'s>>,
    types: PhantomData<fn() -> (K, V)>,
}

impl<'s, K: Key, V: Value, S: ReadRaw> Iterator for Range<'s, K, V, S> {
    type Item = Result<(K::Item<'s>, V::Item<'s>)>;

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        let entry = self.raw.as_mut()?.next()?;
        Some(entry.and_then(decode::<K, V>))
    }
}

impl<K: Key, V: Value, S: ReadRaw> DoubleEndedIterator for Range<'_, K, V, S> {
    #[inline]
    fn next_back(&mut self) -> Option<Self::Item> {
        let entry = self.raw.as_mut()?.next_back()?;
        Some(entry.and_then(decode::<K, V>))
    }
}

impl<K: Key, V: Value> Range<'_, K, V> {
    /// Cuts what is left into at most `pieces` ranges of like size, in key order, for threads that
    /// read side by side; fewer where there is less than a page for each. They borrow from the same
    /// snapshot, and together they are this range. With the feature `rayon` there is
    /// `TableRef::par_iter`, which needs no number.
    ///
    /// Cost: a few descents for each piece; no entry is read.
    ///
    /// ```
    /// use recto::{Store, Table};
    /// # fn main() -> recto::Result<()> {
    /// const SQUARES: Table<u64, u64> = Table::new("squares");
    /// let store = Store::in_memory()?;
    /// store.write(|tx| tx.table(&SQUARES)?.extend((0..10_000).map(|n| (n, n * n))))?;
    /// let snapshot = store.snapshot();
    /// let pieces = snapshot.table(&SQUARES)?.iter()?.split(2)?;
    /// let sums = std::thread::scope(|scope| {
    ///     let sum = |piece: recto::Range<'_, u64, u64>| {
    ///         piece.map(|entry| Ok(entry?.1)).sum::<recto::Result<u64>>()
    ///     };
    ///     let threads: Vec<_> = pieces.into_iter().map(|p| scope.spawn(move || sum(p))).collect();
    ///     threads.into_iter().map(|thread| thread.join().unwrap()).sum::<recto::Result<u64>>()
    /// });
    /// assert_eq!(sums?, (0..10_000).map(|n| n * n).sum());
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// [`Error::Corrupt`](crate::Error::Corrupt) if a page on the way is damaged.
    pub fn split(self, pieces: usize) -> Result<Vec<Self>> {
        let Some(raw) = self.raw else {
            return Ok(vec![self]);
        };
        let pieces = raw.split(pieces)?.into_iter();
        Ok(pieces.map(|raw| Range { raw: Some(raw), types: PhantomData }).collect())
    }

    /// Two ranges in the place of this one, of like size; none if it lies in one leaf.
    #[cfg(feature = "rayon")]
    pub(super) fn halves(&self) -> Result<Option<(Self, Self)>> {
        let Some(raw) = &self.raw else {
            return Ok(None);
        };
        let typed = |raw| Range { raw: Some(raw), types: PhantomData };
        Ok(raw.cut(0.5)?.map(|(left, right)| (typed(left), typed(right))))
    }
}

impl<'s, K: Key, V: Value, S: ReadRaw<Range<'s>: FusedIterator>> FusedIterator
    for Range<'s, K, V, S>
{
}

impl<K, V, S: ReadRaw> fmt::Debug for Range<'_, K, V, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Range").finish_non_exhaustive()
    }
}
