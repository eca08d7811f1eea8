//! What was told, and whether it still holds.
//!
//! A server that has answered may never take it back: the record it showed is there under the same
//! number, in the same or a later life, and everything in its timeline happened, in that order. More
//! may have happened meanwhile, above all in the one operation whose answer was never heard.

use std::collections::{BTreeMap, BTreeSet};

use duly_engine::answer::{Answer, Leased};
use duly_engine::command::{Address, Command, Schedule, When};
use duly_engine::deadline::{Deadline, PayloadAt, State, What};
use duly_engine::id::{Outcome, QueueName};
use duly_engine::limits::TIMELINE_EVENTS;
use duly_engine::queue::Policy;
use duly_engine::time::Time;

use super::server::Server;
use crate::world::Death;

/// Everything that was told so far.
#[derive(Clone, Debug, Default)]
pub(crate) struct Heard {
    deadlines: BTreeMap<Address, Deadline>,
    /// The highest attempt of each that somebody has seen.
    attempts: BTreeMap<(Address, u32), u32>,
    /// Settles that wait for their schedule: how, and until when.
    remembered: BTreeMap<Address, (Outcome, Time)>,
    erased: BTreeSet<Address>,
    policies: BTreeMap<QueueName, Policy>,
    /// What was asked and not answered yet.
    under_way: Vec<Command>,
}

impl Heard {
    /// These commands are on their way.
    pub(super) fn asking(&mut self, commands: &[Command]) {
        self.under_way = commands.to_vec();
    }

    /// They came back with these answers.
    pub(super) fn told(&mut self, answers: &[Answer]) {
        for (command, answer) in std::mem::take(&mut self.under_way).into_iter().zip(answers) {
            match (answer, command) {
                (
                    Answer::Scheduled { deadline, .. }
                    | Answer::Settled { deadline, .. }
                    | Answer::Deadline(deadline)
                    | Answer::VerdictTaken(deadline),
                    _,
                ) => self.seen(deadline),
                (Answer::Leased(deliveries), _) => {
                    for delivery in deliveries {
                        self.attempt(delivery);
                    }
                }
                (Answer::Remembered { until }, Command::Settle(settle)) => {
                    self.erased.remove(&settle.at);
                    self.remembered.insert(settle.at, (settle.outcome, *until));
                }
                (Answer::Erased, Command::Erase(at)) => {
                    self.deadlines.remove(&at);
                    self.remembered.remove(&at);
                    self.attempts.retain(|(of, _), _| *of != at);
                    self.erased.insert(at);
                }
                (Answer::Queue(_), Command::PutQueue { queue, policy, .. }) => {
                    self.policies.insert(queue, *policy);
                }
                _ => {}
            }
        }
    }

    /// An attempt has been handed out.
    pub(super) fn attempt(&mut self, delivery: &Leased) {
        let at = Address { queue: delivery.queue.clone(), key: delivery.key.clone() };
        let highest = self.attempts.entry((at, delivery.id.generation.0)).or_default();
        *highest = (*highest).max(delivery.attempt);
    }

    fn seen(&mut self, deadline: &Deadline) {
        let at = Address { queue: deadline.queue.clone(), key: deadline.key.clone() };
        self.erased.remove(&at);
        self.remembered.remove(&at);
        self.deadlines.insert(at, deadline.clone());
    }

    /// How many things were told that can be checked.
    pub(super) fn count(&self) -> u64 {
        let told = self.deadlines.len() + self.attempts.len() + self.remembered.len();
        (told + self.erased.len() + self.policies.len()) as u64
    }

    /// Asks a server about all of it; says what does not hold any more.
    pub(crate) fn check(&self, server: &mut Server) -> Result<Vec<String>, Death> {
        let mut broken = Vec::new();
        for (at, told) in &self.deadlines {
            match server.ask_one(Command::Get(at.clone()))? {
                Answer::Deadline(now) => {
                    broken.extend(self.compare(at, told, &now));
                }
                _ if self.may_be_erased(at) => {}
                other => broken.push(format!("{at:?} was told and is {other:?}")),
            }
        }
        for at in &self.erased {
            let answer = server.ask_one(Command::Get(at.clone()))?;
            if matches!(answer, Answer::Deadline(_)) && !self.may_be_scheduled(at) {
                broken.push(format!("{at:?} was erased and is back"));
            }
        }
        for (queue, told) in &self.policies {
            match server.ask_one(Command::GetQueue(queue.clone()))? {
                Answer::Queue(now) if now.policy == *told || self.may_change(queue) => {}
                other => broken.push(format!("queue {queue} was told {told:?}: {other:?}")),
            }
        }
        // Last, for it changes things.
        for (at, (outcome, until)) in &self.remembered {
            if *until <= server.now() || self.may_be_erased(at) || self.may_be_scheduled(at) {
                continue;
            }
            let again = Schedule::new(at.clone(), When::Default);
            let born = server.ask_one(Command::Schedule(again))?;
            let is_settled = matches!(&born, Answer::Scheduled { deadline, .. }
                if deadline.state == State::Settled && deadline.outcome.as_ref() == Some(outcome));
            if !is_settled {
                broken.push(format!("the settle of {at:?} was not remembered: {born:?}"));
            }
        }
        Ok(broken)
    }

    /// What a server shows now of everything that was told or asked: told, from here on.
    pub(crate) fn shown(&self, server: &mut Server) -> Result<Heard, Death> {
        let asked = self.under_way.iter().filter_map(|command| match command {
            Command::Schedule(schedule) => Some(schedule.at.clone()),
            Command::Settle(settle) => Some(settle.at.clone()),
            _ => None,
        });
        let all: BTreeSet<Address> = self.deadlines.keys().cloned().chain(asked).collect();
        let mut shown = Heard::default();
        for at in all {
            if let Answer::Deadline(deadline) = server.ask_one(Command::Get(at))? {
                shown.seen(&deadline);
            }
        }
        Ok(shown)
    }

    fn compare(&self, at: &Address, told: &Deadline, now: &Deadline) -> Option<String> {
        let highest = self.attempts.get(&(at.clone(), now.generation.0)).copied().unwrap_or(0);
        let attempts = now.timeline.iter().filter_map(|event| match event.what {
            What::Leased { attempt } => Some(attempt),
            _ => None,
        });
        if attempts.max().unwrap_or(0) < highest {
            return Some(format!("attempt {highest} of {at:?} was handed out: {now:?}"));
        }
        if now.id == told.id && now.generation == told.generation {
            // A full timeline drops what is in its middle.
            let kept = if now.timeline.len() < TIMELINE_EVENTS { told.timeline.len() } else { 1 };
            let same = now.timeline.starts_with(&told.timeline[..kept])
                && now.created_at == told.created_at
                && now.priority == told.priority
                && (now.payload == told.payload || now.payload == PayloadAt::Gone);
            return (!same).then(|| format!("{at:?} was told {told:?}, and is {now:?}"));
        }
        let is_later = now.id == told.id && now.generation > told.generation;
        let is_explained = is_later && self.may_be_scheduled(at);
        (!is_explained).then(|| format!("{at:?} was told {told:?}, and is another: {now:?}"))
    }

    // What was under way when the server went, and may have been done.

    fn may_be_erased(&self, at: &Address) -> bool {
        self.under_way.iter().any(|command| matches!(command, Command::Erase(of) if of == at))
    }

    fn may_be_scheduled(&self, at: &Address) -> bool {
        self.under_way.iter().any(|command| match command {
            Command::Schedule(schedule) => schedule.at == *at,
            Command::Settle(settle) => settle.at == *at,
            _ => false,
        })
    }

    fn may_change(&self, queue: &QueueName) -> bool {
        self.under_way
            .iter()
            .any(|command| matches!(command, Command::PutQueue { queue: of, .. } if of == queue))
    }
}
