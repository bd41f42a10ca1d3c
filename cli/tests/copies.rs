//! Copies, increments, restores and compactions as a user of the command meets them, and the
//! README's commands.

use std::{
    fs,
    path::Path,
    process::{Command, Output},
};

fn recto(home: &Path, arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_recto")).current_dir(home).args(arguments).output().unwrap()
}

/// What it prints if it ends well.
fn printed(home: &Path, arguments: &[&str]) -> String {
    let output = recto(home, arguments);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "recto {arguments:?}: {errors}");
    String::from_utf8(output.stdout).unwrap()
}

fn refused(home: &Path, arguments: &[&str]) -> String {
    let output = recto(home, arguments);
    assert_eq!(output.status.code(), Some(2), "recto {arguments:?}");
    assert!(output.stdout.is_empty());
    String::from_utf8(output.stderr).unwrap()
}

#[test]
fn the_readme_commands_end_well() {
    let home = tempfile::tempdir().unwrap();
    let readme = include_str!("../../README.md");
    let commands: Vec<&str> =
        readme.lines().filter_map(|line| line.strip_prefix("$ recto ")).collect();
    assert!(commands.len() >= 8, "{commands:?}");
    for command in commands {
        let arguments: Vec<&str> = command.split_whitespace().collect();
        printed(home.path(), &arguments);
    }
    assert_eq!(printed(home.path(), &["get", "again", "ages", "alan"]), "41\n");
    let (store, rest) = (["dump", "store"], ["dump", "rest"]);
    assert_eq!(printed(home.path(), &store), printed(home.path(), &rest));
}

#[test]
fn every_version_that_was_copied_comes_back() {
    let home = tempfile::tempdir().unwrap();
    let home = home.path();
    let put = |key: &str, value: &str| printed(home, &["put", "store", "ages", key, value]);
    let dumped = |dir: &str| printed(home, &["dump", dir]);
    put("ada", "36");
    assert!(printed(home, &["backup", "store", "base"]).starts_with("copied version 1: "));
    let first = dumped("store");
    assert_eq!(dumped("base"), first);
    put("alan", "41");
    let said = printed(home, &["backup", "store", "one", "--since", "base"]);
    assert!(said.starts_with("increment from version 1 to version 2: 1 changes, "), "{said}");
    let second = dumped("store");
    printed(home, &["restore", "base", "second", "one"]);
    printed(home, &["del", "store", "ages", "ada"]);
    let said = printed(home, &["backup", "store", "two", "--since", "second"]);
    assert!(said.starts_with("increment from version 2 to version 3: 1 changes, "), "{said}");
    let third = dumped("store");
    // By the one that leads there directly, and by way of another, in any order.
    let newest = printed(home, &["restore", "base", "third", "two", "one"]);
    assert!(newest.starts_with("restored version 3: "), "{newest}");
    printed(home, &["restore", "base", "again", "one", "two", "--version", "2"]);
    printed(home, &["restore", "base", "oldest", "one", "--version", "1"]);
    let all = [("oldest", &first), ("second", &second), ("again", &second), ("third", &third)];
    for (dir, expected) in all {
        assert_eq!(dumped(dir), *expected, "{dir}");
        printed(home, &["check", dir]);
    }
    // Nothing is written over, and nothing made of what does not fit.
    refused(home, &["backup", "store", "base"]);
    refused(home, &["backup", "store", "one", "--since", "base"]);
    refused(home, &["restore", "base", "third", "one"]);
    refused(home, &["restore", "base", "new", "two"]);
    refused(home, &["restore", "base", "new", "one", "--version", "9"]);
    refused(home, &["backup", "absent", "new"]);
    refused(home, &["backup", "store", "new", "--since", "absent"]);
    assert!(!home.join("new/pages").exists() && !home.join("absent").exists());
    assert_eq!(dumped("base"), first);
}

#[test]
fn a_damaged_increment_is_refused_by_its_name() {
    let home = tempfile::tempdir().unwrap();
    let home = home.path();
    printed(home, &["put", "store", "ages", "ada", "36"]);
    printed(home, &["backup", "store", "base"]);
    printed(home, &["put", "store", "ages", "alan", "41"]);
    printed(home, &["backup", "store", "one", "--since", "base"]);
    let mut bytes = fs::read(home.join("one")).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(home.join("one"), bytes).unwrap();
    let said = refused(home, &["restore", "base", "new", "one"]);
    assert!(said.contains("one is damaged"), "{said}");
    assert!(!home.join("new/pages").exists());
}

#[test]
fn compacting_makes_the_file_smaller_and_changes_nothing() {
    let home = tempfile::tempdir().unwrap();
    let home = home.path();
    let rows: recto::Table<u64, &[u8]> = recto::Table::new("rows");
    let store = recto::Store::open(home.join("store")).unwrap();
    store.write(|tx| tx.table(&rows)?.extend((0..20_000).map(|i| (i, &[7; 100][..])))).unwrap();
    store.write(|tx| tx.table(&rows)?.remove_range(..18_000)).unwrap();
    store.close().unwrap();
    drop(store);
    let size = || fs::metadata(home.join("store/pages")).unwrap().len();
    let (before, content) = (size(), printed(home, &["dump", "store"]));
    let said = printed(home, &["compact", "store", "--pages", "50"]);
    assert!(said.contains(" pages copied, "), "{said}");
    assert!(size() < before / 3, "{before} to {}", size());
    assert_eq!(printed(home, &["dump", "store"]), content);
    printed(home, &["check", "store"]);
    refused(home, &["compact", "absent"]);
}

#[test]
fn space_is_measured_after_each_step_and_leaves_nothing_behind() {
    let home = tempfile::tempdir().unwrap();
    let measured = printed(home.path(), &["space", "here", "--entries", "20000", "--json"]);
    let rows: Vec<serde_json::Value> = serde_json::from_str(&measured).unwrap();
    assert_eq!(rows.len(), 5 * 4);
    for steps in rows.chunks(4) {
        let number = |step: usize, name: &str| steps[step][name].as_f64().unwrap();
        let entries: Vec<f64> = (0..4).map(|step| number(step, "entries")).collect();
        assert!(entries[0] > 19_999.0 && entries[1] < 5_400.0, "{entries:?}");
        assert!((entries[2] - entries[1]).abs() < 0.5, "a compaction removes nothing");
        assert!(entries[3] < 900.0 && entries[3] > 400.0, "{entries:?}");
        for step in 0..4 {
            // 24 and 150 bytes an entry.
            let live = number(step, "live_bytes");
            assert!((live - entries[step] * 174.0).abs() < 0.5);
            assert!(number(step, "file_bytes") > live);
            assert!((0.2..=1.0).contains(&number(step, "page_fill")), "{}", steps[step]);
        }
        assert!(number(2, "file_bytes") < number(1, "file_bytes") * 0.9, "{steps:?}");
        assert!(number(3, "file_bytes") < number(2, "file_bytes"), "{steps:?}");
    }
    assert_eq!(fs::read_dir(home.path().join("here")).unwrap().count(), 0);
}
