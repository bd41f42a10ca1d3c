//! A store of sorted maps, which the typed handles are run over and compared with.

use crate::{
    error::Result,
    storage::{Storage, memory::MemoryStorage},
    sync::{Arc, PlainArc, erased},
    txn::{
        catalog::TableTypes,
        raw::{Asked, Entry, Fill, ReadRaw, WriteRaw},
    },
};
use std::{
    collections::{BTreeMap, btree_map},
    iter::Map,
    ops::Bound,
};

pub type Bytes = BTreeMap<Vec<u8>, Vec<u8>>;

/// Tables by name, as maps of bytes.
#[derive(Default)]
pub struct Model {
    pub tables: Vec<(String, TableTypes, Bytes)>,
    /// Where runs are written, and from how many bytes on.
    pub sorting: Option<(MemoryStorage, usize)>,
}

type Lend = for<'r> fn((&'r Vec<u8>, &'r Vec<u8>)) -> Result<Entry<'r>>;

impl ReadRaw for Model {
    type Range<'r> = Map<btree_map::Range<'r, Vec<u8>, Vec<u8>>, Lend>;

    fn len(&self, table: usize) -> Result<u64> {
        Ok(self.tables[table].2.len() as u64)
    }

    fn get(&self, table: usize, key: &[u8]) -> Result<Option<&[u8]>> {
        Ok(self.tables[table].2.get(key).map(Vec::as_slice))
    }

    fn get_many(&self, table: usize, keys: &[&[u8]]) -> Result<Vec<Option<&[u8]>>> {
        keys.iter().map(|key| self.get(table, key)).collect()
    }

    fn first(&self, table: usize) -> Result<Option<Entry<'_>>> {
        self.tables[table].2.first_key_value().map(lend).transpose()
    }

    fn last(&self, table: usize) -> Result<Option<Entry<'_>>> {
        self.tables[table].2.last_key_value().map(lend).transpose()
    }

    fn range(&self, table: usize, from: Bound<&[u8]>, to: Bound<&[u8]>) -> Result<Self::Range<'_>> {
        let lend: Lend = lend;
        Ok(within(&self.tables[table].2, from, to).map(lend))
    }
}

impl WriteRaw for Model {
    fn open(&mut self, asked: Asked<'_>) -> Result<usize> {
        if let Some(index) = self.tables.iter().position(|table| table.0 == asked.name) {
            let types = &self.tables[index].1;
            assert!(types.matches(asked.key, asked.value), "tests ask for one type");
            return Ok(index);
        }
        // In front: opening a table moves the others.
        self.tables.insert(0, (asked.name.to_owned(), (asked.types)(), Bytes::new()));
        Ok(0)
    }

    fn insert(&mut self, table: usize, key: &[u8], value: &[u8]) -> Result<bool> {
        Ok(self.tables[table].2.insert(key.to_vec(), value.to_vec()).is_none())
    }

    fn remove(&mut self, table: usize, key: &[u8]) -> Result<bool> {
        Ok(self.tables[table].2.remove(key).is_some())
    }

    fn remove_range(&mut self, table: usize, from: Bound<&[u8]>, to: Bound<&[u8]>) -> Result<u64> {
        let map = &mut self.tables[table].2;
        let keys: Vec<_> = within(map, from, to).map(|(key, _)| key.clone()).collect();
        for key in &keys {
            map.remove(key);
        }
        Ok(keys.len() as u64)
    }

    fn merge<K: AsRef<[u8]>, V: AsRef<[u8]>>(
        &mut self,
        table: usize,
        sorted: impl Iterator<Item = Result<(K, Option<V>)>>,
    ) -> Result<u64> {
        let (mut new, mut last) = (0, Vec::new());
        for change in sorted {
            let (key, value) = change?;
            assert!(last.as_slice() <= key.as_ref(), "changes are in key order");
            last = key.as_ref().to_vec();
            match value {
                Some(value) => new += u64::from(self.insert(table, &last, value.as_ref())?),
                None => drop(self.remove(table, &last)?),
            }
        }
        Ok(new)
    }

    fn sort_bytes(&self) -> usize {
        self.sorting.as_ref().map_or(4096, |(_, bytes)| *bytes)
    }

    fn sort_storage(&self) -> Option<Arc<dyn Storage>> {
        let (storage, _) = self.sorting.as_ref()?;
        Some(erased(PlainArc::new(storage.clone())))
    }

    fn load<K: AsRef<[u8]>, V: AsRef<[u8]>>(
        &mut self,
        table: usize,
        sorted: impl Iterator<Item = Result<(K, V)>>,
        _: Fill,
    ) -> Result<u64> {
        let mut last: Option<Vec<u8>> = None;
        self.merge(
            table,
            sorted.map(|entry| {
                let (key, value) = entry?;
                assert!(last.as_deref() < Some(key.as_ref()), "entries ascend strictly");
                last = Some(key.as_ref().to_vec());
                Ok((key, Some(value)))
            }),
        )
    }
}

#[allow(clippy::unnecessary_wraps, reason = "as a range gives it")]
fn lend<'r>((key, value): (&'r Vec<u8>, &'r Vec<u8>)) -> Result<Entry<'r>> {
    Ok((key, value))
}

/// A range that is empty, where a `BTreeMap` would panic, if the bounds are in the wrong order.
fn within<'m>(
    map: &'m Bytes,
    from: Bound<&[u8]>,
    to: Bound<&[u8]>,
) -> btree_map::Range<'m, Vec<u8>, Vec<u8>> {
    use Bound::{Excluded, Included, Unbounded};
    let is_empty = match (from, to) {
        (Unbounded, _) | (_, Unbounded) => false,
        (Included(from), Included(to)) => from > to,
        (Included(from) | Excluded(from), Included(to) | Excluded(to)) => from >= to,
    };
    if is_empty {
        return map.range::<[u8], _>((Included(&[][..]), Excluded(&[][..])));
    }
    map.range::<[u8], _>((from, to))
}
