//! What a power cut left on the disk, one possibility at a time.
//! Owns: [`Image`], [`Images`], and which possibilities are tried.

use super::{
    SimDisk,
    content::SECTOR_BYTES,
    cut::{Cut, Pending},
    operation::{Operation, State},
};
use crate::sync::PlainArc;
use std::{collections::HashSet, fmt, ops::Range, vec};

/// Up to here all subsets are tried.
const SUBSETS_PENDING_MAX: usize = 8;
/// Beyond it so many random ones, and so many torn operations.
const RANDOM_SUBSETS: usize = 64;
const TORN_MAX: usize = 9;
/// So many images in which several operations are torn.
const SEVERAL_TORN: usize = 4;
/// Of a longer write so many borders of sectors are tried.
const BORDERS_MAX: usize = 8;

/// One possible disk after a power cut.
pub struct Image {
    state: State,
    hash: u128,
    choice: Choice,
    at: usize,
    /// The indices of the operations that were pending.
    pending: PlainArc<[usize]>,
}

impl Image {
    pub(super) fn subset(cut: &Cut, keep: impl Fn(usize) -> bool) -> Image {
        let keep = (0..cut.pending.len()).map(keep).collect();
        Image::build(cut, Choice { keep, tears: Vec::new() }, indices(cut))
    }

    fn build(cut: &Cut, choice: Choice, pending: PlainArc<[usize]>) -> Image {
        let mut state = cut.durable.clone();
        for (position, pending) in cut.pending.iter().enumerate() {
            match choice.tears.iter().find(|(torn, _)| *torn == position) {
                Some((_, tear)) => tear.apply(&mut state, pending),
                _ if choice.keep[position] => keep_all(&mut state, pending),
                _ => {}
            }
        }
        state.forget_nameless();
        Image { hash: state.hash(), state, choice, at: cut.at, pending }
    }

    /// A hash of all names and contents: images of the same hash are the same disk, however they
    /// came about. What is expected of a disk depends on the marks, too.
    pub fn hash(&self) -> u128 {
        self.hash
    }

    /// A disk with this image on it, all of it durable, and nothing recorded yet.
    pub fn disk(&self) -> SimDisk {
        SimDisk::with(self.state.clone())
    }

    pub(super) fn into_state(self) -> State {
        self.state
    }

    #[cfg(test)]
    pub(super) fn has_garbage(&self) -> bool {
        self.choice.tears.iter().any(|(_, tear)| matches!(tear, Tear::Garbage { .. }))
    }
}

impl fmt::Display for Image {
    /// Says how to make it again: "cut before operation 9: kept 6 8 of 4 6 7 8; 7 torn: ..".
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "cut before operation {}: kept", self.at)?;
        for (index, keep) in self.pending.iter().zip(&self.choice.keep) {
            if *keep {
                write!(f, " {index}")?;
            }
        }
        write!(f, " of")?;
        for index in &*self.pending {
            write!(f, " {index}")?;
        }
        for (torn, tear) in &self.choice.tears {
            write!(f, "; {} torn: {tear}", self.pending[*torn])?;
        }
        Ok(())
    }
}

fn indices(cut: &Cut) -> PlainArc<[usize]> {
    cut.pending.iter().map(|pending| pending.index).collect()
}

/// Which of the pending operations reached the disk, and which only in part.
#[derive(Clone)]
struct Choice {
    keep: Box<[bool]>,
    /// Their positions among the pending ones; what `keep` says of them does not count.
    tears: Vec<(usize, Tear)>,
}

/// How an operation reached the disk in part. Places are offsets in the file.
#[derive(Clone)]
enum Tear {
    /// A write: what lies before the border.
    Before(u64),
    /// A write: what lies from the border on.
    From(u64),
    /// A write: some of its sectors.
    Some { seed: u64 },
    /// A write: all of it, and then these sectors, of which it may have touched but a part, are
    /// noise.
    Garbage { sectors: Range<u64>, seed: u64 },
    /// A growth: only so far.
    GrownTo(u64),
}

impl fmt::Display for Tear {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Tear::Before(border) => write!(f, "written before byte {border}"),
            Tear::From(border) => write!(f, "written from byte {border} on"),
            Tear::Some { .. } => write!(f, "some sectors written"),
            Tear::Garbage { sectors, .. } => {
                write!(f, "garbage in sectors {} to {}", sectors.start, sectors.end - 1)
            }
            Tear::GrownTo(len) => write!(f, "grown to {len} bytes"),
        }
    }
}

fn keep_all(state: &mut State, pending: &Pending) {
    match (&*pending.operation, &pending.limbo) {
        (operation @ Operation::Write { .. }, Some(ranges)) => {
            for range in ranges {
                keep_range(state, operation, range);
            }
        }
        (operation, _) => state.apply(operation),
    }
}

/// Writes the part of a write that lies in `range`.
fn keep_range(state: &mut State, operation: &Operation, range: &Range<u64>) {
    if let Operation::Write { inode, offset, bytes } = operation {
        let all = operation.range();
        let (start, end) = (range.start.max(all.start), range.end.min(all.end));
        if start < end {
            let part = &bytes[(start - offset) as usize..(end - offset) as usize];
            state.change(*inode, |content| content.write(part, start));
        }
    }
}

impl Tear {
    fn apply(&self, state: &mut State, pending: &Pending) {
        let operation = &*pending.operation;
        let all = [operation.range()];
        for range in pending.limbo.as_deref().unwrap_or(&all) {
            match self {
                Tear::Before(border) => {
                    keep_range(state, operation, &(range.start..range.end.min(*border)));
                }
                Tear::From(border) => {
                    keep_range(state, operation, &(range.start.max(*border)..range.end));
                }
                Tear::Some { seed } => {
                    let mut random = Random(*seed);
                    for sector in sectors(range) {
                        let start = (sector * SECTOR_BYTES).max(range.start);
                        let end = ((sector + 1) * SECTOR_BYTES).min(range.end);
                        if random.below(2) == 0 {
                            keep_range(state, operation, &(start..end));
                        }
                    }
                }
                Tear::Garbage { .. } => keep_range(state, operation, range),
                Tear::GrownTo(_) => {}
            }
        }
        match (self, operation.inode()) {
            (Tear::GrownTo(len), Some(inode)) => state.change(inode, |content| content.grow(*len)),
            (Tear::Garbage { sectors, seed }, Some(inode)) => {
                let mut random = Random(*seed);
                for sector in sectors.clone() {
                    let noise = random.sector();
                    state.change(inode, |content| {
                        content.write(&noise, sector * SECTOR_BYTES);
                    });
                }
            }
            _ => {}
        }
    }

    /// The ways to tear this operation.
    fn all(pending: &Pending, random: &mut Random) -> Vec<Tear> {
        match &*pending.operation {
            Operation::Write { .. } => Tear::write(pending, random),
            Operation::Grow { from, to, .. } => {
                let half = (from + (to - from) / 2) / SECTOR_BYTES * SECTOR_BYTES;
                let within = *from < half && half < *to;
                within.then_some(Tear::GrownTo(half)).into_iter().collect()
            }
            _ => Vec::new(),
        }
    }

    fn write(pending: &Pending, random: &mut Random) -> Vec<Tear> {
        let touched = sectors(&pending.operation.range());
        let mut tears = Vec::new();
        let mut borders: Vec<u64> = (touched.start + 1..touched.end).collect();
        if borders.len() > BORDERS_MAX {
            let last = borders.len() - 1;
            let mut few = vec![borders[0], borders[last]];
            few.extend((2..BORDERS_MAX).map(|_| borders[1 + random.below(last - 1)]));
            borders = few;
        }
        for border in &borders {
            tears.push(Tear::Before(border * SECTOR_BYTES));
            tears.push(Tear::From(border * SECTOR_BYTES));
        }
        if borders.len() > 1 {
            tears.push(Tear::Some { seed: random.next() });
        }
        // The sync that failed is over, and with it the time in which a sector is being written.
        if pending.limbo.is_none() && !touched.is_empty() {
            let one = touched.start + random.below((touched.end - touched.start) as usize) as u64;
            let seed = random.next();
            let sectors = one..one + 1;
            tears.push(Tear::Garbage { sectors, seed });
            if touched.end - touched.start > 1 {
                let sectors = touched;
                tears.push(Tear::Garbage { sectors, seed });
            }
        }
        tears
    }
}

/// The sectors that `range` touches.
fn sectors(range: &Range<u64>) -> Range<u64> {
    if range.is_empty() {
        return 0..0;
    }
    range.start / SECTOR_BYTES..range.end.div_ceil(SECTOR_BYTES)
}

/// The images of one cut, each built when it is asked for.
pub struct Images {
    cut: Cut,
    pending: PlainArc<[usize]>,
    choices: vec::IntoIter<Choice>,
    seen: HashSet<u128>,
}

impl Images {
    /// With `newest`, only images that show the pending operation at this position.
    pub(super) fn new(cut: &Cut, seed: u64, newest: Option<usize>) -> Images {
        // Each cut draws differently, and the same cut always the same.
        let mut random = Random(seed ^ (cut.at as u64).rotate_left(32));
        let mut choices = subsets(cut.pending.len(), &mut random);
        tears(cut, &mut choices, &mut random);
        if let Some(newest) = newest {
            choices.retain(|choice| {
                choice.keep[newest] || choice.tears.iter().any(|(torn, _)| *torn == newest)
            });
        }
        Images {
            cut: cut.clone(),
            pending: indices(cut),
            choices: choices.into_iter(),
            seen: HashSet::new(),
        }
    }
}

impl Iterator for Images {
    type Item = Image;

    fn next(&mut self) -> Option<Image> {
        loop {
            let choice = self.choices.next()?;
            let image = Image::build(&self.cut, choice, PlainArc::clone(&self.pending));
            if self.seen.insert(image.hash) {
                return Some(image);
            }
        }
    }
}

fn subsets(pending: usize, random: &mut Random) -> Vec<Choice> {
    let mut choices = Vec::new();
    let mut choose = |keep: Box<[bool]>| choices.push(Choice { keep, tears: Vec::new() });
    // The fullest first: most defects show there.
    if pending <= SUBSETS_PENDING_MAX {
        for bits in (0..1_usize << pending).rev() {
            choose((0..pending).map(|position| bits >> position & 1 == 1).collect());
        }
        return choices;
    }
    choose(vec![true; pending].into());
    choose(vec![false; pending].into());
    for one in 0..pending {
        choose((0..pending).map(|position| position == one).collect());
        choose((0..pending).map(|position| position != one).collect());
    }
    for _ in 0..RANDOM_SUBSETS {
        choose((0..pending).map(|_| random.below(2) == 0).collect());
    }
    choices
}

/// Adds the torn ones: of many pending operations the newest and a few of the others.
fn tears(cut: &Cut, choices: &mut Vec<Choice>, random: &mut Random) {
    let pending = cut.pending.len();
    let mut torn: Vec<usize> = (0..pending).rev().collect();
    while torn.len() > TORN_MAX {
        torn.swap_remove(1 + random.below(torn.len() - 1));
    }
    for position in torn {
        for tear in Tear::all(&cut.pending[position], random) {
            let some: Box<[bool]> = (0..pending).map(|_| random.below(2) == 0).collect();
            for keep in [vec![true; pending].into(), vec![false; pending].into(), some] {
                let tears = vec![(position, tear.clone())];
                choices.push(Choice { keep, tears });
            }
        }
    }
    several_torn(cut, choices, random);
}

/// Adds a few where every second operation is torn, each in its own way.
fn several_torn(cut: &Cut, choices: &mut Vec<Choice>, random: &mut Random) {
    let pending = cut.pending.len();
    let rounds = if pending > 1 { SEVERAL_TORN } else { 0 };
    for _ in 0..rounds {
        let mut tears = Vec::new();
        for position in 0..pending {
            let mut ways = Tear::all(&cut.pending[position], random);
            if !ways.is_empty() && random.below(2) == 0 {
                tears.push((position, ways.swap_remove(random.below(ways.len()))));
            }
        }
        let keep = (0..pending).map(|_| random.below(2) == 0).collect();
        choices.push(Choice { keep, tears });
    }
}

/// splitmix64: small, and the same everywhere.
pub(super) struct Random(pub u64);

impl Random {
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut bits = self.0;
        bits = (bits ^ bits >> 30).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        bits = (bits ^ bits >> 27).wrapping_mul(0x94D0_49BB_1331_11EB);
        bits ^ bits >> 31
    }

    /// A number below `bound`, which is not zero.
    pub fn below(&mut self, bound: usize) -> usize {
        ((u128::from(self.next()) * bound as u128) >> 64) as usize
    }

    fn sector(&mut self) -> [u8; SECTOR_BYTES as usize] {
        let mut noise = [0; SECTOR_BYTES as usize];
        for word in noise.as_chunks_mut::<8>().0 {
            *word = self.next().to_le_bytes();
        }
        noise
    }
}
