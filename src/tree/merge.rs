//! Sorted changes applied leaf by leaf: the leaf of one change serves the next ones too, up to the
//! separator that ends it; so a batch descends and copies once for each leaf it touches.

use super::{Path, Toward, Tree, resolver};
use crate::{
    error::{Error, Result},
    page::branch::Branch,
    pager::{Pages, PagesMut},
};

/// How many changes are looked at ahead, so that the misses of their descents overlap.
const AHEAD: usize = 64;
/// And how many bytes of them are held for it; one change always is.
const AHEAD_BYTES: usize = 1 << 20;

/// The leaf that the last change went to.
struct Finger {
    path: Path,
    state: State,
    /// The end of the leaf's keys, while the state is `Until`.
    fence: Vec<u8>,
    /// How many descents there were.
    descents: usize,
    /// Several changes fall into each leaf.
    is_dense: bool,
}

/// How far the finger's leaf reaches.
#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    /// The path is stale.
    Lost,
    /// Up to the fence, which is not among the leaf's keys.
    Until,
    /// To the end of the tree.
    ToTheEnd,
}

impl Tree {
    /// Applies changes in key order: a value inserts or replaces, none removes. Of several changes
    /// of one key the last one counts. Returns how many keys were new.
    ///
    /// Cost: one descent and at most one copy for each leaf touched.
    ///
    /// # Errors
    /// [`Error::Invalid`] if a key is smaller than the one before it; else as
    /// [`insert`](Tree::insert), and whatever the iterator gives.
    pub fn merge<P, K, V, I>(&mut self, pages: &mut P, sorted: I) -> Result<u64>
    where
        P: PagesMut,
        K: AsRef<[u8]>,
        V: AsRef<[u8]>,
        I: IntoIterator<Item = Result<(K, Option<V>)>>,
    {
        let mut finger = Finger::new();
        let mut new = 0;
        let mut sorted = sorted.into_iter();
        let mut previous: Option<K> = None;
        let (mut keys, mut values) = (Vec::with_capacity(AHEAD), Vec::with_capacity(AHEAD));
        loop {
            let mut bytes = 0;
            while keys.len() < AHEAD && bytes < AHEAD_BYTES {
                let Some(change) = sorted.next() else { break };
                let (key, value) = change?;
                bytes +=
                    key.as_ref().len() + value.as_ref().map_or(0, |value| value.as_ref().len());
                keys.push(key);
                values.push(value);
            }
            if keys.is_empty() {
                return Ok(new);
            }
            // Where several changes fall into each leaf the look ahead costs more than it saves.
            finger.is_dense = 2 * finger.descents < AHEAD;
            if !finger.is_dense {
                self.warm(&*pages, &keys)?;
            }
            finger.descents = 0;
            for (key, value) in keys.drain(..).zip(values.drain(..)) {
                if previous.as_ref().is_some_and(|previous| previous.as_ref() > key.as_ref()) {
                    return Err(Error::invalid("changes to be merged are not in key order"));
                }
                new += u64::from(self.apply(pages, &mut finger, key.as_ref(), value)?);
                previous = Some(key);
            }
        }
    }

    /// Applies one change. True: its key was new.
    fn apply<P: PagesMut, V: AsRef<[u8]>>(
        &mut self,
        pages: &mut P,
        finger: &mut Finger,
        key: &[u8],
        value: Option<V>,
    ) -> Result<bool> {
        if !finger.reaches(key) {
            finger.find(&*pages, self, key)?;
        }
        let mut at = None;
        if finger.state != State::Lost {
            let leaf = pages.leaf(finger.path.leaf(), self.table)?;
            at = Some(leaf.search(key, &resolver(&*pages, self.table))?);
            let changes = value.is_some() || matches!(at, Some(Ok(_)));
            if finger.is_dense && changes {
                // A delta would soon be full, and folded.
                self.own(pages, &mut finger.path, 0)?;
            }
        }
        let (was_new, is_stale) = match (value, at) {
            (Some(value), at) => {
                let put = self.put(pages, &mut finger.path, at, key, value.as_ref())?;
                (put.was_new, put.did_split || at.is_none())
            }
            (None, Some(Ok(index))) => (false, self.cut(pages, &mut finger.path, index)?),
            (None, _) => (false, false),
        };
        if is_stale {
            finger.state = State::Lost;
        }
        Ok(was_new)
    }
}

impl Finger {
    fn new() -> Finger {
        let (path, fence) = (Path::new(), Vec::new());
        Finger { path, state: State::Lost, fence, descents: AHEAD, is_dense: false }
    }

    /// Whether `key`, which is not before the last one, is among the leaf's keys.
    fn reaches(&self, key: &[u8]) -> bool {
        match self.state {
            State::Lost => false,
            State::Until => key < self.fence.as_slice(),
            State::ToTheEnd => true,
        }
    }

    /// Moves to the leaf of `key`; stays lost in an empty tree.
    fn find<P: Pages>(&mut self, pages: &P, tree: &Tree, key: &[u8]) -> Result<()> {
        self.state = State::Lost;
        self.descents += 1;
        if !tree.descend(pages, Toward::Key(key), &mut self.path)? {
            return Ok(());
        }
        self.state = State::ToTheEnd;
        for level in 1..=tree.level {
            let step = self.path.steps[usize::from(level)];
            let branch = Branch::new(pages.page(step.child, tree.table, level)?)?;
            if step.index() + 1 < branch.len() {
                self.fence.clear();
                let resolve = resolver(pages, tree.table);
                branch.separator(step.index() + 1)?.append_to(&mut self.fence, &resolve)?;
                self.state = State::Until;
                break;
            }
        }
        Ok(())
    }
}
