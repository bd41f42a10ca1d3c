//! How a scenario is run, and what a right store looks like to it.
//! Owns: [`check`], [`find`] and [`Ledger`]. One file a protocol in `tests/`; each scenario has a
//! twin: the same scenario with one bug planted in the protocol, which must be found.
#[cfg(not(shuttle))]
compile_error!("without --cfg shuttle nothing would be checked: run cargo from shuttle-tests/");

mod ledger;

pub use ledger::Ledger;
use recto::internals::sync::{Twin, plant};
use shuttle::{
    Config, MaxSteps, Runner,
    scheduler::{PctScheduler, ReplayScheduler},
};
use std::{
    io::Write,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

/// How many schedules each scenario runs: 20,000 if absent.
pub const SCHEDULES: &str = "RECTO_SHUTTLE_SCHEDULES";
/// After how many seconds a scenario stops, however far it came. Without it none stops early.
pub const SECONDS: &str = "RECTO_SHUTTLE_SECONDS";
/// Where the schedules begin; the same seed runs the same ones.
pub const SEED: &str = "RECTO_SHUTTLE_SEED";
/// A schedule that failed, as it was printed, to be run alone.
pub const REPLAY: &str = "RECTO_SHUTTLE_REPLAY";
/// PCT's bound: bugs that so many orderings make are found with a probability that has a proof.
pub const DEPTH: usize = 3;
/// A twin that is not found within so many schedules is not found.
const TWIN_SCHEDULES_MAX: usize = 20_000;
/// The steps of a run that makes no progress any more.
const STEPS_MAX: usize = 200_000;

fn number(variable: &str) -> Option<u64> {
    std::env::var(variable).ok().map(|text| text.parse().expect("a number"))
}

fn config() -> Config {
    let mut config = Config::new();
    config.stack_size = 512 * 1024;
    config.max_steps = MaxSteps::FailAfter(STEPS_MAX);
    config.silence_warnings = true;
    config
}

fn seed() -> u64 {
    number(SEED).unwrap_or(1)
}

/// Past the test harness, which swallows what is printed by tests that pass.
fn tell(line: &str) {
    std::io::stderr().write_all(line.as_bytes()).expect("standard error");
}

/// Runs `scenario` under many schedules, and prints how many there were. A schedule that fails is
/// printed too, to be replayed through [`REPLAY`].
///
/// # Panics
/// If a schedule fails: by an assertion, by a deadlock, or without an end.
pub fn check(name: &str, scenario: fn()) {
    plant(None);
    if let Ok(schedule) = std::env::var(REPLAY) {
        Runner::new(ReplayScheduler::new_from_encoded(&schedule), config()).run(scenario);
        return;
    }
    let wanted = number(SCHEDULES).unwrap_or(20_000) as usize;
    let (mut config, began) = (config(), Instant::now());
    config.max_time = number(SECONDS).map(Duration::from_secs);
    let scheduler = PctScheduler::new_from_seed(seed(), DEPTH, wanted);
    let ran = Runner::new(scheduler, config).run(scenario);
    let seconds = began.elapsed().as_secs_f64();
    tell(&format!("shuttle: {name}: {ran} schedules, PCT({DEPTH}), {seconds:.1} s\n"));
    assert!(ran == wanted || number(SECONDS).is_some(), "{name} was cut short");
}

/// Runs `scenario` with `twin` planted until a schedule fails, and prints which; then once more
/// from the same seed, which must fail in the same schedule and say the same.
///
/// # Panics
/// If none fails, if one fails without saying `expected`, or if the second run differs.
pub fn find(name: &str, twin: Twin, expected: &str, scenario: fn()) {
    plant(Some(twin));
    if let Ok(schedule) = std::env::var(REPLAY) {
        Runner::new(ReplayScheduler::new_from_encoded(&schedule), config()).run(scenario);
        return;
    }
    let (ran, failed) = first_failure(scenario);
    let failed = failed.unwrap_or_else(|| panic!("{name}: {twin:?} was not found in {ran}"));
    assert!(failed.contains(expected), "{name}: {twin:?} was found by another thing: {failed}");
    tell(&format!("shuttle: twin {twin:?} found by {name} in schedule {ran}\n"));
    assert_eq!(first_failure(scenario), (ran, Some(failed)), "{name}: it cannot be replayed");
    plant(None);
}

/// How many schedules ran until one failed, and what that one said.
fn first_failure(scenario: fn()) -> (usize, Option<String>) {
    let ran = Arc::new(AtomicUsize::new(0));
    let scheduler = PctScheduler::new_from_seed(seed(), DEPTH, TWIN_SCHEDULES_MAX);
    let count = Arc::clone(&ran);
    let counted = move || {
        count.fetch_add(1, Relaxed);
        scenario();
    };
    let failed = failure(|| assert!(Runner::new(scheduler, config()).run(counted) > 0));
    (ran.load(Relaxed), failed)
}

fn failure(run: impl FnOnce()) -> Option<String> {
    let payload = catch_unwind(AssertUnwindSafe(run)).err()?;
    let text = payload.downcast_ref::<String>().cloned();
    Some(text.or(payload.downcast_ref::<&str>().map(ToString::to_string)).unwrap_or_default())
}
