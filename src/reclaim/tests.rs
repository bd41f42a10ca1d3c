use super::*;
use crate::publish::{Bell, Pin};
use proptest::{
    prelude::{Strategy, any, prop_oneof},
    test_runner::{Config, TestRunner},
};

/// One step of a history. Numbers are taken modulo what there is to choose from.
#[derive(Clone, Debug)]
enum Step {
    /// Applies a group of requests, each of which retires some things and may then be undone.
    Group(Vec<(Vec<u8>, bool)>),
    /// Applies a group, undoes it whole (its record did not fit), and pins nothing.
    FailedGroup(Vec<u8>),
    /// Publishes the same version again.
    Republish(Vec<u8>),
    /// Starts a checkpoint: a second pin of the newest generation.
    Cut,
    /// Drops a pin.
    Drop(usize),
    /// Drops the pins from the newest but one to the oldest but so many.
    DropNewestFirst(usize),
    /// Compares what has become free with the oracle.
    Take,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let births = || proptest::collection::vec(any::<u8>(), 0..6);
    let requests = proptest::collection::vec((births(), any::<bool>()), 1..4);
    let step = prop_oneof![
        8 => requests.prop_map(Step::Group),
        1 => births().prop_map(Step::FailedGroup),
        2 => births().prop_map(Step::Republish),
        1 => proptest::strategy::Just(Step::Cut),
        5 => any::<usize>().prop_map(Step::Drop),
        1 => (0..6_usize).prop_map(Step::DropNewestFirst),
        4 => proptest::strategy::Just(Step::Take),
    ];
    proptest::collection::vec(step, 1..120)
}

/// The rule itself, applied to everything every time.
#[derive(Default)]
struct Oracle {
    version: u64,
    generation: u64,
    pins: Vec<(u64, u64, Pin)>,
    retired: Vec<(u32, u64, u64)>,
}

impl Oracle {
    fn blocked(&self, birth: u64, end: u64) -> bool {
        self.pins.iter().any(|(version, generation, _)| *version >= birth && *generation < end)
    }

    fn take(&mut self) -> Vec<u32> {
        let retired = mem::take(&mut self.retired);
        let (blocked, free): (Vec<_>, Vec<_>) =
            retired.into_iter().partition(|(_, birth, end)| self.blocked(*birth, *end));
        self.retired = blocked;
        free.into_iter().map(|(thing, _, _)| thing).collect()
    }
}

struct Run {
    oracle: Oracle,
    reclaimer: Reclaimer<u32>,
    bell: Arc<Bell>,
    things: u32,
}

impl Run {
    fn retire(&mut self, births: &[u8], end: u64) -> Vec<(u32, u64, u64)> {
        // Births lie in the recent past, where the pins are; some things are as old as the store.
        let version = self.oracle.version;
        let birth = |b: &u8| {
            if *b < 16 { 0 } else { version.saturating_sub(u64::from(*b % 24)) }
        };
        let mut made = Vec::new();
        for birth in births.iter().map(birth) {
            self.things += 1;
            self.reclaimer.retire(self.things, Version(birth), Generation(end));
            made.push((self.things, birth, end));
        }
        made
    }

    fn pin(&mut self) {
        let (version, generation) = (self.oracle.version, self.oracle.generation);
        let (pin, lease) = Pin::new(&self.bell);
        self.reclaimer.pin(Version(version), Generation(generation), lease);
        self.oracle.pins.push((version, generation, pin));
    }

    fn step(&mut self, step: &Step) {
        match step {
            Step::Group(requests) => {
                let generation = self.oracle.generation + 1;
                for (births, undone) in requests {
                    let mark = self.reclaimer.mark();
                    self.oracle.version += 1;
                    let made = self.retire(births, generation);
                    if *undone {
                        self.reclaimer.undo(mark);
                        self.oracle.version -= 1;
                    } else {
                        self.oracle.retired.extend(made);
                    }
                }
                self.oracle.generation = generation;
                // Either order is allowed: a thing's own generation does not block it.
                if requests.len().is_multiple_of(2) {
                    self.pin();
                    self.reclaimer.commit();
                } else {
                    self.reclaimer.commit();
                    self.pin();
                }
            }
            Step::FailedGroup(births) => {
                let mark = self.reclaimer.mark();
                self.oracle.generation += 1;
                self.retire(births, self.oracle.generation);
                self.reclaimer.undo(mark);
            }
            Step::Republish(births) => {
                self.oracle.generation += 1;
                // What turns clean while a group is applied stays retired when the group is undone.
                let mark = self.reclaimer.mark();
                let end = self.oracle.generation;
                self.retire(births, end);
                for birth in births.iter().map(|b| u64::from(*b)) {
                    self.things += 1;
                    self.reclaimer.retire_now(self.things, Version(birth), Generation(end));
                    self.oracle.retired.push((self.things, birth, end));
                }
                self.reclaimer.undo(mark);
                self.pin();
            }
            Step::Cut => self.pin(),
            Step::Drop(which) => {
                let pins = &mut self.oracle.pins;
                drop((!pins.is_empty()).then(|| pins.remove(which % pins.len())));
            }
            Step::DropNewestFirst(keep) => {
                while self.oracle.pins.len() > *keep + 1 {
                    let newest_but_one = self.oracle.pins.len() - 2;
                    drop(self.oracle.pins.remove(newest_but_one));
                    self.compare();
                }
            }
            Step::Take => self.compare(),
        }
    }

    fn compare(&mut self) {
        let mut free = Vec::new();
        self.reclaimer.take(&mut free);
        free.sort_unstable();
        let mut expected = self.oracle.take();
        expected.sort_unstable();
        assert_eq!(free, expected);
        let mut listed: Vec<u32> = self.reclaimer.iter().copied().collect();
        listed.sort_unstable();
        let mut waiting: Vec<u32> = self.oracle.retired.iter().map(|(thing, ..)| *thing).collect();
        waiting.sort_unstable();
        assert_eq!(listed, waiting);
        let pins = self.reclaimer.pins().map(|pin| (pin.version.0, pin.generation.0));
        assert!(pins.eq(self.oracle.pins.iter().map(|pin| (pin.0, pin.1))));
        let retained: usize = self.reclaimer.pins().map(|pin| pin.retained).sum();
        assert_eq!(retained, self.oracle.retired.len());
        for pin in &self.reclaimer.pins {
            assert!(pin.passed.iter().all(|chunk| chunk.is_sorted_by_key(|r| r.birth)));
            assert!(pin.passed.windows(2).all(|pair| pair[0].len() > 2 * pair[1].len()));
        }
    }
}

#[test]
fn a_thing_comes_back_when_no_pin_lies_between_its_birth_and_end_and_not_before() {
    let config = Config { cases: 2000, failure_persistence: None, ..Config::default() };
    let mut most_waiting = 0;
    let run = |steps: Vec<Step>| {
        let (oracle, reclaimer) = (Oracle::default(), Reclaimer::default());
        let mut run = Run { oracle, reclaimer, bell: Arc::new(Bell::new(|| ())), things: 0 };
        run.pin();
        for step in &steps {
            run.step(step);
        }
        run.compare();
        most_waiting = most_waiting.max(run.oracle.retired.len());
        run.oracle.pins.clear();
        run.compare();
        assert_eq!(run.reclaimer.iter().count(), 0);
        Ok(())
    };
    // `run` takes `Fn`; one thread calls it.
    let run = std::cell::RefCell::new(run);
    TestRunner::new(config).run(&steps(), |steps| (run.borrow_mut())(steps)).unwrap();
    assert!(most_waiting > 50, "the histories keep few things waiting: {most_waiting}");
}

#[test]
fn the_example_of_the_protocol() {
    let bell = Arc::new(Bell::new(|| ()));
    let mut reclaimer = Reclaimer::default();
    let pin = |reclaimer: &mut Reclaimer<_>, version, generation| {
        let (pin, lease) = Pin::new(&bell);
        reclaimer.pin(Version(version), Generation(generation), lease);
        pin
    };
    let early = pin(&mut reclaimer, 2, 4);
    let seeing = pin(&mut reclaimer, 5, 7);
    reclaimer.retire("page", Version(3), Generation(8));
    reclaimer.commit();
    let late = pin(&mut reclaimer, 9, 9);
    let mut out = Vec::new();
    reclaimer.take(&mut out);
    assert!(out.is_empty());
    drop(seeing);
    reclaimer.take(&mut out);
    assert_eq!(out, ["page"]);
    drop((early, late));
}

#[test]
fn a_thing_is_not_passed_once_for_each_of_a_thousand_pins() {
    let bell = Arc::new(Bell::new(|| ()));
    let mut reclaimer = Reclaimer::default();
    let mut pins = Vec::new();
    for generation in 1..=1000_u64 {
        let (pin, lease) = Pin::new(&bell);
        pins.push(pin);
        reclaimer.pin(Version(generation), Generation(generation), lease);
        for thing in 0..10 {
            reclaimer.retire((generation, thing), Version(0), Generation(generation + 1));
        }
        reclaimer.commit();
    }
    let mut out = Vec::new();
    while pins.pop().is_some() {
        reclaimer.take(&mut out);
        let chunks = reclaimer.pins.last().map_or(0, |pin| pin.passed.len());
        assert!(chunks <= 14, "{chunks} chunks for 10000 things");
    }
    assert_eq!(out.len(), 10_000);
}

#[test]
#[should_panic(expected = "what this pin needs may have been freed")]
fn a_pin_that_comes_too_late_is_refused() {
    let mut reclaimer = Reclaimer::default();
    reclaimer.retire((), Version(1), Generation(3));
    reclaimer.commit();
    let (_pin, lease) = Pin::new(&Arc::new(Bell::new(|| ())));
    reclaimer.pin(Version(2), Generation(2), lease);
}
