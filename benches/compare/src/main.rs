//! recto beside its peers, in one run: `cargo run --release -- quick`, `full`, or `shape` for the
//! rows of redb's published benchmark alone; `titles` tells what rows there are.
//!
//! `--only TEXT` keeps the rows whose title contains it, `--peers a,b` the peers, `--data a|b|c`
//! chooses the data set, `--rounds N`, `--entries N` and `--dir DIR` change how often, how many and
//! where. `--keep DIR` keeps the stores that are read there, for the next run of the same build.
//! The table goes to standard output, in Markdown; with `--out results/NAME` also to that file,
//! with a picture of the ratios beside it.

mod alone;
mod arguments;
mod chart;
mod child;
mod clock;
mod entries;
mod large;
mod latency;
mod loads;
mod peers;
mod reads;
mod report;
mod rows;
mod shape;
mod sizes;
mod stores;
mod threads;
mod writes;
mod ycsb;

use arguments::{Asked, What};
use entries::Data;
use report::Report;
use rows::Run;
use std::{cell::RefCell, env, path::Path, process::ExitCode};

fn main() -> ExitCode {
    let words: Vec<String> = env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    match words.as_slice() {
        ["load", way, dir, count, data @ ..] => {
            let data = data.first().map_or(Some(Data::A), |name| Data::named(name));
            let count = count.parse().expect("a count");
            loads::run_child(way, Path::new(dir), count, data.expect("a data set"));
        }
        ["spin", dir, count, rounds, kind @ ..] => {
            let (count, rounds) =
                (count.parse().expect("a count"), rounds.parse().expect("rounds"));
            reads::spin(Path::new(dir), count, rounds, kind.first().copied());
        }
        ["alone", what, name, dir, count, data, more @ ..] => {
            let (count, data) = (count.parse().expect("a count"), Data::named(data));
            let data = data.expect("a data set");
            alone::run_child(what, name, Path::new(dir), count, data, more);
        }
        ["puts", how, dir, count] => {
            writes::spin(how, Path::new(dir), count.parse().expect("a count"));
        }
        _ => {
            let words: Vec<String> = words.into_iter().map(String::from).collect();
            let Some(asked) = arguments::asked(&words) else {
                eprintln!("{}", arguments::USAGE);
                return ExitCode::from(2);
            };
            if let Err(error) = run(&asked) {
                eprintln!("compare: {error}");
                return ExitCode::FAILURE;
            }
        }
    }
    ExitCode::SUCCESS
}

fn run(asked: &Asked) -> std::io::Result<()> {
    let root = tempfile::tempdir_in(&asked.dir)?;
    clock::watch(root.path())?;
    if asked.what == What::Titles {
        titles(asked, root.path()).iter().for_each(|title| println!("{title}"));
        return Ok(());
    }
    let report = Report::new(asked.data, root.path());
    rows(&asked.run(root.path(), &report), asked);
    report.finish(asked.out.as_deref())
}

/// The titles of all rows of a full run.
fn titles(asked: &Asked, root: &Path) -> Vec<String> {
    let report = Report::quiet();
    let run = Run { titles: Some(RefCell::default()), ..asked.run(root, &report) };
    rows(&run, asked);
    run.titles.map(RefCell::into_inner).unwrap_or_default()
}

/// Runs all rows that are wanted.
fn rows(run: &Run<'_>, asked: &Asked) {
    if asked.what != What::Shape {
        loads::run(run, asked.load_entries, asked.load_rounds);
        writes::run(run);
        threads::run(run);
        latency::run(run);
        ycsb::run(run);
        large::run(run);
        if !run.is_quick {
            alone::run(run, asked.updates, asked.keep.as_deref());
        }
        sizes::run(run, asked.load_entries / if run.is_quick { 5 } else { 1 });
        let sizes = [1_000_000, 10_000_000].into_iter().filter(|&size| size < asked.entries);
        for entries in sizes.chain([asked.entries]) {
            reads::run(run, entries, asked.keep.as_deref());
        }
    }
    if asked.what != What::Quick {
        shape::run(run, asked.load_entries, asked.load_rounds);
    }
}

impl Asked {
    /// What the rows share.
    fn run<'r>(&'r self, root: &'r Path, report: &'r Report) -> Run<'r> {
        Run {
            root,
            data: self.data,
            entries: self.entries,
            rounds: self.rounds,
            names: self.names.clone(),
            only: &self.only,
            is_quick: self.what == What::Quick,
            report,
            titles: None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The commands of the tables in README.md that keep rows by a part of their titles.
    #[test]
    fn every_command_that_is_written_down_has_its_rows() {
        let text = include_str!("../README.md");
        let quoted = text.split('`').skip(1).step_by(2);
        let commands = quoted.filter(|part| part.starts_with("full ") && part.contains("--only"));
        let dir = tempfile::tempdir().unwrap();
        let mut seen = 0;
        for command in commands {
            // Words, or several within quotes.
            let parts = command.split('"').enumerate();
            let words: Vec<String> = parts
                .flat_map(|(at, part)| match at % 2 {
                    1 => vec![part.to_owned()],
                    _ => part.split_whitespace().map(String::from).collect(),
                })
                .collect();
            let asked = arguments::asked(&words).unwrap_or_else(|| panic!("{command}"));
            let titles = titles(&asked, dir.path());
            let found = titles.iter().any(|title| title.contains(&asked.only));
            assert!(found, "{command} has no rows among {titles:#?}");
            seen += 1;
        }
        assert!(seen > 20, "{seen} commands");
    }
}
