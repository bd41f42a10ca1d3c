//! Reads of a tree that went through many random updates, beside a tree of the same entries that
//! was just built.

use crate::{
    clock::time,
    entries::{Keys, NEW, Random},
    peers::{self, Mode, Peer, Recto},
    rows::{By, Contestant, Question, Run, count},
};
use std::hint::black_box;
use tempfile::TempDir;

/// Updates in a commit.
const BATCH: u64 = 1000;

/// What an update does.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Ageing {
    /// Gives a random key another value: no page splits, unless values grow.
    Values,
    /// Every second time removes a random key, too, and inserts one that was not there.
    Keys,
}

/// The entries of a tree: of each the number of its key and that of its value.
type Live = Vec<(u32, u32)>;

/// Runs the rows that are wanted, for one of our names.
pub fn run(run: &Run<'_>, name: &str, updates: u64) {
    for (ageing, what) in [
        (Ageing::Values, "random updates of values"),
        (Ageing::Keys, "random updates, half of them a key removed and another inserted"),
    ] {
        let what =
            format!("{} of {} after {} {what}", count(run.entries), run.data, count(updates));
        // Not the titles of other rows, or those would come with them.
        let titles = ["independent gets, snapshot held", "scan of all"];
        let [gets, scan] = titles.map(|read| format!("aged tree: {read}, {what}"));
        if run.wants(&gets) || run.wants(&scan) {
            rows(run, name, ageing, updates, &gets, &scan);
        }
    }
}

fn rows(run: &Run<'_>, name: &str, ageing: Ageing, updates: u64, gets: &str, scan: &str) {
    let (data, mut random) = (run.data, Random::new(run.entries));
    let (aged_dir, live) = aged(run, name, ageing, updates, &mut random);
    let fresh_dir = run.dir();
    let fresh = Recto::open(name, fresh_dir.path(), Mode::NoSync);
    let entries = live.iter().map(|&(key, value)| (data.key(key.into()), data.value(value.into())));
    fresh.bulk(&mut { entries });
    Box::new(fresh).close();
    let stores = [(format!("{name}, fresh"), &fresh_dir), (format!("{name}, aged"), &aged_dir)];
    let stores = stores.map(|(who, dir)| {
        let megabytes = peers::file_bytes(dir.path()) as f64 / 1e6;
        run.report.remark(scan, &who, format!("{megabytes:.1} MB of files"));
        (who, Recto::open(name, dir.path(), Mode::Durable))
    });
    let asked = (live.len() / 5).clamp(1, 500_000);
    let mut one = || u64::from(live[random.below(live.len() as u64) as usize].0);
    let queries: Vec<Keys> =
        (0..=run.rounds).map(|_| Keys::of(data, (0..asked).map(|_| one()))).collect();
    let queries: Vec<Vec<&[u8]>> = queries.iter().map(Keys::slices).collect();
    for (_, recto) in &stores {
        assert_eq!(recto.len(), live.len() as u64, "every entry is there");
        black_box((recto.scan(), recto.gets(&queries[run.rounds])));
    }
    let row = |title: &str, read: &dyn Fn(&Recto, usize) -> (u64, u64)| {
        let terms = "1 thread; clock: its CPU, stores open and warm, the fresh one filled by \
                     extend, the aged one, too, and then by batches of 1,000; ratio to the fresh";
        let question = Question::new(title, terms, By::Thread).against(&stores[0].0);
        let cases = stores.iter();
        let cases =
            cases.map(|(who, recto)| Contestant::reading(who, move |round| read(recto, round)));
        if run.wants(title) {
            run.row(&question, run.rounds, cases.collect());
        }
    };
    row(gets, &|recto, round| (asked as u64, black_box(recto.gets(&queries[round]))));
    row(scan, &|recto, _| (live.len() as u64, black_box(recto.scan())));
}

/// A closed store that was loaded and then updated, and what lives in it.
fn aged(
    run: &Run<'_>,
    name: &str,
    ageing: Ageing,
    updates: u64,
    random: &mut Random,
) -> (TempDir, Live) {
    let (dir, data) = (run.dir(), run.data);
    let recto = Recto::open(name, dir.path(), Mode::NoSync);
    recto.bulk(&mut (0..run.entries).map(|i| data.entry(i)));
    let mut live: Live = (0..run.entries as u32).map(|i| (i, i)).collect();
    let ((), took) = time(|| {
        for first in (0..updates).step_by(BATCH as usize) {
            let steps = first..(first + BATCH).min(updates);
            recto.change(steps.map(|step| {
                let at = random.below(run.entries) as usize;
                let number = (NEW + step) as u32;
                let (key, value) = &mut live[at];
                let old = *key;
                *value = number;
                if ageing == Ageing::Keys && step % 2 == 1 {
                    *key = number;
                }
                let removed = (*key != old).then(|| data.key(old.into()));
                (removed, data.key((*key).into()), data.value(number.into()))
            }));
        }
    });
    Box::new(recto).close();
    let each = took.wall.as_nanos() / u128::from(updates);
    let title = format!("aged tree: {} updates, batches of 1,000, not durable", count(updates));
    run.report.remark(&title, name, format!("{each} ns an update"));
    (dir, live)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{entries::Data, report::Report};

    /// What is read of both trees is compared by the row; here, that the rows come about.
    #[test]
    fn an_aged_tree_has_the_entries_of_a_fresh_one() {
        let dir = tempfile::tempdir().unwrap();
        let report = Report::new(Data::B, dir.path());
        let run = Run {
            root: dir.path(),
            data: Data::B,
            entries: 5000,
            rounds: 2,
            names: vec!["recto"],
            only: "aged tree",
            is_quick: false,
            report: &report,
            titles: None,
        };
        super::run(&run, "recto", 20_500);
        let stem = dir.path().join("aged");
        report.finish(Some(&stem)).unwrap();
        let text = std::fs::read_to_string(stem.with_extension("md")).unwrap();
        for read in ["independent gets", "scan of all"] {
            let of = |line: &&str| line.contains(read) && line.contains("recto, aged");
            assert!(text.lines().any(|line| of(&line) && line.ends_with("x |")), "{text}");
        }
    }
}
