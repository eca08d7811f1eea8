//! Everything that goes wrong on the wire, as RFC 9457 has it.
//!
//! A [`Kind`] is one stable code with its status, title and hint: a table, so that the document of
//! errors can be checked against it. A [`Problem`] is one occurrence. No answer of status 400 or
//! more leaves in any other form, not even those the framework makes itself: see [`whole`].

use axum::body::Body;
use axum::http::header::{CONTENT_TYPE, RETRY_AFTER};
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use utoipa::ToSchema;

use super::view::DeadlineView;
use crate::json;

/// The media type of every error.
pub(super) const MEDIA_TYPE: &str = "application/problem+json";

/// One way to go wrong.
#[derive(Debug, PartialEq, Eq)]
pub struct Kind {
    /// The stable code.
    pub code: &'static str,
    /// The HTTP status.
    pub status: u16,
    /// The same sentence at every occurrence.
    pub title: &'static str,
    /// What to do about it.
    pub hint: &'static str,
}

macro_rules! kinds {
    ($($name:ident = $code:literal, $status:literal, $title:literal, $hint:literal;)*) => {
        $(pub(super) static $name: Kind =
            Kind { code: $code, status: $status, title: $title, hint: $hint };)*

        /// Everything that the wire itself refuses; the engine's refusals are in `refusal`.
        pub static KINDS: &[&Kind] = &[$(&$name),*];
    };
}

kinds! {
    MALFORMED_JSON = "malformed_json", 400,
        "The body is not JSON",
        "the detail names line and column";
    TOO_DEEP = "too_deep", 400,
        "The JSON is nested too deeply",
        "at most 64 levels, the body itself included";
    UNKNOWN_FIELD = "unknown_field", 400,
        "The body has a field that nobody knows",
        "look for a typing error; unknown fields are refused so that none is silently lost";
    MISSING_FIELD = "missing_field", 400,
        "The body lacks a field",
        "the detail names it";
    BAD_FIELD = "bad_field", 400,
        "A field of the body cannot be so",
        "the detail says what is expected";
    UNKNOWN_PARAMETER = "unknown_parameter", 400,
        "The address has a query parameter that nobody knows",
        "look for a typing error; see /openapi.json for the parameters of this call";
    BAD_PARAMETER = "bad_parameter", 400,
        "A query parameter cannot be so",
        "the detail says what is expected";
    BAD_QUEUE_NAME = "bad_queue_name", 400,
        "The queue's name cannot be one",
        "1 to 64 of A-Z a-z 0-9 . _ : -";
    BAD_KEY = "bad_key", 400,
        "The key cannot be one",
        "1 to 512 bytes of UTF-8 without control characters, percent-encoded in the address";
    BAD_OUTCOME = "bad_outcome", 400,
        "The outcome cannot be one",
        "1 to 64 bytes without control characters, such as \"paid\"";
    BAD_DURATION = "bad_duration", 400,
        "A duration cannot be read",
        "write \"90s\", \"30m\", \"1h30m\", \"1d\", \"PT30M\" or a whole number of seconds";
    BAD_INSTANT = "bad_instant", 400,
        "An instant cannot be read",
        "write RFC 3339 with an offset or milliseconds since 1970";
    INSTANT_IN_SECONDS = "instant_in_seconds", 400,
        "An instant is in seconds",
        "a number is in milliseconds since 1970: multiply seconds by 1000";
    MISSING_HOST = "missing_host", 400,
        "The request does not say which host it is for",
        "HTTP/1.1 demands a Host header";
    FOREIGN_ORIGIN = "foreign_origin", 403,
        "Another site's page may not call this server",
        "without API keys only pages of this server itself may call it";
    FOREIGN_HOST = "foreign_host", 403,
        "The request is addressed to another host",
        "without API keys call the server as localhost, 127.0.0.1 or [::1]";
    UNKNOWN_PATH = "unknown_path", 404,
        "There is nothing at this address",
        "see /openapi.json for all calls; a '/' inside a key is written %2F";
    UNKNOWN_WATCH = "unknown_watch", 404,
        "There is no such table watch",
        "GET /v1/watches lists them; they are declared in the configuration";
    RECONCILIATION_UNDER_WAY = "reconciliation_under_way", 409,
        "A reconciliation is under way, and one of the two is a dry run",
        "wait for its end, which GET /v1/watches/{watch} shows";
    WATCH_HELD_UP = "watch_held_up", 503,
        "Something keeps the watch from its work",
        "the detail says what; the watch goes on by itself when it can";
    UNKNOWN_LINK = "unknown_link", 404,
        "There is no such link",
        "it was not made by this server, or it is cut off or misspelt; ask the shop for another";
    METHOD_NOT_ALLOWED = "method_not_allowed", 405,
        "This address does not know the method",
        "the Allow header names the methods it knows";
    BODY_TIMEOUT = "body_timeout", 408,
        "The body did not arrive in time",
        "send the whole body within 30 seconds";
    CLOCK_NOT_MANUAL = "clock_not_manual", 409,
        "The clock is the machine's",
        "only a server started with --clock manual can be advanced";
    EVENTS_GONE = "events_gone", 410,
        "What happened after this event is not kept any more",
        "look at the deadlines as they are now, and follow from now on or after kept_after";
    LINK_EXPIRED = "link_expired", 410,
        "The link has expired",
        "make a new one: POST /v1/links";
    LINK_OUTDATED = "link_outdated", 410,
        "The link is about an earlier generation of the deadline",
        "the deadline was scheduled anew; make a new link, or one without a generation";
    PAYLOAD_TOO_LARGE = "payload_too_large", 413,
        "The payload is too large",
        "at most 64 KiB; keep a reference in it and the rest in your own database";
    BODY_TOO_LARGE = "body_too_large", 413,
        "The body is too large",
        "at most 256 KiB, 16 MiB for a batch";
    BATCH_TOO_LONG = "batch_too_long", 413,
        "The batch has too many lines",
        "at most 10000 lines; send several batches";
    HEADER_TOO_LARGE = "header_too_large", 431,
        "The address and headers are too large",
        "at most 16 KiB together";
    INTERNAL = "internal", 500,
        "The server failed to answer",
        "this is a fault of the server; its log may say more";
    STOPPING = "stopping", 503,
        "The server is stopping",
        "try again; what was acknowledged is kept";
    STALLED = "stalled", 503,
        "Something is overdue and nothing moves",
        "the detail says what stands still; it goes on by itself, or look at the disk";
    TOO_MANY_STREAMS = "too_many_streams", 503,
        "Too many streams are open",
        "ask again later, or ask for the state now and then instead of following it";
    NOT_READY = "not_ready", 503,
        "The server is not ready",
        "the details say what is missing";
}

/// One thing that went wrong.
#[derive(Debug)]
pub(super) struct Problem(Box<Occurrence>);

#[derive(Debug)]
struct Occurrence {
    kind: &'static Kind,
    detail: Option<String>,
    hint: Option<String>,
    field: Option<String>,
    more: More,
}

/// What some problems say besides.
#[derive(Debug, Default, Serialize, ToSchema)]
pub(super) struct More {
    /// How a settle went: `too_late` or `settled_otherwise`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) result: Option<&'static str>,
    /// Has somebody acted on the lapse: `no`, `maybe`, `yes`, `kept`, `never`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) acted: Option<&'static str>,
    /// The latest due time that `max_total` allows.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) latest: Option<String>,
    /// What is left of `max_freeze`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) left: Option<String>,
    /// Events are kept after this one, as text.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) kept_after: Option<String>,
    /// The record as it stands.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) deadline: Option<Box<DeadlineView>>,
}

/// An error (RFC 9457). `code` is stable; `title`, `detail` and `hint` are for people.
#[derive(Serialize, ToSchema)]
#[schema(as = Problem)]
pub(super) struct ProblemView<'a> {
    /// Where the code is explained, relative to this server.
    r#type: String,
    /// The same sentence at every occurrence.
    title: &'static str,
    /// The HTTP status.
    #[schema(minimum = 400, maximum = 599)]
    status: u16,
    /// The stable code: decide by this.
    code: &'static str,
    /// What is wrong this time.
    #[serde(skip_serializing_if = "Option::is_none")]
    detail: Option<&'a str>,
    /// What to do about it.
    hint: &'a str,
    /// The field or parameter at fault.
    #[serde(skip_serializing_if = "Option::is_none")]
    field: Option<&'a str>,
    #[serde(flatten)]
    more: &'a More,
}

impl Problem {
    /// An occurrence of a kind.
    pub(super) fn new(kind: &'static Kind) -> Problem {
        let more = More::default();
        Problem(Box::new(Occurrence { kind, detail: None, hint: None, field: None, more }))
    }

    /// What is wrong this time.
    #[must_use]
    pub(super) fn detail(mut self, detail: impl Into<String>) -> Problem {
        self.0.detail = Some(detail.into());
        self
    }

    /// A hint that fits better than the kind's own.
    #[must_use]
    pub(super) fn hint(mut self, hint: impl Into<String>) -> Problem {
        self.0.hint = Some(hint.into());
        self
    }

    /// The field or parameter at fault.
    #[must_use]
    pub(super) fn field(mut self, field: impl Into<String>) -> Problem {
        self.0.field = Some(field.into());
        self
    }

    /// What this one says besides.
    #[must_use]
    pub(super) fn more(mut self, more: More) -> Problem {
        self.0.more = more;
        self
    }

    /// The same problem as a settle's result.
    #[must_use]
    pub(super) fn of_settle(mut self) -> Problem {
        let of_request = (self.0.kind.status < 500).then_some(self.0.kind.code);
        self.0.more.result = self.0.more.result.or(of_request);
        self
    }

    /// The HTTP status.
    pub(super) fn status(&self) -> StatusCode {
        StatusCode::from_u16(self.0.kind.status).expect("the table has HTTP statuses")
    }

    /// The stable code.
    pub(super) fn code(&self) -> &'static str {
        self.0.kind.code
    }

    /// The object that says it.
    pub(super) fn view(&self) -> ProblemView<'_> {
        ProblemView {
            r#type: format!("/docs/errors#{}", self.0.kind.code),
            title: self.0.kind.title,
            status: self.0.kind.status,
            code: self.0.kind.code,
            detail: self.0.detail.as_deref(),
            hint: self.0.hint.as_deref().unwrap_or(self.0.kind.hint),
            field: self.0.field.as_deref(),
            more: &self.0.more,
        }
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let body = Body::from(json::written(&self.view()));
        let mut response = (self.status(), body).into_response();
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(MEDIA_TYPE));
        if self.0.kind.status == 503 {
            headers.insert(RETRY_AFTER, HeaderValue::from_static("1"));
        }
        response
    }
}

/// Where no route leads.
pub(super) async fn unknown_path() -> Problem {
    Problem::new(&UNKNOWN_PATH)
}

/// Gives errors that the framework made the form that all errors have; keeps their headers (`Allow`).
/// The framework says them in plain text or leaves them empty; what is JSON somebody has thought about.
pub(super) fn whole(response: Response) -> Response {
    let status = response.status();
    let kind = response.headers().get(CONTENT_TYPE).map(HeaderValue::as_bytes);
    let is_json = matches!(kind, Some(b"application/json")) || kind == Some(MEDIA_TYPE.as_bytes());
    if status.as_u16() < 400 || is_json {
        return response;
    }
    let kind = match status {
        StatusCode::NOT_FOUND => &UNKNOWN_PATH,
        StatusCode::METHOD_NOT_ALLOWED => &METHOD_NOT_ALLOWED,
        StatusCode::PAYLOAD_TOO_LARGE => &BODY_TOO_LARGE,
        StatusCode::BAD_REQUEST => &BAD_FIELD,
        _ => &INTERNAL,
    };
    let (parts, _) = response.into_parts();
    let mut problem = Problem::new(kind).into_response();
    if let Some(allow) = parts.headers.get(axum::http::header::ALLOW) {
        problem.headers_mut().insert(axum::http::header::ALLOW, allow.clone());
    }
    problem
}
