//! `ZSCORE`, `ZMSCORE`, `ZCARD` and `ZCOUNT`: whether a member is there, and how many are.

use duly_engine::answer::{Answer, Refusal};
use duly_engine::command::{Command, Count, Filter};
use duly_engine::deadline::{DeliveryState, State};
use duly_engine::id::QueueName;
use duly_engine::time::Span;

use super::score::{self, Range};
use super::{Client, Next, No, is_member, member, queue};
use crate::Score;
use crate::reading::Words;
use crate::refusal::refused;
use crate::reply::Reply;

/// `ZSCORE queue member`
pub(in super::super) fn zscore(words: &Words<'_>, client: &mut Client) -> Result<Next, No> {
    let queue = queue(client, words.at(1))?;
    let unit = client.settings.score;
    let get = Command::Get(member(&queue, words.at(2))?);
    Ok(Next::ask(vec![get], move |heard| scored(heard.one(), unit)))
}

/// `ZMSCORE queue member…`
pub(in super::super) fn zmscore(words: &Words<'_>, client: &mut Client) -> Result<Next, No> {
    let queue = queue(client, words.at(1))?;
    let unit = client.settings.score;
    let gets = words.from(2).map(|word| Ok(Command::Get(member(&queue, word)?)));
    Ok(Next::ask(gets.collect::<Result<_, No>>()?, move |heard| {
        Reply::List(heard.map(|answer| scored(answer, unit)).collect())
    }))
}

fn scored(answer: Answer, unit: Score) -> Reply {
    match answer {
        Answer::Deadline(deadline) if is_member(&deadline) => score::shown(deadline.due, unit),
        Answer::Deadline(_) | Answer::Refused(Refusal::UnknownQueue | Refusal::UnknownDeadline) => {
            Reply::Nothing
        }
        Answer::Refused(refusal) => refused(&refusal),
        other => unreachable!("a read was answered with {other:?}"),
    }
}

/// `ZCARD queue`
pub(in super::super) fn zcard(words: &Words<'_>, client: &mut Client) -> Result<Next, No> {
    Ok(card(queue(client, words.at(1))?))
}

fn card(queue: QueueName) -> Next {
    Next::ask(vec![Command::GetQueue(queue)], |heard| match heard.one() {
        Answer::Queue(queue) => number(queue.now.pending + queue.now.ready + queue.now.dead),
        Answer::Refused(Refusal::UnknownQueue) => Reply::Integer(0),
        Answer::Refused(refusal) => refused(&refusal),
        other => unreachable!("a look at a queue was answered with {other:?}"),
    })
}

/// `ZCOUNT queue min max`
pub(in super::super) fn zcount(words: &Words<'_>, client: &mut Client) -> Result<Next, No> {
    let range = Range::read(words.at(2), words.at(3), client.settings.score)?;
    let queue = queue(client, words.at(1))?;
    Ok(if range.is_all() { card(queue) } else { count(queue, range, 0, 0) })
}

/// Counts the next slice of the records.
fn count(queue: QueueName, range: Range, from_slot: u32, mut counted: u64) -> Next {
    let slice = |filter| {
        let queue = Some(queue.clone());
        Command::Count(Count { queue, from_slot, filter, per: Span::from_days(1) })
    };
    Next::ask_first(members(range).map(slice).into(), move |heard| {
        let mut next = None;
        for answer in heard {
            match answer {
                Answer::Counted { due, next_slot } => {
                    counted += due.values().sum::<u64>();
                    next = next_slot;
                }
                Answer::Refused(Refusal::UnknownQueue) => {}
                Answer::Refused(refusal) => return Next::Say(refused(&refusal)),
                other => unreachable!("a count was answered with {other:?}"),
            }
        }
        match next {
            Some(slot) => count(queue, range, slot, counted),
            None => Next::Say(number(counted)),
        }
    })
}

/// Which records are members with scores in a range.
fn members(range: Range) -> [Filter; 3] {
    let filter = Filter { due_from: Some(range.from), due_to: Some(range.to), ..Filter::default() };
    let lapsed = |delivery| Filter { delivery: Some(delivery), ..filter.clone() };
    [
        Filter { state: Some(State::Pending), ..filter.clone() },
        lapsed(DeliveryState::Ready),
        lapsed(DeliveryState::Dead),
    ]
}

fn number(counted: u64) -> Reply {
    Reply::Integer(i64::try_from(counted).unwrap_or(i64::MAX))
}
