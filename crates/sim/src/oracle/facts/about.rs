//! Facts about one generation: who won, who holds it, what came of it.
//!
//! Each is held against what the record was when it was made; then the record is changed as the fact
//! says, by rules written down here a second time.

use duly_engine::command::Address;
use duly_engine::deadline::{Deadline, DeliveryState, Ladder, State, What};
use duly_engine::fact::Fact;
use duly_engine::id::{DeadlineId, Outcome, QueueNo, Seq, Token};
use duly_engine::limits::RETRY_AFTER;
use duly_engine::queue::{DecideAt, Target};
use duly_engine::time::{Span, Time};

use super::Made;
use crate::markers::Marker;
use crate::oracle::model::Life;
use crate::oracle::{Oracle, Promise};

impl Oracle {
    pub(super) fn about(&mut self, fact: &Fact, made: Made<'_>) {
        let (Some(id), Some(no)) = (fact.about(), fact.queue()) else { return };
        let Some(life) = self.model.current(id) else {
            let what = format!("{fact:?} is about a deadline that does not exist");
            return self.violated(Promise::Order, what);
        };
        if life.deadline.queue_no != no {
            let what = format!("{fact:?} names another queue than its deadline's");
            return self.violated(Promise::Order, what);
        }
        let (deadline, state) = (life.deadline.clone(), life.deadline.state);
        match fact {
            Fact::Settled { outcome, .. } => self.settled(&deadline, outcome, made),
            Fact::Lapsed { .. } => self.lapsed(&deadline, made),
            Fact::Leased { held_here, .. } => self.leased(&deadline, *held_here, made),
            Fact::Moved { due, shifted, .. } => self.moved(&deadline, *due, *shifted, made),
            Fact::Frozen { until, total_ms, .. } => {
                let policy = self.model.queues.get(&no).map(|queue| queue.policy.max_freeze);
                let within = policy.is_none_or(|most| *total_ms <= most.millis());
                let open = state == State::Pending && !self.is_over(&deadline, made);
                self.must(Promise::OneWinner, open, || format!("{fact:?} after the end"));
                self.must(Promise::ExplicitRefusal, within || *until <= made.at, || {
                    format!("{fact:?} beyond what the queue allows")
                });
            }
            _ => self.in_delivery(fact, &deadline, made),
        }
        let Some(life) = self.model.entries.get_mut(&id).and_then(|entry| entry.lives.last_mut())
        else {
            return;
        };
        happen(life, fact, made, self.model.directory);
        life.changed(made.seq);
        let is_final = life.deadline.is_final();
        if is_final {
            life.finished = Some(made.seq);
        }
        self.count(fact, no, id, is_final);
    }

    fn settled(&mut self, deadline: &Deadline, outcome: &Outcome, made: Made<'_>) {
        let id = deadline.id;
        let is_open = deadline.state == State::Pending;
        self.must(Promise::OneWinner, is_open, || {
            format!("number {} is settled ({outcome}) while {:?}", id.0, deadline.state)
        });
        let born = matches!(made.before, Some(Fact::Scheduled { id: just, .. }) if *just == id);
        let is_over = self.is_over(deadline, made);
        let late = made.at.since(self.model.lapse_at(deadline));
        self.must(Promise::OneWinner, !is_over || born, || {
            format!("number {} was settled {late} after its time", id.0)
        });
        self.mark_settle(deadline, made);
    }

    fn mark_settle(&mut self, deadline: &Deadline, made: Made<'_>) {
        let lapse_at = self.model.lapse_at(deadline);
        let runs_out = deadline.frozen_until.map_or(deadline.due, |until| until.max(deadline.due));
        let decide_at = self.model.queues.get(&deadline.queue_no).map(|one| one.policy.decide_at);
        if lapse_at <= made.at && decide_at == Some(DecideAt::Handout) {
            self.mark(Marker::SettledInBacklog);
        }
        if lapse_at > made.at && runs_out <= made.at {
            let recovers = self.model.recovery_until == lapse_at;
            self.mark(if recovers { Marker::SettledInRecovery } else { Marker::SettledInGrace });
        }
        if lapse_at == made.at.plus(Span::from_millis(1)) {
            self.mark(Marker::SettledLastMillisecond);
        }
        if self.model.guard.is_some() && lapse_at <= made.at {
            self.mark(Marker::SettledUnderGuard);
        }
    }

    fn lapsed(&mut self, deadline: &Deadline, made: Made<'_>) {
        let id = deadline.id;
        self.must(Promise::OneWinner, deadline.state == State::Pending, || {
            format!("number {} lapsed while {:?}", id.0, deadline.state)
        });
        let lapse_at = self.model.lapse_at(deadline);
        let promise = if lapse_at == self.model.recovery_until {
            Promise::HeadStart
        } else {
            Promise::NeverEarly
        };
        self.must(promise, lapse_at <= made.at, || {
            format!("number {} lapsed {} early", id.0, lapse_at.since(made.at))
        });
        let withheld = self.is_withheld(deadline.queue_no, made);
        self.must(Promise::Clock, !withheld, || {
            format!("number {} lapsed while lapsing was withheld", id.0)
        });
        if deadline.frozen_until.is_some_and(|until| until > deadline.due) {
            self.mark(Marker::FrozenToItsEnd);
        }
        let queue = self.model.queues.get(&deadline.queue_no);
        if queue.is_some_and(|queue| queue.policy.decide_at == DecideAt::Handout) {
            let handed = match made.next {
                Some(Fact::Leased { id: next, .. } | Fact::Delivered { id: next, .. }) => {
                    *next == id
                }
                _ => false,
            };
            self.must(Promise::OneWinner, handed, || {
                format!("number {} lapsed before anybody took it", id.0)
            });
        }
    }

    fn leased(&mut self, deadline: &Deadline, held_here: bool, made: Made<'_>) {
        let id = deadline.id;
        let ready = deadline.delivery.as_ref().is_some_and(|delivery| {
            delivery.state == DeliveryState::Ready
                && delivery.next_attempt_at.is_some_and(|at| at <= made.at)
        });
        let promise =
            if deadline.state == State::Lapsed { Promise::AtLeastOnce } else { Promise::NoGhost };
        self.must(promise, ready, || {
            format!(
                "number {} was handed out while {:?} {:?}",
                id.0, deadline.state, deadline.delivery
            )
        });
        self.must(Promise::ExplicitRefusal, !made.is_full, || {
            format!("number {} was handed out on a full disk", id.0)
        });
        self.in_turn(deadline, made);
        let Some(queue) = self.model.queues.get_mut(&deadline.queue_no) else { return };
        let here = queue.policy.target.is_served_here();
        let to_whom = held_here == here && (here || queue.policy.target == Target::Pull);
        let fits = !queue.paused && to_whom;
        let name = queue.name.clone();
        self.must(Promise::OneBadTarget, fits, || {
            format!("number {} was handed out in {name}, paused or to the wrong target", id.0)
        });
        self.pace(deadline.queue_no, made);
    }

    /// Nobody of the same queue who is ready goes before, unless this one was asked for by name.
    fn in_turn(&mut self, deadline: &Deadline, made: Made<'_>) {
        let Some(queue) = self.model.queues.get(&deadline.queue_no) else { return };
        let turn = (deadline.priority, deadline.due, deadline.id);
        let mut waits = 0;
        let passed_over = queue.live.iter().find(|id| {
            self.model.current(**id).is_some_and(|life| {
                let one = &life.deadline;
                let is_ready = one.delivery.as_ref().is_some_and(|delivery| {
                    delivery.state == DeliveryState::Ready
                        && delivery.next_attempt_at.is_some_and(|at| at <= made.at)
                });
                waits += u32::from(
                    is_ready && one.priority > deadline.priority && one.due < deadline.due,
                );
                is_ready && (one.priority, one.due, one.id) < turn
            })
        });
        let passed_over = passed_over.copied();
        if waits > 0 {
            self.markers.reach(Marker::PriorityBeforeAge);
        }
        let at = Address { queue: deadline.queue.clone(), key: deadline.key.clone() };
        let claimed = self.claims.get(&at).is_some_and(|claims| *claims > 0);
        self.must(Promise::OneBadTarget, claimed || passed_over.is_none(), || {
            format!("number {} went before {passed_over:?}", deadline.id.0)
        });
    }

    /// No more in any second than the rate allows, and its slack. Time begins anew with another rate
    /// and with a start: what went before counts no more.
    fn pace(&mut self, no: QueueNo, made: Made<'_>) {
        let Some(queue) = self.model.queues.get_mut(&no) else { return };
        let since = made.at.minus(Span::from_millis(999));
        queue.handed.retain(|at| *at >= since);
        queue.handed.push(made.at);
        let handed = queue.handed.len() as u64;
        let Some(rate) = queue.policy.rate.map(u64::from) else { return };
        if handed == rate {
            self.markers.reach(Marker::RateReached);
        }
        self.must(Promise::OneBadTarget, handed <= rate + (rate / 20).max(1) + 1, || {
            format!("{handed} were handed out in a second, the rate is {rate}")
        });
    }

    fn moved(&mut self, deadline: &Deadline, due: Time, shifted: bool, made: Made<'_>) {
        let open = deadline.state == State::Pending && !self.is_over(deadline, made);
        self.must(Promise::OneWinner, open, || {
            format!("number {} was moved after its end", deadline.id.0)
        });
        let Some(queue) = self.model.queues.get(&deadline.queue_no) else { return };
        let latest = deadline.created_at.plus(queue.policy.max_total);
        let allowed = shifted || due <= latest || due < deadline.due;
        let in_window = queue.shift.as_ref().is_some_and(|shift| {
            (shift.from..shift.to).contains(&deadline.due)
                && due.millis() == deadline.due.millis().saturating_add_signed(shift.by_ms)
                && deadline.id < shift.below
        });
        self.must(Promise::ExplicitRefusal, allowed, || {
            format!("number {} was extended beyond what its queue allows", deadline.id.0)
        });
        self.must(Promise::OneWinner, !shifted || in_window, || {
            format!("number {} was shifted and no shift is about it", deadline.id.0)
        });
    }

    fn in_delivery(&mut self, fact: &Fact, deadline: &Deadline, made: Made<'_>) {
        let id = deadline.id;
        let Some(delivery) = &deadline.delivery else {
            let what = format!("{fact:?} without a lapse");
            return self.violated(Promise::NoGhost, what);
        };
        let leased = delivery.state == DeliveryState::Leased;
        let holds = leased && delivery.leased_until.is_some_and(|until| until > made.at);
        let queue = self.model.queues.get(&deadline.queue_no);
        let to_none = queue.is_some_and(|queue| queue.policy.target == Target::None);
        let allowed = match fact {
            Fact::Touched { until, .. } => holds && *until > made.at,
            Fact::Delivered { superseded, .. } => {
                holds || to_none && delivery.state == DeliveryState::Ready && !superseded
            }
            Fact::Retried { by_verdict: true, .. } | Fact::Died { by_verdict: true, .. } => holds,
            // Its time is over, or the process that held it is gone.
            Fact::Retried { .. } | Fact::Died { .. } => {
                leased && (!holds || delivery.held_here && made.at == self.model.opened_at)
            }
            Fact::Revived { .. } => delivery.state == DeliveryState::Dead,
            _ => false,
        };
        self.must(Promise::AtLeastOnce, allowed, || {
            format!("{fact:?} of number {} while {delivery:?}", id.0)
        });
        self.mark_delivery(fact, deadline, made);
        if !leased && matches!(fact, Fact::Delivered { .. }) {
            // The target is nobody: this was its turn. Under a lease the turn was the lease.
            self.pace(deadline.queue_no, made);
        }
        let Some(policy) = self.model.queues.get(&deadline.queue_no).map(|one| &one.policy) else {
            return;
        };
        let longest = policy.retry.iter().max().copied().unwrap_or(Span::ZERO);
        let longest = longest.plus(Span::from_millis(longest.millis() / 10)).max(RETRY_AFTER.1);
        let gives_up = delivery.ladder.since.plus(policy.retry_for);
        match fact {
            Fact::Retried { next_attempt_at, .. } => {
                let soon = *next_attempt_at <= made.at.plus(longest);
                let in_time = *next_attempt_at <= gives_up || *next_attempt_at == made.at;
                self.must(Promise::AtLeastOnce, soon && in_time, || {
                    format!("number {} is tried again too late", id.0)
                });
            }
            Fact::Died { by_verdict: false, .. } => {
                let tried = made.at.plus(longest) > gives_up;
                self.must(Promise::AtLeastOnce, tried, || {
                    format!("number {} was given up too early", id.0)
                });
            }
            _ => {}
        }
    }

    fn mark_delivery(&mut self, fact: &Fact, deadline: &Deadline, made: Made<'_>) {
        let Some(delivery) = &deadline.delivery else { return };
        match fact {
            Fact::Retried { by_verdict: false, .. } if delivery.held_here => {
                let opening = made.at == self.model.opened_at;
                self.mark(if opening { Marker::OwnLeaseReleased } else { Marker::OwnLeaseRanOut });
            }
            Fact::Retried { by_verdict: false, .. } => self.mark(Marker::WorkersLeaseRanOut),
            Fact::Died { by_verdict, .. } => {
                self.mark(if *by_verdict {
                    Marker::DiedByVerdict
                } else {
                    Marker::RetriesExhausted
                });
            }
            Fact::Revived { .. } => self.mark(Marker::Revived),
            Fact::Touched { until, .. }
                if delivery.leased_until.is_some_and(|had| *until > had) =>
            {
                self.mark(Marker::TouchProlongs);
            }
            Fact::Delivered { .. } => {
                let leased_at = delivery.token.map_or(Seq::MAX, |token| token.0);
                if leased_at < self.clock.opened_seq && !delivery.held_here {
                    self.mark(Marker::LeaseSurvivesRestart);
                }
                if delivery.ladder.attempts > 0 {
                    self.mark(Marker::DoneAfterRevival);
                }
            }
            _ => {}
        }
    }

    /// Keeps the counts that a base and a queue's view must agree with.
    fn count(&mut self, fact: &Fact, no: QueueNo, id: DeadlineId, is_final: bool) {
        let Some(queue) = self.model.queues.get_mut(&no) else { return };
        if is_final {
            queue.live.remove(&id);
        }
        let totals = &mut queue.totals;
        match fact {
            Fact::Settled { outcome, .. } => {
                let known = totals.settled.contains_key(outcome) || totals.settled.len() < 64;
                let other = Outcome::new("other").expect("`other` is an outcome");
                let label = if known { outcome.clone() } else { other };
                *totals.settled.entry(label).or_default() += 1;
            }
            Fact::Lapsed { .. } => totals.lapsed += 1,
            Fact::Leased { .. } => totals.attempts += 1,
            Fact::Delivered { superseded: true, .. } => totals.superseded += 1,
            Fact::Delivered { .. } => totals.done += 1,
            Fact::Retried { .. } => totals.retried += 1,
            Fact::Died { .. } => totals.died += 1,
            Fact::Revived { .. } => totals.revived += 1,
            _ => {}
        }
    }
}

/// What a fact does to a record.
fn happen(life: &mut Life, fact: &Fact, made: Made<'_>, directory: duly_engine::id::DirectoryId) {
    let at = made.at;
    match fact {
        Fact::Settled { outcome, .. } => {
            life.deadline.state = State::Settled;
            life.deadline.outcome = Some(outcome.clone());
            life.deadline.settled_at = Some(at);
            life.tell(at, What::Settled { outcome: outcome.clone() });
        }
        Fact::Moved { due, shifted, .. } => {
            life.deadline.due = *due;
            let due = *due;
            life.tell(at, if *shifted { What::Shifted { due } } else { What::Extended { due } });
        }
        Fact::Frozen { until, total_ms, .. } => {
            life.deadline.frozen_until = Some(*until);
            life.deadline.frozen_for = Span::from_millis(*total_ms);
            life.tell(at, What::Frozen { until: *until });
        }
        Fact::Lapsed { .. } => {
            let id = duly_engine::id::DeliveryId {
                directory,
                deadline: life.deadline.id,
                generation: life.deadline.generation,
            };
            life.lapse(id, at);
        }
        _ => deliver(life, fact, made),
    }
}

/// What a fact does to a record that has lapsed.
fn deliver(life: &mut Life, fact: &Fact, made: Made<'_>) {
    let at = made.at;
    let Some(delivery) = life.delivery() else { return };
    let mut leave = |state, finished: Option<Time>| {
        delivery.state = state;
        delivery.next_attempt_at = None;
        delivery.leased_until = None;
        delivery.held_here = false;
        delivery.finished_at = finished;
    };
    match fact {
        Fact::Leased { until, held_here, .. } => {
            leave(DeliveryState::Leased, None);
            delivery.held_here = *held_here;
            delivery.leased_until = Some(*until);
            delivery.attempts += 1;
            delivery.token = Some(Token(made.seq));
            let attempt = delivery.attempts;
            life.leases.push((made.seq, attempt));
            life.tell(at, What::Leased { attempt });
        }
        Fact::Touched { until, .. } => delivery.leased_until = Some(*until),
        Fact::Delivered { superseded, .. } => {
            let (state, what) = if *superseded {
                (DeliveryState::Superseded, What::Superseded)
            } else {
                (DeliveryState::Done, What::Done)
            };
            leave(state, Some(at));
            life.tell(at, what);
        }
        Fact::Retried { next_attempt_at, error, by_verdict, .. } => {
            leave(DeliveryState::Ready, None);
            delivery.next_attempt_at = Some(*next_attempt_at);
            delivery.last_error = Some(error.clone());
            delivery.token = delivery.token.filter(|_| *by_verdict);
            let (error, next_attempt_at) = (error.clone(), *next_attempt_at);
            life.tell(at, What::Retried { error, next_attempt_at });
        }
        Fact::Died { error, by_verdict, .. } => {
            leave(DeliveryState::Dead, Some(at));
            delivery.last_error = Some(error.clone());
            delivery.token = delivery.token.filter(|_| *by_verdict);
            life.tell(at, What::Dead { error: error.clone() });
        }
        Fact::Revived { .. } => {
            leave(DeliveryState::Ready, None);
            delivery.next_attempt_at = Some(at);
            delivery.token = None;
            delivery.ladder = Ladder { attempts: delivery.attempts, since: at };
            life.tell(at, What::Revived);
        }
        _ => {}
    }
}
