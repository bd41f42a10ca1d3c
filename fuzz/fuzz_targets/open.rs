//! Files from somewhere else, with right checksums and anything in them: opening, reading, checking
//! and writing answer with errors, never with a panic, a hang or more memory than the files
//! justify. Over memory, that is without a map.
#![no_main]

use arbitrary::Arbitrary;
use libfuzzer_sys::fuzz_target;
use recto::{
    Error, Options, Result, Store, Table,
    internals::{
        page::{
            self, Kind, PageId,
            meta::{LogPosition, META_BYTES, Meta, seed},
            overflow,
        },
        publish::Version,
        storage::{Storage, memory::MemoryStorage},
        store::open_storage,
        wal::{Log, Op},
    },
};
use recto_fuzz::{Bytes, Edit, Files, files, limit_memory, storage};
use std::{
    ops::{Bound, Range},
    sync::{Arc, LazyLock},
};

const PAGE_BYTES: usize = 4096;
const PAGES: &str = "pages";
const SEGMENT_BYTES: u64 = 16 << 10;
const BLOBS: Table<&[u8], &[u8]> = Table::new("blobs");
const NUMBERS: Table<u64, (u64, &str)> = Table::new("numbers");

#[derive(Arbitrary, Debug)]
struct Input {
    /// Whether the store was closed, or its power was cut.
    is_closed: bool,
    edits: Vec<(u16, Edit)>,
    /// Child pointers and runs that name other pages.
    pointers: Vec<(u16, u8, u8)>,
    meta: Option<(u8, Edit)>,
    log_edits: Vec<(u8, Edit)>,
    log: Option<Vec<Operation>>,
    writes: Vec<Write>,
}

#[derive(Arbitrary, Debug)]
enum Operation {
    Create { id: u8, name: Bytes, types: Option<Vec<u8>> },
    Drop(u8),
    Rename(u8, Bytes),
    Insert(u8, Bytes, Bytes),
    Remove(u8, Bytes),
    RemoveRange(u8, Option<Bytes>, Option<Bytes>),
    Raw(Vec<u8>),
}

#[derive(Arbitrary, Debug)]
enum Write {
    Insert(Bytes, Bytes),
    Remove(Bytes),
    RemoveRange(Bytes, Bytes),
    Extend(u8),
    DropTable(u8),
    Checkpoint,
}

fn options() -> Options {
    Options::new()
        .page_bytes(PAGE_BYTES)
        .dirty_bytes(256 << 10)
        .cache_bytes(4 << 20)
        .log_segment_bytes(SEGMENT_BYTES)
}

/// A store with trees of several levels, runs of keys and values, free pages, and a log.
fn build(is_closed: bool) -> Result<Files> {
    let memory: Arc<dyn Storage> = Arc::new(MemoryStorage::new());
    let store = open_storage(options(), &memory)?;
    store.write(|tx| {
        let mut blobs = tx.table(&BLOBS)?;
        for i in 0..600u32 {
            let key = [&[b'k'; 90][..], &i.to_be_bytes()].concat();
            blobs.insert(&key, &vec![i as u8; (i % 60) as usize * 30])?;
        }
        blobs.insert(&[7; 3000], b"a key in a run")?;
        blobs.insert(b"run", &[8; 30_000])?;
        tx.table(&NUMBERS)?.extend((0..3000).map(|i| (i, (i, "number"))))?;
        Ok(())
    })?;
    store.checkpoint()?;
    store.write(|tx| tx.table(&NUMBERS)?.remove_range(500..1500).map(drop))?;
    store.checkpoint()?;
    store.write(|tx| tx.table(&BLOBS)?.insert(b"in the log", &[9; 2000]).map(drop))?;
    store.write(|tx| tx.table(&NUMBERS)?.remove(7).map(drop))?;
    if is_closed {
        store.close()?;
    }
    files(&*memory)
}

static CLOSED: LazyLock<Files> = LazyLock::new(|| build(true).expect("memory does not fail"));
static CUT: LazyLock<Files> = LazyLock::new(|| build(false).expect("memory does not fail"));

/// Makes the checksum of the page right again, or of the run that it lies in.
fn repair(file: &mut [u8], number: usize, seed: u32) {
    let at = |number: usize| number * PAGE_BYTES;
    let kind = page::kind(&file[at(number)..]);
    if matches!(kind, Some(Kind::Leaf | Kind::Branch)) {
        return page::seal(&mut file[at(number)..][..PAGE_BYTES], seed);
    }
    let head = |&head: &usize| page::kind(&file[at(head)..]) == Some(Kind::Overflow);
    if let Some(head) = (2..=number).rev().find(head) {
        let run = &mut file[at(head)..];
        if page::HEADER_BYTES + overflow::len(run) <= run.len() {
            overflow::seal_run(run, seed);
        }
    }
}

fn damage(input: &Input, files: &mut Files) {
    let file = files.get_mut(PAGES).expect("a store has a page file");
    let meta = Meta::decode(file, PageId(0)).expect("a meta page of our own");
    let seed = seed(meta.store_id);
    let count = file.len() / PAGE_BYTES;
    let number = |wanted: u16| 2 + usize::from(wanted) % (count - 2);
    let bytes = |number: usize| -> Range<usize> { number * PAGE_BYTES..(number + 1) * PAGE_BYTES };
    for (page, edit) in input.edits.iter().take(8) {
        let page = number(*page);
        edit.apply(&mut file[bytes(page)], page::TABLE.start);
        repair(file, page, seed);
    }
    // Where a branch may keep the number of a child: another page of the file there.
    for (page, slot, to) in input.pointers.iter().take(8) {
        let (page, to) = (number(*page), number(u16::from(*to)));
        let from = page * PAGE_BYTES + page::HEADER_BYTES + usize::from(*slot) * 4;
        let id = (to as u32).to_le_bytes();
        file[from..from + 4].copy_from_slice(&id);
        repair(file, page, seed);
    }
    if let Some((slots, edit)) = &input.meta {
        for slot in [0, 1].into_iter().filter(|slot| slots & (1 << slot) != 0) {
            let meta = &mut file[slot * PAGE_BYTES..][..META_BYTES];
            edit.apply(meta, 8);
            let checksum = crc32c::crc32c(&meta[..META_BYTES - 4]);
            meta[META_BYTES - 4..].copy_from_slice(&checksum.to_le_bytes());
        }
    }
    let logs = files.iter_mut().filter(|(name, _)| name.as_str() != PAGES);
    let mut logs: Vec<_> = logs.map(|(_, bytes)| bytes).collect();
    let count = logs.len().max(1);
    for (log, edit) in input.log_edits.iter().take(4) {
        if let Some(bytes) = logs.get_mut(usize::from(*log) % count) {
            edit.apply(bytes, 0);
        }
    }
}

fn encode(operation: &Operation, out: &mut Vec<u8>) {
    let table = |id: &u8| u32::from(*id % 6);
    let text = |name: &Bytes| String::from_utf8_lossy(&name.bytes()).into_owned();
    match operation {
        Operation::Create { id, name, types } => {
            // Two hashes, the length of the key type's name, and both names.
            let fitting = [&[1; 16][..], &[1, 0], b"ab"].concat();
            let types = types.as_ref().unwrap_or(&fitting);
            Op::CreateTable { id: table(id), name: &text(name), types }.encode(out);
        }
        Operation::Drop(id) => Op::DropTable { id: table(id) }.encode(out),
        Operation::Rename(id, name) => {
            Op::RenameTable { id: table(id), name: &text(name) }.encode(out);
        }
        Operation::Insert(id, key, value) => {
            let (key, value) = (key.bytes(), value.bytes());
            Op::Insert { table: table(id), key: &key, value: &value }.encode(out);
        }
        Operation::Remove(id, key) => {
            Op::Remove { table: table(id), key: &key.bytes() }.encode(out);
        }
        Operation::RemoveRange(id, from, to) => {
            let (from, to) = (from.as_ref().map(Bytes::bytes), to.as_ref().map(Bytes::bytes));
            let from = from.as_deref().map_or(Bound::Unbounded, Bound::Excluded);
            let to = to.as_deref().map_or(Bound::Unbounded, Bound::Included);
            Op::RemoveRange { table: table(id), from, to }.encode(out);
        }
        Operation::Raw(bytes) => out.extend_from_slice(bytes),
    }
}

/// A log of `operations`, each in a record of its own, that the meta pages name.
fn forge_log(operations: &[Operation], files: &mut Files) -> Result<()> {
    files.retain(|name, _| name == PAGES);
    let disk: Arc<dyn Storage> = Arc::new(storage(files)?);
    let file = files.get_mut(PAGES).expect("a store has a page file");
    let Ok(mut meta) = Meta::decode(file, PageId(0)) else {
        return Ok(());
    };
    let next = Version(meta.version.0.saturating_add(1));
    let mut log = Log::create(Arc::clone(&disk), meta.store_id, SEGMENT_BYTES, next, 0, &[])?;
    let start = log.position();
    for (operation, version) in operations.iter().take(40).zip(next.0..) {
        let mut ops = Vec::new();
        encode(operation, &mut ops);
        if ops.len() <= log.record_bytes_max() {
            log.append(Version(version), Version(version), Version(0), &ops)?;
        }
    }
    meta.log = LogPosition { life: start.life, offset: start.offset, chain: start.chain };
    for slot in [0, 1] {
        file[slot * PAGE_BYTES..][..META_BYTES].copy_from_slice(&meta.encode());
    }
    let logs = self::files(&*disk)?.into_iter().filter(|(name, _)| name != PAGES);
    files.extend(logs.collect::<Files>());
    Ok(())
}

fn read(store: &Store) -> Result<()> {
    let snapshot = store.snapshot();
    for name in snapshot.tables()?.iter().take(20) {
        let Some(table) = snapshot.raw_table(name)? else {
            continue;
        };
        // A page that is named twice may be read twice; a bound on what is read is the reader's.
        for entry in table.range(Bound::Unbounded, Bound::Unbounded)?.take(2000) {
            entry?;
        }
        let from: &[u8] = &[b'k'; 91];
        let range = table.range(Bound::Excluded(from), Bound::Unbounded)?;
        for entry in range.rev().take(500) {
            entry?;
        }
    }
    Ok(())
}

fn write(store: &Store, write: &Write) -> Result<()> {
    match write {
        Write::Insert(key, value) => {
            store.write(|tx| tx.table(&BLOBS)?.insert(&key.bytes(), &value.bytes()).map(drop))
        }
        Write::Remove(key) => store.write(|tx| tx.table(&BLOBS)?.remove(&key.bytes()).map(drop)),
        Write::RemoveRange(from, to) => store.write(|tx| {
            let (from, to) = (from.bytes(), to.bytes());
            tx.table(&BLOBS)?.remove_range(from.as_slice()..to.as_slice()).map(drop)
        }),
        Write::Extend(seed) => store.write(|tx| {
            let entries = (0..200u64).map(|i| (i * (1 + u64::from(*seed)), (i, "again")));
            tx.table(&NUMBERS)?.extend(entries).map(drop)
        }),
        Write::DropTable(i) => {
            let tables = store.tables()?;
            match tables.get(usize::from(*i) % tables.len().max(1)) {
                Some(name) => store.drop_table(name).map(drop),
                None => Ok(()),
            }
        }
        Write::Checkpoint => store.checkpoint(),
    }
}

fuzz_target!(|input: Input| {
    let mut files = if input.is_closed { CLOSED.clone() } else { CUT.clone() };
    if let Some(operations) = &input.log {
        forge_log(operations, &mut files).expect("memory does not fail");
    }
    damage(&input, &mut files);
    let storage: Arc<dyn Storage> = Arc::new(storage(&files).expect("memory does not fail"));
    let _limit = limit_memory(files.values().map(Vec::len).sum());
    let Ok(store) = open_storage(options(), &storage) else {
        return;
    };
    // Each may be refused; none may fail in another way.
    let _ = read(&store);
    let is_trusted = store.check().is_ok();
    for change in input.writes.iter().take(8) {
        let written = write(&store, change);
        let is_corrupt = matches!(written, Err(Error::Corrupt(_)));
        assert!(!is_trusted || !is_corrupt, "{change:?} behind a clean check: {written:?}");
    }
    let read = read(&store);
    assert!(!is_trusted || read.is_ok(), "behind a clean check: {read:?}");
    if is_trusted {
        store.check().expect("what was checked and then written is clean");
    }
    let _ = store.close();
});
