//! Damaged stores as a user of the command meets them: what `check` and `salvage` print, and with
//! which code they end.

use std::{
    collections::BTreeMap,
    fs,
    path::Path,
    process::{Command, Output},
    time::SystemTime,
};

fn recto(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_recto")).args(arguments).output().unwrap()
}

/// The code it ends with, and what it prints.
fn run(arguments: &[&str]) -> (i32, String) {
    let output = recto(arguments);
    (output.status.code().unwrap(), String::from_utf8(output.stdout).unwrap())
}

/// A store of 300 entries in several leaves.
fn filled(dir: &str) {
    let store = recto::Store::open(dir).unwrap();
    let ages: recto::Table<&str, &str> = recto::Table::new("ages");
    let value = "v".repeat(60);
    store
        .write(|tx| {
            for i in 0..300 {
                tx.table(&ages)?.insert(&format!("key {i}"), &value)?;
            }
            Ok(())
        })
        .unwrap();
    store.close().unwrap();
}

/// Flips a bit in each leaf from the second on, or in none.
fn damage(dir: &str) {
    let pages = Path::new(dir).join("pages");
    let mut bytes = fs::read(&pages).unwrap();
    let leaf = (3..bytes.len() / 4096).find(|page| bytes[page * 4096 + 20] == 1).unwrap();
    bytes.chunks_mut(4096).skip(leaf).for_each(|page| page[3000] ^= 1);
    fs::write(&pages, bytes).unwrap();
}

/// Every file with its content and when it was changed.
fn files(dir: &str) -> BTreeMap<String, (Vec<u8>, SystemTime)> {
    let file = |entry: fs::DirEntry| {
        let changed = entry.metadata().unwrap().modified().unwrap();
        let content = fs::read(entry.path()).unwrap();
        (entry.file_name().into_string().unwrap(), (content, changed))
    };
    fs::read_dir(dir).unwrap().map(|entry| file(entry.unwrap())).collect()
}

#[test]
fn salvage_copies_what_a_damaged_store_still_has_and_leaves_it_alone() {
    let parent = tempfile::tempdir().unwrap();
    let path = |name: &str| parent.path().join(name).to_str().unwrap().to_owned();
    let (dir, copy, rest) = (path("store"), path("copy"), path("rest"));
    filled(&dir);
    let before = files(&dir);
    let (code, printed) = run(&["salvage", &dir, &copy]);
    assert_eq!(code, 0, "{printed}");
    assert!(printed.contains("300 entries") && printed.contains("nothing was lost"), "{printed}");
    assert!(files(&dir) == before, "the source was changed");
    assert_eq!(run(&["dump", &dir]), run(&["dump", &copy]));
    damage(&dir);
    let before = files(&dir);
    let (code, printed) = run(&["salvage", &dir, &rest]);
    assert_eq!(code, 1, "{printed}");
    assert!(printed.contains("damaged: ") && printed.contains("page "), "{printed}");
    assert!(files(&dir) == before, "the source was changed");
    let (whole, saved) = (run(&["dump", &copy]).1, run(&["dump", &rest]).1);
    let entries = |dump: &str| -> Vec<String> {
        dump.lines().filter(|line| line.starts_with("{\"key")).map(str::to_owned).collect()
    };
    let (whole, saved) = (entries(&whole), entries(&saved));
    assert!(saved.iter().all(|entry| whole.contains(entry)), "{saved:?}");
    assert!((20..300).contains(&saved.len()), "{saved:?}");
    assert_eq!(run(&["check", &rest]).0, 0);
}

#[test]
fn salvage_refuses_what_it_would_spoil() {
    let parent = tempfile::tempdir().unwrap();
    let path = |name: &str| parent.path().join(name).to_str().unwrap().to_owned();
    let (dir, full, absent) = (path("store"), path("full"), path("absent"));
    filled(&dir);
    filled(&full);
    let before = run(&["dump", &full]);
    assert_eq!(run(&["salvage", &dir, &full]).0, 2, "the target has tables");
    assert_eq!(run(&["dump", &full]), before);
    assert_eq!(run(&["salvage", &absent, &path("new")]).0, 2, "there is no source");
    assert!(!Path::new(&path("new")).exists(), "nothing was salvaged, and nothing made");
    let held = recto::Store::open(&dir).unwrap();
    assert_eq!(run(&["salvage", &dir, &path("other")]).0, 2, "the source is open");
    held.close().unwrap();
}

#[test]
fn check_tells_damage_from_what_could_not_be_checked() {
    let parent = tempfile::tempdir().unwrap();
    let path = |name: &str| parent.path().join(name).to_str().unwrap().to_owned();
    let (dir, absent, file) = (path("store"), path("absent"), path("file"));
    filled(&dir);
    let (code, printed) = run(&["check", &dir]);
    assert!(code == 0 && printed.starts_with("clean: 1 tables, 300 entries, "), "{printed}");
    // Could not run: no store, a file in its place, a store that is open, no argument.
    assert_eq!(run(&["check", &absent]), (2, String::new()));
    assert!(!Path::new(&absent).exists());
    fs::write(&file, "text").unwrap();
    assert_eq!(run(&["check", &file]), (2, String::new()));
    let held = recto::Store::open(&dir).unwrap();
    assert_eq!(run(&["check", &dir]), (2, String::new()));
    held.close().unwrap();
    drop(held);
    assert_eq!(run(&["check"]), (2, String::new()));
    // Damage: in pages, and of everything that opening needs.
    damage(&dir);
    let (code, printed) = run(&["check", &dir]);
    assert!(code == 1 && printed.starts_with("damaged: page "), "{printed}");
    let pages = Path::new(&dir).join("pages");
    let mut bytes = fs::read(&pages).unwrap();
    bytes[..8192].fill(0);
    fs::write(&pages, bytes).unwrap();
    let (code, printed) = run(&["check", &dir]);
    assert!(code == 1 && printed.starts_with("damaged: "), "{printed}");
    fs::remove_file(pages).unwrap();
    fs::write(Path::new(&dir).join("log-0000000000000001"), "remains").unwrap();
    assert_eq!(run(&["check", &dir]).0, 1);
}
