//! Records of the log applied to the state again.
//! Owns: [`Replaying`]. Nobody reads until the end, so what single writes of many records do is
//! applied at once, in key order: each leaf is found, and copied, once for all of them.
//! Keeps I9: what no store can have logged is an error.

use super::{
    batch::head,
    catalog::TableTypes,
    write::{WriteState, table_name},
};
use crate::{
    error::{Error, Result},
    pager::{TableId, write::Draw},
    publish::{Generation, Version},
    tree::Tree,
    wal::{Op, Ops},
};

/// How many bytes of single writes are gathered before they are applied; in tests so few that most
/// are applied in several goes.
const GATHER_BYTES: usize = if cfg!(test) { 512 } else { 4 << 20 };
/// And how many writes.
const GATHER_WRITES: usize = GATHER_BYTES / 32;

/// A replay under way.
pub struct Replaying<'s> {
    state: &'s mut WriteState,
    /// What readers filled is evicted down to this under pressure.
    cache_bytes: u64,
    /// The keys and values of `writes`.
    bytes: Vec<u8>,
    /// In the order of the log.
    writes: Vec<Write>,
    /// How many versions the request in progress takes so far; none while there is no request.
    versions: u64,
}

/// A single write: an insertion, or a removal.
struct Write {
    table: TableId,
    head: u64,
    at: usize,
    key_len: usize,
    value_len: Option<usize>,
}

impl Write {
    fn key<'b>(&self, bytes: &'b [u8]) -> &'b [u8] {
        &bytes[self.at..][..self.key_len]
    }

    fn value<'b>(&self, bytes: &'b [u8]) -> Option<&'b [u8]> {
        self.value_len.map(|len| &bytes[self.at + self.key_len..][..len])
    }
}

impl<'s> Replaying<'s> {
    /// A replay onto `state`.
    pub fn new(state: &'s mut WriteState, cache_bytes: u64) -> Replaying<'s> {
        Replaying { state, cache_bytes, bytes: Vec::new(), writes: Vec::new(), versions: 0 }
    }

    /// Takes one record.
    ///
    /// # Errors
    /// [`Error::Corrupt`] if it does not continue the one before it, or is none; and as the
    /// changes of a tree.
    pub fn record(&mut self, first: Version, last: Version, ops: &[u8]) -> Result<()> {
        let next = self.state.version.0 + self.versions + 1;
        if first.0 != next || last < first {
            let reason = format!("a record begins with version {}, not {next}", first.0);
            return Err(Error::corrupt("log", reason));
        }
        if self.versions == 0 {
            self.begin();
        }
        self.versions += last.0 - first.0 + 1;
        for op in Ops::new(ops) {
            self.operation(&op?)?;
        }
        if self.is_full() { self.settle() } else { Ok(()) }
    }

    /// Applies what was gathered last.
    ///
    /// # Errors
    /// As [`record`](Self::record).
    pub fn finish(mut self) -> Result<()> {
        if self.versions > 0 { self.settle() } else { Ok(()) }
    }

    fn begin(&mut self) {
        // One generation for all: nobody reads until the end, so only the durable pin holds pages.
        self.state.begin_group(Generation(1));
        // What is replayed has had its room before.
        self.state.pages.draw_on_reserve(Draw::Removal);
        self.state.begin_request();
    }

    fn operation(&mut self, op: &Op<'_>) -> Result<()> {
        match *op {
            Op::Insert { table, key, value } => self.push(table, key, Some(value)),
            Op::Remove { table, key } => self.push(table, key, None),
            Op::CreateTable { id, name, types } => self.behind()?.recreate(id, name, types),
            Op::DropTable { id } => {
                let state = self.behind()?;
                let index = state.replayed(id)?;
                state.shrink(index, Tree::clear)?;
                state.catalog.remove(index);
                Ok(())
            }
            Op::RenameTable { id, name } => self.behind()?.rename_again(id, name),
            Op::RemoveRange { table, from, to } => {
                let state = self.behind()?;
                let index = state.replayed(table)?;
                state.change(index, |tree, pages| tree.remove_range(pages, from, to)).map(drop)
            }
        }
    }

    /// The state behind what was gathered, for what is no single write.
    fn behind(&mut self) -> Result<&mut WriteState> {
        self.apply()?;
        Ok(self.state)
    }

    fn push(&mut self, table: TableId, key: &[u8], value: Option<&[u8]>) -> Result<()> {
        // A record may be longer than what is gathered.
        if self.is_full() {
            self.apply()?;
        }
        self.writes.push(Write {
            table,
            head: head(key),
            at: self.bytes.len(),
            key_len: key.len(),
            value_len: value.map(<[u8]>::len),
        });
        self.bytes.extend_from_slice(key);
        self.bytes.extend_from_slice(value.unwrap_or_default());
        Ok(())
    }

    fn is_full(&self) -> bool {
        self.bytes.len() >= GATHER_BYTES || self.writes.len() >= GATHER_WRITES
    }

    /// Applies what was gathered, table by table.
    fn apply(&mut self) -> Result<()> {
        let bytes = self.bytes.as_slice();
        // A stable sort: writes to one key stay in their order, and the last one counts.
        self.writes.sort_by(|a, b| {
            let heads = (a.table, a.head).cmp(&(b.table, b.head));
            heads.then_with(|| a.key(bytes).cmp(b.key(bytes)))
        });
        for writes in self.writes.chunk_by(|a, b| a.table == b.table) {
            let index = self.state.replayed(writes[0].table)?;
            let changes = writes.iter().map(|write| Ok((write.key(bytes), write.value(bytes))));
            self.state.change(index, |tree, pages| tree.merge(pages, changes))?;
        }
        self.writes.clear();
        self.bytes.clear();
        Ok(())
    }

    /// Applies what was gathered, and ends the request.
    fn settle(&mut self) -> Result<()> {
        self.apply()?;
        let state = &mut *self.state;
        state.finish_request(std::mem::take(&mut self.versions))?;
        state.pages.draw_on_reserve(Draw::Nothing);
        state.pages.commit_group();
        state.pages.take_cached();
        if state.pages.pager().take_pressure() {
            state.pages.evict(self.cache_bytes / 2, Generation(1));
        }
        state.pages.reclaim();
        Ok(())
    }
}

impl WriteState {
    fn recreate(&mut self, id: TableId, name: &str, types: &[u8]) -> Result<()> {
        let types = TableTypes::decode("log", types)?;
        if id == TableId::MAX || table_name(name).is_err() {
            return Err(replay_damage(&format!("creates table {id}, which cannot be")));
        }
        if id < self.next_table || self.catalog.find_name(name).is_some() {
            return Err(replay_damage(&format!("creates table {id} a second time")));
        }
        self.apply_create(id, name, types);
        Ok(())
    }

    fn rename_again(&mut self, id: TableId, name: &str) -> Result<()> {
        let index = self.replayed(id)?;
        if table_name(name).is_err() || self.catalog.find_name(name).is_some() {
            return Err(replay_damage(&format!("gives table {id} a name that cannot be")));
        }
        self.catalog.rename(index, name);
        Ok(())
    }

    fn replayed(&self, id: TableId) -> Result<usize> {
        let index = self.catalog.find_id(id);
        index.ok_or_else(|| replay_damage(&format!("names table {id}, which is not there")))
    }
}

fn replay_damage(reason: &str) -> Error {
    Error::corrupt("log", format!("a record {reason}"))
}
