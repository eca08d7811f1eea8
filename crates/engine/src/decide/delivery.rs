//! Lease, verdict and touch: the hands through which a lapse goes.
//!
//! A verdict counts under the lease it was made under and under no other. Repeating the verdict
//! that was taken answers the same, so a worker that did not hear the answer may ask again.

use std::ops::Range;
use std::sync::Arc;

use super::{Met, No};
use crate::answer::{Answer, Known, Refusal};
use crate::command::Verdict;
use crate::deadline::{Deadline, DeliveryState};
use crate::fact::Fact;
use crate::id::{DeliveryId, Key, QueueName, QueueNo, Token};
use crate::limits::{ERROR_BYTES, LEASE, LEASE_DELIVERIES};
use crate::queue::Target;
use crate::step::{Engine, Storage};
use crate::time::{Span, Time};
use crate::zoo::{self, Bug};

impl Engine {
    pub(super) fn lease_to_worker(
        &mut self,
        queue: &QueueName,
        key: Option<&Key>,
        max: usize,
        span: Span,
    ) -> Result<Answer, No> {
        let no = self.pull_queue(queue)?;
        if self.storage >= Storage::Full {
            return Err(Refusal::StorageFull.into());
        }
        let now = self.now;
        self.state.queue_mut(no).last_leased_at = Some(now);
        let span = span.clamp(LEASE.0, LEASE.1);
        let Some(key) = key else {
            let wanted = self.leasable(queue).min(max.min(LEASE_DELIVERIES));
            return Ok(Answer::Leased(self.lease(no, wanted as u64, span, false)));
        };
        let ready = self.ready(no, key).filter(|_| max > 0 && self.leasable(queue) > 0);
        let leased = ready.map(|slot| self.lease_this(no, slot, span));
        Ok(Answer::Leased(leased.into_iter().collect()))
    }

    pub(super) fn waiting(
        &mut self,
        queue: &QueueName,
        due: &Range<Time>,
        limit: usize,
    ) -> Result<Answer, No> {
        let no = self.pull_queue(queue)?;
        // Whoever looks for work is there to do it.
        self.worker_waits(queue);
        let shown = self.first_waiting(no, due, self.leasable(queue).min(limit));
        Ok(Answer::Waiting(shown.into_iter().map(|slot| self.state.view(slot)).collect()))
    }

    /// The queue of that name, if workers lease from it.
    fn pull_queue(&self, queue: &QueueName) -> Result<QueueNo, Refusal> {
        let no = self.known_queue(queue)?;
        let is_pull = self.state.queue(no).policy.target == Target::Pull;
        if is_pull { Ok(no) } else { Err(Refusal::NotPull) }
    }

    /// The record of a key, if it waits to be handed out. If anything is overdue with it that nobody
    /// has noticed yet, it is noticed now.
    fn ready(&mut self, no: QueueNo, key: &Key) -> Option<u32> {
        let slot = self.state.slot_of_key(no, key)?;
        let Met::Live(slot) = self.not_over(slot) else { return None };
        self.look(slot);
        self.waits(slot).then_some(slot)
    }

    pub(super) fn verdict(
        &mut self,
        delivery: DeliveryId,
        token: Token,
        verdict: Verdict,
        known: Known,
    ) -> Result<Answer, No> {
        let slot = match self.delivery(delivery, known)? {
            Held::Live(slot) => slot,
            Held::Archived(deadline) => {
                return if repeats(&deadline, token, &verdict) {
                    Ok(Answer::VerdictTaken(deadline))
                } else {
                    Err(Refusal::LeaseLost.into())
                };
            }
        };
        let live = self.state.live(slot);
        let (queue, id) = (live.queue, live.id);
        let holds = live.story.as_ref().is_some_and(|story| story.token == Some(token));
        let holds = holds || zoo::bites(Bug::AnyTokenWillDo);
        if !holds || !live.phase.is_leased() {
            let deadline = self.view(slot);
            return if repeats(&deadline, token, &verdict) {
                Ok(Answer::VerdictTaken(deadline))
            } else {
                Err(Refusal::LeaseLost.into())
            };
        }
        if live.story.as_ref().is_some_and(|story| story.leased_until <= self.now) {
            // It has run out, though nobody has noticed yet.
            self.retry_or_die(slot, "the lease ran out".into(), None, false);
            return Err(Refusal::LeaseLost.into());
        }
        match verdict {
            Verdict::Done => {
                self.emit(Fact::Delivered { queue, id, superseded: false });
            }
            Verdict::Superseded => {
                self.emit(Fact::Delivered { queue, id, superseded: true });
            }
            Verdict::Retry { error, after } => {
                self.retry_or_die(slot, shortened(error), after, true);
            }
            Verdict::Dead { error } => self.die(slot, shortened(error), true),
        }
        Ok(Answer::VerdictTaken(self.view(slot)))
    }

    pub(super) fn touch(
        &mut self,
        delivery: DeliveryId,
        token: Token,
        span: Span,
        known: Known,
    ) -> Result<Answer, No> {
        let Held::Live(slot) = self.delivery(delivery, known)? else {
            return Err(Refusal::LeaseLost.into());
        };
        let live = self.state.live(slot);
        let (queue, id) = (live.queue, live.id);
        let holds = live.phase.is_leased()
            && live
                .story
                .as_ref()
                .is_some_and(|story| story.token == Some(token) && story.leased_until > self.now);
        if !holds {
            return Err(Refusal::LeaseLost.into());
        }
        let leased_until = self.now.plus(span.clamp(LEASE.0, LEASE.1));
        self.emit(Fact::Touched { queue, id, until: leased_until });
        Ok(Answer::Touched { leased_until })
    }

    /// The lapsed deadline that a delivery id names.
    fn delivery(&mut self, delivery: DeliveryId, known: Known) -> Result<Held, No> {
        if delivery.directory != self.state.directory {
            return Err(Refusal::UnknownDelivery.into());
        }
        match self.meet_id(delivery.deadline, delivery.generation, known)? {
            Met::Live(slot) if self.state.live(slot).phase.delivery_state().is_some() => {
                Ok(Held::Live(slot))
            }
            Met::Archived(deadline) if deadline.delivery.is_some() => Ok(Held::Archived(deadline)),
            Met::Live(_) | Met::Archived(_) | Met::Nothing => Err(Refusal::UnknownDelivery.into()),
        }
    }
}

enum Held {
    Live(u32),
    Archived(Box<Deadline>),
}

/// The beginning of an error text, as much of it as is kept.
fn shortened(error: Arc<str>) -> Arc<str> {
    if error.len() <= ERROR_BYTES {
        error
    } else {
        error[..error.floor_char_boundary(ERROR_BYTES)].into()
    }
}

/// Is this the verdict that was taken under this lease?
fn repeats(deadline: &Deadline, token: Token, verdict: &Verdict) -> bool {
    let Some(delivery) = &deadline.delivery else { return false };
    let same = matches!(
        (delivery.state, verdict),
        (DeliveryState::Done, Verdict::Done)
            | (DeliveryState::Superseded, Verdict::Superseded)
            | (DeliveryState::Dead, Verdict::Dead { .. })
            | (DeliveryState::Ready | DeliveryState::Dead, Verdict::Retry { .. })
    );
    same && delivery.token == Some(token)
}
