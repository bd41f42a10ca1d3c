//! Runs that a thread of its own sorts and writes while the next entries are gathered.
//! Owns: [`Sorting`]. Memory: what is gathered and what is being sorted, each in half of the room.

use super::{gathered::Gathered, runs::Runs};
use crate::{
    behind::Behind,
    error::{Error, Result},
    storage::Storage,
};

/// The runs so far, and entries on their way to become one more.
pub struct Sorting {
    /// At most one job, which has the runs while it is done.
    behind: Option<Behind<Job>>,
    /// The runs, while nothing is on its way.
    idle: Option<Job>,
}

struct Job {
    runs: Runs,
    gathered: Gathered,
}

impl Job {
    /// Makes what is gathered one more run.
    fn work(&mut self) -> Result<()> {
        let bytes_max = self.gathered.bytes();
        self.runs.write(self.gathered.sort(), bytes_max)?;
        self.gathered.clear()
    }
}

impl Sorting {
    /// No run yet, in a new file; and a second room, of `bytes_max`, for entries.
    pub fn new(storage: &dyn Storage, bytes_max: usize) -> Result<Sorting> {
        let idle = Job { runs: Runs::new(storage)?, gathered: Gathered::new(bytes_max)? };
        // Without a thread runs are written where they are handed over.
        let behind = Behind::start("recto-sort", Job::work).ok();
        Ok(Sorting { behind, idle: Some(idle) })
    }

    /// Hands `gathered` over to become a run, once the one before it is written, and puts an empty
    /// room in its place.
    pub fn write(&mut self, gathered: &mut Gathered) -> Result<()> {
        let mut job = self.rest()?;
        std::mem::swap(&mut job.gathered, gathered);
        if let Some(behind) = &self.behind {
            behind.give(job);
        } else {
            job.work()?;
            self.idle = Some(job);
        }
        Ok(())
    }

    /// All runs, once they are written.
    pub fn finish(mut self) -> Result<Runs> {
        self.rest().map(|job| job.runs)
    }

    /// The job, once nothing is done with it any more.
    fn rest(&mut self) -> Result<Job> {
        let job = match (self.idle.take(), &self.behind) {
            (None, Some(behind)) => behind.take()?,
            (idle, _) => idle,
        };
        job.ok_or_else(|| Error::invalid("entries are added behind a failure"))
    }
}
