//! A file whose writing takes long: what is spilled is waited for by whoever looks at it.

use crate::{
    error::Result,
    page::Kind,
    pager::{Pager, Pages, PagesMut, alloc::FreeSpace, frames::Frames, write::WritePager},
    publish::{Generation, Version},
    storage::{LockMode, Storage, StorageFile, map::Map, memory::MemoryStorage},
    sync::{Arc, PlainArc, erased, thread},
};
use std::time::Duration;

const TABLE: u32 = 1;
const PAGE_BYTES: usize = 4096;

struct Slow(Arc<dyn StorageFile>);

impl StorageFile for Slow {
    fn write_at(&self, bytes: &[u8], offset: u64) -> Result<()> {
        thread::sleep(Duration::from_millis(50));
        self.0.write_at(bytes, offset)
    }

    fn read_at(&self, bytes: &mut [u8], offset: u64) -> Result<()> {
        self.0.read_at(bytes, offset)
    }

    fn allocate(&self, len: u64) -> Result<()> {
        self.0.allocate(len)
    }

    fn truncate(&self, len: u64) -> Result<()> {
        self.0.truncate(len)
    }

    fn len(&self) -> Result<u64> {
        self.0.len()
    }

    fn sync(&self) -> Result<()> {
        self.0.sync()
    }

    fn lock(&self, mode: LockMode, timeout: Duration) -> Result<()> {
        self.0.lock(mode, timeout)
    }

    fn keeps_name(&self) -> Result<bool> {
        self.0.keeps_name()
    }

    fn map(&self) -> Option<Arc<Map>> {
        self.0.map()
    }
}

/// A request in progress over a slow file, and the file.
fn request() -> (WritePager, Arc<dyn StorageFile>) {
    let file = erased(PlainArc::new(Slow(MemoryStorage::new().create("pages").unwrap())));
    let (frames, arena) = Frames::new(PAGE_BYTES, 1 << 20);
    let pager = Pager::new(Arc::clone(&file) as _, None, frames, PAGE_BYTES, 7, 1 << 20);
    let mut pages = WritePager::new(Arc::new(pager), arena, FreeSpace::new(2)).unwrap();
    pages.begin_group(Version(0), Generation(1));
    pages.begin_request(Version(1));
    pages.allow_spill(4);
    (pages, file)
}

#[test]
fn a_page_on_its_way_is_waited_for_by_who_looks_at_it_or_changes_it() {
    let (mut pages, _) = request();
    let leaves: Vec<_> = (0..20).map(|_| pages.alloc(TABLE, Kind::Leaf, 0).unwrap()).collect();
    assert!(pages.has_spilled());
    // From the end: the last ones have been on their way for the shortest time.
    for leaf in leaves[10..].iter().rev() {
        pages.page(*leaf, TABLE, 0).unwrap();
    }
    let (mut pages, _) = request();
    let leaves: Vec<_> = (0..20).map(|_| pages.alloc(TABLE, Kind::Leaf, 0).unwrap()).collect();
    for leaf in leaves.iter().rev() {
        let bytes = pages.page_mut(*leaf).unwrap();
        assert!(bytes.iter().any(|byte| *byte != 0), "a page that has not arrived");
    }
}

#[test]
fn nothing_is_on_its_way_behind_the_end_of_a_request() {
    for is_kept in [true, false] {
        let (mut pages, file) = request();
        let point = pages.savepoint();
        for _ in 0..20 {
            pages.alloc(TABLE, Kind::Leaf, 0).unwrap();
        }
        if is_kept {
            pages.end_request().unwrap();
        } else {
            pages.undo(&point);
        }
        let read = || {
            let mut bytes = vec![0; file.len().unwrap() as usize];
            file.read_at(&mut bytes, 0).unwrap();
            bytes
        };
        let before = read();
        thread::sleep(Duration::from_millis(200));
        assert!(before == read(), "kept: {is_kept}");
    }
}
