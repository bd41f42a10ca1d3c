//! Judges a history in one walk over its versions and one over its stamps: linear time, but for
//! the lookup of keys in a map whose size does not depend on the history's length.
//! Owns: [`check`] and what it can find.

use super::{
    finding::{Finding, Slip},
    record::{Event, History, Key, Kind, Life, Step, Value},
    replay::{Mismatch, Model, Origins, replay},
};
use std::collections::HashMap;

/// What is wrong with a history: nothing, if it is one of a store that does what it promises.
pub fn check(history: &History) -> Vec<Finding> {
    let origins = Origins::of(history);
    let (mut model, mut found) = (Model::new(), Vec::new());
    for (number, life) in history.lives.iter().enumerate() {
        let mut look = Look::new(number, life, &origins, &mut found);
        look.versions();
        look.order();
        model = look.contents(model);
        look.refusals();
    }
    found
}

/// One life that is being judged.
struct Look<'l> {
    number: usize,
    life: &'l Life,
    origins: &'l Origins,
    /// The event that took each version behind the first, if it is one of this life's.
    commits: Vec<Option<usize>>,
    found: &'l mut Vec<Finding>,
}

impl<'l> Look<'l> {
    fn new(
        number: usize,
        life: &'l Life,
        origins: &'l Origins,
        found: &'l mut Vec<Finding>,
    ) -> Look<'l> {
        let count = life.events.iter().filter(|event| event.kind.is_commit()).count();
        Look { number, life, origins, commits: vec![None; count], found }
    }

    fn find(&mut self, slip: Slip, event: Option<&Event>, text: impl Into<String>) {
        let called = event.map_or(0, |event| event.called);
        let (life, text) = (self.number, text.into());
        self.found.push(Finding { slip, life, called, text });
    }

    fn commit(&self, version: u64) -> Option<&'l Event> {
        let place = version.checked_sub(self.life.first + 1)?;
        let at = (*self.commits.get(place as usize)?)?;
        Some(&self.life.events[at])
    }

    /// Every commit has a version of its own, and there is no hole between them.
    fn versions(&mut self) {
        for (at, event) in self.life.events.iter().enumerate() {
            if !event.kind.is_commit() {
                continue;
            }
            let version = event.version;
            let place = version.checked_sub(self.life.first + 1).map(|place| place as usize);
            match place.and_then(|place| self.commits.get(place).copied()) {
                None => {
                    let (first, count) = (self.life.first, self.commits.len());
                    let text = format!("{version} is not one of the {count} behind {first}");
                    self.find(Slip::VersionOutOfPlace, Some(event), text);
                }
                Some(Some(_)) => {
                    let text = format!("{version} was given twice");
                    self.find(Slip::DuplicateVersion, Some(event), text);
                }
                Some(None) => self.commits[place.expect("it has a place")] = Some(at),
            }
        }
        let holes = self.commits.iter().filter(|commit| commit.is_none()).count();
        if holes > 0 {
            self.find(Slip::MissingVersion, None, format!("{holes} versions are nobody's"));
        }
    }

    /// Versions respect sessions and real time: what was answered before a call is seen by it, and
    /// nothing is seen before it was asked for.
    fn order(&mut self) {
        #[derive(Clone, Copy)]
        enum Moment {
            Nothing,
            Called(usize),
            Answered(usize),
        }
        let events = &self.life.events;
        let base = events.iter().map(|event| event.called).min().unwrap_or(0);
        let last = events.iter().map(|event| event.answered).max().unwrap_or(0);
        let mut moments = vec![Moment::Nothing; (2 + last - base) as usize];
        let mut sessions: HashMap<(u64, bool), u64> = HashMap::new();
        let mut is_back = vec![false; events.len()];
        for (at, event) in events.iter().enumerate() {
            moments[(event.called - base) as usize] = Moment::Called(at);
            moments[(event.answered - base) as usize] = Moment::Answered(at);
            // What a session has under way is not seen by what it reads meanwhile.
            let read = event.kind.base().or(event.kind.is_read_only().then_some(event.version));
            let took = event.kind.is_commit().then_some(event.version);
            for (version, is_commit) in [(read, false), (took, true)] {
                let Some(version) = version else { continue };
                let last = sessions.entry((event.session, is_commit)).or_default();
                if version < *last + u64::from(is_commit) {
                    is_back[at] = true;
                    let text = format!("{version} behind {last} of the same session");
                    self.find(Slip::SessionWentBack, Some(event), text);
                }
                *last = version.max(*last);
            }
        }
        // The newest version that somebody was answered before: of commits, and of all.
        let (mut committed, mut seen) = (self.life.first, self.life.first);
        let mut floors = vec![0; events.len()];
        for moment in moments {
            match moment {
                Moment::Nothing => {}
                Moment::Called(at) => {
                    floors[at] = if events[at].kind == Kind::Reader { committed } else { seen };
                }
                Moment::Answered(at) => {
                    let event = &events[at];
                    // What was wrong is not held against others.
                    if is_back[at] || !self.in_time(event, floors[at]) {
                        continue;
                    }
                    if event.kind.is_commit() {
                        committed = committed.max(event.version);
                    }
                    seen = seen.max(event.kind.base().unwrap_or(0).max(event.version));
                }
            }
        }
    }

    /// Whether an event is neither behind `floor` nor before its cause.
    fn in_time(&mut self, event: &Event, floor: u64) -> bool {
        let read = match event.kind {
            Kind::Undone | Kind::Batch => None,
            Kind::Closure => event.version.checked_sub(1),
            Kind::Snapshot | Kind::Reader => Some(event.version),
            Kind::Optimistic { base } | Kind::Conflict { base } => Some(base),
        };
        let is_behind = event.kind.is_commit() && event.version <= floor;
        if is_behind || read.is_some_and(|read| read < floor) {
            let text = format!("{read:?}, {}, behind {floor} that was answered", event.version);
            self.find(Slip::RealTime, Some(event), text);
            return false;
        }
        let cause = read.and_then(|read| self.commit(read));
        let is_early = cause.is_some_and(|cause| cause.called > event.answered);
        if is_early {
            let text = format!("{read:?} was seen before it was asked for");
            self.find(Slip::SeenTooEarly, Some(event), text);
        }
        !is_early
    }

    /// Reads equal the model at the version that they read, and what was recovered equals it at
    /// the version that was recovered. Gives what the next life begins with.
    fn contents(&mut self, mut model: Model) -> Model {
        let life = self.life;
        let last = life.first + self.commits.len() as u64;
        let mut reads = vec![Vec::new(); self.commits.len() + 1];
        for (at, event) in life.events.iter().enumerate() {
            let read = match event.kind {
                Kind::Snapshot | Kind::Reader => event.version,
                Kind::Optimistic { base } | Kind::Conflict { base } => base,
                Kind::Closure | Kind::Batch | Kind::Undone => continue,
            };
            let place = read.checked_sub(life.first);
            if let Some(reads) = place.and_then(|place| reads.get_mut(place as usize)) {
                reads.push(at);
            } else {
                let text = format!("read {read} of {}..={last}", life.first);
                self.find(Slip::VersionOutOfPlace, Some(event), text);
            }
        }
        let mut kept = None;
        // The version that wrote each key last.
        let mut writers: HashMap<Key, u64> = HashMap::new();
        for version in life.first..=last {
            if let Some(event) = self.commit(version) {
                let (mismatch, written) = replay(&event.steps, &model);
                if let Some(mismatch) = mismatch {
                    let slip = self.slip(&mismatch, event, version - 1, true);
                    self.find(slip, Some(event), format!("{mismatch} before {version}"));
                }
                for (key, value) in written {
                    writers.insert(key, version);
                    match value {
                        Some(value) => model.insert(key, value),
                        None => model.remove(&key),
                    };
                }
            }
            for &at in &reads[(version - life.first) as usize] {
                let event = &life.events[at];
                if let (Some(mismatch), _) = replay(&event.steps, &model) {
                    let slip = self.slip(&mismatch, event, version, false);
                    self.find(slip, Some(event), format!("{mismatch} at {version}"));
                }
            }
            if version == life.end.version {
                self.recovered(&model, &writers);
                kept = Some(model.clone());
            }
        }
        self.durable(last);
        kept.unwrap_or(model)
    }

    /// What an answer that the model does not give is called. `version` is the one it was read at.
    fn slip(&self, mismatch: &Mismatch, event: &Event, version: u64, of_commit: bool) -> Slip {
        let place = (self.number, version);
        if let Some(slip) = mismatch.seen.and_then(|seen| self.origins.slip(seen, place)) {
            return slip;
        }
        let writes = |key: Key| {
            event.steps.iter().any(|step| match step {
                Step::Put { key: written, .. } | Step::Remove { key: written, .. } => {
                    *written == key
                }
                Step::RemoveRange { from, to, .. } => (*from..*to).contains(&key),
                Step::Get { .. } | Step::Range { .. } => false,
            })
        };
        match mismatch.key {
            None => Slip::WrongOutcome,
            Some(_) if mismatch.is_own => Slip::OwnWriteUnseen,
            Some(_) if mismatch.is_phantom => Slip::Phantom,
            Some(_) if !of_commit => Slip::StaleRead,
            Some(key) if writes(key) => Slip::LostUpdate,
            Some(_) => Slip::WriteSkew,
        }
    }

    /// Nothing that was acknowledged as durable is missing, and nothing came from nowhere.
    fn durable(&mut self, last: u64) {
        let end = &self.life.end;
        let acknowledged = |event: &&Event| {
            event.kind.is_commit()
                && (end.is_clean || event.durable.is_some_and(|stamp| stamp < end.before))
        };
        let lost = self.life.events.iter().filter(acknowledged);
        if let Some(lost) =
            lost.filter(|event| event.version > end.version).min_by_key(|e| e.version)
        {
            let text = format!("{} is lost: recovered was {}", lost.version, end.version);
            self.find(Slip::LostAfterEnd, Some(lost), text);
        }
        let too_new = end.version > last
            || self.commit(end.version).is_some_and(|commit| commit.called > end.after);
        if too_new {
            let text = format!("{} was recovered before it was asked for", end.version);
            self.find(Slip::GhostAfterEnd, None, text);
        }
    }

    /// Compares what was recovered with the model at its version.
    fn recovered(&mut self, model: &Model, writers: &HashMap<Key, u64>) {
        let content: Model = self.life.end.content.iter().copied().collect();
        let differs = |key: &Key| content.get(key) != model.get(key);
        let keys = content.keys().chain(model.keys().filter(|key| !content.contains_key(key)));
        let wrong: Vec<Key> = keys.copied().filter(differs).collect();
        let Some(key) = wrong.first() else { return };
        let (seen, expected) = (content.get(key).copied(), model.get(key).copied());
        let place = (self.number, self.life.end.version);
        // A commit that is there in one key and not in another.
        let writer = writers.get(key);
        let is_half = writer.is_some_and(|writer| {
            writers.iter().any(|(key, other)| other == writer && !differs(key))
        });
        let slip = match seen.and_then(|seen| self.origins.slip(seen, place)) {
            // Of a later commit that is not there as a whole.
            Some(Slip::FutureRead) => Slip::HalfAfterEnd,
            Some(slip) => slip,
            None if is_half => Slip::HalfAfterEnd,
            None => Slip::RecoveredOtherwise,
        };
        let text = format!("{} keys, {key} is {seen:?} and not {expected:?}", wrong.len());
        self.find(slip, None, text);
    }

    /// `Error::Conflict` comes of a change to something that was read: of somebody who wrote to it
    /// behind the snapshot, and had asked for that before the refusal.
    fn refusals(&mut self) {
        let mut writes: HashMap<Key, Vec<(u64, u64)>> = HashMap::new();
        for version in self.life.first..=self.life.first + self.commits.len() as u64 {
            let Some(event) = self.commit(version) else { continue };
            for key in event.steps.iter().flat_map(written) {
                writes.entry(key).or_default().push((version, event.called));
            }
        }
        for event in &self.life.events {
            let Kind::Conflict { base } = event.kind else { continue };
            let is_caused = event.steps.iter().flat_map(touched).any(|key| {
                let writes = writes.get(&key).map_or(&[][..], Vec::as_slice);
                let behind = writes.partition_point(|(version, _)| *version <= base);
                writes[behind..].iter().any(|(_, called)| *called < event.answered)
            });
            if !is_caused {
                let text = format!("nothing that was read at {base} was written to");
                self.find(Slip::SpuriousConflict, Some(event), text);
            }
        }
    }
}

/// The keys that a step may write to.
pub fn written(step: &Step) -> std::ops::Range<Key> {
    match step {
        Step::Get { .. } | Step::Range { .. } => 0..0,
        Step::Put { key, .. } | Step::Remove { key, .. } => *key..key + 1,
        Step::RemoveRange { from, to, .. } => *from..*to,
    }
}

/// The keys that a step's answer may depend on.
fn touched(step: &Step) -> std::ops::Range<Key> {
    match step {
        Step::Get { key, .. } => *key..key + 1,
        Step::Range { from, to, .. } => *from..*to,
        writes => written(writes),
    }
}

/// The values that an event wrote and replaced itself.
pub fn intermediate(event: &Event) -> Vec<Value> {
    let mut last: HashMap<Key, Value> = HashMap::new();
    let mut replaced = Vec::new();
    for step in &event.steps {
        if let Step::Put { key, value, .. } = step {
            replaced.extend(last.insert(*key, *value));
        } else {
            replaced.extend(written(step).filter_map(|key| last.remove(&key)));
        }
    }
    replaced
}
