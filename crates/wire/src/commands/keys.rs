//! Keys as keys: to delete one is to settle it, and only who deletes it in time is counted.

use duly_engine::answer::{Answer, Refusal, SettleResult};
use duly_engine::command::{Command, Settle};
use duly_engine::id::Outcome;

use super::strings::{address, pending};
use super::{Client, Next, No};
use crate::reading::Words;
use crate::refusal::refused;
use crate::reply::Reply;

/// `DEL key…` and `UNLINK key…`
pub(super) fn del(words: &Words<'_>, client: &mut Client) -> Result<Next, No> {
    let outcome = Outcome::new("deleted").expect("it is an outcome");
    let settles = words.from(1).map(|key| {
        let at = address(client, key)?;
        let outcome = outcome.clone();
        Ok(Command::Settle(Settle { at, outcome, remember: None, generation: None }))
    });
    Ok(Next::ask(settles.collect::<Result<_, No>>()?, |heard| {
        let mut won = 0;
        for answer in heard {
            match answer {
                Answer::Settled { result: SettleResult::Settled, .. } => won += 1,
                Answer::Settled { .. }
                | Answer::Refused(Refusal::UnknownQueue | Refusal::UnknownDeadline) => {}
                Answer::Refused(refusal) => return refused(&refusal),
                other => unreachable!("a settle was answered with {other:?}"),
            }
        }
        Reply::count(won)
    }))
}

/// `EXISTS key…`
pub(super) fn exists(words: &Words<'_>, client: &mut Client) -> Result<Next, No> {
    let gets = words.from(1).map(|key| Ok(Command::Get(address(client, key)?)));
    Ok(Next::ask(gets.collect::<Result<_, No>>()?, |heard| {
        let mut there = 0;
        for answer in heard {
            match pending(answer) {
                Ok(deadline) => there += usize::from(deadline.is_some()),
                Err(refused) => return refused,
            }
        }
        Reply::count(there)
    }))
}
