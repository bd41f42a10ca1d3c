//! Histories of what many threads were told by a store, with power cuts amid them, judged by a
//! checker of our own, and by the crate `adya`, which knows nothing of recto.
//!
//! The checker takes time in proportion to the history, and so does adya: whole histories go to it.
//! Their order of stamps is what real time is; no clock is asked.
//!
//! `RECTO_HISTORIES` is how many transactions there are in all, beginning at `RECTO_HISTORIES_SEED`
//! (the long run: 100 million). Threads make runs differ: what a failure prints is the record.

mod checker;
#[path = "../crash/dice.rs"]
mod dice;
mod finding;
mod foreign;
mod lives;
mod plant;
mod record;
mod replay;
#[path = "../crash/watchdog.rs"]
mod watchdog;
mod work;

use adya::Valid;
use checker::check;
use dice::asked_for;
use finding::Slip;
use foreign::judge;
use lives::{Plan, census, live};
use plant::{ANOMALIES, Anomaly};
use record::History;
use recto::simulation::Bug;
use std::{sync::OnceLock, time::Instant};
use watchdog::Watchdog;

/// In one history.
const TRANSACTIONS: u64 = 100_000;
const LIVES: u64 = 4;

#[test]
fn histories_are_serializable_in_real_time_and_survive_power_cuts() {
    let watchdog = Watchdog::begin();
    let wanted = asked_for("RECTO_HISTORIES").unwrap_or(3 * TRANSACTIONS);
    let first = asked_for("RECTO_HISTORIES_SEED").unwrap_or(0);
    let mut all = 0;
    for seed in first.. {
        let began = Instant::now();
        let plan = Plan { lives: LIVES, transactions: TRANSACTIONS / LIVES, seed, bug: None };
        let history = live(plan, &watchdog).expect("the disk is well");
        let (recorded, began) = (began.elapsed(), Instant::now());
        let found = check(&history);
        let checked = began.elapsed();
        assert!(found.is_empty(), "seed {seed}: {} findings, {:#?}", found.len(), &found[..1]);
        all += history.events().count() as u64;
        println!("seed {seed}: {}, {recorded:?}, checked in {checked:?}", census(&history));
        // What was seen by readers may be behind others' snapshots, though not behind their own.
        for (model, readers) in
            [("strict-serializable", false), ("strong-session-serializable", true)]
        {
            let began = Instant::now();
            let report = judge(&history, model, readers);
            let first = report.anomalies.values().flatten().next();
            let text = first.map(|anomaly| &anomaly.explanation);
            assert_eq!(
                report.valid,
                Valid::True,
                "seed {seed}: {:?} {text:?}",
                report.anomaly_types
            );
            println!("{model} to adya too, in {:?}", began.elapsed());
        }
        if all >= wanted {
            break;
        }
    }
}

/// Short histories without anomalies.
fn good() -> &'static [History] {
    static GOOD: OnceLock<Vec<History>> = OnceLock::new();
    GOOD.get_or_init(|| {
        let record = |seed| {
            let plan = Plan { lives: 3, transactions: 2000, seed, bug: None };
            let history = live(plan, &Watchdog::begin()).expect("the disk is well");
            let found = check(&history);
            assert!(found.is_empty(), "seed {seed}: {found:?}");
            history
        };
        (0..4).map(record).collect()
    })
}

/// The first of them that has a place for it, with the anomaly in it.
fn planted(anomaly: &Anomaly) -> History {
    let planted = good().iter().find_map(|history| {
        let mut history = history.clone();
        (anomaly.plant)(&mut history).map(|()| history)
    });
    planted.unwrap_or_else(|| panic!("no place for {}", anomaly.name))
}

#[test]
fn every_anomaly_is_found_under_its_name() {
    for anomaly in &ANOMALIES {
        let (name, found) = (anomaly.name, check(&planted(anomaly)));
        let slips: Vec<_> = found.iter().map(|finding| finding.slip).collect();
        assert!(slips.contains(&anomaly.slips[0]), "{name}: {found:?}");
        assert!(slips.iter().all(|slip| anomaly.slips.contains(slip)), "{name}: {found:?}");
        println!("{name}: {:?}", found[0]);
    }
}

#[test]
fn adya_finds_every_anomaly_of_the_kinds_that_it_knows() {
    for anomaly in ANOMALIES.iter().filter(|anomaly| !anomaly.foreign.is_empty()) {
        let (name, history) = (anomaly.name, planted(anomaly));
        let readers = anomaly.slips == [Slip::SessionWentBack];
        let model = if readers { "strong-session-serializable" } else { "strict-serializable" };
        let report = judge(&history, model, readers);
        let types = &report.anomaly_types;
        assert_eq!(report.valid, Valid::False, "{name}: {types:?}");
        let is_known = |found: &String| anomaly.foreign.iter().any(|word| found.starts_with(word));
        assert!(types.iter().any(is_known), "{name}: {types:?}");
        println!("{name}: {types:?}");
    }
}

/// Bugs of the store itself, switched on: what they do to a history is found in it.
#[test]
fn a_store_with_a_bug_is_found_out() {
    let watchdog = Watchdog::begin();
    for bug in [Bug::AnsweredBeforeSync, Bug::LogUnsynced, Bug::UndoneIsLogged, Bug::CutLacksNewest]
    {
        let found = (0..20).find_map(|seed| {
            let plan = Plan { lives: 3, transactions: 1000, seed, bug: Some(bug) };
            match live(plan, &watchdog) {
                Ok(history) => check(&history).first().map(|finding| format!("{finding:?}")),
                Err(error) => Some(error.to_string()),
            }
        });
        println!("{bug:?}: {}", found.unwrap_or_else(|| panic!("{bug:?} was not found")));
    }
}
