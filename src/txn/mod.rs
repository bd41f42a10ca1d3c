//! Snapshots, transactions and the writer thread.

pub mod batch;
pub mod catalog;
pub mod queue;
pub mod snapshot;
pub mod write;
pub mod writer;
