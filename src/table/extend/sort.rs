//! Sorting much: the one place of bulk loads that shares work among cores.
//! Owns: the use of rayon, behind the feature of that name. Absent on purpose: threads of our own.

use std::cmp::Ordering;

/// From here on sharing pays.
#[cfg(feature = "rayon")]
const SHARED_MIN: usize = 32 << 10;

/// Sorts in place; what compares as equal may change places.
pub fn sort<T: Send>(items: &mut [T], compare: impl Fn(&T, &T) -> Ordering + Sync) {
    #[cfg(feature = "rayon")]
    if items.len() >= SHARED_MIN {
        use rayon::slice::ParallelSliceMut;
        return items.par_sort_unstable_by(compare);
    }
    items.sort_unstable_by(compare);
}
