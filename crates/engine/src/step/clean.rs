//! What keeps the journal and the memory short.
//!
//! Final records leave memory when the archive holds them. A segment that is to go has its live
//! records restated, and every segment opens with a base, so that replay may begin with any of them.

use super::{Engine, Replayed, Step};
use crate::apply::ReplayFault;
use crate::command::Address;
use crate::deadline::Payload;
use crate::fact::{Fact, PayloadField};
use crate::id::{DeadlineId, Seq};
use crate::record;
use crate::state::live::{Home, Phase};
use crate::zoo::{self, Bug};

/// A deadline of which records have left memory, to the archive or for good: what somebody is just
/// looking up of it there may be stale.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Gone {
    /// Its number.
    pub id: DeadlineId,
    /// What it is called, unless a later generation of it is in memory under that name.
    pub at: Option<Address>,
    /// It was erased, and its name went with an earlier process: it may be under any key.
    pub is_nameless: bool,
}

impl Engine {
    /// Bytes that the live records would take if each were stated anew: what cleaning must copy.
    pub fn live_bytes(&self) -> u64 {
        self.state.live_bytes
    }

    /// Do the queues there are fit into a base, as the limits have it?
    pub fn has_room_for_queues(&self) -> bool {
        self.state.queues_bytes <= self.limits.queues_bytes
    }

    /// Final records held until the archive has them.
    pub fn unarchived(&self) -> usize {
        self.state.finals.len()
    }

    /// Forgets final records that the archive holds durably up to this fact, about `max` of them.
    /// Says which deadlines they were of, and whether there are more.
    pub fn evict(&mut self, archived: Seq, max: usize) -> (Vec<Gone>, bool) {
        let mut gone = Vec::new();
        while gone.len() < max
            && let Some((_, slot, id, generation)) = self.state.finals.pop_front_if(|(seq, ..)| {
                *seq <= archived || zoo::bites(Bug::EvictedBeforeArchived)
            })
        {
            self.state.outlived.remove(&(id, generation));
            let still_there = self.state.records.get(slot).is_some_and(|live| {
                live.id == id && live.generation == generation && live.phase.is_final()
            });
            let at = still_there.then(|| self.state.address(slot));
            if still_there {
                self.state.remove(slot);
            }
            gone.push(Gone { id, at, is_nameless: false });
        }
        while gone.len() < max
            && let Some(erasure) =
                self.state.erasures.pop_front_if(|erasure| erasure.seq <= archived)
        {
            self.state.erased.remove(&erasure.id);
            let is_nameless = erasure.at.is_none();
            gone.push(Gone { id: erasure.id, at: erasure.at, is_nameless });
        }
        let more = self.first_unarchived().is_some_and(|seq| seq <= archived);
        (gone, more)
    }

    /// The first fact that the archive has to take before its segment may go; nothing that is final
    /// or erased by an earlier one is held any more.
    pub fn first_unarchived(&self) -> Option<Seq> {
        let finals = self.state.finals.front().map(|(seq, ..)| *seq);
        let erasures = self.state.erasures.front().map(|erasure| erasure.seq);
        [finals, erasures].into_iter().flatten().min()
    }

    /// Restates what is still live of a record of the oldest segment, until the facts of the step
    /// take `most` bytes. True when all of it is restated; otherwise the record is to be given again
    /// in a later step. Final records are not restated: the segment may go when they are evicted
    /// and this step is durable.
    pub fn restate(&mut self, replayed: Replayed<'_>, most: usize) -> Result<bool, ReplayFault> {
        for fact in record::read(replayed.facts) {
            let fact = fact.map_err(ReplayFault::Undecodable)?;
            let (id, payload) = match &fact {
                Fact::Scheduled { id, payload, .. } => (*id, payload),
                Fact::Restated { deadline, payload } => (deadline.id, payload),
                Fact::Remembered { id, .. } => (*id, &PayloadField::None),
                _ => continue,
            };
            let Some(slot) = self.state.slot_of_id(id) else { continue };
            let live = self.state.live(slot);
            let home = Home::of(payload, replayed.segment, replayed.facts_offset);
            let is_here = live.home == home || zoo::bites(Bug::CleaningMixesUp);
            let is_forgotten = zoo::bites(Bug::CleaningForgets) && id.0.is_multiple_of(5);
            if !is_here || live.phase.is_final() || is_forgotten {
                continue;
            }
            if self.facts.len() >= most {
                return Ok(false);
            }
            let payload = bytes_of(payload, replayed.facts);
            let again = self.restated(slot, payload);
            self.emit(again);
        }
        Ok(true)
    }

    fn restated(&self, slot: u32, payload: PayloadField) -> Fact {
        let live = self.state.live(slot);
        match (live.phase, live.story.as_ref().and_then(|story| story.outcome.clone())) {
            (Phase::Remembered, Some(outcome)) => Fact::Remembered {
                queue: live.queue,
                id: live.id,
                key: self.state.key(live),
                outcome,
                until: live.due(),
            },
            _ => Fact::Restated { deadline: Box::new(self.state.view(slot)), payload },
        }
    }

    /// The facts of the record that opens a segment. Between steps only.
    pub fn base(&mut self) -> Step {
        assert!(self.facts.is_empty(), "a base is written between steps");
        let base = self.state.base(self.journalled_guard);
        record::write(&mut self.facts, Fact::Base(Box::new(base)));
        self.next_seq += 1;
        self.finish()
    }
}

/// The payload that a fact read from a segment carries, to be written again.
fn bytes_of(payload: &PayloadField, facts: &[u8]) -> PayloadField {
    match payload {
        PayloadField::At { offset, bytes, kind, hash } => {
            let begin = *offset as usize;
            let bytes = facts[begin..begin + *bytes as usize].into();
            PayloadField::Bytes { payload: Payload { kind: *kind, bytes }, hash: *hash }
        }
        other => other.clone(),
    }
}
