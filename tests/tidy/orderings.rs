//! Every atomic of the crate has its row in ARCHITECTURE.md: what it orders, its partner, and the
//! model that checks it; and what rows name is there. Absent on purpose: whether a row is right,
//! which the models and readers tell.

use std::{collections::BTreeSet, fs, path::Path};

/// The file's own counters, which order nothing and have one row in all.
const COUNTERS: &str = "txn/metrics.rs";

/// The names of the fields of `text` that hold atomics, and of tuples that do.
fn atomics(text: &str) -> Vec<&str> {
    // Tests stand last in a file.
    let text = text.split("\nmod tests {").next().unwrap_or_default();
    let mut found = Vec::new();
    for line in text.lines().map(str::trim) {
        let is_code = !["//", "use ", "let ", "fn ", "pub fn "].iter().any(|w| line.starts_with(w));
        let Some((before, after)) = line.split_once("Atomic").filter(|_| is_code) else { continue };
        let is_type = after.starts_with(|c: char| c.is_ascii_uppercase());
        if !is_type || after.contains("::new") {
            continue;
        }
        let words = before.split_whitespace().filter(|word| !word.starts_with("pub"));
        let first = words.clone().next().unwrap_or_default();
        if first == "struct" {
            found.extend(words.clone().nth(1).and_then(|name| name.split(['(', '<']).next()));
        } else if line.ends_with(',') {
            found.extend(first.strip_suffix(':'));
        }
    }
    found
}

fn rust_files(folder: &Path, found: &mut Vec<std::path::PathBuf>) {
    for entry in fs::read_dir(folder).expect("a folder of the repository") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            rust_files(&path, found);
        } else if path.extension().is_some_and(|e| e == "rs") {
            found.push(path);
        }
    }
}

/// The cells of the tables between the line `from` and the next heading, header rows left out.
fn rows<'t>(text: &'t str, from: &str) -> Vec<Vec<&'t str>> {
    let section = text.split_once(from).map(|(_, after)| after).expect("the section");
    let section = section.split("\n#").next().unwrap_or_default();
    let lines = section.lines().filter_map(|line| line.strip_prefix("| ")?.strip_suffix(" |"));
    lines.skip(1).map(|line| line.split(" | ").collect()).collect()
}

/// The models' files that `cell` names, each with the names of models or twins behind it.
fn models(cell: &str) -> Vec<(&str, Vec<&str>)> {
    let parts = cell.split("; ").filter_map(|part| part.strip_prefix('`')?.split_once("`: "));
    parts.map(|(file, of)| (file, of.split([',', '(', ')']).map(name).collect())).collect()
}

fn name(part: &str) -> &str {
    part.trim().trim_start_matches("twins: ")
}

/// The names that do not stand in their files: as a model's name, or as a test's.
fn unknown<'n>(root: &Path, files: &[&str], names: &[&'n str]) -> Vec<&'n str> {
    let read = |file: &&str| {
        let path = root.join("loom-tests/tests").join(format!("{file}.rs"));
        fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
    };
    let texts: Vec<String> = files.iter().map(read).collect();
    let stands = |name: &str| {
        let test = name.replace(' ', "_");
        texts.iter().any(|text| text.contains(name) || text.contains(&test))
    };
    names.iter().filter(|name| !name.is_empty() && !stands(name)).copied().collect()
}

#[test]
fn every_atomic_has_its_row_and_every_row_its_atomic() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let text = fs::read_to_string(root.join("ARCHITECTURE.md")).expect("ARCHITECTURE.md");
    let (mut files, mut found) = (Vec::new(), BTreeSet::new());
    rust_files(&root.join("src"), &mut files);
    for path in files {
        let inner = path.strip_prefix(root.join("src")).expect("below src");
        let inner = inner.to_str().expect("names are ASCII").replace('\\', "/");
        // The stand-ins' own atomics are the models'.
        if inner.starts_with("sync/") || inner.ends_with("tests.rs") || inner.contains("tests/") {
            continue;
        }
        let text = fs::read_to_string(&path).expect("a source");
        for name in atomics(&text) {
            let name = if inner == COUNTERS { "*" } else { name };
            found.insert(format!("`{inner}` `{name}`"));
        }
    }
    assert!(found.len() > 15, "only {} atomics were found", found.len());
    let rows = rows(&text, "\n## Orderings\n");
    let named: BTreeSet<String> = rows.iter().map(|row| row[0].to_owned()).collect();
    let missing: Vec<_> = found.symmetric_difference(&named).collect();
    assert!(missing.is_empty(), "without an atomic, or without a row in Orderings: {missing:#?}");
    for row in rows {
        let [.., model] = row[..] else { panic!("an empty row") };
        let named = models(model);
        assert_eq!(model.starts_with("none: "), named.is_empty(), "model or reason: {row:?}");
        for (file, names) in named {
            assert_eq!(unknown(root, &[file], &names), [""; 0], "not in {file}.rs: {row:?}");
        }
    }
}

#[test]
fn every_model_and_twin_that_a_clause_names_is_there() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let text = fs::read_to_string(root.join("loom-tests/README.md")).expect("README.md");
    let rows = rows(&text, "\n## Clauses\n");
    assert!(rows.len() > 12, "only {} clauses were found", rows.len());
    for row in rows {
        let [_, model, twins] = row[..] else { panic!("three cells: {row:?}") };
        let (files, names): (Vec<_>, Vec<_>) = models(model).into_iter().unzip();
        assert!(!files.is_empty() && !twins.is_empty(), "a model and its twins: {row:?}");
        for (file, names) in files.iter().zip(&names) {
            assert_eq!(unknown(root, &[file], names), [""; 0], "not in {file}.rs: {row:?}");
        }
        let twins: Vec<&str> = twins.split(", ").collect();
        assert_eq!(unknown(root, &files, &twins), [""; 0], "not in {files:?}: {row:?}");
    }
}

#[test]
fn names_that_stand_nowhere_are_found() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let text = "\n## T\n\n| what | model |\n|---|---|\n\
                | a | `publish`: reader renewal (twins: no such thing) |\n\n\
                ## U\n| b | c |\n";
    let rows = rows(text, "\n## T\n");
    assert_eq!(rows.len(), 1);
    let named = models(rows[0][1]);
    assert_eq!(named[0], ("publish", vec!["reader renewal", "no such thing", ""]));
    assert_eq!(unknown(root, &["publish"], &named[0].1), ["no such thing"]);
    assert_eq!(unknown(root, &["queue"], &["a missing wake up"]), [""; 0]);
}

#[test]
fn atomics_are_found_where_they_are_declared() {
    let text = "use a::AtomicU8;\nstruct A {\n\
                pub(super) word: AtomicU64,\n    // b: AtomicU8,\n\
                c: [OnceLock<Box<[AtomicU32]>>; N],\n}\nstruct B(AtomicPtr<u8>);\nfn f() {\n\
                let d = A { word: AtomicU64::new(0) };\n}\n\
                #[cfg(all(test, not(loom)))]\nmod tests {\n\
                e: AtomicU8,\n}\n";
    assert_eq!(atomics(text), ["word", "c", "B"]);
}
