//! Every fact, judged when it has become durable: was it allowed to happen?
//!
//! The time of a fact is that of its record; whether lapsing was withheld follows from the facts
//! before it and from how much room the disk had in its step.

use duly_engine::deadline::{Deadline, DeliveryState, Ladder, PayloadAt, State, What};
use duly_engine::fact::{Base, Fact, PayloadField};
use duly_engine::id::{DeadlineId, Generation, Key, Outcome, QueueNo, Seq, Token};
use duly_engine::command::Address;
use duly_engine::limits::{RECOVERY, RETRY_AFTER};
use duly_engine::queue::{DecideAt, Target};
use duly_engine::record;
use duly_engine::time::{Span, Time};

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
                let waits =
                    Remembered { queue: *queue, outcome: outcome.clone(), until: *until };
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
            let begun = |shift: &duly_engine::fact::Shift| (shift.from, shift.to, shift.by_ms, shift.moved);
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
        let deadline =
            model::begun(*queue, &at, *id, *generation, *due, made.at, *priority);
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

    fn next_life(&mut self, id: DeadlineId, generation: Generation, replaces: bool, made: Made<'_>) {
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
                ended.is_some_and(|ended| {
                    self.model.may_be_gone(&life.deadline.queue, ended, now).0
                })
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

    // What happens to one generation.

    fn about(&mut self, fact: &Fact, made: Made<'_>) {
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
        self.count(fact, no, id, is_final, made);
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
        let promise =
            if lapse_at == self.model.recovery_until { Promise::HeadStart } else { Promise::NeverEarly };
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
                Some(Fact::Leased { id: next, .. } | Fact::Delivered { id: next, .. }) => *next == id,
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
            format!("number {} was handed out while {:?} {:?}", id.0, deadline.state, deadline.delivery)
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

    /// Nobody of the same queue who is ready goes before.
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
                waits += u32::from(is_ready && one.priority > deadline.priority && one.due < deadline.due);
                is_ready && (one.priority, one.due, one.id) < turn
            })
        });
        let passed_over = passed_over.copied();
        if waits > 0 {
            self.markers.reach(Marker::PriorityBeforeAge);
        }
        self.must(Promise::OneBadTarget, passed_over.is_none(), || {
            format!("number {} went before {passed_over:?}", deadline.id.0)
        });
    }

    /// No more in any second than the rate allows, and its slack.
    fn pace(&mut self, no: QueueNo, made: Made<'_>) {
        let Some(queue) = self.model.queues.get_mut(&no) else { return };
        let since = made.at.minus(Span::from_millis(999));
        queue.handed.retain(|at| *at >= since);
        queue.handed.push(made.at);
        let handed = queue.handed.len() as u64;
        let Some(rate) = queue.policy.rate.map(u64::from) else { return };
        let changed = self.model.arranged.get(&queue.name).copied().unwrap_or(0);
        if made.seq - changed < 200 || made.at.since(self.model.opened_at) < Span::from_secs(2) {
            return;
        }
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
                self.mark(if opening {
                    Marker::OwnLeaseReleased
                } else {
                    Marker::OwnLeaseRanOut
                });
            }
            Fact::Retried { by_verdict: false, .. } => self.mark(Marker::WorkersLeaseRanOut),
            Fact::Died { by_verdict, .. } => {
                self.mark(if *by_verdict { Marker::DiedByVerdict } else { Marker::RetriesExhausted });
            }
            Fact::Revived { .. } => self.mark(Marker::Revived),
            Fact::Touched { until, .. } if delivery.leased_until.is_some_and(|had| *until > had) => {
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
    fn count(&mut self, fact: &Fact, no: QueueNo, id: DeadlineId, is_final: bool, made: Made<'_>) {
        let closes = matches!(fact, Fact::Delivered { .. });
        let Some(queue) = self.model.queues.get_mut(&no) else { return };
        if is_final {
            queue.live.remove(&id);
        }
        let to_none = closes && queue.policy.target == Target::None;
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
        if to_none {
            self.pace(no, made);
        }
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
