//! The parallel arrays behind a page's header, one element of each an entry.
//! Owns: where they lie and how they grow. They have room for `count` rounded up to 8 elements, so
//! that most insertions move only what follows, and scans read whole groups.
//! Before the arrays of a branch stand samples: every 16th head. A search looks at them, which lie
//! beside the header, and then at one group of heads, so that it waits for memory twice, however
//! many heads there are; halving them all waits at every step.

use super::HEADER_BYTES;
use crate::storage::map::LINE_BYTES;

/// `N` arrays whose elements are `widths` bytes wide; array `heads` holds sorted big numbers and is
/// filled up with the greatest one, so that a search may read the spare elements too.
pub struct Arrays<const N: usize> {
    /// The width of an element of each array, in bytes.
    pub widths: [usize; N],
    /// Which array is filled up with 0xFF.
    pub heads: usize,
    /// Whether samples of the heads stand before the arrays.
    pub is_sampled: bool,
}

/// One sample for as many heads: a cache line of them.
pub const SAMPLE_EVERY: usize = 16;
/// The length of a sample or head.
const HEAD: usize = 4;

/// How many samples there are of `count` heads.
// Neither `div_ceil` here nor `next_multiple_of` below: the compiler makes twice as much of them.
#[inline]
pub const fn samples(count: usize) -> usize {
    (count + SAMPLE_EVERY - 1) >> SAMPLE_EVERY.trailing_zeros()
}

/// What the samples of `count` heads take: with the header they fill whole cache lines, so that no
/// group of heads lies across two.
#[inline]
const fn samples_bytes(count: usize) -> usize {
    ((HEADER_BYTES + HEAD * samples(count) + LINE_BYTES - 1) & !(LINE_BYTES - 1)) - HEADER_BYTES
}

const _: () = assert!(samples_bytes(128) == LINE_BYTES - HEADER_BYTES);
const _: () = assert!(samples_bytes(129) == 2 * LINE_BYTES - HEADER_BYTES);

/// For how many elements the arrays have room.
#[inline]
pub const fn capacity(count: usize) -> usize {
    count.next_multiple_of(8)
}

impl<const N: usize> Arrays<N> {
    /// The bytes of one entry in all arrays.
    pub const fn entry_bytes(&self) -> usize {
        self.offset_in_entry(N)
    }

    /// The widths before array `which`, together.
    const fn offset_in_entry(&self, which: usize) -> usize {
        let (mut sum, mut i) = (0, 0);
        while i < which {
            sum += self.widths[i];
            i += 1;
        }
        sum
    }

    /// Where array `which` begins.
    #[inline]
    pub const fn start(&self, which: usize, count: usize) -> usize {
        let samples = if self.is_sampled { samples_bytes(count) } else { 0 };
        HEADER_BYTES + samples + self.offset_in_entry(which) * capacity(count)
    }

    /// Where the last array ends.
    #[inline]
    pub const fn end(&self, count: usize) -> usize {
        self.start(N, count)
    }

    /// Makes room for one more element at `i` in each array of `count`; the new elements are the
    /// caller's to write. The caller has seen that the page has the bytes.
    pub fn open(&self, page: &mut [u8], count: usize, i: usize) {
        // The last array first: it moves furthest up, out of the way of the one before.
        for which in (0..N).rev() {
            let width = self.widths[which];
            let (old, new) = (self.start(which, count), self.start(which, count + 1));
            page.copy_within(old + i * width..old + count * width, new + (i + 1) * width);
            page.copy_within(old..old + i * width, new);
        }
        self.fill_up(page, count + 1);
    }

    /// Takes the elements `from..to` out of each array of `count`.
    pub fn close(&self, page: &mut [u8], count: usize, from: usize, to: usize) {
        let count_after = count - (to - from);
        for which in 0..N {
            let width = self.widths[which];
            let (old, new) = (self.start(which, count), self.start(which, count_after));
            page.copy_within(old..old + from * width, new);
            page.copy_within(old + to * width..old + count * width, new + from * width);
        }
        self.fill_up(page, count_after);
    }

    /// Fills up the heads behind the `count` in use, and takes the samples anew.
    pub fn fill_up(&self, page: &mut [u8], count: usize) {
        let start = self.start(self.heads, count);
        let width = self.widths[self.heads];
        page[start + count * width..start + capacity(count) * width].fill(0xFF);
        if self.is_sampled {
            let (samples, heads) = page[HEADER_BYTES..].split_at_mut(samples_bytes(count));
            samples.fill(0xFF);
            let heads = heads[..count * HEAD].chunks(SAMPLE_EVERY * HEAD);
            for (sample, group) in samples.chunks_exact_mut(HEAD).zip(heads) {
                sample.copy_from_slice(&group[..HEAD]);
            }
        }
    }

    /// Writes head `i` of `count`, and its sample.
    pub fn set_head(&self, page: &mut [u8], count: usize, i: usize, head: u32) {
        let start = self.start(self.heads, count) + HEAD * i;
        page[start..start + HEAD].copy_from_slice(&head.to_le_bytes());
        if self.is_sampled && i.is_multiple_of(SAMPLE_EVERY) {
            let at = HEADER_BYTES + HEAD * (i / SAMPLE_EVERY);
            page[at..at + HEAD].copy_from_slice(&head.to_le_bytes());
        }
    }
}
