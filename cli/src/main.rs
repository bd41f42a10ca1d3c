//! The `recto` command: look into, check, change, move and measure stores.
//! Exit codes: 0 done (and clean, and there), 1 damaged or not there, 2 could not run.
#![allow(
    clippy::cast_precision_loss,
    clippy::cast_sign_loss,
    reason = "figures are rounded to what people read, and none is negative"
)]

mod arguments;
mod bench;
mod check;
mod compact;
mod copies;
mod debian;
mod demo;
mod dump;
mod entries;
mod failure;
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

use arguments::{Arguments, Command};
use clap::Parser;
use std::process::ExitCode;

/// The exit code of a command that could not run; clap's own for what it cannot read.
const COULD_NOT_RUN: u8 = 2;

fn main() -> ExitCode {
    match run(Arguments::parse().command) {
        Ok(code) => code,
        Err(failure) if failure.is_closed_pipe() => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("recto: {failure}");
            ExitCode::from(COULD_NOT_RUN)
        }
    }
}

fn run(command: Command) -> failure::Result<ExitCode> {
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
