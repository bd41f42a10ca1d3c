//! Sorted runs in a file, and all of them merged into one.
//! Owns: [`Runs`], `Reader` and [`Merged`]. The file has no name, so nothing of it outlives the
//! store's process; recovery knows nothing of it. Keeps I9: what comes back is compared with
//! checksums that never left memory.
//! Memory: a chunk of each run, and one entry.

use super::{HEADER_BYTES, gathered::Sorted, put_header, take_header};
use crate::{
    error::{Error, Result},
    storage::{Storage, StorageFile, nameless},
    sync::Arc,
    txn::batch::head,
};
use std::{ops::Range, rc::Rc};

/// The unit that is read and checked at once. Read at random places of a disk it takes about as
/// long as the way there; and a run of the usual 32 MiB has 512.
const CHUNK_BYTES: usize = if cfg!(test) { 512 } else { 64 << 10 };
/// What is written at once, in chunks: by the MiB the kernel takes half as long.
const WRITE_BYTES: usize = 16 * CHUNK_BYTES;
/// What the file is called in errors.
const NAME: &str = "sorted runs";

/// Runs of entries in key order.
pub struct Runs {
    file: Arc<dyn StorageFile>,
    places: Vec<Run>,
    /// Where the last run ends.
    end: u64,
    /// What has not been written yet of the run in hand.
    unwritten: Vec<u8>,
}

/// A run's place, and the checksums of its chunks.
struct Run {
    start: u64,
    len: u64,
    sums: Vec<u32>,
}

impl Runs {
    /// None yet, in a new file.
    pub fn new(storage: &dyn Storage) -> Result<Runs> {
        let file = nameless(storage)?;
        Ok(Runs { file, places: Vec::new(), end: 0, unwritten: Vec::new() })
    }

    /// Writes one more run, of at most `bytes_max`, header and all.
    ///
    /// # Errors
    /// [`Error::Full`] if the device has no room for it; the storage's own.
    pub fn write<'e>(
        &mut self,
        sorted: impl Iterator<Item = (&'e [u8], &'e [u8])>,
        bytes_max: usize,
    ) -> Result<()> {
        self.file.allocate(self.end + bytes_max as u64)?;
        self.unwritten.clear();
        self.unwritten.reserve(WRITE_BYTES);
        let mut run = Run { start: self.end, len: 0, sums: Vec::new() };
        for (key, value) in sorted {
            let mut header = [0; HEADER_BYTES];
            put_header(&mut header, key.len(), value.len());
            for part in [&header[..], key, value] {
                self.put(part, &mut run)?;
            }
        }
        self.write_chunks(&mut run)?;
        self.end += run.len;
        self.places.push(run);
        Ok(())
    }

    /// The file, to damage it.
    #[cfg(test)]
    pub fn file(&self) -> &dyn StorageFile {
        &*self.file
    }

    fn put(&mut self, mut bytes: &[u8], run: &mut Run) -> Result<()> {
        loop {
            let room = WRITE_BYTES - self.unwritten.len();
            if bytes.len() < room {
                self.unwritten.extend_from_slice(bytes);
                return Ok(());
            }
            let (fits, rest) = bytes.split_at(room);
            self.unwritten.extend_from_slice(fits);
            self.write_chunks(run)?;
            bytes = rest;
        }
    }

    fn write_chunks(&mut self, run: &mut Run) -> Result<()> {
        if !self.unwritten.is_empty() {
            self.file.write_at(&self.unwritten, run.start + run.len)?;
            run.len += self.unwritten.len() as u64;
            run.sums.extend(self.unwritten.chunks(CHUNK_BYTES).map(crc32c::crc32c));
            self.unwritten.clear();
        }
        Ok(())
    }

    /// All entries of all runs and of `last`, which came behind them: in strictly ascending key
    /// order, of equal keys the one of the latest run.
    pub fn merge<'r>(&'r self, last: Sorted<'r>) -> Result<Merged<'r>> {
        let readers = self.places.iter().map(|run| Reader::new(&*self.file, run));
        let mut sources =
            readers.map(|reader| Ok(Source::File(reader?))).collect::<Result<Vec<_>>>()?;
        sources.push(Source::Memory(last));
        Ok(Merged::new(sources))
    }
}

/// A part of an entry, which stays while others are read.
#[derive(Clone)]
pub enum Part<'r> {
    /// Of what is in memory.
    Lent(&'r [u8]),
    /// Of a chunk that was read.
    Read(Rc<Vec<u8>>, Range<usize>),
}

impl AsRef<[u8]> for Part<'_> {
    #[inline]
    fn as_ref(&self) -> &[u8] {
        match self {
            Part::Lent(bytes) => bytes,
            Part::Read(block, range) => &block[range.clone()],
        }
    }
}

/// One run, read from its start.
struct Reader<'r> {
    file: &'r dyn StorageFile,
    run: &'r Run,
    next_chunk: usize,
    /// What has been read and not yet passed, from `at` on.
    block: Rc<Vec<u8>>,
    at: usize,
    /// The lengths of the entry at `at`, if there is one: all of it but a long value is in the
    /// block.
    lens: Option<(usize, usize)>,
}

impl<'r> Reader<'r> {
    fn new(file: &'r dyn StorageFile, run: &'r Run) -> Result<Reader<'r>> {
        let block = Rc::new(Vec::new());
        let mut reader = Reader { file, run, next_chunk: 0, block, at: 0, lens: None };
        reader.find()?;
        Ok(reader)
    }

    /// Looks at the entry that begins at `at`.
    fn find(&mut self) -> Result<()> {
        if self.at == self.block.len() && self.next_chunk == self.run.sums.len() {
            self.lens = None;
            return Ok(());
        }
        self.need(HEADER_BYTES)?;
        let (key_len, value_len) = take_header(&self.block[self.at..]);
        let whole = HEADER_BYTES + key_len + value_len;
        // A long value is read when its turn comes, so that there is one of them at a time.
        self.need(if whole <= CHUNK_BYTES { whole } else { HEADER_BYTES + key_len })?;
        self.lens = Some((key_len, value_len));
        Ok(())
    }

    fn key(&self) -> &[u8] {
        let key_len = self.lens.map_or(0, |(key_len, _)| key_len);
        self.block[self.at..].get(HEADER_BYTES..HEADER_BYTES + key_len).unwrap_or(&[])
    }

    /// The entry; then comes the next one.
    fn take(&mut self) -> Result<(Part<'r>, Part<'r>)> {
        let (key_len, value_len) = self.lens.ok_or_else(ends_early)?;
        let key_at = self.at + HEADER_BYTES;
        let value_at = key_at + key_len;
        let key = Part::Read(Rc::clone(&self.block), key_at..value_at);
        self.at = value_at;
        let value = if self.block.len() - value_at >= value_len {
            self.at += value_len;
            Part::Read(Rc::clone(&self.block), value_at..value_at + value_len)
        } else {
            Part::Read(Rc::new(self.long_value(value_len)?), 0..value_len)
        };
        Ok((key, value))
    }

    fn long_value(&mut self, len: usize) -> Result<Vec<u8>> {
        let mut value = Vec::with_capacity(len);
        loop {
            let fits = (self.block.len() - self.at).min(len - value.len());
            value.extend_from_slice(&self.block[self.at..self.at + fits]);
            self.at += fits;
            if value.len() == len {
                return Ok(value);
            }
            self.read_chunk()?;
        }
    }

    /// Sees to it that `len` bytes are in the block.
    fn need(&mut self, len: usize) -> Result<()> {
        while self.block.len() - self.at < len {
            self.read_chunk()?;
        }
        Ok(())
    }

    fn read_chunk(&mut self) -> Result<()> {
        let sum = *self.run.sums.get(self.next_chunk).ok_or_else(ends_early)?;
        let from = (self.next_chunk * CHUNK_BYTES) as u64;
        let len = (self.run.len - from).min(CHUNK_BYTES as u64) as usize;
        let kept = self.block.len() - self.at;
        if let Some(block) = Rc::get_mut(&mut self.block) {
            block.copy_within(self.at.., 0);
            block.truncate(kept);
        } else {
            // Someone holds an entry that was taken.
            let mut block = Vec::with_capacity(kept + CHUNK_BYTES);
            block.extend_from_slice(&self.block[self.at..]);
            self.block = Rc::new(block);
        }
        self.at = 0;
        let block = Rc::get_mut(&mut self.block).expect("made or found to be nobody else's");
        block.resize(kept + len, 0);
        self.file.read_at(&mut block[kept..], self.run.start + from)?;
        if crc32c::crc32c(&block[kept..]) != sum {
            let reason =
                format!("{len} bytes at {} are not what was written", self.run.start + from);
            return Err(Error::corrupt(NAME, reason));
        }
        self.next_chunk += 1;
        Ok(())
    }
}

#[cold]
fn ends_early() -> Error {
    Error::corrupt(NAME, "a run ends within an entry")
}

enum Source<'r> {
    File(Reader<'r>),
    Memory(Sorted<'r>),
}

impl<'r> Source<'r> {
    fn has_entry(&self) -> bool {
        match self {
            Source::File(reader) => reader.lens.is_some(),
            Source::Memory(sorted) => sorted.peek().is_some(),
        }
    }

    fn key(&self) -> &[u8] {
        match self {
            Source::File(reader) => reader.key(),
            Source::Memory(sorted) => sorted.peek().map_or(&[], |(key, _)| key),
        }
    }

    fn take(&mut self) -> Result<(Part<'r>, Part<'r>)> {
        match self {
            Source::File(reader) => reader.take(),
            Source::Memory(sorted) => {
                let (key, value) = sorted.next().ok_or_else(ends_early)?;
                Ok((Part::Lent(key), Part::Lent(value)))
            }
        }
    }

    /// What `take` leaves to be done before the next key is asked for.
    fn find(&mut self) -> Result<()> {
        match self {
            Source::File(reader) => reader.find(),
            Source::Memory(_) => Ok(()),
        }
    }
}

/// Entries of several sources, merged. Ends behind an error.
pub struct Merged<'r> {
    /// In the order in which they came.
    sources: Vec<Source<'r>>,
    /// The sources that have an entry, each with its key's head, as a heap: the smallest key first,
    /// of equal ones that of the latest source.
    heap: Vec<(u64, usize)>,
    /// The first of the heap was taken from and has not been looked at since, so that its chunk can
    /// be read over once the caller has let the entry go.
    is_stale: bool,
}

impl<'r> Merged<'r> {
    fn new(sources: Vec<Source<'r>>) -> Merged<'r> {
        let with_entry = sources.iter().enumerate().filter(|(_, source)| source.has_entry());
        let heap = with_entry.map(|(i, source)| (head(source.key()), i)).collect::<Vec<_>>();
        let mut merged = Merged { sources, heap, is_stale: false };
        for at in (0..merged.heap.len() / 2).rev() {
            merged.sink(at);
        }
        merged
    }

    /// Whether the source at `a` of the heap comes before that at `b`.
    #[inline]
    fn is_before(&self, a: usize, b: usize) -> bool {
        let ((a_head, a), (b_head, b)) = (self.heap[a], self.heap[b]);
        let by_key = || self.sources[a].key().cmp(self.sources[b].key());
        a_head.cmp(&b_head).then_with(by_key).then(b.cmp(&a)).is_lt()
    }

    /// Moves what is at `at` of the heap down to its place.
    fn sink(&mut self, mut at: usize) {
        loop {
            let mut child = 2 * at + 1;
            if child >= self.heap.len() {
                return;
            }
            if child + 1 < self.heap.len() && self.is_before(child + 1, child) {
                child += 1;
            }
            if !self.is_before(child, at) {
                return;
            }
            self.heap.swap(at, child);
            at = child;
        }
    }

    /// Looks at the next entry of the source that was taken from, and puts it in its place.
    fn settle(&mut self) -> Result<()> {
        self.is_stale = false;
        let (_, first) = self.heap[0];
        let source = &mut self.sources[first];
        source.find()?;
        if source.has_entry() {
            self.heap[0].0 = head(source.key());
        } else {
            self.heap.swap_remove(0);
        }
        self.sink(0);
        Ok(())
    }

    fn advance(&mut self) -> Result<Option<(Part<'r>, Part<'r>)>> {
        if self.is_stale {
            self.settle()?;
        }
        let Some(&(first_head, first)) = self.heap.first() else { return Ok(None) };
        let entry = self.sources[first].take()?;
        // Those of the same key in earlier runs: each would come next.
        loop {
            self.is_stale = true;
            let next = [1, 2].map(|at| self.heap.get(at).copied());
            let replaced = next.into_iter().flatten().any(|(head, source)| {
                head == first_head && self.sources[source].key() == entry.0.as_ref()
            });
            if !replaced {
                return Ok(Some(entry));
            }
            self.settle()?;
            let Some(&(_, again)) = self.heap.first() else { return Ok(Some(entry)) };
            self.sources[again].take()?;
        }
    }
}

impl<'r> Iterator for Merged<'r> {
    type Item = Result<(Part<'r>, Part<'r>)>;

    fn next(&mut self) -> Option<Self::Item> {
        let next = self.advance().transpose();
        if matches!(next, Some(Err(_))) {
            (self.heap, self.is_stale) = (Vec::new(), false);
        }
        next
    }
}
