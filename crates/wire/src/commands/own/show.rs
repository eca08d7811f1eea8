//! The engine's records as this protocol tells them: maps with the names of the HTTP API.
//!
//! A field that belongs to a record's state is there, nothing when it is empty; a field of another
//! state is left out. Ids and tokens are text, instants are written as everywhere. A payload is its
//! bytes, JSON or not. Clients of version 2 are told names and values in turn, as Redis tells them.

use duly_engine::answer::{Held, Leased, QueueView, ShiftView, Totals};
use duly_engine::deadline::{Deadline, Delivery, Event, PayloadAt, What};
use duly_engine::time::Time;

use crate::Writers;
use crate::reply::Reply;

/// A thing with named fields.
#[derive(Default)]
pub(super) struct Fields(Vec<(Reply, Reply)>);

impl Fields {
    /// Room for so many.
    fn about(fields: usize) -> Fields {
        Fields(Vec::with_capacity(fields))
    }

    pub(super) fn with(mut self, name: &'static str, value: Reply) -> Fields {
        self.0.push((Reply::Word(name), value));
        self
    }

    /// A field that is left out where there is nothing.
    pub(super) fn if_any(self, name: &'static str, value: Option<Reply>) -> Fields {
        match value {
            Some(value) => self.with(name, value),
            None => self,
        }
    }

    pub(super) fn told(self) -> Reply {
        Reply::Map(self.0)
    }
}

/// An instant.
pub(super) fn instant(time: Time, show: Writers) -> Reply {
    Reply::Bulk((show.instant)(time).into_bytes())
}

pub(super) fn number(number: u64) -> Reply {
    Reply::Integer(i64::try_from(number).unwrap_or(i64::MAX))
}

/// An id or a token: a number that clients must not count with.
fn id(id: &impl ToString) -> Reply {
    Reply::Bulk(id.to_string().into_bytes())
}

/// One deadline, one generation.
pub(super) fn deadline(deadline: Deadline, show: Writers) -> Reply {
    let at = |time: Time| instant(time, show);
    let fields = Fields::about(14)
        .with("queue", Reply::text(deadline.queue.as_str()))
        .with("key", Reply::text(deadline.key.as_str()))
        .with("id", id(&deadline.id.0))
        .with("generation", number(deadline.generation.0.into()))
        .with("state", Reply::Word(deadline.state.word()))
        .with("due", at(deadline.due))
        .with("created_at", at(deadline.created_at))
        .with("priority", number(deadline.priority.into()));
    let timeline = deadline.timeline.into_iter().map(|it| event(it, show));
    payload(fields, deadline.payload)
        .if_any("frozen_until", deadline.frozen_until.map(at))
        .if_any("outcome", deadline.outcome.as_ref().map(|it| Reply::text(it.as_str())))
        .if_any("settled_at", deadline.settled_at.map(at))
        .if_any("lapsed_at", deadline.lapsed_at.map(at))
        .if_any("delivery", deadline.delivery.as_ref().map(|it| delivery(it, show)))
        .with("timeline", Reply::List(timeline.collect()))
        .told()
}

fn payload(fields: Fields, payload: PayloadAt) -> Fields {
    match payload {
        PayloadAt::Here(payload) => fields.with("payload", Reply::Shared(payload.bytes)),
        PayloadAt::None => fields.with("payload", Reply::Nothing),
        PayloadAt::Gone => {
            fields.with("payload", Reply::Nothing).with("payload_gone", Reply::Boolean(true))
        }
        PayloadAt::Stored(_) => unreachable!("whoever asked has fetched it"),
    }
}

fn delivery(delivery: &Delivery, show: Writers) -> Reply {
    let at = |time: Time| instant(time, show);
    Fields::about(5)
        .with("id", id(&delivery.id))
        .with("state", Reply::Word(delivery.state.word()))
        .with("attempts", number(delivery.attempts.into()))
        .with("last_error", delivery.last_error.as_deref().map_or(Reply::Nothing, Reply::text))
        .if_any("next_attempt_at", delivery.next_attempt_at.map(at))
        .if_any("leased_until", delivery.leased_until.map(at))
        .if_any("finished_at", delivery.finished_at.map(at))
        .told()
}

fn event(event: Event, show: Writers) -> Reply {
    let at = |time: Time| instant(time, show);
    let fields =
        Fields::about(4).with("at", at(event.at)).with("what", Reply::Word(event.what.word()));
    let fields = match event.what {
        What::Scheduled { due } | What::Extended { due } | What::Shifted { due } => {
            fields.with("due", at(due))
        }
        What::Frozen { until } => fields.with("until", at(until)),
        What::Settled { outcome } => fields.with("outcome", Reply::text(outcome.as_str())),
        What::Leased { attempt } => fields.with("attempt", number(attempt.into())),
        What::Retried { error, next_attempt_at } => {
            fields.with("error", Reply::text(&error)).with("next_attempt_at", at(next_attempt_at))
        }
        What::Dead { error } => fields.with("error", Reply::text(&error)),
        What::Lapsed | What::Done | What::Superseded | What::Revived => fields,
    };
    fields.told()
}

/// One delivery in the hands of a worker.
pub(super) fn leased(leased: Leased, show: Writers) -> Reply {
    let at = |time: Time| instant(time, show);
    let fields = Fields::about(9)
        .with("id", id(&leased.id))
        .with("token", id(&leased.token.0))
        .with("queue", Reply::text(leased.queue.as_str()))
        .with("key", Reply::text(leased.key.as_str()))
        .with("due", at(leased.due))
        .with("lapsed_at", at(leased.lapsed_at))
        .with("attempt", number(leased.attempt.into()))
        .with("leased_until", at(leased.leased_until));
    payload(fields, leased.payload).told()
}

/// A queue: its policy, as the document that it is given as, and its figures.
pub(super) fn queue(queue: &QueueView, show: Writers) -> Reply {
    let policy = Reply::Bulk((show.policy)(&queue.policy).into_bytes());
    figures(queue, show).with("policy", policy).told()
}

/// The figures of a queue.
pub(super) fn figures(queue: &QueueView, show: Writers) -> Fields {
    let at = |time: Time| instant(time, show);
    Fields::default()
        .with("name", Reply::text(queue.queue.as_str()))
        .with("target", Reply::Word(queue.policy.target.word()))
        .with("declared", Reply::Boolean(queue.declared))
        .with("paused", Reply::Boolean(queue.paused))
        .with("lapse_paused", Reply::Boolean(queue.lapse_paused))
        .with("last_leased_at", queue.last_leased_at.map_or(Reply::Nothing, at))
        .if_any("shift", queue.shift.map(shift))
        .with("now", held(queue.now, show))
        .with("total", totals(&queue.total))
        .with("too_late", number(queue.too_late))
}

/// How far a shift is.
pub(super) fn shift(shift: ShiftView) -> Reply {
    let finished = Reply::Boolean(shift.finished);
    Fields::default().with("moved", number(shift.moved)).with("finished", finished).told()
}

fn held(held: Held, show: Writers) -> Reply {
    let oldest = held.oldest_waiting.map_or(Reply::Nothing, |time| instant(time, show));
    Fields::default()
        .with("pending", number(held.pending))
        .with("ready", number(held.ready))
        .with("leased", number(held.leased))
        .with("dead", number(held.dead))
        .with("oldest_waiting", oldest)
        .told()
}

fn totals(totals: &Totals) -> Reply {
    let settled = totals
        .settled
        .iter()
        .map(|(outcome, count)| (Reply::text(outcome.as_str()), number(*count)));
    Fields::default()
        .with("scheduled", number(totals.scheduled))
        .with("replaced", number(totals.replaced))
        .with("settled", Reply::Map(settled.collect()))
        .with("lapsed", number(totals.lapsed))
        .with("attempts", number(totals.attempts))
        .with("retried", number(totals.retried))
        .with("done", number(totals.done))
        .with("superseded", number(totals.superseded))
        .with("died", number(totals.died))
        .with("revived", number(totals.revived))
        .told()
}
