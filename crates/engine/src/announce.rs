//! What others hear of a fact: whose it is, what happened, and where the deadline stands now.
//!
//! A fact names numbers that only the engine knows. An announcement is the line that the fact leaves
//! in the deadline's timeline, with the names that callers use. It is written when the fact is
//! applied, alike when it is made and when a journal is replayed, so that who listens across a
//! restart hears one story. Facts that are bookkeeping (bases, restatements, clocks, policies,
//! prolonged leases, settles that wait for their schedule) are not announced.
//!
//! Announcements are kept in memory by whoever takes them, as compact bytes of the same process:
//! they are never persisted, so their form may change from one build to the next.

use crate::apply::Written;
use crate::deadline::{DeliveryState, State as Standing, What};
use crate::fact::Fact;
use crate::id::{DeadlineId, Generation, Key, QueueName, QueueNo, Seq};
use crate::record::{Bytes, Input, Undecodable, write_text};
use crate::state::State;
use crate::state::live::Live;
use crate::time::Time;

/// One fact, for those who listen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Announcement {
    /// The fact's sequence: later facts have a larger one.
    pub seq: Seq,
    /// When it was written.
    pub at: Time,
    /// The deadline's queue.
    pub queue: QueueName,
    /// The deadline's number.
    pub id: DeadlineId,
    /// What happened to it; none when it was erased: what is erased is not named again.
    pub told: Option<Told>,
}

/// What happened to a deadline, and where it stands now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Told {
    /// The caller's name for it.
    pub key: Key,
    /// Which life of it.
    pub generation: Generation,
    /// Pending, settled or lapsed.
    pub state: Standing,
    /// How far its delivery is, once it has lapsed.
    pub delivery: Option<DeliveryState>,
    /// When it is due.
    pub due: Time,
    /// Until when its clock stands still, if it was ever frozen.
    pub frozen_until: Option<Time>,
    /// What happened: the line in its timeline.
    pub what: What,
}

/// The announcements in these bytes, in order.
///
/// # Panics
///
/// When they are not what an engine of this build gave out.
pub fn read(bytes: &[u8]) -> impl Iterator<Item = Announcement> {
    let mut input = Input::of(bytes);
    std::iter::from_fn(move || {
        let some = (!input.is_empty()).then(|| Announcement::read(&mut input))?;
        Some(some.expect("announcements never leave the memory of the process that made them"))
    })
}

/// What a fact is to be announced as, asked before it is applied.
#[derive(Clone, Copy)]
pub(crate) enum Heading {
    /// Not at all.
    Silent,
    /// As the line that it leaves in the timeline of its record.
    Line,
    /// As the end of a record.
    Erased(QueueNo, DeadlineId),
}

impl Heading {
    pub(crate) fn of(fact: &Fact) -> Heading {
        match fact {
            Fact::Scheduled { .. }
            | Fact::Settled { .. }
            | Fact::Moved { .. }
            | Fact::Frozen { .. }
            | Fact::Lapsed { .. }
            | Fact::Leased { .. }
            | Fact::Delivered { .. }
            | Fact::Retried { .. }
            | Fact::Died { .. }
            | Fact::Revived { .. } => Heading::Line,
            Fact::Erased { queue, id } => Heading::Erased(*queue, *id),
            Fact::Base(_)
            | Fact::Opened { .. }
            | Fact::Alive
            | Fact::Guard(_)
            | Fact::QueueSet { .. }
            | Fact::QueueDeleted { .. }
            | Fact::QueuePaused { .. }
            | Fact::Remembered { .. }
            | Fact::Touched { .. }
            | Fact::Restated { .. }
            | Fact::ShiftBegun { .. }
            | Fact::ShiftAdvanced { .. }
            | Fact::ShiftEnded { .. } => Heading::Silent,
        }
    }

    /// Appends the announcement of a fact that has just been applied to the record in `slot`. False
    /// if it cannot be told, because its record went with a segment that has been cleaned away.
    pub(crate) fn announce(
        self,
        out: &mut Vec<u8>,
        state: &State,
        written: Written,
        slot: Option<u32>,
    ) -> bool {
        let Written { seq, at, .. } = written;
        match (self, slot) {
            (Heading::Silent, _) => {}
            (Heading::Line, None) => return false,
            (Heading::Line, Some(slot)) => {
                let live = state.live(slot);
                head(out, seq, at, &state.queue(live.queue).name, live.id);
                true.write(out);
                line(out, live, state.key_text(live));
            }
            (Heading::Erased(queue, id), _) => {
                head(out, seq, at, &state.queue(queue).name, id);
                false.write(out);
            }
        }
        true
    }
}

// Written field by field and not through an `Announcement`: every fact comes this way, and this
// needs no copy of a key.

fn head(out: &mut Vec<u8>, seq: Seq, at: Time, queue: &QueueName, id: DeadlineId) {
    seq.write(out);
    at.write(out);
    queue.write(out);
    id.write(out);
}

fn line(out: &mut Vec<u8>, live: &Live, key: &str) {
    let story = live.story.as_deref();
    write_text(key, out);
    live.generation.write(out);
    live.phase.state().write(out);
    live.phase.delivery_state().write(out);
    live.due().write(out);
    story.map(|story| story.frozen_until).filter(|until| *until > Time::ZERO).write(out);
    match story.and_then(|story| story.timeline.last()) {
        Some(last) => last.what.write(out),
        // Only what has happened to a record since it was scheduled makes a story.
        None => What::Scheduled { due: live.due() }.write(out),
    }
}

impl Announcement {
    fn read(input: &mut Input<'_>) -> Result<Announcement, Undecodable> {
        Ok(Announcement {
            seq: Bytes::read(input)?,
            at: Bytes::read(input)?,
            queue: Bytes::read(input)?,
            id: Bytes::read(input)?,
            told: if bool::read(input)? { Some(Told::read(input)?) } else { None },
        })
    }
}

impl Told {
    fn read(input: &mut Input<'_>) -> Result<Told, Undecodable> {
        Ok(Told {
            key: Bytes::read(input)?,
            generation: Bytes::read(input)?,
            state: Bytes::read(input)?,
            delivery: Bytes::read(input)?,
            due: Bytes::read(input)?,
            frozen_until: Bytes::read(input)?,
            what: Bytes::read(input)?,
        })
    }
}
