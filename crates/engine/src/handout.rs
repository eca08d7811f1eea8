//! Who gets what, in which order, and how fast.
//!
//! Within a queue the smaller priority goes first, then the oldest due; between queues turns go
//! round, among those that have one (`state::turns`). How many requests a queue may have under way
//! and how many deliveries a second is policy. A handing out is a `Leased` fact; where the queue
//! decides at handout, the lapse is written in the same breath. The target `none` is served here
//! too: its deliveries are done as soon as it is their turn.

use std::ops::Range;
use std::sync::Arc;

use crate::answer::Leased;
use crate::deadline::Ladder;
use crate::effect::{Effect, Notice};
use crate::fact::Fact;
use crate::id::{DeliveryId, QueueName, QueueNo, Token};
use crate::limits::{LEASE_DELIVERIES, RETRY_AFTER};
use crate::queue::Target;
use crate::state::index::hash_number;
use crate::state::live::{Phase, Place};
use crate::state::queue::first_due;
use crate::step::{Engine, Storage};
use crate::time::{Span, Time};
use crate::zoo::{self, Bug};

/// Deliveries handed out by one step to the targets served here; as many again may be closed.
const HANDOUTS: u64 = 512;
/// Deliveries of a queue with the target `none` that are closed in one turn.
const CLOSED_AT_ONCE: u64 = 64;
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
        while let Some(no) = self.state.turns.let_go(self.now) {
            if self.state.queues.contains_key(&no) && !self.state.obey_rate(no, self.now) {
                self.state.stir(no);
            }
        }
        let (mut closing, mut handing) = (HANDOUTS, HANDOUTS);
        while closing > 0
            && let Some(no) = self.state.turns.closing.next()
        {
            closing -= self.turn(no, closing);
        }
        while handing > 0
            && self.room_here() > 0
            && let Some(no) = self.state.turns.served.next()
        {
            handing -= self.turn(no, handing);
        }
        closing == 0 || handing == 0
    }

    /// One turn of a queue, one batch at most; if something went, the queue stands in line again.
    /// Says how many deliveries went.
    fn turn(&mut self, no: QueueNo, most: u64) -> u64 {
        let Some(queue) = self.state.queues.get(&no) else { return 0 };
        if queue.paused || self.state.obey_rate(no, self.now) {
            return 0;
        }
        let queue = self.state.queue(no);
        let most = queue.allowed(self.now).min(most);
        let handed = match &queue.policy.target {
            Target::Pull => 0,
            Target::None => self.close_some(no, most.min(CLOSED_AT_ONCE)),
            Target::Webhook(webhook) => {
                let span = webhook.timeout.plus(MARGIN);
                self.request(no, most, span)
            }
            Target::Sql { .. } | Target::Exec { .. } | Target::Publish { .. } => {
                self.request(no, most, ATTEMPT)
            }
        };
        if handed > 0 {
            self.state.stir(no);
        }
        handed
    }

    /// How many deliveries the server's own deliverers may take in all.
    fn room_here(&self) -> u64 {
        (self.limits.max_attempts_under_way as u64).saturating_sub(self.state.held_here())
    }

    /// How many more of them one queue may take: it never takes more than it leaves to the others. So
    /// a target that answers nothing, or several, can hold much of the room and never all of it.
    fn share(&self, no: QueueNo) -> u64 {
        let held = self.state.queue(no).held[Phase::HeldHere as usize];
        self.room_here().saturating_sub(held).div_ceil(2)
    }

    /// One request to the target of a queue.
    fn request(&mut self, no: QueueNo, most: u64, span: Span) -> u64 {
        let queue = self.state.queue(no);
        let share = self.share(no);
        if share == 0 {
            self.state.turns.crowded.join(no);
            return 0;
        }
        let wanted = queue.room_here().min(share).min(most);
        if wanted == 0 {
            return 0;
        }
        let target = queue.policy.target.clone();
        let deliveries = self.lease(no, wanted, span, true);
        let Some(first) = deliveries.first() else { return 0 };
        let handed = deliveries.len();
        self.state.begin_request(no, first.token, handed);
        self.effect(Effect::Attempt { target, deliveries });
        handed as u64
    }

    /// Target `none`: what waits is done.
    fn close_some(&mut self, no: QueueNo, wanted: u64) -> u64 {
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

    /// Target `none`: one that waits is done before its turn, because somebody begins it anew.
    pub(crate) fn close_this(&mut self, slot: u32) {
        let live = self.state.live(slot);
        let (no, id, has_lapsed) = (live.queue, live.id, live.phase != Phase::Pending);
        let queue = self.state.queue(no);
        let may_go = queue.policy.target == Target::None
            && !queue.paused
            && queue.allowed(self.now) > 0
            && self.storage < Storage::Full;
        if may_go && has_lapsed && self.waits(slot) {
            self.emit(Fact::Delivered { queue: no, id, superseded: false });
            self.spend(no, 1);
        }
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
            deliveries.push(self.hold(no, slot, until, held_here));
        }
        self.spend(no, deliveries.len() as u64);
        deliveries
    }

    /// Leases one that waits to a worker, before its turn.
    pub(crate) fn lease_this(&mut self, no: QueueNo, slot: u32, span: Span) -> Leased {
        self.take(slot);
        let leased = self.hold(no, slot, self.now.plus(span), false);
        self.spend(no, 1);
        leased
    }

    /// One that has lapsed and is in nobody's hands goes into a worker's, and is done. Of a dead one
    /// that is a revival as well.
    pub(crate) fn give_for_good(&mut self, no: QueueNo, slot: u32) {
        let live = self.state.live(slot);
        let (id, is_dead) = (live.id, live.phase == Phase::Dead);
        if is_dead {
            self.emit(Fact::Revived { queue: no, id });
        }
        self.hold(no, slot, self.now, false);
        self.emit(Fact::Delivered { queue: no, id, superseded: false });
        self.spend(no, 1);
    }

    /// Writes the lease of one that was taken.
    fn hold(&mut self, no: QueueNo, slot: u32, until: Time, held_here: bool) -> Leased {
        let id = self.state.live(slot).id;
        let token = Token(self.next_seq());
        self.emit(Fact::Leased { queue: no, id, until, held_here });
        let live = self.state.live(slot);
        let mut delivery = live.delivery_id(self.state.directory);
        if zoo::bites(Bug::IdChangesOnRetry) {
            delivery.generation.0 += live.attempts() - 1;
        }
        Leased {
            id: delivery,
            token,
            queue: self.state.queue(no).name.clone(),
            key: self.state.key(live),
            due: live.due(),
            lapsed_at: live.story.as_ref().map_or(live.due(), |story| story.lapsed_at),
            attempt: live.attempts(),
            leased_until: until,
            payload: live.home.payload(),
        }
    }

    /// The first that waits.
    fn take_first(&mut self, no: QueueNo) -> Option<u32> {
        let queue = self.state.queue(no);
        let ripe = if self.may_ripen(no) { queue.ripe.first() } else { None };
        let slot = queue.waiting.first().into_iter().chain(ripe).min()?.slot;
        self.take(slot);
        Some(slot)
    }

    /// One that waits is to be handed out: if it is to lapse at handout, it does now.
    fn take(&mut self, slot: u32) {
        if self.state.live(slot).phase == Phase::Pending {
            self.lapse(slot);
        }
    }

    /// The first so many that wait and were due in a range, whose turn is first first.
    pub(crate) fn first_waiting(&self, no: QueueNo, due: &Range<Time>, most: usize) -> Vec<u32> {
        let queue = self.state.queue(no);
        let ripe = if self.may_ripen(no) { most } else { 0 };
        let mut turns = first_due(&queue.waiting, due, most);
        turns.extend(first_due(&queue.ripe, due, ripe));
        turns.sort_unstable();
        turns.iter().take(most).map(|turn| turn.slot).collect()
    }

    /// Is this one among those that wait?
    pub(crate) fn waits(&self, slot: u32) -> bool {
        let live = self.state.live(slot);
        match live.place {
            Place::Waiting => true,
            Place::Ripe => self.may_ripen(live.queue),
            Place::Nowhere | Place::Parked => false,
        }
    }

    /// May what is ripe lapse? Not while lapsing is withheld, nor before a new policy has reached it.
    fn may_ripen(&self, no: QueueNo) -> bool {
        !self.state.is_withheld(no) && !self.work.looks_again(no)
    }

    /// Counts deliveries against a queue's rate.
    fn spend(&mut self, no: QueueNo, deliveries: u64) {
        let now = self.now;
        let queue = self.state.queue_mut(no);
        if let Some(rate) = queue.policy.rate {
            queue.pace.spend(rate, now, deliveries);
            self.state.obey_rate(no, now);
        }
    }

    /// How many deliveries of a pull queue could be leased now.
    pub fn leasable(&self, queue: &QueueName) -> usize {
        let Some(no) = self.state.queue_no(queue) else { return 0 };
        let queue = self.state.queue(no);
        if queue.paused || queue.policy.target != Target::Pull || self.storage >= Storage::Full {
            return 0;
        }
        let ripe = if self.may_ripen(no) { queue.ripe.len() } else { 0 };
        let allowed = queue.allowed(self.now).min(LEASE_DELIVERIES as u64);
        (queue.waiting.len() + ripe).min(usize::try_from(allowed).unwrap_or(usize::MAX))
    }

    /// Is there such a queue, and may workers lease from it?
    pub fn is_pull(&self, queue: &QueueName) -> bool {
        let no = self.state.queue_no(queue);
        no.is_some_and(|no| self.state.queue(no).policy.target == Target::Pull)
    }

    /// A worker waits for something to lease from this queue: somebody acts on what lapses there.
    pub fn worker_waits(&mut self, queue: &QueueName) {
        if let Some(no) = self.state.queue_no(queue) {
            self.state.queue_mut(no).last_leased_at = Some(self.now);
        }
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
        let begun = Ladder { attempts: 0, since: self.now };
        let ladder = live.story.as_ref().and_then(|story| story.ladder).unwrap_or(begun);
        let failed = live.attempts().saturating_sub(ladder.attempts);
        let wait = match after {
            Some(asked) => asked.clamp(RETRY_AFTER.0, RETRY_AFTER.1),
            None => jittered(ladder_wait(&policy.retry, failed), delivery, live.attempts()),
        };
        let next_attempt_at = self.now.plus(wait);
        if next_attempt_at > ladder.since.plus(policy.retry_for) {
            self.die(slot, error, by_verdict);
        } else {
            self.emit(Fact::Retried { queue, id, next_attempt_at, error, by_verdict });
        }
    }

    /// Gives a delivery up.
    pub(crate) fn die(&mut self, slot: u32, error: Arc<str>, by_verdict: bool) {
        let live = self.state.live(slot);
        let (no, id, key) = (live.queue, live.id, self.state.key(live));
        let delivery = live.delivery_id(self.state.directory);
        self.emit(Fact::Died { queue: no, id, error: error.clone(), by_verdict });
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::{DeadlineId, DirectoryId, Generation};

    #[test]
    fn waits_differ_by_a_tenth_at_most_and_are_the_same_every_time() {
        let wait = Span::from_secs(100);
        let (mut shortest, mut longest, mut sum) = (Span::from_hours(1), Span::ZERO, 0);
        for n in 0..10_000_u32 {
            let delivery = DeliveryId {
                directory: DirectoryId(0x5eed),
                deadline: DeadlineId(u64::from(n / 10)),
                generation: Generation(1),
            };
            let jittered = jittered(wait, delivery, n % 10);
            assert_eq!(jittered, super::jittered(wait, delivery, n % 10));
            (shortest, longest) = (shortest.min(jittered), longest.max(jittered));
            sum += jittered.millis();
        }
        assert!(shortest >= Span::from_secs(90) && shortest < Span::from_millis(90_100));
        assert!(longest <= Span::from_secs(110) && longest > Span::from_millis(109_900));
        assert!((99_500..100_500).contains(&(sum / 10_000)), "{} on average", sum / 10_000);
    }

    #[test]
    fn the_shortest_waits_and_none_at_all_have_no_jitter() {
        let delivery = DeliveryId {
            directory: DirectoryId(1),
            deadline: DeadlineId(1),
            generation: Generation(1),
        };
        for millis in 0..10 {
            let wait = Span::from_millis(millis);
            assert_eq!(jittered(wait, delivery, 1), wait);
        }
    }

    #[test]
    fn the_last_step_of_the_ladder_repeats() {
        let ladder = [Span::from_secs(5), Span::from_secs(15), Span::from_mins(1)];
        let waits: Vec<Span> = (1..6).map(|failed| ladder_wait(&ladder, failed)).collect();
        let last = Span::from_mins(1);
        assert_eq!(waits, [Span::from_secs(5), Span::from_secs(15), last, last, last]);
    }
}
