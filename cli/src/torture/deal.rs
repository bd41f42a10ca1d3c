//! What commit number `n` of a lane does: told by seed, lane and number alone, so that whoever
//! knows how far a lane came knows everything that must be there.
//! Owns: [`Commit`], [`Op`], [`Model`].

use super::dice::Dice;
use recto::Durability;
use std::{collections::BTreeMap, time::Duration};

/// The keys of a lane's table.
const KEYS: u64 = 200;
/// The number of a commit, from 1 up; 0 before the first.
pub type Number = u64;

/// How a commit is handed in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// A closure that is not waited for at once.
    Closure,
    /// A closure that borrows, waited for.
    Borrowing,
    /// A batch.
    Batch,
}

/// One change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Op {
    /// Puts the value that key and commit tell, of so many bytes.
    Put { key: u64, value_bytes: u32 },
    /// Removes a key, there or not.
    Remove { key: u64 },
    /// Removes the keys from `from` to `to`, which is not among them.
    RemoveRange { from: u64, to: u64 },
    /// Fills the lane's spare table anew with so many entries.
    Fill { entries: u64 },
    /// Drops the spare table, there or not.
    DropSpare,
}

/// When a commit is answered, for a whole life or for one commit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Level {
    /// After the sync of its group
    Sync,
    /// When visible; synced when 100 wait
    Every100,
    /// When visible; synced within 10 ms
    Interval,
    /// When visible
    None,
    /// Each commit as it likes
    Mixed,
}

impl Level {
    /// One of those of a life.
    pub fn of_life(dice: &mut Dice) -> Level {
        let all = [Level::Sync, Level::Every100, Level::Interval, Level::None, Level::Mixed];
        all[dice.below(5) as usize]
    }

    /// What commits get that say nothing.
    pub fn durability(self) -> Durability {
        match self {
            Level::Sync | Level::Mixed => Durability::Sync,
            Level::Every100 => Durability::EveryCommits(EVERY),
            Level::Interval => Durability::Interval(Duration::from_millis(10)),
            Level::None => Durability::None,
        }
    }
}

/// How many commits a power cut may take at [`Level::Every100`].
pub const EVERY: u32 = 100;

/// What a lane asks of the store after a commit; it takes no version.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Then {
    Checkpoint,
    Sync,
    Nothing,
}

/// One commit of a lane.
pub struct Commit {
    /// How it is handed in.
    pub way: Way,
    /// What it changes, in this order, beside the lane's count.
    pub ops: Vec<Op>,
    /// Its durability in a life of mixed ones.
    pub level: Level,
    /// Whether the lane asks for the durable answer too.
    pub asks_durable: bool,
    /// Whether a transaction that fails goes before it.
    pub after_doomed: bool,
    /// What is asked for after it.
    pub then: Then,
}

impl Commit {
    /// Commit `number` of `lane`.
    pub fn deal(seed: u64, lane: u64, number: Number) -> Commit {
        let mut dice = Dice::new(seed, [lane, number]);
        let mut way = [Way::Closure, Way::Borrowing, Way::Batch][dice.below(3) as usize];
        let mut ops = Vec::new();
        match dice.below(200) {
            0 => ops.push(Op::Fill { entries: 500 + dice.below(3000) }),
            1 => {
                ops.push(Op::DropSpare);
                // A batch holds entries alone.
                way = Way::Closure;
            }
            _ => {}
        }
        for _ in 0..=dice.below(8) {
            ops.push(match dice.below(40) {
                0 => {
                    let from = dice.below(KEYS);
                    Op::RemoveRange { from, to: from + dice.below(20) }
                }
                1..=10 => Op::Remove { key: dice.below(KEYS) },
                _ => Op::Put { key: dice.below(KEYS), value_bytes: value_bytes(&mut dice) },
            });
        }
        let levels = [Level::Sync, Level::Every100, Level::Interval, Level::None];
        Commit {
            way,
            ops,
            level: levels[dice.below(4) as usize],
            asks_durable: dice.once_in(8),
            after_doomed: dice.once_in(20),
            then: match dice.below(300) {
                0..2 => Then::Checkpoint,
                2..6 => Then::Sync,
                _ => Then::Nothing,
            },
        }
    }
}

/// Within a page, beyond a quarter of one, or large.
fn value_bytes(dice: &mut Dice) -> u32 {
    let bytes = match dice.below(300) {
        0 => 20_000 + dice.below(300_000),
        1..=12 => 1000 + dice.below(12_000),
        _ => dice.below(400),
    };
    bytes as u32
}

/// The bytes that commit `number` of a lane puts under `key`.
pub fn value(key: u64, number: Number, bytes: u32) -> Vec<u8> {
    let mut dice = Dice::new(number, [key, u64::from(bytes)]);
    let mut value = Vec::with_capacity(bytes as usize + 8);
    while value.len() < bytes as usize {
        value.extend_from_slice(&dice.next().to_le_bytes());
    }
    value.truncate(bytes as usize);
    value
}

/// The length of the values in a spare table.
pub const SPARE_VALUE_BYTES: u32 = 120;

/// What a lane's tables hold after some commit.
#[derive(Clone, Default)]
pub struct Model {
    /// The last commit.
    pub number: Number,
    /// By key: the commit that put it, and the value's length.
    pub entries: BTreeMap<u64, (Number, u32)>,
    /// The commit that filled the spare table, and with how many entries; none if there is none.
    pub spare: Option<(Number, u64)>,
}

impl Model {
    /// Makes all commits up to `number`.
    pub fn advance(&mut self, seed: u64, lane: u64, number: Number) {
        while self.number < number {
            self.number += 1;
            for op in Commit::deal(seed, lane, self.number).ops {
                self.apply(op);
            }
        }
    }

    fn apply(&mut self, op: Op) {
        match op {
            Op::Put { key, value_bytes } => {
                self.entries.insert(key, (self.number, value_bytes));
            }
            Op::Remove { key } => {
                self.entries.remove(&key);
            }
            Op::RemoveRange { from, to } => self.entries.retain(|key, _| *key < from || *key >= to),
            Op::Fill { entries } => self.spare = Some((self.number, entries)),
            Op::DropSpare => self.spare = None,
        }
    }
}
