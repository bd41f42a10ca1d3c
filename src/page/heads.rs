//! Heads: the four bytes of a key behind the page's common prefix, as sorted numbers in one array.
//! Owns: the search in them. A search decides by heads alone unless two are equal.

use std::hint::select_unpredictable;

use super::{
    arrays::{SAMPLE_EVERY, capacity},
    lanes,
};

/// The length of a head on disk.
pub const HEAD_BYTES: usize = 4;
/// How many heads a group holds: the unit in which the array grows.
const GROUP: usize = 8;

const _: () = assert!(capacity(1) == GROUP && SAMPLE_EVERY == 2 * GROUP);

/// The first four bytes of `rest`, most significant first; zeros follow a shorter one. So a smaller
/// key has a smaller head or an equal one.
#[inline]
pub fn head(rest: &[u8]) -> u32 {
    if let Some(four) = rest.first_chunk() {
        return u32::from_be_bytes(*four);
    }
    rest.iter().rev().fold(0, |head, &byte| head >> 8 | u32::from(byte) << 24)
}

/// The length of what `a` and `b` begin with in common.
pub fn common_len(a: &[u8], b: &[u8]) -> usize {
    let len = a.len().min(b.len());
    let (a_words, _) = a[..len].as_chunks::<8>();
    let (b_words, _) = b[..len].as_chunks::<8>();
    for (i, (a, b)) in a_words.iter().zip(b_words).enumerate() {
        let differ = u64::from_le_bytes(*a) ^ u64::from_le_bytes(*b);
        if differ != 0 {
            return i * 8 + differ.trailing_zeros() as usize / 8;
        }
    }
    let from = a_words.len() * 8;
    let rest = a[from..len].iter().zip(&b[from..len]);
    from + rest.take_while(|(a, b)| a == b).count()
}

/// The heads of a page: its array in groups, the last one filled up with the greatest number.
#[derive(Clone, Copy)]
pub struct Heads<'p> {
    groups: &'p [[u8; GROUP * HEAD_BYTES]],
    count: usize,
}

impl<'p> Heads<'p> {
    /// The heads at `start` of a page with `count` entries; fewer if the page ends before.
    #[inline]
    pub fn new(page: &'p [u8], start: usize, count: usize) -> Heads<'p> {
        let end = start + capacity(count) * HEAD_BYTES;
        let (groups, _) = page.get(start..end).unwrap_or(&[]).as_chunks();
        Heads { groups, count }
    }

    /// Head `i`; the greatest number beyond the last.
    #[inline]
    pub fn get(self, i: usize) -> u32 {
        self.groups.as_flattened().as_chunks().0.get(i).map_or(u32::MAX, |&b| u32::from_le_bytes(b))
    }

    /// How many heads are smaller than `head`.
    ///
    /// Halves without a branch until two groups are left, and compares those all at once, which the
    /// compiler does in vector registers; a branching search mispredicts every second step.
    #[inline]
    pub fn lower_bound(self, head: u32) -> usize {
        let (mut from, mut len) = (0, self.groups.len());
        while len > 2 {
            let half = len / 2;
            let Some(group) = self.groups.get(from + half) else {
                break;
            };
            // If the first on the right is not smaller, the answer lies on the left.
            let go_right = smaller(&group[..HEAD_BYTES], head) == 1;
            from = select_unpredictable(go_right, from + half, from);
            len -= half;
        }
        self.count_from(from, head)
    }

    /// All before group `from` are smaller, so that a window that begins or ends further out counts
    /// the same; so it is always two groups wide.
    #[inline]
    fn count_from(self, from: usize, head: u32) -> usize {
        let from = from.min(self.groups.len().saturating_sub(2));
        let rest = self.groups.get(from..).unwrap_or(&[]);
        let line = rest.first_chunk::<2>().and_then(|two| two.as_flattened().first_chunk());
        let in_window = match (line, head.checked_sub(1)) {
            (_, None) => 0,
            (Some(line), Some(below)) => lanes::not_greater(line, below),
            (None, _) => smaller(rest.as_flattened(), head),
        };
        (from * GROUP + in_window).min(self.count)
    }

    /// Where the heads equal to `head` begin, the last of which is the one before `to`, if any is.
    #[inline]
    pub fn start_of_equal(self, to: usize, head: u32) -> usize {
        // Mostly there is but one.
        if to >= 2 && self.get(to - 2) == head { self.lower_bound(head) } else { to.max(1) - 1 }
    }

    /// Where the heads equal to `head` end, the first of which is `from`.
    #[inline]
    pub fn end_of_equal(self, from: usize, head: u32) -> usize {
        // Mostly there is but one.
        match head.checked_add(1) {
            Some(next) if self.get(from + 1) == head => self.lower_bound(next),
            Some(_) => (from + 1).min(self.count),
            None => self.count,
        }
    }
}

/// How many of some heads are smaller than `head`.
#[inline]
fn smaller(heads: &[u8], head: u32) -> usize {
    let (heads, _) = heads.as_chunks();
    let sum: u32 = heads.iter().map(|&other| u32::from(u32::from_le_bytes(other) < head)).sum();
    sum as usize
}
