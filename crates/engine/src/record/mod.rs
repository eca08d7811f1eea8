//! Facts as bytes.
//!
//! One table per type says which fields are written in which order under which tag; the same table
//! reads them back, so the two cannot disagree. Numbers are LEB128, texts are their length and
//! their bytes, times are milliseconds. Tags and orders are persisted for ever: a change appends a
//! new tag and raises the journal's format version. Reading never panics and never allocates more
//! than it was given bytes for; what cannot be read is [`Undecodable`] with the place.
//!
//! A payload is always the last field of its fact, so that its place in the journal is known as
//! soon as the fact is written.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use crate::answer::{GuardReason, Totals};
use crate::deadline::{
    Deadline, Delivery, DeliveryState, Event, Ladder, PayloadAt, PayloadKind, State, What, hash_of,
};
use crate::fact::{Base, BaseQueue, Fact, PayloadField, Shift};
use crate::id::{
    DeadlineId, DeliveryId, DirectoryId, Generation, Key, Outcome, QueueName, QueueNo, Token,
};
use crate::queue::{DecideAt, Policy, Target, Webhook};
use crate::time::{Span, Time};

/// Bytes that are no facts: a defect of the program or of the disk, never of a caller.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Undecodable {
    /// Where, from the beginning of the record's facts.
    pub offset: usize,
    /// What was expected there.
    pub expected: &'static str,
}

impl fmt::Display for Undecodable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "no {} at byte {} of the facts", self.expected, self.offset)
    }
}

impl std::error::Error for Undecodable {}

/// Appends a fact and gives it back as a reader of these bytes will see it.
pub fn write(out: &mut Vec<u8>, fact: Fact) -> Fact {
    fact.write(out);
    let written = |payload: PayloadField| match payload {
        PayloadField::Bytes { payload, hash } => PayloadField::At {
            offset: narrow(out.len() - payload.bytes.len()),
            bytes: narrow(payload.bytes.len()),
            kind: payload.kind,
            hash,
        },
        other => other,
    };
    match fact {
        Fact::Scheduled { queue, id, generation, key, due, priority, replaces, payload } => {
            let payload = written(payload);
            Fact::Scheduled { queue, id, generation, key, due, priority, replaces, payload }
        }
        Fact::Restated { deadline, payload } => {
            Fact::Restated { deadline, payload: written(payload) }
        }
        other => other,
    }
}

/// The bytes that a base takes for a queue of this name and policy, but for its outcomes.
pub(crate) fn queue_bytes(name: &QueueName, policy: &Policy) -> usize {
    /// Ten counters of at most ten bytes, a shift, and what is left.
    const REST: usize = 200;
    let mut out = Vec::new();
    policy.write(&mut out);
    out.len() + name.as_str().len() + REST
}

/// The bytes that a base takes for one counted outcome.
pub(crate) fn outcome_bytes(outcome: &Outcome) -> usize {
    outcome.as_str().len() + 11
}

/// The facts of a record, in order.
pub fn read(facts: &[u8]) -> impl Iterator<Item = Result<Fact, Undecodable>> {
    let mut input = Input::of(facts);
    std::iter::from_fn(move || {
        if input.is_empty() {
            return None;
        }
        let fact = Fact::read(&mut input);
        if fact.is_err() {
            input.at = input.bytes.len();
        }
        Some(fact)
    })
}

fn narrow(length: usize) -> u32 {
    u32::try_from(length).expect("a record is far smaller than 4 GiB")
}

/// What is left to read.
pub(crate) struct Input<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Input<'a> {
    /// All of these bytes.
    pub(crate) fn of(bytes: &'a [u8]) -> Input<'a> {
        Input { bytes, at: 0 }
    }

    /// Is everything read?
    pub(crate) fn is_empty(&self) -> bool {
        self.at == self.bytes.len()
    }

    fn fail<T>(&self, expected: &'static str) -> Result<T, Undecodable> {
        Err(Undecodable { offset: self.at, expected })
    }

    fn byte(&mut self) -> Result<u8, Undecodable> {
        let Some(byte) = self.bytes.get(self.at) else {
            return self.fail("byte");
        };
        self.at += 1;
        Ok(*byte)
    }

    fn take(&mut self, length: usize) -> Result<&'a [u8], Undecodable> {
        let end = self.at.checked_add(length);
        let Some(slice) = end.and_then(|end| self.bytes.get(self.at..end)) else {
            return self.fail("so many bytes");
        };
        self.at += length;
        Ok(slice)
    }

    fn text(&mut self) -> Result<&'a str, Undecodable> {
        let length = u64::read(self)?;
        let begin = self.at;
        let bytes = self.take(usize::try_from(length).unwrap_or(usize::MAX))?;
        std::str::from_utf8(bytes).map_err(|_| Undecodable { offset: begin, expected: "text" })
    }
}

/// Something that has bytes.
pub(crate) trait Bytes: Sized {
    fn write(&self, out: &mut Vec<u8>);
    fn read(input: &mut Input<'_>) -> Result<Self, Undecodable>;
}

impl Bytes for u64 {
    fn write(&self, out: &mut Vec<u8>) {
        let mut rest = *self;
        loop {
            let [low, ..] = rest.to_le_bytes();
            rest >>= 7;
            if rest == 0 {
                out.push(low & 0x7f);
                return;
            }
            out.push(low | 0x80);
        }
    }

    fn read(input: &mut Input<'_>) -> Result<u64, Undecodable> {
        let mut value = 0_u64;
        for shift in (0..64).step_by(7) {
            let byte = input.byte()?;
            let bits = u64::from(byte & 0x7f);
            if shift == 63 && bits > 1 {
                return input.fail("number of 64 bits");
            }
            value |= bits << shift;
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
        input.fail("number of 64 bits")
    }
}

impl Bytes for u32 {
    fn write(&self, out: &mut Vec<u8>) {
        u64::from(*self).write(out);
    }

    fn read(input: &mut Input<'_>) -> Result<u32, Undecodable> {
        let value = u64::read(input)?;
        u32::try_from(value).or_else(|_| input.fail("number of 32 bits"))
    }
}

impl Bytes for i64 {
    fn write(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.to_le_bytes());
    }

    fn read(input: &mut Input<'_>) -> Result<i64, Undecodable> {
        let bytes = input.take(8)?;
        Ok(i64::from_le_bytes(bytes.try_into().expect("eight bytes were taken")))
    }
}

impl Bytes for bool {
    fn write(&self, out: &mut Vec<u8>) {
        out.push(u8::from(*self));
    }

    fn read(input: &mut Input<'_>) -> Result<bool, Undecodable> {
        match input.byte()? {
            0 => Ok(false),
            1 => Ok(true),
            _ => input.fail("0 or 1"),
        }
    }
}

impl Bytes for String {
    fn write(&self, out: &mut Vec<u8>) {
        write_text(self, out);
    }

    fn read(input: &mut Input<'_>) -> Result<String, Undecodable> {
        Ok(input.text()?.to_owned())
    }
}

impl Bytes for Arc<str> {
    fn write(&self, out: &mut Vec<u8>) {
        write_text(self, out);
    }

    fn read(input: &mut Input<'_>) -> Result<Arc<str>, Undecodable> {
        Ok(input.text()?.into())
    }
}

pub(crate) fn write_text(text: &str, out: &mut Vec<u8>) {
    (text.len() as u64).write(out);
    out.extend_from_slice(text.as_bytes());
}

impl<T: Bytes> Bytes for Option<T> {
    fn write(&self, out: &mut Vec<u8>) {
        self.is_some().write(out);
        if let Some(value) = self {
            value.write(out);
        }
    }

    fn read(input: &mut Input<'_>) -> Result<Option<T>, Undecodable> {
        if bool::read(input)? { Ok(Some(T::read(input)?)) } else { Ok(None) }
    }
}

impl<T: Bytes> Bytes for Vec<T> {
    fn write(&self, out: &mut Vec<u8>) {
        (self.len() as u64).write(out);
        for item in self {
            item.write(out);
        }
    }

    fn read(input: &mut Input<'_>) -> Result<Vec<T>, Undecodable> {
        // Collected one by one: a length that lies runs out of bytes before it runs out of memory.
        (0..u64::read(input)?).map(|_| T::read(input)).collect()
    }
}

impl<T: Bytes> Bytes for Box<T> {
    fn write(&self, out: &mut Vec<u8>) {
        T::write(self, out);
    }

    fn read(input: &mut Input<'_>) -> Result<Box<T>, Undecodable> {
        Ok(Box::new(T::read(input)?))
    }
}

impl Bytes for BTreeMap<Outcome, u64> {
    fn write(&self, out: &mut Vec<u8>) {
        (self.len() as u64).write(out);
        for (outcome, count) in self {
            outcome.write(out);
            count.write(out);
        }
    }

    fn read(input: &mut Input<'_>) -> Result<Self, Undecodable> {
        (0..u64::read(input)?).map(|_| Ok((Outcome::read(input)?, u64::read(input)?))).collect()
    }
}

impl Bytes for PayloadField {
    fn write(&self, out: &mut Vec<u8>) {
        match self {
            PayloadField::None => out.push(0),
            PayloadField::Bytes { payload, hash } => {
                out.push(if payload.kind == PayloadKind::Json { 3 } else { 4 });
                hash.write(out);
                (payload.bytes.len() as u64).write(out);
                out.extend_from_slice(&payload.bytes);
            }
            PayloadField::At { .. } => unreachable!("a payload is written from its bytes"),
        }
    }

    fn read(input: &mut Input<'_>) -> Result<PayloadField, Undecodable> {
        // Format 1 had another hash; what it wrote is hashed anew, so that there is one in memory.
        let (kind, is_hashed) = match input.byte()? {
            0 => return Ok(PayloadField::None),
            1 => (PayloadKind::Json, false),
            2 => (PayloadKind::Bytes, false),
            3 => (PayloadKind::Json, true),
            4 => (PayloadKind::Bytes, true),
            _ => return input.fail("payload kind"),
        };
        let hash = u32::read(input)?;
        let bytes = u32::read(input)?;
        let offset = narrow(input.at);
        let payload = input.take(bytes as usize)?;
        let hash = if is_hashed { hash } else { hash_of(kind, payload) };
        Ok(PayloadField::At { offset, bytes, kind, hash })
    }
}

impl Bytes for PayloadAt {
    /// Only whether there was one: the bytes follow as the fact's payload.
    fn write(&self, out: &mut Vec<u8>) {
        matches!(self, PayloadAt::Gone).write(out);
    }

    fn read(input: &mut Input<'_>) -> Result<PayloadAt, Undecodable> {
        Ok(if bool::read(input)? { PayloadAt::Gone } else { PayloadAt::None })
    }
}

/// Numbers in a wrapper.
macro_rules! wrapped {
    ($($type:ident($inner:ty) $get:expr, $make:expr;)*) => {$(
        impl Bytes for $type {
            fn write(&self, out: &mut Vec<u8>) {
                let get: fn(&$type) -> $inner = $get;
                get(self).write(out);
            }

            fn read(input: &mut Input<'_>) -> Result<$type, Undecodable> {
                Ok($make(<$inner>::read(input)?))
            }
        }
    )*};
}

wrapped! {
    Time(u64) |time| time.millis(), Time::from_millis;
    Span(u64) |span| span.millis(), Span::from_millis;
    QueueNo(u32) |queue| queue.0, QueueNo;
    DeadlineId(u64) |id| id.0, DeadlineId;
    DirectoryId(u64) |id| id.0, DirectoryId;
    Generation(u32) |generation| generation.0, Generation;
    Token(u64) |token| token.0, Token;
}

/// Texts that are checked when they are made, also when they are read back.
macro_rules! checked {
    ($($type:ident $word:literal;)*) => {$(
        impl Bytes for $type {
            fn write(&self, out: &mut Vec<u8>) {
                write_text(self.as_str(), out);
            }

            fn read(input: &mut Input<'_>) -> Result<$type, Undecodable> {
                let offset = input.at;
                $type::new(input.text()?).map_err(|_| Undecodable { offset, expected: $word })
            }
        }
    )*};
}

checked! {
    Key "key";
    QueueName "queue name";
    Outcome "outcome";
}

/// A struct: its fields in the order they are written.
macro_rules! fields {
    ($($type:ident { $($field:ident),* $(,)? })*) => {$(
        impl Bytes for $type {
            fn write(&self, out: &mut Vec<u8>) {
                $(self.$field.write(out);)*
            }

            fn read(input: &mut Input<'_>) -> Result<$type, Undecodable> {
                $(let $field = Bytes::read(input)?;)*
                Ok($type { $($field),* })
            }
        }
    )*};
}

fields! {
    DeliveryId { directory, deadline, generation }
    Ladder { attempts, since }
    Event { at, what }
    Delivery {
        id, state, attempts, next_attempt_at, leased_until, token, last_error, finished_at, ladder,
        held_here,
    }
    Deadline {
        queue_no, queue, key, id, generation, state, due, created_at, priority, frozen_until,
        frozen_for, outcome, settled_at, lapsed_at, delivery, payload, timeline,
    }
    Webhook { url, secrets, batch, timeout }
    Policy {
        default_delay, grace, decide_at, max_total, max_freeze, target, retry, retry_for,
        concurrency, rate, retention, payload_retention,
    }
    Totals {
        scheduled, replaced, settled, lapsed, attempts, retried, done, superseded, died, revived,
    }
    Shift { from, to, by_ms, below, cursor, moved }
    Base { next_id, next_queue, opened_at, recovery_until, guard, queues }
    BaseQueue { queue, name, policy, declared, paused, lapse_paused, totals, shift }
}

/// An enum: a tag for each variant, then its fields.
macro_rules! variants {
    ($($type:ident $word:literal {
        $($tag:literal $variant:ident $({ $($field:ident),* $(,)? })? $(($inner:ident))?;)*
    })*) => {$(
        impl Bytes for $type {
            fn write(&self, out: &mut Vec<u8>) {
                match self {
                    $($type::$variant $({ $($field),* })? $(($inner))? => {
                        out.push($tag);
                        $($($field.write(out);)*)?
                        $($inner.write(out);)?
                    })*
                }
            }

            fn read(input: &mut Input<'_>) -> Result<$type, Undecodable> {
                let offset = input.at;
                match input.byte()? {
                    $($tag => {
                        $($(let $field = Bytes::read(input)?;)*)?
                        $(let $inner = Bytes::read(input)?;)?
                        Ok($type::$variant $({ $($field),* })? $(($inner))?)
                    })*
                    _ => Err(Undecodable { offset, expected: $word }),
                }
            }
        }
    )*};
}

variants! {
    State "state" { 0 Pending; 1 Settled; 2 Lapsed; }
    DeliveryState "delivery state" { 0 Ready; 1 Leased; 2 Done; 3 Superseded; 4 Dead; }
    DecideAt "decide_at" { 0 Due; 1 Handout; }
    GuardReason "guard" { 0 ForwardJump; 1 BackwardStep; 2 StartedBehind; 3 StartedAhead; }
    Target "target" { 0 Pull; 1 None; 2 Webhook(webhook); 3 Sql { name, batch }; 4 Exec { command }; 5 Publish { to, batch }; }
    What "timeline event" {
        0 Scheduled { due };
        1 Extended { due };
        2 Shifted { due };
        3 Frozen { until };
        4 Settled { outcome };
        5 Lapsed;
        6 Leased { attempt };
        7 Retried { error, next_attempt_at };
        8 Done;
        9 Superseded;
        10 Dead { error };
        11 Revived;
    }
    Fact "fact" {
        1 Base(base);
        2 Opened { recovery_until };
        3 Alive;
        4 Guard(reason);
        5 QueueSet { queue, name, policy, declared };
        6 QueueDeleted { queue };
        7 QueuePaused { queue, deliveries, lapses };
        8 Scheduled { queue, id, generation, key, due, priority, replaces, payload };
        9 Remembered { queue, id, key, outcome, until };
        10 Settled { queue, id, outcome };
        11 Moved { queue, id, due, shifted };
        12 Frozen { queue, id, until, total_ms };
        13 Lapsed { queue, id };
        14 Leased { queue, id, until, held_here };
        15 Touched { queue, id, until };
        16 Delivered { queue, id, superseded };
        17 Retried { queue, id, next_attempt_at, error, by_verdict };
        18 Died { queue, id, error, by_verdict };
        19 Revived { queue, id };
        20 Erased { queue, id };
        21 Restated { deadline, payload };
        22 ShiftBegun { queue, shift };
        23 ShiftAdvanced { queue, cursor, moved };
        24 ShiftEnded { queue };
    }
}

#[cfg(test)]
mod tests;
