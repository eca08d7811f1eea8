//! The timer index by itself: entries that come in and go out, among a hundred thousand.
//!
//! Nothing is ever cancelled in it: what does not matter any more is found out when its time comes.

use super::{Named, Work};
use crate::timers::Timers;

const START_MS: u64 = 1_750_000_000_000;
const OTHERS: u32 = 100_000;
/// What others are about lies within so long, from a day on.
const DAY_MS: u64 = 24 * 60 * 60 * 1_000;
/// What comes in and goes out is due within so long.
const SPAN_MS: u64 = 1_000;
/// Units of work in one call, as the engine allows.
const UNITS: usize = 2_048;

pub(super) const WORKS: [Named; 2] = [
    Named { name: "timers/insert", slice: 10_000, begin: || Calendar::begin(Verb::Insert) },
    Named { name: "timers/advance", slice: 10_000, begin: || Calendar::begin(Verb::Advance) },
];

#[derive(Clone, Copy, PartialEq, Eq)]
enum Verb {
    Insert,
    Advance,
}

struct Calendar {
    verb: Verb,
    timers: Timers,
    now_ms: u64,
    times: Vec<u64>,
    out: Vec<(u64, u32)>,
    taken: usize,
    many: usize,
}

impl Calendar {
    fn begin(verb: Verb) -> Box<dyn Work> {
        let mut timers = Timers::new();
        let mut out = Vec::with_capacity(UNITS);
        timers.pop(START_MS, UNITS, &mut out);
        for slot in 0..OTHERS {
            timers.insert(START_MS + DAY_MS + scattered(slot) % (30 * DAY_MS), slot);
        }
        Box::new(Calendar {
            verb,
            timers,
            now_ms: START_MS,
            times: Vec::new(),
            out,
            taken: 0,
            many: 0,
        })
    }

    fn insert(&mut self) {
        for (slot, at_ms) in (OTHERS..).zip(&self.times) {
            self.timers.insert(*at_ms, slot);
        }
    }

    /// Time passes from wake to wake, until all that came in has gone out.
    fn advance(&mut self) {
        self.taken = 0;
        while self.taken < self.many
            && let Some(wake_ms) = self.timers.next_wake()
        {
            self.now_ms = self.now_ms.max(wake_ms);
            self.timers.pop(self.now_ms, UNITS, &mut self.out);
            self.taken += self.out.len();
            self.out.clear();
        }
    }
}

impl Work for Calendar {
    fn prepare(&mut self, many: usize) {
        if self.verb == Verb::Insert {
            self.advance();
        }
        self.many = many;
        let begin_ms = self.now_ms + 120_000;
        let times = (0..).take(many).map(|slot| begin_ms + scattered(slot) % SPAN_MS);
        self.times = times.collect();
        if self.verb == Verb::Advance {
            self.insert();
        }
    }

    fn run(&mut self) {
        match self.verb {
            Verb::Insert => self.insert(),
            Verb::Advance => self.advance(),
        }
    }

    fn check(&self) {
        assert!(self.verb == Verb::Insert || self.taken == self.many, "not all went out");
    }
}

fn scattered(slot: u32) -> u64 {
    (u64::from(slot) + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 20
}
