//! The one way to ask the engine anything.
//!
//! Listeners, deliverers, watches and the dashboard never meet each other: they all hold a
//! `Handle`. It sends a command to the driver's thread and waits for the answer, which comes only
//! when everything it may have seen is on the disk. What an answer leaves in the journal or the
//! archive (payloads, the rest of a list) is fetched here, so that nobody else knows where things
//! lie.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc;
use std::sync::{Arc, Mutex, PoisonError};

use duly_engine::answer::{Answer, Leased, Refusal};
use duly_engine::command::{Command, Filter, Scan};
use duly_engine::deadline::{Deadline, Payload, PayloadAt};
use duly_engine::id::{DeadlineId, QueueName};
use duly_engine::time::{Span, Time};
use duly_store::archive;
use tokio::sync::{Semaphore, oneshot};

use crate::clock::Clock;
use crate::driver::threads::patiently;
use crate::driver::{Ask, Door, Message, Reply, Vitals, Wait, has_room};
use crate::metrics::Health;

pub use crate::driver::{Attempt, Attempts, Events, Gone, Payloads, Pins};

/// Requests that may be on their way through the driver at once; more wait their turn.
const REQUESTS_UNDER_WAY: usize = 65_536;

/// Workers that may wait for something to lease at once; more wait for a place to wait in. They are
/// no requests under way: who waits for ever takes nobody's turn.
const WORKERS_WAITING: usize = 65_536;

/// The driver has stopped: the process is about to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stopped;

/// A page of a list, in order of (due, id).
#[derive(Clone, Debug)]
pub struct Page {
    /// The records.
    pub deadlines: Vec<Deadline>,
    /// Where the next page begins; none at the end.
    pub next: Option<(Time, DeadlineId)>,
}

/// A cheap, cloneable way to the driver.
#[derive(Clone)]
pub struct Handle(Arc<Way>);

/// One of it for all handles: they are cloned several times for each request, on every thread.
struct Way {
    inbox: mpsc::Sender<Message>,
    permits: Arc<Semaphore>,
    waits: Arc<Semaphore>,
    clock: Arc<Clock>,
    vitals: Arc<Vitals>,
    archive: Arc<Mutex<archive::Reader>>,
    events: Events,
    next_wait: AtomicU64,
}

/// A worker that waits. Dropped before it is served (the time is over, or its client has gone away)
/// it tells the driver.
struct Waiting<'a> {
    inbox: &'a mpsc::Sender<Message>,
    place: Option<(QueueName, u64)>,
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        if let Some((queue, number)) = self.place.take() {
            // A driver that is gone keeps nobody waiting.
            drop(self.inbox.send(Message::Leave(queue, number)));
        }
    }
}

impl Handle {
    /// A way through this door.
    pub(crate) fn new(door: Door) -> Handle {
        Handle(Arc::new(Way {
            inbox: door.inbox,
            permits: Arc::new(Semaphore::new(REQUESTS_UNDER_WAY)),
            waits: Arc::new(Semaphore::new(WORKERS_WAITING)),
            clock: door.clock,
            vitals: door.vitals,
            archive: Arc::new(Mutex::new(door.archive)),
            events: door.events,
            next_wait: AtomicU64::default(),
        }))
    }

    /// Lets the driver finish what it has been asked and stop.
    pub fn stop(&self) {
        // A driver that is gone has stopped.
        drop(self.0.inbox.send(Message::Stop));
    }

    /// Asks one thing. Payloads in the answer are present or gone, never still in the journal.
    pub async fn ask(&self, command: Command) -> Result<Answer, Stopped> {
        let mut answers = self.ask_all(vec![command]).await?;
        answers.pop().ok_or(Stopped)
    }

    /// Asks many things in order; independent of each other, one group commit.
    pub async fn ask_all(&self, commands: Vec<Command>) -> Result<Vec<Answer>, Stopped> {
        if commands.is_empty() {
            return Ok(Vec::new());
        }
        let given = commands.iter().map(payload).collect();
        Ok(fetched(self.ask_unfetched(commands).await?, given))
    }

    /// The same, but payloads stay in the journal until somebody fetches them: for those who show few
    /// of them.
    pub async fn ask_unfetched(&self, commands: Vec<Command>) -> Result<Reply, Stopped> {
        let (ask, answers) = self.request(commands).await?;
        self.0.inbox.send(Message::Ask(ask)).map_err(|_| Stopped)?;
        answers.await.map_err(|_| Stopped)
    }

    /// Says many things whose answers nobody waits for; what was said before a stop is done.
    pub async fn tell(&self, commands: Vec<Command>) -> Result<(), Stopped> {
        let (ask, _) = self.request(commands).await?;
        self.0.inbox.send(Message::Ask(ask)).map_err(|_| Stopped)
    }

    /// Leases up to `max` deliveries of a pull queue; when there are none, waits for the first up to `wait`.
    pub async fn lease(
        &self,
        queue: QueueName,
        max: usize,
        span: Span,
        wait: Span,
    ) -> Result<Result<Vec<Leased>, Refusal>, Stopped> {
        let command = Command::Lease { queue: queue.clone(), key: None, max, span };
        if wait.is_zero() {
            return Ok(leased(self.ask(command).await?));
        }
        let wait = std::time::Duration::from_millis(wait.millis());
        let (ask, mut answers) = {
            let place = tokio::time::timeout(wait, Arc::clone(&self.0.waits).acquire_owned());
            let Ok(permit) = place.await else { return Ok(Ok(Vec::new())) };
            let (reply, answers) = oneshot::channel();
            let permit = permit.map_err(|_| Stopped)?;
            (Ask { commands: vec![command], reply, permit }, answers)
        };
        let number = self.0.next_wait.fetch_add(1, Ordering::Relaxed);
        let wanted = Wait { ask, queue: queue.clone(), number };
        self.0.inbox.send(Message::Lease(wanted)).map_err(|_| Stopped)?;
        let mut waiting = Waiting { inbox: &self.0.inbox, place: Some((queue, number)) };
        let answers = if let Ok(answers) = tokio::time::timeout(wait, &mut answers).await {
            waiting.place = None;
            answers
        } else {
            // What was handed out in this very moment is on its way and must not be lost.
            drop(waiting);
            answers.await
        };
        let answer = fetched(answers.map_err(|_| Stopped)?, Vec::new()).pop().ok_or(Stopped)?;
        Ok(leased(answer))
    }

    /// A page of the records of a queue, live and archived, in order of (due, id).
    pub async fn list(
        &self,
        queue: QueueName,
        filter: Filter,
        after: Option<(Time, DeadlineId)>,
        limit: usize,
    ) -> Result<Result<Page, Refusal>, Stopped> {
        let mut live: Vec<Deadline> = Vec::new();
        let mut from_slot = 0;
        loop {
            let (queue, filter) = (Some(queue.clone()), filter.clone());
            let scan = Scan { queue, from_slot, filter, after, limit };
            match self.ask(Command::Scan(scan)).await? {
                Answer::Scanned { found, next_slot } => {
                    live.extend(found);
                    live.sort_by_key(|deadline| (deadline.due, deadline.id));
                    live.truncate(limit);
                    match next_slot {
                        Some(slot) => from_slot = slot,
                        None => break,
                    }
                }
                Answer::Refused(refusal) => return Ok(Err(refusal)),
                other => unreachable!("a scan was answered with {other:?}"),
            }
        }
        let archived = self.archived(queue, filter, after, limit).await?;
        Ok(Ok(merged(live, archived, limit)))
    }

    /// Up to `limit` archived records of a queue, read on a thread that may wait for the disk.
    async fn archived(
        &self,
        queue: QueueName,
        filter: Filter,
        mut after: Option<(Time, DeadlineId)>,
        limit: usize,
    ) -> Result<Vec<Deadline>, Stopped> {
        let archive = Arc::clone(&self.0.archive);
        let read = move || {
            let archive = archive.lock().unwrap_or_else(PoisonError::into_inner);
            let mut found = Vec::new();
            while found.len() < limit {
                let wanted = limit - found.len();
                let page =
                    patiently("list the archive", || archive.page(&queue, &filter, after, wanted));
                found.extend(page.deadlines);
                after = page.next;
                if after.is_none() {
                    break;
                }
            }
            found
        };
        tokio::task::spawn_blocking(read).await.map_err(|_| Stopped)
    }

    /// Moves a manual clock and lets the driver look at it; `None` when the clock is the machine's.
    pub fn advance_clock(&self, by: Span) -> Option<Time> {
        let now = self.0.clock.advance(by)?;
        // A driver that is gone cannot look; the next request will say so.
        drop(self.0.inbox.send(Message::Wake));
        Some(now)
    }

    /// What has happened lately: all of it is durable.
    pub fn events(&self) -> &Events {
        &self.0.events
    }

    /// What time it is by the clock that the driver reads; for what is no business of the engine.
    pub fn now(&self) -> Time {
        self.0.clock.read().wall
    }

    /// Is the clock moved by hand?
    pub fn clock_is_manual(&self) -> bool {
        self.0.clock.is_manual()
    }

    /// How the server is.
    pub fn health(&self) -> Health {
        let spare_segments = self.0.vitals.spares.load(Ordering::Acquire);
        let archive_lag = self.0.vitals.unarchived.load(Ordering::Acquire);
        let stall = self.0.vitals.pulse.stall();
        Health { ready: has_room(spare_segments), stall, spare_segments, archive_lag }
    }

    async fn request(
        &self,
        commands: Vec<Command>,
    ) -> Result<(Ask, oneshot::Receiver<Reply>), Stopped> {
        let permit = Arc::clone(&self.0.permits).acquire_owned().await.map_err(|_| Stopped)?;
        let (reply, answers) = oneshot::channel();
        Ok((Ask { commands, reply, permit }, answers))
    }
}

/// The payload that a command brings.
fn payload(command: &Command) -> Option<Payload> {
    match command {
        Command::Schedule(schedule) => schedule.payload.clone(),
        _ => None,
    }
}

/// Replaces what answers leave in the journal by the thing itself. What a schedule has just given
/// need not be read back: it is still here.
fn fetched(reply: Reply, given: Vec<Option<Payload>>) -> Vec<Answer> {
    let mut answers = reply.answers;
    for (answer, given) in answers.iter_mut().zip(given) {
        if let (Answer::Scheduled { created: true, deadline, .. }, Some(given)) = (answer, given) {
            deadline.payload = PayloadAt::Here(given);
        }
    }
    let mut stored = reply.pins.payloads();
    for payload in answers.iter_mut().flat_map(Answer::payloads_mut) {
        stored.fetch(payload);
    }
    answers
}

/// The first `limit` of both lists by (due, id). A record on its way to the archive is in both.
fn merged(live: Vec<Deadline>, archived: Vec<Deadline>, limit: usize) -> Page {
    let mut deadlines = live;
    deadlines.extend(archived);
    // Stable: what was in memory stays before what the archive has of it, which may be older.
    deadlines.sort_by_key(|deadline| (deadline.due, deadline.id, deadline.generation));
    deadlines.dedup_by_key(|deadline| (deadline.id, deadline.generation));
    deadlines.truncate(limit);
    let is_full = deadlines.len() == limit;
    let last = deadlines.last().map(|deadline| (deadline.due, deadline.id));
    Page { deadlines, next: last.filter(|_| is_full) }
}

fn leased(answer: Answer) -> Result<Vec<Leased>, Refusal> {
    match answer {
        Answer::Leased(deliveries) => Ok(deliveries),
        Answer::Refused(refusal) => Err(refusal),
        other => unreachable!("a lease was answered with {other:?}"),
    }
}
