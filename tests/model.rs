//! Random operations against ordered maps: what a store answers and holds is what the maps say, at
//! every version, over every storage, whatever is undone, checkpointed, closed or killed meanwhile.
//!
//! `RECTO_MODEL_SEEDS` is how many sequences each test runs, `RECTO_MODEL_SEED` repeats one.

#[path = "model/compare.rs"]
mod compare;
#[path = "crash/deal.rs"]
mod deal;
#[path = "crash/dice.rs"]
mod dice;
#[path = "crash/model.rs"]
mod model;
#[path = "model/readers.rs"]
mod readers;

use compare::compare;
use deal::Deal;
use dice::{Dice, asked_for};
use model::{Model, Op, Wrong, compare_scan};
use recto::{
    Batch, Budget, Durability, Error, Options, Resource, Result, Snapshot, Store,
    simulation::SimDisk,
};
use std::{panic, path::PathBuf, thread, time::Duration};

/// Where the store lives.
enum Place {
    Simulated(SimDisk),
    Memory,
    Files { dir: tempfile::TempDir, memory_map: bool },
}

impl Place {
    fn open(&self, options: Options) -> Result<Store> {
        match self {
            Place::Simulated(disk) => options.open_simulated(disk),
            Place::Memory => options.open_in_memory(),
            Place::Files { dir, memory_map } => {
                let path: PathBuf = dir.path().join("store");
                options.memory_map(*memory_map).open(path)
            }
        }
    }
}

/// What the closure of a transaction does in the end.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Ending {
    Ok,
    Err,
    Panic,
}

type Check = thread::JoinHandle<Result<(), Wrong>>;

struct Run {
    seed: u64,
    dice: Dice,
    deal: Deal,
    /// The most entries of one bulk load.
    extend_max: usize,
    place: Place,
    options: Options,
    /// A small cache may answer `Full` where the file is not mapped.
    may_lack_cache: bool,
    store: Option<Store>,
    model: Model,
    version: u64,
    held: Vec<(Snapshot, Model)>,
    checks: Vec<Check>,
    trace: Vec<String>,
}

impl Run {
    fn new(seed: u64, place: Place) -> Run {
        let mut dice = Dice::new(seed);
        let durability = match dice.below(4) {
            0 => Durability::None,
            1 => Durability::EveryCommits(3),
            2 => Durability::Interval(Duration::from_millis(1)),
            _ => Durability::Sync,
        };
        let may_lack_cache = dice.once_in(4);
        let options = Options::new()
            .page_bytes(if dice.once_in(5) { 16384 } else { 4096 })
            .dirty_bytes(256 << 10)
            .log_segment_bytes(16 << 10)
            .cache_bytes(if may_lack_cache { 2 << 20 } else { 64 << 20 })
            .queue_capacity(1 + dice.below(20))
            .durability(durability);
        let deal = Deal {
            tables: 1 + dice.below(4),
            keys: [5, 60, 400, 1500][dice.below(4)],
            value_bytes_max: [200, 5000, 60_000, 300_000][dice.below(4)],
        };
        let extend_max = [20, 200, 600][dice.below(3)];
        let store = Some(place.open(options.clone()).expect("a new store"));
        Run {
            seed,
            dice,
            deal,
            extend_max,
            place,
            options,
            may_lack_cache,
            store,
            model: Model::new(),
            version: 0,
            held: Vec::new(),
            checks: Vec::new(),
            trace: Vec::new(),
        }
    }

    fn store(&self) -> &Store {
        self.store.as_ref().expect("open but while it is reopened")
    }

    fn fail(&self, what: &str) -> ! {
        for line in self.trace.iter().rev().take(12).rev() {
            eprintln!("  {line}");
        }
        panic!(
            "seed {}, step {}: {what}; {:?} {:?}",
            self.seed,
            self.trace.len(),
            self.deal,
            self.options
        );
    }

    fn is_excused(&self, error: &Error) -> bool {
        self.may_lack_cache && matches!(error, Error::Full { what: Resource::CacheBytes })
    }

    fn judge(&self, what: &str, compared: Result<(), Wrong>) {
        match compared {
            Ok(()) => {}
            Err(Wrong::Failed(error)) if self.is_excused(&error) => {}
            Err(Wrong::Failed(error)) => self.fail(&format!("{what}: {error}")),
            Err(Wrong::Differs(difference)) => self.fail(&format!("{what}: {difference}")),
        }
    }

    fn expect_version(&self, found: u64) {
        if found != self.version {
            self.fail(&format!("version {found} in place of {}", self.version));
        }
    }

    fn ops(&mut self) -> Vec<Op> {
        let len = match self.dice.below(10) {
            0 => 60,
            1..=4 => 8,
            _ => 2,
        };
        (0..=self.dice.below(len)).map(|_| self.op()).collect()
    }

    fn op(&mut self) -> Op {
        let (deal, dice) = (self.deal, &mut self.dice);
        match dice.below(60) {
            0 => Op::Drop { table: dice.below(deal.tables) },
            1 => Op::Rename { from: dice.below(deal.tables), to: dice.below(deal.tables) },
            2 => Op::PopFirst { table: deal.table(dice) },
            3 => Op::PopLast { table: deal.table(dice) },
            4 => Op::Retain { table: deal.table(dice), of: 2 + dice.below(9) },
            5..=7 => {
                let len = dice.below(self.extend_max + 1);
                let entries = (0..len).map(|_| (deal.key(dice), deal.value(dice))).collect();
                Op::Extend { table: deal.table(dice), entries }
            }
            8..=10 => deal.range(dice),
            11..=24 => Op::Remove { table: deal.table(dice), key: deal.key(dice) },
            _ => deal.insert(dice),
        }
    }

    fn transaction(&mut self) {
        let ending = match self.dice.below(10) {
            0 => Ending::Err,
            1 => Ending::Panic,
            _ => Ending::Ok,
        };
        let ops = self.ops();
        self.trace.push(format!("write {ending:?} {ops:?}"));
        let mut model = self.model.clone();
        let is_read = self.dice.once_in(3);
        let outcome = self.store().write(|tx| {
            for op in &ops {
                let expected = op.on_model(&mut model);
                match (op.on_tx(tx), expected) {
                    (Ok(found), Some(expected)) if found == expected => {}
                    (Err(error), None) if matches!(error, Error::Invalid(_)) => return Err(error),
                    (Err(error), _) => return Err(error),
                    (found, expected) => panic!("{op:?}: {found:?} in place of {expected:?}"),
                }
            }
            if is_read {
                for (name, rows) in &model {
                    let table = tx.table(&model::Raw::named(name.as_str()))?;
                    assert_eq!(table.len()?, rows.len() as u64, "length inside of {name}");
                    let mut expected = rows.iter();
                    for entry in table.iter()? {
                        let (key, value) = entry?;
                        let (k, v) = expected.next().expect("no more entries than the model has");
                        assert!(key == k && *value == **v, "a transaction reads its own writes");
                    }
                }
            }
            match ending {
                Ending::Ok => Ok(()),
                Ending::Err => Err(Error::Conflict),
                Ending::Panic => panic!("on purpose"),
            }
        });
        match outcome {
            Ok(()) => {
                self.model = model;
                self.version += 1;
            }
            Err(Error::Conflict) if ending == Ending::Err => {}
            Err(Error::Panicked { message }) if &*message == "on purpose" => {}
            Err(Error::Invalid(_)) => {}
            Err(error) if self.is_excused(&error) => {}
            Err(error) => self.fail(&format!("a transaction: {error}")),
        }
        self.expect_version(self.store().snapshot().version());
    }

    /// Several commits on their way at once; some fail, and each fails alone.
    fn burst(&mut self) {
        self.trace.push("burst".to_owned());
        let mut waiting = Vec::new();
        for _ in 0..=self.dice.below(12) {
            if self.dice.once_in(6) {
                self.doom();
                continue;
            }
            let (mut batch, mut ops) = (Batch::new(), Vec::new());
            for _ in 0..=self.dice.below(12) {
                let op = self.deal.blind(&mut self.dice);
                assert!(op.on_batch(&mut batch));
                ops.push(op);
            }
            if self.dice.once_in(4) {
                batch = batch.durability([Durability::Sync, Durability::None][self.dice.below(2)]);
            }
            match self.store().submit(batch) {
                Ok(commit) => waiting.push((commit, ops)),
                Err(error) => self.fail(&format!("a batch: {error}")),
            }
        }
        for (commit, ops) in waiting {
            match commit.wait() {
                Ok(version) => {
                    self.version += 1;
                    self.expect_version(version);
                    for op in ops {
                        op.on_model(&mut self.model);
                    }
                }
                Err(error) if self.is_excused(&error) => {}
                Err(error) => self.fail(&format!("a batch: {error}")),
            }
        }
    }

    /// A closure that fails among commits on their way.
    fn doom(&mut self) {
        let op = self.op();
        let doomed = self.store().submit_with(move |tx| {
            let _ = op.on_tx(tx);
            Err::<(), Error>(Error::Conflict)
        });
        match doomed.and_then(recto::Commit::wait) {
            Err(Error::Conflict) => {}
            Err(error) if self.is_excused(&error) => {}
            other => self.fail(&format!("a doomed closure: {other:?}")),
        }
    }

    fn hold(&mut self) {
        let snapshot = self.store().snapshot();
        self.expect_version(snapshot.version());
        self.trace.push(format!("hold {}", self.version));
        self.held.push((snapshot, self.model.clone()));
        if self.held.len() > 5 {
            let oldest = self.dice.below(self.held.len());
            self.held.swap_remove(oldest);
        }
    }

    /// Looks at a held snapshot from another thread, while commits go on.
    fn look(&mut self) {
        if self.held.is_empty() {
            return;
        }
        let place = self.dice.below(self.held.len());
        let (snapshot, model) = self.held[place].clone();
        self.trace.push(format!("look {}", snapshot.version()));
        let mut dice = Dice::new(self.dice.next());
        self.checks.push(thread::spawn(move || compare(&snapshot, &model, &mut dice)));
        if self.checks.len() > 3 {
            self.join();
        }
    }

    fn join(&mut self) {
        for check in std::mem::take(&mut self.checks) {
            self.judge("a held snapshot", check.join().expect("a comparison does not panic"));
        }
    }

    fn checkpoint(&mut self) {
        self.trace.push("checkpoint".to_owned());
        if let Err(error) = self.store().checkpoint() {
            self.fail(&format!("a checkpoint: {error}"));
        }
    }

    /// Some steps of a compaction, or all of them.
    fn compact(&mut self) {
        let (budget, steps) = (1 + self.dice.below(60), 1 + self.dice.below(30));
        self.trace.push(format!("compact, {steps} steps of {budget} pages"));
        for _ in 0..steps {
            match self.store().compact(Budget::pages(budget)) {
                Ok(step) if step.is_done => break,
                Ok(_) => {}
                Err(error) if self.is_excused(&error) => break,
                Err(error) => self.fail(&format!("a compaction: {error}")),
            }
        }
    }

    fn sync(&mut self) {
        self.trace.push("sync".to_owned());
        if let Err(error) = self.store().sync() {
            self.fail(&format!("a sync: {error}"));
        }
    }

    /// Ends all looking, and closes and opens again; or pulls the plug of the process.
    fn reopen(&mut self) {
        self.join();
        let killed = match &self.place {
            Place::Memory => return,
            Place::Simulated(disk) if self.dice.once_in(2) => {
                Some(disk.cut(disk.operations()).everything().disk())
            }
            _ => None,
        };
        self.trace.push(format!("reopen, killed: {}", killed.is_some()));
        if let Some(disk) = killed {
            // The snapshots of the killed one live on, on the disk that it had.
            self.place = Place::Simulated(disk);
        } else {
            for (snapshot, model) in std::mem::take(&mut self.held) {
                self.judge("a held snapshot", compare_scan(&snapshot, &model));
            }
            match self.store().close() {
                Ok(closed) => self.expect_version(closed.version),
                Err(error) => self.fail(&format!("closing: {error}")),
            }
        }
        self.store = None;
        match self.place.open(self.options.clone()) {
            Ok(store) => self.store = Some(store),
            Err(error) => self.fail(&format!("opening: {error}")),
        }
        if let Place::Simulated(disk) = &self.place {
            disk.settle();
        }
        self.compare();
    }

    fn compare(&mut self) {
        let snapshot = self.store().snapshot();
        self.expect_version(snapshot.version());
        let compared = compare(&snapshot, &self.model, &mut self.dice);
        self.judge("the newest", compared);
    }

    fn step(&mut self) {
        match self.dice.below(40) {
            0 => self.checkpoint(),
            1 => self.sync(),
            2 => self.reopen(),
            3..=6 => self.hold(),
            7..=9 => self.look(),
            10 if !self.held.is_empty() => {
                let place = self.dice.below(self.held.len());
                let (snapshot, _) = self.held.swap_remove(place);
                self.trace.push(format!("drop {}", snapshot.version()));
            }
            11 => self.compact(),
            12..=18 => self.burst(),
            _ => self.transaction(),
        }
    }

    fn run(mut self, steps: usize) {
        for _ in 0..steps {
            self.step();
        }
        self.join();
        for (snapshot, model) in std::mem::take(&mut self.held) {
            let compared = compare(&snapshot, &model, &mut self.dice);
            self.judge("a held snapshot", compared);
        }
        self.compare();
        self.reopen();
        self.store().close().expect("the last close");
    }
}

fn run(place: impl Fn() -> Place) {
    let silent = panic::take_hook();
    panic::set_hook(Box::new(move |told| {
        if told.payload().downcast_ref::<&str>() != Some(&"on purpose") {
            silent(told);
        }
    }));
    if let Some(seed) = asked_for("RECTO_MODEL_SEED") {
        return Run::new(seed, place()).run(150);
    }
    for seed in 0..asked_for("RECTO_MODEL_SEEDS").unwrap_or(60) {
        Run::new(seed, place()).run(150);
    }
}

#[test]
fn a_store_on_a_simulated_disk_is_its_model() {
    run(|| Place::Simulated(SimDisk::new()));
}

#[test]
fn a_store_in_memory_is_its_model() {
    run(|| Place::Memory);
}

#[test]
fn a_mapped_store_is_its_model() {
    run(|| Place::Files { dir: tempfile::tempdir().unwrap(), memory_map: true });
}

#[test]
fn a_store_in_files_without_a_map_is_its_model() {
    run(|| Place::Files { dir: tempfile::tempdir().unwrap(), memory_map: false });
}
