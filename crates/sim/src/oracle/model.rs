//! What must be true of every deadline and queue, according to the facts that are durable.
//!
//! The model is naive: it keeps everything for ever, knows no timer, no slab and no archive, and
//! remembers every version a record ever had. What facts do to it is written here a second time, on
//! purpose: the product's own code may not say whether the product is right.

use std::collections::{BTreeMap, BTreeSet};

use duly_engine::answer::{GuardReason, Totals};
use duly_engine::command::Address;
use duly_engine::deadline::{
    Deadline, Delivery, DeliveryState, Event, Ladder, PayloadAt, PayloadKind, State, What,
};
use duly_engine::fact::Shift;
use duly_engine::id::{
    DeadlineId, DeliveryId, DirectoryId, Generation, Outcome, QueueName, QueueNo, Seq,
};
use duly_engine::limits::TIMELINE_EVENTS;
use duly_engine::queue::Policy;
use duly_engine::time::{Span, Time};

use super::digest;

/// All that the durable facts say.
pub(super) struct Model {
    pub(super) directory: DirectoryId,
    /// The last fact it knows.
    pub(super) seq: Seq,
    /// Its time.
    pub(super) at: Time,
    pub(super) guard: Option<GuardReason>,
    pub(super) opened_at: Time,
    pub(super) recovery_until: Time,
    pub(super) next_id: DeadlineId,
    pub(super) next_queue: QueueNo,
    pub(super) queues: BTreeMap<QueueNo, Queue>,
    pub(super) by_name: BTreeMap<QueueName, QueueNo>,
    pub(super) entries: BTreeMap<DeadlineId, Entry>,
    pub(super) by_key: BTreeMap<Address, DeadlineId>,
    /// For each queue's name: by when it had which retention of records and of payloads.
    pub(super) kept: BTreeMap<QueueName, Vec<(Time, Span, Span)>>,
    /// When queues came or went last, and the last fact that changed a policy.
    pub(super) arranged: BTreeMap<QueueName, Seq>,
}

/// A queue.
pub(super) struct Queue {
    pub(super) name: QueueName,
    pub(super) policy: Policy,
    pub(super) declared: bool,
    pub(super) paused: bool,
    pub(super) lapse_paused: bool,
    pub(super) totals: Totals,
    pub(super) shift: Option<Shift>,
    /// Everything in it that is not final.
    pub(super) live: BTreeSet<DeadlineId>,
    /// Handed out within the last second, by time.
    pub(super) handed: Vec<Time>,
}

/// A number and all that ever had it.
pub(super) struct Entry {
    pub(super) at: Address,
    pub(super) lives: Vec<Life>,
    pub(super) remembered: Option<Remembered>,
    /// Since when it was remembered, if it was, in all versions.
    pub(super) remembered_seqs: Vec<(Seq, Time)>,
    pub(super) erased: Option<Seq>,
}

/// A settle that waits for its schedule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Remembered {
    pub(super) queue: QueueNo,
    pub(super) outcome: Outcome,
    pub(super) until: Time,
}

/// One generation.
pub(super) struct Life {
    pub(super) deadline: Deadline,
    pub(super) payload: Option<PayloadSeen>,
    pub(super) begun: Seq,
    /// Every version it had: from which fact on, and its digest.
    pub(super) versions: Vec<(Seq, u64)>,
    /// The fact that made it final.
    pub(super) finished: Option<Seq>,
    /// Somebody was told that it was his settle that won.
    pub(super) claimed: bool,
    /// The leases it had: tokens and the number of the attempt.
    pub(super) leases: Vec<(Seq, u32)>,
}

/// What is known of a payload without its bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct PayloadSeen {
    pub(super) kind: PayloadKind,
    pub(super) hash: u32,
    pub(super) bytes: u32,
}

impl Model {
    pub(super) fn new(directory: DirectoryId) -> Model {
        Model {
            directory,
            seq: 0,
            at: Time::ZERO,
            guard: None,
            opened_at: Time::ZERO,
            recovery_until: Time::ZERO,
            next_id: DeadlineId(1),
            next_queue: QueueNo(1),
            queues: BTreeMap::new(),
            by_name: BTreeMap::new(),
            entries: BTreeMap::new(),
            by_key: BTreeMap::new(),
            kept: BTreeMap::new(),
            arranged: BTreeMap::new(),
        }
    }

    /// The generation that a key means now.
    pub(super) fn latest(&self, at: &Address) -> Option<(DeadlineId, &Life)> {
        let id = *self.by_key.get(at)?;
        let entry = self.entries.get(&id).filter(|entry| entry.erased.is_none())?;
        Some((id, entry.lives.last()?))
    }

    /// The present generation of a number.
    pub(super) fn current(&self, id: DeadlineId) -> Option<&Life> {
        self.entries.get(&id).filter(|entry| entry.erased.is_none())?.lives.last()
    }

    pub(super) fn life(&self, id: DeadlineId, generation: Generation) -> Option<&Life> {
        let lives = &self.entries.get(&id)?.lives;
        lives.iter().rev().find(|life| life.deadline.generation == generation)
    }

    pub(super) fn life_mut(&mut self, id: DeadlineId, generation: Generation) -> Option<&mut Life> {
        let lives = &mut self.entries.get_mut(&id)?.lives;
        lives.iter_mut().rev().find(|life| life.deadline.generation == generation)
    }

    /// When a pending deadline lapses by its queue's rules.
    pub(super) fn lapse_at(&self, deadline: &Deadline) -> Time {
        let grace = self.queues.get(&deadline.queue_no).map_or(Span::ZERO, |one| one.policy.grace);
        let runs_out = deadline.frozen_until.map_or(deadline.due, |until| until.max(deadline.due));
        let at = runs_out.plus(grace);
        if at <= self.opened_at { at.max(self.recovery_until) } else { at }
    }

    pub(super) fn delivery_id(&self, deadline: &Deadline) -> DeliveryId {
        DeliveryId {
            directory: self.directory,
            deadline: deadline.id,
            generation: deadline.generation,
        }
    }

    /// Could retention have let go of what ended then, or of its payload, by now?
    pub(super) fn may_be_gone(&self, queue: &QueueName, ended: Time, now: Time) -> (bool, bool) {
        let Some(rules) = self.kept.get(queue) else { return (false, false) };
        let mut gone = (false, false);
        for (index, (_, kept, with_payload)) in rules.iter().enumerate() {
            let until = rules.get(index + 1).map_or(now, |(next, ..)| *next).min(now);
            gone.0 |= ended.plus(*kept) < until;
            gone.1 |= ended.plus(*with_payload) < until;
        }
        gone
    }

    pub(super) fn insert_queue(&mut self, no: QueueNo, queue: Queue) {
        self.by_name.insert(queue.name.clone(), no);
        self.queues.insert(no, queue);
    }
}

impl Entry {
    pub(super) fn new(at: Address) -> Entry {
        Entry { at, lives: Vec::new(), remembered: None, remembered_seqs: Vec::new(), erased: None }
    }
}

impl Queue {
    pub(super) fn new(name: QueueName, policy: Policy, declared: bool) -> Queue {
        Queue {
            name,
            policy,
            declared,
            paused: false,
            lapse_paused: false,
            totals: Totals::default(),
            shift: None,
            live: BTreeSet::new(),
            handed: Vec::new(),
        }
    }
}

impl Life {
    pub(super) fn new(deadline: Deadline, payload: Option<PayloadSeen>, seq: Seq) -> Life {
        let mut life = Life {
            deadline,
            payload,
            begun: seq,
            versions: Vec::new(),
            finished: None,
            claimed: false,
            leases: Vec::new(),
        };
        life.changed(seq);
        life
    }

    pub(super) fn changed(&mut self, seq: Seq) {
        self.versions.push((seq, digest::of(&self.deadline)));
    }

    /// Was this how it looked at some time after the first of these facts and up to the last?
    pub(super) fn looked(&self, digest: u64, from: Seq, to: Seq) -> bool {
        self.versions.iter().enumerate().rev().any(|(index, (seq, seen))| {
            let ends = self.versions.get(index + 1).map_or(Seq::MAX, |(next, _)| *next);
            *seen == digest && *seq <= to && ends > from
        })
    }

    pub(super) fn delivery(&mut self) -> Option<&mut Delivery> {
        self.deadline.delivery.as_mut()
    }

    pub(super) fn delivery_state(&self) -> Option<DeliveryState> {
        self.deadline.delivery.as_ref().map(|delivery| delivery.state)
    }

    pub(super) fn tell(&mut self, at: Time, what: What) {
        let timeline = &mut self.deadline.timeline;
        if timeline.len() == TIMELINE_EVENTS {
            timeline.remove(1);
        }
        timeline.push(Event { at, what });
    }

    /// It lapses: a delivery begins.
    pub(super) fn lapse(&mut self, id: DeliveryId, at: Time) {
        self.deadline.state = State::Lapsed;
        self.deadline.lapsed_at = Some(at);
        self.deadline.delivery = Some(Delivery {
            id,
            state: DeliveryState::Ready,
            attempts: 0,
            next_attempt_at: Some(at),
            leased_until: None,
            token: None,
            last_error: None,
            finished_at: None,
            ladder: Ladder { attempts: 0, since: at },
            held_here: false,
        });
        self.tell(at, What::Lapsed);
    }
}

/// A generation as it is when it begins.
pub(super) fn begun(
    queue_no: QueueNo,
    at: &Address,
    id: DeadlineId,
    generation: Generation,
    due: Time,
    created_at: Time,
    priority: u32,
) -> Deadline {
    Deadline {
        queue_no,
        queue: at.queue.clone(),
        key: at.key.clone(),
        id,
        generation,
        state: State::Pending,
        due,
        created_at,
        priority,
        frozen_until: None,
        frozen_for: Span::ZERO,
        outcome: None,
        settled_at: None,
        lapsed_at: None,
        delivery: None,
        payload: PayloadAt::None,
        timeline: vec![Event { at: created_at, what: What::Scheduled { due } }],
    }
}
