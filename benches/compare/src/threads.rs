//! The series of threads: reads, one-key writes, and four reads to one write, each thread with a
//! session of its own; for so many operations a thread, start of the threads included.

use crate::{
    entries::{Random, key, value},
    peers::{self, Mode, Peer},
    rows::{By, Contestant, row},
};
use std::{hint::black_box, path::Path, thread};

/// What each store holds before.
const PRELOADED: u64 = 100_000;
/// Operations of a thread.
const EACH: u64 = 1_000;
const THREADS: [u64; 6] = [1, 2, 5, 10, 20, 50];

/// What a thread does.
#[derive(Clone, Copy)]
enum Work {
    Read,
    Write,
    Mixed,
}

/// Runs all rows that `wanted` wants, over the peers called `names`.
pub fn run(root: &Path, rounds: usize, names: &[&str], wanted: &dyn Fn(&str) -> bool) {
    let works = [(Work::Read, "gets"), (Work::Write, "puts"), (Work::Mixed, "4 gets to 1 put")];
    for (work, what) in works {
        for threads in THREADS {
            let title = format!("threads: {what}, {threads} threads, not durable, per operation");
            if !wanted(&title) {
                continue;
            }
            let dir = tempfile::tempdir_in(root).expect("a directory");
            let stores = names.iter().map(|name| {
                let peer = peers::open(name, &dir.path().join(name), Mode::NoSync);
                peer.batch(&mut (0..PRELOADED).map(|i| (key(i), value(i))));
                (*name, peer)
            });
            let stores: Vec<_> = stores.collect();
            let cases = stores.iter().map(|(name, peer)| {
                Contestant::timed(name, move |round| {
                    all_at_once(&**peer, work, threads, round as u64);
                    threads * EACH
                })
            });
            row(&title, By::Wall, rounds, cases.collect());
        }
    }
}

fn all_at_once(peer: &dyn Peer, work: Work, threads: u64, round: u64) {
    thread::scope(|scope| {
        for number in 0..threads {
            scope.spawn(move || {
                let mut session = peer.session();
                let mut random = Random::new(round * 1000 + number);
                for step in 0..EACH {
                    let i = random.below(PRELOADED);
                    match work {
                        Work::Read => _ = black_box(session.get(&key(i))),
                        Work::Mixed if step % 5 > 0 => _ = black_box(session.get(&key(i))),
                        Work::Write | Work::Mixed => session.put(&key(i), &value(i ^ step)),
                    }
                }
            });
        }
    });
}
