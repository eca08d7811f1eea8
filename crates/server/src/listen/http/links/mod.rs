//! Watch links: one deadline, read-only, for whoever has the link.
//!
//! A shop asks for a link and puts it into its page; the customer's browser asks the server itself
//! how long there is left. The link is signed and nothing is stored (`token`). What it shows is little:
//! where the deadline stands and until when, never the payload, and the outcome only if the link says
//! so. Everything under `/w/` may be read from any page and through any host name, and it is all that
//! the public listener serves.

mod token;
mod watchers;

use std::sync::Arc;
use std::time::Duration;

use axum::Extension;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use axum::http::header::{ACCESS_CONTROL_ALLOW_ORIGIN, CACHE_CONTROL, CONTENT_TYPE};
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use duly_engine::answer::{Answer, Refusal};
use duly_engine::command::{Address, Command};
use duly_engine::deadline::{Deadline, State as Standing};
use duly_engine::id::Generation;
use duly_engine::limits::HORIZON;
use duly_engine::time::{Span, Time};
use serde::{Deserialize, Serialize};
use tokio::sync::{Semaphore, watch};
use utoipa::ToSchema;

use super::Api;
use super::door::Peer;
use super::extract::{self, Json};
use super::problem::{
    BAD_DURATION, BAD_FIELD, LINK_EXPIRED, LINK_OUTDATED, Problem, TOO_MANY_STREAMS, UNKNOWN_LINK,
};
use super::refusal;
use super::reply::json;
use super::serve::{Crowd, Place};
use super::stream::{Over, Stream, Woken};
use crate::handle::Handle;
use crate::units::{WrittenDuration, show_instant};
pub use token::Secrets;
use token::Ticket;
use watchers::{Watcher, Watchers};

/// How long a link holds beyond the due time if nobody says how long.
const BEYOND_DUE: Span = Span::from_hours(24);
/// Streams of links at once, of one listener.
const STREAMS: usize = 4_096;
/// A browser comes back so soon after a stream has broken off, in milliseconds.
const RETRY_MS: u32 = 2_000;
/// Pages may keep the script for so long.
const SCRIPT_KEPT: &str = "public, max-age=300";
/// `<duly-countdown>`.
const SCRIPT: &str = include_str!("duly.js");

/// All that links need beside the way to the engine.
#[derive(Clone)]
pub(super) struct Links {
    handle: Handle,
    secrets: Secrets,
    public_url: Option<String>,
    watchers: Watchers,
    stopping: watch::Receiver<bool>,
}

/// Links as one listener serves them.
#[derive(Clone)]
pub(super) struct Window {
    pub(super) links: Links,
    streams: Arc<Semaphore>,
    crowd: Option<Crowd>,
}

impl Links {
    pub(super) fn new(
        handle: Handle,
        secrets: Secrets,
        public_url: Option<String>,
        stopping: watch::Receiver<bool>,
    ) -> Links {
        let watchers = Watchers::new(handle.events().clone(), stopping.clone());
        Links { handle, secrets, public_url, watchers, stopping }
    }

    /// To be served by a listener; `crowd` counts who holds streams there.
    pub(super) fn window(&self, crowd: Option<Crowd>) -> Window {
        Window { links: self.clone(), streams: Arc::new(Semaphore::new(STREAMS)), crowd }
    }
}

/// A link to make.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = LinkWish)]
pub(super) struct LinkBody {
    /// The deadline's queue.
    #[schema(pattern = "^[A-Za-z0-9._:-]{1,64}$")]
    queue: String,
    /// The deadline's key.
    #[schema(min_length = 1, max_length = 512)]
    key: String,
    /// Void after so long; a day beyond the due time unless it is said.
    ttl: Option<WrittenDuration>,
    /// Only this generation; otherwise whichever there is when somebody looks.
    #[schema(format = Int64, minimum = 1, maximum = 4_294_967_295_u32)]
    generation: Option<u32>,
    /// Show how the deadline was settled, too.
    show_outcome: Option<bool>,
}

/// What a link is wanted for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LinkWanted {
    /// The deadline.
    pub at: Address,
    /// Void after so long; a day beyond the due time unless it is said.
    pub ttl: Option<Span>,
    /// Only this generation.
    pub generation: Option<Generation>,
    /// May it say how the deadline was settled?
    pub show_outcome: bool,
}

impl LinkBody {
    pub(super) fn meant(&self) -> Result<LinkWanted, Problem> {
        let at =
            Address { queue: extract::queue_name(&self.queue)?, key: extract::key(&self.key)? };
        let generation = self.generation.map(Generation);
        if generation == Some(Generation(0)) {
            return Err(Problem::new(&BAD_FIELD)
                .detail("the first generation is 1")
                .field("generation"));
        }
        let ttl = self.ttl.as_ref().map(how_long).transpose()?;
        Ok(LinkWanted { at, ttl, generation, show_outcome: self.show_outcome.unwrap_or(false) })
    }
}

/// A link that was made.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Link)]
pub(super) struct LinkReply {
    /// What a page asks: `public_url` of the configuration and the path, or the path alone.
    url: String,
    /// The last part of it.
    token: String,
    /// When the link becomes void.
    #[schema(format = DateTime)]
    expires_at: String,
}

/// Where a deadline stands, for whoever has a link to it.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[serde(tag = "state", rename_all = "lowercase")]
#[schema(as = LinkedState)]
pub(super) enum LinkedView {
    /// Neither settled nor lapsed.
    Pending {
        /// When it is due.
        #[schema(format = DateTime)]
        due: String,
        /// The clock stands still until then, while it does.
        #[schema(format = DateTime)]
        frozen_until: Option<String>,
        /// What is left, in milliseconds, until both due and the end of a freeze are past.
        #[schema(minimum = 0)]
        remaining_ms: u64,
        /// What time it is for the server.
        #[schema(format = DateTime)]
        server_time: String,
    },
    /// Settled in time.
    Settled {
        /// When it was due.
        #[schema(format = DateTime)]
        due: String,
        /// When it was settled.
        #[schema(format = DateTime)]
        settled_at: Option<String>,
        /// How, if the link shows it.
        #[serde(skip_serializing_if = "Option::is_none")]
        outcome: Option<String>,
        /// What time it is for the server.
        #[schema(format = DateTime)]
        server_time: String,
    },
    /// Passed unsettled.
    Lapsed {
        /// When it was due.
        #[schema(format = DateTime)]
        due: String,
        /// When it lapsed.
        #[schema(format = DateTime)]
        lapsed_at: Option<String>,
        /// What time it is for the server.
        #[schema(format = DateTime)]
        server_time: String,
    },
}

/// Make a watch link for one deadline.
///
/// It is signed and not stored: making one costs the server nothing, and it cannot be taken back
/// before it expires.
#[utoipa::path(
    post, path = "/v1/links", operation_id = "make_link", tag = "links",
    request_body = LinkBody,
    responses(
        (status = 200, description = "The link", body = LinkReply),
        (status = 404, description = "`unknown_queue`, `unknown_deadline`"),
        (status = 409, description = "`other_generation`"),
    )
)]
pub(super) async fn make(api: Api, Json(body): Json<LinkBody>) -> Result<Response, Problem> {
    let LinkWanted { at, ttl, generation, show_outcome } = body.meant()?;
    let links = &api.window.links;
    let (deadline, now) = look(&links.handle, &at).await?;
    if generation.is_some_and(|generation| generation != deadline.generation) {
        return Err(refusal::problem(Refusal::OtherGeneration(deadline)));
    }
    let expires = match ttl {
        Some(ttl) => now.plus(ttl),
        None => deadline.due.max(now).plus(BEYOND_DUE),
    };
    let token = links.secrets.sign(&Ticket { at, generation, expires, show_outcome });
    let base = links.public_url.as_deref().unwrap_or_default();
    let url = format!("{base}/w/{token}");
    let reply = LinkReply { url, token, expires_at: show_instant(expires) };
    Ok(json(StatusCode::OK, &reply))
}

fn how_long(ttl: &WrittenDuration) -> Result<Span, Problem> {
    let span = ttl.span().map_err(|bad| Problem::from(bad).field("ttl"))?;
    if span.is_zero() || span > HORIZON {
        return Err(Problem::new(&BAD_DURATION)
            .detail(format!("a link cannot hold for {span}"))
            .hint("more than nothing and at most ten years")
            .field("ttl"));
    }
    Ok(span)
}

/// Where the deadline of a link stands.
#[utoipa::path(
    get, path = "/w/{token}", operation_id = "watch", tag = "links",
    params(("token" = String, Path, description = "Of a link", pattern = "^[A-Za-z0-9_-]+$")),
    responses(
        (status = 200, description = "Where it stands", body = LinkedView),
        (status = 404, description = "`unknown_link`, `unknown_deadline`"),
        (status = 410, description = "`link_expired`, `link_outdated`"),
    )
)]
pub(super) async fn state(
    State(window): State<Window>,
    token: Result<Path<String>, PathRejection>,
) -> Result<Response, Problem> {
    let ticket = window.links.ticket(token)?;
    let seen = window.links.see(&ticket).await?;
    let mut response = json(StatusCode::OK, &seen.view);
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    Ok(response)
}

/// Follow the deadline of a link.
///
/// A stream of server-sent events, each of them where the deadline stands: at once, and whenever that
/// changes.
#[utoipa::path(
    get, path = "/w/{token}/events", operation_id = "follow_link", tag = "links",
    params(("token" = String, Path, description = "Of a link", pattern = "^[A-Za-z0-9_-]+$")),
    responses(
        (status = 200, description = "Where it stands, and every change",
            content_type = "text/event-stream", body = LinkedView),
        (status = 404, description = "`unknown_link`, `unknown_deadline`"),
        (status = 410, description = "`link_expired`, `link_outdated`"),
        (status = 503, description = "`too_many_streams`, `stopping`"),
    )
)]
pub(super) async fn follow(
    State(window): State<Window>,
    peer: Option<Extension<Peer>>,
    token: Result<Path<String>, PathRejection>,
) -> Result<Response, Problem> {
    let ticket = window.links.ticket(token)?;
    let full = || Problem::new(&TOO_MANY_STREAMS);
    let here = match (&window.crowd, peer) {
        (Some(crowd), Some(Extension(Peer(address)))) => crowd.enter(address).ok_or_else(full)?,
        _ => Place::default(),
    };
    let permit = Arc::clone(&window.streams).try_acquire_owned().map_err(|_| full())?;
    // Watched before it is looked at, so that no change is missed in between.
    let watcher = window.links.watchers.watch(ticket.at.clone());
    let seen = window.links.see(&ticket).await?;
    let links = window.links;
    Ok(Stream::open(links.stopping.clone(), |stream| async move {
        let told = links.tell(stream, ticket, watcher, seen).await;
        drop((here, permit));
        told
    }))
}

/// The script that defines `<duly-countdown>`, for pages of everybody.
#[utoipa::path(
    get, path = "/w/duly.js", operation_id = "countdown_script", tag = "links",
    responses((status = 200, description = "The script", content_type = "text/javascript", body = String))
)]
pub(super) async fn script() -> Response {
    let mut response = SCRIPT.into_response();
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/javascript; charset=utf-8"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static(SCRIPT_KEPT));
    response
}

/// Any page may read what is under `/w/`, errors too.
pub(super) fn for_any_page(mut response: Response) -> Response {
    let headers = response.headers_mut();
    headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("*"));
    if !headers.contains_key(CACHE_CONTROL) {
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    }
    response
}

/// What a look at a deadline gave.
struct Seen {
    view: LinkedView,
    /// What of it is news when it changes.
    lasting: (Standing, Generation, Time, Option<Time>),
    /// The clock stands still for so long.
    thaws_in: Option<Span>,
}

impl Links {
    /// What a token stands for, if it was signed here and holds.
    fn ticket(&self, token: Result<Path<String>, PathRejection>) -> Result<Ticket, Problem> {
        // What is no text was not signed here.
        let ticket = token.ok().and_then(|Path(token)| self.secrets.read(&token));
        let ticket = ticket.ok_or_else(|| Problem::new(&UNKNOWN_LINK))?;
        if ticket.expires <= self.handle.now() {
            return Err(Problem::new(&LINK_EXPIRED));
        }
        Ok(ticket)
    }

    async fn see(&self, ticket: &Ticket) -> Result<Seen, Problem> {
        let (deadline, now) = look(&self.handle, &ticket.at).await?;
        if ticket.generation.is_some_and(|generation| generation != deadline.generation) {
            return Err(Problem::new(&LINK_OUTDATED));
        }
        let frozen_until = deadline.frozen_until.filter(|until| *until > now);
        Ok(Seen {
            lasting: (deadline.state, deadline.generation, deadline.due, frozen_until),
            thaws_in: frozen_until.map(|until| until.since(now)),
            view: LinkedView::new(*deadline, now, ticket.show_outcome),
        })
    }

    /// Tells where the deadline stands until nobody listens or the link is void.
    async fn tell(
        &self,
        mut stream: Stream,
        ticket: Ticket,
        watcher: Watcher,
        mut seen: Seen,
    ) -> Result<(), Over> {
        stream.say(format!("retry: {RETRY_MS}\n{}", event(&seen.view))).await?;
        loop {
            let thaws = seen.thaws_in;
            let woken = stream.wait(async {
                tokio::select! {
                    () = watcher.called() => {}
                    () = pass(thaws) => {}
                }
            });
            let woken = woken.await?;
            if ticket.expires <= self.handle.now() {
                return Ok(());
            }
            if woken == Woken::Heartbeat {
                stream.say(":\n\n".to_owned()).await?;
                continue;
            }
            // Without an answer the page comes back, and hears why.
            let Ok(again) = self.see(&ticket).await else { return Ok(()) };
            let is_news = again.lasting != seen.lasting;
            seen = again;
            if is_news {
                stream.say(event(&seen.view)).await?;
            }
        }
    }
}

/// Returns after so long; never, if nothing says how long.
async fn pass(span: Option<Span>) {
    match span {
        Some(span) => tokio::time::sleep(Duration::from_millis(span.millis())).await,
        None => std::future::pending().await,
    }
}

fn event(view: &LinkedView) -> String {
    // Without an id: a number that grows with every order would tell how many there are.
    let data = serde_json::to_string(view).expect("what is shown has text for keys");
    format!("data: {data}\n\n")
}

/// A deadline and the time at which it was looked at, which is what its distances are measured from.
async fn look(handle: &Handle, at: &Address) -> Result<(Box<Deadline>, Time), Problem> {
    let questions = vec![Command::GetClock, Command::Get(at.clone())];
    let mut answers = handle.ask_all(questions).await?.into_iter();
    match (answers.next(), answers.next()) {
        (Some(Answer::Clock(clock)), Some(Answer::Deadline(deadline))) => Ok((deadline, clock.now)),
        (_, Some(Answer::Refused(refusal))) => Err(refusal::problem(refusal)),
        other => unreachable!("a look was answered with {other:?}"),
    }
}

impl LinkedView {
    fn new(deadline: Deadline, now: Time, show_outcome: bool) -> LinkedView {
        let (due, server_time) = (show_instant(deadline.due), show_instant(now));
        match deadline.state {
            Standing::Pending => {
                let frozen_until = deadline.frozen_until.filter(|until| *until > now);
                let runs_out_at =
                    frozen_until.map_or(deadline.due, |until| until.max(deadline.due));
                LinkedView::Pending {
                    due,
                    frozen_until: frozen_until.map(show_instant),
                    remaining_ms: runs_out_at.since(now).millis(),
                    server_time,
                }
            }
            Standing::Settled => LinkedView::Settled {
                due,
                settled_at: deadline.settled_at.map(show_instant),
                outcome: deadline
                    .outcome
                    .filter(|_| show_outcome)
                    .map(|outcome| outcome.to_string()),
                server_time,
            },
            Standing::Lapsed => LinkedView::Lapsed {
                due,
                lapsed_at: deadline.lapsed_at.map(show_instant),
                server_time,
            },
        }
    }
}
