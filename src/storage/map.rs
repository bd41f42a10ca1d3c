//! The read-only map.
/// A read-only map.
pub struct Map;
