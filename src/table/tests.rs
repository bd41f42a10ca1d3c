//! The laws of the encodings: keys order like their items, everything comes back, borrowed parts
//! lie in the encoding, and bytes that nothing encodes are `Corrupt`.

mod handles;
pub(super) mod model;

use super::{
    datum::{Datum, Scratch, combine, type_hash, type_name},
    key::{Key, Prefix, prefix_end},
    value::Value,
};
use crate::error::Error;
use proptest::{collection::vec, prelude::*, sample::select};
use std::{
    collections::HashSet,
    fmt::Debug,
    ops::{Bound, RangeBounds},
};

fn key_bytes<K: Key>(item: &K::Item<'_>) -> Vec<u8> {
    K::lend(item, &mut Scratch::new()).to_vec()
}

fn value_bytes<V: Value>(item: &V::Item<'_>) -> Vec<u8> {
    V::lend(item, &mut Scratch::new()).unwrap().to_vec()
}

/// Order and round trip of two keys of a type.
#[allow(clippy::needless_pass_by_value, reason = "both alike")]
fn key_laws<'x, K: Key>(a: K::Item<'x>, b: K::Item<'x>)
where
    K::Item<'x>: Ord + Debug,
    K::Owned: PartialEq + Debug,
{
    let [a_bytes, b_bytes] = [&a, &b].map(key_bytes::<K>);
    assert_eq!(a.cmp(&b), a_bytes.cmp(&b_bytes), "{a:?} {b:?} {a_bytes:?} {b_bytes:?}");
    let decoded = K::to_owned(K::decode(&a_bytes).unwrap());
    assert_eq!(decoded, K::to_owned(a));
    let (mut ordered, mut other) = (Vec::new(), Vec::new());
    K::put_ordered(&b, &mut ordered);
    K::put_ordered(&K::decode(&a_bytes).unwrap(), &mut other);
    assert!(ordered == other || !ordered.starts_with(&other), "one begins the other");
}

fn value_laws<V: Value>(a: V::Item<'_>)
where
    V::Owned: PartialEq + Debug,
{
    let bytes = value_bytes::<V>(&a);
    let owned = V::to_owned(a);
    assert_eq!(V::to_owned(V::decode(&bytes).unwrap()), owned);
    assert_eq!(V::lend_owned(&owned, &mut Scratch::new()).unwrap(), bytes);
}

/// Bytes are refused as damage, or say what encodes as them.
fn bytes_laws<K: Key + Value>(bytes: &[u8])
where
    K::Owned: PartialEq + Debug,
{
    match <K as Key>::decode(bytes) {
        Ok(item) => assert_eq!(key_bytes::<K>(&item), bytes, "one key, one encoding"),
        Err(error) => assert!(matches!(error, Error::Corrupt(_))),
    }
    match <K as Value>::decode(bytes) {
        Ok(item) => value_laws::<K>(item),
        Err(error) => assert!(matches!(error, Error::Corrupt(_))),
    }
}

fn all_bytes_laws(bytes: &[u8]) {
    bytes_laws::<u8>(bytes);
    bytes_laws::<i64>(bytes);
    bytes_laws::<u128>(bytes);
    bytes_laws::<bool>(bytes);
    bytes_laws::<[u8; 3]>(bytes);
    bytes_laws::<&str>(bytes);
    bytes_laws::<&[u8]>(bytes);
    bytes_laws::<Option<Option<&str>>>(bytes);
    bytes_laws::<(&[u8], u8)>(bytes);
    bytes_laws::<(Option<&[u8]>, &str)>(bytes);
    bytes_laws::<(u16, (&str, bool), Option<(u8, &[u8])>)>(bytes);
    bytes_laws::<(u8, u8, &[u8], &[u8], &[u8], Option<&[u8]>)>(bytes);
}

/// Text out of the characters that matter: those that are escaped, their neighbours, long ones.
fn text() -> impl Strategy<Value = String> {
    let chars = vec!['\0', '\u{1}', '\u{2}', 'a', 'b', '\u{7f}', '\u{e9}', '\u{10ffff}'];
    vec(select(chars), 0..6).prop_map(|chars| chars.into_iter().collect())
}

fn bytes() -> impl Strategy<Value = Vec<u8>> {
    vec(select(vec![0, 1, 2, 3, 0x7f, 0xfe, 0xff]), 0..6)
}

type Six =
    (&'static [u8], Option<Option<&'static str>>, &'static str, i64, &'static str, &'static [u8]);
type Nested = (&'static [u8], Option<&'static [u8]>, (&'static str, u8));
type Whole = (&'static str, u8, &'static [u8]);

proptest! {
    #[test]
    fn numbers_order_like_themselves(
        a in any::<(u8, u16, u32, u64, u128)>(), b in any::<(u8, u16, u32, u64, u128)>(),
        c in any::<(i8, i16, i32, i64, i128)>(), d in any::<(i8, i16, i32, i64, i128)>(),
        flags in any::<(bool, bool)>(), arrays in any::<([u8; 5], [u8; 5])>(),
    ) {
        key_laws::<u8>(a.0, b.0);
        key_laws::<u16>(a.1, b.1);
        key_laws::<u32>(a.2, b.2);
        key_laws::<u64>(a.3, b.3);
        key_laws::<u128>(a.4, b.4);
        key_laws::<i8>(c.0, d.0);
        key_laws::<i16>(c.1, d.1);
        key_laws::<i32>(c.2, d.2);
        key_laws::<i64>(c.3, d.3);
        key_laws::<i128>(c.4, d.4);
        key_laws::<bool>(flags.0, flags.1);
        key_laws::<[u8; 5]>(arrays.0, arrays.1);
        key_laws::<(i8, u16)>((c.0, a.1), (d.0, b.1));
        value_laws::<(u8, u16, u32, u64, u128)>(a);
        value_laws::<(i8, i16, i32, i64, i128)>(c);
        value_laws::<([u8; 5], bool, ())>((arrays.0, flags.0, ()));
    }

    #[test]
    fn text_and_bytes_order_like_themselves(a in text(), b in text(), c in bytes(), d in bytes()) {
        key_laws::<&str>(&a, &b);
        key_laws::<&[u8]>(&c, &d);
        key_laws::<(&str,)>((&a,), (&b,));
        key_laws::<Option<&[u8]>>(Some(&c), Some(&d));
        value_laws::<&str>(&a);
        value_laws::<&[u8]>(&c);
    }

    #[test]
    fn tuples_and_options_order_like_their_parts(
        a in (text(), bytes(), any::<Option<u8>>(), -2..2_i64),
        b in (text(), bytes(), any::<Option<u8>>(), -2..2_i64),
        c in prop::option::of(prop::option::of(text())),
        d in prop::option::of(prop::option::of(text())),
        same in any::<[bool; 4]>(),
    ) {
        // Equal parts in front, so that the later ones decide.
        let text = if same[0] { &a.0 } else { &b.0 };
        let bytes = if same[1] { &a.1 } else { &b.1 };
        let x = (a.0.as_str(), a.1.as_slice(), a.2, a.3);
        let y = (text.as_str(), bytes.as_slice(), if same[2] { a.2 } else { b.2 }, b.3);
        key_laws::<(&str, &[u8], Option<u8>, i64)>(x, y);
        value_laws::<(&str, &[u8], Option<u8>, i64)>(x);
        key_laws::<(&[u8], i64, &str)>((x.1, x.3, x.0), (y.1, y.3, y.0));
        key_laws::<((i64, &str), Option<u8>)>(((x.3, x.0), x.2), ((y.3, y.0), y.2));
        let c = c.as_ref().map(|c| c.as_deref());
        let d = d.as_ref().map(|d| d.as_deref());
        key_laws::<Option<Option<&str>>>(c, d);
        key_laws::<(Option<Option<&str>>, &str)>((c, x.0), (if same[3] { c } else { d }, y.0));
        let six = |t: (_, _, _, _), o| (t.1, o, t.0, t.3, t.0, t.1);
        key_laws::<Six>(six(x, c), six(y, if same[3] { c } else { d }));
        value_laws::<Six>(six(x, c));
    }

    #[test]
    fn floats_come_back_to_the_bit(a in any::<u32>(), b in any::<u64>()) {
        let item = (f32::from_bits(a), f64::from_bits(b));
        let bytes = value_bytes::<(f32, f64)>(&item);
        let decoded = <(f32, f64) as Value>::decode(&bytes).unwrap();
        prop_assert_eq!((decoded.0.to_bits(), decoded.1.to_bits()), (a, b));
    }

    #[test]
    fn arbitrary_bytes_are_damage_or_what_they_say(
        bytes in vec(any::<u8>(), 0..24), few in bytes(),
    ) {
        all_bytes_laws(&bytes);
        all_bytes_laws(&few);
    }

    #[test]
    fn a_damaged_encoding_is_damage_or_another_key(
        a in (bytes(), bytes(), text()), at in any::<prop::sample::Index>(), flip in 1..=255_u8,
    ) {
        let item = (a.0.as_slice(), Some(a.1.as_slice()), (a.2.as_str(), 7));
        let whole = key_bytes::<Nested>(&item);
        let mut bytes = whole.clone();
        let at = at.index(bytes.len());
        bytes[at] ^= flip;
        bytes_laws::<Nested>(&bytes);
        bytes_laws::<Nested>(&whole[..at]);
        let mut bytes = value_bytes::<Nested>(&item);
        let at = at % bytes.len();
        bytes[at] ^= flip;
        bytes_laws::<Nested>(&bytes);
    }

    #[test]
    fn text_and_bytes_are_lent_from_the_encoding(a in text(), b in bytes(), n in any::<u32>()) {
        let item = (a.as_str(), n, Some(b.as_slice()));
        let bytes = key_bytes::<(&str, u32, Option<&[u8]>)>(&item);
        let within = bytes.as_ptr_range();
        let lent = <(&str, u32, Option<&[u8]>) as Key>::decode(&bytes).unwrap();
        prop_assert_eq!(lent, item);
        for part in [lent.0.as_bytes(), lent.2.unwrap()] {
            let part = part.as_ptr_range();
            prop_assert!(within.start <= part.start && part.end <= within.end);
        }
    }

    #[test]
    fn a_prefix_selects_the_keys_that_begin_with_it(
        keys in vec((text(), 0..3_u8, bytes()), 1..20), prefix in (text(), 0..3_u8),
    ) {
        for (a, b, c) in &keys {
            let key = key_bytes::<Whole>(&(a, *b, c));
            let one = (prefix.0.as_str(),);
            let two = (prefix.0.as_str(), prefix.1);
            prop_assert_eq!(selects::<Whole, _>(&one, &key), *a == prefix.0);
            prop_assert_eq!(selects::<Whole, _>(&two, &key), *a == prefix.0 && *b == prefix.1);
            prop_assert_eq!(selects::<&[u8], _>(&&keys[0].2, c), c.starts_with(&keys[0].2));
            prop_assert_eq!(selects::<&str, _>(&&prefix.0, a.as_bytes()), a.starts_with(&prefix.0));
        }
    }
}

fn selects<'q, K, P: Prefix<'q, K>>(prefix: &P, key: &[u8]) -> bool {
    let mut from = Vec::new();
    prefix.put_prefix(&mut from);
    let mut end = from.clone();
    let to = prefix_end(&mut end);
    (Bound::Included(from.as_slice()), to).contains(key)
}

#[test]
fn lone_text_and_bytes_are_themselves_and_parts_are_short() {
    assert_eq!(key_bytes::<&str>(&"a\0b"), b"a\0b");
    assert_eq!(key_bytes::<(u16, &str)>(&(7, "ab")), b"\0\x07ab\0");
    assert_eq!(key_bytes::<(&str, &str)>(&("a\0", "\u{1}")), b"a\x01\x01\0\x01\x02\0\x01a\0");
    assert_eq!(key_bytes::<Option<u8>>(&None), b"\0");
    assert_eq!(value_bytes::<(&str, u16)>(&("ab", 7)), b"\x02ab\x07\0");
}

#[test]
fn different_types_have_different_hashes() {
    let hashes = [
        u8::TYPE,
        u64::TYPE,
        i64::TYPE,
        <&str>::TYPE,
        <&[u8]>::TYPE,
        <[u8; 3]>::TYPE,
        <[u8; 4]>::TYPE,
        <()>::TYPE,
        <(u8,)>::TYPE,
        <(u8, u8)>::TYPE,
        <(u8, (u8, u8))>::TYPE,
        <((u8, u8), u8)>::TYPE,
        <(u8, u8, u8)>::TYPE,
        <Option<u8>>::TYPE,
        <Option<Option<u8>>>::TYPE,
        <Option<(u8, u8)>>::TYPE,
    ];
    assert_eq!(HashSet::from(hashes).len(), hashes.len());
    // A format on disk: this one must never change.
    assert_eq!(u64::TYPE, type_hash("u64"));
    assert_eq!(<Option<u64>>::TYPE, combine(type_hash("Option"), type_hash("u64")));
    let name = type_name::<(u64, Option<&str>, [u8; 16], &[u8])>();
    assert_eq!(name, "(u64, Option<&str>, [u8; 16], &[u8])");
}

#[test]
fn long_encodings_leave_the_stack() {
    let long = "x".repeat(1000);
    key_laws::<(&str, u8)>((&long, 1), (&long, 2));
    let mut scratch = Scratch::new();
    for len in [0, 1, 63, 64, 65, 1000, 3] {
        let item = (&long.as_bytes()[..len], 9);
        let bytes = <(&[u8], u8) as Key>::lend(&item, &mut scratch);
        assert_eq!(bytes.len(), len + 2);
        assert_eq!(<(&[u8], u8) as Key>::decode(bytes).unwrap(), item);
    }
}
