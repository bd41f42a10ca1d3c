//! From a directory to a running writer: create, read the meta pages, replay, write again.
//! Owns: [`open`]. Keeps I3 and I9.
//!
//! What recovery relied on it writes again before anything is published or used anew: after a kill,
//! or a sync that failed, the page cache may serve what the device does not have. If the log held
//! anything, that is a checkpoint of the replayed state; if not, the meta page itself, both times.

use super::{
    catalog::Catalog,
    checkpoint::{DurableMark, Inventory, log_position, position},
    replaying::Replaying,
    write::{Limits, WriteState},
};
use crate::{
    error::{Error, Resource, Result},
    options::{
        LOG_PREFIX, LogRecovery, NAMELESS_FILE, NEW_PAGE_FILE, Options, PAGE_BYTES_DEFAULT,
        PAGE_FILE, RESTORE_PREFIX,
    },
    page::{
        PageId, Run,
        meta::{META_BYTES, META_PAGES, Meta},
    },
    pager::{
        Pager, Pages,
        alloc::FreeSpace,
        checkpoint::{NO_TABLE, write_cut, write_metas},
        frames::Frames,
        write::{Extent, WritePager},
    },
    publish::{Bell, Generation, Pin, Version},
    seeded::{Bug, Seeded},
    storage::{LockMode, Storage, StorageFile, map::Map},
    sync::Arc,
    wal::{Log, Position, ReplayEnd, ReplayStart, expect_own, replay},
};
use std::{
    hash::{BuildHasher, RandomState},
    time::Duration,
};

/// The length of the number that shows that the map follows.
const NONCE_BYTES: usize = 8;

/// A store read from its directory, before anything of it was published.
pub struct Opened {
    /// The newest state.
    pub state: Box<WriteState>,
    /// A log of its own, which no meta page names yet.
    pub log: Log,
    /// What the newest meta page names.
    pub durable: DurableMark,
    /// What replay found.
    pub replayed: ReplayEnd,
}

impl Opened {
    /// What a check needs to know beside the version that was opened.
    pub fn inventory(&mut self, bell: &Arc<Bell>) -> Inventory {
        let view = self.state.view(Generation(1), bell);
        let (free, end) = (self.state.pages.free_extents(), self.state.pages.end());
        Inventory { view, free, extras: self.durable.extras.clone(), end }
    }
}

/// Opens the store whose page file is `file`, locked, and replays its log.
///
/// # Errors
/// `Error::Corrupt`, `Error::Invalid` for options that do not fit, and the
/// storage's own. Nothing is lost by a failed call; it may leave files under temporary names,
/// and on a full device a checkpoint of what was replayed in place of the log.
pub fn open(
    storage: &Arc<dyn Storage>,
    file: &Arc<dyn StorageFile>,
    options: &Options,
    bell: &Arc<Bell>,
) -> Result<Opened> {
    match try_open(storage, file, options, bell)? {
        Some(opened) => Ok(opened),
        // Its log was ended, so there is room for another now; or there never will be.
        None => try_open(storage, file, options, bell)?.ok_or(Error::Full { what: Resource::Disk }),
    }
}

/// Opens the store; none if there is no room for a log of its own before the one that was replayed
/// goes, which has been ended.
fn try_open(
    storage: &Arc<dyn Storage>,
    file: &Arc<dyn StorageFile>,
    options: &Options,
    bell: &Arc<Bell>,
) -> Result<Option<Opened>> {
    let slots = read_slots(&**file)?;
    let meta = slots.newest()?;
    fits(options, &meta)?;
    expect_own(&**storage, meta.store_id)?;
    if !storage.seeded().has(Bug::MetaNotWrittenAgain) {
        slots.write_again(&**file, &meta)?;
    }
    let seeded = storage.seeded();
    if !seeded.has(Bug::FoundNameUnsynced) && !seeded.has(Bug::CreationNameUnsynced) {
        // The page file's own name, too: segments that are there without it are no store.
        storage.sync_dir()?;
    }
    remove_temporaries(&**storage)?;
    let (mut state, mut durable) = load(Arc::clone(file), &meta, options, bell)?;
    state.sort_in(Arc::clone(storage));
    let replayed = replay_log(&**storage, &meta, &mut state, options)?;
    let (next, chain) = (Version(state.version.0 + 1), replayed.position.chain);
    let segment_bytes = options.log_segment_bytes;
    let (shared, entered) = (Arc::clone(storage), replayed.entered.as_slice());
    match Log::create(shared, meta.store_id, segment_bytes, next, chain, entered) {
        Ok(log) => Ok(Some(Opened { state, log, durable, replayed })),
        Err(Error::Full { what: Resource::Disk }) if position(meta.log) != Position::NONE => {
            // Killed between a rotation and the checkpoint that would have freed the segment before
            // it: both are needed, and the device has no room for a third.
            end_log(&mut state, &mut durable, storage.seeded())?;
            Ok(None)
        }
        Err(error) => Err(error),
    }
}

/// Writes what was replayed to the page file, under a meta page that names no log: nothing needs
/// its segments any more.
fn end_log(state: &mut WriteState, durable: &mut DurableMark, seeded: Seeded) -> Result<()> {
    let (cut, _) = durable.cut(state, Position::NONE, seeded)?;
    write_cut(state.pages.pager(), &cut).map_err(|failure| failure.error().clone())
}

/// Opens the store in `storage` under a shared lock: the last checkpoint and a private replay of
/// the log. Nothing is changed.
///
/// # Errors
/// As [`open`]; an error of kind `NotFound` if there is no store.
pub fn open_read_only(
    storage: &Arc<dyn Storage>,
    options: &Options,
    bell: &Arc<Bell>,
) -> Result<Box<WriteState>> {
    let file = loop {
        let file = storage.open(PAGE_FILE)?;
        file.lock(LockMode::Shared, options.lock_timeout)?;
        if file.keeps_name()? {
            break file;
        }
    };
    let meta = read_slots(&*file)?.newest()?;
    fits(options, &meta)?;
    expect_own(&**storage, meta.store_id)?;
    let (mut state, _) = load(file, &meta, options, bell)?;
    state.pages.never_grow();
    replay_log(&**storage, &meta, &mut state, options)?;
    Ok(state)
}

/// Opens and locks the page file; makes it first if there is none and that is allowed.
///
/// # Errors
/// `Error::Locked`; `Error::Corrupt` if it alone is missing; the storage's own.
pub fn lock_page_file(
    storage: &Arc<dyn Storage>,
    options: &Options,
) -> Result<Arc<dyn StorageFile>> {
    loop {
        let absent = match storage.open(PAGE_FILE) {
            Ok(file) => {
                file.lock(LockMode::Exclusive, options.lock_timeout)?;
                // Whoever held it may have set the store aside, and this file with it.
                if file.keeps_name()? {
                    return Ok(file);
                }
                continue;
            }
            Err(absent) if absent.is_not_found() => absent,
            Err(error) => return Err(error),
        };
        let has_log = storage.list()?.iter().any(|name| name.starts_with(LOG_PREFIX));
        // Looked for once more: another process may have made the store in between.
        if has_log && storage.open(PAGE_FILE).is_ok() {
            continue;
        }
        if has_log {
            let reason = "it is missing, though segments of its log are there";
            return Err(Error::corrupt(PAGE_FILE, reason));
        }
        if !options.create {
            return Err(absent);
        }
        if let Some(file) = create(&**storage, options)? {
            return Ok(file);
        }
    }
}

/// Makes a page file under a temporary name, locked all the while; the lock moves with the name.
/// None if another process was faster.
fn create(storage: &dyn Storage, options: &Options) -> Result<Option<Arc<dyn StorageFile>>> {
    let Some(file) = reserve(storage, options.lock_timeout)? else { return Ok(None) };
    fill(storage, &*file, options)?;
    Ok(Some(file))
}

/// Writes an empty store to what [`reserve`] gave, and gives it its name.
pub(super) fn fill(storage: &dyn Storage, file: &dyn StorageFile, options: &Options) -> Result<()> {
    let page_bytes = options.page_bytes.unwrap_or(PAGE_BYTES_DEFAULT);
    let meta = Meta {
        page_bytes,
        store_id: RandomState::new().hash_one(std::process::id()),
        sequence: 1,
        version: Version(0),
        page_count: META_PAGES,
        next_table: NO_TABLE + 1,
        catalog: None,
        free_space: None,
        log: log_position(Position::NONE),
    };
    let bytes = meta_pages(&meta);
    if storage.seeded().has(Bug::CreatedInPlace) {
        storage.rename(NEW_PAGE_FILE, PAGE_FILE)?;
    }
    file.truncate(0)?;
    file.allocate(bytes.len() as u64)?;
    file.write_at(&bytes, 0)?;
    reveal(storage, file)
}

/// The page file that is to be, under a temporary name and locked; the lock moves with the name.
/// None if there is a store by now, or another process is about to make one: look again.
pub fn reserve(
    storage: &dyn Storage,
    lock_timeout: Duration,
) -> Result<Option<Arc<dyn StorageFile>>> {
    let reserved = reserve_beside(storage, lock_timeout)?;
    Ok(if storage.open(PAGE_FILE).is_ok() { None } else { reserved })
}

/// As [`reserve`], also beside a store; whoever holds it is the only one who makes a store here.
pub(super) fn reserve_beside(
    storage: &dyn Storage,
    lock_timeout: Duration,
) -> Result<Option<Arc<dyn StorageFile>>> {
    let file = match storage.open(NEW_PAGE_FILE) {
        Ok(remains) => remains,
        Err(error) if error.is_not_found() => match storage.create(NEW_PAGE_FILE) {
            Ok(file) => file,
            // Another process made it just now: wait for what becomes of it.
            Err(error) => return storage.list().and_then(|names| retry_after(&names, error)),
        },
        Err(error) => return Err(error),
    };
    file.lock(LockMode::Exclusive, lock_timeout)?;
    // Else it has become the page file meanwhile, perhaps of a store that was set aside since.
    Ok(file.keeps_name()?.then_some(file))
}

/// Gives what [`reserve`] gave, written whole, its name.
pub fn reveal(storage: &dyn Storage, file: &dyn StorageFile) -> Result<()> {
    let seeded = storage.seeded();
    if !seeded.has(Bug::CreationUnsynced) {
        file.sync()?;
    }
    if !seeded.has(Bug::CreatedInPlace) {
        storage.rename(NEW_PAGE_FILE, PAGE_FILE)?;
    }
    if seeded.has(Bug::CreationNameUnsynced) { Ok(()) } else { storage.sync_dir() }
}

/// The two meta pages of a file in which both are `meta`.
pub fn meta_pages(meta: &Meta) -> Vec<u8> {
    let mut bytes = vec![0; META_PAGES as usize * meta.page_bytes];
    for slot in bytes.chunks_exact_mut(meta.page_bytes) {
        slot[..META_BYTES].copy_from_slice(&meta.encode());
    }
    bytes
}

/// Whether a creation that failed did so because another process was at it: then look again.
fn retry_after(names: &[String], error: Error) -> Result<Option<Arc<dyn StorageFile>>> {
    let others = names.iter().any(|name| name == NEW_PAGE_FILE || name == PAGE_FILE);
    if others { Ok(None) } else { Err(error) }
}

/// The two meta pages as they were found.
struct Slots {
    first: Result<Meta>,
    second: Result<Meta>,
    file_bytes: u64,
}

fn read_slots(file: &dyn StorageFile) -> Result<Slots> {
    let file_bytes = file.len()?;
    let first = read_slot(file, PageId(0), 0);
    let second = if let Ok(meta) = &first {
        read_slot(file, PageId(1), meta.page_bytes as u64)
    } else {
        // The page size is unknown: the second meta page tells it by where it stands.
        let places = (12..=15).map(|power| 1u64 << power);
        let mut found = places.map(|at| read_slot(file, PageId(1), at));
        let none = || Err(Error::corrupt_page(1, "it is no meta page of any page size"));
        found.find(Result::is_ok).unwrap_or_else(none)
    };
    Ok(Slots { first, second, file_bytes })
}

impl Slots {
    /// The newer of the valid meta pages.
    fn newest(&self) -> Result<Meta> {
        let meta = match (&self.first, &self.second) {
            (Ok(first), Ok(second)) if first.store_id != second.store_id => {
                return Err(Error::corrupt(PAGE_FILE, "its meta pages are of two stores"));
            }
            (Ok(first), Ok(second)) if second.sequence > first.sequence => second,
            (Ok(meta), _) | (Err(_), Ok(meta)) => meta,
            (Err(error), Err(_)) => return Err(error.clone()),
        };
        let claimed = PageId(meta.page_count).offset(meta.page_bytes);
        if self.file_bytes < claimed {
            let found = self.file_bytes;
            let reason = format!("it is {found} bytes long, its meta page says {claimed} bytes");
            return Err(Error::corrupt(PAGE_FILE, reason));
        }
        Ok(meta.clone())
    }

    /// Writes the chosen meta page again, to both slots. A write may leave garbage in its slot if
    /// the power goes, so at each moment the other slot must be good on the device itself.
    fn write_again(&self, file: &dyn StorageFile, meta: &Meta) -> Result<()> {
        // A checkpoint writes its own slot first and syncs it before it touches the other.
        let own = PageId((meta.sequence % 2) as u32);
        let other = PageId(1 - own.0);
        let found = |slot: PageId| if slot.0 == 0 { &self.first } else { &self.second };
        let order = match (found(own), found(other)) {
            // The other is written after the sync of its own: that one is on the device.
            (Ok(a), Ok(b)) if a == b => [other, own],
            // The former state in the other slot is on the device, this one perhaps not.
            (Ok(a), Ok(_)) if a == meta => [own, other],
            // Its own slot has rotted since: the good one last.
            (Ok(_) | Err(_), Ok(_)) => [own, other],
            (_, Err(_)) => [other, own],
        };
        // A process that was killed may have left a write of the other slot in the page cache: it
        // must not be on its way to the device while this one is.
        file.sync()?;
        for slot in order {
            file.write_at(&meta.encode(), slot.offset(meta.page_bytes))?;
            file.sync()?;
        }
        Ok(())
    }
}

/// Whether a closed store needs its log: by either of its meta pages, which must both be whole.
///
/// # Errors
/// `Error::Corrupt` if one is not; the storage's own.
pub fn needs_log(storage: &dyn Storage) -> Result<bool> {
    let slots = read_slots(&*storage.open(PAGE_FILE)?)?;
    Ok(slots.first?.log.life != 0 || slots.second?.log.life != 0)
}

fn read_slot(file: &dyn StorageFile, slot: PageId, at: u64) -> Result<Meta> {
    if file.len()? < at + META_BYTES as u64 {
        return Err(Error::corrupt_page(slot.0, "the file ends before this meta page"));
    }
    let mut bytes = [0; META_BYTES];
    file.read_at(&mut bytes, at)?;
    let meta = Meta::decode(&bytes, slot)?;
    if slot.offset(meta.page_bytes) != at {
        return Err(Error::corrupt_page(slot.0, "this meta page belongs to another page size"));
    }
    Ok(meta)
}

fn fits(options: &Options, meta: &Meta) -> Result<()> {
    match options.page_bytes {
        Some(asked) if asked != meta.page_bytes => Err(Error::invalid(format!(
            "pages of {asked} bytes were asked for, the store has pages of {} bytes",
            meta.page_bytes
        ))),
        _ => Ok(()),
    }
}

/// Removes what an attempt before left behind, and no file that somebody else has put there.
fn remove_temporaries(storage: &dyn Storage) -> Result<()> {
    for name in storage.list()? {
        if name == NEW_PAGE_FILE || name == NAMELESS_FILE || name.starts_with(RESTORE_PREFIX) {
            storage.remove(&name)?;
        }
    }
    Ok(())
}

/// The state that `meta` names.
fn load(
    file: Arc<dyn StorageFile>,
    meta: &Meta,
    options: &Options,
    bell: &Arc<Bell>,
) -> Result<(Box<WriteState>, DurableMark)> {
    let page_bytes = meta.page_bytes;
    let cache_bytes = usize::try_from(options.cache_bytes).unwrap_or(usize::MAX);
    let (frames, arena) = Frames::new(page_bytes, cache_bytes);
    let map = if options.memory_map { map_that_follows(&*file, options)? } else { None };
    if let Some(map) = &map {
        advise(map, meta, options);
    }
    let cache_bytes = options.cache_bytes;
    let pager = Arc::new(Pager::new(file, map, frames, page_bytes, meta.store_id, cache_bytes));
    let content = |run: Option<Run>| match run {
        Some(run) => pager.run(run, NO_TABLE),
        None => Ok(&[][..]),
    };
    let catalog = match meta.catalog {
        Some(_) => Catalog::decode(content(meta.catalog)?)?,
        None => Catalog::new(),
    };
    if let Some((last, _)) = catalog.iter().last()
        && last.id >= meta.next_table
    {
        let (next, found) = (meta.next_table, last.id);
        let reason = format!("its next table is {next}, and there is a table {found}");
        return Err(Error::corrupt(PAGE_FILE, reason));
    }
    let space = FreeSpace::decode(content(meta.free_space)?, meta.page_count)?;
    let mut pages = WritePager::new(Arc::clone(&pager), arena, space)?;
    let (pin, lease) = Pin::new(bell);
    pages.pin_pages(meta.version, Generation(0), lease);
    let runs = [meta.catalog, meta.free_space].into_iter().flatten();
    let extras = runs.map(|run| Extent { first: run.first.page, pages: run.pages(page_bytes) });
    let durable = DurableMark::new(meta.clone(), extras.collect(), pin);
    let limits = Limits {
        // A record never spans segments, and a group closes well below one.
        request_log_bytes: options.log_segment_bytes as usize / 4,
        dirty_bytes: options.dirty_bytes,
        sort_bytes: usize::try_from(options.sort_bytes).unwrap_or(usize::MAX / 2),
    };
    let state = WriteState::new(pages, catalog, meta.version, meta.next_table, limits);
    Ok((Box::new(state), durable))
}

/// Tells the kernel how the options would have the map.
fn advise(map: &Map, meta: &Meta, options: &Options) {
    if options.map_huge_pages {
        map.want_huge_pages();
    }
    if options.map_prefault {
        map.want_ahead();
        map.map_ahead(PageId(meta.page_count).offset(meta.page_bytes));
    }
}

/// The file's map, if what pwrite writes can be read through it; on some network and FUSE file
/// systems it cannot. Shown by a number written behind the content of meta page 0, where nothing is
/// read; a store that is only read trusts what it finds.
fn map_that_follows(file: &dyn StorageFile, options: &Options) -> Result<Option<Arc<Map>>> {
    let Some(map) = file.map() else { return Ok(None) };
    let at = META_BYTES as u64;
    let seen = |map: &Map| map.bytes(at, NONCE_BYTES).map(<[u8]>::to_vec);
    // The page is brought into the map before the number is written.
    let before = seen(&map);
    if options.read_only {
        let mut written = vec![0; NONCE_BYTES];
        file.read_at(&mut written, at)?;
        return Ok((before == Some(written)).then_some(map));
    }
    let nonce = RandomState::new().hash_one(&before).to_le_bytes();
    file.write_at(&nonce, at)?;
    Ok((seen(&map) == Some(nonce.to_vec())).then_some(map))
}

fn replay_log(
    storage: &dyn Storage,
    meta: &Meta,
    state: &mut WriteState,
    options: &Options,
) -> Result<ReplayEnd> {
    let (position, version) = (position(meta.log), meta.version);
    let start = ReplayStart { position, version, synced: version };
    let mut replaying = Replaying::new(state, options.cache_bytes);
    let end = replay(storage, meta.store_id, start, &mut |first, last, ops| {
        replaying.record(first, last, ops)
    })?;
    if end.torn && options.log_recovery == LogRecovery::Strict {
        let reason = format!("behind version {} stands a record that is not whole", end.last.0);
        return Err(Error::corrupt("log", reason));
    }
    Ok(end)
}

/// Writes the meta page that was found again, to both slots, naming the new log.
pub fn renew_meta(pager: &Pager, durable: &mut DurableMark, log: &Log) -> Result<()> {
    let mut meta = durable.meta.clone();
    meta.sequence += 1;
    meta.log = log_position(log.position());
    write_metas(pager, &meta)?;
    durable.meta = meta;
    Ok(())
}
