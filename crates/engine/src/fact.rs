//! One state change, as the journal keeps it.
//!
//! Facts say what happened, not what was asked, so that replay gives the same state after the rules
//! have changed. Every fact names its queue: counters must come out right even for deadlines whose
//! record was in a segment that has been cleaned away since. The time of a fact is that of the step
//! it was written in; its bytes are `record`'s business.

use std::sync::Arc;

use crate::answer::{GuardReason, Totals};
use crate::deadline::{Deadline, Payload, PayloadKind};
use crate::id::{DeadlineId, Generation, Key, Outcome, QueueName, QueueNo};
use crate::queue::Policy;
use crate::time::Time;

/// One state change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fact {
    /// All that is not a deadline, at the beginning of a segment.
    Base(Box<Base>),
    /// The engine began to serve.
    Opened {
        /// Deadlines overdue now lapse no earlier.
        recovery_until: Time,
    },
    /// Time passed and nothing else happened: bounds what a restart takes for downtime.
    Alive,
    /// The clock guard went up or down.
    Guard(Option<GuardReason>),
    /// A queue came to be or changed its policy.
    QueueSet {
        /// Its number.
        queue: QueueNo,
        /// Its name.
        name: QueueName,
        /// Its rules from now on.
        policy: Box<Policy>,
        /// By the configuration?
        declared: bool,
    },
    /// An empty queue went.
    QueueDeleted {
        /// Which.
        queue: QueueNo,
    },
    /// What of a queue waits.
    QueuePaused {
        /// Which.
        queue: QueueNo,
        /// Deliveries wait.
        deliveries: bool,
        /// Lapses wait.
        lapses: bool,
    },
    /// A generation began.
    Scheduled {
        /// Its queue.
        queue: QueueNo,
        /// Its number.
        id: DeadlineId,
        /// Which life of it.
        generation: Generation,
        /// The caller's name for it.
        key: Key,
        /// When it is due.
        due: Time,
        /// Smaller first.
        priority: u32,
        /// A pending generation ended with it.
        replaces: bool,
        /// What the caller wants back.
        payload: PayloadField,
    },
    /// A settle came before its schedule.
    Remembered {
        /// The queue.
        queue: QueueNo,
        /// The number its deadline will have.
        id: DeadlineId,
        /// The key.
        key: Key,
        /// How it will be settled.
        outcome: Outcome,
        /// Forgotten then.
        until: Time,
    },
    /// Settled.
    Settled {
        /// The queue.
        queue: QueueNo,
        /// Which.
        id: DeadlineId,
        /// How.
        outcome: Outcome,
    },
    /// A due time moved.
    Moved {
        /// The queue.
        queue: QueueNo,
        /// Which.
        id: DeadlineId,
        /// The new due time.
        due: Time,
        /// With others of its queue, and not by itself.
        shifted: bool,
    },
    /// A freeze began or ended.
    Frozen {
        /// The queue.
        queue: QueueNo,
        /// Which.
        id: DeadlineId,
        /// Ends by itself then.
        until: Time,
        /// All freezes of the generation together, in milliseconds.
        total_ms: u64,
    },
    /// Lapsed.
    Lapsed {
        /// The queue.
        queue: QueueNo,
        /// Which.
        id: DeadlineId,
    },
    /// Handed out. The sequence of this fact is the lease's token.
    Leased {
        /// The queue.
        queue: QueueNo,
        /// Which.
        id: DeadlineId,
        /// Holds until then.
        until: Time,
        /// By the server's own deliverer.
        held_here: bool,
    },
    /// A lease was prolonged.
    Touched {
        /// The queue.
        queue: QueueNo,
        /// Which.
        id: DeadlineId,
        /// Holds until then.
        until: Time,
    },
    /// The target acted, or found it no longer needed.
    Delivered {
        /// The queue.
        queue: QueueNo,
        /// Which.
        id: DeadlineId,
        /// No longer needed.
        superseded: bool,
    },
    /// An attempt failed or its lease ran out.
    Retried {
        /// The queue.
        queue: QueueNo,
        /// Which.
        id: DeadlineId,
        /// Not before then.
        next_attempt_at: Time,
        /// What it said.
        error: Arc<str>,
        /// By a verdict (which may be repeated), and not because the lease ran out.
        by_verdict: bool,
    },
    /// Given up.
    Died {
        /// The queue.
        queue: QueueNo,
        /// Which.
        id: DeadlineId,
        /// What the last attempt said.
        error: Arc<str>,
        /// By a verdict (which may be repeated), and not because the lease ran out.
        by_verdict: bool,
    },
    /// Back from the dead.
    Revived {
        /// The queue.
        queue: QueueNo,
        /// Which.
        id: DeadlineId,
    },
    /// Forgotten, with all its generations.
    Erased {
        /// The queue.
        queue: QueueNo,
        /// Which.
        id: DeadlineId,
    },
    /// The complete state of a live deadline, so that an old segment may go.
    Restated {
        /// The record without its payload.
        deadline: Box<Deadline>,
        /// Its payload.
        payload: PayloadField,
    },
    /// A shift began.
    ShiftBegun {
        /// The queue.
        queue: QueueNo,
        /// What to move.
        shift: Shift,
    },
    /// A shift has come so far.
    ShiftAdvanced {
        /// The queue.
        queue: QueueNo,
        /// Deadlines with smaller numbers are done.
        cursor: DeadlineId,
        /// Moved so far.
        moved: u64,
    },
    /// A shift is over.
    ShiftEnded {
        /// The queue.
        queue: QueueNo,
    },
}

/// A shift under way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shift {
    /// Due at or after.
    pub from: Time,
    /// Due before.
    pub to: Time,
    /// Later by so much; negative is earlier. In milliseconds.
    pub by_ms: i64,
    /// Only what was scheduled before this number was given.
    pub below: DeadlineId,
    /// Deadlines with smaller numbers are done.
    pub cursor: DeadlineId,
    /// Moved so far.
    pub moved: u64,
}

/// All that is not a deadline.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Base {
    /// The next deadline gets this number.
    pub next_id: DeadlineId,
    /// The next queue gets this number.
    pub next_queue: QueueNo,
    /// When the engine last began to serve.
    pub opened_at: Time,
    /// Deadlines overdue then lapse no earlier.
    pub recovery_until: Time,
    /// The clock guard.
    pub guard: Option<GuardReason>,
    /// Every queue.
    pub queues: Vec<BaseQueue>,
}

/// A queue in a [`Base`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BaseQueue {
    /// Its number.
    pub queue: QueueNo,
    /// Its name.
    pub name: QueueName,
    /// Its rules.
    pub policy: Policy,
    /// By the configuration?
    pub declared: bool,
    /// Deliveries wait.
    pub paused: bool,
    /// Lapses wait.
    pub lapse_paused: bool,
    /// What it has counted.
    pub totals: Totals,
    /// A shift under way.
    pub shift: Option<Shift>,
}

/// A payload on its way into, or out of, the journal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PayloadField {
    /// There is none.
    None,
    /// To be written.
    Bytes {
        /// Its bytes.
        payload: Payload,
        /// Their hash.
        hash: u32,
    },
    /// Where it was written.
    At {
        /// From the beginning of the facts it was written among.
        offset: u32,
        /// Its length.
        bytes: u32,
        /// JSON or bytes.
        kind: PayloadKind,
        /// A hash of it, to tell whether another is the same.
        hash: u32,
    },
}

impl From<Option<Payload>> for PayloadField {
    fn from(payload: Option<Payload>) -> PayloadField {
        payload.map_or(PayloadField::None, |payload| {
            let hash = payload.hash();
            PayloadField::Bytes { payload, hash }
        })
    }
}

impl Fact {
    /// The queue it is about, if it is about one that must be there already.
    pub fn queue(&self) -> Option<QueueNo> {
        match self {
            Fact::Scheduled { queue, .. }
            | Fact::Remembered { queue, .. }
            | Fact::Settled { queue, .. }
            | Fact::Moved { queue, .. }
            | Fact::Frozen { queue, .. }
            | Fact::Lapsed { queue, .. }
            | Fact::Leased { queue, .. }
            | Fact::Touched { queue, .. }
            | Fact::Delivered { queue, .. }
            | Fact::Retried { queue, .. }
            | Fact::Died { queue, .. }
            | Fact::Revived { queue, .. }
            | Fact::Erased { queue, .. }
            | Fact::QueueDeleted { queue }
            | Fact::QueuePaused { queue, .. }
            | Fact::ShiftBegun { queue, .. }
            | Fact::ShiftAdvanced { queue, .. }
            | Fact::ShiftEnded { queue } => Some(*queue),
            Fact::Restated { deadline, .. } => Some(deadline.queue_no),
            Fact::Base(_)
            | Fact::Opened { .. }
            | Fact::Alive
            | Fact::Guard(_)
            | Fact::QueueSet { .. } => None,
        }
    }

    /// The deadline it changes, if it changes one that must be there already.
    pub fn about(&self) -> Option<DeadlineId> {
        match self {
            Fact::Settled { id, .. }
            | Fact::Moved { id, .. }
            | Fact::Frozen { id, .. }
            | Fact::Lapsed { id, .. }
            | Fact::Leased { id, .. }
            | Fact::Touched { id, .. }
            | Fact::Delivered { id, .. }
            | Fact::Retried { id, .. }
            | Fact::Died { id, .. }
            | Fact::Revived { id, .. } => Some(*id),
            _ => None,
        }
    }
}
