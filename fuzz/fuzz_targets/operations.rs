//! A store on a simulated disk against a `BTreeMap`: transactions, batches, bulk loads, pinned
//! snapshots, reopenings, power cuts, and a device that fails. What was answered is there; what was
//! not is there whole or not at all.
#![no_main]

use arbitrary::Arbitrary;
use libfuzzer_sys::fuzz_target;
use recto::{
    Batch, Budget, Error, Options, Result, Snapshot, Store, Table,
    simulation::{Failure, Fault, SimDisk},
};
use recto_fuzz::Bytes;
use std::{collections::BTreeMap, ops::Bound};

const TABLE: Table<&[u8], &[u8]> = Table::new("entries");

type Model = BTreeMap<Vec<u8>, Vec<u8>>;

#[derive(Arbitrary, Debug)]
struct Input {
    page_size: u8,
    steps: Vec<Step>,
}

#[derive(Arbitrary, Debug)]
enum Step {
    Write { changes: Vec<Change>, is_kept: bool },
    Batch(Vec<Change>),
    Extend { count: u16, seed: u8, len: u16 },
    Pin,
    Unpin(u8),
    Read(Bytes),
    Range(Bytes, Bytes, bool),
    Checkpoint,
    Check,
    Reopen,
    PowerCut(u8),
    Fail(u8, u8, bool),
    Compact { budget: u8, steps: u8 },
}

#[derive(Arbitrary, Debug)]
enum Change {
    Insert(Bytes, Bytes),
    InsertIfAbsent(Bytes, Bytes),
    Remove(Bytes),
    RemoveRange(Bytes, Bytes),
    Clear,
}

struct Bench {
    options: Options,
    disk: SimDisk,
    store: Option<Store>,
    model: Model,
    pinned: Vec<(Snapshot, Model)>,
    /// A fault is set, so any call may fail.
    is_faulty: bool,
}

impl Change {
    fn to_model(&self, model: &mut Model) {
        match self {
            Change::Insert(key, value) => drop(model.insert(key.bytes(), value.bytes())),
            Change::InsertIfAbsent(key, value) => {
                model.entry(key.bytes()).or_insert_with(|| value.bytes());
            }
            Change::Remove(key) => drop(model.remove(&key.bytes())),
            Change::RemoveRange(from, to) => {
                let (from, to) = (from.bytes(), to.bytes());
                model.retain(|key, _| !(from <= *key && *key < to));
            }
            Change::Clear => model.clear(),
        }
    }
}

impl Bench {
    fn store(&self) -> &Store {
        self.store.as_ref().expect("a store is open between steps")
    }

    fn open(&mut self) {
        let opened = self.options.clone().open_simulated(&self.disk);
        let opened = if self.is_faulty && opened.is_err() {
            self.heal();
            self.options.clone().open_simulated(&self.disk)
        } else {
            opened
        };
        self.store = Some(opened.expect("a store of our own opens"));
    }

    fn heal(&mut self) {
        self.disk.heal();
        self.is_faulty = false;
    }

    /// After a call that changes the model to `next`, if it succeeded.
    fn settle<T>(&mut self, next: Model, outcome: Result<T>) {
        match outcome {
            Ok(_) => self.model = next,
            Err(error) => {
                assert!(self.is_faulty, "{error}");
                self.heal();
                self.reopen();
                let found = read_all(&self.store().snapshot()).expect("healed");
                assert!(found == self.model || found == next, "half of a failed change is there");
                self.model = found;
            }
        }
    }

    fn reopen(&mut self) {
        self.pinned.clear();
        self.store = None;
        self.open();
    }

    /// The power goes, and comes back with one of the images that this may leave.
    fn cut_power(&mut self, choice: u8) {
        let cut = self.disk.cut(self.disk.operations());
        let image = match choice {
            0 => cut.everything(),
            1 => cut.nothing(),
            n => cut.images(u64::from(n)).nth(usize::from(n) % 16).unwrap_or(cut.nothing()),
        };
        self.pinned.clear();
        self.store = None;
        self.heal();
        self.disk = image.disk();
        self.open();
    }

    fn write(&mut self, changes: &[Change], is_kept: bool) {
        let mut next = self.model.clone();
        changes.iter().for_each(|change| change.to_model(&mut next));
        let outcome = self.store().write(|tx| {
            let mut table = tx.table(&TABLE)?;
            for change in changes {
                match change {
                    Change::Insert(key, value) => {
                        table.insert(&key.bytes(), &value.bytes()).map(drop)?;
                    }
                    Change::InsertIfAbsent(key, value) => {
                        table.insert_if_absent(&key.bytes(), &value.bytes()).map(drop)?;
                    }
                    Change::Remove(key) => table.remove(&key.bytes()).map(drop)?,
                    Change::RemoveRange(from, to) => {
                        let (from, to) = (from.bytes(), to.bytes());
                        table.remove_range(from.as_slice()..to.as_slice()).map(drop)?;
                    }
                    Change::Clear => table.clear().map(drop)?,
                }
            }
            if is_kept { Ok(()) } else { Err(Error::Conflict) }
        });
        match outcome {
            Err(Error::Conflict) if !is_kept => {}
            outcome => self.settle(next, outcome),
        }
    }

    fn batch(&mut self, changes: &[Change]) {
        let (mut next, mut batch) = (self.model.clone(), Batch::new());
        for change in changes {
            match change {
                Change::Insert(key, value) | Change::InsertIfAbsent(key, value) => {
                    next.insert(key.bytes(), value.bytes());
                    batch.insert(&TABLE, &key.bytes(), &value.bytes());
                }
                Change::Remove(key) => {
                    next.remove(&key.bytes());
                    batch.remove(&TABLE, &key.bytes());
                }
                Change::RemoveRange(from, to) => {
                    change.to_model(&mut next);
                    let (from, to) = (from.bytes(), to.bytes());
                    batch.remove_range(&TABLE, from.as_slice()..to.as_slice());
                }
                Change::Clear => {}
            }
        }
        let outcome = self.store().submit(batch).and_then(recto::Commit::wait);
        self.settle(next, outcome);
    }

    fn extend(&mut self, count: u16, seed: u8, len: u16) {
        let value = vec![seed; usize::from(len) % 2000];
        let number = |i: u16| u32::from(i).wrapping_mul(0x9E37_79B1 + 2 * u32::from(seed));
        let keys: Vec<[u8; 4]> = (0..count % 1500).map(|i| number(i).to_be_bytes()).collect();
        let mut next = self.model.clone();
        next.extend(keys.iter().map(|key| (key.to_vec(), value.clone())));
        let outcome = self.store().write(|tx| {
            let entries = keys.iter().map(|key| (&key[..], &value[..]));
            tx.table(&TABLE)?.extend(entries).map(drop)
        });
        self.settle(next, outcome);
    }

    fn step(&mut self, step: &Step) {
        match step {
            Step::Write { changes, is_kept } => self.write(changes, *is_kept),
            Step::Batch(changes) => self.batch(changes),
            Step::Extend { count, seed, len } => self.extend(*count, *seed, *len),
            Step::Pin if self.pinned.len() < 8 => {
                self.pinned.push((self.store().snapshot(), self.model.clone()));
            }
            Step::Pin => {}
            Step::Unpin(i) if !self.pinned.is_empty() => {
                let (snapshot, model) =
                    self.pinned.swap_remove(usize::from(*i) % self.pinned.len());
                self.tolerate(read_all(&snapshot).map(|found| assert!(found == model)));
            }
            Step::Unpin(_) => {}
            Step::Read(key) => {
                let key = key.bytes();
                let found = self.store().get(&TABLE, &key);
                let expected = self.model.get(&key).cloned();
                self.tolerate(found.map(|found| assert_eq!(found, expected)));
            }
            Step::Range(from, to, is_reverse) => {
                let found = read_range(self.store(), &from.bytes(), &to.bytes(), *is_reverse);
                let expected = expected_range(&self.model, &from.bytes(), &to.bytes(), *is_reverse);
                self.tolerate(found.map(|found| assert!(found == expected)));
            }
            Step::Checkpoint => {
                let (next, outcome) = (self.model.clone(), self.store().checkpoint());
                self.settle(next, outcome);
            }
            Step::Compact { budget, steps } => {
                let (next, budget) = (self.model.clone(), Budget::pages(usize::from(*budget)));
                let mut steps = (0..=*steps).map(|_| self.store().compact(budget));
                let last = steps.find(|step| step.as_ref().map_or(true, |step| step.is_done));
                self.settle(next, last.map_or(Ok(()), |step| step.map(drop)));
            }
            Step::Check => {
                let checked = self.store().check().map(drop);
                self.tolerate(checked);
            }
            Step::Reopen => self.reopen(),
            Step::PowerCut(choice) => self.cut_power(*choice),
            Step::Fail(what, nth, sticky) => {
                use Failure::{Io, NoSpace, Read, ShortWrite, Sync};
                let failure = [Io, NoSpace, ShortWrite, Sync, Read][usize::from(*what) % 5];
                self.disk.fail(Fault { failure, nth: u64::from(*nth % 32), sticky: *sticky });
                self.is_faulty = true;
            }
        }
    }

    /// Only a faulty device, or what it has left poisoned, excuses an error.
    fn tolerate(&self, outcome: Result<()>) {
        if let Err(error) = outcome {
            assert!(self.is_faulty, "{error}");
        }
    }
}

fn read_all(snapshot: &Snapshot) -> Result<Model> {
    let table = snapshot.table(&TABLE)?;
    let found: Result<Model> =
        table.iter()?.map(|entry| entry.map(|(key, value)| (key.into(), value.into()))).collect();
    let found = found?;
    assert_eq!(found.len() as u64, table.len()?);
    Ok(found)
}

type Entries = Vec<(Vec<u8>, Vec<u8>)>;

fn read_range(store: &Store, from: &[u8], to: &[u8], is_reverse: bool) -> Result<Entries> {
    store.read(|view| {
        let range = view.table(&TABLE)?.range(from..to)?;
        let owned = |entry: Result<(&[u8], &[u8])>| entry.map(|(k, v)| (k.to_vec(), v.to_vec()));
        if is_reverse { range.rev().map(owned).collect() } else { range.map(owned).collect() }
    })
}

fn expected_range(model: &Model, from: &[u8], to: &[u8], is_reverse: bool) -> Entries {
    if from >= to {
        return Vec::new();
    }
    let bounds = (Bound::Included(from), Bound::Excluded(to));
    let range = model.range::<[u8], _>(bounds).map(|(k, v)| (k.clone(), v.clone()));
    if is_reverse { range.rev().collect() } else { range.collect() }
}

fuzz_target!(|input: Input| {
    let options = Options::new()
        .page_bytes(4096 << (input.page_size % 4))
        .dirty_bytes(256 << 10)
        .log_segment_bytes(16 << 10)
        .queue_capacity(4);
    let (disk, model) = (SimDisk::new(), Model::new());
    let (store, pinned, is_faulty) = (None, Vec::new(), false);
    let mut bench = Bench { options, disk, store, model, pinned, is_faulty };
    bench.open();
    for step in input.steps.iter().take(40) {
        bench.step(step);
    }
    bench.heal();
    bench.reopen();
    let found = read_all(&bench.store().snapshot()).expect("healed");
    assert!(found == bench.model, "the store differs from the model");
    bench.store().check().expect("a store of our own is whole");
});
