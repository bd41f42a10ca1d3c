//! recto beside its peers, in one run: `cargo run --release -- quick`, `full`, or `shape` for the
//! rows of redb's published benchmark alone.
//!
//! `--only TEXT` keeps the rows whose title contains it, `--peers a,b` the peers, `--data a|b|c`
//! chooses the data set, `--rounds N`, `--entries N` and `--dir DIR` change how often, how many and
//! where. `--keep DIR` keeps the stores that are read there, for the next run of the same build,
//! and leaves out the one filled by `insert`, which takes longest. The table goes to standard
//! output, in Markdown; with `--out results/NAME` also to that file, with a picture of the ratios
//! beside it.

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
use std::{env, path::Path, process::ExitCode};

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
    let report = Report::new(asked.data, root.path());
    let run = Run {
        root: root.path(),
        data: asked.data,
        entries: asked.entries,
        rounds: asked.rounds,
        names: asked.names.clone(),
        only: &asked.only,
        is_quick: asked.what == What::Quick,
        report: &report,
    };
    if asked.what != What::Shape {
        loads::run(&run, asked.load_entries, asked.load_rounds);
        writes::run(&run);
        threads::run(&run);
        latency::run(&run);
        ycsb::run(&run);
        large::run(&run);
        if asked.what == What::Full {
            alone::run(&run, asked.updates, asked.keep.as_deref());
        }
        sizes::run(&run, asked.load_entries / if run.is_quick { 5 } else { 1 });
        let sizes = [1_000_000, 10_000_000].into_iter().filter(|&size| size < asked.entries);
        for entries in sizes.chain([asked.entries]) {
            reads::run(&run, entries, asked.keep.as_deref());
        }
    }
    if asked.what != What::Quick {
        shape::run(&run, asked.load_entries, asked.load_rounds);
    }
    report.finish(asked.out.as_deref())
}
