//! Answers and borrowing closures: what is answered as durable is synced, as visible published; and
//! a closure never outlives the call that lent it.
use std::{
    future::Future,
    pin::pin,
    task::{Context, Poll, Wake, Waker},
};

use loom::{
    cell::UnsafeCell,
    sync::{
        Arc, Condvar, Mutex,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    thread,
};
use recto::internals::{
    answer::{Home, Promised, promise},
    queue::{Received, queue},
    work::{Bench, Verdict, Work, owned, run_borrowed},
};
use recto_loom_tests::{Reached, check};

/// A waker that a thread sleeps on. Not by parking: in loom an unpark also ends a wait for a lock.
#[derive(Default)]
struct Bell {
    rung: Mutex<bool>,
    changed: Condvar,
}

impl Wake for Bell {
    fn wake(self: std::sync::Arc<Self>) {
        *self.rung.lock().unwrap() = true;
        self.changed.notify_all();
    }
}

fn block_on<F: Future>(future: F) -> F::Output {
    let bell = std::sync::Arc::new(Bell::default());
    let waker = Waker::from(std::sync::Arc::clone(&bell));
    let mut future = pin!(future);
    loop {
        match future.as_mut().poll(&mut Context::from_waker(&waker)) {
            Poll::Ready(output) => return output,
            Poll::Pending => {
                let mut rung = bell.rung.lock().unwrap();
                while !*rung {
                    rung = bell.changed.wait(rung).unwrap();
                }
                *rung = false;
            }
        }
    }
}

/// The order in which the writer does its steps.
#[derive(Clone, Copy, PartialEq)]
enum Order {
    /// Published, answered visible, synced, answered durable.
    Relaxed,
    /// Synced, published, answered: a durable group.
    Durable,
    /// Twin: answered visible before it is published.
    VisibleFirst,
    /// Twin: answered durable before it is synced.
    DurableFirst,
    /// Twin: a durable group is answered between sync and publication.
    DoneFirst,
}

fn answers(order: Order) {
    let (promise, commit) = promise(&Home::default(), Promised::Durable);
    let commit = Arc::new(commit);
    let (published, synced) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicBool::new(false)));
    let waiter = |goal: Promised, by_task: bool| {
        let commit = Arc::clone(&commit);
        let (published, synced) = (Arc::clone(&published), Arc::clone(&synced));
        thread::spawn(move || {
            let answer = match goal {
                Promised::Visible => commit.visible(),
                Promised::Durable => commit.durable(),
            };
            assert_eq!(if by_task { block_on(answer) } else { answer.wait() }.unwrap(), 1);
            // Relaxed: the answer itself must order what it tells of.
            assert!(published.load(Relaxed), "answered, but not published");
            assert!(goal == Promised::Visible || synced.load(Relaxed), "durable, but not synced");
        })
    };
    let waiters = [waiter(Promised::Visible, true), waiter(Promised::Durable, false)];
    let publish = || published.store(true, Relaxed);
    let sync = || synced.store(true, Relaxed);
    match order {
        Order::Relaxed => {
            publish();
            promise.visible(1, ());
            sync();
            promise.durable();
        }
        Order::Durable => {
            sync();
            publish();
            promise.done(1, ());
        }
        Order::VisibleFirst => {
            promise.visible(1, ());
            publish();
            sync();
            promise.durable();
        }
        Order::DurableFirst => {
            publish();
            promise.visible(1, ());
            promise.durable();
            sync();
        }
        Order::DoneFirst => {
            sync();
            promise.done(1, ());
            publish();
        }
    }
    waiters.into_iter().for_each(|waiter| waiter.join().unwrap());
}

#[test]
fn what_is_answered_has_happened() {
    check("answers of a relaxed commit", || answers(Order::Relaxed));
    check("answers of a durable commit", || answers(Order::Durable));
}

#[test]
#[should_panic(expected = "answered, but not published")]
fn visible_before_the_publication_is_caught() {
    check("answers, twin: visible first", || answers(Order::VisibleFirst));
}

#[test]
#[should_panic(expected = "durable, but not synced")]
fn durable_before_the_sync_is_caught() {
    check("answers, twin: durable first", || answers(Order::DurableFirst));
}

#[test]
#[should_panic(expected = "answered, but not published")]
fn done_before_the_publication_is_caught() {
    check("answers, twin: done first", || answers(Order::DoneFirst));
}

#[test]
fn a_promise_dropped_against_its_waiters_answers_them_all() {
    check("dropped promise", || {
        let home = Home::default();
        let (promise, commit) = promise::<u64>(&home, Promised::Visible);
        let commit = Arc::new(commit);
        let thread = Arc::clone(&commit);
        let thread = thread::spawn(move || thread.durable().wait().is_err());
        // A task that is dropped while it is answered must not take another's answer along.
        let task = Arc::clone(&commit);
        let task = thread::spawn(move || {
            let mut given_up = task.visible();
            let mut cx = Context::from_waker(Waker::noop());
            let polled = std::pin::Pin::new(&mut given_up).poll(&mut cx);
            drop(given_up);
            polled.is_pending() || block_on(task.visible()).is_err()
        });
        drop(promise);
        assert!(thread.join().unwrap() && task.join().unwrap());
    });
}

/// A bench whose transaction is one number.
struct Small;

impl Bench for Small {
    type Tx<'w> = &'w mut u32;
}

/// What the writer does with the closure it gets.
#[derive(Clone, Copy, PartialEq)]
enum Fate {
    Run,
    RunInTwoSteps,
    Drop,
    Fail,
    LoseTheInbox,
}

/// A closure that writes into its caller's stack, and a capture that reads it when it is dropped.
fn hand_over(fate: Fate, ran: &Reached) {
    struct Lent<'a>(&'a UnsafeCell<u32>);
    impl Drop for Lent<'_> {
        fn drop(&mut self) {
            self.0.with(|lent| {
                // SAFETY: the caller waits; loom reports it if it does not.
                let _ = unsafe { *lent };
            });
        }
    }
    // SAFETY: one thread at a time, as the call promises; loom reports a race if not.
    unsafe impl Send for Lent<'_> {}
    let home = Home::default();
    let (requests, mut inbox) = queue::<Work<Small>>(1, &home);
    let writer = thread::spawn(move || {
        let work = match inbox.recv(None) {
            Received::Request(work) if fate != Fate::LoseTheInbox => work,
            _ => return drop(inbox),
        };
        let mut number = 0;
        let mut run = |mut work: Work<Small>| {
            assert_eq!(work.run(&mut &mut number), Verdict::Keep);
            work
        };
        match fate {
            Fate::Run => run(work).done(1),
            Fate::RunInTwoSteps => {
                let mut work = run(work);
                work.visible(1);
                work.durable();
            }
            Fate::Fail => work.fail(recto::Error::Conflict),
            Fate::Drop | Fate::LoseTheInbox => drop(work),
        }
    });
    let mut on_my_stack = UnsafeCell::new(1);
    let lent = Lent(&on_my_stack);
    let send = |work| requests.send(work).map_err(|_| recto::Error::Closed);
    let answer = run_borrowed::<Small, _, _, recto::Error, _>(
        &home,
        Promised::Visible,
        send,
        move |tx: &mut &mut u32| {
            let lent = lent;
            **tx += 1;
            // SAFETY: as above.
            lent.0.with_mut(|lent| unsafe { *lent += 1 });
            Ok(())
        },
    );
    let expected = if answer.is_ok() { 2 } else { 1 };
    if answer.is_ok() {
        ran.note();
    }
    // SAFETY: nobody else has it any more; loom reports it if somebody has.
    on_my_stack.with_mut(|mine| assert_eq!(unsafe { *mine }, expected));
    let _ = &mut on_my_stack;
    drop(requests);
    writer.join().unwrap();
}

#[test]
fn a_borrowing_closure_is_gone_when_its_call_returns() {
    let fates = [
        ("run", Fate::Run),
        ("run, two answers", Fate::RunInTwoSteps),
        ("dropped", Fate::Drop),
        ("failed", Fate::Fail),
        ("inbox lost", Fate::LoseTheInbox),
    ];
    for (name, fate) in fates {
        let ran = std::sync::Arc::new(Reached::default());
        let noted = std::sync::Arc::clone(&ran);
        check(&format!("borrowing closure, {name}"), move || hand_over(fate, &noted));
        if matches!(fate, Fate::Run | Fate::RunInTwoSteps) {
            ran.expect("a closure that ran");
        }
    }
}

/// The hand-over with its steps taken by hand.
#[derive(Clone, Copy, PartialEq)]
enum Leave {
    Right,
    /// The writer answers, then runs.
    AnsweredFirst,
    /// The caller does not wait.
    CallerLeaves,
}

struct Shared(UnsafeCell<u32>);

// SAFETY: the models order the accesses; loom reports it if they do not.
unsafe impl Sync for Shared {}

fn hand_over_by_hand(leave: Leave) {
    let (promise, commit) = promise(&Home::default(), Promised::Visible);
    let stack = Arc::new(Shared(UnsafeCell::new(1)));
    let lent = Arc::clone(&stack);
    // Somebody else waits for the same answer, and is woken between.
    let commit = Arc::new(commit);
    let other = Arc::clone(&commit);
    let other = thread::spawn(move || other.visible().wait().unwrap());
    let writer = thread::spawn(move || {
        // SAFETY: the caller waits; loom reports it if it does not.
        let run = || lent.0.with_mut(|lent| unsafe { *lent += 1 });
        if leave == Leave::AnsweredFirst {
            promise.done(1, ());
            run();
        } else {
            run();
            promise.done(1, ());
        }
    });
    if leave == Leave::CallerLeaves {
        drop(commit);
    } else {
        commit.visible().wait().unwrap();
    }
    // SAFETY: the writer is done; loom reports it if not.
    stack.0.with_mut(|mine| unsafe { *mine += 1 });
    other.join().unwrap();
    writer.join().unwrap();
}

#[test]
fn the_hand_over_by_hand_in_the_right_way() {
    check("hand-over, by hand", || hand_over_by_hand(Leave::Right));
}

#[test]
#[should_panic(expected = "Causality violation")]
fn an_answer_before_the_closure_ran_is_caught() {
    check("hand-over, twin: answered first", || hand_over_by_hand(Leave::AnsweredFirst));
}

#[test]
#[should_panic(expected = "Causality violation")]
fn a_caller_that_leaves_early_is_caught() {
    check("hand-over, twin: caller leaves", || hand_over_by_hand(Leave::CallerLeaves));
}

#[test]
fn an_owned_closures_commit_may_go_while_it_is_answered() {
    check("owned closures, commits dropped", || {
        let home = Home::default();
        let make = || {
            owned::<Small, _, _>(&home, Promised::Visible, |tx| {
                **tx += 1;
                Ok(Arc::new(**tx))
            })
        };
        let [(first, mut dropped), (second, kept)] = [make(), make()];
        let dropper = thread::spawn(move || {
            let mut cx = Context::from_waker(Waker::noop());
            match std::pin::Pin::new(&mut dropped).poll(&mut cx) {
                Poll::Ready(value) => assert_eq!(*value.unwrap(), 1),
                Poll::Pending => drop(dropped),
            }
        });
        let waiter = thread::spawn(move || assert_eq!(*block_on(kept).unwrap(), 2));
        let mut number = 0;
        for mut work in [first, second] {
            assert_eq!(work.run(&mut &mut number), Verdict::Keep);
            work.visible(1);
            work.durable();
        }
        dropper.join().unwrap();
        waiter.join().unwrap();
    });
}
