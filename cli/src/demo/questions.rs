//! What readers ask, and what must hold between the answers of one snapshot.
//! Owns: [`Asker`]. Every answer is compared within its own snapshot: a package's record with its
//! relations, each relation with its counterpart by target, the totals with the tables' lengths,
//! each step of a path with the relation that it takes.

use super::model::{Faults, Model, Sighting};
use crate::{
    debian::Relation,
    figures::{Random, Tally},
    packages::{self, DEPENDENTS, PACKAGES, RELATIONS, RELATIONS_TOTAL, TOTALS},
};
use recto::{Reader, Result, Snapshot, Store};
use std::time::Instant;

/// The most sightings one reader keeps.
const SIGHTINGS_MAX: usize = 500_000;
/// The most dependents of one name that are looked at from both sides.
const DEPENDENTS_LOOKED_AT: usize = 64;

/// One thread that asks.
pub struct Asker<'a> {
    model: &'a Model,
    faults: &'a Faults,
    reader: Reader,
    tally: Tally<'a>,
    random: Random,
    last_version: u64,
    sightings: Vec<Sighting>,
}

impl<'a> Asker<'a> {
    /// A reader of `store` with random numbers of its own.
    pub fn new(
        store: &Store,
        model: &'a Model,
        faults: &'a Faults,
        tally: Tally<'a>,
        random: Random,
    ) -> Asker<'a> {
        let (reader, sightings) = (store.reader(), Vec::new());
        Asker { model, faults, reader, tally, random, last_version: 0, sightings }
    }

    /// Asks one random question.
    pub fn ask(&mut self) {
        let began = Instant::now();
        let snapshot = self.reader.snapshot();
        let version = snapshot.version();
        if version < self.last_version {
            let last = self.last_version;
            self.faults.note(format!("version {version} was shown after {last}"));
        }
        self.last_version = version;
        let mut look = Look { snapshot, model: self.model, random: &mut self.random };
        let package = look.random.below(self.model.packages().len()) as u32;
        let found = match look.random.below(1000) {
            0 => look.path(package),
            1..50 => look.totals(),
            50..200 => look.many(),
            200..600 => look.dependents(package),
            _ => look.relations(package).map(|wrong_or_revision| match wrong_or_revision {
                Ok(revision) => {
                    if self.sightings.len() < SIGHTINGS_MAX {
                        self.sightings.push(Sighting { version, package, revision });
                    }
                    None
                }
                Err(wrong) => Some(wrong),
            }),
        };
        self.tally.record(began);
        match found {
            Ok(None) => {}
            Ok(Some(wrong)) => self.faults.note(format!("version {version}: {wrong}")),
            Err(e) => self.faults.note(format!("version {version}: a question failed: {e}")),
        }
    }

    /// What was seen, to be compared with the model.
    pub fn into_sightings(self) -> Vec<Sighting> {
        self.sightings
    }
}

/// A sentence about what is wrong, if anything is.
type Wrong = Option<String>;

/// One snapshot, and what is needed to ask it.
struct Look<'l> {
    snapshot: &'l Snapshot,
    model: &'l Model,
    random: &'l mut Random,
}

impl Look<'_> {
    /// All of a package: its record, its relations, and each of them by its target. The revision,
    /// or what is wrong.
    fn relations(&mut self, package: u32) -> Result<Result<u64, String>> {
        let name = &*self.model.packages()[package as usize].name;
        let Some((revision, count, digest)) = self.snapshot.table(&PACKAGES)?.get(name)? else {
            return Ok(Err(format!("{name} is gone")));
        };
        let relations = packages::relations(self.snapshot, name)?;
        if (relations.len(), packages::digest(&relations)) != (count as usize, digest) {
            let found = relations.len();
            return Ok(Err(format!(
                "{name} has {found} relations that are not the {count} it had"
            )));
        }
        let dependents = self.snapshot.table(&DEPENDENTS)?;
        for Relation { kind, clause, alternative, target } in &relations {
            if !dependents.contains((target, name, *kind as u8, *clause, *alternative))? {
                return Ok(Err(format!("{name} names {target}, but not the other way round")));
            }
        }
        // The model's answer costs more than the store's, so it is asked now and then.
        if self.random.below(8) == 0 && relations != self.model.content(package, revision).relations
        {
            return Ok(Err(format!("{name} is not what its revision {revision} says")));
        }
        Ok(Ok(revision))
    }

    /// Who names what `package` names, each also by its source.
    fn dependents(&mut self, package: u32) -> Result<Wrong> {
        let relations = &self.model.packages()[package as usize].relations;
        if relations.is_empty() {
            return Ok(None);
        }
        let name = &*relations[self.random.below(relations.len())].target;
        let sources = self.snapshot.table(&RELATIONS)?;
        let entries = self.snapshot.table(&DEPENDENTS)?.prefix((name,))?;
        for entry in entries.take(DEPENDENTS_LOOKED_AT) {
            let ((_, source, kind, clause, alternative), ()) = entry?;
            if sources.get((source, kind, clause, alternative))? != Some(name) {
                return Ok(Some(format!(
                    "{name} is named by {source}, but not the other way round"
                )));
            }
        }
        Ok(None)
    }

    /// Several records at once, against one at a time.
    fn many(&mut self) -> Result<Wrong> {
        let all = self.model.packages();
        let names: Vec<&str> = (0..32).map(|_| &*all[self.random.below(all.len())].name).collect();
        let records = self.snapshot.table(&PACKAGES)?;
        let together = records.get_many(names.iter().copied())?;
        for (name, record) in names.iter().zip(together) {
            if record.is_none() || records.get(name)? != record {
                return Ok(Some(format!("{name} differs between get_many and get")));
            }
        }
        Ok(None)
    }

    fn totals(&mut self) -> Result<Wrong> {
        let total = self.snapshot.table(&TOTALS)?.get(RELATIONS_TOTAL)?;
        let by_source = self.snapshot.table(&RELATIONS)?.len()?;
        let by_target = self.snapshot.table(&DEPENDENTS)?.len()?;
        let packages = self.snapshot.table(&PACKAGES)?.len()?;
        if total != Some(by_source)
            || by_source != by_target
            || packages != self.model.packages().len() as u64
        {
            let total = total.unwrap_or_default();
            return Ok(Some(format!(
                "{packages} packages, {total} relations in all, {by_source} by source and \
                 {by_target} by target"
            )));
        }
        Ok(None)
    }

    fn path(&mut self, from: u32) -> Result<Wrong> {
        let all = self.model.packages();
        let (from, to) = (&*all[from as usize].name, &*all[self.random.below(all.len())].name);
        let Some(path) = packages::why(self.snapshot, from, to)? else { return Ok(None) };
        let ends = (path.first().map(String::as_str), path.last().map(String::as_str));
        if ends != (Some(from), Some(to)) {
            return Ok(Some(format!("the path from {from} to {to} has other ends")));
        }
        for step in path.windows(2) {
            let needs =
                |relation: &Relation| relation.kind.is_needed() && relation.target == step[1];
            if !packages::relations(self.snapshot, &step[0])?.iter().any(needs) {
                let [from, to] = [&step[0], &step[1]];
                return Ok(Some(format!(
                    "a path goes from {from} to {to}, which it does not need"
                )));
            }
        }
        Ok(None)
    }
}

/// Compares `rdepends` with what apt answered; the names that differ.
pub fn compare_with_oracle(snapshot: &Snapshot) -> Result<Vec<String>> {
    let mut differ = Vec::new();
    for (name, expected) in crate::shipped::oracle() {
        let found = packages::rdepends(snapshot, name)?;
        if !found.iter().map(String::as_str).eq(expected.iter().copied()) {
            differ.push(name.to_owned());
        }
    }
    Ok(differ)
}
