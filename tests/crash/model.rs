//! What a store must hold: ordered maps that are cloned for each version, and the operations that
//! change a map and a store alike.
//! Owns: [`Model`], [`Op`], [`compare`].

use recto::{Batch, Error, Result, Table, View, WriteTx};
use std::{
    collections::BTreeMap,
    fmt,
    ops::{Bound, RangeBounds},
    sync::Arc,
};

pub type Raw = Table<&'static [u8], &'static [u8]>;
pub type Rows = BTreeMap<Vec<u8>, Arc<[u8]>>;
pub type Model = BTreeMap<String, Arc<Rows>>;

/// The table of this number.
pub fn table(number: usize) -> Raw {
    Table::named(name(number))
}

pub fn name(number: usize) -> String {
    format!("table-{number}")
}

/// One change. Its outcome is a number: how many entries were new, or removed.
#[derive(Clone)]
pub enum Op {
    Insert {
        table: usize,
        key: Vec<u8>,
        value: Arc<[u8]>,
    },
    InsertIfAbsent {
        table: usize,
        key: Vec<u8>,
        value: Arc<[u8]>,
    },
    Remove {
        table: usize,
        key: Vec<u8>,
    },
    RemoveRange {
        table: usize,
        from: Bound<Vec<u8>>,
        to: Bound<Vec<u8>>,
    },
    Extend {
        table: usize,
        entries: Vec<(Vec<u8>, Arc<[u8]>)>,
    },
    PopFirst {
        table: usize,
    },
    PopLast {
        table: usize,
    },
    /// Keeps the entries whose value's length is no multiple of this.
    Retain {
        table: usize,
        of: usize,
    },
    Drop {
        table: usize,
    },
    Rename {
        from: usize,
        to: usize,
    },
}

impl Op {
    /// The outcome on the model; none if it is to be refused.
    pub fn on_model(&self, model: &mut Model) -> Option<u64> {
        let (number, change) = match self {
            Op::Drop { table } => return Some(u64::from(model.remove(&name(*table)).is_some())),
            Op::Rename { from, to } => {
                let (from, to) = (name(*from), name(*to));
                if !model.contains_key(&from) {
                    return Some(0);
                }
                if model.contains_key(&to) {
                    return None;
                }
                let rows = model.remove(&from)?;
                model.insert(to, rows);
                return Some(1);
            }
            Op::Insert { table, .. }
            | Op::InsertIfAbsent { table, .. }
            | Op::Remove { table, .. }
            | Op::RemoveRange { table, .. }
            | Op::Extend { table, .. }
            | Op::PopFirst { table }
            | Op::PopLast { table }
            | Op::Retain { table, .. } => (*table, self),
        };
        let rows = Arc::make_mut(model.entry(name(number)).or_default());
        Some(change.on_rows(rows))
    }

    fn on_rows(&self, rows: &mut Rows) -> u64 {
        let before = rows.len();
        match self {
            Op::Insert { key, value, .. } => {
                return u64::from(rows.insert(key.clone(), value.clone()).is_none());
            }
            Op::InsertIfAbsent { key, value, .. } => {
                let new = !rows.contains_key(key);
                rows.entry(key.clone()).or_insert_with(|| value.clone());
                return u64::from(new);
            }
            Op::Remove { key, .. } => _ = rows.remove(key),
            Op::RemoveRange { from, to, .. } => {
                let range = (from.as_ref(), to.as_ref());
                rows.retain(|key, _| !range.contains(key));
            }
            Op::Extend { entries, .. } => {
                rows.extend(entries.iter().cloned());
                return (rows.len() - before) as u64;
            }
            Op::PopFirst { .. } => _ = rows.pop_first(),
            Op::PopLast { .. } => _ = rows.pop_last(),
            Op::Retain { of, .. } => rows.retain(|_, value| value.len() % of != 0),
            Op::Drop { .. } | Op::Rename { .. } => unreachable!("not within one table"),
        }
        (before - rows.len()) as u64
    }

    /// The outcome in a transaction.
    pub fn on_tx(&self, tx: &mut WriteTx<'_>) -> Result<u64> {
        Ok(match self {
            Op::Insert { table: t, key, value } => {
                u64::from(tx.table(&table(*t))?.insert(key, value)?)
            }
            Op::InsertIfAbsent { table: t, key, value } => {
                u64::from(tx.table(&table(*t))?.insert_if_absent(key, value)?)
            }
            Op::Remove { table: t, key } => u64::from(tx.table(&table(*t))?.remove(key)?),
            Op::RemoveRange { table: t, from, to } => {
                let range = (from.as_ref().map(|b| &b[..]), to.as_ref().map(|b| &b[..]));
                tx.table(&table(*t))?.remove_range(range)?
            }
            Op::Extend { table: t, entries } => {
                let lent = entries.iter().map(|(key, value)| (&key[..], &value[..]));
                tx.table(&table(*t))?.extend(lent)?
            }
            Op::PopFirst { table: t } => u64::from(tx.table(&table(*t))?.pop_first()?.is_some()),
            Op::PopLast { table: t } => u64::from(tx.table(&table(*t))?.pop_last()?.is_some()),
            Op::Retain { table: t, of } => {
                tx.table(&table(*t))?.retain(|_, value| value.len() % of != 0)?
            }
            Op::Drop { table } => u64::from(tx.drop_table(&name(*table))?),
            Op::Rename { from, to } => u64::from(tx.rename_table(&name(*from), &name(*to))?),
        })
    }

    /// Adds it to a batch, if a batch can hold it.
    pub fn on_batch(&self, batch: &mut Batch) -> bool {
        match self {
            Op::Insert { table: t, key, value } => batch.insert(&table(*t), key, value),
            Op::Remove { table: t, key } => batch.remove(&table(*t), key),
            Op::RemoveRange { table: t, from, to } => {
                let range = (from.as_ref().map(|b| &b[..]), to.as_ref().map(|b| &b[..]));
                batch.remove_range(&table(*t), range)
            }
            _ => return false,
        };
        true
    }
}

impl fmt::Debug for Op {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let short = |key: &[u8]| {
            format!("{:?}+{}", key[..key.len().min(12)].escape_ascii().to_string(), key.len())
        };
        match self {
            Op::Insert { table, key, value } => {
                write!(f, "insert {table} {} {}", short(key), value.len())
            }
            Op::InsertIfAbsent { table, key, value } => {
                write!(f, "insert_if_absent {table} {} {}", short(key), value.len())
            }
            Op::Remove { table, key } => write!(f, "remove {table} {}", short(key)),
            Op::RemoveRange { table, from, to } => {
                let (from, to) = (from.as_ref().map(|k| short(k)), to.as_ref().map(|k| short(k)));
                write!(f, "remove_range {table} {from:?} {to:?}")
            }
            Op::Extend { table, entries } => write!(f, "extend {table} by {}", entries.len()),
            Op::PopFirst { table } => write!(f, "pop_first {table}"),
            Op::PopLast { table } => write!(f, "pop_last {table}"),
            Op::Retain { table, of } => write!(f, "retain {table} {of}"),
            Op::Drop { table } => write!(f, "drop {table}"),
            Op::Rename { from, to } => write!(f, "rename {from} {to}"),
        }
    }
}

/// What a comparison found.
#[derive(Debug)]
pub enum Wrong {
    Failed(Error),
    Differs(String),
}

impl From<Error> for Wrong {
    fn from(error: Error) -> Wrong {
        Wrong::Failed(error)
    }
}

pub fn expect<T: PartialEq + fmt::Debug>(what: &str, found: &T, expected: &T) -> Result<(), Wrong> {
    if found == expected {
        return Ok(());
    }
    Err(Wrong::Differs(format!("{what}: found {found:?}, expected {expected:?}")))
}

fn brief(entry: Option<(&[u8], &[u8])>) -> String {
    let Some((key, value)) = entry else {
        return "nothing".to_owned();
    };
    let start = key[..key.len().min(24)].escape_ascii();
    format!("\"{start}\" of {} bytes with {} bytes", key.len(), value.len())
}

/// Compares everything, forward.
pub fn compare_scan(view: &View, model: &Model) -> Result<(), Wrong> {
    let names: Vec<String> = model.keys().cloned().collect();
    expect("tables", &view.tables()?, &names)?;
    for (name, rows) in model {
        let table = view.table(&Raw::named(name.as_str()))?;
        expect("length", &table.len()?, &(rows.len() as u64))?;
        let mut expected = rows.iter().map(|(key, value)| (&key[..], &value[..]));
        for entry in table.iter()? {
            same(name, Some(entry?), expected.next())?;
        }
        same(name, None, expected.next())?;
    }
    Ok(())
}

pub fn same(name: &str, a: Option<(&[u8], &[u8])>, b: Option<(&[u8], &[u8])>) -> Result<(), Wrong> {
    if a == b {
        return Ok(());
    }
    Err(Wrong::Differs(format!("{name}: found {}, expected {}", brief(a), brief(b))))
}
