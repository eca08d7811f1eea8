//! From a directory on a disk to a running driver.
//!
//! The order matters: lock the directory, open the archive (how far does it reach?), replay the
//! journal into the engine, and only then start the threads and begin to serve.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::sync::mpsc::{Sender, channel, sync_channel};
use std::thread::JoinHandle;

use anyhow::{Context, bail};
use duly_engine::effect::Effect;
use duly_engine::id::{DirectoryId, Seq};
use duly_engine::limits::{Limits, OUTCOMES_BYTES};
use duly_engine::time::Time;
use duly_engine::{Engine, Replayed};
use duly_store::disk::{Disk, RealDisk};
use duly_store::journal::{self, Options, RecordView};
use duly_store::{Directory, Error, FreshIdentity, SECRET_BYTES, archive};
use tokio::sync::mpsc::unbounded_channel;

use super::threads::{Crew, Outlets, start};
use super::{Announced, Answers, Attempts, Events, Message, Parts, Vitals, can_step};
use crate::clock::Clock;
use crate::metrics::Metrics;

/// Where and how to keep things.
#[derive(Clone, Debug)]
pub struct StoreSettings {
    /// Length of a journal segment, in bytes.
    pub segment_bytes: u64,
    /// Spare segments kept in reserve.
    pub reserve: usize,
    /// The journal may grow to this, in bytes, before it is cleaned.
    pub keep_bytes: u64,
    /// So much of what has happened lately is kept in memory for those who listen, in bytes.
    pub events_bytes: usize,
}

/// A driver at work.
pub struct Running {
    /// The way to it.
    pub door: Door,
    /// What it hands out.
    pub attempts: Attempts,
    /// The answers that go out, to be shared out in the runtime of those who ask.
    pub answers: Answers,
    /// The directory's own secret.
    pub secret: [u8; SECRET_BYTES],
    /// Ends when it has stopped and everything is on the disk.
    pub ended: JoinHandle<()>,
}

/// What a way to the driver needs.
pub struct Door {
    /// Where to ask.
    pub inbox: Sender<Message>,
    /// The driver's clock.
    pub clock: Arc<Clock>,
    /// Its figures.
    pub vitals: Arc<Vitals>,
    /// For lists.
    pub archive: archive::Reader,
    /// What has happened lately.
    pub events: Events,
}

/// Opens a data directory and starts the driver over it.
pub fn open(
    data: &Path,
    store: &StoreSettings,
    limits: Limits,
    clock: Clock,
    metrics: Metrics,
) -> anyhow::Result<Running> {
    let disk: Arc<dyn Disk> = Arc::new(
        RealDisk::open(data)
            .with_context(|| format!("cannot use the data directory {}", data.display()))?,
    );
    let directory = Directory::open(disk, fresh_identity()?)?;
    let secret = directory.secret(random()?)?;
    let archive = archive::Writer::open(&data.join("archive.db"), &directory)?;
    let applied = archive.applied_seq();
    let Replay { engine, journal: opened, unarchived, events } =
        replay(&directory, store, limits, applied)?;
    let report = &opened.report;
    if let Some(torn) = &report.torn {
        tracing::warn!(file = %torn.file.display(), offset = torn.offset, bytes = torn.bytes,
            "cut an unfinished record from the journal's end: nobody had been told of it");
    }
    tracing::info!(
        data = %data.display(), directory = %identity(&directory), segments = report.segments,
        facts = report.facts, bytes = report.bytes, "journal replayed"
    );

    let last_seq = report.next_seq - 1;
    archive.check_journal(last_seq)?;
    if !can_step(&opened.placer) {
        // Serving begins with a fact: how long nobody could settle.
        return Err(Error::Full { path: data.to_owned(), wanted: Some(store.segment_bytes) }.into());
    }
    if !engine.has_room_for_queues() {
        bail!(
            "journal.segment_size: {} bytes are too small for the queues of {}; make it larger",
            store.segment_bytes,
            data.display()
        );
    }
    clock.not_before(engine.now());
    let vitals = Arc::new(Vitals {
        durable: AtomicU64::new(last_seq),
        archived: AtomicU64::new(applied),
        ..Vitals::default()
    });
    let clock = Arc::new(clock);
    let inbox = channel();
    let (nudge, nudged) = sync_channel(1);
    let (answers, answered) = unbounded_channel();
    let (attempts, received) = unbounded_channel();
    let door = Door {
        inbox: inbox.0.clone(),
        clock: Arc::clone(&clock),
        vitals: Arc::clone(&vitals),
        archive: archive.reader()?,
        events: events.clone(),
    };
    let ended = start(Crew {
        parts: Parts {
            engine,
            placer: opened.placer,
            vitals,
            keep_bytes: store.keep_bytes,
            archived_keys: archive.filter(),
            nudge,
        },
        writer: opened.writer,
        allocator: opened.allocator,
        library: archive.reader()?,
        filling: archive.filter_build()?,
        archive,
        clock: Arc::clone(&clock),
        inbox,
        nudged,
        directory,
        outlets: Outlets { answers, attempts, metrics, events, clock },
        unarchived,
    });
    Ok(Running { door, answers: Answers(answered), attempts: Attempts(received), secret, ended })
}

/// What the journal of a directory tells.
pub struct Replay {
    /// The rules, with everything that is live.
    pub engine: Engine,
    /// The journal's three parts and what was found.
    pub journal: journal::Journal,
    /// What the archive has not heard of yet.
    pub unarchived: Vec<Effect>,
    /// What has happened lately, as far as the journal still tells.
    pub events: Events,
}

/// Replays the journal into an engine that forgets what the archive has, which is everything final
/// up to `applied`.
pub fn replay(
    directory: &Directory,
    store: &StoreSettings,
    limits: Limits,
    applied: Seq,
) -> Result<Replay, Error> {
    let limits = with_room_for_queues(limits, store.segment_bytes);
    let seed = directory.hash_seed();
    let mut engine = Engine::new(identity(directory), [half(&seed, 0), half(&seed, 8)], limits);
    let mut unarchived = Vec::new();
    let events = Events::new(identity(directory), store.events_bytes);
    let mut replay = |record: RecordView<'_>| {
        let replayed = Replayed {
            segment: record.segment,
            facts_offset: record.offset_of_facts,
            first_seq: record.first_seq,
            at: Time::from_millis(record.time_ms),
            facts: record.facts,
        };
        if events.last() == 0 {
            events.forget(record.first_seq - 1);
        }
        engine.replay(replayed).map_err(|fault| journal::ReplayFault(fault.to_string()))?;
        let (bytes, untold) = engine.replayed_announcements();
        events.push(Announced { bytes, last_seq: engine.last_seq() });
        events.forget(untold.unwrap_or(0));
        unarchived.extend(engine.replayed_effects().into_iter().filter(|effect| match effect {
            Effect::Archive(last) => last.seq > applied,
            Effect::Erase { seq, .. } => *seq > applied,
            Effect::Attempt { .. } | Effect::Notice(_) => false,
        }));
        engine.evict(applied, usize::MAX);
        Ok(())
    };
    let options = Options { segment_bytes: store.segment_bytes, reserve: store.reserve };
    let journal = journal::open(directory, options, &mut replay)?;
    Ok(Replay { engine, journal, unarchived, events })
}

/// Queues take no more room than the beginning of a segment of this length has for them.
fn with_room_for_queues(mut limits: Limits, segment_bytes: u64) -> Limits {
    let room = journal::largest_facts(segment_bytes);
    let for_queues = room.saturating_sub(OUTCOMES_BYTES).max(room / 2);
    limits.queues_bytes = limits.queues_bytes.min(for_queues);
    limits
}

pub(super) fn identity(directory: &Directory) -> DirectoryId {
    DirectoryId(u64::from_be_bytes(directory.id()))
}

pub(super) fn half(seed: &[u8; 16], from: usize) -> u64 {
    let mut bytes = [0; 8];
    bytes.copy_from_slice(&seed[from..from + 8]);
    u64::from_be_bytes(bytes)
}

/// Random bytes for a directory that is new.
fn fresh_identity() -> anyhow::Result<FreshIdentity> {
    Ok(FreshIdentity { id: random()?, hash_seed: random()? })
}

fn random<const BYTES: usize>() -> anyhow::Result<[u8; BYTES]> {
    let mut bytes = [0; BYTES];
    getrandom::fill(&mut bytes).context("the system gives no random bytes")?;
    Ok(bytes)
}
