//! Claim: who has a deadline for himself, whether or not its time is over.
//!
//! What is pending is settled. What has lapsed is handed to the caller and done in the same breath,
//! before its turn, between two attempts, dead, or while its queue is paused: he has named it, and of
//! all who do so one is told that he has it. What is in somebody's hands stays there, and what lapses
//! to another target than `pull` is that target's.

use super::{Met, No};
use crate::answer::{Answer, Known, Refusal};
use crate::command::{Address, Settle};
use crate::id::{Outcome, QueueNo};
use crate::queue::Target;
use crate::state::live::Phase;
use crate::step::{Engine, Storage};

impl Engine {
    pub(super) fn claim(
        &mut self,
        at: Address,
        outcome: Outcome,
        known: Known,
    ) -> Result<Answer, No> {
        let no = self.known_queue(&at.queue)?;
        let slot = self.state.slot_of(&at);
        if let Some(Met::Live(slot)) = slot.map(|slot| self.not_over(slot))
            && self.is_nobodys(no, slot)
        {
            if self.storage >= Storage::Full {
                return Err(Refusal::StorageFull.into());
            }
            let now = self.now;
            self.state.queue_mut(no).last_leased_at = Some(now);
            self.give_for_good(no, slot);
            return Ok(Answer::VerdictTaken(self.view(slot)));
        }
        self.settle(Settle { at, outcome, remember: None, generation: None }, known)
    }

    /// Has it lapsed for workers, and does none of them have it in hand? A lease that has run out is
    /// over, though nobody may have noticed.
    fn is_nobodys(&mut self, no: QueueNo, slot: u32) -> bool {
        if self.state.queue(no).policy.target != Target::Pull {
            return false;
        }
        let live = self.state.live(slot);
        let runs_until = live.story.as_ref().map(|story| story.leased_until);
        if live.phase.is_leased() && runs_until.is_some_and(|until| until <= self.now) {
            self.retry_or_die(slot, "the lease ran out".into(), None, false);
        }
        matches!(self.state.live(slot).phase, Phase::Ready | Phase::Dead)
    }
}
