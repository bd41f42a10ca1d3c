//! Snapshots, transactions and the writer.

pub mod answer;
pub mod aside;
pub mod backup;
pub mod batch;
pub mod catalog;
pub mod checkpoint;
pub mod checkpointer;
pub mod compact;
pub mod cut;
pub mod gate;
pub mod line;
pub mod metrics;
pub mod optimistic;
pub mod patience;
pub mod pipeline;
pub mod queue;
pub mod raw;
pub mod readers;
pub mod recover;
pub mod replaying;
pub mod request;
pub mod seat;
pub mod snapshot;
pub mod work;
pub mod write;
pub mod writer;
