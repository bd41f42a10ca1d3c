//! Leaves put together: neighbours of one branch that leave much room are written anew into fewer,
//! full ones. Found on a snapshot, written in the writer's tree.
//! Owns: [`Stretch`], and what makes one worth its copies.
//! A stretch is named by a key and a number of leaves; those that are there when its turn comes are
//! judged anew, and left alone if they would need as many pages.
//! Keeps I1: leaves are written to new pages, and the old ones given up.
//! Absent on purpose: branches without such leaves below them. There is one for a hundred leaves.

use super::{
    Path, Toward, Tree,
    insert::{Moving, branch_mut, separate},
    relocate::Found,
    resolver,
};
use crate::{
    error::Result,
    page::{
        Child, Kind, PageId, Run,
        branch::{Branch, BranchMut, Separator},
        cell::{NewKey, Resolve, key_inline_max},
        filling::Filling,
        leaf::Leaf,
    },
    pager::{Pager, Pages, PagesMut},
};
use std::ops::Range;

/// How many pages are written at most for one that is saved.
const COPIES_FOR_ONE: usize = 16;
/// A leaf is full if less than this part of it is free.
const FULL_PART: usize = 16;
/// So many full leaves in a row belong to a stretch that goes on behind them; more end it.
const FULL_MAX: usize = 2;

/// Neighbouring leaves of one branch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stretch {
    /// Where the keys of the first leaf begin; empty: at the start of the tree.
    pub key: Vec<u8>,
    /// How many leaves.
    pub leaves: usize,
    /// How many would hold the same.
    pub needed: usize,
}

impl Stretch {
    /// How many leaves fewer there would be.
    pub fn savings(&self) -> usize {
        self.leaves.saturating_sub(self.needed)
    }
}

/// What became of a stretch.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Repacked {
    /// How many leaves fewer there are.
    pub saved: usize,
    /// The key in the last leaf from which on the rest of the stretch is to be looked at again.
    pub next: Option<Vec<u8>>,
}

/// Neighbouring leaves, filled into pages one by one.
struct Packing {
    open: Filling,
    /// How many pages were begun, the open one included.
    pages: usize,
}

impl Packing {
    fn new(page_bytes: usize) -> Packing {
        Packing { open: Filling::new(page_bytes), pages: 1 }
    }

    /// Puts all entries of `leaf` behind those before. `close` is told of each that begins another
    /// page, and empties the page before it.
    fn push(&mut self, leaf: Leaf<'_>, mut close: impl FnMut(usize, &mut Filling)) -> Result<()> {
        for i in 0..leaf.len() {
            if self.open.push_from(leaf, i)? {
                continue;
            }
            close(i, &mut self.open);
            self.pages += 1;
            if !self.open.push_from(leaf, i)? {
                return Err(leaf.damaged("an entry exceeds the page"));
            }
        }
        Ok(())
    }
}

/// Goes along the leaves of a branch, and tells which of them are worth to be put together.
struct Judge {
    page_bytes: usize,
    packing: Packing,
    /// The leaves that are looked at together. They begin with one that is not full.
    leaves: Range<usize>,
    /// How many of them go as far as the last that is not full, and the pages that those need.
    good: (usize, usize),
    /// How many full ones there are at their end.
    full: usize,
}

impl Judge {
    fn new(page_bytes: usize, first: usize) -> Judge {
        let packing = Packing::new(page_bytes);
        Judge { page_bytes, packing, leaves: first..first, good: (0, 0), full: 0 }
    }

    /// Looks at the next leaf. Gives leaves that are worth it, with the pages they need, once it is
    /// clear where they end.
    fn push(&mut self, leaf: Leaf<'_>) -> Result<Option<(Range<usize>, usize)>> {
        let is_full = leaf.free_bytes() < self.page_bytes / FULL_PART;
        if is_full && self.leaves.is_empty() {
            self.restart(self.leaves.end + 1);
            return Ok(None);
        }
        let (pages, mut is_apart) = (self.packing.pages, false);
        self.packing.push(leaf, |i, open| {
            is_apart |= i == 0;
            open.clear();
        })?;
        if is_apart && pages == self.leaves.len() {
            // Those before are as they would be written, so the stretch begins here.
            self.leaves.start = self.leaves.end;
            self.packing.pages = 1;
            if is_full {
                self.restart(self.leaves.end + 1);
                return Ok(None);
            }
        }
        self.leaves.end += 1;
        if !is_full {
            (self.good, self.full) = ((self.leaves.len(), self.packing.pages), 0);
            return Ok(None);
        }
        self.full += 1;
        if self.full <= FULL_MAX {
            return Ok(None);
        }
        let found = self.found();
        self.restart(self.leaves.end);
        Ok(found)
    }

    /// What is worth it of the leaves up to here.
    fn found(&self) -> Option<(Range<usize>, usize)> {
        let (leaves, pages) = self.good;
        let start = self.leaves.start;
        let is_worth_it = leaves.saturating_sub(pages) * COPIES_FOR_ONE >= pages.max(1);
        is_worth_it.then_some((start..start + leaves, pages))
    }

    fn restart(&mut self, first: usize) {
        self.packing.open.clear();
        self.packing.pages = 1;
        (self.leaves, self.good, self.full) = (first..first, (0, 0), 0);
    }
}

/// Which stretches are looked for, and how far. A branch that was begun is finished: the leaves of
/// one are judged together.
pub struct Search<'p> {
    /// The pages, read past the cache.
    pub pager: &'p Pager,
    /// The most pages to look at.
    pub pages_left: usize,
    /// The most pages that what is found may need.
    pub copies_left: usize,
}

impl Search<'_> {
    /// Looks at the leaves of `tree` from the one that holds `from` on.
    ///
    /// # Errors
    /// `Error::Corrupt`, `Error::Io`.
    pub fn look(&mut self, tree: &Tree, from: &[u8]) -> Result<Found<Stretch>> {
        let mut found = Found::default();
        let Some(root) = tree.sound_root()?.filter(|_| tree.level > 0) else { return Ok(found) };
        // The way down alone must not use up what may be looked at, or it would never end.
        self.pages_left += usize::from(tree.level);
        self.branch(tree, root, tree.level, &[], from, &mut found)?;
        Ok(found)
    }

    /// False: this is far enough.
    fn branch(
        &mut self,
        tree: &Tree,
        child: Child,
        level: u8,
        low: &[u8],
        from: &[u8],
        found: &mut Found<Stretch>,
    ) -> Result<bool> {
        if self.pages_left == 0 || self.copies_left == 0 {
            found.next = Some(low.to_vec());
            return Ok(false);
        }
        self.pages_left -= 1;
        let mut bytes = Vec::new();
        self.pager.copy_page(child, tree.table, level, &mut bytes)?;
        let branch = Branch::new(&bytes)?;
        let resolve = |run: Run| self.pager.run(run, tree.table);
        let first = if from > low { branch.child_index(from, &resolve)? } else { 0 };
        if level == 1 {
            self.leaves(tree, branch, first, low, found)?;
            return Ok(true);
        }
        for i in first..branch.len() {
            let begin = begin_of(branch, i, low, &|run| self.pager.run(run, tree.table))?;
            if !self.branch(tree, branch.child(i)?, level - 1, &begin, from, found)? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Judges the leaves of `branch` from child `first` on.
    fn leaves(
        &mut self,
        tree: &Tree,
        branch: Branch<'_>,
        first: usize,
        low: &[u8],
        found: &mut Found<Stretch>,
    ) -> Result<()> {
        let mut bytes = Vec::new();
        let mut judge = Judge::new(self.pager.page_bytes(), first);
        for i in first..=branch.len() {
            let worth_it = if i < branch.len() {
                self.pages_left = self.pages_left.saturating_sub(1);
                self.pager.copy_page(branch.child(i)?, tree.table, 0, &mut bytes)?;
                judge.push(Leaf::new(&bytes)?)?
            } else {
                judge.found()
            };
            let Some((leaves, needed)) = worth_it else { continue };
            self.copies_left = self.copies_left.saturating_sub(needed);
            let resolve = |run: Run| self.pager.run(run, tree.table);
            let key = begin_of(branch, leaves.start, low, &resolve)?;
            found.found.push(Stretch { key, leaves: leaves.len(), needed });
        }
        Ok(())
    }
}

/// Where the keys of child `i` begin, in a branch whose keys begin at `low`.
fn begin_of<'p>(
    branch: Branch<'p>,
    i: usize,
    low: &[u8],
    resolve: &impl Resolve<'p>,
) -> Result<Vec<u8>> {
    let mut begin = Vec::new();
    if i == 0 {
        begin.extend_from_slice(low);
    } else {
        branch.separator(i)?.append_to(&mut begin, resolve)?;
    }
    Ok(begin)
}

/// How the leaves of a stretch are to be written.
#[derive(Default)]
struct Plan {
    /// The children that they are now.
    old: Range<usize>,
    /// What they will be, but for the last.
    full: Vec<Filling>,
    last: Option<Filling>,
    /// What separates each but the first from the one before it.
    separators: Vec<Vec<u8>>,
    /// There are leaves left for another plan.
    is_partial: bool,
}

impl Tree {
    /// Writes the leaves of `stretch` anew into fewer, `pages_max` at most and one that the next
    /// call goes on with; then merges the branches above with neighbours where both fit into one.
    ///
    /// Cost: one descent; each leaf is read and written once.
    ///
    /// # Errors
    /// [`Error::Corrupt`]; [`Error::Full`]. The tree may be half changed then.
    pub fn repack<P: PagesMut>(
        &mut self,
        pages: &mut P,
        stretch: &Stretch,
        pages_max: usize,
    ) -> Result<Repacked> {
        let mut path = Path::new();
        if self.level == 0 || !self.descend(pages, Toward::Key(&stretch.key), &mut path)? {
            return Ok(Repacked::default());
        }
        let plan = self.plan(pages, &path, stretch, pages_max)?;
        let saved = plan.old.len().saturating_sub(plan.full.len() + 1);
        let has_room = saved > 0 && self.takes_separators(pages, &path, &plan)?;
        if !has_room {
            // Behind all leaves of the plan: were its last one looked at again, with as little to
            // be saved, there would be no end.
            let branch = Branch::new(pages.page(path.steps[1].child, self.table, 1)?)?;
            let resolve = resolver(&*pages, self.table);
            let behind = || begin_of(branch, plan.old.end, &[], &resolve);
            let next = plan.is_partial.then(behind).transpose()?;
            return Ok(Repacked { saved: 0, next });
        }
        let next = plan.separators.last().filter(|_| plan.is_partial).cloned();
        self.write_plan(pages, &mut path, plan)?;
        let mut level = 1;
        while level < self.level && self.join_neighbour(pages, &mut path, level)? {
            level += 1;
        }
        self.lower_root(pages)?;
        Ok(Repacked { saved, next })
    }

    /// Fills pages with the leaves of `stretch`, the first of which is the path's, as far as
    /// `pages_max` goes.
    fn plan<P: Pages>(
        &self,
        pages: &P,
        path: &Path,
        stretch: &Stretch,
        pages_max: usize,
    ) -> Result<Plan> {
        let parent = path.steps[1];
        let branch = Branch::new(pages.page(parent.child, self.table, 1)?)?;
        let first = parent.index();
        let end = branch.len().min(first.saturating_add(stretch.leaves));
        let page_bytes = pages.page_bytes();
        let resolve = resolver(pages, self.table);
        let mut plan = Plan { old: first..first, ..Plan::default() };
        let (mut packing, mut last_key) = (Packing::new(page_bytes), &[][..]);
        for i in first..end {
            if packing.pages > pages_max {
                plan.is_partial = true;
                break;
            }
            let child = branch.child(i)?;
            let leaf = pages.leaf(child, self.table)?;
            let mut begins = Vec::new();
            packing.push(leaf, |begin, open| {
                begins.push(begin);
                plan.full.push(std::mem::replace(open, Filling::new(page_bytes)));
            })?;
            for begin in begins {
                let before = match begin {
                    0 => last_key,
                    begin => leaf.key(begin - 1)?.resolve(&resolve)?,
                };
                plan.separators.push(separate(child, before, leaf.key(begin)?.resolve(&resolve)?)?);
            }
            last_key = match leaf.len() {
                0 => last_key,
                len => leaf.key(len - 1)?.resolve(&resolve)?,
            };
            plan.old.end = i + 1;
        }
        plan.last = Some(packing.open);
        Ok(plan)
    }

    /// Whether the branch has room for the plan's separators: they are fewer, but may be longer.
    fn takes_separators<P: Pages>(&self, pages: &P, path: &Path, plan: &Plan) -> Result<bool> {
        let mut trial = pages.page(path.steps[1].child, self.table, 1)?.to_vec();
        let source = trial.clone();
        let nowhere = Child { page: PageId(0), birth: 0 };
        let inline_max = key_inline_max(pages.page_bytes());
        let new = plan.separators.iter().map(|bytes| {
            let run = Run { first: nowhere, len: bytes.len() as u32 };
            let is_inline = bytes.len() <= inline_max;
            (if is_inline { NewKey::Inline(bytes) } else { NewKey::Run(run, bytes) }, nowhere)
        });
        replace(&mut BranchMut::new(&mut trial)?, Branch::new(&source)?, plan.old.clone(), new)
    }

    /// Puts the leaves that are planned into the place of those that are there.
    fn write_plan<P: PagesMut>(
        &mut self,
        pages: &mut P,
        path: &mut Path,
        plan: Plan,
    ) -> Result<()> {
        let Plan { old, full, last, separators, .. } = plan;
        let mut new = Vec::new();
        for mut filling in full.into_iter().chain(last) {
            let leaf = pages.alloc(self.table, Kind::Leaf, 0)?;
            filling.lay_out(pages.page_mut(leaf)?)?;
            new.push(leaf);
        }
        let separators = separators.into_iter();
        let separators = separators.map(|bytes| Moving::between(pages, self, bytes));
        let separators = separators.collect::<Result<Vec<_>>>()?;
        self.own(pages, path, 1)?;
        let parent = path.steps[1].child;
        let source = pages.page(parent, self.table, 1)?.to_vec();
        let source = Branch::new(&source)?;
        let mut branch = branch_mut(pages, parent)?;
        let behind = separators.iter().map(Moving::as_new).zip(new[1..].iter().copied());
        super::insert::must_fit(replace(&mut branch, source, old.clone(), behind)?, parent)?;
        branch.set_child(old.start, new[0])?;
        for i in old.clone() {
            if i > old.start
                && let Separator::Run(run) = source.separator(i)?
            {
                pages.free_run(run)?;
            }
            pages.free(source.child(i)?)?;
        }
        Ok(())
    }
}

/// Writes the children of `source` to `branch`, those of `old` but the first replaced by `new`.
/// False: there is no room.
fn replace<'k>(
    branch: &mut BranchMut<'_>,
    source: Branch<'_>,
    old: Range<usize>,
    new: impl Iterator<Item = (NewKey<'k>, Child)>,
) -> Result<bool> {
    branch.clear();
    for i in 0..=old.start {
        if !branch.push_from(source, i)? {
            return Ok(false);
        }
    }
    for (separator, child) in new {
        if !branch.push(separator, child)? {
            return Ok(false);
        }
    }
    for i in old.end..source.len() {
        if !branch.push_from(source, i)? {
            return Ok(false);
        }
    }
    Ok(true)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        publish::Version,
        tree::{check::TreeReport, model_pages::ModelPages},
    };

    const PAGE_BYTES: usize = 4096;

    /// A tree of full leaves, then without the numbers in `thin` that are no multiples of three.
    fn thinned(thin: Range<u32>) -> (ModelPages, Tree) {
        let mut pages = ModelPages::new(PAGE_BYTES);
        let sorted = (0..6_000_u32).map(|n| Ok((n.to_be_bytes(), [7; 90])));
        let mut tree = Tree::build(3, &mut pages, sorted).expect("sorted");
        for n in thin.filter(|n| n % 3 > 0) {
            assert!(tree.remove(&mut pages, &n.to_be_bytes()).expect("sound"));
        }
        (pages, tree)
    }

    fn report(pages: &ModelPages, tree: &Tree) -> TreeReport {
        tree.check(pages, Version(u64::MAX), &mut |_, _| Ok(())).expect("sound")
    }

    /// What is worth it below the branch of all leaves.
    fn judged(pages: &ModelPages, tree: &Tree) -> Vec<(Range<usize>, usize)> {
        assert_eq!(tree.level, 1);
        let root = tree.root.expect("there are leaves");
        let branch = Branch::new(pages.page(root, tree.table, 1).expect("sound")).expect("sound");
        let mut judge = Judge::new(PAGE_BYTES, 0);
        let mut found = Vec::new();
        for i in 0..branch.len() {
            let leaf = pages.page(branch.child(i).expect("sound"), tree.table, 0).expect("sound");
            found.extend(judge.push(Leaf::new(leaf).expect("sound")).expect("sound"));
        }
        found.extend(judge.found());
        found
    }

    #[test]
    fn full_leaves_are_left_alone() {
        let (pages, tree) = thinned(0..0);
        assert_eq!(judged(&pages, &tree), []);
    }

    #[test]
    fn thin_leaves_are_found_and_full_ones_beside_them_are_not_copied() {
        let (pages, tree) = thinned(2_000..3_000);
        let found = judged(&pages, &tree);
        let [(leaves, needed)] = &found[..] else { panic!("{found:?}") };
        // 40 entries a leaf: 25 leaves have lost two thirds, so the first third of what was copied.
        assert!((48..=52).contains(&leaves.start), "{found:?}");
        assert!(leaves.len() <= 27 && *needed <= 11 && needed * 2 < leaves.len(), "{found:?}");
    }

    #[test]
    fn a_single_entry_fewer_here_and_there_is_not_worth_it() {
        let (mut pages, mut tree) = thinned(0..0);
        for n in (0..6_000_u32).step_by(400) {
            tree.remove(&mut pages, &n.to_be_bytes()).expect("sound");
        }
        assert_eq!(judged(&pages, &tree), []);
    }

    #[test]
    fn what_was_put_together_is_full_whatever_the_size_of_the_steps() {
        let mut counts = Vec::new();
        for pages_max in [1, 2, 7, usize::MAX] {
            let (mut pages, mut tree) = thinned(0..6_000);
            pages.version += 1;
            let before = report(&pages, &tree);
            let (mut key, mut saved) = (Vec::new(), 0);
            loop {
                let stretch = Stretch { key, leaves: usize::MAX, needed: 0 };
                let done = tree.repack(&mut pages, &stretch, pages_max).expect("sound");
                saved += done.saved as u64;
                let Some(next) = done.next else { break };
                key = next;
                pages.version += 1;
            }
            let after = report(&pages, &tree);
            assert_eq!((after.entries, after.leaves + saved), (before.entries, before.leaves));
            assert!(after.used_bytes * 100 / PAGE_BYTES as u64 / (after.leaves + 1) >= 95);
            assert_eq!(judged(&pages, &tree), [], "it was done");
            counts.push(after.leaves);
        }
        assert!(counts.iter().all(|count| *count == counts[0]), "{counts:?}");
    }

    #[test]
    fn branches_are_merged_and_the_root_is_lowered() {
        let mut pages = ModelPages::new(PAGE_BYTES);
        let sorted = (0..40_000_u32).map(|n| Ok((n.to_be_bytes(), [7; 90])));
        let mut tree = Tree::build(3, &mut pages, sorted).expect("sorted");
        let before = report(&pages, &tree);
        for n in (0..40_000_u32).filter(|n| n % 20 > 8) {
            tree.remove(&mut pages, &n.to_be_bytes()).expect("sound");
        }
        for n in (0..40_000_u32).step_by(100) {
            let stretch = Stretch { key: n.to_be_bytes().to_vec(), leaves: usize::MAX, needed: 0 };
            tree.repack(&mut pages, &stretch, usize::MAX).expect("sound");
        }
        let after = report(&pages, &tree);
        assert!(after.branches < before.branches, "{before:?}, {after:?}");
        for n in (0..40_000_u32).filter(|n| n % 400 != 0) {
            tree.remove(&mut pages, &n.to_be_bytes()).expect("sound");
            if n % 500 == 1 {
                let stretch = Stretch { key: Vec::new(), leaves: usize::MAX, needed: 0 };
                tree.repack(&mut pages, &stretch, usize::MAX).expect("sound");
            }
        }
        assert_eq!((tree.level, tree.len), (1, 100));
    }
}
