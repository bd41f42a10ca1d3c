//! Values: encodings that need no order, so that nothing is escaped or copied.
//! Owns: [`Value`] and its implementations but those of tuples and of the features.
//! Numbers are little-endian; lone text and bytes are themselves, inside of another value their
//! length comes first. Keeps I9: decoding is checked to the last byte.

use super::datum::{Datum, Scratch, Sink, malformed};
use crate::error::Result;

/// A type that can be a table's value: everything that can be a [`Key`](crate::Key), and `()`,
/// `f32`, `f64`, and through features `Postcard<T>` and `Pod<T>`.
///
/// It cannot be implemented outside of this crate.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be a value of a table",
    note = "values are &str, &[u8], numbers, bool, (), [u8; N], Option of a value, tuples of up to \
            six, and through features Postcard<T> and Pod<T>"
)]
pub trait Value: Datum {
    /// Appends an encoding that says where it ends.
    #[doc(hidden)]
    fn put<S: Sink>(item: &Self::Item<'_>, out: &mut S) -> Result<()>;

    /// As [`put`](Self::put), of an owned item.
    #[doc(hidden)]
    fn put_owned<S: Sink>(owned: &Self::Owned, out: &mut S) -> Result<()>;

    /// Reads what [`put`](Self::put) wrote from the front of `input`.
    #[doc(hidden)]
    fn take<'a>(input: &mut &'a [u8]) -> Option<Self::Item<'a>>;

    /// The encoding of a whole value, in `scratch` or in the item itself.
    #[doc(hidden)]
    #[inline]
    fn lend<'b>(item: &'b Self::Item<'_>, scratch: &'b mut Scratch) -> Result<&'b [u8]> {
        scratch.clear();
        Self::put(item, scratch)?;
        Ok(scratch.bytes())
    }

    /// As [`lend`](Self::lend), of an owned item.
    #[doc(hidden)]
    fn lend_owned<'b>(owned: &'b Self::Owned, scratch: &'b mut Scratch) -> Result<&'b [u8]> {
        scratch.clear();
        Self::put_owned(owned, scratch)?;
        Ok(scratch.bytes())
    }

    /// The item that `bytes` encode, which lends what it can from them.
    ///
    /// # Errors
    /// [`Error::Corrupt`](crate::Error::Corrupt) if `bytes` are not an encoding.
    #[doc(hidden)]
    #[inline]
    fn decode(bytes: &[u8]) -> Result<Self::Item<'_>>
    where
        Self: Sized,
    {
        let mut input = bytes;
        match Self::take(&mut input) {
            Some(item) if input.is_empty() => Ok(item),
            _ => Err(malformed::<Self>("value", bytes.len())),
        }
    }
}

/// Takes the next `N` bytes.
#[inline]
fn array<const N: usize>(input: &mut &[u8]) -> Option<[u8; N]> {
    let (head, rest) = input.split_first_chunk::<N>()?;
    *input = rest;
    Some(*head)
}

macro_rules! number_value {
    ($($t:ty),*) => { $(
        impl Value for $t {
            #[inline]
            fn put<S: Sink>(item: &$t, out: &mut S) -> Result<()> {
                out.put(&item.to_le_bytes());
                Ok(())
            }
            #[inline]
            fn put_owned<S: Sink>(owned: &$t, out: &mut S) -> Result<()> {
                Self::put(owned, out)
            }
            #[inline]
            fn take(input: &mut &[u8]) -> Option<$t> {
                array(input).map(<$t>::from_le_bytes)
            }
        }
    )* };
}
number_value!(u8, u16, u32, u64, u128, i8, i16, i32, i64, i128, f32, f64);

impl Value for () {
    fn put<S: Sink>((): &(), _out: &mut S) -> Result<()> {
        Ok(())
    }
    fn put_owned<S: Sink>((): &(), _out: &mut S) -> Result<()> {
        Ok(())
    }
    fn take(_input: &mut &[u8]) -> Option<()> {
        Some(())
    }
}

impl Value for bool {
    #[inline]
    fn put<S: Sink>(item: &bool, out: &mut S) -> Result<()> {
        out.put(&[u8::from(*item)]);
        Ok(())
    }
    fn put_owned<S: Sink>(owned: &bool, out: &mut S) -> Result<()> {
        Self::put(owned, out)
    }
    #[inline]
    fn take(input: &mut &[u8]) -> Option<bool> {
        match array(input)? {
            [0] => Some(false),
            [1] => Some(true),
            _ => None,
        }
    }
}

impl<const N: usize> Value for [u8; N] {
    #[inline]
    fn put<S: Sink>(item: &[u8; N], out: &mut S) -> Result<()> {
        out.put(item);
        Ok(())
    }
    fn put_owned<S: Sink>(owned: &[u8; N], out: &mut S) -> Result<()> {
        Self::put(owned, out)
    }
    #[inline]
    fn take(input: &mut &[u8]) -> Option<[u8; N]> {
        array(input)
    }
    #[inline]
    fn lend<'b>(item: &'b [u8; N], _scratch: &'b mut Scratch) -> Result<&'b [u8]> {
        Ok(item)
    }
}

impl Value for &[u8] {
    fn put<S: Sink>(item: &&[u8], out: &mut S) -> Result<()> {
        put_len(item.len(), out);
        out.put(item);
        Ok(())
    }
    fn put_owned<S: Sink>(owned: &Vec<u8>, out: &mut S) -> Result<()> {
        Self::put(&owned.as_slice(), out)
    }
    fn take<'a>(input: &mut &'a [u8]) -> Option<&'a [u8]> {
        let len = take_len(input)?;
        let (head, rest) = input.split_at_checked(len)?;
        *input = rest;
        Some(head)
    }
    #[inline]
    fn lend<'b>(item: &'b &[u8], _scratch: &'b mut Scratch) -> Result<&'b [u8]> {
        Ok(item)
    }
    fn lend_owned<'b>(owned: &'b Vec<u8>, _scratch: &'b mut Scratch) -> Result<&'b [u8]> {
        Ok(owned)
    }
    #[inline]
    fn decode(bytes: &[u8]) -> Result<&[u8]> {
        Ok(bytes)
    }
}

impl Value for &str {
    fn put<S: Sink>(item: &&str, out: &mut S) -> Result<()> {
        <&[u8] as Value>::put(&item.as_bytes(), out)
    }
    fn put_owned<S: Sink>(owned: &String, out: &mut S) -> Result<()> {
        Self::put(&owned.as_str(), out)
    }
    fn take<'a>(input: &mut &'a [u8]) -> Option<&'a str> {
        std::str::from_utf8(<&[u8] as Value>::take(input)?).ok()
    }
    #[inline]
    fn lend<'b>(item: &'b &str, _scratch: &'b mut Scratch) -> Result<&'b [u8]> {
        Ok(item.as_bytes())
    }
    fn lend_owned<'b>(owned: &'b String, _scratch: &'b mut Scratch) -> Result<&'b [u8]> {
        Ok(owned.as_bytes())
    }
    #[inline]
    fn decode(bytes: &[u8]) -> Result<&str> {
        std::str::from_utf8(bytes).map_err(|_| malformed::<&str>("value", bytes.len()))
    }
}

impl<V: Value> Value for Option<V> {
    fn put<S: Sink>(item: &Option<V::Item<'_>>, out: &mut S) -> Result<()> {
        out.put(&[u8::from(item.is_some())]);
        item.as_ref().map_or(Ok(()), |item| V::put(item, out))
    }
    fn put_owned<S: Sink>(owned: &Option<V::Owned>, out: &mut S) -> Result<()> {
        out.put(&[u8::from(owned.is_some())]);
        owned.as_ref().map_or(Ok(()), |owned| V::put_owned(owned, out))
    }
    fn take<'a>(input: &mut &'a [u8]) -> Option<Option<V::Item<'a>>> {
        match array(input)? {
            [0] => Some(None),
            [1] => V::take(input).map(Some),
            _ => None,
        }
    }
}

/// Appends a length: seven bits a byte, the lowest first, the top bit set but in the last byte.
fn put_len<S: Sink>(mut len: usize, out: &mut S) {
    while len >= 0x80 {
        out.put(&[len as u8 | 0x80]);
        len >>= 7;
    }
    out.put(&[len as u8]);
}

fn take_len(input: &mut &[u8]) -> Option<usize> {
    let mut len = 0;
    // Five bytes say any length up to the limit of a value.
    for shift in (0..35).step_by(7) {
        let [byte] = array(input)?;
        len |= u64::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            return usize::try_from(len).ok();
        }
    }
    None
}
