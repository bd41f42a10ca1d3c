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
    simulation::{Cut, Image, SimDisk},
};
use std::{
    collections::{BTreeMap, HashSet},
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
        .log_segment_bytes(16 << 10)
        .queue_capacity(4)
}

/// The content at each version.
pub struct History {
    versions: Vec<Model>,
}

impl History {
    pub fn new(first: Model) -> History {
        History { versions: vec![first] }
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
        History { versions }
    }
}

/// Commits to a store, from any number of threads, and keeps the books.
pub struct Ledger {
    disk: SimDisk,
    begun: AtomicU64,
    done: Mutex<BTreeMap<u64, Vec<Op>>>,
}

impl Ledger {
    pub fn new(disk: &SimDisk) -> Ledger {
        Ledger { disk: disk.clone(), begun: AtomicU64::new(0), done: Mutex::default() }
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
}

/// What has been looked at.
#[derive(Default)]
pub struct Tally {
    seen: HashSet<(u128, Bounds)>,
    pub images: u64,
    pub deep_images: u64,
    pub cuts: u64,
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
    for cut in disk.cuts() {
        tally.cuts += 1;
        let bounds = Bounds::of(&cut, Bounds { durable: 0, begun: 0 });
        for image in few(cut.new_images(dice.next()), effort.images_per_cut, dice) {
            if !tally.seen.insert((image.hash(), bounds)) {
                continue;
            }
            tally.images += 1;
            let place = format!("{told}, {bounds:?}, {image}");
            watchdog.touch(&place);
            let checked = check(&image, bounds, history);
            let (recovered, forked) =
                checked.unwrap_or_else(|wrong| give_up(&place, &wrong, disk, &cut));
            if dice.once_in(effort.deeper_once_in) {
                let found = forked.len() as u64 - 2;
                let least = Bounds { begun: found, ..bounds };
                go_deeper(&place, &recovered, least, &forked, dice, tally, &watchdog);
            }
        }
    }
}

/// The same over recovery's own operations. What the first cut left beyond what was acknowledged
/// may still go: nobody had seen it.
fn go_deeper(
    place: &str,
    recovered: &SimDisk,
    least: Bounds,
    forked: &History,
    dice: &mut Dice,
    tally: &mut Tally,
    watchdog: &Watchdog,
) {
    for cut in recovered.cuts() {
        let bounds = Bounds::of(&cut, least);
        for image in few(cut.new_images(dice.next()), 8, dice) {
            if !tally.seen.insert((image.hash(), bounds)) {
                continue;
            }
            tally.deep_images += 1;
            let place = format!("{place}, then {bounds:?}, {image}");
            watchdog.touch(&place);
            if let Err(wrong) = check(&image, bounds, forked) {
                give_up(&place, &wrong, recovered, &cut);
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

/// Opens an image, compares, writes, closes. Gives the disk with the record of all that.
fn check(image: &Image, bounds: Bounds, history: &History) -> Result<(SimDisk, History), String> {
    let disk = image.disk();
    let store = options().open_simulated(&disk).map_err(|error| format!("opening: {error}"))?;
    let version = store.snapshot().version();
    if version < bounds.durable || version > bounds.begun {
        return Err(format!("version {version} was recovered"));
    }
    let model = history.at(version).ok_or_else(|| format!("no version {version}"))?;
    match compare_scan(&store.snapshot(), model) {
        Ok(()) => {}
        Err(Wrong::Failed(error)) => return Err(format!("reading version {version}: {error}")),
        Err(Wrong::Differs(what)) => return Err(format!("version {version}: {what}")),
    }
    disk.mark(version << 1 | DURABLE);
    disk.mark((version + 1) << 1 | BEGUN);
    let op = Op::Insert { table: 0, key: b"after".to_vec(), value: Arc::from(&b"all"[..]) };
    let mut next = model.clone();
    op.on_model(&mut next);
    let written = store.write(|tx| tx.table(&table(0))?.insert(b"after", b"all"));
    written.map_err(|error| format!("writing: {error}"))?;
    disk.mark((version + 1) << 1 | DURABLE);
    let closed = store.close().map_err(|error| format!("closing: {error}"))?;
    if closed.version != version + 1 {
        return Err(format!("closed at version {} behind {version}", closed.version));
    }
    Ok((disk, history.fork(version, next)))
}
