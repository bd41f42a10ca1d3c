//! Space that runs out, bytes that rot, callers that err.

use std::ops::Bound;

use super::{Dice, Oracle, TABLE, World, pieces, play, seeds};
use crate::{
    error::{Error, Limit, Resource, Result},
    options::{KEY_BYTES_MAX, VALUE_BYTES_MAX},
    publish::Version,
    tree::{Tree, model_pages::ModelPages, repack::Stretch},
};

#[test]
fn an_operation_that_runs_out_of_pages_can_be_undone() {
    for seed in seeds(60) {
        let mut world = World::new(seed);
        for _ in 0..40 {
            world.operation().expect("there are pages enough");
        }
        world.turn();
        let mut refused = 0;
        for spare in 0.. {
            let (pages, tree) = (world.pages.clone(), world.tree);
            let oracle = world.oracle.clone();
            let in_use = pages.in_use().values().map(|pages| *pages as usize).sum::<usize>();
            world.pages.pages_max = in_use + 2 + spare;
            match (0..20).try_for_each(|_| world.operation()) {
                Ok(()) => break,
                Err(Error::Full { what: Resource::Pages }) => refused += 1,
                Err(error) => panic!("seed {seed}: {error}"),
            }
            (world.pages, world.tree, world.oracle) = (pages, tree, oracle);
            world.verify().expect("what was undone is as it was");
        }
        world.verify().expect("what was not refused is whole");
        assert!(refused < 10_000);
    }
    play(1, 2, 10);
}

/// Every way to read and change a tree; what they give does not matter here.
fn use_all(world: &mut World) -> Result<()> {
    let (pages, tree) = (&mut world.pages, &mut world.tree);
    let keys: Vec<Vec<u8>> = (0..10).map(|_| world.source.key()).collect();
    let slices: Vec<&[u8]> = keys.iter().map(Vec::as_slice).collect();
    let before = *tree;
    let results = [
        tree.get_many(pages, &slices).map(drop),
        tree.first(pages).map(drop),
        tree.last(pages).map(drop),
        walk(tree, pages),
        tree.check(pages, Version(u64::MAX), &mut |_, _| Ok(())).map(drop),
        Tree::diff(&before, tree, pages, pages).try_for_each(|change| change.map(drop)),
    ];
    drop(results);
    let changes = keys.iter().map(|key| Ok((key, Some(b"value"))));
    let mut sorted: Vec<_> = changes.collect::<Result<_>>()?;
    sorted.sort();
    for key in &keys {
        drop(tree.insert(pages, key, key));
        drop(tree.remove(pages, key));
    }
    drop(tree.merge(pages, sorted.into_iter().map(Ok)));
    drop(tree.remove_range(pages, Bound::Included(slices[0]), Bound::Excluded(slices[1])));
    for key in keys {
        drop(tree.repack(pages, &Stretch { key, leaves: 9, needed: 0 }, 4));
    }
    tree.clear(pages)
}

fn walk(tree: &Tree, pages: &ModelPages) -> Result<()> {
    let mut range = tree.range(pages, Bound::Unbounded, Bound::Unbounded)?;
    // A damaged tree may name a page twice, but not for ever: levels end every way down.
    for _ in 0..10_000 {
        if range.next().transpose()?.is_none() || range.next_back().transpose()?.is_none() {
            break;
        }
    }
    for piece in tree.range(pages, Bound::Unbounded, Bound::Unbounded)?.split(5)? {
        piece.take(10_000).try_for_each(|entry| entry.map(drop))?;
    }
    Ok(())
}

#[test]
fn damaged_pages_give_errors_or_wrong_entries_but_never_a_panic() {
    for seed in seeds(150) {
        let mut world = World::new(seed);
        for _ in 0..30 {
            world.operation().expect("nothing is damaged yet");
        }
        world.pages.is_lenient = true;
        let (pages, tree) = (world.pages.clone(), world.tree);
        let mut dice = Dice(seed);
        for _ in 0..20 {
            (world.pages, world.tree) = (pages.clone(), tree);
            if dice.one_in(2) {
                world.pages.version += 1;
            }
            for bytes in world.pages.bytes_mut() {
                for _ in 0..dice.below(4) {
                    // Headers and arrays more often than the rest: more depends on them.
                    let reach = [32, 400, bytes.len()][dice.below(3)];
                    let at = dice.below(reach);
                    bytes[at] ^= 1 << dice.below(8);
                }
            }
            pieces::checks_agree(&world.tree, &world.pages);
            drop(use_all(&mut world));
        }
    }
}

#[test]
fn entries_beyond_the_limits_are_refused_and_nothing_changes() {
    let (mut pages, mut tree) = (ModelPages::new(4096), Tree::empty(TABLE));
    let long = vec![b'k'; KEY_BYTES_MAX + 1];
    let refused = tree.insert(&mut pages, &long, b"");
    assert!(matches!(
        refused,
        Err(Error::TooLarge { what: Limit::Key, len, max }) if len == max + 1
    ));
    assert_eq!(tree, Tree::empty(TABLE));
    assert!(pages.in_use().is_empty());
    assert!(tree.insert(&mut pages, &long[1..], b"").expect("the longest key"));
    assert_eq!(tree.get(&pages, &long[1..]).expect("sound"), Some(&b""[..]));
    const { assert!(VALUE_BYTES_MAX == 1 << 30) };
}

#[test]
fn unsorted_input_is_refused() {
    let mut pages = ModelPages::new(4096);
    for pair in [["b", "a"], ["a", "a"]] {
        let built = Tree::build(TABLE, &mut pages, pair.map(|key| Ok((key, "value"))));
        assert!(matches!(built, Err(Error::Invalid(_))), "{built:?}");
    }
    let mut tree = Tree::empty(TABLE);
    let merged = tree.merge(&mut pages, ["b", "a"].map(|key| Ok((key, Some("value")))));
    assert!(matches!(merged, Err(Error::Invalid(_))), "{merged:?}");
    let twice = [Ok(("c", Some("old"))), Ok(("c", Some("new"))), Ok(("d", None))];
    assert_eq!(tree.merge(&mut pages, twice).expect("sorted"), 1);
    assert_eq!(tree.get(&pages, b"c").expect("sound"), Some(&b"new"[..]));
}

#[test]
fn what_the_iterator_fails_with_comes_out() {
    let mut pages = ModelPages::new(4096);
    let entries = [Ok((vec![1], vec![2])), Err(Error::Conflict)];
    assert!(matches!(Tree::build(TABLE, &mut pages, entries), Err(Error::Conflict)));
}

#[test]
fn a_check_finds_a_wrong_count_and_a_page_named_twice() {
    let mut world = World::new(5);
    while world.tree.level == 0 {
        world.operation().expect("sound");
    }
    let wrong = Tree { len: world.tree.len + 1, ..world.tree };
    let found = wrong.check(&world.pages, Version(u64::MAX), &mut |_, _| Ok(()));
    assert!(matches!(found, Err(Error::Corrupt(_))), "{found:?}");
    let refused = world.tree.check(&world.pages, Version(u64::MAX), &mut |_, _| Err(Error::Closed));
    assert!(matches!(refused, Err(Error::Closed)));
    assert_ne!(world.oracle, Oracle::new());
}
