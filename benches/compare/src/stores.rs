//! Stores that hold entries before a row begins: each is filled once, closed, and copied for every
//! round, so that all rounds find the same.

use crate::{
    clock::{Took, time},
    entries::Data,
    peers::{self, Mode, Peer, Recto},
    rows::Run,
};
use std::{
    fs::{self, File},
    hint::black_box,
    path::{Path, PathBuf},
};
use tempfile::TempDir;

impl Run<'_> {
    /// A directory of its own.
    pub fn dir(&self) -> TempDir {
        tempfile::tempdir_in(self.root).expect("a directory")
    }

    /// Where a store lies that a child has loaded one way, and the note that it is whole.
    pub fn loaded(&self, keep: Option<&Path>, way: &str, entries: u64) -> (PathBuf, PathBuf) {
        let root = keep.unwrap_or(self.root);
        // Data set A came first, and its stores keep their names.
        let of = if self.data == Data::A { String::new() } else { format!(" of {}", self.data) };
        let name = format!("{way} {entries}{of}");
        (root.join(&name), root.join(format!("{name} is loaded")))
    }

    /// A closed store of `name` with the first `entries` entries, in a directory of its own, on the
    /// device.
    pub fn filled_dir(&self, name: &str, entries: u64) -> TempDir {
        let template = self.template(name, entries);
        let dir = self.dir();
        copy(&template, dir.path()).expect("a store is copied");
        dir
    }

    /// As [`filled_dir`](Run::filled_dir), opened and read through once, so that no row pays for
    /// the first touch of what was filled.
    pub fn filled(&self, name: &str, entries: u64, mode: Mode) -> (TempDir, Box<dyn Peer>) {
        let dir = self.filled_dir(peers::files_of(name), entries);
        let peer = peers::open(name, dir.path(), mode);
        black_box(peer.scan());
        (dir, peer)
    }

    /// As [`filled`](Run::filled), for what only recto can do.
    pub fn filled_recto(&self, name: &str, entries: u64, mode: Mode) -> (TempDir, Recto) {
        let dir = self.filled_dir(name, entries);
        let recto = Recto::open(name, dir.path(), mode);
        black_box(recto.scan());
        (dir, recto)
    }

    fn template(&self, name: &str, entries: u64) -> PathBuf {
        let dir = self.root.join(format!("{name} of {entries} to copy"));
        let is_whole = dir.with_extension("whole");
        if !is_whole.exists() {
            let peer = peers::open(name, &dir, Mode::NoSync);
            let data = self.data;
            peer.bulk(&mut (0..entries).map(|i| data.entry(i)));
            peer.checkpoint();
            peer.close();
            File::create(is_whole).expect("a note that the store is whole");
        }
        dir
    }

    /// Runs `work` on a copy of a filled store; tells how long it took, closing included or not.
    pub fn on_filled(
        &self,
        name: &str,
        entries: u64,
        with_close: bool,
        work: impl FnOnce(&dyn Peer),
    ) -> Took {
        let (_dir, peer) = self.filled(name, entries, Mode::NoSync);
        let (peer, took) = time(|| {
            work(&*peer);
            if with_close {
                peer.close();
                return None;
            }
            Some(peer)
        });
        drop(peer);
        took
    }
}

/// Copies a store's files and syncs them: the next sync of the store would pay for them otherwise.
pub fn copy(from: &Path, to: &Path) -> std::io::Result<()> {
    fs::create_dir_all(to)?;
    for file in fs::read_dir(from)? {
        let file = file?;
        let copied = to.join(file.file_name());
        if file.file_type()?.is_dir() {
            copy(&file.path(), &copied)?;
        } else {
            fs::copy(file.path(), &copied)?;
            File::open(&copied)?.sync_all()?;
        }
    }
    Ok(())
}
