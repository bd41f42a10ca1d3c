//! Many point reads at once: groups are walked down the tree together, so that the cache misses of
//! one lookup overlap those of the others. Sorting the keys first gains nothing (measured in the
//! prototype), so they are taken as they come.

use super::{Tree, resolver};
use crate::{
    error::Result,
    page::{Child, branch::Search, leaf::Lookup},
    pager::Pages,
};

/// How many lookups go down together: enough to fill the CPU's queue of misses, few enough that
/// their pages' first lines stay in the first cache.
const GROUP: usize = 16;

impl Tree {
    /// The values of `keys`, in their order, borrowed from the pages.
    ///
    /// # Errors
    /// [`Error::Corrupt`](crate::Error::Corrupt) if a page on the way is damaged.
    pub fn get_many<'p, P: Pages>(
        &self,
        pages: &'p P,
        keys: &[&[u8]],
    ) -> Result<Vec<Option<&'p [u8]>>> {
        let mut values = vec![None; keys.len()];
        let Some(root) = self.root else {
            return Ok(values);
        };
        let resolve = resolver(pages, self.table);
        for (keys, values) in keys.chunks(GROUP).zip(values.chunks_mut(GROUP)) {
            let children = self.walk_group(pages, root, keys)?;
            let mut lookups = [None; GROUP];
            for ((lookup, child), key) in lookups.iter_mut().zip(children).zip(keys) {
                let begun = Lookup::begin(pages.leaf_bytes(child, self.table)?, key)?;
                begun.prefetch();
                *lookup = Some(begun);
            }
            for ((lookup, key), value) in lookups.into_iter().flatten().zip(keys).zip(values) {
                if let Some((_, found)) = lookup.entry(key, &resolve)? {
                    *value = Some(found.resolve(&resolve)?);
                }
            }
        }
        Ok(values)
    }

    /// Fetches the leaves of `keys` into the CPU's cache, ahead of changes to them.
    pub(crate) fn warm<P: Pages, K: AsRef<[u8]>>(&self, pages: &P, keys: &[K]) -> Result<()> {
        let Some(root) = self.root else {
            return Ok(());
        };
        for keys in keys.chunks(GROUP) {
            for child in self.walk_group(pages, root, keys)?.iter().take(keys.len()) {
                pages.prefetch_heads(child.page);
            }
        }
        Ok(())
    }

    /// The leaves of up to [`GROUP`] keys, their first lines on the way into the cache.
    fn walk_group<P: Pages, K: AsRef<[u8]>>(
        &self,
        pages: &P,
        root: Child,
        keys: &[K],
    ) -> Result<[Child; GROUP]> {
        let mut at = [root; GROUP];
        let mut searches = [None; GROUP];
        let resolve = resolver(pages, self.table);
        for level in (1..=self.level).rev() {
            let mut page = None;
            for ((search, child), key) in searches.iter_mut().zip(at).zip(keys) {
                let bytes = match page {
                    Some(root) if level == self.level => root,
                    _ => pages.page(child, self.table, level)?,
                };
                page = Some(bytes);
                let begun = Search::begin(bytes, key.as_ref())?;
                begun.prefetch_heads();
                *search = Some(begun);
            }
            for ((child, search), key) in at.iter_mut().zip(searches).zip(keys) {
                if let Some(search) = search {
                    *child = search.child(key.as_ref(), &resolve)?;
                    pages.prefetch(child.page);
                }
            }
        }
        Ok(at)
    }
}
