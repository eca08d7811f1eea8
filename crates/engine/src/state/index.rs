//! From a hash to a slot, without ever pausing to grow.
//!
//! Two hundred and fifty-six small open-addressed tables: when one is full it is rebuilt alone and
//! half as large again, so the longest pause is a two-hundred-and-fifty-sixth of the whole. They begin
//! with different sizes and so are full at different times: rebuilding is spread over all the time,
//! and about the same share of the whole stands empty always. So full a table is bearable because who stands farther from home goes first
//! (Robin Hood hashing; Celis, 1986): all stand in the order of their tags, a search ends at the first
//! that is nearer to its home, and rebuilding goes through old and new table once, from front to back.
//! An entry keeps 32 bits of the hash beside the slot; rebuilding and probing touch no record. The
//! hash only finds candidates: the caller compares the key itself. Keys are hashed with SipHash-1-3
//! under the directory's seed (Aumasson and Bernstein, 2012), so nobody can choose keys that collide.

const SHARDS: usize = 256;
/// The sizes that tables begin with. The next would be the first one grown.
const SMALLEST: std::ops::Range<usize> = 16..24;
const FREE: u32 = u32::MAX;

/// Slots by hash.
#[derive(Debug)]
pub(crate) struct Index {
    shards: Vec<Shard>,
}

#[derive(Debug)]
struct Shard {
    /// Its size when the first entry comes.
    smallest: usize,
    /// (tag, slot), ordered by how far they had to go.
    entries: Vec<(u32, u32)>,
    used: usize,
}

impl Index {
    pub(crate) fn new() -> Index {
        let shard = |smallest| Shard { smallest, entries: Vec::new(), used: 0 };
        Index { shards: SMALLEST.cycle().map(shard).take(SHARDS).collect() }
    }

    /// The slot with this hash that `is_it` recognises.
    pub(crate) fn find(&self, hash: u64, is_it: impl Fn(u32) -> bool) -> Option<u32> {
        let (shard, tag) = split(hash);
        self.shards[shard].search(tag, is_it).map(|(_, slot)| slot)
    }

    /// The first slot that this hash may mean; no record is looked at.
    pub(crate) fn candidate(&self, hash: u64) -> Option<u32> {
        self.find(hash, |_| true)
    }

    /// What stands where a search for this hash begins: to have it near, and for nothing else.
    pub(crate) fn beginning(&self, hash: u64) -> u32 {
        let (shard, tag) = split(hash);
        let shard = &self.shards[shard];
        if shard.entries.is_empty() { FREE } else { shard.entries[shard.home(tag)].1 }
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
        let scaled = u64::from(tag) * self.entries.len() as u64;
        usize::try_from(scaled >> 32).expect("it is below the number of entries")
    }

    fn after(&self, place: usize) -> usize {
        if place + 1 == self.entries.len() { 0 } else { place + 1 }
    }

    /// How far from home somebody with this tag is here.
    fn distance(&self, place: usize, tag: u32) -> usize {
        let home = self.home(tag);
        if place >= home { place - home } else { place + self.entries.len() - home }
    }

    /// The place and the slot of the entry with this tag that `is_it` recognises.
    fn search(&self, tag: u32, is_it: impl Fn(u32) -> bool) -> Option<(usize, u32)> {
        if self.entries.is_empty() {
            return None;
        }
        let mut place = self.home(tag);
        // A table is never full: the search ends at a free place at the latest.
        for gone in 0.. {
            let (found, slot) = self.entries[place];
            if slot == FREE {
                break;
            }
            if found == tag {
                if is_it(slot) {
                    return Some((place, slot));
                }
            } else if self.distance(place, found) < gone {
                break;
            }
            place = self.after(place);
        }
        None
    }

    fn insert(&mut self, tag: u32, slot: u32) {
        if (self.used + 1) * 8 > self.entries.len() * 7 {
            self.grow();
        }
        let mut entry = (tag, slot);
        let (mut place, mut gone) = (self.home(tag), 0);
        while self.entries[place].1 != FREE {
            let distance = self.distance(place, self.entries[place].0);
            if distance < gone {
                std::mem::swap(&mut self.entries[place], &mut entry);
                gone = distance;
            }
            place = self.after(place);
            gone += 1;
        }
        self.entries[place] = entry;
        self.used += 1;
    }

    fn remove(&mut self, tag: u32, slot: u32) {
        let Some((mut hole, _)) = self.search(tag, |found| found == slot) else { return };
        // Close the gap: all who follow and are not at home go back by one.
        loop {
            let next = self.after(hole);
            let (tag, slot) = self.entries[next];
            if slot == FREE || self.home(tag) == next {
                break;
            }
            self.entries[hole] = (tag, slot);
            hole = next;
        }
        self.entries[hole] = (0, FREE);
        self.used -= 1;
    }

    fn grow(&mut self) {
        let size = (self.entries.len() + self.entries.len() / 2).max(self.smallest);
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
    fn little_of_it_stands_empty() {
        let mut index = Index::new();
        for slot in 0..400_000 {
            index.insert(hash_number(u64::from(slot)), slot);
            if slot > 50_000 && slot % 1_000 == 0 {
                let places: usize = index.shards.iter().map(|shard| shard.entries.len()).sum();
                assert!(slot as usize * 10 > places * 6, "{slot} in {places} places");
            }
        }
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
