//! How full pages are, and how much work changes cost.

use super::{Dice, TABLE};
use crate::publish::Version;
use crate::tree::{
    Tree,
    build::Fill,
    model_pages::{ModelPages, View},
};

const PAGE_BYTES: usize = 4096;

fn key(n: u64) -> [u8; 24] {
    let mut key = [0; 24];
    key[..8].copy_from_slice(&n.to_be_bytes());
    key
}

/// Inserts entries one by one.
fn grown(keys: impl Iterator<Item = u64>) -> (ModelPages, Tree) {
    let (mut pages, mut tree) = (ModelPages::new(PAGE_BYTES), Tree::empty(TABLE));
    for n in keys {
        tree.insert(&mut pages, &key(n), &[7; 40]).expect("there are pages");
    }
    (pages, tree)
}

/// The share of leaves and branches that is in use, in percent.
fn fill_percent(tree: &Tree, pages: &ModelPages) -> u64 {
    let report = tree.check(pages, Version(u64::MAX), &mut |_, _| Ok(())).expect("sound");
    report.used_bytes * 100 / ((report.leaves + report.branches) * PAGE_BYTES as u64)
}

#[test]
fn ascending_and_descending_keys_fill_their_pages() {
    for (pages, tree) in [grown(0..20_000), grown((0..20_000).rev())] {
        let percent = fill_percent(&tree, &pages);
        assert!(percent >= 95, "{percent} % full");
    }
}

#[test]
fn keys_that_count_on_in_many_places_fill_their_pages() {
    let stream_key = |n: u64| [(n % 50).to_be_bytes(), (n / 50).to_be_bytes()].concat();
    let (mut pages, mut tree) = (ModelPages::new(PAGE_BYTES), Tree::empty(TABLE));
    for n in 0..40_000 {
        tree.insert(&mut pages, &stream_key(n), &[7; 40]).expect("there are pages");
    }
    let percent = fill_percent(&tree, &pages);
    assert!(percent >= 90, "{percent} % full");
}

#[test]
fn a_built_tree_is_full() {
    let mut pages = ModelPages::new(PAGE_BYTES);
    let sorted = (0..20_000).map(|n| Ok((key(n), [7; 40])));
    let tree = Tree::build(TABLE, &mut pages, sorted).expect("sorted");
    assert!(fill_percent(&tree, &pages) >= 95);
    assert_eq!(tree.len, 20_000);
}

/// Of keys in no order the next ones come anywhere, and would each split a whole leaf.
#[test]
fn leaves_built_with_slack_take_an_entry_each_before_they_split() {
    let leaves_before_and_after = |fill, value_bytes: usize| {
        let value = vec![7; value_bytes];
        let (mut pages, mut tree) = (ModelPages::new(PAGE_BYTES), Tree::empty(TABLE));
        let sorted = (0..20_000).map(|n| Ok((key(2 * n), &value)));
        tree.append(&mut pages, sorted, fill).expect("sorted");
        let leaves = |tree: &Tree, pages: &ModelPages| {
            tree.check(pages, Version(u64::MAX), &mut |_, _| Ok(())).expect("sound").leaves
        };
        let before = leaves(&tree, &pages);
        // More entries apart than a leaf has.
        for n in (0..20_000).step_by(4000 / value_bytes + 4) {
            tree.insert(&mut pages, &key(2 * n + 1), &value).expect("there are pages");
        }
        (before, leaves(&tree, &pages))
    };
    for value_bytes in [100, 120, 150, 170, 180, 200, 210] {
        let (whole, whole_after) = leaves_before_and_after(Fill::Whole, value_bytes);
        let (slack, slack_after) = leaves_before_and_after(Fill::WithSlack, value_bytes);
        let told = format!(
            "{value_bytes}: {whole} leaves, then {whole_after}; slack {slack}, {slack_after}"
        );
        assert!(whole < slack && slack * 100 < whole * 112, "{told}");
        assert!((whole_after - whole) * 2 > whole, "{told}");
        assert!((slack_after - slack) * 50 < slack, "{told}");
    }
}

#[test]
fn random_keys_leave_pages_two_thirds_full_and_removal_a_third() {
    let mut dice = Dice(1);
    let numbers: Vec<u64> = (0..20_000).map(|_| dice.roll()).collect();
    let (mut pages, mut tree) = grown(numbers.iter().copied());
    let percent = fill_percent(&tree, &pages);
    assert!(percent >= 62, "{percent} % full");
    for n in &numbers[..18_000] {
        assert!(tree.remove(&mut pages, &key(*n)).expect("sound"));
    }
    let percent = fill_percent(&tree, &pages);
    assert!(percent >= 40, "{percent} % full");
    for n in &numbers[18_000..] {
        assert!(tree.remove(&mut pages, &key(*n)).expect("sound"));
    }
    assert_eq!(tree, Tree::empty(TABLE));
    assert!(pages.in_use().is_empty());
}

#[test]
fn a_merge_copies_each_page_that_it_touches_once() {
    let (mut pages, mut tree) = grown((0..20_000).map(|n| 2 * n));
    let report = tree.check(&pages, Version(u64::MAX), &mut |_, _| Ok(())).expect("sound");
    pages.version += 1;
    pages.copies = 0;
    // Nothing new: values of the same length, so that no page is split.
    let changes = (0..20_000).map(|n| Ok((key(2 * n), Some([8; 40]))));
    pages.reads.take();
    assert_eq!(tree.merge(&mut pages, changes).expect("sorted"), 0);
    assert_eq!(pages.copies as u64, report.leaves + report.branches);
}

#[test]
fn a_diff_reads_what_changed_and_the_way_there() {
    let (mut pages, mut tree) = grown(0..20_000);
    let old = tree;
    let old_version = pages.version;
    pages.version += 1;
    for n in [5, 7_000, 19_999] {
        assert!(!tree.insert(&mut pages, &key(n), b"changed").expect("sound"));
    }
    assert!(tree.remove(&mut pages, &key(12_345)).expect("sound"));
    let (before, after) = (
        View { pages: &pages, version: old_version },
        View { pages: &pages, version: pages.version },
    );
    pages.reads.take();
    let changes: Vec<_> = Tree::diff(&old, &tree, &before, &after)
        .map(|change| change.expect("sound").key.to_vec())
        .collect();
    assert_eq!(changes, [5, 7_000, 12_345, 19_999].map(|n| key(n).to_vec()));
    let reads = pages.reads.take();
    assert!(reads <= 2 * 4 * (usize::from(tree.level) + 1), "{reads} pages read");
}
