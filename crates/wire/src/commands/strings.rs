//! Keys with values: to set one is to schedule, to get one is to read its payload.
//!
//! A key that is set is a pending deadline; when it expires it lapses and is gone for these
//! commands, and the record stays. Setting it again begins its next generation. What depends on
//! the old value looks first and then sets over the generation that it saw, and over no other: if
//! somebody paid, deleted or set it in between, it looks again.

use std::sync::Arc;

use duly_engine::answer::{Answer, Refusal, SettleResult};
use duly_engine::command::{Address, Command, IfExists, NewQueue, Schedule, Settle, Show, When};
use duly_engine::deadline::{Deadline, Payload, PayloadAt, PayloadKind, State};
use duly_engine::id::{Generation, Outcome};
use duly_engine::limits::PAYLOAD_BYTES;
use duly_engine::time::{Span, Time};

use super::{Client, Next, No};
use crate::number;
use crate::reading::Words;
use crate::refusal::refused;
use crate::reply::Reply;

/// What a key is set to, and under which conditions.
struct Setting {
    at: Address,
    payload: Payload,
    /// When it expires.
    when: When,
    only: Only,
    shows_old: bool,
}

/// Whether it is set.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Only {
    Always,
    IfAbsent,
    IfPresent,
}

/// `SET key value [NX | XX] [GET] [EX s | PX ms | EXAT s | PXAT ms | KEEPTTL]`
pub(super) fn set(words: &Words<'_>, client: &mut Client) -> Result<Next, No> {
    let (mut expiry, mut only, mut shows_old) = (None, Only::Always, false);
    let mut options = words.from(3);
    while let Some(option) = options.next() {
        let is = |name: &str| option.eq_ignore_ascii_case(name.as_bytes());
        if is("GET") {
            shows_old = true;
        } else if is("NX") && only != Only::IfPresent {
            only = Only::IfAbsent;
        } else if is("XX") && only != Only::IfAbsent {
            only = Only::IfPresent;
        } else if is("KEEPTTL") && matches!(expiry, None | Some(Asked::Kept)) {
            expiry = Some(Asked::Kept);
        } else if let Some(unit) = UNITS.iter().find(|unit| is(unit.name))
            && expiry.is_none_or(|asked| asked.is_of(unit))
        {
            expiry = Some(Asked::At(unit, options.next().ok_or_else(No::syntax)?));
        } else {
            return Err(No::syntax());
        }
    }
    let when = match expiry {
        None => When::Default,
        Some(Asked::Kept) => When::Kept,
        Some(Asked::At(unit, number)) => when(number, unit, "set")?,
    };
    let payload = payload(client, words.at(2))?;
    let setting = Setting { at: address(client, words.at(1))?, payload, when, only, shows_old };
    Ok(match only {
        Only::IfAbsent => set_if_absent(&setting),
        Only::Always if !shows_old => setting.set(),
        Only::Always | Only::IfPresent => look_first(Arc::new(setting)),
    })
}

/// What a `SET` says about expiry.
#[derive(Clone, Copy)]
enum Asked<'a> {
    Kept,
    At(&'static Unit, &'a [u8]),
}

impl Asked<'_> {
    /// Saying it twice in the same unit is allowed, as in Redis: the later counts.
    fn is_of(self, unit: &Unit) -> bool {
        matches!(self, Asked::At(before, _) if before.name == unit.name)
    }
}

/// How an expiry is counted.
struct Unit {
    name: &'static str,
    ms: u64,
    /// From now, or from 1970.
    is_after: bool,
}

const SECONDS: Unit = Unit { name: "EX", ms: 1_000, is_after: true };
const MILLISECONDS: Unit = Unit { name: "PX", ms: 1, is_after: true };
const UNITS: [Unit; 4] = [
    SECONDS,
    MILLISECONDS,
    Unit { name: "EXAT", ms: 1_000, is_after: false },
    Unit { name: "PXAT", ms: 1, is_after: false },
];

/// When it expires, or why that is no expiry.
fn when(word: &[u8], unit: &Unit, command: &str) -> Result<When, No> {
    let number = number::integer(word).ok_or_else(No::not_an_integer)?;
    let ms = u64::try_from(number).ok().filter(|number| *number > 0);
    let ms = ms.and_then(|number| number.checked_mul(unit.ms));
    let ms = ms.filter(|ms| i64::try_from(*ms).is_ok_and(|ms| !unit.is_after || counts(ms)));
    let ms = ms.ok_or_else(|| No::err(format!("invalid expire time in '{command}' command")))?;
    Ok(if unit.is_after {
        When::After(Span::from_millis(ms))
    } else {
        When::Due(Time::from_millis(ms))
    })
}

/// What was there at the last look.
#[derive(Clone, Copy)]
enum Seen {
    /// Nobody has looked, and nobody has to.
    Unasked,
    Nothing,
    Pending(Generation),
}

/// Is a span of so many milliseconds from now an instant at all, as Redis counts instants?
pub(super) fn counts(ms: i64) -> bool {
    const YEAR_9999: i64 = 253_402_300_800_000;
    ms.checked_add(YEAR_9999).is_some()
}

impl Setting {
    /// What is to be done to set it, if what was seen is still there.
    fn schedule(&self, seen: Seen) -> Command {
        let is_absent = self.only == Only::IfAbsent || matches!(seen, Seen::Nothing);
        Command::Schedule(Schedule {
            payload: Some(self.payload.clone()),
            if_exists: if is_absent { IfExists::Renew } else { IfExists::Replace },
            over: if let Seen::Pending(generation) = seen { Some(generation) } else { None },
            // Nobody who sets a key has said that workers will come.
            creates: NewQueue::Kept,
            show: Show::Nothing,
            ..Schedule::new(self.at.clone(), self.when)
        })
    }

    /// Sets it, whatever is there.
    fn set(&self) -> Next {
        Next::ask(vec![self.schedule(Seen::Unasked)], |heard| yes(&heard.one()))
    }
}

fn set_if_absent(setting: &Setting) -> Next {
    let shows_old = setting.shows_old;
    Next::ask(vec![setting.schedule(Seen::Unasked)], move |heard| match heard.shown() {
        Answer::Begun | Answer::Scheduled { created: true, .. } if shows_old => Reply::Nothing,
        Answer::Begun | Answer::Scheduled { created: true, .. } => Reply::OK,
        Answer::Scheduled { deadline, .. } => {
            in_the_way(deadline).map_or_else(|no| no, |old| shown(shows_old, Some(old)))
        }
        answer => yes(&answer),
    })
}

/// Looks what is there, then sets over that; if somebody was faster, looks again.
fn look_first(setting: Arc<Setting>) -> Next {
    let get = Command::Get(setting.at.clone());
    Next::ask_first(vec![get], move |heard| {
        let seen = match pending(heard.shown()) {
            Ok(seen) => seen,
            Err(refused) => return Next::Say(refused),
        };
        if seen.is_none() && setting.only == Only::IfPresent {
            return Next::Say(Reply::Nothing);
        }
        let there = seen.as_ref().map_or(Seen::Nothing, |seen| Seen::Pending(seen.generation));
        let schedule = setting.schedule(there);
        Next::ask_first(vec![schedule], move |heard| match heard.one() {
            Answer::Begun | Answer::Scheduled { created: true, .. } if setting.shows_old => {
                Next::Say(shown(true, seen))
            }
            Answer::Begun | Answer::Scheduled { created: true, .. } => Next::Say(Reply::OK),
            Answer::Scheduled { deadline, .. } => match in_the_way(deadline) {
                Ok(_) => look_first(setting),
                Err(no) => Next::Say(no),
            },
            Answer::Refused(
                Refusal::OtherGeneration(_)
                | Refusal::TooLate(_)
                | Refusal::AlreadySettled(_)
                | Refusal::UnknownDeadline
                | Refusal::UnknownQueue,
            ) if seen.is_some() => look_first(setting),
            answer => Next::Say(yes(&answer)),
        })
    })
}

/// What kept a key from being set, if it is one that a client can see; else the refusal that a
/// plain `SET` would get.
fn in_the_way(deadline: Box<Deadline>) -> Result<Box<Deadline>, Reply> {
    if deadline.state == State::Pending {
        Ok(deadline)
    } else {
        Err(refused(&Refusal::DeliveryUnderWay(deadline)))
    }
}

fn shown(shows_old: bool, old: Option<Box<Deadline>>) -> Reply {
    old.filter(|_| shows_old).map_or(Reply::Nothing, value)
}

/// `SETNX key value`
pub(super) fn setnx(words: &Words<'_>, client: &mut Client) -> Result<Next, No> {
    let setting = Setting {
        at: address(client, words.at(1))?,
        payload: payload(client, words.at(2))?,
        when: When::Default,
        only: Only::IfAbsent,
        shows_old: false,
    };
    Ok(Next::ask(vec![setting.schedule(Seen::Unasked)], |heard| match heard.one() {
        Answer::Begun | Answer::Scheduled { created: true, .. } => Reply::Integer(1),
        Answer::Scheduled { deadline, .. } => {
            in_the_way(deadline).map_or_else(|no| no, |_| Reply::Integer(0))
        }
        answer => yes(&answer),
    }))
}

/// `SETEX key seconds value`
pub(super) fn setex(words: &Words<'_>, client: &mut Client) -> Result<Next, No> {
    set_after(words, client, &SECONDS, "setex")
}

/// `PSETEX key milliseconds value`
pub(super) fn psetex(words: &Words<'_>, client: &mut Client) -> Result<Next, No> {
    set_after(words, client, &MILLISECONDS, "psetex")
}

fn set_after(words: &Words<'_>, client: &Client, unit: &Unit, name: &str) -> Result<Next, No> {
    let when = when(words.at(2), unit, name)?;
    let setting = Setting {
        at: address(client, words.at(1))?,
        payload: payload(client, words.at(3))?,
        when,
        only: Only::Always,
        shows_old: false,
    };
    Ok(setting.set())
}

/// `GET key`
pub(super) fn get(words: &Words<'_>, client: &mut Client) -> Result<Next, No> {
    let get = Command::Get(address(client, words.at(1))?);
    Ok(Next::ask(vec![get], |heard| match pending(heard.shown()) {
        Ok(deadline) => deadline.map_or(Reply::Nothing, value),
        Err(refused) => refused,
    }))
}

/// Most values read by one request: each may be the longest there is.
const READ_AT_ONCE: usize = 1_024;

/// `MGET key…`
pub(super) fn mget(words: &Words<'_>, client: &mut Client) -> Result<Next, No> {
    let gets = words.from(1).map(|key| Ok(Command::Get(address(client, key)?)));
    let keys = words.len() - 1;
    if keys > READ_AT_ONCE {
        return Err(No::err("MGET takes 1,024 keys at most: each may have 64 KiB"));
    }
    Ok(Next::ask(gets.collect::<Result<_, No>>()?, move |heard| {
        let value = |_| Ok(pending(heard.shown())?.map_or(Reply::Nothing, value));
        let values: Result<Vec<Reply>, Reply> = (0..keys).map(value).collect();
        values.map_or_else(|refused| refused, Reply::List)
    }))
}

/// `GETDEL key`
pub(super) fn getdel(words: &Words<'_>, client: &mut Client) -> Result<Next, No> {
    let settle = deleted(address(client, words.at(1))?);
    Ok(Next::ask(vec![settle], |heard| match won(heard.shown()) {
        Ok(deadline) => deadline.map_or(Reply::Nothing, value),
        Err(refused) => refused,
    }))
}

/// To delete a key is to settle it.
pub(super) fn deleted(at: Address) -> Command {
    Command::Settle(Settle { at, outcome: deletion(), remember: None, generation: None })
}

/// How it is settled then.
pub(super) fn deletion() -> Outcome {
    Outcome::new("deleted").expect("it is an outcome")
}

/// The deadline, if this settle was the one that made it.
pub(super) fn won(answer: Answer) -> Result<Option<Box<Deadline>>, Reply> {
    match answer {
        Answer::Settled { result: SettleResult::Settled, deadline } => Ok(Some(deadline)),
        Answer::Settled { .. }
        | Answer::Remembered { .. }
        | Answer::Refused(Refusal::UnknownQueue | Refusal::UnknownDeadline) => Ok(None),
        Answer::Refused(refusal) => Err(refused(&refusal)),
        other => unreachable!("a settle was answered with {other:?}"),
    }
}

/// The deadline that a key means.
pub(super) fn address(client: &Client, key: &[u8]) -> Result<Address, No> {
    client.settings.names.address(key).map_err(No::err)
}

/// A value as it is kept: what is JSON is JSON over every protocol, and anything else is bytes.
pub(super) fn payload(client: &Client, value: &[u8]) -> Result<Payload, No> {
    if value.len() > PAYLOAD_BYTES {
        return Err(No("PAYLOAD_TOO_LARGE a value has 64 KiB at most".to_owned()));
    }
    let is_json = (client.settings.read.is_json)(value);
    let kind = if is_json { PayloadKind::Json } else { PayloadKind::Bytes };
    Ok(Payload { kind, bytes: value.into() })
}

/// The deadline, if it is pending; nothing here is an error that is only absent.
pub(super) fn pending(answer: Answer) -> Result<Option<Box<Deadline>>, Reply> {
    match answer {
        Answer::Deadline(deadline) => Ok(Some(deadline).filter(|it| it.state == State::Pending)),
        Answer::Refused(Refusal::UnknownQueue | Refusal::UnknownDeadline) => Ok(None),
        Answer::Refused(refusal) => Err(refused(&refusal)),
        other => unreachable!("a read was answered with {other:?}"),
    }
}

/// What the caller wanted back, byte for byte.
fn value(deadline: Box<Deadline>) -> Reply {
    match deadline.payload {
        PayloadAt::Here(payload) => Reply::Shared(payload.bytes),
        PayloadAt::None | PayloadAt::Gone => Reply::Bulk(Vec::new()),
        PayloadAt::Stored(_) => unreachable!("whoever asked has fetched it"),
    }
}

/// What is told of a schedule that begins anew, or is refused.
fn yes(answer: &Answer) -> Reply {
    match answer {
        Answer::Begun | Answer::Scheduled { created: true, .. } => Reply::OK,
        Answer::Refused(refusal) => refused(refusal),
        other => unreachable!("a schedule that replaces was answered with {other:?}"),
    }
}
