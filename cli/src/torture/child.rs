//! The process that is killed: it opens the store, lets lanes commit, and prints what it was told.

use super::{
    deal::Level,
    lanes::Life,
    told::{Listener, Told},
};
use crate::failure::Result;
use clap::Args;
use recto::{Options, Store};
use std::{
    io::{self, Write},
    path::PathBuf,
    process::ExitCode,
    sync::atomic::{AtomicBool, Ordering::SeqCst},
    thread,
    time::Duration,
};

/// What the child of a torture is told on its command line.
#[derive(Args)]
pub struct Child {
    /// The store's directory
    pub dir: PathBuf,
    /// What the lanes' commits are told by
    #[arg(long)]
    pub seed: u64,
    /// How many threads commit
    #[arg(long)]
    pub lanes: u64,
    /// When commits are answered
    #[arg(long, value_enum)]
    pub level: Level,
    /// How long it commits if nobody kills it
    #[arg(long, default_value_t = 60_000)]
    pub millis: u64,
    /// Without the memory map
    #[arg(long)]
    pub no_map: bool,
    /// The disk may refuse
    #[arg(long)]
    pub expects_faults: bool,
}

/// Small limits, so that checkpoints, rotations and recycled segments are part of every life.
pub fn options(seed: u64, level: Level) -> Options {
    let page_bytes = 4096 << (seed % 4);
    Options::new()
        .page_bytes(page_bytes)
        .dirty_bytes(1 << 20)
        .log_segment_bytes(64 << 10)
        .queue_capacity(16)
        .durability(level.durability())
}

/// Prints each as a line of its own, before the thread that was told goes on.
struct Printer;

impl Listener for Printer {
    fn hear(&self, told: Told) {
        let line = format!("{told}\n");
        let mut out = io::stdout().lock();
        // If the other end is gone, so is whoever would compare.
        let _ = out.write_all(line.as_bytes()).and_then(|()| out.flush());
    }
}

/// Runs one life.
pub fn run(child: &Child) -> Result<ExitCode> {
    let opened = options(child.seed, child.level).memory_map(!child.no_map).open(&child.dir);
    let store = match opened {
        Ok(store) => store,
        Err(error) if child.expects_faults => {
            Printer.hear(Told::Failed { what: format!("open: {error}") });
            // Nothing was answered, so nothing had to be read.
            Printer.hear(Told::ReadsGoOn);
            Printer.hear(Told::End);
            return Ok(ExitCode::SUCCESS);
        }
        Err(error) => return Err(error.into()),
    };
    Printer.hear(Told::Open);
    live(child, &store);
    match store.close() {
        Err(error) if !child.expects_faults => return Err(error.into()),
        _ => Printer.hear(Told::End),
    }
    Ok(ExitCode::SUCCESS)
}

fn live(child: &Child, store: &Store) {
    let stop = AtomicBool::new(false);
    let life = Life {
        store,
        seed: child.seed,
        level: child.level,
        expects_faults: child.expects_faults,
        listener: &Printer,
        stop: &stop,
    };
    let time = Duration::from_millis(child.millis);
    thread::scope(|scope| {
        let living = scope.spawn(|| life.run(child.lanes));
        let mut left = time;
        let step = Duration::from_millis(10);
        while !living.is_finished() && !left.is_zero() {
            thread::sleep(left.min(step));
            left = left.saturating_sub(step);
        }
        stop.store(true, SeqCst);
    });
}
