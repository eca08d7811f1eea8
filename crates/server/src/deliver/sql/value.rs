//! The values that statements are given.
//!
//! A payload's field keeps its meaning: a whole number stays exact however long it is (as text when
//! no integer holds it), text stays text whatever it contains, an object or a list goes in as JSON.
//! A field that is not there is NULL.

use std::collections::BTreeMap;

use duly_engine::time::Time;
use jiff::Timestamp;
use serde_json::value::RawValue;

use super::template::Parameter;
use crate::database::Value;
use crate::deliver::Delivery;

/// The values of a statement's parameters for one delivery, or why the payload cannot give them.
pub(super) fn values(parameters: &[Parameter], delivery: &Delivery) -> Result<Vec<Value>, String> {
    parameters.iter().map(|parameter| value(parameter, delivery)).collect()
}

fn value(parameter: &Parameter, delivery: &Delivery) -> Result<Value, String> {
    let leased = &delivery.leased;
    let milliseconds = |millis: u64| Value::Integer(i64::try_from(millis).unwrap_or(i64::MAX));
    Ok(match parameter {
        Parameter::Key => Value::Text(leased.key.as_str().to_owned()),
        Parameter::Queue => Value::Text(leased.queue.as_str().to_owned()),
        Parameter::DeliveryId => Value::Text(leased.id.to_string()),
        Parameter::Due => Value::Text(instant(leased.due)),
        Parameter::DueMs => milliseconds(leased.due.millis()),
        Parameter::LapsedAt => Value::Text(instant(leased.lapsed_at)),
        Parameter::LapsedAtMs => milliseconds(leased.lapsed_at.millis()),
        Parameter::Attempt => Value::Integer(i64::from(leased.attempt)),
        Parameter::Payload(path) => payload(path, delivery)?,
    })
}

/// A parameter's value as a text, for where there are only texts: a number as it was written, nothing
/// where a statement would be given NULL.
pub(in crate::deliver) fn text(
    parameter: &Parameter,
    delivery: &Delivery,
) -> Result<String, String> {
    if let Parameter::Payload(path) = parameter
        && let Found::Json(text) = find(path, delivery)?
        && text.starts_with(|first: char| first == '-' || first.is_ascii_digit())
    {
        return Ok(text.to_owned());
    }
    Ok(match value(parameter, delivery)? {
        Value::Null => String::new(),
        Value::Integer(number) => number.to_string(),
        Value::Real(number) => number.to_string(),
        Value::Text(text) => text,
    })
}

/// What a path leads to in a payload.
enum Found<'a> {
    Nothing,
    /// A text as it is.
    Text(&'a str),
    /// A JSON text.
    Json(&'a str),
}

fn payload(path: &[String], delivery: &Delivery) -> Result<Value, String> {
    match find(path, delivery)? {
        Found::Nothing => Ok(Value::Null),
        Found::Text(text) => Ok(Value::Text(text.to_owned())),
        Found::Json(text) => {
            json(text).ok_or_else(|| format!("payload: {} cannot be read", path.join(".")))
        }
    }
}

fn find<'a>(path: &[String], delivery: &'a Delivery) -> Result<Found<'a>, String> {
    let Some(payload) = &delivery.payload else { return Ok(Found::Nothing) };
    // Bytes of another protocol are very often JSON all the same.
    let Ok(mut at) = serde_json::from_slice::<&RawValue>(&payload.bytes) else {
        return match (path, std::str::from_utf8(&payload.bytes)) {
            ([], Ok(text)) => Ok(Found::Text(text)),
            _ => Ok(Found::Nothing),
        };
    };
    if path.is_empty() {
        return Ok(Found::Text(at.get()));
    }
    for field in path {
        if !at.get().starts_with('{') {
            return Ok(Found::Nothing);
        }
        let mut fields: BTreeMap<String, &RawValue> = serde_json::from_str(at.get())
            .map_err(|error| format!("payload: it cannot be read: {error}"))?;
        match fields.remove(field) {
            Some(inner) => at = inner,
            None => return Ok(Found::Nothing),
        }
    }
    Ok(Found::Json(at.get()))
}

/// `2026-11-22 12:30:00.000`, UTC: the text that databases compare as a date.
fn instant(time: Time) -> String {
    let millis = i64::try_from(time.millis()).unwrap_or(i64::MAX);
    let timestamp = Timestamp::from_millisecond(millis).unwrap_or(Timestamp::MAX);
    timestamp.strftime("%Y-%m-%d %H:%M:%S.%3f").to_string()
}

/// The value of a JSON text.
fn json(text: &str) -> Option<Value> {
    Some(match text.as_bytes().first()? {
        b'n' => Value::Null,
        b't' => Value::Integer(1),
        b'f' => Value::Integer(0),
        b'"' => Value::Text(serde_json::from_str(text).ok()?),
        b'{' | b'[' => Value::Text(text.to_owned()),
        _ if text.contains(['.', 'e', 'E']) => Value::Real(text.parse().ok()?),
        _ => text.parse().map_or_else(|_| Value::Text(text.to_owned()), Value::Integer),
    })
}
