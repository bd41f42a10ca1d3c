use std::{
    pin::pin,
    task::{Context, Poll, Wake, Waker},
    time::Duration,
};

use super::*;
use crate::sync::{atomic::AtomicUsize, thread};

/// Counts how often it was woken.
#[derive(Default)]
pub struct Bell(AtomicUsize);

impl Bell {
    pub fn rung(&self) -> usize {
        self.0.load(Ordering::SeqCst)
    }
}

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

/// The first executor: one future, on the calling thread, which is parked meanwhile.
pub fn block_on<F: Future>(future: F) -> F::Output {
    struct Unpark(thread::Thread);
    impl Wake for Unpark {
        fn wake(self: Arc<Self>) {
            self.0.unpark();
        }
    }
    let waker = Waker::from(Arc::new(Unpark(thread::current())));
    let mut future = pin!(future);
    loop {
        match future.as_mut().poll(&mut Context::from_waker(&waker)) {
            Poll::Ready(output) => return output,
            Poll::Pending => thread::park(),
        }
    }
}

fn poll<F: Future + Unpin>(future: &mut F, bell: &Arc<Bell>) -> Poll<F::Output> {
    Pin::new(future).poll(&mut Context::from_waker(&Waker::from(bell.clone())))
}

fn spawn<T: Send + 'static>(run: impl FnOnce() -> T + Send + 'static) -> thread::JoinHandle<T> {
    thread::spawn("answer-test", run).unwrap()
}

#[test]
fn a_commit_answers_when_its_promise_is_kept_and_not_before() {
    let home = Home::default();
    for promised in [Promised::Visible, Promised::Durable] {
        let (promise, mut commit) = promise(&home, promised);
        let bell = Arc::new(Bell::default());
        assert!(poll(&mut commit, &bell).is_pending());
        promise.visible(7, "value");
        assert_eq!(commit.visible().wait().unwrap(), 7);
        assert!(commit.durable().get().is_none(), "durable before it is synced");
        if promised == Promised::Durable {
            assert_eq!(bell.rung(), 0, "woken before the promise is kept");
            assert!(poll(&mut commit, &bell).is_pending());
            promise.durable();
            assert_eq!(commit.durable().wait().unwrap(), 7);
        }
        assert_eq!(bell.rung(), 1);
        assert!(matches!(poll(&mut commit, &bell), Poll::Ready(Ok("value"))));
    }
}

#[test]
fn a_dropped_promise_says_closed_or_poisoned() {
    let home = Home::default();
    let (first, commit) = promise::<u64>(&home, Promised::Durable);
    drop(first);
    assert!(matches!(commit.wait(), Err(Error::Closed)));
    let (second, commit) = promise::<u64>(&home, Promised::Durable);
    home.poison();
    second.visible(3, 3);
    drop(second);
    assert!(matches!(commit.durable().wait(), Err(Error::Poisoned)));
    assert!(matches!(commit.visible().wait(), Ok(3)), "what was visible has been visible");
    assert!(matches!(commit.wait(), Err(Error::Poisoned)));
}

#[test]
fn the_first_failure_stays_and_success_is_final() {
    let home = Home::default();
    let (promise_one, commit) = promise::<u64>(&home, Promised::Durable);
    promise_one.fail(Error::Conflict);
    promise_one.fail(Error::Poisoned);
    promise_one.durable();
    drop(promise_one);
    assert!(matches!(commit.durable().wait(), Err(Error::Conflict)));
    assert!(matches!(commit.wait(), Err(Error::Conflict)));
    let (promise_two, commit) = promise::<u64>(&home, Promised::Durable);
    promise_two.visible(5, 50);
    promise_two.durable();
    promise_two.fail(Error::Poisoned);
    drop(promise_two);
    assert_eq!(commit.wait().unwrap(), 50);
}

#[test]
fn any_number_of_threads_and_tasks_wait_for_one_commit() {
    let (promise, commit) = promise(&Home::default(), Promised::Durable);
    let commit = Arc::new(commit);
    let threads: Vec<_> = (0..8)
        .map(|i| {
            let commit = commit.clone();
            spawn(move || match i % 4 {
                0 => commit.visible().wait(),
                1 => commit.durable().wait(),
                2 => block_on(commit.visible()),
                _ => block_on(commit.durable()),
            })
        })
        .collect();
    let bell = Arc::new(Bell::default());
    let (mut early, mut late) = (commit.visible(), commit.durable());
    assert!(poll(&mut early, &bell).is_pending() && poll(&mut late, &bell).is_pending());
    promise.visible(9, ());
    assert_eq!(bell.rung(), 1, "only the visible one");
    promise.durable();
    assert_eq!(bell.rung(), 2);
    for thread in threads {
        assert_eq!(thread.join().unwrap().unwrap(), 9);
    }
}

#[test]
fn only_the_last_waker_of_a_task_is_woken_and_none_of_a_dropped_one() {
    let (promise, commit) = promise(&Home::default(), Promised::Visible);
    let bells: Vec<_> = (0..3).map(|_| Arc::new(Bell::default())).collect();
    let (mut kept, mut dropped) = (commit.visible(), commit.visible());
    assert!(poll(&mut kept, &bells[0]).is_pending());
    assert!(poll(&mut kept, &bells[1]).is_pending());
    assert!(poll(&mut dropped, &bells[2]).is_pending());
    drop(dropped);
    assert_eq!(Arc::strong_count(&bells[0]), 1, "a replaced waker is let go");
    assert_eq!(Arc::strong_count(&bells[2]), 1, "a dropped task's waker is let go");
    promise.done(1, ());
    assert_eq!(bells.iter().map(|bell| bell.rung()).collect::<Vec<_>>(), [0, 1, 0]);
}

#[test]
fn a_dropped_commit_lets_its_waker_go() {
    let (promise, mut commit) = promise(&Home::default(), Promised::Visible);
    let bell = Arc::new(Bell::default());
    assert!(poll(&mut commit, &bell).is_pending());
    drop(commit);
    assert_eq!(Arc::strong_count(&bell), 1);
    promise.done(1, ());
    assert_eq!(bell.rung(), 0);
}

/// Wakes by looking at the commit (which takes its lock), then by panicking with a payload that
/// panics.
struct Rude(Arc<Commit<u64>>, AtomicUsize);

struct PanicsWhenDropped;

impl Drop for PanicsWhenDropped {
    fn drop(&mut self) {
        std::panic::panic_any("dropped");
    }
}

impl Wake for Rude {
    fn wake(self: Arc<Self>) {
        let seen = self.0.visible().get().expect("woken with the answer").unwrap();
        self.1.store(seen as usize, Ordering::SeqCst);
        std::panic::panic_any(PanicsWhenDropped);
    }
}

#[test]
fn a_waker_runs_with_nothing_held_and_its_panic_harms_nobody() {
    let (promise, commit) = promise(&Home::default(), Promised::Durable);
    let commit = Arc::new(commit);
    let rude = Arc::new(Rude(commit.clone(), AtomicUsize::new(0)));
    let bell = Arc::new(Bell::default());
    let (mut before, mut after) = (commit.visible(), commit.visible());
    let waker = Waker::from(rude.clone());
    assert!(Pin::new(&mut before).poll(&mut Context::from_waker(&waker)).is_pending());
    assert!(poll(&mut after, &bell).is_pending());
    promise.done(4, 4);
    assert_eq!((rude.1.load(Ordering::SeqCst), bell.rung()), (4, 1));
}

#[test]
fn a_value_that_nobody_takes_is_dropped_quietly() {
    let (promise, commit) = promise(&Home::default(), Promised::Durable);
    drop(commit);
    promise.done(1, PanicsWhenDropped);
}

#[test]
fn a_store_does_not_wait_for_itself_on_its_own_threads() {
    let (home, other) = (Home::default(), Home::default());
    let own = spawn(move || {
        home.enter_own_thread();
        let (promise_one, commit) = promise::<u64>(&home, Promised::Durable);
        assert!(matches!(commit.durable().wait(), Err(Error::Reentrant)));
        promise_one.done(2, 20);
        assert_eq!(commit.durable().wait().unwrap(), 2, "the answer is there: no need to wait");
        assert_eq!(commit.wait().unwrap(), 20);
        // Another store's answer may be waited for.
        let (promise_two, commit) = promise::<u64>(&other, Promised::Visible);
        let elsewhere = spawn(move || {
            thread::sleep(Duration::from_millis(20));
            promise_two.done(1, 1);
        });
        assert_eq!(commit.wait().unwrap(), 1);
        elsewhere.join().unwrap();
    });
    own.join().unwrap();
}

#[test]
fn one_who_waits_for_durable_is_not_woken_by_visible() {
    let (promise, commit) = promise(&Home::default(), Promised::Durable);
    let wakes = |goal| {
        let mut state = lock(&commit.shared.state);
        *state.sleepers.of(goal) += 1;
        let wakes = state.has_sleepers();
        *state.sleepers.of(goal) -= 1;
        wakes
    };
    assert!(!wakes(Promised::Visible) && !wakes(Promised::Durable));
    promise.visible(1, 1_u64);
    assert!(wakes(Promised::Visible) && !wakes(Promised::Durable));
    promise.durable();
    assert!(wakes(Promised::Visible) && wakes(Promised::Durable));
}
