//! Opening a store that may be damaged.
//! Owns: the policy of [`OnCorruption`]. The lock is held from the first look to the end, so that
//! nobody else's store can be set aside by mistake.

#[cfg(feature = "internals")]
use crate::{check::CheckReport, txn::snapshot::View};
use crate::{
    error::{Error, Result},
    event::Event,
    options::{OnCorruption, Options},
    publish::Bell,
    storage::{Storage, StorageFile},
    sync::Arc,
    txn::{
        aside::set_aside,
        recover::{self, Opened},
    },
};

/// Opens the store, makes one if it is absent, sets a damaged one aside if that is asked for.
pub(super) fn open(
    storage: &Arc<dyn Storage>,
    options: &Options,
    bell: &Arc<Bell>,
) -> Result<Opened> {
    loop {
        let locked = recover::lock_page_file(storage, options);
        let damaged = locked.as_ref().ok().map(Arc::clone);
        let error = match locked.and_then(|file| look(storage, &file, options, bell)) {
            Err(error @ Error::Corrupt(_)) if options.on_corruption == OnCorruption::SetAside => {
                error
            }
            opened => return opened,
        };
        // Another process was faster: its store is looked at then.
        let Some(aside) = set_aside(&**storage, damaged.as_deref(), options)? else { continue };
        drop(damaged);
        let opened = recover::open(storage, &aside.page_file, options, bell)?;
        options.events.report(|| Event::SetAside { error, prefix: aside.prefix });
        return Ok(opened);
    }
}

/// Reads what opening needs; all of it if that is asked for.
fn look(
    storage: &Arc<dyn Storage>,
    file: &Arc<dyn StorageFile>,
    options: &Options,
    bell: &Arc<Bell>,
) -> Result<Opened> {
    let mut opened = recover::open(storage, file, options, bell)?;
    if options.check_on_open {
        opened.inventory(bell).check(&mut |_, _| {})?;
    }
    Ok(opened)
}

/// Opens what is in `storage` as far as a store without threads goes: recovery with its replay, but
/// not the checkpoint behind it. Hands the version found to `read`, then checks every page. For
/// tests that open a million damaged stores.
///
/// # Errors
/// As [`Options::open`]; what `read` answers; what the check finds.
#[cfg(feature = "internals")]
pub fn prove(
    options: &Options,
    storage: &Arc<dyn Storage>,
    read: impl FnOnce(&View) -> Result<()>,
) -> Result<CheckReport> {
    let bell = Arc::new(Bell::new(|| {}));
    let file = recover::lock_page_file(storage, options)?;
    let inventory = recover::open(storage, &file, options, &bell)?.inventory(&bell);
    read(&inventory.view)?;
    inventory.check(&mut |_, _| {})
}
