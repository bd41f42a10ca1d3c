//! The rows that write: durable and other commits of one key, batches of a thousand.

use crate::{
    clock::{Probe, time},
    entries::{Data, NEW},
    peers::{self, LMDB_WRITE_MAP, Mode, Peer, RECTO, Recto},
    rows::{By, Contestant, Question, Run, count},
};
use std::{path::Path, thread, time::Duration};

/// Commits of recto alone, for a profiler, over a store that is there: `waited` or `submitted` for
/// keys without a sync, `batches` of a thousand without one, `durable` from 50 clients.
pub fn spin(how: &str, dir: &Path, count: u64) {
    let mode = if how == "durable" { Mode::Durable } else { Mode::NoSync };
    let (recto, data) = (Recto::open(RECTO, dir, mode), Data::A);
    let all = NEW..NEW + count;
    let ((), took) = time(|| match how {
        "waited" => all.for_each(|i| recto.put(&data.key(i), &data.value(i))),
        "submitted" => {
            let last =
                all.map(|i| recto.submit(&data.key(i), &data.value(i))).reduce(|_, next| next);
            last.expect("some commit").wait().expect("recto commits");
        }
        "batches" => all.step_by(1000).for_each(|first| {
            recto.batch(&mut (first..first + 1000).map(|i| data.entry(i)));
        }),
        "durable" => commit_from(&recto, data, 50, count / 50, 0),
        _ => panic!("{how} is no way to commit"),
    });
    let each = |time: Duration| time / count as u32;
    println!("{how}: {:?} each, cpu {:?}", each(took.wall), each(took.process));
}

/// What a preloaded store holds.
fn preloaded(run: &Run<'_>) -> u64 {
    run.entries.min(200_000)
}

/// The same, readable.
fn held(run: &Run<'_>) -> String {
    count(preloaded(run))
}

/// Runs all rows that are wanted.
pub fn run(run: &Run<'_>) {
    for (clients, each) in [(1, 2000), (8, 1000), (50, 400)] {
        let each = run.operations(each);
        let who = if clients == 1 { "1 client".into() } else { format!("{clients} clients") };
        let title = format!("durable one-key commits, {who}, per commit");
        if run.wants(&title) {
            durable(run, title.clone(), clients, each);
        }
        let title = format!("{title}, close in the clock");
        if run.wants(&title) {
            durable_and_closed(run, title, clients, each);
        }
    }
    for with_close in [false, true] {
        let title = format!("batches of 1,000 random inserts into {}, per insert", held(run));
        let title = format!("{title}{}", if with_close { ", close in the clock" } else { "" });
        if run.wants(&title) {
            batches(run, title, with_close);
        }
    }
    let title = format!("removal of half of {} in random order, one transaction", held(run));
    if run.wants(&title) {
        removals(run, &title);
    }
    let title = format!("one-key commits without sync into {}", held(run));
    singles(run, &format!("{title}, waited for"));
    let title = format!("{title}, submitted");
    if run.wants(&title) {
        submitted(run, &title);
    }
}

fn durable(run: &Run<'_>, title: String, clients: u64, each: u64) {
    let mut probe = Probe::new(run.root).expect("a probe of the disk");
    let (data, entries) = (run.data, preloaded(run));
    let open = |name| (name, run.filled(name, entries, Mode::Durable));
    let stores: Vec<_> = run.names.iter().copied().map(open).collect();
    let before: Vec<_> = stores.iter().map(|(_, (_, peer))| peer.stats()).collect();
    let cases = stores.iter().map(|(name, (_, peer))| {
        Contestant::timed(name, move |round| {
            commit_from(&**peer, data, clients, each, round as u64);
            clients * each
        })
    });
    let held = count(entries);
    let terms = format!("durable; {clients} threads; clock: commits into {held}, no close");
    let question = Question::new(title, terms, By::Wall).putting(data.mean_bytes());
    run.row_probed(&question, run.rounds.min(5), cases.collect(), Some(&mut probe));
    for ((name, (_, peer)), before) in stores.iter().zip(before) {
        let (Some(before), Some(after)) = (before, peer.stats()) else {
            continue;
        };
        let done = after.since(&before);
        // No commit if the disk was noisy all the time.
        let each = |count: u64| count as f64 / done.commits.max(1) as f64;
        let figure = format!(
            "{:.3} syncs of the log, {:.3} of checkpoints; {:.0} B of log, {:.0} B of pages",
            each(done.log_syncs),
            each(done.checkpoint_syncs),
            each(done.log_bytes_written),
            each(done.page_bytes_written),
        );
        run.report.remark(&question.title, &format!("{name}: per commit"), figure);
    }
}

/// The same, each round on a copy of a filled store that is closed at its end.
fn durable_and_closed(run: &Run<'_>, title: String, clients: u64, each: u64) {
    let mut probe = Probe::new(run.root).expect("a probe of the disk");
    let (data, entries) = (run.data, preloaded(run));
    let cases = run.names.iter().map(|&name| {
        Contestant::own(name, move |round| {
            let (_dir, peer) = run.filled(name, entries, Mode::Durable);
            let ((), took) = time(|| {
                commit_from(&*peer, data, clients, each, round as u64);
                peer.close();
            });
            (clients * each, took)
        })
    });
    let held = count(entries);
    let terms = format!("durable; {clients} threads; clock: commits into {held}, and close");
    let question = Question::new(title, terms, By::Wall).putting(data.mean_bytes());
    run.row_probed(&question, run.few_rounds(), cases.collect(), Some(&mut probe));
}

/// Commits `each` keys from each of `clients` threads.
fn commit_from(peer: &dyn Peer, data: Data, clients: u64, each: u64, round: u64) {
    thread::scope(|scope| {
        for client in 0..clients {
            scope.spawn(move || {
                let first = NEW + (round * clients + client) * each;
                for i in first..first + each {
                    peer.put(&data.key(i), &data.value(i));
                }
            });
        }
    });
}

fn clock(with_close: bool) -> &'static str {
    if with_close {
        "not durable; 1 client; clock: commits and close"
    } else {
        "not durable; 1 client; clock: commits, no close"
    }
}

/// Those who commit without a sync: the peers, and LMDB another time with its map open for writing.
fn unsynced(run: &Run<'_>) -> Vec<&'static str> {
    let mut names = run.names.clone();
    if names.contains(&"lmdb") {
        names.push(LMDB_WRITE_MAP);
    }
    names
}

fn batches(run: &Run<'_>, title: String, with_close: bool) {
    let (data, entries, batches) = (run.data, preloaded(run), run.operations(200));
    let numbers = |batch: u64| NEW + batch * 1000..NEW + (batch + 1) * 1000;
    let cases = unsynced(run).into_iter().map(|name| {
        Contestant::own(name, move |_| {
            let took = run.on_filled(name, entries, with_close, |peer| {
                for batch in 0..batches {
                    peer.batch(&mut numbers(batch).map(|i| data.entry(i)));
                }
            });
            (batches * 1000, took)
        })
    });
    let mut cases: Vec<_> = cases.collect();
    for name in run.ours() {
        cases.push(Contestant::own(&format!("{name}, insert in a closure"), move |_| {
            let (_dir, recto) = run.filled_recto(name, entries, Mode::NoSync);
            let (recto, took) = time(|| {
                for batch in 0..batches {
                    recto.insert_each(&mut numbers(batch).map(|i| data.entry(i)));
                }
                if with_close {
                    Box::new(recto).close();
                    return None;
                }
                Some(recto)
            });
            drop(recto);
            (batches * 1000, took)
        }));
    }
    let question = Question::new(title, clock(with_close), By::Wall).putting(data.mean_bytes());
    run.row(&question, run.few_rounds(), cases);
}

fn removals(run: &Run<'_>, title: &str) {
    let (data, entries) = (run.data, preloaded(run));
    let cases = run.names.iter().map(|&name| {
        Contestant::own(name, move |_| {
            // Keys have no order of their own: every second number is a random half.
            let mut keys = (0..entries).step_by(2).map(|i| data.key(i));
            let took = run.on_filled(name, entries, true, |peer| peer.remove(&mut keys));
            (entries / 2, took)
        })
    });
    let question = Question::new(title, clock(true), By::Wall);
    run.row(&question, run.few_rounds(), cases.collect());
}

fn singles(run: &Run<'_>, title: &str) {
    let (data, entries, commits) = (run.data, preloaded(run), run.operations(100_000));
    for with_close in [false, true] {
        let title = format!("{title}{}", if with_close { ", close in the clock" } else { "" });
        if !run.wants(&title) {
            continue;
        }
        let cases = unsynced(run).into_iter().map(|name| {
            Contestant::own(name, move |_| {
                let took = run.on_filled(name, entries, with_close, |peer| {
                    for i in NEW..NEW + commits {
                        peer.put(&data.key(i), &data.value(i));
                    }
                });
                (commits, took)
            })
        });
        let question = Question::new(title, clock(with_close), By::Wall);
        let question = question.putting(data.mean_bytes());
        run.row(&question, run.few_rounds(), cases.collect());
    }
}

fn submitted(run: &Run<'_>, title: &str) {
    let (data, entries, commits) = (run.data, preloaded(run), run.operations(100_000));
    let mut cases = Vec::new();
    for name in run.ours() {
        cases.push(Contestant::own(&format!("{name} submit"), move |_| {
            let (_dir, recto) = run.filled_recto(name, entries, Mode::NoSync);
            let ((), took) = time(|| {
                let submit = |i| recto.submit(&data.key(i), &data.value(i));
                let last = (NEW..NEW + commits).map(submit).reduce(|_, next| next);
                last.expect("some commit").wait().expect("recto commits");
                Box::new(recto).close();
            });
            (commits, took)
        }));
    }
    cases.extend(unsynced(run).into_iter().filter(|name| !peers::is_ours(name)).map(|name| {
        Contestant::own(&format!("{name}, waited for"), move |_| {
            let took = run.on_filled(name, entries, true, |peer| {
                for i in NEW..NEW + commits {
                    peer.put(&data.key(i), &data.value(i));
                }
            });
            (commits, took)
        })
    }));
    let question = Question::new(title, clock(true), By::Wall).putting(data.mean_bytes());
    run.row(&question, run.few_rounds(), cases);
}
