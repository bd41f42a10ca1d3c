//! Where to cut a page in two.

/// How many of the entries, whose sizes are given, go left: the cut nearest to equal halves that
/// `fits`, with at least one entry on each side. None if no cut fits.
pub fn balanced_cut(entry_bytes: &[usize], mut fits: impl FnMut(usize) -> bool) -> Option<usize> {
    let last = entry_bytes.len().checked_sub(1)?;
    let total: usize = entry_bytes.iter().sum();
    let mut left = 0;
    let middle = entry_bytes.iter().take_while(|&&bytes| {
        left += bytes;
        2 * left - bytes <= total
    });
    // The entry across the middle is on the left; cuts next to it come first, then further ones.
    let middle = middle.count().clamp(1, last.max(1));
    let mut cuts =
        (0..=last).flat_map(|far| [middle.checked_sub(far), middle.checked_add(far + 1)]);
    cuts.find_map(|cut| cut.filter(|cut| (1..=last).contains(cut) && fits(*cut)))
}
