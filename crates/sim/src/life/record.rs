//! What clients asked and were told, written down for the linearizability checker.

use std::collections::BTreeMap;

use duly_engine::answer::{Answer, Leased};
use duly_engine::command::{self, Command, ExtendBy, IfDue};
use duly_engine::id::DeadlineId;
use duly_engine::queue::Target;

use super::Life;
use crate::history::{
    Asked, By, History, IfExists, Moment, Operation, Told, Verdict, When, handed, told,
};

/// A history while it is written.
#[derive(Default)]
pub(super) struct Recorder {
    history: History,
    /// Under which name a delivery's deadline goes.
    names: BTreeMap<DeadlineId, (String, String)>,
    tick: u64,
    process: u32,
}

impl Recorder {
    /// What was recorded. A queue that is away says nothing of the keys in it: they are there again
    /// when it is.
    pub(super) fn history(self) -> History {
        let mut history = self.history;
        history.operations.retain(|operation| {
            let refused = match &operation.told {
                Some((_, Told::Refused { code, .. })) => Some(code.as_str()),
                _ => None,
            };
            refused != Some("unknown_queue")
        });
        history
    }
}

/// Where the operations of a request stand in the history, one for each command that is about one key.
pub(super) type Places = Vec<Option<usize>>;

impl Recorder {
    fn moment(&mut self, ms: u64) -> Moment {
        self.tick += 1;
        Moment { tick: self.tick, ms }
    }

    fn name(&self, command: &Command) -> Option<(String, String)> {
        match command {
            Command::Verdict { delivery, .. } => self.names.get(&delivery.deadline).cloned(),
            other => {
                other.address().map(|at| (at.queue.as_str().to_owned(), at.key.as_str().to_owned()))
            }
        }
    }

    /// What holds for a queue without any operation.
    fn rule(&mut self, command: &Command) {
        match command {
            Command::PutQueue { queue, policy, .. } => {
                let rules = self.history.rules.entry(queue.as_str().to_owned()).or_default();
                rules.served |= policy.target != Target::Pull;
                let kept = policy.retention.millis();
                rules.kept_ms = Some(rules.kept_ms.map_or(kept, |least| least.min(kept)));
            }
            Command::Shift { queue, .. } => {
                let rules = self.history.rules.entry(queue.as_str().to_owned()).or_default();
                rules.shifted = true;
            }
            _ => {}
        }
    }
}

impl Life {
    /// Somebody asks; the answer, if one comes, belongs to these places.
    pub(super) fn record_asked(&mut self, commands: &[Command]) -> Places {
        let ms = self.oracle.durable_time().millis();
        let recorder = &mut self.recorder;
        let mut places = Vec::new();
        for command in commands {
            recorder.rule(command);
            let operation = asked(command).zip(recorder.name(command));
            places.push(operation.map(|(asked, (queue, key))| {
                let asked_at = recorder.moment(ms);
                recorder.process += 1;
                let process = recorder.process;
                let operation = Operation { process, queue, key, asked_at, asked, told: None };
                recorder.history.operations.push(operation);
                recorder.history.operations.len() - 1
            }));
        }
        places
    }

    /// The answers have left.
    pub(super) fn record_told(&mut self, places: &Places, asked: Moment, answers: &[Answer]) {
        let ms = self.oracle.now().millis();
        for (place, answer) in places.iter().zip(answers) {
            let moment = self.recorder.moment(ms);
            let operation = place.and_then(|place| self.recorder.history.operations.get_mut(place));
            match (operation, told(answer)) {
                (Some(operation), Some(told)) => operation.told = Some((moment, told)),
                (None, _) => {
                    if let Answer::Leased(deliveries) = answer {
                        self.record_handed(deliveries, asked);
                    }
                }
                (Some(_), None) => {}
            }
        }
    }

    /// The moment at which something is asked now.
    pub(super) fn record_moment(&mut self) -> Moment {
        let ms = self.oracle.durable_time().millis();
        self.recorder.moment(ms)
    }

    /// A worker got these.
    fn record_handed(&mut self, deliveries: &[Leased], asked_at: Moment) {
        let ms = self.oracle.now().millis();
        for leased in deliveries {
            self.record_name(leased);
            let recorder = &mut self.recorder;
            let told_at = recorder.moment(ms);
            recorder.process += 1;
            recorder.history.operations.push(Operation {
                process: recorder.process,
                queue: leased.queue.as_str().to_owned(),
                key: leased.key.as_str().to_owned(),
                asked_at,
                asked: Asked::Lease,
                told: Some((told_at, handed(leased))),
            });
        }
    }

    /// A delivery is known by its number from now on.
    pub(super) fn record_name(&mut self, leased: &Leased) {
        let name = (leased.queue.as_str().to_owned(), leased.key.as_str().to_owned());
        self.recorder.names.insert(leased.id.deadline, name);
    }
}

/// A question about one key.
fn asked(command: &Command) -> Option<Asked> {
    Some(match command {
        Command::Schedule(schedule) => Asked::Schedule {
            if_exists: match schedule.if_exists {
                command::IfExists::Keep => IfExists::Keep,
                command::IfExists::Replace => IfExists::Replace,
                command::IfExists::Renew => IfExists::Renew,
                command::IfExists::Fail => IfExists::Fail,
                command::IfExists::Move(_) => return None,
            },
            when: match schedule.when {
                command::When::Default => When::Default,
                command::When::After(span) => When::AfterMs(span.millis()),
                command::When::Due(due) => When::DueMs(due.millis()),
                command::When::Kept => return None,
            },
            over: schedule.over.map(|generation| generation.0),
        },
        Command::Settle(settle) => Asked::Settle {
            outcome: settle.outcome.as_str().to_owned(),
            generation: settle.generation.map(|generation| generation.0),
            remember_ms: settle.remember.map(duly_engine::time::Span::millis),
        },
        Command::Extend(extend) => Asked::Extend {
            by: match extend.by {
                ExtendBy::Span(span) => By::LaterMs(span.millis()),
                ExtendBy::After(span) => By::AfterMs(span.millis()),
                ExtendBy::Due(due) => By::DueMs(due.millis()),
            },
            if_due_ms: match extend.if_due {
                None => None,
                Some(IfDue::At(due)) => Some(due.millis()),
                Some(_) => return None,
            },
        },
        Command::Freeze { span, .. } => Asked::Freeze { for_ms: span.millis() },
        Command::Get(_) => Asked::Get,
        Command::Revive(_) => Asked::Revive,
        Command::Erase(_) => Asked::Erase,
        Command::Verdict { delivery, token, verdict } => Asked::Verdict {
            generation: delivery.generation.0,
            token: token.0,
            verdict: match verdict {
                command::Verdict::Done => Verdict::Done,
                command::Verdict::Superseded => Verdict::Superseded,
                command::Verdict::Retry { .. } => Verdict::Retry,
                command::Verdict::Dead { .. } => Verdict::Dead,
            },
        },
        _ => return None,
    })
}
