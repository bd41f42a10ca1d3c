//! What only a real directory can show.

use super::*;
use std::{os::unix::fs::PermissionsExt, time::Instant};

const NOW: Duration = Duration::ZERO;

fn io_kind(error: &Error) -> io::ErrorKind {
    match error {
        Error::Io(failure) => failure.source.kind(),
        other => panic!("not an error of the operating system: {other}"),
    }
}

#[test]
fn files_are_readable_by_their_owner_alone() {
    let place = tempfile::tempdir().unwrap();
    let path = place.path().join("a/b/store");
    let storage = FileStorage::new(&path).unwrap();
    let file = storage.create("pages").unwrap();
    file.lock(LockMode::Exclusive, NOW).unwrap();
    for (name, mode) in [("", 0o700), ("pages", 0o600), (options::OWNER_FILE, 0o600)] {
        let metadata = fs::metadata(path.join(name)).unwrap();
        assert_eq!(metadata.permissions().mode() & 0o777, mode, "{name}");
    }
}

#[test]
fn every_directory_that_was_made_is_synced_into_its_parent() {
    let place = tempfile::tempdir().unwrap();
    let real = place.path().canonicalize().unwrap();
    let waiting = |storage: &FileStorage| -> Vec<PathBuf> {
        let parents = lock(&storage.directory.parents);
        parents.iter().map(|parent| parent.path.clone()).collect()
    };
    let storage = FileStorage::new(&real.join("a/b")).unwrap();
    assert_eq!(waiting(&storage), [real.join("a"), real.clone()]);
    storage.sync_dir().unwrap();
    assert!(waiting(&storage).is_empty());
    let again = FileStorage::existing(&real.join("a/b")).unwrap();
    assert_eq!(waiting(&again), [real.join("a")]);
    again.sync_dir().unwrap();
}

#[test]
fn a_file_in_the_way_and_an_absent_directory_are_told_apart() {
    let place = tempfile::tempdir().unwrap();
    let path = place.path().join("file");
    fs::write(&path, "not a store").unwrap();
    for opened in [
        FileStorage::new(&path),
        FileStorage::existing(&path),
        FileStorage::new(&path.join("below")),
    ] {
        let error = opened.err().unwrap();
        assert_eq!(io_kind(&error), io::ErrorKind::NotADirectory);
        assert!(error.to_string().contains("a file is in its place"), "{error}");
    }
    let absent = FileStorage::existing(&place.path().join("absent"));
    assert!(absent.err().unwrap().is_not_found());
}

#[test]
fn a_second_opener_in_the_same_process_is_told_our_own_pid() {
    let place = tempfile::tempdir().unwrap();
    let path = place.path().join("store");
    let link = place.path().join("link");
    let storage = FileStorage::new(&path).unwrap();
    std::os::unix::fs::symlink(&path, &link).unwrap();
    let first = storage.create("pages").unwrap();
    first.lock(LockMode::Exclusive, NOW).unwrap();

    let second = FileStorage::existing(&link).unwrap().open("pages").unwrap();
    let started = Instant::now();
    for mode in [LockMode::Exclusive, LockMode::Shared] {
        let refused = second.lock(mode, Duration::from_millis(30));
        let own = Some(process::id());
        assert!(matches!(refused, Err(Error::Locked { pid }) if pid == own));
    }
    assert!(started.elapsed() >= Duration::from_millis(60));
    drop(first);
    second.lock(LockMode::Exclusive, NOW).unwrap();
}

#[test]
fn a_waiter_gets_the_lock_when_it_is_let_go() {
    let place = tempfile::tempdir().unwrap();
    let storage = FileStorage::new(place.path()).unwrap();
    let first = storage.create("pages").unwrap();
    first.lock(LockMode::Exclusive, NOW).unwrap();
    let second = storage.open("pages").unwrap();
    let letting_go = crate::sync::thread::spawn("owner", move || {
        crate::sync::thread::sleep(Duration::from_millis(20));
        drop(first);
    });
    second.lock(LockMode::Exclusive, Duration::from_secs(30)).unwrap();
    letting_go.unwrap().join().unwrap();
}

#[test]
fn readers_share_and_leave_no_stale_pid() {
    let place = tempfile::tempdir().unwrap();
    let storage = FileStorage::new(place.path()).unwrap();
    drop(storage.create("pages").unwrap());
    fs::write(place.path().join(options::OWNER_FILE), "77777\n").unwrap();
    let readers = [storage.open("pages").unwrap(), storage.open("pages").unwrap()];
    for reader in &readers {
        reader.lock(LockMode::Shared, NOW).unwrap();
    }
    let writer = storage.open("pages").unwrap();
    let refused = writer.lock(LockMode::Exclusive, NOW);
    assert!(matches!(refused, Err(Error::Locked { pid: None })));
    // Asking who is in the way has left no lock behind.
    drop(readers);
    let other = storage.open("pages").unwrap();
    other.lock(LockMode::Exclusive, NOW).unwrap();
}

#[test]
fn a_damaged_owner_file_names_nobody() {
    let place = tempfile::tempdir().unwrap();
    let storage = FileStorage::new(place.path()).unwrap();
    let owner = place.path().join(options::OWNER_FILE);
    for text in ["", "-1", "12 34", "99999999999999999999999"] {
        fs::write(&owner, text).unwrap();
        assert_eq!(storage.directory.owner(), None, "{text}");
    }
    fs::write(&owner, [0xFF; 4]).unwrap();
    assert_eq!(storage.directory.owner(), None);
    storage.directory.set_owner(42).unwrap();
    assert_eq!(storage.directory.owner(), Some(42));
}

#[test]
fn the_lock_lasts_as_long_as_the_map() {
    let place = tempfile::tempdir().unwrap();
    let storage = FileStorage::new(place.path()).unwrap();
    let file = storage.create("pages").unwrap();
    file.lock(LockMode::Exclusive, NOW).unwrap();
    let map = file.map().unwrap();
    drop(file);
    let next = storage.open("pages").unwrap();
    assert!(matches!(next.lock(LockMode::Exclusive, NOW), Err(Error::Locked { .. })));
    drop(map);
    next.lock(LockMode::Exclusive, NOW).unwrap();
}

#[test]
fn the_map_follows_growth_writes_and_cuts() {
    let place = tempfile::tempdir().unwrap();
    let file = FileStorage::new(place.path()).unwrap().create("pages").unwrap();
    let map = file.map().unwrap();
    assert_eq!(map.bytes(0, 1), None);
    file.allocate(8192).unwrap();
    file.write_at(b"recto", 4096).unwrap();
    assert_eq!(map.bytes(4096, 5), Some(&b"recto"[..]));
    assert_eq!(map.bytes(8191, 2), None);
    file.allocate(1 << 20).unwrap();
    assert_eq!(map.bytes((1 << 20) - 1, 1), Some(&[0][..]));
    file.truncate(4096).unwrap();
    assert_eq!(map.bytes(4096, 5), None);
    file.allocate(8192).unwrap();
    assert_eq!(map.bytes(4096, 5), Some(&[0; 5][..]));
    assert!(Arc::ptr_eq(&map, &file.map().unwrap()));
}

#[test]
fn growth_takes_its_space_on_the_device() {
    let place = tempfile::tempdir().unwrap();
    let storage = FileStorage::new(place.path()).unwrap();
    let file = storage.create("pages").unwrap();
    file.allocate(1 << 20).unwrap();
    let metadata = fs::metadata(place.path().join("pages")).unwrap();
    assert!(metadata.blocks() * 512 >= 1 << 20);
}

#[test]
fn growth_written_out_is_the_same_as_growth_reserved() {
    let file = tempfile::tempfile().unwrap();
    file.write_all_at(b"kept", 0).unwrap();
    let end = 3 * ZERO_BYTES as u64 + 100;
    write_zeros(&file, 4, end).unwrap();
    assert_eq!(file.metadata().unwrap().len(), end);
    let mut bytes = vec![1; end as usize];
    file.read_exact_at(&mut bytes, 0).unwrap();
    assert_eq!(&bytes[..4], b"kept");
    assert!(bytes[4..].iter().all(|byte| *byte == 0));
}

#[test]
fn a_growth_that_fails_leaves_the_length() {
    let place = tempfile::tempdir().unwrap();
    let file = FileStorage::new(place.path()).unwrap().create("pages").unwrap();
    file.allocate(4096).unwrap();
    // More than any file system gives to one file.
    assert!(file.allocate(1 << 62).is_err());
    assert_eq!(file.len().unwrap(), 4096);
}

#[test]
fn a_directory_moved_while_open_is_still_the_one_written() {
    let place = tempfile::tempdir().unwrap();
    let (before, after) = (place.path().join("before"), place.path().join("after"));
    let storage = FileStorage::new(&before).unwrap();
    fs::rename(&before, &after).unwrap();
    fs::create_dir(&before).unwrap();
    storage.create("log-1").unwrap();
    assert!(after.join("log-1").exists());
    assert!(!before.join("log-1").exists());
}
