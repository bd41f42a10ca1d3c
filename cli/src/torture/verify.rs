//! What must hold of a store that is open again, however the life before it ended.
//! Owns: [`Laws`], [`verify`].

use super::{
    deal::{EVERY, Level, Model, SPARE_VALUE_BYTES, value},
    lanes::{BURST, COUNTS, rows, spare},
    told::Told,
};
use recto::{Snapshot, Store};
use std::collections::BTreeMap;

/// Which laws hold of a life's end.
#[derive(Clone, Copy)]
pub struct Laws {
    /// The power went, not the process alone: what was only visible may be lost, from the end.
    pub power_cut: bool,
    /// The level that the life was opened with.
    pub level: Level,
}

/// What a lane was told, and how far it must therefore have come.
struct Lane {
    visible: u64,
    durable: u64,
}

/// Compares an open store with what was told since `models`, and moves these on to what is there.
/// Returns how many commits they were moved by.
///
/// # Errors
/// What is wrong, in words.
pub fn verify(
    store: &Store,
    seed: u64,
    models: &mut [Model],
    told: &[Told],
    laws: Laws,
) -> Result<u64, String> {
    let snap = store.snapshot();
    let numbers = numbers(&snap, models, told, laws)?;
    versions(snap.version(), &numbers, told, laws)?;
    let mut moved = 0;
    for (lane, (model, &number)) in (0..).zip(models.iter_mut().zip(&numbers)) {
        moved += number - model.number;
        model.advance(seed, lane, number);
        contents(&snap, lane, model).map_err(|e| format!("after commit {number}: {e}"))?;
    }
    let names = store.tables().map_err(words)?;
    let spares = models.iter().filter(|model| model.spare.is_some()).count();
    let found = names.iter().filter(|name| name.starts_with("spare-")).count();
    if found != spares {
        return Err(format!("{spares} spare tables should be there, {found} are"));
    }
    store.check().map_err(words)?;
    Ok(moved)
}

/// How far each lane came: at least as far as it was told, at most as far as it had handed in.
fn numbers(
    snap: &Snapshot,
    models: &[Model],
    told: &[Told],
    laws: Laws,
) -> Result<Vec<u64>, String> {
    let mut lanes: Vec<Lane> =
        models.iter().map(|model| Lane { visible: model.number, durable: model.number }).collect();
    for told in told {
        let (lane, number, is_durable) = match told {
            Told::Visible { lane, number, .. } => (*lane, *number, false),
            Told::Durable { lane, number, .. } => (*lane, *number, true),
            _ => continue,
        };
        let lane = lanes.get_mut(lane as usize).ok_or("a lane that was never begun told")?;
        lane.visible = lane.visible.max(number);
        if is_durable {
            lane.durable = lane.durable.max(number);
        }
    }
    let counts = snap.table(&COUNTS).map_err(words)?;
    let mut numbers = Vec::new();
    for (at, lane) in (0..).zip(&lanes) {
        let number = counts.get(at).map_err(words)?.unwrap_or(0);
        let (least, answer) =
            if laws.power_cut { (lane.durable, "durable") } else { (lane.visible, "visible") };
        if number < least {
            return Err(format!(
                "lost: lane {at} was told that commit {least} is {answer}, found is {number}"
            ));
        }
        if number > lane.visible + BURST {
            return Err(format!(
                "invented: lane {at} was told of commit {}, found is {number}",
                lane.visible
            ));
        }
        numbers.push(number);
    }
    Ok(numbers)
}

/// Versions are the count of commits; what is there of them is a prefix.
fn versions(version: u64, numbers: &[u64], told: &[Told], laws: Laws) -> Result<(), String> {
    let sum: u64 = numbers.iter().sum();
    if sum != version {
        return Err(format!("the lanes made {sum} commits, the version is {version}"));
    }
    let mut by_version = BTreeMap::new();
    let mut newest = 0;
    for told in told {
        let (lane, number, at) = match told {
            Told::Visible { lane, number, version: Some(at) }
            | Told::Durable { lane, number, version: Some(at) } => (*lane, *number, *at),
            _ => continue,
        };
        newest = newest.max(at);
        if *by_version.entry(at).or_insert((lane, number)) != (lane, number) {
            return Err(format!("version {at} was told to two commits"));
        }
        let is_there = number <= numbers[lane as usize];
        if is_there != (at <= version) {
            let is_there = if is_there { "there" } else { "lost" };
            return Err(format!(
                "a hole: version {version} is the last, and commit {number} of lane {lane}, \
                 version {at}, is {is_there}"
            ));
        }
    }
    // Each lane's numbers and versions rise together.
    let mut last = vec![0; numbers.len()];
    for (at, (lane, number)) in by_version {
        let before = std::mem::replace(&mut last[lane as usize], number);
        if number <= before {
            return Err(format!("lane {lane}: version {at} is commit {number}, behind {before}"));
        }
    }
    let most = u64::from(EVERY);
    if laws.power_cut && laws.level == Level::Every100 && newest > version + most {
        let lost = newest - version;
        return Err(format!("{lost} commits were lost where at most {most} may be"));
    }
    Ok(())
}

/// A lane's tables hold what its commits put there, and nothing else.
fn contents(snap: &Snapshot, lane: u64, model: &Model) -> Result<(), String> {
    let table = snap.table(&rows(lane)).map_err(words)?;
    let mut expected = model.entries.iter();
    for entry in table.iter().map_err(words)? {
        let (key, found) = entry.map_err(words)?;
        let Some((&wanted, &(number, bytes))) = expected.next() else {
            return Err(format!("lane {lane} has key {key} and should not"));
        };
        if key != wanted {
            return Err(format!("lane {lane} has key {key} where {wanted} should be"));
        }
        if found != value(key, number, bytes) {
            return Err(format!("lane {lane}, key {key}: not the value of commit {number}"));
        }
    }
    if let Some((key, _)) = expected.next() {
        return Err(format!("lane {lane} lacks key {key}"));
    }
    let (number, entries) = model.spare.unwrap_or_default();
    let table = snap.table(&spare(lane)).map_err(words)?;
    let mut found = 0;
    for entry in table.iter().map_err(words)? {
        let (key, bytes) = entry.map_err(words)?;
        if key != found || bytes != value(key, number, SPARE_VALUE_BYTES) {
            return Err(format!("lane {lane}, spare key {key}: not the entry of commit {number}"));
        }
        found += 1;
    }
    if found != entries || table.len().map_err(words)? != entries {
        return Err(format!("lane {lane}: {entries} spare entries should be there, {found} are"));
    }
    Ok(())
}

#[expect(clippy::needless_pass_by_value, reason = "it stands behind map_err")]
fn words(error: recto::Error) -> String {
    error.to_string()
}
