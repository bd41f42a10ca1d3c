//! Rows: the contestants of one question take turns, in an order drawn anew for each round; the row
//! keeps the median of each, and the ratio to LMDB's.

use crate::{
    clock::{Probe, Took, median, time},
    entries::{Data, Random},
    peers,
    report::{Line, Report, spread, written},
};
use std::{cell::RefCell, path::Path, thread, time::Duration};

/// What all rows of a run share.
pub struct Run<'r> {
    /// Where stores may lie.
    pub root: &'r Path,
    /// The data set.
    pub data: Data,
    /// Entries that are asked for.
    pub entries: u64,
    /// Rounds of a row.
    pub rounds: usize,
    /// The peers.
    pub names: Vec<&'static str>,
    /// Rows run whose title contains this.
    pub only: &'r str,
    /// Whether it is to be over soon.
    pub is_quick: bool,
    /// What takes the lines.
    pub report: &'r Report,
    /// If there are any: takes the title of every row, and none of them runs.
    pub titles: Option<RefCell<Vec<String>>>,
}

/// What a row asks, and how.
#[derive(Clone)]
pub struct Question {
    /// What is asked, with the size.
    pub title: String,
    /// Durability, threads, and what is inside the clock.
    pub terms: String,
    /// Which clock judges.
    pub by: By,
    /// What the name of the contestant begins with that the others are compared to.
    pub base: String,
    /// The bytes of keys and values that an operation puts in, if it does, on average.
    pub put_bytes: Option<f64>,
}

impl Question {
    /// A question.
    pub fn new(title: impl Into<String>, terms: impl Into<String>, by: By) -> Question {
        let (title, terms, base) = (title.into(), terms.into(), "lmdb".into());
        Question { title, terms, by, base, put_bytes: None }
    }

    /// The same of operations that put so many bytes in.
    pub fn putting(self, bytes: f64) -> Question {
        Question { put_bytes: Some(bytes), ..self }
    }

    /// The same with another to compare to.
    pub fn against(self, base: impl Into<String>) -> Question {
        Question { base: base.into(), ..self }
    }
}

/// What a contestant did in a round.
pub struct Turn {
    /// How many operations.
    pub count: u64,
    /// How long they took.
    pub took: Took,
    /// What was read, summed up: the same for all contestants that have one.
    pub sum: Option<u64>,
}

/// One contestant: its name, and what it does in a round.
pub struct Contestant<'c> {
    /// What the table calls it.
    pub name: String,
    /// One round.
    pub run: Box<dyn FnMut(usize) -> Turn + 'c>,
}

impl<'c> Contestant<'c> {
    /// A contestant whose whole round counts; answers how many operations it did.
    pub fn timed(name: &str, mut run: impl FnMut(usize) -> u64 + 'c) -> Contestant<'c> {
        Contestant::own(name, move |round| time(|| run(round)))
    }

    /// A contestant whose whole round counts, and that reads; answers the sum of it, too.
    pub fn reading(name: &str, mut run: impl FnMut(usize) -> (u64, u64) + 'c) -> Contestant<'c> {
        let run = move |round| {
            let ((count, sum), took) = time(|| run(round));
            Turn { count, took, sum: Some(sum) }
        };
        Contestant { name: name.into(), run: Box::new(run) }
    }

    /// A contestant that tells itself what counts.
    pub fn own(name: &str, mut run: impl FnMut(usize) -> (u64, Took) + 'c) -> Contestant<'c> {
        let run = move |round| {
            let (count, took) = run(round);
            Turn { count, took, sum: None }
        };
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
    /// The wall, shown as operations a second.
    Rate,
}

/// How long a disk that is slow is left alone.
pub const REST: Duration = Duration::from_millis(300);
/// A probe of the disk above this drops the round.
pub const NOISY: Duration = Duration::from_millis(1);

/// The figures of one question: of each contestant, those of each round that counts.
pub struct Figures {
    names: Vec<String>,
    judged: Vec<Vec<f64>>,
    process: Vec<Vec<f64>>,
    written: Vec<Vec<f64>>,
    on_device: Vec<Vec<f64>>,
    rounds: usize,
    dropped: usize,
    probes: Vec<f64>,
}

impl Figures {
    /// None yet.
    pub fn new(names: Vec<String>) -> Figures {
        let count = names.len();
        let none = || vec![Vec::new(); count];
        Figures {
            names,
            judged: none(),
            process: none(),
            written: none(),
            on_device: none(),
            rounds: 0,
            dropped: 0,
            probes: Vec::new(),
        }
    }

    /// Takes a round of all contestants, unless the disk was slow before or after it.
    pub fn round(&mut self, by: By, turns: &[(u64, Took)], slowest_sync: Duration) {
        self.rounds += 1;
        self.probes.push(slowest_sync.as_secs_f64());
        if slowest_sync > NOISY {
            self.dropped += 1;
            return;
        }
        for (i, &(count, took)) in turns.iter().enumerate() {
            let each = |time: Duration| time.as_secs_f64() * 1e9 / count as f64;
            let judged = if by == By::Thread { took.thread } else { took.wall };
            self.judged[i].push(each(judged));
            self.process[i].push(each(took.process));
            self.written[i].push(took.written as f64 / count as f64);
            self.on_device[i].push(took.on_device as f64 / count as f64);
        }
    }

    /// The median of a contestant, in nanoseconds per operation.
    pub fn middle(&self, i: usize) -> Option<f64> {
        median(self.judged[i].clone())
    }

    /// Adds the row's lines to the report.
    pub fn report(&self, question: &Question, report: &Report) {
        let Question { title, terms, by, base, put_bytes } = question;
        let base = self.names.iter().position(|name| name.starts_with(base));
        let base = base.and_then(|i| self.middle(i));
        let probe = median(self.probes.clone()).filter(|&probe| probe > 0.0);
        for (i, who) in self.names.iter().enumerate() {
            let Some(middle) = self.middle(i) else {
                report.remark(title, who, "every round was noisy".into());
                continue;
            };
            let shown = if *by == By::Rate { per_second } else { nanoseconds };
            let of = |figures: &[Vec<f64>]| median(figures[i].clone()).unwrap_or_default();
            let (cpu, written) = match by {
                By::Thread => (String::new(), String::new()),
                _ => {
                    // Of what is not durable the device writes some, some time.
                    let on_device = if probe.is_some() { of(&self.on_device) } else { 0.0 };
                    let written = written(of(&self.written), *put_bytes, on_device);
                    (nanoseconds(of(&self.process)), written)
                }
            };
            report.line(Line {
                title: title.clone(),
                terms: terms.clone(),
                who: who.clone(),
                figure: spread(&self.judged[i], middle, shown),
                cpu,
                written,
                ratio: base.map(|base| base / middle),
            });
        }
        let Figures { rounds, dropped, .. } = self;
        if *dropped > 0 {
            let is_void = if dropped * 3 > *rounds { "; the row is void" } else { "" };
            let figure = format!("{dropped} of {rounds} rounds dropped, syncs over 1 ms{is_void}");
            report.remark(title, "all", figure);
        }
        if let Some(probe) = probe {
            report.remark(title, "probe: one fdatasync", nanoseconds(probe * 1e9));
        }
    }
}

impl Run<'_> {
    /// Whether a row is to run.
    pub fn wants(&self, title: &str) -> bool {
        if let Some(titles) = &self.titles {
            titles.borrow_mut().push(title.to_owned());
            return false;
        }
        title.contains(self.only)
    }

    /// Rounds of a row whose rounds are long.
    pub fn few_rounds(&self) -> usize {
        self.rounds.min(if self.is_quick { 2 } else { 5 })
    }

    /// How many operations a round has, given how many it has in a full run.
    pub fn operations(&self, full: u64) -> u64 {
        let most = if self.is_quick { full / 4 } else { full };
        most.min(self.entries).max(1)
    }

    /// The names of those peers that are among `among`, and ours.
    pub fn names_with(&self, among: &[&str]) -> Vec<&'static str> {
        let is_taken = |name: &&str| peers::is_ours(name) || among.contains(name);
        self.names.iter().copied().filter(is_taken).collect()
    }

    /// Our own names: one for each size of the pages that was asked for.
    pub fn ours(&self) -> Vec<&'static str> {
        self.names_with(&[])
    }

    /// Runs a row of so many rounds.
    pub fn row(&self, question: &Question, rounds: usize, contestants: Vec<Contestant<'_>>) {
        self.row_probed(question, rounds, contestants, None);
    }

    /// As [`row`](Run::row), with a sync of the disk before and after each round, that it may be
    /// dropped.
    pub fn row_probed(
        &self,
        question: &Question,
        rounds: usize,
        mut contestants: Vec<Contestant<'_>>,
        mut probe: Option<&mut Probe>,
    ) {
        let names = contestants.iter().map(|contestant| contestant.name.clone()).collect();
        let mut figures = Figures::new(names);
        let mut random = Random::new(question.title.len() as u64);
        for round in 0..rounds {
            let mut order: Vec<usize> = (0..contestants.len()).collect();
            random.shuffle(&mut order);
            let mut look = || probe.as_mut().map_or(Duration::ZERO, |probe| probe.sync().unwrap());
            let before = look();
            if before > NOISY {
                // It would not count anyway. A while later the disk may be itself again.
                figures.round(question.by, &[], before);
                thread::sleep(REST);
                continue;
            }
            let mut turns = vec![(0, Took::default()); contestants.len()];
            let mut sum = None;
            for i in order {
                let turn = (contestants[i].run)(round);
                turns[i] = (turn.count, turn.took);
                let is_same = turn.sum.is_none() || sum.is_none() || turn.sum == sum;
                assert!(is_same, "{}: {} read something else", question.title, contestants[i].name);
                sum = turn.sum.or(sum);
            }
            figures.round(question.by, &turns, before.max(look()));
        }
        figures.report(question, self.report);
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

/// Operations a second of a time per operation.
fn per_second(figure: f64) -> String {
    match 1e9 / figure {
        rate @ ..1e4 => format!("{rate:.0} /s"),
        rate @ 1e4..1e7 => format!("{:.1} k/s", rate / 1e3),
        rate => format!("{:.1} M/s", rate / 1e6),
    }
}

/// A number of things, readable.
pub fn count(number: u64) -> String {
    match number {
        0..10_000 => number.to_string(),
        10_000..1_000_000 => format!("{} k", number as f64 / 1e3),
        _ => format!("{} M", number as f64 / 1e6),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_noisy_round_counts_for_nobody() {
        let mut figures = Figures::new(vec!["recto".into(), "lmdb".into()]);
        let took = |wall| Took { wall: Duration::from_millis(wall), ..Took::default() };
        figures.round(By::Wall, &[(1000, took(3)), (1000, took(9))], Duration::ZERO);
        figures.round(By::Wall, &[(1000, took(100)), (1000, took(1))], Duration::from_millis(4));
        figures.round(By::Wall, &[(1000, took(5)), (1000, took(11))], Duration::ZERO);
        let middles = [0, 1].map(|i| figures.middle(i).unwrap().round());
        assert_eq!((middles, figures.dropped), ([4000.0, 10_000.0], 1));
    }

    #[test]
    #[should_panic(expected = "lmdb read something else")]
    fn a_contestant_that_reads_something_else_is_found() {
        let dir = tempfile::tempdir().unwrap();
        let report = Report::new(Data::A, dir.path());
        let run = Run {
            root: dir.path(),
            data: Data::A,
            entries: 1,
            rounds: 1,
            names: Vec::new(),
            only: "",
            is_quick: true,
            report: &report,
            titles: None,
        };
        let reading = |name: &str, sum| Contestant::reading(name, move |_| (1, sum));
        // Whoever comes second is the one that is named.
        let cases = vec![reading("lmdb", 1), reading("lmdb", 2)];
        run.row(&Question::new("sums", "", By::Thread), 1, cases);
    }
}
