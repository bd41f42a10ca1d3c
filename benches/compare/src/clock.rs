//! Time, as the rows need it: of one thread, of the process, of the wall; what was written
//! meanwhile; and how the disk is today.

use rustix::{
    fs::{FallocateFlags, fallocate, fdatasync, major, minor},
    time::{ClockId, clock_gettime},
};
use std::{
    fs::{self, File},
    io::{Result, Write},
    ops::Add,
    os::unix::fs::{FileExt, MetadataExt},
    path::Path,
    sync::OnceLock,
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
    /// Bytes that the process gave to calls that write.
    pub written: u64,
    /// Bytes that the device wrote that is watched, whoever asked for it.
    pub on_device: u64,
}

impl Add for Took {
    type Output = Took;

    fn add(self, other: Took) -> Took {
        Took {
            wall: self.wall + other.wall,
            thread: self.thread + other.thread,
            process: self.process + other.process,
            written: self.written + other.written,
            on_device: self.on_device + other.on_device,
        }
    }
}

fn cpu(clock: ClockId) -> Duration {
    let time = clock_gettime(clock);
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}

/// What the device of the stores tells about itself.
static DEVICE: OnceLock<String> = OnceLock::new();
const SECTOR_BYTES: u64 = 512;

/// Watches the device that `dir` is on, from now on, unless another one is watched.
pub fn watch(dir: &Path) -> Result<()> {
    let device = fs::metadata(dir)?.dev();
    DEVICE.get_or_init(|| format!("/sys/dev/block/{}:{}/stat", major(device), minor(device)));
    Ok(())
}

/// What the device that is watched has written: nothing if none is, or it does not count.
fn device_bytes() -> u64 {
    let text = DEVICE.get().and_then(|path| fs::read_to_string(path).ok()).unwrap_or_default();
    // The seventh figure is of sectors written.
    let sectors = text.split_whitespace().nth(6).and_then(|sectors| sectors.parse().ok());
    sectors.unwrap_or(0) * SECTOR_BYTES
}

/// The `wchar` of the process: what all its threads gave to `write` and the like.
///
/// Not its `write_bytes`: that counts pages of the page cache as they become dirty, and where the
/// page cache holds a file in large folios (ext4 since Linux 6.16) all of a folio, up to 2 MiB,
/// though a few hundred bytes changed and the device gets a block.
fn written_bytes() -> u64 {
    let text = fs::read_to_string("/proc/self/io").unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix("wchar: "));
    line.and_then(|number| number.parse().ok()).unwrap_or(0)
}

/// Runs `work` and tells how long it took.
pub fn time<T>(work: impl FnOnce() -> T) -> (T, Took) {
    let before = (written_bytes(), device_bytes());
    let (thread, process) = (ClockId::ThreadCPUTime, ClockId::ProcessCPUTime);
    let (began, of_thread, of_process) = (Instant::now(), cpu(thread), cpu(process));
    let done = work();
    let (wall, of_thread) = (began.elapsed(), cpu(thread) - of_thread);
    let of_process = cpu(process) - of_process;
    let (written, on_device) = (written_bytes() - before.0, device_bytes() - before.1);
    (done, Took { wall, thread: of_thread, process: of_process, written, on_device })
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_counted() {
        let dir = tempfile::tempdir().unwrap();
        let (path, bytes) = (dir.path().join("file"), vec![1; 300_000]);
        let ((), took) = time(|| fs::write(&path, &bytes).unwrap());
        // Other tests may write at the same time.
        assert!(took.written >= 300_000, "{took:?}");
    }
}
