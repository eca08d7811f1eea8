//! What the timer index promises, against a sorted map that keeps the same promises naively.

use super::*;

const NOW_MS: u64 = 1_790_000_000_000;
const YEAR_MS: u64 = 365 * 24 * 3_600_000;

/// Splitmix: the same seed gives the same run.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, end: u64) -> u64 {
        self.next() % end
    }

    fn one_of<T: Copy>(&mut self, choices: &[T]) -> T {
        let index = usize::try_from(self.below(choices.len() as u64)).expect("an index");
        choices[index]
    }
}

/// The index beside its model: entries in the order of time, then of insertion.
struct Pair {
    timers: Timers,
    model: BTreeMap<(u64, u64), u32>,
    inserted: u64,
    out: Vec<(u64, u32)>,
}

impl Pair {
    fn new() -> Pair {
        Pair { timers: Timers::new(), model: BTreeMap::new(), inserted: 0, out: Vec::new() }
    }

    fn insert(&mut self, at_ms: u64, slot: u32) {
        self.timers.insert(at_ms, slot);
        self.model.insert((at_ms, self.inserted), slot);
        self.inserted += 1;
        self.check();
    }

    /// One call of `pop`; returns how many moves it made, down or out, and whether there is more.
    fn pop(&mut self, now_ms: u64, max: usize) -> (usize, bool) {
        let before = work_ahead(&self.timers);
        let awaited = self.timers.next_wake().is_some_and(|wake| wake <= now_ms);
        self.out.clear();
        let more = self.timers.pop(now_ms, max, &mut self.out);
        let done = before - work_ahead(&self.timers);
        let worth = done + self.out.len() * (MOVES - 1);
        assert!(self.out.len() <= max, "{} came out where {max} were allowed", self.out.len());
        assert!(worth < (max + 1) * MOVES, "{worth} moves where {max} times {MOVES} were allowed");
        for &popped in &self.out {
            let ((at_ms, _), slot) = self.model.pop_first().expect("no entry comes from nowhere");
            assert_eq!(popped, (at_ms, slot));
            assert!(at_ms <= now_ms, "early");
        }
        let due = self.model.first_key_value().is_some_and(|(key, _)| key.0 <= now_ms);
        assert!(more || !due, "said there was no more, and left an entry that is due");
        assert!(!more || worth >= max * MOVES, "stopped with work left and moves left");
        assert_eq!(done > 0, awaited, "works when it has asked for it, and only then");
        self.check();
        (done, more)
    }

    fn check(&self) {
        let earliest = self.model.first_key_value().map(|(key, _)| key.0);
        let wake = self.timers.next_wake();
        assert_eq!(wake.is_some(), earliest.is_some());
        assert!(wake <= earliest, "would sleep past the earliest entry");
    }
}

/// The units of work until the index is empty.
fn work_ahead(timers: &Timers) -> usize {
    let units = |(depth, level): (usize, &Level)| {
        let entries: usize = level.buckets.values().map(|list| timers.blocks.count(list)).sum();
        (depth + 1) * entries
    };
    timers.levels.iter().enumerate().map(units).sum()
}

fn drain(timers: &mut Timers, now_ms: u64) -> Vec<(u64, u32)> {
    let mut out = Vec::new();
    while timers.pop(now_ms, 1_000, &mut out) {}
    out
}

#[test]
fn random_operations_agree_with_a_sorted_map() {
    let spans = [1, 3, 50, 5_000, 70_000, 3_600_000, 20_000_000, 40 * YEAR_MS];
    let (mut popped, mut interrupted, mut inserted_meanwhile) = (0, 0, 0);
    for seed in 0..200 {
        let mut random = Random(seed);
        let mut pair = Pair::new();
        let mut now_ms = random.one_of(&[0, NOW_MS, NOW_MS]);
        let scales = [random.one_of(&spans), random.one_of(&spans), random.one_of(&spans)];
        // Round times meet often, also with entries that came much earlier.
        let grain_ms = random.one_of(&[1, 500, 3_000, 100_000]);
        let (mut slot, mut more) = (0, false);
        for _ in 0..1_000 {
            let span = random.one_of(&scales);
            match random.below(16) {
                0..8 => {
                    let at_ms = (now_ms + random.below(span)) / grain_ms * grain_ms;
                    // Slots are repeated, as hints may be.
                    for _ in 0..=random.below(4) {
                        pair.insert(at_ms, slot);
                        slot = (slot + 1) % 100;
                    }
                    inserted_meanwhile += usize::from(more);
                }
                8 => pair.insert(now_ms.saturating_sub(random.below(span)), slot),
                9 => now_ms += random.below(span),
                10 => now_ms = now_ms.max(pair.timers.next_wake().unwrap_or(0)),
                _ => {
                    let max = random.one_of(&[1, 2, 7, 40, 1_000]);
                    let (done, left) = pair.pop(now_ms, max);
                    more = left;
                    popped += pair.out.len();
                    interrupted += usize::from(left && done > pair.out.len());
                }
            }
        }
        while let Some(wake) = pair.timers.next_wake() {
            now_ms = now_ms.max(wake);
            pair.pop(now_ms, 1_000);
        }
    }
    assert!(popped > 50_000, "only {popped} entries were popped on the way");
    assert!(interrupted > 1_000, "only {interrupted} moves down were interrupted");
    assert!(inserted_meanwhile > 1_000, "only {inserted_meanwhile} inserts came in between");
}

#[test]
fn every_pop_at_the_next_wake_makes_progress() {
    let mut random = Random(7);
    let mut pair = Pair::new();
    for slot in 0..500 {
        let span = random.one_of(&[1_000, 100_000, 10_000_000, YEAR_MS]);
        pair.insert(NOW_MS + random.below(span), slot);
    }
    let mut wakes = 0;
    while let Some(wake) = pair.timers.next_wake() {
        let (done, _) = pair.pop(wake, 1);
        assert!(done > 0, "woke at {wake} for nothing");
        wakes += 1;
    }
    assert!(wakes <= 3 * 500, "an entry moves down twice and out once");
}

#[test]
fn an_entry_that_is_near_is_woken_for_at_its_own_time() {
    let mut timers = Timers::new();
    timers.insert(NOW_MS + 1_800_000, 1);
    let mut out = Vec::new();
    assert!(!timers.pop(NOW_MS + 1_800_000 - 4_000, 10, &mut out));
    assert_eq!(out, []);
    assert_eq!(timers.next_wake(), Some(NOW_MS + 1_800_000));
    assert!(!timers.pop(NOW_MS + 1_799_999, 10, &mut out));
    assert_eq!(out, []);
    assert!(!timers.pop(NOW_MS + 1_800_000, 10, &mut out));
    assert_eq!(out, [(NOW_MS + 1_800_000, 1)]);
    assert_eq!(timers.next_wake(), None);
    for near_ms in [4_096, 4_000, 0] {
        timers.insert(NOW_MS + 1_800_000 + near_ms, 2);
        assert_eq!(timers.next_wake(), Some(NOW_MS + 1_800_000 + near_ms));
    }
}

#[test]
fn a_million_in_one_millisecond_come_out_in_insertion_order_and_in_slices() {
    let mut timers = Timers::new();
    let at_ms = NOW_MS + 1_800_000;
    let ahead: u32 = 900_000;
    for slot in 0..ahead {
        timers.insert(at_ms, slot);
    }
    let (mut out, mut expected, mut next) = (Vec::new(), 0, ahead);
    let mut more = true;
    while more {
        more = timers.pop(at_ms, 4_096, &mut out);
        assert!(out.len() <= 4_096);
        for (at, slot) in out.drain(..) {
            assert_eq!((at, slot), (at_ms, expected));
            expected += 1;
        }
        // The rest arrives while the first are on their way.
        if next < 1_000_000 {
            for _ in 0..1_000 {
                timers.insert(at_ms, next);
                next += 1;
            }
            more = true;
        }
    }
    assert_eq!(expected, 1_000_000);
    assert_eq!(timers.next_wake(), None);
}

#[test]
fn the_ends_of_time_are_times_like_any_other() {
    let mut timers = Timers::new();
    let ends = [u64::MAX, 0, NOW_MS + 100 * YEAR_MS, u64::MAX - 1, NOW_MS, u64::MAX, 1];
    for (slot, at_ms) in (0..).zip(ends) {
        timers.insert(at_ms, slot);
    }
    assert_eq!(drain(&mut timers, NOW_MS), [(0, 1), (1, 6), (NOW_MS, 4)]);
    assert_eq!(drain(&mut timers, NOW_MS + 99 * YEAR_MS), []);
    timers.insert(NOW_MS + 100 * YEAR_MS, 7);
    let far = NOW_MS + 100 * YEAR_MS;
    assert_eq!(drain(&mut timers, u64::MAX - 1), [(far, 2), (far, 7), (u64::MAX - 1, 3)]);
    assert_eq!(drain(&mut timers, u64::MAX), [(u64::MAX, 0), (u64::MAX, 5)]);
    timers.insert(u64::MAX, 8);
    assert_eq!(drain(&mut timers, u64::MAX), [(u64::MAX, 8)]);
}

#[test]
fn what_is_late_comes_out_with_the_next_pop_oldest_first() {
    let mut timers = Timers::new();
    assert_eq!(drain(&mut timers, NOW_MS), []);
    timers.insert(NOW_MS, 1);
    timers.insert(NOW_MS - YEAR_MS, 2);
    timers.insert(NOW_MS - 1, 3);
    timers.insert(NOW_MS - YEAR_MS, 4);
    timers.insert(NOW_MS + 1, 5);
    assert!(timers.next_wake() <= Some(NOW_MS - YEAR_MS));
    let late = [(NOW_MS - YEAR_MS, 2), (NOW_MS - YEAR_MS, 4), (NOW_MS - 1, 3), (NOW_MS, 1)];
    assert_eq!(drain(&mut timers, NOW_MS), late);
    assert_eq!(timers.next_wake(), Some(NOW_MS + 1));
}

#[test]
fn a_flood_of_late_entries_makes_no_list_per_millisecond() {
    let mut timers = Timers::new();
    assert_eq!(drain(&mut timers, NOW_MS), []);
    let hour_ms = 3_600_000;
    for slot in 0..100_000 {
        timers.insert(NOW_MS - hour_ms + 36 * u64::from(slot), slot);
    }
    let lists: usize = timers.levels.iter().map(|level| level.buckets.len()).sum();
    assert!(lists < 2_000, "{lists} lists");
    let slots: Vec<u32> = drain(&mut timers, NOW_MS).into_iter().map(|(_, slot)| slot).collect();
    assert!(slots.iter().copied().eq(0..100_000));
}

#[test]
fn a_pop_with_an_earlier_time_is_harmless() {
    let mut timers = Timers::new();
    timers.insert(NOW_MS + 10, 1);
    assert_eq!(drain(&mut timers, NOW_MS + 5), []);
    timers.insert(NOW_MS + 5, 2);
    assert_eq!(drain(&mut timers, NOW_MS - YEAR_MS), []);
    timers.insert(NOW_MS + 5, 3);
    timers.insert(NOW_MS + 10, 4);
    let all = [(NOW_MS + 5, 2), (NOW_MS + 5, 3), (NOW_MS + 10, 1), (NOW_MS + 10, 4)];
    assert_eq!(drain(&mut timers, NOW_MS + 10), all);
}
