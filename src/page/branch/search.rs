//! The search of a branch: for which child the heads decide, and for which they do not.
//! Owns: [`Search`]. Every descent passes here, so it looks at no more of the page than it needs,
//! and branches on none of it but where heads are equal.
//! Keeps I9: whatever the header says, each access is checked against the page's length.

use super::{
    super::{
        HEADER_BYTES,
        arrays::SAMPLE_EVERY,
        cell::{PartKey, read_short_separator},
        expected_header,
        heads::{Heads, head},
        lanes::{HEADS_AT_ONCE, greater_bits, not_greater},
    },
    ARRAYS, Branch, CHILD_BYTES, Child, HEAD_BYTES, HEADS, Resolve, damaged,
};
use crate::{
    error::Result,
    storage::map::{LINE_BYTES, prefetch_at},
};

const _: () = assert!(SAMPLE_EVERY == HEADS_AT_ONCE);
const _: () = assert!(LINE_BYTES == HEAD_BYTES * SAMPLE_EVERY);
const _: () = assert!(ARRAYS.start(HEADS, 1).is_multiple_of(LINE_BYTES));

/// The heads that the header takes the place of in the first line of samples.
const HEADER_HEADS: usize = HEADER_BYTES / HEAD_BYTES;

/// A search that has seen the header and the samples: what it looks at next is on its way into the
/// CPU's cache.
#[derive(Clone, Copy)]
pub struct Search<'p> {
    branch: Branch<'p>,
    /// The head of the key and its group; none if the key does not begin as all separators do.
    aim: Option<(u32, usize)>,
}

impl<'p> Search<'p> {
    /// Begins the search for `key` in the branch in a page that
    /// [`expect`](super::super::expect) has let pass: nobody asks whether its arrays end before its
    /// cells begin.
    #[allow(clippy::inline_always, reason = "as of `Branch::new`")]
    #[inline(always)]
    pub fn begin(page: &'p [u8], key: &[u8]) -> Result<Search<'p>> {
        Ok(Branch::expected(page)?.search(key))
    }

    /// Starts to fetch the heads, too, for who leaves the search for a while.
    #[inline]
    pub fn prefetch_heads(&self) {
        if let Some((_, group)) = self.aim {
            prefetch_at(self.branch.page, self.branch.heads + LINE_BYTES * group);
        }
    }

    /// The child whose keys `key` is among; an error if there is no child.
    #[allow(clippy::inline_always, reason = "as of `Branch::new`")]
    #[inline(always)]
    pub fn child(self, key: &[u8], resolve: &impl Resolve<'p>) -> Result<Child> {
        match self.last_not_greater() {
            (i, true) => self.branch.child_at(i),
            (i, false) => undecided_child(self.branch.page, i, key, resolve),
        }
    }

    /// Where the last head is that is not greater than that of the key, and whether it decides: it
    /// is one of a child, and smaller.
    #[allow(clippy::inline_always, reason = "as of `Branch::new`")]
    #[inline(always)]
    fn last_not_greater(self) -> (usize, bool) {
        // Groups are whole cache lines.
        let Branch { page, count, heads, .. } = self.branch;
        let lines = page.as_chunks().0;
        let Some((head, group)) = self.aim else { return (0, false) };
        let Some(line) = lines.get(heads / LINE_BYTES + group) else { return (0, false) };
        let after = not_greater(line, head);
        let i = (SAMPLE_EVERY * group + after).wrapping_sub(1);
        let last = line.as_chunks().0.get(after.wrapping_sub(1));
        (i, i < count && last.is_some_and(|last| u32::from_le_bytes(*last) != head))
    }
}

/// The child where heads do not decide.
#[inline(never)]
fn undecided_child<'p>(
    page: &'p [u8],
    i: usize,
    key: &[u8],
    resolve: &impl Resolve<'p>,
) -> Result<Child> {
    Branch::expected(page)?.child(Branch::undecided(page, i, key, resolve)?)
}

impl<'p> Branch<'p> {
    /// The index of the child whose keys `key` is among; an error if there is no child.
    #[inline]
    pub fn child_index(self, key: &[u8], resolve: &impl Resolve<'p>) -> Result<usize> {
        match self.search(key).last_not_greater() {
            (i, true) => Ok(i),
            (i, false) => Branch::undecided(self.page, i, key, resolve),
        }
    }

    /// The branch in a page whose kind is known, for a search alone.
    #[allow(clippy::inline_always, reason = "as of `new`")]
    #[inline(always)]
    fn expected(page: &'p [u8]) -> Result<Branch<'p>> {
        let head = expected_header(page)?;
        if head.prefix_len == 0 {
            return Ok(Branch::with(page, head.count, &[]));
        }
        match page.get(head.prefix_start..head.prefix_start + head.prefix_len) {
            Some(prefix) => Ok(Branch::with(page, head.count, prefix)),
            None => Err(damaged(page, "its prefix exceeds the page")),
        }
    }

    /// Begins a search.
    #[allow(clippy::inline_always, reason = "as of `new`")]
    #[inline(always)]
    fn search(self, key: &[u8]) -> Search<'p> {
        let rest = if self.prefix.is_empty() {
            // Of random keys most prefixes are, and the comparison is a call.
            key
        } else if let Some(rest) = key.strip_prefix(self.prefix) {
            rest
        } else {
            return Search { branch: self, aim: None };
        };
        let head = head(rest);
        let group = self.group(head);
        self.prefetch_children(group);
        Search { branch: self, aim: Some((head, group)) }
    }

    /// The index of the child where heads do not decide. The last head that is not greater is head
    /// `i`, if there is one.
    // Apart and with the page alone, for the many who never come here have the registers then.
    #[inline(never)]
    fn undecided(
        page: &'p [u8],
        i: usize,
        key: &[u8],
        resolve: &impl Resolve<'p>,
    ) -> Result<usize> {
        let branch = Branch::expected(page)?;
        let Some(last) = branch.count.checked_sub(1) else {
            return Err(damaged(page, "a branch without children"));
        };
        let Some(rest) = key.strip_prefix(branch.prefix) else {
            return Ok(if key < branch.prefix { 0 } else { last });
        };
        // What stands behind the last head is the greatest one, too.
        let mut to = i.min(last) + 1;
        let from = Heads::new(page, branch.heads, branch.count).start_of_equal(to, head(rest));
        // Child 0 has head 0 and no separator to compare with.
        let mut from = from.max(1);
        while from < to {
            let middle = from.midpoint(to);
            let greater = match read_short_separator(page, branch.offset(middle)?) {
                Some(start) => start > rest,
                None => match branch.cell(middle)?.0 {
                    PartKey { start, run: None } => start > rest,
                    separator => separator.compare(key, resolve)?.is_gt(),
                },
            };
            (from, to) = if greater { (from, middle) } else { (middle + 1, to) };
        }
        Ok(from.max(1) - 1)
    }

    /// In which [`SAMPLE_EVERY`] heads the last one lies that is not greater than `head`.
    #[inline]
    fn group(self, head: u32) -> usize {
        // The samples begin behind the header in the page's first line, and fill whole lines.
        let lines = self.page.get(..self.heads).unwrap_or(&[]).as_chunks().0;
        let Some((first, rest)) = lines.split_first() else { return 0 };
        let end = 1 << (HEADS_AT_ONCE - HEADER_HEADS);
        let in_first = (greater_bits(first, head) >> HEADER_HEADS | end).trailing_zeros() as usize;
        let samples = rest.iter().fold(in_first, |sum, line| sum + not_greater(line, head));
        // The first sample is 0, but in a damaged page.
        samples.saturating_sub(1)
    }

    /// The children of a group of heads come into the cache while the heads do.
    #[inline]
    fn prefetch_children(self, group: usize) {
        let start = self.children + CHILD_BYTES * SAMPLE_EVERY * group;
        for line in 0..=SAMPLE_EVERY * CHILD_BYTES / LINE_BYTES {
            prefetch_at(self.page, start + line * LINE_BYTES);
        }
    }
}
