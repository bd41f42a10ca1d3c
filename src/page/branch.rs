//! Branches: separators and children.
//! Owns: [`Branch`], [`BranchMut`], [`shortest_separator`] and the layout: header, samples of the
//! heads (see [`arrays`](super::arrays)), 32-bit heads (see [`heads`](super::heads)), children with
//! their births, 16-bit cell offsets, free space, cells. The separators' common prefix is kept
//! once; a cell has what follows it.
//! Keeps I9: a damaged page gives an error or a wrong child, never a panic.
//! Absent on purpose: a check that a child is the one meant; that is [`expect`](super::expect)'s.

pub use super::cell::{NewKey, Resolve};
use super::{
    CELLS_START, COUNT, Child, GARBAGE_BYTES, HEADER_BYTES, Kind, PREFIX_LEN, PREFIX_START, PageId,
    Run,
    arrays::Arrays,
    cell::{PartKey, overwrite_separator_run, read_separator, separator_len, write_separator},
    check_header, check_index, damaged, drop_cell, field, free_bytes,
    heads::{HEAD_BYTES, common_len},
    read_u16, set_field,
    split::balanced_cut,
};
use crate::error::Result;

mod search;

pub use search::Search;

const _: () = assert!(ARRAYS.start(CHILDREN, 1).is_multiple_of(CHILD_BYTES));

const HEADS: usize = 0;
const CHILDREN: usize = 1;
const OFFSETS: usize = 2;
/// The length of a [`Child`] on disk: the number and the birth side by side, for both are wanted.
const CHILD_BYTES: usize = 8;
/// Heads, children, offsets.
pub const ARRAYS: Arrays<3> =
    Arrays { widths: [HEAD_BYTES, CHILD_BYTES, 2], heads: HEADS, is_sampled: true };

/// The shortest `s` with `left < s <= right`: a prefix of `right`. Where `left` is not smaller than
/// `right`, which only a damaged page can show, some prefix of `right`.
pub fn shortest_separator<'k>(left: &[u8], right: &'k [u8]) -> &'k [u8] {
    // One byte more than they share: there `right` goes on and is greater.
    right.get(..=common_len(left, right)).unwrap_or(right)
}

/// A separator as a branch holds it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Separator<'p> {
    /// The page's common prefix, and the rest.
    Inline {
        /// What all separators of the page begin with (empty for child 0).
        prefix: &'p [u8],
        /// What follows.
        suffix: &'p [u8],
    },
    /// Where the whole separator is.
    Run(Run),
}

impl<'p> Separator<'p> {
    /// Appends the whole separator to `out`.
    pub fn append_to(self, out: &mut Vec<u8>, resolve: &impl Resolve<'p>) -> Result<()> {
        match self {
            Separator::Inline { prefix, suffix } => {
                out.extend_from_slice(prefix);
                out.extend_from_slice(suffix);
            }
            Separator::Run(run) => out.extend_from_slice(resolve.resolve(run)?),
        }
        Ok(())
    }
}

/// A separator, whole or its start, in two parts: so a page's separators need no copy.
#[derive(Clone, Copy)]
struct Parts<'a> {
    prefix: &'a [u8],
    suffix: &'a [u8],
    run: Option<Run>,
}

impl<'a> Parts<'a> {
    /// Minus infinity.
    const EMPTY: Parts<'static> = Parts { prefix: &[], suffix: &[], run: None };

    fn new(separator: NewKey<'a>) -> Parts<'a> {
        let PartKey { start, run } = PartKey::new(separator);
        Parts { prefix: &[], suffix: start, run }
    }

    fn len(self) -> usize {
        self.prefix.len() + self.suffix.len()
    }

    /// What follows the first `skip` bytes, in two parts; none if there are not as many.
    fn skip(self, skip: usize) -> Option<[&'a [u8]; 2]> {
        match self.prefix.get(skip..) {
            Some(rest) => Some([rest, self.suffix]),
            None => Some([&[], self.suffix.get(skip - self.prefix.len()..)?]),
        }
    }

    /// Whether this begins with all of `prefix`.
    fn starts_with(self, prefix: &[u8]) -> bool {
        match prefix.strip_prefix(self.prefix) {
            Some(rest) => self.suffix.starts_with(rest),
            None => self.prefix.starts_with(prefix),
        }
    }

    /// The length of what this and `other` begin with in common.
    fn common_len(self, other: Parts<'_>) -> usize {
        let (a, b) = ([self.prefix, self.suffix].concat(), [other.prefix, other.suffix].concat());
        common_len(&a, &b)
    }

    /// The head behind the first `skip` bytes.
    fn head(self, skip: usize) -> Option<u32> {
        let [first, second] = self.skip(skip)?;
        let mut four = [0; HEAD_BYTES];
        four.iter_mut().zip(first.iter().chain(second)).for_each(|(to, &byte)| *to = byte);
        Some(u32::from_be_bytes(four))
    }

    /// The bytes of the cell that keeps this in a page with a prefix of `prefix_len` bytes. The
    /// start of a separator in a run is kept with the prefix.
    fn cell_len(self, prefix_len: usize) -> usize {
        let skipped = if self.run.is_some() { 0 } else { prefix_len };
        separator_len(self.len().saturating_sub(skipped), self.run)
    }
}

/// A separator and its child.
#[derive(Clone, Copy)]
struct Entry<'a> {
    separator: Parts<'a>,
    child: Child,
}

/// The common prefix of a page of `entries` with the bytes it would use; the first one's separator
/// is not kept.
fn measure(entries: &[Entry<'_>]) -> (usize, usize) {
    let (Some(first), Some(last)) = (entries.get(1), entries.last()) else {
        return (0, ARRAYS.end(entries.len()));
    };
    let prefix_len = first.separator.common_len(last.separator).min(super::cell::PREFIX_MAX);
    let cells: usize = entries[1..].iter().map(|e| e.separator.cell_len(prefix_len)).sum();
    (prefix_len, ARRAYS.end(entries.len()) + prefix_len + cells)
}

/// A branch to read. Child `i` holds the keys `k` with `separator(i) <= k < separator(i + 1)`; the
/// separator of child 0 is empty and means minus infinity.
#[derive(Clone, Copy)]
pub struct Branch<'p> {
    pub(super) page: &'p [u8],
    count: usize,
    prefix: &'p [u8],
    /// Where the heads begin, and the children behind them: a search wants both at once.
    heads: usize,
    children: usize,
}

impl<'p> Branch<'p> {
    /// The branch in `page`; only the header is looked at.
    ///
    /// # Errors
    /// [`Error::Corrupt`](crate::Error::Corrupt), here and below, if the page is not what a branch
    /// can be.
    #[allow(
        clippy::inline_always,
        reason = "a part of every descent, where the search behind it uses what it computes"
    )]
    #[inline(always)]
    pub fn new(page: &'p [u8]) -> Result<Branch<'p>> {
        let head = check_header(page, Kind::Branch, |count| ARRAYS.end(count))?;
        match page.get(head.prefix_start..head.prefix_start + head.prefix_len) {
            Some(prefix) => Ok(Branch::with(page, head.count, prefix)),
            None => Err(damaged(page, "its prefix exceeds the page")),
        }
    }

    #[inline]
    fn with(page: &'p [u8], count: usize, prefix: &'p [u8]) -> Branch<'p> {
        let (heads, children) = (ARRAYS.start(HEADS, count), ARRAYS.start(CHILDREN, count));
        Branch { page, count, prefix, heads, children }
    }

    /// The number of children.
    #[inline]
    pub fn len(self) -> usize {
        self.count
    }

    /// Whether there is no child.
    pub fn is_empty(self) -> bool {
        self.count == 0
    }

    /// Child `i`; an error, here and below, if there is no such child.
    #[inline]
    pub fn child(self, i: usize) -> Result<Child> {
        check_index(self.page, i, self.count)?;
        self.child_at(i)
    }

    /// Child `i`, of which there is known to be one.
    #[inline]
    fn child_at(self, i: usize) -> Result<Child> {
        // Children lie at multiples of their length.
        let children = self.page.as_chunks().0;
        match children.get(self.children / CHILD_BYTES + i) {
            Some(bytes) => {
                let word = u64::from_le_bytes(*bytes);
                Ok(Child { page: PageId(word as u32), birth: (word >> 32) as u32 })
            }
            None => Err(damaged(self.page, "its children exceed the page")),
        }
    }

    /// The separator of child `i`.
    pub fn separator(self, i: usize) -> Result<Separator<'p>> {
        let Parts { prefix, suffix, run } = self.entry(i)?.separator;
        Ok(match run {
            None => Separator::Inline { prefix, suffix },
            Some(run) => Separator::Run(run),
        })
    }

    /// The bytes in use: header, arrays, prefix, live cells.
    pub fn used_bytes(self) -> usize {
        self.page.len() - self.free_bytes()
    }

    /// The bytes not in use, dead cells included.
    pub fn free_bytes(self) -> usize {
        free_bytes(self.page, ARRAYS.end(self.count))
    }

    /// Where to split so that the children, with one more inserted at `at` behind `separator`, fit
    /// two pages of about the same fill: the number of children, the new one counted, that go left
    /// (1..=len). The separator of the first one right moves up into the parent. There always is
    /// one if each separator keeps to the limits of [`cell`](super::cell) and lies where order puts
    /// it.
    pub fn split_point(self, at: usize, separator: NewKey<'_>) -> Result<usize> {
        let child = Child { page: PageId(0), birth: 0 };
        check_index(self.page, at, self.count + 1)?;
        let mut entries = self.entries()?;
        entries.insert(at, Entry { separator: Parts::new(separator), child });
        let cells = entries.iter().map(|entry| entry.separator.cell_len(self.prefix.len()));
        let entry_bytes: Vec<usize> = cells.map(|len| len + ARRAYS.entry_bytes()).collect();
        let cut = balanced_cut(&entry_bytes, |cut| {
            let (left, right) = entries.split_at(cut);
            measure(left).1 <= self.page.len() && measure(right).1 <= self.page.len()
        });
        cut.ok_or_else(|| damaged(self.page, "a separator exceeds half a page"))
    }

    /// Checks that its cells and its prefix lie side by side and that what it says of their room
    /// is so.
    pub fn check_cells(self) -> Result<()> {
        let cells = (1..self.count).map(|i| Ok((self.offset(i)?, self.cell(i)?.1)));
        let mut cells = cells.collect::<Result<Vec<_>>>()?;
        if !self.prefix.is_empty() {
            cells.push((field(self.page, PREFIX_START), self.prefix.len()));
        }
        super::check_cells(self.page, self.page.len(), cells)
    }

    /// Where the cell of child `i` is.
    #[inline]
    fn offset(self, i: usize) -> Result<usize> {
        check_index(self.page, i, self.count)?;
        let at = ARRAYS.start(OFFSETS, self.count) + 2 * i;
        // A cell that is changed in place must not be header or arrays.
        match read_u16(self.page, at).map(usize::from) {
            Some(offset) if offset >= ARRAYS.end(self.count) => Ok(offset),
            _ => Err(damaged(self.page, "a cell lies among the arrays")),
        }
    }

    /// The cell of child `i`, which is not 0: what it keeps of the separator, and the cell's
    /// length.
    #[inline]
    fn cell(self, i: usize) -> Result<(PartKey<'p>, usize)> {
        match read_separator(self.page, self.offset(i)?) {
            Some(cell) => Ok(cell),
            None => Err(damaged(self.page, "a cell exceeds the page or is none")),
        }
    }

    /// Child `i` and its separator.
    fn entry(self, i: usize) -> Result<Entry<'p>> {
        let child = self.child(i)?;
        if i == 0 {
            return Ok(Entry { separator: Parts::EMPTY, child });
        }
        let (PartKey { start: suffix, run }, _) = self.cell(i)?;
        let prefix = if run.is_some() { &[] } else { self.prefix };
        Ok(Entry { separator: Parts { prefix, suffix, run }, child })
    }

    /// All children and separators.
    fn entries(self) -> Result<Vec<Entry<'p>>> {
        (0..self.count).map(|i| self.entry(i)).collect()
    }
}

/// A branch to change. An error can leave a change half done: only what undoes the whole
/// transaction may follow.
pub struct BranchMut<'p> {
    page: &'p mut [u8],
}

impl<'p> BranchMut<'p> {
    /// The branch in `page`; only the header is looked at.
    pub fn new(page: &'p mut [u8]) -> Result<BranchMut<'p>> {
        Branch::new(page)?;
        Ok(BranchMut { page })
    }

    /// The branch, to read.
    pub fn as_branch(&self) -> Branch<'_> {
        let (start, len) = (field(self.page, PREFIX_START), field(self.page, PREFIX_LEN));
        let prefix = self.page.get(start..start + len).unwrap_or(&[]);
        Branch::with(self.page, field(self.page, COUNT), prefix)
    }

    /// Inserts a child at `i`. At 0 only into an empty page, and then the separator is not kept; a
    /// run given there stays the caller's. False, and nothing changed: it does not fit.
    pub fn insert(&mut self, i: usize, separator: NewKey<'_>, child: Child) -> Result<bool> {
        self.insert_parts(i, Parts::new(separator), child)
    }

    /// Removes child `i` and its separator. At 0, child 1 becomes child 0 and its separator is
    /// dropped too; a run in a dropped separator is the caller's to free.
    pub fn remove(&mut self, i: usize) -> Result<()> {
        let branch = self.as_branch();
        let count = branch.count;
        check_index(self.page, i, count)?;
        if count <= 1 {
            self.clear();
            return Ok(());
        }
        let dropped = i.max(1);
        let (at, len) = (branch.offset(dropped)?, branch.cell(dropped)?.1);
        drop_cell(self.page, at, len);
        ARRAYS.close(self.page, count, i, i + 1);
        set_field(self.page, COUNT, count - 1);
        if i == 0 {
            self.set_offset(0, 0);
            self.set_head(0, 0);
        }
        Ok(())
    }

    /// Makes child `i` another one.
    pub fn set_child(&mut self, i: usize, child: Child) -> Result<()> {
        let count = self.as_branch().count;
        check_index(self.page, i, count)?;
        let word = u64::from(child.page.0) | u64::from(child.birth) << 32;
        self.put(CHILDREN, i, &word.to_le_bytes());
        Ok(())
    }

    /// Says that the separator of child `i`, which lies in a run, now lies in `run`, which holds
    /// the same.
    pub fn move_separator_run(&mut self, i: usize, run: Run) -> Result<()> {
        let branch = self.as_branch();
        let (at, (separator, len)) = (branch.offset(i)?, branch.cell(i)?);
        if separator.run.is_none_or(|old| old.len != run.len) {
            return Err(damaged(self.page, "a separator in a run was meant"));
        }
        overwrite_separator_run(&mut self.page[at..at + len], run);
        Ok(())
    }

    /// Removes all children.
    pub fn clear(&mut self) {
        let page_bytes = self.page.len();
        self.page[HEADER_BYTES..].fill(0);
        set_field(self.page, COUNT, 0);
        set_field(self.page, PREFIX_LEN, 0);
        set_field(self.page, PREFIX_START, 0);
        set_field(self.page, CELLS_START, page_bytes);
        set_field(self.page, GARBAGE_BYTES, 0);
    }

    /// Inserts a child behind the last; see [`insert`](Self::insert) for an empty page.
    pub fn push(&mut self, separator: NewKey<'_>, child: Child) -> Result<bool> {
        self.insert(self.as_branch().count, separator, child)
    }

    /// Inserts child `i` of `source`, with its separator, behind the last. Into an empty page the
    /// separator is not kept. Child 0 of `source` goes only into an empty page: elsewhere it needs
    /// the separator that the parent has, so use [`push`](Self::push).
    pub fn push_from(&mut self, source: Branch<'_>, i: usize) -> Result<bool> {
        let Entry { separator, child } = source.entry(i)?;
        let count = self.as_branch().count;
        debug_assert!(i > 0 || count == 0, "child 0 has no separator");
        self.insert_parts(count, separator, child)
    }

    fn insert_parts(&mut self, i: usize, separator: Parts<'_>, child: Child) -> Result<bool> {
        let branch = self.as_branch();
        let count = branch.count;
        assert!(i > 0 || count == 0, "child 0 is there already");
        check_index(self.page, i, count + 1)?;
        if count == 0 {
            return self.rebuild(&[Entry { separator: Parts::EMPTY, child }]);
        }
        let prefix_len = branch.prefix.len();
        let len = separator.cell_len(prefix_len);
        let has_room = ARRAYS.end(count + 1) + len <= field(self.page, CELLS_START);
        if count == 1 || !has_room || !separator.starts_with(branch.prefix) {
            let copy = self.page.to_vec();
            let mut entries = Branch::new(&copy)?.entries()?;
            entries.insert(i, Entry { separator, child });
            return self.rebuild(&entries);
        }
        ARRAYS.open(self.page, count, i);
        set_field(self.page, COUNT, count + 1);
        self.put_entry(i, Entry { separator, child }, prefix_len)?;
        Ok(true)
    }

    /// Writes `entries`, with their common prefix, in the place of all there is, if they fit.
    fn rebuild(&mut self, entries: &[Entry<'_>]) -> Result<bool> {
        let (prefix_len, used_bytes) = measure(entries);
        if used_bytes > self.page.len() {
            return Ok(false);
        }
        self.clear();
        if let Some(first) = entries.get(1).filter(|_| prefix_len > 0) {
            let whole = [first.separator.prefix, first.separator.suffix].concat();
            let at = self.page.len() - prefix_len;
            self.page[at..].copy_from_slice(&whole[..prefix_len]);
            set_field(self.page, PREFIX_LEN, prefix_len);
            set_field(self.page, PREFIX_START, at);
            set_field(self.page, CELLS_START, at);
        }
        set_field(self.page, COUNT, entries.len());
        ARRAYS.fill_up(self.page, entries.len());
        for (i, entry) in entries.iter().enumerate() {
            self.put_entry(i, *entry, prefix_len)?;
        }
        Ok(true)
    }

    /// Writes the elements and the cell of child `i`, for which there is room.
    fn put_entry(&mut self, i: usize, entry: Entry<'_>, prefix_len: usize) -> Result<()> {
        let Entry { separator, child } = entry;
        self.set_child(i, child)?;
        if i == 0 {
            self.set_head(0, 0);
            self.set_offset(0, 0);
            return Ok(());
        }
        // Only separators of a damaged page, out of order, lack the prefix of their first and last.
        let (parts, head) = (separator.skip(prefix_len), separator.head(prefix_len));
        let (Some(rest), Some(head)) = (parts, head) else {
            return Err(damaged(self.page, "a separator lacks the prefix"));
        };
        let whole = [separator.prefix, separator.suffix];
        let len = separator.cell_len(prefix_len);
        let at = field(self.page, CELLS_START) - len;
        let kept = if separator.run.is_some() { whole } else { rest };
        write_separator(&mut self.page[at..at + len], kept, separator.run);
        set_field(self.page, CELLS_START, at);
        self.set_head(i, head);
        self.set_offset(i, at);
        Ok(())
    }

    fn set_head(&mut self, i: usize, head: u32) {
        let count = self.as_branch().count;
        ARRAYS.set_head(self.page, count, i, head);
    }

    fn set_offset(&mut self, i: usize, at: usize) {
        self.put(OFFSETS, i, &(at as u16).to_le_bytes());
    }

    /// Writes element `i` of an array.
    fn put(&mut self, array: usize, i: usize, element: &[u8]) {
        let start = ARRAYS.start(array, self.as_branch().count) + element.len() * i;
        self.page[start..start + element.len()].copy_from_slice(element);
    }
}
