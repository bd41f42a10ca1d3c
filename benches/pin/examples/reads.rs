//! Reads for `benches/instructions/stores` to watch: two threads in turn, both alive to the end, so
//! that what belongs to one of them is not handed on to the other.
//!
//! `reads KIND COUNT DIR`: each thread reads every key once, marks the begin, reads COUNT times,
//! and marks the end. A mark is a store to one word, whose address is printed first.

use recto::{Result, Store, Table};
use std::{
    env,
    hint::black_box,
    sync::{
        Barrier,
        atomic::{AtomicU64, Ordering::SeqCst},
    },
    thread,
};

const ROWS: Table<u64, u64> = Table::new("rows");
const ENTRIES: u64 = 1000;

static MARK: AtomicU64 = AtomicU64::new(0);

/// What one read of a kind is.
fn reading<'s>(store: &'s Store, kind: &str) -> Box<dyn FnMut(u64) -> Result<Option<u64>> + 's> {
    match kind {
        "reader" => {
            let mut reader = store.reader();
            Box::new(move |key| reader.snapshot().table(&ROWS)?.get(key))
        }
        "held" => {
            let snapshot = store.snapshot();
            Box::new(move |key| snapshot.table(&ROWS)?.get(key))
        }
        "guard" => Box::new(|key| store.read(|view| view.table(&ROWS)?.get(key))),
        "get" => Box::new(|key| store.get(&ROWS, key)),
        "snapshot" => Box::new(|key| store.snapshot().table(&ROWS)?.get(key)),
        _ => panic!("no read is called {kind}"),
    }
}

fn run(kind: &str, count: u64, dir: &str) -> Result<()> {
    let store = Store::open(dir)?;
    store.write(|tx| tx.table(&ROWS)?.extend((0..ENTRIES).map(|key| (key, key))))?;
    // Opened again, every page is clean and is read through the map.
    store.close()?;
    drop(store);
    let store = Store::open(dir)?;
    let turns = Barrier::new(2);
    thread::scope(|scope| {
        for turn in 0..2 {
            let (store, turns) = (&store, &turns);
            scope.spawn(move || {
                let mut read = reading(store, kind);
                for phase in 0..2 {
                    if phase == turn {
                        (0..ENTRIES).for_each(|key| assert_eq!(read(key).ok(), Some(Some(key))));
                        MARK.fetch_add(1, SeqCst);
                        (0..count).for_each(|i| _ = black_box(read(i % ENTRIES)));
                        MARK.fetch_add(1, SeqCst);
                    }
                    turns.wait();
                }
            });
        }
    });
    store.close().map(drop)
}

fn main() -> Result<()> {
    println!("{:x}", MARK.as_ptr().addr());
    let words: Vec<String> = env::args().skip(1).collect();
    let [kind, count, dir] = words.as_slice() else { panic!("reads KIND COUNT DIR") };
    run(kind, count.parse().expect("a count"), dir)
}
