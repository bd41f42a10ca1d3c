//! The rows that read: random gets, get_many, scans.

use crate::{
    clock::time,
    entries::{Data, Keys, Random},
    loads,
    peers::{self, Mode, Peer, RECTO, Recto},
    rows::{By, Contestant, Question, Run, count},
};
use std::{
    fs,
    hint::black_box,
    path::{Path, PathBuf},
};

/// What the titles of the rows here begin with.
const TITLES: [&str; 6] = [
    "first scan after open",
    "get, independent, snapshot held",
    "get, dependent, snapshot held",
    "get, each as of now",
    "get_many of 100",
    "range of 10 from a random key, per range",
];
const SCAN: &str = "full scan";
const SCAN_SHARED: &str = "full scan on 2 cores (rayon) against one";
const SCAN_SHARED_TERMS: &str =
    "2 threads against 1; clock: the wall, stores open and warm, the pool made";
const TERMS: &str = "1 thread; clock: its CPU, stores open and warm; all filled in random order: \
                     recto by extend, or by inserts in transactions of 1,000, peers by inserts in \
                     one";
/// The ways in which a store of ours is filled, and what the table calls it then: densely, by the
/// bulk path, and as a service fills one, which is what the peers may be held against.
const FILLED: [(&str, &str); 2] = [("slices", ""), ("chunks", " filled by insert")];

/// The stores that are read, all with the same entries.
struct Readable {
    /// What the table calls each; ours are apart.
    peers: Vec<(&'static str, Box<dyn Peer>)>,
    ours: Vec<Ours>,
    entries: u64,
}

/// recto, with pages of one size, filled one way.
struct Ours {
    name: String,
    recto: Recto,
}

impl Readable {
    fn all(&self) -> impl Iterator<Item = (&str, &dyn Peer)> {
        let ours = self.ours.iter().map(|ours| (&*ours.name, &ours.recto as &dyn Peer));
        ours.chain(self.peers.iter().map(|(name, peer)| (*name, &**peer)))
    }
}

/// Reads of recto alone, for a profiler: `rounds` rounds of 100,000 over a store that is there; of
/// one kind, untimed, or gets and `get_many` in turn.
pub fn spin(dir: &Path, entries: u64, rounds: usize, kind: Option<&str>) {
    let (recto, mut random) = (Recto::open(RECTO, dir, Mode::Durable), Random::new(7));
    let keys = random.keys(Data::A, 100_000, entries);
    let keys = keys.slices();
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

/// Runs all rows that are wanted, over `entries` entries; the stores stay in `keep`, if there is
/// one.
pub fn run(run: &Run<'_>, entries: u64, keep: Option<&Path>) {
    let end = format!(", {} of {}", count(entries), run.data);
    let many = ["get_many of 1000", "range of 100 from a random key, per range", SCAN, SCAN_SHARED];
    let mut titles = TITLES.iter().chain(&many).map(|title| format!("{title}{end}"));
    if !titles.any(|title| run.wants(&title)) {
        return;
    }
    let store = |way: &str| store(run, keep, way, entries);
    let named = run.names.iter().filter(|name| !peers::is_ours(name));
    let peers = named
        .map(|&name| (name, peers::open(name, &store(&format!("{name} insert")), Mode::Durable)));
    let ours = run.ours().into_iter().flat_map(|name| {
        FILLED.map(|(how, called)| {
            let recto = Recto::open(name, &store(&format!("{name} {how}")), Mode::Durable);
            Ours { name: format!("{name}{called}"), recto }
        })
    });
    let stores = Readable { peers: peers.collect(), ours: ours.collect(), entries };
    rows(run, &stores, &end);
}

/// A store filled one way, by a child, unless the row of bulk loads has left it there.
pub fn store(run: &Run<'_>, keep: Option<&Path>, way: &str, entries: u64) -> PathBuf {
    let (dir, loaded) = run.loaded(keep, way, entries);
    if !loaded.exists() {
        loads::spawn(way, &dir, entries, run.data);
        fs::write(loaded, []).expect("a note that the store is whole");
    }
    dir
}

fn rows(run: &Run<'_>, stores: &Readable, end: &str) {
    let gets = match stores.entries {
        _ if run.is_quick => 100_000,
        ..=2_000_000 => 200_000,
        _ => 500_000,
    };
    let mut random = Random::new(7);
    let queries = (0..=run.rounds).map(|_| random.keys(run.data, gets, stores.entries));
    let queries: Vec<Keys> = queries.collect();
    let queries: Vec<Vec<&[u8]>> = queries.iter().map(Keys::slices).collect();
    // Every page is touched before anything counts; the first pass has a row of its own.
    let first = Question::new(
        format!("{}{end}", TITLES[0]),
        "1 thread; clock: its CPU, nothing touched since open, the page cache warm",
        By::Thread,
    );
    run.row(&first, 1, scans(stores));
    for (_, peer) in stores.all() {
        black_box(peer.gets(&queries[run.rounds]));
    }
    ask(run, end, TITLES[1], || over(stores, &queries, |peer, keys| peer.gets(keys)));
    ask(run, end, TITLES[2], || dependent(run, stores, gets / 2));
    ask(run, end, TITLES[3], || {
        let mut cases = over(stores, &queries, |peer, keys| peer.gets_each(keys));
        for (at, Ours { name, recto }) in stores.ours.iter().enumerate() {
            // Ours come first.
            cases[at].name = format!("{name} store.reader()");
            let by_store = |keys: &[&[u8]]| recto.gets_by_store(keys);
            cases.push(case(&format!("{name} store.get"), &queries, by_store));
        }
        cases
    });
    for group in [100, 1000] {
        ask(run, end, &format!("get_many of {group}"), || {
            over(stores, &queries, move |peer, keys| peer.get_many(keys, group))
        });
    }
    for len in [10, 100] {
        ask(run, end, &format!("range of {len} from a random key, per range"), || {
            let cases = stores.all().map(|(name, peer)| {
                let queries = &queries;
                Contestant::reading(name, move |round| {
                    let keys = &queries[round][..(queries[round].len() / len).max(1)];
                    (keys.len() as u64, black_box(peer.ranges(keys, len)))
                })
            });
            cases.collect()
        });
    }
    ask(run, end, SCAN, || scans(stores));
    scans_shared(run, stores, end);
}

/// Runs the row of a title, if it is wanted.
fn ask<'c>(run: &Run<'_>, end: &str, title: &str, cases: impl FnOnce() -> Vec<Contestant<'c>>) {
    let title = format!("{title}{end}");
    if run.wants(&title) {
        run.row(&Question::new(title, TERMS, By::Thread), run.rounds, cases());
    }
}

fn scans(stores: &Readable) -> Vec<Contestant<'_>> {
    let cases = stores.all().map(|(name, peer)| {
        Contestant::reading(name, move |_| (stores.entries, black_box(peer.scan())))
    });
    cases.collect()
}

/// recto's scan by two threads beside those by one, by the wall.
fn scans_shared(run: &Run<'_>, stores: &Readable, end: &str) {
    let title = format!("{SCAN_SHARED}{end}");
    if !run.wants(&title) {
        return;
    }
    let pool = rayon::ThreadPoolBuilder::new().num_threads(2).build().expect("two threads");
    let mut cases = scans(stores);
    let is_ours = |name: &str| stores.ours.iter().any(|ours| ours.name == name);
    cases.retain(|case| is_ours(&case.name) || case.name == "lmdb");
    for Ours { name, recto } in &stores.ours {
        let (pool, entries) = (&pool, stores.entries);
        cases.push(Contestant::reading(&format!("{name}, 2 threads"), move |_| {
            (entries, black_box(pool.install(|| recto.scan_in_pool())))
        }));
    }
    run.row(&Question::new(title, SCAN_SHARED_TERMS, By::Wall), run.rounds, cases);
}

fn dependent<'c>(run: &Run<'_>, stores: &'c Readable, count: usize) -> Vec<Contestant<'c>> {
    let data = run.data;
    let cases = stores.all().map(|(name, peer)| {
        Contestant::reading(name, move |round| {
            let start = round as u64 * 977 % stores.entries;
            let end = peer.gets_dependent(data, start, count, stores.entries);
            (count as u64, black_box(end))
        })
    });
    cases.collect()
}

fn case<'c>(
    name: &str,
    queries: &'c [Vec<&[u8]>],
    read: impl Fn(&[&[u8]]) -> u64 + 'c,
) -> Contestant<'c> {
    Contestant::reading(name, move |round| {
        (queries[round].len() as u64, black_box(read(&queries[round])))
    })
}

fn over<'c>(
    stores: &'c Readable,
    queries: &'c [Vec<&[u8]>],
    read: impl Fn(&dyn Peer, &[&[u8]]) -> u64 + Copy + 'c,
) -> Vec<Contestant<'c>> {
    stores.all().map(|(name, peer)| case(name, queries, move |keys| read(peer, keys))).collect()
}
