//! The HTTP API: requests in, commands to the engine, answers out.
//!
//! One file per noun holds its calls; `extract` takes requests apart, `view` shows the engine's
//! types, `reply` and `refusal` are the two exhaustive matches over what the engine answers, and
//! `problem` is the one form of everything that goes wrong. The `OpenAPI` document is generated from
//! the same routes that serve. Nothing here decides about deadlines and nothing reads the time.

mod batch;
mod clock;
mod deadlines;
mod deliveries;
mod extract;
mod guard;
mod health;
mod hear;
mod list;
mod openapi;
mod pages;
mod problem;
mod queues;
pub mod reading;
mod refusal;
mod reply;
mod serve;
mod stats;
mod view;

use std::collections::BTreeSet;
use std::sync::Arc;

use axum::http::StatusCode;
use axum::middleware::{from_fn, map_response};
use axum::routing;
use tokio::sync::watch;
use utoipa::OpenApi as _;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

pub use problem::{KINDS, Kind};
pub use serve::serve;

use crate::handle::Handle;
use crate::metrics::Metrics;

/// What the router needs to know beside the way to the engine.
#[derive(Clone, Debug)]
pub struct HttpSettings {
    /// The tables of the configuration that targets may lead to.
    pub tables: BTreeSet<String>,
    /// Turns true when the server stops: long polls end then.
    pub stopping: watch::Receiver<bool>,
}

/// What every call has at hand.
#[derive(Clone)]
struct Api {
    handle: Handle,
    metrics: Metrics,
    settings: Arc<HttpSettings>,
}

/// All calls of the API, and their `OpenAPI` document at `/openapi.json`.
pub fn router(handle: Handle, settings: HttpSettings, metrics: Metrics) -> axum::Router {
    let (calls, mut document) = calls().split_for_parts();
    openapi::complete(&mut document);
    let document = serde_json::to_value(document).expect("an OpenAPI document is plain JSON");
    let show = move || async move { reply::json(StatusCode::OK, &document) };
    calls
        .route("/openapi.json", routing::get(show))
        .route("/", routing::get(pages::root))
        .route("/docs/errors", routing::get(pages::errors))
        .route("/docs/http", routing::get(pages::http))
        .fallback(problem::unknown_path)
        .with_state(Api { handle, metrics, settings: Arc::new(settings) })
        .layer(map_response(problem::whole))
}

/// Carries out the lines of a batch and gives their answers, line for line, as `POST /v1/batch` does;
/// nothing when the server has stopped.
pub async fn carry_out(handle: &Handle, lines: &str) -> Option<String> {
    let answers = batch::carry_out(handle, lines.as_bytes()).await.ok()?;
    String::from_utf8(answers).ok()
}

fn calls() -> OpenApiRouter<Api> {
    let with_parameters =
        OpenApiRouter::new().routes(routes!(list::list)).routes(routes!(stats::forecast));
    let without = OpenApiRouter::new()
        .routes(routes!(deadlines::get, deadlines::schedule, deadlines::erase))
        .routes(routes!(deadlines::settle))
        .routes(routes!(deadlines::extend))
        .routes(routes!(deadlines::freeze))
        .routes(routes!(deadlines::revive))
        .routes(routes!(batch::batch))
        .routes(routes!(queues::get, queues::put, queues::delete))
        .routes(routes!(queues::pause))
        .routes(routes!(queues::resume))
        .routes(routes!(queues::shift))
        .routes(routes!(deliveries::lease))
        .routes(routes!(deliveries::verdict))
        .routes(routes!(deliveries::touch))
        .routes(routes!(stats::all))
        .routes(routes!(stats::one))
        .routes(routes!(clock::get))
        .routes(routes!(clock::advance))
        .routes(routes!(clock::confirm))
        .routes(routes!(health::alive))
        .routes(routes!(health::ready))
        .routes(routes!(health::metrics))
        .route_layer(from_fn(guard::no_parameters));
    OpenApiRouter::with_openapi(openapi::Document::openapi()).merge(with_parameters).merge(without)
}
