//! Load against publish: a reader's pages belong to its version, versions never go back, and a
//! reader that renews by the word is never behind an answered commit, nor behind a snapshot.
use loom::{
    sync::{
        Arc,
        atomic::{
            AtomicBool, AtomicU64,
            Ordering::{Acquire, Relaxed, Release},
        },
    },
    thread,
};
use recto::internals::{
    frames::Frames,
    publish::{Published, Seen},
    slots::{Slot, Slots},
    sync::{Pointer, Twin, plant},
};
use recto_loom_tests::check;

struct Root {
    version: u64,
    /// Each version has a page of its own here: nothing is reused.
    page: u32,
}

fn root(version: u64) -> Arc<Root> {
    Arc::new(Root { version, page: 2 + version as u32 })
}

#[derive(Clone, Copy, PartialEq)]
enum Write {
    First,
    /// The seeded bug.
    AfterPublish,
}

fn load_against_publish(write: Write) {
    let (frames, mut writer) = Frames::new(8, 0);
    let slots = Arc::new(Slots::default());
    let mut page_of = move |slots: &Slots, version: u64, publish: &dyn Fn()| {
        let frame = writer.alloc(1).unwrap();
        slots.set(root(version).page, Slot::Frame(frame));
        if write == Write::AfterPublish {
            publish();
        }
        writer.bytes_mut(frame)[0] = version as u8;
        writer.share();
        if write == Write::First {
            publish();
        }
    };
    page_of(&slots, 0, &|| ());
    let published = Arc::new(Published::new(root(0), 0));
    let readers: Vec<_> = (0..3)
        .map(|_| {
            let (frames, slots) = (frames.clone(), Arc::clone(&slots));
            let published = Arc::clone(&published);
            thread::spawn(move || {
                let mut last = 0;
                for _ in 0..2 {
                    let root = published.guard();
                    assert!(root.version >= last, "versions went back");
                    last = root.version;
                    let Slot::Frame(frame) = slots.load(root.page) else { panic!("no frame") };
                    let seen = u64::from(frames.bytes(frame)[0]);
                    assert_eq!(seen, root.version, "a page of another version");
                }
            })
        })
        .collect();
    let writing = thread::spawn(move || {
        for version in 1..=2 {
            page_of(&slots, version, &|| published.publish(root(version), version));
        }
    });
    readers.into_iter().for_each(|reader| reader.join().unwrap());
    writing.join().unwrap();
}

#[test]
fn a_readers_pages_belong_to_its_version() {
    check("load against publish", || load_against_publish(Write::First));
}

#[test]
#[should_panic(expected = "Causality violation")]
fn a_page_written_after_it_is_published_is_caught() {
    check("twin: published before the pages", || load_against_publish(Write::AfterPublish));
}

/// The published pointer with its word, or a wrong one.
trait Renewed: Send + Sync + 'static {
    type Seen;
    fn new() -> Self;
    fn publish(&self, version: u64);
    fn pin(&self) -> Arc<Root>;
    fn pin_to_keep(&self) -> (Arc<Root>, Self::Seen);
    fn must_renew(&self, seen: &mut Self::Seen) -> bool;
}

impl Renewed for Published<Root> {
    type Seen = Seen;

    fn new() -> Self {
        Published::new(root(0), 0)
    }

    fn publish(&self, version: u64) {
        Published::publish(self, root(version), version);
    }

    fn pin(&self) -> Arc<Root> {
        Published::pin(self)
    }

    fn pin_to_keep(&self) -> (Arc<Root>, Seen) {
        Published::pin_to_keep(self)
    }

    fn must_renew(&self, seen: &mut Seen) -> bool {
        Published::must_renew(self, seen)
    }
}

/// The seeded bug: the word is stored before the pointer.
struct WordFirst(Pointer<Root>, AtomicU64);

impl Renewed for WordFirst {
    type Seen = u64;

    fn new() -> Self {
        WordFirst(Pointer::new(root(0)), AtomicU64::new(0))
    }

    fn publish(&self, version: u64) {
        self.1.store(version, Release);
        self.0.store(root(version));
    }

    fn pin(&self) -> Arc<Root> {
        self.0.load_full()
    }

    fn pin_to_keep(&self) -> (Arc<Root>, u64) {
        let word = self.1.load(Acquire);
        (self.pin(), word)
    }

    fn must_renew(&self, seen: &mut u64) -> bool {
        let now = self.1.load(Acquire);
        std::mem::replace(seen, now) != now
    }
}

/// The protocol of `Published` over a pointer whose load may be stale where nothing forbids it, as
/// arc-swap's may; the stand-in's cannot. Shows what the word's ordering is for.
struct Stale<const RELAXED: bool>(AtomicU64, AtomicU64);

impl<const RELAXED: bool> Renewed for Stale<RELAXED> {
    /// None behind an announcement.
    type Seen = Option<u64>;

    fn new() -> Self {
        Stale(AtomicU64::new(0), AtomicU64::new(0))
    }

    fn publish(&self, version: u64) {
        self.1.store(2 * version - 1, Relaxed);
        self.0.store(version, Release);
        self.1.store(2 * version, if RELAXED { Relaxed } else { Release });
    }

    fn pin(&self) -> Arc<Root> {
        root(self.0.load(Acquire))
    }

    fn pin_to_keep(&self) -> (Arc<Root>, Option<u64>) {
        let mut seen = None;
        self.must_renew(&mut seen);
        (self.pin(), seen)
    }

    fn must_renew(&self, seen: &mut Option<u64>) -> bool {
        let now = self.1.load(Acquire);
        let is_new = *seen != Some(now);
        *seen = (now % 2 == 0).then_some(now);
        is_new
    }
}

#[derive(Clone, Copy, PartialEq)]
enum Answer {
    AfterPublish,
    /// The seeded bug.
    First,
}

fn renewal<P: Renewed>(answer: Answer) {
    let published = Arc::new(P::new());
    let answered = Arc::new(AtomicBool::new(false));
    let reader = {
        let (published, answered) = (Arc::clone(&published), Arc::clone(&answered));
        thread::spawn(move || {
            let (mut root, mut seen) = published.pin_to_keep();
            for _ in 0..2 {
                let promised = u64::from(answered.load(Acquire));
                let shown = published.pin().version;
                if published.must_renew(&mut seen) {
                    root = published.pin();
                }
                assert!(root.version >= promised, "behind an answered commit");
                assert!(root.version >= shown, "behind a snapshot");
            }
        })
    };
    let writer = thread::spawn(move || {
        if answer == Answer::First {
            answered.store(true, Release);
        }
        published.publish(1);
        answered.store(true, Release);
    });
    reader.join().unwrap();
    writer.join().unwrap();
}

#[test]
fn a_renewed_reader_is_never_behind_an_answered_commit_or_a_snapshot() {
    check("reader renewal by one word", || renewal::<Published<Root>>(Answer::AfterPublish));
}

#[test]
fn the_word_orders_even_a_pointer_that_may_be_stale() {
    check("renewal, stale pointer", || renewal::<Stale<false>>(Answer::AfterPublish));
}

#[test]
#[should_panic(expected = "behind a snapshot")]
fn a_relaxed_word_is_caught() {
    check("twin: relaxed word", || renewal::<Stale<true>>(Answer::AfterPublish));
}

#[test]
#[should_panic(expected = "behind a snapshot")]
fn a_word_published_before_the_snapshot_is_caught() {
    check("twin: word before pointer", || renewal::<WordFirst>(Answer::AfterPublish));
}

#[test]
#[should_panic(expected = "behind an answered commit")]
fn an_answer_given_before_the_word_is_caught() {
    check("twin: answered early", || renewal::<Published<Root>>(Answer::First));
}

#[test]
#[should_panic(expected = "behind a snapshot")]
fn publishing_without_an_announcement_is_caught() {
    check("twin: not announced", || {
        plant(Some(Twin::NotAnnounced));
        renewal::<Published<Root>>(Answer::AfterPublish);
    });
}

#[test]
#[should_panic(expected = "behind a snapshot")]
fn a_reader_that_keeps_an_announcement_is_caught() {
    check("twin: announcement kept", || {
        plant(Some(Twin::AnnouncementKept));
        renewal::<Published<Root>>(Answer::AfterPublish);
    });
}
