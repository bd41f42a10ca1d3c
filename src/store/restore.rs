//! A store made from a copy and the increments behind it.
//! Owns: [`restore`]. Absent on purpose: a restore into a store that is there.
//!
//! The store is made under temporary names in the directory where it is to stand, as any store is
//! written, and has its name once it is closed and whole.

use super::{
    Store,
    increment::{
        format::{Reader, Record},
        place,
    },
};
use crate::{
    error::{Error, Result},
    options::{LOG_PREFIX, Options, PAGE_FILE, RESTORE_PREFIX},
    storage::{Storage, file::FileStorage, prefixed::Prefixed},
    sync::{Arc, PlainArc, erased},
    txn::{
        backup::{back_up, exists},
        catalog::{TableTypes, name_hash},
        recover::{needs_log, reserve},
        snapshot::Snapshot,
        write::{WriteState, WriteTx},
    },
};
use std::{io, path::Path, time::Duration};

/// How long a restore waits for another process that makes a store in the same directory.
const LOCK_TIMEOUT: Duration = Duration::from_secs(5);
/// The log of a restore does not come along, and large increments commit without it: a store of a
/// few pages must not need room for segments of the usual length.
const SEGMENT_BYTES: u64 = 256 << 10;

/// Makes a store in the directory `dir` from the copy in `base` ([`Store::backup`]) and those of
/// `increments` ([`Store::backup_since`], in any order) that lead to `version`, or to the newest
/// one that any of them names if that is left out. Gives the version of the store, which it opens
/// with.
///
/// Every increment that is needed is read and verified before anything is made. A value that is
/// replaced or removed must be the one that it was: a copy that was written to is noticed there.
///
/// Cost: the copy is read and written once; memory as of a transaction of each increment's size.
///
/// # Errors
/// [`Error::Invalid`] if no increments lead to `version`, or one is of another store;
/// [`Error::Corrupt`] naming a damaged increment, or one that does not fit; [`Error::Io`] of kind
/// `AlreadyExists` if there is a store in `dir`; [`Error::Locked`] if the copy is in use. No store
/// is there then, and the restore can be tried again.
pub fn restore<P: AsRef<Path>>(
    base: impl AsRef<Path>,
    increments: &[P],
    dir: impl AsRef<Path>,
    version: Option<u64>,
) -> Result<u64> {
    let mut links = Vec::new();
    for file in increments {
        let (directory, name) = place(file.as_ref())?;
        let file = FileStorage::existing(&directory)?.open(&name)?;
        links.push(Reader::open(file, &name)?);
    }
    let base = Options::new().create(false).read_only(true).open(base)?;
    let target: Arc<dyn Storage> = erased(PlainArc::new(FileStorage::new(dir.as_ref())?));
    restore_to(&base.snapshot(), links, &target, version)
}

/// As [`restore`], between storages.
pub fn restore_to(
    base: &Snapshot,
    links: Vec<Reader>,
    target: &Arc<dyn Storage>,
    version: Option<u64>,
) -> Result<u64> {
    let chain = chain(base, links, version)?;
    for link in &chain {
        link.again()?.records(|_, _| Ok::<(), Error>(()))?;
    }
    if chain.is_empty() {
        return back_up(base, &**target, LOCK_TIMEOUT);
    }
    vacant(&**target)?;
    // Whoever else makes a store here waits for this lock.
    let Some(claim) = reserve(&**target, LOCK_TIMEOUT)? else { return Err(exists(PAGE_FILE)) };
    let unfinished = PlainArc::new(Prefixed::new(target.clone(), RESTORE_PREFIX));
    unfinished.clear()?;
    let storage: Arc<dyn Storage> = erased(unfinished.clone());
    let made = make(base, chain, &storage).and_then(|version| {
        vacant(&**target)?;
        target.rename(&format!("{RESTORE_PREFIX}{PAGE_FILE}"), PAGE_FILE)?;
        target.sync_dir()?;
        Ok(version)
    });
    // What is left, log segments or a failed attempt, means nothing, and the next opening removes
    // what cannot be removed now.
    let _ = unfinished.clear();
    drop(claim);
    made
}

fn vacant(target: &dyn Storage) -> Result<()> {
    let is_ours = |name: &String| name == PAGE_FILE || name.starts_with(LOG_PREFIX);
    match target.list()?.iter().find(|name| is_ours(name)) {
        Some(name) => Err(exists(name)),
        None => Ok(()),
    }
}

/// The increments that lead from the base to `version`, or to the newest, in order.
fn chain(base: &Snapshot, links: Vec<Reader>, version: Option<u64>) -> Result<Vec<Reader>> {
    let (store_id, first) = (base.pages()?.store_id(), base.version());
    if let Some(foreign) = links.iter().find(|link| link.header.store_id != store_id) {
        let name = foreign.name();
        return Err(Error::invalid(format!("the increment {name} is of another store")));
    }
    // Each version that can be reached, and by which increment it is reached first. An increment
    // leads to a greater version than its base, so ways back to the first one end.
    let mut reached: Vec<(u64, Option<usize>)> = vec![(first, None)];
    let mut next = 0;
    while let Some(&(from, _)) = reached.get(next) {
        for (index, link) in links.iter().enumerate() {
            let to = link.header.target;
            if link.header.base == from && !reached.iter().any(|&(seen, _)| seen == to) {
                reached.push((to, Some(index)));
            }
        }
        next += 1;
    }
    // Not as far as they lead: one that is missing would go unnoticed.
    let newest = links.iter().map(|link| link.header.target).max().unwrap_or(first);
    let wanted = version.unwrap_or(newest.max(first));
    let mut links: Vec<Option<Reader>> = links.into_iter().map(Some).collect();
    let (mut chain, mut to) = (Vec::new(), wanted);
    while to != first {
        let found = reached.iter().find(|&&(version, _)| version == to);
        let link = found.and_then(|&(_, index)| links[index?].take()).ok_or_else(|| {
            Error::invalid(format!("no increments lead from version {first} to version {wanted}"))
        })?;
        to = link.header.base;
        chain.push(link);
    }
    chain.reverse();
    Ok(chain)
}

/// Makes the store, closed, with all of it in its page file.
fn make(base: &Snapshot, chain: Vec<Reader>, storage: &Arc<dyn Storage>) -> Result<u64> {
    back_up(base, &**storage, LOCK_TIMEOUT)?;
    let options = Options::new().create(false).log_segment_bytes(SEGMENT_BYTES);
    let store = options.open_storage(storage)?;
    for mut link in chain {
        store.write(|tx| apply(tx, &mut link))?;
    }
    // A close whose checkpoint fails leaves it to the log, which does not come along.
    store.checkpoint()?;
    let version = store.close()?.version;
    drop(store);
    if needs_log(&**storage)? {
        let reason = io::Error::other("its last checkpoint failed, and it needs its log");
        return Err(Error::io("restore", PAGE_FILE, reason));
    }
    Ok(version)
}

/// Applies an increment as one transaction, which takes all of its versions.
fn apply(tx: &mut WriteTx<'_>, link: &mut Reader) -> Result<()> {
    let state = tx.state_mut();
    state.take_versions(link.header.target - link.header.base);
    let mut table = None;
    link.records(|link, record| step(state, link, record, &mut table))
}

fn step(
    state: &mut WriteState,
    link: &Reader,
    record: Record<'_>,
    table: &mut Option<usize>,
) -> Result<()> {
    let fits = |fits: bool| {
        if fits { Ok(()) } else { Err(link.damaged("it was made from other content")) }
    };
    let open =
        |table: &Option<usize>| table.ok_or_else(|| link.damaged("it changes entries of no table"));
    match record {
        Record::Drop { name } => fits(state.drop_table(name)?),
        Record::Rename { from, to } => fits(state.rename_table(from, to)?),
        Record::Table { name, types } => {
            let types = TableTypes::decode(link.name(), types)?;
            *table = Some(state.open_table(name_hash(name.as_bytes()), name, &types)?);
            Ok(())
        }
        Record::Put { key, value, old } => {
            let table = open(table)?;
            fits(state.get(table, key)?.map(crc32c::crc32c) == old)?;
            state.insert(table, key, value).map(drop)
        }
        Record::Remove { key, old } => {
            let table = open(table)?;
            fits(state.get(table, key)?.map(crc32c::crc32c) == Some(old))?;
            state.remove(table, key).map(drop)
        }
        Record::Len { entries } => fits(state.len(open(table)?) == entries),
    }
}

impl Store {
    /// As [`restore`], of this store's newest version and increments on a simulated disk.
    #[cfg(feature = "simulation")]
    pub fn restore_simulated(
        &self,
        increments: &[(&crate::storage::sim::SimDisk, &str)],
        disk: &crate::storage::sim::SimDisk,
        version: Option<u64>,
    ) -> Result<u64> {
        let open = |(disk, name): &(&crate::storage::sim::SimDisk, &str)| {
            Reader::open(disk.open(name)?, name)
        };
        let links = increments.iter().map(open).collect::<Result<_>>()?;
        let target: Arc<dyn Storage> = erased(PlainArc::new(disk.clone()));
        restore_to(&self.snapshot(), links, &target, version)
    }
}
