//! The calls about one deadline.
//!
//! Each reads what was written into a command (the same reading serves the lines of a batch), asks,
//! and answers. Whether it may be is the engine's business.

use duly_engine::answer::Refusal;
use duly_engine::command::{
    Address, Command, Extend, ExtendBy, IfDue, IfExists, Schedule, Settle, When,
};
use duly_engine::deadline::{Payload, PayloadKind};
use duly_engine::id::{Generation, Outcome};
use duly_engine::limits::{PAYLOAD_BYTES, REMEMBER};
use serde::Deserialize;
use serde_json::value::RawValue;
use utoipa::ToSchema;

use super::Api;
use super::extract::{At, Json};
use super::problem::{
    BAD_DURATION, BAD_FIELD, BAD_OUTCOME, MISSING_FIELD, PAYLOAD_TOO_LARGE, Problem,
};
use super::refusal;
use super::reply::{
    DeadlineReply, ErasedReply, RememberedReply, Reply, ScheduledReply, SettledReply, ask,
};
use crate::units::{WrittenDuration, WrittenInstant};

/// When a deadline is due and what comes back with it; all may be left out if the queue has a default delay.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = Schedule)]
pub(super) struct ScheduleBody {
    /// Due so long from now; not together with `due`.
    after: Option<WrittenDuration>,
    /// Due then; not together with `after`.
    due: Option<WrittenInstant>,
    /// Any JSON value of at most 64 KiB; comes back byte for byte.
    #[schema(value_type = Option<Object>)]
    payload: Option<Box<RawValue>>,
    /// Smaller is handed out first; 1024 by default.
    #[schema(format = Int64, maximum = 4_294_967_295_u32)]
    priority: Option<u32>,
    /// What if it is there already; `keep` by default.
    if_exists: Option<IfExistsText>,
    /// Accept a due time more than an hour ago.
    allow_past: Option<bool>,
}

/// What a schedule does with a deadline that is there already.
#[derive(Clone, Copy, Debug, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
#[schema(as = IfExists)]
pub(super) enum IfExistsText {
    /// Answer the existing record.
    Keep,
    /// Begin the next generation, unless a delivery is under way.
    Replace,
    /// Begin the next generation if it is over, else keep.
    Renew,
    /// Refuse.
    Fail,
}

/// The awaited thing happened.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = Settle)]
pub(super) struct SettleBody {
    /// How, such as `paid`: 1 to 64 bytes without control characters.
    #[schema(min_length = 1, max_length = 64, pattern = "^[^\\u0000-\\u001f\\u007f-\\u009f]*$")]
    outcome: String,
    /// Remember it for so long (at most 7 days) if the deadline is not known yet.
    remember: Option<WrittenDuration>,
    /// Only this generation.
    #[schema(format = Int64, minimum = 1, maximum = 4_294_967_295_u32)]
    generation: Option<u32>,
}

/// A new due time: exactly one of `by` and `due`.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = Extend)]
pub(super) struct ExtendBody {
    /// So much later than it is due now.
    by: Option<WrittenDuration>,
    /// To this instant.
    due: Option<WrittenInstant>,
    /// Only if it is due then: makes a retry safe.
    if_due: Option<WrittenInstant>,
}

/// A bounded stop of the clock.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = Freeze)]
pub(super) struct FreezeBody {
    /// For so long from now; `0s` ends a freeze.
    r#for: WrittenDuration,
}

/// A body without fields; may be left out.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = Nothing)]
pub(super) struct Nothing {}

impl ScheduleBody {
    /// The command that it means.
    pub(super) fn command(self, at: Address) -> Result<Command, Problem> {
        let when = match (self.after, self.due) {
            (None, None) => When::Default,
            (Some(after), None) if after.is_too_long() => {
                return Err(refusal::problem(Refusal::DueTooFar).field("after"));
            }
            (Some(after), None) => {
                When::After(after.span().map_err(|bad| Problem::from(bad).field("after"))?)
            }
            (None, Some(due)) => {
                When::Due(due.time().map_err(|bad| Problem::from(bad).field("due"))?)
            }
            (Some(_), Some(_)) => {
                return Err(Problem::new(&BAD_FIELD)
                    .detail("both after and due are given")
                    .hint("send one of them")
                    .field("after"));
            }
        };
        Ok(Command::Schedule(Schedule {
            payload: self.payload.map(payload).transpose()?,
            priority: self.priority,
            if_exists: self.if_exists.map(IfExists::from).unwrap_or_default(),
            allow_past: self.allow_past.unwrap_or(false),
            ..Schedule::new(at, when)
        }))
    }
}

fn payload(written: Box<RawValue>) -> Result<Payload, Problem> {
    let bytes = Box::<str>::from(written).into_boxed_bytes();
    if bytes.len() > PAYLOAD_BYTES {
        return Err(Problem::new(&PAYLOAD_TOO_LARGE)
            .detail(format!("the payload has {} bytes", bytes.len()))
            .field("payload"));
    }
    Ok(Payload { kind: PayloadKind::Json, bytes: bytes.into() })
}

impl From<IfExistsText> for IfExists {
    fn from(text: IfExistsText) -> IfExists {
        match text {
            IfExistsText::Keep => IfExists::Keep,
            IfExistsText::Replace => IfExists::Replace,
            IfExistsText::Renew => IfExists::Renew,
            IfExistsText::Fail => IfExists::Fail,
        }
    }
}

impl SettleBody {
    /// The command that it means.
    pub(super) fn command(self, at: Address) -> Result<Command, Problem> {
        let outcome = Outcome::new(&self.outcome)
            .map_err(|bad| Problem::new(&BAD_OUTCOME).detail(bad.0).field("outcome"))?;
        let remember = match self.remember {
            Some(written) => {
                let span = written.span().map_err(|bad| Problem::from(bad).field("remember"))?;
                if span > REMEMBER {
                    return Err(Problem::new(&BAD_DURATION)
                        .detail(format!("{span} is too long to remember a settle"))
                        .hint(format!("at most {REMEMBER}"))
                        .field("remember"));
                }
                Some(span)
            }
            None => None,
        };
        if self.generation == Some(0) {
            return Err(Problem::new(&BAD_FIELD)
                .detail("the first generation is 1")
                .field("generation"));
        }
        let generation = self.generation.map(Generation);
        Ok(Command::Settle(Settle { at, outcome, remember, generation }))
    }
}

impl ExtendBody {
    /// The command that it means.
    pub(super) fn command(self, at: Address) -> Result<Command, Problem> {
        let instant = |written: WrittenInstant, field| {
            written.time().map_err(|bad| Problem::from(bad).field(field))
        };
        let by = match (self.by, self.due) {
            (Some(by), None) => {
                ExtendBy::Span(by.span().map_err(|bad| Problem::from(bad).field("by"))?)
            }
            (None, Some(due)) => ExtendBy::Due(instant(due, "due")?),
            (None, None) => {
                return Err(Problem::new(&MISSING_FIELD)
                    .detail("neither by nor due is given")
                    .hint("send {\"by\":\"15m\"} or {\"due\":\"…\"}")
                    .field("by"));
            }
            (Some(_), Some(_)) => {
                return Err(Problem::new(&BAD_FIELD)
                    .detail("both by and due are given")
                    .hint("send one of them")
                    .field("by"));
            }
        };
        let if_due = self.if_due.map(|written| instant(written, "if_due")).transpose()?;
        Ok(Command::Extend(Extend { at, by, if_due: if_due.map(IfDue::At) }))
    }
}

impl FreezeBody {
    /// The command that it means.
    pub(super) fn command(self, at: Address) -> Result<Command, Problem> {
        let span = self.r#for.span().map_err(|bad| Problem::from(bad).field("for"))?;
        Ok(Command::Freeze { at, span })
    }
}

/// Schedule a deadline.
///
/// The queue is created if it is not there and nobody has declared one in the configuration.
#[utoipa::path(
    put, path = "/v1/queues/{queue}/deadlines/{key}", operation_id = "schedule", tag = "deadlines",
    params(At), request_body = Option<ScheduleBody>,
    responses(
        (status = 200, description = "It was there already and was kept", body = ScheduledReply),
        (status = 201, description = "A new generation began", body = ScheduledReply),
        (status = 404, description = "`unknown_queue`"),
        (status = 409, description = "`already_exists`, `delivery_under_way`, `too_many_queues`"),
        (status = 422, description = "`no_due_time`, `due_in_past`, `due_too_far`"),
    )
)]
pub(super) async fn schedule(
    api: Api,
    at: At,
    Json(body): Json<ScheduleBody>,
) -> Result<Reply, Problem> {
    ask(&api.handle, body.command(at.into())?).await
}

/// Read a deadline with its timeline.
#[utoipa::path(
    get, path = "/v1/queues/{queue}/deadlines/{key}", operation_id = "get", tag = "deadlines",
    params(At),
    responses(
        (status = 200, description = "The record", body = DeadlineReply),
        (status = 404, description = "`unknown_queue`, `unknown_deadline`"),
    )
)]
pub(super) async fn get(api: Api, at: At) -> Result<Reply, Problem> {
    ask(&api.handle, Command::Get(at.into())).await
}

/// Settle a deadline: the awaited thing happened.
#[utoipa::path(
    post, path = "/v1/queues/{queue}/deadlines/{key}/settle", operation_id = "settle", tag = "deadlines",
    params(At), request_body = SettleBody,
    responses(
        (status = 200, description = "`settled`, `already_settled`", body = SettledReply),
        (status = 202, description = "`remembered`", body = RememberedReply),
        (status = 404, description = "`unknown_queue`, `unknown_deadline`"),
        (status = 409, description = "`settled_otherwise`, `too_late`, `other_generation`"),
    )
)]
pub(super) async fn settle(
    api: Api,
    at: At,
    Json(body): Json<SettleBody>,
) -> Result<Reply, Problem> {
    ask(&api.handle, body.command(at.into())?).await.map_err(Problem::of_settle)
}

/// Move the due time.
#[utoipa::path(
    post, path = "/v1/queues/{queue}/deadlines/{key}/extend", operation_id = "extend", tag = "deadlines",
    params(At), request_body = ExtendBody,
    responses(
        (status = 200, description = "Moved", body = DeadlineReply),
        (status = 404, description = "`unknown_queue`, `unknown_deadline`"),
        (status = 409, description = "`too_late`, `already_settled`, `due_changed`, `max_total`"),
        (status = 422, description = "`due_in_past`, `due_too_far`"),
    )
)]
pub(super) async fn extend(
    api: Api,
    at: At,
    Json(body): Json<ExtendBody>,
) -> Result<Reply, Problem> {
    ask(&api.handle, body.command(at.into())?).await
}

/// Stop the clock while the customer pays.
#[utoipa::path(
    post, path = "/v1/queues/{queue}/deadlines/{key}/freeze", operation_id = "freeze", tag = "deadlines",
    params(At), request_body = FreezeBody,
    responses(
        (status = 200, description = "Frozen, or the freeze ended", body = DeadlineReply),
        (status = 404, description = "`unknown_queue`, `unknown_deadline`"),
        (status = 409, description = "`too_late`, `already_settled`, `max_freeze`"),
    )
)]
pub(super) async fn freeze(
    api: Api,
    at: At,
    Json(body): Json<FreezeBody>,
) -> Result<Reply, Problem> {
    ask(&api.handle, body.command(at.into())?).await
}

/// Try a dead delivery again, now.
#[utoipa::path(
    post, path = "/v1/queues/{queue}/deadlines/{key}/revive", operation_id = "revive", tag = "deadlines",
    params(At), request_body = Option<Nothing>,
    responses(
        (status = 200, description = "Ready again", body = DeadlineReply),
        (status = 404, description = "`unknown_queue`, `unknown_deadline`"),
        (status = 409, description = "`not_dead`"),
    )
)]
pub(super) async fn revive(
    api: Api,
    at: At,
    Json(Nothing {}): Json<Nothing>,
) -> Result<Reply, Problem> {
    ask(&api.handle, Command::Revive(at.into())).await
}

/// Erase a final or dead record and all its generations.
#[utoipa::path(
    delete, path = "/v1/queues/{queue}/deadlines/{key}", operation_id = "erase", tag = "deadlines",
    params(At),
    responses(
        (status = 200, description = "Erased", body = ErasedReply),
        (status = 404, description = "`unknown_queue`, `unknown_deadline`"),
        (status = 409, description = "`still_pending`"),
    )
)]
pub(super) async fn erase(api: Api, at: At) -> Result<Reply, Problem> {
    ask(&api.handle, Command::Erase(at.into())).await
}
