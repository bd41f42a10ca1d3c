//! Writing to a batch, by a table's types.

#![allow(
    clippy::needless_pass_by_value,
    reason = "keys and values are handed in as a user writes them: small, and by value"
)]

use super::{Table, datum::Scratch, key::Key, read::bounds, value::Value};
use crate::txn::batch::Batch;
use std::ops::RangeBounds;

impl Batch {
    /// Adds an insertion, or replacement, of an entry.
    ///
    /// A key or value that is too large is the batch's error, which submitting it answers.
    pub fn insert<K: Key, V: Value>(
        &mut self,
        table: &Table<K, V>,
        key: K::Item<'_>,
        value: V::Item<'_>,
    ) -> &mut Batch {
        let index = self.table(table.asked(), || table.name.clone());
        let (mut for_key, mut for_value) = (Scratch::new(), Scratch::new());
        match V::lend(&value, &mut for_value) {
            Ok(value) => self.push_insert(index, K::lend(&key, &mut for_key), value),
            Err(error) => self.push_error(error),
        }
        self
    }

    /// Adds the removal of the entry of `key`, if it is there.
    pub fn remove<K: Key, V: Value>(
        &mut self,
        table: &Table<K, V>,
        key: K::Item<'_>,
    ) -> &mut Batch {
        let index = self.table(table.asked(), || table.name.clone());
        let key = &key;
        self.push_remove(index, K::lend(key, &mut Scratch::new()));
        self
    }

    /// Adds the removal of all entries whose keys lie in `range`.
    pub fn remove_range<'q, K: Key, V: Value, R>(
        &mut self,
        table: &Table<K, V>,
        range: R,
    ) -> &mut Batch
    where
        R: RangeBounds<K::Item<'q>>,
    {
        let index = self.table(table.asked(), || table.name.clone());
        let (mut from, mut to) = (Scratch::new(), Scratch::new());
        let (from, to) = bounds::<K, _>(&range, &mut from, &mut to);
        self.push_remove_range(index, from, to);
        self
    }
}
