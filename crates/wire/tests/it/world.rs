//! A server in miniature: an engine, its journal in memory, and clients without sockets.
//!
//! It does what whoever owns a socket does: asks what is to be done, does it, fetches payloads, and
//! lets those hear who listen. Nothing ever leaves memory here, so that what a look-up wants is
//! never in an archive.

use std::collections::BTreeMap;
use std::sync::Arc;

use duly_engine::announce::{self, Announcement};
use duly_engine::answer::{Answer, Known, Refusal};
use duly_engine::clock::Reading;
use duly_engine::command::{Command, Scan};
use duly_engine::deadline::{Payload, PayloadAt};
use duly_engine::id::DirectoryId;
use duly_engine::limits::Limits;
use duly_engine::queue::{Policy, Target};
use duly_engine::time::{Span, Time};
use duly_engine::{Engine, Storage};
use duly_wire::{
    Listing, Names, Page, Readers, Score, Session, Settings, Todo, Unread, Wait, Writers,
};

use crate::show;

/// Sunday 2026-11-22, 12:00 UTC: when every world begins.
pub(crate) const NOON: Time = Time::from_millis(1_795_348_800_000);

/// The one segment that there is.
const SEGMENT: u32 = 1;

pub(crate) struct World {
    engine: Engine,
    now: Time,
    /// The wall clock is so far ahead.
    ahead: Span,
    journal: Vec<u8>,
    clients: BTreeMap<String, Session>,
    /// What others do as soon as a client has been answered something.
    pub(crate) meanwhile: Vec<Command>,
    /// Questions and bytes, in the order in which they came.
    pub(crate) seen: Vec<String>,
}

impl World {
    pub(crate) fn new() -> World {
        let mut world = World {
            engine: Engine::new(DirectoryId(0x5eed), [1, 2], Limits::default()),
            now: NOON,
            ahead: Span::ZERO,
            journal: Vec::new(),
            clients: BTreeMap::new(),
            meanwhile: Vec::new(),
            seen: Vec::new(),
        };
        world.engine.open(world.reading());
        world.finish(&mut []);
        world
    }

    fn reading(&self) -> Reading {
        Reading { wall: self.now.plus(self.ahead), boot: Span::from_millis(self.now.millis()) }
    }

    /// Lets time pass, and what falls due be noticed.
    pub(crate) fn tick(&mut self, span: Span) {
        self.now = self.now.plus(span);
        self.decide(Vec::new());
    }

    /// The wall clock jumps ahead.
    pub(crate) fn jump(&mut self, span: Span) {
        self.ahead = self.ahead.plus(span);
        self.decide(Vec::new());
    }

    /// One step of the engine.
    pub(crate) fn decide(&mut self, commands: Vec<Command>) -> Vec<Answer> {
        self.engine.begin(self.reading(), Storage::Plenty);
        while self.engine.due_work() {}
        if commands.iter().any(|command| matches!(command, Command::DeleteQueue(_))) {
            // A queue that still holds something stays: what is over leaves for good.
            let last = self.engine.last_seq();
            self.engine.evict(last, usize::MAX);
        }
        let mut answers: Vec<Answer> = commands
            .into_iter()
            .map(|command| match self.engine.decide(command.clone(), Known::Unasked) {
                Answer::LookUp(_) => self.engine.decide(command, Known::Absent),
                answer => answer,
            })
            .collect();
        while self.engine.hand_out() {}
        let announced = self.finish(&mut answers);
        for (name, client) in &mut self.clients {
            if client.listens() {
                for announcement in &announced {
                    client.hear(announcement);
                }
                let said = std::mem::take(client.said());
                self.seen.extend(show::said(name, &said));
            }
        }
        answers
    }

    /// A page of what is in memory; there are few records, and no archive.
    fn list(&mut self, listing: Listing) -> Result<Page, Refusal> {
        let Listing { queue, filter, after, limit } = listing;
        let scan = Scan { queue: Some(queue), from_slot: 0, filter, after, limit };
        match self.decide(vec![Command::Scan(scan)]).pop() {
            Some(Answer::Scanned { mut found, .. }) => {
                for deadline in &mut found {
                    read(&self.journal, &mut deadline.payload);
                }
                found.sort_by_key(|deadline| (deadline.due, deadline.id));
                let last = found.last().map(|deadline| (deadline.due, deadline.id));
                Ok(Page { next: last.filter(|_| found.len() == limit), deadlines: found })
            }
            Some(Answer::Refused(refusal)) => Err(refusal),
            other => unreachable!("a scan was answered with {other:?}"),
        }
    }

    /// Keeps what the step wrote, and places what its answers point at.
    fn finish(&mut self, answers: &mut [Answer]) -> Vec<Announcement> {
        let step = self.engine.finish();
        let offset = u32::try_from(self.journal.len()).expect("a test writes little");
        self.journal.extend_from_slice(&step.facts);
        self.engine.placed(SEGMENT, offset);
        for payload in answers.iter_mut().flat_map(Answer::payloads_mut) {
            if let PayloadAt::Stored(stored) = payload {
                *stored = stored.placed(SEGMENT, offset);
            }
        }
        announce::read(&step.announced).collect()
    }

    /// A client's bytes arrive, and all that follows is done.
    pub(crate) fn receive(&mut self, name: &str, bytes: &[u8]) {
        self.arrive(name, bytes);
        while self.go_on(name) {}
    }

    /// A client's bytes arrive, and nothing is done yet.
    pub(crate) fn arrive(&mut self, name: &str, bytes: &[u8]) {
        let number = self.clients.len() as u64 + 1;
        let new = || Session::new(Arc::new(settings()), number);
        self.clients.entry(name.to_owned()).or_insert_with(new).receive(bytes);
    }

    /// Is there anything that a client has not been told yet of what it asked?
    pub(crate) fn is_under_way(&self, name: &str) -> bool {
        self.clients[name].is_under_way()
    }

    /// Does the next thing for a client. False when there is nothing to be done until more arrives.
    pub(crate) fn go_on(&mut self, name: &str) -> bool {
        let mut client = self.clients.remove(name).expect("it has sent something");
        let todo = client.todo();
        let (reads, hangs_up) = (matches!(todo, Todo::Read), matches!(todo, Todo::Close));
        match todo {
            Todo::Ask(commands) => {
                self.seen.extend(commands.iter().map(show::command));
                let answers = self.decide(commands);
                for command in std::mem::take(&mut self.meanwhile) {
                    self.seen.push(format!("… {}", show::command(&command)));
                    self.decide(vec![command]);
                }
                client.answered(answers);
                let journal = &self.journal;
                client.tell(&mut |payload| read(journal, payload));
            }
            Todo::Tell => {
                let journal = &self.journal;
                client.tell(&mut |payload| read(journal, payload));
            }
            Todo::Lease(wait) => {
                let Wait { queue, max, span, wait } = wait;
                let command = Command::Lease { queue, key: None, max, span };
                self.seen.push(format!("{}, wait {wait}", show::command(&command)));
                let mut answer = self.decide(vec![command]).pop().expect("a command has an answer");
                let journal = &self.journal;
                answer.payloads_mut().for_each(|payload| read(journal, payload));
                client.leased(match answer {
                    Answer::Leased(leased) => Ok(leased),
                    Answer::Refused(refusal) => Err(refusal),
                    other => unreachable!("a lease was answered with {other:?}"),
                });
            }
            Todo::List(listing) => {
                self.seen.push(show::listing(&listing));
                client.listed(self.list(listing));
            }
            Todo::Send | Todo::Read | Todo::Close => {
                let said = std::mem::take(client.said());
                self.seen.extend(show::said(name, &said));
            }
        }
        if hangs_up {
            self.seen.push("hangs up".to_owned());
        } else {
            self.clients.insert(name.to_owned(), client);
        }
        !reads && !hangs_up
    }
}

fn settings() -> Settings {
    Settings {
        names: Names::default(),
        tables: ["sql.cancel".to_owned()].into(),
        score: Score::Seconds,
        read: Readers {
            span: |text| show::read_span(text).ok_or_else(|| unread("bad_duration", text)),
            instant: |text| show::read_time(text).ok_or_else(|| unread("bad_instant", text)),
            is_json: |bytes| bytes.starts_with(b"{"),
            policy: |document, tables| match document {
                b"{\"target\":\"none\"}" => {
                    Ok(Policy { target: Target::None, ..Policy::default() })
                }
                _ => Err(unread(
                    "bad_policy",
                    &format!("{} for {tables:?}", document.escape_ascii()),
                )),
            },
        },
        show: Writers {
            instant: |time, out| out.extend_from_slice(show::time(time).as_bytes()),
            policy: |policy| format!("{{\"target\":\"{}\"}}", policy.target.word()),
        },
    }
}

fn unread(code: &'static str, text: &str) -> Unread {
    Unread { code, why: format!("{text} is not read here") }
}

/// Fetches a payload, as the server does when it is to be shown.
fn read(journal: &[u8], payload: &mut PayloadAt) {
    if let PayloadAt::Stored(stored) = payload {
        let from = stored.offset as usize;
        let bytes = journal[from..from + stored.bytes as usize].into();
        *payload = PayloadAt::Here(Payload { kind: stored.kind, bytes });
    }
}
