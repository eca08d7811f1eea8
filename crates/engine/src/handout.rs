//! Who gets what, in which order, and how fast.
//!
//! Within a queue the smaller priority goes first, then the oldest due; between queues turns go
//! round. How many a queue may have under way and how many a second is policy. A handing out is a
//! `Leased` fact; where the queue decides at handout, the lapse is written in the same breath. The
//! target `none` is served here too: its deliveries are done as soon as they are handed out.

use std::sync::Arc;

use crate::answer::Leased;
use crate::effect::{Effect, Notice};
use crate::fact::Fact;
use crate::id::{DeliveryId, QueueName, QueueNo, Token};
use crate::limits::{LEASE_DELIVERIES, RETRY_AFTER};
use crate::queue::Target;
use crate::state::index::hash_number;
use crate::state::live::Phase;
use crate::step::{Engine, Storage};
use crate::time::{Span, Time};

/// Deliveries handed out by one step to the targets served here.
const HANDOUTS: u64 = 512;
/// What the server's own deliverer gets beyond the target's own time before its lease runs out.
const MARGIN: Span = Span::from_secs(60);
/// The whole time of an attempt at a target that states none.
const ATTEMPT: Span = Span::from_mins(10);

impl Engine {
    /// Hands out to the targets served here. True when more could go at once.
    pub fn hand_out(&mut self) -> bool {
        if self.storage >= Storage::Full {
            return false;
        }
        let mut left = HANDOUTS;
        let mut resting = 0;
        while left > 0 && resting < self.state.active.len() {
            let Some(no) = self.next_turn() else { break };
            let handed = self.hand_out_of(no, left);
            left -= handed;
            resting = if handed == 0 { resting + 1 } else { 0 };
        }
        left == 0
    }

    /// The active queue after the one that had its turn last.
    fn next_turn(&mut self) -> Option<QueueNo> {
        let after = (std::ops::Bound::Excluded(self.last_turn), std::ops::Bound::Unbounded);
        let active = &self.state.active;
        let no = active.range(after).next().or_else(|| active.first()).copied()?;
        self.last_turn = no;
        Some(no)
    }

    /// One turn of a queue: one batch. Says how many deliveries went.
    fn hand_out_of(&mut self, no: QueueNo, left: u64) -> u64 {
        let queue = self.state.queue(no);
        let target = &queue.policy.target;
        if queue.paused || *target == Target::Pull {
            return 0;
        }
        let allowed = queue.allowed(self.now).min(left);
        if *target == Target::None {
            return self.close_all(no, allowed.min(64));
        }
        let most = self.limits.max_attempts_under_way as u64;
        let room = most.saturating_sub(self.state.held_here);
        let wanted = allowed.min(room).min(queue.room_here()).min(u64::from(target.batch()));
        let target = target.clone();
        let span = match &target {
            Target::Webhook(webhook) => webhook.timeout.plus(MARGIN),
            Target::Sql { .. } | Target::Pull | Target::None => ATTEMPT,
        };
        let deliveries = self.lease(no, wanted, span, true);
        let handed = deliveries.len() as u64;
        if handed > 0 {
            self.effect(Effect::Attempt { target, deliveries });
        }
        handed
    }

    /// Target `none`: what waits is done.
    fn close_all(&mut self, no: QueueNo, wanted: u64) -> u64 {
        let mut closed = 0;
        while closed < wanted {
            let Some(slot) = self.take_first(no) else { break };
            let id = self.state.live(slot).id;
            self.emit(Fact::Delivered { queue: no, id, superseded: false });
            closed += 1;
        }
        self.spend(no, closed);
        closed
    }

    /// Leases up to `wanted` deliveries that wait in a queue.
    pub(crate) fn lease(
        &mut self,
        no: QueueNo,
        wanted: u64,
        span: Span,
        held_here: bool,
    ) -> Vec<Leased> {
        let until = self.now.plus(span);
        let mut deliveries = Vec::new();
        while (deliveries.len() as u64) < wanted {
            let Some(slot) = self.take_first(no) else { break };
            let id = self.state.live(slot).id;
            let token = Token(self.next_seq());
            self.emit(Fact::Leased { queue: no, id, until, held_here });
            let live = self.state.live(slot);
            deliveries.push(Leased {
                id: live.delivery_id(self.state.directory),
                token,
                queue: self.state.queue(no).name.clone(),
                key: live.key.clone(),
                due: live.due,
                lapsed_at: live.story.as_ref().map_or(live.due, |story| story.lapsed_at),
                attempt: live.attempts(),
                leased_until: until,
                payload: live.home.payload(),
            });
        }
        self.spend(no, deliveries.len() as u64);
        deliveries
    }

    /// The first that waits, lapsed by now if it was not before.
    fn take_first(&mut self, no: QueueNo) -> Option<u32> {
        loop {
            let slot = self.state.queue(no).waiting.first()?.slot;
            if self.state.live(slot).phase == Phase::Ready {
                return Some(slot);
            }
            // Decided at handout: now, unless lapsing has come to be withheld (then it is parked).
            if self.state.is_withheld(no) {
                self.look(slot);
            } else {
                self.lapse(slot);
                return Some(slot);
            }
        }
    }

    fn spend(&mut self, no: QueueNo, deliveries: u64) {
        let now = self.now;
        let queue = self.state.queue_mut(no);
        if let Some(rate) = queue.policy.rate
            && deliveries > 0
        {
            queue.pace.spend(rate, now, deliveries);
        }
    }

    /// How many deliveries of a pull queue could be leased now.
    pub fn leasable(&self, queue: &QueueName) -> usize {
        let Some(no) = self.state.queue_no(queue) else { return 0 };
        let queue = self.state.queue(no);
        if queue.paused || queue.policy.target != Target::Pull || self.storage >= Storage::Full {
            return 0;
        }
        let allowed = queue.allowed(self.now).min(LEASE_DELIVERIES as u64);
        queue.waiting.len().min(usize::try_from(allowed).unwrap_or(usize::MAX))
    }

    /// Is there such a queue, and may workers lease from it?
    pub fn is_pull(&self, queue: &QueueName) -> bool {
        let no = self.state.queue_no(queue);
        no.is_some_and(|no| self.state.queue(no).policy.target == Target::Pull)
    }

    /// When a queue that is held back by its rate only may hand out again.
    pub(crate) fn next_handout(&self) -> Option<Time> {
        let held_back = self.state.active.iter().filter_map(|no| {
            let queue = self.state.queue(*no);
            let rate = queue.policy.rate?;
            let waits = !queue.paused && queue.allowed(self.now) == 0;
            waits.then(|| queue.pace.next_at(rate, self.now))
        });
        held_back.min()
    }

    /// After a failed attempt: the next one, or the end.
    pub(crate) fn retry_or_die(
        &mut self,
        slot: u32,
        error: Arc<str>,
        after: Option<Span>,
        by_verdict: bool,
    ) {
        let live = self.state.live(slot);
        let (queue, id) = (live.queue, live.id);
        let delivery = live.delivery_id(self.state.directory);
        let policy = &self.state.queue(queue).policy;
        let story = live.story.as_ref();
        let begun = story.and_then(|story| story.ladder.map(|ladder| ladder.attempts));
        let since = story.and_then(|story| story.ladder.map(|ladder| ladder.since));
        let failed = live.attempts() - begun.unwrap_or(0);
        let wait = match after {
            Some(asked) => asked.min(RETRY_AFTER),
            None => jittered(ladder_wait(&policy.retry, failed), delivery, live.attempts()),
        };
        let next_attempt_at = self.now.plus(wait);
        if next_attempt_at > since.unwrap_or(self.now).plus(policy.retry_for) {
            self.die(slot, error);
        } else {
            self.emit(Fact::Retried { queue, id, next_attempt_at, error, by_verdict });
        }
    }

    /// Gives a delivery up.
    pub(crate) fn die(&mut self, slot: u32, error: Arc<str>) {
        let live = self.state.live(slot);
        let (no, id, key) = (live.queue, live.id, live.key.clone());
        let delivery = live.delivery_id(self.state.directory);
        self.emit(Fact::Died { queue: no, id, error: error.clone() });
        let queue = self.state.queue(no).name.clone();
        self.notice(Notice::Died { queue, key, delivery, error });
    }
}

/// The wait after so many failed attempts; the last step of the ladder repeats.
fn ladder_wait(retry: &[Span], failed: u32) -> Span {
    let step = (failed.max(1) as usize - 1).min(retry.len().saturating_sub(1));
    retry.get(step).copied().unwrap_or(Span::from_hours(1))
}

/// Ten per cent more or less, by a hash: the same for the same attempt on every machine.
fn jittered(wait: Span, delivery: DeliveryId, attempt: u32) -> Span {
    let seed = delivery.directory.0 ^ delivery.deadline.0.rotate_left(32);
    let hash = hash_number(seed ^ u64::from(delivery.generation.0) << 48 ^ u64::from(attempt));
    let tenth = wait.millis() / 10;
    Span::from_millis(wait.millis() - tenth + hash % (2 * tenth + 1))
}
