//! A snapshot's pages, copied to a page file of their own.
//! Owns: [`back_up`]. Keeps I3: the copy gets its name once all of it is synced, and never that of
//! a file that is there.
//!
//! Pages keep their numbers, so they are copied as they are; what the snapshot does not reach is
//! free in the copy. Its log is empty.

use super::{
    checkpoint::log_position,
    recover::{meta_pages, reserve, reveal},
    snapshot::View,
};
use crate::{
    error::{Error, Result},
    options::{LOG_PREFIX, PAGE_FILE},
    page::{
        Child, PageId, Run,
        meta::{META_PAGES, Meta, seed},
    },
    pager::{
        Pages,
        alloc::FreeSpace,
        checkpoint::{Extra, NO_TABLE},
    },
    storage::{Storage, StorageFile},
    wal::Position,
};
use std::{io, iter, time::Duration};

/// Adjoining pages are written together, up to this many bytes in one call.
const WRITE_BYTES: usize = 1 << 20;
/// The file is lengthened by at least this many pages at a time.
const GROWTH_PAGES_MIN: u32 = 256;

/// Writes the store that `view` shows to `target`, and makes it durable; gives its version.
///
/// # Errors
/// `Error::Io` of kind `AlreadyExists` if there is a store; `Error::Locked` if another process is
/// making one; `Error::Full`; `Error::Corrupt` if a page of `view` is damaged. Then `target` holds
/// at most a file under a temporary name, which the next attempt writes over.
pub fn back_up(view: &View, target: &dyn Storage, lock_timeout: Duration) -> Result<u64> {
    let names = target.list()?;
    let is_ours = |name: &String| name == PAGE_FILE || name.starts_with(LOG_PREFIX);
    if let Some(name) = names.iter().find(|name| is_ours(name)) {
        return Err(exists(name));
    }
    let Some(file) = reserve(target, lock_timeout)? else { return Err(exists(PAGE_FILE)) };
    if let Err(error) = copy(view, &*file) {
        // What a full device needs most is its space; without it nothing is lost.
        let _ = file.truncate(0);
        return Err(error);
    }
    // From here on the file may have its name, and is whole.
    reveal(target, &*file)?;
    Ok(view.version())
}

/// What a backup answers where something is already.
pub fn exists(name: &str) -> Error {
    let reason = "it is there already, and a backup never overwrites";
    Error::io("backup", name, io::Error::new(io::ErrorKind::AlreadyExists, reason))
}

fn copy(view: &View, file: &dyn StorageFile) -> Result<()> {
    let pager = view.pages()?;
    let page_bytes = pager.page_bytes();
    // A page file lies behind these numbers, or frames that will: more cannot be in use.
    let mut copy = Copy::new(file, page_bytes)?;
    for (_, tree) in view.catalog.iter() {
        tree.copy(pager, &mut |first, bytes| copy.put(first, bytes))?;
    }
    let mut meta = Meta {
        page_bytes,
        store_id: pager.store_id(),
        sequence: 1,
        version: view.version,
        page_count: copy.end,
        next_table: view.catalog.iter().map(|(entry, _)| entry.id).max().unwrap_or(NO_TABLE) + 1,
        catalog: None,
        free_space: None,
        log: log_position(Position::NONE),
    };
    let mut content = Vec::new();
    if !view.catalog.is_empty() {
        view.catalog.encode(&mut content);
        meta.catalog = Some(copy.extra(&meta, content)?);
    }
    // The list of free pages lies behind them all.
    let mut content = Vec::new();
    copy.free_space().list(iter::empty()).encode(&mut content);
    if !content.is_empty() {
        meta.free_space = Some(copy.extra(&meta, content)?);
    }
    meta.page_count = copy.end;
    copy.finish(&meta)
}

/// A page file that is being written.
struct Copy<'f> {
    file: &'f dyn StorageFile,
    page_bytes: usize,
    /// One bit a page: whether it was written.
    used: Vec<u64>,
    /// Behind the last page written.
    end: u32,
    allocated: u32,
    /// Adjoining pages, and where the first belongs.
    buffer: Vec<u8>,
    first: PageId,
}

impl<'f> Copy<'f> {
    fn new(file: &'f dyn StorageFile, page_bytes: usize) -> Result<Copy<'f>> {
        file.truncate(0)?;
        let (used, buffer) = (Vec::new(), Vec::new());
        let (end, first) = (META_PAGES, PageId(META_PAGES));
        Ok(Copy { file, page_bytes, used, end, allocated: 0, buffer, first })
    }

    /// Puts whole pages in their place.
    fn put(&mut self, first: PageId, bytes: &[u8]) -> Result<()> {
        let pages = (bytes.len() / self.page_bytes) as u32;
        let stop = first.0.checked_add(pages).filter(|_| first.0 >= META_PAGES);
        let stop = stop.ok_or_else(|| Error::corrupt_page(first.0, "no tree can name it"))?;
        self.used.resize(self.used.len().max((stop as usize).div_ceil(64)), 0);
        for page in first.0..stop {
            let (word, bit) = (page as usize / 64, 1u64 << (page % 64));
            if self.used[word] & bit != 0 {
                return Err(Error::corrupt_page(page, "it is named twice"));
            }
            self.used[word] |= bit;
        }
        self.end = self.end.max(stop);
        let next = self.first.0 + (self.buffer.len() / self.page_bytes) as u32;
        if first.0 != next || self.buffer.len() + bytes.len() > WRITE_BYTES {
            self.flush()?;
            self.first = first;
        }
        self.buffer.extend_from_slice(bytes);
        Ok(())
    }

    fn flush(&mut self) -> Result<()> {
        if self.end > self.allocated {
            let target = self.end.max(self.allocated.saturating_add(self.allocated / 8));
            let target = target.max(self.allocated.saturating_add(GROWTH_PAGES_MIN));
            self.file.allocate(PageId(target).offset(self.page_bytes))?;
            self.allocated = target;
        }
        self.file.write_at(&self.buffer, self.first.offset(self.page_bytes))?;
        self.buffer.clear();
        Ok(())
    }

    /// Puts a run that belongs to no tree behind everything else.
    fn extra(&mut self, meta: &Meta, content: Vec<u8>) -> Result<Run> {
        let first = Child { page: PageId(self.end), birth: meta.version.0 as u32 };
        let run = Run { first, len: content.len() as u32 };
        let extra = Extra { first: first.page, content, birth: meta.version };
        self.put(first.page, &extra.encode(self.page_bytes, seed(meta.store_id)))?;
        Ok(run)
    }

    fn free_space(&self) -> FreeSpace {
        let mut space = FreeSpace::new(self.end);
        let is_used = |page: u32| self.used[page as usize / 64] & (1 << (page % 64)) != 0;
        let mut page = META_PAGES;
        while page < self.end {
            let first = page;
            while page < self.end && !is_used(page) {
                page += 1;
            }
            if page > first {
                space.give_extent(PageId(first), page - first);
            }
            page += 1;
        }
        space
    }

    fn finish(mut self, meta: &Meta) -> Result<()> {
        self.flush()?;
        self.file.truncate(PageId(self.end).offset(self.page_bytes))?;
        self.file.allocate(PageId(self.end).offset(self.page_bytes))?;
        self.file.write_at(&meta_pages(meta), 0)
    }
}
