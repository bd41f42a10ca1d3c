//! Zeroed memory for much that is of the moment, in huge pages where it is much: the first touch of
//! 4 KiB costs up to 2.7 us in a virtual machine, and what is then read in no order finds its
//! translations (measured: a fifth of a bulk load's time was page faults).
//! Owns: [`Blank`].

use memmap2::MmapMut;
use std::ops::{Deref, DerefMut};

/// From here on memory is mapped: two huge pages. Less comes from the heap.
const MAPPED_BYTES_MIN: usize = 4 << 20;

/// Memory that was zero when it was made.
pub struct Blank(Memory);

enum Memory {
    Heap(Vec<u8>),
    Mapped(MmapMut),
}

impl Blank {
    /// `len` zeroed bytes; none if they are not to be had. Cost: next to none until touched.
    pub fn new(len: usize) -> Option<Blank> {
        if len < MAPPED_BYTES_MIN {
            return Some(Blank(Memory::Heap(vec![0; len])));
        }
        let mapped = MmapMut::map_anon(len).ok()?;
        // A hint: where there are no huge pages small ones do.
        #[cfg(target_os = "linux")]
        let _ = mapped.advise(memmap2::Advice::HugePage);
        Some(Blank(Memory::Mapped(mapped)))
    }
}

impl Deref for Blank {
    type Target = [u8];

    #[inline]
    fn deref(&self) -> &[u8] {
        match &self.0 {
            Memory::Heap(bytes) => bytes,
            Memory::Mapped(bytes) => bytes,
        }
    }
}

impl DerefMut for Blank {
    #[inline]
    fn deref_mut(&mut self) -> &mut [u8] {
        match &mut self.0 {
            Memory::Heap(bytes) => bytes,
            Memory::Mapped(bytes) => bytes,
        }
    }
}
