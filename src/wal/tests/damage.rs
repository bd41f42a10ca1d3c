//! What is torn is the end; what is damaged is `Corrupt`; nothing is ever wrong.

use super::{Bench, Dice, Entry, SEGMENT_BYTES, STORE_ID, disk::Disk, read};
use crate::{
    error::Error,
    publish::Version,
    wal::{
        record::{COMMITS, NewRecord, SEGMENT_END},
        segment::SegmentHeader,
    },
};
use std::collections::BTreeMap;

type Files = BTreeMap<String, Vec<u8>>;

/// A log of two segments: versions 1 to 6, a sync behind 2 and 4, the second segment from 5 on.
fn small() -> (Bench, Files) {
    let mut bench = Bench::new();
    for len in [40, 5, 0, 3000, 60, 33] {
        bench.append(len);
        if [2, 4].contains(&bench.last()) {
            bench.sync();
        }
    }
    bench.check();
    let files = bench.disk.files();
    assert_eq!(files.len(), 3);
    (bench, files)
}

/// Replays `files`: either the first records of the model, whole, or corrupt. How many records.
fn judge(bench: &Bench, files: Files) -> Option<usize> {
    match read(&Disk::of(files), bench.start) {
        Ok((end, entries)) => {
            assert!(bench.entries.starts_with(&entries), "wrong records");
            assert_eq!(
                end.last.0,
                entries.last().map_or(bench.start.version.0, |entry| entry.last)
            );
            Some(entries.len())
        }
        Err(Error::Corrupt(_)) => None,
        Err(error) => panic!("{error}"),
    }
}

#[test]
fn no_flipped_bit_gives_anything_but_the_right_records_or_corrupt() {
    let (bench, files) = small();
    let (mut right, mut corrupt) = (0, 0);
    for (name, bytes) in &files {
        for bit in 0..bytes.len() * 8 {
            let mut flipped = files.clone();
            flipped.get_mut(name).unwrap()[bit / 8] ^= 1 << (bit % 8);
            match judge(&bench, flipped) {
                Some(count) => {
                    assert_eq!(count, bench.entries.len(), "bit {bit} of {name} lost a record");
                    right += 1;
                }
                None => corrupt += 1,
            }
        }
    }
    // Every bit that means anything is noticed: headers of segments, of records, and bodies.
    let bodies: usize = bench.entries.iter().map(|entry| entry.ops.len().next_multiple_of(8)).sum();
    assert_eq!(corrupt, 8 * (3 * 64 + 6 * 48 + 2 * 56 + bodies));
    assert_eq!(right + corrupt, 3 * 4096 * 8);
}

#[test]
fn an_unsynced_last_record_torn_at_any_byte_is_the_end() {
    for synced_before in [false, true] {
        for remains in [0, 0xa5] {
            let mut bench = Bench::new();
            bench.append(20);
            if synced_before {
                bench.sync();
            }
            let start = if synced_before { 1024 } else { 512 + 72 };
            bench.append(700);
            let after = &bench.disk.files()["log-0"];
            let record = start..start + 48 + 704;
            for cut in record.clone() {
                for lost in [cut..record.end, record.start..cut + 1] {
                    let mut torn = bench.disk.files();
                    torn.get_mut("log-0").unwrap()[lost.clone()].fill(remains);
                    // A lost byte may be right by accident, or one bit off.
                    let bits: u32 = after[lost].iter().map(|b| (b ^ remains).count_ones()).sum();
                    let expected = match bits {
                        0 => Some(2),
                        1 => None,
                        _ => Some(1),
                    };
                    assert_eq!(judge(&bench, torn), expected, "cut at {cut}");
                }
            }
        }
    }
}

#[test]
fn a_lost_sector_is_never_taken_for_a_flipped_bit() {
    // Bodies of which one byte with one bit set stands in another sector than the rest, in segments
    // that held the same, but for that bit, in the life before.
    for len in 400..480 {
        let mut bench = Bench::new();
        for last_byte in [0, 0, 1] {
            let mut ops = vec![0; len];
            *ops.last_mut().unwrap() = last_byte;
            let version = Version(bench.last() + 1);
            bench.log.append(version, version, Version(0), &ops).unwrap();
            bench.entries.push(Entry { first: version.0, last: version.0, ops });
            let mut files = bench.disk.files();
            let current = format!("log-{}", files.len() - 1);
            let bytes = files.get_mut(&current).unwrap();
            bytes[1024..1536].fill(0);
            let end = bench.log.position().offset;
            if version.0 == 1 {
                let left = usize::from(end <= 1024);
                assert_eq!(judge(&bench, files), Some(left), "{len} bytes");
            }
        }
    }
}

#[test]
fn a_synced_record_that_is_lost_is_corrupt_if_a_later_one_knows() {
    let mut bench = Bench::new();
    bench.append(20);
    bench.sync();
    bench.append(20);
    bench.append(20);
    let files = bench.disk.files();
    for (lost, expected) in [(512, None), (1024, Some(1)), (1024 + 72, Some(2))] {
        for fill in [0, 0x77] {
            let mut damaged = files.clone();
            damaged.get_mut("log-0").unwrap()[lost..lost + 72].fill(fill);
            assert_eq!(judge(&bench, damaged), expected, "lost at {lost}");
        }
    }
    // The meta page may know it too, and then no later record need.
    let mut damaged = files.clone();
    damaged.get_mut("log-0").unwrap()[1024..].fill(0);
    assert_eq!(judge(&bench, damaged.clone()), Some(1));
    bench.start.synced = Version(2);
    assert_eq!(judge(&bench, damaged), None);
    assert_eq!(judge(&bench, files), Some(3));
}

#[test]
fn under_pipelining_a_lost_record_before_a_kept_one_is_the_torn_tail() {
    let mut bench = Bench::new();
    bench.append(20);
    bench.sync();
    // Both were written before the sync of the first returned: neither knows the other as synced.
    bench.append(600);
    bench.append(600);
    let mut files = bench.disk.files();
    files.get_mut("log-0").unwrap()[1024..1536].fill(0);
    let (end, _) = read(&Disk::of(files.clone()), bench.start).unwrap();
    assert_eq!((end.last.0, end.torn), (1, true));
    // The same through a rotation: the end of the first segment is lost, the second was begun.
    bench.append(3000);
    let mut files = bench.disk.files();
    assert_eq!(judge(&bench, files.clone()), Some(4));
    files.get_mut("log-0").unwrap()[2560..].fill(0);
    assert_eq!(judge(&bench, files.clone()), None, "version 4 knows 1 to 3 as synced");
    files.get_mut("log-1").unwrap()[512..].fill(0);
    assert_eq!(judge(&bench, files), Some(3), "nothing that follows was ever acknowledged");
}

#[test]
fn a_segment_lost_cut_or_replaced_as_a_whole_is_corrupt() {
    let (bench, files) = small();
    let other = {
        let (_, files) = small();
        files["log-1"].clone()
    };
    for name in files.keys() {
        let whole = &files[name];
        let mut replacements = vec![Vec::new(), vec![0; 4096], vec![0xff; 4096], other.clone()];
        replacements.extend([1, 512, 4095].map(|len| whole[..len].to_vec()));
        let mut foreign = whole.clone();
        let header = SegmentHeader {
            store_id: STORE_ID + 1,
            life: 1,
            first: Version(1),
            segment_bytes: SEGMENT_BYTES,
            chain: 0,
            before: 0,
        };
        foreign[..512].copy_from_slice(&header.encode());
        replacements.push(foreign);
        for (i, replacement) in replacements.into_iter().enumerate() {
            let mut damaged = files.clone();
            damaged.insert(name.clone(), replacement);
            assert_eq!(judge(&bench, damaged), None, "{name} replaced by {i}");
        }
        let mut damaged = files.clone();
        damaged.remove(name);
        assert_eq!(judge(&bench, damaged), None, "{name} removed");
        let mut copied = files.clone();
        copied.insert("log-copy".to_owned(), whole.clone());
        assert_eq!(judge(&bench, copied), None, "{name} twice");
        let mut extended = files.clone();
        extended.get_mut(name).unwrap().extend([0xee; 5000]);
        assert_eq!(judge(&bench, extended), Some(6), "{name} extended");
        // Names mean nothing.
        let mut renamed = files.clone();
        let bytes = renamed.remove(name).unwrap();
        renamed.insert("log-renamed".to_owned(), bytes);
        assert_eq!(judge(&bench, renamed), Some(6), "{name} renamed");
    }
}

#[test]
fn pages_of_garbage_anywhere_never_give_wrong_records() {
    let (bench, files) = small();
    let mut dice = Dice(3);
    for _ in 0..5000 {
        let mut damaged = files.clone();
        for _ in 0..=dice.below(3) {
            let name = format!("log-{}", dice.below(3));
            let bytes = damaged.get_mut(&name).unwrap();
            let from = dice.below(4096) as usize;
            let to = (from + 1 + dice.below(600) as usize).min(4096);
            match dice.below(3) {
                0 => bytes[from..to].fill(0),
                1 => bytes[from..to].fill_with(|| dice.roll() as u8),
                _ => {
                    let source = dice.below((4096 - (to - from)) as u64 + 1) as usize;
                    bytes.copy_within(source..source + to - from, from);
                }
            }
        }
        judge(&bench, damaged);
    }
}

#[test]
fn records_that_an_earlier_recovery_dropped_never_count_again() {
    // Version 2 was lost, 3 kept, nobody saw either; a later life of the program writes another
    // version 2 to the same place of the same segment. (This log never does: it takes a segment of
    // its own. The chain must hold also without that.)
    let mut bench = Bench::new();
    let chain = bench.append(20).chain;
    bench.sync();
    bench.append(100);
    bench.append(100);
    let mut files = bench.disk.files();
    let bytes = files.get_mut("log-0").unwrap();
    let (mut record, ops) = (Vec::new(), vec![7; 100]);
    let (version, synced) = (Version(2), Version(1));
    let life = bench.start.position.life;
    let new = NewRecord { kind: COMMITS, first: version, last: version, synced, body: &ops };
    new.encode(life, 1024, chain, &mut record);
    bytes[1024..1024 + record.len()].copy_from_slice(&record);
    let (end, entries) = read(&Disk::of(files), bench.start).unwrap();
    assert_eq!(entries[1..], [Entry { first: 2, last: 2, ops }]);
    assert!(end.last == version && end.torn);
}

#[test]
fn a_failed_recovery_leaves_a_segment_that_harms_nobody() {
    let mut bench = Bench::new();
    (0..5).for_each(|_| _ = bench.append(1000));
    let end = bench.check();
    // It made its segment and wrote there, but no meta page names it yet.
    let mut next = Bench::on(bench.disk.clone(), Version(6), end.position.chain, &end.entered);
    (0..9).for_each(|_| _ = next.append(500));
    assert_eq!(read(&bench.disk, bench.start).unwrap().1, bench.entries);
    next.check();
}

#[test]
fn a_cycle_of_segments_ends() {
    // Two segments whose ends name each other, all checksums right as far as can be.
    let bench = Bench::new();
    let life = bench.start.position.life;
    let mut bytes = bench.disk.files()["log-0"].clone();
    let (first, synced, mut end) = (Version(1), Version(0), Vec::new());
    let body = life.to_le_bytes();
    let new = NewRecord { kind: SEGMENT_END, first, last: first, synced, body: &body };
    new.encode(life, 512, bench.start.position.chain, &mut end);
    bytes[512..512 + end.len()].copy_from_slice(&end);
    let files = BTreeMap::from([("log-0".to_owned(), bytes)]);
    assert_eq!(judge(&bench, files), None);
}
