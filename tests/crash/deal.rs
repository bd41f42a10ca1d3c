//! Random operations, small and large, that meet each other's keys.
//! Owns: [`Deal`].

use super::{dice::Dice, model::Op};
use std::{ops::Bound, sync::Arc};

/// How wild the operations are.
#[derive(Clone, Copy, Debug)]
pub struct Deal {
    /// How many tables there are.
    pub tables: usize,
    /// How many keys a table can have of each kind.
    pub keys: usize,
    /// The longest value.
    pub value_bytes_max: usize,
}

impl Deal {
    pub fn table(&self, dice: &mut Dice) -> usize {
        // The first one gets most of it, so that it grows deep.
        if dice.once_in(2) { 0 } else { dice.below(self.tables) }
    }

    pub fn key(&self, dice: &mut Dice) -> Vec<u8> {
        let number = dice.below(self.keys);
        match dice.below(20) {
            // Long ones that differ late, some in an overflow run.
            0 => {
                let len = [300, 900, 1024, 1500, 5000][number % 5];
                let mut key = vec![b'a' + (number % 3) as u8; len];
                key.extend_from_slice(&(number as u32).to_be_bytes());
                key
            }
            1 => vec![b'k'; number % 40],
            2..=5 => format!("a/common/prefix/{number:04}").into_bytes(),
            6..=8 => (number as u64).to_be_bytes().to_vec(),
            _ => format!("k{number}").into_bytes(),
        }
    }

    pub fn value(&self, dice: &mut Dice) -> Arc<[u8]> {
        let max = match dice.below(20) {
            0 => self.value_bytes_max,
            1..=3 => self.value_bytes_max.min(6000),
            4..=8 => 1100,
            _ => 100,
        };
        let len = dice.below(max + 1);
        dice.bytes(len).into()
    }

    pub fn insert(&self, dice: &mut Dice) -> Op {
        let (table, key, value) = (self.table(dice), self.key(dice), self.value(dice));
        if dice.once_in(8) {
            return Op::InsertIfAbsent { table, key, value };
        }
        Op::Insert { table, key, value }
    }

    fn bound(&self, dice: &mut Dice) -> Bound<Vec<u8>> {
        match dice.below(12) {
            0 => Bound::Unbounded,
            1..=6 => Bound::Included(self.key(dice)),
            _ => Bound::Excluded(self.key(dice)),
        }
    }

    pub fn range(&self, dice: &mut Dice) -> Op {
        let table = self.table(dice);
        let (from, to) = (self.bound(dice), self.bound(dice));
        if dice.once_in(2) {
            return Op::RemoveRange { table, from, to };
        }
        // A short one: removals must not win.
        let start = dice.below(self.keys);
        let (from, to) = (format!("k{start}"), format!("k{}", start + 7));
        let (from, to) = (from.into_bytes(), to.into_bytes());
        Op::RemoveRange { table, from: Bound::Included(from), to: Bound::Excluded(to) }
    }

    /// What a batch can hold.
    pub fn blind(&self, dice: &mut Dice) -> Op {
        match dice.below(20) {
            0 => self.range(dice),
            1..=6 => Op::Remove { table: self.table(dice), key: self.key(dice) },
            _ => {
                let (table, key, value) = (self.table(dice), self.key(dice), self.value(dice));
                Op::Insert { table, key, value }
            }
        }
    }
}
