//! Compaction against readers of the map: the page file is cut only behind what snapshots see. The
//! whole store runs, in memory that is mapped as a file is.
use loom::thread;
use recto::{
    Budget, Compacted, Durability, Options, Result, Snapshot, Store, Table,
    internals::{
        storage::{LockMode, Storage, StorageFile, map::Map, memory::MemoryStorage},
        store::open_storage,
        sync::{Twin, erased, plant},
    },
};
use recto_loom_tests::{Reached, Window, check_window, check_window_fails};
use std::{sync::Arc, time::Duration};

type Shared<T> = loom::sync::Arc<T>;

const ROWS: Table<u64, &[u8]> = Table::new("rows");
/// More pages than the file ever has.
const MAP_PAGES: usize = 512;
/// What lies before the page that is moved: an overflow run, longer than the reserve that the file
/// keeps behind its end.
const RUN_BYTES: usize = 100 * 4096;

/// Files in memory, with maps.
struct Mapped(MemoryStorage);

struct MappedFile {
    inner: Shared<dyn StorageFile>,
    map: Shared<Map>,
}

impl MappedFile {
    fn new(inner: Shared<dyn StorageFile>) -> Shared<dyn StorageFile> {
        erased(Arc::new(MappedFile { inner, map: Shared::new(Map::modeled(MAP_PAGES)) }))
    }
}

impl Storage for Mapped {
    fn open(&self, name: &str) -> Result<Shared<dyn StorageFile>> {
        self.0.open(name)
    }

    fn create(&self, name: &str) -> Result<Shared<dyn StorageFile>> {
        let file = self.0.create(name)?;
        // The page file, which has another name when it is made.
        Ok(if name.ends_with("pages") { MappedFile::new(file) } else { file })
    }

    fn rename(&self, from: &str, to: &str) -> Result<()> {
        self.0.rename(from, to)
    }

    fn remove(&self, name: &str) -> Result<()> {
        self.0.remove(name)
    }

    fn list(&self) -> Result<Vec<String>> {
        self.0.list()
    }

    fn sync_dir(&self) -> Result<()> {
        self.0.sync_dir()
    }
}

impl StorageFile for MappedFile {
    fn read_at(&self, bytes: &mut [u8], offset: u64) -> Result<()> {
        self.inner.read_at(bytes, offset)
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> Result<()> {
        self.inner.write_at(bytes, offset)?;
        self.map.written(bytes, offset);
        Ok(())
    }

    fn allocate(&self, len: u64) -> Result<()> {
        self.inner.allocate(len)?;
        let len = self.inner.len()?;
        self.map.set_file_bytes(len);
        Ok(())
    }

    fn truncate(&self, len: u64) -> Result<()> {
        if len < self.inner.len()? {
            self.map.set_file_bytes(len);
        }
        self.inner.truncate(len)
    }

    fn len(&self) -> Result<u64> {
        self.inner.len()
    }

    fn sync(&self) -> Result<()> {
        self.inner.sync()
    }

    fn lock(&self, mode: LockMode, timeout: Duration) -> Result<()> {
        self.inner.lock(mode, timeout)
    }

    fn keeps_name(&self) -> Result<bool> {
        self.inner.keeps_name()
    }

    fn map(&self) -> Option<Shared<Map>> {
        Some(self.map.clone())
    }
}

/// A store whose only page of rows lies behind free pages, clean.
fn open() -> Store {
    let storage: Shared<dyn Storage> = erased(Arc::new(Mapped(MemoryStorage::new())));
    let options = Options::new().log_segment_bytes(4096).queue_capacity(4);
    let store = open_storage(options.durability(Durability::None), &storage).unwrap();
    store.write(|tx| tx.table(&ROWS)?.insert(1, &[1; RUN_BYTES])).unwrap();
    store.checkpoint().unwrap();
    store.write(|tx| tx.table(&ROWS)?.insert(2, &[2; 8])).unwrap();
    store.write(|tx| tx.table(&ROWS)?.remove(1)).unwrap();
    store.checkpoint().unwrap();
    store.checkpoint().unwrap();
    store
}

fn read(snapshot: &Snapshot) {
    let rows = snapshot.table(&ROWS).unwrap();
    assert_eq!(rows.get(2).unwrap(), Some(&[2; 8][..]), "a snapshot changed");
}

fn step(store: &Store) -> Compacted {
    store.compact(Budget::pages(100)).unwrap()
}

/// What executions met.
#[derive(Default)]
struct Met {
    /// The cut came while the snapshot was there.
    held: Reached,
    /// It came when the snapshot had gone, and went further.
    gone: Reached,
}

/// The page has been moved, and a checkpoint names its copy, when the file's end is cut off while a
/// reader looks at the page where it was.
fn cut_under_a_reader(twin: Option<Twin>, met: &Met) {
    plant(None);
    let store = open();
    assert_eq!(step(&store).leaves_saved, 0, "whether leaves leave room is looked at first");
    let snapshot = store.snapshot();
    assert_eq!(step(&store).pages_moved, 1, "the page is behind the fence");
    assert_eq!(step(&store).bytes_freed, 0, "a checkpoint comes first");
    plant(twin);
    let window = Window::new(2);
    window.open();
    let reading = {
        let window = Arc::clone(&window);
        thread::spawn(move || {
            read(&snapshot);
            drop(snapshot);
            window.end();
        })
    };
    let mut cut = step(&store);
    window.end();
    if cut.pages_held > 0 {
        met.held.note();
    } else {
        met.gone.note();
    }
    reading.join().unwrap();
    plant(None);
    let mut freed = cut.bytes_freed;
    while !cut.is_done {
        cut = step(&store);
        freed += cut.bytes_freed;
    }
    assert!(freed > RUN_BYTES as u64, "the file's end was not cut off: {freed}");
    read(&store.snapshot());
    store.close().unwrap();
}

#[test]
fn the_file_is_cut_only_behind_what_readers_see() {
    let met = Arc::new(Met::default());
    let run = Arc::clone(&met);
    check_window("compaction against readers", move || cut_under_a_reader(None, &run));
    met.held.expect("a cut while the snapshot was there");
    met.gone.expect("a cut when it had gone");
}

#[test]
fn a_cut_under_a_reader_is_caught() {
    check_window_fails("a_cut_under_a_reader_is_caught", "Causality violation", || {
        cut_under_a_reader(Some(Twin::PinsIgnored), &Met::default());
    });
}
