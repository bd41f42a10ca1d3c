//! Checkpoints and evictions beside readers and writers: a page that turns clean, or leaves the
//! cache, stays what it was to whoever can see it.
use recto::{Durability, Error, Resource, Result, internals::sync::Twin};
use recto_shuttle_tests::{Ledger, check, find};
use shuttle::thread;

/// A writer, two who ask for checkpoints, a reader who changes snapshots, one who keeps his. Then
/// the store is opened again.
fn checkpoints() {
    let (options, disk) = (Ledger::options().durability(Durability::None), Ledger::memory());
    let ledger = Ledger::open(options.clone(), &disk).unwrap();
    ledger.round().unwrap();
    let long = ledger.store.snapshot();
    let mut threads = Vec::new();
    let mut start = |work: fn(&Ledger)| {
        let ledger = ledger.clone();
        threads.push(thread::spawn(move || work(&ledger)));
    };
    start(|ledger| (0..3).for_each(|_| assert!(ledger.round().is_ok())));
    start(|ledger| ledger.store.checkpoint().unwrap());
    start(|ledger| ledger.store.checkpoint().unwrap());
    start(|ledger| {
        let first = ledger.store.snapshot();
        let seen = Ledger::look(&first);
        assert!(Ledger::look(&ledger.store.snapshot()) >= seen, "backwards");
        assert_eq!(Ledger::look(&first), seen);
    });
    for thread in threads {
        thread.join().unwrap();
    }
    assert_eq!(Ledger::look(&long), 1);
    ledger.close();
    assert_eq!(Ledger::look(&long), 1);
    drop((long, ledger));
    let again = Ledger::open(options, &disk).unwrap();
    assert_eq!(Ledger::look(&again.store.snapshot()), 4);
    again.close();
}

/// A cache that holds less than all want: readers fill frames while the writer evicts them, and who
/// finds no room lets go and tries again.
fn evictions() {
    let (options, disk) = (Ledger::options().durability(Durability::None), Ledger::memory());
    let first = Ledger::open(options.clone(), &disk).unwrap();
    first.round().unwrap();
    first.close();
    drop(first);
    let ledger = Ledger::open(options.cache_bytes(PAGES_KEPT * 4096), &disk).unwrap();
    let mut threads = Vec::new();
    for _ in 0..2 {
        let store = ledger.store.clone();
        threads.push(thread::spawn(move || {
            let look_twice = || {
                let snapshot = store.snapshot();
                let seen = Ledger::try_look(&snapshot)?;
                assert_eq!(Ledger::try_look(&snapshot)?, seen);
                Ok(())
            };
            (0..2).for_each(|_| patiently(look_twice));
        }));
    }
    let writer = ledger.clone();
    threads.push(thread::spawn(move || {
        patiently(|| writer.round().map(drop));
        writer.store.checkpoint().unwrap();
        patiently(|| writer.round().map(drop));
    }));
    for thread in threads {
        thread.join().unwrap();
    }
    patiently(|| {
        assert_eq!(Ledger::try_look(&ledger.store.snapshot())?, 3);
        Ok(())
    });
    ledger.close();
}

/// Fewer than the pages that three versions have, more than two snapshots see.
const PAGES_KEPT: u64 = 16;

fn patiently(mut attempt: impl FnMut() -> Result<()>) {
    loop {
        match attempt() {
            Ok(()) => return,
            Err(Error::Full { what: Resource::CacheBytes }) => thread::yield_now(),
            Err(error) => panic!("wrong page: {error}"),
        }
    }
}

#[test]
fn checkpoints_change_nothing_that_anybody_sees() {
    check("checkpoints", checkpoints);
}

#[test]
fn frames_used_again_after_a_checkpoint_are_found() {
    find("checkpoints", Twin::PinsIgnored, "wrong page", checkpoints);
}

#[test]
fn evicted_pages_are_read_again_as_they_were() {
    check("evictions", evictions);
}

#[test]
fn frames_evicted_under_a_reader_are_found() {
    find("evictions", Twin::PinsIgnored, "wrong page", evictions);
}
