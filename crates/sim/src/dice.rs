//! Numbers that look random and follow from a seed alone.
//!
//! Everything a simulated life does is decided by dice like these, so a seed is a whole life. Each
//! part of the world takes dice of its own by [`Dice::split`]: that one part rolls more often does
//! not change what the others see.

use duly_engine::time::Span;

/// A generator (splitmix64: every seed is a good one).
#[derive(Clone, Debug)]
pub(crate) struct Dice(u64);

impl Dice {
    /// Dice that roll the same for the same seed.
    pub(crate) fn new(seed: u64) -> Dice {
        // Neighbouring seeds must not begin alike.
        let mut dice = Dice(seed ^ 0x6475_6c79_6475_6c79);
        dice.0 = dice.next();
        dice
    }

    /// Other dice that follow from these.
    pub(crate) fn split(&mut self) -> Dice {
        Dice(self.next())
    }

    /// Any number.
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    /// A number below this one, which is not 0.
    pub(crate) fn below(&mut self, end: u64) -> u64 {
        self.next() % end
    }

    /// One of these.
    pub(crate) fn within(&mut self, range: std::ops::RangeInclusive<u64>) -> u64 {
        let (first, last) = range.into_inner();
        first + self.below(last - first + 1)
    }

    /// True once in so many times.
    pub(crate) fn one_in(&mut self, times: u64) -> bool {
        self.below(times) == 0
    }

    /// True so many times in a hundred.
    pub(crate) fn percent(&mut self, chance: u64) -> bool {
        self.below(100) < chance
    }

    /// An index into something of this length, which is not 0.
    pub(crate) fn index(&mut self, length: usize) -> usize {
        usize::try_from(self.below(length as u64)).expect("it is below a length")
    }

    /// One of these.
    pub(crate) fn pick<'a, T>(&mut self, choices: &'a [T]) -> &'a T {
        &choices[self.index(choices.len())]
    }

    /// An index, each as often as its weight says; not all weights are 0.
    pub(crate) fn weighted(&mut self, weights: &[u32]) -> usize {
        let sum = weights.iter().map(|weight| u64::from(*weight)).sum();
        let mut rolled = self.below(sum);
        for (index, weight) in weights.iter().enumerate() {
            match rolled.checked_sub(u64::from(*weight)) {
                Some(left) => rolled = left,
                None => return index,
            }
        }
        unreachable!("what was rolled is below the sum")
    }

    /// A span between these two, short ones as likely as long ones of the next size.
    pub(crate) fn span(&mut self, shortest: Span, longest: Span) -> Span {
        let (first, last) = (shortest.millis().max(1), longest.millis().max(1));
        let (low, high) = (first.ilog2(), last.ilog2());
        let size = self.within(u64::from(low)..=u64::from(high));
        Span::from_millis((self.below(1 << size) + (1 << size)).clamp(first, last))
    }
}
