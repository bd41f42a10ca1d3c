//! Pages in memory for tests of trees, which watch over the protocol: only pages made by the
//! request in progress are changed, nothing is read after it was given up (except by snapshots that
//! saw it), nothing is given up twice; and they can tell which pages are in use.

use std::{collections::BTreeMap, mem::take, sync::Mutex};

use crate::{
    error::{Error, Resource, Result},
    page::{
        self, Child, Kind, PageId, Run,
        leaf::{LeafBytes, LeafMut},
    },
    pager::{Pages, PagesMut, TableId},
    publish::Version,
};

/// All pages and runs, in the order of their numbers.
#[derive(Clone)]
pub struct ModelPages {
    page_bytes: usize,
    /// The request in progress.
    pub version: u64,
    slots: Vec<Slot>,
    free: Vec<u32>,
    /// No more pages than this can be in use.
    pub pages_max: usize,
    /// How many pages were copied.
    pub copies: usize,
    /// How often a page was read.
    pub reads: Count,
    /// Errors instead of panics, for trees that were damaged on purpose.
    pub is_lenient: bool,
}

/// A count that goes on while pages are only read, by any number of threads.
#[derive(Default)]
pub struct Count(Mutex<usize>);

impl Count {
    fn add(&self) {
        *self.0.lock().expect("no panic") += 1;
    }

    /// What was counted since the last call.
    pub fn take(&self) -> usize {
        take(&mut *self.0.lock().expect("no panic"))
    }
}

impl Clone for Count {
    fn clone(&self) -> Count {
        Count(Mutex::new(*self.0.lock().expect("no panic")))
    }
}

#[derive(Clone)]
enum Slot {
    Free,
    /// Within a run.
    Inside,
    Used(Used),
}

#[derive(Clone)]
struct Used {
    bytes: Vec<u8>,
    birth: u64,
    /// The request that gave it up.
    end: Option<u64>,
    /// How many pages, for a run; 0 for a page.
    run_pages: u32,
}

/// The pages as a snapshot of `version` sees them.
pub struct View<'a> {
    pub pages: &'a ModelPages,
    pub version: u64,
}

impl ModelPages {
    pub fn new(page_bytes: usize) -> ModelPages {
        ModelPages {
            page_bytes,
            version: 1,
            // Pages 0 and 1 are the meta pages.
            slots: vec![Slot::Inside, Slot::Inside],
            free: Vec::new(),
            pages_max: usize::MAX,
            copies: 0,
            reads: Count::default(),
            is_lenient: false,
        }
    }

    /// What was given up and no pinned version sees may be used again.
    pub fn reclaim(&mut self, pinned: &[u64]) {
        for id in 0..self.slots.len() {
            let Slot::Used(used) = &self.slots[id] else {
                continue;
            };
            let Some(end) = used.end else {
                continue;
            };
            let birth = used.birth;
            if !pinned.iter().any(|version| birth <= *version && *version < end) {
                let pages = used.run_pages.max(1);
                self.release(id, pages);
            }
        }
    }

    fn release(&mut self, id: usize, pages: u32) {
        for id in id..id + pages as usize {
            self.slots[id] = Slot::Free;
            self.free.push(id as u32);
        }
    }

    /// All pages and runs in use: first page, and how many.
    pub fn in_use(&self) -> BTreeMap<PageId, u32> {
        let mut pages = BTreeMap::new();
        for (id, slot) in self.slots.iter().enumerate() {
            match slot {
                Slot::Used(used) if used.end.is_none() => {
                    pages.insert(PageId(id as u32), used.run_pages.max(1));
                }
                _ => {}
            }
        }
        pages
    }

    /// How many pages there are, those that are free included.
    pub fn end(&self) -> u32 {
        self.slots.len() as u32
    }

    /// The bytes of every page in use, to damage them.
    pub fn bytes_mut(&mut self) -> Vec<&mut Vec<u8>> {
        let used = self.slots.iter_mut().filter_map(|slot| match slot {
            Slot::Used(used) if used.run_pages == 0 => Some(&mut used.bytes),
            _ => None,
        });
        used.collect()
    }

    fn refuse<T>(&self, child: Child, what: &str) -> Result<T> {
        assert!(self.is_lenient, "page {} {what}", child.page.0);
        Err(Error::corrupt_page(child.page.0, what))
    }

    fn used(&self, child: Child) -> Result<&Used> {
        match self.slots.get(child.page.0 as usize) {
            Some(Slot::Used(used)) if used.birth as u32 == child.birth => Ok(used),
            Some(Slot::Used(_)) => self.refuse(child, "is named with another birth"),
            _ => self.refuse(child, "is not in use"),
        }
    }

    fn live(&self, child: Child) -> Result<&Used> {
        let used = self.used(child)?;
        if used.end.is_some() {
            return self.refuse(child, "was given up");
        }
        Ok(used)
    }

    fn checked<'a>(
        &self,
        used: &'a Used,
        child: Child,
        table: TableId,
        level: u8,
    ) -> Result<&'a [u8]> {
        self.reads.add();
        page::expect(&used.bytes, child, table, level)?;
        Ok(&used.bytes)
    }

    fn place(&mut self, used: Used) -> Result<Child> {
        let pages = used.run_pages.max(1);
        let in_use = self.slots.len() - self.free.len();
        if in_use + pages as usize > self.pages_max {
            return Err(Error::Full { what: Resource::Pages });
        }
        let birth = used.birth as u32;
        let id = match self.free.pop() {
            Some(id) if pages == 1 => id,
            other => {
                self.free.extend(other);
                let id = self.slots.len() as u32;
                self.slots.resize(self.slots.len() + pages as usize, Slot::Inside);
                id
            }
        };
        self.slots[id as usize] = Slot::Used(used);
        Ok(Child { page: PageId(id), birth })
    }

    fn give_up(&mut self, child: Child, is_run: bool) -> Result<()> {
        let version = self.version;
        let used = self.live(child)?;
        if is_run != (used.run_pages > 0) {
            return self.refuse(child, "is given up as what it is not");
        }
        let pages = used.run_pages.max(1);
        if used.birth == version {
            self.release(child.page.0 as usize, pages);
        } else if let Slot::Used(used) = &mut self.slots[child.page.0 as usize] {
            used.end = Some(version);
        }
        Ok(())
    }

    fn used_now(&self, bytes: Vec<u8>, run_pages: u32) -> Used {
        Used { bytes, birth: self.version, end: None, run_pages }
    }
}

impl Pages for ModelPages {
    fn page(&self, child: Child, table: TableId, level: u8) -> Result<&[u8]> {
        self.checked(self.live(child)?, child, table, level)
    }

    fn leaf_bytes(&self, child: Child, table: TableId) -> Result<LeafBytes<'_>> {
        self.page(child, table, 0).map(LeafBytes::whole)
    }

    fn run(&self, run: Run, _: TableId) -> Result<&[u8]> {
        let used = self.live(run.first)?;
        if used.bytes.len() != run.len as usize {
            return self.refuse(run.first, "is a run of another length");
        }
        Ok(&used.bytes)
    }

    fn prefetch(&self, _: PageId) {}

    fn page_bytes(&self) -> usize {
        self.page_bytes
    }
}

impl PagesMut for ModelPages {
    fn alloc(&mut self, table: TableId, kind: Kind, level: u8) -> Result<Child> {
        let mut bytes = vec![0; self.page_bytes];
        let version = Version(self.version);
        let child = self.place(self.used_now(Vec::new(), 0))?;
        page::init(&mut bytes, child.page, version, table, kind, level);
        self.slots[child.page.0 as usize] = Slot::Used(self.used_now(bytes, 0));
        Ok(child)
    }

    fn make_mut(&mut self, child: Child, table: TableId, level: u8) -> Result<Child> {
        let used = self.live(child)?;
        let bytes = self.checked(used, child, table, level)?;
        if used.birth == self.version {
            return Ok(child);
        }
        let mut bytes = bytes.to_vec();
        self.copies += 1;
        let copy = self.place(self.used_now(Vec::new(), 0))?;
        page::set_identity(&mut bytes, copy.page, Version(self.version));
        self.slots[copy.page.0 as usize] = Slot::Used(self.used_now(bytes, 0));
        self.give_up(child, false)?;
        Ok(copy)
    }

    fn delta_mut(&mut self, child: Child) -> Result<LeafMut<'_>> {
        self.refuse(child, "is no delta")
    }

    fn page_mut(&mut self, child: Child) -> Result<&mut [u8]> {
        let used = self.live(child)?;
        if used.birth != self.version || used.run_pages > 0 {
            self.refuse::<()>(child, "is not this request's to change")?;
        }
        match &mut self.slots[child.page.0 as usize] {
            Slot::Used(used) => Ok(&mut used.bytes),
            _ => unreachable!("looked at above"),
        }
    }

    fn free(&mut self, child: Child) -> Result<()> {
        self.give_up(child, false)
    }

    fn alloc_run(&mut self, _: TableId, content: &[u8]) -> Result<Run> {
        let mut run = Run { first: Child { page: PageId(0), birth: 0 }, len: content.len() as u32 };
        let pages = run.pages(self.page_bytes);
        run.first = self.place(self.used_now(content.to_vec(), pages))?;
        Ok(run)
    }

    fn free_run(&mut self, run: Run) -> Result<()> {
        self.give_up(run.first, true)
    }
}

impl View<'_> {
    fn seen(&self, child: Child) -> Result<&Used> {
        let used = self.pages.used(child)?;
        let is_seen = used.birth <= self.version && used.end.is_none_or(|end| self.version < end);
        if !is_seen {
            return self.pages.refuse(child, "is not of this snapshot");
        }
        Ok(used)
    }
}

impl Pages for View<'_> {
    fn page(&self, child: Child, table: TableId, level: u8) -> Result<&[u8]> {
        self.pages.checked(self.seen(child)?, child, table, level)
    }

    fn leaf_bytes(&self, child: Child, table: TableId) -> Result<LeafBytes<'_>> {
        self.page(child, table, 0).map(LeafBytes::whole)
    }

    fn run(&self, run: Run, _: TableId) -> Result<&[u8]> {
        Ok(&self.seen(run.first)?.bytes)
    }

    fn prefetch(&self, _: PageId) {}

    fn page_bytes(&self) -> usize {
        self.pages.page_bytes
    }
}
