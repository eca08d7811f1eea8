//! Expiry: to read it is to read the due time, to change it is to move that.
//!
//! Every key here has an expiry, so `NX` never changes one and `XX` always may. An expiry that is
//! not in the future does not make a key disappear, as in Redis: the deadline lapses at once, and
//! the lapse is recorded, delivered and counted like any other.

use std::sync::Arc;

use duly_engine::answer::{Answer, Refusal};
use duly_engine::command::{Address, Command, Extend, ExtendBy, IfDue};
use duly_engine::time::{Span, Time};

use super::strings::{address, counts, pending};
use super::{Client, Next, No};
use crate::number;
use crate::reading::Words;
use crate::refusal::refused;
use crate::reply::Reply;

/// What is told of a key that is not there.
const NO_KEY: i64 = -2;

/// `TTL key`
pub(super) fn ttl(words: &Words<'_>, client: &mut Client) -> Result<Next, No> {
    told(words, client, |due, now| in_seconds(due.since(now).millis()))
}

/// `PTTL key`
pub(super) fn pttl(words: &Words<'_>, client: &mut Client) -> Result<Next, No> {
    told(words, client, |due, now| due.since(now).millis())
}

/// `EXPIRETIME key`
pub(super) fn expiretime(words: &Words<'_>, client: &mut Client) -> Result<Next, No> {
    told(words, client, |due, _| in_seconds(due.millis()))
}

/// `PEXPIRETIME key`
pub(super) fn pexpiretime(words: &Words<'_>, client: &mut Client) -> Result<Next, No> {
    told(words, client, |due, _| due.millis())
}

/// Rounded as Redis does.
fn in_seconds(ms: u64) -> u64 {
    ms.saturating_add(500) / 1_000
}

fn told(words: &Words<'_>, client: &Client, show: fn(Time, Time) -> u64) -> Result<Next, No> {
    let get = Command::Get(address(client, words.at(1))?);
    Ok(Next::ask(vec![get], move |heard| match pending(heard.one()) {
        Ok(None) => Reply::Integer(NO_KEY),
        Ok(Some(deadline)) => {
            Reply::Integer(i64::try_from(show(deadline.due, heard.now)).unwrap_or(i64::MAX))
        }
        Err(refused) => refused,
    }))
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
    Always,
    /// If there is no expiry.
    Never,
    Later,
    Earlier,
}

/// A new expiry, and whether it is to be made.
struct Change {
    at: Address,
    by: ExtendBy,
    only: Only,
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
    let change = Change { at: address(client, words.at(1))?, by, only };
    Ok(match only {
        Only::Never => Next::Say(Reply::Integer(0)),
        Only::Always => Next::ask(vec![change.over(None)], |heard| {
            changed(&heard.one()).unwrap_or_else(|| unreachable!("no due time was asked for"))
        }),
        Only::Later | Only::Earlier => look_first(Arc::new(change)),
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
        [_, _, true, _] => Ok(Only::Later),
        [.., true] => Ok(Only::Earlier),
        // That there is an expiry is always so.
        [false, _, false, false] => Ok(Only::Always),
    }
}

/// Compares, then changes if nobody was faster; else compares again.
fn look_first(change: Arc<Change>) -> Next {
    let get = Command::Get(change.at.clone());
    Next::ask_first(vec![get], move |heard| {
        let deadline = match pending(heard.one()) {
            Ok(Some(deadline)) => deadline,
            Ok(None) => return Next::Say(Reply::Integer(0)),
            Err(refused) => return Next::Say(refused),
        };
        let wanted = match change.by {
            ExtendBy::Due(due) => due,
            ExtendBy::After(span) => heard.now.plus(span),
            ExtendBy::Span(span) => deadline.due.plus(span),
        };
        let is_made =
            if change.only == Only::Later { wanted > deadline.due } else { wanted < deadline.due };
        if !is_made {
            return Next::Say(Reply::Integer(0));
        }
        Next::ask_first(vec![change.over(Some(deadline.due))], move |heard| {
            changed(&heard.one()).map_or_else(|| look_first(change), Next::Say)
        })
    })
}

impl Change {
    fn over(&self, if_due: Option<Time>) -> Command {
        Command::Extend(Extend { at: self.at.clone(), by: self.by, if_due: if_due.map(IfDue::At) })
    }
}

/// What is told of a change; nothing if somebody was faster.
fn changed(answer: &Answer) -> Option<Reply> {
    Some(match answer {
        Answer::Deadline(_) => Reply::Integer(1),
        Answer::Refused(
            Refusal::UnknownQueue
            | Refusal::UnknownDeadline
            | Refusal::AlreadySettled(_)
            | Refusal::TooLate(_),
        ) => Reply::Integer(0),
        Answer::Refused(Refusal::DueChanged(_)) => return None,
        Answer::Refused(refusal) => refused(refusal),
        other => unreachable!("a change of the due time was answered with {other:?}"),
    })
}
