//! What may be: one verb a file.
//!
//! Each verb looks at the state, refuses or writes facts, and answers with what came of it. Before a
//! verb sees a pending deadline, [`Engine::meet`] makes sure that it is not over: if it is, its
//! lapse is written first, however long the backlog. That is the whole of "exactly one winner".

mod change;
mod claim;
mod delivery;
mod queues;
mod schedule;
mod settle;
mod walk;

use crate::answer::{Answer, Known, Refusal, Wanted};
use crate::command::{Address, Command};
use crate::deadline::Deadline;
use crate::id::{DeadlineId, Generation, QueueNo};
use crate::queue::DecideAt;
use crate::state::live::Phase;
use crate::step::Engine;
use crate::zoo::{self, Bug};

/// Why there is no answer.
pub(crate) enum No {
    /// It may not be.
    Refused(Refusal),
    /// The archive must be asked first.
    LookUp(Wanted),
}

impl From<Refusal> for No {
    fn from(refusal: Refusal) -> No {
        No::Refused(refusal)
    }
}

/// What is known under a (queue, key).
pub(crate) enum Met {
    /// A live record, not overdue.
    Live(u32),
    /// A final record that only the archive holds.
    Archived(Box<Deadline>),
    /// Nothing.
    Nothing,
}

impl Engine {
    pub(crate) fn decided(&mut self, command: Command, known: Known) -> Result<Answer, No> {
        match command {
            Command::Schedule(schedule) => self.schedule(schedule, known),
            Command::Settle(settle) => self.settle(settle, known),
            Command::Claim { at, outcome } => self.claim(at, outcome, known),
            Command::Extend(extend) => self.extend(&extend, known),
            Command::Freeze { at, span } => self.freeze(&at, span, known),
            Command::Get(at) => self.get(&at, known),
            Command::Revive(at) => self.revive(&at, known),
            Command::Erase(at) => self.erase(&at, known),
            Command::Lease { queue, key, max, span } => {
                self.lease_to_worker(&queue, key.as_ref(), max, span)
            }
            Command::Waiting { queue, due, limit } => self.waiting(&queue, &due, limit),
            Command::Verdict { delivery, token, verdict } => {
                self.verdict(delivery, token, verdict, known)
            }
            Command::Touch { delivery, token, span } => self.touch(delivery, token, span, known),
            Command::PutQueue { queue, policy, declared } => {
                self.put_queue(&queue, policy, declared)
            }
            Command::DeleteQueue(queue) => self.delete_queue(&queue),
            Command::GetQueue(queue) => self.get_queue(&queue),
            Command::ListQueues => Ok(self.list_queues()),
            Command::Pause { queue, deliveries, lapses } => self.pause(&queue, deliveries, lapses),
            Command::Shift { queue, from, to, by_ms } => self.begin_shift(&queue, from, to, by_ms),
            Command::Scan(scan) => self.scan(&scan),
            Command::Count(count) => self.count(&count),
            Command::ConfirmClock => self.confirm_clock(),
            Command::GetClock => Ok(self.get_clock()),
        }
    }

    /// The queue of that name.
    pub(crate) fn known_queue(&self, queue: &crate::id::QueueName) -> Result<QueueNo, Refusal> {
        self.state.queue_no(queue).ok_or(Refusal::UnknownQueue)
    }

    /// Finds what is under an address; if its time is over, writes its lapse first.
    pub(crate) fn meet(&mut self, at: &Address, known: Known) -> Result<Met, No> {
        if let Some(slot) = self.state.slot_of(at) {
            return Ok(self.not_over(slot));
        }
        match known {
            Known::Unasked => Err(No::LookUp(Wanted::Key(at.clone()))),
            Known::Archived(found) if !self.state.erased.contains(&found.id) => {
                Ok(Met::Archived(found))
            }
            Known::Archived(_) | Known::Absent => Ok(Met::Nothing),
        }
    }

    /// The same for a generation of a deadline, by number.
    pub(crate) fn meet_id(
        &mut self,
        id: DeadlineId,
        generation: Generation,
        known: Known,
    ) -> Result<Met, No> {
        let slot = self.state.slot_of_id(id);
        if let Some(slot) = slot.filter(|slot| self.state.live(*slot).generation == generation) {
            return Ok(self.not_over(slot));
        }
        if let Some(last) = self.state.outlived.get(&(id, generation)) {
            return Ok(Met::Archived(Box::new(last.clone())));
        }
        match known {
            _ if id >= self.state.next_id => Ok(Met::Nothing),
            Known::Unasked => Err(No::LookUp(Wanted::Id(id, generation))),
            Known::Archived(found) if !self.state.erased.contains(&found.id) => {
                Ok(Met::Archived(found))
            }
            Known::Archived(_) | Known::Absent => Ok(Met::Nothing),
        }
    }

    fn not_over(&mut self, slot: u32) -> Met {
        let live = self.state.live(slot);
        if live.phase == Phase::Remembered && live.due() <= self.now {
            self.forget(slot);
            return Met::Nothing;
        }
        let is_noticed = !zoo::bites(Bug::OverdueSettleWins);
        if live.phase == Phase::Pending && self.is_over(slot) && is_noticed {
            self.lapse(slot);
        }
        Met::Live(slot)
    }

    /// Is a pending record's time over, so that only its lapse can come?
    pub(crate) fn is_over(&self, slot: u32) -> bool {
        let live = self.state.live(slot);
        let queue = self.state.queue(live.queue);
        queue.policy.decide_at == DecideAt::Due
            && !self.state.is_withheld(live.queue)
            && self.state.lapse_at(live) <= self.now
    }

    pub(crate) fn view(&self, slot: u32) -> Box<Deadline> {
        Box::new(self.state.view(slot))
    }
}
