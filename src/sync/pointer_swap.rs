//! The published pointer on arc-swap. Owns: [`Pointer`], and the loan that it gives.

use super::Arc;

/// A shared pointer that readers load without a lock while one thread replaces it.
///
/// Orderings: a store is a release, a load an acquire; what was written before a `store` is
/// seen by whoever loads that pointer. A load after a store it happens after never sees an
/// older one.
pub struct Pointer<T>(arc_swap::ArcSwap<T>);

impl<T> Pointer<T> {
    /// A pointer to `first`.
    pub fn new(first: Arc<T>) -> Pointer<T> {
        Pointer(arc_swap::ArcSwap::new(first))
    }

    /// An owned reference to what is pointed to now. Wait-free for the reader.
    pub fn load_full(&self) -> Arc<T> {
        self.0.load_full()
    }

    /// A short loan of what is pointed to now, cheaper than a count. A thread should hold few
    /// of these, and not for long: from the ninth on each costs what
    /// [`load_full`](Self::load_full) does.
    #[inline]
    pub fn guard(&self) -> Guard<T> {
        Guard(self.0.load())
    }

    /// Replaces the pointer and drops its own reference to what it pointed to before.
    pub fn store(&self, next: Arc<T>) {
        self.0.store(next);
    }
}

/// The loan of [`Pointer::guard`].
pub struct Guard<T>(arc_swap::Guard<Arc<T>>);

impl<T> std::ops::Deref for Guard<T> {
    type Target = Arc<T>;

    #[inline]
    fn deref(&self) -> &Arc<T> {
        &self.0
    }
}
