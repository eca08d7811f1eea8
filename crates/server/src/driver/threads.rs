//! The threads around the driver, and all the waiting there is.
//!
//! ```text
//! inbox ──► driver ──► journal ──► answers, attempts, log
//!   ▲         (steps)   (write, sync)  ├──► archive   (finals, erasures)
//!   │                                  ├──► library   (look-ups)
//!   └────────── found, restate, wake ──┴──► cleaner   (old segments)
//!                                           allocator (spare segments)
//! ```
//!
//! Two more stand beside it: the watchdog, which only looks, and on the machine's clock the bell,
//! which wakes the driver when that is set.
//!
//! The journal thread takes one release at a time. While it syncs one, the driver gathers: a few
//! requests wait for those that come until the disk is free again, so that they share its next sync,
//! and many are decided meanwhile, as one step that then waits; of what is due a step does slice after
//! slice until then. So what is applied but not durable stays bounded, an idle server answers at once,
//! and a busy one has few large syncs. A fault of the disk ends the process with the status of the
//! fault and is never retried; a panic on any of these threads aborts it.

use std::convert::Infallible;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::{
    Receiver, RecvTimeoutError, Sender, SyncSender, TryRecvError, channel, sync_channel,
};
use std::sync::{Arc, OnceLock};
use std::thread::{self, Thread};
use std::time::{Duration, Instant};

use duly_engine::answer::Wanted;
use duly_engine::effect::{Effect, Notice};
use duly_engine::time::Time;
use duly_store::archive::{self, FilterBuild};
use duly_store::journal::{Allocator, Progress, Segment, Writer};
use duly_store::{Directory, Error};
use rustix::process::setpriority_process;
use rustix::thread::gettid;
use tokio::sync::mpsc::UnboundedSender;

use super::duty::spawn;
use super::retention::Retention;
use super::{
    Announced, Answered, Attempt, Driver, Errand, Events, Feed, Message, NotDurable, OldRecords,
    Outlet, Parts, Pins, Release, Vitals, watchdog,
};
use crate::clock::Clock;
use crate::clock::bell::Bell;
use crate::metrics::Metrics;

/// Commands gathered into one step at most.
const GATHERED: usize = 8_192;
/// The same while the archive is too far behind, and the pause after each such step.
const GATHERED_WHEN_BEHIND: usize = 256;
const WHEN_BEHIND: Duration = Duration::from_millis(20);
/// So many commands are worth a step while the journal is at work; fewer go along with what comes
/// until it is free.
const WORTH_A_STEP: usize = 256;
/// The driver looks at the clock at least so often: the bell makes it look at once where the machine
/// tells of a change, but no promise hangs on being told.
const LOOK_AT_CLOCK: Duration = Duration::from_millis(500);
/// How long the archive waits for a full disk or a busy database.
const ARCHIVE_WAITS: Duration = Duration::from_millis(200);
/// How long what is final comes together before it is written: [`RESTS`] times as long as the last
/// transaction took, within these. A sync of the journal waits for one of the archive, so many small ones
/// delay a lapse less than few large ones do, as long as the disk is fast.
const ARCHIVE_GATHERS: (Duration, Duration) =
    (Duration::from_millis(25), Duration::from_millis(100));
/// So many final records in a millisecond are a rush, which the archive lets pass for so long: it would
/// take processor and disk from those who are waiting for an answer.
const RUSH: u128 = 10;
const RUSH_PASSES: Duration = Duration::from_secs(2);
/// Niceness of a thread that works behind the others.
const BEHIND_OTHERS: i32 = 10;
/// Final records in one transaction of the archive at most.
const ARCHIVED_TOGETHER: usize = 32_768;
/// The allocator looks for missing spare segments when it is told to, and at least so often.
const ALLOCATE_EVERY: Duration = Duration::from_secs(1);
/// Who uses the disk behind the journal rests so many times as long as it has just used it.
const RESTS: u32 = 4;

/// What the journal thread hands on.
pub(crate) struct Outlets {
    /// To whoever asked.
    pub(crate) answers: UnboundedSender<(Vec<Answered>, Pins)>,
    /// To the deliverers.
    pub(crate) attempts: UnboundedSender<(Vec<Attempt>, Pins)>,
    /// To whoever looks at the figures.
    pub(crate) metrics: Metrics,
    /// To whoever listens.
    pub(crate) events: Events,
    /// To tell how late a lapse was when it had become durable.
    pub(crate) clock: Arc<Clock>,
}

/// Everything that must be there before the threads can start.
pub(crate) struct Crew {
    pub(crate) parts: Parts,
    pub(crate) writer: Writer,
    pub(crate) allocator: Allocator,
    pub(crate) archive: archive::Writer,
    pub(crate) library: archive::Reader,
    pub(crate) filling: FilterBuild,
    pub(crate) clock: Arc<Clock>,
    pub(crate) inbox: (Sender<Message>, Receiver<Message>),
    /// Wakes the allocator: a segment was begun or freed.
    pub(crate) nudged: Receiver<()>,
    /// Held as long as anything may touch the directory.
    pub(crate) directory: Directory,
    pub(crate) outlets: Outlets,
    /// Final records that replay found and the archive may lack.
    pub(crate) unarchived: Vec<Effect>,
}

/// Ends the process with the status of the fault: what follows cannot be trusted.
pub(crate) fn fail(what: &str, why: &Error) -> ! {
    tracing::error!(what, %why, "the node stops: its disk cannot be trusted any more");
    std::process::exit(i32::from(why.exit_status()))
}

/// Starts all threads. The handle given back ends when everything that was asked before the stop is
/// answered and archived.
pub(crate) fn start(crew: Crew) -> thread::JoinHandle<()> {
    let Crew { parts, writer, mut allocator, archive, library, clock, inbox, .. } = crew;
    let (inbox_sender, inbox) = inbox;
    let (nudged, directory) = (crew.nudged, crew.directory);
    let (outlets, unarchived, filling) = (crew.outlets, crew.unarchived, crew.filling);
    let pins = Pins::of(&parts.placer);
    let vitals = Arc::clone(&parts.vitals);
    let (releases, to_write) = sync_channel::<Release>(0);
    let (finals, to_archive) = channel::<Feed>();
    let (wanted, to_find) = channel::<Wanted>();
    let (errands, to_clean) = channel::<Clean>();
    let (serving, stopped) = channel::<Infallible>();
    let (watched, unwatched) = channel::<Infallible>();
    let bell = (!clock.is_manual()).then(|| hang_bell(&inbox_sender, &outlets.metrics)).flatten();
    let (watch_clock, watch_vitals) = (Arc::clone(&clock), Arc::clone(&vitals));
    let watchdog = (!clock.is_manual()).then(|| {
        spawn("watchdog", move || watchdog::watch(&watch_clock, &watch_vitals, &unwatched))
    });

    let archived = Arc::clone(&vitals);
    let wake = inbox_sender.clone();
    let archiving = spawn("archive", move || {
        let_others_go_first();
        keep(archive, &to_archive, &archived, &wake);
    });
    let finder = inbox_sender.clone();
    let library = spawn("library", move || look_up(&library, &to_find, &finder));
    let filter = spawn("filter", move || fill(filling, &stopped));
    let cleaner = spawn("cleaner", move || read_old(&to_clean, &inbox_sender));
    let written = Arc::clone(&vitals);
    let allocator = spawn("allocator", move || allocate(&mut allocator, &written, &nudged));
    let desk = Arc::new(Desk::default());
    let at_desk = Arc::clone(&desk);
    let journal = spawn("journal", move || {
        let last_seq = vitals.durable.load(Ordering::Acquire);
        drop(finals.send(Feed::replayed(unarchived, last_seq, pins)));
        let begun = crate::clock::stopwatch();
        let ways = Ways { outlets, finals, wanted, errands, begun };
        let done = || at_desk.clear();
        journal(writer, &to_write, &vitals, ways, done);
    });
    spawn("driver", move || {
        drive(Driver::new(parts), &clock, &inbox, &releases, &desk);
        drop((releases, serving, watched, bell));
        // Nobody touches the directory any more when its lock is let go.
        let others = [journal, archiving, library, filter, cleaner, allocator];
        for thread in others.into_iter().chain(watchdog) {
            // Either ended, or the process is being aborted.
            drop(thread.join());
        }
        drop(directory);
    })
}

/// Has the driver look at the clock as soon as the machine's is set, if the machine tells.
fn hang_bell(inbox: &Sender<Message>, metrics: &Metrics) -> Option<Bell> {
    let (inbox, metrics) = (inbox.clone(), metrics.clone());
    let ring = move || {
        metrics.clock_set();
        tracing::info!("the machine's clock was set, or the machine woke up");
        // A driver that is gone looks at no clock.
        drop(inbox.send(Message::Wake));
    };
    let bell = Bell::hang(ring);
    bell.inspect_err(|error| {
        tracing::warn!(%error, "this machine does not tell when its clock is set: Duly looks twice a second");
    })
    .ok()
}

// The driver.

fn drive(
    mut driver: Driver,
    clock: &Clock,
    inbox: &Receiver<Message>,
    releases: &SyncSender<Release>,
    desk: &Desk,
) {
    desk.put();
    if releases.send(driver.open(clock.read())).is_err() {
        return;
    }
    let (mut more, mut stopping) = (true, false);
    loop {
        let mut messages = Vec::new();
        if !more {
            match wait(&driver, clock, inbox) {
                Ok(message) => messages.extend(message),
                Err(Gone) => return,
            }
        }
        let behind = driver.is_archive_behind();
        let most = if behind { GATHERED_WHEN_BEHIND } else { GATHERED };
        let gather = |messages: &mut Vec<Message>| {
            while messages.len() < most
                && let Ok(message) = inbox.try_recv()
            {
                messages.push(message);
            }
            messages.iter().map(Message::commands).sum::<usize>()
        };
        let commands = gather(&mut messages);
        // What is decided now could not leave before the journal is free.
        if !more && !messages.is_empty() && commands < WORTH_A_STEP && desk.wait() {
            gather(&mut messages);
        }
        stopping |= messages.iter().any(|message| matches!(message, Message::Stop));
        driver.wait_for_spares();
        let (release, more_now) = driver.step(clock.read(), messages, || desk.is_still_full());
        more = more_now;
        if !release.is_empty() {
            desk.put();
            if releases.send(release).is_err() {
                return;
            }
        }
        if stopping && driver.has_answered() {
            return;
        }
        if behind {
            // Nothing is dropped and nothing refused; requests just come in no faster than this.
            thread::sleep(WHEN_BEHIND);
        }
    }
}

/// What lies on the journal's desk, and the driver, if it waits for that to be empty.
#[derive(Default)]
struct Desk {
    releases: AtomicUsize,
    is_awaited: AtomicBool,
    driver: OnceLock<Thread>,
}

impl Desk {
    /// The journal is about to be given a release.
    fn put(&self) {
        self.releases.fetch_add(1, Ordering::SeqCst);
    }

    /// Would a release have to wait?
    fn is_full(&self) -> bool {
        self.releases.load(Ordering::SeqCst) > 0
    }

    /// The same, asked by a driver that would rather work than wait: it lets others work first, for
    /// the journal and those who ask may want the same processor.
    fn is_still_full(&self) -> bool {
        thread::yield_now();
        self.is_full()
    }

    /// The driver, on whose thread this is, waits until the journal is free; had it to?
    fn wait(&self) -> bool {
        let mut has_waited = false;
        self.driver.get_or_init(thread::current);
        loop {
            // Told first and looked then: whoever empties the desk in between sees that it is awaited.
            self.is_awaited.store(true, Ordering::SeqCst);
            if !self.is_full() {
                self.is_awaited.store(false, Ordering::SeqCst);
                return has_waited;
            }
            has_waited = true;
            thread::park();
        }
    }

    /// The journal is done with a release.
    fn clear(&self) {
        let is_empty = self.releases.fetch_sub(1, Ordering::SeqCst) == 1;
        if is_empty && self.is_awaited.swap(false, Ordering::SeqCst) {
            self.driver.get().expect("who waits has said who he is").unpark();
        }
    }
}

struct Gone;

/// Waits for a message, or for the time the engine wants to be stepped.
fn wait(
    driver: &Driver,
    clock: &Clock,
    inbox: &Receiver<Message>,
) -> Result<Option<Message>, Gone> {
    let now = driver.now();
    let wait = driver.next_wake().map(|at| {
        let is_due = at <= now || driver.trusts_clock() && at <= clock.read().wall;
        match () {
            () if is_due => Duration::ZERO,
            () if driver.trusts_clock() => crate::clock::until(at),
            () => Duration::from_millis(at.since(now).millis()),
        }
    });
    if clock.is_manual() && wait != Some(Duration::ZERO) {
        return inbox.recv().map(Some).map_err(|_| Gone);
    }
    let until_due = wait.unwrap_or(LOOK_AT_CLOCK);
    match inbox.recv_timeout(until_due.min(LOOK_AT_CLOCK)) {
        Ok(message) => Ok(Some(message)),
        Err(RecvTimeoutError::Timeout) => Ok(None),
        Err(RecvTimeoutError::Disconnected) => Err(Gone),
    }
}

// The allocator.

/// Keeps spare segments in reserve until nobody can ask for more. The disk is for the journal first.
fn allocate(allocator: &mut Allocator, vitals: &Vitals, nudged: &Receiver<()>) {
    loop {
        let (begun, durable) = (crate::clock::stopwatch(), vitals.durable.load(Ordering::Acquire));
        let wait = match allocator.tick() {
            Ok(Progress::Worked) => Duration::ZERO,
            Ok(Progress::Filled) if vitals.durable.load(Ordering::Acquire) == durable => {
                Duration::ZERO
            }
            Ok(Progress::Filled) => RESTS * begun.elapsed(),
            // A full disk is asked again; somebody may have made room.
            Ok(Progress::Idle | Progress::Full) => ALLOCATE_EVERY,
            Err(error) => fail("allocate journal segments", &error),
        };
        if nudged.recv_timeout(wait) == Err(RecvTimeoutError::Disconnected) {
            return;
        }
    }
}

// The journal.

fn journal(
    mut writer: Writer,
    to_write: &Receiver<Release>,
    vitals: &Vitals,
    mut ways: Ways,
    done: impl Fn(),
) {
    while let Ok(mut release) = to_write.recv() {
        if let Err(NotDurable { what, why }) = release.leave(&mut writer, vitals, &mut ways) {
            fail(what, &why);
        }
        done();
    }
}

/// The ways out of the journal's thread. All who receive end only after it, but the deliverers.
struct Ways {
    outlets: Outlets,
    finals: Sender<Feed>,
    wanted: Sender<Wanted>,
    errands: Sender<Clean>,
    begun: Instant,
}

impl Outlet for Ways {
    fn writing(&mut self, bytes: usize) {
        self.outlets.metrics.wrote(bytes);
        self.begun = crate::clock::stopwatch();
    }

    fn synced(&mut self) {
        self.outlets.metrics.sync(self.begun.elapsed());
    }

    fn answered(&mut self, answered: Vec<Answered>, pins: &Pins) {
        if answered.is_empty() {
            return;
        }
        if let Err(unsent) = self.outlets.answers.send((answered, pins.clone())) {
            // Nobody shares them out any more: then they leave from here.
            let (answered, pins) = unsent.0;
            Answered::leave(answered, &pins);
        }
    }

    fn announced(&mut self, announced: Announced) {
        self.outlets.events.push(announced);
    }

    fn lapsed(&mut self, at: &[Time]) {
        let now = self.outlets.clock.read().wall;
        for at in at {
            self.outlets.metrics.lapse(now.since(*at));
        }
    }

    fn attempts(&mut self, attempts: Vec<Attempt>, pins: &Pins) {
        // The deliverers stop before the driver does; what they miss is leased again.
        drop(self.outlets.attempts.send((attempts, pins.clone())));
    }

    fn notice(&mut self, notice: &Notice) {
        tell(notice);
    }

    fn feed(&mut self, feed: Feed) {
        drop(self.finals.send(feed));
    }

    fn look_up(&mut self, wanted: Wanted) {
        drop(self.wanted.send(wanted));
    }

    fn clean(&mut self, errand: Errand, pins: &Pins) {
        let clean = match errand {
            Errand::Begin(number) => pins.segment(number).map(Clean::Begin),
            Errand::Next => Some(Clean::Next),
        };
        drop(clean.map(|clean| self.errands.send(clean)));
    }
}

/// One line of the log for each thing an operator should hear of.
fn tell(notice: &Notice) {
    match notice {
        Notice::Opened { at, recovery_until } => tracing::info!(
            at_ms = at.millis(),
            recovery_ms = recovery_until.since(*at).millis(),
            "opened"
        ),
        Notice::QueueCreated(queue) => tracing::info!(%queue, "queue created"),
        Notice::QueueChanged(queue) => tracing::info!(%queue, "queue changed"),
        Notice::QueueDeleted(queue) => tracing::info!(%queue, "queue deleted"),
        Notice::Died { queue, key, delivery, error } => {
            tracing::warn!(%queue, %key, %delivery, %error, "delivery dead");
        }
        Notice::ClockGuardUp(reason) => {
            tracing::error!(reason = reason.word(), "clock guard up: lapsing is withheld");
        }
        Notice::ClockGuardDown => tracing::warn!("clock guard down: lapsing goes on"),
    }
}

// The archive.

/// Has this thread wait for the processor while other threads want it: nobody waits for the archive,
/// and everybody for the others. What it has not done yet is bounded.
fn let_others_go_first() {
    if let Err(error) = setpriority_process(Some(gettid()), BEHIND_OTHERS) {
        tracing::debug!(%error, "the archive's thread goes as fast as others");
    }
}

fn keep(
    mut archive: archive::Writer,
    to_archive: &Receiver<Feed>,
    vitals: &Vitals,
    wake: &Sender<Message>,
) {
    let mut sweeping: Option<Retention> = None;
    // What replay found comes first, and has waited long enough.
    let (mut has_more, mut took) = (true, Duration::ZERO);
    loop {
        let first = match &mut sweeping {
            // Old records go in slices, while there is nothing better to do.
            Some(retention) => match to_archive.try_recv() {
                Err(TryRecvError::Empty) => {
                    if !patiently("sweep the archive", || retention.sweep(&mut archive)) {
                        sweeping = None;
                        patiently("tidy the archive", || archive.tidy());
                    }
                    continue;
                }
                received => received.ok(),
            },
            None => to_archive.recv().ok(),
        };
        let Some(first) = first else { return };
        if !has_more {
            // Nobody waits for it, and what comes together shares a transaction and its sync.
            gather(vitals, took);
        }
        let (mut items, mut last_seq) = (Vec::new(), 0);
        let mut next = Some(first);
        while let Some(mut feed) = next {
            last_seq = feed.last_seq;
            sweeping = feed.retention.take().or(sweeping);
            let taken = feed.items(&mut items);
            taken.unwrap_or_else(|error| fail("read a payload for the archive", &error));
            next = (items.len() < ARCHIVED_TOGETHER).then(|| to_archive.try_recv().ok()).flatten();
        }
        has_more = items.len() >= ARCHIVED_TOGETHER;
        if items.is_empty() {
            vitals.archived.fetch_max(last_seq, Ordering::AcqRel);
            continue;
        }
        let begun = crate::clock::stopwatch();
        patiently("write the archive", || archive.apply(&items, last_seq));
        took = begun.elapsed();
        vitals.archived.fetch_max(last_seq, Ordering::AcqRel);
        // So that what is archived now leaves memory. A driver that has stopped holds none.
        drop(wake.send(Message::Wake));
    }
}

/// Lets final records come together, longer in a rush; the last of them took so long to write.
fn gather(vitals: &Vitals, took: Duration) {
    let pause = (RESTS * took).clamp(ARCHIVE_GATHERS.0, ARCHIVE_GATHERS.1);
    let begun = crate::clock::stopwatch();
    let mut seen = vitals.unarchived.load(Ordering::Acquire);
    while begun.elapsed() < RUSH_PASSES {
        thread::sleep(pause);
        let unarchived = vitals.unarchived.load(Ordering::Acquire);
        if u128::from(unarchived.saturating_sub(seen)) < RUSH * pause.as_millis() {
            return;
        }
        seen = unarchived;
    }
}

/// Does it again while the disk is full or somebody else has the database; nothing is dropped.
pub(crate) fn patiently<T>(what: &str, mut attempt: impl FnMut() -> Result<T, Error>) -> T {
    loop {
        match attempt() {
            Ok(done) => return done,
            Err(error @ (Error::Full { .. } | Error::Locked { .. })) => {
                tracing::warn!(what, %error, "the archive waits");
                thread::sleep(ARCHIVE_WAITS);
            }
            Err(error) => fail(what, &error),
        }
    }
}

// Reading on the driver's behalf.

fn look_up(library: &archive::Reader, to_find: &Receiver<Wanted>, inbox: &Sender<Message>) {
    while let Ok(wanted) = to_find.recv() {
        let known = patiently("read the archive", || library.look_up(&wanted));
        if inbox.send(Message::Found(wanted, known)).is_err() {
            return;
        }
    }
}

/// Fills the filter from what the archive held at the start; until then every key is looked up.
fn fill(mut filling: FilterBuild, stopped: &Receiver<Infallible>) {
    while stopped.try_recv() == Err(TryRecvError::Empty)
        && !patiently("fill the archive's filter", || filling.step())
    {}
}

/// What the cleaner is asked for.
enum Clean {
    /// The first records of this segment.
    Begin(Arc<Segment>),
    /// The records after those.
    Next,
}

fn read_old(to_clean: &Receiver<Clean>, inbox: &Sender<Message>) {
    while let Ok(errand) = to_clean.recv() {
        let Clean::Begin(segment) = errand else { continue };
        let result = read_segment(&segment, to_clean, inbox);
        result.unwrap_or_else(|error| fail("read a segment that is to be cleaned", &error));
    }
}

/// Gives the driver some records at a time, and more when it asks for them.
fn read_segment(
    segment: &Arc<Segment>,
    to_clean: &Receiver<Clean>,
    inbox: &Sender<Message>,
) -> Result<(), Error> {
    let mut old = OldRecords::of(segment)?;
    loop {
        let (records, ended) = old.read_on()?;
        let asked = inbox.send(Message::Restate(records, ended)).is_ok()
            && (ended || matches!(to_clean.recv(), Ok(Clean::Next)));
        if !asked || ended {
            return Ok(());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_driver_waits_for_an_empty_desk_and_for_nothing_else() {
        let desk = Arc::new(Desk::default());
        assert!(!desk.wait(), "there is nothing on it");
        desk.put();
        desk.put();
        let journal = Arc::clone(&desk);
        let journal = thread::spawn(move || {
            while !journal.is_awaited.load(Ordering::SeqCst) {
                thread::yield_now();
            }
            journal.clear();
            let is_awaited = journal.is_awaited.load(Ordering::SeqCst);
            journal.clear();
            is_awaited
        });
        assert!(desk.wait(), "the driver had to wait");
        assert!(journal.join().expect("no panic"), "one of two is no reason to go on");
        assert_eq!(desk.releases.load(Ordering::SeqCst), 0);
    }
}
