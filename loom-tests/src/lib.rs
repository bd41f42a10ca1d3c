//! How a model is run. One file a protocol in `tests/`; each model has twins: the same model with
//! one seeded bug, which must fail with its own message.
#[cfg(not(loom))]
compile_error!("without --cfg loom nothing would be checked: run cargo from loom-tests/");

pub mod counts;

use std::{
    io::Write,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

/// The environment variable that sets the preemption bound: 2 if absent; the long run takes 3.
pub const BOUND_VARIABLE: &str = "RECTO_LOOM_BOUND";

/// The environment variable that says after how many seconds a model is cut short, which it then
/// says of itself. For the long run; without it none is.
pub const SECONDS_VARIABLE: &str = "RECTO_LOOM_SECONDS";

fn number(variable: &str) -> Option<u64> {
    std::env::var(variable).ok().map(|text| text.parse().expect("a number"))
}

/// Runs `model` in every order with at most so many preemptions, and prints how many there were.
///
/// # Panics
/// If an order fails; and if loom was told to stop early, for it would call that a success.
pub fn check(name: &str, model: impl Fn() + Send + Sync + 'static) {
    run(Arc::new(Report::new(name)), false, model);
}

/// As [`check`], of a model that is too long to be tried in every order: other orders than the
/// first are tried only within its [`Window`].
///
/// # Panics
/// As [`check`].
pub fn check_window(name: &str, model: impl Fn() + Send + Sync + 'static) {
    run(Arc::new(Report::new(name)), true, model);
}

/// The part of a model in which orders are tried. What it ends with is what its ends are behind: a
/// preemption before one of them is tried, one after the last is not.
pub struct Window(AtomicUsize);

impl Window {
    /// A window with so many ends.
    pub fn new(ends: usize) -> Arc<Window> {
        Arc::new(Window(AtomicUsize::new(ends)))
    }

    /// It begins here.
    pub fn open(&self) {
        loom::explore();
    }

    /// One of its ends; with the last it is over.
    pub fn end(&self) {
        if self.0.fetch_sub(1, Relaxed) == 1 {
            loom::skip_branch();
        }
    }
}

/// Runs `model` once, apart from the model that calls this, as one thread.
///
/// # Panics
/// As `model` does.
pub fn beside(model: impl Fn() + Send + Sync + 'static) {
    let once = std::thread::spawn(|| {
        let mut builder = loom::model::Builder::new();
        builder.max_branches = 50_000;
        builder.check(model);
    });
    if let Err(panic) = once.join() {
        std::panic::resume_unwind(panic);
    }
}

fn run(report: Arc<Report>, has_window: bool, model: impl Fn() + Send + Sync + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.expect_explicit_explore = has_window;
    builder.preemption_bound = Some(report.bound);
    builder.max_branches = 20_000;
    let whole = builder.max_duration.is_none() && builder.max_permutations.is_none();
    assert!(whole, "LOOM_MAX_DURATION or LOOM_MAX_PERMUTATIONS would cut the run short unnoticed");
    assert!(builder.checkpoint_file.is_none(), "LOOM_CHECKPOINT_FILE would begin in the middle");
    builder.max_duration = report.limit;
    if report.limit.is_some() {
        // So often loom looks at the time.
        builder.checkpoint_interval = 500;
    }
    let count = Arc::clone(&report);
    let said = Said(Arc::clone(&report));
    builder.check(move || {
        count.executions.fetch_add(1, Relaxed);
        model();
    });
    drop(said);
    let (name, executions) = (&report.name, report.executions.load(Relaxed));
    assert!(executions > 20, "{name}: {executions} executions are no model of concurrency");
}

/// What is known of a run.
struct Report {
    name: String,
    bound: usize,
    executions: AtomicUsize,
    began: Instant,
    limit: Option<Duration>,
}

impl Report {
    fn new(name: &str) -> Report {
        let bound = number(BOUND_VARIABLE).map_or(2, |bound| bound as usize);
        let limit = number(SECONDS_VARIABLE).map(Duration::from_secs);
        let (name, executions) = (name.to_owned(), AtomicUsize::new(0));
        Report { name, bound, executions, began: Instant::now(), limit }
    }

    /// Says how the run ended: of a twin, how many executions it took to fail.
    fn say(&self, end: &str) {
        let Report { name, bound, executions, began, .. } = self;
        let (executions, took) = (executions.load(Relaxed), began.elapsed().as_secs_f32());
        let line = format!("\nloom: {name}: {end} {executions}, bound {bound}, {took:.1} s\n");
        // Past the test harness, which swallows what is printed by tests that pass. Nothing is to
        // be done about an error, least of all while a twin fails.
        let _ = std::io::stderr().write_all(line.as_bytes());
    }
}

const FAILED: &str = "failed at execution";

/// Speaks when it goes, also if that is by a panic.
struct Said(Arc<Report>);

impl Drop for Said {
    fn drop(&mut self) {
        let is_cut = self.0.limit.is_some_and(|limit| self.0.began.elapsed() >= limit);
        self.0.say(match std::thread::panicking() {
            true => FAILED,
            false if is_cut => "cut short, executions:",
            false => "executions:",
        });
    }
}

/// Counts across executions, to show that a model reaches what it is about.
#[derive(Default)]
pub struct Reached(AtomicUsize);

impl Reached {
    /// Counts one.
    pub fn note(&self) {
        self.0.fetch_add(1, Relaxed);
    }

    /// Says how often, beside what [`check`] says.
    pub fn tell(&self, name: &str, what: &str) {
        let line = format!("\nloom: {name}: {} {what}\n", self.0.load(Relaxed));
        let _ = std::io::stderr().write_all(line.as_bytes());
    }

    /// # Panics
    /// If nothing was counted.
    pub fn expect(&self, what: &str) {
        assert!(self.0.load(Relaxed) > 0, "no execution of the model reached: {what}");
    }
}

/// The environment variable that tells a twin's second process which twin it is.
const TWIN_VARIABLE: &str = "RECTO_LOOM_TWIN";

/// Runs a twin in which somebody must sleep for ever, as the test `name` of this binary.
///
/// # Panics
/// If the twin passes, or fails in another way.
pub fn check_deadlocks(name: &str, model: impl Fn() + Send + Sync + 'static) {
    apart(name, "deadlock; threads", false, model);
}

/// Runs a twin with a [`Window`] that must fail with `expected` where loom cannot unwind, as the
/// test `name` of this binary.
///
/// # Panics
/// If the twin passes, or fails in another way.
pub fn check_window_fails(name: &str, expected: &str, model: impl Fn() + Send + Sync + 'static) {
    apart(name, expected, true, model);
}

/// In a process of its own: loom's panic at a deadlock unwinds through locks that loom does not let
/// go any more, and one amid a store through what drops; a panic on the way of a panic ends a
/// process.
fn apart(name: &str, expected: &str, has_window: bool, model: impl Fn() + Send + Sync + 'static) {
    if std::env::var(TWIN_VARIABLE).is_ok_and(|twin| twin == name) {
        let report = Arc::new(Report::new(name));
        let (failed, print) = (Arc::clone(&report), std::panic::take_hook());
        std::panic::set_hook(Box::new(move |panic| {
            failed.say(FAILED);
            print(panic);
        }));
        return run(report, has_window, model);
    }
    let output = std::process::Command::new(std::env::current_exe().expect("this test's path"))
        .args([name, "--exact", "--nocapture"])
        .env(TWIN_VARIABLE, name)
        .output()
        .expect("a process for the twin");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success(), "{name}: the seeded bug was not found\n{said}");
    // The first panic is the twin's; what its unwinding meets comes after.
    let line = said.lines().find(|line| line.starts_with("loom: ")).expect("its first panic's");
    let first = said.split("loom: ").nth(1).unwrap_or_default();
    assert!(first.contains(expected), "{name}: failed in another way\n{said}");
    let _ = std::io::stderr().write_all(format!("\n{line}\n").as_bytes());
}
