//! The timer index: which slots of the slab may have something due, and when.
//!
//! It is a calendar of three levels. The finest has one list per millisecond, the next one per
//! 4,096 ms, the coarsest one per 2²² ms (70 minutes). Around the present the two coarse levels are
//! open: what belongs there goes to the level below. Everywhere else an entry is appended, unsorted,
//! to a coarse list, and when time comes near, that list is moved one level down in slices. So
//! nothing is ever sorted or copied as a whole, and no call does more work than it was allowed, even
//! with a million entries in one millisecond.
//!
//! Entries are hints: they are never looked up, changed or removed before their time, and the record
//! in the slot decides whether one still means anything. The index knows neither the records nor a
//! clock; the only time it has heard of is what `pop` is told.

mod list;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::ops::Range;

use list::{Blocks, Hint, List};

/// Width (a power of two, in bits) and reach in ms of each level, finest first.
const LEVELS: [(u32, u64); 3] = [(0, 0), (12, 1 << 12), (22, 1 << 16)];

/// So many entries are moved one level down in the time in which one that is moved out is acted on.
const MOVES: usize = 8;

const _: () = assert!(
    LEVELS[1].1 + (1 << LEVELS[1].0) <= LEVELS[2].1,
    "what a level opens must lie within what the level above it opens at the same moment"
);

/// A level of the calendar.
struct Level {
    /// A bucket is 2^`bits` ms wide; its number is the time without these low bits.
    bits: u32,
    /// How far from the present a bucket is opened, so that it has been moved down before its time.
    reach_ms: u64,
    /// The open buckets: entries for them go to the level below, and none of them is in `buckets`.
    /// The milliseconds have no level below and are never open.
    open: Range<u64>,
    /// No list in here is empty.
    buckets: BTreeMap<u64, List>,
}

impl Level {
    fn next_wake(&self) -> Option<u64> {
        let (bucket, _) = self.buckets.first_key_value()?;
        Some((bucket << self.bits).saturating_sub(self.reach_ms))
    }

    fn is_open_at(&self, at_ms: u64) -> bool {
        self.open.contains(&(at_ms >> self.bits))
    }

    fn is_empty_up_to(&self, at_ms: u64) -> bool {
        self.buckets.first_key_value().is_none_or(|(&bucket, _)| bucket > at_ms >> self.bits)
    }

    /// Opens what is within reach of `now_ms`. Nothing may be left there or before.
    fn open_around(&mut self, now_ms: u64) {
        let first = now_ms.saturating_sub(self.reach_ms) >> self.bits;
        let last = now_ms.saturating_add(self.reach_ms) >> self.bits;
        self.open = first..last + 1;
    }

    fn append(&mut self, blocks: &mut Blocks, at_ms: u64, slot: u32) {
        let bucket = at_ms >> self.bits;
        let offset_ms = at_ms - (bucket << self.bits);
        let offset_ms = u32::try_from(offset_ms).expect("a bucket is narrower than 2^32 ms");
        blocks.push(self.buckets.entry(bucket).or_default(), Hint { offset_ms, slot });
    }
}

/// The one index of everything that happens later. Times are absolute, in ms since 1970 UTC.
pub(crate) struct Timers {
    levels: [Level; 3],
    blocks: Blocks,
}

impl Timers {
    /// An empty index.
    pub(crate) fn new() -> Timers {
        let level =
            |(bits, reach_ms)| Level { bits, reach_ms, open: 0..0, buckets: BTreeMap::new() };
        Timers { levels: LEVELS.map(level), blocks: Blocks::default() }
    }

    /// Remembers that something may be due for `slot` at `at_ms`. A time that `pop` has already
    /// passed comes out with the next `pop`.
    pub(crate) fn insert(&mut self, at_ms: u64, slot: u32) {
        let level = self.levels.iter_mut().rev().find(|level| !level.is_open_at(at_ms));
        let level = level.expect("the milliseconds are never open");
        level.append(&mut self.blocks, at_ms, slot);
    }

    /// When to call `pop` next: never later than the earliest entry. It is the time of that entry
    /// once nothing coarser has to be moved down before; a `pop` at that time makes progress, always.
    /// `None` when the index is empty.
    pub(crate) fn next_wake(&self) -> Option<u64> {
        self.levels.iter().filter_map(Level::next_wake).min()
    }

    /// Moves entries with a time of at most `now_ms` to the end of `out`, in the order of their
    /// times and, within a millisecond, of their insertion. Moves at most `max` out, or
    /// [`MOVES`] times as many one level down. Returns whether there is more to do at `now_ms`,
    /// which may be moving down only, with no entry due yet.
    pub(crate) fn pop(&mut self, now_ms: u64, max: usize, out: &mut Vec<(u64, u32)>) -> bool {
        let mut left = max * MOVES;
        while left > 0 {
            let done = self.work(now_ms, left, out);
            if done == 0 {
                self.levels[1..].iter_mut().for_each(|level| level.open_around(now_ms));
                return false;
            }
            left = left.saturating_sub(done);
        }
        self.next_wake().is_some_and(|wake| wake <= now_ms)
    }

    /// Works on the first bucket of the finest level that has one to work on, and returns how many
    /// moves down that was worth: none if nothing is due.
    fn work(&mut self, now_ms: u64, max: usize, out: &mut Vec<(u64, u32)>) -> usize {
        for index in 0..self.levels.len() {
            let (below, rest) = self.levels.split_at_mut(index);
            let (level, above) = rest.split_first_mut().expect("the index is below the length");
            let Some(mut first) = level.buckets.first_entry() else { continue };
            let begin_ms = *first.key() << level.bits;
            // A coarser list may hold something for this very place, or before it.
            let whole = above.iter().all(|above| above.is_empty_up_to(begin_ms));
            if !whole || begin_ms.saturating_sub(level.reach_ms) > now_ms {
                continue;
            }
            let worth = if below.is_empty() { MOVES } else { 1 };
            let mut done = 0;
            while done < max
                && let Some(hint) = self.blocks.pop_front(first.get_mut())
            {
                let at_ms = begin_ms + u64::from(hint.offset_ms);
                match below.last_mut() {
                    Some(below) => below.append(&mut self.blocks, at_ms, hint.slot),
                    None => out.push((at_ms, hint.slot)),
                }
                done += worth;
            }
            if first.get().is_empty() {
                first.remove();
            }
            return done;
        }
        0
    }
}
