//! What a store may hold after a power cut: no less than was acknowledged as durable, no more than
//! was begun, and exactly what the model held at the version that it shows.
//! Owns: [`History`], [`Ledger`], [`Bounds`], [`check`].

use super::{
    dice::Dice,
    model::{Model, Op, Wrong, compare_scan, table},
    watchdog::Watchdog,
};
use recto::{
    Batch, Durability, Error, Options, Result, Store,
    simulation::{Bug, Cut, Image, SimDisk},
};
use std::{
    collections::{BTreeMap, HashSet},
    ops::Range,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
};

/// A mark says that a version was acknowledged as durable, or how many commits were begun.
const DURABLE: u64 = 0;
const BEGUN: u64 = 1;

/// Everything as tight as it goes, so that little work meets every border.
pub fn options() -> Options {
    Options::new()
        .page_bytes(4096)
        .dirty_bytes(256 << 10)
        .sort_bytes(32 << 10)
        .log_segment_bytes(16 << 10)
        .queue_capacity(4)
}

/// Whether the store takes nothing any more.
pub fn is_poisoned(store: &Store) -> bool {
    matches!(store.sync(), Err(Error::Poisoned))
}

/// The content at each version.
pub struct History {
    versions: Vec<Model>,
    /// While these operations were done a commit was under way that was undone in the end: a cut
    /// among them may leave it all the same.
    undone: Vec<Range<usize>>,
}

impl History {
    pub fn new(first: Model) -> History {
        History { versions: vec![first], undone: Vec::new() }
    }

    pub fn push(&mut self, model: Model) {
        self.versions.push(model);
    }

    pub fn last(&self) -> &Model {
        self.versions.last().expect("it begins with one")
    }

    pub fn len(&self) -> usize {
        self.versions.len()
    }

    fn at(&self, version: u64) -> Option<&Model> {
        self.versions.get(version as usize)
    }

    /// What another writer goes on with behind `version`.
    fn fork(&self, version: u64, next: Model) -> History {
        let mut versions = self.versions[..=version as usize].to_vec();
        versions.push(next);
        History { versions, undone: Vec::new() }
    }
}

/// Commits to a store, from any number of threads, and keeps the books.
pub struct Ledger {
    disk: SimDisk,
    begun: AtomicU64,
    done: Mutex<BTreeMap<u64, Vec<Op>>>,
    undone: Mutex<Vec<Range<usize>>>,
}

impl Ledger {
    pub fn new(disk: &SimDisk) -> Ledger {
        let (done, undone) = (Mutex::default(), Mutex::default());
        Ledger { disk: disk.clone(), begun: AtomicU64::new(0), done, undone }
    }

    fn begin(&self) {
        let begun = self.begun.fetch_add(1, Ordering::SeqCst) + 1;
        self.disk.mark(begun << 1 | BEGUN);
    }

    fn note(&self, version: u64, ops: Vec<Op>, is_durable: bool) {
        let twice = self.done.lock().unwrap().insert(version, ops);
        assert!(twice.is_none(), "version {version} was given twice");
        if is_durable {
            self.disk.mark(version << 1 | DURABLE);
        }
    }

    /// One commit; as a batch if it can be one, else as a closure with the store's durability.
    pub fn commit(&self, store: &Store, ops: Vec<Op>, durability: Durability) {
        self.begin();
        let mut batch = Batch::new().durability(durability);
        if ops.iter().all(|op| op.on_batch(&mut batch)) {
            let commit = store.submit(batch).expect("accepted");
            let version = commit.visible().wait().expect("committed");
            let is_durable = durability == Durability::Sync;
            if is_durable {
                assert_eq!(commit.wait().expect("committed"), version);
            }
            return self.note(version, ops, is_durable);
        }
        let ops = Arc::new(ops);
        let theirs = Arc::clone(&ops);
        let run = move |tx: &mut recto::WriteTx<'_>| {
            theirs.iter().try_for_each(|op| op.on_tx(tx).map(drop))
        };
        let commit = store.submit_with(run).expect("accepted");
        let version = commit.durable().wait().expect("committed");
        self.note(version, ops.to_vec(), true);
    }

    /// One batch on a disk that may fail; whether the store goes on.
    pub fn attempt(&self, store: &Store, ops: Vec<Op>) -> bool {
        let start = self.disk.operations();
        self.begin();
        let mut batch = Batch::new();
        assert!(ops.iter().all(|op| op.on_batch(&mut batch)), "these are blind");
        match store.submit(batch).and_then(recto::Commit::wait) {
            Ok(version) => self.note(version, ops, true),
            Err(Error::Io(_) | Error::Full { .. } | Error::Poisoned) if is_poisoned(store) => {
                // By its own failure or that of a thread beside it.
                // Nobody knows, until the store is opened again.
                let version = self.done.lock().unwrap().len() as u64 + 1;
                self.note(version, ops, false);
                return false;
            }
            // It was undone: no recovery may find it.
            Err(Error::Io(_) | Error::Full { .. }) => {
                self.undone.lock().unwrap().push(start + 1..self.disk.operations());
            }
            Err(error) => panic!("a commit: {error:?}"),
        }
        true
    }

    /// A closure that does its work and then fails.
    pub fn fail(store: &Store, ops: &[Op]) {
        let failed = store.write(|tx| {
            ops.iter().try_for_each(|op| op.on_tx(tx).map(drop))?;
            Err::<(), Error>(Error::Conflict)
        });
        assert!(matches!(failed, Err(Error::Conflict)), "{failed:?}");
    }

    /// Makes everything durable by `act`, and says so.
    pub fn settle(&self, store: &Store, act: impl FnOnce(&Store) -> Result<()>) {
        let version = store.snapshot().version();
        act(store).expect("the disk is well");
        self.disk.mark(version << 1 | DURABLE);
    }

    /// The content at each version.
    pub fn history(self, first: Model) -> History {
        let mut history = History::new(first);
        history.undone = self.undone.into_inner().unwrap();
        for (version, ops) in self.done.into_inner().unwrap() {
            assert_eq!(version as usize, history.len(), "versions are gapless");
            let mut model = history.last().clone();
            for op in &ops {
                op.on_model(&mut model).expect("what was committed was allowed");
            }
            history.push(model);
        }
        history
    }
}

/// Between what versions the recovered one must lie.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Bounds {
    pub durable: u64,
    pub begun: u64,
}

impl Bounds {
    /// As the marks before a cut tell, and no less than `least`.
    fn of(cut: &Cut, least: Bounds) -> Bounds {
        let mut bounds = least;
        for mark in cut.marks() {
            let value = mark >> 1;
            match mark & 1 {
                DURABLE => bounds.durable = bounds.durable.max(value),
                _ => bounds.begun = bounds.begun.max(value),
            }
        }
        bounds
    }
}

/// How much is looked at.
#[derive(Clone, Copy)]
pub struct Effort {
    /// The most images of one cut.
    pub images_per_cut: usize,
    /// One image in so many is cut again while it recovers.
    pub deeper_once_in: usize,
    /// At one cut in so many the process is killed, and the power goes while the next one recovers.
    pub killed_once_in: usize,
    /// At a cut where everything is durable so many bits of the page file rot, one at a time.
    pub rotten_per_cut: usize,
    /// It is enough when so many images were looked at.
    pub images: u64,
    /// What is wrong with every store that is opened.
    pub bug: Option<Bug>,
}

/// What has been looked at.
#[derive(Default)]
pub struct Tally {
    seen: HashSet<(u128, Bounds)>,
    pub images: u64,
    pub deep_images: u64,
    pub rotten_images: u64,
    pub cuts: u64,
}

impl Tally {
    pub fn all(&self) -> u64 {
        self.images + self.deep_images + self.rotten_images
    }
}

/// Looks at the cuts of everything that `disk` recorded.
pub fn check_cuts(
    told: &str,
    disk: &SimDisk,
    history: &History,
    effort: Effort,
    dice: &mut Dice,
    tally: &mut Tally,
) {
    let watchdog = Watchdog::begin();
    let mut look = Look { effort, dice, tally, watchdog: &watchdog };
    for cut in disk.cuts() {
        if look.tally.all() >= effort.images {
            break;
        }
        if !history.undone.iter().any(|undone| undone.contains(&cut.at())) {
            look.check_cut(told, disk, &cut, history);
        }
    }
}

/// What goes along while cuts are looked at.
struct Look<'l> {
    effort: Effort,
    dice: &'l mut Dice,
    tally: &'l mut Tally,
    watchdog: &'l Watchdog,
}

impl Look<'_> {
    fn check_cut(&mut self, told: &str, disk: &SimDisk, cut: &Cut, history: &History) {
        let effort = self.effort;
        self.tally.cuts += 1;
        let bounds = Bounds::of(cut, Bounds { durable: 0, begun: 0 });
        for image in few(cut.new_images(self.dice.next()), effort.images_per_cut, self.dice) {
            if !self.tally.seen.insert((image.hash(), bounds)) {
                continue;
            }
            self.tally.images += 1;
            let place = format!("{told}, {bounds:?}, {image}");
            let recovered = image.disk();
            let forked = self.check(&place, &recovered, bounds, history, disk, cut);
            if self.dice.once_in(effort.deeper_once_in) {
                self.go_deeper(&place, &recovered, bounds, &forked);
            }
        }
        if self.dice.once_in(effort.killed_once_in) {
            let place = format!("{told}, {bounds:?}, killed before operation {}", cut.at());
            let taken_over = cut.taken_over();
            self.tally.images += 1;
            let forked = self.check(&place, &taken_over, bounds, history, disk, cut);
            self.go_deeper(&place, &taken_over, bounds, &forked);
        }
        if cut.pending() == 0 {
            let place = format!("{told}, {bounds:?}, quiet before operation {}", cut.at());
            self.rot(&place, cut, bounds, history);
        }
    }

    /// Checks what was recovered on a disk, or tells where it was wrong.
    fn check(
        &mut self,
        place: &str,
        recovered: &SimDisk,
        bounds: Bounds,
        history: &History,
        disk: &SimDisk,
        cut: &Cut,
    ) -> History {
        self.watchdog.touch(place);
        self.effort.bug.inspect(|bug| recovered.seed(*bug));
        let checked = check(recovered, bounds, history);
        checked.unwrap_or_else(|wrong| give_up(place, &wrong, disk, cut))
    }

    /// The same over recovery's own operations. What the first cut left beyond what was
    /// acknowledged may still go: nobody had seen it.
    fn go_deeper(&mut self, place: &str, recovered: &SimDisk, bounds: Bounds, forked: &History) {
        let least = Bounds { begun: forked.len() as u64 - 2, ..bounds };
        for cut in recovered.cuts() {
            let bounds = Bounds::of(&cut, least);
            for image in few(cut.new_images(self.dice.next()), 8, self.dice) {
                if !self.tally.seen.insert((image.hash(), bounds)) {
                    continue;
                }
                self.tally.deep_images += 1;
                let place = format!("{place}, then {bounds:?}, {image}");
                self.check(&place, &image.disk(), bounds, forked, recovered, &cut);
            }
        }
    }

    /// One flipped bit in a meta page changes nothing; anywhere else it is told or changes nothing.
    fn rot(&mut self, place: &str, cut: &Cut, bounds: Bounds, history: &History) {
        const META_BITS: usize = 512 * 8;
        for n in 0..self.effort.rotten_per_cut {
            let disk = cut.nothing().disk();
            let bit = self.dice.below(META_BITS) as u64;
            // The meta pages in turn, then anything in the first hundred pages.
            let offset = match n {
                0 | 1 => n as u64 * 4096 + bit / 8,
                _ => self.dice.below(100 * 4096) as u64,
            };
            if !disk.rot("pages", offset, bit as u8) {
                continue;
            }
            self.tally.rotten_images += 1;
            let place = format!("{place}, rotten at byte {offset}");
            self.watchdog.touch(&place);
            self.effort.bug.inspect(|bug| disk.seed(*bug));
            let is_told =
                |wrong: &Wrong| n > 1 && matches!(wrong, Wrong::Failed(Error::Corrupt(_)));
            match recovered(&disk, bounds, history) {
                Ok(_) => {}
                Err(wrong) if is_told(&wrong) => {}
                Err(wrong) => panic!("{place}: {wrong:?}"),
            }
        }
    }
}

/// The first of them, which are the fullest and the emptiest, and some of the others.
fn few<I: Iterator<Item = Image>>(
    images: I,
    most: usize,
    dice: &mut Dice,
) -> impl Iterator<Item = Image> + use<I> {
    let mut dice = Dice::new(dice.next());
    let chosen = images.enumerate().filter(move |(n, _)| *n < most / 2 || dice.once_in(6));
    chosen.map(|(_, image)| image).take(most)
}

fn give_up(place: &str, wrong: &str, disk: &SimDisk, cut: &Cut) -> ! {
    let first = cut.at().saturating_sub(60);
    for index in first..cut.at() {
        eprintln!("  {index}: {}", disk.describe(index).unwrap_or_default());
    }
    panic!("{place}: {wrong}");
}

/// Opens a disk and compares; gives the store and its version.
fn recovered(disk: &SimDisk, bounds: Bounds, history: &History) -> Result<(Store, u64), Wrong> {
    let store = options().open_simulated(disk).map_err(Wrong::Failed)?;
    let version = store.snapshot().version();
    if version < bounds.durable || version > bounds.begun {
        return Err(Wrong::Differs(format!("version {version} was recovered")));
    }
    let none = || Wrong::Differs(format!("there is no version {version}"));
    compare_scan(&store.snapshot(), history.at(version).ok_or_else(none)?)?;
    Ok((store, version))
}

/// Opens a disk, compares, writes, closes. Gives what the disk's cuts may hold.
fn check(disk: &SimDisk, bounds: Bounds, history: &History) -> Result<History, String> {
    let (store, version) = recovered(disk, bounds, history).map_err(|wrong| match wrong {
        Wrong::Failed(error) => format!("recovery: {error}"),
        Wrong::Differs(what) => what,
    })?;
    disk.mark(version << 1 | DURABLE);
    disk.mark((version + 1) << 1 | BEGUN);
    let op = Op::Insert { table: 0, key: b"after".to_vec(), value: Arc::from(&b"all"[..]) };
    let mut next = history.versions[version as usize].clone();
    op.on_model(&mut next);
    let written = store.write(|tx| tx.table(&table(0))?.insert(b"after", b"all"));
    written.map_err(|error| format!("writing: {error}"))?;
    disk.mark((version + 1) << 1 | DURABLE);
    let closed = store.close().map_err(|error| format!("closing: {error}"))?;
    if closed.version != version + 1 {
        return Err(format!("closed at version {} behind {version}", closed.version));
    }
    Ok(history.fork(version, next))
}
