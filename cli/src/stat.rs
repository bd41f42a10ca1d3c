//! `recto stat`: how big a store is, and what it has done.

use crate::{
    entries,
    failure::Result,
    figures::{self, bytes, count},
    opening,
};
use recto::{Stats, TableReport};
use serde_json::{Value as Json, json};
use std::{io::Write, io::stdout, path::Path, process::ExitCode};

/// One table.
struct Row {
    name: String,
    types: String,
    report: TableReport,
}

/// Prints a table of tables and a list of figures, or both as JSON.
pub fn run(dir: &Path, is_json: bool) -> Result<ExitCode> {
    let store = opening::to_read(dir)?;
    let (snapshot, stats) = (store.snapshot(), store.stats());
    let mut rows = Vec::new();
    for name in snapshot.tables()? {
        let table = entries::existing(&snapshot, &name)?;
        let (types, report) = (table.types().to_string(), table.report()?);
        rows.push(Row { name, types, report });
    }
    let mut out = stdout().lock();
    if is_json {
        let tables: Vec<Json> = rows.iter().map(|row| row.json(&stats)).collect();
        let json = json!({ "store": store_json(&stats), "tables": tables });
        writeln!(out, "{json:#}")?;
    } else {
        write_text(&mut out, &rows, &stats)?;
    }
    Ok(ExitCode::SUCCESS)
}

impl Row {
    fn bytes(&self, stats: &Stats) -> u64 {
        self.pages() * stats.page_bytes as u64
    }

    fn pages(&self) -> u64 {
        self.report.leaves + self.report.branches + self.report.run_pages
    }

    /// How much of leaves and branches is in use.
    fn fill(&self, stats: &Stats) -> f64 {
        let pages = (self.report.leaves + self.report.branches).max(1);
        self.report.used_bytes as f64 / (pages * stats.page_bytes as u64) as f64
    }

    fn json(&self, stats: &Stats) -> Json {
        json!({
            "name": self.name,
            "types": self.types,
            "entries": self.report.entries,
            "bytes": self.bytes(stats),
            "pages": self.pages(),
            "overflow_pages": self.report.run_pages,
            "depth": self.report.levels,
            "fill": (self.fill(stats) * 1000.0).round() / 1000.0,
        })
    }
}

fn store_json(stats: &Stats) -> Json {
    json!({
        "version": stats.version,
        "durable_version": stats.durable_version,
        "page_bytes": stats.page_bytes,
        "file_pages": stats.file_pages,
        "free_pages": stats.free_pages,
        "waiting_pages": stats.waiting_pages,
        "dirty_pages": stats.dirty_bytes / (stats.page_bytes as u64).max(1),
        "log_bytes": stats.log_bytes,
        "live_readers": stats.snapshots,
    })
}

fn write_text(out: &mut impl Write, rows: &[Row], stats: &Stats) -> Result<()> {
    let header = ["table", "entries", "bytes", "depth", "fill", "types"];
    let mut table = figures::table(&header);
    for row in rows {
        table.add_row([
            row.name.clone(),
            count(row.report.entries),
            bytes(row.bytes(stats)),
            row.report.levels.to_string(),
            format!("{:.0} %", row.fill(stats) * 100.0),
            row.types.clone(),
        ]);
    }
    figures::align(&mut table);
    writeln!(out, "{table}\n")?;
    let page_bytes = stats.page_bytes as u64;
    for (name, figure) in [
        ("version", count(stats.version)),
        ("durable version", count(stats.durable_version)),
        ("page", bytes(page_bytes)),
        ("page file", bytes(stats.file_pages * page_bytes)),
        ("free pages", count(stats.free_pages)),
        ("waiting pages", count(stats.waiting_pages)),
        ("dirty pages", count(stats.dirty_bytes / page_bytes.max(1))),
        ("log", bytes(stats.log_bytes)),
        ("live readers", count(stats.snapshots as u64)),
    ] {
        writeln!(out, "{name:16} {figure}")?;
    }
    Ok(())
}
