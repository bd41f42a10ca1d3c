//! What a transaction should have been told, of the content that it read.
//! Owns: [`Model`], [`replay`], and [`Origins`]: who wrote a value.

use super::{
    checker::{intermediate, written},
    finding::Slip,
    record::{History, Key, Step, Value},
};
use std::{
    collections::{BTreeMap, HashMap},
    fmt,
};

pub type Model = BTreeMap<Key, Value>;
/// What a transaction wrote itself; none: it removed the key.
type Own = BTreeMap<Key, Option<Value>>;

/// The first answer that was not as it should have been.
#[derive(Clone, Debug)]
pub struct Mismatch {
    /// None if it is no key's: a count, or whether there was one.
    pub key: Option<Key>,
    pub seen: Option<Value>,
    pub expected: Option<Value>,
    /// A range showed the key and should not have, or the other way round.
    pub is_phantom: bool,
    /// The transaction had written the key itself.
    pub is_own: bool,
}

impl fmt::Display for Mismatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Mismatch { key, seen, expected, .. } = self;
        write!(f, "key {key:?} showed {seen:?} and not {expected:?}")
    }
}

/// Does the steps over `model`, which stays as it is: the first mismatch, and what was written.
pub fn replay(steps: &[Step], model: &Model) -> (Option<Mismatch>, Own) {
    let (mut own, mut mismatch) = (Own::new(), None);
    for step in steps {
        let wrong = do_step(step, model, &mut own);
        mismatch = mismatch.or(wrong);
    }
    (mismatch, own)
}

fn get(model: &Model, own: &Own, key: Key) -> Option<Value> {
    own.get(&key).copied().unwrap_or_else(|| model.get(&key).copied())
}

fn range(model: &Model, own: &Own, from: Key, to: Key) -> Model {
    let mut rows: Model = model.range(from..to).map(|(key, value)| (*key, *value)).collect();
    for (key, value) in own.range(from..to) {
        match value {
            Some(value) => rows.insert(*key, *value),
            None => rows.remove(key),
        };
    }
    rows
}

fn do_step(step: &Step, model: &Model, own: &mut Own) -> Option<Mismatch> {
    let outcome = |is_right: bool| {
        let (key, seen, expected) = (None, None, None);
        (!is_right).then_some(Mismatch { key, seen, expected, is_phantom: false, is_own: false })
    };
    match step {
        Step::Get { key, seen } => {
            let expected = get(model, own, *key);
            let is_own = own.contains_key(key);
            (*seen != expected).then_some(Mismatch {
                key: Some(*key),
                seen: *seen,
                expected,
                is_phantom: false,
                is_own,
            })
        }
        Step::Range { from, to, seen } => {
            let expected = range(model, own, *from, *to);
            if seen.iter().map(|(key, value)| (key, value)).eq(&expected) {
                return None;
            }
            let shown: Model = seen.iter().copied().collect();
            let keys = shown.keys().chain(expected.keys());
            let Some(key) = keys.copied().find(|key| shown.get(key) != expected.get(key)) else {
                // The right entries, in a wrong order or twice.
                return outcome(false);
            };
            let (seen, expected) = (shown.get(&key).copied(), expected.get(&key).copied());
            let is_phantom = seen.is_none() != expected.is_none();
            let is_own = own.contains_key(&key);
            Some(Mismatch { key: Some(key), seen, expected, is_phantom, is_own })
        }
        Step::Put { key, value, was_new } => {
            let is_new = get(model, own, *key).is_none();
            own.insert(*key, Some(*value));
            outcome(was_new.is_none_or(|was_new| was_new == is_new))
        }
        Step::Remove { key, was_there, .. } => {
            let is_there = get(model, own, *key).is_some();
            own.insert(*key, None);
            outcome(was_there.is_none_or(|was_there| was_there == is_there))
        }
        Step::RemoveRange { from, to, removed, .. } => {
            let there = range(model, own, *from, *to);
            own.extend(there.keys().map(|key| (*key, None)));
            outcome(removed.is_none_or(|removed| removed == there.len() as u64))
        }
    }
}

struct Origin {
    life: usize,
    /// None: it was undone.
    version: Option<u64>,
    /// It was replaced by the transaction that wrote it.
    is_intermediate: bool,
    /// The power cut behind its life kept it.
    is_kept: bool,
}

/// Who wrote each value.
pub struct Origins(HashMap<Value, Origin>);

impl Origins {
    pub fn of(history: &History) -> Origins {
        let mut origins = HashMap::new();
        for (life, lived) in history.lives.iter().enumerate() {
            for event in lived.events.iter().filter(|event| !event.kind.is_read_only()) {
                let version = event.kind.is_commit().then_some(event.version);
                let is_kept = event.version <= lived.end.version;
                for step in event.steps.iter().filter(|step| !written(step).is_empty()) {
                    if let Step::Put { value, .. } = step {
                        let origin = Origin { life, version, is_intermediate: false, is_kept };
                        origins.insert(*value, origin);
                    }
                }
                for value in intermediate(event) {
                    if let Some(origin) = origins.get_mut(&value) {
                        origin.is_intermediate = true;
                    }
                }
            }
        }
        Origins(origins)
    }

    /// Why nobody may have seen this value in that life at that version; none if it was there once.
    pub fn slip(&self, value: Value, (life, version): (usize, u64)) -> Option<Slip> {
        let Some(origin) = self.0.get(&value) else { return Some(Slip::UnknownValue) };
        let Some(written) = origin.version else { return Some(Slip::DirtyRead) };
        if origin.is_intermediate {
            return Some(Slip::IntermediateRead);
        }
        if (origin.life, written) > (life, version) {
            return Some(Slip::FutureRead);
        }
        (origin.life < life && !origin.is_kept).then_some(Slip::CameBack)
    }
}
