//! What each fact does to the state: the same when it is made and when it is replayed.
//!
//! Nothing here decides, asks the time, or looks at a policy to find out what should have happened:
//! the fact says what did. What a fact about one record does is three small tables: the phase it
//! leads to, the line it leaves in the timeline, the fields it sets. A fact about a deadline that is
//! not known is skipped when its number is older than the oldest base (its record was in a segment
//! that has been cleaned away); counters count it all the same, because it names its queue.

use std::fmt;

use crate::deadline::{Final, Ladder, What};
use crate::effect::Effect;
use crate::fact::{Fact, PayloadField};
use crate::id::{DeadlineId, Generation, Key, QueueNo, Seq, Token};
use crate::record::Undecodable;
use crate::state::State;
use crate::state::keys::KeyAt;
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
    if let Some(id) = fact.about() {
        let slot = state.slot_of_id(id)?;
        state.leave(slot);
        if let Some(phase) = leads_to(&fact) {
            state.set_phase(slot, phase);
        }
        state.change(slot, |live| happen(live, written, fact));
        archive_if_final(state, effects, slot, written.seq);
        return Some(slot);
    }
    match fact {
        Fact::Scheduled { .. } | Fact::Remembered { .. } | Fact::Restated { .. } => {
            let (key, live) = born(fact, written);
            return Some(state.put(&key, live));
        }
        Fact::Erased { id, .. } => {
            state.erase(id, written.seq);
            effects.push(Effect::Erase { seq: written.seq, id });
        }
        Fact::Base(base) => state.restore(*base),
        Fact::Opened { recovery_until } => {
            state.opened_at = written.at;
            state.recovery_until = recovery_until;
        }
        // The guard is kept by the journal clock; being alive is in the record's time.
        Fact::Guard(_) | Fact::Alive => {}
        about_a_queue => arrange(state, about_a_queue),
    }
    None
}

/// The record that a fact brings into being, or states anew.
fn born(fact: Fact, written: Written) -> (Key, Live) {
    let no_payload = PayloadField::None;
    let home = |payload| Home::of(payload, written.segment, written.facts_offset);
    let begun = |queue, id, due: Time| Live {
        id,
        key: KeyAt::NOWHERE,
        due: due.into(),
        created_at: written.at.into(),
        armed: Time::NEVER.into(),
        queue,
        generation: Generation::FIRST,
        priority: 0,
        home: home(&no_payload),
        phase: Phase::Pending,
        place: Place::Nowhere,
        story: None,
    };
    match fact {
        Fact::Scheduled { queue, id, generation, key, due, priority, payload, .. } => {
            let home = home(&payload);
            (key, Live { generation, priority, home, ..begun(queue, id, due) })
        }
        Fact::Remembered { queue, id, key, outcome, until } => {
            let story = Box::new(Story { outcome: Some(outcome), ..Story::default() });
            let phase = Phase::Remembered;
            (key, Live { phase, story: Some(story), ..begun(queue, id, until) })
        }
        Fact::Restated { deadline, payload } => Live::of_view(*deadline, home(&payload)),
        other => unreachable!("{other:?} begins no record"),
    }
}

/// What happens to a queue.
fn arrange(state: &mut State, fact: Fact) {
    match fact {
        Fact::QueueSet { queue, name, policy, declared } => {
            if state.queues.contains_key(&queue) {
                state.rewrite_queue(queue, |known| {
                    (known.policy, known.declared) = (*policy, declared);
                });
            } else {
                state.insert_queue(Queue::new(queue, name, *policy, declared));
            }
            state.stir(queue);
        }
        Fact::QueueDeleted { queue } => state.remove_queue(queue),
        Fact::QueuePaused { queue, deliveries, lapses } => {
            let paused = state.queue_mut(queue);
            (paused.paused, paused.lapse_paused) = (deliveries, lapses);
            state.stir(queue);
        }
        Fact::ShiftBegun { queue, shift } => state.queue_mut(queue).shift = Some(shift),
        Fact::ShiftAdvanced { queue, cursor, moved } => {
            if let Some(shift) = &mut state.queue_mut(queue).shift {
                (shift.cursor, shift.moved) = (cursor, moved);
            }
        }
        Fact::ShiftEnded { queue } => state.queue_mut(queue).shift = None,
        other => unreachable!("{other:?} is not about a queue"),
    }
}

/// The phase that a fact about one record leads to; none if it stays where it is.
fn leads_to(fact: &Fact) -> Option<Phase> {
    match fact {
        Fact::Settled { .. } => Some(Phase::Settled),
        Fact::Lapsed { .. } | Fact::Retried { .. } | Fact::Revived { .. } => Some(Phase::Ready),
        Fact::Leased { held_here: true, .. } => Some(Phase::HeldHere),
        Fact::Leased { held_here: false, .. } => Some(Phase::Leased),
        Fact::Delivered { superseded: true, .. } => Some(Phase::Superseded),
        Fact::Delivered { superseded: false, .. } => Some(Phase::Done),
        Fact::Died { .. } => Some(Phase::Dead),
        _ => None,
    }
}

/// The line that a fact about one record leaves in its timeline.
fn told(fact: &Fact, attempts: u32) -> Option<What> {
    Some(match fact {
        Fact::Settled { outcome, .. } => What::Settled { outcome: outcome.clone() },
        Fact::Moved { due, shifted: true, .. } => What::Shifted { due: *due },
        Fact::Moved { due, shifted: false, .. } => What::Extended { due: *due },
        Fact::Frozen { until, .. } => What::Frozen { until: *until },
        Fact::Lapsed { .. } => What::Lapsed,
        Fact::Leased { .. } => What::Leased { attempt: attempts.saturating_add(1) },
        Fact::Delivered { superseded: true, .. } => What::Superseded,
        Fact::Delivered { superseded: false, .. } => What::Done,
        Fact::Retried { error, next_attempt_at, .. } => {
            What::Retried { error: error.clone(), next_attempt_at: *next_attempt_at }
        }
        Fact::Died { error, .. } => What::Dead { error: error.clone() },
        Fact::Revived { .. } => What::Revived,
        _ => return None,
    })
}

/// The fields that a fact sets in the record it is about.
fn happen(live: &mut Live, written: Written, fact: Fact) {
    let at = written.at;
    if let Some(what) = told(&fact, live.attempts()) {
        live.tell(at, what);
    }
    if let Fact::Moved { due, .. } = fact {
        live.due = due.into();
        return;
    }
    let story = live.story();
    match fact {
        Fact::Settled { outcome, .. } => {
            story.outcome = Some(outcome);
            story.finished_at = Some(at);
        }
        Fact::Frozen { until, total_ms, .. } => {
            story.frozen_until = until;
            story.frozen_for = Span::from_millis(total_ms);
        }
        Fact::Lapsed { .. } => {
            story.lapsed_at = at;
            story.next_attempt_at = at;
            story.ladder = Some(Ladder { attempts: 0, since: at });
        }
        Fact::Leased { until, .. } => {
            story.attempts = story.attempts.saturating_add(1);
            story.leased_until = until;
            story.token = Some(Token(written.seq));
        }
        Fact::Touched { until, .. } => story.leased_until = until,
        Fact::Delivered { .. } => story.finished_at = Some(at),
        Fact::Retried { next_attempt_at, error, by_verdict, .. } => {
            story.next_attempt_at = next_attempt_at;
            story.last_error = Some(error);
            story.token = story.token.filter(|_| by_verdict);
        }
        Fact::Died { error, by_verdict, .. } => {
            story.last_error = Some(error);
            story.finished_at = Some(at);
            story.token = story.token.filter(|_| by_verdict);
        }
        Fact::Revived { .. } => {
            story.ladder = Some(Ladder { attempts: story.attempts, since: at });
            story.next_attempt_at = at;
            story.token = None;
            story.finished_at = None;
        }
        other => unreachable!("{other:?} is not about one record"),
    }
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
    let Some(no) = fact.queue().filter(|no| state.queues.contains_key(no)) else { return };
    if let Fact::Settled { outcome, .. } = fact {
        state.count_settled(no, outcome);
        return;
    }
    let totals = &mut state.queue_mut(no).totals;
    match fact {
        Fact::Scheduled { replaces, .. } => {
            totals.scheduled += 1;
            totals.replaced += u64::from(*replaces);
        }
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
