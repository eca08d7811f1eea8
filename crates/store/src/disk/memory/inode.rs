//! One file's two states, and what a power cut leaves of the difference.
//!
//! A disk may keep any part of what was written and never synced, down to single bytes of a sector.
//! Which part is decided by a seed, so that every such accident can be had again.

use super::pages::Pages;

/// The largest piece of an unsynced write that survives or is lost as one.
const SECTOR: u64 = 512;

#[derive(Clone, Default)]
pub(super) struct Inode {
    /// What a running process sees.
    pub(super) cache: Pages,
    /// What would survive a power cut.
    pub(super) platter: Pages,
    /// What was written since the last sync, in order.
    pub(super) unsynced: Vec<Change>,
}

#[derive(Clone)]
pub(super) enum Change {
    Bytes { offset: u64, bytes: Vec<u8> },
    Length(u64),
}

/// How much of what was never synced a power cut leaves behind.
#[derive(Clone, Copy)]
pub(super) enum Survival {
    Nothing,
    Everything,
    Sectors,
    Bytes,
}

impl Inode {
    pub(super) fn write(&mut self, bytes: &[u8], offset: u64) {
        self.cache.write(bytes, offset);
        self.unsynced.push(Change::Bytes { offset, bytes: bytes.to_vec() });
    }

    pub(super) fn set_length(&mut self, length: u64) {
        self.cache.set_length(length);
        self.unsynced.push(Change::Length(length));
    }

    pub(super) fn sync(&mut self) {
        for change in std::mem::take(&mut self.unsynced) {
            match change {
                Change::Bytes { offset, bytes } => {
                    self.platter.take_pages(&self.cache, offset, bytes.len() as u64);
                }
                Change::Length(length) => self.platter.set_length(length),
            }
        }
        self.platter.set_length(self.cache.length);
    }

    pub(super) fn lose_unsynced(&mut self, survival: Survival, random: &mut Splitmix) {
        for change in std::mem::take(&mut self.unsynced) {
            match (change, survival) {
                (_, Survival::Nothing) => {}
                (Change::Length(length), Survival::Everything) => self.platter.set_length(length),
                (Change::Length(length), _) => {
                    if random.next().is_multiple_of(2) {
                        self.platter.set_length(length);
                    }
                }
                (Change::Bytes { offset, bytes }, Survival::Everything) => {
                    self.platter.write(&bytes, offset);
                }
                (Change::Bytes { offset, bytes }, _) => {
                    self.keep_some(&bytes, offset, survival, random);
                }
            }
        }
        self.cache = self.platter.clone();
    }

    fn keep_some(&mut self, bytes: &[u8], offset: u64, how: Survival, random: &mut Splitmix) {
        let mut done = 0;
        while done < bytes.len() {
            let to_boundary = SECTOR - (offset + done as u64) % SECTOR;
            let step = (bytes.len() - done).min(usize::try_from(to_boundary).expect("one sector"));
            let kept = match (random.next() % 3, how) {
                (0, _) => 0,
                (1, Survival::Bytes) => {
                    usize::try_from(random.next() % (step as u64 + 1)).expect("part of a sector")
                }
                _ => step,
            };
            if kept > 0 {
                self.platter.write(&bytes[done..done + kept], offset + done as u64);
            }
            done += step;
        }
    }
}

/// A small generator of well-mixed numbers, so that a seed is all a crash depends on.
pub(super) struct Splitmix(pub(super) u64);

impl Splitmix {
    pub(super) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }
}
