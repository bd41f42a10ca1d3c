//! A package index in a store: three typed tables, and the questions they answer.
//! Owns: [`PACKAGES`], [`RELATIONS`], [`DEPENDENTS`], [`TOTALS`] and what must hold between them:
//! every relation stands once by its source and once by its target; a package's record tells how
//! many it has and their digest; `TOTALS` tells how many there are.

use crate::debian::{Kind, Package, Relation};
use recto::{Result, Snapshot, Table, WriteTx};
use std::collections::{BTreeSet, HashMap, VecDeque};

/// A package's name; how often it was replaced, how many relations it has, and their [`digest`].
pub const PACKAGES: Table<&str, (u64, u32, u64)> = Table::new("packages");
/// Source, number of the kind, clause, alternative; the target.
pub const RELATIONS: Table<(&str, u8, u16, u16), &str> = Table::new("relations by source");
/// Target, source, number of the kind, clause, alternative.
pub const DEPENDENTS: Table<(&str, &str, u8, u16, u16), ()> = Table::new("relations by target");
/// The number of `relations`.
pub const TOTALS: Table<&str, u64> = Table::new("totals");

/// The key of [`TOTALS`] for the number of relations.
pub const RELATIONS_TOTAL: &str = "relations";

/// What was imported.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Imported {
    /// The packages.
    pub packages: u64,
    /// Their relations.
    pub relations: u64,
}

/// Puts an index in the place of whatever index is there. `packages` are of different names.
pub fn import(tx: &mut WriteTx<'_>, packages: &[Package]) -> Result<Imported> {
    let records = packages.iter().map(|package| (&*package.name, record(0, package)));
    let mut table = tx.table(&PACKAGES)?;
    table.clear()?;
    table.extend(records)?;
    let mut table = tx.table(&RELATIONS)?;
    table.clear()?;
    table.extend(each_relation(packages).map(|(package, relation)| {
        let Relation { kind, clause, alternative, ref target } = *relation;
        ((&*package.name, kind as u8, clause, alternative), &**target)
    }))?;
    let mut table = tx.table(&DEPENDENTS)?;
    table.clear()?;
    table.extend(each_relation(packages).map(|(package, relation)| {
        let Relation { kind, clause, alternative, ref target } = *relation;
        ((&**target, &*package.name, kind as u8, clause, alternative), ())
    }))?;
    let relations = each_relation(packages).count() as u64;
    tx.table(&TOTALS)?.insert(RELATIONS_TOTAL, relations)?;
    Ok(Imported { packages: packages.len() as u64, relations })
}

fn each_relation(packages: &[Package]) -> impl Iterator<Item = (&Package, &Relation)> {
    packages.iter().flat_map(|package| package.relations.iter().map(move |each| (package, each)))
}

fn record(revision: u64, package: &Package) -> (u64, u32, u64) {
    (revision, package.relations.len() as u32, digest(&package.relations))
}

/// Puts `package` in the place of what the store has under its name, as its revision `revision`.
pub fn replace(tx: &mut WriteTx<'_>, revision: u64, package: &Package) -> Result<()> {
    let old = {
        let relations = tx.table(&RELATIONS)?;
        let mut old = Vec::new();
        for entry in relations.prefix((&*package.name,))? {
            old.push(owned_relation(entry?));
        }
        old
    };
    let mut table = tx.table(&DEPENDENTS)?;
    for (kind, clause, alternative, target) in &old {
        table.remove((&**target, &*package.name, *kind, *clause, *alternative))?;
    }
    for relation in &package.relations {
        let Relation { kind, clause, alternative, ref target } = *relation;
        table.insert((&**target, &*package.name, kind as u8, clause, alternative), ())?;
    }
    let mut table = tx.table(&RELATIONS)?;
    for (kind, clause, alternative, _) in &old {
        table.remove((&*package.name, *kind, *clause, *alternative))?;
    }
    for relation in &package.relations {
        let Relation { kind, clause, alternative, ref target } = *relation;
        table.insert((&*package.name, kind as u8, clause, alternative), &**target)?;
    }
    tx.table(&PACKAGES)?.insert(&*package.name, record(revision, package))?;
    let change = package.relations.len() as u64;
    let total =
        |sum: Option<u64>| Some((sum.unwrap_or(0) + change).saturating_sub(old.len() as u64));
    tx.table(&TOTALS)?.update(RELATIONS_TOTAL, total)?;
    Ok(())
}

type RelationEntry<'a> = ((&'a str, u8, u16, u16), &'a str);

fn owned_relation(entry: RelationEntry<'_>) -> (u8, u16, u16, String) {
    let ((_, kind, clause, alternative), target) = entry;
    (kind, clause, alternative, target.to_owned())
}

/// What `package` says of others, in the order of kind, clause and alternative.
pub fn relations(snapshot: &Snapshot, package: &str) -> Result<Vec<Relation>> {
    let mut relations = Vec::new();
    for entry in snapshot.table(&RELATIONS)?.prefix((package,))? {
        let ((_, kind, clause, alternative), target) = entry?;
        // A number that no kind has was not written by this program: it stands for nothing here.
        if let Some(kind) = Kind::from_number(kind) {
            relations.push(Relation { kind, clause, alternative, target: target.to_owned() });
        }
    }
    Ok(relations)
}

/// The packages that name `package` in any way but by providing it, as `apt-cache rdepends` counts:
/// a name that no package has, though others may provide it, answers with nothing.
pub fn rdepends(snapshot: &Snapshot, package: &str) -> Result<BTreeSet<String>> {
    let mut dependents = BTreeSet::new();
    if !snapshot.table(&PACKAGES)?.contains(package)? {
        return Ok(dependents);
    }
    for entry in snapshot.table(&DEPENDENTS)?.prefix((package,))? {
        let ((_, source, kind, ..), ()) = entry?;
        if kind != Kind::Provides as u8 && !dependents.contains(source) {
            dependents.insert(source.to_owned());
        }
    }
    Ok(dependents)
}

/// Whether any package names `name`.
pub fn is_named(snapshot: &Snapshot, name: &str) -> Result<bool> {
    let dependents = snapshot.table(&DEPENDENTS)?;
    Ok(dependents.prefix((name,))?.next().transpose()?.is_some())
}

/// A shortest path from `from` to `to` along what each package needs, every alternative counting;
/// both ends are on it. None if there is none.
///
/// Cost: one look at the relations of every package nearer than `to`.
pub fn why(snapshot: &Snapshot, from: &str, to: &str) -> Result<Option<Vec<String>>> {
    let relations = snapshot.table(&RELATIONS)?;
    // Each name that was met, with the one that led to it.
    let mut met: HashMap<String, String> = HashMap::from([(from.to_owned(), String::new())]);
    let mut queue = VecDeque::from([from.to_owned()]);
    while let Some(name) = queue.pop_front() {
        if name == to {
            return Ok(Some(path_to(&met, name)));
        }
        for entry in relations.prefix((&*name,))? {
            let ((_, kind, ..), target) = entry?;
            let is_needed = Kind::from_number(kind).is_some_and(Kind::is_needed);
            if is_needed && !met.contains_key(target) {
                met.insert(target.to_owned(), name.clone());
                queue.push_back(target.to_owned());
            }
        }
    }
    Ok(None)
}

fn path_to(met: &HashMap<String, String>, end: String) -> Vec<String> {
    let mut path = vec![end];
    while let Some(before) = path.last().and_then(|name| met.get(name))
        && !before.is_empty()
    {
        path.push(before.clone());
    }
    path.reverse();
    path
}

/// A digest of relations in their order (64-bit FNV-1a): two lists that differ have, but for
/// accidents, different ones.
pub fn digest(relations: &[Relation]) -> u64 {
    let mut digest = 0xcbf2_9ce4_8422_2325;
    let mut take = |bytes: &[u8]| {
        for &byte in bytes {
            digest = (digest ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        }
    };
    for Relation { kind, clause, alternative, target } in relations {
        take(&[*kind as u8]);
        take(&clause.to_le_bytes());
        take(&alternative.to_le_bytes());
        take(target.as_bytes());
        take(&[0]);
    }
    digest
}
