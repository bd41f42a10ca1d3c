use std::{
    collections::VecDeque,
    mem,
    task::{Wake, Waker},
    time::Instant,
};

use super::{
    super::answer::{Promised, promise, tests::*},
    *,
};
use crate::{
    error::Error,
    sync::{
        Condvar, Mutex,
        atomic::{AtomicUsize, Ordering},
        lock, wait_timeout,
    },
};

fn spawn<T: Send + 'static>(run: impl FnOnce() -> T + Send + 'static) -> thread::JoinHandle<T> {
    thread::spawn("queue-test", run).unwrap()
}

/// Waits until `reached`, for at most ten seconds.
fn until(what: &str, reached: impl Fn() -> bool) {
    let start = Instant::now();
    while !reached() {
        assert!(start.elapsed() < Duration::from_secs(10), "never reached: {what}");
        thread::yield_now();
    }
}

pub fn expect<R>(received: Received<R>) -> R {
    match received {
        Received::Request(request) => request,
        Received::Nudged => panic!("nudged"),
        Received::TimedOut => panic!("timed out"),
        Received::Ended => panic!("ended"),
    }
}

/// Receives until the end; a wait of ten seconds is a hang.
fn drain<R>(inbox: &mut Inbox<R>) -> Vec<R> {
    let mut all = Vec::new();
    loop {
        match inbox.recv(Some(Duration::from_secs(10))) {
            Received::Request(request) => all.push(request),
            Received::Nudged => {}
            Received::TimedOut => panic!("hangs after {} requests", all.len()),
            Received::Ended => return all,
        }
    }
}

#[test]
fn each_senders_requests_arrive_once_and_in_its_order() {
    let (requests, mut inbox) = queue(3, &Home::default());
    for sender in 0..4_u32 {
        let requests = requests.clone();
        spawn(move || (0..500_u32).for_each(|i| requests.send((sender, i)).unwrap()));
    }
    drop(requests);
    let mut next = [0; 4];
    for (sender, i) in drain(&mut inbox) {
        assert_eq!(i, next[sender as usize], "out of order or twice");
        next[sender as usize] += 1;
    }
    assert_eq!(next, [500; 4], "the last clone's drop ends the queue, after its last request");
}

#[test]
fn a_full_queue_gives_the_request_back() {
    let (requests, mut inbox) = queue(2, &Home::default());
    requests.send(1).unwrap();
    requests.try_send(2).unwrap();
    assert_eq!((requests.depth(), requests.capacity()), (2, 2));
    assert!(matches!(requests.try_send(3), Err(Refused::Full(3))));
    let start = Instant::now();
    let refused = requests.send_timeout(4, Duration::from_millis(30));
    assert!(matches!(refused, Err(Refused::Timeout(4))));
    assert!(start.elapsed() >= Duration::from_millis(30));
    assert_eq!(expect(inbox.recv(None)), 1);
    requests.send_timeout(5, Duration::MAX).unwrap();
    requests.close();
    assert!(matches!(requests.send(6), Err(Refused::Closed(6))));
    assert!(matches!(requests.try_send(6), Err(Refused::Closed(6))));
    assert!(matches!(requests.send_timeout(6, Duration::ZERO), Err(Refused::Closed(6))));
    assert_eq!(drain(&mut inbox), [2, 5]);
    assert!(matches!(inbox.recv(None), Received::Ended), "it stays ended");
}

#[test]
fn a_sender_blocked_when_the_queue_closes_was_accepted() {
    let (requests, mut inbox) = queue(1, &Home::default());
    requests.send(1).unwrap();
    let blocked = {
        let requests = requests.clone();
        spawn(move || requests.send(2))
    };
    until("blocked", || is_inside(&requests));
    thread::sleep(Duration::from_millis(20));
    requests.close();
    assert_eq!(drain(&mut inbox), [1, 2]);
    blocked.join().unwrap().unwrap();
}

fn is_inside<R>(requests: &Requests<R>) -> bool {
    requests.0.0.gate.glimpse().in_flight_len() > 0
}

#[test]
fn a_nudge_wakes_the_writer_and_one_is_enough_for_many() {
    let (requests, mut inbox) = queue(1, &Home::default());
    let nudger = requests.nudger();
    nudger.clone().nudge();
    nudger.nudge();
    assert!(matches!(inbox.recv(None), Received::Nudged));
    assert!(matches!(inbox.recv(Some(Duration::ZERO)), Received::TimedOut), "merged");
    requests.send(1).unwrap();
    nudger.nudge();
    assert!(matches!(inbox.recv(None), Received::Nudged), "also before a full queue");
    assert_eq!(expect(inbox.recv(None)), 1);
    let sleeping = spawn(move || matches!(inbox.recv(None), Received::Nudged));
    thread::sleep(Duration::from_millis(20));
    nudger.nudge();
    assert!(sleeping.join().unwrap());
    drop(requests);
    nudger.nudge();
}

#[test]
fn a_receiver_waits_as_long_as_it_was_told() {
    let (requests, mut inbox) = queue::<u8>(1, &Home::default());
    let start = Instant::now();
    assert!(matches!(inbox.recv(Some(Duration::from_millis(30))), Received::TimedOut));
    assert!(start.elapsed() >= Duration::from_millis(30));
    let late = spawn(move || {
        thread::sleep(Duration::from_millis(20));
        requests.send(1).unwrap();
        thread::sleep(Duration::from_millis(20));
    });
    assert_eq!(expect(inbox.recv(Some(Duration::MAX))), 1);
    assert!(matches!(inbox.recv(None), Received::Ended), "woken by the last handle's drop");
    late.join().unwrap();
}

#[test]
fn what_is_queued_when_the_writer_is_lost_is_answered() {
    let home = Home::default();
    let (requests, inbox) = queue(2, &home);
    let threads: Vec<_> = (0..6)
        .map(|_| {
            let (requests, home) = (requests.clone(), home.clone());
            spawn(move || {
                let (promise, commit) = promise::<u64>(&home, Promised::Durable);
                requests.send(promise).map_err(|_| Error::Closed)?;
                commit.wait()
            })
        })
        .collect();
    until("full", || requests.depth() == 2);
    home.poison();
    // As a writer that panics would.
    spawn(move || drop(inbox)).join().unwrap();
    for thread in threads {
        let answer = thread.join().unwrap();
        assert!(matches!(answer, Err(Error::Poisoned | Error::Closed)), "{answer:?}");
    }
}

#[test]
fn every_accepted_request_is_received_whenever_the_queue_closes() {
    for round in 0..60_u64 {
        let (requests, mut inbox) = queue(1 + round as usize % 3, &Home::default());
        let senders: Vec<_> = (0..3)
            .map(|_| {
                let requests = requests.clone();
                spawn(move || (0..1000).take_while(|i| requests.send(*i).is_ok()).count())
            })
            .collect();
        let closer = spawn(move || {
            thread::sleep(Duration::from_micros(round * 7));
            requests.close();
        });
        let received = drain(&mut inbox).len();
        let accepted: usize = senders.into_iter().map(|sender| sender.join().unwrap()).sum();
        assert_eq!(received, accepted);
        closer.join().unwrap();
    }
}

/// The second executor: many tasks on one thread, polled in the order in which they were woken.
#[derive(Default)]
struct Ready {
    tasks: Mutex<VecDeque<usize>>,
    some: Condvar,
}

struct TaskWaker(usize, Arc<Ready>);

impl Wake for TaskWaker {
    fn wake(self: Arc<Self>) {
        lock(&self.1.tasks).push_back(self.0);
        self.1.some.notify_all();
    }
}

/// Runs all of `tasks`; panics when none is woken for ten seconds: a lost wake-up.
fn run_all(mut tasks: Vec<Option<Pin<Box<dyn Future<Output = ()>>>>>) {
    let ready = Arc::new(Ready::default());
    lock(&ready.tasks).extend(0..tasks.len());
    let mut left = tasks.len();
    while left > 0 {
        let mut woken = lock(&ready.tasks);
        while woken.is_empty() {
            let (guard, is_late) = wait_timeout(&ready.some, woken, Duration::from_secs(10));
            assert!(!is_late, "{left} tasks sleep for ever");
            woken = guard;
        }
        let id = woken.pop_front().unwrap();
        drop(woken);
        let waker = Waker::from(Arc::new(TaskWaker(id, ready.clone())));
        let Some(task) = &mut tasks[id] else { continue };
        if task.as_mut().poll(&mut Context::from_waker(&waker)).is_ready() {
            tasks[id] = None;
            left -= 1;
        }
    }
}

fn poll<F: Future + Unpin>(future: &mut F, bell: &Arc<Bell>) -> Poll<F::Output> {
    Pin::new(future).poll(&mut Context::from_waker(&Waker::from(bell.clone())))
}

#[test]
fn a_task_waits_for_room_and_is_woken_in_its_turn() {
    let (requests, mut inbox) = queue(1, &Home::default());
    block_on(requests.send_async(0)).unwrap();
    let bells: Vec<_> = (0..3).map(|_| Arc::new(Bell::default())).collect();
    let rung = || bells.iter().map(|bell| bell.rung()).collect::<Vec<_>>();
    let mut tasks: Vec<_> = (1..4).map(|i| requests.send_async(i)).collect();
    for (task, bell) in tasks.iter_mut().zip(&bells) {
        assert!(poll(task, bell).is_pending());
    }
    assert_eq!(expect(inbox.recv(None)), 0);
    assert_eq!(rung(), [1, 0, 0]);
    // Another takes the room: the first stands in line again, and is still the first.
    requests.try_send(9).unwrap();
    assert!(poll(&mut tasks[0], &bells[0]).is_pending());
    assert_eq!(expect(inbox.recv(None)), 9);
    assert_eq!(rung(), [2, 0, 0]);
    assert!(matches!(poll(&mut tasks[0], &bells[0]), Poll::Ready(Ok(()))));
    assert_eq!(rung(), [2, 1, 0], "whoever leaves calls the next");
    assert!(poll(&mut tasks[1], &bells[1]).is_pending(), "there was no room for it");
    assert_eq!(expect(inbox.recv(None)), 1);
    assert_eq!(rung(), [2, 2, 0]);
    // Called, but dropped before it came.
    drop(tasks.remove(1));
    assert_eq!(rung(), [2, 2, 1], "its turn is passed on");
    assert!(matches!(poll(&mut tasks[1], &bells[2]), Poll::Ready(Ok(()))));
    assert_eq!(expect(inbox.recv(None)), 3);
    drop((tasks, requests));
    assert!(matches!(inbox.recv(None), Received::Ended), "the dropped one was not handed over");
}

#[test]
fn a_task_that_forgets_its_turn_holds_nobody_up_for_ever() {
    let (requests, mut inbox) = queue(1, &Home::default());
    requests.send(0).unwrap();
    let (leaked, bell) = (Arc::new(Bell::default()), Arc::new(Bell::default()));
    let mut first = requests.send_async(1);
    let mut second = requests.send_async(2);
    assert!(poll(&mut first, &leaked).is_pending() && poll(&mut second, &bell).is_pending());
    mem::forget(first);
    assert_eq!(expect(inbox.recv(None)), 0);
    assert_eq!((leaked.rung(), bell.rung()), (1, 0));
    assert!(matches!(inbox.recv(Some(Duration::ZERO)), Received::TimedOut));
    assert_eq!(bell.rung(), 1, "called by the empty queue");
}

#[test]
fn tasks_in_line_get_their_request_back_when_the_queue_closes() {
    let (requests, inbox) = queue(1, &Home::default());
    requests.send(0).unwrap();
    let bell = Arc::new(Bell::default());
    let mut task = requests.send_async(1);
    assert!(poll(&mut task, &bell).is_pending());
    requests.close();
    assert_eq!(bell.rung(), 1);
    assert!(matches!(poll(&mut task, &bell), Poll::Ready(Err(Refused::Closed(1)))));
    drop(inbox);
    let (requests, inbox) = queue(1, &Home::default());
    requests.send(0).unwrap();
    let mut task = requests.send_async(1);
    assert!(poll(&mut task, &bell).is_pending());
    drop(inbox);
    assert!(matches!(poll(&mut task, &bell), Poll::Ready(Err(Refused::Closed(1)))));
}

#[test]
fn threads_and_tasks_fill_one_queue_and_no_task_is_forgotten() {
    for capacity in [1, 2, 5] {
        let (requests, mut inbox) = queue(capacity, &Home::default());
        let blocking = requests.clone();
        let blocking = spawn(move || (0..300).for_each(|i| blocking.send(i).unwrap()));
        let executors: Vec<_> = (0..2_u32)
            .map(|seed| {
                let requests = requests.clone();
                spawn(move || {
                    let sent = Arc::new(AtomicUsize::default());
                    let tasks = (0..12).map(|task| {
                        Some(Box::pin(fickle(requests.clone(), seed * 100 + task, sent.clone()))
                            as Pin<Box<dyn Future<Output = ()>>>)
                    });
                    run_all(tasks.collect());
                    sent.load(Ordering::SeqCst)
                })
            })
            .collect();
        drop(requests);
        let received = drain(&mut inbox).len();
        let sent: usize = executors.into_iter().map(|e| e.join().unwrap()).sum();
        blocking.join().unwrap();
        assert_eq!(received, 300 + sent);
    }
}

/// Sends 40 requests; of each it polls another future twice and drops it, called or not.
async fn fickle(requests: Requests<u32>, seed: u32, sent: Arc<AtomicUsize>) {
    for i in 0..40 {
        let mut other = requests.send_async(seed);
        let mut polls = (seed + i) % 3;
        std::future::poll_fn(|cx| {
            if polls == 0 {
                return Poll::Ready(());
            }
            polls -= 1;
            match Pin::new(&mut other).poll(cx) {
                Poll::Ready(done) => {
                    done.unwrap();
                    sent.fetch_add(1, Ordering::SeqCst);
                    Poll::Ready(())
                }
                Poll::Pending => Poll::Pending,
            }
        })
        .await;
        drop(other);
        requests.send_async(seed).await.unwrap();
        sent.fetch_add(1, Ordering::SeqCst);
    }
}

#[test]
fn a_full_queue_does_not_hold_the_stores_own_threads() {
    let home = Home::default();
    let (requests, mut inbox) = queue(1, &home);
    spawn(move || {
        home.enter_own_thread();
        requests.send(1).unwrap();
        assert!(matches!(requests.send(2), Err(Refused::Full(2))));
        assert!(matches!(requests.send_timeout(2, Duration::MAX), Err(Refused::Full(2))));
    })
    .join()
    .unwrap();
    assert_eq!(drain(&mut inbox), [1]);
}
