//! A shell in miniature: clocks that are set by hand, a journal in memory, an archive in a map.
//!
//! It does what the real one does and nothing more: steps, places records in segments that open
//! with a base, answers look-ups, evicts, cleans the oldest segment, restarts from the journal. And
//! one thing the real one cannot: it replays the journal into a second engine at any moment and
//! insists that both hold the same.

use std::collections::{BTreeMap, BTreeSet};

use duly_engine::announce::{self, Announcement};
use duly_engine::answer::{Answer, Held, Known, QueueView, Wanted};
use duly_engine::clock::Reading;
use duly_engine::command::{Address, Command, Filter, Scan};
use duly_engine::deadline::{Deadline, Payload, PayloadAt};
use duly_engine::effect::Effect;
use duly_engine::fact::Fact;
use duly_engine::id::{DeadlineId, DirectoryId, Generation, QueueName, Seq};
use duly_engine::limits::Limits;
use duly_engine::queue::Policy;
use duly_engine::record;
use duly_engine::time::{Span, Time};
use duly_engine::{Engine, Replayed, Step, Storage};

/// Sunday 2026-11-22, 12:00 UTC: when every world begins.
pub(crate) const NOON: Time = Time::from_millis(1_795_348_800_000);

pub(crate) const DIRECTORY: DirectoryId = DirectoryId(0x5eed);

/// Segments are short, so that there are several.
const SEGMENT_BYTES: usize = 4_096;
/// What one step restates, about.
const RESTATED_BYTES: usize = 300;
/// Before the facts of a record.
const HEADER: usize = 40;
/// A step that writes nothing for so long says that it is alive.
const ALIVE: Span = Span::from_secs(10);
/// More steps than this at one time is a loop that does not end.
const STEPS: usize = 100_000;

/// What happened in a step.
#[derive(Default)]
pub(crate) struct Happened {
    pub(crate) at: Time,
    /// Facts of due work.
    pub(crate) due: Vec<Fact>,
    pub(crate) answers: Vec<Answer>,
    /// Facts of the commands.
    pub(crate) decided: Vec<Fact>,
    /// Facts of the handing out.
    pub(crate) handed_out: Vec<Fact>,
    pub(crate) effects: Vec<Effect>,
}

struct Place {
    segment: u32,
    offset: usize,
    length: usize,
    first_seq: Seq,
    at: Time,
}

/// Final records as the archive has them.
#[derive(Default)]
struct Archive {
    rows: BTreeMap<(u64, Generation), Deadline>,
    /// What it has been told and not done yet, by the fact that says so.
    told: BTreeMap<Seq, Told>,
    /// It does nothing for now.
    lags: bool,
    /// All that it was told up to this fact is done.
    applied: Seq,
    /// Whatever was in it once, kept or not.
    ever: BTreeSet<(u64, Generation)>,
}

enum Told {
    Keep(Box<Deadline>),
    Erase(DeadlineId),
}

pub(crate) struct World {
    engine: Engine,
    limits: Limits,
    directory: DirectoryId,
    pub(crate) wall: Time,
    boot: Span,
    pub(crate) storage: Storage,
    /// Commands come before any due work: the backlog is long.
    pub(crate) busy: bool,
    segments: BTreeMap<u32, Vec<u8>>,
    records: Vec<Place>,
    archive: Archive,
    /// Every final record ever announced, by its fact.
    announced: BTreeMap<Seq, Deadline>,
    /// All that others ever heard, by its fact.
    heard: BTreeMap<Seq, Announcement>,
    last_seq: Seq,
    /// The time of the latest record of the journal.
    pub(crate) last_write: Time,
}

impl World {
    pub(crate) fn new(limits: Limits) -> World {
        let directory = DIRECTORY;
        let engine = Engine::new(directory, [1, 2], limits.clone());
        let mut world = World {
            engine,
            limits,
            directory,
            wall: NOON,
            boot: Span::from_secs(1_000),
            storage: Storage::Plenty,
            busy: false,
            segments: BTreeMap::new(),
            records: Vec::new(),
            archive: Archive::default(),
            announced: BTreeMap::new(),
            heard: BTreeMap::new(),
            last_seq: 0,
            last_write: Time::ZERO,
        };
        world.roll();
        world.open();
        world
    }

    fn reading(&self) -> Reading {
        Reading { wall: self.wall, boot: self.boot }
    }

    // Steps.

    /// One step with these commands.
    pub(crate) fn step(&mut self, commands: Vec<Command>) -> Happened {
        self.roll_if_full();
        let reading = self.reading();
        self.engine.begin(reading, self.storage);
        if !self.busy {
            self.engine.due_work();
        }
        let due_until = self.engine.step_bytes();
        let answers: Vec<Answer> =
            commands.into_iter().map(|command| self.decide(command)).collect();
        let decided_until = self.engine.step_bytes();
        if self.busy {
            self.engine.due_work();
        }
        self.engine.hand_out();
        let since = self.engine_now().since(self.last_write);
        if self.engine.step_count() == 0 && since >= ALIVE {
            self.engine.stamp_alive();
        }
        let step = self.engine.finish();
        let mut happened = Happened { at: step.at, answers, ..Happened::default() };
        happened.due = facts(&step.facts[..due_until]);
        happened.decided = facts(&step.facts[due_until..decided_until]);
        happened.handed_out = facts(&step.facts[decided_until..]);
        self.write(step, &mut happened);
        happened
    }

    /// Steps until nothing more is to be done at this time.
    pub(crate) fn settle_down(&mut self) -> Vec<Happened> {
        let mut all = Vec::new();
        while self.wakes_by(self.engine_now()) {
            all.push(self.step(Vec::new()));
            assert!(all.len() < STEPS, "the engine wants to be stepped for ever");
        }
        all
    }

    /// Lets both clocks run, stepping whenever the engine wants to.
    pub(crate) fn run(&mut self, span: Span) -> Vec<Happened> {
        let end = self.wall.plus(span);
        let mut all = self.settle_down();
        while let Some(wake) = self.engine.next_wake() {
            let wait = wake.since(self.engine_now());
            if self.wall.plus(wait) > end {
                break;
            }
            self.pass(wait);
            all.push(self.step(Vec::new()));
            all.extend(self.settle_down());
            assert!(all.len() < STEPS, "the engine wants to be stepped for ever");
        }
        self.pass(end.since(self.wall));
        all.push(self.step(Vec::new()));
        all.extend(self.settle_down());
        all
    }

    /// Lets both clocks run without a step.
    pub(crate) fn pass(&mut self, span: Span) {
        self.wall = self.wall.plus(span);
        self.boot = self.boot.plus(span);
    }

    fn engine_now(&self) -> Time {
        self.engine.now()
    }

    fn wakes_by(&self, now: Time) -> bool {
        self.engine.next_wake().is_some_and(|wake| wake <= now)
    }

    /// Decides a command, with a look into the archive if the engine asks for one.
    fn decide(&mut self, command: Command) -> Answer {
        let facts_before = self.engine.step_bytes();
        self.engine.bring_near([&command, &command].into_iter());
        match self.engine.decide(command.clone(), Known::Unasked) {
            Answer::LookUp(wanted) => {
                assert_eq!(self.engine.step_bytes(), facts_before, "a look-up is no change");
                let found = self.archive.find(&wanted);
                let known = found.map_or(Known::Absent, |found| Known::Archived(Box::new(found)));
                self.engine.decide(command, known)
            }
            answer => answer,
        }
    }

    fn open(&mut self) -> Happened {
        let reading = self.reading();
        self.engine.open(reading);
        let step = self.engine.finish();
        let mut happened = Happened { at: step.at, ..Happened::default() };
        happened.due = facts(&step.facts);
        self.write(step, &mut happened);
        happened
    }

    // The journal.

    fn write(&mut self, mut step: Step, happened: &mut Happened) {
        let mut effects = std::mem::take(&mut step.effects);
        for announcement in announce::read(&step.announced) {
            assert!(announcement.seq >= step.first_seq && announcement.at == step.at);
            self.heard.insert(announcement.seq, announcement);
        }
        if step.count > 0 {
            let (segment, offset) = self.append(&step);
            self.engine.placed(segment, offset);
            let in_answers = happened.answers.iter_mut().flat_map(Answer::payloads_mut);
            for payload in in_answers.chain(effects.iter_mut().flat_map(Effect::payloads_mut)) {
                if let PayloadAt::Stored(stored) = payload {
                    *stored = stored.placed(segment, offset);
                }
            }
        }
        for effect in &effects {
            match effect {
                Effect::Archive(last) => {
                    self.announced.insert(last.seq, last.deadline.clone());
                    let mut row = last.deadline.clone();
                    row.payload =
                        self.payload(&row.payload).map_or(PayloadAt::None, PayloadAt::Here);
                    self.archive.told.insert(last.seq, Told::Keep(Box::new(row)));
                }
                Effect::Erase { seq, id } => {
                    self.archive.told.insert(*seq, Told::Erase(*id));
                }
                Effect::Attempt { .. } | Effect::Notice(_) => {}
            }
        }
        self.archive.catch_up(self.last_seq);
        happened.effects = effects;
    }

    fn append(&mut self, step: &Step) -> (u32, u32) {
        let (&segment, bytes) = self.segments.last_key_value().expect("there is a segment");
        let offset = bytes.len() + HEADER;
        let bytes = self.segments.get_mut(&segment).expect("it was just found");
        bytes.resize(offset, 0xee);
        bytes.extend_from_slice(&step.facts);
        assert_eq!(step.first_seq, self.last_seq + 1, "sequences have no gaps");
        self.last_seq += u64::from(step.count);
        let (first_seq, at) = (step.first_seq, step.at);
        self.last_write = at;
        let length = step.facts.len();
        self.records.push(Place { segment, offset, length, first_seq, at });
        (segment, u32::try_from(offset).expect("segments are short"))
    }

    fn roll(&mut self) {
        let number = self.segments.last_key_value().map_or(1, |(last, _)| last + 1);
        self.segments.insert(number, Vec::new());
        let base = self.engine.base();
        self.append(&base);
    }

    fn roll_if_full(&mut self) {
        if self.segments.last_key_value().is_some_and(|(_, bytes)| bytes.len() >= SEGMENT_BYTES) {
            self.roll();
        }
    }

    /// The bytes of a payload, wherever they are.
    pub(crate) fn payload(&self, at: &PayloadAt) -> Option<Payload> {
        match at {
            PayloadAt::None | PayloadAt::Gone => None,
            PayloadAt::Here(payload) => Some(payload.clone()),
            PayloadAt::Stored(stored) => {
                let segment = self.segments.get(&stored.segment).expect("the segment is there");
                let begin = stored.offset as usize;
                let bytes = segment[begin..begin + stored.bytes as usize].into();
                Some(Payload { kind: stored.kind, bytes })
            }
        }
    }

    // Archive and cleaning.

    /// From now on the archive does nothing, or does again what it is told.
    pub(crate) fn archive_lags(&mut self, lags: bool) {
        self.archive.lags = lags;
        self.archive.catch_up(self.last_seq);
    }

    /// The time for which records are kept is over.
    pub(crate) fn archive_forgets(&mut self) {
        self.archive.rows.clear();
    }

    /// What the archive has leaves memory. Says how many records went.
    pub(crate) fn evict(&mut self) -> usize {
        let mut evicted = 0;
        loop {
            let (gone, more) = self.engine.evict(self.archive.applied, 3);
            evicted += gone.iter().filter(|gone| gone.at.is_some()).count();
            if !more {
                return evicted;
            }
        }
    }

    /// Restates what is live in the oldest segment, a little in each step, and drops it.
    pub(crate) fn clean(&mut self) {
        // A final record is not restated: as long as it is held, its payload is in its segment.
        self.evict();
        if self.segments.len() < 2 {
            self.roll();
        }
        let (&oldest, _) = self.segments.first_key_value().expect("there is a segment");
        let places: Vec<(usize, usize, Seq, Time)> = self
            .records
            .iter()
            .filter(|place| place.segment == oldest)
            .map(|place| (place.offset, place.length, place.first_seq, place.at))
            .collect();
        for (offset, length, first_seq, at) in places {
            let facts = self.segments[&oldest][offset..offset + length].to_vec();
            let replayed = Replayed {
                segment: oldest,
                facts_offset: u32::try_from(offset).expect("segments are short"),
                first_seq,
                at,
                facts: &facts,
            };
            let mut all = false;
            while !all {
                self.roll_if_full();
                let reading = self.reading();
                self.engine.begin(reading, self.storage);
                let most = self.engine.step_bytes() + RESTATED_BYTES;
                let restated = self.engine.restate(replayed, most);
                all = restated.expect("it was written by an engine");
                let step = self.engine.finish();
                self.write(step, &mut Happened::default());
            }
        }
        self.records.retain(|place| place.segment != oldest);
        self.segments.remove(&oldest);
    }

    // Replay.

    fn replayed(&mut self) -> Engine {
        let mut engine = Engine::new(self.directory, [1, 2], self.limits.clone());
        for place in &self.records {
            let bytes = &self.segments[&place.segment];
            let replayed = Replayed {
                segment: place.segment,
                facts_offset: u32::try_from(place.offset).expect("segments are short"),
                first_seq: place.first_seq,
                at: place.at,
                facts: &bytes[place.offset..place.offset + place.length],
            };
            engine.replay(replayed).expect("what was journalled can be replayed");
        }
        let (bytes, untold) = engine.replayed_announcements();
        let begins = self.records.first().map_or(0, |place| place.first_seq);
        let told_in_full = begins.max(untold.map_or(0, |untold| untold + 1));
        let again: BTreeMap<Seq, Announcement> =
            announce::read(&bytes).map(|announcement| (announcement.seq, announcement)).collect();
        for (seq, announcement) in &again {
            assert_eq!(self.heard.get(seq), Some(announcement), "replay tells another story");
        }
        let heard = self.heard.range(told_in_full..).count();
        assert_eq!(again.range(told_in_full..).count(), heard, "replay leaves something out");
        for effect in engine.replayed_effects() {
            match effect {
                Effect::Archive(last) => {
                    let announced = &self.announced[&last.seq];
                    assert_eq!(*announced, last.deadline, "replay archives what was archived");
                }
                Effect::Erase { .. } => {}
                other => panic!("replay wants {other:?} to be done"),
            }
        }
        engine
    }

    /// Replays the journal into a second engine and compares all that can be seen.
    pub(crate) fn check_replay(&mut self) {
        let mut replayed = self.replayed();
        let live_queues = queues(&mut self.engine);
        let replayed_queues = queues(&mut replayed);
        assert_eq!(live_queues, replayed_queues, "queues differ after replay");
        for queue in live_queues.keys() {
            let live = records(&mut self.engine, queue);
            let again = records(&mut replayed, queue);
            // What is final is known to one of the two only, once it is archived: it may have been
            // evicted here, or its segment may be gone there.
            for deadline in live.values().chain(again.values()) {
                let id = deadline.id.0;
                let archived = self.archive.ever.contains(&(id, deadline.generation));
                let (live, again) = (live.get(&id), again.get(&id));
                if live.is_some() && again.is_some() || !(deadline.is_final() && archived) {
                    assert_eq!(live, again, "a record differs after replay");
                }
            }
        }
        let (live, again) = (clock(&mut self.engine), clock(&mut replayed));
        assert_eq!(live, again, "the guard or the recovery differs after replay");
    }

    /// Ends the process and starts another, so much later by both clocks.
    pub(crate) fn restart(&mut self, after: Span) -> Vec<Happened> {
        self.check_replay();
        self.pass(after);
        self.boot = Span::from_millis(self.boot.millis() / 2);
        self.engine = self.replayed();
        let opened = self.open();
        // A crash may follow at once: opening must be as good as any other step.
        self.check_replay();
        let mut all = vec![opened, self.step(Vec::new())];
        all.extend(self.settle_down());
        all
    }

    /// The rules of a queue.
    pub(crate) fn policy(&mut self, queue: QueueName) -> Option<Policy> {
        match self.engine.decide(Command::GetQueue(queue), Known::Absent) {
            Answer::Queue(view) => Some(view.policy),
            _ => None,
        }
    }

    /// Every live record of a queue, by number.
    pub(crate) fn records(&mut self, queue: &QueueName) -> BTreeMap<u64, Deadline> {
        records(&mut self.engine, queue)
    }

    /// A final record that the archive has.
    pub(crate) fn archived(&self, id: DeadlineId, generation: Generation) -> Option<Deadline> {
        self.archive.rows.get(&(id.0, generation)).cloned()
    }

    /// Every queue by name, without what is not journalled.
    pub(crate) fn queues(&mut self) -> BTreeMap<QueueName, QueueView> {
        queues(&mut self.engine)
    }
}

impl Archive {
    fn catch_up(&mut self, last_seq: Seq) {
        if self.lags {
            return;
        }
        self.applied = last_seq;
        for told in std::mem::take(&mut self.told).into_values() {
            match told {
                Told::Keep(row) => {
                    self.ever.insert((row.id.0, row.generation));
                    self.rows.insert((row.id.0, row.generation), *row);
                }
                Told::Erase(erased) => self.rows.retain(|(id, _), _| *id != erased.0),
            }
        }
    }

    fn find(&self, wanted: &Wanted) -> Option<Deadline> {
        match wanted {
            Wanted::Key(Address { queue, key }) => {
                let rows = self.rows.values().rev();
                rows.into_iter().find(|row| row.queue == *queue && row.key == *key).cloned()
            }
            Wanted::Id(id, generation) => self.rows.get(&(id.0, *generation)).cloned(),
        }
    }
}

fn facts(bytes: &[u8]) -> Vec<Fact> {
    record::read(bytes).map(|fact| fact.expect("the engine reads what it wrote")).collect()
}

fn queues(engine: &mut Engine) -> BTreeMap<QueueName, QueueView> {
    let Answer::Queues(views) = engine.decide(Command::ListQueues, Known::Absent) else {
        panic!("a list of queues is a list of queues");
    };
    let plain = |view: QueueView| QueueView {
        last_leased_at: None,
        too_late: 0,
        now: Held { oldest_waiting: None, ..view.now },
        ..view
    };
    views.into_iter().map(|view| (view.queue.clone(), plain(view))).collect()
}

fn records(engine: &mut Engine, queue: &QueueName) -> BTreeMap<u64, Deadline> {
    let mut all = BTreeMap::new();
    let mut from_slot = 0;
    loop {
        let filter = Filter::default();
        let (queue, after, limit) = (Some(queue.clone()), None, usize::MAX);
        let scan = Command::Scan(Scan { queue, from_slot, filter, after, limit });
        let Answer::Scanned { found, next_slot } = engine.decide(scan, Known::Absent) else {
            panic!("a scan of a known queue is a scan");
        };
        all.extend(found.into_iter().map(|deadline| (deadline.id.0, deadline)));
        match next_slot {
            Some(next) => from_slot = next,
            None => return all,
        }
    }
}

fn clock(engine: &mut Engine) -> (Option<&'static str>, Time) {
    let Answer::Clock(view) = engine.decide(Command::GetClock, Known::Absent) else {
        panic!("the clock is a clock");
    };
    (view.guard.map(duly_engine::answer::GuardReason::word), view.recovery_until)
}
