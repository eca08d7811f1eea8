//! Records in fixed chunks, addressed by slot.
//!
//! A chunk is allocated once and never moves, so that growing to a hundred million records never
//! copies one. A slot is reused after its record is gone; whoever kept a slot must be ready to find
//! somebody else there.

/// Records in one chunk.
const CHUNK: usize = 4_096;

/// A growing table of records.
#[derive(Debug)]
pub(crate) struct Slab<T> {
    chunks: Vec<Vec<Option<T>>>,
    free: Vec<u32>,
    len: usize,
}

impl<T> Slab<T> {
    pub(crate) fn new() -> Slab<T> {
        Slab { chunks: Vec::new(), free: Vec::new(), len: 0 }
    }

    /// Records held.
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// Slots ever used: every record's slot is below it.
    pub(crate) fn slots(&self) -> u32 {
        let full = self.chunks.len().saturating_sub(1) * CHUNK;
        let last = self.chunks.last().map_or(0, Vec::len);
        u32::try_from(full + last).expect("slots are handed out as u32")
    }

    pub(crate) fn get(&self, slot: u32) -> Option<&T> {
        let slot = slot as usize;
        self.chunks.get(slot / CHUNK)?.get(slot % CHUNK)?.as_ref()
    }

    pub(crate) fn get_mut(&mut self, slot: u32) -> Option<&mut T> {
        let slot = slot as usize;
        self.chunks.get_mut(slot / CHUNK)?.get_mut(slot % CHUNK)?.as_mut()
    }

    pub(crate) fn insert(&mut self, record: T) -> u32 {
        self.len += 1;
        if let Some(slot) = self.free.pop() {
            let place = slot as usize;
            self.chunks[place / CHUNK][place % CHUNK] = Some(record);
            return slot;
        }
        let slot = self.slots();
        if self.chunks.last().is_none_or(|chunk| chunk.len() == CHUNK) {
            self.chunks.push(Vec::with_capacity(CHUNK));
        }
        self.chunks.last_mut().expect("a chunk with room was just made sure of").push(Some(record));
        slot
    }

    pub(crate) fn remove(&mut self, slot: u32) -> Option<T> {
        let place = slot as usize;
        let record = self.chunks.get_mut(place / CHUNK)?.get_mut(place % CHUNK)?.take()?;
        self.free.push(slot);
        self.len -= 1;
        Some(record)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slot_keeps_its_record_until_it_is_removed_and_is_then_used_again() {
        let mut slab = Slab::new();
        for n in 0..10_000_u32 {
            assert_eq!(slab.insert(n), n);
        }
        assert_eq!((slab.len(), slab.slots()), (10_000, 10_000));
        for slot in (0..10_000).step_by(2) {
            assert_eq!(slab.remove(slot), Some(slot));
            assert_eq!(slab.remove(slot), None);
        }
        assert_eq!((slab.len(), slab.slots()), (5_000, 10_000));
        for n in 0..5_000 {
            let slot = slab.insert(n + 100_000);
            assert_eq!(slot % 2, 0, "slot {slot} was taken");
            assert_eq!(slab.get(slot), Some(&(n + 100_000)));
        }
        assert_eq!((slab.len(), slab.slots()), (10_000, 10_000));
        assert_eq!(slab.get(10_000), None);
        assert_eq!(slab.get(1), Some(&1));
    }
}
