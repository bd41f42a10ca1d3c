//! What a table's key or value type has whichever of the two it is.
//! Owns: [`Datum`], and [`Scratch`], where an encoding is put together.

use crate::{error::Error, options::PAGE_FILE, txn::catalog::name_hash};

/// A type that can stand in [`Table<K, V>`](crate::Table): `&str` there means "text", whatever its
/// lifetime, and [`Item`](Self::Item) is what is handed in and out.
pub trait Datum {
    /// What is stored and read; borrowed types live as long as the snapshot or transaction does.
    type Item<'a>;
    /// An item that borrows nothing: `String` for `&str`.
    type Owned: Send + 'static;
    /// The hash of the type, by which a table opened with other types is noticed.
    const TYPE: u64;
    /// Appends the type's name, as Rust writes it, for messages.
    fn type_name(out: &mut String);
    /// The item on its own.
    fn to_owned(item: Self::Item<'_>) -> Self::Owned;
}

/// The hash of the type that is called `name`.
pub const fn type_hash(name: &str) -> u64 {
    name_hash(name.as_bytes())
}

/// The name of a type.
pub fn type_name<D: Datum>() -> String {
    let mut name = String::new();
    D::type_name(&mut name);
    name
}

/// The error for bytes that no encoding of `D` gives.
#[cold]
pub fn malformed<D: Datum>(what: &str, len: usize) -> Error {
    let reason = format!("a {what} of {len} bytes is not a {}", type_name::<D>());
    Error::corrupt(PAGE_FILE, reason)
}

/// Where an encoding is appended.
pub trait Sink {
    /// Appends `bytes`.
    fn put(&mut self, bytes: &[u8]);
}

impl Sink for Vec<u8> {
    fn put(&mut self, bytes: &[u8]) {
        self.extend_from_slice(bytes);
    }
}

/// The room for one encoding: short ones lie on the stack, so that a point read allocates nothing.
pub struct Scratch {
    near: [u8; Scratch::NEAR_BYTES],
    near_len: usize,
    /// All of the encoding, once it has outgrown `near`.
    far: Vec<u8>,
}

impl Scratch {
    const NEAR_BYTES: usize = 64;

    /// An empty scratch.
    #[inline]
    pub fn new() -> Scratch {
        Scratch::default()
    }

    /// What was put since the last [`clear`](Self::clear).
    #[inline]
    pub fn bytes(&self) -> &[u8] {
        if self.far.is_empty() { &self.near[..self.near_len] } else { &self.far }
    }

    /// Makes it empty, to be used again.
    #[inline]
    pub fn clear(&mut self) {
        self.near_len = 0;
        self.far.clear();
    }
}

impl Default for Scratch {
    #[inline]
    fn default() -> Scratch {
        Scratch { near: [0; Scratch::NEAR_BYTES], near_len: 0, far: Vec::new() }
    }
}

impl Sink for Scratch {
    #[inline]
    fn put(&mut self, bytes: &[u8]) {
        let end = self.near_len + bytes.len();
        if self.far.is_empty() && end <= Scratch::NEAR_BYTES {
            self.near[self.near_len..end].copy_from_slice(bytes);
            self.near_len = end;
            return;
        }
        if self.far.is_empty() {
            self.far.reserve(end);
            self.far.extend_from_slice(&self.near[..self.near_len]);
        }
        self.far.extend_from_slice(bytes);
    }
}

/// A type whose items hold nothing borrowed and are their own owned form.
macro_rules! plain_datum {
    ($($t:ty),*) => { $(
        impl Datum for $t {
            type Item<'a> = $t;
            type Owned = $t;
            const TYPE: u64 = type_hash(stringify!($t));
            fn type_name(out: &mut String) {
                out.push_str(stringify!($t));
            }
            #[inline]
            fn to_owned(item: $t) -> $t {
                item
            }
        }
    )* };
}
plain_datum!(u8, u16, u32, u64, u128, i8, i16, i32, i64, i128, bool, f32, f64);

impl Datum for () {
    type Item<'a> = ();
    type Owned = ();
    const TYPE: u64 = type_hash("()");
    fn type_name(out: &mut String) {
        out.push_str("()");
    }
    fn to_owned((): ()) {}
}

impl Datum for &str {
    type Item<'a> = &'a str;
    type Owned = String;
    const TYPE: u64 = type_hash("&str");
    fn type_name(out: &mut String) {
        out.push_str("&str");
    }
    fn to_owned(item: &str) -> String {
        item.into()
    }
}

impl Datum for &[u8] {
    type Item<'a> = &'a [u8];
    type Owned = Vec<u8>;
    const TYPE: u64 = type_hash("&[u8]");
    fn type_name(out: &mut String) {
        out.push_str("&[u8]");
    }
    fn to_owned(item: &[u8]) -> Vec<u8> {
        item.into()
    }
}

impl<const N: usize> Datum for [u8; N] {
    type Item<'a> = [u8; N];
    type Owned = [u8; N];
    const TYPE: u64 = combine(type_hash("[u8; N]"), N as u64);
    fn type_name(out: &mut String) {
        out.push_str("[u8; ");
        out.push_str(&N.to_string());
        out.push(']');
    }
    #[inline]
    fn to_owned(item: [u8; N]) -> [u8; N] {
        item
    }
}

impl<D: Datum> Datum for Option<D> {
    type Item<'a> = Option<D::Item<'a>>;
    type Owned = Option<D::Owned>;
    const TYPE: u64 = combine(type_hash("Option"), D::TYPE);
    fn type_name(out: &mut String) {
        out.push_str("Option<");
        D::type_name(out);
        out.push('>');
    }
    fn to_owned(item: Option<D::Item<'_>>) -> Option<D::Owned> {
        item.map(D::to_owned)
    }
}

/// The hash of a type made of others: `hash` so far, continued with `part`.
pub const fn combine(hash: u64, part: u64) -> u64 {
    crate::txn::catalog::hash_more(hash, &part.to_le_bytes())
}
