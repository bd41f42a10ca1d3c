//! The series of threads: reads, one-key writes, and four reads to one write, each thread with a
//! session of its own; for so many operations a thread, start of the threads included, and for so
//! long.

use crate::{
    clock::{Took, time},
    entries::{Data, Random},
    peers::{self, Mode, Peer, Session},
    rows::{By, Contestant, Question, Run},
};
use std::{
    cell::RefCell,
    hint::black_box,
    sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    thread,
    time::Duration,
};
use tempfile::TempDir;

/// What each store holds before, unless fewer entries are asked for.
const PRELOADED: u64 = 100_000;
/// Operations of a thread, in the short form.
const EACH: u64 = 1_000;
/// How long the long form takes.
const LONG: Duration = Duration::from_secs(2);
const THREADS: [u64; 6] = [1, 2, 5, 10, 20, 50];

/// What a thread does.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Work {
    Read,
    Write,
    Mixed,
}

/// What all threads of a row do.
#[derive(Clone, Copy)]
struct Load {
    work: Work,
    threads: u64,
    data: Data,
    entries: u64,
}

/// The stores, made for the first row that is wanted: what is put replaces what is there, so that
/// all rows find as many entries.
type Stores = Vec<Store>;

/// A store that is open but for the moment at the end of a round of writes.
struct Store {
    name: &'static str,
    dir: TempDir,
    peer: RefCell<Option<Box<dyn Peer>>>,
}

/// Runs all rows that are wanted.
pub fn run(run: &Run<'_>) {
    let mut stores = Stores::new();
    let works = [(Work::Read, "gets"), (Work::Write, "puts"), (Work::Mixed, "4 gets to 1 put")];
    // A quick look takes a few of the series, and the short form.
    let is_taken = |threads: u64| !run.is_quick || [1, 2, 10].contains(&threads);
    let (data, entries) = (run.data, run.entries.min(PRELOADED));
    for (work, what) in works {
        for threads in THREADS.into_iter().filter(|&threads| is_taken(threads)) {
            let load = Load { work, threads, data, entries };
            let title = format!("threads: {what}, {threads} threads, short form, per operation");
            if run.wants(&title) {
                short(run, title, load, opened(run, entries, &mut stores));
            }
            let title = format!("threads: {what}, {threads} threads, long form");
            if !run.is_quick && run.wants(&title) {
                long(run, title, load, opened(run, entries, &mut stores));
            }
        }
    }
}

fn opened<'s>(run: &Run<'_>, entries: u64, stores: &'s mut Stores) -> &'s Stores {
    if stores.is_empty() {
        stores.extend(run.names.iter().map(|&name| {
            let (dir, peer) = run.filled(name, entries, Mode::NoSync);
            Store { name, dir, peer: RefCell::new(Some(peer)) }
        }));
    }
    stores
}

fn short(run: &Run<'_>, title: String, load: Load, stores: &Stores) {
    let operations = load.threads * EACH;
    let cases = stores.iter().map(|store| {
        Contestant::own(store.name, move |round| {
            let work = |peer: &dyn Peer| all_at_once(peer, load, round as u64);
            (operations, store.timed(load.work, work).1)
        })
    });
    let what = "threads' start, 1,000 operations each";
    let terms = format!("not durable; {} threads; clock: {what}{}", load.threads, close(load.work));
    run.row(&Question::new(title, terms, By::Wall), run.rounds.min(5), cases.collect());
}

fn long(run: &Run<'_>, title: String, load: Load, stores: &Stores) {
    let cases = stores.iter().map(|store| {
        Contestant::own(store.name, move |round| {
            store.timed(load.work, |peer| until_over(peer, load, round as u64))
        })
    });
    let terms = format!(
        "not durable; {} threads; clock: 2 s of operations{}",
        load.threads,
        close(load.work)
    );
    run.row(&Question::new(title, terms, By::Rate), run.few_rounds(), cases.collect());
}

/// What else is in the clock.
fn close(work: Work) -> &'static str {
    if work == Work::Read { "" } else { ", close" }
}

impl Store {
    /// Runs `work`, and closes the store within the clock if it writes.
    fn timed<T>(&self, work: Work, run: impl FnOnce(&dyn Peer) -> T) -> (T, Took) {
        let peer = self.peer.take().expect("the store is open between rounds");
        let ((peer, done), took) = time(|| {
            let done = run(&*peer);
            if work == Work::Read {
                return (Some(peer), done);
            }
            peer.close();
            (None, done)
        });
        let open = || peers::open(self.name, self.dir.path(), Mode::NoSync);
        *self.peer.borrow_mut() = Some(peer.unwrap_or_else(open));
        (done, took)
    }
}

impl Load {
    /// One operation of a thread.
    fn step(self, session: &mut dyn Session, step: u64, random: &mut Random) {
        let i = random.below(self.entries);
        match self.work {
            Work::Read => _ = black_box(session.get(&self.data.key(i))),
            Work::Mixed if !step.is_multiple_of(5) => _ = black_box(session.get(&self.data.key(i))),
            Work::Write | Work::Mixed => {
                session.put(&self.data.key(i), &self.data.value(i ^ step));
            }
        }
    }
}

fn all_at_once(peer: &dyn Peer, load: Load, round: u64) {
    thread::scope(|scope| {
        for number in 0..load.threads {
            scope.spawn(move || {
                let mut session = peer.session();
                let mut random = Random::new(round * 1000 + number);
                for step in 0..EACH {
                    load.step(&mut *session, step, &mut random);
                }
            });
        }
    });
}

/// Operations of all threads until the time is over; how many they were.
fn until_over(peer: &dyn Peer, load: Load, round: u64) -> u64 {
    let (is_over, done) = (AtomicBool::new(false), AtomicU64::new(0));
    thread::scope(|scope| {
        for number in 0..load.threads {
            let (is_over, done) = (&is_over, &done);
            scope.spawn(move || {
                let mut session = peer.session();
                let mut random = Random::new(round * 1000 + number);
                let mut count = 0;
                while !is_over.load(Relaxed) {
                    load.step(&mut *session, count, &mut random);
                    count += 1;
                }
                done.fetch_add(count, Relaxed);
            });
        }
        thread::sleep(LONG);
        is_over.store(true, Relaxed);
    });
    done.into_inner()
}
