//! What changed between two versions, in a file of its own.
//! Owns: [`Increment`], and how it is made. Its format: the room `format`.
//!
//! Two snapshots of one open store share the pages that did not change, and those are skipped. Of
//! two stores, a copy and its source, every entry is compared: a page number says nothing there.

pub mod format;

use super::Store;
use crate::{
    error::{Error, Result},
    options::TEMPORARY_PREFIX,
    pager::Pages,
    storage::{Storage, file::FileStorage},
    sync::Arc,
    tree::{Tree, diff::Change},
    txn::{backup::exists, catalog::TableEntry, snapshot::Snapshot},
};
use format::{Header, Record, Writer};
use std::{
    collections::HashSet,
    ops::Bound,
    path::{Path, PathBuf},
};

/// What an increment holds: see [`Store::backup_since`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Increment {
    /// The version that it is applied to.
    pub base: u64,
    /// The version that it leads to.
    pub target: u64,
    /// Entries inserted, replaced or removed.
    pub changes: u64,
    /// The file's length, in bytes.
    pub bytes: u64,
}

impl Store {
    /// Writes what has changed since `base` to `file`, which must not exist; [`restore`] applies it
    /// to a copy of the version `base`. `base` is an older snapshot of this store, or one of a copy
    /// of it ([`backup`](Store::backup)) that nothing was written to.
    ///
    /// Everything visible is made durable first. The file has its name only once it is whole and
    /// synced.
    ///
    /// Cost: grows with the change if `base` is of this open store, else both are read whole.
    ///
    /// ```
    /// use recto::{Store, Table};
    /// # fn main() -> recto::Result<()> {
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let at = |name: &str| dir.path().join(name);
    /// const AGES: Table<&str, u64> = Table::new("ages");
    /// let store = Store::open(at("store"))?;
    /// store.write(|tx| tx.table(&AGES)?.insert("ada", 36))?;
    /// let base = store.snapshot();
    /// base.backup(at("copy"))?;
    /// store.write(|tx| tx.table(&AGES)?.insert("alan", 41))?;
    /// let increment = store.backup_since(&base, at("monday"))?;
    /// assert_eq!((increment.base, increment.target, increment.changes), (1, 2, 1));
    /// let version = recto::restore(at("copy"), &[at("monday")], at("again"), None)?;
    /// assert_eq!(version, 2);
    /// assert_eq!(Store::open(at("again"))?.get(&AGES, "alan")?, Some(41));
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// [`Error::Invalid`] if `base` is of another store, or newer; [`Error::Io`] of kind
    /// `AlreadyExists` if there is such a file; [`Error::Full`]; [`Error::Corrupt`].
    ///
    /// [`restore`]: crate::restore
    pub fn backup_since(&self, base: &Snapshot, file: impl AsRef<Path>) -> Result<Increment> {
        self.durable_snapshot()?.increment_since(base, file)
    }
}

impl Snapshot {
    /// As [`increment_since`](Self::increment_since), to a simulated disk.
    #[cfg(feature = "simulation")]
    pub fn increment_simulated(
        &self,
        base: &Snapshot,
        disk: &crate::storage::sim::SimDisk,
        name: &str,
    ) -> Result<Increment> {
        write(base, self, disk, name)
    }

    /// Writes what is different in this version from that of `base` to `file`, as
    /// [`Store::backup_since`] does, whether it is durable or not.
    ///
    /// # Errors
    /// As [`Store::backup_since`].
    pub fn increment_since(&self, base: &Snapshot, file: impl AsRef<Path>) -> Result<Increment> {
        let (directory, name) = place(file.as_ref())?;
        write(base, self, &FileStorage::existing(&directory)?, &name)
    }
}

/// The directory of a file, and its name there.
pub(super) fn place(file: &Path) -> Result<(PathBuf, String)> {
    let named = || Error::invalid(format!("{} is no name for a file", file.display()));
    let name = file.file_name().and_then(|name| name.to_str()).ok_or_else(named)?;
    let parent = file.parent().filter(|parent| !parent.as_os_str().is_empty());
    Ok((parent.unwrap_or(Path::new(".")).to_owned(), name.to_owned()))
}

/// Writes the increment from `base` to `target` to the file `name` in `storage`.
pub fn write(
    base: &Snapshot,
    target: &Snapshot,
    storage: &dyn Storage,
    name: &str,
) -> Result<Increment> {
    let (old, new) = (base.pages()?, target.pages()?);
    if old.store_id() != new.store_id() {
        return Err(Error::invalid("an increment leads from a version of one store to another"));
    }
    if base.version > target.version {
        let (base, target) = (base.version(), target.version());
        return Err(Error::invalid(format!("version {base} is newer than version {target}")));
    }
    if storage.open(name).is_ok() {
        return Err(exists(name));
    }
    let temporary = format!("{TEMPORARY_PREFIX}{name}");
    match storage.remove(&temporary) {
        Err(error) if !error.is_not_found() => return Err(error),
        // What an attempt before left behind.
        _ => {}
    }
    let file = storage.create(&temporary)?;
    let header =
        Header { store_id: new.store_id(), base: base.version(), target: target.version() };
    let written = Writer::begin(&*file, header).and_then(|writer| {
        let mut scribe = Scribe { base, target, writer, changes: 0 };
        scribe.tables()?;
        Ok((scribe.changes, scribe.writer.finish()?))
    });
    let (changes, bytes) = match written {
        Ok(written) => written,
        Err(error) => {
            let _ = storage.remove(&temporary);
            return Err(error);
        }
    };
    storage.rename(&temporary, name)?;
    storage.sync_dir()?;
    Ok(Increment { base: header.base, target: header.target, changes, bytes })
}

/// One increment on its way.
struct Scribe<'s> {
    base: &'s Snapshot,
    target: &'s Snapshot,
    writer: Writer<'s>,
    changes: u64,
}

impl Scribe<'_> {
    fn is_one_store(&self) -> bool {
        match (&self.base.pager, &self.target.pager) {
            (Some(base), Some(target)) => Arc::ptr_eq(base, target),
            _ => false,
        }
    }

    /// The table that `new` was in the base: ids are one store's own, and a restored copy has given
    /// ids of its own.
    fn former(&self, new: &TableEntry) -> Option<usize> {
        let catalog = &self.base.catalog;
        let found = if self.is_one_store() {
            catalog.find_id(new.id)
        } else {
            catalog.find_name(&new.name)
        };
        found.filter(|&index| catalog.entry(index).expect_types(&new.types).is_ok())
    }

    fn tables(&mut self) -> Result<()> {
        let (base, target) = (self.base, self.target);
        let pairs: Vec<_> = target.catalog.iter().map(|(new, _)| self.former(new)).collect();
        let kept: HashSet<usize> = pairs.iter().flatten().copied().collect();
        for (index, (old, _)) in base.catalog.iter().enumerate() {
            if !kept.contains(&index) {
                self.writer.push(Record::Drop { name: &old.name })?;
            }
        }
        // By names that nobody has, for two tables may have exchanged theirs.
        let pairs_by_number = target.catalog.iter().zip(&pairs).enumerate();
        let renamed: Vec<_> = pairs_by_number
            .filter_map(|(number, ((new, _), former))| {
                let old = &base.catalog.entry((*former)?).name;
                (**old != *new.name).then(|| (&**old, self.free_name(number), &*new.name))
            })
            .collect();
        for (from, between, _) in &renamed {
            self.writer.push(Record::Rename { from, to: between })?;
        }
        for (_, between, to) in &renamed {
            self.writer.push(Record::Rename { from: between, to })?;
        }
        for ((new, tree), former) in target.catalog.iter().zip(&pairs) {
            self.table(new, tree, *former)?;
        }
        Ok(())
    }

    fn free_name(&self, number: usize) -> String {
        let is_free = |name: &String| {
            [self.base, self.target].iter().all(|s| s.catalog.find_name(name).is_none())
        };
        let names = (0..).map(|more: u32| format!("restored {number} {more}"));
        names.into_iter().find(is_free).expect("there are more names than tables")
    }

    fn table(&mut self, new: &TableEntry, tree: &Tree, former: Option<usize>) -> Result<()> {
        let empty = Tree::empty(new.id);
        let old = former.map_or(&empty, |index| self.base.catalog.tree(index));
        let (mut is_open, is_one_store) = (former.is_none(), self.is_one_store());
        let mut types = Vec::new();
        new.types.encode(&mut types);
        let opening = Record::Table { name: &new.name, types: &types };
        if is_open {
            self.writer.push(opening)?;
        }
        let (old_pages, new_pages) = (self.base.pages()?, self.target.pages()?);
        let mut put = |change: Change<'_>| {
            if !is_open {
                self.writer.push(opening)?;
                is_open = true;
            }
            self.changes += 1;
            let old = change.old.map(crc32c::crc32c);
            self.writer.push(match (change.new, old) {
                (Some(value), old) => Record::Put { key: change.key, value, old },
                (None, old) => Record::Remove { key: change.key, old: old.unwrap_or(0) },
            })
        };
        if is_one_store {
            for change in Tree::diff(old, tree, old_pages, new_pages) {
                put(change?)?;
            }
        } else {
            compare(old, tree, old_pages, new_pages, &mut put)?;
        }
        if is_open { self.writer.push(Record::Len { entries: tree.len }) } else { Ok(()) }
    }
}

/// The changes between two trees that share no pages.
fn compare<P: Pages>(
    old: &Tree,
    new: &Tree,
    old_pages: &P,
    new_pages: &P,
    put: &mut impl FnMut(Change<'_>) -> Result<()>,
) -> Result<()> {
    let all = (Bound::Unbounded, Bound::Unbounded);
    let mut olds = old.range(old_pages, all.0, all.1)?;
    let mut news = new.range(new_pages, all.0, all.1)?;
    let (mut was, mut is) = (olds.next().transpose()?, news.next().transpose()?);
    loop {
        let (is_old_first, is_new_first) = match (was, is) {
            (None, None) => return Ok(()),
            (Some(_), None) => (true, false),
            (None, Some(_)) => (false, true),
            (Some((was, _)), Some((is, _))) => (was <= is, is <= was),
        };
        let before = was.filter(|_| is_old_first);
        let after = is.filter(|_| is_new_first);
        let key = before.or(after).map_or(&[][..], |(key, _)| key);
        let (old, new) = (before.map(|(_, value)| value), after.map(|(_, value)| value));
        if old != new {
            put(Change { key, old, new })?;
        }
        if is_old_first {
            was = olds.next().transpose()?;
        }
        if is_new_first {
            is = news.next().transpose()?;
        }
    }
}
