//! Writers of all kinds at once: versions have no gap and no double, and an answer is what a
//! snapshot after it shows.
use recto::{Durability, internals::sync::Twin};
use recto_shuttle_tests::{Ledger, check, find};
use shuttle::thread;

/// Four writers: two wait for each, one hands three over first, one mixes levels of durability.
fn several_writers() {
    let ledger = Ledger::new(Ledger::options());
    let work: [fn(&Ledger) -> Vec<u64>; 4] = [
        |ledger| {
            let seen = |_| {
                ledger.round().unwrap();
                let now = Ledger::look(&ledger.store.snapshot());
                assert!(now > 0, "not shown after its answer");
            };
            (0..2).for_each(seen);
            Vec::new()
        },
        |ledger| entries(ledger, 10, &[Durability::Sync, Durability::Sync]),
        |ledger| entries(ledger, 20, &[Durability::Sync, Durability::None, Durability::Sync]),
        |ledger| {
            let commits: Vec<_> = (30..33)
                .map(|key| ledger.store.submit(Ledger::entry(key, Durability::Sync)).unwrap())
                .collect();
            commits.into_iter().map(|commit| commit.wait().unwrap()).collect()
        },
    ];
    let threads = work.map(|work| {
        let ledger = ledger.clone();
        thread::spawn(move || work(&ledger))
    });
    let mut versions: Vec<u64> = threads.into_iter().flat_map(|t| t.join().unwrap()).collect();
    let told = versions.len();
    versions.sort_unstable();
    versions.dedup();
    assert_eq!(versions.len(), told, "two commits of one version");
    assert_eq!(Ledger::look(&ledger.store.snapshot()), 10);
    ledger.close();
}

fn entries(ledger: &Ledger, first: u64, levels: &[Durability]) -> Vec<u64> {
    let commit = |(key, level): (u64, &Durability)| {
        let version = ledger.store.submit(Ledger::entry(key, *level)).unwrap().wait().unwrap();
        let snapshot = ledger.store.snapshot();
        assert!(Ledger::look(&snapshot) >= version, "not shown after its answer");
        assert!(Ledger::has_entry(&snapshot, key), "not shown after its answer");
        version
    };
    (first..).zip(levels).map(commit).collect()
}

#[test]
fn versions_have_no_gap_and_answers_are_shown() {
    check("several writers", several_writers);
}

#[test]
fn an_answer_before_its_publication_is_found() {
    let expected = "not shown after its answer";
    find("several writers", Twin::AnsweredBeforePublished, expected, several_writers);
}

#[test]
fn a_sleeper_that_nobody_wakes_is_found() {
    find("several writers", Twin::SleeperForgotten, "deadlock", several_writers);
}
