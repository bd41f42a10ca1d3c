//! A part of a directory that looks like a directory of its own: all names in it begin alike.
//! For stores that are made where another name is to stand once they are whole.

use super::{Storage, StorageFile};
use crate::{error::Result, sync::Arc};

/// The files of a directory whose names begin with a prefix, which is left out.
pub struct Prefixed {
    inner: Arc<dyn Storage>,
    prefix: &'static str,
}

impl Prefixed {
    /// The files of `inner` whose names begin with `prefix`.
    pub fn new(inner: Arc<dyn Storage>, prefix: &'static str) -> Prefixed {
        Prefixed { inner, prefix }
    }

    fn whole(&self, name: &str) -> String {
        format!("{}{name}", self.prefix)
    }

    /// Removes all of them.
    ///
    /// # Errors
    /// `Error::Io`.
    pub fn clear(&self) -> Result<()> {
        self.list()?.iter().try_for_each(|name| self.remove(name))
    }
}

impl Storage for Prefixed {
    fn open(&self, name: &str) -> Result<Arc<dyn StorageFile>> {
        self.inner.open(&self.whole(name))
    }

    fn create(&self, name: &str) -> Result<Arc<dyn StorageFile>> {
        self.inner.create(&self.whole(name))
    }

    fn rename(&self, from: &str, to: &str) -> Result<()> {
        self.inner.rename(&self.whole(from), &self.whole(to))
    }

    fn remove(&self, name: &str) -> Result<()> {
        self.inner.remove(&self.whole(name))
    }

    fn list(&self) -> Result<Vec<String>> {
        let names = self.inner.list()?;
        Ok(names
            .iter()
            .filter_map(|name| name.strip_prefix(self.prefix))
            .map(str::to_owned)
            .collect())
    }

    fn sync_dir(&self) -> Result<()> {
        self.inner.sync_dir()
    }
}
