//! What the reference makes of each command about a deadline or a delivery.

use std::ops::Range;

use duly_engine::Storage;
use duly_engine::answer::{Answer, Refusal, SettleResult};
use duly_engine::command::{
    Address, Command, DEFAULT_PRIORITY, Extend, ExtendBy, IfDue, IfExists, Schedule, Settle, Show,
    Verdict, When,
};
use duly_engine::deadline::{
    Acted, Deadline, DeliveryState, Event, Ladder, PayloadAt, State, What,
};
use duly_engine::id::{DeadlineId, DeliveryId, Generation, Key, Outcome, QueueName, Token};
use duly_engine::queue::Target;
use duly_engine::time::{Span, Time};

use super::{Reference, Remembered};

pub(super) type Answered = Result<Answer, Refusal>;

impl Reference {
    // Commands.

    pub(crate) fn decide(&mut self, command: &Command) -> Answer {
        if self.storage == Storage::Gone && !command.only_reads() {
            return Answer::Refused(Refusal::StorageFull);
        }
        let answer = match command {
            Command::Schedule(schedule) => self.schedule(schedule),
            Command::Settle(settle) => self.settle(settle),
            Command::Claim { at, outcome } => self.claim(at, outcome),
            Command::Extend(extend) => self.extend(extend),
            Command::Freeze { at, span } => self.freeze(at, *span),
            Command::Get(at) => self.get(at),
            Command::Revive(at) => self.revive(at),
            Command::Erase(at) => self.erase(at),
            Command::Lease { queue, key, max, span } => {
                self.lease_to_worker(queue, key.as_ref(), *max, *span)
            }
            Command::Waiting { queue, due, limit } => self.look_for_work(queue, due, *limit),
            Command::Verdict { delivery, token, verdict } => {
                self.verdict(*delivery, *token, verdict)
            }
            Command::Touch { delivery, token, span } => self.touch(*delivery, *token, *span),
            Command::PutQueue { queue, policy, .. } => Ok(self.put_queue(queue, policy)),
            Command::DeleteQueue(queue) => self.delete_queue(queue),
            Command::Pause { queue, deliveries, lapses } => self.pause(queue, *deliveries, *lapses),
            Command::Shift { queue, from, to, by_ms } => self.shift(queue, *from, *to, *by_ms),
            other => panic!("nobody tries {other:?} here"),
        };
        answer.unwrap_or_else(Answer::Refused)
    }

    fn schedule(&mut self, schedule: &Schedule) -> Answered {
        let at = &schedule.at;
        let met = self.meet(at);
        // Here queues are declared: none comes of a schedule.
        let queue = self.queue(&at.queue)?;
        let delay = self.queues[queue].policy.default_delay;
        if let Some(generation) = schedule.over {
            self.is_still_pending(met.ok_or(Refusal::UnknownDeadline)?, generation)?;
        }
        if let Some(place) = self.remembered.iter().position(|kept| kept.at == *at)
            && self.remembered[place].until > self.now
        {
            return self.born_settled(place, queue, delay, schedule);
        }
        let nobody_acts = self.nobody_acts(queue);
        let (id, generation) = match met {
            None => (None, Generation::FIRST),
            Some(index) => {
                let begins_anew = !matches!(schedule.if_exists, IfExists::Keep | IfExists::Fail);
                let is_nobodys = self.queues[queue].policy.target == Target::None
                    && !self.queues[queue].paused
                    && self.storage < Storage::Full;
                let has_lapsed = self.deadlines[index].state == State::Lapsed;
                if begins_anew && is_nobodys && has_lapsed && self.waiting(queue).contains(&index) {
                    self.finish(index, false);
                }
                let existing = self.deadlines[index].clone();
                let pending = existing.state == State::Pending;
                if pending && let IfExists::Move(if_due) = schedule.if_exists {
                    return self.move_or_keep(index, schedule, if_due);
                }
                let begins = match schedule.if_exists {
                    IfExists::Keep => false,
                    IfExists::Renew => existing.is_final(),
                    IfExists::Replace if pending || existing.is_final() => true,
                    IfExists::Move(_) if existing.is_final() => true,
                    IfExists::Replace | IfExists::Move(_) => {
                        return Err(Refusal::DeliveryUnderWay(Box::new(existing)));
                    }
                    IfExists::Fail => return Err(Refusal::AlreadyExists(Box::new(existing))),
                };
                if !begins {
                    let differs = differs(schedule, &existing);
                    let deadline = Box::new(existing);
                    return Ok(Answer::Scheduled {
                        created: false,
                        differs,
                        nobody_acts,
                        deadline,
                    });
                }
                (Some((existing.id, pending)), Generation(existing.generation.0 + 1))
            }
        };
        let before = met.map(|index| self.deadlines[index].clone());
        let before = before.filter(|_| id.is_some_and(|(_, pending)| pending));
        let before = before.filter(|_| schedule.when == When::Kept);
        let due = match &before {
            Some(before) => before.due,
            None => self.due(schedule, delay)?,
        };
        self.disk()?;
        let id = match id {
            Some((id, replaced)) => {
                self.queues[queue].totals.replaced += u64::from(replaced);
                id
            }
            None => self.next_id(),
        };
        let index = self.begin(queue, id, generation, due, schedule);
        if let Some(before) = before {
            self.freeze_as_before(index, &before);
        }
        Ok(match schedule.show {
            Show::Nothing => Answer::Begun,
            Show::Record => self.born(index, nobody_acts),
        })
    }

    /// What is told of a generation that has just begun.
    fn born(&self, index: usize, nobody_acts: bool) -> Answer {
        let deadline = self.shown(index);
        Answer::Scheduled { created: true, differs: Vec::new(), nobody_acts, deadline }
    }

    /// The settle came first and was remembered.
    fn born_settled(
        &mut self,
        place: usize,
        queue: usize,
        delay: Option<Span>,
        schedule: &Schedule,
    ) -> Answered {
        let due = self.due(schedule, delay)?;
        self.disk()?;
        let kept = self.remembered.remove(place);
        let index = self.begin(queue, kept.id, Generation::FIRST, due, schedule);
        self.settled(index, &kept.outcome);
        Ok(self.born(index, false))
    }

    fn is_still_pending(&self, index: usize, generation: Generation) -> Result<(), Refusal> {
        let shown = self.shown(index);
        match shown.state {
            _ if shown.generation != generation => Err(Refusal::OtherGeneration(shown)),
            State::Pending => Ok(()),
            State::Settled => Err(Refusal::AlreadySettled(shown)),
            State::Lapsed => Err(Refusal::TooLate(shown)),
        }
    }

    /// What is left of a freeze goes on in the next generation.
    fn freeze_as_before(&mut self, index: usize, before: &Deadline) {
        if let Some(until) = before.frozen_until.filter(|until| *until > self.now) {
            self.tell(index, What::Frozen { until });
            self.deadlines[index].frozen_until = Some(until);
            self.deadlines[index].frozen_for = before.frozen_for;
        }
    }

    fn due(&self, schedule: &Schedule, delay: Option<Span>) -> Result<Time, Refusal> {
        let due = match schedule.when {
            When::Due(due) => due,
            When::After(span) => self.now.plus(span),
            When::Default | When::Kept => self.now.plus(delay.ok_or(Refusal::NoDueTime)?),
        };
        if due > self.now.plus(Span::from_days(3_653)) {
            Err(Refusal::DueTooFar)
        } else if due < self.now.minus(Span::from_hours(1)) && !schedule.allow_past {
            Err(Refusal::DueInPast)
        } else {
            Ok(due)
        }
    }

    pub(super) fn disk(&self) -> Result<(), Refusal> {
        if self.storage >= Storage::Low { Err(Refusal::StorageLow) } else { Ok(()) }
    }

    fn nobody_acts(&self, queue: usize) -> bool {
        let queue = &self.queues[queue];
        let lately = |at: Time| self.now.since(at) <= Span::from_mins(10);
        queue.policy.target == Target::Pull && !queue.last_leased_at.is_some_and(lately)
    }

    fn next_id(&mut self) -> DeadlineId {
        self.next_id += 1;
        DeadlineId(self.next_id - 1)
    }

    fn begin(
        &mut self,
        queue: usize,
        id: DeadlineId,
        generation: Generation,
        due: Time,
        schedule: &Schedule,
    ) -> usize {
        self.queues[queue].totals.scheduled += 1;
        if let Some(before) = self.deadlines.iter().position(|deadline| deadline.id == id) {
            let before = self.deadlines.remove(before);
            self.evicted.retain(|evicted| *evicted != id);
            self.former.push(before);
        }
        self.deadlines.push(Deadline {
            queue_no: self.queues[queue].no,
            queue: schedule.at.queue.clone(),
            key: schedule.at.key.clone(),
            id,
            generation,
            state: State::Pending,
            due,
            created_at: self.now,
            priority: schedule.priority.unwrap_or(DEFAULT_PRIORITY),
            frozen_until: None,
            frozen_for: Span::ZERO,
            outcome: None,
            settled_at: None,
            lapsed_at: None,
            delivery: None,
            payload: schedule.payload.clone().map_or(PayloadAt::None, PayloadAt::Here),
            timeline: vec![Event { at: self.now, what: What::Scheduled { due } }],
        });
        self.deadlines.len() - 1
    }

    fn settled(&mut self, index: usize, outcome: &Outcome) {
        self.tell(index, What::Settled { outcome: outcome.clone() });
        *self.totals(index).settled.entry(outcome.clone()).or_default() += 1;
        let now = self.now;
        let deadline = &mut self.deadlines[index];
        deadline.state = State::Settled;
        deadline.outcome = Some(outcome.clone());
        deadline.settled_at = Some(now);
    }

    fn settle(&mut self, settle: &Settle) -> Answered {
        self.queue(&settle.at.queue)?;
        let Some(index) = self.meet(&settle.at) else { return self.remember(settle) };
        let existing = self.deadlines[index].clone();
        if settle.generation.is_some_and(|wanted| wanted != existing.generation) {
            return Err(Refusal::OtherGeneration(Box::new(existing)));
        }
        let result = match (&existing.state, &existing.delivery) {
            (State::Pending, _) => {
                self.settled(index, &settle.outcome);
                SettleResult::Settled
            }
            (State::Settled, _) if existing.outcome.as_ref() == Some(&settle.outcome) => {
                SettleResult::AlreadySettled
            }
            (State::Settled, _) => SettleResult::SettledOtherwise,
            (State::Lapsed, delivery) => {
                let delivery = delivery.as_ref().expect("a lapse is a duty");
                SettleResult::TooLate(match delivery.state {
                    DeliveryState::Done => Acted::Yes,
                    DeliveryState::Superseded => Acted::Kept,
                    DeliveryState::Dead => Acted::Never,
                    _ if delivery.attempts > 0 => Acted::Maybe,
                    _ => Acted::No,
                })
            }
        };
        Ok(Answer::Settled { result, deadline: self.shown(index) })
    }

    fn remember(&mut self, settle: &Settle) -> Answered {
        if settle.generation.is_some_and(|wanted| wanted != Generation::FIRST) {
            return Err(Refusal::UnknownDeadline);
        }
        let now = self.now;
        let asked = settle.remember.map(|span| now.plus(span.min(Span::from_days(7))));
        let kept = self.remembered.iter_mut().find(|kept| kept.at == settle.at);
        if let Some(kept) = kept.filter(|kept| kept.until > now) {
            kept.until = asked.map_or(kept.until, |asked| asked.max(kept.until));
            kept.outcome = settle.outcome.clone();
            return Ok(Answer::Remembered { until: kept.until });
        }
        let until = asked.ok_or(Refusal::UnknownDeadline)?;
        self.remembered.retain(|kept| kept.at != settle.at);
        let (at, outcome, id) = (settle.at.clone(), settle.outcome.clone(), self.next_id());
        self.remembered.push(Remembered { at, id, outcome, until });
        Ok(Answer::Remembered { until })
    }

    /// A pending deadline that may be given more time.
    fn pending(&mut self, at: &Address) -> Result<usize, Refusal> {
        self.queue(&at.queue)?;
        self.disk()?;
        let index = self.meet(at).ok_or(Refusal::UnknownDeadline)?;
        match self.deadlines[index].state {
            State::Pending => Ok(index),
            State::Settled => Err(Refusal::AlreadySettled(self.shown(index))),
            State::Lapsed => Err(Refusal::TooLate(self.shown(index))),
        }
    }

    fn extend(&mut self, extend: &Extend) -> Answered {
        let index = self.pending(&extend.at)?;
        let deadline = &self.deadlines[index];
        let due = match extend.by {
            ExtendBy::Span(span) => deadline.due.plus(span),
            ExtendBy::After(span) => self.now.plus(span),
            ExtendBy::Due(due) => due,
        };
        if extend.if_due.is_some_and(|if_due| !was_due_so(if_due, deadline.due, due)) {
            return Err(Refusal::DueChanged(self.shown(index)));
        }
        self.move_to(index, due)
    }

    fn move_or_keep(&mut self, index: usize, schedule: &Schedule, if_due: IfDue) -> Answered {
        let existing = self.deadlines[index].clone();
        let queue = self.queue(&existing.queue)?;
        let due = match schedule.when {
            When::Due(due) => due,
            When::After(span) => self.now.plus(span),
            When::Default | When::Kept => {
                let delay = self.queues[queue].policy.default_delay;
                self.now.plus(delay.ok_or(Refusal::NoDueTime)?)
            }
        };
        if was_due_so(if_due, existing.due, due) {
            self.disk()?;
            return self.move_to(index, due);
        }
        Ok(Answer::Scheduled {
            created: false,
            differs: differs(schedule, &existing),
            nobody_acts: self.nobody_acts(queue),
            deadline: Box::new(existing),
        })
    }

    fn move_to(&mut self, index: usize, due: Time) -> Answered {
        let deadline = &self.deadlines[index];
        let latest = deadline.created_at.plus(self.policy(deadline).max_total);
        if due > latest && due > deadline.due {
            return Err(Refusal::MaxTotal { latest });
        }
        if due > self.now.plus(Span::from_days(3_653)) {
            return Err(Refusal::DueTooFar);
        }
        if due < self.now.minus(Span::from_hours(1)) {
            return Err(Refusal::DueInPast);
        }
        if due != deadline.due {
            self.tell(index, What::Extended { due });
            self.deadlines[index].due = due;
        }
        Ok(Answer::Deadline(self.shown(index)))
    }

    fn freeze(&mut self, at: &Address, span: Span) -> Answered {
        let index = self.pending(at)?;
        let deadline = &self.deadlines[index];
        let left_of_freeze =
            deadline.frozen_until.map_or(Span::ZERO, |until| until.since(self.now));
        let used = deadline.frozen_for.minus(left_of_freeze);
        let most = self.policy(deadline).max_freeze;
        if used.plus(span) > most && !span.is_zero() {
            return Err(Refusal::MaxFreeze { left: most.minus(used) });
        }
        if !span.is_zero() || !left_of_freeze.is_zero() {
            let until = self.now.plus(span);
            self.tell(index, What::Frozen { until });
            self.deadlines[index].frozen_until = Some(until);
            self.deadlines[index].frozen_for = used.plus(span);
        }
        Ok(Answer::Deadline(self.shown(index)))
    }

    fn get(&mut self, at: &Address) -> Answered {
        self.queue(&at.queue)?;
        let index = self.meet(at).ok_or(Refusal::UnknownDeadline)?;
        Ok(Answer::Deadline(self.shown(index)))
    }

    fn revive(&mut self, at: &Address) -> Answered {
        self.queue(&at.queue)?;
        let index = self.meet(at).ok_or(Refusal::UnknownDeadline)?;
        let delivery = self.deadlines[index].delivery.as_ref();
        if delivery.is_none_or(|delivery| delivery.state != DeliveryState::Dead) {
            return Err(Refusal::NotDead(self.shown(index)));
        }
        self.tell(index, What::Revived);
        self.totals(index).revived += 1;
        let now = self.now;
        let delivery = self.delivery(index);
        delivery.state = DeliveryState::Ready;
        delivery.next_attempt_at = Some(now);
        delivery.token = None;
        delivery.finished_at = None;
        delivery.ladder = Ladder { attempts: delivery.attempts, since: now };
        Ok(Answer::Deadline(self.shown(index)))
    }

    fn erase(&mut self, at: &Address) -> Answered {
        self.queue(&at.queue)?;
        if let Some(place) = self.remembered.iter().position(|kept| kept.at == *at)
            && self.remembered[place].until > self.now
        {
            self.remembered.remove(place);
            return Ok(Answer::Erased);
        }
        let index = self.meet(at).ok_or(Refusal::UnknownDeadline)?;
        let deadline = &self.deadlines[index];
        let dead = deadline.delivery.as_ref().is_some_and(|of| of.state == DeliveryState::Dead);
        if !deadline.is_final() && !dead {
            return Err(Refusal::StillPending(self.shown(index)));
        }
        let id = deadline.id;
        self.deadlines.remove(index);
        self.former.retain(|former| former.id != id);
        Ok(Answer::Erased)
    }

    fn lease_to_worker(
        &mut self,
        name: &QueueName,
        key: Option<&Key>,
        max: usize,
        span: Span,
    ) -> Answered {
        let queue = self.pulled(name)?;
        if self.storage >= Storage::Full {
            return Err(Refusal::StorageFull);
        }
        self.queues[queue].last_leased_at = Some(self.now);
        if let Some(key) = key {
            self.meet(&Address { queue: name.clone(), key: key.clone() });
        }
        let most = if self.queues[queue].paused { 0 } else { max.min(1_000) };
        let mut wanted = self.waiting(queue);
        wanted.retain(|index| key.is_none_or(|key| self.deadlines[*index].key == *key));
        wanted.truncate(most);
        let span = span.clamp(Span::from_secs(1), Span::from_hours(12));
        Ok(Answer::Leased(self.lease(queue, wanted, span, false)))
    }

    /// Settled if it is pending; done if it has lapsed, is for workers, and nobody holds it.
    fn claim(&mut self, at: &Address, outcome: &Outcome) -> Answered {
        let queue = self.queue(&at.queue)?;
        let met = self.meet(at).filter(|_| self.queues[queue].policy.target == Target::Pull);
        if let Some(index) = met {
            if self.lease_is_over(index) {
                self.retry_or_die(index, "the lease ran out".into(), None, false);
            }
            let state = self.deadlines[index].delivery.as_ref().map(|delivery| delivery.state);
            if matches!(state, Some(DeliveryState::Ready | DeliveryState::Dead)) {
                if self.storage >= Storage::Full {
                    return Err(Refusal::StorageFull);
                }
                self.queues[queue].last_leased_at = Some(self.now);
                if state == Some(DeliveryState::Dead) {
                    self.revive(at)?;
                }
                self.lease(queue, vec![index], Span::ZERO, false);
                self.finish(index, false);
                return Ok(Answer::VerdictTaken(self.shown(index)));
            }
        }
        let (at, outcome) = (at.clone(), outcome.clone());
        self.settle(&Settle { at, outcome, remember: None, generation: None })
    }

    fn look_for_work(&mut self, name: &QueueName, due: &Range<Time>, limit: usize) -> Answered {
        let queue = self.pulled(name)?;
        self.queues[queue].last_leased_at = Some(self.now);
        let nobody = self.queues[queue].paused || self.storage >= Storage::Full;
        let shown = if nobody { 0 } else { limit.min(1_000) };
        let waiting = self.waiting(queue).into_iter();
        let waiting = waiting.filter(|index| due.contains(&self.deadlines[*index].due)).take(shown);
        Ok(Answer::Waiting(waiting.map(|index| self.deadlines[index].clone()).collect()))
    }

    fn pulled(&self, name: &QueueName) -> Result<usize, Refusal> {
        let queue = self.queue(name)?;
        let is_pull = self.queues[queue].policy.target == Target::Pull;
        if is_pull { Ok(queue) } else { Err(Refusal::NotPull) }
    }

    /// The lapsed deadline of a delivery, the latest generation or one before.
    fn lapsed(&self, id: DeliveryId) -> Result<(Option<usize>, Deadline), Refusal> {
        let is_it = |deadline: &Deadline| {
            deadline.delivery.as_ref().is_some_and(|delivery| delivery.id == id)
        };
        let latest = self.deadlines.iter().position(is_it);
        let former = self.former.iter().find(|former| is_it(former)).cloned();
        let found = latest.map(|index| self.deadlines[index].clone()).or(former);
        found.map(|found| (latest, found)).ok_or(Refusal::UnknownDelivery)
    }

    fn verdict(&mut self, id: DeliveryId, token: Token, verdict: &Verdict) -> Answered {
        let (index, deadline) = self.lapsed(id)?;
        let delivery = deadline.delivery.as_ref().expect("it was found by it");
        if let (Some(index), DeliveryState::Leased) = (index, delivery.state)
            && delivery.token == Some(token)
        {
            if self.lease_is_over(index) {
                self.retry_or_die(index, "the lease ran out".into(), None, false);
                return Err(Refusal::LeaseLost);
            }
            match verdict.clone() {
                Verdict::Done => self.finish(index, false),
                Verdict::Superseded => self.finish(index, true),
                Verdict::Retry { error, after } => self.retry_or_die(index, error, after, true),
                Verdict::Dead { error } => self.die(index, error, true),
            }
            return Ok(Answer::VerdictTaken(self.shown(index)));
        }
        let repeated = match delivery.state {
            DeliveryState::Leased => false,
            DeliveryState::Ready => matches!(verdict, Verdict::Retry { .. }),
            DeliveryState::Done => *verdict == Verdict::Done,
            DeliveryState::Superseded => *verdict == Verdict::Superseded,
            DeliveryState::Dead => matches!(verdict, Verdict::Retry { .. } | Verdict::Dead { .. }),
        };
        if repeated && delivery.token == Some(token) {
            Ok(Answer::VerdictTaken(Box::new(deadline)))
        } else {
            Err(Refusal::LeaseLost)
        }
    }

    fn touch(&mut self, id: DeliveryId, token: Token, span: Span) -> Answered {
        let (index, deadline) = self.lapsed(id)?;
        let delivery = deadline.delivery.as_ref().expect("it was found by it");
        let index = index.ok_or(Refusal::LeaseLost)?;
        if delivery.token != Some(token)
            || delivery.state != DeliveryState::Leased
            || self.lease_is_over(index)
        {
            return Err(Refusal::LeaseLost);
        }
        let leased_until = self.now.plus(span.clamp(Span::from_secs(1), Span::from_hours(12)));
        self.delivery(index).leased_until = Some(leased_until);
        Ok(Answer::Touched { leased_until })
    }
}

/// Was it due so that it may be moved?
fn was_due_so(if_due: IfDue, was_due: Time, new: Time) -> bool {
    match if_due {
        IfDue::At(at) => at == was_due,
        IfDue::Other => new != was_due,
        IfDue::Earlier => was_due < new,
        IfDue::Later => was_due > new,
    }
}

/// What of an existing record is not as asked.
fn differs(schedule: &Schedule, existing: &Deadline) -> Vec<&'static str> {
    let mut differs = Vec::new();
    let asked = match schedule.when {
        When::Default | When::Kept => existing.due,
        When::After(span) => existing.created_at.plus(span),
        When::Due(due) => due,
    };
    if asked != existing.due {
        differs.push("due");
    }
    if let Some(asked) = &schedule.payload
        && existing.payload != PayloadAt::Here(asked.clone())
    {
        differs.push("payload");
    }
    if schedule.priority.is_some_and(|asked| asked != existing.priority) {
        differs.push("priority");
    }
    differs
}
