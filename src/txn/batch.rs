//! Blind writes that a caller puts together on its own thread and the writer applies at once.
//! Owns: [`Batch`] and its bytes. A batch is sorted where it was made, so that the writer thread
//! has only to walk it. A bad entry is remembered and is the answer when the batch is submitted, so
//! that building one needs no `?`. Absent on purpose: types (the room `table` encodes), undo (a
//! batch is one request).

mod bytes;

use super::raw::{Asked, AskedFor, Fill, WriteRaw};
use crate::{
    error::{Error, Limit, Result},
    options::{BATCH_BYTES_MAX, Durability, KEY_BYTES_MAX, VALUE_BYTES_MAX},
    pager::{prefetch_all, write::Draw},
};
use bytes::Bytes;
use std::{borrow::Cow, fmt, iter::repeat, ops::Bound};

/// How many writes ahead of its turn one is fetched.
const AHEAD: usize = 12;

/// So many inserts may be a load: whether they come behind the table's last entry is worth a look.
const LOAD_OPS_MIN: usize = 64;

/// Inserts and removals that are applied together, in one version, by [`Store::submit`] and its
/// relatives. It borrows nothing, and can be built and sent on any thread.
///
/// Of several writes to one key the last one counts.
///
/// ```
/// use recto::{Batch, Durability, Table};
/// const AGES: Table<&str, u64> = Table::new("ages");
/// let mut batch = Batch::new();
/// batch.insert(&AGES, "alan", 41).remove(&AGES, "bob").remove_range(&AGES, "x".."z");
/// assert_eq!(batch.len(), 3);
/// let batch = batch.durability(Durability::None);
/// ```
///
/// [`Store::submit`]: crate::Store::submit
#[derive(Clone, Default)]
pub struct Batch {
    tables: Vec<AskedFor>,
    ops: Vec<BatchOp>,
    /// Keys and values, one behind the other.
    bytes: Bytes,
    durability: Option<Durability>,
    error: Option<Error>,
    is_sorted: bool,
}

/// One write. Its bytes are the key, then the value; of a range the two ends.
#[derive(Clone, Copy)]
struct BatchOp {
    /// The first 8 bytes of the key, big-endian: most comparisons end here.
    head: u64,
    /// Where its bytes begin.
    at: u32,
    key_len: u32,
    value_len: u32,
    table: u16,
    what: What,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum What {
    Insert,
    Remove,
    RemoveRange { from: End, to: End },
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum End {
    Included,
    Excluded,
    Unbounded,
}

// What is sorted is moved often.
const _: () = assert!(size_of::<BatchOp>() <= 32 && BATCH_BYTES_MAX <= u32::MAX as usize);

impl Batch {
    /// An empty batch.
    pub fn new() -> Batch {
        Batch::default()
    }

    /// When the commit of this batch is answered; without it, as the store's options say.
    #[must_use]
    pub fn durability(mut self, durability: Durability) -> Batch {
        self.durability = Some(durability);
        self
    }

    /// The number of writes.
    pub fn len(&self) -> usize {
        self.ops.len()
    }

    /// Whether there is no write in it. Submitted, it still takes a version.
    pub fn is_empty(&self) -> bool {
        self.ops.is_empty()
    }

    /// The encoded keys and values, in bytes.
    pub fn bytes(&self) -> usize {
        self.bytes.len()
    }

    /// The durability asked for, or `default`.
    pub(crate) fn durability_or(&self, default: Durability) -> Durability {
        self.durability.unwrap_or(default)
    }

    /// The index of a table in this batch.
    pub(crate) fn table(
        &mut self,
        asked: Asked<'_>,
        name: impl FnOnce() -> Cow<'static, str>,
    ) -> usize {
        // A batch rarely writes to more tables than one looks through at a glance.
        let found = self.tables.iter().position(|table| table.is(asked));
        found.unwrap_or_else(|| {
            self.tables.push(AskedFor::new(asked, name()));
            self.tables.len() - 1
        })
    }

    /// Adds an insertion of encoded bytes.
    pub(crate) fn push_insert(&mut self, table: usize, key: &[u8], value: &[u8]) {
        self.push(table, What::Insert, key, value);
    }

    /// Adds a removal.
    pub(crate) fn push_remove(&mut self, table: usize, key: &[u8]) {
        self.push(table, What::Remove, key, &[]);
    }

    /// Adds a removal of the keys between two bounds.
    pub(crate) fn push_remove_range(&mut self, table: usize, from: Bound<&[u8]>, to: Bound<&[u8]>) {
        let ((from, key), (to, value)) = (End::of(from), End::of(to));
        self.push(table, What::RemoveRange { from, to }, key, value);
    }

    /// Remembers the first thing that is wrong with it.
    pub(crate) fn push_error(&mut self, error: Error) {
        self.error.get_or_insert(error);
    }

    fn push(&mut self, table: usize, what: What, key: &[u8], value: &[u8]) {
        let value_max = match what {
            What::RemoveRange { .. } => KEY_BYTES_MAX,
            What::Insert | What::Remove => VALUE_BYTES_MAX,
        };
        let bytes = self.bytes.len().saturating_add(key.len()).saturating_add(value.len());
        let within = Limit::Key
            .check(key.len(), KEY_BYTES_MAX)
            .and_then(|()| Limit::Value.check(value.len(), value_max))
            .and_then(|()| Limit::Batch.check(bytes, BATCH_BYTES_MAX))
            .and_then(|()| Limit::Tables.check(table, usize::from(u16::MAX)));
        if let Err(error) = within {
            return self.push_error(error);
        }
        self.ops.push(BatchOp {
            head: head(key),
            at: self.bytes.len() as u32,
            key_len: key.len() as u32,
            value_len: value.len() as u32,
            table: table as u16,
            what,
        });
        self.bytes.append(key);
        self.bytes.append(value);
        self.is_sorted = false;
    }

    /// Makes it ready for the writer, on the caller's thread: sorts it by table and key between the
    /// removals of ranges, which stay where they are.
    ///
    /// # Errors
    /// The first bad entry's.
    pub(crate) fn seal(&mut self) -> Result<()> {
        if let Some(error) = &self.error {
            return Err(error.clone());
        }
        if self.is_sorted {
            return Ok(());
        }
        let bytes = &*self.bytes;
        for part in self.ops.split_mut(|op| !op.is_single()) {
            // A stable sort: writes to one key stay in their order. Their places in `bytes` do not
            // tell it, for a removal of the empty key takes no bytes.
            part.sort_by(|a, b| {
                (a.table, a.head)
                    .cmp(&(b.table, b.head))
                    .then_with(|| a.key(bytes).cmp(b.key(bytes)))
            });
        }
        self.is_sorted = true;
        Ok(())
    }

    /// What it may use of the room that is kept for a full device: something if it only removes.
    pub(crate) fn draw(&self) -> Draw {
        let only_removes = self.ops.iter().all(|op| op.what != What::Insert);
        if only_removes { Draw::Removal } else { Draw::Nothing }
    }

    /// Applies a sealed batch. An error leaves some of it applied, for the request to undo.
    pub(crate) fn apply<W: WriteRaw>(&self, to: &mut W) -> Result<()> {
        assert!(self.is_sorted || self.ops.is_empty(), "a batch is sealed before it is sent");
        for same in self.ops.chunk_by(|a, b| a.table == b.table && a.is_single() && b.is_single()) {
            // Found for each stretch: opening one table may move another.
            let table = to.open(self.tables[usize::from(same[0].table)].asked())?;
            match same[0].what {
                What::RemoveRange { from, to: end } => {
                    let key = from.bound(same[0].key(&self.bytes));
                    let value = end.bound(same[0].value(&self.bytes));
                    to.remove_range(table, key, value)?;
                }
                What::Insert | What::Remove => self.apply_sorted(to, table, same)?,
            }
        }
        Ok(())
    }

    /// Applies sorted single writes to one table.
    fn apply_sorted<W: WriteRaw>(&self, to: &mut W, table: usize, ops: &[BatchOp]) -> Result<()> {
        let bytes = &*self.bytes;
        if let [op] = ops {
            return match op.change(bytes) {
                (key, Some(value)) => to.insert(table, key, value).map(drop),
                (key, None) => to.remove(table, key).map(drop),
            };
        }
        // In key order they lie anywhere in `bytes`: each is fetched ahead of its turn.
        let ahead = ops[AHEAD.min(ops.len())..].iter().map(Some).chain(repeat(None));
        let fetched = ops.iter().zip(ahead).map(|(op, ahead)| {
            if let Some(ahead) = ahead {
                prefetch_all(&bytes[ahead.at as usize..]);
            }
            op
        });
        if ops.len() < LOAD_OPS_MIN || ops.iter().any(|op| op.what == What::Remove) {
            return to.merge(table, fetched.map(|op| Ok(op.change(bytes)))).map(drop);
        }
        // Of equal keys the last counts, and a load takes each once.
        let next = ops[1..].iter().map(Some).chain([None]);
        let last = fetched.zip(next).filter(|(op, next)| {
            next.is_none_or(|next| op.head != next.head || op.key(bytes) != next.key(bytes))
        });
        to.load(table, last.map(|(op, _)| Ok((op.key(bytes), op.value(bytes)))), Fill::Whole)
            .map(drop)
    }
}

impl BatchOp {
    fn is_single(&self) -> bool {
        matches!(self.what, What::Insert | What::Remove)
    }

    /// The key of a single write, and the value that it inserts.
    fn change<'b>(&self, bytes: &'b [u8]) -> (&'b [u8], Option<&'b [u8]>) {
        let value = (self.what == What::Insert).then(|| self.value(bytes));
        (self.key(bytes), value)
    }

    fn key<'b>(&self, bytes: &'b [u8]) -> &'b [u8] {
        &bytes[self.at as usize..][..self.key_len as usize]
    }

    fn value<'b>(&self, bytes: &'b [u8]) -> &'b [u8] {
        &bytes[self.at as usize + self.key_len as usize..][..self.value_len as usize]
    }
}

impl End {
    fn of(bound: Bound<&[u8]>) -> (End, &[u8]) {
        match bound {
            Bound::Included(key) => (End::Included, key),
            Bound::Excluded(key) => (End::Excluded, key),
            Bound::Unbounded => (End::Unbounded, &[]),
        }
    }

    fn bound(self, key: &[u8]) -> Bound<&[u8]> {
        match self {
            End::Included => Bound::Included(key),
            End::Excluded => Bound::Excluded(key),
            End::Unbounded => Bound::Unbounded,
        }
    }
}

/// The first 8 bytes of `key` as a number that orders like them.
pub(crate) fn head(key: &[u8]) -> u64 {
    let mut head = [0; 8];
    let len = key.len().min(head.len());
    head[..len].copy_from_slice(&key[..len]);
    u64::from_be_bytes(head)
}

impl fmt::Debug for Batch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Batch")
            .field("len", &self.len())
            .field("bytes", &self.bytes())
            .field("durability", &self.durability)
            .field("error", &self.error)
            .finish_non_exhaustive()
    }
}
