//! Keys: encodings whose bytes order like the items themselves.
//! Owns: [`Key`], [`Prefix`] and their implementations but those of tuples.
//! Integers are big-endian, the sign flipped; `None` comes before `Some`; lone text and bytes are
//! themselves, inside of another key see [`escape`](super::escape).
//! Keeps I9: decoding is checked to the last byte.

use std::ops::Bound;

use super::{
    datum::{Datum, Scratch, Sink, malformed},
    escape::{self, Ordered},
};
use crate::error::Result;

/// A type that can be a table's key: `&str`, `&[u8]`, integers, `bool`, `[u8; N]`, `Option` of a
/// key, and tuples of up to six keys. Tables order by it as [`Ord`] does.
///
/// It cannot be implemented outside of this crate.
///
/// ```
/// use recto::Table;
/// const BY_DAY: Table<(u32, Option<&str>, i64), &str> = Table::new("by day");
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be a key of a table",
    note = "keys are &str, &[u8], integers, bool, [u8; N], Option of a key, and tuples of up to six"
)]
pub trait Key: Datum {
    /// Appends the encoding without the raw copies; no encoding is the beginning of another. True
    /// if a part was escaped, so that its raw copy must follow.
    #[doc(hidden)]
    fn put_ordered<S: Sink>(item: &Self::Item<'_>, out: &mut S) -> bool;

    /// Appends the raw copies of the parts that were escaped, the last one first.
    #[doc(hidden)]
    fn put_raw<S: Sink>(_item: &Self::Item<'_>, _out: &mut S) {}

    /// Reads what [`put_ordered`](Self::put_ordered) and [`put_raw`](Self::put_raw) wrote.
    #[doc(hidden)]
    fn take<'a>(input: &mut Ordered<'a>) -> Option<Self::Item<'a>>;

    /// The whole encoding, in `scratch` or in the item itself.
    #[doc(hidden)]
    #[inline]
    fn lend<'b>(item: &'b Self::Item<'_>, scratch: &'b mut Scratch) -> &'b [u8] {
        scratch.clear();
        if Self::put_ordered(item, scratch) {
            Self::put_raw(item, scratch);
        }
        scratch.bytes()
    }

    /// The item that `bytes` encode, which lends text and bytes from them.
    ///
    /// # Errors
    /// [`Error::Corrupt`](crate::Error::Corrupt) if `bytes` are not an encoding.
    #[doc(hidden)]
    #[inline]
    fn decode(bytes: &[u8]) -> Result<Self::Item<'_>>
    where
        Self: Sized,
    {
        let mut input = Ordered::new(bytes);
        match Self::take(&mut input) {
            Some(item) if input.is_empty() => Ok(item),
            _ => Err(malformed::<Self>("key", bytes.len())),
        }
    }
}

macro_rules! unsigned_key {
    ($($t:ty),*) => { $(
        impl Key for $t {
            #[inline]
            fn put_ordered<S: Sink>(item: &$t, out: &mut S) -> bool {
                out.put(&item.to_be_bytes());
                false
            }
            #[inline]
            fn take(input: &mut Ordered<'_>) -> Option<$t> {
                input.array().map(<$t>::from_be_bytes)
            }
        }
    )* };
}
unsigned_key!(u8, u16, u32, u64, u128);

macro_rules! signed_key {
    ($($t:ty),*) => { $(
        impl Key for $t {
            // The sign bit flipped, negative numbers come before the others.
            #[inline]
            fn put_ordered<S: Sink>(item: &$t, out: &mut S) -> bool {
                out.put(&(item ^ <$t>::MIN).to_be_bytes());
                false
            }
            #[inline]
            fn take(input: &mut Ordered<'_>) -> Option<$t> {
                input.array().map(|bytes| <$t>::from_be_bytes(bytes) ^ <$t>::MIN)
            }
        }
    )* };
}
signed_key!(i8, i16, i32, i64, i128);

impl Key for bool {
    #[inline]
    fn put_ordered<S: Sink>(item: &bool, out: &mut S) -> bool {
        out.put(&[u8::from(*item)]);
        false
    }
    #[inline]
    fn take(input: &mut Ordered<'_>) -> Option<bool> {
        match input.array()? {
            [0] => Some(false),
            [1] => Some(true),
            _ => None,
        }
    }
}

impl<const N: usize> Key for [u8; N] {
    #[inline]
    fn put_ordered<S: Sink>(item: &[u8; N], out: &mut S) -> bool {
        out.put(item);
        false
    }
    #[inline]
    fn take(input: &mut Ordered<'_>) -> Option<[u8; N]> {
        input.array()
    }
    #[inline]
    fn lend<'b>(item: &'b [u8; N], _scratch: &'b mut Scratch) -> &'b [u8] {
        item
    }
}

impl Key for &[u8] {
    #[inline]
    fn put_ordered<S: Sink>(item: &&[u8], out: &mut S) -> bool {
        escape::put(item, out)
    }
    fn put_raw<S: Sink>(item: &&[u8], out: &mut S) {
        if escape::is_needed(item) {
            out.put(item);
        }
    }
    #[inline]
    fn take<'a>(input: &mut Ordered<'a>) -> Option<&'a [u8]> {
        input.part()
    }
    #[inline]
    fn lend<'b>(item: &'b &[u8], _scratch: &'b mut Scratch) -> &'b [u8] {
        item
    }
    #[inline]
    fn decode(bytes: &[u8]) -> Result<&[u8]> {
        Ok(bytes)
    }
}

impl Key for &str {
    #[inline]
    fn put_ordered<S: Sink>(item: &&str, out: &mut S) -> bool {
        escape::put(item.as_bytes(), out)
    }
    fn put_raw<S: Sink>(item: &&str, out: &mut S) {
        <&[u8]>::put_raw(&item.as_bytes(), out);
    }
    #[inline]
    fn take<'a>(input: &mut Ordered<'a>) -> Option<&'a str> {
        std::str::from_utf8(input.part()?).ok()
    }
    #[inline]
    fn lend<'b>(item: &'b &str, _scratch: &'b mut Scratch) -> &'b [u8] {
        item.as_bytes()
    }
    #[inline]
    fn decode(bytes: &[u8]) -> Result<&str> {
        std::str::from_utf8(bytes).map_err(|_| malformed::<&str>("key", bytes.len()))
    }
}

impl<K: Key> Key for Option<K> {
    #[inline]
    fn put_ordered<S: Sink>(item: &Option<K::Item<'_>>, out: &mut S) -> bool {
        out.put(&[u8::from(item.is_some())]);
        item.as_ref().is_some_and(|item| K::put_ordered(item, out))
    }
    fn put_raw<S: Sink>(item: &Option<K::Item<'_>>, out: &mut S) {
        if let Some(item) = item {
            K::put_raw(item, out);
        }
    }
    #[inline]
    fn take<'a>(input: &mut Ordered<'a>) -> Option<Option<K::Item<'a>>> {
        match input.array()? {
            [0] => Some(None),
            [1] => K::take(input).map(Some),
            _ => None,
        }
    }
}

/// What the keys of a table can begin with: text for `&str`, bytes for `&[u8]`, and for a tuple the
/// first one or several of its parts, as a tuple: `(1,)` and `(1, "knows")` for `(u64, &str, u64)`.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a beginning of the key `{K}`",
    note = "a prefix is text for &str, bytes for &[u8], and a tuple of the first parts for a tuple"
)]
pub trait Prefix<'q, K> {
    /// Appends the bytes that every key with this beginning starts with, and no other key.
    #[doc(hidden)]
    fn put_prefix(&self, out: &mut Vec<u8>);
}

impl<'q> Prefix<'q, &str> for &'q str {
    fn put_prefix(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(self.as_bytes());
    }
}

impl<'q> Prefix<'q, &str> for &'q String {
    fn put_prefix(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(self.as_bytes());
    }
}

impl<'q> Prefix<'q, &[u8]> for &'q [u8] {
    fn put_prefix(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(self);
    }
}

impl<'q> Prefix<'q, &[u8]> for &'q Vec<u8> {
    fn put_prefix(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(self);
    }
}

impl<'q, const N: usize> Prefix<'q, &[u8]> for &'q [u8; N] {
    fn put_prefix(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(*self);
    }
}

/// The bound that ends the keys that start with `prefix`; turns `prefix` into its key.
pub fn prefix_end(prefix: &mut Vec<u8>) -> Bound<&[u8]> {
    while let Some(last) = prefix.last_mut() {
        if *last < u8::MAX {
            *last += 1;
            return Bound::Excluded(prefix);
        }
        prefix.pop();
    }
    Bound::Unbounded
}
