//! Keys with values: to set one is to schedule, to get one is to read its payload.
//!
//! A key that is set is a pending deadline; when it expires it lapses and is gone for these
//! commands, and the record stays. Setting it again begins its next generation.

use duly_engine::answer::{Answer, Refusal};
use duly_engine::command::{Address, Command, IfExists, Schedule, When};
use duly_engine::deadline::{Deadline, Payload, PayloadAt, PayloadKind, State};
use duly_engine::limits::PAYLOAD_BYTES;
use duly_engine::time::{Span, Time};

use super::{Client, Next, No};
use crate::number;
use crate::reading::Words;
use crate::refusal::refused;
use crate::reply::Reply;

/// `SET key value [NX] [EX s | PX ms | EXAT s | PXAT ms]`
pub(super) fn set(words: &Words<'_>, client: &mut Client) -> Result<Next, No> {
    let mut when = When::Default;
    let mut if_exists = IfExists::Replace;
    let mut options = words.from(3);
    while let Some(option) = options.next() {
        let unit =
            [("EX", true, 1_000), ("PX", true, 1), ("EXAT", false, 1_000), ("PXAT", false, 1)]
                .into_iter()
                .find(|(name, ..)| option.eq_ignore_ascii_case(name.as_bytes()));
        if let Some((_, is_after, unit)) = unit {
            let number = options.next().ok_or_else(No::syntax)?;
            if when != When::Default {
                return Err(No::syntax());
            }
            when = expiry(number, unit, is_after, "set")?;
        } else if option.eq_ignore_ascii_case(b"NX") {
            if_exists = IfExists::Renew;
        } else {
            return Err(No::syntax());
        }
    }
    let schedule = schedule(client, words.at(1), words.at(2), when, if_exists)?;
    let nothing = if if_exists == IfExists::Renew { Reply::Nothing } else { Reply::OK };
    Ok(Next::ask(vec![schedule], |heard| match heard.one() {
        Answer::Scheduled { created: false, .. } => nothing,
        answer => yes(&answer),
    }))
}

/// `SETNX key value`
pub(super) fn setnx(words: &Words<'_>, client: &mut Client) -> Result<Next, No> {
    let schedule = schedule(client, words.at(1), words.at(2), When::Default, IfExists::Renew)?;
    Ok(Next::ask(vec![schedule], |heard| match heard.one() {
        Answer::Scheduled { created, .. } => Reply::Integer(i64::from(created)),
        answer => yes(&answer),
    }))
}

/// `SETEX key seconds value`
pub(super) fn setex(words: &Words<'_>, client: &mut Client) -> Result<Next, No> {
    set_after(words, client, 1_000, "setex")
}

/// `PSETEX key milliseconds value`
pub(super) fn psetex(words: &Words<'_>, client: &mut Client) -> Result<Next, No> {
    set_after(words, client, 1, "psetex")
}

fn set_after(words: &Words<'_>, client: &mut Client, unit: u64, name: &str) -> Result<Next, No> {
    let when = expiry(words.at(2), unit, true, name)?;
    let schedule = schedule(client, words.at(1), words.at(3), when, IfExists::Replace)?;
    Ok(Next::ask(vec![schedule], |heard| yes(&heard.one())))
}

/// `GET key`
pub(super) fn get(words: &Words<'_>, client: &mut Client) -> Result<Next, No> {
    let get = Command::Get(address(client, words.at(1))?);
    Ok(Next::ask(vec![get], |heard| match pending(heard.one()) {
        Ok(deadline) => deadline.map_or(Reply::Nothing, value),
        Err(refused) => refused,
    }))
}

fn schedule(
    client: &Client,
    key: &[u8],
    value: &[u8],
    when: When,
    if_exists: IfExists,
) -> Result<Command, No> {
    let at = address(client, key)?;
    let payload = Some(payload(client, value)?);
    let allow_past = false;
    Ok(Command::Schedule(Schedule { at, when, payload, priority: None, if_exists, allow_past }))
}

/// When it expires, or why that is no expiry.
fn expiry(word: &[u8], unit: u64, is_after: bool, command: &str) -> Result<When, No> {
    let number = number::integer(word).ok_or_else(No::not_an_integer)?;
    let ms =
        u64::try_from(number).ok().filter(|number| *number > 0).and_then(|n| n.checked_mul(unit));
    let ms = ms.ok_or_else(|| No::err(format!("invalid expire time in '{command}' command")))?;
    Ok(if is_after { When::After(Span::from_millis(ms)) } else { When::Due(Time::from_millis(ms)) })
}

/// The deadline that a key means.
pub(super) fn address(client: &Client, key: &[u8]) -> Result<Address, No> {
    client.settings.names.address(key).map_err(No::err)
}

/// A value as it is kept: what is JSON is JSON over every protocol, and anything else is bytes.
fn payload(client: &Client, value: &[u8]) -> Result<Payload, No> {
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

fn yes(answer: &Answer) -> Reply {
    match answer {
        Answer::Refused(refusal) => refused(refusal),
        _ => Reply::OK,
    }
}
