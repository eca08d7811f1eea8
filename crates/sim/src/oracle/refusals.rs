//! A refusal says why, and the reason must have been there at some moment since the question.

use duly_engine::answer::Refusal;
use duly_engine::command::{Address, Command, IfDue, IfExists};
use duly_engine::deadline::{Deadline, DeliveryState, State};
use duly_engine::id::{DeliveryId, QueueName, Token};
use duly_engine::queue::Target;

use super::{Moment, Oracle, Promise};
use crate::markers::Marker;

impl Oracle {
    /// Somebody was refused.
    pub(super) fn refused(&mut self, command: &Command, asked: Moment, refusal: &Refusal) {
        if let Command::Schedule(schedule) = command {
            self.not_applied(schedule);
        }
        self.refusal_shows(refusal, asked);
        let reason = self.has_reason(command, asked, refusal);
        self.must(Promise::ExplicitRefusal, reason, || {
            format!("refused with {} and no reason: {command:?}\n  {refusal:?}", refusal.code())
        });
        match refusal {
            Refusal::StorageLow => self.mark(Marker::RefusedLow),
            Refusal::StorageFull => self.mark(Marker::RefusedFull),
            Refusal::LeaseLost => self.mark_lease_lost(command),
            Refusal::OtherGeneration(_) => self.mark(Marker::OtherGeneration),
            Refusal::UnknownDelivery => {
                let named = match command {
                    Command::Verdict { delivery, .. } | Command::Touch { delivery, .. } => {
                        self.model.entries.get(&delivery.deadline)
                    }
                    _ => None,
                };
                if named.is_some_and(|entry| entry.erased.is_some()) {
                    self.mark(Marker::ErasedLookedUp);
                }
            }
            _ => {}
        }
    }

    fn has_reason(&self, command: &Command, asked: Moment, refusal: &Refusal) -> bool {
        match refusal {
            Refusal::UnknownQueue => {
                queue_of(command).is_none_or(|queue| self.queue_was_away(queue, asked))
            }
            Refusal::UnknownDeadline => command.address().is_none_or(|at| {
                let looks = !matches!(command, Command::Schedule(one) if one.over.is_none());
                looks && self.was_unknown(at, asked)
                    || matches!(command, Command::Settle(settle) if settle.generation.is_some())
            }),
            Refusal::UnknownDelivery => match command {
                Command::Verdict { delivery, .. } | Command::Touch { delivery, .. } => {
                    self.delivery_was_unknown(*delivery)
                }
                _ => false,
            },
            Refusal::AlreadyExists(_) => {
                matches!(command, Command::Schedule(one) if one.if_exists == IfExists::Fail)
            }
            Refusal::DeliveryUnderWay(deadline) => {
                deadline.state == State::Lapsed && !deadline.is_final()
            }
            Refusal::AlreadySettled(deadline) => {
                deadline.state == State::Settled && is_meant(command, deadline)
            }
            Refusal::TooLate(deadline) => {
                deadline.state == State::Lapsed && is_meant(command, deadline)
            }
            Refusal::OtherGeneration(deadline) => {
                let wanted = match command {
                    Command::Settle(settle) => settle.generation,
                    Command::Schedule(schedule) => schedule.over,
                    _ => None,
                };
                wanted.is_some_and(|wanted| wanted != deadline.generation)
            }
            Refusal::DueChanged(deadline) => {
                matches!(command, Command::Extend(extend)
                    if extend.if_due != Some(IfDue::At(deadline.due)))
            }
            Refusal::StillPending(deadline) => !deadline.is_final(),
            Refusal::NotDead(deadline) => {
                deadline.delivery.as_ref().is_none_or(|one| one.state != DeliveryState::Dead)
            }
            Refusal::LeaseLost => match command {
                Command::Verdict { delivery, token, .. }
                | Command::Touch { delivery, token, .. } => !self.holds_on(*delivery, *token),
                _ => false,
            },
            Refusal::NotPull => queue_of(command).is_some_and(|queue| {
                let no = self.model.by_name.get(queue);
                let here = no.and_then(|no| self.model.queues.get(no));
                self.was_arranged(queue, asked)
                    || here.is_none_or(|here| here.policy.target != Target::Pull)
            }),
            Refusal::StorageLow => {
                !is_last_refused(command) && self.steps_since(asked).any(|step| step.spares < 4)
            }
            Refusal::StorageFull => self.steps_since(asked).any(|step| {
                !step.has_room || step.spares < 2 && matches!(command, Command::Lease { .. })
            }),
            // What the request itself says, which the engine's own tests go through.
            _ => true,
        }
    }

    pub(super) fn was_arranged(&self, queue: &QueueName, asked: Moment) -> bool {
        self.model.arranged.get(queue).is_some_and(|seq| *seq > asked.seq)
    }

    fn queue_was_away(&self, queue: &QueueName, asked: Moment) -> bool {
        !self.model.by_name.contains_key(queue) || self.was_arranged(queue, asked)
    }

    /// Was there nothing under this key at some moment since?
    pub(super) fn was_unknown(&self, at: &Address, asked: Moment) -> bool {
        let Some(id) = self.model.by_key.get(at) else { return true };
        let Some(entry) = self.model.entries.get(id) else { return true };
        let Some(first) = entry.lives.first() else { return true };
        if first.begun > asked.seq || entry.erased.is_some() {
            return true;
        }
        entry.lives.iter().any(|life| {
            // It was swept, or was the last before a generation that came since.
            let ended = life.deadline.finished_at().filter(|_| life.finished.is_some());
            let is_last_then = life.deadline.generation
                == entry
                    .lives
                    .last()
                    .map_or(life.deadline.generation, |last| last.deadline.generation);
            is_last_then
                && ended.is_some_and(|ended| {
                    self.model.may_be_gone(&life.deadline.queue, ended, self.now()).0
                })
        })
    }

    /// No such delivery: it never lapsed, or nothing of it is kept.
    fn delivery_was_unknown(&self, delivery: DeliveryId) -> bool {
        if delivery.directory != self.model.directory {
            return true;
        }
        let Some(entry) = self.model.entries.get(&delivery.deadline) else { return true };
        let Some(life) = self.model.life(delivery.deadline, delivery.generation) else {
            return true;
        };
        let ended = life.deadline.finished_at().filter(|_| life.finished.is_some());
        entry.erased.is_some()
            || life.deadline.delivery.is_none()
            || ended.is_some_and(|ended| {
                self.model.may_be_gone(&life.deadline.queue, ended, self.now()).0
            })
    }

    /// Does this lease hold, and will it for a while?
    fn holds_on(&self, delivery: DeliveryId, token: Token) -> bool {
        let life = self.model.life(delivery.deadline, delivery.generation);
        let known = life.and_then(|life| life.deadline.delivery.as_ref());
        known.is_some_and(|known| {
            known.state == DeliveryState::Leased
                && known.token == Some(token)
                && known.leased_until.is_some_and(|until| until > self.now())
        })
    }

    fn mark_lease_lost(&mut self, command: &Command) {
        let (delivery, token, is_verdict) = match command {
            Command::Verdict { delivery, token, .. } => (*delivery, *token, true),
            Command::Touch { delivery, token, .. } => (*delivery, *token, false),
            _ => return,
        };
        let life = self.model.life(delivery.deadline, delivery.generation);
        let known = life.and_then(|life| life.deadline.delivery.as_ref());
        let Some(known) = known else { return };
        let is_old = known.token != Some(token);
        let newer = life.is_some_and(|life| {
            self.model
                .current(delivery.deadline)
                .is_some_and(|last| last.deadline.generation > life.deadline.generation)
        });
        self.mark(match () {
            () if newer => Marker::VerdictOfOldGeneration,
            () if !is_verdict => Marker::TouchTooLate,
            () if is_old && known.state == DeliveryState::Leased => Marker::VerdictUnderOldLease,
            () => Marker::VerdictAfterLeaseEnd,
        });
    }
}

/// A schedule that is refused because a generation is over was to be over that one.
fn is_meant(command: &Command, deadline: &Deadline) -> bool {
    match command {
        Command::Schedule(schedule) => schedule.over == Some(deadline.generation),
        _ => true,
    }
}

/// Settles and verdicts are the last things to be refused.
fn is_last_refused(command: &Command) -> bool {
    matches!(command, Command::Settle(_) | Command::Verdict { .. })
}

/// The queue that a command names.
fn queue_of(command: &Command) -> Option<&QueueName> {
    match command {
        Command::Lease { queue, .. }
        | Command::Waiting { queue, .. }
        | Command::PutQueue { queue, .. }
        | Command::DeleteQueue(queue)
        | Command::GetQueue(queue)
        | Command::Pause { queue, .. }
        | Command::Shift { queue, .. } => Some(queue),
        Command::Scan(scan) => scan.queue.as_ref(),
        Command::Count(count) => count.queue.as_ref(),
        other => other.address().map(|at| &at.queue),
    }
}
