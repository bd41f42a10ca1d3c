//! Single entries and ranges of any table: `get`, `put`, `del`, `scan`.

use crate::{
    arguments::{Entry, Scan},
    failure::{Failure, Result},
    opening,
    types::{Side, Type},
};
use recto::{
    Key, Snapshot, TableTypes,
    raw::{RawRange, RawTable},
};
use serde_json::{Value as Json, json};
use std::{
    io::{BufWriter, Write, stdout},
    ops::Bound,
    process::ExitCode,
};

/// The types of keys and values of one table.
pub struct Types {
    key: Type,
    value: Type,
}

impl Types {
    /// As the catalog names them.
    pub fn of(types: &TableTypes) -> Types {
        Types { key: Type::named(&types.key_name), value: Type::named(&types.value_name) }
    }

    /// The encoding of a typed key.
    pub fn key(&self, typed: &str) -> Result<Vec<u8>> {
        self.key.parse_typed(Side::Key, typed).map_err(Failure::input)
    }

    /// The encoding of a typed value.
    pub fn value(&self, typed: &str) -> Result<Vec<u8>> {
        self.value.parse_typed(Side::Value, typed).map_err(Failure::input)
    }

    /// The encoding of an entry of a dump.
    pub fn parse(
        &self,
        key: &Json,
        value: &Json,
    ) -> std::result::Result<(Vec<u8>, Vec<u8>), String> {
        Ok((self.key.parse(Side::Key, key)?, self.value.parse(Side::Value, value)?))
    }

    /// One line of JSON: an entry as `scan` and `dump` print it.
    pub fn write_entry(&self, out: &mut impl Write, key: &[u8], value: &[u8]) -> Result<()> {
        let key = self.key.show(Side::Key, key);
        let value = self.value.show(Side::Value, value);
        writeln!(out, "{}", json!({ "key": key, "value": value }))?;
        Ok(())
    }
}

/// `recto get`: text as it stands, everything else as JSON.
pub fn get(entry: &Entry) -> Result<ExitCode> {
    let store = opening::to_read(&entry.dir)?;
    let snapshot = store.snapshot();
    let table = existing(&snapshot, &entry.table)?;
    let types = Types::of(table.types());
    let Some(value) = table.get(&types.key(&entry.key)?)? else {
        eprintln!("recto: no such key");
        return Ok(ExitCode::FAILURE);
    };
    match types.value.show(Side::Value, value) {
        Json::String(text) if types.value == Type::Text => writeln!(stdout(), "{text}")?,
        json => writeln!(stdout(), "{json}")?,
    }
    Ok(ExitCode::SUCCESS)
}

/// `recto put`.
pub fn put(entry: &Entry, value: &str, new_types: &str) -> Result<ExitCode> {
    let store = opening::to_fill(&entry.dir)?;
    let known = store.snapshot().raw_table(&entry.table)?.map(|table| table.types().clone());
    let table_types = known.map_or_else(|| simple_types(new_types), Ok)?;
    let types = Types::of(&table_types);
    let (key, value) = (types.key(&entry.key)?, types.value(value)?);
    let is_new =
        store.write(|tx| tx.raw_table(&entry.table, &table_types)?.insert(&key, &value))?;
    eprintln!("{}", if is_new { "inserted" } else { "replaced" });
    store.close()?;
    Ok(ExitCode::SUCCESS)
}

/// `recto del`.
pub fn del(entry: &Entry) -> Result<ExitCode> {
    let store = opening::to_write(&entry.dir)?;
    let table_types = existing(&store.snapshot(), &entry.table)?.types().clone();
    let key = Types::of(&table_types).key(&entry.key)?;
    let was_there = store.write(|tx| tx.raw_table(&entry.table, &table_types)?.remove(&key))?;
    store.close()?;
    if !was_there {
        eprintln!("recto: no such key");
        return Ok(ExitCode::FAILURE);
    }
    Ok(ExitCode::SUCCESS)
}

/// `recto scan`.
pub fn scan(scan: &Scan) -> Result<ExitCode> {
    let store = opening::to_read(&scan.dir)?;
    let snapshot = store.snapshot();
    let table = existing(&snapshot, &scan.table)?;
    let types = Types::of(table.types());
    let range = bounded(&table, &types, scan)?;
    let limit = usize::try_from(scan.limit.unwrap_or(u64::MAX)).unwrap_or(usize::MAX);
    let mut out = BufWriter::new(stdout().lock());
    let mut print = |entry: recto::Result<(&[u8], &[u8])>| -> Result<()> {
        let (key, value) = entry?;
        types.write_entry(&mut out, key, value)
    };
    if scan.reverse {
        range.rev().take(limit).try_for_each(&mut print)?;
    } else {
        range.take(limit).try_for_each(&mut print)?;
    }
    out.flush()?;
    Ok(ExitCode::SUCCESS)
}

fn bounded<'s>(table: &RawTable<'s>, types: &Types, scan: &Scan) -> Result<RawRange<'s>> {
    if let Some(prefix) = &scan.prefix {
        if !matches!(types.key, Type::Text | Type::Bytes) {
            let name = types.key.name();
            return Err(Failure::input(format!("keys of type {name} have no prefix; use --from")));
        }
        let from = types.key(prefix)?;
        let end = prefix_end(from.clone());
        let to = end.as_deref().map_or(Bound::Unbounded, Bound::Excluded);
        return Ok(table.range(Bound::Included(&from), to)?);
    }
    let key = |typed: &Option<String>| typed.as_ref().map(|typed| types.key(typed)).transpose();
    let (from, to) = (key(&scan.from)?, key(&scan.to)?);
    let from = from.as_deref().map_or(Bound::Unbounded, Bound::Included);
    let to = to.as_deref().map_or(Bound::Unbounded, Bound::Excluded);
    Ok(table.range(from, to)?)
}

/// The first bytes behind all those that begin with `prefix`.
fn prefix_end(mut prefix: Vec<u8>) -> Option<Vec<u8>> {
    while let Some(last) = prefix.pop() {
        if last < u8::MAX {
            prefix.push(last + 1);
            return Some(prefix);
        }
    }
    None
}

/// A table that is there.
pub fn existing<'s>(snapshot: &'s Snapshot, name: &str) -> Result<RawTable<'s>> {
    let table = snapshot.raw_table(name)?;
    table.ok_or_else(|| Failure::input(format!("there is no table \"{name}\"")))
}

/// The types of a table that `put` may make. Others need their program, or a dump that has them.
fn simple_types(names: &str) -> Result<TableTypes> {
    let known = names.split_once(" -> ").and_then(|(key, value)| with_key_type(key, value));
    known.ok_or_else(|| {
        Failure::input(format!(
            "put cannot make a table of {names}: one of &str, &[u8], bool or integers to one of \
             these, f32, f64 or (), as 'u64 -> &str', is possible; others come with load"
        ))
    })
}

fn with_key_type(key: &str, value: &str) -> Option<TableTypes> {
    macro_rules! key_types {
        ($($t:ty),*) => {
            match key {
                $(stringify!($t) => with_value_type::<$t>(value),)*
                _ => None,
            }
        };
    }
    key_types!(&str, &[u8], bool, u8, u16, u32, u64, u128, i8, i16, i32, i64, i128)
}

fn with_value_type<K: Key>(value: &str) -> Option<TableTypes> {
    macro_rules! value_types {
        ($($t:ty),*) => {
            match value {
                $(stringify!($t) => Some(TableTypes::of::<K, $t>()),)*
                _ => None,
            }
        };
    }
    value_types!((), &str, &[u8], bool, u8, u16, u32, u64, u128, i8, i16, i32, i64, i128, f32, f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn put_makes_tables_of_simple_types() {
        assert_eq!(simple_types("&str -> &[u8]").unwrap(), TableTypes::of::<&str, &[u8]>());
        assert_eq!(simple_types("i64 -> ()").unwrap(), TableTypes::of::<i64, ()>());
        for names in ["f64 -> u8", "u8", "u8 -> Postcard<T>", "(u8, u8) -> u8"] {
            assert!(simple_types(names).is_err(), "{names}");
        }
    }

    #[test]
    fn a_prefix_ends_before_the_next_one() {
        assert_eq!(prefix_end(b"ab".to_vec()), Some(b"ac".to_vec()));
        assert_eq!(prefix_end(vec![1, 255, 255]), Some(vec![2]));
        assert_eq!(prefix_end(vec![255]), None);
        assert_eq!(prefix_end(vec![]), None);
    }
}
