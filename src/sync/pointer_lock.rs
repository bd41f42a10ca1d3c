//! The published pointer behind a lock. Owns: [`Pointer`], and the loan that it gives.
//! Not for production: a reader takes a lock (against I4). It is simple enough to be right at
//! sight, so tests that fail with one pointer and pass with the other tell where to look.

use super::Arc;
use std::sync::{PoisonError, RwLock};

/// A shared pointer that one thread replaces while others load it, each under a lock.
pub struct Pointer<T>(RwLock<Arc<T>>);

impl<T> Pointer<T> {
    /// A pointer to `first`.
    pub fn new(first: Arc<T>) -> Pointer<T> {
        Pointer(RwLock::new(first))
    }

    /// An owned reference to what is pointed to now.
    pub fn load_full(&self) -> Arc<T> {
        Arc::clone(&self.0.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// A loan, which here is an owned reference: a lock held by a reader would stop the writer.
    pub fn guard(&self) -> Guard<T> {
        Guard(self.load_full())
    }

    /// Replaces the pointer and drops its own reference to what it pointed to before.
    pub fn store(&self, next: Arc<T>) {
        let mut current = self.0.write().unwrap_or_else(PoisonError::into_inner);
        let last = std::mem::replace(&mut *current, next);
        // The lock first: what is dropped may run code that looks at this pointer.
        drop(current);
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
