//! Questions as commands of the Redis protocol, and what its replies say in a history's words.
//!
//! What every Redis client knows is used where it means the same: a schedule that replaces is `SET`, a
//! settle with the outcome `deleted` is `DEL`, a due time that is only ever moved ahead is `PEXPIREAT …
//! GT`, and reads take turns. Their replies show little: that something was done, or that nothing was
//! pending. Everything else is asked with `DULY.…`, whose replies have the fields that HTTP's have.

use std::io;

use serde_json::{Map, Value};

use super::ask::Reply;
use super::name::Name;
use super::resp::{Conversation, Said, Words};
use super::way::Line;
use crate::history::{Asked, By, IfExists, Told, When};

/// The outcome of a settle by `DEL`.
pub(super) const DELETED: &str = "deleted";

/// A way to read, and what a reply to it says.
type Read = (&'static str, fn(&Said) -> Option<Told>);

/// The ways to read a key; a client takes one after the other.
const READS: [Read; 5] = [
    ("DULY.GET", |_| None),
    ("GET", |said| match said {
        Said::Bytes(_) => Some(Told::Pending { due: None }),
        Said::Nothing => Some(Told::NotPending),
        _ => None,
    }),
    ("PTTL", |said| time(said, When::AfterMs)),
    ("EXISTS", |said| match said {
        Said::Integer(1) => Some(Told::Pending { due: None }),
        Said::Integer(0) => Some(Told::NotPending),
        _ => None,
    }),
    ("PEXPIRETIME", |said| time(said, When::DueMs)),
];

fn time(said: &Said, when: fn(u64) -> When) -> Option<Told> {
    match said {
        Said::Integer(-2) => Some(Told::NotPending),
        Said::Integer(ms) => Some(Told::Pending { due: Some(when(u64::try_from(*ms).ok()?)) }),
        _ => None,
    }
}

/// What a reply says that is no map; nothing if it says something strange.
type Meaning = fn(&Said) -> Option<Told>;

impl Line for Conversation {
    fn answers(&mut self, questions: &[(Name, Asked)]) -> io::Result<Vec<Reply>> {
        let mut commands = Vec::new();
        let mut meanings = Vec::new();
        for (name, asked) in questions {
            let (command, meaning) = spoken(*name, asked, &mut self.turn);
            commands.push(command);
            meanings.push(meaning);
        }
        let replies = self.say_all(&commands)?;
        Ok(replies.iter().zip(meanings).map(|(said, meaning)| reply(said, meaning)).collect())
    }

    fn lease(&mut self, queue: &str, max: u64, wait: &str, lease_ms: u64) -> io::Result<Value> {
        let (max, lease) = (max.to_string(), format!("{lease_ms}ms"));
        let words = ["DULY.LEASE", queue, "MAX", &max, "LEASE", &lease, "WAIT", wait];
        Ok(reply(&self.say(&words.map(str::to_owned))?, |_| None).body)
    }

    fn verdict(&mut self, delivery: &str, token: &str, verdict: &str) -> io::Result<Reply> {
        let words = ["DULY.VERDICT", delivery, token, verdict];
        Ok(reply(&self.say(&words.map(str::to_owned))?, |_| None))
    }

    fn touch(&mut self, delivery: &str, token: &str, lease_ms: u64) -> io::Result<Reply> {
        let lease = format!("{lease_ms}ms");
        let words = ["DULY.TOUCH", delivery, token, "LEASE", &lease];
        Ok(reply(&self.say(&words.map(str::to_owned))?, |_| None))
    }
}

/// A question as a command, and what its reply means if that is not a map.
fn spoken(name: Name, asked: &Asked, turn: &mut usize) -> (Words, Meaning) {
    let (queue, key) = (name.queue(), name.key());
    let classic = |command: &str, rest: &[&str]| {
        let key = format!("{queue}:{key}");
        [command, &key].iter().chain(rest).map(|&word| word.to_owned()).collect()
    };
    let own = |command: &str, rest: &[&str]| {
        [command, queue, &key].iter().chain(rest).map(|&word| word.to_owned()).collect()
    };
    let payload = name.payload().to_string();
    match asked {
        Asked::Schedule { if_exists, when, .. } => {
            let (set, schedule, time) = match when {
                When::AfterMs(span) => ("PX", "AFTER", span),
                When::DueMs(due) => ("PXAT", "DUE", due),
                When::Default => unreachable!("{asked:?} is not asked here"),
            };
            if *if_exists == IfExists::Replace {
                (classic("SET", &[&payload, set, &time.to_string()]), done)
            } else {
                let time = if schedule == "DUE" { time.to_string() } else { format!("{time}ms") };
                (own("DULY.SCHEDULE", &[schedule, &time, "PAYLOAD", &payload]), |_| None)
            }
        }
        Asked::Settle { outcome, .. } if outcome == DELETED => (classic("DEL", &[]), done),
        Asked::Settle { outcome, .. } => (own("DULY.SETTLE", &[outcome]), |_| None),
        Asked::Extend { by: By::DueMs(due), .. } => {
            (classic("PEXPIREAT", &[&due.to_string(), "GT"]), |said| match said {
                Said::Integer(1) => Some(Told::Done),
                // Not pending, or due later: it does not say which.
                Said::Integer(0) => Some(Told::Refused { code: "not_later".into(), seen: None }),
                _ => None,
            })
        }
        Asked::Extend { by: By::LaterMs(span), .. } => {
            (own("DULY.EXTEND", &["BY", &format!("{span}ms")]), |_| None)
        }
        Asked::Freeze { for_ms } => {
            (own("DULY.FREEZE", &["FOR", &format!("{for_ms}ms")]), |_| None)
        }
        Asked::Get => {
            let (command, meaning) = READS[*turn % READS.len()];
            *turn += 1;
            let is_own = command.starts_with("DULY");
            (if is_own { own(command, &[]) } else { classic(command, &[]) }, meaning)
        }
        _ => unreachable!("{asked:?} is not asked here"),
    }
}

fn done(said: &Said) -> Option<Told> {
    match said {
        Said::Integer(1) => Some(Told::Done),
        Said::Status(ok) if ok == "OK" => Some(Told::Done),
        Said::Integer(0) => Some(Told::NotPending),
        _ => None,
    }
}

/// A reply as HTTP would have answered, but for what it does not show.
fn reply(said: &Said, meaning: Meaning) -> Reply {
    let thin = meaning(said);
    let (status, body) = match said {
        Said::Error(why) => {
            let code = why.split(' ').next().unwrap_or_default().to_lowercase();
            (400, serde_json::json!({ "code": code, "detail": why }))
        }
        // The value of a key that is pending.
        Said::Bytes(_) if thin.is_some() => {
            (200, serde_json::json!({ "deadline": { "payload": value("payload", said) } }))
        }
        said => (200, value("", said)),
    };
    Reply { status, body, thin }
}

/// A reply as JSON; this is the value of that field. Payloads are JSON in an attack.
fn value(field: &str, said: &Said) -> Value {
    match said {
        Said::Bytes(bytes) if field == "payload" => {
            serde_json::from_slice(bytes).unwrap_or_default()
        }
        Said::Bytes(bytes) => String::from_utf8_lossy(bytes).into(),
        Said::Status(text) | Said::Error(text) => text.as_str().into(),
        Said::Integer(number) => (*number).into(),
        Said::Boolean(is_so) => (*is_so).into(),
        Said::Nothing => Value::Null,
        Said::List(things) => things.iter().map(|thing| value("", thing)).collect(),
        Said::Map(pairs) => {
            let mut map = Map::new();
            for (name, thing) in pairs {
                let name = match value("", name) {
                    Value::String(name) => name,
                    other => other.to_string(),
                };
                let thing = value(&name, thing);
                map.insert(name, thing);
            }
            map.into()
        }
    }
}
