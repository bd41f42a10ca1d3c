//! The encodings: keys order like their items and come back, no encoding begins another, and bytes
//! that nothing encodes are an error.
#![no_main]

use arbitrary::Arbitrary;
use libfuzzer_sys::fuzz_target;
use recto::{
    Error, Key, Value,
    internals::table::{datum::Scratch, key::prefix_end},
};
use std::{fmt::Debug, ops::Bound};

type Wide<'a> = (u16, (&'a str, bool), Option<(i8, &'a [u8])>, i64, [u8; 3], u128);

#[derive(Arbitrary, Debug)]
struct Input<'a> {
    text: [&'a str; 2],
    bytes: [&'a [u8]; 2],
    pair: [(Option<&'a [u8]>, &'a str); 2],
    wide: [Wide<'a>; 2],
    signed: [(i32, i128); 2],
    value: (f64, &'a str, Option<&'a [u8]>, u64),
    any: &'a [u8],
}

fn key_bytes<K: Key>(item: &K::Item<'_>) -> Vec<u8> {
    K::lend(item, &mut Scratch::new()).to_vec()
}

/// Order and round trip.
fn key_laws<'a, K: Key>([a, b]: [K::Item<'a>; 2])
where
    K::Item<'a>: Ord + Debug,
    K::Owned: PartialEq + Debug,
{
    let [a_bytes, b_bytes] = [&a, &b].map(key_bytes::<K>);
    assert_eq!(a.cmp(&b), a_bytes.cmp(&b_bytes), "{a:?} {b:?}");
    let (mut a_ordered, mut b_ordered) = (Vec::new(), Vec::new());
    K::put_ordered(&a, &mut a_ordered);
    K::put_ordered(&b, &mut b_ordered);
    assert!(a_ordered == b_ordered || !b_ordered.starts_with(&a_ordered), "{a:?} begins {b:?}");
    let decoded = <K as Key>::decode(&a_bytes).expect("our own encoding");
    assert_eq!(K::to_owned(decoded), K::to_owned(a));
}

fn bytes_laws<K: Key>(bytes: &[u8]) {
    match <K as Key>::decode(bytes) {
        Ok(item) => assert_eq!(key_bytes::<K>(&item), bytes, "one key, one encoding"),
        Err(error) => assert!(matches!(error, Error::Corrupt(_)), "{error}"),
    }
}

fn value_laws<V: Value>(item: V::Item<'_>)
where
    V::Owned: Debug,
{
    let bytes = V::lend(&item, &mut Scratch::new()).expect("a short value").to_vec();
    let owned = V::to_owned(<V as Value>::decode(&bytes).expect("our own encoding"));
    let again = V::lend_owned(&owned, &mut Scratch::new()).expect("a short value").to_vec();
    assert_eq!(again, bytes, "{owned:?}");
}

fuzz_target!(|input: Input<'_>| {
    key_laws::<&str>(input.text);
    key_laws::<&[u8]>(input.bytes);
    key_laws::<(Option<&[u8]>, &str)>(input.pair);
    key_laws::<Wide<'_>>(input.wide);
    key_laws::<(i32, i128)>(input.signed);
    value_laws::<(f64, &str, Option<&[u8]>, u64)>(input.value);
    bytes_laws::<&str>(input.any);
    bytes_laws::<bool>(input.any);
    bytes_laws::<[u8; 3]>(input.any);
    bytes_laws::<(Option<&[u8]>, &str)>(input.any);
    bytes_laws::<Wide<'_>>(input.any);
    let _ = <(f64, &str, Option<&[u8]>, u64) as Value>::decode(input.any);
    let [prefix, key] = input.bytes;
    let mut end = prefix.to_vec();
    let is_inside = match prefix_end(&mut end) {
        Bound::Excluded(end) => key >= prefix && key < end,
        _ => key >= prefix,
    };
    assert_eq!(is_inside, key.starts_with(prefix));
});
