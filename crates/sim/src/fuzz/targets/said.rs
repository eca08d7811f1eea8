//! Commands as a client would say them: the way back from what was read.

use duly::listen::http::reading::LinkWanted;
use duly::policy::{PolicyText, TargetText, WebhookText};
use duly::units::show_instant;
use duly_engine::command::{Command, ExtendBy, IfDue, IfExists, Schedule, Verdict, When};
use duly_engine::id::DeliveryId;
use duly_engine::limits::{ERROR_BYTES, HORIZON, LEASE, OUTCOME_BYTES, PAYLOAD_BYTES, REMEMBER};
use duly_engine::queue::{Policy, Target};
use serde_json::{Map, Value, json};

pub(super) const WORDS: &[&str] = &[
    "schedule\n",
    "settle\n",
    "extend\n",
    "freeze\n",
    "putqueue\n",
    "resume\n",
    "link\n",
    "confirm\n",
    "lease\n",
    "verdict\n",
    "{}",
    "\"op\":\"schedule\"",
    "\"op\":\"settle\"",
    "\"op\":\"get\"",
    "\"op\":\"verdict\"",
    "\"queue\":\"orders\"",
    "\"key\":\"42\"",
    "\"after\":\"30m\"",
    "\"after\":1800",
    "\"due\":",
    "\"2026-11-22T12:30:00Z\"",
    "\"payload\":",
    "\"priority\":",
    "\"if_exists\":\"replace\"",
    "\"allow_past\":true",
    "\"outcome\":\"paid\"",
    "\"remember\":\"7d\"",
    "\"generation\":1",
    "\"by\":\"5m\"",
    "\"if_due\":",
    "\"for\":\"10m\"",
    "\"token\":\"17\"",
    "\"verdict\":\"retry\"",
    "\"error\":\"x\"",
    "\"retry_after\":1",
    "\"max\":1000",
    "\"wait\":\"20s\"",
    "\"lease\":\"30s\"",
    "\"target\":\"pull\"",
    "\"target\":{\"webhook\":{\"url\":\"https://a.example/\",\"secrets\":[]}}",
    "\"retry\":[\"5s\"]",
    "\"from\":",
    "\"to\":",
    "\"dry_run\":true",
    "\"lapses\":true",
    "\"deliveries\":false",
    "\"ttl\":\"2h\"",
    "\"show_outcome\":true",
    "null",
    "1e400",
    "-0",
    "1.0",
    "\\u0000",
    "\\ud800",
    "\\\"",
    "[[[[[[[[",
    "]]]]]]]]",
    "{\"a\":",
    "\u{feff}",
    "18446744073709551615",
    "4294967296",
    ",",
    ":",
    "\"",
    "\n",
];

/// The fields of a body that means this command.
pub(super) fn body(command: &Command) -> Map<String, Value> {
    let fields = match command {
        Command::Schedule(schedule) => return scheduled(schedule),
        Command::Settle(settle) => json!({
            "outcome": settle.outcome.as_str(),
            "remember": settle.remember.map(|span| span.to_string()),
            "generation": settle.generation.map(|generation| generation.0),
        }),
        Command::Extend(extend) => {
            let if_due = extend.if_due.map(|if_due| match if_due {
                IfDue::At(due) => show_instant(due),
                other => panic!("no request means {other:?}"),
            });
            match extend.by {
                ExtendBy::Span(span) => json!({"by": span.to_string(), "if_due": if_due}),
                ExtendBy::Due(due) => json!({"due": show_instant(due), "if_due": if_due}),
                ExtendBy::After(_) => panic!("no request means {extend:?}"),
            }
        }
        Command::Freeze { span, .. } => json!({"for": span.to_string()}),
        Command::PutQueue { policy, .. } => return put(policy),
        Command::Pause { deliveries, lapses, .. } => json!({
            "deliveries": deliveries.is_some(),
            "lapses": lapses.is_some(),
        }),
        Command::Shift { from, to, by_ms, .. } => json!({
            "from": show_instant(*from),
            "to": show_instant(*to),
            "by": format!("{by_ms}ms"),
        }),
        Command::Verdict { token, verdict, .. } => {
            let (word, error, after) = match verdict {
                Verdict::Done => ("done", None, None),
                Verdict::Superseded => ("superseded", None, None),
                Verdict::Retry { error, after } => ("retry", Some(error), *after),
                Verdict::Dead { error } => ("dead", Some(error), None),
            };
            json!({
                "token": token.0.to_string(),
                "verdict": word,
                "error": error.map(|error| &**error),
                "retry_after": after.map(|span| span.to_string()),
            })
        }
        Command::Touch { token, span, .. } => {
            json!({"token": token.0.to_string(), "lease": span.to_string()})
        }
        Command::Get(_) | Command::Revive(_) | Command::Erase(_) | Command::ConfirmClock => {
            json!({})
        }
        other => panic!("no request means {other:?}"),
    };
    match fields {
        // What is null is not said.
        Value::Object(fields) => fields.into_iter().filter(|(_, value)| !value.is_null()).collect(),
        _ => unreachable!("each of them is an object"),
    }
}

/// The body that wants this link.
pub(super) fn link(wanted: &LinkWanted) -> String {
    let LinkWanted { at, ttl, generation, show_outcome } = wanted;
    json!({
        "queue": at.queue.as_str(),
        "key": at.key.as_str(),
        "ttl": ttl.map(|ttl| ttl.to_string()),
        "generation": generation.map(|generation| generation.0),
        "show_outcome": show_outcome,
    })
    .to_string()
}

fn scheduled(schedule: &Schedule) -> Map<String, Value> {
    let mut fields = Map::new();
    match schedule.when {
        When::Default => None,
        When::After(span) => fields.insert("after".into(), span.to_string().into()),
        When::Due(due) => fields.insert("due".into(), show_instant(due).into()),
        When::Kept => panic!("no request means {schedule:?}"),
    };
    if let Some(priority) = schedule.priority {
        fields.insert("priority".into(), priority.into());
    }
    let word = match schedule.if_exists {
        IfExists::Keep => "keep",
        IfExists::Replace => "replace",
        IfExists::Renew => "renew",
        IfExists::Fail => "fail",
        IfExists::Move(_) => panic!("no request means {schedule:?}"),
    };
    fields.insert("if_exists".into(), word.into());
    fields.insert("allow_past".into(), schedule.allow_past.into());
    fields
}

fn put(policy: &Policy) -> Map<String, Value> {
    let mut shown = PolicyText::shown(policy);
    if let Target::Webhook(webhook) = &policy.target {
        // Shown secrets are masked.
        shown.target = Some(TargetText::Webhook(WebhookText {
            url: webhook.url.clone(),
            secrets: webhook.secrets.clone(),
            batch: Some(webhook.batch),
            timeout: Some(webhook.timeout.into()),
        }));
    }
    match serde_json::to_value(&shown) {
        Ok(Value::Object(fields)) => fields,
        other => panic!("a policy is shown as {other:?}"),
    }
}

/// A body as text; a payload stands in it byte for byte.
pub(super) fn text(fields: Map<String, Value>, command: &Command) -> String {
    let text = Value::Object(fields).to_string();
    let Command::Schedule(Schedule { payload: Some(payload), .. }) = command else { return text };
    let payload = std::str::from_utf8(&payload.bytes).expect("a payload is JSON");
    let comma = if text == "{}" { "" } else { "," };
    format!("{{\"payload\":{payload}{comma}{}", &text[1..])
}

/// The line of a batch that means this command; nothing if no line can.
pub(super) fn line(command: &Command) -> String {
    let mut fields = body(command);
    let (op, at) = match command {
        Command::Schedule(schedule) => ("schedule", Ok(&schedule.at)),
        Command::Settle(settle) => ("settle", Ok(&settle.at)),
        Command::Extend(extend) => ("extend", Ok(&extend.at)),
        Command::Freeze { at, .. } => ("freeze", Ok(at)),
        Command::Get(at) => ("get", Ok(at)),
        Command::Revive(at) => ("revive", Ok(at)),
        Command::Erase(at) => ("erase", Ok(at)),
        Command::Verdict { delivery, .. } => ("verdict", Err(*delivery)),
        Command::Touch { delivery, .. } => ("touch", Err(*delivery)),
        other => panic!("no line means {other:?}"),
    };
    fields.insert("op".into(), op.into());
    match at {
        Ok(at) => {
            fields.insert("queue".into(), at.queue.as_str().into());
            fields.insert("key".into(), at.key.as_str().into());
        }
        Err(delivery) => {
            let id: DeliveryId = delivery;
            fields.insert("id".into(), id.to_string().into());
        }
    }
    // A payload may run over several lines; in JSON a line break stands only where a blank may.
    text(fields, command).replace(['\n', '\r'], " ")
}

/// Is everything in it within its limits?
pub(super) fn check(command: &Command) {
    match command {
        Command::Schedule(schedule) => {
            if let When::After(span) = schedule.when {
                assert!(span <= HORIZON, "a delay beyond ten years was taken");
            }
            if let Some(payload) = &schedule.payload {
                assert!(payload.bytes.len() <= PAYLOAD_BYTES, "a payload is too long");
                let json = serde_json::from_slice::<serde::de::IgnoredAny>(&payload.bytes);
                assert!(json.is_ok(), "a payload that is no JSON was taken");
            }
        }
        Command::Settle(settle) => {
            assert!((1..=OUTCOME_BYTES).contains(&settle.outcome.as_str().len()), "an outcome");
            assert!(settle.remember.is_none_or(|span| span <= REMEMBER), "remembered for long");
            assert!(settle.generation.is_none_or(|generation| generation.0 > 0), "generation 0");
        }
        Command::Extend(extend) => {
            if let ExtendBy::Span(span) = extend.by {
                assert!(span <= HORIZON, "an extension beyond ten years was taken");
            }
        }
        Command::Freeze { span, .. } => assert!(*span <= HORIZON, "a freeze of ten years"),
        Command::PutQueue { policy, .. } => {
            assert!(policy.check().is_ok(), "a policy that cannot be was taken");
        }
        Command::Shift { from, to, by_ms, .. } => {
            assert!(from < to && by_ms.unsigned_abs() <= HORIZON.millis(), "a shift out of bounds");
        }
        Command::Verdict { verdict, .. } => match verdict {
            Verdict::Retry { error, .. } | Verdict::Dead { error } => {
                assert!(error.len() <= ERROR_BYTES, "an error is too long");
            }
            Verdict::Done | Verdict::Superseded => {}
        },
        Command::Touch { span, .. } => {
            assert!((LEASE.0..=LEASE.1).contains(span), "a lease out of bounds was taken");
        }
        _ => {}
    }
}
