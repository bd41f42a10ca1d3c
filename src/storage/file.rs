//! Real files in a real directory.
//! Owns: [`FileStorage`]. Files are reached through the directory's own descriptor, so a directory
//! that is moved away while open is still the one that is written.
//! Keeps I10 (a sync is called once and its error handed up) and I13 (writes by pwrite, growth by
//! `posix_fallocate`, so that a full disk is an error and not a signal).

use super::{LockMode, Storage, StorageFile, lock::wait, map::Map};
use crate::{
    error::{Error, Result},
    options,
    sync::{Arc, Mutex, OnceLock, PlainArc, erased, lock},
};
use rustix::{
    fs::{
        AtFlags, Dir, FallocateFlags, FileType, Mode, OFlags, fallocate, openat, renameat, statat,
        unlinkat,
    },
    io::Errno,
};
use std::{
    fs::{self, DirBuilder, File, TryLockError},
    io,
    os::unix::fs::{DirBuilderExt, FileExt, MetadataExt},
    path::{Path, PathBuf},
    process,
    time::Duration,
};

/// How much is written at once where growth has to be written out.
const ZERO_BYTES: usize = 256 * 1024;
/// How often an interrupted growth is begun again before the interruption is reported.
const INTERRUPTIONS_MAX: usize = 100;
/// More than the longest decimal of a process id.
const OWNER_BYTES_MAX: u64 = 16;

/// A directory of files.
#[derive(Clone)]
pub struct FileStorage {
    directory: Arc<Directory>,
}

struct Directory {
    file: File,
    path: PathBuf,
    /// The directories whose entries lead here and may not be durable yet.
    parents: Mutex<Vec<Parent>>,
}

struct Parent {
    path: PathBuf,
    /// Whether this process made the entry in it; only then is a refusal to sync an error.
    ours: bool,
}

impl FileStorage {
    /// Opens the directory `path`, creating it, readable by its owner alone, and its parents where
    /// they are absent. They are durable after the first `sync_dir`.
    ///
    /// # Errors
    /// [`Error::Io`] of kind `NotADirectory` if a file is in the way.
    pub fn new(path: &Path) -> Result<FileStorage> {
        let absent =
            path.ancestors().take_while(|at| !at.as_os_str().is_empty() && !at.exists()).count();
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(path)
            .map_err(|e| directory_error(path, e))?;
        FileStorage::with_parents(path, absent)
    }

    /// Opens the directory `path`, which must exist.
    ///
    /// # Errors
    /// [`Error::Io`] of kind `NotFound` if there is nothing, `NotADirectory` if it is a file.
    pub fn existing(path: &Path) -> Result<FileStorage> {
        FileStorage::with_parents(path, 0)
    }

    fn with_parents(path: &Path, created: usize) -> Result<FileStorage> {
        let opened = fs::canonicalize(path).and_then(|real| {
            let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
            let fd = rustix::fs::open(&real, flags, Mode::empty())?;
            Ok((real, File::from(fd)))
        });
        let (path, file) = opened.map_err(|e| directory_error(path, e))?;
        let parents = path.ancestors().skip(1).take(created.max(1));
        let parents = parents.map(|parent| Parent { path: parent.to_owned(), ours: created > 0 });
        let parents = Mutex::new(parents.collect());
        let directory = Arc::new(Directory { file, path, parents });
        Ok(FileStorage { directory })
    }
}

/// Says plainly what is wrong when a store's path is a file.
fn directory_error(path: &Path, error: io::Error) -> Error {
    // Making a directory where a file is answers `AlreadyExists`, opening one `NotADirectory`.
    let file_in_the_way = match error.kind() {
        io::ErrorKind::AlreadyExists => !path.is_dir(),
        kind => kind == io::ErrorKind::NotADirectory,
    };
    let error = if file_in_the_way {
        let reason = "a store is a directory, and a file is in its place";
        io::Error::new(io::ErrorKind::NotADirectory, reason)
    } else {
        error
    };
    Error::io("open", &path.display().to_string(), error)
}

impl Directory {
    fn open(&self, name: &str, flags: OFlags) -> Result<File, Errno> {
        assert!(!name.contains('/'), "names carry no path separators");
        let mode = Mode::RUSR | Mode::WUSR;
        openat(&self.file, name, flags | OFlags::CLOEXEC, mode).map(File::from)
    }

    /// The process that last took a lock for itself, as it wrote it down.
    fn owner(&self) -> Option<u32> {
        let file = self.open(options::OWNER_FILE, OFlags::RDONLY).ok()?;
        let mut text = String::new();
        let mut bytes = io::Read::take(file, OWNER_BYTES_MAX);
        io::Read::read_to_string(&mut bytes, &mut text).ok()?;
        text.trim().parse().ok()
    }

    fn set_owner(&self, pid: u32) -> io::Result<()> {
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::TRUNC;
        let file = self.open(options::OWNER_FILE, flags)?;
        file.write_all_at(format!("{pid}\n").as_bytes(), 0)
    }
}

impl Storage for FileStorage {
    fn open(&self, name: &str) -> Result<Arc<dyn StorageFile>> {
        let opened = match self.directory.open(name, OFlags::RDWR) {
            // A store on read-only ground can still be read; writing to it will say what is wrong.
            Err(Errno::ACCESS | Errno::ROFS | Errno::PERM) => {
                self.directory.open(name, OFlags::RDONLY)
            }
            opened => opened,
        };
        let file = opened.map_err(|e| Error::io("open", name, e.into()))?;
        Ok(OpenFile::share(&self.directory, file, name))
    }

    fn create(&self, name: &str) -> Result<Arc<dyn StorageFile>> {
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL;
        let file = self.directory.open(name, flags);
        let file = file.map_err(|e| Error::io("create", name, e.into()))?;
        Ok(OpenFile::share(&self.directory, file, name))
    }

    fn rename(&self, from: &str, to: &str) -> Result<()> {
        assert!(!from.contains('/') && !to.contains('/'), "names carry no path separators");
        let directory = &self.directory.file;
        renameat(directory, from, directory, to).map_err(|e| Error::io("rename", from, e.into()))
    }

    fn remove(&self, name: &str) -> Result<()> {
        assert!(!name.contains('/'), "names carry no path separators");
        unlinkat(&self.directory.file, name, AtFlags::empty())
            .map_err(|e| Error::io("remove", name, e.into()))
    }

    fn list(&self) -> Result<Vec<String>> {
        let failed =
            |e: Errno| Error::io("list", &self.directory.path.display().to_string(), e.into());
        let mut names = Vec::new();
        for entry in Dir::read_from(&self.directory.file).map_err(failed)? {
            let entry = entry.map_err(failed)?;
            // A name that is not UTF-8 is none of ours; neither is a directory, nor `.` and `..`.
            if let Ok(name) = entry.file_name().to_str()
                && entry.file_type() != FileType::Directory
                && name != "."
                && name != ".."
            {
                names.push(name.to_owned());
            }
        }
        names.sort_unstable();
        Ok(names)
    }

    fn sync_dir(&self) -> Result<()> {
        let path = &self.directory.path;
        sync_entries(&self.directory.file, path)?;
        let mut parents = lock(&self.directory.parents);
        while let Some(parent) = parents.last() {
            match File::open(&parent.path) {
                Ok(file) => sync_entries(&file, &parent.path)?,
                // A parent that we may pass through but not read, and in which we changed nothing.
                Err(e) if e.kind() == io::ErrorKind::PermissionDenied && !parent.ours => {}
                Err(e) => return Err(Error::io("sync", &parent.path.display().to_string(), e)),
            }
            parents.pop();
        }
        Ok(())
    }
}

fn sync_entries(directory: &File, path: &Path) -> Result<()> {
    match directory.sync_all() {
        // Some file systems refuse to sync a directory because they have nothing to do for it.
        Err(e) if e.kind() == io::ErrorKind::InvalidInput => Ok(()),
        synced => synced.map_err(|e| Error::io("sync", &path.display().to_string(), e)),
    }
}

/// One descriptor. The lock that was taken on it lasts until it and the map made from it are gone.
struct OpenFile {
    file: File,
    name: String,
    directory: Arc<Directory>,
    /// Held while the length changes, so that the map's valid length follows it in order.
    length: Mutex<()>,
    map: OnceLock<Option<Arc<Map>>>,
}

impl OpenFile {
    fn share(directory: &Arc<Directory>, file: File, name: &str) -> Arc<dyn StorageFile> {
        erased(PlainArc::new(OpenFile {
            file,
            name: name.to_owned(),
            directory: Arc::clone(directory),
            length: Mutex::new(()),
            map: OnceLock::new(),
        }))
    }

    fn failed(&self, op: &'static str) -> impl Fn(io::Error) -> Error {
        move |e| Error::io(op, &self.name, e)
    }

    fn announce(&self, file_bytes: u64) {
        if let Some(Some(map)) = self.map.get() {
            map.set_valid(file_bytes);
        }
    }

    fn try_lock(&self, mode: LockMode) -> Result<bool> {
        let tried = match mode {
            LockMode::Exclusive => self.file.try_lock(),
            LockMode::Shared => self.file.try_lock_shared(),
        };
        match tried {
            Ok(()) => Ok(true),
            Err(TryLockError::WouldBlock) => Ok(false),
            Err(TryLockError::Error(e)) => Err(Error::io("lock", &self.name, e)),
        }
    }

    /// Who stands in the way of a lock in `mode`.
    fn blocker(&self, mode: LockMode) -> Option<u32> {
        // Readers leave no pid. If a shared lock can be had, they are in the way, and the pid in
        // the owner's file is that of somebody long gone.
        if mode == LockMode::Exclusive && self.try_lock(LockMode::Shared).is_ok_and(|taken| taken) {
            let _ = self.file.unlock();
            return None;
        }
        self.directory.owner()
    }
}

impl StorageFile for OpenFile {
    fn read_at(&self, bytes: &mut [u8], offset: u64) -> Result<()> {
        let read = self.file.read_exact_at(bytes, offset);
        read.map_err(self.failed("read"))
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> Result<()> {
        let written = self.file.write_all_at(bytes, offset);
        written.map_err(self.failed("write"))
    }

    fn allocate(&self, len: u64) -> Result<()> {
        let _changing = lock(&self.length);
        let from = self.len()?;
        if len <= from {
            return Ok(());
        }
        if let Err(e) = grow(&self.file, from, len) {
            // A growth that failed half way may have lengthened the file. Best effort: what stays
            // is zeros that nobody names.
            let _ = self.file.set_len(from);
            return Err(Error::io("allocate", &self.name, e));
        }
        self.announce(len);
        Ok(())
    }

    fn truncate(&self, len: u64) -> Result<()> {
        let _changing = lock(&self.length);
        let from = self.len()?;
        if len >= from {
            return Ok(());
        }
        // First, so that the map never lends a byte that the file has lost.
        self.announce(len);
        let cut = self.file.set_len(len);
        if cut.is_err() {
            self.announce(from);
        }
        cut.map_err(self.failed("truncate"))
    }

    fn len(&self) -> Result<u64> {
        let metadata = self.file.metadata().map_err(self.failed("stat"))?;
        Ok(metadata.len())
    }

    fn start_writing(&self, offset: u64, len: u64) {
        super::map::start_writing(&self.file, offset, len);
    }

    fn await_writing(&self, offset: u64, len: u64) -> Result<()> {
        let waited = super::map::await_writing(&self.file, offset, len);
        match waited.as_ref().map_err(Errno::from_io_error) {
            // There is no such call, or it is forbidden: nothing was waited for.
            Err(Some(Errno::NOSYS | Errno::OPNOTSUPP | Errno::INVAL | Errno::PERM)) => Ok(()),
            _ => waited.map_err(self.failed("sync")),
        }
    }

    fn sync(&self) -> Result<()> {
        self.file.sync_data().map_err(self.failed("sync"))
    }

    fn lock(&self, mode: LockMode, timeout: Duration) -> Result<()> {
        if !wait(timeout, || self.try_lock(mode))? {
            let pid = self.blocker(mode);
            return Err(Error::Locked { pid });
        }
        if mode == LockMode::Exclusive {
            // The pid is for messages only: a full disk must not keep a store from being opened.
            let _ = self.directory.set_owner(process::id());
        }
        Ok(())
    }

    fn keeps_name(&self) -> Result<bool> {
        let ours = self.file.metadata().map_err(self.failed("stat"))?;
        match statat(&self.directory.file, self.name.as_str(), AtFlags::empty()) {
            Ok(found) => Ok((found.st_dev, found.st_ino) == (ours.dev(), ours.ino())),
            Err(Errno::NOENT) => Ok(false),
            Err(e) => Err(Error::io("stat", &self.name, e.into())),
        }
    }

    fn map(&self) -> Option<Arc<Map>> {
        let _changing = lock(&self.length);
        let make = || Map::new(&self.file, self.len().ok()?).map(Arc::new);
        self.map.get_or_init(make).clone()
    }
}

/// Lengthens `file` from `from` to `to` bytes, zeroed, its space taken on the device.
fn grow(file: &File, from: u64, to: u64) -> io::Result<()> {
    for _ in 0..INTERRUPTIONS_MAX {
        match fallocate(file, FallocateFlags::empty(), from, to - from) {
            Ok(()) => return Ok(()),
            Err(Errno::INTR) => {}
            // The file system has no such call: take the space by writing it.
            Err(Errno::OPNOTSUPP | Errno::NOSYS | Errno::INVAL) => {
                return write_zeros(file, from, to);
            }
            Err(e) => return Err(e.into()),
        }
    }
    Err(Errno::INTR.into())
}

fn write_zeros(file: &File, from: u64, to: u64) -> io::Result<()> {
    let zeros = vec![0; ZERO_BYTES];
    let mut at = from;
    while at < to {
        let len = (to - at).min(ZERO_BYTES as u64);
        file.write_all_at(&zeros[..len as usize], at)?;
        at += len;
    }
    Ok(())
}

#[cfg(test)]
mod tests;
