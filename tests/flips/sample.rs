//! The stores whose bits are flipped.
//! Owns: [`Sample`]: the files, what they must show, and where the last record is.

use recto::{
    Options, Result, Store, Table, View,
    internals::{
        page::{PageId, meta::Meta},
        storage::{Storage, memory::MemoryStorage},
        store::open_storage,
    },
};
use std::{
    collections::BTreeMap,
    fs,
    ops::{Bound, Range},
    path::Path,
    sync::Arc,
};

pub const BLOBS: Table<&[u8], &[u8]> = Table::new("blobs");
pub const NUMBERS: Table<u64, (u64, &str)> = Table::new("numbers");

pub type Files = BTreeMap<String, Vec<u8>>;
/// Table, key, value, all in order.
pub type Content = Vec<(String, Vec<u8>, Vec<u8>)>;

/// What is written beside the files for the children.
const RECORDS: &str = "records";
const PAGE_FILE: &str = "pages";

/// A store, and what may be found in it.
pub struct Sample {
    pub files: Files,
    /// The files whose bits are flipped.
    pub targets: Vec<String>,
    pub content: Content,
    /// What it held before each record in the log, the last first.
    pub before: Vec<Content>,
    /// The log, and the bytes of those records in it, the last first.
    pub records: Option<(String, Vec<Range<usize>>)>,
}

pub fn options() -> Options {
    Options::new().page_bytes(4096).dirty_bytes(256 << 10).log_segment_bytes(16 << 10)
}

/// Everything in a version, tables by name, each read forward.
pub fn content(view: &View) -> Result<Content> {
    let mut content = Content::new();
    for name in view.tables()? {
        let table = view.raw_table(&name)?.expect("it was listed");
        for entry in table.range(Bound::Unbounded, Bound::Unbounded)? {
            let (key, value) = entry?;
            content.push((name.clone(), key.to_vec(), value.to_vec()));
        }
    }
    Ok(content)
}

/// A tree of two levels, one leaf, runs of a key and of a value, and a free page; half of it after
/// a first checkpoint.
fn fill(store: &Store) -> Result<()> {
    store.write(|tx| {
        let mut blobs = tx.table(&BLOBS)?;
        for i in 0..14u32 {
            blobs.insert(format!("key {i:04}").as_bytes(), &[i as u8; 600])?;
        }
        blobs.insert(&[b'r'; 1500], b"a key in a run")?;
        blobs.insert(b"run", &[8; 6000])?;
        tx.table(&NUMBERS)?.extend((0..60).map(|i| (i * 7, (i, "number"))))?;
        Ok(())
    })?;
    store.checkpoint()?;
    store.write(|tx| tx.table(&BLOBS)?.remove(b"key 0003").map(drop))?;
    store.checkpoint()
}

fn files(storage: &dyn Storage) -> Files {
    let read = |name: String| {
        let file = storage.open(&name).unwrap();
        let mut bytes = vec![0; file.len().unwrap() as usize];
        file.read_at(&mut bytes, 0).unwrap();
        (name, bytes)
    };
    storage.list().unwrap().into_iter().map(read).collect()
}

/// A storage in memory that holds `files`.
pub fn storage(files: &Files) -> Arc<dyn Storage> {
    let storage = MemoryStorage::new();
    for (name, bytes) in files {
        let file = storage.create(name).unwrap();
        file.allocate(bytes.len() as u64).unwrap();
        file.write_at(bytes, 0).unwrap();
    }
    Arc::new(storage)
}

impl Sample {
    /// A store that was closed, with a page file of 64 KiB.
    pub fn closed() -> Sample {
        let memory: Arc<dyn Storage> = Arc::new(MemoryStorage::new());
        let store = open_storage(options(), &memory).unwrap();
        fill(&store).unwrap();
        let content = content(&store.snapshot()).unwrap();
        store.close().unwrap();
        let mut files = files(&*memory);
        let pages = files.get_mut(PAGE_FILE).unwrap();
        // The file grows in larger steps; behind the last page ever given out is nothing.
        let metas = [0, 1].map(|slot| Meta::decode(&pages[slot as usize * 4096..], PageId(slot)));
        let end = metas.into_iter().map(|meta| meta.unwrap().page_count).max().unwrap();
        pages.truncate(end as usize * 4096);
        let targets = vec![PAGE_FILE.to_owned()];
        Sample { files, targets, content, before: Vec::new(), records: None }
    }

    /// A store that was killed, with ten commits in its log.
    pub fn killed() -> Sample {
        let memory: Arc<dyn Storage> = Arc::new(MemoryStorage::new());
        let store = open_storage(options(), &memory).unwrap();
        fill(&store).unwrap();
        let write = |i: u64| {
            store
                .write(|tx| {
                    tx.table(&NUMBERS)?.insert(i, (i, "in the log"))?;
                    tx.table(&BLOBS)?.insert(b"in the log", &vec![i as u8; 80 * i as usize])
                })
                .unwrap();
        };
        let look = || (files(&*memory), content(&store.snapshot()).unwrap());
        let mut states = vec![look()];
        for i in 1..=10 {
            write(i);
            states.push(look());
        }
        let (files, content) = states.last().unwrap().clone();
        let targets: Vec<String> =
            files.keys().filter(|name| name.starts_with("log-")).cloned().collect();
        let changed = |name: &&String| files[*name] != states[0].0[*name];
        let log = targets.iter().find(changed).expect("the commits are in the log").clone();
        let range = |pair: &[(Files, Content)]| {
            let (old, new) = (&pair[0].0[&log], &pair[1].0[&log]);
            let differs = |at: &usize| old[*at] != new[*at];
            let first = (0..new.len()).find(differs).expect("one log takes them all");
            first..(0..new.len()).rfind(differs).unwrap() + 1
        };
        let records = states.windows(2).rev().map(range).collect();
        let before = states.into_iter().rev().skip(1).map(|(_, content)| content).collect();
        Sample { files, targets, content, before, records: Some((log, records)) }
    }

    /// How many bits there are to flip.
    pub fn bits(&self) -> u64 {
        self.targets.iter().map(|name| self.files[name].len() as u64 * 8).sum()
    }

    /// Flips bit `n` of `files`; which record it is in, counted from the last.
    pub fn flip(&self, files: &mut Files, n: u64) -> Option<usize> {
        let (mut byte, bit) = ((n / 8) as usize, n % 8);
        for name in &self.targets {
            let bytes = files.get_mut(name).unwrap();
            if let Some(hit) = bytes.get_mut(byte) {
                *hit ^= 1 << bit;
                let (log, records) = self.records.as_ref()?;
                return records.iter().position(|range| log == name && range.contains(&byte));
            }
            byte -= bytes.len();
        }
        panic!("bit {n} is beyond the files");
    }

    /// Writes the files to a directory, for children.
    pub fn save(&self) -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        for (name, bytes) in &self.files {
            fs::write(dir.path().join(name), bytes).unwrap();
        }
        if let Some((log, records)) = &self.records {
            let ranges = records.iter().map(|range| format!(" {} {}", range.start, range.end));
            fs::write(dir.path().join(RECORDS), log.clone() + &ranges.collect::<String>()).unwrap();
        }
        dir
    }

    /// What [`save`](Self::save) wrote; the contents are read from the store itself.
    pub fn load(dir: &Path) -> Sample {
        let mut files = Files::new();
        for entry in fs::read_dir(dir).unwrap() {
            let entry = entry.unwrap();
            files.insert(entry.file_name().into_string().unwrap(), fs::read(entry.path()).unwrap());
        }
        let records = files.remove(RECORDS).map(|text| {
            let text = String::from_utf8(text).unwrap();
            let (log, numbers) = text.split_once(' ').unwrap();
            let numbers: Vec<usize> = numbers.split(' ').map(|n| n.parse().unwrap()).collect();
            (log.to_owned(), numbers.chunks_exact(2).map(|pair| pair[0]..pair[1]).collect())
        });
        let targets = match &records {
            Some(_) => files.keys().filter(|name| name.starts_with("log-")).cloned().collect(),
            None => vec![PAGE_FILE.to_owned()],
        };
        let shown = |files: &Files| {
            let store = open_storage(options(), &storage(files)).unwrap();
            let shown = content(&store.snapshot()).unwrap();
            store.close().unwrap();
            shown
        };
        let content = shown(&files);
        let (mut before, mut fewer) = (Vec::new(), files.clone());
        if let Some((log, ranges)) = &records {
            for range in ranges {
                fewer.get_mut(log).unwrap()[Range::clone(range)].fill(0);
                before.push(shown(&fewer));
            }
        }
        Sample { files, targets, content, before, records }
    }
}
