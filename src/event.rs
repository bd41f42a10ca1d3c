//! What a store reports on its own, to whoever asked to be told.
//! Owns: [`Event`], and [`Events`], the way to the user's function.
//! Absent on purpose: what the caller of a function is told by its answer; counters (see `stats`).

use crate::{error::Error, sync::PlainArc};
use std::{
    fmt,
    panic::{AssertUnwindSafe, Location, catch_unwind},
    time::Duration,
};

/// Something that happened to the store and that no caller may be waiting to hear: see
/// [`Options::on_event`](crate::Options::on_event).
///
/// ```
/// use recto::{Event, Options};
/// # fn main() -> recto::Result<()> {
/// let store = Options::new()
///     .on_event(|event| match event {
///         Event::Poisoned { .. } => eprintln!("no more writes: {event}"),
///         _ => eprintln!("{event}"),
///     })
///     .open_in_memory()?;
/// # store.close().map(drop) }
/// ```
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Event {
    /// A sync or the write of a meta page failed: the store takes no more writes until it is
    /// reopened. Reported once.
    Poisoned {
        /// What failed.
        error: Error,
    },
    /// A version that was replaced is still held after half of
    /// [`Options::reader_timeout`](crate::Options::reader_timeout).
    SlowReader {
        /// The version.
        version: u64,
        /// How long ago it was replaced.
        age: Duration,
        /// Where the first of its snapshots was taken; known where debug assertions are on.
        taken_at: Option<&'static Location<'static>>,
    },
    /// A version was held for longer than that: its snapshots answer
    /// [`Error::SnapshotEvicted`] from now on.
    SnapshotEvicted {
        /// The version.
        version: u64,
        /// How long ago it was replaced.
        age: Duration,
    },
    /// The page file has grown beyond
    /// [`Options::size_warning_bytes`](crate::Options::size_warning_bytes). Reported once, and
    /// again only after it was smaller in between.
    Large {
        /// The page file's length, in bytes; what lies ready for growth not counted.
        bytes: u64,
        /// The option's value, in bytes.
        threshold_bytes: u64,
    },
    /// A checkpoint failed and was abandoned. Nothing is lost, the log holds it; it is tried again.
    CheckpointFailed {
        /// What failed.
        error: Error,
        /// The pause before the next attempt.
        retry_after: Duration,
    },
    /// The store was damaged and has been moved away, under the lock, and an empty one has taken
    /// its place: see [`OnCorruption::SetAside`](crate::OnCorruption::SetAside).
    SetAside {
        /// The damage.
        error: Error,
        /// What the names of the damaged store's files begin with now, in the same directory.
        prefix: String,
    },
    /// Another owner held the directory until `lock_timeout`, and the store that was opened is an
    /// empty one in memory, as [`Options::memory_if_locked`](crate::Options::memory_if_locked)
    /// allows.
    OpenedInMemory {
        /// The owner's process id, where it could be read.
        owner: Option<u32>,
    },
}

impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Event::Poisoned { error } => write!(f, "the store takes no more writes: {error}"),
            Event::SlowReader { version, age, taken_at } => {
                let age = age.as_millis();
                write!(f, "version {version} is still held, {age} ms after it was replaced")?;
                taken_at.map_or(Ok(()), |at| write!(f, "; taken at {at}"))
            }
            Event::SnapshotEvicted { version, age } => {
                let age = age.as_millis();
                write!(f, "version {version} was evicted, {age} ms after it was replaced")
            }
            Event::Large { bytes, threshold_bytes } => {
                write!(f, "the page file of {bytes} bytes is beyond {threshold_bytes} bytes")
            }
            Event::CheckpointFailed { error, retry_after } => {
                let pause = retry_after.as_millis();
                write!(f, "a checkpoint failed and is tried again after {pause} ms: {error}")
            }
            Event::SetAside { error, prefix } => {
                write!(f, "the store was set aside as {prefix}* and begun anew: {error}")
            }
            Event::OpenedInMemory { owner } => {
                let locked = Error::Locked { pid: *owner };
                write!(f, "an empty store in memory is used instead: {locked}")
            }
        }
    }
}

type Listener = dyn Fn(&Event) + Send + Sync;

/// The way to the user's function; none by default.
#[derive(Clone, Default)]
pub struct Events(Option<PlainArc<Listener>>);

impl Events {
    /// The way to `listener`.
    pub fn to(listener: impl Fn(&Event) + Send + Sync + 'static) -> Events {
        Events(Some(PlainArc::new(listener)))
    }

    /// Tells the listener, if there is one. It is foreign code: called last, with no lock held, and
    /// its panic stays with it.
    pub fn report(&self, event: impl FnOnce() -> Event) {
        if let Some(listener) = &self.0 {
            let event = event();
            // The panic hook has told; nobody here could do more.
            let _ = catch_unwind(AssertUnwindSafe(|| listener(&event)));
        }
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use crate::sync::atomic::{AtomicUsize, Ordering::Relaxed};

    #[test]
    fn a_listener_is_told_and_its_panic_stays_with_it() {
        let told = PlainArc::new(AtomicUsize::new(0));
        let count = PlainArc::clone(&told);
        let events = Events::to(move |event| {
            count.fetch_add(1, Relaxed);
            assert!(matches!(event, Event::Poisoned { .. }));
        });
        let failed =
            || Event::CheckpointFailed { error: Error::Closed, retry_after: Duration::ZERO };
        events.report(failed);
        events.report(|| Event::Poisoned { error: Error::Closed });
        assert_eq!(told.load(Relaxed), 2);
        Events::default().report(|| unreachable!("nobody is to be told"));
    }
}
