//! What a child does: damages, opens, reads, checks, and says how it went.
//! Owns: [`run`] and the bytes that stand for outcomes.

use super::{
    Way,
    sample::{self, Content, Files, Sample},
};
use recto::{Error, Result, View, internals::store::prove};
use std::{
    env, fs,
    io::{Write, stderr},
    ops::Bound,
    panic::{AssertUnwindSafe, catch_unwind, set_hook},
    path::Path,
};

pub const DIRECTORY: &str = "RECTO_TEST_FLIPS_DIRECTORY";
pub const WAY: &str = "RECTO_TEST_FLIPS_WAY";
pub const FROM: &str = "RECTO_TEST_FLIPS_FROM";
pub const TO: &str = "RECTO_TEST_FLIPS_TO";

/// All content was right.
pub const RIGHT: u8 = b'r';
/// `Error::Corrupt`, and whatever was read before it was right.
pub const CORRUPT: u8 = b'c';
/// What there was before the last commits, after flips in each of their records.
pub const BEFORE: u8 = b'b';
/// Other content, or another error.
pub const WRONG: u8 = b'w';
/// A panic.
pub const PANIC: u8 = b'p';

/// Over this many flips with two or more bits, one lies near another.
const NEAR_BITS: u64 = 512;

pub fn run() {
    let Ok(dir) = env::var(DIRECTORY) else { return };
    let number = |name: &str| env::var(name).unwrap().parse::<u64>().unwrap();
    let name = env::var(WAY).unwrap();
    let way = Way::ALL.into_iter().find(|way| way.name() == name).unwrap();
    let sample = Sample::load(Path::new(&dir));
    let scratch = tempfile::tempdir().unwrap();
    // A message would pass for an outcome.
    set_hook(Box::new(|_| {}));
    let mut files = sample.files.clone();
    for flip in number(FROM)..number(TO) {
        let bits = bits(&sample, way, flip);
        // Twice the same bit is none; each is undone below.
        let hit: Vec<usize> = bits.iter().filter_map(|&bit| sample.flip(&mut files, bit)).collect();
        let lost = (0..).take_while(|record| hit.contains(record)).count();
        let tried = catch_unwind(AssertUnwindSafe(|| match way {
            Way::Files => on_files(&sample, &files, scratch.path(), lost),
            _ => in_memory(&sample, &files, lost),
        }));
        // One write for each: what comes next may be the end of this process.
        stderr().write_all(&[tried.unwrap_or(PANIC)]).unwrap();
        for bit in bits {
            sample.flip(&mut files, bit);
        }
    }
}

/// The bits that are flipped together.
fn bits(sample: &Sample, way: Way, flip: u64) -> Vec<u64> {
    let total = sample.bits();
    let mut seed = flip.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ 0x0dd5_eed5;
    let mut random = |below: u64| {
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        seed.wrapping_mul(0x2545_f491_4f6c_dd1d) % below
    };
    match way {
        Way::Each => vec![flip],
        // Spread over all of it, without a pattern that fields of one width could hide in.
        Way::Files => vec![flip * 1_299_709 % total],
        Way::Two => {
            let first = random(total);
            let near = (first + 1 + random(NEAR_BITS)) % total;
            vec![first, if flip.is_multiple_of(2) { near } else { random(total) }]
        }
        Way::Many => (0..3 + random(62)).map(|_| random(total)).collect(),
    }
}

/// What was read, as far as it was: the content before so many of the last records; or none that
/// ever was.
type Seen = Option<usize>;

/// Compares while reading, so that what comes before an error counts, too.
fn read(view: &View, sample: &Sample, seen: &mut Seen) -> Result<()> {
    let expected: Vec<&Content> = std::iter::once(&sample.content).chain(&sample.before).collect();
    let (mut fits, mut count) = (vec![true; expected.len()], 0);
    *seen = None;
    for name in view.tables()? {
        let Some(table) = view.raw_table(&name)? else { return Ok(()) };
        for entry in table.range(Bound::Unbounded, Bound::Unbounded)? {
            let (key, value) = match entry {
                Ok(entry) => entry,
                Err(error) => {
                    note(&fits, seen);
                    return Err(error);
                }
            };
            for (fits, content) in fits.iter_mut().zip(&expected) {
                *fits &= equals(content, count, &name, key, value);
            }
            count += 1;
        }
    }
    for (fits, content) in fits.iter_mut().zip(&expected) {
        *fits &= content.len() == count;
    }
    note(&fits, seen);
    Ok(())
}

fn equals(content: &Content, at: usize, name: &str, key: &[u8], value: &[u8]) -> bool {
    content.get(at).is_some_and(|(n, k, v)| n == name && k == key && v == value)
}

fn note(fits: &[bool], seen: &mut Seen) {
    *seen = fits.iter().position(|&fits| fits);
}

/// `lost` of the last records may be missing.
fn outcome(proven: &Result<()>, seen: Seen, lost: usize) -> u8 {
    match (proven, seen) {
        (Ok(()) | Err(Error::Corrupt(_)), None) => WRONG,
        (Ok(()), Some(0)) => RIGHT,
        (Ok(()), Some(missing)) if missing <= lost => BEFORE,
        (Err(Error::Corrupt(_)), Some(_)) => CORRUPT,
        _ => WRONG,
    }
}

fn in_memory(sample: &Sample, files: &Files, lost: usize) -> u8 {
    let storage = sample::storage(files);
    // An error before anything was read has shown nothing wrong.
    let mut seen = Some(0);
    let options = sample::options().memory_map(false);
    let proven = prove(&options, &storage, |view| read(view, sample, &mut seen));
    outcome(&proven.map(drop), seen, lost)
}

/// The whole store, with its threads and the map.
fn on_files(sample: &Sample, files: &Files, dir: &Path, lost: usize) -> u8 {
    for entry in fs::read_dir(dir).unwrap() {
        fs::remove_file(entry.unwrap().path()).unwrap();
    }
    for (name, bytes) in files {
        fs::write(dir.join(name), bytes).unwrap();
    }
    let mut seen = Some(0);
    let proven = sample::options().open(dir).and_then(|store| {
        let shown = read(&store.snapshot(), sample, &mut seen);
        let checked = store.check().map(drop);
        let closed = store.close().map(drop);
        shown.and(checked).and(closed)
    });
    outcome(&proven, seen, lost)
}
