//! `recto check`: is every page what it should be?

use crate::failure::{Failure, Result};
use indicatif::{ProgressBar, ProgressStyle};
use recto::{CheckReport, Error, Options, Store};
use std::{path::Path, process::ExitCode};

/// The exit code of a store that is damaged; what could not be checked has another.
const DAMAGED: u8 = 1;

/// Opens and checks the store in `dir`.
pub fn run(dir: &Path) -> Result<ExitCode> {
    let checked = Options::new().create(false).open(dir).and_then(|store| {
        let report = with_progress(&store)?;
        store.close()?;
        Ok(report)
    });
    match checked {
        Ok(report) => {
            println!(
                "clean: {} tables, {} entries, {} pages in use, {} free",
                report.tables, report.entries, report.used_pages, report.free_pages
            );
            Ok(ExitCode::SUCCESS)
        }
        Err(e @ Error::Corrupt(_)) => {
            println!("damaged: {e}");
            Ok(ExitCode::from(DAMAGED))
        }
        Err(e) => Err(Failure::Store(e)),
    }
}

/// Checks an open store, with a progress bar.
pub fn with_progress(store: &Store) -> recto::Result<CheckReport> {
    let bar = ProgressBar::new(0);
    let style = ProgressStyle::with_template("checking {bar:40} {pos}/{len} pages {eta}");
    // The template is constant and valid.
    bar.set_style(style.expect("a valid template"));
    let checked = store.check_with(|done, of| {
        bar.set_length(of);
        bar.set_position(done);
    });
    bar.finish_and_clear();
    checked
}
