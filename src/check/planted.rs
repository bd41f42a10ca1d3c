//! Every class of damage that a checksum does not show, planted with its checksum repaired: opening
//! or the check finds each, and names it. A class is a test of its own, so that a check that was
//! weakened fails by the name of what it no longer finds.

use std::iter;

use crate::{
    error::Error,
    options::{Options, PAGE_FILE},
    page::{
        self, COUNT, Child, GARBAGE_BYTES, HEADER_BYTES, ID, Kind, LEVEL, PREFIX_LEN, PageId,
        RUN_BYTES, Run, TABLE, branch, leaf,
        meta::{META_BYTES, Meta, seed},
        overflow,
    },
    pager::{alloc::FreeSpace, checkpoint::NO_TABLE},
    publish::Version,
    storage::{Storage, memory::MemoryStorage},
    store::Store,
    sync::Arc,
    table::Table,
    tree::Tree,
    txn::{catalog::Catalog, writer::Writer},
};

pub const PAGE_BYTES: usize = 4096;
const AGES: Table<u64, &[u8]> = Table::new("ages");
const NAMES: Table<u64, &str> = Table::new("names");
/// The length of a value in a run.
const LONG_VALUE: usize = 9000;
/// Which array of a leaf, and of a branch, is which.
const LEAF_TAGS: usize = 0;
const LEAF_OFFSETS: usize = 1;
const LEAF_HEADS: usize = 2;
const BRANCH_HEADS: usize = 0;
const BRANCH_CHILDREN: usize = 1;
const BRANCH_OFFSETS: usize = 2;

/// A closed store whose page file is open to everything.
pub struct Planted {
    pub storage: Arc<dyn Storage>,
    bytes: Vec<u8>,
    meta: Meta,
    catalog: Catalog,
}

pub fn options() -> Options {
    Options::new().page_bytes(PAGE_BYTES)
}

/// A store of two tables with leaves, a branch, runs, and free pages that hold older versions.
pub fn fill(store: &Store) {
    let gone: Table<u64, &[u8]> = Table::new("gone");
    store.write(|tx| tx.table(&gone)?.extend((0..200).map(|i| (i, &[9; 100][..])))).unwrap();
    for round in 0..3u8 {
        let written = store.write(|tx| {
            let value = [round; 100];
            tx.table(&AGES)?.extend((0..200).map(|i| (i, &value[..])))?;
            tx.table(&AGES)?.insert(1000, &[round; LONG_VALUE])?;
            tx.table(&AGES)?.insert(1001, &[round + 3; LONG_VALUE])?;
            tx.table(&NAMES)?.insert(u64::from(round), "name")
        });
        written.unwrap();
        store.checkpoint().unwrap();
    }
    store.drop_table("gone").unwrap();
    store.checkpoint().unwrap();
}

impl Planted {
    pub fn new() -> Planted {
        let storage: Arc<dyn Storage> = Arc::new(MemoryStorage::new());
        let store = options().open_storage(&storage).unwrap();
        fill(&store);
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

    fn child(&mut self, i: usize) -> Child {
        let root = self.root();
        branch::Branch::new(self.page(root)).unwrap().child(i).unwrap()
    }

    fn leaf(&mut self, i: usize) -> PageId {
        self.child(i).page
    }

    fn children(&mut self) -> usize {
        let root = self.root();
        branch::Branch::new(self.page(root)).unwrap().len()
    }

    /// Changes a page and repairs its checksum.
    fn alter(&mut self, page: PageId, change: impl FnOnce(&mut [u8])) {
        change(self.page(page));
        let seed = seed(self.meta.store_id);
        page::seal(self.page(page), seed);
    }

    /// Changes leaf 1; the change is told where each of its arrays begins.
    fn alter_leaf(&mut self, change: impl FnOnce(&mut [u8], [usize; 3])) {
        let page = self.leaf(1);
        let count = leaf::Leaf::new(self.page(page)).unwrap().len();
        let starts = [0, 1, 2].map(|array| leaf::ARRAYS.start(array, count));
        self.alter(page, |bytes| change(bytes, starts));
    }

    /// Changes the root, likewise.
    fn alter_branch(&mut self, change: impl FnOnce(&mut [u8], [usize; 3])) {
        let (page, count) = (self.root(), self.children());
        let starts = [0, 1, 2].map(|array| branch::ARRAYS.start(array, count));
        self.alter(page, |bytes| change(bytes, starts));
    }

    /// Gives the root's separator 2 another last byte.
    fn move_fence(&mut self, moved: impl FnOnce(u8) -> u8) {
        let (root, child) = (self.root(), self.child(2));
        self.alter(root, |page| {
            let mut branch = branch::BranchMut::new(page).unwrap();
            let separator = branch.as_branch().separator(2).unwrap();
            let mut key = Vec::new();
            let never = |run: Run| -> Result<&[u8], Error> { panic!("{run:?}") };
            separator.append_to(&mut key, &never).unwrap();
            let last = key.last_mut().unwrap();
            *last = moved(*last);
            branch.remove(2).unwrap();
            assert!(branch.insert(2, branch::NewKey::Inline(&key), child).unwrap());
        });
    }

    /// The last leaf, and where in it stand the runs of its two long values.
    fn runs(&mut self) -> (PageId, [usize; 2]) {
        let last = self.children() - 1;
        let page = self.leaf(last);
        let bytes = self.page(page);
        let found = leaf::Leaf::new(bytes).unwrap();
        let count = found.len();
        let runs = [count - 2, count - 1].map(|i| match found.entry(i).unwrap().1 {
            leaf::CellValue::Run(run) => run.to_bytes(),
            leaf::CellValue::Inline(_) => panic!("it is long"),
        });
        let place = |run: [u8; RUN_BYTES]| bytes.windows(RUN_BYTES).position(|at| at == run);
        (page, runs.map(|run| place(run).unwrap()))
    }

    /// Changes the run of a long value as its cell names it.
    fn alter_run(&mut self, change: impl FnOnce(Run) -> Run) {
        let (page, [at, _]) = self.runs();
        self.alter(page, |bytes| {
            let run = Run::from_bytes(bytes[at..].first_chunk().unwrap());
            bytes[at..at + RUN_BYTES].copy_from_slice(&change(run).to_bytes());
        });
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

    fn set_catalog(&mut self, change: impl FnOnce(&mut Vec<u8>)) {
        let mut content = Vec::new();
        self.catalog.encode(&mut content);
        change(&mut content);
        let run = self.meta.catalog.unwrap();
        self.meta.catalog = Some(self.rewrite(run, &content));
    }

    /// Changes the tree of the larger table.
    fn set_tree(&mut self, change: impl FnOnce(&mut Tree)) {
        let index = self.catalog.find_name("ages").unwrap();
        change(self.catalog.tree_mut(index));
        self.set_catalog(|_| {});
    }

    fn set_free(&mut self, change: impl FnOnce(&mut FreeSpace, &mut Vec<u8>)) {
        let run = self.meta.free_space.expect("some pages are free");
        let at = run.first.page.0 as usize * PAGE_BYTES;
        let content = overflow::content(&self.bytes[at..], run, NO_TABLE).unwrap();
        let mut space = FreeSpace::decode(content, self.meta.page_count).unwrap();
        let mut tail = Vec::new();
        change(&mut space, &mut tail);
        let mut content = Vec::new();
        space.list(iter::empty()).encode(&mut content);
        content.extend(tail);
        self.meta.free_space = Some(self.rewrite(run, &content));
    }

    /// Writes what was planted to the storage.
    pub fn write(&mut self) {
        for slot in [0, 1] {
            let meta = self.meta.encode();
            self.page(PageId(slot))[..META_BYTES].copy_from_slice(&meta);
        }
        self.storage.open(PAGE_FILE).unwrap().write_at(&self.bytes, 0).unwrap();
    }

    /// What opening, or the check, says.
    fn verdict(mut self) -> Result<(), Error> {
        self.write();
        let store = options().open_storage(&self.storage)?;
        // One core and all of them come to the same end, by the same way.
        let inventory = store.inspect(Writer::inventory)?;
        let (mut alone_told, mut told) = (Vec::new(), Vec::new());
        let alone = inventory.check_trees(
            &mut |seen, of| alone_told.push((seen, of)),
            |tree, pages, newest, _, visit| tree.check(pages, newest, visit),
        );
        let found = store.check_with(|seen, of| told.push((seen, of)));
        assert_eq!(format!("{alone:?}"), format!("{found:?}"));
        assert_eq!(alone_told, told);
        found.map(drop)
    }
}

/// A class of damage: how it is planted, and what the verdict has in it, one of several.
pub type Class = (&'static str, fn(&mut Planted), &'static [&'static str]);

fn is_found((class, plant, expected): Class) {
    let mut planted = Planted::new();
    plant(&mut planted);
    match planted.verdict() {
        Err(Error::Corrupt(found)) => {
            let found = found.to_string();
            assert!(expected.iter().any(|words| found.contains(words)), "{class}: {found}");
        }
        other => panic!("{class}: {other:?}"),
    }
}

#[test]
fn what_nothing_was_planted_in_is_clean() {
    let mut planted = Planted::new();
    // What the plants stand on: writing again what is there changes nothing.
    planted.set_catalog(|_| {});
    planted.set_free(|_, _| {});
    planted.alter_leaf(|_, _| {});
    planted.alter_branch(|_, _| {});
    planted.alter_run(|run| run);
    planted.verdict().unwrap();
}

#[test]
fn progress_goes_up_to_every_page_of_the_file() {
    let store = Store::in_memory().unwrap();
    fill(&store);
    let mut told = Vec::new();
    let report = store.check_with(|done, of| told.push((done, of))).unwrap();
    let end = report.used_pages + report.free_pages;
    assert!(told.windows(2).all(|pair| pair[0].0 < pair[1].0 && pair[0].1 == pair[1].1));
    assert_eq!(told.last(), Some(&(end, end)));
    assert!(told.len() > 5 && report.entries == 205 && report.tables == 2, "{report:?}");
}

/// One test for each class, and the list of them all.
macro_rules! classes {
    ($($name:ident: $plant:expr, $expected:expr;)*) => {
        pub const CLASSES: &[Class] = &[$((stringify!($name), $plant, &$expected)),*];
        $(#[test]
        fn $name() {
            let class = CLASSES.iter().find(|(name, ..)| *name == stringify!($name));
            is_found(*class.unwrap());
        })*
    };
}

classes! {
    checksum_of_a_page: |p| { let leaf = p.leaf(1); p.page(leaf)[2000] ^= 4; }, ["checksum is"];
    checksum_of_a_run: |p| {
        let (leaf, [at, _]) = p.runs();
        let run = Run::from_bytes(p.page(leaf)[at..].first_chunk().unwrap());
        p.page(PageId(run.first.page.0 + 1))[7] ^= 1;
    }, ["checksum is"];
    checksum_of_another_store: |p| {
        let (leaf, other) = (p.leaf(1), seed(p.meta.store_id ^ 1));
        page::seal(p.page(leaf), other);
    }, ["checksum is"];
    number_of_another_page: |p| p.alter_leaf(|page, _| page[ID.start] ^= 1), ["says that it is"];
    image_of_an_older_version: |p| {
        let child = p.child(1);
        let older = Version(u64::from(child.birth) - 1);
        p.alter(child.page, |page| page::set_identity(page, child.page, older));
    }, ["its parent means version"];
    born_after_its_parent: |p| {
        let child = p.child(1);
        let newer = Version(u64::from(child.birth) + (1 << 32));
        p.alter(child.page, |page| page::set_identity(page, child.page, newer));
    }, ["newer than what names it"];
    born_after_the_checkpoint: |p| p.meta.version.0 -= 2, ["newer than what names it"];
    page_of_another_table: |p| p.alter_leaf(|page, _| page[TABLE.start] ^= 1),
        ["it belongs to table"];
    kind: |p| p.alter_leaf(|page, _| page[page::KIND.start] = Kind::Branch as u8), ["its kind is"];
    level_of_a_page: |p| p.alter_leaf(|page, _| page[LEVEL.start] = 1), ["it is at level 1"];
    level_of_a_root: |p| p.set_tree(|tree| tree.level = 2), ["it is at level 1"];
    level_of_a_root_that_cannot_be: |p| p.set_tree(|tree| tree.level = 200),
        ["a root at level 200"];
    leaf_without_entries: |p| p.alter_leaf(|page, _| leaf::LeafMut::new(page).unwrap().clear()),
        ["a leaf without entries"];
    branch_without_children: |p| {
        p.alter_branch(|page, _| branch::BranchMut::new(page).unwrap().clear());
    }, ["a branch without children"];
    order_in_a_leaf: |p| p.alter_leaf(|page, starts| {
        swap(page, starts[LEAF_TAGS], 1, 0);
        swap(page, starts[LEAF_OFFSETS], 2, 0);
        swap(page, starts[LEAF_HEADS], 4, 0);
    }), ["a search does not find", "keys out of order"];
    order_of_leaves: |p| {
        p.alter_branch(|page, starts| swap(page, starts[BRANCH_CHILDREN], 8, 1));
    }, ["outside of its page's separators"];
    order_of_separators: |p| p.alter_branch(|page, starts| {
        swap(page, starts[BRANCH_HEADS], 4, 1);
        swap(page, starts[BRANCH_OFFSETS], 2, 1);
    }), ["separators out of order"];
    // Between the keys of the leaf before: one that goes on where they end, and is greater.
    fence_below_which_keys_lie: |p| p.move_fence(|last| last + 1),
        ["outside of its page's separators"];
    fence_above_which_keys_lie: |p| p.move_fence(|last| last - 1),
        ["outside of its page's separators"];
    tags: |p| p.alter_leaf(|page, starts| page[starts[LEAF_TAGS]] ^= 0xFF),
        ["a search does not find"];
    heads_of_a_leaf: |p| p.alter_leaf(|page, starts| page[starts[LEAF_HEADS] + 3] ^= 0xFF),
        ["a search does not find"];
    heads_of_a_branch: |p| {
        p.alter_branch(|page, starts| page[starts[BRANCH_HEADS] + 7] ^= 0xFF);
    }, ["a search does not find"];
    prefix_of_a_leaf: |p| p.alter_leaf(|page, _| page[PREFIX_LEN.start] -= 1),
        ["a search does not find"];
    cells_that_overlap: |p| p.alter_leaf(|page, starts| {
        // The value of the first cell is said to be longer by one.
        let at = starts[LEAF_OFFSETS];
        let cell = usize::from(u16::from_le_bytes([page[at], page[at + 1]]));
        page[cell + 1] += 1;
    }), ["its cells", "exceeds the page"];
    bytes_of_no_cell: |p| p.alter_leaf(|page, _| page[GARBAGE_BYTES.start] ^= 8), ["its cells"];
    bytes_of_no_cell_in_a_branch: |p| p.alter_branch(|page, _| page[GARBAGE_BYTES.start] ^= 8),
        ["its cells"];
    count_of_a_leaf: |p| {
        let (last, [_, _]) = p.runs();
        let page = p.page(last);
        let count = leaf::Leaf::new(page).unwrap().len();
        // As if the last had been removed, and nothing been said in the catalog.
        p.alter(last, |page| leaf::LeafMut::new(page).unwrap().remove(count - 3).unwrap());
    }, ["entries in which"];
    count_of_a_table: |p| p.set_tree(|tree| tree.len += 1), ["entries in which"];
    counts_beyond_a_page: |p| p.alter_leaf(|page, _| page[COUNT].fill(0xFF)),
        ["its entries exceed the page"];
    leaf_named_twice: |p| p.alter_branch(|page, starts| {
        let children = starts[BRANCH_CHILDREN];
        page.copy_within(children..children + 8, children + 8);
    }), ["something else does, too"];
    run_named_twice: |p| {
        let (page, [one, two]) = p.runs();
        p.alter(page, |page| page.copy_within(one..one + RUN_BYTES, two));
    }, ["something else does, too"];
    run_of_another_length: |p| p.alter_run(|run| Run { len: run.len - 1, ..run }),
        ["its content is"];
    run_of_another_birth: |p| p.alter_run(|run| {
        Run { first: Child { birth: run.first.birth - 1, ..run.first }, ..run }
    }), ["not the one meant"];
    run_behind_the_end: |p| {
        let end = p.meta.page_count;
        p.alter_run(|run| Run { first: Child { page: PageId(end - 1), ..run.first }, ..run });
    }, ["beyond the file's"];
    run_in_a_leaf: |p| {
        let leaf = p.child(1);
        p.alter_run(|run| Run { first: leaf, len: run.len / 8 });
    }, ["something else does, too", "it is not an overflow run"];
    pages_that_nothing_names: |p| p.meta.free_space = None, ["neither used nor free"];
    a_page_that_nothing_names: |p| p.set_free(|space, _| {
        space.gather();
        assert!(space.take(1).is_some());
    }),
        ["neither used nor free"];
    free_space_that_a_tree_uses: |p| {
        let leaf = p.leaf(1);
        p.set_free(|space, _| space.give(leaf, 1));
    }, ["something else does, too"];
    free_space_that_a_run_uses: |p| {
        let (leaf, [at, _]) = p.runs();
        let run = Run::from_bytes(p.page(leaf)[at..].first_chunk().unwrap());
        p.set_free(|space, _| space.give(PageId(run.first.page.0 + 1), 1));
    }, ["something else does, too"];
    free_space_behind_the_end: |p| p.set_free(|space, _| {
        let end = space.take_at_end(1).unwrap();
        space.give(end, 1);
    }), ["an extent lies outside of the file"];
    free_space_with_more_behind: |p| p.set_free(|_, tail| tail.extend([0, 0, 1])),
        ["free space: bytes behind its end"];
    catalog_with_the_root_of_another_table: |p| {
        let other = p.tree("names");
        p.set_tree(|own| *own = Tree { table: own.table, ..other });
    }, ["it belongs to table"];
    catalog_without_a_root: |p| p.set_tree(|tree| tree.root = None),
        ["root and length disagree"];
    catalog_cut_short: |p| p.set_catalog(|bytes| bytes.truncate(bytes.len() - 1)),
        ["it ends too early", "more tables than it has bytes for"];
    catalog_with_more_behind: |p| p.set_catalog(|bytes| bytes.push(0)),
        ["bytes behind the last table"];
    catalog_with_one_table_less: |p| {
        let index = p.catalog.find_name("names").unwrap();
        p.catalog.remove(index);
        p.set_catalog(|_| {});
    }, ["neither used nor free"];
    catalog_with_a_name_twice: |p| p.set_catalog(|bytes| {
        let at = bytes.windows(5).position(|at| at == b"names").unwrap();
        // As long as the other's: the length before it says so.
        bytes.remove(at + 4);
        bytes[at..at + 4].copy_from_slice(b"ages");
        bytes[at - 2] = 4;
    }), ["two tables of one name"];
    catalog_with_an_id_still_to_be_given: |p| p.meta.next_table -= 1, ["its next table"];
    meta_of_a_longer_file: |p| p.meta.page_count += 1000, ["its meta page says"];
    meta_whose_catalog_is_a_leaf: |p| {
        let leaf = p.child(1);
        p.meta.catalog = Some(Run { first: leaf, len: 100 });
    }, ["it is not an overflow run"];
    meta_whose_catalog_is_free_space: |p| p.meta.catalog = p.meta.free_space,
        ["the catalog", "catalog", "something else does, too"];
}

/// Swaps elements `i` and `i + 1` of an array of elements of `width` bytes.
fn swap(page: &mut [u8], start: usize, width: usize, i: usize) {
    page[start + width * i..][..2 * width].rotate_left(width);
}

#[test]
fn no_header_field_is_left_to_trust() {
    // Any change of a header, checksum repaired, is found, or means nothing to anybody.
    let mut found = 0;
    for at in ID.start..HEADER_BYTES {
        for in_branch in [false, true] {
            let mut planted = Planted::new();
            let page = if in_branch { planted.root() } else { planted.leaf(1) };
            planted.alter(page, |bytes| bytes[at] ^= 0x11);
            match planted.verdict() {
                Err(Error::Corrupt(_)) => found += 1,
                // The prefix of a branch may stand anywhere where the same bytes are; a leaf does
                // not use the field.
                Ok(()) => assert!(page::PREFIX_START.contains(&at), "byte {at}, {in_branch}"),
                Err(other) => panic!("byte {at}: {other}"),
            }
        }
    }
    assert!(found >= 50, "{found}");
}
