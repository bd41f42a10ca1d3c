//! A group of one request, which the writer syncs itself: it keeps its place among the groups and
//! the syncs of the log thread.
use super::*;
use recto::internals::sync::{Twin, plant};

/// A group for the log thread and a lone one behind it, which the writer settles itself if nothing
/// is before it; one waits for each, one looks twice at what is there.
fn lone(disk: Disk, reached: &[Reached; 2]) {
    let store = store(disk, Root::bare(0, 0));
    let (first, first_commit) = ack(&store.home, Promised::Durable, 1);
    let (second, second_commit) = ack(&store.home, Promised::Durable, 2);
    let log_thread = run_log(&store);
    let looking = {
        let store = Arc::clone(&store);
        thread::spawn(move || {
            let [earlier, later] = [(); 2].map(|()| store.published.guard().version);
            assert!(earlier <= later, "version {later} was seen behind {earlier}");
            assert!(store.log.synced.load(Relaxed) >= later, "seen, but not synced");
        })
    };
    store.append(1);
    store.pipeline.hand_over(group(Root::bare(1, 1), true, vec![first]));
    store.append(2);
    let syncs = store.log.syncs.load(Relaxed);
    let lone = group(Root::bare(2, 2), true, vec![second]);
    store.pipeline.hand_over_lone(lone, Seeded::default(), || store.log.sync());
    reached[usize::from(syncs == 0)].note();
    let (is_first_done, is_second_done) =
        (first_commit.wait().is_ok(), second_commit.wait().is_ok());
    assert!(is_first_done || !is_second_done, "a commit was kept behind one that failed");
    if is_second_done {
        assert_eq!(store.published.guard().version, 2, "answered, but not published");
        assert_eq!(store.log.synced.load(Relaxed), 2, "answered as durable, but not synced");
    }
    assert_eq!(store.pipeline.poison().is_some(), !is_second_done, "poisoned and answered");
    assert!(store.pipeline.wait_idle().is_ok() == is_second_done);
    looking.join().unwrap();
    store.pipeline.end();
    log_thread.join().unwrap();
}

fn check_lone(name: &str, disk: Disk, twin: Option<Twin>) {
    let reached = std::sync::Arc::new([(); 2].map(|()| Reached::default()));
    let note = std::sync::Arc::clone(&reached);
    check(name, move || {
        plant(twin);
        lone(disk, &note);
    });
    reached[0].expect("a lone group behind a sync that has begun");
    reached[1].expect("a lone group before any sync");
}

#[test]
fn a_lone_group_keeps_its_place_whoever_syncs_it() {
    check_lone("lone group", Disk::Right, None);
}

#[test]
fn a_lone_group_whose_sync_fails_is_answered_with_the_error() {
    check_lone("lone group, sync fails", Disk::Fails, None);
}

#[test]
#[should_panic(expected = "answered, but not published")]
fn a_lone_group_that_overtakes_is_caught() {
    check_lone("lone group, twin: overtakes", Disk::Right, Some(Twin::LoneOvertakes));
}

/// A lone group that the writer syncs while the log thread does a sync that somebody asked for.
fn lone_beside_a_sync() {
    let store = store(Disk::Right, Root::bare(0, 0));
    let held = std::sync::Arc::new(Arc::clone(&store));
    let asking = std::sync::Arc::downgrade(&held);
    store.home.on_sync_wanted(move || {
        if let Some(store) = asking.upgrade() {
            store.pipeline.want_sync();
        }
    });
    let (first, first_commit) = ack(&store.home, Promised::Visible, 1);
    let (second, second_commit) = ack(&store.home, Promised::Durable, 2);
    let log_thread = run_log(&store);
    store.append(1);
    store.pipeline.hand_over(group(Root::bare(1, 1), false, vec![first]));
    let relaxed = thread::spawn(move || assert_eq!(first_commit.durable().wait().unwrap(), 1));
    let waiting = {
        let store = Arc::clone(&store);
        thread::spawn(move || {
            second_commit.wait().unwrap();
            assert_eq!(store.published.guard().version, 2, "answered, but not published");
            assert_eq!(store.log.synced.load(Relaxed), 2, "answered as durable, but not synced");
        })
    };
    store.append(2);
    let lone = group(Root::bare(2, 2), true, vec![second]);
    store.pipeline.hand_over_lone(lone, Seeded::default(), || store.log.sync());
    assert!(store.pipeline.wait_idle().is_ok());
    relaxed.join().unwrap();
    waiting.join().unwrap();
    store.pipeline.end();
    log_thread.join().unwrap();
}

#[test]
fn a_lone_group_and_a_sync_that_was_asked_for_keep_apart() {
    check("lone group, beside a sync", lone_beside_a_sync);
}

#[test]
#[should_panic(expected = "answered, but not published")]
fn a_lone_group_answered_before_it_is_published_is_caught() {
    check("lone group, twin: answered early", || {
        plant(Some(Twin::AnsweredBeforePublished));
        lone_beside_a_sync();
    });
}

/// Two groups, published at once, that are to be synced by a time; nobody asks for it.
fn deadlines() {
    let store = store(Disk::Right, Root::bare(0, 0));
    let log_thread = run_log(&store);
    let (mut second, commit) = ack(&store.home, Promised::Durable, 2);
    second.is_deaf = true;
    for (version, acks) in [(1, vec![]), (2, vec![second])] {
        store.append(version);
        let mut group = group(Root::bare(version, version), false, acks);
        group.sync_by = Some(group.began);
        store.pipeline.hand_over(group);
    }
    commit.wait().unwrap();
    assert_eq!(store.log.synced.load(Relaxed), 2, "answered as durable, but not synced");
    store.pipeline.end();
    log_thread.join().unwrap();
}

#[test]
fn every_deadline_is_kept() {
    check("deadlines", deadlines);
}

#[test]
fn a_deadline_that_the_log_thread_is_not_told_of_is_caught() {
    check_deadlocks("lone::a_deadline_that_the_log_thread_is_not_told_of_is_caught", || {
        plant(Some(Twin::DeadlineUntold));
        deadlines();
    });
}
