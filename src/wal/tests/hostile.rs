//! Bytes from somewhere else: garbage, and forgeries whose checksums are right. No panic, no hang,
//! no buffer longer than the files.

use super::{
    SEGMENT_BYTES, STORE_ID,
    disk::{Dice, Disk},
    read,
};
use crate::{
    error::Error,
    publish::Version,
    wal::{
        Op, Ops, Position, ReplayStart,
        record::{COMMITS, HEADER_BYTES, NewRecord, SEGMENT_END, mask},
        replay,
        segment::SegmentHeader,
    },
};
use std::{collections::BTreeMap, ops::Bound};

fn begin(life: u64, offset: u64, chain: u32, version: u64) -> ReplayStart {
    let (position, version) = (Position { life, offset, chain }, Version(version));
    ReplayStart { position, version, synced: version }
}

fn header(life: u64, before: u64, first: u64, segment_bytes: u64) -> SegmentHeader {
    let (store_id, first) = (STORE_ID, Version(first));
    SegmentHeader { store_id, life, first, segment_bytes, chain: 0, before }
}

/// Replays, and reads the operations of what counts as a record.
fn drive(disk: &Disk, start: ReplayStart) -> u64 {
    let longest = disk.files().values().map(Vec::len).max().unwrap_or(0);
    let mut records = 0;
    let outcome = replay(disk, STORE_ID, start, &mut |_, _, ops| {
        Ops::new(ops).for_each(drop);
        records += 1;
        Ok(())
    });
    assert!(disk.longest_read() <= longest);
    if let Err(error) = outcome {
        assert!(matches!(error, Error::Corrupt(_)), "{error}");
    }
    records
}

/// A number that parsers trip over.
fn odd(dice: &mut Dice) -> u64 {
    match dice.below(8) {
        0 => u64::MAX - dice.below(3),
        1 => 1 << dice.below(64),
        2 => (1 << dice.below(64)) - 1,
        3 => SEGMENT_BYTES - dice.below(600),
        _ => dice.below(6),
    }
}

#[test]
fn random_bytes_are_no_log() {
    let mut dice = Dice(4);
    for _ in 0..2000 {
        let len = dice.below(9000) as usize;
        let bytes: Vec<u8> = std::iter::repeat_with(|| dice.roll() as u8).take(len).collect();
        let disk = Disk::of(BTreeMap::from([("log-0".to_owned(), bytes.clone())]));
        assert_eq!(drive(&disk, begin(dice.roll(), odd(&mut dice), 0, odd(&mut dice))), 0);
        // With a header that is right, so that the records are looked at.
        let mut bytes = bytes;
        let segment_bytes = if dice.one_in(4) { odd(&mut dice) } else { len as u64 };
        let header = header(9, dice.below(10), odd(&mut dice), segment_bytes);
        if bytes.len() >= 512 {
            bytes[..512].copy_from_slice(&header.encode());
            let disk = Disk::of(BTreeMap::from([("log-0".to_owned(), bytes)]));
            assert_eq!(drive(&disk, begin(9, odd(&mut dice), 0, odd(&mut dice))), 0);
        }
    }
}

/// Segments of records whose checksums are right and whose contents are anything: mostly what this
/// log could have written, with a lie here and there.
struct Forger {
    dice: Dice,
    /// One of so many numbers is a lie.
    lies: u64,
    chain: u32,
    version: u64,
}

impl Forger {
    /// What it should be, or a lie.
    fn say(&mut self, truth: u64) -> u64 {
        if self.dice.one_in(self.lies) { odd(&mut self.dice) } else { truth }
    }

    /// The segment `life`, which goes on where the last one ended.
    fn segment(&mut self, life: u64) -> Vec<u8> {
        let mut bytes = vec![0; SEGMENT_BYTES as usize];
        let (before, first) = (self.say(life - 1), self.say(self.version));
        let mut header = header(life, before, first, self.say(SEGMENT_BYTES));
        header.chain = self.chain;
        bytes[..512].copy_from_slice(&header.encode());
        let (mut offset, mut record, mut ended) = (512, Vec::new(), false);
        while !ended && offset + 200 < bytes.len() {
            ended = self.dice.one_in(12);
            let len = self.dice.below(40) as usize;
            let mut body = vec![self.say(1) as u8; len];
            if ended {
                body = self.say(life + 1).to_le_bytes().to_vec();
            }
            let last = if ended { self.version } else { self.version + self.dice.below(2) };
            let new = NewRecord {
                kind: if ended { SEGMENT_END } else { COMMITS },
                first: Version(self.say(self.version)),
                last: Version(self.say(last)),
                synced: Version(self.say(self.version - 1)),
                body: &body,
            };
            self.chain = new.encode(life, offset as u64, self.chain, &mut record);
            bytes[offset..offset + record.len()].copy_from_slice(&record);
            self.version = if ended { self.version } else { last + 1 };
            offset += record.len();
        }
        bytes
    }
}

#[test]
fn forged_records_neither_panic_nor_go_round_in_circles() {
    let (mut dice, mut records) = (Dice(5), 0);
    for _ in 0..3000 {
        let (lies, seed) = ([4, 30, 300][dice.below(3) as usize], dice.roll());
        let mut forger = Forger { dice: Dice(seed), lies, chain: 0, version: 1 };
        let lives = 1..=1 + dice.below(5);
        let files = lives.map(|life| (format!("log-{life}"), forger.segment(life))).collect();
        let version = if dice.one_in(9) { odd(&mut dice) } else { 0 };
        records += drive(&Disk::of(files), begin(1, 512, 0, version));
    }
    assert!(records > 10_000, "the forgeries must be good enough to be believed: {records}");
}

#[test]
fn a_length_beyond_the_segment_is_corrupt() {
    let mut bytes = vec![0; SEGMENT_BYTES as usize];
    bytes[..512].copy_from_slice(&header(1, 0, 1, SEGMENT_BYTES).encode());
    // The header alone of a record whose body would be 4 GiB long.
    let body = vec![1; 64];
    let (first, synced, mut record) = (Version(1), Version(0), Vec::new());
    let new = NewRecord { kind: COMMITS, first, last: first, synced, body: &body };
    new.encode(1, 512, 0, &mut record);
    record.truncate(HEADER_BYTES);
    mask(&mut record, 1, 512);
    record[16..20].copy_from_slice(&u32::MAX.to_le_bytes());
    let seed = crc32c::crc32c_append(crc32c::crc32c(&1u64.to_le_bytes()), &512u64.to_le_bytes());
    let checksum = crc32c::crc32c_append(seed, &record[4..]);
    record[..4].copy_from_slice(&checksum.to_le_bytes());
    mask(&mut record, 1, 512);
    bytes[512..512 + HEADER_BYTES].copy_from_slice(&record);
    let disk = Disk::of(BTreeMap::from([("log-1".to_owned(), bytes)]));
    let error = read(&disk, begin(1, 512, 0, 0)).unwrap_err().to_string();
    assert!(error.contains("4294967295 bytes"), "{error}");
}

#[test]
fn operations_come_back_as_they_were_and_garbage_ends() {
    let (name, key, value) = ("ages", b"ada".as_slice(), [7; 300]);
    let (from, to) = (Bound::Included(key), Bound::Excluded(b"z".as_slice()));
    let ops = [
        Op::CreateTable { id: 1, name, types: &[1, 2, 3] },
        Op::Insert { table: u32::MAX, key, value: &value },
        Op::Remove { table: 128, key: b"" },
        Op::RemoveRange { table: 0, from, to },
        Op::RemoveRange { table: 0, from: Bound::Excluded(key), to: Bound::Unbounded },
        Op::RemoveRange { table: 0, from: Bound::Unbounded, to: Bound::Included(b"") },
        Op::RenameTable { id: 1, name: "" },
        Op::DropTable { id: 1 },
    ];
    let mut bytes = Vec::new();
    for op in &ops {
        op.encode(&mut bytes);
    }
    let back: Vec<_> = Ops::new(&bytes).map(Result::unwrap).collect();
    assert_eq!(back, ops);
    for len in 0..bytes.len() {
        let mut read: Vec<_> = Ops::new(&bytes[..len]).collect();
        let cut = read.pop_if(|op| op.is_err()).is_some();
        assert!(read.into_iter().map(Result::unwrap).eq(ops.into_iter().take(back.len()).scan(
            0,
            |end, op| {
                let mut one = Vec::new();
                op.encode(&mut one);
                *end += one.len();
                (*end <= len).then_some(op)
            }
        )));
        let mut ends = vec![0];
        for op in &ops {
            let mut one = Vec::new();
            op.encode(&mut one);
            ends.push(ends[ends.len() - 1] + one.len());
        }
        assert_eq!(cut, !ends.contains(&len));
    }
    let mut dice = Dice(7);
    for _ in 0..20_000 {
        let len = dice.below(60) as usize;
        let mut garbage: Vec<u8> = std::iter::repeat_with(|| dice.roll() as u8).take(len).collect();
        if let Some(tag) = garbage.first_mut() {
            *tag %= 8;
        }
        let count = Ops::new(&garbage).count();
        assert!(count <= len);
    }
}
