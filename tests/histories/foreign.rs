//! The same histories in the words of the crate `adya`, which infers from reads and writes of
//! registers, and from the order of commits, who depends on whom, and looks for cycles.
//! Owns: [`judge`].
//!
//! What had to be put otherwise: a range is a read of each of its keys. A removal writes a value
//! that tells that it was one, and a key that was not there was read as the last removal, if it was
//! the last to change the key at the version that was read; else as never written. Of what a power
//! cut took only what was acknowledged is left, so that it can be missed.

use super::{
    record::{Event, History, Key, Kind, Life, Step, Value},
    work::KEYS,
};
use adya::{
    Opts, Report, Workload, check,
    history::{Id, Interner, Mop, Op, OpType, ReadValue, Scalar},
};
use std::{
    collections::{BTreeMap, HashMap},
    time::Duration,
};

/// How adya judges it. Without `readers` what was read by a `Reader` is left out: in real time it
/// may be behind what somebody else has seen, though never behind what was answered.
pub fn judge(history: &History, model: &str, readers: bool) -> Report {
    let (ops, interner, order) = Account::of(history, readers);
    let options = Opts {
        models: vec![model.to_owned()],
        timeout: Duration::from_secs(2),
        transaction_order: Some(order),
        ..Opts::default()
    };
    check(&adya::History::from_ops(ops, interner), Workload::RwRegister, &options)
}

/// Where a transaction stands: its life and its version.
type Place = (usize, u64);

/// One transaction as it is told.
struct Told<'h> {
    event: &'h Event,
    place: Place,
    called: u64,
    answered: u64,
}

#[derive(Default)]
struct Account {
    interner: Interner,
    /// What each key was given last, by place: none if it was removed, then with the mark.
    given: HashMap<Key, BTreeMap<Place, (Option<Value>, Value)>>,
}

impl Account {
    fn of(history: &History, readers: bool) -> (Vec<Op>, Interner, HashMap<u64, i64>) {
        let scans: Vec<Event> = history.lives.iter().map(scan).collect();
        let mut told = Vec::new();
        for ((number, life), scan) in history.lives.iter().enumerate().zip(&scans) {
            let kept = life.events.iter().filter(|event| is_kept(life, event));
            told.extend(kept.filter(|event| readers || event.kind != Kind::Reader).map(|event| {
                let read = if event.kind.is_commit() { None } else { event.kind.base() };
                Told {
                    event,
                    place: (number, read.unwrap_or(event.version)),
                    called: event.called,
                    answered: event.answered.min(life.end.after),
                }
            }));
            // Nobody has this stamp but the end of the life itself.
            let after = life.end.after;
            told.push(Told {
                event: scan,
                place: (number, life.end.version),
                called: after,
                answered: after,
            });
        }
        let mut account = Account::default();
        for told in told.iter().filter(|told| told.event.kind.is_commit()) {
            account.note(told);
        }
        account.tell(&told)
    }

    fn note(&mut self, told: &Told<'_>) {
        for step in &told.event.steps {
            let mut give = |key, value, mark| {
                self.given.entry(key).or_default().insert(told.place, (value, mark));
            };
            match step {
                Step::Put { key, value, .. } => give(*key, Some(*value), *value),
                Step::Remove { key, mark, .. } => give(*key, None, *mark),
                Step::RemoveRange { from, to, mark, .. } => {
                    (*from..*to).for_each(|key| give(key, None, *mark));
                }
                Step::Get { .. } | Step::Range { .. } => {}
            }
        }
    }

    /// Calls and answers in the order of their stamps.
    fn tell(mut self, told: &[Told<'_>]) -> (Vec<Op>, Interner, HashMap<u64, i64>) {
        // A scan's answer comes behind its call, and its call behind the answers that it cut off.
        let mut moments: Vec<_> = (0..told.len())
            .flat_map(|at| {
                let Told { called, answered, .. } = told[at];
                let is_scan = called == answered;
                [(called, u8::from(is_scan), false, at), (answered, u8::from(is_scan), true, at)]
            })
            .collect();
        moments.sort_unstable();
        let mut places: Vec<Place> =
            told.iter().filter(|t| t.event.kind.is_commit()).map(|t| t.place).collect();
        places.sort_unstable();
        let (mut ops, mut order) = (Vec::new(), HashMap::new());
        let mut lanes = Lanes::default();
        for (_, _, is_answer, at) in moments {
            let told = &told[at];
            let index = ops.len() as u64;
            let kind = match told.event.kind {
                _ if !is_answer => OpType::Invoke,
                Kind::Undone | Kind::Conflict { .. } => OpType::Fail,
                _ => OpType::Ok,
            };
            if is_answer && told.event.kind.is_commit() {
                let place = places.partition_point(|place| *place < told.place);
                order.insert(index, (place as u64).cast_signed());
            }
            let process = Some(lanes.lane(told.event.session, at, is_answer));
            let value = if is_answer { self.steps(told) } else { Vec::new() };
            ops.push(Op { index, kind, process, value, time: None });
        }
        (ops, self.interner, order)
    }

    fn steps(&mut self, told: &Told<'_>) -> Vec<Mop> {
        let writes = !told.event.kind.is_read_only();
        let (mut mops, mut own) = (Vec::new(), HashMap::new());
        for step in &told.event.steps {
            match step {
                Step::Get { key, seen } => mops.push(self.read(*key, *seen, told, &own)),
                Step::Range { from, to, seen } => {
                    let seen: HashMap<_, _> = seen.iter().copied().collect();
                    mops.extend(
                        (*from..*to).map(|key| self.read(key, seen.get(&key).copied(), told, &own)),
                    );
                }
                Step::Put { key, value, .. } => {
                    own.remove(key);
                    let (key, value) = (self.key(*key), self.value(*value));
                    mops.push(Mop::Write { key, value });
                }
                Step::Remove { key, mark, .. } if writes => {
                    mops.push(self.remove(*key, *mark, &mut own));
                }
                Step::RemoveRange { from, to, mark, .. } if writes => {
                    mops.extend((*from..*to).map(|key| self.remove(key, *mark, &mut own)));
                }
                Step::Remove { .. } | Step::RemoveRange { .. } => {}
            }
        }
        mops
    }

    fn read(
        &mut self,
        key: Key,
        seen: Option<Value>,
        told: &Told<'_>,
        own: &HashMap<Key, Id>,
    ) -> Mop {
        let mut place = told.place;
        if told.event.kind.is_commit() {
            place.1 -= 1;
        }
        let value = match (seen, own.get(&key)) {
            (Some(value), _) => ReadValue::Scalar(self.value(value)),
            (None, Some(removal)) => ReadValue::Scalar(*removal),
            (None, None) => {
                let given = self.given.get(&key).and_then(|given| given.range(..=place).last());
                match given {
                    Some((_, (None, mark))) => ReadValue::Scalar(self.removal(key, *mark)),
                    _ => ReadValue::Nil,
                }
            }
        };
        Mop::Read { key: self.key(key), value }
    }

    fn remove(&mut self, key: Key, mark: Value, own: &mut HashMap<Key, Id>) -> Mop {
        let value = self.removal(key, mark);
        own.insert(key, value);
        Mop::Write { key: self.key(key), value }
    }

    fn key(&mut self, key: Key) -> Id {
        self.interner.intern(Scalar::Int(-1 - key.cast_signed()))
    }

    fn value(&mut self, value: Value) -> Id {
        self.interner.intern(Scalar::Int(value.cast_signed()))
    }

    /// One removal may be of many keys: of each it is a value of its own.
    fn removal(&mut self, key: Key, mark: Value) -> Id {
        let behind_keys = KEYS + 2 + mark * (KEYS + 1) + key;
        self.interner.intern(Scalar::Int(-behind_keys.cast_signed()))
    }
}

/// Whether it is a part of what a life left: it happened before the power went, and is of a version
/// that was kept, or should have been.
fn is_kept(life: &Life, event: &Event) -> bool {
    let end = &life.end;
    let is_acknowledged = event.durable.is_some_and(|stamp| stamp < end.before);
    match event.kind {
        Kind::Undone => event.called < end.after,
        Kind::Conflict { base } => event.answered < end.after && base <= end.version,
        kind if kind.is_commit() => event.version <= end.version || is_acknowledged,
        _ => event.answered < end.after && event.version <= end.version,
    }
}

/// The reading of everything by which the next life begins.
fn scan(life: &Life) -> Event {
    let step = Step::Range { from: 0, to: KEYS + 1, seen: life.end.content.clone() };
    Event {
        session: u64::MAX,
        kind: Kind::Snapshot,
        version: life.end.version,
        called: life.end.after,
        answered: life.end.after,
        durable: None,
        steps: vec![step],
    }
}

/// A process of adya does one thing at a time; a session that has several under way is several.
#[derive(Default)]
struct Lanes {
    free: HashMap<u64, Vec<i64>>,
    taken: HashMap<usize, i64>,
    count: i64,
}

impl Lanes {
    fn lane(&mut self, session: u64, at: usize, is_answer: bool) -> i64 {
        let free = self.free.entry(session).or_default();
        if is_answer {
            let lane = self.taken.remove(&at).expect("it was called");
            free.push(lane);
            return lane;
        }
        let lane = free.pop().unwrap_or_else(|| {
            self.count += 1;
            self.count
        });
        self.taken.insert(at, lane);
        lane
    }
}
