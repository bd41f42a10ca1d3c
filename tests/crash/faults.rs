//! Every operation failing, once and for good: always a typed error, never a hang or a panic,
//! nothing lost that was acknowledged, and work goes on once the disk is well, unless the store is
//! poisoned.
//! Owns: [`sweep`].

use super::{
    deal::Deal,
    dice::Dice,
    model::{Model, Op, Wrong, compare_scan},
    oracle::options,
    watchdog::Watchdog,
};
use recto::{
    Batch, Durability, Error, Result, Store, Table,
    simulation::{Bug, Failure, Fault, SimDisk},
};
use std::time::{Duration, Instant};

const DEAL: Deal = Deal { tables: 2, keys: 60, value_bytes_max: 9000 };

/// How long a store may take to find out that there is space again.
const RECOVERY: Duration = Duration::from_secs(10);

/// What the store may hold.
#[derive(Clone)]
struct Books {
    /// The content at the first version.
    first: u64,
    /// The content at each version that was answered, from the first on.
    versions: Vec<Model>,
    /// The first version that may be recovered.
    durable: u64,
    /// The content behind the last version, if the commit that failed is on the disk after all.
    unknown: Option<Model>,
    told: Vec<String>,
}

impl Books {
    fn version(&self) -> u64 {
        self.first + self.versions.len() as u64 - 1
    }

    fn last(&self) -> &Model {
        self.versions.last().expect("it begins with one")
    }

    fn commit(&mut self, model: Model, is_durable: bool) {
        self.versions.push(model);
        self.unknown = None;
        if is_durable {
            self.durable = self.version();
        }
    }

    /// Judges what is found on a disk; gives the version.
    fn judge(&self, store: &Store) -> Result<u64, String> {
        let version = store.snapshot().version();
        let model = match version.checked_sub(self.first) {
            Some(index) if (index as usize) < self.versions.len() => &self.versions[index as usize],
            _ if version == self.version() + 1 && self.unknown.is_some() => {
                self.unknown.as_ref().expect("just seen")
            }
            _ => return Err(format!("version {version}, which never was")),
        };
        if version < self.durable {
            return Err(format!("version {version}, though {} is durable", self.durable));
        }
        match compare_scan(&store.snapshot(), model) {
            Ok(()) => Ok(version),
            Err(Wrong::Failed(error)) => Err(format!("reading version {version}: {error}")),
            Err(Wrong::Differs(what)) => Err(format!("version {version}: {what}")),
        }
    }
}

/// Whether a failing disk is allowed to bring this error.
fn is_typed(error: &Error) -> bool {
    matches!(error, Error::Io(_) | Error::Full { .. } | Error::Poisoned | Error::Closed)
}

/// One trial under way.
struct Trial<'t> {
    disk: &'t SimDisk,
    books: Books,
    watchdog: &'t Watchdog,
    place: String,
}

impl Trial<'_> {
    fn fail(&self, what: &str) -> ! {
        for line in &self.books.told {
            eprintln!("  {line}");
        }
        let count = self.disk.operations();
        for index in count.saturating_sub(40)..count {
            eprintln!("  {index}: {}", self.disk.describe(index).unwrap_or_default());
        }
        panic!("{}: {what}", self.place);
    }

    fn tell<T: std::fmt::Debug>(&mut self, what: &str, outcome: &Result<T>) {
        let line = match outcome {
            Ok(value) => format!("{what}: {value:?}, after {}", self.disk.operations()),
            Err(error) => format!("{what}: {error}, after {}", self.disk.operations()),
        };
        self.watchdog.touch(&format!("{}: {line}", self.place));
        self.books.told.push(line);
        if let Err(error) = outcome
            && !is_typed(error)
        {
            self.fail(&format!("{what}: {error:?}"));
        }
    }

    fn write(&mut self, store: &Store, ops: &[Op], durability: Durability) -> bool {
        let mut model = self.books.last().clone();
        for op in ops {
            op.on_model(&mut model);
        }
        let mut batch = Batch::new().durability(durability);
        let outcome = if ops.iter().all(|op| op.on_batch(&mut batch)) {
            store.submit(batch).and_then(recto::Commit::wait).map(drop)
        } else {
            store.write_with(durability, |tx| ops.iter().try_for_each(|op| op.on_tx(tx).map(drop)))
        };
        self.tell(&format!("write of {}", ops.len()), &outcome);
        match outcome {
            Ok(()) => self.books.commit(model, durability == Durability::Sync),
            // Refused before it was looked at.
            Err(Error::Poisoned | Error::Closed) if self.books.unknown.is_some() => {}
            Err(_) => self.books.unknown = Some(model),
        }
        self.books.unknown.is_none()
    }

    fn settle(&mut self, what: &str, outcome: &Result<()>) {
        self.tell(what, outcome);
        if outcome.is_ok() {
            self.books.durable = self.books.version();
        }
    }

    /// What is going on while an operation fails.
    fn work(&mut self, store: &Store) {
        let mut dice = Dice::new(7);
        let small = |dice: &mut Dice| (0..3).map(|_| DEAL.blind(dice)).collect::<Vec<Op>>();
        self.write(store, &small(&mut dice), Durability::Sync);
        self.write(store, &small(&mut dice), Durability::None);
        self.settle("sync", &store.sync());
        for _ in 0..3 {
            let ops: Vec<Op> = (0..3).map(|_| DEAL.insert(&mut dice)).collect();
            self.write(store, &ops, Durability::Sync);
        }
        self.settle("checkpoint", &store.checkpoint());
        let entries = (0..120).map(|_| (DEAL.key(&mut dice), dice.bytes(3000).into()));
        let load = Op::Extend { table: 1, entries: entries.collect() };
        self.write(store, &[load], Durability::Sync);
        // Beyond a segment of the log.
        for _ in 0..5 {
            let (table, key) = (0, DEAL.key(&mut dice));
            let value = dice.bytes(3500).into();
            self.write(store, &[Op::Insert { table, key, value }], Durability::Sync);
        }
        self.write(store, &[Op::Drop { table: 0 }], Durability::Sync);
        self.write(store, &small(&mut dice), Durability::None);
    }

    /// There is space again: the store works, if it is not poisoned; whether it does.
    fn work_again(&mut self, store: &Store) -> bool {
        let began = Instant::now();
        let op = Op::Insert { table: 0, key: b"healed".to_vec(), value: [1; 9].into() };
        loop {
            if self.write(store, std::slice::from_ref(&op), Durability::Sync) {
                return true;
            }
            let last = self.books.told.last().expect("just told");
            if last.contains(&Error::Poisoned.to_string()) {
                return false;
            }
            if began.elapsed() > RECOVERY {
                self.fail("the store does not work again");
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    fn close(&mut self, store: &Store) {
        let closed = store.close();
        self.tell("close", &closed);
        if let Ok(closed) = closed {
            if closed.version != self.books.version() && self.books.unknown.is_none() {
                self.fail(&format!("closed at version {}", closed.version));
            }
            self.books.durable = closed.version.min(self.books.version());
        }
    }

    /// What is left, whether the process goes or the power.
    fn look(&mut self, dice: &mut Dice) {
        let cut = self.disk.cut(self.disk.operations());
        let mut images = vec![cut.everything(), cut.nothing()];
        images.extend(cut.images(dice.next()).step_by(5).take(4));
        for image in images {
            self.watchdog.touch(&format!("{}: {image}", self.place));
            let left = image.disk();
            match options().open_simulated(&left) {
                Ok(store) => {
                    let judged = self.books.judge(&store);
                    judged.unwrap_or_else(|wrong| self.fail(&format!("{image}: {wrong}")));
                }
                Err(error) => self.fail(&format!("{image}: opening: {error}")),
            }
        }
    }

    /// The same process opens what it has left behind.
    fn reopen(&mut self) {
        match options().open_simulated(self.disk) {
            Ok(store) => {
                let judged = self.books.judge(&store);
                let version = judged.unwrap_or_else(|wrong| self.fail(&format!("again: {wrong}")));
                if version > self.books.version() {
                    let model = self.books.unknown.take().expect("judged");
                    self.books.commit(model, true);
                } else {
                    self.books.versions.truncate((version - self.books.first) as usize + 1);
                }
                self.books.unknown = None;
                self.books.durable = version;
                let op = Op::Insert { table: 0, key: b"again".to_vec(), value: [2; 9].into() };
                if !self.write(&store, &[op], Durability::Sync) {
                    self.fail("a healed and reopened store does not work");
                }
                self.close(&store);
            }
            Err(error) => self.fail(&format!("opening again: {error}")),
        }
    }
}

/// What a sweep did.
#[derive(Debug, Default)]
pub struct Swept {
    pub injected: u64,
    pub trials: u64,
    pub poisoned: u64,
    pub refused: u64,
}

/// Lets every operation that `failure` can hit fail in turn, until none is left.
pub fn sweep(base: impl Fn() -> (SimDisk, u64, Model), failure: Failure, sticky: bool) -> Swept {
    let (mut swept, watchdog) = (Swept::default(), Watchdog::begin());
    for nth in 0.. {
        let (disk, first, model) = base();
        let fault = Fault { failure, nth, sticky };
        let books =
            Books { first, versions: vec![model], durable: first, unknown: None, told: Vec::new() };
        let place = format!("{fault:?}");
        let mut trial = Trial { disk: &disk, books, watchdog: &watchdog, place };
        disk.fail(fault);
        let opened = options().open_simulated(&disk);
        trial.tell("open", &opened.as_ref().map(drop).map_err(Error::clone));
        if let Ok(store) = opened {
            trial.work(&store);
            let is_closing = nth % 2 == 0;
            if is_closing {
                trial.close(&store);
            }
            disk.heal();
            if !is_closing {
                swept.poisoned += u64::from(!trial.work_again(&store));
            }
        } else {
            swept.refused += 1;
        }
        disk.heal();
        swept.trials += 1;
        swept.injected += disk.fired();
        trial.look(&mut Dice::new(nth));
        trial.reopen();
        if disk.fired() == 0 {
            break;
        }
    }
    swept
}

/// A close that says it went well left everything on the device, also where the catalog has become
/// longer than what is kept for it.
pub fn close_on_a_full_disk(bug: Option<Bug>) {
    for rounds in 0..60 {
        let disk = SimDisk::new();
        bug.inspect(|bug| disk.seed(*bug));
        let store = options().durability(Durability::None).log_segment_bytes(1 << 20);
        let store = store.open_simulated(&disk).expect("a new store");
        let mut version = 0;
        for round in 0..rounds {
            let filled = store.write(|tx| {
                for name in 0..50 {
                    let name = format!("{round}-{name}-{:0>200}", "");
                    tx.table(&Table::<u8, &[u8]>::named(name)).map(drop)?;
                }
                Ok(())
            });
            match filled {
                Ok(()) => version += 1,
                Err(Error::Full { .. }) => break,
                Err(error) => panic!("on a full disk: {error}"),
            }
            disk.limit(Some(disk.used_bytes()));
        }
        let closed = store.close().map(|closed| closed.version);
        drop(store);
        let left = disk.cut(disk.operations()).nothing().disk();
        let again =
            options().log_segment_bytes(1 << 20).open_simulated(&left).expect("what is left opens");
        let found = again.snapshot().version();
        assert!(closed.is_err() || found == version, "{closed:?}, {found} of {version} are left");
    }
}
