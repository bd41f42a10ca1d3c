//! Damage done on purpose, so that it is seen that a torture can fail.

use super::{
    deal::Level,
    lanes::{COUNTS, rows},
    lives::copy,
    told::Told,
};
use crate::failure::{Failure, Result};
use recto::Options;
use std::{fs::OpenOptions, os::unix::fs::FileExt, path::Path};

/// What is spoiled.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Sabotage {
    /// The store is an older one
    Older,
    /// An entry is gone, and the commit that it came with is not
    Half,
    /// A count says one commit less
    Count,
    /// Every page has a flipped bit
    Rot,
    /// The history has a commit that nobody made
    Invented,
}

/// Spoils a store, or what was told of it.
pub fn spoil(sabotage: Sabotage, dir: &Path, before: &Path, told: &mut Vec<Told>) -> Result<()> {
    match sabotage {
        Sabotage::Older => copy(before, dir),
        Sabotage::Half | Sabotage::Count => {
            let options = Options::new().durability(Level::Sync.durability());
            let store = options.open(dir)?;
            store.write(|tx| {
                if sabotage == Sabotage::Half {
                    tx.table(&rows(0))?.pop_first()?;
                    // As if the entry had gone by itself: the version is made up for.
                    tx.table(&COUNTS)?.update(1, |old| old.map(|count| count + 1))
                } else {
                    tx.table(&COUNTS)?.update(0, |old| old.map(|count| count.saturating_sub(1)))
                }
            })?;
            Ok(store.close().map(drop)?)
        }
        Sabotage::Rot => {
            Options::new().open(dir)?.close()?;
            let file = OpenOptions::new().read(true).write(true).open(dir.join("pages"))?;
            let len = file.metadata()?.len();
            for at in (0..len).step_by(4096).map(|page| page + 100).filter(|at| *at < len) {
                let mut byte = [0];
                file.read_exact_at(&mut byte, at)?;
                file.write_all_at(&[byte[0] ^ 1], at)?;
            }
            Ok(())
        }
        Sabotage::Invented => {
            let last = told.iter().rev().find_map(|told| match told {
                Told::Durable { lane, number, .. } | Told::Visible { lane, number, .. } => {
                    Some((*lane, *number))
                }
                _ => None,
            });
            let (lane, number) = last.ok_or_else(|| Failure::input("nothing was told"))?;
            told.push(Told::Durable { lane, number: number + 50, version: None });
            Ok(())
        }
    }
}
