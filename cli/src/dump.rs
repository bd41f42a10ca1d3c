//! A store as JSON Lines, and back: `dump` and `load`.
//!
//! The first line tells the format. Then, for each table, a line with its name and types, and one
//! for each of its entries, in order. The last line tells how many there were, so that a dump that
//! was cut short is noticed. What is loaded is one transaction: all of it or nothing.

use crate::{
    entries::{self, Types},
    failure::{Failure, Result},
    opening,
};
use recto::{Snapshot, TableTypes, WriteTx};
use serde_json::{Value as Json, json};
use std::{
    fs::File,
    io::{BufRead, BufReader, BufWriter, Write, stdin, stdout},
    ops::Bound,
    path::Path,
    process::ExitCode,
};

/// The format that is written, and the only one that is read.
const FORMAT: u64 = 1;
/// How many entries go to the store at a time.
const CHUNK_ENTRIES: usize = 10_000;

/// How much was dumped or loaded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    tables: u64,
    entries: u64,
}

/// `recto dump`.
pub fn dump(dir: &Path, tables: &[String]) -> Result<ExitCode> {
    let store = opening::to_read(dir)?;
    let mut out = BufWriter::with_capacity(1 << 16, stdout().lock());
    let snapshot = store.snapshot();
    let counts = write_dump(&snapshot, tables, &mut out)?;
    out.flush()?;
    let version = snapshot.version();
    eprintln!("dumped {} tables, {} entries of version {version}", counts.tables, counts.entries);
    Ok(ExitCode::SUCCESS)
}

/// Writes the tables that are named, or all of them, sorted by name.
pub fn write_dump(snapshot: &Snapshot, tables: &[String], out: &mut impl Write) -> Result<Counts> {
    let mut names = tables.to_vec();
    if names.is_empty() {
        names = snapshot.tables()?;
    }
    names.sort();
    names.dedup();
    writeln!(out, "{}", json!({ "recto": "dump", "format": FORMAT }))?;
    let mut counts = Counts::default();
    for name in &names {
        let table = entries::existing(snapshot, name)?;
        let types = table.types();
        let line = json!({
            "table": name,
            "key_type": &*types.key_name,
            "value_type": &*types.value_name,
            // What decides whether types are equal; text, for not every reader keeps 64 bits.
            "type_hashes": [format!("{:016x}", types.key), format!("{:016x}", types.value)],
        });
        writeln!(out, "{line}")?;
        let shown = Types::of(types);
        for entry in table.range(Bound::Unbounded, Bound::Unbounded)? {
            let (key, value) = entry?;
            shown.write_entry(out, key, value)?;
            counts.entries += 1;
        }
        counts.tables += 1;
    }
    writeln!(out, "{}", json!({ "end": { "tables": counts.tables, "entries": counts.entries } }))?;
    Ok(counts)
}

/// `recto load`.
pub fn load(dir: &Path, file: Option<&Path>) -> Result<ExitCode> {
    let input: Box<dyn BufRead + Send> = match file {
        Some(file) => {
            let opened = File::open(file);
            let named = |e| Failure::input(format!("{} could not be read: {e}", file.display()));
            Box::new(BufReader::with_capacity(1 << 16, opened.map_err(named)?))
        }
        None => Box::new(BufReader::with_capacity(1 << 16, stdin())),
    };
    let mut dump = Dump::begin(input)?;
    let store = opening::to_fill(dir)?;
    let counts = store.try_write(|tx| dump.load(tx))?;
    store.close()?;
    eprintln!("loaded {} tables, {} entries", counts.tables, counts.entries);
    Ok(ExitCode::SUCCESS)
}

/// A dump that is being read.
pub struct Dump<R> {
    input: R,
    line: u64,
    text: String,
}

/// What a line says.
enum Line {
    Table { name: String, types: TableTypes },
    Entry { key: Json, value: Json },
    End(Counts),
}

impl<R: BufRead> Dump<R> {
    /// Reads the first line, so that what is no dump is refused before a store is made for it.
    pub fn begin(input: R) -> Result<Dump<R>> {
        let mut dump = Dump { input, line: 0, text: String::new() };
        let first = dump.json()?;
        if first["recto"] != "dump" {
            return Err(dump.unreadable("is not the first of a dump"));
        }
        if first["format"] != FORMAT {
            let format = &first["format"];
            return Err(dump.unreadable(format!("has format {format}; {FORMAT} can be read")));
        }
        Ok(dump)
    }

    /// Reads the rest into the store.
    pub fn load(&mut self, tx: &mut WriteTx<'_>) -> Result<Counts> {
        let mut counts = Counts::default();
        let mut current: Option<(String, TableTypes, Types)> = None;
        let mut chunk = Vec::new();
        loop {
            match self.next_line()? {
                Line::Entry { key, value } => {
                    let Some((name, table_types, types)) = &current else {
                        return Err(self.unreadable("is an entry before any table"));
                    };
                    let entry = types.parse(&key, &value);
                    chunk.push(entry.map_err(|reason| self.unreadable(reason))?);
                    counts.entries += 1;
                    if chunk.len() == CHUNK_ENTRIES {
                        hand_over(tx, name, table_types, &mut chunk)?;
                    }
                }
                Line::Table { name, types } => {
                    finish(tx, current.as_ref(), &mut chunk)?;
                    // Made here, so that an empty table comes along.
                    tx.raw_table(&name, &types)?;
                    let shown = Types::of(&types);
                    current = Some((name, types, shown));
                    counts.tables += 1;
                }
                Line::End(expected) => {
                    finish(tx, current.as_ref(), &mut chunk)?;
                    if counts != expected {
                        let (tables, entries) = (expected.tables, expected.entries);
                        let reason = format!("ends {tables} tables and {entries} entries");
                        return Err(self.unreadable(format!(
                            "{reason}, but {} and {} came before",
                            counts.tables, counts.entries
                        )));
                    }
                    return Ok(counts);
                }
            }
        }
    }

    fn next_line(&mut self) -> Result<Line> {
        let mut json = self.json()?;
        let line = if let Json::String(name) = json["table"].take() {
            table_types(&json).map(|types| Line::Table { name, types })
        } else if json.get("key").is_some() && json.get("value").is_some() {
            Some(Line::Entry { key: json["key"].take(), value: json["value"].take() })
        } else {
            let (tables, entries) =
                (json["end"]["tables"].as_u64(), json["end"]["entries"].as_u64());
            tables.zip(entries).map(|(tables, entries)| Line::End(Counts { tables, entries }))
        };
        line.ok_or_else(|| self.unreadable("is neither a table, an entry nor the end"))
    }

    fn json(&mut self) -> Result<Json> {
        self.text.clear();
        self.line += 1;
        let read = self.input.read_line(&mut self.text);
        let reason = match read.map(|len| (len, serde_json::from_str(&self.text))) {
            Ok((0, _)) => "is missing: the dump was cut short".to_owned(),
            Ok((_, Ok(json @ Json::Object(_)))) => return Ok(json),
            Ok((_, Ok(_))) => "is no object".to_owned(),
            Ok((_, Err(e))) => format!("is no JSON: {e}"),
            Err(e) => format!("could not be read: {e}"),
        };
        Err(self.unreadable(reason))
    }

    fn unreadable(&self, reason: impl Into<String>) -> Failure {
        Failure::Input(format!("line {} of the dump {}", self.line, reason.into()))
    }
}

/// Encoded entries on their way to the store.
type Chunk = Vec<(Vec<u8>, Vec<u8>)>;

fn finish(
    tx: &mut WriteTx<'_>,
    current: Option<&(String, TableTypes, Types)>,
    chunk: &mut Chunk,
) -> Result<()> {
    current.map_or(Ok(()), |(name, types, _)| hand_over(tx, name, types, chunk))
}

fn hand_over(
    tx: &mut WriteTx<'_>,
    name: &str,
    types: &TableTypes,
    chunk: &mut Chunk,
) -> Result<()> {
    tx.raw_table(name, types)?.extend(chunk.drain(..))?;
    Ok(())
}

fn table_types(json: &Json) -> Option<TableTypes> {
    let hash = |i: usize| u64::from_str_radix(json["type_hashes"][i].as_str()?, 16).ok();
    Some(TableTypes {
        key: hash(0)?,
        value: hash(1)?,
        key_name: json["key_type"].as_str()?.into(),
        value_name: json["value_type"].as_str()?.into(),
    })
}
