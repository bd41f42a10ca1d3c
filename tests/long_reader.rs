//! A reader that stays costs what it can see, and nothing more.

use recto::{Batch, Commit, Durability, Options, Result, Snapshot, Stats, Store, Table};
use std::{env, time::Instant};

const ROWS: Table<u64, &[u8]> = Table::new("rows");
const ROW_COUNT: u64 = 10_000;
const VALUE_BYTES: usize = 100;
const BATCH_WRITES: u64 = 100;
/// What one checkpoint may hold.
const DIRTY_BYTES: u64 = 6 << 20;

/// Updates of the long test; `RECTO_UPDATES` asks for more.
fn updates() -> u64 {
    env::var("RECTO_UPDATES").map_or(1_000_000, |updates| updates.parse().unwrap())
}

#[test]
fn a_snapshot_held_through_a_million_updates_costs_only_what_it_sees() -> Result<()> {
    let dir = tempfile::tempdir().unwrap();
    let store = filled(dir.path(), Durability::None)?;
    store.checkpoint()?;
    let live = used_bytes(&store.stats());
    let snapshot = store.snapshot();
    let began = Instant::now();
    let (file_bytes_max, frame_bytes_max) = update(&store, updates())?;
    let held = began.elapsed();
    let checkpoints = store.stats().checkpoints;
    println!(
        "{} updates in {held:?} with a snapshot held: live data {live} bytes, file at most \
         {file_bytes_max}, frames at most {frame_bytes_max}; {checkpoints} checkpoints",
        updates()
    );
    assert!(checkpoints > 10, "only {checkpoints} checkpoints");
    let allowed = 2 * live + DIRTY_BYTES;
    assert!(file_bytes_max <= allowed, "the file grew to {file_bytes_max} bytes of {allowed}");
    assert!(frame_bytes_max <= allowed, "frames grew to {frame_bytes_max} bytes of {allowed}");
    assert_shows_round(&snapshot, 0)?;
    drop(snapshot);
    store.check()?;
    store.close()?;
    Ok(())
}

/// What the snapshot costs beside the same updates without it: one copy of what it sees.
#[test]
fn a_held_snapshot_costs_no_more_than_one_copy_of_the_data() -> Result<()> {
    let file_bytes = |held: bool| {
        let dir = tempfile::tempdir().unwrap();
        let store = filled(dir.path(), Durability::None)?;
        store.checkpoint()?;
        let live = used_bytes(&store.stats());
        let snapshot = held.then(|| store.snapshot());
        let (file_bytes_max, _) = update(&store, updates() / 10)?;
        snapshot.map_or(Ok(()), |snapshot| assert_shows_round(&snapshot, 0))?;
        Ok::<_, recto::Error>((live, file_bytes_max))
    };
    let ((live, without), (_, with)) = (file_bytes(false)?, file_bytes(true)?);
    println!("live data {live} bytes, file at most {without} without, {with} with a snapshot");
    // How far the file grows without it differs a little from run to run.
    assert!(with <= without + 2 * live, "{with} bytes of file, {without} without a snapshot");
    Ok(())
}

/// The same with a snapshot taken before its pages were ever written to the file: what it holds are
/// frames.
#[test]
fn a_snapshot_of_dirty_pages_keeps_only_its_own_frames() -> Result<()> {
    let dir = tempfile::tempdir().unwrap();
    let store = filled(dir.path(), Durability::None)?;
    update(&store, 2_000)?;
    let values = contents(&store.snapshot())?;
    let snapshot = store.snapshot();
    let live = used_bytes(&store.stats());
    let (_, frame_bytes_max) = update(&store, updates() / 10)?;
    let allowed = 2 * live + DIRTY_BYTES;
    println!("live data {live} bytes, frames at most {frame_bytes_max} bytes");
    assert!(frame_bytes_max <= allowed, "frames grew to {frame_bytes_max} bytes of {allowed}");
    assert!(contents(&snapshot)? == values, "the snapshot has changed");
    store.check()?;
    Ok(())
}

#[test]
fn a_hundred_versions_pinned_at_once_each_show_their_own() -> Result<()> {
    let dir = tempfile::tempdir().unwrap();
    let store = filled(dir.path(), Durability::None)?;
    let mut pinned = Vec::new();
    for round in 1..=100 {
        // Every row changes, so that each version has pages of its own.
        write_round(&store, round, 1000)?;
        pinned.push((round, store.snapshot()));
    }
    settle(&store)?;
    let with_pins = store.stats();
    assert_eq!(with_pins.snapshots, 100);
    for (round, snapshot) in &pinned {
        assert_shows_rows(snapshot, *round, 1000)?;
    }
    // From the middle, the oldest, the newest: in no order of theirs.
    while !pinned.is_empty() {
        let place = [pinned.len() / 2, 0, pinned.len() - 1][pinned.len() % 3];
        pinned.swap_remove(place);
        if let Some((round, snapshot)) = pinned.get(place / 2) {
            assert_shows_rows(snapshot, *round, 1000)?;
        }
        write_round(&store, 200 + pinned.len() as u64, 10)?;
    }
    settle(&store)?;
    let stats = store.stats();
    println!(
        "waiting pages: {} with 100 pins, {} after",
        with_pins.waiting_pages, stats.waiting_pages
    );
    assert_eq!(stats.snapshots, 0);
    assert!(with_pins.waiting_pages > 1000, "pins of 100 versions kept nothing");
    assert!(stats.waiting_pages < 100, "{} pages are still kept", stats.waiting_pages);
    store.check()?;
    Ok(())
}

#[test]
fn a_thousand_snapshots_churned_leave_nothing_behind() -> Result<()> {
    let dir = tempfile::tempdir().unwrap();
    let store = filled(dir.path(), Durability::None)?;
    settle(&store)?;
    let before = store.stats();
    let mut held = Vec::new();
    for round in 0..1000 {
        write_round(&store, round, 10)?;
        held.push((round, store.snapshot()));
        if held.len() > 7 {
            let (round, snapshot) = held.swap_remove((round % 7) as usize);
            assert_shows_rows(&snapshot, round, 10)?;
        }
    }
    held.clear();
    settle(&store)?;
    let after = store.stats();
    assert_eq!(after.snapshots, 0);
    assert!(after.waiting_pages < 100, "{} pages are still kept", after.waiting_pages);
    assert!(
        after.frame_bytes <= before.frame_bytes + 64 * 4096,
        "frames grew from {} to {} bytes",
        before.frame_bytes,
        after.frame_bytes
    );
    assert!(
        file_bytes(&after) <= file_bytes(&before) + 2 * DIRTY_BYTES,
        "the file grew from {} to {} bytes",
        file_bytes(&before),
        file_bytes(&after)
    );
    store.check()?;
    Ok(())
}

/// Checkpoints and commits: what old readers and meta pages held comes back, and the gauges, which
/// are those of the last group but one when a commit is answered, tell so.
fn settle(store: &Store) -> Result<()> {
    for _ in 0..2 {
        store.write(|tx| tx.table(&ROWS)?.insert(ROW_COUNT - 1, &value(0, 0)))?;
        store.checkpoint()?;
        store.write(|_| Ok(()))?;
        store.write(|_| Ok(()))?;
    }
    Ok(())
}

fn filled(dir: &std::path::Path, durability: Durability) -> Result<Store> {
    let options = Options::new().dirty_bytes(DIRTY_BYTES).log_segment_bytes(1 << 20);
    let store = options.durability(durability).open(dir)?;
    store.write(|tx| {
        let mut rows = tx.table(&ROWS)?;
        for row in 0..ROW_COUNT {
            rows.insert(row, &value(row, 0))?;
        }
        Ok(())
    })?;
    Ok(store)
}

/// Updates rows in no order, in batches, a few of which are on their way at a time. The greatest
/// size of the page file and of the frames meanwhile.
fn update(store: &Store, updates: u64) -> Result<(u64, u64)> {
    let (mut file_bytes_max, mut frame_bytes_max) = (0, 0);
    let mut seed = 88_172_645_463_325_252_u64;
    let mut commits: Vec<Commit> = Vec::new();
    for round in 1..=updates / BATCH_WRITES {
        let mut batch = Batch::new();
        for _ in 0..BATCH_WRITES {
            seed ^= seed << 13;
            seed ^= seed >> 7;
            seed ^= seed << 17;
            let row = seed % ROW_COUNT;
            batch.insert(&ROWS, row, &value(row, round));
        }
        commits.push(store.submit(batch)?);
        if commits.len() == 16 {
            for commit in commits.drain(..) {
                commit.wait()?;
            }
            let stats = store.stats();
            file_bytes_max = file_bytes_max.max(file_bytes(&stats));
            frame_bytes_max = frame_bytes_max.max(stats.frame_bytes);
        }
    }
    commits.into_iter().try_for_each(|commit| commit.wait().map(drop))?;
    Ok((file_bytes_max, frame_bytes_max))
}

fn write_round(store: &Store, round: u64, rows: u64) -> Result<()> {
    let mut batch = Batch::new();
    for row in 0..rows {
        batch.insert(&ROWS, row * (ROW_COUNT / rows), &value(row, round));
    }
    store.submit(batch)?.wait().map(drop)
}

fn assert_shows_rows(snapshot: &Snapshot, round: u64, rows: u64) -> Result<()> {
    let table = snapshot.table(&ROWS)?;
    assert_eq!(table.len()?, ROW_COUNT);
    for row in 0..rows {
        let found = table.get(row * (ROW_COUNT / rows))?;
        assert_eq!(found, Some(&value(row, round)[..]), "row {row} of round {round}");
    }
    Ok(())
}

fn assert_shows_round(snapshot: &Snapshot, round: u64) -> Result<()> {
    let mut row = 0;
    for entry in snapshot.table(&ROWS)?.iter()? {
        let (key, found) = entry?;
        assert_eq!((key, found), (row, &value(row, round)[..]));
        row += 1;
    }
    assert_eq!(row, ROW_COUNT);
    Ok(())
}

fn contents(snapshot: &Snapshot) -> Result<Vec<(u64, Vec<u8>)>> {
    let rows = snapshot.table(&ROWS)?;
    rows.iter()?.map(|entry| entry.map(|(row, value)| (row, value.to_vec()))).collect()
}

fn value(row: u64, round: u64) -> [u8; VALUE_BYTES] {
    let mut value = [row as u8; VALUE_BYTES];
    value[..8].copy_from_slice(&round.to_be_bytes());
    value[8..16].copy_from_slice(&row.to_be_bytes());
    value
}

fn file_bytes(stats: &Stats) -> u64 {
    stats.file_pages * stats.page_bytes as u64
}

fn used_bytes(stats: &Stats) -> u64 {
    (stats.file_pages - stats.free_pages) * stats.page_bytes as u64
}
