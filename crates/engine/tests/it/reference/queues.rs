//! What the reference makes of each command about a queue.

use duly_engine::answer::{Answer, Refusal, ShiftView, Totals};
use duly_engine::deadline::{Deadline, State, What};
use duly_engine::id::{QueueName, QueueNo};
use duly_engine::queue::Policy;
use duly_engine::time::Time;

use super::commands::Answered;
use super::{Queue, Reference, Remembered};

impl Reference {
    // Queues.

    pub(super) fn create_queue(&mut self, name: &QueueName, policy: Policy) -> usize {
        self.queues.push(Queue {
            no: QueueNo(self.next_queue),
            name: name.clone(),
            policy,
            paused: false,
            lapse_paused: false,
            last_leased_at: None,
            totals: Totals::default(),
            requests: Vec::new(),
        });
        self.next_queue += 1;
        self.queues.len() - 1
    }

    pub(super) fn put_queue(&mut self, name: &QueueName, policy: &Policy) -> Answer {
        let queue = match self.queue(name) {
            Ok(queue) => queue,
            Err(_) => self.create_queue(name, policy.clone()),
        };
        let before = std::mem::replace(&mut self.queues[queue].policy, policy.clone());
        let changes = (before.grace, before.decide_at) != (policy.grace, policy.decide_at);
        self.changing = changes.then(|| name.clone());
        Answer::Queue(Box::new(self.view(queue)))
    }

    pub(super) fn delete_queue(&mut self, name: &QueueName) -> Answered {
        let queue = self.queue(name)?;
        let in_memory = |deadline: &Deadline| deadline.queue == *name && !self.is_evicted(deadline);
        let kept = |kept: &Remembered| kept.at.queue == *name;
        if self.deadlines.iter().any(in_memory) || self.remembered.iter().any(kept) {
            return Err(Refusal::QueueNotEmpty);
        }
        self.queues.remove(queue);
        Ok(Answer::QueueDeleted)
    }

    pub(super) fn pause(
        &mut self,
        name: &QueueName,
        deliveries: Option<bool>,
        lapses: Option<bool>,
    ) -> Answered {
        let index = self.queue(name)?;
        let queue = &mut self.queues[index];
        queue.paused = deliveries.unwrap_or(queue.paused);
        queue.lapse_paused = lapses.unwrap_or(queue.lapse_paused);
        Ok(Answer::Queue(Box::new(self.view(index))))
    }

    pub(super) fn shift(&mut self, name: &QueueName, from: Time, to: Time, by_ms: i64) -> Answered {
        self.queue(name)?;
        self.disk()?;
        let mut moved = 0;
        for index in 0..self.deadlines.len() {
            let deadline = &self.deadlines[index];
            let in_window = deadline.due >= from && deadline.due < to;
            if deadline.queue == *name
                && deadline.state == State::Pending
                && in_window
                && !self.is_over(deadline)
            {
                let due = deadline.due.millis().saturating_add_signed(by_ms);
                let due = Time::from_millis(due);
                self.tell(index, What::Shifted { due });
                self.deadlines[index].due = due;
                moved += 1;
            }
        }
        Ok(Answer::Shift(ShiftView { moved, finished: true }))
    }
}
