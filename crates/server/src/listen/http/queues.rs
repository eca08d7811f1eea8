//! The calls about one queue: its policy, pause and resume, and the shift of all its due times.
//!
//! A policy that is put is laid over the defaults, so that the same request always gives the same
//! policy, whatever the queue was before.

use duly_engine::command::{Command, Filter};
use duly_engine::deadline::State as DeadlineState;
use duly_engine::limits::HORIZON;
use duly_engine::time::Time;
use serde::Deserialize;
use utoipa::ToSchema;

use super::Api;
use super::extract::{InQueue, Json};
use super::list::count;
use super::problem::{BAD_FIELD, Problem};
use super::reply::{QueueDeletedReply, QueueReply, Reply, ShiftReply, ask};
use crate::listen::policy;
use crate::policy::PolicyText;
use crate::units::{WrittenDuration, WrittenInstant};

/// What waits, or goes on; deliveries when neither is named.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = Pause)]
pub(super) struct PauseBody {
    /// Deliveries.
    deliveries: Option<bool>,
    /// Lapses: settles win as long as they wait.
    lapses: Option<bool>,
}

/// Which due times to move, and by how much.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = ShiftRequest)]
pub(super) struct ShiftBody {
    /// Due at or after.
    from: WrittenInstant,
    /// Due before.
    to: WrittenInstant,
    /// Later by so much; with a minus sign (`-5m`) earlier.
    by: WrittenDuration,
    /// Only count them.
    dry_run: Option<bool>,
}

/// Create a queue or change its policy; what is left out is as the defaults have it.
#[utoipa::path(
    put, path = "/v1/queues/{queue}", operation_id = "put_queue", tag = "queues",
    params(InQueue), request_body = Option<PolicyText>,
    responses(
        (status = 200, description = "The queue", body = QueueReply),
        (status = 409, description = "`queue_declared`, `too_many_queues`"),
        (status = 422, description = "`bad_policy`"),
    )
)]
pub(super) async fn put(
    api: Api,
    InQueue { queue }: InQueue,
    Json(body): Json<PolicyText>,
) -> Result<Reply, Problem> {
    let policy = Box::new(policy::meant(&body, &api.settings.tables)?);
    ask(&api.handle, Command::PutQueue { queue, policy, declared: None }).await
}

/// Read a queue: its policy and its figures.
#[utoipa::path(
    get, path = "/v1/queues/{queue}", operation_id = "get_queue", tag = "queues",
    params(InQueue),
    responses(
        (status = 200, description = "The queue", body = QueueReply),
        (status = 404, description = "`unknown_queue`"),
    )
)]
pub(super) async fn get(api: Api, InQueue { queue }: InQueue) -> Result<Reply, Problem> {
    ask(&api.handle, Command::GetQueue(queue)).await
}

/// Remove an empty queue.
#[utoipa::path(
    delete, path = "/v1/queues/{queue}", operation_id = "delete_queue", tag = "queues",
    params(InQueue),
    responses(
        (status = 200, description = "Gone", body = QueueDeletedReply),
        (status = 404, description = "`unknown_queue`"),
        (status = 409, description = "`queue_not_empty`, `queue_declared`"),
    )
)]
pub(super) async fn delete(api: Api, InQueue { queue }: InQueue) -> Result<Reply, Problem> {
    ask(&api.handle, Command::DeleteQueue(queue)).await
}

/// Let deliveries wait, or lapses, or both.
#[utoipa::path(
    post, path = "/v1/queues/{queue}/pause", operation_id = "pause", tag = "queues",
    params(InQueue), request_body = Option<PauseBody>,
    responses(
        (status = 200, description = "The queue", body = QueueReply),
        (status = 404, description = "`unknown_queue`"),
    )
)]
pub(super) async fn pause(
    api: Api,
    InQueue { queue }: InQueue,
    Json(body): Json<PauseBody>,
) -> Result<Reply, Problem> {
    ask(&api.handle, body.command(queue, true)).await
}

/// Let deliveries, or lapses, or both, go on.
#[utoipa::path(
    post, path = "/v1/queues/{queue}/resume", operation_id = "resume", tag = "queues",
    params(InQueue), request_body = Option<PauseBody>,
    responses(
        (status = 200, description = "The queue", body = QueueReply),
        (status = 404, description = "`unknown_queue`"),
    )
)]
pub(super) async fn resume(
    api: Api,
    InQueue { queue }: InQueue,
    Json(body): Json<PauseBody>,
) -> Result<Reply, Problem> {
    ask(&api.handle, body.command(queue, false)).await
}

/// Move all pending due times in a window (a provider's outage); count them first with `dry_run`.
#[utoipa::path(
    post, path = "/v1/queues/{queue}/shift", operation_id = "shift", tag = "queues",
    params(InQueue), request_body = ShiftBody,
    responses(
        (status = 200, description = "Moved, or counted", body = ShiftReply),
        (status = 202, description = "Being moved; the queue shows how far it is", body = ShiftReply),
        (status = 404, description = "`unknown_queue`"),
        (status = 409, description = "`shift_under_way`, `queue_declared`"),
    )
)]
pub(super) async fn shift(
    api: Api,
    InQueue { queue }: InQueue,
    Json(body): Json<ShiftBody>,
) -> Result<Reply, Problem> {
    let (from, to, by_ms) = body.meant()?;
    if !body.dry_run.unwrap_or(false) {
        return ask(&api.handle, Command::Shift { queue, from, to, by_ms }).await;
    }
    let filter = Filter {
        state: Some(DeadlineState::Pending),
        due_from: Some(from),
        due_to: Some(to),
        ..Filter::default()
    };
    let counts = count(&api.handle, Some(queue), filter, HORIZON).await?;
    Ok(Reply::would_move(counts.values().sum()))
}

impl ShiftBody {
    /// The window, and by how many milliseconds.
    pub(super) fn meant(&self) -> Result<(Time, Time, i64), Problem> {
        let from = self.from.time().map_err(|bad| Problem::from(bad).field("from"))?;
        let to = self.to.time().map_err(|bad| Problem::from(bad).field("to"))?;
        let by_ms = self.by.signed_millis().map_err(|bad| Problem::from(bad).field("by"))?;
        if from >= to {
            return Err(Problem::new(&BAD_FIELD)
                .detail("to is not after from")
                .hint("the window is from (included) to to (excluded)")
                .field("to"));
        }
        Ok((from, to, by_ms))
    }
}

impl PauseBody {
    pub(super) fn command(&self, queue: duly_engine::id::QueueName, wait: bool) -> Command {
        let said = |named: Option<bool>| named.unwrap_or(false).then_some(wait);
        let (deliveries, lapses) = match (self.deliveries, self.lapses) {
            (None, None) => (Some(wait), None),
            (deliveries, lapses) => (said(deliveries), said(lapses)),
        };
        Command::Pause { queue, deliveries, lapses }
    }
}
