//! One operation of a record: what replay applies to the tables again.
//! Owns: [`Op`], its encoding, and [`Ops`], the checked way back (I9).
//! Absent on purpose: what a key or value means; a table is its number.

use crate::error::{Error, Result};
use std::ops::Bound;

/// One operation on one table, in the order in which it was applied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Op<'a> {
    /// A table came into being.
    CreateTable {
        /// The table's number.
        id: u32,
        /// Its name.
        name: &'a str,
        /// What the catalog keeps about its types; opaque here.
        types: &'a [u8],
    },
    /// A table went, with all its entries.
    DropTable {
        /// The table's number.
        id: u32,
    },
    /// A table got another name.
    RenameTable {
        /// The table's number.
        id: u32,
        /// The new name.
        name: &'a str,
    },
    /// An entry was inserted or replaced.
    Insert {
        /// The table's number.
        table: u32,
        /// The encoded key.
        key: &'a [u8],
        /// The encoded value.
        value: &'a [u8],
    },
    /// An entry was removed.
    Remove {
        /// The table's number.
        table: u32,
        /// The encoded key.
        key: &'a [u8],
    },
    /// All entries between two bounds were removed.
    RemoveRange {
        /// The table's number.
        table: u32,
        /// Where the range begins.
        from: Bound<&'a [u8]>,
        /// Where the range ends.
        to: Bound<&'a [u8]>,
    },
}

/// Operation tags, the first byte of each.
const CREATE_TABLE: u8 = 1;
const DROP_TABLE: u8 = 2;
const RENAME_TABLE: u8 = 3;
const INSERT: u8 = 4;
const REMOVE: u8 = 5;
const REMOVE_RANGE: u8 = 6;

/// Bound tags.
const UNBOUNDED: u8 = 0;
const INCLUDED: u8 = 1;
const EXCLUDED: u8 = 2;

impl Op<'_> {
    /// Appends the operation's encoding to `out`.
    pub fn encode(&self, out: &mut Vec<u8>) {
        match *self {
            Op::CreateTable { id, name, types } => {
                put_tag(out, CREATE_TABLE, id);
                put_bytes(out, name.as_bytes());
                put_bytes(out, types);
            }
            Op::DropTable { id } => put_tag(out, DROP_TABLE, id),
            Op::RenameTable { id, name } => {
                put_tag(out, RENAME_TABLE, id);
                put_bytes(out, name.as_bytes());
            }
            Op::Insert { table, key, value } => {
                put_tag(out, INSERT, table);
                put_bytes(out, key);
                put_bytes(out, value);
            }
            Op::Remove { table, key } => {
                put_tag(out, REMOVE, table);
                put_bytes(out, key);
            }
            Op::RemoveRange { table, from, to } => {
                put_tag(out, REMOVE_RANGE, table);
                put_bound(out, from);
                put_bound(out, to);
            }
        }
    }
}

fn put_tag(out: &mut Vec<u8>, tag: u8, table: u32) {
    out.push(tag);
    put_number(out, u64::from(table));
}

/// Seven bits a byte, least first; the high bit says that more follow.
fn put_number(out: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        out.push(number as u8 | 0x80);
        number >>= 7;
    }
    out.push(number as u8);
}

fn put_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    put_number(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

fn put_bound(out: &mut Vec<u8>, bound: Bound<&[u8]>) {
    match bound {
        Bound::Unbounded => out.push(UNBOUNDED),
        Bound::Included(key) => {
            out.push(INCLUDED);
            put_bytes(out, key);
        }
        Bound::Excluded(key) => {
            out.push(EXCLUDED);
            put_bytes(out, key);
        }
    }
}

/// The operations of one record, in order. Ends after the first error.
#[derive(Clone, Debug)]
pub struct Ops<'a> {
    rest: &'a [u8],
}

impl<'a> Ops<'a> {
    /// Reads what [`Op::encode`] wrote.
    pub fn new(bytes: &'a [u8]) -> Ops<'a> {
        Ops { rest: bytes }
    }

    fn op(&mut self) -> Option<Op<'a>> {
        let tag = self.byte()?;
        let table = u32::try_from(self.number()?).ok()?;
        Some(match tag {
            CREATE_TABLE => {
                let (name, types) = (self.text()?, self.bytes()?);
                Op::CreateTable { id: table, name, types }
            }
            DROP_TABLE => Op::DropTable { id: table },
            RENAME_TABLE => Op::RenameTable { id: table, name: self.text()? },
            INSERT => {
                let (key, value) = (self.bytes()?, self.bytes()?);
                Op::Insert { table, key, value }
            }
            REMOVE => Op::Remove { table, key: self.bytes()? },
            REMOVE_RANGE => {
                let (from, to) = (self.bound()?, self.bound()?);
                Op::RemoveRange { table, from, to }
            }
            _ => return None,
        })
    }

    fn byte(&mut self) -> Option<u8> {
        let (&byte, rest) = self.rest.split_first()?;
        self.rest = rest;
        Some(byte)
    }

    fn number(&mut self) -> Option<u64> {
        let mut number = 0u64;
        for shift in (0..u64::BITS).step_by(7) {
            let byte = self.byte()?;
            let bits = u64::from(byte & 0x7f);
            // The tenth byte has room for one bit only.
            if bits << shift >> shift != bits {
                return None;
            }
            number |= bits << shift;
            if byte & 0x80 == 0 {
                return Some(number);
            }
        }
        None
    }

    fn bytes(&mut self) -> Option<&'a [u8]> {
        let len = usize::try_from(self.number()?).ok()?;
        let (bytes, rest) = self.rest.split_at_checked(len)?;
        self.rest = rest;
        Some(bytes)
    }

    fn text(&mut self) -> Option<&'a str> {
        std::str::from_utf8(self.bytes()?).ok()
    }

    fn bound(&mut self) -> Option<Bound<&'a [u8]>> {
        Some(match self.byte()? {
            UNBOUNDED => Bound::Unbounded,
            INCLUDED => Bound::Included(self.bytes()?),
            EXCLUDED => Bound::Excluded(self.bytes()?),
            _ => return None,
        })
    }
}

impl<'a> Iterator for Ops<'a> {
    type Item = Result<Op<'a>>;

    fn next(&mut self) -> Option<Result<Op<'a>>> {
        if self.rest.is_empty() {
            return None;
        }
        let left = self.rest.len();
        if let Some(op) = self.op() {
            return Some(Ok(op));
        }
        self.rest = &[];
        let reason = format!("a record holds no operation {left} bytes before its end");
        Some(Err(Error::corrupt("log", reason)))
    }
}
