//! Options and every limit, with units in the names.

/// The page file's name in the store's directory.
pub const PAGE_FILE: &str = "pages";
/// The start of the name of every log segment.
pub const LOG_PREFIX: &str = "log-";
/// The file that tells who holds the store: the owner's pid in decimal.
pub const OWNER_FILE: &str = "owner";
/// The start of the name of every file that is being made and has no meaning yet; removed at open.
pub const TEMPORARY_PREFIX: &str = "tmp-";

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
