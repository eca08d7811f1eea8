//! Queues and their policies; the clock's guard.

use super::No;
use crate::answer::{Answer, ClockView, Refusal};
use crate::effect::Notice;
use crate::fact::Fact;
use crate::id::QueueName;
use crate::queue::Policy;
use crate::record::queue_bytes;
use crate::state::queue::Queue;
use crate::step::Engine;

impl Engine {
    pub(super) fn put_queue(
        &mut self,
        name: &QueueName,
        policy: Box<Policy>,
        declared: Option<bool>,
    ) -> Result<Answer, No> {
        policy.check().map_err(Refusal::BadPolicy)?;
        let Some(no) = self.state.queue_no(name) else {
            let no = self.create_queue(name, *policy, declared == Some(true))?;
            return Ok(Answer::Queue(Box::new(self.state.queue(no).view())));
        };
        let queue = self.state.queue(no);
        if queue.declared && declared.is_none() {
            return Err(Refusal::QueueDeclared.into());
        }
        let declared = declared.unwrap_or(false);
        if queue.policy != *policy || queue.declared != declared {
            let before = (queue.policy.grace, queue.policy.decide_at);
            let after = (policy.grace, policy.decide_at);
            self.room_for_queues(queue_bytes(name, &policy).saturating_sub(queue.bytes()))?;
            self.emit(Fact::QueueSet { queue: no, name: name.clone(), policy, declared });
            self.state.obey_rate(no, self.now);
            if before != after {
                // Everything not yet decided is over at another time.
                self.work.look_again(no);
            }
            self.notice(Notice::QueueChanged(name.clone()));
        }
        self.get_queue(name)
    }

    pub(super) fn delete_queue(&mut self, name: &QueueName) -> Result<Answer, No> {
        let no = self.known_queue(name)?;
        let queue = self.state.queue(no);
        if queue.declared {
            return Err(Refusal::QueueDeclared.into());
        }
        if queue.held.iter().any(|held| *held > 0) {
            return Err(Refusal::QueueNotEmpty.into());
        }
        self.emit(Fact::QueueDeleted { queue: no });
        self.work.forget(no);
        self.notice(Notice::QueueDeleted(name.clone()));
        Ok(Answer::QueueDeleted)
    }

    pub(super) fn get_queue(&mut self, name: &QueueName) -> Result<Answer, No> {
        let no = self.known_queue(name)?;
        Ok(Answer::Queue(Box::new(self.state.queue(no).view())))
    }

    pub(super) fn list_queues(&self) -> Answer {
        Answer::Queues(self.state.queues_by_name().map(Queue::view).collect())
    }

    pub(super) fn pause(
        &mut self,
        name: &QueueName,
        deliveries: Option<bool>,
        lapses: Option<bool>,
    ) -> Result<Answer, No> {
        let no = self.known_queue(name)?;
        let queue = self.state.queue(no);
        let before = (queue.paused, queue.lapse_paused);
        let after = (deliveries.unwrap_or(before.0), lapses.unwrap_or(before.1));
        if before != after {
            let (deliveries, lapses) = after;
            self.emit(Fact::QueuePaused { queue: no, deliveries, lapses });
            if before.1 && !lapses {
                self.work.unpark(no);
            }
        }
        self.get_queue(name)
    }

    pub(super) fn confirm_clock(&mut self) -> Result<Answer, No> {
        if !self.clock.confirm() {
            return Err(Refusal::ClockTrusted.into());
        }
        // Journal time goes on to the wall clock's with the next step: this one has its time.
        self.confirmed_at = Some(self.now);
        self.mind_guard();
        Ok(self.get_clock())
    }

    pub(super) fn get_clock(&self) -> Answer {
        Answer::Clock(ClockView {
            now: self.now,
            wall: self.clock.wall(),
            guard: self.clock.guard(),
            recovery_until: self.state.recovery_until,
            behind: self.is_behind(),
        })
    }
}
