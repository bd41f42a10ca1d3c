//! A delta stands on another page, which no tree names any more: the number of that page waits for
//! every reader that can still find the delta.
use loom::{cell::UnsafeCell, sync::Arc, thread};
use recto::internals::{
    frames::Frames,
    publish::{Bell, Generation, Pin, Published, Version},
    reclaim::Reclaimer,
    slots::{Slot, Slots},
};
use recto_loom_tests::{Reached, check};

/// The page that is a delta at first, and the one that it stands on.
const PAGE: u32 = 2;
const BASE: u8 = 3;
/// What every snapshot must find in either.
const CONTENT: u8 = 7;
/// What is written to a page whose number is used again.
const OTHER: u8 = 99;

/// The page file, as the map shows it: a byte a page.
struct File([UnsafeCell<u8>; 4]);

// SAFETY: loom checks the accesses.
unsafe impl Sync for File {}

impl File {
    fn read(&self, page: u8) -> u8 {
        // SAFETY: loom checks that nobody writes meanwhile.
        self.0[usize::from(page)].with(|byte| unsafe { *byte })
    }

    fn write(&self, page: u8, content: u8) {
        // SAFETY: loom checks that the access is exclusive.
        self.0[usize::from(page)].with_mut(|byte| unsafe { *byte = content });
    }
}

struct Shared {
    file: File,
    frames: Arc<Frames>,
    slots: Slots,
    published: Published<Pin>,
}

#[derive(Clone, Copy, PartialEq)]
enum Way {
    Right,
    /// The seeded bug: the base is given up in the generation that made the delta, and not in the
    /// one in which its page turns clean.
    GivenUpEarly,
    /// The seeded bug: the base is given up before the slot turns, and that generation published.
    GivenUpFirst,
}

fn delta_to_clean(way: Way, reached: &[Reached; 2]) {
    let (frames, mut writer) = Frames::new(8, 0);
    let bell = Arc::new(Bell::new(|| ()));
    let (mut pages, mut deltas) = (Reclaimer::default(), Reclaimer::default());
    let (pin, lease) = Pin::new(&bell);
    pages.pin(Version(1), Generation(1), lease.clone());
    deltas.pin(Version(1), Generation(1), lease);
    let file = File([0, 0, 0, CONTENT].map(UnsafeCell::new));
    let published = Published::new(Arc::new(pin), 1);
    let shared = Arc::new(Shared { file, frames, slots: Slots::default(), published });
    // As the pager does; loom cannot see std's `OnceLock`.
    shared.slots.grow(PAGE + 1);
    let delta = writer.alloc(1).unwrap();
    writer.bytes_mut(delta)[0] = BASE;
    writer.share();
    shared.slots.set(PAGE, Slot::Frame(delta));
    let readers: Vec<_> = (0..2)
        .map(|_| {
            let shared = Arc::clone(&shared);
            thread::spawn(move || {
                let pin = shared.published.pin();
                let (page, is_clean) = match shared.slots.load(PAGE) {
                    Slot::Frame(frame) => (shared.frames.bytes(frame)[0], false),
                    Slot::Clean => (PAGE as u8, true),
                    Slot::Cold => panic!("nobody made it cold"),
                };
                assert_eq!(shared.file.read(page), CONTENT, "a snapshot changed");
                drop(pin);
                is_clean
            })
        })
        .collect();
    let writing = thread::spawn(move || {
        // A checkpoint has folded the delta and written the page.
        shared.file.write(PAGE as u8, CONTENT);
        if way != Way::GivenUpFirst {
            shared.slots.set(PAGE, Slot::Clean);
        }
        let end = if way == Way::GivenUpEarly { 1 } else { 2 };
        pages.retire_now(BASE, Version(0), Generation(end));
        deltas.retire_now(delta, Version(1), Generation(2));
        let (pin, lease) = Pin::new(&bell);
        pages.pin(Version(1), Generation(2), lease.clone());
        deltas.pin(Version(1), Generation(2), lease);
        shared.published.publish(Arc::new(pin), 2);
        let (mut free_pages, mut free_deltas) = (Vec::new(), Vec::new());
        pages.take(&mut free_pages);
        deltas.take(&mut free_deltas);
        let did_reuse = !free_pages.is_empty();
        for page in free_pages {
            shared.file.write(page, OTHER);
        }
        for frame in free_deltas {
            writer.reuse(frame);
        }
        if way == Way::GivenUpFirst {
            shared.slots.set(PAGE, Slot::Clean);
        }
        (did_reuse, writer, shared)
    });
    for reader in readers {
        if reader.join().unwrap() {
            reached[1].note();
        }
    }
    let (did_reuse, writer, shared) = writing.join().unwrap();
    if did_reuse {
        reached[0].note();
    }
    drop((writer, shared));
}

fn check_delta(name: &str, way: Way) {
    let reached = std::sync::Arc::new([(); 2].map(|()| Reached::default()));
    let note = std::sync::Arc::clone(&reached);
    check(name, move || delta_to_clean(way, &note));
    reached[0].expect("a base used again before the readers were joined");
    reached[1].expect("a reader that found the page clean");
}

#[test]
fn a_base_waits_for_the_readers_of_its_delta() {
    check_delta("a delta's base", Way::Right);
}

#[test]
#[should_panic(expected = "Causality violation")]
fn a_base_given_up_when_the_delta_was_made_is_caught() {
    check_delta("twin: given up early", Way::GivenUpEarly);
}

#[test]
#[should_panic(expected = "Causality violation")]
fn a_base_given_up_before_the_slot_turns_is_caught() {
    check_delta("twin: given up first", Way::GivenUpFirst);
}
