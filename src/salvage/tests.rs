//! Stores damaged in every way that the check knows, page by page, cut short, and with their log
//! damaged: what is salvaged was there, what is lost was on what was damaged, and a report that
//! says that nothing was lost is right.

use super::{source::Beside, *};
use crate::{
    check::planted::{CLASSES, PAGE_BYTES, Planted, fill, options},
    options::LOG_PREFIX,
    page,
    publish::Version,
    storage::{LockMode, StorageFile, map::Map, memory::MemoryStorage},
    sync::atomic::{AtomicU64, Ordering},
    table::Table,
};
use std::{io, time::Duration};

const AGES: Table<u64, &[u8]> = Table::new("ages");
const NAMES: Table<u64, &str> = Table::new("names");

type Content = BTreeMap<(String, Vec<u8>), Vec<u8>>;

fn content(store: &Store) -> Content {
    let (snapshot, mut content) = (store.snapshot(), Content::new());
    for name in snapshot.tables().unwrap() {
        let table = snapshot.raw_table(&name).unwrap().unwrap();
        for entry in table.range(Bound::Unbounded, Bound::Unbounded).unwrap() {
            let (key, value) = entry.unwrap();
            content.insert((name.clone(), key.to_vec()), value.to_vec());
        }
    }
    content
}

/// Trees of two levels, runs, a log; and old images of pages, in which removed keys are.
fn killed() -> (Arc<dyn Storage>, Content, Content) {
    let storage: Arc<dyn Storage> = Arc::new(MemoryStorage::new());
    let store = options().open_storage(&storage).unwrap();
    for round in 0..3u8 {
        let written = store.write(|tx| {
            let mut ages = tx.table(&AGES)?;
            let value = [round; 100];
            ages.extend((0..300).map(|i| (i * 3 + u64::from(round), &value[..])))?;
            ages.remove_range(u64::from(round) * 60..u64::from(round) * 60 + 20)?;
            ages.insert(5000 + u64::from(round), &[round; 9000])?;
            tx.table(&NAMES)?.insert(u64::from(round), "name")
        });
        written.unwrap();
        store.checkpoint().unwrap();
    }
    let before = content(&store);
    store.write(|tx| tx.table(&AGES)?.insert(9000, b"in the log")).unwrap();
    store.write(|tx| tx.table(&AGES)?.remove_range(0..10).map(drop)).unwrap();
    store.rename_table("names", "called").unwrap();
    let after = content(&store);
    let copy: Arc<dyn Storage> = Arc::new(MemoryStorage::new());
    for name in storage.list().unwrap() {
        let file = storage.open(&name).unwrap();
        let mut bytes = vec![0; file.len().unwrap() as usize];
        file.read_at(&mut bytes, 0).unwrap();
        let to = copy.create(&format!("damaged-1-{name}")).unwrap();
        to.allocate(bytes.len() as u64).unwrap();
        to.write_at(&bytes, 0).unwrap();
    }
    (copy, before, after)
}

fn salvaged(files: &Arc<dyn Storage>) -> Result<(SalvageReport, Content)> {
    let target = Store::in_memory()?;
    let report = from_storage(&Beside::new(Arc::clone(files), "damaged-1-"), &target)?;
    target.check()?;
    Ok((report, content(&target)))
}

fn flip(files: &Arc<dyn Storage>, at: u64) {
    let file = files.open(&format!("damaged-1-{PAGE_FILE}")).unwrap();
    let mut byte = [0];
    file.read_at(&mut byte, at).unwrap();
    file.write_at(&[byte[0] ^ 0x10], at).unwrap();
}

#[test]
fn a_whole_store_is_salvaged_whole_and_left_as_it_was() {
    let (files, _, expected) = killed();
    let (report, found) = salvaged(&files).unwrap();
    assert!(report.is_whole(), "{report:?}");
    assert!(found == expected);
    assert_eq!((report.tables, report.log_records, report.damaged_pages), (2, 3, 0));
    let full = Store::in_memory().unwrap();
    full.write(|tx| tx.table(&NAMES)?.insert(1, "there")).unwrap();
    let refused = from_storage(&Beside::new(files, "damaged-1-"), &full);
    assert!(matches!(refused, Err(Error::Invalid(_))));
}

/// What holds whatever was damaged: a report of a whole store is right, and so is every entry that
/// is not counted as uncertain.
fn is_honest(what: &str, report: &SalvageReport, found: &Content, expected: &Content) -> usize {
    let wrong = found.iter().filter(|(key, value)| expected.get(*key) != Some(*value)).count();
    let lost = expected.iter().filter(|(key, _)| !found.contains_key(*key)).count();
    assert!(!report.is_whole() || (wrong, lost) == (0, 0), "{what}: {wrong} wrong, {lost} lost");
    // Under a name that is lost an entry is not where it was, but that is told, too.
    let renamed = report.nameless_tables > 0 || found.keys().any(|(name, _)| name.contains('-'));
    assert!(wrong as u64 <= report.uncertain_entries || renamed, "{what}: {wrong}, {report:?}");
    lost
}

#[test]
fn each_damaged_page_costs_no_more_than_was_on_it() {
    let (files, _, expected) = killed();
    let pages = Source::open(&Beside::new(Arc::clone(&files), "damaged-1-")).unwrap();
    let (mut hurt, mut harmless) = (0, 0);
    for page in 0..pages.meta.as_ref().unwrap().page_count {
        let at = PageId(page).offset(PAGE_BYTES) + 40;
        let kind = pages.page(PageId(page)).ok().and_then(|bytes| page::kind(&bytes));
        flip(&files, at);
        let (report, found) = salvaged(&files).unwrap();
        let lost = is_honest(&format!("page {page}"), &report, &found, &expected);
        if report.uncertain_entries == 0 {
            assert!(found.iter().all(|(key, value)| expected.get(key) == Some(value)));
        }
        hurt += u32::from(!report.is_whole());
        harmless += u32::from(report.is_whole() && report.broken_links > 0);
        match kind {
            Some(page::Kind::Leaf) => assert!(lost <= 40, "page {page}: a leaf, {lost} are lost"),
            Some(page::Kind::Branch) => assert!(lost == 0, "page {page}: a branch, {lost} lost"),
            // A run's page, a meta page, or nothing's: at most one value.
            _ => assert!(lost <= 1, "page {page}: {lost} are lost"),
        }
        flip(&files, at);
    }
    assert!(hurt > 10 && harmless > 0, "{hurt} pages mattered, {harmless} branches cost nothing");
}

#[test]
fn of_every_class_of_planted_damage_the_rest_is_saved() {
    let whole = Store::in_memory().unwrap();
    fill(&whole);
    let expected = content(&whole);
    for (class, plant, _) in CLASSES {
        let mut planted = Planted::new();
        plant(&mut planted);
        planted.write();
        let target = Store::in_memory().unwrap();
        let report = from_storage(&Beside::new(planted.storage, ""), &target).unwrap();
        target.check().unwrap();
        let found = content(&target);
        let lost = is_honest(class, &report, &found, &expected);
        println!(
            "{class}: {lost} lost, {} uncertain, {}",
            report.uncertain_entries,
            report.is_whole()
        );
        // One leaf of many, or what lies beside the trees; of a table's only page all of it.
        assert!(lost <= 40, "{class}: {lost} of {} are lost, {report:?}", expected.len());
    }
}

#[test]
fn of_a_file_cut_short_everything_before_the_cut_is_saved() {
    let (files, _, expected) = killed();
    let file = files.open(&format!("damaged-1-{PAGE_FILE}")).unwrap();
    let mut bytes = vec![0; file.len().unwrap() as usize];
    file.read_at(&mut bytes, 0).unwrap();
    let (mut most, mut least) = (0, expected.len());
    for cut in (512..bytes.len()).rev().step_by(PAGE_BYTES / 2 + 8) {
        file.truncate(cut as u64).unwrap();
        match salvaged(&files) {
            Ok((report, found)) => {
                let lost = is_honest(&format!("cut at {cut}"), &report, &found, &expected);
                assert!(lost >= most || lost <= most + 1, "a longer file lost more");
                (most, least) = (most.max(lost), least.min(lost));
            }
            // Nothing but meta pages are left.
            Err(Error::Corrupt(_)) => assert!(cut < 3 * PAGE_BYTES, "cut at {cut}"),
            Err(other) => panic!("cut at {cut}: {other}"),
        }
    }
    assert!(most > 300 && least <= 3, "from {least} to {most} lost");
}

#[test]
fn a_damaged_log_gives_the_commits_before_the_damage() {
    let (files, before, expected) = killed();
    let log = files.list().unwrap().into_iter().find(|name| name.contains(LOG_PREFIX)).unwrap();
    let file = files.open(&log).unwrap();
    let source = Source::open(&Beside::new(Arc::clone(&files), "damaged-1-")).unwrap();
    let start = source.meta.as_ref().unwrap().log.offset;
    drop(source);
    let mut replayed = BTreeSet::new();
    // The segment's header, and the records behind the checkpoint.
    for at in (0..64).chain(start..start + 2048).step_by(12) {
        let mut byte = [0];
        file.read_at(&mut byte, at).unwrap();
        file.write_at(&[byte[0] ^ 4], at).unwrap();
        let (report, found) = salvaged(&files).unwrap();
        assert!(report.is_whole() == (found == expected), "at {at}: {report:?}");
        match report.log_records {
            0 => assert!(found == before, "at {at}"),
            1 => assert_eq!(found.len(), before.len() + 1, "at {at}"),
            _ => {}
        }
        replayed.insert(report.log_records);
        file.write_at(&byte, at).unwrap();
    }
    assert_eq!(replayed.into_iter().collect::<Vec<_>>(), [0, 1, 2, 3]);
    files.remove(&log).unwrap();
    let (report, found) = salvaged(&files).unwrap();
    assert!(!report.is_whole() && found == before);
}

#[test]
fn random_damage_is_never_taken_for_none() {
    let (files, _, expected) = killed();
    let file = files.open(&format!("damaged-1-{PAGE_FILE}")).unwrap();
    let mut bytes = vec![0; file.len().unwrap() as usize];
    file.read_at(&mut bytes, 0).unwrap();
    let mut seed = 11u64;
    let mut next = |below: usize| {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (seed >> 33) as usize % below
    };
    let (mut whole, mut none) = (0, 0);
    for round in 0..100 {
        let mut damaged = bytes.clone();
        for _ in 0..=next(12) {
            let (at, from, len) = (next(bytes.len()), next(bytes.len()), next(PAGE_BYTES) + 1);
            let len = len.min(bytes.len() - at).min(bytes.len() - from);
            match next(3) {
                0 => damaged[at] ^= 1 << next(8),
                1 => damaged[at..at + len].fill(0),
                // An image of another page.
                _ => damaged[at..at + len].copy_from_slice(&bytes[from..from + len]),
            }
        }
        file.write_at(&damaged, 0).unwrap();
        match salvaged(&files) {
            Ok((report, found)) => {
                is_honest(&format!("round {round}"), &report, &found, &expected);
                whole += u32::from(report.is_whole());
            }
            Err(Error::Corrupt(_)) => none += 1,
            Err(other) => panic!("round {round}: {other}"),
        }
    }
    println!("{whole} of 100 cost nothing, of {none} nothing was recognized");
    assert!(whole < 75);
}

/// Files that cannot be read in one place, as of a disk with bad sectors.
struct BadSectors {
    files: Arc<dyn Storage>,
    bad: std::ops::Range<u64>,
    /// How many bytes were read.
    read: Arc<AtomicU64>,
}

struct BadFile {
    file: Arc<dyn StorageFile>,
    bad: std::ops::Range<u64>,
    read: Arc<AtomicU64>,
}

impl Storage for BadSectors {
    fn open(&self, name: &str) -> Result<Arc<dyn StorageFile>> {
        let file = self.files.open(name)?;
        let bad = if name.ends_with(PAGE_FILE) { self.bad.clone() } else { 0..0 };
        Ok(Arc::new(BadFile { file, bad, read: Arc::clone(&self.read) }))
    }
    fn create(&self, name: &str) -> Result<Arc<dyn StorageFile>> {
        self.files.create(name)
    }
    fn rename(&self, from: &str, to: &str) -> Result<()> {
        self.files.rename(from, to)
    }
    fn remove(&self, name: &str) -> Result<()> {
        self.files.remove(name)
    }
    fn list(&self) -> Result<Vec<String>> {
        self.files.list()
    }
    fn sync_dir(&self) -> Result<()> {
        self.files.sync_dir()
    }
}

impl StorageFile for BadFile {
    fn read_at(&self, bytes: &mut [u8], offset: u64) -> Result<()> {
        if offset < self.bad.end && offset + bytes.len() as u64 > self.bad.start {
            return Err(Error::io("read", PAGE_FILE, io::Error::other("a bad sector")));
        }
        self.read.fetch_add(bytes.len() as u64, Ordering::Relaxed);
        self.file.read_at(bytes, offset)
    }
    fn write_at(&self, _: &[u8], _: u64) -> Result<()> {
        panic!("a source is not written")
    }
    fn allocate(&self, _: u64) -> Result<()> {
        panic!("a source does not grow")
    }
    fn truncate(&self, _: u64) -> Result<()> {
        panic!("a source is not cut")
    }
    fn len(&self) -> Result<u64> {
        self.file.len()
    }
    fn sync(&self) -> Result<()> {
        panic!("a source is not synced")
    }
    fn lock(&self, mode: LockMode, timeout: Duration) -> Result<()> {
        self.file.lock(mode, timeout)
    }
    fn keeps_name(&self) -> Result<bool> {
        self.file.keeps_name()
    }
    fn map(&self) -> Option<Arc<Map>> {
        None
    }
}

#[test]
fn what_cannot_be_read_costs_no_more_than_what_is_damaged() {
    let (files, _, expected) = killed();
    let source = Source::open(&Beside::new(Arc::clone(&files), "damaged-1-")).unwrap();
    let pages = source.meta.as_ref().unwrap().page_count;
    drop(source);
    let mut hurt = 0;
    for page in 0..pages {
        let at = PageId(page).offset(PAGE_BYTES) + 40;
        let (files, read) = (Arc::clone(&files), Arc::default());
        let files: Arc<dyn Storage> = Arc::new(BadSectors { files, bad: at..at + 1, read });
        let (report, found) = salvaged(&files).unwrap();
        let lost = is_honest(&format!("page {page}"), &report, &found, &expected);
        assert!(lost <= 40, "page {page}: {lost} lost");
        hurt += u32::from(!report.is_whole());
    }
    assert!(hurt > 10, "{hurt} pages mattered");
}

#[test]
fn forged_runs_that_claim_the_rest_of_the_file_are_not_all_read() {
    let (files, _, _) = killed();
    let file = files.open("damaged-1-pages").unwrap();
    // As many pages as there were, thirty times over.
    let bytes = file.len().unwrap().next_multiple_of(PAGE_BYTES as u64);
    let more = 30 * bytes;
    file.allocate(more).unwrap();
    for at in (bytes..more).step_by(PAGE_BYTES) {
        let id = (at / PAGE_BYTES as u64) as u32;
        let mut page = vec![0; PAGE_BYTES];
        let len = (more - at) as usize - page::HEADER_BYTES;
        page::overflow::write(&mut page, PageId(id), Version(1), 1, &[]);
        page[page::RUN_LEN].copy_from_slice(&(len as u32).to_le_bytes());
        file.write_at(&page, at).unwrap();
    }
    // Without its meta pages all of the file is looked at.
    file.write_at(&[0; 2 * PAGE_BYTES], 0).unwrap();
    let read = Arc::new(AtomicU64::new(0));
    let counted = BadSectors { files, bad: 0..0, read: Arc::clone(&read) };
    let _ = salvaged(&(Arc::new(counted) as Arc<dyn Storage>));
    let read = read.load(Ordering::Relaxed);
    assert!(read > more, "{read} bytes of {more} were read");
    assert!(read < 40 * more, "{read} bytes were read of {more}");
}

#[test]
fn a_lost_list_of_free_space_makes_only_strays_uncertain() {
    let (files, _, expected) = killed();
    let source = Source::open(&Beside::new(Arc::clone(&files), "damaged-1-")).unwrap();
    let meta = source.meta.clone().unwrap();
    flip(&files, meta.free_space.unwrap().first.page.offset(PAGE_BYTES) + 40);
    let (report, found) = salvaged(&files).unwrap();
    assert!(report.is_whole() && !report.problems.is_empty() && found == expected, "{report:?}");
    let catalog = source.catalog(&meta).unwrap();
    let root = catalog.tree(catalog.find_name("ages").unwrap()).root.unwrap();
    flip(&files, root.page.offset(PAGE_BYTES) + 40);
    let (report, found) = salvaged(&files).unwrap();
    assert!(!report.is_whole() && report.uncertain_entries > 100, "{report:?}");
    assert_eq!(is_honest("root", &report, &found, &expected), 0);
}

#[test]
fn without_meta_pages_the_newest_birth_wins() {
    let (files, before, _) = killed();
    flip(&files, 100);
    flip(&files, PAGE_BYTES as u64 + 100);
    let (report, found) = salvaged(&files).unwrap();
    assert!(!report.is_whole() && report.stray_leaves > 0, "{report:?}");
    assert_eq!(report.uncertain_entries, report.entries);
    // Where the log begins is not known, so what is found is the checkpoint, and perhaps old keys.
    for (key, value) in &before {
        assert!(found.get(key) == Some(value), "{key:?}");
    }
}
