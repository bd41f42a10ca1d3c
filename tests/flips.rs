//! Every bit of a small store flipped, one at a time: the right content or `Error::Corrupt`, never
//! anything else. The same for its log after a crash, where a flip in the last record may also give
//! the version before it.
//!
//! The children are this very test binary. Each opens thousands of damaged stores over memory and
//! writes one byte for each to standard error, so that a child that dies tells by how many it wrote
//! which flip killed it. `RECTO_FLIPS_RANDOM` asks for so many stores with two random bits flipped,
//! and as many with up to 64, beginning at `RECTO_FLIPS_SEED`.

#[path = "flips/child.rs"]
mod child;
#[path = "flips/sample.rs"]
mod sample;

use sample::Sample;
use std::{
    env,
    io::Read,
    ops::Range,
    path::Path,
    process::{Command, Stdio},
    sync::Mutex,
    thread,
    time::Instant,
};

/// How many flips one child is asked for: few children, and an even end.
const FLIPS_A_CHILD: u64 = 32_768;

/// Which bits are flipped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    /// Bit `n` of the files, counted from the start of the first.
    Each,
    /// Two bits of the `n`th seed.
    Two,
    /// Up to 64 bits of the `n`th seed.
    Many,
    /// As `Each`, over real files, with the map.
    Files,
}

impl Way {
    const ALL: [Way; 4] = [Way::Each, Way::Two, Way::Many, Way::Files];

    fn name(self) -> &'static str {
        match self {
            Way::Each => "each",
            Way::Two => "two",
            Way::Many => "many",
            Way::Files => "files",
        }
    }
}

#[derive(Default, Debug)]
struct Tally {
    right: u64,
    corrupt: u64,
    before: u64,
    wrong: u64,
    panics: u64,
    signals: u64,
    bad: Vec<u64>,
}

impl Tally {
    fn count(&mut self, flip: u64, outcome: u8) {
        match outcome {
            child::RIGHT => self.right += 1,
            child::CORRUPT => self.corrupt += 1,
            child::BEFORE => self.before += 1,
            child::PANIC => self.panics += 1,
            _ => self.wrong += 1,
        }
        if !matches!(outcome, child::RIGHT | child::CORRUPT | child::BEFORE) {
            self.bad.push(flip);
        }
    }

    fn flips(&self) -> u64 {
        self.right + self.corrupt + self.before + self.wrong + self.panics + self.signals
    }
}

/// Runs children over `flips`, two at a time or as many as there are cores.
fn run(dir: &Path, way: Way, flips: Range<u64>) -> Tally {
    let (tally, next) = (Mutex::new(Tally::default()), Mutex::new(flips.start));
    let cores = thread::available_parallelism().map_or(2, |n| n.get().min(8));
    thread::scope(|scope| {
        for _ in 0..cores {
            scope.spawn(|| {
                loop {
                    let from = {
                        let mut next = next.lock().unwrap();
                        let from = *next;
                        *next = (from + FLIPS_A_CHILD).min(flips.end);
                        from
                    };
                    if from == flips.end {
                        break;
                    }
                    run_chunk(dir, way, from..(from + FLIPS_A_CHILD).min(flips.end), &tally);
                }
            });
        }
    });
    tally.into_inner().unwrap()
}

/// One child after the other until all of `flips` have been tried: each death is one flip's.
fn run_chunk(dir: &Path, way: Way, mut flips: Range<u64>, tally: &Mutex<Tally>) {
    while !flips.is_empty() {
        let mut command = Command::new(env::current_exe().unwrap());
        command.args(["--exact", "child_of_the_flips", "--nocapture", "--test-threads", "1"]);
        command.env(child::DIRECTORY, dir).env(child::WAY, way.name());
        command.env(child::FROM, flips.start.to_string()).env(child::TO, flips.end.to_string());
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let mut outcomes = Vec::new();
        child.stderr.take().unwrap().read_to_end(&mut outcomes).unwrap();
        let status = child.wait().unwrap();
        let mut tally = tally.lock().unwrap();
        let known = [child::RIGHT, child::CORRUPT, child::BEFORE, child::PANIC, child::WRONG];
        let count = outcomes.iter().take_while(|outcome| known.contains(outcome)).count();
        for (flip, outcome) in flips.clone().zip(&outcomes[..count]) {
            tally.count(flip, *outcome);
        }
        flips.start += count as u64;
        if flips.is_empty() {
            assert!(status.success(), "the last child ended with {status}");
        } else {
            // A signal, an abort, or a message where an outcome was due.
            tally.signals += 1;
            tally.bad.push(flips.start);
            flips.start += 1;
        }
    }
}

/// Prints the figures and fails if one of them must be 0 and is not.
fn judge(name: &str, tally: &Tally, began: Instant) {
    let Tally { right, corrupt, before, wrong, panics, signals, bad } = tally;
    println!(
        "{name}: {} flips: {right} right, {corrupt} corrupt, {before} the state before, {wrong} \
         silently wrong, {panics} panics, {signals} signals; {:.1} s",
        tally.flips(),
        began.elapsed().as_secs_f64()
    );
    let first = &bad[..bad.len().min(20)];
    assert!(bad.is_empty(), "{name}: the first bad ones are {first:?}");
}

fn each(name: &str, sample: &Sample) {
    let (dir, began) = (sample.save(), Instant::now());
    let tally = run(dir.path(), Way::Each, 0..sample.bits());
    assert_eq!(tally.flips(), sample.bits());
    judge(name, &tally, began);
}

fn random(name: &str, sample: &Sample, count: u64) {
    let first = env::var("RECTO_FLIPS_SEED").map_or(0, |seed| seed.parse().unwrap());
    let dir = sample.save();
    for way in [Way::Two, Way::Many] {
        let began = Instant::now();
        let tally = run(dir.path(), way, first..first + count);
        judge(&format!("{name}, {} at random", way.name()), &tally, began);
    }
}

fn asked_for() -> u64 {
    env::var("RECTO_FLIPS_RANDOM").map_or(4000, |count| count.parse().unwrap())
}

#[test]
fn no_flipped_bit_of_a_store_goes_unnoticed() {
    let sample = Sample::closed();
    assert_eq!(sample.bits(), 524_288, "a store of 64 KiB");
    each("page file", &sample);
    random("page file", &sample, asked_for());
}

#[test]
fn no_flipped_bit_of_a_log_goes_unnoticed() {
    let sample = Sample::killed();
    each("log", &sample);
    random("log", &sample, asked_for());
}

#[test]
fn no_flipped_bit_of_real_files_goes_unnoticed() {
    for (name, sample) in [("page file", Sample::closed()), ("log", Sample::killed())] {
        let (dir, began) = (sample.save(), Instant::now());
        let tally = run(dir.path(), Way::Files, 0..400);
        judge(&format!("{name} with the map"), &tally, began);
    }
}

/// Does nothing unless a parent asks for it.
#[test]
fn child_of_the_flips() {
    child::run();
}
