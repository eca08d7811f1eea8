//! The attacker's clocks: one that orders operations, and the wall clock it shares with the server.

use std::time::{Instant, SystemTime, UNIX_EPOCH};

use crate::history::Moment;

/// The wall clock, in milliseconds since 1970.
pub(super) fn wall_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

/// A monotonic clock that began with the attack.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ticks(Instant);

impl Ticks {
    /// Begins now.
    pub(super) fn start() -> Ticks {
        Ticks(Instant::now())
    }

    /// Now, by both clocks.
    pub(super) fn now(self) -> Moment {
        let tick = u64::try_from(self.0.elapsed().as_nanos()).unwrap_or(u64::MAX);
        Moment { tick, ms: wall_ms() }
    }
}
