//! What was asked of the store and what it answered, in an order that no clock has a part in.
//! Owns: [`Clock`], [`Step`], [`Event`], [`Life`].

use std::sync::atomic::{AtomicU64, Ordering::SeqCst};

pub type Key = u64;
/// Never written twice, so that a value tells who wrote it.
pub type Value = u64;

/// Counts calls and answers. Of two stamps the smaller one was taken first, so an answer whose
/// stamp is below a call's was there before that call was made.
#[derive(Default)]
pub struct Clock(AtomicU64);

impl Clock {
    pub fn tick(&self) -> u64 {
        self.0.fetch_add(1, SeqCst)
    }
}

/// One operation of a transaction and its answer. What has none was handed over blindly.
#[derive(Clone, Debug)]
pub enum Step {
    Get {
        key: Key,
        seen: Option<Value>,
    },
    /// Everything from `from` to before `to`.
    Range {
        from: Key,
        to: Key,
        seen: Vec<(Key, Value)>,
    },
    Put {
        key: Key,
        value: Value,
        was_new: Option<bool>,
    },
    /// `mark` is as unique as a value is.
    Remove {
        key: Key,
        mark: Value,
        was_there: Option<bool>,
    },
    RemoveRange {
        from: Key,
        to: Key,
        mark: Value,
        removed: Option<u64>,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Kind {
    /// Reads of one `Store::snapshot`.
    Snapshot,
    /// Reads of one `Reader::snapshot`: it may be behind another's snapshot of a commit that is
    /// not answered yet.
    Reader,
    Closure,
    Batch,
    /// Committed, and read at version `base`.
    Optimistic {
        base: u64,
    },
    /// Undone by its own error or panic.
    Undone,
    /// Refused with `Error::Conflict`, and read at version `base`.
    Conflict {
        base: u64,
    },
}

impl Kind {
    pub fn is_commit(self) -> bool {
        matches!(self, Kind::Closure | Kind::Batch | Kind::Optimistic { .. })
    }

    pub fn is_read_only(self) -> bool {
        matches!(self, Kind::Snapshot | Kind::Reader)
    }

    /// The version of the snapshot that it read, where that is not its own.
    pub fn base(self) -> Option<u64> {
        match self {
            Kind::Optimistic { base } | Kind::Conflict { base } => Some(base),
            _ => None,
        }
    }
}

/// One transaction.
#[derive(Clone, Debug)]
pub struct Event {
    pub session: u64,
    pub kind: Kind,
    /// The version that it took, or read. None of those that came to nothing.
    pub version: u64,
    /// Before the call.
    pub called: u64,
    /// After the first answer: from then on everybody sees it.
    pub answered: u64,
    /// After the answer that it is durable, if it was asked for.
    pub durable: Option<u64>,
    pub steps: Vec<Step>,
}

/// How a life ended, and what the next one found.
#[derive(Clone, Debug)]
pub struct End {
    /// The store was closed. Else the power went, between the two stamps.
    pub is_clean: bool,
    pub before: u64,
    pub after: u64,
    /// The version that was recovered, and everything in it.
    pub version: u64,
    pub content: Vec<(Key, Value)>,
}

/// One process's time with the store. It does not notice the power cut: what it does afterwards is
/// as true of it as what it did before, and tells what versions held that the cut may have kept.
#[derive(Clone, Debug)]
pub struct Life {
    /// The version that it began with.
    pub first: u64,
    /// Those of one session in the order of their calls.
    pub events: Vec<Event>,
    pub end: End,
}

/// Lives of one store that was empty at first.
#[derive(Clone, Debug, Default)]
pub struct History {
    pub lives: Vec<Life>,
}

impl History {
    pub fn events(&self) -> impl Iterator<Item = &Event> {
        self.lives.iter().flat_map(|life| &life.events)
    }
}
