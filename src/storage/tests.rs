//! What every storage answers alike, compared call by call with one model.

use super::{LockMode, Storage, file::FileStorage, memory::MemoryStorage};
use crate::error::Error;
use proptest::prelude::*;
use std::{collections::BTreeMap, io, time::Duration};

/// One call, on one of a few names and places.
#[derive(Clone, Debug)]
enum Call {
    Create(usize),
    Rename(usize, usize),
    Remove(usize),
    Allocate(usize, u64),
    Truncate(usize, u64),
    Write { file: usize, at: u64, len: usize, byte: u8 },
    Sync(usize),
    SyncDir,
}

const NAMES: [&str; 3] = ["pages", "log-1", "tmp-1"];

fn calls() -> impl Strategy<Value = Vec<Call>> {
    let len = || prop_oneof![0..20_000_u64, 60_000..140_000_u64];
    let call = prop_oneof![
        3 => (0..3_usize).prop_map(Call::Create),
        1 => (0..3_usize, 0..3_usize).prop_map(|(from, to)| Call::Rename(from, to)),
        1 => (0..3_usize).prop_map(Call::Remove),
        3 => (0..3_usize, len()).prop_map(|(file, len)| Call::Allocate(file, len)),
        1 => (0..3_usize, len()).prop_map(|(file, len)| Call::Truncate(file, len)),
        6 => (0..3_usize, len(), 0..9_000_usize, 1..=255_u8)
            .prop_map(|(file, at, len, byte)| Call::Write { file, at, len, byte }),
        1 => (0..3_usize).prop_map(Call::Sync),
        1 => Just(Call::SyncDir),
    ];
    prop::collection::vec(call, 1..40)
}

/// Makes the call on the storage and on the model; both must agree whether it can be.
fn step(storage: &dyn Storage, model: &mut BTreeMap<&'static str, Vec<u8>>, call: &Call) {
    match *call {
        Call::Create(file) => {
            let created = storage.create(NAMES[file]);
            assert_eq!(created.is_ok(), !model.contains_key(NAMES[file]));
            model.entry(NAMES[file]).or_default();
        }
        Call::Rename(from, to) => {
            let renamed = storage.rename(NAMES[from], NAMES[to]);
            if let Some(content) = model.remove(NAMES[from]) {
                model.insert(NAMES[to], content);
                renamed.unwrap();
            } else {
                assert!(renamed.unwrap_err().is_not_found());
            }
        }
        Call::Remove(file) => {
            let removed = storage.remove(NAMES[file]);
            assert_eq!(removed.is_ok(), model.remove(NAMES[file]).is_some());
        }
        Call::SyncDir => storage.sync_dir().unwrap(),
        Call::Allocate(file, ..)
        | Call::Truncate(file, ..)
        | Call::Write { file, .. }
        | Call::Sync(file) => match model.get_mut(NAMES[file]) {
            Some(content) => change(storage, NAMES[file], content, call),
            None => assert!(storage.open(NAMES[file]).err().unwrap().is_not_found()),
        },
    }
}

fn change(storage: &dyn Storage, name: &str, content: &mut Vec<u8>, call: &Call) {
    let file = storage.open(name).unwrap();
    match *call {
        Call::Allocate(_, len) => {
            file.allocate(len).unwrap();
            content.resize(content.len().max(len as usize), 0);
        }
        Call::Truncate(_, len) => {
            file.truncate(len).unwrap();
            content.truncate(len as usize);
        }
        Call::Write { at, len, byte, .. } => {
            // Writes stay within the allocated length.
            let at = (at as usize).min(content.len());
            let len = len.min(content.len() - at);
            file.write_at(&vec![byte; len], at as u64).unwrap();
            content[at..at + len].fill(byte);
        }
        _ => file.sync().unwrap(),
    }
}

fn compare(storage: &dyn Storage, model: &BTreeMap<&'static str, Vec<u8>>) {
    let names: Vec<_> = model.keys().copied().collect();
    assert_eq!(storage.list().unwrap(), names);
    for (name, content) in model {
        let file = storage.open(name).unwrap();
        assert_eq!(file.len().unwrap(), content.len() as u64);
        let mut bytes = vec![0; content.len()];
        file.read_at(&mut bytes, 0).unwrap();
        assert!(bytes == *content, "{name} differs");
        let beyond = file.read_at(&mut [0; 2], (content.len() as u64).saturating_sub(1));
        let Err(Error::Io(failure)) = beyond else {
            panic!("read beyond the end");
        };
        assert_eq!(failure.source.kind(), io::ErrorKind::UnexpectedEof);
        if let Some(map) = file.map() {
            assert_eq!(map.bytes(0, content.len()), Some(content.as_slice()));
        }
    }
}

fn agrees_with_the_model(storage: &dyn Storage, calls: &[Call]) {
    let mut model = BTreeMap::new();
    for call in calls {
        step(storage, &mut model, call);
    }
    compare(storage, &model);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn memory_agrees_with_the_model(calls in calls()) {
        agrees_with_the_model(&MemoryStorage::new(), &calls);
    }

    #[cfg(feature = "simulation")]
    #[test]
    fn the_simulated_disk_agrees_with_the_model(calls in calls()) {
        agrees_with_the_model(&super::sim::SimDisk::new(), &calls);
    }

    #[test]
    fn files_agree_with_the_model(calls in calls()) {
        let place = tempfile::tempdir().unwrap();
        agrees_with_the_model(&FileStorage::new(place.path()).unwrap(), &calls);
    }
}

#[test]
fn a_lock_in_memory_excludes_and_goes_with_its_file() {
    let storage = MemoryStorage::new();
    let first = storage.create("pages").unwrap();
    let (second, third) = (storage.open("pages").unwrap(), storage.open("pages").unwrap());
    let (exclusive, shared, now) = (LockMode::Exclusive, LockMode::Shared, Duration::ZERO);
    let locked = |answer| {
        let own = Some(std::process::id());
        assert!(matches!(answer, Err(Error::Locked { pid }) if pid == own));
    };
    first.lock(exclusive, now).unwrap();
    locked(second.lock(exclusive, now));
    locked(second.lock(shared, Duration::from_millis(5)));
    drop(first);
    second.lock(shared, now).unwrap();
    third.lock(shared, now).unwrap();
    locked(second.lock(exclusive, now));
    drop(third);
    second.lock(exclusive, now).unwrap();
}

#[test]
#[should_panic(expected = "allocate first")]
fn a_write_beyond_the_allocated_length_is_our_own_bug() {
    let file = MemoryStorage::new().create("pages").unwrap();
    let _ = file.write_at(b"x", 0);
}

#[test]
fn a_length_that_cannot_be_is_full() {
    let file = MemoryStorage::new().create("pages").unwrap();
    assert!(matches!(file.allocate(u64::MAX), Err(Error::Full { .. })));
    assert_eq!(file.len().unwrap(), 0);
}
