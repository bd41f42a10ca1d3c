//! Many entries on their way into a table: gathered, sorted, handed over in key order.
//! Owns: [`Extend`]. What comes in key order is handed over in short stretches; all else is sorted
//! in runs as long as memory allows, which wait in a file until they go in all at once: each
//! stretch of keys in no order would touch most of the tree.
//! Absent on purpose: a sort by a pool of threads. It would run in the writer's seat, and wait
//! there for threads that may all wait for the writer. The one that sorts is the load's own.

pub mod gathered;
pub mod runs;
pub mod sorting;

#[cfg(test)]
mod tests;

use crate::{
    error::{Limit, Result},
    options::{KEY_BYTES_MAX, VALUE_BYTES_MAX},
    txn::raw::{Fill, WriteRaw},
};
use gathered::Gathered;
use sorting::Sorting;

/// How much of what comes in key order is gathered before it goes in: what stays in the CPU's
/// caches, and is far more than a leaf.
const STRETCH_BYTES: usize = if cfg!(test) { 1024 } else { 1 << 20 };

/// What stands before an entry's key: the lengths of key and value.
const HEADER_BYTES: usize = 8;

#[inline]
fn put_header(header: &mut [u8], key_len: usize, value_len: usize) {
    let lens = (key_len as u64) << 32 | value_len as u64;
    header.copy_from_slice(&lens.to_le_bytes());
}

/// The lengths of key and value.
#[inline]
fn take_header(bytes: &[u8]) -> (usize, usize) {
    let lens = bytes.first_chunk().map_or(0, |header| u64::from_le_bytes(*header));
    ((lens >> 32) as usize, lens as u32 as usize)
}

/// Entries on their way into one table.
pub struct Extend<'t, W> {
    to: &'t mut W,
    table: usize,
    gathered: Gathered,
    runs: Option<Sorting>,
    /// How many keys were new in what has gone in.
    new: u64,
}

impl<'t, W: WriteRaw> Extend<'t, W> {
    /// None yet, into the table at index `table`.
    ///
    /// # Errors
    /// [`Error::Full`](crate::Error::Full) if there is no memory, here and below.
    pub fn new(to: &'t mut W, table: usize) -> Result<Extend<'t, W>> {
        // The other half is for those that are being sorted meanwhile.
        let gathered = Gathered::new(to.sort_bytes() / 2)?;
        Ok(Extend { to, table, gathered, runs: None, new: 0 })
    }

    /// Adds an entry.
    ///
    /// # Errors
    /// [`Error::TooLarge`](crate::Error::TooLarge) beyond the limits of keys and values; else as of
    /// [`finish`](Self::finish).
    pub fn push(&mut self, key: &[u8], value: &[u8]) -> Result<()> {
        Limit::Key.check(key.len(), KEY_BYTES_MAX)?;
        Limit::Value.check(value.len(), VALUE_BYTES_MAX)?;
        while !self.gathered.push(key, value)? {
            self.make_room()?;
        }
        let is_stretch = !self.gathered.is_mixed() && self.gathered.bytes() >= STRETCH_BYTES;
        if is_stretch && self.runs.is_none() { self.hand_over() } else { Ok(()) }
    }

    fn make_room(&mut self) -> Result<()> {
        if self.runs.is_none()
            && self.gathered.is_mixed()
            && let Some(storage) = self.to.sort_storage()
        {
            self.runs = Some(Sorting::new(&*storage, self.to.sort_bytes() / 2)?);
        }
        match &mut self.runs {
            Some(runs) => runs.write(&mut self.gathered),
            None => self.hand_over(),
        }
    }

    /// Puts what is gathered, and no more, into the table.
    fn hand_over(&mut self) -> Result<()> {
        let fill = if self.gathered.is_mixed() { Fill::WithSlack } else { Fill::Whole };
        let mut sorted = self.gathered.sort();
        match (sorted.next(), sorted.peek()) {
            (None, _) => {}
            (Some((key, value)), None) => {
                self.new += u64::from(self.to.insert(self.table, key, value)?);
            }
            (first, _) => {
                let sorted = first.into_iter().chain(sorted).map(Ok);
                self.new += self.to.load(self.table, sorted, fill)?;
            }
        }
        self.gathered.clear()
    }

    /// Puts all entries into the table that are not there yet; how many keys were new in all.
    ///
    /// # Errors
    /// As of [`insert`](WriteRaw::insert); [`Error::Full`](crate::Error::Full) if the device has no
    /// room for runs, `Error::Io` and `Error::Corrupt` if they do not come back.
    pub fn finish(mut self) -> Result<u64> {
        let Some(runs) = self.runs.take().map(Sorting::finish).transpose()? else {
            self.hand_over()?;
            return Ok(self.new);
        };
        let merged = runs.merge(self.gathered.sort())?;
        Ok(self.new + self.to.load(self.table, merged, Fill::WithSlack)?)
    }
}
