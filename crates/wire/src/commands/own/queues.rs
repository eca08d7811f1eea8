//! The calls about one queue: its policy, pause and resume, and the shift of all its due times.
//!
//! A policy is one document of JSON, the same that HTTP takes and shows; what it says is read and
//! written by whoever owns the socket.

use duly_engine::answer::Answer;
use duly_engine::command::{Command, Count, Filter};
use duly_engine::deadline::State;
use duly_engine::id::QueueName;
use duly_engine::limits::HORIZON;

use super::options::{Options, bad, missing, unread};
use super::{ask, queue};
use crate::commands::{Client, Next, No};
use crate::reading::Words;
use crate::refusal::refused;
use crate::telling::Manner;

const KNOWN: &[&str] = &["DELETE", "GET", "LIST", "PAUSE", "PUT", "RESUME", "SHIFT"];

/// `DULY.QUEUE LIST | GET queue | PUT queue policy | DELETE queue | PAUSE queue [DELIVERIES] [LAPSES]
/// | RESUME queue [DELIVERIES] [LAPSES] | SHIFT queue FROM instant TO instant BY span [DRY_RUN]`
pub(in super::super) fn of_queue(words: &Words<'_>, client: &mut Client) -> Result<Next, No> {
    let named = || queue(words.at(2));
    let command = match (words.at(1).to_ascii_uppercase().as_slice(), words.len()) {
        (b"LIST", 2) => Command::ListQueues,
        (b"GET", 3) => Command::GetQueue(named()?),
        (b"PUT", 4) => {
            let policy = (client.settings.read.policy)(words.at(3), &client.settings.tables);
            let policy = Box::new(policy.map_err(|why| unread("policy", &why))?);
            Command::PutQueue { queue: named()?, policy, declared: None }
        }
        (b"DELETE", 3) => Command::DeleteQueue(named()?),
        (b"PAUSE", 3..) => pause(words, client, true)?,
        (b"RESUME", 3..) => pause(words, client, false)?,
        (b"SHIFT", 3..) => return shift(words, client),
        (name, _) => return Err(No::subcommand("duly.queue", name, KNOWN)),
    };
    Ok(ask(command, client))
}

/// Deliveries wait or go on, or lapses, or both; deliveries when neither is named.
fn pause(words: &Words<'_>, client: &Client, wait: bool) -> Result<Command, No> {
    let options = Options::read(words, 3, client, &[], &["DELIVERIES", "LAPSES"])?;
    let named = |name: &str| options.value(name).map(|_| wait);
    let (deliveries, lapses) = match (named("DELIVERIES"), named("LAPSES")) {
        (None, None) => (Some(wait), None),
        named => named,
    };
    Ok(Command::Pause { queue: queue(words.at(2))?, deliveries, lapses })
}

fn shift(words: &Words<'_>, client: &Client) -> Result<Next, No> {
    let options = Options::read(words, 3, client, &["FROM", "TO", "BY"], &["DRY_RUN"])?;
    let queue = queue(words.at(2))?;
    let from = options.instant("FROM")?.ok_or_else(|| missing("FROM is not given"))?;
    let to = options.instant("TO")?.ok_or_else(|| missing("TO is not given"))?;
    let by_ms = options.signed_millis("BY")?.ok_or_else(|| missing("BY is not given"))?;
    if from >= to {
        return Err(bad("TO is not after FROM: the window is FROM (included) to TO (excluded)"));
    }
    if options.value("DRY_RUN").is_none() {
        return Ok(ask(Command::Shift { queue, from, to, by_ms }, client));
    }
    let filter = Filter {
        state: Some(State::Pending),
        due_from: Some(from),
        due_to: Some(to),
        ..Filter::default()
    };
    Ok(counted(queue, filter, 0, 0, client.manner()))
}

/// Counts the next slice of the records that would be moved.
fn counted(queue: QueueName, filter: Filter, from_slot: u32, before: u64, manner: Manner) -> Next {
    let (named, which) = (Some(queue.clone()), filter.clone());
    let count = Count { queue: named, from_slot, filter: which, per: HORIZON };
    Next::ask_first(vec![Command::Count(count)], move |heard| match heard.one() {
        Answer::Counted { due, next_slot } => {
            let so_far = before + due.values().sum::<u64>();
            if let Some(slot) = next_slot {
                return counted(queue, filter, slot, so_far, manner);
            }
            Next::Say(manner.map(|fields| {
                fields.with("would_move", so_far);
            }))
        }
        Answer::Refused(refusal) => Next::Say(refused(&refusal)),
        other => unreachable!("a count was answered with {other:?}"),
    })
}
