//! Rows: the contestants of one question take turns, in an order drawn anew for each round; the row
//! keeps the median of each, and the ratio to the first peer's.

use crate::{
    clock::{Probe, Took, median, time},
    entries::Random,
};
use std::time::Duration;

/// One contestant: its name, and what it does in a round, which answers how many operations it did
/// and how long they took.
pub struct Contestant<'c> {
    /// What the table calls it.
    pub name: String,
    /// One round.
    pub run: Box<dyn FnMut(usize) -> (u64, Took) + 'c>,
}

impl<'c> Contestant<'c> {
    /// A contestant whose whole round counts.
    pub fn timed(name: &str, mut run: impl FnMut(usize) -> u64 + 'c) -> Contestant<'c> {
        Contestant { name: name.into(), run: Box::new(move |round| time(|| run(round))) }
    }

    /// A contestant that tells itself what counts.
    pub fn own(name: &str, run: impl FnMut(usize) -> (u64, Took) + 'c) -> Contestant<'c> {
        Contestant { name: name.into(), run: Box::new(run) }
    }
}

/// Which clock a row is judged by.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum By {
    /// CPU time of the asking thread: reads.
    Thread,
    /// The wall; the CPU time of all threads stands beside it: writes.
    Wall,
}

/// A probe of the disk above this drops the round.
const NOISY: Duration = Duration::from_millis(1);

/// Runs `rounds` rounds and prints the row's lines.
pub fn row(title: &str, by: By, rounds: usize, contestants: Vec<Contestant<'_>>) {
    row_probed(title, by, rounds, contestants, None);
}

/// As [`row`], with a sync of the disk before and after each round, that it may be dropped.
pub fn row_probed(
    title: &str,
    by: By,
    rounds: usize,
    mut contestants: Vec<Contestant<'_>>,
    mut probe: Option<&mut Probe>,
) {
    let mut judged = vec![Vec::new(); contestants.len()];
    let mut process = vec![Vec::new(); contestants.len()];
    let (mut random, mut dropped, mut probes) = (Random::new(title.len() as u64), 0, Vec::new());
    for round in 0..rounds {
        let mut order: Vec<usize> = (0..contestants.len()).collect();
        random.shuffle(&mut order);
        let mut look = || probe.as_mut().map_or(Duration::ZERO, |probe| probe.sync().unwrap());
        let before = look();
        let mut took = vec![(0.0, 0.0); contestants.len()];
        for i in order {
            let (count, time) = (contestants[i].run)(round);
            let each = |time: Duration| time.as_secs_f64() * 1e9 / count as f64;
            let judged = if by == By::Thread { time.thread } else { time.wall };
            took[i] = (each(judged), each(time.process));
        }
        let after = look();
        probes.push(before.max(after).as_secs_f64());
        if before.max(after) > NOISY {
            dropped += 1;
            continue;
        }
        for (i, (figure, cpu)) in took.into_iter().enumerate() {
            judged[i].push(figure);
            process[i].push(cpu);
        }
    }
    let base = contestants.iter().position(|c| c.name.starts_with("lmdb"));
    let base = base.and_then(|i| median(judged[i].clone()));
    for (i, contestant) in contestants.iter().enumerate() {
        let name = &contestant.name;
        let Some(figure) = median(judged[i].clone()) else {
            println!("| {title} | {name} | every round was noisy | | |");
            continue;
        };
        let spread = spread(&judged[i]);
        let cpu = match by {
            By::Thread => String::new(),
            By::Wall => nanoseconds(median(process[i].clone()).unwrap_or_default()),
        };
        let ratio = base.map_or(String::new(), |base| format!("{:.2}x", base / figure));
        println!("| {title} | {name} | {} {spread} | {cpu} | {ratio} |", nanoseconds(figure));
    }
    if dropped > 0 {
        println!("| {title} | | {dropped} of {rounds} rounds dropped: syncs over 1 ms | | |");
    }
    if let Some(probe) = median(probes).filter(|&probe| probe > 0.0) {
        println!("| {title} | probe: one fdatasync | {} | | |", nanoseconds(probe * 1e9));
    }
}

/// The least and the greatest figure.
fn spread(figures: &[f64]) -> String {
    let least = figures.iter().copied().fold(f64::INFINITY, f64::min);
    let most = figures.iter().copied().fold(0.0, f64::max);
    if figures.len() > 1 {
        format!("({} - {})", nanoseconds(least), nanoseconds(most))
    } else {
        String::new()
    }
}

/// A time per operation, readable.
pub fn nanoseconds(figure: f64) -> String {
    match figure {
        ..1e4 => format!("{figure:.0} ns"),
        1e4..1e6 => format!("{:.1} us", figure / 1e3),
        1e6..1e9 => format!("{:.1} ms", figure / 1e6),
        _ => format!("{:.2} s", figure / 1e9),
    }
}

/// Prints the head of the table.
pub fn head() {
    println!("| question | who | median (least - most) | CPU of all threads | against LMDB |");
    println!("|---|---|---|---|---|");
}
