//! `recto backup` and `recto restore`: copies of a store, what has changed since, and back again.

use crate::{
    failure::Result,
    figures::{bytes, count},
    opening,
};
use std::{
    fs,
    path::{Path, PathBuf},
    process::ExitCode,
    time::Instant,
};

/// Copies the store in `dir` to `target`; with `since`, an earlier copy, only what has changed.
pub fn backup(dir: &Path, target: &Path, since: Option<&Path>) -> Result<ExitCode> {
    let (store, began) = (opening::to_read(dir)?, Instant::now());
    let Some(since) = since else {
        let version = store.backup(target)?;
        let size = bytes(fs::metadata(target.join("pages"))?.len());
        println!("copied version {version}: {size}, {:.1?}", began.elapsed());
        return Ok(ExitCode::SUCCESS);
    };
    let base = opening::to_read(since)?;
    let made = store.backup_since(&base.snapshot(), target)?;
    println!(
        "increment from version {} to version {}: {} changes, {}, {:.1?}",
        made.base,
        made.target,
        count(made.changes),
        bytes(made.bytes),
        began.elapsed()
    );
    Ok(ExitCode::SUCCESS)
}

/// Makes a store in `target` from a copy and increments.
pub fn restore(
    copy: &Path,
    target: &Path,
    increments: &[PathBuf],
    version: Option<u64>,
) -> Result<ExitCode> {
    let began = Instant::now();
    let version = recto::restore(copy, increments, target, version)?;
    let size = bytes(fs::metadata(target.join("pages"))?.len());
    println!("restored version {version}: {size}, {:.1?}", began.elapsed());
    Ok(ExitCode::SUCCESS)
}
