//! What a server said, read as Duly writes it.
//!
//! Payloads are the callers' own JSON and may hold what no number or string of this program can (a
//! number beyond every float, half a surrogate pair). So they are never parsed: in what is read here a
//! record's `payload` is a string, its JSON text as it was written. Whatever is not one JSON object
//! is no answer of Duly's. Pure: it asks nobody and prints nothing.

use std::collections::BTreeMap;

use serde_json::value::RawValue;
use serde_json::{Map, Value};

/// The members of an object, each as its text.
type Members<'a> = BTreeMap<String, &'a RawValue>;

/// The object in a body, or none if there is no such thing.
pub(super) fn read(body: &[u8]) -> Option<Value> {
    let members: Members<'_> = serde_json::from_slice(body).ok()?;
    object(members, |name, text| match name {
        "deadline" => optional(text, record),
        "deadlines" => {
            let records: Vec<&RawValue> = serde_json::from_str(text.get()).ok()?;
            records.into_iter().map(record).collect::<Option<_>>().map(Value::Array)
        }
        _ => parsed(text),
    })
}

/// One deadline.
fn record(text: &RawValue) -> Option<Value> {
    object(serde_json::from_str(text.get()).ok()?, |name, text| match name {
        "payload" => optional(text, |text| Some(text.get().into())),
        _ => parsed(text),
    })
}

fn object(members: Members<'_>, read: impl Fn(&str, &RawValue) -> Option<Value>) -> Option<Value> {
    let read = |(name, text): (String, &RawValue)| read(&name, text).map(|value| (name, value));
    members.into_iter().map(read).collect::<Option<Map<_, _>>>().map(Value::Object)
}

fn optional(text: &RawValue, read: impl Fn(&RawValue) -> Option<Value>) -> Option<Value> {
    if text.get() == "null" { Some(Value::Null) } else { read(text) }
}

fn parsed(text: &RawValue) -> Option<Value> {
    serde_json::from_str(text.get()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_legal_payload_keeps_its_text() {
        for payload in ["1e400", r#""\ud800""#, r#"{"total": 19.90, "a": [-0, 1E+2]}"#, "\"null\""]
        {
            let one =
                format!(r#"{{"deadline":{{"key":"42","payload":{payload}}},"created":true}}"#);
            let one = read(one.as_bytes()).expect("it is an answer");
            assert_eq!(one["deadline"]["payload"], payload);
            assert_eq!((&one["deadline"]["key"], &one["created"]), (&"42".into(), &true.into()));
            let many = format!(r#"{{"deadlines":[{{"key":"42","payload":{payload}}}]}}"#);
            let many = read(many.as_bytes()).expect("it is an answer");
            assert_eq!(many["deadlines"][0]["payload"], payload);
        }
        let none = read(br#"{"deadline":{"payload":null}}"#).expect("it is an answer");
        assert_eq!(none["deadline"]["payload"], Value::Null);
    }

    #[test]
    fn what_duly_never_writes_is_no_answer() {
        for body in ["", "<html></html>", "[]", "42", r#"{"deadline":42}"#, r#"{"deadlines":{}}"#] {
            assert_eq!(read(body.as_bytes()), None, "{body}");
        }
    }
}
