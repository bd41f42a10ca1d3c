//! The Debian package index as text: what `apt-cache dumpavail` prints.
//! Owns: [`Package`], [`Relation`], [`Kind`] and their reading. It is pure: text in, packages out.
//! A name with an architecture qualifier (`python3:any`) is a name of its own, as it is for apt.
//! Absent on purpose: versions and architecture restrictions are skipped, no question asks them.

use std::{
    collections::BTreeMap,
    fmt,
    io::{self, BufRead},
};

/// What a relation says; its number is what the store keeps.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum Kind {
    /// Must be configured before the source is unpacked.
    PreDepends,
    /// Must be there for the source to work.
    Depends,
    /// Is there in all but unusual installations.
    Recommends,
    /// Makes the source more useful.
    Suggests,
    /// The source makes it more useful.
    Enhances,
    /// Cannot be there at the same time.
    Conflicts,
    /// Stops working while the source is there.
    Breaks,
    /// Owns files that the source may overwrite.
    Replaces,
    /// A name that the source answers to as well.
    Provides,
}

/// Every kind, in the order of its number.
pub const KINDS: [Kind; 9] = [
    Kind::PreDepends,
    Kind::Depends,
    Kind::Recommends,
    Kind::Suggests,
    Kind::Enhances,
    Kind::Conflicts,
    Kind::Breaks,
    Kind::Replaces,
    Kind::Provides,
];

impl Kind {
    /// The name of the field.
    pub const fn field(self) -> &'static str {
        match self {
            Kind::PreDepends => "Pre-Depends",
            Kind::Depends => "Depends",
            Kind::Recommends => "Recommends",
            Kind::Suggests => "Suggests",
            Kind::Enhances => "Enhances",
            Kind::Conflicts => "Conflicts",
            Kind::Breaks => "Breaks",
            Kind::Replaces => "Replaces",
            Kind::Provides => "Provides",
        }
    }

    /// The kind that the store keeps as `number`.
    pub fn from_number(number: u8) -> Option<Kind> {
        KINDS.get(usize::from(number)).copied()
    }

    /// Whether the source needs the target (or one of its alternatives) to work.
    pub fn is_needed(self) -> bool {
        matches!(self, Kind::PreDepends | Kind::Depends)
    }

    fn of_field(field: &[u8]) -> Option<Kind> {
        KINDS.into_iter().find(|kind| field.eq_ignore_ascii_case(kind.field().as_bytes()))
    }
}

/// One name in one field: `Depends: a, b | c` holds three.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Relation {
    /// The field.
    pub kind: Kind,
    /// The place between commas, counted from 0 for each kind.
    pub clause: u16,
    /// The place between bars, counted from 0 for each clause.
    pub alternative: u16,
    /// The name that is pointed at; there need be no package of this name.
    pub target: String,
}

/// A package and everything it says about others.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Package {
    /// The name, without version or architecture.
    pub name: String,
    /// In the order of kind, clause and alternative.
    pub relations: Vec<Relation>,
}

/// Why a package index could not be read.
#[derive(Debug)]
pub enum Unreadable {
    /// The input failed.
    Input(io::Error),
    /// A line makes no sense.
    Line {
        /// Counted from 1.
        line: u64,
        /// What is wrong with it; lower case.
        reason: String,
    },
}

impl fmt::Display for Unreadable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Unreadable::Input(e) => write!(f, "the package index could not be read: {e}"),
            Unreadable::Line { line, reason } => {
                write!(f, "line {line} of the package index: {reason}")
            }
        }
    }
}

impl std::error::Error for Unreadable {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Unreadable::Input(e) => Some(e),
            Unreadable::Line { .. } => None,
        }
    }
}

/// Reads an index to its end; packages come sorted by name, and one that is there twice comes once,
/// with the relations of both.
pub fn read(input: impl BufRead) -> Result<Vec<Package>, Unreadable> {
    let mut index = Index::default();
    let mut input = input;
    let mut line = Vec::new();
    loop {
        line.clear();
        if input.read_until(b'\n', &mut line).map_err(Unreadable::Input)? == 0 {
            break;
        }
        index.line += 1;
        let end = line.trim_ascii_end().len();
        index.take_line(&line[..end])?;
    }
    index.end_stanza()?;
    Ok(index.packages.into_iter().map(|(name, relations)| Package { name, relations }).collect())
}

/// A relation field, folded lines joined, with the line it began at.
struct Field {
    line: u64,
    kind: Kind,
    text: Vec<u8>,
}

/// What has been read so far.
#[derive(Default)]
struct Index {
    packages: BTreeMap<String, Vec<Relation>>,
    line: u64,
    /// The stanza in progress: its name, its relation fields, and whether it has any field.
    name: Option<String>,
    fields: Vec<Field>,
    in_stanza: bool,
    /// Whether the last field is a relation, which a folded line continues.
    in_relation: bool,
}

impl Index {
    fn take_line(&mut self, line: &[u8]) -> Result<(), Unreadable> {
        if line.is_empty() {
            return self.end_stanza();
        }
        if line[0] == b' ' || line[0] == b'\t' {
            if !self.in_stanza {
                return Err(self.unreadable("continues a field, but there is none"));
            }
            if let (true, Some(field)) = (self.in_relation, self.fields.last_mut()) {
                field.text.extend_from_slice(line);
            }
            return Ok(());
        }
        let Some(colon) = line.iter().position(|&byte| byte == b':') else {
            return Err(self.unreadable("is not a field: there is no colon in it"));
        };
        let (field, text) = (&line[..colon], line[colon + 1..].trim_ascii());
        self.in_stanza = true;
        self.in_relation = false;
        if field.eq_ignore_ascii_case(b"Package") {
            let name = self.name_of(text)?;
            if self.name.replace(name).is_some() {
                return Err(self.unreadable("names a second package in one stanza"));
            }
        } else if let Some(kind) = Kind::of_field(field) {
            self.in_relation = true;
            self.fields.push(Field { line: self.line, kind, text: text.to_vec() });
        }
        Ok(())
    }

    fn end_stanza(&mut self) -> Result<(), Unreadable> {
        if !self.in_stanza {
            return Ok(());
        }
        self.in_stanza = false;
        let Some(name) = self.name.take() else {
            return Err(self.unreadable("ends a stanza that names no package"));
        };
        let mut relations = self.packages.remove(&name).unwrap_or_default();
        let end = self.line;
        for field in std::mem::take(&mut self.fields) {
            self.line = field.line;
            self.take_field(field.kind, &field.text, &mut relations)?;
        }
        self.line = end;
        relations.sort();
        self.packages.insert(name, relations);
        Ok(())
    }

    fn take_field(
        &self,
        kind: Kind,
        text: &[u8],
        relations: &mut Vec<Relation>,
    ) -> Result<(), Unreadable> {
        let earlier = relations.iter().filter(|relation| relation.kind == kind);
        let mut clause = earlier.map(|relation| relation.clause + 1).max().unwrap_or(0);
        for group in text.split(|&byte| byte == b',') {
            let mut alternative = 0;
            for element in group.split(|&byte| byte == b'|') {
                let end = element.iter().position(|byte| b"([<".contains(byte));
                let bare = element[..end.unwrap_or(element.len())].trim_ascii();
                if bare.is_empty() {
                    continue;
                }
                let target = self.name_of(bare)?;
                relations.push(Relation { kind, clause, alternative, target });
                alternative += 1;
            }
            if alternative > 0 {
                // One less than the most, so that the next field of this kind can count on.
                clause =
                    clause.checked_add(1).filter(|&clause| clause < u16::MAX).ok_or_else(|| {
                        self.unreadable(format!("has more than {} clauses", u16::MAX - 1))
                    })?;
            }
        }
        Ok(())
    }

    fn name_of(&self, text: &[u8]) -> Result<String, Unreadable> {
        let plain = |byte: &u8| byte.is_ascii_graphic();
        if text.is_empty() || text.len() > NAME_BYTES_MAX || !text.iter().all(plain) {
            let shown = String::from_utf8_lossy(&text[..text.len().min(40)]);
            return Err(self.unreadable(format!("\"{shown}\" is no name of a package")));
        }
        Ok(String::from_utf8_lossy(text).into_owned())
    }

    fn unreadable(&self, reason: impl Into<String>) -> Unreadable {
        Unreadable::Line { line: self.line, reason: reason.into() }
    }
}

/// The longest name; two of them fit into a key.
const NAME_BYTES_MAX: usize = 255;

#[cfg(test)]
mod tests {
    use super::*;

    fn read_text(text: &str) -> Result<Vec<Package>, String> {
        read(text.as_bytes()).map_err(|e| e.to_string())
    }

    fn shown(package: &Package) -> Vec<String> {
        let show = |r: &Relation| {
            format!("{} {}.{} {}", r.kind.field(), r.clause, r.alternative, r.target)
        };
        package.relations.iter().map(show).collect()
    }

    #[test]
    fn every_alternative_counts_and_versions_do_not() {
        let text = "Package: a\nVersion: 1\nDepends: b (>= 2), c | d (<< 3) [amd64],\n e:any <!x>\n\
                    Description: Conflicts: none\n Depends: nothing\nprovides: f (= 1)\n";
        let packages = read_text(text).unwrap();
        assert_eq!(packages.len(), 1);
        let expected = [
            "Depends 0.0 b",
            "Depends 1.0 c",
            "Depends 1.1 d",
            "Depends 2.0 e:any",
            "Provides 0.0 f",
        ];
        assert_eq!(shown(&packages[0]), expected);
    }

    #[test]
    fn a_package_that_is_there_twice_keeps_both_relations() {
        let text = "Package: z\n\n\nPackage: a\nDepends: b\n\nPackage: a\nDepends: c\n\n";
        let packages = read_text(text).unwrap();
        assert_eq!(packages[0].name, "a");
        assert_eq!(shown(&packages[0]), ["Depends 0.0 b", "Depends 1.0 c"]);
        assert_eq!(packages[1], Package { name: "z".into(), relations: vec![] });
    }

    #[test]
    fn an_unreadable_line_is_named_by_its_number() {
        for (text, expected) in [
            ("Package: a\nnonsense\n", "line 2 of the package index: is not a field"),
            ("Depends: b\n\nPackage: a\n", "line 2 of the package index: ends a stanza that names"),
            ("Package: a\nPackage: b\n", "line 2 of the package index: names a second package"),
            (" folded\n", "line 1 of the package index: continues a field"),
            ("Package:\n", "line 1 of the package index: \"\" is no name"),
            (
                "Package: a\nDepends: b c\nSize: 1\n",
                "line 2 of the package index: \"b c\" is no name",
            ),
        ] {
            let error = read_text(text).unwrap_err();
            assert!(error.starts_with(expected), "{text:?}: {error}");
        }
        assert_eq!(read_text("").unwrap(), vec![]);
    }

    #[test]
    fn clauses_are_counted_up_to_their_limit() {
        let many = |n: usize| format!("Package: a\nDepends: {}\n", vec!["b"; n].join(","));
        assert_eq!(read_text(&many(65_534)).unwrap()[0].relations.len(), 65_534);
        let error = read_text(&many(65_535)).unwrap_err();
        assert!(error.contains("more than 65534 clauses"), "{error}");
    }
}
