//! What the `recto` command does. A library of its own so that its readers of foreign bytes can be
//! fuzzed; it is not published.
#![allow(
    clippy::cast_precision_loss,
    clippy::cast_sign_loss,
    reason = "figures are rounded to what people read, and none is negative"
)]

pub mod arguments;
mod bench;
mod check;
mod compact;
mod copies;
mod debian;
mod demo;
pub mod dump;
mod entries;
pub mod failure;
mod figures;
mod graph;
mod opening;
mod packages;
mod plot;
mod salvage;
mod shipped;
mod space;
mod stat;
mod torture;
mod types;

use arguments::Command;
use std::process::ExitCode;

/// Does what was asked.
pub fn run(command: Command) -> failure::Result<ExitCode> {
    match command {
        Command::Stat { dir, json } => stat::run(&dir, json),
        Command::Check { dir } => check::run(&dir),
        Command::Salvage { source, target, prefix } => salvage::run(&source, &target, &prefix),
        Command::Backup { dir, target, since } => copies::backup(&dir, &target, since.as_deref()),
        Command::Restore { copy, target, increments, version } => {
            copies::restore(&copy, &target, &increments, version)
        }
        Command::Compact { dir, pages } => compact::run(&dir, pages),
        Command::Get(entry) => entries::get(&entry),
        Command::Put { entry, value, types } => entries::put(&entry, &value, &types),
        Command::Del(entry) => entries::del(&entry),
        Command::Scan(scan) => entries::scan(&scan),
        Command::Dump { dir, tables } => dump::dump(&dir, &tables),
        Command::Load { dir, file } => dump::load(&dir, file.as_deref()),
        Command::Bench(bench) => bench::run(&bench),
        Command::Space(space) => space::run(&space),
        Command::Demo(demo) => demo::run(&demo),
        Command::ImportPackages { dir, file, shipped } => {
            graph::import(&dir, file.as_deref(), shipped)
        }
        Command::Rdepends { dir, name } => graph::rdepends(&dir, &name),
        Command::Torture(torture) => torture::run(&torture),
        Command::TortureChild(child) => torture::run_child(&child),
        Command::Why { dir, from, to } => graph::why(&dir, &from, &to),
    }
}
