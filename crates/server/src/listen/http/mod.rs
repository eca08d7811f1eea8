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
mod door;
mod events;
mod extract;
mod guard;
mod health;
mod hear;
mod links;
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
mod stream;
mod view;
mod watches;

use std::collections::BTreeSet;
use std::ops::Deref;
use std::sync::Arc;

use axum::extract::FromRequestParts;
use axum::http::StatusCode;
use axum::http::request::Parts;
use axum::middleware::map_response;
use axum::routing;
use tokio::sync::{Semaphore, watch};
use utoipa::OpenApi as _;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

pub use batch::write_answer;
pub use links::Secrets;
use links::{Links, Window};
use problem::Problem;
pub use problem::{KINDS, Kind};
use serve::Crowd;
pub use serve::{serve, serve_public};

use crate::handle::Handle;
use crate::metrics::Metrics;
use crate::reconciliation::Desks;

/// What the router needs to know beside the way to the engine.
#[derive(Clone, Debug)]
pub struct HttpSettings {
    /// The tables of the configuration that targets may lead to.
    pub tables: BTreeSet<String>,
    /// Where the table watches are asked.
    pub desks: Desks,
    /// What watch links are signed with.
    pub link_secrets: Secrets,
    /// What they begin with, if not with the path.
    pub public_url: Option<String>,
    /// Streams that one address may hold open at the public listener.
    pub public_streams: usize,
    /// Turns true when the server stops: long polls and streams end then.
    pub stopping: watch::Receiver<bool>,
}

/// What every call has at hand. It is cloned for each of them, and so is one reference. A call that
/// takes it as it is has no query parameters; one that has some takes it as the state.
#[derive(Clone)]
struct Api(Arc<AtHand>);

impl FromRequestParts<Api> for Api {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, api: &Api) -> Result<Api, Problem> {
        guard::no_parameters(&parts.uri)?;
        Ok(api.clone())
    }
}

impl Deref for Api {
    type Target = AtHand;

    fn deref(&self) -> &AtHand {
        &self.0
    }
}

struct AtHand {
    handle: Handle,
    metrics: Metrics,
    settings: HttpSettings,
    /// Places for those who follow all events.
    followers: Arc<Semaphore>,
    window: Window,
}

/// What is served, listener by listener.
#[derive(Debug)]
pub struct Routers {
    /// All calls of the API, and their `OpenAPI` document at `/openapi.json`.
    pub api: axum::Router,
    /// Watch links, and nothing else.
    pub public: axum::Router,
}

/// All that can be called.
pub fn routers(handle: Handle, settings: HttpSettings, metrics: Metrics) -> Routers {
    let (secrets, url) = (settings.link_secrets.clone(), settings.public_url.clone());
    let links = Links::new(handle.clone(), secrets, url, settings.stopping.clone());
    let crowd = Crowd::new(settings.public_streams);
    Routers {
        public: watching(links.window(Some(crowd))).fallback(problem::unknown_path),
        api: api(Api(Arc::new(AtHand {
            handle,
            metrics,
            settings,
            followers: Arc::new(Semaphore::new(events::FOLLOWERS)),
            window: links.window(None),
        }))),
    }
}

/// Everything under `/w/`.
fn watching(window: Window) -> axum::Router {
    let (calls, _) = watched().split_for_parts();
    calls
        .with_state(window)
        .layer(map_response(async |response| links::for_any_page(problem::whole(response))))
}

fn watched() -> OpenApiRouter<Window> {
    OpenApiRouter::new()
        .routes(routes!(links::script))
        .routes(routes!(links::state))
        .routes(routes!(links::follow))
}

fn api(api: Api) -> axum::Router {
    let watching = watching(api.window.clone());
    let (calls, mut document) = calls().split_for_parts();
    document.merge(watched().split_for_parts().1);
    openapi::complete(&mut document);
    let document = serde_json::to_value(document).expect("an OpenAPI document is plain JSON");
    let show = move || async move { reply::json(StatusCode::OK, &document) };
    calls
        .route("/openapi.json", routing::get(show))
        .route("/", routing::get(pages::root))
        .route("/docs/errors", routing::get(pages::errors))
        .route("/docs/http", routing::get(pages::http))
        .fallback(problem::unknown_path)
        .with_state(api)
        .merge(watching)
}

/// Carries out the lines of a batch and gives their answers, line for line, as `POST /v1/batch` does;
/// nothing when the server has stopped.
pub async fn carry_out(handle: &Handle, lines: &str) -> Option<String> {
    let answers = batch::carry_out(handle, lines.as_bytes()).await.ok()?;
    String::from_utf8(answers).ok()
}

fn calls() -> OpenApiRouter<Api> {
    OpenApiRouter::with_openapi(openapi::Document::openapi())
        .routes(routes!(list::list))
        .routes(routes!(stats::forecast))
        .routes(routes!(events::follow))
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
        .routes(routes!(links::make))
        .routes(routes!(watches::all))
        .routes(routes!(watches::one))
        .routes(routes!(watches::reconcile))
        .routes(routes!(stats::all))
        .routes(routes!(stats::one))
        .routes(routes!(clock::get))
        .routes(routes!(clock::advance))
        .routes(routes!(clock::confirm))
        .routes(routes!(health::alive))
        .routes(routes!(health::ready))
        .routes(routes!(health::metrics))
}
