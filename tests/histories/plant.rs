//! Anomalies: each is put into a history that has none, and must be found under its own name.
//! Owns: [`ANOMALIES`].

use super::{
    checker::{intermediate, written},
    finding::Slip,
    record::{End, Event, History, Key, Kind, Life, Step, Value},
    replay::{Model, replay},
};
use std::collections::{BTreeSet, HashMap};

/// An anomaly.
pub struct Anomaly {
    pub name: &'static str,
    /// What our checker finds: the first at least, and nothing else.
    pub slips: &'static [Slip],
    /// What adya finds: of these words, with which one of its findings begins, one at least. None:
    /// it does not know this kind, because it knows no versions, or no counts.
    pub foreign: &'static [&'static str],
    /// Puts it into the history; none if there was no place for it.
    pub plant: fn(&mut History) -> Option<()>,
}

const fn anomaly(
    name: &'static str,
    slips: &'static [Slip],
    foreign: &'static [&'static str],
    plant: fn(&mut History) -> Option<()>,
) -> Anomaly {
    Anomaly { name, slips, foreign, plant }
}

/// One of each kind, or two where there are two ways to it.
pub const ANOMALIES: [Anomaly; 25] = [
    anomaly("a stale read", &[Slip::StaleRead], &["G-single-item"], stale_read),
    anomaly("a read of what comes later", &[Slip::FutureRead], &["G1c"], future_read),
    anomaly("a read of what was undone", &[Slip::DirtyRead], &["G1a"], dirty_read),
    anomaly("an intermediate read", &[Slip::IntermediateRead], &["G1b"], intermediate_read),
    anomaly("a read of what nobody wrote", &[Slip::UnknownValue], &[], unknown_value),
    anomaly("a key missing in a range", &[Slip::Phantom], &["G-single-item"], missing_in_range),
    anomaly("a removed key in a range", &[Slip::Phantom], &["G-single-item"], removed_in_range),
    anomaly("an own write unseen", &[Slip::OwnWriteUnseen], &["internal"], own_write_unseen),
    anomaly("a wrong outcome", &[Slip::WrongOutcome], &[], wrong_outcome),
    anomaly("an update lost", &[Slip::LostUpdate], &["lost-update"], lost_update),
    anomaly(
        "an update lost behind a snapshot",
        &[Slip::LostUpdate],
        &["lost-update"],
        lost_update_ahead,
    ),
    anomaly("a write skew", &[Slip::WriteSkew], &["G2-item"], write_skew),
    anomaly(
        "a session that goes back",
        &[Slip::SessionWentBack],
        &["G-single-item-process", "G-nonadjacent-item-process", "G2-item-process"],
        session_back,
    ),
    anomaly("a read behind an answer", &[Slip::RealTime], &["G-single-item"], real_time),
    anomaly("a commit seen before its call", &[Slip::SeenTooEarly], &["G1c-"], seen_too_early),
    anomaly(
        "a version given twice",
        &[Slip::DuplicateVersion, Slip::MissingVersion],
        &[],
        version_twice,
    ),
    anomaly(
        "a hole between versions",
        &[Slip::MissingVersion, Slip::VersionOutOfPlace, Slip::GhostAfterEnd],
        &[],
        missing_version,
    ),
    anomaly("a refusal for nothing", &[Slip::SpuriousConflict], &[], spurious_conflict),
    anomaly(
        "an acknowledged commit lost",
        &[Slip::LostAfterEnd],
        &["G-single-item"],
        lost_after_end,
    ),
    anomaly("a commit from nowhere", &[Slip::GhostAfterEnd], &[], ghost_after_end),
    anomaly("half of a commit kept", &[Slip::HalfAfterEnd], &["G-single-item"], half_kept),
    anomaly("half of a lost commit kept", &[Slip::HalfAfterEnd], &[], half_of_lost_kept),
    anomaly("an undone write kept", &[Slip::DirtyRead], &["G1a"], undone_kept),
    anomaly("an older value kept", &[Slip::RecoveredOtherwise], &["G-single-item"], older_kept),
    anomaly("a lost value come back", &[Slip::CameBack], &[], came_back),
];

/// What each key held in one life, by the versions that changed it.
struct Past(HashMap<Key, Vec<(u64, Option<Value>)>>);

impl Past {
    fn of(history: &History, number: usize) -> Past {
        let mut model = match number.checked_sub(1) {
            Some(before) => history.lives[before].end.content.iter().copied().collect(),
            None => Model::new(),
        };
        let life = &history.lives[number];
        let mut past: HashMap<Key, Vec<_>> = HashMap::new();
        for (key, value) in &model {
            past.entry(*key).or_default().push((life.first, Some(*value)));
        }
        let mut commits: Vec<_> = life.events.iter().filter(|e| e.kind.is_commit()).collect();
        commits.sort_by_key(|event| event.version);
        for event in commits {
            for (key, value) in replay(&event.steps, &model).1 {
                past.entry(key).or_default().push((event.version, value));
                match value {
                    Some(value) => model.insert(key, value),
                    None => model.remove(&key),
                };
            }
        }
        Past(past)
    }

    fn changes(&self, key: Key) -> &[(u64, Option<Value>)] {
        self.0.get(&key).map_or(&[], Vec::as_slice)
    }

    /// The last change of a key at this version, and the one before it.
    fn last_two(&self, key: Key, version: u64) -> Option<[(u64, Option<Value>); 2]> {
        let changes = self.changes(key);
        let behind = changes.partition_point(|(at, _)| *at <= version);
        Some([changes[behind.checked_sub(2)?], changes[behind - 1]])
    }
}

/// The events of a life that lie well within it, and what went before.
fn middle(life: &Life) -> std::ops::Range<usize> {
    let len = life.events.len();
    len / 10..len * 9 / 10
}

/// Changes the answer of one get of a snapshot. `wanted` is asked with the life's number, the
/// event, the key and what was seen.
fn change_get(
    history: &mut History,
    mut wanted: impl FnMut(&History, usize, &Event, Key, Option<Value>) -> Option<Option<Value>>,
) -> Option<()> {
    for number in 0..history.lives.len() {
        for at in middle(&history.lives[number]) {
            let event = &history.lives[number].events[at];
            if event.kind != Kind::Snapshot || event.steps.iter().any(|s| !written(s).is_empty()) {
                continue;
            }
            for (place, step) in event.steps.iter().enumerate() {
                let Step::Get { key, seen } = *step else { continue };
                let Some(other) = wanted(history, number, event, key, seen) else { continue };
                let steps = &mut history.lives[number].events[at].steps;
                steps[place] = Step::Get { key, seen: other };
                return Some(());
            }
        }
    }
    None
}

fn pasts(history: &History) -> Vec<Past> {
    (0..history.lives.len()).map(|number| Past::of(history, number)).collect()
}

/// The commit that took a version.
fn commit(life: &Life, version: u64) -> Option<&Event> {
    life.events.iter().find(|event| event.kind.is_commit() && event.version == version)
}

/// Whether it belongs to what a power cut left.
fn is_kept(life: &Life, event: &Event) -> bool {
    event.answered < life.end.before && event.version <= life.end.version
}

fn stale_read(history: &mut History) -> Option<()> {
    let pasts = pasts(history);
    change_get(history, |history, number, event, key, seen| {
        let life = &history.lives[number];
        let [(_, older), (written, Some(_))] = pasts[number].last_two(key, event.version)? else {
            return None;
        };
        // The newer one was answered before the read began: no way around it.
        let is_clear = commit(life, written)?.answered < event.called && is_kept(life, event);
        (is_clear && seen.is_some() && older.is_some()).then_some(older)
    })
}

fn future_read(history: &mut History) -> Option<()> {
    let pasts = pasts(history);
    change_get(history, |history, number, event, key, _| {
        let life = &history.lives[number];
        let changes = pasts[number].changes(key);
        let (version, value) =
            changes[changes.partition_point(|(at, _)| *at <= event.version)..].first()?;
        let next = commit(life, *version)?;
        let is_clear = next.called > event.answered && is_kept(life, next);
        (is_clear && value.is_some()).then_some(*value)
    })
}

/// The values that were put by events that are `wanted`, by key.
fn put_by(life: &Life, wanted: impl Fn(&Event) -> bool) -> HashMap<Key, Value> {
    let steps = life.events.iter().filter(|event| wanted(event)).flat_map(|event| &event.steps);
    let puts = steps.filter_map(|step| match step {
        Step::Put { key, value, .. } => Some((*key, *value)),
        _ => None,
    });
    puts.collect()
}

fn dirty_read(history: &mut History) -> Option<()> {
    change_get(history, |history, number, event, key, _| {
        let life = &history.lives[number];
        let undone = |e: &Event| e.kind == Kind::Undone && intermediate(e).is_empty();
        let value =
            put_by(life, |e| undone(e) && e.answered < life.end.before).get(&key).copied()?;
        is_kept(life, event).then_some(Some(value))
    })
}

fn intermediate_read(history: &mut History) -> Option<()> {
    change_get(history, |history, number, event, _, seen| {
        let life = &history.lives[number];
        let writer = life.events.iter().find(|e| {
            e.kind.is_commit()
                && e.steps
                    .iter()
                    .any(|s| matches!(s, Step::Put { value, .. } if Some(*value) == seen))
        })?;
        let value = intermediate(writer).first().copied()?;
        (is_kept(life, event) && intermediate(writer).len() == 1).then_some(Some(value))
    })
}

fn unknown_value(history: &mut History) -> Option<()> {
    change_get(history, |_, _, _, _, seen| seen.map(|_| Some(1 << 52)))
}

/// Changes the answer of one range of a snapshot, which shows something.
fn change_range(
    history: &mut History,
    mut change: impl FnMut(&Life, usize, &Event, &mut Step) -> Option<()>,
) -> Option<()> {
    for number in 0..history.lives.len() {
        for at in middle(&history.lives[number]) {
            let life = &history.lives[number];
            let event = &life.events[at];
            if event.kind != Kind::Snapshot || !is_kept(life, event) || event.steps.len() < 2 {
                continue;
            }
            for place in 0..event.steps.len() {
                let mut step = event.steps[place].clone();
                if change(life, number, event, &mut step).is_some() {
                    history.lives[number].events[at].steps[place] = step;
                    return Some(());
                }
            }
        }
    }
    None
}

fn missing_in_range(history: &mut History) -> Option<()> {
    let pasts = pasts(history);
    change_range(history, |life, number, event, step| {
        let Step::Range { seen, .. } = step else { return None };
        // It had come back behind a removal: the range is as before that.
        let missing = seen.iter().position(|(key, _)| {
            let two = pasts[number].last_two(*key, event.version);
            two.is_some_and(|[(_, older), (version, _)]| {
                let newer = commit(life, version);
                older.is_none() && newer.is_some_and(|newer| newer.answered < event.called)
            })
        })?;
        seen.remove(missing);
        Some(())
    })
}

fn removed_in_range(history: &mut History) -> Option<()> {
    let pasts = pasts(history);
    change_range(history, |life, number, event, step| {
        let Step::Range { from, to, seen } = step else { return None };
        let shown: BTreeSet<_> = seen.iter().map(|(key, _)| *key).collect();
        let removed = (*from..*to).filter(|key| !shown.contains(key)).find_map(|key| {
            let [(_, older), (version, None)] = pasts[number].last_two(key, event.version)? else {
                return None;
            };
            let is_clear = commit(life, version)?.answered < event.called;
            older.filter(|_| is_clear).map(|older| (key, older))
        })?;
        seen.push(removed);
        seen.sort_unstable();
        Some(())
    })
}

/// The first event that `change` takes.
fn change_event(
    history: &mut History,
    mut change: impl FnMut(&Life, usize, &mut Event) -> Option<()>,
) -> Option<()> {
    for number in 0..history.lives.len() {
        for at in middle(&history.lives[number]) {
            let mut event = history.lives[number].events[at].clone();
            if change(&history.lives[number], number, &mut event).is_some() {
                history.lives[number].events[at] = event;
                return Some(());
            }
        }
    }
    None
}

fn own_write_unseen(history: &mut History) -> Option<()> {
    let pasts = pasts(history);
    change_event(history, |life, number, event| {
        let before = event.version.checked_sub(1)?;
        let is_commit = event.kind.is_commit() && is_kept(life, event);
        let [Step::Put { key, .. }, Step::Get { seen, .. }, ..] = &mut event.steps[..] else {
            return None;
        };
        let [_, (_, Some(older))] = pasts[number].last_two(*key, before)? else { return None };
        *seen = Some(older);
        is_commit.then_some(())
    })
}

fn wrong_outcome(history: &mut History) -> Option<()> {
    change_event(history, |_, _, event| {
        let Some(Step::Put { was_new: Some(was_new), .. }) = event.steps.last_mut() else {
            return None;
        };
        *was_new = !*was_new;
        event.kind.is_commit().then_some(())
    })
}

/// What a commit read of a key, if it wrote the key behind that.
fn updated(event: &Event) -> Option<(Key, Option<Value>)> {
    let [Step::Get { key, seen }, Step::Put { key: put, .. }] = event.steps[..] else {
        return None;
    };
    (event.kind.is_commit() && put == key).then_some((key, seen))
}

fn lost_update(history: &mut History) -> Option<()> {
    let pasts = pasts(history);
    change_event(history, |life, number, event| {
        let (key, _) = updated(event)?;
        let [_, (version, _)] = pasts[number].last_two(key, event.version - 1)?;
        // The one before updated it too.
        let (_, before) = updated(commit(life, version)?)?;
        let Step::Get { seen, .. } = &mut event.steps[0] else { return None };
        *seen = before;
        let is_fit = event.kind == Kind::Closure && is_kept(life, event) && before.is_some();
        is_fit.then_some(())
    })
}

fn lost_update_ahead(history: &mut History) -> Option<()> {
    let pasts = pasts(history);
    change_event(history, |life, number, event| {
        let (key, _) = updated(event)?;
        let [_, (version, _)] = pasts[number].last_two(key, event.version - 1)?;
        let lost = commit(life, version)?;
        let (_, before) = updated(lost)?;
        let Kind::Optimistic { .. } = event.kind else { return None };
        // As if it had begun before that one was committed, and were not found out.
        event.kind = Kind::Optimistic { base: lost.version - 1 };
        event.called = 0;
        event.session = 1 << 20;
        let Step::Get { seen, .. } = &mut event.steps[0] else { return None };
        *seen = before;
        (is_kept(life, event) && before.is_some()).then_some(())
    })?;
    // Its call comes before all others.
    for event in history.lives.iter_mut().flat_map(|life| &mut life.events) {
        event.called += u64::from(event.called > 0 || event.session != 1 << 20);
        event.answered += 1;
        event.durable = event.durable.map(|stamp| stamp + 1);
    }
    for life in &mut history.lives {
        life.end.before += 1;
        life.end.after += 1;
    }
    Some(())
}

/// What a commit read of two keys, and which one it wrote.
fn paired(event: &Event) -> Option<([Option<Value>; 2], [Key; 2], Key)> {
    let [Step::Get { key: a, seen: x }, Step::Get { key: b, seen: y }, Step::Put { key, .. }] =
        event.steps[..]
    else {
        return None;
    };
    event.kind.is_commit().then_some(([x, y], [a, b], key))
}

fn write_skew(history: &mut History) -> Option<()> {
    let pasts = pasts(history);
    change_event(history, |life, number, event| {
        let (seen, keys, written) = paired(event)?;
        let other = usize::from(keys[0] == written);
        let [_, (version, _)] = pasts[number].last_two(keys[other], event.version - 1)?;
        // The other one read the same of what this one writes, and wrote what this one read.
        let (seen_then, keys_then, _) = paired(commit(life, version)?)?;
        let is_fit = event.kind == Kind::Closure && is_kept(life, event);
        let is_skew = keys_then == keys && seen_then[1 - other] == seen[1 - other];
        let Step::Get { seen, .. } = &mut event.steps[other] else { return None };
        *seen = seen_then[other];
        (is_fit && is_skew && seen.is_some()).then_some(())
    })
}

/// Two snapshots of one kind of which the second is to see what the first of them saw, and what it
/// read has changed by a commit that somebody had seen meanwhile.
fn turned_back(history: &History, kind: Kind) -> Option<(usize, usize, usize)> {
    for (number, life) in history.lives.iter().enumerate() {
        let reads: Vec<usize> = middle(life)
            .filter(|at| {
                let event = &life.events[*at];
                event.kind == kind && event.session % 100 > 4 && is_kept(life, event)
            })
            .collect();
        for (n, early) in reads.iter().enumerate() {
            let then: HashMap<Key, Value> =
                life.events[*early].steps.iter().filter_map(got).collect();
            // Not at once, so that real time tells them apart.
            for between in n + 10..reads.len() - 1 {
                let mut seen = life.events[reads[between]].steps.iter().filter_map(got);
                if seen.any(|(key, value)| then.get(&key).is_some_and(|then| *then != value)) {
                    return Some((number, *early, reads[between + 1]));
                }
            }
        }
    }
    None
}

/// What a get showed, if that was something.
fn got(step: &Step) -> Option<(Key, Value)> {
    if let Step::Get { key, seen: Some(value) } = step { Some((*key, *value)) } else { None }
}

fn session_back(history: &mut History) -> Option<()> {
    let (number, early, late) = turned_back(history, Kind::Reader)?;
    let events = &mut history.lives[number].events;
    (events[late].version, events[late].steps) =
        (events[early].version, events[early].steps.clone());
    Some(())
}

fn real_time(history: &mut History) -> Option<()> {
    let (number, early, late) = turned_back(history, Kind::Snapshot)?;
    let events = &mut history.lives[number].events;
    (events[late].version, events[late].steps) =
        (events[early].version, events[early].steps.clone());
    events[late].session = 1 << 20;
    Some(())
}

/// Makes room for three stamps between any two.
fn spread(history: &mut History) {
    for life in &mut history.lives {
        for event in &mut life.events {
            event.called *= 4;
            event.answered *= 4;
            event.durable = event.durable.map(|stamp| stamp * 4);
        }
        life.end.before *= 4;
        life.end.after *= 4;
    }
}

fn seen_too_early(history: &mut History) -> Option<()> {
    spread(history);
    let life = history.lives.first_mut()?;
    let cause = life.events[life.events.len() / 10..].iter().find(|event| {
        event.kind == Kind::Batch && event.steps.len() == 4 && is_kept(life, event)
    })?;
    let steps = cause.steps.iter().filter_map(|step| match *step {
        Step::Put { key, value, .. } => Some(Step::Get { key, seen: Some(value) }),
        _ => None,
    });
    let seer = Event {
        session: 1 << 20,
        kind: Kind::Snapshot,
        version: cause.version,
        called: cause.called - 3,
        answered: cause.called - 2,
        durable: None,
        steps: steps.collect(),
    };
    life.events.push(seer);
    Some(())
}

fn version_twice(history: &mut History) -> Option<()> {
    let life = &mut history.lives[0];
    let mut twin = life.events.iter().find(|event| event.kind == Kind::Batch)?.clone();
    twin.session = 1 << 20;
    life.events.push(twin);
    Some(())
}

fn missing_version(history: &mut History) -> Option<()> {
    let life = history.lives.last_mut()?;
    let hole = life.first + 1 + life.events.len() as u64 / 4;
    let shift = |version: &mut u64| *version += u64::from(*version >= hole);
    for event in &mut life.events {
        shift(&mut event.version);
        if let Kind::Optimistic { base } | Kind::Conflict { base } = &mut event.kind {
            shift(base);
        }
    }
    shift(&mut life.end.version);
    Some(())
}

fn spurious_conflict(history: &mut History) -> Option<()> {
    let pasts = pasts(history);
    change_event(history, |life, number, event| {
        let untouched = event.steps.iter().all(|step| {
            let Step::Get { key, .. } = step else { return false };
            let changes = pasts[number].changes(*key);
            let behind = changes.partition_point(|(at, _)| *at <= event.version);
            changes[behind..].iter().all(|(version, _)| {
                commit(life, *version).is_some_and(|commit| commit.called > event.answered)
            })
        });
        let is_fit = event.kind == Kind::Snapshot && !event.steps.is_empty() && untouched;
        event.kind = Kind::Conflict { base: event.version };
        event.version = 0;
        is_fit.then_some(())
    })
}

/// The first life that a power cut ended with something lost.
fn cut(history: &History) -> Option<usize> {
    history.lives.iter().position(|life| {
        !life.end.is_clean
            && life.events.iter().any(|e| e.kind.is_commit() && e.version > life.end.version + 4)
    })
}

fn lost_after_end(history: &mut History) -> Option<()> {
    let life = cut(history)?;
    let End { before, version, .. } = history.lives[life].end;
    let mut lost: Vec<_> = history.lives[life].events.iter_mut().collect();
    lost.retain(|event| {
        let puts = event.steps.iter().any(|step| matches!(step, Step::Put { .. }));
        event.kind.is_commit() && event.version > version && event.called < before && puts
    });
    lost.sort_by_key(|event| event.version);
    lost.first_mut()?.durable = Some(before - 1);
    Some(())
}

fn ghost_after_end(history: &mut History) -> Option<()> {
    let number = history.lives.iter().position(|life| !life.end.is_clean)?;
    spread(history);
    let life = &mut history.lives[number];
    let called = commit(life, life.end.version)?.called;
    life.end.before = called - 2;
    life.end.after = called - 1;
    Some(())
}

/// A key of what was recovered that was written last by a commit of so many keys that still are as
/// it left them, and what the key held before.
fn last_of(history: &History, number: usize, many: bool) -> Option<(Key, Value)> {
    let life = &history.lives[number];
    let past = Past::of(history, number);
    let mut by_writer: HashMap<u64, Vec<(Key, Value)>> = HashMap::new();
    for (key, _) in &life.end.content {
        let Some([(_, older), (version, Some(_))]) = past.last_two(*key, life.end.version) else {
            continue;
        };
        // Every key that it wrote counts, and also those that it removed.
        by_writer.entry(version).or_default().extend(older.map(|older| (*key, older)));
    }
    let (_, keys) = by_writer.iter().find(|(version, keys)| {
        let steps = commit(life, **version).map_or(&[][..], |commit| &commit.steps);
        let puts: BTreeSet<Key> = steps.iter().flat_map(written).collect();
        if many { keys.len() > 2 } else { keys.len() == 1 && puts.len() == 1 }
    })?;
    keys.first().copied()
}

fn keep(history: &mut History, number: usize, key: Key, value: Value) -> Option<()> {
    let content = &mut history.lives[number].end.content;
    let entry = content.iter_mut().find(|(k, _)| *k == key)?;
    entry.1 = value;
    Some(())
}

fn half_kept(history: &mut History) -> Option<()> {
    let number = cut(history)?;
    let (key, older) = last_of(history, number, true)?;
    keep(history, number, key, older)
}

fn older_kept(history: &mut History) -> Option<()> {
    let number = cut(history)?;
    let (key, older) = last_of(history, number, false)?;
    keep(history, number, key, older)
}

/// A value that the power cut took, of a key that is there.
fn lost_value(history: &History, number: usize) -> Option<(Key, Value)> {
    let life = &history.lives[number];
    let lost = |e: &Event| {
        e.kind.is_commit() && e.version > life.end.version && intermediate(e).is_empty()
    };
    let lost = put_by(life, lost);
    life.end.content.iter().find_map(|(key, _)| lost.get_key_value(key)).map(|(k, v)| (*k, *v))
}

fn half_of_lost_kept(history: &mut History) -> Option<()> {
    let number = cut(history)?;
    let (key, value) = lost_value(history, number)?;
    keep(history, number, key, value)
}

fn undone_kept(history: &mut History) -> Option<()> {
    let number = cut(history)?;
    let life = &history.lives[number];
    let undone = put_by(life, |e| {
        e.kind == Kind::Undone && e.answered < life.end.before && intermediate(e).is_empty()
    });
    let (key, value) = life.end.content.iter().find_map(|(key, _)| undone.get_key_value(key))?;
    keep(history, number, *key, *value)
}

fn came_back(history: &mut History) -> Option<()> {
    let number = cut(history)?;
    let (lost, value) = lost_value(history, number)?;
    change_get(history, |_, life, _, key, seen| {
        (life > number && key == lost && seen.is_some()).then_some(Some(value))
    })
}
