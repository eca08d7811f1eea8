//! A live record, as compact as a hundred million of them must be.
//!
//! What every deadline has stands in [`Live`]; what only some have (a freeze, a delivery, a
//! timeline of more than its beginning) stands in a [`Story`] that is allocated when the first such
//! thing happens.

use std::sync::Arc;

use super::keys::KeyAt;
use super::queue::Turn;
use crate::command::Address;
use crate::deadline::{
    Deadline, Delivery, DeliveryState, Event, Ladder, PayloadAt, PayloadKind, State, Stored, What,
};
use crate::fact::PayloadField;
use crate::id::{DeadlineId, DeliveryId, DirectoryId, Generation, Key, Outcome, QueueNo, Token};
use crate::limits::TIMELINE_EVENTS;
use crate::time::{Span, Time};

/// Where a live record stands: state and delivery state in one word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    /// Not a deadline yet: a settle that came before its schedule; `due` is when it is forgotten.
    Remembered,
    Pending,
    Settled,
    Ready,
    /// In a worker's hands.
    Leased,
    /// In the hands of the server's own deliverer.
    HeldHere,
    Done,
    Superseded,
    Dead,
}

impl Phase {
    pub(crate) const COUNT: usize = 9;

    pub(crate) fn is_final(self) -> bool {
        matches!(self, Phase::Settled | Phase::Done | Phase::Superseded)
    }

    pub(crate) fn is_leased(self) -> bool {
        matches!(self, Phase::Leased | Phase::HeldHere)
    }

    fn of(deadline: &Deadline) -> Phase {
        match (deadline.state, &deadline.delivery) {
            (State::Pending, _) => Phase::Pending,
            (State::Settled, _) => Phase::Settled,
            (State::Lapsed, None) => Phase::Ready,
            (State::Lapsed, Some(delivery)) => match delivery.state {
                DeliveryState::Ready => Phase::Ready,
                DeliveryState::Leased if delivery.held_here => Phase::HeldHere,
                DeliveryState::Leased => Phase::Leased,
                DeliveryState::Done => Phase::Done,
                DeliveryState::Superseded => Phase::Superseded,
                DeliveryState::Dead => Phase::Dead,
            },
        }
    }

    pub(crate) fn delivery_state(self) -> Option<DeliveryState> {
        match self {
            Phase::Remembered | Phase::Pending | Phase::Settled => None,
            Phase::Ready => Some(DeliveryState::Ready),
            Phase::Leased | Phase::HeldHere => Some(DeliveryState::Leased),
            Phase::Done => Some(DeliveryState::Done),
            Phase::Superseded => Some(DeliveryState::Superseded),
            Phase::Dead => Some(DeliveryState::Dead),
        }
    }

    pub(crate) fn state(self) -> State {
        match self {
            Phase::Remembered | Phase::Pending => State::Pending,
            Phase::Settled => State::Settled,
            Phase::Ready
            | Phase::Leased
            | Phase::HeldHere
            | Phase::Done
            | Phase::Superseded
            | Phase::Dead => State::Lapsed,
        }
    }
}

/// Which list of its queue a record stands in; not journalled, rebuilt at the opening.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// In none.
    Nowhere,
    /// Lapsed and waiting to be handed out.
    Waiting,
    /// Over, and to lapse when it is handed out.
    Ripe,
    /// Due, but lapsing is withheld.
    Parked,
}

/// A live record.
#[derive(Debug)]
pub(crate) struct Live {
    pub(crate) id: DeadlineId,
    pub(crate) key: KeyAt,
    pub(crate) due: Moment,
    pub(crate) created_at: Moment,
    /// The time of its earliest entry in the timer index; `NEVER` when it has none.
    pub(crate) armed: Moment,
    pub(crate) queue: QueueNo,
    pub(crate) generation: Generation,
    pub(crate) priority: u32,
    pub(crate) home: Home,
    pub(crate) phase: Phase,
    pub(crate) place: Place,
    pub(crate) story: Option<Box<Story>>,
}

/// Where in the journal the record's latest complete fact lies: its payload, or its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Home {
    pub(crate) segment: u32,
    pub(crate) offset: u32,
    hash: u32,
    /// The payload's length, and what kind it is in the two bits above it.
    kind_and_bytes: u32,
}

/// Bits that a payload's length may take.
const BYTES_BITS: u32 = 30;

/// A time in six bytes; what is later than the year 10,889 is never.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Moment([u16; 3]);

impl From<Time> for Moment {
    fn from(time: Time) -> Moment {
        let millis = time.millis().min((1 << 48) - 1);
        let word = |shift: u32| u16::try_from(millis >> shift & 0xffff).expect("masked to a word");
        Moment([word(0), word(16), word(32)])
    }
}

impl Moment {
    fn time(self) -> Time {
        let [low, middle, high] = self.0.map(u64::from);
        let millis = low | middle << 16 | high << 32;
        if millis == (1 << 48) - 1 { Time::NEVER } else { Time::from_millis(millis) }
    }
}

impl Home {
    /// The home that a fact gives, before its record has been placed.
    pub(crate) fn of(payload: &PayloadField, segment: u32, facts_offset: u32) -> Home {
        match payload {
            PayloadField::At { offset, bytes, kind, hash } => {
                assert!(*bytes < 1 << BYTES_BITS, "a payload is shorter than the largest record");
                let kind = match kind {
                    PayloadKind::Json => 1,
                    PayloadKind::Bytes => 2,
                };
                let kind_and_bytes = kind << BYTES_BITS | bytes;
                Home { segment, offset: facts_offset + offset, hash: *hash, kind_and_bytes }
            }
            PayloadField::None | PayloadField::Bytes { .. } => {
                Home { segment, offset: facts_offset, hash: 0, kind_and_bytes: 0 }
            }
        }
    }

    fn bytes(&self) -> u32 {
        self.kind_and_bytes & ((1 << BYTES_BITS) - 1)
    }

    /// The hash of the payload; 0 if there is none.
    pub(crate) fn hash(&self) -> u32 {
        self.hash
    }

    pub(crate) fn payload(&self) -> PayloadAt {
        let kind = match self.kind_and_bytes >> BYTES_BITS {
            0 => return PayloadAt::None,
            1 => PayloadKind::Json,
            _ => PayloadKind::Bytes,
        };
        let (segment, offset, bytes, hash) = (self.segment, self.offset, self.bytes(), self.hash);
        PayloadAt::Stored(Stored { segment, offset, bytes, kind, hash })
    }
}

/// What happened to a record beyond being scheduled.
#[derive(Debug, Default)]
pub(crate) struct Story {
    pub(crate) frozen_until: Time,
    pub(crate) frozen_for: Span,
    pub(crate) outcome: Option<Outcome>,
    pub(crate) lapsed_at: Time,
    pub(crate) attempts: u32,
    pub(crate) next_attempt_at: Time,
    pub(crate) leased_until: Time,
    pub(crate) token: Option<Token>,
    pub(crate) ladder: Option<Ladder>,
    pub(crate) last_error: Option<Arc<str>>,
    pub(crate) finished_at: Option<Time>,
    pub(crate) timeline: Vec<Event>,
}

impl Live {
    pub(crate) fn due(&self) -> Time {
        self.due.time()
    }

    pub(crate) fn created_at(&self) -> Time {
        self.created_at.time()
    }

    pub(crate) fn armed(&self) -> Time {
        self.armed.time()
    }

    /// The story, begun if need be with the line that says how it was scheduled.
    pub(crate) fn story(&mut self) -> &mut Story {
        let first = Event { at: self.created_at(), what: What::Scheduled { due: self.due() } };
        self.story
            .get_or_insert_with(|| Box::new(Story { timeline: vec![first], ..Story::default() }))
    }

    /// Adds a line to the timeline; the first line and the latest are kept.
    pub(crate) fn tell(&mut self, at: Time, what: What) {
        let timeline = &mut self.story().timeline;
        if timeline.len() == TIMELINE_EVENTS {
            timeline.remove(1);
        }
        timeline.push(Event { at, what });
    }

    /// The later of due and the end of a freeze: when the clock runs out, before grace.
    pub(crate) fn runs_out_at(&self) -> Time {
        self.story.as_ref().map_or(self.due(), |story| self.due().max(story.frozen_until))
    }

    /// What stating it anew would take, about.
    pub(crate) fn stated_bytes(&self) -> u64 {
        const REST: u64 = 128;
        const EVENT: u64 = 16;
        let events = self.story.as_ref().map_or(&[][..], |story| &story.timeline);
        let events = events.iter().map(|event| match &event.what {
            What::Retried { error, .. } | What::Dead { error } => EVENT + error.len() as u64,
            _ => EVENT,
        });
        let said = self.key.bytes() as u64 + u64::from(self.home.bytes());
        REST + said + events.sum::<u64>()
    }

    /// Its turn among those of its queue who wait or are ripe.
    pub(crate) fn turn(&self, slot: u32) -> Turn {
        Turn { priority: self.priority, due: self.due(), id: self.id, slot }
    }

    pub(crate) fn attempts(&self) -> u32 {
        self.story.as_ref().map_or(0, |story| story.attempts)
    }

    pub(crate) fn delivery_id(&self, directory: DirectoryId) -> DeliveryId {
        DeliveryId { directory, deadline: self.id, generation: self.generation }
    }

    /// The whole record, as it is shown to whoever calls it that.
    pub(crate) fn view(&self, at: Address, directory: DirectoryId) -> Deadline {
        let empty = Story::default();
        let story = self.story.as_deref().unwrap_or(&empty);
        let first =
            || vec![Event { at: self.created_at(), what: What::Scheduled { due: self.due() } }];
        let delivery = self.phase.delivery_state().map(|state| Delivery {
            id: self.delivery_id(directory),
            state,
            attempts: story.attempts,
            next_attempt_at: (state == DeliveryState::Ready).then_some(story.next_attempt_at),
            leased_until: (state == DeliveryState::Leased).then_some(story.leased_until),
            token: story.token,
            last_error: story.last_error.clone(),
            finished_at: story.finished_at,
            ladder: story.ladder.unwrap_or(Ladder { attempts: 0, since: story.lapsed_at }),
            held_here: self.phase == Phase::HeldHere,
        });
        let state = self.phase.state();
        Deadline {
            queue_no: self.queue,
            queue: at.queue,
            key: at.key,
            id: self.id,
            generation: self.generation,
            state,
            due: self.due(),
            created_at: self.created_at(),
            priority: self.priority,
            frozen_until: (story.frozen_until > Time::ZERO).then_some(story.frozen_until),
            frozen_for: story.frozen_for,
            outcome: story.outcome.clone(),
            settled_at: (state == State::Settled).then_some(story.finished_at).flatten(),
            lapsed_at: (state == State::Lapsed).then_some(story.lapsed_at),
            delivery,
            payload: self.home.payload(),
            timeline: if story.timeline.is_empty() { first() } else { story.timeline.clone() },
        }
    }

    /// The record that a view was made of: what `Restated` brings back.
    pub(crate) fn of_view(deadline: Deadline, home: Home) -> (Key, Live) {
        let phase = Phase::of(&deadline);
        let mut story = Story {
            frozen_until: deadline.frozen_until.unwrap_or(Time::ZERO),
            frozen_for: deadline.frozen_for,
            outcome: deadline.outcome,
            lapsed_at: deadline.lapsed_at.unwrap_or(Time::ZERO),
            finished_at: deadline.settled_at,
            timeline: deadline.timeline,
            ..Story::default()
        };
        if let Some(delivery) = deadline.delivery {
            story.attempts = delivery.attempts;
            story.next_attempt_at = delivery.next_attempt_at.unwrap_or(Time::ZERO);
            story.leased_until = delivery.leased_until.unwrap_or(Time::ZERO);
            story.token = delivery.token;
            story.ladder = Some(delivery.ladder);
            story.last_error = delivery.last_error;
            story.finished_at = delivery.finished_at;
        }
        let nothing_happened = phase == Phase::Pending && story.timeline.len() == 1;
        let live = Live {
            id: deadline.id,
            key: KeyAt::NOWHERE,
            due: deadline.due.into(),
            created_at: deadline.created_at.into(),
            armed: Time::NEVER.into(),
            queue: deadline.queue_no,
            generation: deadline.generation,
            priority: deadline.priority,
            home,
            phase,
            place: Place::Nowhere,
            story: (!nothing_happened).then(|| Box::new(story)),
        };
        (deadline.key, live)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_moment_is_the_time_it_was_made_of() {
        for millis in [0, 1, 0xffff, 0x1_0000, 1_750_000_000_123, (1 << 48) - 2] {
            let time = Time::from_millis(millis);
            assert_eq!(Moment::from(time).time(), time);
        }
        assert_eq!(Moment::from(Time::NEVER).time(), Time::NEVER);
        assert_eq!(Moment::from(Time::from_millis(1 << 48)).time(), Time::NEVER);
    }

    #[test]
    fn a_record_is_small_and_its_place_in_the_slab_no_larger() {
        assert_eq!(size_of::<Live>(), 72);
        assert_eq!(size_of::<Option<Live>>(), 72);
    }
}
