//! What somebody was told must have been so, at some moment between the question and the answer.

use duly_engine::answer::{Answer, Leased, QueueView, Refusal, SettleResult, Totals};
use duly_engine::command::{Command, Extend, ExtendBy, IfDue, IfExists, Settle, Verdict, When};
use duly_engine::deadline::{Acted, Deadline, DeliveryState, PayloadAt, State};
use duly_engine::id::{DeadlineId, Key, QueueName, Seq};
use duly_engine::time::Span;

use super::model::PayloadSeen;
use super::{Moment, Oracle, Promise, digest, number_of};
use crate::markers::Marker;

impl Oracle {
    /// Somebody asked this, then, and is told this now.
    pub(crate) fn answered(&mut self, command: &Command, asked: Moment, answer: &Answer) {
        self.judged += 1;
        self.claim_is_over(command);
        match (command, answer) {
            (_, Answer::Refused(refusal)) => self.refused(command, asked, refusal),
            (Command::Schedule(schedule), Answer::Scheduled { created, deadline, .. }) => {
                self.seen(deadline, asked);
                self.scheduled_answer(schedule, *created, deadline, asked);
            }
            (Command::Settle(settle), Answer::Settled { result, deadline }) => {
                self.seen(deadline, asked);
                self.settled_answer(settle, *result, deadline, asked);
            }
            (Command::Settle(settle), Answer::Remembered { until }) => {
                let there = self.model.entries.values().rev().any(|entry| {
                    let mut kept = entry.remembered_seqs.iter().map(|(_, kept)| kept);
                    entry.at == settle.at && kept.any(|kept| kept == until)
                });
                self.must(Promise::NothingVanishes, there, || {
                    format!("{}: a settle that nobody remembers", settle.at.key)
                });
            }
            (Command::Get(at), Answer::Deadline(deadline)) => {
                self.seen(deadline, asked);
                let same = (&at.queue, &at.key) == (&deadline.queue, &deadline.key);
                self.must(Promise::OneId, same, || {
                    format!("{} asked, {} told", at.key, deadline.key)
                });
            }
            (Command::Extend(extend), Answer::Deadline(deadline)) => {
                self.seen(deadline, asked);
                let done = self.is_extended(extend, deadline, asked);
                self.must(
                    Promise::ExplicitRefusal,
                    done && deadline.state == State::Pending,
                    || format!("{}: extended and is not", extend.at.key),
                );
            }
            (Command::Freeze { .. } | Command::Revive(_), Answer::Deadline(deadline)) => {
                self.seen(deadline, asked);
            }
            (Command::Erase(at), Answer::Erased) => {
                let erased = self.model.entries.values().rev().any(|entry| {
                    entry.at == *at && entry.erased.is_some_and(|seq| seq > asked.seq)
                });
                self.must(Promise::ExplicitRefusal, erased, || format!("{} is not erased", at.key));
            }
            (Command::Lease { key, max, .. }, Answer::Leased(deliveries)) => {
                self.given(key.as_ref(), *max, deliveries, asked);
            }
            (Command::Waiting { queue, limit, .. }, Answer::Waiting(found)) => {
                self.waiting(queue, *limit, found, asked);
            }
            (Command::Verdict { verdict, .. }, Answer::VerdictTaken(deadline)) => {
                self.seen(deadline, asked);
                self.verdict_answer(verdict, deadline);
            }
            (Command::Touch { delivery, .. }, Answer::Touched { leased_until }) => {
                let life = self.model.life(delivery.deadline, delivery.generation);
                let known = life.and_then(|life| life.deadline.delivery.as_ref());
                let moved_on = known.is_none_or(|one| one.leased_until != Some(*leased_until));
                let gone = known.is_none_or(|one| one.state != DeliveryState::Leased);
                let now = self.now();
                self.must(Promise::AtLeastOnce, !moved_on || gone || *leased_until <= now, || {
                    format!("{delivery} was touched and its lease is another")
                });
            }
            (_, Answer::Queue(view)) => self.queue_view(view, asked),
            (Command::ListQueues, Answer::Queues(views)) => {
                for view in views {
                    self.queue_view(view, asked);
                }
            }
            (Command::Scan(scan), Answer::Scanned { found, next_slot }) => {
                for deadline in found {
                    self.seen(deadline, asked);
                }
                let whole = next_slot.is_none() && scan.from_slot == 0 && found.len() < scan.limit;
                if whole
                    && scan.filter == duly_engine::command::Filter::default()
                    && scan.after.is_none()
                {
                    self.nobody_is_missing(scan.queue.as_ref(), found, asked);
                }
            }
            (Command::GetClock | Command::ConfirmClock, Answer::Clock(view)) => {
                let now = self.now();
                self.must(Promise::Clock, view.now <= now, || "a time that is to come".into());
            }
            (Command::DeleteQueue(_), Answer::QueueDeleted)
            | (Command::Shift { .. }, Answer::Shift(_))
            | (Command::Count(_), Answer::Counted { .. }) => {}
            (command, answer) => {
                let what = format!("{command:?} was answered with {answer:?}");
                self.violated(Promise::ExplicitRefusal, what);
            }
        }
    }

    /// Is a deadline due when an extension says?
    fn is_extended(&self, extend: &Extend, deadline: &Deadline, asked: Moment) -> bool {
        match extend.by {
            ExtendBy::Due(due) => due == deadline.due,
            ExtendBy::After(span) => {
                self.steps_since(asked).any(|step| step.at.plus(span) == deadline.due)
            }
            ExtendBy::Span(by) => match extend.if_due {
                Some(IfDue::At(had)) => had.plus(by) == deadline.due,
                _ => true,
            },
        }
    }

    /// A record was shown: it must have looked so at some moment since the question.
    pub(super) fn seen(&mut self, deadline: &Deadline, asked: Moment) {
        let (id, generation) = (deadline.id, deadline.generation);
        let to = self.model.seq;
        let now = self.now();
        let Some(life) = self.model.life(id, generation) else {
            let what = format!("number {} generation {} never was", id.0, generation.0);
            return self.violated(Promise::DurableBeforeTold, what);
        };
        let looked = life.looked(digest::of(deadline), asked.seq, to);
        let payload = match &deadline.payload {
            PayloadAt::None => life.payload.is_none(),
            PayloadAt::Stored(stored) => {
                let seen =
                    PayloadSeen { kind: stored.kind, hash: stored.hash, bytes: stored.bytes };
                life.payload == Some(seen)
            }
            PayloadAt::Here(payload) => life.payload.is_some_and(|seen| {
                seen.hash == payload.hash() && seen.bytes as usize == payload.bytes.len()
            }),
            PayloadAt::Gone => deadline
                .finished_at()
                .is_some_and(|ended| self.model.may_be_gone(&deadline.queue, ended, now).1),
        };
        let known = (!looked).then(|| (life.deadline.clone(), life.versions.clone()));
        let given = life.payload;
        let kept = self.model.kept.get(&deadline.queue).cloned();
        self.must(Promise::NothingVanishes, payload, || {
            let ended = deadline.finished_at();
            format!(
                "{}: told at {} another payload than was given\n  told  {:?}\n  given {given:?}\n  \
                 ended {ended:?}\n  kept  {kept:?}",
                deadline.key,
                now.millis(),
                deadline.payload
            )
        });
        if let Some((known, versions)) = known {
            let versions: Vec<Seq> = versions.iter().map(|(seq, _)| *seq).collect();
            let what = format!(
                "{}: told what was not so since fact {}, until {to}\n  told  {deadline:?}\n  known {known:?}\n  versions {versions:?}",
                deadline.key, asked.seq
            );
            self.violated(Promise::OneWinner, what);
        }
    }

    fn scheduled_answer(
        &mut self,
        schedule: &duly_engine::command::Schedule,
        created: bool,
        deadline: &Deadline,
        asked: Moment,
    ) {
        let begun = self
            .model
            .life(deadline.id, deadline.generation)
            .is_some_and(|life| life.begun > asked.seq);
        let key = &schedule.at.key;
        if !created {
            self.not_applied(schedule);
            let keeps = match schedule.if_exists {
                IfExists::Keep => true,
                IfExists::Renew | IfExists::Move(_) => !deadline.is_final(),
                IfExists::Replace | IfExists::Fail => false,
            };
            let keeps = keeps
                && schedule.over.is_none_or(|over| {
                    over == deadline.generation && deadline.state == State::Pending
                });
            return self.must(Promise::ExplicitRefusal, keeps, || format!("{key} was kept"));
        }
        let due = match schedule.when {
            When::After(span) => deadline.created_at.plus(span) == deadline.due,
            When::Due(due) => due == deadline.due,
            When::Default | When::Kept => true,
        };
        let follows = schedule.over.is_none_or(|over| over.next() == deadline.generation);
        let as_asked =
            due && follows && schedule.priority.is_none_or(|asked| asked == deadline.priority);
        self.must(Promise::ExplicitRefusal, begun && as_asked, || {
            format!("{key} was created not as asked: {deadline:?}")
        });
        let number = schedule.payload.as_ref().and_then(|payload| number_of(&payload.bytes));
        let applied = number.and_then(|number| self.requests.get(number)).map(|one| one.applied);
        self.must(Promise::DurableBeforeTold, applied != Some(0), || format!("{key} is not there"));
    }

    /// A schedule that was not carried out may not be, later.
    pub(super) fn not_applied(&mut self, schedule: &duly_engine::command::Schedule) {
        let Some(request) = self.request_of(schedule.payload.as_ref()) else { return };
        request.may_apply -= 1;
        let (applied, most) = (request.applied, request.may_apply);
        self.must(Promise::ExplicitRefusal, applied <= most, || {
            format!("{}: refused and carried out", schedule.at.key)
        });
    }

    fn settled_answer(
        &mut self,
        settle: &Settle,
        result: SettleResult,
        deadline: &Deadline,
        asked: Moment,
    ) {
        let key = &settle.at.key;
        let won = deadline.state == State::Settled;
        let same = deadline.outcome.as_ref() == Some(&settle.outcome);
        let right = match result {
            SettleResult::Settled | SettleResult::AlreadySettled => won && same,
            SettleResult::SettledOtherwise => won && !same,
            SettleResult::TooLate(acted) => {
                let delivery = deadline.delivery.as_ref();
                let expected = delivery.map(|delivery| match delivery.state {
                    DeliveryState::Done => Acted::Yes,
                    DeliveryState::Superseded => Acted::Kept,
                    DeliveryState::Dead => Acted::Never,
                    DeliveryState::Ready | DeliveryState::Leased if delivery.attempts > 0 => {
                        Acted::Maybe
                    }
                    DeliveryState::Ready | DeliveryState::Leased => Acted::No,
                });
                deadline.state == State::Lapsed && expected == Some(acted)
            }
        };
        self.must(Promise::OneWinner, right, || format!("{key}: {result:?} of {deadline:?}"));
        if let Some(generation) = settle.generation {
            self.must(Promise::OneWinner, generation == deadline.generation, || {
                format!("{key}: another generation was settled than was asked")
            });
        }
        if let SettleResult::TooLate(_) = result {
            let lost_by = deadline.lapsed_at.map(|lapsed| self.now().since(lapsed));
            let lapsed =
                deadline.timeline.last().is_some_and(|event| event.what.word() == "lapsed");
            if lapsed && lost_by == Some(Span::ZERO) {
                self.mark(Marker::SettleWritesLapse);
            }
            let ended =
                self.model.life(deadline.id, deadline.generation).map(|life| &life.versions);
            let lapse_seq = ended.and_then(|versions| versions.get(1)).map(|(seq, _)| *seq);
            if lapse_seq.is_some_and(|seq| seq > asked.seq) {
                self.mark(Marker::SettleLostWhileUnderWay);
            }
            return;
        }
        if result == SettleResult::Settled
            && let Some(life) = self.model.life_mut(deadline.id, deadline.generation)
        {
            let fresh = life.finished.is_some_and(|seq| seq > asked.seq);
            let again = std::mem::replace(&mut life.claimed, true);
            self.must(Promise::OneWinner, fresh && !again, || {
                format!("{key}: two were told that they won")
            });
        }
    }

    /// A worker was given these, and has asked for them.
    fn given(&mut self, key: Option<&Key>, max: usize, given: &[Leased], asked: Moment) {
        for delivery in given {
            self.handed(delivery, asked.seq);
        }
        let meant = given.iter().all(|one| key.is_none_or(|key| one.key == *key));
        self.must(Promise::ExplicitRefusal, meant && given.len() <= max, || {
            format!("{key:?} was asked for, {max} at most, and given are {given:?}")
        });
    }

    /// A delivery was handed to somebody.
    pub(crate) fn handed(&mut self, leased: &Leased, since: Seq) {
        let life = self.model.life(leased.id.deadline, leased.id.generation);
        let Some(life) = life else {
            let what = format!("{} was handed out and never lapsed durably", leased.id);
            return self.violated(Promise::NoGhost, what);
        };
        let settled = life.deadline.state == State::Settled;
        let known = life.leases.iter().find(|(seq, _)| *seq == leased.token.0);
        let attempt = known.map(|(_, attempt)| *attempt);
        let fresh = leased.token.0 > since && attempt == Some(leased.attempt);
        let same_id = leased.id == self.model.delivery_id(&life.deadline);
        let lapsed = life.deadline.lapsed_at == Some(leased.lapsed_at);
        let same = lapsed && life.deadline.key == leased.key && life.deadline.due == leased.due;
        let payload = match &leased.payload {
            PayloadAt::Stored(stored) => life.payload.is_some_and(|seen| seen.hash == stored.hash),
            PayloadAt::Here(payload) => {
                life.payload.is_some_and(|seen| seen.hash == payload.hash())
            }
            PayloadAt::None => life.payload.is_none(),
            PayloadAt::Gone => false,
        };
        self.must(Promise::NoGhost, !settled, || {
            format!("{} is settled, and attempted", leased.id)
        });
        self.must(Promise::OneId, same_id, || format!("{} has another id", leased.id));
        self.must(Promise::AtLeastOnce, fresh && same, || {
            format!("{}: attempt {} is not durable, or not this one", leased.id, leased.attempt)
        });
        self.must(Promise::NothingVanishes, payload, || format!("{}: another payload", leased.id));
    }

    /// Who waits was shown, and whose turn is first is first.
    fn waiting(&mut self, queue: &QueueName, limit: usize, found: &[Deadline], asked: Moment) {
        for deadline in found {
            self.seen(deadline, asked);
        }
        let ready = |deadline: &Deadline| match &deadline.delivery {
            Some(delivery) => delivery.state == DeliveryState::Ready,
            None => deadline.state == State::Pending,
        };
        let all_wait = found.iter().all(|one| one.queue == *queue && ready(one));
        let in_turn = found.is_sorted_by_key(|one| (one.priority, one.due, one.id));
        self.must(Promise::ExplicitRefusal, all_wait && in_turn && found.len() <= limit, || {
            format!("{limit} of those who wait in {queue} are not {found:?}")
        });
    }

    fn verdict_answer(&mut self, verdict: &Verdict, deadline: &Deadline) {
        let state = deadline.delivery.as_ref().map(|delivery| delivery.state);
        let right = match (verdict, state) {
            (Verdict::Done, Some(DeliveryState::Done))
            | (Verdict::Superseded, Some(DeliveryState::Superseded))
            | (Verdict::Dead { .. }, Some(DeliveryState::Dead)) => true,
            (Verdict::Retry { .. }, Some(state)) => {
                matches!(state, DeliveryState::Ready | DeliveryState::Dead)
            }
            _ => false,
        };
        self.must(Promise::AtLeastOnce, right, || {
            format!("{}: {verdict:?} was taken, and it is {state:?}", deadline.key)
        });
    }

    fn queue_view(&mut self, view: &QueueView, asked: Moment) {
        if self.was_arranged(&view.queue, asked) {
            // Another queue may go by the name by now.
            return;
        }
        let Some(no) = self.model.by_name.get(&view.queue) else { return };
        let Some(queue) = self.model.queues.get(no) else { return };
        let within = no_more(&view.total, &queue.totals);
        self.must(Promise::Counting, within, || {
            format!("queue {} counts what has not happened: {:?}", view.queue, view.total)
        });
    }

    /// A whole list: nothing that was pending all the time is missing.
    fn nobody_is_missing(&mut self, queue: Option<&QueueName>, found: &[Deadline], asked: Moment) {
        let listed: std::collections::BTreeSet<DeadlineId> =
            found.iter().map(|deadline| deadline.id).collect();
        let mut queues = self.model.by_name.iter();
        let missing = queues.find_map(|(name, no)| {
            let held = &self.model.queues.get(no)?.live;
            let mut held = held.iter().filter(|_| queue.is_none_or(|queue| queue == name));
            let missing = held.find(|id| {
                let life = self.model.current(**id);
                life.is_some_and(|life| life.begun <= asked.seq) && !listed.contains(id)
            })?;
            Some((name.clone(), *missing))
        });
        self.must(Promise::NothingVanishes, missing.is_none(), || {
            format!("a list of {queue:?} lacks {missing:?}")
        });
    }

    /// A payload was read: it is, byte for byte, what somebody gave.
    pub(crate) fn read(
        &mut self,
        deadline: (DeadlineId, duly_engine::id::Generation),
        at: &PayloadAt,
    ) {
        let PayloadAt::Here(payload) = at else { return };
        let number = number_of(&payload.bytes);
        let given = number.and_then(|number| self.requests.get(number)).map(|one| &one.payload);
        let same = given == Some(payload);
        self.must(Promise::NothingVanishes, same, || {
            format!("number {}: the payload read is not what was given", deadline.0.0)
        });
    }

    /// A refusal that shows a record.
    pub(super) fn refusal_shows(&mut self, refusal: &Refusal, asked: Moment) {
        if let Some(deadline) = refusal.clone().deadline_mut() {
            self.seen(deadline, asked);
        }
    }
}

/// Is nothing of it more than what there is?
fn no_more(told: &Totals, known: &Totals) -> bool {
    let settled = |totals: &Totals| totals.settled.values().sum::<u64>();
    let all = |totals: &Totals| {
        [
            totals.scheduled,
            totals.replaced,
            settled(totals),
            totals.lapsed,
            totals.attempts,
            totals.retried,
            totals.done,
            totals.superseded,
            totals.died,
            totals.revived,
        ]
    };
    all(told).iter().zip(all(known)).all(|(told, known)| *told <= known)
}
