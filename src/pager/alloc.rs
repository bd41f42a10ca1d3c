//! Free space: which page numbers may be given out at once.
//! Owns: [`FreeSpace`], and [`FreeList`], what the page file remembers of it.
//! Absent on purpose: who still reads a page; numbers come here only after the reclaim rule let go.

use crate::{
    error::{Error, Result},
    options::PAGE_FILE,
    page::PageId,
};
use std::collections::{BTreeMap, BTreeSet};

/// Single pages that are kept out of the extents: last freed, first given out, so that a page that
/// is still warm in the CPU's cache and in the page cache is used again.
const RECENT_MAX: usize = 4096;

/// The page numbers that may be given out, as extents that never touch each other, and the end of
/// the page file.
#[derive(Clone, Debug, Default)]
pub struct FreeSpace {
    by_start: BTreeMap<u32, u32>,
    by_pages: BTreeSet<(u32, u32)>,
    recent: Vec<PageId>,
    /// Pages in `by_start`.
    extent_pages: u32,
    /// While the file's tail is moved down: extents from this page on are given out last.
    fence: Option<PageId>,
    /// Those extents.
    withheld: BTreeMap<u32, u32>,
    /// The first page number that was never given out.
    end: u32,
}

impl FreeSpace {
    /// Nothing free below `end`.
    pub fn new(end: u32) -> FreeSpace {
        FreeSpace { end, ..FreeSpace::default() }
    }

    /// The first page number that was never given out: the page file's length in pages.
    pub fn end(&self) -> u32 {
        self.end
    }

    /// How many pages below the end are free.
    pub fn pages(&self) -> u32 {
        self.pages_below() + self.withheld.values().sum::<u32>()
    }

    /// How many pages are free that are not withheld.
    pub fn pages_below(&self) -> u32 {
        self.extent_pages + self.recent.len() as u32
    }

    /// Whether `pages` adjoining pages are free that are not withheld.
    pub fn fits_below(&mut self, pages: u32) -> bool {
        if pages > 1 {
            self.fold_recent();
        }
        pages == 1 && self.pages_below() > 0 || self.by_pages.range((pages, 0)..).next().is_some()
    }

    /// From now on free pages from `fence` on are given out only when there are no others.
    pub fn set_fence(&mut self, fence: PageId) {
        self.lift_fence();
        self.fold_recent();
        let all = std::mem::take(&mut self.by_start);
        self.by_pages.clear();
        self.extent_pages = 0;
        self.fence = Some(fence);
        for (start, pages) in all {
            self.insert(start, pages);
        }
    }

    /// Takes [`set_fence`](Self::set_fence) back.
    pub fn lift_fence(&mut self) {
        self.fence = None;
        for (start, pages) in std::mem::take(&mut self.withheld) {
            self.insert(start, pages);
        }
    }

    /// Puts everything that is free into extents, where neighbours grow together.
    pub fn gather(&mut self) {
        self.lift_fence();
        self.fold_recent();
    }

    /// Of gathered space: shortens the file by what is free at its end.
    pub fn trim(&mut self) {
        if let Some((&start, &pages)) = self.by_start.last_key_value()
            && start + pages == self.end
        {
            self.unlink(start, pages);
            self.end = start;
        }
    }

    fn take_withheld(&mut self, pages: u32) -> Option<PageId> {
        let (&start, &found) = self.withheld.iter().find(|&(_, &found)| found >= pages)?;
        self.withheld.remove(&start);
        if found > pages {
            self.withheld.insert(start + pages, found - pages);
        }
        Some(PageId(start))
    }

    /// Takes `pages` adjoining pages, the tightest extent that holds them; `None` if there is none.
    pub fn take(&mut self, pages: u32) -> Option<PageId> {
        if pages == 1
            && let Some(page) = self.recent.pop()
        {
            return Some(page);
        }
        let fit = self.by_pages.range((pages, 0)..).next().copied();
        let fit = match fit {
            Some(fit) => Some(fit),
            None if pages > 1 && !self.recent.is_empty() => {
                self.fold_recent();
                self.by_pages.range((pages, 0)..).next().copied()
            }
            None => None,
        };
        let Some((found, start)) = fit else { return self.take_withheld(pages) };
        self.unlink(start, found);
        if found > pages {
            self.link(start + pages, found - pages);
        }
        Some(PageId(start))
    }

    /// Takes `pages` adjoining pages at the end of the file; `None` if page numbers run out.
    pub fn take_at_end(&mut self, pages: u32) -> Option<PageId> {
        let start = self.end;
        self.end = start.checked_add(pages).filter(|&end| end < u32::MAX)?;
        Some(PageId(start))
    }

    /// Gives `pages` pages from `first` on back.
    pub fn give(&mut self, first: PageId, pages: u32) {
        debug_assert!(first.0 + pages <= self.end, "page {} beyond the end {}", first.0, self.end);
        let is_withheld = self.fence.is_some_and(|fence| first.0 + pages > fence.0);
        if pages == 1 && self.recent.len() < RECENT_MAX && !is_withheld {
            self.recent.push(first);
        } else {
            self.insert(first.0, pages);
        }
    }

    /// Moves the recent pages into the extents, where neighbours grow together.
    fn fold_recent(&mut self) {
        for page in std::mem::take(&mut self.recent) {
            self.insert(page.0, 1);
        }
    }

    /// Gives `pages` pages from `first` on back, as an extent that is in no hurry.
    pub fn give_extent(&mut self, first: PageId, pages: u32) {
        self.insert(first.0, pages);
    }

    fn insert(&mut self, start: u32, pages: u32) {
        let (mut start, mut pages) = (start, pages);
        if let Some(PageId(fence)) = self.fence
            && start + pages > fence
        {
            let above = start.max(fence);
            self.withheld.insert(above, start + pages - above);
            if above == start {
                return;
            }
            pages = above - start;
        }
        if let Some((&left, &left_pages)) = self.by_start.range(..start).next_back()
            && left + left_pages == start
        {
            self.unlink(left, left_pages);
            (start, pages) = (left, left_pages + pages);
        }
        if let Some((&right, &right_pages)) = self.by_start.range(start..).next()
            && start + pages == right
        {
            self.unlink(right, right_pages);
            pages += right_pages;
        }
        self.link(start, pages);
    }

    fn link(&mut self, start: u32, pages: u32) {
        self.by_start.insert(start, pages);
        self.by_pages.insert((pages, start));
        self.extent_pages += pages;
    }

    fn unlink(&mut self, start: u32, pages: u32) {
        self.by_start.remove(&start);
        self.by_pages.remove(&(pages, start));
        self.extent_pages -= pages;
    }

    /// The extents, ascending, as (first page, pages).
    pub fn extents(&self) -> impl Iterator<Item = (PageId, u32)> + '_ {
        debug_assert!(self.recent.is_empty() && self.withheld.is_empty(), "gather first");
        self.by_start.iter().map(|(&start, &pages)| (PageId(start), pages))
    }

    /// The greatest length that [`encode`](Self::encode) may reach with `more` further extents.
    pub fn encoded_bytes_max(&self, more: usize) -> usize {
        (self.by_start.len() + self.recent.len() + self.withheld.len() + more + 2) * 10
    }

    /// What is free, and `more`, for the page file to remember.
    ///
    /// Cost: a look at each extent; those that lie among the others are sorted.
    pub fn list(&self, more: impl Iterator<Item = (PageId, u32)>) -> FreeList {
        let extents =
            self.by_start.iter().chain(&self.withheld).map(|(&start, &pages)| (start, pages));
        let recent = self.recent.iter().map(|page| (page.0, 1));
        let more = more.map(|(first, pages)| (first.0, pages));
        let mut all: Vec<(u32, u32)> = extents.chain(recent).chain(more).collect();
        // A stable sort takes what is in order as it is.
        all.sort_by_key(|extent| extent.0);
        all.dedup_by(|next, last| {
            debug_assert!(last.0 + last.1 <= next.0, "page {} is free twice", next.0);
            let is_behind = last.0 + last.1 == next.0;
            if is_behind {
                last.1 += next.1;
            }
            is_behind
        });
        FreeList { extents: all, end: self.end }
    }

    /// Reads what [`FreeList::encode`] wrote, zeros behind it allowed; every extent lies below
    /// `end`.
    ///
    /// # Errors
    /// `Error::Corrupt` for anything else.
    pub fn decode(bytes: &[u8], end: u32) -> Result<FreeSpace> {
        let mut space = FreeSpace::new(end);
        let (mut rest, mut last) = (bytes, 0u32);
        while !rest.is_empty() {
            // No extent has no pages, so two zeros can only be the padding.
            if rest.starts_with(&[0, 0]) || rest == [0] {
                padding_only(rest)?;
                break;
            }
            let extent = number(&mut rest).zip(number(&mut rest));
            let (gap, pages) = extent.ok_or_else(|| damaged("an extent is cut short"))?;
            let start = last.checked_add(gap).filter(|&start| start >= 2 && pages > 0);
            let stop = start.and_then(|start| start.checked_add(pages)).filter(|&s| s <= end);
            let (Some(start), Some(stop)) = (start, stop) else {
                return Err(damaged("an extent lies outside of the file"));
            };
            space.insert(start, pages);
            last = stop;
        }
        Ok(space)
    }
}

/// Free space as the page file remembers it: extents that never touch each other.
pub struct FreeList {
    /// First page and pages, ascending.
    extents: Vec<(u32, u32)>,
    end: u32,
}

impl FreeList {
    /// Shortens the file by what is free at its end.
    pub fn trim(&mut self) {
        if let Some((start, _)) =
            self.extents.pop_if(|&mut (start, pages)| start + pages == self.end)
        {
            self.end = start;
        }
    }

    /// The file's length in pages.
    pub fn end(&self) -> u32 {
        self.end
    }

    /// How many pages below the end are free.
    pub fn pages(&self) -> u32 {
        self.extents.iter().map(|(_, pages)| pages).sum()
    }

    /// Appends the extents to `out`: pairs of gap and pages, each as a LEB128 number.
    pub fn encode(&self, out: &mut Vec<u8>) {
        let mut last = 0;
        for &(start, pages) in &self.extents {
            put_number(out, start - last);
            put_number(out, pages);
            last = start + pages;
        }
    }
}

fn padding_only(rest: &[u8]) -> Result<()> {
    if rest.iter().all(|&byte| byte == 0) { Ok(()) } else { Err(damaged("bytes behind its end")) }
}

fn damaged(reason: &str) -> Error {
    Error::corrupt(PAGE_FILE, format!("free space: {reason}"))
}

fn put_number(out: &mut Vec<u8>, mut number: u32) {
    while number >= 0x80 {
        out.push(number as u8 | 0x80);
        number >>= 7;
    }
    out.push(number as u8);
}

fn number(rest: &mut &[u8]) -> Option<u32> {
    let mut number = 0u64;
    for shift in (0..35).step_by(7) {
        let (&byte, tail) = rest.split_first()?;
        *rest = tail;
        number |= u64::from(byte & 0x7F) << shift;
        if byte < 0x80 {
            return u32::try_from(number).ok();
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_given_out_is_free_once_and_never_twice() {
        let mut space = FreeSpace::new(2);
        let mut owned = BTreeSet::new();
        let mut runs: Vec<(PageId, u32)> = Vec::new();
        let mut seed = 7u64;
        for _ in 0..20_000 {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            let roll = (seed >> 33) as u32;
            match roll % 101 {
                0 => space.set_fence(PageId(roll / 101 % space.end().max(1))),
                1 => space.lift_fence(),
                _ => {}
            }
            if roll % 5 < 3 || runs.is_empty() {
                let pages = if roll.is_multiple_of(7) { roll / 7 % 9 + 2 } else { 1 };
                let first =
                    space.take(pages).or_else(|| space.take_at_end(pages)).expect("room is left");
                for page in first.0..first.0 + pages {
                    assert!(page >= 2 && owned.insert(page), "page {page} was given out twice");
                }
                runs.push((first, pages));
            } else {
                let (first, pages) = runs.swap_remove(roll as usize / 5 % runs.len());
                for page in first.0..first.0 + pages {
                    owned.remove(&page);
                }
                space.give(first, pages);
            }
            assert_eq!(space.pages() as usize + owned.len() + 2, space.end() as usize);
        }
        let (waiting, rest) = runs.split_at(runs.len() / 2);
        assert!(!waiting.is_empty() && !rest.is_empty());
        let mut list = space.list(waiting.iter().copied());
        list.trim();
        let mut bytes = Vec::new();
        list.encode(&mut bytes);
        assert!(bytes.len() <= space.encoded_bytes_max(waiting.len()));
        for (first, pages) in waiting {
            space.give(*first, *pages);
        }
        space.gather();
        space.trim();
        assert_eq!((list.end(), list.pages()), (space.end(), space.pages()));
        let again = FreeSpace::decode(&bytes, space.end()).expect("our own encoding");
        assert!(again.extents().eq(space.extents()));
        for cut in 0..bytes.len() {
            // A shorter list is a list of fewer extents or damage, never a panic.
            let _ = FreeSpace::decode(&bytes[..cut], space.end());
        }
        let stop =
            space.extents().map(|(first, pages)| first.0 + pages).max().expect("some are free");
        assert!(FreeSpace::decode(&bytes, stop - 1).is_err());
    }

    #[test]
    fn what_lies_behind_the_fence_is_given_out_last() {
        let mut space = FreeSpace::new(100);
        space.give(PageId(90), 1);
        space.give(PageId(45), 10);
        space.set_fence(PageId(50));
        space.give(PageId(70), 1);
        space.give(PageId(60), 3);
        assert_eq!((space.pages(), space.pages_below()), (15, 5));
        assert!(space.fits_below(5) && !space.fits_below(6));
        let mut taken: Vec<u32> = (0..5).map(|_| space.take(1).expect("free").0).collect();
        taken.sort_unstable();
        assert_eq!(taken, [45, 46, 47, 48, 49]);
        assert_eq!(space.take(4), Some(PageId(50)));
        assert_eq!(space.take(3), Some(PageId(60)));
        space.give(PageId(91), 9);
        space.gather();
        space.trim();
        assert_eq!((space.end(), space.pages()), (90, 2));
    }
}
