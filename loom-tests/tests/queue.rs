//! The queue: full, blocked senders, close, a lost writer, nudges, tasks in line. Every accepted
//! request comes out once or answers itself, and nobody sleeps for ever (loom calls that a
//! deadlock).
//!
//! The models run `Requests` and `Inbox` as they are. Their twins need another order of the same
//! steps, so they take those steps by hand, with the production gate and line, in `Way`; by hand in
//! the right way they must pass, too.
use std::{
    future::Future,
    pin::Pin,
    task::{Context, Poll, Wake, Waker},
};

use loom::{
    sync::{
        Arc, Condvar, Mutex,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    thread,
};
use recto::internals::{
    answer::{Home, Promise, Promised, promise},
    gate::Gate,
    line::Line,
    queue::{Inbox, Received, Refused, queue},
    sync::channel::{Receiver, Sender, bounded},
};
use recto_loom_tests::{Reached, check, check_deadlocks};

/// Receives until the end.
fn drain<R>(mut inbox: Inbox<R>) -> Vec<R> {
    let mut all = Vec::new();
    loop {
        match inbox.recv(None) {
            Received::Request(request) => all.push(request),
            Received::Nudged => {}
            Received::TimedOut => panic!("there is no time here"),
            Received::Ended => return all,
        }
    }
}

#[test]
fn blocked_senders_all_get_through() {
    let full = std::sync::Arc::new(Reached::default());
    let noted = std::sync::Arc::clone(&full);
    check("blocked senders", move || {
        let (requests, inbox) = queue(1, &Home::default());
        let blocking = requests.clone();
        let blocking = thread::spawn(move || {
            blocking.send(1).unwrap();
            blocking.send(2).unwrap();
        });
        let noted = std::sync::Arc::clone(&noted);
        let trying = thread::spawn(move || match requests.try_send(3) {
            Ok(()) => 1,
            Err(Refused::Full(3)) => {
                noted.note();
                0
            }
            Err(_) => panic!("refused, but neither full nor closed"),
        });
        let received = drain(inbox);
        blocking.join().unwrap();
        assert_eq!(received.len(), 2 + trying.join().unwrap());
        let place = |i| received.iter().position(|r| *r == i);
        assert!(place(1) < place(2), "out of order");
    });
    full.expect("a full queue");
}

#[test]
fn close_against_senders() {
    let refused = std::sync::Arc::new(Reached::default());
    let noted = std::sync::Arc::clone(&refused);
    check("close against senders", move || {
        let (requests, inbox) = queue(1, &Home::default());
        let senders: Vec<_> = (0..2)
            .map(|i| {
                let requests = requests.clone();
                let noted = std::sync::Arc::clone(&noted);
                thread::spawn(move || {
                    let is_accepted = requests.send(i).is_ok();
                    if !is_accepted {
                        noted.note();
                    }
                    usize::from(is_accepted)
                })
            })
            .collect();
        let closer = thread::spawn(move || requests.close());
        let received = drain(inbox).len();
        closer.join().unwrap();
        let accepted: usize = senders.into_iter().map(|s| s.join().unwrap()).sum();
        assert_eq!(received, accepted, "accepted but never received");
    });
    refused.expect("a refused sender");
}

#[test]
fn a_lost_writer_answers_what_was_accepted() {
    check("lost writer", || {
        let home = Home::default();
        let (requests, mut inbox) = queue::<Promise<u64>>(1, &home);
        let senders: Vec<_> = (0..2)
            .map(|_| {
                let (requests, home) = (requests.clone(), home.clone());
                thread::spawn(move || {
                    let (promise, commit) = promise(&home, Promised::Durable);
                    let is_accepted = requests.send(promise).is_ok();
                    // Answered either way: what is refused is dropped, and answers itself.
                    let answer = commit.wait();
                    assert!(is_accepted || answer.is_err());
                    // The queue itself lives on meanwhile, and messages in it with it.
                    drop(requests);
                })
            })
            .collect();
        // Lets a sender in without spending one of the few preemptions on it.
        thread::yield_now();
        if let Some(promise) = inbox.try_recv() {
            promise.done(1, 1);
        }
        drop(inbox);
        senders.into_iter().for_each(|s| s.join().unwrap());
        drop(requests);
    });
}

/// What the writer of a nudge does, and its twin.
fn nudge_wakes(flag_first: bool) {
    let (requests, mut inbox) = queue::<u8>(1, &Home::default());
    requests.try_send(1).unwrap();
    let released = Arc::new(AtomicUsize::new(0));
    let readers: Vec<_> = (0..2)
        .map(|_| {
            let (released, nudger) = (Arc::clone(&released), requests.nudger());
            thread::spawn(move || {
                if !flag_first {
                    nudger.nudge();
                }
                // Relaxed: the nudge publishes it.
                released.fetch_add(1, Relaxed);
                if flag_first {
                    nudger.nudge();
                }
            })
        })
        .collect();
    while released.load(Relaxed) < 2 {
        assert!(!matches!(inbox.recv(None), Received::Ended));
    }
    readers.into_iter().for_each(|r| r.join().unwrap());
    drop(requests);
}

#[test]
fn a_nudge_after_the_flag_wakes_the_writer() {
    check("nudge", || nudge_wakes(true));
}

#[test]
fn a_nudge_before_the_flag_is_caught() {
    check_deadlocks("a_nudge_before_the_flag_is_caught", || nudge_wakes(false));
}

/// What the twins vary: who takes which step when.
#[derive(Clone, Copy, PartialEq)]
enum Way {
    Right,
    /// A sender leaves the gate before it pushes: notify before push.
    LeavesFirst,
    /// A sender looks at the bit, but does not count itself.
    NotCounted,
    /// The writer looks at the gate after the queue, and sleeps on what it saw.
    GlimpsesLate,
    /// The writer ends when the bit is set and the queue empty.
    EndsInFlight,
    /// The writer is lost and its end of the channel with it, undrained.
    NotDrained,
    /// The writer is lost; it drains once, and does not wait for those in flight.
    DrainedOnce,
}

struct ByHand<R> {
    gate: Gate,
    sender: Sender<R>,
    way: Way,
}

impl<R> ByHand<R> {
    fn new(way: Way) -> (Arc<ByHand<R>>, Receiver<R>) {
        let (sender, receiver) = bounded(1);
        (Arc::new(ByHand { gate: Gate::default(), sender, way }), receiver)
    }

    fn send(&self, request: R) -> bool {
        if self.way == Way::NotCounted {
            return !self.gate.is_closed() && self.sender.send(request).is_ok();
        }
        let Some(passage) = self.gate.enter() else { return false };
        if self.way == Way::LeavesFirst {
            drop(passage);
            return self.sender.send(request).is_ok();
        }
        self.sender.send(request).is_ok()
    }

    fn recv(&self, receiver: &Receiver<R>) -> Option<R> {
        loop {
            let seen = self.gate.glimpse();
            if let Ok(request) = receiver.try_recv() {
                return Some(request);
            }
            let ends = match self.way {
                Way::EndsInFlight => self.gate.is_closed(),
                _ => seen.is_final(),
            };
            if ends {
                return None;
            }
            let seen = if self.way == Way::GlimpsesLate { self.gate.glimpse() } else { seen };
            self.gate.sleep(seen, None);
        }
    }

    fn lose(&self, receiver: Receiver<R>) {
        self.gate.close();
        while self.way != Way::NotDrained {
            let seen = self.gate.glimpse();
            match receiver.try_recv() {
                Ok(request) => drop(request),
                Err(_) if seen.is_final() || self.way == Way::DrainedOnce => break,
                Err(_) => thread::yield_now(),
            }
        }
    }
}

fn close_by_hand(way: Way) {
    let (parts, receiver) = ByHand::new(way);
    let senders: Vec<_> = (0..2)
        .map(|i| {
            let parts = Arc::clone(&parts);
            thread::spawn(move || usize::from(parts.send(i)))
        })
        .collect();
    let closer = Arc::clone(&parts);
    let closer = thread::spawn(move || {
        closer.gate.close();
    });
    let mut received = 0;
    while parts.recv(&receiver).is_some() {
        received += 1;
    }
    closer.join().unwrap();
    // A message that is left unreceived would also leave its sender blocked for ever.
    let left = std::iter::from_fn(|| receiver.try_recv().ok()).count();
    let accepted: usize = senders.into_iter().map(|s| s.join().unwrap()).sum();
    assert_eq!((received, left), (accepted, 0), "accepted but never received");
}

/// One sender and no closing until it is done: the writer must be woken.
fn wake_by_hand(way: Way) {
    let (parts, receiver) = ByHand::new(way);
    let sender = Arc::clone(&parts);
    let sender = thread::spawn(move || {
        assert!(sender.send(1));
        assert!(sender.send(2));
    });
    assert_eq!(parts.recv(&receiver), Some(1));
    assert_eq!(parts.recv(&receiver), Some(2));
    sender.join().unwrap();
}

fn lose_by_hand(way: Way) {
    let home = Home::default();
    let (parts, receiver) = ByHand::<Promise<u64>>::new(way);
    let senders: Vec<_> = (0..2)
        .map(|_| {
            let (parts, home) = (Arc::clone(&parts), home.clone());
            thread::spawn(move || {
                let (promise, commit) = promise(&home, Promised::Durable);
                parts.send(promise);
                assert!(commit.wait().is_err());
                drop(parts);
            })
        })
        .collect();
    // Lets a sender in without spending one of the few preemptions on it.
    thread::yield_now();
    parts.lose(receiver);
    senders.into_iter().for_each(|s| s.join().unwrap());
}

#[test]
fn by_hand_in_the_right_way() {
    check("close, by hand", || close_by_hand(Way::Right));
    check("wake, by hand", || wake_by_hand(Way::Right));
    check("lost writer, by hand", || lose_by_hand(Way::Right));
}

#[test]
fn a_wake_up_before_the_push_is_caught() {
    check_deadlocks("a_wake_up_before_the_push_is_caught", || wake_by_hand(Way::LeavesFirst));
}

#[test]
fn a_missing_wake_up_is_caught() {
    check_deadlocks("a_missing_wake_up_is_caught", || wake_by_hand(Way::NotCounted));
}

#[test]
fn a_writer_that_sleeps_on_a_late_glimpse_is_caught() {
    check_deadlocks("a_writer_that_sleeps_on_a_late_glimpse_is_caught", || {
        wake_by_hand(Way::GlimpsesLate)
    });
}

#[test]
#[should_panic(expected = "accepted but never received")]
fn a_sender_that_is_not_counted_is_caught() {
    check("close, twin: not counted", || close_by_hand(Way::NotCounted));
}

#[test]
#[should_panic(expected = "accepted but never received")]
fn a_writer_that_ends_before_those_in_flight_is_caught() {
    check("close, twin: ends in flight", || close_by_hand(Way::EndsInFlight));
}

#[test]
fn a_receiver_dropped_without_draining_is_caught() {
    check_deadlocks("a_receiver_dropped_without_draining_is_caught", || {
        lose_by_hand(Way::NotDrained)
    });
}

#[test]
fn a_receiver_drained_and_then_dropped_is_caught() {
    check_deadlocks("a_receiver_drained_and_then_dropped_is_caught", || {
        lose_by_hand(Way::DrainedOnce)
    });
}

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

fn block_on<F: Future + Unpin>(mut future: F) -> F::Output {
    let bell = std::sync::Arc::new(Bell::default());
    let waker = Waker::from(std::sync::Arc::clone(&bell));
    loop {
        match Pin::new(&mut future).poll(&mut Context::from_waker(&waker)) {
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

/// Polls once and gives up.
fn poll_once<F: Future + Unpin>(mut future: F) -> Option<F::Output> {
    match Pin::new(&mut future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(output) => Some(output),
        Poll::Pending => None,
    }
}

#[test]
fn a_task_in_line_is_called_though_another_gives_up() {
    let gave_up = std::sync::Arc::new(Reached::default());
    let noted = std::sync::Arc::clone(&gave_up);
    check("tasks in line", move || {
        let (requests, inbox) = queue(1, &Home::default());
        requests.try_send(0).unwrap();
        let fickle = requests.clone();
        let noted = std::sync::Arc::clone(&noted);
        let fickle = thread::spawn(move || match poll_once(fickle.send_async(1)) {
            Some(sent) => sent.map(|()| 1).unwrap(),
            None => {
                noted.note();
                0
            }
        });
        let patient = thread::spawn(move || block_on(requests.send_async(2)).unwrap());
        let received = drain(inbox).len();
        patient.join().unwrap();
        assert_eq!(received, 2 + fickle.join().unwrap());
    });
    gave_up.expect("a task that gives up");
}

#[test]
fn a_task_in_line_is_refused_when_the_queue_closes() {
    check("task in line, close", || {
        let (requests, inbox) = queue(1, &Home::default());
        requests.try_send(0).unwrap();
        let task = requests.clone();
        let task = thread::spawn(move || usize::from(block_on(task.send_async(1)).is_ok()));
        let closer = thread::spawn(move || requests.close());
        let received = drain(inbox).len();
        closer.join().unwrap();
        assert_eq!(received, 1 + task.join().unwrap());
    });
}

/// What the twins of a task in line vary.
#[derive(Clone, Copy, PartialEq)]
enum InLine {
    Right,
    /// It tries, then joins, and does not try again.
    JoinsLast,
    /// It was called, gives up, and calls nobody.
    KeepsItsTurn,
}

/// A task that waits for room in `line` as `SendAsync` does.
struct Task<'a> {
    line: &'a Line,
    sender: &'a Sender<u8>,
    place: Option<u64>,
    in_line: InLine,
}

impl Future for Task<'_> {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let this = &mut *self;
        if this.sender.try_send(1).is_ok() {
            return Poll::Ready(());
        }
        this.line.join(&mut this.place, cx.waker().clone());
        if this.in_line != InLine::JoinsLast && this.sender.try_send(1).is_ok() {
            return Poll::Ready(());
        }
        Poll::Pending
    }
}

impl Drop for Task<'_> {
    fn drop(&mut self) {
        if let Some(place) = self.place
            && self.in_line != InLine::KeepsItsTurn
        {
            self.line.leave(place);
        }
    }
}

/// A full queue, one who gives up, one who stays, and a receiver that makes room once.
fn line_by_hand(in_line: InLine) {
    let line = Arc::new(Line::default());
    let (sender, receiver) = bounded(1);
    let sender = Arc::new(sender);
    sender.try_send(0).unwrap();
    let task = |gives_up: bool| {
        let (line, sender) = (Arc::clone(&line), Arc::clone(&sender));
        thread::spawn(move || {
            let task = Task { line: &line, sender: &sender, place: None, in_line };
            if gives_up { poll_once(task).is_some() } else { Some(block_on(task)).is_some() }
        })
    };
    let (fickle, patient) = (task(true), task(false));
    assert!(receiver.recv().is_ok());
    line.call_next();
    // Room again only if the fickle one took it: it was one place, for the patient one.
    if fickle.join().unwrap() {
        assert!(receiver.recv().is_ok());
        line.call_next();
    }
    patient.join().unwrap();
}

#[test]
fn the_line_by_hand_in_the_right_way() {
    check("line, by hand", || line_by_hand(InLine::Right));
}

#[test]
fn a_task_that_does_not_try_again_in_line_is_caught() {
    check_deadlocks("a_task_that_does_not_try_again_in_line_is_caught", || {
        line_by_hand(InLine::JoinsLast)
    });
}

#[test]
fn a_task_that_keeps_its_turn_is_caught() {
    check_deadlocks("a_task_that_keeps_its_turn_is_caught", || line_by_hand(InLine::KeepsItsTurn));
}
