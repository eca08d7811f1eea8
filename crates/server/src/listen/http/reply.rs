//! What came of a command, as a status and a body.
//!
//! One exhaustive match over the engine's answers, used alike by the single calls and by every line
//! of a batch, so that the two can never differ.

use axum::body::Body;
use axum::http::header::CONTENT_TYPE;
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use duly_engine::answer::{Answer, SettleResult};
use duly_engine::command::Command;
use serde::Serialize;
use utoipa::ToSchema;

use super::problem::{Problem, STOPPING};
use super::refusal;
use super::view::{DeadlineView, LeasedView, QueueView, ShiftedView};
use crate::handle::{Handle, Stopped};
use crate::json;
use crate::units::Shown;

/// A command that was taken.
#[derive(Debug)]
pub(super) struct Reply {
    /// The HTTP status.
    pub(super) status: StatusCode,
    /// What it says.
    pub(super) body: ReplyBody,
}

/// What a [`Reply`] says.
#[derive(Debug, Serialize)]
#[serde(untagged)]
pub(super) enum ReplyBody {
    Scheduled(ScheduledReply),
    Settled(SettledReply),
    Remembered(RememberedReply),
    Deadline(DeadlineReply),
    Erased(ErasedReply),
    Leased(LeasedReply),
    Touched(TouchedReply),
    Queue(QueueReply),
    QueueDeleted(QueueDeletedReply),
    Shift(ShiftReply),
}

/// Of a schedule.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct ScheduledReply {
    /// Did a new generation begin?
    created: bool,
    /// What of the existing record is not as asked: `due`, `payload`, `priority`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    differs: Vec<&'static str>,
    /// What to look at.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    warnings: Vec<Warning>,
    /// The record.
    deadline: DeadlineView,
}

/// Something that was done but is probably not what was wanted.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Warning {
    /// Stable.
    code: &'static str,
    /// What to do about it.
    hint: &'static str,
}

const NOBODY_ACTS: Warning = Warning {
    code: "nobody_acts",
    hint: "no worker has leased from this queue for 10 minutes: start one, or give the queue a target",
};

/// Of a settle that won, now or before.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct SettledReply {
    /// `settled` or `already_settled`.
    result: &'static str,
    /// The record.
    deadline: DeadlineView,
}

/// Of a settle that came before its schedule.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct RememberedReply {
    /// `remembered`.
    result: &'static str,
    /// Until when it is remembered.
    #[schema(value_type = String, format = DateTime)]
    until: Shown,
}

/// A record.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct DeadlineReply {
    /// The record.
    deadline: DeadlineView,
}

/// Of an erase.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct ErasedReply {
    /// Always true.
    erased: bool,
}

/// Of a lease.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct LeasedReply {
    /// What was handed out; empty when nothing came in time.
    deliveries: Vec<LeasedView>,
}

/// Of a touch.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct TouchedReply {
    /// Until when the lease holds now.
    #[schema(value_type = String, format = DateTime)]
    leased_until: Shown,
}

/// A queue.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct QueueReply {
    /// The queue.
    queue: Box<QueueView>,
}

/// Of a removal of a queue.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct QueueDeletedReply {
    /// Always true.
    deleted: bool,
}

/// Of a shift.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct ShiftReply {
    /// Of a dry run: how many would be moved.
    #[serde(skip_serializing_if = "Option::is_none")]
    would_move: Option<u64>,
    /// Otherwise: how far it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    shift: Option<ShiftedView>,
}

impl Reply {
    fn ok(body: ReplyBody) -> Reply {
        Reply { status: StatusCode::OK, body }
    }

    /// What was handed to a worker.
    pub(super) fn leased(deliveries: Vec<duly_engine::answer::Leased>) -> Reply {
        let deliveries = deliveries.into_iter().map(LeasedView::from).collect();
        Reply::ok(ReplyBody::Leased(LeasedReply { deliveries }))
    }

    /// What a shift would move.
    pub(super) fn would_move(count: u64) -> Reply {
        Reply::ok(ReplyBody::Shift(ShiftReply { would_move: Some(count), shift: None }))
    }
}

/// Asks the engine and gives its answer the form it has on this wire.
pub(super) async fn ask(handle: &Handle, command: Command) -> Result<Reply, Problem> {
    of(handle.ask(command).await?)
}

/// The reply, or the problem, that an answer is.
pub(super) fn of(answer: Answer) -> Result<Reply, Problem> {
    Ok(match answer {
        Answer::Scheduled { created, differs, nobody_acts, deadline } => Reply {
            status: if created { StatusCode::CREATED } else { StatusCode::OK },
            body: ReplyBody::Scheduled(ScheduledReply {
                created,
                differs,
                warnings: if nobody_acts { vec![NOBODY_ACTS] } else { Vec::new() },
                deadline: (*deadline).into(),
            }),
        },
        Answer::Settled {
            result: result @ (SettleResult::Settled | SettleResult::AlreadySettled),
            deadline,
        } => Reply::ok(ReplyBody::Settled(SettledReply {
            result: result.word(),
            deadline: (*deadline).into(),
        })),
        Answer::Settled { result, deadline } => {
            return Err(refusal::lost_settle(result, *deadline));
        }
        Answer::Remembered { until } => Reply {
            status: StatusCode::ACCEPTED,
            body: ReplyBody::Remembered(RememberedReply {
                result: "remembered",
                until: Shown(until),
            }),
        },
        Answer::Deadline(deadline) | Answer::VerdictTaken(deadline) => {
            Reply::ok(ReplyBody::Deadline(DeadlineReply { deadline: (*deadline).into() }))
        }
        Answer::Erased => Reply::ok(ReplyBody::Erased(ErasedReply { erased: true })),
        Answer::Leased(deliveries) => Reply::leased(deliveries),
        Answer::Touched { leased_until } => {
            Reply::ok(ReplyBody::Touched(TouchedReply { leased_until: Shown(leased_until) }))
        }
        Answer::Queue(queue) => {
            Reply::ok(ReplyBody::Queue(QueueReply { queue: Box::new((*queue).into()) }))
        }
        Answer::QueueDeleted => {
            Reply::ok(ReplyBody::QueueDeleted(QueueDeletedReply { deleted: true }))
        }
        Answer::Shift(shift) => Reply {
            status: if shift.finished { StatusCode::OK } else { StatusCode::ACCEPTED },
            body: ReplyBody::Shift(ShiftReply { would_move: None, shift: Some(shift.into()) }),
        },
        Answer::Refused(refusal) => return Err(refusal::problem(refusal)),
        Answer::Begun
        | Answer::Queues(_)
        | Answer::Waiting(_)
        | Answer::Scanned { .. }
        | Answer::Counted { .. }
        | Answer::Clock(_)
        | Answer::LookUp(_) => unreachable!("whoever asks for it takes it himself"),
    })
}

impl From<Stopped> for Problem {
    fn from(Stopped: Stopped) -> Problem {
        Problem::new(&STOPPING)
    }
}

impl IntoResponse for Reply {
    fn into_response(self) -> Response {
        json(self.status, &self.body)
    }
}

/// A body of JSON.
pub(super) fn json(status: StatusCode, body: &impl Serialize) -> Response {
    let mut response = (status, Body::from(json::written(body))).into_response();
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}
