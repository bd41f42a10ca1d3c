//! Values of 2 MB: inserted, replaced and read.

use crate::{
    clock::{Probe, time},
    entries::{Data, Key, Random, mix},
    peers::{self, Mode, Peer},
    rows::{By, Contestant, Question, Run},
    sizes,
};
use std::hint::black_box;
use tempfile::TempDir;

const VALUE_BYTES: usize = 2 << 20;
const TERMS: &str = "durable; 1 client, a transaction each; clock: commits and close";

/// What is put: the values come in turn.
struct Large {
    values: Vec<Vec<u8>>,
    count: u64,
    data: Data,
}

/// Runs all rows that are wanted.
pub fn run(run: &Run<'_>) {
    let count = run.operations(200);
    let values = (0..5).map(value).collect();
    let large = &Large { values, count, data: run.data };
    for (times, what) in [(0, "inserted"), (1, "replaced")] {
        let title = format!("values of 2 MB, {count} {what}, each");
        if run.wants(&title) {
            written(run, title, large, times);
        }
    }
    let read = format!("values of 2 MB, {count} read in random order, each");
    let size = format!("values of 2 MB, {count} replaced once, size of all files");
    if !run.wants(&read) && !run.wants(&size) {
        return;
    }
    let dirs: Vec<TempDir> = run.names.iter().map(|name| large.filled(run, name, 2)).collect();
    let bytes: Vec<u64> = dirs.iter().map(|dir| peers::file_bytes(dir.path())).collect();
    sizes::lines(run, &size, &bytes, count * VALUE_BYTES as u64);
    let stores = run.names.iter().zip(&dirs);
    let stores: Vec<(&str, Box<dyn Peer>)> = stores
        .map(|(name, dir)| (*name, peers::open_large(name, dir.path(), Mode::Durable)))
        .collect();
    let cases = stores.iter().map(|(name, peer)| {
        Contestant::reading(name, move |round| {
            let mut order: Vec<u64> = (0..count).collect();
            Random::new(round as u64).shuffle(&mut order);
            let keys: Vec<Key> = order.into_iter().map(|i| large.data.key(i)).collect();
            let keys: Vec<&[u8]> = keys.iter().map(|key| &key[..]).collect();
            (count, black_box(peer.gets(&keys)))
        })
    });
    let terms = "1 thread; clock: its CPU, every byte of a value added up";
    run.row(&Question::new(read, terms, By::Thread), run.rounds, cases.collect());
}

/// The row of values put into stores that hold each key already, or not.
fn written(run: &Run<'_>, title: String, large: &Large, times: u64) {
    let cases = run.names.iter().map(|&name| {
        Contestant::own(name, move |_| {
            let dir = large.filled(run, name, times);
            let peer = peers::open_large(name, dir.path(), Mode::Durable);
            let ((), took) = time(|| {
                large.put_all(&*peer, times);
                peer.close();
            });
            (large.count, took)
        })
    });
    let mut probe = Probe::new(run.root).expect("a probe of the disk");
    let question = Question::new(title, TERMS, By::Wall).putting(VALUE_BYTES as f64);
    run.row_probed(&question, run.few_rounds(), cases.collect(), Some(&mut probe));
}

impl Large {
    /// A closed store in which every value was put so many times.
    fn filled(&self, run: &Run<'_>, name: &str, times: u64) -> TempDir {
        let dir = run.dir();
        let peer = peers::open_large(name, dir.path(), Mode::NoSync);
        (0..times).for_each(|time| self.put_all(&*peer, time));
        peer.close();
        dir
    }

    /// Puts every value, another one than the time before.
    fn put_all(&self, peer: &dyn Peer, time: u64) {
        for i in 0..self.count {
            let value = &self.values[(i + time) as usize % self.values.len()];
            peer.put(&self.data.key(i), value);
        }
    }
}

fn value(number: u64) -> Vec<u8> {
    let words = (0..VALUE_BYTES as u64 / 8).map(|part| mix(number << 32 | part));
    words.flat_map(u64::to_le_bytes).collect()
}
