//! The ten promises, in words that the product's code has no say in.
//!
//! The oracle watches from outside: what every step of the driver wants written, when a release has
//! left, what was asked and answered, what targets got, and what is on the disk after a crash. Facts
//! enter its model when they are durable, one by one, and each is judged when it does (`facts`); an
//! answer must be what the model says at some moment between the question and the release (`answers`);
//! after a crash nothing that was told may be missing and nothing may be there that was never made
//! (`restart`); journal time must keep the clock's rules (`time`). The first thing that is wrong is
//! kept, with the promise it breaks.

mod answers;
mod digest;
mod facts;
mod model;
mod refusals;
mod rest;
mod restart;
mod time;

use std::collections::{BTreeMap, VecDeque};
use std::fmt;

use duly_engine::command::{Address, Command};
use duly_engine::deadline::{Payload, PayloadKind};
use duly_engine::id::{DirectoryId, Seq};
use duly_engine::time::{Span, Time};

use crate::markers::{Marker, Markers};
use crate::world::{Stepped, Written};

pub(crate) use self::digest::Digest;
use self::model::Model;
use self::time::Clock;

/// What was broken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Promise {
    OneWinner,
    DurableBeforeTold,
    NeverEarly,
    NeverSkipped,
    AtLeastOnce,
    OneId,
    NoGhost,
    NothingVanishes,
    Clock,
    HeadStart,
    OneBadTarget,
    ExplicitRefusal,
    Order,
    Counting,
    Bounds,
    Deterministic,
}

impl fmt::Display for Promise {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Promise::OneWinner => "1 one winner",
            Promise::DurableBeforeTold => "2 durable before told",
            Promise::NeverEarly => "3 never early",
            Promise::NeverSkipped => "3 never skipped",
            Promise::AtLeastOnce => "4 at least once",
            Promise::OneId => "4 one id",
            Promise::NoGhost => "5 no ghost",
            Promise::NothingVanishes => "6 nothing vanishes",
            Promise::Counting => "6 everything counted",
            Promise::Clock => "7 the clock is not trusted",
            Promise::HeadStart => "8 head start",
            Promise::OneBadTarget => "9 one bad target",
            Promise::ExplicitRefusal => "10 explicit refusals",
            Promise::Order => "facts keep their order",
            Promise::Bounds => "bounds",
            Promise::Deterministic => "determinism",
        })
    }
}

/// Something that should not be.
#[derive(Clone, Debug)]
pub(crate) struct Violation {
    pub(crate) promise: Promise,
    pub(crate) what: String,
}

/// A moment in the life of a world, to say when something was asked.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Moment {
    /// The last fact that was durable.
    pub(crate) seq: Seq,
    /// Steps made before it.
    pub(crate) step: u64,
}

/// A request that somebody made: what its payload is, and what may come of it.
struct Request {
    payload: Payload,
    /// How often it was sent and might have been applied: answers that say no take one away.
    may_apply: u32,
    applied: u32,
}

/// What a step was like.
struct Step {
    number: u64,
    spares: usize,
    has_room: bool,
    at: Time,
}

/// Facts that are made and not durable.
struct Pending {
    written: Written,
    spares: usize,
    has_room: bool,
    /// The time of the step before.
    stopped: Time,
}

/// The witness and judge of one life.
pub(crate) struct Oracle {
    model: Model,
    clock: Clock,
    pending: VecDeque<Pending>,
    requests: Vec<Request>,
    /// Leases of one key that are on their way: who is claimed may go before his turn.
    claims: BTreeMap<Address, u32>,
    steps: VecDeque<Step>,
    step: u64,
    /// Sequence and digest of every record that is durable.
    records: Vec<(Seq, u64)>,
    told: Seq,
    /// What the archive holds, as far as somebody said.
    archived: Seq,
    broken: Option<Violation>,
    pub(crate) markers: Markers,
    /// Facts that have become durable.
    pub(crate) facts: u64,
    /// Answers that were judged.
    pub(crate) judged: u64,
}

/// Steps that are remembered: more than a request ever waits for.
const STEPS: usize = 20_000;

impl Oracle {
    /// The witness of a directory's whole life.
    pub(crate) fn new(directory: DirectoryId) -> Oracle {
        Oracle {
            model: Model::new(directory),
            clock: Clock::default(),
            pending: VecDeque::new(),
            requests: Vec::new(),
            claims: BTreeMap::new(),
            steps: VecDeque::new(),
            step: 0,
            records: Vec::new(),
            told: 0,
            archived: 0,
            broken: None,
            markers: Markers::default(),
            facts: 0,
            judged: 0,
        }
    }

    /// The first thing that was wrong, if anything was.
    pub(crate) fn broken(&self) -> Option<&Violation> {
        self.broken.as_ref()
    }

    /// Says that something is wrong; the first time counts.
    pub(crate) fn violated(&mut self, promise: Promise, what: String) {
        self.broken.get_or_insert(Violation { promise, what });
    }

    /// Something that must hold.
    fn must(&mut self, promise: Promise, holds: bool, what: impl FnOnce() -> String) {
        if !holds && self.broken.is_none() {
            self.violated(promise, what());
        }
    }

    pub(crate) fn mark(&mut self, marker: Marker) {
        self.markers.reach(marker);
    }

    /// The present moment.
    pub(crate) fn moment(&self) -> Moment {
        Moment { seq: self.model.seq, step: self.step }
    }

    /// A new payload of about so many bytes, by which its request can be told from all others.
    pub(crate) fn payload(&mut self, bytes: usize) -> Payload {
        let number = self.requests.len();
        let mut text = format!("r{number};").into_bytes();
        let filler = b"abcdefghijklmnopqrstuvwxyz0123456789";
        let begin = number % filler.len();
        text.extend(filler.iter().cycle().skip(begin).take(bytes.saturating_sub(text.len())));
        let kind = if number.is_multiple_of(3) { PayloadKind::Json } else { PayloadKind::Bytes };
        let payload = Payload { kind, bytes: text.into() };
        self.requests.push(Request { payload: payload.clone(), may_apply: 0, applied: 0 });
        payload
    }

    /// Somebody asks this, now.
    pub(crate) fn asked(&mut self, command: &Command) {
        if let Command::Schedule(schedule) = command
            && let Some(request) = self.request_of(schedule.payload.as_ref())
        {
            request.may_apply += 1;
        }
        if let Some(at) = claimed(command) {
            *self.claims.entry(at).or_default() += 1;
        }
    }

    /// A lease of one key is answered: nobody goes before his turn for it any more.
    fn claim_is_over(&mut self, command: &Command) {
        if let Some(claims) = claimed(command).and_then(|at| self.claims.get_mut(&at)) {
            *claims = claims.saturating_sub(1);
        }
    }

    fn request_of(&mut self, payload: Option<&Payload>) -> Option<&mut Request> {
        let number = number_of(&payload?.bytes)?;
        self.requests.get_mut(number)
    }

    /// A step was made: its facts wait to become durable.
    pub(crate) fn stepped(&mut self, stepped: Stepped) {
        self.step += 1;
        let before = self.stopped_at();
        self.judge_time(&stepped);
        let Stepped { at, spares, has_room, records, .. } = stepped;
        for written in records {
            self.pending.push_back(Pending { written, spares, has_room, stopped: before });
        }
        self.steps.push_back(Step { number: self.step, spares, has_room, at });
        if self.steps.len() > STEPS {
            self.steps.pop_front();
        }
    }

    /// A release has left: everything up to this fact is durable.
    pub(crate) fn left(&mut self, last_seq: Seq) {
        while let Some(next) = self.pending.front()
            && next.written.first_seq <= last_seq
        {
            let Some(next) = self.pending.pop_front() else { break };
            self.take(next);
        }
        self.told = self.told.max(last_seq);
        let seq = self.model.seq;
        self.must(Promise::Order, seq == last_seq, || {
            format!("a release up to fact {last_seq} has left, {seq} were made")
        });
    }

    /// The steps that a question saw, until now.
    fn steps_since(&self, asked: Moment) -> impl Iterator<Item = &Step> {
        self.steps.iter().rev().take_while(move |step| step.number > asked.step)
    }

    /// What is known under a key, for who wants to ask something about it.
    pub(crate) fn glance(&self, at: &Address) -> Option<Glance> {
        let (_, life) = self.model.latest(at)?;
        let deadline = &life.deadline;
        Some(Glance {
            generation: deadline.generation,
            due: deadline.due,
            lapse_at: self.model.lapse_at(deadline),
        })
    }

    /// The archive holds everything up to this fact.
    pub(crate) fn archived_up_to(&mut self, seq: Seq) {
        self.archived = seq;
    }

    /// Journal time as far as it is durable: it never runs back from here, whatever happens.
    pub(crate) fn durable_time(&self) -> Time {
        self.model.at
    }

    /// Journal time.
    pub(crate) fn now(&self) -> Time {
        self.steps.back().map_or(self.model.at, |step| step.at)
    }
}

/// The deadline of which a command wants the delivery and no other.
fn claimed(command: &Command) -> Option<Address> {
    match command {
        Command::Lease { queue, key: Some(key), .. } => {
            Some(Address { queue: queue.clone(), key: key.clone() })
        }
        _ => None,
    }
}

/// A look at a deadline.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Glance {
    pub(crate) generation: duly_engine::id::Generation,
    pub(crate) due: Time,
    pub(crate) lapse_at: Time,
}

/// The request whose payload this is.
fn number_of(bytes: &[u8]) -> Option<usize> {
    let end = bytes.iter().position(|byte| *byte == b';')?;
    std::str::from_utf8(bytes.get(1..end)?).ok()?.parse().ok()
}

/// Within so much of each other.
fn near(one: Time, other: Time, most: Span) -> bool {
    one.since(other).max(other.since(one)) <= most
}
