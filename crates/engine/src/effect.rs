//! Everything the engine asks of the world.
//!
//! Effects leave only after the step that made them is durable. The shell has one `match` that
//! performs them; nothing else is ever done on the engine's behalf.

use crate::answer::{GuardReason, Leased};
use crate::deadline::{Final, PayloadAt};
use crate::id::{DeadlineId, DeliveryId, Key, QueueName, Seq};
use crate::queue::Target;
use crate::time::Time;

/// One thing to do, once the step is durable.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Hand these lapses to their target, together, and come back with a verdict for each.
    Attempt {
        /// Where.
        target: Target,
        /// What; at least one, at most the target's batch, all of one queue.
        deliveries: Vec<Leased>,
    },
    /// Keep a final record.
    Archive(Box<Final>),
    /// Forget all records of a deadline.
    Erase {
        /// The fact that says so.
        seq: Seq,
        /// Which.
        id: DeadlineId,
    },
    /// A line for the log, perhaps an alarm.
    Notice(Notice),
}

impl Effect {
    /// Every payload it points at, for whoever fetches them or finds out where they lie.
    pub fn payloads_mut(&mut self) -> impl Iterator<Item = &mut PayloadAt> {
        let (last, deliveries): (Option<&mut Final>, &mut [Leased]) = match self {
            Effect::Attempt { deliveries, .. } => (None, deliveries),
            Effect::Archive(last) => (Some(last), &mut []),
            Effect::Erase { .. } | Effect::Notice(_) => (None, &mut []),
        };
        let deliveries = deliveries.iter_mut().map(|delivery| &mut delivery.payload);
        last.into_iter().map(|last| &mut last.deadline.payload).chain(deliveries)
    }
}

/// What an operator should hear of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Notice {
    /// The engine began to serve.
    Opened {
        /// Journal time.
        at: Time,
        /// Overdue deadlines lapse no earlier.
        recovery_until: Time,
    },
    /// A queue came to be.
    QueueCreated(QueueName),
    /// A queue's policy changed.
    QueueChanged(QueueName),
    /// A queue went.
    QueueDeleted(QueueName),
    /// A delivery was given up.
    Died {
        /// Its queue.
        queue: QueueName,
        /// Its key.
        key: Key,
        /// Which.
        delivery: DeliveryId,
        /// Why.
        error: std::sync::Arc<str>,
    },
    /// The clock guard went up: lapsing is withheld.
    ClockGuardUp(GuardReason),
    /// The clock guard went down.
    ClockGuardDown,
}
