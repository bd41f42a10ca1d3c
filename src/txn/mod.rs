//! Snapshots, transactions and the writer thread.

pub mod answer;
pub mod batch;
pub mod catalog;
pub mod gate;
pub mod line;
pub mod queue;
pub mod snapshot;
pub mod write;
pub mod writer;
