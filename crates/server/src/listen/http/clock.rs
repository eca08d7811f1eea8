//! The calls about the clock: read it, advance a manual one, confirm it after the guard.

use axum::http::StatusCode;
use axum::response::Response;
use duly_engine::answer::{Answer, ClockView as Clock};
use duly_engine::command::Command;
use duly_engine::time::Span;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::Api;
use super::deadlines::Nothing;
use super::extract::Json;
use super::problem::{CLOCK_NOT_MANUAL, Problem};
use super::refusal;
use super::reply::json;
use super::view::ClockView;
use crate::units::WrittenDuration;

/// How far to advance a manual clock.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = Advance)]
pub(super) struct AdvanceBody {
    /// By so much.
    by: WrittenDuration,
}

impl AdvanceBody {
    /// How far.
    pub(super) fn meant(&self) -> Result<Span, Problem> {
        self.by.span().map_err(|bad| Problem::from(bad).field("by"))
    }
}

/// The clock.
#[derive(Serialize, ToSchema)]
pub(super) struct ClockReply {
    /// The clock.
    clock: ClockView,
}

/// What time it is, and whether the clock is trusted.
#[utoipa::path(
    get, path = "/v1/clock", operation_id = "get_clock", tag = "clock",
    responses((status = 200, description = "The clock", body = ClockReply))
)]
pub(super) async fn get(api: Api) -> Result<Response, Problem> {
    Ok(show(&api, ask(&api, Command::GetClock).await?))
}

/// Advance a manual clock; what became due has lapsed when this answers.
#[utoipa::path(
    post, path = "/v1/clock/advance", operation_id = "advance_clock", tag = "clock",
    request_body = AdvanceBody,
    responses(
        (status = 200, description = "The clock", body = ClockReply),
        (status = 409, description = "`clock_not_manual`"),
    )
)]
pub(super) async fn advance(api: Api, Json(body): Json<AdvanceBody>) -> Result<Response, Problem> {
    let by = body.meant()?;
    if api.handle.advance_clock(by).is_none() {
        return Err(Problem::new(&CLOCK_NOT_MANUAL));
    }
    loop {
        let clock = ask(&api, Command::GetClock).await?;
        if !clock.behind {
            return Ok(show(&api, clock));
        }
    }
}

/// The operator's word that the wall clock is right, after the clock guard went up.
#[utoipa::path(
    post, path = "/v1/clock/confirm", operation_id = "confirm_clock", tag = "clock",
    request_body = Option<Nothing>,
    responses(
        (status = 200, description = "The clock", body = ClockReply),
        (status = 409, description = "`clock_trusted`"),
    )
)]
pub(super) async fn confirm(
    api: Api,
    Json(Nothing {}): Json<Nothing>,
) -> Result<Response, Problem> {
    Ok(show(&api, ask(&api, Command::ConfirmClock).await?))
}

fn show(api: &Api, clock: Clock) -> Response {
    let clock = ClockView::new(clock, api.handle.clock_is_manual());
    json(StatusCode::OK, &ClockReply { clock })
}

async fn ask(api: &Api, command: Command) -> Result<Clock, Problem> {
    match api.handle.ask(command).await? {
        Answer::Clock(clock) => Ok(clock),
        Answer::Refused(refusal) => Err(refusal::problem(refusal)),
        other => unreachable!("a question about the clock was answered with {other:?}"),
    }
}
