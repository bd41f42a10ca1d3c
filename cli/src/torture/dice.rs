//! Randomness that a seed repeats.

/// The same seed throws the same numbers.
pub struct Dice(u64);

impl Dice {
    /// The dice of `seed` for one of its many uses: the place of a life, or of a commit in a lane.
    pub fn new(seed: u64, place: [u64; 2]) -> Dice {
        place.iter().fold(Dice(seed), |mut dice, &part| Dice(dice.next() ^ part))
    }

    /// The next number (splitmix64).
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number below `bound`, which is not zero.
    pub fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }

    /// True once in so many throws.
    pub fn once_in(&mut self, throws: u64) -> bool {
        self.below(throws) == 0
    }
}
