//! A row as the watch sees it, and the mark that a deadline carries of the row it was made from.
//!
//! The mark travels as the deadline's payload: the table, when the row was created and when it is
//! due. So the deadline itself remembers what it promises, over restarts and backups, whoever
//! extends it meanwhile, and the watch needs no list of its own. A deadline without a mark was
//! scheduled by somebody else and is left alone.

use std::sync::Arc;

use duly_engine::deadline::{Deadline, Payload, PayloadAt, PayloadKind};
use duly_engine::id::{Key, Outcome};
use duly_engine::limits::OUTCOME_BYTES;
use duly_engine::time::{Span, Time};
use jiff::tz::TimeZone;
use serde::{Deserialize, Serialize};

use super::stamp::{self, Instants};
use crate::config::WatchDue;
use crate::database::Value;
use crate::units::WrittenInstant;

/// A row as a query gave it.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Row {
    /// Its key.
    pub(super) key: Value,
    /// When it was created, as the column holds it.
    pub(super) created: Value,
    /// When it is due, where a column says so.
    pub(super) due: Option<Value>,
    /// Does it still meet the watch's condition?
    pub(super) is_open: bool,
    /// What stands in the column that says how it was closed.
    pub(super) outcome: Option<Value>,
    /// Was it cancelled, as far as the watch was told how that shows?
    pub(super) is_cancelled: bool,
    /// Was it paid, likewise?
    pub(super) is_paid: bool,
    /// When it was changed, where a column says so.
    pub(super) changed: Option<Value>,
}

/// The zones that a table's times are read in, column by column: one may carry its zone and the next
/// may not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Zones {
    /// Of when rows were created.
    pub(super) created: TimeZone,
    /// Of when they are due.
    pub(super) due: TimeZone,
    /// Of when they were changed.
    pub(super) changed: TimeZone,
}

impl Zones {
    /// All of them the same.
    pub(super) fn all(zone: &TimeZone) -> Zones {
        Zones { created: zone.clone(), due: zone.clone(), changed: zone.clone() }
    }
}

/// Where the reading of rows has come to, in their own order.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Cursor {
    /// The last row's time.
    pub(super) created: Value,
    /// Its key.
    pub(super) key: Value,
}

/// A row, read: what a deadline needs to know of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Reading {
    /// The deadline's key.
    pub(super) key: Key,
    /// When it was created.
    pub(super) created: Instants,
    /// When it is due.
    pub(super) due: Instants,
    /// How long after its creation, where that is the rule.
    pub(super) delay: Option<Span>,
}

/// What a deadline remembers of its row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Mark {
    /// When it was created.
    pub(super) created: Time,
    /// When it was to be due.
    pub(super) due: Time,
}

#[derive(Deserialize, Serialize)]
struct WrittenMark {
    table: String,
    created: WrittenInstant,
    due: WrittenInstant,
}

impl Row {
    /// Where the reading goes on after it.
    pub(super) fn cursor(&self) -> Cursor {
        Cursor { created: self.created.clone(), key: self.key.clone() }
    }

    /// What a deadline needs to know, or why there can be none.
    pub(super) fn read(&self, due: &WatchDue, zones: &Zones) -> Result<Reading, String> {
        let key = key_of(&self.key)?;
        let created =
            stamp::read(&self.created, &zones.created).map_err(|why| format!("created {why}"))?;
        let (due, delay) = match (due, &self.due) {
            (WatchDue::After(delay), _) => (created.plus(*delay), Some(*delay)),
            (WatchDue::Column(_), Some(value)) => {
                (stamp::read(value, &zones.due).map_err(|why| format!("due {why}"))?, None)
            }
            (WatchDue::Column(_), None) => return Err("due was not asked for".to_owned()),
        };
        Ok(Reading { key, created, due, delay })
    }

    /// How a row that is no longer open was closed, in the words of its column.
    pub(super) fn closed_as(&self) -> Outcome {
        let words = match &self.outcome {
            Some(Value::Text(text)) => text.clone(),
            Some(Value::Integer(number)) => number.to_string(),
            Some(Value::Real(number)) => number.to_string(),
            Some(Value::Null) | None => String::new(),
        };
        let mut words: String = words.trim().chars().filter(|char| !char.is_control()).collect();
        while words.len() > OUTCOME_BYTES {
            words.pop();
        }
        Outcome::new(&words).unwrap_or_else(|_| named("closed"))
    }
}

/// The key of a deadline for a row with this key.
pub(super) fn key_of(value: &Value) -> Result<Key, String> {
    let text = match value {
        Value::Integer(number) => number.to_string(),
        Value::Text(text) => text.clone(),
        Value::Null => return Err("key is NULL".to_owned()),
        Value::Real(_) => return Err("key is a fraction".to_owned()),
    };
    Key::new(&text).map_err(|why| format!("key: {why}"))
}

/// An outcome of the watch's own.
pub(super) fn named(outcome: &'static str) -> Outcome {
    Outcome::new(outcome).expect("the watch's own words are good outcomes")
}

impl Reading {
    /// Which of its readings holds. Of two the later one, so as never to be early; but what has been
    /// created cannot lie ahead.
    pub(super) fn mark(&self, not_after: Time) -> Mark {
        let is_ahead = self.created.latest > not_after;
        let created = if is_ahead { self.created.earliest } else { self.created.latest };
        let due = self.delay.map_or(self.due.latest, |delay| created.plus(delay));
        Mark { created, due }
    }
}

impl Mark {
    /// As the payload of a deadline.
    pub(super) fn payload(&self, table: &str) -> Payload {
        let written = WrittenMark {
            table: table.to_owned(),
            created: self.created.into(),
            due: self.due.into(),
        };
        let bytes = serde_json::to_vec(&written).expect("three texts are plain JSON");
        Payload { kind: PayloadKind::Json, bytes: Arc::from(bytes) }
    }

    /// The mark that a deadline carries; none if it was not made from this table, or is so long over
    /// that its payload is gone.
    pub(super) fn of(deadline: &Deadline, table: &str) -> Option<Mark> {
        let PayloadAt::Here(payload) = &deadline.payload else { return None };
        let written: WrittenMark = serde_json::from_slice(&payload.bytes).ok()?;
        if written.table != table {
            return None;
        }
        Some(Mark { created: written.created.time().ok()?, due: written.due.time().ok()? })
    }
}
