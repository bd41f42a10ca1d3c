//! `recto demo`: the Debian package index, read and replaced at once, every answer verified.
//! Absent on purpose: nothing is measured here that is not also checked; `bench` measures alone.

mod live;
mod model;
mod questions;

use crate::{
    arguments::Demo,
    check,
    failure::Result,
    figures::{self, Random, Tally},
    packages::{self, PACKAGES},
    shipped,
};
use live::Live;
use model::{Changes, Faults, Model, Sighting};
use questions::{Asker, compare_with_oracle};
use recto::{Snapshot, Store, WriteTx};
use std::{
    collections::BTreeSet,
    path::Path,
    process::ExitCode,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    thread::ScopedJoinHandle,
    time::{Duration, Instant},
};

/// The most packages that one transaction replaces.
const PACKAGES_PER_TX: usize = 3;
/// How many packages are put back in one transaction at the end.
const RESTORED_PER_TX: usize = 500;

/// Runs the demonstration; fails if anything was found wrong.
pub fn run(demo: &Demo) -> Result<ExitCode> {
    let (dir, is_temporary) = match &demo.dir {
        Some(dir) => (dir.clone(), false),
        None => (std::env::temp_dir().join(format!("recto-demo-{}", std::process::id())), true),
    };
    eprintln!("store in {}", dir.display());
    let is_clean = run_in(&dir, demo)?;
    if !is_clean {
        eprintln!("the store is kept in {}", dir.display());
        return Ok(ExitCode::FAILURE);
    }
    if is_temporary {
        std::fs::remove_dir_all(&dir)?;
    }
    Ok(ExitCode::SUCCESS)
}

fn run_in(dir: &Path, demo: &Demo) -> Result<bool> {
    let store = Store::open(dir)?;
    let faults = Faults::default();
    let model = Arc::new(import(&store, demo.seed)?);
    let first = store.snapshot();
    oracle("as imported", &first, &faults)?;
    let live = Live::new();
    let (record, sightings) = run_threads(&store, &model, &live, &faults, demo);
    println!("{}", record.table());
    let (wrong, revisions) = model.verify(&sightings);
    for sentence in wrong {
        faults.note(sentence);
    }
    eprintln!(
        "{} revisions committed; {} answers compared with the model at their version",
        figures::count(revisions),
        figures::count(sightings.len() as u64)
    );
    oracle("in the first snapshot, held all along", &first, &faults)?;
    drop(first);
    restore(&store, &model)?;
    store.close()?;
    let stats = store.stats();
    eprintln!(
        "{} put in, {} written to the log, {} to the page file: {:.1} bytes a byte",
        figures::bytes(stats.user_bytes_written),
        figures::bytes(stats.log_bytes_written),
        figures::bytes(stats.page_bytes_written),
        stats.write_amplification().unwrap_or_default()
    );
    drop(store);
    let reopened = Store::open(dir)?;
    unchanged(&reopened.snapshot(), &model, &faults)?;
    oracle("put back and opened again", &reopened.snapshot(), &faults)?;
    faults.expect("check", check::with_progress(&reopened));
    reopened.close()?;
    draw(&record, &demo.svg)?;
    let (count, sentences) = faults.take();
    for sentence in sentences {
        eprintln!("WRONG: {sentence}");
    }
    println!("{count} discrepancies");
    Ok(count == 0)
}

fn import(store: &Store, seed: u64) -> Result<Model> {
    let began = Instant::now();
    let index = shipped::packages()?;
    let (read, began) = (began.elapsed(), Instant::now());
    let imported = store.write(|tx| packages::import(tx, &index))?;
    eprintln!(
        "{} packages and {} relations read in {:.2} s, imported in {:.2} s",
        figures::count(imported.packages),
        figures::count(imported.relations),
        read.as_secs_f64(),
        began.elapsed().as_secs_f64()
    );
    Ok(Model::new(index, seed, store.snapshot().version()))
}

fn oracle(when: &str, snapshot: &Snapshot, faults: &Faults) -> Result<()> {
    let differ = compare_with_oracle(snapshot)?;
    let asked = shipped::oracle().len();
    eprintln!("rdepends equals apt's for {} of {asked} names, {when}", asked - differ.len());
    for name in differ {
        faults.note(format!("rdepends of {name} is not what apt answers, {when}"));
    }
    Ok(())
}

/// Readers and writers side by side for as long as was asked.
fn run_threads(
    store: &Store,
    model: &Arc<Model>,
    live: &Live,
    faults: &Faults,
    demo: &Demo,
) -> (live::Record, Vec<Sighting>) {
    let is_over = AtomicBool::new(false);
    let mut seeds = Random::new(demo.seed);
    std::thread::scope(|scope| {
        let readers: Vec<ScopedJoinHandle<'_, Vec<Sighting>>> = (0..demo.readers)
            .map(|_| {
                let (random, is_over) = (Random::new(seeds.next()), &is_over);
                scope.spawn(move || {
                    let tally = Tally::new(&live.reads);
                    let mut asker = Asker::new(store, model, faults, tally, random);
                    while !is_over.load(Relaxed) {
                        asker.ask();
                    }
                    asker.into_sightings()
                })
            })
            .collect();
        for _ in 0..demo.writers {
            let (random, is_over) = (Random::new(seeds.next()), &is_over);
            scope.spawn(move || {
                let tally = Tally::new(&live.commits);
                write_until(is_over, store, model, faults, tally, random);
            });
        }
        let record = live.watch(store, Duration::from_secs_f64(demo.seconds));
        is_over.store(true, Relaxed);
        let joined = readers.into_iter().map(|reader| match reader.join() {
            Ok(sightings) => sightings,
            Err(panic) => std::panic::resume_unwind(panic),
        });
        (record, joined.flatten().collect())
    })
}

fn write_until(
    is_over: &AtomicBool,
    store: &Store,
    model: &Arc<Model>,
    faults: &Faults,
    mut tally: Tally<'_>,
    mut random: Random,
) {
    while !is_over.load(Relaxed) {
        let count = 1 + random.below(PACKAGES_PER_TX);
        let any = |_| random.below(model.packages().len()) as u32;
        let chosen: BTreeSet<u32> = (0..count).map(any).collect();
        let began = Instant::now();
        let committed = replace(store, model, chosen);
        tally.record(began);
        let Some((version, changes)) = faults.expect("a commit failed", committed) else { return };
        let shown = store.snapshot().version();
        if shown < version {
            faults.note(format!("version {version} was answered, but {shown} is shown"));
        }
        faults.expect("versions", model.record(version, changes));
    }
}

/// One transaction: each package gets its next revision, whichever that is by then.
fn replace(
    store: &Store,
    model: &Arc<Model>,
    chosen: BTreeSet<u32>,
) -> recto::Result<(u64, Changes)> {
    let model = model.clone();
    let commit = store.submit_with(move |tx: &mut WriteTx<'_>| {
        let mut changes = Vec::new();
        for package in chosen {
            let name = &*model.packages()[package as usize].name;
            let record = tx.table(&PACKAGES)?.get(name)?;
            let revision = record.map_or(0, |(revision, ..)| revision) + 1;
            packages::replace(tx, revision, &model.content(package, revision))?;
            changes.push((package, revision));
        }
        Ok(changes)
    })?;
    let version = commit.durable().wait()?;
    Ok((version, commit.wait()?))
}

/// Puts every package back to what was imported.
fn restore(store: &Store, model: &Model) -> Result<()> {
    let newest: Vec<(u32, u64)> = model.newest().into_iter().collect();
    for some in newest.chunks(RESTORED_PER_TX) {
        store.write(|tx| {
            for &(package, revision) in some {
                packages::replace(tx, revision + 1, &model.content(package, 0))?;
            }
            Ok(())
        })?;
    }
    Ok(())
}

/// Compares all packages with what was imported.
fn unchanged(snapshot: &Snapshot, model: &Model, faults: &Faults) -> Result<()> {
    for package in model.packages() {
        if packages::relations(snapshot, &package.name)? != package.relations {
            faults
                .note(format!("{} is not what was imported, after all was put back", package.name));
        }
    }
    Ok(())
}

fn draw(record: &live::Record, svg: &Path) -> Result<()> {
    record.draw(svg)?;
    eprintln!("rates and latencies are drawn in {}", svg.display());
    Ok(())
}
