//! The only file that names std::sync, std::thread, arc_swap, flume or loom.
pub use std::sync::{Arc, Condvar, Mutex};
