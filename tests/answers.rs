//! A commit has two answers, visible and durable, to wait for or to await on any runtime: here on
//! two that know nothing of each other.

use recto::{Batch, Durability, Error, Options, Result, Store, Table};
use std::{
    future::Future,
    pin::{Pin, pin},
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering::SeqCst},
        mpsc,
    },
    task::{Context, Poll, Wake, Waker},
    thread::{self, Thread},
    time::Duration,
};

const ROWS: Table<u64, u64> = Table::new("rows");
/// Only a test that fails waits for so long.
const PATIENCE: Duration = Duration::from_secs(60);

/// The first runtime: one future on the calling thread, which parks.
fn block_on<T>(future: impl Future<Output = T>) -> T {
    struct Unpark(Thread);
    impl Wake for Unpark {
        fn wake(self: Arc<Self>) {
            self.0.unpark();
        }
    }
    let waker = Waker::from(Arc::new(Unpark(thread::current())));
    let mut future = pin!(future);
    loop {
        if let Poll::Ready(output) = future.as_mut().poll(&mut Context::from_waker(&waker)) {
            return output;
        }
        thread::park_timeout(PATIENCE);
    }
}

type Task = Pin<Box<dyn Future<Output = ()> + Send>>;

/// The second runtime: any number of tasks on threads of its own, woken through a channel.
struct Tasks {
    ready: mpsc::Sender<Arc<Woken>>,
}

struct Woken {
    task: Mutex<Option<Task>>,
    ready: mpsc::Sender<Arc<Woken>>,
}

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        let ready = self.ready.clone();
        // Nobody listens any more once the test is over.
        let _ = ready.send(self);
    }
}

impl Tasks {
    fn new(threads: usize) -> Tasks {
        let (ready, woken) = mpsc::channel::<Arc<Woken>>();
        let woken = Arc::new(Mutex::new(woken));
        for _ in 0..threads {
            let woken = woken.clone();
            thread::spawn(move || {
                loop {
                    let next = woken.lock().unwrap().recv();
                    let Ok(next) = next else { return };
                    let waker = Waker::from(next.clone());
                    let mut task = next.task.lock().unwrap();
                    let poll =
                        |task: &mut Task| task.as_mut().poll(&mut Context::from_waker(&waker));
                    if task.as_mut().is_some_and(|task| poll(task).is_ready()) {
                        *task = None;
                    }
                }
            });
        }
        Tasks { ready }
    }

    fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        let task = Mutex::new(Some(Box::pin(task) as Task));
        self.ready.send(Arc::new(Woken { task, ready: self.ready.clone() })).unwrap();
    }
}

fn opened(options: Options) -> (tempfile::TempDir, Store) {
    let dir = tempfile::tempdir().unwrap();
    let store = options.open(dir.path()).unwrap();
    (dir, store)
}

fn batch(key: u64) -> Batch {
    let mut batch = Batch::new();
    batch.insert(&ROWS, key, key);
    batch
}

#[test]
fn a_relaxed_commit_is_visible_first_and_durable_after_a_sync() -> Result<()> {
    let (_dir, store) = opened(Options::new().durability(Durability::None));
    let commit = store.submit(batch(1))?;
    assert_eq!(commit.visible().wait()?, 1);
    assert_eq!(store.get(&ROWS, 1)?, Some(1), "visible, but not seen");
    assert!(commit.durable().get().is_none(), "durable without a sync");
    assert_eq!(store.stats().durable_version, 0);
    store.sync()?;
    assert_eq!(commit.durable().wait()?, 1);
    assert_eq!(store.stats().durable_version, 1);
    assert_eq!(commit.wait()?, 1);
    Ok(())
}

#[test]
fn a_sync_commit_answers_both_at_once() -> Result<()> {
    let (_dir, store) = opened(Options::new());
    let commit = store.submit(batch(1))?;
    assert_eq!(commit.visible().wait()?, 1);
    // Nothing unsynced is ever visible behind it.
    assert_eq!(store.stats().durable_version, 1);
    assert_eq!(commit.durable().wait()?, 1);
    Ok(())
}

#[test]
fn commits_are_awaited_on_one_runtime() -> Result<()> {
    let (_dir, store) = opened(Options::new());
    block_on(async {
        for key in 1..=20 {
            let commit = store.submit_async(batch(key)).await?;
            assert_eq!(commit.visible().await?, key);
            assert_eq!(commit.durable().await?, key);
            assert_eq!(commit.await?, key);
        }
        let sum = store.submit_with(|tx| {
            let rows = tx.table(&ROWS)?;
            rows.iter()?.map(|entry| entry.map(|(_, value)| value)).sum::<Result<u64>>()
        })?;
        assert_eq!(sum.await?, 210);
        Ok(())
    })
}

#[test]
fn commits_are_awaited_on_another_runtime_by_many_tasks() -> Result<()> {
    const TASKS: u64 = 64;
    let (_dir, store) = opened(Options::new().queue_capacity(4));
    let tasks = Tasks::new(3);
    let (done, ended) = mpsc::channel();
    for task in 0..TASKS {
        let (store, done) = (store.clone(), done.clone());
        tasks.spawn(async move {
            let mut versions = Vec::new();
            for number in 0..10 {
                // With 64 tasks and room for 4 requests, most of these have to wait for room.
                let commit = store.submit_async(batch(task * 10 + number)).await.unwrap();
                let visible = commit.visible().await.unwrap();
                assert!(store.snapshot().version() >= visible);
                assert_eq!(commit.durable().await.unwrap(), visible);
                versions.push(commit.await.unwrap());
            }
            done.send(versions).unwrap();
        });
    }
    let mut versions = Vec::new();
    for _ in 0..TASKS {
        let own = ended.recv_timeout(PATIENCE).expect("every task ends");
        assert!(own.is_sorted());
        versions.extend(own);
    }
    versions.sort_unstable();
    assert!(versions.into_iter().eq(1..=TASKS * 10));
    assert_eq!(store.snapshot().table(&ROWS)?.len()?, TASKS * 10);
    Ok(())
}

/// Two threads and two runtimes wait for the same commit, all for both of its answers.
#[test]
fn one_commit_wakes_all_who_wait_for_it() -> Result<()> {
    let (_dir, store) = opened(Options::new().durability(Durability::None));
    let (release, held) = mpsc::channel::<()>();
    let holder = store.submit_with(move |_| Ok(held.recv_timeout(PATIENCE).is_ok()))?;
    let commit = Arc::new(store.submit(batch(1))?);
    let (visible, durable) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let tasks = Tasks::new(1);
    let (done, ended) = mpsc::channel();
    for waiter in 0..8 {
        let (commit, done) = (commit.clone(), done.clone());
        let (visible, durable) = (visible.clone(), durable.clone());
        let wait = async move {
            assert_eq!(commit.visible().await.unwrap(), 2);
            visible.fetch_add(1, SeqCst);
            assert_eq!(commit.durable().await.unwrap(), 2);
            durable.fetch_add(1, SeqCst);
            done.send(()).unwrap();
        };
        if waiter % 2 == 0 {
            tasks.spawn(wait);
        } else {
            thread::spawn(move || block_on(wait));
        }
    }
    assert!(commit.visible().get().is_none(), "visible while the writer is held");
    release.send(()).unwrap();
    assert!(holder.wait()?);
    // Nobody calls for a sync: that they wait for the durable answer brings one.
    for _ in 0..8 {
        ended.recv_timeout(PATIENCE).expect("every waiter is woken");
    }
    assert_eq!((visible.load(SeqCst), durable.load(SeqCst)), (8, 8));
    Ok(())
}

/// A future that is dropped before it is ready has handed nothing over; a commit that is dropped
/// undoes nothing.
#[test]
fn dropped_futures_hand_over_nothing_and_dropped_commits_undo_nothing() -> Result<()> {
    let (_dir, store) = opened(Options::new().queue_capacity(1));
    let (release, held) = mpsc::channel::<()>();
    let (entered, inside) = mpsc::channel();
    let holder = store.submit_with(move |_| {
        entered.send(()).unwrap();
        Ok(held.recv_timeout(PATIENCE).is_ok())
    })?;
    inside.recv_timeout(PATIENCE).unwrap();
    drop(store.try_submit(batch(1)).expect("room for one"));
    {
        let mut blocked = pin!(store.submit_async(batch(2)));
        let poll = blocked.as_mut().poll(&mut Context::from_waker(Waker::noop()));
        assert!(poll.is_pending(), "a queue of one took a second request");
    }
    release.send(()).unwrap();
    assert!(holder.wait()?);
    assert_eq!(store.submit(batch(3))?.wait()?, 3);
    let rows = store.snapshot();
    let rows = rows.table(&ROWS)?;
    assert_eq!(rows.get_many([1, 2, 3])?, [Some(1), None, Some(3)]);
    Ok(())
}

#[test]
fn waiting_inside_of_a_transaction_is_refused_at_once() -> Result<()> {
    let (_dir, store) = opened(Options::new().durability(Durability::None));
    let refusals = store.write(|tx| {
        tx.table(&ROWS)?.insert(1, 1)?;
        let nested = store.write(|_| Ok(()));
        let commit = store.submit(batch(2))?;
        let waited = commit.wait().map(drop);
        Ok([nested, waited, store.sync(), store.checkpoint(), store.close().map(drop)])
    })?;
    for refusal in refusals {
        assert!(matches!(refusal, Err(Error::Reentrant)), "{refusal:?}");
    }
    // What was handed over there was accepted, and follows.
    assert_eq!(store.submit(batch(3))?.wait()?, 3);
    assert_eq!(store.get(&ROWS, 2)?, Some(2));
    Ok(())
}
