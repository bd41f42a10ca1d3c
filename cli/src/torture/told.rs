//! What a life told the world: the lines of a child, and what they mean.
//! Owns: [`Told`], [`Listener`].

use super::deal::Number;
use std::{fmt, str::FromStr};

/// One thing that was told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Told {
    /// The store is open.
    Open,
    /// A commit was answered as visible; with its version, where the answer has one.
    Visible { lane: u64, number: Number, version: Option<u64> },
    /// A commit was answered as durable.
    Durable { lane: u64, number: Number, version: Option<u64> },
    /// A commit was refused without poisoning the store; it is handed in again.
    Refused { lane: u64, number: Number },
    /// The store failed in a way that ended the life.
    Failed { what: String },
    /// After a failure: everything that had been answered could still be read.
    ReadsGoOn,
    /// The life ended by itself.
    End,
}

impl fmt::Display for Told {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Told::Open => write!(f, "open ."),
            Told::Visible { lane, number, version } => {
                write!(f, "visible {lane} {number} {} .", version.unwrap_or(0))
            }
            Told::Durable { lane, number, version } => {
                write!(f, "durable {lane} {number} {} .", version.unwrap_or(0))
            }
            Told::Refused { lane, number } => write!(f, "refused {lane} {number} ."),
            Told::Failed { what } => write!(f, "failed {what} ."),
            Told::ReadsGoOn => write!(f, "reads ."),
            Told::End => write!(f, "end ."),
        }
    }
}

impl FromStr for Told {
    type Err = ();

    /// A line without its end mark was cut short by a kill: it tells nothing.
    fn from_str(line: &str) -> Result<Told, ()> {
        let line = line.strip_suffix(" .").ok_or(())?;
        if let Some(what) = line.strip_prefix("failed ") {
            return Ok(Told::Failed { what: what.to_owned() });
        }
        let mut words = line.split(' ');
        let word = words.next().ok_or(())?;
        let mut next = || words.next().and_then(|word| word.parse().ok()).ok_or(());
        let some = |version: u64| (version > 0).then_some(version);
        Ok(match word {
            "open" => Told::Open,
            "visible" => Told::Visible { lane: next()?, number: next()?, version: some(next()?) },
            "durable" => Told::Durable { lane: next()?, number: next()?, version: some(next()?) },
            "refused" => Told::Refused { lane: next()?, number: next()? },
            "reads" => Told::ReadsGoOn,
            "end" => Told::End,
            _ => return Err(()),
        })
    }
}

/// Whoever is told, by any thread of a life.
pub trait Listener: Sync {
    /// Hears it before the thread goes on.
    fn hear(&self, told: Told);
}
