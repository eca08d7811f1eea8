//! The engine's refusals on this wire: one exhaustive match.
//!
//! A refusal keeps its stable code; here it gets its HTTP status, its words and the record that
//! explains it. A refusal added to the engine breaks this match, and that is the design.

use duly_engine::answer::{Refusal, SettleResult};
use duly_engine::deadline::{Acted, Deadline, Delivery};

use super::problem::{Kind, More, Problem};
use super::view::DeadlineView;
use crate::units::show_instant;

macro_rules! kind {
    ($code:literal, $status:literal, $title:literal, $hint:literal) => {{
        static KIND: Kind = Kind { code: $code, status: $status, title: $title, hint: $hint };
        &KIND
    }};
}

/// The problem that a refusal is.
pub(super) fn problem(refusal: Refusal) -> Problem {
    let kind = kind(&refusal);
    debug_assert_eq!(kind.code, refusal.code(), "a refusal has one code everywhere");
    let problem = Problem::new(kind);
    match refusal {
        Refusal::AlreadyExists(deadline)
        | Refusal::DeliveryUnderWay(deadline)
        | Refusal::AlreadySettled(deadline)
        | Refusal::OtherGeneration(deadline)
        | Refusal::DueChanged(deadline)
        | Refusal::StillPending(deadline)
        | Refusal::NotDead(deadline) => problem.more(with_deadline(*deadline)),
        Refusal::TooLate(deadline) => {
            let acted = deadline.delivery.as_ref().map_or(Acted::No, Delivery::acted);
            problem.more(More { acted: Some(acted.word()), ..with_deadline(*deadline) })
        }
        Refusal::MaxTotal { latest } => {
            problem.more(More { latest: Some(show_instant(latest)), ..More::default() })
        }
        Refusal::MaxFreeze { left } => {
            problem.more(More { left: Some(left.to_string()), ..More::default() })
        }
        Refusal::BadPolicy(bad) => {
            problem.detail(format!("{} {}", bad.field, bad.why)).field(bad.field)
        }
        Refusal::UnknownQueue
        | Refusal::UnknownDeadline
        | Refusal::UnknownDelivery
        | Refusal::NoDueTime
        | Refusal::DueInPast
        | Refusal::DueTooFar
        | Refusal::LeaseLost
        | Refusal::NotPull
        | Refusal::QueueNotEmpty
        | Refusal::QueueDeclared
        | Refusal::TooManyQueues
        | Refusal::ShiftUnderWay
        | Refusal::Full
        | Refusal::StorageLow
        | Refusal::StorageFull
        | Refusal::ClockTrusted => problem,
    }
}

/// The problem that a settle is which came second: `settled_otherwise` or `too_late`.
pub(super) fn lost_settle(result: SettleResult, deadline: Deadline) -> Problem {
    let (kind, acted) = match result {
        SettleResult::TooLate(acted) => (too_late(), Some(acted.word())),
        _ => (
            kind!(
                "settled_otherwise",
                409,
                "It was settled before with another outcome",
                "the deadline shows which; a payment after a cancellation needs a refund"
            ),
            None,
        ),
    };
    let more = More { result: Some(result.word()), acted, ..with_deadline(deadline) };
    Problem::new(kind).more(more)
}

fn with_deadline(deadline: Deadline) -> More {
    More { deadline: Some(Box::new(DeadlineView::from(deadline))), ..More::default() }
}

fn too_late() -> &'static Kind {
    kind!(
        "too_late",
        409,
        "The deadline had lapsed before",
        "acted \"yes\": refund; otherwise look at the order first"
    )
}

/// The kind of a policy that cannot be, whoever found it.
pub(super) fn bad_policy() -> &'static Kind {
    kind!(
        "bad_policy",
        422,
        "The policy cannot be so",
        "the detail names the field and what it may be"
    )
}

#[expect(clippy::too_many_lines, reason = "a table, one entry per refusal")]
fn kind(refusal: &Refusal) -> &'static Kind {
    match refusal {
        Refusal::UnknownQueue => kind!(
            "unknown_queue",
            404,
            "There is no such queue",
            "look for a typing error; PUT the queue to create it, or declare it where the configuration declares queues"
        ),
        Refusal::UnknownDeadline => kind!(
            "unknown_deadline",
            404,
            "There is no such deadline",
            "it was never scheduled, or erased, or its record's retention has passed"
        ),
        Refusal::UnknownDelivery => kind!(
            "unknown_delivery",
            404,
            "There is no such delivery",
            "send the id as it was handed out; after a restore older ids are unknown"
        ),
        Refusal::AlreadyExists(_) => kind!(
            "already_exists",
            409,
            "The deadline is there already",
            "if_exists \"keep\" answers it, \"replace\" begins anew"
        ),
        Refusal::DeliveryUnderWay(_) => kind!(
            "delivery_under_way",
            409,
            "The deadline has lapsed and its delivery is not over",
            "wait until the delivery is done or superseded; revive or erase one that is dead"
        ),
        Refusal::AlreadySettled(_) => kind!(
            "already_settled",
            409,
            "The deadline is settled",
            "there is nothing left to move; schedule with if_exists \"renew\" to begin anew"
        ),
        Refusal::TooLate(_) => too_late(),
        Refusal::OtherGeneration(_) => kind!(
            "other_generation",
            409,
            "The deadline is in another generation",
            "it was scheduled anew; leave generation out to mean the present one"
        ),
        Refusal::DueChanged(_) => kind!(
            "due_changed",
            409,
            "The deadline is not due when if_due says",
            "it was moved before, perhaps by this very request; look at the deadline"
        ),
        Refusal::StillPending(_) => kind!(
            "still_pending",
            409,
            "The deadline is not over",
            "settle it first, with an outcome such as \"cancelled\"; a lapsed one is over when its delivery is"
        ),
        Refusal::NotDead(_) => kind!(
            "not_dead",
            409,
            "The delivery is not dead",
            "only a dead delivery can be revived"
        ),
        Refusal::NoDueTime => kind!(
            "no_due_time",
            422,
            "Nothing says when it is due",
            "send after or due, or give the queue a default_delay"
        ),
        Refusal::DueInPast => kind!(
            "due_in_past",
            422,
            "It would have been due more than an hour ago",
            "look at the time zone of the due time; a schedule with allow_past accepts it"
        ),
        Refusal::DueTooFar => kind!(
            "due_too_far",
            422,
            "It would be due in more than ten years",
            "look at the unit: after is in seconds, due in milliseconds"
        ),
        Refusal::MaxTotal { .. } => kind!(
            "max_total",
            409,
            "The queue does not allow a due time so late",
            "latest is the latest due time; max_total in the queue's policy sets it"
        ),
        Refusal::MaxFreeze { .. } => kind!(
            "max_freeze",
            409,
            "The queue does not allow to freeze for so long",
            "left is what may still be frozen; max_freeze in the queue's policy sets it"
        ),
        Refusal::LeaseLost => kind!(
            "lease_lost",
            409,
            "The lease is over",
            "somebody else may hold the delivery now; lease again, and touch in time"
        ),
        Refusal::NotPull => kind!(
            "not_pull",
            409,
            "The queue's deliveries are not for workers",
            "set the queue's target to \"pull\""
        ),
        Refusal::QueueNotEmpty => kind!(
            "queue_not_empty",
            409,
            "The queue still holds deadlines",
            "settle or erase them first"
        ),
        Refusal::QueueDeclared => kind!(
            "queue_declared",
            409,
            "The queue is declared in the configuration",
            "change it there and restart the server"
        ),
        Refusal::TooManyQueues => kind!(
            "too_many_queues",
            409,
            "There are ten thousand queues, or their policies take all the room there is for them",
            "a queue is for a kind of deadline; put what differs into the key"
        ),
        Refusal::BadPolicy(_) => bad_policy(),
        Refusal::ShiftUnderWay => kind!(
            "shift_under_way",
            409,
            "A shift is still under way in this queue",
            "GET the queue shows how far it is; try again when it has finished"
        ),
        Refusal::Full => kind!(
            "queue_full",
            503,
            "The server holds as many deadlines as it may",
            "revive or erase dead deliveries; an operator may raise the limit"
        ),
        Refusal::StorageLow => kind!(
            "storage_low",
            503,
            "The disk is nearly full",
            "settles and verdicts still work; an operator must make room"
        ),
        Refusal::StorageFull => {
            kind!("storage_full", 503, "The disk is full", "an operator must make room")
        }
        Refusal::ClockTrusted => {
            kind!("clock_trusted", 409, "The clock guard is not up", "there is nothing to confirm")
        }
    }
}
