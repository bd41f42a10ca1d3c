//! What the map's pages cost: a slot's lookup, a page's first touch, and whether huge pages or
//! mapping in ahead (`Options::map_huge_pages`, `map_prefault`) pay for random gets.
//!
//! `cargo bench --bench map -- ENTRIES DIR`: 1,000,000 entries of 24 + 150 bytes, loaded in random
//! order, in the system's folder for what is temporary unless told otherwise. Stores are opened in
//! turns with each advice, once with the page cache as the load left it (*written*), and once with
//! the file put out of it first (*evicted*; a file system in memory keeps it). Medians of all
//! turns. First pass: one get for each leaf, in no order; its pages are cold, and it waits for the
//! device. First touch: what the pass costs the CPU beyond a second one over the same keys: the
//! checksum and the page fault. Gets: random keys, the thread's CPU time.

use recto::{
    Durability, Options, Store, Table,
    internals::slots::{Slot, Slots},
};
use rooms::{key, mix, value};
use rustix::{
    fs::{Advice, fadvise},
    time::{ClockId, clock_gettime},
};
use std::{fs::File, hint::black_box, path::Path, time::Instant};

const ROWS: Table<&[u8], &[u8]> = Table::new("rows");
const TURNS: u64 = 5;
const GETS: u64 = 500_000;
const NAMES: [&str; 4] = ["as it comes", "huge pages", "prefault", "both"];

fn advised(name: &str) -> Options {
    let options = Options::new().durability(Durability::None);
    let has = |advice| name == advice || name == "both";
    options.map_huge_pages(has("huge pages")).map_prefault(has("prefault"))
}

/// One turn: opening in milliseconds, the rest in nanoseconds a get.
struct Turn {
    open: f64,
    first: Pass,
    second: Pass,
    gets: Pass,
}

/// Nanoseconds a get, by two clocks.
struct Pass {
    wall: f64,
    thread: f64,
}

fn main() {
    // What cargo adds begins with a dash.
    let words: Vec<String> = std::env::args().skip(1).filter(|w| !w.starts_with('-')).collect();
    let entries = words.first().map_or(1_000_000, |word| word.parse().expect("a count"));
    let place = words.get(1).map_or_else(std::env::temp_dir, Into::into);
    lookups();
    let folder = tempfile::tempdir_in(place).expect("a folder");
    let leaves = load(folder.path(), entries);
    println!("{entries} entries, {} leaves, in {}", leaves.len(), folder.path().display());
    println!("| page cache | map | open, ms | first pass, ns a get | first touch, ns | get, ns |");
    println!("|---|---|---|---|---|---|");
    for is_evicted in [false, true] {
        let mut turns = NAMES.map(|_| Vec::new());
        for number in 0..TURNS {
            for i in 0..NAMES.len() {
                // Each goes first in turn.
                let i = (i + number as usize) % NAMES.len();
                turns[i].push(turn(folder.path(), NAMES[i], &leaves, entries, is_evicted));
            }
        }
        for (name, turns) in NAMES.iter().zip(&turns) {
            let at = |of: fn(&Turn) -> f64| median(turns.iter().map(of).collect());
            let cache = if is_evicted { "evicted" } else { "written" };
            let (open, first) = (at(|turn| turn.open), at(|turn| turn.first.wall));
            let touch = at(|turn| turn.first.thread - turn.second.thread);
            let get = at(|turn| turn.gets.thread);
            println!("| {cache} | {name} | {open:.1} | {first:.0} | {touch:.0} | {get:.0} |");
        }
    }
}

/// A slot's lookup alone, each page number from the one before: in the CPU's caches, and not.
fn lookups() {
    for pages in [10_000u32, 20_000_000] {
        let slots = Slots::default();
        slots.grow(pages);
        let walk = |is_looked_up: bool| {
            let began = thread_nanos();
            let mut page = 0;
            for step in 0..2_000_000 {
                // A cold page adds nothing; the CPU does not know that.
                let word = if is_looked_up { u64::from(slots.load(page) != Slot::Cold) } else { 0 };
                page = (mix(u64::from(page) + step + word) % u64::from(pages)) as u32;
            }
            black_box(page);
            (thread_nanos() - began) / 2e6
        };
        let rounds = (0..5).map(|_| walk(true) - walk(false));
        println!("slot of one of {pages} pages: {:.1} ns", median(rounds.collect()));
    }
}

/// Fills a store; the first key of each leaf, in no order.
fn load(dir: &Path, entries: u64) -> Vec<[u8; 24]> {
    let store = advised(NAMES[0]).open(dir).expect("a store");
    let values: Vec<_> = (0..entries).map(|i| (key(i), value(i))).collect();
    let rows = values.iter().map(|(key, value)| (&key[..], &value[..]));
    store.write(|tx| tx.table(&ROWS)?.extend(rows)).expect("room");
    let snapshot = store.snapshot();
    let rows = snapshot.table(&ROWS).expect("a table");
    let report = snapshot.raw_table("rows").expect("a table").expect("a table").report();
    let each = entries.div_ceil(report.expect("a report").leaves) as usize;
    let mut keys: Vec<[u8; 24]> = Vec::new();
    for entry in rows.iter().expect("rows").step_by(each) {
        let (key, _) = entry.expect("a row");
        keys.push(key.try_into().expect("a key of 24 bytes"));
    }
    keys.sort_by_key(|key| mix(u64::from_le_bytes(key[..8].try_into().expect("8 bytes"))));
    drop(snapshot);
    store.close().expect("room");
    keys
}

fn turn(dir: &Path, name: &str, leaves: &[[u8; 24]], entries: u64, is_evicted: bool) -> Turn {
    let file = File::open(dir.join("pages")).expect("a page file");
    if is_evicted {
        file.sync_all().expect("a sync");
        fadvise(&file, 0, None, Advice::DontNeed).expect("advice");
    }
    let began = Instant::now();
    let store = advised(name).open(dir).expect("a store");
    let open = began.elapsed().as_secs_f64() * 1e3;
    let (first, second) = (pass(&store, leaves), pass(&store, leaves));
    let keys: Vec<_> = (0..GETS).map(|i| key(mix(i) % entries)).collect();
    pass(&store, &keys);
    let gets = pass(&store, &keys);
    store.close().expect("room");
    Turn { open, first, second, gets }
}

fn pass(store: &Store, keys: &[[u8; 24]]) -> Pass {
    let snapshot = store.snapshot();
    let rows = snapshot.table(&ROWS).expect("a table");
    let (began, thread_began) = (Instant::now(), thread_nanos());
    for key in keys {
        let value = rows.get(&key[..]).expect("a page").expect("a row");
        black_box(value[0]);
    }
    let count = keys.len() as f64;
    let wall = began.elapsed().as_nanos() as f64 / count;
    Pass { wall, thread: (thread_nanos() - thread_began) / count }
}

fn thread_nanos() -> f64 {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    time.tv_sec as f64 * 1e9 + time.tv_nsec as f64
}

fn median(mut of: Vec<f64>) -> f64 {
    of.sort_by(f64::total_cmp);
    of[of.len() / 2]
}
