//! Many point reads at once: groups are walked down the tree together, so that the cache misses of
//! one lookup overlap those of the others. Sorting the keys first gains nothing (measured in the
//! prototype), so they are taken as they come.

use super::{Tree, resolver};
use crate::{
    error::Result,
    page::{Child, branch::Branch, leaf::Leaf},
    pager::{LINE_BYTES, Pages, prefetch},
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
            let mut leaves = [None; GROUP];
            for ((child, key), leaf) in children.iter().zip(keys).zip(&mut leaves) {
                let found = Leaf::new(pages.page(*child, self.table, 0)?)?;
                if let Some(cell) = found.likely_cell(key) {
                    prefetch(cell);
                    prefetch(cell.get(LINE_BYTES..).unwrap_or(cell));
                }
                *leaf = Some(found);
            }
            for ((leaf, key), value) in leaves.into_iter().flatten().zip(keys).zip(values) {
                if let Some(found) = leaf.get(key, &resolve)? {
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
            self.walk_group(pages, root, keys)?;
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
        let resolve = resolver(pages, self.table);
        for level in (1..=self.level).rev() {
            // At the root all keys look at the same lines, which the first one fetches.
            if level < self.level {
                for (child, key) in at.iter().zip(keys) {
                    Branch::new(pages.page(*child, self.table, level)?)?.prefetch(key.as_ref());
                }
            }
            for (child, key) in at.iter_mut().zip(keys) {
                let branch = Branch::new(pages.page(*child, self.table, level)?)?;
                *child = branch.child(branch.child_index(key.as_ref(), &resolve)?)?;
                pages.prefetch(child.page);
            }
        }
        Ok(at)
    }
}
