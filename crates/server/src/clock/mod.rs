//! The only place that reads the time.
//!
//! The engine needs two readings: the wall clock, which says what time it is for people, and a boot
//! clock, which cannot be set and keeps running through a suspend, to judge the first by. A manual
//! clock stands still until somebody advances it, so that a test of "after thirty minutes" takes a
//! millisecond; it exists for `--clock manual` only. `bell` hears when the machine's clock is set.
//!
//! The two readings come by different ways on purpose. The wall clock is the C library's, as every
//! program sees it, and a test may put another in its place; the boot clock is asked of the kernel
//! itself, so that nothing a test or an administrator does to the wall clock reaches what it is
//! judged by.

pub(crate) mod bell;

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use duly_engine::clock::Reading;
use duly_engine::time::{Span, Time};
use rustix::time::{ClockId, clock_gettime};

/// What time it is.
#[derive(Debug)]
pub enum Clock {
    /// The machine's clocks.
    Machine,
    /// A clock that moves when told to: milliseconds since 1970.
    Manual(AtomicU64),
}

impl Clock {
    /// A manual clock that begins at the machine's present time.
    pub fn manual() -> Clock {
        Clock::Manual(AtomicU64::new(wall().millis()))
    }

    /// Both clocks, now.
    pub fn read(&self) -> Reading {
        match self {
            Clock::Machine => Reading { wall: wall(), boot: boot() },
            Clock::Manual(now) => {
                let now = now.load(Ordering::Acquire);
                Reading { wall: Time::from_millis(now), boot: Span::from_millis(now) }
            }
        }
    }

    /// Moves a manual clock; `None` when this is not one.
    pub fn advance(&self, by: Span) -> Option<Time> {
        match self {
            Clock::Machine => None,
            Clock::Manual(now) => {
                let before = now.fetch_add(by.millis(), Ordering::AcqRel);
                Some(Time::from_millis(before).plus(by))
            }
        }
    }

    /// Moves a manual clock to this time if it shows an earlier one: a journal that it was advanced
    /// for goes on where it ended.
    pub(crate) fn not_before(&self, at: Time) {
        if let Clock::Manual(now) = self {
            now.fetch_max(at.millis(), Ordering::AcqRel);
        }
    }

    /// Does it move only when told to?
    pub fn is_manual(&self) -> bool {
        matches!(self, Clock::Manual(_))
    }
}

/// The wall clock, for timestamps that decide nothing (log lines, a webhook's attempt time).
pub fn wall() -> Time {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Time::from_millis(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}

/// How long until the wall clock shows this time.
pub fn until(at: Time) -> Duration {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Duration::from_millis(at.millis()).saturating_sub(now)
}

/// The clock that measures how long something took.
pub fn stopwatch() -> Instant {
    Instant::now()
}

fn boot() -> Span {
    let reading = clock_gettime(ClockId::Boottime);
    let seconds = u64::try_from(reading.tv_sec).unwrap_or(0);
    let millis = u64::try_from(reading.tv_nsec).unwrap_or(0) / 1_000_000;
    Span::from_millis(seconds * 1_000 + millis)
}
