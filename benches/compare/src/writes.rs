//! The rows that write: durable and other commits of one key, batches of a thousand.

use crate::{
    clock::{Probe, Took, time},
    entries::{key, value},
    peers::{self, Mode, Peer, Recto},
    rows::{By, Contestant, row, row_probed},
};
use std::{path::Path, thread, time::Duration};

/// What a preloaded store holds.
const PRELOADED: u64 = 200_000;
/// Where the numbers of new entries begin.
const NEW: u64 = 1 << 40;

/// Commits of recto alone, for a profiler, over a store that is there: `waited` or `submitted` for
/// keys without a sync, `batches` of a thousand without one, `durable` from 50 clients.
pub fn spin(how: &str, dir: &Path, count: u64) {
    let mode = if how == "durable" { Mode::Durable } else { Mode::NoSync };
    let recto = Recto::open(dir, mode);
    let all = NEW..NEW + count;
    let ((), took) = time(|| match how {
        "waited" => all.for_each(|i| recto.put(&key(i), &value(i))),
        "submitted" => {
            let last = all.map(|i| recto.submit(&key(i), &value(i))).last();
            last.expect("some commit").wait().expect("recto commits");
        }
        "batches" => all.step_by(1000).for_each(|first| {
            recto.batch(&mut (first..first + 1000).map(|i| (key(i), value(i))));
        }),
        "durable" => commit_from(&recto, 50, count / 50, 0),
        _ => panic!("{how} is no way to commit"),
    });
    let each = |time: Duration| time / count as u32;
    println!("{how}: {:?} each, cpu {:?}", each(took.wall), each(took.process));
}

/// Runs all rows that `wanted` wants, over the peers called `names`.
pub fn run(root: &Path, rounds: usize, names: &[&str], wanted: &dyn Fn(&str) -> bool) {
    let mut probe = Probe::new(root).expect("a probe of the disk");
    for (clients, each) in [(1, 400), (8, 100), (50, 40)] {
        let title = format!("durable one-key commits, {clients} clients, per commit");
        if wanted(&title) {
            durable(root, &title, clients, each, rounds, names, &mut probe);
        }
    }
    let title = "batches of 1,000 random inserts into 200 k, not durable, per insert";
    if wanted(title) {
        batches(root, title, rounds, names);
    }
    let title = "removal of 100 k of 200 k in random order, one transaction, per removal";
    if wanted(title) {
        removals(root, title, rounds, names);
    }
    let title = "one-key commits without sync, waited for";
    if wanted(title) {
        singles(root, title, rounds, names);
    }
    let title = "one-key commits without sync, submitted";
    if wanted(title) {
        submitted(root, title, rounds, names);
    }
}

fn durable(
    root: &Path,
    title: &str,
    clients: u64,
    each: u64,
    rounds: usize,
    names: &[&str],
    probe: &mut Probe,
) {
    let recto_dir = tempfile::tempdir_in(root).expect("a directory");
    let recto = Recto::open(recto_dir.path(), Mode::Durable);
    let dirs: Vec<_> = names.iter().map(|_| tempfile::tempdir_in(root).unwrap()).collect();
    let stores = names.iter().zip(&dirs).filter(|(name, _)| **name != "recto");
    let stores: Vec<_> =
        stores.map(|(name, dir)| (*name, peers::open(name, dir.path(), Mode::Durable))).collect();
    let ours = [("recto", &recto as &dyn Peer)].into_iter();
    let all = ours.chain(stores.iter().map(|(name, peer)| (*name, &**peer)));
    let before = recto.stats();
    let cases = all.map(|(name, peer)| {
        Contestant::timed(name, move |round| {
            commit_from(peer, clients, each, round as u64);
            clients * each
        })
    });
    row_probed(title, By::Wall, rounds, cases.collect(), Some(probe));
    let after = recto.stats();
    let commits = after.commits - before.commits;
    println!(
        "| {title} | recto: syncs per commit | {:.3} | | |",
        (after.log_syncs - before.log_syncs) as f64 / commits as f64
    );
}

/// Commits `each` keys from each of `clients` threads.
fn commit_from(peer: &dyn Peer, clients: u64, each: u64, round: u64) {
    thread::scope(|scope| {
        for client in 0..clients {
            scope.spawn(move || {
                let first = NEW + (round * clients + client) * each;
                for i in first..first + each {
                    peer.put(&key(i), &value(i));
                }
            });
        }
    });
}

/// A store of 200 k entries.
fn preloaded(name: &str, dir: &Path) -> Box<dyn Peer> {
    let peer = peers::open(name, dir, Mode::NoSync);
    peer.batch(&mut (0..PRELOADED).map(|i| (key(i), value(i))));
    peer.close();
    peers::open(name, dir, Mode::NoSync)
}

/// Runs `work` on a fresh preloaded store; tells how long it took, closing included or not.
fn on_preloaded(root: &Path, name: &str, with_close: bool, work: impl FnOnce(&dyn Peer)) -> Took {
    let dir = tempfile::tempdir_in(root).expect("a directory");
    let peer = preloaded(name, dir.path());
    let (peer, took) = time(|| {
        work(&*peer);
        if with_close {
            peer.close();
            return None;
        }
        Some(peer)
    });
    drop(peer);
    took
}

fn batches(root: &Path, title: &str, rounds: usize, names: &[&str]) {
    const BATCHES: u64 = 200;
    for with_close in [false, true] {
        let title = format!("{title}{}", if with_close { ", close in the clock" } else { "" });
        let cases = names.iter().map(|&name| {
            Contestant::own(name, move |_| {
                let took = on_preloaded(root, name, with_close, |peer| {
                    for batch in 0..BATCHES {
                        let first = NEW + batch * 1000;
                        peer.batch(&mut (first..first + 1000).map(|i| (key(i), value(i))));
                    }
                });
                (BATCHES * 1000, took)
            })
        });
        let mut cases: Vec<_> = cases.collect();
        cases.push(inserted_batches(root, BATCHES, with_close));
        row(&title, By::Wall, rounds, cases);
    }
}

/// recto with `insert` in a closure, in place of a batch.
fn inserted_batches(root: &Path, batches: u64, with_close: bool) -> Contestant<'_> {
    Contestant::own("recto, insert in a closure", move |_| {
        let dir = tempfile::tempdir_in(root).expect("a directory");
        drop(preloaded("recto", dir.path()));
        let recto = Recto::open(dir.path(), Mode::NoSync);
        let (recto, took) = time(|| {
            for batch in 0..batches {
                let first = NEW + batch * 1000;
                recto.insert_each(&mut (first..first + 1000).map(|i| (key(i), value(i))));
            }
            if with_close {
                Box::new(recto).close();
                return None;
            }
            Some(recto)
        });
        drop(recto);
        (batches * 1000, took)
    })
}

fn removals(root: &Path, title: &str, rounds: usize, names: &[&str]) {
    let cases = names.iter().map(|&name| {
        Contestant::own(name, move |_| {
            // Keys have no order of their own: every second number is a random half.
            let mut keys = (0..PRELOADED).step_by(2).map(key);
            let took = on_preloaded(root, name, true, |peer| peer.remove(&mut keys));
            (PRELOADED / 2, took)
        })
    });
    row(title, By::Wall, rounds, cases.collect());
}

fn singles(root: &Path, title: &str, rounds: usize, names: &[&str]) {
    const COMMITS: u64 = 10_000;
    let cases = names.iter().map(|&name| {
        Contestant::own(name, move |_| {
            let took = on_preloaded(root, name, false, |peer| {
                for i in NEW..NEW + COMMITS {
                    peer.put(&key(i), &value(i));
                }
            });
            (COMMITS, took)
        })
    });
    row(title, By::Wall, rounds, cases.collect());
}

fn submitted(root: &Path, title: &str, rounds: usize, names: &[&str]) {
    const COMMITS: u64 = 50_000;
    let mut cases = vec![Contestant::own("recto submit", move |_| {
        let dir = tempfile::tempdir_in(root).expect("a directory");
        drop(preloaded("recto", dir.path()));
        let recto = Recto::open(dir.path(), Mode::NoSync);
        let ((), took) = time(|| {
            let last = (NEW..NEW + COMMITS).map(|i| recto.submit(&key(i), &value(i))).last();
            last.expect("some commit").wait().expect("recto commits");
        });
        (COMMITS, took)
    })];
    cases.extend(names.iter().filter(|name| **name != "recto").map(|&name| {
        Contestant::own(&format!("{name}, waited for"), move |_| {
            let took = on_preloaded(root, name, false, |peer| {
                for i in NEW..NEW + COMMITS / 5 {
                    peer.put(&key(i), &value(i));
                }
            });
            (COMMITS / 5, took)
        })
    }));
    row(title, By::Wall, rounds, cases);
}
