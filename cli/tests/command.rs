//! The command as a user meets it: what it prints, and with which code it ends.

use recto::{Store, Table};
use std::{
    collections::{BTreeMap, BTreeSet, HashMap, VecDeque},
    fs::{self, OpenOptions},
    io::Write,
    os::unix::fs::FileExt,
    path::Path,
    process::{Command, Output, Stdio},
};

/// Runs the command with `input` on its standard input.
fn recto(arguments: &[&str], input: &[u8]) -> Output {
    let mut child = Command::new(env!("CARGO_BIN_EXE_recto"))
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    // What ends before it has read everything says so by its code.
    let _ = stdin.write_all(input);
    drop(stdin);
    child.wait_with_output().unwrap()
}

/// What it prints if it ends well.
fn printed(arguments: &[&str], input: &[u8]) -> String {
    let output = recto(arguments, input);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "recto {arguments:?}: {errors}");
    String::from_utf8(output.stdout).unwrap()
}

/// Its code and what it says on standard error, which has nothing on standard output beside it.
fn refused(arguments: &[&str], input: &[u8]) -> (i32, String) {
    let output = recto(arguments, input);
    assert_eq!(String::from_utf8_lossy(&output.stdout), "", "recto {arguments:?}");
    (output.status.code().unwrap(), String::from_utf8(output.stderr).unwrap())
}

fn path(dir: &Path, name: &str) -> String {
    dir.join(name).to_str().unwrap().to_owned()
}

#[test]
fn entries_are_put_found_scanned_and_removed() {
    let dir = tempfile::tempdir().unwrap();
    let dir = &path(dir.path(), "store");
    printed(&["put", dir, "names", "ada", "Lovelace"], b"");
    printed(&["put", dir, "names", "alan", "Turing"], b"");
    printed(&["put", dir, "names", "grace", "Hopper"], b"");
    assert_eq!(printed(&["get", dir, "names", "ada"], b""), "Lovelace\n");
    let (ada, alan, grace) = (
        "{\"key\":\"ada\",\"value\":\"Lovelace\"}\n",
        "{\"key\":\"alan\",\"value\":\"Turing\"}\n",
        "{\"key\":\"grace\",\"value\":\"Hopper\"}\n",
    );
    let scan = |options: &[&str]| printed(&[&["scan", dir, "names"], options].concat(), b"");
    assert_eq!(scan(&[]), [ada, alan, grace].concat());
    assert_eq!(scan(&["--prefix", "a", "--reverse"]), [alan, ada].concat());
    assert_eq!(scan(&["--from", "alan"]), [alan, grace].concat());
    assert_eq!(scan(&["--to", "alan"]), ada);
    assert_eq!(scan(&["--reverse", "--limit", "1"]), grace);
    printed(&["del", dir, "names", "ada"], b"");
    assert_eq!(refused(&["get", dir, "names", "ada"], b"").0, 1);
    assert_eq!(refused(&["del", dir, "names", "ada"], b"").0, 1);
    printed(&["put", dir, "ages", "-3", "4", "--types", "i64 -> u64"], b"");
    assert_eq!(printed(&["get", dir, "ages", "-3"], b""), "4\n");
}

#[test]
fn what_only_looks_makes_no_store() {
    let parent = tempfile::tempdir().unwrap();
    let dir = &path(parent.path(), "absent");
    for arguments in [
        &["get", dir, "t", "k"][..],
        &["scan", dir, "t"],
        &["del", dir, "t", "k"],
        &["dump", dir],
        &["stat", dir],
        &["check", dir],
        &["rdepends", dir, "perl"],
        &["why", dir, "a", "b"],
    ] {
        let (code, said) = refused(arguments, b"");
        assert_eq!(code, 2, "{arguments:?}: {said}");
        assert!(said.starts_with("recto: "), "{said}");
        assert!(!Path::new(dir).exists(), "{arguments:?}");
    }
}

#[test]
fn a_dump_is_the_same_after_a_round_trip() {
    type Key<'k> = (&'k str, Option<i16>);
    const TUPLES: Table<Key<'_>, (u64, &[u8])> = Table::new("tuples");
    const FLOATS: Table<u128, f64> = Table::new("floats");
    const EMPTY: Table<&[u8], ()> = Table::new("empty \"quoted\"");
    let parent = tempfile::tempdir().unwrap();
    let (from, to) = (&path(parent.path(), "from"), &path(parent.path(), "to"));
    let store = Store::open(from).unwrap();
    store
        .write(|tx| {
            let mut tuples = tx.table(&TUPLES)?;
            for i in 0..25_000u64 {
                let name = format!("\0{i}");
                let number = i16::try_from(i).ok();
                tuples.insert((&name, number), (i, &i.to_le_bytes()[..(i % 9) as usize]))?;
            }
            let mut floats = tx.table(&FLOATS)?;
            for (i, float) in
                [0.1, -0.0, f64::NAN, f64::MIN_POSITIVE, f64::INFINITY].iter().enumerate()
            {
                floats.insert(u128::MAX - i as u128, *float)?;
            }
            tx.table(&EMPTY).map(drop)
        })
        .unwrap();
    store.close().unwrap();
    drop(store);
    let dump = printed(&["dump", from], b"");
    assert_eq!(dump.lines().count(), 25_000 + 5 + 3 + 2);
    printed(&["load", to], dump.as_bytes());
    assert_eq!(printed(&["dump", to], b""), dump);
    let loaded = Store::open(to).unwrap().snapshot();
    let tuples = loaded.table(&TUPLES).unwrap();
    assert_eq!(tuples.get(("\09", Some(9))).unwrap(), Some((9, &[][..])));
    let infinite = loaded.table(&FLOATS).unwrap().get(u128::MAX - 4).unwrap();
    assert_eq!(infinite, Some(f64::INFINITY));
    drop(loaded);
    let only = printed(&["dump", from, "floats"], b"");
    assert_eq!(only.lines().count(), 5 + 3);
}

#[test]
fn a_damaged_dump_loads_nothing_and_is_named_by_its_line() {
    let parent = tempfile::tempdir().unwrap();
    let dir = &path(parent.path(), "store");
    printed(&["put", dir, "names", "ada", "Lovelace"], b"");
    let before = printed(&["dump", dir], b"");
    let good = before.replace("Lovelace", "Byron");
    let lines: Vec<&str> = good.lines().collect();
    let join = |lines: &[&str]| lines.iter().flat_map(|line| [line, "\n"]).collect::<String>();
    let cases = [
        (String::new(), "line 1 of the dump is missing"),
        ("{}\n".into(), "line 1 of the dump is not the first of a dump"),
        (good.replace("\"format\":1", "\"format\":2"), "line 1 of the dump has format 2"),
        (join(&lines[..3]), "line 4 of the dump is missing: the dump was cut short"),
        (join(&[lines[0], lines[2]]), "line 2 of the dump is an entry before any table"),
        (good.replace("\"Byron\"", "7"), "line 3 of the dump 7 is not a &str"),
        (good.replace("\"Byron\"}", "\"Byron\""), "line 3 of the dump is no JSON"),
        (good.replace("\"entries\":1", "\"entries\":2"), "line 4 of the dump ends 1 tables and 2"),
        (good.replace("\"key\":\"ada\"", "\"Key\":1"), "line 3 of the dump is neither"),
    ];
    for (dump, expected) in cases {
        let (code, said) = refused(&["load", dir], dump.as_bytes());
        assert_eq!(code, 2);
        assert!(said.contains(expected), "{said:?} is not {expected:?}");
        assert_eq!(printed(&["dump", dir], b""), before, "{expected}");
    }
    printed(&["load", dir], good.as_bytes());
    assert_eq!(printed(&["get", dir, "names", "ada"], b""), "Byron\n");
}

#[test]
fn check_tells_clean_damaged_and_could_not_run_apart() {
    let parent = tempfile::tempdir().unwrap();
    let dir = &path(parent.path(), "store");
    let entry = |i: u64| format!("{{\"key\":{i},\"value\":\"{}\"}}\n", "x".repeat(100));
    let store = Store::open(dir).unwrap();
    let table: Table<u64, &str> = Table::new("t");
    store.write(|tx| tx.table(&table)?.insert(0, "")).unwrap();
    store.close().unwrap();
    drop(store);
    let empty = printed(&["dump", dir], b"");
    let (head, end) = empty.split_at(empty.find("{\"key\"").unwrap());
    let end = end.split_once('\n').unwrap().1.replace("\"entries\":1", "\"entries\":5000");
    let entries: String = (0..5000).map(entry).collect();
    printed(&["load", dir], format!("{head}{entries}{end}").as_bytes());
    let clean = printed(&["check", dir], b"");
    assert!(clean.starts_with("clean: 1 tables, 5000 entries"), "{clean}");

    // A bit in the middle of every page but those of the beginning, so that a page in use is hit.
    let pages =
        OpenOptions::new().read(true).write(true).open(Path::new(dir).join("pages")).unwrap();
    for page in 8..pages.metadata().unwrap().len() / 4096 {
        let (mut byte, at) = ([0], page * 4096 + 2000);
        pages.read_exact_at(&mut byte, at).unwrap();
        pages.write_all_at(&[byte[0] ^ 4], at).unwrap();
    }
    let damaged = recto(&["check", dir], b"");
    assert_eq!(damaged.status.code(), Some(1));
    let said = String::from_utf8(damaged.stdout).unwrap();
    assert!(said.starts_with("damaged: page ") && said.contains(" of pages "), "{said}");
    assert_eq!(refused(&["check", &path(parent.path(), "absent")], b"").0, 2);
    let file = path(parent.path(), "file");
    fs::write(&file, "no directory").unwrap();
    assert_eq!(refused(&["check", &file], b"").0, 2);
}

#[test]
fn stat_tells_sizes_to_people_and_to_programs() {
    let parent = tempfile::tempdir().unwrap();
    let dir = &path(parent.path(), "store");
    printed(&["put", dir, "names", "ada", "Lovelace"], b"");
    let text = printed(&["stat", dir], b"");
    assert!(text.contains("| names |") && text.contains("&str -> &str"), "{text}");
    let json: serde_json::Value =
        serde_json::from_str(&printed(&["stat", dir, "--json"], b"")).unwrap();
    assert_eq!(json["tables"][0]["entries"], 1);
    assert_eq!(json["tables"][0]["bytes"], 4096);
    assert_eq!(json["tables"][0]["depth"], 1);
    assert_eq!(json["store"]["version"], 1);
    assert_eq!(json["store"]["page_bytes"], 4096);
}

#[test]
fn an_index_that_cannot_be_read_changes_nothing() {
    let parent = tempfile::tempdir().unwrap();
    let dir = &path(parent.path(), "store");
    let good = b"Package: a\nDepends: b\n\nPackage: b\nPre-Depends: c | a:any\n";
    printed(&["import-packages", dir], good);
    assert_eq!(printed(&["rdepends", dir, "b"], b""), "a\n");
    assert_eq!(printed(&["rdepends", dir, "a"], b""), "");
    assert_eq!(printed(&["rdepends", dir, "a:any"], b""), "");
    assert_eq!(printed(&["why", dir, "a", "c"], b""), "a\nb\nc\n");
    assert_eq!(printed(&["why", dir, "a", "a"], b""), "a\n");
    assert_eq!(refused(&["why", dir, "b", "a"], b"").0, 1);
    assert_eq!(refused(&["why", dir, "c", "a"], b"").0, 2);
    assert_eq!(refused(&["rdepends", dir, "nothing"], b"").0, 2);
    let before = printed(&["dump", dir], b"");
    let (code, said) = refused(&["import-packages", dir], b"Package: x\nnonsense\n");
    assert_eq!(code, 2);
    assert!(said.contains("line 2 of the package index"), "{said}");
    assert_eq!(refused(&["import-packages", dir], b"").0, 2);
    assert_eq!(printed(&["dump", dir], b""), before);
    printed(&["import-packages", dir], b"Package: only\n");
    assert_eq!(printed(&["scan", dir, "packages"], b"").lines().count(), 1);
    assert_eq!(printed(&["scan", dir, "relations by target"], b""), "");
}

/// The names that each package needs, read from the dump of an imported store.
fn needs(dump: &str) -> HashMap<String, BTreeSet<String>> {
    let mut needs: HashMap<String, BTreeSet<String>> = HashMap::new();
    for line in dump.lines() {
        let json: serde_json::Value = serde_json::from_str(line).unwrap();
        if let (Some(key), Some(target)) = (json["key"].as_array(), json["value"].as_str())
            && key[1].as_u64().unwrap() < 2
        {
            let source = key[0].as_str().unwrap().to_owned();
            needs.entry(source).or_default().insert(target.to_owned());
        }
    }
    needs
}

#[test]
fn the_shipped_index_answers_as_apt_does() {
    let parent = tempfile::tempdir().unwrap();
    let dir = &path(parent.path(), "store");
    printed(&["import-packages", dir, "--shipped"], b"");
    let mut oracle: BTreeMap<&str, String> = BTreeMap::new();
    let mut asked = "";
    for line in include_str!("../data/oracle.txt").lines() {
        match line.strip_prefix("  ") {
            None => asked = line,
            Some(name) => oracle.get_mut(asked).unwrap().extend([name, "\n"]),
        }
        oracle.entry(asked).or_default();
    }
    assert_eq!(oracle.len(), 20);
    for (name, expected) in oracle {
        assert_eq!(printed(&["rdepends", dir, name], b""), expected, "{name}");
    }

    // Paths are no longer than a search of our own finds them.
    let needs = needs(&printed(&["dump", dir, "relations by source"], b""));
    for (from, to) in [("gimp", "zlib1g"), ("emacs", "libxdmcp6"), ("0ad", "debconf-2.0")] {
        let mut distance = HashMap::from([(from, 1)]);
        let mut queue = VecDeque::from([from]);
        while let Some(name) = queue.pop_front() {
            for next in needs.get(name).into_iter().flatten() {
                if !distance.contains_key(&**next) {
                    distance.insert(next, distance[name] + 1);
                    queue.push_back(next);
                }
            }
        }
        let path = printed(&["why", dir, from, to], b"");
        let path: Vec<&str> = path.lines().collect();
        assert_eq!(path.len(), distance[to], "{path:?}");
        assert!(path.windows(2).all(|step| needs[step[0]].contains(step[1])), "{path:?}");
    }
}

#[test]
fn the_demonstration_ends_clean() {
    let parent = tempfile::tempdir().unwrap();
    let (dir, svg) = (&path(parent.path(), "store"), &path(parent.path(), "demo.svg"));
    let table = printed(&["demo", dir, "--seconds", "1", "--svg", svg], b"");
    assert!(table.ends_with("0 discrepancies\n"), "{table}");
    assert!(fs::read_to_string(svg).unwrap().starts_with("<svg"));
    assert!(printed(&["check", dir], b"").starts_with("clean: "));
}

#[test]
fn the_bench_leaves_the_store_as_it_was() {
    let parent = tempfile::tempdir().unwrap();
    let (dir, svg) = (&path(parent.path(), "store"), &path(parent.path(), "bench.svg"));
    printed(&["put", dir, "names", "ada", "Lovelace"], b"");
    let before = printed(&["dump", dir], b"");
    let arguments = ["bench", dir, "--entries", "2000", "--seconds", "0.1", "--json", "--svg", svg];
    let json: serde_json::Value = serde_json::from_str(&printed(&arguments, b"")).unwrap();
    for part in json["parts"].as_array().unwrap() {
        assert!(part["per_second"].as_u64().unwrap() > 0, "{part}");
    }
    assert_eq!(printed(&["dump", dir], b""), before);
    assert!(fs::metadata(svg).unwrap().len() > 0);
}

#[test]
fn salvage_copies_what_a_damaged_store_still_has() {
    let parent = tempfile::tempdir().unwrap();
    let (dir, copy) = (path(parent.path(), "store"), path(parent.path(), "copy"));
    for i in 0..300 {
        printed(&["put", &dir, "ages", &format!("key {i}"), &"v".repeat(60)], b"");
    }
    let whole = printed(&["salvage", &dir, &copy], b"");
    assert!(whole.contains("300 entries") && whole.contains("nothing was lost"), "{whole}");
    let pages = parent.path().join("store/pages");
    let mut bytes = std::fs::read(&pages).unwrap();
    let leaf = (2..bytes.len() / 4096).find(|page| bytes[page * 4096 + 20] == 1).unwrap();
    bytes.chunks_mut(4096).skip(leaf).for_each(|page| page[3000] ^= 1);
    std::fs::write(&pages, bytes).unwrap();
    let rest = recto(&["salvage", &dir, &path(parent.path(), "rest")], b"");
    assert_eq!(rest.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&rest.stdout).contains("damaged: "), "{rest:?}");
    assert_eq!(refused(&["salvage", &path(parent.path(), "absent"), &copy], b"").0, 2);
}
