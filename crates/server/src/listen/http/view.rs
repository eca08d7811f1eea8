//! The engine's types as this wire shows them.
//!
//! A field that belongs to a record's state is there, `null` when it is empty; a field of another
//! state is left out. Numbers that may outgrow what JavaScript holds (ids, tokens) are text. A
//! payload leaves byte for byte as it came. Nothing here decides anything.

use std::collections::BTreeMap;
use std::sync::Arc;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use duly_engine::answer::{
    ClockView as Clock, GuardReason, Held, Leased, QueueView as Queue, ShiftView, Totals,
};
use duly_engine::deadline::{Deadline, Delivery, Event, Payload, PayloadAt, PayloadKind, What};
use duly_engine::id::{DeliveryId, Key, Outcome, QueueName};
use serde::Serialize;
use utoipa::ToSchema;

use crate::json::{Text, Verbatim};
use crate::policy::PolicyText;
use crate::units::Shown;

/// One deadline, one generation.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Deadline)]
pub(super) struct DeadlineView {
    /// Its queue.
    #[schema(value_type = String)]
    queue: Text<QueueName>,
    /// The caller's name for it.
    #[schema(value_type = String)]
    key: Text<Key>,
    /// Its number, as text.
    #[schema(value_type = String)]
    id: Text<u64>,
    /// Which life of it this is.
    #[schema(format = Int64)]
    generation: u32,
    /// Where it stands.
    #[schema(pattern = "^(pending|settled|lapsed)$")]
    state: &'static str,
    /// When it is due.
    #[schema(value_type = String, format = DateTime)]
    due: Shown,
    /// When this generation was scheduled.
    #[schema(value_type = String, format = DateTime)]
    created_at: Shown,
    /// Smaller is handed out first.
    #[schema(format = Int64)]
    priority: u32,
    #[serde(flatten)]
    payload: PayloadView,
    /// The clock stands still until then.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    frozen_until: Option<Shown>,
    /// How it was settled.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    outcome: Option<Text<Outcome>>,
    /// When it was settled.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    settled_at: Option<Shown>,
    /// When it lapsed.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    lapsed_at: Option<Shown>,
    /// The duty that came of the lapse.
    #[serde(skip_serializing_if = "Option::is_none")]
    delivery: Option<DeliveryView>,
    /// What happened to it, oldest first; at most 32 events, the first is always kept.
    timeline: Vec<EventView>,
}

/// What the caller wants back.
#[derive(Debug, Default, Serialize, ToSchema)]
#[schema(as = Payload)]
pub(super) struct PayloadView {
    /// Any JSON value; `null` when there is none.
    #[schema(value_type = Option<Object>)]
    payload: Option<Verbatim>,
    /// Bytes that came by another protocol, in base64.
    #[serde(skip_serializing_if = "Option::is_none")]
    payload_base64: Option<String>,
    /// There was one; retention has dropped it.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    payload_gone: bool,
}

/// The duty to hand one lapse to its target.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Delivery)]
pub(super) struct DeliveryView {
    /// The same in every attempt.
    #[schema(value_type = String)]
    id: Text<DeliveryId>,
    /// How far it has come.
    #[schema(pattern = "^(ready|leased|done|superseded|dead)$")]
    state: &'static str,
    /// Attempts begun so far.
    attempts: u32,
    /// What the last failed attempt said.
    #[schema(value_type = Option<String>)]
    last_error: Option<Text<Arc<str>>>,
    /// The earliest time of the next attempt.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    next_attempt_at: Option<Shown>,
    /// Until when the present lease holds.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    leased_until: Option<Shown>,
    /// When it became done, superseded or dead.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    finished_at: Option<Shown>,
}

/// One line of a timeline; which other fields there are depends on `what`.
#[derive(Debug, Default, Serialize, ToSchema)]
#[schema(as = Event)]
pub(super) struct EventView {
    /// When.
    #[schema(value_type = String, format = DateTime)]
    at: Shown,
    /// What: `scheduled`, `extended`, `shifted`, `frozen`, `settled`, `lapsed`, `leased`, `retried`,
    /// `done`, `superseded`, `dead` or `revived`.
    what: &'static str,
    /// The due time it was given.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    due: Option<Shown>,
    /// When the freeze ends.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    until: Option<Shown>,
    /// How it was settled.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    outcome: Option<Text<Outcome>>,
    /// The number of the attempt.
    #[serde(skip_serializing_if = "Option::is_none")]
    attempt: Option<u32>,
    /// What the attempt said.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    error: Option<Text<Arc<str>>>,
    /// The earliest time of the next attempt.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    next_attempt_at: Option<Shown>,
}

/// One delivery in the hands of a worker.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Leased)]
pub(super) struct LeasedView {
    /// The same in every attempt.
    #[schema(value_type = String)]
    id: Text<DeliveryId>,
    /// The hold: the verdict needs it.
    #[schema(value_type = String)]
    token: Text<u64>,
    /// Its queue.
    #[schema(value_type = String)]
    queue: Text<QueueName>,
    /// Its key.
    #[schema(value_type = String)]
    key: Text<Key>,
    /// When it was due.
    #[schema(value_type = String, format = DateTime)]
    due: Shown,
    /// When it lapsed.
    #[schema(value_type = String, format = DateTime)]
    lapsed_at: Shown,
    /// The number of this attempt, from 1.
    attempt: u32,
    /// Until when the lease holds.
    #[schema(value_type = String, format = DateTime)]
    leased_until: Shown,
    #[serde(flatten)]
    payload: PayloadView,
}

/// One queue: its rules and its figures.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Queue)]
pub(super) struct QueueView {
    /// Its name.
    name: String,
    /// The kind of its target: `pull`, `none`, `webhook`, `sql`.
    target: &'static str,
    /// Its rules, secrets masked; left out where many queues are shown.
    #[serde(skip_serializing_if = "Option::is_none")]
    policy: Option<PolicyText>,
    /// Declared in the configuration, so that the API may not change it.
    declared: bool,
    /// Deliveries wait.
    paused: bool,
    /// Lapses wait.
    lapse_paused: bool,
    /// When a worker last leased from it.
    #[schema(value_type = Option<String>, format = DateTime)]
    last_leased_at: Option<Shown>,
    /// The last shift, while it is under way.
    #[serde(skip_serializing_if = "Option::is_none")]
    shift: Option<ShiftedView>,
    /// What it holds now.
    now: HeldView,
    /// What it has counted since it was created.
    total: TotalsView,
    /// Settles answered `too_late` since the server started.
    too_late: u64,
}

/// Live records by state.
#[derive(Debug, Default, Serialize, ToSchema)]
#[schema(as = Held)]
pub(super) struct HeldView {
    /// Neither settled nor lapsed.
    pending: u64,
    /// Lapsed and waiting to be handed out.
    ready: u64,
    /// In somebody's hands.
    leased: u64,
    /// Given up.
    dead: u64,
    /// Due time of the earliest one that waits to be handed out.
    #[schema(value_type = Option<String>, format = DateTime)]
    oldest_waiting: Option<Shown>,
}

/// Counts that never go down.
#[derive(Debug, Default, Serialize, ToSchema)]
#[schema(as = Totals)]
pub(super) struct TotalsView {
    /// Generations scheduled.
    scheduled: u64,
    /// Pending generations ended by `replace`.
    replaced: u64,
    /// Settled, by outcome.
    settled: BTreeMap<String, u64>,
    /// Lapsed.
    lapsed: u64,
    /// Attempts begun.
    attempts: u64,
    /// Attempts that failed and were followed by another.
    retried: u64,
    /// Deliveries done.
    done: u64,
    /// Deliveries superseded.
    superseded: u64,
    /// Deliveries that died.
    died: u64,
    /// Deliveries revived.
    revived: u64,
}

/// A shift, done or under way.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Shift)]
pub(super) struct ShiftedView {
    /// Deadlines moved so far.
    moved: u64,
    /// Is it over?
    finished: bool,
}

/// The clock as the engine sees it.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Clock)]
pub(super) struct ClockView {
    /// Journal time: what decides.
    #[schema(value_type = String, format = DateTime)]
    now: Shown,
    /// What the wall clock says.
    #[schema(value_type = String, format = DateTime)]
    wall: Shown,
    /// Moved by hand (`--clock manual`)?
    manual: bool,
    /// Why lapsing is withheld; `null` while the clock is trusted.
    guard: Option<&'static str>,
    /// Deadlines overdue at the last start lapse no earlier.
    #[schema(value_type = String, format = DateTime)]
    recovery_until: Shown,
    /// More is due than could be done at once; it is being caught up with.
    behind: bool,
}

impl From<Deadline> for DeadlineView {
    fn from(deadline: Deadline) -> DeadlineView {
        DeadlineView {
            queue: Text(deadline.queue),
            key: Text(deadline.key),
            id: Text(deadline.id.0),
            generation: deadline.generation.0,
            state: deadline.state.word(),
            due: Shown(deadline.due),
            created_at: Shown(deadline.created_at),
            priority: deadline.priority,
            payload: deadline.payload.into(),
            frozen_until: deadline.frozen_until.map(Shown),
            outcome: deadline.outcome.map(Text),
            settled_at: deadline.settled_at.map(Shown),
            lapsed_at: deadline.lapsed_at.map(Shown),
            delivery: deadline.delivery.map(DeliveryView::from),
            timeline: deadline.timeline.into_iter().map(EventView::from).collect(),
        }
    }
}

impl From<PayloadAt> for PayloadView {
    fn from(payload: PayloadAt) -> PayloadView {
        match payload {
            PayloadAt::None => PayloadView::default(),
            PayloadAt::Here(payload) => payload.into(),
            PayloadAt::Gone => PayloadView { payload_gone: true, ..PayloadView::default() },
            PayloadAt::Stored(_) => unreachable!("the handle fetches what lies in the journal"),
        }
    }
}

impl From<Payload> for PayloadView {
    fn from(payload: Payload) -> PayloadView {
        match payload.kind {
            PayloadKind::Json => {
                PayloadView { payload: Some(Verbatim(payload.bytes)), ..PayloadView::default() }
            }
            PayloadKind::Bytes => PayloadView {
                payload_base64: Some(BASE64_STANDARD.encode(&payload.bytes)),
                ..PayloadView::default()
            },
        }
    }
}

impl From<Delivery> for DeliveryView {
    fn from(delivery: Delivery) -> DeliveryView {
        DeliveryView {
            id: Text(delivery.id),
            state: delivery.state.word(),
            attempts: delivery.attempts,
            last_error: delivery.last_error.map(Text),
            next_attempt_at: delivery.next_attempt_at.map(Shown),
            leased_until: delivery.leased_until.map(Shown),
            finished_at: delivery.finished_at.map(Shown),
        }
    }
}

impl From<Event> for EventView {
    fn from(event: Event) -> EventView {
        let bare = EventView { at: Shown(event.at), what: event.what.word(), ..Default::default() };
        match event.what {
            What::Scheduled { due } | What::Extended { due } | What::Shifted { due } => {
                EventView { due: Some(Shown(due)), ..bare }
            }
            What::Frozen { until } => EventView { until: Some(Shown(until)), ..bare },
            What::Settled { outcome } => EventView { outcome: Some(Text(outcome)), ..bare },
            What::Leased { attempt } => EventView { attempt: Some(attempt), ..bare },
            What::Retried { error, next_attempt_at } => EventView {
                error: Some(Text(error)),
                next_attempt_at: Some(Shown(next_attempt_at)),
                ..bare
            },
            What::Dead { error } => EventView { error: Some(Text(error)), ..bare },
            What::Lapsed | What::Done | What::Superseded | What::Revived => bare,
        }
    }
}

impl From<Leased> for LeasedView {
    fn from(leased: Leased) -> LeasedView {
        LeasedView {
            id: Text(leased.id),
            token: Text(leased.token.0),
            queue: Text(leased.queue),
            key: Text(leased.key),
            due: Shown(leased.due),
            lapsed_at: Shown(leased.lapsed_at),
            attempt: leased.attempt,
            leased_until: Shown(leased.leased_until),
            payload: leased.payload.into(),
        }
    }
}

impl QueueView {
    /// A queue among others: its figures, without its rules.
    pub(super) fn figures(queue: Queue) -> QueueView {
        QueueView {
            name: queue.queue.to_string(),
            target: queue.policy.target.word(),
            policy: None,
            declared: queue.declared,
            paused: queue.paused,
            lapse_paused: queue.lapse_paused,
            last_leased_at: queue.last_leased_at.map(Shown),
            shift: queue.shift.map(ShiftedView::from),
            now: queue.now.into(),
            total: queue.total.into(),
            too_late: queue.too_late,
        }
    }
}

impl From<Queue> for QueueView {
    fn from(queue: Queue) -> QueueView {
        let policy = Some(PolicyText::shown(&queue.policy));
        QueueView { policy, ..QueueView::figures(queue) }
    }
}

impl From<Held> for HeldView {
    fn from(held: Held) -> HeldView {
        HeldView {
            pending: held.pending,
            ready: held.ready,
            leased: held.leased,
            dead: held.dead,
            oldest_waiting: held.oldest_waiting.map(Shown),
        }
    }
}

impl From<Totals> for TotalsView {
    fn from(totals: Totals) -> TotalsView {
        TotalsView {
            scheduled: totals.scheduled,
            replaced: totals.replaced,
            settled: totals
                .settled
                .into_iter()
                .map(|(outcome, count)| (outcome.to_string(), count))
                .collect(),
            lapsed: totals.lapsed,
            attempts: totals.attempts,
            retried: totals.retried,
            done: totals.done,
            superseded: totals.superseded,
            died: totals.died,
            revived: totals.revived,
        }
    }
}

impl From<ShiftView> for ShiftedView {
    fn from(shift: ShiftView) -> ShiftedView {
        ShiftedView { moved: shift.moved, finished: shift.finished }
    }
}

impl ClockView {
    /// The clock, and whether it is moved by hand.
    pub(super) fn new(clock: Clock, manual: bool) -> ClockView {
        ClockView {
            now: Shown(clock.now),
            wall: Shown(clock.wall),
            manual,
            guard: clock.guard.map(GuardReason::word),
            recovery_until: Shown(clock.recovery_until),
            behind: clock.behind,
        }
    }
}
