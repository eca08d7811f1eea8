//! The clock's rules, seen from the readings that every step was given.
//!
//! Journal time is the wall clock's as long as that moves as the boot clock does, never less than it
//! was. A jump ahead of more than 60 s or a step back of more than 60 s, or a start behind the journal
//! or a month ahead of it, and the wall clock is not believed until it comes back within two seconds
//! or an operator says so; meanwhile journal time goes on with the boot clock. Coming back is to
//! where journal time is, or to where the wall clock itself would be had nobody touched it.

use duly_engine::clock::Reading;
use duly_engine::id::Seq;
use duly_engine::time::{Span, Time};

use super::{Oracle, Promise, near};
use crate::markers::Marker;
use crate::world::Stepped;

const JUMP: Span = Span::from_secs(60);
const CLOSE: Span = Span::from_secs(2);
const DOWNTIME: Span = Span::from_days(30);

/// What the oracle thinks of the clock.
#[derive(Default)]
pub(super) struct Clock {
    last: Option<Reading>,
    now: Time,
    /// Where the wall clock would be had nobody touched it since it was trusted last.
    untouched: Time,
    is_up: bool,
    /// Operators who say that the clock is right, on their way.
    confirms: u32,
    /// The last fact before this process began.
    pub(super) opened_seq: Seq,
}

impl Oracle {
    /// An operator says that the clock is right.
    pub(crate) fn confirming(&mut self) {
        self.clock.confirms += 1;
    }

    /// A process begins over what is durable.
    pub(super) fn clock_restarts(&mut self) {
        self.steps.clear();
        self.clock.last = None;
        self.clock.now = self.model.at;
        self.clock.is_up = self.model.guard.is_some();
        self.clock.confirms = 0;
        self.clock.opened_seq = self.model.seq;
    }

    /// The time before this step.
    pub(super) fn stopped_at(&self) -> Time {
        self.clock.now
    }

    /// Is this the time that the step should have had, and the clock trusted or not as it should be?
    pub(super) fn judge_time(&mut self, stepped: &Stepped) {
        let Stepped { reading, at, trusts, .. } = *stepped;
        let (now, marker) = self.clock.read(reading);
        if let Some(marker) = marker {
            self.mark(marker);
        }
        self.must(Promise::Clock, at == now, || {
            format!("the step's time is {}, by the clock's rules {}", at.millis(), now.millis())
        });
        if self.clock.is_up && trusts {
            let confirmed = self.clock.confirms > 0;
            self.must(Promise::Clock, confirmed, || "a clock that jumped is trusted".into());
            self.clock.is_up = false;
            self.mark(Marker::GuardConfirmed);
        }
        let is_up = self.clock.is_up;
        self.must(Promise::Clock, is_up != trusts, || {
            format!("a clock that is right is not trusted, at {}", at.millis())
        });
    }
}

impl Clock {
    fn read(&mut self, reading: Reading) -> (Time, Option<Marker>) {
        let was_up = self.is_up;
        let mut marker = None;
        match self.last {
            None if self.now == Time::ZERO => {
                (self.now, self.untouched) = (reading.wall, reading.wall);
            }
            None => {
                let most = if self.is_up { JUMP } else { DOWNTIME };
                if reading.wall.plus(CLOSE) < self.now {
                    marker = Some(Marker::GuardStartedBehind);
                    self.is_up = true;
                } else if reading.wall.since(self.now) > most {
                    marker = Some(Marker::GuardStartedAhead);
                    self.is_up = true;
                } else {
                    self.is_up = false;
                    self.now = self.now.max(reading.wall);
                }
                self.untouched = if self.is_up { self.now } else { reading.wall };
            }
            Some(last) => {
                let passed = reading.boot.minus(last.boot);
                let expected = last.wall.plus(passed);
                if !self.is_up && reading.wall.since(expected) > JUMP {
                    marker = Some(Marker::GuardJump);
                    self.is_up = true;
                }
                if !self.is_up && expected.since(reading.wall) > JUMP {
                    marker = Some(Marker::GuardBackward);
                    self.is_up = true;
                }
                if self.is_up {
                    self.now = self.now.plus(passed);
                    self.untouched = self.untouched.plus(passed);
                    let back = [self.now, self.untouched];
                    self.is_up = !back.into_iter().any(|at| near(reading.wall, at, CLOSE));
                }
                if !self.is_up {
                    self.untouched = reading.wall;
                    self.now = self.now.max(reading.wall);
                }
            }
        }
        if was_up && !self.is_up {
            marker = Some(Marker::GuardReturned);
        }
        self.last = Some(reading);
        (self.now, marker.filter(|_| was_up != self.is_up))
    }
}
