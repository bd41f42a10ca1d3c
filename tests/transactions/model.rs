//! Transactions against a map, alone and two at once.

use super::{NUMBERS, in_memory};
use proptest::prelude::*;
use recto::{Error, Result, Store, Transaction};
use std::{collections::BTreeMap, ops::Bound};

#[derive(Clone, Debug)]
enum Step {
    Get(u64),
    Insert(u64, u64),
    InsertIfAbsent(u64, u64),
    Remove(u64),
    RemoveRange(u64, u64),
    Update(u64),
    /// From, to, then which end each next entry is taken from.
    Walk(u64, u64, Vec<bool>),
    Extend(Vec<(u64, u64)>),
    Len,
    Pop(bool),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let key = || 0_u64..60;
    let step = prop_oneof![
        key().prop_map(Step::Get),
        (key(), any::<u64>()).prop_map(|(k, v)| Step::Insert(k, v)),
        (key(), any::<u64>()).prop_map(|(k, v)| Step::InsertIfAbsent(k, v)),
        key().prop_map(Step::Remove),
        (key(), key()).prop_map(|(a, b)| Step::RemoveRange(a, b)),
        key().prop_map(Step::Update),
        (key(), key(), prop::collection::vec(any::<bool>(), 0..70))
            .prop_map(|(a, b, ends)| Step::Walk(a, b, ends)),
        prop::collection::vec((key(), any::<u64>()), 0..20).prop_map(Step::Extend),
        Just(Step::Len),
        any::<bool>().prop_map(Step::Pop),
    ];
    prop::collection::vec(step, 0..40)
}

type Model = BTreeMap<u64, u64>;

/// Does one step in a transaction and in the model, and compares the answers. Tells all that the
/// step could see.
fn step(tx: &mut Transaction, model: &mut Model, step: &Step) -> Result<String> {
    let seen = sight(model, step);
    let mut numbers = tx.table(&NUMBERS)?;
    match step {
        Step::Get(key) => {
            assert_eq!(numbers.get(*key)?, model.get(key).copied());
            assert_eq!(numbers.contains(*key)?, model.contains_key(key));
        }
        Step::Insert(key, value) => {
            assert_eq!(numbers.insert(*key, *value)?, model.insert(*key, *value).is_none());
        }
        Step::InsertIfAbsent(key, value) => {
            let is_new = !model.contains_key(key);
            model.entry(*key).or_insert(*value);
            assert_eq!(numbers.insert_if_absent(*key, *value)?, is_new);
        }
        Step::Remove(key) => assert_eq!(numbers.remove(*key)?, model.remove(key).is_some()),
        Step::RemoveRange(from, to) => {
            let before = model.len();
            model.retain(|key, _| !(from..to).contains(&key));
            assert_eq!(numbers.remove_range(*from..*to)?, (before - model.len()) as u64);
        }
        Step::Update(key) => {
            let change = |old: Option<u64>| old.map(|n| n / 2).filter(|n| n % 3 > 0);
            numbers.update(*key, change)?;
            match change(model.get(key).copied()) {
                Some(new) => drop(model.insert(*key, new)),
                None => drop(model.remove(key)),
            }
        }
        Step::Walk(from, to, ends) => {
            let mut range = numbers.range(*from..=*to)?;
            let bounds = (Bound::Included(*from), Bound::Included((*to).max(*from)));
            let entries: Vec<_> = model.range(bounds).map(|(k, v)| (*k, *v)).collect();
            let mut expected = if from > to { vec![] } else { entries }.into_iter();
            for is_front in ends {
                let (next, model) = if *is_front {
                    (range.next(), expected.next())
                } else {
                    (range.next_back(), expected.next_back())
                };
                assert_eq!(next.transpose()?, model);
            }
        }
        Step::Extend(entries) => {
            let before = model.len();
            model.extend(entries.iter().copied());
            let new = numbers.extend(entries.iter().copied())?;
            assert_eq!(new, (model.len() - before) as u64);
        }
        Step::Len => assert_eq!(numbers.len()?, model.len() as u64),
        Step::Pop(is_first) => {
            let (popped, expected) = if *is_first {
                (numbers.pop_first()?, model.pop_first())
            } else {
                (numbers.pop_last()?, model.pop_last())
            };
            assert_eq!(popped, expected);
        }
    }
    Ok(seen)
}

/// What a step sees of a map: of the keys that it writes blindly, whether they are there.
fn sight(model: &Model, step: &Step) -> String {
    let all = |from, to| {
        let bounds = (Bound::Included(from), Bound::Excluded(to));
        if from < to { model.range(bounds).collect::<Vec<_>>() } else { vec![] }
    };
    match step {
        Step::Get(key) | Step::Update(key) => format!("{:?}", model.get(key)),
        Step::Insert(key, _) | Step::InsertIfAbsent(key, _) | Step::Remove(key) => {
            format!("{}", model.contains_key(key))
        }
        Step::RemoveRange(from, to) => {
            format!("{:?}", all(*from, *to).iter().map(|entry| entry.0).collect::<Vec<_>>())
        }
        Step::Walk(from, to, ends) => {
            let mut entries = all(*from, *to + 1).into_iter();
            let next = |front: &bool| if *front { entries.next() } else { entries.next_back() };
            format!("{:?}", ends.iter().map(next).collect::<Vec<_>>())
        }
        Step::Extend(entries) => {
            let there = entries.iter().map(|(key, _)| model.contains_key(key));
            format!("{:?}", there.collect::<Vec<_>>())
        }
        Step::Len => format!("{}", model.len()),
        Step::Pop(true) => format!("{:?}", model.first_key_value()),
        Step::Pop(false) => format!("{:?}", model.last_key_value()),
    }
}

/// What the store holds.
fn all(store: &Store) -> Model {
    let snap = store.snapshot();
    snap.table(&NUMBERS).unwrap().iter().unwrap().map(Result::unwrap).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    /// Transactions in turn do what a map does, before and after their commits.
    #[test]
    fn a_transaction_is_a_map(
        transactions in prop::collection::vec((steps(), any::<bool>()), 1..5),
    ) {
        let (store, mut model) = (in_memory(), Model::new());
        for (steps, is_kept) in &transactions {
            let (mut tx, mut work) = (store.begin(), model.clone());
            for one in steps {
                step(&mut tx, &mut work, one).unwrap();
            }
            if *is_kept {
                tx.commit().unwrap();
                model = work;
            }
            prop_assert_eq!(&all(&store), &model);
        }
    }

    /// Of two transactions that ran at once the second is committed if, and only if, behind the
    /// first it would have seen the same, step for step; then it does what it would have done.
    #[test]
    fn the_second_of_two_commits_if_and_only_if_it_would_have_seen_the_same(
        filled in prop::collection::vec(0_u64..60, 0..50), first in steps(), second in steps(),
    ) {
        let (store, mut model) = (in_memory(), Model::new());
        model.extend(filled.iter().map(|key| (*key, *key)));
        let entries = filled.iter().map(|key| (*key, *key));
        store.write(|tx| tx.table(&NUMBERS)?.extend(entries)).unwrap();
        let (mut one, mut two) = (store.begin(), store.begin());
        let (mut after_one, mut alone) = (model.clone(), model);
        for s in &first {
            step(&mut one, &mut after_one, s).unwrap();
        }
        let seen: Vec<_> = second.iter().map(|s| step(&mut two, &mut alone, s).unwrap()).collect();
        one.commit().unwrap();
        let again = in_memory();
        let entries = after_one.iter().map(|(k, v)| (*k, *v));
        again.write(|tx| tx.table(&NUMBERS)?.extend(entries)).unwrap();
        let (mut behind, mut tx) = (after_one.clone(), again.begin());
        let seen_behind: Vec<_> =
            second.iter().map(|s| step(&mut tx, &mut behind, s).unwrap()).collect();
        let begun = two.version();
        let expected = match two.commit() {
            // It has written nothing, and stands where it began.
            Ok(version) if version == begun => after_one,
            Ok(_) => {
                prop_assert_eq!(seen, seen_behind);
                behind
            }
            Err(Error::Conflict) => {
                prop_assert_ne!(seen, seen_behind);
                after_one
            }
            Err(error) => panic!("{error}"),
        };
        prop_assert_eq!(all(&store), expected);
    }
}
