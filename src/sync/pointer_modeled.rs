//! The published pointer in models. Owns: [`Pointer`], and the loan that it gives.

use super::{Arc, PlainArc, atomic};

/// A linearizable cell: a load answers what the last store before it in one order of all
/// stored.
///
/// It orders no more than arc-swap promises. A load is a read-modify-write that acquires and
/// does not release, so a reader's accesses are not ordered before a later store, as they would
/// be by a lock. loom does not switch threads between the read-modify-write and the look at
/// `current`.
pub struct Pointer<T> {
    order: atomic::AtomicUsize,
    /// The outer `Arc` is std's: a load that is overtaken while it clones keeps the old value,
    /// as arc-swap's debts do.
    current: std::sync::Mutex<PlainArc<Arc<T>>>,
}

impl<T> Pointer<T> {
    /// A pointer to `first`.
    pub fn new(first: Arc<T>) -> Pointer<T> {
        let current = std::sync::Mutex::new(PlainArc::new(first));
        Pointer { order: atomic::AtomicUsize::new(0), current }
    }

    /// An owned reference to what is pointed to now.
    pub fn load_full(&self) -> Arc<T> {
        self.order.fetch_add(0, atomic::Ordering::Acquire);
        let current = self.current.lock().unwrap().clone();
        Arc::clone(&current)
    }

    /// A loan, which here is an owned reference.
    pub fn guard(&self) -> Guard<T> {
        Guard(self.load_full())
    }

    /// Replaces the pointer.
    pub fn store(&self, next: Arc<T>) {
        let next = PlainArc::new(next);
        self.order.fetch_add(1, atomic::Ordering::AcqRel);
        let last = std::mem::replace(&mut *self.current.lock().unwrap(), next);
        drop(last);
    }
}

/// The loan of [`Pointer::guard`].
pub struct Guard<T>(Arc<T>);

impl<T> std::ops::Deref for Guard<T> {
    type Target = Arc<T>;

    fn deref(&self) -> &Arc<T> {
        &self.0
    }
}
