//! The `recto` command: look into, check, change, move and measure stores.
//! Exit codes: 0 done (and clean, and there), 1 damaged or not there, 2 could not run.

use clap::Parser;
use recto_cli::arguments::Arguments;
use std::process::ExitCode;

/// The exit code of a command that could not run; clap's own for what it cannot read.
const COULD_NOT_RUN: u8 = 2;

fn main() -> ExitCode {
    match recto_cli::run(Arguments::parse().command) {
        Ok(code) => code,
        Err(failure) if failure.is_closed_pipe() => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("recto: {failure}");
            ExitCode::from(COULD_NOT_RUN)
        }
    }
}
