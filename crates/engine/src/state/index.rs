//! From a hash to a slot, without ever pausing to grow.
//!
//! Two hundred and fifty-six small open-addressed tables: when one is full it is rebuilt alone, so
//! the longest pause is a two-hundred-and-fifty-sixth of the whole. An entry keeps 32 bits of the
//! hash beside the slot; rebuilding and probing touch no record. The hash only finds candidates:
//! the caller compares the key itself. Keys are hashed with SipHash-1-3 under the directory's seed
//! (Aumasson and Bernstein, 2012), so nobody can choose keys that collide.

const SHARDS: usize = 256;
const FREE: u32 = u32::MAX;

/// Slots by hash.
#[derive(Debug)]
pub(crate) struct Index {
    shards: Vec<Shard>,
}

#[derive(Debug, Default)]
struct Shard {
    /// (tag, slot); a power of two of them, or none.
    entries: Vec<(u32, u32)>,
    used: usize,
}

impl Index {
    pub(crate) fn new() -> Index {
        Index { shards: (0..SHARDS).map(|_| Shard::default()).collect() }
    }

    /// The slot with this hash that `is_it` recognises.
    pub(crate) fn find(&self, hash: u64, is_it: impl Fn(u32) -> bool) -> Option<u32> {
        let (shard, tag) = split(hash);
        let entries = &self.shards[shard].entries;
        if entries.is_empty() {
            return None;
        }
        let mask = entries.len() - 1;
        let mut place = tag as usize & mask;
        loop {
            let (found, slot) = entries[place];
            if slot == FREE {
                return None;
            }
            if found == tag && is_it(slot) {
                return Some(slot);
            }
            place = (place + 1) & mask;
        }
    }

    /// The first slot that this hash may mean; no record is looked at.
    pub(crate) fn candidate(&self, hash: u64) -> Option<u32> {
        self.find(hash, |_| true)
    }

    /// Adds a slot; the caller knows that it is not there.
    pub(crate) fn insert(&mut self, hash: u64, slot: u32) {
        let (shard, tag) = split(hash);
        self.shards[shard].insert(tag, slot);
    }

    /// Takes a slot away, if it is there.
    pub(crate) fn remove(&mut self, hash: u64, slot: u32) {
        let (shard, tag) = split(hash);
        self.shards[shard].remove(tag, slot);
    }
}

impl Shard {
    fn insert(&mut self, tag: u32, slot: u32) {
        if (self.used + 1) * 4 > self.entries.len() * 3 {
            self.grow();
        }
        let mask = self.entries.len() - 1;
        let mut place = tag as usize & mask;
        while self.entries[place].1 != FREE {
            place = (place + 1) & mask;
        }
        self.entries[place] = (tag, slot);
        self.used += 1;
    }

    fn remove(&mut self, tag: u32, slot: u32) {
        if self.entries.is_empty() {
            return;
        }
        let mask = self.entries.len() - 1;
        let mut hole = tag as usize & mask;
        while self.entries[hole] != (tag, slot) {
            if self.entries[hole].1 == FREE {
                return;
            }
            hole = (hole + 1) & mask;
        }
        // Close the gap: whoever follows and could stand in the hole moves there (Knuth 6.4, R).
        let mut place = hole;
        loop {
            place = (place + 1) & mask;
            let (tag, slot) = self.entries[place];
            if slot == FREE {
                break;
            }
            let wanted = tag as usize & mask;
            let moved_by = place.wrapping_sub(wanted) & mask;
            let gap = place.wrapping_sub(hole) & mask;
            if moved_by >= gap {
                self.entries[hole] = (tag, slot);
                hole = place;
            }
        }
        self.entries[hole] = (0, FREE);
        self.used -= 1;
    }

    fn grow(&mut self) {
        let size = (self.entries.len() * 2).max(8);
        let old = std::mem::replace(&mut self.entries, vec![(0, FREE); size]);
        self.used = 0;
        for (tag, slot) in old {
            if slot != FREE {
                self.insert(tag, slot);
            }
        }
    }
}

/// The shard and the tag: different bits of the hash.
fn split(hash: u64) -> (usize, u32) {
    let [shard, .., a, b, c, d] = hash.to_be_bytes();
    (usize::from(shard), u32::from_be_bytes([a, b, c, d]))
}

/// A hash of a number: the finaliser of `SplitMix64` (Steele, Lea and Flood, 2014).
pub(crate) fn hash_number(number: u64) -> u64 {
    let mut z = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// SipHash-1-3 of a number and a text.
pub(crate) fn hash_key(seed: [u64; 2], number: u32, text: &[u8]) -> u64 {
    let mut v = [
        seed[0] ^ 0x736f_6d65_7073_6575,
        seed[1] ^ 0x646f_7261_6e64_6f6d,
        seed[0] ^ 0x6c79_6765_6e65_7261,
        seed[1] ^ 0x7465_6462_7974_6573,
    ];
    let mut take = |word: u64| {
        v[3] ^= word;
        sip_round(&mut v);
        v[0] ^= word;
    };
    take(u64::from(number));
    let words = text.chunks_exact(8);
    let rest = words.remainder();
    for word in words {
        take(u64::from_le_bytes(word.try_into().expect("chunks of eight")));
    }
    let mut last = [0_u8; 8];
    last[..rest.len()].copy_from_slice(rest);
    // The length goes into the last byte, which a remainder of seven at most leaves free.
    last[7] = u8::try_from((text.len() + 8) & 0xff).expect("masked to a byte");
    take(u64::from_le_bytes(last));
    v[2] ^= 0xff;
    for _ in 0..3 {
        sip_round(&mut v);
    }
    v[0] ^ v[1] ^ v[2] ^ v[3]
}

fn sip_round(v: &mut [u64; 4]) {
    v[0] = v[0].wrapping_add(v[1]);
    v[1] = v[1].rotate_left(13) ^ v[0];
    v[0] = v[0].rotate_left(32);
    v[2] = v[2].wrapping_add(v[3]);
    v[3] = v[3].rotate_left(16) ^ v[2];
    v[0] = v[0].wrapping_add(v[3]);
    v[3] = v[3].rotate_left(21) ^ v[0];
    v[2] = v[2].wrapping_add(v[1]);
    v[1] = v[1].rotate_left(17) ^ v[2];
    v[2] = v[2].rotate_left(32);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_slot_is_found_until_it_is_removed() {
        let mut index = Index::new();
        let hash = |slot: u32| hash_key([1, 2], slot % 7, format!("key {slot}").as_bytes());
        for slot in 0..50_000 {
            index.insert(hash(slot), slot);
        }
        for slot in (0..50_000).filter(|slot| slot % 3 == 0) {
            index.remove(hash(slot), slot);
        }
        for slot in 0..50_000 {
            let found = index.find(hash(slot), |candidate| candidate == slot);
            assert_eq!(found.is_some(), slot % 3 != 0, "slot {slot}");
        }
    }

    #[test]
    fn colliding_hashes_are_told_apart_by_the_caller() {
        let mut index = Index::new();
        for slot in 0..100 {
            index.insert(42, slot);
        }
        index.remove(42, 50);
        assert_eq!(index.find(42, |slot| slot == 99), Some(99));
        assert_eq!(index.find(42, |slot| slot == 50), None);
    }
}
