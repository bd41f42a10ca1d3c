//! `recto torture`: lives that end by force, each verified against everything that it told.
//!
//! A life is a child process whose lanes commit in every way and at every durability, until it is
//! killed, or until a command that the user gave cuts the power of its file system. Then the store
//! is opened here and compared, entry by entry. What a lane's commits are is told by the seed; when
//! threads run and lives end is not, so a seed repeats the work and not the moment.

mod child;
#[cfg(feature = "power-cuts")]
mod cuts;
mod deal;
mod dice;
mod lanes;
mod lives;
mod sabotage;
mod told;
mod verify;

pub use child::{Child, run as run_child};
pub use sabotage::Sabotage;

use crate::failure::{Failure, Result};
use clap::Args;
use lives::Lives;
use std::{
    fmt,
    path::PathBuf,
    process::ExitCode,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

/// The exit code of a discrepancy.
const DISCREPANCY: u8 = 1;

/// How often a long run says how far it is.
const REPORT_EVERY: Duration = Duration::from_secs(60);

/// How a store is tortured.
#[derive(Args)]
pub struct Torture {
    /// The store's directory, empty or absent; a temporary one if it is left out
    pub dir: Option<PathBuf>,
    /// How long
    #[arg(long, default_value_t = 60.0)]
    pub seconds: f64,
    /// After how many lives to end before
    #[arg(long, default_value_t = u64::MAX)]
    pub lives: u64,
    /// Where randomness starts; the clock tells if it is left out
    #[arg(long)]
    pub seed: Option<u64>,
    /// The threads that commit
    #[arg(long, default_value_t = 4)]
    pub lanes: u64,
    /// A shell command that cuts the power of the store's file system, kills the process
    /// `RECTO_CHILD_PID`, and mounts it again
    #[arg(long)]
    pub cut: Option<String>,
    /// The words, parted by blanks, to run the child under, as `strace -D -f -e inject=..`: it may
    /// meet errors then, and ends by itself
    #[arg(long, allow_hyphen_values = true)]
    pub under: Option<String>,
    /// What to spoil before the third life is verified, to see it reported
    #[arg(long, value_enum, hide = true)]
    pub sabotage: Option<Sabotage>,
}

/// What was done, for the last line.
#[derive(Default)]
pub struct Figures {
    /// Lives that ended, each verified.
    pub lives: u64,
    /// Lives that were killed.
    pub kills: u64,
    /// Kills before the store was open.
    pub early_kills: u64,
    /// Lives that ended by a power cut of the file system.
    pub cuts: u64,
    /// Power cuts of the simulated disk, each of them an image that was opened.
    pub simulated_cuts: u64,
    /// Commits found and compared after those.
    pub simulated_commits: u64,
    /// Commits found and compared.
    pub commits: u64,
    /// Answers that were told.
    pub answers: u64,
    /// Lives that met an error.
    pub failures: u64,
    /// Commits that were refused and handed in again.
    pub refusals: u64,
}

impl fmt::Display for Figures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Figures { lives, kills, early_kills, cuts, commits, answers, .. } = self;
        write!(f, "{lives} lives: {kills} kills ({early_kills} before the store was open)")?;
        write!(f, ", {cuts} power cuts, {} met errors; ", self.failures)?;
        write!(f, "{answers} answers, {commits} commits verified, {} refused", self.refusals)?;
        if self.simulated_cuts > 0 {
            let (cuts, commits) = (self.simulated_cuts, self.simulated_commits);
            write!(f, "; {cuts} power cuts of a simulated disk, {commits} commits verified")?;
        }
        Ok(())
    }
}

/// What should not be, and where it can be looked at.
pub struct Discrepancy {
    what: String,
    kept: String,
}

/// Tortures until the time is over or something is wrong.
pub fn run(torture: &Torture) -> Result<ExitCode> {
    let seed = torture.seed.unwrap_or_else(|| {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        since.as_secs() ^ u64::from(since.subsec_nanos())
    });
    let seconds = Duration::try_from_secs_f64(torture.seconds)
        .map_err(|_| Failure::input("--seconds is no time"))?;
    println!("seed {seed}");
    let began = Instant::now();
    let (mut figures, mut reported) = (Figures::default(), began);
    let mut lives = Lives::new(torture, seed)?;
    #[cfg(feature = "power-cuts")]
    let mut cuts = cuts::Cuts::new(seed, torture.lanes);
    while began.elapsed() < seconds && figures.lives < torture.lives {
        let ended = lives.next(&mut figures)?;
        #[cfg(feature = "power-cuts")]
        let ended = match ended {
            None if torture.cut.is_none() && torture.under.is_none() => cuts.next(&mut figures),
            ended => ended,
        };
        if let Some(Discrepancy { what, kept }) = ended {
            println!("discrepancy in life {}: {what}", figures.lives);
            println!("seed {seed}; kept: {kept}");
            return Ok(ExitCode::from(DISCREPANCY));
        }
        if reported.elapsed() > REPORT_EVERY {
            reported = Instant::now();
            eprintln!("{} s: {figures}", began.elapsed().as_secs());
        }
    }
    lives.clear()?;
    let seconds = began.elapsed().as_secs_f64();
    println!("{figures}; {seconds:.1} s, {:.1} lives/s", figures.lives as f64 / seconds);
    Ok(ExitCode::SUCCESS)
}
