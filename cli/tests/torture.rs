//! Torture as a user meets it: it ends well when all is well, and says so when something is not.

use std::{
    path::Path,
    process::{Command, Output},
};

/// Runs a torture whose copies are kept within `dir`.
fn torture(dir: &Path, arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_recto"))
        .arg("torture")
        .args(arguments)
        .env("TMPDIR", dir)
        .output()
        .unwrap()
}

fn printed(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[test]
fn ten_lives_lose_nothing_and_leave_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let output = torture(dir.path(), &["--lives", "10", "--seed", "7"]);
    let text = printed(&output);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    assert!(text.contains("seed 7\n") && text.contains("10 lives: 10 kills"), "{text}");
    assert!(!text.contains(" 0 commits verified"), "{text}");
    assert_eq!(dir.path().read_dir().unwrap().count(), 0, "something was left behind");
}

#[test]
fn whatever_is_spoiled_is_reported_and_kept() {
    let found = [
        ("older", "lost: "),
        ("half", "lane 0 "),
        ("count", "commit"),
        ("rot", "damaged"),
        ("invented", "lost: "),
    ];
    for (sabotage, what) in found {
        let dir = tempfile::tempdir().unwrap();
        let output =
            torture(dir.path(), &["--lives", "40", "--seed", "11", "--sabotage", sabotage]);
        let text = printed(&output);
        assert_eq!(output.status.code(), Some(1), "{sabotage}: {output:?}");
        let told = text.lines().find(|line| line.starts_with("discrepancy")).unwrap();
        assert!(told.contains(what), "{sabotage}: {told}");
        assert!(text.contains("seed 11; kept: "), "{sabotage}: {text}");
        let kept = dir.path().join("recto-torture-11");
        assert!(kept.join("store/pages").exists() && kept.join("left/pages").exists());
    }
}

#[test]
fn a_directory_with_something_in_it_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let store = dir.path().join("store");
    std::fs::create_dir(&store).unwrap();
    std::fs::write(store.join("letter"), "dear reader").unwrap();
    let output = torture(dir.path(), &[store.to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(2), "{output:?}");
    assert_eq!(std::fs::read(store.join("letter")).unwrap(), b"dear reader");
}
