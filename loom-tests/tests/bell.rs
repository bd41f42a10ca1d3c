//! The writer waits for space, and a reader's drop wakes it: no lost wake-up.
use loom::{
    sync::{
        Arc, Condvar, Mutex,
        atomic::{
            AtomicBool,
            Ordering::{Acquire, Release},
        },
    },
    thread,
};
use recto::internals::{
    publish::{Bell, Generation, Lease, Leased, Pin, Version},
    reclaim::Reclaimer,
};
use recto_loom_tests::{Reached, check, check_deadlocks};

/// A pin as the store makes it, or a wrong one.
trait Pinning: Send + Sized + 'static {
    type Lease: Leased + Send + Sync + 'static;
    fn new(bell: &Arc<Bell>) -> (Self, Arc<Self::Lease>);
}

impl Pinning for Pin {
    type Lease = Lease;

    fn new(bell: &Arc<Bell>) -> (Pin, Arc<Lease>) {
        Pin::new(bell)
    }
}

struct Flag(AtomicBool);

impl Leased for Flag {
    fn is_released(&self) -> bool {
        self.0.load(Acquire)
    }
}

/// The seeded bug: the flag is set after the nudge.
struct NudgeFirst(Arc<Flag>, Arc<Bell>);

impl Pinning for NudgeFirst {
    type Lease = Flag;

    fn new(bell: &Arc<Bell>) -> (NudgeFirst, Arc<Flag>) {
        let flag = Arc::new(Flag(AtomicBool::new(false)));
        (NudgeFirst(Arc::clone(&flag), Arc::clone(bell)), flag)
    }
}

impl Drop for NudgeFirst {
    fn drop(&mut self) {
        self.1.ring();
        self.0.0.store(true, Release);
    }
}

#[derive(Clone, Copy, PartialEq)]
enum Wait {
    Right,
    /// The seeded bug: the writer waits without saying so.
    Unannounced,
    /// The seeded bug: the writer waits although the bell was rung since it looked.
    AlthoughRung,
}

fn wait_for_space<P: Pinning>(wait: Wait, waited: &Reached) {
    // One token, as a queue's nudge is: given twice it is taken once.
    let token = Arc::new((Mutex::new(false), Condvar::new()));
    let give = Arc::clone(&token);
    let bell = Arc::new(Bell::new(move || {
        *give.0.lock().unwrap() = true;
        give.1.notify_one();
    }));
    let mut reclaimer: Reclaimer<u32, P::Lease> = Reclaimer::default();
    let mut readers = Vec::new();
    for number in 1..=3 {
        let (pin, lease) = P::new(&bell);
        reclaimer.pin(Version(number), Generation(number), lease);
        readers.push(thread::spawn(move || drop(pin)));
    }
    reclaimer.retire_now(5, Version(1), Generation(4));
    let mut free = Vec::new();
    loop {
        bell.take();
        reclaimer.take(&mut free);
        if !free.is_empty() {
            break;
        }
        let may_wait = match wait {
            Wait::Right => bell.listen(),
            Wait::Unannounced => true,
            Wait::AlthoughRung => {
                bell.listen();
                true
            }
        };
        if may_wait {
            waited.note();
            let mut given = token.0.lock().unwrap();
            while !*given {
                given = token.1.wait(given).unwrap();
            }
            *given = false;
        }
    }
    assert_eq!(free, [5]);
    readers.into_iter().for_each(|reader| reader.join().unwrap());
}

#[test]
fn a_readers_drop_wakes_the_writer_that_waits_for_space() {
    let waited = std::sync::Arc::new(Reached::default());
    let note = std::sync::Arc::clone(&waited);
    check("writer waiting for space", move || wait_for_space::<Pin>(Wait::Right, &note));
    waited.expect("a writer that waits");
}

#[test]
fn a_flag_set_after_the_nudge_is_caught() {
    check_deadlocks("a_flag_set_after_the_nudge_is_caught", || {
        wait_for_space::<NudgeFirst>(Wait::Right, &Reached::default());
    });
}

#[test]
fn a_wait_without_announcement_is_caught() {
    check_deadlocks("a_wait_without_announcement_is_caught", || {
        wait_for_space::<Pin>(Wait::Unannounced, &Reached::default());
    });
}

#[test]
fn a_wait_although_rung_is_caught() {
    check_deadlocks("a_wait_although_rung_is_caught", || {
        wait_for_space::<Pin>(Wait::AlthoughRung, &Reached::default());
    });
}
