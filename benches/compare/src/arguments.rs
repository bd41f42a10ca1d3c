//! What was asked for on the command line.

use crate::{
    entries::Data,
    peers::{self, NAMES, RECTO},
};
use std::{env, path::PathBuf};

/// What was asked for.
pub struct Asked {
    /// What is to run.
    pub what: What,
    /// Entries that are read.
    pub entries: u64,
    /// Entries of bulk loads and of the rows of sizes.
    pub load_entries: u64,
    /// Random updates that age a tree.
    pub updates: u64,
    /// Rounds of a row.
    pub rounds: usize,
    /// Rounds of a bulk load.
    pub load_rounds: usize,
    /// The data set.
    pub data: Data,
    /// Rows run whose title contains this.
    pub only: String,
    /// The peers.
    pub names: Vec<&'static str>,
    /// Where stores may lie.
    pub dir: PathBuf,
    /// Where the stores that are read stay.
    pub keep: Option<PathBuf>,
    /// Where the report goes, `.md` and `.svg` added.
    pub out: Option<PathBuf>,
}

/// What is to run.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum What {
    /// A look at most rows.
    Quick,
    /// Every row.
    Full,
    /// redb's published benchmark.
    Shape,
    /// The titles of all rows of a full run, and no row.
    Titles,
}

/// How the program is called.
pub const USAGE: &str = "usage: compare quick|full|shape|titles [--only TEXT] \
                         [--peers recto,lmdb,..] [--data a|b|c] [--rounds N] [--entries N] \
                         [--updates N] [--dir DIR] [--keep DIR] [--page-bytes 4096,8192,..] \
                         [--out results/NAME]";

/// Takes the words behind the program's name apart; none if they mean nothing.
pub fn asked(words: &[String]) -> Option<Asked> {
    let (what, options) = words.split_first()?;
    let (what, entries, load_entries, rounds, load_rounds) = match what.as_str() {
        "quick" => (What::Quick, 1_000_000, 1_000_000, 3, 1),
        "full" => (What::Full, 10_000_000, 5_000_000, 9, 3),
        "titles" => (What::Titles, 10_000_000, 5_000_000, 9, 3),
        "shape" => (What::Shape, 5_000_000, 5_000_000, 3, 3),
        _ => return None,
    };
    let (data, only, names, dir) = (Data::A, String::new(), NAMES.to_vec(), env::temp_dir());
    let (keep, out, mut sized) = (None, None, None);
    let mut asked = Asked {
        what,
        entries,
        load_entries,
        updates: 10_000_000,
        rounds,
        load_rounds,
        data,
        only,
        names,
        dir,
        keep,
        out,
    };
    for pair in options.chunks(2) {
        let [option, word] = pair else {
            return None;
        };
        match option.as_str() {
            "--only" => asked.only.clone_from(word),
            "--peers" => asked.names = named(word)?,
            "--page-bytes" => {
                let names = word.split(',').map(peers::sized).collect::<Option<Vec<_>>>()?;
                let is_new = |(at, name)| !names[..at].contains(name);
                sized = names.iter().enumerate().all(is_new).then_some(names);
                sized.as_ref()?;
            }
            "--data" => asked.data = Data::named(word)?,
            "--rounds" => {
                asked.rounds = word.parse().ok().filter(|&rounds| rounds > 0)?;
                asked.load_rounds = asked.load_rounds.min(asked.rounds);
            }
            "--entries" => {
                asked.entries = word.parse().ok().filter(|&entries| entries > 0)?;
                asked.load_entries = asked.entries;
            }
            "--updates" => asked.updates = word.parse().ok().filter(|&updates| updates > 0)?,
            "--dir" => asked.dir = word.into(),
            "--keep" => asked.keep = Some(word.into()),
            "--out" => asked.out = Some(word.into()),
            _ => return None,
        }
    }
    if let Some(sized) = sized {
        // recto takes part once for each size of its pages.
        let at = asked.names.iter().position(|name| *name == RECTO)?;
        asked.names.splice(at..=at, sized);
    }
    Some(asked)
}

/// The peers of a list, in our own order; none if one has no such name.
fn named(list: &str) -> Option<Vec<&'static str>> {
    let words: Vec<&str> = list.split(',').collect();
    let is_named = |name: &&&str| words.contains(*name);
    let named: Vec<&str> = NAMES.iter().filter(is_named).copied().collect();
    (named.len() == words.len()).then_some(named)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(line: &str) -> Option<Asked> {
        asked(&line.split(' ').map(String::from).collect::<Vec<_>>())
    }

    #[test]
    fn words_are_taken_apart_or_refused() {
        let asked = of("full --peers redb,recto --data c --entries 20000 --rounds 2").unwrap();
        assert!(asked.what == What::Full && asked.data == Data::C);
        assert_eq!((asked.entries, asked.load_entries), (20_000, 20_000));
        assert_eq!((asked.rounds, asked.load_rounds), (2, 2));
        assert_eq!(asked.names, ["recto", "redb"]);
        let asked = of("quick --page-bytes 4096,8192 --peers lmdb,recto").unwrap();
        assert_eq!(asked.names, ["recto 4 KiB", "recto 8 KiB", "lmdb"]);
        for line in [
            "",
            "quick --page-bytes 5000",
            "quick --page-bytes 4096,4096",
            "quick --page-bytes 4096 --peers lmdb",
            "slow",
            "quick --peers nobody",
            "quick --data d",
            "quick --rounds 0",
            "quick --entries many",
            "quick --only",
            "quick --wrong 1",
        ] {
            assert!(of(line).is_none(), "{line}");
        }
    }
}
