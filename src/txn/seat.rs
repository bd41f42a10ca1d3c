//! The writer's seat: who sits in it changes the tree, one at a time.
//! Owns: [`Seat`]. Keeps I2: the writer's state is behind one lock, and whoever works at it holds
//! that lock from the first step to the last.
//!
//! The writer thread gets up whenever it sleeps. A caller that waits for its commit anyway, and
//! finds the seat free and the queue empty, *leads*: it sits down, serves its own request and no
//! other, keeps house as the writer thread would have, and gets up. A hop to another thread and
//! back costs more than the rest of a commit that needs no sync.
//!
//! What does not change by it: a request that is queued comes before a later one of its sender, for
//! who finds something queued does not lead; and nobody sleeps for ever, for whoever queues a
//! request wakes the writer thread as ever, which waits for the seat and then finds it. The bell
//! and the time at which the writer thread wakes by itself are the state's own: whoever gets up
//! leaves both as the writer thread would have.
//!
//! Absent on purpose: a line before the seat, and leading for others. Where it is taken the queue
//! gathers a group, which is what it is for.

use super::patience::Patience;
use crate::sync::{
    Mutex, MutexGuard,
    atomic::{AtomicU32, Ordering::Relaxed},
    lock, try_lock,
};

/// Who comes first of a crowd is often a group of its own: that many of them in a row say that
/// there is none.
const CROWD_GROUPS: u32 = 8;

/// Where the writer's state `W` is while nobody works at it.
pub struct Seat<W> {
    /// None before the writer has begun, and once it has ended.
    state: Mutex<Option<W>>,
    /// Of those who find it taken.
    patience: Patience,
    /// How many groups of one request still count as of a crowd. A hint: it orders nothing.
    crowd: AtomicU32,
}

/// A seat that is taken.
pub type Seated<'s, W> = MutexGuard<'s, Option<W>>;

impl<W> Seat<W> {
    /// A seat that nobody can take yet.
    pub fn vacant() -> Seat<W> {
        let (state, crowd) = (Mutex::new(None), AtomicU32::new(0));
        Seat { state, patience: Patience::default(), crowd }
    }

    /// Begins it.
    pub fn fill(&self, state: W) {
        *lock(&self.state) = Some(state);
    }

    /// Waits until the seat is free, and takes it: the writer thread alone.
    pub fn sit(&self) -> Seated<'_, W> {
        lock(&self.state)
    }

    /// Takes the seat if it is free; one who `is_patient` looks again for as long as a hop to
    /// another thread and back would take, if that has paid of late.
    pub fn try_sit(&self, is_patient: bool) -> Option<Seated<'_, W>> {
        let mut seated = try_lock(&self.state);
        if seated.is_none() && is_patient {
            let mut looks = 0_u32;
            self.patience.look(|| {
                looks += 1;
                // Each try takes the lock's line away from who holds it.
                if looks.is_multiple_of(4) {
                    seated = try_lock(&self.state);
                }
                seated.is_some()
            });
        }
        seated
    }

    /// Notes how many requests the writer thread's last group had.
    pub fn note_group(&self, requests: usize) {
        let left = self.crowd.load(Relaxed).saturating_sub(1);
        self.crowd.store(if requests > 1 { CROWD_GROUPS } else { left }, Relaxed);
    }

    /// Whether several requests shared one of the last groups, and its sync: then whoever needs one
    /// does better to queue.
    pub fn is_crowded(&self) -> bool {
        self.crowd.load(Relaxed) > 0
    }

    /// Ends it: nobody leads any more.
    pub fn clear(&self) -> Option<W> {
        lock(&self.state).take()
    }
}
