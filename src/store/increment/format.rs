//! What stands in a file of an increment.
//! Owns: [`Header`], [`Record`], and the blocks that carry records. Keeps I9.
//!
//! A header of 64 bytes; then blocks, each of a length, a checksum, and whole records; an empty
//! block ends the file. A block's checksum is seeded with that of the one before, the first one's
//! with the header's: blocks left out, repeated or of another file do not count.

use crate::{
    error::{Error, Result},
    storage::StorageFile,
    sync::Arc,
};
use std::ops::Range;

/// The format that is written, and the only one that is read.
const FORMAT: u32 = 1;
const MAGIC_BYTES: [u8; 8] = *b"recto+\r\n";

const MAGIC: Range<usize> = 0..8;
const FORMAT_AT: Range<usize> = 8..12;
const STORE_ID: Range<usize> = 16..24;
const BASE: Range<usize> = 24..32;
const TARGET: Range<usize> = 32..40;
const CHECKSUM: Range<usize> = 60..64;
const HEADER_BYTES: usize = 64;
const _: () = assert!(TARGET.end <= CHECKSUM.start && CHECKSUM.end == HEADER_BYTES);

/// Before each block: its length and its checksum.
const BLOCK_HEADER_BYTES: usize = 8;
/// A block is closed when it is this long; one record may be longer.
const BLOCK_BYTES: usize = 256 << 10;
/// The file is lengthened by so much at a time.
const GROWTH_BYTES: u64 = 1 << 20;

/// What an increment leads from and to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// The store that it was made from.
    pub store_id: u64,
    /// The version that it is applied to.
    pub base: u64,
    /// The version that it leads to.
    pub target: u64,
}

/// One step from the base to the target, in the order in which they are taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Record<'a> {
    /// A table is gone.
    Drop {
        /// Its name.
        name: &'a str,
    },
    /// A table has another name.
    Rename {
        /// The name it had.
        from: &'a str,
        /// The name it has.
        to: &'a str,
    },
    /// What follows is about this table; made if it is not there.
    Table {
        /// Its name.
        name: &'a str,
        /// Its types, as the catalog encodes them.
        types: &'a [u8],
    },
    /// A key has a value; before it had none, or one of this checksum.
    Put {
        /// The key.
        key: &'a [u8],
        /// The value it has.
        value: &'a [u8],
        /// The checksum of the one it had.
        old: Option<u32>,
    },
    /// A key is gone; before it had a value of this checksum.
    Remove {
        /// The key.
        key: &'a [u8],
        /// The checksum of the value it had.
        old: u32,
    },
    /// The table has this many entries now.
    Len {
        /// How many.
        entries: u64,
    },
}

impl Header {
    fn encode(self) -> [u8; HEADER_BYTES] {
        let mut bytes = [0; HEADER_BYTES];
        bytes[MAGIC].copy_from_slice(&MAGIC_BYTES);
        bytes[FORMAT_AT].copy_from_slice(&FORMAT.to_le_bytes());
        bytes[STORE_ID].copy_from_slice(&self.store_id.to_le_bytes());
        bytes[BASE].copy_from_slice(&self.base.to_le_bytes());
        bytes[TARGET].copy_from_slice(&self.target.to_le_bytes());
        let checksum = crc32c::crc32c(&bytes[..CHECKSUM.start]);
        bytes[CHECKSUM].copy_from_slice(&checksum.to_le_bytes());
        bytes
    }

    fn decode(bytes: &[u8; HEADER_BYTES], file: &str) -> Result<Header> {
        let wide = |range: Range<usize>| {
            bytes[range].iter().rev().fold(0u64, |sum, byte| sum << 8 | u64::from(*byte))
        };
        if bytes[MAGIC] != MAGIC_BYTES {
            return Err(Error::corrupt(file, "it is no increment"));
        }
        if wide(FORMAT_AT) != u64::from(FORMAT) {
            let found = wide(FORMAT_AT);
            return Err(Error::corrupt(file, format!("it has format {found}, {FORMAT} is read")));
        }
        if wide(CHECKSUM) != u64::from(crc32c::crc32c(&bytes[..CHECKSUM.start])) {
            return Err(Error::corrupt(file, "its header's checksum is wrong"));
        }
        Ok(Header { store_id: wide(STORE_ID), base: wide(BASE), target: wide(TARGET) })
    }
}

const DROP: u8 = 1;
const RENAME: u8 = 2;
const TABLE: u8 = 3;
const INSERT: u8 = 4;
const REPLACE: u8 = 5;
const REMOVE: u8 = 6;
const LEN: u8 = 7;

impl<'a> Record<'a> {
    /// Appends the encoding: a tag; checksum or count where there is one; parts, each behind its
    /// length.
    pub fn encode(&self, out: &mut Vec<u8>) {
        let mut part = |tag: u8, number: &[u8], parts: &[&[u8]]| {
            out.push(tag);
            out.extend_from_slice(number);
            for part in parts {
                out.extend_from_slice(&(part.len() as u32).to_le_bytes());
                out.extend_from_slice(part);
            }
        };
        match *self {
            Record::Drop { name } => part(DROP, &[], &[name.as_bytes()]),
            Record::Rename { from, to } => part(RENAME, &[], &[from.as_bytes(), to.as_bytes()]),
            Record::Table { name, types } => part(TABLE, &[], &[name.as_bytes(), types]),
            Record::Put { key, value, old: None } => part(INSERT, &[], &[key, value]),
            Record::Put { key, value, old: Some(old) } => {
                part(REPLACE, &old.to_le_bytes(), &[key, value]);
            }
            Record::Remove { key, old } => part(REMOVE, &old.to_le_bytes(), &[key]),
            Record::Len { entries } => part(LEN, &entries.to_le_bytes(), &[]),
        }
    }

    /// Takes the record at the start of `rest`; none if there is none.
    fn take(rest: &mut &'a [u8]) -> Option<Record<'a>> {
        let [tag] = number(rest)?;
        Some(match tag {
            DROP => Record::Drop { name: text(rest)? },
            RENAME => Record::Rename { from: text(rest)?, to: text(rest)? },
            TABLE => Record::Table { name: text(rest)?, types: part(rest)? },
            INSERT => Record::Put { key: part(rest)?, value: part(rest)?, old: None },
            REPLACE => {
                let old = Some(u32::from_le_bytes(number(rest)?));
                Record::Put { key: part(rest)?, value: part(rest)?, old }
            }
            REMOVE => {
                let old = u32::from_le_bytes(number(rest)?);
                Record::Remove { key: part(rest)?, old }
            }
            LEN => Record::Len { entries: u64::from_le_bytes(number(rest)?) },
            _ => return None,
        })
    }
}

fn number<const N: usize>(rest: &mut &[u8]) -> Option<[u8; N]> {
    let (number, tail) = rest.split_first_chunk()?;
    *rest = tail;
    Some(*number)
}

fn part<'a>(rest: &mut &'a [u8]) -> Option<&'a [u8]> {
    let len = u32::from_le_bytes(number(rest)?) as usize;
    let (part, tail) = rest.split_at_checked(len)?;
    *rest = tail;
    Some(part)
}

fn text<'a>(rest: &mut &'a [u8]) -> Option<&'a str> {
    std::str::from_utf8(part(rest)?).ok()
}

/// A file that is being written.
pub struct Writer<'f> {
    file: &'f dyn StorageFile,
    at: u64,
    allocated: u64,
    chain: u32,
    block: Vec<u8>,
}

impl<'f> Writer<'f> {
    /// Begins an increment in an empty file.
    pub fn begin(file: &'f dyn StorageFile, header: Header) -> Result<Writer<'f>> {
        let bytes = header.encode();
        let chain = crc32c::crc32c(&bytes);
        let mut writer = Writer { file, at: 0, allocated: 0, chain, block: Vec::new() };
        writer.write(&bytes)?;
        Ok(writer)
    }

    /// Adds a record.
    pub fn push(&mut self, record: Record<'_>) -> Result<()> {
        record.encode(&mut self.block);
        if self.block.len() >= BLOCK_BYTES { self.close_block() } else { Ok(()) }
    }

    /// Adds bytes that may be no record, for tests of what reads them.
    #[cfg(any(test, feature = "internals"))]
    pub fn push_raw(&mut self, bytes: &[u8]) -> Result<()> {
        self.block.extend_from_slice(bytes);
        Ok(())
    }

    /// Ends the file and syncs it; gives its length.
    pub fn finish(mut self) -> Result<u64> {
        if !self.block.is_empty() {
            self.close_block()?;
        }
        self.close_block()?;
        self.file.truncate(self.at)?;
        self.file.sync()?;
        Ok(self.at)
    }

    fn close_block(&mut self) -> Result<()> {
        let block = std::mem::take(&mut self.block);
        let len = (block.len() as u32).to_le_bytes();
        self.chain = crc32c::crc32c_append(crc32c::crc32c_append(self.chain, &len), &block);
        let mut bytes = Vec::with_capacity(BLOCK_HEADER_BYTES + block.len());
        bytes.extend_from_slice(&len);
        bytes.extend_from_slice(&self.chain.to_le_bytes());
        bytes.extend_from_slice(&block);
        self.write(&bytes)
    }

    fn write(&mut self, bytes: &[u8]) -> Result<()> {
        let end = self.at + bytes.len() as u64;
        if end > self.allocated {
            self.allocated = end.next_multiple_of(GROWTH_BYTES);
            self.file.allocate(self.allocated)?;
        }
        self.file.write_at(bytes, self.at)?;
        self.at = end;
        Ok(())
    }
}

/// A file that is read from its start.
pub struct Reader {
    file: Arc<dyn StorageFile>,
    name: String,
    /// What it leads from and to.
    pub header: Header,
    at: u64,
    end: u64,
    chain: u32,
}

impl Reader {
    /// Reads the header; `name` is what errors call the file.
    ///
    /// # Errors
    /// `Error::Corrupt` if it is none; `Error::Io`.
    pub fn open(file: Arc<dyn StorageFile>, name: &str) -> Result<Reader> {
        let end = file.len()?;
        if end < HEADER_BYTES as u64 {
            return Err(Error::corrupt(name, "it is too short to be an increment"));
        }
        let mut bytes = [0; HEADER_BYTES];
        file.read_at(&mut bytes, 0)?;
        let header = Header::decode(&bytes, name)?;
        if header.base > header.target {
            return Err(Error::corrupt(name, "it leads to a version before its base"));
        }
        let (at, chain) = (HEADER_BYTES as u64, crc32c::crc32c(&bytes));
        Ok(Reader { file, name: name.to_owned(), header, at, end, chain })
    }

    /// The same file, from its start.
    pub fn again(&self) -> Result<Reader> {
        Reader::open(self.file.clone(), &self.name)
    }

    /// What errors call the file.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Damage in this file.
    pub fn damaged(&self, reason: impl Into<String>) -> Error {
        Error::corrupt(&self.name, reason)
    }

    /// Gives every record to `take`.
    ///
    /// # Errors
    /// `Error::Corrupt` if anything is missing, added or changed; `Error::Io`; what `take` gives.
    pub fn records<E: From<Error>>(
        &mut self,
        mut take: impl FnMut(&Reader, Record<'_>) -> Result<(), E>,
    ) -> Result<(), E> {
        while let Some(block) = self.block()? {
            let mut rest = &block[..];
            while !rest.is_empty() {
                let record = Record::take(&mut rest);
                let record = record.ok_or_else(|| self.damaged("a block holds no whole record"))?;
                take(self, record)?;
            }
        }
        Ok(())
    }

    /// The next block; none at the end.
    fn block(&mut self) -> Result<Option<Vec<u8>>> {
        let left = self.end - self.at;
        if left < BLOCK_HEADER_BYTES as u64 {
            return Err(self.damaged("it was cut short"));
        }
        let mut header = [0; BLOCK_HEADER_BYTES];
        self.file.read_at(&mut header, self.at)?;
        let (len, checksum) = header.split_at(4);
        let bytes = u64::from(u32::from_le_bytes([len[0], len[1], len[2], len[3]]));
        // Before anything is allocated for it (I9).
        if bytes > left - BLOCK_HEADER_BYTES as u64 {
            return Err(self.damaged("it was cut short"));
        }
        let mut block = vec![0; bytes as usize];
        self.file.read_at(&mut block, self.at + BLOCK_HEADER_BYTES as u64)?;
        self.chain = crc32c::crc32c_append(crc32c::crc32c_append(self.chain, len), &block);
        if checksum != self.chain.to_le_bytes() {
            return Err(self.damaged(format!("the checksum of the block at {} is wrong", self.at)));
        }
        self.at += BLOCK_HEADER_BYTES as u64 + bytes;
        if !block.is_empty() {
            return Ok(Some(block));
        }
        if self.at != self.end {
            return Err(self.damaged("there are bytes behind its end"));
        }
        Ok(None)
    }
}
