//! How commands open a store: what only looks leaves nothing behind, also not an empty store.

use crate::failure::Result;
use recto::{Options, Store};
use std::path::Path;

/// Opens to look, beside other processes that look.
pub fn to_read(dir: &Path) -> Result<Store> {
    Ok(Options::new().create(false).read_only(true).open(dir)?)
}

/// Opens to change what is there.
pub fn to_write(dir: &Path) -> Result<Store> {
    Ok(Options::new().create(false).open(dir)?)
}

/// Opens to change; the store is made if it is absent.
pub fn to_fill(dir: &Path) -> Result<Store> {
    Ok(Options::new().open(dir)?)
}
