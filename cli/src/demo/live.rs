//! The live line of a demonstration, and the figures that are left of it.
//! Owns: [`Live`].

use crate::{
    figures::{self, Latencies, histogram},
    plot::{Line, Panel},
};
use hdrhistogram::Histogram;
use indicatif::{ProgressBar, ProgressStyle};
use recto::Store;
use std::{
    io::{IsTerminal, stderr},
    path::Path,
    time::{Duration, Instant},
};

/// How often the line changes.
const INTERVAL: Duration = Duration::from_millis(250);
/// How often a line is printed where it cannot be changed.
const PRINT_INTERVAL: Duration = Duration::from_secs(2);

/// What the threads count, and what was seen of it.
pub struct Live {
    /// Of questions.
    pub reads: Latencies,
    /// Of transactions, from submission to answer.
    pub commits: Latencies,
}

/// One moment.
struct Moment {
    at_seconds: f64,
    reads_per_second: u64,
    commits_per_second: u64,
    commits_per_sync: f64,
    /// The median, 99 and 99.9 of 100, in nanoseconds.
    reads: [u64; 3],
    commits: [u64; 3],
}

/// All of a run.
pub struct Record {
    moments: Vec<Moment>,
    elapsed: Duration,
    reads: Histogram<u64>,
    commits: Histogram<u64>,
    log_syncs: u64,
}

impl Live {
    /// Nothing yet.
    pub fn new() -> Live {
        Live { reads: Latencies::new(), commits: Latencies::new() }
    }

    /// Shows the line for `run_time`.
    pub fn watch(&self, store: &Store, run_time: Duration) -> Record {
        let is_terminal = stderr().is_terminal();
        let line = if is_terminal { ProgressBar::new_spinner() } else { ProgressBar::hidden() };
        // The template is constant and valid.
        line.set_style(ProgressStyle::with_template("{spinner} {msg}").expect("a valid template"));
        let began = Instant::now();
        let (mut moments, mut reads, mut commits) = (Vec::new(), histogram(), histogram());
        let (mut last, mut printed) = (began, began);
        let syncs_before = store.stats().log_syncs;
        let mut last_syncs = syncs_before;
        while began.elapsed() < run_time {
            std::thread::sleep(INTERVAL.min(run_time.saturating_sub(began.elapsed())));
            let now = Instant::now();
            let (new_reads, new_commits) =
                (self.reads.take(&mut reads), self.commits.take(&mut commits));
            let syncs = store.stats().log_syncs;
            let moment = Moment {
                at_seconds: (now - began).as_secs_f64(),
                reads_per_second: figures::rate(new_reads.len(), now - last),
                commits_per_second: figures::rate(new_commits.len(), now - last),
                commits_per_sync: per_sync(new_commits.len(), syncs - last_syncs),
                reads: three(&new_reads),
                commits: three(&new_commits),
            };
            (last, last_syncs) = (now, syncs);
            line.set_message(moment.to_string());
            line.tick();
            if !is_terminal && now - printed >= PRINT_INTERVAL {
                eprintln!("{moment}");
                printed = now;
            }
            moments.push(moment);
        }
        line.finish_and_clear();
        let (elapsed, log_syncs) = (began.elapsed(), last_syncs - syncs_before);
        Record { moments, elapsed, reads, commits, log_syncs }
    }
}

fn three(histogram: &Histogram<u64>) -> [u64; 3] {
    [0.5, 0.99, 0.999].map(|quantile| histogram.value_at_quantile(quantile))
}

fn per_sync(commits: u64, syncs: u64) -> f64 {
    commits as f64 / syncs.max(1) as f64
}

impl std::fmt::Display for Moment {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let three = |nanos: [u64; 3]| nanos.map(figures::duration).join(" / ");
        write!(
            f,
            "{:5.1} s  {} reads/s  {} commits/s  {:.1} commits/sync  p50 / p99 / p99.9: reads {}, \
             commits {}",
            self.at_seconds,
            figures::count(self.reads_per_second),
            figures::count(self.commits_per_second),
            self.commits_per_sync,
            three(self.reads),
            three(self.commits),
        )
    }
}

impl Record {
    /// The whole run as a table.
    pub fn table(&self) -> comfy_table::Table {
        let header = ["", "count", "per second", "p50", "p99", "p99.9", "max", "per sync"];
        let mut table = figures::table(&header);
        for (name, histogram) in [("reads", &self.reads), ("commits", &self.commits)] {
            let counts = [histogram.len(), figures::rate(histogram.len(), self.elapsed)];
            let mut row = vec![name.to_owned()];
            row.extend(counts.map(figures::count));
            row.extend(figures::quantiles(histogram));
            row.push(match name {
                "commits" => format!("{:.1}", per_sync(histogram.len(), self.log_syncs)),
                _ => String::new(),
            });
            table.add_row(row);
        }
        figures::align(&mut table);
        table
    }

    /// The whole run as a picture.
    pub fn draw(&self, path: &Path) -> std::io::Result<()> {
        let line = |name: &str, y: &dyn Fn(&Moment) -> f64| Line {
            name: name.into(),
            points: self.moments.iter().map(|moment| (moment.at_seconds, y(moment))).collect(),
        };
        let micros = |nanos: u64| nanos as f64 / 1e3;
        let latency = |name: &str, of: fn(&Moment) -> [u64; 3]| Panel {
            title: format!("latency of {name}, microseconds"),
            across: "seconds".into(),
            lines: vec![
                line("p50", &|moment| micros(of(moment)[0])),
                line("p99", &|moment| micros(of(moment)[1])),
                line("p99.9", &|moment| micros(of(moment)[2])),
            ],
            is_logarithmic: true,
        };
        let rates = Panel {
            title: "operations per second".into(),
            across: "seconds".into(),
            lines: vec![
                line("reads", &|moment| moment.reads_per_second as f64),
                line("commits", &|moment| moment.commits_per_second as f64),
            ],
            is_logarithmic: true,
        };
        let reads = latency("reads", |moment| moment.reads);
        let commits = latency("commits", |moment| moment.commits);
        crate::plot::draw(path, &[rates, reads, commits])
    }
}
