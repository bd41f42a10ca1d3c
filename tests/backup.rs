//! Copies of a running store: equal to the version that they name, never in the place of another
//! store, and none where one was begun and not finished.

use recto::{Error, Options, Snapshot, Store, Table, restore};
use std::{
    fs,
    io::ErrorKind,
    ops::Bound,
    path::Path,
    sync::atomic::{AtomicBool, Ordering},
    thread,
};

const NUMBERS: Table<u64, &[u8]> = Table::new("numbers");
const NAMES: Table<&str, u64> = Table::new("names");
const EXTRA: Table<u64, u64> = Table::new("extra");

type Rows = Vec<(String, Vec<u8>, Vec<u8>)>;

/// Everything in a snapshot.
fn rows(snapshot: &Snapshot) -> Rows {
    let mut rows = Vec::new();
    for name in snapshot.tables().unwrap() {
        let table = snapshot.raw_table(&name).unwrap().unwrap();
        for entry in table.range(Bound::Unbounded, Bound::Unbounded).unwrap() {
            let (key, value) = entry.unwrap();
            rows.push((name.clone(), key.to_vec(), value.to_vec()));
        }
    }
    rows
}

/// Inserts values of every size, some in runs, some keys in runs.
fn fill(store: &Store, from: u64, to: u64) {
    store
        .write(|tx| {
            for i in from..to {
                let len = if i % 50 == 0 { 20_000 } else { i % 300 } as usize;
                tx.table(&NUMBERS)?.insert(i, &vec![i as u8; len])?;
                let key = format!("{i:0width$}", width = if i % 97 == 0 { 3000 } else { 9 });
                tx.table(&NAMES)?.insert(&key, i)?;
            }
            Ok(())
        })
        .unwrap();
}

/// Opens a copy, proves it, and gives what it holds.
fn opened(dir: &Path, version: u64) -> Rows {
    let copy = Options::new().create(false).open(dir).unwrap();
    assert_eq!(copy.snapshot().version(), version);
    copy.check().unwrap();
    let rows = rows(&copy.snapshot());
    // It is a store like any other.
    copy.write(|tx| tx.table(&EXTRA)?.extend((0..100).map(|i| (i, i)))).unwrap();
    assert_eq!(copy.snapshot().version(), version + 1);
    copy.check().unwrap();
    copy.close().unwrap();
    rows
}

#[test]
fn a_copy_of_a_store_that_is_written_equals_its_version() {
    let dir = tempfile::tempdir().unwrap();
    for memory_map in [true, false] {
        let options = Options::new().memory_map(memory_map).dirty_bytes(1 << 20);
        let home = dir.path().join(format!("store-{memory_map}"));
        let store = options.open(&home).unwrap();
        fill(&store, 0, 5_000);
        store.checkpoint().unwrap();
        fill(&store, 100, 200);
        let stop = AtomicBool::new(false);
        thread::scope(|scope| {
            scope.spawn(|| {
                let mut at = 10_000;
                while !stop.load(Ordering::Relaxed) {
                    fill(&store, at, at + 20);
                    store.write(|tx| tx.table(&NUMBERS)?.remove(at % 5_000)).unwrap();
                    at += 20;
                }
            });
            for round in 0..3 {
                let to = dir.path().join(format!("copy-{memory_map}-{round}"));
                let held = store.snapshot();
                assert_eq!(held.backup(&to).unwrap(), held.version());
                assert_eq!(opened(&to, held.version()), rows(&held));
                let live = dir.path().join(format!("live-{memory_map}-{round}"));
                let version = store.backup(&live).unwrap();
                assert!(version >= held.version());
                opened(&live, version);
            }
            stop.store(true, Ordering::Relaxed);
        });
        store.check().unwrap();
    }
}

#[test]
fn a_copy_takes_the_place_of_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let (home, other) = (dir.path().join("store"), dir.path().join("other"));
    let store = Store::open(&home).unwrap();
    fill(&store, 0, 10);
    let refused = |to: &Path| match store.backup(to) {
        Err(Error::Io(io)) => assert_eq!(io.source.kind(), ErrorKind::AlreadyExists),
        outcome => panic!("{outcome:?}"),
    };
    refused(&home);
    let theirs = Store::open(&other).unwrap();
    fill(&theirs, 7, 8);
    refused(&other);
    theirs.close().unwrap();
    refused(&other);
    assert_eq!(Store::open(&other).unwrap().get(&NAMES, "000000007").unwrap(), Some(7));
    // What is left of a store whose page file is gone is not written over either.
    fs::create_dir(dir.path().join("remains")).unwrap();
    fs::write(dir.path().join("remains/log-1"), b"remains").unwrap();
    refused(&dir.path().join("remains"));
    // A file in the way, and what an attempt before left behind.
    fs::write(dir.path().join("file"), b"text").unwrap();
    assert!(store.backup(dir.path().join("file")).is_err());
    fs::create_dir(dir.path().join("again")).unwrap();
    fs::write(dir.path().join("again/tmp-pages"), vec![1; 1 << 20]).unwrap();
    let version = store.backup(dir.path().join("again")).unwrap();
    opened(&dir.path().join("again"), version);
}

#[test]
fn small_stores_and_stores_that_are_only_read_or_closed_are_copied() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    let memory = Store::in_memory().unwrap();
    assert_eq!(memory.backup(at("empty")).unwrap(), 0);
    opened(&at("empty"), 0);
    fill(&memory, 0, 300);
    assert_eq!(memory.backup(at("memory")).unwrap(), 1);
    assert_eq!(opened(&at("memory"), 1), rows(&memory.snapshot()));
    // A copy of a copy, which is only read, and one that outlives its store.
    let copied = Options::new().read_only(true).open(at("memory")).unwrap();
    assert_eq!(copied.backup(at("second")).unwrap(), copied.snapshot().version());
    let held = copied.snapshot();
    copied.close().unwrap();
    assert_eq!(held.backup(at("third")).unwrap(), held.version());
    assert_eq!(opened(&at("third"), held.version()), rows(&held));
    assert!(matches!(copied.backup(at("fourth")), Err(Error::Closed)));
    assert!(!at("fourth/pages").exists());
}

#[test]
fn a_copy_needs_no_room_in_the_cache() {
    let dir = tempfile::tempdir().unwrap();
    let (home, to) = (dir.path().join("store"), dir.path().join("copy"));
    let store = Store::open(&home).unwrap();
    fill(&store, 0, 5_000);
    let expected = rows(&store.snapshot());
    store.close().unwrap();
    drop(store);
    let tight = Options::new().memory_map(false).cache_bytes(256 << 10).open(&home).unwrap();
    assert_eq!(tight.backup(&to).unwrap(), 1);
    assert_eq!(opened(&to, 1), expected);
}

#[test]
fn damage_is_never_copied() {
    let dir = tempfile::tempdir().unwrap();
    let home = dir.path().join("store");
    let store = Store::open(&home).unwrap();
    fill(&store, 0, 2_000);
    store.close().unwrap();
    let mut bytes = fs::read(home.join("pages")).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 4;
    fs::write(home.join("pages"), bytes).unwrap();
    for memory_map in [true, false] {
        let to = dir.path().join(format!("copy-{memory_map}"));
        let store = Options::new().memory_map(memory_map).open(&home).unwrap();
        assert!(matches!(store.backup(&to), Err(Error::Corrupt(_))));
        assert!(!to.join("pages").exists());
    }
}

/// A store in four versions, with everything that can change in between: entries of every size,
/// tables that come, go, and exchange names.
fn versions(store: &Store) -> Vec<Snapshot> {
    const LATE: Table<u64, u64> = Table::new("late");
    let mut held = vec![store.snapshot()];
    fill(store, 0, 2_000);
    store.write(|tx| tx.table(&LATE)?.insert(1, 1)).unwrap();
    held.push(store.snapshot());
    fill(store, 1_900, 2_100);
    store.write(|tx| tx.table(&NUMBERS)?.remove_range(300..350)).unwrap();
    for (from, to) in [("late", "between"), ("names", "late"), ("between", "names")] {
        assert!(store.rename_table(from, to).unwrap());
    }
    held.push(store.snapshot());
    assert!(store.drop_table("late").unwrap());
    store.write(|tx| tx.table(&NUMBERS)?.insert(7, b"other")).unwrap();
    store.write(|tx| tx.table(&LATE).map(drop)).unwrap();
    held.push(store.snapshot());
    held
}

#[test]
fn increments_lead_to_every_version_that_they_name() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    let store = Store::open(at("store")).unwrap();
    let held = versions(&store);
    held[0].backup(at("empty")).unwrap();
    held[1].backup(at("base")).unwrap();
    let mut files = Vec::new();
    for (number, pair) in held.windows(2).enumerate() {
        let made = pair[1].increment_since(&pair[0], at(&format!("{number}"))).unwrap();
        assert_eq!((made.base, made.target), (pair[0].version(), pair[1].version()));
        assert!(
            made.changes > 0 && made.bytes == fs::metadata(at(&format!("{number}"))).unwrap().len()
        );
        files.push(at(&format!("{number}")));
    }
    // In any order, and from any copy.
    files.reverse();
    for (base, first) in [("empty", 0), ("base", 1)] {
        for (number, snapshot) in held.iter().enumerate().skip(first) {
            let to = at(&format!("{base}-{number}"));
            let version = restore(at(base), &files, &to, Some(snapshot.version())).unwrap();
            assert_eq!(version, snapshot.version());
            assert_eq!(opened(&to, version), rows(snapshot), "{base} to {version}");
            assert_eq!(
                fs::read_dir(&to)
                    .unwrap()
                    .filter(|file| {
                        file.as_ref().unwrap().file_name().to_str().unwrap().starts_with("tmp-")
                    })
                    .count(),
                0
            );
        }
    }
    let newest = restore(at("empty"), &files, at("newest"), None).unwrap();
    assert_eq!(newest, held[3].version());
    // A copy, opened as a store, is as good a base as the snapshot was; and so is a restored one.
    for copy in ["base", "newest"] {
        let copied = Options::new().read_only(true).open(at(copy)).unwrap();
        store.write(|tx| tx.table(&NUMBERS)?.insert(5_000, b"more")).unwrap();
        let file = at(&format!("since-{copy}"));
        let made = store.backup_since(&copied.snapshot(), &file).unwrap();
        drop(copied);
        let to = at(&format!("again-{copy}"));
        assert_eq!(restore(at(copy), &[file], &to, None).unwrap(), made.target);
        assert_eq!(opened(&to, made.target), rows(&store.snapshot()));
    }
}

#[test]
fn increments_that_do_not_fit_are_refused_and_make_no_store() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    let store = Store::open(at("store")).unwrap();
    let held = versions(&store);
    held[0].backup(at("base")).unwrap();
    for number in 0..3 {
        held[number + 1].increment_since(&held[number], at(&format!("{number}"))).unwrap();
    }
    let mut round = 0;
    let mut refused = |base: &str, files: &[&str], version: Option<u64>| {
        round += 1;
        let to = at(&format!("to-{round}"));
        let files: Vec<_> = files.iter().map(|file| at(file)).collect();
        let error = restore(at(base), &files, &to, version).unwrap_err();
        assert!(!to.join("pages").exists());
        error
    };
    // A link that is missing, a version between links, one before the base.
    let last = held[3].version();
    assert!(matches!(refused("base", &["0", "2"], Some(last)), Error::Invalid(_)));
    assert!(matches!(refused("base", &["0", "2"], None), Error::Invalid(_)));
    assert!(matches!(refused("base", &["0", "1", "2"], Some(last - 1)), Error::Invalid(_)));
    assert!(matches!(refused("base", &[], Some(1)), Error::Invalid(_)));
    // Another store's.
    let other = Store::open(at("other")).unwrap();
    let others = versions(&other);
    others[1].increment_since(&others[0], at("foreign")).unwrap();
    assert!(matches!(refused("base", &["foreign"], None), Error::Invalid(_)));
    assert!(matches!(store.backup_since(&others[0], at("never")), Err(Error::Invalid(_))));
    assert!(matches!(held[0].increment_since(&held[1], at("never")), Err(Error::Invalid(_))));
    // A copy that something was written to.
    held[1].backup(at("changed")).unwrap();
    held[1].backup(at("unchanged")).unwrap();
    let changed = Store::open(at("changed")).unwrap();
    let made = changed.snapshot();
    changed.write(|tx| tx.table(&NUMBERS)?.remove(1_950)).unwrap();
    assert_eq!(changed.snapshot().version(), made.version() + 1);
    changed.close().unwrap();
    drop((changed, made));
    assert!(matches!(refused("changed", &["1"], Some(held[2].version())), Error::Invalid(_)));
    // Every kind of damage.
    let good = fs::read(at("1")).unwrap();
    let places = (0..good.len()).step_by(good.len() / 60).chain(0..72);
    let flips = places.map(|place| {
        let mut bytes = good.clone();
        bytes[place] ^= 16;
        bytes
    });
    let cuts = [0, 10, 64, 70, good.len() / 2, good.len() - 1].map(|len| good[..len].to_vec());
    let more = [&good[..], &[0; 8]].concat();
    for bytes in flips.chain(cuts).chain([more]) {
        fs::write(at("damaged"), bytes).unwrap();
        let error = refused("unchanged", &["damaged"], Some(held[2].version()));
        assert!(matches!(&error, Error::Corrupt(damage) if damage.file == "damaged"), "{error}");
    }
    // Nothing is written over.
    let again = store.backup_since(&held[0], at("1"));
    assert!(matches!(again, Err(Error::Io(io)) if io.source.kind() == ErrorKind::AlreadyExists));
    assert_eq!(fs::read(at("1")).unwrap(), good);
    let error = restore(at("base"), &[at("0")], at("other"), None).unwrap_err();
    assert!(matches!(error, Error::Io(io) if io.source.kind() == ErrorKind::AlreadyExists));
}
