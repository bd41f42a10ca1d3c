//! The stand-ins against what they stand for: the same random operations through both, one thread;
//! and with threads, every outcome that the real channel shows is one that the stand-in can show.
use recto::internals::sync::{Pointer, channel as stand_in};
use recto_loom_tests::check;
use std::{
    collections::BTreeSet,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    time::Duration,
};

/// SplitMix64: the tests need no more of chance than that it differs by seed.
struct Random(u64);

impl Random {
    fn below(&mut self, end: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        (mixed ^ (mixed >> 31)) % end
    }
}

/// Counts how many of its like are alive.
struct Counted(u64, Arc<AtomicUsize>);

impl Counted {
    fn new(value: u64, alive: &Arc<AtomicUsize>) -> Counted {
        alive.fetch_add(1, Relaxed);
        Counted(value, Arc::clone(alive))
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.1.fetch_sub(1, Relaxed);
    }
}

/// One thread has one order: a model of it is a test.
fn in_loom(test: impl Fn() + Send + Sync + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.max_branches = 1_000_000;
    builder.check(test);
}

/// Random operations on a channel, through either; what they answered, and how many messages lived
/// on.
macro_rules! channel_history {
    ($channel:path, $seed:expr) => {{
        use $channel as channel;
        let mut random = Random($seed);
        let alive = Arc::new(AtomicUsize::new(0));
        let (sender, receiver) = channel::bounded(1 + random.below(3) as usize);
        let (mut senders, mut receiver) = (vec![sender], Some(receiver));
        let mut history = Vec::new();
        for number in 0..80 {
            let which = random.below(senders.len().max(1) as u64) as usize;
            let message = Counted::new(number, &alive);
            let answer = match (random.below(30), senders.get(which), &receiver) {
                (0..10, Some(sender), _) => match sender.try_send(message) {
                    Ok(()) => "sent".to_owned(),
                    Err(channel::TrySendError::Full(m)) => format!("full {}", m.0),
                    Err(channel::TrySendError::Disconnected(m)) => format!("no receiver {}", m.0),
                },
                (10..12, Some(sender), _) => {
                    match sender.send_timeout(message, Duration::from_micros(1)) {
                        Ok(()) => "sent".to_owned(),
                        Err(channel::SendTimeoutError::Timeout(m)) => format!("late {}", m.0),
                        Err(channel::SendTimeoutError::Disconnected(m)) => {
                            format!("no receiver {}", m.0)
                        }
                    }
                }
                (12..22, _, Some(receiver)) => match receiver.try_recv() {
                    Ok(m) => format!("got {}", m.0),
                    Err(e) => format!("{e:?}"),
                },
                (22..24, _, Some(receiver)) => {
                    match receiver.recv_timeout(Duration::from_micros(1)) {
                        Ok(m) => format!("got {}", m.0),
                        Err(e) => format!("{e:?}"),
                    }
                }
                (24..27, Some(sender), _) => {
                    let state = (sender.len(), sender.capacity(), sender.is_disconnected());
                    senders.push(sender.clone());
                    format!("cloned at {state:?}")
                }
                (27..29, Some(_), _) => {
                    drop(senders.remove(which));
                    "sender dropped".to_owned()
                }
                (29, ..) if random.below(4) == 0 => {
                    receiver = None;
                    "receiver dropped".to_owned()
                }
                _ => "nothing".to_owned(),
            };
            history.push((answer, alive.load(Relaxed)));
        }
        drop((senders, receiver));
        history.push((String::new(), alive.load(Relaxed)));
        history
    }};
}

#[test]
fn the_channel_answers_as_flume_does() {
    for seed in 0..400 {
        let real = channel_history!(flume, seed);
        assert_eq!(real.last().unwrap().1, 0, "messages go with the last end");
        in_loom(move || assert_eq!(channel_history!(stand_in, seed), real, "seed {seed}"));
    }
}

/// One sender waits for room, one does not, the receiver takes one and is dropped: what each was
/// answered.
macro_rules! channel_race {
    ($channel:path, $spawn:path) => {{
        use $channel as channel;
        let (sender, receiver) = channel::bounded(1);
        let other = sender.clone();
        let waiting = $spawn(move || [1, 2].map(|m| sender.send(m).map_err(|e| e.0)));
        let trying = $spawn(move || match other.try_send(3) {
            Ok(()) => "sent",
            Err(channel::TrySendError::Full(_)) => "full",
            Err(channel::TrySendError::Disconnected(_)) => "no receiver",
        });
        let got = [receiver.recv().ok(), receiver.try_recv().ok()];
        drop(receiver);
        let sent = waiting.join().unwrap();
        format!("{sent:?} {} {got:?}", trying.join().unwrap())
    }};
}

#[test]
fn every_outcome_of_flume_is_an_outcome_of_the_channel() {
    let outcomes = Arc::new(Mutex::new(BTreeSet::new()));
    let note = Arc::clone(&outcomes);
    check("stand-in channel", move || {
        let outcome = channel_race!(stand_in, loom::thread::spawn);
        note.lock().unwrap().insert(outcome);
    });
    let outcomes = outcomes.lock().unwrap();
    assert!(outcomes.len() > 5, "{outcomes:?}");
    for _ in 0..3000 {
        let outcome = channel_race!(flume, std::thread::spawn);
        assert!(outcomes.contains(&outcome), "the stand-in never shows {outcome}: {outcomes:?}");
    }
}

/// Random operations on a pointer, through either; what was loaded, and how many values lived on.
macro_rules! pointer_history {
    ($arc:path, $pointer:path, $load:ident, $seed:expr) => {{
        use $arc as TheArc;
        use $pointer as ThePointer;
        let mut random = Random($seed);
        let alive = Arc::new(AtomicUsize::new(0));
        let pointer = ThePointer::new(TheArc::new(Counted::new(0, &alive)));
        let (mut owned, mut lent, mut history) = (Vec::new(), Vec::new(), Vec::new());
        for number in 1..60 {
            match random.below(10) {
                0..3 => owned.push(pointer.load_full()),
                3..5 => lent.push(pointer.$load()),
                5..7 => pointer.store(TheArc::new(Counted::new(number, &alive))),
                7 if !owned.is_empty() => {
                    drop(owned.swap_remove(random.below(owned.len() as u64) as usize));
                }
                8 if !lent.is_empty() => {
                    drop(lent.swap_remove(random.below(lent.len() as u64) as usize));
                }
                _ => {}
            }
            let last = (owned.last().map(|a| a.0), lent.last().map(|a| a.0));
            history.push((last, alive.load(Relaxed)));
        }
        drop((owned, lent, pointer));
        history.push(((None, None), alive.load(Relaxed)));
        history
    }};
}

#[test]
fn the_pointer_answers_as_arc_swap_does() {
    for seed in 0..400 {
        let real = pointer_history!(std::sync::Arc, arc_swap::ArcSwap, load, seed);
        assert_eq!(real.last().unwrap().1, 0, "values go with the last reference");
        in_loom(move || {
            let ours = pointer_history!(loom::sync::Arc, Pointer, guard, seed);
            assert_eq!(ours, real, "seed {seed}");
        });
    }
}

/// How often chance is asked for an outcome of the real thing.
const REAL_RUNS: usize = 300;

/// All outcomes that loom finds, in every order.
fn outcomes_in_loom(run: impl Fn() -> String + Send + Sync + 'static) -> BTreeSet<String> {
    let outcomes = Arc::new(Mutex::new(BTreeSet::new()));
    let note = Arc::clone(&outcomes);
    in_loom(move || {
        let outcome = run();
        note.lock().unwrap().insert(outcome);
    });
    std::mem::take(&mut outcomes.lock().unwrap())
}

/// Three random operations of a sender against three of the receiver: what each was answered.
macro_rules! channel_duel {
    ($channel:path, $spawn:path, $seed:expr) => {{
        use $channel as channel;
        let mut random = Random($seed);
        let (sender, receiver) = channel::bounded(1 + random.below(2) as usize);
        let [sends, receives] = [(); 2].map(|()| [(); 3].map(|()| random.below(8)));
        let sending = $spawn(move || {
            let mut sender = Some(sender);
            let answers = [0, 1, 2].map(|number| match (sends[number], &sender) {
                (0..4, Some(sender)) => match sender.try_send(number) {
                    Ok(()) => "sent",
                    Err(channel::TrySendError::Full(_)) => "full",
                    Err(channel::TrySendError::Disconnected(_)) => "no receiver",
                },
                (4..7, Some(sender)) if sender.send(number).is_ok() => "sent",
                (4..7, Some(_)) => "no receiver",
                _ => {
                    sender = None;
                    "dropped"
                }
            });
            drop(sender);
            answers
        });
        let mut receiver = Some(receiver);
        let got = receives.map(|what| match (what, &receiver) {
            (0..4, Some(receiver)) => format!("{:?}", receiver.try_recv()),
            (4..7, Some(receiver)) => format!("{:?}", receiver.recv().ok()),
            _ => {
                receiver = None;
                "dropped".to_owned()
            }
        });
        drop(receiver);
        format!("{:?} {got:?}", sending.join().unwrap())
    }};
}

#[test]
fn every_outcome_of_flume_by_chance_is_an_outcome_of_the_channel() {
    let mut most = 0;
    for seed in 0..60 {
        let run = move || channel_duel!(stand_in, loom::thread::spawn, seed);
        let outcomes = outcomes_in_loom(run);
        most = most.max(outcomes.len());
        for _ in 0..REAL_RUNS {
            let outcome = channel_duel!(flume, std::thread::spawn, seed);
            assert!(outcomes.contains(&outcome), "seed {seed}: never {outcome}: {outcomes:?}");
        }
    }
    assert!(most > 5, "at most {most} outcomes are no race");
}

/// Three random operations of one who stores against three of one who loads: what was loaded, and
/// how many values lived on.
macro_rules! pointer_duel {
    ($arc:path, $pointer:path, $load:ident, $spawn:path, $seed:expr) => {{
        use $arc as TheArc;
        use $pointer as ThePointer;
        let mut random = Random($seed);
        let alive = Arc::new(AtomicUsize::new(0));
        let pointer = TheArc::new(ThePointer::new(TheArc::new(Counted::new(0, &alive))));
        let [ours, theirs] = [(); 2].map(|()| [(); 3].map(|()| random.below(6)));
        let (shared, count) = (TheArc::clone(&pointer), Arc::clone(&alive));
        let storing = $spawn(move || {
            [1, 2, 3].map(|number| match ours[number as usize - 1] {
                0..4 => {
                    shared.store(TheArc::new(Counted::new(number, &count)));
                    number
                }
                _ => shared.load_full().0,
            })
        });
        // Loans are held to the end: what they lend lives as long.
        let (mut owned, mut lent) = (Vec::new(), Vec::new());
        let loaded = theirs.map(|what| match what {
            0..3 => {
                owned.push(pointer.load_full());
                owned.last().map(|value| value.0)
            }
            _ => {
                lent.push(pointer.$load());
                lent.last().map(|value| value.0)
            }
        });
        let stored = storing.join().unwrap();
        let held: BTreeSet<u64> = loaded.iter().flatten().copied().collect();
        let living = alive.load(Relaxed);
        drop((owned, lent, pointer));
        format!("{stored:?} {loaded:?} {held:?} {living} {}", alive.load(Relaxed))
    }};
}

#[test]
fn every_outcome_of_arc_swap_by_chance_is_an_outcome_of_the_pointer() {
    let mut most = 0;
    for seed in 0..60 {
        let run = move || pointer_duel!(loom::sync::Arc, Pointer, guard, loom::thread::spawn, seed);
        let outcomes = outcomes_in_loom(run);
        most = most.max(outcomes.len());
        for outcome in &outcomes {
            assert!(outcome.ends_with(" 0"), "values go with the last reference: {outcome}");
        }
        for _ in 0..REAL_RUNS {
            let outcome = pointer_duel!(Arc, arc_swap::ArcSwap, load, std::thread::spawn, seed);
            assert!(outcomes.contains(&outcome), "seed {seed}: never {outcome}: {outcomes:?}");
        }
    }
    assert!(most > 5, "at most {most} outcomes are no race");
}
