use super::*;
use proptest::prelude::{Strategy, any, prop_oneof, proptest};
use recto::{Store, Table, TableTypes};
use std::ops::Bound;

/// What a store keeps of one entry: its types, and the raw bytes.
fn raw<K: Key, V: Value>(key: K::Item<'_>, value: V::Item<'_>) -> (TableTypes, Vec<u8>, Vec<u8>)
where
    for<'k> K::Item<'k>: Send,
    for<'v> V::Item<'v>: Send,
{
    let store = Store::in_memory().unwrap();
    store.write(|tx| tx.table(&Table::<K, V>::named("t"))?.insert(key, value)).unwrap();
    let snapshot = store.snapshot();
    let table = snapshot.raw_table("t").unwrap().unwrap();
    let (key, value) =
        table.range(Bound::Unbounded, Bound::Unbounded).unwrap().next().unwrap().unwrap();
    (table.types().clone(), key.to_vec(), value.to_vec())
}

/// Shows an entry and reads it back to the same bytes; what it looked like.
fn shown<K: Key, V: Value>(key: K::Item<'_>, value: V::Item<'_>) -> (String, String)
where
    for<'k> K::Item<'k>: Send,
    for<'v> V::Item<'v>: Send,
{
    let (types, key, value) = raw::<K, V>(key, value);
    let (key_type, value_type) = (Type::named(&types.key_name), Type::named(&types.value_name));
    assert_eq!(
        (key_type.name(), value_type.name()),
        (types.key_name.to_string(), types.value_name.to_string())
    );
    let (key_json, value_json) =
        (key_type.show(Side::Key, &key), value_type.show(Side::Value, &value));
    let again = |json: &Json| serde_json::from_str(&json.to_string()).unwrap();
    assert_eq!(key_type.parse(Side::Key, &again(&key_json)), Ok(key));
    assert_eq!(value_type.parse(Side::Value, &again(&value_json)), Ok(value));
    (key_json.to_string(), value_json.to_string())
}

#[test]
fn entries_are_shown_as_json_and_read_back() {
    let pair = |key: &str, value: &str| (key.to_owned(), value.to_owned());
    assert_eq!(shown::<&str, u64>("ada", 36), pair("\"ada\"", "36"));
    assert_eq!(shown::<&[u8], ()>(&[0, 1, 255], ()), pair("\"0001ff\"", "null"));
    assert_eq!(shown::<u64, &str>(u64::MAX, "x\n"), pair("18446744073709551615", "\"x\\n\""));
    assert_eq!(shown::<i8, f64>(-128, -0.5), pair("-128", "-0.5"));
    assert_eq!(shown::<bool, f32>(true, f32::INFINITY), pair("true", "\"inf\""));
    assert_eq!(shown::<u128, i128>(u128::MAX, i128::MIN).0, format!("\"{}\"", u128::MAX));
    assert_eq!(shown::<[u8; 3], [u8; 2]>([1, 2, 3], [4, 5]), pair("\"010203\"", "\"0405\""));
    assert_eq!(shown::<Option<&str>, Option<u32>>(None, Some(7)), pair("null", "7"));
    let nested = shown::<(&str, Option<(u8, &[u8])>), (&str, &[u8])>(
        ("a\0b", Some((1, &[1, 0]))),
        ("c", &[0]),
    );
    assert_eq!(nested, pair("[\"a\\u0000b\",[1,\"0100\"]]", "[\"c\",\"00\"]"));
    // Some(()) looks like None, so its bytes are shown.
    assert_eq!(shown::<u8, Option<()>>(1, Some(())), pair("1", "{\"hex\":\"01\"}"));
    assert!(shown::<u8, f64>(1, f64::from_bits(0x7ff8_0000_0000_1234)).1.starts_with("{\"hex\""));
}

#[test]
fn what_is_not_of_the_type_is_refused_by_its_name() {
    let refused = |name: &str, side, json: &str| {
        let json = serde_json::from_str(json).unwrap();
        Type::named(name).parse(side, &json).unwrap_err()
    };
    assert_eq!(refused("u8", Side::Key, "256"), "256 is not a u8");
    assert_eq!(refused("(u8, &str)", Side::Key, "[1]"), "[1] is not a (u8, &str)");
    assert_eq!(refused("[u8; 2]", Side::Value, "\"00\""), "\"00\" is not a [u8; 2]");
    assert_eq!(refused("&[u8]", Side::Value, "\"0g\""), "\"0g\" is not a &[u8]");
    assert!(refused("u8", Side::Value, "{\"hex\": 1}").contains("is not of the form"));
    assert!(refused("Postcard<Person>", Side::Value, "1").contains("not known here"));
    assert_eq!(Type::named("f64").parse(Side::Key, &json!(1.0)).ok(), None);
}

#[test]
fn unknown_types_and_damaged_bytes_are_shown_as_they_are() {
    for name in ["Postcard<Person>", "", "(u8", "(u8, )x", "[u8; x]", "Option<u8", "u9", "()()"] {
        assert_eq!(Type::named(name), Type::Unknown, "{name}");
    }
    assert_eq!(Type::named("(u8,)"), Type::Tuple(vec![Type::Number(Number::U8)]));
    for (name, bytes) in
        [("Postcard<T>", &[1, 2][..]), ("&str", &[0xff]), ("u32", &[1]), ("bool", &[2])]
    {
        let json = Type::named(name).show(Side::Value, bytes);
        assert_eq!(json, json!({ "hex": hex(bytes) }));
        assert_eq!(Type::named(name).parse(Side::Value, &json).unwrap(), bytes);
    }
}

#[test]
fn what_is_typed_is_text_or_json() {
    let typed = |name: &str, typed: &str| Type::named(name).parse_typed(Side::Value, typed);
    assert_eq!(typed("&str", "0x00").unwrap(), b"0x00");
    assert_eq!(typed("&[u8]", "0x00ff").unwrap(), [0, 255]);
    assert_eq!(typed("&[u8]", "abc").unwrap(), b"abc");
    assert_eq!(typed("u16", "258").unwrap(), [2, 1]);
    assert!(typed("&[u8]", "0x0").is_err());
    assert!(typed("u16", "two").is_err());
}

fn any_bytes() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![any::<Vec<u8>>(), proptest::collection::vec(0..3u8, 0..9)]
}

proptest! {
    #[test]
    fn every_key_and_value_comes_back(
        bytes in any_bytes(), text: String, number: u64, wide: i128, flag: bool, real: f64,
        small: f32, maybe: Option<i64>, array: [u8; 5],
    ) {
        type Wide<'a> = (&'a [u8], &'a str, Option<i64>, bool, i128, [u8; 5]);
        let all = || (&bytes[..], &text[..], maybe, flag, wide, array);
        shown::<Wide<'_>, Wide<'_>>(all(), all());
        shown::<&[u8], f64>(&bytes, real);
        shown::<&str, f32>(&text, small);
        shown::<(Option<&str>, &[u8]), (u64, f32)>((Some(&text), &bytes), (number, small));
    }

    #[test]
    fn any_bytes_of_any_type_come_back(bytes in any_bytes(), which in 0..6usize) {
        let names = ["(&str, u8)", "Option<&[u8]>", "(u8, (bool, &str))", "i128", "[u8; 3]", "f32"];
        let named = Type::named(names[which]);
        for side in [Side::Key, Side::Value] {
            let json = named.show(side, &bytes);
            proptest::prop_assert_eq!(named.parse(side, &json), Ok(bytes.clone()));
        }
    }
}
