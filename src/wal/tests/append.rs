//! Appending, syncing, rotating, recycling; and what a failure of each leaves behind.

use super::{
    Bench, Dice, SEGMENT_BYTES, STORE_ID,
    disk::{Disk, Event, Fault},
    read,
};
use crate::{
    error::{Error, Limit},
    publish::Version,
    sync::{Arc, Mutex},
    wal::{Log, Position, ReplayStart},
};
use std::io::ErrorKind;

#[test]
fn what_is_appended_is_replayed() {
    let mut bench = Bench::new();
    let mut dice = Dice(1);
    for round in 0..300 {
        let max = bench.log.record_bytes_max();
        let len = if dice.one_in(8) { max } else { dice.below(700) as usize };
        bench.try_append(1 + dice.below(3), len).unwrap();
        if dice.one_in(3) {
            assert_eq!(bench.sync(), bench.last());
        }
        if round % 16 == 0 {
            bench.check();
        }
    }
    let end = bench.check();
    assert_eq!(end.records, 300);
    assert!(bench.disk.files().len() > 30);
    assert!(bench.log.bytes() > 30 * SEGMENT_BYTES);
}

#[test]
fn an_empty_log_has_nothing_to_replay() {
    let bench = Bench::new();
    assert_eq!(bench.check().records, 0);
    let position = Position::NONE;
    let start = ReplayStart { position, version: Version(9), synced: Version(9) };
    let (end, entries) = read(&Disk::default(), start).unwrap();
    assert_eq!((end.last, entries.len()), (Version(9), 0));
}

#[test]
fn a_record_after_a_sync_begins_in_a_fresh_sector_and_others_share() {
    let mut bench = Bench::new();
    bench.disk.take_events();
    let mut offsets = Vec::new();
    for _ in 0..2 {
        bench.append(10);
        bench.append(10);
        bench.sync();
        bench.sync();
    }
    for event in bench.disk.take_events() {
        match event {
            Event::Write { offset, .. } => offsets.push(offset),
            event => assert!(matches!(event, Event::Sync { .. })),
        }
    }
    assert_eq!(offsets, [512, 512 + 64, 1024, 1024 + 64]);
    bench.check();
}

#[test]
fn a_record_appended_while_a_sync_is_under_way_shares_no_sector_with_it() {
    let mut bench = Bench::new();
    let (disk, syncer) = (bench.disk.clone(), bench.syncer.clone());
    bench.append(10);
    let bench = Arc::new(Mutex::new(bench));
    let other = Arc::clone(&bench);
    disk.during_sync(move || {
        assert_eq!(other.lock().unwrap().append(10).offset, 1024 + 64);
    });
    assert_eq!(syncer.sync().unwrap(), Version(1));
    assert_eq!(syncer.synced(), Version(1));
    assert_eq!(syncer.sync().unwrap(), Version(2));
    bench.lock().unwrap().check();
}

#[test]
fn rotation_makes_the_next_header_durable_then_the_end_then_the_first_record() {
    let mut bench = Bench::new();
    bench.append(bench.log.record_bytes_max());
    bench.disk.take_events();
    bench.append(1);
    let mut events = bench.disk.take_events();
    let (old, new) = ("log-0".to_owned(), "log-1".to_owned());
    // The new file is zeroed, synced and entered first.
    let made = [
        Event::Write { file: new.clone(), offset: 0, len: SEGMENT_BYTES as usize },
        Event::Sync { file: new.clone() },
        Event::SyncDir,
    ];
    assert_eq!(events.drain(..3).collect::<Vec<_>>(), made);
    let offset = SEGMENT_BYTES - 512;
    let then = [
        Event::Write { file: new.clone(), offset: 0, len: 512 },
        Event::Sync { file: new.clone() },
        Event::Write { file: old.clone(), offset, len: 56 },
        Event::Sync { file: old },
        Event::Write { file: new, offset: 512, len: 56 },
    ];
    assert_eq!(events, then);
    assert_eq!(bench.syncer.synced(), Version(1));
    bench.check();
}

#[test]
fn released_segments_are_recycled_and_their_remains_never_count() {
    let mut bench = Bench::new();
    let mut dice = Dice(2);
    for _ in 0..400 {
        bench.append(dice.below(600) as usize);
        if dice.one_in(20) {
            bench.sync();
            let (position, version) = (bench.log.position(), Version(bench.last()));
            bench.log.release(position).unwrap();
            bench.start = ReplayStart { position, version, synced: version };
            bench.entries.clear();
            assert!(bench.log.bytes() < SEGMENT_BYTES);
        }
        bench.check();
    }
    assert!(bench.disk.files().len() < 20, "{}", bench.disk.files().len());
}

#[test]
fn a_spare_made_ahead_is_used() {
    let mut bench = Bench::new();
    bench.syncer.prepare().unwrap();
    bench.syncer.prepare().unwrap();
    assert_eq!(bench.disk.files().len(), 2);
    bench.append(3000);
    bench.append(3000);
    assert_eq!(bench.disk.files().len(), 2);
    bench.check();
}

#[test]
fn a_new_log_recycles_what_was_there_before_it_once_that_is_allowed() {
    let mut old = Bench::new();
    (0..4).for_each(|_| _ = old.append(2500));
    old.disk.put("log-odd", vec![1; 100]);
    old.disk.put("log-99999999999999999999", Vec::new());
    old.disk.put("log-18446744073709551615", Vec::new());
    let (end, _) = read(&old.disk, old.start).unwrap();
    let mut new =
        Bench::on(old.disk.clone(), Version(end.last.0 + 1), end.position.chain, &end.entered);
    new.append(100);
    assert_eq!(read(&new.disk, old.start).unwrap().1, old.entries, "still there");
    new.log.release(new.log.position()).unwrap();
    assert_eq!(new.disk.files().len(), 1 + 2, "the new one and two spares");
    (0..9).for_each(|_| _ = new.append(2500));
    new.check();
}

#[test]
fn bad_arguments_are_told_and_change_nothing() {
    let mut bench = Bench::new();
    let max = bench.log.record_bytes_max();
    let error = bench.try_append(1, max + 1).unwrap_err();
    let Error::TooLarge { what: Limit::Batch, len, max: told } = error else {
        panic!("{error}");
    };
    assert_eq!((len, told), (max + 1, max));
    bench.append(max);
    bench.check();
    for bytes in [0, 512, 4095, 4097, 1 << 31, u64::MAX] {
        let made = Log::create(Disk::default().storage(), STORE_ID, bytes, Version(1), 0, &[]);
        assert!(matches!(made, Err(Error::Invalid(_))), "{bytes}");
    }
}

#[test]
fn versions_committed_without_the_log_are_passed_over() {
    let mut bench = Bench::new();
    bench.append(100);
    bench.sync();
    let position = bench.log.position();
    // Version 2 is committed by a checkpoint.
    bench.start = ReplayStart { position, version: Version(2), synced: Version(2) };
    bench.entries.clear();
    bench.append(3000);
    bench.append(100);
    bench.check();
    // Whoever has lost that checkpoint must not pass over version 2.
    let lost = ReplayStart { position, version: Version(1), synced: Version(1) };
    assert!(matches!(read(&bench.disk, lost), Err(Error::Corrupt(_))));
}

#[test]
fn after_a_failed_append_the_log_goes_on_as_if_it_had_not_been() {
    for kind in [ErrorKind::StorageFull, ErrorKind::Other] {
        for synced_before in [false, true] {
            // All of it may have been written: an error is an error.
            for kept in 0..=151 + usize::from(kind == ErrorKind::Other) {
                let mut bench = Bench::new();
                bench.append(50);
                if synced_before {
                    bench.sync();
                }
                bench.disk.fail_after(0, Fault::Write { kept, kind });
                let error = bench.try_append(1, 99).unwrap_err();
                assert_eq!(matches!(error, Error::Full { .. }), kind == ErrorKind::StorageFull);
                assert!(!bench.log.is_poisoned());
                let (end, entries) = read(&bench.disk, bench.start).unwrap();
                assert_eq!((entries, end.last.0), (bench.entries.clone(), 1));
                bench.append(30);
                bench.append(30);
                bench.check();
                bench.sync();
                bench.append(30);
                bench.check();
            }
        }
    }
}

/// Writes until the fault has struck, then on; the model must hold throughout.
fn append_through(fault: Fault, count: usize) -> bool {
    let mut bench = Bench::new();
    bench.disk.fail_after(count, fault);
    let mut dice = Dice(count as u64);
    for _ in 0..40 {
        let _ = bench.try_append(1, dice.below(1500) as usize);
        let _ = bench.syncer.sync();
        if dice.one_in(9) {
            let _ = bench.syncer.prepare();
        }
    }
    let struck = !bench.disk.withdraw_fault();
    let poisoned = bench.log.is_poisoned();
    assert_eq!(poisoned, struck && matches!(fault, Fault::Sync));
    if poisoned {
        bench.disk.take_events();
        assert!(matches!(bench.try_append(1, 1), Err(Error::Poisoned)));
        assert!(matches!(bench.syncer.sync(), Err(Error::Poisoned)));
        bench.try_append(1, 3000).unwrap_err();
        assert_eq!(bench.disk.take_events(), [], "nothing is written, no sync is retried");
    } else {
        bench.append(3000);
    }
    bench.check();
    struck
}

#[test]
fn a_fault_at_any_operation_leaves_the_log_right_or_poisoned() {
    for kind in [ErrorKind::StorageFull, ErrorKind::Other] {
        for kept in [0, 1, 47, 48, 55, 300] {
            let count =
                (0..10_000).find(|&n| !append_through(Fault::Write { kept, kind }, n)).unwrap();
            assert!(count > 60, "{count}");
        }
    }
    let count = (0..10_000).find(|&n| !append_through(Fault::Sync, n)).unwrap();
    assert!(count > 60, "{count}");
}

#[test]
fn a_failed_append_that_cannot_be_wiped_poisons() {
    let mut bench = Bench::new();
    bench.append(50);
    let disk = bench.disk.clone();
    disk.fail_after(0, Fault::Write { kept: 1000, kind: ErrorKind::Other });
    disk.then_fail(Fault::Write { kept: 0, kind: ErrorKind::Other });
    bench.try_append(1, 10).unwrap_err();
    assert!(bench.log.is_poisoned());
    assert!(matches!(bench.try_append(1, 10), Err(Error::Poisoned)));
}
