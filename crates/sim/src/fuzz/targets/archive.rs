//! Rows and timelines of the archive.

use std::cell::RefCell;

use duly_engine::deadline::{
    Deadline, Delivery, DeliveryState, Final, Ladder, Payload, PayloadAt, PayloadKind, State,
};
use duly_engine::fact::{Fact, PayloadField};
use duly_engine::id::{DeliveryId, DirectoryId, Generation, Outcome, QueueNo, Token};
use duly_engine::record;
use duly_engine::time::{Span, Time};
use duly_store::archive::{kept, timeline};
use rusqlite::Connection;

use super::Fate;
use super::facts::with_payload;

pub(super) const WORDS: &[&str] = &[
    "[{\"at\":1,\"what\":\"lapsed\"}]",
    "\"what\":\"scheduled\"",
    "\"due\":1795348800000",
    "\"what\":\"settled\",\"outcome\":\"paid\"",
    "\"what\":\"leased\",\"attempt\":1",
    "\"what\":\"retried\",\"error\":\"x\",\"next_attempt_at\":2",
    "\"what\":\"frozen\",\"until\":1",
    "\"at\":",
    "9223372036854775807",
    "-1",
    "1.5",
    "null",
    "\\u0000",
    "{",
    "}",
    "[",
    "]",
    ",",
    "\"",
];

/// The largest number that fits into the archive.
const MOST: u64 = i64::MAX as u64;

thread_local! {
    static LENT: RefCell<Connection> =
        RefCell::new(Connection::open_in_memory().expect("SQLite has memory"));
}

/// The input is a timeline as JSON, or facts, of which every record that is stated anew is archived.
pub(super) fn feed(input: &[u8]) -> Fate {
    LENT.with_borrow(|connection| {
        if let Ok(json) = std::str::from_utf8(input)
            && json.starts_with('[')
        {
            return read_timeline(connection, json);
        }
        let mut archived = 0_u64;
        for fact in record::read(input).map_while(Result::ok) {
            if let Fact::Restated { deadline, payload } = with_payload(fact, input) {
                archive(connection, *deadline, payload);
                archived += 1;
            }
        }
        if archived > 0 { Fate::taken(archived) } else { Fate::refused("no record") }
    })
}

fn read_timeline(connection: &Connection, json: &str) -> Fate {
    match timeline::read(connection, json) {
        Err(_) => Fate::refused("no JSON"),
        Ok(Err(why)) => Fate::refused(why),
        Ok(Ok(events)) => {
            let again = timeline::write(&events);
            let read = timeline::read(connection, &again).expect("what was written is JSON");
            assert_eq!(read.as_ref(), Ok(&events), "it is written again as {again}");
            let whats: Vec<&str> = events.iter().map(|event| event.what.word()).collect();
            Fate::taken(whats)
        }
    }
}

/// A record, made final if it is not, goes into the archive and comes back the same.
fn archive(connection: &Connection, mut deadline: Deadline, payload: PayloadField) {
    if let PayloadField::Bytes { payload, .. } = payload {
        // JSON is text; nothing else is ever called so.
        let is_text = std::str::from_utf8(&payload.bytes).is_ok();
        let kind = if is_text { payload.kind } else { PayloadKind::Bytes };
        deadline.payload = PayloadAt::Here(Payload { kind, ..payload });
    }
    let fits = |time: Time| Time::from_millis(time.millis().min(MOST));
    deadline.queue_no = QueueNo(deadline.queue_no.0);
    deadline.id.0 = deadline.id.0.min(MOST);
    deadline.due = fits(deadline.due);
    deadline.created_at = fits(deadline.created_at);
    deadline.frozen_until = deadline.frozen_until.map(fits);
    deadline.frozen_for = Span::from_millis(deadline.frozen_for.millis().min(MOST));
    for event in &mut deadline.timeline {
        event.at = fits(event.at);
    }
    let whole = |deadline: &Deadline| timeline::write(&deadline.timeline);
    let end = deadline.finished_at().map_or(deadline.due, fits);
    if deadline.state == State::Settled {
        let paid = || Outcome::new("paid").expect("it is an outcome");
        deadline.outcome = Some(deadline.outcome.take().unwrap_or_else(paid));
        deadline.settled_at = Some(end);
        (deadline.lapsed_at, deadline.delivery) = (None, None);
    } else {
        let lapsed_at = deadline.lapsed_at.map_or(end, fits);
        deadline.state = State::Lapsed;
        (deadline.outcome, deadline.settled_at) = (None, None);
        deadline.lapsed_at = Some(lapsed_at);
        let before = deadline.delivery.take();
        let superseded =
            before.as_ref().is_some_and(|before| before.state == DeliveryState::Superseded);
        let new = DeliveryId {
            directory: DirectoryId(7),
            deadline: deadline.id,
            generation: Generation::FIRST,
        };
        deadline.delivery = Some(Delivery {
            id: before.as_ref().map_or(new, |before| before.id),
            state: if superseded { DeliveryState::Superseded } else { DeliveryState::Done },
            attempts: before.as_ref().map_or(0, |before| before.attempts),
            next_attempt_at: None,
            leased_until: None,
            token: before
                .as_ref()
                .and_then(|before| before.token)
                .map(|token| Token(token.0.min(MOST))),
            last_error: before.and_then(|before| before.last_error),
            finished_at: Some(end),
            ladder: Ladder { attempts: 0, since: lapsed_at },
            held_here: false,
        });
    }
    let record = Final { seq: 1, deadline };
    let read = kept(connection, &record).expect("what was written can be read");
    let mut read = read.unwrap_or_else(|why| panic!("{why}: {record:?}"));
    // Numbers inside events that do not fit were cut when they were written.
    assert_eq!(whole(&read), whole(&record.deadline), "the timeline is another");
    read.timeline.clone_from(&record.deadline.timeline);
    assert_eq!(read, record.deadline, "the archive gave back another record");
}
