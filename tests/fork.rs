//! A process that is forked off a store's owner: its writes answer `Closed`, its drops touch
//! nothing, and the owner goes on as if nothing had been.
//!
//! The only `unsafe` of the tests: there is no other way to fork. The child leaves by `_exit`, so
//! that the test runner in it never runs; an alarm ends it where it would wait for ever.

use recto::{Batch, Error, Options, Result, Store, Table, TrySubmitError};
use std::{
    collections::BTreeMap,
    fs,
    future::Future,
    panic::{AssertUnwindSafe, catch_unwind},
    path::Path,
    pin::pin,
    sync::{
        atomic::{AtomicBool, AtomicU64, Ordering::SeqCst},
        mpsc,
    },
    task::{Context, Poll, Waker},
    thread,
    time::Duration,
};

const ROWS: Table<u64, u64> = Table::new("rows");
/// Only a test that fails waits for so long.
const PATIENCE: Duration = Duration::from_secs(60);
const ALARM_SECONDS: u32 = 20;

fn batch(key: u64) -> Batch {
    let mut batch = Batch::new();
    batch.insert(&ROWS, key, key);
    batch
}

/// Forks; what `child` says in the forked process is asserted here, and so is that it ends in time.
/// Nothing that the child does to memory is seen here.
fn forked(child: impl FnOnce() -> Result<bool>) {
    // SAFETY: the new process has this thread alone, with a copy of all memory. It calls only the
    // store, whose conduct there is what is tested, and the allocator, which the C library keeps
    // usable across a fork; then it leaves by `_exit`.
    let pid = unsafe { libc::fork() };
    assert!(pid >= 0, "cannot fork");
    if pid == 0 {
        // SAFETY: sets a timer of this process, which ends it by a signal.
        unsafe { libc::alarm(ALARM_SECONDS) };
        let code = match catch_unwind(AssertUnwindSafe(child)) {
            Ok(Ok(true)) => 0,
            Ok(Ok(false)) => 1,
            Ok(Err(_)) => 2,
            Err(_) => 3,
        };
        // SAFETY: ends this process at once, running nothing.
        unsafe { libc::_exit(code) };
    }
    let mut status = 0;
    // SAFETY: `status` is a valid place to write to, and `pid` a child that nobody else waits for.
    let waited = unsafe { libc::waitpid(pid, &raw mut status, 0) };
    assert_eq!(waited, pid);
    assert_eq!(status, 0, "signal {}, exit code {}", status & 0x7f, status >> 8);
}

/// The files in `dir`, by name.
fn files(dir: &Path) -> BTreeMap<String, Vec<u8>> {
    let entries = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap());
    let read = |entry: fs::DirEntry| {
        (entry.file_name().into_string().unwrap(), fs::read(entry.path()).unwrap())
    };
    entries.map(read).collect()
}

fn is_closed<T>(answer: &Result<T>) -> bool {
    matches!(answer, Err(Error::Closed))
}

fn poll_once<T>(future: impl Future<Output = T>) -> Option<T> {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(answer) => Some(answer),
        Poll::Pending => None,
    }
}

#[test]
fn a_forked_process_is_told_closed_by_every_call_that_writes_or_waits() -> Result<()> {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path())?;
    store.submit(batch(1))?.wait()?;
    forked(|| {
        let refused = [
            is_closed(&store.write(|tx| tx.table(&ROWS)?.insert(2, 2))),
            is_closed(&store.submit(batch(2))),
            is_closed(&store.submit_with(|_| Ok(()))),
            matches!(store.try_submit(batch(2)), Err(TrySubmitError::Closed(_))),
            matches!(store.submit_timeout(batch(2), PATIENCE), Err(TrySubmitError::Closed(_))),
            poll_once(store.submit_async(batch(2))).is_some_and(|answer| is_closed(&answer)),
            is_closed(&store.sync()),
            is_closed(&store.checkpoint()),
            is_closed(&store.rename_table("rows", "lines")),
            is_closed(&store.drop_table("rows")),
            is_closed(&store.close()),
        ];
        Ok(refused == [true; 11])
    });
    assert_eq!(store.submit(batch(2))?.wait()?, 2, "the owner goes on");
    store.check()?;
    store.close()?;
    assert_eq!(Store::open(dir.path())?.snapshot().table(&ROWS)?.len()?, 2);
    Ok(())
}

#[test]
fn a_forked_process_that_drops_everything_touches_nothing() -> Result<()> {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path())?;
    store.submit(batch(1))?.wait()?;
    let (old, mut reader) = (store.snapshot(), store.reader());
    store.submit(batch(2))?.wait()?;
    let before = files(dir.path());
    let mut all = Some((store, old, reader.snapshot().clone(), reader));
    forked(|| {
        drop(all.take());
        Ok(true)
    });
    assert!(before == files(dir.path()), "a file was changed by drops in another process");
    let (store, old, ..) = all.take().unwrap();
    assert_eq!(old.table(&ROWS)?.len()?, 1);
    let refused = Options::new().lock_timeout(Duration::ZERO).open(dir.path());
    assert!(matches!(refused, Err(Error::Locked { .. })), "the drops let the lock go");
    assert_eq!(store.submit(batch(3))?.wait()?, 3);
    drop((store, old));
    let again = Store::open(dir.path())?;
    assert_eq!(again.snapshot().table(&ROWS)?.len()?, 3);
    again.check()?;
    Ok(())
}

/// What was handed in before the fork is the owner's: it is answered there, and once.
#[test]
fn a_commit_in_flight_is_answered_to_its_owner_and_is_closed_to_the_fork() -> Result<()> {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path())?;
    let (release, held) = mpsc::channel::<()>();
    let holder = store.submit_with(move |_| Ok(held.recv_timeout(PATIENCE).is_ok()))?;
    let mut waiting = Some((store.submit(batch(1))?, store.submit(batch(2))?));
    forked(|| {
        let (first, second) = waiting.take().unwrap();
        let asked = is_closed(&second.visible().wait()) && is_closed(&second.durable().wait());
        let got = matches!(second.durable().get(), Some(Err(Error::Closed)));
        let polled = poll_once(second).is_some_and(|answer| is_closed(&answer));
        Ok(asked && got && polled && is_closed(&first.wait()))
    });
    release.send(()).unwrap();
    assert!(holder.wait()?);
    let (first, second) = waiting.take().unwrap();
    assert_eq!((first.wait()?, second.durable().wait()?), (2, 3));
    Ok(())
}

/// Tells the writers to end, also when the test fails.
struct Done<'d>(&'d AtomicBool);

impl Drop for Done<'_> {
    fn drop(&mut self) {
        self.0.store(true, SeqCst);
    }
}

/// Locks are held by other threads at the moment of the fork: the child must not ask for them.
#[test]
fn forks_under_load_neither_hang_nor_lose() -> Result<()> {
    const WRITERS: u64 = 4;
    let dir = tempfile::tempdir().unwrap();
    let options = Options::new().dirty_bytes(256 << 10).log_segment_bytes(16 << 10);
    let store = options.queue_capacity(4).open(dir.path())?;
    let (done, accepted) = (AtomicBool::new(false), AtomicU64::new(0));
    thread::scope(|scope| {
        for writer in 0..WRITERS {
            let (store, done, accepted) = (&store, &done, &accepted);
            scope.spawn(move || {
                for number in 0.. {
                    if done.load(SeqCst) {
                        break;
                    }
                    let key = writer << 32 | number;
                    let commit = store.submit(batch(key)).unwrap();
                    assert!(commit.wait().unwrap() > 0);
                    accepted.fetch_add(1, SeqCst);
                }
            });
        }
        let _done = Done(&done);
        let mut mine = Some((store.clone(), store.snapshot()));
        for _ in 0..50 {
            let commit = store.submit(batch(u64::MAX)).unwrap();
            let mut theirs = Some(commit);
            forked(|| {
                let refused = is_closed(&store.submit(batch(7)).map(drop));
                let waited = is_closed(&theirs.take().unwrap().wait());
                drop(mine.take());
                Ok(refused && waited)
            });
            theirs.take().unwrap().wait().unwrap();
        }
    });
    store.close()?;
    drop(store);
    let again = Store::open(dir.path())?;
    let accepted = accepted.load(SeqCst);
    assert!(accepted > 50, "{accepted} commits are no load");
    assert_eq!(again.snapshot().table(&ROWS)?.len()?, accepted + 1);
    assert_eq!(again.snapshot().version(), accepted + 50);
    again.check()?;
    Ok(())
}
