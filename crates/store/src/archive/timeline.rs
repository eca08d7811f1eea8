//! A timeline as JSON, for whoever reads the archive with a JSON function, and back.
//!
//! An array of objects: `at` in ms, `what` in the API's words, and what belongs to that word. Written
//! by hand because it is a dozen fixed shapes; read by SQLite, which knows JSON anyway.

use std::fmt::Write as _;

use duly_engine::deadline::{Event, What};
use duly_engine::id::Outcome;
use duly_engine::time::Time;
use rusqlite::{Connection, Row};

/// Reads a timeline back, one row per event.
const READ: &str = "SELECT value ->> 'at', value ->> 'what', value ->> 'due', value ->> 'until', \
     value ->> 'outcome', value ->> 'attempt', value ->> 'error', value ->> 'next_attempt_at' \
     FROM json_each(?1)";

/// The JSON of a timeline.
pub fn write(timeline: &[Event]) -> String {
    let mut json = String::with_capacity(2 + timeline.len() * 64);
    json.push('[');
    for (index, event) in timeline.iter().enumerate() {
        if index > 0 {
            json.push(',');
        }
        put_number(&mut json, "{\"at\":", event.at.millis());
        json.push_str(",\"what\":\"");
        json.push_str(event.what.word());
        json.push('"');
        match &event.what {
            What::Scheduled { due } | What::Extended { due } | What::Shifted { due } => {
                put_number(&mut json, ",\"due\":", due.millis());
            }
            What::Frozen { until } => put_number(&mut json, ",\"until\":", until.millis()),
            What::Settled { outcome } => put_text(&mut json, ",\"outcome\":", outcome.as_str()),
            What::Leased { attempt } => {
                put_number(&mut json, ",\"attempt\":", u64::from(*attempt));
            }
            What::Retried { error, next_attempt_at } => {
                put_text(&mut json, ",\"error\":", error);
                put_number(&mut json, ",\"next_attempt_at\":", next_attempt_at.millis());
            }
            What::Dead { error } => put_text(&mut json, ",\"error\":", error),
            What::Lapsed | What::Done | What::Superseded | What::Revived => {}
        }
        json.push('}');
    }
    json.push(']');
    json
}

/// The events of a timeline; `Err` inside says that one of them is none.
pub fn read(
    connection: &Connection,
    json: &str,
) -> rusqlite::Result<Result<Vec<Event>, &'static str>> {
    let mut statement = connection.prepare_cached(READ)?;
    let mut rows = statement.query([json])?;
    let mut timeline = Vec::new();
    while let Some(row) = rows.next()? {
        match read_event(row)? {
            Some(event) => timeline.push(event),
            None => return Ok(Err("the record has an event in its timeline that is none")),
        }
    }
    Ok(Ok(timeline))
}

fn read_event(row: &Row<'_>) -> rusqlite::Result<Option<Event>> {
    let (Some(at), word) = (time(row, 0)?, row.get::<_, String>(1)?) else { return Ok(None) };
    let error = || row.get::<_, Option<String>>(6).map(|error| error.map(Into::into));
    let what = match word.as_str() {
        "scheduled" => time(row, 2)?.map(|due| What::Scheduled { due }),
        "extended" => time(row, 2)?.map(|due| What::Extended { due }),
        "shifted" => time(row, 2)?.map(|due| What::Shifted { due }),
        "frozen" => time(row, 3)?.map(|until| What::Frozen { until }),
        "settled" => row
            .get::<_, Option<String>>(4)?
            .and_then(|outcome| Outcome::new(&outcome).ok())
            .map(|outcome| What::Settled { outcome }),
        "lapsed" => Some(What::Lapsed),
        "leased" => row.get::<_, Option<u32>>(5)?.map(|attempt| What::Leased { attempt }),
        "retried" => match (error()?, time(row, 7)?) {
            (Some(error), Some(next_attempt_at)) => Some(What::Retried { error, next_attempt_at }),
            _ => None,
        },
        "done" => Some(What::Done),
        "superseded" => Some(What::Superseded),
        "dead" => error()?.map(|error| What::Dead { error }),
        "revived" => Some(What::Revived),
        _ => None,
    };
    Ok(what.map(|what| Event { at, what }))
}

fn time(row: &Row<'_>, column: usize) -> rusqlite::Result<Option<Time>> {
    let millis: Option<i64> = row.get(column)?;
    // Nothing of Duly happens before 1970: a negative time is none.
    Ok(millis.and_then(|millis| u64::try_from(millis).ok()).map(Time::from_millis))
}

fn put_number(json: &mut String, name: &str, number: u64) {
    json.push_str(name);
    write!(json, "{}", super::row::number(number)).expect("a string takes everything");
}

fn put_text(json: &mut String, name: &str, text: &str) {
    json.push_str(name);
    json.push('"');
    for character in text.chars() {
        match character {
            '"' | '\\' => json.extend(['\\', character]),
            control if control < ' ' => {
                write!(json, "\\u{:04x}", u32::from(control)).expect("a string takes everything");
            }
            other => json.push(other),
        }
    }
    json.push('"');
}
