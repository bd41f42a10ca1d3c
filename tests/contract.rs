//! The public contract, as users write it.

use recto::{Batch, Durability, Error, Options, Result, Snapshot, Store, Table};

const AGES: Table<&str, u64> = Table::new("ages");
const BLOBS: Table<&[u8], &[u8]> = Table::new("blobs");
const EDGES: Table<(u64, &str, u64), ()> = Table::new("edges");

#[test]
fn a_store_is_written_read_closed_and_found_again() -> Result<()> {
    let dir = tempfile::tempdir().unwrap();
    let store =
        Options::new().durability(Durability::Sync).queue_capacity(1000).open(dir.path())?;
    let n = store.write(|tx| {
        let mut ages = tx.table(&AGES)?;
        ages.insert("ada", 36)?;
        ages.insert_if_absent("ada", 37)?;
        ages.update("ada", |old| old.map(|n| n + 1))?;
        ages.extend([("x", 1), ("y", 2)])?;
        assert!(!ages.remove("bob")?);
        assert_eq!(ages.get("ada")?, Some(37));
        for entry in ages.range("a".."n")? {
            let (name, age) = entry?;
            assert_eq!((name, age), ("ada", 37));
        }
        ages.len()
    })?;
    assert_eq!(n, 3);
    let snap: Snapshot = store.snapshot();
    assert_eq!(snap.version(), 1);
    let mut batch = Batch::new();
    batch.insert(&AGES, "alan", 41).remove(&AGES, "bob").remove_range(&AGES, "x".."z");
    batch.insert(&BLOBS, b"k", b"v").insert(&EDGES, (1, "knows", 2), ());
    let commit = store.submit(batch.durability(Durability::Sync))?;
    assert_eq!(commit.wait()?, 2);
    assert_eq!(snap.table(&AGES)?.len()?, 3);
    let closed = store.close()?;
    assert_eq!((closed.version, closed.snapshots), (2, 1));
    assert!(matches!(store.get(&AGES, "ada"), Err(Error::Closed)));
    assert_eq!(snap.table(&AGES)?.get("x")?, Some(1), "snapshots live on");
    drop(snap);
    let again = Store::open(dir.path())?;
    assert_eq!(again.snapshot().version(), 2);
    assert_eq!(again.get(&AGES, "alan")?, Some(41));
    assert_eq!(again.get(&AGES, "x")?, None);
    assert_eq!(again.tables()?, ["ages", "blobs", "edges"]);
    Ok(())
}

#[test]
fn a_checked_store_accounts_for_every_page() -> Result<()> {
    let dir = tempfile::tempdir().unwrap();
    let store = Options::new().dirty_bytes(256 * 1024).open(dir.path())?;
    for round in 0..20u64 {
        store.write(|tx| {
            let mut edges = tx.table(&EDGES)?;
            for n in 0..2000 {
                edges.insert((n * 7919 % 5000, "knows", round), ())?;
            }
            edges.remove_range((round * 100, "", 0)..(round * 100 + 50, "", 0))?;
            Ok(())
        })?;
        let big = vec![round as u8; 100_000];
        store.write(|tx| tx.table(&BLOBS)?.insert(&round.to_be_bytes()[..], &big))?;
        if round % 3 == 0 {
            store.checkpoint()?;
        }
        let report = store.check()?;
        assert_eq!(report.version, store.snapshot().version());
    }
    store.close()?;
    let store = Store::open(dir.path())?;
    let report = store.check()?;
    assert_eq!(report.tables, 2);
    Ok(())
}

#[test]
fn a_store_opened_to_be_read_shows_the_log_and_changes_nothing() -> Result<()> {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path())?;
    store.write(|tx| tx.table(&AGES)?.insert("ada", 36))?;
    store.checkpoint()?;
    for n in 0..500 {
        store.write_with(Durability::None, |tx| tx.table(&AGES)?.insert(&format!("n{n}"), n))?;
    }
    store.sync()?;
    // A copy of a running store is what a crash leaves.
    let copy = tempfile::tempdir().unwrap();
    let files = || std::fs::read_dir(dir.path()).unwrap().map(|entry| entry.unwrap().path());
    for path in files() {
        std::fs::copy(&path, copy.path().join(path.file_name().unwrap())).unwrap();
    }
    let bytes_of = |dir: &std::path::Path| {
        let mut all: Vec<_> = std::fs::read_dir(dir)
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .map(|path| (path.clone(), std::fs::read(path).unwrap()))
            .collect();
        all.sort();
        all
    };
    let before = bytes_of(copy.path());
    let readers: Vec<Store> =
        (0..2).map(|_| Options::new().read_only(true).open(copy.path())).collect::<Result<_>>()?;
    for reader in &readers {
        assert_eq!(reader.snapshot().version(), 501);
        assert_eq!(reader.get(&AGES, "n499")?, Some(499));
        assert!(matches!(reader.write(|tx| tx.table(&AGES)?.clear()), Err(Error::Invalid(_))));
        let busy = Options::new().lock_timeout(std::time::Duration::ZERO).open(copy.path());
        assert!(matches!(busy, Err(Error::Locked { .. })));
    }
    drop(readers);
    assert!(before == bytes_of(copy.path()), "reading changed the directory");
    assert_eq!(Store::open(copy.path())?.get(&AGES, "ada")?, Some(36));
    let none = tempfile::tempdir().unwrap();
    assert!(Options::new().read_only(true).open(none.path()).is_err());
    store.close()?;
    Ok(())
}

#[test]
fn asking_for_durable_brings_a_sync_that_nobody_promised() -> Result<()> {
    let dir = tempfile::tempdir().unwrap();
    let store = Options::new().durability(Durability::None).open(dir.path())?;
    let mut batch = Batch::new();
    batch.insert(&AGES, "ada", 36);
    let commit = store.submit(batch)?;
    assert_eq!(commit.visible().wait()?, 1);
    let before = store.stats().durable_version;
    assert_eq!(commit.durable().wait()?, 1);
    assert!(before <= store.stats().durable_version && store.stats().durable_version >= 1);
    Ok(())
}

#[test]
fn opening_removes_no_file_of_somebody_else() -> Result<()> {
    let dir = tempfile::tempdir().unwrap();
    let theirs = ["tmp-mine.txt", "tmp-", "pages.txt", "tmp-pages-of-mine", "log"];
    for name in theirs {
        std::fs::write(dir.path().join(name), name).unwrap();
    }
    for _ in 0..2 {
        Options::new().open(dir.path())?.close()?;
    }
    for name in theirs {
        assert_eq!(std::fs::read_to_string(dir.path().join(name)).unwrap(), name);
    }
    Ok(())
}
