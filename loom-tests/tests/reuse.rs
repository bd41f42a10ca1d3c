//! Page reuse while a reader holds the snapshot; last drops out of order, clone against drop.
//! Nobody's bytes are written while they are read, and each frame comes back once, when the rule
//! allows.
use loom::{
    sync::{
        Arc,
        atomic::{
            AtomicBool, AtomicUsize,
            Ordering::{Acquire, Relaxed, Release},
        },
    },
    thread,
};
use recto::internals::{
    frames::{FrameId, FrameWriter, Frames},
    publish::{Bell, Generation, Lease, Leased, Pin, Published, Version},
    reclaim::Reclaimer,
};
use recto_loom_tests::{Reached, check};

/// The rule of reclaim, or none.
trait Rule<L>: Default + Send + 'static {
    fn pin(&mut self, version: Version, generation: Generation, lease: Arc<L>);
    fn retire(&mut self, frame: FrameId, birth: Version, end: Generation);
    fn take(&mut self, out: &mut Vec<FrameId>);
}

impl<L: Leased + Send + Sync + 'static> Rule<L> for Reclaimer<FrameId, L> {
    fn pin(&mut self, version: Version, generation: Generation, lease: Arc<L>) {
        Reclaimer::pin(self, version, generation, lease);
    }

    fn retire(&mut self, frame: FrameId, birth: Version, end: Generation) {
        Reclaimer::retire(self, frame, birth, end);
    }

    fn take(&mut self, out: &mut Vec<FrameId>) {
        self.commit();
        Reclaimer::take(self, out);
    }
}

/// The seeded bug: what is retired is free.
#[derive(Default)]
struct NoCheck(Vec<FrameId>);

impl<L> Rule<L> for NoCheck {
    fn pin(&mut self, _: Version, _: Generation, _: Arc<L>) {}

    fn retire(&mut self, frame: FrameId, _: Version, _: Generation) {
        self.0.push(frame);
    }

    fn take(&mut self, out: &mut Vec<FrameId>) {
        out.append(&mut self.0);
    }
}

/// The seeded bug: what hangs on the newest pin is freed with it, not passed to the pin before.
struct NewestFirst<L>(Vec<(Arc<L>, Generation, Vec<FrameId>)>);

impl<L> Default for NewestFirst<L> {
    fn default() -> Self {
        NewestFirst(Vec::new())
    }
}

impl<L: Leased + Send + Sync + 'static> Rule<L> for NewestFirst<L> {
    fn pin(&mut self, _: Version, generation: Generation, lease: Arc<L>) {
        self.0.push((lease, generation, Vec::new()));
    }

    fn retire(&mut self, frame: FrameId, _: Version, end: Generation) {
        let last = self.0.iter_mut().rev().find(|(_, generation, _)| *generation < end);
        last.expect("the published version is pinned").2.push(frame);
    }

    fn take(&mut self, out: &mut Vec<FrameId>) {
        let gone = self.0.extract_if(.., |(lease, ..)| lease.is_released());
        out.extend(gone.flat_map(|(_, _, frames)| frames));
    }
}

/// A frame, and what its first byte must be.
type Page = (FrameId, u8);

/// A hold on a version, which readers clone and drop.
trait Hold: Send + Sync + Clone + Sized + 'static {
    type Lease: Leased + Send + Sync + 'static;
    fn new(bell: &Arc<Bell>, pages: Vec<Page>) -> (Self, Arc<Self::Lease>);
    fn pages(&self) -> &[Page];
}

/// As the store does it: the root owns the pin, and a hold is its `Arc`.
#[derive(Clone)]
struct Snapshot(Arc<(Vec<Page>, Pin)>);

impl Hold for Snapshot {
    type Lease = Lease;

    fn new(bell: &Arc<Bell>, pages: Vec<Page>) -> (Self, Arc<Lease>) {
        let (pin, lease) = Pin::new(bell);
        (Snapshot(Arc::new((pages, pin))), lease)
    }

    fn pages(&self) -> &[Page] {
        &self.0.0
    }
}

struct Flag(AtomicBool);

impl Leased for Flag {
    fn is_released(&self) -> bool {
        self.0.load(Acquire)
    }
}

struct RelaxedPin(Arc<Flag>);

impl Drop for RelaxedPin {
    fn drop(&mut self) {
        self.0.0.store(true, Relaxed);
    }
}

/// The seeded bug: the flag is stored without Release.
#[derive(Clone)]
struct Relaxedly(Arc<(Vec<Page>, RelaxedPin)>);

impl Hold for Relaxedly {
    type Lease = Flag;

    fn new(_: &Arc<Bell>, pages: Vec<Page>) -> (Self, Arc<Flag>) {
        let flag = Arc::new(Flag(AtomicBool::new(false)));
        (Relaxedly(Arc::new((pages, RelaxedPin(Arc::clone(&flag))))), flag)
    }

    fn pages(&self) -> &[Page] {
        &self.0.0
    }
}

struct Count(AtomicUsize);

impl Leased for Count {
    fn is_released(&self) -> bool {
        // As `Arc::strong_count` of std is: relaxed. loom's own is stronger than that.
        self.0.load(Relaxed) == 0
    }
}

/// The seeded bug: no flag; the reference count is polled.
struct Counted(Arc<Vec<Page>>, Arc<Count>);

impl Hold for Counted {
    type Lease = Count;

    fn new(_: &Arc<Bell>, pages: Vec<Page>) -> (Self, Arc<Count>) {
        let count = Arc::new(Count(AtomicUsize::new(1)));
        (Counted(Arc::new(pages), Arc::clone(&count)), count)
    }

    fn pages(&self) -> &[Page] {
        &self.0
    }
}

impl Clone for Counted {
    fn clone(&self) -> Self {
        self.1.0.fetch_add(1, Relaxed);
        Counted(Arc::clone(&self.0), Arc::clone(&self.1))
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.1.0.fetch_sub(1, Release);
    }
}

/// The seeded bug: each clone sets the flag when it is dropped.
#[derive(Clone)]
struct PerClone {
    pages: Arc<Vec<Page>>,
    _pin: ClonePin,
}

#[derive(Clone)]
struct ClonePin(Arc<Flag>);

impl Drop for ClonePin {
    fn drop(&mut self) {
        self.0.0.store(true, Release);
    }
}

impl Hold for PerClone {
    type Lease = Flag;

    fn new(_: &Arc<Bell>, pages: Vec<Page>) -> (Self, Arc<Flag>) {
        let flag = Arc::new(Flag(AtomicBool::new(false)));
        let _pin = ClonePin(Arc::clone(&flag));
        (PerClone { pages: Arc::new(pages), _pin }, flag)
    }

    fn pages(&self) -> &[Page] {
        &self.pages
    }
}

/// The writer's side of both models.
struct Writer<H: Hold, R: Rule<H::Lease>> {
    frames: FrameWriter,
    rule: R,
    bell: Arc<Bell>,
    hold: std::marker::PhantomData<H>,
}

impl<H: Hold, R: Rule<H::Lease>> Writer<H, R> {
    fn new() -> (Arc<Frames>, Self) {
        let (shared, frames) = Frames::new(8, 0);
        let bell = Arc::new(Bell::new(|| ()));
        let hold = std::marker::PhantomData;
        (shared, Writer { frames, rule: R::default(), bell, hold })
    }

    fn page(&mut self, byte: u8) -> FrameId {
        let frame = self.frames.alloc(1).unwrap();
        self.frames.bytes_mut(frame)[0] = byte;
        self.frames.share();
        frame
    }

    fn snapshot(&mut self, number: u64, pages: &[Page]) -> H {
        let (hold, lease) = H::new(&self.bell, pages.to_vec());
        self.rule.pin(Version(number), Generation(number), lease);
        hold
    }

    fn retire(&mut self, frame: FrameId, birth: u64, end: u64) {
        self.rule.retire(frame, Version(birth), Generation(end));
    }

    /// Takes what is free and writes over it at once.
    fn reuse(&mut self) -> usize {
        let mut free = Vec::new();
        self.rule.take(&mut free);
        for frame in &free {
            self.frames.reuse(*frame);
        }
        for _ in &free {
            self.page(99);
        }
        free.len()
    }
}

fn read<H: Hold>(frames: &Frames, hold: &H) {
    for (frame, byte) in hold.pages() {
        assert_eq!(frames.bytes(*frame)[0], *byte, "a snapshot changed");
    }
}

/// Readers hold versions 1 to 3, whose page lies in another frame each, while the writer replaces
/// it and reuses what it may.
fn reuse_under_a_reader<H: Hold, R: Rule<H::Lease>>() -> usize {
    let (frames, mut writer) = Writer::<H, R>::new();
    let mut page = writer.page(1);
    let published = Arc::new(Published::new(Arc::new(writer.snapshot(1, &[(page, 1)])), 1));
    // One holds its snapshot already, which leaves more preemptions for what follows; two look
    // twice.
    let (pinned, looked) = (published.pin(), Arc::clone(&published));
    let shared = frames.clone();
    let holding = thread::spawn(move || read(&shared, &*pinned));
    let looking: Vec<_> = [looked, Arc::clone(&published)]
        .into_iter()
        .map(|looked| {
            let frames = frames.clone();
            thread::spawn(move || {
                read(&frames, &*looked.pin());
                read(&frames, &**looked.guard());
            })
        })
        .collect();
    // On a thread of its own: a switch away from a thread that waits is no preemption.
    let writing = thread::spawn(move || {
        let mut reused = 0;
        for number in 2..=3 {
            writer.retire(page, number - 1, number);
            page = writer.page(number as u8);
            let next = writer.snapshot(number, &[(page, number as u8)]);
            published.publish(Arc::new(next), number);
            reused += writer.reuse();
        }
        (reused, writer, published)
    });
    holding.join().unwrap();
    looking.into_iter().for_each(|reader| reader.join().unwrap());
    let (reused, mut writer, published) = writing.join().unwrap();
    assert_eq!(reused + writer.reuse(), 2, "what was retired comes back once");
    drop(published);
    reused
}

#[test]
fn a_frame_is_not_written_while_a_snapshot_can_see_it() {
    let counts = std::sync::Arc::new([(); 3].map(|()| Reached::default()));
    let note = std::sync::Arc::clone(&counts);
    check("page reuse under a reader", move || {
        note[reuse_under_a_reader::<Snapshot, Reclaimer<FrameId>>()].note();
    });
    for (early, count) in counts.iter().enumerate() {
        count.expect(&format!("{early} frames reused before the readers were joined"));
    }
}

#[test]
#[should_panic(expected = "Causality violation")]
fn reuse_without_a_check_is_caught() {
    check("twin: no check", || _ = reuse_under_a_reader::<Snapshot, NoCheck>());
}

#[test]
#[should_panic(expected = "Causality violation")]
fn a_relaxed_flag_is_caught() {
    check("twin: relaxed flag", || _ = reuse_under_a_reader::<Relaxedly, Reclaimer<_, _>>());
}

#[test]
#[should_panic(expected = "Causality violation")]
fn a_polled_count_is_caught() {
    check("twin: count polled", || _ = reuse_under_a_reader::<Counted, Reclaimer<_, _>>());
}

/// Three versions held at once; readers clone and drop them in any order. Page 1 lives through the
/// first two versions, page 2 in the second and page 3 in the first alone.
fn drops_out_of_order<H: Hold, R: Rule<H::Lease>>() -> usize {
    let (frames, mut writer) = Writer::<H, R>::new();
    let (both, old) = (writer.page(1), writer.page(3));
    let first = writer.snapshot(1, &[(both, 1), (old, 3)]);
    writer.retire(old, 1, 2);
    let new = writer.page(2);
    let second = writer.snapshot(2, &[(both, 1), (new, 2)]);
    writer.retire(both, 1, 3);
    writer.retire(new, 2, 3);
    let current = writer.snapshot(3, &[]);
    let cloning = {
        let frames = frames.clone();
        thread::spawn(move || {
            let clone = first.clone();
            drop(first);
            read(&frames, &clone);
        })
    };
    let other = second.clone();
    let dropping = {
        let frames = frames.clone();
        thread::spawn(move || read(&frames, &second))
    };
    let writing = thread::spawn(move || {
        let mut reused = writer.reuse();
        drop(other);
        reused += writer.reuse();
        (reused, writer)
    });
    cloning.join().unwrap();
    dropping.join().unwrap();
    let (reused, mut writer) = writing.join().unwrap();
    assert_eq!(reused + writer.reuse(), 3, "each frame comes back once");
    drop(current);
    reused
}

#[test]
fn last_drops_in_any_order_free_each_frame_once() {
    let counts = std::sync::Arc::new([(); 4].map(|()| Reached::default()));
    let note = std::sync::Arc::clone(&counts);
    check("last drops out of order", move || {
        note[drops_out_of_order::<Snapshot, Reclaimer<FrameId>>()].note();
    });
    // One snapshot gone frees its own page, both gone free all three.
    for early in [0, 1, 3] {
        counts[early].expect(&format!("{early} frames reused before the readers were joined"));
    }
}

#[test]
#[should_panic(expected = "Causality violation")]
fn freeing_with_the_newest_pin_is_caught() {
    check("twin: freed newest first", || {
        drops_out_of_order::<Snapshot, NewestFirst<Lease>>();
    });
}

#[test]
#[should_panic(expected = "Causality violation")]
fn a_flag_set_by_each_clone_is_caught() {
    check("twin: flag per clone", || _ = drops_out_of_order::<PerClone, Reclaimer<_, _>>());
}
