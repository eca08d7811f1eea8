//! The driver: one thread owns the engine, and this is what it does in a step.
//!
//! A step stamps one time, does a slice of what is due, decides what was asked, hands out, restates
//! a record of a segment that is being cleaned, and leaves a [`Release`]: the record to be written
//! and everything that may leave once it is durable. Nothing here waits for a disk or a network;
//! `threads` does the waiting. Every answer passes through a release, reads and refusals too,
//! because they may have seen what is not durable yet.

mod asks;
mod clean;
pub mod duty;
mod events;
pub(crate) mod examine;
mod held;
mod inbox;
mod lookups;
pub mod open;
mod release;
mod retention;
mod segments;
pub(crate) mod threads;
mod watchdog;

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::SyncSender;

use duly_engine::answer::{Answer, Known, Wanted};
use duly_engine::clock::Reading;
use duly_engine::command::{Address, Command};
use duly_engine::deadline::PayloadAt;
use duly_engine::effect::Effect;
use duly_engine::id::QueueName;
use duly_engine::time::{Span, Time};
use duly_engine::{Engine, Replayed, Step, Storage};
use duly_store::archive;
use duly_store::journal::{Kind, Placed, Placer};

pub use asks::{Answered, Reply};
pub use clean::{Errand, OldRecord, OldRecords};
pub use events::{Announced, Events, Gone, Page};
pub use inbox::{Answers, Ask, Attempt, Attempts, Message, Wait};
pub(crate) use open::Door;
pub use release::{Feed, NotDurable, Outlet, Release};
pub use retention::Retention;
pub use segments::{Payloads, Pins};
pub use watchdog::Pulse;

use asks::{Asks, Place};
use clean::Cleaning;
use held::{Held, is_about_many};
use lookups::{LookUps, Next};

/// Facts of one step, about: what is gathered beyond it waits for the next.
const STEP_BYTES: usize = 1 << 20;
/// What one command or one slice of due work may add beyond that.
const MARGIN_BYTES: usize = 512 << 10;
/// What of it the records may take that are stated anew, about.
const RESTATED_BYTES: usize = 128 << 10;
/// Slices of what is due in one step at most.
const SLICES: usize = 8;
/// Commands decided in one step at most.
const COMMANDS: usize = 8_192;
/// As many commands take the time of one that walks a slice of all records.
const WALK: usize = 256;
/// Records evicted in one step.
const EVICTIONS: usize = 4_096;
/// A step that writes nothing for so long says that it is alive.
const ALIVE: Span = Span::from_secs(10);
/// How often the archive is told what not to keep any longer.
const SWEEP_EVERY: Span = Span::from_secs(60);
/// Spare segments with which nothing is refused.
const PLENTY: usize = 4;
/// Final records that may wait for the archive before the driver slows down.
const ARCHIVE_LAG: usize = 1_000_000;

/// Figures that other threads keep and the driver reads, or the other way round.
#[derive(Debug, Default)]
pub struct Vitals {
    /// The last fact on the disk.
    pub durable: AtomicU64,
    /// Final records and erasures up to this fact are in the archive, durably.
    pub archived: AtomicU64,
    /// Spare segments.
    pub spares: AtomicUsize,
    /// Final records on their way to the archive.
    pub unarchived: AtomicU64,
    /// Whether driver and journal move.
    pub pulse: Pulse,
}

/// What the driver is made of.
pub struct Parts {
    /// The rules, and all that is live.
    pub engine: Engine,
    /// Says where records will lie.
    pub placer: Placer,
    /// Shared with the threads around it.
    pub vitals: Arc<Vitals>,
    /// The journal may grow to this before it is cleaned, in bytes.
    pub keep_bytes: u64,
    /// Which keys may be in the archive; all of them while it is being filled.
    pub archived_keys: Arc<archive::Filter>,
    /// Wakes the allocator.
    pub nudge: SyncSender<()>,
}

/// The engine and all that goes on around it.
pub struct Driver {
    parts: Parts,
    asks: Asks,
    look_ups: LookUps,
    cleaning: Cleaning,
    pins: Pins,
    /// Commands that nobody has looked at.
    backlog: VecDeque<(Place, Command)>,
    /// Commands that wait for what is before them in their requests.
    held: Held,
    /// Workers that wait for something to lease, oldest first.
    waiting: BTreeMap<QueueName, BTreeMap<u64, Wait>>,
    /// Old records that are not looked through, and whether they are the last of their segment.
    old: (VecDeque<OldRecord>, bool),
    last_write: Time,
    last_sweep: Time,
    step_bytes: usize,
    margin_bytes: usize,
    answered: Vec<Answered>,
    wanted: Vec<Wanted>,
    errand: Option<Errand>,
}

impl Driver {
    /// A driver that has not begun to serve: [`Driver::open`] comes first.
    pub fn new(parts: Parts) -> Driver {
        let (step_bytes, margin_bytes) = step_room(&parts.placer);
        Driver {
            cleaning: Cleaning::new(parts.keep_bytes),
            pins: Pins::of(&parts.placer),
            asks: Asks::default(),
            look_ups: LookUps::default(),
            backlog: VecDeque::new(),
            held: Held::default(),
            waiting: BTreeMap::new(),
            old: (VecDeque::new(), false),
            last_write: Time::ZERO,
            last_sweep: Time::ZERO,
            step_bytes,
            margin_bytes,
            answered: Vec::new(),
            wanted: Vec::new(),
            errand: None,
            parts,
        }
    }

    /// The first step: the engine begins to serve.
    pub fn open(&mut self, reading: Reading) -> Release {
        let mut records = Vec::new();
        self.roll_if_needed(&mut records);
        self.parts.engine.open(reading);
        let release = self.finish(records);
        self.stepped(reading);
        release
    }

    /// One step. True beside it when there is more to do at once. What is due is done in slices as
    /// long as what this step leaves could not go anywhere.
    pub fn step(
        &mut self,
        reading: Reading,
        messages: Vec<Message>,
        is_journal_busy: impl Fn() -> bool,
    ) -> (Release, bool) {
        // A segment goes before anything of this step can point into it.
        self.clean();
        let mut records = Vec::new();
        let storage = self.roll_if_needed(&mut records);
        self.parts.engine.begin(reading, storage);
        let mut more = self.parts.engine.due_work();
        let mut slices = 1;
        while more && slices < SLICES && self.has_room() && is_journal_busy() {
            more = self.parts.engine.due_work();
            slices += 1;
        }
        for message in messages {
            self.take(message);
        }
        more |= self.restate();
        // Who has waited goes before who comes: a command may be a lease that does not wait.
        more |= self.serve_waiting();
        more |= self.decide_waiting();
        more |= self.serve_waiting();
        more |= self.parts.engine.hand_out();
        more |= self.evict();
        let release = self.finish(records);
        self.stepped(reading);
        (release, more)
    }

    /// Tells the watchdog.
    fn stepped(&self, reading: Reading) {
        self.parts.vitals.pulse.stepped(reading.boot, self.now(), self.next_wake());
    }

    /// When to step again if nothing comes before.
    pub fn next_wake(&self) -> Option<Time> {
        self.parts.engine.next_wake()
    }

    /// The time of the last step; while the clock is not trusted, time goes on from here as on the
    /// boot clock, whatever the wall clock shows.
    pub fn now(&self) -> Time {
        self.parts.engine.now()
    }

    /// Does the engine go by the wall clock?
    pub fn trusts_clock(&self) -> bool {
        self.parts.engine.trusts_clock()
    }

    /// The rules and all that is live.
    pub fn engine(&self) -> &Engine {
        &self.parts.engine
    }

    /// The segments there are.
    pub fn placer(&self) -> &Placer {
        &self.parts.placer
    }

    /// Does nobody wait for the answer to a command? Workers that wait for a lease do not count.
    pub fn has_answered(&self) -> bool {
        self.asks.is_empty()
    }

    /// Waits, before a step that may begin a segment, until there will be plenty of spares after it or
    /// the disk is full: a disk that is only slow makes nobody's request fail.
    pub fn wait_for_spares(&self) {
        if self.parts.placer.needs_roll(self.step_bytes + self.margin_bytes) {
            self.parts.placer.wait_for_spares(PLENTY + 1);
        }
    }

    /// Must the driver slow down for the archive?
    pub fn is_archive_behind(&self) -> bool {
        self.parts.engine.unarchived() > ARCHIVE_LAG
    }

    fn take(&mut self, message: Message) {
        match message {
            Message::Ask(Ask { commands, reply, permit }) => {
                let places = self.asks.begin(commands.len(), reply, permit);
                self.backlog.extend(places.zip(commands));
            }
            Message::Lease(wait) => {
                self.parts.engine.worker_waits(&wait.queue);
                let workers = self.waiting.entry(wait.queue.clone()).or_default();
                workers.insert(wait.number, wait);
            }
            Message::Leave(queue, number) => self.leave(&queue, number),
            Message::Found(wanted, known) => self.look_ups.found(wanted, known),
            Message::Restate(records, ended) => self.old = (records.into(), ended),
            // A reason to step is all they are; `threads` has seen to the rest.
            Message::Wake | Message::Stop => {}
        }
    }

    // Commands.

    /// Decides as much as the step has room for, first what has been looked up. True if not all.
    fn decide_waiting(&mut self) -> bool {
        let (mut left, mut near) = (COMMANDS, 0_usize);
        while left > 0 && self.has_room() {
            if near == 0 {
                near =
                    self.parts.engine.bring_near(self.backlog.iter().map(|(_, command)| command));
            }
            near -= 1;
            match self.look_ups.next() {
                Some(Next::Decide(place, command, known)) => {
                    left = left.saturating_sub(1);
                    let answer = self.parts.engine.decide(command, known);
                    assert!(!matches!(answer, Answer::LookUp(_)), "what was looked up is known");
                    self.answer(place, answer);
                }
                Some(Next::Again(wanted)) => self.wanted.push(wanted),
                None => {
                    let next = self.held.next().or_else(|| self.backlog.pop_front());
                    let Some((place, command)) = next else { break };
                    left = left.saturating_sub(effort(&command));
                    self.decide(place, command);
                }
            }
        }
        self.look_ups.any_back() || self.held.any_free() || !self.backlog.is_empty()
    }

    /// Has the step room for another command?
    fn has_room(&self) -> bool {
        self.parts.engine.step_bytes() < self.step_bytes
    }

    /// Decides a command nobody has looked up anything for.
    fn decide(&mut self, place: Place, command: Command) {
        if is_about_many(&command) && !self.asks.is_next(place) {
            self.held.hold(place, command, &mut self.backlog);
            return;
        }
        let wanted = command.address().and_then(|at| self.look_ups.under_way(at));
        if let Some(wanted) = wanted {
            // Others wait for the same key: keep the order.
            self.look_ups.wait(wanted, place, command);
            return;
        }
        let known = match command.address() {
            Some(at) if !self.may_be_archived(at) => Known::Absent,
            // It may be; or the command names a number, or no deadline at all.
            _ => Known::Unasked,
        };
        if known == Known::Absent {
            let answer = self.parts.engine.decide(command, known);
            self.answer(place, answer);
            return;
        }
        match self.parts.engine.decide(command.clone(), known) {
            Answer::LookUp(wanted) => {
                if self.look_ups.wait(wanted.clone(), place, command) {
                    self.wanted.push(wanted);
                }
            }
            answer => self.answer(place, answer),
        }
    }

    fn may_be_archived(&self, at: &Address) -> bool {
        self.parts.archived_keys.may_hold(at.queue.as_str(), at.key.as_str())
    }

    fn answer(&mut self, place: Place, answer: Answer) {
        self.answered.extend(self.asks.answer(place, answer));
        self.held.answered(place, &self.asks);
    }

    // Workers.

    /// Gives what may be leased to the workers that have waited longest, as far as the step has
    /// room; true if that was not far enough. Who would be refused is refused now, not when the wait
    /// is over.
    fn serve_waiting(&mut self) -> bool {
        let (engine, answered) = (&mut self.parts.engine, &mut self.answered);
        let most = self.step_bytes;
        let mut more = false;
        self.waiting.retain(|queue, workers| {
            while engine.leasable(queue) > 0 || !engine.is_pull(queue) {
                if engine.step_bytes() >= most {
                    more = true;
                    break;
                }
                let Some((_, Wait { ask, .. })) = workers.pop_first() else { break };
                if !ask.reply.is_closed() {
                    let decide = |command| engine.decide(command, Known::Absent);
                    let answers = ask.commands.into_iter().map(decide).collect();
                    answered.push(Answered::new(ask.reply, ask.permit, answers));
                }
            }
            !workers.is_empty()
        });
        more
    }

    /// A worker waits no longer. One that was served meanwhile is not here any more.
    fn leave(&mut self, queue: &QueueName, number: u64) {
        let Some(workers) = self.waiting.get_mut(queue) else { return };
        if let Some(Wait { ask, .. }) = workers.remove(&number) {
            self.parts.engine.worker_waits(queue);
            let answers = vec![Answer::Leased(Vec::new())];
            self.answered.push(Answered::new(ask.reply, ask.permit, answers));
        }
    }

    // Archive and cleaning.

    /// Lets a slice of what the archive holds leave memory; true when there is more.
    fn evict(&mut self) -> bool {
        let archived = self.parts.vitals.archived.load(Ordering::Acquire);
        let (gone, more) = self.parts.engine.evict(archived, EVICTIONS);
        self.look_ups.gone(gone);
        more
    }

    fn clean(&mut self) {
        let durable = self.parts.vitals.durable.load(Ordering::Acquire);
        let segments_before = self.parts.placer.segments().count();
        let (live_bytes, unarchived) =
            (self.parts.engine.live_bytes(), self.parts.engine.first_unarchived());
        let is_short = self.parts.engine.storage() > Storage::Plenty;
        let placer = &mut self.parts.placer;
        let errand = self.cleaning.look(placer, live_bytes, durable, unarchived, is_short);
        self.errand = errand.or(self.errand.take());
        if self.parts.placer.segments().count() != segments_before {
            self.segments_changed();
        }
    }

    /// Restates what is live among old records as far as the step has room, then asks for more or,
    /// at the end, for the last sync. True if there are some left that could go on.
    fn restate(&mut self) -> bool {
        if self.parts.engine.storage() == Storage::Gone {
            return false;
        }
        let most = self.parts.engine.step_bytes() + RESTATED_BYTES.min(self.step_bytes / 4);
        while let Some(record) = self.old.0.front() {
            let replayed = Replayed {
                segment: record.segment,
                facts_offset: record.facts_offset,
                first_seq: record.first_seq,
                at: Time::from_millis(record.time_ms),
                facts: &record.facts,
            };
            let restated = self.parts.engine.restate(replayed, most);
            if !restated.expect("what was replayed at the start can be read again") {
                return true;
            }
            self.old.0.pop_front();
            if self.old.0.is_empty() && !self.old.1 {
                self.errand = Some(Errand::Next);
            }
        }
        if self.old.0.is_empty() && std::mem::take(&mut self.old.1) {
            let facts = u64::from(self.parts.engine.step_count());
            self.cleaning.read_out(self.parts.placer.next_seq() + facts - 1);
        }
        false
    }

    // Records.

    /// Begins a new segment if this step might not fit; says how much room there is.
    fn roll_if_needed(&mut self, records: &mut Vec<Placed>) -> Storage {
        let wanted = self.step_bytes + self.margin_bytes;
        let placer = &mut self.parts.placer;
        let mut fits = !placer.needs_roll(wanted);
        if !fits && placer.roll().is_ok() {
            fits = true;
        }
        if self.parts.placer.needs_base() {
            let base = self.parts.engine.base();
            let (record, _) = place(&mut self.parts.placer, Kind::Base, base);
            records.push(record);
            self.segments_changed();
        }
        let spares = self.parts.placer.spares();
        self.parts.vitals.spares.store(spares, Ordering::Release);
        if fits { room(spares) } else { Storage::Gone }
    }

    fn segments_changed(&mut self) {
        self.pins = Pins::of(&self.parts.placer);
        // A nudge that is already waiting is as good; an allocator that has ended needs none.
        self.parts.nudge.try_send(()).unwrap_or_default();
    }

    fn finish(&mut self, mut records: Vec<Placed>) -> Release {
        let engine = &mut self.parts.engine;
        let idle = records.is_empty() && engine.step_count() == 0;
        let has_room = engine.storage() < Storage::Gone;
        if idle && has_room && engine.now().since(self.last_write) >= ALIVE {
            engine.stamp_alive();
        }
        let mut step = engine.finish();
        let mut effects = std::mem::take(&mut step.effects);
        let announced = std::mem::take(&mut step.announced);
        let lapsed = std::mem::take(&mut step.lapsed);
        let mut answered = std::mem::take(&mut self.answered);
        let mut lies = None;
        if step.count > 0 {
            self.last_write = step.at;
            let (record, (segment, offset)) = place(&mut self.parts.placer, Kind::Facts, step);
            records.push(record);
            self.parts.engine.placed(segment, offset);
            lies = Some((segment, offset));
        }
        let place = |payload: &mut PayloadAt| {
            if let (PayloadAt::Stored(stored), Some((segment, offset))) = (payload, lies) {
                *stored = stored.placed(segment, offset);
            }
        };
        effects.iter_mut().flat_map(Effect::payloads_mut).for_each(place);
        let of_answered = answered.iter_mut().flat_map(|answered| &mut answered.answers);
        of_answered.flat_map(Answer::payloads_mut).for_each(place);
        self.asks.end_step(&self.pins, |answer| answer.payloads_mut().for_each(place));
        // Only by a time that is durable when this leaves: time may be lived through once more.
        let retention = (self.last_write.since(self.last_sweep) >= SWEEP_EVERY).then(|| {
            self.last_sweep = self.last_write;
            Retention::new(self.last_write, self.parts.engine.policies())
        });
        let vitals = &self.parts.vitals;
        vitals.unarchived.store(self.parts.engine.unarchived() as u64, Ordering::Release);
        Release {
            last_seq: self.parts.placer.next_seq() - 1,
            records,
            is_written: false,
            effects,
            answered,
            announced,
            wanted: std::mem::take(&mut self.wanted),
            errand: self.errand.take(),
            lapsed,
            retention,
            pins: self.pins.clone(),
        }
    }
}

/// What a step may write: what it gathers, and what may come beyond that.
fn step_room(placer: &Placer) -> (usize, usize) {
    let largest = placer.largest_facts();
    (STEP_BYTES.min(largest / 4), MARGIN_BYTES.min(largest / 2))
}

/// Is there room for a step, so that a driver can begin?
pub fn can_step(placer: &Placer) -> bool {
    let (step_bytes, margin_bytes) = step_room(placer);
    !placer.needs_roll(step_bytes + margin_bytes) || placer.spares() > 0
}

/// What so many spare segments allow.
fn room(spares: usize) -> Storage {
    match spares {
        0 | 1 => Storage::Full,
        2..PLENTY => Storage::Low,
        _ => Storage::Plenty,
    }
}

/// Do so many spare segments let lapses and leases be written?
pub(crate) fn has_room(spares: usize) -> bool {
    room(spares) < Storage::Full
}

/// Places the facts of a step; says in which segment they will lie, and where in it they begin.
fn place(placer: &mut Placer, kind: Kind, step: Step) -> (Placed, (u32, u32)) {
    let record = placer.place(kind, step.first_seq, step.count, step.at.millis(), step.facts);
    let lies = (record.segment(), record.offset_of_facts());
    (record, lies)
}

/// How many of the commands of a step it counts for.
fn effort(command: &Command) -> usize {
    match command {
        Command::Scan(_) | Command::Count(_) | Command::ListQueues => WALK,
        Command::Waiting { limit, .. } => (*limit).clamp(1, WALK),
        _ => 1,
    }
}
