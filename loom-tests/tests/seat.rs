//! The writer's seat: a caller serves its own write while the writer thread has nothing to do.
//! Nothing is served twice or lost, nobody sleeps for ever, and what a thread submitted comes
//! before what it writes next. The whole store runs, in memory.
use loom::thread;
use recto::{
    Error, Store,
    internals::sync::{Twin, plant},
};
use recto_loom_tests::{
    Reached, Window, check_window,
    counts::{COUNTS, FIRST, open, set},
};
use std::sync::Arc;

const OTHER: u64 = 2;

/// What an execution met: a write served on its caller's thread, and one on the writer's.
#[derive(Default)]
struct Met {
    led: Reached,
    queued: Reached,
}

/// Adds 1 to `key` and returns what was there; notes where that was done.
fn count(store: &Store, key: u64, met: &Met) -> Result<u64, Error> {
    let caller = thread::current().id();
    store.write(|tx| {
        if thread::current().id() == caller {
            met.led.note()
        } else {
            met.queued.note()
        }
        let mut counts = tx.table(&COUNTS)?;
        let before = counts.get(key)?.unwrap_or_default();
        counts.insert(key, before + 1)?;
        Ok(before)
    })
}

/// A thread that submits and then writes.
fn submit_and_write(met: &Met) {
    let store = open();
    let window = Window::new(1);
    window.open();
    let submitted = store.submit(set(FIRST, 10)).unwrap();
    let before = count(&store, FIRST, met).unwrap();
    window.end();
    assert_eq!(before, 10, "a write overtook what its thread had submitted");
    submitted.wait().unwrap();
    assert_eq!(store.get(&COUNTS, FIRST).unwrap(), Some(11));
    store.close().unwrap();
}

/// Two threads that write.
fn two_writers(met: &Arc<Met>) {
    let store = open();
    let window = Window::new(1);
    window.open();
    let other = {
        let (store, met) = (store.clone(), Arc::clone(met));
        thread::spawn(move || count(&store, FIRST, &met).unwrap())
    };
    let one = count(&store, FIRST, met).unwrap();
    window.end();
    let two = other.join().unwrap();
    assert_eq!(one + two, 1, "an update was lost, or seen twice");
    assert_eq!(store.get(&COUNTS, FIRST).unwrap(), Some(2));
    assert_eq!(store.snapshot().version(), 3);
    store.close().unwrap();
}

/// A writer while another thread closes the store.
fn write_and_close(met: &Met) {
    let store = open();
    let window = Window::new(1);
    window.open();
    let closing = {
        let store = store.clone();
        thread::spawn(move || store.close().unwrap())
    };
    let written = count(&store, OTHER, met);
    window.end();
    let closed = closing.join().unwrap();
    match written {
        Ok(_) => assert_eq!(closed.version, 2, "answered, and not there at the end"),
        Err(Error::Closed) => assert_eq!(closed.version, 1, "refused, and there at the end"),
        Err(error) => panic!("{error}"),
    }
}

fn check_model(
    name: &str,
    twin: Option<Twin>,
    model: impl Fn(&Arc<Met>) + Send + Sync + 'static,
) -> Arc<Met> {
    let met = Arc::new(Met::default());
    let run = Arc::clone(&met);
    plant(twin);
    check_window(name, move || model(&run));
    met
}

#[test]
fn who_has_submitted_and_leads_comes_behind_it() {
    let met = check_model("seat, submit and write", None, |met| submit_and_write(met));
    met.led.expect("a write on its caller's thread");
    met.queued.expect("a write on the writer's thread");
}

#[test]
#[should_panic(expected = "a write overtook what its thread had submitted")]
fn a_leader_who_overtakes_the_queue_is_caught() {
    let twin = Some(Twin::LeaderOvertakes);
    check_model("seat, twin: overtakes", twin, |met| submit_and_write(met));
}

#[test]
fn two_who_write_take_turns() {
    let met = check_model("seat, two writers", None, two_writers);
    met.led.expect("a write on its caller's thread");
    met.queued.expect("a write on the writer's thread");
}

#[test]
fn a_leader_beside_a_close_is_served_whole_or_refused() {
    check_model("seat, write and close", None, |met| write_and_close(met));
}
