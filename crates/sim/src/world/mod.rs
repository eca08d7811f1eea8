//! The product in one thread, over nothing that is real.
//!
//! A [`World`] is a machine: a disk that lies, clocks that can be set, an archive in memory, and, while
//! the process runs, the product's own driver, engine, journal, cleaning and allocation. It does by
//! hand what the product's threads do, one [`Duty`] at a time and only as far ahead of each other as
//! the threads let them run: one release syncing, one gathered. Whoever holds the world says which
//! duty is next, so that the power can go between any two of them and, through the disk's faults,
//! inside one.
//!
//! It judges nothing; what may be told and what must survive is the oracle's business. There is no
//! clock, thread or randomness in here: the same calls give the same bytes.

#[cfg(test)]
mod bounds;
mod clocks;
mod duties;
mod outlet;
mod shelf;

use std::collections::VecDeque;
use std::fmt;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::sync::mpsc::{Receiver, sync_channel};

use duly::driver::open::{Replay, StoreSettings, replay};
use duly::driver::{
    Ask, Attempt, Driver, Errand, Events, Message, OldRecords, Parts, Pins, Release, Reply, Vitals,
    Wait, can_step,
};
use duly_engine::Engine;
use duly_engine::announce::Announcement;
use duly_engine::answer::{Known, Wanted};
use duly_engine::clock::Reading;
use duly_engine::command::Command;
use duly_engine::effect::Notice;
use duly_engine::id::{QueueName, Seq};
use duly_engine::limits::Limits;
use duly_engine::time::{Span, Time};
use duly_store::archive::Filter;
use duly_store::disk::{Disk, MemoryDisk};
use duly_store::journal::{self, Allocator, Kind, Writer};
use duly_store::{Directory, Error, FreshIdentity};
use tokio::sync::{Semaphore, oneshot};

use self::clocks::Clocks;
use self::outlet::Out;
pub(crate) use self::shelf::Shelf;
use self::shelf::Transaction;

/// Requests that may be under way at once.
const PERMITS: usize = 100_000;
/// Look-ups that are remembered, to tell which are repeated.
const LATELY: usize = 4;
/// The allocator tries again after so long when the disk was full.
const ALLOCATE_EVERY: Span = Span::from_secs(1);

/// What does not change in the life of a world.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    /// The size of the journal's files, and how many.
    pub(crate) store: StoreSettings,
    /// What the operator allows.
    pub(crate) limits: Limits,
    /// The driver steps at least so often, with nothing to do.
    pub(crate) look_every: Span,
    /// What the directory's random bytes are, if it is new.
    pub(crate) identity: u64,
}

/// One thing that a thread of the product does in one go.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Duty {
    /// The driver: one step, over all that has arrived.
    Step,
    /// The journal: write the oldest release.
    Write,
    /// The journal: sync it and let everything go.
    Leave,
    /// The archive: begin a transaction with what has come.
    Begin,
    /// The archive: commit it.
    Commit,
    /// The archive: let go of what is old.
    Sweep,
    /// The library: look one thing up.
    LookUp,
    /// The library: give the driver what was found.
    Found,
    /// The cleaner: read on in the old segment.
    Clean,
    /// The allocator: one piece of work.
    Allocate,
    /// The filter: fill it from the archive.
    Fill,
}

impl Duty {
    /// All of them.
    pub(crate) const ALL: [Duty; 11] = [
        Duty::Step,
        Duty::Write,
        Duty::Leave,
        Duty::Begin,
        Duty::Commit,
        Duty::Sweep,
        Duty::LookUp,
        Duty::Found,
        Duty::Clean,
        Duty::Allocate,
        Duty::Fill,
    ];
}

/// How far the cleaning of the oldest segment has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cleaning {
    /// The cleaner has been asked for its first records.
    Begun,
    /// Its records are being read and stated anew.
    Reading,
    /// All are read; it waits to be freed.
    Waiting,
}

/// What came of a duty.
#[derive(Debug)]
pub(crate) enum Done {
    /// A step was made.
    Stepped(Stepped),
    /// A release has left: everything up to this fact is durable and may be heard of.
    Left(Seq),
    /// Something else.
    Worked,
}

/// A step of the driver, as whoever watches sees it.
#[derive(Debug)]
pub(crate) struct Stepped {
    /// What the clocks showed.
    pub(crate) reading: Reading,
    /// Journal time in it.
    pub(crate) at: Time,
    /// Spare segments when it ended.
    pub(crate) spares: usize,
    /// Had it room for a fact at all?
    pub(crate) has_room: bool,
    /// Does the engine go by the wall clock?
    pub(crate) trusts: bool,
    /// What it wants to be written.
    pub(crate) records: Vec<Written>,
}

/// A record of the journal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Written {
    pub(crate) is_base: bool,
    pub(crate) first_seq: Seq,
    pub(crate) time_ms: u64,
    pub(crate) facts: Vec<u8>,
}

/// The process ended by itself.
#[derive(Debug)]
pub(crate) struct Death {
    pub(crate) what: &'static str,
    pub(crate) why: Error,
}

impl std::error::Error for Death {}

impl fmt::Display for Death {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.what, self.why)
    }
}

fn cannot(what: &'static str) -> impl Fn(Error) -> Death {
    move |why| Death { what, why }
}

/// A machine.
pub(crate) struct World {
    pub(crate) settings: Settings,
    pub(crate) disk: MemoryDisk,
    pub(crate) clocks: Clocks,
    pub(crate) shelf: Shelf,
    /// What the processes before have announced, in the order it was heard.
    heard: Vec<Announcement>,
    /// The process, while it runs.
    up: Option<Up>,
}

/// A process: all that its end takes with it.
struct Up {
    driver: Driver,
    vitals: Arc<Vitals>,
    writer: Writer,
    allocator: Allocator,
    nudged: Receiver<()>,
    filter: Arc<Filter>,
    permits: Arc<Semaphore>,
    inbox: Vec<Message>,
    /// The driver has more to do at once.
    more: bool,
    /// When it steps again whatever comes.
    wake_at: Span,
    /// The journal's, then the driver's that waits for the journal to take it.
    releases: VecDeque<Release>,
    is_written: bool,
    out: Out,
    transaction: Option<Transaction>,
    found: VecDeque<Message>,
    old: Option<OldRecords>,
    /// The oldest segment, read to its end.
    read_out: Option<u32>,
    has_freed: bool,
    /// What was found lately.
    found_lately: VecDeque<(Wanted, Known)>,
    last_look_up: (bool, bool),
    /// When the allocator works next; now, if it was nudged.
    allocate_at: Option<Span>,
    waits: u64,
    // Dropped last: the lock outlives what it guards.
    _directory: Directory,
}

impl World {
    /// A machine with an empty disk, switched off.
    pub(crate) fn new(settings: Settings) -> World {
        World {
            settings,
            disk: MemoryDisk::new(),
            clocks: Clocks::default(),
            shelf: Shelf::default(),
            heard: Vec::new(),
            up: None,
        }
    }

    /// Is the process running?
    pub(crate) fn is_up(&self) -> bool {
        self.up.is_some()
    }

    fn up(&mut self) -> &mut Up {
        self.up.as_mut().expect("the process is running")
    }

    /// The driver, to be looked at.
    pub(crate) fn driver(&self) -> &Driver {
        &self.up.as_ref().expect("the process is running").driver
    }

    // The process begins and ends.

    /// Starts the process. Says what the journal was found to be.
    pub(crate) fn open(&mut self) -> Result<journal::Report, Death> {
        assert!(self.up.is_none(), "one process at a time");
        let directory = directory(&self.disk, &self.settings)?;
        let applied = self.shelf.applied();
        let Settings { store, limits, .. } = &self.settings;
        let Replay { engine, journal, unarchived, events } =
            replay(&directory, store, limits.clone(), applied).map_err(cannot("replay"))?;
        let last_seq = journal.report.next_seq - 1;
        assert!(applied <= last_seq, "the archive has seen {applied} of {last_seq} facts");
        if !can_step(&journal.placer) {
            let path = "the journal".into();
            return Err(cannot("begin")(Error::Full { path, wanted: None }));
        }
        let vitals = Arc::new(Vitals {
            durable: AtomicU64::new(last_seq),
            archived: AtomicU64::new(applied),
            ..Vitals::default()
        });
        let (nudge, nudged) = sync_channel(1);
        let filter = Arc::new(Filter::new(directory.hash_seed(), self.shelf.len() as u64));
        let pins = Pins::of(&journal.placer);
        let mut driver = Driver::new(Parts {
            engine,
            placer: journal.placer,
            vitals: Arc::clone(&vitals),
            keep_bytes: store.keep_bytes,
            archived_keys: Arc::clone(&filter),
            nudge,
        });
        let release = driver.open(self.clocks.read());
        self.up = Some(Up {
            driver,
            vitals,
            writer: journal.writer,
            allocator: journal.allocator,
            nudged,
            filter,
            permits: Arc::new(Semaphore::new(PERMITS)),
            inbox: Vec::new(),
            more: true,
            wake_at: self.clocks.passed(),
            releases: VecDeque::from([release]),
            is_written: false,
            out: Out::beginning(unarchived, last_seq, pins, events),
            transaction: None,
            found: VecDeque::new(),
            old: None,
            read_out: None,
            has_freed: false,
            found_lately: VecDeque::new(),
            last_look_up: (false, false),
            allocate_at: Some(self.clocks.passed()),
            waits: 0,
            _directory: directory,
        });
        Ok(journal.report)
    }

    /// What the step of the opening wants to be written.
    pub(crate) fn opening(&self) -> Stepped {
        let up = self.up.as_ref().expect("the process is running");
        let records = up.releases.back().map_or(Vec::new(), written);
        up.stepped(self.clocks.read(), records)
    }

    /// Cuts the power: of what was not synced, this seed decides how much is left. The commit that
    /// was under way has just been made, or has not.
    pub(crate) fn cut_power(&mut self, seed: u64) {
        self.end(seed.is_multiple_of(2));
        self.disk.crash(seed);
    }

    /// Kills the process; the machine goes on and remembers what was written.
    pub(crate) fn kill(&mut self, has_committed: bool) {
        self.end(has_committed);
        self.disk.kill();
    }

    fn end(&mut self, has_committed: bool) {
        let Some(Up { transaction, filter, out, .. }) = self.up.take() else { return };
        self.heard.extend(out.heard);
        if let Some(transaction) = transaction
            && has_committed
        {
            self.shelf.commit(transaction, &filter);
        }
    }

    /// The records that a start would find now, oldest first. The disk stays as it is.
    pub(crate) fn survivors(&self) -> Result<Vec<Written>, Death> {
        self.survivors_on(&self.disk.fork())
    }

    /// The same on a disk that nobody else uses.
    pub(crate) fn survivors_on(&self, disk: &MemoryDisk) -> Result<Vec<Written>, Death> {
        disk.kill();
        disk.set_full(false);
        let directory = directory(disk, &self.settings)?;
        let StoreSettings { segment_bytes, reserve, .. } = self.settings.store;
        let mut records = Vec::new();
        let mut keep = |record: journal::RecordView<'_>| {
            records.push(Written {
                is_base: record.kind == Kind::Base,
                first_seq: record.first_seq,
                time_ms: record.time_ms,
                facts: record.facts.to_vec(),
            });
            Ok(())
        };
        journal::open(&directory, journal::Options { segment_bytes, reserve }, &mut keep)
            .map_err(cannot("look at the journal"))?;
        Ok(records)
    }

    /// The engine that a start would make now of the journal. The disk stays as it is.
    pub(crate) fn replayed(&self) -> Result<Engine, Death> {
        let disk = self.disk.fork();
        disk.kill();
        disk.set_full(false);
        let directory = directory(&disk, &self.settings)?;
        let Settings { store, limits, .. } = &self.settings;
        let replayed = replay(&directory, store, limits.clone(), self.shelf.applied());
        Ok(replayed.map_err(cannot("replay"))?.engine)
    }

    /// The files that hold records, and how long they are.
    pub(crate) fn journal_files(&self) -> Vec<(String, u64)> {
        let names = self.disk.fork().list("journal").unwrap_or_default();
        let segments = names
            .into_iter()
            .filter(|name| Path::new(name).extension().is_some_and(|kind| kind == "seg"));
        let path = |name| format!("journal/{name}");
        segments.map(|name| (path(name), self.settings.store.segment_bytes)).collect()
    }

    // What comes from outside.

    /// Asks; the answers are there when the step that made the last of them has left.
    pub(crate) fn ask(&mut self, commands: Vec<Command>) -> oneshot::Receiver<Reply> {
        let (ask, answers) = self.request(commands);
        self.up().inbox.push(Message::Ask(ask));
        answers
    }

    /// A worker waits for something to lease; by its number it can leave.
    pub(crate) fn wait_for_lease(
        &mut self,
        queue: &QueueName,
        max: usize,
        span: Span,
    ) -> (u64, oneshot::Receiver<Reply>) {
        let lease = Command::Lease { queue: queue.clone(), key: None, max, span };
        let (ask, answers) = self.request(vec![lease]);
        let up = self.up();
        up.waits += 1;
        up.inbox.push(Message::Lease(Wait { ask, queue: queue.clone(), number: up.waits }));
        (up.waits, answers)
    }

    /// A worker has waited long enough.
    pub(crate) fn leave(&mut self, queue: &QueueName, number: u64) {
        self.up().inbox.push(Message::Leave(queue.clone(), number));
    }

    /// What has left for the targets since this was asked last.
    pub(crate) fn attempts(&mut self) -> Vec<(Attempt, Pins)> {
        std::mem::take(&mut self.up().out.attempts)
    }

    /// What an operator was told since this was asked last.
    pub(crate) fn notices(&mut self) -> Vec<Notice> {
        std::mem::take(&mut self.up().out.notices)
    }

    /// What the processes before this one have announced since this was asked last.
    pub(crate) fn heard(&mut self) -> Vec<Announcement> {
        std::mem::take(&mut self.heard)
    }

    /// What happened lately, as this process tells it to whoever asks.
    pub(crate) fn events(&self) -> &Events {
        &self.up.as_ref().expect("the process is running").out.events
    }

    fn request(&mut self, commands: Vec<Command>) -> (Ask, oneshot::Receiver<Reply>) {
        let permits = Arc::clone(&self.up().permits);
        let permit = permits.try_acquire_owned().expect("there are enough");
        let (reply, answers) = oneshot::channel();
        (Ask { commands, reply, permit }, answers)
    }

    // What can be seen of the threads.

    /// Where is the cleaning of a segment?
    pub(crate) fn cleaning(&self) -> Option<Cleaning> {
        let up = self.up.as_ref()?;
        match up.out.errand {
            Some((Errand::Begin(_), _)) => Some(Cleaning::Begun),
            _ if up.old.is_some() => Some(Cleaning::Reading),
            _ => up.read_out.map(|_| Cleaning::Waiting),
        }
    }

    /// Is a transaction of the archive under way?
    pub(crate) fn is_archiving(&self) -> bool {
        self.up.as_ref().is_some_and(|up| up.transaction.is_some())
    }

    /// Was a segment freed by the last step?
    pub(crate) fn has_freed(&self) -> bool {
        self.up.as_ref().is_some_and(|up| up.has_freed)
    }

    /// Of the last look-up: was it of something found before, that has changed since, and would a
    /// filter that is filled have spared it?
    pub(crate) fn last_look_up(&self) -> (bool, bool) {
        self.up.as_ref().map_or((false, false), |up| up.last_look_up)
    }
}

impl Up {
    /// How long the driver waits if nothing comes.
    fn wait(&self, reading: Reading) -> Option<Span> {
        let (at, now) = (self.driver.next_wake()?, self.driver.now());
        Some(match self.driver.trusts_clock() {
            _ if at <= now => Span::ZERO,
            true => at.since(reading.wall),
            false => at.since(now),
        })
    }

    fn stepped(&self, reading: Reading, records: Vec<Written>) -> Stepped {
        Stepped {
            reading,
            at: self.driver.now(),
            spares: self.driver.placer().spares(),
            has_room: self.driver.engine().storage() < duly_engine::Storage::Gone,
            trusts: self.driver.trusts_clock(),
            records,
        }
    }
}

fn directory(disk: &MemoryDisk, settings: &Settings) -> Result<Directory, Death> {
    let id = settings.identity.to_be_bytes();
    let mut hash_seed = [0; 16];
    hash_seed[..8].copy_from_slice(&settings.identity.rotate_left(17).to_be_bytes());
    let fresh = FreshIdentity { id, hash_seed };
    Directory::open(Arc::new(disk.clone()), fresh).map_err(cannot("open the directory"))
}

fn written(release: &Release) -> Vec<Written> {
    let records = release.records().iter();
    records
        .map(|placed| Written {
            is_base: placed.kind() == Kind::Base,
            first_seq: placed.first_seq(),
            time_ms: placed.time_ms(),
            facts: placed.facts().to_vec(),
        })
        .collect()
}
