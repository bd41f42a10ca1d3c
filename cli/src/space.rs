//! `recto space`: how much of the file is what was put in, after loads, removals and compactions.
//! Owns: the ways to load and the steps after it; each way has a store of its own, which goes away
//! again.

use crate::{
    arguments,
    failure::{Failure, Result},
    figures::{self, Random, count},
};
use indicatif::ProgressBar;
use recto::{Batch, Budget, Durability, Options, Store, Table};
use serde_json::{Value as Json, json};
use std::{
    fs,
    io::{Write, stdout},
    path::Path,
    process::ExitCode,
};

/// Keys and values as in `recto bench`.
const ENTRIES: Table<[u8; KEY_BYTES], &[u8]> = Table::new("entries");
const KEY_BYTES: usize = 24;
const VALUE_BYTES: usize = 150;
/// Entries of one transaction, and of one batch.
const TRANSACTION: usize = 1000;
/// Pages that one step of a compaction moves.
const BUDGET: Budget = Budget::pages(1000);

/// How entries come in.
#[derive(Clone, Copy)]
enum Way {
    Insert,
    Batches,
    Extend,
}

/// The fill of a store at one moment.
struct Row {
    load: &'static str,
    step: &'static str,
    entries: u64,
    live_bytes: u64,
    file_bytes: u64,
    /// The part of leaves and branches that is in use.
    page_fill: f64,
}

/// Loads, empties and compacts a store for each way to load, below the directory that is named.
pub fn run(arguments: &arguments::Space) -> Result<ExitCode> {
    if arguments.entries == 0 {
        return Err(Failure::input("there is no fill of no entries"));
    }
    let ways = [
        ("sorted, by insert", Way::Insert, true),
        ("random, by insert", Way::Insert, false),
        ("random, by batches of 1,000", Way::Batches, false),
        ("sorted, by extend", Way::Extend, true),
        ("random, by extend", Way::Extend, false),
    ];
    let (mut rows, bar) = (Vec::new(), ProgressBar::new(ways.len() as u64 * 4));
    for (number, (load, way, is_sorted)) in ways.into_iter().enumerate() {
        let dir = arguments.dir.join(format!("space-{number}"));
        if dir.exists() {
            let dir = dir.display();
            return Err(Failure::input(format!("{dir} is there already")));
        }
        let measured = measure(&dir, load, way, &keys(arguments.entries, is_sorted), &bar);
        fs::remove_dir_all(&dir)?;
        rows.extend(measured?);
    }
    bar.finish_and_clear();
    print(&rows, arguments.json)?;
    Ok(ExitCode::SUCCESS)
}

/// Keys that look random, in their order or in none.
fn keys(entries: u64, is_sorted: bool) -> Vec<[u8; KEY_BYTES]> {
    let mut random = Random::new(1);
    let key = |random: &mut Random| {
        let mut key = [0; KEY_BYTES];
        key.chunks_exact_mut(8).for_each(|part| part.copy_from_slice(&random.next().to_be_bytes()));
        key
    };
    let mut keys: Vec<_> = (0..entries).map(|_| key(&mut random)).collect();
    if is_sorted {
        keys.sort_unstable();
    }
    keys
}

fn measure(
    dir: &Path,
    load: &'static str,
    way: Way,
    keys: &[[u8; KEY_BYTES]],
    bar: &ProgressBar,
) -> Result<Vec<Row>> {
    let store = Options::new().durability(Durability::None).open(dir)?;
    let mut rows = Vec::new();
    let mut add = |step: &'static str| -> Result<()> {
        store.checkpoint()?;
        rows.push(row(&store, dir, load, step)?);
        bar.inc(1);
        Ok(())
    };
    put(&store, way, keys)?;
    add("loaded")?;
    // Of every four neighbours three go: each by itself, so that no page is given up whole.
    let gone: Vec<_> = keys.iter().filter(|key| key[KEY_BYTES - 1] % 4 != 0).collect();
    for some in gone.chunks(TRANSACTION) {
        store.write(|tx| {
            let mut entries = tx.table(&ENTRIES)?;
            some.iter().try_for_each(|key| entries.remove(**key).map(drop))
        })?;
    }
    add("three of four removed at random")?;
    while !store.compact(BUDGET)?.is_done {}
    add("compacted")?;
    store.write(|tx| tx.table(&ENTRIES)?.remove_range([0x20; KEY_BYTES]..))?;
    while !store.compact(BUDGET)?.is_done {}
    add("seven of eight removed as a range, compacted")?;
    store.close()?;
    Ok(rows)
}

fn put(store: &Store, way: Way, keys: &[[u8; KEY_BYTES]]) -> Result<()> {
    let value = [7; VALUE_BYTES];
    match way {
        Way::Extend => {
            let entries = keys.iter().map(|key| (*key, &value[..]));
            store.write(|tx| tx.table(&ENTRIES)?.extend(entries))?;
        }
        Way::Insert => {
            for some in keys.chunks(TRANSACTION) {
                store.write(|tx| {
                    let mut entries = tx.table(&ENTRIES)?;
                    some.iter().try_for_each(|key| entries.insert(*key, &value).map(drop))
                })?;
            }
        }
        Way::Batches => {
            for some in keys.chunks(TRANSACTION) {
                let mut batch = Batch::new();
                for key in some {
                    batch.insert(&ENTRIES, *key, &value);
                }
                store.submit(batch)?.wait()?;
            }
        }
    }
    Ok(())
}

fn row(store: &Store, dir: &Path, load: &'static str, step: &'static str) -> Result<Row> {
    let snapshot = store.snapshot();
    let table = snapshot.raw_table(ENTRIES.name())?;
    let report = table.map(|table| table.report()).transpose()?.unwrap_or_default();
    let page_bytes = store.stats().page_bytes as u64;
    let tree_bytes = (report.leaves + report.branches) * page_bytes;
    Ok(Row {
        load,
        step,
        entries: report.entries,
        live_bytes: report.entries * (KEY_BYTES + VALUE_BYTES) as u64,
        file_bytes: fs::metadata(dir.join("pages"))?.len(),
        page_fill: report.used_bytes as f64 / tree_bytes.max(1) as f64,
    })
}

impl Row {
    /// Bytes of the file for each byte that was put in.
    fn ratio(&self) -> f64 {
        self.file_bytes as f64 / self.live_bytes.max(1) as f64
    }

    fn json(&self) -> Json {
        json!({
            "load": self.load,
            "step": self.step,
            "entries": self.entries,
            "live_bytes": self.live_bytes,
            "file_bytes": self.file_bytes,
            "page_fill": self.page_fill,
        })
    }
}

fn print(rows: &[Row], is_json: bool) -> Result<()> {
    let mut out = stdout().lock();
    if is_json {
        let rows: Vec<Json> = rows.iter().map(Row::json).collect();
        writeln!(out, "{:#}", Json::from(rows))?;
        return Ok(());
    }
    let header = ["load", "then", "entries", "put in", "file", "file / put in", "pages in use"];
    let mut table = figures::table(&header);
    figures::align(&mut table);
    for row in rows {
        table.add_row([
            row.load.to_owned(),
            row.step.to_owned(),
            count(row.entries),
            figures::bytes(row.live_bytes),
            figures::bytes(row.file_bytes),
            format!("{:.2}", row.ratio()),
            format!("{:.0} %", row.page_fill * 100.0),
        ]);
    }
    writeln!(out, "{table}")?;
    Ok(())
}
