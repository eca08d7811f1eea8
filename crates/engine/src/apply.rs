//! What each fact does to the state: the same when it is made and when it is replayed.
//!
//! Nothing here decides, asks the time, or looks at a policy to find out what should have happened:
//! the fact says what did. A fact about a deadline that is not known is skipped when its number is
//! older than the oldest base (its record was in a segment that has been cleaned away); counters
//! count it all the same, because it names its queue.

use std::fmt;

use crate::deadline::{Final, Ladder, What};
use crate::effect::Effect;
use crate::fact::{Fact, PayloadField};
use crate::id::{DeadlineId, Generation, QueueNo, Seq, Token};
use crate::record::Undecodable;
use crate::state::State;
use crate::state::live::{Home, Live, Phase, Place, Story};
use crate::state::queue::Queue;
use crate::time::{Span, Time};

/// Where and when a fact was written.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Written {
    pub(crate) seq: Seq,
    pub(crate) at: Time,
    /// The segment, or [`Stored::THIS_STEP`].
    pub(crate) segment: u32,
    /// Where the facts of its record begin there.
    pub(crate) facts_offset: u32,
}

/// A journal that does not make sense.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ReplayFault {
    /// Bytes that are no fact.
    Undecodable(Undecodable),
    /// A fact about a deadline that nobody scheduled.
    UnknownDeadline(DeadlineId),
    /// A fact about a queue that nobody created.
    UnknownQueue(QueueNo),
}

impl fmt::Display for ReplayFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ReplayFault::Undecodable(place) => write!(f, "{place}"),
            ReplayFault::UnknownDeadline(id) => write!(f, "a fact about unknown deadline {}", id.0),
            ReplayFault::UnknownQueue(queue) => write!(f, "a fact about unknown queue {}", queue.0),
        }
    }
}

impl std::error::Error for ReplayFault {}

/// Applies one fact; returns the slot it changed, if it changed one. The guard is the clock's.
pub(crate) fn apply(
    state: &mut State,
    effects: &mut Vec<Effect>,
    written: Written,
    fact: Fact,
) -> Option<u32> {
    count(state, &fact);
    let at = written.at;
    match fact {
        Fact::Scheduled { queue, id, generation, key, due, priority, payload, .. } => {
            let home = Home::of(&payload, written.segment, written.facts_offset);
            let live = Live {
                id,
                key,
                due,
                created_at: at,
                armed: Time::NEVER,
                queue,
                generation,
                priority,
                home,
                phase: Phase::Pending,
                place: Place::Nowhere,
                story: None,
            };
            Some(put(state, live))
        }
        Fact::Remembered { queue, id, key, outcome, until } => {
            let live = Live {
                id,
                key,
                due: until,
                created_at: at,
                armed: Time::NEVER,
                queue,
                generation: Generation::FIRST,
                priority: 0,
                home: Home::of(&PayloadField::None, written.segment, written.facts_offset),
                phase: Phase::Remembered,
                place: Place::Nowhere,
                story: Some(Box::new(Story { outcome: Some(outcome), ..Story::default() })),
            };
            Some(put(state, live))
        }
        Fact::Restated { deadline, payload } => {
            let home = Home::of(&payload, written.segment, written.facts_offset);
            Some(put(state, Live::of_view(*deadline, home)))
        }
        Fact::Erased { id, .. } => {
            if let Some(slot) = state.slot_of_id(id) {
                state.remove(slot);
            }
            state.erased.insert(id, written.seq);
            effects.push(Effect::Erase { seq: written.seq, id });
            None
        }
        Fact::Base(base) => {
            state.restore(*base);
            None
        }
        Fact::Opened { recovery_until } => {
            state.opened_at = at;
            state.recovery_until = recovery_until;
            None
        }
        Fact::QueueSet { queue, name, policy, declared } => {
            match state.queues.get_mut(&queue) {
                Some(known) => (known.policy, known.declared) = (*policy, declared),
                None => state.insert_queue(Queue::new(queue, name, *policy, declared)),
            }
            None
        }
        Fact::QueueDeleted { queue } => {
            state.remove_queue(queue);
            None
        }
        Fact::QueuePaused { queue, deliveries, lapses } => {
            let queue = state.queue_mut(queue);
            (queue.paused, queue.lapse_paused) = (deliveries, lapses);
            None
        }
        Fact::ShiftBegun { queue, shift } => {
            state.queue_mut(queue).shift = Some(shift);
            None
        }
        Fact::ShiftAdvanced { queue, cursor, moved } => {
            if let Some(shift) = &mut state.queue_mut(queue).shift {
                (shift.cursor, shift.moved) = (cursor, moved);
            }
            None
        }
        Fact::ShiftEnded { queue } => {
            state.queue_mut(queue).shift = None;
            None
        }
        // The guard is kept by the journal clock; being alive is in the record's time.
        Fact::Guard(_) | Fact::Alive => None,
        about_one => {
            let slot = about_one.about().and_then(|id| state.slot_of_id(id))?;
            state.leave(slot);
            let held_before = held_here(state, slot);
            happen(state, slot, written, about_one);
            let held_after = held_here(state, slot);
            let queue = state.live(slot).queue;
            let held = &mut state.queue_mut(queue).held_here;
            *held = *held + u64::from(held_after) - u64::from(held_before);
            state.held_here = state.held_here + u64::from(held_after) - u64::from(held_before);
            archive_if_final(state, effects, slot, written.seq);
            Some(slot)
        }
    }
}

/// Puts a record in the place of the one with its number, if there is one.
fn put(state: &mut State, live: Live) -> u32 {
    let Some(slot) = state.slot_of_id(live.id) else {
        return state.insert(live);
    };
    state.leave(slot);
    state.set_phase(slot, live.phase);
    let before = state.live_mut(slot);
    // Its timer entry is a hint about the slot and stays good.
    let armed = before.armed;
    let (bytes_before, bytes) = (before.stated_bytes(), live.stated_bytes());
    *before = Live { armed, ..live };
    state.live_bytes = state.live_bytes + bytes - bytes_before;
    slot
}

/// What happens to one record.
fn happen(state: &mut State, slot: u32, written: Written, fact: Fact) {
    let at = written.at;
    match fact {
        Fact::Settled { outcome, .. } => {
            let live = state.live_mut(slot);
            live.tell(at, What::Settled { outcome: outcome.clone() });
            let story = live.story();
            story.outcome = Some(outcome);
            story.finished_at = Some(at);
            state.set_phase(slot, Phase::Settled);
        }
        Fact::Moved { due, shifted, .. } => {
            let live = state.live_mut(slot);
            live.tell(at, if shifted { What::Shifted { due } } else { What::Extended { due } });
            live.due = due;
        }
        Fact::Frozen { until, total_ms, .. } => {
            let live = state.live_mut(slot);
            live.tell(at, What::Frozen { until });
            let story = live.story();
            story.frozen_until = until;
            story.frozen_for = Span::from_millis(total_ms);
        }
        Fact::Lapsed { .. } => {
            let live = state.live_mut(slot);
            live.tell(at, What::Lapsed);
            let story = live.story();
            story.lapsed_at = at;
            story.next_attempt_at = at;
            story.ladder = Some(Ladder { attempts: 0, since: at });
            state.set_phase(slot, Phase::Ready);
        }
        Fact::Leased { until, held_here, .. } => {
            let live = state.live_mut(slot);
            let attempt = live.attempts() + 1;
            live.tell(at, What::Leased { attempt });
            let story = live.story();
            story.attempts = attempt;
            story.leased_until = until;
            story.token = Some(Token(written.seq));
            story.held_here = held_here;
            state.set_phase(slot, Phase::Leased);
        }
        Fact::Touched { until, .. } => state.live_mut(slot).story().leased_until = until,
        Fact::Delivered { superseded, .. } => {
            let (what, phase) = if superseded {
                (What::Superseded, Phase::Superseded)
            } else {
                (What::Done, Phase::Done)
            };
            let live = state.live_mut(slot);
            live.tell(at, what);
            live.story().finished_at = Some(at);
            state.set_phase(slot, phase);
        }
        Fact::Retried { next_attempt_at, error, by_verdict, .. } => {
            let live = state.live_mut(slot);
            live.tell(at, What::Retried { error: error.clone(), next_attempt_at });
            let story = live.story();
            story.next_attempt_at = next_attempt_at;
            story.last_error = Some(error);
            if !by_verdict {
                story.token = None;
            }
            state.set_phase(slot, Phase::Ready);
        }
        Fact::Died { error, .. } => {
            let live = state.live_mut(slot);
            live.tell(at, What::Dead { error: error.clone() });
            let story = live.story();
            story.last_error = Some(error);
            story.finished_at = Some(at);
            state.set_phase(slot, Phase::Dead);
        }
        Fact::Revived { .. } => {
            let live = state.live_mut(slot);
            live.tell(at, What::Revived);
            let attempts = live.attempts();
            let story = live.story();
            story.ladder = Some(Ladder { attempts, since: at });
            story.next_attempt_at = at;
            story.token = None;
            story.finished_at = None;
            state.set_phase(slot, Phase::Ready);
        }
        other => unreachable!("{other:?} is not about one record"),
    }
}

/// Is the record in the hands of the server's own deliverer?
fn held_here(state: &State, slot: u32) -> bool {
    let live = state.live(slot);
    live.phase == Phase::Leased && live.story.as_ref().is_some_and(|story| story.held_here)
}

fn archive_if_final(state: &mut State, effects: &mut Vec<Effect>, slot: u32, seq: Seq) {
    let live = state.live(slot);
    if live.phase.is_final() {
        let entry = (seq, slot, live.id, live.generation);
        state.finals.push_back(entry);
        let deadline = state.view(slot);
        effects.push(Effect::Archive(Box::new(Final { seq, deadline })));
    }
}

/// Counts a fact in its queue, whether or not its record is known.
fn count(state: &mut State, fact: &Fact) {
    let Some(queue) = fact.queue().and_then(|queue| state.queues.get_mut(&queue)) else { return };
    let totals = &mut queue.totals;
    match fact {
        Fact::Scheduled { replaces, .. } => {
            totals.scheduled += 1;
            totals.replaced += u64::from(*replaces);
        }
        Fact::Settled { outcome, .. } => queue.count_settled(outcome),
        Fact::Lapsed { .. } => totals.lapsed += 1,
        Fact::Leased { .. } => totals.attempts += 1,
        Fact::Delivered { superseded: false, .. } => totals.done += 1,
        Fact::Delivered { superseded: true, .. } => totals.superseded += 1,
        Fact::Retried { .. } => totals.retried += 1,
        Fact::Died { .. } => totals.died += 1,
        Fact::Revived { .. } => totals.revived += 1,
        _ => {}
    }
}
