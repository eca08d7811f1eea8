//! Expiry: to read it is to read the due time, to change it is to move that.
//!
//! Every key here has an expiry, so `NX` never changes one and `XX` always may. An expiry that is
//! not in the future does not make a key disappear, as in Redis: the deadline lapses at once, and
//! the lapse is recorded, delivered and counted like any other.

use duly_engine::answer::{Answer, ClockView};
use duly_engine::command::{Command, Extend, ExtendBy, IfDue};
use duly_engine::time::{Span, Time};

use super::strings::{address, counts, pending};
use super::{Client, Next, No};
use crate::number;
use crate::reading::Words;
use crate::refusal::{finds_nothing_to_move, refused};
use crate::reply::Reply;

/// What is told of a key that is not there.
const NO_KEY: i64 = -2;

/// `TTL key`
pub(super) fn ttl(words: &Words<'_>, client: &mut Client) -> Result<Next, No> {
    left(words, client, in_seconds)
}

/// `PTTL key`
pub(super) fn pttl(words: &Words<'_>, client: &mut Client) -> Result<Next, No> {
    left(words, client, |ms| ms)
}

/// `EXPIRETIME key`
pub(super) fn expiretime(words: &Words<'_>, client: &mut Client) -> Result<Next, No> {
    due_at(words, client, in_seconds)
}

/// `PEXPIRETIME key`
pub(super) fn pexpiretime(words: &Words<'_>, client: &mut Client) -> Result<Next, No> {
    due_at(words, client, |ms| ms)
}

/// Rounded as Redis does.
fn in_seconds(ms: u64) -> u64 {
    ms.saturating_add(500) / 1_000
}

/// How long it is until then, by the time that decides.
fn left(words: &Words<'_>, client: &Client, show: fn(u64) -> u64) -> Result<Next, No> {
    let get = Command::Get(address(client, words.at(1))?);
    Ok(Next::ask(vec![get, Command::GetClock], move |heard| {
        let (key, clock) = (heard.one(), heard.one());
        clocked(clock)
            .map_or_else(|no| no, |clock| told(key, |due| show(due.since(clock.now).millis())))
    }))
}

/// When it is due.
fn due_at(words: &Words<'_>, client: &Client, show: fn(u64) -> u64) -> Result<Next, No> {
    let get = Command::Get(address(client, words.at(1))?);
    Ok(Next::ask(vec![get], move |heard| told(heard.one(), |due| show(due.millis()))))
}

fn told(key: Answer, show: impl FnOnce(Time) -> u64) -> Reply {
    match pending(key) {
        Ok(None) => Reply::Integer(NO_KEY),
        Ok(Some(deadline)) => Reply::Integer(i64::try_from(show(deadline.due)).unwrap_or(i64::MAX)),
        Err(refused) => refused,
    }
}

/// What time it is for the engine, which decides.
pub(super) fn clocked(answer: Answer) -> Result<ClockView, Reply> {
    match answer {
        Answer::Clock(clock) => Ok(clock),
        Answer::Refused(refusal) => Err(refused(&refusal)),
        other => unreachable!("a question for the time was answered with {other:?}"),
    }
}

/// `EXPIRE key seconds [NX | XX] [GT | LT]`
pub(super) fn expire(words: &Words<'_>, client: &mut Client) -> Result<Next, No> {
    change(words, client, "expire", 1_000, after)
}

/// `PEXPIRE key milliseconds [NX | XX] [GT | LT]`
pub(super) fn pexpire(words: &Words<'_>, client: &mut Client) -> Result<Next, No> {
    change(words, client, "pexpire", 1, after)
}

/// `EXPIREAT key unix-time-seconds [NX | XX] [GT | LT]`
pub(super) fn expireat(words: &Words<'_>, client: &mut Client) -> Result<Next, No> {
    change(words, client, "expireat", 1_000, at)
}

/// `PEXPIREAT key unix-time-milliseconds [NX | XX] [GT | LT]`
pub(super) fn pexpireat(words: &Words<'_>, client: &mut Client) -> Result<Next, No> {
    change(words, client, "pexpireat", 1, at)
}

/// A negative time is the earliest there is: for a span that is now.
fn after(ms: i64) -> ExtendBy {
    ExtendBy::After(Span::from_millis(u64::try_from(ms).unwrap_or(0)))
}

fn at(ms: i64) -> ExtendBy {
    ExtendBy::Due(Time::from_millis(u64::try_from(ms).unwrap_or(0)))
}

/// Which changes are made.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Only {
    /// If there is no expiry.
    Never,
    /// If the key expires so; always if nothing is said.
    If(Option<IfDue>),
}

fn change(
    words: &Words<'_>,
    client: &Client,
    name: &str,
    unit: i64,
    by: fn(i64) -> ExtendBy,
) -> Result<Next, No> {
    let only = only(words)?;
    let number = number::integer(words.at(2)).ok_or_else(No::not_an_integer)?;
    let bad = || No::err(format!("invalid expire time in '{name}' command"));
    let ms = number.checked_mul(unit).ok_or_else(bad)?;
    let by = by(ms);
    if matches!(by, ExtendBy::After(_)) && !counts(ms) {
        return Err(bad());
    }
    let at = address(client, words.at(1))?;
    Ok(match only {
        Only::Never => Next::Say(Reply::Integer(0)),
        Only::If(if_due) => {
            let extend = Command::Extend(Extend { at, by, if_due });
            Next::ask(vec![extend], |heard| changed(&heard.one()))
        }
    })
}

fn only(words: &Words<'_>) -> Result<Only, No> {
    let mut given = [("NX", false), ("XX", false), ("GT", false), ("LT", false)];
    for option in words.from(3) {
        let known = given.iter_mut().find(|(name, _)| option.eq_ignore_ascii_case(name.as_bytes()));
        let Some((_, is_given)) = known else {
            let option = String::from_utf8_lossy(option);
            return Err(No::err(format!("Unsupported option {option}")));
        };
        *is_given = true;
    }
    match given.map(|(_, is_given)| is_given) {
        [true, true, _, _] | [true, _, true, _] | [true, _, _, true] => {
            Err(No::err("NX and XX, GT or LT options at the same time are not compatible"))
        }
        [_, _, true, true] => Err(No::err("GT and LT options at the same time are not compatible")),
        [true, ..] => Ok(Only::Never),
        [_, _, true, _] => Ok(Only::If(Some(IfDue::Earlier))),
        [.., true] => Ok(Only::If(Some(IfDue::Later))),
        // That there is an expiry is always so.
        [false, _, false, false] => Ok(Only::If(None)),
    }
}

/// What is told of a change.
fn changed(answer: &Answer) -> Reply {
    match answer {
        Answer::Deadline(_) => Reply::Integer(1),
        Answer::Refused(refusal) if finds_nothing_to_move(refusal) => Reply::Integer(0),
        Answer::Refused(refusal) => refused(refusal),
        other => unreachable!("a change of the due time was answered with {other:?}"),
    }
}
