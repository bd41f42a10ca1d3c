//! recto beside LMDB (heed) and redb, in one run: `cargo run --release -- quick`, or `full`.
//!
//! `--only TEXT` keeps the rows whose title contains it, `--peers a,b` the peers, `--rounds N` and
//! `--dir DIR` change how often and where. `--keep DIR` keeps the stores that are read there, for
//! the next run of the same build, and leaves out the one filled by `insert`, which takes longest.
//! The table goes to standard output, in Markdown.

mod clock;
mod entries;
mod loads;
mod peers;
mod reads;
mod rows;
mod threads;
mod writes;

use peers::{Mode, NAMES, Recto};
use std::{
    env, fs,
    path::{Path, PathBuf},
    process::ExitCode,
};

/// What was asked for.
struct Asked {
    entries: u64,
    load_entries: u64,
    rounds: usize,
    load_rounds: usize,
    only: String,
    names: Vec<&'static str>,
    dir: PathBuf,
    keep: Option<PathBuf>,
}

const USAGE: &str = "usage: compare quick|full [--only TEXT] [--peers recto,lmdb,redb] \
                     [--rounds N] \
                     [--entries N] [--dir DIR] [--keep DIR]";

fn main() -> ExitCode {
    let words: Vec<String> = env::args().skip(1).collect();
    if let [load, way, dir, count] = words.as_slice()
        && load == "load"
    {
        loads::child(way, Path::new(dir), count.parse().expect("a count"));
        return ExitCode::SUCCESS;
    }
    if let [spin, dir, count, rounds, kind @ ..] = words.as_slice()
        && spin == "spin"
    {
        reads::spin(
            Path::new(dir),
            count.parse().expect("a count"),
            rounds.parse().expect("rounds"),
            kind.first().map(String::as_str),
        );
        return ExitCode::SUCCESS;
    }
    if let [puts, how, dir, count] = words.as_slice()
        && puts == "puts"
    {
        writes::spin(how, Path::new(dir), count.parse().expect("a count"));
        return ExitCode::SUCCESS;
    }
    let Some(asked) = asked(&words) else {
        eprintln!("{USAGE}");
        return ExitCode::from(2);
    };
    run(&asked);
    ExitCode::SUCCESS
}

fn asked(words: &[String]) -> Option<Asked> {
    let (size, options) = words.split_first()?;
    let (entries, load_entries, rounds, load_rounds) = match size.as_str() {
        "quick" => (1_000_000, 1_000_000, 5, 1),
        "full" => (10_000_000, 5_000_000, 9, 3),
        _ => return None,
    };
    let (only, names, dir) = (String::new(), NAMES.to_vec(), env::temp_dir());
    let keep = None;
    let mut asked = Asked { entries, load_entries, rounds, load_rounds, only, names, dir, keep };
    for pair in options.chunks(2) {
        let [option, word] = pair else {
            return None;
        };
        match option.as_str() {
            "--only" => asked.only.clone_from(word),
            "--peers" => {
                let is_named = |name: &&str| word.split(',').any(|word| word == *name);
                asked.names.retain(is_named);
            }
            "--rounds" => asked.rounds = word.parse().ok()?,
            "--entries" => {
                asked.entries = word.parse().ok()?;
                asked.load_entries = asked.entries;
            }
            "--dir" => asked.dir = word.into(),
            "--keep" => asked.keep = Some(word.into()),
            _ => return None,
        }
    }
    Some(asked)
}

fn run(asked: &Asked) {
    let root = tempfile::tempdir_in(&asked.dir).expect("a directory for the stores");
    let wanted = |title: &str| title.contains(&asked.only);
    rows::head();
    if wanted("bulk load") {
        let is_named = |way: &&&str| asked.names.iter().any(|name| way.starts_with(name));
        let ways: Vec<&str> = loads::WAYS.iter().filter(is_named).copied().collect();
        loads::run(root.path(), asked.load_entries, asked.load_rounds, &ways);
    }
    writes::run(root.path(), asked.rounds.min(5), &asked.names, &wanted);
    threads::run(root.path(), asked.rounds.min(5), &asked.names, &wanted);
    if !["get", "range", "full scan"].iter().any(|row| asked.only.starts_with(row) || wanted(row)) {
        return;
    }
    let sizes = [1_000_000, 10_000_000].into_iter().filter(|&size| size < asked.entries);
    for entries in sizes.chain([asked.entries]) {
        let store = |way: &str| {
            let root = asked.keep.as_deref().unwrap_or(root.path());
            let dir = root.join(format!("{way} {entries}"));
            let loaded = root.join(format!("{way} {entries} is loaded"));
            if !loaded.exists() {
                loads::spawn(way, &dir, entries);
                fs::write(loaded, []).expect("a note that the store is whole");
            }
            dir
        };
        let named = asked.names.iter().filter(|name| **name != "recto");
        let peers = named.map(|name| {
            let dir = store(&format!("{name} insert"));
            ((*name).to_owned(), peers::open(name, &dir, Mode::Durable))
        });
        let stores = reads::Readable {
            peers: peers.collect(),
            recto: Recto::open(&store("recto slices"), Mode::Durable),
            inserted: asked
                .keep
                .is_none()
                .then(|| Recto::open(&store("recto insert"), Mode::Durable)),
            entries,
        };
        reads::run(&stores, asked.rounds, &wanted);
    }
}
