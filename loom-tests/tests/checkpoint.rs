//! A checkpoint under way while commits go on and the log rotates: the log goes only past a durable
//! meta page. The whole store runs, on the simulated disk. Behind each execution the power is cut
//! after every operation of the disk, in every way that the crash tests know; what is left must be
//! recovered with all that was acknowledged by then.
use recto::{
    Batch, Options, Result, Store, Table, View,
    internals::{
        storage::Storage,
        store::{Stopped, prove},
        sync::erased,
    },
    simulation::{Bug, Cut, SimDisk},
};
use recto_loom_tests::{Reached, Window, beside, check_window};
use std::{
    collections::HashSet,
    future::Future,
    hash::{DefaultHasher, Hash, Hasher},
    pin::Pin,
    sync::{Arc, Mutex},
    task::{Context, Wake, Waker},
};

const ENTRIES: Table<u64, &[u8]> = Table::new("entries");
/// Two of these fill a group, one group a segment, all of them a page and a half.
const VALUE_BYTES: usize = 900;
/// Commits before the checkpoint: two groups, so that it lets a segment go.
const BEFORE: u64 = 4;
/// Commits in all: the last group needs a third segment.
const COMMITS: u64 = 6;
/// So many images of each new cut.
const IMAGES_MAX: usize = 12;

fn options() -> Options {
    Options::new().memory_map(false).queue_capacity(8).log_segment_bytes(4096)
}

fn storage(disk: SimDisk) -> loom::sync::Arc<dyn Storage> {
    erased(Arc::new(disk))
}

fn value(key: u64) -> [u8; VALUE_BYTES] {
    [key as u8; VALUE_BYTES]
}

/// Called when an answer is given, by whoever gives it.
struct Answered<F>(F);

impl<F: Fn() + Send + Sync> Wake for Answered<F> {
    fn wake(self: Arc<Self>) {
        self.0();
    }
}

fn when_answered(commit: &mut (impl Future + Unpin), tell: impl Fn() + Send + Sync + 'static) {
    let waker = Waker::from(Arc::new(Answered(tell)));
    let polled = Pin::new(commit).poll(&mut Context::from_waker(&waker));
    assert!(polled.is_pending(), "the store's threads have not been started");
}

/// What the cuts of all executions left, each history once.
#[derive(Default)]
struct Judge {
    histories: Mutex<HashSet<u64>>,
    images: Reached,
    /// Executions in which a segment was put to use again.
    rotated: Reached,
}

impl Judge {
    fn judge(&self, disk: &SimDisk) {
        // Lives and ids differ from run to run, so histories are told by their operations.
        let mut history = DefaultHasher::new();
        for (at, cut) in disk.cuts().enumerate() {
            if let Some(last) = at.checked_sub(1) {
                disk.describe(last).hash(&mut history);
            }
            let acknowledged = cut.marks().max().unwrap_or(0);
            acknowledged.hash(&mut history);
            if self.histories.lock().unwrap().insert(history.finish()) {
                self.recover(&cut, acknowledged);
            }
        }
    }

    fn recover(&self, cut: &Cut, acknowledged: u64) {
        for image in cut.new_images(1).take(IMAGES_MAX) {
            self.images.note();
            let image = Arc::new(image);
            beside(move || {
                let disk = storage(image.disk());
                let proved = prove(&options(), &disk, |view| look(view, acknowledged));
                if let Err(error) = proved {
                    panic!("an acknowledged commit was lost: {error}: {image}");
                }
            });
        }
    }
}

fn look(view: &View, acknowledged: u64) -> Result<()> {
    let version = view.version();
    assert!(version >= acknowledged, "an acknowledged commit was lost: {acknowledged}");
    let entries = view.table(&ENTRIES)?;
    assert_eq!(entries.len()?, version, "no prefix of the commits");
    for key in 1..=version {
        assert_eq!(entries.get(key)?, Some(&value(key)[..]), "no prefix of the commits");
    }
    Ok(())
}

fn checkpoint(bug: Option<Bug>, judge: &Judge) {
    let disk = SimDisk::new();
    if let Some(bug) = bug {
        disk.seed(bug);
    }
    let stopped = Stopped::open(options(), &storage(disk.clone())).unwrap();
    disk.settle();
    // From the last answer before the checkpoint to the checkpoint's and the last commit's.
    let window = Window::new(2);
    let put = |key: u64| {
        let mut batch = Batch::new();
        batch.insert(&ENTRIES, key, &value(key)[..]);
        let mut commit = stopped.store.submit(batch).unwrap();
        let (disk, window) = (disk.clone(), Arc::clone(&window));
        when_answered(&mut commit, move || {
            disk.mark(key);
            match key {
                BEFORE => window.open(),
                COMMITS => window.end(),
                _ => {}
            }
        });
        commit
    };
    let mut commits: Vec<_> = (1..=BEFORE).map(put).collect();
    let mut asked = stopped.ask_for_checkpoint().unwrap();
    let end = Arc::clone(&window);
    when_answered(&mut asked, move || end.end());
    commits.extend((BEFORE + 1..=COMMITS).map(put));
    let store: Store = stopped.start().unwrap();
    store.close().unwrap();
    drop((commits, asked, store));
    let operations = (0..disk.operations()).filter_map(|index| disk.describe(index));
    if operations.filter(|operation| operation.starts_with("create log-")).count() > 1 {
        judge.rotated.note();
    }
    judge.judge(&disk);
}

fn check_checkpoint(name: &str, bug: Option<Bug>) {
    let judge = Arc::new(Judge::default());
    let run = Arc::clone(&judge);
    check_window(name, move || checkpoint(bug, &run));
    judge.rotated.expect("a log that rotates");
    judge.images.tell(name, "images of power cuts recovered");
}

#[test]
fn the_log_goes_only_past_a_durable_meta_page() {
    check_checkpoint("checkpoint against log rotation", None);
}

#[test]
#[should_panic(expected = "an acknowledged commit was lost")]
fn a_segment_recycled_before_the_meta_pages_are_synced_is_caught() {
    check_checkpoint(
        "checkpoint, twin: recycled before the meta sync",
        Some(Bug::LogReleasedEarly),
    );
}

#[test]
#[should_panic(expected = "an acknowledged commit was lost")]
fn meta_pages_that_are_not_synced_are_caught() {
    check_checkpoint("checkpoint, twin: metas not synced", Some(Bug::MetasUnsynced));
}

#[test]
#[should_panic(expected = "an acknowledged commit was lost")]
fn a_meta_page_that_names_the_log_of_the_one_before_is_caught() {
    check_checkpoint("checkpoint, twin: stale position", Some(Bug::LogPositionStale));
}

#[test]
#[should_panic(expected = "an acknowledged commit was lost")]
fn page_numbers_that_the_durable_meta_page_names_used_again_are_caught() {
    check_checkpoint("checkpoint, twin: durable pin missing", Some(Bug::DurablePinMissing));
}

#[test]
#[should_panic(expected = "an acknowledged commit was lost")]
fn a_segment_left_before_it_is_synced_is_caught() {
    check_checkpoint("checkpoint, twin: old segment not synced", Some(Bug::OldSegmentUnsynced));
}

#[test]
#[should_panic(expected = "an acknowledged commit was lost")]
fn a_group_answered_before_its_sync_is_caught() {
    check_checkpoint("checkpoint, twin: answered before the sync", Some(Bug::AnsweredBeforeSync));
}
