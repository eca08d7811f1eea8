//! All that happens to deadlines, as it happens: `GET /v1/events`.
//!
//! An event is a fact that is durable; its id is the fact's sequence. A reader that comes back with
//! the last id it has seen hears what came after that, also from a server that was restarted
//! meanwhile, and is told so when that is not kept any more. Ids only grow and are not dense: what
//! is bookkeeping uses up numbers too.

use std::fmt::Write as _;
use std::sync::Arc;

use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::Response;
use duly_engine::announce::{Announcement, Told};
use duly_engine::deadline::What;
use duly_engine::id::{DeliveryId, DirectoryId, Key, QueueName, Seq};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::Api;
use super::extract::{self, Parameters};
use super::problem::{BAD_PARAMETER, EVENTS_GONE, More, Problem, TOO_MANY_STREAMS};
use super::stream::{Over, Stream, Woken};
use crate::handle::{Events, Gone};
use crate::units::show_instant;

/// Who follows all events at once, at most; browsers of customers follow links instead.
pub(super) const FOLLOWERS: usize = 256;
/// Where a browser says what it has heard last.
const LAST_EVENT_ID: &str = "last-event-id";

/// Which events to hear, and from where.
#[derive(Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct EventsParameters {
    /// Of this queue.
    #[param(pattern = "^[A-Za-z0-9._:-]{1,64}$")]
    queue: Option<String>,
    /// Of the deadline of this key.
    #[param(max_length = 512)]
    key: Option<String>,
    /// After this event; from now on unless it is said. A `Last-Event-ID` header goes before it.
    #[param(format = Int64, minimum = 0)]
    after: Option<u64>,
}

/// What happened to a deadline, and where it stands now. Which other fields there are depends on `what`.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = StreamedEvent)]
struct EventView {
    /// Grows from event to event; the event's id, as text.
    seq: String,
    /// What: as in a timeline, or `erased`.
    what: &'static str,
    /// When.
    #[schema(format = DateTime)]
    at: String,
    /// The deadline's queue.
    queue: String,
    /// The deadline's number, as text.
    id: String,
    #[serde(flatten)]
    told: Option<ToldView>,
}

/// Everything but the end of a record.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = StreamedDeadline)]
struct ToldView {
    /// The caller's name for the deadline.
    key: String,
    /// Which life of it.
    #[schema(format = Int64)]
    generation: u32,
    /// Where it stands now.
    #[schema(pattern = "^(pending|settled|lapsed)$")]
    state: &'static str,
    /// When it is due.
    #[schema(format = DateTime)]
    due: String,
    /// Its delivery, once it has lapsed.
    #[serde(skip_serializing_if = "Option::is_none")]
    delivery: Option<StreamedDelivery>,
    /// Until when its clock stands still, if it was ever frozen.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(format = DateTime)]
    frozen_until: Option<String>,
    /// How it was settled.
    #[serde(skip_serializing_if = "Option::is_none")]
    outcome: Option<String>,
    /// The number of the attempt that began.
    #[serde(skip_serializing_if = "Option::is_none")]
    attempt: Option<u32>,
    /// What the attempt said.
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
    /// The earliest time of the next attempt.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(format = DateTime)]
    next_attempt_at: Option<String>,
}

/// The duty to act on a lapse, in an event.
#[derive(Debug, Serialize, ToSchema)]
struct StreamedDelivery {
    /// The same in every attempt.
    id: String,
    /// How far it is.
    #[schema(pattern = "^(ready|leased|done|superseded|dead)$")]
    state: &'static str,
}

/// Follow what happens.
///
/// A stream of server-sent events: `id` is the event's sequence, `event` what happened, `data` an
/// object. It begins now, after `after`, or after the `Last-Event-ID` that a reader sends when it
/// comes back. A comment is sent after 15 s of silence, together with the present id.
#[utoipa::path(
    get, path = "/v1/events", operation_id = "follow_events", tag = "events",
    params(EventsParameters, ("last-event-id" = Option<String>, Header,
        description = "The id of the last event that was heard")),
    responses(
        (status = 200, description = "Events, as they happen", content_type = "text/event-stream",
            body = EventView),
        (status = 410, description = "`events_gone`"),
        (status = 503, description = "`too_many_streams`, `stopping`"),
    )
)]
pub(super) async fn follow(
    State(api): State<Api>,
    headers: HeaderMap,
    Parameters(parameters): Parameters<EventsParameters>,
) -> Result<Response, Problem> {
    let wanted = parameters.meant()?;
    let events = api.handle.events().clone();
    let after = last_heard(&headers)?.or(wanted.after).unwrap_or_else(|| events.last());
    if let Err(gone) = events.read(after) {
        return Err(events_gone(after, gone));
    }
    let permit = Arc::clone(&api.followers).try_acquire_owned();
    let permit = permit.map_err(|_| Problem::new(&TOO_MANY_STREAMS))?;
    Ok(Stream::open(api.settings.stopping.clone(), |stream| async move {
        let told = tell(stream, events, wanted, after).await;
        drop(permit);
        told
    }))
}

/// Which events somebody wants to hear, and from where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Following {
    /// Of this queue.
    pub queue: Option<QueueName>,
    /// Of the deadline of this key.
    pub key: Option<Key>,
    /// After this event.
    pub after: Option<Seq>,
}

impl EventsParameters {
    pub(super) fn meant(&self) -> Result<Following, Problem> {
        Ok(Following {
            queue: self.queue.as_deref().map(extract::queue_name).transpose()?,
            key: self.key.as_deref().map(extract::key).transpose()?,
            after: self.after,
        })
    }
}

impl Following {
    fn is(&self, announcement: &Announcement) -> bool {
        let key = announcement.told.as_ref().map(|told| &told.key);
        self.queue.as_ref().is_none_or(|queue| *queue == announcement.queue)
            && self.key.as_ref().is_none_or(|wanted| key == Some(wanted))
    }
}

fn last_heard(headers: &HeaderMap) -> Result<Option<Seq>, Problem> {
    let Some(said) = headers.get(LAST_EVENT_ID).filter(|said| !said.is_empty()) else {
        return Ok(None);
    };
    let number = said.to_str().ok().and_then(|said| said.parse().ok());
    number.map(Some).ok_or_else(|| {
        Problem::new(&BAD_PARAMETER).detail("an event's id is a number").field("Last-Event-ID")
    })
}

fn events_gone(after: Seq, Gone { kept_after, last }: Gone) -> Problem {
    let detail = if after > last {
        format!("no event {after} was given out here; the last is {last}")
    } else {
        format!("events are kept after {kept_after}")
    };
    let kept_after = Some(kept_after.to_string());
    Problem::new(&EVENTS_GONE).detail(detail).more(More { kept_after, ..More::default() })
}

/// Tells what happens until nobody listens, or until the reader is slower than what is kept: it will
/// come back and be told so.
async fn tell(
    mut stream: Stream,
    events: Events,
    wanted: Following,
    mut place: Seq,
) -> Result<(), Over> {
    let directory = events.directory();
    let mut news = events.news();
    // With nothing heard yet, a reader that comes back must know where it began.
    stream.say(format!("retry: 1000\nid: {place}\n\n")).await?;
    loop {
        news.borrow_and_update();
        let Ok(page) = events.read(place) else { return Ok(()) };
        let mut text = String::new();
        for announcement in page.announcements {
            if wanted.is(&announcement) {
                write_event(&mut text, announcement, directory);
            }
        }
        place = page.up_to;
        if !text.is_empty() {
            stream.say(text).await?;
        }
        if page.more {
            tokio::task::yield_now().await;
            continue;
        }
        let called = async { drop(news.changed().await) };
        if stream.wait(called).await? == Woken::Heartbeat {
            stream.say(format!(": {place}\nid: {place}\n\n")).await?;
        }
    }
}

fn write_event(text: &mut String, announcement: Announcement, directory: DirectoryId) {
    let view = EventView::of(announcement, directory);
    let data = serde_json::to_string(&view).expect("what is shown has text for keys");
    let written = write!(text, "id: {}\nevent: {}\ndata: {data}\n\n", view.seq, view.what);
    written.expect("memory takes all text");
}

impl EventView {
    fn of(announcement: Announcement, directory: DirectoryId) -> EventView {
        let Announcement { seq, at, queue, id, told } = announcement;
        EventView {
            seq: seq.to_string(),
            what: told.as_ref().map_or("erased", |told| told.what.word()),
            at: show_instant(at),
            queue: queue.to_string(),
            id: id.0.to_string(),
            told: told.map(|told| {
                let delivery = DeliveryId { directory, deadline: id, generation: told.generation };
                ToldView::of(told, delivery)
            }),
        }
    }
}

impl ToldView {
    fn of(told: Told, id: DeliveryId) -> ToldView {
        let bare = ToldView {
            key: told.key.to_string(),
            generation: told.generation.0,
            state: told.state.word(),
            due: show_instant(told.due),
            delivery: told
                .delivery
                .map(|state| StreamedDelivery { id: id.to_string(), state: state.word() }),
            frozen_until: told.frozen_until.map(show_instant),
            outcome: None,
            attempt: None,
            error: None,
            next_attempt_at: None,
        };
        match told.what {
            What::Settled { outcome } => ToldView { outcome: Some(outcome.to_string()), ..bare },
            What::Leased { attempt } => ToldView { attempt: Some(attempt), ..bare },
            What::Retried { error, next_attempt_at } => ToldView {
                error: Some(error.to_string()),
                next_attempt_at: Some(show_instant(next_attempt_at)),
                ..bare
            },
            What::Dead { error } => ToldView { error: Some(error.to_string()), ..bare },
            What::Scheduled { .. }
            | What::Extended { .. }
            | What::Shifted { .. }
            | What::Frozen { .. }
            | What::Lapsed
            | What::Done
            | What::Superseded
            | What::Revived => bare,
        }
    }
}
