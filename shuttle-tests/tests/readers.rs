//! Readers, short and long, beside writers: what they see belongs to its version, goes forward, and
//! is never behind an answer.
use recto::{Durability, internals::sync::Twin};
use recto_shuttle_tests::{Ledger, check, find};
use shuttle::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::SeqCst},
    },
    thread,
};

/// Two writers, three short readers each by its own way, and a long one.
fn many_readers() {
    let ledger = Ledger::new(Ledger::options().durability(Durability::None));
    let answered = Arc::new(AtomicU64::new(0));
    let mut threads = Vec::new();
    for writer in 0..2 {
        let (ledger, answered) = (ledger.clone(), answered.clone());
        threads.push(thread::spawn(move || {
            for number in 0..2 {
                let entry = Ledger::entry(10 * writer + number, Durability::None);
                let version = ledger.store.submit(entry).unwrap().wait().unwrap();
                answered.fetch_max(version, SeqCst);
                ledger.round().unwrap();
            }
        }));
    }
    for reader in 0..3 {
        let (ledger, answered) = (ledger.clone(), answered.clone());
        threads.push(thread::spawn(move || {
            let (mut last, mut own) = (0, ledger.store.reader());
            for _ in 0..3 {
                let promised = answered.load(SeqCst);
                let seen = match reader {
                    0 => Ledger::look(&ledger.store.snapshot()),
                    1 => ledger.store.read(Ledger::look),
                    _ => Ledger::look(own.snapshot()),
                };
                assert!(seen >= promised, "behind an answer: {seen} after {promised}");
                assert!(seen >= last, "backwards: {seen} after {last}");
                last = seen;
            }
        }));
    }
    let long = ledger.store.snapshot();
    let version = Ledger::look(&long);
    for thread in threads {
        thread.join().unwrap();
    }
    assert_eq!(Ledger::look(&long), version);
    assert_eq!(Ledger::look(&ledger.store.snapshot()), 8);
    ledger.close();
    assert_eq!(Ledger::look(&long), version);
}

#[test]
fn what_readers_see_belongs_to_its_version() {
    check("many readers", many_readers);
}

#[test]
fn pages_used_again_under_a_reader_are_found() {
    find("many readers", Twin::PinsIgnored, "wrong page", many_readers);
}
