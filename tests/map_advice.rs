//! What the kernel is asked to do with the memory map changes no answer, and is done.
#![cfg(target_os = "linux")]

use recto::{Budget, Durability, Options, Result, Store, Table};
use std::{collections::BTreeMap, fs, path::Path};

const ROWS: Table<u64, &[u8]> = Table::new("rows");
const VALUE_BYTES: usize = 150;

/// An order that is none.
fn scattered(i: u64) -> u64 {
    i.wrapping_mul(0x9E37_79B9_7F4A_7C15)
}

fn insert(store: &Store, model: &mut BTreeMap<u64, [u8; VALUE_BYTES]>, from: u64, to: u64) {
    for start in (from..to).step_by(1000) {
        let insert = |tx: &mut recto::WriteTx<'_>| {
            let mut rows = tx.table(&ROWS)?;
            (start..to.min(start + 1000))
                .try_for_each(|i| rows.insert(scattered(i), &[i as u8; VALUE_BYTES]).map(drop))
        };
        store.write_with(Durability::None, insert).unwrap();
    }
    model.extend((from..to).map(|i| (scattered(i), [i as u8; VALUE_BYTES])));
}

fn expect(store: &Store, model: &BTreeMap<u64, [u8; VALUE_BYTES]>) {
    let snapshot = store.snapshot();
    let rows = snapshot.table(&ROWS).unwrap();
    assert_eq!(rows.len().unwrap(), model.len() as u64);
    for (key, value) in model {
        assert_eq!(rows.get(*key).unwrap(), Some(&value[..]));
    }
    let found: Result<Vec<(u64, &[u8])>> = rows.iter().unwrap().collect();
    assert!(found.unwrap().into_iter().eq(model.iter().map(|(key, value)| (*key, &value[..]))));
}

/// What the kernel says under `field` of the map of the store's page file.
fn told(dir: &Path, field: &str) -> String {
    let name = dir.join("pages").canonicalize().unwrap();
    let maps = fs::read_to_string("/proc/self/smaps").unwrap();
    let mut lines = maps.lines().skip_while(|line| !line.ends_with(name.to_str().unwrap()));
    let said = lines.find_map(|line| line.strip_prefix(field)).expect("a map of the page file");
    said.trim().to_owned()
}

/// How many bytes of the store's page file this process has mapped in.
fn mapped_in(dir: &Path) -> u64 {
    told(dir, "Rss:").strip_suffix(" kB").unwrap().parse::<u64>().unwrap() * 1024
}

/// Whether the kernel was asked for huge pages.
fn is_to_be_huge(dir: &Path) -> bool {
    told(dir, "VmFlags:").split(' ').any(|flag| flag == "hg")
}

/// What is in use of the page file, in bytes.
fn used(store: &Store) -> u64 {
    let stats = store.stats();
    stats.file_pages * stats.page_bytes as u64
}

#[test]
fn a_store_answers_the_same_with_each_advice_while_its_map_grows_and_shrinks() -> Result<()> {
    for (huge_pages, prefault) in [(false, false), (true, false), (false, true), (true, true)] {
        let dir = tempfile::tempdir().unwrap();
        let options = Options::new().dirty_bytes(2 << 20).durability(Durability::None);
        let options = options.map_huge_pages(huge_pages).map_prefault(prefault);
        let mut model = BTreeMap::new();
        let store = options.clone().open(dir.path())?;
        insert(&store, &mut model, 0, 30_000);
        expect(&store, &model);
        let knows_of_them = Path::new("/sys/kernel/mm/transparent_hugepage").exists();
        assert_eq!(is_to_be_huge(dir.path()), huge_pages && knows_of_them);
        store.close()?;
        drop(store);
        let store = options.clone().open(dir.path())?;
        expect(&store, &model);
        insert(&store, &mut model, 30_000, 60_000);
        expect(&store, &model);
        // Shorter, then longer again.
        let snapshot = store.snapshot();
        let gone: Vec<u64> = model.keys().copied().filter(|key| key % 4 != 0).collect();
        store.write(|tx| {
            let mut rows = tx.table(&ROWS)?;
            gone.iter().try_for_each(|key| rows.remove(*key).map(drop))
        })?;
        drop(snapshot);
        model.retain(|key, _| key % 4 == 0);
        let before = used(&store);
        while !store.compact(Budget::pages(1000))?.is_done {}
        assert!(used(&store) < before / 2);
        expect(&store, &model);
        insert(&store, &mut model, 60_000, 90_000);
        store.checkpoint()?;
        expect(&store, &model);
        store.check()?;
        store.close()?;
        drop(store);
        let read_only = options.read_only(true).open(dir.path())?;
        expect(&read_only, &model);
        assert!(!prefault || mapped_in(dir.path()) >= used(&read_only).max(1 << 20));
    }
    Ok(())
}

#[test]
fn what_is_mapped_in_ahead_is_all_of_the_file_and_what_checkpoints_add() -> Result<()> {
    let dir = tempfile::tempdir().unwrap();
    let options = Options::new().durability(Durability::None);
    let mut model = BTreeMap::new();
    let store = options.clone().open(dir.path())?;
    insert(&store, &mut model, 0, 100_000);
    store.close()?;
    drop(store);

    let store = options.clone().open(dir.path())?;
    assert!(mapped_in(dir.path()) < used(&store) / 2, "nobody asked for it");
    store.close()?;
    drop(store);

    let store = options.map_prefault(true).open(dir.path())?;
    let opened = used(&store);
    assert!(opened > 16 << 20, "{opened} bytes");
    assert!(mapped_in(dir.path()) >= opened);
    // Behind all others, in their order: no insert looks at the page of an earlier one.
    let last = *model.keys().next_back().unwrap();
    let new: Vec<u64> = (1..=100_000).map(|i| last + i).collect();
    for keys in new.chunks(1000) {
        store.write(|tx| {
            let mut rows = tx.table(&ROWS)?;
            keys.iter().try_for_each(|key| rows.insert(*key, &[1; VALUE_BYTES]).map(drop))
        })?;
    }
    model.extend(new.into_iter().map(|key| (key, [1; VALUE_BYTES])));
    store.checkpoint()?;
    let (grown, mapped) = (used(&store), mapped_in(dir.path()));
    assert!(grown > opened + (8 << 20), "grown to {grown} bytes from {opened}");
    // A checkpoint takes more pages for its list of free ones than it comes to write.
    assert!(mapped + (1 << 20) >= grown, "{mapped} bytes of {grown}, from {opened}");
    expect(&store, &model);
    store.close().map(drop)
}
