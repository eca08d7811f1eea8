//! `ZADD`: a member that is not there is scheduled, one that is pending is moved.
//!
//! Each member is one command, decided for itself and at once: a schedule that moves what is pending,
//! one that leaves it alone, or an extension of what is there.

use duly_engine::answer::{Answer, Refusal};
use duly_engine::command::{
    Address, Command, Extend, ExtendBy, IfDue, IfExists, NewQueue, Schedule, When,
};
use duly_engine::time::Time;

use super::score;
use super::{Client, Next, No, is_member, member, queue};
use crate::Score;
use crate::reading::Words;
use crate::refusal::{finds_nothing_to_move, refused};
use crate::reply::Reply;

/// Which members are added or moved, and what is counted.
#[derive(Clone, Copy)]
struct Rule {
    only: Only,
    /// What is pending is moved if it is due so.
    if_due: IfDue,
    counts_moves: bool,
    unit: Score,
}

#[derive(Clone, Copy)]
enum Only {
    Any,
    New,
    Old,
}

/// What was done.
#[derive(Default)]
struct Tally {
    added: usize,
    moved: usize,
    refused: Option<Refusal>,
}

/// `ZADD queue [NX | XX] [GT | LT] [CH] score member…`
pub(in super::super) fn zadd(words: &Words<'_>, client: &mut Client) -> Result<Next, No> {
    let queue = queue(client, words.at(1))?;
    let mut given = [("NX", false), ("XX", false), ("GT", false), ("LT", false), ("CH", false)];
    let mut first = 2;
    while let Some(word) = words.get(first) {
        if word.eq_ignore_ascii_case(b"INCR") {
            return Err(No::err(
                "a due time is not added to: ZADD with the new score, or DULY.EXTEND with BY",
            ));
        }
        let option = given.iter_mut().find(|(name, _)| word.eq_ignore_ascii_case(name.as_bytes()));
        let Some((_, is_given)) = option else { break };
        *is_given = true;
        first += 1;
    }
    let pairs = words.len() - first;
    if pairs == 0 || !pairs.is_multiple_of(2) {
        return Err(No::syntax());
    }
    let [nx, xx, gt, lt, counts_moves] = given.map(|(_, is_given)| is_given);
    let only = match (nx, xx) {
        (true, true) => {
            return Err(No::err("XX and NX options at the same time are not compatible"));
        }
        (true, false) => Only::New,
        (false, true) => Only::Old,
        (false, false) => Only::Any,
    };
    let if_due = match (gt, lt) {
        (false, false) => IfDue::Other,
        (true, false) if !nx => IfDue::Earlier,
        (false, true) if !nx => IfDue::Later,
        _ => {
            let why = "GT, LT, and/or NX options at the same time are not compatible";
            return Err(No::err(why));
        }
    };
    let rule = Rule { only, if_due, counts_moves, unit: client.settings.score };
    let command = |at| {
        let due = score::instant(words.at(at), rule.unit)?;
        Ok(rule.command(member(&queue, words.at(at + 1))?, due))
    };
    let commands = (first..words.len()).step_by(2).map(command).collect::<Result<_, No>>()?;
    Ok(Next::ask(commands, move |heard| {
        let mut tally = Tally::default();
        heard.for_each(|answer| tally.count(answer));
        tally.told(rule)
    }))
}

impl Rule {
    /// What is asked about a member.
    fn command(self, at: Address, due: Time) -> Command {
        let schedule = |if_exists| {
            // Who keeps a delay queue will come for what is due.
            let creates = NewQueue::Pulled;
            Command::Schedule(Schedule {
                if_exists,
                creates,
                ..Schedule::new(at.clone(), When::Due(due))
            })
        };
        match self.only {
            Only::Any => schedule(IfExists::Move(self.if_due)),
            Only::New => schedule(IfExists::Renew),
            Only::Old => {
                Command::Extend(Extend { at, by: ExtendBy::Due(due), if_due: Some(self.if_due) })
            }
        }
    }
}

impl Tally {
    /// Counts what came of a member.
    fn count(&mut self, answer: Answer) {
        match answer {
            Answer::Scheduled { created: true, .. } => self.added += 1,
            Answer::Deadline(_) => self.moved += 1,
            // It is in the set, and stays where it is.
            Answer::Scheduled { deadline, .. } if is_member(&deadline) => {}
            Answer::Scheduled { deadline, .. } => self.refuse(Refusal::DeliveryUnderWay(deadline)),
            // What has lapsed is in the set until somebody claims it, and cannot be moved.
            Answer::Refused(Refusal::TooLate(deadline)) if is_member(&deadline) => {
                self.refuse(Refusal::DeliveryUnderWay(deadline));
            }
            Answer::Refused(refusal) if finds_nothing_to_move(&refusal) => {}
            Answer::Refused(refusal) => self.refuse(refusal),
            other => unreachable!("an addition was answered with {other:?}"),
        }
    }

    fn refuse(&mut self, refusal: Refusal) {
        self.refused.get_or_insert(refusal);
    }

    fn told(&self, rule: Rule) -> Reply {
        let Some(refusal) = &self.refused else {
            return Reply::count(self.added + if rule.counts_moves { self.moved } else { 0 });
        };
        let unit = rule.unit.word();
        match (refused(refusal), refusal) {
            (Reply::Error(why), Refusal::DueInPast | Refusal::DueTooFar) => {
                Reply::Error(format!("{why}; a score counts {unit} since 1970 here: [redis] score"))
            }
            (Reply::Error(why), Refusal::DeliveryUnderWay(_)) => {
                Reply::Error(format!("{why}; ZREM claims it, if no worker has it in hand"))
            }
            (reply, _) => reply,
        }
    }
}
