//! Pages as they stand in the page file, for whoever copies a store, and of deltas for checkpoints:
//! sealed, and verified.
//! Absent on purpose: the cache. A copy reads each page once; to keep them all in frames until its
//! snapshot goes would fill it.

use super::{Pager, TableId, beyond, slots::Slot};
use crate::{
    error::Result,
    page::{self, Child, HEADER_BYTES, PageId, Run, delta, leaf::LeafBytes, overflow},
};

impl Pager {
    /// Copies a page of a pinned tree to `out`, as the page file has it or will have it.
    ///
    /// # Errors
    /// `Error::Corrupt` if it is not the page meant; `Error::Io` where there is no map.
    pub fn copy_page(
        &self,
        child: Child,
        table: TableId,
        level: u8,
        out: &mut Vec<u8>,
    ) -> Result<()> {
        if self.copy(child.page, self.page_bytes, out)? {
            page::seal(out, self.seed);
        } else {
            page::verify(out, child.page, self.seed)?;
        }
        page::expect(out, child, table, level)
    }

    /// Copies a run of a pinned tree, in whole pages.
    ///
    /// # Errors
    /// As [`copy_page`](Self::copy_page).
    pub fn copy_run(&self, run: Run, table: TableId, out: &mut Vec<u8>) -> Result<()> {
        let len = HEADER_BYTES + run.len as usize;
        let is_dirty = self.copy(run.first.page, len, out)?;
        overflow::content(out, run, table)?;
        if is_dirty {
            overflow::seal_run(out, self.seed);
        } else {
            overflow::verify_run(out, run, self.seed)?;
        }
        out.resize(len.next_multiple_of(self.page_bytes), 0);
        Ok(())
    }

    /// Appends the page that a delta stands for, with no checksum yet. The delta's frame, and so
    /// its base, stay meanwhile: the caller's pin sees to it.
    ///
    /// # Errors
    /// `Error::Corrupt`; `Error::Io` where there is no map.
    pub(super) fn append_folded(&self, delta: &[u8], out: &mut Vec<u8>) -> Result<()> {
        let base = delta::base(delta);
        let mut copy = Vec::new();
        let base = if let Some(bytes) = self.mapped(base.page, self.page_bytes) {
            bytes
        } else {
            if !self.copy(base.page, self.page_bytes, &mut copy)? {
                page::verify(&copy, base.page, self.seed)?;
            }
            &copy
        };
        page::expect(base, delta::base(delta), page::table(delta), 0)?;
        let start = out.len();
        out.resize(start + self.page_bytes, 0);
        delta::fold(LeafBytes { page: delta, base }, &mut out[start..])
    }

    /// Copies `len` bytes from a page on. True: from a frame, whose checksum is not up to date.
    fn copy(&self, first: PageId, len: usize, out: &mut Vec<u8>) -> Result<bool> {
        out.clear();
        // A frame stays while its snapshot is pinned, also if its page turns clean meanwhile; and a
        // page that is cold or clean lies in the file.
        if let Slot::Frame(frame) = self.slots.load(first.0) {
            if frame.is_delta() {
                self.append_folded(self.frames.bytes(frame), out)?;
                return Ok(true);
            }
            out.extend_from_slice(self.framed(first, frame, len)?);
            return Ok(true);
        }
        if let Some(bytes) = self.mapped(first, len) {
            out.extend_from_slice(bytes);
            return Ok(false);
        }
        let offset = first.offset(self.page_bytes);
        // Before anything is allocated for it (I9).
        if offset + len as u64 > self.file.len()? {
            return Err(beyond(first));
        }
        out.resize(len, 0);
        self.file.read_at(out, offset)?;
        Ok(false)
    }
}
