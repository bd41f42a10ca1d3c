//! One segment on disk.
