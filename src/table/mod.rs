//! Typed tables: what a user calls a table, its keys and its values.
//! Owns: [`Table`], and below it the encodings of [`key`] and [`value`].
//! Absent on purpose: pages. A handle sees a table as ordered bytes.

pub mod batch;
pub mod datum;
pub mod escape;
pub mod extend;
pub mod key;
#[cfg(feature = "rayon")]
pub mod parallel;
#[cfg(feature = "pod")]
pub mod pod;
#[cfg(feature = "postcard")]
pub mod postcard;
pub mod raw;
pub mod read;
pub mod tuple;
pub mod value;
pub mod write;

#[cfg(test)]
mod tests;

use self::{datum::type_name, key::Key, value::Value};
use crate::txn::{
    catalog::{TableTypes, name_hash},
    raw::Asked,
};
use std::{borrow::Cow, fmt, marker::PhantomData};

/// The name and the types of a table; what a program keeps as a constant.
///
/// It is not the table: it is created by the first transaction that opens it, and any number of
/// stores may hold one of this name.
pub struct Table<K, V> {
    name: Cow<'static, str>,
    hash: u64,
    types: PhantomData<fn() -> (K, V)>,
}

impl<K, V> Table<K, V> {
    /// The table called `name`, at most 255 bytes long (a longer one is refused when it is opened).
    pub const fn new(name: &'static str) -> Table<K, V> {
        Table { name: Cow::Borrowed(name), hash: name_hash(name.as_bytes()), types: PhantomData }
    }

    /// As [`new`](Self::new), for a name that is known only when the program runs.
    pub fn named(name: impl Into<String>) -> Table<K, V> {
        let name = name.into();
        Table { hash: name_hash(name.as_bytes()), name: Cow::Owned(name), types: PhantomData }
    }

    /// The table's name.
    pub fn name(&self) -> &str {
        &self.name
    }
}

impl<K: Key, V: Value> Table<K, V> {
    /// The table as the rooms below ask for it.
    #[inline]
    pub(crate) fn asked(&self) -> Asked<'_> {
        Asked {
            name: &self.name,
            hash: self.hash,
            key: K::TYPE,
            value: V::TYPE,
            types: types::<K, V>,
        }
    }
}

fn types<K: Key, V: Value>() -> TableTypes {
    TableTypes {
        key: K::TYPE,
        value: V::TYPE,
        key_name: type_name::<K>().into(),
        value_name: type_name::<V>().into(),
    }
}

// Not derived: a table can be cloned and shown whatever its types are.
impl<K, V> Clone for Table<K, V> {
    fn clone(&self) -> Table<K, V> {
        Table { name: self.name.clone(), hash: self.hash, types: PhantomData }
    }
}

impl<K, V> fmt::Debug for Table<K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Table").field(&self.name).finish()
    }
}
