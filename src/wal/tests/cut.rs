//! Power cuts at random moments of random histories: what a recovery finds is a prefix of what was
//! appended that holds everything that was acknowledged, and never damage.

use super::{
    Bench, Entry,
    disk::{Dice, Disk},
    read,
};
use crate::{
    publish::Version,
    sync::{Arc, Mutex},
    wal::{ReplayEnd, ReplayStart},
};

/// What must survive.
#[derive(Clone)]
struct Promise {
    start: ReplayStart,
    entries: Vec<Entry>,
    acknowledged: u64,
}

impl Promise {
    fn of(bench: &Bench, acknowledged: u64) -> Promise {
        let (start, entries) = (bench.start, bench.entries.clone());
        Promise { start, entries, acknowledged }
    }

    /// What a recovery finds on `image`.
    fn check(&self, image: &Disk) -> ReplayEnd {
        let (end, entries) = read(image, self.start).expect("a power cut is not damage");
        assert!(self.entries.starts_with(&entries), "not a prefix");
        let (last, acknowledged) = (end.last.0, self.acknowledged);
        assert!(last >= acknowledged, "{acknowledged} was acknowledged, {last} is left");
        assert!(end.synced.0 <= last);
        end
    }
}

/// One history, then a cut; then the same again on what was left, `depth` times.
fn history(bench: Bench, dice: &mut Dice, depth: u32, cuts: &mut u32) {
    let disk = bench.disk.clone();
    let syncer = bench.syncer.clone();
    let shared = Arc::new(Mutex::new(bench));
    let mut acknowledged = shared.lock().unwrap().start.version.0;
    for _ in 0..dice.below(30) {
        match dice.below(8) {
            0..4 => {
                let mut bench = shared.lock().unwrap();
                watch(&bench, acknowledged, dice);
                append(&mut bench, dice);
                disk.during_sync(|| ());
            }
            4 | 5 => {
                let (other, mut die) = (Arc::clone(&shared), Dice(dice.roll()));
                // While the sync is under way the next groups are appended, then comes the cut.
                disk.during_sync(move || {
                    let mut bench = other.lock().unwrap();
                    for _ in 0..die.below(3) {
                        append(&mut bench, &mut die);
                    }
                    Promise::of(&bench, acknowledged).check(&bench.disk.cut(&mut die));
                });
                acknowledged = acknowledged.max(syncer.sync().unwrap().0);
            }
            6 => syncer.prepare().unwrap(),
            _ => {
                acknowledged = acknowledged.max(syncer.sync().unwrap().0);
                let mut bench = shared.lock().unwrap();
                let (position, version) = (bench.log.position(), Version(bench.last()));
                bench.start = ReplayStart { position, version, synced: version };
                bench.entries.clear();
                bench.log.release(position).unwrap();
            }
        }
        let bench = shared.lock().unwrap();
        Promise::of(&bench, acknowledged).check(&disk.cut(dice));
        *cuts += 1;
    }
    let promise = Promise::of(&shared.lock().unwrap(), acknowledged);
    let image = disk.cut(dice);
    let end = promise.check(&image);
    if depth > 0 {
        history(recover(&image, &promise, &end, dice), dice, depth - 1, cuts);
    }
}

fn append(bench: &mut Bench, dice: &mut Dice) {
    let len = match dice.below(4) {
        0 => dice.below(3000),
        1 => dice.below(600),
        _ => dice.below(60),
    };
    bench.try_append(1 + dice.below(2), len as usize).unwrap();
}

/// Cuts the power at the next sync, if one comes.
fn watch(bench: &Bench, acknowledged: u64, dice: &mut Dice) {
    let (promise, disk) = (Promise::of(bench, acknowledged), bench.disk.clone());
    let mut die = Dice(dice.roll());
    bench.disk.during_sync(move || _ = promise.check(&disk.cut(&mut die)));
}

/// A new log behind what was recovered; until the meta page names it the old one must still be
/// found, also when the power is cut again.
fn recover(image: &Disk, promise: &Promise, end: &ReplayEnd, dice: &mut Dice) -> Bench {
    let (disk, old, mut die) = (image.clone(), promise.clone(), Dice(dice.roll()));
    image.during_sync(move || _ = old.check(&disk.cut(&mut die)));
    let next = Version(end.last.0 + 1);
    let bench = Bench::on(image.clone(), next, end.position.chain, &end.entered);
    promise.check(&image.cut(dice));
    // Some recoveries write what they found again into the new log, and are cut short.
    let other = image.cut(dice);
    let end = promise.check(&other);
    let mut cut_short =
        Bench::on(other.clone(), Version(promise.start.version.0 + 1), 0, &end.entered);
    for entry in promise.entries.iter().take_while(|entry| entry.last <= end.last.0) {
        cut_short.try_append(1 + entry.last - entry.first, entry.ops.len()).unwrap();
        if dice.one_in(3) {
            cut_short.sync();
        }
        promise.check(&other.cut(dice));
    }
    bench
}

#[test]
fn power_cuts_lose_nothing_acknowledged_and_are_never_damage() {
    let mut cuts = 0;
    for seed in 0..1500 {
        let mut dice = Dice(seed);
        history(Bench::new(), &mut dice, 2, &mut cuts);
    }
    println!("{cuts} cuts");
    assert!(cuts > 20_000, "{cuts}");
}
