//! Jobs are done in order, failures are told, and the thread has ended when its handle is gone.

use super::Behind;
use crate::{
    error::{Error, Resource},
    sync::{Arc, Mutex, lock},
};

#[test]
fn jobs_come_back_done_in_the_order_in_which_they_were_given() {
    let double = |(number, doubled): &mut (u32, u32)| {
        *doubled = 2 * *number;
        Ok(())
    };
    let behind = Behind::start("behind-test", double).unwrap();
    assert!(behind.take().unwrap().is_none());
    for round in 0..100 {
        for number in 0..4 {
            behind.give((round + number, 0));
        }
        assert_eq!(behind.jobs(), 4);
        for number in 0..4 {
            let number = round + number;
            assert_eq!(behind.take().unwrap(), Some((number, 2 * number)));
        }
    }
    assert_eq!(behind.jobs(), 0);
}

#[test]
fn all_is_done_when_it_is_finished() {
    let done = Arc::new(Mutex::new(Vec::new()));
    let theirs = Arc::clone(&done);
    let note = move |job: &mut u32| {
        lock(&theirs).push(*job);
        Ok(())
    };
    let behind = Behind::start("behind-test", note).unwrap();
    for end in (10..=100).step_by(10) {
        (end - 10..end).for_each(|job| behind.give(job));
        behind.finish().unwrap();
        assert_eq!(*lock(&done), (0..end).collect::<Vec<_>>());
    }
}

#[test]
fn the_first_failure_is_the_answer_from_then_on_and_no_job_is_done_behind_it() {
    let done = Arc::new(Mutex::new(0));
    let theirs = Arc::clone(&done);
    let fail_third = move |job: &mut u32| {
        *lock(&theirs) += 1;
        if *job == 3 { Err(Error::Full { what: Resource::Disk }) } else { Ok(()) }
    };
    let behind = Behind::start("behind-test", fail_third).unwrap();
    (1..=5).for_each(|job| behind.give(job));
    for _ in 0..2 {
        assert!(matches!(behind.finish(), Err(Error::Full { what: Resource::Disk })));
        assert!(matches!(behind.take(), Err(Error::Full { what: Resource::Disk })));
    }
    drop(behind);
    assert_eq!(*lock(&done), 3);
}

#[test]
fn a_panic_is_an_error() {
    let behind = Behind::start("behind-test", |_: &mut u32| panic!("a bug of ours")).unwrap();
    behind.give(1);
    assert!(matches!(behind.finish(), Err(Error::Panicked { .. })));
}

#[test]
fn whoever_drops_it_waits_for_the_job_in_hand_and_drops_the_others() {
    for jobs in 0..50 {
        let alive = Arc::new(());
        let theirs = Arc::clone(&alive);
        let work = move |_: &mut Arc<()>| {
            assert!(Arc::strong_count(&theirs) > 1);
            Ok(())
        };
        let behind = Behind::start("behind-test", work).unwrap();
        (0..jobs).for_each(|_| behind.give(Arc::clone(&alive)));
        drop(behind);
        assert_eq!(Arc::strong_count(&alive), 1, "a thread or a job is left of {jobs}");
    }
}
