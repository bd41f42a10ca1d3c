//! What a store tells that it wrote is what the disk was asked to write.

use recto::{Batch, Durability, Options, Result, Stats, Store, Table, simulation::SimDisk};
use std::ops::Bound;

const ROWS: Table<u64, &[u8]> = Table::new("rows");
/// The encoded length of a key of `ROWS`, in bytes.
const KEY_BYTES: u64 = 8;
const VALUE: [u8; 100] = [7; 100];
/// A segment of the log: one is enough for each test, but for the large transaction, which needs
/// none.
const SEGMENT_BYTES: u64 = 1 << 20;

/// A store on a disk that remembers what it was asked. Its log has the spare segment that it wants.
fn opened() -> (SimDisk, Store) {
    let disk = SimDisk::new();
    let options = Options::new().dirty_bytes(256 << 10).log_segment_bytes(SEGMENT_BYTES);
    let store = options.open_simulated(&disk).unwrap();
    store.write(|tx| tx.table(&ROWS)?.insert(0, b"first")).unwrap();
    // The thread that makes the spare segment serves this only behind it, or before and then
    // nothing is left of it once the second is answered.
    store.checkpoint().unwrap();
    store.checkpoint().unwrap();
    (disk, store)
}

/// What `work` did to the disk (bytes written, syncs), and what the store counted meanwhile.
fn measured(
    disk: &SimDisk,
    store: &Store,
    work: impl FnOnce(&Store) -> Result<()>,
) -> ((u64, u64), Stats) {
    let (from, before) = (disk.operations(), store.stats());
    work(store).unwrap();
    let after = store.stats();
    let (mut bytes, mut syncs) = (0, 0);
    for done in (from..disk.operations()).filter_map(|index| disk.describe(index)) {
        let words: Vec<&str> = done.split(' ').collect();
        match words[..] {
            ["write", len, "bytes", ..] => bytes += len.parse::<u64>().unwrap(),
            ["sync", "file", _] => syncs += 1,
            ["grow" | "cut", ..] => {}
            _ => panic!("not expected: {done}"),
        }
    }
    ((bytes, syncs), after.since(&before))
}

/// The store counts what the disk saw.
#[expect(clippy::cast_precision_loss, reason = "small numbers")]
fn agree((bytes, syncs): (u64, u64), counted: &Stats) {
    assert_eq!(counted.bytes_written(), bytes);
    assert_eq!(counted.syncs(), syncs);
    let amplification = bytes as f64 / counted.user_bytes_written as f64;
    assert_eq!(counted.write_amplification(), Some(amplification));
    assert_eq!(counted.syncs_per_commit(), Some(syncs as f64 / counted.commits as f64));
    assert_eq!(counted.bytes_per_commit(), Some(bytes as f64 / counted.commits as f64));
}

#[test]
fn a_commit_writes_its_operations_and_a_header_and_syncs_once() {
    let (disk, store) = opened();
    let (seen, counted) = measured(&disk, &store, |store| {
        store.write(|tx| tx.table(&ROWS)?.insert(1, &VALUE)).map(drop)
    });
    agree(seen, &counted);
    assert_eq!(counted.user_bytes_written, KEY_BYTES + 100);
    // A header of 48 bytes; a tag, a table, two lengths; key and value; padded to whole words.
    assert_eq!(counted.log_bytes_written, (48 + 4 + KEY_BYTES + 100).next_multiple_of(8));
    assert_eq!((counted.page_bytes_written, counted.checkpoint_syncs), (0, 0));
    assert_eq!(counted.syncs_per_commit(), Some(1.0));
}

#[test]
fn a_checkpoint_writes_its_pages_and_what_stands_beside_them() {
    let (disk, store) = opened();
    let (seen, counted) = measured(&disk, &store, |store| {
        store.write_with(Durability::None, |tx| tx.table(&ROWS)?.insert(1, &VALUE))?;
        store.checkpoint()
    });
    agree(seen, &counted);
    // One leaf, the catalog, the list of free space, two meta pages.
    assert_eq!(counted.page_bytes_written, 5 * store.stats().page_bytes as u64);
    // The log that nobody had waited for, the pages, two meta pages.
    assert_eq!((counted.log_syncs, counted.checkpoint_syncs), (0, 4));
}

#[test]
fn every_way_in_counts_the_same_and_what_is_undone_counts_nothing() {
    let (_disk, store) = opened();
    let value = |key: u64| &VALUE[..key as usize];
    let brought = |work: &dyn Fn(&Store) -> Result<()>| {
        let before = store.stats().user_bytes_written;
        work(&store).unwrap();
        store.stats().user_bytes_written - before
    };
    // Keys 10 to 19, each with a value as long as its number.
    let all = 10 * KEY_BYTES + (10..20).sum::<u64>();
    let one_by_one = brought(&|store| {
        store.write(|tx| {
            let mut rows = tx.table(&ROWS)?;
            (10..20).try_for_each(|key| rows.insert(key, value(key)).map(drop))
        })
    });
    let batch = brought(&|store| {
        let mut batch = Batch::new();
        for key in 10..20 {
            batch.insert(&ROWS, key, value(key));
        }
        store.submit(batch)?.wait().map(drop)
    });
    let extended = brought(&|store| {
        store.write(|tx| tx.table(&ROWS)?.extend((10..20).map(|key| (key, value(key))))).map(drop)
    });
    let optimistic = brought(&|store| {
        let mut tx = store.begin();
        (10..20).try_for_each(|key| tx.table(&ROWS)?.insert(key, value(key)).map(drop))?;
        tx.commit().map(drop)
    });
    assert_eq!([one_by_one, batch, extended, optimistic], [all; 4]);
    let removed = brought(&|store| {
        store.write(|tx| {
            let mut rows = tx.table(&ROWS)?;
            assert!(rows.remove(10)? && !rows.remove(10)?);
            rows.remove_range((Bound::Included(11), Bound::Unbounded)).map(drop)
        })
    });
    assert_eq!(removed, 3 * KEY_BYTES);
    let undone = brought(&|store| {
        let failed = store.write(|tx| {
            tx.table(&ROWS)?.insert(10, b"never")?;
            tx.table(&ROWS)?.extend([(11, &b"never"[..])])?;
            Err::<(), _>(recto::Error::Conflict)
        });
        failed.unwrap_err();
        Ok(())
    });
    assert_eq!(undone, 0);
}

#[test]
fn a_transaction_larger_than_the_log_counts_what_it_wrote_early() {
    const ENTRIES: u64 = 20_000;
    let (disk, store) = opened();
    let (seen, counted) = measured(&disk, &store, |store| {
        store.write(|tx| {
            let mut rows = tx.table(&ROWS)?;
            (0..ENTRIES).try_for_each(|key| rows.insert(key, &VALUE).map(drop))
        })
    });
    agree(seen, &counted);
    assert_eq!(counted.user_bytes_written, ENTRIES * (KEY_BYTES + 100));
    assert_eq!((counted.log_bytes_written, counted.log_syncs), (0, 0));
    assert!(counted.page_bytes_written > counted.user_bytes_written);
    let (seen, counted) = measured(&disk, &store, |store| {
        store.write(|tx| {
            tx.table(&ROWS)?.extend((ENTRIES..2 * ENTRIES).map(|key| (key, &VALUE[..])))
        })?;
        Ok(())
    });
    agree(seen, &counted);
    assert_eq!(counted.user_bytes_written, ENTRIES * (KEY_BYTES + 100));
    let amplification = counted.write_amplification().unwrap();
    assert!((1.0..1.3).contains(&amplification), "{amplification} for a load in key order");
}
