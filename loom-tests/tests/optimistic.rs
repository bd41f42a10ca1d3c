//! Optimistic transactions: handed over and judged by the writer while others commit. One that has
//! read what has changed conflicts, also if that is not published yet; one that has not does not.
//! The whole store runs, in memory.
use loom::thread;
use recto::{
    Error, Result, Store, Transaction,
    internals::sync::{Twin, plant},
};
use recto_loom_tests::{
    Reached, Window, check_window,
    counts::{COUNTS, FIRST, open, set},
};
use std::sync::Arc;

/// What both count up.
const SHARED: u64 = FIRST;
/// What the transaction alone writes, beside it on the same page.
const OWN: u64 = 2;

/// What an execution met.
#[derive(Default)]
struct Met {
    committed: Reached,
    conflict: Reached,
}

/// Adds 100 to what it reads, or writes beside it without having read.
fn change(tx: &mut Transaction, key: u64) -> Result<u64> {
    let mut counts = tx.table(&COUNTS)?;
    if key == OWN {
        // Blind but for whether the key is there.
        counts.insert(OWN, 100)?;
        return Ok(0);
    }
    let read = counts.get(SHARED)?.unwrap_or_default();
    counts.insert(SHARED, read + 100)?;
    Ok(read)
}

/// What became of a transaction over version 1, beside commits of others that took `versions`.
fn look(store: &Store, outcome: Result<u64>, key: u64, versions: &[u64], met: &Met) {
    let (last, found) = (versions.len() as u64, store.get(&COUNTS, SHARED).unwrap().unwrap());
    match outcome {
        Ok(version) => {
            met.committed.note();
            let is_first = versions.iter().all(|other| version < *other);
            assert!(key == OWN || is_first, "a lost update");
            assert_eq!(found, last, "what others wrote");
            assert_eq!(store.get(&COUNTS, OWN).unwrap(), (key == OWN).then_some(100));
        }
        Err(Error::Conflict) => {
            met.conflict.note();
            assert!(key == SHARED, "a conflict with who did not touch what it read");
            assert_eq!(found, last, "what others wrote");
        }
        Err(error) => panic!("judged by pages of another time: {error}"),
    }
}

/// A transaction behind two batches that change what it may have read, the second in pages that the
/// first gave up.
fn behind_others(key: u64, met: &Met) {
    let store = open();
    let mut tx = store.begin();
    change(&mut tx, key).unwrap();
    let window = Window::new(1);
    window.open();
    let commits = [1, 2].map(|count| store.submit(set(SHARED, count)).unwrap());
    let outcome = tx.commit();
    window.end();
    let versions = commits.map(|commit| commit.wait().unwrap());
    assert!(versions == [2, 3], "out of order");
    look(&store, outcome, key, &versions, met);
    store.close().unwrap();
}

/// A transaction against a batch of another thread.
fn against_another(met: &Met) {
    let store = open();
    let mut tx = store.begin();
    change(&mut tx, SHARED).unwrap();
    let window = Window::new(1);
    window.open();
    let other = {
        let store = store.clone();
        thread::spawn(move || store.submit(set(SHARED, 1)).unwrap())
    };
    let outcome = tx.commit();
    window.end();
    let version = other.join().unwrap().wait().unwrap();
    look(&store, outcome, SHARED, &[version], met);
    store.close().unwrap();
}

fn check_model(
    name: &str,
    twin: Option<Twin>,
    model: impl Fn(&Met) + Send + Sync + 'static,
) -> Arc<Met> {
    let met = Arc::new(Met::default());
    let run = Arc::clone(&met);
    plant(twin);
    check_window(name, move || model(&run));
    met
}

#[test]
fn a_transaction_conflicts_with_what_changed_under_it() {
    let met = check_model("optimistic, behind others", None, |met| behind_others(SHARED, met));
    met.conflict.expect("a conflict");
    let met = check_model("optimistic, against another", None, against_another);
    met.committed.expect("a transaction that is committed");
    met.conflict.expect("a conflict");
}

#[test]
fn a_transaction_beside_others_on_one_page_never_conflicts() {
    let met = check_model("optimistic, beside others", None, |met| behind_others(OWN, met));
    met.committed.expect("a transaction that is committed");
}

#[test]
#[should_panic(expected = "judged by pages of another time")]
fn a_snapshot_let_go_before_it_is_judged_is_caught() {
    let twin = Some(Twin::SnapshotLetGo);
    check_model("optimistic, twin: snapshot let go", twin, |met| behind_others(SHARED, met));
}

#[test]
#[should_panic(expected = "a lost update")]
fn a_transaction_judged_by_what_is_published_is_caught() {
    let twin = Some(Twin::JudgedByPublished);
    check_model("optimistic, twin: judged by published", twin, |met| behind_others(SHARED, met));
}
