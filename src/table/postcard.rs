//! Values of any type that serde knows, in the postcard format.

use super::{
    datum::{Datum, Sink, type_hash},
    value::Value,
};
use crate::error::{Error, Result};
use postcard::ser_flavors::Flavor;
use serde::{Serialize, de::DeserializeOwned};
use std::{any, marker::PhantomData};

/// A value type that stands for `T`, stored as
/// [postcard](https://postcard.jamesmunns.com/wire-format) bytes: compact, and not self-describing,
/// so that `T` may only change in ways which that format allows. Values go in and come out as `T`.
///
/// Feature `postcard`. Tables do not tell one `T` from another: bytes that are not a `T` are
/// [`Error::Corrupt`] when they are read, if they are noticed.
///
/// ```
/// use recto::{Postcard, Store, Table};
/// # fn main() -> recto::Result<()> {
/// const TAGS: Table<u64, Postcard<Vec<String>>> = Table::new("tags");
/// let store = Store::in_memory()?;
/// store.write(|tx| tx.table(&TAGS)?.insert(1, vec!["red".to_owned()]))?;
/// assert_eq!(store.get(&TAGS, 1)?, Some(vec!["red".to_owned()]));
/// # Ok(()) }
/// ```
pub struct Postcard<T>(PhantomData<fn() -> T>);

impl<T: Send + 'static> Datum for Postcard<T> {
    type Item<'a> = T;
    type Owned = T;
    const TYPE: u64 = type_hash("Postcard");
    fn type_name(out: &mut String) {
        out.push_str("Postcard<");
        out.push_str(any::type_name::<T>());
        out.push('>');
    }
    fn to_owned(item: T) -> T {
        item
    }
}

impl<T: Serialize + DeserializeOwned + Send + 'static> Value for Postcard<T> {
    fn put<S: Sink>(item: &T, out: &mut S) -> Result<()> {
        postcard::serialize_with_flavor(item, Output(out)).map_err(|e| {
            let name = any::type_name::<T>();
            Error::invalid(format!("a value of type {name} cannot be serialized: {e}"))
        })
    }
    fn put_owned<S: Sink>(owned: &T, out: &mut S) -> Result<()> {
        Self::put(owned, out)
    }
    fn take(input: &mut &[u8]) -> Option<T> {
        let (item, rest) = postcard::take_from_bytes(input).ok()?;
        *input = rest;
        Some(item)
    }
}

/// Where postcard writes to.
struct Output<'o, S>(&'o mut S);

impl<S: Sink> Flavor for Output<'_, S> {
    type Output = ();

    fn try_extend(&mut self, bytes: &[u8]) -> postcard::Result<()> {
        self.0.put(bytes);
        Ok(())
    }

    fn try_push(&mut self, byte: u8) -> postcard::Result<()> {
        self.0.put(&[byte]);
        Ok(())
    }

    fn finalize(self) -> postcard::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::table::datum::Scratch;
    use std::collections::BTreeMap;

    type Record = (String, BTreeMap<u32, Vec<u8>>, Option<f64>);

    #[test]
    fn a_value_comes_back_alone_and_in_a_tuple() {
        let record: Record = ("ada".to_owned(), [(7, vec![1; 300])].into(), Some(0.5));
        let mut scratch = Scratch::new();
        let bytes = Postcard::<Record>::lend(&record, &mut scratch).unwrap();
        assert_eq!(bytes, postcard::to_stdvec(&record).unwrap());
        assert_eq!(Postcard::<Record>::decode(bytes).unwrap(), record);
        let pair = (record.clone(), "next");
        let mut scratch = Scratch::new();
        let bytes = <(Postcard<Record>, &str)>::lend(&pair, &mut scratch).unwrap();
        assert_eq!(<(Postcard<Record>, &str)>::decode(bytes).unwrap(), pair);
        for end in 0..bytes.len() {
            let damaged = <(Postcard<Record>, &str)>::decode(&bytes[..end]);
            assert!(matches!(damaged, Err(Error::Corrupt(_))));
        }
    }
}
