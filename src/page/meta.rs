//! The meta page: the root record of the page file, of which there are two.
//! Owns: [`Meta`], its layout, and the seed of every other checksum. Only the first 512 bytes of a
//! meta page carry content, so that the device writes it whole. Keeps I9.
//! Magic, format and checksum keep their places in every format to come.

use std::ops::Range;

use super::{PageId, RUN_BYTES, Run};
use crate::{
    error::{Error, Result},
    options::{PAGE_BYTES_MAX, PAGE_BYTES_MIN},
    publish::Version,
};

/// The bytes of a meta page that carry content: one sector.
pub const META_BYTES: usize = 512;
/// The pages that are meta pages.
pub const META_PAGES: u32 = 2;
/// The format that this code writes, and the only one it reads.
pub const FORMAT: u32 = 2;

/// Shows what kind of file this is, and whether something took it for text.
const MAGIC_BYTES: [u8; 8] = *b"recto\r\n\0";

const MAGIC: Range<usize> = 0..8;
const FORMAT_AT: Range<usize> = 8..12;
const PAGE_BYTES: Range<usize> = 12..16;
const STORE_ID: Range<usize> = 16..24;
const SEQUENCE: Range<usize> = 24..32;
const VERSION: Range<usize> = 32..40;
const PAGE_COUNT: Range<usize> = 40..44;
const NEXT_TABLE: Range<usize> = 44..48;
const CATALOG: Range<usize> = 48..60;
const FREE_SPACE: Range<usize> = 60..72;
const LOG_LIFE: Range<usize> = 72..80;
const LOG_OFFSET: Range<usize> = 80..88;
const LOG_CHAIN: Range<usize> = 88..92;
const CHECKSUM: Range<usize> = 508..512;
const _: () = assert!(LOG_CHAIN.end <= CHECKSUM.start && CHECKSUM.end == META_BYTES);
const _: () = assert!(CATALOG.end - CATALOG.start == RUN_BYTES);
const _: () = assert!(FREE_SPACE.end - FREE_SPACE.start == RUN_BYTES);

/// A place in the write-ahead log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LogPosition {
    /// The segment's life.
    pub life: u64,
    /// The offset in the segment, in bytes.
    pub offset: u64,
    /// The checksum of the record before.
    pub chain: u32,
}

/// What a store is found by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Meta {
    /// The size of every page, in bytes.
    pub page_bytes: usize,
    /// A random number that the store was given when it was created.
    pub store_id: u64,
    /// The count of meta pages written; the greater one is newer.
    pub sequence: u64,
    /// The version that the pages show.
    pub version: Version,
    /// The length of the page file, in pages.
    pub page_count: u32,
    /// The id that the next new table gets.
    pub next_table: u32,
    /// The catalog of tables; none if there is no table.
    pub catalog: Option<Run>,
    /// The list of free pages; none if there are none.
    pub free_space: Option<Run>,
    /// Where replay begins.
    pub log: LogPosition,
}

/// The seed of the checksums of all pages of a store, so that another store's page never counts.
pub fn seed(store_id: u64) -> u32 {
    crc32c::crc32c(&store_id.to_le_bytes())
}

impl Meta {
    /// The content of a meta page; the rest of the page is zero.
    pub fn encode(&self) -> [u8; META_BYTES] {
        let mut bytes = [0; META_BYTES];
        let mut put = |at: Range<usize>, field: &[u8]| bytes[at].copy_from_slice(field);
        let run = |run: Option<Run>| run.map_or([0; RUN_BYTES], Run::to_bytes);
        put(MAGIC, &MAGIC_BYTES);
        put(FORMAT_AT, &FORMAT.to_le_bytes());
        put(PAGE_BYTES, &(self.page_bytes as u32).to_le_bytes());
        put(STORE_ID, &self.store_id.to_le_bytes());
        put(SEQUENCE, &self.sequence.to_le_bytes());
        put(VERSION, &self.version.0.to_le_bytes());
        put(PAGE_COUNT, &self.page_count.to_le_bytes());
        put(NEXT_TABLE, &self.next_table.to_le_bytes());
        put(CATALOG, &run(self.catalog));
        put(FREE_SPACE, &run(self.free_space));
        put(LOG_LIFE, &self.log.life.to_le_bytes());
        put(LOG_OFFSET, &self.log.offset.to_le_bytes());
        put(LOG_CHAIN, &self.log.chain.to_le_bytes());
        let checksum = crc32c::crc32c(&bytes[..CHECKSUM.start]);
        bytes[CHECKSUM].copy_from_slice(&checksum.to_le_bytes());
        bytes
    }

    /// Reads the meta page in slot 0 or 1.
    ///
    /// # Errors [`Error::Corrupt`] if the bytes are no meta page or a damaged one;
    /// [`Error::Invalid`] if they are one of a format that this code does not read.
    pub fn decode(bytes: &[u8], slot: PageId) -> Result<Meta> {
        let damaged = |reason: String| Error::corrupt_page(slot.0, reason);
        let Some(bytes) = bytes.first_chunk::<META_BYTES>() else {
            let (found, needed) = (bytes.len(), META_BYTES);
            return Err(damaged(format!("a meta page of {found} bytes lacks {needed} bytes")));
        };
        if bytes[MAGIC] != MAGIC_BYTES {
            return Err(damaged("it does not begin as a meta page does".to_owned()));
        }
        let (found, expected) = (u32_at(bytes, CHECKSUM), crc32c::crc32c(&bytes[..CHECKSUM.start]));
        if found != expected {
            let reason = format!("checksum is {found:08x}, its bytes have {expected:08x}");
            return Err(damaged(reason));
        }
        let format = u32_at(bytes, FORMAT_AT);
        if format != FORMAT {
            let reason = format!("the store has format {format}; this build reads format {FORMAT}");
            return Err(Error::invalid(reason));
        }
        let page_bytes = u32_at(bytes, PAGE_BYTES) as usize;
        let possible = (PAGE_BYTES_MIN..=PAGE_BYTES_MAX).contains(&page_bytes);
        if !possible || !page_bytes.is_power_of_two() {
            return Err(damaged(format!("pages of {page_bytes} bytes cannot be")));
        }
        let page_count = u32_at(bytes, PAGE_COUNT);
        if page_count < META_PAGES {
            return Err(damaged(format!("a file of {page_count} pages lacks {META_PAGES} pages")));
        }
        let run = |at: Range<usize>, what: &str| {
            let run = Run::from_bytes(bytes[at].first_chunk()?);
            match run.first.page.0 {
                0 => None,
                page => Some(match page.checked_add(run.pages(page_bytes)) {
                    Some(end) if page >= META_PAGES && end <= page_count => Ok(run),
                    _ => Err(damaged(format!("its {what}, from page {page} on, exceeds the file"))),
                }),
            }
        };
        Ok(Meta {
            page_bytes,
            store_id: u64_at(bytes, STORE_ID),
            sequence: u64_at(bytes, SEQUENCE),
            version: Version(u64_at(bytes, VERSION)),
            page_count,
            next_table: u32_at(bytes, NEXT_TABLE),
            catalog: run(CATALOG, "catalog").transpose()?,
            free_space: run(FREE_SPACE, "free space").transpose()?,
            log: LogPosition {
                life: u64_at(bytes, LOG_LIFE),
                offset: u64_at(bytes, LOG_OFFSET),
                chain: u32_at(bytes, LOG_CHAIN),
            },
        })
    }
}

/// A field of four bytes.
fn u32_at(bytes: &[u8; META_BYTES], at: Range<usize>) -> u32 {
    u64_at(bytes, at) as u32
}

/// A field of up to eight bytes.
fn u64_at(bytes: &[u8; META_BYTES], at: Range<usize>) -> u64 {
    bytes[at].iter().rev().fold(0, |number, &byte| number << 8 | u64::from(byte))
}
