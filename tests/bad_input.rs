//! Bad input is a typed error that says what and where, and changes nothing on disk.

use recto::{Batch, Durability, Error, Limit, Options, Result, Store, Table};
use std::{
    collections::BTreeMap,
    fs,
    io::ErrorKind,
    path::{Path, PathBuf},
    thread,
    time::{Duration, Instant},
};

const ROWS: Table<u64, &[u8]> = Table::new("rows");
const WORDS: Table<&str, &[u8]> = Table::new("words");

/// Every file of a directory but the one that only tells who held the store last. The end of the
/// first meta page, behind its 512 bytes of content, is what opening tries the map with: left out.
fn files(dir: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let entries = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path());
    let ours = entries.filter(|path| !path.ends_with("owner"));
    ours.map(|path| (path.clone(), content(&path))).collect()
}

fn content(path: &Path) -> Vec<u8> {
    let mut bytes = fs::read(path).unwrap();
    if path.ends_with("pages") && bytes.len() >= 4096 {
        bytes[512..4096].fill(0);
    }
    bytes
}

/// A store with rows 0 to 999, closed; its pages are in the page file.
fn closed_store(mark: u8) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    let store = Options::new().log_segment_bytes(64 << 10).open(dir.path()).unwrap();
    let value = [mark; 50];
    store.write(|tx| tx.table(&ROWS)?.extend((0..1000).map(|row| (row, &value[..])))).unwrap();
    store.close().unwrap();
    dir
}

/// A store with rows 0 to 999 that was killed, so to say: its files as they were while it was open.
fn crashed_store(mark: u8) -> tempfile::TempDir {
    let open = tempfile::tempdir().unwrap();
    let store = Options::new().log_segment_bytes(64 << 10).open(open.path()).unwrap();
    for first in (0..1000).step_by(100) {
        let mut batch = Batch::new();
        for row in first..first + 100 {
            batch.insert(&ROWS, row, &[mark; 50]);
        }
        store.submit(batch.durability(Durability::Sync)).unwrap().wait().unwrap();
    }
    let copy = tempfile::tempdir().unwrap();
    for (path, bytes) in files(open.path()) {
        fs::write(copy.path().join(path.file_name().unwrap()), bytes).unwrap();
    }
    copy
}

fn quick() -> Options {
    Options::new().lock_timeout(Duration::from_millis(50))
}

/// Opens, expecting an error, and that nothing was changed.
fn refused(options: Options, dir: &Path) -> Error {
    let before = files(dir);
    let refused = options.open(dir);
    let after = files(dir);
    let Err(error) = refused else { panic!("it was opened") };
    for (path, bytes) in &before {
        let now = after.get(path).unwrap_or_else(|| panic!("{} is gone", path.display()));
        assert!(now == bytes, "{} was changed by a refused opening: {error}", path.display());
    }
    for path in after.keys() {
        assert!(before.contains_key(path), "{} was made by a refused opening", path.display());
    }
    error
}

fn assert_rows(store: &Store, mark: u8) -> Result<()> {
    let snap = store.snapshot();
    let rows = snap.table(&ROWS)?;
    assert_eq!(rows.len()?, 1000);
    for (entry, expected) in rows.iter()?.zip(0..) {
        assert_eq!(entry?, (expected, &[mark; 50][..]));
    }
    store.check().map(drop)
}

/// The greatest position below `len` of `count` that are spread over a file.
fn spread(len: usize, count: usize) -> impl Iterator<Item = usize> {
    (0..count).map(move |n| n * len / count + (n * 37) % (len / count).max(1))
}

#[test]
fn a_directory_that_is_a_file() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("store");
    fs::write(&path, b"a text").unwrap();
    let Err(Error::Io(failure)) = Store::open(&path) else { panic!("opened a file") };
    assert!(
        matches!(failure.source.kind(), ErrorKind::NotADirectory | ErrorKind::AlreadyExists),
        "{failure:?}"
    );
    let message = Error::Io(failure).to_string();
    assert!(message.contains("store"), "no name in: {message}");
    assert_eq!(fs::read(&path).unwrap(), b"a text");
}

#[test]
fn a_store_that_is_not_there_and_may_not_be_created() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("store");
    assert!(matches!(Options::new().create(false).open(&path), Err(Error::Io(_))));
    assert!(!path.exists(), "it was created");
    assert!(matches!(refused(Options::new().create(false), dir.path()), Error::Io(_)));
}

#[test]
fn a_page_size_that_cannot_be_or_is_another() -> Result<()> {
    let dir = tempfile::tempdir().unwrap();
    for bytes in [0, 1, 512, 2048, 5000, 65_536, usize::MAX] {
        let path = dir.path().join("store");
        let Err(Error::Invalid(reason)) = Options::new().page_bytes(bytes).open(&path) else {
            panic!("pages of {bytes} bytes")
        };
        assert!(reason.contains(&bytes.to_string()), "no number in: {reason}");
        assert!(!path.exists(), "a store was created");
    }
    let dir = closed_store(1);
    let error = refused(Options::new().page_bytes(8192), dir.path());
    assert!(matches!(error, Error::Invalid(_)), "{error}");
    let message = error.to_string();
    assert!(message.contains("8192") && message.contains("4096"), "{message}");
    assert_rows(&Options::new().page_bytes(4096).open(dir.path())?, 1)
}

#[test]
fn limits_that_cannot_be() {
    let dir = tempfile::tempdir().unwrap();
    for options in [
        Options::new().dirty_bytes(1),
        Options::new().log_segment_bytes(1),
        Options::new().log_segment_bytes(u64::MAX),
        Options::new().queue_capacity(0),
    ] {
        let error = refused(options, dir.path());
        assert!(matches!(error, Error::Invalid(_)), "{error}");
    }
}

#[test]
fn a_locked_store_is_not_touched() -> Result<()> {
    let dir = tempfile::tempdir().unwrap();
    let store = Options::new().log_segment_bytes(64 << 10).open(dir.path())?;
    store.write(|tx| tx.table(&ROWS)?.insert(1, b"one"))?;
    // The open store itself makes a spare segment, in the background.
    let spare = dir.path().join("log-1");
    let began = Instant::now();
    while fs::metadata(&spare).map_or(0, |spare| spare.len()) < 64 << 10 {
        assert!(began.elapsed() < Duration::from_secs(60), "no spare segment");
        thread::yield_now();
    }
    let error = refused(quick(), dir.path());
    assert!(matches!(error, Error::Locked { pid: Some(_) }), "{error}");
    assert_eq!(store.get(&ROWS, 1)?, Some(b"one".to_vec()));
    Ok(())
}

#[test]
fn keys_values_and_names_that_are_too_large() -> Result<()> {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path())?;
    let longest = "k".repeat(65_536);
    store.write(|tx| tx.table(&WORDS)?.insert(&longest, &vec![5; 3_000_000]))?;
    assert_eq!(store.get(&WORDS, &longest)?, Some(vec![5; 3_000_000]));
    let too_long = "k".repeat(65_537);
    let key = store.write(|tx| tx.table(&WORDS)?.insert(&too_long, b""));
    assert!(
        matches!(key, Err(Error::TooLarge { what: Limit::Key, len: 65_537, max: 65_536 })),
        "{key:?}"
    );
    assert_eq!(store.get(&WORDS, &too_long)?, None);
    let removed = store.write(|tx| tx.table(&WORDS)?.remove(&too_long));
    assert!(matches!(removed, Ok(false) | Err(Error::TooLarge { .. })), "{removed:?}");
    let version = store.snapshot().version();
    let value = vec![0; (1 << 30) + 1];
    let refused = store.write(|tx| tx.table(&WORDS)?.insert("key", &value));
    assert!(
        matches!(
            refused,
            Err(Error::TooLarge { what: Limit::Value, len: 1_073_741_825, max: 1_073_741_824 })
        ),
        "{refused:?}"
    );
    let message = refused.unwrap_err().to_string();
    assert_eq!(message, "value of 1073741825 bytes exceeds the limit of 1073741824 bytes");
    drop(value);
    let named: Table<u64, u64> = Table::named("t".repeat(256));
    let refused = store.write(|tx| tx.table(&named)?.insert(1, 1));
    assert!(
        matches!(refused, Err(Error::TooLarge { what: Limit::TableName, len: 256, max: 255 })),
        "{refused:?}"
    );
    assert_eq!((store.snapshot().version(), store.tables()?), (version, vec!["words".to_owned()]));
    store.check()?;
    Ok(())
}

#[test]
fn a_table_of_other_types_names_both() -> Result<()> {
    let dir = closed_store(1);
    let store = Store::open(dir.path())?;
    let other: Table<&str, &[u8]> = Table::new("rows");
    let Err(Error::TypeMismatch(mismatch)) = store.get(&other, "1") else { panic!("mistyped") };
    let message = Error::TypeMismatch(mismatch).to_string();
    assert!(message.contains("u64") && message.contains("str"), "{message}");
    let written = store.write(|tx| tx.table(&other)?.insert("1", b""));
    assert!(matches!(written, Err(Error::TypeMismatch(_))), "{written:?}");
    assert_rows(&store, 1)
}

/// One meta page may rot: the other one opens the store, and both are good again afterwards.
#[test]
fn one_damaged_meta_page_is_mended() -> Result<()> {
    for slot in [0, 1] {
        for at in spread(512, 8) {
            let dir = closed_store(2);
            let pages = dir.path().join("pages");
            let mut bytes = fs::read(&pages).unwrap();
            bytes[slot * 4096 + at] ^= 0x10;
            fs::write(&pages, bytes).unwrap();
            let store = quick().open(dir.path()).unwrap_or_else(|e| panic!("{slot} {at}: {e}"));
            assert_rows(&store, 2)?;
            store.close()?;
            let mut bytes = fs::read(&pages).unwrap();
            bytes[(1 - slot) * 4096 + at] ^= 0x10;
            fs::write(&pages, bytes).unwrap();
            let store = quick().open(dir.path()).unwrap_or_else(|e| panic!("again {slot}: {e}"));
            assert_rows(&store, 2)?;
        }
    }
    Ok(())
}

#[test]
fn two_damaged_meta_pages_are_corrupt_and_never_a_new_store() {
    let dir = closed_store(3);
    let pages = dir.path().join("pages");
    let mut bytes = fs::read(&pages).unwrap();
    bytes[100] ^= 1;
    bytes[4096 + 100] ^= 1;
    fs::write(&pages, bytes).unwrap();
    let error = refused(quick(), dir.path());
    let Error::Corrupt(corruption) = &error else { panic!("{error}") };
    assert!(corruption.page.is_some(), "the page is not named: {error}");
    for garbage in [Vec::new(), vec![0; 8192], vec![0xA5; 20_000], b"pages".to_vec()] {
        fs::write(&pages, garbage).unwrap();
        let error = refused(quick(), dir.path());
        assert!(matches!(error, Error::Corrupt(_)), "{error}");
    }
}

/// Without the page file the log's segments tell that there was a store.
#[test]
fn a_missing_page_file_is_corrupt_and_never_a_new_store() {
    let dir = crashed_store(4);
    fs::remove_file(dir.path().join("pages")).unwrap();
    let error = refused(quick(), dir.path());
    assert!(matches!(error, Error::Corrupt(_)), "{error}");
}

#[test]
fn a_page_file_cut_short_is_corrupt() {
    let dir = closed_store(5);
    let pages = dir.path().join("pages");
    let bytes = fs::read(&pages).unwrap();
    for pages_left in [0, 1, 2, 3, 10, 15] {
        fs::write(&pages, &bytes[..pages_left * 4096]).unwrap();
        let opened = quick().open(dir.path()).and_then(|store| assert_rows(&store, 5));
        assert!(matches!(opened, Err(Error::Corrupt(_))), "{pages_left} pages: {opened:?}");
    }
}

/// Pages are seeded with their store's identity, so a page of another store is no page at all.
#[test]
fn pages_of_another_store_are_corrupt() {
    let (ours, other) = (closed_store(6), closed_store(7));
    let (our_pages, other_pages) = (ours.path().join("pages"), other.path().join("pages"));
    let (good, foreign) = (fs::read(&our_pages).unwrap(), fs::read(other_pages).unwrap());
    let mut found = 0;
    for page in 2..good.len().min(foreign.len()) / 4096 {
        let place = page * 4096..(page + 1) * 4096;
        if good[place.clone()] == foreign[place.clone()] {
            continue;
        }
        let mut mixed = good.clone();
        mixed[place.clone()].copy_from_slice(&foreign[place]);
        fs::write(&our_pages, mixed).unwrap();
        match quick().open(ours.path()).and_then(|store| assert_rows(&store, 6)) {
            Err(Error::Corrupt(_)) => found += 1,
            Ok(()) => {}
            Err(other) => panic!("page {page}: {other}"),
        }
    }
    assert!(found >= 15, "{found} foreign pages were found out");
}

/// The page file of another store beside this one's log.
#[test]
fn the_page_file_of_another_store_is_not_taken_for_ours() {
    let (ours, other) = (crashed_store(8), closed_store(9));
    fs::copy(other.path().join("pages"), ours.path().join("pages")).unwrap();
    let error = refused(quick(), ours.path());
    assert!(matches!(error, Error::Corrupt(_)), "{error}");
}

/// Two stores' meta pages in one file.
#[test]
fn meta_pages_of_two_stores_are_corrupt() {
    let (ours, other) = (closed_store(8), closed_store(9));
    let pages = ours.path().join("pages");
    let mut mixed = fs::read(&pages).unwrap();
    let foreign = fs::read(other.path().join("pages")).unwrap();
    mixed[4096..8192].copy_from_slice(&foreign[4096..8192]);
    fs::write(&pages, mixed).unwrap();
    let error = refused(quick(), ours.path());
    assert!(matches!(error, Error::Corrupt(_)), "{error}");
}

#[test]
fn a_crashed_store_opens_with_everything_that_was_answered() -> Result<()> {
    let dir = crashed_store(10);
    assert_rows(&quick().open(dir.path())?, 10)
}

/// A log whose records are named by nothing but their segments: one of those is taken away.
#[test]
fn a_deleted_log_segment_is_corrupt() {
    let dir = crashed_store(11);
    let segments: Vec<PathBuf> =
        files(dir.path()).into_keys().filter(|path| !path.ends_with("pages")).collect();
    assert!(segments.len() > 1, "the log has one segment: {segments:?}");
    let mut found = 0;
    for segment in segments {
        let copy = tempfile::tempdir().unwrap();
        for (path, bytes) in files(dir.path()) {
            if path != segment {
                fs::write(copy.path().join(path.file_name().unwrap()), bytes).unwrap();
            }
        }
        match quick().open(copy.path()) {
            Err(Error::Corrupt(_)) => {
                refused(quick(), copy.path());
                found += 1;
            }
            // A spare one, or one of whose records nothing tells that they were synced.
            Ok(store) => {
                println!("opened without {}: {:?}", segment.display(), store.stats().version);
            }
            Err(other) => panic!("{}: {other}", segment.display()),
        }
    }
    assert!(found >= 1, "no missing segment was found out");
}

/// One flipped bit anywhere, over a closed store: the right rows or `Corrupt`, nothing else.
#[test]
fn a_flipped_bit_in_the_page_file_is_found_or_harmless() {
    let dir = closed_store(12);
    let pages = dir.path().join("pages");
    let good = fs::read(&pages).unwrap();
    let mut corrupt = 0;
    // What was written of it: behind that the file has room to grow.
    let written = good.iter().rposition(|&byte| byte != 0).unwrap();
    for at in spread(written, 100) {
        let mut bytes = good.clone();
        bytes[at] ^= 1 << (at % 8);
        fs::write(&pages, bytes).unwrap();
        match quick().open(dir.path()).and_then(|store| assert_rows(&store, 12)) {
            Ok(()) => {}
            Err(Error::Corrupt(corruption)) => {
                assert_eq!(corruption.file, "pages");
                corrupt += 1;
            }
            Err(other) => panic!("byte {at}: {other}"),
        }
    }
    println!("{corrupt} of 100 flips were found, the others were in unused pages");
    assert!(corrupt > 50, "{corrupt} of 100 flips were found");
}
