//! Every fact, judged when it has become durable: was it allowed to happen?
//!
//! The time of a fact is that of its record; whether lapsing was withheld follows from the facts
//! before it and from how much room the disk had in its step.

mod about;

use duly_engine::command::Address;
use duly_engine::deadline::{Deadline, DeliveryState, PayloadAt, State};
use duly_engine::fact::{Base, Fact, PayloadField};
use duly_engine::id::{DeadlineId, Generation, Key, QueueNo, Seq};
use duly_engine::limits::RECOVERY;
use duly_engine::queue::DecideAt;
use duly_engine::record;
use duly_engine::time::Time;

use super::model::{self, Entry, Life, PayloadSeen, Queue, Remembered};
use super::{Digest, Oracle, Pending, Promise, number_of};
use crate::markers::Marker;

/// One fact and what it was made among.
#[derive(Clone, Copy)]
struct Made<'a> {
    seq: Seq,
    at: Time,
    /// The facts of its record as bytes.
    bytes: &'a [u8],
    /// Lapses and leases wait for room on the disk.
    is_full: bool,
    /// The fact after it in its record.
    next: Option<&'a Fact>,
    /// The fact before it in its record.
    before: Option<&'a Fact>,
    /// The time of the step before.
    stopped: Time,
}

impl Oracle {
    /// A record has become durable.
    pub(super) fn take(&mut self, pending: Pending) {
        let Pending { written, spares, has_room, stopped } = pending;
        self.records.push((written.first_seq, digest_of(&written.facts)));
        let at = Time::from_millis(written.time_ms);
        let expected = self.model.seq + 1;
        self.must(Promise::Order, written.first_seq == expected, || {
            format!("a record begins with fact {}, not {expected}", written.first_seq)
        });
        let before = self.model.at;
        self.must(Promise::Clock, at >= before, || {
            format!("journal time ran back from {} to {}", before.millis(), at.millis())
        });
        let facts: Result<Vec<Fact>, _> = record::read(&written.facts).collect();
        let facts = match facts {
            Ok(facts) => facts,
            Err(undecodable) => return self.violated(Promise::Order, format!("{undecodable}")),
        };
        for (index, fact) in facts.iter().enumerate() {
            let made = Made {
                seq: written.first_seq + index as u64,
                at,
                bytes: &written.facts,
                is_full: spares < 2 || !has_room,
                next: facts.get(index + 1),
                stopped,
                before: index.checked_sub(1).and_then(|index| facts.get(index)),
            };
            self.fact(fact, made);
            self.facts += 1;
            self.model.seq = made.seq;
        }
        self.model.at = at;
    }

    fn fact(&mut self, fact: &Fact, made: Made<'_>) {
        match fact {
            Fact::Base(base) => self.base(base, made),
            Fact::Opened { recovery_until } => self.opened(*recovery_until, made),
            Fact::Alive => {}
            Fact::Guard(guard) => self.model.guard = *guard,
            Fact::QueueSet { queue, name, policy, declared } => {
                self.model.arranged.insert(name.clone(), made.seq);
                let kept = self.model.kept.entry(name.clone()).or_default();
                kept.push((made.at, policy.retention, policy.payload_retention));
                if let Some(known) = self.model.queues.get_mut(queue) {
                    if known.policy.grace != policy.grace
                        || known.policy.decide_at != policy.decide_at
                    {
                        self.markers.reach(Marker::PolicyRearms);
                    }
                    if known.policy.rate != policy.rate {
                        known.handed.clear();
                    }
                    (known.policy, known.declared) = ((**policy).clone(), *declared);
                    return;
                }
                let next = self.model.next_queue;
                let is_free = !self.model.by_name.contains_key(name);
                self.must(Promise::OneId, *queue == next && is_free, || {
                    format!("queue {name} came to be as {}, not {}", queue.0, next.0)
                });
                self.model.next_queue = QueueNo(queue.0 + 1);
                let born = Queue::new(name.clone(), (**policy).clone(), *declared);
                self.model.insert_queue(*queue, born);
            }
            Fact::QueueDeleted { queue } => self.queue_deleted(*queue, made),
            Fact::QueuePaused { queue, deliveries, lapses } => {
                if let Some(queue) = self.model.queues.get_mut(queue) {
                    (queue.paused, queue.lapse_paused) = (*deliveries, *lapses);
                }
            }
            Fact::ShiftBegun { queue, shift } => self.shift(*queue, Some(*shift)),
            Fact::ShiftAdvanced { queue, cursor, moved } => {
                if let Some(one) = self.model.queues.get_mut(queue)
                    && let Some(shift) = &mut one.shift
                {
                    (shift.cursor, shift.moved) = (*cursor, *moved);
                }
            }
            Fact::ShiftEnded { queue } => self.shift(*queue, None),
            Fact::Scheduled { .. } => self.scheduled(fact, made),
            Fact::Remembered { queue, id, key, outcome, until } => {
                let waits = Remembered { queue: *queue, outcome: outcome.clone(), until: *until };
                self.remembered(*id, key, waits, made);
            }
            Fact::Restated { deadline, payload } => self.restated(deadline, payload, made),
            Fact::Erased { queue, id } => self.erased(*queue, *id, made),
            about => self.about(about, made),
        }
    }

    // What is not about one deadline.

    fn base(&mut self, base: &Base, made: Made<'_>) {
        let model = &self.model;
        if made.seq == 1 {
            return;
        }
        let mut wrong = Vec::new();
        let mut compare = |same: bool, what: &str| {
            if !same {
                wrong.push(what.to_owned());
            }
        };
        compare(base.next_id == model.next_id, "the next number of a deadline");
        compare(base.next_queue == model.next_queue, "the next number of a queue");
        compare(base.guard == model.guard, "the clock guard");
        compare(base.opened_at == model.opened_at, "the opening");
        compare(base.recovery_until == model.recovery_until, "the head start");
        compare(base.queues.len() == model.queues.len(), "how many queues there are");
        for one in &base.queues {
            let Some(known) = model.queues.get(&one.queue) else {
                compare(false, one.name.as_str());
                continue;
            };
            let rules = (&one.policy, one.declared, one.paused, one.lapse_paused);
            let same = rules == (&known.policy, known.declared, known.paused, known.lapse_paused);
            compare(same && one.name == known.name, "the rules of a queue");
            if one.totals != known.totals {
                compare(false, &format!("{:?} for {:?}", one.totals, known.totals));
            }
            // Passing over numbers that are long over is no fact.
            let begun =
                |shift: &duly_engine::fact::Shift| (shift.from, shift.to, shift.by_ms, shift.moved);
            compare(one.shift.as_ref().map(begun) == known.shift.as_ref().map(begun), "a shift");
        }
        if !self.model.entries.is_empty() && self.model.queues.len() > 2 {
            self.markers.reach(Marker::BaseWithLabels);
        }
        self.must(Promise::Counting, wrong.is_empty(), || {
            format!("the base at fact {} is wrong in: {}", made.seq, wrong.join("; "))
        });
    }

    fn opened(&mut self, recovery_until: Time, made: Made<'_>) {
        let stopped = if self.model.at == Time::ZERO { made.at } else { made.stopped };
        let least = made.at.plus(made.at.since(stopped).min(RECOVERY));
        let least = least.max(self.model.recovery_until);
        if self.model.recovery_until > made.at && least > made.at {
            self.markers.reach(Marker::HeadStartProlonged);
        }
        self.must(Promise::HeadStart, recovery_until >= least, || {
            let lacks = least.since(recovery_until);
            format!("opened with a head start that is too short by {lacks}")
        });
        let most = self.model.recovery_until.max(made.at.plus(RECOVERY));
        self.must(Promise::HeadStart, recovery_until <= most, || {
            format!("opened with a head start of {}", recovery_until.since(made.at))
        });
        (self.model.opened_at, self.model.recovery_until) = (made.at, recovery_until);
        self.model.queues.values_mut().for_each(|queue| queue.handed.clear());
    }

    fn queue_deleted(&mut self, no: QueueNo, made: Made<'_>) {
        let Some(queue) = self.model.queues.remove(&no) else {
            return self.violated(Promise::Order, format!("queue {} went twice", no.0));
        };
        self.model.by_name.remove(&queue.name);
        self.model.arranged.insert(queue.name.clone(), made.seq);
        let rest = duly_engine::queue::Policy::default();
        let kept = self.model.kept.entry(queue.name.clone()).or_default();
        kept.push((made.at, rest.retention, rest.payload_retention));
        let left = queue.live.len();
        self.must(Promise::NothingVanishes, left == 0, || {
            format!("queue {} was removed with {left} deadlines in it", queue.name)
        });
    }

    fn shift(&mut self, no: QueueNo, shift: Option<duly_engine::fact::Shift>) {
        if let Some(queue) = self.model.queues.get_mut(&no) {
            queue.shift = shift;
        }
    }

    // What begins a record, states it anew or ends it for good.

    fn scheduled(&mut self, fact: &Fact, made: Made<'_>) {
        let Fact::Scheduled { queue, id, generation, key, due, priority, replaces, payload } = fact
        else {
            return;
        };
        let Some(at) = self.address(*queue, key) else { return };
        let seen = self.payload_seen(payload, made.bytes);
        let before = self.model.by_key.get(&at).copied();
        let known = before.filter(|before| {
            self.model.entries.get(before).is_some_and(|entry| entry.erased.is_none())
        });
        match known {
            Some(known) if known == *id => self.next_life(*id, *generation, *replaces, made),
            _ => {
                if let Some(known) = known {
                    self.may_be_forgotten(known, made.at);
                }
                let next = self.model.next_id;
                let is_new = *id == next && *generation == Generation::FIRST && !replaces;
                self.must(Promise::OneId, is_new, || {
                    format!("{} began as number {} generation {}", key, id.0, generation.0)
                });
                self.model.next_id = DeadlineId(id.0 + 1);
                self.model.entries.insert(*id, Entry::new(at.clone()));
                self.model.by_key.insert(at.clone(), *id);
            }
        }
        let deadline = model::begun(*queue, &at, *id, *generation, *due, made.at, *priority);
        if let Some(entry) = self.model.entries.get_mut(id) {
            entry.remembered = None;
            entry.lives.push(Life::new(deadline, seen, made.seq));
        }
        if let Some(queue) = self.model.queues.get_mut(queue) {
            queue.live.insert(*id);
            queue.totals.scheduled += 1;
            queue.totals.replaced += u64::from(*replaces);
        }
        self.applied(payload, made);
    }

    fn next_life(
        &mut self,
        id: DeadlineId,
        generation: Generation,
        replaces: bool,
        made: Made<'_>,
    ) {
        let Some(entry) = self.model.entries.get(&id) else { return };
        let Some(last) = entry.lives.last() else {
            let waits = entry.remembered.as_ref().is_some_and(|one| one.until > made.at);
            let born = generation == Generation::FIRST && (!waits || settles(made.next, id));
            self.must(Promise::OneWinner, born, || {
                format!("number {} was remembered as settled and is not born so", id.0)
            });
            if waits {
                self.markers.reach(Marker::BornSettled);
            }
            return;
        };
        let was_pending = last.deadline.state == State::Pending;
        let may = was_pending || last.finished.is_some();
        let is_next = generation == last.deadline.generation.next();
        let was_over = was_pending && self.is_over(&last.deadline, made);
        self.must(Promise::OneWinner, may && is_next && replaces == was_pending, || {
            format!("number {} began generation {} while {:?}", id.0, generation.0, last_state(id))
        });
        self.must(Promise::OneWinner, !was_over, || {
            format!("number {} was replaced after it was over", id.0)
        });
    }

    /// The payload of a schedule is that of its request, and the request is carried out no more often
    /// than it was sent.
    fn applied(&mut self, payload: &PayloadField, made: Made<'_>) {
        let PayloadField::At { offset, bytes, kind, .. } = payload else { return };
        let begin = *offset as usize;
        let Some(bytes) = made.bytes.get(begin..begin + *bytes as usize) else {
            return self.violated(Promise::NothingVanishes, "a payload beyond its record".into());
        };
        let Some(number) = number_of(bytes) else {
            return self.violated(Promise::NothingVanishes, "a payload nobody sent".into());
        };
        let Some(request) = self.requests.get_mut(number) else { return };
        request.applied += 1;
        let same = request.payload.bytes.as_ref() == bytes && request.payload.kind == *kind;
        let (applied, most) = (request.applied, request.may_apply);
        self.must(Promise::NothingVanishes, same, || {
            format!("the payload of request {number} is not what was sent")
        });
        self.must(Promise::ExplicitRefusal, applied <= most, || {
            format!("request {number} was carried out {applied} times, which may be {most}")
        });
    }

    fn remembered(&mut self, id: DeadlineId, key: &Key, waits: Remembered, made: Made<'_>) {
        let Some(at) = self.address(waits.queue, key) else { return };
        let known = self.model.entries.get(&id);
        let fits = match known {
            Some(entry) => entry.lives.is_empty() && entry.erased.is_none() && entry.at == at,
            None => id == self.model.next_id,
        };
        let is_new = known.is_none();
        self.must(Promise::OneId, fits, || {
            format!("{key} is remembered as number {}, which is taken", id.0)
        });
        if is_new {
            let before = self.model.by_key.get(&at).copied();
            if let Some(before) = before {
                self.may_be_forgotten(before, made.at);
            }
            self.model.next_id = DeadlineId(id.0 + 1);
            self.model.by_key.insert(at.clone(), id);
        }
        let entry = self.model.entries.entry(id).or_insert_with(|| Entry::new(at));
        entry.remembered_seqs.push((made.seq, waits.until));
        entry.remembered = Some(waits);
    }

    /// A deadline's key has been given to another: that may be only when nothing of it is kept.
    fn may_be_forgotten(&mut self, id: DeadlineId, now: Time) {
        let Some(entry) = self.model.entries.get(&id) else { return };
        if entry.erased.is_some() {
            return;
        }
        let forgotten = match entry.lives.last() {
            None => entry.remembered.as_ref().is_none_or(|one| one.until <= now),
            Some(life) => {
                let ended = life.deadline.finished_at().filter(|_| life.finished.is_some());
                ended
                    .is_some_and(|ended| self.model.may_be_gone(&life.deadline.queue, ended, now).0)
            }
        };
        let name = entry.at.key.clone();
        self.must(Promise::NothingVanishes, forgotten, || {
            format!("{name}: number {} is forgotten though it is kept", id.0)
        });
    }

    fn restated(&mut self, stated: &Deadline, payload: &PayloadField, made: Made<'_>) {
        let seen = self.payload_seen(payload, made.bytes);
        let Some(life) = self.model.current(stated.id) else {
            let what = format!("number {} is stated anew and does not exist", stated.id.0);
            return self.violated(Promise::Order, what);
        };
        let mut known = life.deadline.clone();
        known.payload = PayloadAt::None;
        let mut stated = stated.clone();
        stated.payload = PayloadAt::None;
        let same_payload = seen == life.payload;
        let is_final = life.finished.is_some();
        let same = known == stated;
        self.must(Promise::Order, same && !is_final, || {
            format!("stated anew is {stated:?}\n  known is {known:?}")
        });
        self.must(Promise::NothingVanishes, same_payload, || {
            format!("number {} is stated anew with another payload", stated.id.0)
        });
        self.markers.reach(Marker::Restated);
        if stated.delivery.is_some() {
            self.markers.reach(Marker::RestatedInDelivery);
        }
    }

    fn erased(&mut self, no: QueueNo, id: DeadlineId, made: Made<'_>) {
        let Some(entry) = self.model.entries.get_mut(&id) else {
            return self.violated(Promise::Order, format!("number {} erased before it was", id.0));
        };
        let may = entry.lives.last().is_none_or(|life| {
            life.finished.is_some() || life.delivery_state() == Some(DeliveryState::Dead)
        });
        let last = entry.lives.last().and_then(|life| life.finished);
        if last.is_some_and(|seq| seq <= self.archived) {
            self.markers.reach(Marker::EraseArchived);
        }
        let was = entry.erased.replace(made.seq);
        entry.remembered = None;
        let at = entry.at.clone();
        if self.model.by_key.get(&at) == Some(&id) {
            self.model.by_key.remove(&at);
        }
        if let Some(queue) = self.model.queues.get_mut(&no) {
            queue.live.remove(&id);
        }
        self.must(Promise::NothingVanishes, may && was.is_none(), || {
            format!("number {} was erased before its end, or twice", id.0)
        });
    }

    // What helps to judge.

    /// Is lapsing withheld in this queue?
    fn is_withheld(&self, no: QueueNo, made: Made<'_>) -> bool {
        let paused = self.model.queues.get(&no).is_some_and(|queue| queue.lapse_paused);
        self.model.guard.is_some() || made.is_full || paused
    }

    /// Is a pending deadline over, so that only its lapse can come?
    fn is_over(&self, deadline: &Deadline, made: Made<'_>) -> bool {
        let queue = self.model.queues.get(&deadline.queue_no);
        queue.is_some_and(|queue| queue.policy.decide_at == DecideAt::Due)
            && !self.is_withheld(deadline.queue_no, made)
            && self.model.lapse_at(deadline) <= made.at
    }

    fn address(&mut self, no: QueueNo, key: &Key) -> Option<Address> {
        let name = self.model.queues.get(&no).map(|queue| queue.name.clone());
        if name.is_none() {
            self.violated(Promise::Order, format!("{key} is in queue {}, which is not", no.0));
        }
        name.map(|queue| Address { queue, key: key.clone() })
    }

    fn payload_seen(&mut self, payload: &PayloadField, facts: &[u8]) -> Option<PayloadSeen> {
        let PayloadField::At { offset, bytes, kind, hash } = payload else { return None };
        let begin = *offset as usize;
        let there = facts.get(begin..begin + *bytes as usize);
        let right = there.is_some_and(|there| {
            let payload = duly_engine::deadline::Payload { kind: *kind, bytes: there.into() };
            payload.hash() == *hash
        });
        self.must(Promise::NothingVanishes, right, || "a payload is not where it should be".into());
        Some(PayloadSeen { kind: *kind, hash: *hash, bytes: *bytes })
    }
}

fn settles(fact: Option<&Fact>, id: DeadlineId) -> bool {
    matches!(fact, Some(Fact::Settled { id: settled, .. }) if *settled == id)
}

/// What a record was, for a message.
fn last_state(id: DeadlineId) -> String {
    format!("number {} was under way", id.0)
}

/// Tells records apart.
pub(super) fn digest_of(facts: &[u8]) -> u64 {
    let mut digest = Digest::new();
    digest.bytes(facts);
    digest.value()
}
