//! Settle: the awaited thing happened. In time, or not.

use super::{Met, No};
use crate::answer::{Answer, Known, Refusal, SettleResult};
use crate::command::Settle;
use crate::deadline::{Acted, Deadline, State};
use crate::fact::Fact;
use crate::id::{Generation, Outcome};
use crate::limits::REMEMBER;
use crate::state::live::Phase;
use crate::step::Engine;
use crate::zoo::{self, Bug};

impl Engine {
    pub(super) fn settle(&mut self, settle: Settle, known: Known) -> Result<Answer, No> {
        if zoo::bites(Bug::SettleRefusedWhenLow) {
            self.room_on_disk()?;
        }
        let no = self.known_queue(&settle.at.queue)?;
        let deadline = match self.meet(&settle.at, known)? {
            Met::Nothing => return self.remember(settle, None),
            Met::Archived(deadline) => deadline,
            Met::Live(slot) => match self.state.live(slot).phase {
                Phase::Remembered => return self.remember(settle, Some(slot)),
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

    /// Nothing to settle yet: keep the word for a while, if asked to. What was kept before may be
    /// kept for longer or say something else.
    fn remember(&mut self, settle: Settle, kept: Option<u32>) -> Result<Answer, No> {
        let Settle { at, outcome, remember, generation } = settle;
        // What comes of it is the first generation.
        if generation.is_some_and(|wanted| wanted != Generation::FIRST) {
            return Err(Refusal::UnknownDeadline.into());
        }
        let asked = remember.map(|span| self.now.plus(span.min(REMEMBER)));
        let (id, until) = if let Some(slot) = kept {
            let live = self.state.live(slot);
            let until = asked.map_or(live.due(), |asked| asked.max(live.due()));
            let said = live.story.as_ref().and_then(|story| story.outcome.as_ref());
            if said == Some(&outcome) && live.due() == until {
                return Ok(Answer::Remembered { until });
            }
            (live.id, until)
        } else {
            let id = self.state.next_id;
            self.room_for(id)?;
            (id, asked.ok_or(Refusal::UnknownDeadline)?)
        };
        let queue = self.known_queue(&at.queue)?;
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
