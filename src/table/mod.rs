//! Typed tables.

pub mod catalog;
pub mod key;
pub mod value;
