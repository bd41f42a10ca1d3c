//! One record on disk.
