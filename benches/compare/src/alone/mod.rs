//! The rows of recto alone: what is compared to a fixed figure, or to itself.

mod aged;
mod held;
mod idle;
mod opening;
mod replay;

use crate::{entries::Data, rows::Run};
use std::path::Path;

/// Runs all rows that are wanted. `updates` age a tree; the stores that are opened stay in `keep`,
/// if there is one.
pub fn run(run: &Run<'_>, updates: u64, keep: Option<&Path>) {
    for name in run.ours() {
        aged::run(run, name, updates);
        held::run(run, name);
        opening::run(run, name, keep);
        replay::run(run, name);
        idle::run(run, name, keep);
    }
}

/// The child of one of the rows.
pub fn run_child(what: &str, name: &str, dir: &Path, count: u64, data: Data, more: &[&str]) {
    match what {
        "held" => held::child(name, dir, count, data, more == ["with"]),
        "crash" => replay::child(name, dir, count, data, more),
        "idle" => idle::child(name, dir, count),
        _ => panic!("no child is called {what}"),
    }
}

/// The words that make a child of one of the rows.
fn words<'w>(
    what: &'w str,
    name: &'w str,
    dir: &'w Path,
    count: &'w str,
    data: Data,
) -> Vec<&'w str> {
    vec!["alone", what, name, dir.to_str().expect("a path in letters"), count, data.name()]
}
