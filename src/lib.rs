//! recto: an ordered, typed, transactional store in one directory.
#![cfg_attr(loom, allow(dead_code, reason = "models run a part of the crate"))]

mod error;
#[cfg(not(loom))]
mod options;
#[cfg(not(loom))]
mod page;
#[cfg(not(loom))]
mod pager;
mod publish;
mod reclaim;
#[cfg(not(loom))]
mod stats;
#[cfg(not(loom))]
mod storage;
#[cfg(not(loom))]
mod store;
mod sync;
#[cfg(not(loom))]
mod table;
#[cfg(not(loom))]
mod tree;
#[cfg(not(loom))]
mod txn;
#[cfg(not(loom))]
mod wal;

/// What models run of the pager: the parts that readers and the writer share. The rest is one
/// thread's, and needs a storage.
#[cfg(loom)]
mod pager {
    pub mod frames;
    pub mod slots;
}

/// What errors name of the options, for models.
#[cfg(loom)]
mod options {
    pub const PAGE_FILE: &str = "pages";
}

pub use error::{Corruption, Error, IoFailure, Limit, Resource, Result, TypeMismatch};
#[cfg(all(feature = "pod", not(loom)))]
pub use table::pod::Pod;
#[cfg(all(feature = "postcard", not(loom)))]
pub use table::postcard::Postcard;
#[cfg(not(loom))]
pub use {
    options::{Clock, Durability, Options},
    stats::Stats,
    store::{Closed, Reader, Store, TrySubmitError},
    table::{
        Table,
        key::{Key, Prefix},
        read::{Range, TableRef},
        value::Value,
        write::{ExtractIf, TableMut},
    },
    txn::{
        answer::{Answer, Commit},
        batch::Batch,
        metrics::Latency,
        snapshot::{Snapshot, View},
        write::WriteTx,
    },
};

/// The simulated disk that this repository's crash tests are built on. Not covered by semver.
#[cfg(all(feature = "simulation", not(loom)))]
pub mod simulation {
    pub use crate::storage::sim::*;
}

/// The rooms below the public face, for this repository's own models and fuzz targets. Not covered by
/// semver.
#[cfg(any(loom, feature = "internals"))]
#[doc(hidden)]
pub mod internals {
    pub mod publish {
        pub use crate::publish::*;
    }
    pub mod reclaim {
        pub use crate::reclaim::*;
    }
    pub mod sync {
        pub use crate::sync::*;
    }
    pub mod frames {
        pub use crate::pager::frames::*;
    }
    pub mod slots {
        pub use crate::pager::slots::*;
    }
}
