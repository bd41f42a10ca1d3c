//! The parallel arrays behind a page's header, one element of each an entry.
//! Owns: where they lie and how they grow. They have room for `count` rounded up to 8 elements, so
//! that most insertions move only what follows, and scans read whole groups.

use super::HEADER_BYTES;

/// `N` arrays whose elements are `widths` bytes wide; array `heads` holds sorted big numbers and is
/// filled up with the greatest one, so that a search may read the spare elements too.
pub struct Arrays<const N: usize> {
    /// The width of an element of each array, in bytes.
    pub widths: [usize; N],
    /// Which array is filled up with 0xFF.
    pub heads: usize,
}

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
        HEADER_BYTES + self.offset_in_entry(which) * capacity(count)
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

    /// Fills up the heads behind the `count` in use.
    pub fn fill_up(&self, page: &mut [u8], count: usize) {
        let start = self.start(self.heads, count);
        let width = self.widths[self.heads];
        page[start + count * width..start + capacity(count) * width].fill(0xFF);
    }
}
