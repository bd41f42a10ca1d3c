//! Every way a call can fail, cut by what the caller can do about it.
//! Owns: [`Error`], [`Corruption`], [`Limit`], [`Result`].
//! Absent on purpose: an `Other(String)`; an error that nobody can match on helps nobody.

use crate::sync::PlainArc as Arc;
use std::{fmt, io};

/// The result of every fallible call of this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Why a call failed. At most 24 bytes, cheap to clone (a failed sync answers a whole group).
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Error {
    /// The operating system refused; nothing was half done. Says which operation on which file.
    Io(Arc<IoFailure>),
    /// Bytes on disk are not what was written there. Says which file, which page, and why.
    Corrupt(Arc<Corruption>),
    /// Another opener holds the store.
    Locked {
        /// The owner's process id, where it could be read. Our own if this process holds the store.
        pid: Option<u32>,
    },
    /// Space ran out: the device's, or a bound set in [`Options`](crate::Options).
    Full {
        /// What ran out.
        what: Resource,
    },
    /// An argument exceeds a limit.
    TooLarge {
        /// The limit that was exceeded.
        what: Limit,
        /// The argument's length, in bytes (or the limit's own unit).
        len: usize,
        /// The greatest length allowed.
        max: usize,
    },
    /// The table exists with other key or value types.
    TypeMismatch(Arc<TypeMismatch>),
    /// The snapshot was held for longer than
    /// [`Options::reader_timeout`](crate::Options::reader_timeout): its owner is to let go of it.
    SnapshotEvicted {
        /// The version that the snapshot showed.
        version: u64,
    },
    /// The transaction's closure panicked; it was undone alone.
    Panicked {
        /// The panic's message.
        message: Arc<str>,
    },
    /// An optimistic transaction read something that has changed since.
    Conflict,
    /// The store is closed.
    Closed,
    /// A sync failed earlier: nothing is acknowledged any more; reopening recovers.
    Poisoned,
    /// A call that waits was made on one of the store's own threads, which would wait for itself.
    Reentrant,
    /// An option's value is not allowed, or differs from what the store was created with.
    Invalid(Arc<str>),
}

const _: () = assert!(size_of::<Error>() <= 24);

/// An operating-system error with its place.
#[derive(Debug)]
pub struct IoFailure {
    /// The operation that failed, a verb: "read", "write", "sync".
    pub op: &'static str,
    /// The file, by its name in the store's directory.
    pub file: String,
    /// What the operating system said.
    pub source: io::Error,
}

/// What is damaged, where, and how it was noticed.
#[derive(Debug, PartialEq, Eq)]
pub struct Corruption {
    /// The file, by its name in the store's directory.
    pub file: String,
    /// The page, where the damage is in one.
    pub page: Option<u32>,
    /// What was expected and found; lower case, with numbers and units.
    pub reason: String,
}

/// What ran out, for [`Error::Full`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
#[non_exhaustive]
pub enum Resource {
    /// Space on the device.
    Disk,
    /// The dirty pages that [`Options::dirty_bytes`](crate::Options::dirty_bytes) allows.
    DirtyBytes,
    /// The clean pages that [`Options::cache_bytes`](crate::Options::cache_bytes) allows.
    CacheBytes,
    /// The memory for sorting that [`Options::sort_bytes`](crate::Options::sort_bytes) allows: the
    /// machine has not got it.
    SortBytes,
    /// The write-ahead log.
    Log,
    /// Page numbers: the page file has reached its greatest size.
    Pages,
    /// The queue of requests; the time limit passed while it was full.
    Queue,
}

/// Which limit was exceeded, for [`Error::TooLarge`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
#[non_exhaustive]
pub enum Limit {
    /// The encoded key.
    Key,
    /// The encoded value.
    Value,
    /// A table's name.
    TableName,
    /// The number of tables.
    Tables,
    /// One batch.
    Batch,
}

/// The types a table was created with and those it was asked for with.
#[derive(Debug, PartialEq, Eq)]
pub struct TypeMismatch {
    /// The table's name.
    pub table: String,
    /// Key and value types in the catalog, as `key -> value`.
    pub stored: String,
    /// Key and value types of the caller's `Table`, as `key -> value`.
    pub asked: String,
}

impl Error {
    /// An operating-system error of `op` on `file`; out of space becomes [`Error::Full`].
    pub(crate) fn io(op: &'static str, file: &str, source: io::Error) -> Error {
        match source.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
                Error::Full { what: Resource::Disk }
            }
            _ => Error::Io(Arc::new(IoFailure { op, file: file.to_owned(), source })),
        }
    }

    /// Whether the operating system found no such file or directory.
    pub(crate) fn is_not_found(&self) -> bool {
        matches!(self, Error::Io(io) if io.source.kind() == io::ErrorKind::NotFound)
    }

    /// A panic of our own, in one of the store's threads.
    pub(crate) fn own_panic(thread: &str) -> Error {
        Error::Panicked {
            message: format!("{thread} panicked; reopen the store to recover").into(),
        }
    }

    /// Damage in `file`, outside of any page.
    pub(crate) fn corrupt(file: &str, reason: impl Into<String>) -> Error {
        let (file, reason) = (file.to_owned(), reason.into());
        Error::Corrupt(Arc::new(Corruption { file, page: None, reason }))
    }

    /// Damage in page `page` of the page file.
    pub(crate) fn corrupt_page(page: u32, reason: impl Into<String>) -> Error {
        let (file, reason) = (crate::options::PAGE_FILE.to_owned(), reason.into());
        Error::Corrupt(Arc::new(Corruption { file, page: Some(page), reason }))
    }

    /// A value of an option that cannot be.
    pub(crate) fn invalid(reason: impl Into<Arc<str>>) -> Error {
        Error::Invalid(reason.into())
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::Io(io) => write!(f, "{} of {} failed: {}", io.op, io.file, io.source),
            Error::Corrupt(corruption) => corruption.fmt(f),
            Error::Locked { pid: Some(pid) } => write!(f, "store is locked by process {pid}"),
            Error::Locked { pid: None } => write!(f, "store is locked by another opener"),
            Error::Full { what } => write!(f, "{what} is full"),
            Error::TooLarge { what: Limit::Tables, len, max } => {
                write!(f, "{len} tables exceed the limit of {max} tables")
            }
            Error::TooLarge { what, len, max } => {
                write!(f, "{what} of {len} bytes exceeds the limit of {max} bytes")
            }
            Error::TypeMismatch(m) => {
                write!(f, "table \"{}\" holds {}, but was opened as {}", m.table, m.stored, m.asked)
            }
            Error::SnapshotEvicted { version } => {
                write!(f, "snapshot of version {version} was kept too long and evicted")
            }
            Error::Panicked { message } => write!(f, "transaction panicked: {message}"),
            Error::Conflict => write!(f, "transaction read something that has changed since"),
            Error::Closed => write!(f, "store is closed"),
            Error::Poisoned => write!(f, "an earlier sync failed; reopen the store to recover"),
            Error::Reentrant => write!(f, "a call that waits was made on the store's own thread"),
            Error::Invalid(reason) => write!(f, "{reason}"),
        }
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Error::Io(io) => Some(&io.source),
            _ => None,
        }
    }
}

impl fmt::Display for Corruption {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.page {
            Some(page) => write!(f, "page {page} of {} is damaged: {}", self.file, self.reason),
            None => write!(f, "{} is damaged: {}", self.file, self.reason),
        }
    }
}

impl fmt::Display for Resource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Resource::Disk => "the device",
            Resource::DirtyBytes => "the memory for dirty pages",
            Resource::CacheBytes => "the memory for clean pages",
            Resource::SortBytes => "the memory for sorting",
            Resource::Log => "the write-ahead log",
            Resource::Pages => "the page file",
            Resource::Queue => "the queue of requests",
        })
    }
}

impl Limit {
    /// An error if `len` exceeds `max`.
    pub(crate) fn check(self, len: usize, max: usize) -> Result<()> {
        if len <= max { Ok(()) } else { Err(Error::TooLarge { what: self, len, max }) }
    }
}

impl fmt::Display for Limit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Limit::Key => "key",
            Limit::Value => "value",
            Limit::TableName => "table name",
            Limit::Tables => "number of tables",
            Limit::Batch => "batch",
        })
    }
}
