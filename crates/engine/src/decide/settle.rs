//! Settle: the awaited thing happened. In time, or not.

use super::{Met, No};
use crate::answer::{Answer, Known, Refusal, SettleResult};
use crate::command::{Address, Settle};
use crate::deadline::{Acted, Deadline, State};
use crate::fact::Fact;
use crate::id::Outcome;
use crate::limits::REMEMBER;
use crate::state::live::Phase;
use crate::step::Engine;
use crate::time::Span;

impl Engine {
    pub(super) fn settle(&mut self, settle: Settle, known: Known) -> Result<Answer, No> {
        let no = self.known_queue(&settle.at.queue)?;
        let deadline = match self.meet(&settle.at, known)? {
            Met::Nothing => return self.remember(settle.at, settle.outcome, settle.remember),
            Met::Archived(deadline) => deadline,
            Met::Live(slot) => match self.state.live(slot).phase {
                Phase::Remembered => {
                    let span = settle.remember.unwrap_or(Span::ZERO);
                    return self.remember(settle.at, settle.outcome, Some(span));
                }
                Phase::Pending => {
                    let live = self.state.live(slot);
                    if settle.generation.is_some_and(|wanted| wanted != live.generation) {
                        return Err(Refusal::OtherGeneration(self.view(slot)).into());
                    }
                    let (id, outcome) = (live.id, settle.outcome);
                    self.emit(Fact::Settled { queue: no, id, outcome });
                    let deadline = self.view(slot);
                    return Ok(Answer::Settled { result: SettleResult::Settled, deadline });
                }
                _ => self.view(slot),
            },
        };
        if settle.generation.is_some_and(|wanted| wanted != deadline.generation) {
            return Err(Refusal::OtherGeneration(deadline).into());
        }
        let result = lost(&deadline, &settle.outcome);
        if matches!(result, SettleResult::TooLate(_)) {
            self.state.queue_mut(no).too_late += 1;
        }
        Ok(Answer::Settled { result, deadline })
    }

    /// Nothing to settle yet: keep the word for a while, if asked to.
    fn remember(
        &mut self,
        at: Address,
        outcome: Outcome,
        span: Option<Span>,
    ) -> Result<Answer, No> {
        let known = self.state.slot_of(&at);
        let Some(span) = span else { return Err(Refusal::UnknownDeadline.into()) };
        let queue = self.known_queue(&at.queue)?;
        let until = self.now.plus(span.min(REMEMBER));
        if let Some(slot) = known {
            let live = self.state.live(slot);
            let told = live.story.as_ref().and_then(|story| story.outcome.as_ref());
            // Said before and for longer: nothing new.
            if told == Some(&outcome) && live.due >= until {
                return Ok(Answer::Remembered { until: live.due });
            }
        }
        let id = known.map_or(self.state.next_id, |slot| self.state.live(slot).id);
        let until = known.map_or(until, |slot| until.max(self.state.live(slot).due));
        self.emit(Fact::Remembered { queue, id, key: at.key, outcome, until });
        Ok(Answer::Remembered { until })
    }
}

/// What a settle that comes second is told.
fn lost(deadline: &Deadline, outcome: &Outcome) -> SettleResult {
    if deadline.state == State::Settled {
        if deadline.outcome.as_ref() == Some(outcome) {
            SettleResult::AlreadySettled
        } else {
            SettleResult::SettledOtherwise
        }
    } else {
        let acted = deadline.delivery.as_ref().map_or(Acted::No, crate::deadline::Delivery::acted);
        SettleResult::TooLate(acted)
    }
}
