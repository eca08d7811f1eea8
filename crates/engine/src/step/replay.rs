//! From a journal to an engine that serves.
//!
//! Replay applies the facts of every record, in order, by the code that applied them when they were
//! made; it decides nothing and arms no timer. Opening is the first step: it says how long nobody
//! could settle, lets go what this process cannot be holding, and looks at every record once.

use super::Engine;
use crate::announce::Heading;
use crate::apply::{ReplayFault, Written, apply};
use crate::clock::Reading;
use crate::effect::{Effect, Notice};
use crate::fact::Fact;
use crate::id::Seq;
use crate::record;
use crate::state::live::Phase;
use crate::state::near::TOGETHER;
use crate::time::{Span, Time};
use crate::zoo::{self, Bug};

/// A journal record to be replayed.
#[derive(Clone, Copy, Debug)]
pub struct Replayed<'a> {
    /// The segment it lies in.
    pub segment: u32,
    /// Where its facts begin there.
    pub facts_offset: u32,
    /// The sequence of its first fact.
    pub first_seq: Seq,
    /// Journal time.
    pub at: Time,
    /// Its facts.
    pub facts: &'a [u8],
}

impl Engine {
    /// Applies a record of the journal; the records come in order, from the oldest there is.
    pub fn replay(&mut self, replayed: Replayed<'_>) -> Result<(), ReplayFault> {
        self.next_seq = replayed.first_seq;
        let mut facts = record::read(replayed.facts);
        let mut together = Vec::with_capacity(TOGETHER);
        loop {
            together.extend(facts.by_ref().take(TOGETHER));
            if together.is_empty() {
                break;
            }
            self.state.bring_facts_near(together.iter().flatten());
            for fact in together.drain(..) {
                self.repeat(replayed, fact.map_err(ReplayFault::Undecodable)?)?;
            }
        }
        self.clock.seen(replayed.at);
        self.clock.restore(self.journalled_guard);
        self.now = self.clock.now();
        self.first_seq = self.next_seq;
        Ok(())
    }

    /// Applies the next fact.
    fn repeat(&mut self, replayed: Replayed<'_>, fact: Fact) -> Result<(), ReplayFault> {
        self.check(&fact)?;
        if let Fact::Base(base) = &fact {
            self.journalled_guard = base.guard;
            self.known_from.get_or_insert(base.next_id);
        }
        if let Fact::Guard(guard) = fact {
            self.journalled_guard = guard;
        }
        let written = Written {
            seq: self.next_seq,
            at: replayed.at,
            segment: replayed.segment,
            facts_offset: replayed.facts_offset,
        };
        if !(zoo::bites(Bug::MoveForgotten) && matches!(fact, Fact::Moved { .. })) {
            let heading = Heading::of(&fact);
            let slot = apply(&mut self.state, &mut self.effects, written, fact);
            if !heading.announce(&mut self.announced, &self.state, written, slot) {
                self.untold = Some(written.seq);
            }
        }
        self.next_seq += 1;
        Ok(())
    }

    fn check(&self, fact: &Fact) -> Result<(), ReplayFault> {
        if let Some(queue) = fact.queue()
            && !self.state.queues.contains_key(&queue)
        {
            return Err(ReplayFault::UnknownQueue(queue));
        }
        if let Some(id) = fact.about()
            && self.state.slot_of_id(id).is_none()
            && self.known_from.is_none_or(|known_from| id >= known_from)
        {
            return Err(ReplayFault::UnknownDeadline(id));
        }
        Ok(())
    }

    /// Effects that replay has repeated: only those for the archive are of use, and harmless twice.
    pub fn replayed_effects(&mut self) -> Vec<Effect> {
        std::mem::take(&mut self.effects)
    }

    /// What replay has announced since this was asked last, and the last fact so far that it could
    /// not announce: its deadline's record went with a segment that has been cleaned away.
    pub fn replayed_announcements(&mut self) -> (Vec<u8>, Option<Seq>) {
        (std::mem::take(&mut self.announced), self.untold)
    }

    /// Begins to serve, once everything is replayed: a step like any other, to be finished as one.
    pub fn open(&mut self, reading: Reading) {
        let stopped_at = self.clock.now();
        self.clock.read(reading);
        self.now = self.clock.now();
        let known = if stopped_at == Time::ZERO { self.now } else { stopped_at };
        self.head_start(known);
        self.mind_guard();
        for slot in 0..self.state.records.slots() {
            let Some(live) = self.state.records.get(slot) else { continue };
            let (queue, id) = (live.queue, live.id);
            match live.phase {
                Phase::HeldHere => {
                    self.emit(Fact::Retried {
                        queue,
                        id,
                        next_attempt_at: self.now,
                        error: "the server restarted during the attempt".into(),
                        by_verdict: false,
                    });
                }
                // Through the timers all of them pass in the order of their times.
                Phase::Pending => {
                    let over_at = self.state.over_at(live);
                    let skips = zoo::bites(Bug::OverdueSkipped);
                    if !(skips && self.now.since(over_at) > Span::from_hours(1)) {
                        self.state.arm(slot, over_at);
                    }
                }
                _ => self.look(slot),
            }
        }
        self.work.resume_shifts(&self.state);
        let recovery_until = self.state.recovery_until;
        self.notice(Notice::Opened { at: self.now, recovery_until });
    }
}
