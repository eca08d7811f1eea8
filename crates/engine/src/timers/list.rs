//! Lists of hints, first in first out, in small blocks of one shared store.
//!
//! The calendar has many lists of very different lengths: one entry, or ten million. Blocks of one
//! size serve both: an append never moves what is there already, a list costs nothing beyond its
//! last half-filled block, and a block that has been read empty is the next one handed out. The
//! store grows by pages and keeps them: its size is that of the fullest moment so far. It never
//! frees a list that is simply dropped; its owner empties it first.

/// Hints in a block: with 15 a block is 128 bytes and a hint in a long list costs 8.5.
const BLOCK: usize = 15;

/// Blocks in a page, the unit in which the store grows.
const PAGE: usize = 512;

/// Something may be due for `slot`, so long after the beginning of the bucket it is listed in.
#[derive(Clone, Copy, Default)]
pub(super) struct Hint {
    pub(super) offset_ms: u32,
    pub(super) slot: u32,
}

#[derive(Clone, Default)]
struct Block {
    hints: [Hint; BLOCK],
    /// The block after this one, in its list or among the free ones.
    next: Option<u32>,
}

/// One list. Its hints lie in the store it was pushed to and can be read back from there only.
#[derive(Default)]
pub(super) struct List {
    /// Its head and tail block; `None` when the list is empty.
    ends: Option<(u32, u32)>,
    /// Where the first hint is in the head block.
    begin: u16,
    /// Where the next hint goes in the tail block.
    end: u16,
}

impl List {
    pub(super) fn is_empty(&self) -> bool {
        self.ends.is_none()
    }
}

/// The store of all blocks.
#[derive(Default)]
pub(super) struct Blocks {
    pages: Vec<Vec<Block>>,
    free: Option<u32>,
}

impl Blocks {
    /// Appends to the end of `list`.
    pub(super) fn push(&mut self, list: &mut List, hint: Hint) {
        let tail = match list.ends {
            Some((_, tail)) if usize::from(list.end) < BLOCK => tail,
            Some((head, full)) => {
                let tail = self.take();
                self.block(full).next = Some(tail);
                (list.ends, list.end) = (Some((head, tail)), 0);
                tail
            }
            None => {
                let only = self.take();
                *list = List { ends: Some((only, only)), begin: 0, end: 0 };
                only
            }
        };
        self.block(tail).hints[usize::from(list.end)] = hint;
        list.end += 1;
    }

    /// Takes the first of `list`.
    pub(super) fn pop_front(&mut self, list: &mut List) -> Option<Hint> {
        let (head, tail) = list.ends?;
        let block = self.block(head);
        let hint = block.hints[usize::from(list.begin)];
        list.begin += 1;
        if head == tail && list.begin == list.end {
            list.ends = None;
            self.give_back(head);
        } else if usize::from(list.begin) == BLOCK {
            let second = block.next.expect("a block before the tail has a next");
            (list.ends, list.begin) = (Some((second, tail)), 0);
            self.give_back(head);
        }
        Some(hint)
    }

    fn block(&mut self, id: u32) -> &mut Block {
        let id = id as usize;
        &mut self.pages[id / PAGE][id % PAGE]
    }

    fn take(&mut self) -> u32 {
        if let Some(id) = self.free {
            self.free = self.block(id).next.take();
            return id;
        }
        if self.pages.last().is_none_or(|page| page.len() == PAGE) {
            self.pages.push(Vec::with_capacity(PAGE));
        }
        let before = (self.pages.len() - 1) * PAGE;
        let page = self.pages.last_mut().expect("one was just added if there was none");
        page.push(Block::default());
        u32::try_from(before + page.len() - 1).expect("slots are u32 and a block holds several")
    }

    fn give_back(&mut self, id: u32) {
        self.block(id).next = self.free;
        self.free = Some(id);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    impl Blocks {
        /// Counts `list` by walking it.
        pub(in crate::timers) fn count(&self, list: &List) -> usize {
            let Some((head, tail)) = list.ends else { return 0 };
            let (mut here, mut before) = (head, 0);
            while here != tail {
                let block = &self.pages[here as usize / PAGE][here as usize % PAGE];
                (here, before) = (block.next.expect("not the tail"), before + BLOCK);
            }
            before + usize::from(list.end) - usize::from(list.begin)
        }
    }

    fn hint(slot: u32) -> Hint {
        Hint { offset_ms: slot / 2, slot }
    }

    #[test]
    fn what_is_pushed_first_is_popped_first() {
        let (mut blocks, mut even, mut odd) = (Blocks::default(), List::default(), List::default());
        for slot in 0..10_000 {
            let list = if slot % 2 == 0 { &mut even } else { &mut odd };
            blocks.push(list, hint(slot));
        }
        assert_eq!(blocks.count(&even), 5_000);
        for slot in 0..10_000 {
            let list = if slot % 2 == 0 { &mut even } else { &mut odd };
            let popped = blocks.pop_front(list).expect("as many come out as went in");
            assert_eq!((popped.slot, popped.offset_ms), (slot, slot / 2));
        }
        assert!(even.is_empty() && odd.is_empty());
        assert!(blocks.pop_front(&mut even).is_none());
    }

    #[test]
    fn blocks_that_were_read_empty_are_used_again() {
        let mut blocks = Blocks::default();
        for round in 0..10 {
            let mut lists: Vec<List> = (0..100).map(|_| List::default()).collect();
            for slot in 0..100_000 {
                blocks.push(&mut lists[slot as usize % 100], hint(slot));
            }
            for list in &mut lists {
                while blocks.pop_front(list).is_some() {}
            }
            let most = 100 * (1_000 / BLOCK + 1);
            assert_eq!(blocks.pages.len(), most.div_ceil(PAGE), "grew in round {round}");
        }
    }

    #[test]
    fn a_list_that_never_runs_empty_does_not_grow_the_store() {
        let (mut blocks, mut list) = (Blocks::default(), List::default());
        blocks.push(&mut list, hint(0));
        for slot in 1..1_000_000 {
            blocks.push(&mut list, hint(slot));
            assert_eq!(blocks.pop_front(&mut list).map(|popped| popped.slot), Some(slot - 1));
        }
        assert!(blocks.pages[0].len() <= 2, "a reader and a writer are at most two blocks apart");
    }
}
