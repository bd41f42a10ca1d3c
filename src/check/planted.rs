//! Every class of damage that a checksum does not show, planted with its checksum repaired: opening
//! or the check finds each, and names it.

use crate::{
    error::Error,
    options::{Options, PAGE_FILE},
    page::{
        self, Child, Kind, LEVEL, PageId, Run, branch, leaf,
        meta::{META_BYTES, Meta, seed},
        overflow,
    },
    pager::{alloc::FreeSpace, checkpoint::NO_TABLE},
    publish::Version,
    storage::{Storage, memory::MemoryStorage},
    sync::Arc,
    table::Table,
    tree::Tree,
    txn::catalog::Catalog,
};

const PAGE_BYTES: usize = 4096;
const AGES: Table<u64, &[u8]> = Table::new("ages");
const NAMES: Table<u64, &str> = Table::new("names");

/// A closed store whose page file is open to everything.
struct Planted {
    storage: Arc<dyn Storage>,
    bytes: Vec<u8>,
    meta: Meta,
    catalog: Catalog,
}

fn options() -> Options {
    Options::new().page_bytes(PAGE_BYTES)
}

impl Planted {
    fn new() -> Planted {
        let storage: Arc<dyn Storage> = Arc::new(MemoryStorage::new());
        let store = options().open_storage(&storage).unwrap();
        for round in 0..3u8 {
            let written = store.write(|tx| {
                let value = [round; 100];
                tx.table(&AGES)?.extend((0..100).map(|i| (i, &value[..])))?;
                tx.table(&AGES)?.insert(1000, &[round; 9000])?;
                tx.table(&NAMES)?.insert(u64::from(round), "name")
            });
            written.unwrap();
            store.checkpoint().unwrap();
        }
        store.close().unwrap();
        let file = storage.open(PAGE_FILE).unwrap();
        let mut bytes = vec![0; file.len().unwrap() as usize];
        file.read_at(&mut bytes, 0).unwrap();
        let metas = [0, PAGE_BYTES].map(|at| Meta::decode(&bytes[at..], PageId(at.min(1) as u32)));
        let meta = metas.into_iter().map(Result::unwrap).max_by_key(|meta| meta.sequence).unwrap();
        let run = meta.catalog.unwrap();
        let at = run.first.page.0 as usize * PAGE_BYTES;
        let catalog = overflow::content(&bytes[at..], run, NO_TABLE).unwrap();
        let catalog = Catalog::decode(catalog).unwrap();
        Planted { storage, bytes, meta, catalog }
    }

    fn page(&mut self, page: PageId) -> &mut [u8] {
        &mut self.bytes[page.0 as usize * PAGE_BYTES..][..PAGE_BYTES]
    }

    fn tree(&self, name: &str) -> Tree {
        *self.catalog.tree(self.catalog.find_name(name).unwrap())
    }

    /// The root of the larger table, a branch over leaves.
    fn root(&self) -> PageId {
        let tree = self.tree("ages");
        assert_eq!(tree.level, 1);
        tree.root.unwrap().page
    }

    fn leaf(&mut self, i: usize) -> Child {
        let root = self.root();
        branch::Branch::new(self.page(root)).unwrap().child(i).unwrap()
    }

    fn reseal(&mut self, page: PageId) {
        let seed = seed(self.meta.store_id);
        page::seal(self.page(page), seed);
    }

    /// Writes a run beside the trees anew, in its place.
    fn rewrite(&mut self, run: Run, content: &[u8]) -> Run {
        let (at, seed) = (run.first.page.0 as usize * PAGE_BYTES, seed(self.meta.store_id));
        let bytes = &mut self.bytes[at..][..run.pages(PAGE_BYTES) as usize * PAGE_BYTES];
        let birth = page::birth(bytes);
        overflow::write(bytes, run.first.page, birth, NO_TABLE, content);
        overflow::seal_run(bytes, seed);
        Run { len: content.len() as u32, ..run }
    }

    fn set_catalog(&mut self, change: impl FnOnce(&mut Catalog)) {
        change(&mut self.catalog);
        let mut content = Vec::new();
        self.catalog.encode(&mut content);
        let run = self.meta.catalog.unwrap();
        self.meta.catalog = Some(self.rewrite(run, &content));
    }

    fn set_free(&mut self, change: impl FnOnce(&mut FreeSpace)) {
        let run = self.meta.free_space.expect("some pages are free");
        let at = run.first.page.0 as usize * PAGE_BYTES;
        let content = overflow::content(&self.bytes[at..], run, NO_TABLE).unwrap();
        let mut space = FreeSpace::decode(content, self.meta.page_count).unwrap();
        change(&mut space);
        space.fold_recent();
        let mut content = Vec::new();
        space.encode(&mut content);
        self.meta.free_space = Some(self.rewrite(run, &content));
    }

    /// What opening, or the check, says.
    fn verdict(mut self) -> Result<(), Error> {
        for slot in [0, 1] {
            let meta = self.meta.encode();
            self.page(PageId(slot))[..META_BYTES].copy_from_slice(&meta);
        }
        self.storage.open(PAGE_FILE)?.write_at(&self.bytes, 0)?;
        let store = options().open_storage(&self.storage)?;
        store.check().map(drop)
    }
}

#[test]
fn what_nothing_was_planted_in_is_clean() {
    Planted::new().verdict().unwrap();
}

#[test]
fn every_class_of_damage_is_found_and_named() {
    type Plant = fn(&mut Planted);
    let classes: [(&str, Plant, &str); 14] = [
        (
            "checksum",
            |p| {
                let leaf = p.leaf(1).page;
                p.page(leaf)[2000] ^= 4;
            },
            "checksum is",
        ),
        (
            "order in a page",
            |p| {
                let leaf = p.leaf(1).page;
                let page = p.page(leaf);
                let offsets = leaf::ARRAYS.start(1, leaf::Leaf::new(page).unwrap().len());
                page[offsets..offsets + 4].rotate_left(2);
                p.reseal(leaf);
            },
            "a search does not find",
        ),
        (
            "order between pages",
            |p| {
                let (one, two, root) = (p.leaf(1), p.leaf(2), p.root());
                let page = p.page(root);
                let children = branch::ARRAYS.start(1, branch::Branch::new(page).unwrap().len());
                for (i, child) in [(1, two), (2, one)] {
                    let place = &mut page[children + 8 * i..][..8];
                    place[..4].copy_from_slice(&child.page.0.to_le_bytes());
                    place[4..].copy_from_slice(&child.birth.to_le_bytes());
                }
                p.reseal(root);
            },
            "outside of its page's separators",
        ),
        (
            "the arrays beside the cells",
            |p| {
                let leaf = p.leaf(1).page;
                p.page(leaf)[page::HEADER_BYTES] ^= 0xFF;
                p.reseal(leaf);
            },
            "a search does not find",
        ),
        (
            "level",
            |p| {
                let leaf = p.leaf(1).page;
                p.page(leaf)[LEVEL.start] = 1;
                p.reseal(leaf);
            },
            "it is at level 1",
        ),
        (
            "kind",
            |p| {
                let leaf = p.leaf(1).page;
                p.page(leaf)[page::KIND.start] = Kind::Branch as u8;
                p.reseal(leaf);
            },
            "its kind is 2",
        ),
        ("reachability", |p| p.meta.free_space = None, "neither used nor free"),
        (
            "double use by a tree",
            |p| {
                let root = p.root();
                let page = p.page(root);
                let children = branch::ARRAYS.start(1, branch::Branch::new(page).unwrap().len());
                page.copy_within(children..children + 8, children + 8);
                p.reseal(root);
            },
            "something else does, too",
        ),
        (
            "free space that is in use",
            |p| {
                let leaf = p.leaf(1).page;
                p.set_free(|space| space.give(leaf, 1));
            },
            "something else does, too",
        ),
        ("free space outside of the file", |p| p.meta.page_count -= 1, ""),
        ("counts", |p| p.set_catalog(|c| c.tree_mut(0).len += 1), "entries in which"),
        (
            "catalog: the root of another table",
            |p| {
                let other = p.tree("names");
                p.set_catalog(|c| {
                    let own = *c.tree(0);
                    c.set_tree(0, Tree { table: own.table, ..other });
                });
            },
            "",
        ),
        (
            "an older image of a page",
            |p| {
                let leaf = p.leaf(1);
                page::set_identity(
                    p.page(leaf.page),
                    leaf.page,
                    Version(u64::from(leaf.birth) - 1),
                );
                p.reseal(leaf.page);
            },
            "its parent means version",
        ),
        (
            "another store's page",
            |p| {
                let (leaf, other) = (p.leaf(1).page, seed(p.meta.store_id ^ 1));
                page::seal(p.page(leaf), other);
            },
            "checksum is",
        ),
    ];
    for (class, plant, expected) in classes {
        let mut planted = Planted::new();
        plant(&mut planted);
        match planted.verdict() {
            Err(Error::Corrupt(found)) => {
                println!("{class}: {found}");
                assert!(found.to_string().contains(expected), "{class}: {found}");
            }
            other => panic!("{class}: {other:?}"),
        }
    }
}
