//! Group commit: all of a group is answered or none, a failed sync publishes nothing, answers come
//! after what they tell of, publication keeps its order, and what is applied and not yet published
//! keeps its pages. The models run `Pipeline` as it is, as the log thread and the writer do.
use loom::{
    sync::{
        Arc, Mutex,
        atomic::{
            AtomicU64,
            Ordering::{Acquire, Relaxed, Release},
        },
    },
    thread,
};
use recto::{
    Error, Result,
    internals::{
        answer::{Commit, Home, Promise, Promised, promise},
        frames::{FrameId, FrameWriter, Frames},
        pipeline::{Acknowledge, Events, Group, Pipeline, Seeded},
        publish::{Bell, Generation, Pin, Published, Version},
        reclaim::Reclaimer,
    },
};
use recto_loom_tests::{Reached, check, check_deadlocks};

#[path = "pipeline/lone.rs"]
mod lone;

/// A published version.
struct Root {
    version: u64,
    generation: u64,
    page: Option<(FrameId, u8)>,
    _pin: Option<Pin>,
}

impl Root {
    fn bare(version: u64, generation: u64) -> Arc<Root> {
        Arc::new(Root { version, generation, page: None, _pin: None })
    }
}

/// An answer, as the requests of the store give theirs.
struct Ack {
    promise: Option<Promise<()>>,
    version: u64,
    /// The seeded bug: it does not say that its caller asks for a sync.
    is_deaf: bool,
}

impl Acknowledge for Ack {
    fn visible(&mut self) {
        self.promise.as_ref().unwrap().visible(self.version, ());
    }

    fn durable(&mut self) {
        self.promise.as_ref().unwrap().durable();
    }

    fn done(mut self: Box<Self>) {
        self.promise.take().unwrap().done(self.version, ());
    }

    fn fail(mut self: Box<Self>, error: &Error) {
        self.promise.take().unwrap().fail(error.clone());
    }

    fn is_awaited(&self) -> bool {
        self.promise.as_ref().unwrap().is_awaited()
    }

    fn wants_sync(&self) -> bool {
        !self.is_deaf && self.promise.as_ref().unwrap().wants_sync()
    }
}

fn ack(home: &Home, promised: Promised, version: u64) -> (Box<Ack>, Commit<()>) {
    let (promise, commit) = promise(home, promised);
    (Box::new(Ack { promise: Some(promise), version, is_deaf: false }), commit)
}

fn group(root: Arc<Root>, needs_sync: bool, acks: Vec<Box<Ack>>) -> Group<Root> {
    let (last, generation) = (Version(root.version), Generation(root.generation));
    Group {
        root: Some((root, generation)),
        last,
        needs_sync,
        sync_by: None,
        began: std::time::Instant::now(),
        acks: acks.into_iter().map(|ack| ack as Box<dyn Acknowledge>).collect(),
    }
}

/// Which sync fails, and what a seeded bug does about it or about the order of steps.
#[derive(Clone, Copy, PartialEq)]
enum Disk {
    Right,
    /// The first sync fails.
    Fails,
    /// The seeded bug: a failed sync is tried again, which the disk reports as a success.
    TriedAgain,
    /// The seeded bug: what was appended is looked at after the sync, not before.
    LooksLate,
}

/// A log that takes versions, and a sync of it.
struct Log {
    appended: AtomicU64,
    synced: AtomicU64,
    syncs: AtomicU64,
    disk: Disk,
}

impl Log {
    fn new(disk: Disk) -> Arc<Log> {
        let [appended, synced, syncs] = [0; 3].map(AtomicU64::new);
        Arc::new(Log { appended, synced, syncs, disk })
    }

    fn sync(&self) -> Result<Version> {
        let mut target = self.appended.load(Acquire);
        let number = self.syncs.fetch_add(1, Relaxed);
        match self.disk {
            Disk::Fails if number == 0 => return Err(Error::Poisoned),
            Disk::TriedAgain if number == 0 => return Ok(Version(target)),
            _ => {}
        }
        // Relaxed: the answer itself must order what it tells of.
        self.synced.fetch_max(target, Relaxed);
        if self.disk == Disk::LooksLate {
            // What is appended here was not there when the sync began.
            target = self.appended.load(Acquire);
        }
        Ok(Version(target))
    }
}

struct Store {
    pipeline: Pipeline<Root>,
    published: Arc<Published<Root>>,
    home: Home,
    log: Arc<Log>,
}

fn store(disk: Disk, first: Arc<Root>) -> Arc<Store> {
    let (home, word) = (Home::default(), first.generation);
    let published = Arc::new(Published::new(first, word));
    let pipeline = Pipeline::new(
        Arc::clone(&published),
        Arc::default(),
        home.clone(),
        Events::default(),
        Version(0),
    );
    Arc::new(Store { pipeline, published, home, log: Log::new(disk) })
}

impl Store {
    fn append(&self, version: u64) {
        self.log.appended.store(version, Release);
    }
}

fn run_log(store: &Arc<Store>) -> thread::JoinHandle<()> {
    let store = Arc::clone(store);
    thread::spawn(move || store.pipeline.run(Seeded::default(), || store.log.sync()))
}

/// Two durable groups, the first of two requests; one waits for each, one looks at what is there.
fn group_commit(disk: Disk, may_see_early: bool, reached: &[Reached; 2]) {
    let store = store(disk, Root::bare(0, 0));
    let (first, first_commit) = ack(&store.home, Promised::Durable, 1);
    let (second, second_commit) = ack(&store.home, Promised::Durable, 2);
    let (third, third_commit) = ack(&store.home, Promised::Durable, 3);
    let log_thread = run_log(&store);
    let wait = |commit: Commit<()>, version: u64| {
        let store = Arc::clone(&store);
        move || {
            let is_done = commit.wait().is_ok();
            if is_done {
                assert!(store.published.guard().version >= version, "answered, but not published");
                let synced = store.log.synced.load(Relaxed);
                assert!(synced >= version, "answered as durable, but not synced");
            }
            is_done
        }
    };
    let (one, two) = (wait(first_commit, 1), wait(second_commit, 2));
    let waiting = thread::spawn(move || {
        let (one, two) = (one(), two());
        assert_eq!(one, two, "half of a group was answered");
        one
    });
    let three = wait(third_commit, 3);
    let looking = {
        let store = Arc::clone(&store);
        thread::spawn(move || {
            let version = store.published.guard().version;
            let synced = store.log.synced.load(Relaxed);
            assert!(synced >= version, "seen, but not synced");
        })
    };
    store.append(2);
    let needs_sync = !may_see_early;
    store.pipeline.hand_over(group(Root::bare(2, 1), needs_sync, vec![first, second]));
    store.append(3);
    store.pipeline.hand_over(group(Root::bare(3, 2), true, vec![third]));
    let is_third_done = three();
    let is_first_done = waiting.join().unwrap();
    looking.join().unwrap();
    assert!(is_first_done || !is_third_done, "a commit was kept behind one that failed");
    let failed = store.pipeline.poison().is_some();
    assert_eq!(failed, !is_third_done, "poisoned and answered, or neither");
    if failed {
        assert_eq!(store.published.guard().version, 0, "published on error");
    }
    reached[0].note();
    if store.log.syncs.load(Relaxed) == 1 {
        reached[1].note();
    }
    store.pipeline.end();
    log_thread.join().unwrap();
}

fn check_group(name: &str, disk: Disk, may_see_early: bool) -> std::sync::Arc<[Reached; 2]> {
    let reached = std::sync::Arc::new([(); 2].map(|()| Reached::default()));
    let note = std::sync::Arc::clone(&reached);
    check(name, move || group_commit(disk, may_see_early, &note));
    reached
}

#[test]
fn a_group_is_answered_whole_behind_its_sync() {
    let reached = check_group("group commit", Disk::Right, false);
    reached[1].expect("two groups behind one sync");
}

#[test]
fn a_failed_sync_answers_errors_and_publishes_nothing() {
    check_group("group commit, sync fails", Disk::Fails, false);
}

#[test]
#[should_panic(expected = "seen, but not synced")]
fn a_group_published_before_its_sync_is_caught() {
    check_group("group commit, twin: published first", Disk::Right, true);
}

#[test]
#[should_panic(expected = "but not synced")]
fn a_sync_tried_again_after_it_failed_is_caught() {
    check_group("group commit, twin: sync tried again", Disk::TriedAgain, false);
}

/// The order of a failing group's steps, by hand.
#[derive(Clone, Copy, PartialEq)]
enum Failing {
    Right,
    /// The seeded bug: the first of the group is answered before the sync has ended.
    FirstAnsweredEarly,
    /// The seeded bug: it is published, then its failure is told.
    PublishedOnError,
}

fn fail_by_hand(way: Failing) {
    let store = store(Disk::Fails, Root::bare(0, 0));
    let (first, first_commit) = ack(&store.home, Promised::Durable, 1);
    let (second, second_commit) = ack(&store.home, Promised::Durable, 2);
    let settling = {
        let store = Arc::clone(&store);
        thread::spawn(move || {
            let mut first = Some(first);
            if way == Failing::FirstAnsweredEarly {
                first.take().unwrap().done();
            }
            let error = store.log.sync().unwrap_err();
            if way == Failing::PublishedOnError {
                store.published.publish(Root::bare(2, 1), 1);
            }
            for ack in first.into_iter().chain([second]) {
                ack.fail(&error);
            }
        })
    };
    let looking = {
        let store = Arc::clone(&store);
        thread::spawn(move || {
            for _ in 0..2 {
                assert_eq!(store.published.guard().version, 0, "published on error");
            }
        })
    };
    let other = thread::spawn(move || second_commit.wait().is_ok());
    let one = first_commit.wait().is_ok();
    assert_eq!(one, other.join().unwrap(), "half of a group was answered");
    settling.join().unwrap();
    looking.join().unwrap();
}

#[test]
fn a_failing_group_by_hand_in_the_right_way() {
    check("failing group, by hand", || fail_by_hand(Failing::Right));
}

#[test]
#[should_panic(expected = "half of a group was answered")]
fn a_first_request_answered_early_is_caught() {
    check("failing group, twin: answered early", || fail_by_hand(Failing::FirstAnsweredEarly));
}

#[test]
#[should_panic(expected = "published on error")]
fn a_publication_on_error_is_caught() {
    check("failing group, twin: published", || fail_by_hand(Failing::PublishedOnError));
}

/// A relaxed commit is visible at once; its caller asks for it durable while the writer hands it
/// over, the log thread syncs, and a checkpoint makes it durable without the log.
fn owed(disk: Disk, is_deaf: bool, by_checkpoint: bool) {
    let store = store(disk, Root::bare(0, 0));
    // Weak, or what asks and the store would hold each other for ever.
    let held = std::sync::Arc::new(Arc::clone(&store));
    let asking = std::sync::Arc::downgrade(&held);
    let is_asked = !by_checkpoint;
    store.home.on_sync_wanted(move || {
        if is_asked && let Some(store) = asking.upgrade() {
            store.pipeline.want_sync();
        }
    });
    let (mut first, commit) = ack(&store.home, Promised::Visible, 1);
    first.is_deaf = is_deaf || by_checkpoint;
    let log_thread = run_log(&store);
    let log = Arc::clone(&store.log);
    let waiting = thread::spawn(move || {
        assert_eq!(commit.durable().wait().unwrap(), 1);
        assert!(by_checkpoint || log.synced.load(Relaxed) == 1, "durable, but not synced");
    });
    let checkpoint = by_checkpoint.then(|| {
        let store = Arc::clone(&store);
        thread::spawn(move || store.pipeline.note_durable(Version(1)))
    });
    store.append(1);
    store.pipeline.hand_over(group(Root::bare(1, 1), false, vec![first]));
    waiting.join().unwrap();
    if let Some(thread) = checkpoint {
        thread.join().unwrap();
    }
    store.pipeline.end();
    log_thread.join().unwrap();
}

#[test]
fn an_answer_that_is_owed_is_given_whoever_makes_it_durable() {
    check("owed answer, asked for", || owed(Disk::Right, false, false));
    check("owed answer, by a checkpoint", || owed(Disk::Right, false, true));
}

#[test]
#[should_panic(expected = "durable, but not synced")]
fn a_sync_that_looks_late_at_what_it_covers_is_caught() {
    check("owed answer, twin: sync looks late", || owed(Disk::LooksLate, false, false));
}

#[test]
fn an_asking_that_is_not_seen_when_owed_is_caught() {
    check_deadlocks("an_asking_that_is_not_seen_when_owed_is_caught", || {
        owed(Disk::Right, true, false)
    });
}

#[derive(Clone, Copy, PartialEq)]
enum Flight {
    Right,
    /// The seeded bug: what is published again does not wait behind the groups in flight.
    Overtakes,
    /// The seeded bug: a generation is pinned when it is published, not when it is applied.
    PinnedLate,
}

struct Applying {
    store: Arc<Store>,
    frames: FrameWriter,
    reclaimer: Reclaimer<FrameId>,
    bell: Arc<Bell>,
}

impl Applying {
    fn page(&mut self, byte: u8) -> (FrameId, u8) {
        let frame = self.frames.alloc(1).unwrap();
        self.frames.bytes_mut(frame)[0] = byte;
        self.frames.share();
        (frame, byte)
    }

    fn root(
        &mut self,
        version: u64,
        generation: u64,
        page: (FrameId, u8),
        late: bool,
    ) -> Arc<Root> {
        let (pin, lease) = Pin::new(&self.bell);
        if !late {
            self.reclaimer.pin(Version(version), Generation(generation), lease);
        }
        Arc::new(Root { version, generation, page: Some(page), _pin: Some(pin) })
    }

    fn reuse(&mut self) -> usize {
        let mut free = Vec::new();
        self.reclaimer.commit();
        self.reclaimer.take(&mut free);
        for frame in &free {
            self.frames.reuse(*frame);
            let other = self.frames.alloc(1).unwrap();
            self.frames.bytes_mut(other)[0] = 99;
            self.frames.share();
        }
        free.len()
    }
}

/// Two groups in flight, each with another frame for the page, and a publication of the second
/// version once more; readers look at any time.
fn pages_in_flight(flight: Flight, reached: &Reached) {
    let (frames, writer) = Frames::new(8, 0);
    let bell = Arc::new(Bell::new(|| ()));
    let mut writer = writer;
    let first = writer.alloc(1).unwrap();
    writer.bytes_mut(first)[0] = 1;
    writer.share();
    let (pin, lease) = Pin::new(&bell);
    let page = (first, 1);
    let root = Arc::new(Root { version: 1, generation: 1, page: Some(page), _pin: Some(pin) });
    let mut reclaimer = Reclaimer::default();
    reclaimer.pin(Version(1), Generation(1), lease);
    let store = store(Disk::Right, root);
    let log_thread = run_log(&store);
    let reading = {
        let (store, frames) = (Arc::clone(&store), frames.clone());
        thread::spawn(move || {
            let mut last = 0;
            for _ in 0..2 {
                let root = store.published.pin();
                assert!(root.generation >= last, "generations went back");
                last = root.generation;
                let (frame, byte) = root.page.unwrap();
                assert_eq!(frames.bytes(frame)[0], byte, "a snapshot changed");
            }
        })
    };
    let mut applying = Applying { store, frames: writer, reclaimer, bell };
    let writing = thread::spawn(move || {
        let (mut page, mut reused) = (page, 0);
        for version in 2..=3 {
            let end = Generation(version);
            applying.reclaimer.retire(page.0, Version(version - 1), end);
            page = applying.page(version as u8);
            let late = flight == Flight::PinnedLate && version == 2;
            let root = applying.root(version, version, page, late);
            applying.store.append(version);
            reused += applying.reuse();
            applying.store.pipeline.hand_over(group(root, true, Vec::new()));
        }
        let again = applying.root(3, 4, page, false);
        if flight == Flight::Overtakes {
            applying.store.published.publish(again, 4);
        } else {
            applying.store.pipeline.hand_over(group(again, false, Vec::new()));
        }
        reused += applying.reuse();
        (reused, applying)
    });
    let (reused, applying) = writing.join().unwrap();
    if reused > 0 {
        reached.note();
    }
    reading.join().unwrap();
    applying.store.pipeline.wait_idle().unwrap();
    applying.store.pipeline.end();
    log_thread.join().unwrap();
    let last = applying.store.published.guard();
    assert_eq!(last.generation, 4, "generations went back");
}

fn check_flight(name: &str, flight: Flight) {
    let reached = std::sync::Arc::new(Reached::default());
    let note = std::sync::Arc::clone(&reached);
    check(name, move || pages_in_flight(flight, &note));
    reached.expect("a frame reused while a group was in flight");
}

#[test]
fn what_is_in_flight_keeps_its_pages_and_its_order() {
    check_flight("groups in flight", Flight::Right);
}

#[test]
#[should_panic(expected = "generations went back")]
fn a_publication_that_overtakes_a_group_in_flight_is_caught() {
    check_flight("groups in flight, twin: overtaken", Flight::Overtakes);
}

#[test]
#[should_panic(expected = "a snapshot changed")]
fn a_generation_pinned_when_it_is_published_is_caught() {
    check_flight("groups in flight, twin: pinned late", Flight::PinnedLate);
}

#[test]
fn a_poisoned_pipeline_answers_who_comes_later() {
    check("poisoned, then handed over", || {
        let store = store(Disk::Fails, Root::bare(0, 0));
        let (first, commit) = ack(&store.home, Promised::Durable, 1);
        let (late, late_commit) = ack(&store.home, Promised::Visible, 2);
        let log_thread = run_log(&store);
        let done = Arc::new(Mutex::new(Vec::new()));
        let waits = |commit: Commit<()>| {
            let done = Arc::clone(&done);
            thread::spawn(move || {
                let is_ok = commit.wait().is_ok();
                done.lock().unwrap().push(is_ok);
            })
        };
        let waiting = [waits(commit), waits(late_commit)];
        store.append(1);
        store.pipeline.hand_over(group(Root::bare(1, 1), true, vec![first]));
        store.append(2);
        store.pipeline.hand_over(group(Root::bare(2, 2), false, vec![late]));
        waiting.into_iter().for_each(|thread| thread.join().unwrap());
        assert_eq!(*done.lock().unwrap(), [false, false], "answered after the poison");
        assert_eq!(store.published.guard().version, 0, "published on error");
        store.pipeline.end();
        log_thread.join().unwrap();
    });
}
