//! recto: an ordered, typed, transactional store in one directory.
//!
//! Readers hold [`Snapshot`]s, which take no lock and never change. Changes go to one writer
//! thread: closures ([`Store::write`]) that read and change whatever they like, or blind
//! [`Batch`]es that any thread puts together. The writer commits what it finds waiting as one
//! group, with one sync.
//!
//! ```
//! use recto::{Batch, Store, Table};
//!
//! const AGES: Table<&str, u64> = Table::new("ages");
//!
//! # fn main() -> recto::Result<()> {
//! let store = Store::in_memory()?; // or Store::open("path/to/dir")
//! store.write(|tx| {
//!     let mut ages = tx.table(&AGES)?;
//!     ages.insert("ada", 36)?;
//!     ages.update("ada", |old| old.map(|age| age + 1))
//! })?;
//! let snapshot = store.snapshot();
//! let mut batch = Batch::new();
//! batch.insert(&AGES, "alan", 41);
//! store.submit(batch)?.wait()?;
//! assert_eq!(snapshot.table(&AGES)?.len()?, 1);
//! assert_eq!(store.get(&AGES, "alan")?, Some(41));
//! # Ok(())
//! # }
//! ```
//!
//! # Where to look
//! - Opening and every setting: [`Options`]. What a commit promises: [`Durability`], [`Commit`].
//! - What keys and values can be: [`Key`], [`Value`]. Reading and changing tables: [`TableRef`],
//!   [`TableMut`].
//! - Reading in a hot loop: [`Reader`]; without a count: [`Store::read`]; many keys at once:
//!   [`TableRef::get_many`].
//! - What can go wrong: [`Error`]; what the store reports on its own: [`Event`].
//!
//! # Features
//! None is on by default. `postcard` and `pod` bring values of other types; `simulation` the disk
//! that crash tests are built on; `internals` is for this repository alone.
#![cfg_attr(loom, allow(dead_code, reason = "models run a part of the crate"))]

#[cfg(not(loom))]
mod check;
#[cfg(not(loom))]
mod clock;
mod error;
mod event;
#[cfg(not(loom))]
mod options;
#[cfg(not(loom))]
mod page;
#[cfg(not(loom))]
mod pager;
mod publish;
mod reclaim;
#[cfg(not(loom))]
mod salvage;
mod seeded;
#[cfg(not(loom))]
mod stats;
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
mod wal;

/// What models run of the pager: the parts that readers and the writer share. The rest is one
/// thread's, and needs a storage.
#[cfg(loom)]
mod pager {
    pub mod frames;
    pub mod slots;
}

/// What models run of the transactions: the queue and the answers.
#[cfg(loom)]
mod txn {
    pub mod answer;
    pub mod checkpointer;
    pub mod gate;
    pub mod line;
    pub mod metrics;
    pub mod patience;
    pub mod pipeline;
    pub mod queue;
}

/// What errors name of the options, for models.
#[cfg(loom)]
mod options {
    pub const PAGE_FILE: &str = "pages";
    pub const LOG_PREFIX: &str = "log-";
}

pub use error::{Corruption, Error, IoFailure, Limit, Resource, Result, TypeMismatch};
#[cfg(all(feature = "pod", not(loom)))]
pub use table::pod::Pod;
#[cfg(all(feature = "postcard", not(loom)))]
pub use table::postcard::Postcard;
#[cfg(not(loom))]
pub use {
    check::CheckReport,
    clock::{Clock, ManualClock},
    event::Event,
    options::{Durability, LogRecovery, OnCorruption, Options},
    salvage::{SalvageReport, salvage},
    stats::Stats,
    store::{
        Budget, Closed, Compacted, Reader, Store, Transaction, TrySubmitError,
        increment::Increment, restore::restore,
    },
    table::{
        Table,
        key::{Key, Prefix},
        raw::TableReport,
        read::{Range, TableRef},
        value::Value,
        write::{ExtractIf, TableMut},
    },
    txn::{
        answer::{Answer, Commit},
        batch::Batch,
        catalog::TableTypes,
        metrics::Latency,
        readers::ReaderReport,
        snapshot::{Snapshot, View},
        write::WriteTx,
    },
};

/// Tables as ordered bytes, for tools that meet tables whose types they do not know.
#[cfg(not(loom))]
pub mod raw {
    pub use crate::table::raw::{Ordered, RawRange, RawTable, RawTableMut};
}

/// The simulated disk that this repository's crash tests are built on. Not covered by semver.
#[cfg(all(feature = "simulation", not(loom)))]
pub mod simulation {
    pub use crate::{seeded::Bug, storage::sim::*};
}

/// The rooms below the public face, for this repository's own models and fuzz targets. Not covered
/// by semver.
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
    pub mod answer {
        pub use crate::txn::answer::*;
    }
    #[cfg(loom)]
    pub mod checkpointer {
        pub use crate::txn::checkpointer::*;
    }
    #[cfg(loom)]
    pub mod pipeline {
        pub use crate::{
            event::Events,
            seeded::Seeded,
            txn::{metrics::Metrics, pipeline::*},
        };
    }
    pub mod gate {
        pub use crate::txn::gate::*;
    }
    pub mod line {
        pub use crate::txn::line::*;
    }
    pub mod queue {
        pub use crate::txn::queue::*;
    }
    #[cfg(not(loom))]
    pub mod page {
        pub use crate::page::*;
    }
    pub mod storage {
        pub use crate::storage::*;
    }
    #[cfg(not(loom))]
    pub mod table {
        pub use crate::table::*;
    }
    pub mod wal {
        pub use crate::wal::*;
    }
    #[cfg(not(loom))]
    pub mod store {
        pub use crate::store::{increment::format as increment, open_storage, prove};
    }
}

/// The README's examples, run as tests.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
pub struct Readme;
