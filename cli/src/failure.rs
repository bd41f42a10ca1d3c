//! Why a command could not do what was asked.

use crate::debian::Unreadable;
use std::{fmt, io};

/// The result of a command's parts.
pub type Result<T, E = Failure> = std::result::Result<T, E>;

/// Why a command stopped; shown behind `recto: ` on standard error.
#[derive(Debug)]
pub enum Failure {
    /// The store refused.
    Store(recto::Error),
    /// What was read or asked makes no sense.
    Input(String),
    /// Standard output, or a file that is not the store's, failed.
    Output(io::Error),
}

impl Failure {
    /// A sentence about what was read or asked.
    pub fn input(sentence: impl Into<String>) -> Failure {
        Failure::Input(sentence.into())
    }

    /// Whether the reader of standard output went away, as in `recto scan .. | head`: no failure.
    pub fn is_closed_pipe(&self) -> bool {
        matches!(self, Failure::Output(e) if e.kind() == io::ErrorKind::BrokenPipe)
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Failure::Store(e) => e.fmt(f),
            Failure::Input(sentence) => f.write_str(sentence),
            Failure::Output(e) => write!(f, "writing failed: {e}"),
        }
    }
}

impl std::error::Error for Failure {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Failure::Store(e) => Some(e),
            Failure::Input(_) => None,
            Failure::Output(e) => Some(e),
        }
    }
}

impl From<recto::Error> for Failure {
    fn from(e: recto::Error) -> Failure {
        Failure::Store(e)
    }
}

impl From<Unreadable> for Failure {
    fn from(e: Unreadable) -> Failure {
        Failure::Input(e.to_string())
    }
}

impl From<io::Error> for Failure {
    fn from(e: io::Error) -> Failure {
        Failure::Output(e)
    }
}

impl From<serde_json::Error> for Failure {
    // Only ever from writing: what is read is reported with its line.
    fn from(e: serde_json::Error) -> Failure {
        Failure::Output(e.into())
    }
}
