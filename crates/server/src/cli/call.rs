//! From a command line to the one request it stands for.
//!
//! Pure: what comes out is method, path and body. Durations and instants are passed on as they were
//! typed; the server reads them and says what is wrong with them.

use axum::body::Bytes;
use hyper::Method;
use serde_json::value::RawValue;
use serde_json::{Map, Value, json};

use super::args::{
    Address, Extend, Freeze, IfExists, Link, List, Pause, Schedule, Settle, Stats, Tail,
};
use crate::client::escaped;

/// What most answers have: the deadline as it stands now.
const DEADLINE: &[&str] = &["deadline"];

/// One request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Call {
    pub(super) method: Method,
    pub(super) path: String,
    pub(super) body: Bytes,
    /// Members of the answer of which a yes has one; another answer is not Duly's.
    pub(super) answers: &'static [&'static str],
}

impl Call {
    fn bare(method: Method, path: String, answers: &'static [&'static str]) -> Call {
        Call { method, path, body: Bytes::new(), answers }
    }

    fn with(path: String, body: &Value, answers: &'static [&'static str]) -> Call {
        Call { method: Method::POST, path, body: body.to_string().into(), answers }
    }
}

/// The path of a queue.
fn queue(name: &str) -> String {
    format!("/v1/queues/{}", escaped(name))
}

/// The path of a deadline.
fn deadline(at: &Address) -> String {
    format!("{}/deadlines/{}", queue(&at.queue), escaped(&at.key))
}

pub(super) fn get(at: &Address) -> Call {
    Call::bare(Method::GET, deadline(at), DEADLINE)
}

pub(super) fn revive(at: &Address) -> Call {
    Call::bare(Method::POST, format!("{}/revive", deadline(at)), DEADLINE)
}

pub(super) fn erase(at: &Address) -> Call {
    Call::bare(Method::DELETE, deadline(at), &["erased"])
}

/// `payload` is JSON text, already checked.
pub(super) fn schedule(args: &Schedule, payload: Option<&RawValue>) -> Call {
    let mut fields = Fields::default();
    fields.text("after", args.after.as_deref());
    fields.instant("due", args.due.as_deref());
    fields.put("priority", args.priority);
    fields.text("if_exists", args.if_exists.map(IfExists::word));
    fields.put("allow_past", args.allow_past.then_some(true));
    let mut body = Value::Object(fields.0).to_string();
    // The payload goes in as it was typed: parsing it would change how its numbers are written.
    if let Some(payload) = payload {
        body.pop();
        let comma = if body.len() > 1 { "," } else { "" };
        body = format!("{body}{comma}\"payload\":{}}}", payload.get());
    }
    let path = deadline(&args.address);
    Call { method: Method::PUT, path, body: body.into(), answers: DEADLINE }
}

pub(super) fn settle(args: &Settle) -> Call {
    let mut fields = Fields::default();
    fields.text("outcome", Some(&args.outcome));
    fields.text("remember", args.remember.as_deref());
    fields.put("generation", args.generation);
    // One that comes before its schedule is remembered until then.
    fields.post(format!("{}/settle", deadline(&args.address)), &["deadline", "until"])
}

pub(super) fn link(args: &Link) -> Call {
    let mut fields = Fields::default();
    fields.text("queue", Some(&args.address.queue));
    fields.text("key", Some(&args.address.key));
    fields.text("ttl", args.ttl.as_deref());
    fields.put("generation", args.generation);
    fields.put("show_outcome", args.show_outcome.then_some(true));
    fields.post("/v1/links".to_owned(), &["url"])
}

/// The path under which events are followed.
pub(super) fn events(args: &Tail) -> String {
    let after = args.after.map(|after| after.to_string());
    let wanted = [("queue", &args.queue), ("key", &args.key), ("after", &after)];
    let query: Vec<String> = wanted
        .into_iter()
        .filter_map(|(name, value)| Some(format!("{name}={}", escaped(value.as_deref()?))))
        .collect();
    format!("/v1/events?{}", query.join("&")).trim_end_matches('?').to_owned()
}

pub(super) fn extend(args: &Extend) -> Call {
    let mut fields = Fields::default();
    fields.text("by", args.by.as_deref());
    fields.instant("due", args.due.as_deref());
    fields.instant("if_due", args.if_due.as_deref());
    fields.post(format!("{}/extend", deadline(&args.address)), DEADLINE)
}

pub(super) fn freeze(args: &Freeze) -> Call {
    let path = format!("{}/freeze", deadline(&args.address));
    Call::with(path, &json!({ "for": args.span }), DEADLINE)
}

/// `word` is `pause` or `resume`.
pub(super) fn pause(args: &Pause, word: &str) -> Call {
    let body = if args.lapses { json!({ "lapses": true }) } else { json!({}) };
    Call::with(format!("{}/{word}", queue(&args.queue)), &body, &["queue"])
}

pub(super) fn list(args: &List, cursor: Option<&str>) -> Call {
    let limit = args.limit.to_string();
    let query: Vec<String> = [
        ("state", args.state.as_deref()),
        ("delivery", args.delivery.as_deref()),
        ("due_from", args.due_from.as_deref()),
        ("due_to", args.due_to.as_deref()),
        ("key_prefix", args.key_prefix.as_deref()),
        ("limit", Some(limit.as_str())),
        ("cursor", cursor),
    ]
    .into_iter()
    .filter_map(|(name, value)| Some(format!("{name}={}", escaped(value?))))
    .collect();
    let path = format!("{}/deadlines?{}", queue(&args.queue), query.join("&"));
    Call::bare(Method::GET, path, &["deadlines"])
}

pub(super) fn stats(args: &Stats) -> Call {
    match &args.queue {
        Some(name) => Call::bare(Method::GET, format!("{}/stats", queue(name)), &["queue"]),
        None => Call::bare(Method::GET, "/v1/stats".to_owned(), &["queues"]),
    }
}

pub(super) fn watches() -> Call {
    Call::bare(Method::GET, "/v1/watches".to_owned(), &["watches"])
}

pub(super) fn watch(name: &str) -> Call {
    Call::bare(Method::GET, format!("/v1/watches/{}", escaped(name)), &["watch"])
}

pub(super) fn reconcile(name: &str, dry_run: bool) -> Call {
    let path = format!("/v1/watches/{}/reconcile", escaped(name));
    let body = if dry_run { json!({ "dry_run": true }) } else { json!({}) };
    Call::with(path, &body, &["reconciliation"])
}

impl IfExists {
    fn word(self) -> &'static str {
        match self {
            IfExists::Keep => "keep",
            IfExists::Replace => "replace",
            IfExists::Renew => "renew",
            IfExists::Fail => "fail",
        }
    }
}

/// A body that has only what was typed.
#[derive(Default)]
struct Fields(Map<String, Value>);

impl Fields {
    fn put(&mut self, name: &str, value: Option<impl Into<Value>>) {
        if let Some(value) = value {
            self.0.insert(name.to_owned(), value.into());
        }
    }

    fn text(&mut self, name: &str, value: Option<&str>) {
        self.put(name, value);
    }

    /// Digits alone are milliseconds since 1970, which JSON writes as a number.
    fn instant(&mut self, name: &str, value: Option<&str>) {
        let value = value.map(|text| text.parse::<i64>().map_or_else(|_| text.into(), Value::from));
        self.put(name, value);
    }

    fn post(self, path: String, answers: &'static [&'static str]) -> Call {
        Call::with(path, &Value::Object(self.0), answers)
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::super::args::{CommandLine, Request, Verb};
    use super::*;

    fn call(line: &str) -> (String, Value) {
        let verb = CommandLine::try_parse_from(line.split(' ')).expect("it is well typed").verb;
        let call = match verb {
            Verb::Ask(Request::Schedule(args)) => {
                let payload = args.payload.as_deref().map(|text| {
                    RawValue::from_string(text.to_owned()).expect("the payload is JSON")
                });
                schedule(&args, payload.as_deref())
            }
            Verb::Ask(Request::Settle(args)) => settle(&args),
            Verb::Ask(Request::Extend(args)) => extend(&args),
            Verb::Ask(Request::Freeze(args)) => freeze(&args),
            Verb::Ask(Request::List(args)) => list(&args, args.cursor.as_deref()),
            Verb::Ask(Request::Stats(args)) => stats(&args),
            Verb::Ask(Request::Link(args)) => link(&args),
            Verb::Ask(Request::Pause(args)) => pause(&args, "pause"),
            other => panic!("{other:?} is not one of those above"),
        };
        let body = serde_json::from_slice(&call.body).unwrap_or_default();
        (format!("{} {}", call.method, call.path), body)
    }

    #[test]
    fn only_what_was_typed_is_sent() {
        let path = "PUT /v1/queues/orders/deadlines/42";
        assert_eq!(call("duly schedule orders 42"), (path.to_owned(), json!({})));
        assert_eq!(
            call("duly schedule orders 42 --after 30m --payload {\"a\":1.50} --if-exists renew").1,
            json!({"after": "30m", "payload": {"a": 1.50}, "if_exists": "renew"})
        );
        assert_eq!(
            call("duly settle orders 42 paid"),
            ("POST /v1/queues/orders/deadlines/42/settle".to_owned(), json!({"outcome": "paid"}))
        );
        assert_eq!(call("duly freeze orders 42 0s").1, json!({"for": "0s"}));
        let wish = json!({"queue": "orders", "key": "42", "ttl": "2h"});
        assert_eq!(call("duly link orders 42 --ttl 2h"), ("POST /v1/links".to_owned(), wish));
        assert_eq!(call("duly extend orders 42 --by 5m").1, json!({"by": "5m"}));
    }

    #[test]
    fn a_payload_is_sent_as_it_was_typed() {
        let verb = CommandLine::try_parse_from(["duly", "schedule", "o", "1"]).expect("good").verb;
        let Verb::Ask(Request::Schedule(args)) = verb else { panic!("it is a schedule") };
        let payload = RawValue::from_string("{\"total\": 1.50}".to_owned()).expect("it is JSON");
        assert_eq!(schedule(&args, Some(&payload)).body, "{\"payload\":{\"total\": 1.50}}");
    }

    #[test]
    fn instants_of_digits_are_numbers() {
        let due = |text| call(&format!("duly schedule orders 42 --due {text}")).1["due"].clone();
        assert_eq!(due("1795350600000"), json!(1_795_350_600_000_i64));
        assert_eq!(due("2026-11-22T12:30:00Z"), json!("2026-11-22T12:30:00Z"));
    }

    #[test]
    fn names_are_escaped_in_paths_and_queries() {
        assert_eq!(
            call("duly settle a/b x?y paid").0,
            "POST /v1/queues/a%2Fb/deadlines/x%3Fy/settle"
        );
        let tail = CommandLine::try_parse_from(["duly", "tail", "--key", "a&b", "--after", "7"]);
        let Verb::Ask(Request::Tail(args)) = tail.expect("good").verb else {
            panic!("it is a tail")
        };
        assert_eq!(events(&args), "/v1/events?key=a%26b&after=7");
        assert_eq!(events(&Tail { key: None, after: None, ..args }), "/v1/events");
        assert_eq!(
            call("duly list orders --key-prefix a&b --cursor x=").0,
            "GET /v1/queues/orders/deadlines?key_prefix=a%26b&limit=100&cursor=x%3D"
        );
    }
}
