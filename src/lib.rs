//! recto: an ordered, typed, transactional store in one directory.

mod error;
mod options;
mod page;
mod pager;
mod publish;
mod reclaim;
mod storage;
#[cfg(not(loom))]
mod store;
mod sync;
mod table;
mod tree;
mod txn;
mod wal;

pub use error::{Corruption, Error, IoFailure, Limit, Resource, Result, TypeMismatch};
