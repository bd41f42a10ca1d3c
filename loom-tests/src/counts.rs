//! A small store in memory that counts, for the models that run a whole one.
use recto::{
    Batch, Durability, Options, Store, Table,
    internals::{
        storage::{Storage, memory::MemoryStorage},
        store::Stopped,
        sync::erased,
    },
};
use std::sync::Arc;

/// Its only table.
pub const COUNTS: Table<u64, u64> = Table::new("counts");
/// The key that stands at 0 in a store just opened.
pub const FIRST: u64 = 1;

/// Opens it with one commit in it: version 1.
///
/// # Panics
/// If it does not open.
pub fn open() -> Store {
    let storage: loom::sync::Arc<dyn Storage> = erased(Arc::new(MemoryStorage::new()));
    let options = Options::new().memory_map(false).log_segment_bytes(4096);
    let options = options.queue_capacity(4).durability(Durability::None);
    let stopped = Stopped::open(options, &storage).unwrap();
    let commit = stopped.store.submit(set(FIRST, 0)).unwrap();
    let store = stopped.start().unwrap();
    commit.wait().unwrap();
    store
}

/// A batch that sets `key` to `value`.
pub fn set(key: u64, value: u64) -> Batch {
    let mut batch = Batch::new();
    batch.insert(&COUNTS, key, value);
    batch
}
