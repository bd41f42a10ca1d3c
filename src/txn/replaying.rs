//! Records of the log applied to the state again.
//! Owns: [`Replaying`]. A record is applied as the group was whose it is, and behind each the
//! writer's room is what it was then.
//! Keeps I9: what no store can have logged is an error.

use super::{
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

/// A replay under way.
pub struct Replaying<'s> {
    state: &'s mut WriteState,
    /// What readers filled is evicted down to this under pressure.
    cache_bytes: u64,
}

impl<'s> Replaying<'s> {
    /// A replay onto `state`.
    pub fn new(state: &'s mut WriteState, cache_bytes: u64) -> Replaying<'s> {
        Replaying { state, cache_bytes }
    }

    /// Takes one record.
    ///
    /// # Errors
    /// [`Error::Corrupt`] if it does not continue the one before it, or is none; and as the
    /// changes of a tree.
    pub fn record(&mut self, first: Version, last: Version, ops: &[u8]) -> Result<()> {
        let state = &mut *self.state;
        let next = state.version.0 + 1;
        if first.0 != next || last < first {
            let reason = format!("a record begins with version {}, not {next}", first.0);
            return Err(Error::corrupt("log", reason));
        }
        // One generation for all: nobody reads until the end, so only the durable pin holds pages.
        state.begin_group(Generation(1));
        // What is replayed has had its room before.
        state.pages.draw_on_reserve(Draw::Removal);
        state.begin_request();
        for op in Ops::new(ops) {
            state.replay(&op?)?;
        }
        state.finish_request(last.0 - first.0 + 1)?;
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
    /// Applies an operation of a record.
    fn replay(&mut self, op: &Op<'_>) -> Result<()> {
        match *op {
            Op::CreateTable { id, name, types } => self.recreate(id, name, types),
            Op::DropTable { id } => {
                let index = self.replayed(id)?;
                self.shrink(index, Tree::clear)?;
                self.catalog.remove(index);
                Ok(())
            }
            Op::RenameTable { id, name } => self.rename_again(id, name),
            Op::Insert { table, key, value } => {
                let index = self.replayed(table)?;
                self.change(index, |tree, pages| tree.insert(pages, key, value)).map(drop)
            }
            Op::Remove { table, key } => {
                let index = self.replayed(table)?;
                self.change(index, |tree, pages| tree.remove(pages, key)).map(drop)
            }
            Op::RemoveRange { table, from, to } => {
                let index = self.replayed(table)?;
                self.change(index, |tree, pages| tree.remove_range(pages, from, to)).map(drop)
            }
        }
    }

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
