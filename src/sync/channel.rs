//! The queue's channel in models. Owns: [`Sender`] and [`Receiver`], with flume's semantics, whose
//! source they follow: a waiting receiver is handed the message; blocked senders come in their
//! order, and the receiver moves their messages in; a queue outlives its receiver, messages
//! included. Waits with a limit end at once.

use super::{
    Arc, Condvar, Mutex, MutexGuard,
    atomic::{AtomicUsize, Ordering::Relaxed},
    lock,
    thread::yield_now,
    wait,
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
