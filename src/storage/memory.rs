//! Files in memory, for stores that need no disk and for tests.
//! Owns: [`MemoryStorage`]. Clones share one directory, so a store can be closed and opened again.
//! Absent on purpose: durability; syncs answer at once.

use super::{
    LockMode, Storage, StorageFile,
    lock::{Advisory, Hold},
    map::Map,
};
use crate::{
    error::{Error, Resource, Result},
    sync::{Arc, Mutex, PlainArc, erased, lock},
};
use std::{collections::BTreeMap, io, time::Duration};

/// Content lies in chunks, so that growth copies nothing.
const CHUNK_BYTES: usize = 64 * 1024;

/// A directory of files in memory; it goes with its last clone and the last open file.
#[derive(Clone, Default)]
pub struct MemoryStorage {
    files: Files,
}

type Files = Arc<Mutex<BTreeMap<String, Arc<Inode>>>>;

#[derive(Default)]
struct Inode {
    content: Mutex<Content>,
    lock: Arc<Advisory>,
}

/// Bytes beyond `len` in the last chunk are zero.
#[derive(Default)]
struct Content {
    len: u64,
    chunks: Vec<Box<[u8]>>,
}

struct OpenFile {
    files: Files,
    inode: Arc<Inode>,
    name: String,
    hold: Hold,
}

impl MemoryStorage {
    /// An empty directory.
    pub fn new() -> MemoryStorage {
        MemoryStorage::default()
    }
}

fn failed(op: &'static str, name: &str, kind: io::ErrorKind) -> Error {
    Error::io(op, name, kind.into())
}

fn share(files: &Files, inode: &Arc<Inode>, name: &str) -> Arc<dyn StorageFile> {
    erased(PlainArc::new(OpenFile {
        files: Arc::clone(files),
        inode: Arc::clone(inode),
        name: name.to_owned(),
        hold: Hold::new(Arc::clone(&inode.lock)),
    }))
}

impl Storage for MemoryStorage {
    fn open(&self, name: &str) -> Result<Arc<dyn StorageFile>> {
        match lock(&self.files).get(name) {
            Some(inode) => Ok(share(&self.files, inode, name)),
            None => Err(failed("open", name, io::ErrorKind::NotFound)),
        }
    }

    fn create(&self, name: &str) -> Result<Arc<dyn StorageFile>> {
        let mut files = lock(&self.files);
        if files.contains_key(name) {
            return Err(failed("create", name, io::ErrorKind::AlreadyExists));
        }
        let inode = Arc::new(Inode::default());
        files.insert(name.to_owned(), Arc::clone(&inode));
        Ok(share(&self.files, &inode, name))
    }

    fn rename(&self, from: &str, to: &str) -> Result<()> {
        let mut files = lock(&self.files);
        let Some(inode) = files.remove(from) else {
            return Err(failed("rename", from, io::ErrorKind::NotFound));
        };
        files.insert(to.to_owned(), inode);
        Ok(())
    }

    fn remove(&self, name: &str) -> Result<()> {
        match lock(&self.files).remove(name) {
            Some(_) => Ok(()),
            None => Err(failed("remove", name, io::ErrorKind::NotFound)),
        }
    }

    fn list(&self) -> Result<Vec<String>> {
        Ok(lock(&self.files).keys().cloned().collect())
    }

    fn sync_dir(&self) -> Result<()> {
        Ok(())
    }
}

impl StorageFile for OpenFile {
    fn read_at(&self, bytes: &mut [u8], offset: u64) -> Result<()> {
        let content = lock(&self.inode.content);
        if !content.holds(offset, bytes.len()) {
            return Err(failed("read", &self.name, io::ErrorKind::UnexpectedEof));
        }
        for (at, chunk, within, len) in pieces(offset, bytes.len()) {
            let from = &content.chunks[chunk][within..within + len];
            bytes[at..at + len].copy_from_slice(from);
        }
        Ok(())
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> Result<()> {
        let mut content = lock(&self.inode.content);
        assert!(
            content.holds(offset, bytes.len()),
            "write of {} bytes at {offset} of {} beyond its {} bytes: allocate first",
            bytes.len(),
            self.name,
            content.len,
        );
        for (at, chunk, within, len) in pieces(offset, bytes.len()) {
            content.chunks[chunk][within..within + len].copy_from_slice(&bytes[at..at + len]);
        }
        Ok(())
    }

    fn allocate(&self, len: u64) -> Result<()> {
        lock(&self.inode.content).grow(len)
    }

    fn truncate(&self, len: u64) -> Result<()> {
        lock(&self.inode.content).cut(len);
        Ok(())
    }

    fn len(&self) -> Result<u64> {
        Ok(lock(&self.inode.content).len)
    }

    fn sync(&self) -> Result<()> {
        Ok(())
    }

    fn lock(&self, mode: LockMode, timeout: Duration) -> Result<()> {
        self.hold.take(mode, timeout)
    }

    fn keeps_name(&self) -> Result<bool> {
        Ok(lock(&self.files).get(&self.name).is_some_and(|inode| Arc::ptr_eq(inode, &self.inode)))
    }

    fn map(&self) -> Option<Arc<Map>> {
        None
    }
}

impl Content {
    fn holds(&self, offset: u64, len: usize) -> bool {
        offset.checked_add(len as u64).is_some_and(|end| end <= self.len)
    }

    fn grow(&mut self, len: u64) -> Result<()> {
        const FULL: Error = Error::Full { what: Resource::Disk };
        if len <= self.len {
            return Ok(());
        }
        let chunks = usize::try_from(len.div_ceil(CHUNK_BYTES as u64)).map_err(|_| FULL)?;
        // Refuses a length that cannot be, before memory is taken chunk by chunk.
        let more = chunks - self.chunks.len();
        self.chunks.try_reserve(more).map_err(|_| FULL)?;
        let zeroed = || vec![0; CHUNK_BYTES].into_boxed_slice();
        self.chunks.resize_with(chunks, zeroed);
        self.len = len;
        Ok(())
    }

    fn cut(&mut self, len: u64) {
        if len >= self.len {
            return;
        }
        self.chunks.truncate(len.div_ceil(CHUNK_BYTES as u64) as usize);
        let within = (len % CHUNK_BYTES as u64) as usize;
        if within > 0
            && let Some(last) = self.chunks.last_mut()
        {
            last[within..].fill(0);
        }
        self.len = len;
    }
}

/// Cuts `len` bytes at `offset` at the borders of chunks: (place in the caller's bytes, chunk,
/// place in the chunk, length).
fn pieces(offset: u64, len: usize) -> impl Iterator<Item = (usize, usize, usize, usize)> {
    let mut done = 0;
    std::iter::from_fn(move || {
        if done == len {
            return None;
        }
        let place = offset + done as u64;
        let chunk = (place / CHUNK_BYTES as u64) as usize;
        let within = (place % CHUNK_BYTES as u64) as usize;
        let piece = (done, chunk, within, (CHUNK_BYTES - within).min(len - done));
        done += piece.3;
        Some(piece)
    })
}
