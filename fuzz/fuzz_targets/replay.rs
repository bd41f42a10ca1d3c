//! The log: what an honest writer appended comes back as a prefix, whatever was done to the files
//! since; and forged segments, whose checksums are right, are read or refused.
#![no_main]

use arbitrary::Arbitrary;
use libfuzzer_sys::fuzz_target;
use recto::{
    Error,
    internals::{
        publish::Version,
        storage::Storage,
        wal::{
            Log, Ops, Position, ReplayStart,
            record::{COMMITS, NewRecord, SEGMENT_END},
            replay,
            segment::{FIRST_RECORD, SegmentHeader},
        },
    },
};
use recto_fuzz::{Bytes, Edit, Files, files, storage};
use std::sync::Arc;

const STORE_ID: u64 = 0x5eed;
const SEGMENT_BYTES: u64 = 4096;

#[derive(Arbitrary, Debug)]
enum Input {
    Honest { records: Vec<Record>, edits: Vec<(u8, Edit)>, cut: Option<(u8, u16)> },
    Forged { segments: Vec<Segment>, start: (u8, u16, u8), edits: Vec<(u8, Edit)> },
}

#[derive(Arbitrary, Debug)]
struct Record {
    body: Bytes,
    versions: u8,
    is_synced: bool,
}

#[derive(Arbitrary, Debug)]
struct Segment {
    life: u8,
    before: u8,
    first: Lie,
    segment_bytes: Lie,
    records: Vec<(bool, Lie, Lie, Lie, Bytes)>,
}

/// What it should be, or something else.
#[derive(Arbitrary, Clone, Copy, Debug)]
enum Lie {
    None,
    Near(i8),
    Any(u64),
}

impl Lie {
    fn of(self, truth: u64) -> u64 {
        match self {
            Lie::None => truth,
            Lie::Near(by) => truth.wrapping_add_signed(i64::from(by)),
            Lie::Any(number) => number,
        }
    }
}

type Read = Vec<(u64, u64, Vec<u8>)>;

fn read(files: &Files, start: ReplayStart) -> Option<Read> {
    let storage = storage(files).expect("memory does not fail");
    let mut found = Read::new();
    let outcome = replay(&storage, STORE_ID, start, &mut |first, last, ops| {
        // Their own errors are for whoever applies them.
        Ops::new(ops).take(10_000).for_each(drop);
        found.push((first.0, last.0, ops.to_vec()));
        Ok(())
    });
    match outcome {
        Ok(end) => {
            assert_eq!(end.records, found.len() as u64);
            Some(found)
        }
        Err(Error::Corrupt(_)) => None,
        Err(error) => panic!("{error}"),
    }
}

fn apply(files: &mut Files, edits: &[(u8, Edit)]) {
    for (file, edit) in edits {
        let count = files.len().max(1);
        if let Some(bytes) = files.values_mut().nth(usize::from(*file) % count) {
            edit.apply(bytes, 0);
        }
    }
}

fn honest(records: &[Record], edits: &[(u8, Edit)], cut: Option<(u8, u16)>) {
    let disk: Arc<dyn Storage> = Arc::new(storage(&Files::new()).expect("memory does not fail"));
    let mut log = Log::create(disk.clone(), STORE_ID, SEGMENT_BYTES, Version(1), 0, &[])
        .expect("memory does not fail");
    let version = Version(0);
    let start = ReplayStart { position: log.position(), version, synced: version };
    let (mut written, mut last) = (Read::new(), 0);
    for record in records.iter().take(60) {
        let body = record.body.bytes();
        let (first, end) = (last + 1, last + 1 + u64::from(record.versions % 4));
        match log.append(Version(first), Version(end), Version(0), &body) {
            Ok(_) => {
                written.push((first, end, body));
                last = end;
            }
            Err(Error::TooLarge { .. }) => continue,
            Err(error) => panic!("{error}"),
        }
        if record.is_synced {
            log.syncer().sync().expect("memory does not fail");
        }
    }
    let mut files = files(&*disk).expect("memory does not fail");
    assert_eq!(read(&files, start).as_ref(), Some(&written), "untouched");
    apply(&mut files, edits);
    if let Some((file, len)) = cut {
        let count = files.len();
        let bytes = files.values_mut().nth(usize::from(file) % count).expect("there is a log");
        bytes.truncate(usize::from(len));
    }
    if let Some(found) = read(&files, start) {
        assert!(written.starts_with(&found), "{found:?} is no beginning of {written:?}");
    }
}

fn forged(segments: &[Segment], (life, offset, version): (u8, u16, u8), edits: &[(u8, Edit)]) {
    let (mut files, mut chain, mut version_now) = (Files::new(), 0, u64::from(version) + 1);
    for (number, segment) in segments.iter().take(4).enumerate() {
        let life = u64::from(segment.life % 6);
        let header = SegmentHeader {
            store_id: STORE_ID,
            life,
            first: Version(segment.first.of(version_now)),
            segment_bytes: segment.segment_bytes.of(SEGMENT_BYTES),
            chain,
            before: u64::from(segment.before % 6),
        };
        let mut bytes = vec![0; SEGMENT_BYTES as usize];
        bytes[..FIRST_RECORD as usize].copy_from_slice(&header.encode());
        let (mut at, mut out) = (FIRST_RECORD as usize, Vec::new());
        for (is_end, first, last, synced, body) in &segment.records {
            let body = if *is_end { (life + 1).to_le_bytes().to_vec() } else { body.bytes() };
            let record = NewRecord {
                kind: if *is_end { SEGMENT_END } else { COMMITS },
                first: Version(first.of(version_now)),
                last: Version(last.of(version_now)),
                synced: Version(synced.of(version_now - 1)),
                body: &body,
            };
            let after = record.encode(life, at as u64, chain, &mut out);
            let Some(room) = bytes.get_mut(at..at + out.len()) else {
                break;
            };
            room.copy_from_slice(&out);
            (at, chain) = (at + out.len(), after);
            version_now += u64::from(!is_end);
        }
        files.insert(format!("log-{number}"), bytes);
    }
    apply(&mut files, edits);
    let offset = if offset % 4 == 0 { FIRST_RECORD } else { u64::from(offset) };
    let position = Position { life: u64::from(life % 6), offset, chain: 0 };
    let version = Version(u64::from(version));
    read(&files, ReplayStart { position, version, synced: version });
}

fuzz_target!(|input: Input| {
    match input {
        Input::Honest { records, edits, cut } => honest(&records, &edits, cut),
        Input::Forged { segments, start, edits } => forged(&segments, start, &edits),
    }
});
