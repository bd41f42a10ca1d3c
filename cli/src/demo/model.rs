//! What the store must answer at every version, kept beside it.
//! Owns: [`Model`]: what each revision of a package says, and which version brought which revision;
//! [`Faults`], what was found wrong.
//! A revision's relations follow from the seed alone, so nothing but its number has to be kept.

use crate::{
    debian::{Kind, Package, Relation},
    figures::Random,
};
use std::{
    collections::{BTreeMap, HashMap, btree_map::Entry},
    sync::{Mutex, MutexGuard, PoisonError},
};

/// Revisions that one transaction brought: the package's place in the index, and the number.
pub type Changes = Vec<(u32, u64)>;

/// The index as it was imported, and everything that was committed since.
pub struct Model {
    packages: Vec<Package>,
    seed: u64,
    /// The version of the import.
    base: u64,
    commits: Mutex<BTreeMap<u64, Changes>>,
}

/// A package as a reader saw it.
#[derive(Clone, Copy, Debug)]
pub struct Sighting {
    /// The version of the reader's snapshot.
    pub version: u64,
    /// The package's place in the index.
    pub package: u32,
    /// The revision that the snapshot showed.
    pub revision: u64,
}

impl Model {
    /// The model of a store that was just filled with `packages`.
    pub fn new(packages: Vec<Package>, seed: u64, base: u64) -> Model {
        Model { packages, seed, base, commits: Mutex::new(BTreeMap::new()) }
    }

    /// The index as it was imported.
    pub fn packages(&self) -> &[Package] {
        &self.packages
    }

    /// What revision `revision` of a package says; revision 0 is the imported one.
    pub fn content(&self, package: u32, revision: u64) -> Package {
        let original = &self.packages[package as usize];
        let mut content = Package { name: original.name.clone(), relations: Vec::new() };
        if revision == 0 {
            content.relations.clone_from(&original.relations);
            return content;
        }
        let start = self.seed ^ (u64::from(package) << 32) ^ revision;
        let mut random = Random::new(Random::new(start).next());
        let mut clause = 0;
        for relation in &original.relations {
            if relation.kind == Kind::Depends {
                clause = clause.max(relation.clause + 1);
            }
            match random.below(8) {
                0 => {}
                1 | 2 => {
                    let target = self.any_name(&mut random);
                    content.relations.push(Relation { target, ..relation.clone() });
                }
                _ => content.relations.push(relation.clone()),
            }
        }
        for _ in 0..random.below(4) {
            let target = self.any_name(&mut random);
            content.relations.push(Relation {
                kind: Kind::Depends,
                clause,
                alternative: 0,
                target,
            });
            clause += 1;
        }
        content.relations.sort();
        content
    }

    fn any_name(&self, random: &mut Random) -> String {
        self.packages[random.below(self.packages.len())].name.clone()
    }

    /// Notes what a commit brought, once it was answered.
    pub fn record(&self, version: u64, changes: Changes) -> Result<(), String> {
        match self.commits().entry(version) {
            Entry::Vacant(place) => {
                place.insert(changes);
                Ok(())
            }
            Entry::Occupied(_) => Err(format!("version {version} was given to two commits")),
        }
    }

    /// The newest revision of every package that was replaced.
    pub fn newest(&self) -> HashMap<u32, u64> {
        let commits = self.commits();
        commits.values().flatten().copied().collect()
    }

    /// Compares what readers saw with what was committed, now that every commit was answered; the
    /// first discrepancies as sentences, and how many revisions were committed.
    pub fn verify(&self, sightings: &[Sighting]) -> (Vec<String>, u64) {
        let commits = self.commits();
        let mut wrong = Vec::new();
        let mut revisions: HashMap<u32, Vec<(u64, u64)>> = HashMap::new();
        for ((&version, changes), expected) in commits.iter().zip(self.base + 1..) {
            if version != expected {
                wrong.push(format!("version {expected} is missing; {version} came instead"));
                break;
            }
            for &(package, revision) in changes {
                let known = revisions.entry(package).or_default();
                if revision != known.last().map_or(0, |last| last.1) + 1 {
                    let name = &self.packages[package as usize].name;
                    wrong.push(format!("version {version} brought revision {revision} of {name}"));
                }
                known.push((version, revision));
            }
        }
        for sighting in sightings {
            let known = revisions.get(&sighting.package).map_or(&[][..], Vec::as_slice);
            let before = known.partition_point(|&(version, _)| version <= sighting.version);
            let expected = before.checked_sub(1).map_or(0, |last| known[last].1);
            if sighting.revision != expected && wrong.len() < Faults::SHOWN {
                let name = &self.packages[sighting.package as usize].name;
                wrong.push(format!(
                    "version {} showed revision {} of {name}, not {expected}",
                    sighting.version, sighting.revision
                ));
            }
        }
        (wrong, revisions.values().map(|known| known.len() as u64).sum())
    }

    fn commits(&self) -> MutexGuard<'_, BTreeMap<u64, Changes>> {
        self.commits.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What was found wrong, by any thread.
#[derive(Default)]
pub struct Faults {
    found: Mutex<(u64, Vec<String>)>,
}

impl Faults {
    /// The most sentences that are kept.
    pub const SHOWN: usize = 20;

    /// Notes a discrepancy.
    pub fn note(&self, sentence: impl Into<String>) {
        let mut found = self.found.lock().unwrap_or_else(PoisonError::into_inner);
        found.0 += 1;
        if found.1.len() < Faults::SHOWN {
            found.1.push(sentence.into());
        }
    }

    /// Notes an error as a discrepancy.
    pub fn expect<T, E: std::fmt::Display>(&self, what: &str, result: Result<T, E>) -> Option<T> {
        result.map_err(|e| self.note(format!("{what}: {e}"))).ok()
    }

    /// How many there were, and the first of them.
    pub fn take(&self) -> (u64, Vec<String>) {
        std::mem::take(&mut *self.found.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn model() -> Model {
        let package = |name: &str| Package {
            name: name.into(),
            relations: vec![Relation {
                kind: Kind::Depends,
                clause: 0,
                alternative: 0,
                target: "libc6".into(),
            }],
        };
        Model::new(vec![package("a"), package("b")], 1, 10)
    }

    #[test]
    fn a_revision_is_the_same_whenever_it_is_asked() {
        let model = model();
        for revision in 0..50 {
            let content = model.content(1, revision);
            assert_eq!(content, model.content(1, revision));
            let mut places: Vec<_> =
                content.relations.iter().map(|r| (r.kind, r.clause, r.alternative)).collect();
            places.dedup();
            assert_eq!(places.len(), content.relations.len(), "a place is there twice");
        }
        assert_eq!(model.content(0, 0), model.packages()[0]);
        assert!((1..9).any(|revision| model.content(0, revision) != model.content(0, 0)));
    }

    #[test]
    fn a_sighting_must_be_of_the_newest_revision_at_its_version() {
        let model = model();
        model.record(12, vec![(0, 2)]).unwrap();
        model.record(11, vec![(0, 1), (1, 1)]).unwrap();
        assert!(model.record(11, vec![]).is_err());
        let see = |version, package, revision| Sighting { version, package, revision };
        let right = [see(10, 0, 0), see(11, 0, 1), see(12, 0, 2), see(99, 0, 2), see(12, 1, 1)];
        assert_eq!(model.verify(&right), (vec![], 3));
        for wrong in [see(10, 0, 1), see(11, 0, 0), see(11, 0, 2), see(12, 0, 1), see(10, 1, 1)] {
            assert_eq!(model.verify(&[wrong]).0.len(), 1, "{wrong:?}");
        }
        assert_eq!(model.newest(), HashMap::from([(0, 2), (1, 1)]));
    }

    #[test]
    fn a_hole_or_a_lost_update_is_found() {
        let hole = model();
        hole.record(11, vec![(0, 1)]).unwrap();
        hole.record(13, vec![(0, 2)]).unwrap();
        assert!(hole.verify(&[]).0[0].contains("version 12 is missing"));
        let lost = model();
        lost.record(11, vec![(0, 1)]).unwrap();
        lost.record(12, vec![(0, 1)]).unwrap();
        assert!(lost.verify(&[]).0[0].contains("version 12 brought revision 1 of a"));
    }
}
