//! Answers: what the writer promises to whoever handed in a request, and how one waits for it.
//! Owns: [`Promise`] (the writer's end), [`Commit`] and [`Answer`] (the caller's end), and
//! [`Home`], which knows the store's own threads and process, and whether the store is poisoned.
//! Keeps I11, its part of it: a promise is answered once; dropped unanswered it answers itself.
//! Keeps I12, its part of it: durable is said after visible, never before.
//! Absent on purpose: a runtime. Any number of threads may wait and any number of tasks be woken,
//! by nothing but the lock and the condition variable of the answer itself. Wakers and destructors
//! that are not ours are run with that lock given up, last, and a panic in one is swallowed: it is
//! not our bug, and others wait for the thread that it would take down.

use std::{
    cell::RefCell,
    fmt,
    future::Future,
    mem,
    panic::{AssertUnwindSafe, catch_unwind},
    pin::Pin,
    task::{Context, Poll, Waker},
};

use super::patience::Patience;
use crate::{
    error::{Error, Result},
    storage::origin::Origin,
    sync::{
        Arc, Condvar, Mutex, OnceLock,
        atomic::{AtomicBool, AtomicU32, Ordering},
        lock, thread_local, wait,
    },
};

thread_local! {
    /// The stores that this thread works for: one on a store's own threads; on others those whose
    /// seats it has taken, the last one innermost.
    static OWN: RefCell<Vec<Home>> = RefCell::default();
}

/// The store that requests and answers belong to: its own threads, and whether it is poisoned.
/// The default one is a new store's.
#[derive(Clone)]
pub struct Home(Arc<Household>);

struct Household {
    is_poisoned: AtomicBool,
    /// Asks for a sync that nobody has promised.
    want_sync: OnceLock<Box<dyn Fn() + Send + Sync>>,
    /// Of those who wait for their commits to become visible.
    patience: Patience,
    /// The process that has the store's threads.
    origin: Origin,
}

impl Default for Home {
    fn default() -> Home {
        let (is_poisoned, want_sync) = (AtomicBool::new(false), OnceLock::new());
        let (patience, origin) = (Patience::default(), Origin::here());
        Home(Arc::new(Household { is_poisoned, want_sync, patience, origin }))
    }
}

impl Home {
    /// Says that the calling thread is one of the store's own, for as long as it lives: a call on
    /// it that would have to wait for this store answers [`Error::Reentrant`] instead.
    pub fn enter_own_thread(&self) {
        OWN.with(|own| own.borrow_mut().push(self.clone()));
    }

    /// As [`enter_own_thread`](Self::enter_own_thread), until the answer is dropped. None on a
    /// thread that is being torn down: it has no variables left.
    pub fn lead(&self) -> Option<Leading> {
        OWN.try_with(|own| own.borrow_mut().push(self.clone())).ok().map(|()| Leading)
    }

    /// Whether the calling thread is one of this store's own.
    pub fn is_own_thread(&self) -> bool {
        let is_own = |own: &RefCell<Vec<Home>>| own.borrow().iter().any(|home| self.is(home));
        // A thread that is being torn down and has no variables left waits for nobody any more.
        OWN.try_with(is_own).unwrap_or(false)
    }

    /// Whether this is the process that opened the store. In one that was forked off it nobody
    /// answers, and a lock may be held by a thread that is not there: it neither asks nor waits.
    #[inline]
    pub fn is_here(&self) -> bool {
        self.0.origin.is_here()
    }

    /// From now on requests that are dropped unanswered answer [`Error::Poisoned`].
    pub fn poison(&self) {
        // Release: pairs with `is_poisoned`. The answers themselves travel under their own locks.
        self.0.is_poisoned.store(true, Ordering::Release);
    }

    /// Whether the store is poisoned.
    pub fn is_poisoned(&self) -> bool {
        self.0.is_poisoned.load(Ordering::Acquire)
    }

    /// Who is asked when a caller wants a commit durable that was promised less. Set once.
    pub fn on_sync_wanted(&self, ask: impl Fn() + Send + Sync + 'static) {
        let _ = self.0.want_sync.set(Box::new(ask));
    }

    fn want_sync(&self) {
        if let Some(ask) = self.0.want_sync.get() {
            ask();
        }
    }

    fn is(&self, other: &Home) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }

    /// What a request is told that nobody will answer any more.
    fn farewell(&self) -> Error {
        if self.is_poisoned() { Error::Poisoned } else { Error::Closed }
    }
}

/// The calling thread is one of a store's own for as long as this lives.
pub struct Leading;

impl Drop for Leading {
    fn drop(&mut self) {
        // A thread that is being torn down has none left.
        let left = OWN.try_with(|own| own.borrow_mut().pop());
        drop(left);
    }
}

/// How far a commit has to come before its caller is answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Promised {
    /// Every later snapshot shows it.
    Visible,
    /// It is also synced to the device.
    Durable,
}

/// Runs what is not ours: a waker, a destructor. Its panic stays there.
pub fn quietly(foreign: impl FnOnce()) {
    if let Err(payload) = catch_unwind(AssertUnwindSafe(foreign)) {
        // The payload is the user's too, and its destructor may panic again. There must be an end
        // to it.
        if let Err(again) = catch_unwind(AssertUnwindSafe(|| drop(payload))) {
            mem::forget(again);
        }
    }
}

/// A promise and its commit: the two ends of one answer.
pub fn promise<T>(home: &Home, promised: Promised) -> (Promise<T>, Commit<T>) {
    let shared = Arc::new(Shared {
        state: Mutex::new(State {
            promised,
            version: None,
            is_durable: false,
            failed: None,
            value: None,
            wants_sync: false,
            sleepers: Sleepers::default(),
            last_ticket: COMMIT_TICKET,
            wakers: Vec::new(),
        }),
        changed: Condvar::new(),
        steps: AtomicU32::new(0),
        home: home.clone(),
    });
    (Promise(Some(shared.clone())), Commit { shared })
}

/// The ticket under which a [`Commit`] itself waits; those of [`Answer`]s follow.
const COMMIT_TICKET: u64 = 0;

struct Shared<T> {
    state: Mutex<State<T>>,
    changed: Condvar,
    /// How often the state was changed: for one who waits to look at without the lock. It orders
    /// nothing.
    steps: AtomicU32,
    home: Home,
}

struct State<T> {
    promised: Promised,
    /// Set when visible.
    version: Option<u64>,
    is_durable: bool,
    /// Set when it failed; a commit may still fail when it is visible, but not yet durable.
    failed: Option<Error>,
    value: Option<T>,
    /// The caller has asked for more than was promised.
    wants_sync: bool,
    sleepers: Sleepers,
    last_ticket: u64,
    /// Tasks that wait, each under its ticket.
    wakers: Vec<(u64, Promised, Waker)>,
}

/// Threads that wait for each of the two moments: one who waits to hear "durable" is not woken to
/// hear "visible".
#[derive(Default)]
struct Sleepers {
    visible: u32,
    durable: u32,
}

impl Sleepers {
    fn of(&mut self, goal: Promised) -> &mut u32 {
        match goal {
            Promised::Visible => &mut self.visible,
            Promised::Durable => &mut self.durable,
        }
    }
}

impl<T> State<T> {
    /// Whether a thread waits for what is reached.
    fn has_sleepers(&self) -> bool {
        let waits = |sleepers: u32, goal| sleepers > 0 && self.answer(goal).is_some();
        waits(self.sleepers.visible, Promised::Visible)
            || waits(self.sleepers.durable, Promised::Durable)
    }

    /// The answer to one who waits for `goal`.
    fn answer(&self, goal: Promised) -> Option<Result<u64>> {
        match (self.version, goal) {
            (Some(version), Promised::Visible) => Some(Ok(version)),
            (Some(version), Promised::Durable) if self.is_durable => Some(Ok(version)),
            _ => self.failed.clone().map(Err),
        }
    }

    /// The answer with the value, to the owner of the commit.
    fn take(&mut self) -> Option<Result<T>> {
        let answer = self.answer(self.promised)?;
        // Taken by one who owns the commit, so it is there; and visible commits came with it.
        Some(answer.map(|_| self.value.take().expect("a commit's value is taken once")))
    }
}

impl<T> Shared<T> {
    /// Changes the state, then wakes those who have got their answer by it, with nothing held.
    fn advance(&self, change: impl FnOnce(&mut State<T>)) {
        let mut state = lock(&self.state);
        change(&mut state);
        let (reached, waiting): (Vec<_>, Vec<_>) = mem::take(&mut state.wakers)
            .into_iter()
            .partition(|(_, goal, _)| state.answer(*goal).is_some());
        state.wakers = waiting;
        let has_sleepers = state.has_sleepers();
        drop(state);
        // In models nobody looks, and each step costs them executions.
        if cfg!(not(loom)) {
            self.steps.fetch_add(1, Ordering::Relaxed);
        }
        if has_sleepers {
            self.changed.notify_all();
        }
        for (_, _, waker) in reached {
            quietly(|| waker.wake());
        }
    }

    /// Waits for what `ready` takes out of the state when it has come to `goal`, or to what was
    /// promised. On the store's own threads it does not wait.
    fn sleep<R>(
        &self,
        goal: Option<Promised>,
        mut ready: impl FnMut(&mut State<T>) -> Option<Result<R>>,
    ) -> Result<R> {
        if !self.home.is_here() {
            return Err(Error::Closed);
        }
        if self.home.is_own_thread() {
            return ready(&mut lock(&self.state)).unwrap_or(Err(Error::Reentrant));
        }
        self.sleep_anywhere(goal, ready)
    }

    /// Waits for what `ready` takes out of the state when it has come to `goal`, or to what was
    /// promised; whatever thread this is.
    fn sleep_anywhere<R>(
        &self,
        goal: Option<Promised>,
        mut ready: impl FnMut(&mut State<T>) -> Option<R>,
    ) -> R {
        let mut state = lock(&self.state);
        let goal = goal.unwrap_or(state.promised);
        let mut may_look = cfg!(not(loom)) && goal == Promised::Visible;
        loop {
            if let Some(answer) = ready(&mut state) {
                return answer;
            }
            if may_look {
                // A sync lasts longer than a waking: one who waits for it sleeps at once.
                may_look = false;
                let steps = self.steps.load(Ordering::Relaxed);
                drop(state);
                self.home.0.patience.look(|| self.steps.load(Ordering::Relaxed) != steps);
                state = lock(&self.state);
                continue;
            }
            *state.sleepers.of(goal) += 1;
            state = wait(&self.changed, state);
            *state.sleepers.of(goal) -= 1;
        }
    }

    /// As [`sleep`](Self::sleep) for a task: leaves its waker under `ticket` if there is no answer
    /// yet.
    fn poll<R>(
        &self,
        ticket: &mut Option<u64>,
        goal: Option<Promised>,
        waker: &Waker,
        mut ready: impl FnMut(&mut State<T>) -> Option<Result<R>>,
    ) -> Poll<Result<R>> {
        if !self.home.is_here() {
            return Poll::Ready(Err(Error::Closed));
        }
        // Cloned before the lock is taken, and the old one dropped after it is given up: both are
        // foreign.
        let mut waker = waker.clone();
        let mut state = lock(&self.state);
        if let Some(answer) = ready(&mut state) {
            return Poll::Ready(answer);
        }
        let goal = goal.unwrap_or(state.promised);
        let ticket = *ticket.get_or_insert_with(|| {
            state.last_ticket += 1;
            state.last_ticket
        });
        match state.wakers.iter_mut().find(|(of, _, _)| *of == ticket) {
            Some((_, _, before)) => mem::swap(before, &mut waker),
            None => state.wakers.push((ticket, goal, waker)),
        }
        Poll::Pending
    }

    /// Takes a task's waker back.
    fn leave(&self, ticket: u64) {
        if !self.home.is_here() {
            return;
        }
        let mut state = lock(&self.state);
        let place = state.wakers.iter().position(|(of, _, _)| *of == ticket);
        let waker = place.map(|place| state.wakers.swap_remove(place));
        drop(state);
        drop(waker);
    }
}

/// The writer's end of an answer. Dropped unanswered it answers [`Error::Closed`], or
/// [`Error::Poisoned`] if the store is.
pub struct Promise<T>(Option<Arc<Shared<T>>>);

impl<T> Promise<T> {
    /// The request is visible: every later snapshot has `version` or a later one.
    pub fn visible(&self, version: u64, value: T) {
        self.advance(|state| {
            debug_assert!(state.version.is_none() && state.failed.is_none(), "answered twice");
            state.version = Some(version);
            state.value = Some(value);
        });
    }

    /// The request, visible already, is synced to the device. One that has failed stays failed.
    pub fn durable(&self) {
        self.advance(|state| {
            debug_assert!(state.version.is_some() || state.failed.is_some(), "durable unseen");
            state.is_durable = state.version.is_some() && state.failed.is_none();
        });
    }

    /// Visible and durable in one step.
    pub fn done(mut self, version: u64, value: T) {
        self.finish(|state| {
            debug_assert!(state.version.is_none() && state.failed.is_none(), "answered twice");
            state.version = Some(version);
            state.value = Some(value);
            state.is_durable = true;
        });
    }

    /// The request failed. One that is visible already has failed to become durable.
    pub fn fail(&self, error: Error) {
        self.advance(|state| {
            if !state.is_durable {
                state.failed.get_or_insert(error);
            }
        });
    }

    /// Whether the caller has asked for a sync that was not promised.
    pub fn wants_sync(&self) -> bool {
        self.0.as_ref().is_some_and(|shared| lock(&shared.state).wants_sync)
    }

    /// Whether anybody may still ask. True may be stale, false is for good: there is no other end.
    pub fn is_awaited(&self) -> bool {
        self.0.as_ref().is_some_and(|shared| Arc::strong_count(shared) > 1)
    }

    fn advance(&self, change: impl FnOnce(&mut State<T>)) {
        if let Some(shared) = &self.0 {
            shared.advance(change);
        }
    }

    /// The last change; this end goes with it.
    fn finish(&mut self, change: impl FnOnce(&mut State<T>)) {
        if let Some(shared) = self.0.take() {
            shared.advance(change);
            // The caller may have gone; then the value, a user's, goes here.
            quietly(|| drop(shared));
        }
    }
}

impl<T> Drop for Promise<T> {
    fn drop(&mut self) {
        let Some(farewell) = self.0.as_ref().map(|shared| shared.home.farewell()) else {
            return;
        };
        self.finish(|state| {
            if !state.is_durable {
                state.failed.get_or_insert(farewell);
            }
        });
    }
}

/// A write that was handed over, and will be answered exactly once.
///
/// Wait for it with [`wait`](Self::wait) or `.await` it, on any runtime; both answer when the
/// commit is as safe as its durability promises. Dropping it undoes nothing.
#[must_use = "a commit that nobody waits for may fail unseen"]
pub struct Commit<T = u64> {
    shared: Arc<Shared<T>>,
}

impl<T> Commit<T> {
    /// Waits until the commit is as safe as its durability promises, and returns what it brought:
    /// the version for a batch, the closure's value for a closure.
    ///
    /// # Errors
    /// Why the commit failed; the closure's own error; [`Error::Closed`] if the store ended first;
    /// [`Error::Reentrant`] if the calling thread is one of the store's own and the answer is not
    /// there.
    pub fn wait(self) -> Result<T> {
        self.shared.sleep(None, State::take)
    }

    /// The moment from which every later snapshot shows the commit.
    pub fn visible(&self) -> Answer<'_, T> {
        Answer { commit: self, goal: Promised::Visible, ticket: None }
    }

    /// The moment from which the commit survives a power cut. Asks for a sync if the commit was
    /// promised none.
    pub fn durable(&self) -> Answer<'_, T> {
        let answer = Answer { commit: self, goal: Promised::Durable, ticket: None };
        if !self.shared.home.is_here() {
            return answer;
        }
        let mut state = lock(&self.shared.state);
        let asks = state.promised == Promised::Visible && !state.is_durable && !state.wants_sync;
        // Set before the asking: a commit that is not logged yet is asked for when it is.
        state.wants_sync |= asks;
        drop(state);
        if asks {
            self.shared.home.want_sync();
        }
        answer
    }
}

impl Commit<()> {
    /// Waits for the first answer, whatever it is and whatever thread this is: the caller of a
    /// borrowing closure may not leave before.
    pub(super) fn stay(&self) {
        let goal = Promised::Visible;
        self.shared.sleep_anywhere(Some(goal), |state| state.answer(goal).map(drop));
    }

    /// Waits as [`wait`](Self::wait) does, but whatever thread this is.
    pub(super) fn wait_anywhere(&self) -> Result<()> {
        self.shared.sleep_anywhere(None, State::take)
    }
}

impl<T> Future for Commit<T> {
    type Output = Result<T>;

    /// # Panics
    /// If polled again after it was ready.
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<T>> {
        self.shared.poll(&mut Some(COMMIT_TICKET), None, cx.waker(), State::take)
    }
}

impl<T> Drop for Commit<T> {
    fn drop(&mut self) {
        self.shared.leave(COMMIT_TICKET);
    }
}

impl<T> fmt::Debug for Commit<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = lock(&self.shared.state);
        f.debug_struct("Commit")
            .field("version", &state.version)
            .field("is_durable", &state.is_durable)
            .field("failed", &state.failed)
            .finish_non_exhaustive()
    }
}

/// One of the two moments of a [`Commit`]: wait for it with [`wait`](Self::wait), or `.await` it.
/// Any number of threads and tasks may wait for one commit.
///
/// ```
/// use recto::{Store, Table};
/// const AGES: Table<&str, u64> = Table::new("ages");
///
/// let store = Store::in_memory()?;
/// let commit = store.submit_with(|tx| tx.table(&AGES)?.insert("ada", 36))?;
/// let visible = commit.visible().wait()?;
/// assert_eq!(commit.durable().wait()?, visible); // both moments tell the commit's version
/// assert!(commit.wait()?); // the closure's own value
/// # Ok::<(), recto::Error>(())
/// ```
#[must_use = "an answer does nothing unless it is waited for"]
pub struct Answer<'c, T = u64> {
    commit: &'c Commit<T>,
    goal: Promised,
    ticket: Option<u64>,
}

impl<T> Answer<'_, T> {
    /// Waits, and returns the commit's version.
    ///
    /// # Errors
    /// As [`Commit::wait`].
    pub fn wait(self) -> Result<u64> {
        self.commit.shared.sleep(Some(self.goal), |state| state.answer(self.goal))
    }

    /// The answer, if it is there already.
    pub fn get(&self) -> Option<Result<u64>> {
        if !self.commit.shared.home.is_here() {
            return Some(Err(Error::Closed));
        }
        lock(&self.commit.shared.state).answer(self.goal)
    }
}

impl<T> Future for Answer<'_, T> {
    type Output = Result<u64>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<u64>> {
        let (commit, goal) = (self.commit, self.goal);
        let ready = |state: &mut State<T>| state.answer(goal);
        commit.shared.poll(&mut self.ticket, Some(goal), cx.waker(), ready)
    }
}

impl<T> Drop for Answer<'_, T> {
    fn drop(&mut self) {
        if let Some(ticket) = self.ticket.take() {
            self.commit.shared.leave(ticket);
        }
    }
}

#[cfg(test)]
pub(super) mod tests;
