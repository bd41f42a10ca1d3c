//! Dirty to clean while a reader resolves a page, and the frame is reused: the reader's bytes stay.
//! And without a map: readers fill frames, the writer evicts them.
use loom::{cell::UnsafeCell, sync::Arc, thread};
use recto::internals::{
    frames::{FrameId, Frames},
    publish::{Bell, Generation, Pin, Published, Version},
    reclaim::Reclaimer,
    slots::{Slot, Slots},
};
use recto_loom_tests::{Reached, check};

const PAGE: u32 = 2;
const CONTENT: u8 = 7;

/// The page file, as the map shows it.
struct File(UnsafeCell<u8>);

// SAFETY: loom checks the accesses.
unsafe impl Sync for File {}

impl File {
    fn read(&self) -> u8 {
        // SAFETY: loom checks that nobody writes meanwhile.
        self.0.with(|byte| unsafe { *byte })
    }

    fn write(&self, content: u8) {
        // SAFETY: loom checks that the access is exclusive.
        self.0.with_mut(|byte| unsafe { *byte = content });
    }
}

struct Shared {
    file: File,
    frames: Arc<Frames>,
    slots: Slots,
    published: Published<Pin>,
}

#[derive(Clone, Copy, PartialEq)]
enum Clean {
    Right,
    /// The seeded bug: the frame is retired, and the next generation published, before the slot
    /// turns.
    RetiredFirst,
    /// The seeded bug: the frame's end is the generation before.
    EndTooLow,
    /// The seeded bug: the slot turns before the page is in the file.
    SlotFirst,
}

fn dirty_to_clean(order: Clean, reached: &[Reached; 2]) {
    let (frames, mut writer) = Frames::new(8, 0);
    let bell = Arc::new(Bell::new(|| ()));
    let mut reclaimer = Reclaimer::default();
    let (pin, lease) = Pin::new(&bell);
    reclaimer.pin(Version(1), Generation(1), lease);
    let published = Published::new(Arc::new(pin), 1);
    let file = File(UnsafeCell::new(0));
    let shared = Arc::new(Shared { file, frames, slots: Slots::default(), published });
    // As the pager does; what a reader would do to make a chunk is std's `OnceLock`, which loom
    // cannot see.
    shared.slots.grow(PAGE + 1);
    let dirty = writer.alloc(1).unwrap();
    writer.bytes_mut(dirty)[0] = CONTENT;
    writer.share();
    shared.slots.set(PAGE, Slot::Frame(dirty));
    let readers: Vec<_> = (0..3)
        .map(|_| {
            let shared = Arc::clone(&shared);
            thread::spawn(move || {
                let pin = shared.published.pin();
                let (content, clean) = match shared.slots.load(PAGE) {
                    Slot::Frame(frame) => (shared.frames.bytes(frame)[0], false),
                    Slot::Clean => (shared.file.read(), true),
                    Slot::Cold => panic!("nobody made it cold"),
                };
                assert_eq!(content, CONTENT, "a snapshot changed");
                drop(pin);
                clean
            })
        })
        .collect();
    let writing = thread::spawn(move || {
        // The checkpoint's thread writes and syncs, and hands back to the writer.
        if order != Clean::SlotFirst {
            shared.file.write(CONTENT);
        }
        if order != Clean::RetiredFirst {
            shared.slots.set(PAGE, Slot::Clean);
        }
        if order == Clean::SlotFirst {
            shared.file.write(CONTENT);
        }
        let end = if order == Clean::EndTooLow { 1 } else { 2 };
        reclaimer.retire_now(dirty, Version(1), Generation(end));
        let (pin, lease) = Pin::new(&bell);
        reclaimer.pin(Version(1), Generation(2), lease);
        shared.published.publish(Arc::new(pin), 2);
        let (mut free, mut reused) = (Vec::new(), false);
        reclaimer.take(&mut free);
        for frame in free.drain(..) {
            reused = true;
            writer.reuse(frame);
            let other = writer.alloc(1).unwrap();
            writer.bytes_mut(other)[0] = 99;
            writer.share();
        }
        if order == Clean::RetiredFirst {
            shared.slots.set(PAGE, Slot::Clean);
        }
        (reused, writer, shared)
    });
    for reader in readers {
        if reader.join().unwrap() {
            reached[1].note();
        }
    }
    let (reused, writer, shared) = writing.join().unwrap();
    if reused {
        reached[0].note();
    }
    drop((writer, shared));
}

fn check_clean(name: &str, order: Clean) {
    let reached = std::sync::Arc::new([(); 2].map(|()| Reached::default()));
    let note = std::sync::Arc::clone(&reached);
    check(name, move || dirty_to_clean(order, &note));
    reached[0].expect("a frame reused before the readers were joined");
    reached[1].expect("a reader that found the page clean");
}

#[test]
fn a_page_turns_clean_under_its_readers() {
    check_clean("dirty to clean", Clean::Right);
}

#[test]
#[should_panic(expected = "Causality violation")]
fn a_frame_retired_before_the_slot_changes_is_caught() {
    check_clean("twin: retired before the slot", Clean::RetiredFirst);
}

#[test]
#[should_panic(expected = "Causality violation")]
fn an_end_too_low_is_caught() {
    check_clean("twin: end too low", Clean::EndTooLow);
}

#[test]
#[should_panic(expected = "Causality violation")]
fn a_slot_that_turns_before_the_write_is_caught() {
    check_clean("twin: slot before the write", Clean::SlotFirst);
}

#[derive(Clone, Copy, PartialEq)]
enum Fill {
    Right,
    /// The seeded bug: the frame is named before it is filled.
    NamedFirst,
    /// The seeded bug: who loses the race stores its frame all the same.
    LoserStores,
    /// The seeded bug: evicted frames are free at once.
    EvictedAtOnce,
}

/// A reader of a storage without a map finds a page cold, or in a frame.
fn resolve(shared: &Shared, way: Fill) -> FrameId {
    if let Slot::Frame(frame) = shared.slots.load(PAGE) {
        return frame;
    }
    let filled = shared.frames.fill(1, |bytes| {
        bytes[0] = CONTENT;
        Ok(())
    });
    let filled = filled.unwrap();
    match shared.slots.fill(PAGE, Slot::Frame(filled.id())) {
        Ok(()) => filled.keep(),
        Err(Slot::Frame(_)) if way == Fill::LoserStores => {
            shared.slots.set(PAGE, Slot::Frame(filled.id()));
            filled.keep()
        }
        Err(Slot::Frame(frame)) => frame,
        Err(slot) => panic!("{slot:?}: readers change cold alone"),
    }
}

/// The same with the seeded bug: another reader finds the frame before its bytes.
fn resolve_named_first(shared: &Shared) -> FrameId {
    if let Slot::Frame(frame) = shared.slots.load(PAGE) {
        return frame;
    }
    let filled = shared.frames.fill(1, |bytes| {
        // The number that comes next is known: nothing has been given back.
        let _ = shared.slots.fill(PAGE, Slot::Frame(FrameId(0)));
        // loom dates a borrowed access from its beginning, so others must run in the middle of it.
        thread::yield_now();
        bytes[0] = CONTENT;
        Ok(())
    });
    filled.unwrap().keep()
}

fn fill_and_evict(way: Fill, reached: &Reached) {
    let (frames, mut writer) = Frames::new(8, 64);
    let bell = Arc::new(Bell::new(|| ()));
    let mut reclaimer = Reclaimer::default();
    let (pin, lease) = Pin::new(&bell);
    reclaimer.pin(Version(1), Generation(1), lease);
    let published = Published::new(Arc::new(pin), 1);
    let file = File(UnsafeCell::new(0));
    let shared = Arc::new(Shared { file, frames, slots: Slots::default(), published });
    // As the pager does; what a reader would do to make a chunk is std's `OnceLock`, which loom
    // cannot see.
    shared.slots.grow(PAGE + 1);
    let readers: Vec<_> = (0..3)
        .map(|_| {
            let shared = Arc::clone(&shared);
            thread::spawn(move || {
                let pin = shared.published.pin();
                let frame = match way {
                    Fill::NamedFirst => resolve_named_first(&shared),
                    _ => resolve(&shared, way),
                };
                assert_eq!(shared.frames.bytes(frame)[0], CONTENT, "a snapshot changed");
                drop(pin);
            })
        })
        .collect();
    let writing = thread::spawn(move || {
        // The writer evicts what it finds, and publishes the same version again.
        let (mut free, mut reused) = (Vec::new(), false);
        if let Slot::Frame(frame) = shared.slots.load(PAGE) {
            shared.slots.set(PAGE, Slot::Cold);
            match way {
                Fill::EvictedAtOnce => free.push(frame),
                _ => reclaimer.retire_now(frame, Version(0), Generation(2)),
            }
        }
        let (pin, lease) = Pin::new(&bell);
        reclaimer.pin(Version(1), Generation(2), lease);
        shared.published.publish(Arc::new(pin), 2);
        reclaimer.take(&mut free);
        for frame in free.drain(..) {
            reused = true;
            writer.reuse(frame);
            let other = writer.alloc(1).unwrap();
            writer.bytes_mut(other)[0] = 99;
            writer.share();
        }
        (reused, writer, reclaimer, shared)
    });
    readers.into_iter().for_each(|reader| reader.join().unwrap());
    let (reused, mut writer, mut reclaimer, shared) = writing.join().unwrap();
    if reused {
        reached.note();
    }
    if way == Fill::NamedFirst {
        // It also loses the frame of who comes second.
        return;
    }
    let mut free = Vec::new();
    reclaimer.take(&mut free);
    free.drain(..).for_each(|frame| writer.reuse(frame));
    if let Slot::Frame(frame) = shared.slots.load(PAGE) {
        writer.reuse(frame);
    }
    assert_eq!(shared.frames.filled_bytes(), 0, "a frame was lost");
}

fn check_fill(name: &str, way: Fill) {
    let reached = std::sync::Arc::new(Reached::default());
    let note = std::sync::Arc::clone(&reached);
    check(name, move || fill_and_evict(way, &note));
    reached.expect("an evicted frame reused before the readers were joined");
}

#[test]
fn readers_fill_a_page_that_the_writer_evicts() {
    check_fill("fill and evict", Fill::Right);
}

#[test]
#[should_panic(expected = "currently writing to cell")]
fn a_frame_named_before_it_is_filled_is_caught() {
    check_fill("twin: named before filled", Fill::NamedFirst);
}

#[test]
#[should_panic(expected = "a frame was lost")]
fn a_lost_race_that_stores_is_caught() {
    check_fill("twin: the loser stores", Fill::LoserStores);
}

#[test]
#[should_panic(expected = "Causality violation")]
fn eviction_without_the_rule_is_caught() {
    check_fill("twin: evicted at once", Fill::EvictedAtOnce);
}
