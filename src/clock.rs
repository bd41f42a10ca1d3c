//! Time, as the limits in [`Options`](crate::Options) mean it.
//! Owns: [`Clock`] and its two kinds. Absent on purpose: the time of day; pauses and waits, which
//! are always the machine's.

use crate::sync::{
    PlainArc,
    atomic::{AtomicU64, Ordering::Relaxed},
    now,
};
use std::{
    fmt,
    time::{Duration, Instant},
};

/// Tells how much time has passed since some moment of its own choice. It never goes back.
///
/// [`Options::clock`](crate::Options::clock) says what reads it.
pub trait Clock: Send + Sync + 'static {
    /// The time since that moment. Called by the store's own threads: it must not block.
    fn now(&self) -> Duration;
}

/// A clock that stands still until it is told to go on, for tests. Clones are one clock.
///
/// ```
/// use recto::{Clock, ManualClock, Options};
/// use std::time::Duration;
/// # fn main() -> recto::Result<()> {
/// let clock = ManualClock::new();
/// let options = Options::new().clock(clock.clone()).reader_timeout(Duration::from_secs(60));
/// let store = options.open_in_memory()?;
/// let old = store.snapshot();
/// store.write(|tx| tx.table(&recto::Table::<u8, u8>::new("t"))?.insert(1, 1))?;
/// clock.advance(Duration::from_secs(61));
/// assert_eq!(clock.now(), Duration::from_secs(61));
/// assert!(store.readers()?[0].is_evicted);
/// assert!(matches!(old.tables(), Err(recto::Error::SnapshotEvicted { version: 0 })));
/// # Ok(()) }
/// ```
#[derive(Clone, Debug, Default)]
pub struct ManualClock {
    nanos: PlainArc<AtomicU64>,
}

impl ManualClock {
    /// A clock at zero.
    pub fn new() -> ManualClock {
        ManualClock::default()
    }

    /// Lets time pass. A store that sleeps does not wake by it: it looks at its clock with the next
    /// commit, or when it is asked for its readers.
    pub fn advance(&self, by: Duration) {
        let nanos = u64::try_from(by.as_nanos()).unwrap_or(u64::MAX);
        // Relaxed: the number is all there is to see.
        self.nanos.fetch_add(nanos, Relaxed);
    }
}

impl Clock for ManualClock {
    fn now(&self) -> Duration {
        Duration::from_nanos(self.nanos.load(Relaxed))
    }
}

/// The machine's clock that only goes forward.
struct Monotonic(Instant);

impl Clock for Monotonic {
    fn now(&self) -> Duration {
        now() - self.0
    }
}

/// The clock of a store.
#[derive(Clone)]
pub struct StoreClock(PlainArc<dyn Clock>);

impl StoreClock {
    /// The clock that a user brought.
    pub fn of(clock: impl Clock) -> StoreClock {
        StoreClock(PlainArc::new(clock))
    }

    /// What it shows.
    pub fn now(&self) -> Duration {
        self.0.now()
    }
}

impl Default for StoreClock {
    fn default() -> StoreClock {
        StoreClock::of(Monotonic(now()))
    }
}

impl fmt::Debug for StoreClock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("StoreClock")
    }
}
