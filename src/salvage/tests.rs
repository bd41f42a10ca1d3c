//! Each page of a store damaged in turn: what is salvaged was there, and what is lost was on it.

use super::{source::Beside, *};
use crate::{
    options::{Options, PAGE_FILE},
    page,
    storage::memory::MemoryStorage,
    table::Table,
};

const PAGE_BYTES: usize = 4096;
const AGES: Table<u64, &[u8]> = Table::new("ages");
const NAMES: Table<u64, &str> = Table::new("names");

type Content = BTreeMap<(String, Vec<u8>), Vec<u8>>;

fn options() -> Options {
    Options::new().page_bytes(PAGE_BYTES)
}

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

#[test]
fn each_damaged_page_costs_no_more_than_was_on_it() {
    let (files, _, expected) = killed();
    let pages = Source::open(&Beside::new(Arc::clone(&files), "damaged-1-")).unwrap();
    let (mut hurt, mut lossless) = (0, 0);
    for page in 0..pages.meta.as_ref().unwrap().page_count {
        let at = PageId(page).offset(PAGE_BYTES) + 40;
        let kind = pages.page(PageId(page)).ok().and_then(|bytes| page::kind(&bytes));
        flip(&files, at);
        let (report, found) = salvaged(&files).unwrap();
        let wrong = found.iter().find(|(key, value)| expected.get(key) != Some(value));
        assert!(wrong.is_none(), "page {page}: {:?} never was", wrong.unwrap().0);
        let lost = expected.len() - found.len();
        hurt += u32::from(!report.is_whole());
        lossless += u32::from(!report.is_whole() && lost == 0);
        assert!(lost == 0 || !report.is_whole(), "page {page}: lost without a word");
        match kind {
            Some(page::Kind::Leaf) => assert!(lost <= 40, "page {page}: a leaf, {lost} are lost"),
            Some(page::Kind::Branch) => assert!(lost == 0, "page {page}: a branch, {lost} lost"),
            // A run's page, a meta page, or nothing's: at most one value.
            _ => assert!(lost <= 1, "page {page}: {lost} are lost"),
        }
        flip(&files, at);
    }
    assert!(hurt > 10 && lossless > 1, "{hurt} pages mattered, {lossless} of them cost nothing");
}

#[test]
fn without_meta_pages_the_newest_birth_wins() {
    let (files, before, _) = killed();
    flip(&files, 100);
    flip(&files, PAGE_BYTES as u64 + 100);
    let (report, found) = salvaged(&files).unwrap();
    assert!(!report.is_whole() && report.stray_leaves > 0, "{report:?}");
    // Where the log begins is not known, so what is found is the checkpoint, and perhaps old keys.
    for (key, value) in &before {
        assert!(found.get(key) == Some(value), "{key:?}");
    }
}
