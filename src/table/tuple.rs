//! Tuples: a table orders them like their parts, and stores them as the parts in a row.

use super::{
    datum::{Datum, Sink, combine, type_hash},
    escape::Ordered,
    key::{Key, Prefix},
    value::Value,
};
use crate::error::Result;

/// Implements everything for one length. The parts are given twice: from the first to the last, and
/// back, which is the order of the raw copies.
macro_rules! tuple {
    ($($part:ident $at:tt),+ ; $($back_part:ident $back_at:tt),+) => {
        impl<$($part: Datum),+> Datum for ($($part,)+) {
            type Item<'a> = ($($part::Item<'a>,)+);
            type Owned = ($($part::Owned,)+);
            const TYPE: u64 = {
                let hash = type_hash("tuple");
                $(let hash = combine(hash, $part::TYPE);)+
                // Closes it: (A, (B, C)) and ((A, B), C) differ.
                combine(hash, type_hash("end"))
            };
            fn type_name(out: &mut String) {
                out.push('(');
                $(
                    if $at > 0 {
                        out.push_str(", ");
                    }
                    $part::type_name(out);
                )+
                out.push(')');
            }
            fn to_owned(item: Self::Item<'_>) -> Self::Owned {
                ($($part::to_owned(item.$at),)+)
            }
        }

        impl<$($part: Key),+> Key for ($($part,)+) {
            #[inline]
            fn put_ordered<S: Sink>(item: &Self::Item<'_>, out: &mut S) -> bool {
                let mut is_escaped = false;
                $(is_escaped |= $part::put_ordered(&item.$at, out);)+
                is_escaped
            }
            fn put_raw<S: Sink>(item: &Self::Item<'_>, out: &mut S) {
                $($back_part::put_raw(&item.$back_at, out);)+
            }
            #[inline]
            fn take<'a>(input: &mut Ordered<'a>) -> Option<Self::Item<'a>> {
                Some(($($part::take(input)?,)+))
            }
        }

        impl<$($part: Value),+> Value for ($($part,)+) {
            #[inline]
            fn put<S: Sink>(item: &Self::Item<'_>, out: &mut S) -> Result<()> {
                $($part::put(&item.$at, out)?;)+
                Ok(())
            }
            fn put_owned<S: Sink>(owned: &Self::Owned, out: &mut S) -> Result<()> {
                $($part::put_owned(&owned.$at, out)?;)+
                Ok(())
            }
            #[inline]
            fn take<'a>(input: &mut &'a [u8]) -> Option<Self::Item<'a>> {
                Some(($($part::take(input)?,)+))
            }
        }
    };
}
tuple!(A 0; A 0);
tuple!(A 0, B 1; B 1, A 0);
tuple!(A 0, B 1, C 2; C 2, B 1, A 0);
tuple!(A 0, B 1, C 2, D 3; D 3, C 2, B 1, A 0);
tuple!(A 0, B 1, C 2, D 3, E 4; E 4, D 3, C 2, B 1, A 0);
tuple!(A 0, B 1, C 2, D 3, E 4, F 5; F 5, E 4, D 3, C 2, B 1, A 0);

/// The first parts of a tuple as a prefix of the whole; the others are given behind the semicolon.
macro_rules! prefix {
    ($($part:ident $at:tt),+ ; $($more:ident),+) => {
        impl<'q, $($part: Key,)+ $($more: Key),+> Prefix<'q, ($($part,)+ $($more,)+)>
            for ($($part::Item<'q>,)+)
        {
            fn put_prefix(&self, out: &mut Vec<u8>) {
                $($part::put_ordered(&self.$at, out);)+
            }
        }
    };
}
prefix!(A 0; B);
prefix!(A 0; B, C);
prefix!(A 0, B 1; C);
prefix!(A 0; B, C, D);
prefix!(A 0, B 1; C, D);
prefix!(A 0, B 1, C 2; D);
prefix!(A 0; B, C, D, E);
prefix!(A 0, B 1; C, D, E);
prefix!(A 0, B 1, C 2; D, E);
prefix!(A 0, B 1, C 2, D 3; E);
prefix!(A 0; B, C, D, E, F);
prefix!(A 0, B 1; C, D, E, F);
prefix!(A 0, B 1, C 2; D, E, F);
prefix!(A 0, B 1, C 2, D 3; E, F);
prefix!(A 0, B 1, C 2, D 3, E 4; F);
