//! The engine, one step at a time.
//!
//! A step begins with a reading of the clocks, does a bounded slice of what has fallen due, decides
//! the commands that came, hands out what may be handed out, and ends with its facts as bytes and
//! its effects as values. The shell makes the facts durable and only then lets answers and effects
//! go. All of a step happens at one time.

use crate::answer::{Answer, GuardReason, Known, Refusal};
use crate::apply::{ReplayFault, Written, apply};
use crate::clock::{JournalClock, Reading};
use crate::command::{Address, Command};
use crate::deadline::Stored;
use crate::effect::{Effect, Notice};
use crate::fact::{Fact, PayloadField};
use crate::id::{DeadlineId, DirectoryId, QueueName, Seq};
use crate::limits::{CLOCK_RETURN, Limits, RECOVERY};
use crate::queue::Policy;
use crate::record;
use crate::state::State;
use crate::state::live::Phase;
use crate::time::Time;

/// How much room the disk has for facts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Storage {
    /// Enough.
    #[default]
    Plenty,
    /// The reserve is touched: schedule, replace, extend and freeze are refused.
    Low,
    /// The reserve is nearly gone: lapses and leases wait too.
    Full,
    /// There is no room for another fact: only reads.
    Gone,
}

/// What a step leaves to the shell.
#[derive(Debug)]
pub struct Step {
    /// Journal time.
    pub at: Time,
    /// The sequence of its first fact.
    pub first_seq: Seq,
    /// How many facts.
    pub count: u32,
    /// Their bytes: one journal record.
    pub facts: Vec<u8>,
    /// What to do once they are durable.
    pub effects: Vec<Effect>,
    /// For each deadline that lapsed in it, when it was to lapse.
    pub lapsed: Vec<Time>,
}

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

/// A deadline of which records have left memory, to the archive or for good: what somebody is just
/// looking up of it there may be stale.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Gone {
    /// Its number.
    pub id: DeadlineId,
    /// What it is called, unless a later generation of it is in memory under that name.
    pub at: Option<Address>,
}

/// The rules and everything they hold.
pub struct Engine {
    pub(crate) state: State,
    pub(crate) clock: JournalClock,
    pub(crate) limits: Limits,
    pub(crate) storage: Storage,
    pub(crate) now: Time,
    pub(crate) work: crate::due::Work,
    /// The guard as the journal has it.
    journalled_guard: Option<GuardReason>,
    /// An operator has just confirmed the clock: the next reading may take journal time far ahead.
    pub(crate) confirmed: bool,
    /// Facts about unknown deadlines below this number belong to segments that are gone.
    known_from: Option<DeadlineId>,
    next_seq: Seq,
    first_seq: Seq,
    facts: Vec<u8>,
    effects: Vec<Effect>,
    pub(crate) lapsed: Vec<Time>,
    /// Records whose home is in this step's record.
    unplaced: Vec<u32>,
}

impl Engine {
    /// An engine that knows nothing. The seed is the directory's, so that keys cannot be chosen to collide.
    pub fn new(directory: DirectoryId, seed: [u64; 2], limits: Limits) -> Engine {
        Engine {
            state: State::new(directory, seed),
            clock: JournalClock::new(&limits),
            limits,
            storage: Storage::Plenty,
            now: Time::ZERO,
            work: crate::due::Work::default(),
            journalled_guard: None,
            confirmed: false,
            known_from: None,
            next_seq: 1,
            first_seq: 1,
            facts: Vec::new(),
            effects: Vec::new(),
            lapsed: Vec::new(),
            unplaced: Vec::new(),
        }
    }

    // Replay.

    /// Applies a record of the journal; the records come in order, from the oldest there is.
    pub fn replay(&mut self, replayed: Replayed<'_>) -> Result<(), ReplayFault> {
        self.next_seq = replayed.first_seq;
        for fact in record::read(replayed.facts) {
            let fact = fact.map_err(ReplayFault::Undecodable)?;
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
            apply(&mut self.state, &mut self.effects, written, fact);
            self.next_seq += 1;
        }
        self.clock.seen(replayed.at);
        self.clock.restore(self.journalled_guard);
        self.now = self.clock.now();
        self.first_seq = self.next_seq;
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
                Phase::Pending => self.state.arm(slot, self.state.over_at(live)),
                _ => self.look(slot),
            }
        }
        self.work.resume_shifts(&self.state);
        let recovery_until = self.state.recovery_until;
        self.notice(Notice::Opened { at: self.now, recovery_until });
    }

    // Steps.

    /// Begins a step: from here to `finish` it is one time.
    pub fn begin(&mut self, reading: Reading, storage: Storage) {
        let before = self.now;
        self.clock.read(reading);
        self.now = self.clock.now();
        let was_full = std::mem::replace(&mut self.storage, storage) >= Storage::Full;
        let jumped = std::mem::take(&mut self.confirmed) && self.now.since(before) > CLOCK_RETURN;
        if jumped && storage < Storage::Gone {
            self.head_start(before);
            self.work.look_again_at_ripe(&self.state);
        }
        if was_full && storage < Storage::Full {
            self.come_back();
        }
        self.mind_guard();
    }

    /// Time has passed in which nobody could settle: gives settles a head start over lapses.
    fn head_start(&mut self, stopped_at: Time) {
        let missed = self.now.since(stopped_at).min(RECOVERY);
        let recovery_until = self.state.recovery_until.max(self.now.plus(missed));
        self.emit(Fact::Opened { recovery_until });
    }

    /// Brings the journal and the withholding of lapses in line with the clock guard.
    pub(crate) fn mind_guard(&mut self) {
        let guard = self.clock.guard();
        self.state.withheld = guard.is_some() || self.storage >= Storage::Full;
        // When there is no room for another fact, this one has to wait.
        if guard == self.journalled_guard || self.storage == Storage::Gone {
            return;
        }
        self.journalled_guard = guard;
        self.emit(Fact::Guard(guard));
        if let Some(reason) = guard {
            self.notice(Notice::ClockGuardUp(reason));
        } else {
            self.notice(Notice::ClockGuardDown);
            self.come_back();
        }
    }

    /// Lapsing is withheld no longer, or not for the same reason.
    fn come_back(&mut self) {
        self.work.unpark_all(&self.state);
        self.state.stir_ripe();
    }

    /// Decides one command. `known` says what the archive has on it, if somebody has looked.
    pub fn decide(&mut self, command: Command, known: Known) -> Answer {
        if self.storage == Storage::Gone && !command.only_reads() {
            return Answer::Refused(Refusal::StorageFull);
        }
        match self.decided(command, known) {
            Ok(answer) => answer,
            Err(crate::decide::No::Refused(refusal)) => Answer::Refused(refusal),
            Err(crate::decide::No::LookUp(wanted)) => Answer::LookUp(wanted),
        }
    }

    /// Says that time has passed, so that a restart does not take it for downtime.
    pub fn stamp_alive(&mut self) {
        if self.storage < Storage::Gone {
            self.emit(Fact::Alive);
        }
    }

    /// Bytes of facts in this step so far: the shell stops gathering when they are many.
    pub fn step_bytes(&self) -> usize {
        self.facts.len()
    }

    /// Facts in this step so far.
    pub fn step_count(&self) -> u32 {
        u32::try_from(self.next_seq - self.first_seq).expect("a step has few facts")
    }

    /// How much room the disk had when this step began.
    pub fn storage(&self) -> Storage {
        self.storage
    }

    /// The time of this step.
    pub fn now(&self) -> Time {
        self.now
    }

    /// Is the clock guard down, so that journal time goes by the wall clock?
    pub fn trusts_clock(&self) -> bool {
        self.clock.guard().is_none()
    }

    /// Ends the step.
    pub fn finish(&mut self) -> Step {
        let first_seq = std::mem::replace(&mut self.first_seq, self.next_seq);
        Step {
            at: self.now,
            first_seq,
            count: u32::try_from(self.next_seq - first_seq).expect("a step has few facts"),
            facts: std::mem::take(&mut self.facts),
            effects: std::mem::take(&mut self.effects),
            lapsed: std::mem::take(&mut self.lapsed),
        }
    }

    /// Says where the facts of the step that was just finished will lie.
    pub fn placed(&mut self, segment: u32, facts_offset: u32) {
        for slot in self.unplaced.drain(..) {
            if let Some(live) = self.state.records.get_mut(slot)
                && live.home.segment == Stored::THIS_STEP
            {
                live.home.segment = segment;
                live.home.offset += facts_offset;
            }
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

    /// When the engine wants to be stepped again, if nobody asks anything before.
    pub fn next_wake(&self) -> Option<Time> {
        if self.storage >= Storage::Full {
            return None;
        }
        let work = self.work.waits().then_some(self.now);
        let due = self.state.timers.next_wake().map(Time::from_millis);
        [work, due, self.state.turns.next_let_go()].into_iter().flatten().min()
    }

    /// The rules of every queue.
    pub fn policies(&self) -> impl Iterator<Item = (&QueueName, &Policy)> {
        self.state.queues.values().map(|queue| (&queue.name, &queue.policy))
    }

    /// Bytes that the live records would take if each were stated anew: what cleaning must copy.
    pub fn live_bytes(&self) -> u64 {
        self.state.live_bytes
    }

    /// Final records held until the archive has them.
    pub fn unarchived(&self) -> usize {
        self.state.finals.len()
    }

    // Archive.

    /// Forgets final records that the archive holds durably up to this fact, about `max` of them.
    /// Says which deadlines they were of, and whether there are more.
    pub fn evict(&mut self, archived: Seq, max: usize) -> (Vec<Gone>, bool) {
        let mut gone = Vec::new();
        while gone.len() < max
            && let Some((_, slot, id, generation)) =
                self.state.finals.pop_front_if(|(seq, ..)| *seq <= archived)
        {
            let still_there = self.state.records.get(slot).is_some_and(|live| {
                live.id == id && live.generation == generation && live.phase.is_final()
            });
            let at = still_there.then(|| self.state.address(slot));
            if still_there {
                self.state.remove(slot);
            }
            gone.push(Gone { id, at });
        }
        while gone.len() < max
            && let Some(erasure) =
                self.state.erasures.pop_front_if(|erasure| erasure.seq <= archived)
        {
            self.state.erased.remove(&erasure.id);
            gone.push(Gone { id: erasure.id, at: erasure.at });
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

    // Cleaning.

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
            let home =
                crate::state::live::Home::of(payload, replayed.segment, replayed.facts_offset);
            if live.home != home || live.phase.is_final() {
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
                key: live.key.clone(),
                outcome,
                until: live.due,
            },
            _ => Fact::Restated { deadline: Box::new(self.state.view(slot)), payload },
        }
    }

    // Within.

    /// Writes a fact, applies it, and brings up to date what depends on it.
    pub(crate) fn emit(&mut self, fact: Fact) -> Option<u32> {
        let has_home = matches!(
            fact,
            Fact::Scheduled { .. } | Fact::Restated { .. } | Fact::Remembered { .. }
        );
        let fact = record::write(&mut self.facts, fact);
        let written = Written {
            seq: self.next_seq,
            at: self.now,
            segment: Stored::THIS_STEP,
            facts_offset: 0,
        };
        self.next_seq += 1;
        let slot = apply(&mut self.state, &mut self.effects, written, fact)?;
        if has_home {
            self.unplaced.push(slot);
        }
        self.look(slot);
        Some(slot)
    }

    /// Brings lists and timers of a record up to date; what is overdue comes up with the next slice.
    pub(crate) fn look(&mut self, slot: u32) {
        if self.state.refresh(slot, self.now).is_some() {
            self.state.arm(slot, self.now);
        }
    }

    pub(crate) fn notice(&mut self, notice: Notice) {
        self.effects.push(Effect::Notice(notice));
    }

    pub(crate) fn effect(&mut self, effect: Effect) {
        self.effects.push(effect);
    }

    /// The sequence that the next fact will have.
    pub(crate) fn next_seq(&self) -> Seq {
        self.next_seq
    }
}

/// The payload that a fact read from a segment carries, to be written again.
fn bytes_of(payload: &PayloadField, facts: &[u8]) -> PayloadField {
    match payload {
        PayloadField::At { offset, bytes, kind, .. } => {
            let begin = *offset as usize;
            PayloadField::Bytes(crate::deadline::Payload {
                kind: *kind,
                bytes: facts[begin..begin + *bytes as usize].into(),
            })
        }
        other => other.clone(),
    }
}
