//! A checkpoint's way to the disk: pages, sync, one meta page, sync, the other, sync.
//! Owns: [`Cut`], what one checkpoint writes, and the order in which it does. Keeps I3.
//!
//! Until the first byte of a meta page is written, a checkpoint that fails is merely abandoned: no
//! meta page names what it wrote. From then on a failure poisons, for a meta page that seems lost
//! may still reach the disk later. A failed sync poisons at any point (I10).

use super::{Pager, write::DirtyPage};
use crate::{
    error::{Error, Result},
    page::{
        self, Kind, PageId,
        meta::{META_BYTES, Meta},
        overflow,
    },
    publish::Version,
    seeded::Bug,
    sync::Arc,
};
use std::ops::Range;

/// Adjoining pages are written together, as far as a border of this many bytes in the file: a huge
/// page. A piece that is first written whole is one in the kernel's cache too, and the map then
/// needs one translation for it in place of 512 (measured at 2.8 GB: a page touched at random takes
/// 218 ns in place of 348).
pub const WRITE_BYTES: u64 = 2 << 20;

/// What a checkpoint has on its way to the device at most, beside one piece of adjoining pages: it
/// waits for what it began before it begins more than half of this. All at once would be in front
/// of each sync of the log meanwhile.
const UNDERWAY_BYTES: u64 = 256 << 10;

/// The table id of runs that belong to no tree: the catalog and the list of free space.
pub const NO_TABLE: u32 = 0;

/// Content that is written beside the trees, in a run of its own.
pub struct Extra {
    /// The run's first page.
    pub first: PageId,
    /// What it holds.
    pub content: Vec<u8>,
    /// The version that the run names as its birth.
    pub birth: Version,
}

/// What one checkpoint writes. The snapshot it was taken from must be pinned as long as it lives.
pub struct Cut {
    /// Dirty pages, ascending.
    pub pages: Vec<DirtyPage>,
    /// The catalog and the list of free space.
    pub extras: Vec<Extra>,
    /// The new root of everything.
    pub meta: Meta,
}

/// How often [`write_cut`] syncs: behind the pages, and behind each meta page.
pub const CUT_SYNCS: u64 = 3;

impl Cut {
    /// What [`write_cut`] writes, in bytes.
    pub fn bytes(&self, page_bytes: usize) -> u64 {
        let pages: usize = self.pages.iter().map(|dirty| dirty.pages as usize).sum();
        let extras: usize = self.extras.iter().map(|extra| extra.bytes(page_bytes)).sum();
        // Both meta pages.
        ((pages + 2) * page_bytes + extras) as u64
    }
}

/// How a checkpoint failed.
#[derive(Debug)]
pub enum Failure {
    /// Nothing names what was written: the checkpoint may be tried again.
    Abandoned(Error),
    /// The disk may hold anything between the old state and the new: the store is poisoned.
    Poisoned(Error),
}

impl Failure {
    /// The error behind it.
    pub fn error(&self) -> &Error {
        let (Failure::Abandoned(error) | Failure::Poisoned(error)) = self;
        error
    }
}

/// Writes `cut` and makes it the newest durable state. The log must be synced through the cut's
/// version before.
pub fn write_cut(pager: &Arc<Pager>, cut: &Cut) -> Result<(), Failure> {
    if pager.seeded().has(Bug::MetaBeforePages) {
        write_metas(pager, &cut.meta).map_err(Failure::Poisoned)?;
    }
    write_pages(pager, &cut.pages)?;
    for extra in &cut.extras {
        write_extra(pager, extra).map_err(Failure::Abandoned)?;
    }
    if !pager.seeded().has(Bug::PagesUnsynced) {
        pager.file.sync().map_err(Failure::Poisoned)?;
    }
    let forgotten = pager.seeded().has(Bug::FailedMetaForgotten);
    let failure = if forgotten { Failure::Abandoned } else { Failure::Poisoned };
    write_metas(pager, &cut.meta).map_err(failure)
}

/// Makes `meta` the newest meta page, in both slots. A failure leaves it open which one counts.
pub fn write_metas(pager: &Pager, meta: &Meta) -> Result<()> {
    // The other slot first; then the same meta page over the former newest, so that one rotten bit
    // in the newest never falls back to a state whose pages have been overwritten.
    let other = PageId((meta.sequence % 2) as u32);
    let seeded = pager.seeded();
    let is_first_synced = !seeded.has(Bug::FirstMetaUnsynced) && !seeded.has(Bug::MetasUnsynced);
    write_meta(pager, meta, other, is_first_synced)?;
    if seeded.has(Bug::OneMetaSlot) {
        return Ok(());
    }
    write_meta(pager, meta, PageId(1 - other.0), !seeded.has(Bug::MetasUnsynced))
}

/// Writes one meta page and syncs it, unless a seeded bug forgets that.
fn write_meta(pager: &Pager, meta: &Meta, slot: PageId, is_synced: bool) -> Result<()> {
    let mut bytes = vec![0; pager.page_bytes];
    bytes[..META_BYTES].copy_from_slice(&meta.encode());
    pager.file.write_at(&bytes, slot.offset(pager.page_bytes))?;
    if is_synced { pager.file.sync() } else { Ok(()) }
}

/// Writes pages from their frames to their places, adjoining ones in one call, with only so much
/// underway to the device at any time. They are sealed in a copy: a published page's bytes are
/// never touched, not even for a checksum (I1).
fn write_pages(pager: &Pager, pages: &[DirtyPage]) -> Result<(), Failure> {
    let mut sealed = Vec::new();
    // What is written and not begun, and what is begun and not awaited.
    let (mut written, mut underway) = (None::<Range<u64>>, None::<Range<u64>>);
    let mut written_bytes = 0;
    for piece in pieces(pager, pages) {
        sealed.clear();
        let offset = append_sealed(pager, piece, &mut sealed).map_err(Failure::Abandoned)?;
        pager.file.write_at(&sealed, offset).map_err(Failure::Abandoned)?;
        let bytes = sealed.len() as u64;
        written_bytes += bytes;
        let all = written.map_or(offset, |before| before.start)..offset + bytes;
        if written_bytes < UNDERWAY_BYTES / 2 {
            written = Some(all);
            continue;
        }
        pager.file.start_writing(all.start, all.end - all.start);
        if let Some(before) = underway.replace(all) {
            let waited = pager.file.await_writing(before.start, before.end - before.start);
            waited.map_err(Failure::Poisoned)?;
        }
        (written, written_bytes) = (None, 0);
    }
    Ok(())
}

/// The pieces in which ascending pages are written.
pub fn pieces<'p>(
    pager: &Pager,
    pages: &'p [DirtyPage],
) -> impl Iterator<Item = &'p [DirtyPage]> + use<'p> {
    let page_bytes = pager.page_bytes;
    pages.chunk_by(move |page, next| {
        let end = PageId(page.page.0 + page.pages);
        next.page == end && !end.offset(page_bytes).is_multiple_of(WRITE_BYTES)
    })
}

/// Appends what is to be written of a piece to `sealed`, and gives its place in the file.
///
/// # Errors
/// Those of reading the base of a delta; `sealed` means nothing then.
pub fn append_sealed(pager: &Pager, piece: &[DirtyPage], sealed: &mut Vec<u8>) -> Result<u64> {
    for dirty in piece {
        append_sealed_page(pager, dirty, sealed)?;
    }
    Ok(piece.first().map_or(0, |first| first.page.offset(pager.page_bytes)))
}

fn append_sealed_page(pager: &Pager, dirty: &DirtyPage, buffer: &mut Vec<u8>) -> Result<()> {
    let start = buffer.len();
    let bytes = pager.frames.bytes(dirty.frame);
    if dirty.frame.is_delta() {
        pager.append_folded(bytes, buffer)?;
    } else {
        buffer.extend_from_slice(&bytes[..dirty.pages as usize * pager.page_bytes]);
    }
    let copy = &mut buffer[start..];
    if page::kind(copy) == Some(Kind::Overflow) {
        overflow::seal_run(copy, pager.seed);
    } else {
        page::seal(copy, pager.seed);
    }
    Ok(())
}

fn write_extra(pager: &Pager, extra: &Extra) -> Result<()> {
    let bytes = extra.encode(pager.page_bytes, pager.seed);
    pager.file.write_at(&bytes, extra.first.offset(pager.page_bytes))
}

impl Extra {
    /// The length of the run, in bytes.
    fn bytes(&self, page_bytes: usize) -> usize {
        (page::HEADER_BYTES + self.content.len()).next_multiple_of(page_bytes)
    }

    /// The pages of the run, sealed.
    pub fn encode(&self, page_bytes: usize, seed: u32) -> Vec<u8> {
        let mut bytes = vec![0; self.bytes(page_bytes)];
        overflow::write(&mut bytes, self.first, self.birth, NO_TABLE, &self.content);
        overflow::seal_run(&mut bytes, seed);
        bytes
    }
}
