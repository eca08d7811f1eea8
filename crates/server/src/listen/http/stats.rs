//! Figures: counts per state and outcome, lateness, and what falls due in the coming hours.
//!
//! Counts are the engine's own and cumulative: a rate is the difference of two readings. Lateness is
//! since this process began. The forecast is counted from the live records when it is asked for.

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use duly_engine::answer::{Answer, ClockView, QueueView as Queue};
use duly_engine::command::{Command, Filter};
use duly_engine::deadline::State as DeadlineState;
use duly_engine::time::{Span, Time};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::Api;
use super::extract::{InQueue, Parameters, queue_name};
use super::list::count;
use super::problem::{BAD_PARAMETER, Problem};
use super::refusal;
use super::reply::json;
use super::view::QueueView;
use crate::handle::Handle;
use crate::metrics::Lateness;
use crate::units::{duration, show_instant};

const MINUTE: Span = Span::from_mins(1);
/// How far a forecast looks that names no length, and how far at most.
const AHEAD: (Span, Span) = (Span::from_hours(1), Span::from_hours(24));

/// All queues.
#[derive(Serialize, ToSchema)]
pub(super) struct StatsReply {
    /// Journal time of the reading.
    #[schema(format = DateTime)]
    now: String,
    /// By name.
    queues: Vec<QueueView>,
    lateness: LatenessView,
}

/// One queue.
#[derive(Serialize, ToSchema)]
pub(super) struct QueueStatsReply {
    /// Journal time of the reading.
    #[schema(format = DateTime)]
    now: String,
    queue: QueueView,
}

/// How late deadlines lapsed since this process began, all queues together.
#[derive(Serialize, ToSchema)]
#[schema(as = Lateness)]
pub(super) struct LatenessView {
    /// Lapses.
    count: u64,
    /// Half of them were not later.
    p50_ms: u64,
    /// 99 of 100 were not later.
    p99_ms: u64,
    /// The latest.
    max_ms: u64,
    /// How many were late by so much at most, and by more than the bucket before.
    buckets: Vec<BucketView>,
}

/// One bucket of a histogram.
#[derive(Serialize, ToSchema)]
#[schema(as = Bucket)]
pub(super) struct BucketView {
    /// At most so late; `null` is later than all others.
    le_ms: Option<u64>,
    /// So many.
    count: u64,
}

/// How far ahead to look, and at which queue.
#[derive(Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct ForecastParameters {
    /// Only this queue.
    #[param(pattern = "^[A-Za-z0-9._:-]{1,64}$")]
    queue: Option<String>,
    /// So far ahead: `1h` by default, at most `24h`.
    #[param(pattern = "^([1-9][0-9]{0,2}m|[1-9]h|1[0-9]h|2[0-4]h)$")]
    ahead: Option<String>,
}

/// What falls due.
#[derive(Serialize, ToSchema)]
pub(super) struct ForecastReply {
    /// Journal time of the reading.
    #[schema(format = DateTime)]
    now: String,
    /// Those in which something falls due, by name.
    queues: Vec<QueueForecast>,
}

/// What falls due in one queue.
#[derive(Default, Serialize, ToSchema)]
pub(super) struct QueueForecast {
    /// Its name.
    name: String,
    /// Pending although due before this minute: in grace, frozen or withheld.
    overdue: u64,
    /// Minutes in which something is due, in order.
    minutes: Vec<MinuteView>,
}

/// One minute of a forecast.
#[derive(Serialize, ToSchema)]
#[schema(as = Minute)]
pub(super) struct MinuteView {
    /// Its beginning.
    #[schema(format = DateTime)]
    at: String,
    /// Deadlines due in it.
    due: u64,
}

impl ForecastParameters {
    /// How far ahead to look.
    pub(super) fn ahead(&self) -> Result<Span, Problem> {
        let (usual, longest) = AHEAD;
        let ahead = match &self.ahead {
            Some(text) => duration(text).map_err(|bad| Problem::from(bad).field("ahead"))?,
            None => usual,
        };
        if ahead > longest {
            return Err(Problem::new(&BAD_PARAMETER)
                .detail(format!("ahead is at most {longest}"))
                .field("ahead"));
        }
        Ok(ahead)
    }
}

impl From<Lateness> for LatenessView {
    fn from(lateness: Lateness) -> LatenessView {
        LatenessView {
            count: lateness.count(),
            p50_ms: lateness.quantile(50).millis(),
            p99_ms: lateness.quantile(99).millis(),
            max_ms: lateness.max.millis(),
            buckets: lateness
                .buckets
                .iter()
                .map(|&(le, count)| BucketView { le_ms: le.map(Span::millis), count })
                .collect(),
        }
    }
}

/// The clock and all queues, in one reading.
pub(super) async fn read(handle: &Handle) -> Result<(ClockView, Vec<Queue>), Problem> {
    let answers = handle.ask_all(vec![Command::GetClock, Command::ListQueues]).await?;
    match <[Answer; 2]>::try_from(answers) {
        Ok([Answer::Clock(clock), Answer::Queues(queues)]) => Ok((clock, queues)),
        other => unreachable!("a reading of clock and queues was answered with {other:?}"),
    }
}

/// Counts per state and outcome of all queues, and lateness.
#[utoipa::path(
    get, path = "/v1/stats", operation_id = "stats", tag = "stats",
    responses((status = 200, description = "All queues", body = StatsReply))
)]
pub(super) async fn all(api: Api) -> Result<Response, Problem> {
    let (clock, queues) = read(&api.handle).await?;
    let reply = StatsReply {
        now: show_instant(clock.now),
        queues: queues.into_iter().map(QueueView::figures).collect(),
        lateness: api.metrics.lateness().into(),
    };
    Ok(json(StatusCode::OK, &reply))
}

/// Counts per state and outcome of one queue.
#[utoipa::path(
    get, path = "/v1/queues/{queue}/stats", operation_id = "queue_stats", tag = "stats",
    params(InQueue),
    responses(
        (status = 200, description = "The queue", body = QueueStatsReply),
        (status = 404, description = "`unknown_queue`"),
    )
)]
pub(super) async fn one(api: Api, InQueue { queue }: InQueue) -> Result<Response, Problem> {
    let commands = vec![Command::GetClock, Command::GetQueue(queue)];
    let answers = api.handle.ask_all(commands).await?;
    match <[Answer; 2]>::try_from(answers) {
        Ok([Answer::Clock(clock), Answer::Queue(queue)]) => {
            let reply =
                QueueStatsReply { now: show_instant(clock.now), queue: QueueView::figures(*queue) };
            Ok(json(StatusCode::OK, &reply))
        }
        Ok([_, Answer::Refused(refusal)]) => Err(refusal::problem(refusal)),
        other => unreachable!("a reading of clock and queue was answered with {other:?}"),
    }
}

/// How many deadlines fall due in each coming minute.
#[utoipa::path(
    get, path = "/v1/forecast", operation_id = "forecast", tag = "stats",
    params(ForecastParameters),
    responses(
        (status = 200, description = "Due per minute ahead", body = ForecastReply),
        (status = 404, description = "`unknown_queue`"),
    )
)]
pub(super) async fn forecast(
    State(api): State<Api>,
    Parameters(parameters): Parameters<ForecastParameters>,
) -> Result<Response, Problem> {
    let ahead = parameters.ahead()?;
    let queue = parameters.queue.as_deref().map(queue_name).transpose()?;
    let now = time(&api.handle).await?;
    let filter = Filter {
        state: Some(DeadlineState::Pending),
        due_to: Some(now.plus(ahead)),
        ..Filter::default()
    };
    let counts = count(&api.handle, queue, filter, MINUTE).await?;
    let mut queues: Vec<QueueForecast> = Vec::new();
    for ((queue, minute), due) in counts {
        if queues.last().is_none_or(|last| last.name != queue.as_str()) {
            queues.push(QueueForecast { name: queue.to_string(), ..QueueForecast::default() });
        }
        let Some(last) = queues.last_mut() else { continue };
        if minute.plus(MINUTE) <= now {
            last.overdue += due;
        } else {
            last.minutes.push(MinuteView { at: show_instant(minute), due });
        }
    }
    Ok(json(StatusCode::OK, &ForecastReply { now: show_instant(now), queues }))
}

async fn time(handle: &Handle) -> Result<Time, Problem> {
    match handle.ask(Command::GetClock).await? {
        Answer::Clock(clock) => Ok(clock.now),
        other => unreachable!("a question for the time was answered with {other:?}"),
    }
}
