//! The pages of a store that may be damaged, read one by one from the file.
//! Owns: [`Source`], [`Survey`] and [`Beside`]. Nothing is trusted: every length is held against
//! the file's (I9).

use super::is_meta;
use crate::{
    error::{Error, Result},
    options::{LOG_PREFIX, PAGE_BYTES_MAX, PAGE_BYTES_MIN, PAGE_FILE},
    page::{
        self, Child, HEADER_BYTES, Kind, PageId, Run,
        meta::{self, META_BYTES, META_PAGES, Meta},
        overflow,
    },
    pager::{TableId, alloc::FreeSpace, checkpoint::NO_TABLE},
    publish::Version,
    storage::{LockMode, Storage, StorageFile},
    sync::Arc,
    txn::catalog::Catalog,
};
use std::{collections::BTreeSet, io, time::Duration};

/// How much of what leads nowhere is read, in lengths of the page file.
const IDLE_READS_MAX: u64 = 4;
/// How long the lock of the source is waited for.
const LOCK_TIMEOUT: Duration = Duration::from_secs(1);
/// Where a meta page and a segment's header have the store's id, in every format so far.
const STORE_ID: std::ops::Range<usize> = 16..24;
/// How many pages are tried with an id and a page size that are only guessed.
const GUESS_PAGES: u32 = 4096;

/// The files of a directory whose names begin with a prefix, without it, to read: whoever has this
/// cannot change the directory.
pub struct Beside {
    files: Arc<dyn Storage>,
    prefix: String,
}

impl Beside {
    pub fn new(files: Arc<dyn Storage>, prefix: &str) -> Beside {
        Beside { files, prefix: prefix.to_owned() }
    }

    fn name(&self, name: &str) -> String {
        format!("{}{name}", self.prefix)
    }

    fn refusal(&self, op: &'static str, name: &str) -> Error {
        Error::io(op, &self.name(name), io::ErrorKind::ReadOnlyFilesystem.into())
    }
}

impl Storage for Beside {
    fn open(&self, name: &str) -> Result<Arc<dyn StorageFile>> {
        self.files.open(&self.name(name))
    }

    fn create(&self, name: &str) -> Result<Arc<dyn StorageFile>> {
        Err(self.refusal("create", name))
    }

    fn rename(&self, from: &str, _: &str) -> Result<()> {
        Err(self.refusal("rename", from))
    }

    fn remove(&self, name: &str) -> Result<()> {
        Err(self.refusal("remove", name))
    }

    fn list(&self) -> Result<Vec<String>> {
        let names = self.files.list()?;
        let own = names.iter().filter_map(|name| name.strip_prefix(&self.prefix));
        Ok(own.map(str::to_owned).collect())
    }

    fn sync_dir(&self) -> Result<()> {
        Err(self.refusal("sync", ""))
    }
}

/// The page file of a store that may be damaged.
pub struct Source {
    file: Arc<dyn StorageFile>,
    page_bytes: usize,
    seed: u32,
    /// The newest meta page that is whole.
    pub meta: Option<Meta>,
    /// Whole pages in the file.
    pub pages: u32,
}

/// A leaf that is whole in itself.
#[derive(Clone, Copy)]
pub struct Found {
    pub page: PageId,
    pub birth: Version,
    pub table: TableId,
}

/// A set of pages of a file: one bit each.
pub struct PageSet {
    bits: Vec<u64>,
}

impl PageSet {
    /// None of `pages` pages.
    pub fn new(pages: u32) -> PageSet {
        PageSet { bits: vec![0; (pages as usize).div_ceil(64)] }
    }

    /// Whether it is new; a page that the file does not have always is.
    pub fn insert(&mut self, page: PageId) -> bool {
        let bit = 1 << (page.0 % 64);
        let Some(word) = self.bits.get_mut(page.0 as usize / 64) else { return true };
        let is_new = *word & bit == 0;
        *word |= bit;
        is_new
    }

    pub fn contains(&self, page: PageId) -> bool {
        let bit = 1 << (page.0 % 64);
        self.bits.get(page.0 as usize / 64).is_some_and(|word| word & bit != 0)
    }
}

/// What one look at every page has shown.
#[derive(Default)]
pub struct Survey {
    /// Leaves that are not known to be free, and not newer than the meta page.
    pub leaves: Vec<Found>,
    /// Runs that belong to no table: catalogs and lists of free space.
    beside: Vec<(Version, Run)>,
    /// How many pages are neither whole nor known to be free.
    pub damaged_pages: u64,
    /// Whether the list of free space is whole: what is not in it is in use.
    pub knows_free: bool,
    /// Why it is not, if there is a meta page that names one.
    pub free_space_error: Option<Error>,
}

impl Source {
    /// Finds out how to read the page file: by a whole meta page, or by what makes pages whole.
    pub fn open(files: &dyn Storage) -> Result<Source> {
        let file = files.open(PAGE_FILE)?;
        file.lock(LockMode::Shared, LOCK_TIMEOUT)?;
        let bytes = file.len()?;
        let sizes = (0..).map(|i| PAGE_BYTES_MIN << i).take_while(|size| *size <= PAGE_BYTES_MAX);
        let places: Vec<u64> = [0].into_iter().chain(sizes.clone().map(|s| s as u64)).collect();
        let (mut metas, mut ids): (Vec<Meta>, _) = (Vec::new(), BTreeSet::new());
        for at in places {
            let mut sector = [0; META_BYTES];
            if file.read_at(&mut sector, at).is_err() {
                continue;
            }
            ids.extend(id_in(&sector));
            let found = Meta::decode(&sector, PageId(u32::from(at > 0)));
            metas.extend(found.ok().filter(|meta| at == 0 || meta.page_bytes as u64 == at));
        }
        let of = |page_bytes: usize, seed: u32, meta: Option<Meta>| {
            let pages = u32::try_from(bytes / page_bytes as u64).unwrap_or(u32::MAX);
            Source { file: Arc::clone(&file), page_bytes, seed, meta, pages }
        };
        let is_one_store = metas.iter().all(|meta| meta.store_id == metas[0].store_id);
        if let Some(meta) = metas.iter().max_by_key(|meta| meta.sequence)
            && is_one_store
        {
            return Ok(of(meta.page_bytes, meta::seed(meta.store_id), Some(meta.clone())));
        }
        for name in files.list()?.iter().filter(|name| name.starts_with(LOG_PREFIX)) {
            let mut sector = [0; META_BYTES];
            if files.open(name).and_then(|log| log.read_at(&mut sector, 0)).is_ok() {
                ids.extend(id_in(&sector));
            }
        }
        let guesses = ids.iter().flat_map(|id| sizes.clone().map(move |size| (*id, size)));
        let guesses = guesses.map(|(id, size)| {
            let meta = metas.iter().find(|meta| meta.store_id == id && meta.page_bytes == size);
            of(size, meta::seed(id), meta.cloned())
        });
        let best =
            guesses.map(|guess| (guess.whole_pages(), guess)).max_by_key(|(whole, _)| *whole);
        match best {
            Some((1.., guess)) => Ok(guess),
            _ => Err(Error::corrupt(PAGE_FILE, "neither a meta page nor any other page is whole")),
        }
    }

    fn whole_pages(&self) -> usize {
        let pages = META_PAGES..self.pages.min(GUESS_PAGES);
        pages.filter(|page| self.page(PageId(*page)).is_ok()).count()
    }

    /// A page that is whole in itself.
    pub fn page(&self, page: PageId) -> Result<Vec<u8>> {
        if is_meta(page) || page.0 >= self.pages {
            return Err(Error::corrupt_page(page.0, "lies beyond the end of the file"));
        }
        let mut bytes = vec![0; self.page_bytes];
        self.file.read_at(&mut bytes, page.offset(self.page_bytes))?;
        page::verify(&bytes, page, self.seed)?;
        Ok(bytes)
    }

    /// The page that a tree means.
    pub fn tree_page(&self, child: Child, table: TableId, level: u8) -> Result<Vec<u8>> {
        let bytes = self.page(child.page)?;
        page::expect(&bytes, child, table, level)?;
        Ok(bytes)
    }

    /// The content of a run.
    pub fn run(&self, run: Run, table: TableId) -> Result<Vec<u8>> {
        let (first, pages) = (run.first.page, u64::from(run.pages(self.page_bytes)));
        if is_meta(first) || u64::from(first.0) + pages > u64::from(self.pages) {
            return Err(Error::corrupt_page(first.0, "a run exceeds the file"));
        }
        let mut bytes = vec![0; HEADER_BYTES + run.len as usize];
        self.file.read_at(&mut bytes, first.offset(self.page_bytes))?;
        overflow::verify_run(&bytes, run, self.seed)?;
        overflow::content(&bytes, run, table)?;
        bytes.drain(..HEADER_BYTES);
        Ok(bytes)
    }

    /// The catalog that the meta page names.
    pub fn catalog(&self, meta: &Meta) -> Result<Catalog> {
        let Some(run) = meta.catalog else { return Ok(Catalog::new()) };
        Catalog::decode(&self.run(run, NO_TABLE)?)
    }

    /// The newest catalog that is left anywhere.
    pub fn old_catalog(&self, survey: &Survey) -> Option<Catalog> {
        let mut runs = survey.beside.clone();
        runs.sort_by_key(|(birth, _)| std::cmp::Reverse(*birth));
        let mut catalogs = runs.iter().filter_map(|(_, run)| {
            let catalog = Catalog::decode(&self.run(*run, NO_TABLE).ok()?).ok()?;
            (!catalog.is_empty()).then_some(catalog)
        });
        catalogs.next()
    }

    /// Pages known to be free; of those the content does not matter.
    fn free(&self, survey: &mut Survey) -> PageSet {
        let mut free = PageSet::new(self.pages);
        let Some(meta) = &self.meta else { return free };
        let content = meta.free_space.map_or(Ok(Vec::new()), |run| self.run(run, NO_TABLE));
        match content.and_then(|content| FreeSpace::decode(&content, meta.page_count)) {
            Ok(space) => {
                survey.knows_free = true;
                for (first, pages) in space.extents() {
                    for page in first.0..(first.0 + pages).min(self.pages) {
                        free.insert(PageId(page));
                    }
                }
            }
            Err(error) => survey.free_space_error = Some(error),
        }
        free
    }

    /// Looks at every page once. What cannot be read is damaged.
    pub fn survey(&self) -> Survey {
        let mut survey = Survey::default();
        let free = self.free(&mut survey);
        // Behind the count of a meta page that is whole stands what a checkpoint did not finish.
        let (end, newest) = match &self.meta {
            Some(meta) => (meta.page_count.min(self.pages), meta.version),
            None => (self.pages, Version(u64::MAX)),
        };
        // A forged header may claim the rest of the file, and so may the next one.
        let mut idle_bytes = IDLE_READS_MAX * u64::from(self.pages) * self.page_bytes as u64;
        let mut at = META_PAGES;
        while at < end {
            let page = PageId(at);
            at += 1;
            let is_free = free.contains(page);
            if let Some((birth, run)) = self.whole_run(page, is_free, &mut idle_bytes) {
                if birth.1 == NO_TABLE && birth.0 <= newest {
                    survey.beside.push((birth.0, run));
                }
                if !is_free {
                    at = page.0 + run.pages(self.page_bytes);
                }
                continue;
            }
            if is_free {
                continue;
            }
            let Ok(bytes) = self.page(page) else {
                survey.damaged_pages += 1;
                continue;
            };
            let (birth, table) = (page::birth(&bytes), page::table(&bytes));
            let is_leaf = page::kind(&bytes) == Some(Kind::Leaf) && page::level(&bytes) == 0;
            // What is newer was spilled for a commit that the meta page does not know.
            if is_leaf && birth <= newest {
                survey.leaves.push(Found { page, birth, table });
            }
        }
        survey
    }

    /// The whole run that begins at `page`, with its birth and its table. Of free pages only one
    /// beside the trees: an older catalog knows names, if the newest is lost. What is read behind
    /// which the survey does not go on is taken from `idle_bytes`; none is read beyond that.
    fn whole_run(
        &self,
        page: PageId,
        is_free: bool,
        idle_bytes: &mut u64,
    ) -> Option<((Version, TableId), Run)> {
        let mut header = [0; HEADER_BYTES];
        self.file.read_at(&mut header, page.offset(self.page_bytes)).ok()?;
        if page::kind(&header) != Some(Kind::Overflow) {
            return None;
        }
        let run = Run { first: page::child(&header), len: overflow::len(&header) as u32 };
        let table = page::table(&header);
        let is_of_use = (!is_free || table == NO_TABLE) && run.first.page == page;
        let left = idle_bytes.checked_sub(u64::from(run.len)).filter(|_| is_of_use)?;
        let is_whole = self.run(run, table).is_ok();
        if !is_whole || is_free {
            *idle_bytes = left;
        }
        is_whole.then(|| ((page::birth(&header), table), run))
    }
}

/// The id where a meta page or a segment's header has it; none of zeros.
fn id_in(sector: &[u8; META_BYTES]) -> Option<u64> {
    let id = u64::from_le_bytes(sector[STORE_ID].try_into().ok()?);
    (id != 0).then_some(id)
}
