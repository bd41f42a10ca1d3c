//! Values that are read where they lie.

use super::{
    datum::{Datum, Scratch, Sink, combine, type_hash},
    value::Value,
};
use crate::error::Result;
use std::{any, marker::PhantomData};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// A value type that stands for `T`, stored as its own bytes and lent from the page as `&T`: no
/// decoding, no copy. Values go in as `&T`.
///
/// Feature `pod`. `T` has the traits that zerocopy derives, among them `Unaligned`, for a value can
/// lie at any address: its numbers are zerocopy's, such as `U64<LittleEndian>`. Tables tell one `T`
/// from another by its size alone.
///
/// ```
/// use recto::{Pod, Store, Table};
/// use zerocopy::little_endian::F32;
/// # fn main() -> recto::Result<()> {
/// const POINTS: Table<u64, Pod<[F32; 3]>> = Table::new("points");
/// let store = Store::in_memory()?;
/// let point = [1.0, 2.0, 3.0].map(F32::new);
/// store.write(|tx| tx.table(&POINTS)?.insert(1, &point))?;
/// assert_eq!(store.snapshot().table(&POINTS)?.get(1)?, Some(&point));
/// # Ok(()) }
/// ```
pub struct Pod<T>(PhantomData<fn() -> T>);

impl<T: FromBytes + IntoBytes + Immutable + Send + 'static> Datum for Pod<T> {
    type Item<'a> = &'a T;
    type Owned = T;
    const TYPE: u64 = combine(type_hash("Pod"), size_of::<T>() as u64);
    fn type_name(out: &mut String) {
        out.push_str("Pod<");
        out.push_str(any::type_name::<T>());
        out.push('>');
    }
    fn to_owned(item: &T) -> T {
        T::read_from_bytes(item.as_bytes()).expect("a value is as long as itself")
    }
}

impl<T> Value for Pod<T>
where
    T: FromBytes + IntoBytes + KnownLayout + Immutable + Unaligned + Send + 'static,
{
    fn put<S: Sink>(item: &&T, out: &mut S) -> Result<()> {
        out.put(item.as_bytes());
        Ok(())
    }
    fn put_owned<S: Sink>(owned: &T, out: &mut S) -> Result<()> {
        Self::put(&owned, out)
    }
    #[inline]
    fn take<'a>(input: &mut &'a [u8]) -> Option<&'a T> {
        let (item, rest) = T::ref_from_prefix(input).ok()?;
        *input = rest;
        Some(item)
    }
    #[inline]
    fn lend<'b>(item: &'b &T, _scratch: &'b mut Scratch) -> Result<&'b [u8]> {
        Ok(item.as_bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{error::Error, table::datum::type_name};
    use zerocopy::little_endian::U32;

    type Triple = Pod<[U32; 3]>;

    #[test]
    fn a_value_is_lent_from_the_bytes_wherever_they_lie() {
        let triple = [1, 2, 0xffff_ffff].map(U32::new);
        let mut scratch = Scratch::new();
        let pair = (9, &triple);
        let bytes = <(u8, Triple)>::lend(&pair, &mut scratch).unwrap();
        let (nine, lent) = <(u8, Triple)>::decode(bytes).unwrap();
        assert_eq!((nine, lent), (9, &triple));
        assert_eq!(lent.as_bytes().as_ptr(), bytes[1..].as_ptr());
        assert_eq!(Triple::to_owned(lent), triple);
        for end in 0..bytes.len() {
            assert!(matches!(<(u8, Triple)>::decode(&bytes[..end]), Err(Error::Corrupt(_))));
        }
        assert_ne!(Triple::TYPE, Pod::<[U32; 2]>::TYPE);
        assert!(type_name::<Triple>().starts_with("Pod<["));
    }
}
