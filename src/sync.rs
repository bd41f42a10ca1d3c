//! The one door to threads, locks, atomics, the published pointer and the queue's channel.
//! Owns: [`Pointer`], and which implementation stands behind every name: std, arc-swap and flume in
//! production, loom's types and stand-ins of the same meaning under `--cfg loom`.
//! Keeps I7: no other file names `std::sync`, `std::thread`, `arc_swap`, flume or loom.
//! Absent on purpose: poisoning of locks. A panic in a user's closure is caught where it is run,
//! and nothing of ours panics while it holds a lock over half-changed data; so [`lock`] goes on.

/// Counts what no model looks at and what may outlive one: the causes of errors.
pub use std::sync::Arc as PlainArc;

#[cfg(loom)]
pub use modeled::*;
#[cfg(not(loom))]
pub use production::*;
use std::{sync::PoisonError, time::Duration};

/// Locks `mutex`, also if a thread panicked while it held it.
pub fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Waits on `condvar`, giving up `guard` meanwhile; may wake without a reason, as ever.
pub fn wait<'a, T>(condvar: &Condvar, guard: MutexGuard<'a, T>) -> MutexGuard<'a, T> {
    condvar.wait(guard).unwrap_or_else(PoisonError::into_inner)
}

/// Waits on `condvar` for at most `timeout`; true if the time passed.
pub fn wait_timeout<'a, T>(
    condvar: &Condvar,
    guard: MutexGuard<'a, T>,
    timeout: Duration,
) -> (MutexGuard<'a, T>, bool) {
    let (guard, result) =
        condvar.wait_timeout(guard, timeout).unwrap_or_else(PoisonError::into_inner);
    (guard, result.timed_out())
}

#[cfg(not(loom))]
mod production {
    pub use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, atomic};

    /// Threads, with a name for each.
    pub mod thread {
        #[cfg(test)]
        pub use std::thread::panicking;
        pub use std::thread::{JoinHandle, Thread, current, park, park_timeout, sleep, yield_now};

        /// Starts a thread under a name that debuggers and panics show.
        pub fn spawn<T, F>(name: &str, run: F) -> std::io::Result<JoinHandle<T>>
        where
            F: FnOnce() -> T + Send + 'static,
            T: Send + 'static,
        {
            std::thread::Builder::new().name(name.to_owned()).spawn(run)
        }
    }

    /// A bounded queue of many senders and one receiver. Messages that are queued when the receiver
    /// is dropped stay alive until the last sender is dropped, too: whoever ends must drain first.
    pub mod channel {
        pub use flume::{Receiver, SendTimeoutError, Sender, TrySendError, bounded};
    }

    /// Values that each thread has its own of.
    pub use std::thread_local;

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
}

#[cfg(loom)]
mod modeled {
    //! The same names for models. loom cannot see into arc-swap and flume, so stand-ins take their
    //! place, which allow everything that those allow, as far as loom can express it.

    /// Chunks of tables: loom does not model how they are made.
    pub use std::sync::OnceLock;

    pub use loom::{
        sync::{Arc, Condvar, Mutex, MutexGuard, atomic},
        thread_local,
    };

    /// Memory whose accesses are checked for races.
    pub mod cell {
        pub use loom::cell::{ConstPtr, MutPtr, UnsafeCell};
    }

    /// Threads. There is no time in a model: a wait with a limit is a chance for others to run.
    pub mod thread {
        pub use loom::thread::{JoinHandle, Thread, current, park, yield_now};
        pub use std::thread::panicking;
        use std::time::Duration;

        /// Starts a thread under a name.
        pub fn spawn<T, F>(name: &str, run: F) -> std::io::Result<JoinHandle<T>>
        where
            F: FnOnce() -> T + Send + 'static,
            T: Send + 'static,
        {
            loom::thread::Builder::new().name(name.to_owned()).spawn(run)
        }

        /// Lets others run.
        pub fn sleep(_: Duration) {
            yield_now();
        }

        /// Lets others run.
        pub fn park_timeout(_: Duration) {
            yield_now();
        }
    }

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
        current: std::sync::Mutex<std::sync::Arc<Arc<T>>>,
    }

    impl<T> Pointer<T> {
        /// A pointer to `first`.
        pub fn new(first: Arc<T>) -> Pointer<T> {
            let current = std::sync::Mutex::new(std::sync::Arc::new(first));
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
            let next = std::sync::Arc::new(next);
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

    /// A bounded queue with flume's semantics, whose source it follows: a waiting receiver is
    /// handed the message; blocked senders come in their order, and the receiver moves their
    /// messages in; a queue outlives its receiver, messages included. Waits with a limit end at
    /// once.
    pub mod channel {
        use super::{
            super::{lock, wait},
            Arc, Condvar, Mutex, MutexGuard,
            atomic::{AtomicUsize, Ordering::Relaxed},
            thread::yield_now,
        };
        pub use flume::{
            RecvError, RecvTimeoutError, SendError, SendTimeoutError, TryRecvError, TrySendError,
        };
        use std::{collections::VecDeque, time::Duration};

        /// A queue of at most `capacity` messages, not 0.
        pub fn bounded<T>(capacity: usize) -> (Sender<T>, Receiver<T>) {
            assert!(capacity > 0, "the stand-in knows no hand-over without a queue");
            let state = State {
                connected: true,
                queue: VecDeque::new(),
                blocked: VecDeque::new(),
                tickets: 0,
                receiving: false,
                handed: None,
            };
            let shared = Arc::new(Shared {
                capacity,
                senders: AtomicUsize::new(1),
                state: Mutex::new(state),
                to_senders: Condvar::new(),
                to_receiver: Condvar::new(),
            });
            (Sender { shared: Arc::clone(&shared) }, Receiver { shared })
        }

        struct Shared<T> {
            capacity: usize,
            senders: AtomicUsize,
            state: Mutex<State<T>>,
            to_senders: Condvar,
            to_receiver: Condvar,
        }

        struct State<T> {
            connected: bool,
            queue: VecDeque<T>,
            /// Messages of blocked senders, by ticket.
            blocked: VecDeque<(u64, T)>,
            tickets: u64,
            /// The receiver waits, and will be handed a message.
            receiving: bool,
            handed: Option<T>,
        }

        impl<T> Shared<T> {
            fn pull_blocked(&self, state: &mut State<T>, capacity: usize) {
                while state.queue.len() < capacity {
                    let Some((_, message)) = state.blocked.pop_front() else { return };
                    state.queue.push_back(message);
                    self.to_senders.notify_all();
                }
            }

            fn disconnect(&self) {
                let mut state = lock(&self.state);
                state.connected = false;
                self.pull_blocked(&mut state, self.capacity);
                self.to_senders.notify_all();
                self.to_receiver.notify_all();
            }

            /// Sends at once, or gives the message back with the state to wait in.
            fn offer(&self, message: T) -> Result<(), (T, MutexGuard<'_, State<T>>)> {
                let mut state = lock(&self.state);
                if !state.connected {
                    return Err((message, state));
                }
                if state.receiving {
                    state.receiving = false;
                    state.handed = Some(message);
                    drop(state);
                    self.to_receiver.notify_all();
                } else if state.queue.len() < self.capacity {
                    state.queue.push_back(message);
                } else {
                    return Err((message, state));
                }
                Ok(())
            }

            fn len(&self) -> usize {
                let mut state = lock(&self.state);
                self.pull_blocked(&mut state, self.capacity);
                state.queue.len()
            }
        }

        /// The sending end.
        pub struct Sender<T> {
            shared: Arc<Shared<T>>,
        }

        impl<T> Sender<T> {
            /// Sends, waiting while the queue is full.
            pub fn send(&self, message: T) -> Result<(), SendError<T>> {
                let Err((message, mut state)) = self.shared.offer(message) else { return Ok(()) };
                if !state.connected {
                    return Err(SendError(message));
                }
                let ticket = state.tickets;
                state.tickets += 1;
                state.blocked.push_back((ticket, message));
                loop {
                    let Some(place) = state.blocked.iter().position(|(t, _)| *t == ticket) else {
                        return Ok(());
                    };
                    if !state.connected {
                        return Err(SendError(state.blocked.remove(place).unwrap().1));
                    }
                    state = wait(&self.shared.to_senders, state);
                }
            }

            /// Sends if there is room.
            pub fn try_send(&self, message: T) -> Result<(), TrySendError<T>> {
                self.shared.offer(message).map_err(|(message, state)| match state.connected {
                    true => TrySendError::Full(message),
                    false => TrySendError::Disconnected(message),
                })
            }

            /// Sends if there is room now or after others have run.
            pub fn send_timeout(&self, message: T, _: Duration) -> Result<(), SendTimeoutError<T>> {
                let message = match self.try_send(message) {
                    Ok(()) => return Ok(()),
                    Err(TrySendError::Full(message)) => message,
                    Err(TrySendError::Disconnected(message)) => {
                        return Err(SendTimeoutError::Disconnected(message));
                    }
                };
                yield_now();
                self.try_send(message).map_err(|e| match e {
                    TrySendError::Full(message) => SendTimeoutError::Timeout(message),
                    TrySendError::Disconnected(message) => SendTimeoutError::Disconnected(message),
                })
            }

            /// How many messages are queued.
            pub fn len(&self) -> usize {
                self.shared.len()
            }

            /// Whether none is queued.
            pub fn is_empty(&self) -> bool {
                self.len() == 0
            }

            /// How many can be queued.
            pub fn capacity(&self) -> Option<usize> {
                Some(self.shared.capacity)
            }

            /// Whether the receiver is gone.
            pub fn is_disconnected(&self) -> bool {
                !lock(&self.shared.state).connected
            }
        }

        impl<T> Clone for Sender<T> {
            fn clone(&self) -> Sender<T> {
                self.shared.senders.fetch_add(1, Relaxed);
                Sender { shared: Arc::clone(&self.shared) }
            }
        }

        impl<T> Drop for Sender<T> {
            fn drop(&mut self) {
                if self.shared.senders.fetch_sub(1, Relaxed) == 1 {
                    self.shared.disconnect();
                }
            }
        }

        /// The receiving end; here there is one.
        pub struct Receiver<T> {
            shared: Arc<Shared<T>>,
        }

        impl<T> Receiver<T> {
            /// Receives at once, or answers the state to wait in.
            fn poll(&self) -> Result<T, MutexGuard<'_, State<T>>> {
                let mut state = lock(&self.shared.state);
                self.shared.pull_blocked(&mut state, self.shared.capacity + 1);
                state.queue.pop_front().ok_or(state)
            }

            /// Receives, waiting while the queue is empty.
            pub fn recv(&self) -> Result<T, RecvError> {
                let mut state = match self.poll() {
                    Ok(message) => return Ok(message),
                    Err(state) if !state.connected => return Err(RecvError::Disconnected),
                    Err(state) => state,
                };
                state.receiving = true;
                loop {
                    if let Some(message) = state.handed.take() {
                        return Ok(message);
                    }
                    if !state.connected {
                        state.receiving = false;
                        return state.queue.pop_front().ok_or(RecvError::Disconnected);
                    }
                    state = wait(&self.shared.to_receiver, state);
                }
            }

            /// Receives if there is a message.
            pub fn try_recv(&self) -> Result<T, TryRecvError> {
                self.poll().map_err(|state| match state.connected {
                    true => TryRecvError::Empty,
                    false => TryRecvError::Disconnected,
                })
            }

            /// Receives if there is a message now or after others have run.
            pub fn recv_timeout(&self, _: Duration) -> Result<T, RecvTimeoutError> {
                if let Ok(message) = self.try_recv() {
                    return Ok(message);
                }
                yield_now();
                self.try_recv().map_err(|e| match e {
                    TryRecvError::Empty => RecvTimeoutError::Timeout,
                    TryRecvError::Disconnected => RecvTimeoutError::Disconnected,
                })
            }

            /// How many messages are queued.
            pub fn len(&self) -> usize {
                self.shared.len()
            }

            /// Whether none is queued.
            pub fn is_empty(&self) -> bool {
                self.len() == 0
            }

            /// Whether all senders are gone.
            pub fn is_disconnected(&self) -> bool {
                !lock(&self.shared.state).connected
            }
        }

        impl<T> Drop for Receiver<T> {
            fn drop(&mut self) {
                self.shared.disconnect();
            }
        }
    }
}
