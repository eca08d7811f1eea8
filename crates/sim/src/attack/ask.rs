//! Questions as requests over HTTP: alone, or as lines of a batch.

use std::borrow::Cow;
use std::io;

use serde_json::{Value, json};

use super::name::Name;
use super::way::Line;
use super::wire::Connection;
use crate::history::{Asked, By, IfExists, Told, When, told_over_http};

/// The answer to one question: its status, and its body.
#[derive(Debug)]
pub(super) struct Reply {
    pub(super) status: u16,
    pub(super) body: Value,
    /// What it says if the body does not: that something was done, and no record.
    pub(super) thin: Option<Told>,
}

impl Reply {
    fn of(status: u16, body: Value) -> Reply {
        Reply { status, body, thin: None }
    }

    /// What it says, or why it cannot be understood.
    pub(super) fn told(&self) -> Result<Told, Cow<'static, str>> {
        self.thin.clone().map_or_else(|| told_over_http(&self.body), Ok)
    }
}

impl Line for Connection {
    fn answers(&mut self, questions: &[(Name, Asked)]) -> io::Result<Vec<Reply>> {
        match questions {
            [(name, asked)] => Ok(vec![one(self, *name, asked)?]),
            questions => many(self, questions),
        }
    }

    fn lease(&mut self, queue: &str, max: u64, wait: &str, lease_ms: u64) -> io::Result<Value> {
        let wanted = json!({ "max": max, "wait": wait, "lease": format!("{lease_ms}ms") });
        let path = format!("/v1/queues/{queue}/lease");
        Ok(self.ask("POST", &path, &wanted.to_string())?.json())
    }

    fn verdict(&mut self, delivery: &str, token: &str, verdict: &str) -> io::Result<Reply> {
        about_delivery(self, delivery, "verdict", &json!({ "token": token, "verdict": verdict }))
    }

    fn touch(&mut self, delivery: &str, token: &str, lease_ms: u64) -> io::Result<Reply> {
        let body = json!({ "token": token, "lease": format!("{lease_ms}ms") });
        about_delivery(self, delivery, "touch", &body)
    }
}

/// Asks one question about a deadline.
fn one(to: &mut Connection, name: Name, asked: &Asked) -> io::Result<Reply> {
    let path = name.path();
    let (verb, fields) = spoken(name, asked);
    let answer = match verb {
        "schedule" => to.ask("PUT", &path, &fields.to_string())?,
        "get" => to.ask("GET", &path, "")?,
        verb => to.ask("POST", &format!("{path}/{verb}"), &fields.to_string())?,
    };
    Ok(Reply::of(answer.status, answer.json()))
}

/// Asks many in one request; answers come in their order.
fn many(to: &mut Connection, questions: &[(Name, Asked)]) -> io::Result<Vec<Reply>> {
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
fn about_delivery(
    to: &mut Connection,
    delivery: &str,
    verb: &str,
    body: &Value,
) -> io::Result<Reply> {
    let answer = to.ask("POST", &format!("/v1/deliveries/{delivery}/{verb}"), &body.to_string())?;
    Ok(Reply::of(answer.status, answer.json()))
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
    Reply::of(status.unwrap_or(0), body)
}

/// The verb of a question, and its fields.
fn spoken(name: Name, asked: &Asked) -> (&'static str, Value) {
    match asked {
        Asked::Schedule { if_exists, when, .. } => {
            let mut fields = match when {
                When::AfterMs(span) => json!({ "after": format!("{span}ms") }),
                When::DueMs(due) => json!({ "due": due }),
                When::Default => json!({}),
            };
            fields["payload"] = name.payload();
            if *if_exists == IfExists::Replace {
                fields["if_exists"] = "replace".into();
            }
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
