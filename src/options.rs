//! Options and every limit, with units in the names.

use crate::{
    clock::{Clock, StoreClock},
    error::{Error, Result},
    event::{Event, Events},
};
use std::{fmt, time::Duration};

/// The page file's name in the store's directory.
pub const PAGE_FILE: &str = "pages";
/// The start of the name of every log segment.
pub const LOG_PREFIX: &str = "log-";
/// The file that tells who holds the store: the owner's pid in decimal.
pub const OWNER_FILE: &str = "owner";
/// The start of the name of every file that is being made and has no meaning yet.
pub const TEMPORARY_PREFIX: &str = "tmp-";
/// What a new page file is called until it is whole.
pub const NEW_PAGE_FILE: &str = "tmp-pages";
/// What a file is called for the moment before it loses its name.
pub const NAMELESS_FILE: &str = "tmp-nameless";
/// The start of the names of a store that is being restored.
pub const RESTORE_PREFIX: &str = "tmp-restore-";

/// The start of the name of every file of a damaged store that was set aside: behind it a number
/// and the name that the file had.
pub const ASIDE_PREFIX: &str = "damaged-";

/// The smallest page.
pub const PAGE_BYTES_MIN: usize = 4096;
/// The largest page.
pub const PAGE_BYTES_MAX: usize = 32 * 1024;

/// The longest encoded key.
pub const KEY_BYTES_MAX: usize = 64 * 1024;
/// The longest encoded value.
pub const VALUE_BYTES_MAX: usize = 1 << 30;
/// The longest name of a table.
pub const TABLE_NAME_BYTES_MAX: usize = 255;
/// The greatest number of tables.
pub const TABLES_MAX: usize = 65_536;
/// The longest batch, encoded.
pub const BATCH_BYTES_MAX: usize = 1 << 30;

/// The smallest log segment.
pub const LOG_SEGMENT_BYTES_MIN: u64 = if cfg!(loom) { 4096 } else { 16 * 1024 };
/// The largest log segment.
pub const LOG_SEGMENT_BYTES_MAX: u64 = 1 << 30;
/// The smallest room for dirty pages.
pub const DIRTY_BYTES_MIN: u64 = 256 * 1024;
/// The smallest room for sorting.
pub const SORT_BYTES_MIN: u64 = 4096;
/// The room for sorting of a store that is opened without a word about it.
pub const SORT_BYTES_DEFAULT: u64 = if cfg!(test) { SORT_BYTES_MIN } else { 64 << 20 };

/// When a commit is answered, and what may be lost of it.
///
/// | level | answered | lost in a power cut |
/// |---|---|---|
/// | `Sync` | after the sync of its group | nothing |
/// | `Interval(d)` | when visible | the last `d`, a suffix |
/// | `EveryCommits(n)` | when visible | the last `n` commits, a suffix |
/// | `None` | when visible | everything since the last sync or checkpoint, a suffix |
///
/// A kill of the process alone loses nothing that was answered, at any level. What a level promises
/// is kept where commits have that level or a stricter one: `EveryCommits` looks at how much is
/// unsynced when such a commit comes, not when one of `None` follows it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Durability {
    /// Answered when it is on the device. Nothing unsynced is ever visible behind such a commit.
    #[default]
    Sync,
    /// Answered when visible; synced within this time.
    Interval(Duration),
    /// Answered when visible; synced at the latest when this many commits wait for it.
    EveryCommits(u32),
    /// Answered when visible; synced by the next commit that asks for it, or by a checkpoint.
    None,
}

/// What opening does with a store that is damaged: see [`Options::on_corruption`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum OnCorruption {
    /// Opening answers [`Error::Corrupt`]; the files stay as they are.
    #[default]
    Refuse,
    /// The files are renamed, in the same directory and under the lock, an empty store is opened
    /// in their place, and [`Event::SetAside`] says so. For stores whose content can be made
    /// again, such as caches. Nothing is deleted.
    SetAside,
}

/// What recovery takes for the end of the log: see [`Options::log_recovery`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum LogRecovery {
    /// A record that is not whole and that nothing proves to have been synced: a crash leaves such
    /// records, and they were promised to nobody.
    #[default]
    TornTail,
    /// Only whole records: any trace of another behind the last one is [`Error::Corrupt`]. Finds
    /// damage that looks like a torn tail; refuses stores after an honest crash, too. A record of
    /// which not even the header can be read leaves no trace.
    Strict,
}

/// How a store is opened. Every field has a default that suits a service of moderate size.
///
/// ```
/// use recto::{Durability, Options};
/// # fn main() -> recto::Result<()> {
/// let dir = tempfile::tempdir().unwrap();
/// let store = Options::new()
///     .durability(Durability::EveryCommits(100))
///     .queue_capacity(1000)
///     .open(dir.path())?;
/// # store.close().map(drop) }
/// ```
#[derive(Clone)]
#[expect(clippy::struct_excessive_bools, reason = "each is an option of its own, with its setter")]
pub struct Options {
    pub(crate) create: bool,
    pub(crate) page_bytes: Option<usize>,
    pub(crate) dirty_bytes: u64,
    pub(crate) cache_bytes: u64,
    pub(crate) sort_bytes: u64,
    pub(crate) log_segment_bytes: u64,
    pub(crate) queue_capacity: usize,
    pub(crate) durability: Durability,
    pub(crate) commit_delay: Duration,
    pub(crate) lock_timeout: Duration,
    pub(crate) close_timeout: Duration,
    pub(crate) reader_timeout: Option<Duration>,
    pub(crate) clock: StoreClock,
    pub(crate) memory_map: bool,
    pub(crate) map_huge_pages: bool,
    pub(crate) map_prefault: bool,
    pub(crate) read_only: bool,
    pub(crate) memory_if_locked: bool,
    pub(crate) on_corruption: OnCorruption,
    pub(crate) log_recovery: LogRecovery,
    pub(crate) check_on_open: bool,
    pub(crate) events: Events,
    pub(crate) size_warning_bytes: u64,
}

/// The page size of a store that is created without a word about it.
pub const PAGE_BYTES_DEFAULT: usize = 4096;

impl Default for Options {
    fn default() -> Options {
        Options {
            create: true,
            page_bytes: None,
            dirty_bytes: 64 << 20,
            cache_bytes: 64 << 20,
            sort_bytes: SORT_BYTES_DEFAULT,
            log_segment_bytes: 16 << 20,
            queue_capacity: 1024,
            durability: Durability::Sync,
            commit_delay: Duration::ZERO,
            lock_timeout: Duration::from_secs(5),
            close_timeout: Duration::from_secs(30),
            reader_timeout: None,
            clock: StoreClock::default(),
            memory_map: true,
            map_huge_pages: false,
            map_prefault: false,
            read_only: false,
            memory_if_locked: false,
            on_corruption: OnCorruption::Refuse,
            log_recovery: LogRecovery::TornTail,
            check_on_open: false,
            events: Events::default(),
            size_warning_bytes: 500_000_000,
        }
    }
}

impl Options {
    /// The defaults, each given with its setter.
    pub fn new() -> Options {
        Options::default()
    }

    /// Whether a store that is not there is created. Default: true.
    #[must_use]
    pub fn create(mut self, create: bool) -> Options {
        self.create = create;
        self
    }

    /// The size of every page, a power of two from 4 to 32 KiB, fixed at creation. Default: 4 KiB;
    /// opening a store of another size by name is an error, leaving it out is not.
    #[must_use]
    pub fn page_bytes(mut self, page_bytes: usize) -> Options {
        self.page_bytes = Some(page_bytes);
        self
    }

    /// The room for pages changed since the last checkpoint. At half of it a checkpoint starts, at
    /// the whole of it commits wait; a larger transaction writes its pages early and commits by a
    /// checkpoint. Default: 64 MiB.
    ///
    /// It counts memory: a leaf of which little changed takes an eighth of a page, and is written
    /// as a page. So a checkpoint may write, and the file grow by, several times as much.
    #[must_use]
    pub fn dirty_bytes(mut self, dirty_bytes: u64) -> Options {
        self.dirty_bytes = dirty_bytes;
        self
    }

    /// The room for clean pages where the page file is not mapped. Default: 64 MiB.
    ///
    /// What a snapshot lends it must keep: pages that it has read stay here until it is dropped, or
    /// until the transaction ends, and of a store opened [`read_only`](Options::read_only) until it
    /// is closed. A scan or a [`check`](crate::Store::check) of more than this ends with
    /// [`Error::Full`], and so may reads and writes of others meanwhile: from three quarters of it
    /// on pages are evicted, and read a second time beside those that a snapshot keeps. Half as
    /// large again as the store is enough while nobody writes.
    #[must_use]
    pub fn cache_bytes(mut self, cache_bytes: u64) -> Options {
        self.cache_bytes = cache_bytes;
        self
    }

    /// The room in which [`extend`](crate::TableMut::extend) gathers entries that come in no order,
    /// to sort them. Beyond a half of it they are written to a file without a name in the store's
    /// directory, sorted in runs of that length by a thread that the load has for itself, and read
    /// back once; the file goes with the call. Meanwhile the other half fills. Taken only while
    /// such a load runs, and only as far as it is needed; and 64 KiB for each run while they are
    /// read back. Default: 64 MiB: more is no faster.
    #[must_use]
    pub fn sort_bytes(mut self, sort_bytes: u64) -> Options {
        self.sort_bytes = sort_bytes;
        self
    }

    /// The size of a segment of the write-ahead log. A transaction whose record would fill half of
    /// it commits by a checkpoint. Default: 16 MiB.
    #[must_use]
    pub fn log_segment_bytes(mut self, log_segment_bytes: u64) -> Options {
        self.log_segment_bytes = log_segment_bytes;
        self
    }

    /// How many requests may wait for the writer; more block, or are given back. Default: 1,024.
    #[must_use]
    pub fn queue_capacity(mut self, queue_capacity: usize) -> Options {
        self.queue_capacity = queue_capacity;
        self
    }

    /// When commits are answered, unless a commit says otherwise. Default: [`Durability::Sync`].
    #[must_use]
    pub fn durability(mut self, durability: Durability) -> Options {
        self.durability = durability;
        self
    }

    /// How long the writer waits for more requests before it closes a group that is to be synced.
    /// Default: zero; while a group syncs the next one gathers anyway.
    #[must_use]
    pub fn commit_delay(mut self, commit_delay: Duration) -> Options {
        self.commit_delay = commit_delay;
        self
    }

    /// How long opening waits for another owner to let go. Default: 5 s.
    #[must_use]
    pub fn lock_timeout(mut self, lock_timeout: Duration) -> Options {
        self.lock_timeout = lock_timeout;
        self
    }

    /// How long [`Store::close`](crate::Store::close) waits for the writer to finish. Default: 30
    /// s.
    #[must_use]
    pub fn close_timeout(mut self, close_timeout: Duration) -> Options {
        self.close_timeout = close_timeout;
        self
    }

    /// How long after a version was replaced its holders may go on reading it. Then new calls of
    /// its snapshots, and ranges at their next page, answer
    /// [`Error::SnapshotEvicted`](crate::Error::SnapshotEvicted), so that they let go; what was
    /// borrowed stays valid, and pages come back when the last of them is dropped. At half of the
    /// time an [`Event::SlowReader`](crate::Event::SlowReader) warns. The newest version may be
    /// held for ever; a [`Reader`](crate::Reader) that was idle renews itself when it is asked; a
    /// backup is a reader like others. Default: without a limit.
    #[must_use]
    pub fn reader_timeout(mut self, reader_timeout: Duration) -> Options {
        self.reader_timeout = Some(reader_timeout);
        self
    }

    /// The clock by which [`reader_timeout`](Self::reader_timeout) and the ages that
    /// [`Store::readers`](crate::Store::readers) tells are measured; nothing else reads it.
    /// Default: the machine's, which only goes forward.
    #[must_use]
    pub fn clock(mut self, clock: impl Clock) -> Options {
        self.clock = StoreClock::of(clock);
        self
    }

    /// Whether the page file is read through a memory map. Default: true, on 64-bit Unix.
    #[must_use]
    pub fn memory_map(mut self, memory_map: bool) -> Options {
        self.memory_map = memory_map;
        self
    }

    /// Whether the kernel is asked for huge pages (2 MiB) behind the memory map, also behind what
    /// the page file has yet to grow to. Default: false.
    ///
    /// It changes how the kernel reads what is not in its page cache: in pieces of 2 MiB, each then
    /// behind one translation; the first gets after a start wait for larger reads. What the store
    /// itself has written lies in huge pages anyway. A kernel, or a file system, that has none for
    /// files refuses or ignores the request, which is no error.
    ///
    /// Measured on Linux 6.18 and ext4 with 3 million entries, by `cargo bench --bench map --
    /// 3000000` in `benches/rooms`: random gets from a file that was not in the page cache when the
    /// store was opened took 0.76 of the time without, others the same; on tmpfs no difference.
    #[must_use]
    pub fn map_huge_pages(mut self, map_huge_pages: bool) -> Options {
        self.map_huge_pages = map_huge_pages;
        self
    }

    /// Whether the page file is read and mapped in when the store is opened, and whatever a
    /// checkpoint adds to it when it has been written, so that no read waits for a page fault.
    /// Default: false.
    ///
    /// Cost: opening takes time in proportion to the page file, and the kernel's page cache holds
    /// it; where memory is short, it lets go of some of it again. A kernel before 5.14 only begins
    /// to read. Neither is an error.
    ///
    /// Measured as for [`map_huge_pages`](Self::map_huge_pages): once everything has been touched,
    /// random gets take the same time. The first touch of each page took 0.7 of the time without
    /// for a file out of the page cache, 0.2 with huge pages too, 0.6 on tmpfs, where opening took
    /// about as much longer; no less where the kernel had the file in huge pages already. To read
    /// 560 MB back from the device took 0.2 to 0.3 s at opening.
    #[must_use]
    pub fn map_prefault(mut self, map_prefault: bool) -> Options {
        self.map_prefault = map_prefault;
        self
    }

    /// Opens under a shared lock, without a writer: the last checkpoint and a private replay of the
    /// log. Nothing in the directory is changed. Default: false.
    #[must_use]
    pub fn read_only(mut self, read_only: bool) -> Options {
        self.read_only = read_only;
        self
    }

    /// Opens an empty store in memory if another owner holds the directory until
    /// [`lock_timeout`](Self::lock_timeout), and reports
    /// [`Event::OpenedInMemory`](crate::Event::OpenedInMemory): nothing that is written to it
    /// outlives it. Default: false.
    #[must_use]
    pub fn memory_if_locked(mut self, memory_if_locked: bool) -> Options {
        self.memory_if_locked = memory_if_locked;
        self
    }

    /// What opening does with a store that is damaged. Default: [`OnCorruption::Refuse`].
    ///
    /// Opening reads the meta pages, the catalog, the list of free space and the log. Damage
    /// elsewhere is found by whoever reads it, unless [`check_on_open`](Self::check_on_open) looks
    /// at everything first. A store that is opened to be read only is never set aside.
    #[must_use]
    pub fn on_corruption(mut self, on_corruption: OnCorruption) -> Options {
        self.on_corruption = on_corruption;
        self
    }

    /// What recovery takes for the end of the log. Default: [`LogRecovery::TornTail`].
    #[must_use]
    pub fn log_recovery(mut self, log_recovery: LogRecovery) -> Options {
        self.log_recovery = log_recovery;
        self
    }

    /// Whether opening checks every page, as [`Store::check`](crate::Store::check) does, before
    /// anything of the store is used: for files from someone who is not trusted, without the map.
    /// Cost: every page is read. Default: false.
    #[must_use]
    pub fn check_on_open(mut self, check_on_open: bool) -> Options {
        self.check_on_open = check_on_open;
        self
    }

    /// How long the page file may become before [`Event::Large`] is reported, in bytes. Default:
    /// 500 MB; `u64::MAX` for never.
    #[must_use]
    pub fn size_warning_bytes(mut self, size_warning_bytes: u64) -> Options {
        self.size_warning_bytes = size_warning_bytes;
        self
    }

    /// Whom the store tells what no caller may be waiting to hear. Default: nobody.
    ///
    /// The function is called on the store's own threads, or on one that waits for its commit, with
    /// whatever locks that one holds: it must not block, nor take a lock that is held around a
    /// write. A call in it that would wait for the store answers [`Error::Reentrant`]. Its panic is
    /// swallowed.
    #[must_use]
    pub fn on_event(mut self, listener: impl Fn(&Event) + Send + Sync + 'static) -> Options {
        self.events = Events::to(listener);
        self
    }

    /// Refuses values that cannot be, before anything is touched.
    pub(crate) fn validate(&self) -> Result<()> {
        if let Some(bytes) = self.page_bytes
            && !(bytes.is_power_of_two() && (PAGE_BYTES_MIN..=PAGE_BYTES_MAX).contains(&bytes))
        {
            return Err(Error::invalid(format!(
                "a page of {bytes} bytes is not a power of two from {PAGE_BYTES_MIN} to \
                 {PAGE_BYTES_MAX} bytes"
            )));
        }
        at_least("dirty_bytes", self.dirty_bytes, DIRTY_BYTES_MIN)?;
        at_least("sort_bytes", self.sort_bytes, SORT_BYTES_MIN)?;
        at_least("log_segment_bytes", self.log_segment_bytes, LOG_SEGMENT_BYTES_MIN)?;
        at_least("queue_capacity", self.queue_capacity as u64, 1)?;
        let log = self.log_segment_bytes;
        if log > LOG_SEGMENT_BYTES_MAX || !log.is_multiple_of(512) {
            return Err(Error::invalid(format!(
                "log_segment_bytes of {log} is no multiple of 512 up to {LOG_SEGMENT_BYTES_MAX}"
            )));
        }
        Ok(())
    }
}

fn at_least(name: &str, value: u64, min: u64) -> Result<()> {
    if value >= min {
        return Ok(());
    }
    Err(Error::invalid(format!("{name} of {value} is below the least possible, {min}")))
}

impl fmt::Debug for Options {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Options")
            .field("page_bytes", &self.page_bytes)
            .field("dirty_bytes", &self.dirty_bytes)
            .field("log_segment_bytes", &self.log_segment_bytes)
            .field("queue_capacity", &self.queue_capacity)
            .field("durability", &self.durability)
            .finish_non_exhaustive()
    }
}
