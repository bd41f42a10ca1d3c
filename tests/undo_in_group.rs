//! Requests of one group change each other's pages in place; one that fails is undone alone all the
//! same. Groups of random requests, some of which fail half way, against a model.

use recto::{Batch, Commit, Error, Options, Result, Snapshot, Store, Table, WriteTx};
use std::{
    collections::BTreeMap,
    ops::Range,
    sync::mpsc::{self, Sender},
};

const ROWS: Table<u64, &[u8]> = Table::new("rows");
const OTHER: Table<u64, &[u8]> = Table::new("other");
const TABLES: [Table<u64, &[u8]>; 2] = [ROWS, OTHER];
const GROUPS: usize = 150;

type Model = [BTreeMap<u64, Vec<u8>>; 2];

/// A stream of numbers (xorshift64).
struct Dice(u64);

impl Dice {
    fn below(&mut self, end: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % end
    }
}

#[derive(Clone)]
enum Change {
    Insert(usize, u64, Vec<u8>),
    Remove(usize, u64),
    RemoveRange(usize, Range<u64>),
    Clear(usize),
    Drop(usize),
}

fn change(dice: &mut Dice) -> Change {
    let (table, key) = (dice.below(2) as usize, dice.below(400));
    match dice.below(100) {
        0..60 => {
            let long = if dice.below(12) == 0 { 9_000 } else { 90 };
            Change::Insert(table, key, vec![key as u8; dice.below(long) as usize])
        }
        60..90 => Change::Remove(table, key),
        90..98 => Change::RemoveRange(table, key..key + dice.below(60)),
        98 => Change::Clear(table),
        _ => Change::Drop(table),
    }
}

impl Change {
    fn apply(&self, tx: &mut WriteTx<'_>) -> Result<()> {
        match self {
            Change::Insert(table, key, value) => {
                tx.table(&TABLES[*table])?.insert(*key, value).map(drop)
            }
            Change::Remove(table, key) => tx.table(&TABLES[*table])?.remove(*key).map(drop),
            Change::RemoveRange(table, keys) => {
                tx.table(&TABLES[*table])?.remove_range(keys.clone()).map(drop)
            }
            Change::Clear(table) => tx.table(&TABLES[*table])?.clear().map(drop),
            Change::Drop(table) => tx.drop_table(["rows", "other"][*table]).map(drop),
        }
    }

    fn model(&self, model: &mut Model) {
        match self {
            Change::Insert(table, key, value) => _ = model[*table].insert(*key, value.clone()),
            Change::Remove(table, key) => _ = model[*table].remove(key),
            Change::RemoveRange(table, keys) => model[*table].retain(|key, _| !keys.contains(key)),
            Change::Clear(table) | Change::Drop(table) => model[*table].clear(),
        }
    }
}

/// The writer waits in a closure until the sender is dropped; what comes meanwhile is one group.
fn hold(store: &Store) -> Result<(Sender<()>, Commit<()>)> {
    let (release, held) = mpsc::channel();
    let (entered, inside) = mpsc::channel();
    let commit = store.submit_with(move |_| {
        entered.send(()).expect("the test waits");
        // Ends when the other end is dropped.
        let _ = held.recv();
        Ok(())
    })?;
    inside.recv().expect("the closure runs");
    Ok((release, commit))
}

/// Hands over one group of random requests; what the model says comes of them.
fn group(store: &Store, dice: &mut Dice, model: &mut Model) -> Result<()> {
    let (release, held) = hold(store)?;
    let (mut batches, mut closures) = (Vec::new(), Vec::new());
    for _ in 0..=dice.below(40) {
        let changes: Vec<Change> = (0..=dice.below(6)).map(|_| change(dice)).collect();
        let fate = dice.below(8);
        if dice.below(3) == 0 {
            let mut batch = Batch::new();
            for change in &changes {
                match change {
                    Change::Insert(table, key, value) => {
                        batch.insert(&TABLES[*table], *key, value);
                    }
                    Change::Remove(table, key) => _ = batch.remove(&TABLES[*table], *key),
                    Change::RemoveRange(table, keys) => {
                        batch.remove_range(&TABLES[*table], keys.clone());
                    }
                    Change::Clear(_) | Change::Drop(_) => continue,
                }
                change.model(model);
            }
            batches.push(store.submit(batch)?);
            continue;
        }
        if fate > 1 {
            for change in &changes {
                change.model(model);
            }
        }
        closures.push((
            fate,
            store.submit_with(move |tx| {
                changes.iter().try_for_each(|change| change.apply(tx))?;
                match fate {
                    0 => Err(Error::Conflict),
                    1 => panic!("a closure's own panic"),
                    _ => Ok(()),
                }
            })?,
        ));
    }
    drop(release);
    held.wait()?;
    for batch in batches {
        batch.wait()?;
    }
    for (fate, commit) in closures {
        match (fate, commit.wait()) {
            (0, Err(Error::Conflict)) | (1, Err(Error::Panicked { .. })) | (2.., Ok(())) => {}
            (fate, answer) => panic!("a closure of fate {fate} was answered {answer:?}"),
        }
    }
    Ok(())
}

fn entries(snapshot: &Snapshot, table: &Table<u64, &[u8]>) -> Result<BTreeMap<u64, Vec<u8>>> {
    let table = snapshot.table(table)?;
    table.iter()?.map(|entry| entry.map(|(key, value)| (key, value.to_vec()))).collect()
}

fn shown(snapshot: &Snapshot) -> Result<Model> {
    Ok([entries(snapshot, &ROWS)?, entries(snapshot, &OTHER)?])
}

#[test]
fn what_fails_within_a_group_is_undone_alone() -> Result<()> {
    std::panic::set_hook(Box::new(|_| ()));
    for seed in 1..=4 {
        let (mut dice, mut model) = (Dice(seed * 0x9E37_79B9), Model::default());
        let dir = tempfile::tempdir().unwrap();
        let options = Options::new().durability(recto::Durability::None).dirty_bytes(512 << 10);
        let store = options.clone().open(dir.path())?;
        for number in 0..GROUPS {
            let before = store.snapshot();
            let (version, was) = (before.version(), model.clone());
            group(&store, &mut dice, &mut model)?;
            assert_eq!(shown(&store.snapshot())?, model, "seed {seed}, group {number}");
            assert!(store.snapshot().version() > version);
            // What was published is not touched by what is changed in place.
            assert_eq!(shown(&before)?, was, "seed {seed}, before group {number}");
            if number % 10 == 0 {
                store.check()?;
            }
        }
        drop(store);
        let store = options.open(dir.path())?;
        assert_eq!(shown(&store.snapshot())?, model, "seed {seed}, reopened");
        store.check()?;
    }
    Ok(())
}
