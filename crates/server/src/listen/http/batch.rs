//! Many operations in one request: NDJSON in, NDJSON out, line for line.
//!
//! The lines are independent: one that cannot be read, or is refused, answers with its problem at
//! its place and the others go on. All that can be read go to the driver together and share one
//! disk sync. Each answer is the body of the single call with its `status` in front.

use axum::extract::Request;
use axum::http::HeaderValue;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use duly_engine::answer::Answer;
use duly_engine::command::{Address, Command};
use duly_engine::id::DeliveryId;
use serde::Serialize;
use serde::de::value::MapDeserializer;
use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;

use super::Api;
use super::deadlines::{ExtendBody, FreezeBody, Nothing, ScheduleBody, SettleBody};
use super::deliveries::{TouchBody, VerdictBody};
use super::extract::{body, delivery_id, key, object, queue_name};
use super::problem::{BAD_FIELD, BATCH_TOO_LONG, MISSING_FIELD, Problem};
use super::reply::{self, Reply, ReplyBody};
use crate::handle::Handle;
use crate::json;
use crate::listen::payload;

/// Largest body of a batch.
const BATCH_BYTES: usize = 16 * 1024 * 1024;
/// Most operations in a batch.
const BATCH_LINES: usize = 10_000;

/// One line: the operation, its deadline, and the fields of the single call.
struct Line(Vec<(String, Box<RawValue>)>);

/// A command, and whether it is a settle, whose problems have a `result`.
pub(super) struct Operation {
    pub(super) command: Command,
    settles: bool,
}

/// What a line is answered with.
#[derive(Serialize)]
struct LineReply<'a> {
    status: u16,
    #[serde(flatten)]
    body: &'a ReplyBody,
}

/// Many operations, one disk sync.
///
/// Each line is `{"op":"schedule","queue":"orders","key":"42", …}` with the fields of the single call;
/// `op` is `schedule`, `settle`, `extend`, `freeze`, `get`, `revive` or `erase`; or `verdict` or `touch`, with
/// the delivery's `id` instead of queue and key. Each line of the answer is the body of the single
/// call, or its problem, with its `status`. Empty lines are skipped.
#[utoipa::path(
    post, path = "/v1/batch", operation_id = "batch", tag = "deadlines",
    request_body(description = "One JSON object a line, at most 10000 lines and 16 MiB", content(
        (Option<String> = "application/x-ndjson"), (Option<String> = "text/plain"))),
    responses(
        (status = 200, description = "One line for each, in order", body = String,
            content_type = "application/x-ndjson"),
    )
)]
pub(super) async fn batch(api: Api, request: Request) -> Result<Response, Problem> {
    let out = carry_out(&api.handle, &body(request, BATCH_BYTES).await?).await?;
    let mut response = out.into_response();
    let media_type = HeaderValue::from_static("application/x-ndjson");
    response.headers_mut().insert(CONTENT_TYPE, media_type);
    Ok(response)
}

/// Carries out the lines of a batch; gives their answers, line for line.
pub(super) async fn carry_out(handle: &Handle, bytes: &[u8]) -> Result<Vec<u8>, Problem> {
    let mut commands = Vec::new();
    let places: Vec<Result<bool, Problem>> = operations(bytes)?
        .into_iter()
        .map(|operation| {
            let Operation { command, settles } = operation?;
            commands.push(command);
            Ok(settles)
        })
        .collect();
    let mut answers = handle.ask_all(commands).await?.into_iter();
    let mut out = Vec::new();
    for place in places {
        match place {
            Ok(settles) => {
                let answer = answers.next().expect("every command was answered");
                write_answer(&mut out, answer, settles);
            }
            Err(problem) => write_line(&mut out, &Err(problem)),
        }
    }
    Ok(out)
}

/// Writes the line that tells what came of a command, which may be a settle.
pub fn write_answer(out: &mut Vec<u8>, answer: Answer, settles: bool) {
    let reply = reply::of(answer);
    write_line(out, &if settles { reply.map_err(Problem::of_settle) } else { reply });
}

/// The operations of a batch, line for line.
pub(super) fn operations(bytes: &[u8]) -> Result<Vec<Result<Operation, Problem>>, Problem> {
    let text = payload::text(bytes)?;
    let lines = || text.split('\n').map(str::trim_ascii).filter(|line| !line.is_empty());
    if lines().nth(BATCH_LINES).is_some() {
        return Err(Problem::new(&BATCH_TOO_LONG));
    }
    Ok(lines().map(operation).collect())
}

fn write_line(out: &mut Vec<u8>, reply: &Result<Reply, Problem>) {
    match reply {
        Ok(Reply { status, body }) => {
            json::write_line(out, &LineReply { status: status.as_u16(), body });
        }
        Err(problem) => json::write_line(out, &problem.view()),
    }
}

fn operation(line: &str) -> Result<Operation, Problem> {
    let mut line: Line = object(line)?;
    let op = line.text("op")?;
    let command = match op.as_str() {
        "schedule" => on(&mut line, ScheduleBody::command)?,
        "settle" => on(&mut line, SettleBody::command)?,
        "extend" => on(&mut line, ExtendBody::command)?,
        "freeze" => on(&mut line, FreezeBody::command)?,
        "get" => on(&mut line, |Nothing {}, at| Ok(Command::Get(at)))?,
        "revive" => on(&mut line, |Nothing {}, at| Ok(Command::Revive(at)))?,
        "erase" => on(&mut line, |Nothing {}, at| Ok(Command::Erase(at)))?,
        "verdict" => of_delivery(&mut line, VerdictBody::command)?,
        "touch" => of_delivery(&mut line, TouchBody::command)?,
        _ => {
            return Err(Problem::new(&BAD_FIELD)
                .detail(format!("{op:?} is no operation"))
                .hint("schedule, settle, extend, freeze, get, revive, erase, verdict or touch")
                .field("op"));
        }
    };
    Ok(Operation { settles: matches!(command, Command::Settle(_)), command })
}

/// The command of a line about a deadline.
fn on<T: for<'de> Deserialize<'de>>(
    line: &mut Line,
    command: fn(T, Address) -> Result<Command, Problem>,
) -> Result<Command, Problem> {
    let at = Address { queue: queue_name(&line.text("queue")?)?, key: key(&line.text("key")?)? };
    command(line.rest()?, at)
}

/// The command of a line about a delivery.
fn of_delivery<T: for<'de> Deserialize<'de>>(
    line: &mut Line,
    command: fn(T, DeliveryId) -> Result<Command, Problem>,
) -> Result<Command, Problem> {
    let id = delivery_id(&line.text("id")?)?;
    command(line.rest()?, id)
}

impl Line {
    /// Takes a field of text out of the line.
    fn text(&mut self, name: &'static str) -> Result<String, Problem> {
        let place = self.0.iter().position(|(found, _)| found == name).ok_or_else(|| {
            Problem::new(&MISSING_FIELD).detail(format!("the line lacks {name}")).field(name)
        })?;
        let (_, value) = self.0.swap_remove(place);
        serde_json::from_str(value.get()).map_err(|error| Problem::from(error).field(name))
    }

    /// Reads what is left as the fields of the single call.
    fn rest<T: for<'de> Deserialize<'de>>(&self) -> Result<T, Problem> {
        let fields = self.0.iter().map(|(name, value)| (name.as_str(), &**value));
        T::deserialize(MapDeserializer::new(fields)).map_err(Problem::from)
    }
}

impl<'de> Deserialize<'de> for Line {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Line, D::Error> {
        struct Fields;

        impl<'de> Visitor<'de> for Fields {
            type Value = Line;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Line, A::Error> {
                let mut fields = Vec::new();
                while let Some(field) = map.next_entry()? {
                    fields.push(field);
                }
                Ok(Line(fields))
            }
        }

        deserializer.deserialize_map(Fields)
    }
}

#[cfg(test)]
mod tests {
    use duly_engine::command::{Schedule, When};
    use duly_engine::time::Span;

    use super::*;

    #[test]
    fn a_line_is_the_single_call_with_its_address() {
        let line = r#"{"op":"schedule","queue":"orders","key":"42","after":"30m",
            "payload":{"total": "19.90"},"priority":7}"#;
        let Command::Schedule(Schedule { at, when, payload, priority, .. }) =
            operation(line).expect("it is good").command
        else {
            panic!("it is a schedule");
        };
        assert_eq!((at.queue.as_str(), at.key.as_str()), ("orders", "42"));
        assert_eq!(when, When::After(Span::from_mins(30)));
        assert_eq!(priority, Some(7));
        assert_eq!(&*payload.expect("there is one").bytes, br#"{"total": "19.90"}"#);
    }

    #[test]
    fn what_is_wrong_with_a_line_has_its_own_code() {
        let cases = [
            ("{", "malformed_json"),
            ("[]", "bad_field"),
            (r#"{"queue":"q","key":"k"}"#, "missing_field"),
            (r#"{"op":"get","key":"k"}"#, "missing_field"),
            (r#"{"op":"get","queue":"q"}"#, "missing_field"),
            (r#"{"op":"burn","queue":"q","key":"k"}"#, "bad_field"),
            (r#"{"op":7,"queue":"q","key":"k"}"#, "bad_field"),
            (r#"{"op":"get","queue":"q/r","key":"k"}"#, "bad_queue_name"),
            (r#"{"op":"get","queue":"q","key":""}"#, "bad_key"),
            (r#"{"op":"get","queue":"q","key":"k","key":"l"}"#, "unknown_field"),
            (r#"{"op":"get","queue":"q","key":"k","after":"1m"}"#, "unknown_field"),
            (r#"{"op":"settle","queue":"q","key":"k"}"#, "missing_field"),
            (r#"{"op":"freeze","queue":"q","key":"k","for":"30"}"#, "bad_duration"),
            (r#"{"op":"verdict","token":"1","verdict":"done"}"#, "missing_field"),
            (r#"{"op":"touch","id":"17","token":"1"}"#, "unknown_delivery"),
        ];
        for (line, code) in cases {
            let problem = operation(line).map(|_| ()).expect_err(line);
            assert_eq!(problem.code(), code, "{line}");
        }
    }
}
