//! What threads do side by side is what one does: ranges in pieces, checks of subtrees.

use std::{collections::HashSet, ops::Bound};

use super::{Bytes, Dice, TABLE};
use crate::{
    error::{Error, Result},
    publish::Version,
    tree::{
        Tree,
        check::{TreeReport, Visit},
        cursor::Range,
        model_pages::ModelPages,
    },
};

/// A range in pieces has the entries of the whole, each once and in order.
pub fn are_as_expected<'o>(
    range: Range<'_, ModelPages>,
    pieces: usize,
    expected: impl Iterator<Item = (&'o Bytes, &'o Bytes)>,
) -> Result<()> {
    let pieces_max = pieces.max(1);
    let pieces = range.split(pieces)?;
    assert!((1..=pieces_max).contains(&pieces.len()), "{} of {pieces_max}", pieces.len());
    let ends = 1..pieces.len().max(2) - 1;
    assert!(pieces[ends].iter().all(|piece| piece.clone().next().is_some()), "an empty piece");
    let backwards = pieces.iter().rev().flat_map(|piece| piece.clone().rev());
    let backwards: Vec<_> = backwards.collect::<Result<_>>()?;
    let forwards: Vec<_> = pieces.into_iter().flatten().collect::<Result<_>>()?;
    assert!(forwards.iter().eq(backwards.iter().rev()));
    let expected = expected.map(|(key, value)| (key.as_slice(), value.as_slice()));
    assert!(forwards.into_iter().eq(expected), "{pieces_max} pieces");
    Ok(())
}

/// What a check visits, in order, and how it ends; a page that it comes to twice is an error.
fn told(check: impl FnOnce(Visit<'_>) -> Result<TreeReport>) -> String {
    let (mut visited, mut seen) = (Vec::new(), HashSet::new());
    let report = check(&mut |page, pages| {
        visited.push((page, pages));
        if seen.insert(page) { Ok(()) } else { Err(Error::corrupt_page(page.0, "named twice")) }
    });
    format!("{report:?} {visited:?}")
}

/// A check by all cores tells what one by one core does, of a damaged tree too.
pub fn checks_agree(tree: &Tree, pages: &ModelPages) {
    let newest = Version(pages.version);
    let alone = told(|visit| tree.check(pages, newest, visit));
    let found = told(|visit| tree.check_by_all(pages, newest, pages.end(), visit));
    assert_eq!(alone, found);
}

/// A tree of so many entries with keys at random and values of so many bytes.
fn tree(entries: u64, value_bytes: usize) -> (Tree, ModelPages) {
    let (mut tree, mut pages, mut dice) = (Tree::empty(TABLE), ModelPages::new(4096), Dice(3));
    for _ in 0..entries {
        tree.insert(&mut pages, &dice.roll().to_be_bytes(), &vec![7; value_bytes]).expect("room");
    }
    (tree, pages)
}

#[test]
fn pieces_are_of_like_size() {
    for entries in [5_000, 20_000] {
        let (tree, pages) = tree(entries, 300);
        for count in [2, 3, 4, 7, 16] {
            let all = tree.range(&pages, Bound::Unbounded, Bound::Unbounded).expect("sound");
            let pieces =
                all.split(count).expect("sound").into_iter().map(|piece| piece.count() as u64);
            let pieces: Vec<u64> = pieces.collect();
            assert_eq!((pieces.len(), pieces.iter().sum()), (count, entries), "{pieces:?}");
            let even = entries / count as u64;
            let fits = |piece: &u64| (even * 2 / 3..=even * 3 / 2).contains(piece);
            assert!(pieces.iter().all(fits), "{pieces:?}");
        }
    }
}

#[test]
fn the_smallest_piece_is_a_leaf() {
    let (tree, pages) = tree(3_000, 300);
    let leaves = tree.check(&pages, Version(u64::MAX), &mut |_, _| Ok(())).expect("sound").leaves;
    let all = tree.range(&pages, Bound::Unbounded, Bound::Unbounded).expect("sound");
    let (mut cut, mut whole) = (vec![all], 0);
    while let Some(piece) = cut.pop() {
        match piece.cut(0.5).expect("sound") {
            Some((left, right)) => cut.extend([right, left]),
            None => whole += 1,
        }
    }
    assert_eq!(whole, leaves);
}

#[test]
fn deep_trees_are_checked_alike() {
    // Of the last one the root has children enough that branches are shared, not leaves.
    for entries in [1, 30, 3_000, 16_000] {
        let (tree, mut pages) = tree(entries, 900);
        checks_agree(&tree, &pages);
        pages.is_lenient = true;
        let mut dice = Dice(entries);
        for _ in 0..8 {
            let mut pages = pages.clone();
            let mut damaged = pages.bytes_mut();
            for _ in 0..=dice.below(3) {
                let page = dice.below(damaged.len());
                let reach = [32, 400, 4096][dice.below(3)];
                let at = dice.below(reach);
                damaged[page][at] ^= 1 << dice.below(8);
            }
            checks_agree(&tree, &pages);
        }
    }
}
