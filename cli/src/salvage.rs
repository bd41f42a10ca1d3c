//! `recto salvage`: what can still be read of a damaged store.

use crate::{failure::Result, opening};
use std::{path::Path, process::ExitCode};

/// The exit code if something was lost.
const DAMAGED: u8 = 1;

/// Copies what can be read in `source` to a new store in `target`.
pub fn run(source: &Path, target: &Path, prefix: &str) -> Result<ExitCode> {
    let store = opening::to_fill(target)?;
    let report = recto::salvage(source, prefix, &store)?;
    store.close()?;
    println!(
        "salvaged: {} tables ({} without their names), {} entries, {} records of the log",
        report.tables, report.nameless_tables, report.entries, report.log_records
    );
    if report.is_whole() {
        println!("nothing was lost");
        return Ok(ExitCode::SUCCESS);
    }
    println!(
        "damaged: {} of {} pages; {} links led nowhere, {} leaves were found without one, {} entries \
         had no value left",
        report.damaged_pages,
        report.pages,
        report.broken_links,
        report.stray_leaves,
        report.lost_entries
    );
    for problem in &report.problems {
        println!("  {problem}");
    }
    Ok(ExitCode::from(DAMAGED))
}
