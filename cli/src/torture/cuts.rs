//! Lives on a simulated disk, whose power goes at random moments: every sync that is not made,
//! every order that is not held, loses something here.
//! Owns: [`Cuts`].

use super::{
    Discrepancy, Figures,
    child::options,
    deal::{Level, Model},
    dice::Dice,
    lanes::Life,
    told::{Listener, Told},
    verify::{Laws, verify},
};
use recto::simulation::SimDisk;
use std::{
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicBool, Ordering::SeqCst},
    },
    thread,
    time::Duration,
};

/// How many moments of a life are looked at, and how many images of each.
const MOMENTS: u64 = 4;
const IMAGES: usize = 3;

/// One store on a simulated disk, which lives on in one of the images that its last life left.
pub struct Cuts {
    seed: u64,
    lanes: u64,
    disk: SimDisk,
    models: Vec<Model>,
    number: u64,
}

/// Gathers what is told, and marks the moment in the disk's record.
struct Recorder<'d> {
    disk: &'d SimDisk,
    told: Mutex<Vec<Told>>,
}

impl Listener for Recorder<'_> {
    fn hear(&self, told: Told) {
        let mut all = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        all.push(told);
        // With the lock held: marks stand in the record in their order.
        self.disk.mark(all.len() as u64);
    }
}

impl Cuts {
    /// An empty disk.
    pub fn new(seed: u64, lanes: u64) -> Cuts {
        let models = vec![Model::default(); lanes as usize];
        Cuts { seed, lanes, disk: SimDisk::new(), models, number: 0 }
    }

    /// One more life, and some of the cuts that could have ended it.
    pub fn next(&mut self, figures: &mut Figures) -> Option<Discrepancy> {
        self.number += 1;
        let mut dice = Dice::new(self.seed, [u64::MAX - 1, self.number]);
        let level = Level::of_life(&mut dice);
        let wrong = self.live_and_cut(level, &mut dice, figures).err()?;
        let what = format!("on the simulated disk, life {}: {wrong}", self.number);
        let kept = format!("nothing but this seed (level {level:?})");
        Some(Discrepancy { what, kept })
    }

    fn live_and_cut(
        &mut self,
        level: Level,
        dice: &mut Dice,
        figures: &mut Figures,
    ) -> Result<(), String> {
        let told = self.live(level, Duration::from_micros(dice.below(40_000)))?;
        if let Some(Told::Failed { what }) =
            told.iter().find(|told| matches!(told, Told::Failed { .. }))
        {
            return Err(format!("a call failed: {what}"));
        }
        figures.answers += told.len() as u64;
        let mut next = None;
        for _ in 0..MOMENTS {
            let at = dice.below(self.disk.operations() as u64 + 1) as usize;
            let cut = self.disk.cut(at);
            let heard = cut.marks().last().unwrap_or(0) as usize;
            let skipped = dice.below(30) as usize;
            let chosen = cut.images(dice.next()).skip(skipped).step_by(7).take(IMAGES);
            let mut chosen: Vec<_> = chosen.collect();
            if chosen.is_empty() {
                // Little was pending. One image at least, or the next life would go on with the
                // record of this one.
                chosen.push(cut.everything());
            }
            for image in chosen {
                let (disk, mut models) = (image.disk(), self.models.clone());
                let place = format!("power cut after operation {at}");
                let store = options(self.seed, Level::Sync).open_simulated(&disk);
                let store = store.map_err(|e| format!("{place}: it does not open: {e}"))?;
                let laws = Laws { power_cut: true, level };
                let moved = verify(&store, self.seed, &mut models, &told[..heard], laws);
                figures.simulated_commits += moved.map_err(|e| format!("{place}: {e}"))?;
                store.close().map_err(|e| format!("{place}: it does not close: {e}"))?;
                figures.simulated_cuts += 1;
                next = Some((disk, models));
            }
        }
        if let Some((disk, models)) = next {
            disk.settle();
            (self.disk, self.models) = (disk, models);
        }
        Ok(())
    }

    /// Lets the lanes run for a while; what was told.
    fn live(&self, level: Level, time: Duration) -> Result<Vec<Told>, String> {
        let recorder = Recorder { disk: &self.disk, told: Mutex::default() };
        let store = options(self.seed, level).open_simulated(&self.disk);
        let store = store.map_err(|e| format!("it does not open: {e}"))?;
        let stop = AtomicBool::new(false);
        let life = Life {
            store: &store,
            seed: self.seed,
            level,
            expects_faults: false,
            listener: &recorder,
            stop: &stop,
        };
        thread::scope(|scope| {
            scope.spawn(|| life.run(self.lanes));
            thread::sleep(time);
            stop.store(true, SeqCst);
        });
        store.close().map_err(|e| format!("it does not close: {e}"))?;
        Ok(recorder.told.into_inner().unwrap_or_else(PoisonError::into_inner))
    }
}
