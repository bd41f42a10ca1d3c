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
//! None is on by default. `postcard` and `pod` bring values of other types; `rayon` shares scans
//! and checks among all cores; `simulation` brings the disk that crash tests are built on;
//! `internals` is for this repository alone.

mod behind;
mod check;
mod clock;
mod error;
mod event;
mod options;
mod page;
mod pager;
mod publish;
mod reclaim;
mod salvage;
mod seeded;
mod stats;
mod storage;
mod store;
mod sync;
mod table;
mod tree;
mod txn;
mod wal;

pub use error::{Corruption, Error, IoFailure, Limit, Resource, Result, TypeMismatch};
#[cfg(feature = "rayon")]
pub use table::parallel::ParRange;
#[cfg(feature = "pod")]
pub use table::pod::Pod;
#[cfg(feature = "postcard")]
pub use table::postcard::Postcard;
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
pub mod raw {
    pub use crate::table::raw::{Ordered, RawRange, RawTable, RawTableMut};
}

/// The simulated disk that this repository's crash tests are built on. Not covered by semver.
#[cfg(feature = "simulation")]
pub mod simulation {
    pub use crate::{seeded::Bug, storage::sim::*};
}

/// The rooms below the public face, for this repository's own models, fuzz targets and benches. Not
/// covered by semver.
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
    pub mod behind {
        pub use crate::behind::*;
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
    pub mod checkpointer {
        pub use crate::txn::checkpointer::*;
    }
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
    pub mod work {
        pub use crate::txn::work::*;
    }
    pub mod page {
        pub use crate::page::*;
    }
    pub mod pager {
        pub use crate::pager::*;
    }
    pub mod storage {
        pub use crate::storage::*;
    }
    pub mod table {
        pub use crate::table::*;
    }
    pub mod tree {
        pub use crate::tree::*;
    }
    pub mod wal {
        pub use crate::wal::*;
    }
    pub mod store {
        pub use crate::store::{Stopped, increment::format as increment, open_storage, prove};
    }
}

/// The README's examples, run as tests.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
pub struct Readme;
