//! What the targets share: keys and values of the lengths that matter, edits of bytes, and files.
//! Absent on purpose: anything that a target alone needs.

use arbitrary::Arbitrary;
use cap::Cap;
use recto::{
    Result,
    internals::storage::{Storage, memory::MemoryStorage},
};
use std::{alloc::System, collections::BTreeMap, env, sync::LazyLock};

#[global_allocator]
static ALLOCATOR: Cap<System> = Cap::new(System, usize::MAX);

/// What foreign bytes may cost, beside twice their length, in MiB; `RECTO_FUZZ_MEMORY_MIB` asks for
/// another limit, to find out how much is really needed.
static MEMORY_MIB: LazyLock<usize> = LazyLock::new(|| {
    let asked = env::var("RECTO_FUZZ_MEMORY_MIB").ok();
    asked.map_or(64, |mib| mib.parse().expect("a number of MiB"))
});

/// While this is held, more than 64 MiB and twice `len` bytes beyond what is in use now ends the
/// process, which the fuzzer reports.
#[must_use]
pub fn limit_memory(len: usize) -> MemoryLimit {
    let limit = ALLOCATOR.allocated() + (*MEMORY_MIB << 20) + 2 * len;
    ALLOCATOR.set_limit(limit).expect("more than is in use");
    MemoryLimit(())
}

/// See [`limit_memory`].
pub struct MemoryLimit(());

impl Drop for MemoryLimit {
    fn drop(&mut self) {
        ALLOCATOR.set_limit(usize::MAX).expect("more than is in use");
    }
}

/// The files of a store, by name.
pub type Files = BTreeMap<String, Vec<u8>>;

/// Bytes that a fuzzer reaches many lengths of with few of its own.
#[derive(Arbitrary, Clone, Debug, PartialEq, Eq)]
pub enum Bytes {
    /// These.
    Short(Vec<u8>),
    /// One of few, so that keys meet again.
    Few(u8),
    /// A long start that many share, then these.
    Long {
        /// How long, in steps of 16 bytes.
        steps: u8,
        /// What it consists of.
        byte: u8,
        /// What follows.
        tail: [u8; 2],
    },
}

impl Bytes {
    /// The bytes meant.
    pub fn bytes(&self) -> Vec<u8> {
        match self {
            Bytes::Short(bytes) => bytes.clone(),
            Bytes::Few(number) => vec![b'k', number % 32],
            Bytes::Long { steps, byte, tail } => {
                let mut bytes = vec![byte % 3; usize::from(*steps) * 16];
                bytes.extend_from_slice(tail);
                bytes
            }
        }
    }
}

/// A change of one place of some bytes.
#[derive(Arbitrary, Clone, Copy, Debug)]
pub struct Edit {
    /// Where, mostly near the start, where layouts have their fields.
    place: Place,
    with: With,
}

#[derive(Arbitrary, Clone, Copy, Debug)]
enum Place {
    Header(u8),
    Arrays(u16),
    Anywhere(u32),
}

#[derive(Arbitrary, Clone, Copy, Debug)]
enum With {
    Byte(u8),
    Flip(u8),
    Word(u16),
    Long(u32),
}

impl Edit {
    /// Changes `bytes`, nowhere before `from`.
    pub fn apply(self, bytes: &mut [u8], from: usize) {
        let Some(room) = bytes.len().checked_sub(from).filter(|&room| room > 0) else {
            return;
        };
        let at = from
            + match self.place {
                Place::Header(at) => usize::from(at) % 64,
                Place::Arrays(at) => usize::from(at) % 1024,
                Place::Anywhere(at) => at as usize,
            } % room;
        let mut put = |new: &[u8]| {
            let len = new.len().min(bytes.len() - at);
            bytes[at..at + len].copy_from_slice(&new[..len]);
        };
        match self.with {
            With::Byte(byte) => put(&[byte]),
            With::Flip(bit) => bytes[at] ^= 1 << (bit % 8),
            With::Word(word) => put(&word.to_le_bytes()),
            With::Long(word) => put(&word.to_le_bytes()),
        }
    }
}

/// What `storage` holds.
///
/// # Errors
/// None; memory does not fail.
pub fn files(storage: &dyn Storage) -> Result<Files> {
    let mut files = Files::new();
    for name in storage.list()? {
        let file = storage.open(&name)?;
        let mut bytes = vec![0; file.len()? as usize];
        file.read_at(&mut bytes, 0)?;
        files.insert(name, bytes);
    }
    Ok(files)
}

/// A storage that holds `files`.
///
/// # Errors
/// None; memory does not fail.
pub fn storage(files: &Files) -> Result<MemoryStorage> {
    let storage = MemoryStorage::new();
    for (name, bytes) in files {
        let file = storage.create(name)?;
        file.allocate(bytes.len() as u64)?;
        file.write_at(bytes, 0)?;
    }
    Ok(storage)
}
