//! What the archive surely does not hold, told from memory.
//!
//! Every schedule of a fresh key would otherwise have to ask the disk whether that key ended long ago.
//! A Bloom filter over (queue, key) answers almost all of them: no is certain, yes means to look. It
//! grows by further slices, four times as large each, so that it never has to be built anew while the
//! server runs. The hash is seeded with the directory's secret: nobody can choose keys that collide.
//!
//! Until it has been filled from the archive after a start, every answer is yes. Nothing is ever taken
//! out of it.

use std::hash::{DefaultHasher, Hasher};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// Keys in the smallest first slice.
const SMALLEST: u64 = 1 << 18;
/// Each slice holds so many times more than the one before.
const GROWTH: u64 = 4;
/// More slices than can be filled.
const SLICES: usize = 12;
/// Bits per key: with seven of them set within one block, about one key in 400 is taken for present.
const BITS_PER_KEY: u64 = 16;
/// A block is one cache line.
const BLOCK_WORDS: u64 = 8;
const PROBES: u32 = 7;

/// A set of (queue, key) that may claim too much and never too little. Shared between threads.
pub struct Filter {
    seed: [u8; 16],
    slices: [OnceLock<Slice>; SLICES],
    is_complete: AtomicBool,
}

struct Slice {
    capacity: u64,
    count: AtomicU64,
    words: Vec<AtomicU64>,
}

impl Filter {
    /// An empty filter that expects about so many keys and says yes to everything until
    /// [`Filter::complete`].
    pub fn new(seed: [u8; 16], expected: u64) -> Filter {
        let filter = Filter {
            seed,
            slices: [const { OnceLock::new() }; SLICES],
            is_complete: AtomicBool::new(false),
        };
        let capacity = (expected * 2).next_power_of_two().max(SMALLEST);
        filter.slices[0].get_or_init(|| Slice::new(capacity));
        filter
    }

    /// Whether the archive may hold something under this key. `false` is certain.
    pub fn may_hold(&self, queue: &str, key: &str) -> bool {
        !self.is_complete.load(Ordering::Acquire) || self.holds(self.hash(queue, key))
    }

    /// Whether it has been filled, so that it can say no at all.
    pub fn is_complete(&self) -> bool {
        self.is_complete.load(Ordering::Acquire)
    }

    /// How many bytes it takes.
    pub fn bytes(&self) -> u64 {
        self.slices.iter().filter_map(OnceLock::get).map(|slice| slice.words.len() as u64 * 8).sum()
    }

    /// Everything that was there at the start is in it: from now on it can say no.
    pub fn complete(&self) {
        self.is_complete.store(true, Ordering::Release);
    }

    /// Puts a key in, before it can be found in the archive.
    pub fn insert(&self, queue: &str, key: &str) {
        let hash = self.hash(queue, key);
        if self.holds(hash) {
            return;
        }
        let mut capacity = SMALLEST;
        for slice in &self.slices {
            let slice = slice.get_or_init(|| Slice::new(capacity));
            if slice.count.load(Ordering::Relaxed) < slice.capacity {
                slice.count.fetch_add(1, Ordering::Relaxed);
                slice.set(hash);
                return;
            }
            capacity = slice.capacity * GROWTH;
        }
        unreachable!("no machine has memory for more keys than the slices hold");
    }

    fn holds(&self, hash: u64) -> bool {
        self.slices.iter().map_while(OnceLock::get).any(|slice| slice.holds(hash))
    }

    fn hash(&self, queue: &str, key: &str) -> u64 {
        let mut hasher = DefaultHasher::new();
        hasher.write(&self.seed);
        hasher.write(queue.as_bytes());
        // No queue name holds this byte, so no two pairs read the same.
        hasher.write_u8(0xFF);
        hasher.write(key.as_bytes());
        hasher.finish()
    }
}

impl Slice {
    fn new(capacity: u64) -> Slice {
        let words = capacity * BITS_PER_KEY / 64;
        Slice {
            capacity,
            count: AtomicU64::new(0),
            words: (0..words).map(|_| AtomicU64::new(0)).collect(),
        }
    }

    fn set(&self, hash: u64) {
        for (word, bit) in self.places(hash) {
            self.words[word].fetch_or(bit, Ordering::Relaxed);
        }
    }

    fn holds(&self, hash: u64) -> bool {
        self.places(hash).all(|(word, bit)| self.words[word].load(Ordering::Relaxed) & bit != 0)
    }

    /// The words and bits of a key, all within one block.
    fn places(&self, hash: u64) -> impl Iterator<Item = (usize, u64)> {
        let blocks = self.words.len() as u64 / BLOCK_WORDS;
        let first = hash % blocks * BLOCK_WORDS;
        // The block took the low bits of the hash; these are mixed anew from all of them.
        let mut bits = (hash ^ (hash >> 31)).wrapping_mul(0x9E37_79B9_7F4A_7C15);
        bits ^= bits >> 29;
        (0..PROBES).map(move |probe| {
            let place = (bits >> (probe * 9)) & 511;
            let word = usize::try_from(first + place / 64).expect("it indexes a vector");
            (word, 1 << (place % 64))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_put_in_is_never_denied_and_little_else_is_claimed() {
        let filter = Filter::new([3; 16], 1_000);
        assert!(filter.may_hold("orders", "1"), "an incomplete filter denies nothing");
        filter.complete();
        let count = SMALLEST * 3;
        for number in 0..count {
            filter.insert("orders", &format!("{number:x}"));
        }
        for number in 0..count {
            assert!(filter.may_hold("orders", &format!("{number:x}")), "{number:x}");
        }
        let strangers = 100_000;
        let claimed =
            (0..strangers).filter(|number| filter.may_hold("orders", &format!("no-{number}")));
        let claimed = claimed.count();
        assert!(claimed < strangers / 100, "{claimed} of {strangers} strangers were claimed");
        assert!(filter.slices.iter().filter(|slice| slice.get().is_some()).count() == 2);
    }

    #[test]
    fn a_queue_and_a_key_are_not_confused_with_another_pair() {
        let filter = Filter::new([3; 16], 0);
        filter.complete();
        filter.insert("ab", "c");
        assert!(!filter.may_hold("a", "bc"));
        assert!(!filter.may_hold("c", "ab"));
    }
}
