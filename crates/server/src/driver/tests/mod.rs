//! The driver without its threads: one step at a time, over a disk that loses what was not synced.
//!
//! [`World`] does by hand what the threads do: it writes and syncs releases, lets answers go, feeds
//! the archive, looks things up, reads old segments. It does each of them when a test says so, and
//! cuts the power between any two. Segments are small, so that a few hundred commands cross several.
//! It never waits for a real clock.

mod bounds;
mod random;

use std::collections::VecDeque;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, sync_channel};

use duly_engine::answer::{Answer, Leased, Wanted};
use duly_engine::clock::Reading;
use duly_engine::command::{Address, Command, IfExists, Schedule, Settle, When};
use duly_engine::deadline::{Deadline, Payload, PayloadAt, PayloadKind};
use duly_engine::effect::Effect;
use duly_engine::id::{Key, Outcome, QueueName};
use duly_engine::limits::Limits;
use duly_engine::time::{Span, Time};
use duly_store::archive::{self, Item};
use duly_store::disk::MemoryDisk;
use duly_store::journal::{Allocator, Placed, Progress, Writer};
use duly_store::{Directory, FreshIdentity};
use tokio::sync::{Semaphore, oneshot};

use super::clean::Errand;
use super::open::{Replay, StoreSettings, replay};
use super::{Ask, Driver, Message, OldRecord, Parts, Pins, Release, Reply, Vitals, Wait};

/// Sunday 2026-11-22, 12:00 UTC: when every world begins.
const NOON: Time = Time::from_millis(1_795_348_800_000);
const SMALL: StoreSettings =
    StoreSettings { segment_bytes: 1 << 20, reserve: 5, keep_bytes: 3 << 20 };
/// Facts of one step, with their header: what a step makes sure of before it begins.
const LARGEST_STEP: usize = 384 << 10;
/// More rounds than this are a loop that does not end.
const ROUNDS: usize = 10_000;
/// Records read in one go for cleaning.
const READ_TOGETHER: usize = 8;

/// A folder for the archive; gone with the test.
struct Folder(PathBuf);

impl Folder {
    fn new() -> Folder {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("duly-driver-{}-{number}", std::process::id());
        let path = std::env::temp_dir().join(name);
        std::fs::create_dir_all(&path).expect("a folder for this test");
        Folder(path)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // A folder that stays is no reason to fail a second time.
        std::fs::remove_dir_all(&self.0).unwrap_or_default();
    }
}

/// A driver and everything around it.
struct World {
    disk: MemoryDisk,
    folder: Folder,
    wall: Time,
    up: Option<Up>,
}

/// What a power cut takes.
struct Up {
    driver: Driver,
    vitals: Arc<Vitals>,
    writer: Writer,
    allocator: Allocator,
    _nudged: Receiver<()>,
    archive: archive::Writer,
    library: archive::Reader,
    permits: Arc<Semaphore>,
    /// Released by the driver, not yet written.
    releases: VecDeque<Release>,
    /// Durable, not yet archived.
    to_archive: Vec<(Vec<Effect>, u64, Pins)>,
    wanted: VecDeque<Wanted>,
    /// Records of the segment that is being cleaned, to be handed over.
    old: VecDeque<OldRecord>,
    errand: Option<Errand>,
    inbox: Vec<Message>,
    attempts: Vec<Leased>,
    waits: u64,
    // Dropped last: the lock outlives what it guards.
    _directory: Directory,
}

impl World {
    fn new() -> World {
        let folder = Folder::new();
        let mut world = World { disk: MemoryDisk::new(), folder, wall: NOON, up: None };
        world.open();
        world
    }

    fn up(&mut self) -> &mut Up {
        self.up.as_mut().expect("the power is on")
    }

    fn reading(&self) -> Reading {
        let boot = Span::from_millis(self.wall.millis());
        Reading { wall: self.wall, boot }
    }

    /// Power on.
    fn open(&mut self) {
        let fresh = FreshIdentity { id: *b"driver-1", hash_seed: [7; 16] };
        let directory = Directory::open(Arc::new(self.disk.clone()), fresh).expect("it opens");
        let path = self.folder.0.join("archive.db");
        let archive = archive::Writer::open(&path, &directory).expect("the archive opens");
        let applied = archive.applied_seq();
        let Replay { engine, journal, unarchived } =
            replay(&directory, &SMALL, Limits::default(), applied).expect("the journal replays");
        let last_seq = journal.report.next_seq - 1;
        archive.check_journal(last_seq).expect("the archive is not ahead");
        let vitals = Arc::new(Vitals {
            durable: AtomicU64::new(last_seq),
            archived: AtomicU64::new(applied),
            ..Vitals::default()
        });
        let mut filling = archive.filter_build().expect("the archive can be read");
        while !filling.step().expect("the archive can be read") {}
        let (nudge, nudged) = sync_channel(1);
        let pins = Pins::of(&journal.placer);
        let mut driver = Driver::new(Parts {
            engine,
            placer: journal.placer,
            vitals: Arc::clone(&vitals),
            keep_bytes: SMALL.keep_bytes,
            archived_keys: archive.filter(),
            nudge,
        });
        let release = driver.open(self.reading());
        self.up = Some(Up {
            driver,
            vitals,
            writer: journal.writer,
            allocator: journal.allocator,
            _nudged: nudged,
            library: archive.reader().expect("the archive can be read"),
            archive,
            permits: Arc::new(Semaphore::new(100_000)),
            releases: VecDeque::from([release]),
            to_archive: vec![(unarchived, last_seq, pins)],
            wanted: VecDeque::new(),
            old: VecDeque::new(),
            errand: None,
            inbox: Vec::new(),
            attempts: Vec::new(),
            waits: 0,
            _directory: directory,
        });
        self.sync();
    }

    /// Power off and on again; of what was not synced only some is left.
    fn crash(&mut self, seed: u64) {
        self.up = None;
        self.disk.crash(seed);
        self.open();
    }

    // What comes from outside.

    fn ask(&mut self, commands: Vec<Command>) -> oneshot::Receiver<Reply> {
        let (ask, answers) = self.request(commands);
        self.up().inbox.push(Message::Ask(ask));
        answers
    }

    fn lease(&mut self, queue: &str, max: usize) -> oneshot::Receiver<Reply> {
        let queue = QueueName::new(queue).expect("a good name");
        let span = Span::from_mins(10);
        let (ask, answers) = self.request(vec![Command::Lease { queue: queue.clone(), max, span }]);
        let up = self.up();
        up.waits += 1;
        up.inbox.push(Message::Lease(Wait { ask, queue, number: up.waits }));
        answers
    }

    fn leave(&mut self, queue: &str, number: u64) {
        let queue = QueueName::new(queue).expect("a good name");
        self.up().inbox.push(Message::Leave(queue, number));
    }

    fn request(&mut self, commands: Vec<Command>) -> (Ask, oneshot::Receiver<Reply>) {
        let permits = Arc::clone(&self.up().permits);
        let permit = permits.try_acquire_owned().expect("there are enough");
        let (reply, answers) = oneshot::channel();
        (Ask { commands, reply, permit }, answers)
    }

    // What the threads do.

    /// One step of the driver. True when it has more to do at once.
    fn step(&mut self) -> bool {
        let reading = self.reading();
        let up = self.up();
        let messages = std::mem::take(&mut up.inbox);
        let (release, more) = up.driver.step(reading, messages);
        let facts = release.records.last().map_or(0, Placed::bytes);
        assert!(facts <= LARGEST_STEP, "a step of {facts} bytes");
        up.releases.push_back(release);
        more
    }

    /// Writes what was released, without syncing it: only a crash can come after this.
    fn write(&mut self) {
        let up = self.up();
        for release in std::mem::take(&mut up.releases) {
            for record in release.records {
                up.writer.write(record).expect("the disk works");
            }
        }
    }

    /// Writes and syncs what was released, and lets it go.
    fn sync(&mut self) {
        let up = self.up();
        while let Some(release) = up.releases.pop_front() {
            for record in release.records {
                up.writer.write(record).expect("the disk works");
            }
            up.writer.sync().expect("the disk works");
            up.vitals.durable.store(release.last_seq, Ordering::Release);
            for answered in release.answered {
                answered.leave(&release.pins);
            }
            let mut to_archive = Vec::new();
            for effect in release.effects {
                match effect {
                    Effect::Attempt { deliveries, .. } => {
                        for mut delivery in deliveries {
                            release.pins.fetch(&mut delivery.payload);
                            up.attempts.push(delivery);
                        }
                    }
                    Effect::Notice(_) => {}
                    kept => to_archive.push(kept),
                }
            }
            up.to_archive.push((to_archive, release.last_seq, release.pins.clone()));
            up.wanted.extend(release.wanted);
            if let Some(Errand::Begin(number)) = release.errand {
                let segment = release.pins.segment(number).expect("it is there to be cleaned");
                up.old = old_records(&segment);
            }
            up.errand = release.errand.or(up.errand);
        }
    }

    /// Archives what is durable.
    fn archive(&mut self) {
        let up = self.up();
        for (effects, last_seq, pins) in std::mem::take(&mut up.to_archive) {
            let items: Vec<Item> = effects
                .into_iter()
                .filter_map(|mut effect| {
                    effect.payloads_mut().into_iter().for_each(|payload| pins.fetch(payload));
                    match effect {
                        Effect::Archive(last) => Some(Item::Keep(last)),
                        Effect::Erase { seq, id } => Some(Item::Erase { seq, id }),
                        Effect::Attempt { .. } | Effect::Notice(_) => None,
                    }
                })
                .collect();
            if !items.is_empty() {
                up.archive.apply(&items, last_seq).expect("the archive takes it");
                up.inbox.push(Message::Wake);
            }
            up.vitals.archived.fetch_max(last_seq, Ordering::AcqRel);
        }
    }

    /// Answers what the driver wants to have looked up.
    fn look_up(&mut self) {
        let up = self.up();
        for wanted in std::mem::take(&mut up.wanted) {
            let known = up.library.look_up(&wanted).expect("the archive can be read");
            up.inbox.push(Message::Found(wanted, known));
        }
    }

    /// Reads on in the segment that is being cleaned.
    fn read_old(&mut self) {
        let up = self.up();
        if up.errand.take().is_some() {
            let some = up.old.len().min(READ_TOGETHER);
            let records = up.old.drain(..some).collect();
            up.inbox.push(Message::Restate(records, up.old.is_empty()));
        }
    }

    /// Keeps spare segments ready.
    fn allocate(&mut self) {
        while self.up().allocator.tick().expect("the disk works") == Progress::Worked {}
    }

    /// What goes on while the archive does not come further.
    fn without_archive(&mut self) {
        for _ in 0..4 {
            self.step();
            self.sync();
            self.look_up();
            self.read_old();
            self.allocate();
        }
    }

    /// Lets everything go its way until nothing more is to be done at this time.
    fn settle_down(&mut self) {
        for _ in 0..ROUNDS {
            let more = self.step();
            self.sync();
            self.archive();
            self.look_up();
            self.read_old();
            self.allocate();
            let up = self.up();
            let archived = up.vitals.archived.load(Ordering::Acquire);
            let wakes = up.driver.next_wake();
            let idle = up.inbox.is_empty()
                && archived == up.vitals.durable.load(Ordering::Acquire)
                && wakes.is_none_or(|at| at > self.wall);
            if !more && idle {
                return;
            }
        }
        panic!("it never comes to rest");
    }

    /// Asks, and waits for the answers.
    fn answers(&mut self, commands: Vec<Command>) -> Vec<Answer> {
        let mut asked = self.ask(commands);
        self.settle_down();
        told(&mut asked).expect("everything asked has been answered")
    }

    /// The deadline under this key, as it is told.
    fn get(&mut self, key: &str) -> Option<Deadline> {
        match self.answers(vec![Command::Get(at(key))]).pop() {
            Some(Answer::Deadline(deadline)) => Some(*deadline),
            _ => None,
        }
    }

    /// How many segments there are.
    fn segments(&mut self) -> usize {
        self.up().driver.parts.placer.segments().count()
    }

    fn pass(&mut self, span: Span) {
        self.wall = self.wall.plus(span);
    }
}

/// What somebody was told, payloads fetched; nothing while the answer has not left.
fn told(asked: &mut oneshot::Receiver<Reply>) -> Option<Vec<Answer>> {
    let mut reply = asked.try_recv().ok()?;
    for payload in reply.answers.iter_mut().flat_map(Answer::payloads_mut) {
        reply.pins.fetch(payload);
    }
    Some(reply.answers)
}

fn old_records(segment: &Arc<duly_store::journal::Segment>) -> VecDeque<OldRecord> {
    let mut scan = segment.scan().expect("a sealed segment can be walked");
    let mut records = VecDeque::new();
    while let Some(record) = scan.next_record().expect("a sealed segment can be read") {
        records.push_back(OldRecord {
            segment: record.segment,
            facts_offset: record.offset_of_facts,
            first_seq: record.first_seq,
            time_ms: record.time_ms,
            facts: record.facts.to_vec(),
        });
    }
    records
}

fn at(key: &str) -> Address {
    Address {
        queue: QueueName::new("orders").expect("a good name"),
        key: Key::new(key).expect("a good key"),
    }
}

/// A schedule with a payload of so many bytes that names its key.
fn schedule(key: &str, after: Span, bytes: usize, if_exists: IfExists) -> Command {
    let mut text = format!("{key}:").into_bytes();
    text.resize(bytes.max(text.len()), b'x');
    let payload = Payload { kind: PayloadKind::Bytes, bytes: text.into() };
    Command::Schedule(Schedule {
        at: at(key),
        when: When::After(after),
        payload: Some(payload),
        priority: None,
        if_exists,
        allow_past: false,
    })
}

fn settle(key: &str) -> Command {
    let outcome = Outcome::new("paid").expect("a good outcome");
    Command::Settle(Settle { at: at(key), outcome, remember: None, generation: None })
}

fn payload_of(deadline: &Deadline) -> &[u8] {
    match &deadline.payload {
        PayloadAt::Here(payload) => &payload.bytes,
        other => panic!("{other:?} is no payload that was told"),
    }
}
