//! What a checkpoint is to write, laid out.
//! Owns: the choice of pages, and the places and encodings of the catalog and the list of free
//! space.

use super::{
    checkpoint::{DurableMark, log_position},
    write::WriteState,
};
use crate::{
    error::Result,
    page::{Child, HEADER_BYTES, PageId, Run},
    pager::{
        Pages,
        checkpoint::{Cut, Extra},
        write::{Draw, Extent},
    },
    publish::Version,
    seeded::{Bug, Seeded},
    wal::Position,
};

impl DurableMark {
    /// A cut of the state applied last, whose meta page says that the log goes on at `log`; and the
    /// runs that it takes beside the trees.
    ///
    /// # Errors
    /// [`Error::Full`](crate::Error::Full) if there is no room for them; nothing has changed then.
    pub(super) fn cut(
        &mut self,
        state: &mut WriteState,
        log: Position,
        seeded: Seeded,
    ) -> Result<(Cut, Vec<Extent>)> {
        let mut pages = state.pages.dirty();
        if seeded.has(Bug::CutLacksNewest) {
            pages.retain(|dirty| dirty.birth != state.version);
        }
        let mut meta = self.meta.clone();
        meta.sequence += 1;
        meta.version = state.version;
        meta.next_table = state.next_table;
        if !seeded.has(Bug::LogPositionStale) {
            meta.log = log_position(log);
        }
        if seeded.has(Bug::DurableRunsFreedEarly) {
            for extent in std::mem::take(&mut self.extras) {
                state.pages.give_pages(extent);
            }
        }
        let mut cut = Cut { pages, extras: Vec::new(), meta };
        let mut extents = Vec::new();
        state.pages.draw_on_reserve(Draw::Checkpoint);
        let laid_out = self.lay_out_extras(state, &mut cut, &mut extents, seeded);
        state.pages.draw_on_reserve(Draw::Nothing);
        if let Err(error) = laid_out {
            for extent in extents {
                state.pages.give_pages(extent);
            }
            return Err(error);
        }
        Ok((cut, extents))
    }

    /// Places and encodes the catalog and the list of free space.
    fn lay_out_extras(
        &self,
        state: &mut WriteState,
        cut: &mut Cut,
        extents: &mut Vec<Extent>,
        seeded: Seeded,
    ) -> Result<()> {
        let birth = state.version;
        cut.meta.catalog = None;
        if seeded.has(Bug::CatalogStale) {
            cut.meta.catalog = self.meta.catalog;
        } else if !state.catalog.is_empty() {
            let mut content = Vec::new();
            state.catalog.encode(&mut content);
            let run = take_run(state, content.len(), birth, extents)?;
            cut.meta.catalog = Some(run);
            cut.extras.push(Extra { first: run.first.page, content, birth });
        }
        // The list says what is free once this checkpoint counts, its own pages excepted: taken for
        // the worst case first, and the rest given back.
        let worst = state.pages.free_space_bytes_max(self.extras.len() + 2);
        let run = take_run(state, worst, birth, extents)?;
        let taken = extents.last_mut().expect("just taken");
        let page_bytes = state.pages.page_bytes();
        let mut content = Vec::new();
        let mut end = state.pages.encode_free_space(&self.extras, &mut content);
        // Giving the tail back may add one extent to the list.
        let len = (content.len() + 10).min(worst) as u32;
        let keep = Run { len, ..run }.pages(page_bytes);
        if keep < taken.pages {
            let first = PageId(taken.first.0 + keep);
            let pages = taken.pages - keep;
            taken.pages = keep;
            state.pages.give_pages(Extent { first, pages });
            content.clear();
            end = state.pages.encode_free_space(&self.extras, &mut content);
        }
        // The run is as long as its pages: the length tells a reopening how many it took.
        content.resize(taken_bytes(extents, page_bytes), 0);
        let run = Run { len: content.len() as u32, ..run };
        cut.meta.free_space = Some(run);
        cut.meta.page_count = end;
        cut.extras.push(Extra { first: run.first.page, content, birth });
        Ok(())
    }
}

fn take_run(
    state: &mut WriteState,
    len: usize,
    birth: Version,
    out: &mut Vec<Extent>,
) -> Result<Run> {
    let first = Child { page: PageId(0), birth: birth.0 as u32 };
    let mut run = Run { first, len: len as u32 };
    let pages = run.pages(state.pages.page_bytes());
    run.first.page = state.pages.take_pages(pages)?;
    out.push(Extent { first: run.first.page, pages });
    Ok(run)
}

/// The content that the run taken last has room for, in bytes.
fn taken_bytes(extents: &[Extent], page_bytes: usize) -> usize {
    extents.last().map_or(0, |taken| taken.pages as usize * page_bytes - HEADER_BYTES)
}
