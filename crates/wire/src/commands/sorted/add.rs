//! `ZADD`: a member that is not there is scheduled, one that is pending is moved.
//!
//! Each member is decided for itself, and all of them together in as few steps as can be. A schedule
//! leaves alone what is there and shows it, so it is the look as well. What is then moved is moved
//! from the due time that was seen, and from no other: if somebody was faster, it is done again.

use duly_engine::answer::{Answer, Refusal};
use duly_engine::command::{
    Address, Command, Extend, ExtendBy, IfDue, IfExists, NewQueue, Schedule, When,
};
use duly_engine::deadline::{Deadline, State};
use duly_engine::time::Time;

use super::score;
use super::{Client, Next, No, is_ready, member, queue};
use crate::Score;
use crate::reading::Words;
use crate::refusal::refused;
use crate::reply::Reply;

/// Which members are added or moved, and what is counted.
#[derive(Clone, Copy)]
struct Rule {
    only: Only,
    moves: Moves,
    counts_moves: bool,
    unit: Score,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Only {
    Any,
    New,
    Old,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Moves {
    Anywhere,
    Later,
    Earlier,
}

/// What is to be done about a member.
enum Step {
    /// Schedule it, if it is not there.
    Add(Address, Time),
    /// Look whether it is there.
    Look(Address, Time),
    /// Move it, if it is due when it was seen to be.
    Move(Address, Time, Time),
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
    let moves = match (gt, lt) {
        (false, false) => Moves::Anywhere,
        (true, false) if !nx => Moves::Later,
        (false, true) if !nx => Moves::Earlier,
        _ => {
            let why = "GT, LT, and/or NX options at the same time are not compatible";
            return Err(No::err(why));
        }
    };
    let rule = Rule { only, moves, counts_moves, unit: client.settings.score };
    let steps = (first..words.len()).step_by(2).map(|at| {
        let due = score::instant(words.at(at), rule.unit)?;
        Ok(rule.first(member(&queue, words.at(at + 1))?, due))
    });
    Ok(round(rule, steps.collect::<Result<_, No>>()?, Tally::default()))
}

/// Asks about all members that something is still to be done about.
fn round(rule: Rule, steps: Vec<Step>, mut tally: Tally) -> Next {
    let commands = steps.iter().map(Step::command).collect();
    let then = move |heard: &mut crate::session::Heard<'_>| {
        let next = |step| rule.next(step, heard.one(), &mut tally);
        let left: Vec<Step> = steps.into_iter().filter_map(next).collect();
        if left.is_empty() { Next::Say(tally.told(rule)) } else { round(rule, left, tally) }
    };
    // What is only ever added is decided at the first question.
    Next::Ask { commands, then: Box::new(then), again: rule.only != Only::New }
}

impl Step {
    fn command(&self) -> Command {
        match self {
            Step::Add(at, due) => Command::Schedule(Schedule {
                if_exists: IfExists::Renew,
                // Who keeps a delay queue will come for what is due.
                creates: NewQueue::Pulled,
                ..Schedule::new(at.clone(), When::Due(*due))
            }),
            Step::Look(at, _) => Command::Get(at.clone()),
            Step::Move(at, due, seen) => Command::Extend(Extend {
                at: at.clone(),
                by: ExtendBy::Due(*due),
                if_due: Some(IfDue::At(*seen)),
            }),
        }
    }
}

impl Rule {
    fn first(self, at: Address, due: Time) -> Step {
        if self.only == Only::Old { Step::Look(at, due) } else { Step::Add(at, due) }
    }

    /// What is still to be done about a member after this answer.
    fn next(self, step: Step, answer: Answer, tally: &mut Tally) -> Option<Step> {
        match (step, answer) {
            (Step::Add(..), Answer::Scheduled { created: true, .. }) => tally.added += 1,
            (Step::Add(at, due), Answer::Scheduled { deadline, .. })
            | (Step::Look(at, due), Answer::Deadline(deadline)) => {
                return self.met(at, due, deadline, tally);
            }
            (Step::Move(..), Answer::Deadline(_)) => tally.moved += 1,
            (Step::Look(..), Answer::Refused(Refusal::UnknownQueue | Refusal::UnknownDeadline)) => {
            }
            (
                Step::Move(at, due, _),
                Answer::Refused(
                    Refusal::DueChanged(_)
                    | Refusal::TooLate(_)
                    | Refusal::AlreadySettled(_)
                    | Refusal::UnknownDeadline
                    | Refusal::UnknownQueue,
                ),
            ) => return Some(self.first(at, due)),
            (_, Answer::Refused(refusal)) => drop(tally.refused.get_or_insert(refusal)),
            (_, other) => unreachable!("a step of an addition was answered with {other:?}"),
        }
        None
    }

    /// It is there already.
    fn met(self, at: Address, due: Time, there: Box<Deadline>, tally: &mut Tally) -> Option<Step> {
        if there.state == State::Pending {
            let is_moved = match self.moves {
                Moves::Anywhere => due != there.due,
                Moves::Later => due > there.due,
                Moves::Earlier => due < there.due,
            };
            let is_moved = is_moved && self.only != Only::New;
            return is_moved.then_some(Step::Move(at, due, there.due));
        }
        // What has lapsed is in the set until somebody claims it, and then it is not.
        let is_left_alone = match self.only {
            Only::Any => false,
            Only::New => is_ready(&there),
            Only::Old => !is_ready(&there),
        };
        if !is_left_alone {
            tally.refused.get_or_insert(Refusal::DeliveryUnderWay(there));
        }
        None
    }
}

impl Tally {
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
                Reply::Error(format!("{why}; ZREM claims it if nobody has"))
            }
            (reply, _) => reply,
        }
    }
}
