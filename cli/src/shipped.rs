//! What ships with the command: the Debian package index, and apt's answers about it.
//! Made by `cli/data/make`; see there for what is in it and which rule the answers follow.

use crate::debian::{self, Package, Unreadable};
use ruzstd::decoding::StreamingDecoder;
use std::{
    collections::{BTreeMap, BTreeSet},
    io::{self, BufReader},
};

const PACKAGES: &[u8] = include_bytes!("../data/packages.zst");
const ORACLE: &str = include_str!("../data/oracle.txt");

/// The packages of the shipped index, sorted by name.
pub fn packages() -> Result<Vec<Package>, Unreadable> {
    let decoder =
        StreamingDecoder::new(PACKAGES).map_err(|e| Unreadable::Input(io::Error::other(e)))?;
    debian::read(BufReader::with_capacity(1 << 16, decoder))
}

/// What `apt-cache rdepends` answers: the dependents of each name that was asked.
pub fn oracle() -> BTreeMap<&'static str, BTreeSet<&'static str>> {
    let mut answers = BTreeMap::new();
    let mut asked = "";
    for line in ORACLE.lines() {
        if let Some(dependent) = line.strip_prefix("  ") {
            answers.entry(asked).or_insert_with(BTreeSet::new).insert(dependent);
        } else {
            asked = line;
            answers.insert(asked, BTreeSet::new());
        }
    }
    answers
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::debian::Kind;

    #[test]
    fn the_rule_gives_what_apt_answers() {
        let packages = packages().unwrap();
        assert_eq!(packages.len(), 63_498);
        let relations: usize = packages.iter().map(|package| package.relations.len()).sum();
        assert_eq!(relations, 415_129);
        let names: BTreeSet<&str> = packages.iter().map(|package| &*package.name).collect();
        let oracle = oracle();
        assert_eq!(oracle.len(), 20);
        for (asked, expected) in &oracle {
            let points_there = |package: &&Package| {
                let mut counted = package.relations.iter().filter(|r| r.kind != Kind::Provides);
                counted.any(|relation| relation.target == *asked)
            };
            let mut found: BTreeSet<&str> = BTreeSet::new();
            if names.contains(asked) {
                found.extend(packages.iter().filter(points_there).map(|package| &*package.name));
            }
            assert_eq!(&found, expected, "{asked}");
        }
        assert_eq!(oracle["perl"].len(), 1107);
        assert!(oracle["0xffff"].is_empty() && names.contains("0xffff"));
        assert!(oracle["mail-transport-agent"].is_empty());
        assert!(!names.contains("mail-transport-agent"));
    }
}
