//! Deltas through checkpoints that come in between, undone groups, and readers who stay.

use crate::{
    page::PageId,
    pager::{
        Pager,
        alloc::FreeSpace,
        checkpoint::{append_sealed, pieces},
        frames::Frames,
        write::{DirtyPage, Savepoint, WritePager},
    },
    publish::{Bell, Generation, Pin, Version},
    storage::{Storage, StorageFile, memory::MemoryStorage},
    sync::Arc,
    tree::{Tree, relocate::Spot},
};
use std::collections::{BTreeMap, BTreeSet, VecDeque};

const TABLE: u32 = 1;
const PAGE_BYTES: usize = 4096;

/// A store's pages and one tree, without log or threads.
struct Workshop {
    pages: WritePager,
    file: Arc<dyn StorageFile>,
    tree: Tree,
    oracle: BTreeMap<Vec<u8>, Vec<u8>>,
    version: u64,
    generation: u64,
    bell: Arc<Bell>,
    /// The published version, and those that readers hold.
    pins: VecDeque<Pin>,
    /// The pins of a checkpoint on its way, and of the durable one, on page numbers.
    pending: Option<Pin>,
    durable: Option<Pin>,
}

impl Workshop {
    /// Five hundred entries, all of them in clean pages.
    fn new() -> Workshop {
        let file = MemoryStorage::new().create("pages").unwrap();
        let (frames, arena) = Frames::new(PAGE_BYTES, 1 << 26);
        let pager = Pager::new(Arc::clone(&file) as _, None, frames, PAGE_BYTES, 7, 1 << 26);
        let mut workshop = Workshop {
            pages: WritePager::new(Arc::new(pager), arena, FreeSpace::new(2)).unwrap(),
            file,
            tree: Tree::empty(TABLE),
            oracle: BTreeMap::new(),
            version: 0,
            generation: 0,
            bell: Arc::new(Bell::new(|| ())),
            pins: VecDeque::new(),
            pending: None,
            durable: None,
        };
        let keys: Vec<u32> = (0..500).map(|i| i * 10).collect();
        workshop.commit(&keys);
        let dirty = workshop.write();
        workshop.finish(&dirty);
        assert_eq!(workshop.pages.dirty_bytes(), 0);
        workshop
    }

    fn insert(&mut self, key: u32) {
        let (key, value) = (key.to_be_bytes().to_vec(), vec![self.version as u8; 60]);
        self.tree.insert(&mut self.pages, &key, &value).unwrap();
        self.oracle.insert(key, value);
    }

    fn begin(&mut self) -> Savepoint {
        self.generation += 1;
        self.pages.begin_group(Version(self.version), Generation(self.generation));
        self.version += 1;
        self.pages.begin_request(Version(self.version))
    }

    /// Commits insertions, and publishes; who held the version before goes on holding it.
    fn commit(&mut self, keys: &[u32]) {
        self.begin();
        for key in keys {
            self.insert(*key);
        }
        self.pages.end_request().unwrap();
        self.pages.commit_group();
        self.publish();
    }

    fn publish(&mut self) {
        let (pin, lease) = Pin::new(&self.bell);
        self.pages.pin(Version(self.version), Generation(self.generation), &lease);
        self.pins.push_back(pin);
    }

    /// Readers let go of all but the newest version.
    fn let_go(&mut self) {
        self.pins.drain(..self.pins.len() - 1);
        self.pages.reclaim();
    }

    /// Writes what is dirty, as a checkpoint does.
    fn write(&mut self) -> Vec<DirtyPage> {
        let (pin, lease) = Pin::new(&self.bell);
        self.pages.pin_pages(Version(self.version), Generation(self.generation), lease);
        self.pending = Some(pin);
        let dirty = self.pages.dirty();
        for piece in pieces(self.pages.pager(), &dirty) {
            let mut sealed = Vec::new();
            let offset = append_sealed(self.pages.pager(), piece, &mut sealed).unwrap();
            self.file.write_at(&sealed, offset).unwrap();
        }
        dirty
    }

    /// Ends the checkpoint that wrote these.
    fn finish(&mut self, written: &[DirtyPage]) {
        if let Some(pin) = self.pending.take() {
            self.durable = Some(pin);
        }
        self.generation += 1;
        self.pages.mark_clean(written, Generation(self.generation));
        self.publish();
        self.let_go();
    }

    /// All entries are what they should be, also once every free page has been written over.
    fn check(&mut self) {
        for (first, pages) in self.pages.free_now() {
            let len = pages as usize * PAGE_BYTES;
            self.file.write_at(&vec![0xEE; len], first.offset(PAGE_BYTES)).unwrap();
        }
        let entries =
            self.tree.range(&self.pages, std::ops::Bound::Unbounded, std::ops::Bound::Unbounded);
        let entries = entries.unwrap().map(|entry| entry.unwrap());
        assert!(entries.eq(self.oracle.iter().map(|(key, value)| (&key[..], &value[..]))));
        self.tree.check(&self.pages, Version(self.version), &mut |_, _| Ok(())).unwrap();
    }

    fn is_free(&self, page: PageId) -> bool {
        self.pages
            .free_now()
            .iter()
            .any(|&(first, pages)| (first.0..first.0 + pages).contains(&page.0))
    }
}

#[test]
fn a_small_change_of_a_clean_leaf_copies_no_page_but_branches() {
    let mut workshop = Workshop::new();
    workshop.commit(&[4325]);
    assert_eq!(workshop.pages.bases_now().len(), 1);
    let branches = usize::from(workshop.tree.level);
    let bytes = workshop.pages.dirty_bytes() as usize;
    assert!(bytes <= branches * PAGE_BYTES + PAGE_BYTES / 4, "{bytes}");
    workshop.check();
}

#[test]
fn a_base_outlives_the_checkpoint_that_another_delta_on_it_came_after() {
    let mut workshop = Workshop::new();
    workshop.commit(&[2005]);
    let base = workshop.pages.bases_now();
    let written = workshop.write();
    // While the checkpoint is on its way another delta takes that one's place, on the same base.
    workshop.commit(&[2003]);
    workshop.finish(&written);
    assert_eq!(workshop.pages.bases_now(), base);
    assert!(!workshop.is_free(base[0]));
    workshop.check();
    let written = workshop.write();
    workshop.finish(&written);
    assert_eq!(workshop.pages.bases_now(), []);
    assert!(workshop.is_free(base[0]));
    workshop.check();
}

#[test]
fn a_base_waits_for_who_can_see_a_delta_on_it() {
    let mut workshop = Workshop::new();
    workshop.commit(&[2005]);
    let base = workshop.pages.bases_now()[0];
    let (tree, seen) = (workshop.tree, workshop.oracle.clone());
    let reader = workshop.pins.pop_back().unwrap();
    // A leaf of several changes is no delta any more.
    workshop.commit(&(2006..2080).collect::<Vec<_>>());
    let written = workshop.write();
    workshop.finish(&written);
    assert_eq!(workshop.pages.bases_now(), []);
    assert!(!workshop.is_free(base), "a reader can see it");
    workshop.check();
    for (key, value) in &seen {
        assert_eq!(tree.get(&**workshop.pages.pager(), key).unwrap(), Some(&value[..]));
    }
    drop(reader);
    workshop.let_go();
    assert!(workshop.is_free(base));
}

#[test]
fn a_base_behind_a_checkpoint_is_told_as_retained_by_who_keeps_it() {
    let mut workshop = Workshop::new();
    workshop.commit(&[2005]);
    let held = Generation(workshop.generation);
    let reader = workshop.pins.pop_back().unwrap();
    let written = workshop.write();
    workshop.finish(&written);
    let retained = |workshop: &Workshop| -> u64 {
        let all = workshop.pages.retained_bytes().into_iter();
        all.filter(|(pin, _)| *pin == held).map(|(_, bytes)| bytes).sum()
    };
    assert_eq!(retained(&workshop), PAGE_BYTES as u64);
    drop(reader);
    workshop.let_go();
    assert_eq!(retained(&workshop), 0);
}

#[test]
fn what_is_undone_leaves_no_delta_and_the_leaf_as_it_was() {
    let mut workshop = Workshop::new();
    workshop.commit(&[2005]);
    let (base, tree, oracle) = (workshop.pages.bases_now(), workshop.tree, workshop.oracle.clone());
    let point = workshop.begin();
    // A second delta on one base, a first one on another, a leaf folded, one split.
    for key in [2003, 4005].into_iter().chain(3001..3009).chain(1001..1080) {
        workshop.insert(key);
    }
    assert!(workshop.pages.bases_now().len() >= 2);
    workshop.pages.undo(&point);
    workshop.version -= 1;
    (workshop.tree, workshop.oracle) = (tree, oracle);
    assert_eq!(workshop.pages.bases_now(), base);
    workshop.check();
    let written = workshop.write();
    workshop.finish(&written);
    assert!(workshop.is_free(base[0]));
    workshop.check();
}

#[test]
fn a_full_leaf_is_split_into_deltas_on_one_base() {
    let mut workshop = Workshop::new();
    let mut splits = 0;
    for key in (0..500).map(|i| (i * 7 % 500) * 10 + 5) {
        workshop.commit(&[key]);
        let deltas = workshop.pages.dirty().iter().filter(|page| page.frame.is_delta()).count();
        if deltas > workshop.pages.bases_now().len() {
            splits += 1;
            workshop.check();
        }
        if key % 100 == 5 {
            let written = workshop.write();
            workshop.finish(&written);
        }
    }
    assert!(splits > 10, "{splits}");
    workshop.check();
}

#[test]
fn a_delta_on_a_base_behind_the_fence_is_moved_off_it() {
    let mut workshop = Workshop::new();
    workshop.commit(&[5]);
    let written = workshop.write();
    workshop.finish(&written);
    // The leaf lies behind all others now, and its next delta where it was before.
    workshop.commit(&[15]);
    let base = workshop.pages.bases_now()[0];
    let delta = workshop.pages.dirty().into_iter().find(|dirty| dirty.frame.is_delta()).unwrap();
    assert!(delta.page < base);
    workshop.generation += 1;
    workshop.pages.begin_group(Version(workshop.version), Generation(workshop.generation));
    workshop.pages.begin_move(Version(workshop.version));
    let spot = Spot { level: 0, key: 15u32.to_be_bytes().to_vec() };
    workshop.tree.relocate(&mut workshop.pages, &spot, base, |_, _, _| true).unwrap();
    workshop.pages.end_request().unwrap();
    workshop.pages.commit_group();
    workshop.publish();
    assert_eq!(workshop.pages.bases_now(), []);
    workshop.check();
}

/// A base carries two deltas, both written by a checkpoint that ends while a group is applied which
/// folds one of them, and which is undone then because its own checkpoint fails.
#[test]
fn a_base_is_given_up_once_when_a_checkpoint_ends_amid_a_group_that_is_undone() {
    let mut workshop = Workshop::new();
    let mut keys = (0..500).map(|i| (i * 7 % 500) * 10 + 5);
    let split = loop {
        let key = keys.next().unwrap();
        workshop.commit(&[key]);
        let deltas = workshop.pages.dirty().iter().filter(|page| page.frame.is_delta()).count();
        if deltas > workshop.pages.bases_now().len() {
            break key;
        }
        let written = workshop.write();
        workshop.finish(&written);
    };
    let base = workshop.pages.bases_now()[0];
    let written = workshop.write();
    let (tree, oracle) = (workshop.tree, workshop.oracle.clone());
    let point = workshop.begin();
    for key in (split + 1..split + 150).filter(|key| key % 5 != 0) {
        workshop.insert(key);
    }
    workshop.pages.mark_clean(&written, Generation(workshop.generation));
    workshop.pages.undo(&point);
    workshop.pages.commit_group();
    workshop.version -= 1;
    (workshop.tree, workshop.oracle) = (tree, oracle);
    // What came back to life turns clean, too.
    workshop.finish(&written);
    workshop.check();
    assert!(workshop.is_free(base));
    let mut taken = BTreeSet::new();
    for _ in 0..200 {
        let page = workshop.pages.take_pages(1).unwrap();
        assert!(taken.insert(page), "page {} is given out twice", page.0);
    }
}

#[test]
fn a_delta_that_a_request_folds_is_spilled_as_its_other_pages_are() {
    let mut workshop = Workshop::new();
    workshop.begin();
    workshop.pages.allow_spill(4);
    let one_a_leaf = (0..12).map(|leaf| leaf * 400 + 5);
    // In order: what is spilled is not wanted again.
    let many_a_leaf = 0..5000;
    let mut peak_bytes = 0;
    for key in one_a_leaf.chain(many_a_leaf) {
        workshop.insert(key);
        peak_bytes = peak_bytes.max(workshop.pages.dirty_bytes() as usize);
    }
    assert!(workshop.pages.has_spilled());
    assert!(peak_bytes < 9 * PAGE_BYTES, "{peak_bytes}");
    workshop.pages.end_request().unwrap();
    workshop.pages.commit_group();
    workshop.publish();
    workshop.check();
}
