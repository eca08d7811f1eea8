//! Requests as they are written, taken apart strictly.
//!
//! A body is JSON whatever its Content-Type says, because shops forget it; but its fields must all
//! be known, because a silently ignored `aftre` is an order that is never cancelled. An empty body
//! is an empty object. What cannot be taken apart is a [`Problem`], never the framework's plain text.

use std::time::Duration;

use axum::body::Body;
use axum::extract::{FromRequest, FromRequestParts, Query, RawPathParams, Request};
use axum::http::Uri;
use axum::http::request::Parts;
use duly_engine::answer::Refusal;
use duly_engine::command::Address;
use duly_engine::id::{DeliveryId, Key, QueueName};
use http_body_util::BodyExt as _;
use serde::de::DeserializeOwned;
use utoipa::IntoParams;

use super::problem::{
    BAD_DURATION, BAD_FIELD, BAD_INSTANT, BAD_KEY, BAD_PARAMETER, BAD_QUEUE_NAME, BODY_TIMEOUT,
    BODY_TOO_LARGE, INSTANT_IN_SECONDS, MALFORMED_JSON, MISSING_FIELD, Problem, TOO_DEEP,
    UNKNOWN_FIELD, UNKNOWN_PARAMETER,
};
use super::refusal;
use crate::listen::payload::{self, BadJson};
use crate::policy::BadPolicyText;
use crate::units::BadUnit;

/// Largest body of a call that is not a batch.
const BODY_BYTES: usize = 256 * 1024;
/// How long a body may take to arrive.
const BODY_WAIT: Duration = Duration::from_secs(30);

/// A queue in the address.
#[derive(IntoParams)]
#[into_params(parameter_in = Path)]
pub(super) struct InQueue {
    /// The queue's name.
    #[param(value_type = String, pattern = "^[A-Za-z0-9._:-]{1,64}$")]
    pub(super) queue: QueueName,
}

/// A table watch in the address.
#[derive(IntoParams)]
#[into_params(parameter_in = Path)]
pub(super) struct InWatch {
    /// The watch's name, which is its queue's.
    #[param(value_type = String, pattern = "^[A-Za-z0-9._:-]{1,64}$")]
    pub(super) watch: QueueName,
}

/// A deadline in the address.
#[derive(IntoParams)]
#[into_params(parameter_in = Path)]
pub(super) struct At {
    /// The queue's name.
    #[param(value_type = String, pattern = "^[A-Za-z0-9._:-]{1,64}$")]
    queue: QueueName,
    /// The caller's name for the deadline, percent-encoded; at most 512 bytes.
    #[param(value_type = String, pattern = "^[^\\u0000-\\u001f\\u007f-\\u009f]{1,512}$")]
    key: Key,
}

impl From<At> for Address {
    fn from(At { queue, key }: At) -> Address {
        Address { queue, key }
    }
}

/// A delivery in the address.
#[derive(IntoParams)]
#[into_params(parameter_in = Path)]
pub(super) struct OfDelivery {
    /// The delivery's id, as it was handed out.
    #[param(value_type = String, pattern = "^[0-9a-z]{13}-[0-9]+-[0-9]+$")]
    pub(super) id: DeliveryId,
}

/// A queue's name, checked.
pub(super) fn queue_name(text: &str) -> Result<QueueName, Problem> {
    QueueName::new(text).map_err(|bad| Problem::new(&BAD_QUEUE_NAME).detail(bad.0).field("queue"))
}

/// A key, checked.
pub(super) fn key(text: &str) -> Result<Key, Problem> {
    Key::new(text).map_err(|bad| Problem::new(&BAD_KEY).detail(bad.0).field("key"))
}

/// A delivery's id; what is none was never handed out.
pub(super) fn delivery_id(text: &str) -> Result<DeliveryId, Problem> {
    text.parse().map_err(|bad: duly_engine::id::Malformed| {
        refusal::problem(Refusal::UnknownDelivery).detail(bad.0).field("id")
    })
}

/// The segments of the address that the route names.
async fn segments(parts: &mut Parts) -> Result<RawPathParams, Problem> {
    RawPathParams::from_request_parts(parts, &()).await.map_err(|error| {
        // All segments are decoded at once; the text names the one that is not UTF-8.
        let text = error.body_text();
        let kind = if text.contains("`key`") { &BAD_KEY } else { &BAD_QUEUE_NAME };
        Problem::new(kind).detail(text)
    })
}

/// One of them by its name.
fn segment<'a>(segments: &'a RawPathParams, name: &str) -> &'a str {
    segments.iter().find(|(found, _)| *found == name).map_or("", |(_, text)| text)
}

impl<S: Sync> FromRequestParts<S> for InQueue {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<InQueue, Problem> {
        Ok(InQueue { queue: queue_name(segment(&segments(parts).await?, "queue"))? })
    }
}

impl<S: Sync> FromRequestParts<S> for InWatch {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<InWatch, Problem> {
        Ok(InWatch { watch: queue_name(segment(&segments(parts).await?, "watch"))? })
    }
}

impl<S: Sync> FromRequestParts<S> for At {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<At, Problem> {
        let segments = segments(parts).await?;
        let queue = queue_name(segment(&segments, "queue"))?;
        Ok(At { queue, key: key(segment(&segments, "key"))? })
    }
}

impl<S: Sync> FromRequestParts<S> for OfDelivery {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<OfDelivery, Problem> {
        Ok(OfDelivery { id: delivery_id(segment(&segments(parts).await?, "id"))? })
    }
}

/// A body of JSON; unknown fields are errors if `T` says so, and every `T` here does.
pub(super) struct Json<T>(pub(super) T);

impl<S: Sync, T: DeserializeOwned> FromRequest<S> for Json<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, _: &S) -> Result<Json<T>, Problem> {
        read_body(&body(request, BODY_BYTES).await?).map(Json)
    }
}

/// Reads the bytes of a body as one JSON object; none at all are an empty one.
pub(super) fn read_body<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Problem> {
    let text = payload::text(bytes)?;
    object(if text.trim_ascii().is_empty() { "{}" } else { text })
}

/// The whole body, if it arrives in time and is not larger than `limit`.
pub(super) async fn body(request: Request, limit: usize) -> Result<Vec<u8>, Problem> {
    tokio::time::timeout(BODY_WAIT, collect(request.into_body(), limit))
        .await
        .unwrap_or_else(|_| Err(Problem::new(&BODY_TIMEOUT)))
}

async fn collect(mut body: Body, limit: usize) -> Result<Vec<u8>, Problem> {
    let mut bytes = Vec::new();
    while let Some(frame) = body.frame().await {
        // A peer that breaks off will not read what is answered.
        let frame = frame.map_err(|_| Problem::new(&MALFORMED_JSON))?;
        let Ok(data) = frame.into_data() else { continue };
        if bytes.len() + data.len() > limit {
            return Err(Problem::new(&BODY_TOO_LARGE));
        }
        bytes.extend_from_slice(&data);
    }
    Ok(bytes)
}

/// Reads one JSON object.
pub(super) fn object<T: DeserializeOwned>(text: &str) -> Result<T, Problem> {
    Ok(payload::object(text)?)
}

/// Query parameters; unknown ones are errors.
pub(super) struct Parameters<T>(pub(super) T);

impl<S: Sync, T: DeserializeOwned> FromRequestParts<S> for Parameters<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Parameters<T>, Problem> {
        read_parameters(&parts.uri).map(Parameters)
    }
}

/// Reads the query parameters of an address.
pub(super) fn read_parameters<T: DeserializeOwned>(address: &Uri) -> Result<T, Problem> {
    match Query::try_from_uri(address) {
        Ok(Query(parameters)) => Ok(parameters),
        Err(rejection) => {
            let cause = std::error::Error::source(&rejection);
            let text = cause.map_or_else(|| rejection.body_text(), ToString::to_string);
            let (name, why) = text.split_once(": ").unwrap_or(("", &text));
            let unknown = why.starts_with("unknown field");
            let kind = if unknown { &UNKNOWN_PARAMETER } else { &BAD_PARAMETER };
            let problem = Problem::new(kind).detail(why);
            Err(if name.is_empty() { problem } else { problem.field(name) })
        }
    }
}

impl From<BadUnit> for Problem {
    fn from(bad: BadUnit) -> Problem {
        let kind = match bad.code {
            "bad_duration" => &BAD_DURATION,
            "instant_in_seconds" => &INSTANT_IN_SECONDS,
            _ => &BAD_INSTANT,
        };
        Problem::new(kind).detail(bad.why).hint(bad.hint)
    }
}

impl From<BadJson> for Problem {
    fn from(bad: BadJson) -> Problem {
        let kind = match bad.code {
            "too_deep" => &TOO_DEEP,
            "unknown_field" => &UNKNOWN_FIELD,
            "missing_field" => &MISSING_FIELD,
            "bad_field" => &BAD_FIELD,
            _ => &MALFORMED_JSON,
        };
        let problem = Problem::new(kind);
        let problem = bad.why.into_iter().fold(problem, Problem::detail);
        bad.field.into_iter().fold(problem, Problem::field)
    }
}

impl From<serde_json::Error> for Problem {
    fn from(error: serde_json::Error) -> Problem {
        BadJson::from(error).into()
    }
}

impl From<BadPolicyText> for Problem {
    fn from(bad: BadPolicyText) -> Problem {
        let kind = match bad.code {
            "bad_duration" => &BAD_DURATION,
            _ => refusal::bad_policy(),
        };
        Problem::new(kind)
            .detail(format!("{}: {}", bad.field, bad.why))
            .hint(bad.hint)
            .field(bad.field)
    }
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use super::*;

    #[derive(Debug, PartialEq, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Body {
        max: u32,
    }

    #[test]
    fn what_is_wrong_with_a_body_has_its_own_code() {
        let cases = [
            (r#"{"max":1"#, "malformed_json"),
            (r#"{"max":1}}"#, "malformed_json"),
            ("max=1", "malformed_json"),
            ("[", "malformed_json"),
            ("[1]", "bad_field"),
            ("7", "bad_field"),
            ("null", "bad_field"),
            (r#"{"max":"1"}"#, "bad_field"),
            (r#"{"max":-1}"#, "bad_field"),
            (r#"{"max":1,"max":2}"#, "bad_field"),
            (r#"{"max":1,"min":0}"#, "unknown_field"),
            ("{}", "missing_field"),
        ];
        for (text, code) in cases {
            let problem = object::<Body>(text).expect_err(text);
            assert_eq!(problem.code(), code, "{text}");
        }
        assert_eq!(object::<Body>(r#" {"max":1}"#).expect("it is good"), Body { max: 1 });
    }
}
