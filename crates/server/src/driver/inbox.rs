//! What travels to the driver and what it hands out.

use duly_engine::answer::{Known, Leased, Wanted};
use duly_engine::command::Command;
use duly_engine::id::QueueName;
use duly_engine::queue::Target;
use tokio::sync::mpsc::UnboundedReceiver;
use tokio::sync::{OwnedSemaphorePermit, oneshot};

use super::{Answered, OldRecord, Pins, Reply};

/// What travels to the driver.
pub enum Message {
    /// Commands to decide in order, in one step as far as it has room; the answers come together.
    Ask(Ask),
    /// A worker that waits until something in a pull queue may be leased.
    Lease(Wait),
    /// A worker has waited long enough.
    Leave(QueueName, u64),
    /// A look-up in the archive came back.
    Found(Wanted, Known),
    /// The next records of the segment that is being cleaned; `true` with the last of them.
    Restate(Vec<OldRecord>, bool),
    /// Look again: a clock was moved, or the archive has come further.
    Wake,
    /// Finish what is under way and stop.
    Stop,
}

impl Message {
    /// How many commands it brings.
    pub(super) fn commands(&self) -> usize {
        match self {
            Message::Ask(ask) => ask.commands.len(),
            _ => 0,
        }
    }
}

/// One request of commands.
pub struct Ask {
    /// What is asked.
    pub commands: Vec<Command>,
    /// Where the answers go; nobody may be there any more.
    pub reply: oneshot::Sender<Reply>,
    /// Its share of what may be under way, held until the answers have left.
    pub permit: OwnedSemaphorePermit,
}

/// A lease that may wait.
pub struct Wait {
    /// The lease.
    pub ask: Ask,
    /// From which queue.
    pub queue: QueueName,
    /// Later than all before it, and nobody else's.
    pub number: u64,
}

/// Lapses on their way to a target, together: the deliverers answer each with a verdict.
#[derive(Clone, Debug)]
pub struct Attempt {
    /// Where.
    pub target: Target,
    /// What.
    pub deliveries: Vec<Leased>,
}

/// The answers of whole steps, each on its way to whoever asked.
///
/// They leave the journal's thread together: a task that is woken from outside the runtime costs a
/// system call, one that is woken by another task costs next to nothing.
pub struct Answers(pub UnboundedReceiver<(Vec<Answered>, Pins)>);

impl Answers {
    /// Shares them out until the driver has stopped.
    pub async fn share_out(mut self) {
        while let Some((answered, pins)) = self.0.recv().await {
            Answered::leave(answered, &pins);
        }
    }
}

/// The attempts that the driver hands out, those of a step together, payloads fetched.
pub struct Attempts(pub UnboundedReceiver<(Vec<Attempt>, Pins)>);

impl Attempts {
    /// The attempts of the next step that has any; none when the driver has stopped.
    pub async fn next(&mut self) -> Option<Vec<Attempt>> {
        let (mut attempts, pins) = self.0.recv().await?;
        let mut stored = pins.payloads();
        for delivery in attempts.iter_mut().flat_map(|attempt| &mut attempt.deliveries) {
            stored.fetch(&mut delivery.payload);
        }
        Some(attempts)
    }
}
