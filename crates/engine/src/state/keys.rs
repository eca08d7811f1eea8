//! The keys of all live records, side by side in pages.
//!
//! An allocation for each key would cost a third of the key more, and a pointer twice as long as a
//! place needs to be. Here keys of about the same length share pages of equal cells, so that a page
//! is allocated once, no key ever moves, and a cell is used again by the next key of its length.
//! Growing is one page at a time. Pages are kept: they are as many as the fullest moment took.

use crate::id::Key;

/// The step in which cells get longer, in bytes.
const GRAIN: usize = 8;
/// Cells in one page.
const PAGE: usize = 256;
/// No cell.
const NONE: u32 = u32::MAX;

/// Where a key lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct KeyAt {
    cell: u32,
    bytes: u16,
}

impl KeyAt {
    /// Of a record that is not in the state yet: no key lies there.
    pub(crate) const NOWHERE: KeyAt = KeyAt { cell: NONE, bytes: 0 };

    /// The length of the key.
    pub(crate) fn bytes(self) -> usize {
        usize::from(self.bytes)
    }

    fn class(self) -> usize {
        self.bytes().div_ceil(GRAIN)
    }
}

/// Cells of one length.
#[derive(Debug)]
struct Class {
    /// Bytes in a cell.
    width: usize,
    pages: Vec<Box<[u8]>>,
    /// Cells ever used.
    used: u32,
    /// The first of those that were given back; the next one's number is written in each.
    free: u32,
}

/// The store of all keys.
#[derive(Debug, Default)]
pub(crate) struct Keys {
    /// By length in grains.
    classes: Vec<Class>,
}

impl Keys {
    /// Keeps a key until its place is given back.
    pub(crate) fn insert(&mut self, key: &Key) -> KeyAt {
        let text = key.as_str().as_bytes();
        let bytes = u16::try_from(text.len()).expect("a key has 512 bytes at most");
        let mut at = KeyAt { cell: NONE, bytes };
        while self.classes.len() <= at.class() {
            let width = self.classes.len() * GRAIN;
            self.classes.push(Class { width, pages: Vec::new(), used: 0, free: NONE });
        }
        let class = &mut self.classes[at.class()];
        at.cell = class.take();
        class.cell_mut(at.cell)[..text.len()].copy_from_slice(text);
        at
    }

    /// The bytes of a key.
    pub(crate) fn bytes(&self, at: KeyAt) -> &[u8] {
        &self.classes[at.class()].cell(at.cell)[..at.bytes()]
    }

    /// The text of a key.
    pub(crate) fn text(&self, at: KeyAt) -> &str {
        std::str::from_utf8(self.bytes(at)).expect("a key was stored here, and it is text")
    }

    /// A copy of a key.
    pub(crate) fn get(&self, at: KeyAt) -> Key {
        Key::stored(self.text(at))
    }

    /// Nobody needs the key in this place any more.
    pub(crate) fn remove(&mut self, at: KeyAt) {
        self.classes[at.class()].give_back(at.cell);
    }
}

impl Class {
    fn cell(&self, cell: u32) -> &[u8] {
        let (page, begin) = self.locate(cell);
        &self.pages[page][begin..begin + self.width]
    }

    fn cell_mut(&mut self, cell: u32) -> &mut [u8] {
        let (page, begin) = self.locate(cell);
        &mut self.pages[page][begin..begin + self.width]
    }

    fn locate(&self, cell: u32) -> (usize, usize) {
        let cell = cell as usize;
        (cell / PAGE, cell % PAGE * self.width)
    }

    fn take(&mut self) -> u32 {
        if self.free != NONE {
            let cell = self.free;
            let next = self.cell(cell).first_chunk().expect("a cell has eight bytes at least");
            self.free = u32::from_le_bytes(*next);
            return cell;
        }
        if self.used as usize == self.pages.len() * PAGE {
            self.pages.push(vec![0; PAGE * self.width].into());
        }
        self.used += 1;
        self.used - 1
    }

    fn give_back(&mut self, cell: u32) {
        let next = self.free.to_le_bytes();
        self.cell_mut(cell)[..next.len()].copy_from_slice(&next);
        self.free = cell;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(number: usize) -> Key {
        let text = format!("{number}-{}", "é".repeat(number * 7 % 250));
        Key::new(&text).expect("a good key")
    }

    #[test]
    fn a_key_of_any_length_stays_until_it_is_removed_and_its_cell_is_then_used_again() {
        let mut keys = Keys::default();
        let mut places: Vec<KeyAt> = (0..5_000).map(|number| keys.insert(&key(number))).collect();
        let pages = |keys: &Keys| keys.classes.iter().map(|class| class.pages.len()).sum::<usize>();
        let before = pages(&keys);
        for first in 0..30 {
            for number in (first..5_000).step_by(3) {
                keys.remove(places[number]);
            }
            for number in (first..5_000).step_by(3).rev() {
                places[number] = keys.insert(&key(number));
            }
        }
        assert_eq!(pages(&keys), before, "what was given back is used before a page is added");
        for (number, at) in places.iter().enumerate() {
            assert_eq!(keys.get(*at), key(number));
            assert_eq!(at.bytes(), key(number).as_str().len());
        }
    }

    #[test]
    fn a_key_of_24_bytes_takes_24_bytes() {
        let mut keys = Keys::default();
        for number in 0..PAGE {
            keys.insert(&Key::new(&format!("{number:024}")).expect("a good key"));
        }
        let bytes = |class: &Class| class.pages.iter().map(|page| page.len()).sum::<usize>();
        assert_eq!(keys.classes.iter().map(bytes).sum::<usize>(), 24 * PAGE);
    }
}
