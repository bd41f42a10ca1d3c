//! `recto compact`: a smaller page file.

use crate::{
    failure::Result,
    figures::{bytes, count},
    opening,
};
use indicatif::ProgressBar;
use recto::Budget;
use std::{path::Path, process::ExitCode, time::Instant};

/// Compacts the store in `dir` in steps of about `pages` pages, until another would do nothing.
pub fn run(dir: &Path, pages: usize) -> Result<ExitCode> {
    let (store, began) = (opening::to_write(dir)?, Instant::now());
    let size = || {
        let stats = store.stats();
        stats.file_pages * stats.page_bytes as u64
    };
    let (before, bar) = (size(), ProgressBar::new_spinner());
    let (mut steps, mut copied, mut saved) = (0, 0, 0);
    loop {
        let step = store.compact(Budget::pages(pages))?;
        (steps, copied) = (steps + 1, copied + step.pages_moved);
        saved += step.leaves_saved;
        bar.tick();
        bar.set_message(format!("step {steps}, {} pages copied", count(copied)));
        if step.is_done {
            break;
        }
    }
    bar.finish_and_clear();
    println!(
        "{} to {} in {} steps: {} pages copied, {} leaves saved, {:.1?}",
        bytes(before),
        bytes(size()),
        count(steps),
        count(copied),
        count(saved),
        began.elapsed()
    );
    store.close()?;
    Ok(ExitCode::SUCCESS)
}
