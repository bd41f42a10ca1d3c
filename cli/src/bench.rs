//! `recto bench`: what a store does on this machine, in figures.
//! Owns: the parts of the bench. They share one table, which goes away at the end; each says what
//! it measures, by how many threads and at which durability.

use crate::{
    arguments,
    failure::{Failure, Result},
    figures::{self, Latencies, Random, Tally, histogram},
    opening,
    plot::{self, Line, Panel},
};
use hdrhistogram::Histogram;
use indicatif::ProgressBar;
use recto::{Batch, Durability, Stats, Store, Table};
use serde_json::{Value as Json, json};
use std::{
    io::{Write, stdout},
    process::ExitCode,
    sync::{
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
        mpsc,
    },
    time::{Duration, Instant},
};

/// Keys that look random, and values of 150 bytes, as in redb's own benchmark.
const ENTRIES: Table<[u8; 24], &[u8]> = Table::new("recto bench");
const VALUE_BYTES: usize = 150;
/// Lookups in one `get_many`.
const MANY: usize = 100;
/// Inserts in one batch.
const BATCH: usize = 1000;
/// How long a closure keeps the writer while readers go on.
const STALL: Duration = Duration::from_secs(1);
/// Updates of one turn behind a snapshot, at most: one for each entry.
const UPDATES_MAX: u64 = 250_000;
/// What is compared takes turns, so often each, so that other load on the machine meets both.
const TURNS: usize = 3;

/// What one part measured.
struct Part {
    name: String,
    /// What is counted: gets, entries, commits.
    unit: &'static str,
    units: u64,
    elapsed: Duration,
    /// Of each operation.
    latency: Histogram<u64>,
    remark: String,
}

/// Runs every part.
pub fn run(arguments: &arguments::Bench) -> Result<ExitCode> {
    if arguments.entries == 0 || arguments.readers == 0 {
        return Err(Failure::input("a bench needs at least one entry and one reader"));
    }
    let store = opening::to_fill(&arguments.dir)?;
    if store.tables()?.iter().any(|name| name == ENTRIES.name()) {
        store.drop_table(ENTRIES.name())?;
    }
    let bench = Bench {
        store: &store,
        entries: arguments.entries,
        run_time: Duration::from_secs_f64(arguments.seconds),
        readers: arguments.readers,
    };
    let bar = ProgressBar::new_spinner();
    bar.enable_steady_tick(Duration::from_millis(100));
    let result = bench.parts(&bar);
    bar.finish_and_clear();
    store.drop_table(ENTRIES.name())?;
    store.close()?;
    let parts = result?;
    print(&parts, arguments)?;
    if let Some(svg) = &arguments.svg {
        plot::draw(svg, &[latencies(&parts)])?;
    }
    Ok(ExitCode::SUCCESS)
}

struct Bench<'s> {
    store: &'s Store,
    entries: u64,
    run_time: Duration,
    readers: usize,
}

impl Bench<'_> {
    fn parts(&self, bar: &ProgressBar) -> Result<Vec<Part>> {
        let mut parts = Vec::new();
        let mut add = |part: Part| {
            bar.println(part.line());
            parts.push(part);
        };
        bar.set_message("loading");
        add(self.load()?);
        bar.set_message("reading");
        add(self.gets(1)?);
        if self.readers > 1 {
            add(self.gets(self.readers)?);
        }
        add(self.get_many()?);
        add(self.scan()?);
        bar.set_message("committing");
        for clients in [1, 8, 50] {
            add(self.commits(clients)?);
        }
        add(self.batches()?);
        bar.set_message("updating, in closures and ahead of the writer");
        add(self.closures()?);
        add(self.transactions()?);
        bar.set_message("reading while a transaction sleeps");
        self.stall()?.into_iter().for_each(&mut add);
        bar.set_message("updating behind a snapshot");
        self.long_reader()?.into_iter().for_each(&mut add);
        Ok(parts)
    }

    fn load(&self) -> Result<Part> {
        let value = [7; VALUE_BYTES];
        let began = Instant::now();
        let entries = (0..self.entries).map(|i| (key(i), &value[..]));
        self.store.write(|tx| tx.table(&ENTRIES)?.extend(entries))?;
        let elapsed = began.elapsed();
        let name = "bulk load, one transaction";
        let mut part = Part::of(name, "entries", self.entries, elapsed, histogram());
        part.remark = amplification(&self.store.stats());
        Ok(part)
    }

    fn gets(&self, threads: usize) -> Result<Part> {
        let name = format!("random get, {threads} threads");
        self.timed(name, "gets", threads, 1, |mut random, store| {
            let mut reader = store.reader();
            let entries = self.entries as usize;
            move || {
                let key = key(random.below(entries) as u64);
                let found = reader.snapshot().table(&ENTRIES)?.get(key)?;
                expect_found(found.is_some());
                Ok(())
            }
        })
    }

    fn get_many(&self) -> Result<Part> {
        let name = format!("get_many of {MANY}, 1 thread");
        self.timed(name, "gets", 1, MANY as u64, |mut random, store| {
            let mut reader = store.reader();
            let entries = self.entries as usize;
            move || {
                let keys: Vec<[u8; 24]> =
                    (0..MANY).map(|_| key(random.below(entries) as u64)).collect();
                let found = reader.snapshot().table(&ENTRIES)?.get_many(keys)?;
                expect_found(found.iter().all(Option::is_some));
                Ok(())
            }
        })
    }

    fn scan(&self) -> Result<Part> {
        let snapshot = self.store.snapshot();
        let began = Instant::now();
        let (mut seen, mut value_bytes) = (0u64, 0usize);
        for entry in snapshot.table(&ENTRIES)?.iter()? {
            value_bytes += entry?.1.len();
            seen += 1;
        }
        expect_found(seen == self.entries && value_bytes == VALUE_BYTES * seen as usize);
        let elapsed = began.elapsed();
        Ok(Part::of("full scan, 1 thread", "entries", seen, elapsed, histogram()))
    }

    fn commits(&self, clients: usize) -> Result<Part> {
        let before = self.store.stats();
        let name = format!("durable one-key commit, {clients} clients");
        let mut part = self.timed(name, "commits", clients, 1, |mut random, store| {
            move || {
                let mut batch = Batch::new().durability(Durability::Sync);
                batch.insert(&ENTRIES, key(random.next()), &[9; VALUE_BYTES]);
                store.submit(batch)?.wait().map(drop)
            }
        })?;
        let did = self.store.stats().since(&before);
        let syncs = did.syncs_per_commit().unwrap_or_default();
        let bytes = did.bytes_per_commit().unwrap_or_default();
        part.remark = format!("{syncs:.3} syncs and {bytes:.0} bytes a commit");
        Ok(part)
    }

    fn batches(&self) -> Result<Part> {
        let name = format!("batch of {BATCH} random inserts, not durable");
        self.store.checkpoint()?;
        let before = self.store.stats();
        let mut part = self.timed(name, "inserts", 1, BATCH as u64, |mut random, store| {
            move || {
                let mut batch = Batch::new().durability(Durability::None);
                for _ in 0..BATCH {
                    batch.insert(&ENTRIES, key(random.next()), &[9; VALUE_BYTES]);
                }
                store.submit(batch)?.wait().map(drop)
            }
        })?;
        self.store.checkpoint()?;
        part.remark = amplification(&self.store.stats().since(&before));
        Ok(part)
    }

    /// Reads a key and replaces its value, in closures on the writer thread.
    fn closures(&self) -> Result<Part> {
        let name = format!("read and replace in closures, {} threads, not durable", self.readers);
        self.timed(name, "commits", self.readers, 1, |mut random, store| {
            let entries = self.entries as usize;
            move || {
                let key = key(random.below(entries) as u64);
                store.write_with(Durability::None, |tx| {
                    let mut rows = tx.table(&ENTRIES)?;
                    let next = next_value(rows.get(key)?);
                    rows.insert(key, &next).map(drop)
                })
            }
        })
    }

    /// The same in optimistic transactions, again after each conflict.
    fn transactions(&self) -> Result<Part> {
        let conflicts = AtomicU64::new(0);
        let name =
            format!("read and replace optimistically, {} threads, not durable", self.readers);
        let mut part = self.timed(name, "commits", self.readers, 1, |mut random, store| {
            let (entries, conflicts) = (self.entries as usize, &conflicts);
            move || {
                let key = key(random.below(entries) as u64);
                loop {
                    let mut tx = store.begin().durability(Durability::None);
                    let mut rows = tx.table(&ENTRIES)?;
                    let next = next_value(rows.get(key)?);
                    rows.insert(key, &next)?;
                    match tx.commit() {
                        Ok(_) => return Ok(()),
                        Err(recto::Error::Conflict) => drop(conflicts.fetch_add(1, Relaxed)),
                        Err(error) => return Err(error),
                    }
                }
            }
        })?;
        part.remark = format!("{} conflicts", conflicts.load(Relaxed));
        Ok(part)
    }

    /// Reads while nothing else happens, and while a closure sleeps on the writer thread: the
    /// longest gap between reads is the longest read.
    fn stall(&self) -> Result<[Part; 2]> {
        // What was not durable is written, so that no checkpoint runs beside the reads.
        self.store.checkpoint()?;
        // Within the sleep, its beginning and end included.
        let reading = Bench { run_time: STALL.mul_f64(0.9), ..*self };
        let idle = || reading.gets(self.readers);
        let stalled = || {
            let (begun, is_asleep) = mpsc::channel();
            std::thread::scope(|scope| {
                let sleeper = scope.spawn(move || {
                    self.store.write(|_| {
                        // The other end waits for nothing else.
                        let _ = begun.send(());
                        std::thread::sleep(STALL);
                        Ok(())
                    })
                });
                // If it never begins, the sleeper tells why.
                let _ = is_asleep.recv();
                let part = reading.gets(self.readers)?;
                match sleeper.join() {
                    Ok(slept) => slept.map(|()| part).map_err(Failure::from),
                    Err(panic) => std::panic::resume_unwind(panic),
                }
            })
        };
        let [mut idle, mut stalled] = in_turns(idle, stalled)?;
        idle.name = format!("random get while nothing happens, {} threads", self.readers);
        stalled.name = format!("random get while a closure sleeps, {} threads", self.readers);
        stalled.remark = format!(
            "{:.0} % of the rate before it, longest gap {}",
            stalled.percent_of(&idle),
            figures::duration(stalled.latency.max())
        );
        Ok([idle, stalled])
    }

    /// Updates, by themselves and while a snapshot from before them all is held.
    fn long_reader(&self) -> Result<[Part; 2]> {
        let free = || self.updates();
        let held = || {
            let snapshot = self.store.snapshot();
            let part = self.updates()?;
            expect_found(snapshot.table(&ENTRIES)?.get(key(0))?.is_some());
            Ok(part)
        };
        let [mut free, mut held] = in_turns(free, held)?;
        free.name = format!("random updates, batches of {BATCH}, not durable");
        held.name = "the same while one snapshot is held all the time".into();
        held.remark = format!("{:.0} % of the rate without it", held.percent_of(&free));
        Ok([free, held])
    }

    fn updates(&self) -> Result<Part> {
        self.store.checkpoint()?;
        let batches = self.entries.min(UPDATES_MAX).div_ceil(BATCH as u64);
        let (mut random, began) = (Random::new(self.entries), Instant::now());
        for _ in 0..batches {
            let mut batch = Batch::new().durability(Durability::None);
            for _ in 0..BATCH {
                let key = key(random.below(self.entries as usize) as u64);
                batch.insert(&ENTRIES, key, &[9; VALUE_BYTES]);
            }
            self.store.submit(batch)?.wait()?;
        }
        Ok(Part::of("", "updates", batches * BATCH as u64, began.elapsed(), histogram()))
    }

    /// Runs what `make` makes for each thread, again and again, for the run time.
    fn timed<'b, O>(
        &'b self,
        name: String,
        unit: &'static str,
        threads: usize,
        units_each: u64,
        make: impl Fn(Random, &'b Store) -> O,
    ) -> Result<Part>
    where
        O: FnMut() -> recto::Result<()> + Send,
    {
        let (is_over, done) = (AtomicBool::new(false), AtomicU64::new(0));
        let latencies = Latencies::new();
        let began = Instant::now();
        let outcome: recto::Result<()> = std::thread::scope(|scope| {
            let running: Vec<_> = (0..threads)
                .map(|thread| {
                    let seed = began.elapsed().as_nanos() as u64 ^ (thread as u64) << 48;
                    let mut operation = make(Random::new(seed), self.store);
                    let (is_over, done) = (&is_over, &done);
                    let mut tally = Tally::new(&latencies);
                    scope.spawn(move || {
                        let mut count = 0;
                        while !is_over.load(Relaxed) {
                            let began = Instant::now();
                            operation()?;
                            tally.record(began);
                            count += 1;
                        }
                        done.fetch_add(count, Relaxed);
                        Ok(())
                    })
                })
                .collect();
            std::thread::sleep(self.run_time);
            is_over.store(true, Relaxed);
            running.into_iter().try_for_each(|thread| match thread.join() {
                Ok(outcome) => outcome,
                Err(panic) => std::panic::resume_unwind(panic),
            })
        });
        outcome?;
        let elapsed = began.elapsed();
        let mut all = histogram();
        latencies.take(&mut all);
        Ok(Part::of(name, unit, done.load(Relaxed) * units_each, elapsed, all))
    }
}

fn amplification(did: &Stats) -> String {
    format!("{:.1} bytes written a byte put in", did.write_amplification().unwrap_or_default())
}

/// The key of entry `i`: random-looking, and known again.
fn key(i: u64) -> [u8; 24] {
    let mut random = Random::new(i);
    let mut key = [0; 24];
    for chunk in key.chunks_exact_mut(8) {
        chunk.copy_from_slice(&random.next().to_le_bytes());
    }
    key
}

/// Another value than this one.
fn next_value(value: Option<&[u8]>) -> [u8; VALUE_BYTES] {
    [value.and_then(|value| value.first()).map_or(0, |byte| byte.wrapping_add(1)); VALUE_BYTES]
}

/// Runs two things in turns, and adds each one's turns up.
fn in_turns(
    mut one: impl FnMut() -> Result<Part>,
    mut other: impl FnMut() -> Result<Part>,
) -> Result<[Part; 2]> {
    // The first turns warm up what both need.
    one()?;
    other()?;
    let mut sums = [one()?, other()?];
    for _ in 1..TURNS {
        sums[0].add(&one()?);
        sums[1].add(&other()?);
    }
    Ok(sums)
}

/// Fails the bench if the store does not give back what was put there.
fn expect_found(is_found: bool) {
    assert!(is_found, "the store lost an entry that the bench had inserted");
}

impl Part {
    fn of(
        name: impl Into<String>,
        unit: &'static str,
        units: u64,
        elapsed: Duration,
        latency: Histogram<u64>,
    ) -> Part {
        Part { name: name.into(), unit, units, elapsed, latency, remark: String::new() }
    }

    fn add(&mut self, turn: &Part) {
        self.units += turn.units;
        self.elapsed += turn.elapsed;
        // Equal bounds: adding cannot fail.
        self.latency.add(&turn.latency).expect("histograms of equal bounds");
    }

    fn percent_of(&self, other: &Part) -> f64 {
        let rate = |part: &Part| figures::rate(part.units, part.elapsed).max(1) as f64;
        100.0 * rate(self) / rate(other)
    }

    fn line(&self) -> String {
        let rate = figures::count(figures::rate(self.units, self.elapsed));
        format!("{}: {rate} {}/s", self.name, self.unit)
    }

    fn json(&self) -> Json {
        let nanos = |quantile| self.latency.value_at_quantile(quantile);
        json!({
            "name": self.name,
            "unit": self.unit,
            "count": self.units,
            "seconds": self.elapsed.as_secs_f64(),
            "per_second": figures::rate(self.units, self.elapsed),
            "p50_ns": nanos(0.5),
            "p99_ns": nanos(0.99),
            "p999_ns": nanos(0.999),
            "max_ns": self.latency.max(),
            "remark": self.remark,
        })
    }
}

fn print(parts: &[Part], arguments: &arguments::Bench) -> Result<()> {
    let mut out = stdout().lock();
    if arguments.json {
        let parts: Vec<Json> = parts.iter().map(Part::json).collect();
        writeln!(out, "{:#}", json!({ "entries": arguments.entries, "parts": parts }))?;
        return Ok(());
    }
    let mut table = figures::table(&["", "per second", "p50", "p99", "p99.9", "max", ""]);
    for part in parts {
        let per_second = figures::count(figures::rate(part.units, part.elapsed));
        let mut row = vec![part.name.clone(), format!("{per_second} {}", part.unit)];
        if part.latency.is_empty() {
            row.extend(["", "", "", ""].map(String::from));
        } else {
            row.extend(figures::quantiles(&part.latency));
        }
        row.push(part.remark.clone());
        table.add_row(row);
    }
    figures::align(&mut table);
    writeln!(out, "{table}")?;
    Ok(())
}

/// Each part's latency over the share of operations that took no longer.
fn latencies(parts: &[Part]) -> Panel {
    let measured = parts.iter().filter(|part| !part.latency.is_empty());
    let lines = measured.map(|part| Line {
        name: part.name.clone(),
        points: (0..=999)
            .map(|mille| f64::from(mille) / 1000.0)
            .map(|share| (share * 100.0, part.latency.value_at_quantile(share) as f64 / 1e3))
            .collect(),
    });
    Panel {
        title: "latency, microseconds, by the share of operations that took no longer".into(),
        across: "per cent".into(),
        lines: lines.collect(),
        is_logarithmic: true,
    }
}
