//! The engine, one step at a time.
//!
//! A step begins with a reading of the clocks, does a bounded slice of what has fallen due, decides
//! the commands that came, hands out what may be handed out, and ends with its facts as bytes and
//! its effects as values. The shell makes the facts durable and only then lets answers and effects
//! go. All of a step happens at one time.

mod clean;
mod replay;

pub use clean::Gone;
pub use replay::Replayed;

use crate::announce::Heading;
use crate::answer::{Answer, GuardReason, Known, Refusal};
use crate::apply::{Written, apply};
use crate::clock::{JournalClock, Reading};
use crate::command::Command;
use crate::deadline::Stored;
use crate::effect::{Effect, Notice};
use crate::fact::Fact;
use crate::id::{DeadlineId, DirectoryId, QueueName, Seq};
use crate::limits::{CLOCK_RETURN, Limits, RECOVERY};
use crate::queue::Policy;
use crate::record;
use crate::state::State;
use crate::state::near::TOGETHER;
use crate::time::{Span, Time};
use crate::zoo::{self, Bug};

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
    /// What others hear of the facts once they are durable; [`crate::announce::read`] reads it.
    pub announced: Vec<u8>,
    /// For each deadline that lapsed in it, when it was to lapse.
    pub lapsed: Vec<Time>,
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
    /// When an operator confirmed the clock: the next reading may take journal time far ahead, and
    /// the head start for that is owed until there is room to write it down.
    pub(crate) confirmed_at: Option<Time>,
    /// Facts about unknown deadlines below this number belong to segments that are gone.
    known_from: Option<DeadlineId>,
    next_seq: Seq,
    first_seq: Seq,
    facts: Vec<u8>,
    effects: Vec<Effect>,
    announced: Vec<u8>,
    /// The last fact that was replayed and could not be announced.
    untold: Option<Seq>,
    pub(crate) lapsed: Vec<Time>,
    /// Records whose home is in this step's record.
    unplaced: Vec<u32>,
    /// Something was forgotten for its time was over, and no fact since says what time it was.
    forgot: bool,
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
            confirmed_at: None,
            known_from: None,
            next_seq: 1,
            first_seq: 1,
            facts: Vec::new(),
            effects: Vec::new(),
            announced: Vec::new(),
            untold: None,
            lapsed: Vec::new(),
            unplaced: Vec::new(),
            forgot: false,
        }
    }

    /// Begins a step: from here to `finish` it is one time.
    pub fn begin(&mut self, reading: Reading, storage: Storage) {
        self.clock.read(reading);
        self.now = self.clock.now();
        let was_full = std::mem::replace(&mut self.storage, storage) >= Storage::Full;
        if storage < Storage::Gone
            && let Some(confirmed_at) = self.confirmed_at.take()
            && self.now.since(confirmed_at) > CLOCK_RETURN
        {
            self.head_start(confirmed_at);
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
        let missed = if zoo::bites(Bug::NoHeadStart) { Span::ZERO } else { missed };
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

    /// Brings near what the first of these commands are about; says how many of them. Whoever has many
    /// to decide calls it before so many, and has them decided sooner.
    pub fn bring_near<'a>(&self, commands: impl ExactSizeIterator<Item = &'a Command>) -> usize {
        self.state.bring_near(commands);
        TOGETHER
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

    /// Forgets a remembered settle whose time is over. That is no fact, and yet somebody may be told;
    /// so the time must be one. Else a start with the clock set back would remember it again.
    pub(crate) fn forget(&mut self, slot: u32) {
        self.state.remove(slot);
        self.forgot = true;
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

    /// The last fact there is; 0 before the first.
    pub fn last_seq(&self) -> Seq {
        self.next_seq - 1
    }

    /// Ends the step.
    pub fn finish(&mut self) -> Step {
        if self.forgot && self.facts.is_empty() {
            self.stamp_alive();
        }
        self.forgot &= self.facts.is_empty();
        let first_seq = std::mem::replace(&mut self.first_seq, self.next_seq);
        Step {
            at: self.now,
            first_seq,
            count: u32::try_from(self.next_seq - first_seq).expect("a step has few facts"),
            facts: std::mem::take(&mut self.facts),
            effects: std::mem::take(&mut self.effects),
            announced: std::mem::take(&mut self.announced),
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

    // Within.

    /// Writes a fact, applies it, and brings up to date what depends on it.
    pub(crate) fn emit(&mut self, fact: Fact) -> Option<u32> {
        let has_home = matches!(
            fact,
            Fact::Scheduled { .. } | Fact::Restated { .. } | Fact::Remembered { .. }
        );
        let fact = record::write(&mut self.facts, fact);
        let heading = Heading::of(&fact);
        let written = Written {
            seq: self.next_seq,
            at: self.now,
            segment: Stored::THIS_STEP,
            facts_offset: 0,
        };
        self.next_seq += 1;
        let slot = apply(&mut self.state, &mut self.effects, written, fact);
        let is_told = heading.announce(&mut self.announced, &self.state, written, slot);
        assert!(is_told, "a fact is made about a record that is there");
        let slot = slot?;
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
