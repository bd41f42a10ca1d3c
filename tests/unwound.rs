//! A panic of our own in the writer thread: everybody who waits is answered.
#![cfg(feature = "internals")]

use recto::{
    Batch, Options, Result, Table,
    internals::{
        storage::{LockMode, Storage, StorageFile, map::Map, memory::MemoryStorage},
        store::open_storage,
    },
};
use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::SeqCst},
        mpsc,
    },
    thread,
    time::Duration,
};

static ARMED: AtomicBool = AtomicBool::new(false);

/// Reads of whose page file panic once armed.
struct Outer(MemoryStorage);
struct File(Arc<dyn StorageFile>, bool);

fn wrap(name: &str, file: Arc<dyn StorageFile>) -> Arc<dyn StorageFile> {
    Arc::new(File(file, name.contains("pages")))
}

impl Storage for Outer {
    fn open(&self, name: &str) -> Result<Arc<dyn StorageFile>> {
        self.0.open(name).map(|file| wrap(name, file))
    }
    fn create(&self, name: &str) -> Result<Arc<dyn StorageFile>> {
        self.0.create(name).map(|file| wrap(name, file))
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

impl StorageFile for File {
    fn read_at(&self, bytes: &mut [u8], offset: u64) -> Result<()> {
        assert!(!(self.1 && ARMED.load(SeqCst)), "a bug of ours");
        self.0.read_at(bytes, offset)
    }
    fn write_at(&self, bytes: &[u8], offset: u64) -> Result<()> {
        self.0.write_at(bytes, offset)
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
        None
    }
}

const ONE: Table<u64, &[u8]> = Table::new("one");
const TWO: Table<u64, &[u8]> = Table::new("two");

fn batch(table: &Table<u64, &'static [u8]>) -> Batch {
    let mut batch = Batch::new();
    batch.insert(table, 5, b"five");
    batch
}

#[test]
fn a_panic_amid_a_bundle_answers_all_of_it() -> Result<()> {
    let storage: Arc<dyn Storage> = Arc::new(Outer(MemoryStorage::new()));
    let store = open_storage(Options::new(), &storage)?;
    for table in [&ONE, &TWO] {
        store.write(|tx| tx.table(table)?.insert(1, b"one"))?;
    }
    store.close()?;
    drop(store);
    let store = open_storage(Options::new(), &storage)?;
    assert!(store.get(&ONE, 1)?.is_some());
    let (release, held) = mpsc::channel::<()>();
    let (entered, inside) = mpsc::channel();
    let answers = thread::scope(|scope| {
        let holder = scope.spawn(|| {
            store.write(move |_| {
                entered.send(()).unwrap();
                held.recv().unwrap();
                Ok(())
            })
        });
        inside.recv().unwrap();
        ARMED.store(true, SeqCst);
        let commits = [store.submit(batch(&ONE)), store.submit(batch(&TWO))];
        release.send(()).unwrap();
        let _ = holder.join().unwrap();
        commits.map(|commit| {
            let commit = commit.unwrap();
            let (told, answer) = mpsc::channel();
            thread::spawn(move || told.send(commit.wait()));
            answer.recv_timeout(Duration::from_secs(60))
        })
    });
    assert!(answers.iter().all(std::result::Result::is_ok), "somebody waits for ever");
    Ok(())
}
