//! Readers that stay: who they are, when they are asked to go, and what they may still read.

use recto::{
    Error, Event, ManualClock, Options, Store, Table,
    simulation::{Failure, Fault, SimDisk},
};
use std::{
    sync::{Arc, Barrier, Mutex},
    thread,
    time::{Duration, Instant},
};

const NUMBERS: Table<u64, u64> = Table::new("numbers");
const TEXTS: Table<u64, &str> = Table::new("texts");
const TIMEOUT: Duration = Duration::from_secs(60);

type Told = Arc<Mutex<Vec<Event>>>;

/// A store over a clock that stands still, and what it reports.
fn timed() -> (Store, ManualClock, Told) {
    let (options, clock, told) = timed_options();
    (options.open_in_memory().unwrap(), clock, told)
}

fn timed_options() -> (Options, ManualClock, Told) {
    let (clock, told) = (ManualClock::new(), Told::default());
    let events = Arc::clone(&told);
    let options = Options::new()
        .reader_timeout(TIMEOUT)
        .clock(clock.clone())
        .on_event(move |event| events.lock().unwrap().push(event.clone()));
    (options, clock, told)
}

fn put(store: &Store, key: u64) {
    store.write(|tx| tx.table(&NUMBERS)?.insert(key, key)).unwrap();
}

#[test]
fn held_versions_are_listed_with_age_bytes_and_place_until_they_are_dropped() {
    let (store, clock, _) = timed();
    store.write(|tx| tx.table(&NUMBERS)?.extend((0..10_000).map(|n| (n, n)))).unwrap();
    assert_eq!(store.readers().unwrap(), []);
    let (old, line) = (store.snapshot(), line!());
    clock.advance(Duration::from_secs(5));
    assert_eq!(store.readers().unwrap(), [], "the newest version costs nothing");
    store.write(|tx| tx.table(&NUMBERS)?.extend((0..10_000).map(|n| (n, n + 1)))).unwrap();
    clock.advance(Duration::from_secs(7));
    let (newer, clone) = (store.snapshot(), old.clone());
    put(&store, 1);
    let readers = store.readers().unwrap();
    let versions: Vec<_> = readers.iter().map(|reader| reader.version).collect();
    assert_eq!(versions, [old.version(), newer.version()]);
    assert_eq!(readers[0].age, Duration::from_secs(7));
    assert_eq!(readers[1].age, Duration::ZERO);
    let page_bytes = store.stats().page_bytes as u64;
    assert!(readers[0].retained_bytes > 20 * page_bytes, "{readers:?}");
    assert!((1..20 * page_bytes).contains(&readers[1].retained_bytes), "{readers:?}");
    if cfg!(debug_assertions) {
        let at = readers[0].taken_at.unwrap();
        assert_eq!((at.file(), at.line()), (file!(), line));
    }
    drop(newer);
    assert_eq!(store.readers().unwrap().len(), 1);
    drop((old, clone));
    assert_eq!(store.readers().unwrap(), []);
}

#[test]
fn past_the_time_new_calls_are_refused_and_what_was_borrowed_stays() {
    let (store, clock, told) = timed();
    let text = "text ".repeat(10);
    let entries: Vec<_> = (0..5000).map(|n| (n, text.as_str())).collect();
    store.write(|tx| tx.table(&TEXTS)?.extend(entries.iter().copied())).unwrap();
    let old = store.snapshot();
    let mut reader = store.reader();
    let idle = reader.snapshot().clone();
    let mut tx = store.begin();
    tx.table(&TEXTS).unwrap().insert(1, "mine").unwrap();
    let table = old.table(&TEXTS).unwrap();
    let borrowed = table.get(7).unwrap().unwrap();
    let mut range = table.iter().unwrap();
    assert_eq!(range.next().unwrap().unwrap(), (0, text.as_str()));
    // As long as nothing replaces it, it may be held.
    clock.advance(10 * TIMEOUT);
    store.readers().unwrap();
    assert!(table.contains(1).unwrap() && told.lock().unwrap().is_empty());
    store.write(|tx| tx.table(&TEXTS)?.remove_range(..)).unwrap();
    clock.advance(TIMEOUT / 2);
    assert!(!store.readers().unwrap()[0].is_evicted);
    assert!(table.contains(1).unwrap());
    assert!(matches!(
        told.lock().unwrap()[..],
        [Event::SlowReader { version: 1, age, .. }] if age == TIMEOUT / 2
    ));
    clock.advance(TIMEOUT / 2);
    // The writer looks at its clock with every commit, too.
    put(&store, 1);
    put(&store, 2);
    let refused = |error| matches!(error, Error::SnapshotEvicted { version: 1 });
    assert!(refused(table.get(7).unwrap_err()) && refused(table.len().unwrap_err()));
    assert!(refused(table.get_many([7]).unwrap_err()) && refused(table.first().unwrap_err()));
    assert!(refused(old.table(&TEXTS).unwrap_err()) && refused(old.tables().unwrap_err()));
    assert!(refused(old.clone().table(&TEXTS).unwrap_err()));
    assert!(refused(idle.table(&TEXTS).unwrap_err()));
    assert!(refused(tx.table(&TEXTS).map(drop).unwrap_err()));
    assert!(refused(tx.commit().unwrap_err()));
    // A walk ends at its next page at the latest.
    let left: Vec<_> = range.by_ref().collect();
    assert!(left.len() < 4999 && refused(left.last().unwrap().clone().unwrap_err()));
    assert!(range.next().is_none());
    assert_eq!(borrowed, text);
    let readers = store.readers().unwrap();
    assert!(readers[0].is_evicted && readers[0].retained_bytes > 0);
    assert_eq!(told.lock().unwrap().len(), 2, "{told:?}");
    assert_eq!(
        told.lock().unwrap()[1].to_string(),
        "version 1 was evicted, 60000 ms after it was replaced"
    );
    // The newest can be read by whoever asks, idle readers too.
    assert_eq!(reader.snapshot().table(&NUMBERS).unwrap().len().unwrap(), 2);
    drop(old);
    drop(idle);
    assert_eq!(store.readers().unwrap(), []);
}

#[test]
fn a_store_that_sleeps_wakes_to_evict() {
    let options = Options::new().reader_timeout(Duration::from_millis(50));
    let store = options.open_in_memory().unwrap();
    let old = store.snapshot();
    put(&store, 1);
    let began = Instant::now();
    while old.tables().is_ok() {
        assert!(began.elapsed() < Duration::from_secs(20), "nobody was evicted");
        thread::sleep(Duration::from_millis(5));
    }
    assert!(matches!(old.tables(), Err(Error::SnapshotEvicted { version: 0 })));
}

/// A writer that waits hears of a dropped snapshot.
#[test]
fn an_idle_store_takes_back_what_a_dropped_snapshot_kept() {
    let store = Store::in_memory().unwrap();
    let fill = |more: u64| {
        store.write(|tx| tx.table(&NUMBERS)?.extend((0..20_000).map(|n| (n, n + more)))).unwrap();
    };
    fill(0);
    let old = store.snapshot();
    fill(1);
    let waiting = || store.stats().waiting_pages;
    let settled = |is_done: &dyn Fn() -> bool| {
        let began = Instant::now();
        while !is_done() && began.elapsed() < Duration::from_secs(20) {
            thread::sleep(Duration::from_millis(2));
        }
        is_done()
    };
    assert!(settled(&|| store.stats().snapshots == 1), "{:?}", store.stats());
    let kept = waiting();
    drop(old);
    assert!(settled(&|| store.stats().snapshots == 0), "{:?}", store.stats());
    assert!(waiting() < kept, "{} of {kept} pages wait", waiting());
}

#[test]
fn what_a_poisoned_store_shows_is_never_evicted() {
    let (disk, (options, clock, told)) = (SimDisk::new(), timed_options());
    let store = options.open_simulated(&disk).unwrap();
    put(&store, 1);
    let old = store.snapshot();
    put(&store, 2);
    disk.fail(Fault { failure: Failure::Sync, nth: 0, sticky: true });
    let write = || store.write(|tx| tx.table(&NUMBERS)?.insert(3, 3));
    write().unwrap_err();
    clock.advance(TIMEOUT);
    // Refused, but the writer looks at its clock with each.
    for _ in 0..2 {
        assert!(matches!(write(), Err(Error::Poisoned)));
    }
    assert!(matches!(old.tables(), Err(Error::SnapshotEvicted { version: 1 })));
    assert_eq!(store.get(&NUMBERS, 2).unwrap(), Some(2));
    assert!(!told.lock().unwrap().iter().any(|event| event.to_string().starts_with("version 2")));
}

/// A version whose successor waits for a slow sync is the newest that there is.
#[test]
fn what_is_not_replaced_in_the_eyes_of_readers_is_never_evicted() {
    let (disk, (options, clock, told)) = (SimDisk::new(), timed_options());
    let store = options.open_simulated(&disk).unwrap();
    put(&store, 1);
    let (newest, gate) = (store.snapshot(), Arc::new(Barrier::new(2)));
    let held = Arc::clone(&gate);
    // Two requests of one group, which so is not synced by the writer itself.
    let first = store.submit_with(move |tx| {
        held.wait();
        held.wait();
        tx.table(&NUMBERS)?.insert(2, 2)
    });
    gate.wait();
    let second = store.submit_with(|tx| tx.table(&NUMBERS)?.insert(3, 3)).unwrap();
    disk.pause_syncs(Duration::from_secs(1));
    let commits = store.stats().commits;
    gate.wait();
    while store.stats().commits == commits {
        thread::yield_now();
    }
    clock.advance(TIMEOUT);
    assert_eq!(store.readers().unwrap(), []);
    assert_eq!(newest.tables().unwrap(), ["numbers"]);
    assert_eq!(store.get(&NUMBERS, 1).unwrap(), Some(1));
    assert!(told.lock().unwrap().is_empty());
    disk.pause_syncs(Duration::ZERO);
    first.unwrap().wait().unwrap();
    second.wait().unwrap();
    // From here on it is.
    clock.advance(TIMEOUT);
    assert!(store.readers().unwrap()[0].is_evicted);
    assert_eq!(store.get(&NUMBERS, 3).unwrap(), Some(3));
}
