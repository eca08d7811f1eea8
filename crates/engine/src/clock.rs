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
use crate::zoo::{self, Bug};

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
    /// What the wall clock showed when it was trusted last, carried on by the boot clock. It may be
    /// behind journal time, which waits for it then.
    trusted: Time,
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
            trusted: Time::ZERO,
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
            return self.trust(reading.wall);
        }
        self.trusted = self.now;
    }

    /// The wall clock may be gone by.
    fn trust(&mut self, wall: Time) {
        self.guard = None;
        self.trusted = wall;
        self.now = self.now.max(wall);
    }

    fn advance(&mut self, last: Reading, reading: Reading) {
        let passed = reading.boot.minus(last.boot);
        if self.guard.is_none() {
            let expected = last.wall.plus(passed);
            if zoo::bites(Bug::ClockRunsBack) && reading.wall < self.now {
                self.now = reading.wall;
                return;
            }
            if zoo::bites(Bug::JumpBelieved) {
                self.now = self.now.max(reading.wall);
                return;
            }
            if reading.wall.since(expected) > self.max_forward_jump {
                self.guard = Some(GuardReason::ForwardJump);
            } else if expected.since(reading.wall) > BACKWARD_STEP {
                self.guard = Some(GuardReason::BackwardStep);
            } else {
                return self.trust(reading.wall);
            }
        }
        self.now = self.now.plus(passed);
        self.trusted = self.trusted.plus(passed);
        let is_at =
            |time: Time| reading.wall.since(time).max(time.since(reading.wall)) <= CLOCK_RETURN;
        if is_at(self.now) || is_at(self.trusted) {
            self.trust(reading.wall);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state::index::hash_number;

    const NOON: u64 = 1_795_348_800_000;

    fn at(wall_s: i64, boot_s: u64) -> Reading {
        let wall = NOON.checked_add_signed(wall_s * 1_000).expect("after 1970");
        Reading { wall: Time::from_millis(wall), boot: Span::from_secs(boot_s) }
    }

    fn time(s: u64) -> Time {
        Time::from_millis(NOON + s * 1_000)
    }

    /// A clock after these readings.
    fn read(readings: &[Reading]) -> JournalClock {
        let mut clock = JournalClock::new(&Limits::default());
        for reading in readings {
            clock.read(*reading);
        }
        clock
    }

    #[test]
    fn journal_time_never_runs_backward() {
        let mut clock = read(&[at(0, 0)]);
        let (mut wall, mut boot, mut before, mut guarded) = (0_i64, 0, clock.now(), 0);
        for n in 0..20_000 {
            let roll = hash_number(n);
            boot += roll % 5;
            let step = i64::try_from(roll % 5).expect("it is small");
            wall += if roll.is_multiple_of(50) {
                i64::try_from(roll % 400).expect("it is small") - 200
            } else {
                step
            };
            clock.read(at(wall, boot));
            if clock.guard().is_some() && roll.is_multiple_of(7) {
                guarded += 1;
                assert!(clock.confirm());
            }
            assert!(clock.now() >= before, "at reading {n}");
            before = clock.now();
        }
        assert!(guarded > 100, "the guard was up only {guarded} times");
    }

    #[test]
    fn jumps_up_to_the_limit_are_taken_and_larger_ones_are_not() {
        assert_eq!(read(&[at(0, 0), at(70, 10)]).guard(), None);
        assert_eq!(read(&[at(0, 0), at(70, 10)]).now(), time(70));
        let clock = read(&[at(0, 0), at(71, 10)]);
        assert_eq!(clock.guard(), Some(GuardReason::ForwardJump));
        assert_eq!(clock.now(), time(10), "from the last good time by the boot clock");
        assert_eq!(read(&[at(0, 0), at(-50, 10)]).guard(), None);
        assert_eq!(read(&[at(0, 0), at(-51, 10)]).guard(), Some(GuardReason::BackwardStep));
    }

    #[test]
    fn a_long_sleep_is_no_jump() {
        let clock = read(&[at(0, 0), at(86_400, 86_400)]);
        assert_eq!((clock.guard(), clock.now()), (None, time(86_400)));
    }

    #[test]
    fn under_the_guard_time_follows_the_boot_clock_until_the_wall_clock_returns() {
        let mut clock = read(&[at(0, 0), at(3_600, 0), at(3_700, 100)]);
        assert_eq!((clock.guard(), clock.now()), (Some(GuardReason::ForwardJump), time(100)));
        clock.read(at(3_800, 200));
        assert_eq!(clock.now(), time(200));
        clock.read(at(303, 300));
        assert!(clock.guard().is_some(), "three seconds apart is not back");
        clock.read(at(312, 310));
        assert_eq!((clock.guard(), clock.now()), (None, time(312)));
    }

    #[test]
    fn a_wall_clock_that_journal_time_waited_for_is_back_where_it_left() {
        // Thirty seconds back are believed: time stands still. Then a jump, and back again.
        let mut clock = read(&[at(0, 0), at(-20, 10), at(3_600, 11)]);
        assert_eq!((clock.guard(), clock.now()), (Some(GuardReason::ForwardJump), time(1)));
        clock.read(at(-10, 20));
        assert_eq!((clock.guard(), clock.now()), (None, time(10)));
        clock.read(at(10, 40));
        assert_eq!((clock.guard(), clock.now()), (None, time(10)));
        clock.read(at(11, 41));
        assert_eq!(clock.now(), time(11));
    }

    #[test]
    fn a_confirmed_clock_goes_on_with_the_next_reading() {
        let mut clock = read(&[at(0, 0), at(3_600, 10)]);
        assert!(clock.confirm());
        assert!(!clock.confirm());
        assert_eq!(clock.now(), time(10), "a step has one time");
        clock.read(at(3_601, 11));
        assert_eq!((clock.guard(), clock.now()), (None, time(3_601)));
    }

    #[test]
    fn a_start_is_measured_against_the_journal() {
        let month = 30 * 86_400;
        let started = |wall_s: i64, guard| {
            let mut clock = JournalClock::new(&Limits::default());
            clock.seen(time(0));
            clock.restore(guard);
            clock.read(at(wall_s, 7));
            (clock.guard(), clock.now())
        };
        assert_eq!(started(month, None), (None, time(2_592_000)));
        assert_eq!(started(month + 1, None), (Some(GuardReason::StartedAhead), time(0)));
        assert_eq!(started(-2, None), (None, time(0)));
        assert_eq!(started(-3, None), (Some(GuardReason::StartedBehind), time(0)));
        // With the guard up before, only a clock that has come back is believed.
        let jumped = Some(GuardReason::ForwardJump);
        assert_eq!(started(60, jumped), (None, time(60)));
        assert_eq!(started(61, jumped), (jumped, time(0)));
        assert_eq!(started(-3, jumped), (Some(GuardReason::StartedBehind), time(0)));
    }

    #[test]
    fn a_new_journal_takes_any_time() {
        assert_eq!(read(&[at(0, 5)]).guard(), None);
        assert_eq!(read(&[at(0, 5)]).now(), time(0));
    }
}
