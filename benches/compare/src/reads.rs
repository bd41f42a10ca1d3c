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
    /// recto, filled by `insert`.
    pub inserted: Recto,
    /// How many entries each holds.
    pub entries: u64,
}

impl Readable {
    fn all(&self) -> impl Iterator<Item = (&str, &dyn Peer)> {
        let ours = [("recto", &self.recto as &dyn Peer)];
        ours.into_iter().chain(self.peers.iter().map(|(name, peer)| (name.as_str(), &**peer)))
    }
}

/// Gets of recto alone, for a profiler: `rounds` rounds of 100,000 over a store that is there.
pub fn spin(dir: &Path, entries: u64, rounds: usize) {
    let (recto, mut random) = (Recto::open(dir, Mode::Durable), Random::new(7));
    let keys = random.keys(100_000, entries);
    black_box(recto.gets(&keys));
    for _ in 0..rounds {
        let (_, took) = time(|| black_box(recto.gets(&keys)));
        let (_, many) = time(|| black_box(recto.get_many(&keys, 100)));
        println!(
            "get {} ns, get_many {} ns",
            took.thread.as_nanos() / 100_000,
            many.thread.as_nanos() / 100_000
        );
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
    black_box(stores.inserted.scan());
    for (_, peer) in stores.all() {
        black_box(peer.gets(&queries[rounds]));
    }
    let title = format!("get, independent, snapshot held, {size}");
    if wanted(&title) {
        let mut cases = over(stores, &queries, |peer, keys| peer.gets(keys));
        cases.push(case("recto filled by insert", &queries, |keys| stores.inserted.gets(keys)));
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
