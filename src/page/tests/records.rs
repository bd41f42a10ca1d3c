//! Headers, checksums, runs and meta pages: what was written is read, and any flipped bit is
//! noticed.

use super::{Random, page};
use crate::{
    error::{Error, Result},
    page::{
        Child, HEADER_BYTES, Kind, PageId, Run, birth, child, expect, id, init, kind, level,
        meta::{LogPosition, META_BYTES, Meta, seed},
        overflow, seal, set_identity, table, verify,
    },
    publish::Version,
};

fn is_corrupt<T>(result: Result<T>, page: u32) -> bool {
    matches!(result, Err(Error::Corrupt(corruption)) if corruption.page == Some(page))
}

#[test]
fn a_header_says_what_was_written() {
    let mut bytes = page(4096, Kind::Branch);
    assert_eq!((id(&bytes), birth(&bytes)), (PageId(7), Version(1 << 40 | 5)));
    assert_eq!((table(&bytes), kind(&bytes), level(&bytes)), (3, Some(Kind::Branch), 1));
    assert_eq!(child(&bytes), Child { page: PageId(7), birth: 5 });
    set_identity(&mut bytes, PageId(8), Version(6));
    assert_eq!(child(&bytes), Child { page: PageId(8), birth: 6 });
    assert_eq!((table(&bytes), level(&bytes)), (3, 1));
}

#[test]
fn every_flipped_bit_of_a_page_is_noticed() {
    let mut bytes = page(4096, Kind::Leaf);
    bytes[HEADER_BYTES..].copy_from_slice(&Random(1).bytes(4096 - HEADER_BYTES));
    seal(&mut bytes, seed(1));
    verify(&bytes, PageId(7), seed(1)).unwrap();
    for bit in 0..bytes.len() * 8 {
        bytes[bit / 8] ^= 1 << (bit % 8);
        assert!(is_corrupt(verify(&bytes, PageId(7), seed(1)), 7), "bit {bit}");
        bytes[bit / 8] ^= 1 << (bit % 8);
    }
    assert!(is_corrupt(verify(&bytes, PageId(7), seed(2)), 7), "another store's page");
    assert!(is_corrupt(verify(&bytes, PageId(8), seed(1)), 8), "another page");
}

#[test]
fn only_the_page_meant_is_accepted() {
    let bytes = page(4096, Kind::Branch);
    let meant = child(&bytes);
    expect(&bytes, meant, 3, 1).unwrap();
    let other_page = Child { page: PageId(6), ..meant };
    assert!(is_corrupt(expect(&bytes, other_page, 3, 1), 6));
    assert!(is_corrupt(expect(&bytes, Child { birth: 4, ..meant }, 3, 1), 7));
    assert!(is_corrupt(expect(&bytes, meant, 4, 1), 7));
    assert!(is_corrupt(expect(&bytes, meant, 3, 2), 7));
    assert!(is_corrupt(expect(&bytes, meant, 3, 0), 7));
    let mut wrong_kind = page(4096, Kind::Leaf);
    init(&mut wrong_kind, PageId(7), Version(5), 3, Kind::Overflow, 0);
    assert!(is_corrupt(expect(&wrong_kind, meant, 3, 0), 7));
}

#[test]
fn a_run_lends_its_content_whole() {
    for len in [0, 1, 4096 - HEADER_BYTES, 4097 - HEADER_BYTES, 100_000] {
        let content = Random(len as u64 + 1).bytes(len);
        let first = Child { page: PageId(9), birth: 4 };
        let run = Run { first, len: len as u32 };
        assert_eq!(Run::from_bytes(&run.to_bytes()), run);
        let mut bytes = vec![0xAA; run.pages(4096) as usize * 4096];
        assert!(bytes.len() >= HEADER_BYTES + len && bytes.len() < HEADER_BYTES + len + 4096);
        overflow::write(&mut bytes, PageId(9), Version(1 << 32 | 4), 2, &content);
        overflow::seal_run(&mut bytes, 5);
        overflow::verify_run(&bytes, run, 5).unwrap();
        assert_eq!(overflow::content(&bytes, run, 2).unwrap(), content);
        assert!(is_corrupt(overflow::content(&bytes, run, 3), 9));
        let longer = Run { len: run.len + 1, ..run };
        assert!(is_corrupt(overflow::verify_run(&bytes, longer, 5), 9));
        let older = Run { first: Child { birth: 3, ..first }, ..run };
        assert!(is_corrupt(overflow::content(&bytes, older, 2), 9));
        if len > 8 {
            bytes[HEADER_BYTES + len - 1] ^= 1;
            assert!(is_corrupt(overflow::verify_run(&bytes, run, 5), 9));
            assert!(is_corrupt(overflow::content(&bytes[..HEADER_BYTES + 8], run, 2), 9));
        }
    }
}

fn meta() -> Meta {
    let first = Child { page: PageId(20), birth: 4 };
    Meta {
        page_bytes: 8192,
        store_id: 0x1234_5678_9ABC_DEF0,
        sequence: 5,
        version: Version(1 << 50),
        page_count: 100,
        next_table: 7,
        catalog: Some(Run { first, len: 10_000 }),
        free_space: None,
        log: LogPosition { life: u64::MAX, offset: 512, chain: 0xDEAD_BEEF },
    }
}

/// Decodes what `change` makes of an encoded meta page, with the checksum repaired.
fn decode_changed(change: impl FnOnce(&mut [u8; META_BYTES])) -> Result<Meta> {
    let mut bytes = meta().encode();
    change(&mut bytes);
    let checksum = crc32c::crc32c(&bytes[..508]);
    bytes[508..].copy_from_slice(&checksum.to_le_bytes());
    Meta::decode(&bytes, PageId(1))
}

#[test]
fn a_meta_page_says_what_was_written_and_every_flipped_bit_is_noticed() {
    let mut bytes = meta().encode();
    assert_eq!(Meta::decode(&bytes, PageId(1)).unwrap(), meta());
    for bit in 0..META_BYTES * 8 {
        bytes[bit / 8] ^= 1 << (bit % 8);
        assert!(is_corrupt(Meta::decode(&bytes, PageId(1)), 1), "bit {bit}");
        bytes[bit / 8] ^= 1 << (bit % 8);
    }
    assert!(is_corrupt(Meta::decode(&bytes[..511], PageId(0)), 0));
}

#[test]
fn a_meta_page_that_cannot_be_is_refused() {
    assert_eq!(decode_changed(|_| {}).unwrap(), meta());
    let Err(Error::Invalid(reason)) = decode_changed(|bytes| bytes[8] = 3) else {
        panic!("a format to come was read");
    };
    assert_eq!(&*reason, "the store has format 3; this build reads format 2");
    assert!(is_corrupt(decode_changed(|bytes| bytes[12] = 1), 1));
    assert!(is_corrupt(decode_changed(|bytes| bytes[12..16].fill(0)), 1));
    assert!(is_corrupt(decode_changed(|bytes| bytes[40..44].fill(0)), 1));
    assert!(is_corrupt(decode_changed(|bytes| bytes[48] = 99), 1), "a run beyond the file");
    assert!(is_corrupt(decode_changed(|bytes| bytes[48..52].fill(0xFF)), 1));
    assert!(is_corrupt(decode_changed(|bytes| bytes[60] = 1), 1), "a run on a meta page");
}

#[test]
fn arbitrary_meta_pages_never_panic() {
    let mut random = Random(6);
    for _ in 0..20_000 {
        let _ = decode_changed(|bytes| {
            for _ in 0..=random.below(6) {
                bytes[12 + random.below(80)] = random.next() as u8;
            }
        });
    }
}
