//! The engine's records as this protocol tells them: maps with the names of the HTTP API.
//!
//! A field that belongs to a record's state is there, nothing when it is empty; a field of another
//! state is left out. Ids and tokens are text, instants are written as everywhere. A payload is its
//! bytes, JSON or not. Clients of version 2 are told names and values in turn, as Redis tells them.

use duly_engine::answer::{Held, Leased, QueueView, ShiftView, Totals};
use duly_engine::deadline::{Deadline, Delivery, Event, PayloadAt, What};
use duly_engine::id::Outcome;

use crate::telling::{Fields, Id, Telling, Told};

/// One deadline, one generation.
impl Told for Deadline {
    fn tell(&self, to: &mut Telling) {
        to.map(|fields| {
            fields
                .with("queue", self.queue.as_str())
                .with("key", self.key.as_str())
                .with("id", Id(self.id.0))
                .with("generation", self.generation.0)
                .with("state", self.state.word())
                .with("due", self.due)
                .with("created_at", self.created_at)
                .with("priority", self.priority);
            payload(fields, &self.payload);
            fields
                .if_any("frozen_until", self.frozen_until)
                .if_any("outcome", self.outcome.as_ref().map(Outcome::as_str))
                .if_any("settled_at", self.settled_at)
                .if_any("lapsed_at", self.lapsed_at)
                .if_any("delivery", self.delivery.as_ref())
                .list("timeline", &self.timeline);
        });
    }
}

fn payload(fields: &mut Fields<'_>, payload: &PayloadAt) {
    match payload {
        PayloadAt::Here(payload) => fields.with("payload", &*payload.bytes),
        PayloadAt::None => fields.with("payload", None::<bool>),
        PayloadAt::Gone => fields.with("payload", None::<bool>).with("payload_gone", true),
        PayloadAt::Stored(_) => unreachable!("whoever asked has fetched it"),
    };
}

impl Told for Delivery {
    fn tell(&self, to: &mut Telling) {
        to.map(|fields| {
            fields
                .with("id", Id(&self.id))
                .with("state", self.state.word())
                .with("attempts", self.attempts)
                .with("last_error", self.last_error.as_deref())
                .if_any("next_attempt_at", self.next_attempt_at)
                .if_any("leased_until", self.leased_until)
                .if_any("finished_at", self.finished_at);
        });
    }
}

impl Told for Event {
    fn tell(&self, to: &mut Telling) {
        to.map(|fields| {
            fields.with("at", self.at).with("what", self.what.word());
            match &self.what {
                What::Scheduled { due } | What::Extended { due } | What::Shifted { due } => {
                    fields.with("due", *due)
                }
                What::Frozen { until } => fields.with("until", *until),
                What::Settled { outcome } => fields.with("outcome", outcome.as_str()),
                What::Leased { attempt } => fields.with("attempt", *attempt),
                What::Retried { error, next_attempt_at } => {
                    fields.with("error", &**error).with("next_attempt_at", *next_attempt_at)
                }
                What::Dead { error } => fields.with("error", &**error),
                What::Lapsed | What::Done | What::Superseded | What::Revived => fields,
            };
        });
    }
}

/// One delivery in the hands of a worker.
impl Told for Leased {
    fn tell(&self, to: &mut Telling) {
        to.map(|fields| {
            fields
                .with("id", Id(&self.id))
                .with("token", Id(&self.token.0))
                .with("queue", self.queue.as_str())
                .with("key", self.key.as_str())
                .with("due", self.due)
                .with("lapsed_at", self.lapsed_at)
                .with("attempt", self.attempt)
                .with("leased_until", self.leased_until);
            payload(fields, &self.payload);
        });
    }
}

/// A queue: its policy and its figures.
pub(super) struct Queue<'a>(pub(super) &'a QueueView);

impl Told for Queue<'_> {
    fn tell(&self, to: &mut Telling) {
        to.map(|fields| {
            figures(fields, self.0);
            fields.with("policy", &self.0.policy);
        });
    }
}

/// The figures of a queue.
pub(super) struct Figures<'a>(pub(super) &'a QueueView);

impl Told for Figures<'_> {
    fn tell(&self, to: &mut Telling) {
        to.map(|fields| figures(fields, self.0));
    }
}

fn figures(fields: &mut Fields<'_>, queue: &QueueView) {
    fields
        .with("name", queue.queue.as_str())
        .with("target", queue.policy.target.word())
        .with("declared", queue.declared)
        .with("paused", queue.paused)
        .with("lapse_paused", queue.lapse_paused)
        .with("last_leased_at", queue.last_leased_at)
        .if_any("shift", queue.shift)
        .with("now", queue.now)
        .with("total", &queue.total)
        .with("too_late", queue.too_late);
}

/// How far a shift is.
impl Told for ShiftView {
    fn tell(&self, to: &mut Telling) {
        to.map(|fields| {
            fields.with("moved", self.moved).with("finished", self.finished);
        });
    }
}

impl Told for Held {
    fn tell(&self, to: &mut Telling) {
        to.map(|fields| {
            fields
                .with("pending", self.pending)
                .with("ready", self.ready)
                .with("leased", self.leased)
                .with("dead", self.dead)
                .with("oldest_waiting", self.oldest_waiting);
        });
    }
}

impl Told for Totals {
    fn tell(&self, to: &mut Telling) {
        to.map(|fields| {
            fields
                .with("scheduled", self.scheduled)
                .with("replaced", self.replaced)
                .map("settled", |outcomes| {
                    for (outcome, count) in &self.settled {
                        count.tell(outcomes.open(outcome.as_str()));
                    }
                })
                .with("lapsed", self.lapsed)
                .with("attempts", self.attempts)
                .with("retried", self.retried)
                .with("done", self.done)
                .with("superseded", self.superseded)
                .with("died", self.died)
                .with("revived", self.revived);
        });
    }
}
