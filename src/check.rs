//! The whole store, page by page: everything that checksums cannot prove.
//! Owns: [`CheckReport`] and the sum over all tables: every page of the file is in one tree, or in
//! one of the runs beside them, or free, and only once. Absent on purpose: repair.

use crate::{
    error::{Error, Result},
    page::{PageId, meta::META_PAGES},
    pager::Pager,
    publish::Version,
    store::Store,
    tree::{
        Tree,
        check::{TreeReport, Visit},
    },
    txn::{checkpoint::Inventory, writer::Writer},
};

/// What a check found; damage is its error instead.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct CheckReport {
    /// The version that was checked.
    pub version: u64,
    /// Tables.
    pub tables: u64,
    /// Entries in all tables.
    pub entries: u64,
    /// Pages in trees and runs, meta pages included.
    pub used_pages: u64,
    /// Pages that are free, or wait for a reader or a checkpoint.
    pub free_pages: u64,
}

impl Store {
    /// Reads every page of the newest version and checks it: checksums, births, cells, order within
    /// and between pages, separators, levels, the counts of entries, every overflow run, the
    /// catalog, and that each page of the file is used once or free. Readers and writers go on.
    ///
    /// Cost: a visit to every page, with the feature `rayon` by all cores; the version that is
    /// checked is held meanwhile, and with it the pages that it alone can see.
    ///
    /// # Errors
    /// [`Error::Corrupt`] naming the first damage; without a map [`Error::Full`] if the pages that
    /// are checked exceed [`Options::cache_bytes`](crate::Options::cache_bytes).
    pub fn check(&self) -> Result<CheckReport> {
        self.check_with(|_, _| {})
    }

    /// As [`check`](Self::check); `progress` is told the pages seen and the pages there are.
    pub fn check_with(&self, mut progress: impl FnMut(u64, u64)) -> Result<CheckReport> {
        self.inspect(Writer::inventory)?.check(&mut progress)
    }
}

impl Inventory {
    /// Checks every page of the version in it.
    pub(crate) fn check(&self, progress: &mut dyn FnMut(u64, u64)) -> Result<CheckReport> {
        self.check_trees(progress, Tree::check_by_all)
    }

    /// Checks everything, each tree by `check`, which also gets the file's length in pages.
    fn check_trees(
        &self,
        progress: &mut dyn FnMut(u64, u64),
        check: impl Fn(&Tree, &Pager, Version, u32, Visit<'_>) -> Result<TreeReport>,
    ) -> Result<CheckReport> {
        let inventory = self;
        let mut ledger = Ledger::new(inventory.end);
        for extent in &inventory.extras {
            ledger.enter(extent.first, extent.pages, "a run beside the trees")?;
        }
        for extent in &inventory.free {
            ledger.enter(extent.first, extent.pages, "the list of free space")?;
        }
        let free_pages: u64 = inventory.free.iter().map(|extent| u64::from(extent.pages)).sum();
        let view = &inventory.view;
        let mut report =
            CheckReport { version: view.version(), free_pages, ..CheckReport::default() };
        for (entry, tree) in view.catalog.iter() {
            let name = format!("table \"{}\"", entry.name);
            let newest = Version(view.version());
            let found = check(tree, view.pages()?, newest, inventory.end, &mut |first, pages| {
                ledger.enter(first, pages, &name)?;
                progress(ledger.seen, u64::from(inventory.end));
                Ok(())
            })?;
            report.tables += 1;
            report.entries += found.entries;
        }
        ledger.complete()?;
        report.used_pages = u64::from(inventory.end) - free_pages;
        Ok(report)
    }
}

/// Which pages have been accounted for: one bit each.
struct Ledger {
    bits: Vec<u64>,
    end: u32,
    seen: u64,
}

impl Ledger {
    fn new(end: u32) -> Ledger {
        let mut ledger = Ledger { bits: vec![0; (end as usize).div_ceil(64)], end, seen: 0 };
        for meta in 0..META_PAGES.min(end) {
            ledger.bits[0] |= 1 << meta;
        }
        ledger.seen = u64::from(META_PAGES);
        ledger
    }

    fn enter(&mut self, first: PageId, pages: u32, who: &str) -> Result<()> {
        let stop = first.0.checked_add(pages).filter(|&stop| stop <= self.end);
        let Some(stop) = stop else {
            let reason = format!("{who} names it, beyond the file's {} pages", self.end);
            return Err(Error::corrupt_page(first.0, reason));
        };
        for page in first.0..stop {
            let (word, bit) = (page as usize / 64, 1u64 << (page % 64));
            if self.bits[word] & bit != 0 {
                let reason = format!("{who} names it, and something else does, too");
                return Err(Error::corrupt_page(page, reason));
            }
            self.bits[word] |= bit;
        }
        self.seen += u64::from(pages);
        Ok(())
    }

    fn complete(&self) -> Result<()> {
        if self.seen == u64::from(self.end) {
            return Ok(());
        }
        let is_lost = |page: &u32| self.bits[*page as usize / 64] & (1 << (page % 64)) == 0;
        let lost = (0..self.end).find(is_lost).unwrap_or(self.end);
        let reason = format!(
            "it is neither used nor free; {} of {} pages are accounted for",
            self.seen, self.end
        );
        Err(Error::corrupt_page(lost, reason))
    }
}

#[cfg(test)]
pub(crate) mod planted;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_that_is_lost_or_used_twice_is_named() {
        let mut ledger = Ledger::new(200);
        ledger.enter(PageId(2), 100, "a").unwrap();
        let twice = ledger.enter(PageId(101), 1, "b").unwrap_err().to_string();
        assert!(twice.starts_with("page 101 of pages is damaged: b names it"), "{twice}");
        assert!(ledger.enter(PageId(199), 2, "c").is_err());
        assert!(ledger.enter(PageId(0), 1, "the meta page").is_err());
        ledger.enter(PageId(103), 97, "d").unwrap();
        let lost = ledger.complete().unwrap_err().to_string();
        assert!(lost.starts_with("page 102 of pages is damaged: it is neither"), "{lost}");
        ledger.enter(PageId(102), 1, "e").unwrap();
        ledger.complete().unwrap();
    }
}
