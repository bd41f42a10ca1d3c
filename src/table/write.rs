//! Changing a table inside of a transaction, by its types.
//! Owns: [`TableMut`] and [`ExtractIf`].
//! Absent on purpose: undo. An error that a closure passes on undoes the whole of it.

#![allow(
    clippy::needless_pass_by_value,
    reason = "keys and values are handed in as a user writes them: small, and by value"
)]

use super::{
    Table,
    datum::Scratch,
    extend::Extend,
    key::{Key, Prefix},
    read::{Range, TableRef, bounds, decode},
    value::Value,
};
use crate::{
    error::Result,
    txn::{
        raw::WriteRaw,
        write::{WriteState, WriteTx},
    },
};
use std::{
    fmt,
    marker::PhantomData,
    ops::{Bound, RangeBounds},
};

/// How many keys [`TableMut::retain`] gathers before it removes them, in bytes.
const DOOMED_BYTES: usize = if cfg!(test) { 64 } else { 1 << 20 };

impl WriteTx<'_> {
    /// Opens a table to read and change it; created if it is not there.
    ///
    /// # Errors
    /// [`Error::TypeMismatch`](crate::Error::TypeMismatch) if it was created with other types,
    /// [`Error::TooLarge`](crate::Error::TooLarge) if its name is too long or there are too many
    /// tables.
    pub fn table<K: Key, V: Value>(&mut self, table: &Table<K, V>) -> Result<TableMut<'_, K, V>> {
        TableMut::open(self.state_mut(), table)
    }
}

/// A table of a transaction, to read and change. Reads see the changes made before them, and borrow
/// from the handle until the next change.
///
/// ```
/// use recto::{Store, Table};
/// # fn main() -> recto::Result<()> {
/// const AGES: Table<&str, u64> = Table::new("ages");
/// let store = Store::in_memory()?;
/// store.write(|tx| {
///     let mut ages = tx.table(&AGES)?;
///     assert!(ages.insert("ada", 36)?);
///     assert!(!ages.insert_if_absent("ada", 37)?);
///     ages.update("ada", |old| old.map(|n| n + 1))?;
///     ages.extend([("alan", 41), ("bob", 7)])?;
///     assert_eq!(ages.retain(|_, age| age >= 18)?, 1);
///     assert_eq!(ages.pop_first()?, Some(("ada".to_owned(), 37)));
///     ages.len()
/// })?;
/// # Ok(()) }
/// ```
pub struct TableMut<'t, K, V, W = WriteState> {
    source: &'t mut W,
    index: usize,
    types: PhantomData<fn() -> (K, V)>,
}

impl<'t, K: Key, V: Value, W: WriteRaw> TableMut<'t, K, V, W> {
    pub(crate) fn open(source: &'t mut W, table: &Table<K, V>) -> Result<TableMut<'t, K, V, W>> {
        let index = source.open(table.asked())?;
        Ok(TableMut { source, index, types: PhantomData })
    }

    /// The same table, to read; until the next change.
    pub fn view(&self) -> TableRef<'_, K, V, W> {
        TableRef::new(self.source, Some(self.index))
    }

    /// The number of entries. Cost: none, it is kept.
    pub fn len(&self) -> Result<u64> {
        self.view().len()
    }

    /// Whether there is no entry.
    pub fn is_empty(&self) -> Result<bool> {
        self.view().is_empty()
    }

    /// The value of `key`.
    pub fn get(&self, key: K::Item<'_>) -> Result<Option<V::Item<'_>>> {
        self.view().get(key)
    }

    /// Whether there is an entry of `key`.
    pub fn contains(&self, key: K::Item<'_>) -> Result<bool> {
        self.view().contains(key)
    }

    /// The values of `keys`, in their order; see [`TableRef::get_many`].
    pub fn get_many<'q, I>(&self, keys: I) -> Result<Vec<Option<V::Item<'_>>>>
    where
        I: IntoIterator<Item = K::Item<'q>>,
    {
        self.view().get_many(keys)
    }

    /// The entry with the smallest key.
    pub fn first(&self) -> Result<Option<(K::Item<'_>, V::Item<'_>)>> {
        self.view().first()
    }

    /// The entry with the greatest key.
    pub fn last(&self) -> Result<Option<(K::Item<'_>, V::Item<'_>)>> {
        self.view().last()
    }

    /// The entries whose keys lie in `range`, in key order, from both ends.
    pub fn range<'q, R>(&self, range: R) -> Result<Range<'_, K, V, W>>
    where
        R: RangeBounds<K::Item<'q>>,
    {
        self.view().range(range)
    }

    /// The entries whose keys begin with `prefix`; see [`TableRef::prefix`].
    pub fn prefix<'q>(&self, prefix: impl Prefix<'q, K>) -> Result<Range<'_, K, V, W>> {
        self.view().prefix(prefix)
    }

    /// All entries, in key order, from both ends.
    #[allow(clippy::iter_not_returning_iterator, reason = "it does, once the descent succeeds")]
    pub fn iter(&self) -> Result<Range<'_, K, V, W>> {
        self.view().iter()
    }

    /// Inserts an entry, or replaces the value; true if the key was new.
    ///
    /// Cost: one descent; the pages on the way are copied once for each transaction.
    ///
    /// # Errors
    /// [`Error::TooLarge`](crate::Error::TooLarge) if the encoded key exceeds 64 KiB or the value 1
    /// GiB, [`Error::Full`](crate::Error::Full) if space runs out.
    pub fn insert(&mut self, key: K::Item<'_>, value: V::Item<'_>) -> Result<bool> {
        let (mut for_key, mut for_value) = (Scratch::new(), Scratch::new());
        let value = V::lend(&value, &mut for_value)?;
        self.source.insert(self.index, K::lend(&key, &mut for_key), value)
    }

    /// Inserts an entry unless the key is there; true if it was inserted.
    pub fn insert_if_absent(&mut self, key: K::Item<'_>, value: V::Item<'_>) -> Result<bool> {
        let mut scratch = Scratch::new();
        let key = K::lend(&key, &mut scratch);
        if self.source.contains(self.index, key)? {
            return Ok(false);
        }
        let mut scratch = Scratch::new();
        let value = V::lend(&value, &mut scratch)?;
        self.source.insert(self.index, key, value)
    }

    /// Inserts, changes or removes: `change` gets the value of `key`, if there is one, and gives
    /// the new one, or `None` for none.
    pub fn update<F>(&mut self, key: K::Item<'_>, change: F) -> Result<()>
    where
        F: FnOnce(Option<V::Item<'_>>) -> Option<V::Owned>,
    {
        let mut scratch = Scratch::new();
        let key = K::lend(&key, &mut scratch);
        let (was_there, new) = {
            let old = self.source.get(self.index, key)?;
            (old.is_some(), change(old.map(V::decode).transpose()?))
        };
        match new {
            Some(new) => {
                let mut scratch = Scratch::new();
                let value = V::lend_owned(&new, &mut scratch)?;
                self.source.insert(self.index, key, value)?;
            }
            None if was_there => {
                self.source.remove(self.index, key)?;
            }
            None => {}
        }
        Ok(())
    }

    /// Removes the entry of `key`; true if it was there.
    pub fn remove(&mut self, key: K::Item<'_>) -> Result<bool> {
        let key = &key;
        self.source.remove(self.index, K::lend(key, &mut Scratch::new()))
    }

    /// Removes the entries whose keys lie in `range`; how many there were.
    ///
    /// Cost: that of the pages, not of the entries; what is wholly in the range is not looked at.
    pub fn remove_range<'q, R>(&mut self, range: R) -> Result<u64>
    where
        R: RangeBounds<K::Item<'q>>,
    {
        let (mut from, mut to) = (Scratch::new(), Scratch::new());
        let (from, to) = bounds::<K, _>(&range, &mut from, &mut to);
        self.source.remove_range(self.index, from, to)
    }

    /// Removes all entries; the table stays.
    pub fn clear(&mut self) -> Result<()> {
        let all = (Bound::Unbounded, Bound::Unbounded);
        self.source.remove_range(self.index, all.0, all.1)?;
        Ok(())
    }

    /// Takes out the entry with the smallest key.
    pub fn pop_first(&mut self) -> Result<Option<(K::Owned, V::Owned)>> {
        match self.source.first(self.index)? {
            Some((key, value)) => {
                let (key, entry) = (key.to_vec(), own::<K, V>(key, value)?);
                self.source.remove(self.index, &key)?;
                Ok(Some(entry))
            }
            None => Ok(None),
        }
    }

    /// Takes out the entry with the greatest key.
    pub fn pop_last(&mut self) -> Result<Option<(K::Owned, V::Owned)>> {
        match self.source.last(self.index)? {
            Some((key, value)) => {
                let (key, entry) = (key.to_vec(), own::<K, V>(key, value)?);
                self.source.remove(self.index, &key)?;
                Ok(Some(entry))
            }
            None => Ok(None),
        }
    }

    /// Keeps the entries for which `keep` is true; how many were removed. Entries are shown in key
    /// order, once each.
    pub fn retain<F>(&mut self, mut keep: F) -> Result<u64>
    where
        F: FnMut(K::Item<'_>, V::Item<'_>) -> bool,
    {
        let mut removed = 0;
        let mut doomed = Doomed::default();
        loop {
            let after = doomed.take_last();
            let from = after.as_deref().map_or(Bound::Unbounded, Bound::Excluded);
            for entry in self.source.range(self.index, from, Bound::Unbounded)? {
                let (key, value) = entry?;
                if !keep(K::decode(key)?, V::decode(value)?) {
                    doomed.push(key);
                    // In stretches, so that memory is bounded whatever is removed.
                    if doomed.bytes.len() >= DOOMED_BYTES {
                        break;
                    }
                }
            }
            for key in doomed.keys() {
                removed += u64::from(self.source.remove(self.index, key)?);
            }
            if doomed.bytes.len() < DOOMED_BYTES {
                return Ok(removed);
            }
        }
    }

    /// Takes out the entries for which `is_wanted` is true, one by one, in key order, as the
    /// iterator is asked for them; what it is not asked for stays.
    pub fn extract_if<F>(&mut self, is_wanted: F) -> ExtractIf<'_, K, V, F, W>
    where
        F: FnMut(K::Item<'_>, V::Item<'_>) -> bool,
    {
        ExtractIf {
            source: self.source,
            index: self.index,
            is_wanted,
            after: None,
            is_done: false,
            types: PhantomData,
        }
    }

    /// Inserts or replaces many entries; how many keys were new. Of several entries with one key
    /// the last one counts. For more than a few entries far cheaper than inserting each.
    ///
    /// Cost: entries in key order go in as they come. Others are gathered and sorted in
    /// [`Options::sort_bytes`](crate::Options::sort_bytes) of memory; what exceeds that waits, in
    /// sorted runs, in a file without a name in the store's directory, which takes about the
    /// entries' length and goes with this call. They go in all at once: each leaf is touched once,
    /// and what comes behind the last entry fills its pages. What the transaction as a whole holds
    /// is bounded by [`Options::dirty_bytes`](crate::Options::dirty_bytes).
    ///
    /// # Errors
    /// As [`insert`](Self::insert); also [`Error::Full`](crate::Error::Full) if the device has no
    /// room for the file, [`Error::Io`](crate::Error::Io) or
    /// [`Error::Corrupt`](crate::Error::Corrupt) if what was written to it does not come back. An
    /// error can come after some of the entries went in: pass it on, and the transaction is undone.
    pub fn extend<'k, 'v, I>(&mut self, entries: I) -> Result<u64>
    where
        I: IntoIterator<Item = (K::Item<'k>, V::Item<'v>)>,
    {
        let (mut for_key, mut for_value) = (Scratch::new(), Scratch::new());
        let mut extend = Extend::new(self.source, self.index)?;
        for (key, value) in entries {
            let key = K::lend(&key, &mut for_key);
            extend.push(key, V::lend(&value, &mut for_value)?)?;
        }
        extend.finish()
    }
}

/// The entry that raw bytes encode, on its own.
fn own<K: Key, V: Value>(key: &[u8], value: &[u8]) -> Result<(K::Owned, V::Owned)> {
    let (key, value) = decode::<K, V>((key, value))?;
    Ok((K::to_owned(key), V::to_owned(value)))
}

impl<K, V, W> fmt::Debug for TableMut<'_, K, V, W> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TableMut").finish_non_exhaustive()
    }
}

/// Keys that are to be removed once the range that found them is let go.
#[derive(Default)]
struct Doomed {
    bytes: Vec<u8>,
    ends: Vec<usize>,
}

impl Doomed {
    fn push(&mut self, key: &[u8]) {
        self.bytes.extend_from_slice(key);
        self.ends.push(self.bytes.len());
    }

    fn keys(&self) -> impl Iterator<Item = &[u8]> {
        let starts = std::iter::once(0).chain(self.ends.iter().copied());
        starts.zip(&self.ends).map(|(start, &end)| &self.bytes[start..end])
    }

    /// Forgets all keys, and gives the last one.
    fn take_last(&mut self) -> Option<Vec<u8>> {
        let last = self.keys().last().map(<[u8]>::to_vec);
        self.bytes.clear();
        self.ends.clear();
        last
    }
}

/// Takes entries out of a table; see [`TableMut::extract_if`]. After an error it ends.
pub struct ExtractIf<'t, K, V, F, W = WriteState> {
    source: &'t mut W,
    index: usize,
    is_wanted: F,
    /// The key that was taken last.
    after: Option<Vec<u8>>,
    is_done: bool,
    types: PhantomData<fn() -> (K, V)>,
}

impl<K, V, F, W> ExtractIf<'_, K, V, F, W>
where
    K: Key,
    V: Value,
    F: FnMut(K::Item<'_>, V::Item<'_>) -> bool,
    W: WriteRaw,
{
    fn extract(&mut self) -> Result<Option<(K::Owned, V::Owned)>> {
        let Some((key, entry)) = self.find()? else {
            return Ok(None);
        };
        self.source.remove(self.index, &key)?;
        self.after = Some(key);
        Ok(Some(entry))
    }

    /// The next entry that is wanted, and its encoded key.
    #[allow(clippy::type_complexity, reason = "a key beside its own entry, used once")]
    fn find(&mut self) -> Result<Option<(Vec<u8>, (K::Owned, V::Owned))>> {
        let from = self.after.as_deref().map_or(Bound::Unbounded, Bound::Excluded);
        for entry in self.source.range(self.index, from, Bound::Unbounded)? {
            let (key, value) = entry?;
            if (self.is_wanted)(K::decode(key)?, V::decode(value)?) {
                return Ok(Some((key.to_vec(), own::<K, V>(key, value)?)));
            }
        }
        Ok(None)
    }
}

impl<K, V, F, W> Iterator for ExtractIf<'_, K, V, F, W>
where
    K: Key,
    V: Value,
    F: FnMut(K::Item<'_>, V::Item<'_>) -> bool,
    W: WriteRaw,
{
    type Item = Result<(K::Owned, V::Owned)>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.is_done {
            return None;
        }
        let entry = self.extract().transpose();
        self.is_done = !matches!(entry, Some(Ok(_)));
        entry
    }
}

impl<K, V, F, W> fmt::Debug for ExtractIf<'_, K, V, F, W> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ExtractIf").finish_non_exhaustive()
    }
}
