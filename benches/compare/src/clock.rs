//! Time, as the rows need it: of one thread, of the process, of the wall; and how the disk is
//! today.

use rustix::{
    fs::{FallocateFlags, fallocate, fdatasync},
    time::{ClockId, clock_gettime},
};
use std::{
    fs::File,
    io::{Result, Write},
    os::unix::fs::FileExt,
    path::Path,
    time::{Duration, Instant},
};

/// How long something took.
#[derive(Clone, Copy, Debug, Default)]
pub struct Took {
    /// On the wall.
    pub wall: Duration,
    /// CPU time of the thread that ran it.
    pub thread: Duration,
    /// CPU time of all threads of the process.
    pub process: Duration,
}

fn cpu(clock: ClockId) -> Duration {
    let time = clock_gettime(clock);
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}

/// Runs `work` and tells how long it took.
pub fn time<T>(work: impl FnOnce() -> T) -> (T, Took) {
    let (thread, process) = (ClockId::ThreadCPUTime, ClockId::ProcessCPUTime);
    let (began, of_thread, of_process) = (Instant::now(), cpu(thread), cpu(process));
    let done = work();
    let took = Took {
        wall: began.elapsed(),
        thread: cpu(thread) - of_thread,
        process: cpu(process) - of_process,
    };
    (done, took)
}

/// The middle of some figures; of none, nothing.
pub fn median(mut figures: Vec<f64>) -> Option<f64> {
    figures.sort_by(f64::total_cmp);
    let middle = figures.len() / 2;
    match figures.len() {
        0 => None,
        len if len % 2 == 0 => Some(f64::midpoint(figures[middle - 1], figures[middle])),
        _ => Some(figures[middle]),
    }
}

/// A file of its own that is synced to see how the disk is.
pub struct Probe {
    file: File,
    at: u64,
}

/// The length of the probe's file.
const PROBE_BYTES: u64 = 1 << 20;

impl Probe {
    /// A probe in `dir`.
    pub fn new(dir: &Path) -> Result<Probe> {
        let mut file = File::create(dir.join("probe"))?;
        fallocate(&file, FallocateFlags::empty(), 0, PROBE_BYTES)?;
        file.write_all(&vec![0; PROBE_BYTES as usize])?;
        file.sync_all()?;
        Ok(Probe { file, at: 0 })
    }

    /// The median of ten fdatasyncs of 512 bytes each.
    pub fn sync(&mut self) -> Result<Duration> {
        let mut took = Vec::new();
        for _ in 0..10 {
            self.file.write_all_at(&[1; 512], self.at)?;
            self.at = (self.at + 512) % PROBE_BYTES;
            let began = Instant::now();
            fdatasync(&self.file)?;
            took.push(began.elapsed().as_secs_f64());
        }
        Ok(Duration::from_secs_f64(median(took).unwrap_or_default()))
    }
}
