//! Lives of a store on a simulated disk, one behind the other, with power cuts between them.
//! Owns: [`live`], which records a history, and [`Plan`], how large it is.

use super::{
    dice::Dice,
    record::{Clock, End, Event, History, Kind, Life, Step, Value},
    watchdog::Watchdog,
    work::{Session, Shared, TURN, fill, scan},
};
use recto::{
    Options, Result, Store,
    simulation::{Bug, SimDisk},
};
use std::{
    collections::{HashMap, HashSet},
    sync::atomic::{AtomicU64, Ordering::SeqCst},
    thread,
    time::Duration,
};

const WRITERS: u64 = 4;
/// Long enough for others to write meanwhile.
const SYNC: Duration = Duration::from_micros(50);

#[derive(Clone, Copy)]
pub struct Plan {
    pub lives: u64,
    /// In each life; three of four are commits, or attempts at them.
    pub transactions: u64,
    pub seed: u64,
    /// What is wrong with every store that is opened.
    pub bug: Option<Bug>,
}

/// Little room, so that checkpoints run and the log goes from segment to segment all the time.
fn options() -> Options {
    Options::new()
        .page_bytes(4096)
        .dirty_bytes(512 << 10)
        .log_segment_bytes(64 << 10)
        .queue_capacity(16)
}

/// Records a history: sessions at work, the power goes amid them, and again; then a close.
pub fn live(plan: Plan, watchdog: &Watchdog) -> Result<History> {
    let (clock, mut disk) = (Clock::default(), SimDisk::new());
    let mut dice = Dice::new(plan.seed);
    let mut history = History::default();
    let seed = |disk: &SimDisk| _ = plan.bug.map(|bug| disk.seed(bug));
    for number in 0..plan.lives {
        seed(&disk);
        let store = options().open_simulated(&disk)?;
        disk.pause_syncs(SYNC);
        let first = store.snapshot().version();
        let done = AtomicU64::new(0);
        let shared = Shared { store: &store, clock: &clock, done: &done };
        let mut life = Unended::begin(first, number);
        if number == 0 {
            life.events.push(fill(&shared, 0)?);
        }
        let is_last = number + 1 == plan.lives;
        let cut = life.work(&shared, plan, &mut dice, &disk, watchdog)?;
        let (before, at, after) =
            if is_last { closed(&store, &clock, &disk)? } else { cut.expect("it was cut") };
        drop(store);
        let cut = disk.cut(at);
        disk = match dice.below(3) {
            // At first what shows most: everything is gone that can be.
            _ if is_last || number == 0 => cut.nothing().disk(),
            0 => cut.nothing().disk(),
            1 => cut.everything().disk(),
            _ => {
                let images: Vec<_> = cut.images(dice.next()).take(20).collect();
                images[dice.below(images.len())].disk()
            }
        };
        seed(&disk);
        let recovered = options().open_simulated(&disk)?;
        let snapshot = recovered.snapshot();
        let (version, content) = (snapshot.version(), scan(&snapshot)?);
        let end = End { is_clean: is_last, before, after, version, content };
        history.lives.push(life.end(end));
    }
    Ok(history)
}

type At = (u64, usize, u64);

fn closed(store: &Store, clock: &Clock, disk: &SimDisk) -> Result<At> {
    store.close()?;
    Ok((clock.tick(), disk.operations(), clock.tick()))
}

/// A life that goes on.
struct Unended {
    first: u64,
    number: u64,
    events: Vec<Event>,
}

impl Unended {
    fn begin(first: u64, number: u64) -> Unended {
        Unended { first, number, events: Vec::new() }
    }

    /// Has all sessions do their part, and notes a moment amid it: the stamps around it, and how
    /// many operations of the disk came before.
    fn work(
        &mut self,
        shared: &Shared<'_>,
        plan: Plan,
        dice: &mut Dice,
        disk: &SimDisk,
        watchdog: &Watchdog,
    ) -> Result<Option<At>> {
        let part = plan.transactions / (WRITERS + 2) + 1;
        let moment = plan.transactions / 2 + dice.below(plan.transactions as usize / 4) as u64;
        let (mut cut, mut seen) = (None, 0);
        let mut dice = |n| {
            let number = self.number * 100 + 1 + n;
            (number, Dice::new(dice.next()))
        };
        thread::scope(|scope| {
            let mut sessions = Vec::new();
            for n in 0..WRITERS + 2 {
                let (number, dice) = dice(n);
                let session = Session::new(shared, number, dice);
                sessions.push(scope.spawn(move || {
                    if n < WRITERS { session.write(part) } else { session.read(part, n > WRITERS) }
                }));
            }
            while sessions.iter().any(|session| !session.is_finished()) {
                let done = shared.done.load(SeqCst);
                if done > seen {
                    watchdog.touch(&format!("life {} after {done} transactions", self.number));
                    seen = done;
                }
                if done >= moment && cut.is_none() {
                    // What was answered before the first stamp was on the disk before the cut, and
                    // what is on the disk before the cut was asked for before the second stamp.
                    let before = shared.clock.tick();
                    let at = disk.operations();
                    cut = Some((before, at, shared.clock.tick()));
                }
                thread::sleep(Duration::from_micros(200));
            }
            for session in sessions {
                self.events.extend(session.join().expect("a session")?);
            }
            Ok(cut)
        })
    }

    fn end(mut self, end: End) -> Life {
        take_turns(&mut self.events, self.first);
        Life { first: self.first, events: self.events, end }
    }
}

/// Commits whose version nobody told took the versions that nobody else was told of, in the order
/// in which they followed each other in the entry that all of them read and wrote. If they did not
/// follow each other the versions do not come out even, and the checker finds that.
fn take_turns(events: &mut [Event], first: u64) {
    let mut following: HashMap<Option<Value>, (usize, Value)> = HashMap::new();
    let mut told = vec![false; events.len() + 1];
    for (at, event) in events.iter().enumerate().filter(|(_, event)| event.kind.is_commit()) {
        if event.version > first && event.version - first < told.len() as u64 {
            told[(event.version - first) as usize] = true;
        }
        if event.version == 0
            && let [Step::Get { key: TURN, seen }, Step::Put { value, .. }, ..] = event.steps[..]
        {
            following.insert(seen, (at, value));
        }
    }
    // The first one follows a value that none of them wrote.
    let written: HashSet<_> = following.values().map(|(_, value)| Some(*value)).collect();
    let mut last = following.keys().copied().find(|seen| !written.contains(seen)).flatten();
    let mut free = (1..).filter(|n| told.get(*n as usize).is_none_or(|told| !told));
    while let Some((at, value)) = following.remove(&last) {
        events[at].version = first + free.next().expect("there is no last number");
        last = Some(value);
    }
}

/// How many transactions there are of each kind, and what the power cuts took.
pub fn census(history: &History) -> String {
    let count =
        |wanted: fn(Kind) -> bool| history.events().filter(|event| wanted(event.kind)).count();
    let lost = history.lives.iter().flat_map(|life| {
        let is_lost = |e: &&Event| e.kind.is_commit() && e.version > life.end.version;
        life.events.iter().filter(is_lost)
    });
    format!(
        "{} transactions: {} closures, {} batches, {} optimistic ones, {} snapshots and {} readers \
         read, {} undone, {} refused; {} power cuts, and behind them {} commits that they took",
        history.events().count(),
        count(|kind| kind == Kind::Closure),
        count(|kind| kind == Kind::Batch),
        count(|kind| matches!(kind, Kind::Optimistic { .. })),
        count(|kind| kind == Kind::Snapshot),
        count(|kind| kind == Kind::Reader),
        count(|kind| kind == Kind::Undone),
        count(|kind| matches!(kind, Kind::Conflict { .. })),
        history.lives.iter().filter(|life| !life.end.is_clean).count(),
        lost.count(),
    )
}
