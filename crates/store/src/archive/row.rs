//! A final record as a row of the archive, and back.
//!
//! The row carries two checksums, one over its payload, which may be dropped before the rest, and one
//! over everything else. A row that does not match is never shown as if it were right.

use duly_engine::deadline::{
    Deadline, Delivery, DeliveryState, Event, Final, Ladder, Payload, PayloadAt, PayloadKind, State,
};
use duly_engine::id::{DeadlineId, Generation, Key, Outcome, QueueName, QueueNo, Token};
use duly_engine::time::{Span, Time};
use rusqlite::types::Value;
use rusqlite::{Connection, Row as SqlRow, Statement, params};

use super::timeline;

/// The columns of `records` in the order that [`Row`] reads and writes them.
pub(super) const COLUMNS: &str = "id, generation, queue_no, key, ending, due, created_at, \
     lapsed_at, finished_at, priority, frozen_until, frozen_for, outcome, delivery_id, attempts, \
     token, last_error, timeline, seq, crc, payload_kind, payload, payload_crc";

/// How a record became final.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Ending {
    Settled = 1,
    Done = 2,
    Superseded = 3,
}

impl Ending {
    pub(super) const ALL: [Ending; 3] = [Ending::Settled, Ending::Done, Ending::Superseded];

    fn of(deadline: &Deadline) -> Ending {
        match (deadline.state, deadline.delivery.as_ref().map(|delivery| delivery.state)) {
            (State::Settled, _) => Ending::Settled,
            (State::Lapsed, Some(DeliveryState::Done)) => Ending::Done,
            (State::Lapsed, Some(DeliveryState::Superseded)) => Ending::Superseded,
            (state, delivery) => panic!("only final records are archived: {state:?} {delivery:?}"),
        }
    }

    pub(super) fn state(self) -> State {
        match self {
            Ending::Settled => State::Settled,
            Ending::Done | Ending::Superseded => State::Lapsed,
        }
    }

    pub(super) fn delivery(self) -> Option<DeliveryState> {
        match self {
            Ending::Settled => None,
            Ending::Done => Some(DeliveryState::Done),
            Ending::Superseded => Some(DeliveryState::Superseded),
        }
    }
}

const NO_PAYLOAD: i64 = 0;
const JSON: i64 = 1;
const BYTES: i64 = 2;
/// The payload was dropped by retention.
pub(super) const DROPPED: i64 = 3;

/// One row of `records`.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Row {
    id: i64,
    generation: i64,
    pub(super) queue_no: i64,
    key: String,
    pub(super) ending: i64,
    due: i64,
    created_at: i64,
    lapsed_at: Option<i64>,
    pub(super) finished_at: i64,
    priority: i64,
    frozen_until: Option<i64>,
    frozen_for: i64,
    pub(super) outcome: Option<String>,
    delivery_id: Option<String>,
    attempts: i64,
    token: Option<i64>,
    last_error: Option<String>,
    timeline: String,
    seq: i64,
    payload_kind: i64,
    payload: Value,
}

impl Row {
    /// The row of a final record. Its payload is here or gone: whoever brings it has read the journal.
    pub(super) fn of(record: &Final) -> Row {
        let deadline = &record.deadline;
        let finished_at = deadline.finished_at().expect("a final record has an end");
        let delivery = deadline.delivery.as_ref();
        let (payload_kind, payload) = match &deadline.payload {
            PayloadAt::None => (NO_PAYLOAD, Value::Null),
            PayloadAt::Gone => (DROPPED, Value::Null),
            PayloadAt::Here(payload) => payload_value(payload),
            PayloadAt::Stored(_) => panic!("a payload is read before its record is archived"),
        };
        Row {
            id: number(deadline.id.0),
            generation: i64::from(deadline.generation.0),
            queue_no: i64::from(deadline.queue_no.0),
            key: deadline.key.as_str().to_owned(),
            ending: Ending::of(deadline) as i64,
            due: number(deadline.due.millis()),
            created_at: number(deadline.created_at.millis()),
            lapsed_at: deadline.lapsed_at.map(|at| number(at.millis())),
            finished_at: number(finished_at.millis()),
            priority: i64::from(deadline.priority),
            frozen_until: deadline.frozen_until.map(|until| number(until.millis())),
            frozen_for: number(deadline.frozen_for.millis()),
            outcome: deadline.outcome.as_ref().map(|outcome| outcome.as_str().to_owned()),
            delivery_id: delivery.map(|delivery| delivery.id.to_string()),
            attempts: delivery.map_or(0, |delivery| i64::from(delivery.attempts)),
            token: delivery.and_then(|delivery| delivery.token).map(|token| number(token.0)),
            last_error: delivery
                .and_then(|delivery| delivery.last_error.as_deref())
                .map(str::to_owned),
            timeline: timeline::write(&deadline.timeline),
            seq: number(record.seq),
            payload_kind,
            payload,
        }
    }

    /// Adds it unless its generation is there already; true if it was added.
    pub(super) fn insert(&self, statement: &mut Statement<'_>) -> rusqlite::Result<bool> {
        let changed = statement.execute(params![
            self.id,
            self.generation,
            self.queue_no,
            self.key,
            self.ending,
            self.due,
            self.created_at,
            self.lapsed_at,
            self.finished_at,
            self.priority,
            self.frozen_until,
            self.frozen_for,
            self.outcome,
            self.delivery_id,
            self.attempts,
            self.token,
            self.last_error,
            self.timeline,
            self.seq,
            self.crc(),
            self.payload_kind,
            self.payload,
            self.payload_crc(),
        ])?;
        Ok(changed > 0)
    }

    /// Reads the columns from `first` on; `Err` inside says what is wrong with them.
    pub(super) fn read(
        row: &SqlRow<'_>,
        first: usize,
    ) -> rusqlite::Result<Result<Row, &'static str>> {
        let found = Row {
            id: row.get(first)?,
            generation: row.get(first + 1)?,
            queue_no: row.get(first + 2)?,
            key: row.get(first + 3)?,
            ending: row.get(first + 4)?,
            due: row.get(first + 5)?,
            created_at: row.get(first + 6)?,
            lapsed_at: row.get(first + 7)?,
            finished_at: row.get(first + 8)?,
            priority: row.get(first + 9)?,
            frozen_until: row.get(first + 10)?,
            frozen_for: row.get(first + 11)?,
            outcome: row.get(first + 12)?,
            delivery_id: row.get(first + 13)?,
            attempts: row.get(first + 14)?,
            token: row.get(first + 15)?,
            last_error: row.get(first + 16)?,
            timeline: row.get(first + 17)?,
            seq: row.get(first + 18)?,
            payload_kind: row.get(first + 20)?,
            payload: row.get_ref(first + 21)?.try_into()?,
        };
        let (crc, payload_crc): (i64, i64) = (row.get(first + 19)?, row.get(first + 22)?);
        Ok(if crc != found.crc() {
            Err("the record does not match its checksum")
        } else if payload_crc != found.payload_crc() {
            Err("the payload does not match its checksum")
        } else {
            Ok(found)
        })
    }

    /// The record it was made of, with what only matters while a record is live left at rest.
    pub(super) fn into_deadline(
        self,
        queue: &QueueName,
        timeline: Vec<Event>,
    ) -> Result<Deadline, &'static str> {
        let ending = Ending::ALL.into_iter().find(|ending| *ending as i64 == self.ending);
        let ending = ending.ok_or("the record has an unknown ending")?;
        let lapsed_at = self.lapsed_at.map(time);
        let delivery = match (ending.delivery(), &self.delivery_id) {
            (None, _) => None,
            (Some(state), Some(id)) => Some(Delivery {
                id: id.parse().map_err(|_| "the record has no delivery id")?,
                state,
                attempts: small(self.attempts)?,
                next_attempt_at: None,
                leased_until: None,
                token: self.token.map(|token| Token(token.unsigned_abs())),
                last_error: self.last_error.as_deref().map(Into::into),
                finished_at: Some(time(self.finished_at)),
                ladder: Ladder { attempts: 0, since: lapsed_at.unwrap_or_default() },
                held_here: false,
            }),
            (Some(_), None) => return Err("the record has no delivery id"),
        };
        let outcome = self.outcome.as_deref().map(Outcome::new).transpose();
        Ok(Deadline {
            queue_no: QueueNo(small(self.queue_no)?),
            queue: queue.clone(),
            key: Key::new(&self.key).map_err(|_| "the record has no valid key")?,
            id: DeadlineId(self.id.unsigned_abs()),
            generation: Generation(small(self.generation)?),
            state: ending.state(),
            due: time(self.due),
            created_at: time(self.created_at),
            priority: small(self.priority)?,
            frozen_until: self.frozen_until.map(time),
            frozen_for: Span::from_millis(self.frozen_for.unsigned_abs()),
            outcome: outcome.map_err(|_| "the record has no valid outcome")?,
            settled_at: (ending == Ending::Settled).then(|| time(self.finished_at)),
            lapsed_at,
            delivery,
            payload: payload_at(self.payload_kind, self.payload),
            timeline,
        })
    }

    /// Did it lapse?
    pub(super) fn has_lapsed(&self) -> bool {
        self.ending != Ending::Settled as i64
    }

    /// The fact that made it final.
    pub(super) fn seq(&self) -> i64 {
        self.seq
    }

    pub(super) fn timeline(&self) -> &str {
        &self.timeline
    }

    /// The day it was decided on, in days since 1970 UTC.
    pub(super) fn day(&self) -> i64 {
        self.lapsed_at.unwrap_or(self.finished_at) / 86_400_000
    }

    /// How long it took to be settled, or how late it lapsed.
    pub(super) fn took_ms(&self) -> i64 {
        match self.lapsed_at {
            Some(lapsed_at) => (lapsed_at - self.due).max(0),
            None => (self.finished_at - self.created_at).max(0),
        }
    }

    fn crc(&self) -> i64 {
        let numbers = [
            Some(self.id),
            Some(self.generation),
            Some(self.queue_no),
            Some(self.ending),
            Some(self.due),
            Some(self.created_at),
            self.lapsed_at,
            Some(self.finished_at),
            Some(self.priority),
            self.frozen_until,
            Some(self.frozen_for),
            Some(self.attempts),
            self.token,
            Some(self.seq),
        ];
        let texts = [
            Some(&self.key),
            self.outcome.as_ref(),
            self.delivery_id.as_ref(),
            self.last_error.as_ref(),
            Some(&self.timeline),
        ];
        // In one go: forty small pieces cost several times as much.
        let mut bytes = Vec::with_capacity(512);
        for number in numbers {
            field(&mut bytes, number.map(i64::to_le_bytes).as_ref().map(<[u8; 8]>::as_slice));
        }
        for text in texts {
            field(&mut bytes, text.map(String::as_bytes));
        }
        i64::from(crc32c::crc32c(&bytes))
    }

    fn payload_crc(&self) -> i64 {
        let bytes: &[u8] = match &self.payload {
            Value::Text(text) => text.as_bytes(),
            Value::Blob(bytes) => bytes,
            Value::Null | Value::Integer(_) | Value::Real(_) => &[],
        };
        payload_crc(self.payload_kind, bytes)
    }
}

/// A final record as the archive will give it back: for whoever checks that nothing is lost on the
/// way. The connection lends its JSON; nothing is written.
pub fn kept(
    connection: &Connection,
    record: &Final,
) -> rusqlite::Result<Result<Deadline, &'static str>> {
    let row = Row::of(record);
    let timeline = timeline::read(connection, row.timeline())?;
    Ok(timeline.and_then(|timeline| row.into_deadline(&record.deadline.queue, timeline)))
}

/// The checksum of a payload that was dropped.
pub(super) fn dropped_crc() -> i64 {
    payload_crc(DROPPED, &[])
}

/// The checksum of a payload and of what kind it is.
fn payload_crc(kind: i64, payload: &[u8]) -> i64 {
    let mut bytes = Vec::with_capacity(2 * size_of::<i64>() + payload.len());
    bytes.extend_from_slice(&kind.to_le_bytes());
    field(&mut bytes, Some(payload));
    i64::from(crc32c::crc32c(&bytes))
}

/// Adds one field, so that no two rows have the same bytes.
fn field(to: &mut Vec<u8>, bytes: Option<&[u8]>) {
    let length = bytes.map_or(u64::MAX, |bytes| bytes.len() as u64);
    to.extend_from_slice(&length.to_le_bytes());
    to.extend_from_slice(bytes.unwrap_or_default());
}

/// JSON is kept as text, so that SQL can look into it.
fn payload_value(payload: &Payload) -> (i64, Value) {
    let kind = match payload.kind {
        PayloadKind::Json => JSON,
        PayloadKind::Bytes => BYTES,
    };
    let value = match std::str::from_utf8(&payload.bytes) {
        Ok(text) if kind == JSON => Value::Text(text.to_owned()),
        _ => Value::Blob(payload.bytes.to_vec()),
    };
    (kind, value)
}

fn payload_at(kind: i64, value: Value) -> PayloadAt {
    let kind = match kind {
        NO_PAYLOAD => return PayloadAt::None,
        JSON => PayloadKind::Json,
        BYTES => PayloadKind::Bytes,
        _ => return PayloadAt::Gone,
    };
    let bytes = match value {
        Value::Text(text) => text.into_bytes(),
        Value::Blob(bytes) => bytes,
        Value::Null | Value::Integer(_) | Value::Real(_) => Vec::new(),
    };
    PayloadAt::Here(Payload { kind, bytes: bytes.into() })
}

/// Numbers of Duly fit SQLite's signed ones; the time "never" becomes the largest there is.
pub(super) fn number(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

fn small(value: i64) -> Result<u32, &'static str> {
    u32::try_from(value).map_err(|_| "the record has a number that is too large")
}

fn time(millis: i64) -> Time {
    Time::from_millis(millis.unsigned_abs())
}
