//! One session at work: what it asks for is thrown with dice, and what it is told is recorded.
//! Owns: [`Session`], and what keys, values and tables are.

use super::{
    dice::Dice,
    record::{Clock, Event, Key, Kind, Step, Value},
};
use recto::{
    Batch, Commit, Durability, Error, Result, Snapshot, Store, Table, Transaction, WriteTx,
};
use std::{
    collections::VecDeque,
    panic,
    sync::atomic::{AtomicU64, Ordering::SeqCst},
    thread,
    time::Duration,
};

/// Keys 0.. of the tables that transactions use.
pub const KEYS: Key = 256;
/// Read and written by commits whose version nobody tells: it puts them in order.
pub const TURN: Key = KEYS;
/// So many keys of each table; a range stays in one.
const TABLE_KEYS: Key = 64;
const NAMES: [&str; 5] = ["a", "b", "c", "d", "turn"];
/// A session that reads does so once in so many transactions of all.
const READ_EVERY: u64 = 5;
/// Commits that a session has under way at most.
const UNDER_WAY: usize = 8;

pub type Rows = Table<u64, &'static [u8]>;

pub fn table(key: Key) -> Rows {
    Table::new(NAMES[(key / TABLE_KEYS) as usize])
}

/// A value's bytes: some lie in a leaf, some in a run of pages.
fn bytes(value: Value) -> Vec<u8> {
    let padding = match value % 64 {
        0 => 3000,
        1..8 => 400,
        _ => value as usize % 40,
    };
    let mut bytes = value.to_le_bytes().to_vec();
    bytes.extend(Dice::new(value).bytes(padding));
    bytes
}

/// The value of which these are the bytes.
fn value(found: &[u8]) -> Value {
    let value = u64::from_le_bytes(found[..8].try_into().expect("eight bytes"));
    assert_eq!(found, bytes(value), "bytes that nobody wrote");
    value
}

#[derive(Clone)]
enum Act {
    Get(Key),
    Range(Key, Key),
    Put(Key, Value),
    Remove(Key, Value),
    RemoveRange(Key, Key, Value),
}

macro_rules! perform {
    ($name:ident, $tx:ty) => {
        fn $name(tx: &mut $tx, acts: &[Act], steps: &mut Vec<Step>) -> Result<()> {
            for act in acts {
                steps.push(match *act {
                    Act::Get(key) => {
                        Step::Get { key, seen: tx.table(&table(key))?.get(key)?.map(value) }
                    }
                    Act::Range(from, to) => {
                        let rows = tx.table(&table(from))?;
                        let entries = rows.range(from..to)?;
                        let seen = entries.map(|entry| entry.map(|(key, v)| (key, value(v))));
                        Step::Range { from, to, seen: seen.collect::<Result<_>>()? }
                    }
                    Act::Put(key, value) => {
                        let was_new = tx.table(&table(key))?.insert(key, &bytes(value))?;
                        Step::Put { key, value, was_new: Some(was_new) }
                    }
                    Act::Remove(key, mark) => {
                        let was_there = Some(tx.table(&table(key))?.remove(key)?);
                        Step::Remove { key, mark, was_there }
                    }
                    Act::RemoveRange(from, to, mark) => {
                        let removed = Some(tx.table(&table(from))?.remove_range(from..to)?);
                        Step::RemoveRange { from, to, mark, removed }
                    }
                });
            }
            Ok(())
        }
    };
}
perform!(perform, WriteTx<'_>);
perform!(perform_ahead, Transaction);

/// The same as a batch does it; what reads is left out.
fn as_batch(acts: &[Act], durability: Durability) -> (Batch, Vec<Step>) {
    let (mut batch, mut steps) = (Batch::new().durability(durability), Vec::new());
    for act in acts {
        steps.push(match *act {
            Act::Get(_) | Act::Range(..) => continue,
            Act::Put(key, value) => {
                batch.insert(&table(key), key, &bytes(value));
                Step::Put { key, value, was_new: None }
            }
            Act::Remove(key, mark) => {
                batch.remove(&table(key), key);
                Step::Remove { key, mark, was_there: None }
            }
            Act::RemoveRange(from, to, mark) => {
                batch.remove_range(&table(from), from..to);
                Step::RemoveRange { from, to, mark, removed: None }
            }
        });
    }
    (batch, steps)
}

/// Everything in a snapshot.
pub fn scan(snapshot: &Snapshot) -> Result<Vec<(Key, Value)>> {
    let mut content = Vec::new();
    for first in (0..=TURN).step_by(TABLE_KEYS as usize) {
        for entry in snapshot.table(&table(first))?.iter()? {
            let (key, found) = entry?;
            content.push((key, value(found)));
        }
    }
    Ok(content)
}

/// A commit that was handed over and is not answered.
enum Pending {
    Batch(Commit, Vec<Step>),
    Closure(Commit<Vec<Step>>),
}

/// What sessions of one life share.
pub struct Shared<'s> {
    pub store: &'s Store,
    pub clock: &'s Clock,
    /// Transactions of this life so far.
    pub done: &'s AtomicU64,
}

/// A thread that does one thing after another.
pub struct Session<'s> {
    shared: &'s Shared<'s>,
    number: u64,
    last_value: Value,
    dice: Dice,
    under_way: VecDeque<(usize, bool, Pending)>,
    events: Vec<Event>,
}

impl<'s> Session<'s> {
    /// `number` is no other session's, in no life.
    pub fn new(shared: &'s Shared<'s>, number: u64, dice: Dice) -> Session<'s> {
        let (under_way, events) = (VecDeque::new(), Vec::new());
        Session { shared, number, last_value: number << 32, dice, under_way, events }
    }

    /// So many commits, or attempts at them.
    pub fn write(self, count: u64) -> Result<Vec<Event>> {
        let done = self.shared.done;
        let written = self.write_on(count);
        if written.is_err() {
            // Who reads would wait for ever.
            done.fetch_add(u64::from(u32::MAX), SeqCst);
        }
        written
    }

    fn write_on(mut self, count: u64) -> Result<Vec<Event>> {
        while (self.events.len() as u64) < count {
            match self.dice.below(20) {
                0..4 => self.wait_for_closure()?,
                4..9 => self.submit_closure()?,
                9..14 => self.submit_batch()?,
                14..18 => self.try_ahead()?,
                18 => self.transact()?,
                _ => self.undo()?,
            }
            self.shared.done.fetch_add(1, SeqCst);
        }
        while !self.under_way.is_empty() {
            self.settle_first()?;
        }
        Ok(self.events)
    }

    /// So many snapshots, read while the writers do their part.
    pub fn read(mut self, count: u64, by_reader: bool) -> Result<Vec<Event>> {
        let mut reader = self.shared.store.reader();
        for number in 0..count {
            while self.shared.done.load(SeqCst) < number * READ_EVERY {
                thread::sleep(Duration::from_micros(20));
            }
            let called = self.shared.clock.tick();
            let (kind, snapshot) = if by_reader {
                (Kind::Reader, reader.snapshot().clone())
            } else {
                (Kind::Snapshot, self.shared.store.snapshot())
            };
            let at = self.note(kind, called);
            let event = &mut self.events[at];
            event.version = snapshot.version();
            for _ in 0..=self.dice.below(3) {
                let (from, to) = span(&mut self.dice);
                event.steps.push(if self.dice.once_in(3) {
                    let entries = snapshot.table(&table(from))?.range(from..to)?;
                    let seen = entries.map(|entry| entry.map(|(key, v)| (key, value(v))));
                    Step::Range { from, to, seen: seen.collect::<Result<_>>()? }
                } else {
                    let seen = snapshot.table(&table(from))?.get(from)?.map(value);
                    Step::Get { key: from, seen }
                });
            }
            self.shared.done.fetch_add(1, SeqCst);
        }
        Ok(self.events)
    }

    /// Notes an answer that has just come, or in the place of one that will; where.
    fn note(&mut self, kind: Kind, called: u64) -> usize {
        let answered = self.shared.clock.tick();
        let (version, durable, steps) = (0, None, Vec::new());
        let session = self.number;
        self.events.push(Event { session, kind, version, called, answered, durable, steps });
        self.events.len() - 1
    }

    fn value(&mut self) -> Value {
        self.last_value += 1;
        self.last_value
    }

    fn durability(&mut self) -> Durability {
        if self.dice.once_in(4) { Durability::None } else { Durability::Sync }
    }

    /// What a transaction does: reads, writes, and what makes anomalies show if there are any.
    fn acts(&mut self) -> Vec<Act> {
        let (from, to) = span(&mut self.dice);
        let put = |session: &mut Self, key| Act::Put(key, session.value());
        match self.dice.below(12) {
            // Of a pair it reads both and writes one: two of these at once are a write skew.
            0..3 => {
                let pair = [from & !1, from | 1];
                let written = pair[self.dice.below(2)];
                vec![Act::Get(pair[0]), Act::Get(pair[1]), put(self, written)]
            }
            3..6 => vec![Act::Get(from), put(self, from)],
            6 => vec![put(self, from), Act::Get(from), put(self, from), Act::Get(from)],
            7 => {
                let key = span(&mut self.dice).0;
                vec![Act::Range(from, to), put(self, key), Act::Range(from, to)]
            }
            8 => vec![Act::Remove(from, self.value()), Act::Get(from)],
            9 => vec![Act::RemoveRange(from, to.min(from + 4), self.value()), Act::Range(from, to)],
            // Keys of different tables, which are there whole or not at all.
            _ => (0..4).map(|n| put(self, (from + n * TABLE_KEYS) % KEYS)).collect(),
        }
    }

    /// The same behind a turn, for commits that are not told their version.
    fn acts_in_turn(&mut self) -> Vec<Act> {
        let mut acts = vec![Act::Get(TURN), Act::Put(TURN, self.value())];
        acts.extend(self.acts());
        acts
    }

    fn wait_for_closure(&mut self) -> Result<()> {
        let (acts, durability) = (self.acts_in_turn(), self.durability());
        let mut steps = Vec::new();
        let called = self.shared.clock.tick();
        self.shared.store.write_with(durability, |tx| perform(tx, &acts, &mut steps))?;
        let at = self.note(Kind::Closure, called);
        let event = &mut self.events[at];
        event.durable = (durability == Durability::Sync).then_some(event.answered);
        event.steps = steps;
        Ok(())
    }

    fn undo(&mut self) -> Result<()> {
        let (acts, mut steps) = (self.acts(), Vec::new());
        let panics = self.dice.once_in(2);
        let called = self.shared.clock.tick();
        let undone = self.shared.store.write(|tx| {
            perform(tx, &acts, &mut steps)?;
            if panics {
                // Without the words that a panic prints.
                panic::resume_unwind(Box::new("undone"));
            }
            Err::<(), _>(Error::Conflict)
        });
        match undone {
            Err(Error::Conflict | Error::Panicked { .. }) => {}
            other => return other,
        }
        let at = self.note(Kind::Undone, called);
        self.events[at].steps = steps;
        Ok(())
    }

    fn submit_closure(&mut self) -> Result<()> {
        let acts = self.acts();
        let called = self.shared.clock.tick();
        let commit = self.shared.store.submit_with(move |tx| {
            let mut steps = Vec::new();
            perform(tx, &acts, &mut steps).map(|()| steps)
        })?;
        let at = self.note(Kind::Closure, called);
        self.put_under_way(at, true, Pending::Closure(commit))
    }

    fn submit_batch(&mut self) -> Result<()> {
        let durability = self.durability();
        let (batch, steps) = as_batch(&self.acts(), durability);
        let called = self.shared.clock.tick();
        let commit = self.shared.store.submit(batch)?;
        let at = self.note(Kind::Batch, called);
        self.put_under_way(at, durability == Durability::Sync, Pending::Batch(commit, steps))
    }

    fn put_under_way(&mut self, at: usize, is_durable: bool, pending: Pending) -> Result<()> {
        self.under_way.push_back((at, is_durable, pending));
        while self.under_way.len() > self.dice.below(UNDER_WAY) {
            self.settle_first()?;
        }
        Ok(())
    }

    /// Waits for the answers of the commit that has been under way for longest.
    fn settle_first(&mut self) -> Result<()> {
        let (at, is_durable, pending) = self.under_way.pop_front().expect("one is under way");
        let clock = self.shared.clock;
        let (version, answered, steps) = match pending {
            Pending::Batch(commit, steps) => {
                let visible = (commit.visible().wait()?, clock.tick());
                assert_eq!(commit.wait()?, visible.0, "two answers differ");
                (visible.0, visible.1, steps)
            }
            Pending::Closure(commit) => {
                let visible = (commit.visible().wait()?, clock.tick());
                (visible.0, visible.1, commit.wait()?)
            }
        };
        let durable = is_durable.then(|| clock.tick());
        let event = &mut self.events[at];
        (event.version, event.answered, event.durable, event.steps) =
            (version, answered, durable, steps);
        Ok(())
    }

    /// One optimistic transaction; it may be refused.
    fn try_ahead(&mut self) -> Result<()> {
        let (acts, durability) = (self.acts(), self.durability());
        let mut steps = Vec::new();
        let called = self.shared.clock.tick();
        let mut tx = self.shared.store.begin().durability(durability);
        let base = tx.version();
        perform_ahead(&mut tx, &acts, &mut steps)?;
        let (kind, version) = match tx.commit() {
            // Its removals removed nothing.
            Ok(version) if version == base => (Kind::Snapshot, version),
            Ok(version) => (Kind::Optimistic { base }, version),
            Err(Error::Conflict) => (Kind::Conflict { base }, 0),
            Err(error) => return Err(error),
        };
        let at = self.note(kind, called);
        let event = &mut self.events[at];
        (event.version, event.steps) = (version, steps);
        let is_durable = kind.is_commit() && durability == Durability::Sync;
        event.durable = is_durable.then_some(event.answered);
        Ok(())
    }

    /// One that is tried until it is committed, each attempt of its own.
    fn transact(&mut self) -> Result<()> {
        let mut acts = self.acts_in_turn();
        let (clock, last_value) = (self.shared.clock, &mut self.last_value);
        let (mut attempts, mut called) = (Vec::new(), clock.tick());
        self.shared.store.transact(|tx| {
            for act in &mut acts {
                if let Act::Put(_, value) | Act::Remove(_, value) | Act::RemoveRange(_, _, value) =
                    act
                {
                    // What was refused is never written again.
                    *last_value += 1;
                    *value = *last_value;
                }
            }
            attempts.push((tx.version(), called, Vec::new()));
            let (_, _, steps) = attempts.last_mut().expect("just pushed");
            let performed = perform_ahead(tx, &acts, steps);
            // The next attempt begins after this.
            called = clock.tick();
            performed
        })?;
        let last = attempts.len() - 1;
        for (number, (base, called, steps)) in attempts.into_iter().enumerate() {
            let kind =
                if number == last { Kind::Optimistic { base } } else { Kind::Conflict { base } };
            let at = self.note(kind, called);
            let event = &mut self.events[at];
            event.steps = steps;
            event.durable = (number == last).then_some(event.answered);
        }
        Ok(())
    }
}

/// A key of some table, and one above it of the same table, or its end.
fn span(dice: &mut Dice) -> (Key, Key) {
    let from = dice.below(KEYS as usize) as Key;
    let len = if dice.once_in(40) { TABLE_KEYS } else { 1 + dice.below(8) as Key };
    (from, (from + len).min((from / TABLE_KEYS + 1) * TABLE_KEYS))
}

/// The first commit: every key, so that none is read before it was written.
pub fn fill(shared: &Shared<'_>, number: u64) -> Result<Event> {
    let acts: Vec<_> = (0..=TURN).map(|key| Act::Put(key, (number << 32) + 1 + key)).collect();
    let (batch, steps) = as_batch(&acts, Durability::Sync);
    let called = shared.clock.tick();
    let version = shared.store.submit(batch)?.wait()?;
    let answered = shared.clock.tick();
    let (kind, durable) = (Kind::Batch, Some(answered));
    Ok(Event { session: number, kind, version, called, answered, durable, steps })
}
