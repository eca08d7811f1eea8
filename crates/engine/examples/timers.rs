//! Measures the timer index: what an insert and a pop cost, and how long one call can take.
//!
//! `cargo run --release --example timers` prints one line per load, the best of three rounds each,
//! since a round that was interrupted says nothing about the index. It is a yardstick for people:
//! it asserts that every entry comes out in order, and nothing about time.
#![allow(clippy::disallowed_methods, reason = "a measurement reads the clock, the engine does not")]
#![allow(clippy::print_stdout, reason = "its output is its purpose")]

use std::time::{Duration, Instant};

// The index is private to the engine, which has no reason to show it.
#[path = "../src/timers/mod.rs"]
mod timers;

use timers::Timers;

const START_MS: u64 = 1_750_000_000_000;
const FIRST_DUE_MS: u64 = START_MS + 60_000;

/// Inserts per measured call, because reading the clock costs more than one.
const INSERTS: u32 = 1_000;

/// Units of work per measured `pop`.
const UNITS: usize = 4_096;

const ROUNDS: usize = 3;

/// How many entries, and within which span they are due, evenly and in random order.
const LOADS: [(u32, u64, &str); 8] = [
    (1_000_000, 1, "one millisecond"),
    (1_000_000, 60_000, "one minute"),
    (1_000_000, 1_800_000, "30 minutes"),
    (1_000_000, 2_592_000_000, "30 days"),
    (10_000_000, 1, "one millisecond"),
    (10_000_000, 60_000, "one minute"),
    (10_000_000, 1_800_000, "30 minutes"),
    (10_000_000, 2_592_000_000, "30 days"),
];

/// The calls of one kind in one round.
struct Calls {
    total: Duration,
    longest: Duration,
}

impl Calls {
    const NONE: Calls = Calls { total: Duration::ZERO, longest: Duration::ZERO };
    const FOREVER: Calls = Calls { total: Duration::MAX, longest: Duration::MAX };

    fn time<T>(&mut self, call: impl FnOnce() -> T) -> T {
        let begin = Instant::now();
        let value = call();
        let took = begin.elapsed();
        self.total += took;
        self.longest = self.longest.max(took);
        value
    }

    fn best(&mut self, round: &Calls) {
        self.total = self.total.min(round.total);
        self.longest = self.longest.min(round.longest);
    }
}

fn main() {
    println!(
        "entries   due within       insert ns, longest {INSERTS} µs    pop ns, longest {UNITS} µs"
    );
    for (entries, span_ms, name) in LOADS {
        let (mut inserts, mut pops) = (Calls::FOREVER, Calls::FOREVER);
        for _ in 0..ROUNDS {
            let (inserted, popped) = round(entries, span_ms);
            inserts.best(&inserted);
            pops.best(&popped);
        }
        println!(
            "{entries:<9} {name:<16} {:>9} {:>20} {:>9} {:>17}",
            inserts.total.as_nanos() / u128::from(entries),
            inserts.longest.as_micros(),
            pops.total.as_nanos() / u128::from(entries),
            pops.longest.as_micros(),
        );
    }
}

fn round(entries: u32, span_ms: u64) -> (Calls, Calls) {
    let (mut inserts, mut pops) = (Calls::NONE, Calls::NONE);
    let mut timers = Timers::new();
    let mut out = Vec::with_capacity(UNITS);
    timers.pop(START_MS, UNITS, &mut out);

    let mut random = 0x2545_f491_4f6c_dd1d_u64;
    let mut due_ms = || {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        FIRST_DUE_MS + random % span_ms
    };
    for slots in (0..entries).step_by(INSERTS as usize) {
        inserts.time(|| (slots..slots + INSERTS).for_each(|slot| timers.insert(due_ms(), slot)));
    }

    // Time passes from wake to wake, as it does for a driver that keeps up.
    let (mut count, mut last) = (0, (0, 0));
    while let Some(now_ms) = timers.next_wake() {
        while pops.time(|| timers.pop(now_ms, UNITS, &mut out)) || !out.is_empty() {
            for entry in out.drain(..) {
                assert!(entry > last || span_ms > 1 && entry.0 >= last.0, "out of order");
                (last, count) = (entry, count + 1);
            }
        }
    }
    assert_eq!(count, entries, "every entry comes out");
    (inserts, pops)
}
