//! Overflow runs: one key or value too long for a cell, in pages behind each other.
//! Owns: a run's layout: the header of its first page, then the content without gaps, so that it
//! can be lent whole. One header, one checksum, over header and content. Keeps I9.

use super::{
    HEADER_BYTES, Kind, PageId, RUN_LEN, Run, birth, damaged, id, init_header, kind, seal, table,
    verify, wide_field,
};
use crate::{
    error::{Error, Result},
    publish::Version,
};

/// Fills `bytes`, all pages of a run, with header and content; behind them zeros.
///
/// # Panics
/// If the content does not fit.
pub fn write(bytes: &mut [u8], id: PageId, birth: Version, table: u32, content: &[u8]) {
    let (header, rest) = bytes.split_at_mut(HEADER_BYTES);
    header.fill(0);
    init_header(header, id, birth, table, Kind::Overflow, 0);
    header[RUN_LEN].copy_from_slice(&(content.len() as u32).to_le_bytes());
    let (to, spare) = rest.split_at_mut(content.len());
    to.copy_from_slice(content);
    spare.fill(0);
}

/// The length of the content that the header claims.
pub fn len(bytes: &[u8]) -> usize {
    wide_field(bytes, RUN_LEN) as usize
}

/// The content of `run`, which lies in `bytes`, after a check that it is the run meant.
///
/// # Errors
/// [`Error::Corrupt`], naming the run's first page.
pub fn content(bytes: &[u8], run: Run, table: u32) -> Result<&[u8]> {
    let content = claimed_content(bytes, run)?;
    let meant = run.first;
    if id(bytes) != meant.page || birth(bytes).0 as u32 != meant.birth {
        let (page, version) = (id(bytes).0, birth(bytes).0);
        let reason =
            format!("it says that it is page {page} of version {version}, not the one meant");
        return Err(Error::corrupt_page(meant.page.0, reason));
    }
    if self::table(bytes) != table {
        return Err(damaged(bytes, "it belongs to another table"));
    }
    Ok(content)
}

/// The content's bytes, if this is a run and as long as its cell says.
fn claimed_content(bytes: &[u8], run: Run) -> Result<&[u8]> {
    let page = run.first.page.0;
    if bytes.len() < HEADER_BYTES || kind(bytes) != Some(Kind::Overflow) {
        return Err(Error::corrupt_page(page, "it is not an overflow run"));
    }
    if len(bytes) != run.len as usize {
        let (found, meant) = (len(bytes), run.len);
        let reason = format!("its content is {found} bytes long, its cell says {meant} bytes");
        return Err(Error::corrupt_page(page, reason));
    }
    let content = bytes[HEADER_BYTES..].get(..run.len as usize);
    content.ok_or_else(|| Error::corrupt_page(page, "its content exceeds its pages"))
}

/// Writes the checksum of a run that is going to disk.
///
/// # Panics
/// If the content that the header claims exceeds `bytes`.
pub fn seal_run(bytes: &mut [u8], seed: u32) {
    let end = HEADER_BYTES + len(bytes);
    seal(&mut bytes[..end], seed);
}

/// Checks the checksum of a run that came from disk, and that it is the one its cell names.
///
/// # Errors
/// [`Error::Corrupt`], naming the run's first page.
pub fn verify_run(bytes: &[u8], run: Run, seed: u32) -> Result<()> {
    let content = claimed_content(bytes, run)?;
    verify(&bytes[..HEADER_BYTES + content.len()], run.first.page, seed)
}
