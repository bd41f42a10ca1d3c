//! Trees against `BTreeMap`, over pages that watch the protocol.

use std::{cell::Cell, collections::BTreeMap, ops::Bound};

use super::{
    Tree,
    build::Fill,
    diff::Change,
    model_pages::{ModelPages, View},
    repack::Stretch,
};
use crate::{error::Result, pager::Pages, publish::Version};

mod deltas;
mod faults;
mod fill;
mod pieces;

type Bytes = Vec<u8>;
type Oracle = BTreeMap<Bytes, Bytes>;

const TABLE: u32 = 7;

/// A small generator of its own (`splitmix64`), so that a failing seed stays failing.
struct Dice(u64);

impl Dice {
    fn roll(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    fn below(&mut self, n: usize) -> usize {
        (self.roll() % n.max(1) as u64) as usize
    }

    fn one_in(&mut self, n: usize) -> bool {
        self.below(n) == 0
    }
}

/// What keys and values look like.
#[derive(Clone, Copy, Debug)]
enum Shape {
    /// Eight bytes in order.
    Integers,
    /// Up to 12 bytes of three letters: many share starts, some are starts of others.
    Letters,
    /// A long start that all share.
    Urls,
    /// Up to 200 random bytes.
    Random,
    /// Some beyond what a cell holds, with long common starts, so that separators are long too.
    Long,
}

const SHAPES: [Shape; 5] =
    [Shape::Integers, Shape::Letters, Shape::Urls, Shape::Random, Shape::Long];

struct Source {
    dice: Dice,
    shape: Shape,
    page_bytes: usize,
    /// How many different numbers there are.
    spread: usize,
    /// The typical length of values.
    value_bytes: usize,
}

impl Source {
    fn key(&mut self) -> Bytes {
        let n = self.dice.below(self.spread);
        match self.shape {
            Shape::Integers => (n as u64).to_be_bytes().to_vec(),
            Shape::Letters => {
                let len = self.dice.below(13);
                (0..len).map(|_| b'a' + self.dice.below(3) as u8).collect()
            }
            Shape::Urls => {
                format!("https://example.org/archive/{}/{n}/index.html", n % 7).into_bytes()
            }
            Shape::Random => {
                let mut dice = Dice(n as u64);
                let len = dice.below(200);
                (0..len).map(|_| dice.roll() as u8).collect()
            }
            Shape::Long => {
                let mut key = vec![b'k'; [0, 10, self.page_bytes / 5, self.page_bytes / 2][n % 4]];
                key.extend_from_slice(format!("{:05}", n / 4).as_bytes());
                key.resize(key.len() + [0, 0, 300, self.page_bytes / 4][n / 4 % 4], b'z');
                key
            }
        }
    }

    fn value(&mut self) -> Bytes {
        let len = match self.dice.below(40) {
            0 => self.dice.below(3 * self.page_bytes),
            1 => self.page_bytes / 4 + self.dice.below(3) - 1,
            2..6 => self.dice.below(self.page_bytes / 4),
            _ => self.dice.below(self.value_bytes),
        };
        vec![self.dice.roll() as u8; len]
    }

    fn bound(&mut self) -> Bound<Bytes> {
        match self.dice.below(5) {
            0 => Bound::Unbounded,
            1 | 2 => Bound::Excluded(self.key()),
            _ => Bound::Included(self.key()),
        }
    }
}

fn as_slice(bound: &Bound<Bytes>) -> Bound<&[u8]> {
    bound.as_ref().map(Vec::as_slice)
}

/// The oracle's entries between two bounds; `BTreeMap::range` panics where ours is empty.
fn oracle_range<'o>(
    oracle: &'o Oracle,
    from: &Bound<Bytes>,
    to: &Bound<Bytes>,
) -> Vec<(&'o Bytes, &'o Bytes)> {
    let inside = |key: &Bytes| {
        (match from {
            Bound::Unbounded => true,
            Bound::Included(from) => key >= from,
            Bound::Excluded(from) => key > from,
        }) && match to {
            Bound::Unbounded => true,
            Bound::Included(to) => key <= to,
            Bound::Excluded(to) => key < to,
        }
    };
    oracle.iter().filter(|(key, _)| inside(key)).collect()
}

/// A version that is pinned: its tree must go on reading as its oracle says.
struct Pinned {
    version: u64,
    tree: Tree,
    oracle: Oracle,
}

struct World {
    source: Source,
    pages: ModelPages,
    tree: Tree,
    oracle: Oracle,
    pinned: Vec<Pinned>,
}

impl World {
    fn new(seed: u64) -> World {
        let mut dice = Dice(seed);
        let page_bytes = 4096 << dice.below(4);
        let source = Source {
            shape: SHAPES[dice.below(SHAPES.len())],
            spread: [20, 300, 3000, 1_000_000][dice.below(4)],
            value_bytes: [4, 100, page_bytes / 4][dice.below(3)],
            page_bytes,
            dice,
        };
        World {
            source,
            pages: ModelPages::new(page_bytes),
            tree: Tree::empty(TABLE),
            oracle: Oracle::new(),
            pinned: Vec::new(),
        }
    }

    /// A key: half the time one that is there.
    fn some_key(&mut self) -> Bytes {
        let key = self.source.key();
        if self.source.dice.one_in(2) {
            return key;
        }
        self.oracle.range(key.clone()..).next().map_or(key, |(key, _)| key.clone())
    }

    fn operation(&mut self) -> Result<()> {
        match self.source.dice.below(100) {
            0..40 => {
                let (key, value) = (self.source.key(), self.source.value());
                let was_new = self.tree.insert(&mut self.pages, &key, &value)?;
                assert_eq!(was_new, self.oracle.insert(key, value).is_none());
            }
            40..50 => self.ascend()?,
            50..75 => {
                let key = self.some_key();
                let was_there = self.tree.remove(&mut self.pages, &key)?;
                assert_eq!(was_there, self.oracle.remove(&key).is_some());
            }
            75..79 => self.remove_range()?,
            79..86 => self.merge()?,
            86..92 => self.read_range()?,
            92..95 => self.read_points()?,
            95 => self.rebuild()?,
            97 => self.append()?,
            98 => self.repack()?,
            96 if self.source.dice.one_in(3) => {
                self.tree.clear(&mut self.pages)?;
                self.oracle.clear();
            }
            _ => self.change_in_place()?,
        }
        Ok(())
    }

    /// Inserts keys that follow each other.
    fn ascend(&mut self) -> Result<()> {
        let mut key = self.source.key();
        for n in 0..self.source.dice.below(40) as u16 {
            let value = self.source.value();
            key.extend_from_slice(&n.to_be_bytes());
            let was_new = self.tree.insert(&mut self.pages, &key, &value)?;
            assert_eq!(was_new, self.oracle.insert(key.clone(), value).is_none());
            key.truncate(key.len() - 2);
        }
        Ok(())
    }

    fn remove_range(&mut self) -> Result<()> {
        let (from, mut to) = (self.source.bound(), self.source.bound());
        if let (Bound::Included(key), true) = (&from, self.source.dice.one_in(2)) {
            let rest = self.oracle.range(key.clone()..);
            let nth = self.source.dice.below(60);
            to = rest.map(|(key, _)| key.clone()).nth(nth).map_or(to, Bound::Excluded);
        }
        let keys = oracle_range(&self.oracle, &from, &to);
        let keys: Vec<Bytes> = keys.into_iter().map(|(key, _)| key.clone()).collect();
        let removed = self.tree.remove_range(&mut self.pages, as_slice(&from), as_slice(&to))?;
        assert_eq!(removed, keys.len() as u64, "{from:?}..{to:?}");
        for key in keys {
            self.oracle.remove(&key);
        }
        Ok(())
    }

    fn merge(&mut self) -> Result<()> {
        let mut changes = Vec::new();
        for _ in 0..self.source.dice.below(150) {
            let is_removal = self.source.dice.one_in(3);
            let key = if is_removal { self.some_key() } else { self.source.key() };
            changes.push((key, (!is_removal).then(|| self.source.value())));
        }
        changes.sort_by(|a, b| a.0.cmp(&b.0));
        let mut new = 0;
        for (key, value) in &changes {
            match value {
                Some(value) => {
                    let old = self.oracle.insert(key.clone(), value.clone());
                    new += u64::from(old.is_none());
                }
                None => drop(self.oracle.remove(key)),
            }
        }
        let merged = self.tree.merge(&mut self.pages, changes.into_iter().map(Ok))?;
        assert_eq!(merged, new);
        Ok(())
    }

    fn rebuild(&mut self) -> Result<()> {
        self.tree.clear(&mut self.pages)?;
        let sorted = self.oracle.iter().map(|(key, value)| Ok((key, value)));
        self.tree = Tree::build(TABLE, &mut self.pages, sorted)?;
        Ok(())
    }

    /// Goes on behind the last entry.
    fn append(&mut self) -> Result<()> {
        let mut key = self.oracle.last_key_value().map_or(Bytes::new(), |(key, _)| key.clone());
        key.truncate(crate::options::KEY_BYTES_MAX - 3);
        let mut entries = Vec::new();
        for n in 0..self.source.dice.below(300) as u16 {
            let key = [&key[..], &[0xFF], &n.to_be_bytes()].concat();
            entries.push((key, self.source.value()));
        }
        let fill = [Fill::Whole, Fill::WithSlack][self.source.dice.below(2)];
        let appended = self.tree.append(&mut self.pages, entries.iter().cloned().map(Ok), fill)?;
        assert_eq!(appended, entries.len() as u64);
        self.oracle.extend(entries);
        Ok(())
    }

    /// Puts leaves together, from somewhere on.
    fn repack(&mut self) -> Result<()> {
        let leaves = |world: &World| {
            world.tree.check(&world.pages, Version(u64::MAX), &mut |_, _| Ok(())).map(|r| r.leaves)
        };
        let before = leaves(self)?;
        let (key, leaves_max) = (self.some_key(), 1 + self.source.dice.below(30));
        let mut stretch = Stretch { key, leaves: leaves_max, needed: 0 };
        let (pages_max, mut saved) = (1 + self.source.dice.below(9), 0);
        for nth in 0.. {
            let done = self.tree.repack(&mut self.pages, &stretch, pages_max)?;
            saved += done.saved as u64;
            let Some(next) = done.next else { break };
            // The first key may be any of those that lead to its leaf.
            assert!(nth == 0 || next > stretch.key, "it does not go on");
            stretch.key = next;
        }
        assert_eq!(leaves(self)? + saved, before);
        Ok(())
    }

    /// Looks, then changes what was found, with one descent.
    fn change_in_place(&mut self) -> Result<()> {
        let key = self.some_key();
        let place = self.tree.locate(&self.pages, &key)?;
        let old = self.tree.value_at(&self.pages, &place)?.map(<[u8]>::to_vec);
        assert_eq!(old.as_ref(), self.oracle.get(&key));
        assert_eq!(place.is_found(), old.is_some());
        match old {
            Some(mut value) if self.source.dice.one_in(2) => {
                value.push(1);
                assert!(!self.tree.insert_at(&mut self.pages, place, &key, &value)?);
                self.oracle.insert(key, value);
            }
            Some(_) => {
                assert!(self.tree.remove_at(&mut self.pages, place)?);
                self.oracle.remove(&key);
            }
            None => {
                assert!(self.tree.insert_at(&mut self.pages, place, &key, b"new")?);
                self.oracle.insert(key, b"new".to_vec());
            }
        }
        Ok(())
    }

    fn read_points(&mut self) -> Result<()> {
        let keys: Vec<Bytes> = (0..self.source.dice.below(40)).map(|_| self.some_key()).collect();
        let slices: Vec<&[u8]> = keys.iter().map(Vec::as_slice).collect();
        let many = self.tree.get_many(&self.pages, &slices)?;
        for (key, value) in keys.iter().zip(many) {
            let expected = self.oracle.get(key).map(Vec::as_slice);
            assert_eq!(value, expected);
            assert_eq!(self.tree.get(&self.pages, key)?, expected);
        }
        let pair = |(key, value): (&Bytes, &Bytes)| (key.clone(), value.clone());
        let owned = |(key, value): (&[u8], &[u8])| (key.to_vec(), value.to_vec());
        let first = self.tree.first(&self.pages)?.map(owned);
        assert_eq!(first, self.oracle.first_key_value().map(pair));
        let last = self.tree.last(&self.pages)?.map(owned);
        assert_eq!(last, self.oracle.last_key_value().map(pair));
        Ok(())
    }

    /// Walks a range from both ends by turns that the dice choose.
    fn read_range(&mut self) -> Result<()> {
        let (from, to) = (self.source.bound(), self.source.bound());
        let mut expected = oracle_range(&self.oracle, &from, &to).into_iter();
        let mut range = self.tree.range(&self.pages, as_slice(&from), as_slice(&to))?;
        let split_in = [10, 1_000_000][self.source.dice.below(2)];
        let back_in = [1, 2, 1_000_000][self.source.dice.below(3)];
        loop {
            if self.source.dice.one_in(50) {
                range = range.clone();
            }
            if self.source.dice.one_in(split_in) {
                let pieces = self.source.dice.below(9);
                pieces::are_as_expected(range.clone(), pieces, expected.clone())?;
            }
            let (entry, expected) = if self.source.dice.one_in(back_in) {
                (range.next_back(), expected.next_back())
            } else {
                (range.next(), expected.next())
            };
            let entry = entry.transpose()?;
            assert_eq!(entry, expected.map(|(key, value)| (key.as_slice(), value.as_slice())));
            if entry.is_none() {
                assert!(range.next().is_none() && range.next_back().is_none());
                return Ok(());
            }
        }
    }

    /// What must hold between two requests.
    fn verify(&self) -> Result<()> {
        let mut reachable = BTreeMap::new();
        let report = self.tree.check(&self.pages, Version(u64::MAX), &mut |page, pages| {
            assert!(reachable.insert(page, pages).is_none(), "page {} is named twice", page.0);
            Ok(())
        })?;
        pieces::checks_agree(&self.tree, &self.pages);
        assert_eq!(report.entries, self.oracle.len() as u64);
        assert_eq!(reachable, self.pages.in_use(), "pages leaked, or given up while in use");
        assert_eq!(self.tree.len, self.oracle.len() as u64);
        Ok(())
    }

    /// The tree's entries as a whole.
    fn entries<P: Pages>(tree: &Tree, pages: &P) -> Result<Oracle> {
        let all = tree.range(pages, Bound::Unbounded, Bound::Unbounded)?;
        all.map(|entry| entry.map(|(key, value)| (key.to_vec(), value.to_vec()))).collect()
    }

    fn verify_pinned(&self) -> Result<()> {
        for pinned in &self.pinned {
            let view = View { pages: &self.pages, version: pinned.version };
            assert!(World::entries(&pinned.tree, &view)? == pinned.oracle);
            let now = View { pages: &self.pages, version: self.pages.version };
            let mut changed = pinned.oracle.clone();
            let mut last: Option<Bytes> = None;
            for change in Tree::diff(&pinned.tree, &self.tree, &view, &now) {
                let Change { key, old, new } = change?;
                assert!(last.as_deref().is_none_or(|last| last < key), "changes out of order");
                assert_ne!(old, new);
                assert_eq!(changed.get(key).map(Vec::as_slice), old);
                match new {
                    Some(new) => drop(changed.insert(key.to_vec(), new.to_vec())),
                    None => drop(changed.remove(key)),
                }
                last = Some(key.to_vec());
            }
            assert!(changed == self.oracle, "the changes do not lead to the new tree");
        }
        Ok(())
    }

    /// Ends a request: pins its version or lets others go, then begins the next one.
    fn turn(&mut self) {
        if self.source.dice.one_in(3) {
            self.pinned.push(Pinned {
                version: self.pages.version,
                tree: self.tree,
                oracle: self.oracle.clone(),
            });
        }
        while self.pinned.len() > 3 || (!self.pinned.is_empty() && self.source.dice.one_in(4)) {
            let unlucky = self.source.dice.below(self.pinned.len());
            self.pinned.swap_remove(unlucky);
        }
        let pinned: Vec<u64> = self.pinned.iter().map(|pinned| pinned.version).collect();
        self.pages.version += 1;
        // The current version is pinned too, but nothing of it has been given up yet.
        self.pages.reclaim(&pinned);
    }
}

/// After every operation too, to find the one that went wrong.
fn step(world: &mut World) -> Result<()> {
    world.operation()?;
    if std::env::var_os("RECTO_TREE_STEPS").is_some() {
        world.verify()?;
    }
    Ok(())
}

fn play(seed: u64, requests: usize, operations: usize) {
    let mut world = World::new(seed);
    let shape = (world.source.shape, world.source.page_bytes, world.source.spread);
    if std::env::var_os("RECTO_TREE_STEPS").is_some() {
        println!("seed {seed} {shape:?}");
    }
    for _ in 0..requests {
        let result = (0..world.source.dice.below(operations))
            .try_for_each(|_| step(&mut world))
            .and_then(|()| world.verify())
            .and_then(|()| world.verify_pinned());
        assert!(result.is_ok(), "seed {seed} {shape:?}: {result:?}");
        world.turn();
    }
}

/// How many sequences a test plays; `RECTO_TREE_SEEDS` for more.
fn seeds(default: u64) -> std::ops::Range<u64> {
    let count = std::env::var("RECTO_TREE_SEEDS").ok().and_then(|count| count.parse().ok());
    0..count.unwrap_or(default)
}

#[test]
fn a_tree_is_a_sorted_map_and_old_roots_stay() {
    for seed in seeds(400) {
        play(seed, 12, 30);
    }
}

#[test]
fn a_long_lived_tree_is_a_sorted_map() {
    for seed in seeds(12) {
        play(1_000_000 + seed, 30, 400);
    }
}

/// A value that is counted while it lives.
struct Counted<'c>(&'c Cell<usize>, Bytes);

impl AsRef<[u8]> for Counted<'_> {
    fn as_ref(&self) -> &[u8] {
        &self.1
    }
}

impl Drop for Counted<'_> {
    fn drop(&mut self) {
        self.0.set(self.0.get() - 1);
    }
}

#[test]
fn a_merge_holds_few_long_values() {
    let (mut tree, mut pages) = (Tree::empty(TABLE), ModelPages::new(4096));
    tree.insert(&mut pages, &[255], b"last").unwrap();
    let (alive, most) = (Cell::new(0), Cell::new(0));
    let changes = (0..40_u8).map(|key| {
        alive.set(alive.get() + 1);
        most.set(most.get().max(alive.get()));
        Ok(([key], Some(Counted(&alive, vec![key; 400 << 10]))))
    });
    assert_eq!(tree.merge(&mut pages, changes).unwrap(), 40);
    assert_eq!((alive.get(), most.get()), (0, 3), "values held, at the end and at most");
}
