//! Webhook receivers and databases: they answer, hang, fail, answer twice or in part, or act and lose
//! the answer.

use duly::driver::{Attempt, Pins};
use duly_engine::answer::Leased;
use duly_engine::command::{Command, Verdict};
use duly_engine::time::Span;

use super::requests::verdict;
use super::{Event, Life, Who, of_leased};
use crate::markers::Marker;

impl Life {
    /// A request with lapses arrives at its target.
    pub(super) fn arrive(&mut self, mut attempt: Attempt, pins: &Pins) {
        let mut stored = pins.payloads();
        for delivery in &mut attempt.deliveries {
            self.look_at_pin(&delivery.payload);
            if let Err(why) = stored.read(&mut delivery.payload) {
                return self.died_of(&why);
            }
            self.oracle.read(of_leased(delivery), &delivery.payload);
        }
        let deliveries = attempt.deliveries;
        if self.peace {
            let verdicts = deliveries.iter().map(|one| taken(one, Verdict::Done)).collect();
            return self.plan_in(Span::from_millis(20), Event::Say(Who::Target, verdicts));
        }
        let after = self.dice.span(Span::from_millis(1), Span::from_secs(14));
        if self.targets_down {
            if self.dice.one_in(2) {
                let failed = deliveries.iter().map(|one| taken(one, refused()));
                let verdicts = failed.collect();
                self.plan_in(after, Event::Say(Who::Target, verdicts));
            }
            return;
        }
        let mut verdicts: Vec<Command> =
            deliveries.iter().map(|delivery| taken(delivery, verdict(&mut self.dice))).collect();
        if verdicts.len() > 1 && self.dice.one_in(3) {
            // What an answer does not name is tried again.
            let index = self.dice.index(verdicts.len());
            verdicts[index] = taken(&deliveries[index], refused());
            self.mark(Marker::BatchPartlyAnswered);
        }
        match self.dice.below(12) {
            // It hangs; the lease runs out.
            0 => {}
            1 => {
                self.plan_in(after, Event::Say(Who::Target, verdicts.clone()));
                self.plan_in(after.plus(Span::from_secs(2)), Event::Say(Who::Target, verdicts));
            }
            // Much too late, perhaps after a crash.
            2 => {
                let late = self.dice.span(Span::from_secs(60), Span::from_mins(20));
                self.plan_in(late, Event::Say(Who::Target, verdicts));
            }
            _ => self.plan_in(after, Event::Say(Who::Target, verdicts)),
        }
    }
}

fn taken(leased: &Leased, verdict: Verdict) -> Command {
    Command::Verdict { delivery: leased.id, token: leased.token, verdict }
}

fn refused() -> Verdict {
    Verdict::Retry { error: "status: answered 503".into(), after: None }
}
