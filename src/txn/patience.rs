//! Whether it pays to look around before sleeping: learnt from how it went.
//! Owns: [`Patience`]. A park and a waking cost more than most waits of a busy store last; but
//! where more threads want to run than there are cores, one who looks around keeps off the core the
//! very thread that it waits for (measured on two cores beside two compilers: twice the CPU a
//! commit).

use crate::sync::atomic::{AtomicU32, Ordering::Relaxed};

/// How often one looks: as long as a park and a waking across cores take, some 25 us. Models need
/// none.
const SPINS: u32 = if cfg!(any(loom, shuttle)) { 0 } else { 1000 };
/// The most waits that go to sleep at once after looks that were in vain.
const PENALTY_MAX: u32 = 31;

/// What waits of one kind have learnt. A hint: it orders nothing, and a lost update is as good.
#[derive(Default)]
pub struct Patience {
    /// How many waits still go to sleep at once.
    skips: AtomicU32,
    /// How many did after the last look in vain; doubled each time.
    penalty: AtomicU32,
}

impl Patience {
    /// Looks until `is_over`, if that has paid of late. True: it is over.
    pub fn look(&self, mut is_over: impl FnMut() -> bool) -> bool {
        if SPINS == 0 {
            return false;
        }
        let skips = self.skips.load(Relaxed);
        if skips > 0 {
            self.skips.store(skips - 1, Relaxed);
            return false;
        }
        for _ in 0..SPINS {
            if is_over() {
                self.penalty.store(0, Relaxed);
                return true;
            }
            std::hint::spin_loop();
        }
        let penalty = (2 * self.penalty.load(Relaxed) + 1).min(PENALTY_MAX);
        self.penalty.store(penalty, Relaxed);
        self.skips.store(penalty, Relaxed);
        false
    }
}

#[cfg(all(test, not(any(loom, shuttle))))]
mod tests {
    use super::*;

    #[test]
    fn looks_in_vain_grow_rare_until_one_pays() {
        let patience = Patience::default();
        let looked = |is_over: bool| {
            let looks = AtomicU32::new(0);
            let over = || {
                looks.fetch_add(1, Relaxed);
                is_over
            };
            assert_eq!(patience.look(over), is_over && looks.load(Relaxed) > 0);
            looks.load(Relaxed) > 0
        };
        assert_eq!((0..100).filter(|_| looked(false)).count(), 7);
        assert!((0..300).any(|_| looked(true)));
        assert!((0..100).all(|_| looked(true)));
    }
}
