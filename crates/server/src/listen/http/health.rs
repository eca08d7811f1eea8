//! Health for supervisors and figures for Prometheus.
//!
//! `/healthz` says that the process lives and asks nobody; `/readyz` says that it is worth sending
//! requests to; `/metrics` reads the engine once per scrape, and leaves it out while that would not
//! answer.

use axum::http::header::CONTENT_TYPE;
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use utoipa::ToSchema;

use super::Api;
use super::problem::{NOT_READY, Problem, STALLED, STOPPING};
use super::reply::json;
use super::stats;
use crate::metrics::Metrics;

/// The process lives.
#[derive(Serialize, ToSchema)]
pub(super) struct AliveReply {
    /// `alive`.
    status: &'static str,
    /// The server's version.
    version: &'static str,
}

/// The server is ready.
#[derive(Serialize, ToSchema)]
pub(super) struct ReadyReply {
    /// `ready`.
    status: &'static str,
    /// Spare journal segments in reserve.
    spare_segments: usize,
    /// Final records on their way to the archive.
    archive_lag: u64,
    /// Table watches and outboxes that are held up; the server itself is ready all the same.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    held_up: Vec<HeldUp>,
}

/// Something of the configuration that something keeps from its work.
#[derive(Serialize, ToSchema)]
pub(super) struct HeldUp {
    /// Its name there: `watches.shop-orders`, `outboxes.shop`.
    name: String,
    /// What it is, stable: `watch_database_away`, `watch_clock_mismatch`, …, `outbox_held_up`.
    code: &'static str,
    /// The same for people.
    why: String,
}

/// The process lives.
#[utoipa::path(
    get, path = "/healthz", operation_id = "healthz", tag = "health",
    responses((status = 200, description = "It lives", body = AliveReply))
)]
pub(super) async fn alive(_: Api) -> Response {
    let reply = AliveReply { status: "alive", version: env!("CARGO_PKG_VERSION") };
    json(StatusCode::OK, &reply)
}

/// Journal, archive and driver are at work and the server is not stopping.
#[utoipa::path(
    get, path = "/readyz", operation_id = "readyz", tag = "health",
    responses(
        (status = 200, description = "Ready", body = ReadyReply),
        (status = 503, description = "`not_ready`, `stalled`, `stopping`"),
    )
)]
pub(super) async fn ready(api: Api) -> Result<Response, Problem> {
    if *api.settings.stopping.borrow() {
        return Err(Problem::new(&STOPPING));
    }
    let health = api.handle.health();
    if let Some(stall) = health.stall {
        let detail = format!("{}: {}", stall.reason(), stall.sentence());
        return Err(Problem::new(&STALLED).detail(detail));
    }
    if !health.ready {
        return Err(Problem::new(&NOT_READY).detail(format!(
            "{} spare journal segments, {} records on their way to the archive",
            health.spare_segments, health.archive_lag
        )));
    }
    let reply = ReadyReply {
        status: "ready",
        spare_segments: health.spare_segments,
        archive_lag: health.archive_lag,
        held_up: held_up(&api.metrics),
    };
    Ok(json(StatusCode::OK, &reply))
}

fn held_up(metrics: &Metrics) -> Vec<HeldUp> {
    let watches = metrics.watches().all().into_iter().filter_map(|(name, figures)| {
        let trouble = figures.trouble?;
        let name = format!("watches.{name}");
        Some(HeldUp { name, code: trouble.code(), why: trouble.sentence() })
    });
    let outboxes = metrics.outboxes().all().into_iter().filter_map(|(name, figures)| {
        let name = format!("outboxes.{name}");
        Some(HeldUp { name, code: "outbox_held_up", why: figures.trouble? })
    });
    watches.chain(outboxes).collect()
}

/// Figures in Prometheus' text form.
#[utoipa::path(
    get, path = "/metrics", operation_id = "metrics", tag = "health",
    responses(
        (status = 200, description = "OpenMetrics text", body = String,
            content_type = "application/openmetrics-text"),
        (status = 503, description = "`stopping`"),
    )
)]
pub(super) async fn metrics(api: Api) -> Result<Response, Problem> {
    let health = api.handle.health();
    let text = if health.stall.is_some() {
        api.metrics.text(None, health)
    } else {
        let (clock, queues) = stats::read(&api.handle).await?;
        api.metrics.text(Some((&clock, &queues)), health)
    };
    let mut response = text.into_response();
    let media_type = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(media_type));
    Ok(response)
}
