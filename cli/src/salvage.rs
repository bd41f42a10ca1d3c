//! `recto salvage`: what can still be read of a damaged store.

use crate::{
    failure::{Failure, Result},
    opening,
};
use std::{path::Path, process::ExitCode};

/// The exit code if something was lost, or may have been.
const DAMAGED: u8 = 1;

/// Copies what can be read in `source` to a new store in `target`.
pub fn run(source: &Path, target: &Path, prefix: &str) -> Result<ExitCode> {
    if !source.is_dir() {
        let source = source.display();
        return Err(Failure::input(format!("{source} is no directory, which a store is")));
    }
    let store = opening::to_fill(target)?;
    let report = recto::salvage(source, prefix, &store)?;
    store.close()?;
    println!(
        "salvaged: {} tables ({} without their names), {} entries ({} uncertain), {} records of \
         the log",
        report.tables,
        report.nameless_tables,
        report.entries,
        report.uncertain_entries,
        report.log_records
    );
    if report.damaged_pages + report.broken_links + report.lost_entries > 0 {
        println!(
            "damaged: {} of {} pages; {} links led nowhere, {} leaves were found without one, {} \
             entries had no value left",
            report.damaged_pages,
            report.pages,
            report.broken_links,
            report.stray_leaves,
            report.lost_entries
        );
    }
    for problem in &report.problems {
        println!("  {problem}");
    }
    if report.is_whole() {
        println!("nothing was lost");
        return Ok(ExitCode::SUCCESS);
    }
    println!("something was lost, or may be out of date");
    Ok(ExitCode::from(DAMAGED))
}
