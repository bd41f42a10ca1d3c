//! How long it takes to open a store that was closed cleanly.

use crate::{
    clock::{Probe, time},
    entries::Random,
    peers::{self, Mode, Peer, Recto},
    reads,
    rows::{By, Contestant, Question, Run, count},
};
use rustix::fs::{Advice, fadvise};
use std::{
    fs::{self, File},
    hint::black_box,
    path::Path,
};

/// Runs the row, if it is wanted, for one of our names.
pub fn run(run: &Run<'_>, name: &'static str, keep: Option<&Path>) {
    let title = format!("open of a store closed cleanly, {} of {}", count(run.entries), run.data);
    if !run.wants(&title) {
        return;
    }
    let dir = reads::store(run, keep, &format!("{name} extend"), run.entries);
    let (dir, data, entries) = (dir.as_path(), run.data, run.entries);
    let gigabytes = peers::file_bytes(dir) as f64 / 1e9;
    run.report.remark(&title, name, format!("{gigabytes:.2} GB of files"));
    let ways =
        [(true, false, ""), (true, true, " and get"), (false, true, ", nothing cached, and get")];
    let cases = ways.map(|(is_cached, with_get, what)| {
        Contestant::own(&format!("{name} open{what}"), move |round| {
            if !is_cached {
                forget(dir);
            }
            let key = data.key(Random::new(round as u64).below(entries));
            let (recto, took) = time(|| {
                let recto = Recto::open(name, dir, Mode::Durable);
                if with_get {
                    assert_ne!(black_box(recto.gets(&[&key])), 0, "an entry is lost");
                }
                recto
            });
            Box::new(recto).close();
            (1, took)
        })
    });
    let terms = "durable; 1 thread; clock: the call, and the first get";
    let mut probe = Probe::new(run.root).expect("a probe of the disk");
    let question = Question::new(title, terms, By::Wall);
    run.row_probed(&question, run.rounds, cases.into(), Some(&mut probe));
}

/// Takes the files of a closed store out of the page cache.
fn forget(dir: &Path) {
    for file in fs::read_dir(dir).expect("the store's directory").flatten() {
        let file = File::open(file.path()).expect("a file of the store");
        file.sync_all().expect("the file is synced");
        fadvise(&file, 0, None, Advice::DontNeed).expect("the page cache takes advice");
    }
}
