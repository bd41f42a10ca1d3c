//! A damaged store is moved away, and an empty one takes its place.
//! Owns: [`set_aside`]. Every file keeps its content; only names change, in the same directory.
//!
//! The order, and why it is this one:
//! 1. The damaged page file's lock is held by the caller, and the lock of the file that page files
//!    are made in: nobody else opens or makes a store meanwhile.
//! 2. The page file is renamed and the directory synced. Were a segment of the log renamed first
//!    and the power cut, the rest could pass for a shorter log, and a store that lacks commits
//!    would be opened.
//! 3. The log's segments are renamed and the directory synced, in any order: without a page file
//!    they are damage to whoever opens the directory, and this is gone on with.
//! 4. The new page file gets its name last.

use super::recover::{fill, reserve_beside};
use crate::{
    error::Result,
    options::{ASIDE_PREFIX, LOG_PREFIX, Options, PAGE_FILE},
    storage::{Storage, StorageFile},
    sync::Arc,
};

/// What took the place of a damaged store.
pub struct Aside {
    /// The page file of an empty store, locked.
    pub page_file: Arc<dyn StorageFile>,
    /// What the names of the damaged store's files begin with now.
    pub prefix: String,
}

/// Sets the store aside whose page file is `damaged`, which the caller holds locked; none if the
/// page file is missing: then an earlier call was cut short, or somebody has removed it. The answer
/// is none if another process has made a store meanwhile.
///
/// # Errors
/// The storage's own. Nothing is lost, and the next call goes on.
pub fn set_aside(
    storage: &dyn Storage,
    damaged: Option<&dyn StorageFile>,
    options: &Options,
) -> Result<Option<Aside>> {
    let Some(page_file) = reserve_beside(storage, options.lock_timeout)? else { return Ok(None) };
    if damaged.is_none() && storage.open(PAGE_FILE).is_ok() {
        return Ok(None);
    }
    let names = storage.list()?;
    let prefix = prefix(&names, damaged.is_some());
    let rename = |name: &str| storage.rename(name, &format!("{prefix}{name}"));
    if damaged.is_some() {
        rename(PAGE_FILE)?;
        storage.sync_dir()?;
    }
    names.iter().filter(|name| name.starts_with(LOG_PREFIX)).try_for_each(|name| rename(name))?;
    storage.sync_dir()?;
    fill(storage, &*page_file, options)?;
    Ok(Some(Aside { page_file, prefix }))
}

/// A prefix that takes no other file's name: a new one, or, for segments whose page file has gone
/// before, the one that it got.
fn prefix(names: &[String], has_page_file: bool) -> String {
    let number = |name: &String| {
        let (number, _) = name.strip_prefix(ASIDE_PREFIX)?.split_once('-')?;
        number.parse::<u32>().ok()
    };
    let greatest = names.iter().filter_map(number).max();
    let of = |number: u64| format!("{ASIDE_PREFIX}{number}-");
    if let Some(last) = greatest.filter(|_| !has_page_file) {
        let prefix = of(u64::from(last));
        let is_taken = |name: &String| names.contains(&format!("{prefix}{name}"));
        if !names.iter().any(is_taken) {
            return prefix;
        }
    }
    of(greatest.map_or(1, |greatest| u64::from(greatest) + 1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prefix_is_new_unless_it_goes_on_with_what_was_begun() {
        let of = |names: &[&str], has_page_file| {
            prefix(&names.iter().map(ToString::to_string).collect::<Vec<_>>(), has_page_file)
        };
        assert_eq!(of(&["log-1", "pages"], true), "damaged-1-");
        assert_eq!(of(&["damaged-4-log-1", "damaged-x", "log-1", "pages"], true), "damaged-5-");
        assert_eq!(of(&["damaged-4-pages", "damaged-4-log-1", "log-2"], false), "damaged-4-");
        assert_eq!(of(&["damaged-4-pages", "damaged-4-log-2", "log-2"], false), "damaged-5-");
        assert_eq!(of(&["log-2"], false), "damaged-1-");
    }
}
