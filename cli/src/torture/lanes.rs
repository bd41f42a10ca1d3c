//! Lanes: threads that commit one after another, each in tables of its own, until they are stopped.
//! Owns: [`Life`], and the tables.

use super::{
    deal::{Commit, Level, Number, Op, SPARE_VALUE_BYTES, Then, Way, value},
    dice::Dice,
    told::{Listener, Told},
};
use recto::{Batch, Error, Result, Store, Table, WriteTx};
use std::{
    sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst},
    thread,
    time::Duration,
};

/// By lane: how many commits it has made. Every commit of a lane counts here, in the same step.
pub const COUNTS: Table<u64, u64> = Table::new("counts");
/// How many commits a lane may have handed in that are not answered yet.
pub const BURST: u64 = 6;
/// How often a refused commit is handed in again.
const ATTEMPTS: u64 = 30;
const PAUSE: Duration = Duration::from_millis(2);
/// The keys of transactions that fail begin here.
const DOOMED_KEY: u64 = 1_000_000;

/// A lane's own table.
pub fn rows(lane: u64) -> Table<u64, &'static [u8]> {
    Table::named(format!("lane-{lane}"))
}

/// A lane's table that is filled and dropped whole.
pub fn spare(lane: u64) -> Table<u64, &'static [u8]> {
    Table::named(format!("spare-{lane}"))
}

/// An open store, and everything that happens to it until it ends.
pub struct Life<'l> {
    pub store: &'l Store,
    pub seed: u64,
    pub level: Level,
    /// The disk may refuse: that ends the life, and is no discrepancy.
    pub expects_faults: bool,
    pub listener: &'l dyn Listener,
    pub stop: &'l AtomicBool,
}

/// A commit handed in, and how its answers are had.
enum Waiting {
    Closure(recto::Commit<()>),
    Batch(recto::Commit),
}

impl Life<'_> {
    /// Runs so many lanes, and one thread that looks at snapshots, until `stop` is set or something
    /// fails.
    pub fn run(&self, lanes: u64) {
        let told: Vec<AtomicU64> = (0..lanes).map(|_| AtomicU64::new(0)).collect();
        let failed = thread::scope(|scope| {
            let runners: Vec<_> = (0..lanes)
                .map(|lane| {
                    let told = &told[lane as usize];
                    scope.spawn(move || {
                        let ended = self.run_lane(lane, told);
                        self.stop.store(true, SeqCst);
                        ended.err()
                    })
                })
                .collect();
            let looking = scope.spawn(|| self.look(lanes).err());
            let ends = runners.into_iter().chain([looking]);
            ends.filter_map(|end| end.join().expect("a lane does not panic")).last()
        });
        if let Some(error) = failed {
            self.listener.hear(Told::Failed { what: error.to_string() });
            if self.expects_faults && self.reads_go_on(&told).is_ok_and(|so| so) {
                self.listener.hear(Told::ReadsGoOn);
            }
        }
    }

    fn run_lane(&self, lane: u64, told: &AtomicU64) -> Result<()> {
        let mut number = self.store.get(&COUNTS, lane)?.unwrap_or(0);
        let mut dice = Dice::new(self.seed, [lane, !number]);
        while !self.stop.load(SeqCst) {
            // A commit that is refused is handed in again: none may be behind it then.
            let burst = if self.expects_faults { 1 } else { 1 + dice.below(BURST) };
            let mut waiting = Vec::new();
            for _ in 0..burst {
                number += 1;
                let commit = Commit::deal(self.seed, lane, number);
                if let Some(handed_in) = self.patiently(lane, number, &commit)? {
                    waiting.push((number, commit, handed_in));
                }
            }
            for (number, commit, handed_in) in waiting {
                self.answer(lane, number, &commit, &handed_in)?;
            }
            told.store(number, SeqCst);
        }
        Ok(())
    }

    /// Hands a commit in, again and again where the disk refuses; then a borrowing one is answered,
    /// and where faults are expected every one.
    fn patiently(&self, lane: u64, number: Number, commit: &Commit) -> Result<Option<Waiting>> {
        for _ in 0..ATTEMPTS {
            let tried = self.hand_in(lane, number, commit).and_then(|handed_in| match handed_in {
                Some(handed_in) if self.expects_faults => {
                    self.answer(lane, number, commit, &handed_in)?;
                    Ok(None)
                }
                handed_in => Ok(handed_in),
            });
            match tried {
                Err(Error::Full { .. } | Error::Io(_)) if self.expects_faults => {
                    self.listener.hear(Told::Refused { lane, number });
                    thread::sleep(PAUSE);
                }
                tried => return tried,
            }
        }
        Err(Error::Full { what: recto::Resource::Disk })
    }

    fn hand_in(&self, lane: u64, number: Number, commit: &Commit) -> Result<Option<Waiting>> {
        let Life { store, level, .. } = self;
        if commit.after_doomed {
            let undone: Result<()> = store.write(|tx| {
                tx.table(&rows(lane))?.insert(DOOMED_KEY + number, &value(lane, number, 300))?;
                tx.drop_table(rows(lane).name())?;
                Err(Error::Conflict)
            });
            match undone {
                Err(Error::Conflict) => {}
                Err(error) => return Err(error),
                Ok(()) => unreachable!("a closure's error is its answer"),
            }
        }
        let ops = commit.ops.clone();
        let durability =
            if *level == Level::Mixed { commit.level.durability() } else { level.durability() };
        Ok(match commit.way {
            Way::Closure => {
                let transact = move |tx: &mut WriteTx<'_>| transact(tx, lane, number, &ops);
                Some(Waiting::Closure(store.submit_with(transact)?))
            }
            Way::Batch => {
                let batch = batch(lane, number, &ops).durability(durability);
                Some(Waiting::Batch(store.submit(batch)?))
            }
            Way::Borrowing => {
                store.write_with(durability, |tx| transact(tx, lane, number, &ops))?;
                self.hear(lane, number, None, durability == recto::Durability::Sync);
                self.afterwards(commit)?;
                None
            }
        })
    }

    fn answer(&self, lane: u64, number: Number, commit: &Commit, waiting: &Waiting) -> Result<()> {
        let level = match waiting {
            Waiting::Batch(_) if self.level == Level::Mixed => commit.level,
            _ => self.level,
        };
        let version = match waiting {
            Waiting::Closure(commit) => commit.visible().wait()?,
            Waiting::Batch(commit) => commit.visible().wait()?,
        };
        let is_durable = level.durability() == recto::Durability::Sync;
        self.hear(lane, number, Some(version), is_durable);
        if commit.asks_durable && !is_durable {
            match waiting {
                Waiting::Closure(commit) => commit.durable().wait()?,
                Waiting::Batch(commit) => commit.durable().wait()?,
            };
            self.hear(lane, number, Some(version), true);
        }
        self.afterwards(commit)
    }

    fn hear(&self, lane: u64, number: Number, version: Option<u64>, is_durable: bool) {
        self.listener.hear(if is_durable {
            Told::Durable { lane, number, version }
        } else {
            Told::Visible { lane, number, version }
        });
    }

    fn afterwards(&self, commit: &Commit) -> Result<()> {
        let asked = match commit.then {
            Then::Checkpoint => self.store.checkpoint(),
            Then::Sync => self.store.sync(),
            Then::Nothing => Ok(()),
        };
        // The commit itself was answered: where faults are expected it must not be made twice.
        if self.expects_faults { Ok(()) } else { asked }
    }

    /// Every commit takes one version, so that at every version the counts make up the version.
    fn look(&self, lanes: u64) -> Result<()> {
        while !self.stop.load(SeqCst) {
            let snap = self.store.snapshot();
            let counts = snap.table(&COUNTS)?;
            let sum: u64 = counts.get_many(0..lanes)?.into_iter().flatten().sum();
            let version = snap.version();
            assert_eq!(sum, version, "a snapshot shows {sum} commits at version {version}");
            thread::sleep(Duration::from_millis(1));
        }
        Ok(())
    }

    /// After a failure: whether everything that was answered is still read.
    fn reads_go_on(&self, told: &[AtomicU64]) -> Result<bool> {
        let snap = self.store.snapshot();
        for (lane, told) in (0..).zip(told) {
            if snap.table(&COUNTS)?.get(lane)?.unwrap_or(0) < told.load(SeqCst) {
                return Ok(false);
            }
            for entry in snap.table(&rows(lane))?.iter()? {
                entry?;
            }
        }
        Ok(true)
    }
}

fn transact(tx: &mut WriteTx<'_>, lane: u64, number: Number, ops: &[Op]) -> Result<()> {
    for op in ops {
        match *op {
            Op::Put { key, value_bytes } => {
                tx.table(&rows(lane))?.insert(key, &value(key, number, value_bytes))?;
            }
            Op::Remove { key } => {
                tx.table(&rows(lane))?.remove(key)?;
            }
            Op::RemoveRange { from, to } => {
                tx.table(&rows(lane))?.remove_range(from..to)?;
            }
            Op::Fill { entries } => {
                let values = spare_values(number, entries);
                let mut spare = tx.table(&spare(lane))?;
                spare.clear()?;
                spare.extend((0..).zip(values.iter().map(Vec::as_slice)))?;
            }
            Op::DropSpare => {
                tx.drop_table(spare(lane).name())?;
            }
        }
    }
    tx.table(&COUNTS)?.insert(lane, number).map(drop)
}

fn batch(lane: u64, number: Number, ops: &[Op]) -> Batch {
    let (rows, spare) = (rows(lane), spare(lane));
    let mut batch = Batch::new();
    batch.insert(&COUNTS, lane, number);
    for op in ops {
        match *op {
            Op::Put { key, value_bytes } => {
                batch.insert(&rows, key, &value(key, number, value_bytes));
            }
            Op::Remove { key } => {
                batch.remove(&rows, key);
            }
            Op::RemoveRange { from, to } => {
                batch.remove_range(&rows, from..to);
            }
            Op::Fill { entries } => {
                batch.remove_range(&spare, ..);
                for (key, value) in (0..).zip(spare_values(number, entries)) {
                    batch.insert(&spare, key, &value);
                }
            }
            Op::DropSpare => unreachable!("tables are dropped by closures"),
        }
    }
    batch
}

/// What a spare table holds that commit `number` filled.
fn spare_values(number: Number, entries: u64) -> Vec<Vec<u8>> {
    (0..entries).map(|key| value(key, number, SPARE_VALUE_BYTES)).collect()
}
