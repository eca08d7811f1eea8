//! Everything that can be asked of the engine.
//!
//! A command is already checked for form by whoever made it (the types do not admit a bad key); the
//! engine decides whether it may be. Relative times stay relative until the engine stamps them with
//! its own clock.

use std::ops::Range;
use std::sync::Arc;

use crate::deadline::{DeliveryState, Payload, State};
use crate::id::{DeadlineId, DeliveryId, Generation, Key, Outcome, QueueName, Token};
use crate::queue::{Policy, Target};
use crate::time::{Span, Time};

/// One request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    /// Promise to act at a time unless settled before.
    Schedule(Schedule),
    /// The awaited thing happened.
    Settle(Settle),
    /// Have it, whoever asks first and says so: settle what is pending, and end the delivery of what
    /// has lapsed in a queue with the target `pull`, if it is in nobody's hands.
    Claim {
        /// Which deadline.
        at: Address,
        /// How what is pending is settled.
        outcome: Outcome,
    },
    /// Move the due time.
    Extend(Extend),
    /// Stop the clock for a bounded time; zero ends a freeze.
    Freeze {
        /// Which deadline.
        at: Address,
        /// From now.
        span: Span,
    },
    /// Read a deadline.
    Get(Address),
    /// Try a dead delivery again, now.
    Revive(Address),
    /// Forget a final or dead record and all its generations.
    Erase(Address),
    /// Hand out deliveries to a worker.
    Lease {
        /// From which queue.
        queue: QueueName,
        /// The delivery of this key and no other, if it may be handed out now, whoever is before it.
        key: Option<Key>,
        /// How many at most.
        max: usize,
        /// For how long.
        span: Span,
    },
    /// Look at what a lease of so many would hand out now, in that order, and leave it there.
    Waiting {
        /// In which queue.
        queue: QueueName,
        /// Only those that were due then.
        due: Range<Time>,
        /// How many at most.
        limit: usize,
    },
    /// How an attempt ended.
    Verdict {
        /// Of which delivery.
        delivery: DeliveryId,
        /// The lease it was made under.
        token: Token,
        /// How.
        verdict: Verdict,
    },
    /// Keep a lease for another while.
    Touch {
        /// Of which delivery.
        delivery: DeliveryId,
        /// The lease to keep.
        token: Token,
        /// From now.
        span: Span,
    },
    /// Create a queue or change its policy.
    PutQueue {
        /// Its name.
        queue: QueueName,
        /// Its rules from now on.
        policy: Box<Policy>,
        /// By the configuration: declared there from now on, or no longer. `None` is the API, which
        /// may not change a declared queue.
        declared: Option<bool>,
    },
    /// Remove an empty queue.
    DeleteQueue(QueueName),
    /// Read one queue.
    GetQueue(QueueName),
    /// Read all queues.
    ListQueues,
    /// Stop or let go deliveries, lapses, or both.
    Pause {
        /// Of which queue.
        queue: QueueName,
        /// Deliveries wait, if said.
        deliveries: Option<bool>,
        /// Lapses wait, if said.
        lapses: Option<bool>,
    },
    /// Move all pending due times in a window.
    Shift {
        /// Of which queue.
        queue: QueueName,
        /// Due at or after.
        from: Time,
        /// Due before.
        to: Time,
        /// Later by so much; negative is earlier. In milliseconds.
        by_ms: i64,
    },
    /// One slice of a walk over the live records.
    Scan(Scan),
    /// One slice of a count of the live records by due time.
    Count(Count),
    /// The operator's word that the wall clock is right.
    ConfirmClock,
    /// What the clock says and whether it is trusted.
    GetClock,
}

impl Command {
    /// The (queue, key) that it is about, if it is about one.
    pub fn address(&self) -> Option<&Address> {
        match self {
            Command::Schedule(schedule) => Some(&schedule.at),
            Command::Settle(settle) => Some(&settle.at),
            Command::Extend(extend) => Some(&extend.at),
            Command::Claim { at, .. }
            | Command::Freeze { at, .. }
            | Command::Get(at)
            | Command::Revive(at)
            | Command::Erase(at) => Some(at),
            _ => None,
        }
    }

    /// Does it never write a fact of its own?
    pub fn only_reads(&self) -> bool {
        matches!(
            self,
            Command::Get(_)
                | Command::GetQueue(_)
                | Command::ListQueues
                | Command::Waiting { .. }
                | Command::Scan(_)
                | Command::Count(_)
                | Command::GetClock
        )
    }
}

/// A (queue, key).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Address {
    /// The queue.
    pub queue: QueueName,
    /// The key in it.
    pub key: Key,
}

/// See SPEC "Schedule".
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Schedule {
    /// Which deadline.
    pub at: Address,
    /// When it is due.
    pub when: When,
    /// What the caller wants back.
    pub payload: Option<Payload>,
    /// 1024 unless said; smaller first.
    pub priority: Option<u32>,
    /// What if it is there already.
    pub if_exists: IfExists,
    /// Accept a due time more than an hour ago.
    pub allow_past: bool,
    /// Only over this generation, and only while it is pending: what was decided from a look at it
    /// holds, or is refused.
    pub over: Option<Generation>,
    /// What comes of a queue that is not there yet.
    pub creates: NewQueue,
    /// What the answer shows of what it began.
    pub show: Show,
}

impl Schedule {
    /// A plain one: nothing to carry, nothing special.
    pub fn new(at: Address, when: When) -> Schedule {
        Schedule {
            at,
            when,
            payload: None,
            priority: None,
            if_exists: IfExists::default(),
            allow_past: false,
            over: None,
            creates: NewQueue::default(),
            show: Show::default(),
        }
    }
}

/// What the answer to a schedule shows when a generation began.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Show {
    /// The whole record.
    #[default]
    Record,
    /// That it is so, for those who ask thousands at once and look at none.
    Nothing,
}

/// A queue that comes of a schedule. Nobody has said where its lapsed deadlines go, so it is a place
/// where nothing happens to them unless somebody comes: the rest of its policy is the default.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum NewQueue {
    /// Workers lease from it: the target `pull`.
    #[default]
    Pulled,
    /// Its records are the point: the target `none`.
    Kept,
}

impl NewQueue {
    /// Its rules.
    pub fn policy(self) -> Policy {
        let target = match self {
            NewQueue::Pulled => Target::Pull,
            NewQueue::Kept => Target::None,
        };
        Policy { target, ..Policy::default() }
    }
}

/// The priority of a schedule that names none.
pub const DEFAULT_PRIORITY: u32 = 1024;

/// When a deadline is to be due.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum When {
    /// After the queue's default delay.
    Default,
    /// So long after the server hears of it.
    After(Span),
    /// At an instant.
    Due(Time),
    /// When the pending one is that it replaces, with what is left of its freeze; as by default if
    /// there is none.
    Kept,
}

/// What a schedule does with a deadline that is there already.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum IfExists {
    /// Answer the existing record.
    #[default]
    Keep,
    /// Begin the next generation, unless a delivery is under way.
    Replace,
    /// Begin the next generation if it is final, else keep.
    Renew,
    /// Begin the next generation if it is final; extend it to the new due time if it is pending and
    /// was due so, and keep it if not. What is moved is answered as by an extend.
    Move(IfDue),
    /// Refuse.
    Fail,
}

/// See SPEC "Settle answers".
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settle {
    /// Which deadline.
    pub at: Address,
    /// How.
    pub outcome: Outcome,
    /// Remember it for so long if the deadline is not known yet.
    pub remember: Option<Span>,
    /// Only this generation.
    pub generation: Option<Generation>,
}

/// A new due time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Extend {
    /// Which deadline.
    pub at: Address,
    /// How far, and from where.
    pub by: ExtendBy,
    /// Only if it is due so.
    pub if_due: Option<IfDue>,
}

/// When a deadline has to be due to be moved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IfDue {
    /// Then: makes a retry safe.
    At(Time),
    /// Whenever the move changes it.
    Other,
    /// Before the new time: it is only ever moved later.
    Earlier,
    /// After the new time: it is only ever moved ahead.
    Later,
}

impl IfDue {
    /// Is what is due at one time to be moved to the other?
    pub fn holds(self, due: Time, new: Time) -> bool {
        match self {
            IfDue::At(at) => due == at,
            IfDue::Other => due != new,
            IfDue::Earlier => due < new,
            IfDue::Later => due > new,
        }
    }
}

/// How far to extend.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExtendBy {
    /// So much later than it is due now.
    Span(Span),
    /// So long after the server hears of it, whenever it was due before.
    After(Span),
    /// To this instant.
    Due(Time),
}

/// How an attempt ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The target acted.
    Done,
    /// It was no longer needed.
    Superseded,
    /// It failed; try again.
    Retry {
        /// What it said.
        error: Arc<str>,
        /// Not before so long from now, if the target asked for it.
        after: Option<Span>,
    },
    /// It failed for good.
    Dead {
        /// What it said.
        error: Arc<str>,
    },
}

/// A slice of a walk over live records, in no order; the caller keeps what it wants.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Scan {
    /// Of which queue; of all in one walk if none is named.
    pub queue: Option<QueueName>,
    /// Where the last slice ended; 0 at first.
    pub from_slot: u32,
    /// Which records.
    pub filter: Filter,
    /// Only records after this (due, id).
    pub after: Option<(Time, DeadlineId)>,
    /// At most so many, those that come first by (due, id).
    pub limit: usize,
}

/// A slice of a count over live records; the caller adds up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Count {
    /// Of which queue; of all in one walk if none is named.
    pub queue: Option<QueueName>,
    /// Where the last slice ended; 0 at first.
    pub from_slot: u32,
    /// Which records.
    pub filter: Filter,
    /// Counted together are those due in the same span of this length since 1970; never zero.
    pub per: Span,
}

/// Which records a list shows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filter {
    /// In this state.
    pub state: Option<State>,
    /// With the delivery in this state.
    pub delivery: Option<DeliveryState>,
    /// Due at or after.
    pub due_from: Option<Time>,
    /// Due before.
    pub due_to: Option<Time>,
    /// Whose key begins so.
    pub key_prefix: Option<String>,
}
