//! What a store reports unasked, told by faults of the simulated disk.

use recto::{
    Event, Options, Result, Table,
    simulation::{Failure, Fault, SimDisk},
};
use std::sync::{Arc, Mutex};

const NUMBERS: Table<u64, u64> = Table::new("numbers");

type Told = Arc<Mutex<Vec<Event>>>;

fn listening() -> (Options, Told) {
    let told = Told::default();
    let ears = Arc::clone(&told);
    (Options::new().on_event(move |event| ears.lock().unwrap().push(event.clone())), told)
}

#[test]
fn a_failed_sync_is_reported_once() -> Result<()> {
    let disk = SimDisk::new();
    let (options, told) = listening();
    let store = options.open_simulated(&disk)?;
    store.write(|tx| tx.table(&NUMBERS)?.insert(1, 1))?;
    assert!(told.lock().unwrap().is_empty());
    disk.fail(Fault { failure: Failure::Sync, nth: 0, sticky: true });
    for _ in 0..3 {
        store.write(|tx| tx.table(&NUMBERS)?.insert(2, 2)).unwrap_err();
    }
    drop(store);
    let told = told.lock().unwrap();
    assert!(matches!(&told[..], [Event::Poisoned { .. }]), "{told:?}");
    Ok(())
}

#[test]
fn a_checkpoint_that_fails_is_reported_with_its_next_attempt() -> Result<()> {
    let disk = SimDisk::new();
    let (options, told) = listening();
    let store = options.open_simulated(&disk)?;
    store.write(|tx| tx.table(&NUMBERS)?.insert(1, 1))?;
    disk.fail(Fault { failure: Failure::NoSpace, nth: 0, sticky: true });
    store.checkpoint().unwrap_err();
    disk.heal();
    store.checkpoint()?;
    let told = told.lock().unwrap();
    let [Event::CheckpointFailed { retry_after, .. }] = &told[..] else { panic!("{told:?}") };
    assert!(!retry_after.is_zero());
    Ok(())
}

#[test]
fn a_listener_that_panics_or_calls_the_store_harms_nothing() -> Result<()> {
    let disk = SimDisk::new();
    let slot: Arc<Mutex<Option<recto::Store>>> = Arc::default();
    let inside = Arc::clone(&slot);
    let store = Options::new()
        .on_event(move |_| {
            let store = inside.lock().unwrap().take().expect("one event comes");
            assert!(matches!(store.checkpoint(), Err(recto::Error::Reentrant)));
            panic!("a listener's own bug");
        })
        .open_simulated(&disk)?;
    *slot.lock().unwrap() = Some(store.clone());
    store.write(|tx| tx.table(&NUMBERS)?.insert(1, 1))?;
    disk.fail(Fault { failure: Failure::NoSpace, nth: 0, sticky: true });
    store.checkpoint().unwrap_err();
    disk.heal();
    store.checkpoint()?;
    assert!(slot.lock().unwrap().is_none());
    assert_eq!(store.get(&NUMBERS, 1)?, Some(1));
    Ok(())
}
