use std::{cell::Cell, time::Duration};

use super::{
    super::{
        answer::{Answer, tests::block_on},
        queue::{Inbox, Received, Requests, queue, tests::expect},
    },
    *,
};
use crate::sync::{
    atomic::{AtomicBool, Ordering},
    thread,
};

fn spawn<T: Send + 'static>(run: impl FnOnce() -> T + Send + 'static) -> thread::JoinHandle<T> {
    thread::spawn("work-test", run).unwrap()
}

/// A bench whose transaction is a borrowed list.
struct Small;

struct SmallTx<'w>(&'w mut Vec<u32>);

impl Bench for Small {
    type Tx<'w> = SmallTx<'w>;
}

/// A writer that keeps what is to be kept, and answers as `answer` says.
fn writer(
    home: &Home,
    mut inbox: Inbox<Work<Small>>,
    answer: impl Fn(Work<Small>, u64) + Send + 'static,
) -> thread::JoinHandle<Vec<u32>> {
    let home = home.clone();
    spawn(move || {
        home.enter_own_thread();
        let mut kept = Vec::new();
        let mut version = 0;
        loop {
            match inbox.recv(None) {
                Received::Request(mut work) => {
                    let before = kept.len();
                    match work.run(&mut SmallTx(&mut kept)) {
                        Verdict::Keep => version += 1,
                        Verdict::Undo => kept.truncate(before),
                    }
                    answer(work, version);
                }
                Received::Ended => return kept,
                _ => {}
            }
        }
    })
}

fn write<T: Send, E: From<Error> + Send>(
    home: &Home,
    requests: &Requests<Work<Small>>,
    closure: impl FnOnce(&mut SmallTx<'_>) -> Result<T, E> + Send,
) -> Result<T, E> {
    let send = |work| requests.send(work).map_err(|_| Error::Closed);
    run_borrowed::<Small, _, T, E, _>(home, Promised::Durable, send, closure)
}

#[derive(Debug)]
enum Mine {
    Store(Error),
    Own(String),
}

impl From<Error> for Mine {
    fn from(error: Error) -> Mine {
        Mine::Store(error)
    }
}

#[test]
fn a_closure_borrows_from_its_caller_both_ways() {
    let home = Home::default();
    let (requests, inbox) = queue(4, &home);
    let writer = writer(&home, inbox, |mut work, version| {
        work.visible(version);
        work.durable();
    });
    let words = [String::from("one"), String::from("two")];
    let mut count = 0;
    let longest: Result<&str> = write(&home, &requests, |tx| {
        for word in &words {
            count += 1;
            tx.0.push(word.len() as u32);
        }
        // Captured by reference, not `Sync`-bound by us, and handed back.
        Ok(words[1].as_str())
    });
    assert_eq!((longest.unwrap(), count), ("two", 2));
    drop(requests);
    assert_eq!(writer.join().unwrap(), [3, 3]);
}

#[test]
fn errors_and_panics_undo_a_closure_alone_and_reach_its_caller() {
    let home = Home::default();
    let (requests, inbox) = queue(4, &home);
    let writer = writer(&home, inbox, Work::done);
    let error = write::<(), Mine>(&home, &requests, |tx| {
        tx.0.push(1);
        Err(Mine::Own("mine".to_owned()))
    });
    assert!(matches!(error, Err(Mine::Own(text)) if text == "mine"));
    let cell = Cell::new(0);
    let error = write::<(), Mine>(&home, &requests, move |tx| {
        tx.0.push(2);
        cell.set(1);
        panic!("boom {}", cell.get())
    });
    let Err(Mine::Store(Error::Panicked { message })) = error else { panic!("{error:?}") };
    assert_eq!(&*message, "boom 1");
    let error: Result<()> = write(&home, &requests, |_| std::panic::panic_any(NoisyDrop));
    assert!(matches!(error, Err(Error::Panicked { .. })));
    write::<_, Error>(&home, &requests, |tx| {
        tx.0.push(3);
        Ok(())
    })
    .unwrap();
    let error = write::<(), Mine>(&home, &requests, |_| write(&home, &requests, |_| Ok(())));
    assert!(matches!(error, Err(Mine::Store(Error::Reentrant))));
    drop(requests);
    assert_eq!(writer.join().unwrap(), [3]);
}

/// A value whose destructor panics.
struct NoisyDrop;

impl Drop for NoisyDrop {
    fn drop(&mut self) {
        assert!(thread::panicking(), "noisy");
    }
}

/// Tells a flag on somebody's stack that it was dropped, after a while.
struct Slow<'a>(&'a AtomicBool);

impl Drop for Slow<'_> {
    fn drop(&mut self) {
        thread::sleep(Duration::from_millis(20));
        self.0.store(true, Ordering::SeqCst);
    }
}

#[test]
fn a_dropped_closure_is_gone_captures_included_before_its_caller_goes_on() {
    let home = Home::default();
    let (requests, mut inbox) = queue::<Work<Small>>(4, &home);
    let writer = spawn(move || {
        drop(expect(inbox.recv(None)));
        expect(inbox.recv(None)).fail(Error::Conflict);
        drop(inbox);
    });
    for expected in ["store is closed", "transaction read something that has changed since"] {
        let is_gone = AtomicBool::new(false);
        let captured = (Slow(&is_gone), NoisyDrop);
        let answer: Result<()> = write(&home, &requests, move |_| {
            let _captured = &captured;
            Ok(())
        });
        assert!(is_gone.load(Ordering::SeqCst));
        assert_eq!(answer.unwrap_err().to_string(), expected);
    }
    writer.join().unwrap();
    let is_gone = AtomicBool::new(false);
    let captured = Slow(&is_gone);
    let refused: Result<()> = write(&home, &requests, move |_| {
        let _captured = &captured;
        Ok(())
    });
    assert!(is_gone.load(Ordering::SeqCst) && matches!(refused, Err(Error::Closed)));
}

#[test]
fn a_caller_that_unwinds_stays_until_its_closure_is_gone() {
    let home = Home::default();
    let (requests, mut inbox) = queue::<Work<Small>>(4, &home);
    let writer = spawn(move || {
        let mut kept = Vec::new();
        let mut work = expect(inbox.recv(None));
        thread::sleep(Duration::from_millis(20));
        let verdict = work.run(&mut SmallTx(&mut kept));
        work.done(1);
        (verdict, kept)
    });
    let mut ran = false;
    let unwound = catch_unwind(AssertUnwindSafe(|| {
        let send = |work| {
            requests.send(work).map_err(|_| Error::Closed)?;
            panic!("after the hand-over")
        };
        run_borrowed::<Small, _, _, Error, _>(&home, Promised::Durable, send, |tx| {
            ran = true;
            tx.0.push(1);
            Ok(())
        })
    }));
    assert!(unwound.is_err() && ran);
    assert_eq!(writer.join().unwrap(), (Verdict::Keep, vec![1]));
}

#[test]
fn the_stores_failure_comes_before_the_closures_value() {
    let home = Home::default();
    let (requests, inbox) = queue(4, &home);
    let writer = writer(&home, inbox, |mut work, version| {
        work.visible(version);
        work.fail(Error::Poisoned);
    });
    let answer: Result<u32> = write(&home, &requests, |_| Ok(1));
    assert!(matches!(answer, Err(Error::Poisoned)));
    drop(requests);
    writer.join().unwrap();
}

type Closure = Box<dyn FnOnce(&mut SmallTx<'_>) -> Result<String> + Send>;

#[test]
fn an_owned_closure_answers_its_commit() {
    let home = Home::default();
    let (requests, inbox) = queue(8, &home);
    let writer = writer(&home, inbox, |mut work, version| {
        work.visible(version);
        work.durable();
    });
    let submit = |closure: Closure| {
        let (work, commit) = owned::<Small, _, _>(&home, Promised::Durable, closure);
        requests.send(work).unwrap();
        commit
    };
    let commit = submit(Box::new(|tx| {
        tx.0.push(1);
        Ok("done".to_owned())
    }));
    assert_eq!(commit.durable().wait().unwrap(), 1);
    assert_eq!(block_on(commit).unwrap(), "done");
    assert!(matches!(submit(Box::new(|_| Err(Error::Conflict))).wait(), Err(Error::Conflict)));
    let panicked = submit(Box::new(|tx| {
        tx.0.push(2);
        panic!("no")
    }));
    assert!(
        matches!(panicked.visible().wait(), Err(Error::Panicked { message }) if &*message == "no")
    );
    assert!(matches!(panicked.wait(), Err(Error::Panicked { .. })));
    // Nobody waits for these; the second leaves a value that nobody wants to drop.
    drop(submit(Box::new(|_| Ok(String::new()))));
    let (work, commit) = owned::<Small, _, _>(&home, Promised::Visible, |_| Ok(NoisyDrop));
    drop(commit);
    requests.send(work).unwrap();
    drop(requests);
    assert_eq!(writer.join().unwrap(), [1]);
    let (work, commit) = owned::<Small, _, u8>(&home, Promised::Visible, |_| Ok(1));
    home.poison();
    drop(work);
    assert!(matches!(Answer::wait(commit.visible()), Err(Error::Poisoned)));
}
