//! Load against publish: a reader's pages belong to its version, versions never go back, and a reader
//! that renews by the word is never behind an answered commit.
use loom::{
    sync::{
        Arc,
        atomic::{
            AtomicU64,
            Ordering::{Acquire, Relaxed, Release},
        },
    },
    thread,
};
use recto::internals::{
    frames::{FrameId, Frames},
    publish::Published,
    slots::{Slot, Slots},
    sync::Pointer,
};
use recto_loom_tests::check;

const PAGE: u32 = 2;

struct Root {
    version: u64,
    /// Each version has its page at a number of its own here: nothing is reused.
    page: u32,
}

/// What the models vary.
#[derive(Clone, Copy, PartialEq)]
enum Order {
    Right,
    /// The seeded bug: published before the pages are written.
    PublishedFirst,
}

fn load_against_publish(order: Order) {
    let (frames, mut writer) = Frames::new(8, 0);
    let slots = Arc::new(Slots::default());
    let mut write = |slots: &Slots, version: u64| -> FrameId {
        let frame = writer.alloc(1).unwrap();
        slots.set(PAGE + version as u32, Slot::Frame(frame));
        frame
    };
    let first = write(&slots, 0);
    let root = |version| Arc::new(Root { version, page: PAGE + version as u32 });
    let published = Arc::new(Published::new(root(0), 0));
    let _ = first;
    let readers: Vec<_> = (0..2)
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
                    assert_eq!(frames.bytes(frame)[0], root.version as u8, "another version's page");
                }
            })
        })
        .collect();
    for version in 1..=2 {
        let frame = write(&slots, version);
        if order == Order::PublishedFirst {
            published.publish(root(version), version);
        }
        writer_bytes(&mut writer, frame, version);
        writer.share();
        if order == Order::Right {
            published.publish(root(version), version);
        }
    }
    readers.into_iter().for_each(|reader| reader.join().unwrap());
}
