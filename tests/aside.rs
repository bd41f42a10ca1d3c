//! A damaged store is refused, or set aside with nothing of it lost: by kind of damage, and with
//! the power cut after every operation of the setting aside and of what follows a first cut.

use recto::{
    Error, Event, LogRecovery, OnCorruption, Options, Result, Store, Table,
    internals::storage::Storage, simulation::SimDisk,
};
use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    sync::{Arc, Mutex},
};

const AGES: Table<&str, u64> = Table::new("ages");
const PAGE_BYTES: usize = 4096;
const PAGES: &str = "pages";

type Files = BTreeMap<String, Vec<u8>>;
type Heard = Arc<Mutex<Vec<Event>>>;

fn options() -> Options {
    Options::new()
        .page_bytes(PAGE_BYTES)
        .dirty_bytes(256 << 10)
        .log_segment_bytes(16 << 10)
        .memory_map(false)
}

fn setting_aside() -> (Options, Heard) {
    let heard = Heard::default();
    let told = Arc::clone(&heard);
    let options = options()
        .on_corruption(OnCorruption::SetAside)
        .on_event(move |event| told.lock().unwrap().push(event.clone()));
    (options, heard)
}

fn files(disk: &SimDisk) -> Files {
    let read = |name: String| {
        let file = disk.open(&name).unwrap();
        let mut bytes = vec![0; file.len().unwrap() as usize];
        file.read_at(&mut bytes, 0).unwrap();
        (name, bytes)
    };
    disk.list().unwrap().into_iter().map(read).collect()
}

fn disk(files: &Files) -> SimDisk {
    let disk = SimDisk::new();
    for (name, bytes) in files {
        let file = disk.create(name).unwrap();
        file.allocate(bytes.len() as u64).unwrap();
        file.write_at(bytes, 0).unwrap();
    }
    disk.settle();
    disk
}

/// A store that was killed with a log of several segments, beside another store's checkpoint.
fn killed() -> Files {
    let disk = SimDisk::new();
    let store = options().open_simulated(&disk).unwrap();
    let write = |i: u64| {
        store.write(|tx| {
            let mut ages = tx.table(&AGES)?;
            (0..100).try_for_each(|j| ages.insert(&format!("{i} {j}"), j).map(drop))
        })
    };
    (0..3).try_for_each(write).unwrap();
    store.checkpoint().unwrap();
    (3..12).try_for_each(write).unwrap();
    let files = files(&disk);
    assert!(files.keys().filter(|name| name.starts_with("log-")).count() > 1, "several segments");
    files
}

/// The bytes of the last meta page's catalog turned over, so that opening notices.
fn spoil_catalog(files: &mut Files) {
    let pages = files.get_mut(PAGES).unwrap();
    for page in pages[2 * PAGE_BYTES..].chunks_mut(PAGE_BYTES) {
        page[100] ^= 0xFF;
    }
}

fn flip(files: &mut Files, name: &str, at: usize) {
    files.get_mut(name).unwrap()[at] ^= 1;
}

fn first_log(files: &Files) -> String {
    files.keys().find(|name| name.starts_with("log-")).unwrap().clone()
}

#[test]
fn each_kind_of_damage_is_refused_or_set_aside() {
    type Damage = fn(&mut Files);
    let damages: [(&str, Damage); 6] = [
        ("the catalog", spoil_catalog),
        ("both meta pages", |files| {
            flip(files, PAGES, 30);
            flip(files, PAGES, PAGE_BYTES + 30);
        }),
        ("the page file cut", |files| files.get_mut(PAGES).unwrap().truncate(3 * PAGE_BYTES)),
        ("the page file away", |files| drop(files.remove(PAGES))),
        ("garbage", |files| files.get_mut(PAGES).unwrap().fill(0xA5)),
        ("the log away", |files| files.retain(|name, _| name == PAGES)),
    ];
    for (name, damage) in damages {
        let mut found = killed();
        damage(&mut found);
        let refused = disk(&found);
        let error = options().open_simulated(&refused).unwrap_err();
        assert!(matches!(error, Error::Corrupt(_)), "{name}: {error}");
        let kept = disk(&found);
        let (setting_aside, heard) = setting_aside();
        let store = setting_aside.open_simulated(&kept).unwrap();
        assert!(store.tables().unwrap().is_empty(), "{name}");
        store.write(|tx| tx.table(&AGES)?.insert("new", 1)).unwrap();
        store.close().unwrap();
        let left = files(&kept);
        for (file, bytes) in &found {
            let moved = &left[&format!("damaged-1-{file}")];
            // Recovery writes a good meta page again, to both slots.
            let from = if file == PAGES { 2 * PAGE_BYTES.min(bytes.len() / 2) } else { 0 };
            assert!(moved[from..] == bytes[from..], "{name}: {file} has changed");
        }
        let heard = heard.lock().unwrap();
        let [Event::SetAside { error, prefix }] = &heard[..] else { panic!("{name}: {heard:?}") };
        assert!(matches!(error, Error::Corrupt(_)) && prefix == "damaged-1-", "{name}: {error}");
        let again = options().open_simulated(&kept).unwrap();
        assert_eq!(again.get(&AGES, "new").unwrap(), Some(1), "{name}");
    }
}

#[test]
fn damage_that_opening_does_not_read_is_found_by_a_check_on_opening() -> Result<()> {
    let dir = tempfile::tempdir().unwrap();
    for round in 1..3 {
        let store = options().memory_map(true).open(dir.path())?;
        store.write(|tx| tx.table(&AGES)?.extend((0..500).map(|i| (LONG[i], i as u64))))?;
        store.close()?;
        let path = dir.path().join(PAGES);
        let mut bytes = fs::read(&path).unwrap();
        // A leaf: the catalog and the list of free space are runs.
        let is_leaf = |page: &usize| bytes[page * PAGE_BYTES + 20] == 1;
        let leaf = (2..bytes.len() / PAGE_BYTES).find(is_leaf).unwrap();
        bytes[leaf * PAGE_BYTES + 2000] ^= 1;
        fs::write(&path, bytes).unwrap();
        let store = options().open(dir.path())?;
        assert!(matches!(store.check(), Err(Error::Corrupt(_))));
        store.close()?;
        let checked = options().check_on_open(true).open(dir.path());
        assert!(matches!(checked, Err(Error::Corrupt(_))), "{checked:?}");
        let (setting_aside, heard) = setting_aside();
        let store = setting_aside.check_on_open(true).open(dir.path())?;
        assert!(store.tables()?.is_empty());
        store.close()?;
        assert!(dir.path().join(format!("damaged-{round}-{PAGES}")).exists());
        assert_eq!(heard.lock().unwrap().len(), 1);
    }
    Ok(())
}

static LONG: std::sync::LazyLock<Vec<&'static str>> =
    std::sync::LazyLock::new(|| (0..500).map(|i| &*format!("{i:0100}").leak()).collect());

#[test]
fn what_is_whole_or_not_to_be_changed_is_never_set_aside() {
    let (whole, found) = (disk(&killed()), killed());
    let (setting_aside, heard) = setting_aside();
    let store = setting_aside.clone().open_simulated(&whole).unwrap();
    assert_eq!(store.get(&AGES, "11 7").unwrap(), Some(7));
    store.close().unwrap();
    let mut spoilt = found;
    spoil_catalog(&mut spoilt);
    let read = disk(&spoilt);
    let refused = setting_aside.clone().read_only(true).open_simulated(&read);
    assert!(matches!(refused, Err(Error::Corrupt(_))));
    assert!(files(&read) == spoilt, "a reader has changed something");
    // Another size of pages is a mistake of the caller's, not damage.
    let invalid = setting_aside.page_bytes(8192).open_simulated(&whole);
    assert!(matches!(invalid, Err(Error::Invalid(_))));
    assert!(heard.lock().unwrap().is_empty());
}

#[test]
fn a_torn_log_is_tolerated_or_refused() {
    let mut files = killed();
    // The body of the last record: its end is not written.
    let meta_only = |files: &Files| {
        let disk = disk(files);
        let store = options().open_simulated(&disk).unwrap();
        store.snapshot().version()
    };
    let whole = meta_only(&files);
    let strict = |files: &Files| {
        options().log_recovery(LogRecovery::Strict).open_simulated(&disk(files)).map(drop)
    };
    strict(&files).unwrap();
    let newest = files
        .iter()
        .filter(|(name, _)| name.starts_with("log-"))
        .map(|(name, bytes)| (name.clone(), bytes.iter().rposition(|&byte| byte != 0).unwrap_or(0)))
        .filter(|(_, end)| *end > 512)
        .collect::<Vec<_>>();
    let torn = newest.iter().any(|(name, end)| {
        let before = files.clone();
        files.get_mut(name).unwrap()[end - 600..=*end].fill(0);
        let is_last = options()
            .open_simulated(&disk(&files))
            .is_ok_and(|store| store.snapshot().version() == whole - 1);
        if is_last {
            assert!(matches!(strict(&files), Err(Error::Corrupt(_))), "{name} at {end}");
        }
        files = before;
        is_last
    });
    assert!(torn, "one segment holds the last record");
}

/// What must never be lost: each file of the damaged store, under its name or aside.
fn everything_is_kept(found: &Files, left: &Files) -> Result<(), String> {
    for (name, bytes) in found {
        let places: Vec<&String> = left
            .keys()
            .filter(|kept| *kept == name || kept.ends_with(&format!("-{name}")))
            .filter(|kept| {
                let from = if name == PAGES { 2 * PAGE_BYTES } else { 0 };
                left[*kept].get(from..) == bytes.get(from..)
            })
            .collect();
        if places.is_empty() {
            return Err(format!("{name} is lost; there are {:?}", left.keys()));
        }
    }
    Ok(())
}

/// Whatever a cut leaves: refused as damaged, or the damaged store is aside whole and the one in
/// its place is empty; and setting aside goes on from there.
fn judge(found: &Files, image: &SimDisk) -> Result<(), String> {
    everything_is_kept(found, &files(image))?;
    let aside: BTreeSet<String> =
        files(image).into_keys().filter(|name| name.starts_with("damaged-")).collect();
    let copy = disk(&files(image));
    match options().open_simulated(&copy) {
        Err(Error::Corrupt(_)) => {}
        Err(error) => return Err(format!("refused with {error}")),
        Ok(store) => {
            let is_empty = store.tables().map_err(|e| e.to_string())?.is_empty();
            if !is_empty || aside.len() != found.len() {
                return Err(format!("opened with {aside:?} aside"));
            }
        }
    }
    let (setting_aside, _) = setting_aside();
    let store = setting_aside.open_simulated(image).map_err(|e| format!("not set aside: {e}"))?;
    if !store.tables().map_err(|e| e.to_string())?.is_empty() {
        return Err("the new store is not empty".to_owned());
    }
    drop(store);
    everything_is_kept(found, &files(image))
}

/// Opens `start` and cuts the power after each operation; deeper, again over what that opening did.
fn cut_everywhere(found: &Files, start: &SimDisk, depth: u32, images: &mut u64) {
    start.settle();
    let (setting_aside, _) = setting_aside();
    drop(setting_aside.open_simulated(start).map(|store: Store| store.close()));
    for cut in start.cuts() {
        let at = cut.at();
        for (i, image) in cut.new_images(at as u64).take(40).enumerate() {
            *images += 1;
            if let Err(reason) = judge(found, &image.disk()) {
                let last = at.checked_sub(1).and_then(|at| start.describe(at));
                panic!("cut {at} (after {last:?}), image {i}, {depth} more deep: {reason}");
            }
            if depth > 0 && i % 8 == 0 {
                cut_everywhere(found, &image.disk(), depth - 1, images);
            }
        }
    }
}

#[test]
fn setting_aside_survives_any_power_cut() {
    let mut images = 0;
    // Damage in the catalog; and in the log, where a segment that is gone must not make the rest
    // pass for whole.
    let mut spoilt = killed();
    spoil_catalog(&mut spoilt);
    cut_everywhere(&spoilt, &disk(&spoilt), 1, &mut images);
    let mut broken = killed();
    let log = first_log(&broken);
    let bytes = broken.get_mut(&log).unwrap();
    let end = bytes.iter().rposition(|&byte| byte != 0).unwrap();
    bytes[end / 2..].fill(0);
    let opened = options().open_simulated(&disk(&broken));
    assert!(matches!(opened, Err(Error::Corrupt(_))), "{opened:?}");
    cut_everywhere(&broken, &disk(&broken), 0, &mut images);
    println!("set aside: {images} images, 0 bad");
}
