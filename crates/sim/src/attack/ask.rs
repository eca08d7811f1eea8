//! Questions as requests: alone, or as lines of a batch.

use std::io;

use serde_json::{Value, json};

use super::name::Name;
use super::wire::Connection;
use crate::history::{Asked, By, When};

/// The answer to one question: its status, and its body.
#[derive(Debug)]
pub(super) struct Reply {
    pub(super) status: u16,
    pub(super) body: Value,
}

/// Asks one question about a deadline.
pub(super) fn one(to: &mut Connection, name: Name, asked: &Asked) -> io::Result<Reply> {
    let path = name.path();
    let (verb, fields) = spoken(name, asked);
    let answer = match verb {
        "schedule" => to.ask("PUT", &path, &fields.to_string())?,
        "get" => to.ask("GET", &path, "")?,
        verb => to.ask("POST", &format!("{path}/{verb}"), &fields.to_string())?,
    };
    Ok(Reply { status: answer.status, body: answer.json() })
}

/// Asks many in one request; answers come in their order.
pub(super) fn many(to: &mut Connection, questions: &[(Name, Asked)]) -> io::Result<Vec<Reply>> {
    let mut lines = String::new();
    for (name, asked) in questions {
        let (verb, mut line) = spoken(*name, asked);
        line["op"] = verb.into();
        line["queue"] = name.queue().into();
        line["key"] = name.key().into();
        lines += &line.to_string();
        lines.push('\n');
    }
    let answer = to.ask("POST", "/v1/batch", &lines)?;
    let replies: Vec<Reply> = answer.lines().map(reply_of_line).collect();
    if answer.status != 200 || replies.len() != questions.len() {
        return Err(io::Error::other(format!("{} to a batch: {}", answer.status, answer.json())));
    }
    Ok(replies)
}

/// Asks something about a delivery that is leased.
pub(super) fn about_delivery(
    to: &mut Connection,
    delivery: &str,
    verb: &str,
    body: &Value,
) -> io::Result<Reply> {
    let answer = to.ask("POST", &format!("/v1/deliveries/{delivery}/{verb}"), &body.to_string())?;
    Ok(Reply { status: answer.status, body: answer.json() })
}

/// Asks for something that is not about one deadline, and must be granted.
pub(super) fn granted(
    to: &mut Connection,
    method: &str,
    path: &str,
    body: &Value,
) -> anyhow::Result<Value> {
    let answer = to.ask(method, path, &body.to_string())?;
    let json = answer.json();
    anyhow::ensure!((200..300).contains(&answer.status), "{method} {path}: {json}");
    Ok(json)
}

fn reply_of_line(body: Value) -> Reply {
    let status = body["status"].as_u64().and_then(|status| u16::try_from(status).ok());
    Reply { status: status.unwrap_or(0), body }
}

/// The verb of a question, and its fields.
fn spoken(name: Name, asked: &Asked) -> (&'static str, Value) {
    match asked {
        Asked::Schedule { when, .. } => {
            let mut fields = match when {
                When::AfterMs(span) => json!({ "after": format!("{span}ms") }),
                When::DueMs(due) => json!({ "due": due }),
                When::Default => json!({}),
            };
            fields["payload"] = name.payload();
            ("schedule", fields)
        }
        Asked::Settle { outcome, .. } => ("settle", json!({ "outcome": outcome })),
        Asked::Extend { by, .. } => match by {
            By::LaterMs(span) => ("extend", json!({ "by": format!("{span}ms") })),
            By::DueMs(due) => ("extend", json!({ "due": due })),
            By::AfterMs(_) => unreachable!("{asked:?} is not asked over HTTP"),
        },
        Asked::Freeze { for_ms } => ("freeze", json!({ "for": format!("{for_ms}ms") })),
        Asked::Get => ("get", json!({})),
        Asked::Revive => ("revive", json!({})),
        Asked::Lease | Asked::Verdict { .. } | Asked::Erase => {
            unreachable!("{asked:?} is not asked about a key here")
        }
    }
}
