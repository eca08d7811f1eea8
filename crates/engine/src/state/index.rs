//! From a hash to a slot, without ever pausing to grow.
//!
//! Two hundred and fifty-six small tables: when one is full it is rebuilt alone and half as large
//! again, so the longest pause is a two-hundred-and-fifty-sixth of the whole. They begin with different
//! sizes and so are full at different times: rebuilding is spread over all the time, and about the same
//! share of the whole stands empty always. In a table entries stand in the order of their tags, each
//! where its tag's share of all tags would have it or, where that is taken, behind (linear probing in
//! order; Amble and Knuth, 1974). So a search ends at the first larger tag, which makes a table bearable
//! that is five sixths full, and rebuilding goes through old and new table once, from front to back.
//! An entry keeps 32 bits of the hash beside the slot; rebuilding and probing touch no record. The
//! hash only finds candidates: the caller compares the key itself. Keys are hashed with SipHash-1-3
//! under the directory's seed (Aumasson and Bernstein, 2012), so nobody can choose keys that collide.

const SHARDS: usize = 256;
/// Places behind the last home, for those who find theirs taken.
const BEHIND: usize = 32;
/// The homes that tables begin with. The next would be the first one grown.
const SMALLEST: std::ops::Range<usize> = 16..24;
const FREE: u32 = u32::MAX;

/// Slots by hash.
#[derive(Debug)]
pub(crate) struct Index {
    shards: Vec<Shard>,
}

#[derive(Debug)]
struct Shard {
    /// So many homes it has when the first entry comes.
    smallest: usize,
    homes: usize,
    /// (tag, slot) in the order of their tags, none before its home, with free places between.
    entries: Vec<(u32, u32)>,
    used: usize,
}

impl Index {
    pub(crate) fn new() -> Index {
        let shard = |smallest| Shard { smallest, homes: 0, entries: Vec::new(), used: 0 };
        Index { shards: SMALLEST.cycle().map(shard).take(SHARDS).collect() }
    }

    /// The slot with this hash that `is_it` recognises.
    pub(crate) fn find(&self, hash: u64, is_it: impl Fn(u32) -> bool) -> Option<u32> {
        let (shard, tag) = split(hash);
        let shard = &self.shards[shard];
        shard.search(tag, is_it).map(|place| shard.entries[place].1)
    }

    /// The first slot that this hash may mean; no record is looked at.
    pub(crate) fn candidate(&self, hash: u64) -> Option<u32> {
        self.find(hash, |_| true)
    }

    /// What stands where a search for this hash begins: to have it near, and for nothing else.
    pub(crate) fn beginning(&self, hash: u64) -> u32 {
        let (shard, tag) = split(hash);
        let shard = &self.shards[shard];
        shard.entries.get(shard.home(tag)).map_or(FREE, |entry| entry.1)
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
    /// Where a tag wants to stand.
    fn home(&self, tag: u32) -> usize {
        let scaled = u64::from(tag) * self.homes as u64;
        usize::try_from(scaled >> 32).expect("it is below the number of homes")
    }

    /// The place of the entry with this tag that `is_it` recognises.
    fn search(&self, tag: u32, is_it: impl Fn(u32) -> bool) -> Option<usize> {
        let mut place = self.home(tag);
        loop {
            let (found, slot) = *self.entries.get(place)?;
            if slot == FREE || found > tag {
                return None;
            }
            if found == tag && is_it(slot) {
                return Some(place);
            }
            place += 1;
        }
    }

    fn insert(&mut self, tag: u32, slot: u32) {
        if (self.used + 1) * 6 > self.homes * 5 {
            self.grow();
        }
        let is_before = |(found, slot): &(u32, u32)| *slot != FREE && *found <= tag;
        let home = self.home(tag);
        let before = self.entries[home..].iter().take_while(|entry| is_before(entry)).count();
        let place = home + before;
        let taken = self.entries[place..].iter().take_while(|entry| entry.1 != FREE).count();
        let free = place + taken;
        if free == self.entries.len() {
            self.entries.reserve_exact(BEHIND);
            self.entries.resize(free + BEHIND, (0, FREE));
        }
        self.entries.copy_within(place..free, place + 1);
        self.entries[place] = (tag, slot);
        self.used += 1;
    }

    fn remove(&mut self, tag: u32, slot: u32) {
        let Some(mut hole) = self.search(tag, |found| found == slot) else { return };
        // Close the gap: all who follow and are not at home go back by one.
        while let Some(&(tag, slot)) = self.entries.get(hole + 1)
            && slot != FREE
            && self.home(tag) <= hole
        {
            self.entries[hole] = (tag, slot);
            hole += 1;
        }
        self.entries[hole] = (0, FREE);
        self.used -= 1;
    }

    fn grow(&mut self) {
        self.homes = (self.homes + self.homes / 2).max(self.smallest);
        let empty = vec![(0, FREE); self.homes + BEHIND];
        let old = std::mem::replace(&mut self.entries, empty);
        let mut next = 0;
        for (tag, slot) in old.into_iter().filter(|(_, slot)| *slot != FREE) {
            let place = self.home(tag).max(next);
            if place == self.entries.len() {
                self.entries.push((tag, slot));
            } else {
                self.entries[place] = (tag, slot);
            }
            next = place + 1;
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
    fn little_of_it_stands_empty() {
        let mut index = Index::new();
        for slot in 0..400_000 {
            index.insert(hash_number(u64::from(slot)), slot);
            if slot > 100_000 && slot % 1_000 == 0 {
                let places: usize = index.shards.iter().map(|shard| shard.entries.len()).sum();
                assert!(slot as usize * 10 > places * 6, "{slot} in {places} places");
            }
        }
    }

    #[test]
    fn it_holds_what_was_put_and_not_taken_whatever_the_hashes() {
        // Many alike, many of the last home, and some of everywhere.
        let hash = |slot: u32| match slot % 3 {
            0 => u64::from(slot % 40),
            1 => 0x0000_0000_ffff_fff0 | u64::from(slot % 16),
            _ => hash_number(u64::from(slot)),
        };
        let mut index = Index::new();
        let mut held = std::collections::BTreeSet::new();
        for turn in 0..40_000_u64 {
            let dice = hash_number(turn);
            let slot = u32::try_from(dice % 1_500).expect("it is small");
            // It fills for a while and empties for a while.
            let puts = dice >> 32 & 3 != if turn / 5_000 % 2 == 0 { 0 } else { 3 };
            if puts && held.insert(slot) {
                index.insert(hash(slot), slot);
            } else if !puts {
                held.remove(&slot);
                index.remove(hash(slot), slot);
            }
            for asked in [slot, slot / 2, (slot + 3) % 1_500] {
                let found = index.find(hash(asked), |candidate| candidate == asked);
                assert_eq!(found.is_some(), held.contains(&asked), "slot {asked} in turn {turn}");
            }
        }
        let used: usize = index.shards.iter().map(|shard| shard.used).sum();
        assert_eq!(used, held.len());
    }

    #[test]
    fn tables_are_full_at_different_times() {
        const MANY: u32 = 600_000;
        let mut index = Index::new();
        let sizes = |index: &Index| -> Vec<usize> {
            index.shards.iter().map(|shard| shard.entries.len()).collect()
        };
        let (mut before, mut grown) = (Vec::new(), 0);
        for slot in 0..MANY * 3 / 2 {
            index.insert(hash_number(u64::from(slot)), slot);
            // From here on each is rebuilt once, and this is looked at fifty times.
            if slot >= MANY && slot % (MANY / 100) == 0 {
                let now = sizes(&index);
                let at_once = before.iter().zip(&now).filter(|(before, now)| before != now).count();
                assert!(at_once * 8 < SHARDS, "{at_once} tables were rebuilt at {slot}");
                (before, grown) = (now, grown + at_once);
            }
        }
        assert!(grown > SHARDS * 8 / 10, "only {grown} were rebuilt at all");
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
