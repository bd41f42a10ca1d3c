//! What can be typed behind `recto`.

use crate::torture::{Child, Torture};
use clap::{Args, Parser, Subcommand};
use std::path::PathBuf;

/// Looks into recto stores, checks, changes, moves and measures them.
///
/// Data goes to standard output, everything else to standard error.
#[derive(Parser)]
#[command(name = "recto", version)]
pub struct Arguments {
    /// What is to be done.
    #[command(subcommand)]
    pub command: Command,
}

/// Every command; each names the store's directory first.
#[derive(Subcommand)]
pub enum Command {
    /// Print sizes and counters of a store and its tables
    Stat {
        /// The store's directory
        dir: PathBuf,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Prove every page, order, count and free space; exits with 0 if clean, 1 if damaged, 2 if it
    /// could not run
    Check {
        /// The store's directory
        dir: PathBuf,
    },
    /// Copy what can be read of a damaged store into a new one, and tell what could not; exits with
    /// 0 if nothing was lost, 1 if something was or may be out of date, 2 if it could not run
    Salvage {
        /// The damaged store's directory; it is not changed
        source: PathBuf,
        /// The new store's directory
        target: PathBuf,
        /// What the names of the damaged store's files begin with, if it was set aside
        #[arg(long, default_value = "")]
        prefix: String,
    },
    /// Copy a store that nobody writes to, or what has changed in it since an earlier copy
    Backup {
        /// The store's directory
        dir: PathBuf,
        /// The directory of the copy, or the file of the increment; neither is written over
        target: PathBuf,
        /// The directory of an earlier copy, to which nothing was written: only changes are copied
        #[arg(long, value_name = "COPY")]
        since: Option<PathBuf>,
    },
    /// Make a store from a copy and increments
    Restore {
        /// The directory of the copy; it is not changed
        copy: PathBuf,
        /// The new store's directory
        target: PathBuf,
        /// Files that `backup --since` made, in any order
        increments: Vec<PathBuf>,
        /// The version to make; the newest that an increment names if it is left out
        #[arg(long)]
        version: Option<u64>,
    },
    /// Make the page file smaller: put leaves together that leave much room, move pages from its
    /// end to free ones, and cut it
    Compact {
        /// The store's directory
        dir: PathBuf,
        /// About how many pages are copied in one step
        #[arg(long, default_value_t = 1000)]
        pages: usize,
    },
    /// Print the value of a key; exits with 1 if it is not there
    Get(Entry),
    /// Insert or replace an entry
    Put {
        /// Where it goes
        #[command(flatten)]
        entry: Entry,
        /// Text and bytes as they stand (bytes also as 0x00ff), everything else as JSON
        #[arg(allow_negative_numbers = true)]
        value: String,
        /// The types of a table that is not there yet, as in 'u64 -> &str'
        #[arg(long, default_value = "&str -> &str")]
        types: String,
    },
    /// Remove an entry; exits with 1 if it is not there
    Del(Entry),
    /// Print the entries of a table in order, as JSON Lines
    Scan(Scan),
    /// Print the whole store, or the named tables, as JSON Lines that `load` reads
    Dump {
        /// The store's directory
        dir: PathBuf,
        /// The tables; all of them if none is named
        tables: Vec<String>,
    },
    /// Read what `dump` printed into a store, made if absent; either all of it or nothing
    Load {
        /// The store's directory
        dir: PathBuf,
        /// Where to read; standard input if it is left out
        file: Option<PathBuf>,
    },
    /// Measure reads and commits in tables of its own, which go away again
    Bench(Bench),
    /// Measure how much of the file is what was put in, after loads, removals and compactions
    Space(Space),
    /// Import the Debian package index, read and replace packages at once, verify every answer
    Demo(Demo),
    /// Let children commit, end them by force, verify all that they were told; exits with 1, and
    /// keeps the directory, if anything differs
    Torture(Torture),
    /// The process that `torture` ends
    #[command(hide = true)]
    TortureChild(Child),
    /// Read the text of `apt-cache dumpavail` into typed tables
    ImportPackages {
        /// The store's directory, made if absent
        dir: PathBuf,
        /// Where to read; standard input if it is left out, the shipped index if that is a terminal
        #[arg(conflicts_with = "shipped")]
        file: Option<PathBuf>,
        /// Import the index that ships with this command
        #[arg(long)]
        shipped: bool,
    },
    /// Print the packages that name a package, one a line, as `apt-cache rdepends` counts them
    Rdepends {
        /// The store's directory
        dir: PathBuf,
        /// The package
        name: String,
    },
    /// Print a shortest path of dependencies, one package a line; exits with 1 if there is none
    Why {
        /// The store's directory
        dir: PathBuf,
        /// The package that needs
        from: String,
        /// The package that is needed
        to: String,
    },
}

/// A place in a store.
#[derive(Args)]
pub struct Entry {
    /// The store's directory
    pub dir: PathBuf,
    /// The table
    pub table: String,
    /// Text and bytes as they stand (bytes also as 0x00ff), everything else as JSON
    #[arg(allow_negative_numbers = true)]
    pub key: String,
}

/// What is to be scanned.
#[derive(Args)]
pub struct Scan {
    /// The store's directory
    pub dir: PathBuf,
    /// The table
    pub table: String,
    /// The first key
    #[arg(long)]
    pub from: Option<String>,
    /// The key before which it ends
    #[arg(long)]
    pub to: Option<String>,
    /// What the keys start with, for text and bytes
    #[arg(long, conflicts_with_all = ["from", "to"])]
    pub prefix: Option<String>,
    /// From the last to the first
    #[arg(long)]
    pub reverse: bool,
    /// The most entries
    #[arg(long)]
    pub limit: Option<u64>,
}

/// How a bench runs.
#[derive(Args)]
pub struct Bench {
    /// The store's directory, made if absent
    pub dir: PathBuf,
    /// The entries to read among
    #[arg(long, default_value_t = 1_000_000)]
    pub entries: u64,
    /// How long each part runs
    #[arg(long, default_value_t = 2.0)]
    pub seconds: f64,
    /// The threads that read
    #[arg(long, default_value_t = 2)]
    pub readers: usize,
    /// Where to draw latencies
    #[arg(long)]
    pub svg: Option<PathBuf>,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// How space is measured.
#[derive(Args)]
pub struct Space {
    /// A directory for stores that go away again, made if absent
    pub dir: PathBuf,
    /// The entries of each load, of 24 and 150 bytes
    #[arg(long, default_value_t = 1_000_000)]
    pub entries: u64,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// How a demonstration runs.
#[derive(Args)]
pub struct Demo {
    /// The store's directory, made if absent and kept; a temporary one if it is left out
    pub dir: Option<PathBuf>,
    /// How long readers and writers run
    #[arg(long, default_value_t = 10.0)]
    pub seconds: f64,
    /// The threads that ask
    #[arg(long, default_value_t = 4)]
    pub readers: usize,
    /// The threads that replace packages
    #[arg(long, default_value_t = 8)]
    pub writers: usize,
    /// Where to draw rates and latencies
    #[arg(long, default_value = "recto-demo.svg")]
    pub svg: PathBuf,
    /// Where randomness starts
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
}
