//! Where each record stands: in which list of its queue, and when it is looked at again.
//!
//! All of it is derived from the record, the policy and the time; none of it is journalled. Whatever
//! changes a record calls [`State::leave`] before and [`State::refresh`] after.

use super::State;
use super::live::{Live, Phase, Place};
use crate::id::QueueNo;
use crate::queue::DecideAt;
use crate::time::{Span, Time};
use crate::zoo::{self, Bug};

/// What is overdue with a record and needs a fact (or, for a remembered settle, a removal).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Overdue {
    Lapse,
    LeaseOver,
    Forget,
}

/// Where a record belongs at a time.
enum Next {
    /// In this list, or in none.
    In(Place),
    /// In none, until this time.
    At(Time),
    /// It is overdue.
    Over(Overdue),
}

impl State {
    /// Takes a record out of its queue's lists, before anything that orders them changes.
    pub(crate) fn leave(&mut self, slot: u32) {
        let Some(live) = self.records.get_mut(slot) else { return };
        let (no, turn) = (live.queue, live.turn(slot));
        match std::mem::replace(&mut live.place, Place::Nowhere) {
            Place::Waiting => drop(self.queue_mut(no).waiting.remove(&turn)),
            Place::Ripe => drop(self.queue_mut(no).ripe.remove(&turn)),
            // Who is parked is asked where it stands when its time comes.
            Place::Nowhere | Place::Parked => {}
        }
    }

    fn enter(&mut self, slot: u32, place: Place) {
        let live = self.live_mut(slot);
        live.place = place;
        let (no, turn) = (live.queue, live.turn(slot));
        match place {
            Place::Nowhere => {}
            Place::Parked => self.queue_mut(no).parked.push_back(slot),
            Place::Waiting => {
                self.queue_mut(no).waiting.insert(turn);
                self.stir(no);
            }
            Place::Ripe => {
                self.queue_mut(no).ripe.insert(turn);
                self.stir(no);
            }
        }
    }

    /// Sets the timer of a record, unless an earlier one is set: that one will look again.
    pub(crate) fn arm(&mut self, slot: u32, at: Time) {
        let live = self.live_mut(slot);
        if at < live.armed() {
            live.armed = at.into();
            self.timers.insert(at.millis(), slot);
        }
    }

    /// When a pending record's time is over, whatever was withheld or is to be recovered from.
    pub(crate) fn over_at(&self, live: &Live) -> Time {
        let runs_out_at =
            if zoo::bites(Bug::FreezeForgotten) { live.due() } else { live.runs_out_at() };
        let grace = self.queue(live.queue).policy.grace;
        let grace = if zoo::bites(Bug::GraceForgotten) { Span::ZERO } else { grace };
        let early = Span::from_millis(u64::from(zoo::bites(Bug::LapsesEarly)));
        runs_out_at.plus(grace).minus(early)
    }

    /// When a pending record lapses: from then on a settle is too late.
    pub(crate) fn lapse_at(&self, live: &Live) -> Time {
        let at = self.over_at(live);
        // Overdue when the engine opened: settles get their head start.
        if at <= self.opened_at { at.max(self.recovery_until) } else { at }
    }

    /// Is lapsing withheld in this queue?
    pub(crate) fn is_withheld(&self, queue: QueueNo) -> bool {
        self.withheld || self.queue(queue).lapse_paused
    }

    /// Brings lists and timer of a record up to date; says what is overdue and needs a fact.
    pub(crate) fn refresh(&mut self, slot: u32, now: Time) -> Option<Overdue> {
        let live = self.live(slot);
        let next = self.next(live, now);
        let place = if let Next::In(place) = next { place } else { Place::Nowhere };
        if live.place != place {
            self.leave(slot);
            self.enter(slot, place);
        }
        match next {
            Next::In(_) => None,
            Next::At(at) => {
                self.arm(slot, at);
                None
            }
            Next::Over(overdue) => Some(overdue),
        }
    }

    /// Where a record belongs now.
    fn next(&self, live: &Live, now: Time) -> Next {
        let story = live.story.as_deref();
        let (at, then) = match live.phase {
            Phase::Pending if self.queue(live.queue).policy.decide_at == DecideAt::Handout => {
                (self.lapse_at(live), Next::In(Place::Ripe))
            }
            Phase::Pending if self.is_withheld(live.queue) => {
                (self.lapse_at(live), Next::In(Place::Parked))
            }
            Phase::Pending => (self.lapse_at(live), Next::Over(Overdue::Lapse)),
            Phase::Ready => {
                (story.map_or(Time::ZERO, |story| story.next_attempt_at), Next::In(Place::Waiting))
            }
            Phase::Leased | Phase::HeldHere => (
                story.map_or(Time::ZERO, |story| story.leased_until),
                Next::Over(Overdue::LeaseOver),
            ),
            Phase::Remembered => (live.due(), Next::Over(Overdue::Forget)),
            Phase::Settled | Phase::Done | Phase::Superseded | Phase::Dead => {
                return Next::In(Place::Nowhere);
            }
        };
        if at > now { Next::At(at) } else { then }
    }
}
