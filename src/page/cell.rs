//! What a cell holds: keys and values, inline or as runs; and the limits that decide which.
//! Owns: [`CellKey`], [`CellValue`], [`NewKey`], [`NewValue`], [`Resolve`].

use super::{HEADER_BYTES, Run};
use crate::error::Result;

/// How many bytes of a key that lies in a run are kept in its cell.
pub const RUN_KEY_START_BYTES: usize = 64;

/// The longest key that a cell holds whole: a quarter page. A longer one goes to a run.
pub const fn key_inline_max(page_bytes: usize) -> usize {
    page_bytes / 4
}

/// The longest value that the cell of a key of `key_len` bytes holds: a quarter page, less where the
/// key is long, so that an entry takes at most half a page and splitting in two always succeeds.
pub const fn value_inline_max(page_bytes: usize, key_len: usize) -> usize {
    let key_bytes = if key_len > key_inline_max(page_bytes) {
        12 + RUN_KEY_START_BYTES
    } else {
        key_len
    };
    // 7 bytes a slot, of which up to 7 spare ones; 6 bytes of lengths.
    let half = (page_bytes - HEADER_BYTES - 7 * 7) / 2 - 7 - 6 - key_bytes;
    if half < page_bytes / 4 { half } else { page_bytes / 4 }
}

/// Finds the whole content of a run; asked only when what a cell keeps does not decide.
pub trait Resolve<'p> {
    /// The run's content.
    fn resolve(&self, run: Run) -> Result<&'p [u8]>;
}

impl<'p, F: Fn(Run) -> Result<&'p [u8]>> Resolve<'p> for F {
    fn resolve(&self, run: Run) -> Result<&'p [u8]> {
        self(run)
    }
}

/// A key as a cell holds it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CellKey<'p> {
    /// The whole key.
    Inline(&'p [u8]),
    /// Where the whole key is.
    Run(Run),
}

impl<'p> CellKey<'p> {
    /// The whole key.
    pub fn resolve(self, resolve: &impl Resolve<'p>) -> Result<&'p [u8]> {
        match self {
            CellKey::Inline(bytes) => Ok(bytes),
            CellKey::Run(run) => resolve.resolve(run),
        }
    }
}

/// A value as a cell holds it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CellValue<'p> {
    /// The whole value.
    Inline(&'p [u8]),
    /// Where the whole value is.
    Run(Run),
}

impl<'p> CellValue<'p> {
    /// The whole value.
    pub fn resolve(self, resolve: &impl Resolve<'p>) -> Result<&'p [u8]> {
        match self {
            CellValue::Inline(bytes) => Ok(bytes),
            CellValue::Run(run) => resolve.resolve(run),
        }
    }
}

/// A key to be put into a page.
#[derive(Clone, Copy, Debug)]
pub enum NewKey<'a> {
    /// At most [`key_inline_max`] bytes.
    Inline(&'a [u8]),
    /// The run that holds the key, and the whole key (more than [`key_inline_max`] bytes).
    Run(Run, &'a [u8]),
}

/// A value to be put into a page.
#[derive(Clone, Copy, Debug)]
pub enum NewValue<'a> {
    /// At most [`value_inline_max`] bytes.
    Inline(&'a [u8]),
    /// The run that holds the value.
    Run(Run),
}
