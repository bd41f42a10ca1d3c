//! Every atomic of the crate has its row in ARCHITECTURE.md: what it orders, its partner, and the
//! model that checks it. Absent on purpose: whether the row is right; the models and readers tell.

use std::{fs, path::Path};

/// The file's own counters, which order nothing and have one row in all.
const COUNTERS: &str = "txn/metrics.rs";

/// The names of the fields of `text` that hold atomics, and of tuples that do.
fn atomics(text: &str) -> Vec<&str> {
    let text = text.split("#[cfg(test)]").next().unwrap_or_default();
    let text = text.split("#[cfg(all(test").next().unwrap_or_default();
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

#[test]
fn every_atomic_has_its_row() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let table = fs::read_to_string(root.join("ARCHITECTURE.md")).expect("ARCHITECTURE.md");
    let mut files = Vec::new();
    rust_files(&root.join("src"), &mut files);
    let (mut rows, mut missing) = (0, Vec::new());
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
            rows += 1;
            if !table.contains(&format!("\n| `{inner}` `{name}` |")) {
                missing.push(format!("{inner}: {name}"));
            }
        }
    }
    assert!(rows > 15, "only {rows} atomics were found");
    assert!(missing.is_empty(), "without a row in ARCHITECTURE.md, \"Orderings\": {missing:#?}");
}

#[test]
fn atomics_are_found_where_they_are_declared() {
    let text = "use a::AtomicU8;\nstruct A {\n\
                pub(super) word: AtomicU64,\n    // b: AtomicU8,\n\
                c: [OnceLock<Box<[AtomicU32]>>; N],\n}\nstruct B(AtomicPtr<u8>);\nfn f() {\n\
                let d = A { word: AtomicU64::new(0) };\n}\n#[cfg(test)]\nmod tests {\n\
                e: AtomicU8,\n}\n";
    assert_eq!(atomics(text), ["word", "c", "B"]);
}
