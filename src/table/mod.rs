//! Typed tables.

pub mod key;
pub mod value;
