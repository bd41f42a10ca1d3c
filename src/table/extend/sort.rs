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

#[cfg(test)]
mod tests {
    #[test]
    fn what_is_shared_among_cores_is_sorted() {
        let numbers = (0..100_000u64).map(|n| n.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 40);
        let mut sorted: Vec<u64> = numbers.collect();
        let mut expected = sorted.clone();
        expected.sort_unstable();
        super::sort(&mut sorted, Ord::cmp);
        assert!(sorted == expected);
    }
}
