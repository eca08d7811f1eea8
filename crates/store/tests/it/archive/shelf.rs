//! An archive in a directory of its own, final records to put into it, and a view of it from outside,
//! as somebody with a shell for SQLite has it.

use std::path::PathBuf;
use std::sync::Arc;

use duly_engine::deadline::{
    Deadline, Delivery, DeliveryState, Event, Final, Ladder, Payload, PayloadAt, PayloadKind,
    State, What,
};
use duly_engine::id::{
    DeadlineId, DeliveryId, DirectoryId, Generation, Key, Outcome, QueueName, QueueNo, Token,
};
use duly_engine::time::{Span, Time};
use duly_store::archive::{Item, Writer};
use duly_store::disk::MemoryDisk;
use duly_store::{Directory, Error, FreshIdentity};
use rusqlite::types::ValueRef;

/// 2026-11-22T12:00:00Z.
pub(crate) const NOON: u64 = 1_795_348_800_000;
pub(crate) const DAY_MS: u64 = 86_400_000;

pub(crate) struct Shelf {
    root: tempfile::TempDir,
    id: [u8; 8],
}

impl Shelf {
    pub(crate) fn new() -> Shelf {
        Shelf { root: tempfile::tempdir().expect("a directory for this test"), id: *b"shelf-01" }
    }

    pub(crate) fn named(self, id: [u8; 8]) -> Shelf {
        Shelf { id, ..self }
    }

    pub(crate) fn path(&self) -> PathBuf {
        self.root.path().join("archive.db")
    }

    pub(crate) fn directory(&self) -> Directory {
        let fresh = FreshIdentity { id: self.id, hash_seed: [5; 16] };
        Directory::open(Arc::new(MemoryDisk::new()), fresh).expect("it is new")
    }

    pub(crate) fn open(&self) -> Writer {
        self.try_open().expect("the archive opens")
    }

    pub(crate) fn try_open(&self) -> Result<Writer, Error> {
        Writer::open(&self.path(), &self.directory())
    }

    pub(crate) fn files(&self) -> Vec<PathBuf> {
        let entries = std::fs::read_dir(self.root.path()).expect("the directory is there");
        entries.map(|entry| entry.expect("the directory is there").path()).collect()
    }

    /// The rows of an answer, their columns joined by `|`.
    pub(crate) fn ask(&self, sql: &str) -> Vec<String> {
        let connection = rusqlite::Connection::open(self.path()).expect("anybody may open it");
        let mut statement = connection.prepare(sql).expect("the question is right");
        let columns = statement.column_count();
        let mut rows = statement.query([]).expect("the question is right");
        let mut answer = Vec::new();
        while let Some(row) = rows.next().expect("the file is well") {
            let columns = (0..columns).map(|column| {
                match row.get_ref(column).expect("the column is there") {
                    ValueRef::Null => "null".to_owned(),
                    ValueRef::Integer(number) => number.to_string(),
                    ValueRef::Real(number) => number.to_string(),
                    ValueRef::Text(text) => String::from_utf8_lossy(text).into_owned(),
                    ValueRef::Blob(bytes) => format!("{bytes:?}"),
                }
            });
            answer.push(columns.collect::<Vec<_>>().join("|"));
        }
        answer
    }

    /// Changes something behind the archive's back.
    pub(crate) fn run(&self, sql: &str) {
        let connection = rusqlite::Connection::open(self.path()).expect("anybody may open it");
        connection.execute_batch(sql).expect("the statement is right");
    }
}

pub(crate) fn keep(record: Final) -> Item {
    Item::Keep(Box::new(record))
}

/// A deadline scheduled at 11:30, due at noon and paid at 11:50. Its number is its sequence.
pub(crate) fn settled(seq: u64, queue: &str, key: &str) -> Final {
    let created_at = Time::from_millis(NOON - 1_800_000);
    let settled_at = Time::from_millis(NOON - 600_000);
    let due = Time::from_millis(NOON);
    let outcome = Outcome::new("paid").expect("a valid outcome");
    let deadline = Deadline {
        queue_no: QueueNo(queue.bytes().map(u32::from).sum()),
        queue: QueueName::new(queue).expect("a valid name"),
        key: Key::new(key).expect("a valid key"),
        id: DeadlineId(seq),
        generation: Generation::FIRST,
        state: State::Settled,
        due,
        created_at,
        priority: 1024,
        frozen_until: None,
        frozen_for: Span::ZERO,
        outcome: Some(outcome.clone()),
        settled_at: Some(settled_at),
        lapsed_at: None,
        delivery: None,
        payload: PayloadAt::None,
        timeline: vec![
            Event { at: created_at, what: What::Scheduled { due } },
            Event { at: settled_at, what: What::Settled { outcome } },
        ],
    };
    Final { seq, deadline }
}

/// A deadline due at noon that lapsed 7 ms later and was acted upon within a second.
pub(crate) fn done(seq: u64, queue: &str, key: &str) -> Final {
    lapsed(seq, queue, key, DeliveryState::Done, What::Done)
}

/// The same, but its target found it no longer needed.
pub(crate) fn superseded(seq: u64, queue: &str, key: &str) -> Final {
    lapsed(seq, queue, key, DeliveryState::Superseded, What::Superseded)
}

fn lapsed(seq: u64, queue: &str, key: &str, state: DeliveryState, what: What) -> Final {
    let mut record = settled(seq, queue, key);
    let lapsed_at = Time::from_millis(NOON + 7);
    let finished_at = Time::from_millis(NOON + 900);
    let deadline = &mut record.deadline;
    deadline.state = State::Lapsed;
    deadline.outcome = None;
    deadline.settled_at = None;
    deadline.lapsed_at = Some(lapsed_at);
    deadline.timeline.truncate(1);
    deadline.timeline.extend([
        Event { at: lapsed_at, what: What::Lapsed },
        Event { at: lapsed_at, what: What::Leased { attempt: 1 } },
        Event { at: finished_at, what },
    ]);
    deadline.delivery = Some(Delivery {
        id: DeliveryId {
            directory: DirectoryId(0xDEAD_BEEF),
            deadline: deadline.id,
            generation: deadline.generation,
        },
        state,
        attempts: 1,
        next_attempt_at: None,
        leased_until: None,
        token: Some(Token(seq)),
        last_error: None,
        finished_at: Some(finished_at),
        ladder: Ladder { attempts: 0, since: lapsed_at },
        held_here: false,
    });
    record
}

pub(crate) fn json(text: &str) -> PayloadAt {
    PayloadAt::Here(Payload { kind: PayloadKind::Json, bytes: text.as_bytes().into() })
}

pub(crate) fn bytes(bytes: &[u8]) -> PayloadAt {
    PayloadAt::Here(Payload { kind: PayloadKind::Bytes, bytes: bytes.into() })
}
