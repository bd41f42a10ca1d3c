//! The log behind a salvaged checkpoint, as far as it is whole.
//! A record is a group of commits: it is replayed whole or not at all. Keeps I9.

use super::{Salvage, free_name, source::Beside, unknown_types};
use crate::{
    error::{Error, Result},
    page::meta::Meta,
    pager::TableId,
    publish::Version,
    txn::{catalog::TableTypes, checkpoint::position, write::WriteTx},
    wal::{Op, Ops, ReplayStart, replay},
};
use std::collections::BTreeMap;

/// The tables' names and types by their numbers.
pub type Names = BTreeMap<TableId, (String, TableTypes)>;

impl Salvage<'_> {
    /// Replays the log onto what was copied, as far as it is whole.
    pub(super) fn log(&mut self, files: &Beside, meta: &Meta, mut names: Names) -> Result<()> {
        let (position, version) = (position(meta.log), meta.version);
        let start = ReplayStart { position, version, synced: version };
        let (target, mut records, mut failed) = (self.out.target, 0, None);
        let replayed = replay(files, meta.store_id, start, &mut |_: Version, _, ops| {
            let mut after = names.clone();
            let applied =
                target.write(|tx| Ops::new(ops).try_for_each(|op| apply(tx, op?, &mut after)));
            match applied {
                Ok(()) => (names, records) = (after, records + 1),
                Err(Error::Corrupt(_)) => {}
                // It is the new store that fails: there is no use in going on.
                Err(ref error) => failed = Some(error.clone()),
            }
            applied
        });
        self.report.log_records = records;
        match (failed, replayed) {
            (Some(error), _) => Err(error),
            (None, Err(error)) => {
                self.report.lose(error);
                Ok(())
            }
            (None, Ok(_)) => Ok(()),
        }
    }
}

/// The name and types of a table. One that no catalog knew, and of which no leaf is left, is
/// without its name.
fn known(names: &mut Names, id: TableId) -> (String, TableTypes) {
    if !names.contains_key(&id) {
        let name = name_for(names, &format!("table-{id}"));
        names.insert(id, (name, unknown_types()));
    }
    names[&id].clone()
}

/// `wanted`, unless a table has it: of an older catalog names may be out of date.
fn name_for(names: &Names, wanted: &str) -> String {
    free_name(wanted, |name| names.values().any(|(other, _)| other == name))
}

fn apply(tx: &mut WriteTx<'_>, op: Op<'_>, names: &mut Names) -> Result<()> {
    match op {
        Op::CreateTable { id, name, types } => {
            let (name, types) = (name_for(names, name), TableTypes::decode("log", types)?);
            tx.raw_table(&name, &types)?;
            names.insert(id, (name, types));
        }
        Op::DropTable { id } => {
            if let Some((name, _)) = names.remove(&id) {
                tx.drop_table(&name)?;
            }
        }
        Op::RenameTable { id, name } => {
            let (old, types) = known(names, id);
            names.remove(&id);
            let name = name_for(names, name);
            tx.rename_table(&old, &name)?;
            names.insert(id, (name, types));
        }
        Op::Insert { table, key, value } => {
            let (name, types) = known(names, table);
            tx.raw_table(&name, &types)?.insert(key, value)?;
        }
        Op::Remove { table, key } => {
            let (name, types) = known(names, table);
            tx.raw_table(&name, &types)?.remove(key)?;
        }
        Op::RemoveRange { table, from, to } => {
            let (name, types) = known(names, table);
            tx.raw_table(&name, &types)?.remove_range(from, to)?;
        }
    }
    Ok(())
}
