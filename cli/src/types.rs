//! The types of keys and values, known by their names alone: a store that was made by another
//! program is shown and changed without its types at hand.
//! Owns: [`Type`], its names, and the way between encoded bytes and JSON.
//!
//! Text is a string, bytes are a string of hexadecimal digits, numbers up to 64 bits are numbers,
//! longer ones and floats that are not finite are strings, tuples are arrays, `()` and `None` are
//! null. What has no such form (an unknown type, damaged bytes) is `{"hex": ".."}`; so what
//! [`Type::show`] says is read back by [`Type::parse`] to exactly the same bytes.
//! Absent on purpose: the encodings of the parts, which are recto's own.

use recto::{Key, Value, raw::Ordered};
use serde_json::{Map, Value as Json, json};

/// A type of keys or values.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Type {
    /// `&str`
    Text,
    /// `&[u8]`
    Bytes,
    /// `()`
    Unit,
    /// `bool`
    Bool,
    /// An integer or a float.
    Number(Number),
    /// `[u8; N]`
    Array(usize),
    /// `Option<..>`
    Option(Box<Type>),
    /// `(..,)`
    Tuple(Vec<Type>),
    /// Anything else: only its bytes are known.
    Unknown,
}

/// Whether bytes were encoded as a key or as a value; the two differ.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// Ordered.
    Key,
    /// Compact.
    Value,
}

/// Names every number once, and gives each what depends on its Rust type.
macro_rules! numbers {
    ($($name:ident $t:ty, $key:tt, $to:expr, $from:expr;)*) => {
        /// A type of numbers.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Number { $(#[doc = stringify!($t)] $name),* }

        impl Number {
            const ALL: &[(&str, Number)] = &[$((stringify!($t), Number::$name)),*];

            fn encode(self, json: &Json, side: Side, out: &mut Vec<u8>) -> Option<()> {
                match self {
                    $(Number::$name => {
                        let number: $t = ($from)(json)?;
                        match side {
                            Side::Key => numbers!(@put $key, $t, number, out),
                            Side::Value => <$t as Value>::put(&number, out).ok()?,
                        }
                    })*
                }
                Some(())
            }

            fn decode_key(self, input: &mut Ordered<'_>) -> Option<Json> {
                match self {
                    $(Number::$name => numbers!(@take $key, $t, input, $to),)*
                }
            }

            fn decode_value(self, input: &mut &[u8]) -> Option<Json> {
                match self {
                    $(Number::$name => <$t as Value>::take(input).map($to),)*
                }
            }
        }
    };
    (@put ordered, $t:ty, $number:ident, $out:ident) => {{
        <$t as Key>::put_ordered(&$number, $out);
    }};
    (@put unordered, $t:ty, $number:ident, $out:ident) => {{ return None }};
    (@take ordered, $t:ty, $input:ident, $to:expr) => { <$t as Key>::take($input).map($to) };
    (@take unordered, $t:ty, $input:ident, $to:expr) => { None };
}

numbers! {
    U8 u8, ordered, |n: u8| json!(n), small;
    U16 u16, ordered, |n: u16| json!(n), small;
    U32 u32, ordered, |n: u32| json!(n), small;
    U64 u64, ordered, |n: u64| json!(n), small;
    U128 u128, ordered, |n: u128| json!(n.to_string()), large;
    I8 i8, ordered, |n: i8| json!(n), small_signed;
    I16 i16, ordered, |n: i16| json!(n), small_signed;
    I32 i32, ordered, |n: i32| json!(n), small_signed;
    I64 i64, ordered, |n: i64| json!(n), small_signed;
    I128 i128, ordered, |n: i128| json!(n.to_string()), large;
    F32 f32, unordered, |x: f32| float(f64::from(x)), read_f32;
    F64 f64, unordered, |x: f64| float(x), read_f64;
}

fn small<T: TryFrom<u64>>(json: &Json) -> Option<T> {
    json.as_u64()?.try_into().ok()
}

fn small_signed<T: TryFrom<i64>>(json: &Json) -> Option<T> {
    json.as_i64()?.try_into().ok()
}

fn large<T: std::str::FromStr>(json: &Json) -> Option<T> {
    match json {
        Json::String(digits) => digits.parse().ok(),
        Json::Number(number) => number.to_string().parse().ok(),
        _ => None,
    }
}

/// A float as JSON: the number itself, or a string if it is not finite.
fn float(wide: f64) -> Json {
    if wide.is_finite() { json!(wide) } else { json!(wide.to_string()) }
}

fn read_f64(json: &Json) -> Option<f64> {
    json.as_f64().or_else(|| json.as_str()?.parse().ok())
}

#[expect(clippy::cast_possible_truncation, reason = "what came from an f32 is one exactly")]
fn read_f32(json: &Json) -> Option<f32> {
    read_f64(json).map(|wide| wide as f32)
}

impl Type {
    /// The type that is called `name`, as the catalog of a store has it.
    pub fn named(name: &str) -> Type {
        let mut rest = name;
        match Type::read(&mut rest) {
            Some(read) if rest.is_empty() => read,
            _ => Type::Unknown,
        }
    }

    fn read(rest: &mut &str) -> Option<Type> {
        for (name, simple) in
            [("&str", Type::Text), ("&[u8]", Type::Bytes), ("()", Type::Unit), ("bool", Type::Bool)]
        {
            if let Some(behind) = rest.strip_prefix(name) {
                *rest = behind;
                return Some(simple);
            }
        }
        if let Some(behind) = rest.strip_prefix("Option<") {
            *rest = behind;
            let part = Type::read(rest)?;
            *rest = rest.strip_prefix('>')?;
            return Some(Type::Option(Box::new(part)));
        }
        if let Some(behind) = rest.strip_prefix("[u8; ") {
            let (digits, behind) = behind.split_once(']')?;
            *rest = behind;
            return Some(Type::Array(digits.parse().ok()?));
        }
        if let Some(behind) = rest.strip_prefix('(') {
            *rest = behind;
            return Type::read_tuple(rest);
        }
        let end = rest.find(|c: char| !c.is_ascii_alphanumeric()).unwrap_or(rest.len());
        let (word, behind) = rest.split_at(end);
        let (_, number) = Number::ALL.iter().find(|(name, _)| *name == word)?;
        *rest = behind;
        Some(Type::Number(*number))
    }

    fn read_tuple(rest: &mut &str) -> Option<Type> {
        let mut parts = vec![Type::read(rest)?];
        loop {
            if let Some(behind) = rest.strip_prefix(", ") {
                *rest = behind;
                parts.push(Type::read(rest)?);
            } else {
                // One part alone may be written with a comma behind it, as Rust does.
                *rest = rest.strip_prefix(',').unwrap_or(rest).strip_prefix(')')?;
                return Some(Type::Tuple(parts));
            }
        }
    }

    /// Encoded bytes as JSON, in a form that [`parse`](Self::parse) takes back to the same bytes.
    pub fn show(&self, side: Side, bytes: &[u8]) -> Json {
        self.decode(side, bytes)
            .filter(|json| self.encode(side, json).is_some_and(|again| again == bytes))
            .unwrap_or_else(|| json!({ "hex": hex(bytes) }))
    }

    /// The encoding of what `json` says.
    ///
    /// # Errors
    /// A sentence about what is wrong with it.
    pub fn parse(&self, side: Side, json: &Json) -> Result<Vec<u8>, String> {
        if let Json::Object(object) = json {
            let bytes = only_hex(object).and_then(unhex);
            return bytes.ok_or_else(|| format!("{json} is not of the form {{\"hex\": \"00ff\"}}"));
        }
        self.encode(side, json).ok_or_else(|| format!("{json} is not a {}", self.name()))
    }

    /// As [`parse`](Self::parse), of what was typed: text and bytes as they stand, the latter also
    /// as `0x` and hexadecimal digits; anything else as JSON.
    pub fn parse_typed(&self, side: Side, typed: &str) -> Result<Vec<u8>, String> {
        match self {
            Type::Text => Ok(typed.into()),
            Type::Bytes => match typed.strip_prefix("0x") {
                Some(digits) => unhex(digits).ok_or_else(|| format!("{typed} is not hexadecimal")),
                None => Ok(typed.into()),
            },
            _ => {
                let json = serde_json::from_str(typed);
                self.parse(side, &json.map_err(|_| format!("{typed} is not a {}", self.name()))?)
            }
        }
    }

    /// The name, as the catalog of a store has it.
    pub fn name(&self) -> String {
        match self {
            Type::Text => "&str".into(),
            Type::Bytes => "&[u8]".into(),
            Type::Unit => "()".into(),
            Type::Bool => "bool".into(),
            Type::Number(number) => {
                let named = Number::ALL.iter().find(|(_, known)| known == number);
                named.map_or("number", |(name, _)| name).into()
            }
            Type::Array(len) => format!("[u8; {len}]"),
            Type::Option(part) => format!("Option<{}>", part.name()),
            Type::Tuple(parts) => {
                let names: Vec<String> = parts.iter().map(Type::name).collect();
                format!("({})", names.join(", "))
            }
            Type::Unknown => "value of a type that is not known here".into(),
        }
    }

    fn decode(&self, side: Side, bytes: &[u8]) -> Option<Json> {
        match (self, side) {
            // Lone text and bytes are themselves.
            (Type::Text, _) => Some(json!(std::str::from_utf8(bytes).ok()?)),
            (Type::Bytes, _) => Some(json!(hex(bytes))),
            (_, Side::Key) => {
                let mut input = Ordered::new(bytes);
                self.decode_key(&mut input).filter(|_| input.is_empty())
            }
            (_, Side::Value) => {
                let mut input = bytes;
                self.decode_value(&mut input).filter(|_| input.is_empty())
            }
        }
    }

    fn decode_key(&self, input: &mut Ordered<'_>) -> Option<Json> {
        match self {
            Type::Text => <&str as Key>::take(input).map(|text| json!(text)),
            Type::Bytes => <&[u8] as Key>::take(input).map(|bytes| json!(hex(bytes))),
            Type::Bool => <bool as Key>::take(input).map(|bool| json!(bool)),
            Type::Number(number) => number.decode_key(input),
            Type::Array(len) => {
                let bytes = (0..*len).map(|_| input.array().map(|[byte]| byte));
                Some(json!(hex(&bytes.collect::<Option<Vec<u8>>>()?)))
            }
            Type::Option(part) => match input.array()? {
                [0] => Some(Json::Null),
                [1] => part.decode_key(input),
                _ => None,
            },
            Type::Tuple(parts) => {
                let parts = parts.iter().map(|part| part.decode_key(input));
                Some(Json::Array(parts.collect::<Option<_>>()?))
            }
            Type::Unit | Type::Unknown => None,
        }
    }

    fn decode_value(&self, input: &mut &[u8]) -> Option<Json> {
        match self {
            Type::Text => <&str as Value>::take(input).map(|text| json!(text)),
            Type::Bytes => <&[u8] as Value>::take(input).map(|bytes| json!(hex(bytes))),
            Type::Bool => <bool as Value>::take(input).map(|bool| json!(bool)),
            Type::Unit => Some(Json::Null),
            Type::Number(number) => number.decode_value(input),
            Type::Array(len) => {
                let (bytes, rest) = input.split_at_checked(*len)?;
                *input = rest;
                Some(json!(hex(bytes)))
            }
            Type::Option(part) => match <u8 as Value>::take(input)? {
                0 => Some(Json::Null),
                1 => part.decode_value(input),
                _ => None,
            },
            Type::Tuple(parts) => {
                let parts = parts.iter().map(|part| part.decode_value(input));
                Some(Json::Array(parts.collect::<Option<_>>()?))
            }
            Type::Unknown => None,
        }
    }

    fn encode(&self, side: Side, json: &Json) -> Option<Vec<u8>> {
        let mut out = Vec::new();
        match (self, side) {
            (Type::Text, _) => out.extend_from_slice(json.as_str()?.as_bytes()),
            (Type::Bytes, _) => out = unhex(json.as_str()?)?,
            (_, Side::Value) => self.put_value(json, &mut out)?,
            (_, Side::Key) => {
                let mut raw_copies = Vec::new();
                self.put_key(json, &mut out, &mut raw_copies)?;
                // The last part's copy comes first.
                for copy in raw_copies.iter().rev() {
                    out.extend_from_slice(copy);
                }
            }
        }
        Some(out)
    }

    fn put_key(&self, json: &Json, out: &mut Vec<u8>, raw_copies: &mut Vec<Vec<u8>>) -> Option<()> {
        match self {
            Type::Text | Type::Bytes => {
                let bytes = self.encode(Side::Key, json)?;
                if <&[u8] as Key>::put_ordered(&bytes.as_slice(), out) {
                    raw_copies.push(bytes);
                }
            }
            Type::Bool => {
                <bool as Key>::put_ordered(&json.as_bool()?, out);
            }
            Type::Number(number) => number.encode(json, Side::Key, out)?,
            Type::Array(len) => {
                out.extend(unhex(json.as_str()?).filter(|bytes| bytes.len() == *len)?);
            }
            Type::Option(_) if json.is_null() => out.push(0),
            Type::Option(part) => {
                out.push(1);
                part.put_key(json, out, raw_copies)?;
            }
            Type::Tuple(parts) => {
                for (part, json) in parts.iter().zip(elements(json, parts.len())?) {
                    part.put_key(json, out, raw_copies)?;
                }
            }
            Type::Unit | Type::Unknown => return None,
        }
        Some(())
    }

    fn put_value(&self, json: &Json, out: &mut Vec<u8>) -> Option<()> {
        match self {
            Type::Text | Type::Bytes => {
                let bytes = self.encode(Side::Value, json)?;
                <&[u8] as Value>::put(&bytes.as_slice(), out).ok()?;
            }
            Type::Bool => <bool as Value>::put(&json.as_bool()?, out).ok()?,
            Type::Unit => json.as_null()?,
            Type::Number(number) => number.encode(json, Side::Value, out)?,
            Type::Array(len) => {
                out.extend(unhex(json.as_str()?).filter(|bytes| bytes.len() == *len)?);
            }
            Type::Option(_) if json.is_null() => out.push(0),
            Type::Option(part) => {
                out.push(1);
                part.put_value(json, out)?;
            }
            Type::Tuple(parts) => {
                for (part, json) in parts.iter().zip(elements(json, parts.len())?) {
                    part.put_value(json, out)?;
                }
            }
            Type::Unknown => return None,
        }
        Some(())
    }
}

fn elements(json: &Json, len: usize) -> Option<&[Json]> {
    json.as_array().map(Vec::as_slice).filter(|elements| elements.len() == len)
}

fn only_hex(object: &Map<String, Json>) -> Option<&str> {
    if object.len() == 1 { object.get("hex")?.as_str() } else { None }
}

/// Bytes as hexadecimal digits.
pub fn hex(bytes: &[u8]) -> String {
    let digit = |half: u8| char::from(b"0123456789abcdef"[usize::from(half & 15)]);
    bytes.iter().flat_map(|byte| [digit(byte >> 4), digit(*byte)]).collect()
}

/// The bytes that hexadecimal digits say.
pub fn unhex(digits: &str) -> Option<Vec<u8>> {
    let digit = |byte: u8| char::from(byte).to_digit(16).map(|half| half as u8);
    let pairs = digits.as_bytes().chunks(2);
    pairs.map(|pair| Some(digit(pair[0])? << 4 | digit(*pair.get(1)?)?)).collect()
}

#[cfg(test)]
mod tests;
