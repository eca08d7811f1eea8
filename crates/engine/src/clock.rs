//! Journal time: the engine's own, which never runs backward.
//!
//! The shell hands in two readings with every step: the wall clock, which may be set to anything at
//! any moment, and the boot clock, which only runs. As long as both move alike, journal time is the
//! wall clock's (never less than it was). When they part by more than the limits, the guard goes
//! up: lapsing is withheld and journal time follows the boot clock from the last good time, until
//! the wall clock comes back or an operator confirms it.
//!
//! Nothing here decides about deadlines; it says what time it is and whether to trust it.

use crate::answer::GuardReason;
use crate::limits::{BACKWARD_STEP, CLOCK_RETURN, Limits};
use crate::time::{Span, Time};

/// What the shell's clocks say at one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reading {
    /// The wall clock.
    pub wall: Time,
    /// A clock that only runs, also while the machine is suspended; its zero means nothing.
    pub boot: Span,
}

/// Journal time and the guard over it.
#[derive(Clone, Debug)]
pub struct JournalClock {
    now: Time,
    last: Option<Reading>,
    guard: Option<GuardReason>,
    max_forward_jump: Span,
    max_downtime: Span,
}

impl JournalClock {
    /// A clock that has seen nothing yet.
    pub fn new(limits: &Limits) -> JournalClock {
        JournalClock {
            now: Time::ZERO,
            last: None,
            guard: None,
            max_forward_jump: limits.max_forward_jump,
            max_downtime: limits.max_downtime,
        }
    }

    /// Journal time: the latest that was ever stamped.
    pub fn now(&self) -> Time {
        self.now
    }

    /// What the wall clock said last.
    pub fn wall(&self) -> Time {
        self.last.map_or(self.now, |last| last.wall)
    }

    /// Why lapsing is withheld, if it is.
    pub fn guard(&self) -> Option<GuardReason> {
        self.guard
    }

    /// The guard as the journal has it: replay, not a reading.
    pub fn restore(&mut self, guard: Option<GuardReason>) {
        self.guard = guard;
    }

    /// A time seen in the journal.
    pub fn seen(&mut self, at: Time) {
        self.now = self.now.max(at);
    }

    /// Takes a reading and moves journal time, never backward.
    pub fn read(&mut self, reading: Reading) {
        match self.last {
            None => self.start(reading),
            Some(last) => self.advance(last, reading),
        }
        self.last = Some(reading);
    }

    /// The operator says that the wall clock is right: from the next reading on, journal time goes
    /// on from it, or waits for it. False when it was trusted anyway.
    pub fn confirm(&mut self) -> bool {
        self.guard.take().is_some()
    }

    /// The first reading after a start: there is no boot clock to compare with, only the journal.
    /// With the guard up before, a downtime cannot be told from the jump that raised it.
    fn start(&mut self, reading: Reading) {
        let most = if self.guard.is_some() { self.max_forward_jump } else { self.max_downtime };
        let journal_is_new = self.now == Time::ZERO;
        if !journal_is_new && reading.wall.plus(CLOCK_RETURN) < self.now {
            self.guard = Some(GuardReason::StartedBehind);
        } else if !journal_is_new && reading.wall.since(self.now) > most {
            self.guard.get_or_insert(GuardReason::StartedAhead);
        } else {
            self.guard = None;
            self.now = self.now.max(reading.wall);
        }
    }

    fn advance(&mut self, last: Reading, reading: Reading) {
        let passed = reading.boot.minus(last.boot);
        if self.guard.is_none() {
            let expected = last.wall.plus(passed);
            if reading.wall.since(expected) > self.max_forward_jump {
                self.guard = Some(GuardReason::ForwardJump);
            } else if expected.since(reading.wall) > BACKWARD_STEP {
                self.guard = Some(GuardReason::BackwardStep);
            } else {
                self.now = self.now.max(reading.wall);
                return;
            }
        }
        self.now = self.now.plus(passed);
        let apart = reading.wall.since(self.now).max(self.now.since(reading.wall));
        if apart <= CLOCK_RETURN {
            self.guard = None;
            self.now = self.now.max(reading.wall);
        }
    }
}
