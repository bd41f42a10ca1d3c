//! The rows that read: random gets, get_many, scans.

use crate::{
    clock::time,
    entries::{Key, Random},
    peers::{Mode, Peer, Recto},
    rows::{By, Contestant, row},
};
use std::{hint::black_box, path::Path};

/// The stores that are read, all with the same entries.
pub struct Readable {
    /// What the table calls each; recto is apart.
    pub peers: Vec<(String, Box<dyn Peer>)>,
    /// recto, filled by `extend`.
    pub recto: Recto,
    /// recto, filled by `insert`, if it is asked for.
    pub inserted: Option<Recto>,
    /// How many entries each holds.
    pub entries: u64,
}

impl Readable {
    fn all(&self) -> impl Iterator<Item = (&str, &dyn Peer)> {
        let ours = [("recto", &self.recto as &dyn Peer)];
        ours.into_iter().chain(self.peers.iter().map(|(name, peer)| (name.as_str(), &**peer)))
    }
}

/// Reads of recto alone, for a profiler: `rounds` rounds of 100,000 over a store that is there; of
/// one kind, untimed, or gets and `get_many` in turn.
pub fn spin(dir: &Path, entries: u64, rounds: usize, kind: Option<&str>) {
    let (recto, mut random) = (Recto::open(dir, Mode::Durable), Random::new(7));
    let keys = random.keys(100_000, entries);
    black_box(recto.gets(&keys));
    let read = |kind: &str| match kind {
        "get" => recto.gets(&keys),
        "get_many" => recto.get_many(&keys, 100),
        "reader" => recto.gets_each(&keys),
        "store" => recto.gets_by_store(&keys),
        "range" => recto.ranges(&keys, 10),
        _ => panic!("no read is called {kind}"),
    };
    // Of one kind nothing is timed: the clocks' first call does not get on with valgrind.
    if let Some(kind) = kind {
        for _ in 0..rounds {
            black_box(read(kind));
        }
        return;
    }
    for _ in 0..rounds {
        for kind in ["get", "get_many"] {
            let (_, took) = time(|| black_box(read(kind)));
            print!("{kind} {} ns ", took.thread.as_nanos() / keys.len() as u128);
        }
        println!();
    }
}

/// Runs all rows that `wanted` wants.
pub fn run(stores: &Readable, rounds: usize, wanted: &dyn Fn(&str) -> bool) {
    let gets = if stores.entries > 2_000_000 { 500_000 } else { 200_000 };
    let size = format!("{} M of A", stores.entries as f64 / 1e6);
    let mut random = Random::new(7);
    let queries: Vec<Vec<Key>> = (0..=rounds).map(|_| random.keys(gets, stores.entries)).collect();
    // Every page is touched before anything counts; the first pass has a row of its own.
    let first = stores.all().map(|(name, peer)| {
        Contestant::timed(name, move |_| {
            black_box(peer.scan());
            stores.entries
        })
    });
    row(&format!("first scan after open, {size}"), By::Thread, 1, first.collect());
    if let Some(inserted) = &stores.inserted {
        black_box(inserted.scan());
    }
    for (_, peer) in stores.all() {
        black_box(peer.gets(&queries[rounds]));
    }
    let title = format!("get, independent, snapshot held, {size}");
    if wanted(&title) {
        let mut cases = over(stores, &queries, |peer, keys| peer.gets(keys));
        if let Some(inserted) = &stores.inserted {
            cases.push(case("recto filled by insert", &queries, |keys| inserted.gets(keys)));
        }
        row(&title, By::Thread, rounds, cases);
    }
    let title = format!("get, dependent, snapshot held, {size}");
    if wanted(&title) {
        let count = gets / 2;
        let cases = stores.all().map(|(name, peer)| {
            Contestant::timed(name, move |round| {
                black_box(peer.gets_dependent(round as u64 * 977, count, stores.entries));
                count as u64
            })
        });
        row(&title, By::Thread, rounds, cases.collect());
    }
    let title = format!("get, each as of now, {size}");
    if wanted(&title) {
        let mut cases = over(stores, &queries, |peer, keys| peer.gets_each(keys));
        cases[0].name = "recto store.reader()".into();
        let by_store = |keys: &[Key]| stores.recto.gets_by_store(keys);
        cases.push(case("recto store.get", &queries, by_store));
        row(&title, By::Thread, rounds, cases);
    }
    for group in [100, 1000] {
        let title = format!("get_many of {group}, {size}");
        if wanted(&title) {
            let cases = over(stores, &queries, move |peer, keys| peer.get_many(keys, group));
            row(&title, By::Thread, rounds, cases);
        }
    }
    ranges(stores, &queries[..rounds], &size, wanted);
    let title = format!("full scan, {size}");
    if wanted(&title) {
        let cases = stores.all().map(|(name, peer)| {
            Contestant::timed(name, move |_| {
                black_box(peer.scan());
                stores.entries
            })
        });
        row(&title, By::Thread, rounds, cases.collect());
    }
}

/// The rows of short ranges.
fn ranges(stores: &Readable, queries: &[Vec<Key>], size: &str, wanted: &dyn Fn(&str) -> bool) {
    for len in [10, 100] {
        let title = format!("range of {len} from a random key, per range, {size}");
        if wanted(&title) {
            let cases = stores.all().map(|(name, peer)| {
                Contestant::timed(name, move |round| {
                    let keys = &queries[round][..queries[round].len() / len];
                    black_box(peer.ranges(keys, len));
                    keys.len() as u64
                })
            });
            row(&title, By::Thread, queries.len(), cases.collect());
        }
    }
}

fn case<'c>(
    name: &str,
    queries: &'c [Vec<Key>],
    read: impl Fn(&[Key]) -> u64 + 'c,
) -> Contestant<'c> {
    Contestant::timed(name, move |round| {
        black_box(read(&queries[round]));
        queries[round].len() as u64
    })
}

fn over<'c>(
    stores: &'c Readable,
    queries: &'c [Vec<Key>],
    read: impl Fn(&dyn Peer, &[Key]) -> u64 + Copy + 'c,
) -> Vec<Contestant<'c>> {
    stores.all().map(|(name, peer)| case(name, queries, move |keys| read(peer, keys))).collect()
}
