//! The copy-on-write B+tree of one table, over any [`Pages`](crate::pager::Pages).

pub mod build;
pub mod check;
pub mod cursor;
pub mod diff;
pub mod get_many;
pub mod insert;
pub mod remove;

use crate::{page::Child, pager::TableId};

/// The root of one table's tree: a small value that a transaction copies and a snapshot keeps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tree {
    /// The table that every page of the tree names.
    pub table: TableId,
    /// The root page; none if the tree is empty.
    pub root: Option<Child>,
    /// The root's level; 0 is a leaf.
    pub level: u8,
    /// The number of entries.
    pub len: u64,
}
