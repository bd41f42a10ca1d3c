//! Work handed to a thread of its own: it is done in order, whoever waits for it finds it done, an
//! error is the answer to all that comes behind it, and the end waits for what is being done.
use loom::{
    cell::UnsafeCell,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
};
use recto::{
    Error,
    internals::{
        behind::Behind,
        sync::{Twin, plant},
    },
};
use recto_loom_tests::check;

/// What the jobs write, one after the other, without any order of its own.
struct File(UnsafeCell<u64>);

// SAFETY: what the model is about: loom finds each access that nothing orders.
unsafe impl Sync for File {}
// SAFETY: as above.
unsafe impl Send for File {}

impl File {
    fn len(&self) -> u64 {
        // SAFETY: as above.
        self.0.with(|len| unsafe { *len })
    }

    fn write(&self, at: u64) {
        // SAFETY: as above.
        self.0.with_mut(|len| unsafe {
            assert_eq!(*len, at, "out of order");
            *len += 1;
        });
    }
}

/// Two jobs are given, one is taken back, and the file is looked at once all are done.
fn in_order() {
    let file = Arc::new(File(UnsafeCell::new(0)));
    let theirs = Arc::clone(&file);
    let write = move |at: &mut u64| {
        theirs.write(*at);
        Ok(())
    };
    let behind = Behind::start("behind", write).unwrap();
    behind.give(0);
    behind.give(1);
    assert_eq!(behind.take().unwrap(), Some(0));
    behind.finish().unwrap();
    assert_eq!(file.len(), 2, "not all of it is there");
    assert_eq!((behind.take().unwrap(), behind.jobs()), (Some(1), 0));
    assert_eq!(behind.take().unwrap(), None);
}

#[test]
fn work_is_done_in_order_and_waited_for() {
    check("work behind", || {
        plant(None);
        in_order();
    });
}

#[test]
#[should_panic(expected = "Causality violation")]
fn a_wait_that_forgets_the_job_in_hand_is_caught() {
    check("work behind, twin: busy forgotten", || {
        plant(Some(Twin::BusyForgotten));
        in_order();
    });
}

/// The first of two jobs fails; or the thread is let go amid its work.
#[test]
fn an_error_ends_the_work_and_an_end_waits_for_it() {
    check("work behind, failing", || {
        plant(None);
        let begun = Arc::new(AtomicU64::new(0));
        let theirs = Arc::clone(&begun);
        let fail = move |_: &mut u64| {
            theirs.fetch_add(1, Relaxed);
            Err(Error::Conflict)
        };
        let behind = Behind::start("behind", fail).unwrap();
        behind.give(0);
        behind.give(1);
        assert!(matches!(behind.finish(), Err(Error::Conflict)));
        assert!(matches!(behind.take(), Err(Error::Conflict)));
        drop(behind);
        assert_eq!(begun.load(Relaxed), 1, "it went on behind an error");
    });
    check("work behind, let go", || {
        let file = Arc::new(File(UnsafeCell::new(0)));
        let theirs = Arc::clone(&file);
        let write = move |at: &mut u64| {
            theirs.write(*at);
            Ok(())
        };
        let behind = Behind::start("behind", write).unwrap();
        behind.give(0);
        behind.give(1);
        drop(behind);
        assert!(file.len() <= 2);
    });
}
