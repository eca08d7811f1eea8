//! When everything has come to rest: nothing is skipped, nothing waits for ever, nothing is too long.

use duly_engine::deadline::{DeliveryState, State};
use duly_engine::id::{DeadlineId, Generation, Seq};
use duly_engine::queue::{DecideAt, Target};
use duly_engine::time::Time;

use DeliveryState::{Leased, Ready};

use super::model::Life;
use super::{Oracle, Promise};

/// Work that is left, for the message of a life that does not come to rest.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Left {
    pub(crate) pending: usize,
    pub(crate) ready: usize,
    pub(crate) leased: usize,
    /// The earliest time at which one of them has something to do.
    pub(crate) next: Option<Time>,
}

impl Oracle {
    /// What is not over yet.
    pub(crate) fn left_to_do(&self) -> Left {
        let mut left = Left::default();
        for queue in self.model.queues.values() {
            for id in &queue.live {
                let Some(life) = self.model.current(*id) else { continue };
                let next = match life.delivery_state() {
                    None => {
                        left.pending += 1;
                        Some(self.model.lapse_at(&life.deadline))
                    }
                    Some(Ready) => {
                        left.ready += 1;
                        life.deadline.delivery.as_ref().and_then(|one| one.next_attempt_at)
                    }
                    Some(Leased) => {
                        left.leased += 1;
                        life.deadline.delivery.as_ref().and_then(|one| one.leased_until)
                    }
                    Some(_) => None,
                };
                left.next = left.next.into_iter().chain(next).min();
            }
        }
        left
    }

    /// The driver is at rest with nothing unwritten: nobody whose time is over may be waiting.
    pub(crate) fn nothing_is_skipped(&mut self) {
        let now = self.now();
        let has_room = self.steps.back().is_some_and(|step| step.has_room && step.spares > 1);
        if self.model.guard.is_some() || !has_room || !self.pending.is_empty() {
            return;
        }
        let skipped = self.model.queues.values().find_map(|queue| {
            let decides = queue.policy.decide_at == DecideAt::Due && !queue.lapse_paused;
            let mut over = queue.live.iter().filter(|id| {
                self.model.current(**id).is_some_and(|life| {
                    life.deadline.state == State::Pending
                        && self.model.lapse_at(&life.deadline) <= now
                })
            });
            over.next().filter(|_| decides).copied()
        });
        self.must(Promise::NeverSkipped, skipped.is_none(), || {
            format!("{skipped:?} is over, and the driver rests")
        });
    }

    /// The driver is at rest: a delivery that may go at once has gone, whatever other queues do.
    pub(crate) fn nobody_waits_for_others(&mut self) {
        let now = self.now();
        let has_room = self.steps.back().is_some_and(|step| step.has_room && step.spares > 1);
        if !has_room || !self.pending.is_empty() {
            return;
        }
        let waits = self.model.queues.values().find_map(|queue| {
            let served =
                queue.policy.target.is_served_here() || queue.policy.target == Target::None;
            if !served || queue.paused || queue.policy.rate.is_some() {
                return None;
            }
            let lives = || queue.live.iter().filter_map(|id| Some((*id, self.model.current(*id)?)));
            let held = lives().filter(|(_, life)| life.delivery_state() == Some(Leased)).count();
            let may_go = |life: &Life| {
                if let Some(one) = &life.deadline.delivery {
                    one.state == Ready && one.next_attempt_at.is_some_and(|at| at <= now)
                } else {
                    let withheld = self.model.guard.is_some() || queue.lapse_paused;
                    !withheld && self.model.lapse_at(&life.deadline) <= now
                }
            };
            let has_room = held < queue.policy.concurrency as usize;
            lives().find(|(_, life)| has_room && may_go(life)).map(|(id, _)| id)
        });
        self.must(Promise::OneBadTarget, waits.is_none(), || {
            format!("{waits:?} could be handed out, and the driver rests")
        });
    }

    /// Every delivery that somebody could be waiting for, with its end.
    pub(crate) fn all_ended(&mut self) {
        let left = self.left_to_do();
        let ended = Left::default() == Left { next: None, ..left };
        let (now, guard) = (self.now(), self.model.guard);
        self.must(Promise::AtLeastOnce, ended, || {
            format!("at {} there is left: {left:?}, guard {guard:?}", now.millis())
        });
    }

    /// Every generation that ended and must still be readable.
    pub(crate) fn kept(&self) -> Vec<(DeadlineId, Generation, Seq)> {
        let now = self.now();
        let mut kept = Vec::new();
        for (id, entry) in &self.model.entries {
            if entry.erased.is_some() {
                continue;
            }
            for life in &entry.lives {
                let (Some(seq), Some(ended)) = (life.finished, life.deadline.finished_at()) else {
                    continue;
                };
                if !self.model.may_be_gone(&life.deadline.queue, ended, now).0 {
                    kept.push((*id, life.deadline.generation, seq));
                }
            }
        }
        kept
    }

    /// The archive holds this of a generation that ended; is it what was?
    pub(crate) fn archived(&mut self, deadline: &duly_engine::deadline::Deadline) {
        let moment = super::Moment { seq: 0, step: 0 };
        self.seen(deadline, moment);
        self.read((deadline.id, deadline.generation), &deadline.payload);
    }
}
