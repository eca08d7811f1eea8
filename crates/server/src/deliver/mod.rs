//! The deliverers: they hand lapses to their targets and come back with a verdict on each.
//!
//! What arrives here is to be attempted now; how many at once, how often again and in which order
//! the engine has decided. Every attempt runs in a task of its own and ends in exactly one verdict a
//! lapse, also when it panics; only the end of the process leaves one open, and then its lease runs
//! out or the restart releases it. Attempts that end together tell their verdicts together. Nothing
//! here repeats an attempt, and nothing here knows the engine's state.

mod body;
mod exec;
mod failure;
mod publish;
mod sql;
#[cfg(test)]
mod tests;
mod webhook;

use std::collections::BTreeMap;
use std::fmt;
use std::future::poll_fn;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use duly_engine::answer::Leased;
use duly_engine::command::{Command, Verdict};
use duly_engine::deadline::{Payload, PayloadAt};
use duly_engine::id::{DeliveryId, Token};
use duly_engine::queue::Target;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::sync::oneshot;
use tokio::task::{JoinHandle, JoinSet, yield_now};

use self::exec::Commands;
use self::failure::retry;
use self::publish::Publishers;
use self::sql::{Databases, named, text};
use self::webhook::Webhooks;
use crate::config::{Database, ExecAction, PublishAction, SqlAction};
use crate::handle::{Attempt, Attempts, Handle};

pub use self::exec::{LAUNCH, Launched, hindrance, launch};
pub use self::sql::{Parameter, Template};
pub use self::webhook::{Answer, Guard};

/// Verdicts that are told together at most.
const TOLD_TOGETHER: usize = 1_024;

/// What the operator's configuration says about deliveries.
#[derive(Clone, Debug, Default)]
pub struct DeliverSettings {
    /// Where webhooks may lead.
    pub guard: Guard,
    /// Databases by name.
    pub databases: BTreeMap<String, Database>,
    /// What `sql` targets may do, by name.
    pub sql: BTreeMap<String, SqlAction>,
    /// What `exec` targets may run, by name.
    pub exec: BTreeMap<String, ExecAction>,
    /// Where `publish` targets may lead, by name.
    pub publish: BTreeMap<String, PublishAction>,
}

/// A setting that cannot be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BadSetting {
    /// Its place in the configuration: `sql.cancel_order.steps[0]`.
    pub key: String,
    /// What is wrong with it.
    pub why: String,
}

impl fmt::Display for BadSetting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.key, self.why)
    }
}

impl std::error::Error for BadSetting {}

/// Finds what can be found wrong in the settings without asking a database.
pub fn check(settings: &DeliverSettings) -> Result<(), BadSetting> {
    sql::check(&settings.databases, &settings.sql)?;
    exec::check(&settings.exec)
}

/// The deliverers at work. Dropping it stops them at once; see [`Deliverers::stop`].
pub struct Deliverers {
    stop: oneshot::Sender<Duration>,
    work: JoinHandle<()>,
}

impl Deliverers {
    /// Checks the settings, connects to the databases and begins to perform what arrives. A database
    /// that cannot be reached yet is no error: its deliveries are retried until it can.
    pub async fn start(
        handle: Handle,
        settings: &DeliverSettings,
        attempts: Attempts,
    ) -> Result<Deliverers, BadSetting> {
        let targets = Arc::new(Targets::new(settings).await?);
        let (stop, stopped) = oneshot::channel();
        let work = tokio::spawn(work(handle, targets, attempts, stopped));
        Ok(Deliverers { stop, work })
    }

    /// Begins nothing more and lets the attempts under way finish, for so long at most. The driver
    /// must still be there to take their verdicts.
    pub async fn stop(self, within: Duration) {
        // Nobody hears it when the work has ended already, and then there is nothing to stop.
        self.stop.send(within).unwrap_or_default();
        if let Err(error) = self.work.await {
            tracing::error!(%error, "the deliverers did not stop in order");
        }
    }
}

/// One lapse to hand over, with its payload at hand.
#[derive(Clone, Debug)]
struct Delivery {
    leased: Leased,
    payload: Option<Payload>,
}

/// The ways to all targets.
struct Targets {
    webhooks: Webhooks,
    databases: Databases,
    commands: Commands,
    publishers: Publishers,
}

impl Targets {
    async fn new(settings: &DeliverSettings) -> Result<Targets, BadSetting> {
        Ok(Targets {
            webhooks: Webhooks::new(settings.guard),
            databases: Databases::start(&settings.databases, &settings.sql).await?,
            commands: Commands::start(&settings.exec)?,
            publishers: Publishers::start(&settings.publish)?,
        })
    }

    /// One attempt: a verdict on each, in their order.
    async fn attempt(&self, target: &Target, deliveries: &[Delivery]) -> Vec<Verdict> {
        // A task is as large as the largest that may be in it; webhooks are the many, and small.
        match target {
            Target::Webhook(webhook) => self.webhooks.attempt(webhook, deliveries).await,
            Target::Sql { name, .. } => Box::pin(self.databases.attempt(name, deliveries)).await,
            Target::Exec { command } => Box::pin(self.commands.attempt(command, deliveries)).await,
            Target::Publish { to, .. } => Box::pin(self.publishers.attempt(to, deliveries)).await,
            Target::Pull | Target::None => {
                unreachable!("the engine hands {} deliveries to nobody here", target.word())
            }
        }
    }
}

/// Takes attempts until told to stop or until nobody sends any more.
async fn work(
    handle: Handle,
    targets: Arc<Targets>,
    mut attempts: Attempts,
    mut stopped: oneshot::Receiver<Duration>,
) {
    let (verdicts, ended) = unbounded_channel();
    let telling = tokio::spawn(tell(handle, ended));
    let mut under_way = JoinSet::new();
    let within = loop {
        tokio::select! {
            within = &mut stopped => break within.unwrap_or_default(),
            step = attempts.next() => match step {
                Some(step) => {
                    // Nobody is woken for those that have ended; they are forgotten on this occasion.
                    while under_way.try_join_next().is_some() {}
                    for attempt in step {
                        under_way.spawn(perform(Arc::clone(&targets), attempt, verdicts.clone()));
                    }
                }
                None => break (&mut stopped).await.unwrap_or_default(),
            },
        }
    };
    let all = async { while under_way.join_next().await.is_some() {} };
    if tokio::time::timeout(within, all).await.is_err() {
        tracing::warn!(attempts = under_way.len(), "stopped with attempts under way");
    }
    drop((under_way, verdicts));
    if let Err(error) = telling.await {
        tracing::error!(%error, "the last verdicts were not told");
    }
    targets.publishers.stop().await;
}

/// Tells the driver how attempts ended, until there are none any more. A verdict that it cannot be told
/// any more is of no matter: it has stopped, and the delivery will be tried again.
async fn tell(handle: Handle, mut ended: UnboundedReceiver<Command>) {
    let mut together = Vec::new();
    while ended.recv_many(&mut together, TOLD_TOGETHER).await > 0 {
        // Those whose answers are there already end first, and go along.
        yield_now().await;
        while together.len() < TOLD_TOGETHER
            && let Ok(verdict) = ended.try_recv()
        {
            together.push(verdict);
        }
        if handle.tell(std::mem::take(&mut together)).await.is_err() {
            tracing::debug!("attempts ended after the driver; they will be repeated");
        }
    }
}

/// One attempt, from payloads to verdicts.
async fn perform(targets: Arc<Targets>, attempt: Attempt, tell: UnboundedSender<Command>) {
    let mut deliveries = Vec::with_capacity(attempt.deliveries.len());
    for leased in attempt.deliveries {
        let payload = match leased.payload.clone() {
            PayloadAt::Here(payload) => Some(payload),
            PayloadAt::None | PayloadAt::Gone | PayloadAt::Stored(_) => None,
        };
        deliveries.push(Delivery { leased, payload });
    }
    for (delivery, token, verdict) in hand_over(&targets, &attempt.target, deliveries).await {
        // They are told as long as there are attempts.
        tell.send(Command::Verdict { delivery, token, verdict }).unwrap_or_default();
    }
}

/// One attempt whose verdicts come also when it panics.
async fn hand_over(
    targets: &Targets,
    target: &Target,
    deliveries: Vec<Delivery>,
) -> Vec<(DeliveryId, Token, Verdict)> {
    let mut attempt = pin!(targets.attempt(target, &deliveries));
    // What a panic leaves half done is this attempt's own, and dropped; what attempts share is
    // behind locks that say so.
    let attempted = poll_fn(|context| {
        let polled = catch_unwind(AssertUnwindSafe(|| attempt.as_mut().poll(context)));
        polled.map_or(Poll::Ready(None), |polled| polled.map(Some))
    });
    let broken = || retry("broken_attempt: a bug in Duly; see its log");
    let verdicts = match attempted.await {
        Some(verdicts) if verdicts.len() == deliveries.len() => verdicts,
        ended => {
            tracing::error!(?ended, "an attempt broke; this is a bug");
            deliveries.iter().map(|_| broken()).collect()
        }
    };
    let holds = deliveries.iter().map(|delivery| (delivery.leased.id, delivery.leased.token));
    holds.zip(verdicts).map(|((id, token), verdict)| (id, token, verdict)).collect()
}
