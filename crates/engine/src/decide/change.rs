//! Extend and freeze: more time, within bounds. Get, revive and erase: the rest one can do by key.

use super::{Met, No};
use crate::answer::{Answer, Known, Refusal};
use crate::command::{Address, Extend, ExtendBy};
use crate::deadline::{Deadline, State};
use crate::fact::Fact;
use crate::limits;
use crate::state::live::Phase;
use crate::step::{Engine, Storage};
use crate::time::{Span, Time};

impl Engine {
    pub(super) fn extend(&mut self, extend: &Extend, known: Known) -> Result<Answer, No> {
        let slot = self.pending(&extend.at, known)?;
        let was_due = self.state.live(slot).due();
        let due = match extend.by {
            ExtendBy::Span(span) => was_due.plus(span),
            ExtendBy::After(span) => self.now.plus(span),
            ExtendBy::Due(due) => due,
        };
        if extend.if_due.is_some_and(|if_due| !if_due.holds(was_due, due)) {
            return Err(Refusal::DueChanged(self.view(slot)).into());
        }
        self.move_to(slot, due)
    }

    /// Moves what is pending, if it may be due then.
    pub(super) fn move_to(&mut self, slot: u32, due: Time) -> Result<Answer, No> {
        let live = self.state.live(slot);
        let (queue, id) = (live.queue, live.id);
        let latest = live.created_at().plus(self.state.queue(queue).policy.max_total);
        if due > latest && due > live.due() {
            return Err(Refusal::MaxTotal { latest }.into());
        }
        if due > self.now.plus(limits::HORIZON) {
            return Err(Refusal::DueTooFar.into());
        }
        if due < self.now.minus(limits::PAST) {
            return Err(Refusal::DueInPast.into());
        }
        if due != live.due() {
            self.emit(Fact::Moved { queue, id, due, shifted: false });
        }
        Ok(Answer::Deadline(self.view(slot)))
    }

    pub(super) fn freeze(&mut self, at: &Address, span: Span, known: Known) -> Result<Answer, No> {
        let slot = self.pending(at, known)?;
        let live = self.state.live(slot);
        let (queue, id) = (live.queue, live.id);
        let story = live.story.as_ref();
        let frozen_for = story.map_or(Span::ZERO, |story| story.frozen_for);
        let frozen_until = story.map_or(self.now, |story| story.frozen_until);
        // What a freeze under way has not used yet is given back before the new one is counted.
        let used = frozen_for.minus(frozen_until.since(self.now));
        let most = self.state.queue(queue).policy.max_freeze;
        let total = used.plus(span);
        if total > most && !span.is_zero() {
            return Err(Refusal::MaxFreeze { left: most.minus(used) }.into());
        }
        let until = self.now.plus(span);
        if frozen_until > self.now || !span.is_zero() {
            self.emit(Fact::Frozen { queue, id, until, total_ms: total.millis() });
        }
        Ok(Answer::Deadline(self.view(slot)))
    }

    pub(super) fn get(&mut self, at: &Address, known: Known) -> Result<Answer, No> {
        self.known_queue(&at.queue)?;
        Ok(Answer::Deadline(match self.meet(at, known)? {
            Met::Live(slot) if self.state.live(slot).phase != Phase::Remembered => self.view(slot),
            Met::Archived(deadline) => deadline,
            Met::Live(_) | Met::Nothing => return Err(Refusal::UnknownDeadline.into()),
        }))
    }

    pub(super) fn revive(&mut self, at: &Address, known: Known) -> Result<Answer, No> {
        self.known_queue(&at.queue)?;
        match self.meet(at, known)? {
            Met::Live(slot) if self.state.live(slot).phase == Phase::Dead => {
                let live = self.state.live(slot);
                let (queue, id) = (live.queue, live.id);
                self.emit(Fact::Revived { queue, id });
                Ok(Answer::Deadline(self.view(slot)))
            }
            Met::Live(slot) if self.state.live(slot).phase != Phase::Remembered => {
                Err(Refusal::NotDead(self.view(slot)).into())
            }
            Met::Archived(deadline) => Err(Refusal::NotDead(deadline).into()),
            Met::Live(_) | Met::Nothing => Err(Refusal::UnknownDeadline.into()),
        }
    }

    pub(super) fn erase(&mut self, at: &Address, known: Known) -> Result<Answer, No> {
        let queue = self.known_queue(&at.queue)?;
        let id = match self.meet(at, known)? {
            Met::Nothing => return Err(Refusal::UnknownDeadline.into()),
            Met::Archived(deadline) => deadline.id,
            Met::Live(slot) => {
                let live = self.state.live(slot);
                let may_go =
                    live.phase.is_final() || matches!(live.phase, Phase::Dead | Phase::Remembered);
                if !may_go {
                    return Err(Refusal::StillPending(self.view(slot)).into());
                }
                live.id
            }
        };
        self.emit(Fact::Erased { queue, id });
        if let Some(erasure) = self.state.erasures.back_mut() {
            erasure.at = Some(at.clone());
        }
        Ok(Answer::Erased)
    }

    /// A pending deadline that may be changed, or why it may not.
    fn pending(&mut self, at: &Address, known: Known) -> Result<u32, No> {
        self.known_queue(&at.queue)?;
        if self.storage >= Storage::Low {
            return Err(Refusal::StorageLow.into());
        }
        let over = match self.meet(at, known)? {
            Met::Live(slot) => match self.state.live(slot).phase {
                Phase::Pending => return Ok(slot),
                Phase::Remembered => return Err(Refusal::UnknownDeadline.into()),
                _ => self.view(slot),
            },
            Met::Archived(deadline) => deadline,
            Met::Nothing => return Err(Refusal::UnknownDeadline.into()),
        };
        Err(too_late_to_change(over).into())
    }
}

/// Why what is over may not be changed.
pub(super) fn too_late_to_change(over: Box<Deadline>) -> Refusal {
    if over.state == State::Settled {
        Refusal::AlreadySettled(over)
    } else {
        Refusal::TooLate(over)
    }
}
